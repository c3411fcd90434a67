"""Batches: what is done again and again, each time in a transaction of its own, until nothing is left.

An SQL section is one statement that takes some of the rows that are left; a Python function says where it
stopped. Neither may go on for ever: an UPDATE that has changed far more rows than its table has changes
the same ones again, and a function that stops twice at one place is told so.
"""

import datetime as dt
import json
import time
from decimal import Decimal
from random import SystemRandom
from uuid import UUID

from database_handler.core.exceptions import InvalidValue
from database_handler.core.session import Session, Statement
from database_handler.core.sql_text import TokenKind, significant_tokens
from database_handler.migrations.files.migration import SqlStatement
from database_handler.migrations.files.planning import BatchProgress
from database_handler.utils.logger import get_logger

__all__ = ["EndGuard", "Pace", "exhaust", "place_after"]

_log = get_logger(__name__)
_jitter = SystemRandom()
_PAUSE_SHARE = 0.1  # of the time that a batch took: others get their turn, and replicas keep up
_LONGEST_PAUSE = 1.0
_TELL_SECONDS = 5.0
_SPARE_ROWS = 10_000
_PLAIN = (str, int, float, bool, list, dict)
_AS_TEXT = (UUID, dt.datetime, dt.date, dt.time, Decimal)


def place_after(returned: object, before: object) -> object:
    """Return where a Python batch stopped as the history keeps it; None when it is done.

    Raises
    ------
    InvalidValue
        It is no value that JSON can hold, or the place where the batch before stopped.
    """
    if returned is None:
        return None
    try:
        kept: object = json.loads(json.dumps(returned, default=_as_text, allow_nan=False))
    except (TypeError, ValueError):
        raise InvalidValue(
            f"it returned a {type(returned).__name__}: return where it stopped as a value that JSON holds (a "
            "number, text, a list of these), or None when all is done"
        ) from None
    if kept == before:
        raise InvalidValue(
            "it returned the same place twice, so it would never end: return where this batch stopped, or "
            "None when all is done"
        )
    return kept


def _as_text(value: object) -> str:
    if isinstance(value, _AS_TEXT):
        return str(value)
    raise TypeError


class Pace:
    """A short rest after each batch, and a word now and then about how far it is."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._started = self._told = time.monotonic()

    def rest(self, batch: BatchProgress) -> None:
        """Rest for a tenth of the time that the batch took, at most a second."""
        now = time.monotonic()
        if now - self._told >= _TELL_SECONDS:
            self._told = now
            _log.info("migration.batches", version=self._version, batches=batch.batches, rows=batch.rows)
        pause = min((now - self._started) * _PAUSE_SHARE, _LONGEST_PAUSE)
        time.sleep(_jitter.uniform(0.5, 1.0) * pause)
        self._started = time.monotonic()


class EndGuard:
    """Stops an UPDATE or MERGE that has changed more than twice the rows that its table has.

    The rows are counted only when the planner's estimate is passed, so that a run as it should be does not.
    """

    def __init__(self, statement: SqlStatement) -> None:
        self._statement = statement
        self._allowed: float | None = None
        self._counted = False
        self._changed = 0

    def changed(self, session: Session, rows: int) -> None:
        """Note what a batch changed.

        Raises
        ------
        InvalidValue
            It has changed too many.
        """
        self._changed += rows
        if self._allowed is None:
            self._allowed = self._estimated(session)
        if self._changed > self._allowed and not self._counted:
            self._counted = True
            self._allowed = self._bound(session)
        if self._changed > self._allowed:
            raise InvalidValue(
                f"{self._changed:,} rows were changed, more than twice what the table has: it changes the "
                "same rows again and again. Each batch must leave out, by its WHERE, the rows that are done "
                "(an expression that gives NULL never makes `IS NULL` false)"
            )

    def _estimated(self, session: Session) -> float:
        target = self._target()
        if target is None:
            return float("inf")
        [(found,)] = session.all(_ESTIMATE, [target])
        return float(max(found or 0, 0)) + _SPARE_ROWS

    def _bound(self, session: Session) -> float:
        [(found,)] = session.all(Statement(f"SELECT count(*) FROM {self._target()}", "migrations.rows"))
        return 2.0 * float(found) + _SPARE_ROWS

    def _target(self) -> str | None:
        """Return the table that an UPDATE or MERGE changes; None for others, which end by themselves."""
        depth, words = 0, [*significant_tokens(self._statement.text)]
        for place, token in enumerate(words):
            depth += (token.text == "(") - (token.text == ")")
            verb = token.text.upper() if not depth and token.kind is TokenKind.WORD else ""
            if verb in {"UPDATE", "MERGE"}:
                return _name([found.text for found in words[place + 1 :]])
            if verb in {"INSERT", "DELETE"}:
                return None
        return None


def _name(texts: list[str]) -> str:
    while texts[:1] and texts[0].upper() in {"ONLY", "INTO"}:
        texts = texts[1:]
    found = texts[0]
    for dot, part in zip(texts[1::2], texts[2::2], strict=False):
        if dot != ".":
            break
        found += f".{part}"
    return found


_ESTIMATE = Statement(
    "SELECT reltuples::float8 FROM pg_catalog.pg_class WHERE oid = to_regclass(%s)", "migrations.estimate"
)


def exhaust(session: Session, statement: SqlStatement, name: str) -> int:
    """Run a batched statement until it changes no row, all in the session's own transaction; count the rows.

    For scratch copies, where nothing is recorded.
    """
    guard, total = EndGuard(statement), 0
    while rows := session.run(Statement(statement.text, name, writes=True)):
        total += rows
        guard.changed(session, rows)
    return total
