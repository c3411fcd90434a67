"""What a statement locks, rewrites and scans is told from a run on an empty copy, on each server found here.

The expectations are what the server's documentation and a look at `pg_locks` say of each form. Every
statement has tables of its own, so that one file with a section for each measures all of them.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.core.session import Session
from database_handler.migrations.files.migration import parse, read_folder
from database_handler.migrations.files.migration_values import Migration
from database_handler.migrations.safety.measuring import (
    MigrationCost,
    StatementCost,
    measure,
    measure_migrations,
)
from tests.migrations.conftest import run_alone
from tests.support.servers import SERVERS, Server

VERSIONS = Path(__file__).resolve().parents[2] / "database_handler" / "migrations" / "versions"

AE, SRE, SHARE, SUE = "ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE", "SHARE UPDATE EXCLUSIVE"
RE = "ROW EXCLUSIVE"


class Case(NamedTuple):
    """A statement about table `{t}`; the lock on it, whether it is rewritten, whether it is scanned."""

    sql: str
    lock: str | None
    rewrites: bool = False
    scans: bool = False


CASES = [
    Case("ALTER TABLE {t} ADD COLUMN x text", AE),
    Case("ALTER TABLE {t} ADD COLUMN x text NOT NULL DEFAULT 'a'", AE),
    Case("ALTER TABLE {t} ADD COLUMN x timestamptz NOT NULL DEFAULT now()", AE),
    Case("ALTER TABLE {t} ADD COLUMN x int DEFAULT steady()", AE),
    Case("ALTER TABLE {t} ADD COLUMN x plain DEFAULT 'a'", AE),
    Case("ALTER TABLE {t} ADD COLUMN x int REFERENCES other", AE),
    Case("ALTER TABLE {t} ADD COLUMN x uuid DEFAULT gen_random_uuid()", AE, rewrites=True, scans=True),
    Case("ALTER TABLE {t} ADD COLUMN x int DEFAULT volatile_one()", AE, rewrites=True, scans=True),
    Case("ALTER TABLE {t} ADD COLUMN x bigint GENERATED ALWAYS AS IDENTITY", AE, rewrites=True, scans=True),
    Case("ALTER TABLE {t} ADD COLUMN x serial", AE, rewrites=True, scans=True),
    Case(
        "ALTER TABLE {t} ADD COLUMN x int GENERATED ALWAYS AS (n + 1) STORED", AE, rewrites=True, scans=True
    ),
    Case("ALTER TABLE {t} ADD COLUMN x int CHECK (x > 1)", AE, scans=True),
    Case("ALTER TABLE {t} ADD COLUMN x int UNIQUE", AE, scans=True),
    Case("ALTER TABLE {t} DROP COLUMN a", AE),
    Case("ALTER TABLE {t} ALTER COLUMN a SET NOT NULL", AE, scans=True),
    Case("ALTER TABLE {t} ALTER COLUMN n SET NOT NULL", AE),  # a valid check says so
    Case("ALTER TABLE {t} ALTER COLUMN id DROP NOT NULL", AE),
    Case("ALTER TABLE {t} ALTER COLUMN a SET DEFAULT 'x'", AE),
    Case("ALTER TABLE {t} ALTER COLUMN b TYPE varchar(20)", AE),
    Case("ALTER TABLE {t} ALTER COLUMN b TYPE text", AE),
    Case("ALTER TABLE {t} ALTER COLUMN a TYPE varchar", AE),
    Case("ALTER TABLE {t} ALTER COLUMN m TYPE numeric(12,2)", AE),
    Case("ALTER TABLE {t} ALTER COLUMN m TYPE numeric", AE),
    Case("ALTER TABLE {t} ALTER COLUMN ts TYPE timestamptz", AE),
    Case("ALTER TABLE {t} ALTER COLUMN b TYPE varchar(5)", AE, rewrites=True, scans=True),
    Case("ALTER TABLE {t} ALTER COLUMN a TYPE varchar(10)", AE, rewrites=True, scans=True),
    Case("ALTER TABLE {t} ALTER COLUMN n TYPE bigint", AE, rewrites=True, scans=True),
    Case("ALTER TABLE {t} ALTER COLUMN m TYPE numeric(12,3)", AE, rewrites=True, scans=True),
    Case("ALTER TABLE {t} ALTER COLUMN ts TYPE timestamptz(2)", AE, rewrites=True, scans=True),
    Case("ALTER TABLE {t} ALTER COLUMN c TYPE text", AE, rewrites=True, scans=True),
    Case("ALTER TABLE {t} ALTER COLUMN n TYPE positive", AE, rewrites=True, scans=True),
    Case("ALTER TABLE {t} ADD CONSTRAINT {t}_x CHECK (id > 0)", AE, scans=True),
    Case("ALTER TABLE {t} ADD CONSTRAINT {t}_x CHECK (id > 0) NOT VALID", AE),
    Case("ALTER TABLE {t} VALIDATE CONSTRAINT {t}_late", SUE, scans=True),
    Case("ALTER TABLE {t} ADD CONSTRAINT {t}_x FOREIGN KEY (o) REFERENCES other", SRE, scans=True),
    Case("ALTER TABLE {t} ADD CONSTRAINT {t}_x FOREIGN KEY (o) REFERENCES other NOT VALID", SRE),
    Case("ALTER TABLE {t} DROP CONSTRAINT {t}_late", AE),
    Case("ALTER TABLE {t} ADD CONSTRAINT {t}_x UNIQUE (n)", AE, scans=True),
    Case("ALTER TABLE {t} ADD PRIMARY KEY (id)", AE, scans=True),
    Case("ALTER TABLE {t} ADD CONSTRAINT {t}_x UNIQUE USING INDEX {t}_id", AE),
    Case("ALTER TABLE {t} ADD CONSTRAINT {t}_x PRIMARY KEY USING INDEX {t}_id", AE),
    Case("ALTER TABLE {t} ADD CONSTRAINT {t}_x EXCLUDE (id WITH =)", AE, scans=True),
    Case("CREATE INDEX {t}_x ON {t} (n)", SHARE, scans=True),
    Case("DROP INDEX {t}_a", AE),
    Case("ALTER INDEX {t}_a RENAME TO {t}_b", None),
    Case("REINDEX INDEX {t}_a", SHARE, scans=True),
    Case("ALTER TABLE {t} RENAME COLUMN a TO z", AE),
    Case("ALTER TABLE {t} RENAME TO {t}_renamed", AE),
    Case("ALTER TABLE {t} SET (fillfactor = 50)", SUE),
    Case("ALTER TABLE {t} SET UNLOGGED", AE, rewrites=True, scans=True),
    Case("ALTER TABLE {t} ALTER COLUMN a SET STATISTICS 100", SUE),
    Case("ALTER TABLE {t} ENABLE ROW LEVEL SECURITY", AE),
    Case("CREATE TRIGGER x BEFORE INSERT ON {t} FOR EACH ROW EXECUTE FUNCTION fired()", SRE),
    Case("CREATE POLICY x ON {t} USING (true)", AE),
    Case("COMMENT ON TABLE {t} IS 'x'", SUE),
    Case("DROP TABLE {t}", AE),
    Case("TRUNCATE {t}", AE),
    Case("CREATE VIEW {t}_view AS SELECT * FROM {t}", None),
    Case("UPDATE {t} SET a = 'x'", RE, scans=True),
    Case("LOCK TABLE {t}", AE),
    Case("CLUSTER {t} USING {t}_a", AE, rewrites=True, scans=True),
]

SETUP = """
CREATE TABLE other (id int PRIMARY KEY);
CREATE DOMAIN plain AS text;
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION volatile_one() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE FUNCTION steady() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
"""
TABLE = """
CREATE TABLE {t} (
    id int NOT NULL, a text, b varchar(10), c char(3), m numeric(10,2), n int, o int, ts timestamptz(3),
    CONSTRAINT {t}_n CHECK (n IS NOT NULL)
);
CREATE UNIQUE INDEX {t}_id ON {t} (id);
CREATE INDEX {t}_a ON {t} (a);
ALTER TABLE {t} ADD CONSTRAINT {t}_late CHECK (id > 0) NOT VALID;
"""


def migration(text: str, name: str = "0001_measured") -> Migration:
    return parse(Path(f"{name}.sql"), text.encode())


@pytest.fixture(scope="module", params=SERVERS)
def database(request: pytest.FixtureRequest, servers: Callable[[str], Server]) -> Iterator[DatabaseConfig]:
    """An empty database of each server."""
    config, name = servers(request.param).config, f"measured_{uuid4().hex}"
    run_alone(config, f"CREATE DATABASE {name} STRATEGY file_copy")
    yield config.with_(name=name)
    run_alone(config, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def costs(database: DatabaseConfig) -> dict[str, tuple[str, StatementCost]]:
    """What each case's statement did: by its text with `{t}`, the name of its table and the cost."""
    numbered = {f"t{number}": case for number, case in enumerate(CASES)}
    run_alone(database, SETUP + "".join(TABLE.format(t=table) for table in numbered))
    sections = (f"-- migrate: up\n{case.sql.format(t=table)};\n" for table, case in numbered.items())
    cost = measure(database, migration("".join(sections)))
    assert len(cost.statements) == len(CASES)
    return {
        case.sql: (table, found)
        for (table, case), found in zip(numbered.items(), cost.statements, strict=True)
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.sql)
def test_statement_does_what_is_known_of_it(case: Case, costs: dict[str, tuple[str, StatementCost]]) -> None:
    table, cost = costs[case.sql]
    assert cost.locks.get(table) == case.lock
    assert (table in cost.rewrites) is case.rewrites
    assert (table in cost.scans) is case.scans


