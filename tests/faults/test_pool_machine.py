"""Whatever is done to a pool, and in whatever order, it loses no slot and lends no connection twice.

Hypothesis draws the orders. The seed follows from pytest's own, so ``pytest --randomly-seed=N``, with the
number at the head of the failing run, draws the same again; the smallest order that fails is printed as
code. What threads and servers do in between is theirs, so a failure may take several such runs.

A pool has no call that changes its size; pools of other sizes come by the rule that closes one.
"""

import random
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Thread
from time import monotonic

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from database_handler.core import link as link_module
from database_handler.core.connection import ConnectionPool, Lease, PoolStats
from database_handler.core.exceptions import (
    ConnectionLost,
    DatabaseHandlerError,
    PoolClosed,
    PoolOverloaded,
    PoolTimeout,
    ReleasedConnection,
    translated,
)
from tests.faults.conftest import PoolMaker, Server, frozen, in_thread, joined, kill, value
from tests.faults.test_pool_fork import ended_well, forked
from tests.support.faults import PATIENCE, eventually

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

ASKING = 1.1  # seconds that an idle connection's server may take to answer before another is made
places = st.integers(0, 5)
# pool_size, max_overflow, pool_max_waiting
sizes = st.tuples(st.integers(1, 3), st.integers(0, 2), st.none() | st.integers(0, 3))


@dataclass(eq=False)
class Held:
    """A lease that the machine has, and what it expects of it."""

    lease: Lease
    process: int
    is_lost: bool = False


