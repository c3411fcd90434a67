"""Row 40: a cache that is down, slow, or holds garbage costs its small limit, and never gives what is old."""

# ruff: noqa: PT012  # what is to raise is the unit as a whole

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from database_handler import Database, Project
from database_handler.config.cache import CacheConfig
from database_handler.core import cache as caching
from database_handler.core.exceptions import CacheUnavailable, CommitOutcomeUnknown
from tests.faults.conftest import in_thread, joined, query
from tests.support.caching import Make, cache, cached_databases, created, stats
from tests.support.faults import FaultProxy, eventually
from tests.support.valkey import SlowWay, Valkey

LIMIT = 0.2  # seconds, where a cache that is slow is tried: elsewhere a busy machine is no slow cache
WRITER = Path(__file__).with_name("cache_writer.py")


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey("--enable-debug-command", "yes") as server:
        yield server


@pytest.fixture
def make(shared_database: Database, valkey: Valkey) -> Iterator[Make]:
    with cached_databases(shared_database, valkey, timeout=10, pause=60) as maker:
        yield maker


def row_tags(valkey: Valkey) -> list[str]:
    return [key for key in valkey.held() if key.split(":")[2] == "r"]


def seconds(call: Callable[[], object]) -> float:
    started = monotonic()
    call()
    return monotonic() - started


# ---------------------------------------------------------------------------------------- down, frozen, slow


def test_a_cache_that_is_down_is_left_alone(make: Make, tmp_path: Path) -> None:
    database = make(url=f"unix://{tmp_path}/nobody.sock", timeout=LIMIT)
    project = created(database)
    assert database.projects.get_by_id(project.id) == project
    changed = database.projects.update(project.id, name="changed")
    assert database.projects.get_many([project.id]) == [changed]
    assert database.projects.statistics(project.id).rows == 0
    found = stats(database)
    assert (found.errors, found.left_alone, found.hits) == (1, True, 0)  # asked once, then no more
    assert found.unannounced == 2


@pytest.mark.parametrize("delay", [LIMIT * 1.5, float("inf")])
def test_a_slow_cache_costs_its_limit_once(make: Make, valkey: Valkey, delay: float) -> None:
    with SlowWay(valkey.socket) as way:
        database = make(url=way.url, timeout=LIMIT)
        project = created(database)
        database.projects.get_by_id(project.id)
        assert stats(database).errors == 0
        way.delay = delay
        took = seconds(lambda: database.projects.get_by_id(project.id))
        assert LIMIT * 0.9 < took < LIMIT + 2
        database.projects.get_by_id(project.id)
        database.projects.update(project.id, name="changed")
        assert stats(database).errors == 1  # whoever had asked it would have waited, and counted another
        assert stats(database).left_alone


def test_answers_that_are_each_in_time_are_too_late_together(make: Make, valkey: Valkey) -> None:
    with SlowWay(valkey.socket) as way:
        database = make(url=way.url, timeout=LIMIT)
        project = created(database)
        database.projects.get_by_id(project.id)
        database.projects.update(project.id, name="changed")
        way.delay = LIMIT * 0.6
        took = seconds(lambda: database.projects.get_by_id(project.id))  # read, lease and fill
        assert took < LIMIT + 2
        assert stats(database).errors == 1


def test_connecting_counts_towards_the_limit(make: Make, valkey: Valkey) -> None:
    database = make(timeout=LIMIT)
    project = created(make())
    with valkey.frozen():
        assert seconds(lambda: database.projects.get_by_id(project.id)) < LIMIT + 2  # it is silent for good
    assert stats(database).errors == 1


def test_a_cache_that_is_back_is_asked_again(make: Make, valkey: Valkey) -> None:
    database = make(pause=0.2, timeout=LIMIT)
    project = created(database)
    with valkey.frozen():
        assert database.projects.get_by_id(project.id) == project
        assert stats(database).left_alone

    def is_hit() -> bool:
        before = stats(database).hits
        assert database.projects.get_by_id(project.id) == project
        return stats(database).hits > before

    eventually(is_hit)
    assert not stats(database).left_alone


