"""What full-text search needs in the database: configurations, one a stemmer, and the functions over them.

Each configuration is PostgreSQL's own with accents folded before the stemmer. Scripts written without spaces
go by pairs of neighbouring characters instead, found by their script, so that a Japanese word inside an
English text is found as well. Everything is found again by its identity and not by its name once it stands in
a column's expression, so that no search path decides what a stored vector holds.
"""

import textwrap
from collections.abc import Iterator

__all__ = [
    "CONFIGURATIONS",
    "SEARCHED_CHARACTERS",
    "UNSPACED",
    "VECTOR_FUNCTION",
    "configuration_of",
    "create_text_search",
    "drop_text_search",
    "text_search_configurations",
]

# What PostgreSQL 15 brings, so that one set of migrations fits 15 to 18. Source: pg_ts_config.
_STEMMERS = {
    "ar": "arabic",
    "ca": "catalan",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "eu": "basque",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "nb": "norwegian",
    "ne": "nepali",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}
_OWN = "database_handler_"
_CONFIGURATIONS = {code: _OWN + stemmer for code, stemmer in _STEMMERS.items()}
_OTHERS = f"{_OWN}simple"
_STEMMERS_ONCE = ("simple", *dict.fromkeys(_STEMMERS.values()))
VECTOR_FUNCTION = f"{_OWN}search_vector"
CONFIGURATIONS = (_OTHERS, *dict.fromkeys(_CONFIGURATIONS.values()))

# A search vector holds at most 1 MB. A character makes at most some 8 bytes of lexemes (hyphenated words of
# 4-byte letters are stored whole and in parts; a pair is stored for each character), and at most 4 more where
# it has a position, so this many can never be refused.
SEARCHED_CHARACTERS = 100_000

# Thai and Lao, Burmese, Khmer; ideographs with their marks, kana, Hangul (written with spaces, but with
# particles that no stemmer takes off); not their punctuation.
_RANGES = (
    (0x0E01, 0x0E3A), (0x0E40, 0x0E4E), (0x0E50, 0x0E59), (0x0E81, 0x0EDF),
    (0x1000, 0x1049), (0x1050, 0x109F), (0x1780, 0x17D3), (0x17D7, 0x17D7), (0x17DC, 0x17E9),
    (0x3005, 0x3007), (0x3041, 0x3096), (0x309D, 0x309F), (0x30A1, 0x30FA), (0x30FC, 0x30FF),
    (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F), (0x20000, 0x3FFFF),
)  # fmt: skip
UNSPACED = "".join(f"{chr(first)}-{chr(last)}" for first, last in _RANGES)
"""The inside of a character class: the letters that are searched by pairs."""


def configuration_of(language: str) -> str:
    """Return the text search configuration for a language code: its stemmer's, or that of all others."""
    return _CONFIGURATIONS.get(language.split("-", 1)[0], _OTHERS)


def text_search_configurations() -> dict[str, tuple[str, ...]]:
    """Return every configuration and the languages it stands for; the first is for all others."""
    found: dict[str, tuple[str, ...]] = {_OTHERS: ()}
    for code, configuration in _CONFIGURATIONS.items():
        found[configuration] = (*found.get(configuration, ()), code)
    return found


# ------------------------------------------------------------------------------------------------- statements


def create_text_search() -> Iterator[str]:
    """Give the statements that make all of it in the current schema, in order.

    The two extensions may stand in any schema already; what we need of them gets a name of our own.
    """
    yield "CREATE EXTENSION IF NOT EXISTS unaccent;"
    yield "CREATE EXTENSION IF NOT EXISTS pg_trgm;"
    yield _FROM_EXTENSIONS
    yield _FROM_STEMMERS
    yield from _functions()


def drop_text_search() -> Iterator[str]:
    """Give the statements that take it all away but for the extensions, which others may use by now."""
    for name, arguments in (
        ("corrections", "regclass, uuid, text, text"),
        ("one_of", "text[]"),
        ("passage", "regconfig, text, tsquery"),
        ("search_vector", "text, text, text"),
        ("mixed_vector", "text, text, text"),
        ("pairs", "text"),
        ("words", "text"),
        ("searched", "text"),
        ("configuration", "text"),
        ("similarity", "text, text"),
    ):
        yield f"DROP FUNCTION {_OWN}{name}({arguments});"
    for configuration in CONFIGURATIONS:
        yield f"DROP TEXT SEARCH CONFIGURATION {configuration};"
    yield f"DROP TEXT SEARCH DICTIONARY {_OWN}unaccent;"


_FROM_EXTENSIONS = f"""\
DO $do$
BEGIN
    EXECUTE (
        SELECT format(
            'CREATE TEXT SEARCH DICTIONARY {_OWN}unaccent (TEMPLATE = %s.unaccent, RULES = ''unaccent'')',
            extnamespace::regnamespace
        ) FROM pg_catalog.pg_extension WHERE extname = 'unaccent'
    );
    EXECUTE (
        SELECT format(
            'CREATE FUNCTION {_OWN}similarity(one text, other text) RETURNS real '
            'LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE RETURN %s.similarity(one, other)',
            extnamespace::regnamespace
        ) FROM pg_catalog.pg_extension WHERE extname = 'pg_trgm'
    );
END
$do$;"""

