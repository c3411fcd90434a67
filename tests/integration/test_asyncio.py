"""`AsyncDatabase`: the same calls, a unit that belongs to its task, and a cancel that reaches the server.

Each scene ends with its pool whole: no connection is held, the server runs nothing for it, its threads end.
"""

import asyncio
import gc
import random
import subprocess
import sys
import textwrap
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sized
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from itertools import count
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from database_handler import (
    AsyncDatabase,
    AsyncUnitOfWork,
    Change,
    Database,
    Entity,
    Link,
    NewLink,
)
from database_handler.aio import (
    AsyncCreate,
    AsyncEntity,
    AsyncRepositories,
    AsyncRepository,
    awaited,
    iterated,
)
from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import (
    AfterCommitFailed,
    CommitOutcomeUnknown,
    ConfigurationError,
    DeadlineExceeded,
    DuplicateRecord,
    InvalidValue,
    MissingReference,
    PoolClosed,
    PoolOverloaded,
    PoolTimeout,
    RecordNotFound,
    ReleasedConnection,
    RetriesExhausted,
    SerializationFailure,
    StaleRecord,
    TransactionAborted,
)
from database_handler.operations.monitoring import Tracing
from database_handler.repositories import LinkRepository
from database_handler.testing import factory_of
from database_handler.testing.plugin import _made
from database_handler.unit_of_work import Repositories, UnitOfWork
from tests.support.faults import PATIENCE, eventually

_numbers = count(1)
observers: dict[str, Database] = {}  # by the name of the database that is looked at
Scene = Callable[[AsyncDatabase], Awaitable[object]]


@pytest.fixture(scope="module")
def config(database_template: DatabaseConfig) -> Iterator[DatabaseConfig]:
    with (
        _made(database_template, template=database_template.name) as made,
        Database(made.with_(application_name="observer")) as observers[made.name],
    ):
        yield made


def acted(config: DatabaseConfig, scene: Scene, **settings: object) -> None:
    """Play a scene on a database of its own pool, and see that the pool is whole afterwards."""

    async def play() -> None:
        async with asyncio.timeout(PATIENCE), opened(config, **settings) as db:
            await scene(db)

    asyncio.run(play())


@asynccontextmanager
async def opened(config: DatabaseConfig, **settings: object) -> AsyncIterator[AsyncDatabase]:
    named = config.with_(application_name=f"async-{next(_numbers)}-{uuid4().hex[:6]}", **settings)
    async with AsyncDatabase(named) as db:
        before = threads()
        yield db
        await idle(db)
        assert await running(db) == []
        assert db.pool.stats().in_use == 0
    await soon(lambda: not threads() - before)


def threads() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name.startswith("database-handler-async")}


async def soon(holds: Callable[[], object]) -> None:
    until = monotonic() + PATIENCE
    while not holds():
        assert monotonic() < until, "it did not come about in time"
        await asyncio.sleep(0.005)


async def idle(db: AsyncDatabase) -> None:
    await soon(lambda: db.pool.stats().in_use == 0)


async def running(db: AsyncDatabase) -> list[str]:
    """What the server runs for the pool of a database, and what that waits for."""
    rows = await asyncio.to_thread(
        observers[db.config.name].session.all,
        "SELECT coalesce(nullif(wait_event, 'ClientRead'), '') || query FROM pg_stat_activity "
        "WHERE split_part(application_name, ' xid ', 1) = %s AND state <> 'idle'",
        [db.config.application_name],
    )
    return [row[0] for row in rows]


async def asleep(db: AsyncDatabase, tasks: int = 1) -> None:
    """Wait until the server sleeps for so many of the database's tasks."""

    async def sleeping() -> int:
        return sum(told.startswith("PgSleep") for told in await running(db))

    until = monotonic() + PATIENCE
    while await sleeping() != tasks:
        assert monotonic() < until, "the server never slept"


async def cancelled(task: "asyncio.Task[Any]") -> float:
    """Cancel a task, and return how long it took to end."""
    started = monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return monotonic() - started


SLEEP = "SELECT pg_sleep(60)"


# ------------------------------------------------------------------------------------------------ the calls


