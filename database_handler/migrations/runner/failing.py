"""Says what failed: file, line, the line itself with a caret, the server's reason, and what to do about it.

No value of a row is told, and no password: of the server's words only those that name objects, or that the
author of the migration wrote; of a Python error only what the file itself raised.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from unicodedata import combining, east_asian_width

import psycopg2.extensions as driver

from database_handler.core.exceptions import DatabaseError, DatabaseHandlerError
from database_handler.core.sql_text import Location, TokenKind, locate, tokens
from database_handler.migrations.errors import MigrationFailed
from database_handler.migrations.files.migration import Migration, SqlStatement

__all__ = ["Failure", "PythonRaised", "failure"]


class PythonRaised(DatabaseHandlerError):
    """A function of a Python migration raised something that is no error of the database."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(reason)
        self.line = line


@dataclass(frozen=True, slots=True)
class Failure:
    """What is known of a failure beside the error: where it was, who was in the way, what stands now.

    Attributes
    ----------
    alone : bool
        Whether it ran outside of a transaction, under a deadline of the run's own.
    where : str
        Where it was run, if that is not the database itself: ``on a scratch copy``.
    """

    migration: Migration
    statement: SqlStatement | None
    line: int | None = None
    blockers: str = ""
    stands: str = ""
    alone: bool = False
    where: str = ""


def failure(of: Failure, error: DatabaseHandlerError) -> MigrationFailed:
    """Return the error to raise for one that a migration met."""
    place = _place(of, error)
    secret = of.statement is not None and "password" in of.statement.text.lower()
    hidden = of.statement is not None and _SECRETS.search(of.statement.text) is not None
    reason = _reason(error, secret=secret)
    path = of.migration.path
    text = f"{path}:{place.line}:{place.column}: {f'{of.where}: ' if of.where else ''}{reason}"
    if of.blockers and error.sqlstate in {"55P03", "57014", "40P01"}:
        text += f"; in the way: {of.blockers}"
    if advice := _advice(of, error, reason):
        text += f"; {advice}"
    excerpt = _excerpt(place, _beginning(of), _masked if hidden else str)
    failed = MigrationFailed(
        f"{text}\n{excerpt}\n{of.stands}", of.migration.name, path, place.line, place.column
    )
    failed.sqlstate, failed.driver_error = error.sqlstate, error.driver_error
    return failed


# A statement with one of these words may hold a secret in a string: the line is shown without its strings.
_SECRETS = re.compile(r"passw|pwd|secret|token|credential|api_?key|OPTIONS\s*\(", re.IGNORECASE)
_BY_STATEMENT_TIMEOUT = "due to statement timeout [57014]"
_TIMED_OUT = (
    "the role, the database or the file sets statement_timeout: put `SET LOCAL statement_timeout = 0;` "
    "before it where it may take its time"
)
_ADVICE = {
    "55P04": "a label added to an enum is usable once that is committed: close the section after ALTER TYPE "
    "... ADD VALUE with another `-- migrate: up`, and use the label there",
    "25001": "the server does not take this statement in a transaction: put it into a section of its own, "
    "`-- migrate: up, no transaction` (or down), of an SQL file",
    "2D000": "a DO or CALL that commits by itself stands in a section `-- migrate: up, no transaction`",
    "42501": "run migrations as the role that owns the tables (migration_url), or GRANT what is missing",
}
_DEPENDENTS = (
    "drop what depends on it by name before this statement, and make again after it what is to stay; "
    "`database-handler migrations drift` shows what was made by hand and stands in no file"
)


def _advice(of: Failure, error: DatabaseHandlerError, reason: str) -> str | None:
    if reason.endswith(_BY_STATEMENT_TIMEOUT) and not of.alone:
        return _TIMED_OUT
    if error.sqlstate in {"2BP01", "0A000"} and _detail(error):
        return _DEPENDENTS
    return _ADVICE.get(error.sqlstate or "")


def _place(of: Failure, error: DatabaseHandlerError) -> Location:
    text = of.migration.text
    if of.statement is not None:
        return locate(text, of.statement.start + _offset(of.statement, error))
    line = error.line if isinstance(error, PythonRaised) else of.line
    if of.migration.is_python:
        return _whole_line(text, line or _line_of(of.migration, error.__traceback__) or 1)
    return locate(text, max(text.find("-- migrate:"), 0))


