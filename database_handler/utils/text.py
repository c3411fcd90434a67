"""Text is given back in one documented form, or refused: verbatim, stripped and NFC, one line, a slug.

Sources: UAX #15 (normalisation); UAX #29 (words).
"""

import hashlib
import html
import re
import unicodedata
from functools import cache
from typing import Final, TypeGuard

from database_handler.utils.errors import InvalidValue

__all__ = [
    "KEY_BYTES",
    "NOT_IN_LINE",
    "count_words",
    "counted",
    "is_printable_ascii",
    "label",
    "length_in_words",
    "letters_a_word",
    "nfc_stripped",
    "plain_text",
    "sha256_hex",
    "slugify",
    "unescaped",
    "verbatim",
    "within_key",
]

KEY_BYTES: Final = 2_000
"""The bytes that text may take where it is part of a key: a B-tree entry holds about 2,700."""

_CHUNK: Final = 1 << 20
_NOT_IN_TEXT: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
NOT_IN_LINE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


_HUGE_REFERENCE: Final = re.compile(r"&#(?:[0-9]{8,}|[xX][0-9a-fA-F]{8,});?")


def unescaped(text: str) -> str:
    """Put characters in place of references (``&eacute;``); one to no character at all becomes U+FFFD."""
    return html.unescape(_HUGE_REFERENCE.sub("\ufffd", text) if "&#" in text else text)


def is_printable_ascii(value: object) -> TypeGuard[str]:
    """Tell whether a value is one line of visible ASCII and spaces: most are, and no rule alters those.

    They are stripped of the spaces at their ends by the rules that do that, and need no closer look.
    """
    return type(value) is str and value.isascii() and value.isprintable()


def verbatim(value: object) -> str:
    """Give text back unaltered, or refuse it: NUL and lone surrogates cannot be stored as they are."""
    if type(value) is str and value.isascii() and "\0" not in value:  # 200 times as fast as `isprintable`
        return value
    text = plain_text(value)
    if "\0" in text:
        raise InvalidValue("text holds a NUL character, which PostgreSQL cannot store")
    if not text.isascii():
        _refuse_surrogates(text)
    return text


def plain_text(value: object) -> str:
    """Give text back as it is; a value of another type is refused."""
    if isinstance(value, str):
        return value
    raise InvalidValue(f"text is needed, not {type(value).__name__}")


def _refuse_surrogates(text: str) -> None:
    try:
        for start in range(0, len(text), _CHUNK):  # in pieces: a second copy of a large text is not needed
            text[start : start + _CHUNK].encode()
    except UnicodeEncodeError:
        pass
    else:
        return
    raise InvalidValue("text holds half of a surrogate pair, which is no character")


def nfc_stripped(value: object) -> str:
    """Give text in NFC without white space at its ends; line breaks and tabs inside are kept."""
    if is_printable_ascii(value):
        return value.strip()
    text = unicodedata.normalize("NFC", verbatim(value)).strip()
    if _NOT_IN_TEXT.search(text):
        raise InvalidValue("text holds a control character; only tab and line breaks are allowed")
    return text


def label(value: object) -> str:
    """Give one line of text in NFC without white space at its ends; something in it can be seen."""
    if is_printable_ascii(value):
        return value.strip()
    text = nfc_stripped(value)
    if NOT_IN_LINE.search(text):
        raise InvalidValue("text holds a control character or a line break; one line is allowed")
    if text and not any(_visible(character) for character in text):
        raise InvalidValue("text holds invisible characters only")
    return text


def _visible(character: str) -> bool:
    return unicodedata.category(character)[0] not in "ZCM"


def within_key(text: str) -> str:
    """Give text back that fits a key of the database, or refuse it."""
    if len(text.encode()) > KEY_BYTES:
        raise InvalidValue(f"text is longer than {KEY_BYTES} bytes of UTF-8, the most that a key holds")
    return text


