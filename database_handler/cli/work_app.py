"""The commands on links, and on who works on what."""

from typing import Annotated

import typer

from database_handler.cli import reports
from database_handler.cli.options import Run
from database_handler.cli.program import app, command, group

__all__: list[str] = []

links = typer.Typer(rich_markup_mode=None)
app.add_typer(links, name="links")

Slug = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's slug.")]


@command(links, "database-handler links add launch-film https://example.org/trailer.mp4")
def add(
    run: Run,
    project: Slug,
    urls: Annotated[list[str], typer.Argument(metavar="URL...", help="One or more.")],
) -> reports.Linked:
    """Store URLs, each once, in one form. Exit code 1 when one is refused; the others are stored."""
    with run.database() as db:
        found = reports.project_of(db, project)
        return reports.Linked(urls=tuple(urls), added=db.links.add_many(found.id, urls))


@command(links, "database-handler links list launch-film", name="list")
def list_links(
    run: Run,
    project: Slug,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The most of each kind.")] = 100,
) -> reports.LinksByKind:
    """Show a project's links by what they lead to."""
    with run.database() as db:
        found = reports.project_of(db, project)
        kinds = db.links.by_kind(found.id, limit=limit)
        return reports.LinksByKind(project=project, kinds={k: tuple(v) for k, v in kinds.items()})


group(links, "Keep a project's links.")


@command(app, "database-handler claims launch-film")
def claims(run: Run, project: Slug) -> reports.Claimed:
    """Show which translations and videos are being worked on: by whom, and until when."""
    with run.database() as db:
        found = reports.project_of(db, project)
        held = {
            "translations": tuple(db.translations.claims(found.id)),
            "videos": tuple(db.videos.claims(found.id)),
        }
        return reports.Claimed(project=project, held=held)
