"""Pools: what borrowing costs, who is served when there are too few, and throughput from 1 to 64 threads."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from threading import Barrier, Event, Thread
from time import perf_counter
from typing import Any
from uuid import UUID

from psycopg_pool import ConnectionPool as PsycopgPool
from sqlalchemy import Engine, select

from benchmarks.figures import OURS, Row
from benchmarks.part import Context, Part
from benchmarks.peers.raw import NAMES
from benchmarks.peers.sqlalchemy_orm import Project, engine_of
from benchmarks.workloads import made_rows, seeded
from database_handler import Database, DatabaseConfig

__all__ = ["PARTS"]

PSYCOPG, SQLALCHEMY = "psycopg_pool", "SQLAlchemy"
LOOPS = 2_000
SECONDS = 1.0  # of a round under contention
THREADS = (1, 2, 4, 8, 16, 32, 64)
CONNECTIONS = 16
UNCONTENDED = "pool: borrow and return, 2,000 times"
FAIR = "pool: 16 threads on 4, least served to most"
RATE = "pool: 16 threads on 4, borrowed a second"


def psycopg_pool(config: DatabaseConfig, size: int) -> Any:
    """Open psycopg's pool as its pages say, with as many connections as ours has."""
    arguments = config.connect_arguments()
    pool = PsycopgPool(
        kwargs={**arguments, "autocommit": True}, min_size=size, max_size=size, open=False, timeout=60
    )
    pool.open(wait=True, timeout=60)
    return pool


def sqlalchemy_engine(config: DatabaseConfig, size: int) -> Engine:
    """Make an engine whose pool keeps so many connections and opens no more."""
    return engine_of(config, pool_size=size, max_overflow=0, pool_timeout=60)


Borrow = Callable[[], AbstractContextManager[object]]


class Pools:
    """The three pools over one server."""

    def __init__(self, config: DatabaseConfig, size: int) -> None:
        self._stack = ExitStack()
        self.ours = self._stack.enter_context(
            Database(config.with_(pool_size=size, max_overflow=0, pool_timeout=60))
        )
        self.psycopg = self._stack.enter_context(psycopg_pool(config, size))
        self.engine = sqlalchemy_engine(config, size)
        self._stack.callback(self.engine.dispose)

    def __enter__(self) -> "Pools":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def borrowing(self) -> Mapping[str, Callable[[], object]]:
        """Return, by side, what borrows a connection and gives it back."""

        def ours() -> None:
            self.ours.pool.borrow().release()

        def of_psycopg() -> None:
            self.psycopg.putconn(self.psycopg.getconn())

        def of_sqlalchemy() -> None:
            self.engine.raw_connection().close()

        return {PSYCOPG: of_psycopg, OURS: ours, SQLALCHEMY: of_sqlalchemy}

    def getting(self, ids: Sequence[UUID]) -> Mapping[str, Callable[[int], object]]:
        """Return, by side, what reads one row by its id, the n-th of many."""

        def ours(number: int) -> object:
            return self.ours.projects.get_by_id(ids[number % len(ids)])

        def of_psycopg(number: int) -> object:
            with self.psycopg.connection() as connection:
                text = f"SELECT {NAMES} FROM projects WHERE id = %s".encode()
                return connection.execute(text, [ids[number % len(ids)]]).fetchone()

        table: Any = Project.__table__
        single = self.engine.execution_options(isolation_level="AUTOCOMMIT")

        def of_sqlalchemy(number: int) -> object:
            with single.connect() as connection:
                return connection.execute(select(table).where(table.c.id == ids[number % len(ids)])).one()

        return {PSYCOPG: of_psycopg, OURS: ours, SQLALCHEMY: of_sqlalchemy}


def _uncontended(context: Context) -> Iterator[Row]:
    figures: dict[str, list[float]] = {}
    with Pools(context.database.config, 1) as pools:
        works = pools.borrowing()
        for number in context.tracked(UNCONTENDED, context.rounds + 1):
            for side, work in works.items():
                started = perf_counter()
                for _ in range(LOOPS):
                    work()
                if number:
                    figures.setdefault(side, []).append(perf_counter() - started)
    yield Row(UNCONTENDED, figures, limit=PSYCOPG, at_most=1.0)


