"""What the server counted of each statement (pg_stat_statements), with the repository call that sent it.

The call stands in a comment of the SQL, which the server keeps with the first text that it sees of a
statement. Texts hold no value: the server has put ``$1`` for them, and what it left becomes ``?``.

Sources: PostgreSQL 18, "pg_stat_statements".
"""

from typing import Final, Literal, get_args

from psycopg2 import sql
from pydantic import BaseModel

from database_handler.core.exceptions import (
    ConfigurationError,
    DatabaseError,
    InvalidValue,
    PermissionDenied,
)
from database_handler.core.session import Session, Statement
from database_handler.core.statement_name import name_in
from database_handler.operations.monitoring.redaction import redacted

__all__ = ["StatementStats", "TopOrder", "top"]

TopOrder = Literal["total", "mean", "calls", "rows"]

_NOT_LOADED: Final = "55000"  # object_not_in_prerequisite_state
_HIDDEN: Final = "<insufficient privilege>"
_LOAD: Final = (
    "add pg_stat_statements to shared_preload_libraries in the server's settings, and start the server again"
)
_CREATE: Final = "have a superuser run CREATE EXTENSION pg_stat_statements in this database"


class StatementStats(BaseModel, frozen=True):
    """One statement, as the server counted it since its numbers were last reset.

    Attributes
    ----------
    name : str or None
        The call that sent it, such as ``projects.get_by_id``; None where the SQL names none, and where the
        role may not see it. Calls that send the same SQL are counted as one, by the name of the first.
    total_seconds, mean_seconds, max_seconds : float
        Of running it, without planning.
    rows : int
        Given or changed, in all.
    hit : float or None
        The share of the pages it needed that were in shared buffers, 0 to 1; None where it needed none.
    temporary_blocks : int
        Blocks written to temporary files, for what did not fit into work_mem.
    query : str or None
        Its text without values; None where the role may not see it (it needs ``pg_read_all_stats``).
    """

    name: str | None
    calls: int
    total_seconds: float
    mean_seconds: float
    max_seconds: float
    rows: int
    hit: float | None
    temporary_blocks: int
    query: str | None


_WHERE = Statement(
    "SELECT n.nspname FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace "
    "WHERE e.extname = 'pg_stat_statements'",
    "top.extension",
)
_COLUMNS: Final = {"total": "total_exec_time", "mean": "mean_exec_time", "calls": "calls", "rows": "rows"}
_READ: Final = """
SELECT /* top.read */ query, calls, total_exec_time / 1000 AS total_seconds,
    mean_exec_time / 1000 AS mean_seconds, max_exec_time / 1000 AS max_seconds, rows,
    shared_blks_hit::float8 / nullif(shared_blks_hit + shared_blks_read, 0) AS hit,
    temp_blks_written AS temporary_blocks
FROM {schema}.pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY {column} DESC, calls DESC, queryid LIMIT %s
"""
_RESET: Final = (
    "SELECT /* top.reset */ {schema}.pg_stat_statements_reset(0, oid, 0) "
    "FROM pg_database WHERE datname = current_database()"
)


def top(
    session: Session, *, limit: int = 20, order: TopOrder = "total", reset: bool = False
) -> tuple[StatementStats, ...]:
    """Return the statements of this database, those first that `order` says.

    Raises
    ------
    ConfigurationError
        The server does not keep them, or this role may not read or reset them; the message says what to do.
    """
    if type(limit) is not int or not 1 <= limit <= 10_000:
        raise InvalidValue("limit is a whole number from 1 to 10,000")
    if order not in get_args(TopOrder):
        raise InvalidValue(f"order is one of {', '.join(get_args(TopOrder))}")
    found = session.maybe(_WHERE)
    if found is None:
        raise ConfigurationError(f"pg_stat_statements is not in this database: {_LOAD}; then {_CREATE}")
    schema = sql.Identifier(found[0])
    reading = sql.SQL(_READ).format(schema=schema, column=sql.Identifier(_COLUMNS[order]))
    try:
        rows = session.all(reading, [limit])
        if reset:
            session.all(sql.SQL(_RESET).format(schema=schema))
    except PermissionDenied as failure:
        raise ConfigurationError(
            "this role may not read or reset pg_stat_statements: grant it pg_read_all_stats, and for a reset "
            "EXECUTE on pg_stat_statements_reset",
            sqlstate=failure.sqlstate,
        ) from None
    except DatabaseError as failure:
        if failure.sqlstate != _NOT_LOADED:
            raise
        raise ConfigurationError(
            f"pg_stat_statements is installed but not loaded: {_LOAD}", sqlstate=failure.sqlstate
        ) from None
    return tuple(_stats(*row) for row in rows)


def _stats(query: str | None, *numbers: float) -> StatementStats:
    calls, total, mean, longest, rows, hit, temporary = numbers
    seen = None if query == _HIDDEN else query
    return StatementStats(
        name=seen and name_in(seen),
        calls=int(calls),
        total_seconds=total,
        mean_seconds=mean,
        max_seconds=longest,
        rows=int(rows),
        hit=hit,
        temporary_blocks=int(temporary),
        query=seen and redacted(seen),
    )
