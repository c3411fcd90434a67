"""`MigrationManager`: where a database stands, up, down, and all that keeps files, models and database one.

Every call returns a value. Files and history are checked before anything is sent that changes a thing. A
database at its head is left after one SELECT, without a lock, so that any number of processes may call
`migrate` as they start. What each method does is in the module that it names; those load when first used.

It is one module, over 300 lines, because it is the one list of what can be asked of versions.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from database_handler.config.database import DatabaseConfig
from database_handler.core.base_model import Record
from database_handler.core.exceptions import InvalidValue
from database_handler.core.session import Session
from database_handler.core.transaction import Autocommit
from database_handler.migrations.errors import MigrationFailed
from database_handler.migrations.files.chain import Chain, Folder
from database_handler.migrations.files.migration import Migration
from database_handler.migrations.files.planning import (
    Applied,
    Step,
    has_another_down,
    plan_down,
    plan_up,
    state_of,
)
from database_handler.migrations.reports import (
    MigrationItem,
    MigrationReport,
    MigrationStatus,
)
from database_handler.migrations.runner.applying import LockRetries
from database_handler.migrations.runner.heads import NOTHING, Standing, standing_of, unless_newer
from database_handler.migrations.runner.history import History
from database_handler.migrations.runner.locking import Kept
from database_handler.migrations.runner.recording import head_of
from database_handler.migrations.runner.running import FolderRun, Plan, RunOptions, connected
from database_handler.utils.arguments import checked

if TYPE_CHECKING:  # imported by the methods that need them
    from database_handler.migrations.generation.checking import Checked, Verified
    from database_handler.migrations.generation.generating import Generated
    from database_handler.migrations.generation.squashing import Squashed
    from database_handler.migrations.live.adopting import Adopted
    from database_handler.migrations.live.baseline import BaselineReport
    from database_handler.migrations.live.comparing import Comparison
    from database_handler.migrations.live.drift import DriftReport
    from database_handler.migrations.live.linting import LintReports
    from database_handler.migrations.live.lock_file import Locked
    from database_handler.migrations.live.preflight import PreflightReport
    from database_handler.migrations.runner.many_schemas import SchemaOutcome, SchemasReport

__all__ = ["APPLICATION_HISTORY", "OWN_HISTORY", "OWN_VERSIONS", "HasConfig", "MigrationManager"]

OWN_VERSIONS = Path(__file__).parent / "versions"
OWN_HISTORY = "database_handler_migrations"
APPLICATION_HISTORY = "application_migrations"

Target = str | int | None


@runtime_checkable
class HasConfig(Protocol):
    """Anything that knows how to reach its database, such as a `Database`.

    One that has `versions` (not None) brings its `models` and `history_table` too.
    """

    @property
    def config(self) -> DatabaseConfig:
        """How to reach it."""
        ...


class MigrationManager:
    """Runs, makes and checks a folder of versions for one database; keeps no connection between calls.

    Without `versions` it is this library's own folder. With `versions` and `models` it is an application's,
    on top of the library's: `migrate` brings that to its head first, and the models may refer to its
    tables. With `versions` alone it is that folder and nothing else.

    Parameters
    ----------
    database : DatabaseConfig, str, or anything with a `config`
        Where; `config.migration_url` (DB_MIGRATION_URL) goes before the rest when it is set. An
        application's `Database` brings its versions and models along.
    versions : path, optional
        Another folder than this library's own. Its history table is ``application_migrations``.
    models : sequence of Record classes, optional
        The entities that the folder's tables belong to.
    history_table : str, optional
        The history's name, where a database has several folders.
    lock_wait : float
        Seconds to wait for another run to end.
    lock_timeout : float
        Seconds that a transaction waits for a table's lock before it gives way and tries again.
    lock_attempts : int
        How often it tries.
    concurrent_deadline : float
        Seconds that a CREATE INDEX CONCURRENTLY, or the like, may take.
    """

    @checked
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
        concurrent_deadline: float = 3600.0,
    ) -> None:
        given = _config_of(database)
        if versions is None and models is None:
            versions = getattr(database, "versions", None)
            models = getattr(database, "models", ()) if versions is not None else None
            history_table = history_table or getattr(database, "history_table", None)
        self.config = given.for_migrations()
        self.versions = OWN_VERSIONS if versions is None else Path(versions)
        self.models = tuple(models or ())
        self._on_library = versions is not None and models is not None
        own = _is_own(self.versions)
        usual = OWN_HISTORY if own else APPLICATION_HISTORY
        self.history_table = usual if history_table is None else history_table
        History(self.history_table)  # refuses a name that cannot be one
        self._options = RunOptions(
            lock_wait=lock_wait,
            retries=LockRetries(lock_timeout, lock_attempts, concurrent_deadline),
            pooled=given.pgbouncer and given.migration_url is None,
        )

    @property
    def chain(self) -> Chain:
        """The folders that make the schema, in order, read anew; the last one is this manager's."""
        own = Folder(self.versions, self.history_table, self.models or _own_models(self.versions))
        return Chain((*self._below(), own))

    def _below(self) -> tuple[Folder, ...]:
        return (Folder(OWN_VERSIONS, OWN_HISTORY, _own_models(OWN_VERSIONS)),) if self._on_library else ()

    @checked
    def runs(self, config: DatabaseConfig | None = None) -> list[FolderRun]:
        """Return the folders with the database that they are run against, files not read yet."""
        own = Folder(self.versions, self.history_table)
        below = [Folder(OWN_VERSIONS, OWN_HISTORY)] if self._on_library else []
        return [FolderRun(config or self.config, folder, self._options) for folder in (*below, own)]

    # ---------------------------------------------------------------------------------------- where it stands

    def status(self) -> MigrationStatus:
        """Say how every version stands, applied, pending, changed, missing or partial: one SELECT a history.

        Raises
        ------
        MigrationError
            The files alone are wrong; what the history says of them is in the value.
        """
        runs = self.runs()
        files = [run.files for run in runs]
        with connected(self.config) as lease:
            session = Autocommit(lambda: lease).session
            histories = [run.history(session) for run in runs]
        items = (
            item
            for run, migrations, history in zip(runs, files, histories, strict=True)
            for item in _items(run.table, migrations, history)
        )
        notes = tuple(note for run in runs if (note := run.folder.note))
        return MigrationStatus(items=tuple(items), head=head_of(histories[-1]), notes=notes)

    def own_status(self) -> MigrationStatus:
        """Say how this manager's own versions stand, without those of the library below them."""
        found = self.status()
        own = tuple(item for item in found.items if item.history == self.history_table)
        return MigrationStatus(items=own, head=found.head, notes=found.notes)

    @checked
    def heads(self, session: Session) -> tuple[str | None, str | None]:
        """Return the newest version that is applied, asked through `session`, and the newest there is.

        They are this library's where that lags behind below an application.
        """
        applied = expected = None
        for run in self.runs():
            migrations = run.files
            applied, expected = head_of(run.history(session)), migrations[-1].name if migrations else None
            if applied != expected:
                break
        return applied, expected

    @checked
    def standing(self, session: Session) -> Standing:
        """Say, asked through `session`, whether the database is behind what this release expects, or newer.

        Its heads are this library's where that lags behind below an application.
        """
        found = [NOTHING]
        for run in self.runs():
            found.append(standing_of(run.files, run.history(session)))
            if found[-1].behind:
                return found[-1]
        return replace(found[-1], newer=any(each.newer for each in found))

    # -------------------------------------------------------------------------------------------- up and down

    @checked
    def migrate(
        self, target: Target = None, dry_run: bool = False, *, or_newer: bool = False
    ) -> MigrationReport:
        """Apply what is pending, up to and with `target`.

        Parameters
        ----------
        target : str or int, optional
            A version's name or number.
        dry_run : bool
            Run nothing; `planned` holds what would be run, with its locks as measured on a scratch copy.
        or_newer : bool
            Leave a database alone that a newer release has migrated further, as a process of the older one
            finds it that starts during a rolling deployment. Otherwise that is a `MissingMigration`.

        Raises
        ------
        MigrationError
            One of its kinds; all but `MigrationFailed` are found before anything runs.
        """
        runs = self.runs()
        plans: list[Plan] = [plan_up for _ in runs]
        plans[-1] = lambda files, history: plan_up(files, history, target)
        plans = [unless_newer(plan) for plan in plans] if or_newer else plans
        return self._planned(runs, plans) if dry_run else self._run(runs, plans)

    @checked
    def rollback(self, steps: int = 1, target: Target = None, dry_run: bool = False) -> MigrationReport:
        """Undo the last `steps` versions, or all that come after `target` (0 stands for before the first).

        Of an application, its own versions only.

        Raises
        ------
        MigrationError
            `IrreversibleMigration` before anything runs, and the kinds that `migrate` raises.
        """
        runs = self.runs()[-1:]
        plans: list[Plan] = [lambda files, history: plan_down(files, history, steps, target)]
        return self._planned(runs, plans) if dry_run else self._run(runs, plans)

    @checked
    def migrate_schemas(
        self,
        pattern: str,
        *,
        target: Target = None,
        jobs: int = 4,
        progress: "Callable[[SchemaOutcome, int, int], object] | None" = None,
    ) -> "SchemasReport":
        """Bring every schema whose name is LIKE `pattern` to the newest version, or to `target`.

        Each has a history of its own; one that fails does not stop the others.

        Parameters
        ----------
        jobs : int
            So many at a time.
        progress : callable, optional
            Called with each outcome, how many are done, and how many there are.
        """
        from database_handler.migrations.runner.many_schemas import migrate_schemas

        def migrate(config: DatabaseConfig) -> MigrationReport:
            return self._at(config).migrate(target)

        return migrate_schemas(self.config, pattern, migrate, jobs=jobs, progress=progress)

    def _at(self, config: DatabaseConfig) -> "MigrationManager":
        there = copy(self)
        there.config = config
        return there

    def _run(self, runs: Sequence[FolderRun], plans: Sequence[Plan]) -> MigrationReport:
        started = time.monotonic()
        done: list[Step] = []
        head = None
        for run in runs:
            _ = run.files  # all files are found sound before anything runs
        try:
            with connected(self.config) as lease:
                for run, plan in zip(runs, plans, strict=True):
                    head = run.run(lease, plan, done)
        except MigrationFailed as failed:
            failed.after(_names(done, "up"), _names(done, "down"))
            raise
        return MigrationReport(
            applied=_names(done, "up"),
            rolled_back=_names(done, "down"),
            head=head,
            seconds=time.monotonic() - started,
        )

    def _planned(self, runs: Sequence[FolderRun], plans: Sequence[Plan]) -> MigrationReport:
        from database_handler.migrations.safety.planned import planned

        started = time.monotonic()
        steps: list[Step] = []
        head = None
        with connected(self.config) as lease:
            for run, plan in zip(runs, plans, strict=True):
                history = self._history(lease, run)
                head = head_of(history)
                steps += plan(run.files, history)
            applied = self._applied(lease)
        return MigrationReport(
            planned=planned(self.config, applied, steps) if steps else (),
            head=head,
            seconds=time.monotonic() - started,
        )

    def _applied(self, lease: Kept) -> list[Migration]:
        """Return the versions of every folder that are applied as a whole."""
        found: list[Migration] = []
        for run in self.runs():
            rows = {row.name for row in self._history(lease, run) if row.progress is None}
            found += (file for file in run.files if file.name in rows)
        return found

    @staticmethod
    def _history(lease: Kept, run: FolderRun) -> tuple[Applied, ...]:
        return run.history(Autocommit(lambda: lease).session)

    # --------------------------------------------------------------------------------------- models and files

    @checked
    def generate(self, message: str, *, drop: Mapping[str, str] | None = None) -> "Generated":
        """Write the version that makes of the files' schema what the models say, proven on scratch copies.

        Parameters
        ----------
        message : str
            What it does, in a few words: the file's name is made of them.
        drop : mapping, optional
            What may be dropped, and why: ``{"notes.body": "moved to documents"}``.

        Raises
        ------
        DecisionNeeded
            Something would be lost, or looks renamed, and nothing says so; the message is what to write.
        ProofFailed
            The file would not do what it is for; none was written.
        """
        from database_handler.migrations.generation.generating import generate

        return generate(self.config, self.chain, message, drop=drop)

    def check(self) -> "Checked":
        """Say whether the models have changes that no version makes; nothing is written."""
        from database_handler.migrations.generation.checking import check

        return check(self.config, self.chain)

    def verify(self) -> "Verified":
        """Play the whole chain on a scratch copy: it makes what the models say, and every down restores."""
        from database_handler.migrations.generation.checking import verify

        return verify(self.config, self.chain)

    @checked
    def squash(self, upto: str | int) -> "Squashed":
        """Write one file in the place of the versions up to `upto`, proven to make the same schema."""
        from database_handler.migrations.generation.squashing import squash

        numbered = isinstance(upto, str) and upto.isascii() and upto.isdigit()
        return squash(self.config, self.chain, int(upto) if numbered else upto)

    def lock(self) -> "Locked":
        """Write `versions.lock` anew, for files that were written or changed by hand.

        Raises
        ------
        ChangedMigration, MissingMigration
            This database has applied a version that is not what it was; nothing was written.
        """
        from database_handler.migrations.live.lock_file import renew_lock

        return renew_lock(self.config, self.runs()[-1])

    @checked
    def lint(self, paths: Iterable[str | Path] = (), *, sizes: bool = False) -> "LintReports":
        """Tell which statements would lock, rewrite or lose more than they need to.

        Parameters
        ----------
        paths : iterable of path, optional
            Files; what is pending when left out.
        sizes : bool
            Let the rows of the live tables count: what waits for a small table is only noted.
        """
        from database_handler.migrations.live.linting import lint_versions

        return lint_versions(self.config, self.runs(), [Path(path) for path in paths], sizes=sizes)

    # -------------------------------------------------------------------------------------- the live database

    def drift(self) -> "DriftReport":
        """Compare the live schema with what was recorded for its version, object by object."""
        from database_handler.migrations.live.drift import drift

        return drift(self.config, self.runs())

    @checked
    def adopt(
        self,
        message: str,
        *,
        renamed: Mapping[str, str] | None = None,
        drop: Mapping[str, str] | None = None,
        backfill: Mapping[str, str] | None = None,
    ) -> "Adopted":
        """Write the version that makes what has drifted part of the files; here it counts as applied.

        Parameters
        ----------
        renamed, drop, backfill : mapping, optional
            What other databases need to know, by ``table`` or ``table.column``: the new name, why it may be
            dropped, the SQL for rows that are there.

        Raises
        ------
        DecisionNeeded
            One of these is wanted; the message says which.
        """
        from database_handler.migrations.live.adopting import Wishes, adopt

        wishes = Wishes(renamed or {}, drop or {}, backfill or {})
        return adopt(self.config, self.runs, message, wishes)

    @checked
    def compare(self, other: "DatabaseConfig | HasConfig | str") -> "Comparison":
        """Compare with another database: the versions of each, and the difference of their schemas."""
        from database_handler.migrations.live.comparing import compare

        config = _config_of(other).for_migrations()
        return compare(self.config, self.runs(), config, self.runs(config))

    @checked
    def preflight(
        self, *, timeout: float = 30.0, read_from: "DatabaseConfig | HasConfig | str | None" = None
    ) -> "PreflightReport":
        """Look, without a lock, for what would make the pending versions fail or wait: rows, sizes, blockers.

        Parameters
        ----------
        timeout : float
            Seconds that each look at a table may take.
        read_from : DatabaseConfig, str, or anything with a `config`, optional
            A standby of the database, on which the rows are counted in its place.
        """
        from database_handler.migrations.live.preflight import preflight

        reading = self.config if read_from is None else _config_of(read_from)
        return preflight(self.config, self.runs(), reading, timeout=timeout)

    @checked
    def baseline(self, version: str | int, *, allow_differences: bool = False) -> "BaselineReport":
        """Record the versions up to `version` as applied, in a database that has their schema already.

        Raises
        ------
        SchemaDiffers
            It has another schema; the message is the difference.
        """
        from database_handler.migrations.live.baseline import baseline

        return baseline(self.config, self.runs, version, allow_differences=allow_differences)

    @checked
    def write_baseline(self, message: str = "baseline") -> "BaselineReport":
        """Write the first version of an empty folder out of the live schema; here it counts as applied."""
        from database_handler.migrations.live.baseline import write_baseline

        return write_baseline(self.config, self.runs, message)


def _names(steps: Sequence[Step], direction: str) -> tuple[str, ...]:
    return tuple(step.migration.name for step in steps if step.direction == direction)


def _config_of(database: DatabaseConfig | HasConfig | str) -> DatabaseConfig:
    if isinstance(database, str):
        return DatabaseConfig.from_url(database)
    return database if isinstance(database, DatabaseConfig) else database.config


def _is_own(versions: Path) -> bool:
    try:
        return versions.resolve() == OWN_VERSIONS.resolve()
    except (OSError, ValueError):
        pass
    raise InvalidValue("versions: no folder has such a path")


def _own_models(versions: Path) -> tuple[type[Record], ...]:
    """Return this library's entities where the folder is its own; a plain folder has no models."""
    if not _is_own(versions):
        return ()
    from database_handler.models import ENTITIES

    return tuple(ENTITIES)


def _items(
    table: str, migrations: Sequence[Migration], history: Sequence[Applied]
) -> Iterator[MigrationItem]:
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
            history=table,
            origin=row.origin if row else "run",
            progress=row.progress.told if row and row.progress else None,
            another_down=bool(migration and row and has_another_down(migration, row)),
        )
