"""Automatic collections wait while many rows become objects, and in no other case; threads take turns."""

import gc
import os
from collections.abc import Iterator
from threading import Event, Thread

import pytest

from database_handler.utils.collector import MANY, SLICE, collector_waiting, made


@pytest.fixture(autouse=True)
def collecting() -> Iterator[None]:
    """Leave the collector as it was found: on."""
    gc.enable()
    yield
    gc.enable()


def test_many_rows_are_made_without_a_collection() -> None:
    passes = [generation["collections"] for generation in gc.get_stats()]
    with collector_waiting(MANY):
        kept = [[number] for number in range(50_000)]
        assert [generation["collections"] for generation in gc.get_stats()] == passes
    assert gc.isenabled()
    assert len(kept) == 50_000


def test_few_rows_leave_it_alone() -> None:
    with collector_waiting(MANY - 1):
        assert gc.isenabled()


def test_failure_turns_it_on_again() -> None:
    def fail() -> None:
        assert not gc.isenabled()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), collector_waiting(MANY):
        fail()
    assert gc.isenabled()


def test_where_the_program_turned_it_off_it_stays_off() -> None:
    gc.disable()
    with collector_waiting(MANY):
        assert not gc.isenabled()
    assert not gc.isenabled()


def test_blocks_may_lie_in_each_other() -> None:
    with collector_waiting(MANY):
        with collector_waiting(MANY):
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_threads_take_turns_slice_by_slice() -> None:
    """A load of any size keeps another one waiting for a slice at most, and the two never run at once."""
    order: list[str] = []
    begun = Event()

    def load(name: str, slices: int) -> list[int]:
        def make(row: int) -> int:
            if row % SLICE == 0:
                order.append(f"{name} begins")
                begun.set()
                Event().wait(0.002)  # so that another thread would run now, if it might
            if row % SLICE == SLICE - 1:
                order.append(f"{name} ends")
            return row

        return made(make, range(slices * SLICE))

    large = Thread(target=load, args=("large", 40))
    large.start()
    assert begun.wait(20)
    assert load("small", 1) == list(range(SLICE))
    after = len(order)
    large.join(20)
    assert not large.is_alive()
    assert order.index("small ends") < after < len(order), "the large load kept the small one waiting"
    assert all(order[at + 1] == order[at].replace("begins", "ends") for at in range(0, len(order), 2)), order


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_of_a_fork_has_its_own_turn() -> None:
    """The thread that had the turn stayed in the parent."""
    held, go_on = Event(), Event()

    def hold() -> None:
        with collector_waiting(MANY):
            held.set()
            go_on.wait(20)

    holder = Thread(target=hold)
    holder.start()
    assert held.wait(20)
    child = os.fork()
    if not child:
        code = 1
        try:
            if gc.isenabled():
                with collector_waiting(MANY):
                    code = int(gc.isenabled())
        finally:
            os._exit(code)
    go_on.set()
    holder.join(20)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert gc.isenabled()
