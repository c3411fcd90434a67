"""database_handler, as its README says."""

from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

from benchmarks.side import COLUMNS, Row
from benchmarks.side import Side as AnySide
from database_handler import Change, Database, DatabaseConfig, NewProject

__all__ = ["Side"]


class Side(AnySide):
    """Frozen, validated models; ids are the library's own. The time of a write holds its validation."""

    name: ClassVar[str] = "database_handler"

    def __init__(self, config: DatabaseConfig) -> None:
        self.database = Database(config)

    def get(self, id: UUID) -> Any:
        return self.database.projects.get_by_id(id)

    def list(self, limit: int) -> Sequence[Any]:
        return self.database.projects.list(limit=limit)

    def create(self, row: Row) -> Any:
        return self.database.projects.create(_draft(row), id=row["id"])

    def update(self, id: UUID, description: str) -> object:
        return self.database.projects.update(id, description=description)

    def upsert(self, row: Row) -> object:
        return self.database.projects.upsert(_draft(row))

    def delete(self, id: UUID) -> object:
        return self.database.projects.delete(id)

    def unit(self, ids: Sequence[UUID]) -> object:
        with self.database.unit_of_work() as unit:
            return [unit.projects.get_by_id(id) for id in ids]

    def create_many(self, rows: Sequence[Row]) -> Sequence[Any]:
        drafts = [_draft(row) for row in rows]
        with self.database.unit_of_work() as unit:
            return unit.projects.create_many(drafts)

    def update_many(self, changed: Sequence[Row]) -> object:
        changes = [Change(id=row["id"], changes={"description": row["description"]}) for row in changed]
        return self.database.projects.update_many(changes)

    def upsert_many(self, rows: Sequence[Row]) -> object:
        return self.database.projects.upsert_many([_draft(row) for row in rows])

    def delete_many(self, ids: Sequence[UUID]) -> object:
        return self.database.projects.delete_many(ids)

    def plain(self, found: Any) -> Row:
        return {**{name: getattr(found, name) for name in COLUMNS}, "tags": list(found.tags)}

    def close(self) -> None:
        self.database.close()


def _draft(row: Row) -> NewProject:
    return NewProject(
        name=row["name"],
        slug=row["slug"],
        description=row["description"],
        status=row["status"],
        owner=row["owner"],
        tags=row["tags"],
        metadata=row["metadata"],
    )
