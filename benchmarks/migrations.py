"""Migrations beside Alembic and Django: reading a large schema, finding what changed, applying 500 versions.

All three know the same 1,000 tables of 10 columns and 3 indexes beside the key; in 100 of them something is
changed. The versions are the same too: a table, then a column and an index on it, in turn. Django compares
models with its files and never looks at the database, so its row is of another kind of work.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import ClassVar, Protocol, TypeVar
from uuid import uuid4

from psycopg2 import sql

from database_handler import Database, DatabaseConfig, MigrationManager
from database_handler.core.connection import dedicated
from database_handler.core.transaction import Autocommit
from database_handler.migrations.schema.introspection import take_snapshot
from database_handler.migrations.schema.schema_diff import diff
from database_handler.migrations.schema.snapshot import Kind, SchemaSnapshot
from tests.support.wire import CountingProxy

__all__ = ["LIMITS", "NAME", "TABLES", "VERSIONS", "Tool", "measured", "over_limits", "show"]

NAME = "migrations, 1,000 tables and 500 versions"
TABLES, CHANGED, VERSIONS = 1000, 100, 500
LIMITS = {  # the seconds that this library promises to stay under
    "read 1,000 tables": 1.0,
    "diff alone, equal": 1.0,
    "diff alone, 100 changes": 1.0,
    f"{VERSIONS} versions from empty": 20.0,
}
T = TypeVar("T")


@dataclass(frozen=True)
class Schemas:
    """Two databases with the large schema: as it is, and with something changed in every tenth table."""

    same: DatabaseConfig
    changed: DatabaseConfig


class Tool(Protocol):
    """One tool; each call returns a number that tells whether it did the work."""

    name: ClassVar[str]

    def read(self, config: DatabaseConfig) -> int:
        """Read the schema; return how many tables it has."""
        ...

    def compare(self, config: DatabaseConfig, *, changed: bool) -> int:
        """Compare a database with what is wanted; return how many tables differ."""
        ...

    def write_versions(self, folder: Path) -> None:
        """Write the versions."""
        ...

    def migrate(self, config: DatabaseConfig) -> None:
        """Apply what is pending."""
        ...


class Ours:
    """This library: what is wanted is a snapshot, as `generate` has it from the models."""

    name: ClassVar[str] = "database_handler"

    def __init__(self, schemas: Schemas) -> None:
        self._wanted = {False: take_snapshot(schemas.same), True: take_snapshot(schemas.changed)}
        self._versions = Path()

    def read(self, config: DatabaseConfig) -> int:
        return _tables(take_snapshot(config))

    def compare(self, config: DatabaseConfig, *, changed: bool) -> int:
        found = diff(take_snapshot(config), self._wanted[changed])
        return len({statement.object.name for statement in found if statement.object.kind is not Kind.INDEX})

    def write_versions(self, folder: Path) -> None:
        self._versions = folder
        for number in range(1, VERSIONS + 1):
            text = f"-- migrate: up\n{_up(number)}\n-- migrate: down\n{_down(number)}\n"
            (folder / f"{number:04}_step.sql").write_text(text, encoding="utf-8")

    def migrate(self, config: DatabaseConfig) -> None:
        MigrationManager(config, self._versions).migrate()


def _tables(snapshot: SchemaSnapshot) -> int:
    return sum(found.id.kind is Kind.TABLE for found in snapshot)


def _up(number: int) -> str:
    table = f"step_{(number - 1) // 2}"
    if number % 2:
        return f"CREATE TABLE {table} (id bigint PRIMARY KEY, name text NOT NULL);"
    return f"ALTER TABLE {table} ADD COLUMN note text;\nCREATE INDEX {table}_note_idx ON {table} (note);"


def _down(number: int) -> str:
    table = f"step_{(number - 1) // 2}"
    return f"DROP TABLE {table};" if number % 2 else f"ALTER TABLE {table} DROP COLUMN note;"


# -------------------------------------------------------------------------------------------------- measuring


def measured(database: Database, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of each round, by row and tool; all tools in turn."""
    from benchmarks.peers import alembic_migrations, django_migrations

    figures: dict[str, dict[str, list[float]]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        made(database.config) as same,
        made(database.config) as changed,
    ):
        alembic_migrations.create(same, changed=False)
        alembic_migrations.create(changed, changed=True)
        tools: list[Tool] = [
            Ours(Schemas(same, changed)),
            alembic_migrations.Tool(),
            django_migrations.Tool(same),
        ]
        _timed(figures, "read 1,000 tables", tools, rounds, lambda tool: tool.read(same), TABLES)
        _timed(figures, "find no change", tools, rounds, lambda tool: tool.compare(same, changed=False), 0)
        _timed(
            figures, "find 100 changes", tools, rounds, lambda tool: tool.compare(same, changed=True), CHANGED
        )
        _diff_alone(figures, take_snapshot(same), take_snapshot(changed), rounds)
        _versions(figures, database, tools, Path(folder), rounds)
    return figures


