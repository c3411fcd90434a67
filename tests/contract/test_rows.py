"""The rows of every entity go out to each kind of file, and come back as they were."""

from pathlib import Path
from typing import Any

import pytest

from database_handler.content.rows import RowFileRefused
from database_handler.core.exceptions import DuplicateRecord
from tests.contract.conftest import Subject

BEGIN_ANEW = {"created_at", "updated_at", "version"}
FILES = ("rows.jsonl", "rows.csv.gz", "rows.parquet")


def kept(records: list[Any]) -> list[dict[str, Any]]:
    """All fields of the records but what begins anew."""
    return [{k: v for k, v in dict(each).items() if k not in BEGIN_ANEW} for each in records]


@pytest.mark.parametrize("file", FILES)
def test_rows_come_back_as_they_were(subject: Subject, file: str, tmp_path: Path) -> None:
    repository, path = subject.repository, tmp_path / file
    others = [each.id for each in repository.list()]
    records = subject.records(5)
    records[0] = repository.update(records[0].id, subject.changes(records[0]))
    ids = [each.id for each in records]
    told: list[int] = []
    done = repository.export_rows(path, id__in=ids, order_by="-id", batch=2, on_progress=told.append)
    assert (done.rows, told) == (5, [2, 4, 5])
    assert [each.name for each in tmp_path.iterdir()] == [file]

    with pytest.raises(RowFileRefused, match=rf"{file}, line \d+: ") as caught:
        repository.import_rows(path)
    assert isinstance(caught.value.__cause__, DuplicateRecord)
    assert repository.import_rows(path, existing="skip").skipped == 5
    assert repository.import_rows(path, existing="update").unchanged == 5
    assert repository.get_many(ids) == records  # nothing was written

    repository.delete_many(ids)
    done_again = repository.import_rows(path, batch=2)
    assert (done_again.rows, done_again.inserted) == (5, 5)
    found = repository.get_many(ids)
    assert kept(found) == kept(records)
    assert {each.version for each in found} == {1}

    other = repository.update(ids[1], subject.changes(records[1]))
    repository.delete(ids[2])
    mixed = repository.import_rows(path, existing="update")
    assert (mixed.inserted, mixed.updated, mixed.unchanged) == (1, 1, 3)
    assert kept(repository.get_many(ids)) == kept(records)
    assert repository.get_by_id(ids[1]).version == other.version + 1

    repository.delete_many(ids)
    assert repository.import_rows(path, ids="new").inserted == 5
    copies = [each for each in repository.list(order_by="-id") if each.id not in others]
    assert not {each.id for each in copies} & set(ids)
    without = [{k: v for k, v in row.items() if k != "id"} for row in kept(copies)]
    expected = [{k: v for k, v in row.items() if k != "id"} for row in kept(records)]
    assert sorted(without, key=repr) == sorted(expected, key=repr)
