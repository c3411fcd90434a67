"""The fault proxy does to real traffic what each of its modes says, and the library meets each in time."""

import select
from collections.abc import Callable, Iterator
from functools import partial
from threading import Thread
from time import monotonic

import pytest

from database_handler import Database
from database_handler.core.exceptions import CommitOutcomeUnknown, ConnectionLost, DatabaseUnavailable
from tests.faults.conftest import PoolMaker, Server, in_thread, joined, query
from tests.support.faults import FaultProxy, FaultRelay, Way, eventually

DEADLINE = 0.3
LATE = 5.0  # seconds that what comes in time may take more, on a machine with other work
BACKEND = "SELECT pg_backend_pid()"
INSERT = "INSERT INTO kept VALUES ('the needle is here')"
FIND = "SELECT repeat('a', 100000) || ' needle ' || repeat('z', 100000)"


@pytest.fixture(scope="module", autouse=True)
def table(server: Server) -> Iterator[None]:
    query(server.config, "CREATE TABLE kept (name text)")
    yield
    query(server.config, "DROP TABLE kept")


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultProxy]:
    with FaultProxy(server.config, tcp=True) as proxy:
        yield proxy


@pytest.fixture
def faulty(server: Server, proxy: FaultProxy, make_pool: PoolMaker) -> Iterator[Database]:
    """Yield a database through the proxy, on a connection that is open; its pool is checked afterwards."""
    yield from connected(server, proxy, make_pool, DEADLINE)


@pytest.fixture
def patient(server: Server, proxy: FaultProxy, make_pool: PoolMaker) -> Iterator[Database]:
    """Yield one whose deadline is far off: what ends before was told by the connection itself."""
    yield from connected(server, proxy, make_pool, 2 * LATE)


def connected(server: Server, proxy: FaultProxy, make_pool: PoolMaker, deadline: float) -> Iterator[Database]:
    database = make_pool.database(
        proxy.config, pool_size=2, max_overflow=0, pool_timeout=10, deadline=deadline
    )
    assert database.session.one(BACKEND)
    yield database
    proxy.pass_on()
    query(server.config, "TRUNCATE kept")


def stored(server: Server) -> int:
    return len(query(server.config, "SELECT 1 FROM kept"))


def lost_after(call: Callable[[], object]) -> float:
    """Return how long a call took that lost its connection."""
    started = monotonic()
    with pytest.raises((ConnectionLost, CommitOutcomeUnknown)):
        call()
    return monotonic() - started


def background(call: Callable[[], object]) -> tuple[list[object], Thread]:
    found: list[object] = []
    return found, in_thread(lambda: found.append(call()))


def test_what_passes_is_counted(proxy: FaultProxy, faulty: Database) -> None:
    with proxy.counting() as trips, faulty.unit_of_work() as unit:
        unit.session.run(INSERT)
        unit.session.run(INSERT)
    assert (trips.count, trips.connections, proxy.attempts) == (3, 0, 1)


@pytest.mark.parametrize(("ways", "arrives"), [(["request"], 0), (["reply"], 1), (["request", "reply"], 0)])
def test_dropped_bytes_are_silence_until_the_deadline(
    server: Server, proxy: FaultProxy, faulty: Database, ways: list[Way], arrives: int
) -> None:
    proxy.drop(*ways)
    with proxy.counting() as trips:
        assert DEADLINE <= lost_after(lambda: faulty.session.run(INSERT)) < DEADLINE + LATE
    assert trips.count == 0
    eventually(lambda: stored(server) == arrives)


def test_server_does_not_hear_of_a_hang_up_that_is_dropped(
    server: Server, proxy: FaultProxy, faulty: Database
) -> None:
    proxy.drop("request")
    lost_after(lambda: faulty.session.one("SELECT 1"))
    assert faulty.pool.stats().size == 0
    assert server.sessions(faulty.config) == 1
    proxy.pass_on()
    eventually(lambda: server.sessions(faulty.config) == 0)


def test_frozen_replies_fill_the_servers_buffers_and_come_through_afterwards(
    server: Server, proxy: FaultProxy, make_pool: PoolMaker
) -> None:
    patient = make_pool.database(proxy.config)
    [backend] = patient.session.one(BACKEND)
    proxy.freeze("reply")
    found, thread = background(lambda: patient.session.one("SELECT repeat('x', 4000000)"))
    waits = "SELECT wait_event FROM pg_stat_activity WHERE pid = %s"
    eventually(lambda: query(server.config, waits, backend) == [("ClientWrite",)])
    proxy.pass_on()
    joined(thread)
    assert found == [("x" * 4_000_000,)]


def test_frozen_requests_fill_the_clients_buffers(proxy: FaultProxy, faulty: Database) -> None:
    proxy.freeze("request")
    took = lost_after(lambda: faulty.session.one("SELECT length(%s)", ["x" * 4_000_000]))
    assert DEADLINE <= took < DEADLINE + LATE


def test_one_connection_is_frozen_and_the_others_are_not(proxy: FaultProxy, faulty: Database) -> None:
    with faulty.unit_of_work() as first:
        proxy.of(first.session.one(BACKEND)[0]).freeze()
        other = faulty.repositories(outside_unit=True)
        assert other.session.one("SELECT 1") == (1,)
        assert lost_after(lambda: first.session.one("SELECT 1")) >= DEADLINE
        assert other.session.one("SELECT 1") == (1,)
        first.rollback()


