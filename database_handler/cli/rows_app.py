"""The commands on the rows of one entity: out to a file, and in from one."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic_core import from_json
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from database_handler.cli import reports
from database_handler.cli.console import PLAIN_EVERY, WAIT, console
from database_handler.cli.options import Run
from database_handler.cli.program import app, command, group
from database_handler.cli.rows_reports import ExportedFile, ImportedFile
from database_handler.core.base_model import Record
from database_handler.core.exceptions import InvalidValue
from database_handler.database import Database
from database_handler.repositories import Repository

__all__: list[str] = []

rows = typer.Typer(rich_markup_mode=None)
app.add_typer(rows, name="rows")

Entity = Annotated[str, typer.Argument(metavar="ENTITY", help="Such as translations.")]
Project = Annotated[str | None, typer.Option(metavar="SLUG", help="Only rows of this project.")]


class FileFormat(StrEnum):
    """The kinds of files."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class Existing(StrEnum):
    """What becomes of rows whose key is there."""

    REFUSE = "refuse"
    SKIP = "skip"
    UPDATE = "update"


_FORMATS: dict[FileFormat | None, Literal["jsonl", "csv", "parquet"] | None] = {
    None: None,
    FileFormat.JSONL: "jsonl",
    FileFormat.CSV: "csv",
    FileFormat.PARQUET: "parquet",
}
_EXISTING: dict[Existing, Literal["refuse", "skip", "update"]] = {
    Existing.REFUSE: "refuse",
    Existing.SKIP: "skip",
    Existing.UPDATE: "update",
}
Kind = Annotated[
    FileFormat | None, typer.Option("--format", help="Of the file, where its suffix does not say it.")
]


@command(
    rows,
    "database-handler rows export translations translations.parquet",
    "database-handler rows export links links.csv.gz --filter kind=video",
)
def export(
    run: Run,
    entity: Entity,
    file: Annotated[Path, typer.Argument(help="Ends in .jsonl, .csv (then perhaps .gz, .zst) or .parquet.")],
    *,
    project: Project = None,
    filter: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=VALUE", help="Only rows like this; may be repeated.")
    ] = None,
    order_by: Annotated[
        str | None, typer.Option(metavar="FIELD", help="In this order; - before it for down.")
    ] = None,
    format: Kind = None,
) -> ExportedFile:
    """Write rows of one entity to a file, all of one moment. It has its name only when all is stored."""
    with run.database() as db, _progress("written") as told:
        repository = _repository(db, entity)
        began = time.monotonic()
        done = repository.export_rows(
            file,
            file_format=_FORMATS[format],
            order_by=order_by,
            on_progress=told,
            **_filters(repository.record, filter or ()),
            **_of_project(db, project, repository.table.scope_column),
        )
        return ExportedFile(entity=entity, file=file, rows=done.rows, seconds=_since(began))


@command(
    rows,
    "database-handler rows import links links.csv --project launch-film",
    "database-handler rows import translations t.parquet --existing update",
    name="import",
)
def import_(
    run: Run,
    entity: Entity,
    file: Annotated[Path, typer.Argument(help="As export writes it, or any with columns of these names.")],
    *,
    project: Annotated[
        str | None, typer.Option(metavar="SLUG", help="All rows belong to this project, whatever they say.")
    ] = None,
    existing: Annotated[
        Existing, typer.Option(help="What becomes of a row whose key is there.")
    ] = Existing.REFUSE,
    new_ids: Annotated[bool, typer.Option("--new-ids", help="Give every row a new id: a copy.")] = False,
    by_batch: Annotated[
        bool,
        typer.Option("--by-batch", help="Commit each thousand rows; the error says how many are stored."),
    ] = False,
    after_row: Annotated[
        int, typer.Option(min=0, metavar="N", help="Pass over the first N rows, stored by an earlier run.")
    ] = 0,
    format: Kind = None,
) -> ImportedFile:
    """Store the rows of a file, all or none. A refused row is told with its line and field. Exit code 1."""
    with run.database() as db, _progress("stored") as told:
        repository = _repository(db, entity)
        began = time.monotonic()
        done = repository.import_rows(
            file,
            file_format=_FORMATS[format],
            ids="new" if new_ids else "keep",
            existing=_EXISTING[existing],
            values=_of_project(db, project, "project_id"),
            by_batch=by_batch,
            after_row=after_row,
            on_progress=told,
        )
        return ImportedFile(
            entity=entity,
            file=file,
            rows=done.rows,
            inserted=done.inserted,
            updated=done.updated,
            unchanged=done.unchanged,
            skipped=done.skipped,
            seconds=_since(began),
        )


group(rows, "Move the rows of one entity to files and back.")


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)


def _repository(db: Database[Any], name: str) -> Repository[Any, Any]:
    if name not in db.entities():
        raise InvalidValue(f"there is no entity of that name; there are {', '.join(db.entities())}")
    found: Repository[Any, Any] = getattr(db, name)
    return found


def _of_project(db: Database[Any], slug: str | None, field: str) -> dict[str, Any]:
    return {} if slug is None else {field: reports.project_of(db, slug).id}


def _filters(record: type[Record], given: Sequence[str]) -> dict[str, Any]:
    """Read filters as they are typed: a list, a number and the like is written as JSON, text as it is."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidValue("--filter takes FIELD=VALUE, such as status=approved")
        if name in found:
            raise InvalidValue(f"--filter {name} is given twice")
        found[name] = _value(record, name, value)
    return found


def _value(record: type[Record], name: str, text: str) -> Any:
    field, _, operator = name.partition("__")
    column = record.table.column(field).type if field in record.model_fields else "text"
    plain = column in {"text", "uuid", "timestamptz", "date"} and operator not in {"in", "not_in", "is_null"}
    if plain:
        return text
    try:
        return from_json(text)
    except ValueError:
        return text


@contextmanager
def _progress(doing: str) -> Iterator[Callable[[int], object]]:
    """Show on standard error how many rows are done, from the second second on; else a line now and then."""
    screen = console(stderr=True)
    began = last = time.monotonic()
    columns = (TextColumn("{task.completed:,} rows"), TextColumn(doing), BarColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=screen, transient=True)
    task = bar.add_task(doing, total=None)

    def show(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if screen.is_terminal:
            bar.update(task, completed=done)
            if now - began >= WAIT and not bar.live.is_started:
                bar.start()
        elif now - last >= PLAIN_EVERY:
            last = now
            screen.print(f"{done:,} rows {doing}", markup=False)

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()
