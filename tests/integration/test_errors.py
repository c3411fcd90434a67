"""Errors of the server: the class, the facts, and no row value in anything that is printed of them."""

# ruff: noqa: PT012  # what is to raise is the unit as a whole, or its block

import traceback
from collections.abc import Callable, Iterator
from functools import partial
from threading import Thread
from typing import Any

import psycopg2
import pytest

from database_handler import Database, NewLink, NewProject, UnitOfWork
from database_handler.core.exceptions import (
    CheckFailed,
    ConstraintViolation,
    DatabaseError,
    DatabaseHandlerError,
    DuplicateRecord,
    InvalidData,
    InvalidSql,
    LimitExceeded,
    LockTimeout,
    MissingReference,
    PermissionDenied,
    QueryCancelled,
    QueryError,
    ReadOnlyServer,
    RequiredValueMissing,
    SchemaMismatch,
    StatementTimeout,
    StillReferenced,
    TransactionAborted,
)
from tests.support.faults import eventually

SECRET = "s3cret-value"
TABLES = """
CREATE EXTENSION IF NOT EXISTS btree_gist;
CREATE TABLE parent (id text PRIMARY KEY, note text NOT NULL CHECK (note <> 'bad-s3cret-value'));
CREATE TABLE child (
    id text PRIMARY KEY,
    parent_id text REFERENCES parent (id),
    late_id text CONSTRAINT late REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE booking (
    room text, days int4range,
    CONSTRAINT no_overlap EXCLUDE USING gist (room WITH =, days WITH &&)
);
CREATE TABLE pair (a text, b text, CONSTRAINT pair_key UNIQUE (a, b) DEFERRABLE INITIALLY DEFERRED);
INSERT INTO parent VALUES ('s3cret-value', 'n'), ('last', 'n');
INSERT INTO child VALUES ('c', 's3cret-value', NULL), ('late', NULL, 'last');
"""


@pytest.fixture(scope="module")
def tables(shared_database: Database) -> Iterator[Database]:
    """Yield a database with tables that are left by every test as they were."""
    with shared_database.unit_of_work() as unit:
        unit.session.script(TABLES)
    yield shared_database
    with shared_database.unit_of_work() as unit:
        unit.session.script("DROP TABLE pair, booking, child, parent; DROP EXTENSION btree_gist")


@pytest.fixture
def database(shared_database: Database) -> Iterator[Database]:
    """Yield a `Database` of the test's own on the shared database, which is emptied afterwards."""
    with Database(shared_database.config) as own:
        yield own
    shared_database.session.run("TRUNCATE projects CASCADE")


def shown(error: BaseException) -> str:
    """Everything that a log, a traceback or a debugger's list of variables would print of an error."""
    return "\n".join([str(error), repr(error), *traceback.format_exception(error)])


VIOLATIONS: list[tuple[str, str, type[DatabaseError], str | None, str, tuple[str, ...]]] = [
    (
        "unique",
        "INSERT INTO parent VALUES (%s, 'n')",
        DuplicateRecord,
        "parent_pkey",
        "parent",
        ("id",),
    ),
    (
        "a reference to nothing",
        "INSERT INTO child VALUES ('x', %s || 'x')",
        MissingReference,
        "child_parent_id_fkey",
        "child",
        ("parent_id",),
    ),
    (
        "an update to nothing",
        "UPDATE child SET parent_id = %s || 'x'",
        MissingReference,
        "child_parent_id_fkey",
        "child",
        ("parent_id",),
    ),
    (
        "what is referred to",
        "DELETE FROM parent WHERE id = %s",
        StillReferenced,
        "child_parent_id_fkey",
        "child",
        ("id",),
    ),
    (
        "what is referred to, in a WITH",
        "WITH gone AS (DELETE FROM parent WHERE id = %s RETURNING id) SELECT * FROM gone",
        StillReferenced,
        "child_parent_id_fkey",
        "child",
        ("id",),
    ),
    (
        "not null",
        "UPDATE parent SET note = NULL WHERE id = %s",
        RequiredValueMissing,
        None,
        "parent",
        ("note",),
    ),
    ("check", "UPDATE parent SET note = 'bad-' || %s", CheckFailed, "parent_note_check", "parent", ()),
    (
        "exclusion",
        "INSERT INTO booking SELECT %s, '[1,5)' FROM generate_series(1, 2)",
        DuplicateRecord,
        "no_overlap",
        "booking",
        ("room", "days"),
    ),
]


