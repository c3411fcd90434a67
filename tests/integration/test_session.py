"""The session: how many rows a verb gives, what it refuses before anything is sent, and what it streams."""

# what is to raise is the unit as a whole, or its block

import datetime as dt
import tracemalloc
from collections.abc import Callable, Iterator
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg2 import sql
from psycopg2.extensions import AsIs
from psycopg2.extras import Json
from pydantic import BaseModel

from database_handler import Database, Session, UnitOfWork
from database_handler.core.exceptions import (
    AmbiguousRecord,
    InvalidData,
    InvalidSql,
    InvalidValue,
    QueryError,
    RecordNotFound,
    TransactionAborted,
    UnreadableValue,
)
from database_handler.core.session import Statement


class Pair(BaseModel):
    number: int
    word: str


@pytest.fixture(params=["single statements", "unit"])
def session(request: pytest.FixtureRequest, shared_database: Database) -> Iterator[Session]:
    """Yield a session over each kind of executor: the verbs are the same."""
    if request.param == "single statements":
        yield shared_database.session
        return
    with shared_database.unit_of_work() as unit:
        yield unit.session
        unit.rollback()


PAIRS = "SELECT i AS number, 'w' || i AS word FROM generate_series(1, 3) AS i"


def test_verbs_say_how_many_rows_come_back(session: Session) -> None:
    assert session.all(PAIRS) == [(1, "w1"), (2, "w2"), (3, "w3")]
    assert session.all("SELECT 1 WHERE false") == []
    assert session.maybe("SELECT %s::int", [5]) == (5,)
    assert session.maybe("SELECT 1 WHERE false") is None
    assert session.one("SELECT %(a)s::int + %(a)s::int", {"a": 2}) == (4,)
    assert session.run(PAIRS) == 3
    with pytest.raises(RecordNotFound):
        session.one("SELECT 1 WHERE false")


def test_more_rows_than_the_verb_allows_is_an_error_and_no_choice(session: Session) -> None:
    with pytest.raises(AmbiguousRecord, match="3 came back"):
        session.maybe(PAIRS)
    with pytest.raises(AmbiguousRecord):
        session.one(PAIRS)


def test_rows_become_the_model_that_was_asked_for(session: Session) -> None:
    assert session.all(PAIRS, row=Pair)[2] == Pair(number=3, word="w3")
    assert session.maybe(PAIRS + " LIMIT 1", row=Pair) == Pair(number=1, word="w1")
    assert session.maybe(PAIRS + " LIMIT 0", row=Pair) is None
    assert session.one(PAIRS + " LIMIT 1", row=Pair).word == "w1"
    assert [pair.number for pair in session.stream(PAIRS, batch=2, row=Pair)] == [1, 2, 3]


def test_row_that_does_not_fit_the_model_is_named_without_its_values(session: Session) -> None:
    with pytest.raises(UnreadableValue) as caught:
        session.all("SELECT 'secret' AS number", row=Pair)
    assert set(caught.value.columns) == {"number", "word"}
    assert "secret" not in str(caught.value)
    with pytest.raises(InvalidSql, match="one name"):
        session.all("SELECT 1 AS number, 2 AS number, 'a' AS word", row=Pair)


def test_run_counts_what_a_statement_touched(database: Database) -> None:
    with database.unit_of_work() as unit:
        assert unit.session.run("CREATE TABLE t (n int)") == 0
        assert unit.session.run("INSERT INTO t SELECT generate_series(1, 7)") == 7
        assert unit.session.run("UPDATE t SET n = n WHERE n > 4") == 3
        assert unit.session.run("DELETE FROM t") == 7


# ------------------------------------------------------------------------------------------------- values


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("cast", "value"),
    [
        ("text", "x"),
        ("text", "%s ' \" \\ \n ü 漢 🎬"),
        ("bigint", 2**63 - 1),
        ("float8", 1.5),
        ("float8", float("inf")),
        ("bool", True),
        ("numeric", Decimal("12345678901234567890.123")),
        ("date", dt.date(1, 1, 1)),
        ("timestamptz", dt.datetime(9999, 12, 31, 23, 59, 59, 999999, dt.UTC)),
        ("interval", dt.timedelta(days=-3, microseconds=1)),
        ("uuid", UUID(int=7)),
        ("int[]", [1, None, 3]),
        ("text[]", ["a,b", "{", ""]),
        ("uuid[]", [UUID(int=1), UUID(int=2)]),
        ("jsonb", {"a": [1, None, "'"]}),
        ("text", None),
    ],
)
def test_value_comes_back_as_it_was_sent(session: Session, cast: str, value: object) -> None:
    query = sql.SQL("SELECT %s::") + sql.SQL(cast)  # pyright: ignore[reportArgumentType]  # out of the list above
    assert session.one(query, [value]) == (value,)