Figures = dict[str, dict[str, list[float]]]


def _timed(
    figures: Figures,
    row: str,
    tools: Sequence[Tool],
    rounds: int,
    work: Callable[[Tool], int],
    expected: int,
) -> None:
    figures[row] = {tool.name: [] for tool in tools}
    for number in range(rounds + 1):  # the first warms up
        for tool in tools:
            seconds, found = _seconds(partial(work, tool))
            if found != expected:
                raise SystemExit(f"{row}: {tool.name} found {found} instead of {expected}")
            if number:
                figures[row][tool.name].append(seconds)
        _tell(row, number, rounds)


def _seconds(work: Callable[[], T]) -> tuple[float, T]:
    started = perf_counter()
    found = work()
    return perf_counter() - started, found


def _diff_alone(figures: Figures, old: SchemaSnapshot, new: SchemaSnapshot, rounds: int) -> None:
    for row, wanted in (("diff alone, equal", old), ("diff alone, 100 changes", new)):
        taken = [_seconds(partial(diff, old, wanted))[0] for _ in range(rounds + 1)]
        figures[row] = {Ours.name: taken[1:]}


def _versions(figures: Figures, database: Database, tools: Sequence[Tool], folder: Path, rounds: int) -> None:
    empty, at_head = f"{VERSIONS} versions from empty", "at the head already"
    figures[empty] = {tool.name: [] for tool in tools}
    figures[at_head] = {tool.name: [] for tool in tools}
    for tool in tools:
        own = folder / tool.name.replace(" ", "_").lower()
        own.mkdir()
        tool.write_versions(own)
    for number in range(min(rounds, 3)):
        for tool in tools:
            with made(database.config) as config:
                migrate = partial(tool.migrate, config)
                figures[empty][tool.name].append(_seconds(migrate)[0])
                again = [_seconds(migrate)[0] for _ in range(5)]
                figures[at_head][tool.name].append(median(again))
                if isinstance(tool, Ours):
                    _one_select(config, tool)
        _tell(empty, number + 1, min(rounds, 3))


def _one_select(config: DatabaseConfig, tool: Ours) -> None:
    """End the run where a database at its head costs more than one round trip."""
    with CountingProxy(config) as proxy, proxy.counting() as trips:
        tool.migrate(proxy.config)
    if (trips.connections, trips.count) != (1, 1):
        raise SystemExit(f"at the head {trips.count} round trips over {trips.connections} connections")


def over_limits(figures: Figures) -> list[str]:
    """Say which rows took this library longer than it promises, even in the fastest of their rounds."""
    fastest = {row: min(figures[row][Ours.name]) for row in LIMITS if row in figures}
    return [
        f"{row}: {seconds:.2f} s, and {LIMITS[row]:.0f} s is the limit"
        for row, seconds in fastest.items()
        if seconds >= LIMITS[row]
    ]


def _tell(row: str, number: int, rounds: int) -> None:
    end = "\n" if number == rounds else ""
    print(f"\r{row}: round {number} of {rounds}", end=end, file=sys.stderr, flush=True)


@contextmanager
def made(server: DatabaseConfig) -> Iterator[DatabaseConfig]:
    """Make an empty database, and drop it afterwards."""
    name = f"migrations_{uuid4().hex}"
    session = Autocommit(lambda: dedicated(server)).session
    session.run(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield server.with_(name=name)
    finally:
        session.run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def show(figures: dict[str, dict[str, list[float]]]) -> None:
    """Print the medians, and each as a ratio to ours."""
    for row, tools in figures.items():
        print(f"\n{row}")
        ours = median(tools[Ours.name])
        for name, seconds in tools.items():
            middle = median(seconds)
            spread = f"{min(seconds) * 1000:.1f} to {max(seconds) * 1000:.1f}"
            print(f"  {name:18} {middle * 1000:9.1f} ms  {middle / ours:6.2f} x  ({spread})")
