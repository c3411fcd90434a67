"""Rows and the files that they refer to: a row in the database never lacks its file in the store.

A unit that writes such a row takes a shared lock on the folder of the store that the file belongs to, in the
same message as the row, and puts the file there before it commits. A crash in between leaves a file without
a row, and nothing else. `Files.sweep` removes those: it works on a folder only when it gets that folder's
lock for itself, and asks the database under that lock, so that it meets every unit either before the unit
looked into the store, or after its row can be seen.

A file is first set aside, and discarded only when the sweep's own transaction has ended well, which proves
that the lock was held all the while; otherwise it is brought back, and what a killed sweep had set aside the
next one decides on.

It is one module because the locks that a writer takes and those that a sweep takes are one protocol.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeVar
from uuid import UUID

from pydantic import BeforeValidator

from database_handler.core.base_model import Draft, Record
from database_handler.core.columns import unwrapped
from database_handler.core.exceptions import (
    ConfigurationError,
    ContentError,
    InvalidValue,
    PermissionDenied,
)
from database_handler.core.parameters import Parameters
from database_handler.core.schema import TENANT
from database_handler.core.session import Foreign, Query, Reply, Session, Statement
from database_handler.repositories.base import Repository, each_of
from database_handler.repositories.resources import Resources
from database_handler.utils.arguments import checked
from database_handler.utils.validators import storage_uri

if TYPE_CHECKING:
    from database_handler.content.files import Readable
    from database_handler.content.store import FileStore, StoredFile

__all__ = [
    "FileProblem",
    "Files",
    "FilesReport",
    "KeepsFiles",
    "SweepReport",
    "UnitFiles",
    "file_columns",
    "keep_from_sweeps",
    "owner_of",
    "while_copying",
]

D = TypeVar("D", bound=Draft)
R = TypeVar("R", bound=Record)
T = TypeVar("T")
Progress = Callable[[int, int], object]

# Advisory locks of two numbers: this library's, and the folder's. A folder, not a file, has a lock, for the
# server has room for some thousands of them, and a unit may write many more files.
_LOCKS: Final = 0x66696C65
_ALL_FOLDERS: Final = 256
# Tells databases apart, also two copies of one template; a database that was restored from a dump is another.
_OWNER: Final = (
    "(SELECT c.system_identifier::text || '/' || d.oid::text FROM pg_control_system() AS c, "
    "pg_database AS d WHERE d.datname = current_database())"
)
_HOLD: Final = f"SELECT pg_advisory_xact_lock_shared({_LOCKS}, f) FROM unnest(%s::integer[]) AS f;"
_HOLDING: Final = Statement(_HOLD.rstrip(";"), "files.hold")
_WHO: Final = Statement(f"SELECT {_OWNER}", "files.owner")
# The tables of which this role may not see every row: row-level security holds, and no policy shows all.
_HIDING: Final = Statement(
    "SELECT t FROM unnest(%s::text[]) AS t WHERE row_security_active(t) AND (NOT EXISTS ("
    "SELECT FROM pg_policy AS p WHERE p.polrelid = t::regclass AND p.polpermissive "
    "AND p.polcmd IN ('*', 'r') AND pg_get_expr(p.polqual, p.polrelid) = 'true' "
    "AND EXISTS (SELECT FROM unnest(p.polroles) AS r "
    "WHERE CASE r WHEN 0 THEN true ELSE pg_has_role(r, 'USAGE') END)) OR EXISTS ("
    "SELECT FROM pg_policy AS p WHERE p.polrelid = t::regclass AND NOT p.polpermissive)) ORDER BY t",
    "files.hiding",
)
_GOT: Final = "database_handler.files_locked"
_LISTED, _REMOVED, _CHECKED = 5_000, 200, 1_000  # files a statement


def _folder(checksum: str) -> int:
    return int(checksum[:2], 16)


def while_copying(statement: Statement) -> Statement:
    """Return a statement that copies references to files from other rows, safe against a sweep.

    The rows that it reads may be deleted by others before the copies can be seen, and their files then have
    no row for a moment.
    """
    hold = f"SELECT pg_advisory_xact_lock_shared({_LOCKS}, {_ALL_FOLDERS});"
    return replace(statement, text=hold + statement.text, prepares=False)


def keep_from_sweeps(session: Session) -> None:
    """Let no sweep remove a file until this session's transaction ends; one that is at work ends first."""
    session.all(_HOLDING, [[_ALL_FOLDERS]])


