"""A moment that a whole unit must not outlive: each wait on the way is given what is left until then."""

from math import inf
from time import monotonic

from database_handler.core.exceptions import DeadlineExceeded, InvalidValue

__all__ = ["Deadline", "checked_seconds"]


def checked_seconds(name: str, value: object) -> None:
    """Refuse what is no length of time that both PostgreSQL and the platform's clocks can take."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.001 <= value <= 2_147_483:
        raise InvalidValue(f"{name} is a number of seconds from 0.001 to 2,147,483, or None")


class Deadline:
    """The moment, by `time.monotonic`; it can be brought nearer, and never put off.

    Parameters
    ----------
    seconds : float, optional
        From now on; None: there is none yet.
    """

    __slots__ = ("until",)

    def __init__(self, seconds: float | None = None) -> None:
        self.until = inf
        if seconds is not None:
            self.narrow(seconds)

    def copy(self) -> "Deadline":
        """Return the same moment, to be brought nearer by itself."""
        other = Deadline()
        other.until = self.until
        return other

    def narrow(self, seconds: float) -> None:
        """Let it be no later than `seconds` from now."""
        if seconds is None:
            raise InvalidValue("deadline is a number of seconds; one that was set stays")
        checked_seconds("deadline", seconds)
        self.until = min(self.until, monotonic() + seconds)

    @property
    def is_set(self) -> bool:
        """Whether there is one."""
        return self.until != inf

    @property
    def passed(self) -> bool:
        """Whether it is over."""
        return self.until != inf and monotonic() >= self.until

    def within(self, seconds: float | None) -> float | None:
        """Return `seconds`, or what is left if that is less; None where neither bounds anything."""
        if self.until == inf:
            return seconds
        left = max(self.until - monotonic(), 0.001)
        return left if seconds is None else min(left, seconds)

    def check(self, doing: str) -> None:
        """Raise `DeadlineExceeded` once it is over, before anything else is begun."""
        if self.passed:
            raise DeadlineExceeded(f"{doing}: the deadline of this unit has passed; nothing more is sent")
