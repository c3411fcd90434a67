"""The live schema against what its versions made of it.

What is expected is the record that the last run left (`recording`), or the applied versions played on a
scratch copy where there is none for the heads that the database stands at.
"""

from collections.abc import Sequence
from typing import ClassVar

from database_handler.config.database import DatabaseConfig
from database_handler.migrations.live.standing import Live, Source, expected_of, look_live
from database_handler.migrations.runner.running import FolderRun
from database_handler.migrations.safety.statement_facts import bare
from database_handler.migrations.schema.differences import Differences, differences
from database_handler.migrations.schema.snapshot import Extension, SchemaObject, SchemaSnapshot
from database_handler.migrations.verdicts import Judged

__all__ = ["DriftReport", "drift"]


class DriftReport(Judged, frozen=True):
    """How the live schema differs from what it should be.

    Attributes
    ----------
    heads : mapping of history table to version
        Where the database stands.
    source : {"recorded", "replayed"}
        Whether what it should be was recorded by the last run, or made anew from the applied versions.
    differences : Differences
        `statements` put the live schema right.
    """

    verdicts: ClassVar = ("drifted",)

    heads: dict[str, str | None]
    source: Source
    differences: Differences

    @property
    def drifted(self) -> bool:
        """Whether there is any difference."""
        return bool(self.differences)


def drift(config: DatabaseConfig, runs: Sequence[FolderRun]) -> DriftReport:
    """Compare the live schema with what it should be; nothing is changed.

    Raises
    ------
    MigrationError
        The histories are not those of the files.
    """
    live = look_live(config, runs)
    expected = expected_of(config, live)
    found = _without_an_administrators(live, expected.snapshot)
    return DriftReport(
        heads=live.heads, source=expected.source, differences=differences(expected.snapshot, found)
    )


def _without_an_administrators(live: Live, expected: SchemaSnapshot) -> SchemaSnapshot:
    """Leave out extensions of other schemas that no version made, such as pg_stat_statements."""

    def is_elsewhere(thing: SchemaObject) -> bool:
        return (
            isinstance(thing, Extension)
            and thing.id not in expected.objects
            and bare(thing.schema) != live.schema
        )

    return live.snapshot.without(is_elsewhere)
