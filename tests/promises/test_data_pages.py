"""docs/data.md and docs/changes.md are true: their blocks run in their order, as a reader would run them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from database_handler import Database
from database_handler.cli import main
from tests.support.pages import Walk, blocks, only_settings

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture
def walk(
    database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Walk]:
    only_settings(monkeypatch, tmp_path, DATABASE_URL=database.config.url(hide_password=False))
    walked = Walk(monkeypatch, capsys)
    yield walked
    opened = walked.namespace.get("db")
    if isinstance(opened, Database):
        opened.close()


@pytest.mark.parametrize("page", ["data.md", "changes.md"])
def test_the_page_runs(walk: Walk, page: str) -> None:
    found = blocks(DOCS / page, "python", "console")
    assert {block.language for block in found} == {"python", "console"}
    for block in found:
        getattr(walk, block.language)(block.code)


def test_commands_on_rows_tell_people_and_programs(
    walk: Walk, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    project = database.projects.create(name="Launch film")
    database.links.add_many(project.id, [f"https://example.org/{n}" for n in range(3)])
    links = ["rows", "export", "links", "a.csv", "--project", "launch-film"]
    assert main([*links, "--filter", "version__lt=2", "--order-by", "-url", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 3
    assert Path("a.csv").read_text("utf-8").splitlines()[1].count("https://example.org/2")
    assert main([*links, "--filter", 'url__in=["https://example.org/1"]']) == 0
    assert "1 links written to a.csv" in capsys.readouterr().out
    assert main(["rows", "import", "links", "a.csv", "--existing", "update"]) == 0
    assert "unchanged" in capsys.readouterr().out
    Path("b.csv").write_text("url\nhttps://example.org/a\nhttps://example.org/1\n")
    assert main(["rows", "import", "links", "b.csv", "--project", "launch-film", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["line"] == 3
    assert told["error"].startswith("RowFileRefused: b.csv, line 3: ")
    assert database.links.count() == 3
    for wrong in (
        ["rows", "export", "nothing", "a.csv"],
        ["rows", "export", "links", "a.txt"],
        [*links, "--filter", "url"],
        [*links, "--filter", "nosuch=1"],
        ["rows", "import", "links", "none.csv"],
    ):
        assert main(wrong) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_commands_on_changes_tell_people_and_programs(
    walk: Walk, database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["changes", "read"]) == 1
    assert "DB_CHANGES" in capsys.readouterr().err
    monkeypatch.setenv("DB_CHANGES", "outbox")
    assert main(["changes", "status"]) == 1
    assert "database-handler changes prepare" in capsys.readouterr().err
    assert main(["changes", "prepare"]) == 0
    assert main(["changes", "read", "--reader", "index"]) == 0
    with Database(database.config.with_(changes="outbox")) as db:
        project = db.projects.create(name="Launch film")
    capsys.readouterr()
    assert (
        main(
            ["changes", "read", "--reader", "index", "--wait", "5", "--limit", "1", "--acknowledge", "--json"]
        )
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert [(each["operation"], each["id"]) for each in told["changes"]] == [("insert", str(project.id))]
    assert main(["changes", "status"]) == 0
    assert "index" in capsys.readouterr().out
    assert main(["changes", "prune", "--keep-days", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": 1}
    assert main(["changes", "forget", "index"]) == 0
    assert main(["changes", "forget", "index"]) == 1