def _whole_line(text: str, line: int) -> Location:
    found = (text.split("\n")[line - 1 : line] or [""])[0]
    return Location(line, len(found) - len(found.lstrip()) + 1, found)


def _line_of(migration: Migration, trace: TracebackType | None) -> int | None:
    """Return the last line of a Python migration that the error came through."""
    return next(reversed([*lines_of(str(migration.path), trace)]), None)


def lines_of(path: str, trace: TracebackType | None) -> Iterator[int]:
    """Give the lines of a file that an error came through, the outermost first."""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            yield trace.tb_lineno
        trace = trace.tb_next


def _offset(statement: SqlStatement, error: DatabaseHandlerError) -> int:
    """Return where in the statement the server points, in characters; 0 when it points nowhere."""
    diag = getattr(error.driver_error, "diag", None)
    cursor = getattr(error.driver_error, "cursor", None)
    if not diag or not diag.statement_position or not isinstance(cursor, driver.cursor):
        return 0
    sent = (cursor.query or b"").decode("utf-8", "replace")
    glued = len(sent) - len(statement.text)  # BEGIN and the timeouts, before the first statement
    return min(max(int(diag.statement_position) - 1 - glued, 0), len(statement.text))


# Their primary messages name objects, or are the author's own RAISE; the values stand in the detail.
_SAFE_HERE = ("23", "P0001", "22012")
# Of these the detail names objects too, such as the views that depend on a column.
_OF_OBJECTS = ("2BP01", "0A000", "42", "55006")
_DETAILS = 10  # lines


def _reason(error: DatabaseHandlerError, *, secret: bool) -> str:
    if not isinstance(error, DatabaseError) or not error.sqlstate:
        return str(error)
    told = str(error).partition(": ")[2] or str(error)
    primary = getattr(getattr(error.driver_error, "diag", None), "message_primary", None)
    if secret:
        return f"{type(error).__doc__} [{error.sqlstate}]"
    if error.sqlstate.startswith(_SAFE_HERE) and primary:
        return f"{primary} [{error.sqlstate}]"
    if error.sqlstate.startswith(_OF_OBJECTS) and primary and (detail := _detail(error)):
        return f"{primary}: {detail} [{error.sqlstate}]"
    return told


def _detail(error: DatabaseHandlerError) -> str:
    """Return what the server says beside its message, on one line; its end, where it is long, is left out."""
    lines = (getattr(getattr(error.driver_error, "diag", None), "message_detail", None) or "").splitlines()
    more = f" and {len(lines) - _DETAILS} more" if len(lines) > _DETAILS else ""
    return f"{'; '.join(lines[:_DETAILS]).rstrip('.')}{more}"


def _masked(line: str) -> str:
    """Hide the strings of a line: a statement that sets a password must not show it."""
    try:
        found = list(tokens(line))
    except ValueError:  # a string of several lines
        return re.sub(r"[^\s]", "*", line)
    kinds = (TokenKind.STRING, TokenKind.DOLLAR_STRING)
    return "".join("*" * len(token.text) if token.kind in kinds else token.text for token in found)


_WIDTH = 100


def _beginning(of: Failure) -> Location | None:
    """Return where the statement begins."""
    return None if of.statement is None else locate(of.migration.text, of.statement.start)


def _excerpt(place: Location, first: Location | None, shown: Callable[[str], str]) -> str:
    """Show the line with a caret, below the first one of its statement."""
    cut = max(0, place.column - 1 - _WIDTH)
    line = shown(place.text).replace("\t", " ")
    before = "".join(map(_blank, line[cut : place.column - 1]))
    told = [_numbered(place.line, line[cut : place.column - 1 + _WIDTH]), f"{_MARGIN}{before}^"]
    if first is not None and first.line < place.line:
        above = [_numbered(first.line, shown(first.text).replace("\t", " ")[:_WIDTH])]
        told = above + [f"{_MARGIN}..."] * (first.line + 1 < place.line) + told
    return "\n".join(told)


_MARGIN = "      | "


def _numbered(line: int, text: str) -> str:
    return f"{line:>5} | {text}"


def _blank(character: str) -> str:
    if combining(character):
        return ""
    return "  " if east_asian_width(character) in "WF" else " "
