"""Fetches the plan of a slow read afterwards, beside the application's work, and logs it without a value.

The caller of the slow statement puts its text into a short queue and goes on. A thread of the observer's own
asks for the plan, seldom, on a connection that nobody waits for, in a read-only transaction with limits of
its own. The statement is never run: it is EXPLAIN without ANALYZE, of the text with ``$1`` in the place of
each value (GENERIC_PLAN, PostgreSQL 16 and later), and what literals are left in the plan become ``?``.
"""

import json
import os
import random
from queue import Empty, Full, Queue
from threading import Event, Thread
from time import monotonic
from typing import Any, Final
from weakref import ref

from database_handler.core.deadline import checked_seconds
from database_handler.core.events import Events, Target, Told
from database_handler.core.exceptions import DatabaseHandlerError, InvalidSql, InvalidValue
from database_handler.core.session import Limits, Statement
from database_handler.core.sql_text import SqlTextError, TokenKind, statements, tokens
from database_handler.core.transaction import Transaction, TransactionOptions
from database_handler.operations.monitoring.redaction import redacted_plan
from database_handler.utils.arguments import checked
from database_handler.utils.logger import get_logger

__all__ = ["SlowPlans"]

_log = get_logger("database_handler.plan")
_ASKING: Final = 2.0  # seconds for the borrow, and again for the question
_QUEUE: Final = 8
_LOOK: Final = 0.5  # seconds after which the thread looks whether its database is still there
_OVER: Final = 5.0  # seconds that the end of the thread is waited for


class SlowPlans:
    """Logs the plans of slow reads, as the event ``slow statement plan`` of ``database_handler.plan``.

    Parameters
    ----------
    after : float
        Seconds from which on a read is slow.
    every : float
        At most one plan in so many seconds.
    share : float
        Of the slow ones, how many are looked at: from 0 to 1, by chance.

    Examples
    --------
    >>> db.observe(SlowPlans(after=1))
    """

    def __init__(self, after: float, *, every: float = 60.0, share: float = 1.0) -> None:
        for name, value in (("after", after), ("every", every)):
            if value is None:
                raise InvalidValue(f"{name} is a number of seconds")
            checked_seconds(name, value)
        if not isinstance(share, int | float) or isinstance(share, bool) or not 0 <= share <= 1:
            raise InvalidValue("share is a number from 0 to 1")
        self.after, self.every, self.share = after, every, share

    @checked
    def attach(self, target: Target) -> Events:
        """Look at the slow reads of a database, from now on; `Database.observe` calls this."""
        return _Plans(self, target)


class _Plans(Events):
    """One database's part: its queue, and the thread that reads it once there is something in it."""

    def __init__(self, wanted: SlowPlans, target: Target) -> None:
        self._wanted = wanted
        self._pool = ref(target.pool)
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._queue: Queue[Told] = Queue(_QUEUE)
        self._closing = Event()
        self._next = 0.0
        self._thread: Thread | None = None

    def statement(self, told: Told) -> None:
        if told.seconds < self._wanted.after or not told.reads or told.failure is not None or not told.text:
            return
        if os.getpid() != self._process:  # a fork has no threads of its parent's
            self._begin()
        now = monotonic()
        if now < self._next or random.random() >= self._wanted.share:  # noqa: S311  # no secret
            return
        self._next = now + self._wanted.every
        try:
            self._queue.put_nowait(told)
        except Full:
            return
        if self._thread is None and not self._closing.is_set():
            self._thread = Thread(
                target=_explain, args=(self._queue, self._closing, self._pool), daemon=True,
                name="database-handler-plans",
            )  # fmt: skip
            self._thread.start()

    def close(self) -> None:
        self._closing.set()
        if self._thread is not None and self._process == os.getpid():
            self._thread.join(_OVER)


def _explain(queue: "Queue[Told]", closing: Event, pool: "ref[Any]") -> None:
    """Read the queue until the database is closed, or collected without that."""
    while not closing.is_set() and pool() is not None:
        try:
            told = queue.get(timeout=_LOOK)
        except Empty:
            continue
        lender = pool()
        if lender is not None and not closing.is_set():
            _told_plan(told, lender)
        del lender


def _told_plan(told: Told, pool: Any) -> None:
    stats = pool.stats()
    if stats.waiting or not (stats.idle or stats.size < stats.max_size):
        _log.debug("slow statement plan left out", statement=told.name, why="the pool is busy")
        return
    asking = Transaction(
        lambda: pool.borrow(timeout=_ASKING, purpose="plan"),
        TransactionOptions(read_only=True, statement_timeout=_ASKING, lock_timeout=_ASKING),
        Limits(deadline=_ASKING),
    )
    try:
        plan = _plan(asking, numbered(told.text, placeholders=told.bound))
    except DatabaseHandlerError as failure:
        _log.info(
            "slow statement plan left out",
            statement=told.name,
            why=type(failure).__name__,
            sqlstate=failure.sqlstate,
        )
    except Exception as failure:  # noqa: BLE001  # the thread goes on with the next
        _log.error("slow statement plan left out", statement=told.name, why=type(failure).__name__)
    else:
        _log.warning("slow statement plan", statement=told.name, seconds=round(told.seconds, 6), plan=plan)


def _plan(transaction: Transaction, text: str) -> object:
    asking = Statement(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {text}", "plans.explain")
    with transaction as session:
        [found] = session.one(asking)
    plan = json.loads(found) if isinstance(found, str) else found
    return redacted_plan(plan[0]["Plan"])


def numbered(text: str, *, placeholders: bool) -> str:
    """Put ``$1``, ``$2`` for the placeholders of the driver; `InvalidSql` for more than one statement."""
    try:
        pieces = list(tokens(text, placeholders=placeholders))
    except SqlTextError as error:
        raise InvalidSql(f"the text cannot be read: {error}") from None
    numbers: dict[str, int] = {}
    written = []
    for place, piece in enumerate(pieces):
        name = piece.text
        if placeholders and piece.kind is TokenKind.PARAMETER and name.startswith("%"):
            key = f"{place}" if name == "%s" else name
            written.append(f"${numbers.setdefault(key, len(numbers) + 1)}")
        else:
            written.append(name.replace("%%", "%") if placeholders else name)
    asked = "".join(written)
    if len(statements(asked)) != 1:
        raise InvalidSql("only one statement can be explained")
    return asked
