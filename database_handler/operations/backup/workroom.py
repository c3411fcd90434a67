"""A folder of a run's own for what must be a file on this machine; what killed runs left goes with the next.

Its owner holds a lock on a file in it, which the kernel takes back when it dies.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time

__all__ = ["workroom"]

_PREFIX = "database-handler-backup-"
_LOCK = "lock"
_FRESH = 60.0  # seconds; a run takes its lock a moment after it made its folder


@contextmanager
def workroom() -> Iterator[Path]:
    """Give a folder of mode 0700 below the system's temporary folder; it is gone afterwards."""
    above = Path(tempfile.gettempdir())
    _clear(above)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getuid()}-", dir=above))
    try:
        lock = os.open(folder / _LOCK, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield folder
        finally:
            os.close(lock)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _clear(above: Path) -> None:
    """Remove the folders of this user whose owner is gone."""
    for folder in above.glob(f"{_PREFIX}{os.getuid()}-*"):
        with suppress(OSError):
            entry = folder.lstat()
            if entry.st_uid == os.getuid() and time() - entry.st_mtime > _FRESH and not _is_held(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_held(folder: Path) -> bool:
    try:
        lock = os.open(folder / _LOCK, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False
