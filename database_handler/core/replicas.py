"""Read replicas: which of them a read may go to, how far each is behind, and what a reader must find there.

Nothing runs by itself: whoever reads, at most once in ``replica_check`` seconds, asks the primary how far it
has written and then each replica how far it has replayed. From these pairs follows how old a replica's rows
can be at most, in seconds, without comparing the clocks of two servers and without taking a primary that
rests for a replica that lags. Who reads meanwhile goes by the last answers and waits for nobody. A server
that failed is asked again by a thread of its own, which ends with the answer: no read pays for one that is
dead for long.

A replica is passed over, and the primary serves, while it fails, is too far behind, takes writes itself, or
follows another history: another cluster, another timeline, or writes that the primary never made.

It is one module, over 300 lines, because what is known of a replica and what follows from it are one set of
rules.

Sources: PostgreSQL 18, "Recovery Information Functions", "Control Data Functions", "Handling Query
Conflicts".
"""

import os
from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import count
from math import inf
from random import uniform
from threading import Lock, Thread
from time import monotonic, sleep
from typing import NamedTuple
from weakref import WeakSet

from pydantic import BaseModel, Field

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import ConnectionPool, Lease
from database_handler.core.exceptions import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionLost,
    DatabaseHandlerError,
    DatabaseUnavailable,
    DeadlockDetected,
    InvalidValue,
    PermissionDenied,
    PoolClosed,
    PoolOverloaded,
    PoolTimeout,
    ReadOnlyServer,
    ResourcesExhausted,
    SchemaMismatch,
    SerializationFailure,
)
from database_handler.core.position import Position, Written, asked, written
from database_handler.core.reader import Mine
from database_handler.utils.logger import get_logger

__all__ = ["Replica", "ReplicaState", "ReplicaStatus", "Replicas"]

_log = get_logger(__name__)

_PAUSE = 0.25, 5.0  # seconds that a replica is left out after a failure: first, longest
_ALIKE = 0.1  # seconds of lag that make no difference: such replicas take turns
_LOOKS = 0.001, 0.02  # seconds between two looks whether a replica has caught up: first, longest
_REMEMBERED = 256  # moments of which it is known how far the primary was
_AGES = 1e9  # seconds: whatever lags more, lags for ever

# The newest timeline that is known to stand on the disk, or (to who may see it) to be received: what is
# replayed now is of no older one.
_ASK = (
    "SELECT pg_is_in_recovery(), c.system_identifier::text, "
    "greatest(p.timeline_id, r.min_recovery_end_timeline, "
    "(SELECT max(received_tli) FROM pg_catalog.pg_stat_wal_receiver)), "
    "(pg_last_wal_replay_lsn() - '0/0')::text, "
    "extract(epoch FROM pg_last_xact_replay_timestamp())::double precision "
    "FROM pg_control_system() AS c, pg_control_checkpoint() AS p, pg_control_recovery() AS r"
)
_ASK_REPLAYED = "SELECT CASE WHEN pg_is_in_recovery() THEN (pg_last_wal_replay_lsn() - '0/0')::text END"

# The server's own trouble: it is left out for a while.
_FAILS = ConnectionLost, DatabaseUnavailable, ResourcesExhausted, AuthenticationFailed, ConfigurationError
_FAILS_BY_CLASS = frozenset({"57", "58", "XX"})  # it shuts down; its disk or its data are damaged
# What another server may not say: a conflict with what is replayed, a table or a right that has not arrived,
# something that no standby does, no connection free.
_ELSEWHERE = (
    *(SerializationFailure, DeadlockDetected, ReadOnlyServer, SchemaMismatch, PermissionDenied),
    *(PoolTimeout, PoolOverloaded, PoolClosed),
)
_NOT_ON_A_STANDBY = "0A000"  # serializable transactions, for one
_CANCELLED = "57014"


