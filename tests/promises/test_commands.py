"""The demonstration and `init_db.py` do what they say, from any folder, and leave no server running."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.in_process import run_here
from tests.support.pages import only_settings

ROOT = Path(__file__).resolve().parents[2]
DEMO = str(ROOT / "scripts" / "demo.py")
INIT_DB = str(ROOT / "scripts" / "init_db.py")
SETTINGS = re.compile(r"(DB_\w+|DATABASE_URL|TEST_DATABASE_URLS?|ENVIRONMENT)$")


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program in a folder, without the settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not SETTINGS.match(name)}
    return subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def server_runs_in(folder: Path) -> bool:
    """Whether a server has not been stopped: it takes this file away as its last act."""
    return any(folder.rglob("postmaster.pid"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder whose name has spaces and a quote."""
    made = tmp_path / "the user's own folder"
    made.mkdir()
    return made


def test_demo_shows_what_it_stored_and_how_to_get_there_again(folder: Path) -> None:
    done = run("-P", DEMO, "--path", "demo", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    for expected in (
        r"PostgreSQL 1\d\.\d+, healthy",
        r"text sources +[1-9]",
        r"translations +[1-9]",
        r"\*\*lighthouse\*\*",
        r"\d words and \d+ tokens; 2 s of film",
        r"3 into ja, 3 into th",
        r"'lighthuose' is in no text; near to it: ",
        r"00:00:00\.000 --> ",
        r"brief says it in \d+% of",
        r"1 video, 1 image, 1 map",
        r"files in the store: 6, damaged or missing: 0",
    ):
        assert re.search(expected, done.stdout), expected
    assert not server_runs_in(folder)
    *_, code = shlex.split(done.stdout.splitlines()[-1])
    again = run("-c", f"{code}\nprint(db.projects.count()); db.close()", cwd=Path("/"))
    assert (again.stdout, again.stderr) == ("1\n", "")


def test_demo_refuses_a_folder_that_is_not_its_own(folder: Path) -> None:
    (folder / "letter.txt").write_text("dear", encoding="utf-8")
    done = run("-P", DEMO, "--path", str(folder), cwd=folder)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert [path.name for path in folder.iterdir()] == ["letter.txt"]


def test_init_db_migrates_once_and_reports(folder: Path) -> None:
    first = run(INIT_DB, "--embedded", "data", "--json", cwd=folder)
    second = run(INIT_DB, "--embedded", "data", cwd=folder)
    assert (first.returncode, second.returncode) == (0, 0)
    report = json.loads(first.stdout)
    assert report["migrations"]["applied"]
    assert report["health"]["ok"] is True
    assert "nothing to do" in second.stdout
    assert not server_runs_in(folder)


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "error"),
    [
        (["--database-url", "mysql://u:hunter2@host/x"], {}, 2, "ConfigurationError"),
        (["--database-url", "postgresql://u:hunter2@127.0.0.1:1/x"], {}, 1, "DatabaseUnavailable"),
        ([], {"DB_NAME": "x", "DB_PORT": "hunter2"}, 2, "DB_PORT"),
        (
            [],
            {"DB_NAME": "x", "DB_HOST": "127.0.0.1", "DB_PORT": "1", "DB_PASSWORD": "hunter2"},
            1,
            "Unavailable",
        ),
        (["--embedded", "."], {}, 2, "ConfigurationError"),
    ],
)
def test_init_db_says_in_one_line_what_is_wrong(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    environment: dict[str, str],
    status: int,
    error: str,
) -> None:
    (folder / "letter.txt").write_text("dear", encoding="utf-8")
    only_settings(monkeypatch, folder, **environment)
    done = run_here(INIT_DB, *arguments, patch=monkeypatch, printed=capsys)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (status, "", 1)
    assert error in done.stderr
    assert "hunter2" not in done.stderr


def test_init_db_without_any_setting_is_told_in_one_line(folder: Path) -> None:
    done = run(INIT_DB, cwd=folder)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "ConfigurationError" in done.stderr


def test_init_db_gives_errors_as_json_too(folder: Path) -> None:
    done = run(INIT_DB, "--json", "--database-url", "mysql://host/x", cwd=folder)
    assert (done.returncode, done.stderr) == (2, "")
    assert json.loads(done.stdout)["error"].startswith("ConfigurationError")
