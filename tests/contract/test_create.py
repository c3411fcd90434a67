"""create and create_many: what is stored is what was given, whichever way it goes."""

from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest

from database_handler import UnitOfWork
from database_handler.core.exceptions import DuplicateRecord, InvalidValue, MissingReference
from database_handler.repositories import base
from tests.contract.conftest import Subject, stored

HOSTILE = (
    "\t",
    "a\nb",
    "a\r\nb",
    "\\",
    "\\.",
    "\n\\.\n",
    "\\N",
    "\\x41\\u0041",
    '"',
    "'",
    "'; DROP TABLE projects; --",
    "{",
    "}",
    '{a,"b"}',
    "NULL",
    "%s %(a)s %%",
    "\u2028\u2029",
    "e\u0301",
    "\ufeff",
    "\uffff",
    "\U0001f468\u200d\U0001f469",
    "\u202eabc",
    "x" * 499,
)


def create(subject: Subject, *args: Any, **fields: Any) -> Any:
    repository: Any = subject.repository
    return repository.create(*args, **fields)


def test_gives_back_what_was_stored(subject: Subject) -> None:
    draft = subject.draft()
    record = create(subject, draft)
    assert isinstance(record, subject.repository.record)
    assert {name: getattr(record, name) for name in type(draft).model_fields} == dict(draft)
    assert record.version == 1
    assert record.created_at == record.updated_at
    assert record.created_at.utcoffset() is not None
    assert subject.repository.get_by_id(record.id) == record


def test_ids_are_made_in_the_order_of_time(subject: Subject) -> None:
    ids = [record.id for record in subject.records(5)]
    assert all(one < other for one, other in pairwise(ids))
    assert {id.version for id in ids} == {7}


def test_takes_keywords(subject: Subject) -> None:
    draft = subject.draft()
    record = create(subject, **{name: getattr(draft, name) for name in draft.model_fields_set})
    assert {name: getattr(record, name) for name in type(draft).model_fields} == dict(draft)


def test_takes_an_id_once(subject: Subject, uow: UnitOfWork) -> None:
    first, second = subject.drafts(2)
    id = uuid4()
    assert create(subject, first, id=id).id == id
    with pytest.raises(DuplicateRecord) as caught, uow.savepoint():
        create(subject, second, id=id)
    assert caught.value.constraint == f"{subject.table.name}_pkey"
    assert caught.value.columns == subject.table.primary_key
    assert subject.repository.get_by_id(id).version == 1


def test_a_key_is_stored_once(subject: Subject, uow: UnitOfWork) -> None:
    draft = subject.draft()
    create(subject, draft)
    with pytest.raises(DuplicateRecord) as caught, uow.savepoint():
        create(subject, subject.changed(draft))
    assert caught.value.constraint == f"{subject.table.name}_key"
    assert caught.value.columns == subject.table.key
    assert caught.value.sqlstate == "23505"


def test_refuses_a_record(subject: Subject) -> None:
    record = subject.record()
    with pytest.raises(InvalidValue, match="is stored here, not a"):
        create(subject, record)
    with pytest.raises(InvalidValue, match="position 0"):
        subject.repository.create_many([record])
    with pytest.raises(InvalidValue, match="position 0"):
        subject.repository.upsert_many([record])
    assert subject.repository.count(id=record.id) == 1  # the unit goes on: nothing was sent


@pytest.mark.parametrize("wrong", [None, 5, "text", {"name": "x"}, object()])
def test_refuses_what_is_no_draft(subject: Subject, wrong: object) -> None:
    with pytest.raises(InvalidValue):
        create(subject, wrong)
    with pytest.raises(InvalidValue, match="position 1"):
        subject.repository.create_many([subject.factory.build(), wrong])


def test_refuses_a_draft_with_keywords(subject: Subject) -> None:
    draft = subject.factory.build()
    with pytest.raises(InvalidValue):
        create(subject, draft, metadata={})
    with pytest.raises(InvalidValue):
        create(subject, draft, draft)


@pytest.mark.parametrize("wrong", ["no", 5, b"1234567890123456", "", 1.5])
def test_refuses_an_id_that_is_none(subject: Subject, wrong: object) -> None:
    with pytest.raises(InvalidValue, match="UUID"):
        create(subject, subject.factory.build(), id=wrong)


def test_unknown_field_is_named_with_the_nearest(subject: Subject) -> None:
    fields = dict(subject.factory.build())
    name = next(iter(subject.repository.draft.model_fields))
    with pytest.raises(InvalidValue, match=f"did you mean '{name}'"):
        create(subject, **fields, **{name + "s": 1})


def test_a_reference_to_nothing_is_told(subject: Subject, uow: UnitOfWork) -> None:
    for reference in subject.table.foreign_keys:
        field = reference.columns[-1]
        draft = subject.draft()
        if getattr(draft, field) is None:
            continue
        lost = draft.model_copy(update={field: uuid4()})
        with pytest.raises(MissingReference), uow.savepoint():
            create(subject, lost)
        with pytest.raises(MissingReference), uow.savepoint():
            subject.repository.create_many([lost])


# ---------------------------------------------------------------------------------------------------- many


@pytest.mark.parametrize("size", [0, 1, 2, 199, 200, 1000])
def test_many_come_back_in_order_as_they_are_read(subject: Subject, size: int) -> None:
    drafts = subject.drafts(size)
    records = subject.repository.create_many(iter(drafts))
    assert [{n: getattr(r, n) for n in type(r).model_fields if n in type(d).model_fields} for r, d in
            zip(records, drafts, strict=True)] == [dict(draft) for draft in drafts]  # fmt: skip
    read = subject.repository.get_many([record.id for record in records])
    assert read == records
    assert [type(value) for r in read for value in stored(r).values()] == [
        type(value) for r in records for value in stored(r).values()
    ]


