"""What a starting application does with its migrations, in a process of its own that imports little else."""

import logging
import multiprocessing
from multiprocessing.connection import Connection

from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import DatabaseHandlerError
from database_handler.migrations import MigrationManager
from database_handler.utils.logger import get_logger
from tests.migrations.conftest import Folder

PATIENCE = 60.0
get_logger(__name__).debug("loads what the first line of a log needs, before the fork")
# Real processes, forked from one that has imported the package once and has no connection and no thread.
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload([__name__])


class _Told(logging.Handler):
    """Keeps the log's lines that tell of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "migrations.waiting" in (line := record.getMessage()):
            self.lines.append(line)


def migrate_in_process(url: str, versions: str, call: str, answer: Connection) -> None:
    """Say when it is ready, begin when it is told to, and send what came of it, and what was logged."""
    manager = MigrationManager(url, versions, lock_wait=PATIENCE)
    told = _Told()
    logger = logging.getLogger("database_handler")
    logger.addHandler(told)
    logger.setLevel(logging.INFO)
    answer.send("ready")
    answer.recv()
    try:
        report = manager.migrate() if call == "migrate" else manager.rollback(target=0)
        answer.send(report.applied + report.rolled_back)
    except DatabaseHandlerError as error:
        answer.send(str(error))
    answer.send(told.lines)


class Run:
    """A process that migrates, or rolls back, when it is told to."""

    def __init__(self, config: DatabaseConfig, folder: Folder, call: str = "migrate") -> None:
        self.here, there = _server.Pipe()
        arguments = (config.url(hide_password=False), str(folder.path), call, there)
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
