"""Calls over many rows: in parts, told of as they go, and a refusal by the database names the row."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, Final

from database_handler.core.exceptions import DatabaseError, InvalidValue

__all__ = ["PART", "name_row", "parts", "progress", "told_of", "untold"]

PART: Final = 10_000
"""The most rows of one statement: what is sent and answered at a time is bounded by it."""

_COPY_LINE: Final = re.compile(r"^COPY \w+, line (\d+)", re.MULTILINE)
_KEY: Final = re.compile(r"[^(]*\(([^()]*)\)=\((.*)\) ", re.DOTALL)


def untold(_done: int) -> None:
    """Tell nobody how many rows are done."""


def progress(on_progress: Callable[[int], object] | None, call: str) -> Callable[[int], object]:
    """Return what is called with the number of rows done."""
    if on_progress is None:
        return untold
    if callable(on_progress):
        return on_progress
    raise InvalidValue(f"{call}: on_progress is called with the number of rows done; it cannot be called")


def parts(total: int, most: int | None = None) -> Iterator[range]:
    """Return the places of each part: of `PART` rows, unless fewer are wanted."""
    size = most or PART
    for start in range(0, total, size):
        yield range(start, min(start + size, total))


def told_of(chunks: Iterable[bytes], each: int, total: int, tell: Callable[[int], object]) -> Iterator[bytes]:
    """Hand chunks of `each` rows on, and tell of those that were taken."""
    for number, chunk in enumerate(chunks, 1):
        yield chunk
        tell(min(number * each, total))


def name_row(failure: DatabaseError, rows: Iterable[Mapping[str, Any]]) -> None:
    """Have a failure say at which place of a call the row is that the server refused, where it told that.

    It tells the line of a COPY, and otherwise the key or the row, in a detail that is never shown.
    """
    if failure.position is None and (place := _place(failure, rows)) is not None:
        failure.position = place
        failure.args = (f"position {place}: {failure}",)


def _place(failure: DatabaseError, rows: Iterable[Mapping[str, Any]]) -> int | None:
    diagnostics = getattr(failure.driver_error, "diag", None)
    if line := _COPY_LINE.search(getattr(diagnostics, "context", None) or ""):
        return int(line[1]) - 1
    detail = getattr(diagnostics, "message_detail", None) or ""
    if key := _KEY.match(detail):
        names = key[1].split(", ")
        return _first(rows, lambda row: ", ".join(_shown(row.get(name)) for name in names) == key[2])
    return _first(rows, lambda row: "id" in row and str(row["id"]) in detail)


def _first(rows: Iterable[Mapping[str, Any]], fits: Callable[[Mapping[str, Any]], bool]) -> int | None:
    return next((place for place, row in enumerate(rows) if fits(row)), None)


def _shown(value: object) -> str:
    """Write a value of a key as the server does."""
    return "null" if value is None else str(value.value if isinstance(value, Enum) else value)
