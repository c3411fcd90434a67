"""Whether rows outlived a change of their tables: read before, read after, compared without their order."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from database_handler.core.session import Session, Statement
from database_handler.migrations.schema.schema_diff.statement import Rename
from database_handler.migrations.schema.snapshot import Column, Kind, ObjectId, SchemaSnapshot

__all__ = ["Rows", "lost_values", "read_rows"]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one table as texts, and the names of its columns; computed ones are left out."""

    columns: tuple[str, ...]
    values: tuple[tuple[str | None, ...], ...]

    def of(self, names: Sequence[str]) -> Counter[tuple[str | None, ...]]:
        """Return how often each combination of values of these columns is there."""
        places = [self.columns.index(name) for name in names]
        return Counter(tuple(row[place] for place in places) for row in self.values)


def read_rows(session: Session, snapshot: SchemaSnapshot, tables: Iterable[str]) -> dict[str, Rows]:
    """Read the tables that `snapshot` has of `tables`."""
    return {
        table: _read(session, table, _written(snapshot, table))
        for table in tables
        if ObjectId(Kind.TABLE, table) in snapshot.objects
    }


def _written(snapshot: SchemaSnapshot, table: str) -> tuple[str, ...]:
    return tuple(
        thing.id.part
        for thing in snapshot
        if isinstance(thing, Column) and thing.id[:2] == (Kind.COLUMN, table) and thing.generated is None
    )


def _read(session: Session, table: str, columns: tuple[str, ...]) -> Rows:
    told = ", ".join(f"{name}::text" for name in columns)
    rows = session.all(Statement(f"SELECT {told} FROM {table}", "proof.rows"))
    return Rows(columns, tuple(rows))


def lost_values(
    before: Mapping[str, Rows],
    after: Mapping[str, Rows],
    *,
    renames: Sequence[Rename] = (),
    changed: Iterable[ObjectId] = (),
    gone: Iterable[ObjectId] = (),
) -> Iterator[str]:
    """Say which tables and columns do not hold after a change what they held before it; never a value.

    Parameters
    ----------
    renames : sequence of Rename
        What has another name afterwards.
    changed : iterable of ObjectId
        Columns, by their names before, whose values are written otherwise now, or filled where they were
        NULL: a value may have another text, and none may be missing.
    gone : iterable of ObjectId
        Tables and columns, by their names before, that were dropped on purpose.
    """
    names = dict[ObjectId, ObjectId](renames)
    lost, loose = set(gone), set(changed)
    for table, rows in before.items():
        if ObjectId(Kind.TABLE, table) in lost:
            continue
        now = names.get(ObjectId(Kind.TABLE, table), ObjectId(Kind.TABLE, table)).name
        if now not in after:
            yield f"table {table} is gone"
            continue
        yield from _lost_in(table, rows, after[now], _Columns(table, now, names, lost, loose))


@dataclass(frozen=True, slots=True)
class _Columns:
    """What became of the columns of a table."""

    table: str
    now: str
    names: Mapping[ObjectId, ObjectId]
    lost: set[ObjectId]
    loose: set[ObjectId]

    def kept(self, columns: Iterable[str]) -> list[str]:
        return [name for name in columns if ObjectId(Kind.COLUMN, self.table, name) not in self.lost]

    def is_loose(self, name: str) -> bool:
        return ObjectId(Kind.COLUMN, self.table, name) in self.loose

    def new(self, name: str) -> str:
        for table in (self.now, self.table):  # a column's renaming follows that of its table
            found = self.names.get(ObjectId(Kind.COLUMN, table, name))
            if found is not None:
                return found.part
        return name


def _lost_in(table: str, rows: Rows, after: Rows, columns: _Columns) -> Iterator[str]:
    if len(rows.values) != len(after.values):
        yield f"{table} had {len(rows.values)} rows and has {len(after.values)}"
        return
    kept = columns.kept(rows.columns)
    if missing := [name for name in kept if columns.new(name) not in after.columns]:
        yield from (f"column {table}.{name} is gone" for name in missing)
        return
    exact = [name for name in kept if not columns.is_loose(name)]
    if rows.of(exact) != after.of([columns.new(name) for name in exact]):
        wrong = [name for name in exact if rows.of([name]) != after.of([columns.new(name)])]
        yield f"{table} holds other values than before in {', '.join(wrong) or 'the same row'}"
    for name in kept:
        if columns.is_loose(name) and _filled(after, columns.new(name)) < _filled(rows, name):
            yield f"{table}.{name} has NULL where it had a value"


def _filled(rows: Rows, name: str) -> int:
    place = rows.columns.index(name)
    return sum(row[place] is not None for row in rows.values)
