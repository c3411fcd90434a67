"""Columns the safe way round: added without a look at the rows, filled in batches, proven before NOT NULL."""

import re
from collections.abc import Iterator

from database_handler.migrations.safety.safe_change import (
    Change,
    Fill,
    Step,
    Way,
    allow,
    bare_join,
    base_type,
    costly,
)
from database_handler.migrations.schema.schema_diff.statement import Action, SchemaStatement
from database_handler.migrations.schema.snapshot import (
    Column,
    Constraint,
    Domain,
    Index,
    Kind,
    ObjectId,
)
from database_handler.migrations.schema.value_facts import is_constant, is_volatile, keeps_storage

__all__ = [
    "BATCH",
    "TOGETHER",
    "add_column",
    "added_with_values",
    "filling",
    "missing_backfills",
    "set_not_null",
    "set_type",
]

BATCH = 5000
"""How many rows one run of a batched statement changes."""
TOGETHER = "it has to take effect together with what is dropped and made again beside it"
"""Why something is done at once that could be done in small steps elsewhere."""


def set_not_null(change: Change, statement: SchemaStatement, _: str) -> tuple[Step, ...]:
    """Return the steps that make a column NOT NULL while everybody works on."""
    column = change.new.objects.get(statement.object)
    if not isinstance(column, Column):
        return ()
    return (*_filled(change, column), *_not_null(change, column, statement.sql))


def _not_null(change: Change, column: Column, *last: str) -> Iterator[Step]:
    """Prove that no value is NULL while everybody works on, so that SET NOT NULL need not look."""
    table, name = column.id.name, column.id.part
    check = change.spare_name(bare_join(table, name), "_not_null")
    alter = f"ALTER TABLE {table}"
    locked = frozenset({table})
    yield Step((f"{alter} ADD CONSTRAINT {check} CHECK ({name} IS NOT NULL) NOT VALID",), locked)
    yield from _filled(change, column, again=True)
    yield Step((f"{alter} VALIDATE CONSTRAINT {check}",), locked, scans=True, joins=True)
    yield Step((*last, f"{alter} DROP CONSTRAINT {check}"), locked)


def _filled(
    change: Change, column: Column, value: str | None = None, *, again: bool = False
) -> Iterator[Step]:
    value = value or change.backfill.get(column.id)
    if value is None:
        return
    for table in change.stored(column.id.name):
        yield filling(change, Fill(table, again, ((column.id.part, value),)))


def filling(change: Change, fill: Fill) -> Step:
    """Return the batched step that fills columns of a table.

    The rows are met by their key, where there is one: a row that others change all the time is followed to
    its newest version then, while its place (ctid) would be another one by the time that it is met.
    """
    table = fill.table if change.stored(fill.table) == (fill.table,) else f"ONLY {fill.table}"
    columns = [column for column, _ in fill.values]
    missing = " OR ".join(f"{column} IS NULL" for column in columns)
    several = len(columns) > 1
    values = (f"{name} = {f'coalesce({name}, {value})' if several else value}" for name, value in fill.values)
    key = change.key_of(fill.table) or ("ctid",)
    met = ", ".join(key)
    rows = f"SELECT {met} FROM {table} WHERE {missing} LIMIT {BATCH}"
    where = f"({met}) IN (\n    {rows}\n)" if len(key) > 1 else f"{met} = ANY (ARRAY(\n    {rows}\n))"
    rest = f"({missing})" if several else missing
    sql = f"UPDATE {table} SET {', '.join(values)}\nWHERE {where} AND {rest}"
    return Step((sql,), way=Way.BATCHED, fill=fill)


def add_column(change: Change, statement: SchemaStatement, table: str) -> tuple[Step, ...]:
    """Return the steps that add a column; none where it does no harm as it is."""
    column = change.new.objects.get(statement.object)
    if not isinstance(column, Column):
        return ()
    if column.generated == "stored":
        cost = "a stored generated column is computed for every row while nobody reads or writes"
        return (costly(change, statement, table, "add-column-rewrite", cost),)
    if column.identity is not None:
        cost = "the rows that are there are numbered while nobody reads or writes"
        return _add_identity(change, statement, column) or (
            costly(change, statement, table, "add-column-rewrite", cost),
        )
    if _checked_domain(change, column):
        cost = "a column of a domain with rules is checked for every row while nobody reads or writes"
        return (costly(change, statement, table, "add-column-rewrite", cost),)
    if column.default is not None:
        return _add_default(change, statement, column)
    return _add_not_null(change, statement, column) if column.not_null else ()


def _checked_domain(change: Change, column: Column) -> bool:
    domain = change.new.objects.get(ObjectId(Kind.DOMAIN, column.type))
    return isinstance(domain, Domain) and (
        domain.not_null
        or any(
            each.kind is Kind.DOMAIN_CONSTRAINT and each.name == column.type for each in change.new.objects
        )
    )


def _add_default(change: Change, statement: SchemaStatement, column: Column) -> tuple[Step, ...]:
    if column.default is None or not is_volatile(column.default, change.steady):
        return ()
    table = column.id.name
    set_default = f"ALTER TABLE {table} ALTER COLUMN {column.id.part} SET DEFAULT {column.default}"
    return (
        _nullable(statement, column, set_default),
        *_filled(change, column, column.default),
        *(_not_null(change, column, _not_null_sql(column)) if column.not_null else ()),
    )


def _not_null_sql(column: Column) -> str:
    return f"ALTER TABLE {column.id.name} ALTER COLUMN {column.id.part} SET NOT NULL"


