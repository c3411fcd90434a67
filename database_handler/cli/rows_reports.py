"""What the commands on rows and on changes give, and how it is laid out for people."""

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from pydantic import BaseModel, Field
from rich.console import RenderableType

from database_handler.cli.tables import columns_of, laid_out, pairs, phrase
from database_handler.core.changes import Operation
from database_handler.operations.changes.outbox import OutboxReport

__all__ = [
    "ChangesRead",
    "ExportedFile",
    "ForgottenReader",
    "ImportedFile",
    "PreparedOutbox",
    "PrunedOutbox",
    "ToldChange",
]


class ExportedFile(BaseModel, frozen=True):
    """Rows that were written to a file."""

    entity: str
    file: Path
    rows: int
    seconds: float


class ImportedFile(BaseModel, frozen=True):
    """What became of the rows of a file."""

    entity: str
    file: Path
    rows: int
    inserted: int
    updated: int
    unchanged: int
    skipped: int
    seconds: float


class PreparedOutbox(BaseModel, frozen=True):
    """Whether the outbox was made or numbered anew; else it was there, and as it should be."""

    changed: bool


class ToldChange(BaseModel, frozen=True):
    """One change of a row."""

    operation: Operation
    entity: str
    id: UUID | None
    project_id: UUID | None
    version: int | None
    position: str | None


class ChangesRead(BaseModel, frozen=True):
    """Changes that were read, and where to go on."""

    changes: tuple[ToldChange, ...] = Field(default=())
    position: str | None = None


class PrunedOutbox(BaseModel, frozen=True):
    """How many rows of the outbox were taken away."""

    removed: int


class ForgottenReader(BaseModel, frozen=True):
    """A reader whose place is not kept any more."""

    reader: str


@laid_out.register
def _(value: ExportedFile, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield phrase(f"{value.rows:,} {value.entity} written to {value.file} in {value.seconds:.1f} s", "green")


@laid_out.register
def _(value: ImportedFile, lines: bool) -> Iterator[RenderableType]:
    outcomes = ("inserted", "updated", "unchanged", "skipped")
    table = columns_of(lines, "entity", *outcomes, right=outcomes)
    table.add_row(phrase(value.entity), *(f"{getattr(value, name):,}" for name in outcomes))
    yield table
    yield phrase(f"{value.rows:,} rows of {value.file} in {value.seconds:.1f} s", "green")


@laid_out.register
def _(value: PreparedOutbox, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield phrase("the outbox is ready" if value.changed else "the outbox was ready", "green")


@laid_out.register
def _(value: OutboxReport, lines: bool) -> Iterator[RenderableType]:
    yield pairs(
        [
            ("rows", phrase(f"{value.rows:,} ({value.bytes:,} bytes)")),
            ("oldest", phrase(value.oldest and f"{value.oldest:%Y-%m-%d %H:%M:%S} UTC")),
            ("held back", phrase(f"{value.held_back:,}", "yellow" if value.held_back else "")),
        ]
    )
    table = columns_of(lines, "reader", "behind", "at", "moved", right=("behind",))
    for reader in value.readers:
        moved = f"{reader.moved_at:%Y-%m-%d %H:%M:%S} UTC"
        table.add_row(phrase(reader.name), f"{reader.behind:,}", reader.position, moved)
    yield table


@laid_out.register
def _(value: ChangesRead, lines: bool) -> Iterator[RenderableType]:
    table = columns_of(lines, "position", "operation", "entity", "id", "version")
    for each in value.changes:
        version = "" if each.version is None else str(each.version)
        id = "" if each.id is None else str(each.id)
        table.add_row(each.position or "", each.operation.value, phrase(each.entity), id, version)
    yield table
    yield phrase(f"go on after {value.position}" if value.position else "nothing was told")


@laid_out.register
def _(value: PrunedOutbox, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield phrase(f"removed {value.removed:,} rows")


@laid_out.register
def _(value: ForgottenReader, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield phrase(f"nothing is kept for {value.reader} any more")
