"""What the guards cost: one read, and a unit of ten, with and without a deadline, a budget and a key.

The ratios are of client processor time, which does not see other work on the machine; of two sides in turn.
"""

from collections.abc import Callable, Iterator
from statistics import median
from time import process_time

from database_handler import Database, NewProject, Project, UnitOfWork

__all__ = ["NAME", "measured", "show"]

NAME = "guards"
_READS = 300
_UNITS = 60


def measured(database: Database, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of each round, by what was done and which guard was on."""
    [project, *_] = database.projects.create_many([NewProject(name=f"guarded {n}") for n in range(10)])
    figures: dict[str, dict[str, list[float]]] = {}
    with (
        Database(database.config.with_(repeated_statement=None)) as plain,
        Database(database.config.with_(deadline=30)) as bounded,
        Database(database.config) as counted,
    ):
        sides = {
            "a read": _reads(project, {"none": plain, "DB_DEADLINE": bounded}),
            "a unit of ten reads": _units(project, plain, bounded, counted),
        }
        for name, calls in sides.items():
            for number in range(3 * rounds + 1):
                for side, call in calls.items():
                    started = process_time()
                    call()
                    if number:  # the first warms up
                        figures.setdefault(name, {}).setdefault(side, []).append(process_time() - started)
    return figures


def _reads(project: Project, databases: dict[str, Database]) -> dict[str, Callable[[], None]]:
    def reading(database: Database) -> Callable[[], None]:
        def read() -> None:
            for _ in range(_READS):
                database.projects.get_by_id(project.id)

        return read

    return {name: reading(database) for name, database in databases.items()}


def _units(
    project: Project, plain: Database, bounded: Database, counted: Database
) -> dict[str, Callable[[], None]]:
    def ten(unit: UnitOfWork) -> None:
        for _ in range(10):
            unit.projects.get_by_id(project.id)

    def opened(database: Database, **options: float | int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(_UNITS):
                database.run(ten, **options)  # type: ignore[arg-type]  # keywords of a unit

        return run

    return {
        "none": opened(plain),
        "DB_DEADLINE": opened(bounded),
        "deadline=": opened(plain, deadline=30),
        "max_statements=": opened(plain, max_statements=100),
        "repeats told": opened(counted),
    }


def show(figures: dict[str, dict[str, list[float]]]) -> None:
    """Print each guard's median as a ratio to none."""
    for name, sides in figures.items():
        print(f"\n{name}")
        for line in _lines(sides):
            print(line)


def _lines(sides: dict[str, list[float]]) -> Iterator[str]:
    base = median(sides["none"])
    for side, seconds in sides.items():
        yield f"  {side:18} {median(seconds) * 1000:9.2f} ms  {median(seconds) / base:6.3f} x"