def owner_of(session: Session) -> str:
    """Return what a store calls this database by."""
    return str(session.one(_WHO)[0])


@lru_cache(maxsize=256)
def _holding(statement: Statement) -> Statement:
    return replace(statement, text=_HOLD + statement.text, prepares=False)


class _HoldingSession(Session):
    """A session of a unit whose every statement takes the locks of some folders in the same message."""

    def __init__(self, session: Session, folders: Sequence[int]) -> None:
        super().__init__(session._executor)
        self._folders = list(folders)

    def _send(self, query: Query | Foreign, parameters: Parameters) -> Reply:
        if isinstance(query, Statement) and not isinstance(parameters, Mapping):
            return super()._send(_holding(query), [self._folders, *(parameters or ())])
        raise AssertionError("unreachable: repositories send statements of the library, with values in order")


def _note(session: Session, resources: Resources) -> None:
    """Have the store know that this database refers to files in it; one round trip, once."""
    if not resources.noted.is_set():
        resources.files.claim(session.one(_WHO)[0])
        resources.noted.set()


class KeepsFiles(Repository[D, R]):
    """A repository whose rows are written together with files."""

    def _created_with(self, draft: D, contents: Sequence[bytes], id: UUID | None = None) -> R:
        """Store a record and the files that it refers to: two round trips, or one in a unit.

        The row goes first, so that a duplicate or a missing project costs no file.
        """
        store = self._resources.files
        folders = sorted({_folder(sha256(content).hexdigest()) for content in contents})
        with self._session.atomic() as session:
            _note(session, self._resources)
            record = self._over(_HoldingSession(session, folders)).create_one(draft, id=id)
            try:
                for content in contents:
                    store.put(content)
            except BaseException:
                # A unit that goes on after the failure must not keep a row without its file.
                self._over(session).delete(record.id)
                raise
        return record

    def _over(self, session: Session) -> Self:
        return type(self)(session, self._project_id, self._resources)


class UnitFiles:
    """The files that one unit of work keeps for rows that it writes."""

    def __init__(self, session: Session, resources: Resources) -> None:
        self._session, self._resources = session, resources

    @property
    def store(self) -> "FileStore":
        """The file store."""
        return self._resources.files

    def put(self, source: "str | Path | bytes | Readable", *, limit: int | None = None) -> "StoredFile":
        """Keep a file, safe from sweeps until the unit ends; a row that it writes refers to it by its URI.

        Parameters
        ----------
        limit : int, optional
            The most bytes that are taken.
        """
        return self.store.put(source, limit=limit, ready=lambda checksum: self._hold([checksum]))

    def put_many(self, contents: Iterable[bytes]) -> "list[StoredFile]":
        """Keep files as `put` does, in one round trip for all of them."""
        given = list(each_of(contents, "put_many"))
        for place, content in enumerate(given):
            if not isinstance(content, bytes):
                raise InvalidValue(f"put_many: position {place} is a {type(content).__name__}, not bytes")
        self._hold([sha256(content).hexdigest() for content in given])
        return [self.store.put(content) for content in given]

    def hold(self, *uris: str) -> None:
        """Keep files that are there already safe from sweeps until the unit ends, for a row that it writes.

        Raises
        ------
        FileMissing
            One of them is not there.
        """
        from database_handler.content.errors import FileMissing
        from database_handler.content.store import checksum_of

        checksums = [checksum_of(uri) for uri in uris]
        self._hold(checksums)
        for uri, checksum in zip(uris, checksums, strict=True):
            if not self.store.exists(uri):
                raise FileMissing(f"the file {checksum} is not in the store", checksum=checksum)

    def _hold(self, checksums: Sequence[str]) -> None:
        if checksums:
            _note(self._session, self._resources)
            self._session.all(_HOLDING, [sorted({_folder(checksum) for checksum in checksums})])


