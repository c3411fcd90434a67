"""How far a history is beside the versions that this release knows: behind, where it expects, or newer."""

from collections.abc import Sequence
from dataclasses import dataclass

from database_handler.migrations.files.migration import Migration
from database_handler.migrations.files.planning import Applied, Step, check_history, folded
from database_handler.migrations.runner.recording import head_of
from database_handler.migrations.runner.running import Plan

__all__ = ["NOTHING", "Standing", "standing_of", "unless_newer"]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a database stands.

    Attributes
    ----------
    head, expected : str or None
        The newest version that is applied, and the newest that is known.
    behind : bool
        Whether one that is known is not applied as a whole.
    newer : bool
        Whether all that are known are applied, and others after them, as by a newer release.
    """

    head: str | None
    expected: str | None
    behind: bool = False
    newer: bool = False


NOTHING = Standing(None, None)


def standing_of(files: Sequence[Migration], history: Sequence[Applied]) -> Standing:
    """Compare the versions that are known with the history."""
    rows = folded(files, history)
    whole = {row.name for row in rows if row.progress is None}
    behind = any(file.name not in whole for file in files)
    last = files[-1].number if files else 0
    newer = not behind and any(row.number > last for row in rows)
    return Standing(head_of(rows), files[-1].name if files else None, behind, newer)


def unless_newer(plan: Plan) -> Plan:
    """Let a plan do nothing to a database that a newer release has migrated further.

    What is known is held to its files all the same.
    """

    def planned(files: Sequence[Migration], history: Sequence[Applied]) -> list[Step]:
        if not standing_of(files, history).newer:
            return plan(files, history)
        check_history(files, [row for row in history if row.number <= files[-1].number])
        return []

    return planned
