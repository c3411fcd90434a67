"""A text becomes subtitle lines: as long as its language allows, broken where a reader would pause.

Characters are counted as the published guides count them: where a language is written in full-width
characters a half-width one is half of one, a combining mark is none. A word stays whole unless it alone is
longer than a line; in scripts without spaces no line begins with a closing mark, a small kana or a following
vowel, and none ends with an opening mark; a character is never parted from its marks.

Sources: Netflix, "Timed Text Style Guide", general requirements and the guides of each language, 2023
(characters a line, lines, characters a second; break after punctuation and before conjunctions, keep an
article with its noun); W3C, "Requirements for Japanese Text Layout", 2020, 3.1.7 (what begins no line); UAX
#29 (clusters) and UAX #11 (width).
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from database_handler.content.subtitle_words import ARTICLES, CONJUNCTIONS, TITLES
from database_handler.core.exceptions import InvalidValue
from database_handler.utils.text import plain_text
from database_handler.utils.validators import canonical_language, verbatim

__all__ = ["LineRule", "clusters", "line_rule", "subtitle_lines"]


@dataclass(frozen=True, slots=True)
class LineRule:
    """How long subtitles may be, and how fast they can be read.

    Attributes
    ----------
    chars : int
        Characters a line; full-width ones where `wide` is set, and then a half-width one is half of one.
    lines : int
        Lines a cue.
    speed : float
        Characters a second that adults read.
    """

    chars: int
    lines: int = 2
    wide: bool = False
    speed: float = 17.0

    def width(self, text: str) -> float:
        """Return the characters of a line of text, as the rule counts them."""
        return self.cells(text) / (2 if self.wide else 1)

    def cells(self, text: str) -> int:
        """Return the width in cells: a full-width character takes two."""
        return sum(_width(character, self.wide) for character in plain_text(text))

    @property
    def line_cells(self) -> int:
        """The cells of a whole line."""
        return self.chars * (2 if self.wide else 1)


_LATIN = LineRule(42)  # and every other script that is read by words
_CHINESE = LineRule(16, wide=True, speed=9)
_THAI = LineRule(35)
_RULES = {
    "en": LineRule(42, speed=20),
    "ar": _LATIN,
    "ja": LineRule(13, wide=True, speed=4),
    "ko": LineRule(16, wide=True, speed=12),
    **dict.fromkeys(("zh", "cmn", "yue", "wuu", "nan", "hak", "lzh"), _CHINESE),
    # The guides name Thai; its neighbours are written like it, and have no guide of their own there.
    **dict.fromkeys(("th", "lo", "km", "my"), _THAI),
}


def line_rule(language: str = "und") -> LineRule:
    """Return the rule of a language: that of its first subtag, or of Latin script where the tag says Latn.

    Raises
    ------
    InvalidValue
        It is no BCP 47 tag.
    """
    subtags = canonical_language(language).split("-")
    return _LATIN if "Latn" in subtags else _RULES.get(subtags[0], _LATIN)


def subtitle_lines(
    text: str, language: str = "und", chars: int | None = None, lines: int | None = None
) -> tuple[tuple[str, ...], ...]:
    """Return the lines of each cue; joined again they are the text, but for white space.

    A blank line in the text begins a new cue; any other white space is a place to break.

    Parameters
    ----------
    chars, lines : int, optional
        In place of the language's: 4 to 1,000 characters a line, 1 to 10 lines a cue.

    Raises
    ------
    InvalidValue
        One of these is out of range, or the language is no BCP 47 tag.
    """
    rule = _adjusted(line_rule(language), chars, lines)
    words = _Words(canonical_language(language).split("-")[0])
    paragraphs = (re.split(r"\s+", part.strip()) for part in _BLANK_LINE.split(verbatim(text)))
    atoms = (list(_atoms(part, rule, words)) for part in paragraphs if any(part))
    return tuple(cue for part in atoms for cue in _arranged(part, rule))


_BLANK_LINE = re.compile(r"(?:\r\n?|\n)[^\S\r\n]*(?:\r\n?|\n)")


def _adjusted(rule: LineRule, chars: int | None, lines: int | None) -> LineRule:
    if chars is not None and (type(chars) is not int or not 4 <= chars <= 1000):
        raise InvalidValue("chars: a line has 4 to 1,000 characters")
    if lines is not None and (type(lines) is not int or not 1 <= lines <= 10):
        raise InvalidValue("lines: a cue has 1 to 10 lines")
    return replace(rule, chars=chars or rule.chars, lines=lines or rule.lines)


# -------------------------------------------------------------------------------------------------- clusters


def clusters(text: str) -> Iterator[str]:
    """Give the characters as a reader sees them: each with its marks, emoji and syllables whole."""
    start, flags = 0, 0
    for place in range(1, len(text)):
        flags = flags + 1 if _is_flag(text[place - 1]) else 0
        if not _belongs(text[place - 1], text[place], flags):
            yield text[start:place]
            start = place
    if text:
        yield text[start:]


@lru_cache(maxsize=65_536)
def _extends(character: str) -> bool:
    """Whether it belongs to the character before it, whatever that is."""
    return (
        unicodedata.category(character) in {"Mn", "Me", "Mc"}
        or character in "\u200c\u200d\u0e33\u0eb3\uff9e\uff9f"  # joiners, Thai and Lao AM, half-width voicing
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= character <= "\U000e007f"  # tags in flags
    )


def _belongs(before: str, character: str, flags: int) -> bool:
    if before.isascii() and character.isascii():
        return before == "\r" and character == "\n"
    if _extends(character) or (before == "\u200d" and unicodedata.category(character) == "So"):
        return True
    if _is_flag(character):
        return flags % 2 == 1
    return _conjunct(before, character) or _syllable(before, character)


def _is_flag(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _conjunct(before: str, character: str) -> bool:
    """Whether a virama ties a consonant to the one before; Burmese asat only ends a syllable."""
    tied = unicodedata.combining(before) == 9 and before != "\u103a"
    return tied and unicodedata.category(character) == "Lo"


def _syllable(before: str, character: str) -> bool:
    """Whether two letters of Hangul are parts of one syllable."""
    part, next_part = _hangul(before), _hangul(character)
    return next_part in {"L": ("L", "V", "S"), "V": ("V", "T"), "S": ("V", "T"), "T": ("T",)}.get(part, ())


def _hangul(character: str) -> str:
    for kind, first, last in _HANGUL:
        if first <= character <= last:
            return kind
    return ""


_HANGUL = (
    ("L", "\u1100", "\u115f"), ("V", "\u1160", "\u11a7"), ("T", "\u11a8", "\u11ff"),
    ("L", "\ua960", "\ua97c"), ("S", "\uac00", "\ud7a3"), ("V", "\ud7b0", "\ud7c6"),
    ("T", "\ud7cb", "\ud7fb"),
)  # fmt: skip


@lru_cache(maxsize=65_536)
def _width(character: str, wide: bool) -> int:
    if character.isascii():
        return int(" " <= character <= "~")
    if _extends(character) or unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp"}:
        return 0
    if "\u1160" <= character <= "\u11ff":  # drawn within the syllable that the first letter began
        return 0
    return 2 if unicodedata.east_asian_width(character) in ({"W", "F", "A"} if wide else {"W", "F"}) else 1


# ----------------------------------------------------------------------------------------------------- atoms

# How good a place is for a break, best first.
_SENTENCE, _CLAUSE, _CONJUNCTION, _WORD, _TIGHT, _INSIDE, _CUT = range(7)
_LINE_PENALTY = (0.0, 0.1, 0.2, 0.4, 0.8, 0.8, 4.0)
_CUE_PENALTY = (0.0, 0.3, 0.6, 0.9, 1.4, 1.4, 6.0)

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3105-\u312f\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff9f\U0001b000-\U0001b16f"
    "\U00020000-\U0003ffff]"
)
_HAN_OR_KANA = re.compile("[\u30a0-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")
_LEADING_VOWEL = re.compile("[\u0e40-\u0e44\u0ec0-\u0ec4]")  # of Thai and Lao: a syllable begins with it
_HIRAGANA = re.compile("[\u3041-\u309f]")
_SPACED_PHRASES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")  # where a space ends a phrase
_NOT_FIRST = frozenset(
    "ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶㇰㇱㇲㇳㇴㇵㇶㇷㇸㇹㇺㇻㇼㇽㇾㇿｧｨｩｪｫｬｭｮｯｰー々〻ゝゞヽヾ〜～゠–%％‰°℃"
    "\u0e2f\u0e30\u0e32\u0e45\u0e46\u0eaf\u0eb0\u0eb2\u0ebd\u0ec6\u17d7"
)
_NOT_LAST = frozenset("$＄£￡¥￥€№\u0e40\u0e41\u0e42\u0e43\u0e44\u0ec0\u0ec1\u0ec2\u0ec3\u0ec4¿¡")
_NO_BREAK = frozenset("\u2060\ufeff\u00a0\u202f")


@dataclass(frozen=True, slots=True)
class _Atom:
    """What no line parts: its cells, whether a space stands before it, how good a break after it is."""

    text: str
    cells: int
    spaced: bool
    after: int


class _Words:
    """What a language keeps together, and what begins a new thought."""

    def __init__(self, language: str) -> None:
        self.articles = ARTICLES.get(language, frozenset())
        self.conjunctions = CONJUNCTIONS.get(language, frozenset())

    def between(self, word: str, following: str) -> int:
        """How good the space between two words is for a break."""
        bare = word.rstrip("\"'”’»)]}」』）】》〉")
        if word[:-1].strip("(\"'“‘«.") in TITLES:
            return _TIGHT
        if bare.endswith(_ENDS) and not (bare.endswith(".") and _abbreviated(bare, following)):
            return _SENTENCE
        if bare.endswith(_PAUSES) or _SPACED_PHRASES.search(word[-1:]):
            return _CLAUSE
        if following.lower() in self.conjunctions:
            return _CONJUNCTION
        return _TIGHT if word.lower() in self.articles else _WORD


_ENDS = (".", "!", "?", "…", "。", "！", "？", "؟", "۔", "।", "॥", "።", "។", "៕", "။")
_PAUSES = (",", ";", ":", "，", "、", "；", "：", "،", "؛", "—", "–", "་", "།")


def _abbreviated(word: str, following: str) -> bool:
    """Whether a full stop ends no sentence: after a single letter, or before a small one."""
    return len(word.strip("(\"'“‘«.")) == 1 or following[:1].islower()


def _atoms(words: Sequence[str], rule: LineRule, known: _Words) -> Iterator[_Atom]:
    """Give the atoms of a paragraph; one that is wider than a line is cut into its clusters."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        end = known.between(word, following)
        pieces = list(_pieces(word)) if _UNSPACED.search(word) else [word]
        for place, piece in enumerate(pieces):
            last = place == len(pieces) - 1
            after = end if last else _within(piece, pieces[place + 1])
            yield from _fitting(_Atom(piece, rule.cells(piece), place == 0, after), rule)


