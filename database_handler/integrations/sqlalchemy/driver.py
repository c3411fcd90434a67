"""The DB-API driver that SQLAlchemy is given: it sends through this library's transactions, not psycopg2's.

So each statement of SQLAlchemy's takes the way of a caller's own SQL: BEGIN and the timeouts are glued to the
first one, values are bound by the same rules, the watchdog and the deadline hold, a failure marks the
transaction failed, a COMMIT that the server turned into a rollback or whose reply was lost is told or
resolved, the cache hears of what was written, and observers hear of every statement.

`UnitConnection` sends in the transaction of a unit, which it never ends; `PooledConnection` borrows one
connection of the pool, and begins and ends transactions of its own on it.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, LiteralString, cast

import psycopg2
import psycopg2.extensions as psycopg2_driver
from psycopg2 import sql

from database_handler.core.budget import Budget
from database_handler.core.exceptions import InvalidSql, InvalidValue, ReleasedConnection
from database_handler.core.foreign_sql import Checked, Foreign
from database_handler.core.lent import Lease, Owner
from database_handler.core.link import Link
from database_handler.core.messages import Limits, Reply, Statement
from database_handler.core.parameters import Parameters
from database_handler.core.session import Executor, Session
from database_handler.core.transaction import Autocommit, Isolation, Transaction, TransactionOptions
from database_handler.integrations.sqlalchemy.cursors import Cursor, Row, ServerCursor
from database_handler.integrations.sqlalchemy.errors import of_both
from database_handler.integrations.sqlalchemy.values import plain

__all__ = ["DRIVER", "UNIT_COMMITS", "DriverConnection", "Opening", "PooledConnection", "UnitConnection"]

UNIT_COMMITS = (
    "this connection is a unit of work's, which commits when its block ends; for a part that can be undone "
    "by itself there are begin_nested() and uow.savepoint()"
)
_LONG = 1000  # characters, from which on a text may hold many rows


class _Undone(Exception):
    """Leaves a savepoint as a failure does."""


# A value's place, with the cast that may follow it, or the number of a row; and a row of them.
_VALUE = r"(?:%\(\w+\)s(?:::\w+(?:\[\])?)?|\d+)"
_ROW = rf"\({_VALUE}(?:, {_VALUE})*\)"
_ROWS = re.compile(rf"({_ROW})(?:, {_ROW})+")
_VALUES = re.compile(rf"(\({_VALUE})(?:, {_VALUE})+(?=\))")


class _Batch(Foreign):
    """A long text, in which SQLAlchemy has written one row, or one member of a list, after the other.

    They are alike and only places for values, so what the statement is may be told from the first of each:
    to look at 1,000 rows took longer than to store them.
    """

    def checked(self, connection: psycopg2_driver.connection, parameters: Parameters) -> Checked:
        text = str(self.query)
        first: Any = _VALUES.sub(r"\1", _ROWS.sub(r"\1", text))
        shorter = Foreign(first)
        told = shorter.checked(connection, parameters)
        return replace(told, text=f"{self.before}{text}{self.after}")


class _Sending(Session):
    """A session that gives the whole reply."""

    def reply(self, foreign: Foreign, parameters: object) -> Reply:
        with of_both():
            return self._send(foreign, plain(parameters))


class DriverConnection(ABC):
    """What SQLAlchemy takes for a connection of psycopg2's.

    Attributes
    ----------
    notices : sequence of str
        None is ever there: the server's notices stay with the connection.
    """

    notices: Sequence[str] = ()
    autocommit = False
    closed = False

    def __init__(self) -> None:
        self._savepoints: dict[str, AbstractContextManager[None]] = {}

    @abstractmethod
    def _executor(self) -> Executor:
        """What sends a statement now."""

    @abstractmethod
    def _transaction_begun(self) -> Transaction:
        """The transaction, begun where there was none."""

    def cursor(self, name: str | None = None) -> Cursor:
        """Return a cursor; one with a name is kept by the server, under a name of its own."""
        return Cursor(self) if name is None else ServerCursor(self)

    def send(self, statement: str | sql.Composable, parameters: object = None) -> Reply:
        """Send a statement of the caller's."""
        return self._sent(self._executor(), self._foreign(statement), parameters)

    def _sent(self, executor: Executor, foreign: Foreign, parameters: object) -> Reply:
        return _Sending(executor).reply(foreign, parameters)

    def _foreign(self, statement: Any, before: str = "", after: str = "") -> Foreign:
        if not isinstance(statement, str | sql.Composable):
            raise InvalidSql(f"a query is a str or a psycopg2.sql object, not {type(statement).__name__}")
        kind = _Batch if isinstance(statement, str) and len(statement) > _LONG else Foreign
        return kind(cast("LiteralString", statement), before, after)

    def declare(self, name: str, statement: Any, parameters: object, size: int) -> Reply:
        """Declare a cursor on the server, and fetch its first rows."""
        # The new line ends a comment at the end of the text.
        before = f"DECLARE {name} NO SCROLL CURSOR FOR "
        foreign = self._foreign(statement, before, f"\n;FETCH FORWARD {size} FROM {name}")
        return self._sent(self._transaction_begun(), foreign, parameters)

    def fetch(self, name: str, size: int | None) -> list[Row]:
        """Fetch more rows of a cursor on the server; all of them where no size is given."""
        text = f"FETCH FORWARD {'ALL' if size is None else int(size)} FROM {name}"
        with of_both():
            return self._transaction_begun().send(Statement(text, "sqlalchemy.fetch", uncounted=True)).rows

    def copy(self, statement: Any, lines: Iterable[bytes]) -> int:
        """Send a COPY ... FROM STDIN and its rows."""
        with of_both():
            return Session(self._executor()).copy(statement, lines)

    def facts(self) -> tuple[str | None, int]:
        """Return the schema that names without one stand for, and the server's version as one number."""
        with of_both():
            schema, version = self._executor().send(_FACTS).rows[0]
        return schema, version

    def isolation_in_force(self) -> str:
        """Ask the server for the isolation level."""
        with of_both():
            return str(self._executor().send(_ISOLATION).rows[0][0]).upper()

    def savepoint(self, name: str) -> None:
        """Make a savepoint, when the next statement needs it."""
        with of_both():
            made = self._transaction_begun().savepoint()
            made.__enter__()
            self._savepoints[name] = made

    def release_savepoint(self, name: str) -> None:
        """Keep what was sent since a savepoint."""
        self._undo_inside(name)
        with of_both():
            self._savepoints.pop(name).__exit__(None, None, None)

    def undo_savepoint(self, name: str) -> None:
        """Undo what was sent since a savepoint."""
        self._undo_inside(name)
        self._undo(self._savepoints.pop(name))

    def _undo_inside(self, name: str) -> None:
        if name not in self._savepoints:
            raise InvalidValue("this savepoint is over")
        while next(reversed(self._savepoints)) != name:
            self._undo(self._savepoints.popitem()[1])

    def _undo(self, savepoint: AbstractContextManager[None]) -> None:
        undone = _Undone()
        with of_both():
            savepoint.__exit__(_Undone, undone, None)

    def _undo_all(self) -> None:
        while self._savepoints:
            self._undo(self._savepoints.popitem()[1])


