"""Reads on real standbys: who serves, what a thread finds, what becomes of a replica that lags or dies."""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass
from math import inf
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from database_handler import AsyncDatabase, Database, DatabaseConfig, Project, Session, UnitOfWork
from database_handler.core.exceptions import (
    ConnectionLost,
    DatabaseHandlerError,
    DatabaseUnavailable,
    InvalidValue,
    ReadOnlyServer,
)
from database_handler.core.reader import follow_task
from database_handler.core.replicas import ReplicaState
from database_handler.core.session import Statement
from database_handler.embedded import EmbeddedServer
from database_handler.operations.monitoring import PrometheusMetrics, Tracing
from tests.faults.conftest import frozen, in_thread, joined
from tests.faults.test_pool_fork import ended_well, forked
from tests.support.caching import created
from tests.support.faults import PATIENCE, FaultProxy, FaultRelay, eventually
from tests.support.own_server import OwnServer
from tests.support.pages import Walk, blocks, only_settings
from tests.support.standbys import (
    copied_for_standby,
    follow,
    let_in_the_servers_own_user,
    paused,
    processes_of,
    session_of,
)
from tests.support.valkey import Valkey
from tests.support.wire import CountingProxy

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "replicas.md"
PRIMARY, NEAR, FAR = "", "near", "far"  # as the servers are called (cluster_name)
SOON = {"max_standby_streaming_delay": "0", "wal_retrieve_retry_interval": "100ms"}
QUICK = {"replica_check": 0.02, "replica_wait": 0.05}
# On a standby it takes longer than any test waits; on the primary no time.
LONG_THERE = "SELECT count(*), max(CASE WHEN pg_is_in_recovery() THEN pg_sleep(60)::text END) FROM {}"


@dataclass(frozen=True)
class Servers:
    """A primary whose commits are written before they are told, and two standbys."""

    primary: EmbeddedServer
    near: OwnServer
    far: OwnServer

    @contextmanager
    def database(self, *standbys: OwnServer, **settings: Any) -> Iterator[Database]:
        """Open the primary with these replicas, both where none is named."""
        urls = [each.config.url() for each in standbys or (self.near, self.far)]
        named = {"replica_urls": urls, "pool_size": 3, "max_overflow": 0, **settings}
        with Database(self.primary.config.with_(**named)) as database:
            database.replicas()  # so that all have been asked
            yield database


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("replicas")
    with EmbeddedServer.start(folder / "primary", durable=False) as primary, ExitStack() as standbys:
        let_in_the_servers_own_user(primary)
        session_of(primary).run("ALTER DATABASE app SET synchronous_commit = on")
        with Database(primary.config) as database:
            database.migrate()
        found = [
            standbys.enter_context(
                OwnServer(copied_for_standby(primary, folder / name, {**SOON, "cluster_name": name}))
            )
            for name in (NEAR, FAR)
        ]
        yield Servers(primary, *found)


@pytest.fixture(autouse=True)
def following(servers: Servers) -> None:
    """Begin with standbys that have all there is."""
    for each in (servers.near, servers.far):
        follow(servers.primary, each)


def where(session: Session) -> str:
    """Say which server answers."""
    [name] = session.one("SELECT current_setting('cluster_name')")
    return str(name)


def states(database: Database) -> dict[str, str]:
    """Tell the replicas' states, by their place in the list."""
    return {name: each.state.value for name, each in zip((NEAR, FAR), database.replicas(), strict=False)}


def elsewhere(work: Callable[[], Any]) -> Any:
    """Do something in a thread of its own, which has written nothing."""
    done: list[Any] = []
    joined(in_thread(lambda: done.append(work())))
    return done[0]


def running_on(server: OwnServer) -> int:
    """Count the statements of `LONG_THERE` that run on a server."""
    text = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%%pg_sleep(60)%%'"
    found = session_of(server).one(Statement(f"{text} AND pid <> pg_backend_pid()", "test.running"))
    return int(found[0])


# ------------------------------------------------------------------------------------------------- who serves


