"""Django's ORM: a persistent connection, its bulk calls in batches."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar
from uuid import UUID

import django
from django.conf import settings
from django.db import close_old_connections, connection, connections, models, transaction
from django.db.models.functions import Now

from benchmarks.side import WRITTEN, Row
from benchmarks.side import Side as AnySide
from database_handler import DatabaseConfig

__all__ = ["Side", "configure"]

_BATCH = 1000


class Side(AnySide):
    """The model is made here, for Django wants its settings first."""

    name: ClassVar[str] = "Django"
    orm: ClassVar[bool] = True

    def __init__(self, config: DatabaseConfig) -> None:
        arguments = config.connect_arguments()
        if not settings.configured:
            configure(arguments)
        for given, setting in (("dbname", "NAME"), ("host", "HOST"), ("port", "PORT")):
            connection.settings_dict[setting] = str(arguments[given])
        connection.close()  # of a side before this one, elsewhere
        self.model = _made_model()

    def get(self, id: UUID) -> Any:
        return self.model.objects.get(pk=id)

    def list(self, limit: int) -> Sequence[Any]:
        return list(self.model.objects.order_by("id")[:limit])

    def create(self, row: Row) -> Any:
        return self.model.objects.create(**row)

    def update(self, id: UUID, description: str) -> object:
        changed = {"description": description, "version": models.F("version") + 1, "updated_at": Now()}
        return self.model.objects.filter(pk=id).update(**changed)

    def upsert(self, row: Row) -> object:
        return self.upsert_many([row])

    def delete(self, id: UUID) -> object:
        return self.model.objects.filter(pk=id).delete()

    def unit(self, ids: Sequence[UUID]) -> object:
        with _atomic():
            return [self.model.objects.get(pk=id) for id in ids]

    def create_many(self, rows: Sequence[Row]) -> Sequence[Any]:
        with _atomic():
            stored: Sequence[Any] = self.model.objects.bulk_create(
                [self.model(**row) for row in rows], batch_size=_BATCH
            )
        return stored

    def update_many(self, changed: Sequence[Row]) -> object:
        with _atomic():
            return self.model.objects.bulk_update(
                [self.model(**row) for row in changed], ["description", "version"], batch_size=_BATCH
            )

    def upsert_many(self, rows: Sequence[Row]) -> object:
        names = [name for name in (*WRITTEN, "version") if name != "slug"]
        with _atomic():
            return self.model.objects.bulk_create(
                [self.model(**row) for row in rows],
                batch_size=_BATCH,
                update_conflicts=True,
                unique_fields=["slug"],
                update_fields=[*names, "updated_at"],
            )

    def delete_many(self, ids: Sequence[UUID]) -> object:
        with _atomic():
            return self.model.objects.filter(pk__in=ids).delete()

    def close(self) -> None:
        close_old_connections()
        connections.close_all()


def _atomic() -> Any:
    return transaction.atomic()


def configure(arguments: dict[str, Any]) -> None:
    """Give Django its settings, once a process."""
    options = {name: arguments[name] for name in ("sslmode", "options") if name in arguments}
    settings.configure(
        USE_TZ=True,
        INSTALLED_APPS=[],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": arguments["dbname"],
                "HOST": arguments["host"],
                "PORT": str(arguments.get("port", "")),
                "USER": arguments.get("user", ""),
                "PASSWORD": arguments.get("password", ""),
                "CONN_MAX_AGE": None,
                "OPTIONS": options,
            }
        },
    )
    django.setup()


@lru_cache
def _made_model() -> Any:
    from django.contrib.postgres.fields import ArrayField

    class Project(models.Model):  # type: ignore[misc]  # Django brings no types
        """The table as it is."""

        id = models.UUIDField(primary_key=True)
        name = models.TextField()
        slug = models.TextField(unique=True)
        description = models.TextField(null=True)
        status = models.TextField()
        owner = models.TextField(null=True)
        tags = ArrayField(models.TextField())
        metadata = models.JSONField()
        version = models.BigIntegerField()
        created_at = models.DateTimeField(db_default=Now())
        updated_at = models.DateTimeField(db_default=Now())

        class Meta:
            app_label = "benchmarks"
            db_table = "projects"
            managed = False

    return Project
