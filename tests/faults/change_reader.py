"""A reader of changes in a process of its own that can be killed between reading and acknowledging."""

import multiprocessing
from multiprocessing.connection import Connection

from database_handler.config.database import DatabaseConfig
from database_handler.database import Database

PATIENCE = 60.0
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload([__name__])


def read(url: str, number: int, answer: Connection) -> None:
    """Take so many changes one by one, say which, acknowledge when told to, and stay for ever."""
    with (
        Database(DatabaseConfig.from_url(url, changes="outbox")) as database,
        database.changes(reader="killed", wait=PATIENCE) as feed,
    ):
        answer.send([next(feed).id for _ in range(number)])
        while answer.recv() == "acknowledge":
            feed.acknowledge()
            answer.send("acknowledged")


class Reader:
    """A process that reads."""

    def __init__(self, database: Database, number: int) -> None:
        self.here, there = _server.Pipe()
        url = database.config.url(hide_password=False)
        self.process = _server.Process(target=read, args=(url, number, there))
        self.process.start()
        there.close()

    def told(self) -> object:
        """What it says next."""
        assert self.here.poll(PATIENCE), "it says nothing"
        return self.here.recv()

    def acknowledge(self) -> None:
        self.here.send("acknowledge")
        assert self.told() == "acknowledged"

    def kill(self) -> None:
        self.process.kill()
        self.process.join(PATIENCE)
        self.here.close()
