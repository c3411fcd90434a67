"""Rows in files: every value comes back as it was, and a file that is wrong is refused by line and field."""

# ruff: noqa: PT012  # what is refused is a file as a whole

import datetime as dt
import gzip
import io
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet as pq
from pydantic import Field

from database_handler.content.errors import NotARegularFile, UnreadableFile
from database_handler.content.rows import RowFileRefused, parquet, read_rows, writing_rows
from database_handler.content.streams import UnwritableFile
from database_handler.core.base_model import Draft, Record
from database_handler.core.exceptions import InvalidValue, MissingExtra
from database_handler.core.schema import Table
from database_handler.core.session import Session
from database_handler.models import Link, NewLink, Project
from database_handler.repositories.rows import RowImport
from database_handler.testing.factories import LinkFactory
from database_handler.utils.validators import Choice, JsonObject, Tags
from tests.support.full_disk import files_of_at_most

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=dt.UTC)
BOM = b"\xef\xbb\xbf"
Format = Literal["jsonl", "csv", "parquet"]
FORMATS: tuple[Format, ...] = ("jsonl", "csv", "parquet")


class Shade(Choice):
    LIGHT = "light"
    DARK = "dark"


class Inner(Draft, frozen=True):
    depth: int
    names: tuple[str, ...] = ()


class NewSpecimen(Draft, frozen=True):
    text: str
    maybe: str | None = None
    large: Annotated[int, Field(strict=True, ge=-(2**63), le=2**63 - 1)] = 0
    small: Annotated[int, Field(ge=-(2**31), le=2**31 - 1)] = 0
    real: float = 0.0
    truth: bool = False
    day: dt.date | None = None
    moment: dt.datetime | None = None
    data: bytes | None = None
    shade: Shade = Shade.LIGHT
    tags: Tags = ()
    document: JsonObject = Field(default_factory=dict)
    held: Inner | None = None
    other: UUID | None = None


class Specimen(NewSpecimen, Record, frozen=True):
    """Every kind of column that there is."""

    table: ClassVar[Table] = Table("specimens", key=("text",))


def specimen(number: int = 1, **fields: Any) -> Specimen:
    known = {"id": UUID(int=number), "created_at": NOW, "updated_at": NOW, "version": 2**62}
    return Specimen(**{"text": f"t {number}", **fields, **known})


ODD = [
    specimen(1, text="", maybe=None),
    specimen(2, text='"', maybe=""),
    specimen(3, text='a,"b"\r\nc\nd\re\t', maybe=" blank at both ends "),
    specimen(4, text="é\u2028\ufeff😀\u0085", maybe="NULL", large=2**63 - 1, small=-(2**31)),
    specimen(5, maybe="null", large=-(2**63), real=5e-324, truth=True, day=dt.date(1, 1, 1)),
    specimen(6, maybe="\\N", moment=NOW, data=b'\x00\xff,"\n', shade=Shade.DARK, real=-0.1),
    specimen(7, tags=("a,b", 'c"d', "e\\f"), document={"a": [1, 2.5, None, {"é": "\n"}], "b": 2**70}),
    specimen(8, held=Inner(depth=3, names=("x", "y")), other=UUID(int=2**127), data=b""),
    specimen(9, text="=1+1", maybe="true", real=1e308),
]


class Taken:
    """What an import stored, in place of a database."""

    def __init__(self, entity: type[Record] = Specimen) -> None:
        self.entity = entity
        self.rows: list[tuple[UUID | None, Any]] = []

    def store(self, _: Session, existing: str, drafts: Any, ids: Any) -> tuple[int, int, int, int]:
        assert existing == "refuse"
        self.rows += zip(ids, drafts, strict=True)
        return len(drafts), 0, 0, 0

    def read(self, source: Any, file_format: Format | None = None, **options: Any) -> list[Any]:
        """Read a file as an import does, without a session: nothing is stored in it."""
        wanted = {"ids": "keep", "existing": "refuse", "values": None, "batch": 2, "by_batch": True} | options
        importing = RowImport(self.entity, _NOWHERE, self.store, **wanted)
        importing.of(source, file_format, 0, None)
        return self.rows


