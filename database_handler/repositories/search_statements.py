"""The SQL of a search, built from the tables and the shape of the query; values are bound by name.

Each text is pure and kept. Its parts: ``asked``, the query in each configuration; ``found``, the keys of the
page's hits; ``near`` and ``nearby``, the same with corrected words, which run only where nothing was found;
and the records of the page.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from database_handler.content.queries import (
    Leaf,
    Literal,
    Phrase,
    Query,
    Run,
    Words,
    alphabet_of,
    runs_of,
    tokens_of,
    words_of,
)
from database_handler.core.base_model import Record
from database_handler.core.schema import SearchVector, Table
from database_handler.core.session import Statement
from database_handler.repositories import statements
from database_handler.utils.errors import ConfigurationError

__all__ = ["Scope", "bound", "searching", "vector_of"]

MOST_PAIRS = 200  # of a run
MOST_TOKENS = 20  # words in a query whose misspelt words are looked for
NOTHING = "NULL::tsquery"  # an empty one makes the server talk
NO_CORRECTIONS = "near AS (SELECT 0 AS place, NULL::text[] AS lexemes WHERE false)"


@dataclass(frozen=True, slots=True)
class Scope:
    """Where is searched: tables and configurations; in a project, in a language, behind a hit."""

    tables: tuple[Table, ...]
    configurations: tuple[str, ...]
    in_project: bool
    in_language: bool
    behind: bool


def vector_of(record: "type[Record] | Table") -> SearchVector:
    """Return the search vector of a table; `ConfigurationError` where it has none."""
    table = record if isinstance(record, Table) else record.table
    for computed in table.computed:
        if isinstance(computed, SearchVector):
            return computed
    raise ConfigurationError(f"{table.name} has no search vector; declare one with search_vector()")


# ----------------------------------------------------------------------------------------------------- values


def bound(query: Query, corrections: tuple[tuple[str, ...], ...] | None) -> dict[str, object]:
    """Return what a statement for this query binds, by name."""
    values: dict[str, object] = {}
    for place, each in enumerate(query.alternatives):
        for group, leaves in (("w", each.wanted), ("r", each.refused)):
            for number, leaf in enumerate(leaves):
                values.update(_values(leaf, f"{group}{place}_{number}"))
    for place, word in enumerate(words_of(query)):
        values |= {f"word_{place}": word, f"letters_{place}": alphabet_of(word)}
    for place, lexemes in enumerate(corrections or ()):
        values[f"lexemes_{place}"] = list(lexemes)
    return values


def _values(leaf: Leaf, name: str) -> Iterator[tuple[str, object]]:
    if isinstance(leaf, Words | Phrase):
        yield name, leaf.text
        yield from ((f"{name}_t{place}", token) for place, token in enumerate(tokens_of(leaf)))
        return
    yield f"{name}_l", leaf.literal
    if isinstance(leaf, Run):
        # The first few find few enough rows; the text itself is looked at anyway.
        pairs = [f"'{pair}'" for pair in dict.fromkeys(leaf.pairs)][:MOST_PAIRS] or [f"'{leaf.text}':*"]
        yield from ((name, " & ".join(pairs)), (f"{name}_n", " | ".join(pairs)))
    else:
        for place, part in enumerate(leaf.parts):
            yield from _values(part, f"{name}_p{place}")


# ------------------------------------------------------------------------------------------------------ shape


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A leaf without its text, and the name that the text is bound by."""

    name: str
    kind: type[Leaf]
    looked_up: bool
    parts: "tuple[_Leaf, ...]"
    tokens: tuple[int | None, ...]


Shape = tuple[tuple[tuple[_Leaf, ...], tuple[_Leaf, ...]], ...]


def _shape(query: Query) -> Shape:
    words = {word: place for place, word in enumerate(words_of(query))}

    def group(leaves: Sequence[Leaf], name: str) -> tuple[_Leaf, ...]:
        return tuple(_leaf(leaf, f"{name}_{number}", words) for number, leaf in enumerate(leaves))

    return tuple(
        (group(each.wanted, f"w{place}"), group(each.refused, f"r{place}"))
        for place, each in enumerate(query.alternatives)
    )


def _leaf(leaf: Leaf, name: str, words: dict[str, int]) -> _Leaf:
    parts = leaf.parts if isinstance(leaf, Literal) else ()
    return _Leaf(
        name,
        type(leaf),
        isinstance(leaf, Run | Literal) and leaf.literal is not None,
        tuple(_leaf(part, f"{name}_p{place}", words) for place, part in enumerate(parts)),
        tuple(words.get(token.lower()) for token in tokens_of(leaf)),
    )