class Borrower:
    """A thread that waits for a connection."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self.lease: Lease | None = None
        self.failure: DatabaseHandlerError | None = None
        self.thread: Thread = in_thread(self._wait)

    def _wait(self) -> None:
        try:
            self.lease = self._pool.borrow(timeout=PATIENCE)
        except DatabaseHandlerError as failure:
            self.failure = failure


class PoolMachine(RuleBasedStateMachine):
    """A pool on a real server, beside a list of what is lent and a queue of who waits."""

    def __init__(self, server: Server, patch: pytest.MonkeyPatch, tally: Counter[str]) -> None:
        super().__init__()
        self.server, self.patch, self.tally = server, patch, tally
        self.maker = PoolMaker(server)
        self.held: list[Held] = []
        self.queue: list[Borrower] = []
        self.frozen = 0  # the process that is kept from running, if any
        self.forked = False
        self.in_order = True
        self._thaw = ExitStack()
        self._number = 0

    @initialize(fresh=st.sampled_from([0.0, 60.0]), size=sizes)
    def begin(self, fresh: float, size: tuple[int, int, int | None]) -> None:
        self.patch.setattr(link_module, "_FRESH", fresh)  # 0: each is asked before it is lent
        self.open(*size)

    def open(self, size: int, overflow: int, most: int | None) -> None:
        self.size, self.max_size, self.most = size, size + overflow, most
        self.age = 0
        self.retired: set[int] = set()
        self.pool = self.maker(
            pool_size=size, max_overflow=overflow, pool_max_waiting=most, connect_timeout=ASKING
        )

    # ---------------------------------------------------------------------------------------- in and out

    @property
    def is_full(self) -> bool:
        return len(self.held) == self.max_size

    @precondition(lambda self: not self.is_full)
    @rule()
    def borrow(self) -> None:
        lease = self.pool.borrow(timeout=PATIENCE)
        held = Held(lease, lease.backend_pid)
        assert held.process not in self.retired
        self.held.append(held)
        self.use(held)

    @precondition(lambda self: self.is_full)
    @rule()
    def borrow_in_vain(self) -> None:
        started = monotonic()
        if self.most is not None and len(self.queue) >= self.most:
            with pytest.raises(PoolOverloaded):
                self.pool.borrow(timeout=PATIENCE)
        else:
            with pytest.raises(PoolTimeout, match=f"{self.max_size} of {self.max_size} are held"):
                self.pool.borrow(timeout=0.02)
        assert monotonic() - started < PATIENCE / 2

    @precondition(lambda self: len(self.queue) < (4 if self.most is None else self.most))
    @rule(number=st.integers(1, 2))
    def wait(self, number: int) -> None:
        while not self.is_full:
            self.borrow()
        for _ in range(min(number, (4 if self.most is None else self.most) - len(self.queue))):
            self.queue.append(Borrower(self.pool))
            self.tally["waited"] += 1
            eventually(lambda: self.pool.stats().waiting == len(self.queue))

    def taken(self, place: int) -> Held:
        return self.held.pop(place % len(self.held))

    @precondition(lambda self: self.held)
    @rule(place=places, discard=st.booleans())
    def give_back(self, place: int, discard: bool) -> None:
        held = self.taken(place)
        # Who is handed one that is frozen asks it in vain; another may be served meanwhile.
        self.in_order = held.process != self.frozen
        held.lease.release(discard=discard)
        for use in (held.lease.release, lambda: held.lease.connection):
            with pytest.raises(ReleasedConnection):
                use()

    @precondition(lambda self: self.held)
    @rule(place=places)
    def forget(self, place: int) -> None:
        self.taken(place)  # nothing else holds it: it is collected at once
        self.tally["forgotten"] += 1

    @precondition(lambda self: self.held)
    @rule(place=places, left_open=st.booleans())
    def work(self, place: int, left_open: bool) -> None:
        held = self.held[place % len(self.held)]
        self.use(held, "BEGIN; SELECT %s" if left_open else "SELECT %s")

    def use(self, held: Held, statement: str = "SELECT %s") -> None:
        """A connection answers its own borrower, unless its server process is gone or stopped."""
        self._number += 1
        goes = not held.is_lost and held.process != self.frozen
        try:
            with held.lease.guard(PATIENCE if goes else 0.1):
                answer = self.ask(held, statement)
        except ConnectionLost:
            assert not goes
            held.is_lost = True
        else:
            assert (goes, answer) == (True, self._number)

    def ask(self, held: Held, statement: str) -> object:
        with translated(held.lease.connection, doing="test"):
            return value(held.lease, statement, self._number)

    # -------------------------------------------------------------------------------------------- faults

    def running(self) -> list[Held]:
        return [held for held in self.held if not held.is_lost and held.process != self.frozen]

    @precondition(lambda self: self.running())
    @rule(place=places)
    def kill(self, place: int) -> None:
        held = self.running()[place % len(self.running())]
        kill(held.process)
        held.is_lost = True
        self.tally["killed"] += 1

    @precondition(lambda self: not self.is_full)
    @rule(number=st.integers(1, 3))
    def kill_idle(self, number: int) -> None:
        """Some that were just given back: the pool must find out by itself."""
        processes = []
        for _ in range(min(number, self.max_size - len(self.held))):
            self.borrow()
            processes.append(self.held[-1].process)
        for _ in processes:
            self.held.pop().lease.release()
        kill(*{*processes} - {self.frozen})
        self.tally["killed idle"] += len(processes)

    @precondition(lambda self: not self.frozen and self.running())
    @rule(place=places)
    def freeze(self, place: int) -> None:
        self.frozen = self.running()[place % len(self.running())].process
        self._thaw.enter_context(frozen(self.frozen))
        self.tally["frozen"] += 1

    @precondition(lambda self: self.frozen)
    @rule()
    def thaw(self) -> None:
        self._thaw.close()
        self.frozen = 0

    @precondition(lambda self: not self.forked)
    @rule(closes=st.booleans())
    def fork(self, closes: bool) -> None:
        """A child has a pool of its own, and leaves by the short way; the parent's is as it was."""
        before = self.pool.stats()

        def child() -> None:
            assert (self.pool.stats().size, self.pool.stats().waiting) == (0, 0)
            for held in self.held:
                with pytest.raises(ReleasedConnection):
                    held.lease.connection  # noqa: B018
            assert value(self.pool.borrow(timeout=10), "SELECT 1") == 1
            if closes:
                self.pool.close(0)

        self.forked = True  # once an order, for it takes long
        assert ended_well(forked(child))
        assert self.pool.stats() == before
        self.tally["forked"] += 1

    # --------------------------------------------------------------------------------------- whole pools

    @rule()
    def retire(self) -> None:
        self.pool.retire()
        assert self.pool.stats().idle == 0
        self.retired |= {held.process for held in self.held}

    @precondition(lambda self: self.age > 15)
    @rule(size=sizes)
    def close(self, size: tuple[int, int, int | None]) -> None:
        self.pool.close(0.01)
        for borrower in self.queue:
            joined(borrower.thread)
            assert isinstance(borrower.failure, PoolClosed)
        self.queue = []
        while self.held:
            held = self.held[-1]
            held.is_lost = True
            self.use(held)
            self.taken(-1).lease.release()
        with pytest.raises(PoolClosed):
            self.pool.borrow(timeout=PATIENCE)
        stats = self.pool.stats()
        assert (stats.size, stats.connecting, stats.opened) == (0, 0, stats.closed)
        self.tally["closed"] += 1
        self.open(*size)

    # -------------------------------------------------------------------------------------- what must hold

    @invariant()
    def holds(self) -> None:
        self.tally["steps"] += 1
        if self.maker.pools:
            self.age += 1
            eventually(self.is_settled)
            self.welcome()
            links = [held.lease.link for held in self.held]
            assert len({*map(id, links)}) == len(self.held)
            alive = [held.process for held in self.held if not held.is_lost]
            assert len({*alive}) == len(alive)

    def is_settled(self) -> bool:
        """Whether all that is lent is accounted for, and nobody waits in vain."""
        stats = self.pool.stats()
        self.check_bounds(stats)
        served = sum(not borrower.thread.is_alive() for borrower in self.queue)
        lent = len(self.held) + served
        waiting = len(self.queue) - served
        assert lent <= self.max_size
        counts = (stats.in_use, stats.waiting, stats.connecting)
        return counts == (lent, waiting, 0) and (not waiting or lent == self.max_size)

    def check_bounds(self, stats: PoolStats) -> None:
        assert stats.in_use + stats.idle + stats.connecting <= self.max_size == stats.max_size
        assert stats.size == stats.in_use + stats.idle == stats.opened - stats.closed
        assert stats.idle <= self.size
        assert not (stats.waiting and stats.idle)

    def welcome(self) -> None:
        """Take over what was lent to those who waited: it came to them in the order of their coming."""
        served = [borrower for borrower in self.queue if not borrower.thread.is_alive()]
        assert served == self.queue[: len(served)] or not self.in_order
        self.in_order = True
        for borrower in served:
            self.queue.remove(borrower)
            assert borrower.failure is None
            assert borrower.lease is not None
            self.held.append(Held(borrower.lease, borrower.lease.backend_pid))
        served.clear()

    def teardown(self) -> None:
        self._thaw.close()
        self.frozen = 0
        if sys.exc_info()[0] is None:
            while self.held or self.queue:
                self.give_back(0, discard=False)
                self.holds()
            self.maker.check()
            self.tally["orders"] += 1
        else:
            for pool, _ in self.maker.pools:
                pool.close(0)


