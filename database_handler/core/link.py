"""A connection is made within one time limit, and is known for idle, answering or lost without guessing.

Connections are made in threads of their own, for neither libpq nor the resolver can be bounded to less than
whole seconds. After a fork the child holds none of its parent's connections.
"""

import os
import select
import socket
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Thread, current_thread
from time import monotonic
from types import CodeType
from typing import TYPE_CHECKING, Any, Protocol
from weakref import ReferenceType, WeakSet, ref

import psycopg2
import psycopg2.extensions as driver

from database_handler.config.database import PINNED_AS_REPORTED, DatabaseConfig
from database_handler.core.exceptions import (
    ConfigurationError,
    DatabaseHandlerError,
    DatabaseUnavailable,
    translated,
)
from database_handler.core.plans import Plans
from database_handler.core.session import ping, prepare_connection
from database_handler.core.startup import diagnose
from database_handler.core.watchdog import Fuse

if TYPE_CHECKING:
    from database_handler.core.cancel_request import CancelRequest

__all__ = ["Borrower", "Link", "connect", "open_connection", "stack"]

_FRESH = 1.0  # seconds a connection may lie idle before it is asked whether its server still answers
_CLOSE = 0.5  # seconds that the good-bye to the server may take
_HUNG_UP = select.POLLHUP | select.POLLERR | select.POLLNVAL | getattr(select, "POLLRDHUP", 0)


# ------------------------------------------------------------------------------------------------ connecting


def open_connection(config: DatabaseConfig, *, timeout: float | None = None) -> driver.connection:
    """Connect, in autocommit, within `timeout` seconds (`connect_timeout` when left out).

    Raises
    ------
    DatabaseUnavailable, ResourcesExhausted
        Nothing answered in time, or the server takes no connection now; both can be retried.
    AuthenticationFailed, ConfigurationError
        The server refuses the user, the database does not exist, TLS cannot be had as asked.
    """
    limit = config.connect_timeout if timeout is None else timeout
    attempt = _in_thread(lambda: connect(config))
    try:
        return attempt.result(limit)
    except TimeoutError:
        attempt.add_done_callback(_close_late)
    except DatabaseHandlerError:
        raise
    except BaseException:
        attempt.add_done_callback(_close_late)
        raise
    raise DatabaseUnavailable(f"connect: no connection within {limit:g} s")


def _in_thread(work: Callable[[], driver.connection]) -> "Future[driver.connection]":
    future: Future[driver.connection] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as failure:  # noqa: BLE001  # handed to whoever waits for the result
            future.set_exception(failure)

    Thread(target=run, name="database-handler-connect", daemon=True).start()
    return future


def _close_late(attempt: "Future[driver.connection]") -> None:
    if attempt.exception() is None:
        attempt.result().close()


def connect(config: DatabaseConfig) -> driver.connection:
    """Connect in this thread, in autocommit; how long it takes is bounded by libpq, in whole seconds."""
    started = monotonic()
    try:
        with translated(None, doing="connect"):
            connection: driver.connection = psycopg2.connect(**_arguments(config))
    except DatabaseUnavailable as failure:
        reason = diagnose(config, config.connect_timeout - (monotonic() - started))
        # Without its frames: they hold the password, and some loggers print the variables of each.
        reason.driver_error = failure.driver_error and failure.driver_error.with_traceback(None)
    else:
        _opened.add(connection)
        prepare_connection(connection)
        _refuse_unpinned(config, connection)
        return connection
    raise reason


def _refuse_unpinned(config: DatabaseConfig, connection: driver.connection) -> None:
    """Refuse a session whose settings would have values misread, where start-up options cannot set them."""
    for name, allowed in PINNED_AS_REPORTED.items() if config.pgbouncer else ():
        if (connection.get_parameter_status(name) or allowed[0]) not in allowed:
            connection.close()
            raise ConfigurationError(
                f"the database's {name} is not {allowed[0]}, which a connection behind PgBouncer cannot set, "
                f"so run ALTER DATABASE {config.name} SET {name} = '{allowed[0]}', then RECONNECT in its "
                "console"
            )


def _arguments(config: DatabaseConfig) -> dict[str, Any]:
    return config.connect_arguments()


Stack = list[tuple[CodeType, int]]
_NOT_NOTED: Stack = []
_PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"
_DEEPEST = 40  # frames


def stack() -> Stack:
    """Return the caller's frames and their lines, the innermost first; they keep no variable alive."""
    frame = sys._getframe(1)
    found: Stack = []
    while frame is not None and len(found) < _DEEPEST:
        found.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back  # type: ignore[assignment]  # None ends the loop
    return found


class Borrower(Protocol):
    """What a link knows of the lease that holds it: which statement it sent last."""

    last_statement: str


