"""The outbox: a table that changes are written to in the transaction that makes them, and who has read it.

Numbers that are drawn while a transaction runs do not commit in their order: who reads up to 12 while 11 is
still to come would never see 11. So a row carries its transaction's id too, rows are read in the order (id,
number), and only those whose id is below every transaction that still runs (PostgreSQL,
"pg_snapshot_xmin"): below that nothing is added any more.

It is one module because who reads the rows, who keeps a place in them and who takes them away must agree on
that one order.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import BaseModel

from database_handler.core.changes import OUTBOX, READERS, Operation, RowChange
from database_handler.core.exceptions import (
    ConfigurationError,
    DatabaseHandlerError,
    InvalidValue,
    PermissionDenied,
    RecordNotFound,
)
from database_handler.core.session import Session, Statement
from database_handler.utils.arguments import checked

__all__ = [
    "ChangesElsewhere",
    "ChangesGone",
    "Outbox",
    "OutboxReader",
    "OutboxReport",
    "Place",
    "check_there",
    "place_of",
    "reader_name",
    "refuse_gone",
]

PRUNED: Final = "(pruned)"  # among the readers: up to where rows were taken away
SERVER: Final = "(server)"  # likewise: the cluster whose transactions' ids these are, as its position
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,99}")
_POSITION = re.compile(r"(\d{1,20})\.(\d{1,19})")
_AT_ONCE = 10_000  # rows that are taken away by one statement

_PREPARE: Final = f"""
CREATE TABLE IF NOT EXISTS {OUTBOX} (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    position bigint GENERATED ALWAYS AS IDENTITY,
    operation text NOT NULL,
    entity text NOT NULL,
    id uuid,
    project_id uuid,
    version bigint,
    at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT {OUTBOX}_pkey PRIMARY KEY (xid, position),
    CONSTRAINT {OUTBOX}_operation_check CHECK (operation IN ('insert', 'update', 'delete', 'many'))
);
CREATE TABLE IF NOT EXISTS {READERS} (
    name text,
    xid xid8 NOT NULL,
    position bigint NOT NULL,
    moved_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT {READERS}_pkey PRIMARY KEY (name),
    CONSTRAINT {READERS}_name_check CHECK (octet_length(name) BETWEEN 1 AND 100)
);
"""
_HERE: Final = "(SELECT system_identifier FROM pg_control_system())"
_ADOPT: Final = (
    f"INSERT INTO {READERS} (name, xid, position) VALUES ('{SERVER}', '0', {_HERE}) "
    "ON CONFLICT (name) DO UPDATE SET xid = excluded.xid, position = excluded.position;"
)
# Ids of a server that a dump came from mean nothing here. All that came with it is committed, and before all
# that is still to come; a reader goes back to the first row that it may not have seen.
_RENUMBER: Final = f"""
UPDATE {READERS} AS r SET xid = '0', position = coalesce(
    (SELECT min(c.position) - 1 FROM {OUTBOX} AS c
     WHERE (c.xid, c.position) > (r.xid, r.position) OR c.position > r.position),
    (SELECT max(c.position) FROM {OUTBOX} AS c), 0) WHERE r.name <> '{SERVER}';
