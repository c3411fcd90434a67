"""The commands on a real server: what they do, print and end with, within the process and as a program."""

import importlib.metadata
import json
import logging
import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import typer
from psycopg2 import sql
from typer.testing import CliRunner

from database_handler import Database, NewTextSource
from database_handler.cli import main
from database_handler.cli.app import app
from database_handler.config.database import DatabaseConfig
from database_handler.config.settings import VARIABLES
from database_handler.content import sample
from database_handler.core.connection import dedicated
from database_handler.core.transaction import Autocommit
from database_handler.migrations.migration_manager import OWN_VERSIONS

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).parent / "database-handler"
VERSIONS = ["0001_initial", "0002_content", "0003_idempotency_keys", "0004_claims_by_project"]
HEAD = VERSIONS[-1]
LIMIT = 60  # seconds, for a program that hangs


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings but a test's own, and the log left as it was."""
    for name in (*VARIABLES, "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DB_SLOW_STATEMENT", "60")  # or a busy machine adds warnings to what is compared
    monkeypatch.chdir(tmp_path)
    log = logging.getLogger("database_handler")
    before = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.level, log.propagate = before


@pytest.fixture
def url(database: Database) -> str:
    """The URL of a migrated database of the test's own."""
    return database.config.url(hide_password=False)


@pytest.fixture
def missing(database_server: DatabaseConfig) -> Iterator[str]:
    """The URL of a database that is not there; dropped afterwards, should it be made."""
    config = database_server.with_(name=f"test_{uuid4().hex}")
    yield config.url(hide_password=False)
    session = Autocommit(lambda: dedicated(database_server.with_(name="postgres"))).session
    session.run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(config.name)))


class Told:
    """What a run of the command line ended with and printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def value(self) -> "dict[str, object]":
        """The JSON object that was printed."""
        read: dict[str, object] = json.loads(self.out)
        return read


Run = Callable[..., Told]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line within this process."""

    def call(*arguments: str) -> Told:
        capsys.readouterr()
        code = main(arguments)
        told = capsys.readouterr()
        return Told(code, told.out, told.err)

    return call


