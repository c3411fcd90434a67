"""Many rows become objects: by one thread at a time, a slice at a time, while the collector of cycles waits.

A pass over the heap costs about 100 ms a million objects, a load of 10,000 rows brings about two, and none
can find anything: what is made is referred to (docs/decisions/0046-read-path.md). Threads that compute at the
same moment gain nothing, for Python has one lock, and keep everybody else from it: an event loop that wants
it waits for each of them in turn (docs/decisions/0040-asyncio.md).
"""

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import RLock, get_ident
from time import sleep
from typing import Final, TypeVar

__all__ = ["MANY", "SLICE", "collector_waiting", "made", "pass_on"]

T = TypeVar("T")
S = TypeVar("S")

MANY: Final = 1_000
"""Rows from which a pass of the collector is likely; fewer are made before it comes by."""

SLICE: Final = 10_000
"""Rows that are made at a time, at most, before another thread has its turn."""

_PASSED_ON: Final = 0.0001  # seconds in which whoever waits for its turn wakes up and takes it


class _Turn:
    """Who makes objects of many rows now, and whether the collector waits for it."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.waits_for: int | None = None

    def forget(self) -> None:
        """Give up, in a forked child, what another thread held in the parent."""
        if self.waits_for == get_ident():
            return
        if self.waits_for is not None:
            gc.enable()
        self.__init__()  # type: ignore[misc]


_turn = _Turn()
os.register_at_fork(after_in_child=_turn.forget)


@contextmanager
def collector_waiting(rows: int) -> Iterator[None]:
    """Put off automatic collections during a block that makes objects of so many rows, and waits for nothing.

    They are the whole process's, so the block must not wait for a server, a lock, or a caller's own code. It
    runs in one thread at a time. Where the program has turned collections off itself, they stay off.
    """
    if rows < MANY:
        yield
        return
    with _turn.lock:
        if not gc.isenabled():
            yield
            return
        _turn.waits_for = get_ident()
        gc.disable()
        try:
            yield
        finally:
            gc.enable()
            _turn.waits_for = None


def made(make: Callable[[T], S], rows: Sequence[T]) -> list[S]:
    """Make an object of each row; `make` waits for nothing."""
    if len(rows) < MANY:
        return [*map(make, rows)]
    found: list[S] = []
    for start in range(0, len(rows), SLICE):
        if start:
            pass_on()
        part = rows[start : start + SLICE]
        with collector_waiting(max(len(part), MANY)):
            found += map(make, part)
    return found


def pass_on() -> None:
    """Let another thread have its turn: a lock that is taken again at once is not given to who waits."""
    sleep(_PASSED_ON)
