"""A user's type checker knows what each call gives, and refuses what a call does not take."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = Path(__file__).with_name("typing") / "revealed.py.txt"  # no module: it is wrong on purpose
LINES = list(enumerate(SAMPLE.read_text(encoding="utf-8").splitlines(), 1))
REVEALED = {number: line.split("# ")[1] for number, line in LINES if "reveal_type(" in line and "# " in line}
Told = tuple[dict[int, str], dict[int, str]]


def refused_by(checker: str) -> set[int]:
    return {number for number, line in LINES if re.search(rf"# error(: {checker})?$", line)}


def short(kind: str) -> str:
    """A type without modules, quotes and the older spelling of unions."""
    bare = re.sub(r"\b(?:[a-z_]+\.)+(?=\w)", "", kind).replace("builtins.", "")
    return bare.removesuffix("?")


def mypy(sample: Path) -> Told:
    # Without this project's settings, as a user has it: pydantic's plugin would make the keywords lax.
    alone = ["--config-file=", "--strict", "--follow-imports=silent", "--cache-dir=.mypy_cache/alone"]
    run = [sys.executable, "-m", "mypy", *alone, "--no-error-summary", "--no-pretty", str(sample)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    revealed, errors = {}, {}
    for line in done.stdout.splitlines():
        found = re.match(r".*?:(\d+): (note|error): (.*)", line)
        if not found:
            continue
        number, message = int(found[1]), found[3]
        if kind := re.fullmatch(r'Revealed type is "(.*)"', message):
            revealed[number] = short(kind[1])
        elif found[2] == "error":
            errors[number] = message
    return revealed, errors


def pyright(sample: Path) -> Told:
    run = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", str(sample)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False, timeout=100)
    revealed, errors = {}, {}
    for item in json.loads(done.stdout)["generalDiagnostics"]:
        number, message = item["range"]["start"]["line"] + 1, item["message"]
        if kind := re.fullmatch(r'Type of ".*" is "(.*)"', message, re.DOTALL):
            revealed[number] = short(kind[1])
        elif item["severity"] == "error":
            errors[number] = message
    return revealed, errors


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_types_are_the_promised_ones(checker: Callable[[Path], Told], tmp_path: Path) -> None:
    sample = tmp_path / "revealed.py"
    sample.write_text(SAMPLE.read_text(encoding="utf-8"), encoding="utf-8")
    revealed, errors = checker(sample)
    assert revealed == REVEALED
    assert set(errors) == refused_by(checker.__name__), errors
