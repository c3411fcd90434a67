"""A command on backups in a process of its own, forked from one that has imported the package already."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from database_handler.cli import main
from database_handler.operations.backup import Backups
from tests.support.full_disk import files_of_at_most

__all__ = ["Backups", "command"]

# Real processes, to be sent real signals; importing the package for each would take most of the time.
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload([__name__])


def _command(arguments: list[str], most_bytes: int | None, told: str) -> None:
    descriptor = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number in (1, 2):
        os.dup2(descriptor, number)
    sys.stdin = None  # there is no terminal
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
    with nullcontext() if most_bytes is None else files_of_at_most(most_bytes):
        sys.exit(main(arguments))


@contextmanager
def command(*arguments: str, told: Path, most_bytes: int | None = None) -> Iterator[ForkServerProcess]:
    """Run the command; what it prints goes into `told`, and no file may be larger than `most_bytes`."""
    process = _server.Process(target=_command, args=(list(arguments), most_bytes, str(told)))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()
