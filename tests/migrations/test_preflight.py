"""What is in the way of pending versions is told before a lock is taken: counts of rows, and no value."""

from collections.abc import Callable

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.exceptions import DatabaseUnavailable
from database_handler.core.session import Session, Statement
from database_handler.core.transaction import Transaction
from database_handler.migrations import MigrationFailed, MigrationManager
from database_handler.migrations.live.preflight import PreflightReport
from tests.migrations.conftest import Folder
from tests.support.servers import on_each_server

Make = Callable[..., MigrationManager]

TABLES = """
CREATE TABLE p (id int PRIMARY KEY);
CREATE TABLE t (id int PRIMARY KEY, a int, b text, "P" int, d int4range, e text);
"""
ROWS = """
INSERT INTO p VALUES (1);
INSERT INTO t SELECT i, nullif(i, 3), 'secret' || i % 4, i % 2 + 1, int4range(i / 4 * 10, 100), i || 'x'
    FROM generate_series(1, 8) i;
"""


@pytest.fixture
def tables(folder: Folder, manager: Make, session: Session) -> MigrationManager:
    folder.write("0001_tables", TABLES)
    made = manager()
    made.migrate()
    session.script(ROWS)
    return made


def found(report: PreflightReport) -> list[tuple[int, str, str, int | None]]:
    return [(each.line, each.severity, each.asked, each.rows) for each in report.findings]


@on_each_server
def test_each_kind_of_violator_is_counted_at_its_statement(
    tables: MigrationManager, folder: Folder, session: Session
) -> None:
    folder.write(
        "0002_rules",
        """
ALTER TABLE t ALTER COLUMN a SET NOT NULL;
ALTER TABLE t ADD CONSTRAINT small CHECK (a < 5);
ALTER TABLE t RENAME COLUMN b TO c;
CREATE UNIQUE INDEX t_c ON t (lower(c)) WHERE a > 2;
ALTER TABLE t ADD CONSTRAINT t_p FOREIGN KEY ("P") REFERENCES p;
ALTER TABLE t ADD CONSTRAINT apart EXCLUDE USING gist (d WITH &&);
ALTER TABLE t ADD COLUMN n int NOT NULL;
ALTER TABLE t ALTER COLUMN e TYPE varchar(1);
ALTER TABLE t ADD CONSTRAINT fine CHECK (id > 0), ADD CONSTRAINT t_id UNIQUE (id, a);
""",
    )
    report = tables.preflight()
    [(version,)] = session.all("SELECT current_setting('server_version_num')::int")
    told = ("violation", "type", 8) if version >= 160000 else ("unknown", "type", None)  # it must try
    assert found(report) == [
        (4, "violation", "not null", 1),
        (5, "violation", "check", 4),
        (7, "violation", "unique", 1),
        (8, "violation", "foreign key", 4),
        (9, "violation", "exclusion", 8),
        (10, "violation", "not null", 8),
        (11, *told),
    ]
    assert (report.violated, report.pending) == (True, ("0002_rules",))
    first = report.findings[0]
    assert (first.version, first.path.name) == ("0002_rules", "0002_rules.sql")
    assert first.message == "t.a becomes NOT NULL; rows without a value: 1"
    assert first.statement == "ALTER TABLE t ALTER COLUMN a SET NOT NULL"
    assert "secret" not in report.model_dump_json(), "no value of a row"


