"""Faults on the wire: a proxy that treats the traffic of one connection, or of all, as bad networks do.

Each way, the requests' and the replies', passes, is dropped (the peer sees silence), is frozen (nothing is
read, so that buffers fill), or is delayed; a connection is cut or reset at once, or at a byte of its traffic,
before or after that byte passed. All of it can change while traffic flows, in any order, and round trips are
counted as `CountingProxy` does.
"""

import select
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Lock
from time import monotonic
from typing import Literal

from database_handler import Database
from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import ConnectionPool
from database_handler.core.session import ping
from tests.support.wire import CountingProxy, Message, Relay

__all__ = ["PATIENCE", "FaultProxy", "FaultRelay", "assert_lending", "assert_recovered", "eventually"]

PATIENCE = 20.0  # seconds: no wait in these tests is longer
_QUEUED = 1 << 20  # bytes that may wait to be sent before a way is read no further
_TICK = 0.02  # seconds after which a relay looks what is to be done next

Way = Literal["request", "reply"]
_BOTH: tuple[Way, Way] = ("request", "reply")
_BACK: dict[Way, Way] = {"request": "reply", "reply": "request"}


def eventually(holds: Callable[[], object], *, within: float = PATIENCE) -> None:
    """Wait for what another connection, thread or process brings about; it fails when that does not come."""
    deadline = monotonic() + within
    while not holds():
        assert monotonic() < deadline, "it did not come about in time"
        Event().wait(0.005)


def assert_lending(pool: ConnectionPool, sessions: Callable[[], int]) -> None:
    """Hold a pool to its promise after a fault: no slot is lost, and it has as many sessions as it says."""
    eventually(lambda: pool.stats().in_use == pool.stats().connecting == 0)
    leases = [pool.borrow(timeout=10) for _ in range(pool.stats().max_size)]
    assert len({lease.backend_pid for lease in leases}) == len(leases)
    for lease in leases:
        ping(lease.connection)
        lease.release()
    eventually(lambda: sessions() == pool.stats().size)


def assert_recovered(database: Database, sessions: Callable[[], int]) -> None:
    """Hold a database to the same, and have its next unit work."""
    assert_lending(database.pool, sessions)
    with database.unit_of_work() as unit:
        assert unit.session.one("SELECT 7") == (7,)
    assert database.session.one("SELECT 7") == (7,)


@dataclass(frozen=True, slots=True)
class _Treatment:
    """What becomes of the bytes of one way."""

    kind: Literal["pass", "drop", "freeze"] = "pass"
    delay: float = 0.0


class _Trap:
    """Springs once, at a byte: after so many of them, or at a pattern inside a message."""

    def __init__(
        self, way: Way, place: int | bytes, then: "Callable[[FaultRelay], object]", keep: bool
    ) -> None:
        self.way = way
        self.then = then
        self._place = place
        self._keep = keep
        self._sprung = False
        self._lock = Lock()

    def found(self, data: bytes) -> int | None:
        """Say after how many of these bytes it springs; None where it does not."""
        with self._lock:
            if self._sprung or (at := self._reached(data)) is None:
                return None
            self._sprung = True
            return at

    def _reached(self, data: bytes) -> int | None:
        if isinstance(self._place, int):
            left, self._place = self._place, self._place - len(data)
            return left if left <= len(data) else None
        start = data.find(self._place)
        return None if start < 0 else start + len(self._place) * self._keep


