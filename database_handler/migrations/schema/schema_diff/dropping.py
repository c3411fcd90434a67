"""What is dropped, and which of it goes with something else: a table takes along all that belongs to it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from database_handler.migrations.schema.schema_diff import outlines
from database_handler.migrations.schema.schema_diff.circles import circles
from database_handler.migrations.schema.schema_diff.constraints import index_above
from database_handler.migrations.schema.schema_diff.fates import Change
from database_handler.migrations.schema.schema_diff.names import target
from database_handler.migrations.schema.schema_diff.security import default_privileges
from database_handler.migrations.schema.schema_diff.side import PART_KINDS, Side
from database_handler.migrations.schema.schema_diff.statement import Action
from database_handler.migrations.schema.schema_diff.step import Step
from database_handler.migrations.schema.schema_diff.tables import detached
from database_handler.migrations.schema.schema_diff.types import moved_away
from database_handler.migrations.schema.snapshot import (
    Column,
    Constraint,
    ConstraintType,
    DefaultPrivileges,
    Index,
    Kind,
    ObjectId,
    SchemaObject,
    Sequence,
    Statistics,
    Table,
    Trigger,
)

__all__ = ["apart", "drops"]


_MADE_OF_TYPES = (Kind.DOMAIN, Kind.COMPOSITE, Kind.RANGE)


def drops(change: Change) -> Iterator[Step]:
    """Give a step for everything that is dropped and does not go with something else."""
    destroyed = [id for id in change.old.objects if change.is_destroyed(id)]
    taken = {id: by for id in destroyed if (by := _taken_along(change.old.objects[id], change)) is not None}
    for id in [id for id in taken if _stands_in_the_way(id, change)]:
        _let_go(id, taken, change)
    alone = apart({id: _root(id, taken) for id in destroyed}, change.old)
    for id in alone:
        _let_go(id, taken, change)
    for table in sorted({id.name for id in alone if _is_tied(change.old.objects[id], change)}):
        found = change.old.objects[ObjectId(Kind.TABLE, table)]
        yield from detached(found, change, found.parents) if isinstance(found, Table) else ()
    along: dict[ObjectId, list[ObjectId]] = {}
    for id in destroyed:
        along.setdefault(_root(id, taken), []).append(id)
    for root, members in along.items():
        if change.is_destroyed(root):
            yield from _drop(change.old.objects[root], members, change)


def _stands_in_the_way(id: ObjectId, change: Change) -> bool:
    """Whether it is a reference to a partitioned table: no part of that can be dropped before it."""
    each = change.old.objects[id]
    if not isinstance(each, Constraint) or each.references is None:
        return False
    table = change.old.table(each.references)
    return table is not None and table.partition_key is not None


def _let_go(id: ObjectId, taken: dict[ObjectId, ObjectId], change: Change) -> None:
    """Let an object be dropped by itself, or with that of its parent table that it is a copy of."""
    if _is_of_what_stays(change.old.objects[id], change):
        return
    above = _parents_own(change.old.objects[id], change, linked=False)
    if above is None:
        taken.pop(id, None)
    else:
        taken[id] = above


def _is_of_what_stays(each: SchemaObject, change: Change) -> bool:
    """Whether it is a table's copy of a constraint that stays: it goes with its table only."""
    if not isinstance(each, Constraint) or not each.inherited:
        return False
    table = change.old.table(each.id.name)
    above = [change.old.objects[id] for id in _above(each, table.parents if table else (), change)]
    return any(not change.is_destroyed(one.id) or _is_of_what_stays(one, change) for one in above)


def _above(each: Column | Constraint | Trigger, parents: Iterable[str], change: Change) -> Iterator[ObjectId]:
    return (above for parent in parents for above in _same_part(each, parent, change))


def _is_tied(each: SchemaObject, change: Change) -> bool:
    """Whether it is a column that cannot be dropped by itself: a parent has it too, and keeps it."""
    table = change.old.table(each.id.name)
    if not isinstance(each, Column) or not each.inherited or table is None or _linked(each.id.name, change):
        return False
    return any(not change.is_destroyed(id) for id in _above(each, table.parents, change))


