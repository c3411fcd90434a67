"""The unit of work: its options, its savepoints, its thread, its hooks, and the state it leaves nowhere."""

# ruff: noqa: PT012  # what is to raise is the unit as a whole, or its block

import gc
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from database_handler import Database, NewLink, NewProject, NewTextSource, UnitOfWork
from database_handler.core.exceptions import (
    AfterCommitFailed,
    DatabaseHandlerError,
    DuplicateRecord,
    InvalidSql,
    InvalidValue,
    QueryCancelled,
    QueryError,
    ReadOnlyServer,
    RecordNotFound,
    ReleasedConnection,
    SerializationFailure,
    TransactionAborted,
)
from database_handler.core.session import Statement
from tests.support.threads import raised_in_thread


def slugs(database: Database) -> list[str]:
    return [slug for (slug,) in database.session.all("SELECT slug FROM projects ORDER BY slug")]


@pytest.fixture
def database(shared_database: Database) -> Iterator[Database]:
    """Yield a `Database` of the test's own on the shared database, which is emptied afterwards."""
    with Database(shared_database.config) as own:
        yield own
    shared_database.session.run("TRUNCATE projects CASCADE")


@pytest.fixture
def taken(database: Database) -> Database:
    database.projects.create(name="taken")
    return database


# ------------------------------------------------------------------------------------------ begins and ends


def test_unit_commits_on_a_clean_exit_and_rolls_back_on_an_error(database: Database) -> None:
    with database.unit_of_work() as unit:
        unit.projects.create(name="kept")
    with pytest.raises(KeyError), database.unit_of_work() as unit:
        unit.projects.create(name="lost")
        raise KeyError
    with database.unit_of_work() as unit:
        unit.projects.create(name="undone")
        unit.rollback()
    assert slugs(database) == ["kept"]


def test_unit_that_is_over_takes_nothing_more(database: Database) -> None:
    with database.unit_of_work() as unit:
        unit.projects.create(name="a")
        unit.rollback()
        for call in (unit.projects.count, lambda: unit.session.one("SELECT 1")):
            with pytest.raises(ReleasedConnection):
                call()
        with pytest.raises(ReleasedConnection):
            unit.on_commit(print)
        with pytest.raises(ReleasedConnection), unit.savepoint():
            pass
        unit.rollback()
    with pytest.raises(ReleasedConnection):
        unit.projects.count()
    with pytest.raises(ReleasedConnection), unit:
        pass
    assert slugs(database) == []


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("deferrable", [False, True])
def test_options_reach_the_server(
    shared_database: Database, isolation: Any, read_only: bool, deferrable: bool
) -> None:
    with shared_database.unit_of_work(
        isolation=isolation,
        read_only=read_only,
        deferrable=deferrable,
        statement_timeout=12.5,
        lock_timeout=0.0015,
    ) as unit:
        found = unit.session.one(
            "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only'), "
            "current_setting('transaction_deferrable'), current_setting('statement_timeout'), "
            "current_setting('lock_timeout')"
        )
    on = {False: "off", True: "on"}
    assert found == (isolation, on[read_only], on[deferrable], "12500ms", "2ms")


def test_timeouts_of_the_settings_hold_for_every_statement(database: Database) -> None:
    asked = "SELECT current_setting('statement_timeout'), current_setting('lock_timeout')"
    with Database(database.config.with_(statement_timeout=7, lock_timeout=3)) as bounded:
        assert bounded.session.one(asked) == ("7s", "3s")
        with bounded.unit_of_work() as unit:
            assert unit.session.one(asked) == ("7s", "3s")
        with bounded.unit_of_work(statement_timeout=None, lock_timeout=1) as unit:
            assert unit.session.one(asked) == ("0", "1s")
        with bounded.pool.borrow().connection.cursor() as cursor:
            cursor.execute(asked)
            assert cursor.fetchone() == ("0", "0")
        gc.collect()


def test_read_only_unit_takes_no_writes(database: Database) -> None:
    with pytest.raises(ReadOnlyServer), database.unit_of_work(read_only=True) as unit:
        unit.projects.create(name="a")
    assert slugs(database) == []


