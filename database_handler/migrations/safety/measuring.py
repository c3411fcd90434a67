"""Which locks a migration's statements take, what they rewrite and what they scan: measured by running them.

In an empty copy of the schema, in the transactions of a real run, `pg_locks` shows the locks after each
statement, a changed file of a relation shows the rewrite, and the transaction's own count of scans shows the
scan; that a table is empty changes none of the three. The copy is a database of its own: a table that was
made in the same transaction is locked already, and would show nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from database_handler.config.database import DatabaseConfig
from database_handler.core.session import Session, Statement
from database_handler.core.sql_text import locate, significant_tokens
from database_handler.core.transaction import Autocommit, Transaction
from database_handler.migrations.files.migration_values import Direction, Migration, Part, SqlStatement
from database_handler.migrations.files.statement_checks import needs_no_transaction, words_of
from database_handler.migrations.runner.locking import Kept
from database_handler.migrations.runner.python_migration import PythonFile
from database_handler.migrations.runner.running import connected
from database_handler.migrations.safety.statement_facts import StatementFacts, bare, facts_of
from database_handler.migrations.scratch.building import build
from database_handler.migrations.scratch.place import scratch_database

__all__ = ["MigrationCost", "StatementCost", "measure", "measure_migrations", "strongest"]

LOCKS = (
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
"""PostgreSQL's lock modes, the weakest first; from SHARE on, writers wait."""

_STRENGTH = {mode: place for place, mode in enumerate(LOCKS)}


class StatementCost(BaseModel, frozen=True):
    """What one statement did to the tables that were there before its migration.

    Attributes
    ----------
    line : int
        Where it begins in the file.
    start : int
        The same in characters from 0.
    locks, held : mapping of table to lock mode
        What it added to the locks of its transaction; the strongest that were held after it. Weaker ones
        than ROW EXCLUSIVE are left out.
    rewrites, scans : tuple of str
        The tables that it wrote anew, and those that it read from end to end.
    measured : bool
        False where it cannot run in a transaction, so that its locks are told from its words.
    """

    line: int
    start: int
    sql: str
    transactional: bool = True
    locks: Mapping[str, str] = {}
    held: Mapping[str, str] = {}
    rewrites: tuple[str, ...] = ()
    scans: tuple[str, ...] = ()
    measured: bool = True


class MigrationCost(BaseModel, frozen=True):
    """What the statements of a migration did, one way, in their order."""

    name: str
    direction: Direction
    statements: tuple[StatementCost, ...] = ()

    def at(self, start: int) -> StatementCost | None:
        """Return the cost of the statement that begins at a character of the file."""
        return next((each for each in self.statements if each.start == start), None)

    @property
    def header(self) -> str:
        """What the `-- locks:` line of a file says: ``projects ACCESS EXCLUSIVE (no rewrite, no scan)``."""
        told = [
            f"{table} {mode} ({_told(rewritten, 'rewrite')}, {_told(scanned, 'scan')})"
            for (table, mode), (rewritten, scanned) in sorted(self._by_lock().items(), key=_by_strength)
        ]
        return "; ".join(told) or "none that anybody waits for"

    def _by_lock(self) -> dict[tuple[str, str], tuple[bool, bool]]:
        found: dict[tuple[str, str], tuple[bool, bool]] = {}
        for cost in self.statements:
            for table, mode in cost.held.items():
                if _STRENGTH[mode] > _STRENGTH["ROW EXCLUSIVE"]:
                    rewritten, scanned = found.get((table, mode), (False, False))
                    found[table, mode] = (rewritten or table in cost.rewrites, scanned or table in cost.scans)
        return found


def _told(happened: bool, what: str) -> str:
    return what if happened else f"no {what}"


def _by_strength(item: tuple[tuple[str, str], tuple[bool, bool]]) -> tuple[str, int]:
    (table, mode), _ = item
    return table, -_STRENGTH[mode]


