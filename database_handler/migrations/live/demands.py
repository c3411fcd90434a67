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

__all__ = ["Demand", "Loss", "demands", "names_in"]

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
class Loss:
    """A table or column, by its live name, that goes with what it holds; of a table `column` is None.

    Attributes
    ----------
    emptied : bool
        Whether the table stays, and only its rows go.
    """

    migration: Migration
    line: int
    statement: str
    table: str
    column: str | None = None
    emptied: bool = False


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

    @property
    def removing(self) -> bool:
        """Whether a table or column may be gone after it."""
        return self.opaque or self.words[0] in {"ALTER", "DROP"}


def demands(
    config: DatabaseConfig, applied: Sequence[Migration], pending: Sequence[Migration]
) -> Iterator[Demand | Loss]:
    """Give what the pending versions ask of rows that are there, and take of them, statement by statement.

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
        self._gone: set[object] = set()

    def after(self, piece: _Piece) -> Iterator[Demand | Loss]:
        """Run a piece, and give what it asks, and what goes with it."""
        build(self._session, [piece.migration])
        yield from self._lost(piece)
        yield from self._asked(piece)
        self._note(piece)

    def _lost(self, piece: _Piece) -> Iterator[Loss]:
        """Give what was there before the pending versions and is gone since this piece."""
        of = (piece.migration, piece.line, piece.text)
        before = self._before
        if piece.words[:1] == ("TRUNCATE",):
            for name in sorted(names_in(piece.text) & {*before.names.values()}):
                yield Loss(*of, name, emptied=True)
        if not piece.removing:
            return
        now = read_tables(self._session)
        tables = before.names.keys() - now.names.keys() - self._gone
        columns = before.columns.keys() - now.columns.keys() - self._gone
        yield from (Loss(*of, before.names[table]) for table in sorted(tables))
        for table, number in sorted(columns):
            if table in now.names:
                yield Loss(*of, before.names[table], before.columns[table, number])
        self._gone |= tables | columns

    def _asked(self, piece: _Piece) -> Iterator[Demand]:
        if piece.imposing:
            now = read_tables(self._session)
            found = read_requirements(self._session, self._before)
            for each in sorted(self._new(found), key=lambda each: (each.table, each.asked, each.name)):
                mended = self._mended(each, now)
                yield Demand(piece.migration, piece.line, piece.text, each, self._before, now, mended)
            self._known |= found
            self._last = found

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
