"""Runs one step after the other over the one connection that holds the lock, and says exactly what failed.

Each statement is a message of its own: an error without a position (a violated constraint, say) is still
placed at its statement. One message a section would save a round trip a statement.
"""

import datetime as dt
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from unicodedata import combining, east_asian_width

import psycopg2.extensions as driver

from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import (
    CommitOutcomeUnknown,
    ConnectionLost,
    DatabaseError,
    DeadlockDetected,
    LockTimeout,
)
from database_handler.core.session import Session, Statement
from database_handler.core.sql_text import Location, TokenKind, locate, tokens
from database_handler.core.transaction import Autocommit, Transaction, TransactionOptions
from database_handler.migrations.errors import MigrationFailed
from database_handler.migrations.history import History, Recorded
from database_handler.migrations.locking import BlockerWatch, Held, Kept, backoff
from database_handler.migrations.migration import Direction, Migration, Part, SqlStatement
from database_handler.migrations.planning import Step
from database_handler.utils.logger import get_logger

__all__ = ["Applier", "LockRetries"]

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LockRetries:
    """How long a transaction waits for a table's lock (seconds), and how often it tries."""

    timeout: float = 2.0
    attempts: int = 30


class Applier:
    """Applies steps; every part that is done is on record before the next one begins.

    Parameters
    ----------
    lease : Kept
        The connection that holds the migrations' lock.
    config : DatabaseConfig
        For the second connection that looks for blockers.
    history : History
        The table, with its schema.
    held : Held
        The lock.
    retries : LockRetries
        For transactions that meet a locked table.
    """

    def __init__(
        self, lease: Kept, config: DatabaseConfig, history: History, held: Held, retries: LockRetries
    ) -> None:
        self._lease = lease
        self._history = history
        self._backend = held.backend
        self._retries = retries
        self._watch = BlockerWatch(config, held.backend, retries.timeout / 2)
        self._alone = Autocommit(lambda: lease).session

    def run(self, step: Step) -> None:
        """Run one migration to its end.

        Raises
        ------
        MigrationFailed
            A statement failed; the message shows where, and what stands and what does not.
        """
        started = time.monotonic()
        parts = list(step.migration.parts(step.direction))
        if not parts[step.done :] or not parts[-1].transactional:
            parts.append(Part((), transactional=True))  # verifies, and closes the record
        on_record = step.resumed
        for place in range(step.done, len(parts)):
            last = place == len(parts) - 1
            _PartRun(self, step, parts[place], place, last=last, on_record=on_record).run()
            on_record = True
        _log.info(
            "migration.applied" if step.direction is Direction.UP else "migration.rolled_back",
            version=step.migration.name,
            seconds=round(time.monotonic() - started, 3),
        )

    @property
    def alone(self) -> Session:
        """A session whose statements run each by itself, outside of a transaction."""
        return self._alone

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Give a transaction under lock_timeout, with a look at who blocks it."""
        # Not resolved by asking the server: a run whose COMMIT was lost is run again and reads the history.
        options = TransactionOptions(lock_timeout=self._retries.timeout, resolve=False)
        with self._watch.watching(), Transaction(lambda: self._lease, options) as session:
            yield session

    def wait_for_lock(self, version: str, attempt: int, error: DatabaseError) -> None:
        """Tell who is in the way and wait a moment; raise the error when it was the last attempt."""
        blockers = self._watch.blockers
        _log.warning(
            "migration.blocked", version=version, attempt=attempt, sqlstate=error.sqlstate, blockers=blockers
        )
        if attempt >= self._retries.attempts:
            raise error
        time.sleep(backoff(attempt))

    @property
    def blockers(self) -> str:
        """Who was in the way last."""
        return self._watch.blockers

    def record(self, session: Session, recorded: Recorded, *, on_record: bool) -> None:
        """Write the row for a part that is done, or take it away after the last one down."""
        if recorded.direction is Direction.DOWN and recorded.parts is None:
            self._history.delete(session, recorded.migration, self._backend)
        elif on_record:
            self._history.update(session, recorded, self._backend)
        else:
            self._history.insert(session, recorded, self._backend)


class _PartRun:
    """One part of one step: what takes effect at once."""

    def __init__(
        self, applier: Applier, step: Step, part: Part, place: int, *, last: bool, on_record: bool
    ) -> None:
        self._applier = applier
        self._step = step
        self._migration = step.migration
        self._part = part
        self._place = place
        self._last = last
        self._on_record = on_record
        self._statement: SqlStatement | None = None
        self._started = time.monotonic()

    def run(self) -> None:
        try:
            if self._part.transactional:
                self._in_transaction()
            else:
                self._alone()
        except (ConnectionLost, CommitOutcomeUnknown):
            raise  # the history tells the next run what became of it
        except DatabaseError as error:
            failure = self._failure(error)
        else:
            return
        raise failure

    def _in_transaction(self) -> None:
        for attempt in count(1):
            try:
                self._once()
            except (LockTimeout, DeadlockDetected) as error:
                self._applier.wait_for_lock(self._migration.name, attempt, error)
            else:
                return

    def _once(self) -> None:
        with self._applier.transaction() as session:
            self._send(session, self._part.statements)
            if self._last and self._step.direction is Direction.UP:
                self._send(session, self._migration.verify)
            self._statement = None
            self._record(session, None if self._last else self._place + 1)

    def _alone(self) -> None:
        session = self._applier.alone
        if not self._on_record:
            # Before the statement, so that what it leaves behind when it is cut off is known to be begun.
            self._record(session, 0)
            self._on_record = True
        self._send(session, self._part.statements)
        self._statement = None
        self._record(session, self._place + 1)

    def _record(self, session: Session, parts: int | None) -> None:
        taken = dt.timedelta(seconds=time.monotonic() - self._started)
        recorded = Recorded(self._migration, self._step.direction, taken, parts)
        self._applier.record(session, recorded, on_record=self._on_record)

    def _send(self, session: Session, statements: tuple[SqlStatement, ...]) -> None:
        for statement in statements:
            self._statement = statement
            line = locate(self._migration.text, statement.start).line
            session.run(Statement(statement.text, f"{self._migration.name}:{line}", writes=True))

    def _failure(self, error: DatabaseError) -> MigrationFailed:
        shown = _shown(self._migration, self._statement, error)
        text = f"{self._migration.path}:{shown.place.line}:{shown.place.column}: {shown.reason}"
        if error.sqlstate == "55P03" and self._applier.blockers:
            text += f"; in the way: {self._applier.blockers}"
        failed = MigrationFailed(
            f"{text}\n{shown.excerpt}\n{self._what_stands()}",
            self._migration.name,
            self._migration.path,
            shown.place.line,
            shown.place.column,
        )
        failed.sqlstate, failed.driver_error = error.sqlstate, error.driver_error
        return failed

    def _what_stands(self) -> str:
        again = "migrate()" if self._step.direction is Direction.UP else "rollback()"
        if not self._part.transactional:
            return (
                f"The statement ran outside of a transaction; what came before it stands ({self._place} "
                "parts, on record). See what it left behind, such as an INVALID index, and remove that; then "
                f"put the rest of the file right and call {again}: it goes on with this statement."
            )
        if self._place:
            return (
                f"This section was rolled back; what came before it stands ({self._place} parts, on record). "
                f"Put the rest of the file right and call {again}: it goes on with this section."
            )
        return f"It was rolled back as a whole; earlier versions stand. Put it right and call {again} again."


# ---------------------------------------------------------------------------------------- showing the place


@dataclass(frozen=True, slots=True)
class _Shown:
    place: Location
    reason: str
    excerpt: str


# Their primary messages name objects, or are the author's own RAISE; the values stand in the detail.
_SAFE_HERE = ("23", "P0001", "22012")
_WIDTH = 100


def _shown(migration: Migration, statement: SqlStatement | None, error: DatabaseError) -> _Shown:
    start = statement.start if statement else max(migration.text.find("-- migrate:"), 0)
    place = locate(migration.text, start + _offset(statement, error))
    secret = statement is not None and "password" in statement.text.lower()
    line = _masked(place.text) if secret else place.text
    return _Shown(place, _reason(error, secret=secret), _excerpt(place, line))


def _offset(statement: SqlStatement | None, error: DatabaseError) -> int:
    """Return where in the statement the server points, in characters; 0 when it points nowhere."""
    diag = getattr(error.driver_error, "diag", None)
    cursor = getattr(error.driver_error, "cursor", None)
    if statement is None or not diag or not diag.statement_position or not isinstance(cursor, driver.cursor):
        return 0
    sent = (cursor.query or b"").decode("utf-8", "replace")
    glued = len(sent) - len(statement.text)  # BEGIN and the timeouts, before the first statement
    return min(max(int(diag.statement_position) - 1 - glued, 0), len(statement.text))


def _reason(error: DatabaseError, *, secret: bool) -> str:
    told = str(error).partition(": ")[2] or str(error)
    primary = getattr(getattr(error.driver_error, "diag", None), "message_primary", None)
    if secret:
        return f"{type(error).__doc__} [{error.sqlstate}]"
    if error.sqlstate and error.sqlstate.startswith(_SAFE_HERE) and primary:
        return f"{primary} [{error.sqlstate}]"
    return told


def _masked(line: str) -> str:
    """Hide the strings of a line: a statement that sets a password must not show it."""
    try:
        found = list(tokens(line))
    except ValueError:  # a string of several lines
        return re.sub(r"[^\s]", "*", line)
    kinds = (TokenKind.STRING, TokenKind.DOLLAR_STRING)
    return "".join("*" * len(token.text) if token.kind in kinds else token.text for token in found)


def _excerpt(place: Location, line: str) -> str:
    cut = max(0, place.column - 1 - _WIDTH)
    before, shown = line[cut : place.column - 1], line[cut : place.column - 1 + _WIDTH]
    margin = f"{place.line:>5} | "
    return f"{margin}{shown}\n{' ' * (len(margin) - 2)}| {''.join(map(_blank, before))}^"


def _blank(character: str) -> str:
    if character == "\t":
        return "\t"
    if combining(character):
        return ""
    return "  " if east_asian_width(character) in "WF" else " "
