"""upsert and upsert_many: by the natural key, three outcomes, and safe when many do it at once."""

from collections import Counter
from functools import partial
from io import BytesIO
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest
from pydantic_core import to_json

from database_handler import Database, NewTextSource, NewTranslation, Outcome, TextSource, UnitOfWork
from database_handler.core.session import Statement
from tests.contract.conftest import Background, Subject
from tests.support.faults import PATIENCE


def outcomes(found: list[Any]) -> list[Outcome]:
    return [each.outcome for each in found]


def row_versions(subject: Subject, ids: list[Any]) -> list[Any]:
    """Which transaction wrote each row: it changes whenever a row is rewritten."""
    text = f"SELECT xmin::text, ctid::text FROM {subject.table.name} WHERE id = ANY(%s::uuid[]) ORDER BY id"
    return subject.over.session.all(Statement(text, "test"), [ids])


def test_one_is_inserted_updated_and_left(subject: Subject) -> None:
    draft = subject.draft()
    first = subject.repository.upsert(draft)
    assert first.outcome is Outcome.INSERTED
    assert {name: getattr(first.record, name) for name in type(draft).model_fields} == dict(draft)
    changed = subject.changed(draft)
    second = subject.repository.upsert(changed)
    assert second.outcome is Outcome.UPDATED
    assert (second.record.id, second.record.version) == (first.record.id, 2)
    assert {name: getattr(second.record, name) for name in type(draft).model_fields} == dict(changed)
    written = row_versions(subject, [first.record.id])
    third = subject.repository.upsert(changed)
    assert third.outcome is Outcome.UNCHANGED
    assert third.record == second.record
    assert row_versions(subject, [first.record.id]) == written
    assert subject.repository.get_by_id(first.record.id) == third.record


@pytest.mark.parametrize("size", [0, 3, 300])
def test_many_come_in_order(subject: Subject, size: int) -> None:
    drafts = subject.drafts(size)
    there = drafts[::3]
    subject.repository.create_many(there)
    wanted = [subject.changed(d) if place % 6 == 0 else d for place, d in enumerate(drafts)]
    found = subject.repository.upsert_many(iter(reversed(wanted)))
    found.reverse()
    expected = [
        Outcome.UPDATED if place % 6 == 0 else Outcome.UNCHANGED if place % 3 == 0 else Outcome.INSERTED
        for place in range(size)
    ]
    assert outcomes(found) == expected
    assert [
        {name: getattr(each.record, name) for name in type(draft).model_fields}
        for each, draft in zip(found, wanted, strict=True)
    ] == [dict(draft) for draft in wanted]
    ids = [each.record.id for each in found]
    assert subject.repository.get_many(ids) == [each.record for each in found]
    before = row_versions(subject, ids)
    again = subject.repository.upsert_many(wanted)
    assert set(outcomes(again)) <= {Outcome.UNCHANGED}
    assert [each.record for each in again] == [each.record for each in found]
    assert row_versions(subject, ids) == before


def test_nulls_in_a_key_are_equal(subject: Subject, uow: UnitOfWork) -> None:
    references = {key.columns[-1] for key in subject.table.foreign_keys}
    for name in set(subject.table.nullable_key) - references:
        draft = subject.draft(**{name: None})
        named = subject.factory.build(**{n: getattr(draft, n) for n in draft.model_fields_set - {name}})
        first = subject.repository.upsert_many([draft, named])
        assert outcomes(first) == [Outcome.INSERTED, Outcome.INSERTED]
        again = subject.repository.upsert_many([named, draft])
        assert outcomes(again) == [Outcome.UNCHANGED, Outcome.UNCHANGED]
        assert [each.record for each in again] == [first[1].record, first[0].record]
        changed = subject.repository.upsert_many([subject.changed(draft)])
        assert outcomes(changed) == [Outcome.UPDATED]
        assert changed[0].record.id == first[0].record.id


def test_each_comes_back_as_its_own_where_two_projects_have_rows_of_one_id(uow: UnitOfWork) -> None:
    ids = [uuid4() for _ in range(3)]
    projects = [uow.projects.create(name=f"Project {number}") for number in range(2)]
    drafts = [
        [
            NewTextSource(project_id=project.id, title=f"{number}", content=f"{number} of {project.name}")
            for number in range(3)
        ]
        for project in projects
    ]
    for own in drafts:
        lines = b"".join(
            to_json({**draft.model_dump(mode="json"), "id": id}) + b"\n"
            for draft, id in zip(own, ids, strict=True)
        )
        uow.text_sources.import_rows(BytesIO(lines), file_format="jsonl")
    changed = [draft.model_copy(update={"metadata": {"of": draft.title}}) for draft in drafts[1]]
    found = uow.text_sources.upsert_many([*drafts[0], *changed])
    assert outcomes(found) == [Outcome.UNCHANGED] * 3 + [Outcome.UPDATED] * 3
    assert [each.record.project_id for each in found] == [projects[0].id] * 3 + [projects[1].id] * 3
    assert [each.record.id for each in found] == [*ids, *ids]
    assert [each.record.content for each in found] == [draft.content for draft in (*drafts[0], *changed)]


def test_outside_a_unit(committed: Subject) -> None:
    parents = committed.parents()
    drafts = committed.factory.build_batch(3, **parents)
    found = committed.repository.upsert_many(drafts)
    assert outcomes(found) == [Outcome.INSERTED] * 3
    assert committed.repository.get_many([each.record.id for each in found]) == [e.record for e in found]
    found = committed.repository.upsert_many([drafts[2], committed.changed(drafts[0]), drafts[1]])
    assert outcomes(found) == [Outcome.UNCHANGED, Outcome.UPDATED, Outcome.UNCHANGED]


