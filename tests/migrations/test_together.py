"""Several runs at once, a locked table, a run that is killed: in the end every version is applied, once."""

import os
import random
import re
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
from database_handler.core.transaction import Autocommit, Transaction
from database_handler.migrations import (
    MigrationFailed,
    MigrationLockTimeout,
    MigrationManager,
    MigrationReport,
)
from database_handler.migrations.runner.locking import Kept, backoff, lock_key
from tests.migrations.conftest import Folder
from tests.migrations.worker import PATIENCE, Run
from tests.support.faults import eventually
from tests.support.wire import CountingProxy

Make = Callable[..., MigrationManager]


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


def start_together(config: DatabaseConfig, folder: Folder, how_many: int) -> list[str]:
    """Let processes migrate at once; check what they answer, and return what those that waited logged."""
    runs = [Run(config, folder) for _ in range(how_many)]
    try:
        assert [run.expect() for run in runs] == ["ready"] * how_many
        for run in runs:
            run.here.send("go")
        answers = [run.expect() for run in runs]
        logged = [run.expect() for run in runs]
    finally:
        for run in runs:
            run.end()
    wanted = [()] * (how_many - 1) + [("0001_t", "0002_u")]
    assert sorted(answers, key=str, reverse=True) == wanted
    return [line for lines in logged if isinstance(lines, list) for line in lines]


def started_together(config: DatabaseConfig, folder: Folder, session: Session) -> None:
    folder.write("0001_t", INDEX)
    folder.write("0002_u", "CREATE TABLE u (a int); INSERT INTO u VALUES (1);")
    waited = start_together(config.with_(application_name="web"), folder, 16)
    assert waited, "all but one wait"
    assert all(re.search(r"process \d+ \(web, connected since|has just ended", line) for line in waited)
    assert (rows(session, "t"), rows(session, "u"), rows(session, "application_migrations")) == (1000, 1, 2)
    assert rows(session, "pg_index WHERE indrelid = 't'::regclass AND indisvalid") == 1


def test_sixteen_processes_start_at_once_and_one_applies(
    config: DatabaseConfig, folder: Folder, session: Session
) -> None:
    started_together(config, folder, session)


@pytest.mark.soak
@pytest.mark.parametrize("turn", range(50))
def test_sixteen_processes_fifty_times(
    config: DatabaseConfig, folder: Folder, session: Session, turn: int
) -> None:
    started_together(config, folder, session)


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
            eventually(lambda: caplog.text.count("migration.blocked") >= 2, within=PATIENCE)
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


class Readers:
    """Reads a table all the time, each time in a transaction of its own, and keeps the longest wait."""

    def __init__(self, config: DatabaseConfig, text: str) -> None:
        self.worst = 0.0
        self.reads = 0
        self._config = config
        self._text = text
        self._over = Event()
        self._threads = [Thread(target=self._read) for _ in range(2)]

    def _read(self) -> None:
        lease = dedicated(self._config)
        session = Autocommit(lambda: Kept(lease)).session
        while not self._over.is_set():
            started = time.monotonic()
            session.run(Statement(self._text, "test.reads"))
            self.worst = max(self.worst, time.monotonic() - started)
            self.reads += 1
        lease.release()

    def __enter__(self) -> "Readers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE)


LOCK_TIMEOUT = 0.1
STALL = LOCK_TIMEOUT + 0.9  # what a reader may wait: the timeout, and until two busy cores come round to it
HOLDS = 2.0  # how long a blocker stays where the run does not give way: well past that


def waits(session: Session) -> bool:
    """Whether the run waits for the table, and everybody behind it."""
    here = "(SELECT oid FROM pg_database WHERE datname = current_database())"
    wanted = "mode = 'AccessExclusiveLock' AND relation = 'a'::regclass"
    return rows(session, f"pg_locks WHERE NOT granted AND {wanted} AND database = {here}") > 0


def stay(runner: Thread, session: Session, seconds: float) -> None:
    """Hold the table for some time, and then on while the run waits for it."""
    runner.join(seconds)
    ends = time.monotonic() + HOLDS
    while waits(session) and time.monotonic() < ends:
        runner.join(0.02)


def blocked_at_random(
    config: DatabaseConfig, run: MigrationManager, session: Session, chance: random.Random
) -> float:
    """Migrate while transactions of random length hold the table; return a reader's longest wait."""
    runner = Thread(target=run.migrate)
    with Readers(config, "SELECT * FROM a") as readers:
        with holding(config, "SELECT * FROM a"):
            runner.start()
            eventually(lambda: waits(session), within=PATIENCE)  # the first one is met for certain
            stay(runner, session, 0.0)
        ends = time.monotonic() + PATIENCE
        while runner.is_alive():
            assert time.monotonic() < ends
            with holding(config, "SELECT * FROM a"):
                stay(runner, session, chance.uniform(0.0, 0.4))
            runner.join(chance.uniform(0.1, 0.5))
    assert run.status().at_head
    assert rows(session, "pg_index WHERE NOT indisvalid") == 0
    assert readers.reads > 20
    return readers.worst


@pytest.fixture
def many_locks(locked: Folder, manager: Make) -> MigrationManager:
    """A run with every way in which a statement locks a table."""
    locked.write("0003_c", "ALTER TABLE a ADD COLUMN y int;\nALTER TABLE a ADD COLUMN z int;")
    locked.write("0004_d", "-- migrate: up, no transaction\nCREATE INDEX CONCURRENTLY a_x ON a (x);")
    locked.write("0005_e", "-- migrate: up, no transaction\nALTER TABLE a DROP COLUMN y;\nVACUUM FULL a;")
    return manager(lock_timeout=LOCK_TIMEOUT, lock_attempts=500)


def test_a_random_blocker_never_stalls_a_reader_past_lock_timeout(
    config: DatabaseConfig, many_locks: MigrationManager, session: Session
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201
    assert blocked_at_random(config, many_locks, session, random.Random(seed)) < STALL


def test_a_run_that_does_not_give_way_stalls_a_reader(
    config: DatabaseConfig, locked: Folder, manager: Make, session: Session
) -> None:
    """The test above can fail: without the timeout that it is about, its blockers are felt."""
    run = manager(lock_timeout=50.0)
    assert blocked_at_random(config, run, session, random.Random(0)) > STALL


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(50))
def test_random_blockers_fifty_times(
    config: DatabaseConfig, many_locks: MigrationManager, session: Session, seed: int
) -> None:
    assert blocked_at_random(config, many_locks, session, random.Random(seed)) < STALL


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
            eventually(lambda: rows(session, "pg_locks WHERE NOT granted"), within=PATIENCE)
            assert run.process.pid is not None
            os.kill(run.process.pid, signal.SIGKILL)
            run.process.join(PATIENCE)
            session.all("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")
            eventually(
                lambda: not rows(session, "pg_locks WHERE NOT granted OR locktype = 'advisory'"),
                within=PATIENCE,
            )
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
    assert trips.texts[0].startswith("SELECT /* migrations.history */ number, name, token_hash")


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