class _Nowhere(Session):
    """A session whose blocks do nothing."""

    def __init__(self) -> None:
        pass

    def undoable(self) -> Any:
        return self

    def __enter__(self) -> "_Nowhere":
        return self

    def __exit__(self, *_: object) -> None:
        pass


_NOWHERE = _Nowhere()


def written(records: list[Any], file_format: Format) -> bytes:
    stream = io.BytesIO()
    with writing_rows(type(records[0]), stream, file_format) as write:
        for record in records:
            write(record)
    return stream.getvalue()


def came_back(records: list[Any], data: bytes, file_format: Format) -> None:
    found = Taken(type(records[0])).read(io.BytesIO(data), file_format)
    assert len(found) == len(records)
    for record, (id, draft) in zip(records, found, strict=True):
        assert id == record.id
        fields = NewSpecimen.model_fields
        assert [(n, getattr(draft, n)) for n in fields] == [(n, getattr(record, n)) for n in fields]


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_value_comes_back_as_it_was(file_format: Format) -> None:
    came_back(ODD, written(ODD, file_format), file_format)


printable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(printable, st.none() | printable, st.floats(allow_nan=False, allow_infinity=False)),
        min_size=1,
        max_size=4,
    )
)
def test_any_text_comes_back_from_csv_and_json(values: list[tuple[str, str | None, float]]) -> None:
    records = [specimen(n, text=t, maybe=m, real=r) for n, (t, m, r) in enumerate(values, 1)]
    for file_format in FORMATS[:2]:
        came_back(records, written(records, file_format), file_format)


def test_what_other_tools_find_in_it() -> None:
    table = pq.read_table(io.BytesIO(written(ODD, "parquet")))
    assert str(table.schema.field("moment").type) == "timestamp[us, tz=UTC]"
    assert [str(table.schema.field(n).type) for n in ("large", "small", "real", "truth")] == [
        "int64", "int32", "double", "bool",
    ]  # fmt: skip
    assert table.column("maybe").to_pylist()[:2] == [None, ""]
    assert table.num_rows == len(ODD)
    head, first, second, *_ = written(ODD, "csv").decode().split("\r\n")
    assert head.split(",")[:3] == list(Specimen.table.column_names[:3])
    assert ',"",,' in f",{first},"  # the empty text, then NULL
    assert '"""",""' in second
    assert json.loads(written(ODD, "jsonl").splitlines()[0])["maybe"] is None


def test_a_file_of_nothing_has_its_columns(tmp_path: Path) -> None:
    for name in ("a.csv", "a.parquet", "a.jsonl", "a.csv.zst"):
        with writing_rows(Specimen, tmp_path / name, None):
            pass
        with read_rows(Specimen, tmp_path / name, None) as rows:
            assert list(rows) == []
    assert (tmp_path / "a.csv").read_text().startswith("id,")
    assert pq.read_schema(tmp_path / "a.parquet").names == list(Specimen.table.column_names)


def test_columns_may_be_fewer_and_in_any_order() -> None:
    rows = Taken().read(io.BytesIO(b'maybe,text\n,a\n"",b\n\n'), "csv")
    assert [(draft.text, draft.maybe) for _, draft in rows] == [("a", None), ("b", "")]
    rows = Taken().read(io.BytesIO(BOM + b"text,large,truth\r\na,7,TRUE\r\nb,,"), "csv")
    assert [(draft.text, draft.large, draft.truth) for _, draft in rows] == [("a", 7, True), ("b", 0, False)]
    assert [id for id, _ in rows] == [None, None]
    assert len(Taken().read(io.BytesIO(BOM + b'{"text": "a"}\n\n{"text": "b"}'), "jsonl")) == 2
    table = pa.table({"truth": [True, None], "text": pa.array(["a", "b"], pa.large_string())})
    stream = io.BytesIO()
    pq.write_table(table, stream)
    assert [draft.truth for _, draft in Taken().read(stream, "parquet")] == [True, False]


