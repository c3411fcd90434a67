"""Where the command line prints: coloured on a terminal, plain elsewhere and where NO_COLOR is set."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from database_handler.content.folder import FileReport

__all__ = ["console", "progress"]

PLAIN_EVERY = 5.0  # seconds between two lines of progress where there is no bar
_WIDE = 10_000  # columns, where no terminal has to fit a line: a row then stays on one


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError  # instead of ending the process from within: the exit codes have one address


def console(*, stderr: bool = False) -> Console:
    """Return a console; `is_terminal` tells whether lines, colours and bars may be used."""
    asked = _Console(stderr=stderr, highlight=False)
    if asked.is_terminal and not asked.no_color:
        return asked
    width = asked.width if asked.is_terminal else _WIDE
    return _Console(stderr=stderr, highlight=False, color_system=None, force_terminal=False, width=width)


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
