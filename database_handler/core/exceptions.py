"""One tree of errors, chosen by SQLSTATE, with messages that are safe to log.

This is the only module that names `psycopg2.Error`. A class states the SQLSTATEs it stands for in its
class line; `translated` picks the class by the longest match (``23505`` before ``23``). PostgreSQL's own
primary message quotes row values for some classes, so only the codes listed as safe keep it.

Sources: PostgreSQL 18, appendix A "PostgreSQL Error Codes"; psycopg2, "exceptions that may be raised".
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg2
import psycopg2.extensions

from database_handler.utils.errors import (
    ConfigurationError,
    DatabaseHandlerError,
    InvalidValue,
    MissingExtra,
)

if TYPE_CHECKING:
    from database_handler.core.base_model import Record

__all__ = [
    "AfterCommitFailed",
    "AmbiguousRecord",
    "AuthenticationFailed",
    "BackupError",
    "CacheUnavailable",
    "CheckFailed",
    "CommitOutcomeUnknown",
    "ConfigurationError",
    "ConnectionLost",
    "ConstraintViolation",
    "ContentError",
    "DatabaseError",
    "DatabaseHandlerError",
    "DatabaseUnavailable",
    "DeadlineExceeded",
    "DeadlockDetected",
    "DuplicateRecord",
    "InvalidData",
    "InvalidSql",
    "InvalidValue",
    "LeaseLost",
    "LimitExceeded",
    "LockTimeout",
    "MigrationError",
    "MissingExtra",
    "MissingReference",
    "PermissionDenied",
    "PoolClosed",
    "PoolOverloaded",
    "PoolTimeout",
    "QueryCancelled",
    "QueryError",
    "ReadOnlyServer",
    "RecordNotFound",
    "ReleasedConnection",
    "RequiredValueMissing",
    "ResourcesExhausted",
    "RetriesExhausted",
    "SchemaMismatch",
    "SerializationFailure",
    "StaleRecord",
    "StatementBudgetExceeded",
    "StatementTimeout",
    "StatusMoveRefused",
    "StillReferenced",
    "TransactionAborted",
    "TransientError",
    "UnknownField",
    "UnreadableValue",
    "translated",
]

_by_sqlstate: dict[str, type["DatabaseError"]] = {}


class DatabaseError(DatabaseHandlerError):
    """The database refused the statement.

    Attributes
    ----------
    position : int or None
        In a call over many rows, the place of the row that was refused, from 0, where the server told it.
    """

    position: int | None = None

    def __init_subclass__(cls, sqlstates: Sequence[str] = (), **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        _by_sqlstate.update(dict.fromkeys(sqlstates, cls))


class InvalidData(DatabaseError, sqlstates=["22"]):
    """The server refused a value."""


class RecordNotFound(DatabaseHandlerError):
    """There is no such record."""


class AmbiguousRecord(DatabaseHandlerError):
    """Two rows of different projects carry one id; the call stands for a single row."""


class StaleRecord(DatabaseHandlerError):
    """The record was changed since it was read; nothing was written.

    Attributes
    ----------
    current : tuple of Record
        The records as they stand now, read under the rows' locks.
    """

    def __init__(
        self, message: str | None = None, *, current: "Sequence[Record]" = (), table: str | None = None
    ) -> None:
        super().__init__(message, table=table)
        self.current = tuple(current)


class LeaseLost(DatabaseHandlerError):
    """The lease is no longer held by this claim; nothing was written.

    Attributes
    ----------
    current : Record or None
        The record as it stands now, read under the row's lock.
    worker : str or None
        Who holds the lease now; None where nobody does.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        current: "Record | None" = None,
        worker: str | None = None,
        table: str | None = None,
    ) -> None:
        super().__init__(message, table=table)
        self.current = current
        self.worker = worker


class StatusMoveRefused(DatabaseError, sqlstates=["MV"]):
    """A record may not go from its state to the one wanted; nothing was written."""


class ConstraintViolation(DatabaseError, sqlstates=["23"]):
    """A constraint refused the row."""


