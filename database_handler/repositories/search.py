"""Full-text search over every table that has a search vector: one statement and one round trip a page.

A query is parsed once in the stemming of each configuration. Their union finds candidates by the index, and
the query in a row's own configuration decides; what pairs of characters cannot tell for sure is looked up in
the text. Rows are ranked by their keys alone, and only those of the page are read in full. Where nothing is
found, the same statement goes on with the words that are near to those asked for; such hits say so.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, overload
from uuid import UUID

from pydantic_core import to_json
from typing_extensions import TypeVar

from database_handler.content.passages import passage
from database_handler.content.queries import Query, parse_query, words_of
from database_handler.core.base_model import Draft, Record, draft_of, filler, validated_field
from database_handler.core.exceptions import InvalidValue
from database_handler.core.schema import TENANT
from database_handler.core.session import Session
from database_handler.core.text_search import CONFIGURATIONS, configuration_of
from database_handler.models.summary import Summary
from database_handler.models.text_source import TextSource
from database_handler.models.translation import Translation
from database_handler.repositories.base import Repository
from database_handler.repositories.search_statements import Scope, bound, searching, vector_of
from database_handler.utils.text import verbatim

__all__ = ["SearchHit", "SearchPage", "Searched", "search_everything"]

D = TypeVar("D", bound=Draft)
R = TypeVar("R", bound=Record, default=Any)
Everything: TypeAlias = TextSource | Summary | Translation

LONGEST_QUERY = 10_000  # characters
MOST_WORDS = 200
MOST_LEAVES = 100  # phrases, refusals and alternatives
LARGEST_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class SearchHit(Generic[R]):
    """A record that matches a query.

    Attributes
    ----------
    rank : float
        How well it does; higher is better. Ranks of one query compare with each other, also across entities.
    snippet : str
        A passage of the content, as it is stored, with what matches between ``**``; of the title where only
        that matches.
    fuzzy : bool
        Whether it holds words near to those asked for, and not those.
    """

    record: R
    rank: float
    snippet: str
    fuzzy: bool = False

    @property
    def entity(self) -> str:
        """The name of the record's repository, such as ``text_sources``."""
        return self.record.table.name


class SearchPage(Sequence[SearchHit[R]]):
    """The hits of a page, best first: a sequence of them.

    Attributes
    ----------
    items : list of SearchHit
        The hits.
    next_cursor : str or None
        What to give as ``after`` for the next page; None on the last one.
    fuzzy : bool
        Whether nothing was found as it was asked, and the hits hold words near to those.
    """

    __slots__ = ("fuzzy", "items", "next_cursor")

    def __init__(
        self, items: list[SearchHit[R]], next_cursor: str | None = None, fuzzy: bool = False
    ) -> None:
        self.items, self.next_cursor, self.fuzzy = items, next_cursor, fuzzy

    @overload
    def __getitem__(self, place: int) -> SearchHit[R]: ...
    @overload
    def __getitem__(self, place: slice) -> list[SearchHit[R]]: ...
    def __getitem__(self, place: int | slice) -> SearchHit[R] | list[SearchHit[R]]:
        """Return the hit at a place, or those of a slice."""
        return self.items[place]

    def __len__(self) -> int:
        """Return how many hits the page has."""
        return len(self.items)

    def __iter__(self) -> Iterator[SearchHit[R]]:
        """Iterate over the hits."""
        return iter(self.items)

    def __eq__(self, other: object) -> bool:
        """Compare with a page, or with a list of hits."""
        if isinstance(other, SearchPage):
            return (self.items, self.next_cursor, self.fuzzy) == (other.items, other.next_cursor, other.fuzzy)
        return self.items == other if isinstance(other, list) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it holds a list

    def __repr__(self) -> str:
        """Show the hits and whether there are more."""
        return f"SearchPage({self.items!r}, next_cursor={self.next_cursor!r}, fuzzy={self.fuzzy})"


