"""Restores a backup into a scratch database and compares it with its manifest, before it gets any other name.

Nothing that lives is touched before the comparison has held.
"""

import re
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import BinaryIO

from database_handler.config.database import DatabaseConfig
from database_handler.content.errors import FileDamaged, FileMissing
from database_handler.content.store import uri_of
from database_handler.core.deadline import Deadline
from database_handler.core.exceptions import InvalidValue
from database_handler.core.session import Session, Statement
from database_handler.operations.backup.creating import Progress, check, connected, in_time
from database_handler.operations.backup.databases import Scratch, databases, scratch_database
from database_handler.operations.backup.errors import BackupDamaged, RestoreFailed, ServerTooOld
from database_handler.operations.backup.facts import counted, fingerprint_of, server_facts
from database_handler.operations.backup.place import BackupPlace
from database_handler.operations.backup.processes import Run, connection_text, run_program
from database_handler.operations.backup.programs import Programs, find_programs
from database_handler.operations.backup.values import Difference, Manifest, Verified
from database_handler.operations.backup.workroom import workroom

__all__ = ["Owners", "Restoring", "differences", "owners_of", "refuse_older_server", "verify"]

_PIECE = 1 << 20
_MEMBER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}")  # pg_dump's own files: toc.dat, 3412.dat.gz
# It belongs to who made the extension, which on most servers is not who restores.
_LEFT_OUT = re.compile(r"\d+; \d+ \d+ COMMENT - EXTENSION ")
_DATA = re.compile(r"\d+; \d+ \d+ TABLE DATA ")
_RESTORING = re.compile(r"pg_restore: processing data for table ")
_DENIED = (
    "The role that restores needs the right to create databases, and, to keep owners and rights, to be a "
    "member of every role that owns something (or a superuser); --no-owners (owners=False) needs none"
)
_ROLES = Statement(
    "SELECT rolname::text, pg_has_role(oid, 'MEMBER') FROM pg_catalog.pg_roles WHERE rolname = ANY(%s)",
    "backup.roles_here",
)


@dataclass(frozen=True, slots=True)
class Owners:
    """Whether owners and rights are restored too, and which roles of the backup the server does not have."""

    kept: bool
    absent: tuple[str, ...]


def owners_of(session: Session, manifest: Manifest, wanted: bool | None) -> Owners:
    """Decide on owners and rights: kept where every role is there and may be had, unless it is said.

    Raises
    ------
    RestoreFailed
        They are wanted, and cannot be had.
    """
    here: dict[str, bool] = dict(session.all(_ROLES, [list(manifest.roles)]))
    absent = tuple(role for role in manifest.roles if role not in here)
    able = not absent and all(here.values())
    if wanted and not able:
        told = ", ".join(absent) or ", ".join(sorted(name for name, member in here.items() if not member))
        reason = "are not on this server" if absent else "are none that this role is a member of"
        raise RestoreFailed(
            f"owners and rights were to be kept, and these roles {reason}: {told}; make them first "
            "(roles apply), or leave owners out (--no-owners); nothing was done"
        )
    return Owners(able if wanted is None else wanted, absent)


def refuse_older_server(manifest: Manifest, major: int) -> None:
    """Refuse a backup of a newer major version than the server's."""
    if manifest.major > major:
        raise ServerTooOld(
            f"{manifest.name} is of PostgreSQL {manifest.major}, and this server is {major}: restore it on a "
            f"server of version {manifest.major} or later; nothing was done"
        )