class _Traffic:
    """What can be done to traffic; with no way named, to both."""

    def __init__(self) -> None:
        self.treatments: dict[Way, _Treatment] = {}
        self.traps: list[_Trap] = []

    def pass_on(self, *ways: Way) -> None:
        """Pass everything on, at once; what was frozen comes through now, what was dropped is lost."""
        self._treat(_Treatment(), ways)

    def drop(self, *ways: Way) -> None:
        """Lose every byte; a peer that hangs up is not heard of either."""
        self._treat(_Treatment("drop"), ways)

    def freeze(self, *ways: Way) -> None:
        """Read nothing more; the sender's buffers fill."""
        self._treat(_Treatment("freeze"), ways)

    def delay(self, seconds: float, *ways: Way) -> None:
        """Pass every byte on so many seconds after it came."""
        self._treat(_Treatment(delay=seconds), ways)

    def at(
        self, way: Way, place: int | bytes, then: "Callable[[FaultRelay], object]", *, keep: bool = False
    ) -> None:
        """Have `then` done to the connection whose traffic comes to a place first; once.

        Parameters
        ----------
        place : int or bytes
            After so many bytes, counted from now, or at this pattern inside one message.
        keep : bool
            Whether the pattern itself passes before.
        """
        self.traps.append(_Trap(way, place, then, keep))

    def _treat(self, treatment: _Treatment, ways: tuple[Way, ...]) -> None:
        self.treatments |= dict.fromkeys(ways or _BOTH, treatment)


class FaultProxy(_Traffic, CountingProxy):
    """Treats all connections alike, or each in its own way, which is reached by `of`.

    Attributes
    ----------
    connections : list of FaultRelay
        The ones that are open, oldest first.
    attempts : int
        How often somebody connected, to whatever end.
    fired : int
        How often something was lost, or a place in the traffic reached.
    """

    def __init__(self, config: DatabaseConfig, *, tcp: bool = False) -> None:
        CountingProxy.__init__(self, config, tcp=tcp)
        _Traffic.__init__(self)
        self.connections: list[FaultRelay] = []
        self.attempts = self.fired = 0
        self._plan: tuple[str, Way] | None = None
        self._plan_lock = Lock()

    def of(self, backend: int) -> "FaultRelay":
        """Return the connection to the server's process of this number."""
        return next(each for each in list(self.connections) if each.backend == backend)

    def cut(self) -> None:
        """End every connection that is open now; both sides find it closed."""
        for each in list(self.connections):
            each.cut()

    def reset(self) -> None:
        """Reset every connection that is open now."""
        for each in list(self.connections):
            each.reset()

    def lose(self, part: Way, text: str) -> None:
        """Lose the request, or the whole reply, of the next statement whose text holds `text`; once.

        Both sides then find the connection gone; a reply is lost when the server is done.
        """
        with self._plan_lock:
            self._plan = text, part

    def disarm(self) -> None:
        """Forget what was planned and has not come about: it would befall whoever comes next."""
        with self._plan_lock:
            self._plan = None
        for each in (self, *list(self.connections)):
            each.traps.clear()

    def due(self, text: str | None) -> Way | None:
        """Say what is to be lost of this statement, and forget it."""
        with self._plan_lock:
            if text is None or self._plan is None or self._plan[0] not in text:
                return None
            part = self._plan[1]
            self._plan = None
            self.fired += 1
            return part

    def _treat(self, treatment: _Treatment, ways: tuple[Way, ...]) -> None:
        super()._treat(treatment, ways)
        for each in list(self.connections):
            for way in ways or _BOTH:
                each.treatments.pop(way, None)


