"""The plan of a slow read is logged afterwards, without a value, and never at its caller's cost."""

import io
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from database_handler import Database
from database_handler.core.exceptions import ConfigurationError, InvalidSql, InvalidValue
from database_handler.operations.monitoring import SlowPlans
from database_handler.operations.monitoring.plans import numbered
from database_handler.operations.monitoring.redaction import redacted, redacted_plan
from database_handler.utils import logger
from tests.support.faults import eventually

CANARY = "canary-7391"
Events = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def logged() -> Iterator[Events]:
    """Yield what reads the events on plans."""
    root = logging.getLogger("database_handler")
    before = root.handlers[:], root.level, root.propagate
    stream = io.StringIO()
    logger.configure("debug", "json", stream)

    def read() -> list[dict[str, Any]]:
        found = [json.loads(line) for line in stream.getvalue().splitlines()]
        return [each for each in found if each["logger"] == "database_handler.plan"]

    yield read
    root.handlers[:], level, root.propagate = before
    root.setLevel(level)


@pytest.fixture
def database(shared_database: Database) -> Iterator[Database]:
    with Database(shared_database.config) as own:
        yield own
    with shared_database.unit_of_work() as unit:
        unit.session.run("TRUNCATE projects CASCADE")


def plans(logged: Events) -> list[dict[str, Any]]:
    return [each for each in logged() if each["event"] == "slow statement plan"]


def plan_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "database-handler-plans"]


def test_the_plan_of_a_slow_read_is_logged_without_values(database: Database, logged: Events) -> None:
    database.observe(SlowPlans(0.001, every=0.001))
    with database.unit_of_work() as unit:
        unit.projects.create(name=CANARY)  # a write is never looked at
        unit.session.all(
            f"SELECT pg_sleep(0.01), name FROM projects WHERE name <> '{CANARY}!' AND slug = %s AND 7391 > 1",
            [CANARY],
        )
    eventually(lambda: bool(plans(logged)))
    database.close()
    assert not plan_threads()
    found = {each["statement"]: each for each in plans(logged)}
    slow = found["sql SELECT"]
    assert slow["seconds"] >= 0
    assert slow["level"] == "warning"
    scan = json.dumps(slow["plan"])
    assert "$1" in scan
    assert slow["plan"]["Total Cost"] > 0
    told = json.dumps(logged())
    assert CANARY not in told
    assert "7391" not in told
    assert "projects.create" not in told


def test_a_setting_turns_it_on_and_one_a_minute_is_all(database: Database, logged: Events) -> None:
    with Database(database.config.with_(explain_slow="1ms")) as watched:
        for _ in range(5):
            watched.session.all("SELECT pg_sleep(0.002)")
        eventually(lambda: len(plans(logged)) == 1)
    assert len(plans(logged)) == 1
    with pytest.raises(ConfigurationError, match="explain_slow"):
        database.config.with_(explain_slow=-1)
    assert database.config.explain_slow is None


def test_what_cannot_be_explained_is_told_and_the_next_one_is(database: Database, logged: Events) -> None:
    database.observe(SlowPlans(0.001, every=0.001))
    database.session.all("SELECT pg_sleep(0.01), 1 WHERE 1 IN %s", [(1, 2)])  # no list can stand for $1
    eventually(lambda: bool(logged()))
    assert [(each["event"], each.get("sqlstate")) for each in logged()] == [
        ("slow statement plan left out", "42601")
    ]
    database.session.all("SELECT pg_sleep(0.01), 5 % 2")
    eventually(lambda: bool(plans(logged)))


def test_a_busy_pool_keeps_its_connections(shared_database: Database, logged: Events) -> None:
    with Database(shared_database.config.with_(pool_size=1, max_overflow=0)) as small:
        small.observe(SlowPlans(0.001, every=0.001))
        with small.unit_of_work() as unit:
            unit.session.all("SELECT pg_sleep(0.01)")
            eventually(lambda: bool(logged()))
            assert [each["why"] for each in logged()] == ["the pool is busy"]


def test_nobody_waits_for_a_plan_and_a_fork_goes_on(database: Database, logged: Events) -> None:
    database.observe(SlowPlans(0.001, every=0.001, share=0))
    database.session.all("SELECT pg_sleep(0.002)")
    assert not plan_threads()  # none was chosen
    database.observe(SlowPlans(0.001, every=0.001))
    with database.unit_of_work() as unit:
        unit.session.run("LOCK projects IN ACCESS EXCLUSIVE MODE")  # EXPLAIN has to wait for it
        started = monotonic()
        for _ in range(20):
            unit.session.all("SELECT pg_sleep(0.002), count(*) FROM projects")
        assert monotonic() - started < 5
    if not (pid := os.fork()):
        database.session.all("SELECT pg_sleep(0.002)")
        os._exit(0 if len(plan_threads()) == 1 and plan_threads()[0].is_alive() else 1)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize(
    ("after", "options"),
    [(None, {}), (0, {}), ("1", {}), (True, {}), (1, {"every": 0}), (1, {"every": None}), (1, {"share": 2})],
)
def test_what_is_no_time_or_share_is_refused(after: Any, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        SlowPlans(after, **options)


# ------------------------------------------------------------------------------------------------ texts


@pytest.mark.parametrize(
    ("text", "placeholders", "expected"),
    [
        ("SELECT %s, %s", True, "SELECT $1, $2"),
        ("SELECT %(a)s, %(b)s, %(a)s", True, "SELECT $1, $2, $1"),
        ("SELECT 5 %% 2, '100%%'", True, "SELECT 5 % 2, '100%'"),
        ("SELECT 5 % 2, '%s'", False, "SELECT 5 % 2, '%s'"),
        ("SELECT '%s'", True, "SELECT '%s'"),
    ],
)
def test_placeholders_are_numbered(text: str, placeholders: bool, expected: str) -> None:
    assert numbered(text, placeholders=placeholders) == expected


@pytest.mark.parametrize("text", ["SELECT 1; SELECT 2", "SELECT 'open", ""])
def test_other_texts_are_not_explained(text: str) -> None:
    with pytest.raises(InvalidSql):
        numbered(text, placeholders=False)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT 'a''b', 1.5e3, 0x1F, E'\\n', $$x$$, B'1'", "SELECT ?, ?, ?, ?, ?, ?"),
        ('SELECT "a name" FROM t1 -- x\nWHERE a = $1', 'SELECT "a name" FROM t1 WHERE a = $1'),
        ("SELECT 'never closed", "?"),
        (f"SELECT {'1,' * 20_000} 2", "?"),
    ],
)
def test_text_is_told_without_literals(text: str, expected: str) -> None:
    assert redacted(text) == expected


def test_a_plan_keeps_its_numbers_and_loses_its_literals() -> None:
    plan = {
        "Total Cost": 8.1,
        "Filter": f"(name = '{CANARY}'::text)",
        "Plans": [{"Index Cond": "(id = 7391)"}],
    }
    assert redacted_plan(plan) == {
        "Total Cost": 8.1,
        "Filter": "(name = ?::text)",
        "Plans": [{"Index Cond": "(id = ?)"}],
    }