@pytest.mark.parametrize("name", list(Repositories.entities()))
def test_every_entity_has_its_calls(config: DatabaseConfig, name: str) -> None:
    async def scene(db: AsyncDatabase) -> None:
        repository: Any = getattr(db, name)
        factory = factory_of(repository.sync.draft)
        made = await db.call(factory.create)
        parents = {key: getattr(made, key) for key in ("project_id", "text_source_id") if hasattr(made, key)}
        drafts = factory.build_batch(3, **parents)

        async def given() -> AsyncIterator[Any]:
            for each in drafts[1:]:
                yield each

        one = await repository.create(drafts[0])
        two, three = await repository.create_many(given())
        assert await repository.get_by_id(one.id) == one
        assert await repository.find_by_id(uuid4()) is None
        assert await repository.get_many([two.id, one.id]) == [two, one]
        ids = {"id__in": [one.id, two.id, three.id]}
        assert [each async for each in repository.stream(order_by="id", batch=2, **ids)] == [one, two, three]
        assert (await repository.page(limit=2, order_by="id", **ids)).items == [one, two]
        assert await repository.list(order_by="-id", limit=1, **ids) == [three]
        changed = await repository.update(one.id, {"metadata": {"a": 1}}, expected_version=1)
        with pytest.raises(StaleRecord):
            await repository.update(one.id, {"metadata": {"a": 2}}, expected_version=1)
        [again] = await repository.update_many([Change(one.id, {"metadata": {"a": 3}})])
        assert (changed.version, again.version) == (2, 3)
        assert (await repository.upsert(drafts[1])).record == two
        assert await repository.delete_many([two.id, three.id]) == 2
        await repository.delete(one.id)
        with pytest.raises(RecordNotFound):
            await repository.get_by_id(one.id)
        assert await repository.count(**ids) == 0
        assert not await repository.exists(**ids)

    acted(config, scene)


def test_a_unit_commits_rolls_back_and_is_undone_in_part(config: DatabaseConfig) -> None:
    heard: list[object] = []

    async def told() -> None:
        heard.append("awaited")

    async def scene(db: AsyncDatabase) -> None:
        loop = threading.get_ident()
        async with db.unit_of_work() as uow:
            film = await uow.projects.create(name="Kept")
            uow.on_commit(lambda: heard.append(threading.get_ident() == loop))
            uow.on_commit(told)
            with suppress(KeyError):
                async with uow.savepoint():
                    await uow.projects.create(name="Undone in part")
                    uow.on_commit(lambda: heard.append("never"))
                    raise KeyError
            async with uow.savepoint(), db.unit_of_work(savepoint=True) as same:
                assert same is uow
                await same.projects.update(film.id, {"description": "in a part"})
            assert await db.repositories(outside_unit=True).projects.find_by_id(film.id) is None
            assert not heard
        assert heard == [True, "awaited"]
        assert (await db.projects.get_by_id(film.id)).description == "in a part"
        with pytest.raises(KeyError, match="mine"):  # noqa: PT012
            async with db.unit_of_work() as uow:
                await uow.projects.create(name="Undone")
                raise KeyError("mine")
        with pytest.raises(TransactionAborted):  # noqa: PT012
            async with db.unit_of_work() as uow:
                await uow.projects.create(name="Undone")
                with suppress(DuplicateRecord):
                    await uow.projects.create(name="Kept")
        async with db.unit_of_work() as uow:
            await uow.projects.create(name="Undone")
            await uow.rollback()
            with pytest.raises(ReleasedConnection):
                uow.on_commit(lambda: None)
        assert [
            each.name async for each in db.projects.stream(name__in=["Kept", "Undone", "Undone in part"])
        ] == ["Kept"]
        async with db.unit_of_work():  # nothing is sent, and no thread is taken
            pass
        async with db.unit_of_work() as uow:
            await uow.rollback()
        with pytest.raises(ReleasedConnection):
            await uow.projects.count()

    acted(config, scene)


def test_a_failing_hook_is_told_and_the_others_run(config: DatabaseConfig) -> None:
    ran: list[int] = []

    async def scene(db: AsyncDatabase) -> None:
        def fails() -> None:
            raise KeyError

        with pytest.raises(AfterCommitFailed) as caught:  # noqa: PT012
            async with db.unit_of_work() as uow:
                uow.on_commit(fails)
                uow.on_commit(lambda: ran.append(1))
                await uow.projects.create(name="Stored before hooks")
        assert isinstance(caught.value.__cause__, KeyError)
        assert ran == [1]
        assert await db.projects.exists(name="Stored before hooks")

    acted(config, scene)


def test_sql_of_your_own_and_whole_functions(config: DatabaseConfig) -> None:
    def both(uow: UnitOfWork) -> list[str]:
        film = uow.projects.create(name="In one call")
        return [film.name, uow.projects.get_by_id(film.id).name]

    async def scene(db: AsyncDatabase) -> None:
        assert await db.session.one("SELECT %s", [7]) == (7,)
        assert [row async for row in db.session.stream("SELECT generate_series(1, 5)", batch=2)] == [
            (number,) for number in range(1, 6)
        ]
        async with db.unit_of_work(max_statements=3) as uow:
            assert await uow.session.maybe("SELECT 1 WHERE false") is None
            assert await uow.call(both) == ["In one call"] * 2
        assert await db.call(lambda database: database.projects.exists(name="In one call"))
        film = (await db.projects.list(name="In one call"))[0]
        assert await db.for_project(film.id).links.list() == []
        async with db.for_project(film.id).unit_of_work() as uow:
            with pytest.raises(InvalidValue):
                await uow.links.create(project_id=uuid4(), url="https://example.org/")
        assert (await db.search("nothing")).items == []
        assert (await db.health()).ok
        assert not await db.create_if_missing()

    acted(config, scene)


