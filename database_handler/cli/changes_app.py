"""The commands on the outbox of changes: make it, look at it, read it, and keep it small."""

from datetime import timedelta
from itertools import islice
from typing import Annotated

import typer

from database_handler.cli.options import Run
from database_handler.cli.program import app, command, group
from database_handler.cli.rows_reports import (
    ChangesRead,
    ForgottenReader,
    PreparedOutbox,
    PrunedOutbox,
    ToldChange,
)
from database_handler.operations.changes.outbox import OutboxReport

__all__: list[str] = []

changes = typer.Typer(rich_markup_mode=None)
app.add_typer(changes, name="changes")


@command(changes, "database-handler changes prepare")
def prepare(run: Run) -> PreparedOutbox:
    """Make the tables of the outbox where they are missing. After a restore it numbers the rows anew."""
    with run.database() as db:
        return PreparedOutbox(changed=db.outbox.prepare())


@command(changes, "database-handler changes status")
def status(run: Run) -> OutboxReport:
    """Show how much the outbox holds, and how far behind each reader is."""
    with run.database() as db:
        return db.outbox.report()


@command(
    changes,
    "database-handler changes read --after 0.0",
    "database-handler changes read --reader search-index --acknowledge",
)
def read(
    run: Run,
    *,
    after: Annotated[
        str | None, typer.Option(metavar="POSITION", help="Those after this position; 0.0: all that is kept.")
    ] = None,
    reader: Annotated[
        str | None, typer.Option(metavar="NAME", help="Those after the place of this reader.")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(metavar="ENTITY", help="Only of this entity; may be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 100,
    wait: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Wait so long for the next.")] = 0.0,
    acknowledge: Annotated[bool, typer.Option("--acknowledge", help="Move the reader past them.")] = False,
) -> ChangesRead:
    """Show changes of rows in their order."""
    with run.database() as db, db.changes(kinds=kind, after=after, reader=reader, wait=wait) as feed:
        found = tuple(
            ToldChange(
                operation=each.operation,
                entity=each.entity,
                id=each.id,
                project_id=each.project_id,
                version=each.version,
                position=each.position,
            )
            for each in islice(feed, limit)
        )
        if acknowledge:
            feed.acknowledge()
        return ChangesRead(changes=found, position=feed.position)


@command(changes, "database-handler changes prune --keep-days 7")
def prune(
    run: Run,
    keep_days: Annotated[float, typer.Option(min=0, metavar="DAYS", help="Keep what is younger.")] = 7.0,
) -> PrunedOutbox:
    """Take away what is old and what every reader has acknowledged."""
    with run.database() as db:
        return PrunedOutbox(removed=db.outbox.prune(keep=timedelta(days=keep_days)))


@command(changes, "database-handler changes forget search-index")
def forget(
    run: Run, reader: Annotated[str, typer.Argument(metavar="READER", help="Its name.")]
) -> ForgottenReader:
    """Keep nothing for a reader any more, so that old rows can go."""
    with run.database() as db:
        db.outbox.forget(reader)
        return ForgottenReader(reader=reader)


group(changes, "Look after the outbox of changes.")