@lru_cache(maxsize=256)
def searching(
    scope: Scope, query: Query, corrections: tuple[tuple[str, ...], ...] | None, *, first: bool
) -> Statement:
    """Return the statement of a page.

    Parameters
    ----------
    corrections : tuple, optional
        Those of the first page, where its hits were fuzzy; then the page is of such hits.
    first : bool
        Whether it is the first page, which goes on with corrected words where it finds nothing.
    """
    tokens = sum(len(tokens_of(leaf)) for leaf in query.leaves)
    runs = any(
        len(run.pairs) > 1 for each in query.alternatives for leaf in each.wanted for run in runs_of(leaf)
    )
    fuzzy = first and tokens <= MOST_TOKENS and (runs or bool(words_of(query)))
    return _searching(
        scope, _shape(query), len(words_of(query)), fuzzy, None if corrections is None else len(corrections)
    )


@lru_cache(maxsize=512)
def _searching(scope: Scope, shape: Shape, words: int, fuzzy: bool, corrected: int | None) -> Statement:
    parts: list[str] = []
    kinds: list[str] = []
    if corrected is None:
        parts += _hits(scope, shape, _asked_for)
        kinds.append("found")
    if fuzzy or corrected is not None:
        gate = "" if corrected is not None else " WHERE NOT EXISTS (SELECT FROM found)"
        parts.append(_given(corrected) if corrected is not None else _near(scope, words, gate))
        parts += _hits(scope, shape, _near_to, gate)
        kinds.append("nearby")
    return Statement(f"WITH {', '.join(parts)} {_page(scope, kinds)}", f"{_name(scope)}.search")


def _name(scope: Scope) -> str:
    return scope.tables[0].name if len(scope.tables) == 1 else "everything"


# ---------------------------------------------------------------------------------------------------- queries


def _asked_for(leaf: _Leaf) -> str:
    """The query of a leaf in one configuration."""
    if leaf.kind is Words:
        return f"websearch_to_tsquery(c.configuration, %({leaf.name})s)"
    if leaf.kind is Phrase:
        return f"phraseto_tsquery(c.configuration, %({leaf.name})s)"
    if leaf.kind is Run:
        return f"%({leaf.name})s::tsquery"
    return _all(_asked_for(part) for part in leaf.parts)


def _near_to(leaf: _Leaf) -> str:
    """The same with what is near to it."""
    if leaf.kind is Run:
        return f"%({leaf.name}_n)s::tsquery"
    if leaf.kind is Literal:
        return _all(_near_to(part) for part in leaf.parts)
    return _all(_tokens(leaf, corrected=True))


def _tokens(leaf: _Leaf, *, corrected: bool) -> Iterator[str]:
    for number, word in enumerate(leaf.tokens):
        plain = f"plainto_tsquery(c.configuration, %({leaf.name}_t{number})s)"
        near = f"(SELECT database_handler_one_of(lexemes) FROM near WHERE place = {word})"
        yield f"({plain} || coalesce({near}, {plain}))" if corrected and word is not None else plain


def _all(queries: Iterable[str]) -> str:
    return f"({' && '.join(queries) or NOTHING})"


def _any(queries: Iterable[str]) -> str:
    return f"({' || '.join(queries) or NOTHING})"


def _either(alternatives: Sequence[str]) -> str:
    """Any of those that are there: one may be NULL."""
    if len(alternatives) == 1:
        return alternatives[0]
    rows = ", ".join(f"({each})" for each in alternatives)
    return (
        "(SELECT string_agg('(' || one::text || ')', ' | ')::tsquery "
        f"FROM (VALUES {rows}) AS v(one) WHERE numnode(one) > 0)"
    )


Form = Callable[[_Leaf], str]


def _by_server(leaf: _Leaf, exact: bool) -> bool:
    """Whether the server marks a leaf; a literal that is found as a whole is marked as a whole, by us."""
    return leaf.kind is not Run and not (leaf.kind is Literal and exact)


def _shown(leaf: _Leaf, form: Form) -> str:
    """Each word by itself, for a passage seldom holds them all."""
    if leaf.kind is Phrase and form is _asked_for:
        return form(leaf)
    if leaf.kind is Literal:
        return _any(_shown(part, form) for part in leaf.parts if part.kind is not Run)
    return _any(_tokens(leaf, corrected=form is _near_to))


