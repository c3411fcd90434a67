"""Texts in many scripts, and hostile ones, are stored, given back, filtered and matched as they are."""

import unicodedata
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from database_handler import Change, UnitOfWork
from database_handler.core.base_model import Draft
from database_handler.core.exceptions import InvalidValue, UnknownField
from database_handler.repositories import base
from database_handler.utils.markup import clean_markup
from tests.contract.conftest import ENTITIES, Subject
from tests.contract.test_create import HOSTILE
from tests.support.scripts_corpus import HARD, PROSE

TEXTS = [*(each.text for each in PROSE.values()), *(text for text in HARD.values() if "\0" not in text)]
PLAIN = {"summaries": {"content_format": "plain", "kind": "detailed"}}
LIKE = (
    "%",
    "_",
    "\\",
    "%%",
    "\\%",
    "\\_",
    "100%",
    "_a",
    "a_",
    "\\\\",
    "\\'",
    "[a-z]",
    "(?i)",
    "*",
    "?",
    "^",
    "$",
)


def repository_of(subject: Subject) -> Any:
    """The repository, for keywords that are made up while the test runs."""
    return subject.repository


@pytest.fixture(params=ENTITIES)
def subject(request: pytest.FixtureRequest, uow: UnitOfWork) -> Subject:
    return Subject(str(request.param), uow)


def fields_of(subject: Subject) -> list[str]:
    """The fields of free text: those that take a word as it is."""
    found = []
    for name in subject.repository.draft.model_fields:
        kind = subject.table.column(name).type
        if kind == "text" and _takes(subject, name, "Wörter, вот так"):
            found.append(name)
    return found


def _takes(subject: Subject, name: str, text: str) -> bool:
    try:
        return bool(getattr(subject.factory.build(**{name: text}), name) == text)
    except InvalidValue:
        return False


def drafts_with(subject: Subject, texts: list[str]) -> Iterator[tuple[Draft, str, str]]:
    """A draft for each text in each field of free text, and in the keys and values of its JSON."""
    parents = subject.parents() | PLAIN.get(subject.name, {})
    for name in fields_of(subject):
        for text in texts:
            try:
                metadata = {text: [text, {text: text}]}
                yield subject.factory.build(**parents, **{name: text}, metadata=metadata), name, text
            except InvalidValue:
                assert name != "content" or not text.strip()  # a name is one line, and not empty


def is_given_back(subject: Subject, name: str, held: str, text: str) -> bool:
    """Whether content is held verbatim, and all that is a name stripped and in NFC."""
    if (subject.name, name) == ("summaries", "content"):
        return held == clean_markup(text, "plain")
    return held == text or (name != "content" and held == unicodedata.normalize("NFC", text).strip())


def unique(subject: Subject, drafts: list[tuple[Draft, str, str]]) -> list[tuple[Draft, str, str]]:
    keys = {tuple(getattr(each[0], name) for name in subject.table.key): each for each in drafts}
    return list(keys.values())


