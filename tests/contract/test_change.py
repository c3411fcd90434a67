"""update, update_many and save: a stale write is told with the record as it is, nothing is half written."""

from operator import attrgetter
from typing import Any
from uuid import uuid4

import pytest

from database_handler import Change, Database, UnitOfWork
from database_handler.core.exceptions import InvalidValue, RecordNotFound, StaleRecord
from tests.contract.conftest import Background, Subject, stored, until_waiting


def drafted(subject: Subject, record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in subject.repository.draft.model_fields}


def test_update_changes_what_is_named_and_nothing_else(subject: Subject) -> None:
    record, other = subject.records(2)
    changes = subject.changes(record)
    changed = subject.repository.update(record.id, changes)
    derived = {name for _, name in subject.derived()}
    for name, value in drafted(subject, changed).items():
        if name not in derived:
            assert value == changes.get(name, getattr(record, name)), name
    assert (changed.version, changed.created_at) == (2, record.created_at)
    assert subject.repository.get_many([record.id, other.id]) == [changed, other]


def test_update_takes_keywords_and_an_expected_version(subject: Subject) -> None:
    record = subject.record()
    changed = subject.repository.update(record.id, expected_version=1, metadata={"n": 1})
    assert (changed.metadata, changed.version) == ({"n": 1}, 2)
    assert subject.repository.update(str(record.id), {"metadata": {}}, 2).version == 3


def test_updated_at_moves_between_transactions(committed: Subject) -> None:
    record = committed.record()
    changed = committed.repository.update(record.id, metadata={"n": 1})
    assert changed.updated_at > record.updated_at == record.created_at == changed.created_at


def test_a_stale_update_carries_the_record_as_it_is(subject: Subject) -> None:
    record = subject.record()
    current = subject.repository.update(record.id, metadata={"n": 1})
    for version in (1, 3):
        with pytest.raises(StaleRecord) as caught:
            subject.repository.update(record.id, {"metadata": {}}, expected_version=version)
        assert caught.value.current == (current,)
        assert caught.value.table == subject.table.name
    assert subject.repository.get_by_id(record.id) == current


def test_update_of_nothing_is_told(subject: Subject) -> None:
    with pytest.raises(RecordNotFound):
        subject.repository.update(uuid4(), metadata={})
    with pytest.raises(RecordNotFound):
        subject.repository.update(uuid4(), {"metadata": {}}, expected_version=1)


@pytest.mark.parametrize("changes", [{}, None, [], "name", 5])
def test_update_without_changes_is_refused(subject: Subject, changes: Any) -> None:
    record = subject.record()
    with pytest.raises(InvalidValue):
        subject.repository.update(record.id, changes)
    assert subject.repository.get_by_id(record.id) == record


def test_unknown_fields_are_named_with_the_nearest(subject: Subject) -> None:
    with pytest.raises(InvalidValue, match="did you mean 'metadata'"):
        subject.repository.update(uuid4(), {"metadat": {}})
    with pytest.raises(InvalidValue, match="did you mean 'metadata'"):
        subject.repository.update_many([Change(uuid4(), {"metadat": {}})])


@pytest.mark.parametrize("name", ["id", "created_at", "updated_at", "version", "project_id"])
def test_what_stays_cannot_be_changed(subject: Subject, name: str) -> None:
    record = subject.record()
    with pytest.raises(InvalidValue, match=name):
        subject.repository.update(record.id, {name: getattr(record, name, uuid4())})
    with pytest.raises(InvalidValue, match=name):
        subject.repository.update_many([Change(record.id, {name: getattr(record, name, uuid4())})])


def test_a_wrong_value_names_its_field(subject: Subject) -> None:
    record = subject.record()
    with pytest.raises(InvalidValue, match="metadata") as caught:
        subject.repository.update(record.id, metadata=["secret"])
    assert "secret" not in str(caught.value)
    assert subject.repository.get_by_id(record.id) == record


@pytest.mark.parametrize("version", [0, -1, 2**63, "1", 1.0, True])
def test_a_version_is_a_whole_number(subject: Subject, version: Any) -> None:
    with pytest.raises(InvalidValue, match="expected_version"):
        subject.repository.update(uuid4(), {"metadata": {}}, expected_version=version)
    with pytest.raises(InvalidValue, match="expected_version"):
        subject.repository.delete(uuid4(), expected_version=version)


