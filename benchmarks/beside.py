"""One work by every side in turn: over the local socket, over a link of 1 ms, and counted by a proxy."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from benchmarks.figures import OURS, Row
from benchmarks.link import ROUND_TRIP, linked
from benchmarks.part import Context, Part
from benchmarks.peers import (
    advanced_alchemy,
    asyncpg_driver,
    django_orm,
    ours,
    peewee_orm,
    psycopg3,
    raw,
    sqlalchemy_orm,
    sqlmodel_orm,
)
from benchmarks.side import Side, can
from benchmarks.workloads import WORKLOADS, Data, Workload, made_rows, restored, seeded, timed
from database_handler import DatabaseConfig
from tests.support.wire import CountingProxy, Trips

__all__ = ["ORM_PEERS", "PARTS", "SIDES", "opened", "side_by_side"]

SIDES: tuple[type[Side], ...] = (
    raw.Side,
    ours.Side,
    psycopg3.Side,
    asyncpg_driver.Side,
    sqlalchemy_orm.CoreSide,
    sqlalchemy_orm.Side,
    sqlmodel_orm.Side,
    advanced_alchemy.Side,
    django_orm.Side,
    peewee_orm.Side,
)
ORM_PEERS = tuple(side.name for side in SIDES if side.orm)
LIMIT = raw.Side.name
SLOW_LINK = {"get by id, 100 times", "create_many of 10,000", "update_many of 10,000 that differ"}


@contextmanager
def opened(config: DatabaseConfig) -> Iterator[list[Side]]:
    """Connect every side, for as long as the block."""
    with ExitStack() as stack:
        sides = []
        for kind in SIDES:
            side = kind(config)
            stack.callback(side.close)
            sides.append(side)
        yield sides


class Different(SystemExit):
    """A side returned, or stored, something else than the others: the run is worth nothing."""


def measured(workload: Workload, context: Context, sides: Sequence[Side], data: Data, name: str) -> Row:
    """Time a workload on all sides that can do it, in rounds of one after the other."""
    able = workload.sides(sides)
    figures: dict[str, list[float]] = {side.name: [] for side in able}
    rounds = min(workload.rounds, context.rounds)
    for number in context.tracked(name, rounds + 1):  # the first warms up
        turn = able[number % len(able) :] + able[: number % len(able)]  # nobody is always first
        for side, seconds in one_round(workload, turn, data).items():
            if number:
                figures[side].append(seconds)
    return Row(
        name,
        figures,
        limit=LIMIT,
        at_most=workload.at_most,
        peers=ORM_PEERS,
        faster=workload.faster,
    )


def one_round(workload: Workload, sides: Sequence[Side], data: Data) -> dict[str, float]:
    """Time every side once, in turn, and compare what they returned and stored."""
    results = {side.name: timed(workload, side, data) for side in sides}
    first, *others = results
    for other in others:
        if (results[other].seen, results[other].stored) != (results[first].seen, results[first].stored):
            raise Different(f"{workload.name}: {other} and {first} did not do the same")
    return {name: result.seconds for name, result in results.items()}


def prepared(context: Context, works: Sequence[Workload], rows: int = 10_000) -> Data:
    """Store what is worked on, and make what is not stored yet."""
    data = seeded(context.database, made_rows(rows, seed=1))
    return replace(data, more=made_rows(max((work.more for work in works), default=1), seed=2))


def side_by_side(context: Context, works: Sequence[Workload], rows: int = 10_000) -> Iterator[Row]:
    """Measure works over the local socket."""
    data = prepared(context, works, rows)
    with opened(context.database.config) as sides:
        for work in works:
            restored(data, rows)
            yield measured(work, context, sides, data, work.name)


def _local(context: Context) -> Iterator[Row]:
    return side_by_side(context, [work for work in WORKLOADS if context.wanted(work.name)])


def _over_link(context: Context) -> Iterator[Row]:
    named = {f"{each.name}, over 1 ms": each for each in WORKLOADS if each.name in SLOW_LINK}
    chosen = {name: each for name, each in named.items() if context.wanted(name)}
    data = prepared(context, [*chosen.values()])
    with linked(context.database.config) as link, opened(link.config) as sides:
        context.say(
            f"the link adds {link.added * 1000:.2f} ms to a round trip ({ROUND_TRIP * 1000:.0f} wanted)"
        )
        for name, workload in chosen.items():
            restored(data, 10_000)
            row = measured(workload, context, sides, data, name)
            told = f"the link added {link.added * 1000:.2f} ms"
            yield replace(row, at_most=None if workload.stores else row.at_most, faster=None, note=told)


# --------------------------------------------------------------------------------- counted round trips

Trip = tuple[Callable[..., object], Callable[[Side, Data], object], int]
TRIPS: dict[str, Trip] = {
    "get": (Side.get, lambda side, data: side.get(data.ids[0]), 1),
    "create": (Side.create, lambda side, data: side.create(data.more[0]), 1),
    "update": (Side.update, lambda side, data: side.update(data.ids[0], "new"), 1),
    "upsert": (Side.upsert, lambda side, data: side.upsert({**data.rows[0], "owner": "new"}), 1),
    "delete": (Side.delete, lambda side, data: side.delete(data.ids[0]), 1),
    "unit of 5 reads": (Side.unit, lambda side, data: side.unit(data.ids[:5]), 6),
    # So few that they fit the socket's buffers: psycopg2 waits for room in them and lets no proxy run.
    "create_many of 300, and COMMIT": (
        Side.create_many,
        lambda side, data: side.create_many(data.more),
        4,
    ),
}


def _trips(context: Context) -> Iterator[Row]:
    data = replace(prepared(context, []), more=made_rows(300, seed=2))
    with CountingProxy(context.database.config) as proxy, opened(proxy.config) as sides:
        wanted = {name: trip for name, trip in TRIPS.items() if context.wanted(f"round trips: {name}")}
        for name, (needs, work, most) in wanted.items():
            able = [side for side in sides if can(side, needs)]
            figures = {}
            for side in able:
                figures[side.name] = [_counted(proxy, side, data, work)]
            yield Row(f"round trips: {name}", figures, "trips", at_most=most, peers=ORM_PEERS)


def _counted(proxy: CountingProxy, side: Side, data: Data, work: Callable[[Side, Data], object]) -> float:
    """Count the second time, when everything is connected and prepared."""
    _watched(proxy, side, data, work)
    trips = _watched(proxy, side, data, work)
    pings = trips.texts.count("SELECT")  # of a pool whose connection was idle for over a second
    return trips.count - (pings if side.name == OURS else 0)


def _watched(proxy: CountingProxy, side: Side, data: Data, work: Callable[[Side, Data], object]) -> Trips:
    restored(data, 10_000)
    side.list(1)
    with proxy.counting() as trips:
        work(side, data)
    return trips


PARTS = (
    Part("round trips", _trips, tuple(f"round trips: {name}" for name in TRIPS)),
    Part("beside", _local, tuple(workload.name for workload in WORKLOADS)),
    Part("link", _over_link, tuple(f"{name}, over 1 ms" for name in SLOW_LINK)),
)