def test_each_script_is_given_back_verbatim_whichever_way_it_goes_in(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = unique(subject, list(drafts_with(subject, TEXTS)))
    assert len({text for _, _, text in given}) >= 30
    for way in (1, 10**9):  # by COPY, and by INSERT
        monkeypatch.setattr(base, "COPY_FROM", way)
        made = subject.repository.create_many([draft for draft, _, _ in given])
        read = subject.repository.get_many([record.id for record in made])
        assert read == made
        for record, (draft, name, text) in zip(read, given, strict=True):
            assert is_given_back(subject, name, getattr(record, name), text)
            assert record.metadata == {text: [text, {text: text}]}
            assert {each: getattr(record, each) for each in type(draft).model_fields} == dict(draft)
        assert subject.repository.delete_many([record.id for record in read]) == len(given)
    upserted = subject.repository.upsert_many([draft for draft, _, _ in given])
    for each, (draft, _, _) in zip(upserted, given, strict=True):
        assert {name: getattr(each.record, name) for name in type(draft).model_fields} == dict(draft)


def test_each_script_is_given_back_verbatim_after_a_change(subject: Subject) -> None:
    name = "content" if "content" in subject.repository.draft.model_fields else "title"
    name = name if name in subject.repository.draft.model_fields else "name"
    texts = [text for text in TEXTS if _takes(subject, name, text)]
    assert len(texts) >= 30
    records = subject.records(len(texts), **PLAIN.get(subject.name, {}))
    changes = [Change(each.id, {name: text}) for each, text in zip(records, texts, strict=True)]
    for record, text in zip(subject.repository.update_many(changes), texts, strict=True):
        assert is_given_back(subject, name, getattr(record, name), text)
    single = subject.repository.update(
        records[0].id, {name: texts[0] + "é", "metadata": {texts[0]: texts[0]}}
    )
    assert (getattr(single, name), single.metadata) == (texts[0] + "é", {texts[0]: texts[0]})


# ---------------------------------------------------------------------------------------- asked for by text


def test_texts_are_found_by_themselves_and_by_their_parts(uow: UnitOfWork) -> None:
    subject = Subject("text_sources", uow)
    project = subject.parents()
    texts = [*TEXTS, *HOSTILE, *LIKE]
    made = subject.repository.create_many(
        [
            subject.factory.build(**project, content=text, metadata={"t": text})
            for text in dict.fromkeys(texts)
        ]
    )
    asked = {part for text in texts for part in (text, text[:5], text[-5:], text[1:-1]) if part}
    for part in sorted(asked)[::3] + list(LIKE):
        for operator, holds in (
            ("eq", lambda held, part: held == part),
            ("contains", lambda held, part: part in held),
            ("startswith", lambda held, part: held.startswith(part)),
            ("endswith", lambda held, part: held.endswith(part)),
        ):
            found = repository_of(subject).list(**project, **{f"content__{operator}": part})
            assert found == [each for each in made if holds(each.content, part)], (operator, part)
        insensitive = repository_of(subject).list(**project, content__icontains=part)
        assert {each.id for each in made if part in each.content} <= {each.id for each in insensitive}
    by_json = repository_of(subject).list(**project, metadata__contains={"t": texts[0]})
    assert [each.content for each in by_json] == [texts[0]]
    assert repository_of(subject).list(**project, content__in=texts[:3]) == made[:3]


@pytest.mark.parametrize("bad", ["a\0b", "\ud800"])
def test_what_cannot_be_stored_cannot_be_asked_for(subject: Subject, bad: str) -> None:
    for name in subject.table.column_names:
        if subject.table.column(name).type == "text":
            for operator in ("eq", "ne", "contains", "istartswith"):
                with pytest.raises(InvalidValue):
                    repository_of(subject).list(**{f"{name}__{operator}": bad})
            with pytest.raises(InvalidValue):
                repository_of(subject).list(**{f"{name}__in": ["a", bad]})
    assert subject.repository.count(id=uuid4()) == 0  # nothing was sent, so the unit goes on


def test_hostile_names_of_fields_and_orders_are_unknown(subject: Subject) -> None:
    for text in (
        *HOSTILE,
        *LIKE,
        "id, (SELECT 1)",
        "id DESC; DROP TABLE projects",
        'id"',
        "id\0",
        "İD",
        "ID",
    ):
        with pytest.raises(UnknownField):
            repository_of(subject).list(**{text: 1})
        with pytest.raises(UnknownField):
            repository_of(subject).list(order_by=text)
        with pytest.raises(UnknownField):
            repository_of(subject).list(**{f"metadata__{text}": 1})
        with pytest.raises(InvalidValue):
            repository_of(subject).page(after=text)
        with pytest.raises(InvalidValue):
            subject.repository.get_by_id(text)
        with pytest.raises(InvalidValue):
            subject.repository.update(uuid4(), {text: 1})
    assert subject.repository.count() >= 0
