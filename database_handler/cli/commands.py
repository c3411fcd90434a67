"""What each command does, as a function from a database to a value that is printed nowhere."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel

from database_handler.cli.reports import project_of
from database_handler.cli.seed import import_folder, load_sample
from database_handler.content.folder import FileReport, FolderReport, Outcome
from database_handler.database import Database
from database_handler.migrations import MigrationManager, MigrationReport, MigrationStatus
from database_handler.models import NewProject
from database_handler.operations.health import Health, check
from database_handler.repositories import SearchHit

__all__ = [
    "Found",
    "Hit",
    "Imported",
    "Initialised",
    "Probed",
    "Sampled",
    "import_documents",
    "initialise",
    "search",
    "store_sample",
    "to_roll_back",
]


class Initialised(BaseModel, frozen=True):
    """What `init` did, and how the database is now; `note` tells what is still to be done."""

    database: str
    created: bool
    migrations: MigrationReport
    health: Health
    note: str | None = None


class Probed(BaseModel, frozen=True):
    """The answer to a probe, and how the database is."""

    asked: Literal["live", "ready"]
    passed: bool
    health: Health


class Sampled(BaseModel, frozen=True):
    """What was done with the records of the sample project, by entity."""

    project: UUID
    outcomes: dict[str, dict[str, int]]


class Imported(BaseModel, frozen=True):
    """What became of every file of a folder; `hidden` are the names that were left out."""

    project: UUID | None
    counts: dict[Outcome, int]
    seconds: float
    hidden: tuple[str, ...]
    files: tuple[FileReport, ...]


class Hit(BaseModel, frozen=True):
    """A record that matches: where it stands, how well it does (higher is better), and the passage."""

    entity: str
    id: UUID
    project: str
    title: str | None
    filename: str | None
    language: str | None
    rank: float
    snippet: str


class Found(BaseModel, frozen=True):
    """A page of what matches a query, best first.

    Attributes
    ----------
    fuzzy : bool
        Whether nothing matched as it was asked, and the hits hold words near to those.
    next_cursor : str or None
        What to give as ``--after`` for the next page.
    """

    query: str
    hits: tuple[Hit, ...]
    fuzzy: bool = False
    next_cursor: str | None = None


def initialise(db: Database) -> Initialised:
    """Create the database when it is missing, and bring its schema to the newest version.

    A new application has no versions yet, and needs the database to have its first one generated: until
    then, the library's own are all.
    """
    created = db.create_if_missing()
    own = MigrationManager(db.config)
    folder = None if db.versions is None else Path(db.versions)
    if folder is None or folder.exists():
        report, health, note = db.migrate(), db.health(), None
    else:
        report, health = own.migrate(), check(db.pool, own.standing)
        note = f"{folder} is not there yet: `database-handler migrations generate -m ...` makes it"
    name = db.config.name
    return Initialised(database=name, created=created, migrations=report, health=health, note=note)


def store_sample(db: Database) -> Sampled:
    """Store the sample project, or bring it up to date."""
    stored = load_sample(db)
    return Sampled(project=stored.project.id, outcomes=stored.outcomes)


def import_documents(
    db: Database, folder: Path, project: str, on_progress: Callable[[FileReport, int, int], object]
) -> Imported:
    """Store the documents of a folder in the project of this name, which is created when missing."""
    draft = NewProject(name=project)
    began = time.monotonic()
    report = import_folder(db, draft, folder, on_progress=on_progress)
    return _imported(report, time.monotonic() - began)


def _imported(report: FolderReport, seconds: float) -> Imported:
    return Imported(
        project=report.project_id,
        counts=report.counts,
        seconds=round(seconds, 3),
        hidden=report.hidden,
        files=report.files,
    )


def search(
    db: Database,
    query: str,
    *,
    entity: str | None = None,
    project: str | None = None,
    language: str | None = None,
    limit: int = 20,
    after: str | None = None,
) -> Found:
    """Look a query up in one entity or in all, of all projects or of the one with this slug.

    Raises
    ------
    RecordNotFound
        No project has the slug.
    """
    project_id = None if project is None else project_of(db, project).id
    places: dict[str | None, Any] = {
        None: db,
        "text_sources": db.text_sources,
        "summaries": db.summaries,
        "translations": db.translations,
    }
    page = places[entity].search(query, project_id=project_id, language=language, limit=limit, after=after)
    slugs = _slugs(db, {hit.record.project_id for hit in page})
    hits = tuple(_hit(hit, slugs) for hit in page)
    return Found(query=query, hits=hits, fuzzy=page.fuzzy, next_cursor=page.next_cursor)


def _slugs(db: Database, projects: Iterable[UUID]) -> dict[UUID, str]:
    return {project.id: project.slug for project in db.projects.get_many(list(projects))}


def _hit(hit: SearchHit[Any], slugs: dict[UUID, str]) -> Hit:
    text = hit.record
    return Hit(
        entity=hit.entity,
        id=text.id,
        project=slugs.get(text.project_id, str(text.project_id)),  # deleted meanwhile: its id then
        title=getattr(text, "title", None),
        filename=getattr(text, "filename", None),
        language=getattr(text, "language", None) or getattr(text, "target_language", None),
        rank=hit.rank,
        snippet=" ".join(hit.snippet.split()),
    )


def to_roll_back(status: MigrationStatus, steps: int, target: str | None) -> tuple[str, ...]:
    """Return the names of the versions that a rollback would undo, last first.

    Empty where it would undo nothing, and where it will refuse: an unknown target, an irreversible version.
    """
    applied = [item for item in reversed(status.items) if item.state != "pending"]
    if target is None:
        chosen = applied[:steps]
    else:
        number = _number_of(status, target)
        chosen = [item for item in applied if number is not None and item.number > number]
    return tuple(item.name for item in chosen) if all(item.reversible for item in chosen) else ()


def _number_of(status: MigrationStatus, target: str) -> int | None:
    if target.isascii() and target.isdigit() and int(target) == 0:
        return 0
    known = {item.name: item.number for item in status.items}
    known |= {str(item.number): item.number for item in status.items}
    return known.get(target.lstrip("0") or "0", known.get(target))