@on_each_server
def test_what_is_counted_is_what_the_migration_fails_on(tables: MigrationManager, folder: Folder) -> None:
    """Each statement alone: it fails where a violation is told, and runs where none is."""
    for statement, fails in (
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (a < 5)", True),
        ("ALTER TABLE t ADD CONSTRAINT c CHECK (a < 9)", False),
        ("ALTER TABLE t ADD CONSTRAINT u UNIQUE NULLS NOT DISTINCT (a)", False),
        ("ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (id) REFERENCES p NOT VALID", False),
        ("CREATE UNIQUE INDEX u ON t (b, (a % 4))", True),
        ("ALTER TABLE t ADD COLUMN n int NOT NULL DEFAULT 1", False),
        ("ALTER TABLE t ADD COLUMN n int UNIQUE NULLS NOT DISTINCT", True),
        ("ALTER TABLE t ALTER COLUMN id TYPE bigint", False),
    ):
        file = folder.write("0002_one", f"{statement};")
        assert tables.preflight().violated is fails, statement
        if fails:
            with pytest.raises(MigrationFailed):
                tables.migrate()
        else:
            folder.write("0002_one", f"{statement}; DO 'BEGIN RAISE ''it ran''; END';")
            with pytest.raises(MigrationFailed, match="it ran"):
                tables.migrate()
        file.unlink()


def test_what_the_versions_mend_themselves_is_only_possible(tables: MigrationManager, folder: Folder) -> None:
    folder.write(
        "0002_mended",
        "UPDATE t SET a = 0 WHERE a IS NULL;\nALTER TABLE t ALTER COLUMN a SET NOT NULL;\n"
        "ALTER TABLE t ADD COLUMN z int;\nUPDATE t SET z = 1;\nALTER TABLE t ALTER COLUMN z SET NOT NULL;",
    )
    report = tables.preflight()
    assert found(report) == [(4, "possible", "not null", 1)]
    assert "0002_mended:3 changes rows before that" in report.findings[0].message
    assert not report.violated
    assert tables.migrate().applied == ("0002_mended",)


def test_a_constraint_counts_once_it_is_validated(tables: MigrationManager, folder: Folder) -> None:
    folder.write("0002_later", "ALTER TABLE t ADD CONSTRAINT c CHECK (a < 5) NOT VALID;")
    assert found(tables.preflight()) == []
    folder.write("0003_now", "ALTER TABLE t VALIDATE CONSTRAINT c;")
    assert [(each.version, each.rows) for each in tables.preflight().findings] == [("0003_now", 4)]
    tables.migrate(2)
    assert [(each.version, each.rows) for each in tables.preflight().findings] == [("0003_now", 4)]


def test_sizes_and_those_in_the_way_are_told(
    tables: MigrationManager, folder: Folder, config: DatabaseConfig, session: Session
) -> None:
    session.run("ANALYZE t")
    folder.write("0002_more", "ALTER TABLE t ADD COLUMN more int;")
    lease = dedicated(config.with_(application_name="the report"))
    with Transaction(lambda: lease) as reading:
        reading.one(Statement("SELECT count(*) FROM t", "test"))
        report = tables.preflight()
        assert [(blocker.application, blocker.holds) for blocker in report.blockers] == [
            ("the report", ("t",))
        ]
    [table] = report.tables
    assert (table.name, table.rows, table.size_bytes > 0, table.versions) == ("t", 8, True, ("0002_more",))
    assert tables.preflight().blockers == ()


def test_rows_that_were_never_analyzed_are_not_taken_for_none(
    tables: MigrationManager, folder: Folder, session: Session
) -> None:
    session.script("ALTER TABLE t SET (autovacuum_enabled = false); SELECT pg_stat_force_next_flush()")
    session.script(
        "INSERT INTO t (id) SELECT generate_series(100, 20099); SELECT pg_stat_force_next_flush();"
    )
    folder.write("0002_index", "CREATE INDEX t_b ON t (b);")
    [table] = tables.preflight().tables
    assert table.rows >= 20_000
    assert tables.lint(sizes=True).reports[0].failed


def test_rows_are_counted_where_it_is_told_to(
    tables: MigrationManager, folder: Folder, config: DatabaseConfig
) -> None:
    folder.write("0002_rule", "ALTER TABLE t ALTER COLUMN a SET NOT NULL;")
    lease = dedicated(config)
    beside = config.with_(application_name="standby")
    with Transaction(lambda: lease) as reading:
        reading.one(Statement("SELECT count(*) FROM t", "test"))
        report = tables.preflight(read_from=beside)
    assert (found(report), len(report.blockers)) == ([(3, "violation", "not null", 1)], 1)
    with pytest.raises(DatabaseUnavailable):
        tables.preflight(read_from="postgresql://nobody@127.0.0.1:1/nowhere")


