"""Two snapshots told apart object by object: what is missing, extra or changed, and what puts it right."""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from enum import Enum
from typing import Literal

from pydantic import BaseModel

from database_handler.migrations.schema.schema_diff import diff
from database_handler.migrations.schema.schema_diff.statement import SchemaDiff
from database_handler.migrations.schema.snapshot import (
    Column,
    Constraint,
    Function,
    Index,
    Kind,
    ObjectId,
    Rule,
    SchemaObject,
    SchemaSnapshot,
    Statistics,
    Table,
    Trigger,
    Unmodelled,
    View,
)

__all__ = ["Difference", "Differences", "FieldChange", "differences"]

Change = Literal["missing", "extra", "changed"]


class FieldChange(BaseModel, frozen=True):
    """What one property of an object should be, and what it is."""

    name: str
    expected: str
    found: str


class Difference(BaseModel, frozen=True):
    """One object that is not as it should be.

    Attributes
    ----------
    expected, found : str or None
        Its definition on either side; None where it is not there.
    fields : tuple of FieldChange
        Of a changed one, what differs.
    statements : tuple of str
        What would put this object right; empty where another object's statements do, and where it is of a
        kind that is not modelled.
    """

    kind: str
    name: str
    change: Change
    expected: str | None = None
    found: str | None = None
    fields: tuple[FieldChange, ...] = ()
    statements: tuple[str, ...] = ()


class Differences(BaseModel, frozen=True):
    """All differences of two schemas, and the statements that put them right, in their order.

    Attributes
    ----------
    loses : tuple of str
        What data the statements would throw away.
    unmodelled : tuple of (kind, name)
        What is there and cannot be compared.
    """

    items: tuple[Difference, ...] = ()
    statements: tuple[str, ...] = ()
    loses: tuple[str, ...] = ()
    unmodelled: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        """Whether there is a difference."""
        return bool(self.items)


def differences(expected: SchemaSnapshot, found: SchemaSnapshot) -> Differences:
    """Tell how `found` differs from `expected`."""
    plan = diff(found, expected)
    items = [*_objects(expected, found, plan), *_unmodelled(expected.unmodelled, found.unmodelled)]
    return Differences(
        items=tuple(items),
        statements=tuple(statement.sql for statement in plan),
        loses=tuple(statement.loses for statement in plan if statement.loses),
        unmodelled=tuple((str(each.kind), each.name) for each in found.unmodelled),
    )


def _objects(expected: SchemaSnapshot, found: SchemaSnapshot, plan: SchemaDiff) -> Iterator[Difference]:
    statements: dict[ObjectId, list[str]] = {}
    for statement in plan:
        statements.setdefault(statement.object, []).append(statement.sql)
    for id in sorted({*expected.objects, *found.objects}):
        wanted, there = expected.objects.get(id), found.objects.get(id)
        if wanted != there and not _goes_with_its_table(wanted or there, expected, found):
            told = definition(wanted, expected), definition(there, found)
            yield _difference(id, wanted, there, told, statements.get(id, ()))


def _goes_with_its_table(
    object: SchemaObject | None, expected: SchemaSnapshot, found: SchemaSnapshot
) -> bool:
    """Whether it belongs to a relation that is as a whole missing or extra, and so is told with that."""
    if object is None or not (object.id.part or isinstance(object, Index)):
        return False
    owner = object.table if isinstance(object, Index) else object.id.name
    kinds = (Kind.TABLE, Kind.VIEW, Kind.MATERIALIZED_VIEW, Kind.DOMAIN)
    ids = [ObjectId(kind, owner) for kind in kinds]
    return not any(id in expected.objects and id in found.objects for id in ids)


def _difference(
    id: ObjectId,
    wanted: SchemaObject | None,
    there: SchemaObject | None,
    told: tuple[str | None, str | None],
    statements: Iterable[str],
) -> Difference:
    change: Change = "missing" if there is None else "extra" if wanted is None else "changed"
    return Difference(
        kind=str(id.kind),
        name=f"{id.name}.{id.part}" if id.part else id.name,
        change=change,
        expected=told[0],
        found=told[1],
        fields=tuple(_changed(wanted, there)) if wanted and there else (),
        statements=tuple(statements),
    )


def _changed(wanted: SchemaObject, there: SchemaObject) -> Iterator[FieldChange]:
    for each in fields(wanted):
        before, after = getattr(wanted, each.name), getattr(there, each.name, None)
        if each.compare and before != after:
            yield FieldChange(name=each.name.replace("_", " "), expected=_told(before), found=_told(after))


def _unmodelled(expected: Iterable[Unmodelled], found: Iterable[Unmodelled]) -> Iterator[Difference]:
    wanted, there = set(expected), set(found)
    for each in sorted(wanted ^ there):
        change: Change = "missing" if each in wanted else "extra"
        yield Difference(kind=str(each.kind), name=each.name, change=change)


# ------------------------------------------------------------------------------------------- how it is told


def definition(object: SchemaObject | None, snapshot: SchemaSnapshot) -> str | None:
    """Return what an object of a snapshot is, in the words of SQL where it has a text of its own."""
    match object:
        case None:
            return None
        case Table():
            return _table(object, snapshot)
        case Column():
            return " ".join(_column(object))
        case Constraint():
            return object.definition + ("" if object.validated else " NOT VALID")
        case Index():
            return f"{'UNIQUE ' if object.unique else ''}INDEX {object.definition}"
        case Function():
            return f"{object.type} {object.definition}"
        case View() | Trigger() | Rule() | Statistics():
            return object.definition
        case _:
            return ", ".join(_properties(object))


def _table(table: Table, snapshot: SchemaSnapshot) -> str:
    mine = [each for each in snapshot if isinstance(each, Column) and each.id.name == table.id.name]
    columns = (
        f"{each.id.part} {' '.join(_column(each))}" for each in sorted(mine, key=lambda each: each.position)
    )
    return f"({', '.join(columns)})"


def _column(column: Column) -> Iterator[str]:
    yield column.type
    if column.collation:
        yield f"COLLATE {column.collation}"
    if column.not_null:
        yield "NOT NULL"
    if column.default is not None:
        yield f"DEFAULT {column.default}"
    if column.identity is not None:
        yield f"GENERATED {'ALWAYS' if column.identity.always else 'BY DEFAULT'} AS IDENTITY"
    if column.expression is not None:
        yield f"GENERATED ALWAYS AS ({column.expression}) {(column.generated or '').upper()}"


def _properties(object: SchemaObject) -> Iterator[str]:
    for each in fields(object):
        value = getattr(object, each.name)
        if each.compare and each.name != "id" and value not in (None, (), "", False):
            yield f"{each.name.replace('_', ' ')} {_told(value)}"


def _told(value: object) -> str:
    match value:
        case None | () | "":
            return "none"
        case bool():
            return "yes" if value else "no"
        case Enum():
            return str(value.value)
        case ObjectId():
            return str(value)
        case tuple():
            return _listed(value)
        case _:
            return str(value)


def _listed(value: tuple[object, ...]) -> str:
    named = getattr(value, "_fields", None)
    if named:
        return " ".join(f"{name} {_told(part)}" for name, part in zip(named, value, strict=True))
    return ", ".join(_told(part) for part in value)
