"""A server of their own or each that is found, and a fresh database and versions folder for each test."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from uuid import uuid4

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.session import Session, Statement
from database_handler.core.transaction import Autocommit
from database_handler.migrations import MigrationManager
from tests.support.servers import OWN, Server, running


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Server]]:
    """Each server by its name, started when first asked for and kept to the end, whatever the order."""
    with ExitStack() as stack:

        @cache
        def started(name: str) -> Server:
            return stack.enter_context(running(name, tmp_path_factory.mktemp("migrations-pg") / "pg"))

        yield started


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Server:
    """The tests' own server, and another where a test names it: see `on_each_server`."""
    return servers(getattr(request, "param", OWN))


def run_alone(config: DatabaseConfig, text: str) -> None:
    Autocommit(lambda: dedicated(config)).session.run(Statement(text, "test.admin", writes=True))


@pytest.fixture
def config(server: Server) -> Iterator[DatabaseConfig]:
    name = f"migrations_{uuid4().hex}"  # several runs may share a server that they were given
    run_alone(server.config, f"CREATE DATABASE {name} STRATEGY file_copy")
    yield server.config.model_copy(update={"name": name})
    run_alone(server.config, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def session(config: DatabaseConfig) -> Session:
    """Statements of the test's own, each over a connection of its own."""
    return Autocommit(lambda: dedicated(config)).session


class Folder:
    """A versions folder that a test writes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, up: str, down: str | None = None, verify: str | None = None) -> Path:
        text = up if "-- migrate:" in up else f"-- migrate: up\n{up}\n"
        text += f"-- migrate: verify\n{verify}\n" if verify else ""
        text += f"-- migrate: down\n{down}\n" if down else ""
        file = self.path / f"{name}.sql"
        file.write_text(f"-- {name}\n{text}", encoding="utf-8")
        return file


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    path = tmp_path / "versions"
    path.mkdir()
    return Folder(path)


@pytest.fixture
def manager(config: DatabaseConfig, folder: Folder) -> Callable[..., MigrationManager]:
    def make(**options: float) -> MigrationManager:
        return MigrationManager(config, folder.path, **options)  # type: ignore[arg-type]  # by keyword

    return make
