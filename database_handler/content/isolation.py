"""Files are read in child processes with limits; one that dies or overruns costs one typed refusal.

A `Program` says what the children run: one reads documents, another decodes video. At most `PROCESSES`
children of a program live at a time, each started when first needed and kept for the next file.
They end when this process ends, also by SIGKILL: their line closes. After a fork the child process starts
with none, and those of its parent stay the parent's.
"""

import atexit
import importlib.util
import json
import math
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from time import monotonic
from typing import Any

from database_handler.content import extractor_process
from database_handler.content.errors import DamagedFile, ExtractionTimeout, ExtractorUnavailable
from database_handler.core.exceptions import InvalidValue, MissingExtra

__all__ = [
    "DOCUMENTS",
    "PROCESSES",
    "Program",
    "ask",
    "available",
    "close",
    "processes",
    "refuse_limits",
    "require",
]

PROCESSES = min(4, os.cpu_count() or 1)
_START_SECONDS = 30.0  # loading the packages from a cold disk must not count against the first file


@dataclass(frozen=True, slots=True)
class Program:
    """What a child runs: a script, what it reads (for messages), and the packages and extra that it needs.

    `unpacks`: it writes a library of its own into the temporary folder before it gives up the right to.
    """

    script: Path
    reads: str
    packages: tuple[str, ...]
    extra: str
    unpacks: bool = False


DOCUMENTS = Program(Path(extractor_process.__file__), "document", ("kreuzberg",), "documents", unpacks=True)


def refuse_limits(limits: Any) -> None:
    """Raise `InvalidValue` unless each limit is a number above 0, and whole if it is not `seconds`."""
    for field in fields(limits):
        value, kinds = getattr(limits, field.name), (int, float) if field.name == "seconds" else (int,)
        if type(value) not in kinds or not 0 < value < math.inf:
            raise InvalidValue(f"limits: {field.name} is a{' whole' * (kinds == (int,))} number above 0")


def available(program: Program = DOCUMENTS) -> bool:
    """Return whether the packages of the program's extra are installed."""
    return all(importlib.util.find_spec(package) is not None for package in program.packages)


def require(program: Program = DOCUMENTS) -> None:
    """Raise `MissingExtra` unless the packages of the program's extra are installed."""
    if not available(program):
        raise MissingExtra(
            f"this kind of {program.reads} needs packages that are not installed: "
            f"pip install 'database-handler[{program.extra}]'"
        )


class _Died(Exception):
    """The child was dead already, or died of this file."""


class _Child:
    """One running program and the line to it."""

    def __init__(self, program: Program, memory_bytes: int) -> None:
        self.program, self.memory_bytes = program, memory_bytes
        temporary = {"TMPDIR": _temporary_folder()} if program.unpacks else {}
        self._line, theirs = socket.socketpair()
        with theirs:
            # -I: neither the environment nor the script's folder says what is imported; the paths are sent.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-X", "utf8", str(program.script)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PATH": os.defpath} | temporary,  # none of the application's secrets
                cwd="/",
                start_new_session=True,  # Ctrl-C at a terminal is the application's to handle
            )
        paths = [str(Path(entry).resolve()) for entry in sys.path if entry]
        try:
            self._exchange({"path": paths, "memory_bytes": memory_bytes}, b"", _START_SECONDS)
        except (OSError, EOFError):
            self.end()
            raise ExtractorUnavailable(
                f"the process that reads {program.reads}s does not start within {memory_bytes:,} bytes of "
                f"memory and {_START_SECONDS:g} s; allow more, or see whether the packages of the "
                f"{program.extra} extra work"
            ) from None

    def _exchange(
        self, request: Mapping[str, Any], body: bytes, seconds: float, file: int | None = None
    ) -> tuple[dict[str, Any], bytes]:
        deadline = monotonic() + seconds
        extractor_process.send(self._line, dict(request), body, deadline)
        if file is not None:
            socket.send_fds(self._line, [b"\0"], [file])
        return extractor_process.receive(self._line, deadline)

    def ask(
        self, request: Mapping[str, Any], body: bytes, seconds: float, file: int | None = None
    ) -> tuple[dict[str, Any], bytes]:
        """Send one request and wait for its answer; a child that gives none in time is killed."""
        failure: _Died | ExtractionTimeout
        try:
            return self._exchange({**request, "seconds": seconds}, body, seconds, file)
        except TimeoutError:
            failure = ExtractionTimeout(f"reading the {self.program.reads} took longer than {seconds:g} s")
        except (OSError, EOFError, json.JSONDecodeError):
            failure = _Died()
        except BaseException:  # Ctrl-C: the next request must not get this one's answer
            self.end()
            raise
        self.end()
        raise failure

    @property
    def pid(self) -> int:
        """Return the child's process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Return whether the child still runs."""
        return self._process.poll() is None

    def end(self) -> None:
        """Kill the child, and whatever it may have started, and wait for its end."""
        self._line.close()
        if self.alive():
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def leave(self) -> None:
        """Forget a child of the process that this one was forked from."""
        self._line.close()
        self._process.returncode = 0  # it is not ours to wait for


