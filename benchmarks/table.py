"""Runs the rows of the table, prints them beside their targets, and draws them.

benchmarks/run [--quick] [--only WORDS] [--json FILE] [--rows N] [--docs]. Absolute times say little on a
shared machine; the ratio of two sides in one round does. Results are compared in every round: a side that is
fast by leaving something out stops the run. It ends with 1 where a target is missed.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import (
    beside,
    caching,
    guards,
    migrations,
    plots,
    pools,
    reading,
    report,
    scale,
    search,
    starting,
    tokens,
    watching,
)
from benchmarks.figures import OURS, Row, machine, verdict, write
from benchmarks.part import Context, Part
from database_handler import Database

__all__ = ["PARTS", "main"]

Seconds = dict[str, dict[str, list[float]]]
PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
PARTS: tuple[Part, ...] = (*beside.PARTS, *scale.PARTS, *pools.PARTS, *starting.PARTS, *search.PARTS)


@dataclass(frozen=True)
class Other:
    """A part with a form of its own, asked for by its name: it takes minutes."""

    name: str
    measure: Callable[[Database, int], Seconds]
    show: Callable[[Seconds], None]
    durable: bool = True


OTHERS = (
    Other(tokens.NAME, tokens.measured, tokens.show),
    Other(migrations.NAME, migrations.measured, migrations.show, durable=False),
    Other(guards.NAME, guards.measured, guards.show),
    Other(caching.NAME, caching.measured, caching.show),
    Other(reading.NAME, reading.measured, reading.show),
    Other(watching.NAME, watching.measured, watching.show),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, and write the figures down where that was asked for."""
    given = _parser().parse_args(arguments)
    parts = [part for part in PARTS if part.chosen(given.only)]
    others = [other for other in OTHERS if given.only and given.only in other.name]
    if not (parts or others):
        _parser().error(f"no row is named so; there are: {'; '.join(_names())}")
    console = Console(width=None if sys.stdout.isatty() else 160)
    rounds = 3 if given.quick else 9
    rows: list[Row] = []
    more: Seconds = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        durable = all(other.durable for other in others)
        with Database.embedded(Path(folder) / "server", durable=durable) as database:
            database.migrate()
            server = str(database.session.one("SHOW server_version")[0])
            context = Context(database, rounds, given.rows, given.only)
            for part in parts:
                rows += [row for row in part.measure(context) if given.only in row.name]
            for other in others:
                more |= other.measure(database, rounds)
    _tell(console, rows, others, more, server)
    _keep(given, rows, more, server)
    return _ending(rows, more)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks/run", description=str(__doc__).splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 rounds instead of 9")
    parser.add_argument("--only", default="", help="rows whose name holds these words; long ones need it")
    parser.add_argument("--json", type=Path, help="write the figures to this file, for benchmarks/compare")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the large tables (1,000,000)")
    parser.add_argument("--docs", action="store_true", help="renew docs/performance.md and its plots")
    return parser


def _names() -> list[str]:
    return [*(name for part in PARTS for name in part.names), *(other.name for other in OTHERS)]


def _tell(console: Console, rows: Sequence[Row], others: Sequence[Other], more: Seconds, server: str) -> None:
    console.print(machine(), highlight=False)
    console.print(f"PostgreSQL {server}", highlight=False)
    if rows:
        report.show(rows, console)
    for other in others:
        other.show({name: sides for name, sides in more.items() if more})


def _keep(given: argparse.Namespace, rows: Sequence[Row], more: Mapping[str, Any], server: str) -> None:
    if given.json:
        write(given.json, rows, server, more)
    if given.docs:
        plots.drawn(rows, PAGE.with_suffix(""))
        report.renewed(PAGE, rows, server, whole=not given.only)


def _ending(rows: Sequence[Row], more: Seconds) -> int:
    missed = [row.name for row in rows if OURS in row.sides and not verdict(row).met]
    slow = [
        *(f"missed: {name}" for name in missed),
        *migrations.over_limits(more),
        *watching.over_limit(more),
    ]
    print(*slow, sep="\n", end="\n" if slow else "", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    raise SystemExit(main())
