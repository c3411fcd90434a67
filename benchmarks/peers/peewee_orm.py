"""peewee: a persistent connection, `insert_many` in batches with RETURNING."""

from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

import peewee
from playhouse.postgres_ext import ArrayField, BinaryJSONField, DateTimeTZField

from benchmarks.side import COLUMNS, Row
from database_handler import DatabaseConfig

_BATCH = 1000


class Side:
    """One database with its model."""

    name: ClassVar[str] = "peewee"

    def __init__(self, config: DatabaseConfig) -> None:
        arguments: dict[str, Any] = config.connect_arguments()
        self.database = peewee.PostgresqlDatabase(arguments.pop("dbname"), **arguments)
        self.model = _model(self.database)
        self.database.connect()

    def get(self, id: UUID) -> Any:
        return self.model.get_by_id(id)

    def list(self, limit: int) -> Sequence[Any]:
        return list(self.model.select().order_by(self.model.id).limit(limit))

    def create_many(self, rows: Sequence[Row]) -> Sequence[Any]:
        found: list[Any] = []
        with self.database.atomic():
            for start in range(0, len(rows), _BATCH):
                batch = [dict(row) for row in rows[start : start + _BATCH]]
                found += self.model.insert_many(batch).returning(self.model).execute()
        return found

    def plain(self, found: Any) -> Row:
        return {name: getattr(found, name) for name in COLUMNS}

    def close(self) -> None:
        self.database.close()


def _model(on: Any) -> Any:
    class Project(peewee.Model):
        """The table as it is."""

        id = peewee.UUIDField(primary_key=True)
        name = peewee.TextField()
        slug = peewee.TextField()
        description = peewee.TextField(null=True)
        status = peewee.TextField()
        owner = peewee.TextField(null=True)
        tags = ArrayField(peewee.TextField, index=False)  # pyright: ignore[reportArgumentType]  # too narrow there
        metadata = BinaryJSONField(index=False)
        version = peewee.BigIntegerField()
        created_at = DateTimeTZField()
        updated_at = DateTimeTZField()

        class Meta:
            database = on
            table_name = "projects"

    return Project
