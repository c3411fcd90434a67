"""Where the command line prints: coloured on a terminal, plain elsewhere and where NO_COLOR is set.

On a terminal, a command that takes more than a second gets a bar without its doing: `waiting` draws one that
only moves and counts the seconds. It ends as soon as the command takes a console, to show something itself.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock, Timer
from typing import NoReturn

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from database_handler.content.folder import FileReport

__all__ = ["console", "pause", "progress", "waiting"]

PLAIN_EVERY = 5.0  # seconds between two lines of progress where there is no bar
WAIT = 1.0  # seconds that a command may take without a bar
_WIDE = 10_000  # columns, where no terminal has to fit a line: a row then stays on one


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError  # instead of ending the process from within: the exit codes have one address


def console(*, stderr: bool = False) -> Console:
    """Return a console; `is_terminal` tells whether lines, colours and bars may be used."""
    _waiting.end()
    return _console(stderr=stderr)


def _console(*, stderr: bool) -> Console:
    asked = _Console(stderr=stderr, highlight=False)
    if asked.is_terminal and not asked.no_color:
        return asked
    width = asked.width if asked.is_terminal else _WIDE
    return _Console(stderr=stderr, highlight=False, color_system=None, force_terminal=False, width=width)


class _Waiting:
    """The bar of the command that runs, if it shows none of its own; there is one command a process."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._timer: Timer | None = None
        self._bar: Progress | None = None

    def begin(self, name: str) -> None:
        screen = _console(stderr=True)
        if screen.is_terminal:
            self._timer = Timer(WAIT, self._draw, (name, screen))
            self._timer.daemon = True
            self._timer.start()

    def _draw(self, name: str, screen: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with self._lock:
            if self._timer is None:  # it has ended meanwhile
                return
            self._bar = Progress(
                *columns, console=screen, transient=True, redirect_stdout=False, redirect_stderr=False
            )
            self._bar.add_task(name, total=None)
            self._bar.start()

    def end(self) -> None:
        with self._lock:
            timer, bar, self._timer, self._bar = self._timer, self._bar, None, None
        if timer is not None:
            timer.cancel()
        if bar is not None:
            bar.stop()


_waiting = _Waiting()


@contextmanager
def waiting(name: str) -> Iterator[None]:
    """Draw a bar on a terminal while the block runs, from its second second on."""
    _waiting.begin(name)
    try:
        yield
    finally:
        _waiting.end()


@contextmanager
def pause() -> Iterator[None]:
    """Draw no bar while the block asks something; afterwards the second begins anew."""
    _waiting.end()
    yield
    _waiting.begin("working")


@contextmanager
def progress() -> Iterator[Callable[[FileReport | None, int, int], object]]:
    """Show on standard error how far reading is: a bar on a terminal, otherwise a line now and then."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield _plain_progress(screen)
        return
    columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("files", total=None)
        yield lambda _, done, total: bar.update(task, completed=done, total=total)


def _plain_progress(screen: Console) -> Callable[[FileReport | None, int, int], None]:
    last = time.monotonic()

    def show(_: FileReport | None, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_EVERY:
            last = time.monotonic()
            screen.print(f"{done} of {total} files", markup=False)

    return show
