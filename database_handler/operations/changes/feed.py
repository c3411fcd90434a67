"""The feed of changes as an iterator: from the outbox, or by notices alone; every wait in it is bounded."""

from collections import deque
from collections.abc import Collection, Iterable
from contextlib import suppress
from math import inf
from threading import Event
from time import monotonic
from types import TracebackType
from typing import Literal, Self
from uuid import UUID

from database_handler.config.database import DatabaseConfig
from database_handler.config.settings import DATABASE_VARIABLES
from database_handler.core.changes import CHANNEL, Operation, RowChange, from_payload
from database_handler.core.deadline import checked_seconds
from database_handler.core.exceptions import (
    ConfigurationError,
    ConnectionLost,
    DatabaseHandlerError,
    DatabaseUnavailable,
    InvalidValue,
    PoolTimeout,
    ReadOnlyServer,
    ReleasedConnection,
    ResourcesExhausted,
)
from database_handler.core.listening import Listening
from database_handler.core.session import Session
from database_handler.operations.changes.outbox import OutboxReading, Place, place_of, reader_name

__all__ = ["ChangeFeed"]

_SIZE = 500  # changes that are read at once
_BACK_OFF = 0.05, 1.0  # seconds between attempts at a server that is away: first, longest
_IDLE = 30.0  # seconds after which a reader that has nothing to acknowledge moves on past what it passes over
_AWAY = (ConnectionLost, DatabaseUnavailable, PoolTimeout, ReadOnlyServer, ResourcesExhausted)


class ChangeFeed:
    """Iterates over changes as they are committed; `Database.changes` makes it.

    It belongs to one thread. Leave its ``with``, or call `close`, to give its connection back.

    Parameters
    ----------
    wait : float, optional
        Seconds to wait for the next change before the iteration ends; None: for ever, 0: not at all.
    poll : float
        Seconds between two looks at the outbox while no notice comes.
    patience : float
        Seconds that the server may be away before its error comes out.

    Attributes
    ----------
    left : bool
        Whether nobody waits for a change any more.
    """

    def __init__(
        self,
        session: Session,
        config: DatabaseConfig,
        mode: Literal["off", "notify", "outbox"],
        *,
        project_id: UUID | None = None,
        kinds: Iterable[str] | None = None,
        known: Collection[str] = (),
        after: str | None = None,
        reader: str | None = None,
        wait: float | None = None,
        poll: float = 0.5,
        patience: float = 60.0,
    ) -> None:
        self._project_id = project_id
        self._kinds = None if kinds is None else _known_kinds(kinds, known)
        checked_seconds("poll", poll)
        if wait != 0:
            checked_seconds("wait", wait)
        self._wait, self._poll, self._patience = wait, poll, patience
        self._after = None if after is None else place_of(after)
        name = None if reader is None else reader_name(reader)
        _refuse_what_cannot_be(mode, config, reader, after)
        self._reading: OutboxReading | None = None
        if mode == "outbox":
            self._reading = OutboxReading(session, name, project_id, self._kinds, _SIZE)
        self._listening = None if config.pgbouncer else Listening(config, CHANNEL)
        self._waiting: deque[RowChange] = deque()
        self._state: Literal["new", "open", "over"] = "new"
        self.left = False
        # Up to where was looked, up to where all was given, and the last that was.
        self._seen = self._done = self._given = Place(0, 0)
        self._owes = False  # whether something was given and, as far as is known, not acknowledged
        self._moved = monotonic()

    # ------------------------------------------------------------------------------------------ begin and end

    def __enter__(self) -> Self:
        """Begin: what is committed from here on is among the changes."""
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """End the iteration, and the connection that listens."""
        self._state = "over"
        self._waiting.clear()
        if self._listening is not None:
            self._listening.close()

    def leave(self) -> None:
        """Have a thread that waits for a change hear of none, soon; it may close then, and nobody else."""
        self.left = True

    def _begin(self) -> None:
        if self._state == "over":
            raise ReleasedConnection("this feed is closed; ask for another with db.changes()")
        if self._state == "open":
            return
        if self._reading is None:
            self._listener.open()
        else:
            self._seen = self._done = self._reading.begin(self._after)
            self._listen()
        self._state = "open"

    @property
    def _listener(self) -> Listening:
        if self._listening is None:  # checked when it was made
            raise ConfigurationError("nobody can listen through PgBouncer")
        return self._listening

    # ---------------------------------------------------------------------------------------------- iteration

    def __iter__(self) -> Self:
        """Return itself."""
        return self

    def __next__(self) -> RowChange:
        """Return the next change, or end when none came within `wait`."""
        self._begin()
        until = inf if self._wait is None else monotonic() + self._wait
        away = _Away(self._patience, until)
        while not self._waiting:
            if self.left:
                raise StopIteration
            try:
                found = self._look(until)
            except _AWAY as failure:
                away.note(failure)
                if self._reading is None:
                    self._listen_again(away)
                continue
            away.over()
            if not found and monotonic() >= until:
                raise StopIteration
        return self._give()

    def _give(self) -> RowChange:
        change = self._waiting.popleft()
        if self._reading is not None:
            self._given = place_of(change.position)
            self._done = self._given if self._waiting else self._seen
            self._owes = True
        return change

    def _look(self, until: float) -> bool:
        """Look once for changes, waiting for a notice where there are none; whether some came."""
        if self._reading is None:
            left = min(max(until - monotonic(), 0), self._poll)
            self._take(change for payload in self._listener.wait(left) for change in from_payload(payload))
            return bool(self._waiting)
        page = self._reading.page(self._seen)
        self._seen = page.seen
        self._waiting.extend(page.changes)
        if not self._waiting:
            self._done = self._seen
            self._move_on()
            self._pause(min(max(until - monotonic(), 0), self._poll))
        return bool(self._waiting)

    def _take(self, changes: Iterable[RowChange]) -> None:
        for change in changes:
            elsewhere = self._project_id is not None and change.project_id not in {None, self._project_id}
            if not elsewhere and (self._kinds is None or change.entity in self._kinds):
                self._waiting.append(change)

    def _pause(self, seconds: float) -> None:
        """Wait for a notice, or for the next look."""
        if seconds <= 0:
            return
        if not self._listen():
            Event().wait(seconds)
            return
        with suppress(ConnectionLost):
            self._listener.wait(seconds)

    def _listen(self) -> bool:
        """Listen if that is possible; the outbox is read all the same where it is not."""
        if self._listening is None:
            return False
        with suppress(DatabaseHandlerError):
            self._listening.open()
        return self._listening.is_open

    def _listen_again(self, away: "_Away") -> None:
        """Listen again after the connection was lost; what was told meanwhile, nobody heard."""
        try:
            self._listener.open()
        except _AWAY as failure:
            away.note(failure)
        else:
            away.over()
            self._waiting.append(RowChange(Operation.MISSED, ""))

    # ---------------------------------------------------------------------------------------- acknowledgement

    @property
    def position(self) -> str | None:
        """Where to go on with `after`: past all changes that were given; None for a feed of notices."""
        return None if self._reading is None or self._state == "new" else str(self._done)

    def acknowledge(self, change: RowChange | None = None, *, session: Session | None = None) -> None:
        """Keep that all changes up to this one are done, or all that were given: the next start goes on.

        Parameters
        ----------
        session : Session, optional
            A unit's, ``uow.session``: the place is kept with what the unit writes, so that a change takes
            effect once.

        Raises
        ------
        InvalidValue
            The feed has no reader's name, or the change no position.
        RecordNotFound
            The reader was forgotten meanwhile.
        """
        if self._reading is None:
            raise InvalidValue("a feed of notices has no place to keep; that of an outbox has")
        if not (session is None or isinstance(session, Session)):
            raise InvalidValue("session is that of a unit: uow.session")
        if not (change is None or isinstance(change, RowChange)):
            raise InvalidValue("a RowChange is wanted, or nothing for all that were given")
        self._begin()
        place = self._done if change is None else place_of(change.position)
        self._reading.acknowledge(place, session)
        self._moved = monotonic()
        if session is None:  # what a unit wrote may be undone yet
            self._owes = self._owes and place < self._given

    def _move_on(self) -> None:
        """Move a reader on past what it passes over, where it owes nothing: so that it can be taken away."""
        if self._reading is None or not self._reading.keeps_place or monotonic() - self._moved < _IDLE:
            return
        self._moved = monotonic()
        if self._owes and self._reading.kept() < self._given:
            return
        self._owes = False
        self._reading.acknowledge(self._seen, None)