def test_what_is_derived_follows(subject: Subject) -> None:
    for source, name in subject.derived():
        first, second = subject.records(2)
        value = getattr(subject.draft(), source)
        draft = subject.repository.draft(**drafted_without(subject, first) | {source: value})
        changed = subject.repository.update(first.id, {source: value})
        assert getattr(changed, name) == getattr(draft, name)
        other = getattr(subject.draft(), source)
        [many] = subject.repository.update_many([Change(second.id, {source: other})])
        draft = subject.repository.draft(**drafted_without(subject, second) | {source: other})
        assert getattr(many, name) == getattr(draft, name)


def drafted_without(subject: Subject, record: Any) -> dict[str, Any]:
    """The fields of a record without those that follow from others."""
    followers = {name for _, name in subject.derived()}
    return {name: value for name, value in drafted(subject, record).items() if name not in followers}


def test_what_is_derived_can_be_given(subject: Subject) -> None:
    for source, name in subject.derived():
        first, second = subject.records(2)
        value = getattr(second, name)
        if name in subject.table.key or (subject.name, name) == ("links", "host"):
            continue  # a link's host is its URL's, and nothing else
        changed = subject.repository.update(first.id, {source: getattr(subject.draft(), source), name: value})
        assert getattr(changed, name) == value


# ---------------------------------------------------------------------------------------------------- save


def test_save_writes_a_changed_record(subject: Subject) -> None:
    record = subject.record()
    saved = subject.repository.save(record.model_copy(update={"metadata": {"n": 1}}))
    assert (saved.metadata, saved.version) == ({"n": 1}, 2)
    assert subject.repository.get_by_id(record.id) == saved


def test_save_of_a_stale_record_is_told(subject: Subject) -> None:
    record = subject.record()
    current = subject.repository.update(record.id, metadata={"n": 1})
    with pytest.raises(StaleRecord) as caught:
        subject.repository.save(record.model_copy(update={"metadata": {"n": 2}}))
    assert caught.value.current == (current,)


def test_save_validates_again(subject: Subject) -> None:
    record = subject.record()
    with pytest.raises(InvalidValue, match="metadata"):
        subject.repository.save(record.model_copy(update={"metadata": ["no object"]}))
    with pytest.raises(InvalidValue):
        subject.repository.save(subject.draft())
    subject.repository.delete(record.id)
    with pytest.raises(RecordNotFound):
        subject.repository.save(record)


# ---------------------------------------------------------------------------------------------------- many


def test_many_change_each_its_own_fields(subject: Subject) -> None:
    records = subject.records(4)
    others = [subject.changes(record) for record in records[:3]]
    names = sorted(set.intersection(*map(set, others)))
    changes = [
        Change(records[2].id, {names[0]: others[2][names[0]]}),
        Change(records[0].id, {name: others[0][name] for name in names}, 1),
        Change(records[1].id, {names[-1]: others[1][names[-1]], "metadata": {"n": 1}}),
    ]
    expected = []
    for change in changes:
        record = next(record for record in records if record.id == change.id)
        expected.append(stored(record) | dict(change.changes) | {"version": 2})
    changed = subject.repository.update_many(iter(changes))
    derived = {name for _, name in subject.derived()}
    for record, values in zip(changed, expected, strict=True):
        assert {n: v for n, v in stored(record).items() if n not in derived} == {
            n: v for n, v in values.items() if n not in derived
        }
    assert subject.repository.get_many([change.id for change in changes]) == changed
    assert subject.repository.get_by_id(records[3].id) == records[3]


def test_many_set_null_apart_from_leaving_as_it_is(subject: Subject) -> None:
    nullable = [c.name for c in subject.table.columns if c.nullable and c.name not in subject.table.key]
    references = {key.columns[-1] for key in subject.table.foreign_keys}
    for name in set(nullable) - references - {derived for _, derived in subject.derived()}:
        value = next(v for _ in range(200) if (v := getattr(subject.factory.build(), name)) is not None)
        first, second, third = subject.records(3, **{name: value})
        changed = subject.repository.update_many(
            [
                Change(first.id, {name: None}),
                Change(second.id, {"metadata": {}}),
                Change(third.id, {name: value}),
            ]
        )
        assert [getattr(record, name) for record in changed] == [None, value, value]


