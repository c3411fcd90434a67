"""Drafts and records: frozen, validated with our own error, derived fields made by the model."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from database_handler import NewLink, NewProject, NewTextSource, Project, exceptions
from database_handler.core.base_model import Change, draft_of, filler, validated_changes
from database_handler.models import ENTITIES
from database_handler.testing.factories import (
    ProjectFactory,
    SummaryFactory,
    TranslationFactory,
    factory_of,
    seed,
)

InvalidValue = exceptions.InvalidValue


def text_source(**fields: Any) -> NewTextSource:
    return NewTextSource(**{"project_id": uuid4(), "title": "x", "content": "Zwei Wörter\n"} | fields)


def test_a_slug_is_made_of_the_name_and_stays() -> None:
    assert NewProject(name="  Größe  Zwölf ").slug == "grosse-zwolf"
    assert NewProject(name="x", slug="own").slug == "own"
    assert validated_changes(NewProject, {"name": "Other"}) == {"name": "Other"}


def test_what_is_derived_of_a_text() -> None:
    source = text_source()
    assert (source.word_count, source.char_count, source.size_bytes) == (2, 12, 13)
    assert len(source.checksum) == 64
    given = text_source(size_bytes=5, checksum="0" * 64)
    assert (given.size_bytes, given.checksum, given.char_count) == (5, "0" * 64, 12)
    follow = validated_changes(NewTextSource, {"content": "a"})
    assert set(follow) == {"content", "size_bytes", "checksum", "word_count", "char_count"}
    assert follow["char_count"] == 1


def test_content_is_verbatim_and_names_are_normal() -> None:
    odd = " e\u0301\r\n\t\ufeff "
    assert text_source(content=odd).content == odd
    assert text_source(title=" e\u0301 ").title == "é"


def test_a_link_knows_its_host() -> None:
    link = NewLink(project_id=uuid4(), url="HTTPS://Example.COM:443/a/../b")
    assert (link.url, link.host) == ("https://example.com/b", "example.com")
    assert validated_changes(NewLink, {"url": "http://other.example"})["host"] == "other.example"


@pytest.mark.parametrize("given", [(), ("text_source_id", "summary_id")])
def test_a_translation_is_of_exactly_one(given: tuple[str, ...]) -> None:
    with pytest.raises(InvalidValue, match="exactly one"):
        TranslationFactory.build(**{"text_source_id": None} | {name: uuid4() for name in given})


@pytest.mark.parametrize("model", ENTITIES, ids=lambda model: model.__name__)
class TestEveryModel:
    def test_is_frozen_and_equal_by_value(self, model: Any) -> None:
        draft = factory_of(draft_of(model)).build()
        with pytest.raises(InvalidValue, match="frozen"):
            draft.metadata = {}
        assert draft == type(draft)(**dict(draft))

    def test_names_every_wrong_field_and_no_value(self, model: Any) -> None:
        draft: Any = draft_of(model)
        with pytest.raises(InvalidValue) as caught:
            draft(metadata="secret", no_such_field="secret")
        assert "secret" not in str(caught.value)
        assert caught.value.__context__ is None  # the chain would print it
        assert {"metadata", "no_such_field"} <= set(caught.value.columns)

    def test_json_goes_out_and_in(self, model: Any) -> None:
        draft = factory_of(draft_of(model)).build()
        assert type(draft).model_validate_json(draft.model_dump_json()) == draft

    def test_a_record_is_its_draft_and_four_fields(self, model: Any) -> None:
        own = set(model.model_fields) - set(draft_of(model).model_fields)
        assert own == {"id", "created_at", "updated_at", "version"}
        types = {name: field.annotation for name, field in draft_of(model).model_fields.items()}
        assert {name: model.model_fields[name].annotation for name in types} == types

    def test_factories_give_what_a_seed_says(self, model: Any) -> None:
        factory = factory_of(draft_of(model))
        numbered = {*model.table.key, "slug", "name", "content", "filename", "storage_uri", "url", "host"}
        numbered |= {"checksum", "size_bytes", "word_count", "char_count", "generator", "original_url"}
        drawn = []
        for _ in range(2):
            assert seed(7) == 7
            drawn.append([factory.build() for _ in range(20)])
        for one, other in zip(*drawn, strict=True):
            assert one.model_dump(exclude=numbered) == other.model_dump(exclude=numbered)
        keys = {tuple(str(getattr(d, n)) for n in model.table.key) for part in drawn for d in part}
        assert len(keys) == 40
        assert not drawn[0][0].model_dump_json().isascii() or not drawn[0][1].model_dump_json().isascii()


def test_a_row_becomes_a_record_without_validation_and_equal_to_a_validated_one() -> None:
    draft = ProjectFactory.build(status="active")
    fields = dict(draft) | {"id": uuid4(), "version": 2}
    fields |= dict.fromkeys(("created_at", "updated_at"), datetime.now(UTC))
    record = Project(**fields)
    row = tuple(getattr(record, name) for name in Project.model_fields)
    plain = tuple(list(v) if isinstance(v, tuple) else getattr(v, "value", v) for v in row)
    filled = filler(Project)(plain)
    assert filled == record
    assert filled.model_fields_set == record.model_fields_set
    assert filled.model_dump_json() == record.model_dump_json()
    broken = tuple(
        "unknown" if name == "status" else v for name, v in zip(Project.model_fields, plain, strict=True)
    )
    with pytest.raises(exceptions.UnreadableValue, match="status"):
        filler(Project)(tuple(broken))


def test_a_change_has_a_short_form() -> None:
    id = uuid4()
    assert Change(id, {"a": 1}, 3) == Change(id=id, changes={"a": 1}, expected_version=3)
    wrong: list[tuple[Any, ...]] = [("no", {}), (id, 5), (id,), ()]
    for values in wrong:
        with pytest.raises(InvalidValue):
            Change(*values)


def test_a_change_drops_nothing_that_it_is_given() -> None:
    make: Any = Change
    for values, named in [((uuid4(), {"a": 1}, 3, 4), {}), ((uuid4(), {"a": 1}), {"id": uuid4()})]:
        with pytest.raises(exceptions.InvalidValue, match="each once"):
            make(*values, **named)


def test_a_factory_says_what_it_lacks() -> None:
    with pytest.raises(InvalidValue, match="unit of work"):
        SummaryFactory.create()
    with pytest.raises(InvalidValue, match="no such field"):
        SummaryFactory.build(no_such_field=1)


def test_a_varied_factory_shares_the_numbers() -> None:
    class ActiveProjectFactory(ProjectFactory):
        status = "active"

    drafts = [ProjectFactory.build(), ActiveProjectFactory.build(), ProjectFactory.build()]
    assert drafts[1].status == "active"
    assert len({draft.slug for draft in drafts}) == 3
