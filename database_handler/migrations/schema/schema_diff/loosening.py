"""Tables that let go of a parent while something is renamed: the server renames what both have only together.

The snapshot is told as it is then, so that the rest of the plan takes the parent again, where that is wanted.
"""

from dataclasses import replace

from database_handler.migrations.schema.schema_diff.side import Side
from database_handler.migrations.schema.schema_diff.statement import Action
from database_handler.migrations.schema.schema_diff.step import Step
from database_handler.migrations.schema.snapshot import (
    Column,
    Constraint,
    Kind,
    ObjectId,
    SchemaObject,
    SchemaSnapshot,
    Table,
)

__all__ = ["loosened", "ties", "untied"]


def ties(side: Side, id: ObjectId) -> list[tuple[str, str]]:
    """Return (child, parent) of the tables between which a column or check would not be renamed.

    A table that has it from a parent keeps its name by that; one that has it from here and from elsewhere
    cannot be renamed along.
    """
    if id.kind not in (Kind.COLUMN, Kind.CONSTRAINT):
        return []
    line = [id.name, *dict.fromkeys(side.descendants(id.name))]
    found = [(id.name, parent) for parent in _givers(side, id)]
    for table in line[1:]:
        givers = _givers(side, id._replace(name=table))
        if not set(givers) <= set(line):
            found += [(table, giver) for giver in givers if giver in line]
    return found


def _givers(side: Side, id: ObjectId) -> list[str]:
    """Return the parents that a table has a part from."""
    table, each = side.table(id.name), side.objects.get(id)
    if table is None or table.partition_bound or (isinstance(each, Constraint) and not each.inherited):
        return []
    return [parent for parent in table.parents if id._replace(name=parent) in side]


def untied(child: str, parent: str) -> Step:
    """Return the step that takes a table from a parent."""
    sql = f"ALTER TABLE {child} NO INHERIT {parent}"
    return Step.alter(sql, ObjectId(Kind.TABLE, child), Action.ALTER)


def loosened(snapshot: SchemaSnapshot, child: str, parent: str) -> SchemaSnapshot:
    """Return the snapshot after a table was taken from a parent: what it had from there is its own."""
    table = Side(snapshot).table(child)
    left = tuple(each for each in (table.parents if table else ()) if each != parent)
    objects = {
        id: _alone(each, parent, left, snapshot) if id.name == child else each
        for id, each in snapshot.objects.items()
    }
    return replace(snapshot, objects=objects)


def _alone(each: SchemaObject, parent: str, left: tuple[str, ...], snapshot: SchemaSnapshot) -> SchemaObject:
    if isinstance(each, Table):
        needs = tuple(need for need in each.needs if need != ObjectId(Kind.TABLE, parent))
        return replace(each, parents=left, needs=needs)
    if not isinstance(each, Column | Constraint) or not each.inherited:
        return each
    inherited = any(each.id._replace(name=other) in snapshot.objects for other in left)
    needs = tuple(need for need in each.needs if need != each.id._replace(name=parent))
    return replace(each, inherited=inherited, needs=needs)