def _nullable(statement: SchemaStatement, column: Column, *also: str) -> Step:
    """Add the column without what would need a look at the rows."""
    return Step((_bare_column(statement.sql, column), *also), frozenset({column.id.name}), makes=True)


def _bare_column(sql: str, column: Column) -> str:
    head, _, _ = sql.partition(f" {column.id.part} ")
    kept = sql[: len(head)]
    collation = f" COLLATE {column.collation}" if column.collation else ""
    compression = f" COMPRESSION {column.compression}" if f" COMPRESSION {column.compression}" in sql else ""
    storage = f" STORAGE {column.storage}" if f" STORAGE {column.storage}" in sql else ""
    return f"{kept} {column.id.part} {column.type}{storage}{compression}{collation}"


def _add_not_null(change: Change, statement: SchemaStatement, column: Column) -> tuple[Step, ...]:
    value = change.backfill.get(column.id)
    if value is None:
        return ()
    table, name = column.id.name, column.id.part
    if is_constant(value, change.steady):
        # The server keeps one value for all rows that are there: neither a rewrite nor a scan.
        added = f"{_bare_column(statement.sql, column)} DEFAULT {value} NOT NULL"
        undo = f"ALTER TABLE {table} ALTER COLUMN {name} DROP DEFAULT"
        return (Step((added, undo), frozenset({table}), makes=True),)
    return (
        _nullable(statement, column),
        *_filled(change, column),
        *_not_null(change, column, _not_null_sql(column)),
    )


def added_with_values(change: Change, statement: SchemaStatement, column: Column) -> tuple[str, ...]:
    """Return what adds a column and fills it in one transaction, with what that costs."""
    value = change.backfill.get(column.id)
    if value is None or column.default or column.identity:
        return (allow("add-column-rewrite", TOGETHER, statement.sql),)
    update = f"UPDATE {column.id.name} SET {column.id.part} = {value}"
    return (
        _bare_column(statement.sql, column),
        allow("whole-table-write", TOGETHER, allow("scan-under-lock", TOGETHER, update)),
        allow("set-not-null-scan", TOGETHER, _not_null_sql(column)),
    )


def _add_identity(change: Change, statement: SchemaStatement, column: Column) -> tuple[Step, ...]:
    """Number the rows that are there by a sequence that lends its place to the column's own."""
    identity = column.identity
    if identity is None or change.is_partitioned(column.id.name):
        return ()
    table, name = column.id.name, column.id.part
    lent = change.spare_name(bare_join(table, name), "_lent")
    generated = re.search(r"GENERATED (ALWAYS|BY DEFAULT) AS IDENTITY( \(.*?\))?", statement.sql, re.DOTALL)
    if generated is None:
        return ()
    options = identity.options
    bounds = f"MINVALUE {options.minimum} MAXVALUE {options.maximum} START {options.start}"
    make = f"CREATE SEQUENCE {lent} AS {options.type} INCREMENT {options.increment} {bounds}"
    alter = f"ALTER TABLE {table} ALTER COLUMN {name}"
    value = f"nextval('{lent.replace(chr(39), chr(39) * 2)}')"
    last = (
        f"{alter} SET NOT NULL",
        f"{alter} DROP DEFAULT",
        f"{alter} ADD {generated[0]}",
        f"SELECT setval('{identity.sequence.replace(chr(39), chr(39) * 2)}', {value}, false)",
        f"DROP SEQUENCE {lent}",
    )
    return (
        _nullable(statement, column, make, f"{alter} SET DEFAULT {value}"),
        *_filled(change, column, value),
        *_not_null(change, column, *last),
    )


def set_type(change: Change, statement: SchemaStatement, table: str) -> tuple[Step, ...]:
    """Return a change of type with what it costs; nothing where the rows stay as they lie."""
    old, new = change.old.objects.get(statement.object), change.new.objects.get(statement.object)
    if not isinstance(old, Column) or not isinstance(new, Column):
        return ()
    made_anew = {base_type(old.type), base_type(new.type)} & change.remade
    stays = keeps_storage(old.type, new.type) and not made_anew
    if stays and not _rebuilds_index(change, old, new):
        return ()
    cost = "its rows are rewritten while nobody reads or writes; for a large table add a column and swap"
    return (costly(change, statement, table, "type-change-rewrite", cost),)


def _rebuilds_index(change: Change, old: Column, new: Column) -> bool:
    """Whether an index sorts by a collation that changes."""
    indexes = (each for each in change.new if isinstance(each, Index | Constraint))
    return old.collation != new.collation and any(
        new.id.part in each.columns and _is_on(each, new) for each in indexes
    )


def _is_on(each: Index | Constraint, column: Column) -> bool:
    return (each.table if isinstance(each, Index) else each.id.name) == column.id.name


def missing_backfills(change: Change) -> tuple[ObjectId, ...]:
    """Return the columns that the plan adds NOT NULL to tables with rows, without a value for those."""
    return tuple(sorted(_missing(change)))


def _missing(change: Change) -> Iterator[ObjectId]:
    for statement in change.plan:
        column = change.new.objects.get(statement.object)
        adds = statement.action is Action.CREATE and isinstance(column, Column) and change.table_of(statement)
        if adds and isinstance(column, Column) and _needs_value(column) and column.id not in change.backfill:
            yield column.id


def _needs_value(column: Column) -> bool:
    made = column.default or column.identity or column.generated
    return column.not_null and not made
