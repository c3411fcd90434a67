"""A folder of versions read and checked without a database: every file that is wrong is named, with its line.

A migration is an SQL file with sections, or a Python file with functions; neither is run to be read.
"""

import re
from functools import lru_cache
from pathlib import Path

from database_handler.core.sql_text import SqlTextError, Token, TokenKind, locate, tokens
from database_handler.migrations.errors import MalformedMigration, NoVersionsFolder, raise_first
from database_handler.migrations.files.markers import FILE_NAME, check_order, read_replaces, read_sections
from database_handler.migrations.files.migration_values import (
    Direction,
    Migration,
    Part,
    Replaced,
    Section,
    SectionKind,
    SqlStatement,
)
from database_handler.migrations.files.python_file import read_functions

__all__ = [
    "Direction",
    "Migration",
    "Part",
    "Replaced",
    "Section",
    "SectionKind",
    "SqlStatement",
    "parse",
    "read_file",
    "read_files",
    "read_folder",
]

_LINE_END = re.compile(r"\r+\n")  # also one that was converted twice: read again, the text stays as it is
_NAME_RULE = (
    "a migration is called NNNN_words_in_small_letters.sql (or .py), such as 0007_add_project_owner.sql"
)


def read_folder(folder: Path) -> tuple[Migration, ...]:
    """Read every migration of a folder, in the order of their names.

    Raises
    ------
    NoVersionsFolder
        There is none.
    MalformedMigration
        For the first file with a problem, with the problems of all files in the message.
    """
    found, problems = read_files(folder)
    raise_first(problems)
    return found


def read_files(folder: Path) -> tuple[tuple[Migration, ...], tuple[MalformedMigration, ...]]:
    """Read what can be read of a folder, in the order of the names; and what is wrong with the rest.

    Raises
    ------
    NoVersionsFolder
        There is none.
    """
    if not folder.is_dir():
        raise NoVersionsFolder(folder)
    found: list[Migration] = []
    problems: list[MalformedMigration] = []
    for path in sorted(filter(_is_version, folder.iterdir())):
        try:
            found.append(read_file(path))
        except MalformedMigration as problem:
            problems.append(problem)
    return tuple(sorted(found, key=lambda migration: (migration.number, migration.name))), tuple(problems)


def _is_version(path: Path) -> bool:
    suffix = path.suffix.lower()
    return suffix == ".sql" or (suffix == ".py" and path.name[0].isdigit())


def read_file(path: Path) -> Migration:
    """Read one migration; `MalformedMigration` also where the file cannot be read."""
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL, or half of a surrogate pair, in the path
        told = error.strerror if isinstance(error, OSError) else "its path is none"
    else:
        return parse(path, content)
    raise MalformedMigration(path, 1, f"it cannot be read ({told})")


def parse(path: Path, content: bytes) -> Migration:
    """Take the bytes of one file apart.

    Raises
    ------
    MalformedMigration
        Naming the file, the line and what is allowed there.
    """
    return _parsed(path, content)


@lru_cache(maxsize=2048)  # a folder is read once for each of many schemas
def _parsed(path: Path, content: bytes) -> Migration:
    name = path.name.removesuffix(path.suffix)
    if path.suffix not in {".sql", ".py"} or not (numbered := FILE_NAME.fullmatch(name)):
        raise MalformedMigration(path, 1, f"{path.name!r} is not a migration's name; {_NAME_RULE}")
    number, text = int(numbered[1]), _decode(path, content)
    if path.suffix == ".py":
        return Migration(path, name, number, text, read_functions(path, text))
    return Migration(path, name, number, text, *_read(path, name, number, text))


def _read(path: Path, name: str, number: int, text: str) -> tuple[tuple[Section, ...], tuple[Replaced, ...]]:
    try:
        found = list(tokens(text))
        _check_header(path, name, found)
        sections = tuple(read_sections(path, text, found))
        check_order(path, sections)
        return sections, read_replaces(path, number, text, found)
    except SqlTextError as error:
        place = locate(text, error.position)
        raise MalformedMigration(path, place.line, f"column {place.column}: {error.reason}") from None


def _decode(path: Path, content: bytes) -> str:
    # A byte order mark means nothing in UTF-8 and some editors add it; the server would take it for a name.
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        return _LINE_END.sub("\n", content.decode("utf-8"))
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
    if FILE_NAME.fullmatch(named) and named != name:
        raise MalformedMigration(
            path, 1, f"the first line says {named}, the file is called {name}; make them the same"
        )