class Searched(Repository[D, R]):
    """A repository whose records are found by what they say."""

    def search(
        self,
        query: str,
        *,
        project_id: UUID | str | None = None,
        language: str | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> SearchPage[R]:
        """Return a page of the records that match, best first, in one round trip.

        Parameters
        ----------
        query : str
            As on the web: words, ``"a phrase"``, ``-not``, ``or``. Each record is searched in the stemming of
            its own language, accents aside; in scripts written without spaces as the characters stand.
        language : str, optional
            Only records of this language, as a range (RFC 4647, 3.3.1): ``pt`` is also ``pt-BR``, and
            ``pt-BR`` is not ``pt``.
        limit : int
            From 1 to 1,000.
        after : str, optional
            The ``next_cursor`` of the page before, of the same query.

        Raises
        ------
        InvalidValue
            The query is empty or too long, a value is of no use, or the cursor is of another query.
        """
        held = _project(self.record, self._project_id, project_id)
        return _page(self._session, _asked([self.record], query, held, language, limit), after)


def search_everything(
    session: Session,
    query: str,
    *,
    held: UUID | None = None,
    project_id: UUID | str | None = None,
    language: str | None = None,
    limit: int = 20,
    after: str | None = None,
) -> SearchPage[Everything]:
    """Search text sources, summaries and translations at once, ranked together; else as `Searched.search`.

    Parameters
    ----------
    held : UUID, optional
        The project that the unit is held to.
    """
    project = _project(TextSource, held, project_id)
    asked = _asked([TextSource, Summary, Translation], query, project, language, limit)
    return _page(session, asked, after)


# ---------------------------------------------------------------------------------------------- what is asked


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query that was checked, and what it is held to."""

    records: tuple[type[Record], ...]
    query: Query
    text: str
    project: UUID | None
    language: str | None
    limit: int

    @property
    def mark(self) -> str:
        """What tells a cursor of this query from others."""
        parts = [[each.table.name for each in self.records], self.text, self.project, self.language]
        return hashlib.sha256(to_json(parts)).hexdigest()[:16]

    @property
    def configurations(self) -> tuple[str, ...]:
        return (configuration_of(self.language),) if self.language else CONFIGURATIONS


def _asked(
    records: Sequence[type[Record]], query: str, project: UUID | None, language: Any, limit: int
) -> _Asked:
    if not isinstance(query, str) or not query.strip() or "\0" in query or len(query) > LONGEST_QUERY:
        raise InvalidValue(f"search: a query is a word or more, at most {LONGEST_QUERY:,} characters")
    if type(limit) is not int or not 1 <= limit <= LARGEST_PAGE:
        raise InvalidValue(f"search: limit is a whole number from 1 to {LARGEST_PAGE:,}")
    code = None if language is None else _language(records[0], language)
    parsed = parse_query(verbatim(query))
    words = sum(len(leaf.text.split()) for leaf in parsed.leaves)
    if words > MOST_WORDS or len(parsed.leaves) > MOST_LEAVES:
        raise InvalidValue(
            f"search: a query has at most {MOST_WORDS} words, and {MOST_LEAVES} phrases, refusals and "
            "alternatives"
        )
    return _Asked(tuple(records), parsed, query, project, code, limit)


def _project(record: type[Record], held: UUID | None, project_id: Any) -> UUID | None:
    asked = None if project_id is None else validated_field(draft_of(record), TENANT, project_id)
    if held is not None and asked not in (None, held):
        raise InvalidValue("search: this unit is held to another project")
    found: UUID | None = asked or held
    return found


def _language(record: type[Record], language: Any) -> str:
    found: str = validated_field(draft_of(record), vector_of(record).language, language)
    return found


# ------------------------------------------------------------------------------------------------------ pages


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a page begins: behind this rank and key, with the corrections of the first page, if any."""

    rank: float
    entity: int
    id: UUID
    project: UUID
    corrections: tuple[tuple[str, ...], ...] | None


def _page(session: Session, asked: _Asked, after: str | None) -> SearchPage[Any]:
    place = None if after is None else _decoded(asked, after)
    if not asked.query.alternatives:
        return SearchPage([])
    corrections = None if place is None else place.corrections
    scope = Scope(
        tuple(each.table for each in asked.records),
        asked.configurations,
        asked.project is not None,
        asked.language is not None,
        place is not None,
    )
    statement = searching(scope, asked.query, corrections, first=place is None)
    values = {
        **bound(asked.query, corrections),
        "project": asked.project,
        "language": asked.language,
        "limit": asked.limit + 1,
        **({} if place is None else _behind(place)),
    }
    return _filled(asked, session.all(statement, values))


def _behind(place: _Place) -> Mapping[str, object]:
    return {
        "after_rank": place.rank,
        "after_entity": place.entity,
        "after_id": place.id,
        "after_project": place.project,
    }


def _filled(asked: _Asked, rows: Sequence[tuple[Any, ...]]) -> SearchPage[Any]:
    hits = [_hit(asked, row) for row in rows[: asked.limit]]
    fuzzy = bool(rows) and bool(rows[0][0])
    cursor = _encoded(asked, rows[asked.limit - 1], hits[-1].record) if len(rows) > asked.limit else None
    return SearchPage(hits, cursor, fuzzy)


_HEAD = 6  # columns before the records': fuzzy, corrections, rank, entity, and the two passages


def _hit(asked: _Asked, row: tuple[Any, ...]) -> SearchHit[Any]:
    fuzzy, _, rank, entity, of_title, of_content = row[:_HEAD]
    start = _HEAD
    for other in asked.records[:entity]:
        start += len(other.table.column_names)
    kind = asked.records[entity]
    record = filler(kind)(row[start : start + len(kind.table.column_names)])
    vector = vector_of(kind)
    title = getattr(record, vector.title) if vector.title else ""
    marked = asked.query.near if fuzzy else asked.query.marked
    text = passage(of_title, of_content, title, getattr(record, vector.content), marked)
    return SearchHit(record, rank, text, fuzzy)


# ---------------------------------------------------------------------------------------------------- cursors


def _encoded(asked: _Asked, row: tuple[Any, ...], record: Any) -> str:
    fuzzy, found, rank, entity = row[:4]
    words = range(len(words_of(asked.query)))
    corrections = [(found or {}).get(str(place), []) for place in words] if fuzzy else None
    values = [asked.mark, rank, entity, str(record.id), str(record.project_id), corrections]
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def _decoded(asked: _Asked, cursor: str) -> _Place:
    refusal = InvalidValue("after: no cursor of this query; pass page.next_cursor as it was given")
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        mark, rank, entity, id, project, corrections = json.loads(
            base64.b64decode(padded, altchars=b"-_", validate=True)
        )
        if mark == asked.mark and entity in range(len(asked.records)):
            return _Place(float(rank), entity, UUID(id), UUID(project), _corrections(corrections))
    except (binascii.Error, ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        raise refusal from None
    raise refusal


def _corrections(found: Any) -> tuple[tuple[str, ...], ...] | None:
    return None if found is None else tuple(tuple(verbatim(word) for word in words) for words in found)
