"""Batched sections: done in small transactions, gone on with after a failure, and never for ever."""

import json
from collections.abc import Callable
from threading import Thread

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.session import Session, Statement
from database_handler.core.transaction import Transaction
from database_handler.migrations import MigrationFailed, MigrationManager, MigrationReport
from database_handler.migrations.files.migration import Direction, read_folder
from database_handler.migrations.runner.applying import run_inside
from tests.migrations.conftest import Folder
from tests.migrations.worker import PATIENCE
from tests.support.faults import eventually

Make = Callable[..., MigrationManager]


def batched(statement: str, way: str = "up") -> str:
    return f"-- migrate: {way}, batched\n{statement};\n"


def some(condition: str, limit: int = 100) -> str:
    return f"ctid = ANY (ARRAY(SELECT ctid FROM t WHERE {condition} LIMIT {limit}))"


FILL = f"UPDATE t SET b = a * 2 WHERE {some('b IS NULL')}"


@pytest.fixture(autouse=True)
def table(session: Session) -> None:
    session.run("CREATE TABLE t (a int, b int)")
    session.run("INSERT INTO t SELECT n FROM generate_series(1, 950) n")


def left(session: Session, condition: str = "b IS NULL") -> int:
    [found] = session.one(Statement(f"SELECT count(*) FROM t WHERE {condition}", "test.left"))
    assert isinstance(found, int)
    return found


def progress(session: Session) -> dict[str, object]:
    [(found,)] = session.all("SELECT progress FROM application_migrations")
    assert isinstance(found, dict)
    return found


def test_up_and_down_each_in_transactions_of_their_own(
    folder: Folder, session: Session, manager: Make
) -> None:
    session.run("CREATE TABLE runs (transaction xid8)")
    session.run(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN INSERT INTO runs VALUES (pg_current_xact_id()); RETURN NULL; END$$"
    )
    session.run("CREATE TRIGGER note AFTER UPDATE ON t EXECUTE FUNCTION note()")
    clear = f"UPDATE t SET b = NULL WHERE {some('b IS NOT NULL', 300)}"
    folder.write("0001_fill", batched(FILL) + batched(clear, "down"))
    assert manager().migrate().applied == ("0001_fill",)
    assert left(session) == left(session, "b <> a * 2") == 0
    assert session.one("SELECT count(DISTINCT transaction) FROM runs") == (12,)
    assert manager().rollback().rolled_back == ("0001_fill",)
    assert left(session) == 950


@pytest.mark.parametrize(
    ("statement", "condition"),
    [
        (f"DELETE FROM t WHERE {some('a > 10')}", "a > 10"),
        ("WITH gone AS (DELETE FROM t WHERE ctid = ANY (ARRAY(SELECT ctid FROM t WHERE a > 10 LIMIT 90))"
         " RETURNING a) INSERT INTO archive SELECT a FROM gone", "a > 10"),
        ("INSERT INTO archive SELECT a FROM t WHERE NOT EXISTS (SELECT FROM archive r WHERE r.a = t.a)"
         " FETCH FIRST 200 ROWS ONLY", "a NOT IN (SELECT a FROM archive)"),
        ("MERGE INTO t USING (SELECT a FROM t WHERE b IS NULL LIMIT 300) s ON s.a = t.a"
         " WHEN MATCHED THEN UPDATE SET b = 0", "b IS NULL"),
    ],
)  # fmt: skip
def test_whatever_shrinks_its_own_work(
    folder: Folder, session: Session, manager: Make, statement: str, condition: str
) -> None:
    session.run("CREATE TABLE archive (a int)")
    folder.write("0001_some", batched(statement))
    manager().migrate()
    assert left(session, condition) == 0


def test_after_a_failure_it_goes_on_where_it_stopped(folder: Folder, session: Session, manager: Make) -> None:
    session.run("UPDATE t SET a = 0 WHERE a = 500")
    dividing = f"UPDATE t SET b = 1000 / a WHERE {some('b IS NULL')}"
    path = folder.write("0001_fill", batched(dividing))
    with pytest.raises(MigrationFailed, match="division by zero") as caught:
        manager().migrate()
    assert caught.value.line == 3
    assert "those before it stand (9 batches, 900 rows, on record)" in str(caught.value)
    assert left(session) == 50
    assert {"batches": 9, "rows": 900, "parts": 0}.items() <= progress(session).items()
    [item] = manager().status().items
    assert item.state == "partial"
    path.write_text(path.read_text().replace("1000 / a", "coalesce(1000 / nullif(a, 0), 0)"))
    assert manager().migrate().applied == ("0001_fill",)
    assert left(session) == 0


