"""A project goes out to a file and comes in from one as a stream: memory does not grow with its rows.

Out, it is one query over a server-side cursor, so one moment, whatever the isolation: each table's columns
stand beside those of the others, and a row has values in its own only. In, rows are validated one by one and
stored by COPY, some hundreds at a time, in one transaction (a savepoint inside a unit).
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

from database_handler.content.project_file import FileRow, ProjectFileRefused
from database_handler.core.base_model import Record, filler
from database_handler.core.exceptions import ConstraintViolation
from database_handler.core.schema import TENANT, Table
from database_handler.core.session import Session, Statement
from database_handler.models import Project
from database_handler.repositories import row_text, statements
from database_handler.repositories.project_ids import NewIds

__all__ = ["ProjectImport", "records"]

_MOST_ROWS, _MOST_BYTES = 1000, 1024 * 1024  # of a batch that is stored at once


# ------------------------------------------------------------------------------------------------------- out


def records(
    session: Session, id: UUID, entities: tuple[type[Record], ...], batch: int
) -> Generator[Record, None, None]:
    """Iterate over a project and all below it: entity by entity, in the order of ids, as of one moment."""
    fillers = [filler(entity) for entity in entities]
    ends = [0]
    for entity in entities:
        ends.append(ends[-1] + len(entity.table.columns))
    statement = everything(tuple(entity.table for entity in entities))
    for place, *row in session.stream(statement, [id] * len(entities), batch=batch):
        yield fillers[place](tuple(row[ends[place] : ends[place + 1]]))


@lru_cache(maxsize=64)
def everything(tables: tuple[Table, ...]) -> Statement:
    """Select the rows of a project from every table, one after the other, each in columns of its own."""
    parts = " UNION ALL ".join(_part(place, tables) for place in range(len(tables)))
    return Statement(parts, "projects.export")


def _part(place: int, tables: Sequence[Table]) -> str:
    told = ", ".join(
        f"t.{column.name}" if table is tables[place] else f"NULL::{column.type}"
        for table in tables
        for column in table.columns
    )
    table = tables[place]
    return f"(SELECT {place}, {told} FROM {table.name} AS t WHERE t.{table.scope_column} = %s ORDER BY t.id)"


# -------------------------------------------------------------------------------------------------------- in


class ProjectImport:
    """Stores the rows of a file below a project that was just created.

    Parameters
    ----------
    session : Session
        Of one transaction.
    project : Project
        The new project.
    guarded : bool
        Whether row-level security holds, for then the server takes no COPY.
    """

    def __init__(self, session: Session, project: Project, *, guarded: bool) -> None:
        self._session = session
        self._project = project
        self._guarded = guarded
        self._ids: dict[str, NewIds] = {}

    def store(self, rows: Iterable[FileRow]) -> None:
        """Store the rows of a file that follow its project's.

        Raises
        ------
        ProjectFileRefused
            The file is refused, by its reader or by a constraint of the database.
        """
        for batch in _batches(rows):
            try:
                self._copy(batch[0].entity.table, batch)
            except ConstraintViolation as violation:
                refused = violation
            else:
                continue
            raise ProjectFileRefused(f"lines {batch[0].line} to {batch[-1].line}: {refused}") from refused

    def _copy(self, table: Table, batch: Sequence[FileRow]) -> None:
        rows = list(self._values(table, batch))
        statement = statements.create_many(table) if self._guarded else statements.copy(table)
        statement = statements.telling(self._session, table, statement, rows)
        if self._guarded:
            unchecked = ["{}"] if table.keeps_metadata else []
            self._session.run(statement, [*statements.as_arrays(table, rows), *unchecked])
            return
        stored_at = self._project.created_at  # the transaction's moment
        columns = statements.draft_columns(table)
        self._session.copy(statement, row_text.lines(columns, rows, (stored_at, stored_at, 1)))

    def _values(self, table: Table, batch: Iterable[FileRow]) -> Iterator[list[Any]]:
        names = [column.name for column in statements.draft_columns(table)]
        targets = {key.columns[-1]: key.table for key in table.foreign_keys}
        for row in batch:
            given = {**row.draft.__dict__, **self._given(table.name, row, targets)}
            yield [given[name] for name in names]

    def _given(self, table: str, row: FileRow, targets: Mapping[str, str]) -> dict[str, UUID]:
        """Return the new ids that stand in place of those of the file."""
        found = {name: self._new_id(targets[name], number) for name, number in row.references.items()}
        return {**found, "id": self._new_id(table, row.number), TENANT: self._project.id}

    def _new_id(self, table: str, number: int) -> UUID:
        if table not in self._ids:
            self._ids[table] = NewIds.make()
        return self._ids[table].at(number)


def _batches(rows: Iterable[FileRow]) -> Iterator[list[FileRow]]:
    """Group rows of one entity, some hundreds or some megabytes at a time."""
    for _, of_entity in groupby(rows, key=attrgetter("entity")):
        batch: list[FileRow] = []
        size = 0
        for row in of_entity:
            batch.append(row)
            size += row.size
            if len(batch) >= _MOST_ROWS or size >= _MOST_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch
