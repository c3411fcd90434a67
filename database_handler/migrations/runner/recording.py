"""The schema as a run of migrations left it, kept in the database for `drift` to compare with.

One row for a schema, whatever the number of its histories, with the head of each. Drift that was there before
a run is not taken for the run's work: an object that the run did not touch keeps what was recorded of it.
A record that is not of the heads that the database stands at (a run was killed before it wrote one, an
earlier release ran it) counts for nothing; then the versions themselves are played on a scratch copy.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from database_handler.core.changes import OUTBOX, READERS
from database_handler.core.exceptions import MigrationError
from database_handler.core.quoting import qualified
from database_handler.core.session import Session, Statement
from database_handler.core.transaction import Transaction, TransactionOptions
from database_handler.migrations.errors import MigrationFailed
from database_handler.migrations.files.migration_values import Migration
from database_handler.migrations.files.planning import Applied
from database_handler.migrations.runner.history import History
from database_handler.migrations.runner.locking import Kept
from database_handler.migrations.schema.rights import without_roles
from database_handler.migrations.schema.snapshot import Index, Kind, ObjectId, SchemaObject, SchemaSnapshot
from database_handler.utils.logger import get_logger

__all__ = ["TABLE", "Recorded", "forget", "head_of", "look", "read", "recording", "without_own", "write"]

TABLE = "database_handler_migrations_snapshot"
"""The table's name; it is no part of what is compared."""

