"""The command that shows how the database is, and answers the probes of an orchestrator."""

from typing import Annotated

import typer

from database_handler.cli.commands import Probed
from database_handler.cli.options import Run
from database_handler.cli.program import app, command
from database_handler.core.exceptions import InvalidValue
from database_handler.operations.health import SECONDS, Health

__all__: list[str] = []


@command(
    app,
    "database-handler health",
    "database-handler health --ready --timeout 1",
    "database-handler health --live",
)
def health(
    run: Run,
    *,
    live: Annotated[
        bool, typer.Option("--live", help="Only whether the process can work at all: exit code 0 or 1.")
    ] = False,
    ready: Annotated[
        bool, typer.Option("--ready", help="Only whether it can serve now: exit code 0 or 1.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=60, metavar="SECONDS", help="The time for all of it.")
    ] = SECONDS,
    max_lag: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How far a standby may be behind.")
    ] = 30.0,
) -> Health | Probed:
    """Show how the database is. Exit code 1: it does not answer, 2: its schema is behind.

    A schema that a newer release has migrated further is well: the older release still runs on it. A server
    that is down does not fail --live, for no restart of a client mends it; wrong settings do.
    """
    if live and ready:
        raise InvalidValue("--live is not allowed with --ready: choose one")
    with run.database() as db:
        found = db.health(seconds=timeout, max_replica_lag=max_lag)
    if not (live or ready):
        return found
    passed = found.live if live else found.ready
    return Probed(asked="live" if live else "ready", passed=passed, health=found)
