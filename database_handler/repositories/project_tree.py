"""A project and everything below it: one statement, one snapshot, the records that `get_by_id` would give.

The rows of all tables come back as one result. Each branch of its UNION puts its columns into slots of their
own type, shared between the tables, so that the driver reads every value as it does for a single record.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeVar
from uuid import UUID

from database_handler.core.base_model import Record, filler
from database_handler.core.schema import Table
from database_handler.core.session import Statement
from database_handler.models import ENTITIES, Link, Project, Summary, TextSource, Translation, Video

__all__ = ["ProjectTree", "SummaryNode", "TextSourceNode", "planted", "tree"]

R = TypeVar("R", bound=Record)
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class SummaryNode:
    """A summary with its translations, each in the order of their ids."""

    record: Summary
    translations: tuple[Translation, ...]


@dataclass(frozen=True, slots=True)
class TextSourceNode:
    """A text source with its summaries, and with the translations of the text itself."""

    record: TextSource
    summaries: tuple[SummaryNode, ...]
    translations: tuple[Translation, ...]


@dataclass(frozen=True, slots=True)
class ProjectTree:
    """A project and all that stands below it, as it was at one moment; everything in the order of ids."""

    project: Project
    text_sources: tuple[TextSourceNode, ...]
    videos: tuple[Video, ...]
    links: tuple[Link, ...]

    def records(self) -> Iterator[Record]:
        """Iterate over every record, what is referred to before what refers to it."""
        yield self.project
        for source in self.text_sources:
            yield source.record
            yield from source.translations
            for summary in source.summaries:
                yield summary.record
                yield from summary.translations
        yield from self.videos
        yield from self.links


# ----------------------------------------------------------------------------------------------- statement


def _slots(table: Table) -> list[tuple[str, int]]:
    """Return a slot for each column: its type, and the how-manieth of that type it is."""
    seen: Counter[str] = Counter()
    slots = []
    for column in table.columns:
        slots.append((column.type, seen[column.type]))
        seen[column.type] += 1
    return slots


@lru_cache(maxsize=1)
def _all_slots() -> tuple[tuple[str, int], ...]:
    return tuple(sorted({slot for model in ENTITIES for slot in _slots(model.table)}))


@lru_cache(maxsize=1)
def tree() -> Statement:
    """Every row of a project; the first column says of which entity. Binds the project once for each."""
    branches = (_branch(place, model.table) for place, model in enumerate(ENTITIES))
    return Statement(" UNION ALL ".join(branches), "projects.tree")


def _branch(place: int, table: Table) -> str:
    named = dict(zip(_slots(table), table.column_names, strict=True))
    columns = ", ".join(named.get(slot, f"NULL::{slot[0]}") for slot in _all_slots())
    return f"SELECT {place}, {columns} FROM {table.name} WHERE {table.scope_column} = %s::uuid"


# ------------------------------------------------------------------------------------------------- reading


class _Reader:
    """Makes records of the rows, by the entity that the first column names."""

    def __init__(self) -> None:
        places = {slot: place for place, slot in enumerate(_all_slots(), 1)}
        wanted = [[places[slot] for slot in _slots(model.table)] for model in ENTITIES]
        self._columns = [itemgetter(*found) for found in wanted]
        self._fill = [filler(model) for model in ENTITIES]
        self._id = [
            found[model.table.column_names.index("id")] for model, found in zip(ENTITIES, wanted, strict=True)
        ]

    def order(self, row: Row) -> tuple[int, int]:
        """Return what orders the rows: the entity, then the id."""
        id: UUID = row[self._id[row[0]]]
        return row[0], id.int

    def record(self, row: Row) -> Record:
        """Return the record of a row."""
        place = row[0]
        return self._fill[place](self._columns[place](row))


@lru_cache(maxsize=1)
def _reader() -> _Reader:
    return _Reader()


def planted(rows: list[Row]) -> ProjectTree | None:
    """Make the tree of the rows of `tree`, which are used up; None where the project is not there."""
    reader = _reader()
    # From the end, each row let go at once: with all of them alive beside their records the collector takes
    # as long again as the reading.
    rows.sort(key=reader.order, reverse=True)
    found: dict[type[Record], list[Record]] = defaultdict(list)
    while rows:
        record = reader.record(rows.pop())
        found[type(record)].append(record)
    return _nested(_Found(found)) if found[Project] else None


@dataclass(frozen=True, slots=True)
class _Found:
    """The records by their entity."""

    records: dict[type[Record], list[Record]]

    def of(self, model: type[R]) -> Sequence[R]:
        """Return those of one entity, with its type."""
        return [record for record in self.records[model] if isinstance(record, model)]


def _nested(found: _Found) -> ProjectTree:
    translations: dict[UUID | None, list[Translation]] = defaultdict(list)
    for translation in found.of(Translation):
        translations[translation.text_source_id or translation.summary_id].append(translation)
    summaries: dict[UUID, list[SummaryNode]] = defaultdict(list)
    for summary in found.of(Summary):
        summaries[summary.text_source_id].append(SummaryNode(summary, _taken(translations.get(summary.id))))
    sources = (
        TextSourceNode(source, _taken(summaries.get(source.id)), _taken(translations.get(source.id)))
        for source in found.of(TextSource)
    )
    [project] = found.of(Project)
    return ProjectTree(project, tuple(sources), tuple(found.of(Video)), tuple(found.of(Link)))


T = TypeVar("T")


def _taken(found: Iterable[T] | None) -> tuple[T, ...]:
    return tuple(found or ())
