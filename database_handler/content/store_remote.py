"""A file store on anything that fsspec reaches: a name is given to a whole file only.

What is put is first written to an unnamed local file, then sent. Object stores show an object when all of it
has arrived, so it is sent under its name; elsewhere it is sent under a name below ``unfinished``, and then
renamed.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any, BinaryIO, TypeVar
from uuid import uuid4

from database_handler.content.errors import FileTooLarge, StoreError, StoreUnavailable
from database_handler.core.exceptions import MissingExtra

__all__ = ["Remote"]

T = TypeVar("T")
_SHOWS_WHOLE_FILES_ONLY = frozenset(
    {"abfs", "abfss", "adl", "az", "gcs", "gs", "memory", "oci", "oss", "r2", "s3", "s3a"}
)
_CHUNK = 1 << 20
_UNFINISHED = "unfinished"
_ABANDONED = timedelta(days=1)  # no upload takes longer


class Remote:
    """A place for files below one URL.

    Parameters
    ----------
    url : str
        As fsspec takes it.
    options : mapping
        What fsspec gives to the file system: keys, an endpoint, a region.
    """

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._url, self._options = url, dict(options)
        self._whole = url.partition("://")[0] in _SHOWS_WHOLE_FILES_ONLY
        self._reached()  # a missing package is told now

    def __repr__(self) -> str:
        return repr(self._url)

    def _reached(self) -> tuple[Any, str]:
        """Return the file system and the path; fsspec keeps one for each thread and process."""
        try:
            filesystem, path = import_module("fsspec.core").url_to_fs(self._url, **self._options)
        except ImportError as error:
            missing = error
        except Exception as error:  # each file system has errors of its own
            reason = _unknown(self._url) or type(error).__name__
            raise StoreUnavailable(f"the file store cannot be reached: {reason}") from error
        else:
            return filesystem, str(path).rstrip("/")
        raise MissingExtra(
            "this file store needs packages that are not installed: "
            f"pip install 'database-handler[storage]' ({missing})"
        )

    def _do(self, doing: str, work: Callable[[Any, str], T]) -> T | None:
        """Let work be done with the file system and the path; None where a file is not there."""
        try:
            return work(*self._reached())
        except FileNotFoundError:
            return None
        except (StoreError, MissingExtra, FileTooLarge):
            raise
        except Exception as error:  # each file system has errors of its own
            raise StoreUnavailable(f"the file store cannot {doing}: {type(error).__name__}") from error

    @contextmanager
    def draft(self) -> Iterator[tuple[BinaryIO, str]]:
        """Give a file to write to, and its name for `publish`."""
        with tempfile.TemporaryFile() as file:
            yield file, f"{_UNFINISHED}/{uuid4().hex}"

    def publish(self, draft: BinaryIO, draft_name: str, name: str) -> None:
        """Send what was written, and give it its name when all of it has arrived."""
        size = draft.tell()

        def send(filesystem: Any, path: str) -> bool:
            first = f"{path}/{name if self._whole else draft_name}"
            self._make_folder_of(filesystem, first)
            _send(filesystem, first, draft)
            if filesystem.info(first)["size"] != size:
                raise StoreUnavailable("the file store did not take the whole of a file")
            return self._whole or self._rename(filesystem, first, f"{path}/{name}")

        if self._do("write", send) is None:
            raise StoreUnavailable("the file store cannot write: its folder is not there")

    def read(self, name: str) -> BinaryIO | None:
        """Open a file, or give None where it is not."""
        return self._do("read", lambda filesystem, path: filesystem.open(f"{path}/{name}", "rb"))

    def names(self, folder: str) -> list[tuple[str, int]]:
        """List the files below one folder in order: each name with its size."""

        def listed(filesystem: Any, path: str) -> list[tuple[str, int]]:
            filesystem.invalidate_cache()
            found = filesystem.ls(f"{path}/{folder}", detail=True)
            if any(info["type"] == "directory" for info in found):
                # Not at once: what cannot be listed is left out by find, and a store would look empty.
                found = filesystem.find(f"{path}/{folder}", detail=True).values()
            return sorted((str(info["name"])[len(path) + 1 :], int(info["size"] or 0)) for info in found)

        return self._do("list", listed) or []

    def folders(self, folder: str) -> list[str]:  # noqa: ARG002  # a place of files has it
        """List no folder: `names` gives all that is below one."""
        return []

    def remove(self, name: str) -> bool:
        """Take a file away, and tell whether it was there."""

        def removed(filesystem: Any, path: str) -> bool:
            filesystem.rm_file(f"{path}/{name}")
            return True

        return self._do("delete", removed) or False

    def move(self, old: str, new: str) -> bool:
        """Give a file another name, and tell whether it was there."""
        done = self._do("move", lambda fs, path: self._rename(fs, f"{path}/{old}", f"{path}/{new}"))
        return done or False

    def _rename(self, filesystem: Any, old: str, new: str) -> bool:
        self._make_folder_of(filesystem, new)
        filesystem.mv(old, new)
        return True

    def _make_folder_of(self, filesystem: Any, name: str) -> None:
        if not self._whole:  # object stores have no folders
            filesystem.makedirs(name.rpartition("/")[0], exist_ok=True)

    def clear_unfinished(self) -> int:
        """Remove what uploads of more than a day ago left behind, where the store tells their age."""
        return sum(self._clear(name) for name, _ in self.names(_UNFINISHED))

    def _clear(self, name: str) -> bool:
        before = datetime.now(UTC) - _ABANDONED

        def abandoned(filesystem: Any, path: str) -> bool:
            with suppress(NotImplementedError):
                written: datetime = filesystem.modified(f"{path}/{name}")
                return written.astimezone(UTC) < before
            return False

        return bool(self._do("list", abandoned)) and self.remove(name)


def _send(filesystem: Any, path: str, draft: BinaryIO) -> None:
    draft.seek(0)
    with filesystem.open(path, "wb") as file:
        while piece := draft.read(_CHUNK):
            file.write(piece)


def _unknown(url: str) -> str | None:
    """Say that fsspec has no file system for what a URL begins with; None where that is not the matter."""
    protocol = url.partition("://")[0]
    known = import_module("fsspec").available_protocols()
    if not protocol.isalnum() or protocol in known:
        return None
    return f"fsspec knows no {protocol}://; a folder needs none of it, and others are s3, gs, abfs, sftp"
