"""The one place that sends SQL, and the `Session` whose verbs say how many rows come back.

`all` gives many rows, `maybe` none or one, `one` exactly one, `run` a count. A session sends through an
`Executor`: a transaction's, which glues what must go with the statement to it, or one that borrows a
connection for each statement. Library SQL is a `Statement`, built from the model; a caller's SQL is a
literal or a `psycopg2.sql` object, checked to be one statement that leaves the transaction alone.

It is one module because whatever sends with a cursor, reads from one, or says what came of it, has this one
address.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import lru_cache
from itertools import count
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, LiteralString, Protocol, TypeVar, overload

import psycopg2.extensions as driver
from psycopg2 import sql
from pydantic import BaseModel, TypeAdapter, ValidationError

from database_handler.core.copy_source import CopySource
from database_handler.core.events import Listeners, Told
from database_handler.core.exceptions import (
    DRIVER_ERRORS,
    AmbiguousRecord,
    DatabaseHandlerError,
    InvalidSql,
    InvalidValue,
    QueryCancelled,
    RecordNotFound,
    UnreadableValue,
    translated,
    translation,
)
from database_handler.core.foreign_sql import Effect, Foreign
from database_handler.core.messages import Limits, Message, Reply, Row, Statement
from database_handler.core.parameters import Parameters, bound
from database_handler.core.sql_text import SqlTextError, client_copy, statements
from database_handler.core.typecasts import read_exactly
from database_handler.utils.arguments import checked
from database_handler.utils.collector import MANY, SLICE, collector_waiting, pass_on
from database_handler.utils.logger import get_logger, statement_event

if TYPE_CHECKING:
    from database_handler.core.cache import Cache

__all__ = [
    "Effect",
    "Executor",
    "Foreign",
    "Limits",
    "Message",
    "Query",
    "Reply",
    "Session",
    "Statement",
    "ping",
    "prepare_connection",
    "rendered",
    "transmit",
]

_log = get_logger("database_handler.statement")
M = TypeVar("M", bound=BaseModel)


Query = LiteralString | sql.Composable | Statement


class Borrowed(Protocol):
    """What a session needs of a borrowed connection."""

    last_statement: str
    spoiled: bool

    @property
    def connection(self) -> driver.connection:
        """The driver's connection, for as long as it is borrowed."""
        ...

    def guard(self, seconds: float | None) -> AbstractContextManager[None]:
        """Cut the connection when the block takes longer."""
        ...


class Executor(Protocol):
    """What a session sends through."""

    limits: Limits

    @property
    def cache(self) -> "Cache | None":
        """What may be read in place of the database; None in a transaction, which reads for itself."""
        ...

    def send(self, statement: Statement, parameters: Parameters = None) -> Reply:
        """Send the library's own SQL."""
        ...

    def send_foreign(self, foreign: "Foreign", parameters: Parameters) -> Reply:
        """Send a caller's SQL."""
        ...

    def copy(self, statement: Statement, lines: Iterable[bytes]) -> int:
        """Send rows in COPY's text format."""
        ...

    def atomic(self, *, read_only: bool = False) -> AbstractContextManager["Session"]:
        """A session whose statements take effect together."""
        ...

    def undoable(self) -> AbstractContextManager["Session"]:
        """A session whose statements are undone together when the block fails."""
        ...

    def later(self, control: str) -> None:
        """Have `control` go with the next message."""


def transmit(lease: Borrowed, message: Message, limits: Limits, within: float | None = None) -> Reply:
    """Send one message and read its whole answer, within so many seconds (`limits.deadline` if left out).

    Raises
    ------
    InvalidValue
        Something in it cannot be sent; nothing was.
    DatabaseError
        By the server's SQLSTATE; `ConnectionLost` when the connection broke or the time was over.
    """
    connection = lease.connection
    lease.last_statement = message.name
    message = rendered(connection, message)
    started = perf_counter()
    try:
        with lease.guard(limits.deadline if within is None else within):
            reply = _exchanged(connection, message)
    except DatabaseHandlerError as failure:
        # Whoever cancelled may have done so twice, and the second would hit the next borrower's statement.
        lease.spoiled = lease.spoiled or isinstance(failure, QueryCancelled)
        seconds = perf_counter() - started
        _failure_event(message, failure, seconds, limits.slow_statement)
        if limits.listeners.all:
            limits.listeners.statement(_told(connection, message, seconds, 0, failure))
        raise
    seconds = perf_counter() - started
    if message.timeout is not None and seconds >= message.timeout:
        # Where the server's timer runs out at the very end, its cancel hits what the session is sent next.
        lease.spoiled = True
    statement_event(
        name=message.name,
        seconds=seconds,
        rows=reply.affected,
        parameters=message.parameters,
        slow_after=limits.slow_statement,
    )
    if limits.listeners.all:
        limits.listeners.statement(_told(connection, message, seconds, max(reply.affected, 0), None))
    return reply


