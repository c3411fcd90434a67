"""A unit ends by its deadline, whatever it waits for, and nothing of it is stored then."""

# ruff: noqa: PT012  # what is to raise is the unit as a whole, or its block

import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from database_handler import Database, UnitOfWork
from database_handler.core.exceptions import (
    CommitOutcomeUnknown,
    DeadlineExceeded,
    InvalidValue,
    RetriesExhausted,
    SerializationFailure,
)
from tests.faults.conftest import PoolMaker, Server, frozen, in_thread, joined, query
from tests.support.faults import FaultProxy

DEADLINE = 0.4
LATE = 5.0  # seconds after its deadline by which a unit has ended, on a machine with other work too


@pytest.fixture
def table(server: Server) -> Iterator[str]:
    query(server.config, "CREATE TABLE deadlines (id int PRIMARY KEY)")
    query(server.config, "INSERT INTO deadlines VALUES (0)")
    yield "deadlines"
    query(server.config, "DROP TABLE deadlines")


@pytest.fixture
def db(make_pool: PoolMaker, table: str) -> Database:
    return make_pool.database(pool_size=1, max_overflow=0, pool_timeout=20)


def stored(server: Server) -> list[int]:
    return [row[0] for row in query(server.config, "SELECT id FROM deadlines ORDER BY id")]


def add(unit: UnitOfWork, number: int) -> None:
    unit.session.run("INSERT INTO deadlines VALUES (%s)", [number])


def ended_in_time(work: Callable[[], object], kind: type[Exception] = DeadlineExceeded) -> None:
    started = monotonic()
    with pytest.raises(kind):
        work()
    assert DEADLINE - 0.05 <= monotonic() - started <= DEADLINE + LATE


def in_a_unit(db: Database, work: Callable[[UnitOfWork], object]) -> Callable[[], None]:
    def unit() -> None:
        with db.unit_of_work(deadline=DEADLINE) as uow:
            work(uow)

    return unit


def test_a_statement_that_runs_on_is_ended_by_the_server_and_the_connection_stays(
    db: Database, server: Server
) -> None:
    def work(uow: UnitOfWork) -> None:
        uow.session.all("SELECT pg_sleep(10)")

    ended_in_time(in_a_unit(db, work))
    assert db.pool.stats().opened == 1
    active = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND application_name = %s"
    assert query(server.config, active, db.config.application_name) == [(0,)]


def test_a_later_statement_gets_what_is_left(db: Database, server: Server) -> None:
    def work(uow: UnitOfWork) -> None:
        add(uow, 1)
        uow.session.all("SELECT pg_sleep(0.2)")
        uow.session.all("SELECT pg_sleep(10)")

    ended_in_time(in_a_unit(db, work))
    assert stored(server) == [0]


def test_a_lock_is_not_waited_for_longer(db: Database, make_pool: PoolMaker, server: Server) -> None:
    other = make_pool.database()
    with other.unit_of_work() as holder:
        holder.session.run("UPDATE deadlines SET id = 0")
        ended_in_time(in_a_unit(db, lambda uow: uow.session.run("UPDATE deadlines SET id = 9")))
    assert stored(server) == [0]


def test_a_connection_is_not_waited_for_longer(db: Database) -> None:
    lease = db.pool.borrow()
    ended_in_time(in_a_unit(db, lambda uow: add(uow, 1)))
    lease.release()


def test_a_frozen_server_holds_nobody_up(db: Database, make_pool: PoolMaker, server: Server) -> None:
    other = make_pool.database(pool_size=1)
    other.session.one("SELECT 1")
    ended: list[str] = []

    def ask() -> None:
        other.session.one("SELECT 1")
        ended.append("the other's statement")

    def work(uow: UnitOfWork) -> None:
        [backend] = uow.session.one("SELECT pg_backend_pid()")
        with frozen(backend):
            asking = in_thread(ask)
            try:
                uow.session.one("SELECT 1")
            finally:
                ended.append("the frozen one")
                joined(asking)

    ended_in_time(in_a_unit(db, work))
    assert ended == ["the other's statement", "the frozen one"]


