"""A project as one file of JSON Lines (one JSON object a line, UTF-8), written and read as a stream.

The first line is the header: the format, its version, the library's, and which entities follow. Then comes
one line a row, entity by entity, each entity's in the order of their ids, first the project. The last line
holds the counts, so that a file that was cut short is noticed. A reader keeps 16 bytes a row to find
references, and nothing else of what it has read. A file may be compressed with gzip; readers see that from
its bytes.

Nothing here touches a database. It is one module because each rule of the format has two sides, what is
written and what is refused, and they are read together.
"""

from bisect import bisect_left
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, BinaryIO, Literal
from uuid import UUID

from pydantic import AwareDatetime, create_model
from pydantic_core import PydanticSerializationError, from_json, to_json

from database_handler.content.errors import Refusal
from database_handler.content.streams import (
    DAMAGED,
    LONGEST_LINE,
    MOST_VALUES,
    UnwritableFile,
    Writable,
    holds_too_much,
    opened_for_reading,
    opened_for_writing,
    put,
    shown,
    why,
)
from database_handler.core.base_model import Draft, Record, draft_of
from database_handler.core.exceptions import InvalidValue
from database_handler.core.schema import TENANT, Table

__all__ = [
    "FORMAT",
    "LONGEST_LINE",
    "VERSION",
    "FileRow",
    "ProjectFileRefused",
    "UnwritableFile",
    "Writable",
    "opened_for_reading",
    "opened_for_writing",
    "read",
    "write",
]

FORMAT = "database-handler project"
VERSION = 1
_LONGEST_FRAME = 64 * 1024  # bytes of the first and the last line


class ProjectFileRefused(Refusal, reason="project_file"):
    """The file is no project file that can be taken; nothing was stored.

    Attributes
    ----------
    line : int or None
        Where it is wrong, from 1 on.
    """

    def __init__(self, message: str | None = None, *, line: int | None = None) -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.line = line


# --------------------------------------------------------------------------------------------------- writing


def write(stream: Writable, rows: Iterable[Record], entities: Sequence[type[Record]]) -> dict[str, int]:
    """Write a project and return how many rows of each entity there were.

    Parameters
    ----------
    rows : iterable of Record
        The project first, then each entity's in the order of `entities` and of their ids.

    Raises
    ------
    UnwritableFile, InvalidValue
        The stream does not take it, or is no stream of bytes; a row is longer than a reader would take.
    """
    counts = dict.fromkeys((entity.table.name for entity in entities), 0)
    fields = {entity: set(draft_of(entity).model_fields) for entity in entities}
    for row in rows:
        if not any(counts.values()):
            put(stream, _header(row, list(counts)))
        counts[row.table.name] += 1
        put(stream, _line(row, fields[type(row)]))
    put(stream, to_json({"end": True, "counts": counts}) + b"\n")
    return counts


def _header(project: Record, entities: list[str]) -> bytes:
    told = {"id": project.id, "name": getattr(project, "name", None), "slug": getattr(project, "slug", None)}
    known = {"format": FORMAT, "version": VERSION, "library": _library(), "entities": entities}
    return to_json({**known, "project": told}) + b"\n"


def _library() -> str:
    try:
        return version("database-handler")
    except PackageNotFoundError:  # a copy of the code that nobody installed
        return "unknown"


def _line(row: Record, fields: set[str]) -> bytes:
    known = {"entity": row.table.name, "id": row.id, "created_at": row.created_at}
    head = to_json({**known, "updated_at": row.updated_at, "version": row.version})
    line = b"%b,%b%b}\n" % (head[:-1], b'"record":', _record(row, fields))
    if len(line) > LONGEST_LINE:
        raise InvalidValue(f"{row.table.name} {row.id}: its line would be longer than {LONGEST_LINE:,} bytes")
    return line


def _record(row: Record, fields: set[str]) -> bytes:
    try:
        return row.model_dump_json(include=fields).encode()
    except PydanticSerializationError:
        told = "a value has no form in JSON; for bytes, give both classes of the entity"
    raise InvalidValue(f"{row.table.name} {row.id}: {told} ser_json_bytes and val_json_bytes of base64")


