"""A link of 1 ms: a process that passes bytes on half a millisecond late each way, and looks at none of them.

It is a process of its own, so that it takes no time of the one that is measured, and it sends on whole
chunks, so that its rate is far above what a side writes. What the hop costs by itself is measured first, and
taken off.
"""

import ctypes
import multiprocessing
import select
import socket
import statistics
import tempfile
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from benchmarks.peers.raw import connected
from database_handler import DatabaseConfig

__all__ = ["ROUND_TRIP", "Link", "linked", "round_trip"]

ROUND_TRIP = 0.001  # seconds that the link adds
_CHUNK = 1 << 18
_PRECISE = 29  # PR_SET_TIMERSLACK: or the kernel wakes a sleeper 50 us late


@dataclass(frozen=True)
class Link:
    """The link, and what it adds to a round trip in truth.

    Attributes
    ----------
    config : DatabaseConfig
        What to connect with to come over the link.
    added : float
        Seconds, measured when it was made.
    """

    config: DatabaseConfig
    added: float


@contextmanager
def linked(config: DatabaseConfig, round_trip_added: float = ROUND_TRIP) -> Iterator[Link]:
    """Put a link before a server, corrected by what it costs by itself."""
    direct = round_trip(config)
    wanted = round_trip_added / 2
    with _hop(config, wanted) as trial:
        surplus = round_trip(trial) - direct - round_trip_added
    with _hop(config, max(0.0, wanted - surplus / 2)) as target:
        yield Link(target, round_trip(target) - direct)


def round_trip(config: DatabaseConfig, times: int = 200) -> float:
    """Return the median seconds of an empty statement."""
    connection = connected(config)
    try:
        with connection.cursor() as cursor:
            return statistics.median(_timed(lambda: cursor.execute("SELECT")) for _ in range(times))
    finally:
        connection.close()


def _timed(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


@contextmanager
def _hop(config: DatabaseConfig, delay: float) -> Iterator[DatabaseConfig]:
    with tempfile.TemporaryDirectory(prefix="link") as folder:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(Path(folder) / ".s.PGSQL.5432"))
        listener.listen(128)
        target = str(Path(config.host) / f".s.PGSQL.{config.port}")
        process = multiprocessing.get_context("fork").Process(
            target=_pass_on, args=(listener, target, delay), name="link", daemon=True
        )
        process.start()
        listener.close()
        try:
            yield config.with_(host=folder, port=5432, sslmode="disable")
        finally:
            process.terminate()
            process.join(10)


@dataclass
class _Way:
    """One direction of one connection, and what is on its way."""

    source: socket.socket
    target: socket.socket
    chunks: deque[tuple[float, bytes]] = field(default_factory=deque)
    ended: bool = False

    def take(self, delay: float) -> None:
        data = b""
        with suppress(OSError):
            data = self.source.recv(_CHUNK)
        self.ended = not data
        self.chunks.append((perf_counter() + delay, data))

    def send_due(self, now: float) -> bool:
        """Send what is due; tell whether this direction has ended."""
        while self.chunks and self.chunks[0][0] <= now:
            data = self.chunks.popleft()[1]
            if not data:
                return True
            with suppress(OSError):
                self.target.sendall(data)
        return False


def _pass_on(listener: socket.socket, target: str, delay: float) -> None:
    """Work until the process is ended."""
    with suppress(OSError, AttributeError):  # only Linux has it
        ctypes.CDLL(None).prctl(_PRECISE, 1, 0, 0, 0)
    ways: list[_Way] = []
    while True:
        now = perf_counter()
        for way in [way for way in ways if way.send_due(now)]:
            ways = _closed(ways, way)
        due = min((way.chunks[0][0] for way in ways if way.chunks), default=None)
        wait = None if due is None else max(0.0, due - perf_counter())
        reading = {way.source: way for way in ways if not way.ended}
        ready, _, _ = select.select([listener, *reading], [], [], wait)
        for source in ready:
            if source is listener:
                ways += _opened(listener, target)
            else:
                reading[source].take(delay)


def _opened(listener: socket.socket, target: str) -> list[_Way]:
    client, _ = listener.accept()
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(target)
    except OSError:
        client.close()
        return []
    return [_Way(client, server), _Way(server, client)]


def _closed(ways: list[_Way], ended: _Way) -> list[_Way]:
    ended.source.close()
    ended.target.close()
    return [way for way in ways if way.source not in {ended.source, ended.target}]
