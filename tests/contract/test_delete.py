"""delete and delete_many, and what goes with a record or keeps it."""

from typing import Any
from uuid import uuid4

import pytest

from database_handler import UnitOfWork
from database_handler.core.exceptions import InvalidValue, RecordNotFound, StaleRecord, StillReferenced
from database_handler.testing.factories import (
    ProjectFactory,
    SummaryFactory,
    TextSourceFactory,
    TranslationFactory,
    VideoFactory,
)
from tests.contract.conftest import Subject


def test_delete_takes_one_away(subject: Subject) -> None:
    record, other = subject.records(2)
    subject.repository.delete(record.id)
    assert subject.repository.find_by_id(record.id) is None
    assert subject.repository.get_by_id(other.id) == other
    with pytest.raises(RecordNotFound):
        subject.repository.delete(record.id)
    with pytest.raises(RecordNotFound):
        subject.repository.delete(uuid4(), expected_version=1)


def test_a_stale_delete_is_told(subject: Subject) -> None:
    record = subject.record()
    current = subject.repository.update(record.id, metadata={"n": 1})
    with pytest.raises(StaleRecord) as caught:
        subject.repository.delete(record.id, expected_version=1)
    assert caught.value.current == (current,)
    subject.repository.delete(str(record.id), expected_version=2)
    assert subject.repository.find_by_id(record.id) is None


def test_many_go_and_are_counted(subject: Subject) -> None:
    records = subject.records(5)
    ids = [record.id for record in records]
    assert subject.repository.delete_many([]) == 0
    assert subject.repository.delete_many([ids[3], uuid4(), ids[0], ids[0], str(ids[1])]) == 3
    assert subject.repository.get_many(ids) == [records[2], records[4]]
    with pytest.raises(InvalidValue):
        subject.repository.delete_many([ids[2], "no"])
    assert subject.repository.get_many(ids) == [records[2], records[4]]


def test_outside_a_unit(committed: Subject) -> None:
    first, second = committed.records(2)
    committed.repository.delete(first.id)
    assert committed.repository.delete_many([first.id, second.id]) == 1


def test_each_reference_cascades_or_restricts_as_it_says(subject: Subject, uow: UnitOfWork) -> None:
    """A row whose parent is deleted goes with it, or keeps it; each reference of the entity in turn."""
    for reference in subject.table.foreign_keys:
        field = reference.columns[-1]
        names = {getattr(uow, name).table.name: name for name in type(uow).entities()}
        above = Subject(names[reference.table], uow)
        parent = above.record()
        child = subject.factory.create(uow, **{field: parent.id})
        if reference.on_delete == "RESTRICT":
            with pytest.raises(StillReferenced) as caught, uow.savepoint():
                above.repository.delete(parent.id)
            assert caught.value.constraint == f"{subject.table.name}_{field}_fkey"
            with pytest.raises(StillReferenced), uow.savepoint():
                above.repository.delete_many([parent.id])
            assert subject.repository.get_by_id(child.id) == child
        else:
            above.repository.delete(parent.id)
            assert subject.repository.find_by_id(child.id) is None


def test_a_project_takes_all_below_it_away(uow: UnitOfWork) -> None:
    """Also where a video keeps its translation from being deleted by itself."""
    kept, gone = ProjectFactory.create_batch(2, uow)
    for project in (kept, gone):
        source = TextSourceFactory.create(uow, project_id=project.id)
        summary = SummaryFactory.create(uow, text_source_id=source.id)
        for of in ({"text_source_id": source.id}, {"summary_id": summary.id, "project_id": project.id}):
            translation = TranslationFactory.create(uow, **of)
            VideoFactory.create(uow, translation_id=translation.id)
    with pytest.raises(StillReferenced), uow.savepoint():
        uow.text_sources.delete(uow.text_sources.list(project_id=gone.id)[0].id)
    uow.projects.delete(gone.id)
    for name in ("text_sources", "summaries", "translations", "videos"):
        repository: Any = getattr(uow, name)
        assert (repository.count(project_id=gone.id), repository.exists(project_id=kept.id)) == (0, True)
