"""Begins and ends transactions, and knows their state better than the connection does.

A transaction sends nothing of its own until there is a statement to send it with: BEGIN, the timeouts and
pending savepoints are glued to the first one, so that n statements cost n + 1 round trips. The state is
kept here because the connection's can mislead: a syntax error in a glued first message leaves the
connection idle, and the next INSERT would commit by itself. A COMMIT whose reply is lost is resolved by
the transaction's id, which rides in the first writing message (PostgreSQL, "pg_xact_status").

It is one module because what is glued to a message, and what is known after its answer, are two sides of
one state.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from itertools import count
from math import ceil, inf
from threading import get_ident
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeVar
from uuid import UUID

import psycopg2.extensions as driver

from database_handler.core.budget import Budget, StatementCount
from database_handler.core.deadline import Deadline, checked_seconds
from database_handler.core.exceptions import (
    CommitOutcomeUnknown,
    ConnectionLost,
    DatabaseHandlerError,
    DatabaseUnavailable,
    DeadlineExceeded,
    InvalidSql,
    InvalidValue,
    PoolTimeout,
    QueryCancelled,
    QueryError,
    ReadOnlyServer,
    ReleasedConnection,
    StatementTimeout,
    TransactionAborted,
)
from database_handler.core.foreign_sql import Checked, Effect, Foreign
from database_handler.core.outcome import MARK, Mark, marked, outcome_of
from database_handler.core.parameters import Parameters
from database_handler.core.plans import LOST_PLAN, Plans
from database_handler.core.quoting import literal
from database_handler.core.session import (
    Borrowed,
    Limits,
    Message,
    Reply,
    Session,
    Statement,
    rendered,
    transmit,
)

if TYPE_CHECKING:
    from database_handler.core.cache import Cache, Writing

__all__ = ["PROJECT_SETTING", "Autocommit", "Isolation", "Lend", "Lent", "Transaction", "TransactionOptions"]

Isolation = Literal["read committed", "repeatable read", "serializable"]
PROJECT_SETTING: Final = "database_handler.project_id"
"""The setting that policies of row-level security read: the projects of the transaction, parted by commas."""


class Lent(Borrowed, Protocol):
    """A borrowed connection, as a transaction needs it."""

    tainted: bool

    @property
    def plans(self) -> Plans:
        """What its session has prepared."""
        ...

    def trace(self) -> None:
        """Note the caller's stack."""

    def release(self, *, discard: bool = False) -> None:
        """Give it back."""

    def retire(self) -> None:
        """Have it, and all that were made before now, closed instead of lent again."""


Lend = Callable[[], Lent]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TransactionOptions:
    """How a transaction begins; timeouts are in seconds.

    Attributes
    ----------
    isolation : {"read committed", "repeatable read", "serializable"}, optional
        The server's default when left out.
    resolve : bool
        Ask the server what became of a COMMIT whose reply was lost. It costs the transaction an id.
    project_id : UUID, optional
        The project whose rows row-level security shows, where a database has that.
    """

    isolation: Isolation | None = None
    read_only: bool = False
    deferrable: bool = False
    statement_timeout: float | None = None
    lock_timeout: float | None = None
    resolve: bool = True
    project_id: UUID | None = None

    def __post_init__(self) -> None:
        """Refuse what PostgreSQL would refuse, before anything is sent."""
        if self.isolation not in (None, "read committed", "repeatable read", "serializable"):
            raise InvalidValue(
                'isolation is "read committed", "repeatable read" or "serializable", in small letters'
            )
        for name in ("read_only", "deferrable", "resolve"):
            if not isinstance(getattr(self, name), bool):
                raise InvalidValue(f"{name} is True or False")
        for name in ("statement_timeout", "lock_timeout"):
            checked_seconds(name, getattr(self, name))
        if not (self.project_id is None or isinstance(self.project_id, UUID)):
            raise InvalidValue(f"project_id is a UUID, not a {type(self.project_id).__name__}")


_PLAIN = TransactionOptions()
_UNLIMITED = Limits()
_UNBOUNDED = Budget()


@lru_cache(maxsize=256)
def _timeouts(options: TransactionOptions) -> str:
    text = ""
    if options.statement_timeout is not None:
        text += f"SET LOCAL statement_timeout = {_milliseconds(options.statement_timeout)};"
    if options.lock_timeout is not None:
        text += f"SET LOCAL lock_timeout = {_milliseconds(options.lock_timeout)};"
    if options.project_id is not None:
        text += f"SET LOCAL {PROJECT_SETTING} = '{options.project_id}';"
    return text


