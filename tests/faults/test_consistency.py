"""Whatever breaks, every acknowledged row is there once, no failed one is, unknown ones are at most once."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random
from threading import Event, Thread
from time import monotonic
from typing import Any

import pytest

from database_handler import Database
from database_handler.core.exceptions import CommitOutcomeUnknown, ConnectionLost
from database_handler.core.transaction import Transaction
from tests.faults.conftest import in_thread, joined, query
from tests.faults.consistency import Attempt, How, Lane, ServerFaults, WireFaults, Worker, violations
from tests.support.faults import FaultProxy, FaultRelay, Way, assert_recovered, eventually
from tests.support.own_server import OwnServer

PROXIES, WORKERS = 3, 2  # of each proxy, sharing a pool


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServer]:
    """A server whose table would take a name twice, and whose commits outlive a crash."""
    with OwnServer(tmp_path_factory.mktemp("consistency") / "pg") as server:
        with Database(server.config) as database:
            database.migrate()
        query(server.config, "ALTER TABLE projects DROP CONSTRAINT projects_key")
        query(server.config, "ALTER DATABASE app SET synchronous_commit = on")
        yield server


@pytest.fixture
def empty(own: OwnServer) -> OwnServer:
    query(own.config, "TRUNCATE projects CASCADE")
    return own


def rows(server: OwnServer) -> list[str]:
    return [name for [name] in query(server.config, "SELECT name FROM projects")]


def sessions(server: OwnServer, name: str) -> int:
    [[found]] = query(
        server.config, "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", name
    )
    return int(found)


# ---------------------------------------------------------------------------------------------- the long run


@dataclass
class Run:
    """One run: what was attempted, and what befell it."""

    seed: int
    seconds: float
    attempts: list[Attempt]
    faults: Counter[str]

    def __str__(self) -> str:
        told = Counter(attempt.outcome for attempt in self.attempts)
        faults = ", ".join(f"{kind} {times}" for kind, times in sorted(self.faults.items()))
        return (
            f"seed {self.seed}, {self.seconds:.0f} s: {len(self.attempts)} attempts, {told['ok']} ok, "
            f"{told['failed']} failed, {told['unknown']} unknown; {self.faults.total()} faults: {faults}"
        )


def run(server: OwnServer, seed: int, seconds: float) -> Run:
    """Have workers append while all kinds of faults befall them, and return what they were told."""
    print("seed", seed)  # noqa: T201  # also where the run itself fails
    with ExitStack() as stack:
        proxies = [stack.enter_context(FaultProxy(server.config, tcp=True)) for _ in range(PROXIES)]
        databases = [stack.enter_context(_database(proxy, n)) for n, proxy in enumerate(proxies)]
        workers = [
            Worker(database, Random(f"{seed} {n} {each}"))
            for n, database in enumerate(databases)
            for each in range(WORKERS)
        ]
        lanes: list[Lane] = [
            WireFaults(Random(f"{seed} wire"), proxies),
            ServerFaults(Random(f"{seed} server"), server, proxies),
        ]
        started = monotonic()
        _let_run(workers, lanes, seconds)
        for proxy in proxies:
            proxy.disarm()
        for database in databases:
            _assert_recovered(server, database)
    faults = sum((lane.done for lane in lanes), Counter[str]())
    attempts = [attempt for worker in workers for attempt in worker.attempts]
    return Run(seed, monotonic() - started, attempts, faults)


def _database(proxy: FaultProxy, number: int) -> Database:
    limits = {"deadline": 1, "pool_timeout": 2, "connect_timeout": 2}
    return Database(
        proxy.config.with_(pool_size=2, max_overflow=0, application_name=f"worker {number}", **limits)
    )


def _let_run(workers: list[Worker], lanes: list[Lane], seconds: float) -> None:
    over, calm = Event(), Event()
    failures: list[BaseException] = []

    def start(each: Worker | Lane, until: Event) -> Thread:
        def run() -> None:
            try:
                each.run(until)
            except BaseException as failure:  # noqa: BLE001  # told below
                failures.append(failure)
                over.set()

        return in_thread(run, type(each).__name__)

    working = [start(worker, calm) for worker in workers]
    breaking = [start(lane, over) for lane in lanes]
    over.wait(seconds)
    eventually(
        lambda: bool(failures) or all(set(lane.kinds) <= lane.done.keys() for lane in lanes), within=60
    )
    over.set()
    joined(*breaking)
    calm.set()
    joined(*working)
    if failures:
        raise failures[0]


def _assert_recovered(server: OwnServer, database: Database) -> None:
    name = database.config.application_name
    assert_recovered(database, lambda: sessions(server, name))
    database.close()
    # What no client waits for any more may still be carried out, until its session has ended.
    eventually(lambda: sessions(server, name) == 0)


def _hold(server: OwnServer, seconds: float) -> None:
    found = run(server, random.randrange(10**9), seconds)
    print(found)  # noqa: T201  # the seed, and what docs/reliability.md keeps
    assert violations(found.attempts, rows(server)) == []
    told = Counter(attempt.outcome for attempt in found.attempts)
    assert told["ok"] > 100
    assert told["failed"] > 0


def test_nothing_is_lost_and_nothing_is_doubled(empty: OwnServer) -> None:
    _hold(empty, 12)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seconds", [60, 600])
def test_nothing_is_lost_and_nothing_is_doubled_in_a_long_run(empty: OwnServer, seconds: int) -> None:
    _hold(empty, seconds)


@pytest.fixture
def unwritten(empty: OwnServer) -> Iterator[OwnServer]:
    """A server that writes nothing of a transaction to its log before the transaction commits."""
    query(empty.config, "ALTER SYSTEM SET wal_writer_delay = '10s'")
    query(empty.config, "SELECT pg_reload_conf()")
    yield empty
    query(empty.config, "ALTER SYSTEM RESET wal_writer_delay")
    query(empty.config, "SELECT pg_reload_conf()")


def test_id_that_a_crash_gives_out_again_does_not_tell_of_the_transaction_that_had_it_first(
    unwritten: OwnServer,
) -> None:
    given_again: list[bool] = []

    def crash(_: FaultRelay) -> None:
        before = query(unwritten.config, "SELECT max(backend_xid::text::int) FROM pg_stat_activity")[0][0]
        unwritten.crash()
        unwritten.start()
        # Others commit under the ids that come next, past the one that was lost.
        after = [query(unwritten.config, "SELECT pg_current_xact_id()::text::int")[0][0] for _ in range(5)]
        given_again.append(before in after)

    with FaultProxy(unwritten.config) as proxy, Database(proxy.config) as database:
        worker = Worker(database, Random(0))
        proxy.at("request", b"COMMIT", crash)
        worker.append("unit")
    assert given_again == [True]
    assert violations(worker.attempts, rows(unwritten)) == []


# ---------------------------------------------------------------------------------------- the checker itself

Build = Callable[[pytest.MonkeyPatch], None]


def _sound(_: pytest.MonkeyPatch) -> None:
    """The library as it is."""


def _rebuilt(patch: pytest.MonkeyPatch, meets: type[Exception], then: Callable[[], None]) -> None:
    sound: Callable[..., None] = Transaction._send_commit

    def broken(*given: Any) -> None:
        try:
            sound(*given)
        except meets:
            then()

    patch.setattr(Transaction, "_send_commit", broken)


def _ignores_the_outcome(patch: pytest.MonkeyPatch) -> None:
    """A build for which a COMMIT that was lost is a COMMIT."""
    _rebuilt(patch, ConnectionLost, lambda: None)


def _takes_unknown_for_failed(patch: pytest.MonkeyPatch) -> None:
    """A build that says "not stored, try again" where it does not know."""

    def lose() -> None:
        raise ConnectionLost

    _rebuilt(patch, CommitOutcomeUnknown, lose)


def _attempts_losing(server: OwnServer, part: Way, how: How) -> list[Attempt]:
    """Have one worker lose a part of each COMMIT, or of its one statement."""
    with FaultProxy(server.config) as proxy, Database(proxy.config) as database:
        worker = Worker(database, Random(0), {"resolve": False} if part == "reply" else {})
        for _ in range(3):
            proxy.lose(part, "INSERT" if how == "create" else "COMMIT")
            worker.append(how)
        assert proxy.fired == 3
    return worker.attempts


@pytest.mark.parametrize(
    ("build", "part", "how", "said"),
    [
        (_ignores_the_outcome, "request", "unit", "told ok , is there 0, 0 times"),
        (_ignores_the_outcome, "request", "run", "told ok , is there 0, 0 times"),
        (_takes_unknown_for_failed, "reply", "unit", "told failed ConnectionLost, is there 1, 1 times"),
        (_takes_unknown_for_failed, "reply", "run", "told ok , is there 2, 2 times"),
    ],
)
def test_checker_catches_a_broken_build(
    empty: OwnServer, monkeypatch: pytest.MonkeyPatch, build: Build, part: Way, how: How, said: str
) -> None:
    build(monkeypatch)
    found = violations(_attempts_losing(empty, part, how), rows(empty))
    assert len(found) == 3
    assert all(said in wrong for wrong in found)


@pytest.mark.parametrize("how", ["create", "unit", "run"])
@pytest.mark.parametrize("part", ["request", "reply"])
def test_checker_agrees_with_the_library_as_it_is(empty: OwnServer, part: Way, how: How) -> None:
    attempts = _attempts_losing(empty, part, how)
    assert violations(attempts, rows(empty)) == []


def test_checker_knows_every_way_to_be_wrong() -> None:
    right = [
        Attempt("create", ("a",)),
        Attempt("unit", ("b", "c"), hooks=1),
        Attempt("run", ("d", "e"), "failed"),
    ]
    assert violations(right, ["a", "b", "c"]) == []
    assert violations([Attempt("create", ("a",), "unknown")], []) == []
    assert violations([Attempt("create", ("a",), "unknown")], ["a"]) == []
    for attempt, names in [
        (Attempt("create", ("a",)), []),
        (Attempt("create", ("a",)), ["a", "a"]),
        (Attempt("create", ("a",), "failed"), ["a"]),
        (Attempt("create", ("a",), "unknown"), ["a", "a"]),
        (Attempt("unit", ("a", "b"), hooks=1), ["a"]),
        (Attempt("unit", ("a", "b"), "unknown"), ["b"]),
        (Attempt("unit", ("a", "b"), hooks=2), ["a", "b"]),
        (Attempt("unit", ("a", "b"), "unknown", hooks=1), ["a", "b"]),
        (Attempt("create", ("a",)), ["a", "x"]),
    ]:
        assert len(violations([attempt], names)) == 1