class ReplicaState(StrEnum):
    """Whether a replica is read from, and why not."""

    SERVING = "serving"
    LAGGING = "lagging"
    FAILING = "failing"
    PROMOTED = "promoted"
    FOREIGN = "foreign"
    FORKED = "forked"
    UNKNOWN = "unknown"


class ReplicaStatus(BaseModel, frozen=True):
    """How a replica is.

    Attributes
    ----------
    url : str
        Its URL, without the password.
    state : ReplicaState
        ``serving``: it is read from. ``lagging``: too far behind. ``failing``: it did not answer, or not
        well, and is left alone for a moment. ``promoted``: it takes writes. ``foreign``: it is of another
        cluster, so its URL is wrong. ``forked``: it follows another timeline, or has what the primary never
        wrote. ``unknown``: the primary has not been reached yet to compare it with.
    message : str
        The same in a sentence, safe to show; empty where it serves.
    lag_seconds, lag_bytes : float, int or None
        How old its rows may be at most, and how much of the primary's log it had not replayed when both were
        asked last.
    reads : int
        How many reads and units this process has sent there.
    left_out : mapping
        How often this process has left it out for a moment, by the class of the error that it was for.
    """

    url: str
    state: ReplicaState
    message: str = ""
    lag_seconds: float | None = None
    lag_bytes: int | None = None
    reads: int = 0
    left_out: Mapping[str, int] = Field(default_factory=dict)


class _Seen(NamedTuple):
    """What a replica answered.

    Attributes
    ----------
    at : float
        By `time.monotonic`, when its answer was there.
    behind : float
        How many seconds old its rows were at most.
    """

    at: float
    standby: bool
    cluster: int
    timeline: int
    replayed: int
    behind: float


class _Pause:
    """Leaves alone what failed: longer each time, until it answers."""

    __slots__ = ("_failures", "until")

    def __init__(self) -> None:
        self._failures = 0
        self.until = 0.0

    @property
    def is_on(self) -> bool:
        return monotonic() < self.until

    @property
    def failed(self) -> bool:
        """Whether it has not answered since it failed."""
        return self._failures > 0

    def longer(self) -> bool:
        """Begin a pause; return whether it is the first since it answered."""
        first, longest = _PAUSE
        seconds = min(first * 2 ** min(self._failures, 10), longest)
        self._failures += 1
        self.until = monotonic() + uniform(seconds / 2, seconds)  # noqa: S311  # no secret
        return self._failures == 1

    def over(self) -> bool:
        """Begin anew; return whether there was a failure."""
        failed, self._failures, self.until = self._failures > 0, 0, 0.0
        return failed


class Replica:
    """One replica: its own pool, and what is known of it."""

    def __init__(self, config: DatabaseConfig) -> None:
        self.config = config
        self.pool = ConnectionPool(config)
        self.seen: _Seen | None = None
        self.pause = _Pause()
        self.failure = ""
        self.count_anew()

    def count_anew(self) -> None:
        """Have nothing counted, as in a forked child: what its parent did is the parent's to tell."""
        self.reads = 0
        self.left_out: Counter[str] = Counter()

    def leave_out(self, failure: DatabaseHandlerError) -> None:
        """Have no read go there for a moment."""
        kind = type(failure).__name__
        self.failure = f"{kind}: {failure}"
        self.left_out[kind] += 1
        if self.pause.longer():
            _log.warning("replica.left_out", replica=self.config.url(), error=self.failure)

    def answered(self, seen: _Seen) -> None:
        """Take an answer."""
        self.seen = seen
        if self.pause.over():
            _log.info("replica.back", replica=self.config.url())

    def lacks(self, position: Position) -> bool:
        """Whether it had not replayed so much when it was asked last."""
        return self.seen is None or self.seen.replayed < position.place


