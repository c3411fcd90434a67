"""The values of the commands on monitoring, laid out for people."""

from collections.abc import Iterator

from rich.console import RenderableType

from database_handler.cli.monitoring_reports import Metrics, Served, Top
from database_handler.cli.tables import columns_of, laid_out, phrase
from database_handler.operations.statements_report import StatementStats

__all__: list[str] = []

_SHOWN = 100  # characters of a statement that no call is known of


@laid_out.register
def _(value: Top, lines: bool) -> Iterator[RenderableType]:
    numbers = ("calls", "total s", "mean ms", "max ms", "rows", "in memory")
    table = columns_of(lines, *numbers, "statement", right=numbers)
    for each in value.statements:
        hit = "" if each.hit is None else f"{each.hit:.1%}"
        seconds = f"{each.total_seconds:,.3f}", *(f"{s * 1000:,.2f}" for s in _each(each))
        table.add_row(f"{each.calls:,}", *seconds, f"{each.rows:,}", hit, phrase(_name(each)))
    yield table
    if any(each.query is None for each in value.statements):
        yield phrase("statements of other roles are shown to members of pg_read_all_stats", "yellow")
    if value.reset:
        yield phrase(f"{value.database}: the numbers begin anew")


def _each(found: StatementStats) -> tuple[float, float]:
    return found.mean_seconds, found.max_seconds


def _name(found: StatementStats) -> str:
    text = found.name or found.query or "(another role's)"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


@laid_out.register
def _(value: Metrics, lines: bool) -> Iterator[RenderableType]:
    table = columns_of(lines, "metric", "kind", "labels", "what it is")
    for metric in value.metrics:
        table.add_row(metric.name, metric.kind, ", ".join(metric.labels), metric.help)
    yield table


@laid_out.register
def _(value: Served, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield phrase(f"served {value.url} for {value.seconds:.0f} s")
