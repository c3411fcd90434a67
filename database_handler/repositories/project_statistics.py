"""What a project holds, in figures: one statement for any number of projects, one pass over each table."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from database_handler.core.schema import Table
from database_handler.core.session import Statement
from database_handler.models import LinkKind, TranslationStatus, VideoStatus

__all__ = [
    "LinkStatistics",
    "ProjectStatistics",
    "SummaryAmounts",
    "SummaryStatistics",
    "TextSourceAmounts",
    "TextSourceStatistics",
    "TranslationAmounts",
    "TranslationStatistics",
    "VideoAmounts",
    "VideoStatistics",
    "counted",
    "statistics",
]


@dataclass(frozen=True, slots=True)
class TextSourceAmounts:
    """How many text sources, and how much text; `size_bytes` is that of a file where there was one."""

    rows: int = 0
    words: int = 0
    characters: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class TextSourceStatistics(TextSourceAmounts):
    """Text sources: all of them, and by the language of the text."""

    languages: Mapping[str, TextSourceAmounts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SummaryAmounts:
    """How many summaries, and how many words."""

    rows: int = 0
    words: int = 0


@dataclass(frozen=True, slots=True)
class SummaryStatistics(SummaryAmounts):
    """Summaries: all of them, and by language."""

    languages: Mapping[str, SummaryAmounts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TranslationAmounts:
    """How many translations, words, and tokens of those that have been tokenized."""

    rows: int = 0
    words: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class TranslationStatistics(TranslationAmounts):
    """Translations: all of them, by target language, and by status (each status is there)."""

    languages: Mapping[str, TranslationAmounts] = field(default_factory=dict)
    statuses: Mapping[TranslationStatus, TranslationAmounts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VideoAmounts:
    """How many videos, seconds and bytes; a video whose duration or size is not known adds nothing."""

    rows: int = 0
    seconds: float = 0.0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class VideoStatistics(VideoAmounts):
    """Videos: all of them, and by status (each status is there)."""

    statuses: Mapping[VideoStatus, VideoAmounts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """How many links: all of them, and by kind (each kind is there)."""

    rows: int = 0
    kinds: Mapping[LinkKind, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProjectStatistics:
    """What a project holds, as it was at one moment.

    Attributes
    ----------
    rows : int
        Rows below the project.
    words : int
        Words of text sources, summaries and translations together.
    last_activity : datetime
        The latest `updated_at` of the project and everything below it.
    others : mapping
        Rows of an application's own entities, by the names of their tables (each is there).
    """

    project_id: UUID
    rows: int
    words: int
    last_activity: datetime
    text_sources: TextSourceStatistics
    summaries: SummaryStatistics
    translations: TranslationStatistics
    videos: VideoStatistics
    links: LinkStatistics
    others: Mapping[str, int] = field(default_factory=dict)


# ----------------------------------------------------------------------------------------------- statement


class _Part(NamedTuple):
    """What is asked of a table: groups by at most two columns, at most three sums."""

    table: str
    groups: tuple[str, ...]
    sums: tuple[str, ...] = ()


# A duration is summed as the decimal number that it is written as: exact whatever the order of the rows,
# and no sum of finite ones is too large for the server.
_PARTS = (
    _Part("text_sources", ("language",), ("word_count", "char_count", "size_bytes")),
    _Part("summaries", ("language",), ("word_count",)),
    _Part("translations", ("target_language", "status"), ("word_count", "token_count")),
    _Part("videos", ("status",), ("size_bytes", "duration::text::numeric")),
    _Part("links", ("kind",)),
)


@lru_cache(maxsize=64)
def statistics(below: tuple[Table, ...]) -> Statement:
    """Groups of every table for some projects; binds their ids once for each table, projects first.

    A table that an application adds is one group for each project; the project names it where it has no row.
    """
    parts = {part.table: part for part in _PARTS}
    branches = (_branch(parts.get(table.name, _Part(table.name, ()))) for table in below)
    project = (
        "SELECT 'projects' AS part, id, NULL AS one, NULL AS two, 1::bigint, updated_at, "
        "0::numeric, 0::numeric, 0::numeric FROM projects WHERE id = ANY(%s::uuid[])"
    )
    return Statement(" UNION ALL ".join((project, *branches)), "projects.statistics", prepares=True)


def _branch(part: _Part) -> str:
    groups = ", ".join((*part.groups, "NULL", "NULL")[i] for i in range(2))
    sums = ", ".join(f"coalesce(sum({column}), 0)::numeric" for column in part.sums)
    rest = ", ".join(["0::numeric"] * (3 - len(part.sums)))
    return (
        f"SELECT '{part.table}', project_id, {groups}, count(*), max(updated_at), "
        f"{', '.join(filter(None, (sums, rest)))} FROM {part.table} WHERE project_id = ANY(%s::uuid[]) "
        f"GROUP BY {', '.join(('project_id', *part.groups))}"
    )


# ------------------------------------------------------------------------------------------------- reading


class _Group(NamedTuple):
    """A row of the answer: some rows of one project's table that have the same labels."""

    part: str
    project_id: UUID
    one: str
    two: str
    rows: int
    last: datetime
    a: Decimal
    b: Decimal
    c: Decimal


