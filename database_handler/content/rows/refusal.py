"""What a row of a file is, and how one is refused: by the file's name, line and field, never by a value."""

from collections.abc import Sequence
from dataclasses import dataclass

from database_handler.content.errors import Refusal
from database_handler.content.streams import shown

__all__ = ["GivenRow", "RowFileRefused"]


@dataclass(frozen=True, slots=True)
class GivenRow:
    """A row as a file gives it.

    Attributes
    ----------
    line : int
        Where it begins, from 1 on; of Parquet, which has no lines, the row's number.
    data : bytes
        It as a JSON object.
    """

    line: int
    data: bytes


class RowFileRefused(Refusal, reason="row_file"):
    """The file's rows cannot be taken.

    Attributes
    ----------
    line : int or None
        Where it is wrong: the line of a text, from 1 on, or the number of a row of Parquet.
    columns : tuple of str
        The fields in question.
    stored : int
        How many rows of the file are stored all the same; 0 unless batches were committed by themselves.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        file: str = "the file",
        line: int | None = None,
        columns: Sequence[str] = (),
        stored: int = 0,
    ) -> None:
        where = file if line is None else f"{file}, line {line}"
        super().__init__(message if message is None else f"{where}: {shown(message)}")
        self.line = line
        self.columns = tuple(columns)
        self.stored = stored

    def __str__(self) -> str:
        told = super().__str__()
        return (
            f"{told}; {self.stored:,} rows are stored, go on with after_row={self.stored}"
            if self.stored
            else told
        )