def _milliseconds(seconds: float) -> int:
    # Never less: a cancel that comes before the timeout is told as somebody else's.
    return ceil(round(seconds * 1000, 6))


@lru_cache(maxsize=256)
def _begin(options: TransactionOptions) -> str:
    modes = ""
    if options.isolation:
        modes += f" ISOLATION LEVEL {options.isolation.upper()}"
    if options.read_only:
        modes += " READ ONLY"
    if options.deferrable:
        modes += " DEFERRABLE"
    return f"BEGIN{modes};{_timeouts(options)}"


# A transaction of its own, for what is reset inside another is put back when that one is rolled back.
# DISCARD ALL cannot stand in a transaction, nor in a message of several statements; this does what it does.
# RESET ALL comes first, lest a statement_timeout that was left behind ends the rest.
_REST = (
    "RESET SESSION AUTHORIZATION;CLOSE ALL;DEALLOCATE ALL;UNLISTEN *;DISCARD TEMP;DISCARD SEQUENCES;"
    "SELECT pg_advisory_unlock_all();"
)
_RESET = f"RESET ALL;BEGIN;{_REST}COMMIT;"
# Behind a pooler the reset goes with COMMIT or ROLLBACK instead: the connection to the server is another's
# once that is answered, who would meet whatever is left in it. These words mean a session, and there is none.
_OF_A_SESSION = {"SET", "RESET", "LISTEN", "UNLISTEN", "DISCARD", "DEALLOCATE", "LOAD", "PREPARE", "EXECUTE"}
_RESET_TRIES = 3  # it is short; what cuts it off is a processor that was taken away for longer than the rest
_GRACE = 0.1  # seconds by which the server's own timeout may be first, which keeps the connection
_ROLLBACK_SECONDS = 0.25  # at least, also after the deadline: a connection that answers is worth keeping


# What a wait that a deadline cuts short ends with.
_MAY_BE_LATE = (ConnectionLost, StatementTimeout, QueryCancelled, PoolTimeout, DatabaseUnavailable)


_WHY_UNKNOWN = {
    None: "it is too long ago",
    "in progress": "it may still be made final",
    "another epoch": "the server has recovered from a crash since, or is another one",
}


class _State(Enum):
    NEW = "new"
    OPEN = "open"
    FAILED = "failed"
    OVER = "over"


