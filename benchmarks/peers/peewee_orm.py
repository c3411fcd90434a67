"""peewee: a persistent connection, `insert_many` in batches with RETURNING."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar
from uuid import UUID

import peewee
from playhouse.postgres_ext import ArrayField, BinaryJSONField, DateTimeTZField

from benchmarks.side import WRITTEN, Row
from benchmarks.side import Side as AnySide
from database_handler import DatabaseConfig

__all__ = ["Side"]

_BATCH = 1000


class Side(AnySide):
    """One database with its model."""

    name: ClassVar[str] = "peewee"
    orm: ClassVar[bool] = True

    def __init__(self, config: DatabaseConfig) -> None:
        arguments: dict[str, Any] = config.connect_arguments()
        self.database = peewee.PostgresqlDatabase(arguments.pop("dbname"), **arguments)
        self.model = _model(self.database)
        self.database.connect()

    def get(self, id: UUID) -> Any:
        return self.model.get_by_id(id)

    def list(self, limit: int) -> Sequence[Any]:
        return list(self.model.select().order_by(self.model.id).limit(limit))

    def create(self, row: Row) -> Any:
        return self.model.create(**row)

    def update(self, id: UUID, description: str) -> object:
        changed = {"description": description, "version": self.model.version + 1}
        return self._changed(changed).where(self.model.id == id).execute()

    def _changed(self, changed: dict[str, Any]) -> Any:
        return self.model.update(**changed, updated_at=peewee.fn.now())

    def upsert(self, row: Row) -> object:
        return self._upsert([row]).execute()

    def _upsert(self, rows: Sequence[Row]) -> Any:
        kept = [getattr(self.model, name) for name in (*WRITTEN, "version") if name != "slug"]
        return self.model.insert_many([dict(row) for row in rows]).on_conflict(
            conflict_target=[self.model.slug], preserve=kept, update={self.model.updated_at: peewee.fn.now()}
        )

    def delete(self, id: UUID) -> object:
        return self.model.delete_by_id(id)

    def unit(self, ids: Sequence[UUID]) -> object:
        with self.database.atomic():
            return [self.model.get_by_id(id) for id in ids]

    def create_many(self, rows: Sequence[Row]) -> Sequence[Any]:
        found = []
        with self.database.atomic():
            for batch in _batches(rows):
                found += self.model.insert_many(batch).returning(self.model).execute()
        return found

    def update_many(self, changed: Sequence[Row]) -> object:
        objects = [self.model(**row) for row in changed]
        with self.database.atomic():
            fields = [self.model.description, self.model.version]
            return self.model.bulk_update(objects, fields=fields, batch_size=_BATCH)

    def upsert_many(self, rows: Sequence[Row]) -> object:
        with self.database.atomic():
            return [self._upsert(batch).execute() for batch in _batches(rows)]

    def delete_many(self, ids: Sequence[UUID]) -> object:
        with self.database.atomic():
            return self.model.delete().where(self.model.id.in_(ids)).execute()

    def close(self) -> None:
        self.database.close()


def _batches(rows: Sequence[Row]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), _BATCH):
        yield [dict(row) for row in rows[start : start + _BATCH]]


def _model(on: Any) -> Any:
    class Project(peewee.Model):
        """The table as it is."""

        id = peewee.UUIDField(primary_key=True)
        name = peewee.TextField()
        slug = peewee.TextField(unique=True)
        description = peewee.TextField(null=True)
        status = peewee.TextField()
        owner = peewee.TextField(null=True)
        tags = ArrayField(peewee.TextField, index=False)  # pyright: ignore[reportArgumentType]  # too narrow there
        metadata = BinaryJSONField(index=False)
        version = peewee.BigIntegerField()
        created_at = DateTimeTZField(constraints=[peewee.SQL("DEFAULT now()")])
        updated_at = DateTimeTZField(constraints=[peewee.SQL("DEFAULT now()")])

        class Meta:
            database = on
            table_name = "projects"

    return Project
