"""`scripts/test` tells the truth at its end: what passed, what was skipped, what was left running."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.run_checks import CHECKS, Outcome, closing, environment, workers

ROOT = Path(__file__).resolve().parents[2]

PASSES = "def test_one(): pass\n"
FAILS = "def test_two(): raise OSError\n"
SKIPS = "import pytest\ndef test_three(): pytest.skip('no reason')\n"
LEAVES = """
import subprocess, sys
DAEMON = "import signal; signal.pause()"
START = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', *sys.argv[1:]])"
def test_four():
    subprocess.run([sys.executable, "-c", START, DAEMON], check=True)  # ends at once: the daemon is an orphan
"""
# The plugins that are not needed take longer to import than the tests to run.
QUICK = [
    f"-pno:{name}" for name in ("randomly", "faker", "hypothesispytest", "database_handler", "cacheprovider")
]
RUN = """
import sys
from scripts import run_checks
run_checks.GRACE = 0.5
print(run_checks.run_pytest(sys.argv[1:]))
"""


def run_pytest(folder: Path, text: str, *arguments: str, ci: str = "") -> str:
    """Run one file of tests as `scripts/test` does; give the last line, which holds the verdict."""
    file = folder / "test_it.py"
    file.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(file), *arguments],
        cwd=ROOT,
        env={**os.environ, "CI": ci},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("text", "ci", "verdict"),
    [
        (PASSES, "true", "(True, '1 passed, 0 failed in "),
        (PASSES + FAILS, "", "(False, '1 passed, 1 failed in "),
        (PASSES + SKIPS, "", "(True, '1 passed, 0 failed, 1 skipped in "),
        (PASSES + SKIPS, "true", "(False, '1 passed, 0 failed, 1 skipped in "),
        ("syntax error", "", "(False, '0 passed, 1 failed in "),
    ],
)
def test_verdict(tmp_path: Path, text: str, ci: str, verdict: str) -> None:
    assert run_pytest(tmp_path, text, *QUICK, ci=ci).startswith(verdict)


def test_seed_is_said_and_taken(tmp_path: Path) -> None:
    assert "--randomly-seed=" in run_pytest(tmp_path, PASSES)
    assert "--randomly-seed=" not in run_pytest(tmp_path, PASSES, *QUICK)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its orphans")
def test_process_left_behind_is_named_and_ended(tmp_path: Path) -> None:
    verdict = run_pytest(tmp_path, LEAVES, *QUICK)
    assert verdict.startswith("(False, '1 passed, 0 failed")
    assert "left running: " in verdict
    number = int(verdict.partition("left running: ")[2].partition(":")[0])
    assert not Path(f"/proc/{number}").exists()


def test_closing_line_names_what_failed_first() -> None:
    outcomes = [Outcome(name, name != "mypy", "", 1.0) for name in CHECKS]
    assert closing(outcomes, "not run") == (
        "mypy: failed; pyright, collection, import-linter, ruff, ruff format: clean; pytest: not run"
    )


def test_all_tests_are_shared_out_and_chosen_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for processors, processes in ((1, "2"), (2, "3"), (64, "4"), (None, "2")):
        monkeypatch.setattr(os, "cpu_count", lambda processors=processors: processors)
        assert workers([]) == ["-n", processes, "--dist", "worksteal"]
    assert workers(["tests/unit"]) == []


def test_what_the_caller_says_to_node_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NODE_OPTIONS", raising=False)
    assert "semi-space" in environment()["NODE_OPTIONS"]
    monkeypatch.setenv("NODE_OPTIONS", "--max-old-space-size=1024")
    assert environment()["NODE_OPTIONS"] == "--max-old-space-size=1024"
