"""The steps between two schemas: what is dropped, made and changed, before they are put in order."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from database_handler.migrations.schema.schema_diff import (
    columns,
    constraints,
    routines,
    security,
    tables,
    text_search,
    types,
    views,
)
from database_handler.migrations.schema.schema_diff.dropping import apart, drops
from database_handler.migrations.schema.schema_diff.fates import Change
from database_handler.migrations.schema.schema_diff.ordering import in_order
from database_handler.migrations.schema.schema_diff.outlines import draw_outlines, filled
from database_handler.migrations.schema.schema_diff.overloads import kept_apart
from database_handler.migrations.schema.schema_diff.side import Side
from database_handler.migrations.schema.schema_diff.step import EXTRA, Step, chained
from database_handler.migrations.schema.snapshot import (
    Column,
    Constraint,
    ConstraintType,
    DefaultPrivileges,
    Domain,
    Index,
    Kind,
    ObjectId,
    SchemaObject,
    SchemaSnapshot,
    Sequence,
    Table,
    Trigger,
)

__all__ = ["planned"]

Made = Callable[[Any, Change], Iterator[Step]]
Altered = Callable[[Any, Any, Change], Iterator[Step]]

_CREATE: dict[Kind, Made] = {
    Kind.SCHEMA: types.create_schema,
    Kind.EXTENSION: types.create_extension,
    Kind.ENUM: types.create_enum,
    Kind.COMPOSITE: types.create_composite,
    Kind.RANGE: types.create_range,
    Kind.SEQUENCE: types.create_sequence,
    Kind.DOMAIN_CONSTRAINT: types.create_domain_constraint,
    Kind.CONSTRAINT: constraints.create_constraint,
    Kind.INDEX: constraints.create_index,
    Kind.STATISTICS: constraints.create_statistics,
    Kind.VIEW: views.create_view,
    Kind.MATERIALIZED_VIEW: views.create_materialized,
    Kind.FUNCTION: routines.create_function,
    Kind.TRIGGER: routines.create_trigger,
    Kind.RULE: routines.create_rule,
    Kind.POLICY: security.create_policy,
    Kind.DICTIONARY: text_search.create_dictionary,
    Kind.CONFIGURATION: text_search.create_configuration,
}
_ALTER: dict[Kind, Altered] = {
    Kind.ENUM: types.alter_enum,
    Kind.DOMAIN: types.alter_domain,
    Kind.COMPOSITE: types.alter_composite,
    Kind.SEQUENCE: types.alter_sequence,
    Kind.DOMAIN_CONSTRAINT: types.alter_domain_constraint,
    Kind.TABLE: tables.alter_table,
    Kind.COLUMN: columns.alter_column,
    Kind.CONSTRAINT: constraints.alter_constraint,
    Kind.INDEX: constraints.alter_index,
    Kind.STATISTICS: constraints.alter_statistics,
    Kind.VIEW: views.alter_view,
    Kind.MATERIALIZED_VIEW: views.alter_materialized,
    Kind.FUNCTION: routines.alter_function,
    Kind.TRIGGER: routines.alter_trigger,
    Kind.RULE: routines.alter_rule,
    Kind.POLICY: security.alter_policy,
    Kind.DICTIONARY: text_search.alter_dictionary,
    Kind.CONFIGURATION: text_search.alter_configuration,
}


def planned(old: SchemaSnapshot, new: SchemaSnapshot) -> tuple[Change, list[Step]]:
    """Return what changes between two schemas, and all steps of that, each where it can run.

    What is changed in place, and could only be so while something stands that has to be gone by then (a name
    passes from one table to the next), is made again: with each round of the loop there is more of that.
    """
    anew = set[ObjectId]()
    while True:
        change = Change(Side(old), Side(new), anew)
        draw_outlines(change)
        steps = [*drops(change), *_makings(change), *_changes(change)]
        steps = list(kept_apart(steps, change.rivals)) if change.rivals else steps
        ordered, circles = in_order(steps, change.old.objects.get, change.new.objects.get)
        more = {id for circle in circles for id in _opening(circle, change)}
        if not more:
            return change, ordered
        anew |= more


_REPLACEABLE = (Kind.POLICY, Kind.RULE, Kind.TRIGGER, Kind.VIEW, Kind.FUNCTION)


def _opening(circle: list[Step], change: Change) -> list[ObjectId]:
    """Return what opens a circle around a drop, when it is made again in place of changed."""
    if not any(step.destroys for step in circle):
        return []
    found = {step.object for step in circle if step.object.kind in _REPLACEABLE and change.stays(step.object)}
    return sorted(found, key=lambda id: (_REPLACEABLE.index(id.kind), id))[:1]


def _makings(change: Change) -> Iterator[Step]:
    made = [id for id in change.new.objects if change.is_made(id)]
    inside = _inside(made, change)
    members: dict[ObjectId, list[SchemaObject]] = {}
    for id, whole in inside.items():
        members.setdefault(whole, []).append(change.new.objects[id])
    for id in made:
        if id not in inside:
            yield from _making(change.new.objects[id], members.get(id, []), change)
        yield from security.said_anew(change.new.objects[id], change.old.objects.get(id), change)


def _making(each: SchemaObject, members: list[SchemaObject], change: Change) -> Iterator[Step]:
    """Give the steps that make an object, one after the other."""
    match each:
        case Table():
            steps = tables.create_table(each, change, sorted(members, key=_in_table))
        case Domain():
            checks = tuple(part for part in members if isinstance(part, Constraint))
            steps = types.create_domain(each, change, checks)
        case Column():
            steps = _column(each, change)
        case DefaultPrivileges():
            steps = security.default_privileges(None, each)
        case Trigger(inherited=True):
            return  # comes with its parent's, or as the table is attached
        case _:
            steps = _CREATE[each.id.kind](each, change)
    if each.id in change.new.outlined:
        steps = filled(each, steps, change)
    yield from chained(steps)
    if isinstance(each, Constraint) and each.id.kind is Kind.CONSTRAINT:
        yield from constraints.marks(each, None)
    elif each.id.kind is Kind.INDEX:
        yield from constraints.marks(each, None)  # type: ignore[arg-type]


def _in_table(part: SchemaObject) -> tuple[int, str]:
    if isinstance(part, Column):
        return part.position, part.id.part
    keyed = isinstance(part, Constraint) and part.type is ConstraintType.PRIMARY_KEY
    return (1_000_000 if keyed else 1_000_001), part.id.part


def _column(each: Column, change: Change) -> Iterator[Step]:
    """Give the steps that add a column; one that comes from the parent's is only given what is its own."""
    name = each.id.name
    only = "ONLY " if any(change.linked(child, name) for child in change.new.children.get(name, ())) else ""
    above = tables.made_above(each, change) or tables.made_with(each, change)
    if above:
        own = (*tables.own_value(each, change), *columns.column_settings(each, _altered(each, only)))
        yield from (replace(step, needs=step.needs | above) for step in own)
        return
    yield from columns.add_column(each, change, "")
    yield from columns.column_settings(each, _altered(each, only))


