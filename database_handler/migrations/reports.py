"""What the manager's runs tell: frozen values, each of which is JSON by `model_dump_json`."""

import datetime as dt
from typing import ClassVar

from pydantic import Field

from database_handler.core.base_model import Value
from database_handler.migrations.files.planning import Origin, State
from database_handler.migrations.verdicts import Judged

__all__ = [
    "MigrationItem",
    "MigrationReport",
    "MigrationStatus",
    "PlannedMigration",
    "PlannedStatement",
]


class MigrationItem(Value, frozen=True):
    """One version: its file against its row of the history.

    Attributes
    ----------
    history : str
        The history table that it belongs to; a database with an application of its own has two.
    origin : str
        ``run``; ``baseline`` where it was recorded as applied without being run; ``replaced`` where it is a
        squashed file that takes the place of versions that were run.
    progress : str or None
        How far a partial one came.
    another_down : bool
        Whether its way down was changed since; the new one is what a rollback runs.
    """

    number: int
    name: str
    state: State
    reversible: bool
    applied_at: dt.datetime | None = None
    applied_by: str | None = None
    duration: dt.timedelta | None = None
    library_version: str | None = None
    history: str = ""
    origin: Origin = "run"
    progress: str | None = None
    another_down: bool = False


class MigrationStatus(Judged, Value, frozen=True):
    """Every version in order, and the name of the last one that is applied.

    Attributes
    ----------
    head : str or None
        Of the last history, where there are two.
    notes : tuple of str
        What no command refuses and somebody should look at: a folder without its `versions.lock`.
    """

    verdicts: ClassVar = ("pending", "at_head")

    items: tuple[MigrationItem, ...]
    head: str | None
    notes: tuple[str, ...] = ()

    @property
    def pending(self) -> tuple[str, ...]:
        """The names of what `migrate` would run."""
        return tuple(item.name for item in self.items if item.state in {"pending", "partial"})

    @property
    def at_head(self) -> bool:
        """Whether all that there is, is applied, and unchanged."""
        return all(item.state == "applied" for item in self.items)


class PlannedStatement(Value, frozen=True):
    """A statement of a dry run: where it stands, and what it was measured to do on a copy of the schema.

    Attributes
    ----------
    locks : mapping of relation to lock mode
        The strongest that it takes on what was there before it.
    rewrites, scans : tuple of str
        The tables that it writes anew, and those that it reads whole.
    """

    line: int
    sql: str
    transactional: bool = True
    locks: dict[str, str] = Field(default_factory=dict)
    rewrites: tuple[str, ...] = ()
    scans: tuple[str, ...] = ()


class PlannedMigration(Value, frozen=True):
    """What a dry run found to do: a version, and the SQL that would be sent for it.

    Attributes
    ----------
    statements : tuple of PlannedStatement
        The same, one by one, with their locks; empty where `unmeasured` says why.
    """

    name: str
    sql: str
    statements: tuple[PlannedStatement, ...] = ()
    unmeasured: str | None = None


class MigrationReport(Judged, Value, frozen=True):
    """What a run did, in the order in which it was done."""

    verdicts: ClassVar = ("changed",)

    applied: tuple[str, ...] = ()
    rolled_back: tuple[str, ...] = ()
    planned: tuple[PlannedMigration, ...] = ()
    head: str | None = None
    seconds: float = 0.0

    @property
    def changed(self) -> bool:
        """Whether anything was run; False means that the database already stood there."""
        return bool(self.applied or self.rolled_back)
