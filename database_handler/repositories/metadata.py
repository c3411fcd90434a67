"""Metadata keeps to the JSON Schema that its project binds it to, as the project stands when it is written.

A project holds its schemas in ``metadata_schemas``. What a program knows of them is kept in a `SchemaBook`,
and every write carries a mark of what it was checked against: where the project's schema is another one by
now, the statement writes nothing, the schema is read, and the write is checked and sent again. So a write to
a project without schemas costs no round trip more, and no write is checked against an old schema.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from threading import Lock
from typing import Any, TypeVar
from uuid import UUID

from pydantic_core import to_json

from database_handler.core.exceptions import InvalidValue, TransientError
from database_handler.core.schema import TENANT, Table
from database_handler.core.session import Session
from database_handler.repositories import statements
from database_handler.utils.json_schemas import violations

__all__ = ["MetadataCheck", "SchemaBook"]

T = TypeVar("T")
_KEPT = 10_000  # projects and entities
_TRIES = 5  # of a write while others go on binding schemas
_UNBOUND = 0  # the mark of an entity without a schema

Schema = Mapping[str, Any]


class BrokenSchema(InvalidValue):
    """Metadata breaks the JSON Schema that its project was last known to have."""


class SchemaBook:
    """The schemas that a program has met, by project and entity; safe between threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[UUID, str], tuple[int, Schema]] = OrderedDict()
        self._lock = Lock()

    def get(self, project_id: UUID, entity: str) -> tuple[int, Schema | None]:
        """Return the mark and the schema last met; one never met is taken for none."""
        return self._known.get((project_id, entity), (_UNBOUND, None))

    def put(self, project_id: UUID, entity: str, mark: int, schema: Schema | None) -> None:
        """Keep what was read; the oldest are forgotten, which costs their next write a round trip."""
        with self._lock:
            self._known.pop((project_id, entity), None)
            if schema is not None:
                self._known[project_id, entity] = (mark, schema)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)


_place = itemgetter(0)


class MetadataCheck:
    """Checks the metadata that one repository writes, and gives the marks that go with the write."""

    def __init__(self, session: Session, table: Table, book: SchemaBook) -> None:
        self._session, self._table, self._book = session, table, book

    def mark(self, draft: Any) -> list[Any]:
        """Check one draft; return its project and the mark of the schema that it keeps to."""
        if not self._table.keeps_metadata:
            self._hold_itself(draft)
            return []
        project = getattr(draft, TENANT)
        return [project, self.checked(project, draft.metadata, None)]

    def marks(self, drafts: Sequence[Any], places: Sequence[int] | None = None) -> list[str]:
        """Check many drafts; return the marks by project as JSON.

        Parameters
        ----------
        places : sequence of int, optional
            Where each stood in the call, for the error, which is about the first that is wrong.
        """
        placed = enumerate(drafts) if places is None else zip(places, drafts, strict=True)
        if not self._table.keeps_metadata:
            if self._table.name == statements.PROJECTS:
                for place, draft in sorted((each for each in placed if each[1].metadata_schemas), key=_place):
                    self._hold_itself(draft, place)
            return []
        projects = {getattr(draft, TENANT) for draft in drafts}
        known = {project: self._book.get(project, self._table.name) for project in projects}
        if any(schema is not None for _, schema in known.values()):
            for place, draft in sorted(placed, key=_place):
                self.checked(getattr(draft, TENANT), draft.metadata, place)
        return [to_json({str(project): mark for project, (mark, _) in known.items()}).decode()]

    def change_mark(self, valid: Schema, project: UUID | None, met: Sequence[Any]) -> list[int]:
        """Check the change of one record; return the mark of the schema that it keeps to.

        Parameters
        ----------
        met : sequence of Record
            The record, once it was seen: before that, and without a project given, there is taken to be none.
        """
        if not statements.marked(self._table, valid):
            self._hold_change(valid)
            return []
        known = self.project_of(met[0]) if met else project
        return [_UNBOUND if known is None else self.checked(known, valid["metadata"])]

    def change_marks(
        self,
        names: Sequence[str],
        partial: Sequence[str],
        changes: Mapping[int, Schema],
        met: Mapping[int, Any],
    ) -> list[str]:
        """Check the changes of the records met, by position; return the marks by project as JSON."""
        if "metadata_schemas" in names:
            for place, valid in changes.items():
                self._hold_change(valid, place)
        if not statements.marked(self._table, names, partial):
            return []
        found: dict[str, int] = {}
        for place, record in met.items():
            if statements.marked(self._table, changes[place]):
                project = self.project_of(record)
                found[str(project)] = self.checked(project, changes[place]["metadata"], place)
        return [to_json(found).decode()]

    def _hold_itself(self, draft: Any, place: int | None = None) -> None:
        """Hold a project to the schema that it brings for itself."""
        if self._table.name == statements.PROJECTS:
            self._hold_change({"metadata": draft.metadata, "metadata_schemas": draft.metadata_schemas}, place)

    def _hold_change(self, valid: Schema, place: int | None = None) -> None:
        if {"metadata", "metadata_schemas"} <= valid.keys():
            schema = valid["metadata_schemas"].get(self._table.name)
            if schema is not None:
                hold(self._table.name, schema, valid["metadata"], place)

    def project_of(self, record: Any) -> UUID:
        """Return the project of a record; a project is its own."""
        project: UUID = getattr(record, self._table.scope_column)
        return project

    def checked(self, project: UUID, document: Schema, place: int | None = None) -> int:
        """Hold one document to what is known of its project; return the mark of that."""
        mark, schema = self._book.get(project, self._table.name)
        if schema is not None:
            hold(self._table.name, schema, document, place, BrokenSchema)
        return mark

    def sent(
        self, projects: Callable[[], Iterable[UUID]], send: Callable[[], T], wrote: Callable[[T], bool]
    ) -> T:
        """Send a write until the schemas that it was checked against are those of its projects.

        A refusal by a schema that was met before is believed only once that was read again.
        """
        read_again = False
        for _ in range(_TRIES):
            try:
                answer = send()
            except BrokenSchema as refused:
                if read_again:
                    refusal = InvalidValue(str(refused), columns=refused.columns)
                    break
            else:
                if wrote(answer):
                    return answer
            self.learn(set(projects()))
            read_again = True
        else:
            raise self._changing()
        raise refusal

    def _changing(self) -> TransientError:
        return TransientError(
            f"{self._table.name}: the project's JSON Schemas were changed again and again while this was "
            "written; nothing was written",
            table=self._table.name,
        )

    def learn(self, projects: Iterable[UUID]) -> None:
        """Read the schemas of some projects as they stand; one that is gone has none."""
        asked = list(projects)
        rows = self._session.all(statements.schemas(self._table), [asked])
        found = {project: (mark, schema) for project, mark, schema in rows}
        for project in asked:
            self._book.put(project, self._table.name, *found.get(project, (_UNBOUND, None)))


def hold(
    entity: str,
    schema: Schema,
    document: Schema,
    place: int | None = None,
    refusal: type[InvalidValue] = InvalidValue,
) -> None:
    """Refuse a document that breaks the schema, naming where; `place` is its position in a bulk call."""
    try:
        problems = violations(schema, document)
        told = f"metadata breaks the JSON Schema of its project: {'; '.join(problems)}"
    except InvalidValue as error:  # the schema's own fault; it too may be another one by now
        problems, told = [str(error)], str(error)
    if problems:
        where = "" if place is None else f"position {place}: "
        raise refusal(f"{entity}: {where}{told}", columns=["metadata"])
