"""The table that says which versions are applied; a row is written in the migration's own transaction."""

import datetime as dt
import importlib.metadata
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from database_handler.core.exceptions import InvalidValue, PermissionDenied, SchemaMismatch
from database_handler.core.quoting import qualified
from database_handler.core.session import Session, Statement
from database_handler.migrations.errors import HistoryNotAllowed, PoolerInTheWay
from database_handler.migrations.files.migration import Direction, Migration
from database_handler.migrations.files.planning import (
    NO_BATCH,
    Applied,
    BatchProgress,
    Origin,
    Progress,
    folded,
)

__all__ = ["History", "Recorded"]

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_UNDEFINED_TABLE = "42P01"

# What a migration set in its session (a role, a search_path) must not reach the row, or the next migration.
_RESET = "RESET SESSION AUTHORIZATION;RESET ALL;"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a row says after a part of a migration: all of it done, or the first `parts` parts.

    Attributes
    ----------
    begun : mapping, optional
        What the catalogue said before the statement that comes next, which is about to be run.
    batch : BatchProgress
        How far the part that comes next is.
    """

    migration: Migration
    direction: Direction
    duration: dt.timedelta
    parts: int | None = None
    begun: Mapping[str, object] | None = None
    batch: BatchProgress = NO_BATCH

    @property
    def progress(self) -> str | None:
        """The progress as it is stored."""
        if self.parts is None:
            return None
        done = self.migration.hash_of(self.direction, self.parts)
        stored: dict[str, object] = {"direction": self.direction.value, "parts": self.parts, "hash": done}
        stored["begun"] = self.begun
        if self.batch.batches:
            stored |= {"batches": self.batch.batches, "rows": self.batch.rows, "after": self.batch.after}
        return json.dumps(stored)


class History:
    """One history table, by its name; all but `read` name its schema.

    Parameters
    ----------
    table : str
        Small letters, digits and underscores, at most 63.
    schema : str, optional
        Where the table is, or is to be made; the search path decides when left out.
    """

    def __init__(self, table: str, schema: str | None = None) -> None:
        if not _NAME.fullmatch(table):
            raise InvalidValue("history_table is a name of small letters, digits and underscores, at most 63")
        self.table = table
        self.schema = schema
        self._current = False

    @property
    def qualified(self) -> str:
        """The table's name as SQL takes it, with its schema where that is known."""
        return qualified(self.schema, self.table)

    @property
    def _bound(self) -> str:
        """The name in a statement with parameters, where a percent sign is written twice."""
        return self.qualified.replace("%", "%%")

    def read(self, session: Session) -> tuple[Applied, ...] | None:
        """Return every row in the order of numbers, in one round trip; None where there is no table."""
        # A table of an earlier release lacks the last columns; asked for in this way they are NULL there.
        text = (
            "SELECT number, name, token_hash, applied_at, applied_by, duration, library_version, progress, "
            f"to_jsonb(h) ->> 'origin', to_jsonb(h) ->> 'up_hash', to_jsonb(h) ?& '{{origin,up_hash}}' "
            f"FROM {self.qualified} h ORDER BY number"
        )
        try:
            with self._allowed("GRANT SELECT ON it to this role"):
                rows = session.all(Statement(text, "migrations.history"))
        except SchemaMismatch as error:
            if error.sqlstate != _UNDEFINED_TABLE:
                raise
            return None
        self._current = bool(rows) and all(row[-1] for row in rows)
        return tuple(map(_applied, rows))

    def create(self, session: Session) -> None:
        """Make the table, or what an earlier release's lacks, in one round trip.

        Only the holder of the migrations' lock calls this, so no two ever do at once.
        """
        text = f"""SET LOCAL lock_timeout = '5s';CREATE TABLE IF NOT EXISTS {self.qualified} (
    number          integer PRIMARY KEY,
    name            text NOT NULL UNIQUE,
    token_hash      text NOT NULL,
    applied_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by      text NOT NULL DEFAULT session_user,
    duration        interval NOT NULL,
    library_version text NOT NULL,
    progress        jsonb,
    origin          text NOT NULL DEFAULT 'run',
    up_hash         text
);ALTER TABLE {self.qualified} ADD COLUMN IF NOT EXISTS origin text NOT NULL DEFAULT 'run',
    ADD COLUMN IF NOT EXISTS up_hash text"""
        with self._allowed("GRANT USAGE, CREATE ON SCHEMA to this role for a new one"):
            session.run(Statement(text, "migrations.create_history", writes=True))

    @contextmanager
    def _allowed(self, otherwise: str) -> Iterator[None]:
        denied = ""
        try:
            yield
        except PermissionDenied as error:
            denied = getattr(getattr(error.driver_error, "diag", None), "message_primary", None) or str(error)
        if denied:
            raise HistoryNotAllowed(
                f"{denied}: {self.qualified} is the table of applied versions. Connect as the role that owns "
                f"the tables (migration_url), or {otherwise}; nothing was run"
            )

    def prepare(self, session: Session) -> None:
        """Make sure that rows can be written; no round trip where `read` found the table as it is now."""
        if not self._current:
            self.create(session)
            self._current = True

    def settle(
        self, session: Session, migrations: Sequence[Migration], rows: Sequence[Applied], backend: int
    ) -> None:
        """Bring what stands there up to date before a run writes: the table, and rows that are one by now."""
        self.prepare(session)
        for row in folded(migrations, rows):
            if row.folds:
                self.fold(session, row, backend)
        files = {migration.name: migration for migration in migrations}
        same = [row.name for row in rows if row.up_hash is None and _is_of(row, files.get(row.name))]
        if same:
            self._tell_apart(session, [files[name] for name in same], backend)

    def _tell_apart(self, session: Session, migrations: Sequence[Migration], backend: int) -> None:
        """Write the hash without the way down for rows of an earlier release: from now on that may change."""
        text = (
            f"{_RESET}WITH told AS (UPDATE {self._bound} h SET up_hash = given.up_hash "
            "FROM unnest(%s::text[], %s::text[]) AS given (name, up_hash) WHERE h.name = given.name) "
            "SELECT pg_backend_pid()"
        )
        names, hashes = zip(*((each.name, each.up_hash) for each in migrations), strict=True)
        self._write(session, text, [list(names), list(hashes)], backend)

    def insert(self, session: Session, recorded: Recorded, backend: int, *, origin: Origin = "run") -> None:
        """Write the first row of a version; a second one is a `DuplicateRecord`."""
        text = (
            f"{_RESET}INSERT INTO {self._bound} "
            "(number, name, token_hash, up_hash, duration, library_version, progress, origin) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING pg_backend_pid()"
        )
        migration = recorded.migration
        values = [migration.number, migration.name, migration.token_hash, migration.up_hash]
        told = [recorded.duration, _library_version(), recorded.progress, origin]
        self._write(session, text, [*values, *told], backend)

    def update(self, session: Session, recorded: Recorded, backend: int) -> None:
        """Write how far a version has come that has a row already."""
        text = (
            f"{_RESET}UPDATE {self._bound} SET token_hash = %s, up_hash = %s, "
            "applied_at = clock_timestamp(), applied_by = session_user, duration = duration + %s, "
            "library_version = %s, progress = %s WHERE number = %s AND name = %s RETURNING pg_backend_pid()"
        )
        migration = recorded.migration
        values: list[object] = [migration.token_hash, migration.up_hash, recorded.duration]
        values += [_library_version(), recorded.progress]
        self._write(session, text, [*values, migration.number, migration.name], backend)

    def delete(self, session: Session, migration: Migration, backend: int) -> None:
        """Take the row of a version that was rolled back as a whole."""
        text = f"{_RESET}DELETE FROM {self._bound} WHERE number = %s AND name = %s RETURNING pg_backend_pid()"
        self._write(session, text, [migration.number, migration.name], backend)

    def adopt(self, session: Session, migrations: Iterable[Migration], backend: int) -> None:
        """Write versions down as applied that were not run here: what they make is there already."""
        for migration in migrations:
            recorded = Recorded(migration, Direction.UP, dt.timedelta(0))
            self.insert(session, recorded, backend, origin="baseline")

    def fold(self, session: Session, row: Applied, backend: int) -> None:
        """Write the one row that stands for those of the versions that a squashed file replaces."""
        text = (
            f"{_RESET}DELETE FROM {self._bound} WHERE name = ANY (%s);INSERT INTO {self._bound} "
            "(number, name, token_hash, up_hash, applied_at, applied_by, duration, library_version, origin) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING pg_backend_pid()"
        )
        values = [row.number, row.name, row.token_hash, row.up_hash, row.applied_at, row.applied_by]
        told = [row.duration, _library_version(), row.origin]
        self._write(session, text, [list(row.folds), *values, *told], backend)

    def _write(self, session: Session, text: str, values: list[object], backend: int) -> None:
        [found] = session.one(Statement(text, "migrations.record", writes=True), values)
        if found != backend:
            raise PoolerInTheWay(
                f"this transaction ran on server process {found}, the migrations' lock is held by {backend}: "
                "a pooler lies between; set migration_url to the server's own address. It was rolled back"
            )


@lru_cache
def _library_version() -> str:
    try:
        return importlib.metadata.version("database-handler")
    except importlib.metadata.PackageNotFoundError:  # run out of a checkout
        return "unknown"


def _applied(row: tuple[Any, ...]) -> Applied:
    number, name, token_hash, applied_at, applied_by, duration, library_version, progress, origin = row[:9]
    return Applied(
        number,
        name,
        token_hash,
        applied_at,
        applied_by,
        duration,
        library_version,
        _progress(progress),
        origin or "run",
        up_hash=row[9],
    )


def _is_of(row: Applied, migration: Migration | None) -> bool:
    return migration is not None and migration.token_hash == row.token_hash


def _progress(stored: dict[str, Any] | None) -> Progress | None:
    if stored is None:
        return None
    return Progress(
        Direction(str(stored["direction"])),
        int(stored["parts"]),
        str(stored["hash"]),
        stored.get("begun", {}),  # an earlier release did not say
        BatchProgress(stored.get("batches", 0), stored.get("rows", 0), stored.get("after")),
    )
