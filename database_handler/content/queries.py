"""A search query as people write it on the web, taken apart; any text is one, and none is an error.

Words that stand together are all wanted, ``"a phrase"`` in its order, ``-word`` and ``-"a phrase"`` are
refused, ``or`` divides alternatives. A quotation mark without its partner counts as a space. Characters of
scripts written without spaces form runs, which are looked for as they are written.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

from database_handler.core.text_search import UNSPACED

__all__ = [
    "Alternative",
    "Leaf",
    "Literal",
    "Phrase",
    "Query",
    "Run",
    "Words",
    "alphabet_of",
    "parse_query",
    "runs_of",
    "tokens_of",
    "words_of",
]


@dataclass(frozen=True, slots=True)
class Words:
    """Words to be stemmed, all of them wanted, in any order."""

    text: str


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words to be stemmed, one after another."""

    text: str


@dataclass(frozen=True, slots=True)
class Run:
    """Characters of a script without spaces, to be found as they stand."""

    text: str

    @property
    def pairs(self) -> tuple[str, ...]:
        """The pairs of neighbours; of a single character none."""
        return tuple(self.text[place : place + 2] for place in range(len(self.text) - 1))

    @property
    def literal(self) -> str | None:
        """What is looked up in the text itself: pairs may stand apart in it, where there is more than one."""
        return self.text if len(self.text) > 2 else None


@dataclass(frozen=True, slots=True)
class Literal:
    """A phrase with such characters in it: found as it is written, but for small and capital letters."""

    text: str
    parts: "tuple[Words | Run, ...]"

    @property
    def literal(self) -> str:
        """What is looked up in the text itself."""
        return self.text.lower()


Leaf = Words | Phrase | Run | Literal


@dataclass(frozen=True, slots=True)
class Alternative:
    """What a text holds all of, and what it holds none of."""

    wanted: tuple[Leaf, ...]
    refused: tuple[Leaf, ...] = ()


@dataclass(frozen=True, slots=True)
class Query:
    """The alternatives of a query; none where nothing in it can be looked for."""

    alternatives: tuple[Alternative, ...]

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """Everything that is looked up, in order."""
        return tuple(leaf for each in self.alternatives for leaf in (*each.wanted, *each.refused))

    @property
    def marked(self) -> tuple[str, ...]:
        """What a passage shows of runs and literals, longest first."""
        return _longest_first(
            leaf.text for each in self.alternatives for leaf in each.wanted if isinstance(leaf, Run | Literal)
        )

    @property
    def near(self) -> tuple[str, ...]:
        """What a passage shows of them where only a part of each is in it."""
        return _longest_first(
            pair
            for each in self.alternatives
            for leaf in each.wanted
            for run in runs_of(leaf)
            for pair in run.pairs
        )


def runs_of(leaf: Leaf) -> tuple[Run, ...]:
    """Return the runs of a leaf."""
    return tuple(part for part in _parts_of(leaf) if isinstance(part, Run))


def _longest_first(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(texts), key=lambda text: (-len(text), text)))


_QUOTES = str.maketrans(dict.fromkeys("\u201c\u201d\u201e\u201f\uff02", '"') | {"\0": " "})
_TOKEN = re.compile(r'(?P<minus>-*)(?:"(?P<phrase>[^"]*)"|(?P<word>[^\s"]+))')
_RUN = re.compile(f"[{UNSPACED}]+")
_LETTER = re.compile(r"\w")


@lru_cache(maxsize=256)
def parse_query(text: str) -> Query:
    """Take a query apart.

    An alternative that only refuses is left out: it would find nearly everything.
    """
    plain = unicodedata.normalize("NFC", text).translate(_QUOTES)
    if plain.count('"') % 2:
        place = plain.rindex('"')
        plain = f"{plain[:place]} {plain[place + 1 :]}"
    return Query(tuple(_alternatives(plain)))