def test_reads_go_to_replicas_and_writes_to_the_primary(servers: Servers) -> None:
    with servers.database() as database:
        reads = database.repositories(replica=True)
        assert {where(reads.session) for _ in range(6)} == {NEAR, FAR}, "they take turns"
        assert where(database.session) == PRIMARY
        project = reads.projects.create(name=f"film {uuid4()}")
        changed = reads.projects.update(project.id, {"description": "new"})
        assert reads.projects.get_by_id(project.id) == changed
        [found] = reads.projects.stream(name=project.name)
        assert found == changed
        [(name,)] = reads.session.stream("SELECT current_setting('cluster_name')")
        assert name != PRIMARY
        assert reads.session.run("UPDATE projects SET description = 'sql' WHERE id = %s", [project.id]) == 1
        locked = "SELECT current_setting('cluster_name') FROM projects WHERE id = %s FOR UPDATE"
        assert reads.session.one(locked, [project.id]) == (PRIMARY,), "no standby locks a row"
        assert database.repositories().session is database.session
        held = database.for_project(project.id).repositories(replica=True)
        assert (held.project_id, where(held.session) != PRIMARY) == (project.id, True)
        assert sum(each.reads for each in database.replicas()) > 6


def test_units_that_only_read_go_to_replicas(servers: Servers) -> None:
    def unit(database: Database, **options: Any) -> str:
        with database.unit_of_work(**options) as uow:
            return where(uow.session)

    with servers.database() as database:
        assert unit(database) == PRIMARY
        assert unit(database, read_only=True) != PRIMARY
        assert unit(database, read_only=True, replica=True, isolation="repeatable read") != PRIMARY
        assert unit(database, read_only=True, replica=False) == PRIMARY
        assert unit(database, read_only=True, isolation="serializable") == PRIMARY
        assert database.run(lambda uow: where(uow.session), read_only=True) != PRIMARY
        with pytest.raises(ReadOnlyServer), database.unit_of_work(read_only=True) as uow:
            uow.projects.create(name="refused there as here")
        assert set(states(database).values()) == {"serving"}
        with database.unit_of_work(read_only=True, max_statements=1, deadline=5) as uow:
            assert where(uow.session) != PRIMARY
        with database.unit_of_work() as uow:
            with pytest.raises(InvalidValue, match="outside_unit=True"):
                database.repositories(replica=True).projects.count()
            beside = database.repositories(replica=True, outside_unit=True)
            assert (where(beside.session) != PRIMARY, where(uow.session)) == (True, PRIMARY)


def test_what_contradicts_itself_is_refused(servers: Servers) -> None:
    with servers.database() as database:
        token = database.position()
        contradictions: list[dict[str, Any]] = [
            {"replica": True},
            {"after": token},
            {"read_only": True, "replica": False, "after": token},
            {"read_only": True, "replica": True, "isolation": "serializable"},
            {"read_only": True, "replica": "yes"},
            {"read_only": True, "after": "latest"},
        ]
        for options in contradictions:
            with pytest.raises(InvalidValue):
                database.unit_of_work(**options)
        with pytest.raises(InvalidValue, match="replica=True"):
            database.repositories(after=token)


def test_without_replicas_the_primary_serves(servers: Servers) -> None:
    with Database(servers.primary.config) as database:
        reads = database.repositories(replica=True, after=database.position())
        assert where(reads.session) == PRIMARY
        with database.unit_of_work(read_only=True, replica=True) as uow:
            assert where(uow.session) == PRIMARY
        assert database.replicas() == ()


def test_a_write_costs_no_more_and_a_read_after_it_two_round_trips_more(servers: Servers) -> None:
    with (
        CountingProxy(servers.primary.config) as here,
        CountingProxy(servers.near.config) as there,
        Database(here.config.with_(replica_urls=[there.config.url()], replica_check=3600)) as database,
    ):
        reads = database.repositories(replica=True)
        assert database.replicas()[0].state == "serving"
        reads.projects.count()

        def trips(work: Callable[[], object]) -> tuple[int, int]:
            with here.counting() as first, there.counting() as second:
                work()
            pings = [each.texts.count("SELECT") for each in (first, second)]  # of connections that lay idle
            return first.count - pings[0], second.count - pings[1]

        assert trips(lambda: created(database)) == (1, 0)
        follow(servers.primary, servers.near)
        assert trips(reads.projects.count) == (1, 2), "how far one has written, the other replayed"
        assert trips(reads.projects.count) == (0, 1)
        assert trips(database.projects.count) == (1, 0)

        def unit() -> None:
            with database.unit_of_work(read_only=True) as uow:
                uow.projects.count()

        assert trips(unit) == (0, 2), "BEGIN rides with the statement"


