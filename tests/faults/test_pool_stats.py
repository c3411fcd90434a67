"""The pool says how long was waited, how long held, why connections went, and what was tried again."""

import threading

import pytest

from database_handler import Database, UnitOfWork
from database_handler.core.connection import ConnectionPool
from database_handler.core.exceptions import (
    ConnectionLost,
    PoolOverloaded,
    PoolTimeout,
    RetriesExhausted,
    SerializationFailure,
)
from database_handler.core.pool_stats import BUCKETS, Closed, Durations
from tests.faults.conftest import PoolMaker, Server, in_thread, joined, value
from tests.support.faults import eventually


def test_waits_and_uses_are_counted_when_a_connection_comes_back(make_pool: PoolMaker) -> None:
    pool = make_pool(pool_size=1, max_overflow=0)
    lease = pool.borrow()
    waiter = in_thread(lambda: pool.borrow().release())
    eventually(lambda: pool.stats().waiting == 1)
    threading.Event().wait(0.06)
    assert pool.stats().wait.count == pool.stats().use.count == 0
    lease.release()
    joined(waiter)
    stats = pool.stats()
    assert stats.wait.count == stats.use.count == 2
    assert stats.wait.seconds >= 0.05
    assert stats.use.at_most(1) >= 0.1
    assert stats.wait.at_most(1.0) >= 0.1
    assert stats.use.at_most(0.5) <= 0.05


def test_classes_of_durations_are_read_by_share() -> None:
    durations = Durations((0, 8, 0, 0, 1, 0, 0, 0, 0, 1), 40.0)
    assert [durations.at_most(share) for share in (0, 0.5, 0.8, 0.9, 1)] == [
        BUCKETS[0],
        0.005,
        0.005,
        0.1,
        BUCKETS[-1],
    ]
    assert durations.count == 10


def test_timeouts_and_refusals_are_counted(make_pool: PoolMaker) -> None:
    pool = make_pool(pool_size=1, max_overflow=0, pool_max_waiting=0)
    lease = pool.borrow()
    with pytest.raises(PoolOverloaded):
        pool.borrow()
    lease.release()
    other = make_pool(pool_size=1, max_overflow=0)
    lease = other.borrow()
    for _ in range(2):
        with pytest.raises(PoolTimeout):
            other.borrow(timeout=0.02)
    lease.release()
    assert (pool.stats().overloads, pool.stats().timeouts) == (1, 0)
    assert (other.stats().overloads, other.stats().timeouts) == (0, 2)


def reasons(pool: ConnectionPool) -> dict[Closed, int]:
    stats = pool.stats()
    assert sum(stats.closed_by_reason.values()) == stats.closed
    return dict(stats.closed_by_reason)


def test_each_reason_for_closing_has_its_count(make_pool: PoolMaker, server: Server) -> None:
    pool = make_pool(pool_size=1, max_overflow=1)
    first, second = pool.borrow(), pool.borrow()
    second.release()
    first.release()
    assert reasons(pool) == {Closed.SURPLUS: 1}

    with pool.borrow().connection.cursor() as cursor:  # never given back
        cursor.execute("SELECT 1")
    eventually(lambda: reasons(pool).get(Closed.FORGOTTEN) == 1)

    lease = pool.borrow()
    lease.release(discard=True)
    lease = pool.borrow()
    value(lease, "BEGIN")
    lease.release()
    lease = pool.borrow()
    server.terminate(lease.backend_pid)
    lease.release()
    lease = pool.borrow()  # finds it dead: its server had ended it before it came back, or after
    lease.release()
    found = reasons(pool)
    assert found[Closed.DISCARDED] == found[Closed.IN_TRANSACTION] == 1
    assert found.get(Closed.LOST, 0) + found.get(Closed.DEAD, 0) == 1
    pool.retire()
    assert reasons(pool)[Closed.RETIRED] == 1
    pool.borrow().release()
    pool.close()
    assert reasons(pool)[Closed.SHUTDOWN] == 1
    assert pool.stats().opened == pool.stats().closed


def test_an_idle_connection_that_died_is_counted_as_found_dead(make_pool: PoolMaker, server: Server) -> None:
    pool = make_pool(pool_size=2)
    leases = [pool.borrow(), pool.borrow()]
    server.terminate(*(lease.backend_pid for lease in leases))
    for lease in leases:
        lease.release()
    pool.borrow().release()
    assert reasons(pool) in (
        {Closed.DEAD: 1, Closed.RETIRED: 1},  # the other one is of the same age
        {Closed.LOST: 2},
        {Closed.LOST: 1, Closed.DEAD: 1},
    )


def test_retries_are_counted_by_what_made_them(make_pool: PoolMaker, server: Server) -> None:
    db: Database = make_pool.database(pool_size=1)

    def races(unit: UnitOfWork) -> None:
        unit.session.one("SELECT 1")
        raise SerializationFailure(sqlstate="40001")

    with pytest.raises(RetriesExhausted):
        db.run(races, retries=2)
    tries: list[int] = []

    def is_cut(unit: UnitOfWork) -> None:
        [backend] = unit.session.one("SELECT pg_backend_pid()")
        if not tries:
            tries.append(backend)
            server.terminate(backend)
        unit.session.one("SELECT 1")

    db.run(is_cut)
    retries = dict(db.pool.stats().retries)
    assert retries.pop("40001") == 2
    assert sum(retries.values()) == 1
    assert set(retries) <= {ConnectionLost.__name__, "57P01"}
