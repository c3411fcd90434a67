"""What the commands on projects, files and the schema do, as functions from a database to a value."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel

from database_handler.core.base_model import Record
from database_handler.core.ddl import tables_of
from database_handler.core.exceptions import RecordNotFound
from database_handler.database import Database
from database_handler.models import Link, LinkKind, Project, Video
from database_handler.operations.schema_documents import json_schemas, mermaid, svg
from database_handler.repositories.claims import HeldLease
from database_handler.repositories.files import FilesReport, SweepReport
from database_handler.repositories.link import AddedLinks
from database_handler.repositories.metadata_reports import Violation
from database_handler.repositories.project_cascade import ProjectCounts
from database_handler.repositories.project_coverage import Coverage
from database_handler.repositories.project_metadata import MetadataSummary
from database_handler.repositories.project_statistics import ProjectStatistics
from database_handler.repositories.video_files import VideoFilesReport

__all__ = [
    "Checked",
    "CheckedMetadata",
    "CheckedVideos",
    "Claimed",
    "Counted",
    "Covered",
    "Described",
    "Diagram",
    "Drawn",
    "Filmed",
    "JsonSchemas",
    "Linked",
    "LinksByKind",
    "Made",
    "Measured",
    "Subtitled",
    "Swept",
    "Tokenized",
    "check_metadata",
    "diagram",
    "project_of",
    "schemas",
]

VIOLATIONS = 1000  # told of one project; a schema that does not fit breaks them all alike


class Measured(BaseModel, frozen=True):
    """What a project holds."""

    project: str
    statistics: ProjectStatistics


class Covered(BaseModel, frozen=True):
    """How far a project is translated."""

    project: str
    coverage: Coverage


class Counted(BaseModel, frozen=True):
    """How many rows of a project were written to a file, or taken away, or would be."""

    project: str
    done: Literal["exported", "deleted", "to delete"]
    rows: ProjectCounts
    file: Path | None = None


class Made(BaseModel, frozen=True):
    """A project that was made of another one, or of a file."""

    id: UUID
    slug: str
    name: str
    rows: ProjectCounts


class Described(BaseModel, frozen=True):
    """The keys in the metadata of a project's rows."""

    project: str
    summary: MetadataSummary


class CheckedMetadata(BaseModel, frozen=True):
    """The rows of a project whose metadata breaks its JSON Schema; `more` tells that there are others."""

    project: str
    violations: tuple[Violation, ...]
    more: bool = False


class Swept(BaseModel, frozen=True):
    """What a sweep of the file store removed, or would remove."""

    dry_run: bool
    report: SweepReport


class Checked(BaseModel, frozen=True):
    """The rows whose file is missing or damaged."""

    report: FilesReport


class Filmed(BaseModel, frozen=True):
    """A video that was stored."""

    video: Video


class CheckedVideos(BaseModel, frozen=True):
    """The videos whose file is not as their row says."""

    report: VideoFilesReport


class Drawn(BaseModel, frozen=True):
    """A picture that was written; its sides in pixels."""

    file: Path
    width: int
    height: int
    bytes: int


class Subtitled(BaseModel, frozen=True):
    """A translation as the text of a subtitle file."""

    translation: UUID
    format: Literal["srt", "vtt"]
    text: str
    file: Path | None = None


class Tokenized(BaseModel, frozen=True):
    """How many translations of a project got their tokens."""

    project: str
    translations: int


class Linked(BaseModel, frozen=True):
    """What became of each URL that was given."""

    urls: tuple[str, ...]
    added: AddedLinks


class LinksByKind(BaseModel, frozen=True):
    """The links of a project by what they lead to."""

    project: str
    kinds: dict[LinkKind, tuple[Link, ...]]


class Claimed(BaseModel, frozen=True):
    """Who works on what of a project, by entity."""

    project: str
    held: dict[str, tuple[HeldLease, ...]]


class JsonSchemas(BaseModel, frozen=True):
    """The JSON Schema of every model."""

    schemas: dict[str, dict[str, Any]]


class Diagram(BaseModel, frozen=True):
    """The tables as a picture, or as the text of one; `file` is where it was written."""

    format: Literal["mermaid", "svg"]
    text: str
    file: Path | None = None


def project_of(db: Database, slug: str) -> Project:
    """Return the project with a slug.

    Raises
    ------
    RecordNotFound
        No project has it.
    """
    found = db.projects.list(slug=slug, limit=1)
    if not found:
        raise RecordNotFound(f"no project has the slug {slug!r}", table="projects")
    return found[0]


def made(db: Database, project: Project) -> Made:
    """Tell of a project that was made, with what is in it."""
    rows = db.projects.delete_preview(project.id)
    return Made(id=project.id, slug=project.slug, name=project.name, rows=rows)


def check_metadata(db: Database, slug: str) -> CheckedMetadata:
    """Hold the rows of a project to its JSON Schemas."""
    found: Iterator[Violation] = db.projects.check_metadata(project_of(db, slug).id)
    told = list(islice(found, VIOLATIONS + 1))
    return CheckedMetadata(project=slug, violations=tuple(told[:VIOLATIONS]), more=len(told) > VIOLATIONS)


def schemas(entities: Sequence[type[Record]], names: Sequence[str] = ()) -> JsonSchemas:
    """Return the JSON Schema of every model, or of those named."""
    found = json_schemas(entities)
    if unknown := [name for name in names if name not in found]:
        raise RecordNotFound(f"no model is called {unknown[0]!r}; there are {', '.join(found)}")
    return JsonSchemas(schemas={name: found[name] for name in names or found})


def diagram(
    entities: Sequence[type[Record]], format: Literal["mermaid", "svg"], file: Path | None
) -> Diagram:
    """Draw the tables, into a file where one is named."""
    draw = svg if format == "svg" else mermaid
    text = draw(tables_of(entities))
    if file is not None:
        file.write_text(text, encoding="utf-8")
    return Diagram(format=format, text=text, file=file)
