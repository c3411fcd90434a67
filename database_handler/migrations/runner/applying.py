"""Runs one step after the other over the one connection that holds the lock, and says exactly what failed.

Each statement is a message of its own: an error without a position (a violated constraint, say) is still
placed at its statement. One message a section would save a round trip a statement. What can run in a
transaction runs in the one that records it; so only what cannot has to be asked about when it was cut off.
"""

import datetime as dt
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import TypeVar

from database_handler.core.exceptions import (
    CommitOutcomeUnknown,
    ConnectionLost,
    DatabaseError,
    DatabaseHandlerError,
    DeadlockDetected,
    LockTimeout,
    MigrationError,
    SerializationFailure,
)
from database_handler.core.session import Session, Statement
from database_handler.core.sql_text import locate, significant_tokens, token_hash
from database_handler.migrations.errors import MigrationFailed, PartialMigration
from database_handler.migrations.files.migration import Direction, Migration, Part, SqlStatement
from database_handler.migrations.files.planning import NO_BATCH, BatchProgress, Step
from database_handler.migrations.files.statement_checks import needs_no_transaction, words_of
from database_handler.migrations.runner.alone import Alone, Undecided
from database_handler.migrations.runner.batches import EndGuard, Pace, exhaust, place_after
from database_handler.migrations.runner.failing import Failure, failure
from database_handler.migrations.runner.history import Recorded
from database_handler.migrations.runner.locking import LockRetries
from database_handler.migrations.runner.probing import Before
from database_handler.migrations.runner.python_migration import PythonFile
from database_handler.migrations.runner.run_context import RunContext, StepRecord
from database_handler.utils.logger import get_logger
from database_handler.utils.text import counted

__all__ = ["Applier", "LockRetries", "run_inside"]

_log = get_logger(__name__)
T = TypeVar("T")


class Applier(RunContext):
    """Applies steps; every part that is done is on record before the next one begins."""

    def prepare(self, steps: Sequence[Step]) -> None:
        """Import the Python migrations among the steps, before anything is run.

        Raises
        ------
        MigrationFailed
            One of them cannot be imported.
        """
        for step in steps:
            if step.migration.is_python:
                self.python(step.migration)

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
        record = StepRecord(self, step)
        for place in range(step.done, len(parts)):
            _PartRun(self, step, parts[place], place, record, last=place == len(parts) - 1).run()
        _log.info(
            "migration.applied" if step.direction is Direction.UP else "migration.rolled_back",
            version=step.migration.name,
            seconds=round(time.monotonic() - started, 3),
        )