def race(works: list[Any]) -> list[Any]:
    """Let all begin at one moment, each in a thread of its own."""
    barrier = Barrier(len(works))

    def run(work: Any) -> Any:
        barrier.wait(PATIENCE)
        return work()

    return [each.result() for each in [Background(partial(run, work)) for work in works]]


@pytest.mark.parametrize("in_a_unit", [False, True])
def test_of_eight_at_once_exactly_one_inserts(
    committed: Subject, committed_database: Database, in_a_unit: bool
) -> None:
    drafts = committed.drafts(20)

    def upsert() -> list[Any]:
        if not in_a_unit:
            return committed.repository.upsert_many(drafts)
        with committed_database.unit_of_work() as unit:
            return committed.on(unit).repository.upsert_many(drafts)

    found = race([upsert] * 8)
    for place in range(20):
        told = [each[place] for each in found]
        assert Counter(each.outcome for each in told) == {Outcome.INSERTED: 1, Outcome.UNCHANGED: 7}
        assert len({each.record.id for each in told}) == 1
        assert {each.record.version for each in told} == {1}


def test_eight_different_contents_are_one_insert_and_updates(committed: Subject) -> None:
    draft = committed.draft()
    wanted = [draft.model_copy(update={"metadata": {"writer": number}}) for number in range(8)]
    found = race([lambda d=d: committed.repository.upsert(d) for d in wanted])
    assert Counter(each.outcome for each in found) == {Outcome.INSERTED: 1, Outcome.UPDATED: 7}
    assert sorted(each.record.version for each in found) == list(range(1, 9))
    for each, sent in zip(found, wanted, strict=True):
        assert each.record.metadata == sent.metadata


def test_overlapping_ones_in_opposite_orders_do_not_deadlock(committed: Subject) -> None:
    drafts = committed.drafts(200)
    for number in range(3):
        wanted = [draft.model_copy(update={"metadata": {"round": number}}) for draft in drafts]
        orders = [wanted, wanted[::-1], wanted[50:], wanted[150::-1]]
        found = race([lambda order=order: committed.repository.upsert_many(order) for order in orders])
        assert [len(each) for each in found] == [200, 200, 150, 151]
    assert (
        committed.repository.count(id__in=[e.record.id for e in committed.repository.upsert_many(drafts)])
        == 200
    )


def rows_read(unit: UnitOfWork, table: str) -> int:
    """How many rows of a table this transaction has looked at so far."""
    text = (
        "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) "
        "FROM pg_stat_xact_user_tables WHERE relname = %s"
    )
    [read] = unit.session.one(Statement(text, "test"), [table])
    return int(read)


# What ANALYZE may be made to say of how many values a column has: one in all, or another in each row (-1).
NEVER_ANALYSED: dict[str, int] | None = None
AS_COUNTED: dict[str, int] = {}
A_ROW_A_PROJECT = {"project_id": -1, "target_language": -1}
ONE_OF_EACH = {"project_id": 1, "text_source_id": 1, "target_language": 1}
A_ROW_A_PROJECT_OF_ONE_SOURCE = {"project_id": -1, "text_source_id": 1, "target_language": 1}


@pytest.mark.parametrize(
    "told",
    [NEVER_ANALYSED, AS_COUNTED, A_ROW_A_PROJECT, ONE_OF_EACH, A_ROW_A_PROJECT_OF_ONE_SOURCE],
    ids=["never analysed", "as counted", "a row a project", "one of each", "a row a project, of one source"],
)
def test_work_grows_with_the_rows_whatever_the_planner_knows(
    database: Database, told: dict[str, int] | None
) -> None:
    with database.unit_of_work() as unit:  # of its own: what is rolled back leaves pages, and they count
        _work_grows(unit, told, size=1000)


def _work_grows(uow: UnitOfWork, told: dict[str, int] | None, size: int) -> None:
    if told is not None:  # when each project had one row: what is known before the first bulk load
        for number in range(60):
            project = uow.projects.create(name=f"small {number}")
            source = uow.text_sources.create(project_id=project.id, title="t", content="x")
            uow.translations.create(translation_of(source))
        for column, values in told.items():
            text = f"ALTER TABLE translations ALTER COLUMN {column} SET (n_distinct = {values})"
            uow.session.run(Statement(text, "test"))
        uow.session.run("ANALYZE translations")
        uow.session.run("ANALYZE text_sources")
    project = uow.projects.create(name="large")
    sources = uow.text_sources.create_many(
        NewTextSource(project_id=project.id, title="t", content=f"text {number}") for number in range(size)
    )
    drafts = [translation_of(source) for source in sources]
    before = rows_read(uow, "text_sources")
    uow.translations.create_many(drafts)
    assert rows_read(uow, "text_sources") - before < 10 * size  # by the check of the reference
    for number in (1, size):
        before = rows_read(uow, "translations")
        found = uow.translations.upsert_many(drafts[-number:])
        assert set(outcomes(found)) == {Outcome.UNCHANGED}
        assert rows_read(uow, "translations") - before < 10 * number
        changed = [draft.model_copy(update={"metadata": {"n": number}}) for draft in drafts[-number:]]
        before = rows_read(uow, "translations")
        assert set(outcomes(uow.translations.upsert_many(changed))) == {Outcome.UPDATED}
        assert rows_read(uow, "translations") - before < 10 * number
        drafts[-number:] = changed


def translation_of(source: TextSource) -> NewTranslation:
    return NewTranslation(
        project_id=source.project_id,
        text_source_id=source.id,
        source_language="en",
        target_language="de",
        content="c",
    )