@pytest.mark.parametrize("size", [1, 50])
def test_one_in_the_way_and_nothing_is_written(subject: Subject, size: int) -> None:
    records = subject.records(size + 2)
    stale = [subject.repository.update(record.id, metadata={"n": 1}) for record in records[-2:]]
    changes = [Change(record.id, {"metadata": {"n": 2}}, 1) for record in records]
    with pytest.raises(StaleRecord) as caught:
        subject.repository.update_many(changes)
    assert sorted(caught.value.current, key=attrgetter("id")) == stale
    assert f"[{size}, {size + 1}]" in str(caught.value)
    gone = uuid4()
    with pytest.raises(RecordNotFound, match=str(gone)) as missing:
        subject.repository.update_many([*changes, Change(gone, {"metadata": {}})])
    assert f"[{size + 2}]" in str(missing.value)
    assert f"[{size}, {size + 1}]" in str(missing.value)
    assert subject.repository.get_many([r.id for r in records]) == [*records[:-2], *stale]


def test_many_refuse_a_repeated_id_and_what_is_no_change(subject: Subject) -> None:
    record = subject.record()
    with pytest.raises(InvalidValue, match="positions 0 and 1 have the same id"):
        subject.repository.update_many([Change(record.id, {"metadata": {}})] * 2)
    wrong: Any = [Change(record.id, {"metadata": {}}), (record.id, {})]
    with pytest.raises(InvalidValue, match="position 1 is a tuple"):
        subject.repository.update_many(wrong)
    assert subject.repository.update_many([]) == []
    assert subject.repository.get_by_id(record.id) == record


# -------------------------------------------------------------------------------------------- side by side


def test_what_is_told_as_current_was_read_under_the_lock(
    committed: Subject, committed_database: Database
) -> None:
    """A writer waits for the row's lock; it is told what the other one left."""
    record = committed.record()
    with committed_database.unit_of_work() as unit:
        current = committed.on(unit).repository.update(record.id, metadata={"n": 1})
        calls = [
            lambda: committed.repository.update(record.id, {"metadata": {}}, expected_version=1),
            lambda: committed.repository.update_many([Change(record.id, {"metadata": {}}, 1)]),
            lambda: committed.repository.delete(record.id, expected_version=1),
        ]
        waiting = [Background(call) for call in calls]
        until_waiting(committed_database, len(waiting))
    for call in waiting:
        with pytest.raises(StaleRecord) as caught:
            call.result()
        assert caught.value.current == (current,)
    assert committed.repository.get_by_id(record.id) == current


def test_a_writer_without_a_version_goes_on_from_the_other(
    committed: Subject, committed_database: Database
) -> None:
    record = committed.record()
    changes = committed.changes(record)
    name = next(iter(changes.keys() - {"metadata"}))
    with committed_database.unit_of_work() as unit:
        committed.on(unit).repository.update(record.id, metadata={"n": 1})
        waiting = Background(lambda: committed.repository.update(record.id, {name: changes[name]}))
        until_waiting(committed_database, 1)
    changed = waiting.result()
    assert (changed.version, changed.metadata, getattr(changed, name)) == (3, {"n": 1}, changes[name])


def test_a_row_deleted_meanwhile_is_not_found(committed: Subject, committed_database: Database) -> None:
    record = committed.record()
    with committed_database.unit_of_work() as unit:
        committed.on(unit).repository.delete(record.id)
        calls = [
            lambda: committed.repository.update(record.id, {"metadata": {}}),
            lambda: committed.repository.update_many([Change(record.id, {"metadata": {}}, 1)]),
            lambda: committed.repository.delete(record.id),
        ]
        waiting = [Background(call) for call in calls]
        until_waiting(committed_database, len(waiting))
    for call in waiting:
        with pytest.raises(RecordNotFound):
            call.result()


def test_lost_updates_are_not_possible(committed: Subject) -> None:
    """Eight writers count in one field by the expected version; each of them ends up counted."""
    record = committed.record(metadata={"n": 0})

    def count_up() -> None:
        for _ in range(200):
            held = committed.repository.get_by_id(record.id)
            try:
                committed.repository.update(
                    record.id, {"metadata": {"n": held.metadata["n"] + 1}}, held.version
                )
            except StaleRecord:
                continue
            return
        raise AssertionError("it never got through")

    for worker in [Background(count_up) for _ in range(8)]:
        worker.result()
    final = committed.repository.get_by_id(record.id)
    assert (final.metadata, final.version) == ({"n": 8}, 9)


def test_changes_are_undone_with_their_savepoint(subject: Subject, uow: UnitOfWork) -> None:
    record = subject.record()
    with pytest.raises(InvalidValue), uow.savepoint():  # noqa: PT012  # the second fails, the first goes with it
        subject.repository.update(record.id, metadata={"n": 1})
        subject.repository.update(record.id)
    assert subject.repository.get_by_id(record.id) == record
