"""One statement of a plan turned into the steps that do the same without keeping anybody waiting.

Each rewriting is one function. What no sequence of smaller steps can do stays as it is, with a comment that
allows the rule it breaks and says what it costs. Objects made by the same plan are nobody's yet: what
concerns them is left alone.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from database_handler.migrations.safety.key_text import key_parts
from database_handler.migrations.safety.safe_change import (
    Change,
    Step,
    Way,
    allow,
    changes_bond,
    costly,
    with_reason,
)
from database_handler.migrations.safety.safe_columns import (
    TOGETHER,
    add_column,
    added_with_values,
    set_not_null,
    set_type,
)
from database_handler.migrations.schema.schema_diff.names import bare
from database_handler.migrations.schema.schema_diff.statement import Action, SchemaStatement
from database_handler.migrations.schema.snapshot import Column, Constraint, ConstraintType, Index, Kind

__all__ = ["at_once", "needs_values", "plain", "steps_of", "whole"]


def steps_of(change: Change, statement: SchemaStatement) -> tuple[Step, ...]:
    """Return the steps that a statement is taken apart into: one, where it does no harm as it is."""
    table = change.table_of(statement)
    rewriting = _REWRITINGS.get((statement.object.kind, statement.action)) if table else None
    if statement.object.kind is Kind.DOMAIN_CONSTRAINT and statement.action is Action.CREATE:
        rewriting = _validated_later
    if rewriting is not None and (steps := rewriting(change, statement, table or "")):
        return steps
    return (plain(change, statement),)


def plain(change: Change, statement: SchemaStatement) -> Step:
    """Return a statement as one step, as it is."""
    return Step(
        (*change.dropping(statement), with_reason(change, statement)),
        change.locks(statement),
        Way.TRANSACTION if statement.transactional or statement.action is Action.ADD_VALUE else Way.ALONE,
        makes=True,
    )


_WHOLE_COSTS = {
    Kind.INDEX: "index-not-concurrent",
    Kind.CONSTRAINT: "unique-builds-index",
    Kind.COLUMN: "set-not-null-scan",
}


def whole(
    change: Change, statement: SchemaStatement, *, validated: bool = False
) -> tuple[Step, tuple[Step, ...]]:
    """Return a statement as it runs beside others that take effect with it, and what can follow later.

    A constraint that those need `validated` is so at once.
    """
    first, *rest = steps_of(change, statement)
    scanned = validated and bool(rest) and first.makes
    if first.way is Way.TRANSACTION and (not rest or (first.makes and not first.scans)) and not scanned:
        return first, tuple(rest)
    rule = "constraint-validated-at-once" if scanned else _WHOLE_COSTS.get(statement.object.kind)
    as_it_is = plain(change, statement)
    if rule is None or (rest and statement.action is Action.CREATE and statement.object.kind is Kind.COLUMN):
        return as_it_is, ()
    *drop, last = as_it_is.statements
    if statement.object.kind is Kind.INDEX:
        drop = [allow(rule, TOGETHER, sql) for sql in drop]
    return replace(as_it_is, statements=(*drop, allow(rule, TOGETHER, last))), ()


def at_once(change: Change, statement: SchemaStatement) -> tuple[Step, tuple[Step, ...]]:
    """Return a statement as `whole` does, but a new column with its values, which others there need."""
    first, later = whole(change, statement)
    column = change.new.objects.get(statement.object)
    if not later or statement.action is not Action.CREATE or not isinstance(column, Column):
        return first, later
    return replace(first, statements=added_with_values(change, statement, column)), ()


def needs_values(statement: SchemaStatement) -> bool:
    """Whether a statement looks at the rows, or may: a key does, and a bond compares what is NOT NULL."""
    return statement.object.kind in _OF_ROWS or changes_bond(statement)


_OF_ROWS = frozenset({Kind.CONSTRAINT, Kind.INDEX, Kind.MATERIALIZED_VIEW})


# --------------------------------------------------------------------------------------------------- indexes

_CREATE_INDEX = re.compile(r"CREATE (UNIQUE )?INDEX ")


def _concurrent_index(change: Change, statement: SchemaStatement, table: str) -> tuple[Step, ...]:
    index = change.new.objects.get(statement.object)
    if not isinstance(index, Index) or change.is_partitioned(table):
        return ()
    if not _CREATE_INDEX.match(statement.sql):
        return ()
    concurrent = _CREATE_INDEX.sub(r"CREATE \1INDEX CONCURRENTLY ", statement.sql, count=1)
    if index.id not in change.exchanged:
        return (Step((concurrent,), way=Way.ALONE),)
    return _exchanged(change, index, concurrent)


def _exchanged(change: Change, index: Index, concurrent: str) -> tuple[Step, ...]:
    """Make the new index beside the old one, so that there is one at every moment."""
    name = index.id.name
    spare = change.spare_name(name, "_new")
    head, _, tail = concurrent.partition(f" {bare(name)} ")
    return (
        Step((f"{head} {spare} {tail}", f"DROP INDEX CONCURRENTLY {name}"), way=Way.ALONE),
        Step((f"ALTER INDEX {_beside(name, spare)} RENAME TO {bare(name)}",)),
    )


def _beside(name: str, spare: str) -> str:
    """Return a bare name with the schema of another."""
    return name.removesuffix(bare(name)) + spare


def _drop_index(change: Change, statement: SchemaStatement, table: str) -> tuple[Step, ...]:
    index = change.old.objects.get(statement.object)
    if not isinstance(index, Index) or index.parent or change.is_partitioned(table):
        return ()
    if index.id in change.exchanged:
        return (Step(()),)
    if not statement.sql.startswith("DROP INDEX "):
        return ()
    return (Step((statement.sql.replace("DROP INDEX ", "DROP INDEX CONCURRENTLY ", 1),), way=Way.ALONE),)


# ----------------------------------------------------------------------------------------------- constraints


def _add_constraint(change: Change, statement: SchemaStatement, table: str) -> tuple[Step, ...]:
    constraint = change.new.objects.get(statement.object)
    if not isinstance(constraint, Constraint):
        return ()
    if constraint.type in (ConstraintType.CHECK, ConstraintType.FOREIGN_KEY):
        return _validated_later(change, statement, table)
    if constraint.type is ConstraintType.EXCLUSION:
        cost = "an exclusion constraint can only be made with its index, while nobody writes"
        return (costly(change, statement, table, "unique-builds-index", cost),)
    return _by_index(change, statement, constraint, table)


def _validated_later(change: Change, statement: SchemaStatement, table: str) -> tuple[Step, ...]:
    constraint = change.new.objects.get(statement.object)
    if not isinstance(constraint, Constraint) or not constraint.validated:
        return ()
    if re.search(r"\bNOT (VALID|ENFORCED)\s*$", statement.sql):
        return ()
    if constraint.type is ConstraintType.FOREIGN_KEY and change.is_partitioned(table):
        cost = "the foreign key of a partitioned table cannot be added without looking at its rows"
        return (costly(change, statement, table, "constraint-validated-at-once", cost),)
    of = "DOMAIN" if statement.object.kind is Kind.DOMAIN_CONSTRAINT else "TABLE"
    validate = f"ALTER {of} {statement.object.name} VALIDATE CONSTRAINT {statement.object.part}"
    locked = frozenset({statement.object.name})
    return (
        Step((f"{statement.sql} NOT VALID",), locked, makes=True),
        Step((validate,), locked, scans=True, joins=True),
    )


def _by_index(
    change: Change, statement: SchemaStatement, constraint: Constraint, table: str
) -> tuple[Step, ...]:
    if statement.sql.startswith("ALTER TABLE ONLY "):
        return ()  # of a partitioned table: an index without rows, to which its parts are attached
    parts = key_parts(constraint.definition)
    # USING INDEX would make the part's NOT NULL its own, which then stays when the whole's is dropped.
    of_part = constraint.inherited and constraint.type is ConstraintType.PRIMARY_KEY
    if parts is None or of_part or change.is_partitioned(table):
        cost = "its index can only be built together with the constraint here, while nobody writes"
        return (costly(change, statement, table, "unique-builds-index", cost),)
    name = constraint.id.part
    exchanged = constraint.id in change.exchanged
    index = change.spare_name(name, "_new") if exchanged else name
    drop = (f"ALTER TABLE {table} DROP CONSTRAINT {name}",) if exchanged else ()
    add = f"ALTER TABLE {table} ADD CONSTRAINT {name} {parts.kind} USING INDEX {index}{parts.timing}"
    return (
        Step((f"CREATE UNIQUE INDEX CONCURRENTLY {index} ON {table} {parts.index}",), way=Way.ALONE),
        Step((*drop, add), frozenset({table}), makes=True),
    )


def _drop_constraint(change: Change, statement: SchemaStatement, _: str) -> tuple[Step, ...]:
    return (Step(()),) if statement.object in change.exchanged else ()


_REWRITES_TABLE = re.compile(r"\bSET (LOGGED|UNLOGGED|ACCESS METHOD|TABLESPACE)\b")


def _alter_table(change: Change, statement: SchemaStatement, table: str) -> tuple[Step, ...]:
    if not _REWRITES_TABLE.search(statement.sql):
        return ()
    cost = "the table is rewritten while nobody reads or writes: there is no smaller step"
    return (costly(change, statement, table, "table-rewrite", cost),)


def _validate(change: Change, statement: SchemaStatement, table: str) -> tuple[Step, ...]:
    return (replace(plain(change, statement), scans=True, joins=True),) if table else ()


_Rewriting = Callable[[Change, SchemaStatement, str], tuple[Step, ...]]
_REWRITINGS: Mapping[tuple[Kind, Action], _Rewriting] = {
    (Kind.INDEX, Action.CREATE): _concurrent_index,
    (Kind.INDEX, Action.DROP): _drop_index,
    (Kind.CONSTRAINT, Action.CREATE): _add_constraint,
    (Kind.CONSTRAINT, Action.DROP): _drop_constraint,
    (Kind.CONSTRAINT, Action.VALIDATE): _validate,
    (Kind.COLUMN, Action.CREATE): add_column,
    (Kind.COLUMN, Action.SET_NOT_NULL): set_not_null,
    (Kind.COLUMN, Action.SET_TYPE): set_type,
    (Kind.TABLE, Action.ALTER): _alter_table,
}
