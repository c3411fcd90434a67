"""The watchdog cuts a call at its deadline, and never a later one."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import pytest

from database_handler.core.watchdog import Fuse


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    near.settimeout(10)
    with near, far:
        yield near, far


@pytest.fixture
def near(pair: tuple[socket.socket, socket.socket]) -> socket.socket:
    return pair[0]


def test_a_stuck_call_ends_at_the_deadline_as_if_the_peer_had_gone(near: socket.socket) -> None:
    fuse = Fuse(near.fileno())
    started = monotonic()
    with fuse.guard(0.2):
        assert near.recv(1) == b""
    assert 0.2 <= monotonic() - started < 1.2
    assert fuse.blown


def test_a_block_that_was_left_is_never_cut_later(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    fuse = Fuse(near.fileno())
    for _ in range(200):
        with fuse.guard(0.05):
            pass
    # The watchdog fires for somebody else well after those deadlines.
    a, b = socket.socketpair()
    with a, b, Fuse(a.fileno()).guard(0.2):
        a.settimeout(10)
        assert a.recv(1) == b""
    far.send(b"x")
    assert near.recv(1) == b"x"
    assert not fuse.blown


def test_the_nearer_of_two_nested_deadlines_counts(near: socket.socket) -> None:
    fuse = Fuse(near.fileno())
    started = monotonic()
    with fuse.guard(30), fuse.guard(0.1):
        assert near.recv(1) == b""
    assert monotonic() - started < 5


def test_a_deadline_before_the_one_the_thread_sleeps_for_is_kept(near: socket.socket) -> None:
    with ExitStack() as stack:
        for _ in range(5):
            a, b = socket.socketpair()
            stack.enter_context(a)
            stack.enter_context(b)
            stack.enter_context(Fuse(a.fileno()).guard(60))
        started = monotonic()
        with Fuse(near.fileno()).guard(0.1):
            assert near.recv(1) == b""
        assert monotonic() - started < 5


def test_a_finaliser_that_guards_in_the_watchdogs_own_thread_costs_nobody_a_deadline() -> None:
    """The collector runs finalisers in any thread, and one that ends a session does so under a guard."""
    done = subprocess.run(
        [sys.executable, "-c", FINALISERS], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    finalised, *seconds = map(float, done.stdout.split())
    assert finalised > 20
    assert all(0.05 <= each < 5 for each in seconds), seconds


FINALISERS = """
import socket, threading, time
from database_handler.core.watchdog import Fuse

pairs = [socket.socketpair() for _ in range(11)]
other = Fuse(pairs[0][0].fileno())
inside, finalised = False, 0

def finalise(frame, event, argument):  # as if the collector ran before and after every call in that thread
    global inside, finalised
    if not inside and threading.current_thread().name == "database-handler-watchdog":
        inside, finalised = True, finalised + 1
        with other.guard(0.01):
            pass
        inside = False

threading.setprofile(finalise)
seconds = []
for near, _ in pairs[1:]:
    near.settimeout(5)
    started = time.monotonic()
    with Fuse(near.fileno()).guard(0.05):
        try:
            near.recv(1)
        except TimeoutError:
            pass
    seconds.append(time.monotonic() - started)
print(finalised, *seconds)
"""


def test_a_deadline_that_is_over_cuts_at_once(near: socket.socket) -> None:
    with Fuse(near.fileno()).guard(-1):
        assert near.recv(1) == b""


def test_cutting_after_close_touches_nobody(pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    fuse = Fuse(near.fileno())
    fuse.close()
    fuse.close()
    replacement = os.dup(near.fileno())  # most likely under the number that the fuse had
    fuse.blow()
    far.send(b"x")
    assert near.recv(1) == b"x"
    assert not fuse.blown
    os.close(replacement)


def test_a_collected_fuse_gives_its_descriptor_back(near: socket.socket) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        Fuse(near.fileno())
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_forked_child_has_a_watchdog_of_its_own(near: socket.socket) -> None:
    with Fuse(near.fileno()).guard(60):  # so that the parent's thread runs
        pass
    child = os.fork()
    if child == 0:
        status = 1
        try:
            a, _b = socket.socketpair()
            a.settimeout(10)
            with Fuse(a.fileno()).guard(0.1):
                status = 0 if a.recv(1) == b"" else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
