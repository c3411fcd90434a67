"""What each call costs in round trips, counted on the wire; docs/performance.md has the table of all."""

# ruff: noqa: PT012  # what is to raise is the unit as a whole, or its block

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from database_handler import Change, Database, DatabaseConfig, FilesConfig, NewProject, Project, UnitOfWork
from database_handler.core.exceptions import DatabaseHandlerError
from database_handler.repositories import Repository
from database_handler.testing.plugin import _made
from tests.support import valid_arguments
from tests.support.public_callables import Public
from tests.support.repository_calls import call as make
from tests.support.repository_calls import methods, needed
from tests.support.wire import CountingProxy, Trips

HEADING = "| call | by itself |"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"


@dataclass
class Scene:
    """A database behind the counting proxy, and a few records to work with."""

    proxy: CountingProxy
    database: Database
    known: list[Project] = field(default_factory=list)

    def counted(self, call: Callable[[Any], object], target: Any) -> Trips:
        with self.proxy.counting() as trips:
            call(target)
        trips.count -= trips.texts.count("SELECT")  # the pool's ping of a connection idle for over a second
        return trips


@pytest.fixture
def database(shared_database: Database) -> Iterator[Database]:
    """Yield a `Database` of the test's own on the shared database, which is emptied afterwards."""
    with Database(shared_database.config) as own:
        yield own
    shared_database.session.run("TRUNCATE projects CASCADE")


@pytest.fixture
def scene(database: Database) -> Iterator[Scene]:
    known = database.projects.create_many([NewProject(name=f"known {n}") for n in range(30)])
    with (
        CountingProxy(database.config) as proxy,
        Database(
            proxy.config.with_(pool_size=1, max_overflow=0, statement_timeout=60, lock_timeout=30)
        ) as counted,
    ):
        counted.projects.count()  # connected, and known to be clean
        yield Scene(proxy, counted, known)


Call = Callable[[Any, list[Project]], object]

# The timeouts of the scene's settings travel with every one of them and cost nothing.
SINGLE: dict[str, Call] = {
    "create": lambda db, known: db.projects.create(name="new"),
    "create_many, up to 199": lambda db, known: db.projects.create_many(
        [NewProject(name=f"n {i}") for i in range(199)]
    ),
    "get_by_id": lambda db, known: db.projects.get_by_id(known[0].id),
    "find_by_id": lambda db, known: db.projects.find_by_id(known[0].id),
    "get_many": lambda db, known: db.projects.get_many([each.id for each in known]),
    "update": lambda db, known: db.projects.update(known[0].id, description="d", expected_version=1),
    "save": lambda db, known: db.projects.save(known[0].model_copy(update={"description": "d"})),
    "update_many": lambda db, known: db.projects.update_many(
        [Change(id=each.id, changes={"description": "d"}) for each in known]
    ),
    "upsert": lambda db, known: db.projects.upsert(NewProject(name="known 1", description="d")),
    "upsert_many": lambda db, known: db.projects.upsert_many(
        [NewProject(name=f"known {i}") for i in range(60)]
    ),
    "delete": lambda db, known: db.projects.delete(known[0].id),
    "delete_many": lambda db, known: db.projects.delete_many([each.id for each in known]),
    "list": lambda db, known: db.projects.list(status="draft", order_by="-created_at"),
    "page": lambda db, known: db.projects.page(limit=10),
    "page, with its total": lambda db, known: db.projects.page(limit=10, total="exact"),
    "page, the second": lambda db, known: db.projects.page(
        limit=10, after=db.projects.page(limit=10).next_cursor, total=100
    ),
    "count": lambda db, known: db.projects.count(name__icontains="known"),
    "exists": lambda db, known: db.projects.exists(slug="known-1"),
    "session.all": lambda db, known: db.session.all("SELECT slug FROM projects"),
    "session.run": lambda db, known: db.session.run("UPDATE projects SET description = %s", ["d"]),
    "projects.set_status_many": lambda db, known: db.projects.set_status_many(
        [each.id for each in known], "active"
    ),
    "projects.archive_many": lambda db, known: db.projects.archive_many([each.id for each in known]),
    "projects.delete_preview": lambda db, known: db.projects.delete_preview(known[0].id),
    "projects.clone": lambda db, known: db.projects.clone(known[0].id, name="copy"),
    "projects.statistics": lambda db, known: db.projects.statistics(known[0].id),
    "projects.statistics_many": lambda db, known: db.projects.statistics_many([each.id for each in known]),
    "projects.coverage": lambda db, known: db.projects.coverage(known[0].id, ["fr"]),
    "projects.metadata_summary": lambda db, known: db.projects.metadata_summary(known[0].id),
    "projects.tree": lambda db, known: db.projects.tree(known[0].id),
    "translations.missing": lambda db, known: db.translations.missing(known[0].id, ["fr"]),
    "translations.claim": lambda db, known: db.translations.claim(3),
    "videos.claim": lambda db, known: db.videos.claim(3, project_id=known[0].id),
    "summaries.compressions": lambda db, known: db.summaries.compressions(known[0].id),
    "links.by_kind": lambda db, known: db.links.by_kind(known[0].id),
    "search": lambda db, known: db.search("word"),
    "text_sources.search": lambda db, known: db.text_sources.search("word"),
}
DOUBLE = {"page, the second"}  # two calls are made


