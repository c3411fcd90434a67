"""Sends reads to a replica, and to the primary what a replica cannot do, or did not.

A read changes nothing, so one that failed on a replica for a reason of the replica's is sent once more, to
the primary: the loss of the server, a conflict with what it replays, a table that has not arrived there. In
a unit that is so for its first statement; later the unit fails, with an error that says it can be run again.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from database_handler.core.budget import Budget
from database_handler.core.connection import Lease
from database_handler.core.deadline import Deadline
from database_handler.core.exceptions import DatabaseHandlerError, ReadOnlyServer
from database_handler.core.foreign_sql import Effect, Foreign
from database_handler.core.messages import Limits, Message, Reply, Statement
from database_handler.core.parameters import Parameters
from database_handler.core.position import Position
from database_handler.core.replicas import Replica, Replicas
from database_handler.core.session import Session
from database_handler.core.transaction import Autocommit, Lend, Lent, Transaction, TransactionOptions

if TYPE_CHECKING:
    from database_handler.core.cache import Cache

__all__ = ["ReplicaReads", "ReplicaTransaction", "Route"]

T = TypeVar("T")


class Route:
    """The way of one unit: to a replica where one fits, else to the primary."""

    def __init__(
        self,
        replicas: Replicas,
        primary: Lend,
        after: Position | None = None,
        deadline: Deadline | None = None,
        purpose: str = "unit of work",
    ) -> None:
        self._replicas = replicas
        self._primary = primary
        self._after = after
        self._deadline = deadline or Deadline()
        self._purpose = purpose
        self._replica: Replica | None = None
        self._moved = False

    def __call__(self) -> Lent:
        """Lend a connection."""
        self._replica = None
        if not self._moved:
            within = self._deadline.within(None)
            if (found := self._replicas.lend(self._after, self._purpose, within)) is not None:
                self._replica, lease = found
                return lease
        return self._primary()

    def leaves(self, failure: DatabaseHandlerError) -> bool:
        """Whether the primary is to be asked after this failure; from then on it is."""
        # In a unit that only reads, every server refuses a write.
        if self._replica is None or isinstance(failure, ReadOnlyServer):
            return False
        self._moved = self._replicas.failed(self._replica, failure)
        if self._moved:
            self._replicas.at_primary["failed there"] += 1
        return self._moved


class ReplicaTransaction(Transaction):
    """A transaction that only reads, on a replica where one fits.

    Parameters
    ----------
    lend : Route
        Its way; a plain one leads to the primary alone.
    """

    def __init__(
        self,
        lend: Lend,
        options: TransactionOptions,
        limits: Limits,
        *,
        deadline: Deadline | None = None,
        budget: Budget | None = None,
    ) -> None:
        unheard = replace(limits, cache=None)  # which would have the primary asked what database this is
        super().__init__(lend, options, unheard, deadline=deadline, budget=budget or Budget())
        self._route = lend if isinstance(lend, Route) else None

    def _send(self, statement: Statement, parameters: Parameters = None) -> Reply:
        return self._moving(lambda: super(ReplicaTransaction, self)._send(statement, parameters))

    def send_foreign(self, foreign: Foreign, parameters: Parameters) -> Reply:
        """Send a caller's SQL."""
        return self._moving(lambda: super(ReplicaTransaction, self).send_foreign(foreign, parameters))

    def _moving(self, send: Callable[[], Reply]) -> Reply:
        """Send; what fails first is sent to the primary, what fails later can be run again as a whole."""
        first, pending, counted = self._lease is None, list(self._pending), copy(self._count)
        try:
            return send()
        except DatabaseHandlerError as failure:
            if self._lease is None or self._route is None or not self._route.leaves(failure):
                raise
            if not first:
                failure.retryable = True
                raise
        self.restart()
        self._pending, self._count = pending, counted
        return send()


class _There(Autocommit):
    """Sends over a replica's connection, where nothing can be written, whatever it looks like."""

    def _final(self, lease: Lent, message: Message, *, writes: bool) -> Reply:  # noqa: ARG002
        return super()._final(lease, message, writes=False)


class ReplicaReads:
    """Sends each read by itself to a replica, and all else as `primary` does.

    Parameters
    ----------
    check : callable
        Is called before each read; it raises where this thread may not read outside of its unit.
    """

    def __init__(
        self,
        replicas: Replicas,
        primary: Autocommit,
        lend: Lend,
        options: TransactionOptions,
        *,
        check: Callable[[], None],
        after: Position | None = None,
    ) -> None:
        self.limits = primary.limits
        self.session = Session(self)
        self._replicas = replicas
        self._primary = primary
        self._lend = lend
        self._options = replace(options, read_only=True)
        self._check = check
        self._after = after
        self._there = _There(lend, self._options, self.limits)

    @property
    def cache(self) -> "Cache | None":
        """Nothing is read from a cache, nor kept in it: a row of a replica may be older than the cache's."""
        return None

    def send(self, statement: Statement, parameters: Parameters = None) -> Reply:
        """Send the library's own SQL."""
        reply = None
        if not statement.writes:
            reply = self._read(lambda lease: self._there._sent(lease, statement, parameters))
        return self._primary.send(statement, parameters) if reply is None else reply

    def send_foreign(self, foreign: Foreign, parameters: Parameters) -> Reply:
        """Send a caller's SQL: a query, also one that calls functions which are not known here."""

        def read(lease: Lease) -> Reply | None:
            checked = foreign.checked(lease.connection, parameters)
            if checked.effect is Effect.WRITES or (self.limits.pooled and checked.leaves):
                return None
            return self._there._sent_foreign(lease, foreign, parameters)

        reply = None if foreign.writes(parameters) else self._read(read)
        return self._primary.send_foreign(foreign, parameters) if reply is None else reply

    def _read(self, send: Callable[[Lease], Reply | None]) -> Reply | None:
        """Send to a replica; None where the primary is to be asked."""
        self._check()
        found = self._replicas.lend(self._after, "single statement")
        if found is None:
            return None
        replica, lease = found
        try:
            return send(lease)
        except DatabaseHandlerError as failure:
            if not self._replicas.failed(replica, failure):
                raise
            self._replicas.at_primary["failed there"] += 1
        finally:
            lease.release()
        return None

    def copy(self, statement: Statement, lines: Iterable[bytes]) -> int:
        """Send COPY to the primary."""
        return self._primary.copy(statement, lines)

    def atomic(self, *, read_only: bool = False) -> AbstractContextManager[Session]:
        """Open a transaction: on a replica where it is to read only."""
        if not read_only:
            return self._primary.atomic()
        self._check()
        route = Route(self._replicas, self._lend, self._after, purpose="stream")
        return ReplicaTransaction(route, self._options, self.limits)

    def undoable(self) -> AbstractContextManager[Session]:
        """Open a transaction on the primary."""
        return self._primary.undoable()

    def later(self, control: str) -> None:
        """Nothing is pending where nothing is held."""