def program(*arguments: str) -> subprocess.Popen[str]:
    """The command as it is installed."""
    return subprocess.Popen(
        [str(PROGRAM), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# ---------------------------------------------------------------------------------------- what commands do


def test_a_database_from_nothing_to_nothing(run: Run, missing: str) -> None:
    where = ("--database-url", missing)
    made = run("init", *where)
    assert (made.code, made.err) == (0, "")
    assert re.search(
        rf"database +test_\w+: created\nmigrations +applied {', '.join(VERSIONS)}; at {HEAD}\n", made.out
    )
    assert "nothing to do" in run(*where, "init").out
    assert run("migrations", "status", *where).code == 0

    undone = run("--json", "migrations", "rollback", "--yes", *where)
    assert (undone.code, undone.value["rolled_back"], undone.value["head"]) == (0, [HEAD], VERSIONS[-2])
    undone = run("--json", "migrations", "rollback", "--target", "0", "--yes", *where)
    rest = VERSIONS[-2::-1]
    assert (undone.code, undone.value["rolled_back"], undone.value["head"]) == (0, rest, None)
    state = run("migrations", *where, "status", "--json")
    items = state.value["items"]
    assert (state.code, isinstance(items, list) and items[0]["state"]) == (2, "pending")
    shown = run("migrations", "status", *where)
    assert (shown.code, f"{len(VERSIONS)} pending" in shown.out) == (2, True)
    assert run("health", *where).code == 2

    dry = run("migrate", "--dry-run", *where)
    assert (dry.code, "CREATE TABLE projects" in dry.out, "nothing was run" in dry.out) == (0, True, True)
    assert run("migrations", "status", *where).code == 2
    done = run("migrate", HEAD, *where)
    assert (done.code, f"applied {', '.join(VERSIONS)}" in done.out) == (0, True)
    assert run("health", *where).code == 0


def test_documents_are_stored_and_found(run: Run, url: str, tmp_path: Path) -> None:
    texts = tmp_path / "my texts"
    texts.mkdir()
    (texts / "lamp.txt").write_text("The lighthouse keeper lights the lamp at dusk, and waits for the ships.")
    (texts / "empty.txt").write_text("")
    stored = run("seed", "--from", str(texts), "--project", "My film", "--database-url", url, "--json")
    assert stored.code == 0
    assert stored.value["counts"] == {
        "stored": 1,
        "unchanged": 0,
        "changed": 0,
        "duplicate": 0,
        "refused": 1,
    }
    again = run("seed", "--from", str(texts), "--project", "My film", "--database-url", url)
    assert re.search(r"unchanged +1\n", again.out)
    assert "refused (empty) empty.txt" in again.out

    found = run("search", "lamps", "--database-url", url)
    assert (found.code, found.out.splitlines()[0][:18]) == (0, "my-film: lamp.txt ")
    assert "**lamp**" in found.out
    told = run("--json", "search", "lamps", "--project", "my-film", "--language", "en", "--database-url", url)
    hits = told.value["hits"]
    assert isinstance(hits, list)
    assert [(hit["project"], hit["filename"]) for hit in hits] == [("my-film", "lamp.txt")]
    none = run("search", "zeppelin", "--database-url", url)
    assert (none.code, none.out) == (0, "no text matches 'zeppelin'\n")


def test_the_sample_is_stored_once(run: Run, url: str) -> None:
    first = run("seed", "--sample", "--database-url", url)
    assert (first.code, re.search(r"translations +12 +0 +0\n", first.out) is not None) == (0, True)
    second = run("seed", "--sample", "--json", "--database-url", url).value["outcomes"]
    assert isinstance(second, dict)
    assert not any(counts["inserted"] or counts["updated"] for counts in second.values())


def test_a_project_is_measured_copied_and_deleted(
    run: Run, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    assert run("seed", "--sample").code == 0
    [slug] = [p.slug for p in Database(url).projects.list()]
    told = run("stats", slug)
    assert re.search(r"translations +12 ", told.out)
    assert re.search(r"\n +ja +\d+ ", told.out)
    lacking = run("coverage", slug, "--language", "xx-nonsense")
    assert (lacking.code, "language" in lacking.err) == (1, True)
    lacking = run("coverage", slug, "--language", "sv")
    assert (lacking.code, "lacks sv" in lacking.out) == (2, True)
    out = run("export", slug, "film.jsonl.gz")
    assert (out.code, "29 rows" in out.out) == (0, True)
    assert "--overwrite" in run("export", slug, "film.jsonl.gz").err
    again = run("import", "film.jsonl.gz", "--slug", "copy", "--json")
    assert (again.code, again.value["slug"]) == (0, "copy")
    assert run("stats", "copy", "--json").value["statistics"]["rows"] == 28  # type: ignore[index]
    assert "DuplicateRecord" in run("import", "film.jsonl.gz", "--slug", "copy").err
    asked = run("delete", "copy")
    assert (asked.code, "29 rows" in asked.err) == (4, True)
    gone = run("delete", "copy", "--yes")
    assert (gone.code, "deleted, 29 rows" in gone.out) == (0, True)
    assert "no project has the slug" in run("stats", "copy").err


def test_links_are_added_and_told_apart_and_work_is_shown(run: Run, database: Database, url: str) -> None:
    project = database.projects.create(name="Film")
    where = ("--database-url", url)
    urls = ["https://example.org/A.mp4", "HTTPS://EXAMPLE.org:443/A.mp4", "javascript:alert(1)"]
    added = run("links", "add", "film", *urls, *where)
    assert added.code == 1
    assert "added: https://example.org/A.mp4 (video)" in added.out
    assert "given twice: HTTPS://EXAMPLE.org:443/A.mp4" in added.out
    assert "refused: javascript:alert(1): " in added.out
    assert "known: https://example.org/A.mp4" in run("links", "add", "film", urls[0], *where).out
    assert run("links", "list", "film", *where).out == "video\n  https://example.org/A.mp4\n"
    assert run("claims", "film", *where).out == "nobody works on film\n"
    database.videos.create(project_id=project.id, title="v", storage_uri="v.mp4")
    [claim] = database.videos.claim(worker="render-7", lease=3600)
    shown = run("claims", "film", *where).out
    assert re.search(rf"videos +{claim.record.id} +render-7 +\d{{4}}-.* at work\n", shown)


def test_misspelt_words_are_met_with_near_ones(run: Run, url: str) -> None:
    assert run("seed", "--sample", "--database-url", url).code == 0
    near = run("search", "lighthuose", "--database-url", url)
    assert (near.code, near.out.splitlines()[0]) == (
        0,
        "nothing matches 'lighthuose' as it is written; near to it:",
    )
    assert "**lighthouse**" in near.out
    where = ("--only", "text_sources", "--limit", "1", "--database-url", url)
    only = run("search", "lighthouse", *where, "--json")
    hits, cursor = only.value["hits"], str(only.value["next_cursor"])
    assert isinstance(hits, list)
    assert [hit["entity"] for hit in hits] == ["text_sources"]
    more = run("search", "lighthouse", *where, "--after", cursor)
    assert (more.code, "**lighthouse**" in more.out) == (0, True)


def test_an_embedded_database_is_made_by_init_and_not_by_looking(run: Run, tmp_path: Path) -> None:
    looked = run("health", "--embedded", "pg")
    assert (looked.code, "`database-handler init` makes one" in looked.err) == (1, True)
    assert not (tmp_path / "pg").exists()
    assert run("init", "--embedded", "pg").code == 0
    assert run("--embedded", "pg", "health", "--json").value["ok"] is True
    assert not any(tmp_path.rglob("postmaster.pid")), "the server was stopped"


def test_json_is_ascii_and_text_is_not_escaped(run: Run, database: Database, url: str) -> None:
    project = database.projects.create(name="Фильм", slug="film")
    database.text_sources.create(
        NewTextSource(project_id=project.id, title="Маяк", content="Маяк \x1b[2J на берегу", language="ru")
    )
    told = run("search", "маяк", "--json", "--database-url", url)
    assert told.out.isascii()
    shown = run("search", "маяк", "--database-url", url).out
    assert "**Маяк** \\x1b[2J на берегу" in shown
    assert "\x1b" not in shown


def test_what_is_found_in_versions_is_told_by_the_exit_code(
    run: Run, database: Database, url: str, missing: str, tmp_path: Path
) -> None:
    folder = tmp_path / "versions"
    folder.mkdir()
    where = ("--versions", "versions", "--database-url", missing)
    with Database(missing) as empty:
        empty.create_if_missing()
    (folder / "0001_t.sql").write_text("-- migrate: up\nCREATE TABLE t (id int, a int);\n")
    assert run("migrations", "lock", *where).out == "added 0001_t\n"
    assert run("migrations", "lint", *where).code == 0
    assert run("migrate", *where).code == 0
    assert run("migrations", "drift", *where).code == 0

    with Database(missing) as db:
        db.session.run("INSERT INTO t VALUES (1, NULL)")
        db.session.run("CREATE TABLE by_hand (id int)")
    drift = run("migrations", "drift", *where)
    assert (drift.code, "extra table by_hand" in drift.out, "DROP TABLE by_hand;" in drift.out) == (
        3,
        True,
        True,
    )
    told = run("migrations", "drift", "--json", *where)
    assert (told.code, told.value["source"]) == (3, "recorded")
    assert run("migrations", "compare", url, *where).code == 3
    assert run("migrations", "compare", missing, *where).code == 0

    (folder / "0002_rule.sql").write_text("-- migrate: up\nALTER TABLE t ALTER COLUMN a SET NOT NULL;\n")
    assert "LockFileMismatch" in run("migrations", "status", *where).err
    assert run("migrations", "lock", *where).out == "added 0002_rule\n"
    looked = run("migrations", "preflight", *where)
    assert (looked.code, "rows without a value: 1" in looked.out) == (4, True)
    lint = run("migrations", "lint", *where)
    assert (lint.code, "error set-not-null-scan" in lint.out) == (5, True)
    dry = run("migrate", "--dry-run", *where)
    assert (dry.code, "-- locks: t ACCESS EXCLUSIVE" in dry.out) == (0, True)
    (folder / "0001_t.sql").write_text("-- migrate: up\nCREATE TABLE t (id bigint, a int);\n")
    assert "ChangedMigration" in run("migrations", "lock", *where).err
    (folder / "0001_t.sql").write_text("-- migrate: up\nCREATE TABLE t (id int, a int);\n")
    refused = run("migrations", "baseline", "1", "--versions", "versions", "--database-url", url)
    assert (refused.code, "SchemaDiffers" in refused.err) == (3, True)


# --------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--database-url", "mysql://u:hunter2@h/x", "health"], 1, "ConfigurationError"),
        (["health", "--database-url", "postgresql://u:hunter2@h/x?sslmod=no"], 1, "sslmod"),
        (["health", "--database-url", ""], 1, "ConfigurationError"),
        (["health"], 1, "no database is named"),
        (["health", "--embedded", ""], 1, "empty"),
        (
            ["health", "--embedded", "x", "--database-url", "postgresql://u:hunter2@h/x"],
            1,
            "not allowed with",
        ),
        (["health", "--database-url", "postgresql:///x", "--log-level", "loud"], 1, "LOG_LEVEL"),
        (["health", "--database-url", "postgresql:///x", "--environment", "No Such"], 1, "ENVIRONMENT"),
        (["init", "--database-url", "postgresql://u:hunter2@127.0.0.1:1/x"], 1, "cannot be reached"),
        (["migrate", "--database-url", "postgresql://u:hunter2@127.0.0.1:1/x"], 1, "DatabaseUnavailable"),
        (["healht"], 1, "No such command"),
        (["health", "--embeded", "x"], 1, "database-handler health --help"),
        (["search"], 1, "UsageError"),
        (["search", "x", "--limit", "0"], 1, "--limit"),
        (["migrations", "rollback", "--steps", "two"], 1, "--steps"),
        (["migrations", "rollback", "--steps", "1", "--target", "0"], 1, "choose one"),
        (["migrations", "generate"], 1, "--message"),
        (["migrations", "baseline"], 1, "give the VERSION"),
        (["migrations", "baseline", "0001", "--write"], 1, "give the VERSION"),
        (["migrations", "drift", "--adopt"], 1, "go together"),
        (["migrations", "drift", "-m", "x"], 1, "go together"),
        (["migrate", "--jobs", "0"], 1, "--jobs"),
        (["health", "--live", "--ready", "--database-url", "postgresql:///x"], 1, "choose one"),
        (["config", "show", "--embedded", "x"], 1, "not allowed here"),
        (["migrate", "--each-schema", "x", "--or-newer"], 1, "not allowed with"),
        (["seed"], 1, "nothing to store"),
        (["seed", "--sample", "--from", "x", "--project", "y"], 1, "not allowed with"),
        (["seed", "--from", "x"], 1, "go together"),
        (["seed", "--project", "x"], 1, "go together"),
    ],
)
def test_wrong_use_is_one_line(run: Run, arguments: list[str], code: int, said: str) -> None:
    told = run(*arguments)
    assert (told.code, told.out, len(told.err.splitlines())) == (code, "", 1)
    assert said in told.err
    assert "hunter2" not in told.err
    as_json = run("--json", *arguments)
    assert (as_json.code, as_json.err, list(as_json.value)) == (code, "", ["error"])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["migrate", "0999"], 1, "UnusableTarget: there is no version '0999'"),
        (["migrations", "rollback", "--target", "nothing", "--yes"], 1, "UnusableTarget"),
        (["migrations", "rollback", "--steps", "9", "--yes"], 1, "UnusableTarget"),
        (["migrations", "rollback"], 4, f"DecisionNeeded: Roll back {HEAD}"),
        (["migrations", "generate", "-m", "x", "--drop", "nothing"], 1, "NAME=TEXT is wanted"),
        (["migrations", "generate", "-m", " "], 1, "message is what the version does"),
        (["migrations", "status", "--versions", "not here"], 1, "there is no such folder"),
        (["migrations", "baseline", HEAD], 1, "HistoryNotEmpty"),
        (["migrations", "compare", "mysql://h/x"], 1, "ConfigurationError"),
        (["migrations", "compare", "postgresql://u:hunter2@127.0.0.1:1/x"], 1, "cannot be reached"),
        (["migrations", "squash", "0099"], 1, "there is no version"),
        (["migrations", "lint", "not-here.sql"], 1, "MalformedMigration"),
        (["migrate", "--each-schema", "no_such_%"], 1, "no schema matches"),
        (["migrate", "--each-schema", "x", "--dry-run"], 1, "not allowed with"),
        (["seed", "--from", "not here", "--project", "x"], 1, "the folder is not there"),
        (["search", "x", "--project", "no-such"], 1, "no project has the slug 'no-such'"),
        (["search", "x", "--language", "not a language"], 1, "InvalidValue"),
        (["search", " "], 1, "InvalidValue"),
    ],
)
def test_wrong_wishes_change_nothing(run: Run, url: str, arguments: list[str], code: int, said: str) -> None:
    told = run(*arguments, "--database-url", url)
    assert (told.code, told.out, len(told.err.splitlines())) == (code, "", 1)
    assert said in told.err
    assert run("health", "--database-url", url).code == 0