def test_run_tries_again_and_hands_over_what_it_gave(config: DatabaseConfig) -> None:
    heard: list[str] = []

    async def scene(db: AsyncDatabase) -> None:
        tries: list[AsyncUnitOfWork] = []

        async def third(uow: AsyncUnitOfWork) -> str:
            tries.append(uow)
            await uow.projects.create(name="At the third try")
            uow.on_commit(lambda: heard.append(f"try {len(tries)}"))
            if len(tries) < 3:
                raise SerializationFailure("made up")
            return "given"

        assert await db.run(third) == "given"
        assert len({id(each) for each in tries}) == 3
        assert heard == ["try 3"]
        assert await db.projects.count(name="At the third try") == 1
        with pytest.raises(ReleasedConnection):
            await tries[0].projects.count()

        async def never(uow: AsyncUnitOfWork) -> None:
            await uow.session.one("SELECT 1")
            raise SerializationFailure("made up")

        with pytest.raises(RetriesExhausted):
            await db.run(never, retries=1)

        async def mine(uow: AsyncUnitOfWork) -> None:
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            await db.run(mine)
        with pytest.raises(InvalidValue):
            await db.run(mine, retries=-1)
        with pytest.raises(InvalidValue, match="open already"):
            await db.run(lambda uow: db.run(mine))
        with pytest.raises(DeadlineExceeded):
            await db.run(lambda uow: uow.session.all(SLEEP), deadline=0.2)

    acted(config, scene)


def test_run_with_a_key_takes_effect_once(config: DatabaseConfig) -> None:
    calls: list[int] = []

    async def work(uow: AsyncUnitOfWork) -> str:
        calls.append(1)
        return (await uow.projects.create(name="Once")).name

    async def scene(db: AsyncDatabase) -> None:
        for _ in range(2):
            assert await db.run(work, idempotency_key="asyncio-once", returns=str) == "Once"
        assert calls == [1]

    acted(config, scene)


# -------------------------------------------------------------------------------------- a unit and its task


def test_a_unit_belongs_to_its_task(config: DatabaseConfig) -> None:
    async def scene(db: AsyncDatabase) -> None:
        async def apart(name: str) -> str:
            async with db.unit_of_work() as own:  # a child inherits nothing
                return (await own.projects.create(name=name)).name

        async with db.unit_of_work() as uow:
            await uow.projects.count()
            with pytest.raises(InvalidValue, match="belongs to the task"):
                await asyncio.gather(uow.projects.count())
            with pytest.raises(InvalidValue, match="belongs to the task"):
                await asyncio.create_task(anext(uow.projects.stream()))
            for refused in (db.projects.count(), db.session.one("SELECT 1"), db.call(lambda database: 1)):
                with pytest.raises(InvalidValue, match="outside_unit"):
                    await refused
            with pytest.raises(InvalidValue, match="outside_unit"):
                db.projects.stream()
            with pytest.raises(InvalidValue, match="open already"):
                db.unit_of_work()
            with pytest.raises(InvalidValue, match="the whole unit's"):
                db.unit_of_work(savepoint=True, read_only=True)
            assert set(await asyncio.gather(apart("Child 1"), apart("Child 2"))) == {"Child 1", "Child 2"}
            async with asyncio.timeout(PATIENCE):  # stays in the task
                assert await uow.projects.exists(name="Child 1")
        assert await db.projects.count(name__startswith="Child") == 2
        with pytest.raises(InvalidValue, match="not open"):
            db.unit_of_work().projects  # type: ignore[attr-defined]  # noqa: B018
        unit = db.unit_of_work()
        async with unit:
            pass
        with pytest.raises(ReleasedConnection):
            await unit.__aenter__()

    acted(config, scene, pool_size=4)


