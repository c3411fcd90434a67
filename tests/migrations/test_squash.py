"""Many versions become one file that makes the same, and databases that have them go on."""

from pathlib import Path

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.core.session import Session, Statement
from database_handler.embedded import EmbeddedServer
from database_handler.migrations.errors import PartialMigration, ProofFailed, UnusableTarget
from database_handler.migrations.files.chain import Chain, Folder
from database_handler.migrations.files.migration import read_folder
from database_handler.migrations.generation.checking import verify
from database_handler.migrations.generation.squashing import Squashed, squash
from database_handler.migrations.migration_manager import MigrationManager
from tests.migrations.conftest import Folder as Versions

VERSIONS = {
    "0001_kinds": (
        "CREATE TABLE kinds (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL,"
        " at timestamptz NOT NULL DEFAULT now()); INSERT INTO kinds (name) VALUES ('it''s'), ('b\\'), ('c');",
        "DROP TABLE kinds;",
    ),
    "0002_things": (
        "CREATE SEQUENCE counter; SELECT nextval('counter');"
        "CREATE TABLE things (id int PRIMARY KEY, kind int NOT NULL REFERENCES kinds, note text);"
        "INSERT INTO things VALUES (1, 2, NULL);",
        "DROP TABLE things; DROP SEQUENCE counter;",
    ),
    "0003_more": (
        "ALTER TABLE kinds ADD COLUMN short text GENERATED ALWAYS AS (left(name, 1)) STORED;"
        "UPDATE kinds SET name = 'changed' WHERE name = 'c';",
        "ALTER TABLE kinds DROP COLUMN short;",
    ),
    "0004_last": ("CREATE VIEW names AS SELECT name FROM kinds;", "DROP VIEW names;"),
}


@pytest.fixture
def versions(folder: Versions) -> Versions:
    for name, (up, down) in VERSIONS.items():
        folder.write(name, up, down)
    return folder


def squashed(config: DatabaseConfig, folder: Versions, upto: str | int = 3) -> Squashed:
    return squash(config, Chain((Folder(folder.path, "history"),)), upto)


def contents(session: Session) -> list[object]:
    texts = (
        "SELECT id, name, short FROM kinds ORDER BY id",
        "SELECT * FROM things",
        "SELECT nextval('counter')",
    )
    return [session.all(Statement(text, "test")) for text in texts]


def manager(config: DatabaseConfig, folder: Versions) -> MigrationManager:
    return MigrationManager(config, folder.path, history_table="history")


def test_one_file_makes_what_the_versions_made(
    versions: Versions, server: EmbeddedServer, config: DatabaseConfig, session: Session
) -> None:
    found = squashed(server.config, versions)
    assert found.replaced == ("0001_kinds", "0002_things", "0003_more")
    assert found.rows == {"kinds": 3, "things": 1}
    assert found.worked_on_rows == ("0001_kinds", "0002_things", "0003_more")
    assert sorted(path.name for path in versions.path.iterdir()) == [
        "0003_squashed.sql", "0004_last.sql", "versions.lock"
    ]  # fmt: skip
    assert verify(server.config, Chain((Folder(versions.path, "history"),))).holds
    manager(config, versions).migrate()
    assert contents(session) == [
        [(1, "it's", "i"), (2, "b\\", "b"), (3, "changed", "c")], [(1, 2, None)], [(2,)]
    ]  # fmt: skip
    manager(config, versions).rollback(target=0)
    assert session.one("SELECT to_regclass('kinds')") == (None,)


def test_a_database_past_them_goes_on_and_keeps_its_rows(
    versions: Versions, server: EmbeddedServer, config: DatabaseConfig, session: Session
) -> None:
    manager(config, versions).migrate(target=3)
    session.script("DELETE FROM things; UPDATE kinds SET name = 'mine' WHERE id = 1")
    before = contents(session)[:2]
    squashed(server.config, versions)
    report = manager(config, versions).migrate()
    assert report.applied == ("0004_last",)
    assert contents(session)[:2] == before
    status = manager(config, versions).status()
    assert [item.name for item in status.items] == ["0003_squashed", "0004_last"]
    assert status.at_head


def test_a_database_in_the_midst_of_them_is_told_what_to_do(
    versions: Versions, server: EmbeddedServer, config: DatabaseConfig
) -> None:
    manager(config, versions).migrate(target=2)
    squashed(server.config, versions)
    with pytest.raises(PartialMigration, match="0002_things"):
        manager(config, versions).migrate()


def test_a_squash_of_a_squash_names_every_version_that_a_history_may_hold(
    versions: Versions, server: EmbeddedServer, config: DatabaseConfig
) -> None:
    manager(config, versions).migrate()
    squashed(server.config, versions, "0002_things")
    again = squashed(server.config, versions, 4)
    assert again.text.count("-- replaces: ") == 5
    assert [migration.name for migration in read_folder(versions.path)] == ["0004_squashed"]
    assert manager(config, versions).migrate().applied == ()
    assert manager(config, versions).status().at_head


@pytest.mark.parametrize(
    ("upto", "told"), [(9, "no version 9"), (1, "nothing to squash"), ("x", "no version 'x'")]
)
def test_what_cannot_be_squashed_is_told(
    versions: Versions, server: EmbeddedServer, upto: str | int, told: str
) -> None:
    with pytest.raises(UnusableTarget, match=told):
        squashed(server.config, versions, upto)


def test_what_one_way_was_stays_one_way(folder: Versions, server: EmbeddedServer) -> None:
    folder.write("0001_a", "CREATE TABLE a (x int);")
    folder.write("0002_b", "CREATE TABLE b (x int);", "DROP TABLE b;")
    found = squashed(server.config, folder, 2)
    assert not found.reversible
    assert "reversible: no" in found.text
    assert not read_folder(folder.path)[0].reversible


def test_rows_that_cannot_be_put_in_again_leave_the_versions_as_they_are(
    folder: Versions, server: EmbeddedServer
) -> None:
    folder.write("0001_a", "CREATE TABLE a (x int); INSERT INTO a VALUES (1);", "DROP TABLE a;")
    folder.write("0002_b", "CREATE RULE never AS ON INSERT TO a DO INSTEAD NOTHING;", "DROP RULE never ON a;")
    before = {path: path.read_bytes() for path in folder.path.iterdir()}
    with pytest.raises(ProofFailed, match="other rows"):
        squashed(server.config, folder, 2)
    assert {path: path.read_bytes() for path in folder.path.iterdir()} == before


def test_an_applications_versions_are_squashed_on_top_of_others(
    folder: Versions, server: EmbeddedServer, tmp_path: Path
) -> None:
    other = tmp_path / "library"
    other.mkdir()
    base = Versions(other)
    base.write(
        "0001_base", "CREATE TABLE base (x int PRIMARY KEY); INSERT INTO base VALUES (1);", "DROP TABLE base;"
    )
    folder.write("0001_a", "CREATE TABLE a (x int REFERENCES base);", "DROP TABLE a;")
    folder.write("0002_b", "INSERT INTO base VALUES (2); CREATE INDEX i ON base (x);", "DROP INDEX i;")
    chain = Chain((Folder(other, "library"), Folder(folder.path, "history")))
    found = squash(server.config, chain, 2)
    assert found.rows == {"base": 1}
    assert "CREATE TABLE base" not in found.text
    assert [migration.name for migration in read_folder(other)] == ["0001_base"]
