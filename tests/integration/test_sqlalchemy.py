"""SQLAlchemy beside the repositories: in a unit's transaction, over the pool, and with the models' tables."""

# ruff: noqa: PT012  # what is to raise is the unit as a whole, or its block

import datetime as dt
import enum
import gc
import pickle
import re
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, ClassVar
from uuid import UUID, uuid4

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import AwareDatetime, Field
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from sqlalchemy.schema import CreateTable

from database_handler import Create, Database, Project, Repository, Table
from database_handler.core.base_model import Draft, Record
from database_handler.core.ddl import create_tables
from database_handler.core.events import Events, Target, Told
from database_handler.core.exceptions import (
    ConnectionLost,
    DatabaseHandlerError,
    DeadlineExceeded,
    DuplicateRecord,
    InvalidSql,
    InvalidValue,
    MissingExtra,
    PoolTimeout,
    ReadOnlyServer,
    ReleasedConnection,
    StaleRecord,
    StatementBudgetExceeded,
    StatementTimeout,
    TransactionAborted,
)
from database_handler.core.pool_stats import Closed
from database_handler.core.schema import Index, References, SqlType
from database_handler.integrations.sqlalchemy import metadata
from database_handler.testing.plugin import _made
from database_handler.utils.validators import Choice, JsonObject, Name
from tests.support.caching import cache, cached_databases
from tests.support.faults import FaultProxy
from tests.support.threads import raised_in_thread
from tests.support.valkey import Valkey
from tests.support.wire import CountingProxy

TABLES = metadata()
PROJECTS = TABLES.tables["projects"]
LINKS = TABLES.tables["links"]
ONE = sa.text("SELECT 1")
NAMES = sa.select(PROJECTS.c.name).order_by(PROJECTS.c.name)


@pytest.fixture
def database(shared_database: Database) -> Iterator[Database]:
    """Yield a `Database` of the test's own on the shared database, which is emptied afterwards."""
    with Database(shared_database.config) as own:
        yield own
        assert own.pool.stats().in_use == 0
    shared_database.session.run("TRUNCATE projects CASCADE")


@pytest.fixture
def alone(shared_database: Database) -> Iterator[Database]:
    """Yield one that has a single connection."""
    config = shared_database.config.with_(pool_size=1, max_overflow=0, pool_timeout=0.3)
    with Database(config) as own:
        yield own
        assert own.pool.stats().in_use == 0
    shared_database.session.run("TRUNCATE projects CASCADE")


def fields(name: str, **more: object) -> dict[str, object]:
    """A row of projects, as SQLAlchemy is given it."""
    return {
        **{"name": name, "slug": name.lower(), "status": "draft", "tags": [], "metadata": {}},
        "metadata_schemas": {},
        **more,
    }


def names(database: Database) -> list[str]:
    return [name for (name,) in database.session.all("SELECT name FROM projects ORDER BY name")]


# ------------------------------------------------------------------------------------------------ in a unit


def test_repositories_and_sqlalchemy_write_in_one_transaction(database: Database) -> None:
    with database.unit_of_work() as uow:
        ours = uow.projects.create(name="Ours")
        connection = uow.sqlalchemy()
        assert connection.execute(NAMES).scalars().all() == ["Ours"]
        connection.execute(sa.insert(PROJECTS), fields("Theirs"))
        assert uow.projects.count() == 2
        assert raised_in_thread(lambda: pytest.fail("seen") if names(database) else None) is None
        with pytest.raises(InvalidValue, match=r"use uow\.sqlalchemy"):
            database.sqlalchemy_engine().connect()
        assert uow.sqlalchemy() is connection
    assert names(database) == ["Ours", "Theirs"]
    with pytest.raises(KeyError), database.unit_of_work() as uow:
        uow.sqlalchemy().execute(sa.update(PROJECTS).values(name="Lost"))
        uow.projects.update(ours.id, description="Lost too")
        raise KeyError
    assert names(database) == ["Ours", "Theirs"]
    assert database.projects.get_by_id(ours.id) == ours


def test_update_through_the_tables_makes_what_was_read_before_stale(database: Database) -> None:
    project = database.projects.create(name="Ours")
    with database.sqlalchemy_engine().begin() as connection:
        changed = connection.execute(
            sa.update(PROJECTS).values(owner="Ada").returning(PROJECTS.c.version, PROJECTS.c.updated_at)
        ).one()
    assert changed.version == 2
    assert changed.updated_at > project.updated_at
    with pytest.raises(StaleRecord):
        database.projects.update(project.id, name="Mine", expected_version=1)


def test_statements_cost_one_round_trip_each_and_the_commit(shared_database: Database) -> None:
    with CountingProxy(shared_database.config) as proxy, Database(proxy.config) as database:
        with database.unit_of_work() as uow:
            uow.sqlalchemy().execute(ONE)  # what the server is, is asked once
        with proxy.counting() as trips, database.unit_of_work() as uow:
            uow.sqlalchemy().execute(ONE)
            uow.projects.count()
            uow.sqlalchemy().execute(sa.update(PROJECTS).values(name="x"))
        assert trips.count == 4
        assert trips.texts[0].endswith("BEGIN;SELECT 1")
        assert "pg_current_xact_id" in trips.texts[2]  # a COMMIT whose reply is lost can be asked for
        with proxy.counting() as trips, database.unit_of_work() as uow:
            uow.sqlalchemy()
        assert trips.count == 0
        with proxy.counting() as trips, database.sqlalchemy_engine().begin() as connection:
            connection.execute(ONE)
            connection.execute(ONE)
        assert trips.count == 3
        with proxy.counting() as trips, database.sqlalchemy_engine().connect():
            pass
        assert trips.count == 0


