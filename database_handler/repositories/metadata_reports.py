"""Rows that are stored already are checked against the JSON Schemas of their project."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from database_handler.core.base_model import bound_tables
from database_handler.core.schema import Table
from database_handler.core.session import Statement
from database_handler.models.project import NewProject, Project
from database_handler.repositories.base import Repository
from database_handler.utils.json_schemas import violations

__all__ = ["MetadataReports", "Violation"]


@dataclass(frozen=True, slots=True)
class Violation:
    """A row whose metadata breaks the JSON Schema of its project, and where it does.

    Attributes
    ----------
    entity : str
        The table of the row.
    problems : tuple of str
        Each ``path: rule``; the first ten.
    """

    entity: str
    id: UUID
    problems: tuple[str, ...]


class MetadataReports(Repository[NewProject, Project]):
    """Checks the metadata of a project's rows."""

    def check_metadata(self, project_id: UUID | str) -> Generator[Violation, None, None]:
        """Iterate over the rows of a project, itself among them, whose metadata breaks its JSON Schema.

        Rows from before a schema was bound are found so, in the order of entities and ids; memory is flat.

        Raises
        ------
        RecordNotFound
            There is no such project.
        """
        project = self.get_by_id(project_id)
        return self._all_violations(project)

    def _all_violations(self, project: Project) -> Generator[Violation, None, None]:
        tables = bound_tables()
        for entity, schema in sorted(project.metadata_schemas.items()):
            if isinstance(schema, dict):
                yield from self._violations(tables[entity], project.id, schema)

    def _violations(self, table: Table, project_id: UUID, schema: Mapping[str, Any]) -> Iterator[Violation]:
        text = f"SELECT id, metadata FROM {table.name} WHERE {table.scope_column} = %s ORDER BY id"
        rows = self._session.stream(Statement(text, f"{table.name}.check_metadata"), [project_id])
        for id, document in rows:
            if problems := violations(schema, document):
                yield Violation(table.name, id, tuple(problems))
