"""Two guides are followed in processes of their own, each beside a library that a test run should not import.

A process has one Django, whose settings are given once; advanced-alchemy warns when it is imported, and here
warnings are errors. The guide from SQLModel runs with all other pages, in `test_readme`.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg2 import sql

from database_handler.config.database import DatabaseConfig
from database_handler.config.settings import VARIABLES
from database_handler.core.connection import dedicated
from database_handler.core.transaction import Autocommit
from tests.support.pages import blocks

DOCS = Path(__file__).resolve().parents[2] / "docs"
PROJECT = """
import os

import django
from django.conf import settings
from psycopg2.extensions import parse_dsn

given = parse_dsn(os.environ["DATABASE_URL"])
names = {"dbname": "NAME", "host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD"}
place = {names[name]: value for name, value in given.items() if name in names}
settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", **place}})
django.setup()
"""
LAST = """
with Database.from_settings() as after:
    columns = "SELECT count(*) FROM information_schema.columns WHERE table_name = 'films'"
    print(after.session.one("SELECT count(*) FROM films"), after.session.one(columns))
"""


@pytest.fixture
def url(database_server: DatabaseConfig) -> Iterator[str]:
    """An empty database."""
    admin = Autocommit(lambda: dedicated(database_server.with_(name="postgres"))).session
    name = f"guide_{uuid4().hex}"
    admin.run(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield database_server.with_(name=name).url(hide_password=False)
    admin.run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.mark.parametrize(
    ("page", "before", "columns"),
    [("from_django.md", PROJECT, 7), ("from_advanced_alchemy.md", "", 6)],
    ids=["django", "advanced-alchemy"],
)
def test_the_guide_is_true(page: str, before: str, columns: int, url: str, tmp_path: Path) -> None:
    program = tmp_path / "guide.py"
    program.write_text(
        "\n".join([before, *(block.code for block in blocks(DOCS / page, "python")), LAST]), "utf-8"
    )
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", str(program)],
        cwd=tmp_path,
        env=kept | {"DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"(3,) ({columns},)\n"), done.stderr
