"""`Database`: how it is made, created, migrated, closed and shared, and what it says when that fails."""

# ruff: noqa: PT012  # what is to raise is the unit as a whole, or its block

import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Barrier
from time import monotonic
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
from psycopg2 import sql

from database_handler import Database, NewProject, Settings
from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import (
    AuthenticationFailed,
    ConfigurationError,
    DatabaseHandlerError,
    DatabaseUnavailable,
    InvalidValue,
    PoolClosed,
    SchemaMismatch,
)
from database_handler.embedded import EmbeddedServer
from tests.support.faults import eventually

SECRET = "s3cret-passw0rd"


@pytest.fixture
def fresh(database_server: DatabaseConfig) -> Iterator[DatabaseConfig]:
    """Yield the configuration of a database that is not there yet."""
    config = database_server.with_(name=f"fresh {uuid4().hex[:8]} \"'é")
    try:
        yield config
    finally:
        with Database(database_server.with_(name="postgres")) as other:
            other.session.run(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(config.name))
            )


def test_it_is_made_from_a_url_a_config_or_settings(database: Database) -> None:
    url = database.config.url(hide_password=False)
    for made in (
        Database(url),
        Database(database.config),
        Database.from_settings(Settings.load(env={"DATABASE_URL": url})),
    ):
        with made:
            assert made.projects.count() == 0


def test_environment_is_read_by_from_settings(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database.config.url(hide_password=False))
    monkeypatch.setenv("DB_STATEMENT_TIMEOUT", "11s")
    with Database.from_settings() as made:
        assert made.session.one("SHOW statement_timeout") == ("11s",)


def test_making_it_connects_to_nothing() -> None:
    with Database("postgresql://nobody@localhost:1/nowhere") as database:
        assert database.projects is not None
        assert database.pool.stats().opened == 0


@pytest.mark.parametrize(
    "wrong", [None, 5, b"postgresql://localhost/a", "", "mysql://localhost/a", "localhost"]
)
def test_wrong_argument_is_refused(wrong: Any) -> None:
    with pytest.raises((ConfigurationError, InvalidValue)):
        Database(wrong)


def test_representation_hides_the_password() -> None:
    database = Database(f"postgresql://user:{SECRET}@localhost/films")
    assert SECRET not in repr(database)
    assert "localhost" in repr(database)
    assert SECRET not in f"{database} {database.config!r} {vars(database)}"


# ------------------------------------------------------------------------------------------ create, migrate


def test_missing_database_is_created_once_by_any_number_of_racers(fresh: DatabaseConfig) -> None:
    meet = Barrier(3, timeout=20)

    def work(_: int) -> bool:
        with Database(fresh) as database:
            meet.wait()
            created = database.create_if_missing()
            database.migrate()
            assert database.health().ok
            return created

    with ThreadPoolExecutor(3) as pool:
        assert sorted(pool.map(work, range(3))) == [False, False, True]
    with Database(fresh) as database:
        assert database.create_if_missing() is False
        assert database.session.one("SELECT current_database(), current_setting('server_encoding')") == (
            fresh.name,
            "UTF8",
        )


def test_database_that_is_not_migrated_says_what_is_missing(fresh: DatabaseConfig) -> None:
    with Database(fresh) as database:
        database.create_if_missing()
        with pytest.raises(SchemaMismatch, match="projects"):
            database.projects.count()
        report = database.migrate()
        assert report.changed
        assert not database.migrate().changed
        assert database.projects.count() == 0


# -------------------------------------------------------------------------------------------------- failing


