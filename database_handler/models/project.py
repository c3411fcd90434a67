"""A project owns everything else."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, JsonValue

from database_handler.core.base_model import Draft, Record, bound_tables, initial
from database_handler.core.schema import Index, Table
from database_handler.utils.validators import (
    Choice,
    Description,
    JsonObject,
    MetadataSchemas,
    Name,
    Slug,
    Tags,
    Title,
    slugify,
)

__all__ = ["STATUS_MOVES", "NewProject", "Project", "ProjectStatus"]


class ProjectStatus(Choice):
    """Where a project stands."""

    DRAFT = "draft"
    ACTIVE = "active"
    COMPLETED = "completed"
    ARCHIVED = "archived"


STATUS_MOVES: Mapping[ProjectStatus, tuple[ProjectStatus, ...]] = {
    ProjectStatus.DRAFT: (ProjectStatus.ACTIVE, ProjectStatus.ARCHIVED),
    ProjectStatus.ACTIVE: (ProjectStatus.COMPLETED, ProjectStatus.ARCHIVED),
    ProjectStatus.COMPLETED: (ProjectStatus.ACTIVE, ProjectStatus.ARCHIVED),
    ProjectStatus.ARCHIVED: (ProjectStatus.ACTIVE,),
}
"""What may follow each status of a project: work that was begun is no draft again, and what is completed or
archived is taken up again as active."""


def of_entities(schemas: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Give JSON Schemas back whose keys are entities with metadata; another key is refused."""
    if not schemas:
        return schemas
    known = [name for name, table in bound_tables().items() if "metadata" in table.column_names]
    if unknown := sorted(set(schemas) - set(known)):
        raise ValueError(
            f"no entity with metadata is called {unknown[0]}; there are {', '.join(sorted(known))}"
        )
    return schemas


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
    metadata_schemas: Annotated[MetadataSchemas, AfterValidator(of_entities)] = Field(default_factory=dict)


class Project(NewProject, Record, frozen=True):
    """A project as the database holds it."""

    table: ClassVar[Table] = Table(
        "projects",
        key=("slug",),
        indexes=[Index(("status", "id"))],
        moves={"status": STATUS_MOVES},
        by_hand=["database_handler_keys"],  # of units that take effect once; no entity
    )