_FACTS = Statement(
    "SELECT current_schema, current_setting('server_version_num')::int", "sqlalchemy.facts", uncounted=True
)
_ISOLATION = Statement("SHOW transaction_isolation", "sqlalchemy.isolation", uncounted=True)


class UnitConnection(DriverConnection):
    """Sends in the transaction of a unit, and never ends it.

    Attributes
    ----------
    leaving : bool
        Whether SQLAlchemy's connection is being closed: it rolls back then, and the unit goes on.
    """

    isolation: str | None = None
    readonly = deferrable = False

    def __init__(self, transaction: Transaction) -> None:
        super().__init__()
        self._transaction = transaction
        self.leaving = False

    def _executor(self) -> Executor:
        return self._transaction

    def _transaction_begun(self) -> Transaction:
        return self._transaction

    def commit(self) -> None:
        """Refuse: the unit commits."""
        raise InvalidValue(UNIT_COMMITS)

    def rollback(self) -> None:
        """Have the unit, or the savepoint around it, store nothing; unless the connection is just closed."""
        if not self.leaving:
            self._transaction.give_up("it was rolled back through SQLAlchemy")

    def close(self) -> None:
        """Undo the savepoints that were not released; all else stays the unit's."""
        if not self._transaction.is_over:
            self._undo_all()


@dataclass(frozen=True, slots=True)
class Opening:
    """How the transactions of an engine begin, what bounds them, and whether the pool is amid something."""

    borrow: Callable[[], Lease]
    is_entered: Callable[[], bool]
    options: TransactionOptions
    limits: Limits
    budget: Budget


