"""A seventh entity costs what CONTRIBUTING says: its steps, carried out in a copy of the package."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from database_handler.config.database import DatabaseConfig

ROOT = Path(__file__).resolve().parents[2]
STEP = re.compile(r"(?:`([\w/.]+\.py)`:|in the checkout:)\n\n```(\w+)\n(.*?)```", re.DOTALL)
TYPES = """
from database_handler import Database
def f(db: Database) -> None:
    reveal_type(db.notes.create)
"""
COPIED = (
    "database_handler",
    "tests/contract",
    "tests/support",
    "tests/integration/test_schema_equals_models.py",
)


def steps() -> list[tuple[str, str, str]]:
    """Each block of the section: the file that it is for, its language and its text."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = page.split("\n## Add an entity\n")[1].split("\n## ")[0]
    found = [(match[1] or "", match[2], match[3]) for match in STEP.finditer(section)]
    assert len(found) == section.count("```") // 2, "a block names no file"
    return found


def patched(text: str, diff: str) -> str:
    """Apply the parts of a diff; each must fit in one place, so that the page cannot drift from the code."""
    for part in re.split(r"^@@\n", diff, flags=re.MULTILINE):
        lines = part.splitlines()
        old = "".join(f"{line[1:]}\n" for line in lines if line[0] in " -")
        new = "".join(f"{line[1:]}\n" for line in lines if line[0] in " +")
        places = [match.start() for match in re.finditer(f"^{re.escape(old)}", text, re.MULTILINE)]
        assert len(places) == 1, f"{len(places)} places for {old!r}"
        text = text[: places[0]] + new + text[places[0] + len(old) :]
    return text


COMMAND = "from database_handler.cli import main; raise SystemExit(main())"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, database_server: DatabaseConfig) -> Path:
    """A copy of the package and its contract suite, with the steps of the page carried out."""
    folder = tmp_path_factory.mktemp("seventh") / "a copy"
    for name in COPIED:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            # With the bytecode, which would else be compiled by each process; of a file that a step changes,
            # time and size are others. What is being written at the moment bears a number behind ".pyc".
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.pyc.*"))
        else:
            shutil.copy(source, target)
    for name in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / name, folder / name)
    for name, language, text in steps():
        if not name:
            program, *arguments = shlex.split(text)
            assert (language, program) == ("bash", "database-handler")
            run(folder, "-c", COMMAND, *arguments, DATABASE_URL=database_server.url(hide_password=False))
        elif language == "diff":
            file = folder / name
            file.write_text(patched(file.read_text(encoding="utf-8"), text), encoding="utf-8")
        else:
            assert not (folder / name).exists()
            (folder / name).write_text(text, encoding="utf-8")
    return folder


def run(folder: Path, *arguments: str, **variables: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"} | variables
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.timeout(300)  # it runs the contract suite
def test_the_steps_make_an_entity_that_keeps_the_contract(
    copy: Path, database_server: DatabaseConfig
) -> None:
    where = run(copy, "-c", "import database_handler; print(database_handler.__file__)")
    assert Path(where.strip()).is_relative_to(copy)
    url = database_server.url(hide_password=False)
    told = run(
        copy, "-m", "pytest", "tests", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "-k",
        "notes or schema_is_what or entities_are or nothing or each_ or required",
        TEST_DATABASE_URL=url,
    )  # fmt: skip
    passed = re.search(r"(\d+) passed", told)
    assert passed, told
    assert int(passed[1]) > 130, told
    (copy / "types_of_notes.py").write_text(TYPES, encoding="utf-8")
    checked = run(copy, "-m", "mypy", "--config-file=", "--follow-imports=silent", "types_of_notes.py")
    assert "author: str | None" in checked
    assert "note.Note]" in checked


def test_linters_are_content_with_the_steps(copy: Path) -> None:
    files = [name for name, _, _ in steps() if name]
    run(copy, "-m", "ruff", "check", "--no-cache", *files)
    run(copy, "-m", "ruff", "format", "--no-cache", "--check", *files)
