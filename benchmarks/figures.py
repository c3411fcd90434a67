"""What was measured: rows of figures with their targets, and the verdict on each.

A row's rounds are interleaved: the n-th figure of one side was taken beside the n-th of every other, so that
ratios are taken round by round and what else the machine did falls out of them.
"""

import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.machine import described

__all__ = ["OURS", "PACKAGES", "Row", "Verdict", "machine", "ratio", "read", "spread", "verdict", "write"]

OURS = "database_handler"
PACKAGES = (
    *("psycopg2-binary", "pydantic", "psycopg", "psycopg-pool", "asyncpg", "sqlalchemy", "advanced-alchemy"),
    *("sqlmodel", "django", "peewee", "alembic"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Attributes
    ----------
    sides : mapping
        The figures of each round, by side.
    unit : str
        Of the figures: ``s``, ``trips``, ``MB``, ``1/s`` or ``share``.
    limit : str, optional
        The side that ours is compared with.
    at_most : float, optional
        The target: ours is no more than so many times the limit; with no limit, no more than this.
    peers : sequence of str
        The sides of which the best is to be beaten.
    faster : float, optional
        The target: how many times faster than the best of them.
    at_least : float, optional
        The target: ours is no less than this.
    note : str
        What a reader of the table has to know.
    points, axes
        The lines of a plot, and what runs along it and up it.
    """

    name: str
    sides: Mapping[str, Sequence[float]]
    unit: str = "s"
    limit: str | None = None
    at_most: float | None = None
    peers: Sequence[str] = ()
    faster: float | None = None
    at_least: float | None = None
    note: str = ""
    points: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    axes: tuple[str, str] = ("", "")

    @property
    def more_is_better(self) -> bool:
        """Whether the figures are rates or shares."""
        return self.unit in {"1/s", "share"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a row stands to its targets; None where it has no such target."""

    to_limit: float | None
    within_limit: bool | None
    best_peer: str | None
    times_faster: float | None
    fast_enough: bool | None

    @property
    def met(self) -> bool:
        """Whether no target is missed."""
        return self.within_limit is not False and self.fast_enough is not False


def ratio(figures: Sequence[float], others: Sequence[float]) -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(figures, others, strict=True))


def spread(figures: Sequence[float]) -> tuple[float, float]:
    """Return the least and the greatest."""
    return min(figures), max(figures)


def verdict(row: Row) -> Verdict:
    """Compare a row with its targets."""
    ours = row.sides.get(OURS, ())
    to_limit = within = faster = enough = best = None
    if ours and row.limit is not None and row.limit in row.sides:
        to_limit = _times(row, ours, row.sides[row.limit])
        within = None if row.at_most is None else to_limit <= row.at_most
    elif ours and row.at_most is not None:
        within = statistics.median(ours) <= row.at_most
    elif ours and row.at_least is not None:
        within = statistics.median(ours) >= row.at_least
    found = [peer for peer in row.peers if peer in row.sides]
    if ours and found:
        best = min(found, key=lambda peer: _times(row, row.sides[peer], ours))
        faster = _times(row, row.sides[best], ours)
        enough = None if row.faster is None else faster >= row.faster
    return Verdict(to_limit, within, best, faster, enough)


def _times(row: Row, figures: Sequence[float], others: Sequence[float]) -> float:
    """Say how many times worse the first are."""
    return ratio(others, figures) if row.more_is_better else ratio(figures, others)


def machine() -> dict[str, Any]:
    """Say what it ran on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return {"python": platform.python_version(), **described(), "packages": found}


def write(path: Path, rows: Sequence[Row], server: str, more: Mapping[str, Any]) -> None:
    """Keep the rows, with what they were measured on."""
    held = {
        "machine": machine(),
        "postgresql": server,
        "rows": [asdict(row) for row in rows],
        "seconds": more,
    }
    path.write_text(json.dumps(held, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> list[Row]:
    """Read the rows of a file that `write` made.

    Raises
    ------
    ValueError
        It is no such file.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return [Row(**row) for row in held["rows"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no file of figures, as benchmarks/run --json makes it") from error
