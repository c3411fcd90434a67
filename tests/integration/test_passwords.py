"""A password from a file, from libpq's own file and from a service works everywhere, on a server that asks.

What is resolved when: a service with the settings; a password file, and libpq's own, at each connect.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from database_handler import Database
from database_handler.cli import main
from database_handler.config import DatabaseConfig, Settings
from database_handler.config.settings import VARIABLES
from database_handler.core.connection import dedicated
from database_handler.core.exceptions import AuthenticationFailed, ConfigurationError
from database_handler.core.transaction import Autocommit
from database_handler.embedded import EmbeddedServer
from database_handler.operations.reach import reach
from tests.support.faults import eventually

PASSWORD, ROTATED = "canary-Pässword: \\ 1", "canary-rotated-2"
LIBPQ = ("PGPASSFILE", "PGPASSWORD", "PGSERVICE", "PGSERVICEFILE", "PGSYSCONFDIR")


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseConfig]:
    """A server that lets the role `asked` in with its password only."""
    with EmbeddedServer.start(tmp_path_factory.mktemp("asking") / "pg", durable=False) as server:
        session = Autocommit(lambda: dedicated(server.config)).session
        session.run("CREATE ROLE asked LOGIN")
        session.run("CREATE DATABASE films OWNER asked")
        rules = server.path / "data" / "pg_hba.conf"
        rules.write_text(f"local all asked scram-sha-256\n{rules.read_text('utf-8')}", "utf-8")
        session.all("SELECT pg_reload_conf()")
        config = server.config.with_(name="films", user="asked")
        eventually(lambda: refused_without(config))
        yield config


def refused_without(config: DatabaseConfig) -> bool:
    try:
        dedicated(config).release()
    except AuthenticationFailed:
        return True
    return False


@pytest.fixture
def place(asking: DatabaseConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DatabaseConfig:
    for name in (*VARIABLES, *LIBPQ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    change_password(asking, PASSWORD)
    return asking


def change_password(config: DatabaseConfig, password: str) -> None:
    admin = config.with_(user="postgres")
    # DDL takes no parameters; the name is a literal here, and the password is quoted by the server.
    session = Autocommit(lambda: dedicated(admin)).session
    [text] = session.one("SELECT format('ALTER ROLE asked PASSWORD %%L', %s::text)", [password])
    session.script(text)


def write(way: str, place: DatabaseConfig, password: str, folder: Path) -> dict[str, str]:
    """Put the password where it belongs; give the variables that lead there."""
    if way == "password file":
        (folder / "secret").write_text(f"{password}\n", "utf-8")
        (folder / "secret").chmod(0o600)
        return {"DB_HOST": place.host, "DB_NAME": "films", "DB_USER": "asked", "DB_PASSWORD_FILE": "secret"}
    if way == "pgpass":
        escaped = password.replace("\\", "\\\\").replace(":", "\\:")
        (folder / ".pgpass").write_text(f"*:*:films:asked:{escaped}\n", "utf-8")
        (folder / ".pgpass").chmod(0o600)
        return {"DATABASE_URL": place.url()}
    service = f"[films]\nhost={place.host}\ndbname=films\nuser=asked\npassword={password}\n"
    (folder / "services").write_text(service, "utf-8")
    given = {"DB_SERVICE": "films"} if way == "service" else {"DATABASE_URL": "postgresql://?service=films"}
    return {"PGSERVICEFILE": str(folder / "services"), **given}


WAYS = ("password file", "pgpass", "service", "URL of a service")


@pytest.mark.parametrize("way", WAYS)
def test_pool_migrations_and_replicas_get_in(
    way: str, place: DatabaseConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in write(way, place, PASSWORD, tmp_path).items():
        monkeypatch.setenv(name, value)
    beside: dict[str, Any] = (
        {"replica_urls": place.url(), "migration_url": place.url()} if way == "pgpass" else {}
    )
    if "service" in way:
        beside = dict.fromkeys(("replica_urls", "migration_url"), "postgresql://?service=films")
    settings = Settings.load(**beside)
    with Database.from_settings(settings) as database:
        database.migrate()
        assert database.health().ready
        database.projects.create(name=f"By {way}")
        assert [(each.what, each.user, each.error) for each in reach(database.config)] == [
            (what, "asked", None) for what in ("database", "migrations", "replica 1")[: 3 if beside else 1]
        ]
        assert PASSWORD not in repr(database) + repr(settings)


@pytest.mark.parametrize("way", ["password file", "pgpass"])
def test_a_rotated_password_is_read_at_the_next_connect(
    way: str, place: DatabaseConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in write(way, place, PASSWORD, tmp_path).items():
        monkeypatch.setenv(name, value)
    with Database.from_settings() as database:
        assert database.session.one("SELECT 1") == (1,)
        change_password(place, ROTATED)
        assert database.session.one("SELECT 1") == (1,), "the connection that is there goes on"
        database.pool.retire()
        with pytest.raises(AuthenticationFailed) as caught:
            database.session.one("SELECT 1")
        assert "canary" not in str(caught.value)
        write(way, place, ROTATED, tmp_path)
        assert database.session.one("SELECT 1") == (1,)


def test_with_a_password_of_libpqs_the_true_reason_is_told(
    place: DatabaseConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("pgpass", place, PASSWORD, tmp_path)
    (tmp_path / ".pgpass").write_text(f"*:*:*:asked:{ROTATED}\n*:*:*:*:other\n", "utf-8")
    change_password(place, ROTATED)
    with pytest.raises(ConfigurationError, match=r"database .nowhere. does not exist"):
        dedicated(place.with_(name="nowhere"))
    monkeypatch.setenv("PGPASSWORD", "wrong-canary")
    with pytest.raises(AuthenticationFailed) as caught:
        dedicated(place)
    assert "canary" not in str(caught.value)


SECRETS = (
    "canary-cache",
    "canary-url",
    "canary-password",
    "canary-file",
    "canary-replica",
    "canary-migration",
    "canary-service",
)


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_no_secret_is_ever_shown(
    place: DatabaseConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    as_json: list[str],
) -> None:
    (tmp_path / "secret").write_text("canary-file\n", "utf-8")
    (tmp_path / "services").write_text("[films]\nhost=h\ndbname=d\npassword=canary-service\n", "utf-8")
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    host = place.host.replace("/", "%2F")
    place_url = f"postgresql://asked:canary-url@{host}/films"
    beside = {
        "DB_REPLICA_URLS": f"postgresql://asked:canary-replica@{host}/films",
        "DB_MIGRATION_URL": f"postgresql://asked:canary-migration@{host}/films",
    }
    parts = {"DB_NAME": "films", "DB_HOST": place.host, "DB_USER": "asked"}
    for given in (
        {"DATABASE_URL": place_url, **beside},
        {**parts, "DB_PASSWORD": "canary-password", "DB_CACHE_URL": "redis://u:canary-cache@localhost:1/0"},
        {**parts, "DB_PASSWORD_FILE": "secret"},
        {**parts, "DB_PASSWORD_FILE": "canary-file"},
        {"DB_SERVICE": "films"},
        {"DATABASE_URL": place_url, "DB_PASSWORD": "canary-password", "DB_PASSWORD_FILE": "canary-file"},
        {"DATABASE_URL": f"{place_url}/canary-url@", "DB_REPLICA_URLS": "canary-replica"},
    ):
        with monkeypatch.context() as settings:
            for name, value in given.items():
                settings.setenv(name, value)
            for command in (["config", "show"], ["config", "check", "--connect", "--verbose"], ["health"]):
                main([*command, *as_json])
                told = capsys.readouterr()
                assert [secret for secret in SECRETS if secret in told.out + told.err] == [], (command, given)


def test_the_command_tries_every_server(
    place: DatabaseConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in write("password file", place, PASSWORD, tmp_path).items():
        monkeypatch.setenv(name, value)
    assert main(["config", "check", "--connect", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], told["connections"][0]["user"], told["connections"][0]["tls"]) == (
        True,
        "asked",
        False,
    )
    monkeypatch.setenv("DB_REPLICA_URLS", "postgresql://asked@localhost:1/films")
    assert main(["config", "check"]) == 0, "nothing is connected to unless asked"
    assert capsys.readouterr().out == "the settings are right\n"
    assert main(["config", "check", "--connect"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("database: PostgreSQL 1")
    assert lines[1].startswith("replica 1: DatabaseUnavailable: ")