class FaultRelay(_Traffic, Relay):
    """One connection through a `FaultProxy`.

    Attributes
    ----------
    backend : int
        The process number of the server's session; 0 until the server told it.
    """

    def __init__(self, proxy: CountingProxy, client: socket.socket, stop: Event) -> None:
        Relay.__init__(self, proxy, client, stop)
        _Traffic.__init__(self)
        assert isinstance(proxy, FaultProxy)
        self.backend = 0
        self._faults = proxy
        proxy.attempts += 1
        self._silent = False
        self._doomed = False
        self._queues: dict[Way, deque[tuple[float, bytes]]] = {"request": deque(), "reply": deque()}
        self._hung_up: set[Way] = set()

    def cut(self) -> None:
        """End the connection: both sides find it closed."""
        self._doomed = True

    def reset(self) -> None:
        """End the connection with a TCP reset: the client finds it broken, whatever is still on its way."""
        assert self.client.family == socket.AF_INET, "a reset takes FaultProxy(config, tcp=True)"
        with suppress(OSError):  # it has ended already
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._doomed = True

    def run(self, target: DatabaseConfig) -> None:
        self._faults.connections.append(self)
        try:
            super().run(target)
        finally:
            self._faults.connections.remove(self)

    def from_client(self, message: Message) -> None:
        due = self._faults.due(message.text)
        if due == "request":
            raise ConnectionAbortedError
        self._silent = due == "reply"
        if self._kind("request") != "drop":
            super().from_client(message)

    def from_server(self, message: Message) -> None:
        if message.kind == b"K":
            self.backend = int.from_bytes(message.body[:4])
        if self._silent and message.kind == b"Z":  # the server is done, so what it did is final
            raise ConnectionAbortedError
        if not self._silent and self._kind("reply") != "drop":
            super().from_server(message)

    def to_server(self, data: bytes) -> None:
        self._pass("request", data)

    def to_client(self, data: bytes) -> None:
        self._pass("reply", data)

    def _treatment(self, way: Way) -> _Treatment:
        return self.treatments.get(way) or self._faults.treatments.get(way) or _Treatment()

    def _kind(self, way: Way) -> str:
        return self._treatment(way).kind

    def _pass(self, way: Way, data: bytes) -> None:
        for trap in [*self.traps, *self._faults.traps]:
            if trap.way == way and (at := trap.found(data)) is not None:
                self._queue(way, data[:at])
                trap.then(self)
                self._faults.fired += 1
                self._obey()
                data = data[at:]
        self._queue(way, data)

    def _queue(self, way: Way, data: bytes) -> None:
        if data:
            self._queues[way].append((monotonic() + self._treatment(way).delay, data))
            self._flush(way)

    def _obey(self) -> None:
        if self._doomed:
            raise ConnectionAbortedError

    def _pass_on(self) -> None:
        self.client.setblocking(False)
        self.server.setblocking(False)
        while not self._stop.is_set():
            self._obey()
            ready = self._ready()
            for way in _BOTH:
                self._flush(way)
                if self._source(way).fileno() in ready and self._reads(way):
                    self._read(way)
                if way in self._hung_up and self._kind(way) == "pass" and not self._queues[way]:
                    raise ConnectionResetError

    def _ready(self) -> set[int]:
        """Wait a moment, and say which sockets have something to read."""
        poll = select.poll()
        for way in _BOTH:
            events = select.POLLIN * self._reads(way) | select.POLLOUT * self._is_due(_BACK[way])
            if events:  # a hang-up would be told even where nothing is asked for, again and again
                poll.register(self._source(way), events)
        return {descriptor for descriptor, _ in poll.poll(self._patience() * 1000)}

    def _patience(self) -> float:
        """Return the seconds until more is due to be sent, if that is soon."""
        waits = [queue[0][0] - monotonic() for queue in self._queues.values() if queue]
        return min([_TICK, *(wait for wait in waits if wait > 0)])

    def _source(self, way: Way) -> socket.socket:
        return self.client if way == "request" else self.server

    def _target(self, way: Way) -> socket.socket:
        return self.server if way == "request" else self.client

    def _reads(self, way: Way) -> bool:
        queued = sum(len(data) for _, data in self._queues[way])
        return self._kind(way) != "freeze" and way not in self._hung_up and queued < _QUEUED

    def _read(self, way: Way) -> None:
        handle = self.from_client if way == "request" else self.from_server
        try:
            for message in self._messages(self._source(way)):
                handle(message)
        except BlockingIOError:
            pass  # it was ready to be written to only
        except ConnectionResetError:
            self._hung_up.add(way)

    def _is_due(self, way: Way) -> bool:
        queue = self._queues[way]
        return bool(queue) and self._kind(way) != "freeze" and queue[0][0] <= monotonic()

    def _flush(self, way: Way) -> None:
        """Send what is due, as much as the other side takes."""
        queue = self._queues[way]
        if self._kind(way) == "drop":
            queue.clear()
        with suppress(BlockingIOError):
            while self._is_due(way):
                due, data = queue[0]
                sent = self._target(way).send(data)
                queue.popleft()
                if sent < len(data):
                    queue.appendleft((due, data[sent:]))


FaultProxy.relay = FaultRelay
