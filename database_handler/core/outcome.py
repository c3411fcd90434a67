"""What became of a COMMIT whose reply was lost: the transaction's id tells, if it is asked in time and there.

The id rides in the first writing message, in ``application_name``, which the server reports by itself: no
column, no round trip. Beside it stands the server's epoch: its timeline, which changes when a standby is
promoted, and the moment of its last recovery from a crash. An id of another epoch may be another
transaction's: one that had written nothing to the disk before a crash is given out again after it.

Sources: PostgreSQL 18, "pg_xact_status", "pg_walfile_name" (its first eight digits are the timeline), "The
Cumulative Statistics System" (a recovery from a crash resets them, and the moment can be asked for).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from time import sleep
from typing import Literal

import psycopg2.extensions as driver

from database_handler.core.deadline import Deadline
from database_handler.core.session import Session, Statement

__all__ = ["MARK", "Mark", "Outcome", "marked", "outcome_of"]

Outcome = Literal["committed", "aborted", "in progress", "another epoch"]

_EPOCH = (
    "left(md5(left(pg_walfile_name(pg_current_wal_lsn()),8)||"
    "coalesce(extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time())::text,'')),8)"
)
# The id comes first: a server that takes no writes refuses it by the SQLSTATE that says so.
MARK = (
    "SELECT set_config('application_name',left(current_setting('application_name'),29)||' xid '||"
    f"pg_current_xact_id()||' '||{_EPOCH},true);"
)
_MARKED = re.compile(r" xid (\d+) ([0-9a-f]{8})$")


@dataclass(frozen=True, slots=True)
class Mark:
    """A transaction, by what the server calls it, and the server's epoch that the number belongs to."""

    transaction_id: int
    epoch: str


def marked(connection: driver.connection) -> Mark | None:
    """Read the mark that the server has reported; it costs no round trip."""
    found = _MARKED.search(connection.get_parameter_status("application_name") or "")
    return Mark(int(found[1]), found[2]) if found else None


_ASK = Statement(
    f"SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE {_EPOCH} END, pg_xact_status(%s::text::xid8)",
    "transaction.outcome",
)
# By the id alone: it is one backend's at most, and behind a pooler the process number is made up.
_TERMINATE = Statement(
    "SELECT pg_terminate_backend(pid, %s) FROM pg_stat_activity WHERE backend_xid = (%s::text::xid8)::xid",
    "transaction.terminate",
)
_PATIENCE = 10.0  # seconds, where nothing else bounds it
_TERMINATING = 1.0  # seconds that the server may wait for the end of a backend
_ASK_AGAIN = 0.05


def outcome_of(mark: Mark, sessions: Callable[[], Session], deadline: Deadline) -> Outcome | None:
    """Ask a server what became of a transaction; None where it no longer knows.

    A backend that is still in it, and might commit later, is ended first.

    Parameters
    ----------
    sessions : callable
        Gives a session to ask with, over another connection.
    deadline : Deadline
        When to give up; set by this call where it is not.

    Raises
    ------
    DatabaseHandlerError
        Nobody could be asked.
    """
    deadline.narrow(_PATIENCE)
    number = str(mark.transaction_id)
    session = sessions()
    while True:
        epoch, status = session.one(_ASK, [number])
        if epoch != mark.epoch:
            return "another epoch"
        if status != "in progress" or deadline.passed:
            return status  # type: ignore[no-any-return]  # of the server's words, or NULL for one too old
        wait = int(1000 * (deadline.within(_TERMINATING) or _TERMINATING))
        if not session.all(_TERMINATE, [wait, number]):
            sleep(_ASK_AGAIN)
