"""One of the two schemas that are compared, with what a comparison looks up in it."""

from collections.abc import Iterable, Iterator
from functools import cached_property

from database_handler.migrations.schema.schema_diff.names import schema_of
from database_handler.migrations.schema.snapshot import (
    Column,
    Constraint,
    Index,
    Kind,
    ObjectId,
    SchemaObject,
    SchemaSnapshot,
    Sequence,
    Table,
)

__all__ = ["PART_KINDS", "RELATION_KINDS", "TYPE_KINDS", "Side"]

RELATION_KINDS = (Kind.TABLE, Kind.VIEW, Kind.MATERIALIZED_VIEW)
PART_KINDS = frozenset({Kind.COLUMN, Kind.CONSTRAINT, Kind.TRIGGER, Kind.RULE, Kind.POLICY})
"""What belongs to a relation and goes with it (indexes too, whose ids do not name it)."""
TYPE_KINDS = frozenset(
    {Kind.ENUM, Kind.DOMAIN, Kind.COMPOSITE, Kind.RANGE, Kind.EXTENSION, Kind.SCHEMA, *RELATION_KINDS}
)
"""What the type of a column can need."""


class Side:
    """A snapshot and its lookups, each made once, when it is first asked for."""

    def __init__(self, snapshot: SchemaSnapshot) -> None:
        self.snapshot = snapshot
        self.objects = snapshot.objects
        self._qualified = any(id.kind is Kind.SCHEMA for id in snapshot.objects)
        self._needs: dict[ObjectId, frozenset[ObjectId]] = {}
        self.outlined: dict[ObjectId, ObjectId] = {}
        self.quiet: frozenset[ObjectId] = frozenset()

    def __contains__(self, id: object) -> bool:
        return id in self.objects

    def column(self, table: str, name: str) -> Column | None:
        """Return a column, or None where the table has none of that name."""
        found = self.objects.get(ObjectId(Kind.COLUMN, table, name))
        return found if isinstance(found, Column) else None

    def table(self, name: str) -> Table | None:
        """Return a table; None for a view, or where there is none."""
        found = self.objects.get(ObjectId(Kind.TABLE, name))
        return found if isinstance(found, Table) else None

    def relation(self, name: str) -> ObjectId | None:
        """Return the id of the table or view of a name."""
        ids = (ObjectId(kind, name) for kind in RELATION_KINDS)
        return next((id for id in ids if id in self.objects), None)

    @cached_property
    def parts(self) -> dict[str, list[ObjectId]]:
        """What belongs to each relation: columns, constraints, indexes, triggers, rules, policies."""
        found: dict[str, list[ObjectId]] = {}
        for each in self.objects.values():
            if isinstance(each, Index):
                found.setdefault(each.table, []).append(each.id)
            elif each.id.kind in PART_KINDS:
                found.setdefault(each.id.name, []).append(each.id)
        return found

    @cached_property
    def children(self) -> dict[str, list[str]]:
        """The tables that inherit from each table, partitions too."""
        found: dict[str, list[str]] = {}
        for each in self.objects.values():
            if isinstance(each, Table):
                for parent in each.parents:
                    found.setdefault(parent, []).append(each.id.name)
        return found

    def columns(self, table: str) -> list[Column]:
        """Return the columns of a table in their places."""
        parts = (self.objects[id] for id in self.parts.get(table, ()))
        return sorted(
            (part for part in parts if isinstance(part, Column)),
            key=lambda column: (column.position, column.id.part),
        )

    def needs(self, id: ObjectId) -> frozenset[ObjectId]:
        """Return what must be there for an object: what the server says, and what its kind implies."""
        found = self._needs.get(id)
        if found is None:
            each = self.objects[id]
            found = frozenset(need for need in (*each.needs, *self._implied(each)) if need in self.objects)
            found -= {id, *_owner(each)}
            self._needs[id] = found
        return found

    def outline(
        self,
        outlined: dict[ObjectId, ObjectId],
        needs: dict[ObjectId, frozenset[ObjectId]],
        quiet: frozenset[ObjectId],
    ) -> None:
        """From now on let some objects have an outline (its id beside it), and some need other things.

        Parameters
        ----------
        quiet : frozenset of ObjectId
            In circles with a materialised view: it calls the outlines as it is made, and is filled again.
        """
        self.outlined, self.quiet = outlined, quiet
        self._needs |= needs

    def _implied(self, each: SchemaObject) -> Iterator[ObjectId]:
        id = each.id
        if id.kind in PART_KINDS:
            yield from (ObjectId(kind, id.name) for kind in RELATION_KINDS)
        elif id.kind is Kind.DOMAIN_CONSTRAINT:
            yield ObjectId(Kind.DOMAIN, id.name)
        if isinstance(each, Constraint):
            yield from (ObjectId(Kind.COLUMN, id.name, column) for column in each.columns)
            yield from _tables([each.references] if each.references else ())
        elif isinstance(each, Index):
            yield from (ObjectId(kind, each.table) for kind in RELATION_KINDS)
            yield from (ObjectId(Kind.COLUMN, each.table, column) for column in each.columns)
            yield from [ObjectId(Kind.INDEX, each.parent)] if each.parent else ()
        elif isinstance(each, Table):
            yield from _tables(each.parents)
        if self._qualified and (schema := schema_of(id.name)):
            yield ObjectId(Kind.SCHEMA, schema)

    @cached_property
    def dependents(self) -> dict[ObjectId, list[ObjectId]]:
        """What needs each object, tables first: they say what becomes of what belongs to them."""
        found: dict[ObjectId, list[ObjectId]] = {}
        for id in self.objects:
            for need in self.needs(id):
                found.setdefault(need, []).append(id)
        for ids in found.values():
            ids.sort(key=lambda id: (id.kind is not Kind.TABLE, id))
        return found

    def above(self, table: str) -> Iterator[str]:
        """Give the tables that a table inherits from, near and far."""
        found = self.table(table)
        for parent in found.parents if found is not None else ():
            yield parent
            yield from self.above(parent)

    def descendants(self, table: str) -> Iterator[str]:
        """Give the tables that inherit from a table, near and far."""
        for child in self.children.get(table, ()):
            yield child
            yield from self.descendants(child)


def _tables(names: Iterable[str]) -> Iterator[ObjectId]:
    return (ObjectId(Kind.TABLE, name) for name in names)


def _owner(each: SchemaObject) -> tuple[ObjectId, ...]:
    # A sequence goes with its column, whose default needs the sequence: only the second is an order.
    if isinstance(each, Sequence) and each.owned_by is not None:
        return (each.owned_by, ObjectId(Kind.TABLE, each.owned_by.name))
    return ()
