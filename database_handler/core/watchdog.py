"""One thread cuts every connection whose call outlives its deadline; a guarded call starts no thread.

A frozen server defeats the server's timeouts and TCP's, and closing a connection from another thread
waits for the call that hangs. What ends such a call, under TLS too, is a shutdown of its socket through a
duplicate of the descriptor, so each connection gets a `Fuse` when it is made.

The deadlines stand in a dict of the calls under way, never more than there are connections, so taking one
out is exact and leaves nothing behind, as a heap with cancelled entries would.
"""

import os
import socket
from contextlib import suppress
from math import inf
from queue import Empty, SimpleQueue
from threading import RLock, Thread
from time import monotonic
from types import TracebackType

__all__ = ["Fuse", "Guard"]


class Fuse:
    """Cuts a connection from any thread, without waiting for the call that is using it.

    Parameters
    ----------
    descriptor : int
        The connection's socket; it is duplicated, and stays the caller's.

    Attributes
    ----------
    blown : bool
        Whether the connection was cut here: it is of no use then, even where its last call succeeded.
    """

    __slots__ = ("__weakref__", "_descriptor", "blown")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = -1  # so that a failing dup leaves nothing for __del__ to close
        self.blown = False
        self._descriptor = os.dup(descriptor)

    def guard(self, seconds: float) -> "Guard":
        """Return a context manager that cuts the connection when its block takes longer than `seconds`."""
        return Guard(self, monotonic() + seconds)

    def blow(self) -> None:
        """Cut the connection: a call that waits on it returns as if the server had gone."""
        # The lock keeps `close` from giving the descriptor's number to another file in between.
        with _watchdog.lock:
            if self._descriptor < 0:
                return
            self.blown = True
            duplicate = socket.socket(fileno=self._descriptor)
            with suppress(OSError):
                duplicate.shutdown(socket.SHUT_RDWR)
            duplicate.detach()

    def close(self) -> None:
        """Give the duplicate back; the connection itself is left alone."""
        with _watchdog.lock:
            descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        # Without the lock: nobody else can hold this fuse, and a collection may run under that lock.
        if self._descriptor >= 0:
            os.close(self._descriptor)


class Guard:
    """A deadline for one block; once the block is left, it never fires."""

    __slots__ = ("deadline", "fuse")

    def __init__(self, fuse: Fuse, deadline: float) -> None:
        self.fuse = fuse
        self.deadline = deadline

    # These two run around every statement, so they do the watchdog's part in place.

    def __enter__(self) -> None:
        watchdog = _watchdog
        with watchdog.lock:
            watchdog.armed[self] = self.deadline
            # Calls mostly share one length, so the thread is awake in time already and is left asleep.
            if self.deadline < watchdog.wakes_at:
                watchdog.wake_by(self.deadline)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _watchdog.lock:
            _watchdog.armed.pop(self, None)


class _Watchdog:
    def __init__(self) -> None:
        # Reentrant, because a finaliser that runs while it is held may use a guard of its own.
        self.lock = RLock()
        self.armed: dict[Guard, float] = {}
        self.wakes_at = inf
        # Not a condition, which forgets who rang while nobody waited: a finaliser that the collector runs in
        # the watchdog's own thread, just before it waits, would have everybody's deadlines forgotten.
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._thread: Thread | None = None

    def wake_by(self, deadline: float) -> None:
        """Have the thread, started when there is none, look no later than at `deadline`."""
        self.wakes_at = deadline
        self._bell.put(None)
        if self._thread is None:
            self._thread = thread = Thread(target=self._run, name="database-handler-watchdog", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # at the interpreter's end none starts any more; the call goes unguarded
                self._thread = None

    def _run(self) -> None:
        while True:
            with self.lock:
                self._cut_overdue()
                self.wakes_at = wakes_at = min(self.armed.values(), default=inf)
            sleep = None if wakes_at == inf else max(0, min(wakes_at - monotonic(), _LONGEST_SLEEP))
            with suppress(Empty):
                self._bell.get(timeout=sleep)

    def _cut_overdue(self) -> None:
        now = monotonic()
        for guard, deadline in list(self.armed.items()):
            if deadline <= now:
                self.armed.pop(guard, None)
                guard.fuse.blow()


_LONGEST_SLEEP = 3600.0  # far below what the platform's wait can take


_watchdog = _Watchdog()

# A child has no watchdog thread, and perhaps a lock that nobody will release.
os.register_at_fork(after_in_child=_watchdog.__init__)  # type: ignore[misc]  # reset in place: guards hold it
