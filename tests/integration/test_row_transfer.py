"""Rows of a file in a database: all or none or batch by batch, by line, and in the memory of a batch."""

import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from database_handler import Database, Project
from database_handler.content import RowFileRefused
from database_handler.core.exceptions import DuplicateRecord, InvalidValue, MissingReference
from tests.support.wire import CountingProxy


@pytest.fixture
def project(database: Database) -> Project:
    return database.projects.create(name="one")


def links_file(path: Path, *urls: str) -> Path:
    path.write_text("url\n" + "".join(f"{url}\n" for url in urls))
    return path


def urls(number: int) -> list[str]:
    return [f"https://example.org/{each}" for each in range(number)]


def test_the_row_that_the_database_refuses_is_found(
    database: Database, project: Project, tmp_path: Path
) -> None:
    taken = database.links.create(project_id=project.id, url="https://example.org/777")
    path, values = links_file(tmp_path / "a.csv", *urls(1000)), {"project_id": project.id}
    with pytest.raises(RowFileRefused, match=r"a.csv, line 779: ") as caught:
        database.links.import_rows(path, values=values)
    assert isinstance(caught.value.__cause__, DuplicateRecord)
    assert (caught.value.line, caught.value.stored) == (779, 0)
    assert database.links.list() == [taken]  # nothing of it is stored
    with pytest.raises(RowFileRefused, match="line 2: ") as caught:
        database.links.import_rows(path, values={"project_id": uuid4()})
    assert isinstance(caught.value.__cause__, MissingReference)
    twice = links_file(tmp_path / "b.csv", *urls(5), "https://example.org/3")
    with pytest.raises(RowFileRefused, match=r"b\.csv, line 7: "):
        database.links.import_rows(twice, values=values)
    assert database.links.import_rows(twice, values=values, existing="update").unchanged == 1  # its own


def test_batches_stay_and_the_next_run_goes_on(database: Database, project: Project, tmp_path: Path) -> None:
    path, values = links_file(tmp_path / "a.csv", *urls(9), "no address"), {"project_id": project.id}
    told: list[int] = []
    with pytest.raises(
        RowFileRefused, match=r"line 11: .*; 8 rows are stored, go on with after_row=8"
    ) as caught:
        database.links.import_rows(path, values=values, batch=4, by_batch=True, on_progress=told.append)
    assert (caught.value.stored, told, database.links.count()) == (8, [4, 8], 8)
    links_file(path, *urls(10))
    done = database.links.import_rows(path, values=values, after_row=caught.value.stored, by_batch=True)
    assert (done.inserted, database.links.count()) == (2, 10)


def test_in_a_unit_it_is_the_units(database: Database, project: Project, tmp_path: Path) -> None:
    path = links_file(tmp_path / "a.csv", *urls(3), "no address")
    values = {"project_id": project.id}
    with database.unit_of_work() as uow:
        kept = uow.links.create(project_id=project.id, url="https://example.com/")
        with pytest.raises(RowFileRefused):
            uow.links.import_rows(path, values=values)
        links_file(path, *urls(3))
        assert uow.links.import_rows(path, values=values).inserted == 3
        uow.links.export_rows(tmp_path / "b.csv", host="example.com")
    assert database.links.count() == 4
    assert str(kept.id) in (tmp_path / "b.csv").read_text()
    other = database.projects.create(name="other")
    with (
        database.unit_of_work(project_id=other.id) as uow,
        pytest.raises(RowFileRefused, match="held to one project"),
    ):
        uow.links.import_rows(path, values=values)


def test_an_id_that_is_there_under_another_key_is_refused(
    database: Database, project: Project, tmp_path: Path
) -> None:
    link = database.links.create(project_id=project.id, url="https://example.org/")
    path = tmp_path / "a.csv"
    path.write_text(f"id,project_id,url\n{link.id},{project.id},https://example.com/\n")
    for existing in ("refuse", "update"):
        with pytest.raises(RowFileRefused, match="line 2") as caught:
            database.links.import_rows(path, existing=existing)  # they are
        assert isinstance(caught.value.__cause__, DuplicateRecord)
    assert database.links.import_rows(path, existing="skip").skipped == 1
    assert database.links.list() == [link]


