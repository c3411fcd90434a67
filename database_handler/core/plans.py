"""Statements whose plans a connection keeps: SQL-level PREPARE, in the message of a use, after a few uses.

To read and plan a small statement takes the server as long as to run it, and one that joins six tables four
times as long (docs/decisions/0046-read-path.md). What is prepared lasts as long as the session, whatever
becomes of the transaction (PostgreSQL, "PREPARE"), so what is known of it stands beside the connection.
"""

import re
from functools import lru_cache

from database_handler.core.statement_name import named

__all__ = ["LOST_PLAN", "Plans"]

LOST_PLAN = frozenset({"26000", "0A000"})
"""The server no longer has a plan, or may not give its answer another form: nothing was done."""

_KEPT = 128  # of one connection; a plan takes the server some tens of kilobytes
_COUNTED = 1024  # texts whose uses are counted
_PLACE = re.compile(r"%[s%]")


class Plans:
    """What is prepared in one session, by the text of the statement."""

    __slots__ = ("_made", "_number", "_under_way", "_uses")

    def __init__(self) -> None:
        self._uses: dict[str, int] = {}
        self._made: dict[str, tuple[str, str]] = {}  # what runs it, and its name
        self._under_way: tuple[str, str, str] | None = None
        self._number = 0

    def text(self, text: str, name: str, after: int) -> str:
        """Return what to send for a statement of the library's own, by its text: itself for the first uses.

        Parameters
        ----------
        after : int
            So many uses go before; then it is prepared in the message that uses it.
        """
        self._under_way = None
        if (made := self._made.get(text)) is not None:
            return made[0]
        uses = self._uses.get(text, 0)
        if uses < after:
            if len(self._uses) >= _COUNTED:
                self._uses.clear()
            self._uses[text] = uses + 1
            return text
        return self._prepared(text, name)

    def _prepared(self, text: str, name: str) -> str:
        self._number += 1
        plan = f"plan_{self._number}"
        numbered, runs = _numbered(text)
        runs = named(f"EXECUTE {plan}{runs}", name)
        self._under_way = text, runs, plan
        drop = ""
        if len(self._made) >= _KEPT:  # the oldest goes; one in use comes back with its next use
            drop = f"DEALLOCATE {self._made.pop(next(iter(self._made)))[1]};"
        return f"{drop}PREPARE {plan} AS {numbered};{runs}"

    def sent(self) -> None:
        """Note that the message has come through: what it prepared is there."""
        if self._under_way is not None:
            text, runs, plan = self._under_way
            self._made[text] = runs, plan
            self._under_way = None

    def forget(self) -> None:
        """Know of nothing prepared any more: the session is reset, or has lost a plan."""
        self._made.clear()
        self._under_way = None


@lru_cache(maxsize=4096)
def _numbered(text: str) -> tuple[str, str]:
    """Return a text with its places numbered, and the places of EXECUTE, for the driver to fill."""
    places = 0

    def number(place: re.Match[str]) -> str:
        nonlocal places
        if place[0] == "%%":
            return "%%"
        places += 1
        return f"${places}"

    numbered = _PLACE.sub(number, text)
    return numbered, f"({', '.join(['%s'] * places)})" if places else ""
