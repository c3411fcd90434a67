"""Exit codes, error lines and layouts, by the values and errors they stand for; no database is needed."""

import io
import json
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel
from rich.console import Console

from database_handler.cli import migration_tables, version_tables
from database_handler.cli.commands import Found, Hit, Imported, Initialised, Probed, Sampled, to_roll_back
from database_handler.cli.endings import DecisionNeeded, Ending, ending, tell
from database_handler.cli.options import Chosen
from database_handler.cli.report_tables import show
from database_handler.cli.reports import Subtitled
from database_handler.content.folder import FileReport, Outcome
from database_handler.core.connection import PoolStats
from database_handler.core.exceptions import ConfigurationError, LockTimeout, RecordNotFound, SchemaMismatch
from database_handler.migrations import MigrationLockTimeout, MigrationReport, MigrationStatus
from database_handler.migrations.errors import MigrationFailed, MigrationGap
from database_handler.migrations.files.planning import State
from database_handler.migrations.generation.checking import Checked, Verified, VerifiedVersion
from database_handler.migrations.reports import MigrationItem, PlannedMigration
from database_handler.operations.health import Health, Reason, Unready

assert migration_tables.__all__ + version_tables.__all__  # loaded for the layouts that they bring

POOL = PoolStats(size=1, max_size=15, in_use=0, idle=1, connecting=0, waiting=0, opened=1, closed=0)
WELL = Health(server_version="18.6", head="0002_b", expected_head="0002_b", pool=POOL)
BEHIND = WELL.model_copy(
    update={"head": "0001_a", "reasons": (Reason(kind=Unready.BEHIND, message="the schema is at 0001_a"),)}
)
NEWER = WELL.model_copy(update={"head": "0003_c", "newer": True})
UNREACHABLE = Reason(kind=Unready.UNREACHABLE, message="DatabaseUnavailable: no answer")
DEAD = Health(reasons=(UNREACHABLE,), reachable=False, pool=POOL)
LATE = Reason(kind=Unready.REPLICA_LAG, message="the standby is 40.0 s behind")
STANDBY = WELL.model_copy(update={"replica": True, "replica_lag": 1.25})
FAR = STANDBY.model_copy(update={"reasons": (LATE,)})


def item(number: int, name: str, state: State, *, reversible: bool = True) -> MigrationItem:
    return MigrationItem(number=number, name=name, state=state, reversible=reversible)


def status(*states: State) -> MigrationStatus:
    items = tuple(item(number, f"{number:04}_v", state) for number, state in enumerate(states, 1))
    return MigrationStatus(items=items, head=None)


