"""A file is opened once, never through a link, and its size and checksum are counted from the bytes read.

`O_NOFOLLOW` refuses a link, `O_NONBLOCK` keeps a pipe or a device from holding the caller up, and the kind
of the file is asked of the open descriptor, so that nothing can be put in its place in between. With a
folder given as the root, each step of the way below it is opened like that.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from database_handler.content.errors import EmptyFile, FileTooLarge, NotARegularFile, UnreadableFile
from database_handler.utils.arguments import checked

__all__ = [
    "FOLDER_FLAGS",
    "Fingerprint",
    "Original",
    "Readable",
    "chunks",
    "fingerprint",
    "open_below",
    "open_regular",
    "read_original",
]

_CHUNK = 1 << 20
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_REGULAR = (errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EISDIR, errno.ENOTDIR)
FOLDER_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


@runtime_checkable
class Readable(Protocol):
    """Anything that gives bytes: an open file, a socket's file, `io.BytesIO`."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and none at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The size and the SHA-256 (64 hexadecimal digits) of a file's bytes."""

    size_bytes: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Original:
    """A file's bytes as they were read, with what was counted on the way."""

    data: bytes
    checksum: str
    filename: str | None = None

    @property
    def size_bytes(self) -> int:
        """Return how many bytes there are."""
        return len(self.data)


@contextmanager
def open_regular(path: str | Path, *, root: Path | None = None) -> Iterator[BinaryIO]:
    """Open a regular file for reading, or refuse it by name of what is wrong.

    Parameters
    ----------
    path : str or Path
        Without `root`, any path, whose folders may be links as usual. With it, relative to the root.
    root : Path, optional
        The folder that the file must lie in: no step below it may be a link, and none leads upwards.

    Raises
    ------
    NotARegularFile, UnreadableFile
    """
    descriptor = _open(Path(path), root)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotARegularFile
    with os.fdopen(descriptor, "rb") as file:
        yield file


def _open(path: Path, root: Path | None) -> int:
    try:
        return os.open(path, _FLAGS) if root is None else open_below(path, root)
    except (OSError, ValueError) as error:
        failure = _refused(error)
    raise failure


def open_below(path: Path, root: Path) -> int:
    """Open what lies below a folder, no step of the way through a link; an `OSError` comes as it is."""
    if path.is_absolute() or ".." in path.parts:
        raise NotARegularFile("the path leads out of the folder; only files below it are read")
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for step in path.parts[:-1]:
            below = os.open(step, FOLDER_FLAGS, dir_fd=folder)
            os.close(folder)
            folder = below
        return os.open(path.name, _FLAGS, dir_fd=folder)
    finally:
        os.close(folder)


def _refused(error: OSError | ValueError) -> NotARegularFile | UnreadableFile:
    # ELOOP is what O_NOFOLLOW says of a link, ENXIO what a socket or a device without a driver says;
    # ValueError is a NUL, or half of a surrogate pair, in the path.
    if not isinstance(error, OSError):
        return UnreadableFile("the file cannot be read: its path holds a NUL character, or is not Unicode")
    if error.errno in _NOT_REGULAR:
        return NotARegularFile()
    return UnreadableFile(f"the file cannot be read: {os.strerror(error.errno or 0).lower()}")


def chunks(source: Readable, limit: int) -> Iterator[bytes]:
    """Give a source's bytes piece by piece; counted here, since what a system says of a size may be wrong.

    Raises
    ------
    FileTooLarge, UnreadableFile
    """
    left = limit
    while chunk := _read(source, min(_CHUNK, left + 1)):
        left -= len(chunk)
        if left < 0:
            raise _too_large(limit)
        yield chunk


def _refuse_large(file: BinaryIO, limit: int) -> None:
    """Refuse what the system says is too large, without reading it; it is counted all the same."""
    if os.fstat(file.fileno()).st_size > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> FileTooLarge:
    return FileTooLarge(f"the file is larger than {limit:,} bytes")


def _read(source: Readable, size: int) -> bytes:
    try:
        chunk: object = source.read(size)
    except OSError as error:
        failure = UnreadableFile(f"the file cannot be read: {os.strerror(error.errno or 0).lower()}")
    else:
        if isinstance(chunk, bytes | bytearray | memoryview):
            return bytes(chunk)
        failure = UnreadableFile("the stream gives no bytes; open the file in binary mode")
    raise failure


@checked
def fingerprint(path: str | Path, *, limit: int, root: Path | None = None) -> Fingerprint:
    """Return a file's size and checksum without keeping its bytes.

    Raises
    ------
    EmptyFile, FileTooLarge, NotARegularFile, UnreadableFile
    """
    digest, size = hashlib.sha256(), 0
    with open_regular(path, root=root) as file:
        _refuse_large(file, limit)
        for chunk in chunks(file, limit):
            digest.update(chunk)
            size += len(chunk)
    if not size:
        raise EmptyFile
    return Fingerprint(size, digest.hexdigest())


@checked
def read_original(
    source: str | Path | bytes | Readable,
    *,
    limit: int,
    filename: str | None = None,
    root: Path | None = None,
) -> Original:
    """Read a file, a stream or bytes whole, at most `limit` bytes of it.

    Raises
    ------
    EmptyFile, FileTooLarge, NotARegularFile, UnreadableFile
    """
    if isinstance(source, str | Path):
        with open_regular(source, root=root) as file:
            _refuse_large(file, limit)
            data = b"".join(chunks(file, limit))
        filename = filename or Path(source).name
    elif isinstance(source, bytes | bytearray | memoryview):
        if memoryview(source).nbytes > limit:
            raise _too_large(limit)
        data = bytes(source)
    else:
        data = b"".join(chunks(source, limit))
    if not data:
        raise EmptyFile
    return Original(data, hashlib.sha256(data).hexdigest(), filename)
