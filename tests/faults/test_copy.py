"""A COPY whose end the server does not read: it ends at its deadline, and holds up no other thread."""

# ruff: noqa: PT012  # what is to raise is the unit as a whole

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from threading import Event
from time import monotonic

import pytest

from database_handler import Database
from database_handler.core.exceptions import ConnectionLost
from tests.faults.conftest import Server, frozen, in_thread, joined
from tests.support.faults import PATIENCE

ROWS = b"d\0\0\0\6x\n"  # a row, as COPY sends it


@contextmanager
def _thawed_at_last(process: int) -> Iterator[None]:
    """Freeze a backend, and have another process end that, for this one may not be able to."""
    helper = subprocess.Popen(["/bin/sh", "-c", f"sleep {PATIENCE / 2}; kill -CONT {process}"])
    try:
        with frozen(process):
            yield
    finally:
        helper.kill()
        helper.wait(PATIENCE)


def _fill(descriptor: int) -> None:
    with socket.socket(fileno=os.dup(descriptor)) as wire:
        wire.setblocking(False)  # as libpq has it
        with suppress(BlockingIOError):
            while True:
                wire.send(ROWS)


def test_copy_to_a_frozen_backend_ends_at_its_deadline_and_holds_nobody_up(server: Server) -> None:
    longest, over = [0.0], Event()

    def go_on() -> None:
        before = monotonic()
        while not over.wait(0.001):
            now = monotonic()
            longest[0] = max(longest[0], now - before)
            before = now

    with Database(server.config.with_(deadline=2)) as database, ExitStack() as stack:
        database.session.run("CREATE TABLE copied (line text)")
        other, started = in_thread(go_on), monotonic()
        with pytest.raises(ConnectionLost), database.unit_of_work() as unit:
            [process] = unit.session.one("SELECT pg_backend_pid()")
            lease = unit._transaction._lease
            assert lease is not None
            descriptor = lease.connection.fileno()

            def lines() -> Iterator[bytes]:
                stack.enter_context(_thawed_at_last(process))
                _fill(descriptor)
                yield b"x\n"

            unit.session.copy("COPY copied FROM STDIN", lines())
        assert monotonic() - started < 2 + 5
        over.set()
        joined(other)
        assert longest[0] < 1
        stack.close()
        database.session.run("DROP TABLE copied")
