r"""Rows as lines of COPY's text format (PostgreSQL, "COPY", section "Text Format").

Escaping is a chain of guarded `str.replace`: most values hold none of the four characters, and a test for
one is much cheaper than `str.translate`.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from typing import Any
from uuid import UUID

from pydantic_core import to_json

from database_handler.core.schema import Table
from database_handler.repositories import statements

__all__ = ["CHUNK", "lines"]

CHUNK = 512  # rows that are handed over at a time


def lines(table: Table, rows: Iterable[Sequence[Any]], tail: Sequence[Any]) -> Iterator[bytes]:
    """Encode rows, some hundreds a chunk.

    Parameters
    ----------
    rows : iterable
        Each with the values of `statements.draft_columns`, in that order.
    tail : sequence
        The values of the server's columns, the same for all rows.
    """
    encoders = [_ENCODERS.get(column.type, _text) for column in statements.draft_columns(table)]
    end = "".join(f"\t{_timestamp(v) if isinstance(v, dt.datetime) else v}" for v in tail) + "\n"
    chunk: list[str] = []
    for row in rows:
        cells = ["\\N" if v is None else encode(v) for encode, v in zip(encoders, row, strict=True)]
        chunk.append("\t".join(cells))
        if len(chunk) == CHUNK:
            yield (end.join(chunk) + end).encode()
            chunk.clear()
    if chunk:
        yield (end.join(chunk) + end).encode()


def _text(value: Any) -> str:
    text = value if type(value) is str else _as_text(value)
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if "\n" in text:
        text = text.replace("\n", "\\n")
    if "\r" in text:
        text = text.replace("\r", "\\r")
    if "\t" in text:
        text = text.replace("\t", "\\t")
    return text


def _as_text(value: Any) -> str:
    return str(value._value_ if isinstance(value, Enum) else value)  # quicker than .value, which is computed


def _json(value: Any) -> str:
    return _text(to_json(value).decode()) if value else "{}"


def _array(values: Sequence[str]) -> str:
    if not values:
        return "{}"
    together = "".join(values)
    if "\\" in together or '"' in together:
        values = [item.replace("\\", "\\\\").replace('"', '\\"') for item in values]
    return _text('{"' + '","'.join(values) + '"}')


def _uuid(value: UUID) -> str:
    return f"{value.int:032x}"  # the server reads it without hyphens as well


def _timestamp(value: dt.datetime) -> str:
    return value.isoformat()


_ENCODERS: dict[str, Callable[[Any], str]] = {
    "uuid": _uuid,
    "bigint": str,
    "integer": str,
    "jsonb": _json,
    "text[]": _array,
    "timestamptz": _timestamp,
    "boolean": lambda value: "t" if value else "f",
    "double precision": repr,
    "bytea": lambda value: "\\\\x" + value.hex(),
}
