"""What became of a COMMIT whose reply, or request, was lost: found out, or told to be unknown."""

# ruff: noqa: PT012  # what is to raise is the unit as a whole, or its block

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic

import pytest

from database_handler import Database, UnitOfWork
from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import CommitOutcomeUnknown, ConnectionLost, RetriesExhausted
from database_handler.core.link import open_connection
from tests.faults.conftest import PoolMaker, Server, query
from tests.support.faults import FaultProxy, FaultRelay, Way, assert_recovered, eventually


@pytest.fixture
def database(shared_database: Database) -> Iterator[Database]:
    """Yield a `Database` of the test's own on the shared database, which is emptied afterwards."""
    with Database(shared_database.config) as own:
        yield own
    with shared_database.unit_of_work(statement_timeout=20) as unit:
        unit.session.run("TRUNCATE projects CASCADE")


@pytest.fixture
def proxy(database: Database) -> Iterator[FaultProxy]:
    with FaultProxy(database.config) as proxy:
        yield proxy


@contextmanager
def through(proxy: FaultProxy, database: Database, **settings: object) -> Iterator[Database]:
    """Open the database through the proxy; afterwards it must have recovered, and its next unit be stored."""
    name = f"faulty-{os.getpid()}"
    small = {"pool_size": 2, "max_overflow": 0, "pool_timeout": 10, "application_name": name}
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
    with Database(proxy.config.with_(**small | settings)) as faulty:
        yield faulty
        proxy.pass_on()
        assert_recovered(faulty, lambda: database.session.one(count, [name])[0])
        with faulty.unit_of_work() as unit:
            unit.projects.create(name="the next unit works")


@pytest.fixture
def faulty(proxy: FaultProxy, database: Database) -> Iterator[Database]:
    """Yield the database through the proxy."""
    with through(proxy, database) as faulty:
        yield faulty


def stored(database: Database) -> list[str]:
    return [project.name for project in database.projects.list(order_by="name")]


def test_reply_to_commit_lost_is_resolved_as_committed(
    database: Database, proxy: FaultProxy, faulty: Database
) -> None:
    ran: list[int] = []
    with faulty.unit_of_work() as unit:
        unit.projects.create(name="a")
        unit.on_commit(lambda: ran.append(1))
        proxy.lose("reply", "COMMIT")
    assert (stored(database), ran, proxy.fired) == (["a"], [1], 1)


def test_reply_to_commit_lost_is_no_reason_to_run_the_unit_again(
    database: Database, proxy: FaultProxy, faulty: Database
) -> None:
    tries: list[int] = []

    def work(unit: UnitOfWork) -> None:
        tries.append(1)
        unit.session.run(
            "INSERT INTO projects (id, name, slug, status, tags, metadata, metadata_schemas) "
            "VALUES (gen_random_uuid(), 'a', 'a', 'draft', '{}', '{}', '{}')"
        )
        proxy.lose("reply", "COMMIT")

    faulty.run(work)
    assert (stored(database), len(tries)) == (["a"], 1)


def test_request_to_commit_lost_is_resolved_as_aborted(
    database: Database, proxy: FaultProxy, faulty: Database
) -> None:
    ran: list[int] = []
    with pytest.raises(ConnectionLost) as caught, faulty.unit_of_work() as unit:
        unit.projects.create(name="a")
        unit.on_commit(lambda: ran.append(1))
        proxy.lose("request", "COMMIT")
    assert caught.value.retryable
    assert (stored(database), ran) == ([], [])


def test_request_to_commit_lost_is_run_again_and_stored_once(
    database: Database, proxy: FaultProxy, faulty: Database
) -> None:
    tries: list[int] = []

    def work(unit: UnitOfWork) -> None:
        tries.append(1)
        unit.projects.create(name="a")
        if len(tries) == 1:
            proxy.lose("request", "COMMIT")

    faulty.run(work)
    assert (stored(database), len(tries)) == (["a"], 2)


