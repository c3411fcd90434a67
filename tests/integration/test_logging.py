"""What is logged of statements: one event each, with name, time, rows and parameters' kinds; no values."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from database_handler import Database, NewProject
from database_handler.core.exceptions import DuplicateRecord, InvalidData
from database_handler.utils import logger

SECRET = "s3cret-value"


@pytest.fixture
def events(shared_database: Database) -> Iterator[io.StringIO]:
    """Yield what is printed at debug level, as JSON; logging is put back as it was afterwards."""
    root = logging.getLogger("database_handler")
    before = root.handlers[:], root.level, root.propagate
    stream = io.StringIO()
    shared_database.projects.count()
    logger.configure("debug", "json", stream)
    yield stream
    root.handlers[:], level, root.propagate = before
    root.setLevel(level)


def told(stream: io.StringIO) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    stream.seek(0)
    stream.truncate()
    return found


def test_every_statement_is_one_event(shared_database: Database, events: io.StringIO) -> None:
    with shared_database.unit_of_work() as unit:
        unit.projects.create(name=SECRET)
        unit.projects.list(name=SECRET)
        unit.session.run("UPDATE projects SET description = %s WHERE slug = %s", [SECRET, SECRET])
        unit.projects.create_many([NewProject(name=f"{SECRET} {n}") for n in range(250)])
        unit.rollback()
    found = told(events)
    assert [(event["event"], event["statement"], event["rows"]) for event in found] == [
        ("statement", "projects.create", 1),
        ("statement", "projects.list", 1),
        ("statement", "sql UPDATE", 1),
        ("statement", "projects.create_many", 1),
        ("statement", "projects.create_many", 250),
        ("statement", "transaction.rollback", found[-1]["rows"]),
    ]
    assert all(event["level"] == "debug" and event["seconds"] >= 0 for event in found)
    assert found[2]["parameters"] == "2 str"
    assert "parameters" in found[0]
    assert SECRET not in json.dumps(found)


def test_statement_that_fails_is_one_event_too(shared_database: Database, events: io.StringIO) -> None:
    with shared_database.unit_of_work() as unit:
        unit.projects.create(name=SECRET)
        with pytest.raises(DuplicateRecord), unit.savepoint():
            unit.projects.create(name=SECRET)
        with pytest.raises(InvalidData), unit.savepoint():
            unit.session.one("SELECT %s::int", [SECRET])
        unit.rollback()
    failed = [event for event in told(events) if event["event"] == "statement failed"]
    assert [(event["statement"], event["error"], event["sqlstate"]) for event in failed] == [
        ("projects.create", "DuplicateRecord", "23505"),
        ("sql SELECT", "InvalidData", "22P02"),
    ]
    assert SECRET not in json.dumps(failed)


def test_slow_statement_is_a_warning(database: Database, events: io.StringIO) -> None:
    with Database(database.config.with_(slow_statement=0.05)) as slow:
        slow.session.one("SELECT 1, %s", [SECRET])
        slow.session.one("SELECT pg_sleep(0.06), %s", [SECRET])
        with pytest.raises(InvalidData):
            slow.session.one("SELECT pg_sleep(0.06), 1 / 0 FROM generate_series(1, %s)", [2])
    found = [event for event in told(events) if event.get("statement") == "sql SELECT"]
    assert [event["level"] for event in found][:2] == ["debug", "warning"]
    assert found[1]["event"] == "slow statement"
    assert found[1]["seconds"] >= 0.05
    assert SECRET not in json.dumps(found)


def test_slow_statements_alone_are_told_at_warning_level(database: Database, events: io.StringIO) -> None:
    logger.configure("warning", "json", events)
    with Database(database.config.with_(slow_statement=0.05)) as slow:
        slow.projects.count()
        slow.session.one("SELECT pg_sleep(0.06)")
    assert [event["event"] for event in told(events)] == ["slow statement"]


def test_retry_is_told(shared_database: Database, events: io.StringIO) -> None:
    tries: list[int] = []

    def work(unit: object) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise DuplicateRecord(retryable=True)

    shared_database.run(work)
    [event] = told(events)
    assert (event["event"], event["tried"], event["error"]) == ("unit_of_work.retry", 1, "DuplicateRecord")


QUIET = """
import sys
from database_handler import Database
with Database(sys.argv[1]) as database:
    database.projects.count()
    try:
        database.session.one("SELECT pg_sleep(0.6), 1 / 0")
    except Exception:
        pass
"""


def test_nothing_is_printed_unless_asked_for(database: Database) -> None:
    url = database.config.url(hide_password=False)
    done = subprocess.run(
        [sys.executable, "-c", QUIET, url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).resolve().parents[2],
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