def _told(
    connection: driver.connection,
    message: Message,
    seconds: float,
    rows: int,
    failure: DatabaseHandlerError | None,
) -> Told:
    bound, info = message.parameters is not None, connection.info
    server = (info.host, info.port) if info.host else None
    return Told(message.name, message.statement, bound, message.reads, seconds, rows, failure, server)


def rendered(connection: driver.connection, message: Message) -> Message:
    """Put the values into the text, without sending anything; a message that was rendered stays as it is.

    Raises
    ------
    InvalidValue
        The driver cannot write a value, or the parameters do not fit the placeholders.
    """
    if isinstance(message.text, bytes):
        return message
    try:
        with connection.cursor() as cursor:
            text = cursor.mogrify(message.text, message.parameters)
    except DRIVER_ERRORS as error:
        failure = translation(error, connection, doing=message.name)
    else:
        if len(text) <= _LONGEST:
            return message._replace(text=text)
        failure = InvalidValue(
            f"{message.name}: {len(text):,} bytes are to be sent; PostgreSQL reads less than 1 GiB"
        )
    try:  # as in `translated`
        raise failure
    finally:
        del failure


_LONGEST = 2**30 - 64  # bytes; a longer message makes the server end the session


def _exchanged(connection: driver.connection, message: Message) -> Reply:
    lines = None if message.lines is None else CopySource(message.lines, connection.fileno)
    started = monotonic()
    try:
        with connection.cursor() as cursor:
            if lines is None:
                cursor.execute(message.text)
            else:
                cursor.copy_expert(message.text, lines)
            return _read(cursor, message.name)
    except DRIVER_ERRORS as error:
        failure = translation(
            error,
            connection,
            doing=message.name,
            deleting=message.deletes,
            timed_out=message.timeout is not None and monotonic() - started >= message.timeout,
            quotable=not (message.parameters or message.composed),
        )
    try:  # as in `translated`; where the source of the rows failed, the server's error only repeats that
        raise failure if lines is None or lines.failure is None else lines.failure
    finally:
        del failure, lines


def _failure_event(message: Message, failure: DatabaseHandlerError, seconds: float, slow: float) -> None:
    (_log.warning if seconds >= slow else _log.debug)(
        "statement failed",
        statement=message.name,
        seconds=round(seconds, 6),
        error=type(failure).__name__,
        sqlstate=failure.sqlstate,
    )


def _read(cursor: driver.cursor, name: str) -> Reply:
    description = cursor.description
    if description is None:
        return Reply([], cursor.rowcount, cursor.statusmessage or "")
    try:
        rows = cursor.fetchall() if cursor.rowcount < MANY else _many(cursor)
    except (ValueError, OverflowError, RecursionError):
        found = description[_unreadable_column(cursor, len(description))].name
    else:
        return Reply(rows, cursor.rowcount, cursor.statusmessage or "", description)
    raise UnreadableValue(
        f"{name}: column {found} holds a value that Python cannot: dates reach from year 1 to "
        "9999 and are finite, times end before 24:00, and JSON is nested by some hundred levels",
        columns=[found],
    )


def _many(cursor: driver.cursor) -> list[Row]:
    """Read the rows a slice at a time: the driver keeps Python's lock for as long as one call takes."""
    rows: list[Row] = []
    while True:
        with collector_waiting(cursor.rowcount):
            part = cursor.fetchmany(SLICE)
        rows += part
        if len(part) < SLICE:
            return rows
        pass_on()


def _unreadable_column(cursor: driver.cursor, width: int) -> int:
    """Read the answer again, into rows that the driver fills column by column: the first gap is the place."""
    row: list[object] = []

    def begin(_cursor: object) -> list[object]:
        row[:] = [_GAP] * width
        return row

    cursor.row_factory = begin
    cursor.scroll(0, mode="absolute")
    with suppress(ValueError, OverflowError, RecursionError):
        while cursor.fetchone() is not None:
            pass
    return row.index(_GAP) if _GAP in row else 0


