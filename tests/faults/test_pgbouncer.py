"""Behind a real PgBouncer in transaction mode: nothing of one client reaches another, and nothing costs more.

The pooler has two connections to the server and cleans none of them, so whatever is left in one is met there.
The whole contract of the repositories goes through it as well: tests/contract.
"""

# ruff: noqa: PT012  # what is to raise is the unit as a whole, or its block

import asyncio
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Barrier
from typing import Any

import psycopg2
import pytest

from database_handler import AsyncDatabase, Database, NewProject, UnitOfWork
from database_handler.aio import dispatch
from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import (
    ConfigurationError,
    ConnectionLost,
    DatabaseHandlerError,
    DatabaseUnavailable,
    InvalidSql,
    StatementTimeout,
)
from database_handler.core.link import open_connection
from database_handler.core.session import Statement
from database_handler.migrations import PoolerInTheWay
from database_handler.testing.plugin import _made
from tests.faults.conftest import frozen, in_thread, joined, query
from tests.integration.test_asyncio import ACTS, cancelled
from tests.integration.test_unit_of_work import LEAVES
from tests.support.faults import PATIENCE, FaultProxy, FaultRelay, eventually
from tests.support.pages import Walk, only_settings, section
from tests.support.pgbouncer import PgBouncer
from tests.support.wire import CountingProxy

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"
SERVERS = 2  # connections that the pooler has to the server
STATE = Statement(
    "SELECT pg_backend_pid(), concat_ws('|', current_setting('statement_timeout'), "
    "current_setting('default_transaction_read_only'), current_setting('search_path'), "
    "current_setting('role'), current_setting('TimeZone'), current_setting('datestyle'), "
    "current_setting('application_name'), session_user, "
    "EXISTS (SELECT FROM pg_class WHERE relnamespace = pg_my_temp_schema()), "
    "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), "
    "(SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_cursors), "
    "(SELECT count(*) FROM pg_prepared_statements), "
    "coalesce(current_setting('database_handler.project_id', true), ''))",
    "state",
)


@pytest.fixture(scope="module")
def pooler(database_template: DatabaseConfig) -> Iterator[PgBouncer]:
    with PgBouncer(database_template, default_pool_size=SERVERS) as pooler:
        yield pooler


@pytest.fixture
def direct(shared_database: Database) -> Iterator[Database]:
    """The database past the pooler, emptied afterwards."""
    with Database(shared_database.config) as own:
        yield own
    with shared_database.unit_of_work(statement_timeout=20) as unit:
        unit.session.run("TRUNCATE projects CASCADE")


@pytest.fixture
def pooled(pooler: PgBouncer, direct: Database) -> Iterator[Database]:
    with Database(pooler.config(direct.config, pool_timeout=10)) as own:
        yield own


def met(database: Database) -> dict[int, str]:
    """Return what a client meets in each of the pooler's connections: all are taken at once."""
    with database.unit_of_work() as one, Database(database.config) as other, other.unit_of_work() as two:
        return dict([one.session.one(STATE), two.session.one(STATE)])


def alone(database: Database, text: Any) -> None:
    database.session.run(text)


def and_commit(database: Database, text: Any) -> None:
    with database.unit_of_work() as unit:
        unit.session.run(text)


def and_roll_back(database: Database, text: Any) -> None:
    with database.unit_of_work() as unit:
        unit.session.run(text)
        unit.rollback()


def and_fail(database: Database, text: Any) -> None:
    with database.unit_of_work() as unit:
        unit.session.run(text)
        unit.session.run("SELECT 1 / 0")


def test_nothing_of_one_client_reaches_another(pooled: Database, direct: Database) -> None:
    clean = met(pooled)
    assert len(clean) == SERVERS
    assert set(clean.values()) == {next(iter(clean.values()))}
    direct.session.run("CREATE SEQUENCE numbers")
    try:
        for kind, text in LEAVES.items():
            for leave in (alone, and_commit, and_roll_back, and_fail):
                for _ in range(SERVERS):  # the pooler takes them in turn
                    with suppress(DatabaseHandlerError):  # some are refused
                        leave(pooled, text)
                assert met(pooled) == clean, (kind, leave.__name__)
    finally:
        direct.session.run("DROP SEQUENCE numbers")


def test_what_is_left_would_be_met(pooled: Database) -> None:
    """So that the test above is known to see it: a client of another kind leaves a setting behind."""
    clean = met(pooled)
    arguments: dict[str, Any] = pooled.config.connect_arguments()
    other = psycopg2.connect(**arguments)
    other.autocommit = True
    with other.cursor() as cursor:
        cursor.execute("SET search_path = pg_catalog")
        assert met(pooled) != clean
        for _ in range(SERVERS):
            cursor.execute(
                "RESET ALL; SELECT set_config('application_name', %s, false)", ["database_handler"]
            )
    other.close()
    assert met(pooled) == clean