UPDATE {OUTBOX} SET xid = '0';
"""
_FOREIGN = Statement(
    f"SELECT EXISTS (SELECT FROM {OUTBOX} WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())) "
    f"OR EXISTS (SELECT FROM {READERS} WHERE xid > pg_snapshot_xmax(pg_current_snapshot())) "
    f"OR EXISTS (SELECT FROM {READERS} WHERE name = '{SERVER}' AND position <> {_HERE})",
    "changes.foreign",
)
# Whether row-level security keeps rows from this role: it holds, and no policy shows all.
_HIDDEN = Statement(
    f"SELECT row_security_active('{OUTBOX}') AND NOT EXISTS (SELECT FROM pg_policy AS p "
    f"WHERE p.polrelid = '{OUTBOX}'::regclass AND p.polpermissive AND p.polcmd IN ('*', 'r') "
    "AND pg_get_expr(p.polqual, p.polrelid) = 'true' AND EXISTS (SELECT FROM unnest(p.polroles) AS r "
    "WHERE CASE r WHEN 0 THEN true ELSE pg_has_role(r, 'USAGE') END))",
    "changes.hidden",
)
_THERE = Statement(f"SELECT to_regclass('{OUTBOX}') IS NOT NULL", "changes.there")
_REPORT = Statement(
    f"SELECT r.name, r.xid::text, r.position, r.moved_at, (SELECT count(*) FROM {OUTBOX} AS c "
    f"WHERE (c.xid, c.position) > (r.xid, r.position)) FROM {READERS} AS r "
    f"WHERE r.name NOT IN ('{PRUNED}', '{SERVER}') ORDER BY r.name",
    "changes.readers",
)
_ROWS = Statement(
    f"SELECT count(*), min(at), max(at), coalesce(pg_total_relation_size('{OUTBOX}'), 0), "
    "pg_snapshot_xmin(pg_current_snapshot())::text, "
    f"count(*) FILTER (WHERE xid >= pg_snapshot_xmin(pg_current_snapshot())) FROM {OUTBOX}",
    "changes.rows",
)
_PRUNE = Statement(
    f"WITH seen AS MATERIALIZED (SELECT xid, position FROM {READERS} "
    f"WHERE name NOT IN ('{PRUNED}', '{SERVER}') ORDER BY xid, position LIMIT 1), "
    f"old AS MATERIALIZED (SELECT c.xid, c.position FROM {OUTBOX} AS c "
    "WHERE c.at < now() - make_interval(secs => %s::double precision) "
    "AND c.xid < pg_snapshot_xmin(pg_current_snapshot()) "
    "AND (NOT EXISTS (SELECT FROM seen) OR (c.xid, c.position) <= (SELECT xid, position FROM seen)) "
    "ORDER BY c.xid, c.position LIMIT %s), "
    f"gone AS (DELETE FROM {OUTBOX} AS c USING old AS o WHERE (c.xid, c.position) = (o.xid, o.position) "
    "RETURNING c.xid, c.position), "
    "last AS (SELECT xid, position FROM gone ORDER BY xid DESC, position DESC LIMIT 1), "
    f"marked AS (INSERT INTO {READERS} AS r (name, xid, position) SELECT '{PRUNED}', xid, position FROM last "
    "ON CONFLICT (name) DO UPDATE SET xid = excluded.xid, position = excluded.position, moved_at = now() "
    "WHERE (r.xid, r.position) < (excluded.xid, excluded.position)) SELECT count(*) FROM gone",
    "changes.prune",
    writes=True,
    table=OUTBOX,
)


class ChangesGone(DatabaseHandlerError):
    """Changes after this position were taken away already: read everything anew, then go on from now."""


class ChangesElsewhere(ConfigurationError):
    """The outbox was restored from another server, whose positions mean nothing here."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in the outbox: all transactions below `xid` are read, and of that one all up to `number`."""

    xid: int
    number: int

    def __str__(self) -> str:
        return f"{self.xid}.{self.number}"


def place_of(position: object) -> Place:
    """Read a position as `RowChange.position` has it; ``"0.0"`` is before the first.

    Raises
    ------
    InvalidValue
    """
    found = _POSITION.fullmatch(position) if isinstance(position, str) and position.isascii() else None
    if found is None or int(found[1]) >= 2**64 or int(found[2]) >= 2**63:
        raise InvalidValue('after: the position of a change is wanted, such as "7421.15"; "0.0" is the first')
    return Place(int(found[1]), int(found[2]))


def reader_name(name: object) -> str:
    """Return the name of a reader, or refuse it."""
    if isinstance(name, str) and _NAME.fullmatch(name):
        return name
    raise InvalidValue("reader: a name of 1 to 100 letters, digits and _ . : - is wanted, as of a program")


def check_there(session: Session, *, whole: bool = True) -> None:
    """Refuse to go on without the tables, or with those of another server.

    Parameters
    ----------
    whole : bool
        Whether all rows are wanted: refused where row-level security hides some from this role.
    """
    [there] = session.one(_THERE)
    if not there:
        raise ConfigurationError(
            "there is no outbox of changes: run `database-handler changes prepare`, or db.outbox.prepare()"
        )
    [foreign] = session.one(_FOREIGN)
    if foreign:
        raise ChangesElsewhere(
            "the outbox was restored from another server: run `database-handler changes prepare`, or "
            "db.outbox.prepare(), which numbers it anew; readers may get some changes again"
        )
    if whole and session.one(_HIDDEN) == (True,):
        raise PermissionDenied(
            f"row-level security shows this role the rows of {OUTBOX} of one project only, and all are "
            "wanted: read with db.for_project(...).changes(), or do this as the migrator"
        )


