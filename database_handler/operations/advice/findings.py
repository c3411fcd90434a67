"""What advice is made of: findings, what could not be seen, and from which limits on something is told."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from database_handler.config.configuration import Configuration

__all__ = ["Advice", "AdviceLimits", "Finding", "FindingKind", "Severity"]

FindingKind = Literal[
    "unused index",
    "duplicate index",
    "invalid index",
    "foreign key without index",
    "wants vacuum",
    "wants analyze",
    "long transaction",
    "idle in transaction",
    "prepared transaction",
    "blocking session",
    "wraparound",
    "sequence near its end",
    "setting",
]
Severity = Literal["urgent", "warning", "note"]


class Finding(BaseModel, frozen=True):
    """One thing that should be looked at.

    Attributes
    ----------
    object : str
        What it is about, as SQL spells it; a session by its process number.
    why : str
        What was seen. It holds no row's value, and of other sessions' SQL a name or the first word.
    remedy : str
        What to do about it.
    sql : tuple of str
        Statements that do so, where there are any.
    numbers : mapping of str to float
        What was measured: bytes, rows, seconds, transactions.
    """

    kind: FindingKind
    severity: Severity
    object: str
    why: str
    remedy: str
    sql: tuple[str, ...] = ()
    numbers: Mapping[str, float] = Field(default_factory=dict)


class Advice(BaseModel, frozen=True):
    """What was found, the most urgent first.

    Attributes
    ----------
    counted_since : datetime
        Since when the server counts, at the least: an index that is unused was unused that long.
    unseen : tuple of str
        What could not be looked at, and what would help.
    """

    database: str
    server_version: str
    counted_since: datetime
    findings: tuple[Finding, ...]
    unseen: tuple[str, ...] = ()

    def of(self, kind: FindingKind) -> tuple[Finding, ...]:
        """Return the findings of one kind."""
        return tuple(finding for finding in self.findings if finding.kind == kind)


_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False, le=10**9)]
_SECONDS = "a number of seconds, 0 or more"


class AdviceLimits(Configuration, frozen=True):
    """From which limits on something is told; seconds.

    Attributes
    ----------
    unused_days : float
        The server must have counted for so many days before an index is called unused.
    sequence_used : float
        The part of its numbers that a sequence has given out, 0 to 1.
    """

    unused_days: Annotated[float, Field(ge=0, allow_inf_nan=False, le=100_000)] = Field(
        default=30.0, description="a number of days, 0 or more"
    )
    long_transaction: _Seconds = Field(default=300.0, description=_SECONDS)
    idle_in_transaction: _Seconds = Field(default=60.0, description=_SECONDS)
    blocked: _Seconds = Field(default=1.0, description=_SECONDS)
    sequence_used: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.7, description="more than 0, 1 at most"
    )
