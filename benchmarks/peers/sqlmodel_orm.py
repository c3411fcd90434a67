"""SQLModel: SQLAlchemy's session and statements over classes that are pydantic models as well."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import Column, DateTime, delete, func, insert, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import insert as upserting
from sqlalchemy.types import BigInteger, Text
from sqlmodel import Field, Session, SQLModel, col, select

from benchmarks.peers.sqlalchemy_orm import NULLS, engine_of, mapped, plain
from benchmarks.side import WRITTEN, Row
from benchmarks.side import Side as AnySide
from database_handler import DatabaseConfig

__all__ = ["Side"]


def _moment() -> Any:
    return Column(DateTime(timezone=True), server_default=func.now(), nullable=False)


class Project(SQLModel, table=True):
    """The table as it is."""

    __tablename__ = "projects"  # pyright: ignore[reportAssignmentType]  # as its own pages write it

    id: UUID = Field(primary_key=True)
    name: str
    slug: str = Field(unique=True)
    description: str | None = None
    status: str
    owner: str | None = None
    tags: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    meta: dict[str, Any] = Field(sa_column=Column("metadata", JSONB, nullable=False))
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime | None = Field(default=None, sa_column=_moment())
    updated_at: datetime | None = Field(default=None, sa_column=_moment())


class Side(AnySide):
    """A session for each unit of work."""

    name: ClassVar[str] = "SQLModel"
    orm: ClassVar[bool] = True

    def __init__(self, config: DatabaseConfig) -> None:
        self.engine = engine_of(config)

    def _session(self) -> Session:
        return Session(self.engine, expire_on_commit=False)

    def get(self, id: UUID) -> Any:
        with self._session() as session:
            return session.get(Project, id)

    def list(self, limit: int) -> Sequence[Any]:
        with self._session() as session:
            return session.exec(select(Project).order_by(col(Project.id)).limit(limit)).all()

    def create(self, row: Row) -> Any:
        made = Project(**mapped(row))
        with self._session() as session:
            session.add(made)
            session.commit()
        return made

    def update(self, id: UUID, description: str) -> object:
        with self._session() as session:
            found = session.get_one(Project, id)
            found.description, found.version = description, found.version + 1
            session.commit()
            return found

    def delete(self, id: UUID) -> object:
        with self._session() as session:
            session.delete(session.get_one(Project, id))
            session.commit()
            return None

    def unit(self, ids: Sequence[UUID]) -> object:
        with self._session() as session, session.begin():
            return [session.get(Project, id) for id in ids]

    def create_many(self, rows: Sequence[Row]) -> Sequence[Any]:
        statement = insert(Project).returning(Project, sort_by_parameter_order=True)
        with self._session() as session, session.begin():
            return session.scalars(statement, [mapped(row) for row in rows], execution_options=NULLS).all()

    def update_many(self, changed: Sequence[Row]) -> object:
        with self._session() as session, session.begin():
            return session.execute(update(Project), [dict(row) for row in changed])

    def upsert_many(self, rows: Sequence[Row]) -> object:
        statement = upserting(Project)
        names = [name for name in (*WRITTEN, "version") if name != "slug"]
        setting = {name: statement.excluded[name] for name in names}
        statement = statement.on_conflict_do_update(
            index_elements=["slug"], set_={**setting, "updated_at": func.now()}
        )
        with self._session() as session, session.begin():
            return session.execute(statement, [mapped(row) for row in rows], execution_options=NULLS)

    def delete_many(self, ids: Sequence[UUID]) -> object:
        with self._session() as session, session.begin():
            return session.execute(delete(Project).where(col(Project.id).in_(ids)))

    def plain(self, found: Any) -> Row:
        return plain(found)

    def close(self) -> None:
        self.engine.dispose()