def test_transaction_is_the_units_to_end(database: Database) -> None:
    with database.unit_of_work() as uow:
        uow.projects.create(name="Ours")
        connection = uow.sqlalchemy()
        root = connection.get_transaction()
        assert connection.in_transaction()
        assert root is not None
        for call in (connection.commit, connection.begin, connection.begin_twophase):
            with pytest.raises(InvalidValue):
                call()
        with pytest.raises(exc.InvalidRequestError):
            connection.execution_options(isolation_level="AUTOCOMMIT")
        with connection:
            connection.execute(sa.insert(PROJECTS), fields("Theirs"))
        assert connection.closed
        with pytest.raises(exc.ResourceClosedError):
            connection.execute(ONE)
        with uow.sqlalchemy() as again:
            assert len(again.execute(NAMES).all()) == 2
        again.close()
    assert names(database) == ["Ours", "Theirs"]
    with database.unit_of_work() as uow:
        connection = uow.sqlalchemy()
        root = connection.get_transaction()
        assert root is not None
        with pytest.raises(InvalidValue):
            root.commit()
        with pytest.raises(exc.PendingRollbackError):  # to SQLAlchemy, that transaction's end has failed
            connection.execute(ONE)
        connection.close()
        connection = uow.sqlalchemy()
        connection.execute(sa.insert(PROJECTS), fields("More"))
    assert names(database) == ["More", "Ours", "Theirs"]
    with pytest.raises(ReleasedConnection):
        connection.execute(ONE)
    with pytest.raises(ReleasedConnection):
        uow.sqlalchemy()


def test_rollback_leaves_nothing_of_the_unit_and_is_told(database: Database) -> None:
    with (
        pytest.raises(TransactionAborted, match="rolled back through SQLAlchemy"),
        database.unit_of_work() as uow,
    ):
        uow.projects.create(name="Ours")
        uow.sqlalchemy().rollback()
        with pytest.raises(TransactionAborted):
            uow.projects.count()
    with pytest.raises(KeyError), database.unit_of_work() as uow:  # the first error is the one to see
        try:
            uow.projects.create(name="Ours")
            raise KeyError
        except KeyError:
            uow.sqlalchemy().rollback()
            raise
    with database.unit_of_work() as uow:
        with pytest.raises(TransactionAborted), uow.savepoint():
            uow.projects.create(name="Inside")
            uow.sqlalchemy().rollback()
        uow.projects.create(name="After")
    with database.unit_of_work() as uow:
        uow.sqlalchemy().rollback()  # nothing was sent
        uow.sqlalchemy().execute(sa.insert(PROJECTS), fields("Later"))
    assert names(database) == ["After", "Later"]


def test_nested_transactions_are_savepoints_of_the_unit(database: Database) -> None:
    with database.unit_of_work() as uow:
        connection = uow.sqlalchemy()

        def add(name: str) -> None:
            connection.execute(sa.insert(PROJECTS), fields(name))

        add("Before")
        with pytest.raises(DuplicateRecord), connection.begin_nested():
            uow.projects.create(name="Undone")
            add("Before")
        with connection.begin_nested(), uow.savepoint():
            add("Kept")
        with pytest.raises(KeyError), uow.savepoint(), connection.begin_nested():
            add("Undone")
            raise KeyError
        with (
            pytest.raises(TransactionAborted),
            connection.begin_nested(),
            pytest.raises(DuplicateRecord),
        ):
            add("Before")
        outer = connection.begin_nested()
        add("Undone")
        connection.begin_nested()
        add("Undone2")
        with pytest.warns(exc.SAWarning, match="already deassociated"):
            outer.rollback()
        connection.begin_nested()
        add("Undone")
        connection.close()  # with its savepoint open
        uow.projects.create(name="After")
    assert names(database) == ["After", "Before", "Kept"]


def test_savepoint_that_is_open_at_the_end_is_committed_with_the_unit(database: Database) -> None:
    with database.unit_of_work() as uow:
        connection = uow.sqlalchemy()
        connection.begin_nested()
        connection.execute(sa.insert(PROJECTS), fields("Kept"))
    del connection
    gc.collect()
    assert names(database) == ["Kept"]


class Base(DeclarativeBase):
    pass


class Film(Base):
    __table__ = PROJECTS.to_metadata(Base.metadata)


def mapped(name: str) -> Film:
    return Film(**fields(name))


def test_orm_session_joins_the_unit(database: Database) -> None:
    with database.unit_of_work() as uow:
        ours = uow.projects.create(name="Ours")
        with Session(uow.sqlalchemy()) as session:
            session.add(mapped("Theirs"))
            session.commit()  # flushes: the transaction around it is not the session's
            assert session.get(Film, ours.id).name == "Ours"  # type: ignore[union-attr]
        uow.projects.update(ours.id, name="Ours 2")
        with Session(uow.sqlalchemy(), join_transaction_mode="create_savepoint") as session:
            session.add(mapped("Undone"))
            session.flush()
            session.rollback()
            session.add(mapped("More"))
            session.commit()
            with pytest.raises(exc.IntegrityError):
                session.add(mapped("More"))
                session.flush()
    assert names(database) == ["More", "Ours 2", "Theirs"]


