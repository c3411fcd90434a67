"""JSON in and out of every model is exact: what `model_dump_json` writes, `model_validate_json` reads."""

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from database_handler.core.base_model import Draft, draft_of, validated_field
from database_handler.core.exceptions import InvalidValue
from database_handler.models import ENTITIES
from database_handler.testing.factories import factory_of
from tests.contract.test_create import HOSTILE
from tests.support.scripts_corpus import HARD, PROSE

TEXTS = [*HOSTILE, *HARD.values(), *(each.text for each in PROSE.values())]
text = st.sampled_from(TEXTS) | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
whole = st.integers(0, 2**63 - 1) | st.sampled_from([0, 2**31 - 1, 2**53, 2**53 + 1, 2**63 - 1])
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [0.1, -0.0, 5e-324, 1e15, 23.976]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**40), 10**40)
    | numbers.filter(lambda n: abs(n) < 1e16)
    | text
)
documents = st.dictionaries(
    text,
    st.recursive(
        scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3)
    ),
    max_size=4,
)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=11))])
moments = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=zones)
BY_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "text": text,
    "text[]": st.lists(text, max_size=4).map(tuple),
    "jsonb": documents,
    "bigint": whole,
    "integer": st.integers(1, 2**31 - 1) | st.sampled_from([90, 180, 270]),
    "double precision": numbers.map(abs),
    "uuid": st.uuids(),
}


@st.composite
def drafts(draw: st.DrawFn, model: Any) -> Draft:
    """A valid draft: each field holds what was drawn for its column, where the field takes it."""
    draft, fields = draft_of(model), {}
    for name in draft.model_fields:
        values = BY_TYPE.get(model.table.column(name).type)
        value = draw(values) if values is not None else None
        try:
            fields[name] = validated_field(draft, name, value)
        except InvalidValue:
            continue
    fields = {name: value for name, value in fields.items() if name in _free(model, draft)}
    try:
        return _tokenized(draw, factory_of(draft).build(**fields))
    except InvalidValue:  # fields that are right one by one and wrong together
        assume(False)
        raise


def _free(model: Any, draft: type[Draft]) -> set[str]:
    """The fields that no rule ties to others."""
    tied = {"text_source_id", "summary_id", "tokens", "token_count", "status", "kind", "host"}
    return set(draft.model_fields) - tied


def _tokenized(draw: st.DrawFn, draft: Draft) -> Draft:
    content: str | None = dict(draft).get("content")
    if "tokens" not in type(draft).model_fields or not content or draw(st.booleans()):
        return draft
    words = [(found.start(), found.end()) for found in re.finditer(r"\w+", content)]
    return draft.model_copy(update={"content": content, "tokens": words})


SLOW = [
    HealthCheck.too_slow,
    HealthCheck.filter_too_much,
    HealthCheck.data_too_large,
]  # whole models are drawn


def same(one: Any, other: Any) -> bool:
    """Equal, of the same types all through, and down to the sign of a zero."""
    shown = [
        {name: repr(value) for name, value in each if not isinstance(value, datetime)}
        for each in (one, other)
    ]
    return bool(one == other) and shown[0] == shown[1]


@pytest.mark.parametrize("model", ENTITIES, ids=lambda model: model.__name__)
@settings(max_examples=25, deadline=None, suppress_health_check=SLOW, phases=[Phase.generate])
@given(st.data())
def test_json_is_exact(model: Any, data: st.DataObject) -> None:
    draft = data.draw(drafts(model))
    kind = type(draft)
    assert same(kind.model_validate_json(draft.model_dump_json()), draft)
    created, updated = (data.draw(moments).astimezone(UTC) for _ in range(2))
    own = {"id": data.draw(st.uuids()), "created_at": created, "updated_at": updated}
    record = model(**dict(draft), **own, version=data.draw(st.integers(1, 2**63 - 1)))
    written = record.model_dump_json()
    assert same(model.model_validate_json(written), record)
    assert same(model.model_validate_json(written.encode()), record)
    assert (
        model.model_validate_json(json.dumps(json.loads(written))) == record
    )  # and by way of another library
    assert same(model.model_validate(record.model_dump()), record)
    assert model.model_validate(record.model_dump(mode="json")) == record
    assert model.model_validate_json(written).model_dump_json() == written
    again = {name: value for name, value in record.model_dump().items() if name in kind.model_fields}
    assert same(kind.model_validate(again), draft)


@pytest.mark.parametrize("model", ENTITIES, ids=lambda model: model.__name__)
def test_json_of_a_record_is_told_what_is_wrong_by_its_name(model: Any) -> None:
    for wrong in ("", "[]", "{", '{"id": 5}', '{"no_such": 1}', "null", '"text"', "NaN"):
        with pytest.raises(InvalidValue):
            model.model_validate_json(wrong)


def test_microseconds_and_zones_are_kept() -> None:
    made = factory_of(draft_of(ENTITIES[0])).build()
    moment = datetime(2024, 2, 29, 23, 59, 59, 999_999, UTC)
    record: Any = ENTITIES[0](
        **dict(made), id=UUID(int=1), created_at=moment, updated_at=moment, version=2**63 - 1
    )
    read = type(record).model_validate_json(record.model_dump_json())
    assert (read.created_at, read.version) == (moment, 2**63 - 1)
    assert read.created_at.utcoffset() == timedelta(0)
