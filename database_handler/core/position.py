"""A `Position` is a point in the history of a cluster's writes: what was committed before it lies behind it.

It goes from one process to another as a token, so that the second reads what the first has written, on
whatever server. Beside the place in the log stand the cluster's own number and its timeline, which changes
when a standby is promoted: places of different histories are never compared.

Sources: PostgreSQL 18, "Backup Control Functions", "Control Data Functions", "WAL Internals".
"""

import re
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple, Self

from database_handler.core.exceptions import InvalidValue, ReadOnlyServer
from database_handler.core.lent import Lease
from database_handler.core.messages import Limits, Message, Row
from database_handler.core.session import transmit

__all__ = ["Position", "Written", "asked", "written"]

_TOKEN = re.compile(r"([0-9a-f]{16})-([0-9a-f]{8})-([0-9a-f]{16})", re.ASCII)
_PAGE = 8192  # bytes of a page of the log; other sizes exist, and lose nothing by this
_HEADERS = 24, 40  # bytes at the beginning of a page, and of a file


class Position(NamedTuple):
    """A point in the history of a cluster's writes.

    Attributes
    ----------
    cluster : int
        The number that the cluster got when it was made; its standbys have the same.
    timeline : int
        Grows by one when a standby is promoted.
    place : int
        In the write-ahead log, in bytes (PostgreSQL's LSN).
    """

    cluster: int
    timeline: int
    place: int

    @property
    def token(self) -> str:
        """The text that another process gives to ``after=``; it tells nothing of any row."""
        return f"{self.cluster:016x}-{self.timeline:08x}-{self.place:016x}"

    @classmethod
    def of(cls, token: object) -> Self:
        """Read a token; `InvalidValue` where it is none."""
        found = _TOKEN.fullmatch(token) if isinstance(token, str) else None
        if found is None:
            raise InvalidValue("after takes the text that position() gave, as it was given")
        return cls(*(int(part, 16) for part in found.groups()))


class Written(NamedTuple):
    """What a primary has written.

    Attributes
    ----------
    at : float
        By `time.monotonic`, when it was asked: all that was committed before lies behind `position`.
    position : Position
        Up to here it must be replayed somewhere for all that was committed before to be found there.
    flushed : int
        The place in the log up to which it is on the primary's disk, and so may be anywhere else.
    clock : float
        What its own clock said, in seconds since 1970.
    """

    at: float
    position: Position
    flushed: int
    clock: float


# A commit is on the disk when it is told, and with it all that came before. What came after, such as the
# clean-up of a page by a reader, may stay in memory for long where nothing is written: it is not waited for.
# With synchronous_commit=off a commit is told before it is on the disk, so all of that is.
_ASK = (
    "SELECT c.system_identifier::text, "
    "CASE WHEN NOT r.yes THEN left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) END, "
    "CASE WHEN NOT r.yes THEN (CASE current_setting('synchronous_commit') "
    "WHEN 'off' THEN pg_current_wal_insert_lsn() ELSE pg_current_wal_flush_lsn() END - '0/0')::text END, "
    "CASE WHEN NOT r.yes THEN (pg_current_wal_flush_lsn() - '0/0')::text END, "
    "extract(epoch FROM clock_timestamp())::double precision "
    "FROM pg_control_system() AS c, (SELECT pg_is_in_recovery() AS yes) AS r"
)


def written(lend: Callable[[], Lease], seconds: float | None = None) -> Written:
    """Ask the primary how far it has written, in one round trip.

    Raises
    ------
    ReadOnlyServer
        It is a standby, perhaps one that was a primary; its connections are given up.
    """
    lease = lend()
    try:
        started = monotonic()
        cluster, timeline, place, flushed, clock = asked(lease, _ASK, "primary.position", seconds)
        if place is None:
            lease.retire()
    finally:
        lease.release()
    if place is None:
        raise ReadOnlyServer(
            "primary.position: the server is a standby; it takes no writes", sqlstate="25006"
        )
    number = int(cluster) % 2**64  # shown as a signed number
    position = Position(number, int(timeline, 16), _reached(int(place)))
    return Written(started, position, _reached(int(flushed)), clock)


def _reached(place: int) -> int:
    """Give the end of the last record, where the place for the next one lies behind a header.

    For a standby that has replayed all there is stands at the former.
    """
    into = place % _PAGE
    return place - into if into in _HEADERS else place


def asked(lease: Lease, text: str, name: str, seconds: float | None) -> Row:
    """Ask a question whose answer is one row, within so many seconds."""
    return transmit(lease, Message(text, name), Limits(deadline=seconds)).rows[0]