class OutboxReader(BaseModel, frozen=True):
    """How far a reader has come.

    Attributes
    ----------
    behind : int
        Rows after its position, those included that it passes over.
    """

    name: str
    position: str
    moved_at: datetime
    behind: int


class OutboxReport(BaseModel, frozen=True):
    """What the outbox holds, and how far its readers are.

    Attributes
    ----------
    held_back : int
        Rows that no reader gets yet, for a transaction still runs that is older than theirs, in whichever
        database of the server.
    bytes : int
        On the disk, indexes included.
    """

    rows: int
    held_back: int
    oldest: datetime | None
    newest: datetime | None
    bytes: int
    readers: tuple[OutboxReader, ...]


class Outbox:
    """Makes the outbox, and looks after it.

    Parameters
    ----------
    session : Session
        What sends each statement by itself.
    owner : callable
        Gives a session of who may make tables.
    """

    def __init__(self, session: Session, owner: Callable[[], Session]) -> None:
        self._session = session
        self._owner = owner

    def prepare(self) -> bool:
        """Make the two tables where they are missing; return whether there was anything to do.

        In a database that was restored from a dump of another server it numbers the rows anew. Readers may
        get some of them again then, and miss none.
        """
        session = self._owner()
        [there] = session.one(_THERE)
        if not there:
            session.script(_PREPARE + _ADOPT)
            return True
        with session.atomic() as whole:
            whole.script(f"LOCK TABLE {OUTBOX}, {READERS} IN SHARE ROW EXCLUSIVE MODE")
            [foreign] = whole.one(_FOREIGN)
            if foreign:
                whole.script(_RENUMBER)
            whole.script(_ADOPT)
        return bool(foreign)

    def report(self) -> OutboxReport:
        """Return how much there is, and how far the readers are; it counts rows, so not for every second."""
        check_there(self._session)
        rows, oldest, newest, size, _, held = self._session.one(_ROWS)
        readers = tuple(
            OutboxReader(name=name, position=f"{xid}.{number}", moved_at=moved, behind=behind)
            for name, xid, number, moved, behind in self._session.all(_REPORT)
        )
        return OutboxReport(
            rows=rows, held_back=held, oldest=oldest, newest=newest, bytes=size, readers=readers
        )

    @checked
    def prune(self, *, keep: timedelta = timedelta(days=7)) -> int:
        """Take away what every reader has acknowledged and what is older than `keep`; return how many rows.

        Where there is no reader, age alone counts. A reader that is no more holds all back: `forget` it.
        """
        seconds = keep.total_seconds()
        if not 0 <= seconds <= 10**9:
            raise InvalidValue("keep is a time from 0 on")
        check_there(self._session)
        gone = 0
        while True:
            [number] = self._session.one(_PRUNE, [seconds, _AT_ONCE])
            gone += int(number)
            if number < _AT_ONCE:
                return gone

    def forget(self, reader: str) -> None:
        """Take a reader's place away: nothing is kept for it any more.

        Raises
        ------
        RecordNotFound
            There is none of that name.
        """
        text = f"DELETE FROM {READERS} WHERE name = %s"
        self._changed(reader, self._session.run(_own(text, "forget"), [reader_name(reader)]))

    def move(self, reader: str, position: str) -> None:
        """Put a reader, new or not, to a position: ``"0.0"`` has it read all that is kept again.

        Raises
        ------
        ChangesGone
            Changes after this position were taken away.
        """
        place = place_of(position)
        text = (
            f"INSERT INTO {READERS} (name, xid, position) VALUES (%s, %s::xid8, %s) ON CONFLICT (name) "
            "DO UPDATE SET xid = excluded.xid, position = excluded.position, moved_at = now()"
        )
        values = [reader_name(reader), str(place.xid), place.number]
        check_there(self._session, whole=False)
        if place > Place(0, 0):
            refuse_gone(self._session, place)
        self._session.run(_own(text, "move"), values)

    def _changed(self, reader: str, rows: int) -> None:
        if not rows:
            raise RecordNotFound(f"no reader is called {reader}; db.outbox.report() names them")


def refuse_gone(session: Session, place: Place) -> None:
    """Refuse a place after which changes were taken away."""
    gone = session.maybe(_WHERE, [PRUNED])
    if gone is not None and place < Place(int(gone[0]), gone[1]):
        raise ChangesGone


def _own(text: str, call: str) -> Statement:
    return Statement(text, f"changes.{call}", writes=True, table=READERS)


