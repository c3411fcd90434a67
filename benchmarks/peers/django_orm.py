"""Django's ORM: a persistent connection, `bulk_create` in batches."""

from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

import django
from django.conf import settings
from django.db import close_old_connections, connection, models, transaction
from django.db.models.functions import Now

from benchmarks.side import COLUMNS, Row
from database_handler import DatabaseConfig


class Side:
    """The model is made here, for Django wants its settings first."""

    name: ClassVar[str] = "Django"

    def __init__(self, config: DatabaseConfig) -> None:
        arguments = config.connect_arguments()
        if not settings.configured:
            configure(arguments)
        connection.settings_dict["NAME"] = arguments["dbname"]
        self.model = _model()

    def get(self, id: UUID) -> Any:
        return self.model.objects.get(pk=id)

    def list(self, limit: int) -> Sequence[Any]:
        return list(self.model.objects.order_by("id")[:limit])

    def create_many(self, rows: Sequence[Row]) -> Sequence[Any]:
        objects = [self.model(**{name: row[name] for name in COLUMNS}) for row in rows]
        atomic: Any = transaction.atomic()
        with atomic:
            stored: Sequence[Any] = self.model.objects.bulk_create(objects, batch_size=1000)
        return stored

    def plain(self, found: Any) -> Row:
        return {name: getattr(found, name) for name in COLUMNS}

    def close(self) -> None:
        close_old_connections()
        connection.close()


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


def _model() -> Any:
    from django.contrib.postgres.fields import ArrayField

    class Project(models.Model):  # type: ignore[misc]  # Django brings no types
        """The table as it is."""

        id = models.UUIDField(primary_key=True)
        name = models.TextField()
        slug = models.TextField()
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