def test_values_of_other_types_go_as_what_they_stand_for(session: Session) -> None:
    query = "SELECT %s::text, %s::bytea, %s::jsonb, 2 IN %s"
    row = session.one(query, [Colour.RED, memoryview(b"\0\xff"), Json([1]), (1, 2)])
    assert (row[0], bytes(row[1]), *row[2:]) == ("red", b"\0\xff", [1], True)


def test_list_of_uuids_compares_with_uuids(session: Session) -> None:
    ids = [uuid4(), uuid4()]
    assert session.one("SELECT gen_random_uuid() = ANY(%s), %s::uuid = ANY(%s)", [ids, ids[0], ids]) == (
        False,
        True,
    )


class Conforming:
    def __conform__(self, protocol: object) -> AsIs:
        return AsIs("1; DROP TABLE projects")


class ConformingDecimal(Decimal):
    def __conform__(self, protocol: object) -> AsIs:
        return AsIs("1; DROP TABLE projects")


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


CYCLE: list[Any] = []
CYCLE.append(CYCLE)

REFUSED: dict[str, object] = {
    "NUL": "a\0b",
    "NUL in a list": ["a\0b"],
    "lone surrogate": "a\ud800",
    "infinite Decimal": Decimal("Infinity"),
    "bytes": b"abc",
    "bytes in a list": [b"abc"],
    "AsIs": AsIs("now()"),
    "object that adapts itself": Conforming(),
    "Decimal that adapts itself": ConformingDecimal(1),
    "set": {1},
    "SQL object": sql.SQL("now()"),
    "NaN in a dict": {"a": float("nan")},
    "set in a dict": {"a": {1}},
    "deep list": nested(100_000),
    "deep dict": {"a": nested(100_000)},
    "list that holds itself": CYCLE,
    "number of 5,000 digits": 10**5000,
}


@pytest.mark.parametrize("kind", REFUSED)
def test_value_that_would_not_arrive_is_refused_and_the_unit_goes_on(uow: UnitOfWork, kind: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        uow.session.all("SELECT %s::text", [REFUSED[kind]])
    assert "abc" not in str(caught.value)
    assert "DROP" not in str(caught.value)
    assert uow.session.one("SELECT 1") == (1,)  # nothing was sent, so nothing failed


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_value_is_refused_outside_of_a_unit_too(shared_database: Database, kind: str) -> None:
    with pytest.raises(InvalidValue):
        shared_database.session.run("SELECT %(value)s::text", {"value": REFUSED[kind]})
    assert shared_database.pool.stats().in_use == 0


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("SELECT %s, %s", ["one"]),
        ("SELECT %s", ["one", "two"]),
        ("SELECT %(a)s", {"b": 1}),
        ("SELECT %s, %s", "ab"),
        ("SELECT %s", b"a"),
        ("SELECT %s", 5),
        ("SELECT %s", {1, 2}),
        ("SELECT %(a)s", ["one"]),
    ],
)
def test_parameters_that_do_not_fit_are_refused(uow: UnitOfWork, query: Any, parameters: Any) -> None:
    with pytest.raises(InvalidValue):
        uow.session.all(query, parameters)
    assert uow.session.one("SELECT 1") == (1,)


def test_parameters_above_the_cap_are_refused(database: Database) -> None:
    with Database(database.config.with_(max_parameter_bytes=1000)) as capped:
        assert capped.session.one("SELECT length(%s)", ["x" * 1000]) == (1000,)
        for value in (
            "x" * 1001,
            ["x" * 600, "y" * 600],
            {"a": "x" * 1000},
            memoryview(bytes(1001)),
            [1] * 1001,
        ):
            with pytest.raises(InvalidValue, match="max_parameter_bytes allows 1,000"):
                capped.session.one("SELECT %s", [value])


def test_hundreds_of_thousands_of_ids_are_served(shared_database: Database) -> None:
    assert shared_database.session.one("SELECT cardinality(%s::int[])", [[7] * 300_000]) == (300_000,)


# ---------------------------------------------------------------------------------------------------- text


