"""SQLAlchemy 2 ORM: a pooled engine, a session a unit, bulk insert by `add_all`, no expiry on commit."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import create_engine, func, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.types import Text

from benchmarks.side import COLUMNS, Row
from database_handler import DatabaseConfig


class Base(DeclarativeBase):
    """The registry of this side."""


class Project(Base):
    """The table as it is."""

    __tablename__ = "projects"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    slug: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    owner: Mapped[str | None] = mapped_column(Text)
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB)
    version: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Side:
    """One engine with its pool."""

    name: ClassVar[str] = "SQLAlchemy ORM"

    def __init__(self, config: DatabaseConfig) -> None:
        arguments = config.connect_arguments()
        self.engine = create_engine("postgresql+psycopg2://", connect_args=arguments)
        self.session: sessionmaker[Session] = sessionmaker(self.engine, expire_on_commit=False)

    def get(self, id: UUID) -> Any:
        with self.session() as session:
            return session.get(Project, id)

    def list(self, limit: int) -> Sequence[Any]:
        with self.session() as session:
            return session.scalars(select(Project).order_by(Project.id).limit(limit)).all()

    def create_many(self, rows: Sequence[Row]) -> Sequence[Any]:
        objects = [Project(**{("meta" if n == "metadata" else n): row[n] for n in COLUMNS}) for row in rows]
        with self.session() as session, session.begin():
            session.add_all(objects)
        return objects

    def plain(self, found: Any) -> Row:
        return {name: getattr(found, "meta" if name == "metadata" else name) for name in COLUMNS}

    def close(self) -> None:
        self.engine.dispose()
