"""What the steps of one run share: the connection with the lock, transactions over it, and the record."""

import datetime as dt
import time
from collections.abc import Iterator
from contextlib import contextmanager

from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import DatabaseError
from database_handler.core.session import Session
from database_handler.core.transaction import Autocommit, Transaction, TransactionOptions
from database_handler.migrations.files.applied import NO_BATCH, BatchProgress
from database_handler.migrations.files.migration import Direction, Migration
from database_handler.migrations.files.planning import Step
from database_handler.migrations.runner.history import History, Recorded
from database_handler.migrations.runner.locking import BlockerWatch, Held, Kept, LockRetries, backoff
from database_handler.migrations.runner.probing import Before
from database_handler.migrations.runner.python_migration import OwnSession, PythonFile
from database_handler.utils.logger import get_logger

__all__ = ["RunContext", "StepRecord"]

_log = get_logger(__name__)


class RunContext:
    """The connection that holds the lock, its transactions, and what is written down over it.

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
        self.history = history
        self._backend = held.backend
        self.retries = retries
        self.watch = BlockerWatch(config, held.backend, retries.timeout / 2)
        self._alone = Autocommit(lambda: lease).session
        self._python: dict[str, PythonFile] = {}

    def python(self, migration: Migration) -> PythonFile:
        """Return a Python migration's module, imported once."""
        if migration.name not in self._python:
            self._python[migration.name] = PythonFile(migration)
        return self._python[migration.name]

    @property
    def alone(self) -> Session:
        """A session whose statements run each by itself, outside of a transaction."""
        return self._alone

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Give a transaction under lock_timeout, with a look at who blocks it."""
        # Not resolved by asking the server: a run whose COMMIT was lost is run again and reads the history.
        options = TransactionOptions(lock_timeout=self.retries.timeout, resolve=False)
        transaction = Transaction(lambda: self._lease, options)
        with self.watch.watching(), transaction:
            yield OwnSession(transaction)

    def wait_for_lock(self, version: str, attempt: int, error: DatabaseError) -> None:
        """Tell who is in the way and wait a moment; raise the error when it was the last attempt."""
        blockers = self.watch.blockers
        _log.warning(
            "migration.blocked", version=version, attempt=attempt, sqlstate=error.sqlstate, blockers=blockers
        )
        if attempt >= self.retries.attempts:
            raise error
        time.sleep(backoff(attempt))

    def write(self, session: Session, recorded: Recorded, *, on_record: bool) -> None:
        """Write the row for a part that is done, or take it away after the last one down."""
        if recorded.direction is Direction.DOWN and recorded.parts is None:
            self.history.delete(session, recorded.migration, self._backend)
        elif on_record:
            self.history.update(session, recorded, self._backend)
        else:
            self.history.insert(session, recorded, self._backend)


class StepRecord:
    """What the history says of one step, and the time that it has taken since it said so last."""

    def __init__(self, context: RunContext, step: Step) -> None:
        self._context = context
        self._step = step
        self.there = step.resumed
        self._since = time.monotonic()

    def write(
        self,
        session: Session,
        parts: int | None,
        begun: Before | None = None,
        batch: BatchProgress = NO_BATCH,
    ) -> None:
        """Say that so many parts are done (None: all), in the session's transaction."""
        taken = dt.timedelta(seconds=time.monotonic() - self._since)
        recorded = Recorded(self._step.migration, self._step.direction, taken, parts, begun, batch)
        self._context.write(session, recorded, on_record=self.there)

    def stored(self) -> None:
        """Note that what was written is committed."""
        self.there = True
        self._since = time.monotonic()
