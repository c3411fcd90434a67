"""The root of the error tree, and the errors that need no database to be raised.

Everything else of the tree stands in `database_handler.core.exceptions`, which gives these out again.
"""

from collections.abc import Sequence

__all__ = ["ConfigurationError", "DatabaseHandlerError", "InvalidValue", "MissingExtra"]


class DatabaseHandlerError(Exception):
    """The root of every error that this library raises on purpose.

    Parameters
    ----------
    message : str
        Safe to log: it holds no row value and no password. The class's own first line when left out.
    sqlstate : str, optional
        The five characters with which PostgreSQL names the error; None where the server named none.
    constraint, table : str, optional
        The constraint and the table that the server named.
    columns : sequence of str
        The columns that the error is about, as far as they are known.
    retryable : bool, optional
        Whether sending the whole unit again may succeed; the class's own answer when left out.
    """

    retryable: bool = False

    def __init__(
        self,
        message: str | None = None,
        *,
        sqlstate: str | None = None,
        constraint: str | None = None,
        table: str | None = None,
        columns: Sequence[str] = (),
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message or (type(self).__doc__ or type(self).__name__).strip().splitlines()[0])
        self.sqlstate = sqlstate
        self.constraint = constraint
        self.table = table
        self.columns = tuple(columns)
        self.driver_error: BaseException | None = None
        if retryable is not None:
            self.retryable = retryable


class ConfigurationError(DatabaseHandlerError):
    """A setting is wrong or missing."""


class MissingExtra(ConfigurationError, ImportError):
    """A part of the library needs packages that are not installed."""


class InvalidValue(DatabaseHandlerError, ValueError):  # a ValueError, so that pydantic reports it as one
    """A value cannot be taken; nothing was sent to the database."""
