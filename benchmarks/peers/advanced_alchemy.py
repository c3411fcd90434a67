"""advanced-alchemy's repository over SQLAlchemy's session, nothing refreshed or expired."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from advanced_alchemy.filters import LimitOffset
from advanced_alchemy.repository import SQLAlchemySyncRepository
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.peers.sqlalchemy_orm import Project, engine_of, mapped, plain
from benchmarks.side import Row
from benchmarks.side import Side as AnySide
from database_handler import DatabaseConfig

__all__ = ["Side"]

T = TypeVar("T")


class Projects(SQLAlchemySyncRepository[Any]):
    """The repository of the table."""

    model_type = Project


class Side(AnySide):
    """A session and a repository for each unit of work, as its pages show."""

    name: ClassVar[str] = "advanced-alchemy"
    orm: ClassVar[bool] = True

    def __init__(self, config: DatabaseConfig) -> None:
        self.engine = engine_of(config)
        self.session: sessionmaker[Session] = sessionmaker(self.engine, expire_on_commit=False)

    def _reading(self, work: Callable[[Projects], T]) -> T:
        with self.session() as session:
            return work(Projects(session=session, auto_refresh=False))

    def _writing(self, work: Callable[[Projects], T]) -> T:
        with self.session() as session, session.begin():
            return work(Projects(session=session, auto_refresh=False))

    def get(self, id: UUID) -> Any:
        return self._reading(lambda projects: projects.get(id))

    def list(self, limit: int) -> Sequence[Any]:
        return self._reading(
            lambda projects: projects.get_many(LimitOffset(limit, 0), order_by=("id", False))
        )

    def create(self, row: Row) -> Any:
        return self._writing(lambda projects: projects.add(Project(**mapped(row))))

    def update(self, id: UUID, description: str) -> object:
        def work(projects: Projects) -> object:
            found = projects.get(id)
            found.description, found.version = description, found.version + 1
            return projects.update(found)

        return self._writing(work)

    def upsert(self, row: Row) -> object:
        return self._writing(lambda projects: projects.upsert(Project(**mapped(row)), match_fields=["slug"]))

    def delete(self, id: UUID) -> object:
        return self._writing(lambda projects: projects.delete(id))

    def unit(self, ids: Sequence[UUID]) -> object:
        return self._writing(lambda projects: [projects.get(id) for id in ids])

    def create_many(self, rows: Sequence[Row]) -> Sequence[Any]:
        return self._writing(lambda projects: projects.add_many([Project(**mapped(row)) for row in rows]))

    def update_many(self, changed: Sequence[Row]) -> object:
        return self._writing(lambda projects: projects.update_many([Project(**row) for row in changed]))

    def upsert_many(self, rows: Sequence[Row]) -> object:
        objects = [Project(**mapped(row)) for row in rows]
        return self._writing(lambda projects: projects.upsert_many(objects, match_fields=["slug"]))

    def delete_many(self, ids: Sequence[UUID]) -> object:
        return self._writing(lambda projects: projects.delete_many([*ids]))

    def plain(self, found: Any) -> Row:
        return plain(found)

    def close(self) -> None:
        self.engine.dispose()