class Transaction:
    """One transaction over one borrowed connection, taken when the first statement is sent.

    Parameters
    ----------
    lend : callable
        Borrows a connection; called again only to resolve a lost COMMIT.
    options : TransactionOptions
        How it begins.
    limits : Limits
        What bounds each message.
    deadline : Deadline, optional
        What bounds the whole; `lend` should heed it too.
    budget : Budget
        How many statements it may send.
    """

    _why_failed = "a statement of this unit failed"

    def __init__(
        self,
        lend: Lend,
        options: TransactionOptions = _PLAIN,
        limits: Limits = _UNLIMITED,
        *,
        deadline: Deadline | None = None,
        budget: Budget = _UNBOUNDED,
    ) -> None:
        self._lend = lend
        self._options = options
        self.limits = limits
        self.deadline = deadline or Deadline()
        self._count = StatementCount(budget)
        self._state = _State.NEW
        self._lease: Lent | None = None
        self._pending: list[str] = []
        self._untold: list[str] = []  # SQL that tells of changes; it goes before what is pending
        self._numbers = count(1)
        self._thread = get_ident()
        self._mark: Mark | None = None
        self._wrote = False
        self._only_deleted = True
        self._begun_with: float | None = None
        self._footprint = None if limits.cache is None or options.read_only else limits.cache.footprint()
        self._notes = None if limits.changes is None or options.read_only else limits.changes.notes()

    @property
    def session(self) -> Session:
        """What the statements are sent with.

        It is made anew, not kept: with a session of its own the transaction would be in a cycle, and one that
        is dropped in the middle would keep its connection until the collector comes by.
        """
        return Session(self)

    @property
    def cache(self) -> None:
        """Nothing is read from a cache: a unit sees its own writes, and one moment."""
        return

    # ------------------------------------------------------------------------------------------ statements

    def send(self, statement: Statement, parameters: Parameters = None) -> Reply:
        """Send the library's own SQL, with all that is pending glued before it."""
        if not statement.uncounted:
            self._count.add(statement.text, statement.name)
        return self._send(statement, parameters)

    def _send(self, statement: Statement, parameters: Parameters = None) -> Reply:
        lease, before = self._ready()
        text = _planned(lease, statement, self.limits)
        message = Message(
            before + self._glued() + self._marking(statement.writes) + text,
            statement.name,
            parameters,
            self._timeout,
            statement.deletes,
            statement=statement.text,
            reads=not statement.writes,
        )
        try:
            reply = self._transmit(lease, message, writes=statement.writes)
        except QueryError as failure:
            if text is not statement.text and failure.sqlstate in LOST_PLAN:
                lease.plans.forget()
                failure.retryable = True
            raise
        if text is not statement.text:
            lease.plans.sent()
        if statement.writes:
            self._noted(statement, reply)
        return reply

    def _noted(self, statement: Statement, reply: Reply) -> None:
        """Take down what was written, for the cache and for whoever is told of changes."""
        if self._footprint is not None:
            self._footprint.add(statement, reply)
        if self._notes is not None:
            self._notes.add(statement, reply)
            if self._notes.is_full:
                self._untold += self._notes.taken()

    def send_foreign(self, foreign: Foreign, parameters: Parameters) -> Reply:
        """Send a caller's SQL: a pending savepoint goes before it in a message of its own.

        For a syntax error anywhere in a message keeps the whole of it from being run.
        """
        self._refuse_unusable()
        checked = foreign.checked(self._lease_of().connection, parameters)
        if self.limits.pooled and checked.word == "LISTEN":
            raise _no_session("LISTEN", "needs a connection of its own: make one past the pooler")
        self._count.add(checked.text, checked.name)
        if any(control.startswith("SAVEPOINT") for control in self._pending):
            self._send(Statement("SELECT", "transaction.pending"))
        lease, before = self._ready()
        clean = checked.effect is Effect.READS
        lease.tainted = lease.tainted or not clean
        before += self._marking(checked.effect is Effect.WRITES)
        message = _foreign_message(before, checked, foreign, parameters, self._timeout)
        if not clean and self._footprint is not None:
            self._footprint.everything()
        return self._transmit(lease, message, writes=not clean, clean=clean, own=False)

    def copy(self, statement: Statement, lines: Iterable[bytes]) -> int:
        """Send COPY and its rows: two round trips."""
        self._count.add(statement.text, statement.name)
        lease, before = self._ready()
        text = before + self._glued() + self._marking(writes=True) + statement.text
        message = Message(text, statement.name, None, self._timeout, lines=lines, statement=statement.text)
        reply = self._transmit(lease, message, writes=True)
        self._noted(statement, reply)
        return reply.affected

    @contextmanager
    def atomic(self, *, read_only: bool = False) -> Iterator[Session]:  # noqa: ARG002  # it is begun already
        """Give this transaction's own session: it is atomic already."""
        yield self.session

    @contextmanager
    def undoable(self) -> Iterator[Session]:
        """Give this transaction's own session inside a savepoint."""
        with self.savepoint():
            yield self.session

    def later(self, control: str) -> None:
        """Have `control` go with the next message of the library's own; forgotten when there is none."""
        if self._state is _State.OPEN:
            self._pending.append(control)

    def _refuse_unusable(self) -> None:
        if get_ident() != self._thread:
            raise InvalidValue("a unit of work belongs to the thread that opened it; open one in this thread")
        if self._state is _State.OVER:
            raise ReleasedConnection("this unit of work is over; open another")
        if self._state is _State.FAILED:
            raise TransactionAborted(
                f"{self._why_failed}, so nothing of it will be stored; leave the unit, "
                "or put what may fail into uow.savepoint()"
            )

    @property
    def _timeout(self) -> float | None:
        """The statement_timeout in force; a deadline that came later is the client's alone."""
        return self._begun_with if self._begun_with is not None else self._options.statement_timeout

    def _lease_of(self) -> Lent:
        if self._lease is None:
            self.deadline.check("unit of work")
            if self.limits.cache is not None and not self.limits.cache.is_identified:
                self._in_time(self.limits.cache.identify)
            self._lease = self._in_time(self._lend)
            self._lease.trace()
        return self._lease

    def _ready(self) -> tuple[Lent, str]:
        """Check that a statement may be sent, and say what begins the transaction where it has not begun."""
        self._refuse_unusable()
        lease = self._lease_of()
        if self._state is _State.NEW:
            return lease, _reset_due(lease, self.limits) + self._beginning()
        self._expect_open(lease)
        return lease, ""

    def _beginning(self) -> str:
        """Return what begins it; with a deadline the server stops by itself, and soon, what outlives that."""
        if not self.deadline.is_set:
            return _begin(self._options)
        seconds = self.deadline.within(self._options.statement_timeout) or _GRACE
        self._begun_with = seconds
        plain = _begin(replace(self._options, statement_timeout=None))
        return f"{plain}SET LOCAL statement_timeout = {_milliseconds(seconds)};"

    def _expect_open(self, lease: Lent) -> None:
        if lease.connection.get_transaction_status() != driver.TRANSACTION_STATUS_INTRANS:
            self._state = _State.FAILED
            raise TransactionAborted(
                "the transaction was ended behind this unit's back; nothing more is sent"
            )

    def _glued(self) -> str:
        return "".join(f"{control};" for control in (*self._untold, *self._pending))

    def _marking(self, writes: bool) -> str:
        wanted = writes and self._mark is None and self._options.resolve and not self._options.read_only
        return MARK if wanted else ""

    def _transmit(
        self, lease: Lent, message: Message, *, writes: bool, clean: bool = True, own: bool = True
    ) -> Reply:
        self.deadline.check(message.name)
        marking = writes and self._mark is None
        message = rendered(lease.connection, message)  # what cannot be sent is refused before it counts
        fresh = self._state is _State.NEW
        self._state = _State.FAILED  # until the answer says otherwise, whatever is raised on the way
        if own:
            self._pending.clear()
            self._untold.clear()
        if writes and not self._options.read_only:
            self._wrote, self._only_deleted = True, self._only_deleted and message.deletes
        try:
            reply = self._transmitted(lease, message)
        except _MAY_BE_LATE as failure:
            raise self._late(failure) from None
        self._state = _State.OPEN
        if fresh and clean:
            lease.tainted = False
        if marking:
            self._mark = marked(lease.connection)
        self._expect_open(lease)
        return reply

    def _transmitted(self, lease: Lent, message: Message) -> Reply:
        try:
            return _past_reset(lease, message, self.limits, self._left)
        except ReadOnlyServer:
            if not self._options.read_only:  # perhaps an old primary: what is connected to it is given up
                lease.retire()
            raise

    def _left(self) -> float | None:
        return _left(self.limits, self.deadline, _GRACE)

    def _in_time(self, call: Callable[[], T]) -> T:
        """Do what the deadline may cut short, and tell that by the deadline's name."""
        try:
            return call()
        except _MAY_BE_LATE as failure:
            raise self._late(failure) from None

    def _late(self, failure: DatabaseHandlerError) -> DatabaseHandlerError:
        if not self.deadline.passed:
            return failure
        told = DeadlineExceeded(f"{failure}; it was cut short by the deadline of this unit")
        told.driver_error = failure.driver_error
        return told

    # ------------------------------------------------------------------------------------------ savepoints

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what is inside when it fails, and nothing else; it is made when a statement needs it."""
        self._refuse_unusable()
        name = f"s{next(self._numbers)}"
        if self._notes is not None:  # so that what is held from here on is what the savepoint would undo
            self._untold += self._notes.taken()
        self._pending.append(f"SAVEPOINT {name}")
        try:
            yield
        except BaseException:
            self._roll_back_to(name)
            raise
        if self._state is _State.FAILED:
            self._roll_back_to(name)
            raise TransactionAborted("a statement failed inside this savepoint, so it was undone")
        self._release(name)

    def _release(self, name: str) -> None:
        if f"SAVEPOINT {name}" in self._pending:
            self._forget_from(name)
        elif self._state is _State.OPEN:
            self._pending.append(f"RELEASE SAVEPOINT {name}")

    def _forget_from(self, name: str) -> None:
        del self._pending[self._pending.index(f"SAVEPOINT {name}") :]

    def _roll_back_to(self, name: str) -> None:
        if f"SAVEPOINT {name}" in self._pending:
            self._forget_from(name)
            return
        lease = self._lease
        if lease is None or self._state is _State.OVER or not _in_transaction(lease):
            return
        self._pending.clear()
        self._untold.clear()
        if self._notes is not None:
            self._notes.forget()
        text = f"ROLLBACK TO SAVEPOINT {name};RELEASE SAVEPOINT {name}"
        # What fails here leaves the unit failed; the first error is the one to see.
        with suppress(DatabaseHandlerError):
            self._state = _State.FAILED
            transmit(
                lease,
                Message(text, "transaction.rollback_to_savepoint"),
                self.limits,
                _left(self.limits, self.deadline, _ROLLBACK_SECONDS),
            )
            self._state = _State.OPEN
            self.__dict__.pop("_why_failed", None)

    # ------------------------------------------------------------------------------------------------- end

    def adopt(self) -> None:
        """Belong to the calling thread from now on, whatever was sent: whoever passes it on waits in turn."""
        self._thread = get_ident()

    def give_up(self, why: str) -> None:
        """Have it store nothing, as after a failed statement; where nothing was sent there is nothing to do.

        Parameters
        ----------
        why : str
            What happened, which is told to whoever goes on with it, or ends it as if all were well.
        """
        if self._state is _State.OPEN:
            self._state, self._why_failed = _State.FAILED, why

    def claim(self) -> None:
        """Belong to the calling thread from now on; a transaction that is over cannot be used again."""
        if self._state is not _State.NEW:
            raise ReleasedConnection("this unit of work was used already; open another")
        self._thread = get_ident()

    def __enter__(self) -> Session:
        """Give the session; nothing is sent yet."""
        return self.session

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit when all went well, else roll back; the first error is never hidden."""
        if error is None:
            self.commit()
        else:
            self.rollback()

    @property
    def is_over(self) -> bool:
        """Whether it was committed or rolled back."""
        return self._state is _State.OVER

    def commit(self) -> None:
        """Make what was sent final, or say that it is not.

        Raises
        ------
        TransactionAborted
            A statement failed, or the server answered COMMIT with a rollback: nothing is stored.
        CommitOutcomeUnknown
            The reply was lost, and the server could not be asked what became of it.
        ConnectionLost
            The connection was lost, and nothing is stored; the unit can be sent again.
        """
        if self._state is _State.OVER:
            return
        try:
            self._commit()
        finally:  # not before: a read beside it, of the same task, would take the note for its own answer
            if self._wrote and self.limits.wrote is not None:
                self.limits.wrote()

    def _commit(self) -> None:
        writing: Writing | None = None
        try:
            self._refuse_unusable()
            if self._lease is not None and self._state is _State.OPEN:
                self._expect_open(self._lease)
                writing = self._announced()
                self._in_time(self._send_commit)
        except BaseException as failure:
            self.rollback()
            if writing is not None:
                writing.end(failure)
            raise
        self._end()
        if writing is not None:
            writing.end()

    def _announced(self) -> "Writing | None":
        """Have the cache forget what is about to be final, so that nobody reads it once it is."""
        if self._footprint is None or self.limits.cache is None:
            return None
        return self.limits.cache.announce(self._footprint)

    def _send_commit(self) -> None:
        self.deadline.check("transaction.commit")
        lease = self._lease_of()
        backend = lease.connection.info.backend_pid
        deletes = self._wrote and self._only_deleted  # a deferred foreign key then lacks what was deleted
        text = f"RESET ALL;{_REST}{_named(lease)}COMMIT" if self._leaves(lease) else "COMMIT"
        text = self._telling() + text
        message = Message(text, "transaction.commit", None, self._timeout, deletes)
        whole = Deadline(self.deadline.within(self.limits.deadline))
        within = whole.within(None)
        try:
            reply = transmit(lease, message, self.limits, within and within - _reserved(within))
        except ConnectionLost as lost:
            self._resolve(lost, backend, whole)
            return
        if reply.tag != "COMMIT":
            raise TransactionAborted("the server answered COMMIT by rolling back; nothing is stored")
        lease.tainted = lease.tainted and not self.limits.pooled

    def _telling(self) -> str:
        """Return what goes with COMMIT to tell others what was changed."""
        if self._notes is None:
            return ""
        return "".join(f"{text};" for text in (*self._untold, *self._notes.last()))

    def _leaves(self, lease: Lent) -> bool:
        """Whether the end of the transaction has to take away what a caller's SQL may have left."""
        return self.limits.pooled and lease.tainted

    def _resolve(self, lost: ConnectionLost, backend: int, whole: Deadline) -> None:
        """Ask a second connection what became of the transaction; return only if it was committed."""
        if not self._wrote:
            raise lost
        outcome = "it may not be asked for" if self._mark is None else "nobody could be asked"
        if self._mark is not None:
            self._end(discard=True)
            self.deadline.until = whole.until  # so that borrowing keeps to it as well
            with suppress(DatabaseHandlerError):
                found = outcome_of(self._mark, self._to_ask_with, whole)
                outcome = _WHY_UNKNOWN.get(found, str(found))
        if outcome == "aborted":
            raise lost
        if outcome != "committed":
            self.limits.listeners.unknown_outcome("transaction.commit")
            raise _unknown("transaction.commit", backend, outcome, self._mark) from None

    def _to_ask_with(self) -> Session:
        return Autocommit(self._lend, limits=self.limits, deadline=self.deadline).session

    def rollback(self) -> None:
        """Undo what was sent; the unit is over. It never raises what the connection says of it."""
        if self._state is _State.OVER:
            return
        self._pending.clear()
        self._untold.clear()
        lease = self._lease
        if lease is None or not _in_transaction(lease):
            self._end()
            return
        try:
            within = _left(self.limits, self.deadline, _ROLLBACK_SECONDS)
            text = f"ROLLBACK;{_RESET}{_named(lease)}" if self._leaves(lease) else "ROLLBACK"
            transmit(lease, Message(text, "transaction.rollback"), self.limits, within)
            lease.tainted = lease.tainted and not self.limits.pooled
        except DatabaseHandlerError:
            self._end(discard=True)
        except BaseException:
            self._end(discard=True)
            raise
        else:
            self._end()

    def restart(self) -> None:
        """Undo what was sent, and be as new: for who sends the first statement again, to another server."""
        self.rollback()
        self._state, self._begun_with = _State.NEW, None

    def _end(self, *, discard: bool = False) -> None:
        self._state = _State.OVER
        lease, self._lease = self._lease, None
        if lease is not None:
            with suppress(ReleasedConnection):  # in a forked child it is the parent's
                lease.release(discard=discard)