def test_flush_that_failed_cannot_be_swallowed(database: Database) -> None:
    database.projects.create(name="Taken")
    with pytest.raises(TransactionAborted), database.unit_of_work() as uow:
        uow.projects.create(name="Lost")
        with Session(uow.sqlalchemy()) as session:
            session.add(mapped("Taken"))
            with pytest.raises(exc.IntegrityError):
                session.flush()
    with pytest.raises(TransactionAborted, match="rolled back"), database.unit_of_work() as uow:
        uow.projects.create(name="Lost")
        with Session(uow.sqlalchemy()) as session:
            session.execute(ONE)
            session.rollback()
    assert names(database) == ["Taken"]


def test_limits_of_the_unit_hold(database: Database) -> None:
    with pytest.raises(StatementBudgetExceeded), database.unit_of_work(max_statements=2) as uow:
        for _ in range(3):
            uow.sqlalchemy().execute(ONE)
    for options, limit in (
        ({"deadline": 0.2}, DeadlineExceeded),
        ({"statement_timeout": 0.2}, StatementTimeout),
    ):
        with pytest.raises(limit) as caught, database.unit_of_work(**options) as uow:  # type: ignore[arg-type]
            uow.sqlalchemy().execute(sa.text("SELECT pg_sleep(10)"))
        assert isinstance(caught.value, exc.OperationalError)
    with pytest.raises(ReadOnlyServer), database.unit_of_work(read_only=True) as uow:
        uow.sqlalchemy().execute(sa.insert(PROJECTS), fields("Lost"))
    with database.unit_of_work() as uow:
        connection = uow.sqlalchemy()
        assert isinstance(raised_in_thread(lambda: connection.execute(ONE)), InvalidValue)
    with pytest.raises(InvalidSql), database.unit_of_work() as uow:
        uow.sqlalchemy().exec_driver_sql("COMMIT")
    with pytest.raises(InvalidSql), database.unit_of_work() as uow:
        uow.sqlalchemy().exec_driver_sql("SELECT 1; DELETE FROM projects")
    rows = ", ".join(["(%(a)s, %(b)s::int)"] * 200)
    for text in (f"VALUES {rows}; DELETE FROM projects", f"VALUES {rows}, ('%(a)s', 1)", f"COMMIT -- {rows}"):
        with pytest.raises(InvalidSql), database.unit_of_work() as uow:
            uow.sqlalchemy().exec_driver_sql(text, {"a": "x", "b": 1})
    with database.unit_of_work() as uow:
        found = uow.sqlalchemy().exec_driver_sql(f"VALUES {rows}", {"a": "x", "b": 1}).all()
    assert found == [("x", 1)] * 200


def test_error_is_ours_and_sqlalchemys_and_tells_no_values(database: Database) -> None:
    database.projects.create(name="Secret")
    with pytest.raises(DuplicateRecord) as caught, database.unit_of_work() as uow:
        uow.sqlalchemy().execute(sa.insert(PROJECTS), fields("Secret"))
    failure = caught.value
    assert isinstance(failure, exc.IntegrityError)
    assert (failure.constraint, failure.sqlstate) == ("projects_key", "23505")
    assert failure.orig.pgcode == "23505"  # type: ignore[union-attr]
    assert "ecret" not in f"{failure}{failure!r}"
    again = pickle.loads(pickle.dumps(failure))  # noqa: S301
    assert (type(again), str(again), again.table) == (DuplicateRecord, str(failure), "projects")
    with pytest.raises(exc.ProgrammingError) as other, database.sqlalchemy_engine().connect() as connection:
        connection.execute(sa.text("SELECT * FROM nowhere WHERE x = :x"), {"x": "Secret"})
    assert isinstance(other.value, DatabaseHandlerError)
    assert "ecret" not in f"{other.value}{other.value!r}"


def test_run_tries_again_what_failed_through_sqlalchemy(database: Database) -> None:
    tried: list[str] = []

    def work(uow: Any) -> int:
        if not tried:
            tried.append("conflict")
            uow.sqlalchemy().execute(sa.text("DO $$BEGIN RAISE SQLSTATE '40001'; END$$"))
        elif len(tried) == 1:
            tried.append("killed")
            uow.sqlalchemy().execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
        uow.sqlalchemy().execute(sa.insert(PROJECTS), fields("Once"))
        return len(tried)

    assert database.run(work) == 2
    assert names(database) == ["Once"]
    assert sum(database.pool.stats().retries.values()) == 2


def test_cache_forgets_what_sqlalchemy_wrote(shared_database: Database) -> None:
    with Valkey() as valkey, cached_databases(shared_database, valkey, timeout=5) as make:
        database = make()
        project = database.projects.create(name="Old")
        for write in (_in_a_unit, _over_the_engine):
            for _ in range(2):
                database.projects.get_by_id(project.id)
            hits = cache(database).stats().hits
            assert hits > 0
            write(database, sa.update(PROJECTS).values(name=f"New {hits}"))
            assert database.projects.get_by_id(project.id).name == f"New {hits}"


def _in_a_unit(database: Database, statement: sa.Executable) -> None:
    with database.unit_of_work() as uow:
        uow.sqlalchemy().execute(statement)


def _over_the_engine(database: Database, statement: sa.Executable) -> None:
    with database.sqlalchemy_engine().begin() as connection:
        connection.execute(statement)


# --------------------------------------------------------------------------------------------------- values