def test_what_means_a_session_is_refused(pooled: Database) -> None:
    for text in (
        "SET search_path = x",
        "LISTEN news",
        "PREPARE p AS SELECT 1",
        "LOAD 'auto_explain'",
        "RESET ALL",
    ):
        with pytest.raises(InvalidSql, match=r"pgbouncer=true.* inside a unit"):
            pooled.session.run(text)
    with pytest.raises(InvalidSql, match="past the pooler"), pooled.unit_of_work() as unit:
        unit.session.run("LISTEN news")
    with pooled.unit_of_work() as unit:  # what is the unit's own holds to its end
        unit.session.run("SET TIME ZONE 'Asia/Tokyo'")
        assert unit.session.one("SHOW timezone") == ("Asia/Tokyo",)
        unit.session.run("CREATE TEMP TABLE kept AS SELECT 7 AS n")
        assert unit.session.one("SELECT n FROM kept") == (7,)


# ------------------------------------------------------------------------------------------- on the wire

Work = Callable[[Database], object]


def _unit_of(number: int) -> Work:
    def work(database: Database) -> None:
        with database.unit_of_work(lock_timeout=5) as unit:
            for place in range(number):
                unit.projects.create(name=f"n {place}")

    return work


CALLS: dict[str, Work] = {
    "get": lambda db: db.projects.find_by_id("01890000-0000-7000-8000-000000000000"),
    "create": lambda db: db.projects.create(name="one"),
    "unit of 3": _unit_of(3),
    "create_many": lambda db: db.projects.create_many([NewProject(name=f"m {n}") for n in range(300)]),
    "upsert": lambda db: db.projects.upsert(NewProject(name="one", description="d")),
    "stream": lambda db: list(db.projects.stream(batch=100)),
    "a caller's read": lambda db: db.session.all("SELECT slug FROM projects"),
    "a caller's write": lambda db: db.session.run("UPDATE projects SET description = %s", ["e"]),
    "a caller's write in a unit": lambda db: db.run(
        lambda unit: unit.session.run("UPDATE projects SET description = %s", ["f"])
    ),
    "one project's": lambda db: db.for_project(db.projects.list(limit=1)[0].id).projects.list(),
    "delete": lambda db: db.projects.delete_many([each.id for each in db.projects.list()]),
}


def counted(config: DatabaseConfig) -> tuple[dict[str, int], list[str]]:
    counts = {}
    bounded = {"pool_size": 1, "max_overflow": 0, "statement_timeout": 60}
    with CountingProxy(config) as proxy, Database(proxy.config.with_(**bounded)) as database:
        database.projects.count()
        with proxy.counting() as all_of_it:
            for name, call in CALLS.items():
                with proxy.counting() as trips:
                    call(database)
                counts[name] = trips.count - trips.texts.count("SELECT")
            for _ in range(20):  # often enough to be prepared, where that may be
                CALLS["get"](database)
    return counts, all_of_it.texts


def test_round_trips_are_the_same_and_nothing_is_set_outside_a_transaction(
    pooler: PgBouncer, direct: Database
) -> None:
    expected, _ = counted(direct.config)
    found, texts = counted(pooler.config(direct.config))
    assert found == expected
    assert (found["get"], found["create"], found["unit of 3"], found["upsert"]) == (1, 1, 4, 1)
    sent = [text for text in texts if not text.startswith("RESET ALL;")]  # which goes with a COMMIT
    assert [
        text for text in sent if re.search(r"\bSET (?!LOCAL)(?=\w+ ?(=|TO)\s*'?\d)|PREPARE|LISTEN", text)
    ] == []
    assert [
        text for text in sent if re.search(r"set_config\([^;]*, ?false\)|pg_(try_)?advisory_lock", text)
    ] == []
    ends = [text for text in texts if text.startswith("RESET ALL;")]
    assert len(ends) == 1  # of the one unit that a caller's SQL wrote in
    assert ends[0].endswith("COMMIT")


def test_a_timeout_is_its_own_statements(pooled: Database) -> None:
    with Database(pooled.config.with_(statement_timeout=0.05)) as hasty:
        with pytest.raises(StatementTimeout):
            hasty.session.one("SELECT pg_sleep(5)")
        with pytest.raises(StatementTimeout), hasty.unit_of_work() as unit:
            unit.session.one("SELECT pg_sleep(5)")
    for state in met(pooled).values():
        assert state.startswith("0|")


