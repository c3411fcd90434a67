"""Two environments are told apart: by their versions, and by their schemas, statement by statement."""

from collections.abc import Callable

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.session import Session
from database_handler.core.transaction import Autocommit
from database_handler.embedded import EmbeddedServer
from database_handler.migrations import MigrationManager
from tests.migrations.conftest import Folder, run_alone

Make = Callable[..., MigrationManager]


def beside(server: EmbeddedServer, config: DatabaseConfig) -> DatabaseConfig:
    """Another database, dropped with the first one's server."""
    name = f"{config.name}_beside"
    run_alone(server.config, f"CREATE DATABASE {name} STRATEGY file_copy")
    return config.with_(name=name)


def test_versions_and_schemas_are_compared(
    server: EmbeddedServer, config: DatabaseConfig, folder: Folder, manager: Make, session: Session
) -> None:
    folder.write("0001_notes", "CREATE TABLE notes (id int PRIMARY KEY, body text);")
    folder.write("0002_mood", "ALTER TABLE notes ADD COLUMN mood text;")
    other = beside(server, config)
    there = Autocommit(lambda: dedicated(other)).session
    here = manager()
    assert here.migrate().head == "0002_mood"
    assert MigrationManager(other, folder.path).migrate().head == "0002_mood"
    assert here.compare(other).same
    assert here.compare(other.url(hide_password=False)).same

    MigrationManager(other, folder.path)
    folder.write("0003_owner", "ALTER TABLE notes ADD COLUMN owner text;")
    here.migrate()
    there.run("CREATE INDEX by_hand ON notes (mood)")
    there.run("UPDATE application_migrations SET token_hash = 'another way down'")
    there.run("UPDATE application_migrations SET up_hash = 'another' WHERE number = 2")
    found = here.compare(other)
    assert [(version.name, version.here, version.there) for version in found.versions] == [
        ("0002_mood", "changed", "changed"),
        ("0003_owner", "applied", "pending"),
    ]
    assert (found.heads_here, found.heads_there) == (
        {"application_migrations": "0003_owner"},
        {"application_migrations": "0002_mood"},
    )
    assert [(item.change, item.name) for item in found.schema_differences.items] == [
        ("missing", "notes.owner"),
        ("extra", "by_hand"),
    ]
    for statement in found.schema_differences.statements:
        there.script(statement)
    assert not here.compare(other).schema_differences
    (folder.path / "0003_owner.sql").unlink()
    assert here.compare(other).versions[-1].here == "applied"
    run_alone(server.config, f"DROP DATABASE {other.name} WITH (FORCE)")


def test_what_is_compared_shows_no_password(
    server: EmbeddedServer, config: DatabaseConfig, folder: Folder, manager: Make
) -> None:
    folder.write("0001_notes", "CREATE TABLE notes (id int);")
    shown = manager().compare(config.with_(password="hunter2")).model_dump_json()
    assert "hunter2" not in shown
