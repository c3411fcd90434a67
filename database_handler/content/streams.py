"""Bytes go out to a path or stream and come in from one: whole or not at all, compressed or not.

A path gets its name only when all of it is on the disk. What is read says by its first bytes whether it is
compressed. Zstandard is pyarrow's, of the extra `parquet`.
"""

import gzip
import io
import os
import secrets
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from database_handler.content.errors import NotARegularFile, Refusal, UnreadableFile
from database_handler.content.files import Readable, open_regular
from database_handler.core.exceptions import InvalidValue, MissingExtra

__all__ = [
    "DAMAGED",
    "LONGEST_LINE",
    "MOST_VALUES",
    "UnwritableFile",
    "Writable",
    "arrow",
    "holds_too_much",
    "opened_for_reading",
    "opened_for_writing",
    "put",
    "replacing",
    "shown",
    "why",
    "writing",
]

LONGEST_LINE = 256 * 1024 * 1024  # bytes; a statement's parameters may have as many
MOST_VALUES = 2_100_000  # a little more than the JSON of a row may have
DAMAGED = (EOFError, zlib.error, gzip.BadGzipFile)
"""What reading of compressed data raises that is damaged or was cut short."""

_LARGE = 4 * 1024 * 1024  # bytes from which a line's values are counted before they are made
_LONGEST_REASON = 300  # characters
_CHUNK = 1 << 18
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class UnwritableFile(Refusal, reason="unwritable"):
    """The file cannot be written."""


class Writable(Protocol):
    """Anything that takes bytes: a file opened for writing in binary mode, `io.BytesIO`."""

    def write(self, data: bytes, /) -> object:
        """Take bytes; return how many, or nothing where it takes all."""
        ...


def shown(text: str) -> str:
    """Return a text that can stand in a message: short, and without what is no letter or sign."""
    short = text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} ..."
    return "".join(sign if sign.isprintable() else "?" for sign in short)


def why(error: OSError) -> str:
    """Return what the system calls an error, without its path."""
    return os.strerror(error.errno or 0).lower()


def holds_too_much(line: bytes) -> bool:
    """Count the values of a large JSON line without making them: each may take twenty times its bytes."""
    if len(line) <= _LARGE:
        return False
    bare = line.replace(b"\\\\", b"").replace(b'\\"', b"")
    if bare.count(b'"') > 4 * MOST_VALUES:
        return True
    outside = bare.split(b'"')[::2]
    return sum(part.count(sign) for part in outside for sign in (b",", b"[", b"{")) > MOST_VALUES


def arrow(doing: str) -> Any:
    """Import pyarrow.

    Raises
    ------
    MissingExtra
        It is not installed.
    """
    try:
        import pyarrow
    except ImportError:
        missing = MissingExtra(f"{doing} needs: pip install 'database-handler[parquet]'")
    else:
        return pyarrow
    raise missing


# --------------------------------------------------------------------------------------------------- writing


def put(stream: Writable, data: bytes) -> None:
    """Write all of the data, or say by our error that the stream does not take it."""
    left = memoryview(data)
    try:
        while left:
            # A stream without a buffer may take less than it was given, and says how much.
            taken = stream.write(bytes(left) if len(left) < len(data) else data)
            left = left[taken:] if isinstance(taken, int) and 0 < taken < len(left) else left[len(left) :]
    except OSError as error:
        failure: Exception = UnwritableFile(f"the file cannot be written: {why(error)}")
    except (TypeError, AttributeError):
        failure = InvalidValue("a path, or a stream that was opened for writing in binary mode, is wanted")
    else:
        return
    raise failure


@contextmanager
def opened_for_writing(target: str | os.PathLike[str] | Writable) -> Iterator[Writable]:
    """Give the stream to write to: for a path, a file that gets its name only when all of it is on the disk.

    A path that ends in ``.gz`` or ``.zst`` is compressed. A stream is the caller's, and stays open.

    Raises
    ------
    UnwritableFile, NotARegularFile
        The folder does not take a file, or something other than a regular file has that name.
    """
    if not isinstance(target, str | os.PathLike):
        yield target
        return
    path = Path(target)
    with replacing(path) as file:
        packed = _packing(path.suffix.lower(), file)
        try:
            yield packed
        except BaseException:
            with suppress(OSError):
                if packed is not file:
                    packed.close()
            raise
        if packed is not file:
            with writing():
                packed.close()


