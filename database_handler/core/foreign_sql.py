"""A caller's SQL, checked before it is sent: one statement, no transaction control, and what it may do."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from itertools import pairwise
from typing import LiteralString

import psycopg2.extensions as driver
from psycopg2 import sql

from database_handler.core.exceptions import InvalidSql, translated
from database_handler.core.parameters import Parameters, adapted
from database_handler.core.sql_text import Token, TokenKind, refuse_control, tokens
from database_handler.core.statement_name import name_in

__all__ = ["Checked", "Effect", "Foreign"]


class Effect(Enum):
    """What a caller's SQL may do, as far as its text tells."""

    READS = "reads"
    UNKNOWN = "unknown"  # it may write, or change the session: it calls a function that is not known here
    WRITES = "writes"


@dataclass(frozen=True, slots=True)
class Checked:
    """A caller's SQL that may be sent; its name is in its first comment, else ``sql`` and its first word.

    Attributes
    ----------
    leaves : bool
        Whether it may leave more than rows behind: a setting, a lock, a temporary table.
    word : str
        Its first word, in capitals.
    """

    text: str
    name: str
    effect: Effect
    deletes: bool
    leaves: bool
    word: str


@dataclass(frozen=True, slots=True)
class Foreign:
    """A caller's SQL: rendered and checked when there is a connection to render it for."""

    query: LiteralString | sql.Composable
    before: str = ""
    after: str = ""

    def checked(self, connection: driver.connection, parameters: Parameters) -> Checked:
        """Return what to send; `InvalidSql` where it is not one statement that a caller may send."""
        text = self.query if isinstance(self.query, str) else _composed(self.query, connection)
        placeholders = parameters is not None
        refuse_control(text, placeholders=placeholders)
        told = (_told if len(text) > _LONG else _remembered)(text, placeholders)
        return replace(told, text=f"{self.before}{text}{self.after}")

    def writes(self, parameters: Parameters) -> bool:
        """Whether its text shows, without a connection, that it writes."""
        if not isinstance(self.query, str) or len(self.query) > _LONG:
            return False
        placeholders = parameters is not None
        refuse_control(self.query, placeholders=placeholders)
        return _remembered(self.query, placeholders).effect is Effect.WRITES


def _composed(query: sql.Composable, connection: driver.connection) -> str:
    query = _harmless(query)
    with translated(connection, doing="sql"):
        return query.as_string(connection)


def _harmless(part: sql.Composable) -> sql.Composable:
    """Refuse what would be cut or altered without an error: a NUL in a name, a value of an unknown type."""
    if isinstance(part, sql.Composed):
        return sql.Composed([_harmless(each) for each in part.seq])
    if isinstance(part, sql.Literal):
        return sql.Literal(adapted(part.wrapped, "of sql.Literal"))
    if isinstance(part, sql.Identifier) and any("\0" in name for name in part.strings):
        raise InvalidSql("a name in sql.Identifier holds a NUL character")
    if isinstance(part, sql.Identifier) and any(_too_long(name) for name in part.strings):
        raise InvalidSql(f"a name in sql.Identifier has over {_NAME_BYTES} bytes; PostgreSQL would cut it")
    if type(part) not in (sql.SQL, sql.Identifier, sql.Placeholder):
        raise InvalidSql(f"a query is made of psycopg2.sql objects; a {type(part).__name__} is none of them")
    return part


_NAME_BYTES = 63


def _too_long(name: str) -> bool:
    return len(name) > _NAME_BYTES // 4 and len(name.encode(errors="surrogatepass")) > _NAME_BYTES


