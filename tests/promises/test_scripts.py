"""The scripts prepare `.venv` by themselves, from any folder, and tell when what is there will not do.

Installing is done by a small `uv` of the tests' own, which makes a true virtual environment and notes what it
was asked: these tests are about when to install, and need no network.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.timeout(30)

SCRIPTS = ("scripts/test", "scripts/demo", "scripts/bootstrap.sh", ".ci/run")

UV = """#!/usr/bin/env bash
set -eu
printf '%s\\n' "$*" >>"$NOTES"
case $1 in
    venv) exec {python} -I -m venv --without-pip .venv ;;
    pip)
        [ -z "${{GATE:-}}" ] || read -r _ <"$GATE" || :
        exit "${{STATUS:-0}}" ;;
esac
"""
PREPARE = """
set -euo pipefail
source "$CHECKOUT/scripts/bootstrap.sh"
bootstrap dev
pwd
.venv/bin/python -c "print(1)"
"""


class Checkout:
    """A checkout with the real `bootstrap.sh`, in a folder whose name has spaces."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a checkout with spaces"
        (self.root / "scripts").mkdir(parents=True)
        shutil.copy(ROOT / "scripts" / "bootstrap.sh", self.root / "scripts")
        (self.root / "pyproject.toml").write_text('[project]\nname = "x"\n', encoding="utf-8")
        (self.root / "requirements.txt").write_text("", encoding="utf-8")
        self.tools = folder / "tools"
        self.tools.mkdir()
        self.notes = folder / "notes"
        self.write("uv", UV.format(python=shlex.quote(sys.executable)))

    def write(self, tool: str, text: str) -> None:
        (self.tools / tool).write_text(text, encoding="utf-8")
        (self.tools / tool).chmod(0o755)

    def start(self, path: str = os.environ["PATH"], **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", PREPARE],
            cwd="/",
            env={
                "PATH": f"{self.tools}:{path}",
                "CHECKOUT": str(self.root),
                "NOTES": str(self.notes),
                "PYTHON": sys.executable,
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def prepare(self, path: str = os.environ["PATH"], **environment: str) -> tuple[int, str, str]:
        """Give the exit status and what was printed."""
        with self.start(path, **environment) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    @property
    def asked(self) -> list[str]:
        """What the installer was asked since the last look: only the verbs, versions left out."""
        lines = self.notes.read_text(encoding="utf-8").splitlines() if self.notes.exists() else []
        self.notes.unlink(missing_ok=True)
        return [verb for line in lines if (verb := line.split()[0]) != "--version"]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A pipe that holds the installer until it is closed at the writing end."""
    os.mkfifo(tmp_path / "gate")
    return tmp_path / "gate"


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_is_sound_bash(name: str) -> None:
    subprocess.run(["bash", "-n", str(ROOT / name)], check=True)
    assert os.access(ROOT / name, os.X_OK) == (not name.endswith(".sh"))


def test_first_run_makes_the_environment_and_the_second_looks_only(checkout: Checkout) -> None:
    status, out, err = checkout.prepare()
    assert (status, out.split("\n")[:2]) == (0, [str(checkout.root), "1"]), err
    assert checkout.asked == ["venv", "pip"]
    assert checkout.prepare()[0] == 0
    assert checkout.asked == []


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.txt"])
def test_changed_requirements_are_installed_into_what_is_there(checkout: Checkout, name: str) -> None:
    checkout.prepare()
    (checkout.root / name).write_text("# changed\n", encoding="utf-8")
    assert checkout.prepare()[0] == 0
    assert checkout.asked == ["venv", "pip", "pip"]


def test_failed_install_says_so_and_the_next_run_starts_afresh(checkout: Checkout) -> None:
    status, _, err = checkout.prepare(STATUS="7")
    assert status != 0
    assert "Installing failed" in err
    assert checkout.prepare()[0] == 0
    assert checkout.asked == ["venv", "pip", "venv", "pip"]


def test_killed_install_is_noticed(checkout: Checkout, gate: Path) -> None:
    with checkout.start(GATE=str(gate)) as process, gate.open("w"):  # opens once the installer reads it
        process.kill()
    assert checkout.prepare()[0] == 0
    assert checkout.asked == ["venv", "pip", "venv", "pip"]


def test_two_first_runs_at_once_install_once(checkout: Checkout, gate: Path) -> None:
    with checkout.start(GATE=str(gate)) as one, gate.open("w") as opened, checkout.start() as two:
        assert two.stderr is not None
        assert "Another run prepares .venv" in two.stderr.readline()
        opened.close()
        assert (one.wait(60), two.wait(60)) == (0, 0)
    assert checkout.asked == ["venv", "pip"]


def test_moved_checkout_is_made_anew(checkout: Checkout) -> None:
    checkout.prepare()
    checkout.root = checkout.root.rename(checkout.root.with_name("moved away"))
    status, out, _ = checkout.prepare()
    assert (status, out.split("\n")[0]) == (0, str(checkout.root))
    assert checkout.asked == ["venv", "pip", "venv", "pip"]


def test_environment_whose_python_is_gone_is_made_anew(checkout: Checkout) -> None:
    checkout.prepare()
    for python in (checkout.root / ".venv" / "bin").glob("python*"):
        python.unlink()
        python.symlink_to("/nowhere/python")
    assert checkout.prepare()[0] == 0
    assert checkout.asked == ["venv", "pip", "venv", "pip"]


def test_home_may_be_missing_and_is_not_made(checkout: Checkout, tmp_path: Path) -> None:
    assert checkout.prepare(HOME=str(tmp_path / "missing"))[0] == 0
    assert not (tmp_path / "missing").exists()


def test_too_old_pythons_are_refused_with_what_to_do(checkout: Checkout) -> None:
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        checkout.write(name, "#!/bin/sh\nexit 3\n")
    status, _, err = checkout.prepare(PYTHON="python3")
    assert status != 0
    assert "Python 3.11 or later is needed" in err
    assert not (checkout.root / ".venv").exists()


def test_python_without_ensurepip_is_refused_with_what_to_do(checkout: Checkout) -> None:
    checkout.write("uv", "#!/bin/sh\nexit 1\n")  # a uv that does not work counts as none
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        checkout.write(name, "#!/bin/sh\nexit 4\n")
    status, _, err = checkout.prepare(PYTHON="python3")
    assert status != 0
    assert "apt-get install python3-venv" in err
