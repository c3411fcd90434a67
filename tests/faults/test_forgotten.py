"""A connection that is held too long is told of, with the lines that borrowed it; a collected one comes back.

Row 21 of the fault table. That a waiter gets what is collected meanwhile is shown in `test_pool.py`.
"""

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from threading import Event
from time import monotonic, process_time
from traceback import format_stack

import pytest

from database_handler import Database
from database_handler.core import link as link_module
from database_handler.core.exceptions import ConnectionLost
from database_handler.core.pool_stats import Closed
from tests.faults.conftest import PoolMaker, frozen, in_thread, joined, kill, value
from tests.support.faults import eventually

HELD, NOT_RETURNED = "connection_held_long", "connection_not_returned"


class Told:
    """The warnings about connections, each once it came."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def of(self, event: str) -> list[str]:
        warnings = [record for record in self._caplog.records if record.levelno == logging.WARNING]
        return [text for record in warnings if event in (text := record.getMessage())]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Iterator[Told]:
    with caplog.at_level(logging.WARNING):
        yield Told(caplog)


def begin(database: Database) -> ExitStack:
    """Open a unit, and leave it to the caller to end it."""
    ends = ExitStack()
    ends.enter_context(database.unit_of_work()).session.one("SELECT 'not told'")
    return ends


def test_a_unit_that_is_held_too_long_is_told_of_once_with_its_lines(
    make_pool: PoolMaker, told: Told
) -> None:
    database = make_pool.database(pool_size=1, max_overflow=1, pool_hold_warning=0.2)
    over, started = Event(), monotonic()

    def work() -> None:
        with begin(database):
            over.wait(20)

    thread = in_thread(work, "worker-7")
    eventually(lambda: database.pool.stats().in_use == 1)
    assert told.of(HELD) == []
    eventually(lambda: database.session.one("SELECT 1") == (1,) and bool(told.of(HELD)))
    assert monotonic() - started >= 0.2
    for _ in range(3):
        database.session.one("SELECT 1")
    [warning] = told.of(HELD)
    for part in ("worker-7 (unit of work)", "sql SELECT", f"{__file__}:", "in begin <", "in work <"):
        assert part in warning
    assert "not told" not in warning
    assert "database_handler/core" not in warning
    over.set()
    joined(thread)


def test_a_waiter_tells_of_whom_it_waits_for(make_pool: PoolMaker, told: Told) -> None:
    pool = make_pool(pool_size=1, max_overflow=0, pool_hold_warning=0.2)
    held = pool.getconn()
    waiting = in_thread(lambda: pool.borrow(timeout=20).release())
    eventually(lambda: bool(told.of(HELD)))
    [warning] = told.of(HELD)
    assert "MainThread (getconn)" in warning
    assert "in test_a_waiter_tells_of_whom_it_waits_for" in warning
    pool.putconn(held)
    joined(waiting)


def test_what_was_collected_is_told_with_its_lines_and_its_slot_is_free(
    make_pool: PoolMaker, told: Told
) -> None:
    pool = make_pool(pool_size=1, max_overflow=0)

    def forget() -> None:
        with pool.getconn().cursor() as cursor:
            cursor.execute("CREATE TABLE forgotten (n int)")

    forget()
    gc.collect()
    lease = pool.borrow(timeout=10)
    assert value(lease, "SELECT to_regclass('forgotten')") is None  # it was rolled back
    lease.release()
    [warning] = told.of(NOT_RETURNED)
    assert "MainThread (getconn)" in warning
    assert f"{__file__}:" in warning
    assert "in forget < " in warning


def test_a_stream_that_is_left_open_is_told_with_its_lines(make_pool: PoolMaker, told: Told) -> None:
    database = make_pool.database(pool_size=2, max_overflow=0, pool_hold_warning=0.2)
    rows = database.session.stream("SELECT * FROM generate_series(1, 100)", batch=10)
    assert next(rows) == (1,)
    eventually(lambda: database.session.one("SELECT 1") == (1,) and bool(told.of(HELD)))
    assert "in test_a_stream_that_is_left_open_is_told_with_its_lines" in told.of(HELD)[0]
    assert next(rows) == (2,)  # it is only told
    rows.close()  # type: ignore[attr-defined]  # it is a generator


def test_units_that_come_and_go_are_not_told_of(make_pool: PoolMaker, told: Told) -> None:
    database = make_pool.database(pool_size=1, max_overflow=0, pool_hold_warning=0.1)
    until = monotonic() + 0.5
    while monotonic() < until:
        with database.unit_of_work() as unit:
            unit.session.one("SELECT 1")
    silent = make_pool.database(pool_size=1, max_overflow=0, pool_hold_warning=None)
    with silent.unit_of_work() as unit:
        unit.session.one("SELECT pg_sleep(0.3)::text")
        assert silent.pool.stats().in_use == 1
    assert told.of(HELD) == told.of(NOT_RETURNED) == []


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Keep the collector of cycles away: what nobody refers to is gone without it."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_lease_that_took_the_place_of_a_silent_connection_comes_back_once_dropped(
    make_pool: PoolMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "_FRESH", 0.0)  # each is asked before it is lent
    pool = make_pool(pool_size=1, max_overflow=0, connect_timeout=1)
    first = pool.borrow()
    silent = first.backend_pid
    first.release()
    with frozen(silent):
        lease = pool.borrow()
        assert lease.backend_pid != silent
        del lease
        assert pool.stats().in_use == 0
    assert pool.stats().closed_by_reason[Closed.FORGOTTEN] == 1


@pytest.mark.usefixtures("no_collector")
def test_unit_whose_connection_was_lost_comes_back_once_dropped(make_pool: PoolMaker) -> None:
    database = make_pool.database(pool_size=1, max_overflow=0)
    forgotten = ExitStack()
    unit = forgotten.enter_context(database.unit_of_work())
    process = unit.session.one("SELECT pg_backend_pid()")[0]
    kill(process)
    with suppress(ConnectionLost):
        unit.session.one("SELECT 1")
    assert database.pool.stats().in_use == 1
    forgotten.pop_all()
    del unit, forgotten
    assert database.pool.stats().in_use == 0


def cost(work: Callable[[], object]) -> float:
    """Return the processor time of a call, over some hundred."""
    began = process_time()
    for _ in range(200):
        work()
    return process_time() - began


def test_noting_the_lines_costs_a_unit_little(make_pool: PoolMaker) -> None:
    """Little beside the text of one stack: in turn, the least of each, for the machine has other work."""
    pool = make_pool(pool_size=1, max_overflow=0)

    def plain() -> None:
        pool.borrow().release()

    def traced() -> None:
        lease = pool.borrow()
        lease.trace()
        lease.release()

    def told() -> None:
        pool.borrow().release()
        "".join(format_stack())

    rounds = [(cost(plain), cost(traced), cost(told)) for _ in range(9)]
    least = [min(side) for side in zip(*rounds, strict=True)]
    assert least[1] - least[0] < (least[2] - least[0]) / 4, [seconds / 200 * 1e6 for seconds in least]
