"""A backup as a user makes and uses it: with originals, by commands, while others write, on other servers."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from database_handler import Database
from database_handler.cli import main
from database_handler.content.store import uri_of
from database_handler.core.exceptions import InvalidValue, MissingExtra
from database_handler.operations.backup import BackupNotFound, BackupPlaceUnusable, OtherDatabase
from database_handler.testing.factories import ProjectFactory
from tests.faults.conftest import query
from tests.support.servers import FURTHER, running

TEXT = b"A text of which the original is kept."


@pytest.fixture
def restored(database: Database) -> Iterator[str]:
    """A name for a database to restore into; dropped afterwards."""
    name = f"{database.config.name}_copy"
    yield name
    for (each,) in query(
        database.config.with_(name="postgres"),
        "SELECT datname FROM pg_database WHERE datname LIKE %s",
        f"{database.config.name}\\_%",
    ):
        query(database.config.with_(name="postgres"), f'DROP DATABASE "{each}" WITH (FORCE)')


def test_rows_and_originals_of_one_moment_come_back(
    database: Database, restored: str, tmp_path: Path
) -> None:
    project = ProjectFactory.create(database)
    source = database.text_sources.create_from_file(project.id, TEXT, title="Kept")
    gone = database.text_sources.create_from_file(project.id, b"It will be missing.", title="Gone")
    assert source.storage_uri
    assert gone.storage_uri
    database.files.store.delete(gone.storage_uri)
    steps: list[tuple[str, int, int]] = []

    def told(*step: object) -> None:
        if not steps:  # the snapshot is taken: what comes now is not in it
            database.projects.create(name="Too late")
            assert database.files.sweep().removed == 0
        steps.append(step)  # type: ignore[arg-type]

    backups = database.backups(f"memory://{tmp_path.name}")
    made = backups.create(on_progress=told)
    manifest = made.manifest
    assert manifest.rows['"public"."projects"'] == 1
    assert (len(manifest.files), made.copied, len(manifest.missing)) == (1, 1, 1)
    assert manifest.heads["library"] == database.health().head
    assert [step[1:] for step in steps if step[0] == "copying originals"] == [(1, 2), (2, 2)]
    assert ("dumping tables", len(manifest.rows), len(manifest.rows)) in steps
    second = backups.create(format="directory", jobs=2)
    assert (second.copied, second.manifest.rows['"public"."projects"']) == (0, 2)
    assert [each.state for each in backups.list()] == ["complete", "complete"]

    database.files.store.delete(source.storage_uri)
    done = backups.restore(manifest.name, into=restored, jobs=2)
    assert (done.files, done.missing, done.head) == (1, manifest.missing, manifest.heads["library"])
    assert database.files.store.read(source.storage_uri) == TEXT
    with Database(database.config.with_(name=restored), files=database.files.store) as copy:
        assert copy.projects.list() == [project]
        assert copy.text_sources.get_by_id(source.id) == source
        copy.projects.create(name="It takes writes")
    with pytest.raises(OtherDatabase, match=f"is of the database {database.config.name}"):
        Database(database.config.with_(name=restored)).backups(f"memory://{tmp_path.name}").restore(
            manifest.name, replace=True
        )
    backups._place.originals.delete(uri_of(manifest.files[0].checksum))
    [problem] = backups.verify(second.manifest.name).differences
    assert (problem.what, problem.found) == ("file", "missing")


def test_every_step_is_a_command(
    database: Database,
    restored: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", database.config.url(hide_password=False))
    monkeypatch.setenv("FILE_STORE_URL", str(tmp_path / "files"))
    monkeypatch.chdir(tmp_path)
    place = "var/backups"
    ProjectFactory.create(database)

    def run(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        ended = main(arguments)
        told = capsys.readouterr()
        assert ended == code, told.out + told.err
        return told.out + told.err

    assert "there is no backup" in run("backup", "list", place)
    assert "no complete backup of" in run("backup", "verify", place, code=1)
    first = json.loads(run("backup", "create", place, "--json"))["manifest"]["name"]
    assert "originals  left out" in run("backup", "create", place, "--no-files")
    listed = run("backup", "list", place)
    assert (first in listed, listed.count("complete")) == (True, 2)
    question = run("backup", "prune", place, "--keep-daily", "1", code=4)
    assert "There is no terminal to ask on: say --yes" in question
    assert first in question
    assert first in run("backup", "prune", place, "--dry-run")
    assert f"removed {first}" in run("backup", "prune", place, "--yes")
    assert "kept 1; removed 0" in run("backup", "prune", place)
    assert "say where to" in run("restore", place, code=1)
    question = run("restore", place, "--replace", code=4)
    assert f"Replace the database {database.config.name} by the backup of" in question
    assert database.projects.count() == 1
    done = json.loads(run("restore", place, "--replace", "--drop-old", "--yes", "--migrate", "--json"))
    assert (done["kept_as"], done["database"]) == (None, database.config.name)
    assert database.projects.count() == 1


def test_wrong_arguments_are_refused_before_anything(database: Database, tmp_path: Path) -> None:
    backups = database.backups(tmp_path / "place")
    wrong: list[Callable[[], object]] = [
        lambda: backups.create(jobs=2),
        lambda: backups.create(jobs=0),
        lambda: backups.create(format="plain"),  # type: ignore[arg-type]  # it is wrong on purpose
        lambda: backups.create(timeout=-1),
        lambda: backups.prune(daily=-1),
        lambda: backups.restore(into="x", drop_old=True),
    ]
    for call in wrong:
        with pytest.raises(InvalidValue):
            call()
    with pytest.raises(BackupNotFound):
        backups.verify()
    with pytest.raises(MissingExtra, match=r"database-handler\[storage\]"):
        database.backups("s3://bucket/x")
    with pytest.raises(BackupPlaceUnusable, match="cannot be reached: fsspec knows no nosuch://"):
        database.backups("nosuch://place/x")
    assert not (tmp_path / "place").exists()


@pytest.mark.soak
@pytest.mark.parametrize("name", FURTHER)
def test_a_backup_of_an_older_server_is_restored_on_a_newer_one(
    name: str, database: Database, restored: str, tmp_path: Path
) -> None:
    with running(name, tmp_path / "pg") as server, Database(server.config, files=database.files.store) as old:
        old.migrate()
        ProjectFactory.create(old)
        backups = old.backups(tmp_path / "place")
        made = backups.create()
        assert (made.manifest.major, backups.verify().ok) == (17, True)
        there = backups.verify(server=database.config)
        assert (there.ok, there.schema_compared) == (True, False)
    ours = database.backups(tmp_path / "place")
    assert ours.restore(made.manifest.name, into=restored).rows == sum(made.manifest.rows.values())