def test_context_travels_to_the_thread(config: DatabaseConfig) -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    tracer = provider.get_tracer("application")

    async def scene(db: AsyncDatabase) -> None:
        db.observe(Tracing(provider))
        request.set("r1")
        structlog.contextvars.bind_contextvars(request_id="r1")
        assert await db.call(lambda database: (request.get(), request.set("thread"))[0]) == "r1"
        assert request.get() == "r1"  # what a call sets stays in its thread
        assert await db.call(lambda database: structlog.contextvars.get_contextvars()) == {"request_id": "r1"}
        with tracer.start_as_current_span("request"):
            async with db.unit_of_work() as uow:
                await uow.projects.count()
                request.set("r2")
                assert await uow.call(lambda unit: request.get()) == "r2"
                with tracer.start_as_current_span("inner"):
                    await uow.projects.exists()
        structlog.contextvars.clear_contextvars()

    acted(config, scene)
    found = {span.name: span for span in spans.get_finished_spans()}
    [unit] = [span for name, span in found.items() if name.startswith("unit of work")]

    def parent(name: str) -> str:
        above = found[name].parent
        assert above is not None
        return next(
            each.name
            for each in found.values()
            if each.context is not None and each.context.span_id == above.span_id
        )

    assert parent(unit.name) == "request"
    assert parent("projects.count") == unit.name
    assert parent("projects.exists") == "inner"


# -------------------------------------------------------------------------------------------------- cancelled


async def a_statement(db: AsyncDatabase) -> None:
    await db.session.all(SLEEP)


async def a_write(db: AsyncDatabase) -> None:
    insert = "INSERT INTO projects (id, name, slug) SELECT %s, 'Gone', 'gone' FROM pg_sleep(60)"
    await db.session.all(insert, [uuid4()])


async def a_unit(db: AsyncDatabase) -> None:
    async with db.unit_of_work() as uow:
        await uow.projects.create(name="Gone")
        await uow.session.all(SLEEP)


async def a_unit_in_part(db: AsyncDatabase) -> None:
    async with db.unit_of_work() as uow, uow.savepoint():
        await uow.projects.create(name="Gone")
        await uow.session.all(SLEEP)


async def a_stream(db: AsyncDatabase) -> None:
    slower = "SELECT pg_sleep(CASE WHEN n > 2 THEN 60 ELSE 0 END) FROM generate_series(1, 9) AS n"
    async for _ in db.session.stream(slower, batch=2):
        pass


async def a_run(db: AsyncDatabase) -> None:
    async def work(uow: AsyncUnitOfWork) -> None:
        await uow.projects.create(name="Gone")
        await uow.session.all(SLEEP)

    await db.run(work)


async def a_function(db: AsyncDatabase) -> None:
    def work(database: Database[Any]) -> None:
        with database.unit_of_work() as uow:
            uow.projects.create(name="Gone")
            uow.session.all(SLEEP)

    await db.call(work)


ACTS = [a_statement, a_write, a_unit, a_unit_in_part, a_stream, a_run, a_function]


def test_a_cancelled_task_ends_its_statement_on_the_server(config: DatabaseConfig) -> None:
    async def scene(db: AsyncDatabase) -> None:
        for act in ACTS:
            task = asyncio.create_task(act(db), name=act.__name__)
            await asleep(db)
            assert await cancelled(task) < 2, act.__name__
            assert await running(db) == [], act.__name__
            assert db.pool.stats().in_use == 0, act.__name__
            assert not await db.projects.exists(name="Gone"), act.__name__
        # All at once, each more than once, as an impatient caller does.
        tasks = [asyncio.create_task(act(db)) for act in ACTS for _ in range(2)]
        await asleep(db, db.pool.maxconn)
        for task in tasks * 2:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended)
        assert await db.projects.count(name="Gone") == 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await a_unit(db)

    acted(config, scene, pool_size=4, max_overflow=0)


def test_a_unit_goes_on_where_only_its_part_was_cancelled(config: DatabaseConfig) -> None:
    async def scene(db: AsyncDatabase) -> None:
        async with db.unit_of_work() as uow:
            await uow.projects.create(name="Before the part")
            with pytest.raises(TimeoutError):
                async with uow.savepoint(), asyncio.timeout(0.1):
                    await uow.session.all(SLEEP)
            await uow.projects.create(name="After the part")
        assert await db.projects.count(name__endswith="the part") == 2
        with pytest.raises(TransactionAborted):  # noqa: PT012
            async with db.unit_of_work() as uow:
                await uow.projects.create(name="Before the end")
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await uow.session.all(SLEEP)
        assert not await db.projects.exists(name="Before the end")

    acted(config, scene)


