"""What would make the pending versions fail or wait on the real database, found without a lock on any table.

The versions are run on a scratch copy, statement by statement; what each asks of rows that are there already
is then counted on the live tables, read-only and under a timeout. A count is all that is told of a row.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from pydantic import BaseModel

from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import DatabaseError
from database_handler.core.session import Session, Statement
from database_handler.core.transaction import Transaction, TransactionOptions
from database_handler.migrations.files.migration import Migration
from database_handler.migrations.live.demands import Demand, Loss, demands, names_in
from database_handler.migrations.live.standing import Live, expected_of, look_live
from database_handler.migrations.live.traffic import (
    Blocker,
    Replica,
    read_blockers,
    read_replicas,
    read_sizes,
)
from database_handler.migrations.live.violations import Question, question_of, what_goes
from database_handler.migrations.runner.locking import Kept
from database_handler.migrations.runner.running import FolderRun, connected
from database_handler.migrations.schema.differences import differences
from database_handler.migrations.schema.snapshot import Column, Kind, ObjectId
from database_handler.migrations.verdicts import Judged
from database_handler.utils.text import counted

__all__ = ["PreflightFinding", "PreflightReport", "TouchedTable", "preflight"]

T = TypeVar("T")
_EXCERPT = 100
_PATIENCE = 2.0  # seconds for a lock that another holds on a table to be counted

Severity = Literal["violation", "possible", "unknown", "loss"]


class PreflightFinding(BaseModel, frozen=True):
    """What a statement of a pending version will meet.

    Attributes
    ----------
    severity : {"violation", "possible", "unknown", "loss"}
        The statement fails on so many rows; it may, unless an earlier statement mends them; it could not be
        told, and `message` says why; or it is meant to, and so many rows or values are gone with it.
    asked : str
        ``not null``, ``check``, ``foreign key``, ``unique``, ``exclusion`` or ``type``; ``loss``.
    """

    severity: Severity
    version: str
    path: Path
    line: int
    statement: str
    table: str
    asked: str
    rows: int | None
    message: str


class TouchedTable(BaseModel, frozen=True):
    """A live table that the pending versions name: about how many rows it has, and its bytes with indexes."""

    name: str
    rows: int
    size_bytes: int
    versions: tuple[str, ...]


class PreflightReport(Judged, frozen=True):
    """What awaits the pending versions on this database, now.

    Attributes
    ----------
    blockers : tuple of Blocker
        Transactions that hold something on these tables, or are old: a lock would wait for them.
    replicas : tuple of Replica
        Who is fed from here, and how far behind: a rewrite is sent there as a whole.
    drift : tuple of str
        What of the live schema is not as its versions made it: the pending ones were tried without that.
    """

    verdicts: ClassVar = ("violated",)

    pending: tuple[str, ...]
    findings: tuple[PreflightFinding, ...] = ()
    tables: tuple[TouchedTable, ...] = ()
    blockers: tuple[Blocker, ...] = ()
    replicas: tuple[Replica, ...] = ()
    drift: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def violated(self) -> bool:
        """Whether a statement would fail on the rows that are there."""
        return any(found.severity == "violation" for found in self.findings)


def preflight(
    config: DatabaseConfig, runs: Sequence[FolderRun], reading: DatabaseConfig, *, timeout: float = 30.0
) -> PreflightReport:
    """Look for what awaits the pending versions.

    Parameters
    ----------
    reading : DatabaseConfig
        Where rows are counted: the database itself, or a standby of it.

    Raises
    ------
    MigrationFailed
        A pending version fails already where there are no rows: on the scratch copy.
    """
    began = time.monotonic()
    live = look_live(config, runs)
    live.check()
    pending = live.pending
    if not pending:
        return PreflightReport(pending=())
    asked = list(demands(config, live.applied, pending))
    with connected(config) as lease, connected(reading) as counting:
        looking, reader = _Looking(lease, live, timeout), _Looking(counting, live, timeout)
        sizes = looking.sizes(live.schema)
        named = _named(pending, sizes)
        report = PreflightReport(
            pending=tuple(each.name for each in pending),
            findings=tuple(found for each in asked if (found := reader.found(each))),
            tables=tuple(_touched(name, sizes[name], versions) for name, versions in named.items()),
            blockers=tuple(looking.at(lambda session: read_blockers(session, live.schema, list(named)))),
            replicas=tuple(looking.at(read_replicas)),
            drift=_drift(config, live),
        )
    return report.model_copy(update={"seconds": time.monotonic() - began})


def _drift(config: DatabaseConfig, live: Live) -> tuple[str, ...]:
    found = differences(expected_of(config, live).snapshot, live.snapshot)
    return tuple(f"{each.change} {each.kind} {each.name}" for each in found.items)


def _named(pending: Sequence[Migration], sizes: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """Return the live tables that the versions' texts name, each with those versions."""
    found: dict[str, tuple[str, ...]] = {}
    for migration in pending:
        for name in sorted(names_in(migration.text) & sizes.keys()) if not migration.is_python else ():
            found[name] = (*found.get(name, ()), migration.name)
    return dict(sorted(found.items()))


