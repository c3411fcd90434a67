"""docs/cache.md is true: its examples and commands run against a Valkey; its table names each setting."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from database_handler import CacheConfig, Database
from database_handler.cli import main
from database_handler.config.settings import CACHE_VARIABLES
from tests.support.pages import Walk, blocks, only_settings
from tests.support.valkey import Valkey

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cache.md"


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server


@pytest.fixture
def setting(
    database: Database, valkey: Valkey, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> pytest.MonkeyPatch:
    only_settings(
        monkeypatch,
        tmp_path,
        DATABASE_URL=database.config.url(hide_password=False),
        DB_CACHE_URL=valkey.url,
        DB_CACHE_TIMEOUT="5s",  # a busy machine is no slow cache
    )
    return monkeypatch


def test_the_page_runs(setting: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    walk = Walk(setting, capsys)
    for block in blocks(PAGE, "python"):
        walk.python(block.code)
    lines = [line for block in blocks(PAGE, "console") for line in block.code.splitlines()]
    ours = [line for line in lines if line.startswith("$ database-handler")]
    assert len(ours) == 4
    for line in ours:
        walk.command(line)
    database = walk.namespace["db"]
    assert isinstance(database, Database)
    database.close()


def test_every_setting_is_in_the_table_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(DB_CACHE_\w+)` \| `?([^`|]+?)`? \|", PAGE.read_text("utf-8"), re.M))
    assert rows.keys() == set(CACHE_VARIABLES.values())
    names = {variable: name.removeprefix("cache_") for name, variable in CACHE_VARIABLES.items()}
    shown = {names[each]: text for each, text in rows.items() if text != "none"}
    assert CacheConfig.model_validate(shown) == CacheConfig()


def test_commands_tell_people_and_programs(
    database: Database, setting: pytest.MonkeyPatch, valkey: Valkey, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = CacheConfig.model_validate({"url": valkey.url, "timeout": 5})
    with Database(database.config, cache=cache) as db:
        project = db.projects.create(name="Launch film")
        db.projects.get_by_id(project.id)
        db.projects.statistics(project.id)
    assert main(["cache", "stats", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["contents"] == {"entries": {"projects": 1, "statistics": 1}, "marked": 0, "complete": True}
    assert told["server"]["software"] == "Valkey"
    assert main(["cache", "stats"]) == 0
    assert re.search(r"projects +1\n", capsys.readouterr().out)
    assert main(["cache", "clear", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": 2}
    for command in (["migrations", "rollback", "--yes"], ["migrate"]):
        with Database(database.config, cache=cache) as db:
            assert db.cache is not None
            for _ in range(2):  # stored by the first at the latest
                db.projects.get_by_id(project.id)
            before = db.cache.stats()
            assert before.hits > 0
            assert main(command) == 0
            db.projects.get_by_id(project.id)
            after = db.cache.stats()
            assert (after.hits, after.misses) == (before.hits, before.misses + 1), command
    capsys.readouterr()
    assert main(["cache", "check"]) == 0
    assert "answers in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("url", "command", "told"),
    [
        ("", "check", "no cache is configured: set DB_CACHE_URL"),
        ("http://:s3cret@example.org", "check", "DB_CACHE_URL (from the environment): got text"),
        ("unix:///no/such.sock", "check", "the cache does not answer"),
        ("unix:///no/such.sock", "clear", "CacheUnavailable: the cache does not answer"),
        ("unix:///no/such.sock", "stats", "CacheUnavailable: the cache does not answer"),
    ],
)
def test_commands_say_what_is_wrong(
    setting: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str, command: str, told: str
) -> None:
    setting.setenv("DB_CACHE_URL", url)
    assert main(["cache", command]) == 1
    out, err = capsys.readouterr()
    assert told in out + err
    assert "s3cret" not in out + err