def test_a_late_cancel_hits_nobody_else(config: DatabaseConfig) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201  # to be seen where it fails
    moments = random.Random(seed)

    async def victim(db: AsyncDatabase) -> None:
        if moments.random() < 0.5:
            await db.session.all("SELECT pg_sleep(%s)", [moments.random() / 200])
        else:
            async with db.unit_of_work() as uow:
                await uow.session.all("SELECT pg_sleep(%s)", [moments.random() / 200])

    async def scene(db: AsyncDatabase) -> None:
        ended = False
        done = 0

        async def bystander() -> None:
            nonlocal done
            while not ended:  # a cancel that is meant for another one would raise here
                assert await db.session.one("SELECT 1 FROM pg_sleep(0.001)") == (1,)
                done += 1

        bystanders = [asyncio.create_task(bystander()) for _ in range(2)]
        for _ in range(60):
            task = asyncio.create_task(victim(db))
            await asyncio.sleep(moments.random() / 100)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        ended = True
        await asyncio.gather(*bystanders)
        assert done > 60

    acted(config, scene, pool_size=3, max_overflow=0)


def test_cancelled_while_it_waits_for_its_turn(config: DatabaseConfig) -> None:
    async def scene(db: AsyncDatabase) -> None:
        holder = asyncio.create_task(a_statement(db))
        await asleep(db)
        for act in ACTS:
            waiting = asyncio.create_task(act(db))
            await asyncio.sleep(0)
            assert await cancelled(waiting) < 0.5, act.__name__
        order: list[int] = []

        async def turn(number: int) -> None:
            await db.session.one("SELECT 1")
            order.append(number)

        tasks = [asyncio.create_task(turn(number)) for number in range(6)]
        await asyncio.sleep(0)
        assert await cancelled(tasks.pop(2)) < 0.5
        await cancelled(holder)
        await asyncio.gather(*tasks)
        assert order == [0, 1, 3, 4, 5]  # in the order they came
        # A thread's own wait for the pool, which a synchronous caller has emptied, ends as well.
        lease = db.pool.borrow()
        waiting = asyncio.create_task(a_write(db))
        await soon(lambda: db.pool.stats().waiting)
        assert await cancelled(waiting) < 0.5
        assert db.pool.stats().waiting == 0
        lease.release()
        assert not await db.projects.exists(name="Gone")

    acted(config, scene, pool_size=1, max_overflow=0)


COMMITS = """
CREATE TABLE slow_commits (
    name text PRIMARY KEY, seconds float, of uuid REFERENCES projects DEFERRABLE INITIALLY DEFERRED
);
CREATE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN PERFORM pg_sleep(NEW.seconds); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER "0_slow" AFTER INSERT ON slow_commits DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION slow_commit();
"""


def test_cancelled_in_commit_the_truth_is_known(config: DatabaseConfig) -> None:
    hooks: list[str] = []
    insert = "INSERT INTO slow_commits VALUES (%s, %s, %s)"

    async def unit(db: AsyncDatabase, name: str, seconds: float, of: object = None) -> None:
        async with db.unit_of_work(resolve=False) as uow:
            uow.on_commit(lambda: hooks.append(name))
            await uow.session.run(insert, [name, seconds, of])

    async def tried(db: AsyncDatabase, name: str, seconds: float, of: object = None) -> None:
        async def work(uow: AsyncUnitOfWork) -> None:
            uow.on_commit(lambda: hooks.append(name))
            await uow.session.run(insert, [name, seconds, of])

        await db.run(work, resolve=False)

    async def at_commit(db: AsyncDatabase, act: Callable[..., Any], *arguments: object) -> BaseException:
        task = asyncio.create_task(act(db, *arguments))
        await committing(db)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value

    async def committing(db: AsyncDatabase) -> None:
        until = monotonic() + PATIENCE
        while await running(db) != ["PgSleepCOMMIT"]:
            assert monotonic() < until

    async def scene(db: AsyncDatabase) -> None:
        await db.session.script(COMMITS)
        for act in (unit, tried):
            name = act.__name__
            stored = await at_commit(db, act, name, 0.3)
            assert any("was committed" in note for note in stored.__notes__)
            assert hooks.pop() == name
            assert await db.session.one("SELECT count(*) FROM slow_commits WHERE name = %s", [name]) == (1,)
            refused = await at_commit(db, act, f"{name} refused", 0.3, uuid4())
            assert isinstance(refused.__cause__, MissingReference)
            # The backend dies in COMMIT, and nobody is to ask what became of it.
            task = asyncio.create_task(act(db, f"{name} unknown", 60))
            await committing(db)
            task.cancel()
            await db.session.all(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE query = 'COMMIT'"
            )
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            assert isinstance(caught.value.__cause__, CommitOutcomeUnknown)
        assert await db.session.one("SELECT count(*) FROM slow_commits") == (2,)
        assert not hooks
        await db.session.script("DROP TABLE slow_commits; DROP FUNCTION slow_commit")

    acted(config, scene)


# ------------------------------------------------------------------------------------ the threads and the end


