"""Cursors: opaque, of one query, and never a way to an error that is not ours."""

import base64
import datetime as dt
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database_handler.core.exceptions import InvalidValue
from database_handler.models import Project, Video
from database_handler.repositories import pages
from database_handler.repositories.filters import Where, parse_filters, parse_order

NOW = dt.datetime(2026, 5, 6, 7, 8, 9, 123456, tzinfo=dt.UTC)


def video(**fields: Any) -> Video:
    given: dict[str, Any] = {"id": UUID(int=7), "created_at": NOW, "updated_at": NOW, "version": 3}
    given |= {"project_id": UUID(int=8), "title": "ü %_\\", "storage_uri": "a b"}
    return Video(**given | fields)


ORDERS = [
    ["title", "-duration"],
    ["-created_at"],
    ["status", "frame_rate", "-width"],
    ["bit_rate", "id"],
    ["-project_id", "translation_id"],
]


@pytest.mark.parametrize("names", ORDERS, ids=str)
def test_the_values_come_back_as_they_were(names: list[str]) -> None:
    order = parse_order(Video, names)
    for record in (video(), video(duration=0.1, frame_rate=23.976, width=5, bit_rate=2**62)):
        cursor = pages.encode("mark", record, order)
        assert pages.decode(Video, "mark", order, cursor) == [getattr(record, n) for n, _ in order.columns]
        assert cursor.isascii()
        with pytest.raises(InvalidValue):
            pages.decode(Video, "other", order, cursor)


def test_a_mark_tells_queries_apart() -> None:
    order = parse_order(Project, "name")
    queries = [
        ("projects", Where(), order),
        ("links", Where(), order),
        ("projects", parse_filters(Project, {"name": "a"}), order),
        ("projects", parse_filters(Project, {"name": "b"}), order),
        ("projects", parse_filters(Project, {"name__ne": "a"}), order),
        ("projects", Where(), parse_order(Project, "-name")),
        ("projects", Where(), parse_order(Project, ["name", "status"])),
    ]
    assert len({pages.fingerprint(*query) for query in queries}) == len(queries)
    assert pages.fingerprint(*queries[2]) == pages.fingerprint(*queries[2])


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_refused_by_our_error(text: str) -> None:
    with pytest.raises(InvalidValue, match="after"):
        pages.decode(Project, "mark", parse_order(Project, None), text)


@pytest.mark.parametrize(
    "value", ['["mark"]', '["mark", 1]', '["mark", "no uuid"]', "[" * 100_000, "{}", '"mark"']
)
def test_json_that_is_no_cursor_is_refused(value: str) -> None:
    cursor = base64.urlsafe_b64encode(value.encode()).decode().rstrip("=")
    with pytest.raises(InvalidValue):
        pages.decode(Project, "mark", parse_order(Project, None), cursor)


def test_one_direction_without_nulls_is_one_row_comparison() -> None:
    order = parse_order(Video, ["title", "status"])
    where = pages.after(Video, order, ["a", "ready", UUID(int=1)])
    assert where.text == "(title, status, id) > (%s::text, %s::text, %s::uuid)"
    down = pages.after(Video, parse_order(Video, "-title"), ["a", UUID(int=1)])
    assert down.text == "(title, id) < (%s::text, %s::uuid)"
