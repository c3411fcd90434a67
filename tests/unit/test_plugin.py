"""The pytest plugin, as the tests of an application use it: registered by itself, and disposable."""

import pytest

from database_handler.config.database import DatabaseConfig

pytest_plugins = ["pytester"]

TESTS = """
from database_handler import Database, UnitOfWork
from database_handler.testing import ProjectFactory, SummaryFactory

seen = set()


def test_a_unit_is_empty_and_rolled_back(uow: UnitOfWork) -> None:
    assert uow.projects.count() == 0
    ProjectFactory.create_batch(3, uow)
    assert uow.projects.count() == 3


def test_another_one_sees_nothing_of_it(uow: UnitOfWork) -> None:
    assert uow.projects.count() == 0
    summary = SummaryFactory.create(uow)
    assert uow.text_sources.get_by_id(summary.text_source_id).project_id == summary.project_id


def test_a_failing_statement_spoils_no_other_test(uow: UnitOfWork) -> None:
    try:
        uow.session.all("SELECT 1 / 0")
    except Exception:
        pass


def test_a_database_of_its_own(database: Database) -> None:
    seen.add(database.config.name)
    assert database.migrate().changed is False
    with database.unit_of_work() as unit:
        unit.projects.create(name="x")
    assert database.projects.count() == 1


def test_another_database(database: Database) -> None:
    assert database.config.name not in seen
    assert database.projects.count() == 0
"""


@pytest.fixture
def databases(database_server: DatabaseConfig, monkeypatch: pytest.MonkeyPatch) -> DatabaseConfig:
    """Let the inner run use the server that is there: starting one is tested elsewhere."""
    monkeypatch.setenv("TEST_DATABASE_URL", database_server.url(hide_password=False))
    return database_server


def test_fixtures_work_and_leave_nothing(pytester: pytest.Pytester, databases: DatabaseConfig) -> None:
    from database_handler.core.connection import dedicated
    from database_handler.core.transaction import Autocommit

    text = "SELECT count(*) FROM pg_database WHERE datname LIKE 'test\\_%%' AND datname <> ALL(%s::text[])"
    session = Autocommit(lambda: dedicated(databases.with_(name="postgres"))).session
    before = [row[0] for row in session.all("SELECT datname::text FROM pg_database")]
    pytester.makepyfile(TESTS + "\n\ndef test_fails(database):\n    assert False\n")
    pytester.runpytest_subprocess("-q", "-W", "error").assert_outcomes(passed=5, failed=1)
    assert session.one(text, [before]) == (0,)


def test_an_application_brings_its_own_class_and_migrations(
    pytester: pytest.Pytester, databases: DatabaseConfig
) -> None:
    folder = pytester.mkdir("versions")
    (folder / "0001_own.sql").write_text("-- migrate: up\nCREATE TABLE own (a integer);\n", encoding="utf-8")
    pytester.makeconftest(
        """
        from pathlib import Path
        import pytest
        from database_handler import Database

        class Films(Database):
            versions = Path(__file__).parent / "versions"

        @pytest.fixture(scope="session")
        def database_class():
            return Films

        @pytest.fixture(scope="session")
        def prepare_database():
            def prepare(database):
                database.migrate()
                database.session.run("CREATE TABLE extra (a integer)")
            return prepare
        """
    )
    pytester.makepyfile(
        """
        def test_both(database, uow):
            assert type(database).__name__ == "Films"
            assert uow.session.all("SELECT extra.a, own.a FROM extra, own") == []
            assert database.health().application_head == "0001_own"
        """
    )
    pytester.runpytest_subprocess("-q").assert_outcomes(passed=1)


def test_a_run_without_it_starts_nothing(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    pytester.makepyfile("def test_plain():\n    pass\n")
    pytester.runpytest_subprocess("-q").assert_outcomes(passed=1)
