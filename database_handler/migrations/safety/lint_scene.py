"""What is known of the schema while the statements of a migration go by: what was there, what was made.

Names are bare (`statement_facts`): a schema is not compared, so that a file lints the same wherever it runs.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from database_handler.core.sql_text import significant_tokens
from database_handler.migrations.safety.measuring import StatementCost
from database_handler.migrations.safety.statement_facts import (
    AlterAction,
    ConstraintFacts,
    StatementFacts,
    bare,
)
from database_handler.migrations.schema.snapshot import (
    Column,
    Constraint,
    ConstraintType,
    Domain,
    Index,
    Kind,
    SchemaSnapshot,
    Table,
)
from database_handler.migrations.schema.value_facts import steady_functions

__all__ = ["Before", "NewColumn", "Scene", "not_null_column"]


class Before:
    """The schema before a migration, looked up by bare names; empty where no snapshot is known."""

    def __init__(self, snapshot: SchemaSnapshot | None) -> None:
        self.known = snapshot is not None
        self.steady = steady_functions(snapshot)
        self.columns: dict[tuple[str, str], Column] = {}
        self.types: dict[tuple[str, str], str] = {}
        self.tables_of_indexes: dict[str, str] = {}
        self.indexed: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        self.not_null_checks: set[tuple[str, str]] = set()
        self.partitioned: set[str] = set()
        self.ruled_domains: set[str] = set()
        for each in snapshot or ():
            self._take(each)

    def _take(self, each: object) -> None:
        if isinstance(each, Column):
            self.columns[bare(each.id.name), bare(each.id.part)] = each
            self.types[bare(each.id.name), bare(each.id.part)] = each.type
        elif isinstance(each, Index):
            self.tables_of_indexes[bare(each.id.name)] = bare(each.table)
            if " WHERE " not in each.definition:
                self.indexed[bare(each.table)].append(tuple(map(bare, each.columns)))
        elif isinstance(each, Constraint) and each.id.kind is Kind.CONSTRAINT:
            self._take_constraint(each)
        elif isinstance(each, Constraint) or (isinstance(each, Domain) and each.not_null):
            self.ruled_domains.add(bare(each.id.name))
        elif isinstance(each, Table) and each.partition_key:
            self.partitioned.add(bare(each.id.name))

    def rename_table(self, old: str, new: str) -> None:
        """Know a table and what it has under its new name."""
        for found in (self.columns, self.types, self.not_null_checks):
            for table, column in [key for key in found if key[0] == old]:
                _move(found, (table, column), (new, column))
        self.tables_of_indexes = {
            index: new if table == old else table for index, table in self.tables_of_indexes.items()
        }
        self.indexed[new] = self.indexed.pop(old, [])

    def rename_column(self, table: str, old: str, new: str) -> None:
        """Know a column under its new name."""
        for found in (self.columns, self.types, self.not_null_checks):
            _move(found, (table, old), (table, new))
        indexed = self.indexed.get(table, [])
        self.indexed[table] = [tuple(new if each == old else each for each in columns) for columns in indexed]

    def _take_constraint(self, constraint: Constraint) -> None:
        table = bare(constraint.id.name)
        if constraint.type in (ConstraintType.PRIMARY_KEY, ConstraintType.UNIQUE):
            self.indexed[table].append(tuple(map(bare, constraint.columns)))
        if constraint.type is ConstraintType.CHECK and constraint.validated:
            column = not_null_column(constraint.definition.removeprefix("CHECK"))
            if column:
                self.not_null_checks.add((table, column))


def _move(
    found: dict[tuple[str, str], Column] | dict[tuple[str, str], str] | set[tuple[str, str]],
    old: tuple[str, str],
    new: tuple[str, str],
) -> None:
    if isinstance(found, dict):
        if old in found:
            found[new] = found.pop(old)  # type: ignore[assignment]  # of one dictionary, so of one type
    elif old in found:
        found.remove(old)
        found.add(new)


def not_null_column(check: str) -> str:
    """Return the column where a CHECK says `column IS NOT NULL` and no more; else nothing."""
    found = [token for token in significant_tokens(check) if token.text not in ("(", ")")]
    words = [token.text.upper() for token in found[1:]]
    return bare(found[0].text) if words == ["IS", "NOT", "NULL"] else ""


@dataclass(slots=True)
class NewColumn:
    """A column that a file adds, or makes NOT NULL, on a table from before."""

    start: int = 0
    not_null: bool = False
    default: bool = False


@dataclass(slots=True)
class Scene:
    """What the statements up to now have made and locked; the rules look at it, and then it takes the next.

    Attributes
    ----------
    up : bool
        Whether the section is an up section.
    made, created : set of str
        The tables and types that the file made; all that it made, under whatever name it has now.
    only : bool
        Whether the statement says ONLY.
    dropped : set of str
        The tables that the section drops.
    locked : dict of table to start
        What the transaction holds against readers, and since which statement.
    """

    before: Before
    up: bool = True
    transactional: bool = True
    batched: bool = False
    only: bool = False
    cost: StatementCost | None = None
    dropped: set[str] = field(default_factory=set[str])
    made: set[str] = field(default_factory=set[str])
    created: set[str] = field(default_factory=set[str])
    made_here: set[str] = field(default_factory=set[str])
    locked: dict[str, int] = field(default_factory=dict[str, int])
    labels: dict[str, str] = field(default_factory=dict[str, str])
    indexes: dict[str, str] = field(default_factory=dict[str, str])
    indexed: dict[str, list[tuple[str, ...]]] = field(
        default_factory=lambda: defaultdict[str, list[tuple[str, ...]]](list)
    )
    checks: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    proven: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    columns: dict[tuple[str, str], NewColumn] = field(default_factory=dict[tuple[str, str], NewColumn])

    def begin(self, *, up: bool, transactional: bool, batched: bool) -> None:
        """Enter a section: its transaction holds nothing yet."""
        self.up, self.transactional, self.batched = up, transactional, batched
        self.release()
        self.made_here, self.dropped = set(), set()

    def release(self) -> None:
        """Forget what the transaction held."""
        self.locked.clear()
        self.labels.clear()

    def is_old(self, table: str) -> bool:
        """Whether a table was there before the file."""
        return bool(table) and table not in self.made

    def table_of(self, facts: StatementFacts) -> str:
        """Return the table that a statement is about; of a dropped index, the table it is on."""
        if facts.verb in ("DROP INDEX", "REINDEX INDEX", "ALTER INDEX"):
            name = facts.names[0] if facts.names else ""
            return self.indexes.get(name) or self.before.tables_of_indexes.get(name, name)
        return facts.table

    def is_indexed(self, table: str, columns: Iterable[str]) -> bool:
        """Whether an index begins with the columns, in whichever order."""
        wanted = set(columns)
        known = [*self.before.indexed.get(table, ()), *self.indexed.get(table, ())]
        return any(set(each[: len(wanted)]) == wanted for each in known)

    def is_proven(self, table: str, column: str) -> bool:
        """Whether a valid CHECK says that the column is never NULL."""
        return (table, column) in self.proven or (table, column) in self.before.not_null_checks

    # --------------------------------------------------------------------------------------------- going on

    def take(self, facts: StatementFacts, start: int) -> None:
        """Note what a statement has made; called after the rules have looked at it."""
        self.made_here |= set(facts.makes)
        self.created |= set(facts.makes)
        if facts.new_name:
            self.created.add(facts.new_name)
        if facts.verb in ("CREATE TABLE", "CREATE MATERIALIZED VIEW", "CREATE TYPE", "CREATE VIEW"):
            self.made |= set(facts.makes)
        if facts.verb == "CREATE DOMAIN" and facts.words & {"CHECK", "NULL"}:
            self.before.ruled_domains |= set(facts.makes)
        if facts.verb == "ALTER DOMAIN" and any(each.constraint for each in facts.actions):
            self.before.ruled_domains |= set(facts.names)
        if facts.verb == "ALTER TYPE" and facts.labels and facts.names[0] not in self.made:
            self.labels.update(dict.fromkeys(facts.labels, facts.names[0]))
        for action in facts.actions:
            self._take_action(facts.table, action, start)

    def _take_action(self, table: str, action: AlterAction, start: int) -> None:
        if action.kind == "RENAME" and table in self.made:
            self.made.add(action.new_name)
        elif action.kind == "RENAME":
            self._rename_table(table, action.new_name)
        elif action.kind == "RENAME COLUMN":
            self.before.rename_column(table, action.name, action.new_name)
        if action.constraint and action.constraint.kind == "CHECK":
            self._take_check(table, action.constraint)
        if action.kind == "VALIDATE CONSTRAINT" and (table, action.name) in self.checks:
            self.proven.add((table, self.checks[table, action.name]))
        if action.kind == "TYPE":
            self.before.types[table, action.name] = action.type
        if self.up and self.is_old(table):
            self._take_column(table, action, start)

    def _rename_table(self, old: str, new: str) -> None:
        self.before.rename_table(old, new)
        if old in self.locked:
            self.locked[new] = self.locked.pop(old)

    def _take_check(self, table: str, check: ConstraintFacts) -> None:
        if column := not_null_column(check.text.removesuffix("NOT VALID")):
            self.checks[table, check.name] = column
            if not check.not_valid:
                self.proven.add((table, column))

    def _take_column(self, table: str, action: AlterAction, start: int) -> None:
        key = (table, action.name)
        if action.kind == "DROP COLUMN":
            self.columns.pop(key, None)
            return
        if column := action.column:
            made = bool(column.default or column.identity or column.generated or "serial" in column.type)
            self.columns[key] = NewColumn(start + action.start, column.not_null, made)
        if action.kind not in _COLUMN_CHANGES:
            return
        found = self.columns.setdefault(key, self._old_column(key))
        found.start = start + action.start
        found.not_null = {"SET NOT NULL": True, "DROP NOT NULL": False}.get(action.kind, found.not_null)
        found.default = _DEFAULTS.get(action.kind, found.default)

    def _old_column(self, key: tuple[str, str]) -> NewColumn:
        old = self.before.columns.get(key)
        if old is None:
            return NewColumn(default=not self.before.known)
        return NewColumn(not_null=old.not_null, default=bool(old.default or old.identity or old.generated))


_COLUMN_CHANGES = frozenset({"SET NOT NULL", "DROP NOT NULL", "SET DEFAULT", "DROP DEFAULT", "ADD GENERATED"})
_DEFAULTS: Mapping[str, bool] = {"SET DEFAULT": True, "DROP DEFAULT": False, "ADD GENERATED": True}