@pytest.mark.parametrize(
    "options",
    [
        {"isolation": "SERIALIZABLE"},
        {"isolation": ["serializable"]},
        {"read_only": "no"},
        {"deferrable": 1},
        {"resolve": None},
        {"statement_timeout": 0},
        {"statement_timeout": True},
        {"lock_timeout": float("nan")},
        {"lock_timeout": "1s"},
        {"project_id": "x"},
        {"unknown": 1},
    ],
)
def test_wrong_option_is_refused_before_anything_is_opened(shared_database: Database, options: Any) -> None:
    opened = shared_database.pool.stats().opened
    with pytest.raises(InvalidValue), shared_database.unit_of_work(**options):
        pytest.fail("it was opened")
    with pytest.raises(InvalidValue):
        shared_database.run(lambda unit: unit.projects.count(), **options)
    assert shared_database.pool.stats().opened == opened


def test_project_of_the_unit_holds_every_statement(database: Database) -> None:
    mine, other = (database.projects.create(name=name) for name in ("mine", "other"))
    with database.unit_of_work(project_id=mine.id) as unit:
        link = unit.links.create(project_id=mine.id, url="https://a.example/")
        with pytest.raises(InvalidValue):
            unit.links.create(project_id=other.id, url="https://a.example/")
    with database.unit_of_work(project_id=other.id) as unit:
        assert unit.links.count() == 0
        assert unit.links.find_by_id(link.id) is None
        assert unit.links.delete_many([link.id]) == 0
        assert unit.projects.find_by_id(mine.id) is None
        with pytest.raises(RecordNotFound):
            unit.links.update(link.id, title="x")
    assert database.links.get_by_id(link.id) == link


# ----------------------------------------------------------------------------------------- one at a time


def test_unit_in_a_unit_is_refused_unless_it_shall_be_a_savepoint(taken: Database) -> None:
    with taken.unit_of_work() as unit:
        with pytest.raises(InvalidValue, match="savepoint"), taken.unit_of_work():
            pass
        with pytest.raises(InvalidValue, match="open already"):
            taken.run(lambda inner: inner.projects.count())
        with pytest.raises(DuplicateRecord), taken.unit_of_work(savepoint=True) as part:
            part.projects.create(name="taken")
        with (
            pytest.raises(InvalidValue, match="isolation"),
            taken.unit_of_work(savepoint=True, isolation="serializable"),
        ):
            pass
        with taken.unit_of_work(savepoint=True) as part:
            part.projects.create(name="part")
        unit.projects.create(name="whole")
    assert slugs(taken) == ["part", "taken", "whole"]


def test_run_is_no_savepoint(database: Database) -> None:
    with database.unit_of_work(), pytest.raises(InvalidValue):
        database.run(lambda unit: unit.projects.count(), savepoint=True)  # type: ignore[call-arg]


def test_database_beside_an_open_unit_must_be_asked_for(database: Database) -> None:
    with database.unit_of_work() as unit:
        unit.projects.create(name="unseen")
        for call in (
            database.projects.count,
            lambda: database.session.one("SELECT 1"),
            lambda: list(database.projects.stream()),
            lambda: database.projects.create_many([NewProject(name=f"p {n}") for n in range(300)]),
        ):
            with pytest.raises(InvalidValue, match="outside_unit"):
                call()
        assert database.repositories(outside_unit=True).projects.count() == 0
        assert raised_in_thread(database.projects.count) is None
    assert slugs(database) == ["unseen"]


def test_unit_belongs_to_its_thread(database: Database) -> None:
    with database.unit_of_work() as unit:
        unit.projects.create(name="a")
        assert isinstance(raised_in_thread(unit.projects.count), InvalidValue)
        assert isinstance(raised_in_thread(lambda: unit.session.run("DELETE FROM projects")), InvalidValue)
    assert slugs(database) == ["a"]


def test_unit_that_ends_in_another_thread_stores_nothing_and_leaves_nothing_open(database: Database) -> None:
    manager = database.unit_of_work()
    manager.__enter__().projects.create(name="a")
    assert isinstance(raised_in_thread(lambda: manager.__exit__(None, None, None)), InvalidValue)
    assert slugs(database) == []  # this thread has no unit open any more
    assert database.pool.stats().in_use == 0


