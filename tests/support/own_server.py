"""A server of the test's own that is stopped, crashed and started again in its place, at one address."""

import os
import signal
from pathlib import Path
from types import TracebackType
from typing import Self

from database_handler.config.database import DatabaseConfig
from database_handler.embedded import EmbeddedServer

__all__ = ["OwnServer"]


class OwnServer:
    """An embedded server; its address stays while it is down.

    Nothing is forced to the disk, which only the machine's end would show. What the server was told to
    commit must outlive its processes, though: databases whose rows are looked for after a crash need
    ``ALTER DATABASE ... SET synchronous_commit = on``.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.start()

    def start(self) -> None:
        """Start it, also after a crash; return when it answers."""
        self._embedded = EmbeddedServer.start(self.folder, durable=False)
        self.config: DatabaseConfig = self._embedded.config

    def stop(self) -> None:
        """Stop it as a service manager does: sessions are ended, what is committed is kept."""
        self._embedded.close()

    def crash(self) -> None:
        """Have all its processes end where they stand."""
        os.kill(self.postmaster, signal.SIGQUIT)
        self._embedded.close()

    @property
    def postmaster(self) -> int:
        """The process number of the server's first process, the parent of all others."""
        return self._embedded.pid

    def runs(self, process: int) -> bool:
        """Whether a process is one of this server's, so that it may be sent a signal."""
        try:
            status = Path(f"/proc/{process}/stat").read_text()
        except OSError:
            return False
        return int(status.rpartition(")")[2].split()[1]) == self.postmaster

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
