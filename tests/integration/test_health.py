"""Health is a value: it never raises, and a server that does not answer costs it a bounded time."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest

from database_handler import Database, MigrationManager
from database_handler.config.database import DatabaseConfig
from database_handler.embedded import EmbeddedServer
from database_handler.operations.health import SECONDS


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
    assert health.ok
    assert health.error is None
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
        assert health.server_version
        assert health.expected_head
        database.migrate()
        assert database.health().ok


def test_health_inside_a_unit_asks_beside_it(database: Database) -> None:
    with database.unit_of_work() as unit:
        unit.projects.create(name="a")
        assert database.health().ok


def test_closed_or_exhausted_pool_is_told(database: Database) -> None:
    with Database(database.config.with_(pool_size=1, max_overflow=0)) as small:
        lease = small.pool.borrow()
        health = small.health()
        lease.release()
        assert (health.ok, health.error is not None and "PoolTimeout" in health.error) == (False, True)
        assert small.health().ok
    closed = small.health()
    assert (closed.ok, closed.error is not None and "PoolClosed" in closed.error) == (False, True)


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
            assert not health.ok
            assert health.error
            assert "s3cret" not in repr(health)


def test_frozen_server_costs_a_bounded_time(server: EmbeddedServer) -> None:
    with Database(server.config) as database:
        [backend] = database.session.one("SELECT pg_backend_pid()")
        try:
            for process in (backend, server.pid):
                os.kill(process, signal.SIGSTOP)
            started = monotonic()
            health = database.health()
            assert monotonic() - started < 2 * SECONDS + 1
        finally:
            for process in (backend, server.pid):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGCONT)
        assert not health.ok
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
