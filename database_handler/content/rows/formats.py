"""Which format a file has, and what all formats have in common: a writer of records, a reader of rows."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, Protocol, get_args

from database_handler.content.files import Readable
from database_handler.content.rows.columns import name_of
from database_handler.content.rows.refusal import GivenRow, RowFileRefused
from database_handler.content.streams import Writable, opened_for_reading, opened_for_writing
from database_handler.core.base_model import Record
from database_handler.core.exceptions import InvalidValue

__all__ = ["FORMATS", "Format", "GivenRow", "RowFileRefused", "name_of", "read_rows", "writing_rows"]

Format = Literal["jsonl", "csv", "parquet"]
FORMATS: Final[tuple[str, ...]] = get_args(Format)
_SUFFIXES: Final[dict[str, Format]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
}
_PACKED = (".gz", ".zst")


class Writer(Protocol):
    """Writes the records of one entity."""

    def add(self, record: Record) -> None:
        """Write one more."""
        ...

    def close(self) -> None:
        """Write what ends the file; the stream stays open."""
        ...

    def abandon(self) -> None:
        """Write nothing more: the file is given up."""
        ...


def format_of(file: object, given: object) -> Format:
    """Return the format that was named, else that of the suffix.

    Raises
    ------
    InvalidValue
        There is no such format, or the suffix says none; or Parquet is packed, which is compressed in itself.
    """
    suffixes = [each.lower() for each in Path(file).suffixes] if isinstance(file, str | os.PathLike) else []
    packed = bool(suffixes) and suffixes[-1] in _PACKED
    named = suffixes[:-1] if packed else suffixes
    found = _SUFFIXES.get(named[-1]) if named else None
    if given is not None:
        found = next((each for each in get_args(Format) if each is given or each == given), None)
    if found is None:
        raise InvalidValue(
            "the format of a file follows from its suffix (.jsonl, .ndjson, .csv, .parquet; the first three "
            f"also with .gz or .zst after it), or is named by file_format: {', '.join(FORMATS)}"
        )
    if packed and found == "parquet":
        raise InvalidValue("a Parquet file is compressed in itself: leave .gz or .zst away")
    return found


@contextmanager
def writing_rows(
    entity: type[Record], target: str | os.PathLike[str] | Writable, file_format: object
) -> Iterator[Callable[[Record], None]]:
    """Give what takes records one after the other; the file has its name only when all of it is stored.

    Raises
    ------
    UnwritableFile, NotARegularFile, InvalidValue, MissingExtra
    """
    chosen = format_of(target, file_format)
    with opened_for_writing(target) as stream:
        writer = _writer(chosen, entity, stream)
        try:
            yield writer.add
            writer.close()
        except BaseException:
            writer.abandon()
            raise


def _writer(chosen: Format, entity: type[Record], stream: Writable) -> Writer:
    if chosen == "csv":
        from database_handler.content.rows.csv_text import CsvWriter

        return CsvWriter(entity, stream)
    if chosen == "parquet":
        from database_handler.content.rows.parquet import ParquetWriter

        return ParquetWriter(entity, stream)
    from database_handler.content.rows.json_lines import LinesWriter

    return LinesWriter(entity, stream)


@contextmanager
def read_rows(
    entity: type[Record], source: str | os.PathLike[str] | Readable, file_format: object
) -> Iterator[Iterator[GivenRow]]:
    """Give the rows of a file one after the other, as JSON.

    Raises
    ------
    RowFileRefused
        While they are taken: the file is damaged, is none of its format, or names columns that are not there.
    UnreadableFile, NotARegularFile, InvalidValue, MissingExtra
    """
    chosen = format_of(source, file_format)
    if chosen == "parquet":
        from database_handler.content.rows.parquet import opened_parquet

        with opened_parquet(entity, source) as rows:
            yield rows
        return
    with opened_for_reading(source) as stream:
        if chosen == "csv":
            from database_handler.content.rows.csv_text import csv_rows

            yield csv_rows(entity, stream, name_of(source))
        else:
            from database_handler.content.rows.json_lines import line_rows

            yield line_rows(stream, name_of(source))
