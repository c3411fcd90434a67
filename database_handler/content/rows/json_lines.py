"""JSON Lines: one JSON object a line, UTF-8; a byte order mark before the first is passed over."""

from collections.abc import Iterator
from typing import BinaryIO

from pydantic_core import PydanticSerializationError

from database_handler.content.rows.refusal import GivenRow, RowFileRefused
from database_handler.content.streams import (
    DAMAGED,
    LONGEST_LINE,
    MOST_VALUES,
    Writable,
    holds_too_much,
    put,
    why,
)
from database_handler.core.base_model import Record
from database_handler.core.exceptions import InvalidValue

__all__ = ["LinesWriter", "line_rows", "lines"]

_BOM = b"\xef\xbb\xbf"
_OTHERS = (b"\xff\xfe", b"\xfe\xff", b"\x00")  # UTF-16 and UTF-32
_CHUNK = 1 << 16  # bytes that are handed on at a time


class LinesWriter:
    """Writes records as JSON Lines."""

    def __init__(self, entity: type[Record], stream: Writable) -> None:
        self._table = entity.table.name
        self._stream = stream
        self._held: list[bytes] = []
        self._size = 0

    def add(self, record: Record) -> None:
        """Write one more."""
        line = self._line(record)
        self._held.append(line)
        self._size += len(line)
        if self._size >= _CHUNK:
            self.close()

    def _line(self, record: Record) -> bytes:
        try:
            line = record.model_dump_json().encode() + b"\n"
        except PydanticSerializationError:
            told = "a value has no form in JSON; for bytes, give the entity's classes"
        else:
            if len(line) <= LONGEST_LINE:
                return line
            raise InvalidValue(
                f"{self._table} {record.id}: its line would be longer than {LONGEST_LINE:,} bytes"
            )
        raise InvalidValue(f"{self._table} {record.id}: {told} ser_json_bytes and val_json_bytes of base64")

    def close(self) -> None:
        """Hand on what is held."""
        if self._held:
            put(self._stream, b"".join(self._held))
        self.abandon()

    def abandon(self) -> None:
        """Forget what is held."""
        self._held.clear()
        self._size = 0


def lines(stream: BinaryIO, file: str, longest: int = LONGEST_LINE) -> Iterator[tuple[int, bytes]]:
    """Give each line with its number, its end included; what is no UTF-8 is refused by who takes it.

    Raises
    ------
    RowFileRefused
        A line is too long, the text is UTF-16 or UTF-32, or what is compressed is damaged.
    """
    number = 0
    while line := _next(stream, file, number + 1, longest):
        number += 1
        if number == 1:
            if line.startswith(_OTHERS):
                raise RowFileRefused("it is no UTF-8; save it as UTF-8", file=file, line=1)
            line = line.removeprefix(_BOM)
        yield number, line


def _next(stream: BinaryIO, file: str, number: int, longest: int) -> bytes:
    try:
        line = stream.readline(longest + 1)
    except DAMAGED:
        told = "the compressed data is damaged or was cut short"
    except OSError as error:
        told = f"the file cannot be read: {why(error)}"
    else:
        if len(line) <= longest:
            return line
        told = f"it is longer than {longest:,} bytes"
    raise RowFileRefused(told, file=file, line=number)


def line_rows(stream: BinaryIO, file: str) -> Iterator[GivenRow]:
    """Give the rows of JSON Lines; blank lines are passed over."""
    for number, line in lines(stream, file):
        if holds_too_much(line):
            told = f"it holds more values than the {MOST_VALUES:,} of a row"
            raise RowFileRefused(told, file=file, line=number)
        if not line.isspace():
            yield GivenRow(number, line)