def sha256_hex(text: str) -> str:
    """Give the SHA-256 of the text's UTF-8 as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(verbatim(text).encode()).hexdigest()


_FOLDED: Final = str.maketrans(
    {
        "æ": "ae",
        "œ": "oe",
        "ø": "o",
        "đ": "d",
        "ð": "d",
        "þ": "th",
        "ł": "l",
        "ħ": "h",
        "ı": "i",
        "ŋ": "n",
        "ŧ": "t",
    }
)


def slugify(name: str) -> str:
    """Make a slug of ASCII letters and digits from a name, the same one each time.

    Accents are folded away. Where letters of another script had to be left out, eight digits of the name's
    SHA-256 tell such names apart; a name that leaves nothing becomes ``p-`` and those digits.
    """
    plain = unicodedata.normalize("NFKD", verbatim(name)).casefold()
    folded = unicodedata.normalize("NFKD", plain).translate(_FOLDED)
    bare = "".join(character for character in folded if not unicodedata.combining(character))
    slug = re.sub(r"[^a-z0-9]+", "-", re.sub(r"['\u2019]", "", bare)).strip("-")
    if slug and not any(character.isalnum() and not character.isascii() for character in bare):
        return slug[:200].strip("-")
    return f"{slug[:191].strip('-') or 'p'}-{sha256_hex(unicodedata.normalize('NFC', plain).strip())[:8]}"


_BY_FIVE: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
_BY_TWO: Final = (  # Han and kana
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_ONE_BY_ONE: Final = _BY_FIVE + _BY_TWO


def count_words(text: str) -> int:
    """Count words without a dictionary.

    A word is a run of letters, digits and marks, held together by an apostrophe or underscore inside it and
    by a point or comma between digits. Scripts written without spaces (Han, kana, Thai, Lao, Khmer, Burmese)
    count each letter as one word: as word processors do for the first two, an upper bound for the others.
    """
    return sum(1 for _ in _word().finditer(plain_text(text)))


@cache
def _word() -> re.Pattern[str]:
    """Compile the pattern once, on first use: `re` has no class for marks, and listing them takes a while."""
    marks = "".join(chr(code) for code in range(0x300, 0x20000) if unicodedata.category(chr(code))[0] == "M")
    letters = f"[^\\W_{_ONE_BY_ONE}]"
    # Each character fits in one place only, so that no text makes it try twice. It is not written with
    # possessive groups: within each other they match wrongly before Python 3.11.5.
    piece = f"(?:{letters}+|[{marks}]+{letters}*)(?:[{marks}]+{letters}*)*"
    joined = f"['\u2019_]{piece}|(?<=\\d)[.,](?=\\d){piece}"
    return re.compile(f"(?=[^\\W_])(?:[{_ONE_BY_ONE}]|{piece}(?:{joined})*)")


_LETTERS_OF_TWO: Final = re.compile(f"(?=[^\\W_])[{_BY_TWO}]")
_LETTERS_OF_FIVE: Final = re.compile(f"(?=[^\\W_])[{_BY_FIVE}]")
_TWO: Final = frozenset({"zh", "cmn", "yue", "wuu", "nan", "hak", "gan", "hsn", "lzh", "ja"})
_FIVE: Final = frozenset({"th", "lo", "my", "km", "shn", "mnw", "nod", "tts"})
_WITHOUT_SPACES: Final = frozenset(
    {"hani", "hans", "hant", "jpan", "hira", "kana", "thai", "laoo", "mymr", "khmr"}
)


def length_in_words(text: str) -> int:
    """Give the length of a text in words of a language with spaces, so that limits mean one thing everywhere.

    Two letters of Han or kana, or five of Thai, Lao, Burmese or Khmer, make about what one such word says.
    """
    text = plain_text(text)
    by_two, by_five = len(_LETTERS_OF_TWO.findall(text)), len(_LETTERS_OF_FIVE.findall(text))
    return count_words(text) - by_two - by_five + -(-by_two // 2) + -(-by_five // 5)


def letters_a_word(language: str) -> int:
    """Give how many of the words that `count_words` counts make one, in texts of a language: 1, 2 or 5.

    A script in the tag decides first: ``zh-Latn`` is written with spaces.
    """
    primary, *subtags = plain_text(language).lower().split("-")
    scripts = [subtag for subtag in subtags if len(subtag) == 4 and subtag.isalpha()]
    if scripts and scripts[0] not in _WITHOUT_SPACES:
        return 1
    return 2 if primary in _TWO else 5 if primary in _FIVE else 1


def counted(number: int, thing: str, things: str | None = None) -> str:
    """Return a number with its noun, in the plural unless it is one.

    >>> counted(1, "row"), counted(2_000, "row"), counted(0, "batch", "batches")
    ('1 row', '2,000 rows', '0 batches')
    """
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"
