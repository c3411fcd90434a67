"""Workers take pieces of work under a lease: none is given twice, and none is lost when a worker dies.

A lease stands in three columns of the row that no model shows: the token of the claim that holds it, the
worker's name, and until when by the server's clock. It is no content: taking, extending and giving back move
neither `version` nor `updated_at`, unless they change the status. Each call is one statement.
"""

import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any, ClassVar, Generic, TypeVar
from uuid import UUID, uuid4

from database_handler.core.base_model import Draft, Record, validated_field
from database_handler.core.exceptions import InvalidValue, LeaseLost
from database_handler.core.schema import TENANT, Table
from database_handler.core.session import Statement
from database_handler.repositories import statements
from database_handler.repositories.base import Repository
from database_handler.utils.validators import label

__all__ = ["Claim", "Claims", "HeldLease", "Work"]

D = TypeVar("D", bound=Draft)
R = TypeVar("R", bound=Record)

LEASE = timedelta(minutes=5)
LONGEST_LEASE = timedelta(days=30)
MOST_AT_ONCE = 1000
WORKER_CHARS = 200
STATUS = "status"


@dataclass(frozen=True, slots=True)
class Work:
    """Which status of an entity is waiting to be taken, which is taken, and which follows when it is done.

    Attributes
    ----------
    taken : StrEnum, optional
        What a claim sets; None where the status stays as it is.
    done : mapping
        By the status of a claimed record, what `finish` sets unless it is told.
    """

    waiting: StrEnum
    taken: StrEnum | None
    done: Mapping[StrEnum, StrEnum]

    def sources(self, asked: StrEnum) -> tuple[StrEnum, ...]:
        """Return the statuses that a claim takes from: what a dead worker left stands first."""
        return (self.taken, asked) if self.taken is not None and asked == self.waiting else (asked,)


@dataclass(frozen=True, slots=True)
class Claim(Generic[R]):
    """A piece of work that is one worker's until the lease runs out.

    Attributes
    ----------
    record : Record
        As it stood when it was taken.
    token : UUID
        What `finish`, `extend` and `give_back` show to be the holder.
    until : datetime
        By the server's clock.
    """

    record: R
    token: UUID
    worker: str
    until: datetime


@dataclass(frozen=True, slots=True)
class HeldLease:
    """Who holds a row until when; an expired lease is held until somebody else takes the row."""

    id: UUID
    project_id: UUID
    status: str
    worker: str
    until: datetime
    expired: bool


@dataclass(frozen=True, slots=True)
class _Answer(Generic[R]):
    """What came back from a row: whether it was changed, who holds it until when, and the record."""

    changed: bool
    held: bool
    worker: str | None
    until: datetime | None
    record: R


