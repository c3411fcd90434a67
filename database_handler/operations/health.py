"""How the database is, as a value: it never raises, and a server that does not answer costs a few seconds."""

from collections.abc import Callable

from pydantic import BaseModel

from database_handler.core.connection import ConnectionPool, PoolStats
from database_handler.core.exceptions import DatabaseHandlerError
from database_handler.core.session import Limits, Session, Statement
from database_handler.core.transaction import Autocommit, TransactionOptions

__all__ = ["Health", "check"]

SECONDS = 2.0  # for the borrow, and again for the question

_ASK = Statement(
    "SELECT current_setting('server_version'), current_setting('server_encoding'), pg_is_in_recovery(), "
    "CASE WHEN pg_is_in_recovery() "
    "THEN extract(epoch FROM now() - pg_last_xact_replay_timestamp())::double precision END",
    "health.check",
)


class Health(BaseModel, frozen=True):
    """How the database is.

    Attributes
    ----------
    ok : bool
        It answers, its schema is at the version that this library expects, and its encoding is UTF8.
    server_version : str or None
        As the server says it, such as "18.6".
    head, expected_head : str or None
        The newest migration that is applied, and the newest that there is.
    application_head, expected_application_head : str or None
        The same of an application's own migrations; None where it has none.
    replica : bool or None
        Whether the server is a standby.
    replica_lag : float or None
        Seconds since the last replayed transaction; None on a primary.
    error : str or None
        Why it does not answer or cannot be used; safe to show.
    """

    ok: bool
    server_version: str | None = None
    head: str | None = None
    expected_head: str | None = None
    application_head: str | None = None
    expected_application_head: str | None = None
    replica: bool | None = None
    replica_lag: float | None = None
    pool: PoolStats
    error: str | None = None


Heads = Callable[[Session], tuple[str | None, str | None]]


def _none(_session: Session) -> tuple[None, None]:
    return None, None


def check(pool: ConnectionPool, heads: Heads, application_heads: Heads = _none) -> Health:
    """Ask the server how it is.

    Parameters
    ----------
    heads, application_heads : callable
        Gives the applied and the expected newest migration, of the library and of an application.
    """
    session = Autocommit(
        lambda: pool.borrow(timeout=SECONDS, purpose="health"),
        TransactionOptions(statement_timeout=SECONDS),
        Limits(deadline=SECONDS),
    ).session
    try:
        version, encoding, replica, lag = session.one(_ASK)
        head, expected = heads(session)
        own, own_expected = application_heads(session)
    except DatabaseHandlerError as failure:
        return Health(ok=False, pool=pool.stats(), error=f"{type(failure).__name__}: {failure}")
    return Health(
        ok=(head, own) == (expected, own_expected) and encoding == "UTF8",
        server_version=version.split(" ")[0],
        head=head,
        expected_head=expected,
        application_head=own,
        expected_application_head=own_expected,
        replica=replica,
        replica_lag=lag,
        pool=pool.stats(),
        error=None if encoding == "UTF8" else f"the database's encoding is {encoding}, not UTF8",
    )
