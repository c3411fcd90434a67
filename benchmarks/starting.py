"""Start-up: what importing costs, each time in a Python of its own, its own start taken off."""

import os
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.figures import OURS, Row
from benchmarks.part import Context, Part

__all__ = ["PARTS"]

NAME, WITH_DATABASE = "import", "import, with what a program starts with"
LIMIT = "psycopg2, pydantic, structlog"
DATABASE = "from database_handler import Database"
PEERS = {
    "SQLAlchemy ORM": "import sqlalchemy.orm, psycopg2",
    "SQLModel": "import sqlmodel, psycopg2",
    "advanced-alchemy": "import advanced_alchemy.repository, psycopg2",
    "Django": "import django.db.models, psycopg2",
    "peewee": "import peewee, psycopg2",
    "psycopg 3": "import psycopg",
    "asyncpg": "import asyncpg",
}
IMPORTS = {LIMIT: f"import {LIMIT}", OURS: "import database_handler", DATABASE: DATABASE, **PEERS}


def _imports(context: Context) -> Iterator[Row]:
    figures: dict[str, list[float]] = {side: [] for side in IMPORTS}
    for number in context.tracked(NAME, 2 * context.rounds + 1):
        nothing = _seconds("pass")
        for side, code in IMPORTS.items():
            seconds = _seconds(code)
            if number:  # the first compiles
                figures[side].append(max(seconds - nothing, 0.01))
    limit, alone, database = (figures.pop(side) for side in (LIMIT, OURS, DATABASE))
    note = "processor time, without the start of Python"
    yield Row(NAME, {LIMIT: limit, OURS: alone}, limit=LIMIT, at_most=1.3, note=note)
    together = {LIMIT: limit, OURS: database, **figures}
    yield Row(WITH_DATABASE, together, limit=LIMIT, note=f"ours: {DATABASE}")


def _seconds(code: str) -> float:
    """Return its processor time, in which other work on the machine is not seen."""
    before = os.times()
    subprocess.run([sys.executable, "-c", code], check=True)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


PARTS = (Part("import", _imports, (NAME, WITH_DATABASE)),)
