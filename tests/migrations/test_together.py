"""Several runs at once, a locked table, a run that is killed: in the end every version is applied, once."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.session import Session, Statement
from database_handler.core.transaction import Transaction
from database_handler.migrations import (
    MigrationFailed,
    MigrationLockTimeout,
    MigrationManager,
    MigrationReport,
)
from database_handler.migrations.locking import backoff, lock_key
from tests.migrations.conftest import Folder
from tests.migrations.worker import PATIENCE, Run
from tests.support.wire import CountingProxy

Make = Callable[..., MigrationManager]


def until(seen: Callable[[], object], within: float = PATIENCE) -> None:
    ends = time.monotonic() + within
    while not seen():
        assert time.monotonic() < ends, "it never came to that"
        time.sleep(0.01)


@contextmanager
def holding(config: DatabaseConfig, text: str) -> Iterator[Session]:
    """Keep a transaction open in which a statement was run."""
    with Transaction(lambda: dedicated(config)) as session:
        session.run(Statement(text, "test.holds"))
        yield session


def rows(session: Session, table: str) -> int:
    [(found,)] = session.all(Statement(f"SELECT count(*) FROM {table}", "test.count"))
    assert isinstance(found, int)
    return found


INDEX = """-- migrate: up
CREATE TABLE t (a int);
INSERT INTO t SELECT generate_series(1, 1000);
-- migrate: up, no transaction
CREATE INDEX CONCURRENTLY t_a ON t (a);
"""


def test_eight_processes_start_at_once_and_one_applies(
    config: DatabaseConfig, folder: Folder, session: Session
) -> None:
    folder.write("0001_t", INDEX)
    folder.write("0002_u", "CREATE TABLE u (a int); INSERT INTO u VALUES (1);")
    runs = [Run(config, folder) for _ in range(8)]
    try:
        assert [run.expect() for run in runs] == ["ready"] * 8
        for run in runs:
            run.here.send("go")
        answers = [run.expect() for run in runs]
    finally:
        for run in runs:
            run.end()
    assert sorted(answers, key=str, reverse=True) == [()] * 7 + [("0001_t", "0002_u")]
    assert (rows(session, "t"), rows(session, "u"), rows(session, "application_migrations")) == (1000, 1, 2)
    assert rows(session, "pg_index WHERE indrelid = 't'::regclass AND indisvalid") == 1


def test_a_run_waits_for_the_lock_and_names_its_holder(
    config: DatabaseConfig, folder: Folder, manager: Make, session: Session
) -> None:
    folder.write("0001_a", "CREATE TABLE a (id int);")
    key = lock_key(config.name, "application_migrations")
    told = r"within 0.3 s: process \d+ \(somebody.*, connected since 20"
    with (
        holding(config.with_(application_name="somebody"), f"SELECT pg_advisory_xact_lock({key})"),
        pytest.raises(MigrationLockTimeout, match=told),
    ):
        manager(lock_wait=0.3).migrate()
    assert manager().migrate().applied == ("0001_a",)


@pytest.fixture
def locked(folder: Folder, manager: Make) -> Folder:
    folder.write("0001_a", "CREATE TABLE a (id int);", "DROP TABLE a;")
    manager().migrate()
    folder.write("0002_b", "CREATE TABLE b (id int);\nALTER TABLE a ADD COLUMN x int;")
    return folder


def test_a_locked_table_is_tried_again_until_it_is_free(
    config: DatabaseConfig, locked: Folder, manager: Make, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[MigrationReport] = []
    thread = Thread(target=lambda: answers.append(manager(lock_timeout=0.1).migrate()))
    with caplog.at_level("WARNING", logger="database_handler"):
        with holding(config.with_(application_name="reader"), "SELECT * FROM a"):
            thread.start()
            until(lambda: caplog.text.count("migration.blocked") >= 2)
        thread.join(PATIENCE)
    assert [answer.applied for answer in answers] == [("0002_b",)]
    assert "reader" in caplog.text
    assert "idle in transaction" in caplog.text


def test_a_table_that_is_never_free_ends_with_its_blocker_named(
    config: DatabaseConfig, locked: Folder, manager: Make, session: Session
) -> None:
    with (
        holding(config.with_(application_name="reader"), "SELECT * FROM a"),
        pytest.raises(MigrationFailed, match=r"in the way: process \d+ \(reader") as caught,
    ):
        manager(lock_timeout=0.1, lock_attempts=2).migrate()
    assert (caught.value.sqlstate, caught.value.line) == ("55P03", 4)
    assert rows(session, "pg_tables WHERE tablename = 'b'") == 0
    assert manager().migrate().applied == ("0002_b",)


def test_a_reader_is_never_kept_waiting_longer_than_lock_timeout(
    config: DatabaseConfig, locked: Folder, manager: Make
) -> None:
    worst, over = [0.0], Event()

    def read() -> None:
        with Transaction(lambda: dedicated(config)) as session:
            session.run("SELECT")
        while not over.is_set():
            started = time.monotonic()
            with Transaction(lambda: dedicated(config)) as session:
                session.run("SELECT * FROM a")
            worst[0] = max(worst[0], time.monotonic() - started)

    reader = Thread(target=read)
    runner = Thread(target=lambda: manager(lock_timeout=0.2).migrate())
    with holding(config, "SELECT * FROM a"):
        reader.start()
        runner.start()
        over.wait(1.5)  # the time for which the table stays locked; nothing else is waited for
    runner.join(PATIENCE)
    over.set()
    reader.join(PATIENCE)
    assert 0 < worst[0] < 1.0


@pytest.mark.parametrize("stop", ["t_gate", "u_gate", "v_gate"])
def test_a_run_that_is_killed_is_run_again_and_converges(
    config: DatabaseConfig, folder: Folder, session: Session, manager: Make, stop: str
) -> None:
    session.run("CREATE TABLE t_gate (a int)")
    session.run("CREATE TABLE u_gate (a int)")
    session.run("CREATE TABLE v_gate (a int)")
    folder.write("0001_t", "CREATE TABLE t (a int);\nINSERT INTO t SELECT count(*) FROM t_gate;")
    folder.write(
        "0002_u",
        "-- migrate: up\nCREATE TABLE u (a int);\n-- migrate: up, no transaction\n"
        "INSERT INTO u SELECT count(*) FROM u_gate;\nCREATE INDEX CONCURRENTLY u_a ON u (a);\n"
        "-- migrate: up\nINSERT INTO u SELECT count(*) FROM v_gate;\n",
    )
    run = Run(config, folder)
    try:
        assert run.expect() == "ready"
        with holding(config, f"LOCK TABLE {stop}"):
            run.here.send("go")
            until(lambda: rows(session, "pg_locks WHERE NOT granted"))
            assert run.process.pid is not None
            os.kill(run.process.pid, signal.SIGKILL)
            run.process.join(PATIENCE)
            session.all("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")
            until(lambda: not rows(session, "pg_locks WHERE NOT granted OR locktype = 'advisory'"))
    finally:
        run.end()
    manager().migrate()
    assert (rows(session, "t"), rows(session, "u"), rows(session, "application_migrations")) == (1, 2, 2)
    assert rows(session, "pg_index WHERE indrelid = 'u'::regclass AND indisvalid") == 1
    assert manager().status().at_head


def test_at_the_head_it_is_one_round_trip_without_a_lock(
    config: DatabaseConfig, folder: Folder, manager: Make
) -> None:
    folder.write("0001_a", "CREATE TABLE a (id int);")
    manager().migrate()
    with CountingProxy(config) as proxy, proxy.counting() as trips:
        assert not MigrationManager(proxy.config, folder.path).migrate().changed
    assert (trips.connections, trips.count) == (1, 1)
    assert trips.texts[0].startswith("SELECT number, name, token_hash")


def test_a_version_costs_a_round_trip_a_statement_and_two(
    config: DatabaseConfig, folder: Folder, manager: Make
) -> None:
    folder.write("0001_a", "CREATE TABLE a (id int);")
    manager().migrate()
    folder.write("0002_b", "CREATE TABLE b (id int);\nCREATE TABLE c (id int);\nCREATE TABLE d (id int);")
    with CountingProxy(config) as proxy, proxy.counting() as trips:
        MigrationManager(proxy.config, folder.path).migrate()
    begins = next(place for place, text in enumerate(trips.texts) if text.endswith("CREATE TABLE b (id int)"))
    # The history before, and under the lock; between them the lock; three statements, the row, COMMIT.
    assert [text.split()[0] for text in trips.texts[:3]] == ["SELECT"] * 3
    assert [text.split()[0] for text in trips.texts[begins : begins + 5]] == [
        "BEGIN;SET", "CREATE", "CREATE", "RESET", "COMMIT",
    ]  # fmt: skip
    assert trips.connections == 1


def test_back_off_stays_under_its_ceiling() -> None:
    assert all(0.0 <= backoff(attempt) <= 5.0 for attempt in range(1, 2000, 7))


def test_the_key_is_of_the_database_and_the_table() -> None:
    keys = {lock_key(database, table) for database in ("a", "b") for table in ("x", "y")}
    assert len(keys) == 4
    assert all(-(2**63) <= key < 2**63 for key in keys)
    assert lock_key("a", "x") == lock_key("a", "x")


def test_the_folder_of_the_library_is_read(config: DatabaseConfig) -> None:
    versions = MigrationManager(config).versions
    assert versions == Path(__file__).parents[2] / "database_handler/migrations/versions"
