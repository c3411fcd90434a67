"""Drops and additions that look like one renaming: nobody said so, and a guess would cost data."""

from collections.abc import Iterator

from database_handler.migrations.schema.schema_diff.casts import family
from database_handler.migrations.schema.schema_diff.fates import Change
from database_handler.migrations.schema.schema_diff.statement import Rename
from database_handler.migrations.schema.snapshot import Column, Kind, ObjectId, Table

__all__ = ["lookalikes"]

_ALIKE = 0.6


def lookalikes(change: Change) -> tuple[Rename, ...]:
    """Return each pair of a dropped and an added column or table of which one could be the other renamed."""
    return (*_tables(change), *_columns(change))


def _columns(change: Change) -> Iterator[Rename]:
    added = [column for id in change.added if isinstance(column := change.new.objects[id], Column)]
    by_table: dict[str, list[Column]] = {}
    for column in added:
        by_table.setdefault(column.id.name, []).append(column)
    for id in change.gone:
        column = change.old.objects[id]
        if isinstance(column, Column) and change.stays(ObjectId(Kind.TABLE, id.name)):
            for other in by_table.get(id.name, ()):
                if _alike(column, other):
                    yield Rename(id, other.id)


def _alike(one: Column, other: Column) -> bool:
    if one.generated or other.generated or one.inherited or other.inherited:
        return False
    kin = family(one.type) is not None and family(one.type) == family(other.type)
    return one.type == other.type or kin


def _tables(change: Change) -> Iterator[Rename]:
    added = [id for id in change.added if id.kind is Kind.TABLE]
    shapes = {id: _shape(change.new.columns(id.name)) for id in added}
    for id in change.gone:
        if id.kind is Kind.TABLE and isinstance(change.old.objects[id], Table):
            shape = _shape(change.old.columns(id.name))
            for other in added:
                if _overlap(shape, shapes[other]) >= _ALIKE:
                    yield Rename(id, other)


def _shape(columns: list[Column]) -> set[tuple[str, str]]:
    return {(column.id.part, column.type) for column in columns}


def _overlap(one: set[tuple[str, str]], other: set[tuple[str, str]]) -> float:
    return len(one & other) / max(len(one | other), 1) if one and other else 0.0