def test_a_table_that_is_locked_or_too_large_to_count_is_said_to_be_unknown(
    tables: MigrationManager, folder: Folder, config: DatabaseConfig
) -> None:
    folder.write("0002_rule", "ALTER TABLE t ALTER COLUMN a SET NOT NULL;")
    lease = dedicated(config)
    with Transaction(lambda: lease) as locking:
        locking.run(Statement("LOCK TABLE t IN ACCESS EXCLUSIVE MODE", "test", writes=True))
        report = tables.preflight(timeout=0.1)
    [unknown] = report.findings
    assert (unknown.severity, unknown.rows, report.violated) == ("unknown", None, False)
    assert "not told" in unknown.message


def test_it_only_reads(tables: MigrationManager, folder: Folder, session: Session) -> None:
    folder.write("0002_rule", "ALTER TABLE t ALTER COLUMN b SET NOT NULL; DROP TABLE p;")
    before = (
        session.all("SELECT xmin::text, * FROM t ORDER BY id"),
        session.all("SELECT xmin::text FROM pg_class"),
    )
    assert not tables.preflight().violated
    after = (
        session.all("SELECT xmin::text, * FROM t ORDER BY id"),
        session.all("SELECT xmin::text FROM pg_class"),
    )
    assert before == after
    assert tables.status().head == "0001_tables"


def test_a_version_that_fails_without_any_row_is_an_error(tables: MigrationManager, folder: Folder) -> None:
    folder.write("0002_bad", "ALTER TABLE t ADD COLUMN x int;\nALTER TABLE nowhere ADD COLUMN x int;")
    with pytest.raises(MigrationFailed, match=r"0002_bad.sql:4:\d+: on a scratch copy"):
        tables.preflight()


def test_nothing_pending_is_nothing_to_look_for(tables: MigrationManager) -> None:
    assert tables.preflight() == PreflightReport(pending=())


def test_what_goes_is_counted_and_does_not_fail(tables: MigrationManager, folder: Folder) -> None:
    folder.write(
        "0002_drops",
        "ALTER TABLE t RENAME a TO aa;\nALTER TABLE t DROP COLUMN aa;\nALTER TABLE t ADD COLUMN n int;\n"
        "ALTER TABLE t DROP COLUMN n;\nTRUNCATE t;\nDROP TABLE p;",
    )
    report = tables.preflight()
    assert found(report) == [(4, "loss", "loss", 7), (7, "loss", "loss", 8), (8, "loss", "loss", 1)]
    assert [each.message for each in report.findings] == [
        "t.a goes: 7 rows hold a value",
        "t is emptied: 8 rows",
        "table p goes: 1 row",
    ]
    assert not report.violated
    assert report.drift == ()


def test_what_cannot_be_counted_before_it_goes_is_said(
    tables: MigrationManager, folder: Folder, config: DatabaseConfig
) -> None:
    folder.write("0002_drops", "DROP TABLE t;")
    lease = dedicated(config)
    with Transaction(lambda: lease) as locking:
        locking.run(Statement("LOCK TABLE t IN ACCESS EXCLUSIVE MODE", "test", writes=True))
        [unknown] = tables.preflight(timeout=0.1).findings
    assert (unknown.severity, unknown.rows, unknown.asked) == ("unknown", None, "loss")
    assert "table t goes: how many rows is not told" in unknown.message


def test_a_schema_that_has_drifted_is_told(
    tables: MigrationManager, folder: Folder, session: Session
) -> None:
    session.run("CREATE VIEW by_hand AS SELECT a FROM t")
    folder.write("0002_drops", "ALTER TABLE t DROP COLUMN a;")
    assert tables.preflight().drift == ("extra view by_hand",)