def _past_reset(lease: Lent, message: Message, limits: Limits, left: Callable[[], float | None]) -> Reply:
    """Send a message; one that was cancelled before its reset was done is sent once more, after the reset.

    For the reset itself runs under a statement_timeout that was left behind, and so does the reading of all
    that is glued to it: nothing of the message has been done then.
    """
    message = rendered(lease.connection, message)
    try:
        return transmit(lease, message, limits, left())
    except QueryCancelled:
        rest = _after_reset(message)
        if rest is None or not _is_unreset(lease, limits, left):
            raise
    _reset(lease, limits, left)
    return transmit(lease, rest, limits, left())


def _after_reset(message: Message) -> Message | None:
    """Return what is glued to a reset; None where the message has none."""
    reset = _RESET.encode()
    if not isinstance(message.text, bytes) or not message.text.startswith(reset):
        return None
    return message._replace(text=message.text[len(reset) :])


def _is_unreset(lease: Lent, limits: Limits, left: Callable[[], float | None]) -> bool:
    """Whether the statement_timeout of somebody else is still in force; a statement of ours saw it gone."""
    if lease.connection.get_transaction_status() != driver.TRANSACTION_STATUS_IDLE:
        return False
    try:
        reply = transmit(lease, _ASK_TIMEOUT, limits, left())
    except QueryCancelled:
        return True
    return reply.rows == [(False,)]