def test_what_other_tools_write_is_read_for_what_it_means() -> None:
    key = UUID(int=2**100)
    raw = table_of(
        text=pa.array(["é".encode()]),
        maybe=pa.array([b"b"]).dictionary_encode(),
        other=pa.array([key.bytes], pa.binary(16)),
        document=pa.array([{"a": 1}]),
        data=pa.array([b"\xff"]),
    )
    [(_, draft)] = Taken().read(io.BytesIO(raw), "parquet")
    assert (draft.text, draft.maybe, draft.other) == ("é", "b", key)
    assert (draft.document, draft.data) == ({"a": 1}, b"\xff")
    twice = b'{"text": "a", "text": "b", "document": {"c": 1, "c": 2}}'
    [(_, draft)] = Taken().read(io.BytesIO(twice), "jsonl")
    assert (draft.text, draft.document) == ("b", {"c": 2})  # the last holds, as in jsonb


def test_rows_may_be_given_values_and_other_ids() -> None:
    data = written(ODD[:2], "jsonl")
    found = Taken().read(io.BytesIO(data), "jsonl", ids="new", values={"maybe": "given", "data": b"\xff"})
    assert [(id, draft.maybe, draft.data) for id, draft in found] == [(None, "given", b"\xff")] * 2
    with pytest.raises(InvalidValue, match="did you mean 'maybe'"):
        Taken().read(io.BytesIO(data), "jsonl", values={"mayb": 1})


def test_a_link_and_its_original_come_back() -> None:
    known = {"id": UUID(int=1), "created_at": NOW, "updated_at": NOW, "version": 1}
    link = Link.model_validate({**LinkFactory.build(project_id=UUID(int=2)).__dict__, **known})
    for file_format in FORMATS:
        [(_, draft)] = Taken(Link).read(io.BytesIO(written([link], file_format)), file_format)
        assert {n: getattr(draft, n) for n in NewLink.model_fields} == {
            n: getattr(link, n) for n in NewLink.model_fields
        }


# -------------------------------------------------------------------------------------------- what is refused


def table_of(**columns: Any) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def bomb() -> bytes:
    stream = io.BytesIO()
    text = pa.array(["x" * 1_000_000] * 100)
    pq.write_table(pa.table({"text": text}), stream, compression="zstd", use_dictionary=False)
    assert len(stream.getvalue()) < 50_000
    return stream.getvalue()