_LISTED = "\n        ".join(textwrap.wrap(", ".join(f"'{each}'" for each in _STEMMERS_ONCE), 90))
_FROM_STEMMERS = f"""\
DO $do$
DECLARE
    stemmer text;
BEGIN
    FOREACH stemmer IN ARRAY ARRAY[
        {_LISTED}
    ]
    LOOP
        EXECUTE format('CREATE TEXT SEARCH CONFIGURATION {_OWN}%1$s (COPY = pg_catalog.%1$s)', stemmer);
        EXECUTE format(
            'ALTER TEXT SEARCH CONFIGURATION {_OWN}%s ALTER MAPPING FOR word, hword, hword_part '
            'WITH {_OWN}unaccent, pg_catalog.%s',
            stemmer, CASE stemmer WHEN 'simple' THEN stemmer ELSE stemmer || '_stem' END
        );
        EXECUTE format(
            'ALTER TEXT SEARCH CONFIGURATION {_OWN}%s ALTER MAPPING FOR numword, numhword '
            'WITH {_OWN}unaccent, pg_catalog.simple',
            stemmer
        );
    END LOOP;
END
$do$;"""


def _escaped(ranges: str) -> str:
    """Write a character class for a string constant that is read alike whatever the server's settings."""
    return "".join(c if c == "-" else _escape(ord(c)) for c in ranges)


def _escape(code: int) -> str:
    return f"\\\\u{code:04x}" if code < 0x10000 else f"\\\\U{code:08x}"


_CLASS = _escaped(UNSPACED)
# Marks that NFC joins to the letter before them; a text without any is left as it is, and costs a look.
_MARKS = _escaped("\u0300-\u036f\u0653-\u0655\u1161-\u11c2\u3099-\u309a")
_PART = 5_000
_POSITIONS = 16_000  # a lexeme's position ends at 16,383: what lies beyond is found, but counts no more


def _functions() -> Iterator[str]:
    yield _function("configuration", "language text", "regconfig", _CHOICE)
    yield _function("searched", "content text", "text", _SEARCHED)
    yield _function("words", "content text", "text", _WORDS)
    yield _function("pairs", "content text", "tsvector", _PAIRS)
    yield _function("mixed_vector", _ROW, "tsvector", _MIXED)
    yield _function("search_vector", _ROW, "tsvector", _VECTOR)
    yield _function("passage", "configuration regconfig, content text, query tsquery", "text", _PASSAGE)
    yield _function("one_of", "lexemes text[]", "tsquery", _ONE_OF)
    yield _CORRECTIONS


def _function(name: str, arguments: str, returns: str, body: str) -> str:
    # A body in SQL's own form is read when it is made, so that what it names is bound to it.
    return (
        f"CREATE FUNCTION {_OWN}{name}({arguments}) RETURNS {returns}\n"
        f"    LANGUAGE sql IMMUTABLE PARALLEL SAFE\n    RETURN {body};"
    )


_ROW = "language text, title text, content text"
_BRANCHES = "".join(
    f"\n        WHEN '{code}' THEN '{name}'::regconfig" for code, name in _CONFIGURATIONS.items()
)
_CHOICE = f"CASE split_part(language, '-', 1){_BRANCHES}\n        ELSE '{_OTHERS}'::regconfig\n    END"
_SEARCHED = f"""\
CASE WHEN left(content, {SEARCHED_CHARACTERS}) ~ E'[{_MARKS}]'
        THEN left(normalize(left(content, {SEARCHED_CHARACTERS}), NFC), {SEARCHED_CHARACTERS})
        ELSE left(content, {SEARCHED_CHARACTERS})
    END"""
_WORDS = f"""\
regexp_replace(content, E'[{_CLASS}]+', ' ', 'g')"""
# The last character of a run stands alone, so that the prefix of a pair finds single characters everywhere.
# Where most characters take four bytes the vector would not hold all: then fewer of them count.
_PAIRS = f"""\
(
        SELECT coalesce((
            SELECT string_agg(concat(first, nullif(second, ' '), ':', place), ' ')::tsvector
            FROM (SELECT string_to_array(left(runs, {_POSITIONS}), NULL) AS letters OFFSET 0) AS head,
                ROWS FROM (unnest(letters), unnest(letters[2:])) WITH ORDINALITY AS pair(first, second, place)
            WHERE first <> ' '
        ), '')
        || regexp_replace(substr(runs, {_POSITIONS}), '(..)', E'\\\\1 ', 'g')::tsvector
        || regexp_replace(substr(runs, {_POSITIONS} + 1), '(..)', E'\\\\1 ', 'g')::tsvector
        FROM (
            SELECT regexp_replace(
                left(content, CASE WHEN octet_length(content) > {3 * SEARCHED_CHARACTERS}
                    THEN {SEARCHED_CHARACTERS * 4 // 5} ELSE {SEARCHED_CHARACTERS} END),
                E'[^{_CLASS}]+', ' ', 'g'
            ) AS runs OFFSET 0
        ) AS found
    )"""
