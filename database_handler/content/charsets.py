"""Text is decoded exactly or refused: no character is ever replaced.

In this order: a byte order mark; UTF-8; what the text itself declares (HTML, XML); and last, for old 8-bit
and East Asian files, the charset in which the bytes read most like writing. That last one is a judgement,
which `Decoded.detected` tells: letters that are common in their script count for a charset, signs and
mixtures that no writing has count against it, and without a clear answer the text is refused.
"""

import codecs
import re
from dataclasses import dataclass
from itertools import pairwise

from database_handler.content.errors import NotText

__all__ = ["Decoded", "decode"]


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text, the charset (its Python name) it was in, and whether that charset was a judgement."""

    text: str
    encoding: str
    detected: bool = False


_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_DECLARED = re.compile(
    rb"""<\?xml[^>]{0,100}encoding=["']([\w.:-]{2,40})["']|<meta[^>]{0,200}charset=["']?([\w.:-]{2,40})""",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"[\x01-\x08\x0e-\x1a\x1c-\x1f\x7f]")  # not tab, line ends, form feed, escape
_REFUSED = "the bytes are no text in a charset that can be told; save it as UTF-8"


def decode(data: bytes) -> Decoded:
    """Return the text that the bytes stand for, without its byte order mark.

    Raises
    ------
    NotText
        The bytes hold a NUL, too many control characters, or no charset fits them.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            decoded = Decoded(_strictly(data[len(mark) :], name), name)
            return _checked(decoded)
    if b"\0" in data:
        raise NotText
    return _checked(_unmarked(data))


def _unmarked(data: bytes) -> Decoded:
    try:
        return Decoded(data.decode("utf-8"), "utf-8")
    except UnicodeDecodeError:
        pass
    declared = _declared(data)
    if declared is not None:
        return Decoded(_strictly(data, declared), declared)
    return _judged(data)


def _strictly(data: bytes, charset: str) -> str:
    try:
        return data.decode(charset)
    except UnicodeDecodeError:
        pass
    raise NotText(f"the text says that it is {charset}, and its bytes are not")


def _declared(data: bytes) -> str | None:
    if (found := _DECLARED.search(data[:2048])) is None:
        return None
    name = (found[1] or found[2]).decode("ascii")
    # WHATWG "Encoding": pages that say Latin-1 or ASCII are read as windows-1252 everywhere.
    name = "cp1252" if name.lower() in ("iso-8859-1", "latin1", "us-ascii", "ascii") else name
    try:
        known = codecs.lookup(name)
    except LookupError:
        return None
    text_codec: bool = getattr(known, "_is_text_encoding", True)  # base64, zip and the like are none
    return known.name if text_codec and not known.name.startswith(("utf-16", "utf-32", "utf-8")) else None


def _checked(decoded: Decoded) -> Decoded:
    text = decoded.text
    if "\0" in text:
        raise NotText("the text holds a NUL character")
    allowed = 0 if decoded.detected else len(text) // 10
    if len(text) - len(_CONTROL.sub("", text)) > allowed:
        raise NotText
    return decoded


# What tells one charset from another: the letters that make up most of ordinary writing in it.
_COMMON = {
    "latin": "éèàçêùâîôöäüßåøæñóíáúãõìò’“”–«»…€°·",
    "central": "ąćęłńóśźżáčďéěíňřšťúůýžőűöüâăîșțşţäđ’“”–„",
    "turkish": "çğıöşüİŞĞâ’“”–",
    "cyrillic": "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфіїєё",
    "greek": "αιοτεσνηρςκπυμλίόάέήύώδγθωχφβξζψ",
    "hebrew": "יוהלארתבשמנםדעחקכפסטגצזךןףץ",
    "arabic": "اليمونترةبعدسفهكقحجشطصخأضزثذئغءىظإؤآ،",
    "thai": "านรอกเงมยลวดทสตะปบคห่้ีัิไแพใจชขโุ็ู์ำื",
}
_SINGLE = (
    ("cp1252", "latin"),
    ("cp1250", "central"),
    ("iso8859-2", "central"),
    ("cp1254", "turkish"),
    ("cp1251", "cyrillic"),
    ("koi8-r", "cyrillic"),
    ("cp866", "cyrillic"),
    ("iso8859-5", "cyrillic"),
    ("cp1253", "greek"),
    ("cp1255", "hebrew"),
    ("cp1256", "arabic"),
    ("cp874", "thai"),
)
_DOUBLE = ("shift_jis", "euc-jp", "gb18030", "big5", "euc-kr")
_JAPANESE = ("shift_jis", "euc-jp")
_ENOUGH = 0.5


