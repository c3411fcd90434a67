"""A unit that sends too much is refused or told: a query budget, and the "N+1" by its statement."""

# ruff: noqa: PT012  # what is to raise is the unit as a whole, or its block

import logging
from typing import Any

import pytest

from database_handler import Database, NewProject, UnitOfWork
from database_handler.core.exceptions import InvalidValue, StatementBudgetExceeded


def repeated(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "repeated_statement" in record.getMessage()]


def test_the_statement_past_the_budget_is_refused_and_nothing_stored(database: Database) -> None:
    with (
        pytest.raises(StatementBudgetExceeded, match="max_statements") as caught,
        database.unit_of_work(max_statements=3) as unit,
    ):
        for number in range(5):
            unit.projects.create(name=f"film {number}")
    assert "3 statements" in str(caught.value)
    assert "3 x INSERT INTO" in str(caught.value)
    assert "film" not in str(caught.value)
    assert database.projects.count() == 0


def test_what_fits_is_stored(database: Database) -> None:
    with database.unit_of_work(max_statements=4) as unit, unit.savepoint():  # COPY asks for the time first
        unit.projects.create_many([NewProject(name=f"film {number}") for number in range(300)])
        unit.projects.count()
        unit.session.one("SELECT 1")
    assert database.projects.count() == 300


def test_a_stream_is_one_statement(database: Database) -> None:
    database.projects.create_many([NewProject(name=f"film {number}") for number in range(50)])
    with database.unit_of_work(max_statements=1) as unit:
        assert len(list(unit.projects.stream(batch=5))) == 50


def test_a_budget_swallowed_is_still_no_commit(database: Database) -> None:
    with database.unit_of_work(max_statements=1) as unit:
        unit.projects.create(name="first")
        with pytest.raises(StatementBudgetExceeded):
            unit.projects.create(name="second")
    assert [project.name for project in database.projects.list()] == ["first"]


def test_run_takes_one_too_and_the_key_is_not_counted(database: Database) -> None:
    def work(unit: UnitOfWork) -> None:
        unit.projects.create(name="one")

    def one_more(unit: UnitOfWork) -> None:
        work(unit)
        unit.projects.count()

    with pytest.raises(StatementBudgetExceeded):
        database.run(one_more, max_statements=1)
    database.run(work, max_statements=1, idempotency_key="k")


def test_one_shape_over_and_over_is_told_once(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "database_handler")
    known = database.projects.create_many([NewProject(name=f"film {number}") for number in range(12)])
    with Database(database.config.with_(repeated_statement=10)) as watched:
        with watched.unit_of_work() as unit:
            for project in known:
                unit.projects.get_by_id(project.id)
        [told] = repeated(caplog)
        assert "projects.get_by_id" in told
        caplog.clear()
        with watched.unit_of_work() as unit:
            unit.projects.get_many([project.id for project in known])
            for number in range(10):
                unit.session.one("SELECT %s", [number])
        assert repeated(caplog) == []
        with watched.unit_of_work() as unit:
            for number in range(20):
                unit.session.one("SELECT %s", [number])
        assert len(repeated(caplog)) == 1
    with (
        Database(database.config.with_(repeated_statement=None)) as unwatched,
        unwatched.unit_of_work() as unit,
    ):
        caplog.clear()
        for project in known * 20:
            unit.projects.get_by_id(project.id)
        assert repeated(caplog) == []


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "3", True, 10**12])
def test_what_is_no_budget_is_refused(database: Database, wrong: Any) -> None:
    with pytest.raises(InvalidValue, match="max_statements"):
        database.unit_of_work(max_statements=wrong)
