"""The language of a text as a BCP 47 tag: by its script where that means one language, else by its words.

What cannot be told is `und`. Words are judged in the extractor's process (the `documents` extra); without
it only scripts are. Sources: ISO 15924 for scripts, BCP 47 section 2.2.1 for the shortest code of a language.
"""

import re
from collections import Counter

from database_handler.content import isolation

__all__ = ["UNDETERMINED", "detect_language", "script_language"]

UNDETERMINED = "und"
_SAMPLE = 10_000
_FEWEST_LETTERS = 20
_FEWEST_LETTERS_OF_OWN_SCRIPT = 4
# A block of letters and the one language that it all but always means.
_SCRIPTS = (
    ("el", 0x0370, 0x03FF),
    ("hy", 0x0530, 0x058F),
    ("he", 0x0590, 0x05FF),
    ("dv", 0x0780, 0x07BF),
    ("bn", 0x0980, 0x09FF),
    ("pa", 0x0A00, 0x0A7F),
    ("gu", 0x0A80, 0x0AFF),
    ("or", 0x0B00, 0x0B7F),
    ("ta", 0x0B80, 0x0BFF),
    ("te", 0x0C00, 0x0C7F),
    ("kn", 0x0C80, 0x0CFF),
    ("ml", 0x0D00, 0x0D7F),
    ("si", 0x0D80, 0x0DFF),
    ("th", 0x0E00, 0x0E7F),
    ("lo", 0x0E80, 0x0EFF),
    ("bo", 0x0F00, 0x0FFF),
    ("my", 0x1000, 0x109F),
    ("ka", 0x10A0, 0x10FF),
    ("ko", 0x1100, 0x11FF),
    ("km", 0x1780, 0x17FF),
    ("kana", 0x3040, 0x30FF),
    ("han", 0x3400, 0x4DBF),
    ("han", 0x4E00, 0x9FFF),
    ("ko", 0xAC00, 0xD7A3),
    ("arab", 0x0600, 0x06FF),
    ("cyrl", 0x0400, 0x052F),
    ("deva", 0x0900, 0x097F),
    ("ethi", 0x1200, 0x137F),
)
_SHARED = frozenset({"arab", "cyrl", "deva", "ethi", "latin", "other"})
# Three letters (ISO 639-3, as the detector gives them) to the tag; macrolanguages by their usual name.
_TAGS = {
    "afr": "af", "aka": "ak", "amh": "am", "ara": "ar", "aze": "az", "bel": "be", "ben": "bn", "bul": "bg",
    "cat": "ca", "ces": "cs", "cmn": "zh", "cym": "cy", "dan": "da", "deu": "de", "ell": "el", "eng": "en",
    "epo": "eo", "est": "et", "fin": "fi", "fra": "fr", "guj": "gu", "heb": "he", "hin": "hi", "hrv": "hr",
    "hun": "hu", "hye": "hy", "ind": "id", "ita": "it", "jav": "jv", "jpn": "ja", "kan": "kn", "kat": "ka",
    "khm": "km", "kor": "ko", "lat": "la", "lav": "lv", "lit": "lt", "mal": "ml", "mar": "mr", "mkd": "mk",
    "mya": "my", "nep": "ne", "nld": "nl", "nob": "nb", "ori": "or", "pan": "pa", "pes": "fa", "pol": "pl",
    "por": "pt", "ron": "ro", "rus": "ru", "sin": "si", "slk": "sk", "slv": "sl", "sna": "sn", "spa": "es",
    "srp": "sr", "swe": "sv", "tam": "ta", "tel": "te", "tgl": "tl", "tha": "th", "tuk": "tk", "tur": "tr",
    "ukr": "uk", "urd": "ur", "uzb": "uz", "vie": "vi", "yid": "yi", "zul": "zu",
}  # fmt: skip
_NOISE = re.compile(r"<[^<>]{1,200}>|`[^`\n]*`")
_NO_WORD = re.compile(r"[_/\\{}=@]")  # addresses, paths, code
_LONGEST_WORD = 200  # characters; what is longer has no spaces, as in East Asia


def script_language(text: str) -> str | None:
    """Return the language that the text's main script means, None for a script of many languages.

    `und` is returned for a text with too few letters to judge.
    """
    found = Counter(_script(character) for character in text[:_SAMPLE] if character.isalpha())
    if found.total() < _FEWEST_LETTERS_OF_OWN_SCRIPT:
        return UNDETERMINED
    east_asian = found["han"] + found["kana"]
    if east_asian * 2 > found.total():
        return "ja" if found["kana"] * 20 > east_asian else "zh"
    script, count = found.most_common(1)[0]
    if script not in _SHARED and count * 2 > found.total():
        return script
    return UNDETERMINED if found.total() < _FEWEST_LETTERS else None


def _script(character: str) -> str:
    code = ord(character)
    if code < 0x0370:
        return "latin"
    return next((name for name, first, last in _SCRIPTS if first <= code <= last), "other")


def detect_language(text: str, *, seconds: float, memory_bytes: int) -> str:
    """Return the tag of the language in which the text is written, `und` when it cannot be told."""
    sample = _prose(text[: 2 * _SAMPLE])[:_SAMPLE]
    by_script = script_language(sample)
    if by_script is not None or not isolation.available():
        return by_script or UNDETERMINED
    answer, _ = isolation.ask({"do": "language"}, sample.encode(), seconds=seconds, memory_bytes=memory_bytes)
    return _TAGS.get(answer.get("language") or "", UNDETERMINED)


def _prose(text: str) -> str:
    """Leave out what is no writing; not by one pattern, for that would take long over a word without end."""
    return " ".join(word for word in _NOISE.sub(" ", text).split() if not _is_noise(word))


def _is_noise(word: str) -> bool:
    return _NO_WORD.search(word) is not None and (len(word) <= _LONGEST_WORD or word.isascii())
