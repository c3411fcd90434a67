"""The root of the error tree, and the errors that need no database to be raised.

Everything else of the tree stands in `database_handler.core.exceptions`, which gives these out again.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["ConfigurationError", "DatabaseHandlerError", "InvalidValue", "MissingExtra", "Problem", "shown"]

_ENDLESS: Final = re.compile(r"\S{400,}")  # no name is so long; what a caller gave may be


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
        told = message or (type(self).__doc__ or type(self).__name__).strip().splitlines()[0]
        super().__init__(_loggable(told))
        self.sqlstate = sqlstate
        self.constraint = constraint
        self.table = table
        self.columns = tuple(columns)
        self.driver_error: BaseException | None = None
        if retryable is not None:
            self.retryable = retryable


def shown(value: object) -> str:
    """Name in a message what a caller gave as a name: text in quotes, its beginning if it is long."""
    if isinstance(value, int) and abs(value) < 2**63:
        return str(value)
    return repr(value[:60]) if isinstance(value, str) else f"a {type(value).__name__}"


def _loggable(text: str) -> str:
    """Write out what a terminal would obey or a log could not hold: a message may name what a caller gave."""
    text = _ENDLESS.sub(lambda found: f"{found[0][:60]}...", text)
    if text.replace("\n", "").isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else ascii(each)[1:-1] for each in text)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with the settings.

    Attributes
    ----------
    message : str
        Names the setting, where its value came from, the kind of the value and what is allowed.
    variable, source : str or None
        The name of the setting and the place of its value, by themselves, where there is one.
    """

    message: str
    variable: str | None = None
    source: str | None = None


class ConfigurationError(DatabaseHandlerError):
    """A setting is wrong or missing.

    `problems` holds each thing that is wrong by itself, where settings were read.
    """

    problems: tuple[Problem, ...] = ()

    @classmethod
    def of(cls, problems: Sequence[Problem]) -> "ConfigurationError":
        """Make one error of all that is wrong."""
        error = cls("; ".join(problem.message for problem in problems))
        error.problems = tuple(problems)
        return error


class MissingExtra(ConfigurationError, ImportError):
    """A part of the library needs packages that are not installed."""


class InvalidValue(DatabaseHandlerError, ValueError):  # a ValueError, so that pydantic reports it as one
    """A value cannot be taken; nothing was sent to the database."""
