"""A pooler is let through where it keeps a server process for each client, and refused where it does not."""

import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import ClassVar

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.core.session import Session
from database_handler.migrations import MigrationManager, PoolerInTheWay
from tests.migrations.conftest import Folder
from tests.support.wire import CountingProxy, Message, Relay


class SessionPooler(Relay):
    """Greets its clients with a process number of its own making, as poolers do."""

    def from_server(self, message: Message) -> None:
        if message.kind == b"K":
            message = Message(b"K", struct.pack("!i", 1) + message.body[4:])
        super().from_server(message)


class TransactionPooler(SessionPooler):
    """Sends the statements of every client over one server connection."""

    shared: ClassVar[socket.socket]
    gate: ClassVar[Lock] = Lock()

    def from_client(self, message: Message) -> None:
        if message.kind != b"Q":
            super().from_client(message)
            return
        with self.gate:
            self.shared.sendall(message.encoded())
            for answer in answers(self.shared):
                self.client.sendall(answer.encoded())


def exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = source.recv(size - len(data))
        assert part
        data += part
    return data


def answers(server: socket.socket) -> Iterator[Message]:
    """Give each message of the server up to "ready for a query"."""
    kind = b""
    while kind != b"Z":
        kind, length = struct.unpack("!ci", exactly(server, 5))
        yield Message(kind, exactly(server, length - 4))


@pytest.fixture
def shared(config: DatabaseConfig) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as server:
        server.settimeout(30)
        server.connect(str(Path(config.host) / f".s.PGSQL.{config.port}"))
        words = f"user\0{config.user}\0database\0{config.name}\0\0".encode()
        server.sendall(struct.pack("!ii", len(words) + 8, 3 << 16) + words)
        assert [answer.kind for answer in answers(server)][-1] == b"Z"
        yield server


class SessionProxy(CountingProxy):
    relay = SessionPooler


class TransactionProxy(CountingProxy):
    relay = TransactionPooler


def test_a_pooler_in_session_mode_is_let_through(config: DatabaseConfig, folder: Folder) -> None:
    folder.write("0001_a", "CREATE TABLE a (id int);")
    with SessionProxy(config) as proxy:
        assert MigrationManager(proxy.config, folder.path).migrate().applied == ("0001_a",)


def test_a_pooler_in_transaction_mode_is_refused(
    config: DatabaseConfig, folder: Folder, session: Session, shared: socket.socket
) -> None:
    folder.write("0001_a", "CREATE TABLE a (id int);")
    TransactionPooler.shared = shared
    with TransactionProxy(config) as proxy:
        manager = MigrationManager(proxy.config, folder.path)
        assert manager.status().pending == ("0001_a",)
        with pytest.raises(PoolerInTheWay, match="migration_url"):
            manager.migrate()
    assert session.all("SELECT to_regclass('a'), to_regclass('application_migrations')") == [(None, None)]