@pytest.mark.parametrize("call", SINGLE)
def test_single_statement_outside_of_a_unit_costs_one(scene: Scene, call: str) -> None:
    trips = scene.counted(lambda db: SINGLE[call](db, scene.known), scene.database)
    assert (trips.count, trips.connections) == (1 + (call in DOUBLE), 0)


@pytest.mark.parametrize("call", SINGLE)
def test_unit_of_one_statement_costs_two(scene: Scene, call: str) -> None:
    def work(db: Database) -> None:
        with db.unit_of_work(isolation="repeatable read", statement_timeout=10) as unit:
            SINGLE[call](unit, scene.known)

    trips = scene.counted(work, scene.database)
    assert (trips.count, trips.connections) == (2 + (call in DOUBLE), 0)
    assert trips.texts[-1] == "COMMIT"


@pytest.mark.parametrize("statements", [1, 2, 5, 10])
def test_unit_of_n_statements_costs_n_and_one(scene: Scene, statements: int) -> None:
    def work(db: Database) -> None:
        with db.unit_of_work() as unit:
            for number in range(statements):
                unit.projects.create(name=f"n {number}")

    assert scene.counted(work, scene.database).count == statements + 1


def test_unit_without_a_statement_costs_nothing_and_borrows_nothing(database: Database) -> None:
    with CountingProxy(database.config) as proxy, Database(proxy.config) as unused:
        with proxy.counting() as trips:
            with unused.unit_of_work(isolation="serializable", lock_timeout=1) as unit, unit.savepoint():
                assert unused.pool.stats().in_use == 0
                unit.on_commit(lambda: None)
            with unused.unit_of_work() as unit:
                unit.rollback()
            assert unused.run(lambda unit: unit.projects.get_many([])) == []
        assert (trips.count, trips.connections) == (0, 0)


def test_rollback_costs_one(scene: Scene) -> None:
    def work(db: Database) -> None:
        with db.unit_of_work() as unit:
            unit.projects.create(name="a")
            unit.rollback()

    assert scene.counted(work, scene.database).count == 2


def test_savepoints_cost_nothing_where_only_the_library_sends(scene: Scene) -> None:
    def work(db: Database) -> None:
        with db.unit_of_work() as unit:
            with unit.savepoint():
                unit.projects.create(name="one")
                with unit.savepoint(), unit.savepoint():
                    unit.projects.create(name="two")
            for number in range(3):
                with unit.savepoint():
                    unit.projects.create(name=f"n {number}")
            unit.projects.count()

    assert scene.counted(work, scene.database).count == 6 + 1


def test_savepoint_costs_one_before_sql_of_a_caller_and_one_when_undone(scene: Scene) -> None:
    def work(unit: UnitOfWork) -> None:
        with unit.savepoint():
            unit.session.all("SELECT 1")
        with pytest.raises(KeyError), unit.savepoint():
            unit.projects.create(name="lost")
            raise KeyError

    assert scene.counted(lambda db: db.run(work), scene.database).count == (1 + 1) + (1 + 1) + 1


def test_create_many_of_any_number_costs_three_in_a_begun_unit(scene: Scene) -> None:
    drafts = [NewProject(name=f"n {number}") for number in range(10_000)]

    def work(unit: UnitOfWork) -> None:
        unit.projects.count()
        # The transaction's moment, then COPY and its rows: asked for, and answered when all are there.
        assert scene.counted(lambda unit: unit.projects.create_many(drafts), unit).count == 3

    assert scene.counted(lambda db: db.run(work), scene.database).count == 1 + 3 + 1
    more = [NewProject(name=f"more {number}") for number in range(1000)]
    assert scene.counted(lambda db: db.projects.create_many(more), scene.database).count == 3 + 1


def test_stream_costs_one_a_batch(scene: Scene) -> None:
    def work(db: Database) -> None:
        assert sum(1 for _ in db.projects.stream(batch=10)) == 30

    assert scene.counted(work, scene.database).count == 4 + 1  # the fourth batch is empty; then COMMIT

    def in_unit(db: Database) -> None:
        with db.unit_of_work() as unit:
            assert sum(1 for _ in unit.projects.stream(batch=100)) == 30
            unit.projects.count()

    assert scene.counted(in_unit, scene.database).count == 2 + 1  # its CLOSE goes with the next statement


