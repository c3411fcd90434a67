"""A server of this folder's own to freeze and to kill, and pools that are checked after every test."""

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg2
import pytest

from database_handler import Database
from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import ConnectionPool, Lease
from database_handler.embedded import EmbeddedServer
from tests.support.faults import PATIENCE, assert_lending, assert_recovered, eventually
from tests.support.pgbouncer import PROGRAM

# Not skipped, where the program is not there: not collected.
collect_ignore = [] if PROGRAM else ["test_pgbouncer.py"]
_numbers = count(1)


def in_thread(work: Callable[[], object], name: str = "") -> Thread:
    """Start a thread that ends with the tests at the latest."""
    thread = Thread(target=work, name=name or None, daemon=True)
    thread.start()
    return thread


def joined(*threads: Thread) -> None:
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), f"{thread.name} is stuck; all threads:\n{stacks()}"


def stacks() -> str:
    """Tell where every thread of this process is."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"{names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()
    )


def value(lease: Lease, statement: str, *parameters: object) -> Any:
    """Run a statement on a borrowed connection and return its only value."""
    with lease.connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone()[0] if cursor.description else None  # type: ignore[index]  # there is one row


def query(config: DatabaseConfig, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Run a statement on a connection of its own, outside of everything that is tested."""
    arguments: dict[str, Any] = config.connect_arguments() | {"application_name": "observer"}
    # Some tests have the server recover, and what these statements did shall outlive that; and where a test
    # fails, a transaction of its own may be left with locks.
    arguments["options"] = "-c synchronous_commit=on -c statement_timeout=20s"
    connection = psycopg2.connect(**arguments)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


@contextmanager
def frozen(*processes: int) -> Iterator[None]:
    """Keep server processes from running inside the block."""
    try:
        for process in processes:
            os.kill(process, signal.SIGSTOP)
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def kill(*processes: int) -> None:
    """End server processes, and wait until they are gone; some may be on their way already."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)
    for process in processes:
        eventually(lambda process=process: is_gone(process))  # type: ignore[misc]


def is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


@dataclass(frozen=True)
class Server:
    config: DatabaseConfig
    postmaster: int
    folder: Path

    def sessions(self, config: DatabaseConfig) -> int:
        """Count the sessions that the pool of this configuration has on the server."""
        # While it writes, a transaction's id stands behind the name.
        named = "split_part(application_name, ' xid ', 1) = %s"
        statement = f"SELECT count(*) FROM pg_stat_activity WHERE {named}"
        return int(query(self.config, statement, config.application_name)[0][0])

    def terminate(self, *processes: int) -> None:
        """End sessions, and wait until they are gone."""
        # By ourselves: with a timeout, the server looks every 100 ms only.
        query(self.config, "SELECT pg_terminate_backend(p) FROM unnest(%s) AS p", list(processes))
        for process in processes:
            eventually(lambda process=process: is_gone(process))  # type: ignore[misc]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("faults") / "pg"
    embedded = EmbeddedServer.start(folder, durable=False)
    try:
        yield Server(embedded.config, embedded.pid, folder)
    finally:
        embedded.close()


class PoolMaker:
    """Makes pools; at the end each must have all its slots, as many sessions as it says, and still lend."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.pools: list[tuple[ConnectionPool, DatabaseConfig]] = []
        self.databases: list[Database] = []

    def __call__(self, **settings: object) -> ConnectionPool:
        config = self._server.config.with_(**{"application_name": _own_name()} | settings)
        pool = ConnectionPool(config)
        self.pools.append((pool, config))
        return pool

    def database(self, config: DatabaseConfig | None = None, **settings: object) -> Database:
        """Make a database, perhaps on the configuration of a proxy; its next unit must work as well."""
        named = (config or self._server.config).with_(**{"application_name": _own_name()} | settings)
        self.databases.append(Database(named))
        return self.databases[-1]

    def config_of(self, pool: ConnectionPool) -> DatabaseConfig:
        return next(config for other, config in self.pools if other is pool)

    def check(self) -> None:
        for database in self.databases:
            assert_recovered(database, partial(self._server.sessions, database.config))
            database.close()
            eventually(lambda config=database.config: self._server.sessions(config) == 0)  # type: ignore[misc]
        for pool, config in self.pools:
            if not pool.closed:
                assert_lending(pool, partial(self._server.sessions, config))
            pool.close(5)
            eventually(lambda config=config: self._server.sessions(config) == 0)  # type: ignore[misc]


def _own_name() -> str:
    return f"pool-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def make_pool(server: Server) -> Iterator[PoolMaker]:
    maker = PoolMaker(server)
    yield maker
    maker.check()
