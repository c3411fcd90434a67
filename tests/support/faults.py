"""Faults on the wire: a proxy that loses what one side said about a statement, and bounded waiting."""

import socket
from collections.abc import Callable
from threading import Event, Lock
from time import monotonic
from typing import Literal

from database_handler.config.database import DatabaseConfig
from tests.support.wire import CountingProxy, Message, Relay

__all__ = ["FaultProxy", "eventually"]

PATIENCE = 20.0  # seconds: no wait in these tests is longer

Lost = Literal["request", "reply"]


def eventually(holds: Callable[[], bool], *, within: float = PATIENCE) -> None:
    """Wait for what another thread or process brings about; it fails when that does not come."""
    deadline = monotonic() + within
    while not holds():
        assert monotonic() < deadline, "it did not come about in time"
        Event().wait(0.005)


class FaultProxy(CountingProxy):
    """Breaks the connection at the next statement that holds a text, before or after the server saw it."""

    def __init__(self, config: DatabaseConfig) -> None:
        super().__init__(config)
        self._plan: tuple[str, Lost] | None = None
        self._plan_lock = Lock()
        self.fired = 0

    def lose(self, part: Lost, text: str) -> None:
        """Lose the request, or the reply, of the next statement whose text holds `text`; once."""
        with self._plan_lock:
            self._plan = text, part

    def due(self, text: str | None) -> Lost | None:
        """Say what is to be lost of this statement, and forget it."""
        with self._plan_lock:
            if text is None or self._plan is None or self._plan[0] not in text:
                return None
            part = self._plan[1]
            self._plan = None
            self.fired += 1
            return part


class _FaultRelay(Relay):
    """Passes on until the fault is due; then both sides find the connection gone."""

    def __init__(self, proxy: CountingProxy, client: socket.socket, stop: Event) -> None:
        super().__init__(proxy, client, stop)
        assert isinstance(proxy, FaultProxy)
        self._faults = proxy
        self._silent = False

    def from_client(self, message: Message) -> None:
        due = self._faults.due(message.text)
        if due == "request":
            raise ConnectionAbortedError
        self._silent = due == "reply"
        super().from_client(message)

    def from_server(self, message: Message) -> None:
        if not self._silent:
            super().from_server(message)
        elif message.kind == b"Z":  # the server is done, so what it did is final
            raise ConnectionAbortedError


FaultProxy.relay = _FaultRelay