def test_more_clients_than_connections_take_turns(pooled: Database) -> None:
    project = pooled.projects.create(name="counter", description="0")
    clients, start = 10, Barrier(10)

    def count() -> None:
        with Database(pooled.config) as own:
            start.wait(20)
            for _ in range(5):
                own.run(add_one, isolation="serializable", retries=100, deadline=60)

    def add_one(unit: UnitOfWork) -> None:
        found = unit.projects.get_by_id(project.id)
        unit.projects.save(found.model_copy(update={"description": str(int(found.description or "0") + 1)}))

    joined(*[in_thread(count) for _ in range(clients)])
    assert pooled.projects.get_by_id(project.id).description == str(clients * 5)


# ------------------------------------------------------------------------------------------------ faults


@contextmanager
def through(proxy: FaultProxy, **settings: object) -> Iterator[Database]:
    with Database(
        proxy.config.with_(**{"pool_size": 2, "max_overflow": 0, "pool_timeout": 10} | settings)
    ) as faulty:
        yield faulty
        proxy.pass_on()
        with faulty.unit_of_work() as unit:
            unit.projects.create(name="the next unit works")


def stored(database: Database) -> list[str]:
    return [project.name for project in database.projects.list(order_by="name")]


@pytest.mark.parametrize(("part", "tries"), [("reply", 1), ("request", 2)])
def test_a_lost_commit_is_resolved(direct: Database, pooled: Database, part: Any, tries: int) -> None:
    """The transaction's id comes through; in silence, it is the only name to end the backend by."""
    for silent in (False, True):
        done: list[int] = []

        def work(unit: UnitOfWork, done: list[int] = done, silent: bool = silent) -> None:
            done.append(1)
            unit.projects.create(name=f"silent {silent}")
            if len(done) == 1 and silent:
                proxy.at(part, b"COMMIT", FaultRelay.drop)
            elif len(done) == 1:
                proxy.lose(part, "COMMIT")

        with FaultProxy(pooled.config) as proxy, through(proxy, deadline=1) as faulty:
            faulty.run(work)
            assert (stored(direct).count(f"silent {silent}"), len(done), proxy.fired) == (1, tries, 1)
        direct.session.run("DELETE FROM projects WHERE name = 'the next unit works'")


def test_a_connection_that_ends_behind_the_pooler_is_one_error(direct: Database, pooled: Database) -> None:
    with pytest.raises(ConnectionLost) as caught, pooled.unit_of_work() as unit:
        unit.projects.create(name="lost")
        [process] = unit.session.one("SELECT pg_backend_pid()")
        direct.session.one("SELECT pg_terminate_backend(%s, 5000)", [process])
        unit.projects.create(name="never")
    assert caught.value.retryable
    assert pooled.run(lambda unit: unit.projects.create(name="found")).name == "found"
    assert stored(direct) == ["found"]


def test_a_pooler_that_is_restarted_is_found_again(direct: Database) -> None:
    with PgBouncer(direct.config) as own, Database(own.config(direct.config, pool_timeout=10)) as pooled:
        pooled.projects.create(name="before")
        own.stop()
        with pytest.raises(DatabaseUnavailable), Database(pooled.config.with_(pool_timeout=0.3)) as hasty:
            hasty.projects.count()
        own.start()
        pooled.projects.create(name="after")  # the idle connections were seen to be gone
        assert stored(direct) == ["after", "before"]


# -------------------------------------------------------------------------------------------- cancelled tasks


def test_a_cancelled_tasks_statement_ends_behind_the_pooler(pooled: Database, direct: Database) -> None:
    """By the protocol's own request; neither it nor what comes too late hits another client's statement."""
    before = set(met(pooled))
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = %s"

    async def asleep(tasks: int) -> None:
        await asyncio.to_thread(
            eventually, lambda: direct.session.one(sleeping, [direct.config.name]) == (tasks,)
        )

    async def scene() -> None:
        async with AsyncDatabase(pooled.config.with_(pool_size=2, max_overflow=0)) as db:
            for act in ACTS:
                task = asyncio.create_task(act(db), name=act.__name__)
                await asleep(1)
                assert await cancelled(task) < 2, act.__name__  # cutting it takes 3 s, and leaves it running
                await asleep(0)
                assert db.pool.stats().in_use == 0, act.__name__
            assert await db.projects.count(name="Gone") == 0
            await race(db)
            assert db.pool.stats().in_use == 0

    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  # to be seen where it fails
    moments = random.Random(seed)

    async def race(db: AsyncDatabase) -> None:
        async with AsyncDatabase(pooled.config.with_(pool_size=2, max_overflow=0)) as other:
            ended, done = asyncio.Event(), 0

            async def bystander() -> None:  # in the same two connections to the server
                nonlocal done
                while not ended.is_set():
                    assert await other.session.one("SELECT 1 FROM pg_sleep(0.001)") == (1,)
                    done += 1

            bystanders = [asyncio.create_task(bystander()) for _ in range(2)]
            for _ in range(40):
                task = asyncio.create_task(db.session.all("SELECT pg_sleep(%s)", [moments.random() / 200]))
                await asyncio.sleep(moments.random() / 100)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            ended.set()
            await asyncio.gather(*bystanders)
            assert done > 20

    asyncio.run(asyncio.wait_for(scene(), PATIENCE))
    assert set(met(pooled)) == before  # the pooler's connections live


