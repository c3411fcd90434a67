"""`db.top` says which calls the server spent its time on; where it does not count, what to do about it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg2 import sql

from database_handler import Database
from database_handler.cli import main
from database_handler.core.exceptions import ConfigurationError, InvalidValue
from database_handler.core.session import Statement
from database_handler.operations.statements_report import StatementStats, top
from tests.support.servers import running

CANARY = "canary-7391"


@pytest.fixture(scope="module")
def counted(shared_database: Database) -> Iterator[Database]:
    """Yield a `Database` on the shared one, which the embedded server counts statements of."""
    with Database(shared_database.config) as own:
        own.session.run("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        yield own
        own.session.run("DROP EXTENSION pg_stat_statements")


def named(found: tuple[StatementStats, ...], name: str) -> StatementStats:
    [each] = [each for each in found if each.name == name]
    return each


def test_each_statement_is_told_with_the_call_that_sent_it(counted: Database) -> None:
    counted.top(reset=True)
    project = counted.projects.create(name=CANARY)
    for _ in range(4):
        counted.projects.get_by_id(project.id)
    with counted.unit_of_work(statement_timeout=20) as unit:  # glued behind BEGIN and SET
        for _ in range(2):
            unit.projects.get_by_id(project.id)
            unit.projects.list(name=CANARY)
        unit.projects.update(project.id, description=CANARY)
        list(unit.projects.stream(name=CANARY))
    counted.session.all(f"SELECT /* reports.monthly */ '{CANARY}', 7391")
    counted.projects.delete(project.id)
    found = counted.top(limit=100)
    assert [each.total_seconds for each in found] == sorted((f.total_seconds for f in found), reverse=True)
    by_text, prepared = (each for each in found if each.name == "projects.get_by_id")
    if by_text.query and by_text.query.startswith("PREPARE"):
        by_text, prepared = prepared, by_text
    assert [(each.calls, each.rows) for each in (by_text, prepared)] == [(5, 5), (1, 1)]
    read = by_text
    assert read.query
    assert "FROM projects WHERE id = $1 LIMIT $2" in read.query
    assert 0 < read.mean_seconds <= read.max_seconds <= read.total_seconds
    assert named(found, "projects.list").calls == 2
    assert named(found, "projects.update").calls == 1
    assert named(found, "reports.monthly").calls == 1
    assert {"projects.create", "projects.stream", "projects.delete"} <= {each.name for each in found}
    assert not [each for each in found if CANARY in repr(each) or "7391" in repr(each)]
    most = counted.top(limit=3, order="calls")
    assert most[0].name == "projects.get_by_id"
    assert len(most) == 3
    assert not [each for each in counted.top(limit=100, reset=True) if each.query is None]
    assert "projects.get_by_id" not in {each.name for each in counted.top(limit=100)}


def test_an_older_server_keeps_the_name_and_one_that_does_not_count_is_told_what_to_do(
    tmp_path: Path,
) -> None:
    with running("PostgreSQL 17", tmp_path / "pg") as server, Database(server.config) as database:
        session = database.session
        with pytest.raises(ConfigurationError, match="CREATE EXTENSION pg_stat_statements") as refused:
            database.top()
        assert "shared_preload_libraries" in str(refused.value)
        session.script("CREATE EXTENSION pg_stat_statements; CREATE TABLE projects (id int)")
        counting = Statement("SELECT count(*) FROM projects", "projects.count")
        session.all(counting)
        with database.unit_of_work() as unit:
            unit.session.all(counting)
        assert named(database.top(limit=100), "projects.count").calls == 2
    with (tmp_path / "pg" / "data" / "postgresql.conf").open("a") as settings:
        settings.write("shared_preload_libraries = ''\n")
    with (
        running("PostgreSQL 17", tmp_path / "pg") as server,
        Database(server.config) as database,
        pytest.raises(ConfigurationError, match="installed but not loaded"),
    ):
        database.top()


def test_the_command_shows_and_resets(counted: Database, capsys: pytest.CaptureFixture[str]) -> None:
    url = counted.config.url(hide_password=False)
    counted.top(reset=True)  # other tests have sent more than one page of statements
    counted.projects.count()
    assert main(["top", "--database-url", url, "--limit", "100", "--order", "calls"]) == 0
    told = capsys.readouterr().out
    assert "projects.count" in told
    assert main(["top", "--database-url", url, "--json", "--reset"]) == 4
    assert main(["top", "--database-url", url, "--json", "--reset", "--yes", "--limit", "100"]) == 0
    value = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert value["database"] == counted.config.name
    assert "projects.count" in {each["name"] for each in value["statements"]}
    assert "projects.count" not in {each.name for each in counted.top(limit=100)}
    bare = counted.config.with_(name="postgres").url(hide_password=False)
    assert main(["top", "--database-url", bare]) == 1
    assert "CREATE EXTENSION" in capsys.readouterr().err


def test_another_roles_statements_are_counted_and_not_shown(counted: Database) -> None:
    role = f"narrow_{uuid4().hex}"
    admin = counted.session
    admin.run(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
    try:
        counted.projects.count()
        with counted.unit_of_work() as unit:
            unit.session.run(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role)))
            hidden = [each for each in top(unit.session, limit=1000) if each.query is None]
            assert hidden
            assert {each.name for each in hidden} == {None}
            with pytest.raises(ConfigurationError, match="pg_read_all_stats"):
                top(unit.session, reset=True)
            unit.rollback()
    finally:
        admin.run(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.mark.parametrize(
    "options",
    [{"limit": 0}, {"limit": True}, {"limit": "5"}, {"order": "name"}, {"order": None}, {"reset": 1}],
)
def test_what_cannot_be_asked_is_refused(shared_database: Database, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        shared_database.top(**options)