@pytest.mark.parametrize("inside", [True, False], ids=["unit", "alone"])
@pytest.mark.parametrize(
    ("text", "kind", "constraint", "table", "columns"),
    [row[1:] for row in VIOLATIONS],
    ids=[row[0] for row in VIOLATIONS],
)
def test_violation_is_told_by_class_and_facts_without_values(
    tables: Database,
    inside: bool,
    text: Any,
    kind: type[DatabaseError],
    constraint: str | None,
    table: str,
    columns: tuple[str, ...],
) -> None:
    with pytest.raises(ConstraintViolation) as caught:
        if inside:
            with tables.unit_of_work() as unit:
                unit.session.run(text, [SECRET])
        else:
            tables.session.run(text, [SECRET])
    error = caught.value
    assert (type(error), error.constraint, error.table, error.columns) == (kind, constraint, table, columns)
    assert error.sqlstate
    assert error.sqlstate.startswith("23")
    assert not error.retryable
    assert SECRET not in shown(error)
    assert isinstance(error.driver_error, psycopg2.Error)
    assert SECRET in str(error.driver_error)  # for who wants it, it is there


@pytest.mark.parametrize(
    ("text", "kind", "constraint"),
    [
        ("INSERT INTO child VALUES ('d', NULL, %s || 'x')", MissingReference, "late"),
        ("INSERT INTO pair SELECT 'a', %s FROM generate_series(1, 2)", DuplicateRecord, "pair_key"),
    ],
)
def test_deferred_constraint_is_told_at_the_commit(
    tables: Database, text: Any, kind: type[DatabaseError], constraint: str
) -> None:
    ran: list[int] = []
    with pytest.raises(ConstraintViolation) as caught, tables.unit_of_work() as unit:
        unit.on_commit(lambda: ran.append(1))
        unit.projects.create(name="a")
        unit.session.run(text, [SECRET])
    assert (type(caught.value), caught.value.constraint) == (kind, constraint)
    assert SECRET not in shown(caught.value)
    assert (tables.projects.exists(name="a"), ran) == (False, [])
    assert tables.pool.stats().in_use == 0


def test_deferred_reference_to_what_was_deleted_is_told_as_such(tables: Database) -> None:
    with pytest.raises(StillReferenced) as caught, tables.unit_of_work() as unit:
        unit.session.run("DELETE FROM parent WHERE id = 'last'")
    assert caught.value.constraint == "late"


def test_violations_by_the_library_s_own_sql(database: Database) -> None:
    project = database.projects.create(name=SECRET)
    with pytest.raises(DuplicateRecord) as caught:
        database.projects.create(name=SECRET)
    assert (caught.value.table, caught.value.constraint, caught.value.columns) == (
        "projects",
        "projects_key",
        ("slug",),
    )
    assert SECRET not in shown(caught.value)
    gone = database.projects.create(name="gone")
    database.projects.delete(gone.id)
    for call in (
        lambda: database.links.create(project_id=gone.id, url="https://a.example"),
        lambda: database.links.create_many(
            [NewLink(project_id=gone.id, url=f"https://a.example/{SECRET}/{n}") for n in range(300)]
        ),
    ):
        with pytest.raises(MissingReference) as missing:
            call()
        assert missing.value.columns == ("project_id",)
        assert SECRET not in shown(missing.value)
    source = database.text_sources.create(project_id=project.id, title="t", content="c", language="en")
    translation = database.translations.create(
        project_id=project.id,
        text_source_id=source.id,
        source_language="en",
        target_language="de",
        content=SECRET,
    )
    database.videos.create(project_id=project.id, translation_id=translation.id, title="v", storage_uri="/v")
    deletes: list[Callable[[], object]] = [
        lambda: database.translations.delete(translation.id),
        lambda: database.translations.delete_many([translation.id]),
        lambda: database.session.run("DELETE FROM translations WHERE id = %s", [translation.id]),
    ]
    for delete in deletes:
        with pytest.raises(StillReferenced) as still:
            delete()
        assert still.value.table == "videos"
        assert SECRET not in shown(still.value)


OTHERS: list[tuple[str, type[DatabaseError]]] = [
    ("SELECT %s::int", InvalidData),
    ("SELECT 1 / 0, %s", InvalidData),
    ("SELECT to_date(%s, 'YYYY')", InvalidData),
    ("SELECT '{}'::jsonb @@ %s::jsonpath", InvalidSql),  # a value that the server parses
    ("SELECT to_tsquery(%s || ' (')", InvalidSql),
    ("SELECT 1 %s", InvalidSql),  # the message would quote what stands there
    ("SELECT * FROM nowhere WHERE a = %s", SchemaMismatch),
    ("SELECT nothing FROM projects WHERE name = %s", SchemaMismatch),
    ("SELECT no_such_function(%s)", SchemaMismatch),
    ("INSERT INTO projects (id) VALUES (%s::text)", QueryError),
    ("SELECT id, count(*) FROM projects WHERE name = %s", QueryError),
    ("SELECT (SELECT i FROM generate_series(1, 2) AS i), %s", QueryError),
    ("SELECT repeat(%s, 500000000)", LimitExceeded),
    ("DO $$ BEGIN RAISE EXCEPTION 's3cret-value'; END $$", DatabaseError),
    ("DO $$ BEGIN RAISE 's3cret-value' USING ERRCODE = 'ZZ999'; END $$", DatabaseError),
]