EVERY = sa.Table(
    "every_type",
    sa.MetaData(),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("document", postgresql.JSONB),
    sa.Column("plain", sa.JSON),
    sa.Column("words", postgresql.ARRAY(sa.Text)),
    sa.Column("ids", postgresql.ARRAY(sa.Uuid)),
    sa.Column("moment", sa.DateTime(timezone=True)),
    sa.Column("local", sa.DateTime),
    sa.Column("day", sa.Date),
    sa.Column("span", sa.Interval),
    sa.Column("amount", sa.Numeric(12, 2)),
    sa.Column("ratio", sa.Double),
    sa.Column("whole", sa.BigInteger),
    sa.Column("raw", sa.LargeBinary),
    sa.Column("state", sa.Enum("a", "b", name="state", native_enum=False)),
    sa.Column("flag", sa.Boolean),
)
UTC = dt.UTC
FULL: dict[str, Any] = {
    "id": UUID(int=7),
    "document": {"a": [1, None, "ü"]},
    "plain": [1, {"b": 2}],
    "words": ["x", "y,{}'\""],
    "ids": [UUID(int=1), UUID(int=2)],
    "moment": dt.datetime(2026, 3, 4, 5, 6, 7, 8, UTC),
    "local": dt.datetime(2026, 3, 4, 5, 6, 7),
    "day": dt.date(2026, 3, 4),
    "span": dt.timedelta(days=1, seconds=2),
    "amount": Decimal("12.50"),
    "ratio": 0.1,
    "whole": 2**62,
    "raw": b"\x00\xff",
    "state": "b",
    "flag": True,
}


def test_values_come_back_as_they_were(database: Database) -> None:
    empty = dict.fromkeys(FULL, None) | {"id": UUID(int=8), "document": sa.null(), "plain": sa.null()}
    with database.sqlalchemy_engine().connect() as connection:
        EVERY.create(connection)
        connection.execute(sa.insert(EVERY), [FULL])
        connection.execute(sa.insert(EVERY).values(empty))
        both = connection.execute(sa.select(EVERY).order_by(EVERY.c.id)).mappings().all()
        assert [dict(row) for row in both] == [FULL, dict.fromkeys(FULL, None) | {"id": UUID(int=8)}]
        found = sa.select(EVERY.c.id).where(
            EVERY.c.id.in_([FULL["id"], uuid4()]),
            EVERY.c.document["a"][1].astext.is_(None),
            EVERY.c.words.contains(["x"]),
            EVERY.c.amount == Decimal("12.5"),
        )
        assert connection.execute(found).scalars().all() == [FULL["id"]]
        assert connection.execute(sa.text("SELECT '100%' LIKE :p, '%s'"), {"p": "1%"}).one() == (True, "%s")
        assert connection.exec_driver_sql("SELECT '%%'").scalar() == "%"
        numbers = {"whole": np.int64(5), "ratio": np.float64(0.5), "flag": np.bool_(False)}
        changed = sa.update(EVERY).values(numbers).returning(EVERY.c.whole, EVERY.c.ratio, EVERY.c.flag)
        assert connection.execute(changed).all() == [(5, 0.5, False)] * 2


@pytest.mark.parametrize(
    "value",
    ["a\0b", Decimal("Infinity"), b"bytes", object(), np.zeros(2), {"a": float("nan")}],
    ids=["NUL", "infinite", "bytes", "object", "array", "NaN"],
)
def test_value_that_would_be_altered_is_refused(database: Database, value: object) -> None:
    with database.sqlalchemy_engine().connect() as connection:
        with pytest.raises(InvalidValue):
            connection.execute(sa.text("SELECT :value"), {"value": value})
        assert connection.execute(ONE).scalar() == 1  # nothing was sent


def test_many_rows_go_in_few_statements_and_come_back_in_order(database: Database) -> None:
    rows = [fields(f"P{n:04}") for n in range(2500)]
    with database.unit_of_work(max_statements=5) as uow:
        connection = uow.sqlalchemy()
        inserted = connection.execute(
            sa.insert(PROJECTS).returning(PROJECTS.c.name, PROJECTS.c.id, sort_by_parameter_order=True), rows
        ).all()
        assert [row.name for row in inserted] == [row["name"] for row in rows]
        assert {row.id.version for row in inserted} == {7}
        changed = connection.execute(
            sa.update(PROJECTS).where(PROJECTS.c.name == sa.bindparam("n")),
            [{"n": "P0001", "owner": "Ada"}, {"n": "none", "owner": "Eve"}],
        )
        assert changed.rowcount == 1
    assert database.projects.count() == 2500


def test_stream_keeps_few_rows_in_memory(database: Database) -> None:
    numbers = sa.text("SELECT n FROM generate_series(1, 2000) AS n -- all")
    options = {"stream_results": True, "max_row_buffer": 200}
    sizes: list[int] = []

    class Watching(Events):
        def attach(self, target: Target) -> Events:
            return self

        def statement(self, told: Told) -> None:
            sizes.append(told.rows)

    database.observe(Watching())
    with database.unit_of_work() as uow:
        streamed = uow.sqlalchemy().execute(numbers, execution_options=options)
        assert [row.n for row in streamed] == [*range(1, 2001)]
        assert max(sizes) <= 200
        assert len(sizes) > 10
        early = uow.sqlalchemy().execute(numbers, execution_options=options)
        assert early.fetchmany(3) == [(1,), (2,), (3,)]
        early.close()
        assert uow.projects.count() == 0
        assert len(uow.sqlalchemy().execute(numbers, execution_options=options).all()) == 2000
    engine = database.sqlalchemy_engine()
    with Session(engine) as session:
        session.add_all([mapped(f"P{n}") for n in range(30)])
        session.flush()
        assert len([*session.scalars(sa.select(Film).execution_options(yield_per=7))]) == 30
    with (
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        pytest.raises(InvalidValue, match="AUTOCOMMIT"),
    ):
        connection.execute(numbers, execution_options=options)


# --------------------------------------------------------------------------------------------------- engine