@dataclass(slots=True)
class _Wrote:
    """What one thread, or task, wrote: it is to find that on whatever replica it reads next.

    Tasks that share a note (one made the other) write and read in several threads at once.

    Attributes
    ----------
    last : object
        Stands for the last write.
    found : tuple
        The write after which the primary was asked how far it is, and what it answered.
    waited_for : Position or None
        What no replica had in time: it is not waited for again, until one is known to have it.
    """

    last: object = None
    found: tuple[object, Position | None] = (None, None)
    waited_for: Position | None = None


class Replicas:
    """The replicas of a database. Making it connects to nothing.

    Attributes
    ----------
    places : tuple of str
        What each is called where they are counted.
    at_primary : Counter
        How many reads and units the primary was given in their place, by why.

    Parameters
    ----------
    config : DatabaseConfig
        The primary's, which names the replicas.
    primary : ConnectionPool
        The primary's connections, which are given up where they turn out to lead to an old primary. It is
        asked over a connection beside them: what makes replicas count must not wait where the primary is
        overloaded, or all reads would go there as well.
    """

    def __init__(self, config: DatabaseConfig, primary: ConnectionPool) -> None:
        self.wait = config.replica_wait
        self._max_lag = inf if config.replica_max_lag is None else config.replica_max_lag
        self._every = min(config.replica_check, self._max_lag / 2)
        self._primary = primary
        self._asking = ConnectionPool(config.with_(pool_size=1, max_overflow=0))
        self._all = [Replica(each) for each in config.replicas()]
        self.places = tuple(_places(self._all))
        self._turns = count()
        self._here: Written | None = None
        self._moments: deque[tuple[int, float]] = deque(maxlen=_REMEMBERED)  # places, and when they were
        self._primary_pause = _Pause()
        self._mine = Mine(_Wrote)
        self._due = self._renewable = 0.0
        self._start_over()
        _open.add(self)

    def _start_over(self) -> None:
        """Have a lock that nobody holds; in a forked child too, where a thread that is not there may."""
        self._looking = Lock()
        self._asked_apart: set[object] = set()
        self.at_primary: Counter[str] = Counter()
        for replica in self._all:
            replica.count_anew()

    # ---------------------------------------------------------------------------------------- what is asked

    def look(self, *, now: bool = False, until: float = inf) -> None:
        """Ask all servers how far they are, when it is time again; one thread does, the others go on.

        Parameters
        ----------
        now : bool
            Whether or not it is time, and those that failed too; it is waited for a thread that is at it.
        until : float
            By `time.monotonic`, when to ask no more.
        """
        if not now and monotonic() < self._due:
            return
        if not self._looking.acquire(blocking=now, timeout=self.wait if now else -1):
            return
        try:
            self._ask_all(until, failed=now)
        finally:
            self._due = monotonic() + self._every
            self._looking.release()

    def _ask_all(self, until: float, *, failed: bool) -> None:
        """Ask the primary, then the replicas; whoever failed is asked here only where that is wanted."""
        if failed or not self._primary_pause.failed:
            self._look_at_primary()
        elif not self._primary_pause.is_on:
            self._ask_apart(self._primary, self._look_at_primary)
        for replica in self._all:
            if (seconds := min(self.wait, until - monotonic())) <= 0:
                return
            if failed or not replica.pause.failed:
                self._ask(replica, seconds)
            elif not replica.pause.is_on:
                self._ask_apart(replica, partial(self._ask, replica, self.wait))
        # What a replica has that the primary had not written before may have been written meanwhile.
        if any(self._is_ahead(replica.seen) for replica in self._all):
            self._look_at_primary()

    def _ask_apart(self, whom: object, ask: Callable[[], None]) -> None:
        """Ask in a thread of its own, unless one is at it: whoever reads does not wait for the answer."""
        if whom in self._asked_apart:
            return

        def run() -> None:
            try:
                ask()
            finally:
                self._asked_apart.discard(whom)

        self._asked_apart.add(whom)
        try:
            Thread(target=run, name="database-handler-replica", daemon=True).start()
        except RuntimeError:  # no thread more is to be had, or the interpreter ends
            self._asked_apart.discard(whom)

    def _look_at_primary(self) -> None:
        with suppress(DatabaseHandlerError):
            self._ask_primary()

    def _is_ahead(self, seen: _Seen | None) -> bool:
        return seen is not None and self._here is not None and seen.replayed > self._here.flushed

    def _ask_primary(self) -> Written:
        """Ask the primary; one that fails is not asked again for a moment."""
        if self._primary_pause.is_on:
            raise DatabaseUnavailable("primary.position: the primary did not answer a moment ago")
        try:
            found = written(lambda: self._asking.borrow(timeout=self.wait, purpose="position"), self.wait)
        except DatabaseHandlerError:
            self._primary_pause.longer()
            raise
        self._primary_pause.over()
        self._take(found)
        return found

    def _take(self, found: Written) -> None:
        before = self._here
        if before is not None and found.at < before.at:  # a later question was answered before
            return
        if before is not None and before.position[:2] != found.position[:2]:
            _log.warning("replica.primary_changed", timeline=found.position.timeline)
            self._moments = deque(maxlen=_REMEMBERED)
            if found.position.timeline > before.position.timeline:  # others may lead to the old one still
                self._primary.retire()
        self._here = found
        self._moments.append((found.flushed, found.at))

    def _ask(self, replica: Replica, seconds: float) -> None:
        try:
            lease = replica.pool.borrow(timeout=seconds, purpose="replica position")
            try:
                row = asked(lease, _ASK, "replica.position", seconds)
                _note(lease, int(row[3] or 0))
            finally:
                lease.release()
        except DatabaseHandlerError as failure:
            replica.leave_out(failure)
            return
        standby, cluster, timeline, replayed, committed = row
        at, place = monotonic(), int(replayed or 0)
        behind = self._behind(place, committed, at)
        replica.answered(_Seen(at, standby, int(cluster) % 2**64, timeline, place, behind))

    def _behind(self, replayed: int, committed: float | None, at: float) -> float:
        """Return how many seconds old the rows can be at most that were replayed by the moment `at`.

        They hold all that the primary had committed when it was no further than that; and all that it
        committed before the last commit that was replayed, which its own clock told.
        """
        here, moments = self._here, list(self._moments)
        passed = bisect_right(moments, (replayed, inf))
        found = at - moments[passed - 1][1] if passed else inf
        if here is None or committed is None:
            return found
        return min(found, max(here.clock - committed, 0) + at - here.at)

    # -------------------------------------------------------------------------------------- what is decided

    def _state(self, replica: Replica) -> ReplicaState:
        """Judge a replica by the last answers."""
        here, seen = self._here, replica.seen
        if replica.pause.failed:  # however long ago: a read is not what finds out whether it is back
            return ReplicaState.FAILING
        if here is None or seen is None:
            return ReplicaState.UNKNOWN
        if seen.cluster != here.position.cluster:
            return ReplicaState.FOREIGN
        if not seen.standby:
            return ReplicaState.PROMOTED
        ahead = here.at >= seen.at and self._is_ahead(seen)
        if ahead or seen.timeline != here.position.timeline:
            return ReplicaState.FORKED
        return ReplicaState.SERVING if _lag(seen) <= self._max_lag else ReplicaState.LAGGING

    def _ranked(self, position: Position | None) -> list[Replica]:
        """Return those to read from: first who has what is to be found, of these the one that lags least.

        Those that are alike take turns.
        """
        fit = [replica for replica in self._all if self._state(replica) is ReplicaState.SERVING]
        if len(fit) < 2:
            return fit
        turn = next(self._turns) % len(fit)
        lags = {replica: min(_lag(replica.seen), _AGES) for replica in fit}
        least = min(lags.values())

        def rank(replica: Replica) -> tuple[bool, int]:
            lacks = position is not None and replica.lacks(position)
            return lacks, int((lags[replica] - least) / _ALIKE)

        return sorted(fit[turn:] + fit[:turn], key=rank)

    def status(self) -> tuple[ReplicaStatus, ...]:
        """Tell how each is by the last answers."""
        return tuple(self._told(replica) for replica in self._all)

    def _told(self, replica: Replica) -> ReplicaStatus:
        state, seen, here = self._state(replica), replica.seen, self._here
        compared = seen if state in (ReplicaState.SERVING, ReplicaState.LAGGING) else None
        lag = None if compared is None or compared.behind == inf else round(_lag(compared), 3)
        missing = compared and here and max(here.flushed - compared.replayed, 0)
        message = replica.failure if state is ReplicaState.FAILING else _MESSAGES[state]
        url = replica.config.url()
        return ReplicaStatus(
            url=url, state=state, message=message, lag_seconds=lag, lag_bytes=missing, reads=replica.reads,
            left_out=dict(replica.left_out),
        )  # fmt: skip

    # ------------------------------------------------------------------------------------------ who reads

    def wrote(self) -> None:
        """Note that this thread has written, or may have: what it reads from now on is to hold that."""
        self._mine.note().last = object()

    def to_find(self, after: Position | None) -> Position | None:
        """Return what this thread's next read must find: its own last write, and `after`.

        The thread's own position is asked of the primary only here, once after it wrote: a write costs
        nothing more.
        """
        mine = self._mine.note()
        last = mine.last  # looked at before the question: what is written meanwhile is asked for again
        known, position = mine.found
        if last is not known:
            position = self._ask_primary().position
            mine.found = last, position
        if after is None or position is None:
            return after or position
        return max(after, position)

    def lend(
        self, after: Position | None, purpose: str, within: float | None = None
    ) -> tuple[Replica, Lease] | None:
        """Lend a connection to a replica that has what this thread must find; None: the primary is to serve.

        Parameters
        ----------
        within : float, optional
            What is left of a deadline of the borrower's.

        Raises
        ------
        InvalidValue
            `after` is of another cluster.
        DatabaseUnavailable
            `after` is of a later history than that of the primary that answers.
        """
        self.look()
        if after is not None:
            self._check(after)
        try:
            position = self.to_find(after)
        except DatabaseHandlerError:  # nobody can say what this thread must find
            self.at_primary["unknown position"] += 1
            return None
        mine = self._mine.note()
        until = monotonic() + (self.wait if within is None else min(self.wait, within / 2))
        ranked = self._ranked(position)
        for replica in ranked:
            if position is not None and position == mine.waited_for and replica.lacks(position):
                continue
            if (lease := self._borrowed(replica, purpose, until)) is None:
                continue
            if position is None or self._has(replica, lease, position, until):
                replica.reads += 1
                return replica, lease
            mine.waited_for = position
            lease.release()
        self.at_primary["behind" if ranked and position is not None else "none fits"] += 1
        return None

    def _borrowed(self, replica: Replica, purpose: str, until: float) -> Lease | None:
        if (left := until - monotonic()) <= 0:
            return None
        try:
            return replica.pool.borrow(timeout=left, purpose=purpose)
        except DatabaseHandlerError as failure:
            self.failed(replica, failure)
            return None

    def _check(self, after: Position) -> None:
        """Refuse a position that cannot be compared with what replicas say, nor found at this primary."""
        here = self._here or self._ask_primary()
        if here.position.cluster == after.cluster and here.position.timeline < after.timeline:
            here = self._renewed(here)
        if here.position.cluster != after.cluster:
            raise InvalidValue("after: this position was taken at another database server's cluster")
        if here.position.timeline < after.timeline:
            raise DatabaseUnavailable(
                f"after: the position is of timeline {after.timeline}, and the primary that answers is on "
                f"{here.position.timeline}: it is an old one, or its URL does not name the new one yet"
            )

    def _renewed(self, here: Written) -> Written:
        """Ask the primary over a new connection: it was promoted just now, or the old leads to an old one.

        Not at the pace of whoever brings tokens, for these may be forged; nor does a forged one cost the pool
        its connections: they are given up where another primary answers.
        """
        if monotonic() < self._renewable:
            return here
        self._renewable = monotonic() + _PAUSE[1]
        self._asking.retire()
        found = self._ask_primary()
        if found.position[:2] != here.position[:2]:
            self.look(now=True)
        return found

    def _has(self, replica: Replica, lease: Lease, position: Position, until: float) -> bool:
        """Wait until the server behind a connection has replayed so much, as long as there is time."""
        pause, longest = _LOOKS
        while (link := lease.link) is None or link.replayed < position.place:
            left = until - monotonic()
            try:
                [replayed] = asked(lease, _ASK_REPLAYED, "replica.replayed", max(left, pause))
            except DatabaseHandlerError as failure:
                self.failed(replica, failure)
                return False
            if replayed is None:  # promoted just now
                return False
            _note(lease, int(replayed))
            if int(replayed) < position.place:
                if left <= pause:
                    return False
                sleep(pause)
                pause = min(pause * 2, longest)
        return True

    def failed(self, replica: Replica, failure: DatabaseHandlerError) -> bool:
        """Note what a replica answered to a read; return whether to ask the primary instead."""
        sqlstate = failure.sqlstate or ""
        by_class = sqlstate[:2] in _FAILS_BY_CLASS and sqlstate != _CANCELLED
        if isinstance(failure, _FAILS) or by_class:
            replica.leave_out(failure)
            return True
        return isinstance(failure, _ELSEWHERE) or sqlstate == _NOT_ON_A_STANDBY

    @property
    def pools(self) -> tuple[ConnectionPool, ...]:
        """The connections to each."""
        return tuple(replica.pool for replica in self._all)

    def close(self) -> None:
        """End every session on every replica, and the one beside the primary's pool."""
        for pool in (self._asking, *(replica.pool for replica in self._all)):
            pool.close()