_GAP = object()


def ping(connection: driver.connection) -> None:
    """Ask the server for nothing: one round trip."""
    with translated(connection, doing="ping"), connection.cursor() as cursor:
        cursor.execute("SELECT")


def prepare_connection(connection: driver.connection) -> None:
    """Set a new connection up, without a round trip: autocommit, and values read as what they are."""
    connection.autocommit = True
    read_exactly(connection)


def _foreign(query: LiteralString | sql.Composable) -> Foreign:
    if isinstance(query, str | sql.Composable):
        return Foreign(query)
    raise InvalidSql(f"a query is a str or a psycopg2.sql object, not {type(query).__name__}")


def _copying(text: LiteralString) -> Statement:
    try:
        fits = isinstance(text, str) and len(statements(text)) == 1 and client_copy(text) == "FROM STDIN"
    except SqlTextError as error:
        raise InvalidSql(f"The SQL text cannot be read: {error}") from None
    if not fits:
        raise InvalidSql("copy takes one COPY ... FROM STDIN")
    return Statement(text, "sql COPY", writes=True)


def _declared(query: Query, cursor: str, fetch: str) -> "Statement | Foreign":
    # The new line ends a comment at the end of a caller's text.
    before, after = f"DECLARE {cursor} NO SCROLL CURSOR FOR ", f"\n;{fetch}"
    if isinstance(query, Statement):
        return Statement(f"{before}{query.text}{after}", query.name)
    return Foreign(_foreign(query).query, before, after)