def _root(id: ObjectId, taken: Mapping[ObjectId, ObjectId]) -> ObjectId:
    while id in taken:
        id = taken[id]
    return id


def apart(groups: Mapping[ObjectId, ObjectId], side: Side) -> list[ObjectId]:
    """Return the members that would make a circle of their groups, each of which is one statement.

    Parameters
    ----------
    groups : mapping
        Of each object its group, named by the object that the statement is about.
    """
    edges = _between(groups, side)
    circle = circles({(one, other) for one, other, _ in edges})
    anyway = {(one, other) for one, other, member in edges if member == one}
    return sorted(
        {
            member
            for one, other, member in edges
            if circle[one] == circle[other] and (one, other) not in anyway
        }
    )


def _between(groups: Mapping[ObjectId, ObjectId], side: Side) -> list[tuple[ObjectId, ObjectId, ObjectId]]:
    """Return which group needs which other, and because of which member."""
    return [
        (group, other, id)
        for id, group in groups.items()
        for need in side.needs(id)
        if (other := groups.get(need, group)) != group
    ]


def _taken_along(each: SchemaObject, change: Change) -> ObjectId | None:
    """Return what takes an object along as it is dropped; None where it is dropped by itself."""
    id = each.id
    whole = _whole(each, change.old)
    if whole is not None and change.is_destroyed(whole):
        return whole
    if isinstance(each, Sequence) and each.owned_by is not None and id not in change.new:
        return each.owned_by if change.is_destroyed(each.owned_by) else None
    if above := _parents_own(each, change):
        return above
    if isinstance(each, Constraint | Index) and id not in change.new and whole is not None:
        return _column_that_goes(each, change)
    return None


def _whole(each: SchemaObject, side: Side) -> ObjectId | None:
    """Return the relation (or domain) that an object belongs to."""
    if isinstance(each, Index):
        return side.relation(each.table)
    if each.id.kind in PART_KINDS:
        return side.relation(each.id.name)
    if each.id.kind is Kind.DOMAIN_CONSTRAINT:
        return ObjectId(Kind.DOMAIN, each.id.name)
    if isinstance(each, Statistics):
        tables = sorted(need.name for need in side.needs(each.id) if need.kind is Kind.COLUMN)
        return side.relation(tables[0]) if tables else None
    return None


def _column_that_goes(each: Constraint | Index, change: Change) -> ObjectId | None:
    table = each.table if isinstance(each, Index) else each.id.name
    columns = (
        need
        for need in change.old.needs(each.id)
        if need.kind is Kind.COLUMN and need.name == table and change.is_destroyed(need)
    )
    if isinstance(each, Constraint) and each.type in (ConstraintType.EXCLUSION, ConstraintType.FOREIGN_KEY):
        # What only its condition or an expression names belongs to its index, which holds on to the column;
        # and a table's reference to itself holds on to the columns that it refers to.
        columns = (need for need in columns if need.part in each.columns)
    return min(columns, default=None)


def _parents_own(each: SchemaObject, change: Change, *, linked: bool = True) -> ObjectId | None:
    """Return the parent's column, constraint, index or trigger that this one is a copy of, and that goes."""
    if isinstance(each, Index) and each.parent is not None:
        above = ObjectId(Kind.INDEX, each.parent)
        return above if change.is_destroyed(above) and (not linked or _linked(each.table, change)) else None
    if isinstance(each, Constraint) and not each.inherited:
        above_index = index_above(each, change.old)
        goes = above_index is not None and change.is_destroyed(above_index)
        return above_index if goes and (not linked or _linked(each.id.name, change)) else None
    if not isinstance(each, Column | Constraint | Trigger) or not each.inherited:
        return None
    table = change.old.table(each.id.name)
    for parent in table.parents if table else ():
        if not linked or change.linked(each.id.name, parent):
            for above in _same_part(each, parent, change):
                if change.is_destroyed(above) and not _left_behind(change.old.objects[above], change):
                    return above
    return None