def test_a_child_of_a_fork_reads_on_connections_of_its_own(servers: Servers) -> None:
    with servers.database(**QUICK, replica_max_lag=0.2) as database:
        reads = database.repositories(replica=True)
        mine = where(reads.session)
        assert database._replicas is not None
        with database._replicas._looking:  # as if a thread were amid a look, which the child does not have

            def child() -> None:
                until = monotonic() + 0.5
                while monotonic() < until:  # what the parent knew is too old by then
                    where(reads.session)
                eventually(lambda: where(reads.session) != PRIMARY)

            assert ended_well(forked(child))
        assert mine != PRIMARY
        assert where(reads.session) != PRIMARY


# ------------------------------------------------------------------------------------ what a thread must find


def test_a_thread_finds_what_it_wrote_and_others_what_a_token_says(servers: Servers) -> None:
    with servers.database(**QUICK) as database, servers.database(**QUICK) as another:
        reads, there = database.repositories(replica=True), another.repositories(replica=True)
        with paused(servers.near, servers.far):

            def single() -> bool:
                project = created(database)
                return reads.projects.find_by_id(project.id) == project

            assert elsewhere(single)
            with database.unit_of_work() as unit:
                project = unit.projects.create(name=f"film {uuid4()}")
            assert reads.projects.get_by_id(project.id) == project
            with database.unit_of_work(read_only=True) as unit:
                assert unit.projects.get_by_id(project.id) == project
            assert asyncio.run(in_a_task(database.config)), "in whatever thread its calls are made"
            token = database.position()

            def found(**after: str) -> Project | None:
                with another.unit_of_work(read_only=True, **after) as unit:  # type: ignore[arg-type]
                    seen = unit.projects.find_by_id(project.id)
                assert another.repositories(replica=True, **after).projects.find_by_id(project.id) == seen  # type: ignore[arg-type]
                return seen

            assert there.projects.find_by_id(project.id) is None, "or the standbys were not paused"
            assert found() is None
            assert found(after=token) == project
            assert elsewhere(lambda: reads.projects.find_by_id(project.id)) is None, "of another thread"
        eventually(lambda: where(reads.session) != PRIMARY)
        assert reads.projects.get_by_id(project.id) == project
        assert found(after=token) == found() == project


def test_a_read_beside_a_write_of_its_task_does_not_take_the_note_of_it(servers: Servers) -> None:
    with FaultProxy(servers.primary.config) as way, ExitStack() as later:
        urls = [servers.near.config.url()]
        config = way.config.with_(replica_urls=urls, replica_check=3600, replica_wait=0.2)
        database = later.enter_context(Database(config))
        database.replicas()
        reads = database.repositories(replica=True)

        def task(text: bytes, write: Callable[[Database], Project]) -> None:
            follow_task()
            beside = copy_context()  # as asyncio.gather gives to each of its tasks
            with ExitStack() as then:

                def read(_: FaultRelay) -> None:
                    beside.run(reads.projects.count)  # while the write is on its way
                    then.enter_context(paused(servers.near))

                way.at("request", text, read)
                project = write(database)
                assert reads.projects.find_by_id(project.id) == project

        for text, write in ((b"COMMIT\0", in_a_unit), (b"INSERT", created)):
            follow(servers.primary, servers.near)
            copy_context().run(task, text, write)


def in_a_unit(database: Database) -> Project:
    with database.unit_of_work() as unit:
        return unit.projects.create(name=f"film {uuid4()}")


async def in_a_task(config: DatabaseConfig) -> bool:
    """Write in a task, and look for it: the calls are made in several threads."""
    async with AsyncDatabase(config) as database:
        await database.call(lambda blocking: blocking.replicas())
        # Two at once, so that both threads have been there before.
        await asyncio.gather(
            *(database.call(lambda blocking: blocking.session.one("SELECT pg_sleep(0.05)")) for _ in range(2))
        )
        reads = database.repositories(replica=True, after=await database.position())
        for _ in range(6):
            project = await database.projects.create(name=f"film {uuid4()}")
            assert await reads.projects.get_by_id(project.id) == project
            async with database.unit_of_work(read_only=True) as unit:
                if await unit.projects.find_by_id(project.id) is None:
                    return False
    return True


