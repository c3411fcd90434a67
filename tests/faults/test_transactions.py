"""Units under fire: killed backends, races, deadlocks, interrupts; no slot is lost, nothing half stored."""

# ruff: noqa: PT012  # what is to raise is the unit as a whole, or its block

import os
import signal
import time
from collections.abc import Callable, Iterator
from threading import Barrier, Thread
from typing import Any

import pytest

from database_handler import Database, NewProject, UnitOfWork
from database_handler.core.exceptions import (
    ConnectionLost,
    DatabaseHandlerError,
    DeadlockDetected,
    DuplicateRecord,
    InvalidSql,
    InvalidValue,
    LockTimeout,
    RetriesExhausted,
    SerializationFailure,
    StatementTimeout,
    TransactionAborted,
)
from tests.support.faults import eventually

PID = "SELECT pg_backend_pid()"


@pytest.fixture
def database(shared_database: Database) -> Iterator[Database]:
    """Yield a `Database` of the test's own on the shared database, which is emptied afterwards."""
    with Database(shared_database.config) as own:
        yield own
    shared_database.session.run("TRUNCATE projects CASCADE")


@pytest.fixture
def own(database: Database) -> Iterator[Database]:
    """Yield a database over two connections; afterwards both slots are free, and the next unit works."""
    with Database(database.config.with_(pool_size=2, max_overflow=0, pool_timeout=10)) as own:
        yield own
        assert own.pool.stats().in_use == 0
        leases = [own.pool.borrow(timeout=5) for _ in range(2)]
        for lease in leases:
            lease.release()
        with own.unit_of_work() as unit:
            unit.projects.create(name="the next unit works")


def kill(database: Database, unit: UnitOfWork) -> None:
    [process] = unit.session.one(PID)
    database.repositories(outside_unit=True).session.all("SELECT pg_terminate_backend(%s)", [process])