@pytest.mark.parametrize(
    "endless",
    [
        f"UPDATE t SET b = NULL WHERE {some('b IS NULL', 900)}",
        "UPDATE ONLY public.t SET b = 1 WHERE a IN (SELECT a FROM t LIMIT 5000)",
        "MERGE INTO t USING (SELECT a FROM t LIMIT 900) s ON s.a = t.a WHEN MATCHED THEN UPDATE SET b = 0",
    ],
)
def test_the_same_rows_again_and_again_are_found_out(
    folder: Folder, manager: Make, session: Session, endless: str
) -> None:
    folder.write("0001_fill", batched(endless))
    with pytest.raises(MigrationFailed, match="the same rows again and again") as caught:
        manager().migrate()
    assert caught.value.line == 3


def test_a_row_that_is_locked_is_waited_for_and_tried_again(
    config: DatabaseConfig, folder: Folder, session: Session, manager: Make, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write("0001_fill", batched(FILL))
    answers: list[MigrationReport] = []
    thread = Thread(target=lambda: answers.append(manager(lock_timeout=0.05).migrate()))
    with caplog.at_level("WARNING", logger="database_handler"):
        with Transaction(lambda: dedicated(config)) as holder:
            holder.run("UPDATE t SET a = a WHERE a = 450")
            thread.start()
            eventually(lambda: "migration.blocked" in caplog.text)
        thread.join(PATIENCE)
    assert [answer.applied for answer in answers] == [("0001_fill",)]
    assert left(session) == 0


def test_a_row_that_moves_away_meanwhile_is_not_forgotten(
    config: DatabaseConfig, folder: Folder, session: Session, manager: Make
) -> None:
    """By its ctid the batch misses it, and finds nothing else to do."""
    session.run("UPDATE t SET b = 0 WHERE a > 1")
    folder.write("0001_fill", batched(FILL))
    answers: list[MigrationReport] = []
    thread = Thread(target=lambda: answers.append(manager(lock_timeout=20).migrate()))
    with Transaction(lambda: dedicated(config)) as other:
        other.run("UPDATE t SET a = a WHERE a = 1")
        thread.start()
        eventually(lambda: session.one("SELECT count(*) FROM pg_locks WHERE NOT granted") == (1,))
    thread.join(PATIENCE)
    assert [answer.applied for answer in answers] == [("0001_fill",)]
    assert left(session) == 0


def test_verify_follows_the_last_batch_in_its_transaction(
    folder: Folder, session: Session, manager: Make
) -> None:
    folder.write("0001_fill", batched(FILL), verify="SELECT 1 / count(*) FROM t WHERE b < 0;")
    with pytest.raises(MigrationFailed, match="division by zero") as caught:
        manager().migrate()
    assert caught.value.line == 5
    assert progress(session)["rows"] == 950
    folder.write("0001_fill", batched(FILL), verify="SELECT 1 / count(*) FROM t WHERE b > 0;")
    assert manager().migrate().applied == ("0001_fill",)


def test_a_dry_run_says_what_would_be_repeated(folder: Folder, manager: Make) -> None:
    folder.write("0001_fill", batched(FILL))
    [planned] = manager().migrate(dry_run=True).planned
    assert planned.sql == f"-- again and again, until it changes no row:\n{FILL};\n"


def test_inside_one_transaction_for_a_scratch_copy(
    config: DatabaseConfig, folder: Folder, session: Session
) -> None:
    folder.write("0001_fill", batched(FILL))
    [migration] = read_folder(folder.path)
    with Transaction(lambda: dedicated(config)) as inside:
        for part in migration.parts(Direction.UP):
            run_inside(inside, migration, part)
        assert inside.one("SELECT count(*) FROM t WHERE b IS NULL") == (0,)
    assert left(session) == 0


def test_progress_is_json_that_a_person_can_read(folder: Folder, session: Session, manager: Make) -> None:
    folder.write("0001_fill", batched(FILL), verify="SELECT 1 / 0;")
    with pytest.raises(MigrationFailed):
        manager().migrate()
    assert json.loads(json.dumps(progress(session)))["batches"] == 10
