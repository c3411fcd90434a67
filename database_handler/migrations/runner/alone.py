"""Runs one statement outside of a transaction, so that it can be cut off anywhere and gone on with.

It is on record before it is begun, with what the catalogue says. What CONCURRENTLY waits for are old
transactions, in a lock's disguise: under `lock_timeout` an idle reader of another table would make it
fail. So it has a deadline of its own and no `lock_timeout`; everything else runs under that.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import count

from database_handler.core.exceptions import ConnectionLost, DatabaseError, DeadlockDetected, LockTimeout
from database_handler.core.session import Session, Statement
from database_handler.core.sql_text import significant_tokens
from database_handler.migrations.files.statement_checks import words_of
from database_handler.migrations.runner.locking import LockRetries
from database_handler.migrations.runner.probing import Before, Probe, Verdict, probe_of
from database_handler.utils.logger import get_logger

__all__ = ["Alone", "Undecided"]

_log = get_logger(__name__)
_TIDY_SECONDS = 30.0


class Undecided(Exception):  # caught by the run, which knows what to say
    """Whether the statement that was cut off took effect cannot be told."""


class Alone:
    """One statement that no transaction takes.

    Parameters
    ----------
    session : Session
        Sends each statement by itself.
    statement, settings
        What to send, and the SETs of the file that hold for it.
    retries : LockRetries
        The deadline, and `lock_timeout` for what is not CONCURRENTLY.
    note : callable
        Writes down what the catalogue said before, or None: nothing is begun.
    wait : callable
        Waits before the next attempt; raises the error after the last one.
    watching : callable
        Looks meanwhile for who is in the way.
    """

    def __init__(
        self,
        session: Session,
        statement: Statement,
        settings: Sequence[Statement],
        retries: LockRetries,
        *,
        note: Callable[[Before | None], None],
        wait: Callable[[int, DatabaseError], None],
        watching: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._session = session
        self._statement = statement
        self._settings = settings
        self._retries = retries
        self._note = note
        self._wait = wait
        self._watching = watching
        self._probe: Probe = probe_of(statement.text)
        words = words_of(list(significant_tokens(statement.text)))
        # DETACH ends with a lock that readers wait behind, so that one gives way like any other.
        self._concurrent = " CONCURRENTLY" in words and " DETACH " not in words
        self._begun: Before | None = None
        self.left_behind = False
        self.expired = False

    def run(self, begun: Before | None) -> None:
        """Run it, or go on with it where it was `begun`; done when this returns.

        Raises
        ------
        DatabaseError
            It failed. What it left behind is put away, unless `left_behind` says otherwise.
        Undecided
            It was begun, and nobody can tell what became of it.
        """
        for attempt in count(1):
            try:
                if self._attempt(begun):
                    return
            except (DeadlockDetected, LockTimeout) as error:
                begun = self._begun
                if not self._probe.repeats:
                    self._tidy()
                    raise
                self._wait_or_tidy(attempt, error)

    def _wait_or_tidy(self, attempt: int, error: DatabaseError) -> None:
        try:
            self._wait(attempt, error)
        except DatabaseError:
            self._tidy()
            raise

    def _attempt(self, begun: Before | None) -> bool:
        self._begun = begun
        with self._watching():
            self._ready(self._retries.concurrent_deadline)
            if begun is not None and self._is_settled(begun):
                return True
            if begun is None:
                self._begun = self._probe.before(self._session)
                self._note(self._begun)
                self._ready(self._retries.concurrent_deadline)  # the record has reset what was set
            return self._send()

    def _is_settled(self, begun: Before) -> bool:
        self.left_behind = True
        verdict = self._probe.settle(self._session, begun)
        self.left_behind = False
        _log.info("migration.probed", statement=self._statement.name, found=verdict.value)
        if verdict is Verdict.UNKNOWN:
            raise Undecided
        return verdict is Verdict.DONE

    def _send(self) -> bool:
        started = time.monotonic()
        try:
            self._session.run(self._statement)
        except (DeadlockDetected, LockTimeout):
            raise
        except DatabaseError as error:
            self.expired = time.monotonic() - started >= self._retries.concurrent_deadline
            if not isinstance(error, ConnectionLost) and self._tidy():
                return True
            raise
        return True

    def _tidy(self) -> bool:
        """Put away what a failed one left behind, an INVALID index; True where it was done after all."""
        if self._begun is None:
            return False
        self.left_behind = True
        verdict = Verdict.AGAIN
        with suppress(DatabaseError):
            self._ready(min(_TIDY_SECONDS, self._retries.concurrent_deadline))
            if self._probe.repeats:
                verdict = self._probe.settle(self._session, self._begun)
            self._note(None)
            self.left_behind = False
        return verdict is Verdict.DONE

    def _ready(self, deadline: float) -> None:
        """Set what holds for the statement; the file's own settings come last."""
        lock = 0 if self._concurrent else round(self._retries.timeout * 1000)
        text = f"SET lock_timeout = {lock};SET statement_timeout = {max(round(deadline * 1000), 1)}"
        self._session.run(Statement(text, "migrations.limits"))
        for setting in self._settings:
            self._session.run(setting)