def test_unit_that_is_dropped_is_rolled_back(database: Database) -> None:
    def leak() -> None:
        database.unit_of_work().__enter__()
        manager = database.unit_of_work()
        manager.__enter__().projects.create(name="a")

    leak()
    gc.collect()
    assert slugs(database) == []
    assert database.pool.stats().in_use == 0


def test_generator_that_holds_a_unit_can_be_closed_early(database: Database) -> None:
    def work() -> Iterator[UnitOfWork]:
        with database.unit_of_work() as unit:
            unit.projects.create(name="a")
            yield unit

    running = work()
    next(running)
    del running
    gc.collect()
    assert slugs(database) == []


# --------------------------------------------------------------------------------------------- savepoints


def add(unit: UnitOfWork, name: str) -> None:
    unit.projects.create(name=name)


def add_by_sql(unit: UnitOfWork, name: str) -> None:
    unit.session.run(
        "INSERT INTO projects (id, name, slug, status, tags, metadata, metadata_schemas) "
        "VALUES (gen_random_uuid(), %s, %s, 'draft', '{}', '{}', '{}')",
        [name, name],
    )


Adding = Callable[[UnitOfWork, str], None]
BOTH = pytest.mark.parametrize("add", [add, add_by_sql])


@BOTH
def test_savepoint_that_fails_is_undone_alone(taken: Database, add: Adding) -> None:
    with taken.unit_of_work() as unit:
        add(unit, "before")
        with pytest.raises(DuplicateRecord), unit.savepoint():
            add(unit, "inside")
            add(unit, "taken")
        add(unit, "after")
    assert slugs(taken) == ["after", "before", "taken"]


@BOTH
def test_first_statement_of_a_unit_may_fail_inside_a_savepoint(taken: Database, add: Adding) -> None:
    with taken.unit_of_work() as unit:
        with pytest.raises(DuplicateRecord), unit.savepoint():
            add(unit, "taken")
        add(unit, "after")
    assert slugs(taken) == ["after", "taken"]


@BOTH
def test_failure_that_a_savepoint_swallows_undoes_it_all_the_same(taken: Database, add: Adding) -> None:
    with taken.unit_of_work() as unit:
        with pytest.raises(TransactionAborted), unit.savepoint():
            add(unit, "inside")
            with pytest.raises(DuplicateRecord):
                add(unit, "taken")
            with pytest.raises(TransactionAborted):
                add(unit, "more")
        add(unit, "after")
    assert slugs(taken) == ["after", "taken"]


@BOTH
def test_nested_savepoints_are_undone_from_the_inside_out(taken: Database, add: Adding) -> None:
    with taken.unit_of_work() as unit:
        with pytest.raises(KeyError), unit.savepoint():
            add(unit, "outer")
            with unit.savepoint():
                add(unit, "inner-released")
            raise KeyError
        with unit.savepoint():
            add(unit, "kept")
            with pytest.raises(DuplicateRecord), unit.savepoint():
                add(unit, "inner")
                with unit.savepoint():
                    add(unit, "taken")
            add(unit, "kept-too")
        with unit.savepoint(), unit.savepoint(), unit.savepoint():
            add(unit, "deep")
    assert slugs(taken) == ["deep", "kept", "kept-too", "taken"]


def test_savepoints_mix_library_and_other_sql(taken: Database) -> None:
    with taken.unit_of_work() as unit:
        for number in range(20):
            one, two = (add, add_by_sql)[:: 1 if number % 2 else -1]
            with pytest.raises(DuplicateRecord), unit.savepoint():
                one(unit, f"lost-{number}")
                with unit.savepoint():
                    two(unit, f"lost-too-{number}")
                one(unit, "taken")
            with unit.savepoint():
                two(unit, f"p-{number:02}")
    assert slugs(taken) == [f"p-{number:02}" for number in range(20)] + ["taken"]


def test_empty_savepoints_send_nothing(database: Database) -> None:
    with database.unit_of_work() as unit, unit.savepoint(), unit.savepoint():
        pass
    with database.unit_of_work() as unit:
        with pytest.raises(KeyError), unit.savepoint():
            raise KeyError
        with unit.savepoint():
            pass
    assert database.pool.stats().opened == 0


