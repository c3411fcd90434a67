"""A project as a file: what is written can be read, and every way in which a file can be wrong is told."""

import errno
import gzip
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from database_handler.content.errors import NotARegularFile, UnreadableFile
from database_handler.content.project_file import (
    FileRow,
    ProjectFileRefused,
    UnwritableFile,
    opened_for_reading,
    opened_for_writing,
    read,
    write,
)
from database_handler.core.base_model import Draft, Record
from database_handler.core.exceptions import InvalidValue
from database_handler.core.schema import References, Table
from database_handler.models import ENTITIES, Link, Project, Summary, TextSource, Translation, Video
from database_handler.testing.factories import (
    LinkFactory,
    ProjectFactory,
    SummaryFactory,
    TextSourceFactory,
    TranslationFactory,
    VideoFactory,
)
from tests.support.full_disk import files_of_at_most

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def stored(entity: type[Record], draft: Draft, number: int) -> Any:
    """A record as a database would hold it."""
    known = {"id": UUID(int=number), "created_at": NOW, "updated_at": NOW, "version": 7}
    return entity.model_validate({**draft.__dict__, **known})


def some() -> list[Any]:
    """A project with two rows of each entity, and a reference of each kind."""
    project = stored(Project, ProjectFactory.build(), 1)
    of = {"project_id": project.id}
    sources = [stored(TextSource, TextSourceFactory.build(**of), n) for n in (10, 11)]
    summaries = [
        stored(Summary, SummaryFactory.build(**of, text_source_id=source.id), n)
        for n, source in zip((20, 21), reversed(sources), strict=True)
    ]
    of_summary = TranslationFactory.build(**of, summary_id=summaries[1].id)
    tokenized = {"content": "Ein Text.", "tokens": [(0, 3), (4, 8), (8, 9)]}
    of_source = TranslationFactory.build(**of, text_source_id=sources[0].id, **tokenized)
    translations = [stored(Translation, of_source, 30), stored(Translation, of_summary, 31)]
    videos = [
        stored(Video, VideoFactory.build(**of, translation_id=translations[1].id), 40),
        stored(Video, VideoFactory.build(**of), 41),
    ]
    links = [stored(Link, LinkFactory.build(**of), n) for n in (50, 51)]
    return [project, *sources, *summaries, *translations, *videos, *links]


def written(rows: list[Any]) -> list[bytes]:
    """The lines of a file."""
    stream = io.BytesIO()
    write(stream, rows, ENTITIES)
    return stream.getvalue().splitlines(keepends=True)


def found(lines: list[bytes], **limits: int) -> list[FileRow]:
    with opened_for_reading(io.BytesIO(b"".join(lines))) as stream:
        return list(read(stream, ENTITIES, **limits))


@pytest.fixture(scope="module")
def rows() -> list[Any]:
    return some()


@pytest.fixture
def lines(rows: list[Any]) -> list[bytes]:
    return written(rows)


def drafted(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in type(row).model_fields if name not in Record.model_fields}


# ----------------------------------------------------------------------------------------------------- whole


def test_what_is_written_is_read_as_it_was(rows: list[Any], lines: list[bytes]) -> None:
    back = found(lines)
    assert [row.entity for row in back] == [type(row) for row in rows]
    assert [drafted(row.draft) for row in back] == [drafted(row) for row in rows]
    assert [row.number for row in back] == [1, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2]
    assert [row.line for row in back] == list(range(2, 13))
    references = [{name: n for name, n in row.references.items() if name != "project_id"} for row in back]
    assert references[3:9] == [
        {"text_source_id": 2},
        {"text_source_id": 1},
        {"text_source_id": 1},
        {"summary_id": 2},
        {"translation_id": 2},
        {},
    ]