def measured(config: DatabaseConfig, before: str, text: str) -> MigrationCost:
    run_alone(config, before)
    return measure(config, migration(text))


NOTES = "CREATE TABLE notes (id int, body text); CREATE TABLE projects (id int PRIMARY KEY);"


def test_a_whole_migration_is_told_in_one_line(config: DatabaseConfig) -> None:
    cost = measured(
        config,
        NOTES,
        "-- migrate: up\nALTER TABLE notes ADD COLUMN project int;\n"
        "ALTER TABLE notes ADD FOREIGN KEY (project) REFERENCES projects NOT VALID;\n"
        "-- migrate: up, no transaction\nCREATE INDEX CONCURRENTLY notes_p ON notes (project);\n"
        "-- migrate: up\nALTER TABLE notes VALIDATE CONSTRAINT notes_project_fkey;\n",
    )
    assert cost.header == (
        "notes ACCESS EXCLUSIVE (no rewrite, no scan); notes SHARE UPDATE EXCLUSIVE (no rewrite, scan); "
        "projects SHARE ROW EXCLUSIVE (no rewrite, no scan)"
    )


def test_what_the_migration_makes_itself_is_not_told(config: DatabaseConfig) -> None:
    cost = measured(
        config,
        NOTES,
        "-- migrate: up\nCREATE TABLE fresh (id int);\nCREATE INDEX ON fresh (id);\n"
        "-- migrate: up\nALTER TABLE fresh ALTER COLUMN id TYPE bigint;\n",
    )
    assert [each.locks for each in cost.statements] == [{}, {}, {}]
    assert cost.header == "none that anybody waits for"


