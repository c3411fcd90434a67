"""docs/operations.md is walked through from its first line to its last; the server asks for passwords."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.exceptions import AuthenticationFailed
from database_handler.core.session import Session
from database_handler.core.transaction import Autocommit
from database_handler.embedded import EmbeddedServer
from tests.support.faults import eventually
from tests.support.pages import Walk, blocks, names_of_tests, only_settings
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
    for name in ("PGPASSFILE", "PGPASSWORD", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)
    only_settings(monkeypatch, tmp_path, DB_CACHE_TIMEOUT="5s")  # a busy machine is no slow cache
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for role in ROLES:
        (secrets / role).write_text(f"the password of {role}\n")
    (secrets / "pgpass").write_text("".join(f"*:*:*:films_{role}:the password of {role}\n" for role in ROLES))
    for file in secrets.iterdir():
        file.chmod(0o600)
    with Valkey() as valkey:
        admin = server.config.with_(name="films").url(hide_password=False)
        yield {"ADMIN_URL": admin, "SERVER": server.config.host, "CACHE_URL": valkey.url}


class Operator(Walk):
    """Whoever has the administrator's login, and sets what each program is to find in its environment."""

    server: EmbeddedServer

    def sql(self, code: str) -> None:
        place = "postgres" if "another database" in code else "films"
        session(self.server.config.with_(name=place)).script(code)

    def command(self, line: str) -> str:
        said = super().command(line)
        assert "the password of" not in said
        return said


def test_the_page_is_true(
    server: EmbeddedServer,
    names: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    operator = Operator(monkeypatch, capsys, names)
    operator.server = server
    for block in blocks(PAGE):
        getattr(operator, block.language)(block.code)
    assert operator.namespace["before"]


def test_files_that_it_points_to_are_there_and_have_tests() -> None:
    for target in re.findall(r"\]\(([^)#]+)", PAGE.read_text("utf-8")):
        file = PAGE.parent / target
        assert file.exists(), target
        if file.name.startswith("test_"):
            assert names_of_tests(file.resolve())
