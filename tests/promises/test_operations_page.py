"""docs/operations.md is walked through from its first line to its last; the server asks for passwords."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from database_handler.cli import main
from database_handler.config.database import DatabaseConfig
from database_handler.config.settings import VARIABLES
from database_handler.core.connection import dedicated
from database_handler.core.exceptions import AuthenticationFailed
from database_handler.core.session import Session
from database_handler.core.transaction import Autocommit
from database_handler.embedded import EmbeddedServer
from tests.promises.test_migrations_page import names_of_tests
from tests.support.faults import eventually
from tests.support.valkey import Valkey

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
ROLES = ("app", "migrator", "backup")


def session(config: DatabaseConfig) -> Session:
    return Autocommit(lambda: dedicated(config)).session


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """An empty server that lets everybody but its administrator in by password only."""
    with EmbeddedServer.start(tmp_path / "server", durable=False) as started:
        rules = started.path / "data" / "pg_hba.conf"
        asking = "".join(f"local all films_{role} scram-sha-256\n" for role in ROLES)
        rules.write_text(f"{asking}{rules.read_text('utf-8')}", "utf-8")
        session(started.config).all("SELECT pg_reload_conf()")
        eventually(lambda: is_refused(started.config.with_(user="films_app")))
        yield started


def is_refused(config: DatabaseConfig) -> bool:
    try:
        dedicated(config).release()
    except AuthenticationFailed as failure:
        return "password" in str(failure.driver_error)
    return False


@pytest.fixture
def names(
    server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """A folder as the page expects it, and what its variables stand for."""
    for name in (*VARIABLES, "PGPASSFILE", "PGPASSWORD", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for role in ROLES:
        (secrets / role).write_text(f"the password of {role}\n")
    (secrets / "pgpass").write_text("".join(f"*:*:*:films_{role}:the password of {role}\n" for role in ROLES))
    for file in secrets.iterdir():
        file.chmod(0o600)
    monkeypatch.setenv("DB_CACHE_TIMEOUT", "5s")  # a busy machine is no slow cache
    with Valkey() as valkey:
        admin = server.config.with_(name="films").url(hide_password=False)
        yield {"ADMIN_URL": admin, "SERVER": server.config.host, "CACHE_URL": valkey.url}


def test_the_page_is_true(
    server: EmbeddedServer,
    names: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    namespace: dict[str, object] = {"__name__": "example"}
    for language, code in re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S):
        if language == "python":
            exec(code, namespace)  # noqa: S102  # our own page
        elif language == "sql":
            place = "postgres" if "another database" in code else "films"
            session(server.config.with_(name=place)).script(code)
        else:
            for line in code.splitlines():
                run(line, names, monkeypatch, capsys)
    assert namespace["before"]


def run(
    line: str, names: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command, _, expected = line.removeprefix("$ ").partition("  # exit code ")
    for name, value in names.items():
        command = command.replace(f"${name}", value)
    word, _, rest = command.partition(" ")
    if word == "export":
        name, _, value = rest.partition("=")
        monkeypatch.setenv(name, value)
        return
    if word == "unset":
        monkeypatch.delenv(rest)
        return
    capsys.readouterr()
    ended = main(shlex.split(command)[1:])
    told = capsys.readouterr()
    assert ended == int(expected or 0), f"{line}\n{told.out}{told.err}"
    assert "the password of" not in told.out + told.err


def test_files_that_it_points_to_are_there_and_have_tests() -> None:
    for target in re.findall(r"\]\(([^)#]+)", PAGE.read_text("utf-8")):
        file = PAGE.parent / target
        assert file.exists(), target
        if file.name.startswith("test_"):
            assert names_of_tests(file.resolve())