def test_what_was_committed_while_it_was_frozen_is_told_before_it_is_read(make: Make, valkey: Valkey) -> None:
    writer, other = make(timeout=LIMIT), make(timeout=LIMIT)
    project = created(writer)
    assert other.projects.get_by_id(project.id) == project  # so an old entry is there
    with valkey.frozen():
        changed = writer.projects.update(project.id, name="changed")
        changed = writer.projects.update(changed.id, name="changed again")
        assert writer.projects.get_by_id(project.id) == changed  # never its own old one
        assert stats(writer).owed > 0
    eventually(lambda: stats(writer).owed == 0)
    assert other.projects.get_by_id(project.id) == changed
    assert writer.projects.get_by_id(project.id) == changed


def test_strict_refuses_what_cannot_be_announced(make: Make, valkey: Valkey) -> None:
    strict, plain = make(strict=True, pause=0.01, timeout=LIMIT), make(timeout=LIMIT)
    project = created(strict)
    with valkey.frozen():
        with pytest.raises(CacheUnavailable) as refused:
            strict.projects.update(project.id, name="changed")
        assert refused.value.retryable
        with pytest.raises(CacheUnavailable), strict.unit_of_work() as unit:
            unit.projects.update(project.id, name="changed")
        with strict.unit_of_work() as unit:  # reads go on
            assert unit.projects.get_by_id(project.id).version == 1
    assert plain.projects.get_by_id(project.id) == project
    assert stats(strict).unannounced == 0

    def works() -> bool:
        try:
            strict.projects.update(project.id, name="changed")
        except CacheUnavailable:
            return False
        return True

    eventually(works)


# -------------------------------------------------------------------------------------------------- garbage


def test_garbage_is_ignored(make: Make, valkey: Valkey) -> None:
    database = make()
    project = created(database)
    other = created(database)
    for each in (project, other):
        database.projects.get_by_id(each.id)
    first, second = valkey.held("*:e:*")
    good = {key: valkey.client.get(key) for key in (first, second)}
    damaged = [
        b"",
        b"\x00\xff" * 50,
        b'{"id": 1}',
        good[second],  # another record's
        good[first].replace(b"film", b"fiIm"),  # valid JSON, and not what was stored
        good[first][:-5],
        b"1 " + b"9" * 5000 + b" 1 x\n{}",
        good[first].replace(b"\n", b"\n" + b"[" * 200_000),
    ]
    for value in damaged:
        valkey.client.set(first, value)
        for each in (project, other):
            assert database.projects.get_by_id(each.id) == each
        valkey.client.delete(*row_tags(valkey))
        for each in (project, other):
            assert database.projects.get_by_id(each.id) == each
    assert stats(database).garbage >= len(damaged) - 1
    assert stats(database).errors == 0


@pytest.mark.parametrize("what", [b"m", b"tzz", b"\x00", [b"a list"]])
def test_garbage_in_every_key_is_replaced(make: Make, valkey: Valkey, what: bytes | list[bytes]) -> None:
    database = make()
    project = created(database)
    database.projects.get_by_id(project.id)
    keys = [*valkey.held(), *(key.replace(":e:", ":l:") for key in valkey.held("*:e:*"))]
    for key in keys:
        valkey.client.delete(key)
        if isinstance(what, list):
            valkey.client.rpush(key, *what)
        else:
            valkey.client.set(key, what)
    assert database.projects.get_by_id(project.id) == project
    changed = database.projects.update(project.id, name="changed")
    for _ in range(3):
        assert database.projects.get_by_id(project.id) == changed
    assert stats(database).errors == 0
    if what != b"m":  # which reads as the mark of a writer, and keeps readers away until the next write
        assert stats(database).hits > 0


# ---------------------------------------------------------------------------------------- commit and rollback


def test_nothing_is_forgotten_before_the_commit_and_nothing_read_after_it(make: Make, valkey: Valkey) -> None:
    database, other = make(), make()
    project = created(database)
    other.projects.get_by_id(project.id)
    before = {key: valkey.client.get(key) for key in valkey.held()}
    with database.unit_of_work() as unit:
        changed = unit.projects.update(project.id, name="changed")
        assert unit.projects.get_by_id(project.id) == changed  # its own write
        assert {key: valkey.client.get(key) for key in valkey.held()} == before
        assert other.projects.get_by_id(project.id) == project
        assert stats(other).hits == 1
    assert other.projects.get_by_id(project.id) == changed


