"""Which rows a transaction's statements changed, by what they answer, and the SQL that tells others of it.

It rides with the COMMIT, so a unit costs no round trip more. What a statement answers is read here for each
kind of call; one of an application's own is read by its columns ``id``, ``project_id`` and ``version``, and
where it names no rows its whole table is told as changed. A caller's own SQL is not seen.

It is one module because what is written to the outbox and what is read from it are two sides of one format.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final, Literal
from uuid import UUID

from database_handler.core.cache_tags import Touched
from database_handler.core.messages import Reply, Statement
from database_handler.core.schema import Table
from database_handler.utils.choices import Choice

__all__ = [
    "CHANNEL",
    "OUTBOX",
    "READERS",
    "Changes",
    "Mode",
    "Notes",
    "Operation",
    "RowChange",
    "Written",
    "from_payload",
    "wrote",
]

Mode = Literal["off", "notify", "outbox"]
OUTBOX: Final = "database_handler_changes"
READERS: Final = "database_handler_change_readers"
PROJECTS: Final = "projects"
CHANNEL: Final = "database_handler_changes"
_AT_ONCE = 1000  # notes that are held before they go with the next message
_NOTICES = 200  # of one transaction; from there on the tables are told, not the rows
_PAYLOAD = 40  # notes of one notice, whose payload has less than 8,000 bytes

Written = tuple[UUID, UUID | None]
"""A row that a statement inserts: its id, and its project's."""


class Operation(Choice):
    """What was done to a row."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    MANY = "many"
    """Rows of the entity were written, and it is not said which: read them again."""
    MISSED = "missed"
    """Changes may have been missed while nobody listened: read everything again."""


@dataclass(frozen=True, slots=True)
class RowChange:
    """One row that was changed; a project that was deleted stands for all that was in it.

    Attributes
    ----------
    entity : str
        The table: ``"translations"``; empty for `MISSED`.
    id, project_id : UUID or None
        None where it is not said, or where there is none.
    version : int or None
        The row's after the change; None where it is not said. The row may be newer by the time it is read.
    position : str or None
        Its place in the outbox, for `after`; None for a notice.
    at : datetime or None
        When the transaction began that wrote it.
    """

    operation: Operation
    entity: str
    id: UUID | None = None
    project_id: UUID | None = None
    version: int | None = None
    position: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Note:
    operation: str
    entity: str
    id: UUID | None
    project_id: UUID | None
    version: int | None


# ------------------------------------------------------------------------------------------- what was written


def wrote(table: Table, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> tuple[Written, ...]:
    """Return what a bulk insert writes, of rows whose values come in the order of these names."""
    at, project = names.index("id"), names.index(table.scope_column)
    return tuple((row[at], row[project]) for row in rows)


class Changes:
    """What the transactions of a database tell of their changes, and how."""

    def __init__(self, mode: Literal["notify", "outbox"], tables: Iterable[Table]) -> None:
        self.mode: Literal["notify", "outbox"] = mode
        self._tables = {table.name: table for table in tables}
        self._below = Touched(self._tables.values()).cascades

    def concerns(self, statement: Statement) -> bool:
        """Whether a statement writes rows of an entity."""
        return statement.writes and statement.table in self._tables

    def notes(self) -> "Notes":
        """Return what one transaction notes down."""
        return Notes(self)

    def read(self, statement: Statement, reply: Reply) -> Iterator[_Note]:
        """Tell the rows that a statement changed, by what it answered."""
        table = self._tables[statement.table or ""]
        call = statement.name.rpartition(".")[2]
        if statement.wrote is not None:
            yield from _inserted(table, call, statement.wrote, reply)
        elif statement.deletes:
            yield from self._with_what_is_below(table, list(_deleted(table, statement, reply)))
        elif "id" in reply.columns:
            yield from _answered(table, statement, _ROWS.get(call, _all)(statement, reply), reply.columns)
        else:
            yield _Note(Operation.MANY, table.name, None, None, None)
        if call == "clone":
            for row in _answered(table, statement, reply.rows, reply.columns):
                for name in sorted(self._below[table.name]):
                    yield _Note(Operation.MANY, name, None, row.id, None)

    def _with_what_is_below(self, table: Table, gone: Sequence[_Note]) -> Iterator[_Note]:
        """Tell that rows of other tables went along; a project stands for all that was in it."""
        yield from gone
        if table.name == PROJECTS:
            return
        for project in dict.fromkeys(note.project_id for note in gone):
            for name in sorted(self._below[table.name]):
                yield _Note(Operation.MANY, name, None, project, None)


def _inserted(table: Table, call: str, written: Sequence[Written], reply: Reply) -> Iterator[_Note]:
    stored: set[UUID] | None = None
    if "id" in reply.columns:
        at = reply.columns.index("id")
        stored = {row[at] for row in reply.rows}
    elif call == "create_many" and reply.rows and not reply.rows[0][1]:
        return  # its projects' JSON Schemas are others by now: it is sent again
    for id, project in written:
        if stored is None or id in stored:
            yield _Note(Operation.INSERT, table.name, id, project, 1)


def _deleted(table: Table, statement: Statement, reply: Reply) -> Iterator[_Note]:
    if "ids" not in reply.columns:
        yield from _answered(table, statement, _first_says(statement, reply), reply.columns)
        return
    _, twice, ids, projects = reply.rows[0]
    if twice or not ids:
        return
    among = projects.split(",")
    for text in ids.split(","):
        id = UUID(text)
        project = id if not table.is_child else UUID(among[0]) if len(among) == 1 else None
        yield _Note(Operation.DELETE, table.name, id, project, None)


def _answered(
    table: Table, statement: Statement, rows: Iterable[Sequence[Any]], columns: Sequence[str]
) -> Iterator[_Note]:
    """Read rows that were written: one of version 1 is new, for each update adds one."""
    at = columns.index("id")
    project = columns.index(table.scope_column) if table.scope_column in columns else None
    version = columns.index("version") if "version" in columns else None
    for row in rows:
        if row[at] is None:
            continue
        number = None if version is None else row[version]
        kind = Operation.INSERT if number == 1 else Operation.UPDATE
        yield _Note(
            Operation.DELETE if statement.deletes else kind,
            table.name,
            row[at],
            None if project is None else row[project],
            number,
        )


def _all(statement: Statement, reply: Reply) -> Iterable[Sequence[Any]]:  # noqa: ARG001  # as the others
    return reply.rows


def _first_says(statement: Statement, reply: Reply) -> Iterable[Sequence[Any]]:  # noqa: ARG001  # likewise
    return (row for row in reply.rows if row[0])


def _written(statement: Statement, reply: Reply) -> Iterable[Sequence[Any]]:  # noqa: ARG001  # likewise
    at = reply.columns.index("written")
    return (row for row in reply.rows if row[at])


def _claimed(statement: Statement, reply: Reply) -> Iterable[Sequence[Any]]:
    """A lease is no part of a row; a statement that sets more may have changed it."""
    return reply.rows if "version = " in statement.text else ()


def _leased(statement: Statement, reply: Reply) -> Iterable[Sequence[Any]]:
    return (row for row in _claimed(statement, reply) if row[0])


_ROWS: Mapping[str, Callable[[Statement, Reply], Iterable[Sequence[Any]]]] = {
    "update": _first_says,
    "update_many": _first_says,
    "upsert": _written,
    "claim": _claimed,
    "lease": _leased,
}


# ------------------------------------------------------------------------------------------------- telling it


class Notes:
    """What one transaction has changed, and nobody was told yet."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._held: list[_Note] = []
        self._noticed = 0
        self._wakes = False

    def add(self, statement: Statement, reply: Reply) -> None:
        """Note a statement down, by what it answered."""
        if self._changes.concerns(statement):
            self._held += self._changes.read(statement, reply)

    def forget(self) -> None:
        """Drop what is held: it was undone."""
        self._held.clear()

    @property
    def is_full(self) -> bool:
        """Whether so many are held that they should go with the next message."""
        return len(self._held) >= _AT_ONCE

    def taken(self) -> list[str]:
        """Return the SQL that tells what is held, each a statement, and hold nothing any more."""
        held, self._held = self._held, []
        if not held:
            return []
        if self._changes.mode == "outbox":
            self._wakes = True
            return [_outbox(held)]
        self._noticed += len(held)
        if self._noticed > _NOTICES:
            whole = dict.fromkeys((note.entity, note.project_id) for note in held)
            held = [_Note(Operation.MANY, entity, None, project, None) for entity, project in whole]
            if len(held) > _NOTICES:
                held = [_Note(Operation.MANY, name, None, None, None) for name in {n.entity for n in held}]
        return [_notices(held)]

    def last(self) -> list[str]:
        """Return the SQL that goes with the COMMIT: what is held, and what wakes the outbox's readers."""
        told = self.taken()
        return [*told, f"SELECT pg_notify('{CHANNEL}', '')"] if self._wakes else told