def test_what_must_be_found_travels_with_the_task_and_not_with_the_thread(servers: Servers) -> None:
    """All tasks are served by one thread; the standbys stand still, so who need not find a write does not."""

    async def wrote(database: AsyncDatabase) -> Project:
        return await database.projects.create(name=f"film {uuid4()}")

    def serve(blocking: Database) -> None:
        """Go on once both are known to serve; nobody asks them again."""
        eventually(lambda: {each.state for each in blocking.replicas()} == {ReplicaState.SERVING})

    async def scene(config: DatabaseConfig) -> None:
        steady = {"replica_check": 60.0, "replica_wait": 0.3, "replica_max_lag": None}
        async with AsyncDatabase(config.with_(pool_size=1, **steady)) as database:
            await database.call(serve)
            reads = database.repositories(replica=True)

            def apart(work: Callable[[], Any]) -> "asyncio.Task[Any]":
                return asyncio.get_running_loop().create_task(work(), context=Context())

            async def found(project: Project) -> bool:
                return await reads.projects.find_by_id(project.id) is not None

            async def writes_and_reads(go_on: asyncio.Event) -> Project:
                project = await wrote(database)
                await go_on.wait()
                assert await found(project), "which other tasks have used the thread since"
                assert await asyncio.create_task(found(project)), "in a task of its own making"
                return project

            async def awaits_what_others_write() -> None:
                for project in await asyncio.gather(database.projects.create(name=f"film {uuid4()}")):
                    assert await found(project)

            async def a_write_amid_the_question() -> None:
                replicas, late = database.database._replicas, list[Project]()
                assert replicas is not None
                ask = replicas._ask_primary

                def asked() -> Any:
                    answer = ask()
                    if not late:  # by a task beside this one, which shares its note
                        late.append(created(database.database))
                    return answer

                project = await wrote(database)
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(replicas, "_ask_primary", asked)
                    assert await found(project)
                assert await found(late[0])

            go_on = asyncio.Event()
            writer = apart(lambda: writes_and_reads(go_on))
            project = await apart(lambda: wrote(database))
            assert not await apart(lambda: found(project)), "of another task"
            go_on.set()
            await writer
            await apart(awaits_what_others_write)
            await apart(a_write_amid_the_question)

    with servers.database(**QUICK) as plain, paused(servers.near, servers.far):
        asyncio.run(asyncio.wait_for(scene(plain.config), PATIENCE))


def test_a_task_that_is_cancelled_has_its_statement_cancelled_on_the_replica(servers: Servers) -> None:
    async def cancelled(config: DatabaseConfig) -> None:
        async with AsyncDatabase(config) as database:
            await database.call(lambda blocking: blocking.replicas())

            async def read() -> None:
                async with database.unit_of_work(read_only=True) as unit:
                    await unit.session.one(LONG_THERE.format("generate_series(1, 1)"))

            reader = asyncio.create_task(read())
            await asyncio.to_thread(eventually, lambda: running_on(servers.far) == 1)
            reader.cancel()
            started = monotonic()
            with pytest.raises(asyncio.CancelledError):
                await reader
            assert monotonic() - started < 2
            assert running_on(servers.far) == 0

    with servers.database(servers.far) as plain:
        asyncio.run(cancelled(plain.config))


@pytest.mark.parametrize("seconds", [1.0, pytest.param(60.0, marks=pytest.mark.soak)])
def test_no_thread_misses_its_own_write_however_the_standbys_lag(servers: Servers, seconds: float) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201  # told where it fails
    until, chance = monotonic() + seconds, random.Random(seed)
    missed: list[Project] = []
    rounds: list[int] = []

    def write_and_read(database: Database) -> None:
        reads, done = database.repositories(replica=True), 0
        while monotonic() < until:
            project = created(database)
            found = reads.projects.find_by_id(project.id)
            with database.unit_of_work(read_only=True) as unit:
                counted = unit.projects.count(id=project.id)
            if found is None or counted != 1:
                missed.append(project)
            done += 1
        rounds.append(done)

    with servers.database(**QUICK, pool_timeout=PATIENCE) as database:
        threads = [in_thread(lambda: write_and_read(database)) for _ in range(3)]
        while monotonic() < until:
            with paused(*chance.sample([servers.near, servers.far], chance.choice([1, 2]))):
                Event().wait(chance.uniform(0, 0.1))
        joined(*threads)
        served = sum(each.reads for each in database.replicas())
    assert missed == []
    assert len(rounds) == 3
    assert served > 0, "the primary alone served"
    print(f"{sum(rounds)} writes, {served} reads and units at replicas")  # noqa: T201  # what was measured


