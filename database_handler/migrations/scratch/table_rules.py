"""The rules of each table, found once for a whole snapshot: columns, constraints by their kind, keys."""

from collections import defaultdict
from collections.abc import Sequence

from database_handler.migrations.schema.snapshot import (
    Column,
    Constraint,
    ConstraintType,
    Index,
    Kind,
    ObjectId,
    SchemaSnapshot,
)

__all__ = ["TableRules"]

_KEYS = (ConstraintType.PRIMARY_KEY, ConstraintType.UNIQUE)


class TableRules:
    """What a snapshot says of the rows of its tables."""

    def __init__(self, snapshot: SchemaSnapshot) -> None:
        self.snapshot = snapshot
        self._columns: dict[str, list[Column]] = defaultdict(list)
        self._constraints: dict[tuple[str, ConstraintType], list[Constraint]] = defaultdict(list)
        self._keys: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for thing in snapshot:
            if isinstance(thing, Column) and thing.id.kind is Kind.COLUMN:
                self._columns[thing.id.name].append(thing)
            elif isinstance(thing, Constraint) and thing.id.kind is Kind.CONSTRAINT:
                self._note(thing)
            elif isinstance(thing, Index) and thing.unique and thing.columns:
                self._keys[thing.table].append(thing.columns)

    def _note(self, constraint: Constraint) -> None:
        self._constraints[constraint.id.name, constraint.type].append(constraint)
        if constraint.type in _KEYS:
            self._keys[constraint.id.name].append(constraint.columns)

    def has(self, table: str) -> bool:
        """Whether there is such a table."""
        return ObjectId(Kind.TABLE, table) in self.snapshot.objects

    def column(self, table: str, name: str) -> Column | None:
        """Return a column; None where there is none."""
        found = self.snapshot.objects.get(ObjectId(Kind.COLUMN, table, name))
        return found if isinstance(found, Column) else None

    def columns(self, table: str) -> Sequence[Column]:
        """Return a table's columns."""
        return self._columns.get(table, ())

    def constraints(self, table: str, kind: ConstraintType) -> Sequence[Constraint]:
        """Return a table's constraints of a kind."""
        return self._constraints.get((table, kind), ())

    def keys(self, table: str) -> Sequence[tuple[str, ...]]:
        """Return the columns of each key, and of each unique index over plain columns."""
        return self._keys.get(table, ())