def _alternative(wanted: Sequence[_Leaf], refused: Sequence[_Leaf], form: Form) -> str:
    """A query that finds all its rows, and some more where a refused part is looked up in the text."""
    found = _all(form(leaf) for leaf in wanted)
    without = [f"!!{_asked_for(leaf)}" for leaf in refused if not leaf.looked_up]
    if not without:
        return found
    # Where all that is wanted are words that the stemmer leaves out, nothing is to be found.
    return f"CASE WHEN numnode({found}) > 0 THEN {_all([found, *without])} END"


def _hits(scope: Scope, shape: Shape, form: Form, gate: str = "") -> list[str]:
    """The query in each configuration, their union, and the keys of the rows that it finds."""
    exact = form is _asked_for
    asked, found = ("asked", "found") if exact else ("nearly", "nearby")
    alternatives = [_alternative(wanted, refused, form) for wanted, refused in shape]
    shown = _any(_shown(leaf, form) for wanted, _ in shape for leaf in wanted if _by_server(leaf, exact))
    checked = _looked_up(shape, exact)
    columns = [f"{_either(alternatives)} AS query", f"{shown} AS shown"]
    if checked:
        columns += [f"{text} AS part_{place}" for place, text in enumerate(alternatives)]
    names = ", ".join(f"'{name}'" for name in scope.configurations)
    rows = " UNION ALL ".join(
        f"({_ranked(scope, place, table, asked, _check(table, shape, exact) if checked else '')})"
        for place, table in enumerate(scope.tables)
    )
    return [
        f"{asked} AS MATERIALIZED (SELECT c.configuration, {', '.join(columns)} "
        f"FROM unnest(ARRAY[{names}]::regconfig[]) AS c(configuration){gate})",
        f"every_{asked} AS MATERIALIZED (SELECT string_agg(DISTINCT '(' || query::text || ')', ' | ')"
        f"::tsquery AS query FROM {asked} WHERE numnode(query) > 0)",
        f"{found} AS MATERIALIZED (SELECT * FROM ({rows}) AS best {ORDER} LIMIT %(limit)s)",
    ]


ORDER = "ORDER BY rank DESC, entity, id, project_id"


def _ranked(scope: Scope, place: int, table: Table, asked: str, check: str) -> str:
    """The best rows of one table: keys only, for ranking reads every row that matches."""
    vector = vector_of(table)
    # So that no index serves it: the union finds the rows, and is not to be looked up for each configuration.
    own = f" AND (t.{vector.name} @@ a.query) IS TRUE" if len(scope.configurations) > 1 else ""
    project = " AND t.project_id = %(project)s::uuid" if scope.in_project else ""
    language = (
        f" AND (t.{vector.language} = %(language)s OR starts_with(t.{vector.language}, %(language)s || '-'))"
        if scope.in_language
        else ""
    )
    rows = (
        f"SELECT {place} AS entity, t.id, t.project_id, a.configuration, "
        f"ts_rank_cd(t.{vector.name}, a.query, 1) AS rank FROM {table.name} AS t "
        f"JOIN {asked} AS a ON a.configuration = database_handler_configuration(t.{vector.language}) "
        f"WHERE t.{vector.name} @@ (SELECT query FROM every_{asked}){own}{check}{project}{language}"
    )
    if scope.behind:
        # Fenced, so that a rank is made once, and not a second time for the comparison.
        rows = f"SELECT * FROM ({rows} OFFSET 0) AS ranked WHERE {BEHIND}"
    return f"{rows} {ORDER} LIMIT %(limit)s"


BEHIND = (
    "(rank < %(after_rank)s::float8::real OR (rank = %(after_rank)s::float8::real AND "
    "(entity, id, project_id) > (%(after_entity)s, %(after_id)s::uuid, %(after_project)s::uuid)))"
)


# ---------------------------------------------------------------------------------------------- looking it up


def _looked_up(shape: Shape, exact: bool) -> bool:
    return any(
        leaf.looked_up for wanted, refused in shape for leaf in ((*wanted, *refused) if exact else refused)
    )


def _check(table: Table, shape: Shape, exact: bool) -> str:
    """What the index cannot tell for sure, of the alternatives that brought the row here."""
    found = []
    for place, (wanted, refused) in enumerate(shape):
        texts = [f"t.{vector_of(table).name} @@ a.part_{place}"]
        texts += [_holds(table, leaf) for leaf in wanted if leaf.looked_up and exact]
        texts += [f"NOT {_holds(table, leaf)}" for leaf in refused if leaf.looked_up]
        found.append(f"({' AND '.join(texts)})")
    return f" AND ({' OR '.join(found)})"


def _holds(table: Table, leaf: _Leaf) -> str:
    vector = vector_of(table)
    columns = [vector.content] if vector.title is None else [vector.content, vector.title]
    small = "lower" if leaf.kind is Literal else ""
    return (
        "("
        + " OR ".join(
            f"position({small}(%({leaf.name}_l)s) IN {small}(database_handler_searched(t.{column}))) > 0"
            for column in columns
        )
        + ")"
    )


