"""The commands with their options: each opens the database, calls one function, and prints what it returns.

The modules beside this one, imported here, register those on projects, files, media, the schema and work.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from database_handler.cli import (
    advise_app,
    backup_app,
    cache_app,
    changes_app,
    commands,
    config_app,
    distribute_app,
    file_app,
    health_app,
    media_app,
    migration_app,
    monitoring_app,
    project_app,
    replicas_app,
    roles_app,
    rows_app,
    schema_app,
    work_app,
)
from database_handler.cli.console import progress
from database_handler.cli.options import Run
from database_handler.cli.program import CODES, VERSION, app, command, group, run
from database_handler.core.exceptions import InvalidValue

__all__ = [
    "advise_app",
    "app",
    "backup_app",
    "cache_app",
    "changes_app",
    "config_app",
    "distribute_app",
    "file_app",
    "health_app",
    "media_app",
    "migration_app",
    "monitoring_app",
    "project_app",
    "replicas_app",
    "roles_app",
    "rows_app",
    "run",
    "schema_app",
    "work_app",
]


class Entity(StrEnum):
    """What can be searched."""

    TEXT_SOURCES = "text_sources"
    SUMMARIES = "summaries"
    TRANSLATIONS = "translations"


@command(app, "database-handler init", "database-handler init --embedded var/pg")
def init(run: Run) -> commands.Initialised:
    """Create the database if it is missing, and migrate it."""
    with run.database(create=True) as db:
        return commands.initialise(db)


@command(app, "database-handler seed --sample", "database-handler seed --from texts --project 'My film'")
def seed(
    run: Run,
    sample: Annotated[bool, typer.Option("--sample", help="Store the sample project.")] = False,
    folder: Annotated[
        Path | None, typer.Option("--from", metavar="FOLDER", help="Store the documents below a folder.")
    ] = None,
    project: Annotated[
        str | None, typer.Option(metavar="NAME", help="The project they belong to (with --from).")
    ] = None,
) -> commands.Sampled | commands.Imported:
    """Store the sample project, or the documents of a folder. Run again, it rewrites nothing unchanged."""
    _check_seed(sample, folder, project)
    with run.database(create=True) as db:
        if run.chosen.embedded is not None:  # nobody else could have migrated it
            db.migrate()
        if folder is None or project is None:
            return commands.store_sample(db)
        with progress() as on_progress:
            return commands.import_documents(db, folder, project, on_progress)


def _check_seed(sample: bool, folder: Path | None, project: str | None) -> None:
    if sample and folder is not None:
        raise InvalidValue("--sample is not allowed with --from: choose one")
    if (folder is None) != (project is None):
        raise InvalidValue("--from FOLDER and --project NAME go together")
    if not sample and folder is None:
        raise InvalidValue("nothing to store: give --sample, or --from FOLDER and --project NAME")


@command(
    app,
    "database-handler search 'lighthouse keeper'",
    "database-handler search '\"at dawn\" -night' --language en",
)
def search(
    run: Run,
    query: Annotated[str, typer.Argument(help='As on the web: words, "a phrase", -not, or.')],
    *,
    project: Annotated[str | None, typer.Option(metavar="SLUG", help="Only in this project.")] = None,
    language: Annotated[str | None, typer.Option(metavar="CODE", help="Only in this language.")] = None,
    only: Annotated[Entity | None, typer.Option(help="Only these, not all three.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many on a page.")] = 20,
    after: Annotated[str | None, typer.Option(metavar="CURSOR", help="The page after this one.")] = None,
) -> commands.Found:
    """Look words up in text sources, summaries and translations, best first.

    Each text is searched in the stemming of its own language. Where nothing matches, words near to
    those asked for are looked up instead, and the answer says so.
    """
    with run.database() as db:
        return commands.search(
            db, query, entity=only, project=project, language=language, limit=limit, after=after
        )


group(app, "Keep a content-localisation pipeline in PostgreSQL.", CODES, own=[VERSION])
