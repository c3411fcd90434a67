"""Whether one object can become another in place, or has to be dropped and made again."""

import re
from collections.abc import Callable

from database_handler.core.sql_text import TokenKind, significant_tokens
from database_handler.migrations.schema.schema_diff.names import base_type
from database_handler.migrations.schema.schema_diff.side import RELATION_KINDS, Side
from database_handler.migrations.schema.snapshot import (
    Column,
    CompositeType,
    Constraint,
    ConstraintType,
    Domain,
    EnumType,
    Function,
    Index,
    Kind,
    MaterializedView,
    ObjectId,
    Policy,
    RangeType,
    SchemaObject,
    Statistics,
    Table,
    TextSearchConfiguration,
    TextSearchDictionary,
    Trigger,
    View,
)

__all__ = [
    "arguments_of",
    "deferral",
    "extends",
    "index_options",
    "is_enclosed",
    "keeps_order",
    "must_be_made_again",
    "must_go",
    "names_of",
    "retypes",
]

_DEFERRAL = re.compile(r"( (?:NOT )?DEFERRABLE)?( INITIALLY (?:DEFERRED|IMMEDIATE))?( NOT ENFORCED)?$")
_OPTIONS = re.compile(r" WITH \(((?:[a-z_.]+='?[^',()]*'?(?:, )?)+)\)")


def must_be_made_again(before: SchemaObject, after: SchemaObject, old: Side, new: Side) -> bool:
    """Whether only dropping the one and making the other turns it into that."""
    if type(before) is not type(after):
        return True
    verdict = _VERDICTS.get(type(before))
    return (verdict is not None and verdict(before, after)) or _by_surroundings(before, after, old, new)


def _by_surroundings(before: SchemaObject, after: SchemaObject, old: Side, new: Side) -> bool:
    if isinstance(before, Index) and isinstance(after, Index):
        return _index(before, after, old, new)
    if isinstance(before, CompositeType) and isinstance(after, CompositeType):
        return _composite(before, after, old)
    return False


def must_go(column: Column, destroyed: ObjectId) -> bool:
    """Whether a column cannot outlive something: its own table, or the one whose rows it holds."""
    names = (column.id.name, base_type(column.type))
    return destroyed.kind in RELATION_KINDS and destroyed.name in names


def names_of(type: SchemaObject) -> tuple[str, ...]:
    """Return the names by which a column is of a type: a range's multirange goes with it."""
    options = dict(type.options) if isinstance(type, RangeType) else {}
    return tuple(name for name in (type.id.name, options.get("multirange_type_name")) if name)


def retypes(before: Column, after: Column) -> bool:
    """Whether a column gets another type (or collation)."""
    return (before.type, before.collation) != (after.type, after.collation)


def keeps_order(before: tuple[str, ...], after: tuple[str, ...]) -> bool:
    """Whether all of `before` are in `after`, in that order."""
    rest = iter(after)
    return all(each in rest for each in before)


def extends(before: View, after: View) -> bool:
    """Whether CREATE OR REPLACE can make one view the other: columns may be added at the end only."""
    return after.columns[: len(before.columns)] == before.columns and bool(before.columns)


def deferral(definition: str) -> tuple[str, str]:
    """Return a constraint's definition without when it is checked; and that."""
    found = _DEFERRAL.search(definition)
    place = found.start() if found else len(definition)
    return definition[:place], definition[place:]


def index_options(definition: str) -> tuple[str, dict[str, str]]:
    """Return an index's definition without its storage parameters, and those."""
    found = _OPTIONS.search(definition)
    if found is None:
        return definition, {}
    pairs = (each.partition("=") for each in found[1].split(", "))
    return definition[: found.start()] + definition[found.end() :], {n: v.strip("'") for n, _, v in pairs}


def arguments_of(function: Function) -> list[tuple[str, bool]]:
    """Return each argument of a function without its default, and whether it has one."""
    found: list[tuple[str, bool]] = []
    depth, begins, default = 0, 0, -1
    text = function.arguments
    for token in significant_tokens(text):
        if token.kind is TokenKind.PUNCTUATION:
            depth += (token.text in "([") - (token.text in ")]")
        if depth == 0 and token.text in ("DEFAULT", "=") and default < 0:
            default = token.start
        if depth == 0 and token.text == ",":
            found.append(_argument(text, begins, default, token.start))
            begins, default = token.end, -1
    return [*found, _argument(text, begins, default, len(text))]


def _argument(text: str, begins: int, default: int, ends: int) -> tuple[str, bool]:
    return text[begins : default if default >= 0 else ends].strip(), default >= 0


def _table(before: Table, after: Table) -> bool:
    return before.partition_key != after.partition_key


def _column(before: Column, after: Column) -> bool:
    if before.generated == after.generated:
        changed = before.expression != after.expression or retypes(before, after)
        return before.generated is not None and changed
    return not (before.generated == "stored" and after.generated is None)