def test_reset_of_what_a_caller_left_costs_nothing(scene: Scene) -> None:
    db = scene.database
    for call in (
        lambda db: db.projects.count(),
        lambda db: db.session.all("SELECT count(*) FROM projects"),
        lambda db: db.run(lambda unit: unit.projects.count()),
        lambda db: db.run(lambda unit: unit.session.run("SET LOCAL search_path = pg_catalog")),
    ):
        expected = scene.counted(call, db).count
        db.projects.count()
        db.session.run("SET search_path = pg_catalog")
        trips = scene.counted(call, db)
        assert trips.count == expected
        assert any("RESET ALL" in text for text in trips.texts)
    # Alone, as VACUUM must be, the reset is a message of its own.
    db.session.run("SET search_path = pg_catalog")
    assert scene.counted(lambda db: db.session.run("SET lock_timeout = 0"), db).count == 2


def test_reading_by_a_caller_needs_no_reset(scene: Scene) -> None:
    db = scene.database
    db.session.all("SELECT count(*), max(created_at)::date FROM projects WHERE slug LIKE %s", ["known%"])
    trips = scene.counted(lambda db: db.projects.count(), db)
    assert not any("RESET" in text for text in trips.texts)


def name_of(public: Public) -> str:
    """Return a method's name in the table: with the entity's, where not all entities have it."""
    method = public.name.rpartition(".")[2]
    shared = getattr(Repository, method, None) is public.call
    name = method if shared or public.over is None else public.name
    return name.replace("create_one", "create")


class Counter:
    """Counts what each call costs by itself, first in a unit, and later in one."""

    def __init__(self, config: DatabaseConfig, folder: Path, proxy: CountingProxy, direct: Database) -> None:
        self._proxy = proxy
        self._fresh: Callable[[], valid_arguments.Scene] = lambda: valid_arguments.scene_of(
            direct, config, folder
        )
        self._scene = self._fresh()

    def of(self, public: Public, database: Database) -> tuple[int, int, int]:
        """Count the three; a scene that was written to is replaced."""
        scene = replace(self._scene, database=database)
        given = needed(scene, public)

        def first(unit: UnitOfWork) -> None:
            make(replace(scene, uow=unit), public, given)

        def later(unit: UnitOfWork) -> None:
            unit.projects.count()
            make(replace(scene, uow=unit), public, given)

        in_units = [self._undone(database, work) for work in (first, later)]
        alone = self._count(lambda: make(scene, public, given))
        if any(re.search("INSERT|UPDATE|DELETE|COPY", text) for text in alone.texts):
            self._scene = self._fresh()
        return alone.count, in_units[0] - 1, in_units[1] - 2

    def _undone(self, database: Database, work: Callable[[UnitOfWork], object]) -> int:
        def run() -> None:
            with database.unit_of_work() as unit:
                work(unit)
                unit.rollback()

        return self._count(run).count

    def _count(self, work: Callable[[], object]) -> Trips:
        with self._proxy.counting() as trips, suppress(DatabaseHandlerError):
            work()
        trips.count -= trips.texts.count("SELECT")
        return trips


def test_table_of_the_page_is_true(database_template: DatabaseConfig, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("A short text, to be read.")
    files = FilesConfig(store_url=str(tmp_path / "store"), media_root=tmp_path)
    with (
        _made(database_template, template=database_template.name) as config,
        Database(config, files=files) as direct,
        CountingProxy(config) as proxy,
        Database(proxy.config.with_(pool_size=1, max_overflow=0), files=files) as database,
    ):
        database.projects.count()
        counter = Counter(config, tmp_path, proxy, direct)
        counted = {name_of(each): counter.of(each, database) for each in methods() if not each.again}
    assert told() == counted, f"the table of {PAGE.name} has to be:\n{as_table(counted)}"


def told() -> dict[str, tuple[int, ...]]:
    """Read the table of the page."""
    _, _, table = PAGE.read_text(encoding="utf-8").partition(HEADING)
    rows = re.findall(r"^\| `([\w.]+)` \| (\d+) \| (\d+) \| (\d+) \|", table, re.MULTILINE)
    return {name: tuple(map(int, counts)) for name, *counts in rows}


def as_table(counted: dict[str, tuple[int, int, int]]) -> str:
    """Write the table as the page has it: what all entities have, then each entity's own."""
    names = sorted(counted, key=lambda name: ("." in name, name))
    lines = (f"| `{name}` | {' | '.join(map(str, counted[name]))} |" for name in names)
    return "\n".join((f"{HEADING} in a unit, first | in a unit, later |", "|---|---|---|---|", *lines))