def _temporary_folder() -> str:
    """Return a folder for children that nobody else can write to.

    A child unpacks its libraries into it and loads them from there. In one that is shared, whoever came first
    could have put another library in its place.
    """
    try:
        return _private_folder(Path(tempfile.gettempdir()))
    except OSError as error:
        reason = type(error).__name__
    raise ExtractorUnavailable(
        f"the processes that read files need a temporary folder that can be written to ({reason}); name one "
        "in TMPDIR"
    )


def _private_folder(temporary: Path) -> str:
    folder = temporary / f"database-handler-{os.getuid()}"
    with suppress(FileExistsError):
        folder.mkdir(0o700)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
        return str(folder)
    return tempfile.mkdtemp(prefix="database-handler-", dir=temporary)


class _Pool:
    """The children of this process that run one program."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._all: set[_Child] = set()
        self._idle: list[_Child] = []
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(PROCESSES)

    @contextmanager
    def child(self, memory_bytes: int) -> Iterator[_Child]:
        """Lend an idle child, or a new one; waits while all are busy."""
        with self._slots:
            child = self._take(memory_bytes) or self._start(memory_bytes)
            try:
                yield child
            finally:
                self._give_back(child)

    def _take(self, memory_bytes: int) -> _Child | None:
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.alive() and child.memory_bytes == memory_bytes:
                    return child
                self._drop(child)
        return None

    def _start(self, memory_bytes: int) -> _Child:
        child = _Child(self._program, memory_bytes)
        with self._lock:
            self._all.add(child)
        return child

    def _give_back(self, child: _Child) -> None:
        with self._lock:
            if child.alive():
                self._idle.append(child)
            else:
                self._drop(child)

    def _drop(self, child: _Child) -> None:
        self._all.discard(child)
        child.end()

    def pids(self) -> tuple[int, ...]:
        """Return the ids of the children."""
        with self._lock:
            return tuple(sorted(child.pid for child in self._all))

    def close(self) -> None:
        """End every child, the busy ones too."""
        with self._lock:
            self._idle.clear()
            for child in list(self._all):
                self._drop(child)

    def leave(self) -> None:
        """Forget every child, after a fork."""
        for child in self._all:
            child.leave()


_pools: dict[Program, _Pool] = {}


def _pool(program: Program) -> _Pool:
    return _pools.get(program) or _pools.setdefault(program, _Pool(program))  # setdefault: one wins a race


def ask(
    request: Mapping[str, Any],
    body: bytes,
    *,
    seconds: float,
    memory_bytes: int,
    program: Program = DOCUMENTS,
    file: int | None = None,
) -> tuple[dict[str, Any], bytes]:
    """Have a child do one request.

    Parameters
    ----------
    file : int, optional
        An open descriptor that the child gets too: it needs no right to open files, and reads the very file
        that was checked.

    Raises
    ------
    DamagedFile
        Two children died of it.
    ExtractionTimeout
        It gave no answer within `seconds`.
    MissingExtra
        The packages of the program's extra are not installed.
    """
    require(program)
    # A child that somebody killed while it was idle is no fault of the file: only the second one tells.
    for _ in range(2):
        with suppress(_Died), _pool(program).child(memory_bytes) as child:
            return child.ask(request, body, seconds, file)
    raise DamagedFile(f"the {program.reads} broke the program that reads it")


def processes() -> tuple[int, ...]:
    """Return the ids of the child processes that this process has now."""
    return tuple(sorted(pid for pool in list(_pools.values()) for pid in pool.pids()))


def close() -> None:
    """End the children now instead of at the end of this process; the next file starts new ones."""
    for pool in list(_pools.values()):
        pool.close()


def _after_fork() -> None:
    # The locks and the children are the parent's.
    for pool in _pools.values():
        pool.leave()
    _pools.clear()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(close)
