"""A unit with a key takes effect once, however often it is sent, and gives the same each time."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest

from database_handler import Database, NewProject, Project, Repositories, UnitOfWork
from database_handler.core.exceptions import (
    CommitOutcomeUnknown,
    DuplicateRecord,
    InvalidValue,
    RetriesExhausted,
    UnreadableValue,
)
from database_handler.core.session import Statement
from database_handler.core.transaction import Transaction
from database_handler.testing.factories import factory_of
from tests.faults.conftest import in_thread, joined
from tests.support.faults import FaultProxy

KEY = "import of 2026-11-30"


@pytest.fixture
def database(shared_database: Database) -> Iterator[Database]:
    """Yield a `Database` of the test's own on the shared database, which is emptied afterwards."""
    with Database(shared_database.config) as own:
        yield own
    shared_database.session.run("TRUNCATE projects, database_handler_keys CASCADE")


@pytest.fixture
def proxy(database: Database) -> Iterator[FaultProxy]:
    with FaultProxy(database.config) as proxy:
        yield proxy


@pytest.fixture
def faulty(proxy: FaultProxy) -> Iterator[Database]:
    with Database(proxy.config.with_(pool_size=2, max_overflow=0, pool_timeout=10)) as faulty:
        yield faulty
        assert faulty.pool.stats().in_use == 0


class Work:
    """Stores a project, and counts how often it was asked to."""

    def __init__(self, name: str = "Launch film") -> None:
        self.name, self.calls = name, 0

    def __call__(self, unit: UnitOfWork) -> Project:
        self.calls += 1
        return unit.projects.create(name=self.name)


def names(database: Database) -> list[str]:
    return [project.name for project in database.projects.list()]


def test_the_second_call_gives_what_the_first_one_gave(database: Database) -> None:
    work = Work()
    first = database.run(work, idempotency_key=KEY, returns=Project)
    with Database(database.config) as another:
        assert another.run(work, idempotency_key=KEY, returns=Project) == first
    assert (work.calls, names(database)) == (1, ["Launch film"])


def test_another_key_is_another_unit(database: Database) -> None:
    database.run(Work("a"), idempotency_key="a", returns=Project)
    database.run(Work("b"), idempotency_key="b", returns=Project)
    assert sorted(names(database)) == ["a", "b"]


@pytest.mark.parametrize("part", ["request", "reply"])
@pytest.mark.parametrize("resolve", [True, False])
def test_a_lost_commit_is_sent_again_and_takes_effect_once(
    faulty: Database, database: Database, proxy: FaultProxy, part: Any, resolve: bool
) -> None:
    work = Work()
    proxy.lose(part, "COMMIT")
    given = faulty.run(work, idempotency_key=KEY, returns=Project, resolve=resolve)
    assert proxy.fired == 1
    assert database.projects.get_by_id(given.id) == given
    assert names(database) == ["Launch film"]
    assert work.calls == (2 if part == "request" else 1)


def test_without_a_key_a_lost_commit_that_may_not_be_asked_for_is_told(
    faulty: Database, database: Database, proxy: FaultProxy
) -> None:
    proxy.lose("reply", "COMMIT")
    with pytest.raises(CommitOutcomeUnknown) as caught:
        faulty.run(Work(), resolve=False)
    told = caught.value
    assert told.transaction_id is None
    assert told.statement == "transaction.commit"
    assert told.backend_pid
    assert "idempotency_key" in str(told)
    assert names(database) == ["Launch film"]


@pytest.mark.parametrize("part", ["request", "reply"])
def test_after_a_failover_nobody_is_asked_and_the_key_tells(
    faulty: Database, database: Database, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, part: Any
) -> None:
    """The epoch of the server that answers is another one: its transaction of that number is another's."""

    def of_another_epoch(self: Transaction) -> None:
        assert self._mark is not None
        self._mark = replace(self._mark, epoch="another!")
        commit(self)

    commit = Transaction._send_commit
    monkeypatch.setattr(Transaction, "_send_commit", of_another_epoch)
    proxy.lose(part, "COMMIT")
    with pytest.raises(CommitOutcomeUnknown, match="is another one") as caught:
        faulty.run(lambda unit: unit.projects.create(name="unsure"))
    assert caught.value.transaction_id
    assert caught.value.epoch == "another!"
    monkeypatch.undo()
    work = Work()
    monkeypatch.setattr(Transaction, "_send_commit", once(of_another_epoch, commit))
    proxy.lose(part, "COMMIT")
    given = faulty.run(work, idempotency_key=KEY, returns=Project)
    assert [name for name in names(database) if name != "unsure"] == [given.name]


def once(first: Callable[[Transaction], None], later: Callable[[Transaction], None]) -> Callable[..., None]:
    calls = iter([first])

    def call(transaction: Transaction) -> None:
        next(calls, later)(transaction)

    return call


def test_of_two_at_once_one_does_it_and_both_have_the_result(database: Database) -> None:
    start, results = Barrier(2), []
    work = Work()

    def slowly(unit: UnitOfWork) -> Project:
        given = work(unit)
        unit.session.all("SELECT pg_sleep(0.2)")
        return given

    def send() -> None:
        start.wait(10)
        results.append(database.run(slowly, idempotency_key=KEY, returns=Project))

    joined(in_thread(send), in_thread(send))
    assert results[0] == results[1]
    assert (work.calls, names(database)) == (1, ["Launch film"])


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_so_it_is_at_every_isolation(database: Database, isolation: Any) -> None:
    work, start = Work(), Barrier(2)
    results: list[Project] = []

    def slowly(unit: UnitOfWork) -> Project:
        given = work(unit)
        unit.session.all("SELECT pg_sleep(0.1)")
        return given

    def send() -> None:
        start.wait(10)
        results.append(
            database.run(slowly, idempotency_key=KEY, returns=Project, isolation=isolation, retries=10)
        )

    joined(in_thread(send), in_thread(send))
    assert results[0] == results[1]
    assert names(database) == ["Launch film"]


