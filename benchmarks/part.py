"""A part of the run: rows that are measured together, with what they have in common."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.figures import Row
from database_handler import Database

__all__ = ["Context", "Part"]


@dataclass(frozen=True)
class Context:
    """What a part works with.

    Attributes
    ----------
    database : Database
        Migrated, and every part's own to fill and to empty.
    rounds : int
        How often every side has its turn.
    rows : int
        How many rows the large tables have at most.
    only : str
        Words of the rows that are wanted.
    """

    database: Database
    rounds: int = 9
    rows: int = 1_000_000
    only: str = ""
    console: Console = field(default_factory=lambda: Console(stderr=True))

    def wanted(self, name: str) -> bool:
        """Tell whether a row was asked for."""
        return self.only in name

    def say(self, text: str) -> None:
        """Tell the reader of the run."""
        self.console.print(text, highlight=False)

    def tracked(self, name: str, steps: int) -> Iterator[int]:
        """Count the rounds, and show how far they are."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=not self.console.is_terminal) as progress:
            task = progress.add_task(name, total=steps)
            for step in range(steps):
                yield step
                progress.advance(task)


@dataclass(frozen=True)
class Part:
    """Rows that are measured together.

    Attributes
    ----------
    names : sequence of str
        Of its rows, so that some can be asked for.
    long : bool
        Whether it takes many minutes: then it runs only when it is asked for by name.
    """

    name: str
    measure: Callable[[Context], Iterator[Row]]
    names: Sequence[str]
    long: bool = False

    def chosen(self, only: str) -> bool:
        """Tell whether any of its rows was asked for."""
        if not only:
            return not self.long
        return any(only in name for name in self.names)
