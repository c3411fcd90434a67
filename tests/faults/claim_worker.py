"""What a worker does with its claims, in a process of its own that imports little else and can be killed."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from database_handler.core.exceptions import LeaseLost
from database_handler.database import Database

PATIENCE = 60.0
# Real processes, forked from one that has imported the package once and has no connection and no thread.
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload([__name__])


def take(url: str, lease: float, answer: Connection) -> None:
    """Take all there is, say what, and then work on it for ever."""
    with Database(url) as database:
        answer.send([claim.record.id for claim in database.translations.claim(9, lease=lease)])
        answer.recv()


def take_in_a_unit(url: str, lease: float, answer: Connection) -> None:
    """Take all there is in a transaction that stays open for ever."""
    with Database(url) as database, database.unit_of_work() as unit:
        answer.send([claim.record.id for claim in unit.translations.claim(9, lease=lease)])
        answer.recv()


def work(url: str, lease: float, answer: Connection) -> None:
    """When told to, take and finish two at a time, and say which are done, until nothing waits."""
    answer.send("ready")
    answer.recv()
    with Database(url) as database:
        while claims := database.translations.claim(2, lease=lease):
            for claim in claims:
                with suppress(LeaseLost):
                    answer.send(database.translations.finish(claim).id)
    answer.send(None)


class Worker:
    """A process at work."""

    def __init__(
        self, task: Callable[[str, float, Connection], None], database: Database, lease: float
    ) -> None:
        self.here, there = _server.Pipe()
        url = database.config.url(hide_password=False)
        self.process = _server.Process(target=task, args=(url, lease, there))
        self.process.start()
        there.close()

    def go(self) -> None:
        """Let it begin."""
        self.here.send("go")

    def wait(self) -> "Worker":
        """Wait until it is ready to begin."""
        assert self.said() == "ready"
        return self

    def said(self) -> Any:
        assert self.here.poll(PATIENCE)
        return self.here.recv()

    def rest(self) -> Iterator[Any]:
        """What it said before it ended."""
        with suppress(EOFError, ConnectionResetError):
            while True:
                yield self.said()

    def kill(self) -> None:
        self.process.kill()
        self.process.join(PATIENCE)

    def close(self) -> None:
        self.kill()
        self.here.close()
