"""How the database is, as a value: it never raises, and a server that does not answer costs a bounded time.

`live` and `ready` are what probes ask. A process is live as long as a restart of it would mend nothing: a
server that is down, a pool that is starved and a schema that is behind are no reasons to end it. It is ready
when it can serve: the server answers, every migration that this release knows is applied, the pool is not
starved, a standby is not too far behind. A schema that a newer release has migrated further is ready too:
in a rolling deployment the old release still runs on it.
"""

from collections.abc import Callable
from enum import StrEnum

from pydantic import BaseModel, computed_field

from database_handler.core.connection import ConnectionPool, PoolStats
from database_handler.core.deadline import Deadline, checked_seconds
from database_handler.core.exceptions import (
    DatabaseHandlerError,
    InvalidValue,
    PoolClosed,
    PoolOverloaded,
    PoolTimeout,
)
from database_handler.core.replicas import ReplicaStatus
from database_handler.core.session import Limits, Session, Statement
from database_handler.core.transaction import Autocommit, TransactionOptions
from database_handler.migrations.runner.heads import NOTHING, Standing

__all__ = ["Health", "HealthLimits", "Reason", "Unready", "check"]

SECONDS = 2.0  # for all of it

# A standby that has replayed all that its primary sent is not behind, however long nothing was written.
_ASK = Statement(
    "SELECT current_setting('server_version'), current_setting('server_encoding'), pg_is_in_recovery(), "
    "CASE WHEN NOT pg_is_in_recovery() THEN NULL "
    "WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() AND EXISTS (SELECT FROM pg_stat_wal_receiver) "
    "THEN 0 "
    "ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp())::double precision END",
    "health.check",
)


