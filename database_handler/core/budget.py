"""Counts the statements of a unit by their shape: too many are refused, one sent over and over is told."""

from collections import Counter
from dataclasses import dataclass

from database_handler.core.exceptions import InvalidValue, StatementBudgetExceeded
from database_handler.core.statement_name import unnamed
from database_handler.utils.logger import get_logger

__all__ = ["Budget", "StatementCount"]

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Budget:
    """How many statements a unit may send, and how often one shape before a log event says so.

    Attributes
    ----------
    statements : int, optional
        The most in all; one more is refused before it is sent.
    repeats : int, optional
        How often the same text may be sent, whatever its values: more often, and it is an "N+1", which one
        statement over many rows would do in one round trip.
    """

    statements: int | None = None
    repeats: int | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        for name, value in (("max_statements", self.statements), ("repeated_statements", self.repeats)):
            if value is not None and (type(value) is not int or not 1 <= value <= 1_000_000_000):
                raise InvalidValue(f"{name} is a whole number from 1 to 1,000,000,000, or None")


class StatementCount:
    """What one unit has sent."""

    __slots__ = ("_budget", "_shapes", "_total")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._shapes: Counter[str] = Counter()
        self._total = 0

    def add(self, text: str, name: str) -> None:
        """Count a statement that is about to be sent.

        Raises
        ------
        StatementBudgetExceeded
            It is one too many; it was not sent.
        """
        most, often = self._budget.statements, self._budget.repeats
        if most is not None and self._total >= most:
            raise StatementBudgetExceeded(
                f"{name}: this unit has sent {most} statements, which is its max_statements; "
                f"most often: {self._most_often()}"
            )
        self._total += 1
        if often is None and most is None:
            return
        self._shapes[text] += 1
        if often is not None and self._shapes[text] == often + 1:
            _log.warning(
                "repeated_statement",
                statement=name,
                times=often + 1,
                remedy="one call over many rows, such as get_many or create_many, is one round trip",
            )

    def _most_often(self) -> str:
        return "; ".join(f"{times} x {_short(text)}" for text, times in self._shapes.most_common(3))


def _short(text: str) -> str:
    words = " ".join(unnamed(text).split())
    return words if len(words) <= 80 else words[:77] + "..."