def _constraint(before: Constraint, after: Constraint) -> bool:
    if before.type is not after.type or (before.validated and not after.validated):
        return True
    if before.type is ConstraintType.FOREIGN_KEY:
        one, other = deferral(before.definition), deferral(after.definition)
        enforced = ("NOT ENFORCED" in one[1]) == ("NOT ENFORCED" in other[1])
        return one[0] != other[0] or not enforced
    return before.definition != after.definition


def _index(before: Index, after: Index, old: Side, new: Side) -> bool:
    same = (before.table, before.unique, before.method) == (after.table, after.unique, after.method)
    if not same or index_options(before.definition)[0] != index_options(after.definition)[0]:
        return True
    table = old.table(before.table)
    if before.definition != after.definition and table is not None and table.partition_key is not None:
        return True
    if before.valid != after.valid:
        return True
    return before.parent not in (None, after.parent) and not _detached(before, old, new)


def _detached(index: Index, old: Side, new: Side) -> bool:
    before, after = old.table(index.table), new.table(index.table)
    return before is not None and after is not None and before.parents != after.parents


def _view(before: View, after: View) -> bool:
    return before.columns != after.columns and not extends(before, after)


def _materialized(before: MaterializedView, after: MaterializedView) -> bool:
    return before.definition != after.definition or before.columns != after.columns


def _function(before: Function, after: Function) -> bool:
    if before.type != after.type or before.result != after.result or _window(before) != _window(after):
        return True
    one, other = arguments_of(before), arguments_of(after)
    if len(one) != len(other) or before.type == "AGGREGATE":
        return before.definition != after.definition if before.type == "AGGREGATE" else True
    return any(a != b or (had and not has) for (a, had), (b, has) in zip(one, other, strict=True))


def _window(function: Function) -> bool:
    head = function.definition.split("AS $", 1)[0]
    return bool(re.search(r"\bWINDOW\b", head))


def _trigger(before: Trigger, after: Trigger) -> bool:
    return before.definition != after.definition and not (
        before.definition.startswith("CREATE TRIGGER") and after.definition.startswith("CREATE TRIGGER")
    )


def _policy(before: Policy, after: Policy) -> bool:
    removed = (before.using is not None and after.using is None) or (
        before.check is not None and after.check is None
    )
    return removed or (before.command, before.permissive) != (after.command, after.permissive)


def _statistics(before: Statistics, after: Statistics) -> bool:
    return before.definition != after.definition


def _enum(before: EnumType, after: EnumType) -> bool:
    return not keeps_order(before.labels, after.labels)


def _domain(before: Domain, after: Domain) -> bool:
    return (before.type, before.collation) != (after.type, after.collation)


def _composite(before: CompositeType, after: CompositeType, old: Side) -> bool:
    kept = tuple(name for name, _, _ in after.attributes)
    names = tuple(name for name, _, _ in before.attributes if name in kept)
    if kept[: len(names)] != names:
        return True
    types = {name: rest for name, *rest in before.attributes}
    retyped = any(types.get(name, rest) != rest for name, *rest in after.attributes)
    return retyped and _held(before.id, old)


def _held(type: ObjectId, side: Side) -> bool:
    """Whether a column is of a type, or of one that is made of it."""
    return any(
        id.kind is Kind.COLUMN or (id.kind in (Kind.DOMAIN, Kind.COMPOSITE, Kind.RANGE) and _held(id, side))
        for id in side.dependents.get(type, ())
    )


def is_enclosed(type: ObjectId, side: Side) -> bool:
    """Whether a column holds values of a type inside of others: of an array, a composite or a range."""
    for id in side.dependents.get(type, ()):
        each = side.objects[id]
        inside = (
            isinstance(each, Column | Domain)
            and each.type.endswith("]")
            and base_type(each.type) == type.name
        )
        if isinstance(each, Column) and inside:
            return True
        if isinstance(each, Domain) and (_held(id, side) if inside else is_enclosed(id, side)):
            return True
        if isinstance(each, CompositeType | RangeType) and _held(id, side):
            return True
    return False


def _range(before: RangeType, after: RangeType) -> bool:
    return before.options != after.options


def _dictionary(before: TextSearchDictionary, after: TextSearchDictionary) -> bool:
    return before.template != after.template or bool(before.options) > bool(after.options)


def _configuration(before: TextSearchConfiguration, after: TextSearchConfiguration) -> bool:
    return before.parser != after.parser


_VERDICTS: dict[type[SchemaObject], Callable[..., bool]] = {
    Table: _table,
    Column: _column,
    Constraint: _constraint,
    View: _view,
    MaterializedView: _materialized,
    Function: _function,
    Trigger: _trigger,
    Policy: _policy,
    Statistics: _statistics,
    EnumType: _enum,
    Domain: _domain,
    RangeType: _range,
    TextSearchDictionary: _dictionary,
    TextSearchConfiguration: _configuration,
}
