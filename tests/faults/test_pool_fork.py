"""After a fork the parent's sessions are the parent's: a child can neither use nor end them."""

import gc
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from threading import Event

import pytest

from database_handler.core.connection import ConnectionPool, dedicated, open_connection
from database_handler.core.exceptions import ReleasedConnection
from tests.faults.conftest import PoolMaker, Server, in_thread, joined, value

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

CHILDREN, QUERIES = 8, 1250


def forked(work: Callable[[], None]) -> int:
    """Run `work` in a child and return its process number; the child's status tells whether it raised."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        gc.collect()
        status = 0
    except BaseException:  # noqa: BLE001  # the child's only way to tell is its status
        traceback.print_exc()
    finally:
        os._exit(status)


def ended_well(child: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def ask(pool: ConnectionPool, base: int, times: int) -> None:
    """Ask for numbers that nobody else asks for, and expect each."""
    for number in range(base, base + times):
        lease = pool.borrow(timeout=10)
        assert value(lease, "SELECT %s", number) == number
        lease.release()


def test_eight_children_and_their_parent_get_their_own_answers(make_pool: PoolMaker) -> None:
    pool = make_pool(pool_size=2, max_overflow=0)
    borrowed, idle = pool.borrow(), pool.borrow()
    mine = {borrowed.backend_pid, idle.backend_pid}
    process = borrowed.backend_pid
    value(borrowed, "BEGIN; CREATE TEMP TABLE t AS SELECT 42 AS answer")
    idle.release()

    def child(number: int) -> None:
        for use in (lambda: borrowed.connection, borrowed.release, lambda: borrowed.guard(1)):
            with pytest.raises(ReleasedConnection):
                use()
        assert (pool.stats().size, pool.stats().in_use) == (0, 0)
        lease = pool.borrow(timeout=10)
        assert lease.backend_pid not in mine
        lease.release()
        ask(pool, number * 1_000_000, QUERIES)
        pool.close()

    children = [forked(lambda number=number: child(number)) for number in range(1, CHILDREN + 1)]  # type: ignore[misc]
    ask(pool, 0, QUERIES)
    assert [ended_well(one) for one in children] == [True] * CHILDREN
    assert borrowed.backend_pid == process
    assert value(borrowed, "SELECT answer FROM t") == 42
    borrowed.release()


def test_a_child_cannot_harm_what_is_outside_the_pool(server: Server) -> None:
    alone, raw = dedicated(server.config), open_connection(server.config)
    connection = alone.connection

    def child() -> None:
        with pytest.raises(ReleasedConnection):
            alone.connection  # noqa: B018
        connection.close()
        raw.close()

    assert ended_well(forked(child))
    assert value(alone, "SELECT 1") == 1
    with raw.cursor() as cursor:
        cursor.execute("SELECT 2")
        assert cursor.fetchone() == (2,)
    raw.close()
    alone.release()


def test_a_fork_amid_borrowing_threads_leaves_no_lock_held(make_pool: PoolMaker) -> None:
    pool = make_pool(pool_size=2, max_overflow=0)
    over = Event()

    def borrow() -> None:
        while not over.is_set():
            lease = pool.borrow(timeout=10)
            with lease.guard(10):
                value(lease, "SELECT 1")
            lease.release()

    threads = [in_thread(borrow) for _ in range(4)]
    for number in range(6):
        assert ended_well(forked(lambda number=number: ask(pool, number * 1000, 5)))  # type: ignore[misc]
    over.set()
    joined(*threads)


SCRIPT = """
import os, sys
from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import ConnectionPool

pool = ConnectionPool(DatabaseConfig.from_url(sys.argv[1]))
lent, lease, idle = pool.getconn(), pool.borrow(), pool.borrow()
idle.release()
cursor = lent.cursor()
cursor.execute("SELECT 1")
child = os.fork()
if child == 0:
    sys.exit(0)  # the interpreter ends as usual, and collects what it holds
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
for connection in (lent, lease.connection, pool.borrow().connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 7")
        assert cursor.fetchone() == (7,)
pool.closeall()
"""


def test_a_child_that_ends_as_usual_does_not_end_the_parents_sessions(server: Server) -> None:
    command = [sys.executable, "-c", SCRIPT, server.config.url()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
