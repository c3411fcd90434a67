"""A text is cut into tokens, words and signs, in one pass and without dictionaries; white space is the gap.

The rules are those of Unicode's word boundaries (UAX #29), with these choices:

* A grapheme cluster is never cut: marks, joiners, flags and emoji sequences stay with what they belong to.
* A word is a run of letters, digits, marks and underscores. A point, an apostrophe or a middle dot between
  letters belongs to the word; a point, comma, apostrophe or narrow space between digits to the number.
  A colon between letters does in Finnish and Swedish. A hyphen is a token.
* In languages that elide (French, Italian, Catalan, Occitan and some more) an apostrophe ends its word:
  ``l'homme`` is ``l'`` and ``homme``.
* Han and Hiragana are cut character by character; a run of Katakana is one token.
* Thai, Lao, Khmer, Burmese and the Tai scripts are cut by syllable-like clusters: a vowel written first stays
  with its consonant, a stacked or silenced consonant with the one before it.
* Every other visible character is a token, a sign. Controls and invisible format characters between words are
  part of the gap, as white space is.

Every visible character so lies in exactly one token.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import Final

from database_handler.utils.arguments import checked
from database_handler.utils.errors import InvalidValue
from database_handler.utils.text import plain_text
from database_handler.utils.token_spans import Token, TokenKind, Tokens
from database_handler.utils.validators import canonical_language

__all__ = ["Token", "TokenKind", "Tokens", "detokenize", "tokenize"]

_ELIDING: Final = frozenset(
    {"ca", "co", "frp", "fr", "fur", "it", "lij", "lmo", "oc", "pms", "sc", "scn", "vec", "wa"}
)
_COLON: Final = frozenset({"fi", "sv"})


@checked
def tokenize(text: str, language: str = "und") -> Tokens:
    """Cut a text into tokens; the time grows with its length and nothing else.

    Parameters
    ----------
    language : str
        A BCP 47 tag. It decides only what an apostrophe and a colon inside a word do; scripts are told by
        their characters.

    Raises
    ------
    InvalidValue
        `text` is no text, or `language` no language.
    """
    spans = [found.span() for found in _pattern_of(language).finditer(plain_text(text))]
    return Tokens.unchecked(text, [start for start, _ in spans], [end for _, end in spans])


@checked
def detokenize(tokens: Tokens, texts: Sequence[str] | None = None) -> str:
    """Put a text together again from its tokens and the gaps between them: exactly what was tokenized.

    Parameters
    ----------
    texts : sequence of str, optional
        Other texts for the tokens, one for each, in the gaps of the old ones.
    """
    if not isinstance(tokens, Tokens):
        raise InvalidValue(f"detokenize takes Tokens, which know their gaps, not a {type(tokens).__name__}")
    parts = tokens.texts if texts is None else texts
    if len(parts) != len(tokens):
        raise InvalidValue(f"detokenize: {len(tokens)} tokens need as many texts, not {len(parts)}")
    gaps = tokens.gaps
    return "".join(part for pair in zip(gaps, parts, strict=False) for part in pair) + gaps[-1]


# ------------------------------------------------------------------------------------------------- patterns


@lru_cache(maxsize=256)
def _pattern_of(language: str) -> re.Pattern[str]:
    primary = canonical_language(language).split("-", 1)[0]
    return _pattern(primary in _ELIDING, primary in _COLON)


_FIRST_VOWELS: Final = "\u0e40-\u0e44\u0ec0-\u0ec4\uaab5\uaab6\uaab9\uaabb\uaabc"  # Thai, Lao, Tai Viet
_LAST_VOWELS: Final = "\u0e30\u0e32\u0e45\u0eb0\u0eb2\u0ebd"
_STACKING: Final = "\u1039\u17d2\u1a60"  # Burmese, Khmer, Tai Tham: the next consonant stands below
_CONSONANTS: Final = "\u1000-\u1021"  # Burmese, silenced by what follows
_SPACES: Final = " \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"  # Zs: a mark may stand on one
_CONTROLS: Final = "\t-\r\x1c-\x1f\x85\u2028\u2029"  # white space that no cluster begins with or goes over
_FLAG: Final = "[\U0001f1e6-\U0001f1ff]{1,2}"
_BEYOND: Final = "(?=[\U00010000-\U0010ffff])"  # tried first: long lists of ranges are slow


@cache
def _pattern(eliding: bool, colon: bool) -> re.Pattern[str]:
    """Compile the pattern for a kind of language, on first use: `re` knows no classes but letters.

    Each alternative begins with characters of its own and is never left half done, so that no text makes it
    try twice. It is not written with possessive groups: within each other they match wrongly before
    Python 3.11.5.
    """
    c = _classes()
    extended = f"[{c['x']}]*(?:{_BEYOND}[{c['X']}]+[{c['x']}]*)*"
    mark = f"[{_JOINERS}]*(?:[{c['m']}]|{_BEYOND}[{c['X']}]){extended}"
    pictured = f"[^\\w\\s{c['g']}{c['x']}{c['p']}\U0001f1e6-\U0001f1ff]"
    return re.compile(
        f"{_word(c, eliding, colon)}"
        f"|[!-/:-@[-^`{{-~]{extended}"
        f"|(?!\\s)(?:[{c['h']}]{extended}(?:[\u30fc\uff70]{extended})*"
        f"|{_syllable(c, extended)}"
        f"|(?:[{c['k']}]{extended})+"
        f"|{_FLAG}{extended}"
        f"|(?<![{_JOINERS}]){mark}"
        f"|[^\\s{c['g']}{_JOINERS}]{extended}(?:(?<=\u200d){pictured}{extended})*)"
        f"|[{_SPACES}](?={mark}){extended}"
    )


def _word(c: Mapping[str, str], eliding: bool, colon: bool) -> str:
    letter = f"(?:[{c['a']}]|{_BEYOND}[{c['A']}])"
    within = (
        f"[{c['x']}]+|[{c['a']}]+|{_BEYOND}[{c['A']}{c['X']}]|[{c['f']}]+(?={letter})"
        f"|{_joined(letter, eliding, colon)}|(?<=[{c['p']}])(?:{_FLAG}|[^{_CONTROLS}{c['g']}])"
    )
    elided = f"(?:(?<!\\d)['\u2019](?={letter}))?" if eliding else ""
    return f"(?:[{c['a']}]+|{_BEYOND}[{c['A']}])(?:{within})*{elided}"


def _joined(letter: str, eliding: bool, colon: bool) -> str:
    """Return what may stand between two letters, or two digits, without ending the word."""
    marks = ".\u00b7\u2027\u05f3\u05f4\uff0e" + (":" if colon else "") + ("" if eliding else "'\u2019")
    found = [
        f"(?<!\\d)[{marks}](?={letter})(?!\\d)",
        "(?<=\\d)[.,'\u2019\u066b\u066c\u2044\u202f\uff0c\uff0e](?=\\d)",
        '(?<=[\u05d0-\u05ea])"(?=[\u05d0-\u05ea])',
        "(?<=[\u1820-\u18aa])\u202f(?=[\u1820-\u18aa])",
    ]
    if eliding:
        found.append("(?:(?<=[Aa]ujourd)['\u2019](?=hui)|(?<=AUJOURD)['\u2019](?=HUI))")
    return "|".join(found)


def _syllable(c: Mapping[str, str], extended: str) -> str:
    return (
        f"[{_FIRST_VOWELS}]{{0,2}}[{c['s']}]{extended}(?:(?<=[{_STACKING}])[{c['s']}]{extended}"
        f"|[{_LAST_VOWELS}]{extended}|[{_CONSONANTS}](?=\u1037?\u103a){extended})*"
    )


# -------------------------------------------------------------------------------------------------- classes

_JOINERS: Final = "\u200c\u200d"
_BREAKING: Final = "\u200b"  # zero width space: where scripts without spaces may be cut
# Grapheme_Cluster_Break=Prepend: signs before a number, initial letters. They stay with what follows.
_PREPENDED: Final = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\u0d4e\u1cf5\u1cf6\U000110bd\U000110cd"
    "\U000111c2\U000111c3\U0001193f\U00011941\U00011a3a\U00011a84\U00011a85\U00011a86\U00011a87\U00011a88"
    "\U00011a89\U00011d46\U00011f02"
)
_RANGES: Final = {
    # Han, Hiragana, Tangut, Nushu: each character by itself. Long blocks are added in `_classes`.
    "h": "\u3005\u3007 \u3021\u3029 \u3038\u303c \u3041\u3096 \u309d\u309f \uf900\ufaff \U00016fe0\U00016fff "
    "\U00018b00\U00018d8f \U0001b001\U0001b11f \U0001b150\U0001b152 \U0001b170\U0001b2fb",
    # Katakana, small and of half width too.
    "k": "\u30a1\u30fa \u30fc\u30ff \u31f0\u31ff \uff66\uff9d \U0001aff0\U0001b000 \U0001b120\U0001b122 "
    "\U0001b155\U0001b167",
    # Those of Line_Break=SA: Thai, Lao, Burmese, Khmer, the Tai scripts, Ahom.
    "s": "\u0e01\u0eff \u1000\u109f \u1780\u17ff \u1950\u19df \u1a20\u1aaf \ua9e0\ua9ff \uaa60\uaadf "
    "\U00011700\U0001174f",
}
_APART: Final = {
    code: name
    for name, ranges in _RANGES.items()
    for ends in ranges.split()
    for code in range(ord(ends[0]), ord(ends[1]) + 1)
}
# Letters and signs by category, yet part of the cluster before them: vowels, voicing, skin tones, tags.
_ATTACHED: Final = frozenset("\u0e33\u0eb3\uff9e\uff9f").union(
    map(chr, (*range(0x1F3FB, 0x1F400), *range(0xE0020, 0xE0080)))
)


@cache
def _classes() -> Mapping[str, str]:
    """Return the classes of characters, each as the inside of a set.

    Letters and digits (a), those that stand alone (h), syllabic ones (s), Katakana (k); what extends a
    cluster (x) and is not a joiner (m); format characters (f), those before a letter (p), what belongs to
    gaps (g). Capital names hold what lies beyond U+FFFF.
    """
    members: dict[str, list[int]] = {name: [] for name in "ahskxmfpgAHSKXMFPG"}
    for code in (*range(0x3400), *range(0x4DC0, 0x4E00), *range(0xA000, 0xAC00), *range(0xD7A4, 0xD800),
                 *range(0xF900, 0x17000), *range(0x18B00, 0x20000), *range(0xE0000, 0xE01F0)):  # fmt: skip
        for name in _names_of(chr(code)):
            members[name if code < 0x10000 else name.upper()].append(code)
    classes = {name: _ranges(codes) for name, codes in members.items()}
    classes["a"] += "\uac00-\ud7a3"
    classes["h"] += "\u3400-\u4dbf\u4e00-\u9fff\U00017000-\U00018aff\U00020000-\U0003ffff" + classes["H"]
    return classes | {name: classes[name] + classes[name.upper()] for name in "skfpg"}


def _names_of(character: str) -> str:
    category = unicodedata.category(character)
    if character in _PREPENDED:
        return "ap"
    if category[0] == "M" or character in _ATTACHED:
        return "xm"
    if category == "Cf":
        return "x" if character in _JOINERS else "g" if character == _BREAKING else "fg"
    if category == "Cc":
        return "" if character.isspace() else "g"
    if not (character.isalnum() or character == "_"):
        return ""
    return _APART.get(ord(character), "a") if category[0] == "L" or category == "Nl" else "a"


def _ranges(codes: Sequence[int]) -> str:
    """Write code points, in order, as the inside of a set."""
    runs: list[list[int]] = []
    for code in codes:
        if runs and runs[-1][1] == code - 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return "".join(f"{re.escape(chr(first))}-{re.escape(chr(last))}" for first, last in runs)