@pytest.mark.parametrize(("text", "kind"), OTHERS, ids=[text for text, _ in OTHERS])
def test_other_errors_are_told_by_class_without_values(
    shared_database: Database, text: Any, kind: type[DatabaseError]
) -> None:
    with pytest.raises(DatabaseError) as caught:
        shared_database.session.all(text, [SECRET] if "%s" in text else None)
    assert type(caught.value) is kind
    assert caught.value.sqlstate
    assert SECRET not in shown(caught.value)
    assert shared_database.pool.stats().in_use == 0


def test_syntax_error_in_text_without_values_says_where(database: Database) -> None:
    with pytest.raises(InvalidSql, match='syntax error at or near "FORM"'):
        database.session.all("SELECT * FORM projects")


def test_permission_denied(database: Database) -> None:
    with pytest.raises(PermissionDenied), database.unit_of_work() as unit:
        unit.session.run("SET LOCAL ROLE pg_monitor")
        unit.projects.count()
    assert database.projects.count() == 0


def test_error_in_a_handler_does_not_print_the_driver_s(tables: Database) -> None:
    def store() -> None:
        try:
            tables.session.run("INSERT INTO parent VALUES (%s, 'n')", [SECRET])
        except DuplicateRecord as error:
            raise RuntimeError("while storing") from error

    with pytest.raises(RuntimeError) as outer:
        store()
    assert SECRET not in shown(outer.value)
    assert "DuplicateRecord" in shown(outer.value)


# ------------------------------------------------------------------------------------ row 1: given up by one


def swallow(call: Callable[[], object]) -> None:
    try:
        call()
    except DatabaseHandlerError:
        pass
    else:
        pytest.fail("it was to fail")


class Oops(Exception):
    pass


def drafts() -> Iterator[NewProject]:
    yield NewProject(name="one")
    raise Oops


Failing = Callable[[UnitOfWork], object]
FAILING: dict[str, Failing] = {
    "a caller's SQL": lambda unit: unit.session.run("SELECT 1 / 0"),
    "a caller's syntax": lambda unit: unit.session.run("SELEC 1"),
    "a caller's query": lambda unit: unit.session.all("SELECT * FROM nowhere"),
    "a caller's block that commits": lambda unit: unit.session.run("DO $$ BEGIN COMMIT; END $$"),
    "a caller's block that rolls back": lambda unit: unit.session.run("DO $$ BEGIN ROLLBACK; END $$"),
    "a procedure that commits": lambda unit: unit.session.run("CALL committing()"),
    "a stream": lambda unit: list(
        unit.session.stream("SELECT 1 / (2 - i) FROM generate_series(1, 5) AS i", batch=1)
    ),
    "a duplicate": lambda unit: unit.projects.create(name="taken"),
    "many duplicates": lambda unit: unit.projects.create_many(
        [NewProject(name="taken"), *(NewProject(name=f"p {n}") for n in range(300))]
    ),
    "a copy": lambda unit: unit.session.copy("COPY projects (slug) FROM STDIN", [b"a\n"]),
    "what cannot be in a transaction": lambda unit: unit.session.run("VACUUM"),
}
PREPARED = """
CREATE PROCEDURE committing() LANGUAGE plpgsql AS $$ BEGIN COMMIT; END $$;
"""


@pytest.fixture(scope="module")
def prepared(shared_database: Database) -> Iterator[None]:
    """Have a procedure that commits."""
    with shared_database.unit_of_work() as unit:
        unit.session.script(PREPARED)
    yield
    shared_database.session.run("DROP PROCEDURE committing()")


@pytest.mark.parametrize("first", [True, False], ids=["first", "later"])
@pytest.mark.parametrize("kind", FAILING)
def test_unit_that_went_on_after_a_failure_stores_nothing_and_says_so(
    prepared: None, database: Database, kind: str, first: bool
) -> None:
    database.projects.create(name="taken")
    ran: list[int] = []
    others: list[Failing] = [
        lambda unit: None,
        lambda unit: swallow(lambda: unit.projects.create(name="more")),
    ]
    for more in others:
        with pytest.raises(TransactionAborted), database.unit_of_work() as unit:
            unit.on_commit(lambda: ran.append(1))
            if not first:
                unit.projects.create(name="before")
            swallow(partial(FAILING[kind], unit))
            more(unit)
    assert [slug for (slug,) in database.session.all("SELECT slug FROM projects")] == ["taken"]
    assert ran == []
    assert database.pool.stats().in_use == 0


