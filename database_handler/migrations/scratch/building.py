"""Runs the up parts of migrations inside one transaction, to see what schema they make.

What PostgreSQL refuses in a transaction is run without the word that makes it so (CONCURRENTLY), or left out
where it makes no schema (VACUUM). Nothing is recorded in any history.
"""

import io
import re
import tokenize
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from database_handler.core.exceptions import DatabaseError
from database_handler.core.session import Session, Statement
from database_handler.core.sql_text import Token, TokenKind, first_words, locate, tokens
from database_handler.migrations.files.migration_values import Direction, Migration, Part, SqlStatement
from database_handler.migrations.runner.applying import run_inside
from database_handler.migrations.runner.failing import Failure, PythonRaised, failure
from database_handler.migrations.runner.python_migration import PythonFile
from database_handler.migrations.schema.introspection import introspect
from database_handler.migrations.schema.snapshot import Kind, SchemaSnapshot

__all__ = [
    "build",
    "build_part",
    "confirm",
    "in_transaction",
    "look",
    "made_extensions",
    "needs_database",
    "unbuild",
]


def build(session: Session, migrations: Iterable[Migration]) -> None:
    """Run the up parts of migrations, in order.

    Raises
    ------
    MigrationFailed
        A statement failed; the message says which, and that nothing stays of it.
    """
    for migration in migrations:
        _run(session, migration, Direction.UP)


def unbuild(session: Session, migration: Migration) -> None:
    """Run the down parts of a migration, as `build` runs the up parts."""
    _run(session, migration, Direction.DOWN)


def confirm(session: Session, migration: Migration) -> None:
    """Run the verify section of a migration that is applied in this copy.

    Raises
    ------
    MigrationFailed
        A statement failed; its SQLSTATE tells whether for what rows hold, or for what the schema is.
    """
    for statement in migration.verify:
        _send(session, migration, statement)
    if any(section.function == "verify" for section in migration.sections):
        with _told(migration, None):
            PythonFile(migration).call("verify", session)


def _run(session: Session, migration: Migration, direction: Direction) -> None:
    for part in migration.parts(direction):
        build_part(session, migration, part)


def build_part(session: Session, migration: Migration, part: Part) -> None:
    """Run one part of a migration, as `build` runs all of one direction."""
    if part.function or part.batched:
        with _told(migration, part.statements[0] if part.statements else None):
            run_inside(session, migration, part)
        return
    for statement in part.settings + part.statements:
        _send(session, migration, statement)


def _send(session: Session, migration: Migration, statement: SqlStatement) -> None:
    text = in_transaction(statement.text)
    if text is None:
        return
    line = locate(migration.text, statement.start).line
    with _told(migration, statement):
        _send_one(session, Statement(text, f"{migration.name}:{line}", writes=True))


@contextmanager
def _told(migration: Migration, statement: SqlStatement | None) -> Iterator[None]:
    """Say of a failure where it was; the SQLSTATE stays on it."""
    told = Failure(migration, statement, where="on a scratch copy", stands="Nothing of the copy stays")
    try:
        yield
    except (DatabaseError, PythonRaised) as error:
        failed = failure(told, error)
    else:
        return
    raise failed


def _send_one(session: Session, statement: Statement) -> None:
    if not _ROLE.match(" ".join(first_words(statement.text, 2))):
        session.run(statement)
        return
    with suppress(DatabaseError), session.undoable():  # all databases have its roles, also the one copied
        session.run(statement)


# ------------------------------------------------------------------------------- what no transaction takes

_ROLE = re.compile(r"CREATE (ROLE|GROUP|USER(?! MAPPING))\b")

_WITHOUT_SCHEMA = frozenset({"VACUUM", "REINDEX", "ANALYZE", "ANALYSE", "CHECKPOINT", "DISCARD", "LOAD"})
_OUT_OF_REACH = re.compile(r"ALTER (SYSTEM|DATABASE|TABLESPACE)|(CREATE|DROP) (DATABASE|TABLESPACE)")
_CONCURRENT = re.compile(r"(CREATE (UNIQUE )?INDEX|DROP INDEX|REFRESH MATERIALIZED|ALTER TABLE)\b")