def test_a_server_that_does_not_answer_is_a_value_for_health(run: Run) -> None:
    told = run("health", "--json", "--database-url", "postgresql://u:hunter2@127.0.0.1:1/x")
    assert (told.code, told.value["ok"], told.err) == (1, False, "")
    assert "cannot be reached" in str(told.value["error"])
    assert "hunter2" not in told.out


def test_a_probe_ends_with_0_or_1_and_a_server_that_is_down_is_no_reason_to_restart(
    run: Run, url: str
) -> None:
    away = "postgresql://u:hunter2@127.0.0.1:1/x"
    for where, live, ready in ((url, 0, 0), (away, 0, 1)):
        for option, code in (("--live", live), ("--ready", ready)):
            told = run("health", option, "--json", "--database-url", where)
            passed = told.value["passed"]
            assert (told.code, passed, told.value["asked"]) == (code, code == 0, option[2:])
    shown = run("health", "--ready", "--database-url", away)
    assert shown.out.startswith("not ready\nunreachable: DatabaseUnavailable: ")
    assert run("health", "--live", "--database-url", "mysql://h/x").code == 1, "wrong settings are one"
    with Database(url) as db:
        db.migrations.rollback()
    behind = run("health", "--ready", "--database-url", url)
    assert (behind.code, behind.out.splitlines()[0]) == (1, "not ready")
    assert run("health", "--live", "--database-url", url).code == 0


