"""Makes a backup: one snapshot is exported, counted and dumped, and the originals that it refers to are kept.

Until the originals are copied no sweep of the file store runs, so that none of the snapshot's is removed. The
snapshot itself is let go as soon as pg_dump is done: an old one keeps vacuum from working.
"""

import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from database_handler.config.database import DatabaseConfig
from database_handler.content.errors import FileDamaged, FileMissing
from database_handler.content.store import uri_of
from database_handler.core.base_model import Record
from database_handler.core.connection import dedicated
from database_handler.core.deadline import Deadline
from database_handler.core.exceptions import BackupError, DatabaseError, InvalidValue
from database_handler.core.session import Limits, Session
from database_handler.core.transaction import Autocommit, Transaction, TransactionOptions
from database_handler.migrations.runner.locking import Kept
from database_handler.operations.backup.errors import BackupFailed, BackupTimeout
from database_handler.operations.backup.facts import (
    DENIED,
    Facts,
    Guarded,
    Heads,
    ServerFacts,
    Snapshot,
    exported,
    facts_of,
    guarded_tables,
    server_facts,
)
from database_handler.operations.backup.place import BackupPlace, Draft, name_of_backup
from database_handler.operations.backup.processes import Run, connection_text, run_program
from database_handler.operations.backup.programs import Programs, find_programs
from database_handler.operations.backup.values import Backup, DumpFile, DumpFormat, KeptFile, Manifest
from database_handler.operations.backup.workroom import workroom
from database_handler.repositories.files import keep_from_sweeps

if TYPE_CHECKING:
    from database_handler.content.store import FileStore

__all__ = ["Order", "Progress", "create"]

Progress = Callable[[str, int, int], object]
"""Called with what is being done, how many of it are done, and how many there are."""

_LATE = "it did not end in the time that it has (timeout=, --timeout); nothing of it is kept"
_SUFFIX: dict[DumpFormat, str] = {"custom": "dump", "directory": "tar"}
_DUMPING = re.compile(r'pg_dump: dumping contents of table "')


@dataclass(frozen=True, slots=True)
class Order:
    """How a backup is to be made; see `Backups.create`."""

    format: DumpFormat
    jobs: int
    timeout: float | None
    lock_timeout: float
    programs: Path | None

    def __post_init__(self) -> None:
        """Refuse what pg_dump would refuse."""
        if self.jobs > 1 and self.format != "directory":
            raise InvalidValue("jobs: more than one needs format='directory' (--format directory)")


def create(
    config: DatabaseConfig,
    place: BackupPlace,
    order: Order,
    *,
    heads: Heads,
    records: Iterable[type[Record]],
    store: "FileStore | None",
    version: str,
    on_progress: Progress,
) -> Backup:
    """Make a backup; see `Backups.create`."""
    began, started, deadline = monotonic(), datetime.now(UTC), Deadline(order.timeout)
    with connected(config, deadline) as session:
        server = server_facts(session)
    programs = find_programs(server.major, order.programs)
    place.clear_unfinished()
    name = name_of_backup(server.database, started)
    place.begin(name)
    dumping = _Dumping(config, place, order, programs, deadline, on_progress)
    try:
        with in_time(deadline), _no_sweeps(config, deadline, wanted=store is not None):
            facts, dump = dumping.run(name, heads, records)
            files, missing, copied = _copied(facts.files, store, place, deadline, on_progress)
        manifest = _manifest(
            name, started, server=server, program_version=programs.version, facts=facts, dump=dump
        ).model_copy(
            update={
                "library_version": version,
                "with_files": store is not None,
                "files": files,
                "missing": missing,
            }
        )
        place.finish(manifest)
    except BaseException:
        with suppress(BackupError):  # the error that led here is the one to see
            place.remove_backup(name)
        raise
    return Backup(place=place.url, manifest=manifest, seconds=round(monotonic() - began, 3), copied=copied)


@contextmanager
def connected(config: DatabaseConfig, deadline: Deadline) -> Iterator[Session]:
    """Give a session of one connection that ends with the block; each statement is bounded."""
    lease = dedicated(config, timeout=deadline.within(config.connect_timeout), purpose="backup")
    try:
        kept = Kept(lease)
        yield Autocommit(lambda: kept, limits=Limits(deadline.within(None))).session
    finally:
        lease.release()


@contextmanager
def _transaction(
    config: DatabaseConfig, deadline: Deadline, options: TransactionOptions
) -> Iterator[Session]:
    lend = partial(dedicated, config, timeout=deadline.within(config.connect_timeout), purpose="backup")
    with Transaction(lend, options, Limits(deadline.within(None))) as session:
        yield session


@contextmanager
def _no_sweeps(config: DatabaseConfig, deadline: Deadline, *, wanted: bool) -> Iterator[None]:
    """Keep sweeps away, in a transaction that holds no snapshot while it waits."""
    if not wanted:
        yield
        return
    with _transaction(config, deadline, TransactionOptions(isolation="read committed")) as session:
        session.one("SELECT set_config('idle_in_transaction_session_timeout', '0', true)")
        keep_from_sweeps(session)
        yield


