"""Ctrl-C ends a command also while the driver waits for the server, where Python's own handler cannot run."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread, current_thread, main_thread
from types import FrameType
from typing import NoReturn

__all__ = ["interruptible"]

_GRACE = 1.0  # seconds for a statement to end by itself
_SHOW_CURSOR = b"\x1b[?25h"  # a progress bar hides it
_OVER = b"\0"  # no signal has this number


@contextmanager
def interruptible(code: int) -> Iterator[None]:
    """Raise `KeyboardInterrupt` on Ctrl-C; end the process with `code` where that is not possible in time.

    The server then rolls back what was not committed, as it does for every client that is gone.
    """
    if current_thread() is not main_thread() or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        yield
        return
    noticed = Event()

    def notice(number: int, frame: FrameType | None) -> NoReturn:
        noticed.set()
        raise KeyboardInterrupt(number, frame and frame.f_lineno)

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    watcher = Thread(target=_watch, args=(reader, noticed, code), name="interrupts", daemon=True)
    watcher.start()
    before = signal.signal(signal.SIGINT, notice)
    # The number of each signal is written there at once, by the C part of Python.
    fd_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(fd_before)
        signal.signal(signal.SIGINT, before)
        os.write(writer, _OVER)
        watcher.join()
        os.close(reader)
        os.close(writer)


def _watch(reader: int, noticed: Event, code: int) -> None:
    while (number := os.read(reader, 1)) != _OVER:
        if number[0] == signal.SIGINT and not noticed.wait(_GRACE):
            if sys.stderr is not None and sys.stderr.isatty():
                os.write(sys.stderr.fileno(), _SHOW_CURSOR)
            os._exit(code)
