"""A unit that is held to a project sees and writes that project only; one id in two projects is told."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from database_handler import Change, Database
from database_handler.core.exceptions import AmbiguousRecord, InvalidValue, RecordNotFound
from tests.contract.conftest import Subject


@pytest.fixture
def both(committed: Subject) -> tuple[list[Any], list[Any]]:
    """Records of two projects."""
    return committed.records(3), committed.records(3)


def project_of(record: Any) -> UUID:
    return getattr(record, "project_id", record.id)  # type: ignore[no-any-return]


def is_child(subject: Subject) -> bool:
    return "project_id" in subject.table.column_names


@pytest.fixture
def held(
    committed: Subject, committed_database: Database, both: tuple[list[Any], list[Any]]
) -> Iterator[Subject]:
    """The entity over a unit that is held to the project of the first records."""
    with committed_database.unit_of_work(project_id=project_of(both[0][0])) as unit:
        yield committed.on(unit)
        unit.rollback()


def own(subject: Subject, both: tuple[list[Any], list[Any]]) -> list[Any]:
    """What belongs to the project: for projects, itself alone."""
    return both[0] if is_child(subject) else both[0][:1]


def test_reads_see_the_project_alone(held: Subject, both: tuple[list[Any], list[Any]]) -> None:
    mine, theirs, repository = own(held, both), both[1], held.repository
    ids = [record.id for record in (*mine, *theirs)]
    assert repository.list() == repository.list(id__in=ids) == mine
    assert repository.get_many(ids) == mine
    assert repository.get_by_id(mine[0].id) == mine[0]
    assert repository.find_by_id(theirs[0].id) is None
    page = repository.page(limit=10, total="exact")
    assert (page.items, page.total) == (mine, len(mine))
    assert list(repository.stream()) == mine
    assert repository.count() == len(mine)
    assert repository.exists(id=theirs[0].id) is False


def test_writes_reach_the_project_alone(
    held: Subject, both: tuple[list[Any], list[Any]], committed: Subject, committed_database: Database
) -> None:
    mine, theirs = own(held, both)[0], both[1][0]
    changes = {"metadata": {"by": "somebody else"}}
    for call in (
        lambda: held.repository.update(theirs.id, changes),
        lambda: held.repository.update_many([Change(mine.id, changes), Change(theirs.id, changes)]),
        lambda: held.repository.save(theirs.model_copy(update=changes)),
        lambda: held.repository.delete(theirs.id),
    ):
        with pytest.raises(RecordNotFound):
            call()
    assert held.repository.delete_many([theirs.id]) == 0
    beside = committed.on(committed_database.repositories(outside_unit=True))
    assert beside.repository.get_by_id(theirs.id) == theirs
    assert held.repository.get_by_id(mine.id) == mine
    assert held.repository.update(mine.id, changes).metadata == changes["metadata"]


def test_a_draft_of_another_project_is_refused(held: Subject, both: tuple[list[Any], list[Any]]) -> None:
    fields = {"project_id": project_of(both[1][0])} if is_child(held) else {}
    draft = held.factory.build(**fields)
    repository: Any = held.repository
    for call, given in (
        (repository.create, draft),
        (repository.create_many, [draft]),
        (repository.upsert, draft),
    ):
        with pytest.raises(InvalidValue, match="held to one project"):
            call(given)


def test_drafts_of_the_project_are_stored(held: Subject, both: tuple[list[Any], list[Any]]) -> None:
    if not is_child(held):
        return
    record, *_ = held.factory.create_batch(2, held.over)
    assert record.project_id == project_of(both[0][0])
    assert held.repository.upsert(held.factory.build(**held.parents())).record.project_id == record.project_id


# --------------------------------------------------------------------------------- one id in two projects


@pytest.fixture
def twins(committed: Subject) -> tuple[Any, Any]:
    """Two records of one id: of two projects, as an import may leave them."""
    if not is_child(committed):
        return None, None
    id, repository = uuid4(), committed.repository
    one, two = (repository.create(committed.draft(), id=id) for _ in range(2))  # type: ignore[attr-defined]
    return one, two


def test_a_call_for_one_row_that_meets_two_refuses(committed: Subject, twins: tuple[Any, Any]) -> None:
    if not is_child(committed):
        return
    one, two = twins
    other, repository = committed.record(), committed.repository
    changes = {"metadata": {"n": 1}}
    for call in (
        lambda: repository.get_by_id(one.id),
        lambda: repository.find_by_id(one.id),
        lambda: repository.get_many([other.id, one.id]),
        lambda: repository.update(one.id, changes),
        lambda: repository.update_many([Change(other.id, changes), Change(one.id, changes)]),
        lambda: repository.delete(one.id),
    ):
        with pytest.raises(AmbiguousRecord, match="project_id"):
            call()
    assert repository.list(id=one.id, order_by="created_at") == [one, two]
    assert repository.get_by_id(other.id) == other


def test_with_the_project_it_is_one_row(
    committed: Subject, twins: tuple[Any, Any], committed_database: Database
) -> None:
    if not is_child(committed):
        return
    one, two = twins
    with committed_database.unit_of_work(project_id=one.project_id) as unit:
        repository = committed.on(unit).repository
        assert repository.get_by_id(one.id) == repository.get_many([one.id])[0] == one
        assert repository.update(one.id, metadata={"n": 1}).project_id == one.project_id
        assert repository.update_many([Change(one.id, {"metadata": {}}, 2)])[0].version == 3
        repository.delete(one.id)
    assert committed.repository.get_by_id(one.id) == two


def test_a_saved_record_knows_its_project(committed: Subject, twins: tuple[Any, Any]) -> None:
    if not is_child(committed):
        return
    one, two = twins
    saved = committed.repository.save(one.model_copy(update={"metadata": {"n": 1}}))
    assert saved.project_id == one.project_id
    assert committed.repository.list(id=one.id, project_id=two.project_id) == [two]
