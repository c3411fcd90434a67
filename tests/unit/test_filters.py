"""The filter language: names from the model only, every value bound."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database_handler.core.exceptions import InvalidValue, UnknownField
from database_handler.models import ENTITIES, Project, Video
from database_handler.repositories.filters import parse_filters, parse_order

HOSTILE = "x'; DROP TABLE projects; --"


@pytest.mark.parametrize(
    ("filters", "text", "values"),
    [
        ({}, "", ()),
        ({"name": HOSTILE}, "name = %s::text", (HOSTILE,)),
        ({"owner": None}, "owner IS NULL", ()),
        ({"owner__ne": None}, "owner IS NOT NULL", ()),
        ({"version__gt": 3, "status": "active"}, "version > %s::bigint AND status = %s::text", (3, "active")),
        ({"name__contains": "50%_\\"}, "name LIKE %s", ("%50\\%\\_\\\\%",)),
        ({"name__istartswith": "a"}, "name ILIKE %s", ("a%",)),
        ({"tags__contains": "a"}, "tags @> %s::text[]", (["a"],)),
        ({"owner__is_null": False}, "owner IS NOT NULL", ()),
    ],
    ids=str,
)
def test_conditions(filters: dict[str, Any], text: str, values: tuple[Any, ...]) -> None:
    where = parse_filters(Project, filters)
    assert (where.text, where.values) == (text, values)


def test_a_value_takes_the_form_that_is_stored() -> None:
    assert parse_filters(Project, {"name": "  e\u0301 "}).values == ("é",)


@given(st.text(max_size=30))
def test_no_name_that_is_not_the_models_gets_into_the_text(name: str) -> None:
    for call in (lambda: parse_filters(Project, {name: 1}), lambda: parse_order(Project, name)):
        try:
            call()
        except (UnknownField, InvalidValue):
            continue
        assert name.removeprefix("-").partition("__")[0] in Project.model_fields


@given(st.text(max_size=30))
def test_no_value_gets_into_the_text(value: str) -> None:
    for operator in ("", "__contains", "__gt", "__iendswith"):
        try:
            where = parse_filters(Video, {f"storage_uri{operator}": value})
        except InvalidValue:
            continue
        assert where.text.count("%s") == len(where.values) == 1
        assert where.text.startswith("storage_uri ")


def test_an_error_names_what_is_allowed_and_no_value() -> None:
    with pytest.raises(UnknownField, match=r"did you mean 'status'"):
        parse_filters(Project, {"statsu": "x"})
    with pytest.raises(UnknownField, match=r"did you mean 'icontains'"):
        parse_filters(Project, {"name__icontain": "x"})
    with pytest.raises(InvalidValue) as caught:
        parse_filters(Project, {"status": "secret value"})
    assert "secret" not in str(caught.value)
    assert caught.value.columns == ("status",)


@pytest.mark.parametrize("model", ENTITIES, ids=lambda model: model.__name__)
def test_orders_are_total(model: Any) -> None:
    assert parse_order(model, None).columns == (("id", False),)
    assert parse_order(model, "-created_at").columns == (("created_at", True), ("id", True))
    assert parse_order(model, ["-id"]).columns == (("id", True),)
    assert parse_order(model, ("version", "-id")).clause == " ORDER BY version, id DESC"
