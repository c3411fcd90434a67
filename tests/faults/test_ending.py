"""The end of a pool and of its process: nobody hangs, no session is left; a clock that jumps ends nothing.

Rows 36 and 37 of the fault table. Closing with busy and waiting threads of this process is shown in
`tests/faults/test_pool.py`; here a process is told to end (SIGTERM), or is ended.
"""

import ast
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import ConnectionPool, Lease
from database_handler.core.exceptions import ConnectionLost, DatabaseHandlerError, PoolClosed, PoolTimeout
from tests.faults.conftest import PoolMaker, Server, in_thread, joined, query, value
from tests.support.faults import eventually

PACKAGE = Path(__file__).resolve().parents[2] / "database_handler"
NAME = "ending"
LIMIT = 1.0  # seconds that busy units have to finish
CUT = 5.0  # seconds that ending what does not finish may take on top


@pytest.fixture
def kept(server: Server) -> Iterator[None]:
    query(server.config, "CREATE TABLE kept (name text)")
    yield
    query(server.config, "DROP TABLE kept")


# ------------------------------------------------------------------------------------------- row 36: the end

# Five units on three connections. It tells at its end, one JSON line, what became of each.
APPLICATION = f"""
import json, signal, sys, threading, time
from database_handler import Database
from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import DatabaseHandlerError

db = Database(DatabaseConfig.from_url(sys.argv[1], pool_size=3, max_overflow=0, pool_timeout=60))
told, stopping, stopped = {{}}, threading.Event(), threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopping.set())

def unit(name, work):
    try:
        with db.unit_of_work() as uow:
            uow.session.run("INSERT INTO kept VALUES (%s)", [name])
            work(uow.session)
        told[name] = "stored", time.monotonic()
    except DatabaseHandlerError as error:
        told[name] = type(error).__name__, time.monotonic()

busy = {{
    "finishes": lambda session: stopping.wait(60) and session.one("SELECT pg_sleep(0.2)"),
    "runs on": lambda session: session.one("SELECT pg_sleep(30)"),
    "dawdles": lambda session: stopped.wait(60) and session.one("SELECT 1"),
}}
threads = [threading.Thread(target=unit, args=item) for item in busy.items()]
for thread in threads:
    thread.start()
until = time.monotonic() + 30
while db.pool.stats().in_use < 3 and time.monotonic() < until:
    time.sleep(0.005)
waiting = [threading.Thread(target=unit, args=(f"waits {{n}}", print)) for n in range(2)]
for thread in waiting:
    thread.start()
while db.pool.stats().waiting < 2 and time.monotonic() < until:
    time.sleep(0.005)
print("ready", flush=True)
stopping.wait(60)
began = time.monotonic()
db.pool.close({LIMIT})
closed = time.monotonic() - began
unit("comes late", print)
stopped.set()
for thread in threads + waiting:
    thread.join(30)
print(json.dumps([closed, {{name: (end, at - began) for name, (end, at) in told.items()}}]), flush=True)
"""
# It does nothing about signals, or lets one end it as Ctrl-C would; its main thread is busy all the time.
BUSY = """
import signal, sys
from database_handler import Database

if sys.argv[2] == "exits":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
with Database(sys.argv[1]) as db:
    with db.unit_of_work() as left:
        left.session.run("INSERT INTO kept VALUES ('left open')")
        outside = db.repositories(outside_unit=True)
        for number in range(1_000_000):
            outside.session.run("INSERT INTO kept VALUES ('number')")
            if number == 50:
                print("ready", flush=True)
"""


def sessions(server: Server) -> int:
    """Count the application's sessions; a transaction that writes has its number after the name."""
    statement = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE %s"
    return int(query(server.config, statement, f"{NAME}%")[0][0])


