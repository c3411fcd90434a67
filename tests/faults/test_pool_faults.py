"""Dead, frozen and refusing servers: each borrow and each return within its limit, and no slot lost."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from time import monotonic

import psycopg2
import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.core import link as link_module
from database_handler.core.connection import ConnectionPool, Lease, open_connection
from database_handler.core.exceptions import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionLost,
    DatabaseHandlerError,
    DatabaseUnavailable,
    ResourcesExhausted,
    translated,
)
from tests.faults.conftest import PoolMaker, Server, frozen, in_thread, joined, query, value
from tests.support.faults import eventually


def lose(lease: Lease, statement: str = "SELECT 1") -> ConnectionLost:
    """Use a connection that is lost, and return the error."""
    with pytest.raises(ConnectionLost) as caught, translated(lease.connection, doing="test"):
        value(lease, statement)
    return caught.value


@pytest.fixture
def always_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every connection asked before it is lent, as if it had lain idle."""
    monkeypatch.setattr(link_module, "_FRESH", 0)


# ---------------------------------------------------------------------------------------------------- killed


def test_a_backend_killed_in_its_transaction_a_hundred_times_costs_no_slot(make_pool: PoolMaker) -> None:
    pool = make_pool(pool_size=2, max_overflow=0)
    killer = pool.borrow()
    for _ in range(100):
        lease = pool.borrow(timeout=5)
        value(lease, "BEGIN; SELECT 1")
        # Not waited for: the server looks only every 100 ms, and nothing is read after the signal.
        assert value(killer, "SELECT pg_terminate_backend(%s)", lease.backend_pid)
        assert lose(lease).retryable
        lease.release()
        assert pool.stats().in_use == 1
    killer.release()


def test_a_backend_killed_by_force_is_survived(make_pool: PoolMaker, server: Server) -> None:
    pool = make_pool(pool_size=2, max_overflow=0)
    for _ in range(3):
        bystander, lease = pool.borrow(timeout=10), pool.borrow(timeout=10)
        value(lease, "BEGIN; SELECT 1")
        os.kill(lease.backend_pid, signal.SIGKILL)
        # The server ends every session and recovers; it refuses meanwhile, and is waited for.
        lose(bystander, "SELECT pg_sleep(20)")
        lose(lease)
        bystander.release()
        lease.release()
        again = pool.borrow(timeout=15)
        assert value(again, "SELECT 1") == 1
        again.release()


def test_idle_connections_that_died_are_replaced_without_an_error(
    make_pool: PoolMaker, server: Server
) -> None:
    pool = make_pool(pool_size=3, max_overflow=0)
    leases = [pool.borrow() for _ in range(3)]
    processes = [lease.backend_pid for lease in leases]
    for lease in leases:
        lease.release()
    server.terminate(*processes)
    lease = pool.borrow()
    assert value(lease, "SELECT 1") == 1
    # One was found dead; the two of its age were dropped unasked.
    assert pool.stats().closed == 3
    lease.release()


def test_a_notification_that_waits_does_not_cost_the_connection(make_pool: PoolMaker, server: Server) -> None:
    pool = make_pool(pool_size=1, max_overflow=0)
    lease = pool.borrow()
    process = lease.backend_pid
    value(lease, "LISTEN news")
    lease.release()
    query(server.config, "NOTIFY news")
    again = pool.borrow()
    assert again.backend_pid == process
    assert again.connection.notifies == []
    again.release()


def test_retired_connections_go_when_they_come_back(make_pool: PoolMaker) -> None:
    pool = make_pool(pool_size=2, max_overflow=0)
    held, idle = pool.borrow(), pool.borrow()
    idle.release()
    pool.retire()
    assert pool.stats().idle == 0
    assert value(held, "SELECT 1") == 1
    held.release()
    assert pool.stats().size == 0


# ---------------------------------------------------------------------------------------------------- frozen


def test_a_query_on_a_frozen_backend_ends_at_its_deadline_and_holds_nobody_up(make_pool: PoolMaker) -> None:
    pool = make_pool(pool_size=2, max_overflow=0)
    lease = pool.borrow()
    longest, over = [0.0], Event()

    def go_on() -> None:
        before = monotonic()
        while not over.wait(0.001):
            now = monotonic()
            longest[0] = max(longest[0], now - before)
            before = now

    other = in_thread(go_on)
    with frozen(lease.backend_pid):
        started = monotonic()
        with lease.guard(1):
            lose(lease)
        assert 1 <= monotonic() - started < 5
        assert lease.cut
        over.set()
        joined(other)
        started = monotonic()
        lease.release()
        assert monotonic() - started < 5
        assert pool.stats().in_use == 0
    assert longest[0] < 0.5