@pytest.mark.parametrize(("part", "wanted"), [("request", 2), ("reply", 1)])
def test_commit_lost_in_silence_is_resolved_by_the_deadline(
    database: Database, proxy: FaultProxy, part: Way, wanted: int
) -> None:
    tries: list[int] = []
    ran: list[int] = []

    def work(unit: UnitOfWork) -> None:
        tries.append(1)
        unit.projects.create(name="a")
        unit.on_commit(lambda: ran.append(1))
        if len(tries) == 1:
            proxy.at(part, b"COMMIT", FaultRelay.drop)

    with through(proxy, database, deadline=1) as impatient:
        impatient.run(work)
        assert (stored(database), len(tries), ran, proxy.fired) == (["a"], wanted, [1], 1)


@pytest.mark.parametrize("part", ["request", "reply"])
def test_outcome_is_unknown_where_nobody_may_ask(
    database: Database, proxy: FaultProxy, faulty: Database, part: str
) -> None:
    tries: list[int] = []

    def work(unit: UnitOfWork) -> None:
        tries.append(1)
        unit.projects.create(name="a")
        proxy.lose("reply" if part == "reply" else "request", "COMMIT")

    with pytest.raises(CommitOutcomeUnknown) as caught:
        faulty.run(work, resolve=False)
    assert not caught.value.retryable
    assert (stored(database), len(tries)) == (["a"] if part == "reply" else [], 1)


def test_outcome_is_unknown_where_the_server_does_not_answer(database: Database) -> None:
    with FaultProxy(database.config) as proxy, Database(proxy.config.with_(pool_timeout=1)) as faulty:
        with pytest.raises(CommitOutcomeUnknown) as caught, faulty.unit_of_work() as unit:
            unit.projects.create(name="a")
            proxy.lose("reply", "COMMIT")
            unit._transaction._lend = Database(_nowhere(database.config)).pool.borrow
        assert caught.value.transaction_id
    assert stored(database) == ["a"]


def _nowhere(config: DatabaseConfig) -> DatabaseConfig:
    return config.with_(host="/nonexistent", pool_timeout=1, connect_timeout=1)


def test_unit_that_only_read_is_simply_run_again(proxy: FaultProxy, faulty: Database) -> None:
    tries: list[int] = []

    def work(unit: UnitOfWork) -> int:
        tries.append(1)
        proxy.lose("reply" if len(tries) == 1 else "request", "COMMIT")
        unit.session.all("SELECT count(*) FROM projects")
        return unit.projects.count()

    with pytest.raises(RetriesExhausted):
        faulty.run(work, retries=1)
    assert len(tries) == 2
    proxy.lose("reply", "COMMIT")
    assert faulty.run(lambda unit: unit.projects.count()) == 0


def test_function_that_may_have_written_is_not_run_again(
    database: Database, proxy: FaultProxy, faulty: Database
) -> None:
    database.session.run(
        "CREATE FUNCTION add_one() RETURNS int LANGUAGE sql AS $$ "
        "INSERT INTO projects (id, name, slug, status, tags, metadata, metadata_schemas) "
        "VALUES (gen_random_uuid(), 'a', 'a', 'draft', '{}', '{}', '{}') RETURNING 1 $$"
    )

    def work(unit: UnitOfWork) -> None:
        proxy.lose("reply", "COMMIT")
        assert unit.session.one("SELECT add_one()") == (1,)

    with pytest.raises(CommitOutcomeUnknown):
        faulty.run(work)
    database.projects.delete_many([project.id for project in database.projects.list()])
    proxy.lose("reply", "add_one")
    with pytest.raises(CommitOutcomeUnknown):
        faulty.session.one("SELECT add_one()")
    assert stored(database) == ["a"]
    proxy.lose("reply", "add_one")
    with pytest.raises(ConnectionLost), faulty.unit_of_work(read_only=True) as unit:
        unit.session.one("SELECT 1 AS add_one")
    database.session.run("DROP FUNCTION add_one()")


@pytest.mark.parametrize("part", ["request", "reply"])
def test_single_write_whose_reply_is_lost_is_of_unknown_outcome(
    database: Database, proxy: FaultProxy, faulty: Database, part: str
) -> None:
    project = faulty.projects.create(name="kept")
    calls: list[tuple[str, Callable[[], object]]] = [
        ("INSERT", lambda: faulty.projects.create(name="a")),
        ("UPDATE", lambda: faulty.projects.update(project.id, description="d")),
        ("DELETE", lambda: faulty.projects.delete_many([project.id])),
        ("UPDATE", lambda: faulty.session.run("UPDATE projects SET description = 'e'")),
    ]
    for number, (text, call) in enumerate(calls, 1):
        proxy.lose("reply" if part == "reply" else "request", text)
        with pytest.raises(CommitOutcomeUnknown) as caught:
            call()
        assert not caught.value.retryable
        assert proxy.fired == number
    assert stored(database) == (["a"] if part == "reply" else ["kept"])


