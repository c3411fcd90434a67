"""Runs the functions of a Python migration: imported by its path, once, with nothing left behind on disk.

No folder joins ``sys.path`` and no bytecode is written. What a function raises is told with its file and
line; the text of an error only where the file itself raised it, for any other text may hold a value.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, TracebackType

from database_handler.core.exceptions import DatabaseHandlerError, InvalidSql
from database_handler.core.session import Session
from database_handler.core.sql_text import control_words, first_words, statements
from database_handler.migrations.files.migration import Migration
from database_handler.migrations.runner.failing import Failure, PythonRaised, failure, lines_of

__all__ = ["OwnSession", "PythonFile"]

_NOTHING_RAN = "Nothing of it was run. Put it right and try again."


class OwnSession(Session):
    """The session that a Python migration is given: its transaction is the run's to end, by `script` too."""

    def script(self, text: str) -> None:
        """Run many statements, none of which begins or ends a transaction.

        Raises
        ------
        InvalidSql
            One of them does; nothing was sent.
        """
        for span in statements(text):
            if control := control_words(first_words(span.of(text), 3)):
                raise InvalidSql(
                    f"{control} is not for a migration: each call is one transaction, which the run ends; "
                    "what must be separate is a batch, `def up(session, after)`, or a version of its own"
                )
        super().script(text)


class PythonFile:
    """The module of one Python migration, imported when it is made.

    Raises
    ------
    MigrationFailed
        The import failed; the message says at which line.
    """

    def __init__(self, migration: Migration) -> None:
        self._migration = migration
        self._path = str(migration.path)
        self._module = ModuleType(f"database_handler_migration_{migration.name}_{migration.token_hash[:12]}")
        self._module.__file__ = self._path
        problem = None
        try:
            with self._findable(), self._told():
                self._run_module()
        except DatabaseHandlerError as error:
            line = next(reversed([*lines_of(self._path, error.__traceback__)]), None)
            problem = failure(Failure(migration, None, line, stands=_NOTHING_RAN), error)
        if problem:
            raise problem

    def _run_module(self) -> None:
        code = compile(self._migration.text, self._path, "exec", dont_inherit=True)
        exec(code, self._module.__dict__)  # noqa: S102  # the file is the application's own code

    def call(self, function: str, session: Session, *arguments: object) -> object:
        """Call ``up``, ``down`` or ``verify``.

        Raises
        ------
        DatabaseHandlerError
            What the session raised, as it is, or `PythonRaised` for anything else.
        """
        with self._findable(), self._told():
            return getattr(self._module, function)(session, *arguments)

    @contextmanager
    def _findable(self) -> Iterator[None]:
        """Let the module be found by its name meanwhile: dataclasses look their module up."""
        name = self._module.__name__
        sys.modules[name] = self._module
        try:
            yield
        finally:
            sys.modules.pop(name, None)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except DatabaseHandlerError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever the author's code may raise
            raised = self._raised(error, error.__traceback__)
        else:
            return
        raise raised  # out here it has no context that would show a value

    def _raised(self, error: BaseException, trace: TracebackType | None) -> PythonRaised:
        lines = [*lines_of(self._path, trace)] or [1]
        own_words = ""
        if self._is_own(trace) and str(error):
            own_words = f": {error}"
        return PythonRaised(f"{type(error).__name__}{own_words}", lines[-1])

    def _is_own(self, trace: TracebackType | None) -> bool:
        """Whether the file itself raised the error, by `raise` or `assert`, at its innermost frame."""
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        if trace is None or trace.tb_frame.f_code.co_filename != self._path:
            return False
        line = self._migration.text.split("\n")[trace.tb_lineno - 1].lstrip()
        return line.startswith(("raise ", "assert "))
