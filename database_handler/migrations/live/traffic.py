"""Who is at work on the database now: sizes of tables, transactions in the way of a lock, replicas."""

from collections.abc import Sequence

from pydantic import BaseModel

from database_handler.core.session import Session, Statement

__all__ = ["Blocker", "Replica", "read_blockers", "read_replicas", "read_sizes"]

OLD = 5.0
"""Seconds after which a transaction counts as one that a lock may wait for."""


class Blocker(BaseModel, frozen=True):
    """A transaction that is in the way.

    Attributes
    ----------
    holds : tuple of str
        The tables of the pending versions that it has a lock on.
    """

    pid: int | None
    application: str
    state: str
    seconds: float
    holds: tuple[str, ...]


class Replica(BaseModel, frozen=True):
    """A standby or a replication slot that is fed from here.

    Attributes
    ----------
    lag_seconds : float or None
        How far behind it replays.
    kept_bytes : int
        The WAL that is kept for it; a rewrite adds the table's size to it.
    """

    name: str
    state: str
    lag_seconds: float | None = None
    kept_bytes: int = 0


_FROM = (
    " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
    " WHERE n.nspname = coalesce(%s, current_schema()) AND c.relkind IN ('r', 'p', 'm')"
)
# Before the first VACUUM or ANALYZE, as after a load, the catalogue knows of no row, and the counters do.
_ROWS = "greatest(c.reltuples, pg_catalog.pg_stat_get_live_tuples(c.oid), 0)::bigint"
_SIZES = Statement(
    f"SELECT quote_ident(c.relname), {_ROWS}, pg_total_relation_size(c.oid){_FROM}",
    "preflight.sizes",
)
# What the last VACUUM or ANALYZE counted; unlike the size itself it is known without a lock.
_ESTIMATES = Statement(
    f"SELECT quote_ident(c.relname), {_ROWS}, (SELECT coalesce(sum(r.relpages), 0)"
    " * current_setting('block_size')::bigint FROM pg_catalog.pg_class r"
    " WHERE r.oid IN (c.oid, c.reltoastrelid)"
    " OR r.oid IN (SELECT indexrelid FROM pg_catalog.pg_index WHERE indrelid IN (c.oid, c.reltoastrelid)))"
    f"::bigint{_FROM}",
    "preflight.estimated_sizes",
)


def read_sizes(
    session: Session, schema: str | None, *, estimated: bool = False
) -> dict[str, tuple[int, int]]:
    """Return about how many rows each table has, and its bytes with indexes and long values.

    Parameters
    ----------
    estimated : bool
        Take the bytes from the catalogue: the true ones wait for who has locked a table.
    """
    rows = session.all(_ESTIMATES if estimated else _SIZES, [schema])
    return {name: (count, size) for name, count, size in rows}


# A transaction that is prepared holds its locks without a process.
_BLOCKERS = Statement(
    """
    SELECT a.pid, coalesce(nullif(a.application_name, ''), a.backend_type, ''), coalesce(a.state, 'active'),
           extract(epoch FROM clock_timestamp() - a.xact_start)::double precision, held.names
    FROM pg_catalog.pg_stat_activity a CROSS JOIN LATERAL (
        SELECT coalesce(array_agg(DISTINCT quote_ident(c.relname)), '{}') AS names
        FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE l.pid = a.pid AND l.granted AND n.nspname = coalesce(%(schema)s, current_schema())
          AND quote_ident(c.relname) = ANY(%(tables)s::text[])
          AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    ) AS held
    WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.xact_start IS NOT NULL
      AND (clock_timestamp() - a.xact_start > %(old)s * interval '1 second' OR cardinality(held.names) > 0)
    UNION ALL
    SELECT NULL, gid, 'prepared', extract(epoch FROM clock_timestamp() - prepared)::double precision, '{}'
    FROM pg_catalog.pg_prepared_xacts WHERE database = current_database()
    ORDER BY 4 DESC
    """,
    "preflight.blockers",
)


def read_blockers(session: Session, schema: str | None, tables: Sequence[str]) -> list[Blocker]:
    """Return the transactions that are old or hold something on `tables`, the oldest first."""
    rows = session.all(_BLOCKERS, {"schema": schema, "tables": list(tables), "old": OLD})
    return [
        Blocker(pid=pid, application=name, state=state, seconds=round(seconds, 1), holds=tuple(holds))
        for pid, name, state, seconds, holds in rows
    ]


_REPLICAS = Statement(
    """
    SELECT coalesce(nullif(application_name, ''), 'a standby'), coalesce(state, 'unknown'),
           extract(epoch FROM replay_lag)::double precision, 0
    FROM pg_catalog.pg_stat_replication
    UNION ALL
    SELECT slot_name::text, 'slot without a reader', NULL,
           CASE WHEN pg_is_in_recovery() THEN 0
                ELSE coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint END
    FROM pg_catalog.pg_replication_slots WHERE NOT active
    ORDER BY 1
    """,
    "preflight.replicas",
)


def read_replicas(session: Session) -> list[Replica]:
    """Return who is fed from this server, and the slots that nobody reads."""
    return [
        Replica(name=name, state=state, lag_seconds=lag, kept_bytes=kept)
        for name, state, lag, kept in session.all(_REPLICAS)
    ]
