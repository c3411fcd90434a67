"""Turns one snapshot into another: `diff`."""

from collections.abc import Iterable

from database_handler.migrations.schema.schema_diff.lookalikes import lookalikes
from database_handler.migrations.schema.schema_diff.planning import planned
from database_handler.migrations.schema.schema_diff.renaming import renamed, renaming_steps
from database_handler.migrations.schema.schema_diff.statement import (
    Action,
    Rename,
    SchemaDiff,
    SchemaStatement,
    script,
)
from database_handler.migrations.schema.snapshot import SchemaSnapshot
from database_handler.utils.arguments import checked

__all__ = ["Action", "Rename", "SchemaDiff", "SchemaStatement", "diff", "renamed", "script"]


@checked
def diff(old: SchemaSnapshot, new: SchemaSnapshot, *, renames: Iterable[Rename] = ()) -> SchemaDiff:
    """Return the statements that turn the old schema into the new one, in order; always the same ones.

    Parameters
    ----------
    old, new : SchemaSnapshot
        Both of one schema, or both of several.
    renames : iterable of Rename
        What keeps its contents under another name. One whose old name is not there, or whose new name is
        taken already, is left alone; but what gives its old name to another takes the new one from whatever
        has it, and that is dropped.

    Returns
    -------
    SchemaDiff
        What a statement throws away it says in `loses`; what neither snapshot models, and what looks like a
        renaming that nobody declared, is reported with the plan.
    """
    first, before = renaming_steps(old, new, tuple(renames))
    change, steps = planned(before, new)
    unmodelled = tuple(sorted({*old.unmodelled, *new.unmodelled}))
    return SchemaDiff(
        (*(step.statement for step in first), *(step.statement for step in steps)),
        unmodelled,
        lookalikes(change),
    )
