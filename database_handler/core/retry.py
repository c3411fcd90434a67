"""Runs a unit again where that may help, never past its deadline, and says why it stopped.

Sources: PostgreSQL 18, "Serialization Failure Handling"; the pauses are exponential with full jitter, so that
losers of one race do not meet again at once.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from time import sleep
from typing import TypeVar

from database_handler.core.deadline import Deadline
from database_handler.core.exceptions import (
    CommitOutcomeUnknown,
    DatabaseHandlerError,
    DeadlineExceeded,
    InvalidValue,
    LockTimeout,
    ReadOnlyServer,
    RetriesExhausted,
)
from database_handler.utils.logger import get_logger

__all__ = ["RetryPolicy", "retried"]

_log = get_logger(__name__)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0  # seconds

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Which failures are worth another try, beside those that say so themselves.

    Attributes
    ----------
    retries : int
        How many times more, 0 to 1,000.
    lock_timeouts : bool
        A lock that was not had.
    unknown_outcomes : bool
        A COMMIT of which nobody knows; right only where the unit knows whether it was done before.
    writes : bool
        Whether a server that takes no writes may be the wrong one; tried once more, on a new connection.
    """

    retries: int = 3
    lock_timeouts: bool = False
    unknown_outcomes: bool = False
    writes: bool = True

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if type(self.retries) is not int or not 0 <= self.retries <= 1000:
            raise InvalidValue("retries is a whole number from 0 to 1,000")
        if not isinstance(self.lock_timeouts, bool):
            raise InvalidValue("retry_lock_timeouts is True or False")

    def helps(self, failure: DatabaseHandlerError, *, moved: bool) -> bool:
        """Whether another try may succeed; `moved`: another server was looked for already."""
        if isinstance(failure, ReadOnlyServer):
            return self.writes and not moved
        return (
            failure.retryable
            or (self.lock_timeouts and isinstance(failure, LockTimeout))
            or (self.unknown_outcomes and isinstance(failure, CommitOutcomeUnknown))
        )


def retried(
    attempt: Callable[[], T], policy: RetryPolicy, deadline: Deadline, note: Callable[[str], None]
) -> T:
    """Call `attempt` until it succeeds, or fails in a way that another try would not mend.

    Parameters
    ----------
    note : callable
        Is told each failure that led to another try: its SQLSTATE, or its class where it has none.

    Raises
    ------
    RetriesExhausted
        It failed ``policy.retries + 1`` times; the last failure is the cause.
    DeadlineExceeded
        Time was up before the next try; the last failure is the cause.
    DatabaseHandlerError
        A failure that another try would not mend, as it is.
    """
    moved = False
    for tried in count():
        try:
            return attempt()
        except DatabaseHandlerError as failure:
            if not policy.retries or not policy.helps(failure, moved=moved):
                raise
            if tried == policy.retries:
                raise RetriesExhausted(f"the unit failed {tried + 1} times, last: {failure}") from failure
            moved = moved or isinstance(failure, ReadOnlyServer)
            note(failure.sqlstate or type(failure).__name__)
            _pause(tried, failure, deadline)
            if deadline.passed:
                raise DeadlineExceeded(
                    f"the unit failed {tried + 1} times, last: {failure}; its deadline has passed"
                ) from failure
    raise AssertionError("unreachable: the loop has no end")


def _pause(tried: int, failure: DatabaseHandlerError, deadline: Deadline) -> None:
    longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(tried, 30))
    seconds = deadline.within(random.uniform(0, longest)) or 0  # noqa: S311  # no secret
    _log.info("unit_of_work.retry", tried=tried + 1, error=type(failure).__name__, pause=round(seconds, 3))
    sleep(seconds)