class Session:
    """Runs SQL and says by the verb how many rows come back.

    Values are bound (``%s`` or ``%(name)s``), never part of the text. With ``row=Model`` each row becomes
    that model, validated, its fields taken from the columns of the same names.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    @property
    def cache(self) -> "Cache | None":
        """The cache that single records may be read through; None in a unit, and where there is none."""
        return self._executor.cache

    @property
    def tells_changes(self) -> bool:
        """Whether others are told which rows are written."""
        return self._executor.limits.changes is not None

    @property
    def distributed(self) -> bool:
        """Whether the rows lie on several servers, where those of one project alone can be locked."""
        return self._executor.limits.distributed

    @property
    def listeners(self) -> Listeners:
        """Who hears of what happens."""
        return self._executor.limits.listeners

    @overload
    def all(self, query: Query, parameters: Parameters = None) -> list[Row]: ...
    @overload
    def all(self, query: Query, parameters: Parameters = None, *, row: type[M]) -> list[M]: ...
    def all(self, query: Query, parameters: Parameters = None, *, row: type[M] | None = None) -> list[Any]:
        """Return every row."""
        reply = self._send(query, parameters)
        return reply.rows if row is None else _models(reply, row)

    @overload
    def maybe(self, query: Query, parameters: Parameters = None) -> Row | None: ...
    @overload
    def maybe(self, query: Query, parameters: Parameters = None, *, row: type[M]) -> M | None: ...
    def maybe(self, query: Query, parameters: Parameters = None, *, row: type[M] | None = None) -> Any:
        """Return the only row, or None where there is none; two are an `AmbiguousRecord`."""
        reply = self._send(query, parameters)
        if len(reply.rows) > 1:
            raise AmbiguousRecord(f"at most one row was expected, {len(reply.rows)} came back")
        found = reply.rows if row is None else _models(reply, row)
        return found[0] if found else None

    @overload
    def one(self, query: Query, parameters: Parameters = None) -> Row: ...
    @overload
    def one(self, query: Query, parameters: Parameters = None, *, row: type[M]) -> M: ...
    def one(self, query: Query, parameters: Parameters = None, *, row: type[M] | None = None) -> Any:
        """Return the only row; none is a `RecordNotFound`, two are an `AmbiguousRecord`."""
        found = self.maybe(query, parameters) if row is None else self.maybe(query, parameters, row=row)
        if found is None:
            raise RecordNotFound("exactly one row was expected, none came back")
        return found

    def run(self, query: Query, parameters: Parameters = None) -> int:
        """Run a statement for its effect and return how many rows it touched (0 where that means nothing)."""
        return max(self._send(query, parameters).affected, 0)

    def copy(self, statement: Statement | LiteralString, lines: Iterable[bytes]) -> int:
        """Send lines to a COPY ... FROM STDIN, and return how many rows were stored.

        A failure of `lines` itself comes out as it is; nothing is stored then.
        """
        if not isinstance(lines, Iterable):
            raise InvalidValue(f"copy takes lines of bytes, not a {type(lines).__name__}")
        own = statement if isinstance(statement, Statement) else _copying(statement)
        return self._executor.copy(own, lines)

    def atomic(self) -> AbstractContextManager["Session"]:
        """Return a session whose statements take effect together: this one, when it is a unit's."""
        return self._executor.atomic()

    def undoable(self) -> AbstractContextManager["Session"]:
        """Return a session whose statements take effect together, and leave nothing when the block fails.

        In a unit it is a savepoint: the unit goes on without what the block wrote.
        """
        return self._executor.undoable()

    @overload
    def stream(self, query: Query, parameters: Parameters = None, *, batch: int = ...) -> Iterator[Row]: ...
    @overload
    def stream(
        self, query: Query, parameters: Parameters = None, *, batch: int = ..., row: type[M]
    ) -> Iterator[M]: ...
    def stream(
        self, query: Query, parameters: Parameters = None, *, batch: int = 1000, row: type[M] | None = None
    ) -> Iterator[Any]:
        """Iterate over a server-side cursor: at most `batch` rows are in memory.

        Outside a unit it holds a read-only transaction, and so a connection, until it is exhausted or closed.
        """
        if type(batch) is not int or not 1 <= batch <= 1_000_000:
            raise InvalidValue("batch is a whole number from 1 to 1,000,000")
        return self._fetched(query, parameters, batch, row)

    def _fetched(
        self, query: Query, parameters: Parameters, batch: int, row: type[M] | None
    ) -> Iterator[Any]:
        cursor = f"stream_{next(_cursor_numbers)}"
        fetch = f"FETCH FORWARD {batch} FROM {cursor}"
        with self._executor.atomic(read_only=True) as session:
            reply = session._send(_declared(query, cursor, fetch), parameters)
            while reply.rows:
                yield from reply.rows if row is None else _models(reply, row)
                if len(reply.rows) < batch:
                    break
                reply = session._send(Statement(fetch, "stream.fetch", uncounted=True), None)
            # Only here: a cursor that is left early may be gone with its savepoint, and CLOSE would fail.
            session._executor.later(f"CLOSE {cursor}")

    @checked
    def script(self, text: str) -> None:
        """Run trusted text of many statements, such as a migration's, without parameters or checks."""
        self._executor.send(Statement(text, "script", writes=True))

    def _send(self, query: "Query | Foreign", parameters: Parameters) -> Reply:
        if isinstance(query, Statement):
            return self._executor.send(
                query, bound(parameters, self._executor.limits.max_parameter_bytes, own=True)
            )
        foreign = query if isinstance(query, Foreign) else _foreign(query)
        most = self._executor.limits.max_parameter_bytes
        if isinstance(foreign.query, str) and len(foreign.query) > most:
            raise InvalidSql(
                f"a text of {len(foreign.query):,} characters; max_parameter_bytes allows {most:,}"
            )
        return self._executor.send_foreign(foreign, bound(parameters, most))


_cursor_numbers = count(1)


def _models(reply: Reply, row: type[M]) -> list[M]:
    if not (isinstance(row, type) and issubclass(row, BaseModel)):
        raise InvalidValue("row is the class of a pydantic model")
    adapter: TypeAdapter[list[M]] = _adapter(row)
    if len(set(reply.columns)) < len(reply.columns):
        raise InvalidSql(f"two columns have one name ({', '.join(reply.columns)}), and a field takes one")
    try:
        return adapter.validate_python(
            [dict(zip(reply.columns, values, strict=True)) for values in reply.rows]
        )
    except ValidationError as error:
        wrong = {str(each["loc"][1]): each["type"] for each in error.errors() if len(each["loc"]) > 1}
    told = ", ".join(f"{name} ({kind})" for name, kind in wrong.items()) or "as a whole"
    raise UnreadableValue(f"a row that came back is no {row.__name__}: {told}", columns=list(wrong))


@lru_cache(maxsize=256)
def _adapter(row: type[BaseModel]) -> TypeAdapter[Any]:
    return TypeAdapter(list[row])  # type: ignore[valid-type]  # a type made at run time
