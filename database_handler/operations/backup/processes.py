"""Runs pg_dump and pg_restore: bounded in time, ended with their caller, and quoted without row values.

The password goes by a file of mode 0600 in a folder of mode 0700, never by an argument or the environment,
which others may see. A program that is stuck is asked to stop, which also cancels its statement on the
server, and killed with its workers when it does not.

What a program says on standard error is text without an SQLSTATE. It may quote the row that did not fit, so
that of the server's own messages only those are told whose form is known to hold names alone.
"""

import os
import re
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from database_handler.config.database import DatabaseConfig
from database_handler.config.settings import program_environment
from database_handler.core.deadline import Deadline
from database_handler.core.exceptions import (
    ConfigurationError,
    ConnectionLost,
    DatabaseHandlerError,
    PermissionDenied,
)
from database_handler.operations.backup import child
from database_handler.operations.backup.errors import BackupTimeout, NoSpaceLeft

__all__ = ["Run", "connection_text", "run_program"]

_GRACE = 3.0  # seconds from being asked to stop until being killed
_LOOK = 0.2  # seconds between two looks at the deadline
_SHOWN = 5  # lines of a failure
_PIECE = 1 << 16


def connection_text(config: DatabaseConfig, folder: Path) -> str:
    """Return the connection string for a program; the password goes into a file in `folder`.

    Raises
    ------
    ConfigurationError
        The password holds a line break, which such a file cannot.
    """
    arguments = config.connect_arguments()
    password = arguments.pop("password", None)
    if password is not None:
        arguments["passfile"] = str(_passfile(str(password), folder))
    return " ".join(f"{name}={_quoted(str(value))}" for name, value in arguments.items())


def _passfile(password: str, folder: Path) -> Path:
    if "\n" in password or "\r" in password:
        raise ConfigurationError("the password holds a line break, which no password file of libpq can")
    path = folder / "pgpass"
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"*:*:*:*:{escaped}\n")
    return path


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


@dataclass
class Run:
    """One run of a program: what it is, what it is given, and what it has said.

    Parameters
    ----------
    failure : class
        What is raised where nothing more exact is known.
    denied : str
        Which rights the role needs, told where it lacks some.
    on_line : callable
        Gets each line that it says on the way.
    output : int
        The descriptor that its standard output goes to.
    """

    program: Path
    arguments: Sequence[str]
    deadline: Deadline
    failure: type[DatabaseHandlerError]
    denied: str = ""
    on_line: Callable[[str], object] = lambda _: None
    output: int = subprocess.DEVNULL
    errors: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Such as pg_dump."""
        return self.program.name

    def heard(self, line: str) -> None:
        """Take a line of standard error."""
        if line.startswith(f"{self.name}: error:") or line.startswith(f"{self.name}: detail:"):
            self.errors.append(line.split(":", 2)[2].strip())
        self.on_line(line)


def run_program(run: Run) -> None:
    """Run a program to its end.

    Raises
    ------
    BackupTimeout
        The deadline passed.
    NoSpaceLeft, PermissionDenied, ConnectionLost
        It says so.
    DatabaseHandlerError
        The run's own kind, for any other failure.
    """
    try:
        process = _started(run)
    except OSError as error:
        raise run.failure(f"{run.program} cannot be run: {os.strerror(error.errno or 0).lower()}") from None
    try:
        _follow(process, run)
    except BaseException:
        _end(process)
        raise
    if process.returncode:
        raise _failure(run, process.returncode)


def _started(run: Run) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-I", "-S", child.__file__, str(os.getpid()), str(run.program), *run.arguments],
        stdin=subprocess.DEVNULL,
        stdout=run.output,
        stderr=subprocess.PIPE,
        env=program_environment(),
        start_new_session=True,  # Ctrl-C at a terminal comes to us, who then end it
        restore_signals=False,  # a full file is then an error that it tells, not a signal that kills it
    )


def _follow(process: "subprocess.Popen[bytes]", run: Run) -> None:
    """Hand on what the process says until it has ended."""
    if process.stderr is None:
        raise AssertionError("unreachable: it was started with a pipe")
    with process.stderr, selectors.DefaultSelector() as selector:
        selector.register(process.stderr, selectors.EVENT_READ)
        for line in _lines(process.stderr.fileno(), selector, run):
            run.heard(line)
    while process.poll() is None:
        _check(run)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_LOOK)


def _lines(descriptor: int, selector: selectors.BaseSelector, run: Run) -> Iterator[str]:
    rest = b""
    while True:
        _check(run)
        if not selector.select(_LOOK):
            continue
        piece = os.read(descriptor, _PIECE)
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in whole)
        if not piece:
            return


def _check(run: Run) -> None:
    if run.deadline.passed:
        raise BackupTimeout(
            f"{run.name} did not end in the time that it has (timeout=, --timeout); nothing of it is kept"
        )


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process with all that it has started; it is waited for last, so that its number stays its own."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)
    until = time.monotonic() + _GRACE
    while time.monotonic() < until and not _has_ended(process.pid):
        time.sleep(0.01)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


# ------------------------------------------------------------------------------------------ what it has said

_FULL = re.compile(r"No space left on device|File too large|Disk quota exceeded|could not extend file")
_DENIED = re.compile(
    r"permission denied|row-level security|must be (owner|superuser|member)|must have|may lack \w+ privilege"
)
_LOST = re.compile(
    r"server closed the connection|terminating connection|connection to server|could not connect"
    r"|the database system is (shutting|starting)|no connection to the server|could not send"
)
# The server's own messages that name objects only; the others may quote a value.
_NAMES_ONLY = re.compile(
    r"(permission denied for|query would be affected by row-level security|must be owner of"
    r"|(relation|schema|type|function|extension|role|database|column|index|table) \S+ "
    r"(already exists|does not exist)|canceling statement|terminating connection|could not extend file"
    r"|extension \S+ is not available|out of (memory|shared memory)|too many connections"
    r"|the database system is|unrecognized configuration parameter|cannot execute \w+ in a read-only)"
)


def _failure(run: Run, code: int) -> DatabaseHandlerError:
    told = "; ".join(filter(None, map(_safe, run.errors[:_SHOWN])))
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    message = f"{run.name} {how}{f': {told}' if told else ''}"
    text = "\n".join(run.errors)
    if _FULL.search(text):
        return NoSpaceLeft(f"there is no room left to write to: {message}")
    if _DENIED.search(text):
        return PermissionDenied(f"{message}. {run.denied}", sqlstate="42501")
    if _LOST.search(text):
        return ConnectionLost(message)
    return run.failure(message)


def _safe(line: str) -> str:
    """Return a line of a program without what may be a value, and without its own queries."""
    if line.startswith("Query was:"):
        return ""
    own, found, said = line.partition("ERROR:")
    if not found:
        return line if len(line) <= 300 else f"{line[:300]}..."
    said = said.strip()
    known = _NAMES_ONLY.match(said) is not None
    return f"{own.strip()} {said if known else 'the server refused it'}".strip()
