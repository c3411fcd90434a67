"""pytest fixtures: a disposable server for the session, and a migrated database or unit for each test.

Registered as a pytest plugin by the package; nothing is imported or started until a test asks for it.
``database`` gives a test a database of its own, copied from a template that is migrated once; ``uow`` a unit
on a shared one that is rolled back. The server is an embedded one, or the one of ``TEST_DATABASE_URL``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

if TYPE_CHECKING:
    from database_handler import Database, UnitOfWork
    from database_handler.config.database import DatabaseConfig
    from database_handler.config.files import FilesConfig

__all__ = [
    "database",
    "database_class",
    "database_server",
    "database_template",
    "files_folder",
    "prepare_database",
    "uow",
]


@pytest.fixture(scope="session")
def database_server(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[DatabaseConfig]":
    """Yield the configuration of a server on which databases may be made and dropped."""
    from database_handler.config.database import DatabaseConfig
    from database_handler.config.settings import test_database_url

    url = test_database_url()
    if url is not None:
        yield DatabaseConfig.from_url(url)
        return
    from database_handler.embedded import EmbeddedServer

    with EmbeddedServer.start(tmp_path_factory.mktemp("postgresql"), durable=False) as server:
        yield server.config


@pytest.fixture(scope="session")
def database_class() -> "type[Database]":
    """Return the class that tests get; an application with entities of its own overrides this."""
    from database_handler import Database

    return Database


@pytest.fixture(scope="session")
def files_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder below which the databases of this run keep originals, each in its own."""
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="session")
def prepare_database() -> "Callable[[Database], object]":
    """Return what makes the template ready; an application with migrations of its own overrides this."""
    return lambda database: database.migrate()


@pytest.fixture(scope="session")
def database_template(
    database_server: "DatabaseConfig",
    database_class: "type[Database]",
    prepare_database: "Callable[[Database], object]",
) -> "Iterator[DatabaseConfig]":
    """Yield a migrated database that others are copied from; nobody stays connected to it."""
    with _made(database_server) as config:
        with database_class(config) as template:
            prepare_database(template)
        yield config


@pytest.fixture
def database(
    database_template: "DatabaseConfig", database_class: "type[Database]", files_folder: Path
) -> "Iterator[Database]":
    """Yield a database of the test's own, migrated and empty; dropped afterwards."""
    with (
        _made(database_template, template=database_template.name) as config,
        database_class(config, files=_files(files_folder, config)) as own,
    ):
        yield own


@pytest.fixture(scope="session")
def shared_database(
    database_template: "DatabaseConfig", database_class: "type[Database]", files_folder: Path
) -> "Iterator[Database]":
    """Yield the database that `uow` opens its units on."""
    with (
        _made(database_template, template=database_template.name) as config,
        database_class(config, files=_files(files_folder, config)) as own,
    ):
        yield own


@pytest.fixture
def uow(shared_database: "Database") -> "Iterator[UnitOfWork]":
    """Yield an open unit of work that is rolled back when the test ends."""
    with shared_database.unit_of_work() as unit:
        yield unit
        unit.rollback()


def _files(folder: Path, config: "DatabaseConfig") -> "FilesConfig":
    from database_handler.config.files import FilesConfig

    return FilesConfig(store_url=str(folder / config.name))


@contextmanager
def _made(server: "DatabaseConfig", template: str | None = None) -> "Iterator[DatabaseConfig]":
    """Make a database, and drop it afterwards whoever is connected to it."""
    from psycopg2 import sql

    from database_handler.core.connection import dedicated
    from database_handler.core.transaction import Autocommit

    name = f"test_{uuid4().hex}"
    admin = server.with_(name="postgres")
    session = Autocommit(lambda: dedicated(admin)).session
    copied = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
    if _forgets(admin):
        copied += sql.SQL(" STRATEGY file_copy")
    session.run(sql.SQL("CREATE DATABASE {}{}").format(sql.Identifier(name), copied))
    try:
        yield server.with_(name=name)
    finally:
        session.run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@cache
def _forgets(admin: "DatabaseConfig") -> bool:
    """Whether the server forces nothing to the disk: to copy files takes it half as long as to log pages."""
    from database_handler.core.connection import dedicated
    from database_handler.core.transaction import Autocommit

    [fsync] = Autocommit(lambda: dedicated(admin)).session.one("SELECT current_setting('fsync')")
    return bool(fsync == "off")
