"""A pool that lends a connection within one deadline, first come first served, and loses no slot.

Of `psycopg2.pool.ThreadedConnectionPool` it keeps the type and the names; lending is its own. What is
counted is what is held in a container, so no interrupted call leaves a number wrong. The lock is never held
over input or output. Whoever has waited longest gets the connection that comes first, be it
new or given back.

It is one module of more than 300 lines because lending, taking back, connecting and closing share one lock
and one set of invariants, which are easier to check side by side:

* open connections and attempts under way never exceed ``pool_size + max_overflow``;
* nobody waits while a connection is idle;
* a connection is idle, or belongs to exactly one `Lease`.
"""

import os
from collections import deque
from collections.abc import Hashable, Iterator
from contextlib import suppress
from copy import copy
from math import inf
from random import SystemRandom
from threading import Event, Lock, RLock, Thread, current_thread
from time import monotonic
from typing import TYPE_CHECKING, Literal, cast
from weakref import WeakSet

import psycopg2.extensions as driver
from psycopg2.pool import ThreadedConnectionPool

from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import (
    DatabaseHandlerError,
    DatabaseUnavailable,
    InvalidValue,
    PoolClosed,
    PoolOverloaded,
    PoolTimeout,
    QueryCancelled,
    ReleasedConnection,
    translated,
)
from database_handler.core.lent import Lease, LentConnection, dedicated
from database_handler.core.link import Link, connect, open_connection
from database_handler.core.pool_stats import Closed, PoolCounts, PoolStats
from database_handler.core.session import Limits, Message, transmit
from database_handler.core.startup import AttemptFailed
from database_handler.utils.logger import get_logger

if TYPE_CHECKING:
    from database_handler.core.cancel_request import CancelRequest

__all__ = ["ConnectionPool", "Lease", "LentConnection", "PoolStats", "dedicated", "open_connection"]

_log = get_logger(__name__)

_TELL = 2.0  # seconds that each step of ending statements still running at the pool's end may take
_SLICE = 0.5  # seconds after which a waiter looks for connections that nobody gave back
_GIVEN_UP = -1  # the generation of a connection that is closed when it comes back
_BACK_OFF = 0.05, 1.0  # seconds between attempts at a server that is full or starting: first, longest


class _Waiter:
    """A borrower in the queue; whoever serves it does so under the pool's lock."""

    __slots__ = ("_served", "failure", "lease", "thread")

    def __init__(self, lease: Lease) -> None:
        self.lease = lease
        self.thread = current_thread().name
        self.failure: DatabaseHandlerError | None = None
        self._served = Lock()
        self._served.acquire()

    def serve(self, link: Link) -> None:
        self.lease.link = link
        self._served.release()

    def fail(self, failure: DatabaseHandlerError) -> None:
        self.failure = failure
        self._served.release()

    def wait(self, seconds: float) -> bool:
        return self._served.acquire(timeout=max(seconds, 0))

    @property
    def is_served(self) -> bool:
        return self.lease.link is not None or self.failure is not None