def test_syntax_error_in_a_savepoint_of_the_first_message(database: Database) -> None:
    with database.unit_of_work() as unit:
        with pytest.raises(InvalidSql), unit.savepoint():
            unit.session.run("SELEC 1")
        add(unit, "after")
    assert slugs(database) == ["after"]
    # Glued to the library's own SQL it keeps BEGIN from being run too, so the whole unit is given up.
    with pytest.raises(TransactionAborted), database.unit_of_work() as unit:
        with pytest.raises(InvalidSql), unit.savepoint():
            unit.session.run(Statement("SELEC 1", "broken", writes=True))
        add(unit, "never")
    assert slugs(database) == ["after"]


def test_stream_in_a_savepoint(database: Database) -> None:
    database.projects.create_many([NewProject(name=f"p {n}") for n in range(25)])
    with database.unit_of_work() as unit:
        with unit.savepoint():
            assert sum(1 for _ in unit.projects.stream(batch=10)) == 25
            add(unit, "one")
        with pytest.raises(KeyError), unit.savepoint():
            rows = unit.projects.stream(batch=10)
            next(rows)
            add(unit, "lost")
            raise KeyError
        add(unit, "two")
        outer = unit.projects.stream(batch=10)
        next(outer)
        with pytest.raises(KeyError), unit.savepoint():
            assert sum(1 for _ in outer) == 26  # ended inside; its CLOSE is dropped with the savepoint
            raise KeyError
        with unit.savepoint():
            early = unit.projects.stream(batch=10)
            next(early)
        assert sum(1 for _ in early) == 26
        add(unit, "three")
    assert database.projects.count() == 28
    with pytest.raises(TransactionAborted), database.unit_of_work() as unit:
        gone = unit.projects.stream(batch=10)  # declared when it is first read
        with pytest.raises(KeyError), unit.savepoint():
            next(gone)
            raise KeyError
        with pytest.raises(QueryError):
            list(gone)


def test_savepoint_after_rollback_of_the_unit_inside_it(database: Database) -> None:
    with database.unit_of_work() as unit, unit.savepoint():
        add(unit, "a")
        unit.rollback()
    assert slugs(database) == []


# -------------------------------------------------------------------------------------------------- hooks


def test_hooks_run_after_the_commit_in_order_when_the_connection_is_back(database: Database) -> None:
    seen: list[object] = []

    def look() -> None:
        seen.append((slugs(database), database.pool.stats().in_use))

    with database.unit_of_work() as unit:
        unit.on_commit(look)
        unit.on_commit(lambda: seen.append("second"))
        add(unit, "a")
        assert seen == []
    assert seen == [(["a"], 0), "second"]
    with pytest.raises(InvalidValue), database.unit_of_work() as unit:
        unit.on_commit("not callable")  # type: ignore[arg-type]


def test_hook_may_open_a_unit(database: Database) -> None:
    def more() -> None:
        with database.unit_of_work() as other:
            add(other, "b")

    with database.unit_of_work() as unit:
        unit.on_commit(more)
        add(unit, "a")
    assert slugs(database) == ["a", "b"]


def test_hooks_of_what_was_undone_do_not_run(taken: Database) -> None:
    seen: list[str] = []
    with taken.unit_of_work() as unit:
        unit.on_commit(lambda: seen.append("kept"))
        with pytest.raises(DuplicateRecord), unit.savepoint():
            unit.on_commit(lambda: seen.append("lost"))
            with unit.savepoint():
                unit.on_commit(lambda: seen.append("lost with its outer one"))
            add(unit, "taken")
        with pytest.raises(TransactionAborted), unit.savepoint():
            unit.on_commit(lambda: seen.append("lost"))
            with pytest.raises(DuplicateRecord):
                add(unit, "taken")
    assert seen == ["kept"]
    for end in (UnitOfWork.rollback, lambda unit: add(unit, "taken")):
        with pytest.raises((DuplicateRecord, KeyError)), taken.unit_of_work() as unit:
            unit.on_commit(lambda: seen.append("lost"))
            end(unit)
            raise KeyError
    assert seen == ["kept"]


def test_hook_that_fails_says_that_the_unit_is_stored(database: Database) -> None:
    seen: list[str] = []
    tries: list[int] = []

    def fail() -> None:
        raise SerializationFailure

    def work(unit: UnitOfWork) -> None:
        tries.append(1)
        unit.on_commit(fail)
        unit.on_commit(lambda: seen.append("the next one ran"))
        add(unit, "a")

    with pytest.raises(AfterCommitFailed) as caught:
        database.run(work)
    assert isinstance(caught.value.__cause__, SerializationFailure)
    assert not caught.value.retryable
    assert (len(tries), seen, slugs(database)) == (1, ["the next one ran"], ["a"])