def test_engine_borrows_from_the_pool_and_gives_back(alone: Database) -> None:
    engine = alone.sqlalchemy_engine()
    with engine.connect() as connection:
        assert alone.pool.stats().in_use == 1
        connection.execute(ONE)
        with pytest.raises(PoolTimeout, match=r"\(SQLAlchemy\).*last statement sql SELECT") as caught:
            engine.connect()
        assert isinstance(caught.value, exc.TimeoutError)
    assert alone.pool.stats().in_use == 0
    with pytest.raises(ZeroDivisionError), engine.begin() as connection:
        connection.execute(sa.insert(PROJECTS), fields("Lost"))
        raise ZeroDivisionError
    with pytest.raises(exc.ProgrammingError), engine.begin() as connection:
        connection.execute(sa.text("SELECT * FROM nowhere"))
    kept = engine.connect()
    kept.execute(sa.insert(PROJECTS), fields("Lost"))
    del kept
    gc.collect()
    engine.dispose()
    assert names(alone) == []
    stats = alone.pool.stats()
    assert (stats.in_use, stats.opened, stats.closed, stats.timeouts) == (0, 1, 0, 1)
    assert alone.sqlalchemy_engine() is engine
    assert "s3cret" not in repr(Database("postgresql://u:s3cret@localhost/x").sqlalchemy_engine())


def test_connection_that_is_collected_amid_a_borrow_is_left_to_the_pool(alone: Database) -> None:
    kept = [alone.sqlalchemy_engine().connect()]
    kept[0].execute(sa.insert(PROJECTS), fields("Lost"))
    with alone.pool._mutex:  # as where an allocation inside the pool starts the collector
        kept.clear()
        gc.collect()
    assert names(alone) == []
    stats = alone.pool.stats()
    assert (stats.in_use, stats.closed_by_reason) == (0, {Closed.FORGOTTEN: 1})


def test_session_state_lasts_for_one_borrow(alone: Database) -> None:
    engine = alone.sqlalchemy_engine()
    alone.session.run("SELECT set_config('work_mem', '99MB', false)")  # somebody else's
    with engine.connect() as connection:
        assert connection.execute(sa.text("SHOW work_mem")).scalar() != "99MB"
        connection.execute(sa.text("CREATE TEMP TABLE scratch AS SELECT 1 AS one"))
        connection.execute(sa.text("SET work_mem = '77MB'"))
        connection.commit()
        assert connection.execute(sa.text("SELECT one FROM scratch")).scalar() == 1
        connection.rollback()
        assert connection.execute(sa.text("SHOW work_mem")).scalar() == "77MB"
    with engine.connect() as connection:
        assert connection.execute(sa.text("SHOW work_mem")).scalar() != "77MB"
        assert connection.execute(sa.text("SELECT to_regclass('scratch')")).scalar() is None
    assert alone.session.one("SHOW work_mem") != ("77MB",)
    with alone.unit_of_work() as uow:
        uow.sqlalchemy().execute(sa.text("SELECT set_config('work_mem', '66MB', false)"))
    assert alone.session.one("SHOW work_mem") != ("66MB",)
    assert alone.pool.stats().opened == 1


def test_isolation_levels_and_autocommit(alone: Database) -> None:
    engine = alone.sqlalchemy_engine()
    level = sa.text(
        "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')"
    )
    for asked, got in (("SERIALIZABLE", "serializable"), ("READ UNCOMMITTED", "read committed")):
        with engine.connect().execution_options(isolation_level=asked) as connection:
            assert connection.execute(level).one() == (got, "off")
            assert connection.get_isolation_level() == asked
    readers = engine.execution_options(postgresql_readonly=True, isolation_level="REPEATABLE READ")
    with readers.connect() as connection:
        assert connection.execute(level).one() == ("repeatable read", "on")
    with engine.connect() as connection:
        assert connection.execute(level).one() == ("read committed", "off")
        assert connection.get_isolation_level() == "READ COMMITTED"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.insert(PROJECTS), fields("Kept"))
        connection.execute(sa.text("VACUUM projects"))
        connection.rollback()
        with pytest.raises(InvalidValue), connection.begin_nested():
            pass
        assert connection.get_isolation_level() == "AUTOCOMMIT"
    with engine.connect() as connection, pytest.raises(exc.ArgumentError):
        connection.execution_options(isolation_level="SNAPSHOT")
    with pytest.raises(InvalidValue), engine.connect() as connection:
        connection.begin_twophase()
    assert names(alone) == ["Kept"]


def test_commit_that_stores_nothing_is_an_error(database: Database) -> None:
    with database.sqlalchemy_engine().connect() as connection:
        connection.execute(sa.insert(PROJECTS), fields("Lost"))
        with pytest.raises(exc.ProgrammingError):
            connection.execute(sa.text("SELECT * FROM nowhere"))
        with pytest.raises(TransactionAborted):
            connection.commit()
        connection.rollback()
        connection.execute(sa.insert(PROJECTS), fields("Kept"))
        connection.commit()
    assert names(database) == ["Kept"]


def test_connection_that_was_lost_is_replaced_by_the_next_transaction(alone: Database) -> None:
    with alone.sqlalchemy_engine().connect() as connection:
        with pytest.raises(ConnectionLost) as caught:
            connection.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
        assert caught.value.retryable
        assert isinstance(caught.value, exc.OperationalError)
        with pytest.raises(TransactionAborted):
            connection.execute(ONE)
        connection.rollback()
        assert connection.execute(ONE).scalar() == 1
    assert alone.pool.stats().opened == 2