def test_nothing_is_sent_after_it_and_nothing_stored(db: Database, server: Server) -> None:
    called: list[str] = []
    with pytest.raises(DeadlineExceeded), db.unit_of_work() as uow:
        uow.on_commit(lambda: called.append("hook"))
        add(uow, 1)
        uow.deadline(0.01)
        threading.Event().wait(0.05)  # the caller's own work takes too long
        add(uow, 2)
    with pytest.raises(DeadlineExceeded, match="commit"), db.unit_of_work(deadline=0.05) as uow:
        uow.on_commit(lambda: called.append("hook"))
        add(uow, 3)
        threading.Event().wait(0.1)
    assert (stored(server), called) == ([0], [])
    assert db.pool.stats().opened == 1


def test_it_is_never_put_off(db: Database) -> None:
    def work(uow: UnitOfWork) -> None:
        uow.deadline(60)
        uow.session.all("SELECT pg_sleep(10)")

    ended_in_time(in_a_unit(db, work))


def test_a_unit_within_it_is_stored_as_ever(db: Database, server: Server) -> None:
    with db.unit_of_work(deadline=30, statement_timeout=20) as uow:
        add(uow, 1)
        [shown] = uow.session.one("SHOW statement_timeout")
        assert shown == "20s"
    assert stored(server) == [0, 1]
    assert db.session.one("SHOW statement_timeout") == ("0",)


def test_all_tries_of_a_run_and_their_pauses_share_it(db: Database) -> None:
    tries: list[int] = []

    def work(uow: UnitOfWork) -> None:
        tries.append(1)
        uow.session.one("SELECT 1")
        raise SerializationFailure

    db.session.one("SELECT 1")  # so that connecting takes none of the time
    ended_in_time(lambda: db.run(work, retries=1000, deadline=DEADLINE))
    assert len(tries) > 1
    with pytest.raises(RetriesExhausted):
        db.run(work, retries=1, deadline=30)


def test_a_run_without_retries_keeps_to_it_as_well(db: Database) -> None:
    ended_in_time(
        lambda: db.run(lambda uow: uow.session.all("SELECT pg_sleep(9)"), retries=0, deadline=DEADLINE)
    )


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultProxy]:
    with FaultProxy(server.config) as proxy:
        yield proxy


def test_a_commit_whose_reply_does_not_come_is_resolved_or_told_within_it(
    proxy: FaultProxy, make_pool: PoolMaker, server: Server, table: str
) -> None:
    db = make_pool.database(proxy.config, pool_size=2)
    with db.unit_of_work(deadline=4) as uow:
        add(uow, 1)
        proxy.of(uow.session.one("SELECT pg_backend_pid()")[0]).drop("reply")
    assert stored(server) == [0, 1]

    def work(uow: UnitOfWork) -> None:
        add(uow, 2)
        proxy.drop("reply")  # of every connection, the one that would ask among them

    try:
        ended_in_time(in_a_unit(db, work), CommitOutcomeUnknown)
    finally:
        proxy.pass_on()


def test_guarded_calls_start_no_thread_each(db: Database) -> None:
    with db.unit_of_work(deadline=20) as uow:
        uow.session.one("SELECT 1")
        before = threading.active_count()
        for _ in range(50):
            uow.session.one("SELECT 1")
            assert threading.active_count() <= before


WRONG: list[Any] = [0, -1, float("nan"), float("inf"), 10**400, "5", True, 1e-9]


@pytest.mark.parametrize("seconds", WRONG, ids=[repr(each)[:12] for each in WRONG])
def test_what_is_no_length_of_time_is_refused(db: Database, seconds: Any) -> None:
    with pytest.raises(InvalidValue, match="deadline"):
        db.unit_of_work(deadline=seconds)
    with pytest.raises(InvalidValue, match="deadline"):
        db.run(lambda uow: None, deadline=seconds)
    with db.unit_of_work() as uow, pytest.raises(InvalidValue, match="deadline"):
        uow.deadline(seconds)
