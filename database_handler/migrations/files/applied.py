"""What the history says of a version, as values: that it is applied, from where, or how far it came."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from database_handler.migrations.files.migration import Direction
from database_handler.utils.text import counted

__all__ = ["NO_BATCH", "Applied", "BatchProgress", "Origin", "Progress", "State"]

State = Literal["applied", "pending", "changed", "missing", "partial"]
Origin = Literal["run", "baseline", "replaced"]


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How far the batches of one part came; `after` is where a Python migration said that it stopped."""

    batches: int = 0
    rows: int = 0
    after: object = None

    def then(self, rows: int, after: object = None) -> "BatchProgress":
        """Return it after one batch more."""
        return BatchProgress(self.batches + 1, self.rows + rows, after)

    @property
    def told(self) -> str:
        """Say it to a person."""
        rows = f", {counted(self.rows, 'row')}" if self.rows else ""
        return f"{counted(self.batches, 'batch', 'batches')}{rows}"


NO_BATCH = BatchProgress()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an interrupted run came: so many parts, whose tokens have this hash.

    Attributes
    ----------
    begun : mapping, optional
        What the catalogue said before the statement after those parts was begun; None where none was.
        Empty where that is not known.
    batch : BatchProgress
        Of the part that comes next.
    """

    direction: Direction
    parts: int
    parts_hash: str
    begun: Mapping[str, object] | None = None
    batch: BatchProgress = NO_BATCH

    @property
    def told(self) -> str:
        """Say it to a person: ``2 parts are done``."""
        batches = f", then {self.batch.told}" if self.batch.batches else ""
        return f"{counted(self.parts, 'part')} {'is' if self.parts == 1 else 'are'} done{batches}"


@dataclass(frozen=True, slots=True)
class Applied:
    """A row of the history; `progress` is None for a version that is applied as a whole.

    Attributes
    ----------
    origin : str
        ``run``; ``baseline`` where it was declared to be there; ``replaced`` where it stands for the
        versions that a squashed file replaces.
    folds : tuple of str
        The rows that this one stands for, where it is not written down itself.
    up_hash : str, optional
        The hash without the way down; None where an earlier release wrote the row.
    """

    number: int
    name: str
    token_hash: str
    applied_at: dt.datetime
    applied_by: str
    duration: dt.timedelta
    library_version: str
    progress: Progress | None = None
    origin: Origin = "run"
    folds: tuple[str, ...] = ()
    up_hash: str | None = None

    def did_as(self, token_hash: str, up_hash: str | None) -> bool:
        """Whether what was run is what these are the hashes of; the way down, not run yet, may be another."""
        return self.token_hash == token_hash or (self.up_hash is not None and self.up_hash == up_hash)