def test_hostile_tokens_are_refused_or_served_by_the_primary(servers: Servers) -> None:
    with servers.database(**QUICK) as database:
        cluster, timeline, place = database.position().split("-")
        for token in ("", "x", "0/0", f"{cluster}-{timeline}", f"{cluster}-{timeline}-{place}\n", "-" * 42):
            with pytest.raises(InvalidValue, match="position"):
                database.repositories(replica=True, after=token)
        for token in (
            f"{cluster}-{timeline}-{place}'; DROP TABLE projects; --",
            place.upper() * 2,
            "9" * 10_000,
        ):
            with pytest.raises(InvalidValue) as refused:
                database.repositories(replica=True, after=token)
            assert token not in str(refused.value)
        reads = database.repositories(replica=True, after=f"{'0' * 16}-{timeline}-{place}")
        with pytest.raises(InvalidValue, match="another database server's cluster"):
            reads.projects.count()
        later = database.repositories(replica=True, after=f"{cluster}-{int(timeline, 16) + 1:08x}-{place}")
        database.projects.count()
        opened = database.pool.stats().opened
        with pytest.raises(DatabaseUnavailable, match="old one"):
            later.projects.count()
        database.projects.count()
        assert database.pool.stats().opened == opened, "it costs the pool no connection"
        far_off = database.repositories(replica=True, after=f"{cluster}-{timeline}-{'f' * 16}")
        started = monotonic()
        assert where(far_off.session) == PRIMARY
        assert monotonic() - started < 1
        assert (
            database.repositories(replica=True, after=f"{cluster}-{timeline}-{place}").projects.count() >= 0
        )


def test_a_cache_keeps_nothing_that_a_replica_gave(servers: Servers) -> None:
    with (
        Valkey() as valkey,
        servers.database(**QUICK) as plain,
        Database(plain.config, cache=valkey.url) as database,
    ):
        database.replicas()
        with paused(servers.near, servers.far):
            project = created(database)
            assert database.projects.get_by_id(project.id) == project  # and it is cached
            reads = database.repositories(replica=True)
            assert elsewhere(lambda: reads.projects.find_by_id(project.id)) is None
            changed = reads.projects.update(project.id, {"description": "new"})
            assert elsewhere(lambda: reads.projects.find_by_id(project.id)) is None
            assert elsewhere(lambda: database.projects.get_by_id(project.id)) == changed


# -------------------------------------------------------------------------------- replicas that do not serve


def test_one_that_lags_is_passed_over_and_one_that_rests_is_not(servers: Servers) -> None:
    with servers.database(**QUICK, replica_max_lag=0.3) as database:
        reads = database.repositories(replica=True)
        until = monotonic() + 0.7
        while monotonic() < until:  # nothing is written, for longer than they may lag
            assert where(reads.session) != PRIMARY
        with paused(servers.near):
            elsewhere(lambda: created(database))
            eventually(lambda: states(database) == {NEAR: "lagging", FAR: "serving"})
            assert {where(reads.session) for _ in range(4)} == {FAR}
            late, well = database.replicas()
            assert (late.lag_seconds or 0) > 0.3 > (well.lag_seconds or 0)
            assert (late.lag_bytes or 0) > 0
            assert "replica_max_lag" in late.message
            with paused(servers.far):
                elsewhere(lambda: created(database))
                eventually(lambda: where(reads.session) == PRIMARY)
                with database.unit_of_work(read_only=True) as unit:
                    assert where(unit.session) == PRIMARY
        eventually(lambda: {where(reads.session) for _ in range(4)} == {NEAR, FAR})


def test_the_one_that_lags_least_serves(servers: Servers) -> None:
    with servers.database(**QUICK, replica_max_lag=None) as database:
        reads = database.repositories(replica=True)
        for behind, other, name in ((servers.near, FAR, NEAR), (servers.far, NEAR, FAR)):
            with paused(behind):
                elsewhere(lambda: created(database))
                eventually(lambda other=other: {where(reads.session) for _ in range(6)} == {other})  # type: ignore[misc]
                assert states(database)[name] == "serving", "it lags, which is allowed"
            follow(servers.primary, behind)
            eventually(lambda: {where(reads.session) for _ in range(6)} == {NEAR, FAR})