class Claims(Repository[D, R], Generic[D, R]):
    """`claim`, `extend`, `finish` and `give_back` for an entity whose rows are work to be done."""

    work: ClassVar[Work]

    def claim(
        self,
        n: int = 1,
        project_id: UUID | None = None,
        *,
        lease: float | timedelta = LEASE,
        worker: str | None = None,
        status: str | None = None,
    ) -> list[Claim[R]]:
        """Take up to `n` pieces of work that nobody holds, in one statement and without waiting for a lock.

        First those whose lease ran out, then the oldest by id. Inside a unit the lease runs from this call
        on too, but others see it, and may take the rows once it is over, only after the unit has ended.

        Parameters
        ----------
        n : int
            1 to 1,000; fewer come back where fewer are free.
        project_id : UUID, optional
            Only work of this project. On a cluster the projects that have some are looked for first where it
            is left out: a question to all servers, then a claim for each of them.
        lease : float or timedelta
            Seconds until others may take it again; at most 30 days.
        worker : str, optional
            Who works on it, for people to read; the host and the process unless given.
        status : str, optional
            Take rows of this status instead of those that wait.

        Raises
        ------
        InvalidValue
            One of these is out of range.
        SerializationFailure
            In a unit of repeatable read or serializable: others took some just then; it can be retried.
        """
        asked = self._status(status) or self.work.waiting
        project, count = self._in_project(project_id), _count(n)
        seconds, name = _seconds(lease), _worker(worker)
        if project is not None or not self._session.distributed:
            return self._claim(asked, count, project, seconds, name)
        found: list[Claim[R]] = []
        for project in self._with_work(asked, count):
            found += self._claim(asked, count - len(found), project, seconds, name)
            if len(found) == count:
                break
        return found

    def _with_work(self, asked: StrEnum, count: int) -> Iterable[UUID]:
        """Return the projects of the next pieces of work: on a cluster no lock reaches over projects."""
        sources = [str(source) for source in self.work.sources(asked)]
        rows = self._session.all(_waiting(self.table), [sources, str(asked), count])
        return dict.fromkeys(project for (project,) in rows)

    def _claim(
        self, asked: StrEnum, count: int, project: UUID | None, seconds: float, name: str
    ) -> list[Claim[R]]:
        sources, token = self.work.sources(asked), uuid4()
        values: list[object] = []
        for source in (*sources, asked):
            values += [source, *([] if project is None else [project]), count]
        taken = self.work.taken
        values += [count, token, name, seconds, *([] if taken is None else [taken] * 3)]
        values += [] if project is None else [project]
        text = _claim(self.table, len(sources), taken is not None, project is not None)
        at = 2 + self.table.column_names.index("id")
        rows = sorted(self._session.all(text, values), key=lambda row: (row[0], row[at]))
        return [Claim(self._fill(row[2:]), token, name, row[1]) for row in rows]

    def extend(self, claim: Claim[R], lease: float | timedelta = LEASE) -> Claim[R]:
        """Hold a claim for `lease` seconds from now on, and return it with its new end.

        Raises
        ------
        LeaseLost, RecordNotFound
            Somebody else took the row, or it is gone. A lease that ran out and was not taken is extended.
        """
        answer = self._held(claim, (_UNTIL,), [_seconds(lease)])
        return replace(claim, until=answer.until or claim.until)

    def finish(
        self, claim: Claim[R], status: str | None = None, *, overwrite: bool = False, **changes: Any
    ) -> R:
        """Write the result and the new status, and end the lease, in one statement.

        Parameters
        ----------
        status : str, optional
            Unless given, what follows the status of the claimed record.
        overwrite : bool
            Write also where somebody changed the record since it was claimed.
        **changes
            Fields of the draft, as for `update`.

        Raises
        ------
        LeaseLost, RecordNotFound
            Somebody else took the row, or it is gone; nothing was written.
        StaleRecord
            The record was changed since; nothing was written, and the lease is still held.
        """
        self._expect(claim)
        valid = self._changes(changes) if changes else {}
        valid[STATUS] = self._status(status) or self._done(claim.record)
        version = None if overwrite else claim.record.version
        names = tuple(sorted(valid))
        sets = (*(f"{name} = %s::{self.table.column(name).type}" for name in names), _ENDED, _TOUCHED)
        checks = _checks(self.table, names)
        values = [*(self._sent(valid[name]) for name in names), claim.token, version]
        values += [valid[name] for name in statements.guarded(self.table, names)]

        def send() -> _Answer[R]:
            marks: list[Any] = [*self._metadata.change_mark(valid, None, [claim.record])]
            if marks and self.table.keeps_metadata:
                marks = [getattr(claim.record, TENANT), *marks]
            return self._sent_for(claim, _held(self.table, sets, checks), [*values, *marks])

        def ended(answer: _Answer[R]) -> bool:
            record = answer.record
            return answer.changed or not answer.held or self._is_in_the_way(record, version, valid)

        answer = self._metadata.sent(lambda: [self._metadata.project_of(claim.record)], send, ended)
        if answer.held and not answer.changed:
            raise self._left_alone(answer.record, version, valid)
        return self._kept(answer).record

    def give_back(self, claim: Claim[R]) -> R:
        """End the lease so that others can take the row at once, and return the record.

        Raises
        ------
        LeaseLost, RecordNotFound
            Somebody else took the row, or it is gone.
        """
        taken, waiting = self.work.taken, self.work.waiting
        if taken is None:
            return self._held(claim, (_ENDED,), []).record
        sets = (_ENDED, f"status = CASE WHEN t.status = %s THEN %s ELSE t.status END, {_GIVEN_BACK}")
        return self._held(claim, sets, [taken, waiting, taken, taken]).record

    def claims(self, project_id: UUID | None = None, *, limit: int = 1000) -> list[HeldLease]:
        """Return who holds what until when, the first to run out first."""
        if type(limit) is not int or not 1 <= limit <= 10_000:
            raise InvalidValue("claims: limit is a whole number from 1 to 10,000")
        project = self._in_project(project_id)
        statuses = [str(status) for status in type(self.work.waiting)]
        values = [statuses, *([] if project is None else [project]), limit]
        return [
            HeldLease(*row) for row in self._session.all(_listed(self.table, project is not None), values)
        ]

    # --------------------------------------------------------------------------------------------- common

    def _held(self, claim: Claim[R], sets: tuple[str, ...], values: list[Any]) -> "_Answer[R]":
        """Change the lease of a row if the claim holds it."""
        self._expect(claim)
        return self._kept(self._sent_for(claim, _held(self.table, sets, ""), [*values, claim.token, None]))

    def _sent_for(self, claim: Claim[R], statement: Statement, values: list[Any]) -> "_Answer[R]":
        key = [claim.record.id, getattr(claim.record, TENANT)]
        rows = self._session.all(statement, [*key, *values, key[1], claim.token])
        if not rows:
            raise self._not_found(claim.record.id)
        changed, held, worker, until, *record = rows[0]
        return _Answer(changed, held, worker, until, self._fill(tuple(record)))

    def _kept(self, answer: "_Answer[R]") -> "_Answer[R]":
        if answer.changed:
            return answer
        holder = "another worker" if answer.worker else "nobody"
        raise LeaseLost(
            f"{self.table.name}: the lease on {answer.record.id} is held by {holder} now; nothing was "
            "written. Claim again, or decide with error.current",
            current=answer.record,
            worker=answer.worker,
            table=self.table.name,
        )

    def _expect(self, claim: object) -> None:
        if isinstance(claim, Claim) and isinstance(claim.record, self.record) and type(claim.token) is UUID:
            self._in_project(getattr(claim.record, TENANT))
        else:
            raise InvalidValue(f"a Claim of {self.table.name} is wanted, as claim() gives it")

    def _in_project(self, project_id: object) -> UUID | None:
        if project_id is None:
            return self._project_id
        project: UUID = validated_field(self.draft, TENANT, project_id)
        if self._project_id not in (None, project):
            raise InvalidValue(f"{self.table.name}: this unit is held to another project")
        return project

    def _status(self, status: object) -> StrEnum | None:
        return None if status is None else validated_field(self.draft, STATUS, status)

    def _done(self, record: R) -> StrEnum:
        status: StrEnum = getattr(record, STATUS)
        return self.work.done.get(status, status)


