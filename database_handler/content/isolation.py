"""Documents are read in child processes with limits; one that dies or overruns costs one typed refusal.

At most `PROCESSES` children live at a time, each started when first needed and kept for the next document.
They end when this process ends, also by SIGKILL: their line closes. After a fork the child process starts
with none, and those of its parent stay the parent's.
"""

import atexit
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

from database_handler.content import extractor_process
from database_handler.content.errors import DamagedFile, ExtractionTimeout, ExtractorUnavailable
from database_handler.core.exceptions import MissingExtra

__all__ = ["PROCESSES", "ask", "available", "close", "processes", "require"]

PROCESSES = min(4, os.cpu_count() or 1)
_SCRIPT = Path(extractor_process.__file__)
_START_SECONDS = 30.0  # loading the extractor from a cold disk must not count against the first document


def available() -> bool:
    """Return whether the packages of the `documents` extra are installed."""
    return importlib.util.find_spec("kreuzberg") is not None


def require() -> None:
    """Raise `MissingExtra` unless the packages of the `documents` extra are installed."""
    if not available():
        raise MissingExtra(
            "this kind of document needs packages that are not installed: "
            "pip install 'database-handler[documents]'"
        )


class _Died(Exception):
    """The child was dead already, or died of this document."""


class _Child:
    """One running extractor and the line to it."""

    def __init__(self, memory_bytes: int) -> None:
        self.memory_bytes = memory_bytes
        self._line, theirs = socket.socketpair()
        with theirs:
            # -I: neither the environment nor the script's folder says what is imported; the paths are sent.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-X", "utf8", str(_SCRIPT)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"PATH": os.defpath},  # none of the application's secrets
                cwd="/",
                start_new_session=True,  # Ctrl-C at a terminal is the application's to handle
            )
        paths = [str(Path(entry).resolve()) for entry in sys.path if entry]
        try:
            self._exchange({"path": paths, "memory_bytes": memory_bytes}, b"", _START_SECONDS)
        except (OSError, EOFError):
            self.end()
            raise ExtractorUnavailable(
                f"the process that reads documents does not start within {memory_bytes:,} bytes of memory "
                f"and {_START_SECONDS:g} s"
            ) from None

    def _exchange(
        self, request: Mapping[str, Any], body: bytes, seconds: float
    ) -> tuple[dict[str, Any], bytes]:
        deadline = monotonic() + seconds
        extractor_process.send(self._line, dict(request), body, deadline)
        return extractor_process.receive(self._line, deadline)

    def ask(self, request: Mapping[str, Any], body: bytes, seconds: float) -> tuple[dict[str, Any], bytes]:
        """Send one request and wait for its answer; a child that gives none in time is killed."""
        failure: _Died | ExtractionTimeout
        try:
            return self._exchange({**request, "seconds": seconds}, body, seconds)
        except TimeoutError:
            failure = ExtractionTimeout(f"reading the document took longer than {seconds:g} s")
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
        """Kill the child and wait for its end."""
        self._line.close()
        self._process.kill()
        self._process.wait()

    def leave(self) -> None:
        """Forget a child of the process that this one was forked from."""
        self._line.close()
        self._process.returncode = 0  # it is not ours to wait for


class _Pool:
    """The children of this process."""

    def __init__(self) -> None:
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
        child = _Child(memory_bytes)
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


_pool = _Pool()


def ask(
    request: Mapping[str, Any], body: bytes, *, seconds: float, memory_bytes: int
) -> tuple[dict[str, Any], bytes]:
    """Have a child do one request.

    Raises
    ------
    DamagedFile
        Two children died of it.
    ExtractionTimeout
        It gave no answer within `seconds`.
    MissingExtra
        The packages of the `documents` extra are not installed.
    """
    require()
    # A child that somebody killed while it was idle is no fault of the document: only the second one tells.
    for _ in range(2):
        with suppress(_Died), _pool.child(memory_bytes) as child:
            return child.ask(request, body, seconds)
    raise DamagedFile("the document broke the program that reads it")


def processes() -> tuple[int, ...]:
    """Return the ids of the child processes that this process has now."""
    return _pool.pids()


def close() -> None:
    """End the children now instead of at the end of this process; the next document starts new ones."""
    _pool.close()


def _after_fork() -> None:
    global _pool  # noqa: PLW0603 - the locks and the children are the parent's
    _pool.leave()
    _pool = _Pool()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(close)