def test_each_line_is_one_object_that_others_can_read(rows: list[Any], lines: list[bytes]) -> None:
    header, *middle, closing = [json.loads(line) for line in lines]
    assert (header["format"], header["version"]) == ("database-handler project", 1)
    assert header["project"] == {"id": str(rows[0].id), "name": rows[0].name, "slug": rows[0].slug}
    assert closing["counts"] == {"projects": 1, **{entity.table.name: 2 for entity in ENTITIES[1:]}}
    assert [line["entity"] for line in middle] == [row.table.name for row in rows]
    assert middle[1]["record"]["content"] == rows[1].content
    assert (middle[1]["version"], middle[1]["created_at"]) == (7, "2026-01-02T03:04:05.678901Z")


def test_lines_that_another_program_wrote_are_read(lines: list[bytes]) -> None:
    """Other spaces, other order of the keys, escapes instead of letters."""
    header, *middle, closing = [json.loads(line) for line in lines]
    again = [dict(reversed(line.items())) for line in middle]
    assert found([json.dumps(line).encode() + b"\r\n" for line in (header, *again, closing)]) != []
    assert [
        row.draft for row in found([json.dumps(line).encode() + b"\n" for line in (header, *again, closing)])
    ] == [row.draft for row in found(lines)]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e15, 1e15) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=25, deadline=None)
@given(content=texts, metadata=st.dictionaries(texts, values, max_size=4))
def test_any_text_and_any_json_come_back(content: str, metadata: dict[str, Any]) -> None:
    project = stored(Project, ProjectFactory.build(), 1)
    source = TextSourceFactory.build(project_id=project.id, content=content, metadata=metadata)
    [_, back] = found(written([project, stored(TextSource, source, 2)]))
    assert back.draft == source


class NewPicture(Draft, frozen=True):
    """An application's entity, whose bytes are not said to be base64 in JSON."""

    project_id: Annotated[UUID, References("projects")]
    name: str
    data: bytes


class Picture(NewPicture, Record, frozen=True):
    table: ClassVar[Table] = Table("pictures", key=("project_id", "name"))


# ------------------------------------------------------------------------------------------------- bad files

Edit = Callable[[list[bytes]], list[bytes]]


def changed(at: int, **fields: Any) -> Edit:
    """Other values in the object of one line, or in its record where the name has a dot."""

    def edit(lines: list[bytes]) -> list[bytes]:
        line = json.loads(lines[at])
        for name, value in fields.items():
            (line["record"] if name.startswith("record_") else line)[name.removeprefix("record_")] = value
        lines[at] = json.dumps(line).encode() + b"\n"
        return lines

    return edit


def swapped(one: int, other: int) -> Edit:
    def edit(lines: list[bytes]) -> list[bytes]:
        lines[one], lines[other] = lines[other], lines[one]
        return lines

    return edit


def replaced(at: int, line: bytes) -> Edit:
    return lambda lines: [*lines[:at], line, *lines[at + 1 :]]


def without(at: int) -> Edit:
    return lambda lines: [*lines[:at], *lines[at + 1 :]]