# ------------------------------------------------------------------------------------------ session state

A_SHORT_TIMEOUT = "a timeout that can end the reset"
LEAVES = {
    "a setting": "SET statement_timeout = '1min'",
    A_SHORT_TIMEOUT: "SET statement_timeout = '1ms'",
    "a read-only default": "SET default_transaction_read_only = on",
    "a search path": "SET search_path = pg_catalog",
    "a role": "SET ROLE pg_monitor",
    "an authorization": "SET SESSION AUTHORIZATION pg_monitor",
    "a temporary table": "CREATE TEMP TABLE projects AS SELECT 1 AS fake",
    "an advisory lock": "SELECT pg_advisory_lock(42)",
    "a channel": "LISTEN news",
    "a held cursor": "DECLARE held CURSOR WITH HOLD FOR SELECT 1",
    "a prepared statement": "PREPARE ready AS SELECT 1",
    "a setting by a function": "SELECT set_config('search_path', 'pg_catalog', false)",
    "a setting, deeper": "WITH s AS (SELECT set_config('TimeZone', 'Asia/Tokyo', false)) SELECT * FROM s",
    "a setting in a block": "DO $$ BEGIN PERFORM set_config('datestyle', 'German', false); END $$",
    "a sequence's value": "SELECT nextval('numbers')",
}
STATE = Statement(
    "SELECT current_setting('statement_timeout'), current_setting('default_transaction_read_only'), "
    "current_setting('search_path'), current_setting('role'), current_user = session_user, "
    "pg_my_temp_schema() = 0 OR NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = pg_my_temp_schema()), "
    "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), "
    "(SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_cursors), "
    "(SELECT count(*) FROM pg_prepared_statements), current_setting('TimeZone'), "
    "current_setting('datestyle')",
    "state",
)


ECHO = Statement("SELECT length(%s)", "echo")
CANCELS_ITSELF = Statement(
    "SELECT nextval('numbers'), pg_cancel_backend(pg_backend_pid()), pg_sleep(5)", "cancels.itself"
)


@pytest.fixture
def lone(database: Database) -> Iterator[Database]:
    """Yield the database over a single connection."""
    database.session.run("CREATE SEQUENCE numbers")
    with Database(database.config.with_(pool_size=1, max_overflow=0, pool_timeout=5)) as one:
        yield one
    database.session.run("DROP SEQUENCE numbers")


def borrowed(database: Database) -> object:
    return database.session.one(STATE)


def in_a_unit(database: Database) -> object:
    with database.unit_of_work() as unit:
        return unit.session.one(STATE)


def by_a_caller(database: Database) -> object:
    return database.session.one(STATE.text)  # pyright: ignore[reportArgumentType]


def after_a_rollback(database: Database) -> object:
    with database.unit_of_work() as unit:
        unit.session.one(STATE)
        unit.rollback()
    return borrowed(database)


def after_a_failure(database: Database) -> object:
    with pytest.raises(DatabaseHandlerError), database.unit_of_work() as unit:
        unit.session.run(Statement("SELECT 1 / 0", "fails"))
    with pytest.raises(DatabaseHandlerError), database.unit_of_work() as unit:
        unit.session.run(Statement("SELEC 1", "fails"))
    return borrowed(database)


def after_a_failure_of_a_caller(database: Database) -> object:
    with pytest.raises(DatabaseHandlerError):
        database.session.run("SELEC 1")
    with pytest.raises(DatabaseHandlerError), database.unit_of_work() as unit:
        unit.session.run("SELEC 1")
    return borrowed(database)


NEXT = [borrowed, in_a_unit, by_a_caller, after_a_rollback, after_a_failure, after_a_failure_of_a_caller]


