"""The one place that sends SQL, and the `Session` whose verbs say how many rows come back.

`all` gives many rows, `maybe` none or one, `one` exactly one, `run` a count. A session sends through an
`Executor`: a transaction's, which glues what must go with the statement to it, or one that borrows a
connection for each statement. Library SQL is a `Statement`, built from the model; a caller's SQL is a
literal or a `psycopg2.sql` object, checked to be one statement that leaves the transaction alone.
"""

import datetime as dt
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from itertools import count
from time import perf_counter
from typing import Any, LiteralString, Protocol, TypeVar, overload
from uuid import UUID

import psycopg2.extensions as driver
from psycopg2 import sql
from psycopg2.extras import Json
from pydantic import BaseModel, TypeAdapter

from database_handler.core.exceptions import (
    AmbiguousRecord,
    InvalidSql,
    InvalidValue,
    RecordNotFound,
    UnreadableValue,
    translated,
)
from database_handler.core.sql_text import refuse_control
from database_handler.utils.logger import statement_event

__all__ = [
    "Executor",
    "Limits",
    "Message",
    "Query",
    "Reply",
    "Session",
    "Statement",
    "ping",
    "prepare_connection",
    "transmit",
]

M = TypeVar("M", bound=BaseModel)
Row = tuple[Any, ...]
Parameters = Sequence[object] | Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL of the library's own, whose identifiers come from the model.

    Attributes
    ----------
    text : str
        SQL with ``%s`` for each value.
    name : str
        What logs and errors call it, such as ``projects.get_by_id``.
    writes, deletes : bool
        Whether it changes rows; whether it takes rows away (the side of a foreign key, for the error).
    """

    text: str
    name: str
    writes: bool = False
    deletes: bool = False


Query = LiteralString | sql.Composable | Statement


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds each message: its time on the client, its parameters' bytes, and when it is called slow."""

    deadline: float | None = None
    max_parameter_bytes: int = 256 * 1024 * 1024
    slow_statement: float = 0.5