# ------------------------------------------------------------------------------------------- sweep and check


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep did.

    Attributes
    ----------
    removed, bytes : int
        Files that no row referred to, and their size together; with ``dry_run``, those that would go.
    kept : int
        Files that rows refer to.
    skipped : int
        Files that a unit of work may be about to refer to; another sweep decides on them.
    unfinished : int
        Pieces of files that writers which died had left behind.
    """

    removed: int = 0
    bytes: int = 0
    kept: int = 0
    skipped: int = 0
    unfinished: int = 0


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A row whose file is not as it should be.

    Attributes
    ----------
    problem : {"missing", "damaged", "unreadable"}
        Not in the store; there with other content; there, but the store cannot be read.
    """

    table: str
    field: str
    id: UUID
    project_id: UUID | None
    uri: str
    problem: Literal["missing", "damaged", "unreadable"]


@dataclass(frozen=True, slots=True)
class FilesReport:
    """How many references to files were checked, and those that are not as they should be."""

    checked: int
    problems: tuple[FileProblem, ...] = ()


@dataclass(slots=True)
class _Sweep:
    """The counts of a sweep under way."""

    removed: int = 0
    bytes: int = 0
    kept: int = 0
    skipped: int = 0
    unfinished: int = 0

    def gone(self, files: "Iterable[StoredFile]") -> None:
        for file in files:
            self.removed += 1
            self.bytes += file.size_bytes

    def report(self) -> SweepReport:
        return SweepReport(self.removed, self.bytes, self.kept, self.skipped, self.unfinished)


def file_columns(record: type[Record]) -> tuple[str, ...]:
    """Return the fields of a record that refer to files: those of the type `StorageUri`."""
    return tuple(
        name
        for name, info in record.model_fields.items()
        if any(isinstance(m, BeforeValidator) and m.func is storage_uri for m in unwrapped(info).markers)
    )