def test_a_user_who_is_refused_is_told_so_and_no_password_is_shown(run: Run, database: Database) -> None:
    name = f"role_{uuid4().hex}"
    database.session.run(sql.SQL("CREATE ROLE {} NOLOGIN PASSWORD 'right'").format(sql.Identifier(name)))
    try:
        config = database.config.with_(user=name, password="hunter2")
        told = run("migrate", "--verbose", "--database-url", config.url(hide_password=False))
    finally:
        database.session.run(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))
    assert (told.code, "AuthenticationFailed" in told.err) == (1, True)
    assert "hunter2" not in told.out + told.err


def test_a_database_that_was_not_migrated_says_what_to_do(run: Run, missing: str) -> None:
    config = DatabaseConfig.from_url(missing)
    with Database(config) as empty:
        empty.create_if_missing()
    told = run("search", "x", "--database-url", missing)
    assert (told.code, "run `database-handler migrate` first" in told.err) == (1, True)


def test_a_sweep_that_would_remove_nothing_asks_nothing(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FILE_STORE_URL", (tmp_path / "store").as_uri())
    told = run("files", "sweep", "--database-url", url)
    assert (told.code, "would remove 0 files" in told.out, told.err) == (0, True, "")


def test_videos_are_added_with_a_chosen_thumbnail_and_checked_with_progress(
    run: Run, database: Database, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    database.projects.create(name="Films")
    shutil.copy(sample.FOLDER / "film.mp4", tmp_path / "cut.mp4")
    monkeypatch.setenv("FILE_STORE_URL", (tmp_path / "store").as_uri())
    monkeypatch.setattr("database_handler.cli.console.PLAIN_EVERY", 0.0)
    options = ("--root", str(tmp_path), "--database-url", url)
    late = run("videos", "add", "films", "cut.mp4", "--at", "99", *options)
    assert (late.code, "the video ends at" in late.err) == (1, True)
    assert run("videos", "add", "films", "cut.mp4", "--at", "0.5", *options).code == 0
    told = run("videos", "check", "films", *options)
    assert (told.code, told.out, told.err) == (0, "1 of 1 videos are fine\n", "1 of 1 files\n")


def test_the_keys_of_metadata_are_shown_safely(run: Run, database: Database, url: str) -> None:
    project = database.projects.create(name="Films", metadata={"client": {"a.b": 1}, "\x1b[31m[b]": None})
    database.links.create(project_id=project.id, url="https://example.org/", metadata={"client": "x"})
    told = run("metadata", "films", "--database-url", url)
    assert [line.split() for line in told.out.splitlines()] == [
        ["key", "rows", "types", "in"],
        ["client", "2", "1", "string,", "1", "object", "links,", "projects"],
        ['"\\u001b[31m[b]"', "1", "1", "null", "projects"],
        ['client."a.b"', "1", "1", "number", "projects"],
    ]
    short = run("metadata", "films", "--limit", "1", "--database-url", url)
    assert (short.code, "... and more" in short.out) == (0, True)


def test_a_program_without_standard_error_works(url: str) -> None:
    command = f'exec "{PROGRAM}" health --database-url "{url}" 2>&-'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (done.returncode, "healthy" in done.stdout) == (0, True)


def test_verbose_adds_the_frames_of_an_error_and_the_statements(run: Run, url: str) -> None:
    told = run("search", "x", "--project", "no-such", "--database-url", url, "--verbose")
    assert "RecordNotFound" in told.err
    assert 'commands.py", line' in told.err
    assert "statement=projects.list" in told.err


def test_the_settings_are_read_and_the_log_is_in_their_format(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("LOG_FORMAT", "json")
    assert run("health").err == ""
    logged = run("health", "--log-level", "debug")
    assert {json.loads(line)["logger"] for line in logged.err.splitlines()} == {"database_handler.statement"}


# ------------------------------------------------------------------------------------- help, and its truth


def commands(group: object = None, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    """The help of every command, by its words."""
    node = typer.main.get_command(app) if group is None else group
    found: dict[tuple[str, ...], str] = {}
    for name, child in getattr(node, "commands", {}).items():
        if hasattr(child, "commands"):
            found |= commands(child, (*path, name))
        else:
            found[*path, name] = CliRunner().invoke(app, [*path, name, "--help"]).stdout
    return found


def examples(text: str) -> list[str]:
    return re.findall(r"^ *(database-handler .+)$", text.partition("Example")[2], re.MULTILINE)


WALKING = {
    "changes": "tests/promises/test_data_pages.py",
    "data": "tests/promises/test_data_pages.py",
    "replicas": "tests/faults/test_replicas.py",
    "scale": "tests/integration/test_distribution.py",
    "tutorial": "tests/promises/test_tutorial.py",
}


def is_walked(page: Path) -> bool:
    """Whether a page has a test of its own, which runs its commands from the first to the last."""
    if test := WALKING.get(page.stem):
        return page.name in (ROOT / test).read_text("utf-8")
    return (ROOT / "tests" / "promises" / f"test_{page.stem}_page.py").is_file()


def documented() -> list[str]:
    """The commands that the pages show, in the order in which they stand there.

    Those of an application run where there is one (test_applications), and those of the pages that are walked
    through as a whole in their own order.
    """
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    blocks = [
        block
        for page in pages
        if not is_walked(page)
        for block in re.findall(r"^```(?:bash|console)\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    ]
    lines = (line for block in blocks for line in re.findall(r"^(?:\$ )?(database-handler .+)$", block, re.M))
    return [line for line in lines if "--app" not in line]


def translate(url: str) -> None:
    """Translate the one text there is, for the examples that speak of a translation."""
    with Database(url) as db:
        text = db.text_sources.list(filename="a.txt")[0]
        db.translations.create(
            project_id=text.project_id,
            text_source_id=text.id,
            source_language="en",
            target_language="fr",
            content="Une lampe qui attend à l’aube.",
        )


def one_of(url: str, line: str) -> str:
    """The id of a record that an example speaks of."""
    with Database(url) as db:
        if "videos" in line:
            return str(db.videos.list(storage_uri="cut.mp4")[0].id)
        return str(db.translations.list(limit=1)[0].id)


# Commands that need more than an empty database, by their first word, and what runs them: a test, or the test
# of a page.
ELSEWHERE = {
    "advise": "tests/integration/test_advice.py",
    "backup": "docs/backup.md",
    "cache": "docs/cache.md",
    "changes": "docs/changes.md",
    "distribute": "docs/scale.md",
    "metrics": "docs/monitoring.md",
    "replicas": "docs/replicas.md",
    "restore": "docs/backup.md",
    "roles": "tests/integration/test_roles.py",
    "rows": "docs/data.md",
    "top": "docs/monitoring.md",
}
# What an example speaks of is not there: a translation; a column that may be dropped.
NOT_DONE = {"--language ja": 2, "--drop": 4}


def prepare_versions(line: str, url: str, folder: Path) -> None:
    """Make what an example on versions speaks of: a folder of versions, a schema, no history."""
    with Database(url) as db:
        if "--each-schema" in line:
            db.session.run("CREATE SCHEMA tenant_1")
        elif "baseline 0004" in line:
            shutil.copytree(OWN_VERSIONS, folder / "app" / "versions")
        elif "baseline --write" in line:
            db.session.run("DROP TABLE application_migrations")


def test_every_documented_command_runs(
    run: Run, missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", missing)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("A lamp that waits at dawn.")
    (tmp_path / "docs").mkdir()
    (tmp_path / "films").mkdir()
    shutil.copy(sample.FOLDER / "film.mp4", tmp_path / "films" / "cut.mp4")
    order = [
        "init",
        "config show",
        "config check",
        "migrate",
        "seed",
        "search",
        "health",
        "stats",
        "coverage",
        "export",
        "clone",
    ]
    order += [
        "videos add",
        "videos check",
        "videos sheet",
        "tokenize",
        "subtitles",
        "links add",
        "links list",
        "claims",
        "metadata",
        "check-metadata",
        "files check",
        "files sweep",
        "schema json",
        "schema diagram",
        "delete",
        "import",
    ]
    order += [f"migrations {name}" for name in ("status", "lock", "generate", "check", "verify", "drift")]
    order += [
        f"migrations {name}" for name in ("compare", "preflight", "lint", "baseline", "squash", "rollback")
    ]
    helps = commands()
    alone = {" ".join(words) for words in helps if words[0] not in ELSEWHERE}
    assert set(order) == alone, (
        "an example that does not run here belongs to ELSEWHERE, with the test that runs it"
    )
    launched = False
    lines = [line for words in order for line in examples(helps[tuple(words.split())])]
    for line in [*lines, "database-handler init", *documented()]:
        if "migrations" in line or "--each-schema" in line:
            prepare_versions(line, missing, tmp_path)
        if "rollback --target 0" in line:
            assert run("migrate").code == 0
        if "stats launch-film" in line and not launched:
            launched = run("seed", "--from", "texts", "--project", "Launch film").code == 0
            translate(missing)
        known = line.replace(" ID", f" {one_of(missing, line)}") if " ID" in line else line
        known = known.replace("postgresql://staging/films", shlex.quote(missing))
        words = [word.replace("~", str(tmp_path)) for word in shlex.split(known, comments=True)]
        if "--yes" in words:  # nobody is there to be asked: it is refused, and not waited for
            refused = run(*(word for word in words[1:] if word != "--yes"))
            assert refused.code in {0, 4}, (line, refused.err)
            assert refused.code == 0 or "say --yes" in refused.err, line
        told = run(*words[1:])
        expected = next((code for part, code in NOT_DONE.items() if part in line), 0)
        assert told.code == expected, (line, told.err)


def test_examples_that_run_elsewhere_do() -> None:
    for words in commands():
        if words[0] in ELSEWHERE:
            file = ROOT / ELSEWHERE[words[0]]
            called = ", ".join(f'"{word}"' for word in words)
            shown = f"database-handler {' '.join(words)}"
            assert is_walked(file) if file.suffix == ".md" else True, f"{file.name} has no test of its own"
            assert (shown if file.suffix == ".md" else called) in file.read_text("utf-8"), words


@pytest.mark.parametrize("arguments", [[], ["--help"], ["migrations"], ["migrations", "--help"]])
def test_a_group_shows_its_commands(run: Run, arguments: list[str]) -> None:
    told = run(*arguments)
    assert (told.code, told.err) == (0, "")
    assert "Commands:" in told.out


def test_the_version_is_the_installed_one(run: Run) -> None:
    assert run("--version").out == f"database-handler {importlib.metadata.version('database-handler')}\n"


# ----------------------------------------------------------------------------------------- as a program


def test_the_program_prints_plainly_into_a_pipe(url: str) -> None:
    started = program("migrations", "status", "--database-url", url)
    out, err = started.communicate(timeout=LIMIT)
    assert (started.returncode, err) == (0, "")
    lines = "".join(rf"{name} +applied .*\n" for name in VERSIONS)
    assert re.fullmatch(rf"version +state .*\n{lines}", out)


def test_a_closed_pipe_is_quiet(url: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    started = subprocess.Popen(
        [str(PROGRAM), "health", "--database-url", url],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writer)
    err = started.communicate(timeout=LIMIT)[1]
    assert (started.returncode, err) == (141, "")


WAITING = (
    "SELECT count(*) FROM pg_stat_activity "
    "WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()"
)


def test_an_interrupt_is_quiet_also_while_the_server_is_waited_for(database: Database, url: str) -> None:
    with database.unit_of_work() as uow, Database(url) as beside:
        uow.session.run("LOCK TABLE database_handler_migrations IN ACCESS EXCLUSIVE MODE")
        with program("migrate", "--database-url", url) as started:
            until = time.monotonic() + LIMIT
            while not beside.session.one(WAITING)[0] and time.monotonic() < until:
                select.select([], [], [], 0.02)
            started.send_signal(signal.SIGINT)
            out, err = started.communicate(timeout=LIMIT)
        uow.rollback()
    assert (started.returncode, out, err) == (130, "", "")


def on_terminal(*arguments: str, answer: str = "", **environment: str) -> tuple[int, str]:
    """Run the program on a terminal of 80 columns, answer its question, and give what the screen got."""
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover
        os.environ.update({"TERM": "xterm-256color", "COLUMNS": "80", **environment})
        os.execv(PROGRAM, [str(PROGRAM), *arguments])  # noqa: S606  # the program under test
    screen, until = b"", time.monotonic() + LIMIT
    while time.monotonic() < until:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            read = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
        screen += read
        if answer and screen.endswith(b"[y/N]: "):
            os.write(terminal, answer.encode())
            answer = ""
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), screen.decode()


def test_a_terminal_gets_colours_and_lines_that_fit(url: str) -> None:
    code, screen = on_terminal("migrations", "status", "--database-url", url)
    assert (code, "\x1b[32mapplied" in screen, "───" in screen, "━" in screen) == (0, True, True, False)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", screen)
    assert max(len(line) for line in plain.splitlines()) <= 80


def test_a_terminal_shows_a_bar_for_what_takes_more_than_a_second(database: Database, url: str) -> None:
    with database.unit_of_work() as uow:
        uow.session.run("LOCK TABLE database_handler_migrations IN ACCESS EXCLUSIVE MODE")
        pid, terminal = pty.fork()
        if pid == 0:  # pragma: no cover
            os.environ.update({"TERM": "xterm-256color", "COLUMNS": "80"})
            os.execv(PROGRAM, [str(PROGRAM), "migrate", "--database-url", url])  # noqa: S606  # as above
        screen, until = b"", time.monotonic() + LIMIT
        while "━".encode() not in screen and time.monotonic() < until:
            screen += os.read(terminal, 4096) if select.select([terminal], [], [], 1)[0] else b""
        uow.rollback()
    rest, until = b"", time.monotonic() + LIMIT
    while time.monotonic() < until:
        try:
            rest += os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (b"migrate" in screen, "━".encode() in screen) == (True, True)
    assert b"\x1b[?25h" in rest, "the cursor is shown again"
    assert b"nothing to do" in rest


def test_no_color_is_obeyed_on_a_terminal(url: str) -> None:
    code, screen = on_terminal("migrations", "status", "--database-url", url, NO_COLOR="1")
    assert (code, "applied" in screen, "\x1b" in screen) == (0, True, False)


@pytest.mark.parametrize(
    ("answer", "code", "head"), [("n\n", 4, HEAD), ("y\n", 0, VERSIONS[-2]), ("\x03", 130, HEAD)]
)
def test_a_terminal_is_asked_before_what_destroys(
    run: Run, url: str, answer: str, code: int, head: str | None
) -> None:
    ended, screen = on_terminal("migrations", "rollback", "--database-url", url, answer=answer)
    assert (ended, f"Roll back {HEAD}" in screen) == (code, True)
    assert "Traceback" not in screen
    assert run("health", "--json", "--database-url", url).value["head"] == head
