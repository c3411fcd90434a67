"""A server that is restarted, crashes, or stays down a while: who had nothing under way sees no error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Barrier, Event, Thread
from time import monotonic

import pytest

from database_handler import Database, UnitOfWork
from database_handler.core.exceptions import ConnectionLost, DatabaseHandlerError, DatabaseUnavailable
from tests.faults.conftest import PoolMaker, Server, in_thread, joined, query
from tests.support.faults import FaultProxy, eventually
from tests.support.own_server import OwnServer

BUSY = 4
INSERT = "INSERT INTO kept VALUES (%s)"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    with OwnServer(tmp_path_factory.mktemp("restarts") / "pg") as server:
        query(server.config, "ALTER DATABASE app SET synchronous_commit = on")
        query(server.config, "CREATE TABLE kept (name text)")
        yield server


@pytest.fixture
def proxy(own: OwnServer) -> Iterator[FaultProxy]:
    with FaultProxy(own.config) as proxy:
        yield proxy


@pytest.fixture
def make(own: OwnServer) -> Iterator[Callable[..., Database]]:
    """Yield what makes databases on this server; each must have recovered at the end."""
    maker = PoolMaker(Server(own.config, own.postmaster, own.folder))
    yield maker.database
    maker.check()
    query(own.config, "TRUNCATE kept")


@contextmanager
def down(server: OwnServer) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.start()


def restart(server: OwnServer) -> None:
    server.stop()
    server.start()


def crash(server: OwnServer) -> None:
    server.crash()
    server.start()


Restart = Callable[[OwnServer], None]
BOTH = pytest.mark.parametrize("again", [restart, crash])


def kept(server: OwnServer) -> list[str]:
    return sorted(name for [name] in query(server.config, "SELECT name FROM kept"))


def warm(database: Database, connections: int) -> None:
    """Have a pool keep idle connections."""
    leases = [database.pool.borrow() for _ in range(connections)]
    for lease in leases:
        lease.release()
    assert database.pool.stats().idle == connections


@BOTH
def test_idle_connections_are_replaced_without_an_error(
    own: OwnServer, make: Callable[..., Database], again: Restart
) -> None:
    database = make(pool_size=3, max_overflow=0)
    for name in ("read", "write", "unit"):
        warm(database, 3)
        again(own)
        if name == "read":
            assert database.session.one("SELECT 1") == (1,)
        elif name == "write":  # a lost one could not be sent again: nobody would know whether it was stored
            database.session.run(INSERT, [name])
        else:
            with database.unit_of_work() as unit:
                unit.session.run(INSERT, [name])
    assert kept(own) == ["unit", "write"]
    assert database.pool.stats().closed >= 9


class Busy:
    """A thread that is amid a unit when the server goes, and opens the next one when it is back."""

    def __init__(self, database: Database, name: str, begun: Barrier, back: Event) -> None:
        self.database, self.name = database, name
        self.failures: list[DatabaseHandlerError] = []
        self._begun, self._back = begun, back

    def run(self) -> None:
        for name in (f"{self.name} lost", self.name):
            try:
                with self.database.unit_of_work() as unit:
                    unit.session.run(INSERT, [name])
                    if not self._back.is_set():
                        self._meet_the_fault(unit)
            except DatabaseHandlerError as failure:
                self.failures.append(failure)
                self._back.wait(20)

    def _meet_the_fault(self, unit: UnitOfWork) -> None:
        self._begun.wait(20)
        if self.name.startswith("running"):
            unit.session.one("SELECT pg_sleep(20)")
        self._back.wait(20)
        unit.session.run(INSERT, [f"{self.name} lost"])


@BOTH
def test_busy_connections_get_one_error_each_that_can_be_retried(
    own: OwnServer, make: Callable[..., Database], again: Restart
) -> None:
    database = make(pool_size=BUSY, max_overflow=0)
    begun, back = Barrier(BUSY + 1), Event()
    busy = [Busy(database, f"{'running' if n % 2 else 'waiting'} {n}", begun, back) for n in range(BUSY)]
    threads = [in_thread(each.run, each.name) for each in busy]
    begun.wait(20)
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    eventually(lambda: query(own.config, asleep) == [(BUSY / 2,)])
    again(own)
    back.set()
    joined(*threads)
    failures = [failure for each in busy for failure in each.failures]
    assert [type(failure) for failure in failures] == [ConnectionLost] * BUSY
    assert all(failure.retryable for failure in failures)
    assert kept(own) == sorted(each.name for each in busy)


@BOTH
def test_units_that_are_run_again_outlive_it_and_are_stored_once(
    own: OwnServer, make: Callable[..., Database], again: Restart
) -> None:
    database = make(pool_size=BUSY, max_overflow=0)
    begun = Barrier(BUSY + 1)

    def run(name: str) -> None:
        tries: list[int] = []

        def work(unit: UnitOfWork) -> None:
            tries.append(1)
            unit.session.run(INSERT, [name])
            if len(tries) == 1:
                begun.wait(20)
                unit.session.one("SELECT pg_sleep(20)")

        database.run(work, retries=50)

    threads = [in_thread(lambda n=n: run(str(n))) for n in range(BUSY)]  # type: ignore[misc]
    begun.wait(20)
    again(own)
    joined(*threads)
    assert kept(own) == [str(n) for n in range(BUSY)]


# ------------------------------------------------------------------------------------------- down for a while

CROWD = 10


class Crowd:
    """Threads that all want to write while the server is down, each its own name."""

    def __init__(self, write: Callable[[str], object], kind: str) -> None:
        self.names = [f"{kind} {n}" for n in range(CROWD)]
        self.failures: list[DatabaseHandlerError] = []
        self.threads: list[Thread] = [
            in_thread(lambda name=name: self._write(write, name), name)  # type: ignore[misc]
            for name in self.names
        ]

    def _write(self, write: Callable[[str], object], name: str) -> None:
        try:
            write(name)
        except DatabaseHandlerError as failure:
            self.failures.append(failure)


def assert_unavailable_by(limit: float, database: Database) -> None:
    started = monotonic()
    with pytest.raises(DatabaseUnavailable) as caught:
        database.session.one("SELECT 1")
    assert monotonic() - started < limit + 0.5
    assert caught.value.retryable


@pytest.mark.parametrize("seconds", [3, pytest.param(10, marks=pytest.mark.soak)])
def test_server_that_is_down_is_unavailable_by_the_limit_and_is_not_hammered(
    own: OwnServer, proxy: FaultProxy, make: Callable[..., Database], seconds: int
) -> None:
    gone = make(pool_size=2, max_overflow=0, pool_timeout=1)
    behind = make(proxy.config, pool_size=2, max_overflow=0, pool_timeout=0.5)
    waiting = make(proxy.config, pool_size=2, max_overflow=0, pool_timeout=30)
    for database in (gone, behind, waiting):
        warm(database, 2)
    tries: list[int] = []

    def run_again(name: str) -> None:
        def work(unit: UnitOfWork) -> None:
            tries.append(1)
            unit.session.run(INSERT, [name])

        gone.run(work, retries=1000)

    with down(own):
        before, until = proxy.attempts, monotonic() + seconds
        # Where nothing is there, each try fails at once; where somebody hangs up, as a server that starts
        # does, its return is awaited.
        crowds = [
            Crowd(run_again, "run again"),
            Crowd(lambda name: waiting.session.run(INSERT, [name]), "wait"),
        ]
        for _ in range(2):
            assert_unavailable_by(1, gone)
            assert_unavailable_by(0.5, behind)
        assert gone.health().error is not None
        Event().wait(until - monotonic())
        assert len(tries) <= CROWD * (10 + seconds)
        # At most two connect at a time in each pool, and the reason of a failure is asked for by another.
        assert proxy.attempts - before <= 2 * (2 * (10 + 2 * seconds) + 2 * 12)
    returned = monotonic()
    joined(*(thread for crowd in crowds for thread in crowd.threads))
    assert gone.health().error is None
    assert monotonic() - returned < 5
    assert [failure for crowd in crowds for failure in crowd.failures] == []
    assert kept(own) == sorted(name for crowd in crowds for name in crowd.names)
