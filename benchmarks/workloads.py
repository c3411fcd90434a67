"""The works that every side does on one table: each is prepared, timed in turn, and its results compared."""

import gc
import hashlib
import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any
from uuid import UUID

from psycopg2 import sql
from uuid_utils.compat import uuid7

from benchmarks.side import COLUMNS, WRITTEN, Row, Side, can
from database_handler import Database, NewProject

__all__ = ["WORKLOADS", "Data", "Workload", "made_rows", "restored", "seeded", "timed", "workloads"]

WORDS = ("light", "keeper", "dawn", "river", "stone", "paper", "bird", "harbour", "signal", "quiet", "engine")


@dataclass(frozen=True, slots=True)
class Data:
    """What all sides work on: the rows that are stored, and rows that are not yet."""

    database: Database
    rows: Sequence[Row]
    more: Sequence[Row]

    @property
    def ids(self) -> list[UUID]:
        """The ids of what is stored."""
        return [row["id"] for row in self.rows]


@dataclass(frozen=True, slots=True)
class Workload:
    """One row of the table.

    Attributes
    ----------
    work : callable
        What is timed; what it returns is compared where `compares` is set.
    needs : callable
        The method of `Side` that a side must have.
    stored, more : int
        The rows that are there, and those that are not yet.
    stores : bool
        Whether it writes: the table is brought back before each, and compared after it.
    rounds : int
        At most so many rounds, for what takes long.
    """

    name: str
    work: Callable[[Side, Data], Any]
    needs: Callable[..., Any]
    stored: int = 0
    more: int = 0
    at_most: float | None = None
    faster: float | None = None
    repeats: int = 1
    stores: bool = False
    compares: bool = False
    rounds: int = 9

    def sides(self, sides: Sequence[Side]) -> list[Side]:
        """Return those that can do it."""
        return [side for side in sides if can(side, self.needs)]


def _changed(rows: Sequence[Row]) -> list[Row]:
    return [{"id": row["id"], "description": f"{row['description']} again", "version": 2} for row in rows]


def _half(data: Data, size: int) -> list[Row]:
    """Return rows of which every second is there, and differs."""
    there = [{**row, "id": uuid7(), "owner": "another", "version": 2} for row in data.rows[: size // 2]]
    return [row for pair in zip(there, data.more[: size // 2], strict=True) for row in pair]


def workloads(rows: int = 10_000) -> list[Workload]:
    """Return the works, over a table of so many rows."""
    return [
        Workload(
            "get by id, 100 times",
            lambda side, data: [side.get(id) for id in data.ids[:100]],
            Side.get,
            stored=rows,
            at_most=1.5,
            faster=5.0,
            repeats=3,
            compares=True,
        ),
        _listing(rows // 10, rows),
        _listing(rows, rows),
        _creating(rows),
        _creating(10 * rows, rounds=3),
        _writing(
            f"update_many of {rows:,} that differ",
            lambda side, data: side.update_many(_changed(data.rows)),
            Side.update_many,
            rows,
        ),
        _writing(
            f"upsert_many of {rows:,}, half there",
            lambda side, data: side.upsert_many(_half(data, rows)),
            Side.upsert_many,
            rows,
        ),
        _writing(
            f"delete_many of {rows:,}", lambda side, data: side.delete_many(data.ids), Side.delete_many, rows
        ),
    ]


def _listing(size: int, stored: int) -> Workload:
    return Workload(
        f"list of {size:,}",
        lambda side, _: side.list(size),
        Side.list,
        stored=stored,
        at_most=1.3,
        faster=3.0,
        repeats=3 if size < stored else 1,
        compares=True,
    )


def _creating(size: int, rounds: int = 9) -> Workload:
    return Workload(
        f"create_many of {size:,}",
        lambda side, data: side.create_many(data.more[:size]),
        Side.create_many,
        more=size,
        at_most=1.5,
        faster=5.0,
        stores=True,
        compares=True,
        rounds=rounds,
    )


def _writing(name: str, work: Callable[[Side, Data], Any], needs: Callable[..., Any], rows: int) -> Workload:
    return Workload(name, work, needs, stored=rows, more=rows, at_most=1.5, faster=3.0, stores=True)


WORKLOADS = workloads()


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


@dataclass
class Result:
    """What a side did: in what time, and what can be seen of it."""

    seconds: float
    seen: str = ""
    stored: str = ""


def timed(workload: Workload, side: Side, data: Data) -> Result:
    """Return the best repeat of a round.

    Garbage is collected before it. What is there by then, most of it the benchmark's own rows, is frozen
    while it runs, so that a pass of the collector looks at what the side made, and at nobody else's.
    """
    best = Result(float("inf"))
    for _ in range(workload.repeats):
        if workload.stores:
            restored(data, workload.stored)
        gc.collect()
        gc.freeze()
        started = perf_counter()
        found = workload.work(side, data)
        seconds = perf_counter() - started
        gc.unfreeze()
        if seconds < best.seconds:
            best = Result(seconds)
        if workload.compares:
            best.seen = _seen(_told(side.plain(item), workload.stores) for item in found)
    if workload.stores:
        best.stored = digest(data.database)
    return best


def _told(row: Row, made: bool) -> Row:
    """Leave out the id where each side makes its own."""
    return {name: row[name] for name in COLUMNS if not (made and name == "id")}


def _seen(rows: Iterable[Row]) -> str:
    """Tell what was returned in few bytes: kept whole, ten sides' rows would crowd the memory of the next."""
    told = hashlib.sha256()
    for row in rows:
        told.update(json.dumps(row, sort_keys=True, default=str).encode())
    return told.hexdigest()


def restored(data: Data, stored: int) -> None:
    """Bring the table back to its first rows."""
    names = ", ".join((*COLUMNS, "created_at", "updated_at"))
    data.database.session.script(
        "TRUNCATE projects CASCADE;"
        f"INSERT INTO projects ({names}) SELECT {names} FROM seeded ORDER BY id LIMIT {stored}"
    )


_DIGEST = sql.SQL(
    "SELECT count(*) || md5(string_agg(md5(concat_ws('|', {})), '' ORDER BY slug)) FROM projects"
).format(sql.SQL(", ").join(map(sql.Identifier, (*WRITTEN, "version"))))


def digest(database: Database) -> str:
    """Return what tells one content of the table from another; ids and moments are no part of it."""
    [found] = database.session.one(_DIGEST)
    return hashlib.sha256(str(found).encode()).hexdigest()


def seeded(database: Database, rows: Sequence[Row]) -> Data:
    """Store the rows that are read, and keep them for later."""
    database.session.script(
        "TRUNCATE projects CASCADE; DROP TABLE IF EXISTS seeded;"
        # So that the peers need not know of it: ours writes one column more than they do.
        "ALTER TABLE projects ALTER COLUMN metadata_schemas SET DEFAULT '{}'"
    )
    records = database.projects.create_many(
        NewProject(**{name: row[name] for name in WRITTEN}) for row in rows
    )
    names = ", ".join((*COLUMNS, "created_at", "updated_at"))
    database.session.script(f"CREATE TABLE seeded AS SELECT {names} FROM projects")
    database.session.run("VACUUM ANALYZE projects")
    kept = [{**row, "id": record.id} for row, record in zip(rows, records, strict=True)]
    return Data(database, kept, ())