def test_percent_sign_is_plain_without_parameters_and_doubled_with_them(session: Session) -> None:
    assert session.one("SELECT 'a%' LIKE 'a%', 7 % 4, '%s'") == (True, 3, "%s")
    assert session.one("SELECT 'a%%', 7 %% %s", [4]) == ("a%", 3)
    assert session.one("SELECT 'a%%'", []) == ("a%",)
    with pytest.raises(InvalidSql, match="%"):
        session.one("SELECT 'a%', %s", [4])
    with pytest.raises(InvalidSql, match="without quotes"):
        session.one("SELECT '%s'", ["'; DROP TABLE projects; --"])


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1; SELECT 2",
        "BEGIN",
        "/* a */ commit",
        "ROLLBACK",
        "END",
        "ABORT",
        "START TRANSACTION",
        "SAVEPOINT a",
        "RELEASE a",
        "PREPARE TRANSACTION 'a'",
        "SET TRANSACTION READ ONLY",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SELECT 1\0; DROP TABLE projects",
        "SELECT 'open",
        "",
        "-- nothing",
        ";",
        "COPY projects FROM STDIN",
        "COPY projects TO STDOUT",
        sql.Identifier("a\0b"),
        sql.SQL("SELECT {}").format(sql.Identifier("a", "b\0c")),
        sql.SQL("SELECT {}").format(sql.SQL("1; DROP TABLE projects")),
        sql.SQL("SELECT 1\0"),
        5,
        None,
        b"SELECT 1",
    ],
)
def test_text_that_is_not_one_statement_of_a_caller_is_refused(uow: UnitOfWork, query: Any) -> None:
    with pytest.raises(InvalidSql):
        uow.session.run(query)
    with pytest.raises(InvalidSql):
        list(uow.session.stream(query))
    assert uow.session.one("SELECT 1") == (1,)


def test_composed_text_takes_names_and_checked_values(session: Session) -> None:
    query = sql.SQL("SELECT {}::text AS {}, {}").format(
        sql.Literal("it's"), sql.Identifier('a "b'), sql.Placeholder()
    )
    assert session.one(query, [3]) == ("it's", 3)
    for value in (AsIs("now()"), "a\0", b"a", Conforming()):
        with pytest.raises(InvalidValue):
            session.one(sql.SQL("SELECT {}").format(sql.Literal(value)))


class Own(sql.Composable):
    def as_string(self, context: object) -> str:
        return "SELECT 1"


def test_composable_of_an_unknown_kind_is_refused(session: Session) -> None:
    with pytest.raises(InvalidSql, match="Own"):
        session.one(Own(None))


def test_surrogate_in_the_text_is_one_error_of_ours(uow: UnitOfWork) -> None:
    with pytest.raises(InvalidValue):
        uow.session.one("SELECT '\ud800'")
    with pytest.raises(InvalidValue):
        uow.session.one(sql.SQL("SELECT {}").format(sql.Identifier("\ud800")))
    assert uow.session.one("SELECT 1") == (1,)


def test_semicolon_and_comment_at_the_end_are_taken(session: Session) -> None:
    assert session.one("SELECT 1; -- done") == (1,)
    assert list(session.stream("SELECT 1; -- done")) == [(1,)]
    assert list(session.stream("SELECT 1 -- done")) == [(1,)]


# -------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("date", ["'10000-01-01'::date", "'0044-03-15 BC'::timestamptz"])
def test_value_that_python_cannot_hold_is_named_by_its_column(database: Database, date: str) -> None:
    database.session.run("CREATE TABLE t (n int, fine date, odd timestamptz, more date)")
    database.session.run(
        sql.SQL("INSERT INTO t VALUES (1, now(), now(), now()), (2, now(), {}, now())").format(
            sql.SQL(date)  # pyright: ignore[reportArgumentType]  # out of the list above
        )
    )
    with pytest.raises(UnreadableValue) as caught:
        database.session.all("SELECT * FROM t ORDER BY n")
    assert caught.value.columns == ("odd",)
    assert database.session.one("SELECT n FROM t WHERE n = 1") == (1,)
    assert len(database.session.all("SELECT * FROM t WHERE n = 1")) == 1
    assert database.pool.stats().opened == 1


def test_unreadable_value_in_a_unit_needs_a_savepoint_like_any_failure(database: Database) -> None:
    with database.unit_of_work() as unit:
        with pytest.raises(UnreadableValue), unit.savepoint():
            unit.session.one("SELECT '10000-01-01'::date")
        assert unit.session.one("SELECT 1") == (1,)
    with (
        pytest.raises(TransactionAborted),
        database.unit_of_work() as unit,
        pytest.raises(UnreadableValue),
    ):
        unit.session.one("SELECT '10000-01-01'::date")


