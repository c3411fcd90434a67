"""Plots of what was measured, each as PNG and SVG."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.figures import OURS, Row, ratio

__all__ = ["drawn"]

_OURS, _OTHERS = "#1b6e53", "#a9b4b0"


def drawn(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Draw all that the rows are enough for; give the files."""
    mpl.rcParams["svg.hashsalt"] = "benchmarks"  # the same figures make the same file
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    beside = [row for row in rows if row.peers and row.unit == "s" and row.sides.get(OURS)]
    if beside:
        made += _saved(_bars(beside), folder / "beside")
    for row in rows:
        if row.points:
            made += _saved(_lines(row), folder / _slug(row.name))
    return made


def _bars(rows: Sequence[Row]) -> Figure:
    """One panel a row: every side's time as a multiple of ours."""
    figure = Figure(figsize=(10, 2.4 * ((len(rows) + 1) // 2)), layout="constrained")
    panels = figure.subplots((len(rows) + 1) // 2, 2, squeeze=False).flat
    for row, axes in zip(rows, panels, strict=False):  # in this order: zip takes one too many of the first
        _panel(axes, row)
    for axes in list(panels):
        axes.set_axis_off()
    figure.suptitle("Time as a multiple of database_handler's, medians of interleaved rounds")
    return figure


def _panel(axes: Axes, row: Row) -> None:
    ours = row.sides[OURS]
    found = sorted(((ratio(figures, ours), side) for side, figures in row.sides.items()), reverse=True)
    values, sides = [value for value, _ in found], [side for _, side in found]
    bars = axes.barh(sides, values, color=[_OURS if side == OURS else _OTHERS for side in sides])
    axes.bar_label(bars, [f"{value:.2f}" for value in values], padding=2, fontsize=7)
    axes.set_title(row.name, fontsize=9)
    axes.tick_params(labelsize=7)
    axes.margins(x=0.15)


def _lines(row: Row) -> Figure:
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    lines = sorted(row.points.items(), key=lambda line: -line[1][-1][1])  # the legend in the lines' order
    for name, points in lines:
        across, up = zip(*points, strict=True)
        width = 2.5 if name == OURS else 1.2
        axes.plot(across, up, marker="o", label=name, linewidth=width)
    axes.set_xscale("log")
    axes.set_yscale("log")
    lowest, highest = axes.get_ylim()
    if highest < 100 * lowest:  # two decades at least, or what is flat looks like mountains
        middle = (lowest * highest) ** 0.5
        axes.set_ylim(middle / 10, middle * 10)
    for axis, told in zip((axes.xaxis, axes.yaxis), row.axes, strict=True):
        axis.set_major_formatter(FuncFormatter(_number))
        axis.set_minor_formatter(NullFormatter())
        axis.set_label_text(told)
    axes.set_title(row.name, fontsize=10)
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


def _number(value: float, _place: int) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def _saved(figure: Figure, path: Path) -> list[Path]:
    made = [path.with_suffix(f".{kind}") for kind in ("png", "svg")]
    for each in made:
        figure.savefig(each, dpi=110, metadata={"Date": None} if each.suffix == ".svg" else None)
    return made


def _slug(name: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())
