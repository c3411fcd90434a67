"""What a pool knows of itself: how many, how long waited for, how long held, and why connections went."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf

__all__ = ["BUCKETS", "Closed", "Durations", "PoolCounts", "PoolStats"]

BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, inf)
"""Upper ends of the classes of a duration, in seconds."""

_SHORT = BUCKETS[0]  # most are, and a comparison is quicker than a search


class Closed(StrEnum):
    """Why a connection was closed."""

    DEAD = "found dead when it was to be lent"
    LOST = "lost, or cut at a deadline, while it was held"
    IN_TRANSACTION = "given back in a transaction"
    DISCARDED = "given back as unfit"
    FORGOTTEN = "never given back"
    SURPLUS = "one more than pool_size"
    RETIRED = "of a server that was lost, or takes no writes"
    SHUTDOWN = "the pool was closed"


@dataclass(frozen=True, slots=True)
class Durations:
    """How long something took: the number in each class, and the sum.

    Attributes
    ----------
    counts : tuple of int
        By `BUCKETS`, each class by itself (not cumulated).
    seconds : float
        All of them together.
    """

    counts: tuple[int, ...]
    seconds: float

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)

    def at_most(self, share: float) -> float:
        """Return the upper end of the class in which the fastest `share` (0 to 1) of them ends."""
        wanted, found = share * self.count, 0
        for upper, count in zip(BUCKETS, self.counts, strict=True):
            found += count
            if found >= wanted:
                return upper
        return inf


class _Clock:
    """Durations that are still being added to; its pool's lock guards it."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * len(BUCKETS)
        self.seconds = 0.0

    def read(self) -> Durations:
        return Durations(tuple(self.counts), self.seconds)


class PoolCounts:
    """The pool's counters; whoever changes one holds the pool's lock."""

    __slots__ = ("closed", "opened", "overloads", "retries", "timeouts", "use", "wait")

    def __init__(self) -> None:
        self.wait, self.use = _Clock(), _Clock()
        self.closed: Counter[Closed] = Counter()
        self.retries: Counter[str] = Counter()
        self.opened = self.timeouts = self.overloads = 0

    def used(self, waited: float, held: float) -> None:
        """Count one borrow that is over; written out, for it is a part of each one's cost."""
        wait, use = self.wait, self.use
        wait.counts[bisect_left(BUCKETS, waited) if waited > _SHORT else 0] += 1
        wait.seconds += waited
        use.counts[bisect_left(BUCKETS, held) if held > _SHORT else 0] += 1
        use.seconds += held


@dataclass(frozen=True, slots=True)
class PoolStats:
    """The pool at one instant.

    Attributes
    ----------
    size, max_size : int
        Connections that are open, and the most there may be.
    in_use, idle, connecting, waiting : int
        Lent ones; ones to be lent; attempts under way; borrowers in the queue (those that an attempt is
        under way for among them).
    opened, closed : int
        Connections made and closed since the pool was made.
    wait, use : Durations
        How long each borrow took, and how long what was given back had been held.
    closed_by_reason : mapping
        The closed ones by `Closed`.
    timeouts, overloads : int
        Borrowers that got `PoolTimeout` and `PoolOverloaded`.
    retries : mapping
        Units that were run again by `Database.run`, by the failure's SQLSTATE, or by its class where it
        has none (a lost connection).
    """

    size: int
    max_size: int
    in_use: int
    idle: int
    connecting: int
    waiting: int
    opened: int
    closed: int
    wait: Durations = field(default_factory=_Clock().read)
    use: Durations = field(default_factory=_Clock().read)
    closed_by_reason: Mapping[Closed, int] = field(default_factory=dict)
    timeouts: int = 0
    overloads: int = 0
    retries: Mapping[str, int] = field(default_factory=dict)
