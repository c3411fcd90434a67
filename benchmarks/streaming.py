"""Reads a table of projects through by one side's stream, and tells how much memory that took.

A process of its own, so that nothing else is in the figure: ``python -m benchmarks.streaming SIDE`` takes the
database's URL from its input and prints JSON.
"""

import json
import sys
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

from benchmarks.machine import peak_memory, reset_peak
from database_handler import DatabaseConfig

__all__ = ["STREAMS", "main"]

Stream = Callable[[], Iterable[Any]]


def _ours(config: DatabaseConfig) -> Stream:
    from benchmarks.peers.ours import Side

    database = Side(config).database
    database.projects.exists()
    return database.projects.stream


def _sqlalchemy(config: DatabaseConfig) -> Stream:
    from sqlalchemy import select

    from benchmarks.peers.sqlalchemy_orm import Project, Side

    session = Side(config).session()
    session.connection()
    query = select(Project).order_by(Project.id).execution_options(yield_per=1000)
    return lambda: session.scalars(query)


def _sqlmodel(config: DatabaseConfig) -> Stream:
    from sqlmodel import Session, col, select

    from benchmarks.peers.sqlalchemy_orm import engine_of
    from benchmarks.peers.sqlmodel_orm import Project

    session = Session(engine_of(config))
    session.connection()
    query = select(Project).order_by(col(Project.id)).execution_options(yield_per=1000)
    return lambda: session.exec(query)


def _django(config: DatabaseConfig) -> Stream:
    from benchmarks.peers.django_orm import Side

    side = Side(config)
    side.model.objects.exists()
    return lambda: side.model.objects.order_by("id").iterator(chunk_size=1000)


def _peewee(config: DatabaseConfig) -> Stream:
    from playhouse.postgres_ext import ServerSide

    from benchmarks.peers.peewee_orm import Side

    side = Side(config)
    return lambda: ServerSide(side.model.select().order_by(side.model.id), array_size=1000)


def _psycopg(config: DatabaseConfig) -> Stream:
    from psycopg.rows import class_row

    from benchmarks.peers.psycopg3 import Project, Side
    from benchmarks.peers.raw import NAMES

    cursor = Side(config).connection.cursor("stream", row_factory=class_row(Project), withhold=True)
    cursor.itersize = 1000
    text = f"SELECT {NAMES} FROM projects ORDER BY id".encode()
    return lambda: cursor.execute(text)


STREAMS: dict[str, Callable[[DatabaseConfig], Stream]] = {
    "database_handler": _ours,
    "SQLAlchemy ORM": _sqlalchemy,
    "SQLModel": _sqlmodel,
    "Django": _django,
    "peewee": _peewee,
    "psycopg 3": _psycopg,
}


def main() -> None:
    """Read, and print what it took."""
    stream = STREAMS[sys.argv[1]](DatabaseConfig.from_url(sys.stdin.read()))
    reset_peak()
    before = peak_memory()
    started = perf_counter()
    rows = sum(1 for _ in stream())
    found = {"rows": rows, "mb": peak_memory() - before, "seconds": perf_counter() - started}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
