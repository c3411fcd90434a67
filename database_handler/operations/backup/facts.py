"""What a snapshot of a database holds: its tables with their rows, its schema, and the files it refers to.

All of it is read in the snapshot that pg_dump is given, so the counts are those of the dump; but in another
transaction, which is over before pg_dump begins. Otherwise pg_dump would wait behind whoever waits for the
locks of that transaction, which waits for pg_dump.

Row-level security is switched off for the reading, which the server refuses to a role that would see only
some of the rows; but for a role that policies show every row, as those of `roles apply` do where BYPASSRLS
cannot be given.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from psycopg2 import sql

from database_handler.content.store import checksum_of
from database_handler.core.base_model import Record
from database_handler.core.exceptions import DatabaseError, InvalidValue, LockTimeout, PermissionDenied
from database_handler.core.quoting import literal, qualified
from database_handler.core.session import Session, Statement
from database_handler.migrations.schema.introspection import introspect
from database_handler.migrations.schema.snapshot import (
    DefaultPrivileges,
    Kind,
    ObjectId,
    SchemaObject,
    SchemaSnapshot,
    View,
)
from database_handler.repositories.files import file_columns

__all__ = [
    "DENIED",
    "Facts",
    "Heads",
    "ServerFacts",
    "Snapshot",
    "counted",
    "exported",
    "facts_of",
    "fingerprint_of",
    "guarded_tables",
    "server_facts",
]

Heads = Callable[[Session], Mapping[str, str | None]]
"""Gives the newest applied migration by whose it is: "library", "application"."""

DENIED = (
    "The role of a backup needs SELECT on every table and sequence (pg_read_all_data has it), and, where "
    "tables have row-level security, BYPASSRLS or policies that show it every row (`roles apply` gives it "
    "these): a backup of some of the rows is refused"
)

# A server that ends idle transactions must not end this one; what it may time out is bounded by the caller.
_BEGIN = Statement(
    "SELECT set_config('row_security', %s, true), "
    "set_config('idle_in_transaction_session_timeout', '0', true), "
    "set_config('statement_timeout', '0', true), set_config('lock_timeout', %s, true)",
    "backup.begin",
)
# The tables whose rows policies show to this role, whether they show all, and which policies these are. One
# shows all where its condition is `true`; a restrictive one takes away from what the others show.
_GUARDED = Statement(
    "SELECT n.nspname::text, c.relname::text, coalesce(bool_or(p.polpermissive AND p.every), false) "
    "AND coalesce(bool_and(p.every) FILTER (WHERE NOT p.polpermissive), true), "
    "coalesce(array_agg(p.version ORDER BY p.version) FILTER (WHERE p.version IS NOT NULL), '{}') "
    "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "LEFT JOIN LATERAL (SELECT polpermissive, oid::text || '.' || xmin::text AS version, "
    "pg_get_expr(polqual, polrelid) IS NOT DISTINCT FROM 'true' AS every FROM pg_catalog.pg_policy "
    "WHERE polrelid = c.oid AND polcmd IN ('r', '*') AND EXISTS (SELECT FROM unnest(polroles) AS r(oid) "
    "WHERE r.oid = 0 OR pg_has_role(r.oid, 'USAGE'))) AS p ON true "
    "WHERE c.relkind = 'r' AND c.relrowsecurity AND row_security_active(c.oid) "
    "GROUP BY c.oid, n.nspname, c.relname ORDER BY 1, 2",
    "backup.guarded",
)
_SNAPSHOT = Statement(
    "SELECT set_config('idle_in_transaction_session_timeout', '0', true), pg_export_snapshot(), "
    "clock_timestamp()",
    "backup.snapshot",
)
_SERVER = Statement(
    "SELECT current_setting('server_version_num')::int, c.system_identifier::text, "
    "current_database()::text, current_setting('server_encoding') FROM pg_control_system() AS c",
    "backup.server",
)
# No tables of extensions: pg_dump leaves their rows to CREATE EXTENSION.
_TABLES = Statement(
    "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_class c "
    "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
    "WHERE c.relkind = 'r' AND c.relpersistence <> 't' "
    "AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' "
    "AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass "
    "AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1, 2",
    "backup.tables",
)
_SCHEMAS = Statement(
    "SELECT n.nspname::text FROM pg_catalog.pg_namespace n "
    "WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' "
    "AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d "
    "WHERE d.classid = 'pg_catalog.pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e') "
    "ORDER BY 1",
    "backup.schemas",
)
# What the cluster's first role owns is in no pg_shdepend, so the owners are asked for as well.
_ROLES = Statement(
    "SELECT r.rolname::text FROM pg_catalog.pg_roles r WHERE r.rolname !~ '^pg_' AND r.oid IN ("
    "SELECT refobjid FROM pg_catalog.pg_shdepend WHERE refclassid = 'pg_catalog.pg_authid'::regclass "
    "AND dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()) "
    "UNION SELECT c.relowner FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n "
    "ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema') ORDER BY 1",
    "backup.roles",
)
_IS_TABLE = Statement("SELECT to_regclass(%s) IS NOT NULL", "backup.is_table")


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Which server and database a session is on."""

    version: int
    system_identifier: str
    database: str
    encoding: str

    @property
    def major(self) -> int:
        """The major version, such as 18."""
        return self.version // 10_000


