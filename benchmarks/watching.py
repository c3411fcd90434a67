"""What watching costs: a read with metrics, with spans, and with nobody listening, in turn.

Both are told: the time by the clock, as a caller sees it, and the client's processor time, which does not see
other work on the machine. A ratio is the median of those of many short rounds, each of all sides in turn.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from statistics import median
from time import perf_counter, process_time
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NoOpTracerProvider
from prometheus_client import CollectorRegistry

from database_handler import Database, NewProject
from database_handler.operations.monitoring import PrometheusMetrics, SlowPlans, Tracing

__all__ = ["NAME", "measured", "over_limit", "show"]

NAME = "watching"
METRICS = "metrics"
_READ = "a watched read, "
_READS = 25
_ROUNDS = 80  # for each of the table's: short ones, so that all sides meet the same machine
_MOST = 1.05

Figures = dict[str, dict[str, list[float]]]


def measured(database: Database, rounds: int) -> Figures:
    """Return the seconds of each round, by the kind of time and who listened."""
    project = database.projects.create(NewProject(name="watched"))
    exporter = InMemorySpanExporter()
    figures: Figures = {}
    with ExitStack() as stack:
        sides = {name: stack.enter_context(Database(database.config)) for name in _observers(exporter)}
        for name, observer in _observers(exporter).items():
            if observer is not None:
                sides[name].observe(observer)
        for number in range(rounds * _ROUNDS + 1):
            names = list(sides)
            first = number % len(names)  # in turn, for whoever comes first meets the others' leavings
            for name in names[first:] + names[:first]:
                _round(sides[name].projects.get_by_id, project.id, figures if number else {}, name)
            exporter.clear()
    return figures


def _observers(exporter: InMemorySpanExporter) -> dict[str, Any]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return {
        "none": None,
        "none, again": None,
        METRICS: PrometheusMetrics(CollectorRegistry()),
        "plans": SlowPlans(1),
        "spans, no SDK": Tracing(NoOpTracerProvider()),
        "spans, not sampled": Tracing(TracerProvider(sampler=ALWAYS_OFF)),
        "spans, in memory": Tracing(provider),
    }


def _round(read: Callable[[Any], object], id: object, figures: Figures, name: str) -> None:
    clock, processor = perf_counter(), process_time()
    for _ in range(_READS):
        read(id)
    spent = {"by the clock": perf_counter() - clock, "of the client's processor": process_time() - processor}
    for kind, seconds in spent.items():
        figures.setdefault(f"{_READ}{kind}", {}).setdefault(name, []).append(seconds)


def show(figures: Figures) -> None:
    """Print each side's median, for one read, and its ratio to none."""
    for name in (name for name in figures if name.startswith(_READ)):
        sides = figures[name]
        print(f"\n{name}")
        for line in _lines(sides):
            print(line)


def _lines(sides: dict[str, list[float]]) -> Iterator[str]:
    for side, seconds in sides.items():
        yield f"  {side:18} {median(seconds) / _READS * 1e6:9.1f} us  {_ratio(sides, side):6.3f} x"


def _ratio(sides: dict[str, list[float]], side: str) -> float:
    return median(one / none for one, none in zip(sides[side], sides["none"], strict=True))


def over_limit(figures: Figures) -> list[str]:
    """Name what costs more than is promised: metrics on a read, by the clock."""
    sides = figures.get(f"{_READ}by the clock", {})
    found = _ratio(sides, METRICS) if sides else 0
    return [f"metrics cost {found:.3f} x of a read; promised are {_MOST}"] if found > _MOST else []
