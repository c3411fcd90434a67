"""Which texts of a project are translated into which languages, and what is missing.

One pass over the translations, without a join: each text and each translation leaves a mark (of which text,
in which language, how far), and the furthest mark of a text in a language is what stands there. So the cost
grows with the rows, whatever the planner knows of them.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Literal, NamedTuple, get_args
from uuid import UUID

from database_handler.core.base_model import validated_field
from database_handler.core.exceptions import InvalidValue
from database_handler.core.quoting import literal
from database_handler.core.session import Statement
from database_handler.models import NewTranslation, SummaryKind, TranslationStatus

__all__ = [
    "Coverage",
    "CoverageAsked",
    "LanguageCoverage",
    "Original",
    "OriginalCoverage",
    "coverage",
    "covered",
    "wanted_languages",
]

Original = Literal["text_sources", "summaries"]
MOST_LANGUAGES = 1000
MOST_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class LanguageCoverage:
    """How many originals stand where in one language; the five together are all of them.

    Attributes
    ----------
    approved, review, draft : int
        Originals whose translation is there; of several, the one that has come furthest counts.
    missing : int
        Originals without one.
    original : int
        Originals that are in this language themselves, and so need none.
    """

    approved: int = 0
    review: int = 0
    draft: int = 0
    missing: int = 0
    original: int = 0


@dataclass(frozen=True, slots=True)
class OriginalCoverage:
    """Where one text source, or one summary, stands.

    Attributes
    ----------
    title : str
        The text source's; for a summary, that of the text it is of.
    kind : SummaryKind or None
        A summary's.
    statuses : mapping
        For each of the report's languages that it is translated into, how far that has come.
    missing : tuple of str
        The languages of the report that it is not translated into, but for its own.
    """

    id: UUID
    title: str
    language: str
    kind: SummaryKind | None
    statuses: Mapping[str, TranslationStatus]
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far a project is translated.

    Attributes
    ----------
    of : str
        ``text_sources`` or ``summaries``: what was looked at.
    languages : tuple of str
        Those that are reported on, in canonical form.
    originals : int
        How many there are, on whatever page.
    totals : mapping
        For each language, over all originals.
    items : tuple of OriginalCoverage
        A page of originals in the order of their ids.
    next_cursor : UUID or None
        What to give as ``after`` for the next page; None on the last.
    """

    project_id: UUID
    of: Original
    languages: tuple[str, ...]
    originals: int
    totals: Mapping[str, LanguageCoverage]
    items: tuple[OriginalCoverage, ...]
    next_cursor: UUID | None


# --------------------------------------------------------------------------------------------------- asked


@dataclass(frozen=True, slots=True)
class CoverageAsked:
    """What a report is to be about, checked."""

    project_id: UUID
    of: Original
    languages: tuple[str, ...] | None
    limit: int
    after: UUID | None

    @classmethod
    def of_call(
        cls, project_id: UUID, of: Original, languages: object, limit: object, after: UUID | None
    ) -> "CoverageAsked":
        """Check what a caller gave, or raise `InvalidValue`."""
        if of not in get_args(Original):
            raise InvalidValue('coverage: of is "text_sources" or "summaries"')
        if type(limit) is not int or not 0 <= limit <= MOST_ROWS:
            raise InvalidValue(f"coverage: limit is a whole number from 0 (totals alone) to {MOST_ROWS:,}")
        return cls(project_id, of, wanted_languages(languages, "coverage"), limit, after)

    @property
    def values(self) -> list[object]:
        """What the statement binds, in its order."""
        project = self.project_id
        chosen: list[object] = [] if self.languages is None else [list(self.languages)]
        after = [] if self.after is None else [self.after]
        fetched = self.limit + 1 if self.limit else 0
        return [*(chosen or [project]), project, *chosen, project, project, *after, fetched, project]


def wanted_languages(languages: object, call: str) -> tuple[str, ...] | None:
    """Return the languages asked for in canonical form, each once; None stays None.

    Raises
    ------
    InvalidValue
        The list is empty, or something in it is no language; the nearest one is named.
    """
    if languages is None:
        return None
    if isinstance(languages, str | bytes | Mapping) or not isinstance(languages, Iterable):
        raise InvalidValue(f"{call}: languages are a list of BCP 47 tags, such as ['fr', 'pt-BR']")
    given = list(islice(languages, MOST_LANGUAGES + 1))
    if not 1 <= len(given) <= MOST_LANGUAGES:
        raise InvalidValue(f"{call}: from 1 to {MOST_LANGUAGES:,} languages are given")
    return tuple(dict.fromkeys(validated_field(NewTranslation, "target_language", code) for code in given))


# ----------------------------------------------------------------------------------------------- statement

_STATUSES = tuple(TranslationStatus)  # from the first step to the last: their places rank them
_REFERENCE = {"text_sources": "text_source_id", "summaries": "summary_id"}
_SHOWN = {
    "text_sources": "title, language, NULL::text AS kind",
    "summaries": "(SELECT title FROM text_sources AS t WHERE t.project_id = s.project_id "
    "AND t.id = s.text_source_id) AS title, language, kind",
}
_DEFAULT = "SELECT DISTINCT target_language FROM translations WHERE project_id = %s::uuid"