def _same_part(each: Column | Constraint | Trigger, parent: str, change: Change) -> Iterator[ObjectId]:
    for need in each.needs:
        if need.kind is each.id.kind and need.name == parent:
            above = change.old.objects[need]
            if getattr(above, "type", None) == getattr(each, "type", None) or not isinstance(
                each, Constraint
            ):
                yield need  # else the key that a reference is to
    if (same := ObjectId(each.id.kind, parent, each.id.part)) in change.old:
        yield same


def _linked(table: str, change: Change) -> bool:
    found = change.old.table(table)
    return any(change.linked(table, parent) for parent in (found.parents if found else ()))


def _drop(each: SchemaObject, members: Iterable[ObjectId], change: Change) -> Iterator[Step]:
    id = each.id
    if id in change.moved:
        away, *rest = moved_away(each, change.moved, change)
        yield replace(away, destroys=frozenset(members))
        yield from rest
        return
    if isinstance(each, DefaultPrivileges):
        yield from default_privileges(each, None)
        return
    if isinstance(each, Trigger) and each.inherited:
        return  # goes as its table is detached
    if id in change.old.outlined:
        yield outlines.emptied(each)
    releases = frozenset(need for member in members for need in change.old.needs(member))
    if id.kind in _MADE_OF_TYPES:  # it may outlive that one of them is moved out of the way, as columns do
        releases = frozenset(
            ObjectId(need.kind, change.moved.get(need, need.name), need.part) for need in releases
        )
    left = frozenset(_left_behind(each, change))
    if isinstance(each, Table):  # what stands on an inherited column stands in the way of the parent's
        above = (part for parent in each.parents for part in change.old.parts.get(parent, ()))
        releases |= {part for part in above if part.kind is Kind.COLUMN}
    yield Step(
        _statement(each, only=bool(left)),
        Action.DROP,
        id,
        destroys=frozenset(members),
        releases=(releases | left) - frozenset(members),
        settles=left,
        frees=_freed(each),
        loses=_loss(each),
    )


def _freed(each: SchemaObject) -> frozenset[tuple[str, str]]:
    """Return what others wait for: that a table is not referred to, that it has no column that goes."""
    if isinstance(each, Column):
        return frozenset({("columns", each.id.name)})
    referred = each.references if isinstance(each, Constraint) else None
    return frozenset({("reference", referred)} if referred is not None else ())


def _left_behind(each: SchemaObject, change: Change) -> list[ObjectId]:
    """Return the columns, or checks, of linked tables that come from this one: they stay, or go afterwards.

    The server drops along what came from here only, and nobody can see to it that it came from elsewhere too:
    a table that took its parent later has columns of its own. Partitions have none.
    """
    table = change.old.table(each.id.name)
    is_check = isinstance(each, Constraint) and each.type is ConstraintType.CHECK
    if not (is_check or isinstance(each, Column)) or table is None or table.partition_key is not None:
        return []
    children = change.old.children.get(each.id.name, ())
    copies = [each.id._replace(name=child) for child in children if change.linked(child, each.id.name)]
    return [copy for copy in copies if copy in change.old]


def _statement(each: SchemaObject, *, only: bool = False) -> str:
    match each.id.kind:
        case Kind.COLUMN:
            return f"ALTER TABLE {'ONLY ' if only else ''}{each.id.name} DROP COLUMN {each.id.part}"
        case Kind.CONSTRAINT:
            return f"ALTER TABLE {'ONLY ' if only else ''}{each.id.name} DROP CONSTRAINT {each.id.part}"
        case Kind.DOMAIN_CONSTRAINT:
            return f"ALTER DOMAIN {each.id.name} DROP CONSTRAINT {each.id.part}"
        case _:
            return f"DROP {target(each)}"


def _loss(each: SchemaObject) -> str | None:
    """Return what data goes with an object, in words."""
    match each:
        case Column(generated=None):
            return f"the values of {each.id.name}.{each.id.part}"
        case _ if each.id.kind is Kind.TABLE:
            return f"the rows of {each.id.name}"
        case Sequence():
            return f"how far sequence {each.id.name} has counted"
        case _:
            return None
