"""What a backup is, and what was done with one: frozen values, the same in Python, as JSON and in a table.

The manifest is the backup's last file. It holds its own checksum, and one for each other file.
"""

import hashlib
import json
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints, ValidationError

from database_handler.operations.backup.errors import BackupDamaged

__all__ = [
    "Backup",
    "Difference",
    "DumpFile",
    "DumpFormat",
    "FoundBackup",
    "KeptFile",
    "Manifest",
    "Pruned",
    "Restored",
    "Verified",
    "read_manifest",
    "written_manifest",
]

DumpFormat = Literal["custom", "directory"]
Checksum = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
BackupName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,120}$")]
FORMAT: Final = 1


class DumpFile(BaseModel, frozen=True):
    """What pg_dump wrote, as one file: ``.dump`` in its custom format, ``.tar`` of its directory format."""

    file: BackupName
    format: DumpFormat
    size_bytes: Annotated[int, Field(ge=1)]
    sha256: Checksum


class KeptFile(BaseModel, frozen=True):
    """An original that rows of the backup refer to, by its SHA-256, and its size."""

    checksum: Checksum
    size_bytes: Annotated[int, Field(ge=0)]


class Manifest(BaseModel, frozen=True):
    """What a backup holds, and what it was taken of.

    Attributes
    ----------
    database, system_identifier : str
        The database's name, and the number that its cluster was born with.
    server_version : int
        As the server numbers it, such as 180006.
    program_version : str
        The version of the pg_dump that wrote it.
    started, snapshot, ended : datetime
        In UTC; the rows are those of the moment `snapshot`.
    schemas : tuple of str
        What the fingerprint was taken of.
    fingerprint : str
        Of the schema; equal schemas on one major version of the server have one.
    heads : mapping
        The newest applied migration of the library, and of an application that has some.
    rows : mapping
        How many rows each table had in the snapshot, by its name with its schema.
    roles : tuple of str
        Who owns something in it or has a right there; a server without one of them gets it without owners.
    with_files : bool
        Whether the originals were to be kept too.
    files, missing : tuple
        The originals that rows of the snapshot refer to; and those that the store did not have, or not whole.
    """

    format: Literal[1] = FORMAT
    name: BackupName
    library_version: str = ""
    database: str
    system_identifier: str
    server_version: int
    program_version: str
    encoding: str
    started: AwareDatetime
    snapshot: AwareDatetime
    ended: AwareDatetime
    dump: DumpFile
    schemas: tuple[str, ...]
    fingerprint: str
    heads: dict[str, str | None]
    rows: dict[str, int]
    roles: tuple[str, ...] = ()
    with_files: bool = False
    files: tuple[KeptFile, ...] = ()
    missing: tuple[Checksum, ...] = ()

    @property
    def major(self) -> int:
        """The server's major version, such as 18."""
        return self.server_version // 10_000

    @property
    def file_bytes(self) -> int:
        """How large the originals are together."""
        return sum(file.size_bytes for file in self.files)


def written_manifest(manifest: Manifest) -> bytes:
    """Return a manifest as the bytes of its file."""
    told = manifest.model_dump(mode="json")
    document = {"manifest": told, "sha256": _checksum(told)}
    return (json.dumps(document, indent=1, ensure_ascii=True) + "\n").encode()


def read_manifest(data: bytes, name: str) -> Manifest:
    """Return the manifest that a file of these bytes holds.

    Raises
    ------
    BackupDamaged
        It is none, or not the one that was written, or one of a later form.
    """
    try:
        document = json.loads(data)
        told = document["manifest"]
        if document["sha256"] != _checksum(told):
            raise BackupDamaged(f"the manifest of {name} is damaged: its checksum is another")
        if told["format"] == FORMAT:
            return Manifest.model_validate(told)
        reason = "is of a form that this version does not know: restore it with the version that wrote it"
    except (ValueError, TypeError, KeyError, RecursionError, ValidationError):
        reason = "is damaged: it is no manifest"
    raise BackupDamaged(f"the manifest of {name} {reason}")


def _checksum(told: Any) -> str:
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


class Backup(BaseModel, frozen=True):
    """A backup that was made, or is complete; `seconds` it took, `copied` originals were not there yet."""

    place: str
    manifest: Manifest
    seconds: float
    copied: int = 0


class FoundBackup(BaseModel, frozen=True):
    """A backup as it lies in its place.

    Attributes
    ----------
    state : {"complete", "incomplete", "damaged"}
        Whether it has its manifest and a dump of the right size; incomplete ones are being written, or were
        left by a process that died.
    since : datetime
        When it was begun.
    size_bytes : int
        Of its own files; originals are shared with other backups.
    """

    name: str
    state: Literal["complete", "incomplete", "damaged"]
    since: datetime
    size_bytes: int
    manifest: Manifest | None = None
    problem: str | None = None


class Difference(BaseModel, frozen=True):
    """What is not as the manifest says: in a table's rows, in the schema, or of an original."""

    what: Literal["rows", "schema", "file"]
    name: str
    expected: str
    found: str


class Verified(BaseModel, frozen=True):
    """What a restore into a scratch database, which is dropped again, has shown.

    Attributes
    ----------
    rows, files : int
        How many were there, of all tables, and of the originals, each read through.
    schema_compared : bool
        False where the server is of another major version, which tells the same schema in other words.
    """

    name: str
    database: str
    tables: int
    rows: int
    files: int
    schema_compared: bool
    seconds: float
    differences: tuple[Difference, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything is as it was."""
        return not self.differences


class Restored(BaseModel, frozen=True):
    """What was restored, and where.

    Attributes
    ----------
    kept_as : str or None
        The name that the database has now which was replaced; None where there was none or it was dropped.
    owners : bool
        Whether owners and rights are as they were; otherwise everything is the restoring role's.
    absent_roles : tuple of str
        Those of the backup's roles that the server does not have.
    head : str or None
        The newest migration that is applied.
    files : int
        How many originals were put back; those that were there are left alone.
    missing : tuple of str
        The checksums of originals that the backup does not have.
    """

    name: str
    database: str
    tables: int
    rows: int
    owners: bool
    absent_roles: tuple[str, ...] = ()
    kept_as: str | None = None
    head: str | None = None
    files: int = 0
    missing: tuple[str, ...] = ()
    seconds: float


class Pruned(BaseModel, frozen=True):
    """What was removed, or would be.

    Attributes
    ----------
    removed, kept : tuple of str
        Names of backups.
    leftovers : tuple of str
        Backups that were begun more than a day ago and never finished.
    damaged : tuple of str
        Backups that cannot be read: left for you to look at.
    originals : int
        Files of the store that no backup needs any more.
    bytes : int
        Of all that together.
    """

    dry_run: bool
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    leftovers: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    originals: int = 0
    bytes: int = 0
