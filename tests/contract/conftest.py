"""The contract of a repository, over every entity of `Repositories`: the next one is tested by existing.

Every test of it runs twice: straight to the server, and through a PgBouncer in transaction mode, where that
program is installed.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Thread
from typing import Any

import pytest

from database_handler import Database, Repositories, Repository, UnitOfWork
from database_handler.config.database import DatabaseConfig
from database_handler.core.base_model import Derivation, Draft, Record
from database_handler.core.schema import Table
from database_handler.testing.factories import EntityFactory, factory_of
from database_handler.testing.plugin import _made
from tests.support.faults import PATIENCE, eventually
from tests.support.pgbouncer import PROGRAM, PgBouncer

ENTITIES = tuple(Repositories.entities())
STRAIGHT, POOLED = "straight", "through PgBouncer"
WAYS = (STRAIGHT, *([POOLED] if PROGRAM else []))


@dataclass
class Subject:
    """One entity under test, over a unit or a database."""

    name: str
    over: Repositories

    @property
    def repository(self) -> Repository[Any, Any]:
        found: Repository[Any, Any] = getattr(self.over, self.name)
        return found

    @property
    def factory(self) -> type[EntityFactory[Any, Any]]:
        return factory_of(self.repository.draft)

    @property
    def table(self) -> Table:
        return self.repository.table

    def parents(self) -> dict[str, Any]:
        return dict(self.factory.parents(self.over))

    def drafts(self, size: int, **fields: Any) -> list[Any]:
        """Drafts under one set of parents."""
        return self.factory.build_batch(size, **fields, **self.factory.parents(self.over, **fields))

    def draft(self, **fields: Any) -> Any:
        return self.drafts(1, **fields)[0]

    def records(self, size: int, **fields: Any) -> list[Any]:
        return self.repository.create_many(self.drafts(size, **fields))

    def record(self, **fields: Any) -> Any:
        return self.repository.create(self.draft(**fields))  # type: ignore[attr-defined]  # each entity has it

    def changes(self, draft: Draft) -> dict[str, Any]:
        """Other valid values for what may change on a draft, its key aside."""
        # A state may not follow every other: those rules have tests of their own.
        fixed = {*self.table.key, *self.table.moves, *(key.columns[-1] for key in self.table.foreign_keys)}
        fixed |= {source for source, name in self.derived() if name in fixed}
        same = {name: getattr(draft, name) for name in fixed if name in type(draft).model_fields}
        for _ in range(100):
            other = self.factory.build(**same)
            found = {
                name: getattr(other, name)
                for name in other.model_fields_set - fixed
                if getattr(other, name) != getattr(draft, name)
            }
            if found.keys() - {"metadata"}:  # every entity has a field of its own to change
                return found
        raise AssertionError(f"100 drafts of {self.name} differ in nothing but metadata")

    def derived(self) -> list[tuple[str, str]]:
        """The fields that follow another field, each after that."""
        rules = {n: field.default_factory for n, field in self.repository.draft.model_fields.items()}
        return [
            (source, name)
            for name, rule in rules.items()
            if isinstance(rule, Derivation) and rule.follows
            for source in rule.sources
        ]

    def changed(self, draft: Any) -> Any:
        """A draft of the same key with another content."""
        fields = {name: getattr(draft, name) for name in draft.model_fields_set}
        return type(draft)(**fields | self.changes(draft))

    def on(self, over: Repositories) -> "Subject":
        return Subject(self.name, over)


@pytest.fixture(params=ENTITIES)
def entity(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def subject(entity: str, uow: UnitOfWork) -> Subject:
    """Each entity in turn, over a unit that is rolled back."""
    return Subject(entity, uow)


class Roads:
    """How each database is reached in each way, with a `Database` that is made once for both and kept."""

    def __init__(self, kept: ExitStack, template: DatabaseConfig, kind: type[Database]) -> None:
        self._kept = kept
        self._template = template
        self._kind = kind
        self._opened: dict[tuple[str, str], Database] = {}
        self._pooler: PgBouncer | None = None

    def config(self, way: str, config: DatabaseConfig) -> DatabaseConfig:
        """Return how to reach a database in this way."""
        if way == STRAIGHT:
            return config
        if self._pooler is None:  # as many as the tests hold open at once, and they are taken in turn
            self._pooler = self._kept.enter_context(PgBouncer(self._template, default_pool_size=20))
        return self._pooler.config(config)

    def opened(self, way: str, purpose: str) -> Database:
        """Return the database that all tests of this way share for a purpose."""
        if (way, purpose) not in self._opened:
            made = self._kept.enter_context(_made(self._template, template=self._template.name))
            self._opened[way, purpose] = self._kept.enter_context(self._kind(self.config(way, made)))
        return self._opened[way, purpose]


@pytest.fixture(scope="session")
def roads(database_template: DatabaseConfig, database_class: type[Database]) -> Iterator[Roads]:
    with ExitStack() as kept:
        yield Roads(kept, database_template, database_class)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def database(roads: Roads, way: str, database_template: DatabaseConfig) -> Iterator[Database]:
    """A database of the test's own."""
    with (
        _made(database_template, template=database_template.name) as config,
        roads._kind(roads.config(way, config)) as own,
    ):
        yield own


@pytest.fixture
def shared_database(roads: Roads, way: str) -> Database:
    """The database whose units are rolled back."""
    return roads.opened(way, "units")


@pytest.fixture
def committed_database(roads: Roads, way: str) -> Database:
    """A database for what must be committed; each test stays within projects of its own."""
    return roads.opened(way, "committed")


@pytest.fixture
def committed(entity: str, committed_database: Database) -> Subject:
    """Each entity in turn, outside of a unit."""
    return Subject(entity, committed_database)


def stored(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in type(record).model_fields}


class Background:
    """A call in a thread of its own, whose result or error is asked for afterwards."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._result: object = None
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:  # noqa: BLE001  # told in the thread that asks
            self._error = error

    def result(self) -> Any:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "it is stuck"
        if self._error is not None:
            raise self._error
        return self._result


def until_waiting(database: Database, number: int) -> None:
    """Wait until so many connections to this database wait for a lock."""
    text = (
        "SELECT count(DISTINCT l.pid) FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid "
        "WHERE NOT l.granted AND a.datname = current_database()"
    )
    session = database.repositories(outside_unit=True).session
    eventually(lambda: bool(session.one(text)[0] >= number))
