"""A migration file taken apart and checked without a database: sections, statements, hash.

Markers are comments on lines of their own, found by the lexer, so that one inside a string or a block
comment is none. Everything that can be wrong with the text alone is found here, with its file and line.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from pathlib import Path

from database_handler.core.sql_text import (
    Span,
    SqlTextError,
    Token,
    TokenKind,
    client_copy,
    control_words,
    hash_tokens,
    locate,
    significant_tokens,
    split_tokens,
    tokens,
)
from database_handler.migrations.errors import MalformedMigration, raise_first

__all__ = ["Direction", "Migration", "Part", "Section", "SectionKind", "SqlStatement", "parse", "read_folder"]


class Direction(StrEnum):
    """Which way a migration is run."""

    UP = "up"
    DOWN = "down"


class SectionKind(StrEnum):
    """What a section is for."""

    UP = "up"
    VERIFY = "verify"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class SqlStatement:
    """One statement and where it begins in the file, in characters from 0."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Section:
    """The statements between two markers."""

    kind: SectionKind
    transactional: bool
    line: int
    statements: tuple[SqlStatement, ...]
    token_hash: str

    @property
    def marker(self) -> str:
        """The marker as it is written down."""
        return f"-- migrate: {self.kind.value}{'' if self.transactional else ', no transaction'}"


@dataclass(frozen=True, slots=True)
class Part:
    """What takes effect at once: a transactional section, or one statement of another section."""

    statements: tuple[SqlStatement, ...]
    transactional: bool

    def significant(self) -> Iterator[str]:
        """Give the tokens that count for a hash, framed so that parts cannot run into each other."""
        yield f"-- part{'' if self.transactional else ', no transaction'}"
        for statement in self.statements:
            yield from (token.text for token in significant_tokens(statement.text))
            yield ";"


@dataclass(frozen=True)
class Migration:
    """A file that was read and found sound.

    Attributes
    ----------
    name : str
        ``0007_add_project_owner``; `number` is 7.
    text : str
        The file's text with its line endings made line feeds: what places in it are counted in.
    """

    path: Path
    name: str
    number: int
    text: str
    sections: tuple[Section, ...]

    @cached_property
    def token_hash(self) -> str:
        """SHA-256 over the markers and the significant tokens: comments and line endings do not count."""
        return hash_tokens(part for section in self.sections for part in (section.marker, section.token_hash))

    @property
    def reversible(self) -> bool:
        """Whether it has a down section."""
        return any(section.kind is SectionKind.DOWN for section in self.sections)

    @property
    def verify(self) -> tuple[SqlStatement, ...]:
        """The statements that must not raise once the migration is applied."""
        return tuple(
            found
            for section in self.sections
            if section.kind is SectionKind.VERIFY
            for found in section.statements
        )

    def parts(self, direction: Direction) -> tuple[Part, ...]:
        """Return what a run goes through, in order."""
        return tuple(
            part
            for section in self.sections
            if section.kind.value == direction.value
            for part in _parts(section)
        )

    def hash_of(self, direction: Direction, parts: int) -> str:
        """Return the hash of the first `parts` parts: what an interrupted run has done must not change."""
        return hash_tokens(token for part in self.parts(direction)[:parts] for token in part.significant())

    def script(self, direction: Direction, skip: int = 0) -> str:
        """Return the SQL that a run would send, after the first `skip` parts."""
        return "".join(
            f"{statement.text};\n" for part in self.parts(direction)[skip:] for statement in part.statements
        )


def _parts(section: Section) -> Iterator[Part]:
    if section.transactional:
        yield Part(section.statements, transactional=True)
    else:
        for statement in section.statements:
            yield Part((statement,), transactional=False)


# ------------------------------------------------------------------------------------------------ the folder

_FILE_NAME = re.compile(r"(\d{4,9})_[a-z0-9]+(?:_[a-z0-9]+)*")
_NAME_RULE = "a migration is called NNNN_words_in_small_letters.sql, such as 0007_add_project_owner.sql"


def read_folder(folder: Path) -> tuple[Migration, ...]:
    """Read every migration of a folder, in the order of their names.

    Raises
    ------
    MalformedMigration
        For the first file with a problem, with the problems of all files in the message.
    """
    if not folder.is_dir():
        raise MalformedMigration(folder, 1, "there is no such folder of versions")
    found: list[Migration] = []
    problems: list[MalformedMigration] = []
    for path in sorted(filter(_is_version, folder.iterdir())):
        try:
            found.append(parse(path, path.read_bytes()))
        except MalformedMigration as problem:
            problems.append(problem)
    raise_first(problems)
    return tuple(sorted(found, key=lambda migration: (migration.number, migration.name)))