_ASK_TIMEOUT = Message(
    "SELECT setting = reset_val FROM pg_settings WHERE name = 'statement_timeout'", "connection.timeout"
)


def _reset(lease: Lent, limits: Limits, left: Callable[[], float | None]) -> None:
    for tried in range(1, _RESET_TRIES + 1):
        try:
            transmit(lease, Message(_RESET, "connection.reset"), limits, left())
        except QueryCancelled:
            if tried == _RESET_TRIES:
                raise
        else:
            return


def _left(limits: Limits, deadline: Deadline, grace: float) -> float | None:
    """Return the seconds that one message has: its own, or what is left until the deadline and some grace."""
    until = deadline.until
    if until == inf:
        return limits.deadline
    left = max(until - monotonic(), 0) + grace
    return left if limits.deadline is None else min(left, limits.deadline)


def _reserved(seconds: float) -> float:
    """Return how much of a COMMIT's time is kept for asking what became of it: a quarter, or some more."""
    return max(seconds / 4, min(seconds / 2, 1.0))


def _unknown(statement: str, backend: int, why: str, mark: Mark | None) -> CommitOutcomeUnknown:
    told = f"transaction {mark.transaction_id}, " if mark else ""
    return CommitOutcomeUnknown(
        f"{statement}: the connection was lost before the reply ({told}backend {backend}), so what was "
        f"written may or may not be stored ({why}); look for it before you write it again, or use db.run "
        "with an idempotency_key, which makes that safe",
        transaction_id=mark.transaction_id if mark else None,
        epoch=mark.epoch if mark else None,
        backend_pid=backend,
        statement=statement,
    )


