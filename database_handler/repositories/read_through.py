"""Reads of single records, and of a project's figures, through the cache where a session has one.

What is stored is what a primary said: the statement that loads asks the server that answers whether it is a
standby, whose rows may be behind.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, TypeVar
from uuid import UUID

from database_handler.core.base_model import Record, filler
from database_handler.core.cache import Cache
from database_handler.core.cache_entries import Codec, Kind
from database_handler.core.cache_reading import Loaded
from database_handler.core.cache_tags import STATISTICS, table_tag
from database_handler.core.schema import Table
from database_handler.core.session import Session, Statement
from database_handler.repositories.project_statistics import ProjectStatistics, counted, statistics
from database_handler.repositories.statements import columns

__all__ = ["records", "statistics_of"]

R = TypeVar("R", bound=Record)
_STANDBY = "pg_is_in_recovery()"


def records(
    cache: Cache,
    session: Session,
    record: type[R],
    ids: Iterable[UUID],
    *,
    call: str,
    refuse_ambiguous: Callable[[int], None],
) -> dict[UUID, R]:
    """Return the records of some ids, as far as they are there.

    Parameters
    ----------
    call : str
        What the statement is called by, where one is sent.
    refuse_ambiguous : callable
        Takes how many rows one id has.
    """
    fill, at = filler(record), record.table.column_names.index("id")

    def load(missing: Sequence[UUID]) -> Loaded[R]:
        rows = session.all(_rows(record.table, call), [list(missing)])
        found = {row[at]: fill(row[:-1]) for row in rows}
        refuse_ambiguous(1 + len(rows) - len(found))
        values = {id: (each, each.version) for id, each in found.items()}
        return Loaded(values, primary=not any(row[-1] for row in rows))

    return cache.read(_kind_of(record), ids, load, session.listeners)


def statistics_of(
    cache: Cache, session: Session, projects: Iterable[UUID], below: tuple[Table, ...]
) -> dict[UUID, ProjectStatistics]:
    """Return the figures of some projects, as far as they are there."""

    def load(missing: Sequence[UUID]) -> Loaded[ProjectStatistics]:
        rows = session.all(_figures(below), [list(missing)] * (1 + len(below)))
        found = counted((row[:-1] for row in rows), below)
        values = {id: (each, 0) for id, each in found.items()}
        return Loaded(values, primary=not any(row[-1] for row in rows))

    return cache.read(_figures_kind(tuple(table.name for table in below)), projects, load, session.listeners)


@lru_cache(maxsize=256)
def _rows(table: Table, call: str) -> Statement:
    text = f"SELECT {columns(table)}, {_STANDBY} FROM {table.name} WHERE id = ANY(%s::uuid[])"
    return Statement(text, f"{table.name}.{call}")


@lru_cache(maxsize=64)
def _figures(below: tuple[Table, ...]) -> Statement:
    asked: Any = statistics(below)
    return Statement(f"SELECT f.*, {_STANDBY} FROM ({asked.text}) AS f", asked.name)


@lru_cache(maxsize=256)
def _kind_of(record: type[R]) -> Kind[R]:
    name = record.table.name
    return Kind(name, table_tag(name), f"r:{name}", Codec(record))


@lru_cache(maxsize=64)
def _figures_kind(below: tuple[str, ...]) -> Kind[ProjectStatistics]:
    # An application that has other entities counts other rows.
    return Kind("statistics", STATISTICS, STATISTICS, Codec(ProjectStatistics, *below))