NOWHERE = str(UUID(int=999))
DEEP = b'{"entity":"links","record":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001 + b"\n"
MANY = b'{"entity":"text_sources","record":{"metadata":{"a":[' + b"[]," * 2_200_000 + b"1]}}}\n"
WRONG: dict[str, tuple[Edit, int | None, str]] = {
    "nothing": (lambda lines: [], 1, "empty"),
    "no JSON": (lambda lines: [b"PK\x03\x04 some archive\n"], 1, "no JSON object"),
    "a list": (lambda lines: [b"[1, 2]\n", *lines[1:]], 1, "no JSON object"),
    "a mark before it": (lambda lines: [b"\xef\xbb\xbf" + lines[0], *lines[1:]], 1, "no JSON object"),
    "another format": (changed(0, format="something else"), 1, "no project file"),
    "a newer version": (changed(0, version=2), 1, "another version; this library reads version 1"),
    "a version that is no number": (changed(0, version=True), 1, "another version"),
    "an unknown entity in the header": (changed(0, entities=["projects", "songs"]), 1, "songs"),
    "no header": (without(0), 1, "no project file"),
    "no project": (without(1), 2, "one project, and it comes first"),
    "two projects": (lambda lines: [*lines[:2], *lines[1:]], 3, "one project"),
    "an unknown entity": (changed(3, entity="songs"), 4, '"entity" must be one of projects, text_sources'),
    "an entity that is no text": (changed(3, entity=["links"]), 4, '"entity" must be one of'),
    "an entity too late": (swapped(9, 10), 11, "videos come before links"),
    "an id twice": (lambda lines: [*lines[:3], *lines[2:]], 4, "comes twice"),
    "ids out of order": (swapped(2, 3), 4, "out of order"),
    "an id that is none": (changed(3, id="7"), 4, "id: must be a UUID"),
    "an unknown field": (changed(3, record_titel="x"), 4, "record.titel: no such field"),
    "an unknown key": (changed(3, colour="x"), 4, "colour: no such field"),
    "a missing field": (changed(3, record={"title": "x"}), 4, "record.content: is required"),
    "a value that is refused": (changed(3, record_language="english!"), 4, "record.language"),
    "a number for a text": (changed(3, record_content=5), 4, "record.content"),
    "a NUL": (changed(3, record_content="a\0b"), 4, "NUL"),
    "half a character": (
        lambda lines: [*lines[:3], lines[3].replace(b'"title":"', b'"title":"\\ud800'), *lines[4:]],
        4,
        "JSON",
    ),
    "no UTF-8": (
        lambda lines: [*lines[:3], lines[3].replace(b'"title":"', b'"title":"\xff'), *lines[4:]],
        4,
        "JSON",
    ),
    "not a number": (
        lambda lines: [*lines[:8], lines[8].replace(b'"metadata":{', b'"metadata":{"n":NaN,'), *lines[9:]],
        9,
        "JSON",
    ),
    "another project's row": (changed(3, record_project_id=NOWHERE), 4, "project_id refers to no row"),
    "an unknown source": (changed(4, record_text_source_id=NOWHERE), 5, "text_source_id refers to no row"),
    "an unknown summary": (
        changed(7, record_summary_id=NOWHERE),
        8,
        "summary_id refers to no row of summaries",
    ),
    "an unknown translation": (
        changed(8, record_translation_id=NOWHERE),
        9,
        "translation_id refers to no row",
    ),
    "a long first line": (
        lambda lines: [b'{"format":"' + b"x" * 70_000 + b'"}\n'],
        1,
        "at most 65,536 bytes",
    ),
    "an entity's name that is no name": (
        changed(0, entities=["a\x1b[2J\n" + "x" * 9999]),
        1,
        "known here: a?[2J?x",
    ),
    "a field's name that is no name": (changed(3, **{"\r\n" + "x" * 9999: 1}), 4, "text_sources: \\r?xx"),
    "too many values": (lambda lines: [*lines[:3], MANY, *lines[4:]], 4, "more values than"),
    "too many texts": (lambda lines: [*lines[:3], b'"' * 8_500_000 + b"\n"], 4, "more values than"),
    "too deep": (lambda lines: [*lines[:10], DEEP], 11, "JSON"),
    "an empty line": (replaced(3, b"\n"), 4, "no JSON object"),
    "a line cut short": (lambda lines: [*lines[:4], lines[4][:40]], 5, "cut short"),
    "cut short between lines": (lambda lines: lines[:-1], None, "cut short"),
    "only a header": (lambda lines: lines[:1], None, "cut short"),
    "a header and an end": (lambda lines: [lines[0], b'{"end":true,"counts":{}}\n'], 2, "not as many"),
    "a row lost": (without(-2), 12, "not as many"),
    "counts of another kind": (changed(-1, counts=[1, 2]), 13, "not as many"),
    "no counts": (replaced(12, b'{"end":true}\n'), 13, "not as many"),
    "more after the end": (lambda lines: [*lines, lines[-1]], 14, "nothing may follow"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_file_is_refused_with_its_line(lines: list[bytes], wrong: str) -> None:
    edit, line, message = WRONG[wrong]
    edited = edit(lines)
    with pytest.raises(ProjectFileRefused) as caught:
        found(edited)
    told = str(caught.value)
    assert message in told
    assert caught.value.line == line
    assert line is None or told.startswith(f"line {line}: ")
    assert len(told) < 400


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_of_a_file_that_was_tampered_with_nothing_but_a_refusal_comes(data: st.DataObject) -> None:
    """Some bytes taken out, put in or written over: it is read, or refused with a reason; nothing else."""
    whole = data.draw(st.sampled_from(TAMPERED))
    begin = data.draw(st.integers(0, len(whole)))
    end = min(len(whole), begin + data.draw(st.integers(0, 6)))
    put_in = data.draw(
        st.binary(max_size=4) | st.sampled_from([b'"', b"\n", b"{", b"]", b"null", b"-1", b"1e999"])
    )
    with (
        opened_for_reading(io.BytesIO(whole[:begin] + put_in + whole[end:])) as stream,
        suppress(ProjectFileRefused),
    ):
        assert len(list(read(stream, ENTITIES))) == 11


TAMPERED = [b"".join(written(some())) for _ in range(2)]
TAMPERED += [gzip.compress(whole) for whole in TAMPERED]


def test_a_value_is_not_told(lines: list[bytes]) -> None:
    with pytest.raises(ProjectFileRefused) as caught:
        found(changed(3, record_language="a secret of mine")(lines))
    assert "secret" not in str(caught.value)


def test_many_signs_in_a_long_text_are_no_values(rows: list[Any]) -> None:
    content = 'a,[{"\\' * 900_000
    counts = {"word_count": 1, "char_count": 1, "size_bytes": 1, "checksum": "0" * 64}
    source = TextSourceFactory.build(project_id=rows[0].id, content=content, **counts)
    [_, back] = found(written([rows[0], stored(TextSource, source, 2)]))
    assert back.draft == source


def test_a_long_line_ends_the_reading_before_it_is_in_memory(lines: list[bytes]) -> None:
    stream = io.BytesIO(b"".join([*lines[:3], b'{"entity":"' + b"x" * 50_000]))
    with pytest.raises(ProjectFileRefused, match="line 4: it is longer than 10,000 bytes"):
        list(read(stream, ENTITIES, longest=10_000))


# ------------------------------------------------------------------------------------------ files and streams


def test_gzip_is_seen_from_the_bytes(lines: list[bytes]) -> None:
    assert found([gzip.compress(b"".join(lines))]) == found(lines)


@pytest.mark.parametrize("keep", [-1, -9, 200, 12, 3])
def test_gzip_cut_short_is_refused(lines: list[bytes], keep: int) -> None:
    with pytest.raises(ProjectFileRefused, match="compressed data is damaged or was cut short"):
        found([gzip.compress(b"".join(lines))[:keep]])


def test_gzip_damaged_is_refused(lines: list[bytes]) -> None:
    packed = bytearray(gzip.compress(b"".join(lines)))
    packed[len(packed) // 2] ^= 0xFF
    with pytest.raises(ProjectFileRefused):
        found([bytes(packed)])


def test_any_object_with_read_is_a_stream(lines: list[bytes]) -> None:
    """Also one that gives a few bytes at a time, as a socket does."""

    class Drips:
        def __init__(self, data: bytes) -> None:
            self.data = io.BytesIO(data)

        def read(self, size: int, /) -> bytes:
            return self.data.read(min(size, 7))

    with opened_for_reading(Drips(b"".join(lines))) as stream:
        assert list(read(stream, ENTITIES)) == found(lines)


def test_a_stream_that_breaks_is_told() -> None:
    class Broken:
        def __init__(self, *answers: Any) -> None:
            self.answers = list(answers)

        def read(self, size: int, /) -> bytes:
            answer = self.answers.pop(0)
            if isinstance(answer, OSError):
                raise answer
            return answer  # type: ignore[no-any-return]  # whatever it is

    gone = OSError(errno.ENETRESET, "gone")
    with pytest.raises(UnreadableFile, match="reset"), opened_for_reading(Broken(gone)):
        pass
    with (
        opened_for_reading(Broken(b"{}", gone)) as stream,
        pytest.raises(ProjectFileRefused, match="cannot be read"),
    ):
        list(read(stream, ENTITIES))
    for answer in ("text", None, b"x" * 10_000_000):
        with pytest.raises(InvalidValue, match="binary mode"), opened_for_reading(Broken(answer)):
            pass


@pytest.mark.parametrize("wrong", [io.StringIO("x"), 5, None, b"a path"])
def test_what_is_no_stream_of_bytes_is_refused(rows: list[Any], wrong: Any) -> None:
    with pytest.raises(InvalidValue, match="binary mode"), opened_for_reading(wrong):
        pass
    with pytest.raises(InvalidValue, match="binary mode"), opened_for_writing(wrong) as stream:
        write(stream, rows, ENTITIES)


def test_a_path_is_no_link_no_folder_and_there(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name, error in (("none", UnreadableFile), ("link", NotARegularFile), (".", NotARegularFile)):
        with pytest.raises(error), opened_for_reading(tmp_path / name):
            pass


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz", "P.GZ"])
def test_a_file_appears_when_it_is_whole(
    tmp_path: Path, rows: list[Any], lines: list[bytes], name: str
) -> None:
    path = tmp_path / name
    with opened_for_writing(path) as stream:
        write(stream, rows, ENTITIES)
        assert not path.exists()
    assert [each.name for each in tmp_path.iterdir()] == [name]
    data = path.read_bytes()
    assert (gzip.decompress(data) if name.lower().endswith(".gz") else data) == b"".join(lines)
    with opened_for_reading(str(path)) as back:
        assert list(read(back, ENTITIES)) == found(lines)


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz"])
def test_a_failure_leaves_the_file_that_was_there(tmp_path: Path, rows: list[Any], name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"the old one")

    def failing() -> Iterator[Any]:
        yield from rows[:4]
        raise KeyError

    with pytest.raises(KeyError), opened_for_writing(path) as stream:
        write(stream, failing(), ENTITIES)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [(name, b"the old one")]
    with opened_for_writing(path) as stream:
        write(stream, rows, ENTITIES)
    with opened_for_reading(path) as back:
        assert len(list(read(back, ENTITIES))) == len(rows)


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, rows: list[Any], name: str) -> None:
    with pytest.raises(UnwritableFile), files_of_at_most(500), opened_for_writing(tmp_path / name) as stream:
        write(stream, rows, ENTITIES)
    assert list(tmp_path.iterdir()) == []


def test_a_stream_that_is_full_is_told(rows: list[Any]) -> None:
    with (
        Path("/dev/full").open("wb", buffering=0) as full,
        pytest.raises(UnwritableFile, match="no space left"),
        opened_for_writing(full) as stream,
    ):
        write(stream, rows, ENTITIES)


def test_a_stream_that_takes_part_of_what_it_is_given_gets_the_rest(
    rows: list[Any], lines: list[bytes]
) -> None:
    class Narrow:
        def __init__(self) -> None:
            self.data = b""

        def write(self, data: bytes, /) -> int:
            self.data += data[:100]
            return len(data[:100])

    narrow = Narrow()
    write(narrow, rows, ENTITIES)
    assert narrow.data == b"".join(lines)


def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path, rows: list[Any]) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link", "."):
        with pytest.raises(NotARegularFile, match="stream"), opened_for_writing(tmp_path / name):
            pass
    for nameless in (".", "", "/"):
        with pytest.raises(NotARegularFile, match="stream"), opened_for_writing(nameless):
            pass
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "pipe"]


@pytest.mark.parametrize("path", ["no/such/folder/p.jsonl", "nul\0.jsonl", "/proc/p.jsonl"])
def test_a_place_that_takes_no_file_is_told(tmp_path: Path, path: str) -> None:
    with pytest.raises(UnwritableFile), opened_for_writing(tmp_path / path):
        pass