# --------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class FileRow:
    """One row of a file, validated.

    Attributes
    ----------
    line : int
        Where it stands.
    number : int
        Its place among the rows of its entity, from 1 on.
    references : mapping
        Each field that refers to another row, with that row's number among those of its entity.
    """

    line: int
    entity: type[Record]
    number: int
    draft: Draft
    references: Mapping[str, int] = field(default_factory=dict)
    size: int = 0  # bytes of its line


def read(
    stream: BinaryIO, entities: Sequence[type[Record]], *, longest: int = LONGEST_LINE
) -> Generator[FileRow, None, None]:
    """Read a file row by row; the last step checks that it was all there.

    Parameters
    ----------
    entities : sequence of Record classes
        What rows a file may hold; the first is the project's.
    longest : int
        The bytes that a line may have.

    Raises
    ------
    ProjectFileRefused
        With the line: another format or version, a row that its model refuses, rows out of order, an id
        that comes twice, a reference to a row that is not there, a line that is no JSON or too long, counts
        that do not agree, or an end that is missing.
    """
    lines = _lines(stream, longest)
    reader = _Reader(entities)
    reader.begin(*next(lines))
    for number, line in lines:
        if line.startswith(b'{"end"'):
            reader.end(number, line)
            for after, _ in lines:
                raise ProjectFileRefused("nothing may follow the closing line", line=after)
            return
        if not line.endswith(b"\n"):
            raise ProjectFileRefused("the line is cut short", line=number)
        yield reader.row(number, line)
    raise ProjectFileRefused("the file ends without its closing line: it was cut short")


def _lines(stream: BinaryIO, longest: int) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := _next(stream, number + 1, longest):
        number += 1
        if len(line) > longest:
            raise ProjectFileRefused(f"it is longer than {longest:,} bytes", line=number)
        yield number, line
    if number == 0:
        raise ProjectFileRefused("the file is empty; a project file begins with its header", line=1)


def _next(stream: BinaryIO, number: int, longest: int) -> bytes:
    try:
        return stream.readline(longest + 1)
    except DAMAGED:
        told = "the compressed data is damaged or was cut short"
    except OSError as error:
        told = f"the file cannot be read: {why(error)}"
    raise ProjectFileRefused(told, line=number)