class Files:
    """The file store of a database, with what only both together can tell.

    Parameters
    ----------
    session : Session
        Must send each statement by itself: a sweep inside a unit would see what is not committed.
    resources : Resources
        What holds the store.
    records : iterable of Record types
        Every entity whose rows may refer to files.
    """

    def __init__(self, session: Session, resources: Resources, records: Iterable[type[Record]]) -> None:
        self._session, self._resources = session, resources
        self._columns = tuple((record, name) for record in records for name in file_columns(record))

    @property
    def store(self) -> "FileStore":
        """The file store."""
        return self._resources.files

    # ------------------------------------------------------------------------------------------------ sweep

    @checked
    def sweep(self, *, dry_run: bool = False, on_progress: Progress | None = None) -> SweepReport:
        """Remove the files that no row refers to; any number may run at once, beside any writer.

        Parameters
        ----------
        dry_run : bool
            Only count.
        on_progress : callable, optional
            Called with how many of the store's 256 folders are done, and 256.

        Raises
        ------
        ConfigurationError
            Another database refers to files here, and its files would be taken for nobody's: give each
            database a store of its own, or, when that database is gone, call `forget_other_databases`.
        PermissionDenied
            Row-level security keeps rows from this role, and their files would be taken for nobody's.
        """
        self._refuse_other_databases()
        self._refuse_hidden_rows()
        from database_handler.content.store import FOLDERS

        done = _Sweep()
        if not dry_run:
            done.unfinished = self.store.clear_unfinished()
            self._decide_on_set_asides(done)
        for number, folder in enumerate(FOLDERS):
            for files in _parts(self.store.iterate(folder), _LISTED):
                self._sweep_part(files, done, dry_run=dry_run)
            if on_progress is not None:
                on_progress(number + 1, len(FOLDERS))
        return done.report()

    def _refuse_other_databases(self) -> None:
        if others := self._other_databases():
            raise ConfigurationError(
                f"the file store serves {len(others)} other database(s) too, whose files a sweep would take "
                "for nobody's: give each database a store of its own; where the others are gone, call "
                "files.forget_other_databases() first"
            )

    def _refuse_hidden_rows(self) -> None:
        names = sorted({record.table.name for record, _ in self._columns})
        if hiding := [table for (table,) in self._session.all(_HIDING, [names])]:
            raise PermissionDenied(
                "row-level security shows this role the rows of one project at most, and a sweep would take "
                f"the files of all others for nobody's: sweep as the migrator ({', '.join(hiding)})"
            )

    def _other_databases(self) -> list[str]:
        [own] = self._session.one(_WHO)
        return [owner for owner in self.store.owners() if owner != own]

    def forget_other_databases(self) -> int:
        """Have the store serve this database alone, and return how many others it had served.

        The next sweep removes the files of those.
        """
        return sum(map(self.store.disown, self._other_databases()))

    def _sweep_part(self, files: "Sequence[StoredFile]", done: _Sweep, *, dry_run: bool) -> None:
        referenced = self._referenced([file.uri for file in files])
        loose = [file for file in files if file.uri not in referenced]
        done.kept += len(files) - len(loose)
        if dry_run:
            done.gone(loose)
            return
        for part in _parts(iter(loose), _REMOVED):
            self._remove(part, done)

    def _referenced(self, uris: list[str]) -> set[str]:
        if not self._columns:
            return set()
        statement = Statement(_references(self._named), "files.referenced")
        return {row[0] for row in self._session.all(statement, [uris] * len(self._columns))}

    @property
    def _named(self) -> tuple[tuple[str, str], ...]:
        return tuple((record.table.name, column) for record, column in self._columns)

    def _remove(self, files: "Sequence[StoredFile]", done: _Sweep) -> None:
        """Remove files of one folder that no row refers to, unless a unit is at work there."""
        aside: list[StoredFile] = []
        try:
            with self._session.atomic() as session:
                referenced = self._locked(session, files)
                loose = [file for file in files if referenced is not None and file.uri not in referenced]
                aside.extend(file for file in loose if self.store.set_aside(file.uri))
        except BaseException:
            # The lock may have been lost, and a row written meanwhile.
            self._bring_back(aside)
            raise
        if referenced is None:
            done.skipped += len(files)
            return
        for file in aside:
            self.store.discard(file.uri)
        done.kept += len(files) - len(loose)
        done.gone(aside)

    def _bring_back(self, files: "Iterable[StoredFile]") -> None:
        for file in files:
            try:
                self.store.bring_back(file.uri)
            except ContentError:  # the error that led here is the one to see; the next sweep brings it back
                continue

    def _locked(self, session: Session, files: "Sequence[StoredFile]") -> set[str] | None:
        """Lock the folder for this transaction alone; return which files have rows, None where it failed."""
        uris = [file.uri for file in files]
        got, referenced = session.one(
            _try(self._named), [_folder(files[0].checksum), *[uris] * len(self._columns)]
        )
        return set(referenced) if got else None

    def _decide_on_set_asides(self, done: _Sweep) -> None:
        by_folder: dict[int, list[StoredFile]] = {}
        for file in self.store.set_asides():
            by_folder.setdefault(_folder(file.checksum), []).append(file)
        for files in by_folder.values():
            with self._session.atomic() as session:
                referenced = self._locked(session, files)
                for file in files if referenced is not None else ():
                    if file.uri in (referenced or ()):
                        self.store.bring_back(file.uri)
                    elif self.store.discard(file.uri):
                        done.gone([file])

    # ------------------------------------------------------------------------------------------------ check

    @checked
    def check(
        self,
        project_id: UUID | None = None,
        *,
        deep: bool = True,
        on_progress: Progress | None = None,
    ) -> FilesReport:
        """Find the rows whose file in the store is missing or damaged.

        Parameters
        ----------
        deep : bool
            Read every file through; otherwise only look whether it is there.
        on_progress : callable, optional
            Called with how many references were checked, and how many there are.
        """
        if not (project_id is None or isinstance(project_id, UUID)):
            raise InvalidValue(f"project_id is a UUID, not a {type(project_id).__name__}")
        columns = [each for each in self._columns if project_id is None or each[0].table.is_child]
        total = sum(self._count(record, column, project_id) for record, column in columns)
        checked, problems = 0, []
        for record, column in columns:
            for found in self._rows(record, column, project_id):
                problem = self._problem(found.uri, deep=deep)
                if problem is not None:
                    problems.append(replace(found, problem=problem))
                checked += 1
                if on_progress is not None:
                    on_progress(checked, total)
        return FilesReport(checked, tuple(problems))

    def _count(self, record: type[Record], column: str, project_id: UUID | None) -> int:
        statement = _counting(record.table.name, column, project_id is not None)
        return int(self._session.one(statement, [] if project_id is None else [project_id])[0])

    def _rows(self, record: type[Record], column: str, project_id: UUID | None) -> Iterator[FileProblem]:
        """Give the references of one column, some at a time: no transaction stays open meanwhile."""
        key, scope = record.table.primary_key, [] if project_id is None else [project_id]
        after: list[Any] = []
        while True:
            statement = _page(record.table.name, key, column, bool(scope), bool(after))
            rows = self._session.all(statement, [*scope, *after, _CHECKED])
            for row in rows:
                project = row[0] if TENANT in key else None
                yield FileProblem(record.table.name, column, row[-2], project, row[-1], "missing")
            if len(rows) < _CHECKED:
                return
            after = list(rows[-1][:-1])

    def _problem(self, uri: str, *, deep: bool) -> Literal["missing", "damaged", "unreadable"] | None:
        from database_handler.content.errors import FileDamaged, FileMissing, StoreError

        try:
            if deep:
                self.store.verify(uri)
            elif not self.store.exists(uri):
                return "missing"
        except (FileMissing, InvalidValue):
            return "missing"
        except FileDamaged:
            return "damaged"
        except StoreError:
            return "unreadable"
        return None


