"""Which texts of a project lack a translation into which languages: a keyset page of pairs."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from database_handler.core.exceptions import InvalidValue
from database_handler.core.session import Statement
from database_handler.utils.text import plain_text

__all__ = ["MissingPage", "MissingTranslation", "cursor_of", "missing", "place_after"]


@dataclass(frozen=True, slots=True)
class MissingTranslation:
    """A text, and a language into which it is not translated.

    Attributes
    ----------
    language : str
        The language that is missing.
    source_language : str
        The text's own.
    """

    text_source_id: UUID
    title: str
    source_language: str
    language: str


@dataclass(frozen=True, slots=True)
class MissingPage:
    """Some of what is missing, by text and then by language.

    Attributes
    ----------
    next_cursor : str or None
        What to give as ``after``; None on the last page.
    """

    items: list[MissingTranslation]
    next_cursor: str | None = None


def cursor_of(query: Sequence[str], rows: Sequence[tuple[Any, ...]], limit: int) -> MissingPage:
    """Make the page of the rows, of which there may be one more than the limit."""
    items = [MissingTranslation(*row) for row in rows[:limit]]
    last = items[-1] if len(rows) > limit else None
    cursor = None if last is None else f"{_mark(query)}.{last.text_source_id.hex}.{last.language}"
    return MissingPage(items, cursor)


def place_after(query: Sequence[str], cursor: object) -> tuple[UUID, UUID, str]:
    """Return where a page goes on, as the statement binds it; a cursor of another call is refused."""
    try:
        mark, text, language = plain_text(cursor).split(".")
        place = UUID(hex=text)
    except ValueError:  # no text, or not of that form
        mark, place, language = "", UUID(int=0), ""
    if mark != _mark(query) or language not in query:
        raise InvalidValue("after: no cursor of this call; pass page.next_cursor as it was given")
    return place, place, language


def _mark(query: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(query)).encode()).hexdigest()[:16]


@lru_cache(maxsize=4)
def missing(beyond: bool, of_status: bool) -> Statement:
    """Return pairs of text and language without a translation; no row where there is no project.

    Binds the languages, the project, the place (the id twice, and the language), the status, the limit, and
    the project again.
    """
    after = ' AND s.id >= %s AND (s.id, w.language COLLATE "C") > (%s, %s)' if beyond else ""
    status = " AND t.status = %s" if of_status else ""
    text = (
        "WITH page AS MATERIALIZED (SELECT s.id, s.title, s.language, w.language AS wanted "
        "FROM text_sources AS s CROSS JOIN unnest(%s::text[]) AS w(language) "
        f"WHERE s.project_id = %s AND s.language <> w.language{after} AND NOT EXISTS ("
        "SELECT FROM translations AS t WHERE t.project_id = s.project_id AND t.text_source_id = s.id "
        f"AND t.target_language = w.language{status}) "
        'ORDER BY s.id, w.language COLLATE "C" LIMIT %s) '
        "SELECT page.* FROM projects AS p LEFT JOIN page ON true WHERE p.id = %s "
        'ORDER BY page.id, page.wanted COLLATE "C"'
    )
    return Statement(text, "translations.missing")
