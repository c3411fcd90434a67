"""Lending: within one deadline, first come first served; nothing lost, lent twice or used once returned."""

import gc
import logging
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from threading import Barrier, Event
from time import monotonic
from typing import Any, cast

import psycopg2.extensions
import pytest
from psycopg2.pool import ThreadedConnectionPool

from database_handler.core import link as link_module
from database_handler.core.connection import ConnectionPool, Lease, dedicated
from database_handler.core.exceptions import (
    ConnectionLost,
    InvalidValue,
    PoolClosed,
    PoolOverloaded,
    PoolTimeout,
    ReleasedConnection,
    translated,
)
from tests.faults.conftest import PoolMaker, Server, in_thread, joined, query, value
from tests.support.faults import eventually
from tests.support.wire import CountingProxy


def test_making_a_pool_connects_to_nothing(make_pool: PoolMaker, server: Server) -> None:
    pool = make_pool()
    assert isinstance(pool, ThreadedConnectionPool)
    assert pool.stats().opened == 0
    assert server.sessions(make_pool.config_of(pool)) == 0


def test_the_connection_returned_last_is_lent_first(make_pool: PoolMaker) -> None:
    pool = make_pool()
    first, second = pool.borrow(), pool.borrow()
    process = second.backend_pid
    first.release()
    second.release()
    again = pool.borrow()
    assert again.backend_pid == process
    again.release()


def test_pool_size_stay_and_what_is_over_is_closed(make_pool: PoolMaker) -> None:
    pool = make_pool(pool_size=2, max_overflow=2)
    leases = [pool.borrow() for _ in range(4)]
    for lease in leases:
        lease.release()
    stats = pool.stats()
    assert (stats.size, stats.idle, stats.opened, stats.closed) == (2, 2, 4, 2)