@dataclass(frozen=True, slots=True)
class Facts:
    """What one snapshot holds, and of which moment it is."""

    moment: datetime
    schemas: tuple[str, ...]
    fingerprint: str
    heads: dict[str, str | None]
    rows: dict[str, int]
    roles: tuple[str, ...]
    files: tuple[str, ...]
    guarded: "tuple[Guarded, ...]"

    @property
    def by_policies(self) -> bool:
        """Whether this role sees every row, and owes that to policies."""
        return _by_policies(self.guarded)


class Guarded(NamedTuple):
    """A table of which row-level security decides what a role sees, and whether that is all of it."""

    schema: str
    name: str
    shown: bool
    policies: list[str]


def guarded_tables(session: Session) -> tuple[Guarded, ...]:
    """Return the tables of which row-level security decides what this role sees."""
    return tuple(Guarded(*row) for row in session.all(_GUARDED))


def _by_policies(tables: tuple[Guarded, ...]) -> bool:
    return bool(tables) and all(table.shown for table in tables)


def server_facts(session: Session) -> ServerFacts:
    """Return which server and database this is."""
    return ServerFacts(*session.one(_SERVER))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What others name a snapshot by while its transaction lasts, and when it was taken."""

    name: str
    moment: datetime


def exported(session: Session) -> Snapshot:
    """Export the snapshot of a session's transaction, which must be repeatable read."""
    _, name, moment = session.one(_SNAPSHOT)
    return Snapshot(name, moment)


def facts_of(
    session: Session,
    snapshot: Snapshot,
    *,
    heads: Heads,
    records: Iterable[type[Record]],
    lock_timeout: float,
) -> Facts:
    """Return what a snapshot holds, by a transaction that has not asked anything yet.

    Parameters
    ----------
    lock_timeout : float
        Seconds to wait for a table that somebody holds.

    Raises
    ------
    PermissionDenied
        The role may not see every row of every table.
    """
    session.run(Statement(f"SET TRANSACTION SNAPSHOT {literal(snapshot.name)}", "backup.import_snapshot"))
    guarded = guarded_tables(session)
    # Off, the server refuses what policies may hide; on where they show all: a managed server's administrator
    # cannot give BYPASSRLS, and the role of backups has policies instead.
    security = "on" if _by_policies(guarded) else "off"
    session.one(_BEGIN, [security, str(round(lock_timeout * 1000))])
    schemas = tuple(row[0] for row in session.all(_SCHEMAS))
    rows = counted(session)
    return Facts(
        snapshot.moment,
        schemas,
        fingerprint_of(session, schemas),
        dict(heads(session)),
        rows,
        tuple(row[0] for row in session.all(_ROLES)),
        _checksums(session, records),
        guarded,
    )


def fingerprint_of(session: Session, schemas: Sequence[str]) -> str:
    """Return the fingerprint of some schemas, whoever owns them and has rights there; of none for none."""
    if not schemas:
        return ""
    return replace(found := introspect(session, list(schemas)), objects=dict(_bare(found))).fingerprint


def _bare(snapshot: SchemaSnapshot) -> Iterator[tuple[ObjectId, SchemaObject]]:
    """Give the objects without rights, which are restored only where the roles are there."""
    for id, found in snapshot.objects.items():
        if isinstance(found, DefaultPrivileges):
            continue
        bare = replace(found, grants=None)
        if isinstance(bare, View):
            bare = replace(bare, column_grants=())
        # The comment of an extension is its own, and belongs to who made it.
        yield id, replace(bare, comment=None) if id.kind is Kind.EXTENSION else bare


def counted(session: Session) -> dict[str, int]:
    """Count the rows of each table, by its name between quotes with its schema.

    Raises
    ------
    PermissionDenied
        Of a table that the role may not read, or not read whole.
    """
    found: dict[str, int] = {}
    for schema, table in session.all(_TABLES):
        query = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(schema, table))
        try:
            [found[qualified(schema, table)]] = session.one(query)
        except PermissionDenied as error:
            failure: DatabaseError = PermissionDenied(
                f"table {schema}.{table}: {error}. {DENIED}", sqlstate=error.sqlstate, table=table
            )
        except LockTimeout as error:
            failure = LockTimeout(
                f"the table {schema}.{table} is held by somebody for longer than lock_timeout "
                "(--lock-timeout)",
                sqlstate=error.sqlstate,
                table=table,
            )
        else:
            continue
        raise failure
    return found


def _checksums(session: Session, records: Iterable[type[Record]]) -> tuple[str, ...]:
    """Return the checksums of the files in the store that rows refer to, each once, in order."""
    found: set[str] = set()
    for record in records:
        columns = file_columns(record)
        if columns and session.one(_IS_TABLE, [qualified(None, record.table.name)])[0]:
            for column in columns:
                text = f"SELECT DISTINCT {column} FROM {record.table.name} WHERE left({column}, 6) = 'store:'"
                found.update(row[0] for row in session.all(Statement(text, "backup.files")))
    return tuple(sorted(checksum for uri in found if (checksum := _checksum(uri))))


def _checksum(uri: str) -> str | None:
    try:
        return checksum_of(uri)
    except InvalidValue:  # written past the library: it names no file that a store could have
        return None
