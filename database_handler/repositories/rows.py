"""The rows of one entity go to a file and come from one, some hundreds at a time: memory stays as it is.

Out, it is one query over a server-side cursor. In, each row is validated as a draft is, and rows are stored
as `create_many` and `upsert_many` store them: in one transaction, or each batch in one of its own.
"""

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from operator import attrgetter
from typing import Any, Generic, Literal, TypeVar, get_args
from uuid import UUID

from pydantic import create_model
from pydantic_core import from_json

from database_handler.content.files import Readable
from database_handler.content.rows import GivenRow, RowFileRefused, name_of, read_rows, writing_rows
from database_handler.content.rows.columns import as_json
from database_handler.content.streams import Writable
from database_handler.core.base_model import Draft, Record, draft_of, validated_changes
from database_handler.core.exceptions import (
    ConstraintViolation,
    DatabaseHandlerError,
    InvalidData,
    InvalidValue,
    LimitExceeded,
    StatusMoveRefused,
)
from database_handler.core.schema import SERVER_COLUMNS
from database_handler.core.session import Session

__all__ = ["Existing", "ExportedRows", "Ids", "ImportedRows", "RowImport", "export_rows"]

R = TypeVar("R", bound=Record)
Existing = Literal["refuse", "skip", "update"]
Ids = Literal["keep", "new"]
OnProgress = Callable[[int], object]
Store = Callable[[Session, Any, Sequence[Any], Sequence[UUID | None]], tuple[int, int, int, int]]

_MOST_BYTES = 4 * 1024 * 1024  # of the rows that are stored at once
_REFUSALS = (ConstraintViolation, InvalidData, InvalidValue, LimitExceeded, StatusMoveRefused)


@dataclass(frozen=True, slots=True)
class ExportedRows:
    """How many rows were written to a file."""

    rows: int


