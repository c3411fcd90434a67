"""Versioned SQL files, applied safely by any number of starting processes."""

from database_handler.migrations.errors import (
    ChangedMigration,
    DuplicateMigration,
    IrreversibleMigration,
    LockFileMismatch,
    MalformedMigration,
    MigrationFailed,
    MigrationGap,
    MigrationLockTimeout,
    MissingMigration,
    OutOfOrderMigration,
    PartialMigration,
    PoolerInTheWay,
    ReadOnlyTarget,
    UnusableTarget,
)
from database_handler.migrations.migration_manager import MigrationManager
from database_handler.migrations.planning import lock_text
from database_handler.migrations.reports import (
    MigrationItem,
    MigrationReport,
    MigrationStatus,
    PlannedMigration,
    PlannedStatement,
)

__all__ = [
    "ChangedMigration",
    "DuplicateMigration",
    "IrreversibleMigration",
    "LockFileMismatch",
    "MalformedMigration",
    "MigrationFailed",
    "MigrationGap",
    "MigrationItem",
    "MigrationLockTimeout",
    "MigrationManager",
    "MigrationReport",
    "MigrationStatus",
    "MissingMigration",
    "OutOfOrderMigration",
    "PartialMigration",
    "PlannedMigration",
    "PlannedStatement",
    "PoolerInTheWay",
    "ReadOnlyTarget",
    "UnusableTarget",
    "lock_text",
]
