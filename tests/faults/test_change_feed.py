"""The outbox under concurrent writers, killed readers and servers that go away: nothing is lost, ever."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from uuid import UUID, uuid4

import psycopg2
import pytest

from database_handler import Database
from database_handler.core.changes import CHANNEL, OUTBOX
from database_handler.core.exceptions import ConnectionLost, DatabaseUnavailable, LimitExceeded
from database_handler.core.session import Statement
from database_handler.operations.changes import ChangeFeed
from tests.faults.change_reader import Reader
from tests.faults.conftest import in_thread, joined
from tests.support.faults import PATIENCE, FaultProxy, eventually
from tests.support.own_server import OwnServer

POSITIONS = Statement(f"SELECT xid::text::bigint, position, id FROM {OUTBOX} ORDER BY position", "positions")


@pytest.fixture
def own(shared_database: Database) -> Iterator[Database]:
    with Database(shared_database.config.with_(changes="outbox")) as database:
        database.outbox.prepare()
        yield database
    shared_database.session.run("TRUNCATE projects CASCADE")
    shared_database.session.script(f"DROP TABLE {OUTBOX}, database_handler_change_readers")


def ids(feed: ChangeFeed, number: int) -> list[UUID]:
    found = [change.id for change in islice(feed, number)]
    assert len(found) == number
    return [id for id in found if id is not None]


@pytest.mark.parametrize("first_to_begin", ["the one with the lower number", "the other"])
def test_a_lower_number_that_commits_later_is_not_passed(own: Database, first_to_begin: str) -> None:
    """The classic way to lose a row: numbers are drawn in one order and committed in another."""
    with (
        Database(own.config) as one,
        Database(own.config) as other,
        own.changes(wait=0) as feed,
        ExitStack() as later,
        ExitStack() as sooner,
    ):
        low, high = later.enter_context(one.unit_of_work()), sooner.enter_context(other.unit_of_work())
        expected: set[UUID] = set()
        if first_to_begin == "the other":  # then its transaction's id is the lower one
            expected |= {high.projects.create(name="early").id}
        late = low.projects.create(name="late").id
        with low.savepoint():
            low.projects.count()  # what was noted goes with it: the number is drawn, and not committed
        expected |= {late, high.projects.create(name="quick").id}
        sooner.close()
        given = list(feed)  # with the lower id, what is committed may be told already; else it is held back
        assert late not in {change.id for change in given}
        assert bool(given) is (first_to_begin == "the other")
        assert own.outbox.report().held_back == (0 if given else 1)
        later.close()
        rows = own.session.all(POSITIONS)
        assert rows[0][2] == late, "the number of what committed later is the lower"
        with own.changes(after=feed.position, wait=PATIENCE) as again:
            found = [change.id for change in given] + ids(again, len(expected) - len(given))
        assert set(found) == expected
        assert found == [id for _, _, id in sorted(rows)]


@pytest.mark.parametrize("seed", [random.randrange(2**32)], ids=["seed"])
def test_every_committed_change_comes_once_and_no_other(own: Database, seed: int) -> None:
    kept: list[UUID] = []

    def write(chance: random.Random) -> None:
        with Database(own.config) as database:
            for _ in range(25):
                made: list[UUID] = []
                try:
                    with database.unit_of_work() as uow:
                        for _ in range(chance.randrange(1, 4)):
                            made.append(uow.projects.create(name=f"n {uuid4()}").id)
                            if chance.random() < 0.5:  # the numbers are drawn before the others', or after
                                with uow.savepoint():
                                    uow.projects.count()
                        if chance.random() < 0.2:
                            raise KeyError
                except KeyError:
                    continue
                kept.extend(made)

    with own.changes(reader="one", wait=0, poll=0.01) as feed:
        writers = [in_thread(partial(write, random.Random(seed + n))) for n in range(4)]
        found: list[UUID] = []

        def read() -> bool:
            found.extend(change.id for change in feed if change.id is not None)
            feed.acknowledge()
            return not any(writer.is_alive() for writer in writers)

        eventually(read)
        joined(*writers)
        eventually(lambda: read() and len(found) >= len(kept))
    assert sorted(found) == sorted(kept), f"seed {seed}"


def test_a_reader_killed_before_it_acknowledged_gets_the_same_again(own: Database) -> None:
    with own.changes(reader="killed"):
        made = [own.projects.create(name=f"n {number}").id for number in range(4)]
    first = Reader(own, 3)
    assert first.told() == made[:3]
    first.kill()
    second = Reader(own, 3)
    assert second.told() == made[:3]
    second.acknowledge()
    second.kill()
    with own.changes(reader="killed", wait=PATIENCE) as feed:
        assert ids(feed, 1) == made[3:]


def test_a_single_write_whose_commit_is_lost_is_resolved_as_a_units_is(own: Database) -> None:
    with own.changes(wait=PATIENCE) as feed, FaultProxy(own.config) as way, Database(way.config) as faulty:
        way.lose("reply", "COMMIT")
        made = faulty.projects.create(name="stored")
        way.lose("request", "COMMIT")
        with pytest.raises(ConnectionLost) as lost:
            faulty.projects.create(name="lost")
        assert lost.value.retryable, "it is known that nothing is stored"
        assert way.fired == 2
        last = faulty.projects.create(name="last")
        assert ids(feed, 2) == [made.id, last.id]


def on_and_on(call: Callable[[], object]) -> None:
    for _ in range(10_000):
        call()


@pytest.mark.soak
def test_a_full_queue_of_notices_stores_nothing_and_is_free_once_its_listener_is_gone(tmp_path: Path) -> None:
    with OwnServer(tmp_path / "pg") as server:
        with Database(server.config) as database:
            database.migrate()
            database.outbox.prepare()
            database.session.run("ALTER SYSTEM SET max_notify_queue_pages = 64")
        server.stop()
        server.start()
        with Database(server.config.with_(changes="outbox")) as database:
            listener = psycopg2.connect(**server.config.connect_arguments())  # type: ignore[call-overload]
            try:
                listener.cursor().execute(f"LISTEN {CHANNEL}")
                listener.commit()
                listener.cursor().execute("SELECT 1")  # and rests in a transaction
                fill = (
                    "SELECT count(pg_notify('other', repeat('x', 7000) || g)) FROM generate_series(1, 9) AS g"
                )
                for more in (  # what the first leaves of it takes a few of the second
                    lambda: database.session.all(fill),
                    lambda: database.projects.create(name=f"n {uuid4()}"),
                ):
                    with pytest.raises(LimitExceeded):
                        on_and_on(more)
                before = database.projects.count()
                with pytest.raises(LimitExceeded), database.unit_of_work() as uow:
                    uow.projects.create(name="refused")
                assert (database.projects.count(), database.outbox.report().rows) == (before, before)
            finally:
                listener.close()
            usage = Statement("SELECT pg_notification_queue_usage()", "test.usage")
            eventually(lambda: database.session.one(usage) < (0.5,))
            database.projects.create(name="stored")
            assert database.projects.count() == before + 1


def test_a_reader_outlives_a_restart_of_the_server(tmp_path: Path) -> None:
    with (
        OwnServer(tmp_path / "pg") as server,
        Database(server.config.with_(changes="outbox", connect_timeout=2)) as database,
    ):
        database.migrate()
        database.outbox.prepare()
        found: list[UUID] = []
        feed = database.changes(reader="one", wait=PATIENCE, poll=0.05)
        with feed:
            reading = in_thread(lambda: found.extend(ids(feed, 2)))
            before = database.projects.create(name="before").id
            eventually(lambda: found == [] and feed.position is not None)
            server.stop()
            server.start()
            after = database.run(lambda uow: uow.projects.create(name="after").id, retries=5)
            joined(reading)
        assert found == [before, after]
        server.stop()
        with pytest.raises(DatabaseUnavailable), database.changes(after="0.0", wait=0.2) as refused:
            next(refused)
