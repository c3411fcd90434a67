"""The repository of projects."""

from database_handler.models.project import NewProject, Project
from database_handler.repositories.base import Repository
from database_handler.repositories.create import Create

__all__ = ["ProjectRepository"]


class ProjectRepository(Repository[NewProject, Project]):
    """Reads and writes `Project` records."""

    draft = NewProject
    record = Project
    create = Create(NewProject, Project)