def _is_version(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix == ".sql" or (suffix == ".py" and path.name[0].isdigit())


def parse(path: Path, content: bytes) -> Migration:
    """Take the bytes of one file apart.

    Raises
    ------
    MalformedMigration
        Naming the file, the line and what is allowed there.
    """
    name = path.name.removesuffix(".sql")
    if path.suffix != ".sql" or not (numbered := _FILE_NAME.fullmatch(name)):
        raise MalformedMigration(path, 1, f"{path.name!r} is not a migration's name; {_NAME_RULE}")
    return Migration(path, name, int(numbered[1]), *_read(path, name, content))


def _read(path: Path, name: str, content: bytes) -> tuple[str, tuple[Section, ...]]:
    text = _decode(path, content)
    try:
        found = list(tokens(text))
        _check_header(path, name, found)
        sections = tuple(_sections(path, text, found))
        _check_order(path, sections)
    except SqlTextError as error:
        place = locate(text, error.position)
        raise MalformedMigration(path, place.line, f"column {place.column}: {error.reason}") from None
    return text, sections


def _decode(path: Path, content: bytes) -> str:
    # A byte order mark means nothing in UTF-8 and some editors add it; the server would take it for a name.
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        return content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise MalformedMigration(
            path,
            line,
            f"byte {error.start} is not UTF-8 (0x{content[error.start]:02x}); save the file as UTF-8",
        ) from None


def _check_header(path: Path, name: str, found: list[Token]) -> None:
    first = next((token for token in found if token.kind is not TokenKind.WHITESPACE), None)
    if first is None or first.kind is not TokenKind.COMMENT:
        return
    named = first.text.removeprefix("--").strip()
    if _FILE_NAME.fullmatch(named) and named != name:
        raise MalformedMigration(
            path, 1, f"the first line says {named}, the file is called {name}; make them the same"
        )


# --------------------------------------------------------------------------------------------------- markers

_MARKER = re.compile(r"--\s*migrate\s*:(.*)", re.IGNORECASE | re.DOTALL)
# `-- migrate down` is a comment to the server: what follows would run with the section before it.
_NEAR_MARKER = re.compile(r"--\W*migrat\w*\W+(?:up|down|verify)\b", re.IGNORECASE)
_MARKERS = {
    "up": (SectionKind.UP, True),
    "up, no transaction": (SectionKind.UP, False),
    "verify": (SectionKind.VERIFY, True),
    "down": (SectionKind.DOWN, True),
    "down, no transaction": (SectionKind.DOWN, False),
}
_ALLOWED_MARKERS = ", ".join(f"`-- migrate: {marker}`" for marker in _MARKERS)


@dataclass(frozen=True, slots=True)
class _Marker:
    kind: SectionKind
    transactional: bool
    start: int
    end: int


def _markers(path: Path, text: str, found: Iterable[Token]) -> list[_Marker]:
    markers: list[_Marker] = []
    for token in found:
        if token.kind is TokenKind.COMMENT and (marker := _marker(path, text, token)):
            markers.append(marker)
        elif not markers and token.kind not in (TokenKind.COMMENT, TokenKind.WHITESPACE):
            raise MalformedMigration(
                path, _line(text, token.start), "SQL before the first marker; begin with `-- migrate: up`"
            )
    if not markers:
        raise MalformedMigration(path, 1, "no section; a migration has at least a `-- migrate: up`")
    return markers


def _marker(path: Path, text: str, token: Token) -> _Marker | None:
    matched = _MARKER.fullmatch(token.text)
    if not matched and not _NEAR_MARKER.match(token.text):
        return None
    said = " ".join(matched[1].split()) if matched else ""
    problem = None
    if said not in _MARKERS:
        problem = f"unknown marker {token.text.strip()!r}; allowed are {_ALLOWED_MARKERS}"
    elif text[text.rfind("\n", 0, token.start) + 1 : token.start].strip():
        problem = "a marker stands on a line of its own"
    if problem:
        raise MalformedMigration(path, _line(text, token.start), problem)
    return _Marker(*_MARKERS[said], token.start, token.end)


def _sections(path: Path, text: str, found: list[Token]) -> Iterator[Section]:
    markers = _markers(path, text, found)
    significant = [token for token in found if token.kind not in (TokenKind.COMMENT, TokenKind.WHITESPACE)]
    starts = [token.start for token in significant]
    ends = [marker.start for marker in markers[1:]] + [len(text)]
    for marker, end in zip(markers, ends, strict=True):
        mine = significant[bisect_left(starts, marker.end) : bisect_left(starts, end)]
        yield _section(path, text, marker, mine)


def _section(path: Path, text: str, marker: _Marker, mine: list[Token]) -> Section:
    line = _line(text, marker.start)
    spans = split_tokens(text, mine)
    section = Section(
        marker.kind,
        marker.transactional,
        line,
        tuple(SqlStatement(span.of(text), span.start) for span in spans),
        hash_tokens(token.text for token in mine),
    )
    if not spans:
        empty = f"the section `{section.marker}` is empty; leave it out, or write `SELECT;` in it"
        raise MalformedMigration(path, line, empty)
    _check_statements(path, text, marker.transactional, spans, mine)
    return section


def _check_order(path: Path, sections: tuple[Section, ...]) -> None:
    kinds = [section.kind for section in sections]
    if SectionKind.UP not in kinds:
        raise MalformedMigration(
            path, sections[0].line, "no `-- migrate: up` section; every migration has one"
        )
    order = list(SectionKind)
    for before, section in pairwise(sections):
        if order.index(section.kind) < order.index(before.kind):
            raise MalformedMigration(
                path,
                section.line,
                f"`{section.marker}` after `{before.marker}`; the order is up, verify, down",
            )
        if section.kind is SectionKind.VERIFY is before.kind:
            raise MalformedMigration(path, section.line, "a second verify section; put both into one")


def _line(text: str, position: int) -> int:
    return locate(text, position).line


# ------------------------------------------------------------------------------------------------ statements

# What PostgreSQL refuses in a transaction block (its `PreventInTransactionBlock`), by the statement's words.
_NOT_IN_TRANSACTION = re.compile(
    r"CREATE (UNIQUE )?INDEX CONCURRENTLY\b|DROP INDEX CONCURRENTLY\b"
    r"|REINDEX (\( .*\) )?(SYSTEM|DATABASE|SCHEMA)\b"
    r"|REINDEX \( (.* )?CONCURRENTLY\b|REINDEX \w+ CONCURRENTLY\b"
    r"|VACUUM\b|CLUSTER( \( .*\)| VERBOSE)?$"
    r"|(CREATE|DROP) (DATABASE|TABLESPACE)\b|ALTER DATABASE \S+ SET TABLESPACE\b|ALTER SYSTEM\b"
    r"|ALTER TABLE .* DETACH PARTITION .* CONCURRENTLY$|DISCARD ALL\b"
)
_LEADING_WORDS = 40


def _check_statements(
    path: Path, text: str, transactional: bool, spans: list[Span], mine: list[Token]
) -> None:
    starts = [token.start for token in mine]
    for span in spans:
        found = mine[bisect_left(starts, span.start) : bisect_left(starts, span.end)]
        if reason := _problem(found, span.of(text), transactional):
            raise MalformedMigration(path, _line(text, span.start), reason)


def _problem(found: list[Token], sql: str, transactional: bool) -> str | None:
    words = _words(found)
    if any(token.kind is TokenKind.PUNCTUATION and token.text == "\\" for token in found):
        return "a backslash outside of a string: psql's own commands are not SQL, write the statement itself"
    if control := control_words(tuple(words.split(" ", 3)[:3])):
        return (
            f"{control}: a section is one transaction, which the run begins and ends; "
            "what must be separate goes into a section of its own"
        )
    if words.startswith("COPY ") and (copy := client_copy(sql)):
        return f"COPY {copy} needs data from a client, and a migration has none; write INSERT"
    if transactional and (alone := _NOT_IN_TRANSACTION.match(words)):
        return (
            f"{alone[0][:60]} cannot run in a transaction; put it into `-- migrate: up, no transaction` "
            "(or down), a section of its own"
        )
    return None


def _words(found: list[Token]) -> str:
    plain = (TokenKind.WORD, TokenKind.PUNCTUATION)
    return " ".join(token.text.upper() if token.kind in plain else "x" for token in found[:_LEADING_WORDS])