@pytest.mark.usefixtures("always_asked")
def test_an_idle_connection_whose_backend_is_frozen_is_replaced_within_the_limit(
    make_pool: PoolMaker,
) -> None:
    pool = make_pool(pool_size=1, max_overflow=0)
    lease = pool.borrow()
    process = lease.backend_pid
    lease.release()
    with frozen(process):
        started = monotonic()
        again = pool.borrow(timeout=2)
        assert monotonic() - started < 2
        assert again.backend_pid != process
        assert value(again, "SELECT 1") == 1
        again.release()


def test_returning_a_connection_whose_backend_is_frozen_frees_its_slot(make_pool: PoolMaker) -> None:
    pool = make_pool(pool_size=1, max_overflow=0)
    lease = pool.borrow()
    value(lease, "BEGIN; SELECT 1")
    with frozen(lease.backend_pid):
        started = monotonic()
        lease.release()
        pool.borrow(timeout=5).release()
        assert monotonic() - started < 5


def test_a_frozen_postmaster_holds_up_neither_idle_connections_nor_returns(
    make_pool: PoolMaker, server: Server
) -> None:
    pool = make_pool(pool_size=3, max_overflow=0, connect_timeout=2)
    idle, held = pool.borrow(), pool.borrow()
    idle.release()
    with frozen(server.postmaster):
        first = pool.borrow(timeout=5)
        started = monotonic()
        with pytest.raises(DatabaseUnavailable) as caught:
            pool.borrow(timeout=0.5)
        assert 0.5 <= monotonic() - started < 1.9
        assert caught.value.retryable
        # One waits for the server, in vain; what comes back meanwhile is his, and nobody is held up.
        served: list[float] = []

        def wait() -> None:
            lease = pool.borrow(timeout=10)
            served.append(monotonic())
            lease.release()

        waiting = in_thread(wait)
        eventually(lambda: pool.stats().waiting == 1)
        started = monotonic()
        first.release()
        assert monotonic() - started < 1
        joined(waiting)
        assert served[0] - started < 1.9
        held.release()
        pool.borrow(timeout=0.5).release()


def test_an_attempt_nobody_waits_for_any_more_gives_its_connection_to_the_pool(
    make_pool: PoolMaker, server: Server
) -> None:
    pool = make_pool(pool_size=1, max_overflow=0)
    with frozen(server.postmaster), pytest.raises(DatabaseUnavailable):
        pool.borrow(timeout=0.2)
    eventually(lambda: pool.stats().idle == 1)
    assert pool.stats().connecting == 0


def test_connecting_alone_is_bounded_more_finely_than_by_whole_seconds(server: Server) -> None:
    before = threading.active_count()
    with frozen(server.postmaster):
        started = monotonic()
        with pytest.raises(DatabaseUnavailable):
            open_connection(server.config, timeout=0.3)
        assert monotonic() - started < 1.9
    eventually(lambda: threading.active_count() <= before)


def test_closing_cuts_a_frozen_connection_at_the_limit(make_pool: PoolMaker) -> None:
    pool = make_pool(pool_size=1, max_overflow=0)
    lease = pool.borrow()
    failed: list[ConnectionLost] = []
    with frozen(lease.backend_pid):
        thread = in_thread(lambda: failed.append(lose(lease)))
        eventually(lambda: lease.connection.get_transaction_status() == 1)
        started = monotonic()
        pool.close(0.2)
        assert monotonic() - started < 5
        joined(thread)
    assert len(failed) == 1
    lease.release()


# --------------------------------------------------------------------------------------------------- refused


@pytest.fixture
def limited(server: Server) -> Iterator[str]:
    """A role that may have one session."""
    query(server.config, "CREATE ROLE limited LOGIN CONNECTION LIMIT 1")
    yield "limited"
    eventually(lambda: not query(server.config, "SELECT 1 FROM pg_stat_activity WHERE usename = 'limited'"))
    query(server.config, "DROP ROLE limited")


def test_a_server_that_is_full_is_tried_again_until_the_deadline(server: Server, limited: str) -> None:
    config = server.config.with_(user=limited)
    only = open_connection(config)
    pool = ConnectionPool(config)
    started = monotonic()
    with pytest.raises(ResourcesExhausted) as caught:
        pool.borrow(timeout=0.5)
    assert 0.5 <= monotonic() - started < 5
    assert caught.value.sqlstate == "53300"
    assert caught.value.retryable
    waiting = in_thread(lambda: pool.borrow(timeout=10).release())
    eventually(lambda: pool.stats().waiting == 1)
    only.close()
    joined(waiting)
    pool.close()