def test_single_read_whose_reply_is_lost_can_be_sent_again(
    database: Database, proxy: FaultProxy, faulty: Database
) -> None:
    for call in (
        faulty.projects.count,
        lambda: faulty.session.all("SELECT count(*) FROM projects"),
        lambda: list(faulty.projects.stream()),
    ):
        for part in ("request", "reply"):
            proxy.lose("reply" if part == "reply" else "request", "SELECT")
            with pytest.raises(ConnectionLost) as caught:
                call()
            assert caught.value.retryable
    assert proxy.fired == 6
    assert stored(database) == []


def test_statement_whose_reply_is_lost_undoes_its_unit(
    database: Database, proxy: FaultProxy, faulty: Database
) -> None:
    tries: list[int] = []

    def work(unit: UnitOfWork) -> None:
        tries.append(1)
        unit.projects.create(name="a")
        if len(tries) < 3:
            proxy.lose("request" if len(tries) == 1 else "reply", "INSERT")
        unit.projects.create(name="b")

    faulty.run(work)
    assert (stored(database), len(tries)) == (["a", "b"], 3)


@pytest.mark.parametrize("name", ["plain", "x" * 63, "ünïcödé " * 7])
def test_mark_of_the_transaction_is_there_while_it_is_open_alone(database: Database, name: str) -> None:
    asked = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    [before] = database.session.one(asked)
    with database.unit_of_work() as unit:
        unit.session.one("SELECT set_config('application_name', %s, true)", [name])
        unit.projects.create(name="a")
        [shown] = unit.session.one("SELECT current_setting('application_name')")
        [number] = unit.session.one("SELECT pg_current_xact_id()::text")
        assert re.search(rf" xid {number} [0-9a-f]{{8}}$", shown)
        mark = unit._transaction._mark
        assert mark is not None
        assert mark.transaction_id == int(number)
    assert database.session.one(asked) == (before,)


def test_mark_survives_a_savepoint_that_is_undone(
    database: Database, proxy: FaultProxy, faulty: Database
) -> None:
    database.projects.create(name="taken")
    with faulty.unit_of_work() as unit:
        with pytest.raises(KeyError), unit.savepoint():
            unit.projects.create(name="lost")
            raise KeyError
        unit.projects.create(name="kept")
        proxy.lose("reply", "COMMIT")
    assert stored(database) == ["kept", "taken"]


# ------------------------------------------------------------------------------------ frozen while it commits

DEADLINE = 1.0
HELD = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.fixture
def gate(server: Server) -> Iterator[Callable[[], None]]:
    """Make a table whose COMMIT waits at a gate, and yield what opens it."""
    query(
        server.config,
        "CREATE TABLE gated (name text);"
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_advisory_xact_lock_shared(4); RETURN NULL; END $$;"
        "CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON gated DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION wait()",
    )
    keeper = open_connection(server.config)
    with keeper.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(4)")
    yield keeper.close
    keeper.close()
    query(server.config, "DROP TABLE gated; DROP FUNCTION wait()")


class Freezer:
    """Freezes backends of the connections it is given, and thaws them."""

    def __init__(self) -> None:
        self.backends: list[int] = []

    def __call__(self, relay: FaultRelay) -> None:
        os.kill(relay.backend, signal.SIGSTOP)
        self.backends.append(relay.backend)

    def thaw(self) -> None:
        for backend in self.backends:
            with suppress(ProcessLookupError):
                os.kill(backend, signal.SIGCONT)


@pytest.fixture
def frozen() -> Iterator[Freezer]:
    freezer = Freezer()
    yield freezer
    freezer.thaw()


@pytest.fixture
def wire(server: Server) -> Iterator[FaultProxy]:
    with FaultProxy(server.config) as proxy:
        yield proxy


