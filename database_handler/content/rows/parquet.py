"""Parquet, by pyarrow: written in row groups of some megabytes, read some rows at a time.

Times are microseconds in UTC, ids are text, JSON is text. What a file claims to unpack to is looked at before
it is read; texts come as their dictionary, so that one text that is repeated a million times is held once.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from io import RawIOBase, TextIOBase
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from database_handler.content.files import Readable, open_regular
from database_handler.content.rows.columns import (
    as_json,
    checked_names,
    from_text,
    is_json,
    name_of,
    without_gaps,
)
from database_handler.content.rows.refusal import GivenRow, RowFileRefused
from database_handler.content.streams import LONGEST_LINE, Writable, arrow, put
from database_handler.core.base_model import Record
from database_handler.core.exceptions import InvalidValue
from database_handler.core.schema import SERVER_COLUMNS, Column

__all__ = ["ParquetWriter", "opened_parquet"]

_GROUP_ROWS, _GROUP_BYTES = 5_000, 8 * 1024 * 1024  # of a row group that is written
_READ_ROWS, _READ_BYTES = 1000, 4 * 1024 * 1024  # of what is read at a time
_READ_BUFFER = 64 * 1024  # of a column; without one pyarrow holds its whole part of a row group
_MOST_RATIO = 1000  # unpacked bytes for each of the file, from so many on:
_RATIO_FROM = 64 * 1024 * 1024
_MOST_FOOTER = 16 * 1024 * 1024  # bytes of a text in the file's description
_MOST_PARTS = 1_000_000  # of a list in it
_UUID_BYTES = 16
_DOING = "Parquet"

_TYPES: Final[dict[str, Callable[[Any], Any]]] = {
    "bigint": lambda pa: pa.int64(),
    "integer": lambda pa: pa.int32(),
    "boolean": lambda pa: pa.bool_(),
    "double precision": lambda pa: pa.float64(),
    "timestamptz": lambda pa: pa.timestamp("us", "UTC"),
    "date": lambda pa: pa.date32(),
    "bytea": lambda pa: pa.binary(),
    "text[]": lambda pa: pa.list_(pa.string()),
}


# --------------------------------------------------------------------------------------------------- writing


class ParquetWriter:
    """Writes records as Parquet, compressed by Zstandard."""

    def __init__(self, entity: type[Record], stream: Writable) -> None:
        pyarrow = arrow(_DOING)
        from pyarrow import parquet

        self._arrow = pyarrow
        columns = entity.table.columns
        self._schema = pyarrow.schema(
            [pyarrow.field(each.name, _type(pyarrow, each), nullable=each.nullable) for each in columns]
        )
        self._columns = [(each.name, _value_of(each)) for each in columns]
        self._held: dict[str, list[Any]] = {each.name: [] for each in columns}
        self._size = 0
        self._rows = 0
        # No buffer in between: pyarrow itself writes in large pieces.
        self._stream = _Taking(stream)
        self._writer = parquet.ParquetWriter(self._stream, self._schema, compression="zstd")

    def add(self, record: Record) -> None:
        """Write one more."""
        held = record.__dict__
        for name, value_of in self._columns:
            value = held[name]
            made = None if value is None else value_of(value)
            self._held[name].append(made)
            if isinstance(made, str | bytes):
                self._size += len(made)
        self._rows += 1
        if self._rows >= _GROUP_ROWS or self._size >= _GROUP_BYTES:
            self._hand_on()

    def _hand_on(self) -> None:
        if self._rows:
            self._writer.write_table(self._arrow.table(self._held, schema=self._schema))
        for values in self._held.values():
            values.clear()
        self._rows = self._size = 0

    def close(self) -> None:
        """Write the last rows and the file's description."""
        self._hand_on()
        self._writer.close()

    def abandon(self) -> None:
        """Have pyarrow end the file, which it does in any case, to nowhere."""
        self._stream.takes = False
        with suppress(self._arrow.ArrowException, OSError):
            self._writer.close()


def _type(pyarrow: Any, column: Column) -> Any:
    return _TYPES.get(column.type, lambda pa: pa.string())(pyarrow)


def _value_of(column: Column) -> Callable[[Any], Any]:
    if column.type == "text[]":
        return list
    if column.type in _TYPES:
        return lambda value: value
    if is_json(column):
        return lambda value: as_json(value).decode()
    return _text


def _text(value: Any) -> str:
    return str(value.value if isinstance(value, Enum) else value)


class _Taking(RawIOBase):
    """A stream for pyarrow, over one that has nothing but `write`."""

    def __init__(self, stream: Writable) -> None:
        self._stream = stream
        self._at = 0
        self.takes = True

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        if self.takes:
            put(self._stream, bytes(data))
        self._at += len(data)
        return len(data)


# --------------------------------------------------------------------------------------------------- reading


@contextmanager
def opened_parquet(
    entity: type[Record], source: str | os.PathLike[str] | Readable
) -> Iterator[Iterator[GivenRow]]:
    """Give the rows of a Parquet file; `line` is a row's number, from 1 on.

    Raises
    ------
    RowFileRefused
        It is damaged, unpacks to more than is allowed, or holds what has no form in the entity's fields.
    InvalidValue
        A stream that cannot seek: a Parquet file is read from its end.
    """
    if isinstance(source, str | os.PathLike):
        with open_regular(Path(source)) as file:
            yield _Reading(entity, file, name_of(source)).rows()
        return
    given: Any = source
    seeks = callable(getattr(given, "seekable", None)) and given.seekable()
    if not seeks or isinstance(given, TextIOBase):
        raise InvalidValue("Parquet is read from its end: give a path, or a binary stream that can seek")
    yield _Reading(entity, source, name_of(source)).rows()


