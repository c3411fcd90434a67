"""Tables: made with what belongs to them, changed in place, taken from a parent and given to another."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from database_handler.migrations.schema.schema_diff.columns import (
    column_line,
    column_settings,
    numbered,
    options_changed,
    options_listed,
)
from database_handler.migrations.schema.schema_diff.constraints import (
    comes_later,
    comes_with_the_wholes,
    marks,
    words_of,
)
from database_handler.migrations.schema.schema_diff.fates import Change
from database_handler.migrations.schema.schema_diff.side import Side
from database_handler.migrations.schema.schema_diff.statement import Action
from database_handler.migrations.schema.schema_diff.step import Step
from database_handler.migrations.schema.snapshot import (
    Column,
    Constraint,
    ConstraintType,
    Index,
    Kind,
    ObjectId,
    SchemaObject,
    Table,
    Trigger,
)

__all__ = ["alter_table", "create_table", "detached", "made_above", "made_with", "own_value", "reparented"]


def create_table(each: Table, change: Change, inside: Iterable[SchemaObject]) -> Iterator[Step]:
    """Give the statements that make a table.

    Parameters
    ----------
    inside : iterable of SchemaObject
        The columns and constraints that are made with it, in the statement itself.
    """
    parts = list(inside)
    lines = ",\n    ".join(_line(part, change) for part in parts if not _from_parent(part, each))
    body = f"\n    {lines}\n" if lines else ""
    bound = "" if each.partition_bound else _inherits(each)
    key = f" PARTITION BY {each.partition_key}" if each.partition_key else ""
    method = f" USING {each.access_method}" if each.access_method else ""
    options = f" WITH ({options_listed(each.options)})" if each.options else ""
    unlogged = "UNLOGGED " if each.persistence == "unlogged" else ""
    sql = f"CREATE {unlogged}TABLE {each.id.name} ({body}){bound}{key}{method}{options}"
    made = frozenset({each.id, *(part.id for part in parts)})
    needs = change.new.needs(each.id).union(*(change.new.needs(part.id) for part in parts))
    if each.partition_bound:
        needs -= {ObjectId(Kind.TABLE, parent) for parent in each.parents}
        needs -= _of_parents(each, change, Kind.CONSTRAINT, Kind.INDEX)
    else:
        needs |= _of_parents(each, change, Kind.COLUMN, Kind.CONSTRAINT)
    made_step = Step(sql, Action.CREATE, each.id, needs=needs - made, produces=made)
    yield made_step
    yield from _made_so(each, change, parts)


def _line(part: SchemaObject, change: Change) -> str:
    if isinstance(part, Column):
        return column_line(part)
    if isinstance(part, Constraint):
        return f"CONSTRAINT {part.id.part} {words_of(part, change)}"
    raise AssertionError(part.id)


def _from_parent(part: SchemaObject, table: Table) -> bool:
    inherited = isinstance(part, Column | Constraint) and part.inherited
    return inherited and table.partition_bound is None


def _inherits(each: Table) -> str:
    return f" INHERITS ({', '.join(each.parents)})" if each.parents else ""


def _of_parents(each: Table, change: Change, *kinds: Kind) -> frozenset[ObjectId]:
    ids = (id for parent in each.parents for id in change.new.parts.get(parent, ()))
    return frozenset(
        id
        for id in ids
        if id.kind in kinds and not _is_reference(id, change) and not _brought_later(id, each.id.name, change)
    )


def _brought_later(id: ObjectId, table: str, change: Change) -> bool:
    copy = change.new.objects.get(id._replace(name=table))
    return copy is not None and comes_later(copy, change)


def _is_reference(id: ObjectId, change: Change) -> bool:
    found = change.new.objects[id]
    return isinstance(found, Constraint) and found.type is ConstraintType.FOREIGN_KEY


def _made_so(each: Table, change: Change, parts: Iterable[SchemaObject]) -> Iterator[Step]:
    """Give what a table is made but cannot be told at once."""
    id, front = each.id, f"ALTER TABLE {each.id.name}"
    for part in parts:
        if isinstance(part, Column):
            yield from column_settings(part, f"{front} ALTER COLUMN {part.id.part}")
            if part.inherited and not each.partition_bound:
                yield from own_value(part, change)
        elif isinstance(part, Constraint):
            yield from marks(part, None)
    if each.row_security:
        yield Step.alter(f"{front} ENABLE ROW LEVEL SECURITY", id)
    if each.force_row_security:
        yield Step.alter(f"{front} FORCE ROW LEVEL SECURITY", id)
    if each.replica_identity != "default":
        yield Step.alter(f"{front} REPLICA IDENTITY {each.replica_identity.upper()}", id)
    if each.partition_bound:
        yield _attach(each, change)


def made_above(each: Column, change: Change) -> frozenset[ObjectId]:
    """Return the columns of parents with which one is made, in tables that stay related."""
    table = change.new.table(each.id.name)
    parents = [parent for parent in (table.parents if table else ()) if change.linked(each.id.name, parent)]
    above = [column for parent in parents if (column := change.new.column(parent, each.id.part))]
    alike = (column for column in above if each.inherited or column.expression == each.expression)
    return frozenset(column.id for column in alike if change.is_made(column.id))


def made_with(each: Column, change: Change) -> frozenset[ObjectId]:
    """Return the table that a column comes with, where that is made and inherits it."""
    table = change.new.table(each.id.name)
    brought = each.inherited and table is not None and not table.partition_bound and change.is_made(table.id)
    return frozenset({table.id} if table is not None and brought else ())


def own_value(column: Column, change: Change) -> Iterator[Step]:
    """Give what an inherited column has of its own: a default, a NOT NULL, an identity."""
    table = change.new.table(column.id.name)
    found = (change.new.column(parent, column.id.part) for parent in (table.parents if table else ()))
    above = [each for each in found if each is not None]
    default = next((each.default for each in above), None)
    front = f"ALTER TABLE {column.id.name} ALTER COLUMN {column.id.part}"
    if column.default != default and column.default is not None:
        needs = change.new.needs(column.id)
        yield Step.alter(f"{front} SET DEFAULT {column.default}", column.id, Action.SET_DEFAULT, needs)
    elif column.default != default:
        yield Step.alter(f"{front} DROP DEFAULT", column.id, Action.DROP_DEFAULT)
    if column.not_null and not any(each.not_null for each in above):
        yield Step.alter(f"{front} SET NOT NULL", column.id, Action.SET_NOT_NULL)
    if column.identity is not None:
        yield from numbered(column, column.identity, change)


def _attach(each: Table, change: Change) -> Step:
    """Return the step that makes a table a partition: it has by then all that the parent asks of it."""
    parent = each.parents[0]
    sql = f"ALTER TABLE {parent} ATTACH PARTITION {each.id.name} {each.partition_bound}"
    own = (id for id in change.new.parts.get(each.id.name, ()) if _comes_before(id))
    needs = {ObjectId(Kind.TABLE, parent), each.id, *own, *_whole(parent, change)}
    needs = {need for need in needs if not _waits_for_attaching(need, each, change)}
    names = frozenset({("partitions", parent), ("columns", parent), ("columns", each.id.name)})
    return Step(
        sql,
        Action.ALTER,
        each.id,
        needs=frozenset(needs),
        takes=names,
        frees=frozenset({("attached", each.id.name)}),
        produces=_copies(each, change),
    )


def _copies(each: Table, change: Change) -> frozenset[ObjectId]:
    """Return what the server makes of the parent's for a table that is attached: it takes none of its own."""
    found = (change.new.objects[id] for id in change.new.parts.get(each.id.name, ()) if change.is_made(id))
    return frozenset(
        part.id
        for part in found
        if (isinstance(part, Trigger) and part.inherited)
        or (isinstance(part, Constraint) and part.inherited and part.type is ConstraintType.FOREIGN_KEY)
        or comes_with_the_wholes(part)
    )


