"""Timeouts of the server, and a query that somebody cancels: the right error, and the right connection kept.

Rows 27 and 28 of the fault table. That a timeout is told from a cancel, in a unit and alone, is shown in
`tests/integration/test_errors.py`.
"""

# ruff: noqa: PT012  # what is to raise is the unit as a whole, or its block

from collections.abc import Iterator
from contextlib import suppress
from threading import Event, Thread
from time import monotonic

import pytest

from database_handler import Database, UnitOfWork
from database_handler.core.exceptions import (
    ConnectionLost,
    DatabaseHandlerError,
    LockTimeout,
    QueryCancelled,
    StatementTimeout,
)
from tests.faults.conftest import PoolMaker, Server, in_thread, joined, query
from tests.support.faults import eventually

BACKEND = "SELECT pg_backend_pid()"
IDLE = "SET LOCAL idle_in_transaction_session_timeout = '50ms'"


@pytest.fixture
def kept(server: Server) -> Iterator[None]:
    query(server.config, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (0)")
    yield
    query(server.config, "DROP TABLE kept")


@pytest.fixture
def database(make_pool: PoolMaker) -> Database:
    return make_pool.database(pool_size=1, max_overflow=0, pool_timeout=10)


def running(server: Server, backend: int) -> bool:
    statement = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
    return bool(query(server.config, statement, backend))


def gone(server: Server, backend: int) -> bool:
    return not query(server.config, "SELECT 1 FROM pg_stat_activity WHERE pid = %s", backend)


# ----------------------------------------------------------------------------------------- row 27: timeouts


@pytest.mark.usefixtures("kept")
def test_a_timeout_undoes_the_unit_and_keeps_the_connection(server: Server, database: Database) -> None:
    [backend] = database.session.one(BACKEND)
    with Database(server.config) as other, other.unit_of_work() as locking:
        locking.session.run("UPDATE kept SET n = 1")
        started = monotonic()
        with pytest.raises(StatementTimeout), database.unit_of_work(statement_timeout=0.05) as unit:
            unit.session.run("INSERT INTO kept VALUES (7)")
            unit.session.one("SELECT pg_sleep(30)")
        assert database.session.one(BACKEND) == (backend,)
        with pytest.raises(LockTimeout), database.unit_of_work(lock_timeout=0.05) as unit:
            unit.session.run("INSERT INTO kept VALUES (7)")
            unit.session.run("UPDATE kept SET n = 2")
        assert database.session.one(BACKEND) == (backend,)
        assert monotonic() - started < 5
        locking.rollback()
    assert query(server.config, "SELECT n FROM kept") == [(0,)]
    assert database.pool.stats().closed == 0


def test_a_timer_that_runs_out_at_the_end_of_one_statement_does_not_end_the_next(server: Server) -> None:
    """PostgreSQL keeps such a cancel for what the session is sent next: one in a hundred of these here."""
    with Database(server.config.with_(statement_timeout=0.001)) as database:
        for number in range(1500):
            rows = (1, 6_000, 8_000, 9_000, 10_000, 11_000, 12_000)[number % 7]  # of about a millisecond
            with suppress(StatementTimeout):  # which of them are in time is the machine's
                database.session.one("SELECT count(*) FROM generate_series(1, %s)", [rows])


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("more", [True, False], ids=["another statement", "commit"])
def test_a_transaction_left_idle_too_long_is_lost_with_its_connection(
    server: Server, database: Database, more: bool
) -> None:
    ran: list[int] = []
    backend = 0
    with pytest.raises(ConnectionLost) as caught, database.unit_of_work() as unit:
        unit.on_commit(lambda: ran.append(1))
        unit.session.run(IDLE)
        unit.session.run("INSERT INTO kept VALUES (7)")
        [backend] = unit.session.one(BACKEND)
        eventually(lambda: gone(server, backend))
        if more:
            unit.session.run("INSERT INTO kept VALUES (8)")
    assert caught.value.retryable
    assert ran == []
    assert query(server.config, "SELECT n FROM kept") == [(0,)]
    assert database.session.one(BACKEND) != (backend,)
    assert database.pool.stats().closed == 1


@pytest.mark.usefixtures("kept")
def test_a_unit_that_was_idle_too_long_is_run_again(server: Server, database: Database) -> None:
    tried: list[int] = []

    def work(unit: UnitOfWork) -> None:
        unit.session.run("INSERT INTO kept VALUES (7)")
        [backend] = unit.session.one(BACKEND)
        tried.append(backend)
        if len(tried) == 1:
            unit.session.run(IDLE)
            eventually(lambda: gone(server, backend))
            unit.session.one(BACKEND)

    database.run(work)
    assert len(set(tried)) == 2
    assert query(server.config, "SELECT n FROM kept ORDER BY n") == [(0,), (7,)]


# ------------------------------------------------------------------------------------------ row 28: cancels


def cancelled(database: Database, inside: bool) -> tuple[list[BaseException], Thread]:
    """Run a long statement in a thread, and note the error it ends with."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            if inside:
                with database.unit_of_work() as unit:
                    unit.session.one("SELECT pg_sleep(60)")
            else:
                database.session.one("SELECT pg_sleep(60)")
        except DatabaseHandlerError as failure:
            failures.append(failure)

    return failures, in_thread(work)


@pytest.mark.parametrize("inside", [True, False], ids=["unit", "alone"])
def test_a_cancelled_query_ends_at_once_and_no_later_one_is_cancelled(
    server: Server, database: Database, inside: bool
) -> None:
    [backend] = database.session.one(BACKEND)
    failures, thread = cancelled(database, inside)
    eventually(lambda: running(server, backend))
    over = Event()

    def cancel_again_and_again() -> None:
        with Database(server.config) as operator, operator.unit_of_work() as unit:
            while not over.is_set():
                unit.session.one("SELECT pg_cancel_backend(%s)", [backend])

    started = monotonic()
    operator = in_thread(cancel_again_and_again)
    thread.join(20)
    assert monotonic() - started < 5
    assert [type(failure) for failure in failures] == [QueryCancelled]
    for n in range(1000):
        assert database.session.one("SELECT %s::int", [n]) == (n,)
    over.set()
    joined(operator)
    assert (database.pool.stats().opened, database.pool.stats().closed) == (2, 1)