def test_a_conflict_with_recovery_is_no_error_of_the_reader(servers: Servers) -> None:
    here = session_of(servers.primary)
    here.run("CREATE TABLE conflict AS SELECT generate_series(1, 1000) AS a")
    follow(servers.primary, servers.near)
    try:
        with servers.database(servers.near) as database:
            reads, answers = database.repositories(replica=True), list[Any]()
            reader = in_thread(lambda: answers.append(reads.session.one(LONG_THERE.format("conflict"))))
            eventually(lambda: running_on(servers.near) == 1)
            vacuumed(servers, "DELETE FROM conflict WHERE a > 10")
            joined(reader)
            assert answers == [(10, None)], "the standby cancelled it, and the primary answered"
            tries: list[str] = []

            def work(unit: UnitOfWork) -> int:
                tries.append(where(unit.session))
                counted = unit.session.one("SELECT count(*) FROM conflict")
                if len(tries) == 1:
                    vacuumed(servers, "DELETE FROM conflict WHERE a > 5")
                    follow(servers.primary, servers.near)  # which takes the unit's session away there
                assert unit.session.one("SELECT count(*) FROM conflict") == counted
                return int(counted[0])

            counted = database.run(work, read_only=True, isolation="repeatable read")
            assert (tries, counted) == ([NEAR, PRIMARY], 5)
    finally:
        here.run("DROP TABLE conflict")


def test_a_plain_conflict_amid_a_unit_is_run_again_at_the_primary_within_its_limits(
    servers: Servers,
) -> None:
    """40001 as any lost race has it: the session stays, the unit's statement was cancelled."""
    here = session_of(servers.primary)
    here.run("CREATE TABLE conflict AS SELECT generate_series(1, 1000) AS a")
    follow(servers.primary, servers.near)
    try:
        with servers.database(servers.near, pool_size=2) as database:
            tries: list[tuple[str, int]] = []

            def work(unit: UnitOfWork) -> int:
                tries.append(unit.session.one("SELECT current_setting('cluster_name'), pg_backend_pid()"))
                return int(unit.session.one(LONG_THERE.format("conflict"))[0])

            def cancelled(left: int, **limits: Any) -> Any:
                """Run the unit, and vacuum what its first try reads; return what it gave, or its failure."""
                follow(servers.primary, servers.near)  # so that nothing older conflicts with it
                ended: list[Any] = []

                def run() -> None:
                    try:
                        ended.append(database.run(work, read_only=True, **limits))
                    except DatabaseHandlerError as failure:
                        ended.append(failure)

                runner = in_thread(run)
                eventually(lambda: running_on(servers.near) == 1)
                vacuumed(servers, f"DELETE FROM conflict WHERE a > {left}")
                joined(runner)
                return ended[0]

            assert cancelled(100) == 100
            assert [server for server, _ in tries] == [NEAR, PRIMARY]
            assert dict(database.pool.stats().retries) == {"40001": 1}
            failure = cancelled(50, retries=0)
            assert (failure.sqlstate, failure.retryable) == ("40001", True), "the only try there was"
            assert [server for server, _ in tries[2:]] == [NEAR]
            assert cancelled(20, deadline=PATIENCE) == 20
            assert states(database) == {NEAR: "serving"}, "a conflict is no fault of the replica's"
            [kept] = database.replica_pools
            assert kept.stats().in_use == 0
    finally:
        here.run("DROP TABLE conflict")


def vacuumed(servers: Servers, delete: str) -> None:
    """Delete rows and take them away, so that a standby must end whoever may still read them."""
    session = session_of(servers.primary)
    session.run(Statement(delete, "test.delete", writes=True))
    session.script("VACUUM conflict")


def test_a_table_that_has_not_arrived_is_read_at_the_primary(servers: Servers) -> None:
    with servers.database() as database, paused(servers.near, servers.far):
        session_of(servers.primary).run("CREATE TABLE arrived_late AS SELECT 1 AS a")
        try:
            reads = database.repositories(replica=True)
            assert reads.session.one("SELECT a FROM arrived_late") == (1,)
            with database.unit_of_work(read_only=True) as unit:
                assert unit.session.one("SELECT a FROM arrived_late") == (1,)
            assert set(states(database).values()) == {"serving"}, "it is no fault of theirs"
        finally:
            session_of(servers.primary).run("DROP TABLE arrived_late")