A = TypeVar("A")
Amounts = Callable[[Sequence[_Group]], A]


def counted(rows: Iterable[tuple[Any, ...]], below: Iterable[Table]) -> dict[UUID, ProjectStatistics]:
    """Read the answer to `statistics`: the figures of each project that is there."""
    known = {part.table for part in _PARTS}
    own = tuple(table.name for table in below if table.name not in known)
    projects: dict[UUID, dict[str, list[_Group]]] = defaultdict(lambda: defaultdict(list))
    for group in map(_Group._make, rows):
        projects[group.project_id][group.part].append(group)
    return {id: _read(id, parts, own) for id, parts in projects.items()}


def _read(id: UUID, parts: Mapping[str, list[_Group]], own: Iterable[str]) -> ProjectStatistics:
    others = {name: _rows(parts.get(name, ())) for name in own}
    sources = _text_sources(parts.get("text_sources", []))
    summaries = _summaries(parts.get("summaries", []))
    translations = _translations(parts.get("translations", []))
    videos, links = _videos(parts.get("videos", [])), _links(parts.get("links", []))
    return ProjectStatistics(
        project_id=id,
        rows=sum(part.rows for part in (sources, summaries, translations, videos, links))
        + sum(others.values()),
        words=sources.words + summaries.words + translations.words,
        last_activity=max(group.last for groups in parts.values() for group in groups),
        text_sources=sources,
        summaries=summaries,
        translations=translations,
        videos=videos,
        links=links,
        others=others,
    )


def _by(groups: Iterable[_Group], label: Callable[[_Group], str]) -> dict[str, list[_Group]]:
    """Collect the groups of each label, in the order of the labels."""
    found: dict[str, list[_Group]] = defaultdict(list)
    for group in groups:
        found[label(group)].append(group)
    return dict(sorted(found.items()))


K = TypeVar("K", bound=StrEnum)


def _each(kind: type[K], groups: Mapping[str, list[_Group]], amounts: Amounts[A]) -> dict[K, A]:
    """Return the amounts of each member, also of those that no row has."""
    return {member: amounts(groups.get(member.value, [])) for member in kind}


def _rows(groups: Iterable[_Group]) -> int:
    return sum(group.rows for group in groups)


def _sum(groups: Iterable[_Group], column: Callable[[_Group], Decimal]) -> int:
    return sum(int(column(group)) for group in groups)


def _texts(groups: Sequence[_Group]) -> TextSourceAmounts:
    return TextSourceAmounts(
        _rows(groups),
        words=_sum(groups, lambda group: group.a),
        characters=_sum(groups, lambda group: group.b),
        size_bytes=_sum(groups, lambda group: group.c),
    )


def _text_sources(groups: Sequence[_Group]) -> TextSourceStatistics:
    total = _texts(groups)
    languages = {code: _texts(found) for code, found in _by(groups, lambda group: group.one).items()}
    return TextSourceStatistics(total.rows, total.words, total.characters, total.size_bytes, languages)


def _summed(groups: Sequence[_Group]) -> SummaryAmounts:
    return SummaryAmounts(_rows(groups), words=_sum(groups, lambda group: group.a))


def _summaries(groups: Sequence[_Group]) -> SummaryStatistics:
    total = _summed(groups)
    languages = {code: _summed(found) for code, found in _by(groups, lambda group: group.one).items()}
    return SummaryStatistics(total.rows, total.words, languages)


def _translated(groups: Sequence[_Group]) -> TranslationAmounts:
    return TranslationAmounts(
        _rows(groups),
        words=_sum(groups, lambda group: group.a),
        tokens=_sum(groups, lambda group: group.b),
    )


def _translations(groups: Sequence[_Group]) -> TranslationStatistics:
    total = _translated(groups)
    languages = {code: _translated(found) for code, found in _by(groups, lambda group: group.one).items()}
    statuses = _each(TranslationStatus, _by(groups, lambda group: group.two), _translated)
    return TranslationStatistics(total.rows, total.words, total.tokens, languages, statuses)


def _filmed(groups: Sequence[_Group]) -> VideoAmounts:
    return VideoAmounts(
        _rows(groups),
        seconds=float(sum((group.b for group in groups), Decimal(0))),
        size_bytes=_sum(groups, lambda group: group.a),
    )


def _videos(groups: Sequence[_Group]) -> VideoStatistics:
    total = _filmed(groups)
    statuses = _each(VideoStatus, _by(groups, lambda group: group.one), _filmed)
    return VideoStatistics(total.rows, total.seconds, total.size_bytes, statuses)


def _links(groups: Sequence[_Group]) -> LinkStatistics:
    return LinkStatistics(_rows(groups), _each(LinkKind, _by(groups, lambda group: group.one), _rows))