def _foreign_message(
    before: str, checked: Checked, foreign: Foreign, parameters: Parameters, timeout: float | None
) -> Message:
    return Message(
        before + checked.text,
        checked.name,
        parameters,
        timeout,
        checked.deletes,
        composed=not isinstance(foreign.query, str),
        statement=checked.text,
        reads=checked.effect is Effect.READS,
    )


def _reset_due(lease: Lent, limits: Limits) -> str:
    """Return what takes away what a caller's SQL may have left in the session, prepared statements too."""
    if not lease.tainted or limits.pooled:
        return ""
    lease.plans.forget()
    return _RESET


def _planned(lease: Lent, statement: Statement, limits: Limits) -> str:
    """Return what to send for a statement: in a session that a caller's SQL has touched, its own text."""
    if not statement.prepares or limits.prepare_after is None or lease.tainted:
        return statement.text
    return lease.plans.text(statement.text, statement.name, limits.prepare_after)


def _named(lease: Lent) -> str:
    """Set again what the pooler keeps for each of its clients, and what a reset takes from both for good."""
    kept = {"application_name": lease.connection.info.dsn_parameters.get("application_name") or ""}
    kept |= {"client_encoding": "utf8", "datestyle": "ISO"}  # as the driver has them set
    return "".join(f"SELECT set_config('{name}',{literal(text)},false);" for name, text in kept.items())


