"""Versions of the schema: applied by any number of starting processes, generated from models, and proven.

What reads and compares schemas is imported when it is first used: a process that only migrates does not pay
for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from database_handler.migrations.errors import (
    BackfillNeeded,
    ChangedMigration,
    DecisionNeeded,
    DuplicateMigration,
    HistoryChanged,
    HistoryNotAllowed,
    HistoryNotEmpty,
    IrreversibleMigration,
    LockFileMismatch,
    MalformedMigration,
    MigrationFailed,
    MigrationGap,
    MigrationLockTimeout,
    MissingMigration,
    NoVersionsFolder,
    OutOfOrderMigration,
    PartialMigration,
    PendingVersions,
    PoolerInTheWay,
    ProofFailed,
    ReadOnlyTarget,
    SchemaDiffers,
    SchemaInMotion,
    ScratchUnavailable,
    UnknownSchema,
    UnusableTarget,
)
from database_handler.migrations.files.planning import lock_text
from database_handler.migrations.migration_manager import MigrationManager
from database_handler.migrations.reports import (
    MigrationItem,
    MigrationReport,
    MigrationStatus,
    PlannedMigration,
    PlannedStatement,
)

if TYPE_CHECKING:
    from database_handler.migrations.schema.introspection import introspect, take_snapshot
    from database_handler.migrations.schema.schema_diff import Rename, SchemaDiff, diff
    from database_handler.migrations.schema.snapshot import SchemaSnapshot

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
    "MigrationItem",
    "MigrationLockTimeout",
    "MigrationManager",
    "MigrationReport",
    "MigrationStatus",
    "MissingMigration",
    "NoVersionsFolder",
    "OutOfOrderMigration",
    "PartialMigration",
    "PendingVersions",
    "PlannedMigration",
    "PlannedStatement",
    "PoolerInTheWay",
    "ProofFailed",
    "ReadOnlyTarget",
    "Rename",
    "SchemaDiff",
    "SchemaDiffers",
    "SchemaInMotion",
    "SchemaSnapshot",
    "ScratchUnavailable",
    "UnknownSchema",
    "UnusableTarget",
    "diff",
    "introspect",
    "lock_text",
    "take_snapshot",
]

_WHEN_USED = {
    "Rename": "schema.schema_diff",
    "SchemaDiff": "schema.schema_diff",
    "SchemaSnapshot": "schema.snapshot",
    "diff": "schema.schema_diff",
    "introspect": "schema.introspection",
    "take_snapshot": "schema.introspection",
}


def __getattr__(name: str) -> object:
    if name not in _WHEN_USED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHEN_USED[name]}"), name)