DEEP = b'{"a":' * 300 + b"1" + b"}" * 300
REFUSED: list[tuple[Format, bytes, int | None, str]] = [
    ("jsonl", b'{"text": "a"}\n{"text": 5}\n', 2, "text: Input should be a valid string"),
    ("jsonl", b'{"text": "a"}\nnonsense\n', 2, "not valid JSON"),
    ("jsonl", b'{"text": "a"\xff}\n', 1, "not valid JSON"),
    ("jsonl", b'["text"]\n', 1, "whole"),
    ("jsonl", b'{"text": "a", "txet": 1}\n', 1, "txet: no such field; did you mean 'text'"),
    ("jsonl", b'{"large": 1}\n', 1, "text: is required"),
    ("jsonl", b'{"text": "a", "real": NaN}\n', 1, "real: Input should be a finite number"),
    ("jsonl", b'{"text": "a", "large": 9223372036854775808}\n', 1, "large: "),
    ("jsonl", b'{"text": "a", "document": {"a": NaN}}\n', 1, "document: "),
    ("jsonl", b'{"text": "a", "document": ' + DEEP + b"}\n", 1, "recursion limit|levels|not valid JSON"),
    ("jsonl", b'{"text": "a\\ud800"}\n', 1, "not valid JSON|surrogate"),
    ("jsonl", "text".encode("utf-16"), 1, "no UTF-8"),
    ("jsonl", b"\x1f\x8b\x08\x00broken", 1, "damaged or was cut short"),
    ("jsonl", gzip.compress(b'{"text": "a"}\n' * 9000)[:-20], None, "damaged or was cut short"),
    ("csv", b"", 1, "it has no columns"),
    ("csv", b"text,txet\n", 1, "no field 'txet'; did you mean 'text'"),
    ("csv", b"text,text\n", 1, "column text stands twice"),
    ("csv", b"text,\n", 1, "no field ''"),
    ("csv", b"text\na\nb,c\n", 3, "it has 2 cells, and the head names 1"),
    ("csv", b'text,maybe\na,"b\nc\n', 2, "a quote is not closed"),
    ("csv", b'text,maybe\na,b"c"\n', 2, "a quote or carriage return"),
    ("csv", b'text,maybe\n"a"b,c\n', 2, "a quote or carriage return"),
    ("csv", b"text\rmaybe\n", 1, "carriage return"),
    ("csv", b"text\nb\xff\n", 2, "no UTF-8"),
    ("csv", "text\n".encode("utf-16"), 1, "no UTF-8"),
    ("csv", b"text,large\na,1.5\n", 2, "large: "),
    ("csv", b"text,large\na,1e400\n", 2, "large: "),
    ("csv", b"text,real\na,nan\n", 2, "real: "),
    ("csv", b"text,day\na,31.12.2026\n", 2, "day: "),
    ("csv", b'text,document\na,"{""a"":NaN}"\n', 2, "document: it is no JSON"),
    ("csv", b"text,tags\na,b\n", 2, "tags: it is no JSON"),
    ("csv", b'text,document\na,"' + DEEP.replace(b'"', b'""') + b'"\n', 2, "nested too deeply|levels"),
    ("csv", b'text\n"a\n\nb"\nc,d\n', 5, "it has 2 cells"),
    ("csv", b"\x28\xb5\x2f\xfdbroken", 1, "damaged or was cut short"),
    ("parquet", b"", None, "no Parquet file"),
    ("parquet", b"PAR1 no more PAR1", None, "no Parquet file"),
    ("parquet", table_of(text=["a", "b"])[:-30], None, "no Parquet file"),
    ("parquet", table_of(txet=["a"]), None, "no field 'txet'; did you mean 'text'"),
    ("parquet", table_of(text=["a", None]), 2, "text: is required"),
    ("parquet", table_of(text=[1]), 1, "text: Input should be a valid string"),
    ("parquet", table_of(text=["a"], large=["1"]), 1, "large: "),
    ("parquet", table_of(text=["a"], real=[float("nan")]), 1, "real: Input should be a finite number"),
    ("parquet", table_of(text=pa.array([b"a", b"\xff"])), 2, "text: it has bytes that are no UTF-8"),
    ("parquet", table_of(text=pa.array([b"\xff"]).dictionary_encode()), 1, "text: it has bytes"),
    ("parquet", table_of(text=["a"], other=pa.array([b"short"])), 1, "other: must be a UUID"),
    ("parquet", table_of(text=["a"], document=["{"]), 1, "document: it is no JSON"),
    ("parquet", table_of(text=["a"], moment=[{"a": 1}]), 1, "moment: "),
    ("parquet", bomb(), None, "unpacks to more than"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file_format", "data", "line", "told"), REFUSED, ids=[f"{each[0]}-{n}" for n, each in enumerate(REFUSED)]
)
def test_what_is_wrong_is_told_by_line_and_field(
    file_format: Format, data: bytes, line: int | None, told: str, tmp_path: Path
) -> None:
    path = tmp_path / f"rows.{file_format}"
    path.write_bytes(data)
    with pytest.raises(RowFileRefused, match=told) as caught:
        Taken().read(path)
    text = str(caught.value)
    assert text.startswith("rows.")
    if line is not None:
        assert caught.value.line == line
        assert f"line {line}: " in text
    if told.partition(":")[0] in NewSpecimen.model_fields and ": " in told:
        assert caught.value.columns == (told.partition(":")[0],)
    assert len(text) < 600


def test_a_value_is_never_told() -> None:
    for file_format, data in (
        ("jsonl", b'{"text": "a", "large": "s3cret"}\n'),
        ("csv", b"text,large,shade\na,s3cret,s3cret\n"),
        ("parquet", table_of(text=["a"], large=["s3cret"], shade=["s3cret"])),
    ):
        with pytest.raises(RowFileRefused) as caught:
            Taken().read(io.BytesIO(data), file_format)  # type: ignore[arg-type]  # they are formats
        assert "s3cret" not in str(caught.value)
        assert caught.value.columns[0] == "large"


def test_a_repeated_text_is_held_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dictionary of one long text, and a million rows that refer to it, are a few kilobytes."""
    monkeypatch.setattr(parquet, "_RATIO_FROM", 1000)
    stream = io.BytesIO()
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), pa.array(["x" * 50_000]))
    pq.write_table(pa.table({"text": text}), stream)
    before = pa.total_allocated_bytes()
    with (
        pytest.raises(RowFileRefused, match="unpacks to more than"),
        read_rows(Specimen, stream, "parquet") as rows,
    ):
        for _ in rows:
            assert pa.total_allocated_bytes() - before < 2_000_000
    assert len(stream.getvalue()) < 10_000


@pytest.mark.parametrize("dictionary", [True, False])
def test_a_large_row_group_is_read_in_pieces(dictionary: bool) -> None:
    """pandas writes a million rows a group, whose dictionary grows from batch to batch."""
    stream = io.BytesIO()
    texts = [f"{number:0300}" for number in range(20_000)]
    pq.write_table(pa.table({"text": texts}), stream, use_dictionary=dictionary, compression="none")
    assert pq.ParquetFile(stream).num_row_groups == 1
    tracemalloc.start()
    try:
        with read_rows(Specimen, stream, "parquet") as rows:
            assert sum(1 for _ in rows) == 20_000
        assert tracemalloc.get_traced_memory()[1] < 3_500_000  # all of it is twice that
    finally:
        tracemalloc.stop()


def test_a_line_without_an_end_is_refused_before_it_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    from database_handler.content.rows import csv_text, json_lines

    read: list[int] = []

    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            read.append(len(buffer))
            buffer[:] = b"x" * len(buffer)
            return len(buffer)

    monkeypatch.setattr(json_lines, "LONGEST_LINE", 100_000)
    monkeypatch.setattr(json_lines.lines, "__defaults__", (100_000,))
    monkeypatch.setattr(csv_text, "LONGEST_LINE", 100_000)
    for file_format in ("jsonl", "csv"):
        read.clear()
        with pytest.raises(RowFileRefused, match="line 1: it is longer than 100,000 bytes"):
            Taken().read(Endless(), file_format)  # they are formats
        assert sum(read) < 1_500_000
    data = b'text\n"' + b"\n" * 200_000
    with pytest.raises(RowFileRefused, match="line 2: the row is longer than 100,000 bytes"):
        Taken().read(io.BytesIO(data), "csv")


@pytest.mark.parametrize("name", ["rows", "rows.txt", "rows.gz", "rows.parquet.gz", ".csv", "rows.json"])
def test_a_file_of_no_known_format_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"suffix|leave"), writing_rows(Specimen, tmp_path / name, None):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file_format", [*FORMATS, "csv.gz", "jsonl.zst"])
def test_a_file_cut_short_in_writing_never_has_its_name(file_format: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{file_format}"
    path.write_bytes(b"as before")
    with pytest.raises(KeyError), writing_rows(Specimen, path, None) as write:
        write(specimen())
        raise KeyError
    with files_of_at_most(4096), pytest.raises(UnwritableFile), writing_rows(Specimen, path, None) as write:
        for number in range(3000):
            write(specimen(number, text=f"{number * 7919 % 2**61:x}" * 9))
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"as before"


def wrong(tmp_path: Path) -> Iterator[tuple[Any, type[Exception]]]:
    yield tmp_path / "no such.csv", UnreadableFile
    yield tmp_path, NotARegularFile
    yield "/dev/zero", NotARegularFile
    yield io.StringIO("text\n"), InvalidValue
    yield b"text\n", InvalidValue
    yield 5, InvalidValue


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for source, error in wrong(tmp_path):
        for file_format in FORMATS:
            with pytest.raises(error):
                Taken().read(source, file_format)
    with pytest.raises(InvalidValue, match="seek"):
        Taken().read(Unseekable(), "parquet")


class Unseekable:
    def read(self, size: int) -> bytes:
        return b""


def test_without_pyarrow_it_says_which_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    for name in ("rows.parquet", "rows.csv.zst"):
        with (
            pytest.raises(MissingExtra, match=r"database-handler\[parquet\]"),
            writing_rows(Project, tmp_path / name, None),
        ):
            pass
    assert list(tmp_path.iterdir()) == []
