"""Backups: made in one snapshot, proven by a restore, thinned out by rule, and restored beside what lives."""

from database_handler.operations.backup.backups import Backups, Source
from database_handler.operations.backup.creating import Progress
from database_handler.operations.backup.errors import (
    BackupDamaged,
    BackupFailed,
    BackupIncomplete,
    BackupNotFound,
    BackupPlaceUnusable,
    BackupTimeout,
    NoSpaceLeft,
    OtherDatabase,
    ProgramMissing,
    RestoreFailed,
    ServerTooOld,
    TargetExists,
)
from database_handler.operations.backup.retention import Retention, retained
from database_handler.operations.backup.values import (
    Backup,
    Difference,
    DumpFile,
    FoundBackup,
    KeptFile,
    Manifest,
    Pruned,
    Restored,
    Verified,
)

__all__ = [
    "Backup",
    "BackupDamaged",
    "BackupFailed",
    "BackupIncomplete",
    "BackupNotFound",
    "BackupPlaceUnusable",
    "BackupTimeout",
    "Backups",
    "Difference",
    "DumpFile",
    "FoundBackup",
    "KeptFile",
    "Manifest",
    "NoSpaceLeft",
    "OtherDatabase",
    "ProgramMissing",
    "Progress",
    "Pruned",
    "RestoreFailed",
    "Restored",
    "Retention",
    "ServerTooOld",
    "Source",
    "TargetExists",
    "Verified",
    "retained",
]
