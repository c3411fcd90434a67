"""The rows and the counters that versions themselves put into a database, as SQL that puts them in again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from database_handler.core.exceptions import InvalidValue
from database_handler.core.quoting import literal
from database_handler.core.session import Session, Statement
from database_handler.migrations.schema.snapshot import Column, Kind, SchemaSnapshot, Sequence
from database_handler.migrations.scratch.seeding import in_order
from database_handler.migrations.scratch.table_rules import TableRules

__all__ = ["Content", "read_content"]

_MOST_ROWS = 10_000
_NOW = "DEFAULT"  # stands for the moment of the transaction, in a column whose default that is
_MOMENTS = ("now()", "CURRENT_TIMESTAMP", "transaction_timestamp()")
_Row = tuple[str | None, ...]


@dataclass(frozen=True)
class Content:
    """What is in a schema.

    Attributes
    ----------
    tables : mapping
        By table, its rows as texts, sorted; tables without rows are left out.
    counters : mapping
        By sequence, its last value, of those that were used.
    """

    tables: Mapping[str, tuple[_Row, ...]]
    counters: Mapping[str, int]

    def without(self, before: "Content") -> "Content":
        """Return what is not in `before`."""
        tables = {
            table: tuple(row for row in rows if row not in set(before.tables.get(table, ())))
            for table, rows in self.tables.items()
        }
        return Content(
            {table: rows for table, rows in tables.items() if rows},
            {name: value for name, value in self.counters.items() if before.counters.get(name) != value},
        )

    def statements(self, snapshot: SchemaSnapshot) -> Iterator[str]:
        """Give the statements that put it in, referenced rows first."""
        for table in in_order([TableRules(snapshot)], self.tables):
            if rows := self.tables.get(table):
                columns = _columns(snapshot, table)
                overriding = " OVERRIDING SYSTEM VALUE" if any(each.identity for each in columns) else ""
                names = ", ".join(each.id.part for each in columns)
                values = ",\n    ".join(_values(columns, row) for row in rows)
                yield f"INSERT INTO {table} ({names}){overriding} VALUES\n    {values}"
        for name, value in self.counters.items():
            yield f"SELECT setval({literal(name)}, {value})"


def _values(columns: list[Column], row: _Row) -> str:
    told = ", ".join(_value(column, value) for column, value in zip(columns, row, strict=True))
    return f"({told})"


def _value(column: Column, value: str | None) -> str:
    if value is None:
        return "NULL"
    return _NOW if _is_moment(column) and value == _NOW else f"{literal(value)}::{column.type}"


def _is_moment(column: Column) -> bool:
    return column.default in _MOMENTS


def _columns(snapshot: SchemaSnapshot, table: str) -> list[Column]:
    return [
        thing
        for thing in snapshot
        if isinstance(thing, Column) and thing.id[:2] == (Kind.COLUMN, table) and thing.generated is None
    ]


def read_content(session: Session, snapshot: SchemaSnapshot) -> Content:
    """Read every row of every table.

    Raises
    ------
    InvalidValue
        There are more than 10,000 of them in one table: such data belong into a file of their own.
    """
    tables = {key.name for key in snapshot.objects if key.kind is Kind.TABLE}
    rows = {table: _rows(session, snapshot, table) for table in sorted(tables)}
    counters = dict(_counters(session, snapshot))
    return Content({table: found for table, found in rows.items() if found}, counters)


def _rows(session: Session, snapshot: SchemaSnapshot, table: str) -> tuple[_Row, ...]:
    told = ", ".join(map(_told, _columns(snapshot, table)))
    found = session.all(Statement(f"SELECT {told} FROM ONLY {table} LIMIT {_MOST_ROWS + 1}", "squash.rows"))
    if len(found) > _MOST_ROWS:
        raise InvalidValue(
            f"the versions put more than {_MOST_ROWS:,} rows into {table}: squash up to before the version "
            "that does, or load them by a program"
        )
    return tuple(sorted(found, key=lambda row: [value or "" for value in row]))


def _told(column: Column) -> str:
    """Return how a column is read: the moment of the transaction is no value of its own."""
    name = column.id.part
    if not _is_moment(column):
        return f"{name}::text"
    return f"CASE WHEN {name} = now() THEN '{_NOW}' ELSE {name}::text END"


def _counters(session: Session, snapshot: SchemaSnapshot) -> Iterator[tuple[str, int]]:
    names = [thing.id.name for thing in snapshot if isinstance(thing, Sequence)]
    names += [thing.identity.sequence for thing in snapshot if isinstance(thing, Column) and thing.identity]
    for name in sorted(names):
        value, used = session.one(Statement(f"SELECT last_value, is_called FROM {name}", "squash.counter"))
        if used:
            yield name, value
