"""A plan with what is known around it, and the steps that it is taken apart into.

A step is what the rewritings make (`safe_steps`), and what the sections are put together from (`safe_way`).
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from database_handler.core.quoting import LONGEST_NAME, identifier, unquoted
from database_handler.migrations.safety.key_text import key_parts
from database_handler.migrations.safety.lint_rules import RULES
from database_handler.migrations.schema.schema_diff.names import bare
from database_handler.migrations.schema.schema_diff.statement import Action, SchemaDiff, SchemaStatement
from database_handler.migrations.schema.snapshot import (
    Constraint,
    ConstraintType,
    Index,
    Kind,
    ObjectId,
    SchemaSnapshot,
    Table,
)
from database_handler.migrations.schema.value_facts import steady_functions

__all__ = [
    "DROPPED",
    "Change",
    "Fill",
    "Step",
    "Way",
    "allow",
    "bare_join",
    "base_type",
    "changes_bond",
    "changes_persistence",
    "comes_to_parent",
    "costly",
    "is_put_aside",
    "renaming_allowed",
    "with_reason",
    "without_idle_allows",
]

DROPPED = "(dropped)"
"""Stands for all tables that a plan drops: nobody is there to wait for them."""


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
    def remade(self) -> frozenset[str]:
        """The names of the types that are dropped, or put aside, and perhaps made anew."""
        return frozenset(
            each.object.name
            for each in self.plan
            if is_put_aside(each) or (each.action is Action.DROP and each.object.kind in _TYPE_KINDS)
        )

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
            if not self._is_index(each.object) and not self._is_key(each.object):
                continue
            if each.action is Action.DROP:
                dropped[each.object] = place
            elif each.action is Action.CREATE and each.object in dropped:
                found |= self._exchange(each.object, dropped[each.object], place)
        return frozenset(found)

    def dropping(self, statement: SchemaStatement) -> tuple[str, ...]:
        """Return what drops an exchanged index or key where it is made: its own DROP does nothing then."""
        if statement.action is not Action.CREATE or statement.object not in self.exchanged:
            return ()
        return tuple(
            each.sql for each in self.plan if each.action is Action.DROP and each.object == statement.object
        )

    def _is_index(self, id: ObjectId) -> bool:
        """Whether something is an index now that can be dropped by itself, beside the work."""
        index = self.old.objects.get(id)
        return isinstance(index, Index) and not index.parent and not self.is_partitioned(index.table)

    def _is_key(self, id: ObjectId) -> bool:
        """Whether something is a key in both schemas, and can be made of an index."""
        sides = (self.old.objects.get(id), self.new.objects.get(id))
        keys = (ConstraintType.PRIMARY_KEY, ConstraintType.UNIQUE)
        return all(isinstance(each, Constraint) and each.type in keys for each in sides) and (
            isinstance(sides[1], Constraint)
            and key_parts(sides[1].definition) is not None
            and not self.is_partitioned(id.name)
        )

    def _exchange(self, index: ObjectId, first: int, last: int) -> set[ObjectId]:
        """Return the index where nothing between its drop and its making takes away what it stands on."""
        stands_on = {index, *self.old.objects[index].needs}
        between = self.plan[first + 1 : last]
        taken = {id for each in between for id in (*each.destroys, each.object, *self.below(each))}
        return set() if stands_on & taken else {index}

    def table_of(self, statement: SchemaStatement) -> str | None:
        """Return the table, from before the plan, that a statement is about; None where there is none."""
        name = self._table_name(statement)
        return None if name is None or name in self.made or name in self.dropped else name

    def locks(self, statement: SchemaStatement) -> frozenset[str]:
        """Return what others may wait for while a statement runs: the table, or one name for all dropped."""
        name = self._table_name(statement)
        bonds = self.wholes(statement) if changes_bond(statement) else ()
        names = {name, *bonds} - {None} - (self.made - self.dropped)
        return frozenset(DROPPED if each in self.dropped else each for each in names if each)

    def wholes(self, statement: SchemaStatement) -> Iterator[str]:
        """Give the partitioned tables that a partition comes to, or leaves."""
        if changes_bond(statement) or statement.action in (Action.CREATE, Action.DROP):
            for snapshot in (self.old, self.new):
                table = snapshot.objects.get(statement.object)
                if isinstance(table, Table) and table.partition_bound is not None:
                    yield from table.parents

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
        """Give each table that inherits from one, before the plan or after it.

        Each once: the plan may turn two round, and then they go in a circle.
        """
        found = {table}
        waiting = [table]
        while waiting:
            for child in sorted(self._children.get(waiting.pop(), set()) - found):
                found.add(child)
                waiting.append(child)
                yield child

    def below(self, statement: SchemaStatement) -> Iterator[ObjectId]:
        """Give the columns of the tables that inherit a column: what changes it changes them."""
        if statement.object.kind is Kind.COLUMN:
            for table in self.descendants(statement.object.name):
                yield statement.object._replace(name=table)

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


def changes_bond(statement: SchemaStatement) -> bool:
    """Whether a table comes to inherit from another, or ceases to."""
    about_table = statement.object.kind is Kind.TABLE and statement.action is Action.ALTER
    return about_table and bool(_BOND.search(statement.sql))


def comes_to_parent(statement: SchemaStatement) -> bool:
    """Whether a table comes to inherit from another: from then on its constraints are one with that one's."""
    return changes_bond(statement) and not _LEAVES.search(statement.sql)