# ----------------------------------------------------------------------------------------------- statements

# The server's clock at the message, not at the transaction's beginning: in a long unit now() is the past. It
# is STABLE, so that an index can be asked for it, and a cluster lets it stand in an UPDATE.
_NOW = "statement_timestamp()"
_UNTIL = f"lease_until = {_NOW} + make_interval(secs => %s::double precision)"
_ENDED = "lease_holder = NULL, lease_worker = NULL, lease_until = NULL"
_TOUCHED = "version = t.version + 1, updated_at = now()"


def _touched_if(comparison: str, moment: str) -> str:
    """Move the version of a row whose status changes, and of no other.

    `moment` is a column with now(): a cluster takes no function in a CASE of an UPDATE that is not immutable.
    """
    changes = f"t.status {comparison} %s"
    return (
        f"version = t.version + CASE WHEN {changes} THEN 1 ELSE 0 END, "
        f"updated_at = CASE WHEN {changes} THEN {moment} ELSE t.updated_at END"
    )


_GIVEN_BACK = _touched_if("=", "current.moment")


def _checks(table: Table, names: tuple[str, ...]) -> str:
    """Hold a change to the table's moves and to its project's JSON Schema, as an update does."""
    moves = (
        f" AND {statements.permitted(table, name, 'current', '%s')}"
        for name in statements.guarded(table, names)
    )
    return "".join(moves) + (statements.same_schema(table, True) if statements.marked(table, names) else "")


@lru_cache(maxsize=256)
def _claim(table: Table, sources: int, sets_status: bool, scoped: bool) -> Statement:
    """Lock what is free, skipping what others lock, and take it.

    A turn for each status whose leases ran out, and a last one for what is free. Each reads the index
    (status, lease_until, id), or with a project (status, project_id, lease_until, id), from its first row
    on, and locks a row only when it is asked for one, so that no more are locked than are taken. The limits
    are plain numbers, for which the planner takes the index however many rows wait.
    """
    turns = " UNION ALL ".join(
        f"SELECT {turn} AS turn, {TENANT}, id, now() AS moment "
        f"FROM ({_turn(table, turn < sources, scoped)}) AS turn_{turn}"
        for turn in range(sources + 1)
    )
    status = f", status = %s, {_touched_if('<>', 'c.moment')}" if sets_status else ""
    text = (
        f"WITH chosen AS MATERIALIZED ({turns} LIMIT %s) "
        f"UPDATE {table.name} AS t SET lease_holder = %s::uuid, lease_worker = %s, {_UNTIL}{status} "
        f"FROM chosen AS c WHERE t.{TENANT} = c.{TENANT} AND t.id = c.id"
        f"{statements.scope(table, scoped, 't.')} "
        f"RETURNING c.turn, t.lease_until, {statements.columns(table, 't.')}"
    )
    return Statement(text, f"{table.name}.claim", writes=True, table=table.name)