# --------------------------------------------------------------------------------------------------- reading


_BEGIN = Statement(
    f"INSERT INTO {READERS} (name, xid, position) "
    "SELECT %s, pg_snapshot_xmin(pg_current_snapshot()), 0 ON CONFLICT (name) DO NOTHING",
    "changes.begin",
    writes=True,
    table=READERS,
)
_WHERE = Statement(f"SELECT xid::text, position FROM {READERS} WHERE name = %s", "changes.place")
_NOW = Statement("SELECT pg_snapshot_xmin(pg_current_snapshot())::text", "changes.now")
_ADVANCE = Statement(
    f"UPDATE {READERS} SET xid = %s::xid8, position = %s, moved_at = now() "
    "WHERE name = %s AND (xid, position) <= (%s::xid8, %s)",
    "changes.acknowledge",
    writes=True,
    table=READERS,
)
_READ = (
    "SELECT h.low::text, h.high::text, c.xid::text, c.position, c.operation, c.entity, c.id, c.project_id, "
    "c.version, c.at FROM (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS low, "
    "pg_snapshot_xmax(pg_current_snapshot()) AS high) AS h LEFT JOIN LATERAL "
    f"(SELECT * FROM {OUTBOX} WHERE (xid, position) > (%s::xid8, %s) AND xid < h.low{{more}} "
    "ORDER BY xid, position LIMIT %s) AS c ON true"
)


@dataclass(frozen=True, slots=True)
class Page:
    """Changes that were read, and up to where everything was looked at."""

    changes: tuple[RowChange, ...]
    seen: Place


class OutboxReading:
    """Reads the outbox, and keeps a reader's place."""

    def __init__(
        self, session: Session, reader: str | None, project_id: object, kinds: list[str] | None, size: int
    ) -> None:
        self._session = session
        self._reader = reader
        self._whole = project_id is None
        more, self._values = "", list[object]()
        if project_id is not None:
            more += " AND (project_id = %s OR project_id IS NULL)"
            self._values.append(project_id)
        if kinds is not None:
            more += " AND entity = ANY(%s::text[])"
            self._values.append(kinds)
        self._statement = Statement(_READ.format(more=more), "changes.read")
        self._size = size

    @property
    def keeps_place(self) -> bool:
        """Whether it reads under a name."""
        return self._reader is not None

    def begin(self, after: Place | None) -> Place:
        """Return where to begin: after a place, at the reader's, or now."""
        check_there(self._session, whole=self._whole)
        if self._reader is not None:
            self._session.run(_BEGIN, [self._reader])
            xid, number = self._session.one(_WHERE, [self._reader])
            return Place(int(xid), number)
        if after is None:
            [now] = self._session.one(_NOW)
            return Place(int(now), 0)
        refuse_gone(self._session, after)
        return after

    def kept(self) -> Place:
        """Return the reader's place as it is kept."""
        found = self._session.maybe(_WHERE, [self._reader])
        return Place(0, 0) if found is None else Place(int(found[0]), found[1])

    def page(self, after: Place) -> Page:
        """Return the next changes after a place; none where there are none yet."""
        rows = self._session.all(self._statement, [str(after.xid), after.number, *self._values, self._size])
        low, high = int(rows[0][0]), int(rows[0][1])
        if after.xid > high:
            raise ChangesElsewhere(
                "the position is of another server, or of the time before this one was restored: run "
                "`database-handler changes prepare`, or db.outbox.prepare()"
            )
        changes = tuple(_change(row[2:]) for row in rows if row[2] is not None)
        if len(changes) == self._size:
            return Page(changes, place_of(changes[-1].position))
        return Page(changes, max(after, Place(low, 0)))

    def acknowledge(self, place: Place, session: Session | None) -> None:
        """Keep how far the reader has come; never back."""
        if self._reader is None:
            raise InvalidValue("who reads without a name has no place to keep: db.changes(reader=...)")
        values = [str(place.xid), place.number, self._reader, str(place.xid), place.number]
        over = self._session if session is None else session
        if not over.run(_ADVANCE, values) and over.maybe(_WHERE, [self._reader]) is None:
            raise RecordNotFound(f"the reader {self._reader} was forgotten; nothing is kept for it")


def _change(row: tuple[Any, ...]) -> RowChange:
    xid, number, operation, entity, id, project, version, at = row
    return RowChange(Operation(operation), entity, id, project, version, f"{xid}.{number}", at)