class _Reader:
    """What is known of a file while it is read."""

    def __init__(self, entities: Sequence[type[Record]]) -> None:
        self._entities = {entity.table.name: entity for entity in entities}
        self._project = next(iter(self._entities))
        self._models = {name: _model(entity) for name, entity in self._entities.items()}
        self._ids = {name: _Ids() for name in self._entities}
        self._allowed = list(self._entities)

    def begin(self, number: int, line: bytes) -> None:
        header = _frame(number, line)
        if header.get("format") != FORMAT:
            raise ProjectFileRefused(
                'this is no project file: its header says no "format" of one', line=number
            )
        if header.get("version") != VERSION or type(header["version"]) is not int:
            told = f"the file's format is of another version; this library reads version {VERSION}"
            raise ProjectFileRefused(told, line=number)
        unknown = set(map(str, _list(header.get("entities")))) - self._entities.keys()
        if unknown:
            named = shown(", ".join(sorted(unknown)))
            raise ProjectFileRefused(f"it holds entities that are not known here: {named}", line=number)

    def row(self, number: int, line: bytes) -> FileRow:
        if holds_too_much(line):
            told = f"it holds more values than the {MOST_VALUES:,} of a row"
            raise ProjectFileRefused(told, line=number)
        name = self._entity(number, line)
        try:
            found: Any = self._models[name].model_validate_json(line)
        except InvalidValue as refusal:
            told = shown(str(refusal))  # it names fields, and those of the file may be anything
        else:
            place = self._place(number, name, found.id)
            references = self._references(number, self._entities[name].table, found.record)
            return FileRow(number, self._entities[name], place, found.record, references, len(line))
        raise ProjectFileRefused(told, line=number)

    def _entity(self, number: int, line: bytes) -> str:
        """Say which entity a line is of: those may not go back to one that came before."""
        name = self._allowed[0]
        # As `write` has it, and most lines are of the same entity as the last.
        if not line.startswith(b'{"entity":"%b",' % name.encode()):
            given = _object(number, line).get("entity")
            if not isinstance(given, str) or given not in self._entities:
                raise ProjectFileRefused(f'"entity" must be one of {", ".join(self._entities)}', line=number)
            if given not in self._allowed:
                raise ProjectFileRefused(f"{given} come before {name}", line=number)
            name = given
        self._allowed = self._allowed[self._allowed.index(name) :]
        projects = len(self._ids[self._project])
        if (name == self._project) == bool(projects):
            raise ProjectFileRefused("a file holds one project, and it comes first", line=number)
        return name

    def _place(self, number: int, name: str, id: UUID) -> int:
        if not self._ids[name].add(id):
            told = "its id comes twice, or rows are out of order: each entity's go by their ids, upwards"
            raise ProjectFileRefused(f"{name}: {told}", line=number)
        return len(self._ids[name])

    def _references(self, number: int, table: Table, draft: Draft) -> dict[str, int]:
        found: dict[str, int] = {}
        for key in table.foreign_keys:
            name, id = key.columns[-1], getattr(draft, key.columns[-1])
            target = self._ids.get(self._project if name == TENANT else key.table)
            if id is None or target is None:
                continue
            place = target.place_of(id)
            if place is None:
                told = f"{table.name}: {name} refers to no row of {key.table} that came before"
                raise ProjectFileRefused(told, line=number)
            found[name] = place
        return found

    def end(self, number: int, line: bytes) -> None:
        closing = _frame(number, line)
        counted = {name: len(ids) for name, ids in self._ids.items() if len(ids)}
        told = closing.get("counts")
        given = {name: n for name, n in told.items() if n} if isinstance(told, dict) else None
        if closing.get("end") is not True or given != counted or not counted:
            message = "the rows are not as many as the closing line says: some were lost"
            raise ProjectFileRefused(message, line=number)


def _frame(number: int, line: bytes) -> dict[str, Any]:
    """Read the first line or the last."""
    if len(line) > _LONGEST_FRAME:
        raise ProjectFileRefused(
            f"the first and the last line have at most {_LONGEST_FRAME:,} bytes", line=number
        )
    return _object(number, line)


def _object(number: int, line: bytes) -> dict[str, Any]:
    try:
        found: object = from_json(line, allow_inf_nan=False)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    raise ProjectFileRefused("it is no JSON object in UTF-8", line=number)


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _model(entity: type[Record]) -> type[Draft]:
    """Return the model of a line: what the server adds to a row, and the draft that the row was made of."""
    known: dict[str, Any] = {
        "entity": (Literal[entity.table.name], ...),
        "id": (UUID, ...),
        "created_at": (AwareDatetime, ...),
        "updated_at": (AwareDatetime, ...),
        "version": (int, ...),
        "record": (draft_of(entity), ...),
    }
    return create_model(entity.table.name, __base__=Draft, **known)


class _Ids:
    """The ids seen of one entity, 16 bytes each, in their order."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def __len__(self) -> int:
        return len(self._bytes) // 16

    def __getitem__(self, place: int) -> bytes:
        return bytes(self._bytes[16 * place : 16 * place + 16])

    def add(self, id: UUID) -> bool:
        """Take an id, if it is greater than the last."""
        if self and self[len(self) - 1] >= id.bytes:
            return False
        self._bytes += id.bytes
        return True

    def place_of(self, id: UUID) -> int | None:
        """Return the place of an id, from 1 on."""
        place = bisect_left(self, id.bytes)
        return place + 1 if place < len(self) and self[place] == id.bytes else None