class DuplicateRecord(ConstraintViolation, sqlstates=["23505", "23P01"]):
    """A record with this key is there already."""


class MissingReference(ConstraintViolation, sqlstates=["23503"]):
    """The record that this one refers to is not there."""


class StillReferenced(ConstraintViolation, sqlstates=["23001"]):
    """Other records still refer to this one."""


class CheckFailed(ConstraintViolation, sqlstates=["23514"]):
    """A CHECK constraint refused the row."""


class RequiredValueMissing(ConstraintViolation, sqlstates=["23502"]):
    """A required value is missing."""


class QueryError(DatabaseError, sqlstates=["42", "0A", "34", "3D", "3F", "2B", "21", "26"]):
    """The statement cannot be run as it stands."""


class UnknownField(QueryError):
    """No such field or operator."""


class InvalidSql(QueryError, sqlstates=["42601"]):
    """The SQL text is not one valid statement."""


class PermissionDenied(QueryError, sqlstates=["42501"]):
    """The role lacks the right for this statement."""


class SchemaMismatch(QueryError, sqlstates=["42P01", "42703", "42883", "42704", "3F000"]):
    """The database lacks an object that the statement names; if it is not migrated, `migrate` makes it."""


class LimitExceeded(DatabaseError, sqlstates=["54"]):
    """A limit of the server was exceeded."""


class TransientError(DatabaseError):
    """The same unit may succeed when it is sent again."""

    retryable = True


class SerializationFailure(TransientError, sqlstates=["40001"]):
    """A concurrent transaction got in the way; the unit can be sent again."""


class CacheUnavailable(TransientError):
    """The cache does not answer, and what was asked is not done without it."""


class DeadlockDetected(TransientError, sqlstates=["40P01"]):
    """A deadlock was broken by giving this transaction up; the unit can be sent again."""


class LockTimeout(TransientError, sqlstates=["55P03"]):
    """A lock was not had within lock_timeout."""

    retryable = False


class ResourcesExhausted(TransientError, sqlstates=["53"]):
    """The server is out of connections, memory or disk."""


class ReadOnlyServer(TransientError, sqlstates=["25006"]):
    """The server, or the transaction, takes no writes."""

    retryable = False


class StatementTimeout(DatabaseError):
    """The statement took longer than statement_timeout."""


class QueryCancelled(DatabaseError, sqlstates=["57014"]):
    """The statement was cancelled."""


class UnreadableValue(DatabaseError):
    """A stored value cannot be held by Python."""


class DatabaseUnavailable(DatabaseError, sqlstates=["57P03"]):
    """The database could not be reached within the time allowed."""

    retryable = True


class ConnectionLost(DatabaseError, sqlstates=["08", "57P01", "57P02", "57P05", "25P03", "25P04"]):
    """The connection was lost; what was not committed is undone."""

    retryable = True


class AuthenticationFailed(DatabaseError, sqlstates=["28"]):
    """The server refused the user, the password or the certificate."""


class PoolTimeout(DatabaseHandlerError):
    """No connection was free within the time allowed."""


class PoolOverloaded(DatabaseHandlerError):
    """Too many threads wait for a connection already."""


class PoolClosed(DatabaseHandlerError):
    """The pool is closed, as its `Database` is: make another."""


class ReleasedConnection(DatabaseHandlerError):
    """The connection was returned and belongs to somebody else now."""


class TransactionAborted(DatabaseError, sqlstates=["25P02", "25", "40", "2D", "3B"]):
    """A statement of this unit failed, so nothing of the unit was stored."""


