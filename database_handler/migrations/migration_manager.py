"""`MigrationManager`: where a database stands, up, and down; every call returns a value.

Files and history are checked before anything is sent that changes a thing. A database at its head is left
after one SELECT, without a lock, so that any number of processes may call `migrate` as they start.
"""

import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel

from database_handler.config.database import DatabaseConfig
from database_handler.core.base_model import Record
from database_handler.core.connection import dedicated
from database_handler.core.session import Session
from database_handler.core.transaction import Autocommit
from database_handler.migrations.applying import Applier, LockRetries
from database_handler.migrations.errors import PoolerInTheWay
from database_handler.migrations.history import History
from database_handler.migrations.locking import Kept, acquire
from database_handler.migrations.migration import Migration, read_folder
from database_handler.migrations.planning import (
    Applied,
    State,
    Step,
    check_files,
    plan_down,
    plan_up,
    read_lock,
    state_of,
)

__all__ = ["MigrationItem", "MigrationManager", "MigrationReport", "MigrationStatus", "PlannedMigration"]

OWN_VERSIONS = Path(__file__).parent / "versions"
OWN_HISTORY = "database_handler_migrations"
APPLICATION_HISTORY = "application_migrations"
LOCK_FILE = "versions.lock"


class HasConfig(Protocol):
    """Anything that knows how to reach its database."""

    @property
    def config(self) -> DatabaseConfig:
        """How to reach it."""
        ...


class MigrationItem(BaseModel, frozen=True):
    """One version: its file against its row of the history."""

    number: int
    name: str
    state: State
    reversible: bool
    applied_at: dt.datetime | None = None
    applied_by: str | None = None
    duration: dt.timedelta | None = None
    library_version: str | None = None


class MigrationStatus(BaseModel, frozen=True):
    """Every version in order, and the name of the last one that is applied."""

    items: tuple[MigrationItem, ...]
    head: str | None

    @property
    def pending(self) -> tuple[str, ...]:
        """The names of what `migrate` would run."""
        return tuple(item.name for item in self.items if item.state in {"pending", "partial"})

    @property
    def at_head(self) -> bool:
        """Whether all that there is, is applied, and unchanged."""
        return all(item.state == "applied" for item in self.items)


class PlannedMigration(BaseModel, frozen=True):
    """What a dry run found to do: a version and the SQL that would be sent for it."""

    name: str
    sql: str


class MigrationReport(BaseModel, frozen=True):
    """What a run did, in the order in which it was done."""

    applied: tuple[str, ...] = ()
    rolled_back: tuple[str, ...] = ()
    planned: tuple[PlannedMigration, ...] = ()
    head: str | None = None
    seconds: float = 0.0

    @property
    def changed(self) -> bool:
        """Whether anything was run; False means that the database already stood there."""
        return bool(self.applied or self.rolled_back)


Plan = Callable[[Sequence[Migration], Sequence[Applied]], list[Step]]


