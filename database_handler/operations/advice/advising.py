"""Asks the server one question after the other; one that fails or takes too long is told, and the rest go on.

Each question reads catalogues and counters: it takes no lock on a table that anybody waits for, and ends
within its time.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from database_handler.core.connection import ConnectionPool
from database_handler.core.exceptions import (
    LockTimeout,
    PermissionDenied,
    QueryError,
    StatementTimeout,
)
from database_handler.core.session import Limits, Session, Statement
from database_handler.core.transaction import Autocommit, TransactionOptions
from database_handler.operations.advice import indexes, server, sessions, tables
from database_handler.operations.advice.findings import Advice, AdviceLimits, Finding

__all__ = ["advise"]

Find = Callable[[Session, AdviceLimits], Iterable[Finding]]

_USUAL = AdviceLimits()
_LOCK_SECONDS = 0.2  # nobody is to wait behind a question, so it does not wait long itself
_ABOUT_SECONDS = 5.0
_GRACE = 1.0  # seconds that the client gives the server to end a question by itself
_QUESTIONS: Mapping[str, Find] = {
    "sessions that block others": sessions.find_blocking,
    "long transactions": sessions.find_long,
    "prepared transactions": sessions.find_prepared,
    "wraparound": tables.find_wraparound,
    "settings": server.find_settings,
    "sequences": tables.find_sequences,
    "invalid indexes": indexes.find_invalid,
    "references without an index": indexes.find_unindexed,
    "duplicate indexes": indexes.find_duplicates,
    "unused indexes": indexes.find_unused,
    "tables that want VACUUM": tables.find_unvacuumed,
    "tables that want ANALYZE": tables.find_unanalysed,
}
_ORDER = ("urgent", "warning", "note")
_ABOUT = Statement(
    f"SELECT current_database(), current_setting('server_version'), ({indexes.SINCE.text}), current_user, "
    "pg_has_role('pg_read_all_stats', 'USAGE'), "
    "(SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE "
    "n.nspname !~ '^pg_' "
    "AND CASE c.relkind WHEN 'S' THEN NOT has_sequence_privilege(c.oid, 'USAGE, SELECT') END), "
    "pg_is_in_recovery()",
    "advise.about",
)


def advise(
    pool: ConnectionPool, *, limits: AdviceLimits | None = None, statement_timeout: float = 5.0
) -> Advice:
    """Ask what should be looked at in the database that the pool connects to.

    Parameters
    ----------
    statement_timeout : float
        Seconds for each question.
    """
    asking = _session(pool, statement_timeout)
    name, version, since, role, sees_all, hidden, standby = _session(pool, _ABOUT_SECONDS).one(_ABOUT)
    found, failed = _asked(asking, limits or _USUAL)
    return Advice(
        database=name,
        server_version=version.split(" ")[0],
        counted_since=since,
        findings=tuple(sorted(found, key=lambda each: _ORDER.index(each.severity))),
        unseen=(*failed, *_unseen(role, sees_all=sees_all, hidden=hidden, standby=standby)),
    )


def _session(pool: ConnectionPool, seconds: float) -> Session:
    return Autocommit(
        lambda: pool.borrow(purpose="advise"),
        TransactionOptions(read_only=True, statement_timeout=seconds, lock_timeout=_LOCK_SECONDS),
        Limits(deadline=seconds + _GRACE),
    ).session


def _asked(session: Session, limits: AdviceLimits) -> tuple[list[Finding], list[str]]:
    found: list[Finding] = []
    failed: list[str] = []
    for what, find in _QUESTIONS.items():
        try:
            found += find(session, limits)
        except (StatementTimeout, LockTimeout, QueryError, PermissionDenied) as error:
            failed.append(f"{what}: {type(error).__name__}: {error}")
    return found, failed


def _unseen(role: str, *, sees_all: bool, hidden: int, standby: bool) -> Iterator[str]:
    if not sees_all:
        yield (
            f"sessions of other roles: {role} sees that they are there, and not since when, nor what they do "
            f"(GRANT pg_read_all_stats TO {role}, or ask as an administrator)"
        )
    if hidden:
        yield f"how far {hidden} sequences are: {role} may not read them"
    if standby:
        yield "what the primary counts: this server is a standby, and counts its own reads only"
