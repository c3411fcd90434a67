"""One statement of a plan turned into the steps that do the same without keeping anybody waiting.

Each rewriting is one function. What no sequence of smaller steps can do stays as it is, with a comment that
allows the rule it breaks and says what it costs. Objects made by the same plan are nobody's yet: what
concerns them is left alone.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

from database_handler.core.sql_text import TokenKind, significant_tokens, tokens
from database_handler.migrations.schema_diff.statement import Action, SchemaDiff, SchemaStatement
from database_handler.migrations.snapshot import (
    Column,
    Constraint,
    ConstraintType,
    Domain,
    Index,
    Kind,
    ObjectId,
    SchemaSnapshot,
    Table,
)
from database_handler.migrations.value_facts import (
    is_constant,
    is_volatile,
    keeps_storage,
    steady_functions,
)

__all__ = [
    "BATCH",
    "DROPPED",
    "Change",
    "Fill",
    "Step",
    "Way",
    "allow",
    "base_type",
    "filling",
    "is_put_aside",
    "missing_backfills",
    "plain",
    "steps_of",
    "whole",
]

BATCH = 5000
"""How many rows one run of a batched statement changes."""
DROPPED = "(dropped)"
"""Stands for all tables that a plan drops: nobody is there to wait for them."""
_LONGEST_NAME = 63


class Way(StrEnum):
    """How a step is run."""

    TRANSACTION = "transaction"
    BATCHED = "batched"
    ALONE = "alone"  # outside of a transaction


@dataclass(frozen=True, slots=True)
class Step:
    """Statements that run one after the other, in one section.

    Attributes
    ----------
    tables : frozenset of str
        The tables from before that it locks against writers, or everybody.
    scans : bool
        Whether it reads a table: such a step stands beside nothing that locks.
    joins : bool
        Whether a step that scans may share its section with others of the same table.
    makes : bool
        Whether what the statement makes is there after this step (else after the last one).
    fill : Fill, optional
        What a batched step fills, so that it can be done together with others.
    """

    statements: tuple[str, ...]
    tables: frozenset[str] = frozenset()
    way: Way = Way.TRANSACTION
    scans: bool = False
    joins: bool = False
    makes: bool = False
    fill: "Fill | None" = None


@dataclass(frozen=True, slots=True)
class Fill:
    """The values that the old rows of one table get.

    Attributes
    ----------
    again : bool
        Whether it is for the rows that were written between the first filling and the check.
    values : tuple of (column, value)
        As SQL spells them.
    """

    table: str
    again: bool
    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Change:
    """A plan with what is known around it: both schemas, the values for old rows, the reasons for losses."""

    plan: SchemaDiff
    old: SchemaSnapshot
    new: SchemaSnapshot
    backfill: Mapping[ObjectId, str] = field(default_factory=dict[ObjectId, str])
    reasons: Mapping[ObjectId, str] = field(default_factory=dict[ObjectId, str])

    @cached_property
    def made(self) -> frozenset[str]:
        """The names of the tables and materialised views that the plan makes."""
        kinds = (Kind.TABLE, Kind.MATERIALIZED_VIEW)
        return frozenset(
            each.object.name
            for each in self.plan
            if each.action is Action.CREATE and each.object.kind in kinds
        )

    @cached_property
    def dropped(self) -> frozenset[str]:
        """The names of the tables and materialised views that the plan drops."""
        kinds = (Kind.TABLE, Kind.MATERIALIZED_VIEW)
        return frozenset(
            each.object.name for each in self.plan if each.action is Action.DROP and each.object.kind in kinds
        )

    @cached_property
    def put_aside(self) -> frozenset[str]:
        """The names of the types that are made anew, while the old ones bear another name."""
        return frozenset(each.object.name for each in self.plan if is_put_aside(each))

    @cached_property
    def steady(self) -> frozenset[str]:
        """The schema's own functions that give one value for one statement."""
        return steady_functions(self.new)

    @cached_property
    def taken(self) -> frozenset[str]:
        """Every name of either schema, of parts too."""
        return frozenset(
            name
            for snapshot in (self.old, self.new)
            for each in snapshot.objects
            for name in each[1:]
            if name
        )

    @cached_property
    def exchanged(self) -> frozenset[ObjectId]:
        """The indexes and keys that are dropped and made again, and can be made before they are dropped."""
        dropped: dict[ObjectId, int] = {}
        found: set[ObjectId] = set()
        for place, each in enumerate(self.plan):
            if each.object.kind is not Kind.INDEX and not self._is_key(each.object):
                continue
            if each.action is Action.DROP:
                dropped[each.object] = place
            elif each.action is Action.CREATE and each.object in dropped:
                found |= self._exchange(each.object, dropped[each.object], place)
        return frozenset(found)

    def _is_key(self, id: ObjectId) -> bool:
        """Whether something is a key in both schemas, and can be made of an index."""
        sides = (self.old.objects.get(id), self.new.objects.get(id))
        keys = (ConstraintType.PRIMARY_KEY, ConstraintType.UNIQUE)
        return all(isinstance(each, Constraint) and each.type in keys for each in sides) and (
            isinstance(sides[1], Constraint)
            and _key_parts(sides[1].definition) is not None
            and not self.is_partitioned(id.name)
        )

    def _exchange(self, index: ObjectId, first: int, last: int) -> set[ObjectId]:
        """Return the index where nothing between its drop and its making takes away what it stands on."""
        stands_on = {index, *self.old.objects[index].needs}
        between = self.plan[first + 1 : last]
        return set() if any(stands_on & (each.destroys | {each.object}) for each in between) else {index}

    def table_of(self, statement: SchemaStatement) -> str | None:
        """Return the table, from before the plan, that a statement is about; None where there is none."""
        name = self._table_name(statement)
        return None if name is None or name in self.made or name in self.dropped else name

    def locks(self, statement: SchemaStatement) -> frozenset[str]:
        """Return what others may wait for while a statement runs: the table, or one name for all dropped."""
        name = self._table_name(statement)
        names = {name, *self._bonds(statement)} - {None} - (self.made - self.dropped)
        return frozenset(DROPPED if each in self.dropped else each for each in names if each)

    def _bonds(self, statement: SchemaStatement) -> Iterator[str]:
        """Give the partitioned tables that a table is attached to, or leaves."""
        if statement.action is Action.ALTER and _BOND.search(statement.sql):
            for snapshot in (self.old, self.new):
                table = snapshot.objects.get(statement.object)
                yield from table.parents if isinstance(table, Table) else ()

    def _table_name(self, statement: SchemaStatement) -> str | None:
        kind, name, _ = statement.object
        if statement.action in (Action.COMMENT, Action.GRANT):
            return None
        if kind is Kind.INDEX:
            snapshot = self.old if statement.action is Action.DROP else self.new
            index = snapshot.objects.get(statement.object)
            return index.table if isinstance(index, Index) else None
        return name if kind in _TABLE_KINDS else None

    def is_partitioned(self, table: str) -> bool:
        """Whether a table is only the sum of its partitions."""
        found = self.new.objects.get(ObjectId(Kind.TABLE, table)) or self.old.objects.get(
            ObjectId(Kind.TABLE, table)
        )
        return isinstance(found, Table) and found.partition_key is not None

    @cached_property
    def _children(self) -> Mapping[str, set[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for snapshot in (self.old, self.new):
            for each in snapshot:
                for parent in each.parents if isinstance(each, Table) else ():
                    found[parent].add(each.id.name)
        return found

    def descendants(self, table: str) -> Iterator[str]:
        """Give the tables that inherit from one, before the plan or after it."""
        for child in sorted(self._children.get(table, ())):
            yield child
            yield from self.descendants(child)

    def stored(self, table: str) -> tuple[str, ...]:
        """Return the tables that hold the rows of a table: itself, its partitions, what inherits from it."""
        below = [
            name
            for child in sorted(self._children.get(table, ()))
            if isinstance(each := self.new.objects.get(ObjectId(Kind.TABLE, child)), Table)
            and table in each.parents
            and self._stays_below(table, each)
            for name in self.stored(child)
        ]
        return (*(() if self.is_partitioned(table) else (table,)), *below)

    def _stays_below(self, parent: str, child: Table) -> bool:
        """Whether a table that inherits does so now: neither it nor the bond is made by the plan."""
        before = self.old.objects.get(child.id)
        if child.id.name in self.made:
            return False
        renamed = ObjectId(Kind.TABLE, parent) not in self.old.objects or not isinstance(before, Table)
        return renamed or (isinstance(before, Table) and parent in before.parents)

    def key_of(self, table: str) -> tuple[str, ...]:
        """Return the columns of a table's primary key, where it is there before the plan makes any."""
        made = {each.object for each in self.plan if each.action is Action.CREATE}
        for each in self._keys.get(table, ()):
            if each.id not in made:
                return each.columns
        return ()

    @cached_property
    def _keys(self) -> Mapping[str, list[Constraint]]:
        found: dict[str, list[Constraint]] = defaultdict(list)
        for each in self.new:
            if isinstance(each, Constraint) and each.type is ConstraintType.PRIMARY_KEY:
                found[each.id.name].append(each)
        return found

    def spare_name(self, name: str, suffix: str) -> str:
        """Return a name that is free in both schemas, made from another and spelled as SQL needs it."""
        for number in range(1, 1000):
            found = _suffixed(name, f"{suffix}{number if number > 1 else ''}")
            if found not in self.taken:
                return found
        raise AssertionError("a thousand names were taken")


def is_put_aside(statement: SchemaStatement) -> bool:
    """Whether a type gets another name only until what has it is of the new type of its name."""
    return statement.action is Action.RENAME and bool(statement.destroys) and not statement.produces


def base_type(type_name: str) -> str:
    """Return a type without its brackets: of an array, what its elements are."""
    return re.sub(r"(\[\d*\])+$", "", type_name)


_BOND = re.compile(r"\b(ATTACH|DETACH) PARTITION\b")
_TABLE_KINDS = frozenset(
    {Kind.TABLE, Kind.COLUMN, Kind.CONSTRAINT, Kind.TRIGGER, Kind.RULE, Kind.POLICY, Kind.MATERIALIZED_VIEW}
)


def _suffixed(name: str, suffix: str) -> str:
    """Return a quoted or plain name with a suffix, cut so that the server takes it whole."""
    plain = name.rpartition(".")[2] if '"' not in name else _last_part(name)
    quoted = plain.startswith('"')
    bare = plain[1:-1].replace('""', '"') if quoted else plain
    room = _LONGEST_NAME - len(suffix.encode())
    kept = bare.encode()[:room].decode("utf-8", "ignore") + suffix
    return '"' + kept.replace('"', '""') + '"' if quoted else kept


def _last_part(name: str) -> str:
    return [token.text for token in tokens(name)][-1]


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
        (_with_reason(change, statement),),
        change.locks(statement),
        Way.TRANSACTION if statement.transactional or statement.action is Action.ADD_VALUE else Way.ALONE,
        makes=True,
    )


_RENAMED = "it is declared as a renaming; the release before this one must not run any more"
_WHOLE_COSTS = {
    Kind.INDEX: "index-not-concurrent",
    Kind.CONSTRAINT: "unique-builds-index",
    Kind.COLUMN: "set-not-null-scan",
}


def whole(change: Change, statement: SchemaStatement) -> tuple[Step, tuple[Step, ...]]:
    """Return a statement as it runs beside others that take effect with it, and what can follow later."""
    first, *rest = steps_of(change, statement)
    if first.way is Way.TRANSACTION and (not rest or (first.makes and not first.scans)):
        return first, tuple(rest)
    rule = _WHOLE_COSTS.get(statement.object.kind)
    as_it_is = plain(change, statement)
    if rule is None or (rest and statement.action is Action.CREATE and statement.object.kind is Kind.COLUMN):
        return as_it_is, ()
    cost = "it has to take effect together with what is dropped and made again beside it"
    return replace(as_it_is, statements=tuple(allow(rule, cost, sql) for sql in as_it_is.statements)), ()


def _with_reason(change: Change, statement: SchemaStatement) -> str:
    if statement.loses is not None:
        reason = change.reasons.get(statement.object)
        return allow("drop-data", reason, statement.sql) if reason else statement.sql
    renamed = statement.action is Action.RENAME and statement.object.kind in (Kind.TABLE, Kind.COLUMN)
    if renamed and statement.sql.startswith("ALTER TABLE "):
        return allow("rename-in-use", _RENAMED, statement.sql)
    return statement.sql


def allow(rule: str, reason: str, sql: str) -> str:
    """Return a statement with the comment that allows what a rule finds in it."""
    return f"-- lint: allow {rule} because {' '.join(reason.split())}\n{sql}"


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
    head, _, tail = concurrent.partition(f" {_last_part(name)} ")
    return (
        Step((f"{head} {spare} {tail}", f"DROP INDEX CONCURRENTLY {name}"), way=Way.ALONE),
        Step((f"ALTER INDEX {_beside(name, spare)} RENAME TO {_last_part(name)}",)),
    )


def _beside(name: str, spare: str) -> str:
    """Return a bare name with the schema of another."""
    return name.removesuffix(_last_part(name)) + spare


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
        return (_costly(change, statement, table, "unique-builds-index", cost),)
    return _by_index(change, statement, constraint, table)


def _costly(change: Change, statement: SchemaStatement, table: str, rule: str, cost: str) -> Step:
    return Step(
        (allow(rule, cost, _with_reason(change, statement)),), frozenset({table}), scans=True, makes=True
    )


def _validated_later(change: Change, statement: SchemaStatement, table: str) -> tuple[Step, ...]:
    constraint = change.new.objects.get(statement.object)
    if not isinstance(constraint, Constraint) or not constraint.validated:
        return ()
    if re.search(r"\bNOT (VALID|ENFORCED)\s*$", statement.sql):
        return ()
    if constraint.type is ConstraintType.FOREIGN_KEY and change.is_partitioned(table):
        cost = "the foreign key of a partitioned table cannot be added without looking at its rows"
        return (_costly(change, statement, table, "constraint-validated-at-once", cost),)
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
    parts = _key_parts(constraint.definition)
    # USING INDEX would make the part's NOT NULL its own, which then stays when the whole's is dropped.
    of_part = constraint.inherited and constraint.type is ConstraintType.PRIMARY_KEY
    if parts is None or of_part or change.is_partitioned(table):
        cost = "its index can only be built together with the constraint here, while nobody writes"
        return (_costly(change, statement, table, "unique-builds-index", cost),)
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


@dataclass(frozen=True, slots=True)
class _KeyParts:
    kind: str
    index: str
    timing: str


_KEY = re.compile(r"(?P<kind>PRIMARY KEY|UNIQUE)(?P<nulls> NULLS NOT DISTINCT)? (?P<rest>\(.*)", re.DOTALL)


def _key_parts(definition: str) -> _KeyParts | None:
    """Take a unique constraint apart into what its index is made from, and what only the constraint has."""
    matched = _KEY.fullmatch(definition)
    if matched is None or "WITHOUT OVERLAPS" in definition or "USING INDEX TABLESPACE" in definition:
        return None
    rest = matched["rest"]
    timing = _timing_at(rest)
    with_ = _top_level_at(rest[:timing], "WITH")
    keys = rest[:with_].rstrip()
    nulls = matched["nulls"] or ""
    options = f" {rest[with_:timing].rstrip()}" if with_ < timing else ""
    return _KeyParts(matched["kind"], f"{keys}{nulls}{options}", f" {rest[timing:]}" if rest[timing:] else "")


def _timing_at(rest: str) -> int:
    return min(_top_level_at(rest, word) for word in ("DEFERRABLE", "NOT", "INITIALLY"))


def _top_level_at(text: str, word: str) -> int:
    """Return where a word stands outside of parentheses; the text's length where it does not."""
    depth = 0
    for token in significant_tokens(text):
        depth += (token.text == "(") - (token.text == ")")
        if not depth and token.kind is TokenKind.WORD and token.text.upper() == word:
            return token.start
    return len(text)


# --------------------------------------------------------------------------------------------------- columns


def _set_not_null(change: Change, statement: SchemaStatement, _: str) -> tuple[Step, ...]:
    column = change.new.objects.get(statement.object)
    if not isinstance(column, Column):
        return ()
    return (*_filled(change, column), *_not_null(change, column, statement.sql))


def _not_null(change: Change, column: Column, *last: str) -> Iterator[Step]:
    """Prove that no value is NULL while everybody works on, so that SET NOT NULL need not look."""
    table, name = column.id.name, column.id.part
    check = change.spare_name(_bare_join(table, name), "_not_null")
    alter = f"ALTER TABLE {table}"
    locked = frozenset({table})
    yield Step((f"{alter} ADD CONSTRAINT {check} CHECK ({name} IS NOT NULL) NOT VALID",), locked)
    yield from _filled(change, column, again=True)
    yield Step((f"{alter} VALIDATE CONSTRAINT {check}",), locked, scans=True, joins=True)
    yield Step((*last, f"{alter} DROP CONSTRAINT {check}"), locked)


def _bare_join(*names: str) -> str:
    parts = [_last_part(name) for name in names]
    joined = "_".join(part[1:-1].replace('""', '"') if part.startswith('"') else part for part in parts)
    return '"' + joined.replace('"', '""') + '"' if any(part.startswith('"') for part in parts) else joined


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


def _add_column(change: Change, statement: SchemaStatement, table: str) -> tuple[Step, ...]:
    column = change.new.objects.get(statement.object)
    if not isinstance(column, Column) or column.inherited:
        return ()
    if column.generated == "stored":
        cost = "a stored generated column is computed for every row while nobody reads or writes"
        return (_costly(change, statement, table, "add-column-rewrite", cost),)
    if column.identity is not None:
        cost = "the rows that are there are numbered while nobody reads or writes"
        return _add_identity(change, statement, column) or (
            _costly(change, statement, table, "add-column-rewrite", cost),
        )
    if _checked_domain(change, column):
        cost = "a column of a domain with rules is checked for every row while nobody reads or writes"
        return (_costly(change, statement, table, "add-column-rewrite", cost),)
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


def _add_identity(change: Change, statement: SchemaStatement, column: Column) -> tuple[Step, ...]:
    """Number the rows that are there by a sequence that lends its place to the column's own."""
    identity = column.identity
    if identity is None or change.is_partitioned(column.id.name):
        return ()
    table, name = column.id.name, column.id.part
    lent = change.spare_name(_bare_join(table, name), "_lent")
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


def _set_type(change: Change, statement: SchemaStatement, table: str) -> tuple[Step, ...]:
    old, new = change.old.objects.get(statement.object), change.new.objects.get(statement.object)
    if not isinstance(old, Column) or not isinstance(new, Column):
        return ()
    stays = keeps_storage(old.type, new.type) and base_type(new.type) not in change.put_aside
    if stays and not _rebuilds_index(change, old, new):
        return ()
    cost = "its rows are rewritten while nobody reads or writes; for a large table add a column and swap"
    return (_costly(change, statement, table, "type-change-rewrite", cost),)


def _rebuilds_index(change: Change, old: Column, new: Column) -> bool:
    """Whether an index sorts by a collation that changes."""
    indexes = (each for each in change.new if isinstance(each, Index | Constraint))
    return old.collation != new.collation and any(
        new.id.part in each.columns and _is_on(each, new) for each in indexes
    )


def _is_on(each: Index | Constraint, column: Column) -> bool:
    return (each.table if isinstance(each, Index) else each.id.name) == column.id.name


_REWRITES_TABLE = re.compile(r"\bSET (LOGGED|UNLOGGED|ACCESS METHOD|TABLESPACE)\b")


def _alter_table(change: Change, statement: SchemaStatement, table: str) -> tuple[Step, ...]:
    if not _REWRITES_TABLE.search(statement.sql):
        return ()
    cost = "the table is rewritten while nobody reads or writes: there is no smaller step"
    return (_costly(change, statement, table, "table-rewrite", cost),)


def _validate(change: Change, statement: SchemaStatement, table: str) -> tuple[Step, ...]:
    return (replace(plain(change, statement), scans=True, joins=True),) if table else ()


_Rewriting = Callable[[Change, SchemaStatement, str], tuple[Step, ...]]
_REWRITINGS: Mapping[tuple[Kind, Action], _Rewriting] = {
    (Kind.INDEX, Action.CREATE): _concurrent_index,
    (Kind.INDEX, Action.DROP): _drop_index,
    (Kind.CONSTRAINT, Action.CREATE): _add_constraint,
    (Kind.CONSTRAINT, Action.DROP): _drop_constraint,
    (Kind.CONSTRAINT, Action.VALIDATE): _validate,
    (Kind.COLUMN, Action.CREATE): _add_column,
    (Kind.COLUMN, Action.SET_NOT_NULL): _set_not_null,
    (Kind.COLUMN, Action.SET_TYPE): _set_type,
    (Kind.TABLE, Action.ALTER): _alter_table,
}


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
    return column.not_null and not made and not column.inherited