def _touched(name: str, size: tuple[int, int], versions: tuple[str, ...]) -> TouchedTable:
    return TouchedTable(name=name, rows=size[0], size_bytes=size[1], versions=versions)


class _Looking:
    """Looks at the live database, each time in a read-only transaction that may not take long."""

    def __init__(self, lease: Kept, live: Live, timeout: float) -> None:
        self._lease = lease
        self._server = live.snapshot.server_version
        self._there = live.snapshot.objects
        self._options = TransactionOptions(
            read_only=True, statement_timeout=timeout, lock_timeout=min(timeout, _PATIENCE)
        )

    def at(self, look: Callable[[Session], T]) -> T:
        with Transaction(lambda: self._lease, self._options) as session:
            return look(session)

    def sizes(self, schema: str | None) -> dict[str, tuple[int, int]]:
        try:
            return self.at(lambda session: read_sizes(session, schema))
        except DatabaseError:  # somebody has locked a table
            return self.at(lambda session: read_sizes(session, schema, estimated=True))

    def found(self, of: Demand | Loss) -> PreflightFinding | None:
        """Return what there is to say of a demand or a loss; None where no row is concerned."""
        return self._loss(of) if isinstance(of, Loss) else self._demanded(of)

    def _loss(self, loss: Loss) -> PreflightFinding | None:
        """Return how much goes; None where nothing is there, or where it is made of what stays."""
        kind = Kind.COLUMN if loss.column else Kind.TABLE
        there = self._there.get(ObjectId(kind, loss.table, loss.column or ""))
        if there is None or (isinstance(there, Column) and there.generated):
            return None
        question = what_goes(loss.table, loss.column, emptied=loss.emptied)
        rows, why = self._count(question)
        if rows is None:
            told = f"{question.message}: how many rows is not told ({why})"
            return _finding(loss, question.table, "unknown", None, told)
        holds = f" {'holds' if rows == 1 else 'hold'} a value" if loss.column else ""
        told = f"{question.message}: {counted(rows, 'row')}{holds}"
        return _finding(loss, question.table, "loss", rows, told) if rows else None

    def _count(self, question: Question) -> tuple[int | None, str]:
        """Return how many rows, or why that cannot be told."""
        if question.sql is None:
            return None, question.problem or ""
        statement = Statement(question.sql, "preflight.count")
        try:
            [rows] = self.at(lambda session: session.one(statement))
        except DatabaseError as error:
            return None, f"{type(error).__doc__}".rstrip(".")
        return rows, ""

    def _demanded(self, demand: Demand) -> PreflightFinding | None:
        """Return what the rows make of a demand; None where they meet it."""
        if demand.of_new_columns and demand.mended:
            return None  # what its rows will hold is for the versions to say
        question = question_of(demand.requirement, demand.before, demand.now, self._server)
        if question is None or ObjectId(Kind.TABLE, question.table) not in self._there:
            return None
        rows, why = self._count(question)
        if rows is None:
            told = f"{question.message}: not told ({why})"
            return _finding(demand, question.table, "unknown", None, told)
        if not rows:
            return None
        told = f"{question.message}: {rows:,}"
        if demand.mended:
            told += f"; {demand.mended} changes rows before that, and may mend them"
        severity: Severity = "possible" if demand.mended else "violation"
        return _finding(demand, question.table, severity, rows, told)


def _finding(
    of: Demand | Loss, table: str, severity: Severity, rows: int | None, told: str
) -> PreflightFinding:
    return PreflightFinding(
        severity=severity,
        version=of.migration.name,
        path=of.migration.path,
        line=of.line,
        statement=" ".join(of.statement.split())[:_EXCERPT],
        table=table,
        asked="loss" if isinstance(of, Loss) else of.requirement.asked.value,
        rows=rows,
        message=told,
    )
