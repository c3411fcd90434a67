"""A lease is one borrow of one connection, and what was taken from it dies when it is given back.

`LentConnection` is the same for those who use psycopg2's own `getconn`: it, its cursors and their methods.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Protocol

import psycopg2.extensions as driver

from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import ReleasedConnection
from database_handler.core.link import Link, open_connection, stack
from database_handler.core.plans import Plans

__all__ = ["Lease", "LentConnection", "Owner", "dedicated"]


class Owner(Protocol):
    """Whom a connection goes back to: a pool, or nobody."""

    def take_back(self, lease: "Lease", *, discard: bool) -> None:
        """Take back the connection of a lease that is released."""

    def lost(self, link: Link) -> None:
        """Note the connection of a lease that was collected without a release."""

    def retire(self) -> None:
        """Close what was made so far, each connection when it comes back."""


class Lease:
    """One borrow of one connection; every use after its release raises `ReleasedConnection`.

    Collected without a release, its connection is closed, its slot freed, and a warning logged.

    Attributes
    ----------
    tainted : bool
        Whether a caller's SQL ran on this connection since its session was last reset; it goes with the
        connection from one lease to the next.
    last_statement : str
        The name of the statement sent last, which `PoolTimeout` tells.
    spoiled : bool
        Set by whoever changed the connection for good: it is closed on release.
    """

    __slots__ = ("__weakref__", "last_statement", "link", "owner", "spoiled", "tainted")

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.link: Link | None = None
        self.tainted = True  # until it is known better
        self.last_statement = ""
        self.spoiled = False

    def begin(self, link: Link, purpose: str) -> None:
        """Start the borrow, in the borrower's thread; only the owner does so."""
        self.link = link
        self.tainted = link.tainted
        link.lent_to(self, purpose)

    def _live(self) -> Link:
        link = self.link
        if link is None or link.connection is None:
            raise ReleasedConnection(None if link is None else "this connection was borrowed before a fork")
        return link

    @property
    def connection(self) -> driver.connection:
        """The driver's connection, in autocommit."""
        link = self.link
        if link is None or link.connection is None:
            self._live()
            raise ReleasedConnection
        return link.connection

    @property
    def plans(self) -> Plans:
        """What the connection's session has prepared."""
        return self._live().plans

    @property
    def backend_pid(self) -> int:
        """The process number of the server's session (a pooler in between makes one up)."""
        return self.connection.info.backend_pid

    @property
    def cut(self) -> bool:
        """Whether a deadline, or the pool's closing, cut this connection."""
        return self._live().fuse.blown

    @property
    def borrowed_at(self) -> float:
        """When it was borrowed, by `time.monotonic`."""
        return self._live().borrowed_at

    def guard(self, seconds: float | None) -> AbstractContextManager[None]:
        """Cut the connection when the block takes longer: the call in it fails as a lost connection."""
        return _UNGUARDED if seconds is None else self._live().fuse.guard(seconds)

    def trace(self) -> None:
        """Note where it was borrowed, which is told when it is held for too long or never given back."""
        self._live().stack = stack()

    def release(self, *, discard: bool = False) -> None:
        """Give the connection back; one that is closed, cut or in a transaction is closed instead."""
        link = self._live()
        link.tainted = self.tainted
        self.owner.take_back(self, discard=discard or self.spoiled)

    def retire(self) -> None:
        """Have this connection, and all of its pool that are no younger, closed instead of lent again."""
        self.spoiled = True
        self.owner.retire()

    def __del__(self) -> None:
        if self.link is not None:
            self.link.last_statement = self.last_statement
            self.owner.lost(self.link)


_UNGUARDED: AbstractContextManager[None] = nullcontext()


class _Alone:
    """The owner of a connection that is in no pool."""

    def take_back(self, lease: Lease, *, discard: bool) -> None:  # noqa: ARG002  # it is always closed
        link, lease.link = lease.link, None
        if link is not None:
            link.close()

    def lost(self, link: Link) -> None:
        """Nothing to do: the driver ends the session with the connection's memory."""

    def retire(self) -> None:
        """Nothing to do: there is no other."""


def dedicated(config: DatabaseConfig, *, timeout: float | None = None, purpose: str = "") -> Lease:
    """Connect outside any pool, as `open_connection` does; the lease's release closes the connection."""
    lease = Lease(_Alone())
    lease.begin(Link(open_connection(config, timeout=timeout), 0), purpose)
    return lease


# ------------------------------------------------------------------------------------------------ lent proxy


class _Lent:
    """Stands for an object of the driver's while its lease lives; so do the methods taken from it."""

    __slots__ = ("_lease", "_target")

    _lease: Lease
    _target: Any  # a connection, or whatever kind of cursor the caller asked it for

    def __init__(self, lease: Lease, target: object) -> None:
        object.__setattr__(self, "_lease", lease)
        object.__setattr__(self, "_target", target)

    def _alive(self) -> Any:
        return self._target if self._lease.connection else None  # the lease raises once it was put back

    def __getattr__(self, name: str) -> object:
        if name in _CONFIGURING:
            self._lease.spoiled = True
        return self._lent(getattr(self._alive(), name))

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self._alive(), name, value)
        if name not in _HARMLESS:
            self._lease.spoiled = True

    def _lent(self, value: object) -> object:
        if value is self._target:
            return self
        if isinstance(value, driver.connection):
            return LentConnection(self._lease)
        if isinstance(value, driver.cursor | driver.lobject):
            return _LentCursor(self._lease, value)
        if not callable(value) or isinstance(value, type):
            return value
        return self._method(value)

    def _method(self, method: Callable[..., object]) -> Callable[..., object]:
        def call(*positional: object, **named: object) -> object:
            self._alive()
            return self._lent(method(*positional, **named))

        return call

    def __enter__(self) -> object:
        return self._lent(self._alive().__enter__())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._alive().__exit__(kind, error, trace)


class LentConnection(_Lent):
    """A connection that dies when it is put back, and its cursors with it."""

    __slots__ = ()

    def __init__(self, lease: Lease) -> None:
        super().__init__(lease, lease.connection)


class _LentCursor(_Lent):
    __slots__ = ()

    def __iter__(self) -> "_LentCursor":
        return self

    def __next__(self) -> object:
        row: object = next(self._alive())
        return row


# What changes a connection in ways that its next borrower would meet: such a one is closed when put back.
_CONFIGURING = frozenset({"set_session", "set_isolation_level", "set_client_encoding", "cancel"})
_HARMLESS = frozenset({"autocommit", "arraysize", "itersize"})
