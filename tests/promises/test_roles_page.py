"""docs/roles.md and docs/advice.md are walked through: their commands and blocks run, in their order."""

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from database_handler import Database
from database_handler.operations.advice.findings import FindingKind
from database_handler.operations.roles import PARTS, RoleNames
from tests.faults.conftest import query
from tests.support.pages import Walk, blocks, names_of_tests, only_settings

ROOT = Path(__file__).resolve().parents[2]
ROLES, ADVICE = ROOT / "docs" / "roles.md", ROOT / "docs" / "advice.md"


@pytest.fixture
def prefix(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Names that no other test has, in place of the page's; roles belong to the whole server."""
    only_settings(monkeypatch, tmp_path, DATABASE_URL=database.config.url(hide_password=False))
    for part in ("app", "migrator"):
        (tmp_path / f"{part}.txt").write_text("a password\n")
    made = f"films_{uuid4().hex[:12]}"
    yield made
    names = list(RoleNames.with_prefix(made).all)
    for (role,) in query(database.config, "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", names):
        query(database.config, f'DROP OWNED BY "{role}" CASCADE')
    for (role,) in query(database.config, "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", names):
        query(database.config, f'DROP ROLE "{role}"')


@pytest.mark.parametrize("page", [ROLES, ADVICE], ids=lambda page: page.name)
def test_the_page_is_true(
    prefix: str, page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    walk = Walk(monkeypatch, capsys)
    for block in blocks(page, "console", "python"):
        getattr(walk, block.language)(re.sub(r"\bfilms\b", prefix, block.code))
    opened = walk.namespace["db"]
    assert isinstance(opened, Database)
    opened.close()


def test_the_pages_name_every_part_and_every_kind() -> None:
    named = re.findall(r"^\| `(\w+)` \| `(\w+)`", ROLES.read_text("utf-8"), re.M)
    assert named == list(zip(PARTS, RoleNames.with_prefix("films").all, strict=True))
    rows = re.findall(r"^\| ([a-z, ]+) \| ", ADVICE.read_text("utf-8"), re.M)
    kinds = {kind for row in rows for kind in row.split(", ")} - {"kind"}
    assert kinds == set(FindingKind.__args__)  # type: ignore[attr-defined]  # a Literal


def test_the_tests_that_are_named_are_there() -> None:
    for page in (ROLES, ADVICE):
        for file in re.findall(r"\]\(\.\./(tests/[\w/]+\.py)\)", page.read_text("utf-8")):
            assert names_of_tests(ROOT / file)