def _judged(data: bytes) -> Decoded:
    sample = data[:100_000]
    if (end := len(sample)) < len(data):
        end = max(sample.rfind(b"\n"), 1)  # do not cut a character of two bytes in half
    candidates = [
        (_double_score(text, name), name)
        for name in _DOUBLE
        if (text := _maybe(sample[:end], name)) is not None
    ] + [
        (_single_score(text, _COMMON[script]), name)
        for name, script in _SINGLE
        if (text := _maybe(sample[:end], name)) is not None
    ]
    for score, name in sorted(candidates, key=lambda candidate: -candidate[0]):
        if score >= _ENOUGH and (text := _maybe(data, name)) is not None:
            return Decoded(text, name, detected=True)
    raise NotText(_REFUSED)


def _maybe(data: bytes, charset: str) -> str | None:
    try:
        return data.decode(charset)
    except UnicodeDecodeError:
        return None


def _double_score(text: str, charset: str) -> float:
    """Return the share of the characters beyond ASCII that are everyday ones of East Asia."""
    foreign = [character for character in text if character > "\x7f"]
    if not foreign:
        return 0.0
    everyday = sum(map(_everyday, foreign)) / len(foreign)
    # Japanese is hardly written without kana; without it the characters are those of another charset.
    if charset in _JAPANESE and not any("\u3040" <= character <= "\u30ff" for character in foreign):
        everyday /= 2
    # Two bytes at random give a character more often than not, so a few of them prove little.
    return everyday * min(1.0, len(foreign) / 4)


def _everyday(character: str) -> float:
    code = ord(character)
    if 0x3040 <= code <= 0x30FF:  # kana
        return 1.0
    if 0xAC00 <= code <= 0xD7A3:  # Hangul
        return 0.95
    if 0x4E00 <= code <= 0x9FFF:
        return 0.9 if _is_common_han(character) else 0.1
    return 0.9 if code in range(0x3000, 0x3020) or code in range(0xFF01, 0xFF5F) else 0.0


def _is_common_han(character: str) -> bool:
    # The first level of GB 2312 and of JIS X 0208 and the frequent plane of Big5 hold the everyday ones.
    for charset, first, last in (("gb2312", 0xB0, 0xD7), ("euc-jp", 0xB0, 0xCF), ("big5", 0xA4, 0xC6)):
        encoded = character.encode(charset, "ignore")
        if len(encoded) == 2 and first <= encoded[0] <= last:
            return True
    return False


def _single_score(text: str, common: str) -> float:
    """Return how much of what lies beyond ASCII is common in the script, less what no writing has."""
    foreign = [character for character in text if character > "\x7f"]
    letters = sum(_weight(character, common) for character in foreign)
    odd = sum(_odd_pair(left, right) for left, right in pairwise(text) if left > "\x7f" or right > "\x7f")
    return (letters - 0.5 * odd) / len(foreign)


def _weight(character: str, common: str) -> float:
    # Capitals are rare in writing; read in the wrong charset, small letters often come out as capitals.
    if character in common:
        return 1.0
    return 0.6 if character.lower() in common else 0.0


def _odd_pair(left: str, right: str) -> bool:
    """Tell a pair that writing hardly has: a small letter before a capital, a sign inside a word."""
    if left.isalpha() and right.isalpha():
        return left.islower() and right.isupper()
    return (
        left.isalpha()
        and right > "\x7f"
        and right not in "’”»…–—، ּ"
        and not right.isalpha()
        and not _mark(right)
    )


def _mark(character: str) -> bool:
    return "\u0300" <= character <= "\u036f" or "\u0591" <= character <= "\u0ec9"
