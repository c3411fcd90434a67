"""CSV as RFC 4180 has it, UTF-8, with a head of column names; NULL and the empty text are told apart.

An empty cell is NULL, and `""` the empty text, as in PostgreSQL's own COPY: Python's csv module cannot tell
the two apart when it reads. JSON and lists stand in a cell as JSON, bytes as Base64.

Source: RFC 4180; PostgreSQL 18, "COPY", section "CSV Format".
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from pydantic_core import from_json

from database_handler.content.rows.columns import as_json, checked_names, from_text, is_json, without_gaps
from database_handler.content.rows.json_lines import lines
from database_handler.content.rows.refusal import GivenRow, RowFileRefused
from database_handler.content.streams import LONGEST_LINE, Writable, put
from database_handler.core.base_model import Record
from database_handler.core.schema import SERVER_COLUMNS, Column

__all__ = ["CsvWriter", "csv_rows"]

_CHUNK = 1 << 16
_SCALARS = {"bigint", "integer", "double precision", "boolean"}
_SPECIAL = re.compile(r'[",\r\n]|^\s|\s$|^$')
# A cell and what ends it; a quoted one may hold anything, its quotes doubled.
_CELL = re.compile(r'(?:"([^"]*+(?:""[^"]*+)*+)"|([^",\r\n]*+))(,|\r?\n|\Z)')


# --------------------------------------------------------------------------------------------------- writing


class CsvWriter:
    """Writes records as CSV; its lines end as the RFC has it, with CR LF."""

    def __init__(self, entity: type[Record], stream: Writable) -> None:
        self._stream = stream
        self._cells = [(column.name, _cell_of(column)) for column in entity.table.columns]
        self._held = [",".join(entity.table.column_names)]
        self._size = 0

    def add(self, record: Record) -> None:
        """Write one more."""
        held = record.model_dump(mode="json")
        line = ",".join(["" if (value := held[name]) is None else cell(value) for name, cell in self._cells])
        self._held.append(line)
        self._size += len(line)
        if self._size >= _CHUNK:
            self._hand_on()

    def close(self) -> None:
        """Hand on what is held; a file without rows has its head."""
        self._hand_on()

    def _hand_on(self) -> None:
        if self._held:
            put(self._stream, "".join(f"{line}\r\n" for line in self._held).encode())
        self.abandon()

    def abandon(self) -> None:
        """Forget what is held."""
        self._held.clear()
        self._size = 0


def _cell_of(column: Column) -> Callable[[Any], str]:
    if is_json(column):
        return lambda value: _quoted(as_json(value).decode())
    return _plain


def _plain(value: Any) -> str:
    if value is True or value is False:
        return "true" if value else "false"
    return _quoted(value if isinstance(value, str) else str(value))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _SPECIAL.search(text) else text


# --------------------------------------------------------------------------------------------------- reading


def csv_rows(entity: type[Record], stream: BinaryIO, file: str) -> Iterator[GivenRow]:
    """Give the rows of CSV.

    Raises
    ------
    RowFileRefused
        The head names a column that is not there, a row has another number of cells, a quote is not closed
        or stands where none may, it is no UTF-8, or a cell of JSON holds none.
    """
    records = _records(stream, file)
    line, text = next(records, (1, ""))
    names = [name or "" for name in _cells(text, file, line)] if text.strip() else []
    columns = checked_names(entity, names, file, line)
    for line, text in records:
        cells = _cells(text, file, line)
        if len(cells) != len(columns):
            told = f"it has {len(cells)} cells, and the head names {len(columns)} columns"
            raise RowFileRefused(told, file=file, line=line)
        found = without_gaps(columns, cells)
        yield GivenRow(line, as_json({**found, **_parsed(columns, found, file, line)}))


def _records(stream: BinaryIO, file: str) -> Iterator[tuple[int, str]]:
    """Put lines together that a quoted cell spans: until the number of quotes is even."""
    began, held, quotes, size = 0, list[bytes](), 0, 0
    for number, line in lines(stream, file):
        if not held:
            if not line.strip():
                continue
            began = number
        held.append(line)
        quotes += line.count(b'"')
        size += len(line)
        if size > LONGEST_LINE:
            told = f"the row is longer than {LONGEST_LINE:,} bytes; perhaps a quote is not closed"
            raise RowFileRefused(told, file=file, line=began)
        if quotes % 2 == 0:
            yield began, _decoded(b"".join(held), file, began)
            held, quotes, size = [], 0, 0
    if held:
        raise RowFileRefused("a quote is not closed", file=file, line=began)


def _decoded(data: bytes, file: str, line: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    raise RowFileRefused("it is no UTF-8; save it as UTF-8", file=file, line=line)


def _cells(text: str, file: str, line: int) -> list[str | None]:
    found: list[str | None] = []
    at, end = 0, ","
    while end == ",":
        match = _CELL.match(text, at)
        if match is None:
            told = "a quote or carriage return inside a cell without quotes, or a sign behind a quoted cell"
            raise RowFileRefused(told, file=file, line=line)
        quoted, plain, end = match.groups()
        found.append(quoted.replace('""', '"') if quoted is not None else plain or None)
        at = match.end()
    if at != len(text):
        raise RowFileRefused("a line ends in the middle of it", file=file, line=line)
    return found


def _parsed(columns: Sequence[Column], found: dict[str, Any], file: str, line: int) -> dict[str, Any]:
    """Read the cells that hold JSON, numbers and truth."""
    parsed: dict[str, Any] = {}
    for column in columns:
        cell = found.get(column.name)
        if cell is None or column.name in SERVER_COLUMNS:
            continue
        if is_json(column):
            parsed[column.name] = from_text(column.name, cell, file, line)
        elif column.type in _SCALARS:
            parsed[column.name] = _scalar(cell)
    return parsed


def _scalar(cell: str) -> Any:
    """Return a number, or true or false in any letters; what is none of them is for the model to refuse."""
    try:
        return from_json(cell.lower().encode(errors="replace"), allow_inf_nan=False)
    except ValueError:
        return cell