def _altered(each: Column, only: str) -> str:
    return f"ALTER TABLE {only}{each.id.name} ALTER COLUMN {each.id.part}"


def _inside(made: list[ObjectId], change: Change) -> dict[ObjectId, ObjectId]:
    """Return what is made in the statement that makes its table or domain, and that table or domain."""
    found = {id: whole for id in made if (whole := _made_with(change.new.objects[id], change)) is not None}
    for id in apart({id: found.get(id, id) for id in made}, change.new):
        found.pop(id, None)
    for id in _doubled(found, change):
        found.pop(id)
    return {id: whole for id, whole in found.items() if not _lacks(id, whole, found, change)}


_INDEXED = (ConstraintType.PRIMARY_KEY, ConstraintType.UNIQUE, ConstraintType.EXCLUSION)


def _doubled(inside: dict[ObjectId, ObjectId], change: Change) -> list[ObjectId]:
    """Return the keys on the columns of another key: in one statement the server would make one of both."""
    keys = [each for id in inside if isinstance(each := change.new.objects[id], Constraint)]
    seen, found = set[tuple[object, ...]](), list[ObjectId]()
    for each in sorted(keys, key=lambda each: (each.type is not ConstraintType.PRIMARY_KEY, each.id)):
        if each.type in _INDEXED:
            if (each.id.name, each.columns) in seen:
                found.append(each.id)
            seen.add((each.id.name, each.columns))
    return found


def _lacks(id: ObjectId, whole: ObjectId, inside: dict[ObjectId, ObjectId], change: Change) -> bool:
    """Whether a constraint is on a column that has to be added later."""
    return any(
        need.kind is Kind.COLUMN and need.name == whole.name and inside.get(need) != whole
        for need in change.new.needs(id)
    )


def _made_with(each: SchemaObject, change: Change) -> ObjectId | None:
    id = each.id
    kind = Kind.DOMAIN if id.kind is Kind.DOMAIN_CONSTRAINT else Kind.TABLE
    whole = ObjectId(kind, id.name)
    if not change.is_made(whole):
        return None
    if isinstance(each, Column):
        return whole
    if isinstance(each, Constraint) and not constraints.comes_with_the_wholes(each):
        return whole if each.validated and each.type is not ConstraintType.FOREIGN_KEY else None
    return None


def _changes(change: Change) -> Iterator[Step]:
    touched = {*change.changed, *change.retyped, *change.redefaulted, *change.released}
    touched |= {ObjectId(Kind.TABLE, name) for name in change.reattached}
    touched |= {*_attachable(change), *_carried_along(change)}
    touched |= {id for name in _regranted(change) for id in change.new.parts.get(name, ())}
    for id in change.new.objects:
        if id in touched and change.stays(id):
            yield from _change(change.old.objects[id], change.new.objects[id], change)


def _regranted(change: Change) -> Iterator[str]:
    """Give the tables whose privileges change: those of their columns may go with them."""
    for id in change.changed:
        if id.kind is Kind.TABLE and change.old.objects[id].grants != change.new.objects[id].grants:
            yield id.name


def _carried_along(change: Change) -> Iterator[ObjectId]:
    """Give the sequences whose table becomes unlogged, or logged."""
    for id, each in change.old.objects.items():
        if isinstance(each, Sequence) and each.owned_by and types.persistence_with(each.owned_by, change):
            yield id


def _attachable(change: Change) -> Iterator[ObjectId]:
    """Give the indexes and keys that stay while the one that they are a part of is made."""
    for id, each in change.new.objects.items():
        if isinstance(each, Index | Constraint) and change.stays(id) and constraints.joins(each, change):
            yield id


def _change(before: SchemaObject, after: SchemaObject, change: Change) -> Iterator[Step]:
    id = after.id
    if isinstance(before, DefaultPrivileges) and isinstance(after, DefaultPrivileges):
        yield from security.default_privileges(before, after)
        return
    if alter := _ALTER.get(id.kind):
        steps = alter(before, after, change)
        yield from _in_turn(filled(after, steps, change) if id in change.new.outlined else steps)
    if isinstance(before, Table) and isinstance(after, Table):
        yield from tables.reparented(before, after, change)
    if before != after or (isinstance(after, Column) and after.grants):
        yield from security.said(before, after, change)


def _in_turn(steps: Iterator[Step]) -> Iterator[Step]:
    yield from chained(step for step in steps if step.action not in EXTRA)
