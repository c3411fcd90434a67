"""The collector of cycles waits while many objects are made that are all kept.

Each pass over the heap costs about 100 ms a million objects, a load of 10,000 rows brings about two, and none
can find anything: what the block makes is referred to (docs/decisions/0046-read-path.md).
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["MANY", "collector_waiting"]

MANY: Final = 1_000
"""Rows from which a pass of the collector is likely; fewer are made before it comes by."""


@contextmanager
def collector_waiting(rows: int) -> Iterator[None]:
    """Put off automatic collections during a block that makes objects of so many rows, and waits for nothing.

    They are the whole process's, so the block must not wait for a server, a lock, or a caller's own code.
    Where the program has turned them off itself, or another thread is in such a block, it leaves them alone.
    """
    if rows < MANY or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