class MigrationManager:
    """Runs a folder of versions against one database; keeps no connection between calls.

    Parameters
    ----------
    database : DatabaseConfig, str, or anything with a `config`
        Where; `config.migration_url` (DB_MIGRATION_URL) goes before the rest when it is set.
    versions : path, optional
        Another folder than this library's own. Its history table is ``application_migrations``.
    models : sequence of Record classes, optional
        The entities that the folder's tables belong to; kept as `models`.
    history_table : str, optional
        The history's name, where a database has several folders.
    lock_wait : float
        Seconds to wait for another run to end.
    lock_timeout : float
        Seconds that a transaction waits for a table's lock before it gives way and tries again.
    lock_attempts : int
        How often it tries.
    """

    def __init__(
        self,
        database: DatabaseConfig | HasConfig | str,
        versions: str | Path | None = None,
        models: Sequence[type[Record]] | None = None,
        *,
        history_table: str | None = None,
        lock_wait: float = 60.0,
        lock_timeout: float = 2.0,
        lock_attempts: int = 30,
    ) -> None:
        given = _config_of(database)
        self._pooled = given.pgbouncer and given.migration_url is None
        self.config = given.for_migrations()
        self.versions = OWN_VERSIONS if versions is None else Path(versions)
        self.models = tuple(models or ())
        own = self.versions.resolve() == OWN_VERSIONS.resolve()
        usual = OWN_HISTORY if own else APPLICATION_HISTORY
        self.history_table = usual if history_table is None else history_table
        self._history = History(self.history_table)
        self._lock_wait = lock_wait
        self._retries = LockRetries(lock_timeout, lock_attempts)

    def status(self) -> MigrationStatus:
        """Say how every version stands, applied, pending, changed, missing or partial, in one SELECT.

        Raises
        ------
        MigrationError
            The files alone are wrong; what the history says of them is in the value.
        """
        migrations = self._files()
        with self._connected() as lease:
            history = self._read(lease)
        return MigrationStatus(items=tuple(_items(migrations, history)), head=_head(history))

    def migrate(self, target: str | int | None = None, dry_run: bool = False) -> MigrationReport:
        """Apply what is pending, up to and with `target`.

        Parameters
        ----------
        target : str or int, optional
            A version's name or number.
        dry_run : bool
            Run nothing; `planned` holds what would be run.

        Raises
        ------
        MigrationError
            One of its kinds; all but `MigrationFailed` are found before anything runs.
        """
        return self._run(lambda files, history: plan_up(files, history, target), dry_run=dry_run)

    def rollback(self, steps: int = 1, target: str | int | None = None) -> MigrationReport:
        """Undo the last `steps` versions, or all that come after `target` (0 stands for before the first).

        Raises
        ------
        MigrationError
            `IrreversibleMigration` before anything runs, and the kinds that `migrate` raises.
        """
        return self._run(lambda files, history: plan_down(files, history, steps, target))

    def heads(self, session: Session) -> tuple[str | None, str | None]:
        """Return the newest version that is applied, asked through `session`, and the newest there is."""
        migrations = self._files()
        return _head(self._history.read(session) or ()), migrations[-1].name if migrations else None

    def _run(self, plan: Plan, *, dry_run: bool = False) -> MigrationReport:
        started = time.monotonic()
        migrations = self._files()
        with self._connected() as lease:
            history = self._read(lease)
            steps = plan(migrations, history)
            if dry_run:
                return MigrationReport(planned=tuple(map(_planned, steps)), head=_head(history))
            done: list[Step] = []
            if steps:
                done = self._locked(lease, migrations, plan)
                history = self._read(lease)
        return MigrationReport(
            applied=tuple(step.migration.name for step in done if step.direction == "up"),
            rolled_back=tuple(step.migration.name for step in done if step.direction == "down"),
            head=_head(history),
            seconds=time.monotonic() - started,
        )

    def _locked(self, lease: Kept, migrations: Sequence[Migration], plan: Plan) -> list[Step]:
        if self._pooled:
            raise PoolerInTheWay(
                "versions are pending, and its settings say that a pooler lies between, where no lock can "
                "be held: set migration_url to the server's own address; nothing was run"
            )
        held = acquire(lease, self.config, self.history_table, wait=self._lock_wait)
        session = Autocommit(lambda: lease).session
        history = History(self.history_table, held.schema)
        rows = history.read(session)
        steps = plan(migrations, rows or ())  # again: another run may have ended while this one waited
        if steps and rows is None:
            history.create(session)
        applier = Applier(lease, self.config, history, held, self._retries)
        for step in steps:
            applier.run(step)
        return steps

    def _files(self) -> tuple[Migration, ...]:
        migrations = read_folder(self.versions)
        lock = self.versions / LOCK_FILE
        check_files(migrations, read_lock(lock, lock.read_text("utf-8")) if lock.exists() else None)
        return migrations

    def _read(self, lease: Kept) -> tuple[Applied, ...]:
        return self._history.read(Autocommit(lambda: lease).session) or ()

    @contextmanager
    def _connected(self) -> Iterator[Kept]:
        lease = dedicated(self.config, purpose="migrations")
        try:
            yield Kept(lease)
        finally:
            lease.release()  # and with the connection the lock goes


def _config_of(database: DatabaseConfig | HasConfig | str) -> DatabaseConfig:
    if isinstance(database, str):
        return DatabaseConfig.from_url(database)
    return database if isinstance(database, DatabaseConfig) else database.config


def _head(history: Sequence[Applied]) -> str | None:
    return next((row.name for row in reversed(history) if row.progress is None), None)


def _planned(step: Step) -> PlannedMigration:
    return PlannedMigration(name=step.migration.name, sql=step.migration.script(step.direction, step.done))


def _items(migrations: Sequence[Migration], history: Sequence[Applied]) -> Iterator[MigrationItem]:
    files = {migration.name: migration for migration in migrations}
    rows = {row.name: row for row in history}
    numbers = {migration.name: migration.number for migration in migrations} | {
        row.name: row.number for row in history
    }
    for name in sorted(numbers, key=lambda name: (numbers[name], name)):
        migration, row = files.get(name), rows.get(name)
        yield MigrationItem(
            number=numbers[name],
            name=name,
            state=state_of(migration, row),
            reversible=migration is not None and migration.reversible,
            applied_at=row and row.applied_at,
            applied_by=row and row.applied_by,
            duration=row and row.duration,
            library_version=row and row.library_version,
        )
