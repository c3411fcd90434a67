"""A project and everything below it: one statement, one snapshot, the records that `get_by_id` would give.

The rows of all tables come back as one result. Each branch of its UNION puts its columns into slots of their
own type, shared between the tables, so that the driver reads every value as it does for a single record.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeVar
from uuid import UUID

from database_handler.core.base_model import Record, filler
from database_handler.core.schema import Table
from database_handler.core.session import Statement
from database_handler.models import Link, Project, Summary, TextSource, Translation, Video

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
    """A project and all that stands below it, as it was at one moment; everything in the order of ids.

    Attributes
    ----------
    others : mapping
        The records of an application's own entities, by the names of their tables (each is there).
    """

    project: Project
    text_sources: tuple[TextSourceNode, ...]
    videos: tuple[Video, ...]
    links: tuple[Link, ...]
    others: Mapping[str, tuple[Record, ...]] = field(default_factory=dict)

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
        for records in self.others.values():
            yield from records


# ----------------------------------------------------------------------------------------------- statement


def _slots(table: Table) -> list[tuple[str, int]]:
    """Return a slot for each column: its type, and the how-manieth of that type it is."""
    seen: Counter[str] = Counter()
    slots = []
    for column in table.columns:
        slots.append((column.type, seen[column.type]))
        seen[column.type] += 1
    return slots


Entities = tuple[type[Record], ...]


@lru_cache(maxsize=64)
def _all_slots(entities: Entities) -> tuple[tuple[str, int], ...]:
    return tuple(sorted({slot for model in entities for slot in _slots(model.table)}))


@lru_cache(maxsize=64)
def tree(entities: Entities) -> Statement:
    """Every row of a project; the first column says of which entity. Binds the project once for each."""
    slots = _all_slots(entities)
    branches = (_branch(place, model.table, slots) for place, model in enumerate(entities))
    return Statement(" UNION ALL ".join(branches), "projects.tree", prepares=True)


def _branch(place: int, table: Table, slots: Iterable[tuple[str, int]]) -> str:
    named = dict(zip(_slots(table), table.column_names, strict=True))
    columns = ", ".join(named.get(slot, f"NULL::{slot[0]}") for slot in slots)
    return f"SELECT {place}, {columns} FROM {table.name} WHERE {table.scope_column} = %s::uuid"


# ------------------------------------------------------------------------------------------------- reading


@lru_cache(maxsize=64)
def _makers(entities: Entities) -> tuple[Callable[[Row], Record], ...]:
    """Return what makes a record of a row, for each entity by its place."""
    places = {slot: place for place, slot in enumerate(_all_slots(entities), 1)}
    return tuple(
        _maker(model, itemgetter(*(places[slot] for slot in _slots(model.table)))) for model in entities
    )


def _maker(model: type[R], columns: Callable[[Row], Row]) -> Callable[[Row], R]:
    fill = filler(model)
    return lambda row: fill(columns(row))


def planted(rows: list[Row], entities: Entities) -> ProjectTree | None:
    """Make the tree of the rows of `tree`, which are used up; None where the project is not there."""
    makers = _makers(entities)
    found: dict[type[Record], list[Record]] = defaultdict(list)
    # Each row is let go at once: with all of them alive beside their records the collector takes as long
    # again as the reading.
    while rows:
        row = rows.pop()
        record = makers[row[0]](row)
        found[type(record)].append(record)
    for records in found.values():
        records.sort(key=lambda record: record.id.int)
    return _nested(_Found(found), entities) if found[Project] else None


@dataclass(frozen=True, slots=True)
class _Found:
    """The records by their entity."""

    records: dict[type[Record], list[Record]]

    def of(self, model: type[R]) -> Sequence[R]:
        """Return those of one entity, with its type."""
        return [record for record in self.records[model] if isinstance(record, model)]


_PLACED = (Project, TextSource, Summary, Translation, Video, Link)  # what the tree has a place of its own for


def _nested(found: _Found, entities: Entities) -> ProjectTree:
    # By both references: a text and a summary may have one id.
    translations: dict[tuple[UUID | None, UUID | None], list[Translation]] = defaultdict(list)
    for translation in found.of(Translation):
        translations[translation.text_source_id, translation.summary_id].append(translation)
    summaries: dict[UUID, list[SummaryNode]] = defaultdict(list)
    for summary in found.of(Summary):
        node = SummaryNode(summary, _taken(translations.get((None, summary.id))))
        summaries[summary.text_source_id].append(node)
    sources = (
        TextSourceNode(source, _taken(summaries.get(source.id)), _taken(translations.get((source.id, None))))
        for source in found.of(TextSource)
    )
    [project] = found.of(Project)
    own = {model.table.name: tuple(found.records[model]) for model in entities if model not in _PLACED}
    return ProjectTree(project, tuple(sources), tuple(found.of(Video)), tuple(found.of(Link)), own)


T = TypeVar("T")


def _taken(found: Iterable[T] | None) -> tuple[T, ...]:
    return tuple(found or ())
