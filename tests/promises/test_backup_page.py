"""docs/backup.md is walked through as a user would; what it says of faults and of systemd is looked at."""

import configparser
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from database_handler import Database
from tests.faults.conftest import query
from tests.support.pages import Walk, blocks, only_settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "backup.md"


@pytest.fixture
def films(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database that the settings name, with one project; those that are restored are dropped."""
    only_settings(monkeypatch, tmp_path, DATABASE_URL=database.config.url(hide_password=False))
    server = database.config.with_(name="postgres")
    yield database
    database.pool.close()
    like = "SELECT datname FROM pg_database WHERE datname LIKE %s OR datname LIKE 'films\\_%%'"
    for (name,) in query(server, like, f"{database.config.name}\\_before%"):
        query(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def test_the_page_is_true(
    films: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project = films.projects.create(name="Launch film")
    walk = Walk(monkeypatch, capsys)
    for block in blocks(PAGE, "console"):
        walk.console(block.code)
    assert films.projects.list() == [project]
    copies = "SELECT datname::text FROM pg_database WHERE datname LIKE 'films\\_%%' ORDER BY 1"
    assert query(films.config, copies) == [("films_restored",), ("films_yesterday",)]


def test_the_units_of_systemd_are_whole() -> None:
    files = {block.code.splitlines()[0]: block.code for block in blocks(PAGE, "ini")}
    units = {name: text for name, text in files.items() if "/systemd/" in name}
    assert len(units) == 2
    for name, text in units.items():
        read = configparser.ConfigParser(strict=False, interpolation=None)
        read.optionxform = str  # type: ignore[assignment,method-assign]  # systemd heeds the case
        read.read_string(text)
        assert read.sections()[0] == "Unit"
        assert name.endswith(".timer") == read.has_section("Timer")
    assert re.search(r"OnCalendar=\*-\*-\* \d\d:\d\d:\d\d UTC", "".join(units.values()))
