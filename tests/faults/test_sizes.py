"""Huge parameters are refused by the configured cap or served; memory stays bounded, the connection is kept.

Row 24 of the fault table. Each case runs in a process of its own, for the peak of a process's memory cannot
be put back, and tells in one line of JSON what came of it.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from database_handler import Database
from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import InvalidValue, LimitExceeded
from database_handler.testing.plugin import _made
from tests.faults.conftest import PoolMaker, Server

MIB = 1 << 20
PROGRAM = """
import json, resource, sys
from uuid import UUID
from database_handler import Database
from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import DatabaseHandlerError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def outcome(calling):
    try:
        return eval(calling)
    except DatabaseHandlerError as error:
        return type(error).__name__

url, cap, making, *callings = sys.argv[1:]
with Database(DatabaseConfig.from_url(url, max_parameter_bytes=cap)) as db:
    [backend] = db.session.one("SELECT pg_backend_pid()")
    value = eval(making)
    before = peak()
    told = [outcome(calling) for calling in callings]
    grown = peak() - before
    kept = db.session.one("SELECT pg_backend_pid()") == (backend,)
    stats = db.pool.stats()
print(json.dumps([told, grown, kept, stats.opened, stats.in_use]))
"""


def outcomes(config: DatabaseConfig, making: str, *callings: str) -> tuple[list[Any], int]:
    """Return what the calls gave, or their errors' names, and by how many bytes they raised the peak."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, config.url(), str(config.max_parameter_bytes), making, *callings],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    told, grown, kept, opened, in_use = json.loads(done.stdout)
    assert (kept, opened, in_use) == (True, 1, 0)
    return told, grown


@pytest.fixture(scope="module")
def migrated(server: Server) -> Iterator[DatabaseConfig]:
    with _made(server.config) as config:
        with Database(config) as database:
            database.migrate()
        yield config


def test_a_gibibyte_is_refused_before_anything_is_made_of_it(migrated: DatabaseConfig) -> None:
    told, grown = outcomes(
        migrated,
        "'x' * 2**30",
        "db.session.one('SELECT length(%s)', [value])",
        "db.session.one('SELECT length(%(a)s)', {'a': value})",
        "db.session.one('SELECT %s', [['y', value]])",
        "db.session.one('SELECT %s', [{'a': [value]}])",
        "db.session.one('SELECT %s', [{value: 1}])",
        "db.projects.create(name='a', metadata={'a': value})",
        "db.projects.list(metadata__contains={'a': value})",
        "db.text_sources.list(content=value)",
        "db.session.one(value)",
    )
    assert told == [*["InvalidValue"] * 8, "InvalidSql"]
    assert grown < 32 * MIB


@pytest.mark.soak
def test_a_message_that_postgresql_would_not_read_is_refused(server: Server) -> None:
    config = server.config.with_(max_parameter_bytes=2**30 - 1)
    # Written as hexadecimal digits it has twice as many bytes.
    told, grown = outcomes(config, "memoryview(bytes(2**29))", "db.session.one('SELECT %s', [value])")
    assert told == ["InvalidValue"]
    assert grown < 5 * 512 * MIB


def test_what_the_cap_allows_is_served_within_a_few_times_its_size(server: Server) -> None:
    told, grown = outcomes(
        server.config, "'x' * (32 * 2**20)", "db.session.one('SELECT length(%s)', [value])"
    )
    assert told == [[32 * MIB]]
    assert grown < 4 * 32 * MIB


def test_two_million_ids_are_served(migrated: DatabaseConfig) -> None:
    making = "[db.projects.create(name='a').id, *[UUID(int=n) for n in range(999)]] * 2000"
    told, grown = outcomes(migrated, making, "len(db.projects.get_many(value))")
    assert told == [2000]
    assert grown < 500 * MIB  # the text of the ids is 74 MB


def test_the_cap_counts_bytes_not_characters(make_pool: PoolMaker) -> None:
    database = make_pool.database(max_parameter_bytes=1000)
    assert database.session.one("SELECT length(%s)", ["\u6f22" * 333]) == (333,)
    for value in ("\u6f22" * 334, ["\U0001f3ac" * 251], {"\u6f22" * 334: 1}, "\ud800" * 334):
        with pytest.raises(InvalidValue, match="max_parameter_bytes allows 1,000"):
            database.session.one("SELECT %s", [value])
    assert database.pool.stats().closed == 0


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": [value]}
    return value


def test_deep_json_is_refused_on_the_way_in_and_by_the_server(make_pool: PoolMaker) -> None:
    database = make_pool.database()
    deep = nested(50_000)
    with pytest.raises(InvalidValue):
        database.session.one("SELECT %s::jsonb", [deep])
    with pytest.raises(InvalidValue):
        database.projects.create(name="a", metadata=deep)
    with pytest.raises(InvalidValue):
        database.projects.list(metadata__contains=deep)
    text = "[" * 100_000 + "]" * 100_000
    with pytest.raises(LimitExceeded):
        database.session.one("SELECT %s::jsonb", [text])
    assert database.pool.stats().closed == 0
