"""A project owns everything else."""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from database_handler.core.base_model import Draft, Record, initial
from database_handler.core.schema import Index, Table
from database_handler.utils.validators import Description, JsonObject, Name, Slug, Tags, Title, slugify

__all__ = ["NewProject", "Project", "ProjectStatus"]


class ProjectStatus(StrEnum):
    """Where a project stands."""

    DRAFT = "draft"
    ACTIVE = "active"
    COMPLETED = "completed"
    ARCHIVED = "archived"


class NewProject(Draft, frozen=True):
    """A project to be created; its slug is made from the name unless it is given.

    Attributes
    ----------
    metadata_schemas : dict
        By entity (``"text_sources"``), the JSON Schema that its `metadata` keeps to in this project.
    """

    name: Title
    slug: Slug = initial("name", slugify)
    description: Description | None = None
    status: ProjectStatus = ProjectStatus.DRAFT
    owner: Name | None = None
    tags: Tags = ()
    metadata: JsonObject = Field(default_factory=dict)
    metadata_schemas: JsonObject = Field(default_factory=dict)


class Project(NewProject, Record, frozen=True):
    """A project as the database holds it."""

    table: ClassVar[Table] = Table("projects", key=("slug",), indexes=[Index(("status", "id"))])
