"""The commands on one project: what it holds, how far it is translated, out to a file and back in."""

from pathlib import Path
from typing import Annotated

import typer

from database_handler.cli import reports
from database_handler.cli.options import Run
from database_handler.cli.program import app, command
from database_handler.core.exceptions import InvalidValue

__all__: list[str] = []

Slug = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's slug.")]


@command(app, "database-handler stats launch-film", "database-handler stats launch-film --json")
def stats(run: Run, project: Slug) -> reports.Measured:
    """Show what a project holds: rows and words by language, tokens, video time and size, last activity."""
    with run.database() as db:
        found = reports.project_of(db, project)
        return reports.Measured(project=project, statistics=db.projects.statistics(found.id))


@command(
    app,
    "database-handler coverage launch-film",
    "database-handler coverage launch-film --language fr --language ja",
)
def coverage(
    run: Run,
    project: Slug,
    language: Annotated[
        list[str] | None,
        typer.Option(metavar="CODE", help="A wanted language; may be repeated. Default: all there are."),
    ] = None,
    summaries: Annotated[bool, typer.Option("--summaries", help="Of the summaries, not the texts.")] = False,
    limit: Annotated[int, typer.Option(min=0, max=10_000, help="Texts to list one by one.")] = 20,
) -> reports.Covered:
    """Show how far a project is translated, and what is missing. Exit code 2 when something is."""
    with run.database() as db:
        found = db.projects.coverage(
            reports.project_of(db, project).id,
            language,
            of="summaries" if summaries else "text_sources",
            limit=limit,
        )
        return reports.Covered(project=project, coverage=found)


@command(app, "database-handler export launch-film launch-film.jsonl.gz")
def export(
    run: Run,
    project: Slug,
    file: Annotated[Path, typer.Argument(help="Where to; a name that ends in .gz is compressed.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> reports.Counted:
    """Write a project and everything below it to one JSON Lines file. Originals stay in the file store."""
    if file.exists() and not overwrite:
        raise InvalidValue(f"{file} is there already: --overwrite replaces it")
    with run.database() as db:
        rows = db.projects.export(reports.project_of(db, project).id, file)
        return reports.Counted(project=project, done="exported", rows=rows, file=file)


@command(
    app,
    "database-handler import launch-film.jsonl.gz",
    "database-handler import launch-film.jsonl.gz --slug copy",
    name="import",
)
def import_(
    run: Run,
    file: Annotated[Path, typer.Argument(help="What `export` wrote.")],
    name: Annotated[str | None, typer.Option(help="Another name than in the file.")] = None,
    slug: Annotated[str | None, typer.Option(help="Another slug than in the file.")] = None,
) -> reports.Made:
    """Store the project of a file as a new one: all of it, or nothing."""
    with run.database() as db:
        return reports.made(db, db.projects.import_(file, name=name, slug=slug))


@command(app, "database-handler clone launch-film --name 'Launch film, second cut'")
def clone(
    run: Run,
    project: Slug,
    name: Annotated[str, typer.Option(help="The name of the copy.")],
    slug: Annotated[str | None, typer.Option(help="Its slug; made from the name.")] = None,
) -> reports.Made:
    """Copy a project with everything below it."""
    with run.database() as db:
        found = reports.project_of(db, project)
        return reports.made(db, db.projects.clone(found.id, name=name, slug=slug))


@command(
    app,
    "database-handler delete launch-film --dry-run",
    "database-handler delete launch-film --yes",
)
def delete(
    run: Run,
    project: Slug,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> reports.Counted:
    """Delete a project and everything below it. Asks first."""
    with run.database() as db:
        found = reports.project_of(db, project)
        rows = db.projects.delete_preview(found.id)
        if dry_run:
            return reports.Counted(project=project, done="to delete", rows=rows)
        if not yes:
            run.agree(f"Delete {project} in {db.config.name}, {rows.total:,} rows in all?")
        return reports.Counted(project=project, done="deleted", rows=db.projects.delete(found.id))


@command(app, "database-handler metadata launch-film", "database-handler metadata launch-film --depth 1")
def metadata(
    run: Run,
    project: Slug,
    depth: Annotated[int, typer.Option(min=1, max=20, help="Levels of objects to look into.")] = 3,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many keys.")] = 50,
) -> reports.Described:
    """Show which keys the metadata of a project's rows have, how often, and with what types of value."""
    with run.database() as db:
        found = reports.project_of(db, project)
        summary = db.projects.metadata_summary(found.id, depth=depth, limit=limit)
        return reports.Described(project=project, summary=summary)


@command(app, "database-handler check-metadata launch-film", name="check-metadata")
def check_metadata(run: Run, project: Slug) -> reports.CheckedMetadata:
    """Hold a project's rows to its JSON Schemas for metadata. Exit code 2 when some break them."""
    with run.database() as db:
        return reports.check_metadata(db, project)
