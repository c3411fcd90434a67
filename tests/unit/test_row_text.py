"""COPY's lines and arrays: what a reader of the format gets is what was written."""

import datetime as dt
import re
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database_handler.core.base_model import Draft, Record
from database_handler.core.exceptions import InvalidValue
from database_handler.core.schema import Table
from database_handler.repositories import row_text, statements

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
UNESCAPED = {"\\n": "\n", "\\r": "\r", "\\t": "\t", "\\\\": "\\"}


class NewSample(Draft, frozen=True):
    text: str | None
    flag: bool
    share: float
    tags: tuple[str, ...]
    raw: bytes
    day: dt.datetime


class Sample(NewSample, Record, frozen=True):
    table: ClassVar[Table] = Table("samples", key=("text",))


COLUMNS = statements.draft_columns(Sample.table)


def read(chunk: bytes) -> list[list[str | None]]:
    """Read the format as PostgreSQL's page on COPY has it."""
    lines = chunk.decode().split("\n")
    assert lines.pop() == ""
    return [[_cell(cell) for cell in line.split("\t")] for line in lines]


def _cell(cell: str) -> str | None:
    if cell == "\\N":
        return None
    return re.sub(r"\\[nrt\\]", lambda found: UNESCAPED[found[0]], cell)


NOW = dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC)
TAIL = (NOW, NOW, 1)


def row(text: str | None, tags: tuple[str, ...] = (), raw: bytes = b"") -> list[Any]:
    return [UUID(int=1), text, True, 0.1, tags, raw, NOW]


@given(st.lists(st.none() | TEXTS, min_size=1, max_size=5))
def test_texts_come_back(texts: list[str | None]) -> None:
    [chunk] = row_text.lines(COLUMNS, [row(text) for text in texts], TAIL)
    assert [line[1] for line in read(chunk)] == texts


def items_of(array: str) -> list[str]:
    """Read an array as PostgreSQL's page on arrays has it; all of its items are quoted."""
    items = re.findall(r'"((?:[^"\\]|\\.)*)"', array, re.DOTALL)
    assert array == "{" + ",".join(f'"{item}"' for item in items) + "}"
    return [re.sub(r"\\(.)", r"\1", item, flags=re.DOTALL) for item in items]


@given(
    st.lists(st.none() | TEXTS | st.sampled_from(["NULL", '","', "", ".", "\\", '"']), min_size=1, max_size=6)
)
def test_a_column_is_an_array(texts: list[str | None]) -> None:
    ids, held, flags, *_ = row_text.arrays(COLUMNS, [row(text) for text in texts])
    assert items_of(held) == ["" if text is None else f".{text}" for text in texts]
    assert items_of(ids) == [UUID(int=1).hex] * len(texts)
    assert items_of(flags) == ["t"] * len(texts)


@pytest.mark.parametrize("text", ["\0", "a\0,b", "\0N", "\0,\0N"])
def test_a_nul_does_not_pass_for_what_parts_texts(text: str) -> None:
    for rows in ([row(text)], [row(None), row(text)], [row(text), row("\\")]):
        with pytest.raises(InvalidValue, match="text: text holds a NUL character"):
            row_text.arrays(COLUMNS, rows)
        with pytest.raises(InvalidValue, match="text: text holds a NUL character"):
            list(row_text.lines(COLUMNS, rows, TAIL))


@given(st.lists(TEXTS, max_size=4).map(tuple))
def test_arrays_come_back(tags: tuple[str, ...]) -> None:
    [chunk] = row_text.lines(COLUMNS, [row("x", tags)], TAIL)
    array = read(chunk)[0][4] or ""
    items = re.findall(r'"((?:[^"\\]|\\.)*)"', array, re.DOTALL)
    assert tuple(re.sub(r"\\(.)", r"\1", item, flags=re.DOTALL) for item in items) == tags


@given(st.binary(max_size=20))
def test_bytes_are_hexadecimal(raw: bytes) -> None:
    [chunk] = row_text.lines(COLUMNS, [row("x", raw=raw)], TAIL)
    assert read(chunk)[0][5] == "\\x" + raw.hex()


def test_other_types() -> None:
    [chunk] = row_text.lines(COLUMNS, [row(None)], TAIL)
    moment = "2026-01-02T03:04:05.000006+00:00"
    assert read(chunk)[0] == [UUID(int=1).hex, None, "t", "0.1", "{}", "\\x", moment, moment, moment, "1"]


def test_rows_come_in_chunks_and_none_gives_none() -> None:
    chunks = list(row_text.lines(COLUMNS, (row("x") for _ in range(1300)), TAIL))
    assert sum(len(read(chunk)) for chunk in chunks) == 1300
    assert 1 < len(chunks) < 10
    assert list(row_text.lines(COLUMNS, [], TAIL)) == []
