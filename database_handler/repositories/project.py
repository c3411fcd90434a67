"""The repository of projects: their status, and what is done to a project with everything below it."""

from collections.abc import Iterable
from contextlib import closing
from itertools import chain
from os import PathLike
from tempfile import TemporaryFile
from typing import Any
from uuid import UUID

from database_handler.content import project_file
from database_handler.content.files import Readable
from database_handler.content.project_file import Writable
from database_handler.core.base_model import Change, validated_changes
from database_handler.core.exceptions import InvalidValue
from database_handler.core.session import Statement
from database_handler.models import NewProject, Project, ProjectStatus
from database_handler.repositories import project_cascade, project_clone, project_transfer, statements
from database_handler.repositories.base import as_uuid, as_version
from database_handler.repositories.create import Create
from database_handler.repositories.metadata_reports import MetadataReports
from database_handler.repositories.project_cascade import Deleted, ProjectCounts
from database_handler.repositories.project_reports import ProjectReports
from database_handler.utils.ids import new_id

__all__ = ["Deleted", "ProjectCounts", "ProjectRepository"]


class ProjectRepository(ProjectReports, MetadataReports):
    """Reads and writes `Project` records, and whole projects."""

    draft = NewProject
    record = Project
    create = Create(NewProject, Project)

    # --------------------------------------------------------------------------------------------- status

    def set_status(
        self, id: UUID | str, status: ProjectStatus | str, expected_version: int | None = None
    ) -> Project:
        """Move a project to a status that may follow its own (`STATUS_MOVES`), and return it.

        Raises
        ------
        StatusMoveRefused
            That status may not follow the one that the project has now; names both, and nothing was written.
        RecordNotFound, StaleRecord
            As for `update`.
        """
        return self.update(id, {"status": status}, expected_version)

    def set_status_many(self, ids: Iterable[UUID | str], status: ProjectStatus | str) -> list[Project]:
        """Move projects to one status, all or none, and return them in the order given."""
        if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
            raise InvalidValue(f"a list of ids is wanted, not a {type(ids).__name__}")
        return self.update_many([Change(id, {"status": status}) for id in ids])

    def archive_many(self, ids: Iterable[UUID | str]) -> list[Project]:
        """Archive projects, all or none, and return them in the order given."""
        return self.set_status_many(ids, ProjectStatus.ARCHIVED)

    # -------------------------------------------------------------------------------------------- cascade

    def delete(self, id: UUID | str, expected_version: int | None = None) -> Deleted:
        """Take a project away with everything below it, and return how many rows of each entity went.

        The counts are exact also while others add rows or take some away: nobody adds to a project that is
        being deleted, and only rows that went by this call count.

        Raises
        ------
        RecordNotFound, StaleRecord
            As for `update`; nothing went.
        """
        asked = as_uuid(id)
        bound = {"id": asked, "version": as_version(expected_version), "scope": self._project_id}
        statement = project_cascade.delete(self.table, self._below, self._scoped)
        row = self._session.maybe(statement, bound)
        if row is None:
            raise self._not_found(id)
        width = 1 + len(self._below)
        if not row[0]:
            raise self._stale([self._fill(row[width:])], [])
        return self._counts(row[:width])

    def delete_preview(self, id: UUID | str) -> Deleted:
        """Return what `delete` would take away, without taking it."""
        statement = project_cascade.preview(self.table, self._below, self._scoped)
        row = self._session.maybe(statement, {"id": as_uuid(id), "scope": self._project_id})
        if row is None:
            raise self._not_found(id)
        return self._counts(row)

    def _counts(self, row: tuple[Any, ...]) -> Deleted:
        return Deleted.of(project_cascade.counted((self.table, *self._below), row))

    # ---------------------------------------------------------------------------------------------- clone

    def clone(self, id: UUID | str, *, name: str, slug: str | None = None) -> Project:
        """Copy a project and everything below it in one round trip, and return the new project.

        On a cluster it goes by way of a temporary file, batch by batch.

        Every row gets a new id (in the order of the original's), version 1 and the present time; references
        lead to the copies. The files that rows refer to are not copied: both projects refer to the same.

        Parameters
        ----------
        name : str
            Of the copy.
        slug : str, optional
            Made from the name when left out.

        Raises
        ------
        RecordNotFound
            There is no such project.
        DuplicateRecord
            A project has that slug already.
        """
        self._refuse_scope("clone")
        changes = _named(name, slug)
        if self._session.distributed:
            return self._cloned_by_a_file(id, name, slug)
        statement = project_clone.clone(self.table, self._below, tuple(sorted(changes)))
        bound = project_clone.values(as_uuid(id), new_id(), self._below, changes)
        row = self._session.maybe(statement, bound)
        if row is None:
            raise self._not_found(id)
        return self._fill(row)

    def _cloned_by_a_file(self, id: UUID | str, name: str, slug: str | None) -> Project:
        """Copy by way of the client: on a cluster the project and its copy may lie on two nodes."""
        with TemporaryFile() as file:
            self.export(id, file)
            file.seek(0)
            return self.import_(file, name=name, slug=slug)

    # ------------------------------------------------------------------------------------------- transfer

    def export(
        self, id: UUID | str, target: str | PathLike[str] | Writable, *, batch: int = 200
    ) -> ProjectCounts:
        """Write a project and everything below it to a file, as of one moment; return how many rows it has.

        Parameters
        ----------
        target : path or binary stream
            A path that ends in ``.gz`` is compressed. The file has its name only when all of it is stored.
        batch : int
            How many rows are in memory at a time.

        Raises
        ------
        RecordNotFound
            There is no such project; nothing was written.
        UnwritableFile, NotARegularFile
            The file cannot be written; nothing has its name.
        """
        asked = as_uuid(id)
        if self._project_id not in {None, asked}:
            raise self._not_found(id)
        with closing(project_transfer.records(self._session, asked, self.entities, batch)) as rows:
            project = next(rows, None)
            if project is None:
                raise self._not_found(id)
            with project_file.opened_for_writing(target) as stream:
                return ProjectCounts.of(project_file.write(stream, chain([project], rows), self.entities))

    def import_(
        self,
        source: str | PathLike[str] | Readable,
        *,
        name: str | None = None,
        slug: str | None = None,
    ) -> Project:
        """Store the project of a file that `export` wrote, as a new one, and return it.

        All of it is stored or nothing, in a unit too. Ids, versions and times begin anew.

        Parameters
        ----------
        source : path or binary stream
            Compressed by gzip or not: its bytes say it.
        name, slug : str, optional
            Other than in the file; a name without a slug makes one.

        Raises
        ------
        ProjectFileRefused
            The file is damaged, cut short, of another format, or holds a row that is refused; names the line.
        DuplicateRecord
            A project has that slug already: give another.
        """
        self._refuse_scope("import_")
        changes = _named(name, slug)
        with project_file.opened_for_reading(source) as stream:
            rows = project_file.read(stream, self.entities)
            with closing(rows), self._session.undoable() as session:
                first = next(rows)
                draft = first.draft.model_copy(update=changes)
                project, guarded = type(self)(session)._taken_over(draft)
                project_transfer.ProjectImport(session, project, guarded=guarded).store(rows)
        return project

    def _taken_over(self, draft: Any) -> tuple[Project, bool]:
        """Store a project whose metadata may break its own JSON Schema, as those of its rows may.

        Returns it, and whether row-level security holds.
        """
        _, values = self._creating(draft, self._new_id(None))
        *row, guarded = self._session.one(statements.create_and_tell(self.table), values)
        return self._fill(tuple(row)), guarded

    def _creating(self, draft: NewProject, id: UUID) -> tuple[Statement, list[Any]]:
        statement, values = super()._creating(draft, id)
        return statement, [*values, id]

    def _refuse_scope(self, call: str) -> None:
        if self._scoped:
            raise InvalidValue(f"{call}: this unit is held to one project, and a new one would be another")


def _named(name: str | None, slug: str | None) -> dict[str, Any]:
    """Return the validated name and slug that a copy gets in place of the original's."""
    given = {key: value for key, value in (("name", name), ("slug", slug)) if value is not None}
    changes = validated_changes(NewProject, given) if given else {}
    if name is not None and slug is None:
        changes["slug"] = NewProject(name=changes["name"]).slug
    return changes