@dataclass(frozen=True, slots=True)
class _Dumping:
    """The dump of one database."""

    config: DatabaseConfig
    place: BackupPlace
    order: Order
    programs: Programs
    deadline: Deadline
    on_progress: Progress

    def run(self, name: str, heads: Heads, records: Iterable[type[Record]]) -> tuple[Facts, DumpFile]:
        """Read what the snapshot holds, and dump it."""
        file = f"{name}.{_SUFFIX[self.order.format]}"
        folder = "dump"
        with workroom() as room, self.place.draft(file) as draft:
            with self._snapshot() as holder:
                snapshot = exported(holder)
                self.on_progress("counting rows", 0, 1)
                with self._snapshot() as reader:
                    facts = facts_of(
                        reader,
                        snapshot,
                        heads=heads,
                        records=records,
                        lock_timeout=self.order.lock_timeout,
                    )
                total = len(facts.rows)
                further = ["--enable-row-security"] if facts.by_policies else []
                if self.order.format == "custom":
                    self._dump(snapshot, total, room, further, draft.file.fileno())
                else:
                    further += [f"--file={room / folder}", f"--jobs={self.order.jobs}"]
                    self._dump(snapshot, total, room, further)
            if facts.by_policies:
                self._refuse_other_policies(facts.guarded)
            if self.order.format == "directory":
                _pack(room / folder, draft, self.deadline)
            size, checksum = draft.measured()
        return facts, DumpFile(file=file, format=self.order.format, size_bytes=size, sha256=checksum)

    def _refuse_other_policies(self, guarded: tuple[Guarded, ...]) -> None:
        """Refuse a dump during which a policy has changed: the server shows by the policies of the moment."""
        with connected(self.config, self.deadline) as session:
            unchanged = guarded_tables(session) == guarded
        if not unchanged:
            raise BackupFailed(
                "policies of row-level security changed while rows were dumped, so that some may lack; "
                "nothing is kept: run it again"
            )

    def _snapshot(self) -> AbstractContextManager[Session]:
        options = TransactionOptions(isolation="repeatable read", read_only=True)
        return _transaction(self.config, self.deadline, options)

    def _dump(
        self, snapshot: Snapshot, total: int, room: Path, further: list[str], output: int | None = None
    ) -> None:
        done = 0

        def heard(line: str) -> None:
            nonlocal done
            if _DUMPING.match(line):
                done += 1
                self.on_progress("dumping tables", min(done, total), total)

        run = Run(
            self.programs.dump,
            [
                f"--format={self.order.format}",
                f"--snapshot={snapshot.name}",
                f"--lock-wait-timeout={round(self.order.lock_timeout * 1000)}",
                "--no-password",
                "--verbose",
                *further,
                f"--dbname={connection_text(self.config, room)}",
            ],
            self.deadline,
            BackupFailed,
            denied=DENIED,
            on_line=heard,
        )
        if output is not None:
            run.output = output
        run_program(run)


def _pack(folder: Path, draft: Draft, deadline: Deadline) -> None:
    """Write the files of a dump, which are compressed already, into one, so that it is there or is not."""
    with tarfile.open(fileobj=draft.file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in sorted(folder.iterdir()):
            check(deadline)
            archive.add(file, arcname=file.name, recursive=False)
            file.unlink()


def check(deadline: Deadline) -> None:
    """Raise where there is no time left."""
    if deadline.passed:
        raise BackupTimeout(_LATE)


@contextmanager
def in_time(deadline: Deadline) -> Iterator[None]:
    """Tell of the time, where a statement was cut off for it."""
    try:
        yield
    except DatabaseError:
        if not deadline.passed:
            raise
    else:
        return
    raise BackupTimeout(_LATE)


def _copied(
    wanted: Sequence[str],
    store: "FileStore | None",
    place: BackupPlace,
    deadline: Deadline,
    on_progress: Progress,
) -> tuple[tuple[KeptFile, ...], tuple[str, ...], int]:
    """Keep the originals that are not kept yet; return all, those the store lacks, and how many were new."""
    if store is None:
        return (), (), 0
    kept = {file.checksum: file.size_bytes for file in place.originals.iterate()} if wanted else {}
    files, missing, copied = [], [], 0
    for number, checksum in enumerate(wanted, 1):
        check(deadline)
        if (size := kept.get(checksum)) is None:
            try:
                with store.open(uri_of(checksum)) as file:
                    size = place.keep(file).size_bytes
                copied += 1
            except (FileMissing, FileDamaged):
                missing.append(checksum)
        if size is not None:
            files.append(KeptFile(checksum=checksum, size_bytes=size))
        on_progress("copying originals", number, len(wanted))
    if copied < len(files):
        _still_there(place, files)
    return tuple(files), tuple(missing), copied


def _still_there(place: BackupPlace, files: Sequence[KeptFile]) -> None:
    """Look again for originals that older backups had brought: `prune` may have met one before this began."""
    there = {file.checksum for file in place.originals.iterate()}
    if any(file.checksum not in there for file in files):
        raise BackupFailed(
            "originals that this backup counts on were taken away by a prune that ran at the same time; "
            "nothing stands under the backup's name: run it again"
        )


def _manifest(
    name: str, started: datetime, *, server: ServerFacts, program_version: str, facts: Facts, dump: DumpFile
) -> Manifest:
    return Manifest(
        name=name,
        database=server.database,
        system_identifier=server.system_identifier,
        server_version=server.version,
        program_version=program_version,
        encoding=server.encoding,
        started=started,
        snapshot=facts.moment.astimezone(UTC),
        ended=datetime.now(UTC),
        dump=dump,
        schemas=facts.schemas,
        fingerprint=facts.fingerprint,
        heads=facts.heads,
        rows=facts.rows,
        roles=facts.roles,
    )
