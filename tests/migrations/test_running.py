"""Up, down and status on a real server; what is wrong is found before anything runs."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import AuthenticationFailed, ConfigurationError, InvalidValue
from database_handler.core.session import Session, Statement
from database_handler.core.sql_text import locate
from database_handler.migrations import (
    ChangedMigration,
    DuplicateMigration,
    IrreversibleMigration,
    LockFileMismatch,
    MalformedMigration,
    MigrationFailed,
    MigrationGap,
    MigrationManager,
    MigrationReport,
    MissingMigration,
    OutOfOrderMigration,
    PoolerInTheWay,
    ReadOnlyTarget,
    lock_text,
)
from database_handler.migrations.errors import HistoryNotAllowed
from database_handler.migrations.files.migration import read_folder
from tests.migrations.conftest import Folder, run_alone
from tests.support.servers import on_each_server

Make = Callable[..., MigrationManager]
GOOD = "-- migrate: up\nSELECT 1;"


def tables(session: Session) -> list[str]:
    rows = session.all("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    kept = {"application_migrations", "database_handler_migrations_snapshot"}
    return [name for (name,) in rows if name not in kept]


def history(session: Session) -> list[str]:
    return [name for (name,) in session.all("SELECT name FROM application_migrations ORDER BY number")]


@pytest.fixture
def three(folder: Folder) -> Folder:
    for number, name in enumerate("abc", 1):
        folder.write(f"{number:04}_{name}", f"CREATE TABLE {name} (id int);", f"DROP TABLE {name};")
    return folder


@on_each_server
def test_up_down_and_status(three: Folder, manager: Make, session: Session) -> None:
    runner = manager()
    before = runner.status()
    assert (before.head, before.pending, before.at_head) == (None, ("0001_a", "0002_b", "0003_c"), False)
    planned = runner.migrate(dry_run=True)
    assert [step.name for step in planned.planned] == ["0001_a", "0002_b", "0003_c"]
    assert planned.planned[0].sql == "CREATE TABLE a (id int);\n"
    assert (tables(session), planned.changed) == ([], False)

    assert runner.migrate(2).applied == ("0001_a", "0002_b")
    assert tables(session) == ["a", "b"]
    report = runner.migrate()
    assert (report.applied, report.head, report.changed) == (("0003_c",), "0003_c", True)
    again = runner.migrate()
    assert again == MigrationReport(head="0003_c", seconds=again.seconds)

    after = runner.status()
    assert after.at_head
    assert {item.state for item in after.items} == {"applied"}
    assert all(item.applied_at and item.applied_by and item.duration for item in after.items)
    assert json.loads(after.model_dump_json())["items"][0]["name"] == "0001_a"

    assert runner.rollback().rolled_back == ("0003_c",)
    assert tables(session) == ["a", "b"]
    assert runner.rollback(target=0).rolled_back == ("0002_b", "0001_a")
    assert (tables(session), history(session)) == ([], [])
    assert runner.migrate().applied == ("0001_a", "0002_b", "0003_c")


def test_a_url_or_a_database_is_as_good_as_a_config(
    three: Folder, config: DatabaseConfig, session: Session
) -> None:
    class Database:
        def __init__(self) -> None:
            self.config = config

    assert MigrationManager(Database(), three.path).migrate(1).applied == ("0001_a",)
    assert MigrationManager(config.url(hide_password=False), str(three.path)).migrate(2).applied == (
        "0002_b",
    )
    elsewhere = DatabaseConfig.from_url(
        "postgresql://localhost:1/nowhere", migration_url=config.url(hide_password=False), pgbouncer=True
    )
    assert MigrationManager(elsewhere, three.path).migrate().applied == ("0003_c",)
    assert tables(session) == ["a", "b", "c"]


def test_two_folders_have_two_histories(three: Folder, config: DatabaseConfig, session: Session) -> None:
    MigrationManager(config, three.path).migrate(1)
    other = Folder(three.path.parent / "other")
    other.path.mkdir()
    other.write("0001_z", "CREATE TABLE z (id int);")
    assert MigrationManager(config, other.path, history_table="z_history").migrate().applied == ("0001_z",)
    assert MigrationManager(config, three.path).status().head == "0001_a"
    assert [name for (name,) in session.all("SELECT name FROM z_history")] == ["0001_z"]
    for wrong in ("Z", "a b", 'a"b', "", "a" * 64, "a\0"):
        with pytest.raises(InvalidValue, match="history_table"):
            MigrationManager(config, other.path, history_table=wrong)


def test_comments_and_line_endings_may_change_later(three: Folder, manager: Make) -> None:
    manager().migrate()
    path = three.path / "0002_b.sql"
    path.write_bytes(b"\xef\xbb\xbf-- another comment\r\n" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert not manager().migrate().changed
    assert manager().rollback(2).rolled_back == ("0003_c", "0002_b")


@pytest.mark.parametrize(
    ("spoil", "kind", "state"),
    [
        (lambda path: (path / "0001_a.sql").write_text(GOOD), ChangedMigration, "changed"),
        (lambda path: (path / "0001_a.sql").rename(path / "0001_z.sql"), MalformedMigration, None),
        (lambda path: (path / "0002_b.sql").unlink(), MigrationGap, None),
        (lambda path: (path / "0002_z.sql").write_text(GOOD), DuplicateMigration, None),
        (lambda path: (path / "0004_d.sql").write_text(GOOD + "'"), MalformedMigration, None),
        (lambda path: (path / "versions.lock").write_text("<<<<<<<\n"), LockFileMismatch, None),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found_before_anything_runs(
    three: Folder,
    manager: Make,
    session: Session,
    spoil: Callable[[Path], object],
    kind: type[Exception],
    state: str | None,
) -> None:
    manager().migrate(2)
    spoil(three.path)
    for call in (manager().migrate, manager().rollback):
        with pytest.raises(kind):
            call()
    assert (tables(session), history(session)) == (["a", "b"], ["0001_a", "0002_b"])
    if state:
        assert manager().status().items[0].state == state


def test_a_missing_file_and_one_out_of_order(three: Folder, manager: Make, session: Session) -> None:
    manager().migrate()
    (three.path / "0003_c.sql").unlink()
    with pytest.raises(MissingMigration, match="0003_c was applied"):
        manager().migrate()
    assert manager().status().items[2].state == "missing"
    three.write("0003_c", "CREATE TABLE c (id int);", "DROP TABLE c;")
    session.run("DELETE FROM application_migrations WHERE number = 2")
    with pytest.raises(OutOfOrderMigration, match="0002_b is not applied, and 0003_c is"):
        manager().migrate()


def test_the_lock_file_goes_with_the_files(three: Folder, manager: Make) -> None:
    lock = three.path / "versions.lock"
    lock.write_text(lock_text(read_folder(three.path)))
    assert len(manager().migrate().applied) == 3
    three.write("0004_d", "SELECT;")
    with pytest.raises(
        LockFileMismatch, match=r"0004_d is not in versions\.lock; add the line\n0004_d [0-9a-f]{64} 0003_c"
    ):
        manager().migrate()


def test_the_lock_file_is_put_right_after_a_merge_that_left_it_in_pieces(
    three: Folder, manager: Make
) -> None:
    lock = three.path / "versions.lock"
    whole = lock_text(read_folder(three.path))
    first, second, third = whole.splitlines(keepends=True)
    merged = f"{first}<<<<<<< HEAD\n{second}=======\n0002_other 0a1b 0001_a\n>>>>>>> theirs\n"
    lock.write_text(merged)
    with pytest.raises(LockFileMismatch, match="database-handler migrations lock"):
        manager().migrate()
    locked = manager().lock()
    assert (locked.added, locked.removed) == (("0003_c",), ("0002_other",))
    assert lock.read_text() == whole
    lock.write_text(f"{first}{third}{second}")
    assert manager().lock().added == ()
    assert lock.read_text() == whole


def test_a_wrong_name_hides_nothing_else(three: Folder, manager: Make) -> None:
    (three.path / "versions.lock").write_text(lock_text(read_folder(three.path)))
    (three.path / "0002_b.sql").rename(three.path / "0002-b.sql")
    three.write("0003_c", "SELECT 1;")
    three.write("0005_e", "SELECT 1;")
    with pytest.raises(MalformedMigration) as caught:
        manager().status()
    told = str(caught.value)
    assert "'0002-b.sql' is not a migration's name" in told
    assert "no version 0004" in told
    assert "0003_c is not what versions.lock recorded" in told
    assert "versions.lock names 0002_b" in told
    assert "no version 0002" not in told


def test_an_irreversible_one_stops_a_rollback_before_it_begins(
    three: Folder, manager: Make, session: Session
) -> None:
    three.write("0002_b", "CREATE TABLE b (id int);")
    manager().migrate()
    with pytest.raises(IrreversibleMigration, match="0002_b cannot be rolled back"):
        manager().rollback(3)
    assert tables(session) == ["a", "b", "c"]


# ----------------------------------------------------------------------------------- a way down that is wrong


def spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_a_way_down_that_fails_is_put_right_and_run(three: Folder, manager: Make, session: Session) -> None:
    path = three.path / "0003_c.sql"
    spoil(path, "DROP TABLE c", "DROP TABEL c")
    manager().lock()
    manager().migrate()
    with pytest.raises(MigrationFailed, match=r"Put its way down right.*migrations lock.*call rollback\(\)"):
        manager().rollback()
    spoil(path, "DROP TABEL c", "DROP TABLE c")
    with pytest.raises(LockFileMismatch, match=r"only its way down was changed.*`.* migrations lock`"):
        manager().rollback()
    assert manager().lock().changed == ("0003_c",)
    status = manager().status()
    assert (status.at_head, [item.another_down for item in status.items]) == (True, [False, False, True])
    assert not manager().migrate().changed
    assert manager().rollback().rolled_back == ("0003_c",)
    assert tables(session) == ["a", "b"]
    assert manager().migrate().applied == ("0003_c",)
    assert not manager().status().items[2].another_down


def test_the_way_up_may_not_change_with_it(three: Folder, manager: Make) -> None:
    manager().migrate()
    path = three.path / "0003_c.sql"
    spoil(path, "DROP TABLE c", "DROP TABLE IF EXISTS c")
    spoil(path, "id int", "id bigint")
    with pytest.raises(ChangedMigration, match=r"0003_c was changed.* and its way down may change"):
        manager().rollback()
    with pytest.raises(ChangedMigration):
        manager().lock()
    assert manager().status().items[2].state == "changed"


def test_a_row_of_an_earlier_release_has_its_way_up_recorded_apart(
    three: Folder, manager: Make, session: Session
) -> None:
    manager().migrate()
    session.run("ALTER TABLE application_migrations DROP COLUMN up_hash")
    assert manager().status().at_head
    assert not manager().migrate().changed
    path = three.path / "0003_c.sql"
    spoil(path, "DROP TABLE c", "DROP TABLE IF EXISTS c")
    with pytest.raises(ChangedMigration, match="put it back, run `database-handler migrations lock`, which"):
        manager().rollback()
    spoil(path, "DROP TABLE IF EXISTS c", "DROP TABLE c")
    manager().lock()
    spoil(path, "DROP TABLE c", "DROP TABLE IF EXISTS c")
    manager().lock()
    assert manager().rollback().rolled_back == ("0003_c",)

    spoil(three.path / "0002_b.sql", "DROP TABLE b", "DROP TABLE b, nowhere")
    session.run("UPDATE application_migrations SET up_hash = NULL WHERE number = 1")
    (three.path / "versions.lock").unlink()
    with pytest.raises(MigrationFailed, match="nowhere"):
        manager().rollback()  # any run that holds the lock records them apart, also one that fails
    assert session.one("SELECT count(*) FROM application_migrations WHERE up_hash IS NULL") == (0,)


def test_a_python_version_has_its_way_down_apart_too(folder: Folder, manager: Make) -> None:
    path = folder.path / "0001_p.py"
    path.write_text(
        "def up(session):\n    session.run('CREATE TABLE p (id int)')\n\n\n"
        "def down(session):\n    session.run('DROP TABEL p')\n"
    )
    manager().migrate()
    spoil(path, "DROP TABEL p", "DROP TABLE p")
    assert manager().status().items[0].another_down
    assert manager().rollback().rolled_back == ("0001_p",)


# ------------------------------------------------------------------------------------------------- failures


def failure(manager: MigrationManager) -> MigrationFailed:
    with pytest.raises(MigrationFailed) as caught:
        manager.migrate()
    assert caught.value.__cause__ is None
    return caught.value


@on_each_server
def test_an_error_shows_file_line_and_caret(three: Folder, manager: Make, session: Session) -> None:
    path = three.write(
        "0004_d",
        "CREATE TABLE d (id int); -- ünïcödé\nINSERT INTO d\n\n"
        "\tSELECT 'é漢' FROM\tnowhere\tAS n;\nSELECT 1;",
        "DROP TABLE d;",
    )
    failed = failure(manager())
    assert (failed.path, failed.line, failed.sqlstate) == (path, 6, "42P01")
    message = str(failed).splitlines()
    assert message[0].startswith(f"{path}:6:{failed.column}: ")
    assert 'relation "nowhere" does not exist [42P01]' in message[0]
    assert message[1] == "    4 | INSERT INTO d"
    assert message[2] == "      | ..."
    assert message[3] == "    6 |  SELECT 'é漢' FROM nowhere AS n;"
    assert message[4] == "      |  " + " " * 18 + "^"
    assert "rolled back as a whole" in message[5]
    assert (tables(session), history(session)) == (["a", "b", "c"], ["0001_a", "0002_b", "0003_c"])


def test_what_depends_on_an_object_is_named_with_what_to_do(folder: Folder, manager: Make) -> None:
    folder.write("0001_t", "CREATE TABLE t (a int, b int); CREATE VIEW by_hand AS SELECT a, b FROM t;")
    manager().migrate()
    path = folder.write("0002_d", "ALTER TABLE t DROP COLUMN b;")
    dropped = str(failure(manager())).splitlines()[0]
    assert "cannot drop column b of table t because other objects depend on it" in dropped
    assert "view by_hand depends on column b of table t [2BP01]" in dropped
    assert "`database-handler migrations drift` shows what was made by hand" in dropped
    path.write_text(path.read_text().replace("DROP COLUMN b", "ALTER a TYPE bigint"))
    typed = str(failure(manager())).splitlines()[0]
    assert "type of a column used by a view" in typed
    assert "rule _RETURN on view by_hand depends on column" in typed
    assert "migrations drift" in typed


def test_what_this_run_has_applied_before_is_told(folder: Folder, manager: Make) -> None:
    folder.write("0001_a", "CREATE TABLE a (id int);")
    manager().migrate()
    folder.write("0002_b", "CREATE TABLE b (id int);")
    folder.write("0003_c", "CREATE TABLE c (id int);")
    folder.write("0004_d", "CREATE TABEL d (id int);")
    failed = failure(manager())
    assert failed.applied == ("0002_b", "0003_c")
    assert str(failed).splitlines()[-1] == "This run has applied 0002_b, 0003_c before, which stand."


def test_an_error_in_the_first_statement_is_placed_too(folder: Folder, manager: Make) -> None:
    folder.write("0001_a", "CREATE TABEL a (id int);")
    failed = failure(manager())
    assert (failed.line, failed.column) == (3, 8)
    assert 'syntax error at or near "TABEL"' in str(failed)


@pytest.mark.parametrize(
    ("statement", "reason", "column"),
    [
        ("CREATE UNIQUE INDEX u ON v (x)", 'could not create unique index "u" [23505]', 3),
        ("ALTER TABLE v ADD CHECK (x > 9)", 'is violated by some row [23514]', 3),
        ("SELECT 1 / count(*) FROM v WHERE x > 9", "division by zero [22012]", 3),
        ("DO $$ BEGIN RAISE EXCEPTION 'rows were lost'; END $$", "rows were lost [P0001]", 3),
        ("SELECT 'swordfish'::int", "The server refused a value", 10),
        ("CREATE ROLE r PASSWORD 'swordfish' WRONG", "The SQL text is not one valid statement", 38),
        ("CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (key 'swordfish')", '"w" does not exist', 3),
        ("INSERT INTO nowhere (api_key) VALUES ('swordfish')", 'relation "nowhere" does not exist', 15),
    ],
)  # fmt: skip
def test_an_error_without_a_position_is_placed_at_its_statement(
    folder: Folder, manager: Make, statement: str, reason: str, column: int
) -> None:
    folder.write("0001_a", f"CREATE TABLE v (x int);\nINSERT INTO v VALUES (4), (4);\n  {statement};")
    failed = failure(manager())
    assert (failed.line, failed.column) == (5, column)
    assert reason in str(failed)
    if "::int" not in statement:
        assert "swordfish" not in str(failed)


def test_a_statement_timeout_of_the_role_s_is_told_with_its_remedy(
    folder: Folder, manager: Make, session: Session, config: DatabaseConfig
) -> None:
    session.run(
        Statement(f"ALTER DATABASE {config.name} SET statement_timeout = '100ms'", "test", writes=True)
    )
    folder.write("0001_a", "SELECT pg_sleep(60);")
    assert "SET LOCAL statement_timeout = 0;" in str(failure(manager()))
    folder.write("0001_a", "SET LOCAL statement_timeout = 0; SELECT pg_sleep(0.2);")
    assert manager().migrate().applied == ("0001_a",)


def test_a_file_of_very_many_statements_is_not_counted_anew_for_each() -> None:
    statement = "INSERT INTO t VALUES (1);\n"
    text = statement * 100_000
    started = time.monotonic()
    for place in range(0, 20_000):
        at = (80_000 + place) * len(statement)
        assert locate(text, at).line == 80_001 + place
    assert time.monotonic() - started < 5.0  # it took 20 s and more


def test_a_role_that_may_not_use_the_history_is_told_what_it_lacks(
    three: Folder, config: DatabaseConfig, session: Session
) -> None:
    MigrationManager(config, three.path).migrate()
    session.script("CREATE ROLE pair_outsider LOGIN PASSWORD 'x'")
    try:
        poor = config.with_(user="pair_outsider", password="x")
        with pytest.raises(HistoryNotAllowed, match=r"migration_url.*GRANT SELECT"):
            MigrationManager(poor, three.path).status()
        session.run(Statement("DROP TABLE application_migrations", "test", writes=True))
        with pytest.raises(HistoryNotAllowed, match=r"GRANT USAGE, CREATE ON SCHEMA.*nothing was run"):
            MigrationManager(poor, three.path).migrate()
    finally:
        session.script("DROP ROLE pair_outsider")


@on_each_server
def test_a_deferred_constraint_fails_at_the_end_of_its_section(folder: Folder, manager: Make) -> None:
    folder.write(
        "0001_a",
        "CREATE TABLE p (id int PRIMARY KEY);\n"
        "CREATE TABLE q (p int REFERENCES p DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO q VALUES (1);",
    )
    failed = failure(manager())
    assert failed.sqlstate == "23503"
    assert "q_p_fkey" in str(failed)
    assert manager().status().head is None


@on_each_server
def test_verify_runs_in_the_transaction_and_undoes_it(
    folder: Folder, manager: Make, session: Session
) -> None:
    folder.write("0001_a", "CREATE TABLE a (id int);", verify="SELECT 1 / count(*) FROM a;")
    failed = failure(manager())
    assert failed.line == 5
    assert tables(session) == []
    folder.write(
        "0001_a", "CREATE TABLE a (id int);\nINSERT INTO a VALUES (1);", verify="SELECT 1 / count(*) FROM a;"
    )
    assert manager().migrate().applied == ("0001_a",)


def test_what_a_migration_sets_does_not_reach_the_next(
    folder: Folder, manager: Make, session: Session
) -> None:
    folder.write(
        "0001_a",
        "SELECT set_config('search_path', '', false);\nSET lock_timeout = 0;\nCREATE ROLE nobody_else;",
    )
    folder.write("0002_b", "SET ROLE nobody_else;")
    folder.write("0003_c", "CREATE TABLE c (id int);", "DROP TABLE c; DROP ROLE nobody_else;")
    assert len(manager().migrate().applied) == 3
    [(owner,)] = session.all("SELECT tableowner::text FROM pg_tables WHERE tablename = 'c'")
    assert owner != "nobody_else"
    manager().rollback()


def test_a_wrong_password_or_url_shows_no_secret(config: DatabaseConfig, folder: Folder) -> None:
    with pytest.raises(ConfigurationError) as caught:
        MigrationManager("postgresql://u:swordfish@host:notaport/x", folder.path)
    assert "swordfish" not in str(caught.value)
    with pytest.raises((AuthenticationFailed, ConfigurationError)) as refused:
        MigrationManager(
            config.model_copy(update={"user": "not_there"}).with_(password="swordfish"), folder.path
        ).migrate()
    assert "swordfish" not in repr(refused.value)


# ------------------------------------------------------------------------------------ outside of transactions


CONCURRENT = """-- migrate: up
CREATE TABLE t (a int, b int);
INSERT INTO t VALUES (1, 1), (1, 2);
-- migrate: up, no transaction
CREATE INDEX CONCURRENTLY t_b ON t (b);
CREATE UNIQUE INDEX CONCURRENTLY t_a ON t (a);
-- migrate: verify
SELECT 1 / count(*) FROM pg_indexes WHERE indexname = 't_a';
-- migrate: down, no transaction
DROP INDEX CONCURRENTLY t_a;
DROP INDEX CONCURRENTLY t_b;
-- migrate: down
DROP TABLE t;
"""


@on_each_server
def test_a_section_without_a_transaction_goes_on_where_it_stopped(
    folder: Folder, manager: Make, session: Session
) -> None:
    path = folder.write("0001_t", CONCURRENT)
    failed = failure(manager())
    assert (failed.line, failed.sqlstate) == (7, "23505")
    assert "goes on with this statement" in str(failed)
    assert "left no INVALID index" in str(failed)
    assert session.one("SELECT to_regclass('t_a')") == (None,)
    status = manager().status()
    assert (status.items[0].state, status.pending) == ("partial", ("0001_t",))

    session.run("DELETE FROM t WHERE b = 2")
    path.write_text(path.read_text().replace("UNIQUE INDEX CONCURRENTLY t_a", "INDEX CONCURRENTLY t_a"))
    assert manager().migrate(dry_run=True).planned[0].sql == "CREATE INDEX CONCURRENTLY t_a ON t (a);\n"
    assert manager().migrate().applied == ("0001_t",)
    valid = "SELECT indexrelid::regclass::text FROM pg_index WHERE indisvalid AND indrelid = 't'::regclass"
    assert sorted(name for (name,) in session.all(valid)) == ["t_a", "t_b"]
    assert manager().status().at_head

    assert manager().rollback().rolled_back == ("0001_t",)
    assert tables(session) == []


def test_a_done_part_may_not_change(folder: Folder, manager: Make) -> None:
    path = folder.write("0001_t", CONCURRENT)
    failure(manager())
    path.write_text(path.read_text().replace("a int, b int", "a int, b bigint"))
    with pytest.raises(ChangedMigration, match="in what is done of it, 2 parts,"):
        manager().migrate()


# --------------------------------------------------------------------------------------------- squashed files


@on_each_server
def test_a_squashed_file_is_known_where_its_versions_were_applied(
    three: Folder, manager: Make, session: Session
) -> None:
    manager().migrate()
    before = read_folder(three.path)
    lines = "".join(f"-- replaces: {each.name} {each.token_hash}\n" for each in before)
    for each in before:
        each.path.unlink()
    path = three.path / "0003_all.sql"
    path.write_text(
        f"-- 0003_all\n{lines}-- migrate: up\n"
        "CREATE TABLE a (id int);\nCREATE TABLE b (id int);\nCREATE TABLE c (id int);\n"
        "-- migrate: down\nDROP TABLE a, b, c;\n"
    )
    assert not manager().migrate().changed
    assert history(session) == ["0001_a", "0002_b", "0003_c"]
    three.write("0004_d", "CREATE TABLE d (id int);", "DROP TABLE d;")
    assert manager().migrate().applied == ("0004_d",)
    assert history(session) == ["0003_all", "0004_d"]
    assert session.all("SELECT origin FROM application_migrations ORDER BY number") == [
        ("replaced",), ("run",),
    ]  # fmt: skip
    assert manager().rollback(2).rolled_back == ("0004_d", "0003_all")
    assert tables(session) == []
    assert manager().migrate().applied == ("0003_all", "0004_d")
    assert tables(session) == ["a", "b", "c", "d"]


# --------------------------------------------------------------------------------------------- other servers


def test_without_a_schema_to_be_in_it_is_said(
    three: Folder, manager: Make, config: DatabaseConfig, session: Session
) -> None:
    run_alone(config, f"ALTER DATABASE {config.name} SET search_path = nowhere")
    with pytest.raises(ConfigurationError, match="no schema of the search_path exists"):
        manager().migrate()
    session.run("CREATE SCHEMA nowhere")
    assert manager().migrate(1).applied == ("0001_a",)
    assert session.one("SELECT to_regclass('nowhere.application_migrations') IS NOT NULL") == (True,)


@on_each_server
def test_a_server_that_takes_no_writes_is_only_checked(
    three: Folder, manager: Make, config: DatabaseConfig, session: Session
) -> None:
    manager().migrate(2)
    run_alone(config, f"ALTER DATABASE {config.name} SET default_transaction_read_only = on")
    assert manager().status().head == "0002_b"
    assert not manager().migrate(2).changed
    for call in (manager().migrate, manager().rollback):
        with pytest.raises(ReadOnlyTarget, match="migrate the primary"):
            call()


def test_a_declared_pooler_is_refused_only_when_there_is_something_to_run(
    three: Folder, config: DatabaseConfig, manager: Make
) -> None:
    pooled = MigrationManager(config.model_copy(update={"pgbouncer": True}), three.path)
    with pytest.raises(PoolerInTheWay, match="migration_url"):
        pooled.migrate()
    manager().migrate()
    assert not pooled.migrate().changed


def test_an_empty_folder_is_at_its_head(folder: Folder, manager: Make) -> None:
    assert not manager().migrate().changed
    assert manager().status().at_head


def test_no_name_in_a_message_is_left_without_a_remedy() -> None:
    source = (Path(__file__).parents[2] / "database_handler/migrations/errors.py").read_text()
    kinds = re.findall(r"^class (\w+)\(_OfVersions\)", source, re.MULTILINE)
    assert len(kinds) >= 14


def test_the_url_for_migrations_keeps_the_other_settings(three: Folder) -> None:
    given = DatabaseConfig.from_url(
        "postgresql://pooler/app?sslmode=verify-full", migration_url="postgresql://direct/app", pgbouncer=True
    )
    used = MigrationManager(given, three.path).config
    assert (used.host, used.sslmode, used.pgbouncer) == ("direct", "verify-full", False)