def _whole(parent: str, change: Change) -> set[ObjectId]:
    kinds = (Kind.COLUMN, Kind.CONSTRAINT, Kind.INDEX)
    return {id for id in change.new.parts.get(parent, ()) if id.kind in kinds}


def _comes_before(id: ObjectId) -> bool:
    return id.kind in (Kind.COLUMN, Kind.INDEX, Kind.CONSTRAINT)


def _waits_for_attaching(id: ObjectId, table: Table, change: Change) -> bool:
    """Whether it is a reference: to the parent, or the parent's own; those are made when all are attached."""
    found = change.new.objects.get(id)
    if isinstance(found, Constraint) and found.type is ConstraintType.FOREIGN_KEY:
        return True
    return (
        id.name == table.id.name and found is not None and comes_with_the_wholes(found)
    ) or _brought_later(id, table.id.name, change)


def detached(before: Table, change: Change, parents: Iterable[str]) -> Iterator[Step]:
    """Give the statements that take a table from parents."""
    name = before.id.name
    for parent in parents:
        partition = before.partition_bound is not None
        sql = (
            f"ALTER TABLE {parent} DETACH PARTITION {name}"
            if partition
            else f"ALTER TABLE {name} NO INHERIT {parent}"
        )
        own = change.old.parts.get(name, ())
        line = (parent, *change.old.above(parent))  # what is dropped far above goes here too until then
        above = (id for each in line for id in _parent_and_parts(each, change))
        step = Step.alter(sql, before.id, releases=(*above, *own))
        yield replace(step, frees=frozenset({("partitions", parent)}))