# ------------------------------------------------------------------------------------------------ corrections


def _near(scope: Scope, words: int, gate: str) -> str:
    """The words in use that are near to each one asked for, by the forms that the stemmers make of it."""
    if not words:
        return NO_CORRECTIONS
    given = ", ".join(f"({place}, %(word_{place})s, %(letters_{place})s)" for place in range(words))
    project = "%(project)s::uuid" if scope.in_project else "NULL::uuid"
    found = " UNION ".join(
        f"SELECT lexeme FROM database_handler_corrections('{table.name}'::regclass, {project}, "
        "f.form, f.letters)"
        for table in scope.tables
    )
    return (
        "forms AS MATERIALIZED (SELECT DISTINCT w.place, w.word, w.letters, form "
        f"FROM (VALUES {given}) AS w(place, word, letters), asked AS a, "
        "unnest(tsvector_to_array(to_tsvector(a.configuration, w.word))) AS form"
        f"{gate}), met AS (SELECT f.place, c.lexeme, {_AS_LONG} AS as_long, "
        f"bool_or({_AS_LONG}) OVER (PARTITION BY f.place) AS any_as_long "
        f"FROM forms AS f, LATERAL ({found}) AS c), "
        "near AS MATERIALIZED (SELECT place, array_agg(DISTINCT lexeme) AS lexemes "
        "FROM met WHERE as_long OR NOT any_as_long GROUP BY place)"
    )


# A stemmer of another language may cut a word so short that shorter ones are near to it: such are taken only
# where none is about as long as the word (the difference is what a stemmer takes off, and a slip).
_AS_LONG = "abs(length(c.lexeme) - length(f.word)) < 4"


def _given(corrected: int) -> str:
    """Those that the first page found."""
    if not corrected:
        return NO_CORRECTIONS
    rows = ", ".join(f"({place}, %(lexemes_{place})s::text[])" for place in range(corrected))
    return f"near(place, lexemes) AS (VALUES {rows})"


# --------------------------------------------------------------------------------------------------- the page


def _page(scope: Scope, kinds: Sequence[str]) -> str:
    """The rows of the hits, each with the passages that the server can mark."""
    hits = " UNION ALL ".join(
        f"SELECT {fuzzy} AS fuzzy, h.*, a.shown FROM {found} AS h JOIN {asked} AS a USING (configuration)"
        for fuzzy, found, asked in (("false", "found", "asked"), ("true", "nearby", "nearly"))
        if found in kinds
    )
    corrections = (
        "(SELECT jsonb_object_agg(place, lexemes) FROM near)" if "nearby" in kinds else "NULL::jsonb"
    )
    tables = list(enumerate(scope.tables))
    joins = " ".join(
        f"LEFT JOIN {table.name} AS t{place} ON h.entity = {place} AND t{place}.project_id = h.project_id "
        f"AND t{place}.id = h.id"
        for place, table in tables
    )
    columns = ", ".join(statements.columns(table, f"t{place}.") for place, table in tables)
    return (
        f"SELECT h.fuzzy, CASE WHEN h.fuzzy THEN {corrections} END AS corrections, h.rank::float8, h.entity, "
        f"{_passages(scope)}, {columns} FROM ({hits}) AS h {joins} "
        "ORDER BY h.rank DESC, h.entity, h.id, h.project_id"
    )


def _passages(scope: Scope) -> str:
    """The title and the passage of the content; None where the query has no words to be marked."""
    vectors = [(place, vector_of(table)) for place, table in enumerate(scope.tables)]
    titles = " ".join(f"WHEN {place} THEN {_title(place, vector)}" for place, vector in vectors)
    contents = " ".join(f"WHEN {place} THEN {_content(place, vector)}" for place, vector in vectors)
    return ", ".join(
        f"CASE WHEN numnode(h.shown) > 0 THEN CASE h.entity {branches} END END AS {name}"
        for name, branches in (("of_title", titles), ("of_content", contents))
    )


def _title(place: int, vector: SearchVector) -> str:
    if vector.title is None:
        return "NULL::text"
    text = f"database_handler_searched(t{place}.{vector.title})"
    return f"ts_headline(h.configuration, {text}, h.shown, 'StartSel=**, StopSel=**, HighlightAll=true')"


def _content(place: int, vector: SearchVector) -> str:
    return (
        "database_handler_passage(h.configuration, "
        f"database_handler_searched(t{place}.{vector.content}), h.shown)"
    )