def test_no_more_threads_than_connections_and_all_in_turn(config: DatabaseConfig) -> None:
    most = 0

    async def scene(db: AsyncDatabase) -> None:
        before = threads()

        async def turn(number: int) -> int:
            nonlocal most
            [found] = await db.session.one("SELECT %s::int", [number])
            most = max(most, len(threads() - before))
            return int(found)

        assert await asyncio.gather(*map(turn, range(200))) == list(range(200))
        assert most <= 3

    acted(config, scene, pool_size=2, max_overflow=1)
    assert most == 3


def test_who_waits_too_long_hears_who_has_the_connections(config: DatabaseConfig) -> None:
    async def scene(db: AsyncDatabase) -> None:
        holder = asyncio.create_task(a_unit(db), name="the holder")
        await asleep(db)
        with pytest.raises(PoolTimeout, match="the holder"):
            await db.projects.count()
        with pytest.raises(PoolTimeout, match="the holder"):
            async with db.unit_of_work() as uow:
                await uow.projects.count()
        with pytest.raises(DeadlineExceeded):
            async with db.unit_of_work(deadline=0.05) as uow:
                await uow.projects.count()
        waiting = [asyncio.create_task(db.projects.count()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(PoolOverloaded, match="pool_max_waiting is 2"):
            await db.projects.count()
        for each in waiting:
            with pytest.raises(PoolTimeout):
                await each
        with pytest.raises(PoolTimeout):
            await db.run(lambda uow: uow.projects.count())
        await cancelled(holder)

    acted(config, scene, pool_size=1, max_overflow=0, pool_timeout=0.2, pool_max_waiting=2)


def test_close_refuses_who_waits_and_cuts_who_stays(config: DatabaseConfig) -> None:
    async def scene() -> None:
        db = AsyncDatabase(config.with_(pool_size=1, max_overflow=0))
        before = threads()
        holder = asyncio.create_task(db.session.one("SELECT 1 FROM pg_sleep(0.3)"))
        await soon(lambda: db.pool.stats().in_use)
        waiting = [asyncio.create_task(act(db)) for act in (a_statement, a_unit, a_stream, a_run)]
        await asyncio.sleep(0)
        await db.close()
        assert await holder == (1,)  # it was let finish
        for each in waiting:
            with pytest.raises(PoolClosed):
                await each
        with pytest.raises(PoolClosed):
            await db.projects.count()
        await db.close()
        await soon(lambda: not threads() - before)

    asyncio.run(scene())


def test_one_database_serves_several_loops(config: DatabaseConfig) -> None:
    db = AsyncDatabase(config.with_(pool_size=2, max_overflow=0))

    async def scene() -> None:
        async with db.unit_of_work() as uow:
            await uow.session.one("SELECT 1")
        assert await asyncio.gather(*(db.session.one("SELECT 1") for _ in range(20))) == [(1,)] * 20

    for _ in range(2):
        asyncio.run(scene())
    beside = [threading.Thread(target=asyncio.run, args=(scene(),)) for _ in range(2)]
    for each in beside:
        each.start()
    for each in beside:
        each.join(PATIENCE)
    assert not any(each.is_alive() for each in beside)
    asyncio.run(db.close())


def test_what_is_dropped_gives_everything_back(config: DatabaseConfig) -> None:
    """A unit whose loop went away, a stream that was left early, a database that nobody closed."""
    before = threads()
    db = AsyncDatabase(config.with_(pool_size=2, max_overflow=0))
    pool = db.pool

    async def left_early(db: AsyncDatabase) -> None:
        async for _ in db.session.stream("SELECT generate_series(1, 5000)", batch=10):
            break

    async def opened_and_left(db: AsyncDatabase) -> None:
        uow = await db.unit_of_work().__aenter__()
        await uow.projects.create(name="Dropped")

    for scene in (left_early, opened_and_left):
        asyncio.run(scene(db))
        eventually(lambda: pool.stats().in_use == 0)
    assert not db.database.projects.exists(name="Dropped")
    db.database.close()
    del db
    gc.collect()
    eventually(lambda: not threads() - before)


PROGRAM = """
    import asyncio, os, sys
    from database_handler import AsyncDatabase

    db = AsyncDatabase(sys.argv[1])

    async def scene():
        async with db.unit_of_work() as uow:
            await uow.session.one("SELECT 1")
        return await asyncio.gather(*(db.session.one("SELECT pg_backend_pid()") for _ in range(3)))

    ours = asyncio.run(scene())
    child = os.fork()
    if not child:
        theirs = asyncio.run(scene())  # its own threads, its own connections
        os._exit(0 if not set(ours) & set(theirs) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert asyncio.run(scene())

    async def left_open():
        unit = await db.unit_of_work().__aenter__()
        await unit.session.one("SELECT 1")
        globals()["kept"] = unit
        globals()["task"] = asyncio.create_task(db.session.one("SELECT pg_sleep(60)"))
        await asyncio.sleep(0.2)
        os.kill(os.getpid(), 2)  # as Ctrl+C

    try:
        asyncio.run(left_open())
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_a_program_forks_is_interrupted_and_ends(config: DatabaseConfig) -> None:
    url = config.url(hide_password=False)
    code = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(PROGRAM), url]
    done = subprocess.run(code, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


def no_feed_waits() -> bool:
    return "database-handler-changes" not in {each.name for each in threading.enumerate()}


def test_changes_come_one_by_one_and_a_cancelled_wait_loses_none(config: DatabaseConfig) -> None:
    async def scene(db: AsyncDatabase) -> None:
        await db.call(lambda database: database.outbox.prepare())
        film = await db.projects.create(name="Told of")

        async def linked(number: int) -> Link:
            return await db.links.create(project_id=film.id, url=f"https://told.example.org/{number}")

        async with db.changes(film.id, ["links"], reader="asyncio", poll=0.05) as feed:
            with pytest.raises(InvalidValue, match="no change was given"):
                await feed.acknowledge()
            given: list[Any] = []
            for number in range(3):
                waiting = asyncio.ensure_future(anext(feed))
                await asyncio.sleep(0)
                with pytest.raises(InvalidValue, match="one task"):
                    await anext(feed)
                assert await cancelled(waiting) < 0.5  # its thread waits on, for the next who asks
                link = await linked(number)
                await soon(no_feed_waits)  # the thread has the change, and nobody asks for it yet
                given.append(await anext(feed))
                assert given[-1].id == link.id
            async with db.unit_of_work() as uow:  # in the same transaction as what the change causes
                await uow.projects.update(film.id, {"description": "told"})
                await feed.acknowledge(given[-1], session=uow.session)
            await linked(3)
            assert (await anext(feed)).position == feed.position
        with pytest.raises(ReleasedConnection):
            await anext(feed)
        async with db.changes(film.id, reader="asyncio", wait=0.2, poll=0.05) as feed:
            again = [(change.entity, change.operation.value) async for change in feed]
            assert again[-1] == ("links", "insert"), again  # what was not acknowledged comes again
            await feed.acknowledge()
        waits = db.changes(film.id, poll=0.05)
        waiting = asyncio.ensure_future(anext(waits))
        await asyncio.sleep(0)
        await waits.close()
        with pytest.raises(StopAsyncIteration):
            await waiting
        await soon(no_feed_waits)
        await db.call(lambda database: database.outbox.forget("asyncio"))

    acted(config, scene, changes="outbox")


async def longest_waits(db: AsyncDatabase, rows: int) -> dict[str, float]:
    """Return for how long the loop kept a task waiting, while 200 others read, by what else was done."""
    film = await db.projects.create(name=f"Beats {uuid4()}")
    drafts = [NewLink(project_id=film.id, url=f"https://example.org/{number}") for number in range(rows)]
    found: dict[str, float] = {}

    async def read() -> None:
        for _ in range(3):
            assert await db.projects.get_by_id(film.id) == film

    async def measured(name: str, *acts: Awaitable[Sized]) -> None:
        gc.collect()
        ended, longest = False, 0.0

        async def beat() -> None:
            nonlocal longest
            while not ended:
                before = monotonic()
                await asyncio.sleep(0.001)
                longest = max(longest, monotonic() - before - 0.001)

        beating = asyncio.create_task(beat())
        given = await asyncio.gather(*acts, *(read() for _ in range(200)))
        ended = True  # letting go of so many records takes the loop long too, but is the caller's
        await beating
        assert [len(each) for each in given[: len(acts)] if each is not None] == [rows] * len(acts)
        found[name] = longest

    await measured("create_many", db.links.create_many(drafts))
    await measured("four of list", *(db.links.list(project_id=film.id) for _ in range(4)))
    await measured("upsert_many", db.links.upsert_many(drafts))
    await measured("SQL of your own", *[db.session.all("SELECT generate_series(1, %s)", [rows])])
    return found


@pytest.fixture
def seldom_looked_through() -> Iterator[None]:
    """Have the collector look through what is older as docs/asyncio.md says, and through no test run."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(700, 1, 100)
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


@pytest.mark.usefixtures("seldom_looked_through")
@pytest.mark.parametrize("rows", [2_500, pytest.param(20_000, marks=pytest.mark.soak)])
def test_the_loop_is_never_blocked(
    config: DatabaseConfig, capsys: pytest.CaptureFixture[str], rows: int
) -> None:
    least: dict[str, float] = {}

    async def scene(db: AsyncDatabase) -> None:
        # A machine that is busy with something else adds to the one or the other; what is ours is in each.
        for _ in range(5):
            for name, seconds in (await longest_waits(db, rows)).items():
                least[name] = min(least.get(name, 1), seconds)
            if max(least.values()) <= 0.05:
                break

    acted(config, scene, pool_size=5, max_overflow=0)
    with capsys.disabled():
        if rows == 20_000:
            print(f"\n{least}")  # noqa: T201  # figures of the page
    assert max(least.values()) <= 0.05, least


# ------------------------------------------------------------------------------------- an application's own


class StoryRepository(LinkRepository):
    def of_host(self, host: str, *, limit: int = 10) -> list[Link]:
        """Return the stories of a host."""
        return self.list(host=host, limit=limit, order_by="url")

    def every(self, host: str) -> Iterator[Link]:
        yield from self.stream(host=host, order_by="url", batch=1)


class AsyncStoryRepository(AsyncRepository[NewLink, Link]):
    repository = StoryRepository
    create = AsyncCreate(NewLink, Link)
    of_host = awaited(StoryRepository.of_host)
    every = iterated(StoryRepository.every)


class Newsroom(Repositories):
    links = Entity(StoryRepository)


class NewsroomUnit(Newsroom, UnitOfWork):
    pass


class NewsroomDatabase(Newsroom, Database[NewsroomUnit]):
    pass


class AsyncNewsroom(AsyncRepositories):
    links = AsyncEntity(AsyncStoryRepository)  # type: ignore[assignment]


class AsyncNewsroomUnit(AsyncNewsroom, AsyncUnitOfWork[NewsroomUnit]):
    pass


class AsyncNewsroomDatabase(AsyncNewsroom, AsyncDatabase[AsyncNewsroomUnit, NewsroomDatabase]):
    pass


class AsyncNewsroomAsBefore(AsyncNewsroom, AsyncDatabase[AsyncNewsroomUnit]):
    database_class = NewsroomDatabase


def test_an_application_has_its_own_calls(config: DatabaseConfig) -> None:
    async def scene() -> None:
        async with AsyncNewsroomDatabase(config) as db:
            film = await db.projects.create(name="Own calls")
            async with db.unit_of_work() as uow:
                urls = [f"https://news.example.org/{number}" for number in range(3)]
                for url in urls:
                    await uow.links.create(project_id=film.id, url=url)
                found: Any = uow.links
                assert [each.url async for each in found.every("news.example.org")] == urls
            stories: Any = db.links
            assert [each.url for each in await stories.of_host("news.example.org", limit=2)] == urls[:2]
            assert AsyncStoryRepository.of_host.__doc__ == StoryRepository.of_host.__doc__
            assert await db.call(lambda database: database.links.of_host("nowhere.example.org")) == []
            assert type(db.database) is AsyncNewsroomAsBefore.database_class
            async with db.unit_of_work() as uow:
                assert await uow.call(lambda unit: unit.links.of_host("nowhere.example.org")) == []

    asyncio.run(scene())


def test_what_does_not_fit_together_is_refused(config: DatabaseConfig) -> None:
    with pytest.raises(ConfigurationError, match="database_class"):
        type("Wrong", (AsyncNewsroom, AsyncDatabase), {})
    with pytest.raises(InvalidValue, match="does not say which repository"):
        AsyncEntity(AsyncRepository)
    with pytest.raises(InvalidValue, match="AsyncRepository"):
        AsyncEntity(LinkRepository)  # type: ignore[type-var]
    with pytest.raises(InvalidValue, match="as NoteRepository"):
        awaited("of")  # type: ignore[arg-type]
    with Database(config) as plain:
        with pytest.raises(InvalidValue, match="NewsroomDatabase is wanted"):
            AsyncNewsroomDatabase(plain)
        with pytest.raises(InvalidValue, match="made already"):
            AsyncDatabase(plain, cache="redis://localhost")
        assert AsyncDatabase(plain).database is plain

    async def scene(db: AsyncDatabase) -> None:
        no: Any = "no"
        for refused in (db.call(no), db.run(no)):
            with pytest.raises(InvalidValue, match="str"):
                await refused
        every: list[Any] = [{"isolation": "chaos"}, {"no_such": 1}, {"deadline": -1}]
        for wrong in every:
            with pytest.raises(InvalidValue):
                db.unit_of_work(**wrong)
        async with db.unit_of_work() as uow:
            with pytest.raises(InvalidValue, match="on_commit"):
                uow.on_commit(5)  # type: ignore[arg-type]
            with pytest.raises(InvalidValue, match="call takes"):
                await uow.call(5)  # type: ignore[arg-type]
        with pytest.raises(InvalidValue):
            await db.projects.get_by_id("no id")
        with pytest.raises(InvalidValue):
            await db.projects.create_many(5)  # type: ignore[arg-type]

    acted(config, scene)