@dataclass(frozen=True, slots=True)
class ImportedRows:
    """What became of the rows of a file.

    Attributes
    ----------
    skipped : int
        Rows that were there already, and were left as they are without a look at them.
    unchanged : int
        Rows that were there already, and were as the file has them.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0

    @property
    def rows(self) -> int:
        """How many rows of the file there were, those that an earlier run had done not counted."""
        return self.inserted + self.updated + self.unchanged + self.skipped

    def __add__(self, other: "ImportedRows") -> "ImportedRows":
        """Both together."""
        return ImportedRows(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.skipped + other.skipped,
        )


# ------------------------------------------------------------------------------------------------------- out


def export_rows(
    entity: type[R],
    found: Generator[R, None, None],
    target: str | os.PathLike[str] | Writable,
    *,
    file_format: object,
    every: int,
    on_progress: OnProgress | None,
) -> ExportedRows:
    """Write the records found; `Repository.export_rows` says the rest."""
    rows = 0
    with closing(found):
        told = _told(on_progress)
        with writing_rows(entity, target, file_format) as write:
            for record in found:
                write(record)
                rows += 1
                if rows % every == 0:
                    told(rows)
    told(rows)
    return ExportedRows(rows)


def _told(on_progress: object) -> OnProgress:
    if on_progress is None:
        return lambda _: None
    if callable(on_progress):
        return on_progress
    raise InvalidValue("on_progress takes something to call, with the number of rows done")


# -------------------------------------------------------------------------------------------------------- in


@dataclass(frozen=True, slots=True)
class _Row:
    """A row that its model took."""

    line: int
    id: UUID | None
    draft: Any
    size: int


@lru_cache(maxsize=256)
def _row_model(draft: type[Draft]) -> type[Draft]:
    """Return the draft with what the server adds to a row: the id is taken, the rest passed over."""
    known: dict[str, Any] = {"id": (UUID | None, None)}
    known |= dict.fromkeys(SERVER_COLUMNS, (Any, None))
    return create_model(draft.__name__, __base__=draft, **known)


class RowImport(Generic[R]):
    """Stores the rows of a file.

    Parameters
    ----------
    session : Session
        What they are sent through.
    store : callable
        Stores some drafts under their ids through a session; gives how many were inserted, updated, found
        as they are, and skipped.
    """

    def __init__(
        self,
        entity: type[R],
        session: Session,
        store: Store,
        *,
        ids: object,
        existing: object,
        values: object,
        batch: object,
        by_batch: object,
    ) -> None:
        self._entity, self._session, self._store = entity, session, store
        self._keep_ids = _one_of("ids", ids, get_args(Ids)) == "keep"
        self._existing: Any = _one_of("existing", existing, get_args(Existing))
        if type(batch) is not int or not 1 <= batch <= 100_000:
            raise InvalidValue("batch is a whole number from 1 to 100,000")
        if not isinstance(by_batch, bool):
            raise InvalidValue("by_batch is True or False")
        self._batch: int = batch
        self._by_batch = by_batch
        self._draft = draft_of(entity)
        self._values = _checked_values(self._draft, values)
        self._key = attrgetter(*entity.table.key)
        self._file = ""

    def of(
        self,
        source: str | os.PathLike[str] | Readable,
        file_format: object,
        after_row: object,
        on_progress: OnProgress | None,
    ) -> ImportedRows:
        """Store them; `Repository.import_rows` says the rest."""
        if type(after_row) is not int or not 0 <= after_row < 2**63:
            raise InvalidValue("after_row is a whole number from 0 on: the rows of the file to pass over")
        told = _told(on_progress)
        self._file = name_of(source)
        found = ImportedRows()
        with read_rows(self._entity, source, file_format) as rows, self._whole() as whole:
            for batch in self._batches(rows, after_row):
                found += self._stored(whole, batch, after_row + found.rows)
                told(after_row + found.rows)
        return found

    def _whole(self) -> AbstractContextManager[Session]:
        return nullcontext(self._session) if self._by_batch else self._session.undoable()

    def _batches(self, rows: Iterator[GivenRow], done: int) -> Iterator[list[_Row]]:
        """Put rows together; one whose key stands in the batch begins another, so that the order holds."""
        batch: list[_Row] = []
        keys: set[Any] = set()
        size = stored = 0
        try:
            for given in islice(rows, done, None):
                row = self._row(given)
                key = self._key(row.draft)
                if batch and (len(batch) >= self._batch or size >= _MOST_BYTES or key in keys):
                    yield batch
                    stored += len(batch)
                    batch, size = [], 0
                    keys.clear()
                batch.append(row)
                keys.add(key)
                size += row.size
        except RowFileRefused as refusal:
            refusal.stored = done + stored if self._by_batch else 0
            raise
        if batch:
            yield batch

    def _row(self, given: GivenRow) -> _Row:
        data = given.data
        try:
            if self._values:
                data = self._with_values(data)
            found: Any = _row_model(self._draft).model_validate_json(data)
        except InvalidValue as error:
            refused = error
        else:
            id = found.id if self._keep_ids else None
            return _Row(given.line, id, found, len(data))
        raise RowFileRefused(str(refused), file=self._file, line=given.line, columns=refused.columns)

    def _with_values(self, data: bytes) -> bytes:
        try:
            row: object = from_json(data)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise InvalidValue(f"{self._draft.__name__}: the whole: it is no JSON object")
        return as_json({**row, **self._values})

    # ------------------------------------------------------------------------------------------------ storing

    def _stored(self, whole: Session, batch: Sequence[_Row], before: int) -> ImportedRows:
        try:
            with whole.undoable() as session:
                return self._take(session, batch)
        except _REFUSALS as error:
            refused = error
        row, told = self._first_refused(whole, batch, refused)
        raise RowFileRefused(
            str(told).replace("position 0: ", ""),
            file=self._file,
            line=row.line,
            columns=told.columns,
            stored=before if self._by_batch else 0,
        ) from refused

    def _take(self, session: Session, batch: Sequence[_Row]) -> ImportedRows:
        drafts, ids = [row.draft for row in batch], [row.id for row in batch]
        return ImportedRows(*self._store(session, self._existing, drafts, ids))

    def _first_refused(
        self, whole: Session, batch: Sequence[_Row], refused: DatabaseHandlerError
    ) -> tuple[_Row, DatabaseHandlerError]:
        """Find the row that is refused by halves, in a savepoint that is undone: ten tries for a thousand."""
        with _tried(whole) as session:
            while len(batch) > 1:
                half = batch[: len(batch) // 2]
                try:
                    with session.undoable() as part:
                        self._take(part, half)
                except _REFUSALS as error:
                    batch, refused = half, error
                else:
                    batch = batch[len(half) :]
            try:
                with session.undoable() as part:
                    self._take(part, batch)
            except _REFUSALS as error:
                refused = error
        return batch[0], refused


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> str:
    for each in allowed:
        if isinstance(value, str) and value == each:
            return each
    raise InvalidValue(f"{name} is one of {', '.join(allowed)}")


def _checked_values(draft: type[Draft], values: object) -> dict[str, Any]:
    if values is None or values == {}:
        return {}
    if not isinstance(values, Mapping):
        raise InvalidValue(f"values are a mapping of fields, not a {type(values).__name__}")
    valid = validated_changes(draft, values)
    return {name: valid[name] for name in values}


class _Undone(Exception):
    """Has a block undone that did not fail."""


@contextmanager
def _tried(whole: Session) -> Iterator[Session]:
    """Give a session of which nothing stays."""
    try:
        with whole.undoable() as session:
            yield session
            raise _Undone
    except _Undone:
        pass