@pytest.mark.parametrize("size", [3, 300])
def test_many_name_both_places_of_a_repeated_key(subject: Subject, size: int) -> None:
    drafts = subject.drafts(size)
    again = [*drafts, subject.changed(drafts[1])]
    with pytest.raises(InvalidValue, match=f"positions 1 and {size} have the same key"):
        subject.repository.create_many(again)
    with pytest.raises(InvalidValue, match=f"positions 1 and {size} have the same key"):
        subject.repository.upsert_many(again)
    assert subject.repository.count(**{subject.table.key[0]: getattr(drafts[1], subject.table.key[0])}) == 0


@pytest.mark.parametrize("size", [3, 300])
def test_many_are_all_or_none(subject: Subject, uow: UnitOfWork, size: int) -> None:
    drafts = subject.drafts(size)
    create(subject, drafts[-1])
    before = subject.repository.count()
    with pytest.raises(DuplicateRecord) as caught, uow.savepoint():
        subject.repository.create_many(drafts)
    assert caught.value.columns == subject.table.key
    assert subject.repository.count() == before


def hostile_drafts(subject: Subject) -> list[Any]:
    """Every text column with every hostile string that its field takes."""
    parents, found = subject.parents(), []
    enums = {c.name for c in subject.table.columns if c.checks and " IN (" in c.checks[0]}
    for name in subject.repository.draft.model_fields:
        kind = subject.table.column(name).type
        if name in enums or kind not in {"text", "text[]", "jsonb"}:
            continue
        for text in HOSTILE:
            value = {"text": text, "text[]": (text, "b"), "jsonb": {text: [text, {text: text}]}}[kind]
            try:
                found.append(subject.factory.build(**parents, **{name: value}))
            except InvalidValue:
                continue
    keys = {tuple(getattr(draft, name) for name in subject.table.key): draft for draft in found}
    return list(keys.values())


def test_hostile_text_is_stored_verbatim_by_both_ways(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafts = hostile_drafts(subject)
    assert len(drafts) >= len(HOSTILE)
    for copy_from in (1, 10**9):
        monkeypatch.setattr(base, "COPY_FROM", copy_from)
        with subject.over.savepoint():  # type: ignore[attr-defined]  # it is a unit
            records = subject.repository.create_many(drafts)
            read = subject.repository.get_many([record.id for record in records])
            assert read == records
            for draft, record in zip(drafts, read, strict=True):
                assert {name: getattr(record, name) for name in type(draft).model_fields} == dict(draft)
            subject.repository.delete_many([record.id for record in records])
    for draft in drafts:  # and the way of a single row
        record = create(subject, draft)
        assert {name: getattr(record, name) for name in type(draft).model_fields} == dict(draft)


@pytest.mark.parametrize("bad", ["a\0b", "\ud800", "\udfff x"])
def test_what_cannot_be_stored_is_refused_before_it_is_sent(subject: Subject, bad: str) -> None:
    for name in subject.repository.draft.model_fields:
        kind = subject.table.column(name).type
        if kind not in {"text", "text[]", "jsonb"}:
            continue
        values: dict[str, list[object]] = {
            "text": [bad],
            "text[]": [(bad,)],
            "jsonb": [{bad: 1}, {"a": [bad]}],
        }
        for value in values[kind]:
            if (subject.name, name, bad) == ("summaries", "content", "a\0b"):
                continue  # a summary is stripped of control characters
            with pytest.raises(InvalidValue):
                subject.factory.build(**{name: value})
            with pytest.raises(InvalidValue):
                subject.repository.update(uuid4(), {name: value})
    assert subject.repository.count(id=uuid4()) == 0  # the unit goes on


def test_numbers_and_json_at_their_limits(subject: Subject) -> None:
    extreme = {"a": 10**30, "b": -(2**63), "c": 1e15, "d": 5e-324, "e": -0.0, "f": 0.1, "g": True, "h": None}
    held = {"version", "token_count"}  # to what the server and the tokens say
    numbers = {c.name: 2**63 - 1 for c in subject.table.columns if c.type == "bigint" and c.name not in held}
    fields = subject.repository.draft.model_fields
    drafts = subject.drafts(201, metadata=extreme, **{n: v for n, v in numbers.items() if n in fields})
    single = create(subject, drafts.pop())
    copied = subject.repository.create_many(drafts)
    inserted = subject.repository.upsert_many(subject.drafts(2, metadata=extreme))
    for record in (single, *copied[:3], *(each.record for each in inserted)):
        read = subject.repository.get_by_id(record.id)
        assert read == record
        assert read.metadata == extreme


def test_a_large_float_in_json_is_refused_or_given_back(subject: Subject) -> None:
    for number in (1e16, 12345678901234567890.0, 1e23, 1e300):
        try:
            draft = subject.draft(metadata={"n": number})
        except InvalidValue:
            continue
        assert create(subject, draft).metadata == {"n": number}


def test_outside_a_unit(committed: Subject) -> None:
    parents = committed.parents()
    drafts = committed.factory.build_batch(401, **parents)
    single = create(committed, drafts[0])
    inserted, copied = (committed.repository.create_many(part) for part in (drafts[1:150], drafts[150:]))
    assert committed.repository.get_many([single.id]) == [single]
    for records in (inserted, copied):
        assert committed.repository.get_many([record.id for record in records]) == records
    with pytest.raises(DuplicateRecord):
        committed.repository.create_many([committed.factory.build(**parents), drafts[0]])
    ids = [record.id for record in (single, *inserted, *copied)]
    assert committed.repository.delete_many(ids) == 401
