"""Every way in which a backup cannot be made, read or restored; each says what was left as it was."""

from database_handler.core.exceptions import BackupError, ConfigurationError

__all__ = [
    "BackupDamaged",
    "BackupFailed",
    "BackupIncomplete",
    "BackupNotFound",
    "BackupPlaceUnusable",
    "BackupTimeout",
    "NoSpaceLeft",
    "OtherDatabase",
    "ProgramMissing",
    "RestoreFailed",
    "ServerTooOld",
    "TargetExists",
]


class BackupFailed(BackupError):
    """The database could not be dumped; nothing stands under the backup's name."""


class RestoreFailed(BackupError):
    """The backup could not be restored; what was restored of it is dropped again."""


class BackupTimeout(BackupError):
    """It took longer than it may; nothing of it is kept."""


class NoSpaceLeft(BackupError):
    """There is no room left to write to; nothing stands under the backup's name."""


class BackupPlaceUnusable(BackupError):
    """The place of the backups cannot be read or written."""


class BackupNotFound(BackupError):
    """There is no such backup."""


class BackupIncomplete(BackupError):
    """The backup was not finished: it has no manifest, which is written last."""


class BackupDamaged(BackupError):
    """The backup is not what was written: a checksum is another, or a file is cut short or missing."""


class ServerTooOld(BackupError):
    """The backup is of a newer major version than the server; nothing was done."""


class TargetExists(BackupError):
    """There is a database of that name already; nothing was done."""


class OtherDatabase(BackupError):
    """The backup is of another database than the one that it shall replace; nothing was done."""


class ProgramMissing(ConfigurationError):
    """The programs of PostgreSQL that dump and restore are not there, or are older than the server."""