def test_exception_of_the_caller_s_own_iterator_is_no_failure_of_the_unit(database: Database) -> None:
    with database.unit_of_work() as unit:
        with pytest.raises(Oops):
            unit.projects.create_many(drafts())
        unit.projects.create(name="after")
    assert database.projects.count() == 1


@pytest.mark.parametrize(
    "text", ["COMMIT", "ROLLBACK", "BEGIN", "SELECT 1; COMMIT", "SET TRANSACTION READ ONLY"]
)
def test_refused_control_changes_nothing(database: Database, text: Any) -> None:
    with database.unit_of_work() as unit:
        unit.projects.create(name="before")
        with pytest.raises(InvalidSql):
            unit.session.run(text)
        unit.projects.create(name="after")
    assert database.projects.count() == 2


@pytest.mark.parametrize("behind", ["ROLLBACK", "COMMIT"])
@pytest.mark.parametrize("more", [True, False])
def test_transaction_that_ends_behind_the_unit_s_back_is_noticed(
    database: Database, behind: str, more: bool
) -> None:
    with pytest.raises(TransactionAborted), database.unit_of_work() as unit:
        unit.projects.create(name="before")
        lease = unit._transaction._lease
        assert lease is not None
        with lease.connection.cursor() as cursor:
            cursor.execute(behind)
        if more:
            with pytest.raises(TransactionAborted):
                unit.projects.create(name="must not commit by itself")
    assert database.projects.count() == (1 if behind == "COMMIT" else 0)
    assert database.pool.stats().in_use == 0


def test_commit_that_the_server_turns_into_a_rollback_is_told(database: Database) -> None:
    with pytest.raises(TransactionAborted, match="rolling back"), database.unit_of_work() as unit:
        unit.projects.create(name="lost")
        lease = unit._transaction._lease
        assert lease is not None
        status = lease.connection.get_transaction_status
        with pytest.raises(psycopg2.Error), lease.connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
        # Only a driver that tells wrongly of its state comes to the second line of defence.
        unit._transaction._expect_open = lambda lease: status()  # type: ignore[method-assign,assignment]
    assert database.projects.count() == 0


# -------------------------------------------------------------------------------- timeouts and cancellation


def waits(database: Database, kind: str) -> list[int]:
    """Return the process numbers of this database's sessions that wait for a kind of event."""
    text = (
        "SELECT pid FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = %s AND state = 'active'"
    )
    return [pid for (pid,) in database.session.all(text, [kind])]


@pytest.mark.parametrize("inside", [True, False], ids=["unit", "alone"])
def test_statement_timeout_is_told_from_a_cancel(database: Database, inside: bool) -> None:
    with Database(database.config.with_(statement_timeout=0.1)) as bounded:
        with pytest.raises(StatementTimeout) as caught:
            if inside:
                with bounded.unit_of_work() as unit:
                    unit.session.one("SELECT pg_sleep(30)")
            else:
                bounded.session.one("SELECT pg_sleep(30)")
        assert caught.value.sqlstate == "57014"
        assert bounded.session.one("SELECT 1") == (1,)
        assert bounded.pool.stats().opened == 1


@pytest.mark.parametrize("timeout", [None, 60])
def test_cancel_is_told_from_a_timeout(database: Database, timeout: float | None) -> None:
    raised: list[BaseException] = []

    def work() -> None:
        try:
            with database.unit_of_work(statement_timeout=timeout) as unit:
                unit.session.one("SELECT pg_sleep(30)")
        except DatabaseHandlerError as error:
            raised.append(error)

    thread = Thread(target=work, daemon=True)
    thread.start()
    eventually(lambda: bool(waits(database, "Timeout")))
    database.session.all("SELECT pg_cancel_backend(%s)", waits(database, "Timeout"))
    thread.join(20)
    assert [type(error) for error in raised] == [QueryCancelled]
    assert database.session.one("SELECT 1") == (1,)


def test_lock_timeout_keeps_the_connection_and_is_no_statement_timeout(database: Database) -> None:
    project = database.projects.create(name="a")
    with database.unit_of_work() as unit:
        unit.projects.update(project.id, name="b")
        other = database.repositories(outside_unit=True)
        settings = database.config.with_(lock_timeout=0.05, statement_timeout=30)
        with pytest.raises(LockTimeout) as caught, Database(settings) as bounded:
            bounded.repositories(outside_unit=True).projects.update(project.id, name="c")
        assert (caught.value.sqlstate, caught.value.retryable) == ("55P03", False)
        assert other.projects.get_by_id(project.id).name == "a"
    assert database.projects.get_by_id(project.id).name == "b"


def test_write_in_a_read_only_transaction(database: Database) -> None:
    with pytest.raises(ReadOnlyServer) as caught, database.unit_of_work(read_only=True) as unit:
        unit.session.run("CREATE TABLE t (n int)")
    assert caught.value.sqlstate == "25006"
