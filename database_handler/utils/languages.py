"""A language is a BCP 47 tag in its canonical form, of registered subtags only."""

import re
from difflib import get_close_matches
from typing import Final

from database_handler.utils.errors import InvalidValue
from database_handler.utils.text import verbatim

__all__ = ["LANGUAGE_CHARS", "canonical_language"]

LANGUAGE_CHARS: Final = 63
"""The most characters that a tag may have."""

_LANGUAGE_NAMES: Final = {  # for suggestions only: langcodes has no names of its own
    "arabic": "ar", "bengali": "bn", "bulgarian": "bg", "catalan": "ca", "chinese": "zh", "croatian": "hr",
    "czech": "cs", "danish": "da", "deutsch": "de", "dutch": "nl", "english": "en", "espanol": "es",
    "estonian": "et", "finnish": "fi", "francais": "fr", "french": "fr", "german": "de", "greek": "el",
    "hebrew": "he", "hindi": "hi", "hungarian": "hu",
    "indonesian": "id", "italian": "it", "italiano": "it", "japanese": "ja", "korean": "ko", "latvian": "lv",
    "lithuanian": "lt", "malay": "ms", "norwegian": "no", "persian": "fa", "polish": "pl",
    "portuguese": "pt", "romanian": "ro", "russian": "ru", "serbian": "sr", "slovak": "sk",
    "slovenian": "sl", "spanish": "es", "swahili": "sw", "swedish": "sv", "tamil": "ta", "thai": "th",
    "turkish": "tr", "ukrainian": "uk", "urdu": "ur", "vietnamese": "vi",
}  # fmt: skip
_COUNTRIES: Final = {"cn": "zh", "cz": "cs", "dk": "da", "gr": "el", "jp": "ja", "ua": "uk"}  # no languages
_EXTENDED: Final = frozenset({"ar", "kok", "lv", "ms", "sgn", "sw", "uz", "zh"})  # have extended subtags
_MANDARIN: Final = re.compile(r"zh[-_]cmn(?![^-_])", re.IGNORECASE)  # langcodes would make it zh
_SUBTAG_NAMES: Final = {  # scripts and regions, as they are often written
    "arab": "Arab", "arabic": "Arab", "bra": "BR", "brazil": "BR", "cht": "Hant", "chs": "Hans",
    "cyrillic": "Cyrl", "cyrl": "Cyrl", "deva": "Deva", "gbr": "GB", "hans": "Hans", "hant": "Hant",
    "latin": "Latn", "latn": "Latn", "portugal": "PT", "prt": "PT", "simplified": "Hans",
    "traditional": "Hant", "usa": "US",
}  # fmt: skip


def canonical_language(tag: object) -> str:
    """Give a BCP 47 tag in its canonical form; one whose subtags are not registered is refused.

    Case and separators are made regular, ISO 639-2 codes shortened (``deu`` to ``de``), deprecated subtags
    replaced (``iw`` to ``he``). Script and region stay as written, even where they could be left out, and a
    language is never folded into its macrolanguage: ``cmn`` is not ``zh``, ``nb`` is not ``no``.
    """
    text = verbatim(tag).strip()
    found = _language(text) if len(text) <= LANGUAGE_CHARS and text.isascii() else None
    if found is None:
        raise InvalidValue(f"a BCP 47 language tag such as en, pt-BR or zh-Hans is needed{_suggestion(text)}")
    return found


def _language(text: str) -> str | None:
    if re.match(r"[A-Za-z]{4}", text):  # no language has such a code; langcodes makes "und" of "root"
        return None
    text = _MANDARIN.sub("cmn", text)
    # Here, for its tables take a while to load, and most programs import this module long before a language.
    from langcodes import Language
    from langcodes.tag_parser import LanguageTagError

    try:
        language = Language.get(text)
        tag = language.to_tag()
    except LanguageTagError:
        return None
    # An extended subtag stands for a language of its own (zh-yue for yue), which is the canonical form (RFC
    # 5646, 4.5); one that langcodes did not replace may be none at all, like the country in "eng-usa".
    if not language.is_valid() or language.extlangs:
        return None
    return tag if tag == text else _language(tag)  # until nothing more is replaced


def _suggestion(text: str) -> str:
    subtags = re.split(r"[-_.@ ]", text[:LANGUAGE_CHARS].lower())
    nearest = _nearest_by_prefix(subtags) or _COUNTRIES.get(subtags[0]) or _nearest_by_name(subtags[0])
    return f"; did you mean {nearest}?" if nearest else ""


def _nearest_by_prefix(subtags: list[str]) -> str | None:
    """Give the longest beginning that is a tag, with the subtag after it mended where one is close."""
    for count in range(len(subtags) - 1, 0, -1):
        prefix = "-".join(subtags[:count])
        if prefix.isascii() and (tag := _language(prefix)):
            return _language(_mended(tag, subtags[count])) or tag
    return None


def _mended(tag: str, subtag: str) -> str:
    if tag in _EXTENDED and len(subtag) == 3 and subtag not in _SUBTAG_NAMES:
        return subtag
    close = sorted(get_close_matches(subtag, _SUBTAG_NAMES, n=2, cutoff=0.7))
    return f"{tag}-{_SUBTAG_NAMES[close[0]]}" if close else tag


def _nearest_by_name(name: str) -> str | None:
    names = get_close_matches(name, _LANGUAGE_NAMES, n=1, cutoff=0.8)
    return _LANGUAGE_NAMES[names[0]] if names else None
