"""The commands that tell the schema to others; they need no database."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from database_handler.cli import reports
from database_handler.cli.options import Run
from database_handler.cli.program import app, command, group

__all__: list[str] = []

schema = typer.Typer(rich_markup_mode=None)
app.add_typer(schema, name="schema")


class Format(StrEnum):
    """How a diagram is drawn."""

    MERMAID = "mermaid"
    SVG = "svg"


@command(schema, "database-handler schema json", "database-handler schema json NewTranslation Translation")
def json(
    run: Run, models: Annotated[list[str] | None, typer.Argument(help="Only these models.")] = None
) -> reports.JsonSchemas:
    """Print the JSON Schema of every model: drafts as they are taken, records as they are given."""
    return reports.schemas(run.application.records(), models or ())


@command(
    schema,
    "database-handler schema diagram",
    "database-handler schema diagram --format svg --output schema.svg",
)
def diagram(
    run: Run,
    format: Annotated[Format, typer.Option(help="Mermaid text, or an SVG picture.")] = Format.MERMAID,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there.")] = None,
) -> reports.Diagram:
    """Draw the tables and their references."""
    chosen: Literal["svg", "mermaid"] = "svg" if format is Format.SVG else "mermaid"
    return reports.diagram(run.application.records(), chosen, output)


group(schema, "Tell the schema to others: JSON Schema, diagrams.")
