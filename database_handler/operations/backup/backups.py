"""`Backups`: those of one database in one place. It makes, lists, verifies, prunes and restores them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from database_handler.config.database import DatabaseConfig
from database_handler.content.store import uri_of
from database_handler.core.base_model import Record
from database_handler.core.deadline import Deadline, checked_seconds
from database_handler.core.exceptions import InvalidValue
from database_handler.core.quoting import LONGEST_NAME
from database_handler.core.session import Session
from database_handler.operations.backup import creating, restoring
from database_handler.operations.backup.creating import Order, Progress, check, connected, in_time
from database_handler.operations.backup.databases import SCRATCH, Scratch, databases, exists, swap
from database_handler.operations.backup.errors import (
    BackupNotFound,
    OtherDatabase,
    RestoreFailed,
    TargetExists,
)
from database_handler.operations.backup.facts import Heads, server_facts
from database_handler.operations.backup.place import BackupPlace
from database_handler.operations.backup.pruning import prune
from database_handler.operations.backup.restoring import Owners, Restoring
from database_handler.operations.backup.retention import Retention
from database_handler.operations.backup.traits import read_traits
from database_handler.operations.backup.values import (
    Backup,
    DumpFormat,
    FoundBackup,
    Manifest,
    Pruned,
    Restored,
    Verified,
)
from database_handler.repositories.files import owner_of
from database_handler.utils.arguments import checked

if TYPE_CHECKING:
    from database_handler.content.store import FileStore

__all__ = ["Backups", "Source"]

DAY = 86_400.0  # seconds: nobody waits longer for a backup, and a stuck one must end by itself


def _silent(doing: str, done: int, total: int) -> None:
    pass


def _no_heads(_: Session) -> dict[str, str | None]:
    return {}


@dataclass(frozen=True)
class Source:
    """What backups are taken of, and restored to.

    Attributes
    ----------
    store : callable
        Gives the file store of the rows' originals; called only where originals are wanted.
    version : str
        Of the library, for the manifest.
    heads : callable
        Gives the newest applied migrations.
    migrate : callable
        Brings a database to the newest version.
    """

    config: DatabaseConfig
    store: "Callable[[], FileStore] | None" = None
    records: tuple[type[Record], ...] = ()
    version: str = ""
    heads: Heads = _no_heads
    migrate: Callable[[DatabaseConfig], object] = field(default=lambda _: None)


class Backups:
    """The backups of a database in one place; ``db.backups(place)`` gives them.

    Parameters
    ----------
    place : str or Path
        A folder, which is made when it is first needed, or a URL that fsspec reads, such as
        ``s3://bucket/prefix`` (the ``storage`` extra).
    options : mapping, optional
        What fsspec gives to the file system; not for a folder.
    programs : Path, optional
        The folder of pg_dump and pg_restore; found by the server's version when left out.
    """

    def __init__(
        self,
        source: Source,
        place: str | Path,
        options: Mapping[str, Any] | None = None,
        *,
        programs: str | Path | None = None,
    ) -> None:
        self._source = source
        self._place = BackupPlace(place, options)
        self._programs = None if programs is None else Path(programs)

    def __repr__(self) -> str:
        return f"Backups({self._place.url!r})"

    # ----------------------------------------------------------------------------------------------- making

    @checked
    def create(
        self,
        *,
        format: DumpFormat = "custom",
        jobs: int = 1,
        files: bool = True,
        timeout: float | None = DAY,
        lock_timeout: float = 60.0,
        on_progress: Progress = _silent,
    ) -> Backup:
        """Make a backup: rows, schema and originals of one moment, while others go on working.

        Parameters
        ----------
        format : {"custom", "directory"}
            One stream, or a file for each table, which several `jobs` can write at a time.
        files : bool
            Whether the originals in the file store are kept too.
        timeout : float, optional
            Seconds for all of it; None for no limit.
        lock_timeout : float
            Seconds that pg_dump waits for a table which somebody holds against readers.
        on_progress : callable, optional
            Called with what is done, how much of it, and how much there is.

        Raises
        ------
        PermissionDenied
            The role may not see every row.
        ProgramMissing, BackupPlaceUnusable, NoSpaceLeft, BackupTimeout, BackupFailed
            Nothing stands under the backup's name.
        """
        _whole("jobs", jobs, 256)
        if format not in ("custom", "directory"):
            raise InvalidValue('format is "custom" or "directory"')
        checked_seconds("timeout", timeout)
        checked_seconds("lock_timeout", lock_timeout)
        order = Order(format, jobs, timeout, lock_timeout, self._programs)
        return creating.create(
            self._source.config.for_migrations(),  # a pooler keeps no snapshot
            self._place,
            order,
            heads=self._source.heads,
            records=self._source.records,
            store=self._source.store() if files and self._source.store else None,
            version=self._source.version,
            on_progress=on_progress,
        )

    # ---------------------------------------------------------------------------------------------- looking

    def list(self) -> tuple[FoundBackup, ...]:
        """Return what lies in the place, the oldest first: complete, incomplete and damaged ones."""
        return tuple(self._place.found())

    @checked
    def manifest(self, name: str | None = None) -> Manifest:
        """Return the manifest of one backup, or of this database's newest complete one.

        Raises
        ------
        BackupNotFound, BackupIncomplete, BackupDamaged
        """
        if name is not None:
            return self._place.manifest(name)
        database = self._source.config.name
        good = [each.manifest for each in self.list() if each.state == "complete" and each.manifest]
        own = [each for each in good if each.database == database]
        if not own:
            others = sorted({each.database for each in good})
            told = f"; there are some of {', '.join(others[:5])}: name one" if others else ""
            raise BackupNotFound(f"no complete backup of {database} lies in {self._place.url}{told}")
        return own[-1]

    @checked
    def verify(
        self,
        name: str | None = None,
        *,
        jobs: int = 1,
        server: DatabaseConfig | str | None = None,
        timeout: float | None = DAY,
        on_progress: Progress = _silent,
    ) -> Verified:
        """Restore a backup into a scratch database, compare rows and schema, and drop it; read the originals.

        Parameters
        ----------
        name : str, optional
            The newest of this database when left out.
        server : DatabaseConfig or str, optional
            Where the scratch database is made: this database's own server when left out.

        Raises
        ------
        BackupDamaged, BackupIncomplete, ServerTooOld, RestoreFailed, BackupTimeout
        """
        manifest = self.manifest(name)
        config = _config(server) or self._source.config.for_migrations()
        return restoring.verify(self._restoring(config, jobs, timeout, on_progress), manifest)

    def _restoring(
        self, config: DatabaseConfig, jobs: int, timeout: float | None, on_progress: Progress
    ) -> Restoring:
        _whole("jobs", jobs, 256)
        checked_seconds("timeout", timeout)
        return Restoring(config, self._place, jobs, Deadline(timeout), self._programs, on_progress)

    # ---------------------------------------------------------------------------------------------- pruning

    @checked
    def prune(self, *, daily: int = 7, weekly: int = 4, monthly: int = 12, dry_run: bool = False) -> Pruned:
        """Remove the backups that no day, week or month (UTC) keeps, and what was left unfinished.

        The newest complete backup of each database is always kept. Originals go that no backup needs.

        Parameters
        ----------
        daily, weekly, monthly : int
            Of the last so many days, ISO weeks and months that have a backup, each keeps its newest.
        """
        return prune(self._place, Retention(daily, weekly, monthly), datetime.now(UTC), dry_run=dry_run)

    # -------------------------------------------------------------------------------------------- restoring

    @checked
    def restore(
        self,
        name: str | None = None,
        *,
        into: str | None = None,
        replace: bool = False,
        drop_old: bool = False,
        other_database: bool = False,
        owners: bool | None = None,
        files: bool = True,
        migrate: bool = False,
        jobs: int = 1,
        timeout: float | None = DAY,
        on_progress: Progress = _silent,
    ) -> Restored:
        """Restore a backup into a new database, or, when told to, in the place of this one.

        It is restored under another name and compared with its manifest first; only then is it named.

        Parameters
        ----------
        name : str, optional
            The newest of this database when left out.
        into : str, optional
            The new database's name; it must not be there.
        replace : bool
            Take the place of this database, in one transaction: its sessions are ended, and it is kept as
            ``NAME_before_TIME``, or dropped with `drop_old`.
        other_database : bool
            Let `replace` take a backup of another database or cluster.
        owners : bool, optional
            Restore owners and rights too. Left out: where the server has all the roles.
        files : bool
            Put originals back that the file store does not have.
        migrate : bool
            Bring it to the newest version before it is named.

        Raises
        ------
        TargetExists, OtherDatabase, ServerTooOld
            Before anything is done.
        BackupDamaged, RestoreFailed, BackupTimeout
            What was restored is dropped; a database that was to be replaced stands as it was.
        """
        live = self._source.config.name
        _check_target(into, replace=replace, drop_old=drop_old)
        manifest = self.manifest(name)
        config = self._source.config.for_migrations()
        work = self._restoring(config, jobs, timeout, on_progress)
        began = monotonic()
        kept = self._before(work, manifest, into, other_database=other_database, owners=owners)
        with in_time(work.deadline), work.scratch(manifest, owners=kept.kept) as scratch:
            restored = self._compared(scratch, work, manifest, kept)
            if migrate:
                self._source.migrate(scratch.config)
            head = self._head(scratch, work.deadline)
            count = self._put_back(scratch, manifest, work, wanted=files)
            old = None
            if into is not None:
                scratch.rename(into)
            else:
                old = self._replace(scratch, live, kept, drop_old=drop_old, deadline=work.deadline)
        return restored.model_copy(
            update={"database": into or live, "head": head, "files": count, "kept_as": old}
            | {"seconds": round(monotonic() - began, 3)}
        )

    def _before(
        self,
        work: Restoring,
        manifest: Manifest,
        into: str | None,
        *,
        other_database: bool,
        owners: bool | None,
    ) -> Owners:
        """Refuse what can be refused before anything is done."""
        with databases(work.config, work.deadline) as session:
            server = server_facts(session)
            restoring.refuse_older_server(manifest, server.major)
            if into is not None and exists(session, into):
                raise TargetExists(
                    f"there is a database {into} already: choose another name, or replace it (--replace) "
                    "with its own settings; nothing was done"
                )
            if into is None:
                live = self._source.config.name
                if not exists(session, live):
                    raise TargetExists(
                        f"there is no database {live} to be replaced: restore into it (--into {live}); "
                        "nothing was done"
                    )
                if not other_database:
                    _refuse_another(manifest, live, server.system_identifier)
            return restoring.owners_of(session, manifest, owners)

    def _compared(self, scratch: Scratch, work: Restoring, manifest: Manifest, owners: Owners) -> Restored:
        found, rows, _ = restoring.differences(scratch.config, manifest, work.deadline)
        if found:
            raise RestoreFailed(
                f"{manifest.name} was restored, and is not as its manifest says "
                f"({restoring.told(found[:5])}); it is dropped again"
            )
        return Restored(
            name=manifest.name,
            database=scratch.name,
            tables=len(rows),
            rows=sum(rows.values()),
            owners=owners.kept,
            absent_roles=owners.absent,
            missing=manifest.missing,
            seconds=0,
        )

    def _head(self, scratch: Scratch, deadline: Deadline) -> str | None:
        with connected(scratch.config, deadline) as session:
            heads = self._source.heads(session)
        return heads.get("application") or heads.get("library")

    def _put_back(self, scratch: Scratch, manifest: Manifest, work: Restoring, *, wanted: bool) -> int:
        """Put originals back that the store lacks, and note down that this database refers to its files."""
        if not (wanted and manifest.files and self._source.store):
            return 0
        store, count = self._source.store(), 0
        with connected(scratch.config, work.deadline) as session:
            store.claim(owner_of(session))
        there = {file.checksum for file in store.iterate()}
        for number, file in enumerate(manifest.files, 1):
            check(work.deadline)
            if file.checksum not in there:
                with self._place.originals.open(uri_of(file.checksum)) as original:
                    store.put(original)
                count += 1
            work.on_progress("putting originals back", number, len(manifest.files))
        return count

    def _replace(
        self, scratch: Scratch, live: str, owners: Owners, *, drop_old: bool, deadline: Deadline
    ) -> str | None:
        with databases(scratch.config, deadline) as session:
            for statement in read_traits(session, live).statements(scratch.name, owner=owners.kept):
                session.run(statement)
        old_owner = self._owner(scratch.config.with_(name=live), deadline) if drop_old else None
        old = swap(scratch, live, drop_old=drop_old, deadline=deadline)
        if old_owner is not None and self._source.store:
            self._source.store().disown(old_owner)
        return old

    @staticmethod
    def _owner(config: DatabaseConfig, deadline: Deadline) -> str:
        with connected(config, deadline) as session:
            return owner_of(session)


def _whole(name: str, value: object, most: int) -> None:
    if type(value) is not int or not 1 <= value <= most:
        raise InvalidValue(f"{name}: a whole number from 1 to {most} is wanted")


def _config(server: DatabaseConfig | str | None) -> DatabaseConfig | None:
    return DatabaseConfig.from_url(server) if isinstance(server, str) else server


def _check_target(into: str | None, *, replace: bool, drop_old: bool) -> None:
    if (into is None) is not replace:
        raise InvalidValue(
            "say where to: into= (--into NAME) a new database, or replace=True (--replace) for this one"
        )
    if drop_old and not replace:
        raise InvalidValue("drop_old (--drop-old) goes with replace (--replace)")
    if into is not None:
        good = into.isprintable() and 0 < len(into.encode(errors="replace")) <= LONGEST_NAME
        if not good or into.startswith(SCRATCH):
            raise InvalidValue(
                f"into: a database's name has 1 to {LONGEST_NAME} bytes without control characters, and does "
                f"not begin with {SCRATCH}"
            )


def _refuse_another(manifest: Manifest, live: str, system_identifier: str) -> None:
    if manifest.database != live:
        raise OtherDatabase(
            f"{manifest.name} is of the database {manifest.database}, and {live} would be replaced by it; "
            "nothing was done. If that is what you want: other_database=True (--other-database)"
        )
    if manifest.system_identifier != system_identifier:
        raise OtherDatabase(
            f"{manifest.name} is of {live} on another server (cluster {manifest.system_identifier}, not "
            f"{system_identifier}); nothing was done. If that is what you want: other_database=True "
            "(--other-database)"
        )