@pytest.fixture
def impatient(wire: FaultProxy, make_pool: PoolMaker) -> Database:
    return make_pool.database(wire.config, deadline=DEADLINE, pool_size=2, max_overflow=0)


def kept(server: Server) -> int:
    return len(query(server.config, "SELECT 1 FROM gated"))


def gone(server: Server, backends: list[int]) -> Callable[[], bool]:
    return lambda: not query(server.config, "SELECT 1 FROM pg_stat_activity WHERE pid = ANY(%s)", backends)


def insert(tries: list[int], before: Callable[[], object] = lambda: None) -> Callable[[UnitOfWork], None]:
    """Return a unit of work that does something of its own at its second try."""

    def work(unit: UnitOfWork) -> None:
        tries.append(1)
        if len(tries) == 2:
            before()
        unit.session.run("INSERT INTO gated VALUES ('a')")

    return work


def unknown_by_the_deadline(call: Callable[[], object]) -> None:
    started = monotonic()
    with pytest.raises(CommitOutcomeUnknown) as caught:
        call()
    assert monotonic() - started < DEADLINE + 5
    assert not caught.value.retryable


@pytest.mark.usefixtures("gate")
def test_backend_frozen_before_it_reads_commit_is_of_unknown_outcome_by_the_deadline(
    server: Server, wire: FaultProxy, impatient: Database, frozen: Freezer
) -> None:
    tries: list[int] = []
    wire.at("request", b"COMMIT", frozen)
    unknown_by_the_deadline(lambda: impatient.run(insert(tries)))
    frozen.thaw()
    eventually(gone(server, frozen.backends))
    assert (kept(server), len(tries)) == (0, 1)  # it waits at the gate, and was told to end


def test_single_write_to_a_frozen_backend_is_of_unknown_outcome_by_the_deadline(
    server: Server, wire: FaultProxy, impatient: Database, frozen: Freezer, gate: Callable[[], None]
) -> None:
    gate()
    wire.at("request", b"INSERT", frozen)
    unknown_by_the_deadline(lambda: impatient.session.run("INSERT INTO gated VALUES ('a')"))
    frozen.thaw()
    eventually(gone(server, frozen.backends))
    assert kept(server) <= 1


def freeze_at_the_gate(server: Server, frozen: Freezer) -> Callable[[FaultRelay], None]:
    """Return what lets COMMIT through, and freezes its backend once it waits at the gate."""

    def at_gate(relay: FaultRelay) -> None:
        eventually(lambda: bool(query(server.config, HELD)))
        frozen(relay)

    return at_gate


def test_backend_frozen_amid_commit_is_of_unknown_outcome_and_never_doubled_when_it_thaws(
    server: Server, wire: FaultProxy, impatient: Database, frozen: Freezer, gate: Callable[[], None]
) -> None:
    tries: list[int] = []
    wire.at("request", b"COMMIT\0", freeze_at_the_gate(server, frozen), keep=True)
    unknown_by_the_deadline(lambda: impatient.run(insert(tries)))
    gate()
    frozen.thaw()
    eventually(gone(server, frozen.backends))
    assert kept(server) <= 1
    assert len(tries) == 1


def test_backend_that_thaws_when_it_is_told_to_end_has_aborted_and_the_unit_is_run_again(
    server: Server, wire: FaultProxy, impatient: Database, frozen: Freezer, gate: Callable[[], None]
) -> None:
    tries: list[int] = []
    wire.at("request", b"COMMIT\0", freeze_at_the_gate(server, frozen), keep=True)
    wire.at("request", b"pg_terminate_backend", lambda _: frozen.thaw())
    impatient.run(insert(tries, before=gate))
    assert (kept(server), len(tries)) == (1, 2)


def test_backend_that_thaws_while_its_outcome_is_asked_for_gives_a_definite_one(
    server: Server, wire: FaultProxy, impatient: Database, frozen: Freezer, gate: Callable[[], None]
) -> None:
    tries: list[int] = []

    def go_on(_: FaultRelay) -> None:
        gate()
        frozen.thaw()

    wire.at("request", b"COMMIT\0", freeze_at_the_gate(server, frozen), keep=True)
    wire.at("request", b"pg_xact_status", go_on)
    impatient.run(insert(tries))
    assert kept(server) == 1