@pytest.mark.parametrize("kind", LEAVES)
def test_next_borrower_meets_no_state(lone: Database, kind: str) -> None:
    clean = borrowed(lone)
    text: Any = LEAVES[kind]
    for following in NEXT:
        for leave in (leave_alone, leave_and_commit, leave_and_roll_back):
            leave(lone, text)
            assert following(lone) == clean, (following.__name__, leave.__name__)
    with pytest.raises(DatabaseHandlerError, match="lastval"):
        lone.session.one("SELECT lastval()")
    lone.projects.create(name="the real table")
    assert kind == A_SHORT_TIMEOUT or lone.pool.stats().opened == 1


def test_a_timeout_left_behind_does_not_end_the_next_borrowers_statement(lone: Database) -> None:
    lone.session.run("SET statement_timeout = '500ms'")  # within which the reset has to run
    with lone.unit_of_work() as unit:
        assert unit.session.all(Statement("SELECT pg_sleep(0.7)", "slow")) == [("",)]
    lone.session.run("SET statement_timeout = '500ms'")
    assert lone.session.all(Statement("SELECT pg_sleep(0.7)", "slow")) == [("",)]
    assert lone.pool.stats().opened == 1


def test_reset_that_a_timeout_left_behind_cuts_off_is_done_again(lone: Database) -> None:
    """The server reads all of a message before the reset in it: 5 MB take it longer than a millisecond."""
    project = lone.projects.create(name="long")
    long = "word " * 1_000_000
    source = NewTextSource(project_id=project.id, title="long", language="en", content=long)
    for times in range(1, 4):
        lone.session.run("SET statement_timeout = '1ms'")
        assert lone.session.one(ECHO, [long]) == (len(long),)
        lone.session.run("SET statement_timeout = '1ms'")
        with lone.unit_of_work() as unit:
            assert unit.session.one(ECHO, [long]) == (len(long),)
            unit.projects.create(name=f"after {times}")
        assert lone.pool.stats().opened >= 2 * times, "the timeout did not cut off any reset"
    lone.session.run("SET statement_timeout = '1ms'")
    assert lone.text_sources.create(source).content == long
    assert lone.projects.count() == 4


def test_cancelled_statement_behind_a_reset_is_not_sent_again(lone: Database) -> None:
    def in_unit() -> None:
        with lone.unit_of_work() as unit:
            unit.session.one(CANCELS_ITSELF)

    for sent, send in enumerate((lambda: lone.session.one(CANCELS_ITSELF), in_unit), 1):
        lone.session.run("SET statement_timeout = '1min'")
        with pytest.raises(QueryCancelled):
            send()
        assert lone.session.one(Statement("SELECT last_value FROM numbers", "numbers")) == (sent,)


def leave_alone(database: Database, text: Any) -> None:
    database.session.run(text)


def leave_and_commit(database: Database, text: Any) -> None:
    with database.unit_of_work() as unit:
        unit.session.run(text)


def leave_and_roll_back(database: Database, text: Any) -> None:
    with database.unit_of_work() as unit:
        unit.session.run(text)
        unit.rollback()


def test_setting_of_a_unit_is_the_units(lone: Database) -> None:
    with lone.unit_of_work() as unit:
        unit.session.run("SET LOCAL search_path = pg_catalog")
        unit.session.run("CREATE TEMP TABLE held (n int) ON COMMIT DROP")
        unit.session.run("INSERT INTO held VALUES (1)")
        assert unit.session.one("SHOW search_path") == ("pg_catalog",)
        assert unit.session.one("SELECT n FROM held") == (1,)


def test_links_of_a_unit_are_stored_with_their_project(database: Database) -> None:
    with database.unit_of_work() as unit:
        project = unit.projects.create(NewProject(name="a"), id=uuid4())
        unit.links.create_many(
            [NewLink(project_id=project.id, url=f"https://a.example/{n}") for n in range(500)]
        )
    assert database.links.count(project_id=project.id) == 500


def test_a_unit_that_was_not_entered_says_so(database: Database) -> None:
    unit: Any = database.unit_of_work()
    with pytest.raises(InvalidValue, match="not open"):
        unit.projects.list()
    with unit, pytest.raises(InvalidValue, match="open already"), unit:
        pass
    with pytest.raises(ReleasedConnection), unit:
        pass


def test_a_unit_made_before_another_is_refused_inside_of_it(database: Database) -> None:
    early = database.unit_of_work()
    with database.unit_of_work() as open_one, pytest.raises(InvalidValue, match="open already"), early:
        open_one.projects.list()
