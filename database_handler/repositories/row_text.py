r"""Rows as text that the server reads: lines of COPY, or an array for each column.

Sources: PostgreSQL, "COPY", section "Text Format"; "Arrays", section "Array Input and Output Syntax". The
server reads arrays in a third of the time that it takes for the same rows as JSON
(docs/decisions/0048-rows-as-arrays.md). It goes by columns, for whether any of their cells has to be escaped
is one look at all of them, and most have none that has.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from itertools import islice
from typing import Any, NoReturn

from pydantic_core import to_json

from database_handler.core.columns import Column
from database_handler.core.exceptions import InvalidValue

__all__ = ["CHUNK", "MARK", "arrays", "lines", "never_empty"]

CHUNK = 512  # rows that are handed over at a time
MARK = "."
_NUL = "\0"  # no value that can be stored holds it, so it parts them from each other


def lines(columns: Sequence[Column], rows: Iterable[Sequence[Any]], tail: Sequence[Any]) -> Iterator[bytes]:
    """Encode rows for COPY, some hundreds a chunk.

    Parameters
    ----------
    rows : iterable
        Each with the values of the columns, in that order.
    tail : sequence
        The values of what follows them, the same for all rows.
    """
    end = "".join(f"\t{_timestamp(v) if isinstance(v, dt.datetime) else v}" for v in tail) + "\n"
    waiting = iter(rows)
    while chunk := list(islice(waiting, CHUNK)):
        cells = map(_escaped, columns, zip(*chunk, strict=True))
        yield (end.join(map("\t".join, zip(*cells, strict=True))) + end).encode()


def arrays(columns: Sequence[Column], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Encode rows as one array for each column.

    There is no NULL in it, for a setting of the server (array_nulls) makes that a text. None is the empty
    text, and where that could be a value, each value has `MARK` before it.

    Raises
    ------
    InvalidValue
        A text holds a NUL character.
    """
    return [*map(_array_of, columns, zip(*rows, strict=True))]


def _escaped(column: Column, values: Sequence[Any]) -> Sequence[str]:
    cells = _cells(column, values)
    gaps = None in cells
    together = "".join([cell for cell in cells if cell is not None] if gaps else cells)  # type: ignore[arg-type]
    if _NUL in together:
        _refuse_nul(column)
    if "\\" in together or "\n" in together or "\r" in together or "\t" in together:
        return ["\\N" if cell is None else _escaped_text(cell) for cell in cells]
    return ["\\N" if cell is None else cell for cell in cells] if gaps else cells  # type: ignore[return-value]


def _escaped_text(text: str) -> str:
    # Most cells hold none of the four: a test for one is much cheaper than `str.translate`.
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    if "\n" in text:
        text = text.replace("\n", "\\n")
    if "\r" in text:
        text = text.replace("\r", "\\r")
    if "\t" in text:
        text = text.replace("\t", "\\t")
    return text


def _array_of(column: Column, values: Sequence[Any]) -> str:
    cells = _cells(column, values)
    if column.nullable:
        mark = "" if never_empty(column) else MARK
        cells = ["" if cell is None else mark + cell for cell in cells]
    array = '","'.join(cells)  # type: ignore[arg-type]  # none of them is None
    if array.count('"') == 2 * len(cells) - 2 and "\\" not in array and _NUL not in array:
        return f'{{"{array}"}}'
    together = _NUL.join(cells)  # type: ignore[arg-type]
    if together.count(_NUL) != len(cells) - 1:
        _refuse_nul(column)
    together = together.replace("\\", "\\\\").replace('"', '\\"').replace(_NUL, '","')
    return f'{{"{together}"}}'


def never_empty(column: Column) -> bool:
    """Whether no value of the column's type is the empty text."""
    return column.type in {"uuid", "jsonb"} or column.type in _ENCODERS


def _refuse_nul(column: Column) -> NoReturn:
    raise InvalidValue(
        f"{column.name}: text holds a NUL character, which PostgreSQL cannot store", columns=[column.name]
    )


def _cells(column: Column, values: Sequence[Any]) -> list[str | None]:
    match column.type:  # the commonest ones without a call for each value
        case "text":
            return [v if v is None or type(v) is str else _as_text(v) for v in values]
        case "uuid":  # the server reads it without hyphens as well
            return [None if v is None else f"{v.int:032x}" for v in values]
        case "jsonb":
            return [None if v is None else to_json(v).decode() if v else "{}" for v in values]
        case other:
            encode = _ENCODERS.get(other, _as_text)
            return [None if v is None else encode(v) for v in values]


def _as_text(value: Any) -> str:
    return str(value._value_ if isinstance(value, Enum) else value)  # quicker than .value, which is computed


def _array(values: Sequence[str]) -> str:
    if not values:
        return "{}"
    together = "".join(values)
    if "\\" in together or '"' in together:
        values = [item.replace("\\", "\\\\").replace('"', '\\"') for item in values]
    return '{"' + '","'.join(values) + '"}'


def _timestamp(value: dt.datetime) -> str:
    return value.isoformat()


_ENCODERS: dict[str, Callable[[Any], str]] = {
    "bigint": str,
    "integer": str,
    "text[]": _array,
    "timestamptz": _timestamp,
    "boolean": lambda value: "t" if value else "f",
    "double precision": repr,
    "bytea": lambda value: "\\x" + value.hex(),
}
