"""Health is a value: it never raises, and a server that does not answer costs it a bounded time."""

import os
import signal
import statistics
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread
from time import monotonic

import pytest

from database_handler import Database, MigrationManager
from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import InvalidValue
from database_handler.embedded import EmbeddedServer
from database_handler.migrations import MissingMigration
from database_handler.operations.health import SECONDS, Health, Unready
from tests.support.faults import eventually

LATER = (
    "INSERT INTO database_handler_migrations "
    "SELECT (jsonb_populate_record(m, jsonb_build_object('number', 9000, 'name', '9000_later'))).* "
    "FROM database_handler_migrations m ORDER BY number DESC LIMIT 1"
)


def kinds(health: Health) -> list[Unready]:
    return [reason.kind for reason in health.reasons]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """Yield a server of these tests' own, to be frozen and stopped."""
    server = EmbeddedServer.start(tmp_path_factory.mktemp("health") / "pg", durable=False)
    try:
        yield server
    finally:
        server.close()


def test_migrated_database_is_healthy(database: Database) -> None:
    health = database.health()
    [version] = database.session.one("SHOW server_version")
    head = MigrationManager(database.config).status().head
    assert (health.ok, health.live, health.ready, health.reachable) == (True, True, True, True)
    assert (health.error, health.newer) == (None, False)
    assert health.server_version == version.split(" ")[0]
    assert head is not None
    assert (health.head, health.expected_head) == (head, head)
    assert (health.replica, health.replica_lag) == (False, None)
    assert health.pool.max_size == 15
    assert health.model_dump(mode="json")["pool"]["in_use"] == 0


def test_database_that_is_not_migrated_is_not_healthy_yet_it_answers(server: EmbeddedServer) -> None:
    with Database(server.config) as database:
        health = database.health()
        assert (health.ok, health.head, health.error) == (False, None, None)
        assert (health.live, kinds(health)) == (True, [Unready.BEHIND])
        assert health.server_version
        assert health.expected_head
        database.migrate()
        assert database.health().ok


def test_health_inside_a_unit_asks_beside_it(database: Database) -> None:
    with database.unit_of_work() as unit:
        unit.projects.create(name="a")
        assert database.health().ok


def test_a_healthy_database_says_so_quickly(database: Database) -> None:
    database.health()
    times = []
    for _ in range(15):
        began = monotonic()
        assert database.health().ready
        times.append(monotonic() - began)
    print(f"health: median {statistics.median(times) * 1000:.1f} ms, longest {max(times) * 1000:.1f} ms")  # noqa: T201
    assert statistics.median(times) < 0.1


def test_a_schema_that_a_newer_release_made_is_ready_and_left_alone(database: Database) -> None:
    head = database.health().head
    database.session.run(LATER)
    health = database.health()
    assert (health.ready, health.newer, health.head, health.expected_head) == (True, True, "9000_later", head)
    with pytest.raises(MissingMigration):
        database.migrate()
    report = database.migrate(or_newer=True)
    assert (report.changed, report.head) == (False, "9000_later")
    database.session.run("DELETE FROM database_handler_migrations WHERE name = %s", [head])
    behind = database.health()
    assert (behind.ready, behind.live, behind.newer, kinds(behind)) == (False, True, False, [Unready.BEHIND])
    with pytest.raises(MissingMigration):
        database.migrate(or_newer=True)


def test_a_starved_pool_is_live_and_not_ready(database: Database) -> None:
    with Database(database.config.with_(pool_size=1, max_overflow=0)) as small:
        lease = small.pool.borrow()
        waiters = [Thread(target=lambda: small.session.one("SELECT 1"), daemon=True) for _ in range(2)]
        for waiter in waiters:
            waiter.start()
        eventually(lambda: small.pool.stats().waiting == len(waiters))
        began = monotonic()
        health = small.health(seconds=0.4)
        assert monotonic() - began < 0.4 + 1.2
        assert (health.live, health.ready, kinds(health)) == (True, False, [Unready.POOL_STARVED])
        assert (health.reachable, health.error is not None and "PoolTimeout" in health.error) == (None, True)
        lease.release()
        for waiter in waiters:
            waiter.join(SECONDS)
        assert small.health().ready


def test_a_queue_that_is_too_long_is_not_ready(database: Database) -> None:
    with Database(database.config.with_(pool_size=1, max_overflow=0)) as small:
        lease = small.pool.borrow()
        health: list[Health] = []
        waiter = Thread(target=lambda: small.session.one("SELECT 1"), daemon=True)
        waiter.start()
        eventually(lambda: small.pool.stats().waiting == 1)
        asker = Thread(target=lambda: health.append(small.health(seconds=20, max_waiting=0)), daemon=True)
        asker.start()
        eventually(lambda: small.pool.stats().waiting == 2)
        lease.release()
        for thread in (waiter, asker):
            thread.join(SECONDS)
        assert [(kinds(each), each.live, each.reachable) for each in health] == [
            ([Unready.POOL_STARVED], True, True)
        ]
        assert "1 borrowers waited for one of 1 connections" in str(health[0].error)
        assert small.health(max_waiting=0).ready


def test_a_closed_pool_is_not_live(database: Database) -> None:
    with Database(database.config) as closed:
        pass
    health = closed.health()
    assert (health.ok, health.live, kinds(health)) == (False, False, [Unready.POOL_CLOSED])
    assert health.error is not None
    assert "PoolClosed" in health.error


@pytest.mark.parametrize(
    "limits", [{"seconds": 0}, {"seconds": float("nan")}, {"max_waiting": -1}, {"max_replica_lag": -1}]
)
def test_limits_that_are_none_are_refused(database: Database, limits: dict[str, float]) -> None:
    with pytest.raises(InvalidValue):
        database.health(**limits)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  that is the test


def test_no_server_and_wrong_names_are_told_without_secrets(database: Database) -> None:
    config: DatabaseConfig = database.config
    for changes in (
        {"host": "/nonexistent"},
        {"host": "localhost", "port": 1},
        {"name": "nowhere_s3cret"[:7]},
        {"user": "nobody_here", "password": "s3cret"},
    ):
        with Database(config.with_(**changes)) as wrong:
            started = monotonic()
            health = wrong.health()
            assert monotonic() - started < SECONDS + 2
            assert (health.ok, health.live) == (False, True)
            assert health.error
            assert "s3cret" not in repr(health)


def test_frozen_server_costs_a_bounded_time(server: EmbeddedServer) -> None:
    with Database(server.config) as database:
        [backend] = database.session.one("SELECT pg_backend_pid()")
        try:
            for process in (backend, server.pid):
                os.kill(process, signal.SIGSTOP)
            started = monotonic()
            health = database.health(seconds=0.5)
            assert monotonic() - started < 0.5 + 1.2
        finally:
            for process in (backend, server.pid):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)
        assert (health.ready, health.live, kinds(health)) == (False, True, [Unready.UNREACHABLE])
        assert health.error
        assert database.health().server_version


def test_stopped_server_is_told(tmp_path: Path) -> None:
    server = EmbeddedServer.start(tmp_path / "pg", durable=False)
    with Database(server.config) as database:
        assert database.health().server_version
        server.close()
        health = database.health()
        assert (health.ok, health.server_version) == (False, None)
        assert health.error
