"""Two environments told apart: the versions that each has, and the difference of their schemas."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel

from database_handler.config.database import DatabaseConfig
from database_handler.migrations.files.planning import Applied
from database_handler.migrations.live.standing import Live, look_live
from database_handler.migrations.runner.running import FolderRun
from database_handler.migrations.schema.differences import Differences, differences
from database_handler.migrations.verdicts import Judged

__all__ = ["ComparedVersion", "Comparison", "compare"]


class ComparedVersion(BaseModel, frozen=True):
    """A version that the two databases do not have alike.

    Attributes
    ----------
    here, there : str
        ``applied``, ``pending`` (its file is known here), ``unknown``; ``changed`` on both sides where each
        has applied another text under the name.
    """

    name: str
    history: str
    here: str
    there: str


class Comparison(Judged, frozen=True):
    """How another database differs from this one.

    Attributes
    ----------
    versions : tuple of ComparedVersion
        Those that are not applied alike.
    schema_differences : Differences
        `expected` is here, `found` is there; `statements` would turn that schema into this one.
    """

    verdicts: ClassVar = ("same",)

    here: str
    there: str
    heads_here: dict[str, str | None]
    heads_there: dict[str, str | None]
    versions: tuple[ComparedVersion, ...]
    schema_differences: Differences

    @property
    def same(self) -> bool:
        """Whether neither the versions nor the schemas differ."""
        return not self.versions and not self.schema_differences


def compare(
    config: DatabaseConfig, runs: Sequence[FolderRun], other: DatabaseConfig, others: Sequence[FolderRun]
) -> Comparison:
    """Compare two databases; both are only read."""
    here, there = look_live(config, runs), look_live(other, others)
    return Comparison(
        here=config.url(),
        there=other.url(),
        heads_here=here.heads,
        heads_there=there.heads,
        versions=tuple(_versions(here, there)),
        schema_differences=differences(here.snapshot, there.snapshot),
    )


def _versions(here: Live, there: Live) -> list[ComparedVersion]:
    compared: list[ComparedVersion] = []
    for run, ours, theirs in zip(here.runs, here.histories, there.histories, strict=True):
        mine, yours = ({row.name: row for row in rows} for rows in (ours, theirs))
        files = {file.name for file in run.files}
        for name in sorted({*files, *mine, *yours}):
            states = [_state(name, rows, files) for rows in (mine, yours)]
            both = mine.get(name), yours.get(name)
            if both[0] and both[1] and not both[0].did_as(both[1].token_hash, both[1].up_hash):
                states = ["changed", "changed"]
            if states[0] != states[1] or states == ["changed", "changed"]:
                compared.append(
                    ComparedVersion(name=name, history=run.table, here=states[0], there=states[1])
                )
    return compared


def _state(name: str, rows: dict[str, Applied], files: set[str]) -> str:
    row = rows.get(name)
    if row is not None:
        return "partial" if row.progress else "applied"
    return "pending" if name in files else "unknown"
