"""The commands on the file store: sweep what no row needs, check what rows need."""

from typing import Annotated

import typer

from database_handler.cli import reports
from database_handler.cli.options import Run
from database_handler.cli.program import app, command, group

__all__: list[str] = []

files = typer.Typer(rich_markup_mode=None)
app.add_typer(files, name="files")


@command(files, "database-handler files sweep --dry-run", "database-handler files sweep --yes")
def sweep(
    run: Run,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> reports.Swept:
    """Remove the files of the store that no row refers to, such as a crash leaves. Asks first."""
    with run.database() as db:
        if not dry_run and not yes:
            found = db.files.sweep(dry_run=True)
            if not found.removed:
                return reports.Swept(dry_run=True, report=found)
            run.agree(f"Remove {found.removed:,} files ({found.bytes:,} bytes) that no row refers to?")
        return reports.Swept(dry_run=dry_run, report=db.files.sweep(dry_run=dry_run))


@command(files, "database-handler files check", "database-handler files check --project launch-film")
def check(
    run: Run,
    project: Annotated[str | None, typer.Option(metavar="SLUG", help="Only of this project.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Look whether they are there; read none.")] = False,
) -> reports.Checked:
    """Find the rows whose file in the store is missing or damaged. Exit code 1 when there are any."""
    with run.database() as db:
        project_id = None if project is None else reports.project_of(db, project).id
        return reports.Checked(report=db.files.check(project_id, deep=not quick))


group(files, "Look after the files that rows refer to.")
