"""A file store in a local folder: a file is there whole, or not at all, also after a power cut.

What is put is written to a file of its own below ``unfinished``, flushed to the disk, and renamed; then the
folder is flushed. The writer holds a lock on its file, which the kernel takes back when it dies, so that
what a killed process left can be told from what is being written. No step below the store's folder is taken
through a link, and nobody but the owner may read what is made here.
"""

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time
from typing import BinaryIO

from database_handler.content.errors import StoreUnavailable
from database_handler.content.files import FOLDER_FLAGS, open_below

__all__ = ["Folder"]

_MODE, _FOLDER_MODE = 0o600, 0o700
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_UNFINISHED = "unfinished"
_FRESH = 60.0  # seconds; a writer takes its lock a moment after it made its file


class Folder:
    """A place for files below one folder, which is made when something is first put there."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __repr__(self) -> str:
        return repr(str(self._root))

    @contextmanager
    def draft(self) -> Iterator[tuple[BinaryIO, str]]:
        """Give a file to write to, and its name for `publish`; it is gone afterwards unless published."""
        name = f"{_UNFINISHED}/{secrets.token_hex(16)}"
        with _told("write"), self._below(_UNFINISHED, make=True) as folder:
            descriptor = os.open(Path(name).name, _NEW, _MODE, dir_fd=folder)
            with os.fdopen(descriptor, "wb") as file:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                try:
                    yield file, name
                finally:
                    with suppress(FileNotFoundError):
                        os.unlink(Path(name).name, dir_fd=folder)

    def publish(self, draft: BinaryIO, draft_name: str, name: str) -> None:
        """Give what was written its name, for good."""
        with _told("write"):
            draft.flush()
            os.fsync(draft.fileno())
            self._rename(draft_name, name)

    def _rename(self, old: str, new: str) -> None:
        source, target = Path(old), Path(new)
        with (
            self._below(str(source.parent)) as origin,
            self._below(str(target.parent), make=True) as folder,
        ):
            os.rename(source.name, target.name, src_dir_fd=origin, dst_dir_fd=folder)
            os.fsync(folder)

    @contextmanager
    def _below(self, path: str, *, make: bool = False) -> Iterator[int]:
        """Give the descriptor of a folder of the store, each step opened without following a link."""
        if make:
            self._root.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
        folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for step in Path(path).parts:
                if make:
                    _make(step, folder)
                below = os.open(step, FOLDER_FLAGS, dir_fd=folder)
                os.close(folder)
                folder = below
            yield folder
        finally:
            os.close(folder)

    def read(self, name: str) -> BinaryIO | None:
        """Open a file, or give None where it is not."""
        with _told("read"):
            try:
                return os.fdopen(open_below(Path(name), self._root), "rb")
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
        return None

    def names(self, folder: str) -> list[tuple[str, int]]:
        """List the files of one folder in order: each name with its size."""
        with _told("list"):
            try:
                with self._below(folder) as descriptor, os.scandir(descriptor) as entries:
                    files = [entry for entry in entries if entry.is_file(follow_symlinks=False)]
                    return sorted((f"{folder}/{file.name}", _size(file)) for file in files)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
        return []

    def folders(self, folder: str) -> list[str]:
        """List the folders of one folder in order."""
        with _told("list"):
            try:
                with self._below(folder) as descriptor, os.scandir(descriptor) as entries:
                    return sorted(f"{folder}/{e.name}" for e in entries if e.is_dir(follow_symlinks=False))
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
        return []

    def remove(self, name: str) -> bool:
        """Take a file away, and tell whether it was there."""
        path = Path(name)
        with _told("delete"):
            try:
                with self._below(str(path.parent)) as folder:
                    os.unlink(path.name, dir_fd=folder)
                    return True
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise
        return False

    def move(self, old: str, new: str) -> bool:
        """Give a file another name, and tell whether it was there."""
        with _told("move"):
            try:
                self._rename(old, new)
            except FileNotFoundError:
                return False
        return True

    def clear_unfinished(self) -> int:
        """Remove what writers that died left behind, and tell how many there were."""
        return sum(map(self._clear, [name for name, _ in self.names(_UNFINISHED)]))

    def _clear(self, name: str) -> bool:
        file = self.read(name)
        if file is None:
            return False
        with file:
            if time() - os.fstat(file.fileno()).st_mtime < _FRESH:
                return False
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # it is being written
                return False
            return self.remove(name)


def _make(step: str, folder: int) -> None:
    with suppress(FileExistsError):
        os.mkdir(step, _FOLDER_MODE, dir_fd=folder)
        os.fsync(folder)


def _size(entry: "os.DirEntry[str]") -> int:
    with suppress(FileNotFoundError):  # it went while the folder was read
        return entry.stat(follow_symlinks=False).st_size
    return 0


@contextmanager
def _told(doing: str) -> Iterator[None]:
    """Raise `StoreUnavailable` in place of the system's error, without the path in it."""
    try:
        yield
        return
    except OSError as error:
        failure = StoreUnavailable(f"the file store cannot {doing}: {os.strerror(error.errno or 0).lower()}")
    raise failure
