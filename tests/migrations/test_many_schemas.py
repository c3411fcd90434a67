"""Many schemas of one database: each with its own history, side by side, and one's failure is its own."""

from threading import Barrier, Lock

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import InvalidValue
from database_handler.core.session import Session, Statement
from database_handler.migrations import MigrationManager, MigrationReport, UnusableTarget
from database_handler.migrations.runner.many_schemas import (
    SchemaConfig,
    SchemaOutcome,
    SchemasReport,
    in_schema,
    matching,
    migrate_schemas,
)
from tests.migrations.conftest import Folder

TENANTS = ["tenant_1", "tenant_2", "tenant_3", 'tenant "four", %']


@pytest.fixture(autouse=True)
def tenants(session: Session, folder: Folder) -> None:
    for name in [*TENANTS, "other"]:
        spelled = name.replace('"', '""')
        session.run(Statement(f'CREATE SCHEMA "{spelled}"', "test.schema", writes=True))
    folder.write("0001_a", "CREATE TABLE a (id int);", "DROP TABLE a;")
    folder.write("0002_b", "-- migrate: up, no transaction\nCREATE INDEX CONCURRENTLY a_id ON a (id);")


def run(
    config: DatabaseConfig, folder: Folder, pattern: str = "tenant*", **options: int
) -> tuple[SchemasReport, list[tuple[SchemaOutcome, int, int]]]:
    told: list[tuple[SchemaOutcome, int, int]] = []
    report = migrate_schemas(
        config,
        pattern,
        lambda each: MigrationManager(each, folder.path).migrate(),
        progress=lambda outcome, done, total: told.append((outcome, done, total)),
        **options,
    )
    return report, told


def tables(session: Session, name: str) -> list[str]:
    rows = session.all("SELECT schemaname FROM pg_tables WHERE tablename = %s ORDER BY 1", [name])
    return [schema for (schema,) in rows]


def test_each_gets_its_versions_and_a_history_of_its_own(
    config: DatabaseConfig, folder: Folder, session: Session
) -> None:
    report, told = run(config, folder)
    assert [outcome.schema_name for outcome in report.outcomes] == sorted(TENANTS)
    assert not report.failed, report.failed
    assert {outcome.applied for outcome in report.applied} == {("0001_a", "0002_b")}
    assert {outcome.head for outcome in report.outcomes} == {"0002_b"}
    assert ([done for _, done, _ in told], {total for *_, total in told}) == ([1, 2, 3, 4], {4})
    assert tables(session, "a") == tables(session, "application_migrations") == sorted(TENANTS)
    again, _ = run(config, folder)
    assert (len(again.at_head), again.applied, again.failed) == (4, (), ())
    assert '"schema_name":"tenant_1"' in again.model_dump_json()


def test_one_that_fails_does_not_stop_the_others(
    config: DatabaseConfig, folder: Folder, session: Session
) -> None:
    session.run("CREATE TABLE tenant_2.a (id int)")
    report, _ = run(config, folder, jobs=1)
    [failed] = report.failed
    assert (failed.schema_name, failed.kind, failed.head) == ("tenant_2", "MigrationFailed", None)
    assert 'relation "a" already exists' in str(failed.error)
    assert len(report.applied) == 3
    session.run("DROP TABLE tenant_2.a")
    mended, _ = run(config, folder)
    assert [outcome.schema_name for outcome in mended.applied] == ["tenant_2"]


def test_public_has_no_part_in_it(config: DatabaseConfig, folder: Folder, session: Session) -> None:
    MigrationManager(config, folder.path).migrate()
    session.run("CREATE EXTENSION pg_trgm")
    folder.write("0003_c", "CREATE INDEX a_trgm ON a USING gin ((id::text) gin_trgm_ops);")
    report, _ = run(config, folder, "tenant_1")
    assert report.outcomes[0].applied == ("0001_a", "0002_b", "0003_c")
    assert MigrationManager(config, folder.path).status().pending == ("0003_c",)
    assert MigrationManager(in_schema(config, "tenant_1"), folder.path).status().at_head


def test_as_many_at_once_as_jobs(config: DatabaseConfig) -> None:
    running, most, lock = [0], [0], Lock()
    together = Barrier(3)

    def migrate(each: SchemaConfig) -> MigrationReport:
        with lock:
            running[0] += 1
            most.append(running[0])
        together.wait(20)  # none goes on before three are here
        with lock:
            running[0] -= 1
        return MigrationReport(head=each.schema_name)

    report = migrate_schemas(config, "tenant_?", migrate, jobs=3)
    assert [outcome.head for outcome in report.outcomes] == ["tenant_1", "tenant_2", "tenant_3"]
    assert max(most) == 3
    together = Barrier(1)
    most.clear()
    most.append(0)
    migrate_schemas(config, "tenant_?", migrate, jobs=1)
    assert max(most) == 1


def test_patterns() -> None:
    names = ["t_1", "t_2", "tx2", "T_1", "public", "t(1)"]
    assert matching(names, "t_*") == ("t_1", "t_2")
    assert matching(names, "t_%") == ("t_1", "t_2")
    assert matching(names, "t?2") == ("t_2", "tx2")
    assert matching(names, "t(1)") == ("t(1)",)
    assert matching(names, "t") == ()


def test_what_cannot_be_done_is_said_first(config: DatabaseConfig, folder: Folder) -> None:
    with pytest.raises(UnusableTarget, match=r"no schema matches 'nobody\*'.*there are other, public"):
        run(config, folder, "nobody*")
    with pytest.raises(UnusableTarget, match="no schema 'nobody'"):
        in_schema(config, "nobody")
    with pytest.raises(UnusableTarget):
        run(config, folder, "pg_*")
    for jobs in (0, 65, True):
        with pytest.raises(InvalidValue, match="jobs is a whole number"):
            run(config, folder, jobs=jobs)
