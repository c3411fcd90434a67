"""SQLAlchemy 2.1, ORM and Core, as its pages on bulk work advise.

A pooled engine, `executemany_mode="values_plus_batch"` for psycopg2, no expiry on commit, the ORM's bulk
INSERT with RETURNING, its bulk UPDATE by primary key, and `ON CONFLICT` for the upsert.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import Engine, bindparam, create_engine, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql import insert as upserting
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker
from sqlalchemy.types import BigInteger, Text

from benchmarks.side import COLUMNS, WRITTEN, Row
from benchmarks.side import Side as AnySide
from database_handler import DatabaseConfig

__all__ = ["NULLS", "CoreSide", "Project", "Side", "engine_of", "mapped", "plain"]


NULLS = {"render_nulls": True}  # or rows with a None go in apart from those beside them


class Base(DeclarativeBase):
    """The registry of this side."""


class Project(Base):
    """The table as it is."""

    __tablename__ = "projects"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    slug: Mapped[str] = mapped_column(Text, unique=True)
    description: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    owner: Mapped[str | None] = mapped_column(Text)
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    meta: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB)
    version: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


def engine_of(config: DatabaseConfig, **options: Any) -> Engine:
    """Make the engine that all sides over SQLAlchemy share in kind."""
    return create_engine(
        "postgresql+psycopg2://",
        connect_args=config.connect_arguments(),
        executemany_mode="values_plus_batch",
        **options,
    )


def mapped(row: Row) -> dict[str, Any]:
    """Return a row by the attributes of the model, where `metadata` is taken."""
    return {("meta" if name == "metadata" else name): row[name] for name in COLUMNS}


def plain(found: Any) -> Row:
    """Return an object as a row."""
    return {name: getattr(found, "meta" if name == "metadata" else name) for name in COLUMNS}


def _upsert(into: Any) -> Any:
    statement = upserting(into)
    names = [name for name in (*WRITTEN, "version") if name != "slug"]
    setting = {name: statement.excluded[name] for name in names}
    return statement.on_conflict_do_update(
        index_elements=["slug"], set_={**setting, "updated_at": func.now()}
    )


class Side(AnySide):
    """Sessions of one engine."""

    name: ClassVar[str] = "SQLAlchemy ORM"
    orm: ClassVar[bool] = True

    def __init__(self, config: DatabaseConfig) -> None:
        self.engine = engine_of(config)
        self.session: sessionmaker[Session] = sessionmaker(self.engine, expire_on_commit=False)

    def get(self, id: UUID) -> Any:
        with self.session() as session:
            return session.get(Project, id)

    def list(self, limit: int) -> Sequence[Any]:
        with self.session() as session:
            return session.scalars(select(Project).order_by(Project.id).limit(limit)).all()

    def create(self, row: Row) -> Any:
        made = Project(**mapped(row))
        with self.session() as session, session.begin():
            session.add(made)
        return made

    def update(self, id: UUID, description: str) -> object:
        changed = {"description": description, "version": Project.version + 1}
        with self.session() as session, session.begin():
            statement = update(Project).where(Project.id == id).values(changed).returning(Project)
            return session.scalars(statement).one()

    def upsert(self, row: Row) -> object:
        with self.session() as session, session.begin():
            return session.execute(_upsert(Project).values(mapped(row))).rowcount  # type: ignore[attr-defined]

    def delete(self, id: UUID) -> object:
        with self.session() as session, session.begin():
            return session.execute(delete(Project).where(Project.id == id))

    def unit(self, ids: Sequence[UUID]) -> object:
        with self.session() as session, session.begin():
            return [session.get(Project, id) for id in ids]

    def create_many(self, rows: Sequence[Row]) -> Sequence[Any]:
        statement = insert(Project).returning(Project, sort_by_parameter_order=True)
        with self.session() as session, session.begin():
            return session.scalars(statement, [mapped(row) for row in rows], execution_options=NULLS).all()

    def update_many(self, changed: Sequence[Row]) -> object:
        with self.session() as session, session.begin():
            return session.execute(update(Project), [dict(row) for row in changed])

    def upsert_many(self, rows: Sequence[Row]) -> object:
        with self.session() as session, session.begin():
            return session.execute(_upsert(Project), [mapped(row) for row in rows], execution_options=NULLS)

    def delete_many(self, ids: Sequence[UUID]) -> object:
        with self.session() as session, session.begin():
            return session.execute(delete(Project).where(Project.id.in_(ids)))

    def plain(self, found: Any) -> Row:
        return plain(found)

    def close(self) -> None:
        self.engine.dispose()


class CoreSide(AnySide):
    """Rows without a model; one connection in autocommit for what is one statement."""

    name: ClassVar[str] = "SQLAlchemy Core"
    table: ClassVar[Any] = Project.__table__

    def __init__(self, config: DatabaseConfig) -> None:
        self.engine = engine_of(config)
        self.single = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    def _one(self, statement: Any, values: Mapping[str, Any] | None = None) -> Any:
        with self.single.connect() as connection:
            result = connection.execute(statement, values)
            return result.all() if result.returns_rows else result.rowcount

    def get(self, id: UUID) -> Any:
        return self._one(select(self.table).where(self.table.c.id == id))[0]

    def list(self, limit: int) -> Sequence[Any]:
        found: Sequence[Any] = self._one(select(self.table).order_by(self.table.c.id).limit(limit))
        return found

    def create(self, row: Row) -> Any:
        return self._one(insert(self.table).returning(self.table), dict(row))[0]

    def update(self, id: UUID, description: str) -> object:
        statement = update(self.table).where(self.table.c.id == id).returning(self.table)
        return self._one(statement.values(description=description, version=self.table.c.version + 1))

    def upsert(self, row: Row) -> object:
        return self._one(_upsert(self.table), dict(row))

    def delete(self, id: UUID) -> object:
        return self._one(delete(self.table).where(self.table.c.id == id))

    def unit(self, ids: Sequence[UUID]) -> object:
        with self.engine.begin() as connection:
            return [connection.execute(select(self.table).where(self.table.c.id == id)).one() for id in ids]

    def create_many(self, rows: Sequence[Row]) -> Sequence[Any]:
        statement = insert(self.table).returning(self.table, sort_by_parameter_order=True)
        with self.engine.begin() as connection:
            return connection.execute(statement, [dict(row) for row in rows]).all()

    def update_many(self, changed: Sequence[Row]) -> object:
        setting: dict[str, Any] = {"description": bindparam("description_"), "version": bindparam("version_")}
        statement = update(self.table).where(self.table.c.id == bindparam("id_")).values(**setting)
        with self.engine.begin() as connection:
            sent = [{f"{name}_": value for name, value in row.items()} for row in changed]
            return connection.execute(statement, sent)

    def upsert_many(self, rows: Sequence[Row]) -> object:
        with self.engine.begin() as connection:
            return connection.execute(_upsert(self.table), [dict(row) for row in rows])

    def delete_many(self, ids: Sequence[UUID]) -> object:
        with self.engine.begin() as connection:
            return connection.execute(delete(self.table).where(self.table.c.id.in_(ids)))

    def close(self) -> None:
        self.engine.dispose()