def test_a_unit_that_is_rolled_back_leaves_nothing(make: Make, valkey: Valkey) -> None:
    database, other = make(), make()
    project = created(database)
    other.projects.get_by_id(project.id)
    before = {key: valkey.client.get(key) for key in valkey.held()}
    with pytest.raises(KeyError), database.unit_of_work() as unit:
        unit.projects.update(project.id, name="changed")
        unit.projects.get_by_id(project.id)
        unit.projects.statistics(project.id)
        unit.projects.create(name="never")
        raise KeyError
    with database.unit_of_work() as unit:
        unit.session.run("DELETE FROM projects")
        unit.rollback()
    assert {key: valkey.client.get(key) for key in valkey.held()} == before
    assert other.projects.get_by_id(project.id) == project
    assert stats(other).hits == 1


def test_a_writer_killed_after_its_commit_leaves_no_old_entry(
    make: Make, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = make()
    project = created(database)
    database.projects.get_by_id(project.id)
    done = written_elsewhere(database, valkey, project, dies=True)
    assert done.returncode == -9
    for _ in range(3):
        assert database.projects.get_by_id(project.id).name == "elsewhere"
    assert stats(database).hits == 0  # the mark is there, and keeps everybody from storing anything
    [mark] = [key for key in row_tags(valkey) if str(project.id) in key]
    assert 0 < valkey.client.pttl(mark) <= caching.MARK_SECONDS * 1000
    valkey.client.pexpire(mark, 1)
    eventually(lambda: not valkey.client.exists(mark))
    for _ in range(2):
        assert database.projects.get_by_id(project.id).name == "elsewhere"
    assert stats(database).hits == 1


def written_elsewhere(
    database: Database, valkey: Valkey, project: Project, *, dies: bool
) -> subprocess.CompletedProcess[str]:
    password = database.config.password
    fields = {"host": database.config.host, "port": database.config.port, "name": database.config.name}
    fields |= {"user": database.config.user, "password": password and password.get_secret_value()}
    asked = {
        "database": fields,
        "cache": valkey.url,
        "id": str(project.id),
        "name": "elsewhere",
        "dies": dies,
    }
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.run(
        [sys.executable, str(WRITER), json.dumps(asked)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
    )


def test_a_commit_whose_outcome_is_unknown_keeps_its_marks(make: Make, valkey: Valkey) -> None:
    direct = make()
    project = created(direct)
    direct.projects.get_by_id(project.id)
    with FaultProxy(direct.config) as proxy:
        config = CacheConfig.model_validate({"url": valkey.url, "timeout": LIMIT})
        with Database(proxy.config.with_(deadline=5), cache=config) as lossy:
            lossy.projects.get_by_id(project.id)
            proxy.lose("reply", "COMMIT")
            with pytest.raises(CommitOutcomeUnknown), lossy.unit_of_work(resolve=False) as unit:
                unit.projects.update(project.id, name="changed")
            assert lossy.projects.get_by_id(project.id).name == "changed"
            assert direct.projects.get_by_id(project.id).name == "changed"
            assert cache(direct).contents().marked > 0


# ------------------------------------------------------------------------------------ the server, and forking


def test_what_a_server_brings_back_from_its_disk_is_not_read(make: Make) -> None:
    with Valkey() as own:
        database = make(url=own.url)
        project = created(database)
        database.projects.get_by_id(project.id)
        own.client.save()  # with an entry, and the tokens it hangs on
        changed = database.projects.update(project.id, name="changed")
        own.kill()
        own.start()
        assert own.held("*:e:*")
        again = make(url=own.url)
        for _ in range(2):
            assert again.projects.get_by_id(project.id) == changed
            assert database.projects.get_by_id(project.id) == changed
        assert (
            stats(again).errors == stats(database).errors == 0
        )  # a connection that ended while idle is no error


def test_scripts_that_the_server_forgot_are_sent_again(make: Make, valkey: Valkey) -> None:
    database = make()
    project = created(database)
    database.projects.get_by_id(project.id)
    valkey.client.script_flush()
    changed = database.projects.update(project.id, name="changed")
    assert database.projects.get_by_id(project.id) == changed
    assert stats(database).errors == 0


def test_a_forked_child_has_connections_of_its_own(make: Make, valkey: Valkey) -> None:
    database = make()
    project = created(database)
    database.projects.get_by_id(project.id)
    gc.collect()
    child = os.fork()
    if child == 0:
        try:
            found = database.projects.get_by_id(project.id)
            changed = database.projects.update(project.id, name="by the child")
            right = found == project and database.projects.get_by_id(project.id) == changed
            os._exit(0 if right and stats(database).hits >= 1 else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert database.projects.get_by_id(project.id).name == "by the child"
    assert stats(database).errors == 0


# ------------------------------------------------------------------------------------------------- stampedes


class Blocked:
    """Keeps everybody from reading a table, outside of everything that is tested."""

    def __init__(self, database: Database) -> None:
        self._database = Database(database.config)

    def __enter__(self) -> None:
        self._unit = self._database.unit_of_work()
        unit = self._unit.__enter__()
        unit.session.run("LOCK TABLE projects IN ACCESS EXCLUSIVE MODE")

    def __exit__(self, *_: object) -> None:
        self._unit.__exit__(None, None, None)
        self._database.close()


def asking(database: Database) -> int:
    text = "SELECT query FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    found = query(database.config, text, database.config.name)
    return sum("get_by_id" in text for (text,) in found)


def test_one_of_many_readers_loads(make: Make) -> None:
    databases = [make(wait=30), make(wait=30)]
    project = created(databases[0])
    cache(databases[0]).identify()
    cache(databases[1]).identify()
    found: list[Project] = []

    def read(database: Database) -> None:
        found.append(database.projects.get_by_id(project.id))

    with Blocked(databases[0]):
        threads = [in_thread(partial(read, each)) for each in databases * 8]
        eventually(lambda: sum(stats(each).waits for each in databases) == 15)
        assert asking(databases[0]) == 1
    joined(*threads)
    assert found == [project] * 16
    assert sum(stats(each).fills for each in databases) == 1


def test_a_loader_that_died_holds_others_up_for_their_wait_only(make: Make, valkey: Valkey) -> None:
    database = make(wait=0.3)
    project = created(database)
    database.projects.get_by_id(project.id)
    [entry] = valkey.held("*:e:*")
    lease = entry.replace(":e:", ":l:").rpartition(":")[0]
    valkey.client.delete(entry)
    valkey.client.set(lease, "f" * 16, px=60_000)
    took = seconds(lambda: database.projects.get_by_id(project.id))
    assert 0.25 < took < 0.3 + 5
    assert stats(database).waits == 1


def test_a_reader_who_waited_gets_what_is_committed_by_then(make: Make) -> None:
    """The load of the one who is waited for may have begun before a commit that the waiter came after."""
    reader, other, writer = make(wait=30), make(wait=30), make()
    project = created(writer)
    loaded = cache(reader).server.fill
    found: list[Project] = []

    def fill(*args: Any, **named: Any) -> int:
        # The first reader has its row by now. Somebody commits, and only then does the second one come.
        writer.projects.update(project.id, name="changed")
        second = in_thread(lambda: found.append(reader.projects.get_by_id(project.id)))
        third = in_thread(lambda: found.append(other.projects.get_by_id(project.id)))
        eventually(lambda: stats(reader).waits == stats(other).waits == 1)
        cache(reader).server.fill = loaded  # type: ignore[method-assign]
        stored = loaded(*args, **named)
        waiting.extend((second, third))
        return stored

    waiting: list[Any] = []
    cache(reader).server.fill = fill  # type: ignore[method-assign]
    assert reader.projects.get_by_id(project.id) == project  # it began before the commit
    joined(*waiting)
    assert [each.name for each in found] == ["changed", "changed"]
    assert stats(reader).refused == 1