@lru_cache(maxsize=8)
def coverage(of: Original, chosen: bool, beyond: bool) -> Statement:
    """The report of one project in one statement.

    Parameters
    ----------
    chosen : bool
        Whether languages are given; else those that occur.
    beyond : bool
        Whether the page begins after an id.
    """
    wanted = "SELECT unnest(%s::text[])" if chosen else _DEFAULT
    after = " AND id > %s::uuid" if beyond else ""
    text = (
        f"WITH wanted(language) AS MATERIALIZED ({wanted}), {_marks(of, chosen)}, "
        f"page AS MATERIALIZED (SELECT id, {_SHOWN[of]} FROM {of} AS s WHERE s.project_id = %s::uuid{after} "
        "ORDER BY id LIMIT %s) "
    )
    return Statement(text + _ANSWER, "projects.coverage", prepares=True)


def _marks(of: Original, chosen: bool) -> str:
    """Give for each original and language the furthest mark: 0 is the original itself, 1 a draft."""
    reference = _REFERENCE[of]
    ranks = ", ".join(literal(status.value) for status in _STATUSES)
    languages = " AND target_language = ANY(%s::text[])" if chosen else ""
    return (
        "best AS MATERIALIZED (SELECT id, language, max(rank) AS rank, bool_or(rank = 0) AS own FROM ("
        f"SELECT {reference} AS id, target_language AS language, "
        f"array_position(ARRAY[{ranks}], status) AS rank "
        f"FROM translations WHERE project_id = %s::uuid AND {reference} IS NOT NULL{languages} "
        f"UNION ALL SELECT id, language, 0 FROM {of} WHERE project_id = %s::uuid"
        ") AS marks GROUP BY id, language)"
    )


# The page is a range of ids, so its marks are found without a join.
_ANSWER = (
    "SELECT 'project' AS part, id, NULL AS language, NULL::integer AS rank, NULL::bigint AS number, "
    "NULL::bigint AS own, NULL AS title, NULL AS kind FROM projects WHERE id = %s::uuid "
    "UNION ALL SELECT 'wanted', NULL, language, NULL, NULL, NULL, NULL, NULL FROM wanted "
    "UNION ALL SELECT 'total', NULL, language, rank, count(*), count(*) FILTER (WHERE own), NULL, NULL "
    "FROM best GROUP BY language, rank "
    "UNION ALL SELECT 'original', id, language, NULL, NULL, NULL, title, kind FROM page "
    "UNION ALL SELECT 'mark', id, language, rank, NULL, NULL, NULL, NULL FROM best WHERE rank > 0 "
    "AND id >= (SELECT id FROM page ORDER BY id LIMIT 1) "
    "AND id <= (SELECT id FROM page ORDER BY id DESC LIMIT 1)"
)


# ------------------------------------------------------------------------------------------------- reading


class _Row(NamedTuple):
    """A row of the answer; what the columns hold follows from the part."""

    part: str
    id: UUID
    language: str
    rank: int
    number: int
    own: int
    title: str
    kind: str | None


def covered(asked: CoverageAsked, rows: Iterable[tuple[Any, ...]]) -> Coverage | None:
    """Read the answer to `coverage`; None where the project is not there."""
    parts: dict[str, list[_Row]] = defaultdict(list)
    for row in map(_Row._make, rows):
        parts[row.part].append(row)
    if not parts["project"]:
        return None
    languages = asked.languages or tuple(sorted(row.language for row in parts["wanted"]))
    items = _items(parts, languages)
    more = len(items) > asked.limit
    return Coverage(
        project_id=asked.project_id,
        of=asked.of,
        languages=languages,
        originals=sum(row.own for row in parts["total"]),
        totals=_totals(parts["total"], languages),
        items=items[: asked.limit],
        next_cursor=items[asked.limit - 1].id if more else None,
    )


def _totals(rows: Sequence[_Row], languages: Sequence[str]) -> dict[str, LanguageCoverage]:
    everything = sum(row.own for row in rows)
    ranked: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        ranked[row.language][row.rank] += row.number
    return {code: _total(ranked[code], everything) for code in languages}


def _total(ranks: Mapping[int, int], everything: int) -> LanguageCoverage:
    there = {status.value: ranks[place] for place, status in enumerate(_STATUSES, 1)}
    missing = everything - sum(there.values()) - ranks[0]
    return LanguageCoverage(**there, missing=missing, original=ranks[0])


def _items(parts: Mapping[str, Sequence[_Row]], languages: Sequence[str]) -> tuple[OriginalCoverage, ...]:
    marks: dict[UUID, dict[str, TranslationStatus]] = defaultdict(dict)
    for row in parts["mark"]:
        marks[row.id][row.language] = _STATUSES[row.rank - 1]
    originals = sorted(parts["original"], key=lambda row: row.id.int)
    return tuple(_item(row, marks[row.id], languages) for row in originals)


def _item(row: _Row, found: Mapping[str, TranslationStatus], languages: Sequence[str]) -> OriginalCoverage:
    return OriginalCoverage(
        id=row.id,
        title=row.title,
        language=row.language,
        kind=None if row.kind is None else SummaryKind(row.kind),
        statuses={code: found[code] for code in languages if code in found},
        missing=tuple(code for code in languages if code not in found and code != row.language),
    )