def _alternatives(text: str) -> Iterator[Alternative]:
    wanted: list[Leaf] = []
    refused: list[Leaf] = []
    for token in _TOKEN.finditer(text):
        if (token["word"] or "").lower() == "or" and not token["minus"]:
            yield from _alternative(wanted, refused)
            wanted, refused = [], []
        else:
            leaves = tuple(_leaves(token))
            (refused if token["minus"] else wanted).extend(
                _refusable(token, leaves) if token["minus"] else leaves
            )
    yield from _alternative(wanted, refused)


def _alternative(wanted: list[Leaf], refused: list[Leaf]) -> Iterator[Alternative]:
    """Give what was gathered, plain words in one piece."""
    words = " ".join({leaf.text.lower(): leaf.text for leaf in wanted if isinstance(leaf, Words)}.values())
    rest = dict.fromkeys(leaf for leaf in wanted if not isinstance(leaf, Words))
    together = ((Words(words),) if words else ()) + tuple(rest)
    if together:
        yield Alternative(together, tuple(dict.fromkeys(refused)))


def _refusable(token: re.Match[str], leaves: tuple[Leaf, ...]) -> tuple[Leaf, ...]:
    """One thing is refused, though it be of several parts."""
    if len(leaves) < 2:
        return leaves
    return (Literal(token["word"], tuple(leaf for leaf in leaves if isinstance(leaf, Words | Run))),)


def _leaves(token: re.Match[str]) -> Iterator[Leaf]:
    if token["phrase"] is None:
        yield from _parts(token["word"])
    elif not _RUN.search(token["phrase"]):
        if _LETTER.search(token["phrase"]):
            yield Phrase(token["phrase"].strip())
    elif _RUN.fullmatch(found := token["phrase"].strip()):
        yield Run(found)
    else:
        yield Literal(found, tuple(_parts(found)))


def _parts(text: str) -> "Iterator[Words | Run]":
    end = 0
    for run in _RUN.finditer(text):
        yield from _words(text[end : run.start()])
        yield Run(run[0])
        end = run.end()
    yield from _words(text[end:])


def _words(text: str) -> Iterator[Words]:
    # Without what surrounds them, for nothing of it may be taken for an operator later on.
    for word in text.split():
        if (bare := _bare(word)) and bare.lower() != "or":
            yield Words(bare)


def _bare(word: str) -> str:
    kept = [place for place, character in enumerate(word) if unicodedata.category(character)[0] in "LMN"]
    return word[kept[0] : kept[-1] + 1] if kept else ""


# ------------------------------------------------------------------------------------------- misspelt words

SHORTEST, MOST_WORDS = 4, 6
LATIN = "abcdefghijklmnopqrstuvwxyz"


@lru_cache(maxsize=256)
def words_of(query: Query) -> tuple[str, ...]:
    """Return the first few wanted words that are long enough to be recognised when misspelt."""
    leaves = (part for each in query.alternatives for leaf in each.wanted for part in _parts_of(leaf))
    words = (word.lower() for leaf in leaves for word in tokens_of(leaf))
    return tuple(dict.fromkeys(word for word in words if _correctable(word)))[:MOST_WORDS]


def tokens_of(leaf: Leaf) -> tuple[str, ...]:
    """Return the words of a leaf without what surrounds them; a run has none."""
    if isinstance(leaf, Words | Phrase):
        return tuple(bare for word in leaf.text.split() if (bare := _bare(word)))
    return ()


def _parts_of(leaf: Leaf) -> tuple[Leaf, ...]:
    return leaf.parts if isinstance(leaf, Literal) else (leaf,)


def _correctable(word: str) -> bool:
    return len(word) >= SHORTEST and all(unicodedata.category(character)[0] in "LM" for character in word)


def alphabet_of(word: str) -> str:
    """Return the letters that may stand in a word by mistake: those near its own in Unicode."""
    if any(unicodedata.name(letter, "").startswith("LATIN") for letter in word):
        return LATIN
    return "".join(sorted({letter for base in {ord(c) & ~0x7F for c in word} for letter in _letters(base)}))


@cache
def _letters(base: int) -> tuple[str, ...]:
    return tuple(
        letter
        for letter in map(chr, range(base, base + 0x80))
        if unicodedata.category(letter) in {"Ll", "Lo", "Mn", "Mc"} and letter == letter.lower()
    )