def together(*works: Callable[[], object]) -> list[BaseException]:
    """Run them in threads of their own and return what they raised."""
    raised: list[BaseException] = []

    def guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as failure:  # noqa: BLE001  # handed over
            raised.append(failure)

    threads = [Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return raised


def names(database: Database) -> list[str]:
    return [project.name for project in database.projects.list(order_by="name")]


# -------------------------------------------------------------------------------------------- lost backends


def test_backend_killed_in_a_hundred_units_loses_no_slot(database: Database, own: Database) -> None:
    for number in range(100):
        with pytest.raises(ConnectionLost) as caught, own.unit_of_work() as unit:
            unit.projects.create(name=f"lost {number}")
            kill(database, unit)
            unit.projects.create(name="never")
        assert caught.value.retryable
        assert own.pool.stats().in_use == 0
    assert names(database) == []


def test_run_goes_on_after_killed_backends(database: Database, own: Database) -> None:
    tries: list[int] = []

    def work(unit: UnitOfWork) -> str:
        tries.append(1)
        unit.projects.create(name="a")
        if len(tries) < 3:
            kill(database, unit)
        unit.projects.create(name="b")
        return "done"

    assert own.run(work) == "done"
    assert (names(database), len(tries)) == (["a", "b"], 3)


def test_backend_killed_before_the_commit_is_resolved_as_aborted(database: Database, own: Database) -> None:
    tries: list[int] = []

    def work(unit: UnitOfWork) -> None:
        tries.append(1)
        unit.projects.create(name="a")
        if len(tries) == 1:
            kill(database, unit)

    own.run(work)
    assert (names(database), len(tries)) == (["a"], 2)


class Oops(Exception):
    pass


def test_first_error_is_never_hidden_by_what_the_rollback_meets(database: Database, own: Database) -> None:
    for failure in (Oops, KeyboardInterrupt, SystemExit, GeneratorExit, StopIteration):
        with pytest.raises(failure), own.unit_of_work() as unit:
            unit.projects.create(name="a")
            kill(database, unit)
            raise failure
        with pytest.raises(failure), own.unit_of_work() as unit, unit.savepoint():
            unit.projects.create(name="a")
            kill(database, unit)
            raise failure
    assert names(database) == []


def test_session_that_idled_in_its_transaction_is_lost_and_its_slot_free(
    database: Database, own: Database
) -> None:
    with pytest.raises(ConnectionLost), own.unit_of_work() as unit:
        unit.projects.create(name="a")
        unit.session.run("SET LOCAL idle_in_transaction_session_timeout = '20ms'")
        [process] = unit.session.one(PID)
        eventually(
            lambda: not database.session.all("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [process])
        )
        unit.projects.create(name="b")
    assert names(database) == []


def test_stream_that_loses_its_backend(database: Database, own: Database) -> None:
    database.projects.create_many([NewProject(name=f"p {n}") for n in range(30)])
    rows = own.session.stream("SELECT pg_backend_pid(), i FROM generate_series(1, 100) AS i", batch=10)
    process, _ = next(rows)
    database.session.all("SELECT pg_terminate_backend(%s)", [process])
    with pytest.raises(ConnectionLost):
        list(rows)


# ---------------------------------------------------------------------------------------------- races


def test_lost_serialisation_race_is_run_again(database: Database, own: Database) -> None:
    project = database.projects.create(name="0")
    tries: list[int] = []

    def work(unit: UnitOfWork) -> None:
        tries.append(1)
        number = int(unit.projects.get_by_id(project.id).name)
        if len(tries) == 1:  # somebody else is faster
            database.projects.update(project.id, name="10")
        unit.projects.update(project.id, name=str(number + 1))

    own.run(work, isolation="repeatable read")
    assert (names(database), len(tries)) == (["11"], 2)
    tries.clear()
    with pytest.raises(SerializationFailure) as caught:
        own.run(work, isolation="repeatable read", retries=0)
    assert caught.value.retryable
    assert len(tries) == 1


def test_race_that_shows_at_the_commit_is_run_again(database: Database, own: Database) -> None:
    """Write skew: each of two units reads what the other writes; the server refuses one COMMIT."""
    tries: list[int] = []

    def count_and_add(unit: UnitOfWork, name: str) -> int:
        found = unit.projects.count()
        unit.projects.create(name=name)
        return found

    def work(unit: UnitOfWork) -> int:
        tries.append(1)
        found = count_and_add(unit, "mine")
        if len(tries) == 1:
            raised = together(
                lambda: database.run(lambda other: count_and_add(other, "theirs"), isolation="serializable")
            )
            assert raised == []
        return found

    assert own.run(work, isolation="serializable") == 1
    assert (names(database), len(tries)) == (["mine", "theirs"], 2)


def test_counter_under_serialisable_units_is_exact(database: Database) -> None:
    project = database.projects.create(name="0")

    def add_one(unit: UnitOfWork) -> None:
        number = int(unit.projects.get_by_id(project.id).name)
        unit.projects.update(project.id, name=str(number + 1))

    def work() -> None:
        for _ in range(10):
            database.run(add_one, isolation="serializable", retries=200)

    assert together(*[work] * 5) == []
    assert names(database) == ["50"]


def test_deadlock_is_broken_and_the_loser_run_again(database: Database) -> None:
    one, two = (database.projects.create(name=name) for name in ("one", "two"))
    meet = Barrier(2, timeout=20)
    tries: list[str] = []

    def work(first: Any, second: Any, who: str) -> Callable[[], None]:
        met: list[int] = []

        def in_unit(unit: UnitOfWork) -> None:
            tries.append(who)
            unit.session.run("SET LOCAL deadlock_timeout = '50ms'")
            unit.projects.update(first.id, description=who)
            if not met:
                met.append(1)
                meet.wait()
            unit.projects.update(second.id, description=who)

        return lambda: database.run(in_unit)

    assert together(work(one, two, "a"), work(two, one, "b")) == []
    assert len(tries) == 3
    found = database.projects.list()
    assert (
        len({project.description for project in found}) == 1
    )  # the loser's second try came last, as a whole
    assert [project.version for project in found] == [3, 3]


def test_deadlock_without_retries_is_told(database: Database) -> None:
    one, two = (database.projects.create(name=name) for name in ("one", "two"))
    meet = Barrier(2, timeout=20)

    def work(first: Any, second: Any) -> Callable[[], None]:
        def in_unit(unit: UnitOfWork) -> None:
            unit.session.run("SET LOCAL deadlock_timeout = '50ms'")
            unit.projects.update(first.id, description="x")
            meet.wait()
            unit.projects.update(second.id, description="x")

        return lambda: database.run(in_unit, retries=0)

    [raised] = together(work(one, two), work(two, one))
    assert isinstance(raised, DeadlockDetected)
    assert raised.retryable


# ------------------------------------------------------------------------------------------ what is retried


def counted(failure: Exception) -> tuple[list[int], Callable[[UnitOfWork], None]]:
    tries: list[int] = []

    def work(unit: UnitOfWork) -> None:
        tries.append(1)
        raise failure

    return tries, work


@pytest.mark.parametrize(
    "failure",
    [
        DuplicateRecord(),
        InvalidSql(),
        InvalidValue(),
        TransactionAborted(),
        StatementTimeout(),
        LockTimeout(),
        Oops(),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_what_another_try_would_not_mend_is_tried_once(own: Database, failure: Exception) -> None:
    tries, work = counted(failure)
    with pytest.raises(type(failure)) as caught:
        own.run(work)
    assert caught.value is failure
    assert len(tries) == 1


def test_lock_timeout_is_tried_again_where_asked(own: Database) -> None:
    tries, work = counted(LockTimeout())
    with pytest.raises(RetriesExhausted):
        own.run(work, retries=2, retry_lock_timeouts=True)
    assert len(tries) == 3


def test_last_try_s_error_is_the_cause(own: Database) -> None:
    failures = [SerializationFailure("first"), DeadlockDetected("second"), SerializationFailure("third")]
    left = iter(failures)

    def work(unit: UnitOfWork) -> None:
        raise next(left)

    with pytest.raises(RetriesExhausted, match=r"3 times.*third") as caught:
        own.run(work, retries=2)
    assert caught.value.__cause__ is failures[-1]
    assert not caught.value.retryable


@pytest.mark.parametrize("retries", [-1, 1.5, "3", True, None, 1001])
def test_retries_is_a_whole_number(own: Database, retries: Any) -> None:
    with pytest.raises(InvalidValue, match="retries"):
        own.run(lambda unit: None, retries=retries)


def test_run_gives_what_the_work_gives_and_each_try_a_new_unit(own: Database) -> None:
    units: list[UnitOfWork] = []

    def work(unit: UnitOfWork) -> UnitOfWork:
        units.append(unit)
        if len(units) == 1:
            raise SerializationFailure
        return unit

    assert own.run(work) is units[1]
    assert units[0] is not units[1]


# ----------------------------------------------------------------------------------------------- interrupts


def test_interrupt_in_the_middle_of_a_statement_stores_nothing(database: Database, own: Database) -> None:
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    calls: list[Callable[[UnitOfWork], object]] = [
        lambda unit: unit.session.one("SELECT pg_sleep(0.3)"),
        lambda unit: unit.session.run(
            "INSERT INTO projects SELECT * FROM projects WHERE pg_sleep(0.3) IS NULL"
        ),
    ]
    try:
        for call in calls:
            with pytest.raises(KeyboardInterrupt), own.unit_of_work() as unit:
                unit.projects.create(name="a")
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                call(unit)
            assert own.pool.stats().in_use == 0
            with pytest.raises(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                own.session.one("SELECT pg_sleep(0.3)")
            assert own.pool.stats().in_use == 0
        with pytest.raises(TransactionAborted), own.unit_of_work() as unit:
            unit.projects.create(name="a")
            with pytest.raises(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                unit.session.one("SELECT pg_sleep(0.3)")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert names(database) == []


# An interrupt that hits inside a weak reference's callback is only printed: Python has nobody to raise it to.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupts_at_any_instant_lose_no_slot(database: Database, own: Database) -> None:
    """Bombard units with interrupts: whatever instant they hit, a unit is stored as a whole or not at all."""
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    interrupted = number = 0
    until = time.monotonic() + 1.5
    try:
        while time.monotonic() < until:
            number += 1
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.0005 + number % 40 * 0.0002)
                with own.unit_of_work() as unit:
                    unit.projects.create(name=f"{number} one")
                    unit.projects.create(name=f"{number} two")
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert interrupted
    found = [name.split()[0] for name in names(database)]
    assert all(found.count(each) == 2 for each in set(found))


def test_fork_inside_a_unit_leaves_it_to_the_parent(database: Database, own: Database) -> None:
    with own.unit_of_work() as unit:
        unit.projects.create(name="a")
        child = os.fork()
        if child == 0:  # pragma: no cover  # coverage does not see the child
            try:
                unit.projects.create(name="in the child")
            except DatabaseHandlerError:
                try:
                    unit.rollback()
                    os._exit(0)
                finally:
                    os._exit(2)
            os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        unit.projects.create(name="b")
    assert names(database) == ["a", "b"]
