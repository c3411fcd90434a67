"""Renamings: applied first, and the old schema told again as it is after them."""

from database_handler.migrations.schema_diff.statement import Rename
from database_handler.migrations.schema_diff.step import Step
from database_handler.migrations.snapshot import SchemaSnapshot

__all__ = ["renamed", "renaming_steps"]


def renamed(snapshot: SchemaSnapshot, renames: tuple[Rename, ...]) -> SchemaSnapshot:
    return snapshot


def renaming_steps(
    old: SchemaSnapshot, new: SchemaSnapshot, renames: tuple[Rename, ...]
) -> tuple[list[Step], SchemaSnapshot]:
    return [], old