_log = get_logger(__name__)
_THERE = Statement("SELECT to_regclass(%s) IS NOT NULL", "migrations.has_snapshot")
_LOOK = TransactionOptions(isolation="repeatable read", read_only=True)
_WRITE = TransactionOptions(resolve=False)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded: the head of each history by its table, and the schema that they made.

    Attributes
    ----------
    server_version : int
        The server that deparsed it; another major version may spell the same thing differently.
    """

    heads: Mapping[str, str | None]
    snapshot: SchemaSnapshot
    server_version: int

    def stands_at(
        self, heads: Mapping[str, str | None], server_version: int, files: Iterable[Migration]
    ) -> bool:
        """Whether it is of these heads, and of a server of this major version.

        A squashed file among `files` stands where the last of those that it replaces stood.
        """
        was = {file.name: file.replaces[-1].name for file in files if file.replaces}
        same = all(
            self.heads.get(table) in {head, was.get(head or "", head)} for table, head in heads.items()
        )
        return same and self.server_version // 10_000 == server_version // 10_000


def look(session: Session, schema: str | None = None) -> SchemaSnapshot:
    """Return the schema as it is, without what no version makes.

    That is the tables that migrations keep for themselves, and the rights and policies that `roles apply`
    gives; ``roles check`` is what holds those.
    """
    from database_handler.migrations.schema.introspection import introspect

    found = without_own(introspect(session, schema))
    roles = frozenset(name for (name,) in session.all(_ROLES))
    return without_roles(found, roles) if roles else found


# The roles of `roles apply` are known by the comment that it gives them.
_ROLES = Statement(
    "SELECT quote_ident(r.rolname) FROM pg_catalog.pg_roles AS r WHERE "
    "pg_catalog.shobj_description(r.oid, 'pg_authid') "
    "SIMILAR TO '%\\(database\\_handler: [a-z\\_]+ of %\\)'",
    "migrations.roles",
)


_OF_A_HISTORY = frozenset({"number", "name", "token_hash", "applied_at", "applied_by", "library_version"})


def without_own(snapshot: SchemaSnapshot) -> SchemaSnapshot:
    """Return a snapshot without histories, known by their columns, the record itself, and the outbox."""
    columns: dict[str, set[str]] = {}
    for found in snapshot.objects:
        if found.kind is Kind.COLUMN:
            columns.setdefault(found.name, set()).add(found.part)
    own = {TABLE, OUTBOX, READERS} | {name for name, parts in columns.items() if parts >= _OF_A_HISTORY}
    kept = {id: found for id, found in snapshot.objects.items() if _relation(found) not in own}
    return replace(snapshot, objects=kept)


def _relation(found: SchemaObject) -> str:
    return found.table if isinstance(found, Index) else found.id.name


def read(session: Session, schema: str | None) -> Recorded | None:
    """Return what was recorded for a schema; None where nothing is, or nothing that this release can read."""
    [there] = session.one(_THERE, [_qualified(schema)])
    if not there:
        return None
    text = f"SELECT heads, snapshot, server_version FROM {_qualified(schema)}"
    row = session.maybe(Statement(text, "migrations.read_snapshot"))
    if row is None:
        return None
    heads, stored, server_version = row
    try:
        return Recorded(heads, SchemaSnapshot.from_json(stored), server_version)
    except (MigrationError, KeyError, TypeError, ValueError):  # written by another release
        return None


def write(session: Session, schema: str | None, recorded: Recorded) -> None:
    """Put a record in the place of the one before."""
    text = f"""CREATE TABLE IF NOT EXISTS {_qualified(schema)} (
    one             boolean PRIMARY KEY DEFAULT true CHECK (one),
    heads           jsonb NOT NULL,
    snapshot        text NOT NULL,
    server_version  integer NOT NULL,
    recorded_at     timestamptz NOT NULL
)"""
    session.run(Statement("SET LOCAL client_min_messages = error", "migrations.quiet"))
    session.run(Statement(text, "migrations.create_snapshot", writes=True))
    named = _qualified(schema).replace("%", "%%")  # values are bound in this one
    text = (
        f"INSERT INTO {named} (heads, snapshot, server_version, recorded_at) "
        "VALUES (%s, %s, %s, clock_timestamp()) ON CONFLICT (one) DO UPDATE SET heads = excluded.heads, "
        "snapshot = excluded.snapshot, server_version = excluded.server_version, "
        "recorded_at = excluded.recorded_at"
    )
    values = [json.dumps(dict(recorded.heads)), recorded.snapshot.to_json(), recorded.server_version]
    session.run(Statement(text, "migrations.write_snapshot", writes=True), values)


def forget(session: Session, schema: str | None) -> None:
    """Take a record away that counts for nothing."""
    session.run(Statement(f"DELETE FROM {_qualified(schema)}", "migrations.forget_snapshot", writes=True))


def _qualified(schema: str | None) -> str:
    return qualified(schema, TABLE)


@contextmanager
def recording(lease: Kept, history: History, files: Sequence[Migration]) -> Iterator[None]:
    """Record the schema as the block leaves it, under the migrations' lock that the caller holds.

    What goes wrong with the record itself is logged and raised to nobody: the versions are applied.
    """
    before = _quietly(lambda: _Before.of(lease, history, files))
    try:
        yield
    except MigrationFailed:
        _record(before, lease, history)  # versions before it may stand
        raise
    _record(before, lease, history)


def _record(before: "_Before | None", lease: Kept, history: History) -> None:
    if before is not None:
        _quietly(lambda: before.record(lease, history))


def head_of(history: Sequence[Applied]) -> str | None:
    """Return the name of the last version that is applied as a whole."""
    return next((row.name for row in reversed(history) if row.progress is None), None)


T = TypeVar("T")


def _quietly(work: Callable[[], T]) -> T | None:
    try:
        return work()
    except Exception as error:  # noqa: BLE001  # drift is then told by playing the versions; the run is done
        _log.warning("migrations.snapshot_not_recorded", error=f"{type(error).__name__}: {error}")
        return None


@dataclass(frozen=True, slots=True)
class _Before:
    """What there was before a run: the record, and the schema."""

    heads: Mapping[str, str | None]
    recorded: SchemaSnapshot
    found: SchemaSnapshot

    @classmethod
    def of(cls, lease: Kept, history: History, files: Sequence[Migration]) -> "_Before | None":
        """Look; None where what was recorded counts for nothing, and so nothing can be added to it."""
        with Transaction(lambda: lease, _LOOK) as session:
            recorded, head = read(session, history.schema), head_of(history.read(session) or ())
            found = look(session, history.schema)
        if recorded is None:
            return None if head else cls({}, found, found)
        if recorded.stands_at({history.table: head}, found.server_version, files):
            return cls(recorded.heads, recorded.snapshot, found)
        with Transaction(lambda: lease, _WRITE) as session:
            forget(session, history.schema)
        return None

    def record(self, lease: Kept, history: History) -> None:
        """Write what is there now, but for what was there before and is no migration's work."""
        with Transaction(lambda: lease, _LOOK) as session:
            head = head_of(history.read(session) or ())
            now = look(session, history.schema)
        with Transaction(lambda: lease, _WRITE) as session:
            made = replace(now, objects=dict(self._merged(now)))
            heads = {**self.heads, history.table: head}
            write(session, history.schema, Recorded(heads, made, now.server_version))

    def _merged(self, now: SchemaSnapshot) -> Iterator[tuple[ObjectId, SchemaObject]]:
        for id in sorted({*self.recorded.objects, *now.objects}):
            untouched = self.found.objects.get(id) == now.objects.get(id)
            kept = self.recorded.objects.get(id) if untouched else now.objects.get(id)
            if kept is not None:
                yield id, kept
