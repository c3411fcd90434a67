"""The repository of text sources, with full-text search."""

from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from database_handler.core.base_model import validated_field
from database_handler.core.exceptions import InvalidValue
from database_handler.core.session import Statement
from database_handler.core.text_search import (
    SEARCHED_CHARACTERS,
    configuration_of,
    text_search_configurations,
)
from database_handler.models.text_source import NewTextSource, TextSource
from database_handler.repositories import statements
from database_handler.repositories.base import Repository
from database_handler.repositories.create import Create

__all__ = ["SearchHit", "TextSourceRepository"]


LONGEST_QUERY = 10_000  # characters


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A text that matches, how well it does (higher is better), and where, between ``**``."""

    record: TextSource
    rank: float
    snippet: str


class TextSourceRepository(Repository[NewTextSource, TextSource]):
    """Reads, writes and searches `TextSource` records."""

    draft = NewTextSource
    record = TextSource
    create = Create(NewTextSource, TextSource)

    def search(
        self,
        query: str,
        *,
        project_id: UUID | None = None,
        language: str | None = None,
        limit: int = 20,
    ) -> list[SearchHit]:
        """Return the texts that match, best first, in one round trip.

        Parameters
        ----------
        query : str
            As on the web: words, ``"a phrase"``, ``-not``, ``or``. Each text is searched in the stemming of
            its own language.
        language : str, optional
            Only texts of this language, written exactly so.
        """
        if not isinstance(query, str) or not query.strip() or "\0" in query or len(query) > LONGEST_QUERY:
            raise InvalidValue(f"search: a query is a word or more, at most {LONGEST_QUERY:,} characters")
        if type(limit) is not int or not 1 <= limit <= 1000:
            raise InvalidValue("search: limit is a whole number from 1 to 1,000")
        asked = None if project_id is None else validated_field(NewTextSource, "project_id", project_id)
        project = asked or self._project_id
        if self._project_id is not None and project != self._project_id:
            raise InvalidValue("search: this unit is held to another project")
        code = None if language is None else validated_field(NewTextSource, "language", language)
        configurations = (configuration_of(code),) if code else tuple(text_search_configurations())
        values = [query] * len(configurations) + ([project] if project else []) + ([code] if code else [])
        rows = self._session.all(
            _search(configurations, project is not None, code is not None), [*values, limit]
        )
        return [SearchHit(self._fill(row[2:]), row[0], row[1]) for row in rows]


@lru_cache(maxsize=256)
def _search(configurations: tuple[str, ...], in_project: bool, in_language: bool) -> Statement:
    """One tsquery a configuration: their union finds candidates by the index, the row's own one decides."""
    table = TextSource.table
    queries = ", ".join(f"websearch_to_tsquery('{name}', %s) AS q_{name}" for name in configurations)
    union = " || ".join(f"q_{name}" for name in configurations)
    own = _by_language(configurations, "q_{}")
    regconfig = _by_language(configurations, "'{}'::regconfig")
    project = " AND t.project_id = %s::uuid" if in_project else ""
    language = " AND t.language = %s" if in_language else ""
    text = (
        f"WITH q AS MATERIALIZED (SELECT {queries}), "
        f"best AS MATERIALIZED (SELECT {statements.columns(table, 't.')}, "
        f"{own} AS own, {regconfig} AS configuration, "
        f"ts_rank_cd(t.search_vector, {own}, 1) AS rank FROM text_sources AS t, q "
        f"WHERE t.search_vector @@ ({union}) AND t.search_vector @@ {own}{project}{language} "
        "ORDER BY rank DESC, t.id LIMIT %s) "
        f"SELECT rank, ts_headline(configuration, left(content, {SEARCHED_CHARACTERS}), own, "
        "'StartSel=**, StopSel=**, MaxWords=18, MinWords=8, MaxFragments=1') AS snippet, "
        f"{statements.columns(table)} FROM best ORDER BY rank DESC, id"
    )
    return Statement(text, "text_sources.search")


def _by_language(configurations: tuple[str, ...], form: str) -> str:
    """Return the form of the one configuration, or of that which a row's language asks for."""
    if len(configurations) == 1:
        return form.format(*configurations)
    branches = " ".join(
        f"WHEN '{code}' THEN {form.format(name)}"
        for name in configurations
        for code in text_search_configurations()[name]
    )
    return f"CASE split_part(t.language, '-', 1) {branches} ELSE {form.format('database_handler_simple')} END"