def test_a_frozen_pooler_does_not_hold_a_cancelled_task(
    direct: Database, pooled: Database, pooler: PgBouncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_GRACE", 0.3)

    async def scene() -> None:
        async with AsyncDatabase(pooled.config.with_(pool_size=2, max_overflow=0)) as db:
            task = asyncio.create_task(db.session.all("SELECT pg_sleep(60)"))
            await asyncio.to_thread(
                eventually,
                lambda: (
                    "PgSleep"
                    in direct.session.one("SELECT string_agg(wait_event, ' ') FROM pg_stat_activity")[0]
                ),
            )
            with frozen(pooler.process.pid):
                beats = 0

                async def heart() -> None:
                    nonlocal beats
                    while not task.done():
                        await asyncio.sleep(0.01)
                        beats += 1

                beating = asyncio.create_task(heart())
                assert await cancelled(task) < 2
                await beating
                assert beats > 10  # whoever asks the pooler keeps nobody from Python's lock
            assert db.pool.stats().in_use == 0
            assert await db.projects.count() == 0

    asyncio.run(asyncio.wait_for(scene(), PATIENCE))


# ---------------------------------------------------------------------------------------------- settings


def test_migrations_go_past_the_pooler_or_are_refused(
    pooler: PgBouncer, database_server: DatabaseConfig
) -> None:
    with _made(database_server) as config:
        with Database(pooler.config(config)) as pooled, pytest.raises(PoolerInTheWay, match="migration_url"):
            pooled.migrate()
        assert query(config, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
        with Database(pooler.config(config, migration_url=config.url(hide_password=False))) as past:
            assert past.migrate().applied
            assert past.projects.create(name="through the pooler").version == 1


def test_start_up_options_that_the_pooler_refuses_are_told_with_the_remedy(
    pooler: PgBouncer, direct: Database
) -> None:
    untold = pooler.config(direct.config, pgbouncer=False)
    with pytest.raises(ConfigurationError, match="pgbouncer=true"):
        open_connection(untold)


def test_settings_that_would_have_values_misread_are_told_with_the_remedy(
    database: Database, pooler: PgBouncer
) -> None:
    name = database.config.name

    def by_default(setting: str) -> None:
        query(database.config, f'ALTER DATABASE "{name}" SET {setting}')

    by_default("datestyle = 'German'")  # which the driver sets for each client, and the pooler keeps
    with Database(pooler.config(database.config)) as pooled:
        made = pooled.projects.create(name="a")
        with pooled.unit_of_work() as unit:
            unit.session.run("SET datestyle = 'SQL'")
        for state in met(pooled).values():
            assert "|ISO, " in state
        assert pooled.projects.get_by_id(made.id) == database.projects.get_by_id(made.id) == made
    by_default("intervalstyle = 'iso_8601'")
    with (
        PgBouncer(database.config) as other,
        pytest.raises(ConfigurationError, match=rf"ALTER DATABASE {name} SET IntervalStyle = .*RECONNECT"),
    ):
        open_connection(other.config(database.config))


def test_a_database_that_is_not_there_is_told_by_the_pooler(pooler: PgBouncer, direct: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="told by a pooler") as caught:
        open_connection(pooler.config(direct.config, name="nowhere_at_all"), timeout=3)
    assert caught.value.sqlstate == "08P01"


# ------------------------------------------------------------------------------------------------- the page


class Reader(Walk):
    """Somebody who does what the page says, behind a pooler with the page's settings."""

    def ini(self, code: str) -> None:
        lines = [line.partition(" =") for line in code.splitlines() if "=" in line]
        told = {name: value.strip() for name, _, value in lines}
        assert told["pool_mode"] == "transaction"


def test_the_page_behind_a_pooler_is_true(
    database_server: DatabaseConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = section(PAGE, "Behind PgBouncer")
    [ini] = [block.code for block in found if block.language == "ini"]
    settings = dict(line.split(" =", 1) for line in ini.splitlines() if "=" in line)
    with _made(database_server) as config, PgBouncer(config, **settings) as own:
        names = {
            "POOLER_URL": own.config(config).url(hide_password=False),
            "SERVER_URL": config.url(hide_password=False),
        }
        only_settings(monkeypatch, tmp_path)
        walk = Reader(monkeypatch, capsys, names)
        assert [block.language for block in found] == ["console", "ini", "python"]
        for block in found:
            getattr(walk, block.language)(block.code)
        assert query(config, "SELECT name FROM projects") == [("Launch film",)]
