"""The command that tells what of the server should be looked at."""

from typing import Annotated

import typer

from database_handler.cli import advice_tables
from database_handler.cli.options import Run
from database_handler.cli.program import app, command
from database_handler.operations.advice import Advice, AdviceLimits

__all__ = ["advice_tables"]

_USUAL = AdviceLimits()


@command(app, "database-handler advise", "database-handler advise --unused-days 90 --json")
def advise(
    run: Run,
    *,
    unused_days: Annotated[
        float, typer.Option(min=0, metavar="DAYS", help="Call an index unused after so many.")
    ] = _USUAL.unused_days,
    long_transaction: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Call a transaction long after so many.")
    ] = _USUAL.long_transaction,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="The most for each question.")
    ] = 5.0,
) -> Advice:
    """Say what of the server should be looked at, why, and what to do: indexes, VACUUM, sessions, settings.

    It only reads, and no question waits long or takes long. What it could not see for lack of rights it
    says. Exit code 0, whatever it finds: which of it matters, somebody has to judge.
    """
    limits = AdviceLimits(unused_days=unused_days, long_transaction=long_transaction)
    with run.database() as db:
        return db.advise(limits=limits, statement_timeout=timeout)