def test_metadata_keeps_to_the_projects_schema(database: Database, project: Project, tmp_path: Path) -> None:
    schema = {"type": "object", "required": ["a"]}
    database.projects.update(project.id, metadata_schemas={"links": schema})
    path = tmp_path / "a.jsonl"
    path.write_text(
        f'{{"project_id": "{project.id}", "url": "https://example.org/1", "metadata": {{"a": 1}}}}\n'
        f'{{"project_id": "{project.id}", "url": "https://example.org/2"}}\n'
    )
    for existing in ("refuse", "skip", "update"):
        with pytest.raises(RowFileRefused, match=r"line 2: .*JSON Schema"):
            database.links.import_rows(path, existing=existing)  # they are
    assert database.links.count() == 0


def test_what_it_takes_is_checked_before_the_file_is_opened(database: Database, tmp_path: Path) -> None:
    path = tmp_path / "none.csv"
    tried: tuple[dict[str, Any], ...] = (
        {"ids": "old"}, {"existing": "overwrite"}, {"batch": 0}, {"batch": True}, {"after_row": -1},
        {"by_batch": 1}, {"values": [1]}, {"values": {"nosuch": 1}}, {"on_progress": 5},
        {"file_format": "xml"},
    )  # fmt: skip
    for wrong in tried:
        with pytest.raises(InvalidValue):
            database.links.import_rows(path, **wrong)  # that is what is tried
    with pytest.raises(InvalidValue):
        database.links.export_rows(path, on_progress=5)  # type: ignore[arg-type]  # likewise
    assert list(tmp_path.iterdir()) == []


def test_a_batch_costs_what_create_many_does(database: Database, project: Project, tmp_path: Path) -> None:
    path, values = links_file(tmp_path / "a.csv", *urls(150)), {"project_id": project.id}
    with (
        CountingProxy(database.config) as proxy,
        Database(proxy.config.with_(pool_size=1, max_overflow=0)) as counted,
    ):
        counted.links.count()
        with proxy.counting() as trips:
            counted.links.import_rows(path, values=values, batch=50)
        assert trips.count == 3 + 1
        with proxy.counting() as trips:
            counted.links.export_rows(tmp_path / "b.jsonl")
        assert trips.count == 1 + 1


GROWTH = """
import re, sys
from pathlib import Path
from database_handler import Database, Link
from database_handler.content import rows
call, url, path = sys.argv[1:]
def peak():
    # Not getrusage, whose peak a child takes over from its parent.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
with Database(url) as db:
    db.links.list(limit=1)
    if path.endswith("parquet"):
        import pandas, pyarrow.parquet  # pyarrow loads pandas where it is installed, whoever calls it
        small = path.replace("links", "link")  # and takes some 20 MB with its first file, however small
        if call == "export_rows":
            with rows.writing_rows(Link, small, None) as write:
                write(db.links.list(limit=1)[0])
        with rows.read_rows(Link, small, None) as found:
            assert len(list(found)) == 1
    before = peak()
    done = getattr(db.links, call)(path)
    assert done.rows == 1_000_000, done
    print(peak() - before)
"""


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("file_format", ["jsonl", "csv", "parquet"])
def test_a_million_rows_take_the_memory_of_a_batch(
    database: Database, project: Project, tmp_path: Path, file_format: str
) -> None:
    database.session.run(
        "INSERT INTO links (id, project_id, url, original_url, host, kind, metadata) "
        "SELECT gen_random_uuid(), %s, 'https://example.org/' || n, 'https://example.org/' || n, "
        "'example.org', 'website', '{}' "
        "FROM generate_series(1, 1000000) AS n",
        [project.id],
    )
    path = tmp_path / f"links.{file_format}"
    for call in ("export_rows", "import_rows"):
        if call == "import_rows":
            database.session.run("TRUNCATE links")
        command = [sys.executable, "-c", GROWTH, call, database.config.url(hide_password=False), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) < 30_000, f"{call} took {int(done.stdout) / 1000:.0f} MB"
