"""Automatic collections wait while many rows become objects, and in no other case."""

import gc
from collections.abc import Iterator

import pytest

from database_handler.utils.collector import MANY, collector_waiting


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