def _no_session(word: str, remedy: str) -> InvalidSql:
    return InvalidSql(
        f"{word} is about a session, and behind PgBouncer in transaction mode (pgbouncer=true) there is none "
        f"beyond a transaction; it {remedy}"
    )


def _in_transaction(lease: Lent) -> bool:
    try:
        connection = lease.connection
    except ReleasedConnection:  # in a forked child it is the parent's
        return False
    return not connection.closed and connection.get_transaction_status() in {
        driver.TRANSACTION_STATUS_INTRANS,
        driver.TRANSACTION_STATUS_INERROR,
    }


class Autocommit:
    """Sends each statement by itself, over a connection borrowed for it: one round trip.

    A server that takes no writes refuses one before anything is done, and may be an old primary: the
    connections to it are given up, and the statement is sent once more.
    """

    def __init__(
        self,
        lend: Lend,
        options: TransactionOptions = _PLAIN,
        limits: Limits = _UNLIMITED,
        *,
        deadline: Deadline | None = None,
    ) -> None:
        self._lend = lend
        self._options = options
        self._timeouts = _timeouts(options)
        self._deadline = deadline or Deadline()
        self.limits = limits
        self.session = Session(self)

    @property
    def cache(self) -> "Cache | None":
        """What may be read in place of the database; not by who is held to one project."""
        return self.limits.cache if self._options.project_id is None else None

    def send(self, statement: Statement, parameters: Parameters = None) -> Reply:
        """Send the library's own SQL with its timeouts glued before it."""
        cache = self._told
        if statement.writes and self._tells(statement):
            return self._sent_and_told(statement, parameters)
        if cache is None or not cache.concerns(statement):
            return self._where_writable(lambda lease: self._sent(lease, statement, parameters))
        if statement.table is None:  # of which it is not known either whether a transaction takes it
            with cache.announced_everything():
                return self._where_writable(lambda lease: self._sent(lease, statement, parameters))
        return self._sent_and_told(statement, parameters)

    def _tells(self, statement: Statement) -> bool:
        changes = self.limits.changes
        return changes is not None and not self._options.read_only and changes.concerns(statement)

    def _sent_and_told(self, statement: Statement, parameters: Parameters) -> Reply:
        try:
            return self._sent_announced(statement, parameters)
        except ReadOnlyServer:
            return self._sent_announced(statement, parameters)

    @property
    def _told(self) -> "Cache | None":
        return None if self._options.read_only else self.limits.cache

    def _sent_announced(self, statement: Statement, parameters: Parameters) -> Reply:
        """Send a write in a transaction: its answer tells which rows the cache, or others, hear of."""
        transaction = Transaction(self._lend, self._options, self.limits, deadline=self._deadline)
        with transaction:
            return transaction.send(statement, parameters)

    def _sent(self, lease: Lent, statement: Statement, parameters: Parameters) -> Reply:
        before = _reset_due(lease, self.limits) + self._timeouts
        text = _planned(lease, statement, self.limits)
        message = Message(
            before + text,
            statement.name,
            parameters,
            self._options.statement_timeout,
            statement.deletes,
            statement=statement.text,
            reads=not statement.writes,
        )
        try:
            reply = self._final(lease, message, writes=statement.writes)
        except QueryError as failure:
            if text is statement.text or failure.sqlstate not in LOST_PLAN:
                raise
            lease.plans.forget()
            return self._sent(lease, replace(statement, prepares=False), parameters)
        if text is not statement.text:
            lease.plans.sent()
        lease.tainted = False
        return reply

    def send_foreign(self, foreign: Foreign, parameters: Parameters) -> Reply:
        """Send a caller's SQL; a reset that is due goes with it where it only reads.

        Before anything else it goes by itself, for some statements must be alone in their message.
        """
        if (cache := self._told) is not None:
            cache.identify()  # before a connection is borrowed
        if self.limits.pooled and self._may_leave(foreign, parameters):
            transaction = Transaction(self._lend, self._options, self.limits, deadline=self._deadline)
            with transaction:
                return transaction.send_foreign(foreign, parameters)
        return self._where_writable(lambda lease: self._sent_foreign(lease, foreign, parameters))

    def _may_leave(self, foreign: Foreign, parameters: Parameters) -> bool:
        """Whether it takes a transaction, whose end takes away what a caller's SQL leaves in a session."""
        checked = self._borrowing(lambda lease: foreign.checked(lease.connection, parameters))
        if checked.word in _OF_A_SESSION:
            raise _no_session(checked.word, "holds inside a unit, until its end (SET LOCAL, and the like)")
        return checked.leaves

    def _sent_foreign(self, lease: Lent, foreign: Foreign, parameters: Parameters) -> Reply:
        checked = foreign.checked(lease.connection, parameters)
        clean = checked.effect is Effect.READS
        before = _reset_due(lease, self.limits)
        if before and not clean:
            _reset(lease, self.limits, self._left)
            before = ""
        lease.tainted = lease.tainted or not clean
        before += self._timeouts
        message = _foreign_message(before, checked, foreign, parameters, self._options.statement_timeout)
        cache = None if clean else self._told
        with nullcontext() if cache is None else cache.announced_everything():
            reply = self._final(lease, message, writes=not clean)
        lease.tainted = not clean and not self.limits.pooled
        return reply

    def _left(self) -> float | None:
        return _left(self.limits, self._deadline, 0)

    def _where_writable(self, send: Callable[[Lent], Reply]) -> Reply:
        try:
            return self._borrowing(send)
        except ReadOnlyServer:
            if self._options.read_only:
                raise
        return self._borrowing(send)

    def _borrowing(self, send: Callable[[Lent], T]) -> T:
        lease = self._lend()
        try:
            return send(lease)
        except ReadOnlyServer:
            lease.retire()
            raise
        finally:
            lease.release()

    def _final(self, lease: Lent, message: Message, *, writes: bool) -> Reply:
        """Send it; a lost reply to a write is told by its name, for to send it again might store it twice."""
        if not writes:
            return _past_reset(lease, message, self.limits, self._left)
        backend = lease.connection.info.backend_pid
        try:
            return _past_reset(lease, message, self.limits, self._left)
        except ConnectionLost:
            pass
        finally:  # not before, as at COMMIT
            if self.limits.wrote is not None:
                self.limits.wrote()
        self.limits.listeners.unknown_outcome(message.name)
        raise _unknown(message.name, backend, "a statement by itself has no transaction to ask for", None)

    def copy(self, statement: Statement, lines: Iterable[bytes]) -> int:
        """Send COPY in a transaction of its own."""
        with self.atomic() as session:
            return session.copy(statement, lines)

    def atomic(self, *, read_only: bool = False) -> AbstractContextManager[Session]:
        """Open a transaction for what takes more than one statement."""
        options = replace(self._options, read_only=read_only)
        return Transaction(self._lend, options, self.limits, deadline=self._deadline)

    def undoable(self) -> AbstractContextManager[Session]:
        """Open a transaction: one that fails leaves nothing."""
        return self.atomic()

    def later(self, control: str) -> None:
        """Nothing is pending where nothing is held."""