class _Keeper:
    """Keeps one borrow for several transactions, each of which finds the session as the one before left it.

    It is the owner of the lease while that is kept, so that the end of a transaction gives it back no
    further. What an earlier borrower left is reset with the first statement; what these transactions leave
    is the next borrower's to reset.
    """

    def __init__(self, borrow: Callable[[], Lease]) -> None:
        self._borrow = borrow
        self._lease: Lease | None = None
        self._pool: Owner | None = None
        self._owed = False

    def lend(self) -> Lease:
        """Return the lease; it is borrowed where there is none, or the one before was lost."""
        if self._lease is None:
            lease = self._borrow()
            lease.trace()
            self._pool, lease.owner, self._owed = lease.owner, self, False
            self._lease = lease
        return self._lease

    def settle(self) -> None:
        """Note that a statement was carried out: what an earlier borrower left is gone."""
        if self._lease is not None:
            self._lease.tainted, self._owed = False, self._owed or self._lease.tainted

    def take_back(self, lease: Lease, *, discard: bool) -> None:
        """Go on with it for the next transaction, where it is fit for one."""
        if discard or lease.link is None or not lease.link.is_idle():
            self.give_back(discard=discard)

    def give_back(self, *, discard: bool = False) -> None:
        """Give the connection back to the pool."""
        lease, self._lease = self._lease, None
        if lease is not None and self._pool is not None:
            lease.owner = self._pool
            lease.tainted = self._owed or lease.tainted
            lease.release(discard=discard)

    def forget(self) -> None:
        """Leave it to the pool, as a borrower does who is collected without having given back."""
        self._lease = None

    def lost(self, link: Link) -> None:
        """Tell the pool of a lease that was collected."""
        if self._pool is not None:
            self._pool.lost(link)

    def retire(self) -> None:
        """Have the pool close what it made so far."""
        if self._pool is not None:
            self._pool.retire()


_LEVELS: dict[str, Isolation | None] = {
    "READ UNCOMMITTED": "read committed",  # PostgreSQL's own answer to it
    "READ COMMITTED": "read committed",
    "REPEATABLE READ": "repeatable read",
    "SERIALIZABLE": "serializable",
}


class PooledConnection(DriverConnection):
    """A connection of the pool, borrowed until it is closed, with transactions of its own."""

    def __init__(self, opening: Opening) -> None:
        super().__init__()
        self._opening = opening
        self._transaction: Transaction | None = None
        self.isolation: str | None = None
        self.readonly = self.deferrable = False
        with of_both():
            self._keeper = _Keeper(opening.borrow)
            self._keeper.lend()

    def _options(self) -> TransactionOptions:
        given = self._opening.options
        if self.isolation is not None:
            given = replace(given, isolation=_LEVELS[self.isolation])
        return replace(given, read_only=bool(self.readonly), deferrable=bool(self.deferrable))

    def _executor(self) -> Executor:
        if self.closed:
            raise ReleasedConnection
        if self.autocommit:
            return Autocommit(self._keeper.lend, self._options(), self._opening.limits)
        return self._transaction_begun()

    def _transaction_begun(self) -> Transaction:
        if self.closed:
            raise ReleasedConnection
        if self.autocommit:
            raise InvalidValue("a savepoint or a server-side cursor needs a transaction, not AUTOCOMMIT")
        if self._transaction is None:
            self._transaction = Transaction(
                self._keeper.lend, self._options(), self._opening.limits, budget=self._opening.budget
            )
        self._transaction.adopt()
        return self._transaction

    def _sent(self, executor: Executor, foreign: Foreign, parameters: object) -> Reply:
        reply = super()._sent(executor, foreign, parameters)
        self._keeper.settle()
        return reply

    def _ended(self) -> Transaction | None:
        ended, self._transaction = self._transaction, None
        self._savepoints.clear()
        if ended is not None:
            ended.adopt()
        return ended

    def commit(self) -> None:
        """Make the transaction final, or say that it is not."""
        if (transaction := self._ended()) is not None:
            with of_both():
                transaction.__exit__(None, None, None)

    def rollback(self) -> None:
        """Undo the transaction."""
        if not self._opening.is_entered() and (transaction := self._ended()) is not None:
            transaction.rollback()

    def close(self) -> None:
        """Undo what was not committed, and give the connection back.

        SQLAlchemy calls this from the collector too, for a connection that nobody closed. That may come while
        this thread is inside the pool, where nothing can be sent or given back.
        """
        self.closed = True
        if self._opening.is_entered():
            self._ended()
            self._keeper.forget()
            return
        try:
            self.rollback()
        finally:
            self._keeper.give_back()


class _NeverRaised(Exception):
    """What SQLAlchemy would wrap: the errors of this driver are SQLAlchemy's own already."""


def _connect(*_arguments: object, **_named: object) -> DriverConnection:
    raise InvalidValue("this engine connects through its database's pool, and in no other way")


# What SQLAlchemy looks up in the module of a driver.
DRIVER = SimpleNamespace(
    apilevel="2.0",
    threadsafety=2,
    paramstyle="pyformat",
    Error=_NeverRaised,
    Binary=memoryview,
    connect=_connect,
    __version__=psycopg2.__version__,  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    __name__="database_handler",
)
