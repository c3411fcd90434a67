"""What stands in the database: its histories, its schema, and what its schema should be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from database_handler.config.database import DatabaseConfig
from database_handler.core.session import Session, Statement
from database_handler.core.transaction import Transaction, TransactionOptions
from database_handler.migrations.files.migration import Migration
from database_handler.migrations.files.planning import Applied, check_history
from database_handler.migrations.runner import recording
from database_handler.migrations.runner.locking import Kept
from database_handler.migrations.runner.recording import head_of, look
from database_handler.migrations.runner.running import FolderRun, connected
from database_handler.migrations.schema.snapshot import SchemaSnapshot
from database_handler.migrations.scratch.place import copy_of

__all__ = ["Expected", "Live", "expected_of", "heads_after", "look_live", "look_over", "made_by", "schema_of"]

_LOOK = TransactionOptions(isolation="repeatable read", read_only=True)

Source = Literal["recorded", "replayed"]


@dataclass(frozen=True, slots=True)
class Live:
    """One look at a database, all of it at one moment.

    Attributes
    ----------
    histories : sequence
        The rows of each folder's history, in the order of the chain.
    """

    schema: str | None
    runs: Sequence[FolderRun]
    histories: Sequence[tuple[Applied, ...]]
    snapshot: SchemaSnapshot
    recorded: recording.Recorded | None

    @property
    def heads(self) -> dict[str, str | None]:
        """The head of each history, by its table."""
        return {run.table: head_of(rows) for run, rows in zip(self.runs, self.histories, strict=True)}

    @property
    def applied(self) -> list[Migration]:
        """The versions that are applied as a whole, in the order of the chain."""
        return [file for file, row in self._rows() if row is not None and row.progress is None]

    @property
    def pending(self) -> list[Migration]:
        """The versions that are not, or not as a whole."""
        return [file for file, row in self._rows() if row is None or row.progress is not None]

    def _rows(self) -> list[tuple[Migration, Applied | None]]:
        found: list[tuple[Migration, Applied | None]] = []
        for run, history in zip(self.runs, self.histories, strict=True):
            rows = {row.name: row for row in history}
            found += [(file, rows.get(file.name)) for file in run.files]
        return found

    def check(self) -> None:
        """Refuse histories that the files do not explain."""
        for run, history in zip(self.runs, self.histories, strict=True):
            check_history(run.files, history)


@dataclass(frozen=True, slots=True)
class Expected:
    """What a schema should be, and how that is known."""

    snapshot: SchemaSnapshot
    source: Source


def look_live(config: DatabaseConfig, runs: Sequence[FolderRun]) -> Live:
    """Look at a database over a connection of its own, in one read-only transaction."""
    with connected(config) as lease:
        return look_over(lease, config, runs)


def look_over(lease: Kept, config: DatabaseConfig, runs: Sequence[FolderRun]) -> Live:
    """Look at a database over a connection that the caller keeps."""
    with Transaction(lambda: lease, _LOOK) as session:
        schema = schema_of(session, config, runs[-1].table)
        histories = [run.history(session) if _has(session, run) else () for run in runs]
        return Live(schema, runs, histories, look(session, schema), recording.read(session, schema))


_THERE = Statement("SELECT to_regclass(%s) IS NOT NULL", "migrations.has_history")
_SCHEMA = Statement(
    "SELECT coalesce((SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
    " ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s)), current_schema())::text",
    "migrations.schema",
)


def _has(session: Session, run: FolderRun) -> bool:
    # Asked first: in a transaction the error about a missing table could not be got over.
    return bool(session.one(_THERE, [run.qualified])[0])


def schema_of(session: Session, config: DatabaseConfig, table: str) -> str | None:
    """Return the schema that migrations work in: where the history is, or would be made."""
    chosen: str | None = getattr(config, "schema_name", None)
    found: str | None = session.one(_SCHEMA, [f'"{table}"'])[0]
    return chosen or found


def expected_of(config: DatabaseConfig, live: Live) -> Expected:
    """Return the schema as it was recorded, or as the applied versions make it where nothing was."""
    live.check()
    found = live.recorded
    files = [file for run in live.runs for file in run.files]
    if found is not None and found.stands_at(live.heads, live.snapshot.server_version, files):
        return Expected(found.snapshot, "recorded")
    return Expected(made_by(config, live.applied), "replayed")


def made_by(config: DatabaseConfig, migrations: Sequence[Migration]) -> SchemaSnapshot:
    """Return the schema that versions make, run on a scratch copy."""
    with copy_of(config, migrations) as session:
        return look(session)


def heads_after(live: Live, changes: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the heads to record once some of the histories stand elsewhere."""
    known = dict(live.recorded.heads) if live.recorded else {}
    return {**known, **live.heads, **changes}