def shown(error: BaseException) -> str:
    return "\n".join([str(error), repr(error), *traceback.format_exception(error)])


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseConfig]:
    """Yield the configuration of a user whom a server of these tests' own asks for a password."""
    folder = tmp_path_factory.mktemp("login") / "pg"
    with EmbeddedServer.start(folder, durable=False) as server:
        config = server.config.with_(name="postgres", user="asked", password=SECRET)
        with Database(server.config) as owner:
            owner.session.run(sql.SQL("CREATE ROLE asked LOGIN PASSWORD {}").format(sql.Literal(SECRET)))
            [rules] = folder.rglob("pg_hba.conf")
            rules.write_text("local all asked scram-sha-256\n" + rules.read_text())
            owner.session.one("SELECT pg_reload_conf()")
        wrong = Database(config.with_(password="wrong"))
        eventually(lambda: wrong.health().error is not None)
        wrong.close()
        with Database(config) as right:
            assert right.session.one("SELECT current_user") == ("asked",)
        yield config


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"password": SECRET + "!"}, AuthenticationFailed),
        ({"name": "no_such_database"}, ConfigurationError),
        ({"host": "/nonexistent"}, DatabaseUnavailable),
        ({"host": "localhost", "port": 1}, DatabaseUnavailable),
    ],
)
def test_failure_to_connect_is_typed_quick_and_without_secrets(
    login: DatabaseConfig, changes: dict[str, Any], kind: type[DatabaseHandlerError]
) -> None:
    with Database(login.with_(connect_timeout=3, pool_timeout=5, **changes)) as database:
        for call in (
            database.projects.count,
            lambda: database.run(lambda unit: unit.projects.count(), retries=1),
            database.migrate,
        ):
            started = monotonic()
            with pytest.raises(DatabaseHandlerError) as caught:
                call()
            error: BaseException = caught.value.__cause__ or caught.value
            assert isinstance(error, kind)
            assert monotonic() - started < 8
            assert SECRET not in shown(caught.value)
        assert database.pool.stats().in_use == 0


# -------------------------------------------------------------------------------------------------- closing


def test_closed_database_takes_nothing_more(database: Database) -> None:
    with Database(database.config) as closed:
        closed.projects.count()
    calls: list[Callable[[], object]] = [
        closed.projects.count,
        lambda: closed.run(lambda unit: unit.projects.count()),
    ]
    for call in calls:
        with pytest.raises(PoolClosed):
            call()
    closed.close()
    assert closed.health().ok is False


def test_block_that_fails_closes_too(database: Database) -> None:
    with pytest.raises(KeyError), Database(database.config) as closed:
        closed.projects.count()
        raise KeyError
    assert closed.pool.stats().size == 0


def test_closing_with_a_unit_open_in_this_thread_ends_in_time(database: Database) -> None:
    other = Database(database.config)
    with pytest.raises(DatabaseHandlerError), other.unit_of_work() as unit:
        unit.projects.create(name="a")
        other.pool.close(0.1)
        unit.projects.create(name="b")
    other.close()
    assert database.projects.count() == 0


def test_no_session_is_left_after_closing(database: Database) -> None:
    name = uuid4().hex
    with Database(database.config.with_(application_name=name)) as busy, busy.unit_of_work() as unit:
        unit.projects.create(name="a")
        busy.repositories(outside_unit=True).projects.count()
    deadline = monotonic() + 10
    while database.session.all("SELECT 1 FROM pg_stat_activity WHERE application_name = %s", [name]):
        assert monotonic() < deadline


# ------------------------------------------------------------------------------------------------- embedded

OTHER_PROCESS = """
import sys
from database_handler import Database
with Database.embedded(sys.argv[1], durable=False, pool_size=1) as database:
    database.migrate()
    print(database.projects.create(name="theirs").slug, database.config.pool_size, flush=True)
    sys.stdin.read()
"""


def test_embedded_server_is_shared_by_processes_and_stopped_by_the_last(tmp_path: Path) -> None:
    path = tmp_path / "a path with spaces"
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER_PROCESS, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    try:
        with Database.embedded(path, durable=False) as database:
            database.migrate()
            assert other.stdout is not None
            assert other.stdout.readline() == "theirs 1\n"
            assert database.projects.upsert(NewProject(name="theirs")).outcome == "unchanged"
            other.communicate("", timeout=30)
            assert other.returncode == 0
            assert database.projects.count() == 1
            connection_arguments: dict[str, Any] = database.config.connect_arguments()
    finally:
        with suppress(ProcessLookupError):
            other.kill()
        other.wait(10)
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(**connection_arguments)


def test_wrong_field_for_the_embedded_one_leaves_no_server(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="pool_size"):
        Database.embedded(tmp_path / "pg", durable=False, pool_size=-1)
    assert not (tmp_path / "pg" / "data" / "postmaster.pid").exists()
    assert not list((tmp_path / "pg").rglob("postmaster.pid"))
