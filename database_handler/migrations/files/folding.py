"""Squashed files: one stands for the rows of all the versions that it replaces, once they are all there."""

import datetime as dt
from collections.abc import Iterator, Sequence

from database_handler.migrations.errors import ChangedMigration, PartialMigration
from database_handler.migrations.files.applied import Applied
from database_handler.migrations.files.migration import Migration

__all__ = ["folded", "half_replaced"]


def folded(migrations: Sequence[Migration], history: Sequence[Applied]) -> tuple[Applied, ...]:
    """Return the history with one row for all the versions that a squashed file replaces.

    Only where all of them are there. Nothing is written: the next run that holds the lock makes them one.
    """
    rows = list(history)
    for migration in migrations:
        mine = _replaced_rows(migration, rows)
        if mine and _covers(migration, mine):
            names = {row.name for row in mine}
            at = rows.index(mine[0])
            rows = [row for row in rows if row.name not in names]
            rows.insert(at, _one_row(migration, mine))
    return tuple(rows)


def _replaced_rows(migration: Migration, rows: Sequence[Applied]) -> list[Applied]:
    if not migration.replaces or any(row.name == migration.name for row in rows):
        return []
    names = {replaced.name for replaced in migration.replaces}
    return [row for row in rows if row.name in names]


def _covers(migration: Migration, mine: Sequence[Applied]) -> bool:
    whole = all(row.progress is None and _is_known(migration, row) for row in mine)
    # A row of an earlier squash reaches back to the first number by itself.
    return whole and max(row.number for row in mine) == migration.number


def _is_known(migration: Migration, row: Applied) -> bool:
    return any(
        each.name == row.name and row.did_as(each.token_hash, each.up_hash) for each in migration.replaces
    )


def _one_row(migration: Migration, mine: Sequence[Applied]) -> Applied:
    last = mine[-1]
    return Applied(
        migration.number,
        migration.name,
        migration.token_hash,
        last.applied_at,
        last.applied_by,
        sum((row.duration for row in mine), dt.timedelta(0)),
        last.library_version,
        origin="replaced",
        folds=tuple(row.name for row in mine),
        up_hash=migration.up_hash,
    )


def half_replaced(
    migrations: Sequence[Migration], history: Sequence[Applied]
) -> Iterator[PartialMigration | ChangedMigration]:
    """Give a problem for each squashed file of whose versions the history has some, but not all."""
    for migration in migrations:
        mine = _replaced_rows(migration, history)
        if not mine or _covers(migration, mine):
            continue
        changed = [row for row in mine if not row.progress and not _is_known(migration, row)]
        yield from (
            ChangedMigration(
                f"{row.name} was applied with other SQL than the one that {migration.name} replaces: "
                "squash again from the file that was applied",
                [row.name],
            )
            for row in changed
        )
        if not changed:
            yield PartialMigration(
                f"this database is at {mine[-1].name}, and {migration.name} replaces the versions up to "
                f"{migration.number:04}: migrate to {migration.number:04} with the release that has them, "
                "then with this one",
                [row.name for row in mine],
            )
