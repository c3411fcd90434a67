"""One manager for the library's versions and an application's on top; each of its answers is JSON."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import BaseModel

from database_handler import Draft, Record, Table
from database_handler.config.database import DatabaseConfig
from database_handler.core.session import Session
from database_handler.migrations import IrreversibleMigration, MalformedMigration, MigrationManager
from database_handler.migrations.migration_manager import OWN_VERSIONS
from database_handler.utils.validators import Name
from tests.migrations.conftest import Folder

Make = Callable[..., MigrationManager]
LIBRARY = tuple(sorted(path.stem for path in OWN_VERSIONS.glob("*.sql")))


class NewTag(Draft, frozen=True):
    """A tag to be stored."""

    name: Name


class Tag(NewTag, Record, frozen=True):
    """A tag as it is stored."""

    table: ClassVar[Table] = Table("tags", key=("name",))


@pytest.fixture
def application(config: DatabaseConfig, folder: Folder) -> MigrationManager:
    return MigrationManager(config, folder.path, [Tag])


def test_an_application_stands_on_the_library(
    application: MigrationManager, config: DatabaseConfig, folder: Folder, session: Session
) -> None:
    folder.write("0001_notes", "CREATE TABLE notes (project uuid REFERENCES projects);", "DROP TABLE notes;")
    assert application.status().pending == (*LIBRARY, "0001_notes")
    assert application.heads(session) == (None, LIBRARY[-1])
    report = application.migrate()
    assert (report.applied, report.head) == ((*LIBRARY, "0001_notes"), "0001_notes")
    assert application.heads(session) == ("0001_notes", "0001_notes")
    assert [item.history for item in application.status().items] == [
        *("database_handler_migrations" for _ in LIBRARY),
        "application_migrations",
    ]
    assert application.migrate().applied == ()
    assert MigrationManager(config).status().at_head
    assert not application.drift().drifted
    assert application.rollback(target=0).rolled_back == ("0001_notes",)
    assert MigrationManager(config).status().at_head, (
        "the library's versions are not an application's to undo"
    )


def test_a_database_that_has_versions_brings_them_along(config: DatabaseConfig, folder: Folder) -> None:
    class Films:
        versions = folder.path
        models = (Tag,)
        history_table = "films_migrations"

        @property
        def config(self) -> DatabaseConfig:
            return config

    manager = MigrationManager(Films())
    assert (manager.versions, manager.models, manager.history_table) == (
        folder.path,
        (Tag,),
        "films_migrations",
    )
    folder.write("0001_tags", "CREATE TABLE tags (name text);")
    assert manager.migrate().applied == (*LIBRARY, "0001_tags")
    alone = MigrationManager(config, folder.path, history_table="films_migrations")
    assert alone.status().pending == ()


def test_a_broken_application_stops_the_librarys_versions_too(
    application: MigrationManager, folder: Folder, session: Session
) -> None:
    folder.write("0001_bad", "-- migrate: sideways\nSELECT 1;")
    with pytest.raises(MalformedMigration):
        application.migrate()
    assert session.one("SELECT to_regclass('projects')") == (None,)


def test_a_dry_run_tells_the_locks_and_runs_nothing(folder: Folder, manager: Make, session: Session) -> None:
    folder.write("0001_t", "CREATE TABLE t (id int PRIMARY KEY, a int);", "DROP TABLE t;")
    manager().migrate()
    folder.write(
        "0002_more",
        "-- migrate: up\nALTER TABLE t ADD COLUMN b int;\nALTER TABLE t ALTER COLUMN a TYPE bigint;\n"
        "-- migrate: up, no transaction\nCREATE INDEX CONCURRENTLY t_b ON t (b);\n"
        "-- migrate: down\nALTER TABLE t DROP COLUMN b;",
    )
    [planned] = manager().migrate(dry_run=True).planned
    assert (planned.name, planned.unmeasured) == ("0002_more", None)
    add, retype, index = planned.statements
    assert (add.line, add.locks, add.rewrites) == (3, {"t": "ACCESS EXCLUSIVE"}, ())
    assert (retype.rewrites, retype.sql) == (("t",), "ALTER TABLE t ALTER COLUMN a TYPE bigint")
    assert (index.transactional, index.locks) == (False, {"t": "SHARE UPDATE EXCLUSIVE"})
    assert manager().status().pending == ("0002_more",)
    assert session.one(
        "SELECT count(*) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'b'"
    ) == (0,)

    manager().migrate()
    [back] = manager().rollback(dry_run=True).planned
    assert [(each.sql, each.locks) for each in back.statements] == [
        ("ALTER TABLE t DROP COLUMN b", {"t": "ACCESS EXCLUSIVE"})
    ]
    assert manager().status().at_head
    (folder.path / "0002_more.sql").unlink()
    session.run("DELETE FROM application_migrations WHERE number = 2")
    folder.write("0002_odd", "ALTER TABLE elsewhere ADD COLUMN b int;")
    [odd] = manager().migrate(dry_run=True).planned
    assert (odd.statements, "elsewhere" in (odd.unmeasured or ""), "elsewhere" in odd.sql) == ((), True, True)


def test_lint_looks_at_what_is_pending_with_the_schema_before_it(folder: Folder, manager: Make) -> None:
    folder.write("0001_t", "CREATE TABLE t (id int PRIMARY KEY, a int); CREATE INDEX fine ON t (a);")
    assert not manager().lint().failed
    manager().migrate()
    bad = folder.write("0002_index", "CREATE INDEX waits ON t (a);")
    found = manager().lint()
    [report] = found.reports
    assert (found.failed, report.name, [each.line for each in report.findings if each.fails]) == (
        True,
        "0002_index",
        [3],
    )
    assert manager().lint([bad]) == found
    assert not manager().lint([folder.path / "0001_t.sql"]).failed
    assert not manager().lint(sizes=True).failed, "nobody waits long for a small table"


def test_lint_reads_files_where_no_server_answers(config: DatabaseConfig, folder: Folder) -> None:
    folder.write("0001_index", "CREATE INDEX waits ON t (a);")
    found = MigrationManager("postgresql://nobody@127.0.0.1:1/nowhere", folder.path).lint()
    assert (found.failed, "DatabaseUnavailable" in (found.unmeasured or "")) == (True, True)


def test_every_schema_of_a_pattern_is_migrated(folder: Folder, manager: Make, session: Session) -> None:
    folder.write("0001_t", "CREATE TABLE t (id int);", "DROP TABLE t;")
    for name in ("tenant_1", "tenant_2", "other"):
        session.script(f"CREATE SCHEMA {name}")
    seen: list[tuple[str, int, int]] = []
    report = manager().migrate_schemas(
        "tenant_%",
        jobs=2,
        progress=lambda outcome, done, total: seen.append((outcome.head or "", done, total)),
    )
    assert [outcome.schema_name for outcome in report.applied] == ["tenant_1", "tenant_2"]
    assert sorted(seen) == [("0001_t", 1, 2), ("0001_t", 2, 2)]
    assert session.all("SELECT schemaname FROM pg_tables WHERE tablename = 't' ORDER BY 1") == [
        ("tenant_1",),
        ("tenant_2",),
    ]
    assert len(manager().migrate_schemas("tenant_%").at_head) == 2


def test_every_answer_is_json(folder: Folder, manager: Make, tmp_path: Path) -> None:
    folder.write("0001_t", "CREATE TABLE t (id int);", "DROP TABLE t;")
    made = manager()
    answers: list[tuple[BaseModel, dict[str, object]]] = [
        (made.migrate(dry_run=True), {"changed": False}),
        (made.preflight(), {"violated": False}),
        (made.lint(), {"failed": False}),
        (made.migrate(), {"changed": True}),
        (made.status(), {"at_head": True, "pending": []}),
        (made.drift(), {"drifted": False}),
        (made.compare(made.config), {"same": True}),
        (made.adopt("nothing"), {}),
        (made.verify(), {"holds": True}),
    ]
    for answer, verdicts in answers:
        written = answer.model_dump_json()
        told = json.loads(written)
        assert {name: told[name] for name in verdicts} == verdicts
        assert type(answer).model_validate_json(written) == answer


def test_a_rollback_of_what_cannot_be_rolled_back_is_refused_also_dry(folder: Folder, manager: Make) -> None:
    folder.write("0001_t", "CREATE TABLE t (id int);")
    manager().migrate()
    with pytest.raises(IrreversibleMigration):
        manager().rollback(dry_run=True)