def test_one_that_crashes_costs_no_read_and_serves_again_when_it_is_back(servers: Servers) -> None:
    with servers.database(servers.far, **QUICK) as database:
        reads, answers = database.repositories(replica=True, outside_unit=True), list[Any]()
        with database.unit_of_work(read_only=True) as unit:
            assert where(unit.session) == FAR
            reader = in_thread(
                lambda: answers.append(reads.session.one(LONG_THERE.format("generate_series(1, 1)")))
            )
            eventually(lambda: running_on(servers.far) == 1)
            servers.far.crash()
            try:
                joined(reader)
                assert answers[0][1] is None, "the primary answered"
                with pytest.raises(ConnectionLost) as lost:
                    where(unit.session)
                assert lost.value.retryable
                assert {where(reads.session) for _ in range(5)} == {PRIMARY}
                [told] = database.replicas()
                assert (told.state, "Unavailable" in told.message) == ("failing", True)
                assert database.health().ready, "the primary serves"
                assert database.health().replicas[0].state == "failing"
            finally:
                servers.far.start()
            unit.rollback()
        eventually(lambda: where(reads.session) == FAR)
        assert states(database) == {NEAR: "serving"}


def test_one_that_freezes_costs_a_reader_the_deadline_once(servers: Servers) -> None:
    with servers.database(servers.far, deadline=0.5, **QUICK) as database:
        reads = database.repositories(replica=True)
        assert where(reads.session) == FAR
        with frozen(*processes_of(servers.far.postmaster)):
            started = monotonic()
            assert where(reads.session) == PRIMARY
            assert monotonic() - started < 1.5
            started = monotonic()
            assert {where(reads.session) for _ in range(5)} == {PRIMARY}
            assert monotonic() - started < 1
        eventually(lambda: where(reads.session) == FAR)


@pytest.mark.parametrize("max_lag", [10.0, None])
def test_one_that_is_dead_for_long_costs_no_read_its_connect_time(
    servers: Servers, max_lag: float | None
) -> None:
    with FaultProxy(servers.near.config) as way:
        config = servers.primary.config.with_(
            replica_urls=[way.config.url()], replica_check=0.02, replica_max_lag=max_lag, connect_timeout=0.4
        )
        with Database(config) as database:
            reads = database.repositories(replica=True)
            eventually(lambda: where(reads.session) == NEAR)
            way.drop()  # as a machine that is gone: nobody refuses, nobody answers
            for relay in way.connections:
                relay.cut()
            assert where(reads.session) == PRIMARY, "found out within replica_wait, once"
            attempts, slowest = way.attempts, 0.0

            def read() -> bool:
                nonlocal slowest
                started = monotonic()
                assert where(reads.session) == PRIMARY
                slowest = max(slowest, monotonic() - started)
                return way.attempts > attempts

            eventually(read)  # until it was asked again, beside the reads
            assert slowest < config.replica_wait / 2
            assert states(database) == {NEAR: "failing"}
            way.pass_on()
            eventually(lambda: where(reads.session) == NEAR)


def test_one_of_which_nobody_knows_how_far_it_lags_is_chosen_last(servers: Servers) -> None:
    """Where they may lag for ever: one that has replayed no commit since it was started, for instance."""
    with servers.database(replica_max_lag=None, replica_check=3600) as database:
        assert database._replicas is not None
        near, far = database._replicas._all
        assert near.seen is not None
        assert far.seen is not None
        near.seen = near.seen._replace(behind=inf)
        reads = database.repositories(replica=True)
        assert {where(reads.session) for _ in range(4)} == {FAR}
        far.seen = far.seen._replace(behind=inf)
        assert {where(reads.session) for _ in range(4)} == {NEAR, FAR}
        assert [each.lag_seconds for each in database._replicas.status()] == [None, None]