def strongest(modes: Iterable[str]) -> str:
    """Return the strongest of some lock modes, as `LOCKS` spells them."""
    return max(modes, key=_STRENGTH.__getitem__)


# ------------------------------------------------------------------------------------------------ one look


@dataclass(frozen=True, slots=True)
class _Relation:
    name: str
    file: int | None
    scans: int


@dataclass(frozen=True, slots=True)
class _Look:
    """What there is at one moment of a transaction: the relations, and the locks held on them."""

    relations: Mapping[int, _Relation]
    locks: Mapping[int, str]


_RELATIONS = Statement(
    "SELECT c.oid::bigint, c.oid::regclass::text, pg_catalog.pg_relation_filenode(c.oid)::bigint,"
    " pg_catalog.pg_stat_get_xact_numscans(c.oid) FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f') AND c.relpersistence <> 't'"
    " AND n.nspname !~ '^(pg_|information_schema$)'",
    "measuring.relations",
)
_LOCKS = Statement(
    "SELECT relation::bigint, mode FROM pg_catalog.pg_locks WHERE pid = pg_catalog.pg_backend_pid()"
    " AND locktype = 'relation' AND granted AND database ="
    " (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())",
    "measuring.locks",
)


def _look(session: Session) -> _Look:
    relations = {oid: _Relation(name, file, scans) for oid, name, file, scans in session.all(_RELATIONS)}
    held: dict[int, list[str]] = defaultdict(list)
    for oid, mode in session.all(_LOCKS):
        held[oid].append(_spelled(mode))
    return _Look(relations, {oid: strongest(modes) for oid, modes in held.items()})


def _spelled(mode: str) -> str:
    """Return ``ShareRowExclusiveLock`` as SQL spells it."""
    words = "".join(f" {letter}" if letter.isupper() else letter for letter in mode.removesuffix("Lock"))
    return words.strip().upper()


def _cost(statement: StatementCost, known: Mapping[int, str], before: _Look, after: _Look) -> StatementCost:
    held = {oid: mode for oid, mode in after.locks.items() if oid in known and _counts(mode)}
    added = {known[oid]: mode for oid, mode in held.items() if before.locks.get(oid) != mode}
    kept = [oid for oid in known if oid in before.relations and oid in after.relations]
    rewritten = [oid for oid in kept if before.relations[oid].file != after.relations[oid].file]
    scanned = [oid for oid in kept if before.relations[oid].scans < after.relations[oid].scans]
    emptied = facts_of(statement.sql).verb == "TRUNCATE"
    return statement.model_copy(
        update={
            "locks": dict(sorted(added.items())),
            "held": dict(sorted((known[oid], mode) for oid, mode in held.items())),
            "rewrites": () if emptied else tuple(sorted(known[oid] for oid in rewritten)),
            "scans": () if emptied else tuple(sorted(known[oid] for oid in scanned)),
        }
    )


def _counts(mode: str) -> bool:
    return _STRENGTH[mode] >= _STRENGTH["ROW EXCLUSIVE"]


# ---------------------------------------------------------------------------------------------- a migration


def measure(
    config: DatabaseConfig, migration: Migration, direction: Direction = Direction.UP
) -> MigrationCost:
    """Run a migration one way in a scratch database, and return what its statements did.

    Parameters
    ----------
    config : DatabaseConfig
        A scratch database in which the versions before it were run. It is changed as by a real run; nothing
        is recorded in a history.
    """
    with connected(config, "scratch") as kept:
        return MigrationCost(
            name=migration.name,
            direction=direction,
            statements=tuple(_Measuring(kept, migration).run(direction)),
        )


def measure_migrations(
    config: DatabaseConfig, applied: Sequence[Migration], pending: Sequence[Migration]
) -> tuple[MigrationCost, ...]:
    """Return what pending migrations would do to a database, measured in a scratch one beside it.

    Parameters
    ----------
    config : DatabaseConfig
        The database; it is neither read nor locked.
    applied : sequence of Migration
        What was run before them, in order.

    Raises
    ------
    ScratchUnavailable
        No scratch database can be had.
    MigrationFailed, DatabaseError
        A statement fails.
    """
    with scratch_database(config) as scratch:
        with connected(scratch, "scratch") as kept:
            for migration in applied:
                with Transaction(lambda: kept) as session:
                    build(session, [migration])
        return tuple(measure(scratch, migration) for migration in pending)