class Unready(StrEnum):
    """Why a process cannot serve now."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    ENCODING = "encoding"
    BEHIND = "behind"
    POOL_STARVED = "pool_starved"
    POOL_CLOSED = "pool_closed"
    REPLICA_LAG = "replica_lag"


class Reason(BaseModel, frozen=True):
    """One of the reasons, and what is to be said about it; safe to show."""

    kind: Unready
    message: str


class Health(BaseModel, frozen=True):
    """How the database is.

    Attributes
    ----------
    reasons : tuple of Reason
        Why it is not ready; empty where it is.
    reachable : bool or None
        Whether the server answers; None where it could not be asked, for the pool had no connection free.
    server_version : str or None
        As the server says it, such as "18.6".
    head, expected_head : str or None
        The newest migration that is applied, and the newest that there is.
    application_head, expected_application_head : str or None
        The same of an application's own migrations; None where it has none.
    newer : bool
        Whether a newer release has migrated it further; all that this one expects is applied.
    replica : bool or None
        Whether the server is a standby.
    replica_lag : float or None
        Seconds since the last replayed transaction, 0 when all that was received is replayed; None on a
        primary.
    replicas : tuple of ReplicaStatus
        How the read replicas are, by ``replica_urls``; none of them is a reason, for the primary serves.
    """

    reasons: tuple[Reason, ...] = ()
    reachable: bool | None = None
    server_version: str | None = None
    head: str | None = None
    expected_head: str | None = None
    application_head: str | None = None
    expected_application_head: str | None = None
    newer: bool = False
    replica: bool | None = None
    replica_lag: float | None = None
    replicas: tuple[ReplicaStatus, ...] = ()
    pool: PoolStats

    @computed_field  # type: ignore[prop-decorator]  # pydantic's own way
    @property
    def ready(self) -> bool:
        """Whether the process can serve: there is no reason against it."""
        return not self.reasons

    @computed_field  # type: ignore[prop-decorator]
    @property
    def live(self) -> bool:
        """Whether the process can still work, now or later: its pool is open."""
        return all(reason.kind is not Unready.POOL_CLOSED for reason in self.reasons)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def ok(self) -> bool:
        """The same as `ready`."""
        return self.ready

    @computed_field  # type: ignore[prop-decorator]
    @property
    def error(self) -> str | None:
        """Why the database cannot be used; None where only its schema, or a standby, is behind."""
        late = (Unready.BEHIND, Unready.REPLICA_LAG)
        return next((reason.message for reason in self.reasons if reason.kind not in late), None)


class HealthLimits:
    """What is still ready.

    Parameters
    ----------
    seconds : float
        The time for all of it.
    max_waiting : int, optional
        More borrowers than this in the pool's queue, and it is starved; as many as it has connections when
        left out. It is starved too where no connection becomes free within half of `seconds`.
    max_replica_lag : float, optional
        Seconds that a standby may be behind; None: any.
    """

    def __init__(
        self,
        seconds: float = SECONDS,
        max_waiting: int | None = None,
        max_replica_lag: float | None = 30.0,
    ) -> None:
        checked_seconds("seconds", seconds)
        if max_waiting is not None and (isinstance(max_waiting, bool) or not 0 <= max_waiting <= 2**31):
            raise InvalidValue("max_waiting is a whole number from 0 on, or None")
        if max_replica_lag is not None and not 0 <= max_replica_lag <= 2**31:
            raise InvalidValue("max_replica_lag is a number of seconds from 0 on, or None")
        self.seconds = seconds
        self.max_waiting = max_waiting
        self.max_replica_lag = max_replica_lag


Standings = Callable[[Session], Standing]


def _none(_session: Session) -> Standing:
    return NOTHING


def check(
    pool: ConnectionPool,
    standing: Standings,
    application: Standings = _none,
    *,
    limits: HealthLimits | None = None,
) -> Health:
    """Ask the server how it is.

    Parameters
    ----------
    standing, application : callable
        Says how the applied migrations stand to the expected ones, of the library and of an application.
    """
    bounds = limits or HealthLimits()
    deadline = Deadline(bounds.seconds)
    queue = pool.stats().waiting  # before this borrower joins it
    session = Autocommit(
        lambda: pool.borrow(timeout=deadline.within(bounds.seconds / 2), purpose="health"),
        TransactionOptions(statement_timeout=bounds.seconds),
        Limits(deadline=bounds.seconds),
        deadline=deadline,
    ).session
    try:
        version, encoding, replica, lag = session.one(_ASK)
        own, above = standing(session), application(session)
    except DatabaseHandlerError as failure:
        return _failed(pool, failure)
    stats = pool.stats()
    return Health(
        reasons=(
            *_encoding(encoding),
            *_behind(own, above),
            *_starved(queue, stats, bounds.max_waiting),
            *_late(lag, bounds.max_replica_lag),
        ),
        reachable=True,
        server_version=version.split(" ")[0],
        head=own.head,
        expected_head=own.expected,
        application_head=above.head,
        expected_application_head=above.expected,
        newer=own.newer or above.newer,
        replica=replica,
        replica_lag=lag,
        pool=stats,
    )


def _failed(pool: ConnectionPool, failure: DatabaseHandlerError) -> Health:
    """Tell apart what the process lacks (a free connection) and what the server does."""
    kind = Unready.UNREACHABLE
    told: bool | None = False
    if isinstance(failure, PoolClosed):
        kind, told = Unready.POOL_CLOSED, None
    elif isinstance(failure, PoolTimeout | PoolOverloaded):
        kind, told = Unready.POOL_STARVED, None
    elif failure.sqlstate is not None:  # it answers, with an error
        kind, told = Unready.REFUSED, True
    reason = Reason(kind=kind, message=f"{type(failure).__name__}: {failure}")
    return Health(reasons=(reason,), reachable=told, pool=pool.stats())


def _encoding(encoding: str) -> list[Reason]:
    message = f"the database's encoding is {encoding}, not UTF8"
    return [] if encoding == "UTF8" else [Reason(kind=Unready.ENCODING, message=message)]


def _behind(*standings: Standing) -> list[Reason]:
    return [
        Reason(
            kind=Unready.BEHIND,
            message=f"the schema is at {standing.head or 'nothing'}; expected is {standing.expected}",
        )
        for standing in standings
        if standing.behind
    ]


def _starved(queue: int, stats: PoolStats, most: int | None) -> list[Reason]:
    bound = stats.max_size if most is None else most
    if queue <= bound:
        return []
    message = (
        f"{queue} borrowers waited for one of {stats.max_size} connections; more than {bound} are too many"
    )
    return [Reason(kind=Unready.POOL_STARVED, message=message)]


def _late(lag: float | None, most: float | None) -> list[Reason]:
    if lag is None or most is None or lag <= most:
        return []
    message = f"the standby is {lag:.1f} s behind; more than {most:g} s are too many"
    return [Reason(kind=Unready.REPLICA_LAG, message=message)]
