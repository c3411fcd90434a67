"""The scripts prepare `.venv` by themselves, from any folder, and tell when what is there will not do.

Installing is done by a small `uv` of the tests' own, which makes a true virtual environment and notes what it
was asked: these tests are about when to install, and need no network.
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
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


# A Python that makes an environment whose pip brings the tests' own uv; it is else the one of the tests.
PYTHON = """#!/usr/bin/env bash
case "$1 $2 $3" in
    "-I -m venv") mkdir -p "$4/bin" && cp "$TOOLS/pip" "$4/bin/python" ;;
    *) exec {python} "$@" ;;
esac
"""
PIP = """#!/usr/bin/env bash
printf '%s\\n' "brought ${@: -1}" >>"$NOTES"
cp "$TOOLS/uv-of-the-index" "$(dirname "$0")/uv"
"""
CHECKS = """#!/usr/bin/env bash
set -euo pipefail
source scripts/bootstrap.sh
bootstrap dev,benchmarks
command -v uv || echo "CI=$CI, no uv, $*"
exit 7
"""


@pytest.fixture
def build(checkout: Checkout, tmp_path: Path) -> Iterator[Callable[..., tuple[int, str]]]:
    """Runs `.ci/run` in the checkout, where uv is not on the `PATH`; gives its exit status and its output."""
    checkout.tools.joinpath("uv").rename(checkout.tools / "uv-of-the-index")
    (checkout.root / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", checkout.root / ".ci")
    checkout.write("pgbouncer", "#!/bin/sh\n")  # else it would be installed
    checkout.write("python", PYTHON.format(python=shlex.quote(sys.executable)))
    checkout.write("pip", PIP)
    (checkout.root / "scripts" / "test").write_text(CHECKS, encoding="utf-8")
    (checkout.root / "scripts" / "test").chmod(0o755)
    (tmp_path / "temporary").mkdir()

    def run(**environment: str) -> tuple[int, str]:
        settings = {
            "PATH": f"{checkout.tools}:/usr/bin:/bin",
            "TOOLS": str(checkout.tools),
            "NOTES": str(checkout.notes),
            "TMPDIR": str(tmp_path / "temporary"),
            "PYTHON": str(checkout.tools / "python"),
        }
        done = subprocess.run(
            [str(checkout.root / ".ci" / "run"), "one", "two"],
            env=settings | environment, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    yield run
    assert not any((tmp_path / "temporary").iterdir())


def test_the_build_server_brings_uv_for_the_environment_alone(
    checkout: Checkout, build: Callable[..., tuple[int, str]]
) -> None:
    status, said = build()
    assert (status, "CI=true, no uv, one two" in said.splitlines()) == (7, True)
    [brought, *asked] = checkout.asked
    assert (brought, asked) == ("brought", ["venv", "pip"])
    assert build()[0] == 7
    assert checkout.asked == []


def test_the_build_server_goes_on_without_uv(
    checkout: Checkout, build: Callable[..., tuple[int, str]]
) -> None:
    checkout.write("pip", "#!/bin/sh\nexit 1\n")
    checkout.write("uv", (checkout.tools / "uv-of-the-index").read_text(encoding="utf-8"))
    (checkout.tools / "uv").rename(checkout.root / "uv")
    hidden = CHECKS.replace("set -euo", 'PATH="$PATH:$PWD"; set -euo')  # it stands for pip
    (checkout.root / "scripts" / "test").write_text(hidden, encoding="utf-8")
    assert build()[0] == 7
    assert checkout.asked == ["venv", "pip"]