def run(machine: type[RuleBasedStateMachine], orders: int, steps: int) -> None:
    """Run a machine in some orders of so many steps each; the seed is drawn from pytest's."""
    number = random.getrandbits(64)
    print(f"seed {number}")  # noqa: T201  # shown with a failure
    chosen = settings(
        max_examples=orders,
        stateful_step_count=steps,
        deadline=None,
        derandomize=False,
        database=None,
        print_blob=True,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    run_state_machine_as_test(seed(number)(machine), settings=chosen)


def told(tally: Counter[str]) -> str:
    return ", ".join(f"{number:,} {what}" for what, number in sorted(tally.items()))


def run_pools(server: Server, patch: pytest.MonkeyPatch, orders: int, steps: int) -> Counter[str]:
    tally: Counter[str] = Counter()

    class OnServer(PoolMachine):
        def __init__(self) -> None:
            super().__init__(server, patch, tally)

    run(OnServer, orders, steps)
    print(told(tally))  # noqa: T201
    return tally


@pytest.mark.timeout(600)  # the smallest order that fails takes a while to find
def test_no_order_of_events_costs_a_slot(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_pools(server, monkeypatch, 14, 40)["steps"] >= 400


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_no_order_of_events_costs_a_slot_in_a_long_run(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_pools(server, monkeypatch, 230, 50)["steps"] >= 8_000
