r"""Rows as lines of COPY's text format (PostgreSQL, "COPY", section "Text Format").

Escaping is a chain of guarded `str.replace`: most values hold none of the four characters, and a test for
one is much cheaper than `str.translate`.
"""

import datetime as dt
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from typing import Any

from database_handler.core.schema import Table

__all__ = ["lines"]

_CHUNK = 512  # rows that are handed over at a time


def lines(table: Table, rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """Encode rows, whose values stand in the order of the table's columns; some hundreds of them a chunk."""
    encoders = [_encoder(column.type) for column in table.columns]
    chunk: list[str] = []
    for row in rows:
        chunk.append("\t".join([_cell(encode, value) for encode, value in zip(encoders, row, strict=True)]))
        if len(chunk) == _CHUNK:
            yield ("\n".join(chunk) + "\n").encode()
            chunk.clear()
    if chunk:
        yield ("\n".join(chunk) + "\n").encode()


def _cell(encode: Callable[[Any], str], value: Any) -> str:
    return "\\N" if value is None else encode(value)


def _encoder(sql_type: str) -> Callable[[Any], str]:
    return _ENCODERS.get(sql_type, _text)


def _text(value: Any) -> str:
    text = str(value.value) if isinstance(value, Enum) else str(value)
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if "\n" in text:
        text = text.replace("\n", "\\n")
    if "\r" in text:
        text = text.replace("\r", "\\r")
    if "\t" in text:
        text = text.replace("\t", "\\t")
    return text


def _json(value: Any) -> str:
    if not isinstance(value, dict):
        value = value.model_dump(mode="json")
    return _text(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))


def _array(values: Sequence[Any]) -> str:
    quoted = ('"' + str(item).replace("\\", "\\\\").replace('"', '\\"') + '"' for item in values)
    return _text("{" + ",".join(quoted) + "}")


def _timestamp(value: dt.datetime) -> str:
    return value.isoformat()


_ENCODERS: dict[str, Callable[[Any], str]] = {
    "jsonb": _json,
    "text[]": _array,
    "timestamptz": _timestamp,
    "boolean": lambda value: "t" if value else "f",
    "double precision": repr,
    "bytea": lambda value: "\\\\x" + value.hex(),
}
