"""Where backups lie: a folder, or anything that fsspec reaches. The manifest, written last, makes a backup.

``backups/NAME.started``, ``.dump`` or ``.tar``, ``.json`` in this order; the originals of all backups lie
beside them under their checksums (``sha256/ab/cd/...``), each once. Every file is written under another
name, flushed, and renamed; where the place shows whole objects only, it is sent under its name.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import uuid4

from database_handler.content.errors import StoreUnavailable
from database_handler.content.store import FileStore, Place, StoredFile
from database_handler.content.store_folder import Folder
from database_handler.operations.backup.errors import (
    BackupDamaged,
    BackupIncomplete,
    BackupNotFound,
    BackupPlaceUnusable,
    NoSpaceLeft,
)
from database_handler.operations.backup.values import FoundBackup, Manifest, read_manifest, written_manifest

__all__ = ["BackupPlace", "Draft", "is_forgotten", "name_of_backup"]

_BACKUPS: Final = "backups"
_NAME: Final = re.compile(r"(?P<name>[A-Za-z0-9_.-]{1,80}-(?P<since>\d{8}T\d{6}Z)-[0-9a-f]{6})\.(\w+)")
_STARTED, _MANIFEST = "started", "json"
_FORGOTTEN = timedelta(days=1)  # no backup takes longer
_MOST_MANIFEST = 1 << 28
_PIECE = 1 << 20


def name_of_backup(database: str, moment: datetime) -> str:
    """Return a name of its own for a backup that begins now; it sorts by time."""
    known = re.sub(r"[^A-Za-z0-9_.-]", "_", database)[:60].lstrip(".-") or "database"
    return f"{known}-{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}-{uuid4().hex[:6]}"


class BackupPlace:
    """A place for backups.

    Parameters
    ----------
    url : str or Path
        A folder (or ``file:///folder``), made when the first backup is; or a URL that fsspec reads.
    options : mapping, optional
        What fsspec gives to the file system; not for a folder.
    """

    def __init__(self, url: str | Path, options: Mapping[str, Any] | None = None) -> None:
        with _told("be reached"):
            self.originals = FileStore(url, options)
        self.url = self.originals.url
        self._place: Place = self.originals.place

    def _told(self, doing: str) -> AbstractContextManager[None]:
        """Tell of this place by its name, where that is a folder's; a URL may hold a key."""
        return _told(doing, f" {self.url}" if isinstance(self._place, Folder) else "")

    def local(self, file: str) -> Path | None:
        """Return the path of one file of a backup, where the place is a folder of this machine."""
        return Path(self.url) / _BACKUPS / file if isinstance(self._place, Folder) else None

    # ---------------------------------------------------------------------------------------------- writing

    def begin(self, name: str) -> None:
        """Note down that a backup is being written, so that nothing which it needs is taken away."""
        self._write(f"{name}.{_STARTED}", datetime.now(UTC).isoformat().encode())

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest: from now on there is this backup."""
        self._write(f"{manifest.name}.{_MANIFEST}", written_manifest(manifest))
        self.remove(f"{manifest.name}.{_STARTED}")

    def _write(self, file: str, data: bytes) -> None:
        with self.draft(file) as draft:
            draft.file.write(data)

    @contextmanager
    def draft(self, file: str) -> Iterator["Draft"]:
        """Give a file to write to; it gets its name when the block ends well, and is gone otherwise."""
        with self._told("write"), self._place.draft() as (draft, unfinished):
            yield Draft(draft, partial(self._place.read, unfinished))
            draft.seek(0, 2)  # others may have written to its descriptor
            self._place.publish(draft, unfinished, f"{_BACKUPS}/{file}")

    def keep(self, original: BinaryIO) -> StoredFile:
        """Keep an original, read from the database's own store."""
        with self._told("write"):
            return self.originals.put(original)

    # ---------------------------------------------------------------------------------------------- reading

    def open(self, file: str) -> BinaryIO | None:
        """Open one file of a backup; None where it is not there."""
        with self._told("read"):
            return self._place.read(f"{_BACKUPS}/{file}")

    def manifest(self, name: str) -> Manifest:
        """Return the manifest of one backup.

        Raises
        ------
        BackupNotFound, BackupIncomplete, BackupDamaged
        """
        found = {each.name: each for each in self.found(name)}
        if name not in found:
            raise BackupNotFound(
                f"there is no backup of this name in {self.url}; `backup list` shows those there are"
            )
        backup = found[name]
        if backup.manifest is not None and backup.problem is None:
            return backup.manifest
        kind = BackupIncomplete if backup.state == "incomplete" else BackupDamaged
        raise kind(f"{name}: {backup.problem}")

    def found(self, only: str | None = None) -> list[FoundBackup]:
        """List the backups, the oldest first; each manifest is read."""
        chosen = {name: each for name, each in self._files().items() if only is None or name == only}
        return sorted((self._one(name, each) for name, each in chosen.items()), key=_age)

    def names(self) -> set[str]:
        """Return the names of the backups, unfinished ones too; none is read."""
        return set(self._files())

    def _files(self) -> dict[str, dict[str, int]]:
        """Return the sizes of the files of each backup, by what their names end in."""
        files: dict[str, dict[str, int]] = {}
        with self._told("list"):
            listed = self._place.names(_BACKUPS)
        for path, size in listed:
            if match := _NAME.fullmatch(path.rpartition("/")[2]):
                files.setdefault(match["name"], {})[match[3]] = size
        return files

    def _one(self, name: str, files: dict[str, int]) -> FoundBackup:
        match = _NAME.fullmatch(f"{name}.{_MANIFEST}")
        if match is None:
            raise AssertionError("unreachable: the names were matched before")
        since = datetime.strptime(match["since"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        size = sum(files.values())
        if _MANIFEST not in files:
            unfinished = "it was not finished: its manifest, which is written last, is not there"
            return FoundBackup(
                name=name, state="incomplete", since=since, size_bytes=size, problem=unfinished
            )
        manifest, problem = self._read(name, files)
        state = "complete" if problem is None else "damaged"
        return FoundBackup.model_validate(
            {"name": name, "state": state, "since": since, "size_bytes": size, "problem": problem}
            | {"manifest": manifest}
        )

    def _read(self, name: str, files: dict[str, int]) -> tuple[Manifest | None, str | None]:
        file = self.open(f"{name}.{_MANIFEST}")
        if file is None:
            return None, "its manifest was taken away while it was read"
        with file, self._told("read"):
            data = file.read(_MOST_MANIFEST)
        try:
            manifest = read_manifest(data, name)
        except BackupDamaged as error:
            return None, str(error)
        if manifest.name != name:
            return None, f"its manifest is that of another backup, {manifest.name}"
        size = files.get(manifest.dump.file.rpartition(".")[2])
        if size != manifest.dump.size_bytes:
            there = "is not there" if size is None else f"has {size:,} bytes"
            return manifest, f"{manifest.dump.file} {there}; {manifest.dump.size_bytes:,} were written"
        return manifest, None

    def copy(self, manifest: Manifest, target: BinaryIO | None) -> None:
        """Copy the dump, checked on the way; only check it, where there is no target.

        Raises
        ------
        BackupDamaged
            It is not what was written.
        """
        file = self.open(manifest.dump.file)
        if file is None:
            raise BackupDamaged(f"{manifest.dump.file} is not there")
        digest = hashlib.sha256()
        with file, self._told("read"):
            for piece in iter(lambda: file.read(_PIECE), b""):
                digest.update(piece)
                if target is not None:
                    target.write(piece)
        if digest.hexdigest() != manifest.dump.sha256:
            raise BackupDamaged(
                f"{manifest.dump.file} is damaged: its checksum is not the manifest's; nothing was restored"
            )

    # --------------------------------------------------------------------------------------------- removing

    def remove(self, file: str) -> bool:
        """Take one file of a backup away, and tell whether it was there."""
        with self._told("delete"):
            return self._place.remove(f"{_BACKUPS}/{file}")

    def remove_backup(self, name: str, manifest: Manifest | None = None) -> None:
        """Take a backup away, its manifest first, so that half of one is never taken for a whole."""
        dumps = [manifest.dump.file] if manifest else [f"{name}.dump", f"{name}.tar"]
        for file in (f"{name}.{_MANIFEST}", *dumps, f"{name}.{_STARTED}"):
            self.remove(file)

    def clear_unfinished(self) -> int:
        """Remove what writers that died left unfinished."""
        with self._told("delete"):
            return self._place.clear_unfinished()


class Draft:
    """A file that has no name yet; another program may write to its descriptor."""

    def __init__(self, file: BinaryIO, again: Callable[[], BinaryIO | None]) -> None:
        self.file, self._again = file, again

    def measured(self) -> tuple[int, str]:
        """Return the size and the SHA-256 of what stands in it, read from there."""
        self.file.flush()
        if self.file.readable():  # a temporary file of this machine
            return _measured(self.file)
        reader = self._again()
        if reader is None:
            raise BackupPlaceUnusable("a file of the backup was taken away while it was written")
        with reader:
            return _measured(reader)


def _measured(file: BinaryIO) -> tuple[int, str]:
    file.seek(0)
    digest, size = hashlib.sha256(), 0
    for piece in iter(lambda: file.read(_PIECE), b""):
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


def is_forgotten(backup: FoundBackup, now: datetime) -> bool:
    """Tell whether an unfinished backup is so old that nobody can be writing it."""
    return backup.state == "incomplete" and now - backup.since > _FORGOTTEN


def _age(backup: FoundBackup) -> tuple[datetime, str]:
    return backup.since, backup.name


_FULL = re.compile("no space left|file too large|quota exceeded")


@contextmanager
def _told(doing: str, place: str = "") -> Iterator[None]:
    """Raise errors that speak of backups in place of those that speak of a file store."""
    try:
        yield
    except StoreUnavailable as error:
        if doing == "write" and "cannot read" in str(error):  # an original's store, not this place
            raise
        reason = str(error).partition(": ")[2] or str(error)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
    else:
        return
    kind = NoSpaceLeft if _FULL.search(reason) else BackupPlaceUnusable
    raise kind(f"the backups' place{place} cannot {doing}: {reason}")
