"""The kinds of `MigrationError`: each says what is wrong, what is allowed, and what to do about it."""

from collections.abc import Sequence
from pathlib import Path

from database_handler.core.exceptions import MigrationError
from database_handler.migrations.schema.snapshot import ObjectId

__all__ = [
    "BackfillNeeded",
    "ChangedMigration",
    "DecisionNeeded",
    "DuplicateMigration",
    "HistoryChanged",
    "HistoryNotAllowed",
    "HistoryNotEmpty",
    "IrreversibleMigration",
    "LockFileMismatch",
    "MalformedMigration",
    "MigrationFailed",
    "MigrationGap",
    "MigrationLockTimeout",
    "MissingMigration",
    "NoVersionsFolder",
    "OutOfOrderMigration",
    "PartialMigration",
    "PendingVersions",
    "PoolerInTheWay",
    "ProofFailed",
    "ReadOnlyTarget",
    "SchemaDiffers",
    "SchemaInMotion",
    "ScratchUnavailable",
    "UnknownSchema",
    "UnusableTarget",
    "raise_first",
]


class _OfVersions(MigrationError):
    """A problem of some versions.

    Attributes
    ----------
    versions : tuple of str
        The names of the versions that it is about.
    others : tuple of MigrationError
        What else was found by the same check.
    """

    def __init__(self, message: str, versions: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.versions = tuple(versions)
        self.others: tuple[MigrationError, ...] = ()


class MalformedMigration(_OfVersions):
    """A file of the versions folder cannot be read as a migration.

    Attributes
    ----------
    path : Path
        The file.
    line : int
        The line, from 1.
    """

    def __init__(self, path: Path, line: int, reason: str) -> None:
        super().__init__(f"{path}:{line}: {reason}", [path.stem])
        self.path = path
        self.line = line
        self.reason = reason


class NoVersionsFolder(MalformedMigration):
    """There is no folder of versions where there should be one."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, 1, "there is no such folder of versions")
        self.args = (
            f"{path}: there is no such folder of versions; `database-handler migrations generate -m ...` "
            "makes it with the first version (a package that is installed has to bring it along)",
        )


class MigrationGap(_OfVersions):
    """A number is missing between two versions."""


class DuplicateMigration(_OfVersions):
    """Two versions have one number."""


class ChangedMigration(_OfVersions):
    """A version was changed after it was applied."""


class MissingMigration(_OfVersions):
    """A version was applied, and its file is not there."""


class OutOfOrderMigration(_OfVersions):
    """A version was not applied, and a later one was."""


class PartialMigration(_OfVersions):
    """A version was left half applied, or half rolled back."""


class LockFileMismatch(_OfVersions):
    """`versions.lock` and the files do not agree."""


class UnusableTarget(_OfVersions):
    """The target is not a version, or does not lie in the direction asked for."""


class IrreversibleMigration(_OfVersions):
    """A version has no down section."""


class HistoryNotAllowed(_OfVersions):
    """The role may not read the table of applied versions, or make it, or write it."""


class ReadOnlyTarget(_OfVersions):
    """Versions are pending, and this server takes no writes."""


class SchemaInMotion(_OfVersions):
    """The schema was changed by somebody else while it was read."""


class UnknownSchema(_OfVersions):
    """A schema that is to be read does not exist."""


class PoolerInTheWay(_OfVersions):
    """A pooler gives each transaction another server connection, so that no lock can be held."""


class MigrationLockTimeout(_OfVersions):
    """Another process was migrating for as long as this one was willing to wait."""


class MigrationFailed(_OfVersions):
    """A statement of a migration failed.

    Attributes
    ----------
    path : Path
        The file.
    line, column : int
        Where the server places the error, or where the statement begins; from 1.
    applied, rolled_back : tuple of str
        The versions that the same run has done before, which stand.
    """

    def __init__(self, message: str, version: str, path: Path, line: int, column: int) -> None:
        super().__init__(message, [version])
        self.path = path
        self.line = line
        self.column = column
        self.applied: tuple[str, ...] = ()
        self.rolled_back: tuple[str, ...] = ()

    def after(self, applied: Sequence[str], rolled_back: Sequence[str]) -> None:
        """Say what the run has done before it failed."""
        self.applied, self.rolled_back = tuple(applied), tuple(rolled_back)
        for what, names in (("applied", applied), ("rolled back", rolled_back)):
            if names:
                stands = "stands" if len(names) == 1 else "stand"
                told = f"This run has {what} {', '.join(names)} before, which {stands}."
                self.args = (f"{self}\n{told}",)


class DecisionNeeded(_OfVersions):
    """The models and the versions differ in a way that only their author can decide.

    Attributes
    ----------
    decisions : tuple of str
        What to decide, each with the exact thing to write.
    """

    def __init__(self, decisions: Sequence[str]) -> None:
        told = "\n".join(f"* {decision}" for decision in decisions)
        super().__init__(f"nothing was written; a decision is needed:\n{told}")
        self.decisions = tuple(decisions)


class BackfillNeeded(DecisionNeeded):
    """A column is added NOT NULL to a table that may have rows, and nothing says what those hold in it.

    Attributes
    ----------
    missing : tuple of ObjectId
        The columns, by their ids after the change.
    """

    def __init__(self, columns: Sequence[ObjectId]) -> None:
        super().__init__(
            [
                f"{each.name}.{each.part} is added NOT NULL, and rows that are there have no value for it; "
                'give the field a default, or a Backfill("SQL over the row\'s columns"), or let it be None'
                for each in columns
            ]
        )
        self.columns = tuple(each.part for each in columns)
        self.missing = tuple(columns)


class ProofFailed(_OfVersions):
    """A version does not do on a scratch copy what it is there for.

    Attributes
    ----------
    residue : tuple of str
        What is still to be done after it: the statements, in order.
    """

    def __init__(self, message: str, versions: Sequence[str] = (), residue: Sequence[str] = ()) -> None:
        super().__init__(message, versions)
        self.residue = tuple(residue)


class HistoryNotEmpty(_OfVersions):
    """Versions are on record in a database that was to be taken over."""


class HistoryChanged(_OfVersions):
    """Another process migrated while this one was looking."""


class PendingVersions(_OfVersions):
    """Versions are pending that have to be applied first."""


class SchemaDiffers(_OfVersions):
    """A schema is not what the versions make that it was to be recorded for."""


class ScratchUnavailable(_OfVersions):
    """There is no place to try versions in, or they reach beyond it."""


def raise_first(problems: Sequence[_OfVersions]) -> None:
    """Raise the first of the problems with the texts of all of them; nothing where there is none."""
    if not problems:
        return
    first = problems[0]
    first.others = tuple(problems[1:])
    if first.others:
        first.args = ("\n".join(str(problem) for problem in problems),)
    raise first