def _parts(values: Iterator[T], size: int) -> Iterator[list[T]]:
    while part := list(islice(values, size)):
        yield part


def _references(columns: tuple[tuple[str, str], ...]) -> str:
    return " UNION ".join(
        f"SELECT {name} FROM {table} WHERE {name} = ANY(%s::text[])" for table, name in columns
    )


@lru_cache(maxsize=64)
def _try(columns: tuple[tuple[str, str], ...]) -> Statement:
    """Lock, then ask under a new snapshot, whatever isolation the server begins with."""
    referenced = f"ARRAY({_references(columns)})" if columns else "ARRAY[]::text[]"
    text = (
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED;"
        f"SELECT set_config('{_GOT}', (pg_try_advisory_xact_lock({_LOCKS}, %s) "
        f"AND pg_try_advisory_xact_lock({_LOCKS}, {_ALL_FOLDERS}))::text, true);"
        f"SELECT current_setting('{_GOT}')::boolean, {referenced}"
    )
    return Statement(text, "files.lock")


_IN_STORE = "left({}, 6) = 'store:'"


@lru_cache(maxsize=64)
def _counting(table: str, column: str, in_project: bool) -> Statement:
    project = " AND project_id = %s" if in_project else ""
    text = f"SELECT count(*) FROM {table} WHERE {_IN_STORE.format(column)}{project}"
    return Statement(text, "files.count")


@lru_cache(maxsize=64)
def _page(table: str, key: tuple[str, ...], column: str, in_project: bool, further: bool) -> Statement:
    names = ", ".join(key)
    project = " AND project_id = %s" if in_project else ""
    after = f" AND ({names}) > ({', '.join(['%s'] * len(key))})" if further else ""
    text = (
        f"SELECT {names}, {column} FROM {table} WHERE {_IN_STORE.format(column)}{project}{after} "
        f"ORDER BY {names} LIMIT %s"
    )
    return Statement(text, "files.page")