def _packing(suffix: str, file: BinaryIO) -> Any:
    if suffix == ".gz":
        # Without a name and a time in it: the same rows make the same file.
        return gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0)
    if suffix == ".zst":
        return arrow("Zstandard").CompressedOutputStream(_LeftOpen(file), "zstd")
    return file


class _LeftOpen(io.RawIOBase):
    """A file whose end is not the end of what is packed into it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._file.write(data)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write beside the path, under a name of its own, and rename at the end; a failure leaves nothing."""
    partial = path.parent / f".{secrets.token_hex(8)}.partial"
    with writing():
        _refuse_special(path)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(partial, flags, 0o666)
    file = os.fdopen(descriptor, "wb", buffering=_CHUNK)
    try:
        yield file
        with writing():
            file.flush()
            os.fsync(file.fileno())
            file.close()
            partial.replace(path)
            _sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            file.close()
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextmanager
def writing() -> Iterator[None]:
    """Tell by `UnwritableFile` what the system says of a file that it does not take."""
    try:
        yield
    except OSError as error:
        failure = UnwritableFile(f"the file cannot be written: {why(error)}")
    except ValueError:
        failure = UnwritableFile("the file cannot be written: its path holds a NUL character")
    else:
        return
    raise failure


def _refuse_special(path: Path) -> None:
    """Keep a device, a pipe or a link from being replaced by a file."""
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise NotARegularFile("something that is no regular file has this name; give its stream instead")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --------------------------------------------------------------------------------------------------- reading


@contextmanager
def opened_for_reading(source: str | os.PathLike[str] | Readable) -> Iterator[BinaryIO]:
    """Give the bytes of a file or stream, unpacked where they are gzip's or Zstandard's.

    Raises
    ------
    UnreadableFile, NotARegularFile
        A path that is not there or no regular file.
    """
    if isinstance(source, str | os.PathLike):
        with open_regular(Path(source)) as file:
            yield _unpacked(file)
        return
    given: object = source
    if isinstance(given, io.TextIOBase) or not callable(getattr(given, "read", None)):
        raise InvalidValue("a path, or a stream that was opened for reading in binary mode, is wanted")
    yield _unpacked(source)


def _unpacked(source: Readable) -> BinaryIO:
    raw = io.BufferedReader(_Raw(source), _CHUNK)
    try:
        begins = raw.peek(4)[:4]
    except OSError as error:
        failure = UnreadableFile(f"the file cannot be read: {why(error)}")
    else:
        if begins.startswith(_GZIP):
            return io.BufferedReader(gzip.GzipFile(fileobj=raw, mode="rb"), _CHUNK)
        return io.BufferedReader(_Unpacking(raw), _CHUNK) if begins == _ZSTD else raw
    raise failure


class _Raw(io.RawIOBase):
    """What has nothing but `read`, as a raw stream."""

    def __init__(self, source: Readable) -> None:
        self._source = source

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk: object = self._source.read(len(buffer))
        if not isinstance(chunk, bytes | bytearray | memoryview) or len(chunk) > len(buffer):
            raise InvalidValue(
                "the stream gives no bytes, or more than were asked for; open it in binary mode"
            )
        buffer[: len(chunk)] = chunk
        return len(chunk)


class _Unpacking(_Raw):
    """What Zstandard packed; its errors are told as gzip's are."""

    def __init__(self, raw: BinaryIO) -> None:
        pyarrow = arrow("Zstandard")
        self._errors = (pyarrow.ArrowException, OSError)
        super().__init__(pyarrow.CompressedInputStream(raw, "zstd"))

    def readinto(self, buffer: Any) -> int:
        try:
            return super().readinto(buffer)
        except self._errors as error:
            damaged = EOFError(type(error).__name__)
        raise damaged
