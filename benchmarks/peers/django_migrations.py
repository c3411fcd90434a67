"""Django: introspection as `inspectdb` does it, the autodetector over two states, versions as operations."""

import sys
from pathlib import Path
from typing import Any, ClassVar

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import connection, models
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.state import ModelState, ProjectState

from benchmarks.migrations import CHANGED, TABLES, VERSIONS
from benchmarks.peers.django_orm import configure
from database_handler import DatabaseConfig

APP = "benchmark_steps"


class Tool:
    """Django as a program calls it."""

    name: ClassVar[str] = "Django"

    def __init__(self, config: DatabaseConfig) -> None:
        if not settings.configured:
            configure(config.connect_arguments())
        self._same, self._changed = _state(changed=False), _state(changed=True)

    def read(self, config: DatabaseConfig) -> int:
        _use(config)
        with connection.cursor() as cursor:
            tables = connection.introspection.get_table_list(cursor)
            for table in tables:
                connection.introspection.get_table_description(cursor, table.name)
                connection.introspection.get_constraints(cursor, table.name)
        connection.close()
        return len(tables)

    def compare(self, config: DatabaseConfig, *, changed: bool) -> int:
        del config  # it looks at its files only
        wanted = self._changed if changed else self._same
        found: Any = MigrationAutodetector(self._same, wanted)._detect_changes()
        return len({o.model_name for of_app in found.values() for each in of_app for o in each.operations})

    def write_versions(self, folder: Path) -> None:
        package = folder / APP
        (package / "migrations").mkdir(parents=True)
        for name in ("__init__.py", "models.py", "migrations/__init__.py"):
            (package / name).write_text("", encoding="utf-8")
        for number in range(1, VERSIONS + 1):
            file = package / "migrations" / f"{number:04}_step.py"
            file.write_text(_version(number), encoding="utf-8")
        sys.path.insert(0, str(folder))
        apps.set_installed_apps([APP])

    def migrate(self, config: DatabaseConfig) -> None:
        _use(config)
        call_command("migrate", verbosity=0)
        connection.close()


def _use(config: DatabaseConfig) -> None:
    connection.close()
    connection.settings_dict["NAME"] = config.name


def _state(*, changed: bool) -> ProjectState:
    found = ProjectState()
    for number in range(TABLES):
        odd = changed and number % (TABLES // CHANGED) == 0
        extra = [("extra", models.TextField(null=True))] if odd and number % 20 == 0 else []
        fields = [
            ("id", models.UUIDField(primary_key=True)),
            ("parent", models.ForeignKey(f"large.t{number // 2:04}", models.CASCADE, null=True)),
            ("name", models.TextField()),
            ("slug", models.TextField(unique=True)),
            ("note", models.TextField(null=not (odd and not extra), default="")),
            ("amount", models.BigIntegerField(null=True)),
            ("share", models.FloatField(null=True)),
            ("active", models.BooleanField()),
            ("details", models.JSONField(null=True)),
            ("made_at", models.DateTimeField(null=True)),
            *extra,
        ]
        index = models.Index(fields=["active", "made_at"], name=f"t_{number:04}_made_idx")
        found.add_model(ModelState("large", f"T{number:04}", fields, {"indexes": [index]}))
    return found


def _version(number: int) -> str:
    below = f'("{APP}", "{number - 1:04}_step")' if number > 1 else ""
    model = f"Step{(number - 1) // 2}"
    if number % 2:
        operations = (
            f'migrations.CreateModel("{model}", [("id", models.BigIntegerField(primary_key=True)), '
            '("name", models.TextField())])'
        )
    else:
        operations = (
            f'migrations.AddField("{model}", "note", models.TextField(null=True)), '
            f'migrations.AddIndex("{model}", models.Index(fields=["note"], name="{model}_note_idx"))'
        )
    return (
        "from django.db import migrations, models\n\n\n"
        "class Migration(migrations.Migration):\n"
        f"    dependencies = [{below}]\n    operations = [{operations}]\n"
    )
