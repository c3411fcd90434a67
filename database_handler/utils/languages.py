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
    "czech": "cs", "danish": "da", "dutch": "nl", "english": "en", "estonian": "et", "finnish": "fi",
    "french": "fr", "german": "de", "greek": "el", "hebrew": "he", "hindi": "hi", "hungarian": "hu",
    "indonesian": "id", "italian": "it", "japanese": "ja", "korean": "ko", "latvian": "lv",
    "lithuanian": "lt", "malay": "ms", "norwegian": "no", "persian": "fa", "polish": "pl",
    "portuguese": "pt", "romanian": "ro", "russian": "ru", "serbian": "sr", "slovak": "sk",
    "slovenian": "sl", "spanish": "es", "swahili": "sw", "swedish": "sv", "tamil": "ta", "thai": "th",
    "turkish": "tr", "ukrainian": "uk", "urdu": "ur", "vietnamese": "vi",
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
    # Here, for its tables take a while to load, and most programs import this module long before a language.
    from langcodes import Language
    from langcodes.tag_parser import LanguageTagError

    try:
        language = Language.get(text)
        tag = language.to_tag()
    except LanguageTagError:
        return None
    if not language.is_valid():
        return None
    return tag if tag == text else _language(tag)  # until nothing more is replaced


def _suggestion(text: str) -> str:
    subtags = re.split(r"[-_.@ ]", text[:LANGUAGE_CHARS].lower())
    prefixes = ("-".join(subtags[:count]) for count in range(len(subtags) - 1, 0, -1))
    known = next((tag for prefix in prefixes if prefix.isascii() and (tag := _language(prefix))), None)
    names = get_close_matches(subtags[0], _LANGUAGE_NAMES, n=1, cutoff=0.8)
    nearest = known or (_LANGUAGE_NAMES[names[0]] if names else None)
    return f"; did you mean {nearest}?" if nearest else ""