class _Reading:
    def __init__(self, entity: type[Record], file: Any, name: str) -> None:
        pyarrow = arrow(_DOING)
        from pyarrow import parquet

        self._entity, self._source, self._file = entity, file, name
        self._errors = (pyarrow.ArrowException, OSError, ValueError, OverflowError)
        self._pyarrow, self._parquet = pyarrow, parquet

    def rows(self) -> Iterator[GivenRow]:
        size = self._source.seek(0, os.SEEK_END)
        opened = self._open((), None)
        shared = _with_dictionary(opened.metadata)
        texts = [field.name for field in opened.schema_arrow if self._is_text(field.type)]
        columns = checked_names(self._entity, opened.schema_arrow.names, self._file, None)
        wanted = [column for column in columns if column.name not in SERVER_COLUMNS]
        raw = [column for column in wanted if column.type != "bytea" and self._is_raw(opened, column.name)]
        self._refuse_bomb(opened.metadata, size)
        number, unpacked = 0, 0
        reading = self._open([name for name in texts if name in shared], opened.metadata)
        for batch in self._batches(reading, _rows_at_a_time(opened.metadata), wanted):
            for values in zip(*batch, strict=True):
                number += 1
                row = self._row(wanted, raw, values, number)
                unpacked += len(row.data)
                if unpacked > max(_RATIO_FROM, _MOST_RATIO * size):
                    raise self._too_much(number)
                yield row

    def _is_text(self, kind: Any) -> bool:
        types = self._pyarrow.types
        return bool(types.is_string(kind) or types.is_binary(kind) or types.is_large_string(kind))

    def _is_raw(self, opened: Any, name: str) -> bool:
        """Whether a column has bytes, as texts and ids are written by tools that do not say what they are."""
        types, kind = self._pyarrow.types, opened.schema_arrow.field(name).type
        kind = kind.value_type if types.is_dictionary(kind) else kind
        return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))

    def _open(self, texts: Sequence[str], metadata: Any) -> Any:
        try:
            return self._parquet.ParquetFile(
                self._source,
                metadata=metadata,
                read_dictionary=list(texts),
                pre_buffer=False,
                buffer_size=_READ_BUFFER,
                thrift_string_size_limit=_MOST_FOOTER,
                thrift_container_size_limit=_MOST_PARTS,
            )
        except self._errors:
            pass
        raise RowFileRefused("it is no Parquet file, or is damaged", file=self._file)

    def _refuse_bomb(self, metadata: Any, size: int) -> None:
        groups = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
        claimed = sum(group.total_byte_size for group in groups)
        largest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
        if claimed > max(_RATIO_FROM, _MOST_RATIO * size) or largest > LONGEST_LINE:
            raise self._too_much(None)

    def _too_much(self, number: int | None) -> RowFileRefused:
        told = (
            f"it unpacks to more than {_MOST_RATIO:,} times its size, or holds a row of more than "
            f"{LONGEST_LINE:,} bytes"
        )
        return RowFileRefused(told, file=self._file, line=number)

    def _batches(self, opened: Any, rows: int, wanted: Sequence[Column]) -> Iterator[list[list[Any]]]:
        names = [column.name for column in wanted]
        try:
            for batch in opened.iter_batches(batch_size=rows, columns=names, use_threads=False):
                yield [_values(batch.column(name)) for name in names]
        except self._errors:
            pass
        else:
            return
        raise RowFileRefused("it is damaged, or holds a value that Python cannot", file=self._file)

    def _row(
        self, columns: Sequence[Column], raw: Sequence[Column], values: Sequence[Any], number: int
    ) -> GivenRow:
        found = without_gaps(columns, values)
        for column in raw:
            found |= self._said(column, found.get(column.name), number)
        for column in columns:
            if is_json(column) and isinstance(found.get(column.name), str):
                found[column.name] = from_text(column.name, found[column.name], self._file, number)
        try:
            return GivenRow(number, as_json(found))
        except InvalidValue as error:
            told = str(error)
        raise RowFileRefused(told, file=self._file, line=number)

    def _said(self, column: Column, value: object, number: int) -> dict[str, str]:
        """Return what bytes say where no bytes are wanted: an id, or text."""
        if not isinstance(value, bytes):
            return {}
        if column.type == "uuid" and len(value) == _UUID_BYTES:
            return {column.name: str(UUID(bytes=value))}
        try:
            return {column.name: value.decode()}
        except UnicodeDecodeError:
            pass
        told = f"{column.name}: it has bytes that are no UTF-8"
        raise RowFileRefused(told, file=self._file, line=number, columns=[column.name])


def _values(column: Any) -> list[Any]:
    """Return a column's values; of a dictionary each value in use is made once, and shared.

    The dictionary grows with the row group: to make all of it for each batch costs the square of its rows.
    """
    if not hasattr(column, "dictionary"):
        found: list[Any] = column.to_pylist()
        return found
    places, dictionary = column.indices.to_pylist(), column.dictionary
    if len(dictionary) <= 2 * len(places):
        made = dictionary.to_pylist()
    else:
        made = {place: dictionary[place].as_py() for place in set(places) - {None}}
    return [None if place is None else made[place] for place in places]


def _with_dictionary(metadata: Any) -> set[str]:
    """Return the columns with a dictionary: without one a column is no larger than the file says."""
    groups = (metadata.row_group(place) for place in range(metadata.num_row_groups))
    parts = (group.column(place) for group in groups for place in range(metadata.num_columns))
    return {part.path_in_schema.partition(".")[0] for part in parts if part.has_dictionary_page}


def _rows_at_a_time(metadata: Any) -> int:
    """Return how many rows are some megabytes, by what the file says of its groups."""
    groups = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
    largest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=1)
    return max(1, min(_READ_ROWS, _READ_BYTES // max(largest, 1)))
