"""A database that was there before its versions is taken over, not with a schema that they do not make."""

from collections.abc import Callable

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.core.session import Session
from database_handler.migrations import MigrationManager, UnusableTarget
from database_handler.migrations.errors import HistoryNotEmpty, SchemaDiffers
from tests.migrations.conftest import Folder

Make = Callable[..., MigrationManager]


@pytest.fixture
def two(folder: Folder) -> Folder:
    folder.write("0001_notes", "CREATE TABLE notes (id int PRIMARY KEY, body text);", "DROP TABLE notes;")
    folder.write(
        "0002_mood", "ALTER TABLE notes ADD COLUMN mood text;", "ALTER TABLE notes DROP COLUMN mood;"
    )
    return folder


def test_versions_are_recorded_and_not_run(two: Folder, manager: Make, session: Session) -> None:
    session.run("CREATE TABLE notes (id int PRIMARY KEY, body text)")
    session.run("INSERT INTO notes VALUES (1, 'kept')")
    report = manager().baseline("0001_notes")
    assert (report.recorded, report.head) == (("0001_notes",), "0001_notes")
    status = manager().status()
    assert [(item.state, item.origin) for item in status.items] == [
        ("applied", "baseline"),
        ("pending", "run"),
    ]
    assert (manager().drift().source, manager().drift().drifted) == ("recorded", False)
    assert manager().migrate().applied == ("0002_mood",)
    assert session.all("SELECT id, body, mood FROM notes") == [(1, "kept", None)]
    with pytest.raises(HistoryNotEmpty, match="up to 0002_mood"):
        manager().baseline(2)
    assert manager().rollback(target=0).rolled_back == ("0002_mood", "0001_notes")


def test_another_schema_is_refused_with_the_difference(two: Folder, manager: Make, session: Session) -> None:
    session.run("CREATE TABLE notes (id bigint PRIMARY KEY, body text)")
    session.run("CREATE TABLE other (id int)")
    with pytest.raises(SchemaDiffers) as refused:
        manager().baseline(1)
    assert "changed column notes.id; type: integer -> bigint" in str(refused.value)
    assert "extra table other" in str(refused.value)
    assert manager().status().head is None
    with pytest.raises(UnusableTarget, match="there is no version 7"):
        manager().baseline(7)
    report = manager().baseline(1, allow_differences=True)
    assert (report.head, len(report.differences.items)) == ("0001_notes", 2)
    assert manager().migrate().applied == ("0002_mood",)


def test_a_database_without_versions_gets_its_first_one(
    folder: Folder, manager: Make, config: DatabaseConfig, session: Session
) -> None:
    session.script(
        """
        CREATE TYPE mood AS ENUM ('calm', 'glad');
        CREATE TABLE people (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE);
        CREATE TABLE notes (id int PRIMARY KEY, person bigint REFERENCES people, mood mood, body text,
            CONSTRAINT not_empty CHECK (body <> ''));
        CREATE INDEX notes_mood ON notes (mood) WHERE body IS NOT NULL;
        CREATE VIEW glad AS SELECT * FROM notes WHERE mood = 'glad';
        CREATE FUNCTION shout(a text) RETURNS text LANGUAGE sql IMMUTABLE RETURN upper(a);
        INSERT INTO people (name) VALUES ('Ann');
        """
    )
    report = manager().write_baseline()
    assert (report.head, report.path) == ("0001_baseline", folder.path / "0001_baseline.sql")
    assert (manager().status().at_head, manager().drift().drifted) == (True, False)
    assert session.all("SELECT name FROM people") == [("Ann",)]
    assert (folder.path / "versions.lock").read_text().startswith("0001_baseline ")
    with pytest.raises(UnusableTarget, match="has versions already"):
        manager().write_baseline()


def test_the_first_version_makes_the_same_schema_elsewhere(
    folder: Folder, manager: Make, config: DatabaseConfig, session: Session
) -> None:
    session.run('CREATE TABLE "Odd Name" (id int PRIMARY KEY, "select" text DEFAULT \'a;b\')')
    manager().write_baseline("what there was")
    session.run('DROP TABLE "Odd Name"')
    session.run("DROP TABLE application_migrations, database_handler_migrations_snapshot")
    assert manager().migrate().applied == ("0001_what_there_was",)
    assert not manager().drift().drifted
    assert session.all('SELECT "select" FROM "Odd Name"') == []


def test_the_first_version_makes_the_extensions_that_the_schema_uses(
    folder: Folder, manager: Make, session: Session
) -> None:
    session.script(
        "CREATE EXTENSION pg_trgm; CREATE TABLE t (a text); CREATE INDEX ON t USING gin (a gin_trgm_ops)"
    )
    report = manager().write_baseline()
    assert report.path is not None
    assert "CREATE EXTENSION IF NOT EXISTS pg_trgm;" in report.path.read_text("utf-8")
    assert not manager().drift().drifted
    session.run("DROP TABLE t, application_migrations, database_handler_migrations_snapshot")
    session.run("DROP EXTENSION pg_trgm")
    assert manager().migrate().applied == ("0001_baseline",)


def test_an_empty_schema_has_no_first_version(folder: Folder, manager: Make) -> None:
    with pytest.raises(UnusableTarget, match="nothing in the schema"):
        manager().write_baseline()
    assert list(folder.path.iterdir()) == []
