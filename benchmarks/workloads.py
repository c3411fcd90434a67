"""The rows of the table: each is prepared, timed on every side in turn, and checked for equal results."""

import gc
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from benchmarks.side import COLUMNS, Row, Side
from database_handler import Database

WORDS = ("light", "keeper", "dawn", "river", "stone", "paper", "bird", "harbour", "signal", "quiet", "engine")


@dataclass(frozen=True, slots=True)
class Workload:
    """One row: what is timed, and how often in a round."""

    name: str
    repeats: int
    work: Callable[[Side, "Data"], Any]
    clear: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    """What all sides work on."""

    database: Database
    ids: Sequence[UUID]
    rows: Sequence[Row]


def made_rows(count: int, seed: int) -> list[Row]:
    """Return rows of lifelike size: a sentence, three tags, a small JSON object."""
    chance = random.Random(seed)
    return [
        {
            "id": uuid7(),
            "name": " ".join(chance.choices(WORDS, k=4)),
            "slug": f"row-{seed}-{number}",
            "description": " ".join(chance.choices(WORDS, k=20)),
            "status": "active",
            "owner": None if number % 3 else "owner",
            "tags": [f"{word}{place}" for place, word in enumerate(chance.choices(WORDS, k=3))],
            "metadata": {"number": number, "note": chance.choice(WORDS), "list": [1, 2, 3]},
            "version": 1,
        }
        for number in range(count)
    ]


def _get(side: Side, data: Data) -> Any:
    return [side.get(id) for id in data.ids[:100]]


WORKLOADS = (
    Workload("get by id, 100 times", 3, _get),
    Workload("list of 1,000", 3, lambda side, _: side.list(1000)),
    Workload("create_many of 10,000", 1, lambda side, data: side.create_many(data.rows), clear=True),
)


def timed(workload: Workload, side: Side, data: Data) -> tuple[float, list[Row]]:
    """Return the seconds of the best repeat of a round, and what came back, plain."""
    best, found = float("inf"), []
    for _ in range(workload.repeats):
        if workload.clear:
            data.database.session.run("TRUNCATE projects CASCADE")
        gc.collect()
        started = perf_counter()
        found = workload.work(side, data)
        best = min(best, perf_counter() - started)
    return best, [_without_id(side.plain(item), workload.clear) for item in found]


def _without_id(row: Row, made: bool) -> Row:
    """Leave out the id where each side makes its own."""
    return {name: row[name] for name in COLUMNS if not (made and name == "id")}


def seeded(database: Database, count: int) -> Iterator[UUID]:
    """Store the rows that are read, and give their ids."""
    from database_handler import NewProject

    drafts = [
        NewProject(**{name: row[name] for name in COLUMNS if name not in {"id", "version"}})
        for row in made_rows(count, seed=1)
    ]
    for record in database.projects.create_many(drafts):
        yield record.id