def test_a_unit_that_fails_leaves_no_key(database: Database) -> None:
    database.projects.create(name="there already")
    with pytest.raises(DuplicateRecord):
        database.run(Work("there already"), idempotency_key=KEY, returns=Project)
    assert database.run(Work("another"), idempotency_key=KEY, returns=Project).name == "another"


def test_hooks_run_after_the_unit_that_was_done_and_not_after_one_that_was_not(database: Database) -> None:
    seen: list[str] = []

    def work(unit: UnitOfWork) -> None:
        unit.on_commit(lambda: seen.append("hook"))

    assert database.run(work, idempotency_key=KEY) is None
    assert database.run(work, idempotency_key=KEY) is None
    assert seen == ["hook"]


def test_it_costs_two_round_trips(database: Database, proxy: FaultProxy) -> None:
    with Database(proxy.config) as counted:
        counted.projects.count()
        with proxy.counting() as trips:
            counted.run(Work(), idempotency_key=KEY, returns=Project)
        assert trips.count == 2 + 2  # the key, the project, what it gave, COMMIT
        with proxy.counting() as trips:
            counted.run(Work(), idempotency_key=KEY, returns=Project)
        assert trips.count == 3  # the key, what was kept, COMMIT


@pytest.mark.parametrize("repository", Repositories.entities().values(), ids=list(Repositories.entities()))
def test_every_record_comes_back_as_it_was(database: Database, repository: Any) -> None:
    factory = factory_of(repository.draft)

    def work(unit: UnitOfWork) -> list[Any]:
        return [factory.create(unit) for _ in range(3)]

    first = database.run(work, idempotency_key=KEY, returns=list[repository.record])
    again = database.run(work, idempotency_key=KEY, returns=list[repository.record])
    assert again == first
    assert [type(each) for each in again] == [repository.record] * 3


@pytest.mark.parametrize(
    ("value", "returns"),
    [
        ("text with \0 and ünïcode 🎬", str),
        (1e300, float),
        (2**70, int),
        ([UUID(int=1)], list[UUID]),
        ({"a": [1, None, "x"]}, dict[str, Any]),
        (None, Project | None),
        (b"\x00\xff", bytes),
        (float("-inf"), float),
    ],
)
def test_other_values_come_back_too(database: Database, value: object, returns: Any) -> None:
    for _ in range(2):
        assert database.run(lambda unit: value, idempotency_key=KEY, returns=returns) == value


def test_what_is_not_the_type_that_was_said_is_refused_and_nothing_stored(database: Database) -> None:
    with pytest.raises(InvalidValue, match="returns"):
        database.run(Work(), idempotency_key=KEY)
    with pytest.raises(InvalidValue, match="returns"):
        database.run(Work(), idempotency_key=KEY, returns=int)
    with pytest.raises(InvalidValue, match="returns"):
        database.run(Work(), idempotency_key=KEY, returns=object())
    assert names(database) == []
    assert database.session.one("SELECT count(*) FROM database_handler_keys") == (0,)


def test_a_key_that_was_used_for_something_else_is_told(database: Database) -> None:
    database.run(lambda unit: 7, idempotency_key=KEY, returns=int)
    with pytest.raises(UnreadableValue, match="something else"):
        database.run(Work(), idempotency_key=KEY, returns=Project)
    with pytest.raises(UnreadableValue, match="something else"):
        database.run(lambda unit: None, idempotency_key=KEY)


BAD_KEYS: list[Any] = ["", "x" * 201, "ü" * 101, "a\0b", "a\nb", "\ud800", 7, b"key", ["key"], UUID(int=5)]


@pytest.mark.parametrize("key", BAD_KEYS, ids=[repr(key)[:12] for key in BAD_KEYS])
def test_what_is_no_key_is_refused_before_anything_is_sent(faulty: Database, key: Any) -> None:
    with pytest.raises(InvalidValue, match="idempotency_key"):
        faulty.run(Work(), idempotency_key=key, returns=Project)
    assert faulty.pool.stats().opened == 0


def test_what_does_not_go_with_a_key_is_refused(database: Database) -> None:
    with pytest.raises(InvalidValue, match="read_only"):
        database.run(lambda unit: None, idempotency_key=KEY, read_only=True)
    with pytest.raises(InvalidValue, match="idempotency_key"):
        database.run(Work(), returns=Project)


def test_old_keys_are_forgotten_when_asked(database: Database) -> None:
    work = Work()
    database.run(work, idempotency_key=KEY, returns=Project)
    assert database.forget_idempotency_keys(older_than=timedelta(days=30)) == 0
    assert database.forget_idempotency_keys(older_than=timedelta(0)) == 1
    wrong: list[Any] = [30, None, "30 days", timedelta(seconds=-1)]
    for older_than in wrong:
        with pytest.raises(InvalidValue, match="older_than"):
            database.forget_idempotency_keys(older_than=older_than)


def test_a_key_that_goes_again_and_again_is_a_lost_race(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody forgets the key between the write that meets it and the reading of it."""
    from database_handler.core import idempotency

    monkeypatch.setattr(idempotency, "_READ", Statement("SELECT 1 WHERE %s = ''", "idempotency.read"))
    database.run(lambda unit: None, idempotency_key=KEY)
    with pytest.raises(RetriesExhausted):
        database.run(lambda unit: None, idempotency_key=KEY, retries=1)
    assert database.projects.create_many([NewProject(name="the next one works")])