_QUERIES = frozenset({"SELECT", "VALUES", "TABLE", "WITH", "SHOW", "EXPLAIN"})
_SESSION = frozenset({"SET", "RESET", "LISTEN", "UNLISTEN", "DISCARD", "DEALLOCATE", "LOAD", "FETCH", "MOVE"})
_CHANGES = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE", "INTO", "ANALYZE", "ANALYSE"})
# What may stand before a parenthesis in a query that only reads; any other function may do anything.
_NAMES = """
ALL AND ANY ARRAY AS BETWEEN BY CASE CAST CUBE DISTINCT ELSE END EXCEPT EXISTS FILTER FOR FROM GROUPING
HAVING ILIKE IN INTERSECT IS JOIN LATERAL LIKE LIMIT MATERIALIZED NOT OFFSET ON OR OVER OVERLAPS PARTITION
RECURSIVE ROLLUP ROW SELECT SETS SOME THEN UNION USING VALUES WHEN WHERE WITH WITHIN GROUP CHAR CHARACTER
DECIMAL FLOAT INTERVAL NUMERIC PRECISION TIME TIMESTAMP TIMESTAMPTZ VARCHAR VARYING ABS ARRAY_AGG
ARRAY_LENGTH ARRAY_POSITION AVG BOOL_AND BOOL_OR BTRIM CARDINALITY CEIL CHAR_LENGTH CLOCK_TIMESTAMP COALESCE
CONCAT CONCAT_WS COUNT CURRENT_DATABASE CURRENT_SETTING DATE_PART DATE_TRUNC DENSE_RANK EVERY EXTRACT
FIRST_VALUE FLOOR FORMAT GENERATE_SERIES GREATEST JSON_AGG JSONB_AGG JSONB_ARRAY_ELEMENTS
JSONB_ARRAY_ELEMENTS_TEXT JSONB_ARRAY_LENGTH JSONB_BUILD_ARRAY JSONB_BUILD_OBJECT JSONB_OBJECT_AGG
JSONB_OBJECT_KEYS JSONB_TYPEOF LAG LAST_VALUE LEAD LEAST LEFT LENGTH LOWER LTRIM MAX MD5 MIN NOW NULLIF
OCTET_LENGTH PG_BACKEND_PID PG_RELATION_SIZE PG_SLEEP PG_TOTAL_RELATION_SIZE PG_TYPEOF PHRASETO_TSQUERY
PLAINTO_TSQUERY POSITION RANK REGEXP_REPLACE REPEAT REPLACE RIGHT ROUND ROW_NUMBER ROW_TO_JSON RTRIM
SPLIT_PART STRING_AGG STRING_TO_ARRAY STRPOS SUBSTR SUBSTRING SUM TO_CHAR TO_JSONB TO_TSQUERY TO_TSVECTOR
TRIM TS_HEADLINE TS_RANK TS_RANK_CD UNNEST UPPER VERSION WEBSEARCH_TO_TSQUERY
"""
_CALLED = frozenset(_NAMES.split())


_LONG = 20_000  # characters, from which on a text is looked at again each time


def _told(text: str, placeholders: bool) -> Checked:
    """Tell from the words of a statement what it may do."""
    pieces = list(tokens(text, placeholders=placeholders))
    found = [t for t in pieces if t.kind not in _BETWEEN]
    words = [token.text.upper() for token in found if token.kind is TokenKind.WORD]
    calls = {
        name.text.upper() if name.kind is TokenKind.WORD else name.text
        for name, token in pairwise(found)
        if token.text == "(" and name.kind in (TokenKind.WORD, TokenKind.QUOTED_IDENTIFIER)
    }
    word = words[0] if words else ""
    deletes = "DELETE" in words and {"INSERT", "UPDATE", "MERGE"}.isdisjoint(words)
    comments = [token.text for token in pieces if token.kind is TokenKind.COMMENT]
    name = name_in(comments[0]) if comments else None
    plain = _is_of_rows(word, words) and calls <= _CALLED | _BESIDE | _filled(found)
    leaves = not (plain or (word in _LASTING and _TEMPORARY.isdisjoint(words)))
    return Checked("", name or f"sql {word}", _effect(word, words, calls), deletes, leaves, word)


_BETWEEN = frozenset({TokenKind.WHITESPACE, TokenKind.COMMENT})
_remembered = lru_cache(maxsize=1024)(_told)


# What these do lasts, and is done in no session's name; some of them stand in no transaction.
_DDL = frozenset({"CREATE", "ALTER", "DROP", "TRUNCATE", "COMMENT", "GRANT", "REVOKE", "REASSIGN"})
_UPKEEP = frozenset({"VACUUM", "ANALYZE", "REINDEX", "CLUSTER", "REFRESH", "CHECKPOINT", "NOTIFY", "LOCK"})
_LASTING = _DDL | _UPKEEP
_TEMPORARY = frozenset({"TEMP", "TEMPORARY", "PG_TEMP"})
_ROWS = frozenset({"INSERT", "UPDATE", "DELETE", "MERGE"})
# What stands before a parenthesis in a write, and in no query.
_BESIDE = frozenset({"CONFLICT", "SET", "GEN_RANDOM_UUID"})


def _is_of_rows(word: str, words: Iterable[str]) -> bool:
    """Tell whether it is about rows alone; a SELECT ... INTO makes a table, which may be a temporary one."""
    return word in _ROWS or (word in _QUERIES and ("INTO" not in words or not _ROWS.isdisjoint(words)))


def _filled(found: Sequence[Token]) -> set[str]:
    """Return the names behind INTO: the parenthesis after those is a list of columns."""
    names = set()
    for place, token in enumerate(found):
        if token.kind is TokenKind.WORD and token.text.upper() == "INTO":
            names |= {each.text for each in found[place + 1 : place + 2]}
            if [each.text for each in found[place + 2 : place + 3]] == ["."]:
                names |= {each.text for each in found[place + 3 : place + 4]}
    return names | {name.upper() for name in names}


def _effect(word: str, words: Iterable[str], calls: set[str]) -> Effect:
    if word in _SESSION:
        return Effect.UNKNOWN
    if word not in _QUERIES or not _CHANGES.isdisjoint(words):
        return Effect.WRITES
    return Effect.READS if calls <= _CALLED else Effect.UNKNOWN
