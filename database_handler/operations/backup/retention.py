"""Which backups are kept is a pure function of their times, in UTC: of each period the newest.

As restic and borg count: the last n days (ISO weeks, months) *that have a backup* each keep their newest.
A pause in the backups therefore never empties the place.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from database_handler.core.exceptions import InvalidValue

__all__ = ["Retention", "retained"]

_MOST = 100_000


@dataclass(frozen=True, slots=True)
class Retention:
    """How many days, weeks and months keep a backup; 0 is none of them."""

    daily: int = 7
    weekly: int = 4
    monthly: int = 12

    def __post_init__(self) -> None:
        """Refuse what is no count."""
        for name in ("daily", "weekly", "monthly"):
            value = getattr(self, name)
            if type(value) is not int or not 0 <= value <= _MOST:
                raise InvalidValue(f"{name}: a whole number from 0 to {_MOST:,} is wanted")


def _day(moment: datetime) -> tuple[int, ...]:
    return moment.year, moment.month, moment.day


def _week(moment: datetime) -> tuple[int, ...]:
    return tuple(moment.isocalendar()[:2])


def _month(moment: datetime) -> tuple[int, ...]:
    return moment.year, moment.month


def retained(moments: Iterable[datetime], retention: Retention) -> frozenset[datetime]:
    """Return the moments that are kept; the newest is always among them.

    >>> from datetime import timedelta
    >>> noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    >>> days = [noon - timedelta(days=n) for n in range(30)]
    >>> sorted(moment.day for moment in retained(days, Retention(2, 0, 0)))
    [1, 28]
    """
    newest_first = sorted(set(moments), reverse=True)
    kept = set(newest_first[:1])
    rules: tuple[tuple[Callable[[datetime], tuple[int, ...]], int], ...] = (
        (_day, retention.daily),
        (_week, retention.weekly),
        (_month, retention.monthly),
    )
    for period_of, most in rules:
        newest: dict[tuple[int, ...], datetime] = {}
        for moment in newest_first:
            newest.setdefault(period_of(moment.astimezone(UTC)), moment)
        kept.update(list(newest.values())[:most])
    return frozenset(kept)