def _parent_and_parts(parent: str, change: Change) -> Iterator[ObjectId]:
    yield ObjectId(Kind.TABLE, parent)
    yield from (id for id in change.old.parts.get(parent, ()))


def alter_table(before: Table, after: Table, change: Change) -> Iterator[Step]:
    """Give what changes a table in place."""
    front, id = f"ALTER TABLE {after.id.name}", after.id
    yield from _persistence(before, after, change)
    if before.access_method != after.access_method:
        yield Step.alter(f"{front} SET ACCESS METHOD {after.access_method or 'heap'}", id)
    for changed in options_changed(before.options, after.options):
        yield Step.alter(f"{front} {changed}", id)
    if before.row_security != after.row_security:
        yield Step.alter(f"{front} {'ENABLE' if after.row_security else 'DISABLE'} ROW LEVEL SECURITY", id)
    if before.force_row_security != after.force_row_security:
        word = "FORCE" if after.force_row_security else "NO FORCE"
        yield Step.alter(f"{front} {word} ROW LEVEL SECURITY", id)
    if _identity_changes(before, after, change):
        step = Step.alter(f"{front} REPLICA IDENTITY {after.replica_identity.upper()}", id)
        yield replace(step, frees=frozenset({("replica identity", id.name)}))


def reparented(before: Table, after: Table, change: Change) -> Iterator[Step]:
    """Give what takes a table from its parents, and gives it to others."""
    left, joined = _parents_changed(before, after, change)
    yield from detached(before, change, left)
    if after.partition_bound is not None and joined:
        yield _attach(after, change)
        return
    before_it: tuple[Step, ...] = ()  # their order counts
    for parent in joined:
        needs = {ObjectId(Kind.TABLE, parent), after.id, *_whole(parent, change)}
        needs |= {part for part in change.new.parts.get(after.id.name, ()) if _comes_before(part)}
        needs = {need for need in needs if not _waits_for_attaching(need, after, change)}
        sql = f"ALTER TABLE {after.id.name} INHERIT {parent}"
        names = frozenset({("columns", parent)})
        last = Step(sql, Action.ALTER, after.id, needs=frozenset(needs), takes=names, after=before_it)
        before_it = (last,)
        yield last


def _parents_changed(before: Table, after: Table, change: Change) -> tuple[list[str], list[str]]:
    """Return the parents that are left, and those that are taken, in order."""
    same = len(change.kept_parents(before, after))
    left = [parent for parent in before.parents[same:] if ObjectId(Kind.TABLE, parent) in change.old]
    return left, list(after.parents[same:])


def _persistence(before: Table, after: Table, change: Change) -> Iterator[Step]:
    if before.persistence == after.persistence:
        return
    unlogged = after.persistence == "unlogged"
    sql = f"ALTER TABLE {after.id.name} SET {'UNLOGGED' if unlogged else 'LOGGED'}"
    step = Step.alter(sql, after.id)
    near = _referenced(after.id.name, change) if not unlogged else _referring(after.id.name, change)
    # What is permanent may not refer to what is not: the referenced table is logged first, unlogged last.
    frees = frozenset({("persistence", after.id.name)})
    takes = {("persistence", name) for name in near} | {
        ("reference", name) for name in change.old.above(after.id.name)
    }
    yield replace(step, frees=frees, takes=frozenset(takes))


def _referenced(table: str, change: Change) -> set[str]:
    parts = (change.new.objects[id] for id in change.new.parts.get(table, ()))
    return {part.references for part in parts if isinstance(part, Constraint) and part.references} - {table}


def _referring(table: str, change: Change) -> set[str]:
    return {
        each.id.name
        for each in change.new.objects.values()
        if isinstance(each, Constraint) and each.references == table
    } - {table}


def _identity_changes(before: Table, after: Table, change: Change) -> bool:
    if before.replica_identity == after.replica_identity:
        return False
    return after.replica_identity != "default" or not _by_index(after.id.name, change.new)


def _by_index(table: str, side: Side) -> bool:
    """Whether replicas know the table's rows by an index."""
    parts = (side.objects[id] for id in side.parts.get(table, ()))
    return any(isinstance(part, Constraint | Index) and part.replica_identity for part in parts)
