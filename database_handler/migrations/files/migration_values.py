"""What a migration is once its file was read: sections, and the parts in which they take effect; pure values.

A part is what takes effect at once, and what the history counts: a transactional section, one statement of
a section without a transaction, a batched statement until it finds nothing more, a function of a Python file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from database_handler.core.sql_text import first_words, hash_tokens, significant_tokens

__all__ = ["Direction", "Migration", "Part", "Replaced", "Section", "SectionKind", "SqlStatement"]


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
    """The statements between two markers; of a Python file, one function.

    Attributes
    ----------
    transactional : bool
        False where each statement takes effect by itself.
    batched : bool
        Whether it is run again and again, each time in a transaction of its own, until nothing is left.
    function : str, optional
        ``up``, ``down`` or ``verify`` of a Python file; it has no statements then.
    apart_hash : str
        Of a Python file, whose functions share what stands beside them: its hash without ``down``.
    """

    kind: SectionKind
    transactional: bool
    line: int
    statements: tuple[SqlStatement, ...]
    token_hash: str
    batched: bool = False
    function: str | None = None
    apart_hash: str = ""

    @property
    def marker(self) -> str:
        """The marker as it is written down."""
        return f"-- migrate: {self.kind.value}{_manner(self.transactional, self.batched)}"


def _manner(transactional: bool, batched: bool) -> str:
    return ", batched" if batched else "" if transactional else ", no transaction"


@dataclass(frozen=True, slots=True)
class Part:
    """What takes effect at once; `settings` are the SETs of its section that stand before it.

    They are sent again before it, for what a statement sets is reset when the next part is recorded.
    """

    statements: tuple[SqlStatement, ...]
    transactional: bool
    batched: bool = False
    function: str | None = None
    token_hash: str = ""
    settings: tuple[SqlStatement, ...] = ()

    def significant(self) -> Iterator[str]:
        """Give the tokens that count for a hash, framed so that parts cannot run into each other."""
        yield f"-- part{_manner(self.transactional, self.batched)}"
        if self.function:
            yield from (self.function, self.token_hash)
        for statement in self.settings + self.statements:
            yield from (token.text for token in significant_tokens(statement.text))
            yield ";"


@dataclass(frozen=True, slots=True)
class Replaced:
    """A version whose place a squashed file takes, and the hash that it had; `up_hash` is of its way up."""

    name: str
    token_hash: str
    up_hash: str | None = None

    @property
    def number(self) -> int:
        """The number that its name begins with."""
        return int(self.name.partition("_")[0])


@dataclass(frozen=True)
class Migration:
    """A file that was read and found sound.

    Attributes
    ----------
    name : str
        ``0007_add_project_owner``; `number` is 7.
    text : str
        The file's text with its line endings made line feeds: what places in it are counted in.
    replaces : tuple of Replaced
        The versions that a squashed file stands for.
    """

    path: Path
    name: str
    number: int
    text: str
    sections: tuple[Section, ...]
    replaces: tuple[Replaced, ...] = ()

    @cached_property
    def token_hash(self) -> str:
        """SHA-256 over the markers and the significant tokens: comments and line endings do not count."""
        return hash_tokens(self._significant())

    @cached_property
    def up_hash(self) -> str:
        """The same without the way down, which may still be put right once the version is applied."""
        kept = (section for section in self.sections if section.kind is not SectionKind.DOWN)
        return hash_tokens(
            token for section in kept for token in (section.marker, section.apart_hash or section.token_hash)
        )

    def _significant(self) -> Iterator[str]:
        for replaced in self.replaces:
            yield from (f"-- replaces: {replaced.name}", replaced.token_hash)
            yield from filter(None, [replaced.up_hash])
        for section in self.sections:
            yield from (section.marker, section.token_hash)

    @property
    def first_number(self) -> int:
        """The first number that it stands for: its own, unless it replaces others."""
        return min((replaced.number for replaced in self.replaces), default=self.number)

    @property
    def is_python(self) -> bool:
        """Whether its sections are functions of a Python file."""
        return any(section.function for section in self.sections)

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
        """Return the SQL that a run would send, after the first `skip` parts; Python in a comment."""
        return "".join(map(self._script_of, self.parts(direction)[skip:]))

    def _script_of(self, part: Part) -> str:
        if part.function:
            return f"-- {part.function}() of {self.path.name}\n"
        said = "-- again and again, until it changes no row:\n" if part.batched else ""
        return said + "".join(f"{statement.text};\n" for statement in part.settings + part.statements)


def _parts(section: Section) -> Iterator[Part]:
    if section.transactional:
        yield Part(
            section.statements,
            transactional=True,
            batched=section.batched,
            function=section.function,
            token_hash=section.token_hash if section.function else "",
        )
        return
    settings: list[SqlStatement] = []
    for statement in section.statements:
        if first_words(statement.text)[:1] in _SETTINGS:
            settings.append(statement)
        else:
            yield Part((statement,), transactional=False, settings=tuple(settings))


_SETTINGS = {("SET",), ("RESET",)}
