"""The table: what was measured, beside its targets, for a terminal and for a page."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.figures import OURS, Row, Verdict, machine, ratio, spread, verdict

__all__ = ["as_markdown", "mark", "points_markdown", "renewed", "show", "targets"]

_FORMATS = {
    "s": (1000, "ms"),
    "trips": (1, "trips"),
    "MB": (1, "MB"),
    "1/s": (1, "a second"),
    "share": (1, ""),
}
_MARKS = {True: "met", False: "**missed**", None: ""}


def show(rows: Sequence[Row], console: Console) -> None:
    """Print each row with every side, then the table of targets."""
    for row in rows:
        if row.sides:
            console.print(_sides(row))
    console.print(_table(rows))


def _sides(row: Row) -> Table:
    factor, unit = _FORMATS[row.unit]
    table = Table(title=f"{row.name} ({row.note})" if row.note else row.name, title_justify="left")
    for heading in ("side", unit, "from", "to", f"to {row.limit}" if row.limit else ""):
        table.add_column(heading, justify="left" if heading == "side" else "right")
    limit = row.sides.get(row.limit or "")
    for side, figures in row.sides.items():
        low, high = spread(figures)
        cells = [_number(statistics.median(figures) * factor), _number(low * factor), _number(high * factor)]
        table.add_row(side, *cells, f"{ratio(figures, limit):.2f} x" if limit else "")
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value < 10 else f"{value:.1f}"


def _table(rows: Sequence[Row]) -> Table:
    table = Table(title="Targets", title_justify="left")
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading == _HEADINGS[0] else "right")
    for cells in targets(rows):
        table.add_row(*(each.replace("**", "") for each in cells))
    return table


_HEADINGS = ("work", "limit", "ours", "target", "", "best ORM peer", "ours is faster", "target", "")


def targets(rows: Sequence[Row]) -> list[list[str]]:
    """Return the cells of each row that has a target, or a limit or peers to be read beside."""
    return [_cells(row, verdict(row)) for row in rows if row.sides.get(OURS)]


def _cells(row: Row, found: Verdict) -> list[str]:
    times = None if found.times_faster is None else f"{found.times_faster:.3g} x"
    return [
        row.name,
        _of(row, row.limit),
        _of(row, OURS) + (f", {found.to_limit:.2f} x" if found.to_limit is not None else ""),
        _target(row),
        _MARKS[found.within_limit],
        f"{found.best_peer}, {_of(row, found.best_peer)}" if found.best_peer else "",
        times or "",
        f"{row.faster:g} x" if row.faster is not None else "",
        _MARKS[found.fast_enough],
    ]


def _target(row: Row) -> str:
    if row.at_least is not None:
        return f"at least {row.at_least:g}"
    if row.at_most is None:
        return ""
    return f"{row.at_most:g} x" if row.limit else f"{row.at_most:g} {_FORMATS[row.unit][1]}"


def _of(row: Row, side: str | None) -> str:
    if side is None or side not in row.sides:
        return ""
    factor, unit = _FORMATS[row.unit]
    return f"{_number(statistics.median(row.sides[side]) * factor)} {unit}".strip()


def as_markdown(rows: Sequence[Row]) -> str:
    """Return the table of targets for the page, and under it every side of every row."""
    lines = [_line(_HEADINGS), _line(["---"] * len(_HEADINGS)), *map(_line, targets(rows)), ""]
    peers = list(dict.fromkeys(side for row in rows if row.peers for side in row.sides))
    if peers:
        lines += [_line(["every side, as a ratio to ours", *peers]), _line(["---"] * (len(peers) + 1))]
        lines += [
            _line([row.name, *_ratios(row, peers)]) for row in rows if row.peers and row.sides.get(OURS)
        ]
    return "\n".join(lines).rstrip() + "\n"


def _ratios(row: Row, sides: Sequence[str]) -> list[str]:
    ours = row.sides[OURS]
    return [f"{ratio(row.sides[side], ours):.2f}" if side in row.sides else "" for side in sides]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def renewed(page: Path, rows: Sequence[Row], server: str, *, whole: bool = True) -> None:
    """Write the tables between their marks in the page: that of the targets, and one for each plot.

    The table of targets is written only where the run was of all rows.
    """
    text = page.read_text(encoding="utf-8")
    if whole:
        text = _between(text, "targets", f"{_measured_on(server)}\n\n{as_markdown(rows)}")
    for row in rows:
        if row.points:
            text = _between(text, row.name, f"{_measured_on(server)}\n\n{points_markdown(row)}")
    page.write_text(text, encoding="utf-8")


def mark(name: str) -> tuple[str, str]:
    """Return what stands before a table in the page, and after it."""
    return f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"


def _between(text: str, name: str, table: str) -> str:
    begin, end = mark(name)
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"the page has no place for {name}: {begin.strip()} and {end.strip()} are wanted")
    return f"{before}{begin}{table}{end}{after}"


def _measured_on(server: str) -> str:
    told = machine()
    packages = ", ".join(f"{name} {version}" for name, version in told.pop("packages").items())
    of = ", ".join(f"{name} {value}" for name, value in told.items())
    return f"Measured on: {of}; PostgreSQL {server}; {packages}."


def points_markdown(row: Row) -> str:
    """Return the figures of a plot."""
    across = sorted({at for points in row.points.values() for at, _ in points})
    lines = [_line([row.name, *(f"{at:,.0f}" for at in across)]), _line(["---"] * (len(across) + 1))]
    for name, points in row.points.items():
        held = dict(points)
        lines.append(_line([name, *(_number(held[at]) if at in held else "" for at in across)]))
    return "\n".join(lines) + "\n"