@dataclass(frozen=True, slots=True)
class Restoring:
    """How backups of one place are restored on one server."""

    config: DatabaseConfig
    place: BackupPlace
    jobs: int
    deadline: Deadline
    programs: Path | None
    on_progress: Progress

    def __post_init__(self) -> None:
        """Refuse what pg_restore would refuse."""
        if not 1 <= self.jobs <= 256:
            raise InvalidValue("jobs: a whole number from 1 to 256 is wanted")

    def found(self, manifest: Manifest) -> Programs:
        """Return the programs for this server, which must be able to take the backup."""
        with databases(self.config, self.deadline) as session:
            major = server_facts(session).major
        refuse_older_server(manifest, major)
        return find_programs(max(major, int(manifest.program_version.partition(".")[0])), self.programs)

    @contextmanager
    def scratch(self, manifest: Manifest, *, owners: bool = False) -> Iterator[Scratch]:
        """Give a database that holds the backup; dropped unless it is given a name."""
        programs = self.found(manifest)
        with workroom() as room:
            dump = self._dump(manifest, room)
            with scratch_database(self.config, manifest.encoding, self.deadline) as scratch:
                self._fill(scratch.config, programs, dump, room, owners=owners)
                yield scratch

    def _dump(self, manifest: Manifest, room: Path) -> Path:
        """Return the dump as a file or folder of this machine, its checksum compared."""
        self.on_progress("checking the dump", 0, 1)
        path = self.place.local(manifest.dump.file)
        if path is None:
            path = room / manifest.dump.file
            with path.open("xb") as target:
                self.place.copy(manifest, target)
        else:
            self.place.copy(manifest, None)
        if manifest.dump.format == "custom":
            return path
        with path.open("rb") as packed:
            return _unpacked(packed, room / "dump", self.deadline)

    def _fill(
        self, config: DatabaseConfig, programs: Programs, dump: Path, room: Path, *, owners: bool
    ) -> None:
        listed = self._listed(programs, dump, room)
        done, total = 0, sum(bool(_DATA.match(line)) for line in listed)
        (room / "list").write_text("\n".join(listed) + "\n", encoding="utf-8")

        def heard(line: str) -> None:
            nonlocal done
            if _RESTORING.match(line):
                done += 1
                self.on_progress("restoring tables", min(done, total), total)

        rights = [] if owners else ["--no-owner", "--no-privileges"]
        run = self._run(
            programs,
            [
                *rights,
                "--exit-on-error",
                "--no-subscriptions",  # a copy must not compete for the changes that the original receives
                "--no-password",
                "--verbose",
                f"--jobs={self.jobs}",
                f"--use-list={room / 'list'}",
                f"--dbname={connection_text(config, room)}",
                str(dump),
            ],
        )
        run.on_line = heard
        run_program(run)

    def _listed(self, programs: Programs, dump: Path, room: Path) -> list[str]:
        """Return the dump's table of contents, less what cannot be restored by everybody."""
        target = room / "contents"
        run = self._run(programs, ["--list", f"--file={target}", str(dump)])
        run.failure = BackupDamaged
        run_program(run)
        lines = target.read_text(encoding="utf-8").splitlines()
        return [line for line in lines if not _LEFT_OUT.match(line)]

    def _run(self, programs: Programs, arguments: Sequence[str]) -> Run:
        return Run(programs.restore, arguments, self.deadline, RestoreFailed, denied=_DENIED)


def _unpacked(packed: BinaryIO, folder: Path, deadline: Deadline) -> Path:
    """Unpack the files of a dump: plain files with plain names, whatever else the archive may say."""
    folder.mkdir(mode=0o700)
    try:
        with tarfile.open(fileobj=packed, mode="r:") as archive:
            for member in archive:
                check(deadline)
                content = archive.extractfile(member) if member.isreg() else None
                if content is None or not _MEMBER.fullmatch(member.name):
                    raise BackupDamaged("the dump's archive holds what pg_dump does not write")
                with content, (folder / member.name).open("xb") as target:
                    shutil.copyfileobj(content, target, _PIECE)
    except tarfile.TarError:
        raise BackupDamaged("the dump's archive cannot be read") from None
    return folder


# ------------------------------------------------------------------------------------------------ comparing


def differences(
    config: DatabaseConfig, manifest: Manifest, deadline: Deadline
) -> tuple[list[Difference], dict[str, int], bool]:
    """Compare a restored database with its manifest; return the row counts, and whether schemas compare."""
    with connected(config, deadline) as session:
        rows = counted(session)
        same_version = server_facts(session).major == manifest.major
        fingerprint = fingerprint_of(session, manifest.schemas) if same_version else manifest.fingerprint
    found = list(_of_rows(manifest.rows, rows))
    if fingerprint != manifest.fingerprint:
        found.append(
            Difference(
                what="schema", name=manifest.database, expected=manifest.fingerprint, found=fingerprint
            )
        )
    return found, rows, same_version


def _of_rows(expected: dict[str, int], found: dict[str, int]) -> Iterator[Difference]:
    for name in sorted(expected.keys() | found.keys()):
        wanted, there = expected.get(name), found.get(name)
        if wanted != there:
            yield Difference(what="rows", name=name, expected=_told(wanted), found=_told(there))


def _told(rows: int | None) -> str:
    return "no such table" if rows is None else f"{rows:,} rows"


def _of_files(
    place: BackupPlace, manifest: Manifest, deadline: Deadline, on_progress: Progress
) -> Iterator[Difference]:
    for number, file in enumerate(manifest.files, 1):
        check(deadline)
        try:
            place.originals.verify(uri_of(file.checksum))
        except FileMissing:
            yield Difference(what="file", name=file.checksum, expected="in the backup", found="missing")
        except FileDamaged:
            yield Difference(what="file", name=file.checksum, expected="whole", found="damaged")
        on_progress("checking originals", number, len(manifest.files))


def verify(restoring: Restoring, manifest: Manifest) -> Verified:
    """Restore into a scratch database, compare, and drop it; read the originals through."""
    began = monotonic()
    found: list[Difference] = list(
        _of_files(restoring.place, manifest, restoring.deadline, restoring.on_progress)
    )
    with in_time(restoring.deadline), restoring.scratch(manifest) as scratch:
        differing, rows, compared = differences(scratch.config, manifest, restoring.deadline)
    return Verified(
        name=manifest.name,
        database=manifest.database,
        tables=len(rows),
        rows=sum(rows.values()),
        files=len(manifest.files),
        schema_compared=compared,
        seconds=round(monotonic() - began, 3),
        differences=(*differing, *found),
    )


def told(found: Iterable[Difference]) -> str:
    """Say in a line what differs."""
    return "; ".join(f"{each.name}: {each.expected} expected, {each.found} found" for each in found)
