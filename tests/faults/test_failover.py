"""The primary dies, a standby is promoted: writes go on there, no answer of another history is believed."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from threading import Event
from time import monotonic

import pytest

from database_handler import Database
from database_handler.core.exceptions import CommitOutcomeUnknown, DatabaseUnavailable
from database_handler.core.session import Statement
from tests.faults.conftest import in_thread, joined
from tests.faults.test_replicas import QUICK, SOON, where
from tests.support.faults import FaultProxy, FaultRelay, eventually
from tests.support.own_server import OwnServer
from tests.support.standbys import copied_for_standby, follow, let_in_the_servers_own_user, session_of


@pytest.fixture
def primary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    with OwnServer(tmp_path_factory.mktemp("failover") / "primary") as primary:
        let_in_the_servers_own_user(primary._embedded)
        session_of(primary).run("ALTER DATABASE app SET synchronous_commit = on")
        with Database(primary.config) as database:
            database.migrate()
            database.session.run("CREATE TABLE kept (id int)")
        yield primary


def standby(primary: OwnServer, name: str) -> OwnServer:
    folder = primary.folder.parent / name
    return OwnServer(copied_for_standby(primary._embedded, folder, {**SOON, "cluster_name": name}))


@pytest.fixture
def second(primary: OwnServer) -> Iterator[OwnServer]:
    with standby(primary, "second") as made:
        yield made


@pytest.fixture
def third(primary: OwnServer) -> Iterator[OwnServer]:
    with standby(primary, "third") as made:
        yield made


def promoted(server: OwnServer) -> None:
    assert session_of(server).one(Statement("SELECT pg_promote(true, 20)", "test.promote")) == (True,)


def set_up(server: OwnServer, name: str, value: str) -> None:
    """Change a setting of a running server."""
    session_of(server).run(Statement(f"ALTER SYSTEM SET {name} = '{value}'", "test.set"))
    session_of(server).all(Statement("SELECT pg_reload_conf()", "test.reload"))


@dataclass
class Writer:
    """Stores numbers one after the other, and notes what it was told of each."""

    database: Database
    numbers: Iterator[int]
    stop: Event
    acknowledged: dict[int, float] = field(default_factory=dict)
    unknown: list[int] = field(default_factory=list)

    def write(self) -> None:
        while not self.stop.is_set():
            number = next(self.numbers)
            try:
                self.database.run(
                    lambda uow, number=number: uow.session.run("INSERT INTO kept VALUES (%s)", [number]),  # type: ignore[misc]
                    retries=1000,
                    deadline=15,
                )
                self.acknowledged[number] = monotonic()
            except CommitOutcomeUnknown:
                self.unknown.append(number)


def test_writes_go_on_at_the_promoted_standby_and_replicas_count_once_they_follow_it(
    primary: OwnServer, second: OwnServer, third: OwnServer
) -> None:
    set_up(primary, "synchronous_standby_names", "FIRST 1 (second)")
    hosts = f"{primary.config.host},{second.config.host}"
    replicas = [second.config.url(), third.config.url()]
    settings = {"target_session_attrs": "read-write", "replica_urls": replicas, "pool_size": 3, **QUICK}
    with Database(primary.config.with_(host=hosts, **settings)) as database:
        early = database.projects.create(name="before")
        before = database.position()
        stop, numbers = Event(), count(1)
        writers = [Writer(database, numbers, stop) for _ in range(2)]
        threads = [in_thread(writer.write) for writer in writers]
        eventually(lambda: all(len(writer.acknowledged) > 10 for writer in writers))
        primary.crash()
        died = monotonic()
        promoted(second)
        eventually(lambda: all(max(writer.acknowledged.values()) > died for writer in writers))
        stop.set()
        joined(*threads)
        gap = max(min(t for t in writer.acknowledged.values() if t > died) for writer in writers) - died
        print(f"{gap:.2f} s without a write")  # noqa: T201  # what was measured
        assert gap < 10
        told = {number for writer in writers for number in writer.acknowledged}
        unknown = {number for writer in writers for number in writer.unknown}
        rows = [row[0] for row in session_of(second).all("SELECT id FROM kept")]
        assert len(rows) == len(set(rows)), "no number twice"
        assert told <= set(rows) <= told | unknown

        reads = database.repositories(replica=True)
        assert where(database.session) == "second"
        assert [each.state for each in database.replicas()] == ["promoted", "forked"]
        assert where(reads.session) == "second", "the primary serves"
        set_up(third, "primary_conninfo", f"host={second.config.host} user=postgres")
        eventually(lambda: where(reads.session) == "third")
        late = database.projects.create(name="after")
        assert reads.projects.get_by_id(late.id) == late
        old = database.repositories(replica=True, after=before)
        assert (old.projects.get_by_id(early.id), where(old.session)) == (early, "third")
        after = database.position()
    the_old_primary_is_not_believed(primary, third, after)


def the_old_primary_is_not_believed(primary: OwnServer, third: OwnServer, after: str) -> None:
    primary.start()  # and takes writes, for nobody told it
    with Database(primary.config.with_(replica_urls=[third.config.url()], **QUICK)) as database:
        assert [each.state for each in database.replicas()] == ["forked"]
        assert where(database.repositories(replica=True).session) == ""
        with pytest.raises(DatabaseUnavailable, match="old one"):
            database.repositories(replica=True, after=after).projects.count()


def test_a_commit_lost_at_a_failover_is_unknown_though_its_number_was_given_out_again(
    primary: OwnServer, second: OwnServer
) -> None:
    follow(primary, second)
    set_up(second, "primary_conninfo", "")  # it hears of nothing more
    counted = Statement("SELECT count(*) FROM pg_stat_replication", "test.streams")
    eventually(lambda: session_of(primary).one(counted) == (0,))

    def fail_over(relay: FaultRelay) -> None:
        primary.crash()
        proxy._listener.shutdown(socket.SHUT_RDWR)  # nobody listens there either, as at a dead server
        proxy._listener.close()
        promoted(second)
        for _ in range(50):  # whatever number the lost one had, another transaction has it now
            session_of(second).all(Statement("SELECT pg_current_xact_id()", "test.number", writes=True))
        relay.cut()

    with FaultProxy(primary.config) as proxy:
        hosts = f"{proxy.config.host},{second.config.host}"
        with Database(proxy.config.with_(host=hosts, pool_size=1, max_overflow=0)) as database:
            database.projects.count()
            proxy.at("request", b"COMMIT\0", fail_over)
            with pytest.raises(CommitOutcomeUnknown) as lost, database.unit_of_work() as unit:
                unit.projects.create(name="lost")
            number = str(lost.value.transaction_id)
            status = Statement("SELECT pg_xact_status(%s::text::xid8)", "test.status")
            assert session_of(second).one(status, [number]) == ("committed",), "so says the new primary"
            assert "another one" in str(lost.value)
            assert database.projects.count(name="lost") == 0