def in_transaction(sql: str) -> str | None:
    """Return a statement in the form that a transaction takes; None where it makes no schema.

    >>> in_transaction("CREATE INDEX CONCURRENTLY i ON t (a)")
    'CREATE INDEX  i ON t (a)'
    >>> in_transaction("VACUUM t") is None
    True
    """
    words = first_words(sql, 3)
    told = " ".join(words)
    if not words or words[0] in _WITHOUT_SCHEMA or _OUT_OF_REACH.match(told) or words == ("CLUSTER",):
        return None
    if not _CONCURRENT.match(told) or "concurrently" not in sql.lower():
        return sql
    return "".join(token.text for token in tokens(sql) if not _is_concurrently(token))


def _is_concurrently(token: Token) -> bool:
    return token.kind is TokenKind.WORD and token.text.upper() == "CONCURRENTLY"


# ------------------------------------------------------------------------------------------------ extensions


def look(session: Session, extensions: Collection[str]) -> SchemaSnapshot:
    """Return the copy's schema, and of the database's extensions those named.

    All copies in one database share its extensions; that one is there does not say that a version makes it.
    """
    return introspect(session).without(
        lambda thing: thing.id.kind is Kind.EXTENSION and thing.id.name not in extensions
    )


def made_extensions(texts: Iterable[str]) -> frozenset[str]:
    """Return the extensions that SQL texts make, as SQL spells their names.

    >>> sorted(made_extensions(['CREATE EXTENSION IF NOT EXISTS pg_trgm; CREATE EXTENSION "uuid-ossp"']))
    ['"uuid-ossp"', 'pg_trgm']
    """
    return frozenset(found[1] for text in texts for found in _EXTENSION.finditer(text))


_EXTENSION = re.compile(r'\bCREATE\s+EXTENSION\s+(?:IF\s+NOT\s+EXISTS\s+)?("[^"]+"|\w+)', re.IGNORECASE)


# ------------------------------------------------------------------------------ what no scratch schema takes

_BEYOND = re.compile(
    r"(CREATE|ALTER|DROP) (SCHEMA|PUBLICATION|SUBSCRIPTION|EVENT|SERVER|FOREIGN|LANGUAGE|CAST|TRANSFORM"
    r"|ACCESS)\b|(ALTER|DROP) EXTENSION\b|CREATE EXTENSION (?!IF\b)|SET ((LOCAL|SESSION) )?SEARCH_PATH\b"
)


def needs_database(migrations: Sequence[Migration], schemas: Collection[str]) -> bool:
    """Whether some text names one of `schemas`, or makes what no schema holds.

    Strings and function bodies are looked into as well: to take an alias for a schema costs only time.
    """
    named = "|".join(re.escape(schema) for schema in schemas)
    qualified = re.compile(rf'(?<![\w$."])"?(?:{named})"?\s*\.\s*["\w]', re.IGNORECASE)
    return any(_reaches_out(migration, qualified) for migration in migrations)


def _reaches_out(migration: Migration, qualified: re.Pattern[str]) -> bool:
    if qualified.search(migration.text) and qualified.search("".join(_uncommented(migration))):
        return True
    return any(
        _BEYOND.match(" ".join(first_words(statement.text, 3)))
        for direction in Direction
        for part in migration.parts(direction)
        for statement in part.statements
    )


def _uncommented(migration: Migration) -> Iterator[str]:
    if migration.is_python:
        lines = io.StringIO(migration.text).readline
        return (token.string for token in tokenize.generate_tokens(lines) if token.type != tokenize.COMMENT)
    return (token.text for token in tokens(migration.text) if token.kind is not TokenKind.COMMENT)