_MIXED = f"""\
(
        SELECT setweight(to_tsvector(configuration, {_OWN}words(top)) || {_OWN}pairs(top), 'A')
            || setweight(to_tsvector(configuration, {_OWN}words(body)) || {_OWN}pairs(body), 'B')
        FROM (
            SELECT {_OWN}configuration(language) AS configuration,
                {_OWN}searched(title) AS top, {_OWN}searched(content) AS body OFFSET 0
        ) AS parts
    )"""
# Most texts need none of that: a look at each, and the two calls that the server knows best.
_VECTOR = f"""\
CASE WHEN title ~ E'[{_CLASS}{_MARKS}]' OR left(content, {SEARCHED_CHARACTERS}) ~ E'[{_CLASS}{_MARKS}]'
        THEN {_OWN}mixed_vector(language, title, content)
        ELSE setweight(to_tsvector({_OWN}configuration(language), title), 'A') || setweight(
            to_tsvector({_OWN}configuration(language), left(content, {SEARCHED_CHARACTERS})), 'B')
    END"""
# A headline reads all that it is given, and slowly; so of a long text only the first part that matches.
_PASSAGE = f"""\
ts_headline(
        configuration,
        CASE WHEN length(content) <= {_PART} THEN content ELSE coalesce(
            (
                SELECT part
                FROM (
                    SELECT substr(content, start, {_PART}) AS part
                    FROM generate_series(1, length(content), {_PART} - 200) AS start
                ) AS parts
                WHERE to_tsvector(configuration, part) @@ query LIMIT 1
            ),
            left(content, {_PART})
        ) END,
        query,
        'StartSel=**, StopSel=**, MaxWords=18, MinWords=8, MaxFragments=1'
    )"""


# -------------------------------------------------------------------------------------------- misspelt words

# A slip makes one of some hundred words of a word, and the index knows at once which of them are in use; only
# where none is, the words that begin alike are compared by their trigrams. The planner cannot know that a
# word is rare, and would read the table: hence the setting.
_CORRECTIONS = f"""\
CREATE FUNCTION {_OWN}corrections(searched regclass, project uuid, form text, alphabet text)
    RETURNS TABLE (lexeme text)
    LANGUAGE plpgsql STABLE SET enable_seqscan = off SET jit = off
    AS $body$
BEGIN
    RETURN QUERY EXECUTE format($sql$
        SELECT variant
        FROM (
            SELECT variant, min(slip) AS slip
            FROM (
                SELECT left($1, place - 1) || substr($1, place + 1, 1) || substr($1, place, 1)
                    || substr($1, place + 2) AS variant, 0 AS slip
                FROM generate_series(1, length($1) - 1) AS place
                UNION ALL SELECT left($1, place - 1) || substr($1, place + 1), 1
                FROM generate_series(1, length($1)) AS place
                UNION ALL SELECT left($1, place - 1) || letter || substr($1, place + 1), 1
                FROM generate_series(1, length($1)) AS place, string_to_table($2, NULL) AS letter
                UNION ALL SELECT left($1, place) || letter || substr($1, place + 1), 1
                FROM generate_series(0, length($1)) AS place, string_to_table($2, NULL) AS letter
            ) AS made
            WHERE length(variant) > 2
            GROUP BY variant
        ) AS variants
        WHERE EXISTS (
            SELECT FROM %s AS t
            WHERE t.search_vector @@ quote_literal(variant)::tsquery AND ($3 IS NULL OR t.project_id = $3)
        )
        ORDER BY slip, {_OWN}similarity($1, variant) DESC, variant LIMIT 8
    $sql$, searched) USING form, alphabet, project;
    IF NOT FOUND AND length(form) > 4 THEN
        RETURN QUERY EXECUTE format($sql$
            SELECT word
            FROM (
                SELECT DISTINCT l.lexeme AS word
                FROM (
                    SELECT t.search_vector FROM %s AS t
                    WHERE t.search_vector @@ (quote_literal(left($1, 3)) || ':*')::tsquery
                        AND ($2 IS NULL OR t.project_id = $2)
                    LIMIT 300
                ) AS sample, unnest(sample.search_vector) AS l
                WHERE starts_with(l.lexeme, left($1, 3)) AND abs(length(l.lexeme) - length($1)) < 4
            ) AS words
            WHERE {_OWN}similarity($1, word) >= 0.4
            ORDER BY {_OWN}similarity($1, word) DESC, word LIMIT 5
        $sql$, searched) USING form, project;
    END IF;
END
$body$;"""
# Lexemes as a query that wants one of them; NULL where there are none.
_ONE_OF = """\
(
        SELECT string_agg(
            '''' || replace(replace(lexeme, E'\\\\', E'\\\\\\\\'), '''', '''''') || '''', ' | '
        )::tsquery
        FROM unnest(lexemes) AS lexeme
    )"""