def changes_persistence(statement: SchemaStatement) -> bool:
    """Whether a table becomes unlogged, or logged: a reference to it, or to its whole, may forbid it."""
    about_table = statement.object.kind is Kind.TABLE and statement.action is Action.ALTER
    return about_table and statement.sql.endswith((" SET LOGGED", " SET UNLOGGED"))


def base_type(type_name: str) -> str:
    """Return a type without its brackets: of an array, what its elements are."""
    return re.sub(r"(\[\d*\])+$", "", type_name)


_BOND = re.compile(r" (ATTACH PARTITION|DETACH PARTITION|INHERIT) ")
_LEAVES = re.compile(r" (DETACH PARTITION|NO INHERIT) ")
_TYPE_KINDS = frozenset({Kind.ENUM, Kind.DOMAIN, Kind.COMPOSITE, Kind.RANGE})
_TABLE_KINDS = frozenset(
    {Kind.TABLE, Kind.COLUMN, Kind.CONSTRAINT, Kind.TRIGGER, Kind.RULE, Kind.POLICY, Kind.MATERIALIZED_VIEW}
)


def _suffixed(name: str, suffix: str) -> str:
    """Return a quoted or plain name with a suffix, cut so that the server takes it whole."""
    spelled = bare(name)
    room = LONGEST_NAME - len(suffix.encode())
    kept = unquoted(spelled).encode()[:room].decode("utf-8", "ignore") + suffix
    return identifier(kept) if spelled.startswith('"') else kept


_RENAMED = "it is declared as a renaming; the release before this one must not run any more"


def with_reason(change: Change, statement: SchemaStatement) -> str:
    """Return a statement with the reason why it may lose data, or rename what is in use."""
    if statement.loses is not None:
        reason = change.reasons.get(statement.object)
        found = statement.action is Action.DROP and statement.object.kind in (Kind.TABLE, Kind.COLUMN)
        return allow("drop-data", reason, statement.sql) if reason and found else statement.sql
    return renaming_allowed(statement)


def renaming_allowed(statement: SchemaStatement) -> str:
    """Return a statement with the comment that allows it to rename a table or column; others as they are."""
    renamed = statement.action is Action.RENAME and statement.object.kind in (Kind.TABLE, Kind.COLUMN)
    if renamed and statement.sql.startswith("ALTER TABLE "):
        return allow("rename-in-use", _RENAMED, statement.sql)
    return statement.sql


def allow(rule: str, reason: str, sql: str) -> str:
    """Return a statement with the comment that allows what a rule finds in it."""
    return f"-- lint: allow {rule} because {' '.join(reason.split())}\n{sql}"


def without_idle_allows(sql: str) -> str:
    """Return a statement of a way down without what allows a rule that no way down is held to."""
    line, _, rest = sql.partition("\n")
    found = _ALLOWED.match(line)
    if found is None:
        return sql
    kept = f"{line}\n" if RULES[found[1]].both else ""
    return kept + without_idle_allows(rest)


_ALLOWED = re.compile(r"-- lint: allow (\S+) because ")


def costly(change: Change, statement: SchemaStatement, table: str, rule: str, cost: str) -> Step:
    """Return a statement that no smaller steps can do, with what it costs."""
    return Step(
        (allow(rule, cost, with_reason(change, statement)),), frozenset({table}), scans=True, makes=True
    )


def bare_join(*names: str) -> str:
    """Return some names joined by underscores, spelled as SQL needs it."""
    parts = [bare(name) for name in names]
    joined = "_".join(map(unquoted, parts))
    return identifier(joined) if any(part.startswith('"') for part in parts) else joined