def test_commit_whose_reply_is_lost_is_looked_up(database: Database) -> None:
    with FaultProxy(database.config) as proxy, Database(proxy.config) as faulty:
        engine = faulty.sqlalchemy_engine()
        with engine.begin() as connection:
            connection.execute(sa.insert(PROJECTS), fields("Engine"))
            proxy.lose("reply", "COMMIT")
        proxy.pass_on()
        with faulty.unit_of_work() as uow:
            uow.sqlalchemy().execute(sa.insert(PROJECTS), fields("Unit"))
            proxy.lose("reply", "COMMIT")
        proxy.pass_on()
        with pytest.raises(ConnectionLost), engine.begin() as connection:
            connection.execute(sa.insert(PROJECTS), fields("Lost"))
            proxy.lose("request", "COMMIT")
        assert proxy.fired == 3
        proxy.pass_on()
        assert faulty.pool.stats().in_use == 0
    assert names(database) == ["Engine", "Unit"]


def test_connection_and_session_may_pass_from_thread_to_thread(database: Database) -> None:
    session = Session(database.sqlalchemy_engine())
    session.add(mapped("Kept"))
    session.flush()  # in this thread, whose number none of the others has
    assert raised_in_thread(lambda: session.execute(ONE)) is None
    assert raised_in_thread(session.commit) is None
    assert raised_in_thread(session.close) is None
    assert names(database) == ["Kept"]


def test_engines_are_of_their_database(database: Database, shared_database: Database) -> None:
    other = shared_database.sqlalchemy_engine()
    mine = database.sqlalchemy_engine()
    with mine.connect() as one, other.connect() as two:
        pid = sa.text("SELECT pg_backend_pid()")
        assert one.execute(pid).scalar() != two.execute(pid).scalar()
        assert (database.pool.stats().in_use, shared_database.pool.stats().in_use) == (1, 1)
    beside = database.repositories(outside_unit=True).sqlalchemy_engine()
    project = database.projects.create(name="Film")
    held = database.for_project(project.id).sqlalchemy_engine()
    with database.unit_of_work() as uow:
        uow.projects.create(name="Unseen")
        with beside.connect() as connection:
            assert connection.execute(NAMES).scalars().all() == ["Film"]
    with held.connect() as connection:
        setting = sa.text("SELECT current_setting('database_handler.project_id', true)")
        assert connection.execute(setting).scalar() == str(project.id)
    assert len({id(mine), id(beside), id(held)}) == 3
    with Database(database.config) as closed:
        engine = closed.sqlalchemy_engine()
    with pytest.raises(DatabaseHandlerError, match="pool is closed"):
        engine.connect()