def _outbox(held: Sequence[_Note]) -> str:
    names = "operation, entity, id, project_id, version"
    if len(held) == 1:
        note = held[0]
        values = f"'{note.operation}', '{note.entity}', {_text(note.id)}, {_text(note.project_id)}"
        return f"INSERT INTO {OUTBOX} ({names}) VALUES ({values}, {_number(note.version)})"
    columns = (
        ("text", (note.operation for note in held)),
        ("text", (note.entity for note in held)),
        ("uuid", (note.id for note in held)),
        ("uuid", (note.project_id for note in held)),
        ("bigint", (note.version for note in held)),
    )
    arrays = ", ".join(f"'{_array(values)}'::{kind}[]" for kind, values in columns)
    return f"INSERT INTO {OUTBOX} ({names}) SELECT * FROM unnest({arrays})"


def _array(values: Iterable[object]) -> str:
    # Names, ids and numbers: none of them holds a comma, a quote or a brace.
    return "{" + ",".join("NULL" if value is None else str(value) for value in values) + "}"


def _text(id: UUID | None) -> str:
    return "NULL" if id is None else f"'{id}'"


def _number(version: int | None) -> str:
    return "NULL" if version is None else str(version)


def _notices(held: Sequence[_Note]) -> str:
    waiting = iter(held)
    payloads: list[str] = []
    while part := list(islice(waiting, _PAYLOAD)):
        rows = [[n.operation, n.entity, _short(n.id), _short(n.project_id), n.version] for n in part]
        payloads.append(json.dumps(rows, separators=(",", ":")))
    return "SELECT " + ", ".join(f"pg_notify('{CHANNEL}', '{payload}')" for payload in payloads)


def _short(id: UUID | None) -> str | None:
    return None if id is None else id.hex


def from_payload(payload: str) -> Iterator[RowChange]:
    """Read the payload of a notice; what is none of ours, as anybody can send, is passed over."""
    try:
        for operation, entity, id, project, version in json.loads(payload):
            yield RowChange(
                Operation(operation),
                str(entity),
                None if id is None else UUID(id),
                None if project is None else UUID(project),
                None if version is None else int(version),
            )
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return
