"""What a project holds, read as a whole: figures, translation coverage, metadata, and the whole tree.

Each report is one statement, so one round trip and one moment.
"""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from database_handler.core.base_model import Record, validated_field
from database_handler.core.exceptions import InvalidValue
from database_handler.core.schema import Table
from database_handler.core.session import Statement
from database_handler.models import NewProject, Project
from database_handler.repositories.base import Repository
from database_handler.repositories.project_coverage import (
    Coverage,
    CoverageAsked,
    Original,
    coverage,
    covered,
)
from database_handler.repositories.project_metadata import (
    MetadataSummary,
    described,
    metadata_limits,
    metadata_summary,
    summarised,
)
from database_handler.repositories.project_statistics import (
    ProjectStatistics,
    counted,
    statistics,
)
from database_handler.repositories.project_tree import ProjectTree, planted, tree
from database_handler.repositories.read_through import statistics_of

__all__ = ["ProjectReports"]


class ProjectReports(Repository[NewProject, Project]):
    """The reports of a project, as a part of its repository; an application's own entities are in them."""

    @property
    def entities(self) -> tuple[type[Record], ...]:
        """What a project is made of, itself first, each after those it refers to."""
        below = (record for record in self._resources.records if record.table.is_child)
        return (Project, *below)

    @property
    def _below(self) -> tuple[Table, ...]:
        return tuple(entity.table for entity in self.entities if entity.table.is_child)

    def statistics(self, id: UUID | str) -> ProjectStatistics:
        """Return what a project holds, in figures, or raise `RecordNotFound`."""
        found = self.statistics_many([id])
        if not found:
            raise self._not_found(id)
        return found[0]

    def statistics_many(self, ids: Iterable[UUID | str]) -> list[ProjectStatistics]:
        """Return the figures of the projects found, in the order asked, in one statement for all.

        As `get_many` does: one that is not there is left out, one asked twice comes twice.
        """
        if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
            raise InvalidValue(f"statistics_many takes a list of ids, not a {type(ids).__name__}")
        asked = [_id(id) for id in ids]
        sought = sorted({id for id in asked if self._sees(id)})
        if not sought:
            return []
        found = self._counted(sought)
        return [found[id] for id in asked if id in found]

    def _counted(self, sought: list[UUID]) -> dict[UUID, ProjectStatistics]:
        below = self._below
        if (cache := self._session.cache) is not None and not self._scoped:
            return statistics_of(cache, self._session, sought, below)
        return counted(self._session.all(statistics(below), [sought] * (1 + len(below))), below)

    def coverage(
        self,
        id: UUID | str,
        languages: Iterable[str] | None = None,
        *,
        of: Original = "text_sources",
        limit: int = 100,
        after: UUID | str | None = None,
    ) -> Coverage:
        """Return which texts of a project are translated into which languages, and what is missing.

        Parameters
        ----------
        languages : iterable of str, optional
            Those that are wanted; all that anything in the project is translated into, unless given. Tags
            that differ are kept apart: pt-BR is not pt.
        of : {"text_sources", "summaries"}
            What is to be translated. A translation of a summary counts for the summary alone, never for the
            text that it is of.
        limit : int
            How many texts one by one, from 0 to 10,000; the totals are always over all.
        after : UUID, optional
            The ``next_cursor`` of the page before.

        Raises
        ------
        RecordNotFound
            There is no such project.
        InvalidValue
            Something is no language; the nearest one is named.
        """
        asked = CoverageAsked.of_call(_id(id), of, languages, limit, None if after is None else _id(after))
        statement = coverage(asked.of, asked.languages is not None, asked.after is not None)
        found = covered(asked, self._report(asked.project_id, statement, asked.values))
        if found is None:
            raise self._not_found(id)
        return found

    def metadata_summary(self, id: UUID | str, *, depth: int = 3, limit: int = 200) -> MetadataSummary:
        """Return which keys the metadata of a project and of all below it has, of what types, how often.

        Parameters
        ----------
        depth : int
            How many levels of objects to look into, from 1 (the top keys) to 20. Arrays are not looked into.
        limit : int
            How many paths at most, from 1 to 10,000; the most frequent ones are given.
        """
        depth, limit = metadata_limits(depth, limit)
        project = _id(id)
        tables = described(self.entities)
        values = [*([project] * len(tables)), depth, limit + 1]
        rows = self._report(project, metadata_summary(tables), values)
        found = summarised(project, depth, limit, tables, rows)
        if found is None:
            raise self._not_found(id)
        return found

    def tree(self, id: UUID | str) -> ProjectTree:
        """Return a project and everything below it, as it is at one moment, in one round trip.

        All of it is held in memory, contents too: for a project larger than that, use ``stream`` of each
        repository in a unit of isolation ``repeatable read``.
        """
        project = _id(id)
        entities = self.entities
        found = planted(self._report(project, tree(entities), [project] * len(entities)), entities)
        if found is None:
            raise self._not_found(id)
        return found

    def _report(self, project: UUID, statement: Statement, values: list[object]) -> list[tuple[Any, ...]]:
        """Return the rows of a report; none of a project other than the unit's, which is as if not there."""
        return self._session.all(statement, values) if self._sees(project) else []

    def _sees(self, project: UUID) -> bool:
        return self._project_id in {None, project}


def _id(value: object) -> UUID:
    found: UUID = validated_field(Project, "id", value)
    return found
