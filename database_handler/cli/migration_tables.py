"""What migrating, rolling back and asking for the status returns, laid out for people."""

from collections.abc import Iterator
from datetime import UTC

from rich.console import RenderableType
from rich.text import Text

from database_handler.cli.tables import columns_of, done, exact, laid_out, phrase
from database_handler.migrations import (
    MigrationItem,
    MigrationReport,
    MigrationStatus,
    PlannedMigration,
    PlannedStatement,
)
from database_handler.migrations.runner.many_schemas import SchemaOutcome, SchemasReport
from database_handler.utils.text import counted

__all__ = ["outcome_line"]

_STYLES = {"applied": "green", "pending": "yellow", "partial": "yellow", "changed": "red", "missing": "red"}


@laid_out.register
def _(value: MigrationReport, lines: bool) -> Iterator[RenderableType]:
    del lines
    for planned in value.planned:
        yield phrase(f"-- {planned.name}", "bold")
        yield from _planned(planned)
    if value.planned:
        yield Text(f"-- {len(value.planned)} to run; nothing was run")
    else:
        yield phrase(f"{done(value)} ({value.seconds:.2f} s)" if value.changed else done(value))


def _planned(planned: PlannedMigration) -> Iterator[Text]:
    if planned.unmeasured:
        yield phrase(f"-- its locks were not measured: {planned.unmeasured}", "yellow")
    if not planned.statements:
        yield exact(planned.sql)
    for statement in planned.statements:
        if told := _cost(statement):
            yield phrase(f"-- {told}", "cyan")
        yield exact(f"{statement.sql};")


def _cost(statement: PlannedStatement) -> str:
    told = [
        f"{table} {mode}"
        + (" rewrites" if table in statement.rewrites else "")
        + (" scans" if table in statement.scans else "")
        for table, mode in statement.locks.items()
    ]
    alone = "" if statement.transactional else "outside of a transaction; "
    return f"{alone}locks: {'; '.join(told)}" if told else alone.rstrip("; ")


@laid_out.register
def _(value: MigrationStatus, lines: bool) -> Iterator[RenderableType]:
    table = columns_of(lines, "version", "state", "applied at (UTC)", "by", "took", right=["took"])
    several = len({item.history for item in value.items}) > 1
    for item in value.items:
        table.add_row(*_status_row(item, several))
    yield table
    if value.pending:
        yield Text(f"{len(value.pending)} pending: `database-handler migrate` applies them", "yellow")
    if wrong := [item.name for item in value.items if item.state in {"changed", "missing"}]:
        yield phrase(f"not as they were applied: {', '.join(wrong)}; put the files back", "red")
    for note in value.notes:
        yield phrase(note, "yellow")


def _status_row(item: MigrationItem, several: bool) -> Iterator[Text]:
    own = several and item.history != "database_handler_migrations"
    yield phrase(f"{item.name} (application)" if own else item.name)
    told = item.state if item.origin == "run" else f"{item.state} ({item.origin})"
    told += "; its way down was changed since" if item.another_down else ""
    yield phrase(f"{told}: {item.progress}" if item.progress else told, _STYLES[item.state])
    yield phrase(item.applied_at and f"{item.applied_at.astimezone(UTC):%Y-%m-%d %H:%M}")
    yield phrase(item.applied_by)
    yield phrase(None if item.duration is None else f"{item.duration.total_seconds():.2f} s")


def outcome_line(outcome: SchemaOutcome) -> str:
    """Say what became of one schema: in a line, and with what a failure says below it."""
    if outcome.error:
        return f"{outcome.schema_name}: failed: {outcome.kind}: {outcome.error}"
    told = f"applied {', '.join(outcome.applied)}" if outcome.applied else "nothing to do"
    return f"{outcome.schema_name}: {told}; at {outcome.head or 'nothing'}"


@laid_out.register
def _(value: SchemasReport, lines: bool) -> Iterator[RenderableType]:
    del lines
    for outcome in value.failed:
        yield from (phrase(line, "red") for line in outcome_line(outcome).splitlines())
    yield phrase(
        f"{counted(len(value.outcomes), 'schema')}: {len(value.applied)} got versions, "
        f"{len(value.at_head)} were there, {len(value.failed)} failed ({value.seconds:.1f} s)",
        "red" if value.failed else "green",
    )
