"""What is wrong with a statement of a migration, told by its text: found before anything runs.

What PostgreSQL refuses in a transaction block is told by the statement's words; the list holds what the
servers 15 to 18 refuse by the text alone. What they refuse for what the catalogue says (REINDEX of a
partitioned table, DROP SUBSCRIPTION with a slot) comes out when the section is run, and is rolled back.
"""

import re
from collections.abc import Sequence

from database_handler.core.sql_text import Token, TokenKind, client_copy, control_words

__all__ = ["batch_problem", "needs_no_transaction", "problem", "words_of"]

# The callers of the server's `PreventInTransactionBlock`, by the words that lead there.
_NOT_IN_TRANSACTION = re.compile(
    r"CREATE (UNIQUE )?INDEX CONCURRENTLY\b|DROP INDEX CONCURRENTLY\b"
    r"|REINDEX (\( .*\) )?(SYSTEM|DATABASE|SCHEMA)\b"
    r"|REINDEX \( (.* )?CONCURRENTLY (?!FALSE|OFF|0)|REINDEX (\( .*\) )?\w+ CONCURRENTLY\b"
    r"|VACUUM\b|CLUSTER( \( .*\)| VERBOSE)?$"
    r"|(CREATE|DROP) (DATABASE|TABLESPACE)\b|ALTER DATABASE \S+ SET TABLESPACE\b|ALTER SYSTEM\b"
    r"|ALTER TABLE .* DETACH PARTITION .* CONCURRENTLY$|DISCARD ALL\b"
    r"|CREATE SUBSCRIPTION (?!.*\b(CREATE_SLOT|CONNECT) x (FALSE|OFF|0)\b)"
    r"|ALTER SUBSCRIPTION \S+ REFRESH PUBLICATION\b"
    r"|ALTER SUBSCRIPTION \S+ (SET|ADD|DROP) PUBLICATION (?!.*\bREFRESH x (FALSE|OFF|0)\b)"
    r"|ALTER SUBSCRIPTION \S+ SET \( .*\b(FAILOVER|TWO_PHASE)\b"
)
_UNNAMED_INDEX = re.compile(r"CREATE (UNIQUE )?INDEX CONCURRENTLY ON\b")
_LEADING_WORDS = 60
_PLAIN = (TokenKind.WORD, TokenKind.PUNCTUATION, TokenKind.NUMBER)


def words_of(found: Sequence[Token]) -> str:
    """Return the words that a statement begins with, upper-cased; ``x`` stands for anything else."""
    return " ".join(_word(token) for token in found[:_LEADING_WORDS])


def _word(token: Token) -> str:
    # The server folds ASCII only: 'ı'.upper() would make another word a keyword.
    plain = token.kind in _PLAIN and token.text.isascii()
    return token.text.upper() if plain else "x"


def needs_no_transaction(words: str) -> str | None:
    """Return the words for which the server refuses it in a transaction; None where it does not."""
    found = _NOT_IN_TRANSACTION.match(words)
    return found[0].strip() if found else None


def problem(found: Sequence[Token], sql: str, *, transactional: bool) -> str | None:
    """Say what is wrong with one statement of a section and what to write; None where nothing is."""
    words = words_of(found)
    if any(token.kind is TokenKind.PUNCTUATION and token.text == "\\" for token in found):
        return "a backslash outside of a string: psql's own commands are not SQL, write the statement itself"
    if control := control_words(tuple(words.split(" ", 3)[:3])):
        return (
            f"{control}: a section is one transaction, which the run begins and ends; "
            "what must be separate goes into a section of its own"
        )
    if words.startswith("COPY ") and (copy := client_copy(sql)):
        return f"COPY {copy} needs data from a client, and a migration has none; write INSERT"
    return _manner_problem(words, transactional)


def _manner_problem(words: str, transactional: bool) -> str | None:
    if transactional and (alone := needs_no_transaction(words)):
        return (
            f"{alone[:60]} cannot run in a transaction; put it into `-- migrate: up, no transaction` "
            "(or down), a section of its own"
        )
    if _UNNAMED_INDEX.match(words):
        return (
            "CREATE INDEX CONCURRENTLY without a name: a run that was cut off could not find again what it "
            "left behind; give the index a name"
        )
    return None


_CHANGING = frozenset({"UPDATE", "DELETE", "INSERT", "MERGE"})
_BATCH_FORM = (
    "a batched section is one UPDATE, DELETE, INSERT ... SELECT or MERGE that takes some of the rows that "
    "are left, such as "
    "UPDATE t SET c = 0 WHERE c IS NULL AND id = ANY (ARRAY(SELECT id FROM t WHERE c IS NULL LIMIT 5000))"
)


def batch_problem(found: Sequence[Token]) -> str | None:
    """Say why a statement cannot be run again and again until it changes no row; None where it can."""
    words = {_word(token) for token in found}
    verb = _verb(found)
    if verb not in _CHANGING:
        return f"it changes no rows; {_BATCH_FORM}"
    if words.isdisjoint({"LIMIT", "FETCH"}):
        return f"no LIMIT: everything would be changed in one transaction; {_BATCH_FORM}"
    if verb in {"UPDATE", "DELETE"} and "WHERE" not in words:
        return f"no WHERE: the same rows would be changed for ever; {_BATCH_FORM}"
    return None


def _verb(found: Sequence[Token]) -> str:
    """Return the word that says what the statement does, after its WITH."""
    depth = 0
    for token in found:
        word = _word(token)
        depth += (word == "(") - (word == ")")
        if not depth and word in _CHANGING | {"SELECT", "VALUES", "TABLE"}:
            return word
        if word != "WITH" and token is found[0]:
            return word
    return ""
