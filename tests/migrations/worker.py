"""What a starting application does with its migrations, in a process of its own that imports little else."""

import multiprocessing
from multiprocessing.connection import Connection

from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import MigrationError
from database_handler.migrations import MigrationManager
from tests.migrations.conftest import Folder

PATIENCE = 60.0
# Real processes, forked from one that has imported the package once and has no connection and no thread.
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload([__name__])


def migrate_in_process(url: str, versions: str, answer: Connection) -> None:
    """Say when it is ready, begin when it is told to, and send what came of it."""
    manager = MigrationManager(url, versions)
    answer.send("ready")
    answer.recv()
    try:
        answer.send(manager.migrate().applied)
    except MigrationError as error:
        answer.send(str(error))


class Run:
    """A process that migrates when it is told to."""

    def __init__(self, config: DatabaseConfig, folder: Folder) -> None:
        self.here, there = _server.Pipe()
        arguments = (config.url(hide_password=False), str(folder.path), there)
        self.process = _server.Process(target=migrate_in_process, args=arguments)
        self.process.start()
        there.close()

    def expect(self) -> object:
        assert self.here.poll(PATIENCE)
        return self.here.recv()

    def end(self) -> None:
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.here.close()