def test_statements_of_one_shape_are_told(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    config = database.config.with_(repeated_statement=2)
    with Database(config) as counting, counting.sqlalchemy_engine().connect() as connection:
        for _ in range(3):
            connection.execute(ONE)
    assert "repeated_statement" in caplog.text


def test_missing_extra_is_named(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("database_handler.integrations.sqlalchemy")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(MissingExtra, match=r"database-handler\[sqlalchemy\]"):
        database.sqlalchemy_engine()
    with pytest.raises(MissingExtra), database.unit_of_work() as uow:
        uow.sqlalchemy()


# ----------------------------------------------------------------------------------------------- data tools


def test_pandas_reads_and_appends(database: Database) -> None:
    import pandas as pd

    engine = database.sqlalchemy_engine()
    frame = pd.DataFrame(
        {
            "id": [uuid4() for _ in range(3)],
            "name": ["A", "B", "C"],
            "slug": ["a", "b", "c"],
            "status": "draft",
            "owner": ["Ada", None, "Eve"],
            "created_at": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03"], utc=True),
            "version": np.array([1, 2, 3]),
        }
    )
    for column, empty in (("tags", "{}"), ("metadata", "{}"), ("metadata_schemas", "{}")):
        frame[column] = empty
    assert frame.to_sql("projects", engine, if_exists="append", index=False) == 3
    with pytest.raises(KeyError), database.unit_of_work() as uow:
        uow.projects.create(name="Unit")
        more = frame.assign(id=[uuid4() for _ in range(3)], slug=["d", "e", "f"])
        more.to_sql("projects", uow.sqlalchemy(), if_exists="append", index=False, method="multi")
        read = pd.read_sql(sa.select(PROJECTS), uow.sqlalchemy())
        assert len(read) == 7
        raise KeyError
    query = sa.select(PROJECTS).order_by(PROJECTS.c.slug)
    with database.unit_of_work() as uow:
        read = pd.read_sql(query, uow.sqlalchemy())
    outside = pd.read_sql(query, engine)
    pd.testing.assert_frame_equal(read, outside)
    assert outside["version"].tolist() == [1, 2, 3]
    assert outside["id"].tolist() == frame["id"].tolist()
    assert outside["created_at"].tolist() == frame["created_at"].tolist()
    assert pd.read_sql_table("projects", engine, columns=["name"])["name"].tolist() == ["A", "B", "C"]
    with engine.connect().execution_options(stream_results=True) as streaming:
        assert [len(chunk) for chunk in pd.read_sql(query, streaming, chunksize=2)] == [2, 1]


def test_pandas_copies_in_by_its_own_recipe(database: Database) -> None:
    import csv
    from io import StringIO

    import pandas as pd

    def by_copy(table: Any, connection: sa.Connection, keys: list[str], rows: Iterator[Any]) -> None:
        with connection.connection.cursor() as cursor:  # type: ignore[attr-defined]
            buffer = StringIO()
            csv.writer(buffer).writerows(rows)
            buffer.seek(0)
            columns = ", ".join(f'"{key}"' for key in keys)
            cursor.copy_expert(sql=f"COPY {table.name} ({columns}) FROM STDIN WITH CSV", file=buffer)

    frame = pd.DataFrame([fields(f"P{n}", id=uuid4()) for n in range(500)])
    frame["tags"] = frame["metadata"] = frame["metadata_schemas"] = "{}"
    frame.to_sql("projects", database.sqlalchemy_engine(), if_exists="append", index=False, method=by_copy)
    assert database.projects.count() == 500


def test_polars_reads_and_appends(database: Database) -> None:
    import polars as pl

    database.projects.create(name="Ours")
    engine = database.sqlalchemy_engine()
    with database.unit_of_work() as uow:
        uow.projects.create(name="Unit")
        inside = pl.read_database(
            "SELECT name, version, created_at FROM projects ORDER BY name", uow.sqlalchemy()
        )
        assert inside["name"].to_list() == ["Ours", "Unit"]
        assert inside.schema["created_at"] == pl.Datetime("us", "UTC")
        more = pl.read_database(sa.select(sa.func.count()).select_from(PROJECTS), uow.sqlalchemy())
        assert more.item() == 2
    assert pl.read_database(NAMES, engine)["name"].to_list() == ["Ours", "Unit"]
    pl.DataFrame({"key": ["a", "b"], "created_at": [dt.datetime.now(UTC)] * 2}).write_database(
        "database_handler_keys", engine, if_table_exists="append"
    )
    assert database.session.one("SELECT count(*) FROM database_handler_keys") == (2,)
    database.session.run("DELETE FROM database_handler_keys")


# --------------------------------------------------------------------------------------------------- tables


class NewWork(Draft, frozen=True):
    """An application's own, with types that the library's do not have."""

    project_id: Annotated[UUID, References("projects")]
    title: str
    price: Annotated[Decimal, SqlType("numeric(12,2)")]
    short: Annotated[str | None, SqlType("varchar(20)")] = None
    code: Annotated[str, SqlType("char(3)")]
    stamps: Annotated[list[Any], SqlType("timestamp[]")]


class Work(NewWork, Record, frozen=True):
    table: ClassVar[Table] = Table(
        "works",
        key=("project_id", "title"),
        indexes=[Index(("title", "id"), where="price > 1 AND title ~ ':x'")],
    )


class NewPlace(Draft, frozen=True):
    spot: Annotated[str, SqlType("point")]


class Place(NewPlace, Record, frozen=True):
    table: ClassVar[Table] = Table("places", key=("id",))


def described(table: sa.Table) -> dict[str, Any]:
    """What a table is, in words that do not depend on where it comes from."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return {
        "columns": {
            column.name: (
                column.type.compile(dialect),
                column.nullable,
                column.computed is not None,
                str(column.server_default.arg)
                if isinstance(column.server_default, sa.DefaultClause)
                else None,
            )
            for column in table.columns
        },
        "keys": sorted(
            (str(each.name), type(each).__name__, tuple(each.columns.keys()))
            for each in table.constraints
            if isinstance(each, sa.PrimaryKeyConstraint | sa.UniqueConstraint)
        ),
        "references": sorted(
            (str(each.name), tuple(each.column_keys), each.elements[0].target_fullname, each.ondelete)
            for each in table.foreign_key_constraints
        ),
        "checks": sorted(
            str(each.name) for each in table.constraints if isinstance(each, sa.CheckConstraint)
        ),
        "indexes": sorted(
            (
                str(each.name),
                tuple(column.name for column in each.columns),
                bool(each.unique),
                each.dialect_options["postgresql"]["using"] or "btree",
                each.dialect_options["postgresql"]["where"] is not None,
                bool(each.dialect_options["postgresql"]["nulls_not_distinct"]),
            )
            for each in table.indexes
        ),
    }


def test_tables_equal_what_reflection_finds(database: Database) -> None:
    reflected = sa.MetaData()
    engine = database.sqlalchemy_engine()
    reflected.reflect(engine, only=[*TABLES.tables])
    for name, table in TABLES.tables.items():
        found, said = described(reflected.tables[name]), described(table)
        assert said == found, name
    assert sum(len(each["checks"]) for each in map(described, TABLES.tables.values())) > 50
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_name": lambda name, kind, _: kind != "table" or name in TABLES.tables,
            },
        )
        assert compare_metadata(context, TABLES) == []


def test_tables_of_an_application_make_what_its_models_make(shared_database: Database) -> None:
    tables = metadata([Project, Work, Place])
    with (
        _made(shared_database.config) as config,
        Database(config) as database,
        database.sqlalchemy_engine().connect() as connection,
    ):
        TABLES.tables["projects"].create(connection)
        connection.commit()
        with database.unit_of_work() as uow:
            uow.session.script(create_tables([Work.table]))
        assert reflected(connection) == described(tables.tables["works"])
        connection.execute(sa.text("DROP TABLE works"))
        tables.tables["works"].create(connection)
        assert reflected(connection) == described(tables.tables["works"])
    assert "spot point NOT NULL" in str(CreateTable(tables.tables["places"]))


def reflected(connection: sa.Connection) -> dict[str, Any]:
    found = sa.MetaData()
    found.reflect(connection, only=["works"])
    return described(found.tables["works"])


def test_tables_can_stand_among_an_applications(database: Database) -> None:
    class Own(DeclarativeBase):
        pass

    assert metadata([Project], into=Own.metadata) is Own.metadata

    class OwnFilm(Own):
        __table__ = Own.metadata.tables["projects"]

    with Session(database.sqlalchemy_engine()) as session:
        session.add(OwnFilm(**fields("Mapped")))
        session.commit()
        film: Any = session.scalars(sa.select(OwnFilm)).one()
        film.name = "Renamed"
        session.commit()
        assert film.version == 2
    with pytest.raises(InvalidValue, match="projects already"):
        metadata([Project], into=Own.metadata)
    with pytest.raises(InvalidValue, match="MetaData"):
        metadata([Project], into=Own)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    ["projects", None, [Draft], [object()], 7],
    ids=["text", "None", "a draft", "an object", "a number"],
)
def test_metadata_takes_record_classes(wrong: Any) -> None:
    with pytest.raises(InvalidValue, match="record classes"):
        metadata(wrong)


# ---------------------------------------------------------------------------- what the guide says of columns

PAGE = Path(__file__).resolve().parents[2] / "docs" / "sqlalchemy.md"


class Status(enum.Enum):
    """As an application has it whose enums SQLAlchemy stores by name."""

    PLANNED = "P"
    SOLD_OUT = "S"


class ShowStatus(Choice):
    PLANNED = "planned"
    SOLD_OUT = "sold_out"


class NewShow(Draft, frozen=True):
    title: Name
    status: ShowStatus = ShowStatus.PLANNED
    notes: JsonObject = Field(default_factory=dict)
    shown_at: AwareDatetime
    seats: int = 0


class Show(NewShow, Record, frozen=True):
    """What stands in place of the old table."""

    table: ClassVar[Table] = Table("shows", key=("title",), indexes=[Index(("status", "shown_at"))])


class ShowRepository(Repository[NewShow, Show]):
    draft = NewShow
    record = Show
    create = Create(NewShow, Show)


def old_tables() -> tuple[sa.Table, sa.Table]:
    old = sa.MetaData()
    shows = sa.Table(
        "shows_before",
        old,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("title", sa.String(200), unique=True),
        sa.Column("status", sa.Enum(Status), nullable=False),
        sa.Column("notes", sa.JSON),
        sa.Column("shown_at", sa.DateTime, nullable=False),
        sa.Column("seats", sa.Integer, server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime, server_default=sa.func.now(), nullable=False),
        sa.Index("ix", "status", "shown_at"),
    )
    of_show = sa.ForeignKey("shows_before.id", name="of_show")
    show_id: sa.Column[int] = sa.Column("show_id", of_show, nullable=False)
    return shows, sa.Table("tickets", old, sa.Column("id", sa.Integer, primary_key=True), show_id)


def test_other_columns_move_as_the_page_says(shared_database: Database) -> None:
    import pandas as pd
    import polars as pl

    rows = re.findall(r"^\| [^|]*\| [^|]* \| `(.+)` \|$", PAGE.read_text("utf-8"), re.M)
    key, status, notes, shown_at, seats = (row.replace("\\|", "|") for row in rows)
    shows, tickets = old_tables()
    moment = dt.datetime(2026, 5, 1, 20, 15)  # without a zone: that is what is moved
    with _made(shared_database.config) as config, Database(config) as database:
        engine = database.sqlalchemy_engine()
        shows.metadata.create_all(engine)
        with engine.begin() as connection:
            connection.execute(
                shows.insert(),
                [
                    {"title": "Metropolis", "status": Status.SOLD_OUT, "notes": {"a": 1}, "shown_at": moment},
                    {"title": "Vampyr", "status": Status.PLANNED, "notes": None, "shown_at": moment},
                ],
            )
            connection.execute(tickets.insert(), {"show_id": 1})
        database.session.script(create_tables([Show.table]))
        with engine.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO shows (id, title, status, notes, shown_at, seats, created_at, updated_at, "
                f"version) SELECT {key}, title, {status}, {notes}, {shown_at}, {seats}, now(), now(), 1 "
                "FROM shows_before"
            )
            connection.exec_driver_sql(
                "ALTER TABLE tickets DROP CONSTRAINT of_show, "
                "ALTER COLUMN show_id TYPE uuid USING md5('shows ' || show_id)::uuid, "
                "ADD CONSTRAINT of_show FOREIGN KEY (show_id) REFERENCES shows (id)"
            )
            shows.drop(connection)
        repository = ShowRepository(database.session)
        first, second = repository.list(order_by="title")
        assert (first.status, first.notes, first.seats) == (ShowStatus.SOLD_OUT, {"a": 1}, 0)
        assert (second.status, second.notes) == (ShowStatus.PLANNED, {})
        assert first.shown_at == moment.replace(tzinfo=dt.UTC)
        assert repository.update(first.id, seats=7).version == 2

        class Base(DeclarativeBase):
            pass

        metadata([*database.records(), Show], into=Base.metadata)

        class MovedShow(Base):
            __table__ = Base.metadata.tables["shows"]

        class Ticket(Base):
            __tablename__ = "tickets"
            id: Mapped[int] = mapped_column(primary_key=True)
            show_id: Mapped[UUID] = mapped_column(sa.ForeignKey("shows.id"))
            show: Mapped[MovedShow] = relationship()

        with Session(engine) as session:
            ticket: Any = session.scalars(sa.select(Ticket)).one()
            assert (ticket.show.title, ticket.show.seats) == ("Metropolis", 7)
        frame = pd.read_sql("SELECT title, shown_at FROM shows ORDER BY title", engine)
        assert list(frame["title"]) == ["Metropolis", "Vampyr"]
        read = pl.read_database("SELECT title, seats FROM shows ORDER BY title", engine)
        assert read.rows() == [("Metropolis", 7), ("Vampyr", 0)]