@dataclass(frozen=True, slots=True)
class Message:
    """One message as it goes out: the statement, with what was glued before it."""

    text: str
    name: str
    parameters: Parameters = None
    timeout: float | None = None
    deletes: bool = False
    lines: Iterable[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the rows (none where the statement has none), the count and the command tag."""

    rows: list[Row]
    count: int
    tag: str
    columns: tuple[str, ...]


class Borrowed(Protocol):
    """What a session needs of a borrowed connection."""

    last_statement: str

    @property
    def connection(self) -> driver.connection:
        """The driver's connection, for as long as it is borrowed."""

    def guard(self, seconds: float | None) -> AbstractContextManager[None]:
        """Cut the connection when the block takes longer."""


class Executor(Protocol):
    """What a session sends through."""

    limits: Limits

    def send(self, statement: Statement, parameters: Parameters = None) -> Reply:
        """Send the library's own SQL."""

    def send_foreign(self, foreign: "Foreign", parameters: Parameters) -> Reply:
        """Send a caller's SQL."""

    def copy(self, statement: Statement, lines: Iterable[bytes]) -> int:
        """Send rows in COPY's text format."""

    def atomic(self, *, read_only: bool = False) -> AbstractContextManager["Session"]:
        """A session whose statements take effect together."""

    def later(self, control: str) -> None:
        """Have `control` go with the next message."""


def transmit(lease: Borrowed, message: Message, limits: Limits) -> Reply:
    """Send one message and read its whole answer.

    Raises
    ------
    DatabaseError
        By the server's SQLSTATE; `ConnectionLost` when the connection broke or `limits.deadline` passed.
    """
    connection = lease.connection
    lease.last_statement = message.name
    started = perf_counter()
    with (
        lease.guard(limits.deadline),
        translated(connection, doing=message.name, deleting=message.deletes, timeout=message.timeout),
        connection.cursor() as cursor,
    ):
        _put(cursor, message)
        reply = _read(cursor, message.name)
    statement_event(
        name=message.name,
        seconds=perf_counter() - started,
        rows=reply.count,
        parameters=message.parameters,
        slow_after=limits.slow_statement,
    )
    return reply


def _put(cursor: driver.cursor, message: Message) -> None:
    if message.lines is None:
        cursor.execute(message.text, message.parameters)
    else:
        cursor.copy_expert(message.text, _Lines(message.lines))


def _read(cursor: driver.cursor, name: str) -> Reply:
    if cursor.description is None:
        return Reply([], cursor.rowcount, cursor.statusmessage or "", ())
    columns = tuple(column.name for column in cursor.description)
    try:
        rows = cursor.fetchall()
    except (ValueError, OverflowError):
        dates = [c.name for c in cursor.description if c.type_code in _DATE_TYPES]
        failure = UnreadableValue(
            f"{name}: a stored value is outside of what Python can hold (years 1 to 9999)", columns=dates
        )
    else:
        return Reply(rows, cursor.rowcount, cursor.statusmessage or "", columns)
    raise failure


_DATE_TYPES = frozenset({1082, 1114, 1184, 1186})  # date, timestamp, timestamptz, interval


class _Lines:
    """A file for COPY over an iterator of lines: never more than one chunk in memory."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = iter(lines)
        self._rest = b""

    def readline(self, size: int = -1) -> bytes:
        """Give what `read` gives: COPY needs no lines of its own."""
        return self.read(size)

    def read(self, size: int = -1) -> bytes:
        """Give at most `size` bytes, none at the end."""
        chunk = self._rest or next(self._lines, b"")
        self._rest = chunk[size:] if size >= 0 else b""
        return chunk[:size] if size >= 0 else chunk


def ping(connection: driver.connection) -> None:
    """Ask the server for nothing: one round trip."""
    with translated(connection, doing="ping"), connection.cursor() as cursor:
        cursor.execute("SELECT")


def _uuid(value: str | bytes | None, _: object) -> UUID | None:
    return None if value is None else UUID(str(value))


_UUID = driver.new_type((2950,), "UUID", _uuid)
_UUIDS = driver.new_array_type((2951,), "UUID[]", _UUID)


def prepare_connection(connection: driver.connection) -> None:
    """Set a new connection up, without a round trip: autocommit, and UUIDs read as UUIDs."""
    connection.autocommit = True
    driver.register_type(_UUID, connection)
    driver.register_type(_UUIDS, connection)


# ---------------------------------------------------------------------------------------------- parameters


def bound(parameters: Parameters, limits: Limits) -> Parameters:
    """Turn parameters into what the driver sends unaltered, or refuse them.

    Raises
    ------
    InvalidValue
        Not a sequence or mapping; a value of a type that is not known to go through unaltered; too large.
    """
    if parameters is None:
        return None
    if isinstance(parameters, Mapping):
        values = {str(name): _adapted(value, name) for name, value in parameters.items()}
        _refuse_large(values.values(), limits)
        return values
    if isinstance(parameters, str | bytes) or not isinstance(parameters, Sequence):
        raise InvalidValue(f"parameters are a list, a tuple or a mapping, not {type(parameters).__name__}")
    items = [_adapted(value, place) for place, value in enumerate(parameters, 1)]
    _refuse_large(items, limits)
    return items


_UNALTERED = frozenset(
    {str, int, float, bool, type(None), dt.datetime, dt.date, dt.time, dt.timedelta, bytes, Json}
)


def _adapted(value: object, place: object) -> object:
    kind = type(value)
    if kind in _UNALTERED:
        return value
    if kind is UUID:
        return str(value)
    if isinstance(value, Enum):
        return _adapted(value.value, place)
    return _adapted_compound(value, place)


def _adapted_compound(value: object, place: object) -> object:
    if isinstance(value, list):
        return [_adapted(item, place) for item in value]
    if isinstance(value, tuple):
        return tuple(_adapted(item, place) for item in value)
    if isinstance(value, dict):
        return Json(value, dumps=_to_json)
    if isinstance(value, Decimal) and (value.is_finite() or value.is_nan()):
        return value
    raise InvalidValue(
        f"parameter {place}: a {type(value).__name__} is not sent; allowed are str, int, float, bool, None, "
        "bytes, finite Decimal, date and time types, UUID, Enum, and list, tuple or dict of these"
    )


def _to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _refuse_large(values: Iterable[object], limits: Limits) -> None:
    size = sum(len(value) for value in values if isinstance(value, str | bytes | list))
    if size > limits.max_parameter_bytes:
        raise InvalidValue(
            f"the parameters hold {size:,} bytes or items; "
            f"DB_MAX_PARAMETER_BYTES allows {limits.max_parameter_bytes:,}"
        )


# ------------------------------------------------------------------------------------------- a caller's SQL


@lru_cache(maxsize=2048)
def _checked(text: str) -> str:
    refuse_control(text)
    return text


@dataclass(frozen=True, slots=True)
class Foreign:
    """A caller's SQL: rendered and checked when there is a connection to render it for."""

    query: LiteralString | sql.Composable
    before: str = ""
    after: str = ""

    def text(self, connection: driver.connection) -> str:
        """Return the text to send; `InvalidSql` where it is not one statement that a caller may send."""
        query = self.query if isinstance(self.query, str) else self.query.as_string(connection)
        return f"{self.before}{_checked(query)}{self.after}"


def _foreign(query: object) -> Foreign:
    if isinstance(query, str | sql.Composable):
        return Foreign(query)
    raise InvalidSql(f"a query is a str or a psycopg2.sql object, not {type(query).__name__}")


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
        return max(self._send(query, parameters).count, 0)

    def copy(self, statement: Statement, lines: Iterable[bytes]) -> int:
        """Send lines of COPY's text format, and return how many rows were stored."""
        return self._executor.copy(statement, lines)

    def atomic(self) -> AbstractContextManager["Session"]:
        """Return a session whose statements take effect together: this one, when it is a unit's."""
        return self._executor.atomic()

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
                reply = session._send(Statement(fetch, "stream.fetch"), None)
            # Only here: a cursor that is left early may be gone with its savepoint, and CLOSE would fail.
            session._executor.later(f"CLOSE {cursor}")

    def script(self, text: str) -> None:
        """Run trusted text of many statements, such as a migration's, without parameters or checks."""
        self._executor.send(Statement(text, "script", writes=True))

    def _send(self, query: "Query | Foreign", parameters: Parameters) -> Reply:
        values = bound(parameters, self._executor.limits)
        if isinstance(query, Statement):
            return self._executor.send(query, values)
        foreign = query if isinstance(query, Foreign) else _foreign(query)
        return self._executor.send_foreign(foreign, values)


_cursor_numbers = count(1)


def _models(reply: Reply, row: type[M]) -> list[M]:
    adapter: TypeAdapter[list[M]] = _adapter(row)
    return adapter.validate_python([dict(zip(reply.columns, values, strict=True)) for values in reply.rows])


@lru_cache(maxsize=256)
def _adapter(row: type[BaseModel]) -> TypeAdapter[Any]:
    return TypeAdapter(list[row])  # type: ignore[valid-type]  # a type made at run time