class CommitOutcomeUnknown(DatabaseHandlerError):
    """The connection was lost while a write was being made final; it may or may not be stored.

    Attributes
    ----------
    transaction_id : int or None
        What the server calls the transaction: ``SELECT pg_xact_status('<id>')`` may tell later, on the same
        server, unless it has crashed since. None where it was not asked for (``resolve=False``, or a single
        statement).
    epoch : str or None
        Between which crashes and promotions of the server the number was given out; see `core.outcome`.
    backend_pid : int or None
        The server's process that held it.
    statement : str or None
        The name of the statement whose reply was lost.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        transaction_id: int | None = None,
        epoch: str | None = None,
        backend_pid: int | None = None,
        statement: str | None = None,
    ) -> None:
        super().__init__(message)
        self.transaction_id = transaction_id
        self.epoch = epoch
        self.backend_pid = backend_pid
        self.statement = statement


class DeadlineExceeded(DatabaseHandlerError):
    """The unit's deadline has passed; nothing of the unit is stored."""


class StatementBudgetExceeded(DatabaseHandlerError):
    """The unit would send more statements than its max_statements; nothing of it is stored."""


class AfterCommitFailed(DatabaseHandlerError):
    """Something given to on_commit failed; what the unit wrote is stored."""


class RetriesExhausted(DatabaseHandlerError):
    """The unit failed every time it was tried; the last error is the cause."""


class MigrationError(DatabaseHandlerError):
    """A migration cannot be run, or failed; its kinds stand in `database_handler.migrations`."""


class BackupError(DatabaseHandlerError):
    """A backup cannot be made, read or restored; its kinds stand in `database_handler.operations.backup`."""


class ContentError(DatabaseHandlerError):
    """A file or a text cannot be taken; its kinds stand in `database_handler.content`."""


# Codes whose primary message names objects only. The others' may quote a value ("invalid input syntax for
# type integer: ...", "Failing row contains ..."), so they are told by the code's class and the facts.
_SAFE_CLASSES = (
    "42501",
    "42P",
    "427",
    "42883",
    "42804",
    "3D",
    "3F",
    "53",
    "55",
    "57",
    "08",
    "25",
    "40",
    "28",
    "0A",
    "MV",
)
# Its message quotes the text where the error is; the driver writes values into the text, and a value that
# the server parses (a jsonpath, a tsquery) is quoted too.
_SYNTAX_ERROR = "42601"


DRIVER_ERRORS = (psycopg2.Error, ValueError, OverflowError, TypeError, LookupError)
"""What the driver raises: its own errors, and Python's about what it is given or makes of an answer."""


@contextmanager
def translated(connection: psycopg2.extensions.connection | None, *, doing: str) -> Iterator[None]:
    """Raise this library's errors in place of the driver's, as `translation` gives them."""
    try:
        yield
        return
    except DRIVER_ERRORS as error:
        failure = translation(error, connection, doing=doing)
    # Outside of the handler: the driver's error, whose text can quote the row, must not be printed as its
    # context. And no frame may go on holding the error, which holds the frame, and with it those that called
    # it: a lease in one of them would come back to its pool only when the collector of cycles comes by.
    try:
        raise failure from None
    finally:
        del failure


def translation(
    error: Exception,
    connection: psycopg2.extensions.connection | None,
    *,
    doing: str,
    deleting: bool = False,
    timed_out: bool = False,
    quotable: bool = False,
) -> DatabaseHandlerError:
    """Return this library's error for one of `DRIVER_ERRORS`, without the driver's text in it.

    It is to be raised outside of the handler of the driver's error, whose text can quote the row.

    Parameters
    ----------
    connection : connection or None
        The one in use: whether it is closed afterwards tells a lost connection. None while connecting.
    doing : str
        The statement's name, for the message.
    deleting : bool
        Tells the two sides of a foreign key apart: the server gives both one SQLSTATE and one table.
    timed_out : bool
        Whether the statement_timeout in force is over: a cancel that comes no earlier is the timeout's, for
        the server gives both one SQLSTATE.
    quotable : bool
        Whether no values stand in the text, so that what the server says of its syntax can be told.
    """
    if isinstance(error, DatabaseHandlerError):
        return error
    if not isinstance(error, psycopg2.Error):
        failure: DatabaseHandlerError = InvalidValue(f"{doing}: {_bare(error)} ({type(error).__name__})")
        failure.driver_error = error.with_traceback(None)
        return failure
    failure = _from_driver(error, connection, doing, quotable=quotable)
    if isinstance(failure, QueryCancelled) and timed_out:
        failure = _as(StatementTimeout, failure)
    elif isinstance(failure, MissingReference) and deleting:
        failure = _as(StillReferenced, failure)
    failure.driver_error = error.with_traceback(None)  # its frames hold the connection, and so the lease
    return failure


