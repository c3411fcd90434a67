"""Functions and views that need each other: one gets an outline before the others, its contents after them.

An outline has the arguments and the result of its function, or the columns of its view, and nothing in it
that needs anything. To drop such objects one of them is made an outline again.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from database_handler.migrations.schema.schema_diff.circles import circles
from database_handler.migrations.schema.schema_diff.fates import Change
from database_handler.migrations.schema.schema_diff.names import bare, callee, dollar_quoted
from database_handler.migrations.schema.schema_diff.ordering import names_taken
from database_handler.migrations.schema.schema_diff.routines import (
    body_of,
    function_text,
    is_parsed,
    wished,
)
from database_handler.migrations.schema.schema_diff.side import TYPE_KINDS, Side
from database_handler.migrations.schema.schema_diff.statement import Action
from database_handler.migrations.schema.schema_diff.step import Step
from database_handler.migrations.schema.schema_diff.verdicts import arguments_of
from database_handler.migrations.schema.schema_diff.views import view_text
from database_handler.migrations.schema.snapshot import (
    Column,
    Function,
    Kind,
    ObjectId,
    SchemaObject,
    View,
)

__all__ = ["draw_outlines", "emptied", "filled"]

_OUTLINE = "(outline)"
_ALWAYS = (Kind.EXTENSION, Kind.SCHEMA)
_MADE_WITH_TABLES = (Kind.COLUMN, Kind.CONSTRAINT)
_BODY = "\nBEGIN\n    RAISE EXCEPTION 'this function is being made or dropped';\nEND\n"
_QUIET = "\nBEGIN\n    {};\nEND\n"
_VOLATILITY = re.compile(r"\n LANGUAGE \S+\n(?: WINDOW)?( IMMUTABLE| STABLE)\b")


def draw_outlines(change: Change) -> None:
    """Find what needs itself by way of others, and give outlines to as few of it as open the circles."""
    made = {id for id in change.new.objects if change.is_made(id)}
    touched = made | {id for id in change.changed if _is_told_anew(id, change)}
    edges = {(id, need) for id in touched for need in (*change.new.needs(id), *_named(id, change))}
    _draw(change.new, {(id, need) for id, need in edges if need in touched}, made, making=True)
    gone = {id for id in change.old.objects if change.is_destroyed(id)}
    edges = {(id, need) for id in gone for need in change.old.needs(id) if need in gone}
    _draw(change.old, edges, gone, making=False)


def _is_told_anew(id: ObjectId, change: Change) -> bool:
    """Whether what stays will need other things than now: a function, a view, a column with its default."""
    if not change.stays(id):
        return False
    match change.old.objects[id], change.new.objects[id]:
        case (Function() | View() as before, Function() | View() as after):
            return before.definition != after.definition
        case (Column() as before, Column() as after):
            return after.default is not None and before.default != after.default
        case _:
            return False


def _named(id: ObjectId, change: Change) -> Iterator[ObjectId]:
    """Give what the text of a function names that the server reads as it is made."""
    each = change.new.objects[id]
    if not isinstance(each, Function) or "\n LANGUAGE sql\n" not in each.definition:
        return
    if is_parsed(each):  # of that the server knows what it needs, but for itself
        yield from [id] if callee(bare(id.name))[0] in change.words(body_of(each)) else []
        return
    for wish in wished(each, change):
        yield wish
        if wish.kind is Kind.TABLE:
            yield from (
                part for part in change.new.parts.get(wish.name, ()) if part.kind in _MADE_WITH_TABLES
            )


def _draw(side: Side, edges: set[tuple[ObjectId, ObjectId]], made: set[ObjectId], *, making: bool) -> None:
    if not any(one.kind is Kind.FUNCTION for one, _ in edges):
        return
    circle = circles(edges)
    fresh = {circle[id] for id in circle if id in made}  # where nothing is made, all of it stands already
    left = {(one, other) for one, other in edges if circle[one] == circle[other] and circle[one] in fresh}
    outlined: dict[ObjectId, ObjectId] = {}
    for kind in (Kind.VIEW, Kind.FUNCTION):
        left = {edge for edge in left if not outlined.keys() & set(edge)}
        around = circles(left)
        inside = {one for one, other in left if around[one] == around[other]}
        found = sorted(id for id in inside if id.kind is kind and _can_be_drawn(side.objects[id]))
        outlined |= {id: id._replace(part=_OUTLINE) for id in found}
    members = (
        {id for id in circle if any(circle[id] == circle[one] for one in outlined)} if outlined else set()
    )
    needs = _instead(side, outlined, members, circle) if making else _signatures(side, outlined)
    called = {circle[id] for id in circle if id.kind is Kind.MATERIALIZED_VIEW}  # as they are made
    side.outline(outlined, needs, frozenset(id for id in members if circle[id] in called))


def _can_be_drawn(each: SchemaObject) -> bool:
    return isinstance(each, View) or (isinstance(each, Function) and each.type != "AGGREGATE")


def _instead(
    side: Side,
    outlined: dict[ObjectId, ObjectId],
    members: Iterable[ObjectId],
    circle: dict[ObjectId, ObjectId],
) -> dict[ObjectId, frozenset[ObjectId]]:
    """Return what members of a circle need, outlines where there are such; others need the whole."""
    found = {}
    for id in members:
        own = {need: outlined[need] for need in outlined if circle[need] == circle[id]}
        found[id] = frozenset(own.get(need, need) for need in side.needs(id))
    return found


def _signatures(side: Side, outlined: dict[ObjectId, ObjectId]) -> dict[ObjectId, frozenset[ObjectId]]:
    return {id: _signature(side.objects[id], side) for id in outlined}


def _signature(each: SchemaObject, side: Side) -> frozenset[ObjectId]:
    """Return what the outline of an object needs: types that its arguments, result or columns name."""
    if isinstance(each, Function):
        text = f"{each.arguments} {each.result or ''}"
    else:
        text = " ".join(type for _, type in getattr(each, "columns", ()))
    words = Change.words(text)
    needs = (need for need in each.needs if need in side.objects)
    return frozenset(
        need
        for need in needs
        if need.kind in _ALWAYS or (need.kind in TYPE_KINDS and bare(need.name) in words)
    )


def _outline(each: SchemaObject, verb: str, *, quiet: bool = False) -> str:
    if isinstance(each, Function):
        result = f" RETURNS {each.result}" if each.type == "FUNCTION" else ""
        body = dollar_quoted(_QUIET.format(_nothing(each)) if quiet else _BODY, "outline")
        volatility = _VOLATILITY.search(each.definition)
        manner = volatility[1] if volatility else ""
        definition = f"({_arguments(each)}){result} LANGUAGE plpgsql{manner} AS {body}"
        return function_text(replace(each, definition=definition), verb)
    if isinstance(each, View):
        columns = ", ".join(f"NULL::{type} AS {name}" for name, type in each.columns)
        return view_text(replace(each, definition=f"SELECT {columns}", options=()), verb)
    raise AssertionError(callee(each.id.name))


def _nothing(each: Function) -> str:
    """Return the statement that returns nothing: no row, or no value."""
    out = any(argument.startswith(("OUT ", "INOUT ")) for argument, _ in arguments_of(each))
    rows = (each.result or "void").startswith(("void", "SETOF ", "TABLE("))
    return "RETURN" if out or rows else "RETURN NULL"


def _arguments(each: Function) -> str:
    """Return the arguments of a function; what a default would need is not there yet, or not any more."""
    told = (f"{argument} DEFAULT NULL" if has else argument for argument, has in arguments_of(each))
    return ", ".join(told)


def filled(each: SchemaObject, steps: Iterable[Step], change: Change) -> Iterator[Step]:
    """Give the steps that make or replace an object, its outline before: then others can need that."""
    outline = change.new.outlined[each.id]
    needs = {change.new.outlined.get(need, need) for need in _signature(each, change.new)}
    made = change.is_made(each.id)
    yield Step(
        _outline(each, "CREATE" if made else "CREATE OR REPLACE", quiet=each.id in change.new.quiet),
        Action.CREATE if made else Action.REPLACE,
        each.id,
        needs=frozenset(needs),
        produces=frozenset({outline}),
        takes=frozenset(names_taken(each) if made else ()),
    )
    for step in steps:
        yield _replacing(step, outline) if step.action in (Action.CREATE, Action.REPLACE) else step


def _replacing(step: Step, outline: ObjectId) -> Step:
    sql = step.sql if step.action is Action.REPLACE else step.sql.replace("CREATE ", "CREATE OR REPLACE ", 1)
    return replace(step, sql=sql, action=Action.REPLACE, needs=step.needs | {outline})


def emptied(each: SchemaObject) -> Step:
    """Return the step that makes an object an outline, so that what it needed can be dropped before it."""
    releases = frozenset({each.id, *each.needs})
    return Step(_outline(each, "CREATE OR REPLACE"), Action.REPLACE, each.id, releases=releases)
