"""Originals are kept under their SHA-256: what is asked for by its checksum comes back so, or as an error.

A file's name is made from its content (``sha256/ab/cd/<64 hexadecimal digits>``), so equal files are one
file, a stored file never changes, and no name from outside reaches the store. A row refers to it by a URI
without the store's place (``store:sha256/...``), so that the store can be moved. Every file is made whole or
not at all, and checked when it is read.

A local folder needs nothing more; anything else goes through fsspec (the ``storage`` extra).
"""

import hashlib
import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

from database_handler.config.files import FilesConfig
from database_handler.content.errors import (
    FileDamaged,
    FileMissing,
    FileTooLarge,
    StoreError,
    StoreUnavailable,
)
from database_handler.content.files import Readable, chunks, open_regular
from database_handler.content.store_folder import Folder
from database_handler.core.exceptions import ConfigurationError, InvalidValue
from database_handler.utils.arguments import checked
from database_handler.utils.text import verbatim

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["FOLDERS", "SCHEME", "FileStore", "Place", "StoredFile", "checksum_of", "uri_of"]

SCHEME: Final = "store:"
FOLDERS: Final = tuple(f"{number:02x}" for number in range(256))
"""The first two digits of every checksum: the store's outermost folders."""
_URI: Final = re.compile(r"store:sha256/([0-9a-f]{2})/([0-9a-f]{2})/(\1\2[0-9a-f]{60})")
_NAME: Final = re.compile(r"sha256/([0-9a-f]{2})/([0-9a-f]{2})/(\1\2[0-9a-f]{60})")
_ASIDE: Final = "aside"
_OWNERS: Final = "owners"
_UNLIMITED: Final = 1 << 62
_PIECE: Final = 1 << 18


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the store: what a row refers to it by, its SHA-256 (64 hexadecimal digits), and its size."""

    uri: str
    checksum: str
    size_bytes: int


def uri_of(checksum: str) -> str:
    """Return what a row refers to a file by."""
    return SCHEME + _name_of(checksum)


@checked
def checksum_of(uri: str) -> str:
    """Return the checksum that a ``store:`` URI names; any other text is an `InvalidValue`."""
    if found := _URI.fullmatch(uri):
        return found[3]
    raise InvalidValue("a file in the store is named store:sha256/ab/cd/ and 64 hexadecimal digits")


def _name_of(checksum: str) -> str:
    return f"sha256/{checksum[:2]}/{checksum[2:4]}/{checksum}"


class Place(Protocol):
    """Where files lie: what a store needs of a folder or of a file system."""

    def draft(self) -> AbstractContextManager[tuple[BinaryIO, str]]:
        """Give a file to write to, and its name for `publish`."""
        ...

    def publish(self, draft: BinaryIO, draft_name: str, name: str) -> None:
        """Give what was written its name."""

    def read(self, name: str) -> BinaryIO | None:
        """Open a file, or give None where it is not."""
        ...

    def names(self, folder: str) -> list[tuple[str, int]]:
        """List the files of a folder: each name with its size."""
        ...

    def folders(self, folder: str) -> list[str]:
        """List the folders of a folder."""
        ...

    def remove(self, name: str) -> bool:
        """Take a file away, and tell whether it was there."""
        ...

    def move(self, old: str, new: str) -> bool:
        """Give a file another name, and tell whether it was there."""
        ...

    def clear_unfinished(self) -> int:
        """Remove what writers that died left behind."""
        ...


class FileStore:
    """Keeps files under their SHA-256.

    It may be used by any number of threads and processes at once, also after a fork.

    Parameters
    ----------
    url : str or Path
        A folder (or ``file:///folder``), which is made when something is first put there; or a URL that
        fsspec reads, such as ``s3://bucket/prefix`` or ``memory://name``.
    options : mapping, optional
        What fsspec gives to the file system, such as ``{"key": ..., "secret": ...}``; not for a folder.

    Raises
    ------
    MissingExtra
        The URL needs fsspec, or a package that fsspec needs for it, and that is not installed.
    """

    def __init__(self, url: str | Path, options: Mapping[str, Any] | None = None) -> None:
        self.url = FilesConfig(store_url=str(url) if isinstance(url, Path) else url).store_url or ""
        self._place = _place(self.url, options)
        self._claimed: set[str] = set()

    def __repr__(self) -> str:
        return f"FileStore({self.url!r})"

    @property
    def place(self) -> Place:
        """Where its files lie, for what keeps other files beside them."""
        return self._place

    # --------------------------------------------------------------------------------------------- in, out

    @checked
    def put(
        self,
        source: str | Path | bytes | Readable,
        *,
        limit: int | None = None,
        ready: Callable[[str], object] | None = None,
    ) -> StoredFile:
        """Keep a file; its size and checksum are counted from the bytes as they pass.

        A file that is there already is read, and kept when it is whole; a damaged one is replaced.

        Parameters
        ----------
        source : path, bytes or binary stream
            A path must lead to a regular file, not to a link.
        limit : int, optional
            The most bytes that are taken.
        ready : callable, optional
            Called with the checksum when all was read and before the file gets its name.

        Raises
        ------
        FileTooLarge, NotARegularFile, UnreadableFile
            About the source.
        StoreUnavailable
            The store cannot be written.
        """
        most = _UNLIMITED if limit is None else limit
        if isinstance(source, bytes | bytearray | memoryview):
            return self._put_bytes(source, most, ready or _nothing)
        if isinstance(source, str | Path):
            with open_regular(source) as file:
                return self._put_stream(file, most, ready or _nothing)
        return self._put_stream(source, most, ready or _nothing)

    def _put_bytes(
        self, data: bytes | bytearray | memoryview, limit: int, ready: Callable[[str], object]
    ) -> StoredFile:
        size, checksum = memoryview(data).nbytes, hashlib.sha256(data).hexdigest()
        if size > limit:
            raise FileTooLarge(f"the file is larger than {limit:,} bytes")
        ready(checksum)
        if not self._is_whole(checksum):
            with self._place.draft() as (draft, name):
                draft.write(data)
                self._place.publish(draft, name, _name_of(checksum))
        return StoredFile(uri_of(checksum), checksum, size)

    def _put_stream(self, source: Readable, limit: int, ready: Callable[[str], object]) -> StoredFile:
        digest, size = hashlib.sha256(), 0
        with self._place.draft() as (draft, name):
            for piece in chunks(source, limit):
                digest.update(piece)
                size += len(piece)
                draft.write(piece)
            checksum = digest.hexdigest()
            ready(checksum)
            if not self._is_whole(checksum):
                self._place.publish(draft, name, _name_of(checksum))
        return StoredFile(uri_of(checksum), checksum, size)

    def _is_whole(self, checksum: str) -> bool:
        try:
            self.verify(uri_of(checksum))
        except (FileMissing, FileDamaged):
            return False
        return True

    def open(self, uri: str, checksum: str | None = None) -> BinaryIO:
        """Open a file for reading; what is read of it is checked on the way.

        The last piece (256 KiB) is given out only when all of the file has turned out to be what was put,
        so who reads to the end has the right bytes, and a file of one piece is checked before its first.

        Parameters
        ----------
        checksum : str, optional
            What the row says; it is compared with what the URI says.

        Raises
        ------
        FileMissing
        FileDamaged
            Here, or from a later read.
        StoreUnavailable
        """
        named = checksum_of(uri)
        if checksum is not None and checksum != named:
            raise FileDamaged("the row's checksum is not that of the file it refers to", checksum=named)
        file = self._place.read(_name_of(named))
        if file is None:
            raise FileMissing(f"the file {named} is not in the store", checksum=named)
        return io.BufferedReader(_Verified(file, named), _PIECE)

    def read(self, uri: str, checksum: str | None = None) -> bytes:
        """Return the bytes of a file, checked."""
        with self.open(uri, checksum) as file:
            return file.read()

    def verify(self, uri: str) -> int:
        """Read a file through and return its size, or raise `FileMissing` or `FileDamaged`."""
        with self.open(uri) as file:
            return sum(map(len, iter(lambda: file.read(_PIECE), b"")))

    def exists(self, uri: str) -> bool:
        """Tell whether a file is there; whether it is whole, `verify` tells."""
        file = self._place.read(_name_of(checksum_of(uri)))
        if file is None:
            return False
        file.close()
        return True

    def delete(self, uri: str) -> bool:
        """Take a file away whatever refers to it, and tell whether it was there; see `Files.sweep`."""
        return self._place.remove(_name_of(checksum_of(uri)))

    @checked
    def iterate(self, folder: str | None = None) -> Iterator[StoredFile]:
        """Give the files in the order of their checksums.

        Parameters
        ----------
        folder : str, optional
            Only those whose checksum begins with these two digits (see `FOLDERS`).
        """
        if folder is not None and folder not in FOLDERS:
            raise InvalidValue("folder: two hexadecimal digits are wanted, such as 0f")
        for outer in FOLDERS if folder is None else (folder,):
            yield from self._listed(f"sha256/{outer}")

    def _listed(self, folder: str) -> Iterator[StoredFile]:
        for name, size in self._place.names(folder):
            if found := _NAME.fullmatch(name):
                yield StoredFile(SCHEME + name, found[3], size)
        for below in self._place.folders(folder):
            yield from self._listed(below)

    # --------------------------------------------------------------------------------------------- sweeping

    def set_aside(self, uri: str) -> bool:
        """Take a file out of sight so that it can still be brought back."""
        checksum = checksum_of(uri)
        return self._place.move(_name_of(checksum), f"{_ASIDE}/{checksum}")

    def bring_back(self, uri: str) -> bool:
        """Put a file that was set aside where it was."""
        checksum = checksum_of(uri)
        return self._place.move(f"{_ASIDE}/{checksum}", _name_of(checksum))

    def discard(self, uri: str) -> bool:
        """Take a file away that was set aside."""
        return self._place.remove(f"{_ASIDE}/{checksum_of(uri)}")

    def set_asides(self) -> list[StoredFile]:
        """List the files that are set aside: what a sweep that was killed had in its hands."""
        found = [(Path(name).name, size) for name, size in self._place.names(_ASIDE)]
        return [
            StoredFile(uri_of(checksum), checksum, size)
            for checksum, size in found
            if _NAME.fullmatch(_name_of(checksum))
        ]

    def clear_unfinished(self) -> int:
        """Remove what writers that died left unfinished, and return how many files that were."""
        return self._place.clear_unfinished()

    @checked
    def claim(self, owner: str) -> None:
        """Note down that a database refers to files here; done once for each store object."""
        owner = verbatim(owner)
        if owner in self._claimed:
            return
        name = f"{_OWNERS}/{hashlib.sha256(owner.encode()).hexdigest()[:32]}"
        if all(name != known for known, _ in self._place.names(_OWNERS)):
            with self._place.draft() as (draft, draft_name):
                draft.write(owner.encode())
                self._place.publish(draft, draft_name, name)
        self._claimed.add(owner)

    def owners(self) -> list[str]:
        """Return the databases that were noted down."""
        found = []
        for name, _ in self._place.names(_OWNERS):
            if (file := self._place.read(name)) is not None:
                with file:
                    found.append(file.read(1000).decode("utf-8", "replace"))
        return found

    @checked
    def disown(self, owner: str) -> bool:
        """Forget a database that is gone, so that its files can be swept; tell whether it was known."""
        self._claimed.discard(verbatim(owner))
        return self._place.remove(f"{_OWNERS}/{hashlib.sha256(owner.encode()).hexdigest()[:32]}")


def _nothing(_: str) -> None:
    pass


def _place(url: str, options: Mapping[str, Any] | None) -> Place:
    if not url:
        raise ConfigurationError("a file store needs a folder or a URL")
    if "://" not in url:
        if options:
            raise ConfigurationError("a file store in a folder takes no options")
        return Folder(Path(url))
    from database_handler.content.store_remote import Remote

    return Remote(url, options or {})


class _Verified(io.RawIOBase):
    """Reads a file one piece ahead, so that the last piece is given out only once all of it was checked."""

    def __init__(self, file: BinaryIO, checksum: str) -> None:
        self._file, self._checksum = file, checksum
        self._digest = hashlib.sha256()
        self._piece = memoryview(b"")
        self._damaged = False
        try:
            self._ahead = self._fetched()
        except BaseException:
            file.close()
            raise

    def _fetched(self) -> bytes:
        piece = self._read()
        self._digest.update(piece)
        if not piece and self._digest.hexdigest() != self._checksum:
            self._damaged = True
            raise FileDamaged(
                f"the file {self._checksum} in the store is damaged: its checksum is another",
                checksum=self._checksum,
            )
        return piece

    def _read(self) -> bytes:
        failure: StoreError
        try:
            return self._file.read(_PIECE)
        except FileNotFoundError:  # an object store may tell only now
            failure = FileMissing(f"the file {self._checksum} is not in the store", checksum=self._checksum)
        except Exception as error:  # noqa: BLE001  # each file system has errors of its own
            failure = StoreUnavailable(f"the file store cannot read: {type(error).__name__}")
        raise failure

    def _advance(self) -> None:
        self._piece = memoryview(self._ahead)
        if self._ahead:
            self._ahead = self._fetched()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        if self._damaged:
            self._fetched()
        if not self._piece:
            self._advance()
        target = memoryview(buffer).cast("B")
        count = min(len(target), len(self._piece))
        target[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
