"""The folders of versions that make a database's schema, in order: the library's, then an application's."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from database_handler.core.base_model import Record
from database_handler.core.schema import Table
from database_handler.migrations.errors import LockFileMismatch, MalformedMigration
from database_handler.migrations.files.migration import Migration, read_files, read_folder
from database_handler.migrations.files.planning import check_files, read_lock

__all__ = ["LOCK_FILE", "Chain", "Folder"]

LOCK_FILE = "versions.lock"


@dataclass(frozen=True)
class Folder:
    """One folder of versions, its history's table, and the models whose tables it makes."""

    versions: Path
    history_table: str
    models: tuple[type[Record], ...] = ()

    def migrations(self) -> tuple[Migration, ...]:
        """Read the folder and check its files against each other and against `versions.lock`.

        Raises
        ------
        MigrationError
            A file is malformed, a number is missing or taken twice, or a file is not what was recorded.
        """
        found, unread = read_files(self.versions)
        lock = self.versions / LOCK_FILE
        known, problems = None, list[MalformedMigration | LockFileMismatch](unread)
        try:
            known = read_lock(lock, lock.read_text("utf-8")) if lock.exists() else None
        except LockFileMismatch as wrong:
            problems.append(wrong)
        check_files(found, known, problems)
        return found

    @property
    def note(self) -> str | None:
        """What to know of a folder whose files are sound: that nothing says which there have to be.

        No refusal: a folder that was written by hand works without, and so does an application that was
        packed without it.
        """
        if (self.versions / LOCK_FILE).exists() or not read_folder(self.versions):
            return None
        return (
            f"{self.versions} has no {LOCK_FILE}: nobody would notice a version that is lost, or changed, "
            f"before it is applied. Put it back, or have it written anew: `database-handler migrations lock`"
        )

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables of the models."""
        return tuple(model.table for model in self.models)


@dataclass(frozen=True)
class Chain:
    """Folders in the order in which they are migrated; the last one is written into.

    Attributes
    ----------
    own : Folder
        The last folder.
    before : tuple of Migration
        The versions of the folders before it.
    migrations : tuple of Migration
        Its own versions.
    """

    folders: tuple[Folder, ...]

    def again(self) -> "Chain":
        """Return the same chain, whose files are read anew."""
        return Chain(self.folders)

    @property
    def own(self) -> Folder:
        """The folder that generated versions go into."""
        return self.folders[-1]

    @cached_property
    def before(self) -> tuple[Migration, ...]:
        """Every version of the folders before the own one, in order."""
        return tuple(version for folder in self.folders[:-1] for version in folder.migrations())

    @cached_property
    def migrations(self) -> tuple[Migration, ...]:
        """The own folder's versions, in order, read once; none where there is no folder yet."""
        return self.own.migrations() if self.own.versions.exists() else ()

    @property
    def all(self) -> tuple[Migration, ...]:
        """Every version that makes the schema, in order."""
        return (*self.before, *self.migrations)

    def upto(self, number: int) -> Sequence[Migration]:
        """Return every version up to and with that `number` of the own folder."""
        return (*self.before, *(version for version in self.migrations if version.number <= number))