def refusal(config: DatabaseConfig) -> DatabaseHandlerError:
    """Fail to connect, at once and twice alike, and return the error."""
    pool = ConnectionPool(config)
    for connect in (lambda: open_connection(config), pool.borrow):
        started = monotonic()
        with pytest.raises(DatabaseHandlerError) as caught:
            connect()
        assert monotonic() - started < 2
    assert pool.stats().size == 0
    pool.close()
    return caught.value


def test_a_database_that_is_missing_is_a_wrong_configuration(server: Server) -> None:
    error = refusal(server.config.with_(name="nowhere"))
    assert type(error) is ConfigurationError
    assert error.sqlstate == "3D000"
    assert not error.retryable
    assert '"nowhere"' in str(error)


def test_a_server_that_is_not_there_is_unavailable(server: Server) -> None:
    error = refusal(server.config.with_(port=1))
    assert type(error) is DatabaseUnavailable
    assert error.retryable


def test_a_role_that_is_missing_is_refused(server: Server) -> None:
    error = refusal(server.config.with_(user="nobody_there"))
    assert type(error) is AuthenticationFailed
    assert not error.retryable


@pytest.fixture(params=["scram-sha-256", "md5", "password"])
def with_password(server: Server, request: pytest.FixtureRequest) -> Iterator[DatabaseConfig]:
    """A role that must show a password, by each of the ways there are."""
    method = request.param
    rules = server.folder / "data" / "pg_hba.conf"
    before = rules.read_text()
    stored = "md5" if method == "md5" else "scram-sha-256"
    query(
        server.config,
        f"SET password_encryption = '{stored}'; CREATE ROLE secretive LOGIN PASSWORD 'Pässword'",
    )
    rules.write_text(f"local all secretive {method}\n{before}")
    query(server.config, "SELECT pg_reload_conf()")
    config = server.config.with_(user="secretive", password="Pässword")
    eventually(lambda: _connects(config) and not _connects(config.with_(password="wrong")))
    yield config
    rules.write_text(before)
    query(server.config, "SELECT pg_reload_conf(); DROP ROLE secretive")


def _connects(config: DatabaseConfig) -> bool:
    try:
        open_connection(config).close()
    except DatabaseHandlerError:
        return False
    return True


def test_a_wrong_password_is_told_from_a_missing_database_and_neither_shows_it(
    with_password: DatabaseConfig,
) -> None:
    wrong = refusal(with_password.with_(password="s3cret-wrong"))
    assert type(wrong) is AuthenticationFailed
    assert wrong.sqlstate == "28P01"
    missing = refusal(with_password.with_(name="nowhere"))
    assert type(missing) is ConfigurationError
    assert missing.sqlstate == "3D000"
    none = refusal(with_password.with_(password=None))
    assert type(none) is AuthenticationFailed
    for error in (wrong, missing, none):
        assert "s3cret" not in f"{error} {error!r} {error.driver_error}"
        assert "Pässword" not in f"{error} {error!r} {error.driver_error}"


@contextmanager
def answering(reply: bytes) -> Iterator[int]:
    """Listen on a port and answer whatever comes with `reply`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    peer.settimeout(5)
                    peer.recv(1024)
                    peer.sendall(reply)

        thread = in_thread(answer)
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            joined(thread)


def test_a_server_without_tls_where_it_is_asked_for_is_a_wrong_configuration() -> None:
    with answering(b"N") as port:
        error = refusal(DatabaseConfig.from_url(f"postgresql://app@127.0.0.1:{port}/app?sslmode=require"))
    assert type(error) is ConfigurationError
    assert "offers no TLS" in str(error)


@pytest.mark.parametrize("sslmode", ["disable", "prefer"])
def test_what_is_not_postgresql_is_a_wrong_configuration(sslmode: str) -> None:
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        config = DatabaseConfig.from_url(f"postgresql://app@127.0.0.1:{port}/app?sslmode={sslmode}")
        error = refusal(config)
    assert type(error) is ConfigurationError
    assert "not PostgreSQL" in str(error)


def test_of_two_hosts_the_one_that_answers_says_why(server: Server) -> None:
    config = server.config.with_(host=f"/nowhere,{server.config.host}", name="nowhere")
    assert refusal(config).sqlstate == "3D000"


def test_the_drivers_error_is_kept_apart(server: Server) -> None:
    error = refusal(server.config.with_(name="nowhere"))
    assert isinstance(error.driver_error, psycopg2.OperationalError)
    assert error.__context__ is None
    # A frame of the driver's holds the password, and some loggers print the variables of every frame.
    assert error.driver_error.__traceback__ is None
