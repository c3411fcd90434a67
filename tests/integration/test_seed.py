"""Importing a folder and loading the sample: every file is accounted for, and nothing is rewritten."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from database_handler import Database, NewProject
from database_handler.cli.seed import find_or_create_project, import_folder, load_sample
from database_handler.content.errors import UnreadableFile
from database_handler.content.folder import FileReport, FolderReport, Outcome
from database_handler.content.sample import FOLDER
from database_handler.content.store import FileStore
from database_handler.models import TextSource
from tests.support.in_process import run_here

SCRIPT = Path(__file__).parents[2] / "scripts" / "seed_data.py"
PROJECT = NewProject(name="Folder")


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the scripts keep originals where the test's own database does."""
    monkeypatch.setenv("FILE_STORE_URL", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def database(database: Database, store: Path) -> Iterator[Database]:
    """Yield the test's own database with a file store of its own."""
    with Database(database.config, files=FileStore(store)) as own:
        yield own


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with one file for each kind of end."""
    root = tmp_path / "folder"
    (root / "sub").mkdir(parents=True)
    shutil.copy(FOLDER / "script.docx", root / "script.docx")
    shutil.copy(FOLDER / "brief.pdf", root / "brief.pdf")
    shutil.copy(FOLDER / "film.mp4", root / "film.mp4")
    (root / "a.md").write_text("# The lamp\n\nIt turns, and it waits.\n")
    (root / "sub" / "licence.txt").write_text("Do what you like with this text.")
    (root / "sub" / "licence copy.txt").write_text("Do what you like with this text.")
    (root / "empty.txt").write_text("")
    (root / "cut.docx").write_bytes((FOLDER / "script.docx").read_bytes()[:900])
    (root / "link.txt").symlink_to(root / "a.md")
    (root / ".hidden").write_text("x")
    return root


def ends(report: FolderReport) -> dict[str, str]:
    return {file.path: file.reason or file.outcome.value for file in report.files}


def rows(db: Database) -> dict[str, TextSource]:
    return {str(row.filename): row for row in db.text_sources.list()}


def test_every_file_is_accounted_for_and_a_second_run_rewrites_none(database: Database, folder: Path) -> None:
    seen: list[tuple[FileReport, int, int]] = []
    first = import_folder(database, PROJECT, folder, on_progress=lambda *step: seen.append(step))
    assert ends(first) == {
        "a.md": "stored",
        "brief.pdf": "stored",
        "cut.docx": "damaged",
        "empty.txt": "empty",
        "film.mp4": "unsupported",
        "link.txt": "not_regular",
        "script.docx": "stored",
        "sub/licence copy.txt": "stored",
        "sub/licence.txt": "duplicate",
    }
    assert first.hidden == (".hidden",)
    assert [done for _, done, _ in seen] == list(range(1, 10))
    assert {total for _, _, total in seen} == {9}

    stored = rows(database)
    assert set(stored) == {"a.md", "brief.pdf", "script.docx", "sub/licence copy.txt"}
    script = stored["script.docx"]
    assert (script.filename, script.language, script.title) == (
        "script.docx",
        "en",
        "The Last Light at Harrow Point",
    )
    assert script.size_bytes == (FOLDER / "script.docx").stat().st_size
    assert database.text_sources.open(script.id).read() == (folder / "script.docx").read_bytes()
    kept = {file.checksum for file in database.resources.files.iterate()}
    assert kept == {row.checksum for row in stored.values()}, "no refused file, and each content once"
    (twin,) = first.of(Outcome.DUPLICATE)
    assert (twin.duplicate_of, twin.record_id) == ("sub/licence copy.txt", stored["sub/licence copy.txt"].id)

    second = import_folder(database, PROJECT, folder)
    assert ends(second) == {
        path: "unchanged" if end == "stored" else end for path, end in ends(first).items()
    }
    assert rows(database) == stored, "not even updated_at or the version moved"


def test_a_changed_file_is_changed_in_its_row_and_frees_its_old_content(
    database: Database, folder: Path
) -> None:
    import_folder(database, PROJECT, folder)
    before = rows(database)
    (folder / "sub" / "licence copy.txt").write_text("Do something else with this text.")
    report = import_folder(database, PROJECT, folder)
    assert ends(report)["sub/licence copy.txt"] == "changed"
    assert ends(report)["sub/licence.txt"] == "stored"
    after = rows(database)["sub/licence copy.txt"]
    assert (after.id, after.version) == (before["sub/licence copy.txt"].id, 2)
    assert (after.content, after.word_count) == ("Do something else with this text.", 6)
    assert after.char_count == len(after.content)


def test_a_chain_of_changes_goes_through(database: Database, folder: Path) -> None:
    for number in range(5):
        (folder / f"{number}.txt").write_text(f"text {number}")
    import_folder(database, PROJECT, folder)
    for number in range(5):
        (folder / f"{number}.txt").write_text(f"text {number + 1}")
    report = import_folder(database, PROJECT, folder)
    assert [ends(report)[f"{number}.txt"] for number in range(5)] == ["changed"] * 5
    assert rows(database)["0.txt"].content == "text 1"


def test_a_file_that_was_damaged_keeps_its_row_and_others_do_not_take_it(
    database: Database, folder: Path
) -> None:
    import_folder(database, PROJECT, folder)
    stored = rows(database)["script.docx"]
    shutil.move(folder / "script.docx", folder / "moved.docx")
    (folder / "script.docx").write_bytes(b"%PDF-1.4 cut")
    report = import_folder(database, PROJECT, folder)
    assert ends(report)["script.docx"] == "damaged"
    assert ends(report)["moved.docx"] == "duplicate"
    assert rows(database)["script.docx"] == stored


def test_a_folder_that_is_not_there_creates_no_project(database: Database, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile):
        import_folder(database, PROJECT, tmp_path / "missing")
    assert database.projects.count() == 0


def test_an_existing_project_is_taken_as_it_is(database: Database, folder: Path) -> None:
    mine = database.projects.create(name="Folder", description="mine")
    assert find_or_create_project(database, PROJECT) == mine
    assert import_folder(database, PROJECT, folder).project_id == mine.id


def test_two_imports_at_once_store_each_content_once(database: Database, folder: Path) -> None:
    for number in range(250):
        (folder / f"{number}.txt").write_text(f"text number {number}")
    database.projects.create(PROJECT)
    command = [sys.executable, str(SCRIPT), "--from", str(folder), "--project", "Folder", "--json"]
    command += ["--database-url", database.config.url(hide_password=False)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(2)]
    results = [json.loads(run.communicate(timeout=90)[0]) for run in runs]
    assert [run.returncode for run in runs] == [0, 0]
    assert [len(result["files"]) for result in results] == [259, 259]
    assert sum(result["counts"]["stored"] for result in results) == 254 == database.text_sources.count()


KILLED = """
import os, signal, sys
from database_handler import Database, NewProject
from database_handler.cli.seed import import_folder
stored = []
def step(report, done, total):
    stored.append(report) if report.outcome == "stored" else None
    if len(stored) == 150:
        os.kill(os.getpid(), signal.SIGKILL)
with Database(sys.argv[1]) as database:
    import_folder(database, NewProject(name="Folder"), sys.argv[2], on_progress=step)
"""


def test_a_killed_import_is_finished_by_the_next(database: Database, folder: Path) -> None:
    for number in range(400):
        (folder / f"{number:03}.txt").write_text(f"text number {number}")

    url = database.config.url(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, url, str(folder)], cwd=SCRIPT.parents[1], check=False, timeout=90
    )
    assert done.returncode == -signal.SIGKILL

    left = database.text_sources.count()
    assert left in {100, 200}, "whole batches"
    report = import_folder(database, PROJECT, folder)
    assert report.counts[Outcome.UNCHANGED] == left
    assert report.counts[Outcome.STORED] == 404 - left


def test_the_sample_is_stored_once_and_not_rewritten(database: Database) -> None:
    first = load_sample(database)
    assert {entity: counts["inserted"] for entity, counts in first.outcomes.items()} == {
        "projects": 1,
        "text_sources": 4,
        "summaries": 6,
        "translations": 12,
        "videos": 1,
        "links": 5,
    }
    second = load_sample(database)
    assert not any(counts["inserted"] or counts["updated"] for counts in second.outcomes.values())
    assert second.project == first.project
    hits = database.text_sources.search("lighthouse keeper", project_id=first.project.id)
    assert len(hits) >= 2


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)


def test_the_script_reports_for_people_and_for_programs(database: Database, folder: Path) -> None:
    where = ("--database-url", database.config.url(hide_password=False))
    done = run("--from", str(folder), "--project", "Folder", *where)
    assert done.returncode == 0, done.stderr
    assert "refused (empty) empty.txt" in done.stdout
    assert "\x1b" not in done.stdout
    told = json.loads(run("--from", str(folder), "--project", "Folder", *where, "--json").stdout)
    assert told["counts"] == {"stored": 0, "unchanged": 4, "changed": 0, "duplicate": 1, "refused": 4}
    assert {file["path"]: file.get("reason") for file in told["files"]}["cut.docx"] == "damaged"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--sample", "--from", "x"), 2, "not allowed with"),
        (("--from", "x"), 2, "go together"),
        (("--sample", "--database-url", "http://x"), 2, "postgresql"),
        (("--sample", "--database-url", "postgresql://nobody@127.0.0.1:1/x"), 1, "cannot be reached"),
    ],
)
def test_the_script_says_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    done = run_here(str(SCRIPT), *arguments, patch=monkeypatch, printed=capsys)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