class _Measuring:
    """One run of a migration, with a look after each statement."""

    def __init__(self, kept: Kept, migration: Migration) -> None:
        self._kept = kept
        self._migration = migration
        self._alone = Autocommit(lambda: kept).session
        # What the migration makes is nobody's yet: only what was there before it counts.
        relations = _look(self._alone).relations
        self._known = {oid: relation.name for oid, relation in relations.items()}

    def run(self, direction: Direction) -> Iterator[StatementCost]:
        for part in self._migration.parts(direction):
            if part.function:
                yield from self._in_transaction(part)
            elif any(_stands_alone(statement) for statement in part.statements):
                yield from map(self._by_itself, part.statements)
            else:
                yield from self._in_transaction(part)

    def _in_transaction(self, part: Part) -> Iterator[StatementCost]:
        with Transaction(lambda: self._kept) as session:
            before = _look(session)
            for statement in part.settings:
                session.run(Statement(statement.text, self._migration.name, writes=True))
            for cost in self._steps(session, part):
                after = _look(session)
                yield _cost(cost, self._known, before, after)
                before = after

    def _steps(self, session: Session, part: Part) -> Iterator[StatementCost]:
        if part.function:
            arguments: tuple[Any, ...] = (None,) if part.batched else ()
            PythonFile(self._migration).call(part.function, session, *arguments)
            yield StatementCost(line=1, start=0, sql=f"-- {part.function}()")
        for statement in part.statements:
            cost = self._placed(statement)
            session.run(Statement(statement.text, f"{self._migration.name}:{cost.line}", writes=True))
            yield cost

    def _placed(self, statement: SqlStatement) -> StatementCost:
        line = locate(self._migration.text, statement.start).line
        return StatementCost(line=line, start=statement.start, sql=statement.text)

    def _by_itself(self, statement: SqlStatement) -> StatementCost:
        cost = self._placed(statement)
        facts = facts_of(statement.text)
        tables = self._tables(facts)
        before = _look(self._alone)
        self._alone.run(Statement(statement.text, f"{self._migration.name}:{cost.line}", writes=True))
        rewrites = _cost(cost, self._known, before, _look(self._alone)).rewrites
        full = (facts.verb == "VACUUM" and "FULL" in facts.words) or facts.verb == "CLUSTER"
        mode = "ACCESS EXCLUSIVE" if full else "SHARE UPDATE EXCLUSIVE"
        return cost.model_copy(
            update={
                "locks": dict.fromkeys(tables, mode),
                "held": dict.fromkeys(tables, mode),
                "rewrites": rewrites,
                "scans": () if facts.verb in ("DROP INDEX", "ALTER TABLE") else tables,
                "transactional": False,
                "measured": False,
            }
        )

    def _tables(self, facts: StatementFacts) -> tuple[str, ...]:
        """Return the tables that a statement outside of a transaction is about, of those from before it."""
        named = set(facts.names if facts.verb != "CREATE INDEX" else [facts.table])
        of_indexes = {oid for (oid,) in self._alone.all(_TABLES_OF_INDEXES, [sorted(named)])}
        return tuple(
            sorted(name for oid, name in self._known.items() if bare(name) in named or oid in of_indexes)
        )


_TABLES_OF_INDEXES = Statement(
    "SELECT DISTINCT i.indrelid::bigint FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c"
    " ON c.oid = i.indexrelid WHERE c.relname::text = ANY (%s::text[])",
    "measuring.tables_of_indexes",
)


def _stands_alone(statement: SqlStatement) -> bool:
    return needs_no_transaction(words_of(list(significant_tokens(statement.text)))) is not None
