"""Tells a regression between two runs by ratios, and by a bound that the runs' own spread gives.

For each row the figure is ours by the limit's, round by round: what else the machine did, and whether it is
another machine, falls out of it. The bound is four standard errors of the two medians' difference, taken
from the median absolute deviation of the rounds' logarithms, and never under 5 %.

benchmarks/compare OLD.json NEW.json ends with 1 where a row is slower by more, and with 2 where there is
nothing to compare.
"""

import argparse
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import OURS, Row, read

__all__ = ["Comparison", "compared", "main"]

LEAST = 0.05  # what no run of this kind can tell
ERRORS = 4.0  # of equal runs of 9 rounds, one row in 250 is told to have become slower
_NORMAL = 1.4826 * 1.2533  # from the median deviation to the standard error of a median, times root n
_FEW, _ENOUGH = 0.15, 5  # the least bound of a row that has too few rounds to show its spread
_NOTHING = 1e-6  # no figure is less: a stream may take no memory that can be seen


@dataclass(frozen=True, slots=True)
class Comparison:
    """One row in two runs.

    Attributes
    ----------
    old, new : float
        Ours by the side that it is compared with; less is better.
    bound : float
        By how much the new one may be above the old: 0.05 is 5 %.
    """

    name: str
    beside: str
    old: float
    new: float
    bound: float

    @property
    def change(self) -> float:
        """By how much it became slower; negative where it became faster."""
        return self.new / self.old - 1

    @property
    def regressed(self) -> bool:
        """Whether that is more than the spread explains."""
        return self.change > self.bound


def compared(old: Sequence[Row], new: Sequence[Row]) -> list[Comparison]:
    """Compare the rows that both runs have, each beside its limit, or beside every other side without one."""
    before = {row.name: row for row in old}
    return [
        _of(before[row.name], row, side)
        for row in new
        if row.name in before
        for side in _beside(before[row.name], row)
    ]


def _beside(old: Row, new: Row) -> list[str]:
    if any(OURS not in row.sides or row.unit != new.unit for row in (old, new)):
        return []
    both = [side for side in new.sides if side in old.sides and side != OURS]
    return [new.limit] if new.limit in both else both


def _of(old: Row, new: Row, side: str) -> Comparison:
    before, after = _logarithms(old, side), _logarithms(new, side)
    error = 0.0 if new.unit == "trips" else math.hypot(_standard_error(before), _standard_error(after))
    return Comparison(
        new.name,
        side,
        math.exp(statistics.median(before)),
        math.exp(statistics.median(after)),
        max(LEAST, math.expm1(ERRORS * error)),
    )


def _logarithms(row: Row, side: str) -> list[float]:
    """Return the rounds' ratios, as logarithms; above 0 where ours is the slower."""
    sign = -1 if row.more_is_better else 1
    pairs = zip(row.sides[OURS], row.sides[side], strict=True)
    return [sign * math.log(max(ours, _NOTHING) / max(other, _NOTHING)) for ours, other in pairs]


def _standard_error(found: Sequence[float]) -> float:
    middle = statistics.median(found)
    error = statistics.median(abs(each - middle) for each in found) * _NORMAL / math.sqrt(len(found))
    return error if len(found) >= _ENOUGH else max(error, math.log1p(_FEW) / ERRORS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every row of both files, and say which became slower."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/compare", description=str(__doc__).splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("old", type=Path, help="figures of benchmarks/run --json, before")
    parser.add_argument("new", type=Path, help="and after")
    given = parser.parse_args(arguments)
    try:
        found = compared(read(given.old), read(given.new))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    if not found:
        print("the two files have no row in common, so nothing is known", file=sys.stderr)
        return 2
    for each in found:
        print(_line(each))
    return 1 if any(each.regressed for each in found) else 0


def _line(each: Comparison) -> str:
    told = "REGRESSION" if each.regressed else ""
    return (
        f"{each.name:44} to {each.beside:18} {each.old:7.3f} -> {each.new:7.3f}  "
        f"{each.change:+7.1%} (bound {each.bound:.1%})  {told}"
    ).rstrip()


if __name__ == "__main__":
    raise SystemExit(main())
