"""What the cache spares a reader and costs a writer: hits beside the database, writes with and without it.

Both servers run on this machine, one socket away: further away, each round trip counts for more. Wall time,
of two sides in turn.
"""

from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter
from uuid import UUID

from database_handler import CacheConfig, Database, NewProject, NewTextSource, UnitOfWork
from tests.support.valkey import Valkey

__all__ = ["NAME", "measured", "show"]

NAME = "cache"
_TEXTS = 2000  # of the project whose figures are read
_CALLS = 50

Sides = dict[str, Callable[[], object]]


def measured(database: Database, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of a call in each round, by what was done and on which side."""
    projects = database.projects.create_many([NewProject(name=f"cached {n}") for n in range(100)])
    ids = [project.id for project in projects]
    texts = (
        NewTextSource(project_id=ids[0], title=f"{n}", content=f"text {n} " * 20, language="en")
        for n in range(_TEXTS)
    )
    database.text_sources.create_many(texts)
    figures: dict[str, dict[str, list[float]]] = {}
    with Valkey() as server:
        cache = CacheConfig.model_validate({"url": server.url, "timeout": 5, "ttl": 3600})
        with Database(database.config, cache=cache) as cached, Database(database.config) as plain:
            for name, sides in _calls(cached, plain, ids).items():
                for number in range(3 * rounds + 1):
                    for side, call in sides.items():
                        seconds = _seconds(call)
                        if number:  # the first warms up, and fills
                            figures.setdefault(name, {}).setdefault(side, []).append(seconds)
    return figures


def _seconds(call: Callable[[], object]) -> float:
    started = perf_counter()
    for _ in range(_CALLS):
        call()
    return (perf_counter() - started) / _CALLS


def _calls(cached: Database, plain: Database, ids: list[UUID]) -> dict[str, Sides]:
    def ten(unit: UnitOfWork) -> None:
        for id in ids[10:20]:
            unit.projects.update(id, metadata={"a": 1})

    def sides(call: Callable[[Database], object]) -> Sides:
        return {"database": lambda: call(plain), "cache": lambda: call(cached)}

    return {
        "get_by_id": sides(lambda db: db.projects.get_by_id(ids[0])),
        "get_many of 100": sides(lambda db: db.projects.get_many(ids)),
        "statistics of 2,000 texts": sides(lambda db: db.projects.statistics(ids[0])),
        "update by itself": sides(lambda db: db.projects.update(ids[1], metadata={"a": 1})),
        "unit of ten updates": sides(lambda db: db.run(ten)),
    }


def show(figures: dict[str, dict[str, list[float]]]) -> None:
    """Print the medians, and what the cache makes of the database's."""
    for name, sides in figures.items():
        print(" ".join(_told(name, sides)))


def _told(name: str, sides: dict[str, list[float]]) -> Iterator[str]:
    base = median(sides["database"])
    yield f"{name:26}"
    for side, seconds in sides.items():
        yield f"{side} {median(seconds) * 1e6:9.0f} us  "
    ratios = (mine / theirs for mine, theirs in zip(sides["cache"], sides["database"], strict=True))
    yield f"{median(ratios):6.2f} x" if base else ""
