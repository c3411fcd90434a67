"""A text that a regular expression or a LIKE pattern takes, as short as it can be; a guess that is tried.

Of PostgreSQL's expressions it reads what models write: anchors, classes, groups, alternatives, repetitions.
What it cannot read gives nothing.
"""

import re
from collections.abc import Iterator

__all__ = ["matches"]

_SPECIAL = re.compile(r"[\\^$\[\](){}*+?|.]")
_CLASSES = {"d": "1", "w": "a", "s": " ", "D": "a", "W": "-", "S": "a"} | dict.fromkeys("mMyAZ", "")
_NAMED = {"digit": "1", "upper": "A", "space": " ", "punct": "-"}  # of others an a is one
_LOOKS = ("?:", "?=", "?!", "?<=", "?<!")
_PLAIN = "aA1-_. /:@+#x"
_REPEAT = re.compile(r"\{(\d+)(,\d*)?\}\??")
_LONGEST = 10_000


def matches(pattern: str) -> Iterator[str]:
    r"""Give texts that a pattern may take.

    >>> list(matches(r"^[a-z]{2}-\d+(x|y)?$"))
    ['aa-1']
    >>> list(matches("https://%"))
    ['https://']
    """
    if "%" in pattern or ("_" in pattern and not _SPECIAL.search(pattern)):
        yield pattern.replace("%", "").replace("_", "a")
    if _SPECIAL.search(pattern):
        try:
            yield _Reader(pattern).text()
        except (IndexError, ValueError, RecursionError):
            return


def _bounded(times: int) -> int:
    if times > _LONGEST:
        raise ValueError("too long")
    return times


class _Reader:
    """Reads an expression once, from left to right."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._place = 0

    def text(self) -> str:
        found = self._alternatives()
        if self._place < len(self._pattern):
            raise ValueError("a parenthesis too many")
        return found

    def _alternatives(self) -> str:
        found = self._sequence()
        while self._takes("|"):
            self._sequence()
        return found

    def _sequence(self) -> str:
        found: list[str] = []
        while self._place < len(self._pattern) and self._pattern[self._place] not in "|)":
            atom = self._atom()
            found.append(atom * self._times())
            if sum(map(len, found)) > _LONGEST:
                raise ValueError("too long")
        return "".join(found)

    def _atom(self) -> str:
        character = self._next()
        if character in "^$":
            return ""
        if character == ".":
            return "a"
        if character == "[":
            return self._class()
        if character == "(":
            return self._group()
        if character == "\\":
            return self._escape()
        return character

    def _times(self) -> int:
        if repeat := _REPEAT.match(self._pattern, self._place):
            self._place = repeat.end()
            return _bounded(int(repeat[1]))
        times = 1
        if self._takes("*") or self._takes("?"):
            times = 0
        elif not self._takes("+"):
            return 1
        self._takes("?")
        return times

    def _group(self) -> str:
        looks = next((mark for mark in _LOOKS if self._takes(mark)), None)
        found = self._alternatives()
        if not self._takes(")"):
            raise ValueError("a parenthesis is missing")
        return found if looks in (None, "?:") else ""

    def _escape(self) -> str:
        character = self._next()
        return _CLASSES.get(character, character)

    def _class(self) -> str:
        """Return a character of a class; of one that excludes, the first plain one that it does not."""
        excludes = self._takes("^")
        inside = self._inside()
        if not excludes:
            return inside[0]
        return next(each for each in _PLAIN if each not in inside)

    def _inside(self) -> str:
        found = self._member()
        while not self._takes("]"):
            if self._pattern.startswith("-", self._place) and self._pattern[self._place + 1] != "]":
                self._place += 1
                last = self._member()
                found += "".join(map(chr, range(ord(found[-1]), min(ord(last), ord(found[-1]) + 200) + 1)))
            else:
                found += self._member()
        return found

    def _member(self) -> str:
        if named := re.compile(r"\[:(\w+):\]").match(self._pattern, self._place):
            self._place = named.end()
            return _NAMED.get(named[1], "a")
        character = self._next()
        return self._escape() if character == "\\" else character

    def _next(self) -> str:
        self._place += 1
        return self._pattern[self._place - 1]

    def _takes(self, character: str) -> bool:
        taken = self._pattern.startswith(character, self._place)
        self._place += len(character) * taken
        return taken