def test_a_fresh_connection_is_lent_without_a_round_trip_and_an_old_one_for_one(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with CountingProxy(server.config) as proxy:
        pool = ConnectionPool(proxy.config)
        pool.borrow().release()
        with proxy.counting() as fresh:
            pool.borrow().release()
        monkeypatch.setattr(link_module, "_FRESH", 0)
        with proxy.counting() as old:
            pool.borrow().release()
        pool.close()
    assert (fresh.count, fresh.connections) == (0, 0)
    assert (old.count, old.connections) == (1, 0)


def test_a_timeout_names_every_holder(make_pool: PoolMaker) -> None:
    pool = make_pool(pool_size=1, max_overflow=1)
    held: list[Lease] = []

    def hold() -> None:
        lease = pool.borrow(purpose="unit of work")
        lease.last_statement = "projects.get_by_id"
        held.append(lease)

    joined(in_thread(hold, "worker-7"), in_thread(hold, "worker-8"))
    started = monotonic()
    with pytest.raises(PoolTimeout) as caught:
        pool.borrow(timeout=0.3)
    assert 0.3 <= monotonic() - started < 5
    text = str(caught.value)
    assert "2 of 2 are held" in text
    for name in ("worker-7", "worker-8"):
        assert f"{name} (unit of work) for 0.3 s, last statement projects.get_by_id" in text
    for lease in held:
        lease.release()


def test_past_max_waiting_a_borrower_is_refused_at_once(make_pool: PoolMaker) -> None:
    pool = make_pool(pool_size=1, max_overflow=0, pool_max_waiting=1)
    lease = pool.borrow()
    waiting = in_thread(lambda: pool.borrow().release())
    eventually(lambda: pool.stats().waiting == 1)
    started = monotonic()
    with pytest.raises(PoolOverloaded):
        pool.borrow(timeout=10)
    assert monotonic() - started < 5
    lease.release()
    joined(waiting)


def test_waiters_are_served_in_the_order_of_their_coming(make_pool: PoolMaker) -> None:
    pool = make_pool(pool_size=1, max_overflow=0)
    lease = pool.borrow()
    served: list[int] = []

    def wait(number: int) -> None:
        mine = pool.borrow()
        served.append(number)
        mine.release()

    threads = []
    for number in range(10):
        threads.append(in_thread(lambda number=number: wait(number)))  # type: ignore[misc]
        eventually(lambda number=number: pool.stats().waiting == number + 1)  # type: ignore[misc]
    lease.release()
    joined(*threads)
    assert served == list(range(10))


def test_two_hundred_threads_share_five_connections_evenly(make_pool: PoolMaker, server: Server) -> None:
    pool = make_pool(pool_size=3, max_overflow=2)
    threads, borrows, begin, over = 200, Counter[int](), Barrier(201), Event()
    lent: set[int] = set()

    def work(number: int) -> None:
        begin.wait()
        while not over.is_set():
            lease = pool.borrow()
            process = lease.backend_pid
            assert process not in lent
            lent.add(process)
            value(lease, "SELECT pg_sleep(0.001)")
            lent.discard(process)
            lease.release()
            borrows[number] += 1

    running = [in_thread(lambda number=number: work(number)) for number in range(threads)]  # type: ignore[misc]
    begin.wait()
    most = 0
    deadline = monotonic() + 4
    while monotonic() < deadline:
        most = max(most, server.sessions(make_pool.config_of(pool)))
        assert pool.stats().size + pool.stats().connecting <= 5
    over.set()
    joined(*running)
    assert most <= 5
    assert len(borrows) == threads
    least, most_served = min(borrows.values()), max(borrows.values())
    assert least >= 0.8 * most_served, f"{least} of {most_served}"


# -------------------------------------------------------------------------------------- returning, and after


def test_a_lease_is_dead_after_its_release(make_pool: PoolMaker) -> None:
    pool = make_pool(pool_size=1, max_overflow=0)
    lease = pool.borrow()
    lease.release()
    other = pool.borrow()
    uses: list[Callable[[], object]] = [
        lambda: lease.connection,
        lambda: lease.backend_pid,
        lambda: lease.guard(1),
        lease.release,
    ]
    for use in uses:
        with pytest.raises(ReleasedConnection):
            use()
    assert value(other, "SELECT 1") == 1
    other.release()


def test_a_connection_in_a_transaction_is_closed_and_nothing_of_it_is_stored(
    make_pool: PoolMaker, server: Server
) -> None:
    query(server.config, "CREATE TABLE IF NOT EXISTS undone (id int)")
    pool = make_pool(pool_size=1, max_overflow=0)
    lease = pool.borrow()
    value(lease, "BEGIN; INSERT INTO undone VALUES (1)")
    lease.release()
    assert pool.stats().size == 0
    again = pool.borrow()
    assert value(again, "SELECT count(*) FROM undone") == 0
    again.release()


def test_a_taint_stays_with_the_connection(make_pool: PoolMaker) -> None:
    pool = make_pool(pool_size=1, max_overflow=0)
    lease = pool.borrow()
    assert not lease.tainted
    lease.tainted = True
    lease.release()
    again = pool.borrow()
    assert again.tainted
    again.tainted = False
    again.release()


def test_a_lease_that_nobody_returned_is_reclaimed_with_a_warning(
    make_pool: PoolMaker, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(pool_size=1, max_overflow=0)
    lease = pool.borrow(purpose="forgotten")
    lease.last_statement = "videos.list"
    with caplog.at_level(logging.WARNING):
        del lease
        gc.collect()
        pool.borrow(timeout=5).release()
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    for part in ("connection_not_returned", "MainThread (forgotten)", "videos.list"):
        assert part in record.getMessage()


def test_a_waiter_gets_the_connection_of_a_lease_that_is_collected_meanwhile(make_pool: PoolMaker) -> None:
    pool = make_pool(pool_size=1, max_overflow=0)
    forgotten = [pool.borrow()]
    waiting = in_thread(lambda: pool.borrow(timeout=10).release())
    eventually(lambda: pool.stats().waiting == 1)
    forgotten.clear()
    joined(waiting)


def test_a_dedicated_connection_is_outside_the_pool_and_ends_with_its_lease(server: Server) -> None:
    config = server.config.with_(application_name="alone")
    lease = dedicated(config)
    assert value(lease, "SELECT 1") == 1
    assert server.sessions(config) == 1
    lease.release()
    eventually(lambda: server.sessions(config) == 0)
    with pytest.raises(ReleasedConnection):
        lease.release()


# ------------------------------------------------------------------------------------------ psycopg2's names


def test_a_connection_and_its_cursors_die_when_they_are_put_back(make_pool: PoolMaker) -> None:
    pool = make_pool(pool_size=1, max_overflow=0)
    lent = pool.getconn()
    cursor = lent.cursor()
    taken_out = cursor.execute
    cursor.execute("SELECT generate_series(1, 3)")
    assert next(cursor) == (1,)
    assert list(cursor) == [(2,), (3,)]
    through_cursor = cursor.connection
    lent.commit()
    pool.putconn(lent)
    other = pool.getconn()
    calls: list[tuple[object, str]] = [
        (lent, "cursor"),
        (lent, "commit"),
        (lent, "__enter__"),
        (through_cursor, "commit"),
    ]
    calls += [(cursor, "fetchall"), (cursor, "__next__"), (cursor, "__enter__")]
    uses: list[Callable[[], object]] = [
        *(lambda it=it, name=name: getattr(it, name)() for it, name in calls),
        lambda: lent.closed,
        lambda: setattr(lent, "autocommit", True),
        lambda: cursor.execute("SELECT 1"),
        lambda: taken_out("SELECT 1"),
        lambda: pool.putconn(lent),
    ]
    for use in uses:
        with pytest.raises(ReleasedConnection):
            use()
    with other, other.cursor() as fine:
        fine.execute("SELECT 1")
        assert fine.fetchone() == (1,)
    pool.putconn(other)
    assert pool.stats().opened == 1


def test_psycopg2_users_find_their_transactions_as_they_know_them(
    make_pool: PoolMaker, server: Server
) -> None:
    query(server.config, "CREATE TABLE IF NOT EXISTS plain (id int); TRUNCATE plain")
    pool = make_pool(pool_size=1, max_overflow=0)
    lent = pool.getconn()
    lent.cursor().execute("INSERT INTO plain VALUES (1)")
    lent.rollback()
    with lent, lent.cursor() as cursor:
        cursor.execute("INSERT INTO plain VALUES (2)")
    lent.cursor().execute("INSERT INTO plain VALUES (3)")
    pool.putconn(lent)  # in a transaction still, so 3 is undone
    assert query(server.config, "SELECT id FROM plain") == [(2,)]
    lease = pool.borrow()
    assert lease.connection.autocommit
    lease.release()


def test_a_key_gives_the_same_connection_until_it_is_put_back(make_pool: PoolMaker) -> None:
    pool = make_pool()
    lent = pool.getconn("a")
    assert pool.getconn("a") is lent
    assert pool.getconn("b") is not lent
    pool.putconn(key="a")
    with pytest.raises(ReleasedConnection):
        lent.cursor()
    pool.putconn(key="b")
    assert pool.stats().in_use == 0


@pytest.mark.parametrize("change", ["set_session", "isolation_level", "close"])
def test_a_connection_that_was_changed_is_not_lent_again(make_pool: PoolMaker, change: str) -> None:
    pool = make_pool(pool_size=1, max_overflow=0)
    lent = pool.getconn()
    if change == "set_session":
        lent.set_session(readonly=True)
    elif change == "isolation_level":
        lent.isolation_level = psycopg2.extensions.ISOLATION_LEVEL_SERIALIZABLE
    else:
        lent.close()
    pool.putconn(lent)
    assert pool.stats().closed == 1


def test_only_what_this_pool_lent_can_be_put_back(make_pool: PoolMaker) -> None:
    pool, other = make_pool(), make_pool()
    lent = other.getconn()
    foreign = cast("psycopg2.extensions.connection", object())
    for wrong in (lent, foreign, None):
        with pytest.raises(InvalidValue):
            pool.putconn(wrong)
    other.putconn(lent, close=True)
    assert other.stats().closed == 1


# ---------------------------------------------------------------------------------------------- interruption


class Interruption(BaseException):
    """Comes in the middle of anything, as a KeyboardInterrupt does."""


@pytest.fixture
def interruptible() -> Any:
    def interrupt(*_: object) -> None:
        raise Interruption

    previous = signal.signal(signal.SIGUSR1, interrupt)
    yield
    signal.signal(signal.SIGUSR1, previous)


@pytest.mark.usefixtures("interruptible")
def test_a_borrower_interrupted_while_a_connection_is_handed_over_loses_none(make_pool: PoolMaker) -> None:
    pool = make_pool(pool_size=1, max_overflow=0)
    seed = random.randrange(2**32)
    logging.getLogger(__name__).warning("seed %d", seed)  # shown when the test fails
    rng = random.Random(seed)
    outcomes = Counter[str]()
    for _ in range(150):
        lease = pool.borrow(timeout=5)
        over = Event()

        def disturb(lease: Lease = lease, over: Event = over, pause: float = rng.uniform(0, 0.0005)) -> None:
            eventually(lambda: pool.stats().waiting == 1 or over.is_set())
            lease.release()
            until = monotonic() + pause
            while monotonic() < until:
                pass
            if not over.is_set():
                os.kill(os.getpid(), signal.SIGUSR1)

        thread = in_thread(disturb)
        del lease
        try:
            mine = pool.borrow(timeout=5)
            over.set()
            mine.release()
            outcomes["borrowed"] += 1
            joined(thread)
        except Interruption:
            outcomes["interrupted"] += 1
        mine = None  # type: ignore[assignment]  # what was borrowed when the interruption came
        joined(thread)
        pool.borrow(timeout=5).release()
    assert outcomes["interrupted"]


# --------------------------------------------------------------------------------------------------- closing


def test_close_refuses_waiting_and_new_borrowers_at_once_and_lets_busy_ones_finish(
    make_pool: PoolMaker, server: Server
) -> None:
    pool = make_pool(pool_size=1, max_overflow=0)
    lease = pool.borrow()
    refused: list[BaseException] = []

    def wait() -> None:
        try:
            pool.borrow()
        except PoolClosed as error:
            refused.append(error)

    waiting = in_thread(wait)
    eventually(lambda: pool.stats().waiting == 1)
    closing = in_thread(lambda: pool.close(10))
    joined(waiting)
    assert len(refused) == 1
    with pytest.raises(PoolClosed):
        pool.borrow()
    assert value(lease, "SELECT 1") == 1
    lease.release()
    joined(closing)
    eventually(lambda: server.sessions(make_pool.config_of(pool)) == 0)
    pool.close()
    pool.closeall()


def test_close_cuts_who_is_busy_at_the_limit_and_no_session_is_left(
    make_pool: PoolMaker, server: Server
) -> None:
    pool = make_pool(pool_size=3, max_overflow=0)
    running, in_transaction, forgotten = pool.borrow(), pool.borrow(), pool.borrow()
    value(in_transaction, "BEGIN; SELECT 1")
    lost: list[BaseException] = []

    def run() -> None:
        connection = running.connection
        try:
            with translated(connection, doing="sleep"):
                value(running, "SELECT pg_sleep(60)")
        except ConnectionLost as error:
            lost.append(error)
        running.release()

    thread = in_thread(run)
    eventually(
        lambda: bool(query(server.config, "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
    )
    started = monotonic()
    pool.close(0.3)
    assert monotonic() - started < 5
    joined(thread)
    assert len(lost) == 1
    eventually(lambda: server.sessions(make_pool.config_of(pool)) == 0)
    in_transaction.release()
    forgotten.release()
    assert pool.stats().size == 0