class ConnectionPool(ThreadedConnectionPool):
    """Keeps `pool_size` connections and up to `max_overflow` more; making it connects to nothing."""

    def __init__(self, config: DatabaseConfig) -> None:
        super().__init__(0, config.pool_size + config.max_overflow)
        self._config = config
        self._forget()
        _pools.add(self)

    def _forget(self) -> None:
        """Start out empty; in a forked child too, where a thread that is not there may hold the lock."""
        self._mutex = RLock()  # so that `close` can tell that its own thread is inside
        self._idle: list[Link] = []
        self._busy: set[Link] = set()
        self._waiters: deque[_Waiter] = deque()
        self._attempts: dict[object, bool] = {}  # to connect; False until its thread runs
        self._refusal: DatabaseHandlerError | None = None
        self._generation = 0
        self._orphans: deque[Link] = deque()
        self._keyed: dict[Hashable, LentConnection] = {}
        self._counts = PoolCounts()
        self._look_again = 0.0
        self._closing = Event()
        self._quiet = Event()

    # ------------------------------------------------------------------------------------------------ borrow

    def borrow(
        self, *, timeout: float | None = None, purpose: str = "", within: float | None = None
    ) -> Lease:
        """Lend a connection whose server answers, within `timeout` seconds (`pool_timeout` when left out).

        `within` shortens that: what is left of a deadline of the borrower's.

        Raises
        ------
        PoolTimeout
            All connections stayed lent for that long; the message names the holders.
        PoolOverloaded
            `pool_max_waiting` borrowers wait already.
        PoolClosed
            The pool is closed, or was closed while waiting.
        DatabaseUnavailable, ResourcesExhausted, AuthenticationFailed, ConfigurationError
            A connection had to be made and could not; `open_connection` says which means what.
        """
        limit = self._config.pool_timeout if timeout is None else timeout
        if within is not None:
            limit = min(limit, within)
        started = monotonic()
        deadline = started + limit
        lease = Lease(self)
        ahead = False
        while True:
            link = self._acquire(lease, deadline, limit, ahead=ahead)
            lease.begin(link, purpose)
            if link.answers(deadline, self._config.connect_timeout):
                link.waited = link.borrowed_at - started
                return lease
            self._drop_dead(lease, link)
            ahead = True

    def _acquire(self, lease: Lease, deadline: float, limit: float, *, ahead: bool) -> Link:
        if self._orphans or deadline - limit >= self._look_again:  # by when the borrow began
            self._reclaim()
        with self._mutex:
            if self.closed:
                raise PoolClosed
            if self._idle:
                link = self._idle.pop()
                lease.link = link
                self._busy.add(link)
                return link
            waiter = self._enqueue(lease, ahead=ahead)
            self._plan_attempts()
        try:
            self._launch()
            return self._wait(waiter, deadline, limit)
        except BaseException:
            self._leave_queue(waiter)
            raise

    def _enqueue(self, lease: Lease, *, ahead: bool) -> _Waiter:
        most = self._config.pool_max_waiting
        queued = len(self._waiters) - len(self._attempts)
        if most is not None and not ahead and not self._room() and queued >= most:
            self._counts.overloads += 1
            raise PoolOverloaded(
                f"{queued} borrowers wait for a connection already; pool_max_waiting is {most}"
            )
        waiter = _Waiter(lease)
        (self._waiters.appendleft if ahead else self._waiters.append)(waiter)
        return waiter

    def _room(self) -> int:
        return self.maxconn - len(self._idle) - len(self._busy) - len(self._attempts)

    def _plan_attempts(self) -> None:
        """Count in as many attempts as there are waiters without one, and room; `_launch` starts them."""
        for _ in range(min(self._room(), len(self._waiters) - len(self._attempts))):
            self._attempts[object()] = False

    def _launch_due(self) -> None:
        with self._mutex:
            self._plan_attempts()
        self._launch()

    def _wait(self, waiter: _Waiter, deadline: float, limit: float) -> Link:
        while not waiter.wait(min(deadline - monotonic(), _SLICE)):
            if monotonic() >= deadline:
                self._give_up(waiter, limit)
            else:
                self._reclaim()
                self._launch_due()
        if waiter.failure is not None:
            raise waiter.failure
        link = waiter.lease.link
        if link is None:
            raise ReleasedConnection("this connection was borrowed before a fork")
        return link

    def _give_up(self, waiter: _Waiter, limit: float) -> None:
        with self._mutex:
            if waiter.is_served:
                return
            place = self._waiters.index(waiter)
            self._waiters.remove(waiter)
            if place >= len(self._attempts):
                self._counts.timeouts += 1
                waiter.fail(PoolTimeout(self._holders(limit)))
            elif self._refusal is not None:
                waiter.fail(copy(self._refusal))  # each thread raises one of its own
            else:
                waiter.fail(DatabaseUnavailable(f"borrow: the server gave no connection within {limit:g} s"))

    def _holders(self, limit: float) -> str:
        holders = sorted(self._busy, key=lambda link: link.borrowed_at)
        named = "; ".join(link.holder() for link in holders[:20])
        return (
            f"no connection was free within {limit:g} s; {len(holders)} of {self.maxconn} are held: {named}; "
            "let go of them sooner, or allow more (pool_size, max_overflow)"
        )

    def _leave_queue(self, waiter: _Waiter) -> None:
        """After any failure: out of the queue, and a connection that was handed over meanwhile goes on."""
        with self._mutex:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
        if waiter.lease.link is not None:
            self.take_back(waiter.lease, discard=False)

    def _drop_dead(self, lease: Lease, link: Link) -> None:
        """Close a connection found dead, and all idle ones of its age: they lost the same server."""
        with self._mutex:
            old = self._next_generation() if link.generation == self._generation else []
        for other in old:
            self._end(other, Closed.RETIRED)
        # The borrower goes back to the front of the queue; nobody else is to be served in between.
        self._close_lent(lease, link, Closed.DEAD, launch=False)

    def _next_generation(self) -> list[Link]:
        self._generation += 1
        old, self._idle = self._idle, []
        return old

    def retire(self) -> None:
        """Close every connection made so far: idle ones now, lent ones when they come back."""
        with self._mutex:
            old = self._next_generation()
        for link in old:
            self._end(link, Closed.RETIRED)

    # --------------------------------------------------------------------------------------------- take back

    def take_back(self, lease: Lease, *, discard: bool) -> None:
        """Take a lease's connection back; only `Lease.release` and the pool itself call it."""
        link = lease.link
        if link is None:
            raise ReleasedConnection
        reason = self._unfit(link, discard=discard)
        link.idle_since = monotonic()
        link.watched = False
        link.thread = ""  # so that `interrupt` does not take it for its last holder's once it is another's
        with self._mutex:
            self._counts.used(link.waited, link.idle_since - link.borrowed_at)
            if reason is None and (reason := self._keep(link)) is None:
                lease.link = None
                return
        self._close_lent(lease, link, reason)

    def _close_lent(self, lease: Lease, link: Link, reason: Closed, *, launch: bool = True) -> None:
        try:
            link.close()
        finally:
            # In this order: interrupted in between, the lease still tells of the slot when it is collected.
            self._free(link, reason, launch=launch)
            lease.link = None

    def _unfit(self, link: Link, *, discard: bool) -> Closed | None:
        """Say why a connection cannot be lent again as it is; None: it can."""
        if link.is_idle() and link.generation == self._generation and not discard:
            return None
        if link.is_lost():
            return Closed.LOST
        if link.generation != self._generation:
            return _outdated(link)
        return Closed.IN_TRANSACTION if link.in_transaction() else Closed.DISCARDED

    def _keep(self, link: Link) -> Closed | None:
        """Hand a good connection to the first waiter or keep it for later; else say why it is to go."""
        if self.closed:
            return Closed.SHUTDOWN
        if link.generation != self._generation:
            return _outdated(link)
        if self._waiters:
            self._busy.add(link)
            self._waiters.popleft().serve(link)
            return None
        if len(self._idle) >= self._config.pool_size:
            return Closed.SURPLUS
        self._busy.discard(link)
        self._idle.append(link)
        return None

    def _free(self, link: Link, reason: Closed, *, launch: bool = True) -> None:
        with self._mutex:
            self._busy.discard(link)
            self._counts.closed[reason] += 1
            self._note_quiet()
        if launch:
            self._launch_due()

    def _end(self, link: Link, reason: Closed) -> None:
        """Close a connection that is in no container any more."""
        try:
            link.close()
        finally:
            self._free(link, reason)

    def lost(self, link: Link) -> None:
        """Note a connection whose lease was collected; called by the collector, so it takes no lock."""
        self._orphans.append(link)

    def _reclaim(self) -> None:
        while self._orphans:
            link = self._orphans.popleft()
            try:
                self._end_forgotten(link)
            except BaseException:  # whoever comes next goes on with it
                self._orphans.append(link)
                raise
        if monotonic() >= self._look_again:
            self._warn_of_long_holds()

    def _end_forgotten(self, link: Link) -> None:
        if link in self._busy:
            holder, stack = link.holder(), link.borrowed_in()
            self._end(link, Closed.FORGOTTEN)
            _log.warning("connection_not_returned", holder=holder, stack=stack)

    def _warn_of_long_holds(self) -> None:
        """Tell of each connection that may have been forgotten; whoever comes by looks, now and then."""
        longest = self._config.pool_hold_warning
        if longest is None:
            self._look_again = inf
            return
        self._look_again = monotonic() + min(longest / 2, 1)
        with self._mutex:
            held = [link for link in self._busy if link.held_longer(longest)]
        for link in held:
            _log.warning("connection_held_long", holder=link.holder(), stack=link.borrowed_in())

    # -------------------------------------------------------------------------------------------- interrupt

    def interrupt(self, thread: str) -> "list[int | CancelRequest]":
        """Give up what a thread, by its name, waits for or holds here; for when it is to stop.

        A wait ends with `QueryCancelled`. A connection is closed when it comes back, so that a cancel that
        arrives late hits nobody else. Returned is what runs a statement for it now: the server's process, or,
        behind a pooler, the request that reaches it.
        """
        with self._mutex:
            waiters = [waiter for waiter in self._waiters if waiter.thread == thread]
            for waiter in waiters:
                self._waiters.remove(waiter)
                waiter.fail(QueryCancelled("borrow: cancelled while waiting for a connection"))
            links = self._held_by(thread)
            for link in links:
                link.generation = _GIVEN_UP
        return [running for running in map(_running, links) if running]

    def _held_by(self, thread: str) -> list[Link]:
        return [link for link in self._busy if link.thread == thread]

    def cancel(self, running: "list[int | CancelRequest]") -> None:
        """Have the server cancel what these run; its processes, over a connection outside of the pool."""
        processes = [each for each in running if isinstance(each, int)]
        for each in running:
            if not isinstance(each, int):
                each.send()
        if processes and not self._config.pgbouncer:
            _tell(self._config, "pg_cancel_backend", processes)

    def cut(self, thread: str) -> None:
        """Cut the connections that a thread holds: its calls return as if the server had gone."""
        with self._mutex:
            links = self._held_by(thread)
        for link in links:
            link.fuse.blow()

    # ---------------------------------------------------------------------------------------------- connect

    def _launch(self) -> None:
        """Start every attempt that is planned, also one whose planner was interrupted before it came here."""
        with self._mutex:
            planned = [attempt for attempt, runs in self._attempts.items() if not runs]
        for attempt in planned:
            thread = Thread(target=self._run, args=(attempt,), name="database-handler-connect", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                self._attempt_failed(attempt, DatabaseUnavailable("connect: no thread can be started"))

    def _run(self, attempt: object) -> None:
        with self._mutex:
            if self._attempts.get(attempt) is not False:  # another thread was started for it
                return
            self._attempts[attempt] = True
        generation = self._generation
        try:
            link = Link(self._connect_patiently(), generation)
            link.prepare_cancel(self._config)
        except DatabaseHandlerError as failure:
            self._attempt_failed(attempt, failure)
        except BaseException as failure:  # noqa: BLE001  # a waiter must hear of it; nobody else would
            unexpected = DatabaseUnavailable(f"connect: {type(failure).__name__}")
            unexpected.driver_error = failure
            self._attempt_failed(attempt, unexpected)
        else:
            self._attempt_succeeded(attempt, link)

    def _connect_patiently(self) -> driver.connection:
        """Connect; while the server says that it is full or starting, try again for those who wait."""
        for delay in _delays():
            try:
                return connect(self._config)
            except DatabaseHandlerError as failure:
                answered = failure.sqlstate is not None or isinstance(failure, AttemptFailed)
                comes_back = failure.retryable and answered
                if not comes_back or not self._is_wanted(failure) or self._closing.wait(delay):
                    raise
        raise DatabaseUnavailable

    def _is_wanted(self, refusal: DatabaseHandlerError) -> bool:
        with self._mutex:
            self._refusal = refusal
            return len(self._waiters) >= len(self._attempts)

    def _attempt_succeeded(self, attempt: object, link: Link) -> None:
        with self._mutex:
            self._attempts.pop(attempt, None)
            self._refusal = None
            self._counts.opened += 1
            reason = self._keep(link)
            if reason is not None:
                self._busy.add(link)
        if reason is not None:
            self._end(link, reason)

    def _attempt_failed(self, attempt: object, failure: DatabaseHandlerError) -> None:
        with self._mutex:
            self._attempts.pop(attempt, None)
            if self._waiters:
                self._waiters.popleft().fail(failure)
            self._plan_attempts()
            self._note_quiet()
        self._launch()

    # ------------------------------------------------------------------------------------------------- close

    def stats(self) -> PoolStats:
        """Return the pool's counts, all of one instant."""
        self._reclaim()
        with self._mutex:
            idle, in_use, counts = len(self._idle), len(self._busy), self._counts
            return PoolStats(
                size=idle + in_use,
                max_size=self.maxconn,
                in_use=in_use,
                idle=idle,
                connecting=len(self._attempts),
                waiting=len(self._waiters),
                opened=counts.opened,
                closed=counts.closed.total(),
                wait=counts.wait.read(),
                use=counts.use.read(),
                closed_by_reason=dict(counts.closed),
                timeouts=counts.timeouts,
                overloads=counts.overloads,
                retries=dict(counts.retries),
            )

    @property
    def is_entered(self) -> bool:
        """Whether this thread is amid a borrow or a return, and the collector or a signal came in between."""
        return self._mutex._is_owned()  # type: ignore[attr-defined, no-any-return]  # what `threading.Condition` asks as well

    def count_retry(self, failure: str) -> None:
        """Note that a unit is run again, because of this SQLSTATE or class of error."""
        with self._mutex:
            self._counts.retries[failure] += 1

    def close(self, timeout: float = 10.0) -> None:
        """End every session: idle ones now, lent ones when they come back, or after `timeout` seconds.

        Whoever waits, or comes later, gets `PoolClosed` at once. A second call waits for the same end.
        In the handler of a signal that came amid a borrow or a return, it is done in a thread of its own.
        """
        if self.is_entered:
            Thread(target=self.close, args=(timeout,), name="database-handler-close").start()
            return
        deadline = monotonic() + timeout
        with self._mutex:
            self.closed = True
            idle, self._idle = self._idle, []
            while self._waiters:
                self._waiters.popleft().fail(PoolClosed())
            self._attempts = {attempt: True for attempt, runs in self._attempts.items() if runs}
            self._note_quiet()
        self._closing.set()
        for link in idle:
            self._end(link, Closed.SHUTDOWN)
        while not self._quiet.wait(max(0, min(deadline - monotonic(), _SLICE))) and monotonic() < deadline:
            self._reclaim()
        self._cut_busy()

    def _note_quiet(self) -> None:
        if self.closed and not self._busy and not self._attempts:
            self._quiet.set()

    def _cut_busy(self) -> None:
        with self._mutex:
            links = list(self._busy)
        running = {link: link.running() for link in links}
        for link in links:
            if not running[link]:
                link.fuse.blow()
        # A server does not look at its socket while it runs a statement, so it is told; before the cut, for
        # then the process numbers are surely still theirs. A pooler in between makes the numbers up.
        processes = [process for process in running.values() if process]
        if processes and not self._config.pgbouncer:
            with suppress(DatabaseHandlerError):
                _tell(self._config, "pg_terminate_backend", processes)
        for link in links:
            link.fuse.blow()
        self._quiet.set()  # a later call has nothing to wait for

    def closeall(self) -> None:
        """Close every connection now, lent ones too, as psycopg2's pools do."""
        self.close(0)

    # -------------------------------------------------------------------------------------- psycopg2's names

    def getconn(self, key: Hashable | None = None) -> driver.connection:
        """Lend as psycopg2's pools do: it opens a transaction by itself; a key gives the same one again.

        It and its cursors raise `ReleasedConnection` once it was put back.
        """
        if key is not None and key in self._keyed:
            return cast("driver.connection", self._keyed[key])
        lease = self.borrow(purpose="getconn")
        lease.tainted = True
        lease.trace()
        lease.connection.autocommit = False
        lent = LentConnection(lease)
        if key is not None:
            self._keyed[key] = lent
        # To a caller it is a connection in all but its class, and type checkers shall know its methods.
        return cast("driver.connection", lent)

    def putconn(
        self, conn: driver.connection | None = None, key: Hashable | None = None, close: bool = False
    ) -> None:
        """Take a connection of `getconn` back; one in a transaction is closed, which undoes the transaction.

        Raises
        ------
        ReleasedConnection
            It was put back already.
        InvalidValue
            It is none of this pool's.
        """
        lent: object = self._keyed.get(key) if conn is None else conn
        if not isinstance(lent, LentConnection) or lent._lease.owner is not self:
            raise InvalidValue("putconn takes what getconn of this pool gave")
        for known in [name for name, kept in list(self._keyed.items()) if kept is lent]:
            self._keyed.pop(known, None)
        lease = lent._lease
        connection = lease.connection
        if connection.get_transaction_status() == driver.TRANSACTION_STATUS_IDLE:
            connection.autocommit = True
        lease.release(discard=close)


def _delays() -> Iterator[float]:
    ceiling, longest = _BACK_OFF
    while True:
        yield SystemRandom().uniform(0, ceiling)
        ceiling = min(ceiling * 2, longest)


def _outdated(link: Link) -> Closed:
    return Closed.DISCARDED if link.generation == _GIVEN_UP else Closed.RETIRED


def _running(link: Link) -> "int | CancelRequest":
    with suppress(DatabaseHandlerError), translated(None, doing="pool.interrupt"):
        process = link.running()
        return process and (link.cancel_request or process)
    return 0  # its holder closed it meanwhile


def _tell(
    config: DatabaseConfig, what: Literal["pg_cancel_backend", "pg_terminate_backend"], running: list[int]
) -> None:
    lease = dedicated(config, timeout=_TELL, purpose=what)
    try:
        text = f"SELECT {what}(pid) FROM unnest(%s) AS pid"
        transmit(lease, Message(text, f"pool.{what}", [running]), Limits(deadline=_TELL))
    finally:
        lease.release()


# ------------------------------------------------------------------------------------------------------ fork

_pools: WeakSet[ConnectionPool] = WeakSet()


def _after_fork_in_child() -> None:
    """Start each pool anew in the child, once `link` has taken the parent's connections out of its reach."""
    for pool in list(_pools):
        pool._forget()


os.register_at_fork(after_in_child=_after_fork_in_child)