class _PartRun:
    """One part of one step: what takes effect at once."""

    def __init__(
        self, context: RunContext, step: Step, part: Part, place: int, record: StepRecord, *, last: bool
    ) -> None:
        self._context = context
        self._step = step
        self._migration = step.migration
        self._part = part
        self._place = place
        self._record = record
        self._last = last
        self._statement: SqlStatement | None = None
        self._resumed = step.progress if step.progress and place == step.done else None
        self._batch = self._resumed.batch if self._resumed else NO_BATCH
        self._moved = self._batch
        self._empty = 0
        self._spare = int(any("ctid" in statement.text.lower() for statement in part.statements))
        self._alone: Alone | None = None

    def run(self) -> None:
        failed: MigrationError
        try:
            self._run()
        except (ConnectionLost, CommitOutcomeUnknown, MigrationError):
            raise  # the history tells the next run what became of it
        except DatabaseHandlerError as error:
            failed = self._failure(error)
        except Undecided:
            failed = self._undecided()
        else:
            return
        raise failed

    def _run(self) -> None:
        if not self._part.transactional:
            self._by_itself()
        elif self._part.batched:
            self._batches()
        else:
            self._retrying(self._whole)

    def _retrying(self, work: Callable[[Session], T]) -> T:
        """Do it in a transaction; again when a lock was not had, as often as allowed."""
        for attempt in count(1):
            try:
                with self._context.transaction() as session:
                    done = work(session)
            except (LockTimeout, DeadlockDetected, SerializationFailure) as error:
                self._context.wait_for_lock(self._migration.name, attempt, error)
            else:
                self._record.stored()
                return done
        raise AssertionError  # count() never ends

    # ------------------------------------------------------------------------------------- in a transaction

    def _whole(self, session: Session) -> None:
        self._send(session, self._part.settings + self._part.statements)
        if self._part.function:
            self._call(self._part.function, session)
        self._finish(session)

    def _finish(self, session: Session) -> None:
        """Verify after the last part up, and write down that this one is done."""
        if self._last and self._step.direction is Direction.UP:
            self._send(session, self._migration.verify)
            if any(section.function == "verify" for section in self._migration.sections):
                self._call("verify", session)
        self._statement = None
        self._record.write(session, self._after)

    @property
    def _after(self) -> int | None:
        return None if self._last else self._place + 1

    def _send(self, session: Session, statements: tuple[SqlStatement, ...]) -> None:
        for statement in statements:
            self._statement = statement
            session.run(_named(self._migration, statement))

    def _call(self, function: str, session: Session, *arguments: object) -> object:
        return self._context.python(self._migration).call(function, session, *arguments)

    # ------------------------------------------------------------------------------------------- in batches

    def _batches(self) -> None:
        pace = Pace(self._migration.name)
        guard = EndGuard(self._part.statements[0]) if self._part.statements else None
        while self._retrying(self._one_batch):
            if guard:
                guard.changed(self._context.alone, self._moved.rows - self._batch.rows)
            # A row that moved away from its ctid meanwhile is missed, and the batch looks like the last one.
            self._empty = self._empty + 1 if self._moved == self._batch else 0
            self._batch = self._moved
            pace.rest(self._batch)

    def _one_batch(self, session: Session) -> bool:
        """Do one batch and write it down; False where it was the last one, which found nothing."""
        self._moved = self._called(session) if self._part.function else self._sent(session)
        over = self._moved == self._batch and self._empty == self._spare
        if over:
            self._finish(session)
        else:
            self._record.write(session, self._place, batch=self._moved)
        return not over

    def _called(self, session: Session) -> BatchProgress:
        returned = self._call(str(self._part.function), session, self._batch.after)
        after = place_after(returned, self._batch.after)
        return self._batch if after is None else self._batch.then(0, after)

    def _sent(self, session: Session) -> BatchProgress:
        self._statement = self._part.statements[0]
        rows = session.run(_named(self._migration, self._statement))
        return self._batch.then(rows) if rows else self._batch

    # --------------------------------------------------------------------------- outside of any transaction

    def _by_itself(self) -> None:
        [statement] = self._part.statements
        self._statement = statement
        begun = self._begun(statement)
        if begun is None and not needs_no_transaction(words_of(list(significant_tokens(statement.text)))):
            try:
                self._retrying(self._whole)
            except DatabaseError as error:
                if error.sqlstate not in _NEEDS_NO_TRANSACTION:
                    raise
            else:
                return
        self._outside(statement, begun)

    def _begun(self, statement: SqlStatement) -> Before | None:
        """Return what was written down before this statement was begun, by a run that was cut off in it."""
        begun = self._resumed.begun if self._resumed else None
        if begun and begun.get("statement", wanted := token_hash(statement.text)) != wanted:
            line = locate(self._migration.text, statement.start).line
            raise PartialMigration(
                f"{self._migration.path}:{line}: a run was cut off in another statement than the one that "
                f"stands here now: put that one back and call {self._again}, for what it left behind",
                [self._migration.name],
            )
        return begun

    def _outside(self, statement: SqlStatement, begun: Before | None) -> None:
        alone = self._context.alone
        self._statement = statement
        self._alone = Alone(
            alone,
            _named(self._migration, statement),
            [_named(self._migration, setting) for setting in self._part.settings],
            self._context.retries,
            note=self._note,
            wait=lambda attempt, error: self._context.wait_for_lock(self._migration.name, attempt, error),
            watching=lambda: self._context.watch.watching(self._migration.name),
        )
        self._alone.run(begun)
        self._record.write(alone, self._place + 1)
        self._record.stored()

    def _note(self, before: Before | None) -> None:
        if before is not None and self._statement:
            before = {**before, "statement": token_hash(self._statement.text)}
        self._record.write(self._context.alone, self._place, begun=before)
        self._record.stored()

    # --------------------------------------------------------------------------------------------- failures

    def _failure(self, error: DatabaseHandlerError) -> MigrationFailed:
        return failure(
            Failure(
                self._migration,
                self._statement,
                blockers=self._context.watch.blockers,
                stands=self._what_stands(),
                alone=self._alone is not None,
            ),
            error,
        )

    @property
    def _again(self) -> str:
        return "migrate()" if self._step.direction is Direction.UP else "rollback()"

    @property
    def _mend(self) -> str:
        if self._step.direction is Direction.UP:
            return f"Put it right and call {self._again}"
        return (
            "Put its way down right, which alone may change (`database-handler migrations lock` puts it on "
            f"record), and call {self._again}"
        )

    def _what_stands(self) -> str:
        before = f"what came before it stands ({counted(self._place, 'part')}, on record)"
        if self._alone is not None:
            return f"{self._of_outside()}; {before}. {self._mend}: it goes on with this statement."
        if self._batch.batches:
            return (
                f"This batch was rolled back; those before it stand ({self._batch.told}, on record). "
                f"{self._mend}: it goes on where it stopped."
            )
        if self._place or not self._part.transactional:
            what = "section" if self._part.transactional else "statement"
            return f"This {what} was rolled back; {before}. {self._mend}: it goes on with this {what}."
        return f"It was rolled back as a whole; earlier versions stand. {self._mend} again."

    def _of_outside(self) -> str:
        told = "The statement ran outside of a transaction"
        if self._alone and self._alone.expired:
            told += (
                f"; it was ended after concurrent_deadline, {self._context.retries.concurrent_deadline:g} s: "
                "end the transactions in its way, or give it more time"
            )
        if self._alone and self._alone.left_behind:
            return f"{told}; what it left behind, such as an INVALID index, is put away by the next run"
        return f"{told}; it left no INVALID index behind"

    def _undecided(self) -> PartialMigration:
        name = self._migration.name
        line = locate(self._migration.text, self._statement.start).line if self._statement else 1
        return PartialMigration(
            f"{self._migration.path}:{line}: a run of {name} was cut off in this statement, which runs "
            "outside of a transaction, and the catalogue does not tell what it has done. See, write down how "
            f"it stands, and call {self._again}.\nIf it is done:\n{self._decision(self._place + 1)}\n"
            f"If it is to be run again:\n{self._decision(self._place)}",
            [name],
        )

    def _decision(self, parts: int) -> str:
        recorded = Recorded(self._migration, self._step.direction, dt.timedelta(0), parts)
        return (
            f"    UPDATE {self._context.history.qualified} SET progress = '{recorded.progress}' "
            f"WHERE name = '{self._migration.name}';"
        )


# What the server answers to a statement, or to a COMMIT inside a DO or CALL, that no transaction takes.
_NEEDS_NO_TRANSACTION = ("25001", "2D000")


def _named(migration: Migration, statement: SqlStatement) -> Statement:
    line = locate(migration.text, statement.start).line
    return Statement(statement.text, f"{migration.name}:{line}", writes=True)


def run_inside(session: Session, migration: Migration, part: Part) -> None:
    """Run one part, of whatever sort, inside the session's own transaction; nothing is recorded.

    For scratch copies. What cannot run in a transaction fails here as it does anywhere.

    Raises
    ------
    DatabaseHandlerError
        What the session raises.
    """
    if part.function:
        _call_inside(session, PythonFile(migration), part)
    for statement in part.settings + part.statements:
        named = _named(migration, statement)
        if part.batched:
            exhaust(session, statement, named.name)
        else:
            session.run(named)


def _call_inside(session: Session, file: PythonFile, part: Part) -> None:
    function = str(part.function)
    if not part.batched:
        file.call(function, session)
        return
    after = place_after(file.call(function, session, None), None)
    while after is not None:
        after = place_after(file.call(function, session, after), after)
