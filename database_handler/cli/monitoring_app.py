"""The commands on monitoring: what the server counted, and what is exported for Prometheus."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, current_thread, main_thread
from time import monotonic
from typing import Annotated

import typer

from database_handler.cli import monitoring_reports, monitoring_tables
from database_handler.cli.console import console
from database_handler.cli.options import Run
from database_handler.cli.program import app, command, group
from database_handler.operations.monitoring import METRICS, PrometheusMetrics, serve
from database_handler.operations.monitoring.server import PORT, served_beside
from database_handler.operations.statements_report import TopOrder

__all__ = ["monitoring_tables"]

metrics = typer.Typer(rich_markup_mode=None)
app.add_typer(metrics, name="metrics")


@command(app, "database-handler top", "database-handler top --order mean --limit 5")
def top(
    run: Run,
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="So many statements.")] = 20,
    order: Annotated[
        TopOrder, typer.Option(help="Most time in all, slowest, most called, or most rows.")
    ] = "total",
    reset: Annotated[bool, typer.Option("--reset", help="Have the server count anew afterwards.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before --reset.")] = False,
) -> monitoring_reports.Top:
    """Show the statements that this database spends its time on, by the call that sent them.

    The server counts them with pg_stat_statements; where it does not, exit code 1 and what to do about it.
    """
    with run.database() as db:
        if reset and not yes:
            run.agree(f"Forget what the server counted for {db.config.name}?")
        found = db.top(limit=limit, order=order, reset=reset)
        return monitoring_reports.Top(database=db.config.name, order=order, statements=found, reset=reset)


@command(metrics, "database-handler metrics list", name="list")
def list_metrics(run: Run) -> monitoring_reports.Metrics:
    """Show every metric that is exported, with its labels."""
    del run
    return monitoring_reports.Metrics(metrics=METRICS)


@command(
    metrics, "database-handler metrics serve", "database-handler metrics serve --port 9464", name="serve"
)
def serve_metrics(
    run: Run,
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 for any that is free.")] = PORT,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="The address to listen on.")] = "127.0.0.1",
    every: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Ask the server for its migrations so seldom.")
    ] = 60.0,
    seconds: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="End after so long; otherwise never.")
    ] = None,
) -> monitoring_reports.Served:
    """Answer Prometheus until stopped: whether the server answers, and whether it is migrated.

    What an application's own processes count they serve themselves; where prometheus-client was set up to
    share it between them through files (PROMETHEUS_MULTIPROC_DIR), it is served here.
    """
    with run.database() as db, _stopped() as stop:
        registry = served_beside()
        db.observe(PrometheusMetrics(registry, heads_every=every))
        began = monotonic()
        with serve(port, host, registry=registry) as server:
            console(stderr=True).print(f"serving {server.url}", markup=False)
            stop.wait(seconds)
        return monitoring_reports.Served(url=server.url, seconds=round(monotonic() - began, 3))


@contextmanager
def _stopped() -> Iterator[Event]:
    """Give what SIGTERM sets, so that a service manager ends the command as one that is done."""
    stop = Event()
    if current_thread() is not main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)


group(metrics, "Export metrics for Prometheus.")
