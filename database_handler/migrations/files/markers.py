"""The text of an SQL file into its sections: markers are comments on lines of their own, found by the lexer.

So one inside a string or a block comment is none. Everything that can be wrong with the text alone is
found here, with its file and line.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from database_handler.core.sql_text import Span, Token, TokenKind, hash_tokens, locate, split_tokens
from database_handler.migrations.errors import MalformedMigration
from database_handler.migrations.files.migration_values import Replaced, Section, SectionKind, SqlStatement
from database_handler.migrations.files.statement_checks import batch_problem, problem

__all__ = ["FILE_NAME", "check_order", "read_replaces", "read_sections"]

FILE_NAME = re.compile(r"(\d{4,9})_[a-z0-9]+(?:_[a-z0-9]+)*")
_MARKER = re.compile(r"--\s*migrate\s*:(.*)", re.IGNORECASE | re.DOTALL)
# `-- migrate down` is a comment to the server: what follows would run with the section before it.
_NEAR_MARKER = re.compile(r"--\W*migrat\w*\W+(?:up|down|verify)\b", re.IGNORECASE)
_MARKERS = {
    "up": (SectionKind.UP, True, False),
    "up, no transaction": (SectionKind.UP, False, False),
    "up, batched": (SectionKind.UP, True, True),
    "verify": (SectionKind.VERIFY, True, False),
    "down": (SectionKind.DOWN, True, False),
    "down, no transaction": (SectionKind.DOWN, False, False),
    "down, batched": (SectionKind.DOWN, True, True),
}
_ALLOWED_MARKERS = ", ".join(f"`-- migrate: {marker}`" for marker in _MARKERS)
_IGNORED = (TokenKind.COMMENT, TokenKind.WHITESPACE)


@dataclass(frozen=True, slots=True)
class _Marker:
    kind: SectionKind
    transactional: bool
    batched: bool
    start: int
    end: int


def read_sections(path: Path, text: str, found: list[Token]) -> Iterator[Section]:
    """Give the sections of a file in order.

    Raises
    ------
    MalformedMigration
        Naming the file, the line and what is allowed there.
    """
    markers = _markers(path, text, found)
    significant = [token for token in found if token.kind not in _IGNORED]
    starts = [token.start for token in significant]
    ends = [marker.start for marker in markers[1:]] + [len(text)]
    for marker, end in zip(markers, ends, strict=True):
        mine = significant[bisect_left(starts, marker.end) : bisect_left(starts, end)]
        yield _section(path, text, marker, mine)


def _markers(path: Path, text: str, found: Iterable[Token]) -> list[_Marker]:
    markers: list[_Marker] = []
    for token in found:
        if token.kind is TokenKind.COMMENT and (marker := _marker(path, text, token)):
            markers.append(marker)
        elif not markers and token.kind not in _IGNORED:
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
    wrong = None
    if said not in _MARKERS:
        wrong = f"unknown marker {token.text.strip()!r}; allowed are {_ALLOWED_MARKERS}"
    elif text[text.rfind("\n", 0, token.start) + 1 : token.start].strip():
        wrong = "a marker stands on a line of its own"
    if wrong:
        raise MalformedMigration(path, _line(text, token.start), wrong)
    return _Marker(*_MARKERS[said], token.start, token.end)


def _section(path: Path, text: str, marker: _Marker, mine: list[Token]) -> Section:
    line = _line(text, marker.start)
    spans = split_tokens(text, mine)
    section = Section(
        marker.kind,
        marker.transactional,
        line,
        tuple(SqlStatement(span.of(text), span.start) for span in spans),
        hash_tokens(token.text for token in mine),
        marker.batched,
    )
    if not spans:
        empty = f"the section `{section.marker}` is empty; leave it out, or write `SELECT;` in it"
        raise MalformedMigration(path, line, empty)
    if section.batched and len(spans) > 1:
        several = f"a second statement in `{section.marker}`; give each a section of its own"
        raise MalformedMigration(path, _line(text, spans[1].start), several)
    _check_statements(path, text, section, spans, mine)
    return section


def _check_statements(path: Path, text: str, section: Section, spans: list[Span], mine: list[Token]) -> None:
    starts = [token.start for token in mine]
    for span in spans:
        found = mine[bisect_left(starts, span.start) : bisect_left(starts, span.end)]
        wrong = problem(found, span.of(text), transactional=section.transactional)
        if section.batched and not wrong:
            wrong = batch_problem(found)
        if wrong:
            raise MalformedMigration(path, _line(text, span.start), wrong)
    if not section.transactional and all(
        mine[bisect_left(starts, span.start)].text.upper() in {"SET", "RESET"} for span in spans
    ):
        useless = f"`{section.marker}` only sets something, which holds to the end of its section"
        raise MalformedMigration(path, section.line, useless)


def check_order(path: Path, sections: tuple[Section, ...]) -> None:
    """Refuse a file without a way up, and sections in another order than up, verify, down."""
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


# ------------------------------------------------------------------------------------------ what it replaces

_REPLACES = re.compile(r"--\s*replaces\s*:(.*)", re.IGNORECASE | re.DOTALL)
_HASH = re.compile(r"[0-9a-f]{64}")


def read_replaces(path: Path, number: int, text: str, found: Iterable[Token]) -> tuple[Replaced, ...]:
    """Return the versions that the lines ``-- replaces: NAME HASH UP_HASH`` before the first marker name.

    Earlier releases wrote them without the last.

    Raises
    ------
    MalformedMigration
        A line does not read so, or the versions named leave a number up to the file's own out.
    """
    replaced: list[Replaced] = []
    for token in found:
        if token.kind is TokenKind.COMMENT and _MARKER.fullmatch(token.text):
            break
        if token.kind is TokenKind.COMMENT and (said := _REPLACES.fullmatch(token.text)):
            replaced.append(_replaced(path, _line(text, token.start), said[1].split()))
    numbers = {each.number for each in replaced}
    if numbers and numbers != set(range(1, number + 1)):
        raise MalformedMigration(
            path,
            1,
            f"a file that replaces others takes the place of all versions from 0001 to its own, {number:04}; "
            f"its `-- replaces:` lines name {', '.join(f'{each:04}' for each in sorted(numbers))}",
        )
    return tuple(replaced)


def _replaced(path: Path, line: int, words: list[str]) -> Replaced:
    well = len(words) in {2, 3} and FILE_NAME.fullmatch(words[0]) and all(map(_HASH.fullmatch, words[1:]))
    if not well:
        raise MalformedMigration(
            path,
            line,
            "after `-- replaces:` stand a version's name and its hash, as in versions.lock, and the hash of "
            "its up",
        )
    return Replaced(*words)


def _line(text: str, position: int) -> int:
    return locate(text, position).line