def _places(replicas: list[Replica]) -> Iterator[str]:
    """Call each by its host and port; one that is named twice in the settings by its number too."""
    seen: Counter[str] = Counter()
    for replica in replicas:
        place = ",".join(replica.config.addresses())
        seen[place] += 1
        yield place if seen[place] == 1 else f"{place} ({seen[place]})"


def _note(lease: Lease, replayed: int) -> None:
    """Note how far the server behind a connection is; of the connection, for a balancer may lie between."""
    if lease.link is not None:
        lease.link.replayed = max(lease.link.replayed, replayed)


def _lag(seen: _Seen | None) -> float:
    """Return how old the rows of a replica can be by now, for nobody has asked it since."""
    return inf if seen is None else seen.behind + monotonic() - seen.at


_MESSAGES = {
    ReplicaState.SERVING: "",
    ReplicaState.LAGGING: "it is further behind than replica_max_lag allows; the primary serves",
    ReplicaState.PROMOTED: "it takes writes: it was promoted, or is a primary; name it in the database's URL",
    ReplicaState.FOREIGN: "it belongs to another cluster than the primary: its URL is wrong",
    ReplicaState.FORKED: (
        "it follows another timeline than the primary, or has what the primary never wrote; it is read from "
        "again once it follows (within its checkpoint_timeout, or at once where the role is in pg_monitor)"
    ),
    ReplicaState.UNKNOWN: "it could not be compared with the primary yet",
}


# ------------------------------------------------------------------------------------------------------ fork

_open: WeakSet[Replicas] = WeakSet()


def _after_fork_in_child() -> None:
    for replicas in list(_open):
        replicas._start_over()


os.register_at_fork(after_in_child=_after_fork_in_child)