def _known_kinds(kinds: Iterable[str], known: Collection[str]) -> list[str]:
    named = list(kinds)
    if isinstance(kinds, str) or not all(isinstance(each, str) and each in known for each in named):
        raise InvalidValue(f"kinds is a list of names of entities: {', '.join(known)}")
    return named


def _refuse_what_cannot_be(mode: str, config: DatabaseConfig, reader: object, after: object) -> None:
    setting = DATABASE_VARIABLES["changes"]
    if mode == "off":
        raise ConfigurationError(
            f"nobody is told of changes here: set {setting} to outbox, which keeps them, or to notify"
        )
    if mode == "outbox":
        if reader is not None and after is not None:
            raise InvalidValue("a reader has a place of its own: leave after out, or use db.outbox.move()")
        return
    if reader is not None or after is not None:
        raise InvalidValue(f"notices are not kept, so there is no place in them: set {setting} to outbox")
    if config.pgbouncer:
        raise ConfigurationError(
            f"notices do not come through PgBouncer in transaction mode: set {setting} to outbox instead"
        )


class _Away:
    """How long the server has been away."""

    def __init__(self, patience: float, until: float) -> None:
        self._patience, self._until = patience, until
        self._since: float | None = None
        self._pause = _BACK_OFF[0]

    def note(self, failure: DatabaseHandlerError) -> None:
        """Wait a moment, or raise the failure where it has been away for too long."""
        now = monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since >= self._patience or now >= self._until:
            raise failure
        Event().wait(min(self._pause, max(self._until - now, 0)))
        self._pause = min(2 * self._pause, _BACK_OFF[1])

    def over(self) -> None:
        """It answers."""
        self._since, self._pause = None, _BACK_OFF[0]