def test_server_that_is_silent_to_newcomers_is_unavailable_at_the_limit(
    proxy: FaultProxy, make_pool: PoolMaker
) -> None:
    newcomer = make_pool.database(proxy.config, pool_timeout=DEADLINE)
    proxy.freeze()
    started = monotonic()
    with pytest.raises(DatabaseUnavailable):
        newcomer.session.one("SELECT 1")
    assert monotonic() - started < DEADLINE + LATE
    proxy.pass_on()


@pytest.mark.parametrize("how", [FaultProxy.reset, FaultProxy.cut])
def test_connection_is_reset_or_cut_amid_a_statement(
    server: Server, proxy: FaultProxy, make_pool: PoolMaker, how: Callable[[FaultProxy], None]
) -> None:
    patient = make_pool.database(proxy.config)
    losses: list[ConnectionLost] = []

    def sleep() -> None:
        with pytest.raises(ConnectionLost) as caught:
            patient.session.one("SELECT pg_sleep(20)")
        losses.append(caught.value)

    thread = in_thread(sleep)
    asleep = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND application_name = %s"
    eventually(lambda: len(query(server.config, asleep, patient.config.application_name)) == 1)
    how(proxy)
    joined(thread)
    assert losses[0].retryable
    # The server would find out when the statement is over.
    server.terminate(
        *(process for [process] in query(server.config, asleep, patient.config.application_name))
    )


@pytest.mark.parametrize(("how", "broken"), [(FaultProxy.reset, True), (FaultProxy.cut, False)])
def test_idle_connection_that_is_reset_or_cut_is_replaced_without_an_error(
    proxy: FaultProxy, faulty: Database, how: Callable[[FaultProxy], None], broken: bool
) -> None:
    lease = faulty.pool.borrow()
    socket = select.poll()
    socket.register(lease.connection.fileno(), select.POLLIN)
    lease.release()
    how(proxy)
    [(_, events)] = socket.poll(20_000)
    assert bool(events & select.POLLERR) == broken
    assert faulty.session.one("SELECT 1") == (1,)
    assert faulty.pool.stats().opened == 2


def test_delay_is_added_each_way(proxy: FaultProxy, patient: Database) -> None:
    cases: list[tuple[tuple[Way, ...], float]] = [((), 0.2), (("request",), 0.1), (("reply",), 0.1)]
    for ways, delay in cases:
        proxy.pass_on()
        proxy.delay(0.1, *ways)
        started = monotonic()
        assert patient.session.one("SELECT 1") == (1,)
        assert delay <= monotonic() - started < LATE


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("place", [b"needle", 30])
@pytest.mark.parametrize("how", [FaultRelay.cut, FaultRelay.reset])
def test_request_cut_at_a_byte_is_not_carried_out(
    server: Server,
    proxy: FaultProxy,
    patient: Database,
    how: Callable[[FaultRelay], object],
    place: bytes | int,
    keep: bool,
) -> None:
    proxy.at("request", place, how, keep=keep)
    assert lost_after(lambda: patient.session.run(INSERT)) < LATE
    assert proxy.fired == 1
    eventually(lambda: server.sessions(patient.config) == 0)
    assert stored(server) == 0


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("place", [b"needle", 100_000])
def test_reply_cut_at_a_byte_is_a_lost_connection(
    proxy: FaultProxy, patient: Database, place: bytes | int, keep: bool
) -> None:
    proxy.at("reply", place, FaultRelay.cut, keep=keep)
    assert lost_after(lambda: patient.session.one(FIND)) < LATE
    assert patient.session.one(FIND) is not None


def test_reply_frozen_at_a_byte_goes_on_from_there(proxy: FaultProxy, make_pool: PoolMaker) -> None:
    patient = make_pool.database(proxy.config)
    proxy.at("reply", b"needle", FaultRelay.freeze)
    found, thread = background(lambda: patient.session.one(FIND))
    eventually(lambda: proxy.fired == 1)
    assert found == []
    proxy.connections[0].pass_on()
    joined(thread)
    assert found == [("a" * 100_000 + " needle " + "z" * 100_000,)]


def test_modes_change_in_any_order_while_traffic_flows(proxy: FaultProxy, make_pool: PoolMaker) -> None:
    patient = make_pool.database(proxy.config, pool_size=1, max_overflow=0)
    answers, thread = background(
        lambda: [patient.session.one("SELECT %s", [number])[0] for number in range(25)]
    )
    while thread.is_alive():
        for change in (proxy.freeze, proxy.pass_on, partial(proxy.delay, 0.01, "reply"), proxy.pass_on):
            change()
            thread.join(0.02)
    assert answers == [list(range(25))]
    assert proxy.attempts == 1


def test_what_is_disarmed_befalls_nobody(proxy: FaultProxy, faulty: Database) -> None:
    assert faulty.session.one("SELECT 1") == (1,)
    proxy.lose("reply", "SELECT")
    proxy.at("reply", 1, FaultRelay.cut)
    [connection] = proxy.connections
    connection.at("request", 1, FaultRelay.cut)
    proxy.disarm()
    assert faulty.session.one("SELECT 1") == (1,)
    assert faulty.pool.stats().opened == 1
