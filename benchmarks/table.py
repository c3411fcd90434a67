"""Runs the workloads in interleaved rounds and prints the table of ratios.

Absolute times say little on a shared machine; the ratio of medians in one run does. Every side's results
are compared with psycopg2's in every round: a side that is fast by leaving something out stops the run.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks import guards, migrations, search, tokens
from benchmarks.peers import django_orm, ours, peewee_orm, raw, sqlalchemy_orm
from benchmarks.side import Side
from benchmarks.workloads import WORKLOADS, Data, Workload, made_rows, seeded, timed
from database_handler import Database

SIDES: tuple[type[Side], ...] = (raw.Side, ours.Side, sqlalchemy_orm.Side, django_orm.Side, peewee_orm.Side)
PACKAGES = ("psycopg2-binary", "pydantic", "sqlalchemy", "alembic", "django", "peewee")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and write the figures down where that was asked for."""
    parser = argparse.ArgumentParser(prog="benchmarks/run", description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 9")
    parser.add_argument("--only", default="", help="rows whose name holds these words")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args(arguments)
    chosen = [workload for workload in WORKLOADS if given.only in workload.name]
    looked_up = bool(given.only) and given.only in search.NAME  # only when asked for: it takes minutes
    stored = bool(given.only) and given.only in tokens.NAME
    migrated = bool(given.only) and given.only in migrations.NAME
    guarded = bool(given.only) and given.only in guards.NAME
    if not (chosen or looked_up or stored or migrated or guarded):
        names = (*(w.name for w in WORKLOADS), search.NAME, tokens.NAME, migrations.NAME, guards.NAME)
        parser.error(f"no row is named so; there are: {'; '.join(names)}")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        database = Database.embedded(Path(folder) / "server", durable=not (looked_up or migrated))
        with database:
            database.migrate()
            rounds = 3 if given.quick else 9
            figures = measured(database, chosen, rounds) if chosen else {}
            found = search.seeded_and_measured(database, rounds) if looked_up else {}
            packed = tokens.measured(database, rounds) if stored else {}
            applied = migrations.measured(database, rounds) if migrated else {}
            guarding = guards.measured(database, rounds) if guarded else {}
    show(figures)
    search.show(found)
    tokens.show(packed)
    migrations.show(applied)
    guards.show(guarding)
    figures |= found | packed | applied | guarding
    if given.json:
        given.json.write_text(json.dumps({"machine": machine(), "seconds": figures}, indent=2) + "\n")
    slow = migrations.over_limits(figures)
    print(*slow, sep="\n", end="\n" if slow else "", file=sys.stderr)
    return 1 if slow else 0


def measured(
    database: Database, workloads: Sequence[Workload], rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of each round, by row and side."""
    sides = [side(database.config) for side in SIDES]
    rows = made_rows(10_000, seed=2)
    figures: dict[str, dict[str, list[float]]] = {w.name: {s.name: [] for s in sides} for w in workloads}
    for workload in workloads:
        database.session.run("TRUNCATE projects CASCADE")
        data = Data(database, list(seeded(database, 10_000)), rows)
        for number in range(rounds + 1):  # the first warms up
            one_round(workload, sides, data, figures[workload.name] if number else None)
            print(f"\r{workload.name}: round {number} of {rounds}", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
    for side in sides:
        side.close()
    return figures


def one_round(
    workload: Workload, sides: Sequence[Side], data: Data, figures: dict[str, list[float]] | None
) -> None:
    """Time every side once, in turn, and compare what they returned."""
    expected = None
    for side in sides:
        seconds, found = timed(workload, side, data)
        expected = found if expected is None else expected
        if found != expected:
            raise SystemExit(f"{workload.name}: {side.name} returned something else than {sides[0].name}")
        if figures is not None:
            figures[side.name].append(seconds)


def show(figures: dict[str, dict[str, list[float]]]) -> None:
    """Print the medians, and each as a ratio to psycopg2's."""
    print(machine())
    for name, sides in figures.items():
        limit = statistics.median(sides[SIDES[0].name])
        print(f"\n{name}")
        for side, seconds in sides.items():
            middle = statistics.median(seconds)
            spread = f"{min(seconds) * 1000:.1f} to {max(seconds) * 1000:.1f}"
            print(f"  {side:18} {middle * 1000:9.2f} ms  {middle / limit:6.2f} x  ({spread})")


def machine() -> str:
    """Say what it ran on."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"Python {platform.python_version()}, {platform.machine()}, {packages}"


if __name__ == "__main__":
    raise SystemExit(main())