def test_a_lock_stays_held_for_the_statements_after_it(config: DatabaseConfig) -> None:
    cost = measured(
        config, NOTES, "-- migrate: up\nALTER TABLE notes ADD COLUMN x int;\nUPDATE notes SET x = 1;\n"
    )
    assert [each.locks for each in cost.statements] == [{"notes": AE}, {}]
    assert [each.held for each in cost.statements] == [{"notes": AE}, {"notes": AE}]
    assert cost.header == "notes ACCESS EXCLUSIVE (no rewrite, scan)"


@pytest.mark.parametrize(
    ("statement", "lock", "scans"),
    [
        ("CREATE INDEX CONCURRENTLY notes_x ON notes (body)", SUE, ("notes",)),
        ("DROP INDEX CONCURRENTLY notes_id", SUE, ()),
        ("REINDEX INDEX CONCURRENTLY notes_id", SUE, ("notes",)),
        ("REINDEX TABLE CONCURRENTLY notes", SUE, ("notes",)),
        ("VACUUM notes", SUE, ("notes",)),
        ("VACUUM (FULL) notes", AE, ("notes",)),
    ],
)
def test_what_no_transaction_takes_is_told_by_its_words(
    config: DatabaseConfig, statement: str, lock: str, scans: tuple[str, ...]
) -> None:
    before = NOTES + "CREATE INDEX notes_id ON notes (id);"
    [cost] = measured(config, before, f"-- migrate: up, no transaction\n{statement};\n").statements
    assert (cost.locks, cost.scans, cost.transactional, cost.measured) == (
        {"notes": lock},
        scans,
        False,
        False,
    )


def test_places_are_those_of_the_file(config: DatabaseConfig) -> None:
    text = "-- migrate: up\n\nSELECT 1;\n  -- why\n  ALTER TABLE notes\n    ADD COLUMN x int;\n"
    cost = measured(config, NOTES, text)
    assert [each.line for each in cost.statements] == [3, 5]
    assert cost.at(text.index("ALTER")) == cost.statements[1]
    assert cost.at(0) is None


def test_pending_versions_are_measured_beside_a_database_that_they_leave_alone(
    config: DatabaseConfig, session: Session
) -> None:
    later = "-- migrate: up\nALTER TABLE projects ALTER COLUMN description TYPE varchar(20000);\n"
    [cost] = measure_migrations(config, read_folder(VERSIONS), [migration(later, "0003_x")])
    assert cost.header == "projects ACCESS EXCLUSIVE (rewrite, scan)"
    assert session.all("SELECT FROM pg_tables WHERE schemaname = 'public'") == []
