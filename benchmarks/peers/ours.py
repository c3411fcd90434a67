"""database_handler, as its README says."""

from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

from benchmarks.side import COLUMNS, Row
from database_handler import Database, DatabaseConfig, NewProject


class Side:
    """Frozen, validated models; ids are the library's own."""

    name: ClassVar[str] = "database_handler"

    def __init__(self, config: DatabaseConfig) -> None:
        self.database = Database(config)

    def get(self, id: UUID) -> Any:
        return self.database.projects.get_by_id(id)

    def list(self, limit: int) -> Sequence[Any]:
        return self.database.projects.list(limit=limit)

    def create_many(self, rows: Sequence[Row]) -> Sequence[Any]:
        drafts = [NewProject(**{n: row[n] for n in COLUMNS if n not in {"id", "version"}}) for row in rows]
        with self.database.unit_of_work() as uow:
            return uow.projects.create_many(drafts)

    def plain(self, found: Any) -> Row:
        return {**{name: getattr(found, name) for name in COLUMNS}, "tags": list(found.tags)}

    def close(self) -> None:
        self.database.close()
