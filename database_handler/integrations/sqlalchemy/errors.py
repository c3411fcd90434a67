"""An error that comes up through SQLAlchemy is this library's and SQLAlchemy's at once.

So `db.run` retries what can be retried, ``except DuplicateRecord`` holds, and so does the ``except
IntegrityError`` of a repository that is not replaced yet. What SQLAlchemy would add to the message, the
statement and its values, is left out: a message is safe to log.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from sqlalchemy import exc

from database_handler.core.exceptions import (
    CommitOutcomeUnknown,
    ConstraintViolation,
    DatabaseError,
    DatabaseHandlerError,
    DeadlineExceeded,
    InvalidData,
    PoolOverloaded,
    PoolTimeout,
    QueryError,
    TransactionAborted,
    UnreadableValue,
)

__all__ = ["as_both", "of_both"]

# The first that fits. What is in none of these (a value that is refused before it is sent) is ours alone.
_PAIRS: tuple[tuple[type[DatabaseHandlerError], type[exc.SQLAlchemyError]], ...] = (
    (ConstraintViolation, exc.IntegrityError),
    (InvalidData, exc.DataError),
    (UnreadableValue, exc.DataError),
    (TransactionAborted, exc.InternalError),
    (QueryError, exc.ProgrammingError),
    (DatabaseError, exc.OperationalError),
    (CommitOutcomeUnknown, exc.OperationalError),
    (DeadlineExceeded, exc.OperationalError),
    (PoolTimeout, exc.TimeoutError),
    (PoolOverloaded, exc.TimeoutError),
)


@contextmanager
def of_both() -> Iterator[None]:
    """Raise this library's errors as ones that are SQLAlchemy's too."""
    try:
        yield
    except DatabaseHandlerError as failure:
        told = as_both(failure)
        told.__cause__, told.__context__ = failure.__cause__, failure.__context__
        told.__suppress_context__ = failure.__suppress_context__
        trace = failure.__traceback__
    else:
        return
    raise told.with_traceback(trace)


def as_both(failure: DatabaseHandlerError) -> DatabaseHandlerError:
    """Return the same error as one of both; where SQLAlchemy has none like it, as it is."""
    kind = _kind(type(failure))  # type: ignore[arg-type]  # a class is hashable
    if kind is type(failure):
        return failure
    told = _made(kind, failure.args)
    told.__dict__ |= failure.__dict__
    return told


@lru_cache(maxsize=128)
def _kind(ours: type[DatabaseHandlerError]) -> type[DatabaseHandlerError]:
    theirs = next((other for base, other in _PAIRS if issubclass(ours, base)), None)
    if theirs is None or issubclass(ours, exc.SQLAlchemyError):
        return ours
    members = {
        "__doc__": ours.__doc__,
        "__module__": ours.__module__,
        "__str__": Exception.__str__,  # SQLAlchemy's adds the statement and its values
        "__reduce__": _as_ours_alone,
        "orig": property(lambda failure: failure.driver_error),
        "statement": getattr(ours, "statement", None),
        **{"params": None, "ismulti": None, "hide_parameters": True, "connection_invalidated": False},
        **{"code": None, "detail": ()},
    }
    return type(ours.__name__, (ours, theirs), members)


def _as_ours_alone(failure: DatabaseHandlerError) -> Any:
    """Pickle it as this library's own class, the only one of the two that can be found by its name."""
    ours = type(failure).__bases__[0]
    return _made, (ours, failure.args), failure.__dict__


def _made(kind: type[DatabaseHandlerError], arguments: tuple[object, ...]) -> DatabaseHandlerError:
    return kind.__new__(kind, *arguments)