def _bare(error: Exception) -> str:
    """Say what the driver means by an error that is none of its own."""
    if isinstance(error, TypeError | LookupError) and not isinstance(error, ValueError):
        return "the parameters do not fit the placeholders"
    return "a value cannot be sent or read"


def _as(kind: type[DatabaseError], failure: DatabaseError) -> DatabaseError:
    message = str(failure).replace(_claim(type(failure)), _claim(kind), 1)
    return kind(
        message,
        sqlstate=failure.sqlstate,
        constraint=failure.constraint,
        table=failure.table,
        columns=failure.columns,
    )


def _from_driver(
    error: psycopg2.Error, connection: psycopg2.extensions.connection | None, doing: str, *, quotable: bool
) -> DatabaseHandlerError:
    sqlstate = error.pgcode
    if sqlstate is None:
        return _without_sqlstate(error, connection, doing)
    if connection is not None and connection.closed:
        return ConnectionLost(f"{doing}: the connection was lost ({sqlstate})", sqlstate=sqlstate)
    kind = error_class(sqlstate)
    diag = error.diag
    return kind(
        _message(kind, sqlstate, diag, doing, quotable=quotable),
        sqlstate=sqlstate,
        constraint=diag.constraint_name,
        table=diag.table_name,
        columns=_columns(diag),
    )


def _without_sqlstate(
    error: psycopg2.Error, connection: psycopg2.extensions.connection | None, doing: str
) -> DatabaseHandlerError:
    if connection is None:
        return DatabaseUnavailable(f"{doing}: no connection could be made")
    if not connection.closed and type(error) in _LOST_TRACK:
        # Seen when a backend was killed amid its answer: the driver gives no reason, and does not yet know
        # that the connection is gone. Whatever may be left on it must not be read as another's answer.
        connection.close()
    if connection.closed:
        return ConnectionLost(f"{doing}: the connection was lost")
    return InvalidValue(f"{doing}: the driver refused the call ({type(error).__name__})")


# The driver's errors about a call of ours (an empty query, a closed cursor) are of narrower classes.
_LOST_TRACK = (psycopg2.DatabaseError, psycopg2.OperationalError, psycopg2.InternalError)


def error_class(sqlstate: str) -> type[DatabaseError]:
    """Return the class for a SQLSTATE: the longest listed prefix wins."""
    for length in range(len(sqlstate), 1, -1):
        if found := _by_sqlstate.get(sqlstate[:length]):
            return found
    return DatabaseError


def _columns(diag: psycopg2.extensions.Diagnostics) -> tuple[str, ...]:
    if diag.column_name:
        return (diag.column_name,)
    key = re.match(r"[^(]*\(([^()]*)\)=\(", diag.message_detail or "")
    return tuple(part.strip().strip('"') for part in key[1].split(",")) if key else ()


def _claim(kind: type[DatabaseError]) -> str:
    return (kind.__doc__ or kind.__name__).strip().splitlines()[0].rstrip(".")


def _message(
    kind: type[DatabaseError],
    sqlstate: str,
    diag: psycopg2.extensions.Diagnostics,
    doing: str,
    *,
    quotable: bool,
) -> str:
    text = _claim(kind)
    safe = sqlstate.startswith(_SAFE_CLASSES) or (quotable and sqlstate == _SYNTAX_ERROR)
    if safe and diag.message_primary:
        text = f"{text}: {diag.message_primary}"
    facts = [
        f"{label} {value}"
        for label, value in (
            ("table", diag.table_name),
            ("constraint", diag.constraint_name),
            ("column", ", ".join(_columns(diag))),
        )
        if value
    ]
    return f"{doing}: {text} [{', '.join([sqlstate, *facts])}]"