@contextmanager
def application(
    program: str, config: DatabaseConfig, tmp_path: Path, *arguments: str
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a program until it says that it is ready; it ends with the block at the latest."""
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", program, config.url(), *arguments], stdout=stdout, stderr=stderr
        )
    try:
        eventually(lambda: out.read_bytes().startswith(b"ready") or process.poll() is not None)
        assert process.poll() is None, err.read_text()
        yield process
    finally:
        process.kill()
        process.wait(20)


@pytest.mark.usefixtures("kept")
def test_a_process_told_to_end_lets_units_finish_refuses_others_and_leaves_no_session(
    server: Server, tmp_path: Path
) -> None:
    config = server.config.with_(application_name=NAME)
    with application(APPLICATION, config, tmp_path) as process:
        assert sessions(server) == 3
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, (tmp_path / "err").read_text()
    closed, told = json.loads((tmp_path / "out").read_text().splitlines()[1])
    ends = {name: end for name, (end, _) in told.items()}
    assert ends == {
        "finishes": "stored",
        "runs on": "ConnectionLost",
        "dawdles": "ConnectionLost",
        "waits 0": "PoolClosed",
        "waits 1": "PoolClosed",
        "comes late": "PoolClosed",
    }
    assert LIMIT <= closed < LIMIT + CUT
    assert max(told["waits 0"][1], told["waits 1"][1]) < LIMIT
    assert told["finishes"][1] < LIMIT <= told["runs on"][1]
    eventually(lambda: sessions(server) == 0)
    assert query(server.config, "SELECT name FROM kept") == [("finishes",)]


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    ("how", "number", "code"),
    [
        ("exits", signal.SIGTERM, 7),
        ("dies", signal.SIGTERM, -signal.SIGTERM),
    ],
    ids=["handled", "not handled"],
)
def test_a_process_that_is_ended_amid_its_work_leaves_no_session_and_no_half_unit(
    server: Server, tmp_path: Path, how: str, number: int, code: int
) -> None:
    config = server.config.with_(application_name=NAME)
    with application(BUSY, config, tmp_path, how) as process:
        process.send_signal(number)
        assert process.wait(20) == code, (tmp_path / "err").read_text()
    eventually(lambda: sessions(server) == 0)
    assert {name for (name,) in query(server.config, "SELECT name FROM kept")} == {"number"}


def signalled_at(line: int, work: Callable[[], object]) -> bool:
    """Do some work, with a signal at the so-many-th line that it runs in the pool's own modules.

    Returns
    -------
    bool
        Whether it ran so many lines.
    """
    seen = count(1)
    files = {str(PACKAGE / "core" / f"{name}.py") for name in ("connection", "lent", "link", "pool_stats")}

    def local(frame: FrameType, event: str, _: object) -> Any:
        if event == "line" and next(seen) == line:
            sys.settrace(None)
            signal.raise_signal(signal.SIGUSR1)
        return local

    def entered(frame: FrameType, *_: object) -> Any:
        return local if frame.f_code.co_filename in files else None

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        work()
    finally:
        sys.settrace(before)
    return next(seen) > line


@pytest.mark.timeout(60)
def test_close_in_the_handler_of_a_signal_ends_wherever_the_signal_comes(server: Server) -> None:
    config = server.config.with_(application_name=NAME, pool_size=1, max_overflow=0)
    line, reached = 0, True
    while reached:
        line += 1
        pool = ConnectionPool(config)
        pool.borrow().release()

        def work(pool: ConnectionPool = pool) -> None:
            with suppress(DatabaseHandlerError):
                pool.borrow().release()

        before = signal.signal(signal.SIGUSR1, lambda *_, pool=pool: pool.close(0.005))
        try:
            reached = signalled_at(line, work)
        finally:
            signal.signal(signal.SIGUSR1, before)
        if not reached:
            pool.close(1)
        eventually(partial(getattr, pool, "closed"))
        with pytest.raises(PoolClosed):
            pool.borrow()
    assert line > 40  # it was tried at each of them
    eventually(lambda: sessions(server) == 0)


# ------------------------------------------------------------------------------------------ row 37: the clock


class Clock:
    """The wall clock as Python sees it, set forward or back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.days = 0
        now, now_ns = time.time, time.time_ns
        monkeypatch.setattr(time, "time", lambda: now() + self.days * 86_400)
        monkeypatch.setattr(time, "time_ns", lambda: now_ns() + self.days * 86_400 * 10**9)


JUMPS = (400, -400, 36_500, 0)


def test_idle_connections_outlive_a_clock_that_jumps(
    make_pool: PoolMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    pool = make_pool(pool_size=3, max_overflow=0)

    def lend_all() -> set[int]:
        leases = [pool.borrow(timeout=5) for _ in range(3)]
        backends = {lease.backend_pid for lease in leases}
        for lease in leases:
            lease.release()
        return backends

    backends = lend_all()
    for clock.days in JUMPS:
        assert lend_all() == backends
    assert (pool.stats().opened, pool.stats().closed) == (3, 0)


def test_a_waiter_waits_as_long_as_it_should_while_the_clock_jumps(
    make_pool: PoolMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    pool = make_pool(pool_size=1, max_overflow=0)
    held = pool.borrow()
    served: list[Lease] = []
    waiting = in_thread(lambda: served.append(pool.borrow(timeout=20)))
    eventually(lambda: pool.stats().waiting == 1)
    for clock.days in JUMPS[:2]:
        started = monotonic()
        with pytest.raises(PoolTimeout):
            pool.borrow(timeout=0.3)
        assert 0.3 <= monotonic() - started < 5
        assert not served
    held.release()
    joined(waiting)
    assert value(served[0], "SELECT 1") == 1
    served[0].release()


def test_a_deadline_is_no_matter_of_the_wall_clock(
    make_pool: PoolMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    database = make_pool.database(deadline=0.3)
    for clock.days in JUMPS:
        assert database.session.one("SELECT pg_sleep(0.05)::text") == ("",)
        started = monotonic()
        with pytest.raises(ConnectionLost):
            database.session.one("SELECT pg_sleep(1.5)")
        assert 0.3 <= monotonic() - started < 5


WALL_CLOCK = {"time", "time_ns", "localtime", "gmtime", "ctime", "now", "utcnow", "today", "clock_gettime"}


def reads_of_the_wall_clock(path: Path) -> list[str]:
    """Calls that tell the date, in any way that the standard library has."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    taken = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in {"time", "datetime"}
        for alias in node.names
    }
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in WALL_CLOCK & taken:
                found.append(f"{path.name}:{node.lineno}")
            case ast.Call(func=ast.Attribute(attr=name)) if name in WALL_CLOCK:
                found.append(f"{path.name}:{node.lineno}")
    return found


def test_nothing_that_waits_reads_the_wall_clock(tmp_path: Path) -> None:
    paths = [*(PACKAGE / "core").rglob("*.py"), PACKAGE / "database.py", PACKAGE / "unit_of_work.py"]
    assert [place for path in sorted(paths) for place in reads_of_the_wall_clock(path)] == []
    sample = tmp_path / "sample.py"
    sample.write_text(
        "from time import time as clock, time\nimport datetime as dt\ntime()\ndt.date.today()\n"
    )
    assert len(reads_of_the_wall_clock(sample)) == 2
