"""A proxy that counts round trips: where timings are noise, their number is exact.

It stands in front of a real server on a Unix socket of its own, passes start-up and authentication
through, and answers a request for TLS with "no", for what it cannot read it cannot count.

A round trip is whatever the client sent since the last answer, answered up to "ready for a query" or
"ready for COPY's rows". Connecting counts apart. Subclasses may override `Relay.from_client` and
`Relay.from_server`, which see each message before it goes on, and `to_client` and `to_server`, which send.
"""

import shutil
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from selectors import EVENT_READ, DefaultSelector
from threading import Event, Lock, Thread
from types import TracebackType
from typing import ClassVar, Self

from database_handler.config.database import DatabaseConfig

__all__ = ["CountingProxy", "Message", "Relay", "Trips"]

_SSL, _GSS, _CANCEL = 80877103, 80877104, 80877102
_PATIENCE = 30.0  # seconds: nothing here waits for ever


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the protocol; the kind of a start-up packet is empty."""

    kind: bytes
    body: bytes

    def encoded(self) -> bytes:
        return self.kind + struct.pack("!i", len(self.body) + 4) + self.body

    @property
    def text(self) -> str | None:
        """The statement that the message carries, if it is one that does."""
        if self.kind == b"Q":
            return self.body.rstrip(b"\0").decode()
        if self.kind == b"P":
            return self.body.split(b"\0")[1].decode()
        return None


@dataclass
class Trips:
    """What went over the wire inside a `counting` block, or since the proxy began."""

    count: int = 0
    connections: int = 0
    texts: list[str] = field(default_factory=list)


class CountingProxy:
    """Counts the round trips of all connections that are made through `config`.

    It listens on a Unix socket, or on a port of this machine: some of TCP's ways have no like on the former.
    """

    relay: ClassVar[type["Relay"]]

    def __init__(self, config: DatabaseConfig, *, tcp: bool = False) -> None:
        self._target = config
        self._folder = Path(tempfile.mkdtemp(prefix="wire"))
        self._listener = _listening(None if tcp else self._folder)
        host, port = self._listener.getsockname() if tcp else (str(self._folder), 5432)
        self.config = config.with_(host=host, port=port, sslmode="disable")
        self._lock = Lock()
        self._counts = [Trips()]
        self._stop = Event()
        self._threads: list[Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_PATIENCE)
        self._listener.close()
        shutil.rmtree(self._folder)

    def count(self) -> int:
        """Return the number of round trips so far."""
        with self._lock:
            return self._counts[0].count

    @contextmanager
    def counting(self) -> Iterator[Trips]:
        """Count what happens inside the block; blocks may nest and overlap."""
        trips = Trips()
        with self._lock:
            self._counts.append(trips)
        try:
            yield trips
        finally:
            with self._lock:
                self._counts = [other for other in self._counts if other is not trips]

    def note(self, *, trip: bool = False, connection: bool = False, text: str | None = None) -> None:
        """Count for every block that is open; a relay calls it before it passes the message on."""
        with self._lock:
            for trips in self._counts:
                trips.count += trip
                trips.connections += connection
                if text is not None:
                    trips.texts.append(text)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = Thread(target=work, args=arguments, name="wire", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if client.family == socket.AF_INET:  # or each message of a reply waits for the one before
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            relay = self.relay(self, client, self._stop)
            self._start(relay.run, self._target)


class Relay:
    """Passes one connection's messages both ways and tells the proxy of them."""

    def __init__(self, proxy: CountingProxy, client: socket.socket, stop: Event) -> None:
        self._proxy = proxy
        self._stop = stop
        self.client = client
        self.server = socket.socket(socket.AF_UNIX)
        self._unread: dict[socket.socket, bytes] = {}
        self._started = self._asked = False

    def from_client(self, message: Message) -> None:
        """Pass a client's message on to the server."""
        if self._started:
            self._asked = True
            if message.text is not None:
                self._proxy.note(text=message.text)
        self.to_server(message.encoded())

    def from_server(self, message: Message) -> None:
        """Pass a server's message on to the client, counted first: the client may look at once."""
        if message.kind in {b"Z", b"G"}:
            if not self._started:
                self._proxy.note(connection=True)
                self._started = True
            elif self._asked:
                self._proxy.note(trip=True)
            self._asked = False
        self.to_client(message.encoded())

    def to_server(self, data: bytes) -> None:
        """Send the server what the client said."""
        self.server.sendall(data)

    def to_client(self, data: bytes) -> None:
        """Send the client what the server said."""
        self.client.sendall(data)

    def run(self, target: DatabaseConfig) -> None:
        """Work until either side hangs up or the proxy ends."""
        with self.client, suppress(OSError):
            self.client.settimeout(_PATIENCE)
            self.server.close()
            self.server = _connected(target)
            with self.server:
                self._unread = {self.client: b"", self.server: b""}
                self._begin()
                self._pass_on()

    def _begin(self) -> None:
        while True:
            length, code = struct.unpack("!ii", _exactly(self.client, 8))
            packet = Message(b"", struct.pack("!i", code) + _exactly(self.client, length - 8))
            if code not in {_SSL, _GSS}:
                break
            self.client.sendall(b"N")
        self.to_server(packet.encoded())
        if code == _CANCEL:
            raise ConnectionAbortedError

    def _pass_on(self) -> None:
        with DefaultSelector() as selector:
            selector.register(self.client, EVENT_READ, self.from_client)
            selector.register(self.server, EVENT_READ, self.from_server)
            while not self._stop.is_set():
                for key, _ in selector.select(0.05):
                    source = self.client if key.fileobj is self.client else self.server
                    for message in self._messages(source):
                        key.data(message)

    def _messages(self, source: socket.socket) -> Iterator[Message]:
        data = source.recv(1 << 16)
        if not data:
            raise ConnectionResetError
        data = self._unread[source] + data
        while len(data) >= 5 and len(data) >= (size := 1 + int.from_bytes(data[1:5])):
            yield Message(data[:1], data[5:size])
            data = data[size:]
        self._unread[source] = data


CountingProxy.relay = Relay


def _listening(folder: Path | None) -> socket.socket:
    if folder is None:
        return socket.create_server(("127.0.0.1", 0), backlog=128)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / ".s.PGSQL.5432"))
    listener.listen(128)
    return listener


def _connected(target: DatabaseConfig) -> socket.socket:
    if not target.host.startswith("/"):
        return socket.create_connection((target.host, target.port), timeout=_PATIENCE)
    server = socket.socket(socket.AF_UNIX)
    try:
        server.settimeout(_PATIENCE)
        server.connect(str(Path(target.host) / f".s.PGSQL.{target.port}"))
    except OSError:
        server.close()
        raise
    return server


def _exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = source.recv(size - len(data))
        if not part:
            raise ConnectionResetError
        data += part
    return data