def initialised(health: Health) -> Initialised:
    return Initialised(database="films", created=True, migrations=MigrationReport(), health=health)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (WELL, Ending.DONE),
        (BEHIND, Ending.PENDING),
        (DEAD, Ending.ERROR),
        (NEWER, Ending.DONE),
        (FAR, Ending.ERROR),
        (Probed(asked="ready", passed=False, health=BEHIND), Ending.ERROR),
        (Probed(asked="live", passed=True, health=DEAD), Ending.DONE),
        (initialised(WELL), Ending.DONE),
        (initialised(DEAD), Ending.ERROR),
        (status("applied"), Ending.DONE),
        (status("applied", "pending"), Ending.PENDING),
        (status("partial"), Ending.PENDING),
        (status("changed", "pending"), Ending.ERROR),
        (status("missing"), Ending.ERROR),
        (MigrationReport(applied=("0001_a",)), Ending.DONE),
    ],
)
def test_a_value_has_its_exit_code(value: BaseModel, code: Ending) -> None:
    assert ending(value) is code


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigurationError("x is wrong"), 7, "ConfigurationError: x is wrong"),
        (RecordNotFound("no such"), 1, "RecordNotFound: no such"),
        (DecisionNeeded("say --yes"), 4, "DecisionNeeded: say --yes"),
        (MigrationLockTimeout("another run"), 6, "MigrationLockTimeout: another run"),
        (LockTimeout("in the way", sqlstate="55P03"), 6, "LockTimeout: in the way"),
        (SchemaMismatch("x"), 1, "SchemaMismatch: x; run `database-handler migrate` first"),
        (RecordNotFound("\x1b[2Jx"), 1, "RecordNotFound: \\x1b[2Jx"),
        (FileNotFoundError(2, "No such file", "a\nb"), 1, "FileNotFoundError: No such file: a\nb"),
        (KeyError("hunter2"), 1, "unexpected KeyError, a fault of database-handler"),
    ],
)
def test_an_error_is_told_safely(
    error: Exception, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tell(error, as_json=False, verbose=False, misuse=7) == code
    told = capsys.readouterr()
    assert told.err.startswith(line)
    assert (told.out, "hunter2" in told.err, "Traceback" in told.err) == ("", False, False)
    assert tell(error, as_json=True, verbose=False, misuse=7) == code
    assert json.loads(capsys.readouterr().out)["error"].startswith(line)


def test_an_error_is_told_where_standard_output_takes_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full").open("w", buffering=1) as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert tell(RecordNotFound("no such"), as_json=True, verbose=False, misuse=1) == 1
        monkeypatch.undo()
        with suppress(OSError):
            full.close()  # what it could not take is lost
    assert capsys.readouterr().err == "RecordNotFound: no such\n"


def test_verbose_shows_where_an_error_arose_and_not_what_it_quotes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        dict[str, int]()["hunter2"]
    except KeyError as error:
        tell(error, as_json=False, verbose=True, misuse=1)
    told = capsys.readouterr().err
    assert "test_cli_endings.py" in told
    assert "KeyError: " not in told


@pytest.mark.parametrize(
    ("steps", "target", "names"),
    [
        (1, None, ["0003_c"]),
        (2, None, ["0003_c", "0002_b"]),
        (1, "1", ["0003_c", "0002_b"]),
        (1, "0002", ["0003_c"]),
        (1, "0002_b", ["0003_c"]),
        (1, "0003_c", []),
        (1, "nothing", []),
        (1, "0", []),  # it will be refused: the first version is irreversible
        (9, None, []),
    ],
)
def test_what_a_rollback_would_undo_is_known_before(steps: int, target: str | None, names: list[str]) -> None:
    items = (
        item(1, "0001_a", "applied", reversible=False),
        item(2, "0002_b", "applied"),
        item(3, "0003_c", "partial"),
        item(4, "0004_d", "pending"),
    )
    assert list(to_roll_back(MigrationStatus(items=items, head="0003_c"), steps, target)) == names


def test_options_after_the_command_go_before_those_in_front_of_it() -> None:
    earlier = Chosen(database_url="postgresql://one/x", environment="test", as_json=True)
    assert Chosen(database_url="").over(earlier) == Chosen(database_url="", environment="test", as_json=True)
    assert Chosen(verbose=True).over(None) == Chosen(verbose=True)


def file(path: str, outcome: Outcome, **of: Any) -> FileReport:
    return FileReport(path, outcome, **of)


IMPORTED = Imported(
    project=None,
    counts={Outcome.STORED: 1, Outcome.REFUSED: 60},
    seconds=2.0,
    hidden=(".git",),
    files=(
        file("a.txt", Outcome.STORED),
        *(file(f"{n}.txt", Outcome.REFUSED, reason="empty", message="no bytes") for n in range(60)),
    ),
)
HIT = Hit(
    entity="text_sources",
    id=UUID("01890000-0000-7000-8000-000000000000"),
    project="film",
    title="T",
    filename="a\x1b[31m.txt",
    language="ar",
    rank=0.5,
    snippet="the **word** " * 20,
)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (WELL, ["healthy", "PostgreSQL 18.6", "at 0002_b", "0 of 15"]),
        (BEHIND, ["not well", "at 0001_a; expected is 0002_b"]),
        (DEAD, ["not well", "DatabaseUnavailable: no answer"]),
        (NEWER, ["healthy", "at 0003_c; expected is 0002_b, which is applied"]),
        (
            Probed(asked="ready", passed=False, health=FAR),
            ["not ready", "replica_lag: the standby is 40.0 s"],
        ),
        (Probed(asked="live", passed=True, health=DEAD), ["live", "unreachable: DatabaseUnavailable"]),
        (STANDBY, ["a standby 1.2 s behind"]),
        (initialised(WELL), ["films: created", "nothing to do; at nothing", "18.6, healthy"]),
        (MigrationReport(rolled_back=("0001_a",), seconds=0.5), ["rolled back 0001_a; at nothing (0.50 s)"]),
        (
            MigrationReport(planned=(PlannedMigration(name="0001_a", sql="SELECT '[bold]';\n"),)),
            ["-- 0001_a", "SELECT '[bold]';", "1 to run; nothing was run"],
        ),
        (
            status("applied", "pending", "changed"),
            ["0001_v", "1 pending", "not as they were applied: 0003_v"],
        ),
        (
            Sampled(project=HIT.id, outcomes={"text_sources": {"inserted": 4, "updated": 0, "unchanged": 1}}),
            ["text sources", "4"],
        ),
        (IMPORTED, ["stored", "together     61", "refused (empty) 49.txt: no bytes", "and 10 more", ".git"]),
        (Found(query="x", hits=(HIT,)), ["film: a\\x1b[31m.txt (ar, 0.50)", "**word**"]),
        (Found(query="x[/]y", hits=()), ["no text matches 'x[/]y'"]),
    ],
)
def test_every_value_has_a_layout(
    value: BaseModel, said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    show(Console(force_terminal=False, color_system=None, width=10_000, highlight=False), value)
    plain = capsys.readouterr().out
    assert [text for text in said if text not in plain] == []
    assert "\x1b" not in plain
    assert all(line == line.rstrip() for line in plain.splitlines())

    terminal = io.StringIO()
    show(
        Console(file=terminal, force_terminal=True, color_system="standard", width=80, highlight=False), value
    )
    assert "\x1b[31m.txt" not in terminal.getvalue()


def test_subtitles_go_into_a_file_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    text = "1\n00:00:00,000 --> 00:00:03,000\n\u200fשלום, [b]a\u2028b[/b] \n"
    value = Subtitled(translation=UUID(int=0), format="srt", text=text)
    show(Console(force_terminal=False, width=20), value)
    assert capsys.readouterr().out == text
    terminal = io.StringIO()
    show(Console(file=terminal, force_terminal=True, width=80), value)
    assert "\\u200f" in terminal.getvalue()


def test_times_are_shown_in_utc(capsys: pytest.CaptureFixture[str]) -> None:
    when = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
    applied = MigrationItem(
        number=1,
        name="0001_a",
        state="applied",
        reversible=True,
        applied_at=when,
        applied_by="me",
        duration=timedelta(milliseconds=120),
    )
    show(Console(force_terminal=False, width=200), MigrationStatus(items=(applied,), head="0001_a"))
    assert "2030-01-02 03:04  me  0.12 s" in capsys.readouterr().out


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_a_missing_extra_is_named(package: str) -> None:
    code = f"""
import sys
from database_handler.cli import main
assert "typer" not in sys.modules
sys.modules[{package!r}] = None  # makes an import of it fail
sys.exit(main(["health"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "MissingExtra: the command line needs: pip install 'database-handler[cli]'\n",
    )


def test_an_error_gives_its_facts_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    failed = MigrationFailed("it failed", "0002_b", Path("versions/0002_b.sql"), 3, 8)
    failed.sqlstate = "42601"
    failed.after(["0001_a"], [])
    failed.others = (MigrationGap("a gap", ["0004_d"]),)
    tell(failed, as_json=True, verbose=False, misuse=1)
    told = json.loads(capsys.readouterr().out)
    assert told.pop("error").startswith("MigrationFailed: it failed\nThis run has applied 0001_a before")
    assert told == {
        "path": "versions/0002_b.sql",
        "line": 3,
        "column": 8,
        "versions": ["0002_b"],
        "sqlstate": "42601",
        "applied": ["0001_a"],
        "others": [{"error": "MigrationGap: a gap", "versions": ["0004_d"]}],
    }


def shown_of(value: BaseModel, capsys: pytest.CaptureFixture[str]) -> str:
    show(Console(force_terminal=False, color_system=None, width=10_000, highlight=False), value)
    return capsys.readouterr().out


def test_what_cannot_run_is_not_told_as_if_it_could(capsys: pytest.CaptureFixture[str]) -> None:
    found = Checked(statements=("DROP VIEW v",), broken=("view v needs t.a, which goes",))
    told = shown_of(found, capsys)
    assert "the models have 1 change that no version makes:" in told
    assert "it cannot run as it stands: view v needs t.a" in told
    assert "generate" not in told


def test_problems_of_a_version_keep_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    version = VerifiedVersion(name="0001_a", reversible=False, problems=("a.sql:1:1: no\n    1 | SELEC\n",))
    assert "0001_a: a.sql:1:1: no\n    1 | SELEC\n" in shown_of(Verified(versions=(version,)), capsys)