def _fitting(atom: _Atom, rule: LineRule) -> Iterable[_Atom]:
    if atom.cells <= rule.line_cells:
        return [atom]
    parts = list(_shown(atom.text, rule))
    ends = [_CUT] * (len(parts) - 1) + [atom.after]
    return [
        _Atom(part, rule.cells(part), atom.spaced and place == 0, end)
        for place, (part, end) in enumerate(zip(parts, ends, strict=True))
    ]


def _shown(text: str, rule: LineRule) -> Iterator[str]:
    """Give the clusters, those that take no room joined to one that does: no line has endlessly many."""
    held, seen = "", False
    for cluster in clusters(text):
        takes_room = rule.cells(cluster) > 0
        if seen and takes_room:
            yield held
            held, seen = "", False
        held += cluster
        seen = seen or takes_room
    yield held


def _pieces(word: str) -> Iterator[str]:
    """Cut a word that is written without spaces where a line may end."""
    held = ""
    for cluster in clusters(word):
        if held and _parts(held[-1], held, cluster):
            yield held
            held = ""
        held += cluster
    yield held


def _parts(last: str, held: str, cluster: str) -> bool:
    first = cluster[0]
    if first in _NO_BREAK or last in _NO_BREAK or first in _NOT_FIRST or last in _NOT_LAST:
        return False
    if unicodedata.category(first) in {"Pe", "Pf", "Po"} or unicodedata.category(last) in {"Ps", "Pi"}:
        return False
    return bool(_UNSPACED.search(held[-1]) or _UNSPACED.match(first) or _UNSPACED.match(held))