def _contended(context: Context) -> Iterator[Row]:
    shares: dict[str, list[float]] = {}
    rates: dict[str, list[float]] = {}
    with Pools(context.database.config, 4) as pools:
        works = {side: _held(work) for side, work in _holding(pools).items()}
        for number in context.tracked(FAIR, context.rounds + 1):
            for side, work in works.items():
                served = [len(taken) for taken in in_threads(work, 16, SECONDS)]
                if number:
                    shares.setdefault(side, []).append(min(served) / max(served))
                    rates.setdefault(side, []).append(sum(served) / SECONDS)
    yield Row(FAIR, shares, "share", at_least=0.8)
    yield Row(RATE, rates, "1/s", limit=PSYCOPG, at_most=1.0)


def _holding(pools: Pools) -> Mapping[str, Callable[[], AbstractContextManager[object]]]:
    class Ours:
        def __enter__(self) -> None:
            self._lease = pools.ours.pool.borrow()

        def __exit__(self, *_: object) -> None:
            self._lease.release()

    return {PSYCOPG: pools.psycopg.connection, OURS: Ours, SQLALCHEMY: pools.engine.connect}


def _held(borrow: Borrow) -> Callable[[int], object]:
    """Hold what is borrowed for a moment, so that others have to wait."""

    def work(_: int) -> None:
        with borrow():
            Event().wait(0.001)

    return work


def in_threads(work: Callable[[int], object], threads: int, seconds: float) -> list[list[float]]:
    """Have threads do a work over and over; give, by thread, the seconds of each time."""
    barrier, stop = Barrier(threads + 1), Event()
    taken: list[list[float]] = [[] for _ in range(threads)]

    def loop(place: int) -> None:
        barrier.wait()
        number = place * 7919
        while not stop.is_set():
            started = perf_counter()
            work(number)
            taken[place].append(perf_counter() - started)
            number += 1

    running = [Thread(target=loop, args=(place,), daemon=True) for place in range(threads)]
    for thread in running:
        thread.start()
    barrier.wait()
    stop.wait(seconds)
    stop.set()
    for thread in running:
        thread.join(60)
    return taken


def _concurrency(context: Context) -> Iterator[Row]:
    data = seeded(context.database, made_rows(10_000, seed=1))
    rates: dict[str, list[tuple[float, float]]] = {}
    slowest: dict[str, list[tuple[float, float]]] = {}
    figures: dict[str, list[float]] = {}
    with Pools(context.database.config, CONNECTIONS) as pools:
        works = pools.getting(data.ids)
        for step in context.tracked(CONCURRENCY, len(THREADS)):
            found = _rounds(works, THREADS[step], context.rounds)
            for side, rounds in found.items():
                figures[f"{side}, {THREADS[step]} threads"] = [rate for rate, _ in rounds]
                rates.setdefault(side, []).append((THREADS[step], statistics.median(r for r, _ in rounds)))
                slowest.setdefault(side, []).append(
                    (THREADS[step], 1000 * statistics.median(p for _, p in rounds))
                )
    yield Row(CONCURRENCY, figures, "1/s", points=rates, axes=("threads", "reads a second"))
    yield Row(SLOWEST, {}, "s", points=slowest, axes=("threads", "milliseconds"))


def _rounds(
    works: Mapping[str, Callable[[int], object]], threads: int, rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """Return, by side, throughput and 99th percentile of each round."""
    found: dict[str, list[tuple[float, float]]] = {side: [] for side in works}
    for _ in range(rounds):
        for side, work in works.items():
            taken = sorted(each for thread in in_threads(work, threads, SECONDS) for each in thread)
            found[side].append((len(taken) / SECONDS, taken[int(len(taken) * 0.99)]))
    return found


CONCURRENCY = "concurrency: gets a second, 1 to 64 threads on 16 connections"
SLOWEST = "concurrency: 99th percentile, milliseconds"
PARTS = (
    Part("pool", _uncontended, (UNCONTENDED,)),
    Part("pool, contended", _contended, (FAIR, RATE)),
    Part("concurrency", _concurrency, (CONCURRENCY, SLOWEST), long=True),
)
