"""A scratch copy that is taken up version by version, with trials in between of which nothing stays."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from database_handler.config.database import DatabaseConfig
from database_handler.core.session import Session
from database_handler.migrations.errors import MigrationFailed
from database_handler.migrations.files.migration_values import Migration
from database_handler.migrations.scratch.building import build, made_extensions, needs_database
from database_handler.migrations.scratch.place import (
    UNSAFE_USE,
    build_for_good,
    guard,
    rolled_back,
    schemas_of,
    scratch_database,
    scratch_schema,
    undone,
)

__all__ = ["Ladder", "climb"]

T = TypeVar("T")


class Ladder(Protocol):
    """A copy at some version.

    Attributes
    ----------
    in_sections : bool
        Whether `advance` ends a transaction with each section, as a run does.
    """

    in_sections: bool

    def trial(self) -> AbstractContextManager[Session]:
        """Give a session whose work is undone when the block ends."""
        ...

    def advance(self, migrations: Sequence[Migration]) -> None:
        """Run the up parts of migrations, for good as far as the copy goes."""
        ...


def climb(config: DatabaseConfig, migrations: Sequence[Migration], work: Callable[[Ladder], T]) -> T:
    """Do `work` with a ladder in whichever place these migrations can be run.

    Parameters
    ----------
    migrations : sequence of Migration
        All that the work will run.
    """
    with scratch_schema(config) as session:
        if not needs_database(migrations, schemas_of(session)):
            try:
                found = work(_InSchema(session))
                guard(session, config)
            except MigrationFailed as error:
                if error.sqlstate != UNSAFE_USE:
                    raise
            else:
                return found
    made = made_extensions(migration.text for migration in migrations)
    with scratch_database(config, without=made) as scratch:
        return work(_InDatabase(scratch))


class _InSchema:
    in_sections = False

    def __init__(self, session: Session) -> None:
        self._session = session

    def trial(self) -> AbstractContextManager[Session]:
        return undone(self._session)

    def advance(self, migrations: Sequence[Migration]) -> None:
        build(self._session, migrations)


class _InDatabase:
    in_sections = True

    def __init__(self, scratch: DatabaseConfig) -> None:
        self._scratch = scratch

    def trial(self) -> AbstractContextManager[Session]:
        return rolled_back(self._scratch)

    def advance(self, migrations: Sequence[Migration]) -> None:
        build_for_good(self._scratch, migrations)