def _within(piece: str, following: str) -> int:
    """How good a break is between two pieces of one run: after a mark, or where a phrase or syllable ends."""
    if piece.endswith(_ENDS):
        return _SENTENCE
    if piece.endswith(_PAUSES):
        return _CLAUSE
    phrase = _HIRAGANA.match(piece[-1]) and _HAN_OR_KANA.match(following)
    return _WORD if phrase or _LEADING_VOWEL.match(following) else _INSIDE


# --------------------------------------------------------------------------------------------------- arrange


def _arranged(atoms: Sequence[_Atom], rule: LineRule) -> Iterator[tuple[str, ...]]:
    """Give the cues of a paragraph: the lines that cost least, taken together.

    A line costs its share of being there and the square of its fill, so that few lines are made, and even
    ones; a break costs by how good its place is, and between cues it costs more.
    """
    ends = _ends(atoms, rule)
    lines: list[str] = []
    for start, end, opens in ends:
        if opens and lines:
            yield tuple(lines)
            lines = []
        lines.append("".join((" " if a.spaced else "") + a.text for a in atoms[start:end]).strip())
    yield tuple(lines)


_NEW_CUE = 0.6
_EVENNESS = 1.5


def _ends(atoms: Sequence[_Atom], rule: LineRule) -> list[tuple[int, int, bool]]:
    """Return the lines as (first atom, atom after the last, whether it opens a cue), by shortest path.

    `best[i][k]` is what the lines up to atom i cost when the last of them is number k of its cue.
    """
    limit, size = rule.line_cells, len(atoms)
    best: list[list[tuple[float, int, int]]] = [[] for _ in range(size + 1)]
    closed = [(0.0, 0)] + [(0.0, 0)] * size  # what it costs to open a cue there, and the last line's number
    for end in range(1, size + 1):
        reached = [(_NOWHERE, 0, 0)] * rule.lines
        for start, cells in _starts(atoms, end, limit):
            line = 1 + _EVENNESS * (cells / limit) ** 2
            _improve(reached, 0, closed[start][0] + line, start, closed[start][1])
            for number in range(1, rule.lines if start else 0):
                cost = best[start][number - 1][0] + _LINE_PENALTY[atoms[start - 1].after] + line
                _improve(reached, number, cost, start, number - 1)
        best[end] = reached
        cheapest = min(range(rule.lines), key=lambda number: reached[number][0])
        closed[end] = (reached[cheapest][0] + _CUE_PENALTY[atoms[end - 1].after] + _NEW_CUE, cheapest)
    return _traced(best, size)


_NOWHERE = float("inf")


def _improve(
    reached: list[tuple[float, int, int]], number: int, cost: float, start: int, previous: int
) -> None:
    if cost < reached[number][0]:
        reached[number] = (cost, start, previous)


def _starts(atoms: Sequence[_Atom], end: int, limit: int) -> Iterator[tuple[int, int]]:
    """Give each atom that a line ending before `end` can begin with, and the line's cells."""
    cells = 0
    for start in range(end - 1, -1, -1):
        cells += atoms[start].cells
        if cells > limit and start < end - 1:
            return
        yield start, cells
        cells += atoms[start].spaced


def _traced(best: Sequence[Sequence[tuple[float, int, int]]], size: int) -> list[tuple[int, int, bool]]:
    found: list[tuple[int, int, bool]] = []
    end, number = size, min(range(len(best[size])), key=lambda each: best[size][each][0])
    while end:
        _, start, previous = best[end][number]
        found.append((start, end, number == 0))
        end, number = start, previous
    return found[::-1]