def _turn(table: Table, expired: bool, scoped: bool) -> str:
    free = f"lease_until <= {_NOW}" if expired else "lease_until IS NULL"
    return (
        f"SELECT {TENANT}, id FROM {table.name} WHERE status = %s AND {free}"
        f"{statements.scope(table, scoped)} ORDER BY lease_until, id LIMIT %s FOR NO KEY UPDATE SKIP LOCKED"
    )


@lru_cache(maxsize=256)
def _waiting(table: Table) -> Statement:
    """Name the projects of what is free; what a dead worker left stands first, as in a claim."""
    text = (
        f"SELECT {TENANT} FROM {table.name} WHERE (status = ANY(%s) AND lease_until <= {_NOW}) "
        f"OR (status = %s AND lease_until IS NULL) ORDER BY lease_until, id LIMIT %s"
    )
    return Statement(text, f"{table.name}.with_work")


@lru_cache(maxsize=256)
def _held(table: Table, sets: tuple[str, ...], checks: str) -> Statement:
    """Change a row that a claim holds; gives (changed, held, the holder's name, the end, the record)."""
    names = statements.columns(table)
    text = (
        f"WITH current AS MATERIALIZED (SELECT {names}, lease_holder, lease_worker, lease_until, "
        f"now() AS moment FROM {table.name} WHERE id = %s AND {TENANT} = %s FOR NO KEY UPDATE), "
        f"changed AS (UPDATE {table.name} AS t SET {', '.join(sets)} FROM current "
        f"WHERE t.{TENANT} = current.{TENANT} AND t.id = current.id AND current.lease_holder = %s::uuid "
        f"AND current.version = coalesce(%s::bigint, current.version){checks} AND t.{TENANT} = %s "
        f"RETURNING t.lease_until, {statements.columns(table, 't.')}) "
        f"SELECT true, true, NULL::text, lease_until, {names} FROM changed UNION ALL "
        f"SELECT false, coalesce(lease_holder = %s::uuid, false), lease_worker, lease_until, {names} "
        f"FROM current WHERE NOT EXISTS (SELECT FROM changed)"
    )
    return Statement(text, f"{table.name}.lease", writes=True, table=table.name)


@lru_cache(maxsize=256)
def _listed(table: Table, scoped: bool) -> Statement:
    # The statuses, all of them, are there for the index, which begins with the status.
    text = (
        f"SELECT id, {TENANT}, status, lease_worker, lease_until, lease_until <= {_NOW} FROM {table.name} "
        f"WHERE status = ANY(%s) AND lease_until IS NOT NULL{statements.scope(table, scoped)} "
        f"ORDER BY lease_until, id LIMIT %s"
    )
    return Statement(text, f"{table.name}.claims")


# -------------------------------------------------------------------------------------------------- values


def _count(n: object) -> int:
    if type(n) is int and 1 <= n <= MOST_AT_ONCE:
        return n
    raise InvalidValue(f"claim: n is a whole number from 1 to {MOST_AT_ONCE:,}")


def _seconds(lease: object) -> float:
    seconds = lease.total_seconds() if isinstance(lease, timedelta) else lease
    known = not isinstance(seconds, bool)
    if known and isinstance(seconds, int | float) and 0 < seconds <= LONGEST_LEASE.total_seconds():
        return float(seconds)
    raise InvalidValue("lease: seconds, or a timedelta, above 0 and at most 30 days")


def _worker(worker: object) -> str:
    if worker is None:
        return f"{socket.gethostname()}:{os.getpid()}"[:WORKER_CHARS]
    name = label(worker) if isinstance(worker, str) else ""
    if 1 <= len(name) <= WORKER_CHARS:
        return name
    raise InvalidValue(f"worker: a name of 1 to {WORKER_CHARS} characters")