class Link:
    """A connection, with what is known of it and of whoever holds it."""

    def __init__(self, connection: driver.connection, generation: int) -> None:
        self.connection: driver.connection | None = connection
        self.fuse = Fuse(connection.fileno())
        self.generation = generation
        self.tainted = False
        self.replayed = 0  # of a standby: the place in the log up to which its server is known to have come
        self.idle_since = monotonic()
        self.thread = self.purpose = self.last_statement = ""
        self.borrowed_at = self.idle_since
        self.waited = 0.0
        self.watched = False
        self.stack = _NOT_NOTED
        self.plans = Plans()
        self.cancel_request: CancelRequest | None = None
        self._lease: ReferenceType[Borrower] | None = None
        self._poll = select.poll()
        self._poll.register(connection.fileno(), select.POLLIN | _HUNG_UP)
        _links.add(self)

    def prepare_cancel(self, config: DatabaseConfig) -> None:
        """Have what cancels its statements, where the number of its server's process is not the real one."""
        if config.pgbouncer and self.connection is not None:
            from database_handler.core.cancel_request import CancelRequest  # ctypes; by most never used

            self.cancel_request = CancelRequest.of(self.connection)

    def lent_to(self, lease: Borrower, purpose: str) -> None:
        """Note who holds it from now on: this thread, by this lease."""
        self._lease = ref(lease)
        self.last_statement = ""
        self.thread = current_thread().name
        self.purpose = purpose
        self.borrowed_at = monotonic()
        self.stack = _NOT_NOTED
        self.watched = True

    def holder(self) -> str:
        """Say which thread holds it, for what, for how long, and what it sent last."""
        if self._lease is not None and (lease := self._lease()) is not None:
            self.last_statement = lease.last_statement
        held = monotonic() - self.borrowed_at
        purpose = f" ({self.purpose})" if self.purpose else ""
        last = f", last statement {self.last_statement}" if self.last_statement else ""
        return f"{self.thread}{purpose} for {held:.1f} s{last}"

    def held_longer(self, seconds: float) -> bool:
        """Whether it is held for longer than that; True once for each borrow."""
        if not self.watched or monotonic() - self.borrowed_at < seconds:
            return False
        self.watched = False
        return True

    def borrowed_in(self) -> str:
        """Say by which lines of the application it was borrowed, the innermost first."""
        frames = [(code, line) for code, line in self.stack if not code.co_filename.startswith(_PACKAGE)]
        return (
            " < ".join(f"{code.co_filename}:{line} in {code.co_name}" for code, line in frames) or "not noted"
        )

    def is_lost(self) -> bool:
        """Whether it is known to be closed or cut."""
        connection = self.connection
        return connection is None or self.fuse.blown or bool(connection.closed)

    def is_idle(self) -> bool:
        """Whether it can be lent again as it is: open, not cut, in no transaction."""
        connection = self.connection
        return (
            connection is not None
            and not self.fuse.blown
            and not connection.closed
            and connection.get_transaction_status() == driver.TRANSACTION_STATUS_IDLE
        )

    def in_transaction(self) -> bool:
        """Whether a transaction, or a statement, is still open in it."""
        connection = self.connection
        return (
            connection is not None and connection.get_transaction_status() != driver.TRANSACTION_STATUS_IDLE
        )

    def answers(self, until: float, most: float) -> bool:
        """Whether the server is there still, for whom it has just been lent to.

        The socket tells, and a ping where that is not enough: within half of what is left `until` then, for
        the other half is for a new connection, and `most` seconds.
        """
        connection = self.connection
        if connection is None:
            return False
        events = self._poll.poll(0)
        if not events and self.borrowed_at - self.idle_since <= _FRESH:
            return not self.fuse.blown  # it was idle when it came back, and nothing has come since
        if events and events[0][1] & _HUNG_UP:
            return False
        # Something to read may be a notification, or the server's last words.
        within = min((until - monotonic()) / 2, most)
        with suppress(DatabaseHandlerError), self.fuse.guard(within):
            ping(connection)
        del connection.notifies[:]
        return self.is_idle()

    def running(self) -> int:
        """Return the server's process number while it runs a statement, else 0."""
        connection = self.connection
        if connection is None or connection.get_transaction_status() != driver.TRANSACTION_STATUS_ACTIVE:
            return 0
        return connection.info.backend_pid

    def close(self) -> None:
        """End the server's session, within a bound; never raises for what the connection says of it."""
        connection, self.connection = self.connection, None
        if connection is None:
            return
        try:
            with suppress(DatabaseHandlerError), self.fuse.guard(_CLOSE), translated(None, doing="close"):
                connection.close()
        finally:
            self.fuse.close()

    def disown(self) -> None:
        """In a forked child: forget the parent's connection, whose socket has been taken away already."""
        self.connection = None
        self.fuse.close()


# ------------------------------------------------------------------------------------------------------ fork

_opened: "WeakSet[driver.connection]" = WeakSet()
_links: WeakSet[Link] = WeakSet()


def _after_fork_in_child() -> None:
    """Leave the parent's sessions to the parent: the child can neither use nor end them.

    Even the collection of a driver's connection says good-bye to the server, on a socket that both
    processes share. So in the child each socket is replaced by one that leads nowhere; what still holds
    such a connection finds it lost.
    """
    for link in list(_links):
        link.disown()
    connections = [connection for connection in list(_opened) if not connection.closed]
    if connections:
        nowhere, other = socket.socketpair()
        other.close()
        for connection in connections:
            if (descriptor := connection.fileno()) >= 0:
                os.dup2(nowhere.fileno(), descriptor, inheritable=False)
        nowhere.close()
    _opened.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
