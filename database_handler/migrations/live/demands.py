"""What each statement of pending versions asks of rows that are there: told by playing it on a copy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from database_handler.config.database import DatabaseConfig
from database_handler.core.session import Session
from database_handler.core.sql_text import TokenKind, first_words, locate, significant_tokens
from database_handler.migrations.files.migration import Migration, SectionKind, SqlStatement
from database_handler.migrations.schema.requirements import (
    Requirement,
    Tables,
    read_requirements,
    read_tables,
)
from database_handler.migrations.scratch.place import build, copy_of

__all__ = ["Demand", "demands", "names_in"]

_CHANGING = {"UPDATE", "DELETE", "INSERT", "MERGE", "WITH", "COPY", "TRUNCATE"}
_OPAQUE = {"DO", "SELECT", "CALL"}  # what runs in a body is not read


@dataclass(frozen=True, slots=True)
class Demand:
    """A requirement that a statement adds, and the tables as they are then.

    Attributes
    ----------
    statement : str
        Its text; the function's name in a Python file.
    mended : str, optional
        Where an earlier statement of the pending versions changes these rows (``0003_fill:7``).
    """

    migration: Migration
    line: int
    statement: str
    requirement: Requirement
    before: Tables
    now: Tables
    mended: str | None = None

    @property
    def of_new_columns(self) -> bool:
        """Whether it is about a column that no live table has yet."""
        live = self.before.of(self.requirement.table)
        return any(number not in live for number in self.requirement.columns)


@dataclass(frozen=True, slots=True)
class _Piece:
    """One statement, or one function of a Python file, as a version of its own."""

    migration: Migration
    line: int
    text: str
    words: tuple[str, ...]

    @property
    def opaque(self) -> bool:
        return not self.words or self.words[0] in _OPAQUE

    @property
    def imposing(self) -> bool:
        """Whether it can ask something of rows that are there."""
        return self.opaque or self.words[0] in {"ALTER", "WITH"} or self.words[:2] == ("CREATE", "UNIQUE")


def demands(
    config: DatabaseConfig, applied: Sequence[Migration], pending: Sequence[Migration]
) -> Iterator[Demand]:
    """Give what the pending versions ask of rows that are there, in the order of their statements.

    Raises
    ------
    MigrationFailed
        A statement fails where there are no rows at all.
    """
    with copy_of(config, applied, then=pending) as session:
        run = _Run(session)
        for migration in pending:
            for piece in _pieces(migration):
                yield from run.after(piece)


def _pieces(migration: Migration) -> Iterator[_Piece]:
    for section in migration.sections:
        if section.kind is not SectionKind.UP:
            continue
        if section.function:
            one = replace(migration, sections=(section,))
            yield _Piece(one, section.line, f"{section.function}()", ())
        for statement in section.statements:
            one = replace(migration, sections=(replace(section, statements=(statement,)),))
            yield _Piece(one, _line(migration, statement), statement.text, first_words(statement.text, 3))


def _line(migration: Migration, statement: SqlStatement) -> int:
    return locate(migration.text, statement.start).line


class _Run:
    """The versions as they are run on the copy: what was asked before, and what has changed rows."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._before = read_tables(session)
        self._known = self._last = read_requirements(session, self._before)
        self._changed: dict[str, str] = {}
        self._opaque: str | None = None

    def after(self, piece: _Piece) -> Iterator[Demand]:
        """Run a piece, and give what it asks."""
        build(self._session, [piece.migration])
        if piece.imposing:
            now = read_tables(self._session)
            found = read_requirements(self._session, self._before)
            for each in sorted(self._new(found), key=lambda each: (each.table, each.asked, each.name)):
                mended = self._mended(each, now)
                yield Demand(piece.migration, piece.line, piece.text, each, self._before, now, mended)
            self._known |= found
            self._last = found
        self._note(piece)

    def _new(self, found: frozenset[Requirement]) -> Iterator[Requirement]:
        """Give what was not asked before; an index that only a changed type spells anew was."""
        kept = {(each.name, each.columns, each.where, each.nulls_equal) for each in self._last if each.keys}
        for each in found - self._known:
            if not (each.keys and (each.name, each.columns, each.where, each.nulls_equal) in kept):
                yield each

    def _mended(self, each: Requirement, now: Tables) -> str | None:
        for table in (each.table, each.references):
            for names in (self._before.names, now.names):
                if place := self._changed.get(names.get(table, "")):
                    return place
        return self._opaque

    def _note(self, piece: _Piece) -> None:
        place = f"{piece.migration.name}:{piece.line}"
        if piece.opaque:
            self._opaque = place
        elif piece.words[0] in _CHANGING:
            self._changed |= dict.fromkeys(names_in(piece.text), place)


def names_in(sql: str) -> set[str]:
    """Return the identifiers of a text, spelled as the server quotes them."""
    found: set[str] = set()
    for token in significant_tokens(sql):
        if token.kind is TokenKind.WORD:
            found.add(token.text.lower())
        elif token.kind is TokenKind.QUOTED_IDENTIFIER:
            found.add(token.text)
    return found