def test_metrics_and_spans_tell_which_server_served(servers: Servers) -> None:
    registry, spans = CollectorRegistry(), InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"database_handler_replica_{name}", {"database": "films", **labels})

    with servers.database(servers.near, **QUICK) as database:
        database.observe(PrometheusMetrics(registry), name="films")
        database.observe(Tracing(provider))
        [near] = (f"{config.host}:{config.port}" for config in database.config.replicas())
        reads = database.repositories(replica=True)
        reads.projects.count()
        database.projects.count()
        with database.unit_of_work(read_only=True) as unit:
            unit.projects.count()
        served = [span.attributes or {} for span in spans.get_finished_spans() if "count" in span.name]
        assert [each["server.address"] for each in served] == [
            servers.near.config.host, servers.primary.config.host, servers.near.config.host,
        ]  # fmt: skip
        assert value("reads_total", replica=near) == 2
        assert [value("state", replica=near, state=each.value) for each in ReplicaState] == [1, *[0] * 6]
        assert 0 <= (value("lag_seconds", replica=near) or 0) < PATIENCE
        assert (value("lag_bytes", replica=near) or 0) >= 0
        with paused(servers.near):
            session_of(servers.primary).run("CREATE TABLE arrived_later AS SELECT 1 AS a")
            reads.session.one("SELECT a FROM arrived_later")
            assert value("primary_reads_total", reason="failed there") == 1
            assert reads.session.run("DROP TABLE arrived_later") == 0
            assert value("reads_total", replica=near) == 3, "a write is none"
            reads.projects.count()
        assert value("primary_reads_total", reason="behind") == 1
        servers.near.crash()
        try:
            reads.projects.count()
            assert value("state", replica=near, state="failing") == 1
            told = [s for f in registry.collect() for s in f.samples if s.name.endswith("left_out_total")]
            assert {sample.labels["error"] for sample in told} <= {"ConnectionLost", "DatabaseUnavailable"}
            reads.projects.count()
            assert (value("primary_reads_total", reason="none fits") or 0) >= 1
            assert value("lag_seconds", replica=near) is None
        finally:
            servers.near.start()
        eventually(lambda: where(reads.session) == NEAR)


def test_another_cluster_and_a_server_that_takes_writes_are_never_read(
    servers: Servers, shared_database: Database
) -> None:
    urls = [shared_database.config.url(hide_password=False), servers.primary.config.url()]
    with Database(servers.primary.config.with_(replica_urls=urls, **QUICK)) as database:
        foreign, writable = database.replicas()
        assert (foreign.state, writable.state) == ("foreign", "promoted")
        assert "another cluster" in foreign.message
        reads = database.repositories(replica=True)
        assert where(reads.session) == PRIMARY
        assert [each.reads for each in database.replicas()] == [0, 0]
        health = database.health()
        assert (health.ready, health.replicas[0].state) == (True, "foreign")


def test_the_page_runs(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    urls = ",".join(each.config.url() for each in (servers.near, servers.far))
    only_settings(monkeypatch, tmp_path, DATABASE_URL=servers.primary.config.url(), DB_REPLICA_URLS=urls)
    walk = Walk(monkeypatch, capsys)
    for block in blocks(PAGE, "python"):
        walk.python(block.code)
    [commands] = blocks(PAGE, "console")
    walk.console(commands.code)
    told = walk.command("$ database-handler replicas")
    assert (told.count("serving"), urls.split(",")[0].split("?")[0] in told) == (2, True)
    assert walk.command("$ database-handler health").count("serving: ") == 2
    monkeypatch.setenv("DB_REPLICA_URLS", servers.primary.config.url())
    assert "it was promoted" in walk.command("$ database-handler replicas  # exit code 1")
    monkeypatch.delenv("DB_REPLICA_URLS")
    assert "no replicas are configured" in walk.command("$ database-handler replicas")


# -------------------------------------------------------------------------------------------------- 25006, 15


def test_a_write_that_reaches_a_standby_goes_to_the_primary_once_the_way_leads_there(
    servers: Servers,
) -> None:
    with (
        CountingProxy(servers.near.config) as way,
        Database(way.config.with_(pool_size=2, max_overflow=0)) as database,
    ):
        assert where(database.session) == NEAR
        with pytest.raises(ReadOnlyServer):
            created(database)
        assert where(database.session) == NEAR
        way._target = servers.primary.config  # as when a name in the DNS is given to another server
        tries: list[Project | None] = []

        def work(unit: UnitOfWork) -> Project:
            tries.append(None)
            return unit.projects.create(name=f"film {uuid4()}")

        project = database.run(work)
        assert (len(tries), dict(database.pool.stats().retries)) == (2, {"25006": 1})
        assert database.projects.get_by_id(project.id) == project
        assert where(database.session) == PRIMARY