# -------------------------------------------------------------------------------------------------- streams


def test_stream_of_many_rows_holds_one_batch(shared_database: Database) -> None:
    tracemalloc.start()
    try:
        rows = shared_database.session.stream(
            "SELECT i, repeat('x', 100) FROM generate_series(1, %s) AS i", [200_000], batch=1000
        )
        assert sum(1 for _ in rows) == 200_000
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert shared_database.pool.stats().in_use == 0


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 4, 5])
def test_stream_gives_every_row_whatever_the_batch(session: Session, rows: int) -> None:
    found = session.stream("SELECT * FROM generate_series(1, %s)", [rows], batch=2)
    assert [number for (number,) in found] == list(range(1, rows + 1))


def test_stream_that_is_closed_early_gives_its_connection_back(shared_database: Database) -> None:
    rows = shared_database.session.stream("SELECT * FROM generate_series(1, 100)", batch=10)
    assert next(rows) == (1,)
    assert shared_database.pool.stats().in_use == 1
    rows.close()  # type: ignore[attr-defined]  # it is a generator
    assert shared_database.pool.stats().in_use == 0


def test_stream_outside_of_a_unit_takes_no_writes(shared_database: Database) -> None:
    with pytest.raises(QueryError):
        list(shared_database.session.stream("DELETE FROM projects RETURNING id"))


@pytest.mark.parametrize("batch", [0, -1, 1.5, "10", True, None, 1_000_001])
def test_batch_is_a_whole_number(session: Session, batch: Any) -> None:
    with pytest.raises(InvalidValue, match="batch"):
        session.stream("SELECT 1", batch=batch)


def test_two_streams_of_a_unit_take_turns(uow: UnitOfWork) -> None:
    one = uow.session.stream("SELECT * FROM generate_series(1, 5)", batch=2)
    two = uow.session.stream("SELECT * FROM generate_series(11, 15)", batch=2)
    assert [(a, b) for (a,), (b,) in zip(one, two, strict=True)] == list(
        zip(range(1, 6), range(11, 16), strict=True)
    )


# ----------------------------------------------------------------------------------------------------- copy


@pytest.fixture
def table(database: Database) -> Database:
    database.session.run("CREATE TABLE t (n int PRIMARY KEY)")
    return database


def in_unit(database: Database, lines: Iterator[bytes] | list[bytes]) -> int:
    with database.unit_of_work() as unit:
        return unit.session.copy("COPY t FROM STDIN", lines)


def alone(database: Database, lines: Iterator[bytes] | list[bytes]) -> int:
    return database.session.copy(Statement("COPY t FROM STDIN", "t.copy", writes=True), lines)


Copy = Callable[[Database, Any], int]


@pytest.mark.parametrize("copy", [in_unit, alone])
def test_copy_stores_lines_however_they_are_cut(table: Database, copy: Copy) -> None:
    assert copy(table, [b"1\n2", b"\n", b"", b"3", b"\n4\n"]) == 4  # an empty piece is no end
    assert copy(table, []) == 0
    assert copy(table, (b"%d\n" % n for n in range(10, 60_000))) == 59_990
    assert copy(table, [b"".join(b"%d\n" % n for n in range(60_000, 90_000))]) == 30_000
    assert table.session.one("SELECT count(*) FROM t") == (89_994,)


class SourceBroke(Exception):
    pass


def broken() -> Iterator[bytes]:
    yield b"1\n"
    raise SourceBroke("secret")


@pytest.mark.parametrize("copy", [in_unit, alone])
def test_source_of_a_copy_that_fails_comes_out_as_it_is(table: Database, copy: Copy) -> None:
    with pytest.raises(SourceBroke):
        copy(table, broken())
    with pytest.raises(InvalidValue, match="bytes"):
        copy(table, ["1\n"])
    with pytest.raises(InvalidData):
        copy(table, [b"1\n", b"secret\n"])
    assert table.session.one("SELECT count(*) FROM t") == (0,)
    assert table.pool.stats().in_use == 0


@pytest.mark.parametrize(
    "text", ["COPY t TO STDOUT", "SELECT 1", "COPY t FROM STDIN; SELECT 1", "COPY t FROM 'f'", "'"]
)
def test_copy_takes_a_copy_from_stdin_alone(table: Database, text: Any) -> None:
    with pytest.raises(InvalidSql):
        table.session.copy(text, [b"1\n"])
