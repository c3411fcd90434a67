"""The one seam for who watches: a database tells its listeners what happened, after it has happened.

A listener overrides what it wants to hear of in `Events`; an observer makes one for each database that it is
given to, with `Database.observe`. With no listener a statement pays one look at an empty tuple. A listener
that fails is told of in the log, once, and never disturbs what it listens to.

What is told holds no value: statements come with their placeholders, and errors are this library's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from database_handler.core.exceptions import CommitOutcomeUnknown, DatabaseHandlerError, InvalidValue
from database_handler.utils.logger import get_logger

if TYPE_CHECKING:
    from database_handler.config.database import DatabaseConfig
    from database_handler.core.connection import ConnectionPool
    from database_handler.core.replicas import Replicas
    from database_handler.core.session import Session

__all__ = [
    "NOBODY",
    "CacheResult",
    "Events",
    "Listeners",
    "Observer",
    "Target",
    "Told",
    "Tries",
    "UnitEnd",
    "UnitOutcome",
    "UnitWatch",
]

_log = get_logger(__name__)

UnitOutcome = Literal["committed", "rolled back", "unknown"]
CacheResult = Literal["hit", "miss", "stale", "garbage", "error"]


class Told(NamedTuple):
    """A statement that was sent.

    Attributes
    ----------
    name : str
        ``projects.get_by_id`` of the library's own; ``sql SELECT`` of a caller's, unless its first comment
        names it, as in ``SELECT /* reports.monthly */``; ``transaction.commit``.
    text : str
        The SQL with its placeholders; a caller's may hold what the caller wrote into it. Empty where the
        library controls the connection (a COMMIT).
    bound : bool
        Whether values are bound: then ``%s`` and ``%(name)s`` in the text stand for them, and ``%%`` for one.
    reads : bool
        Whether it is known to change nothing.
    seconds : float
        From sending it to the end of its answer.
    rows : int
        How many it gave or changed; 0 where that means nothing.
    failure : DatabaseHandlerError or None
        What it failed with.
    server : tuple of str and int, or None
        The host and the port that it was sent to: a replica's, or one of several hosts; None where the
        connection does not say.
    """

    name: str
    text: str
    bound: bool
    reads: bool
    seconds: float
    rows: int
    failure: DatabaseHandlerError | None
    server: tuple[str, int] | None = None


class UnitEnd(NamedTuple):
    """How a unit of work ended; `failure` is what left it, the caller's own exceptions among them."""

    outcome: UnitOutcome
    seconds: float
    failure: BaseException | None


@dataclass
class Tries:
    """The tries of one `Database.run`.

    Attributes
    ----------
    number : int
        How many there were before.
    reason : str
        Why the last of them is followed by another: its SQLSTATE, or its class where it has none.
    kept : dict
        A place for what each listener wants to find at the next try, by the listener.
    """

    number: int = 0
    reason: str = ""
    kept: dict[object, object] = field(default_factory=dict)


Ender = Callable[[UnitEnd], object]


class Events:
    """What a listener may hear of; here nothing comes of it. Each is called in the thread it happened in."""

    def statement(self, told: Told) -> None:
        """Hear of a statement that was answered, or failed."""

    def unit(self, tries: Tries | None) -> Ender | None:  # noqa: ARG002  # a listener's to use
        """Hear that a unit begins; what is returned is called when it ends. `tries` are those of `run`."""
        return None

    def retry(self, reason: str) -> None:
        """Hear that a unit is run again, because of this SQLSTATE or class of error."""

    def unknown_outcome(self, name: str) -> None:
        """Hear that nobody knows what became of a COMMIT, or of a single write."""

    def cache(self, entity: str, result: CacheResult) -> None:
        """Hear what a cache answered for a record of an entity (``projects``)."""

    def close(self) -> None:
        """Stop listening: the database is closed."""


@dataclass(frozen=True)
class Target:
    """The database that an observer is given to.

    Attributes
    ----------
    name : str
        What it is called where several are observed: the database's name, unless the caller gave another.
    tables : frozenset of str
        Those of its entities.
    pool : ConnectionPool
        For what the pool knows of itself, and to borrow from.
    heads : callable
        Gives, for the library's migrations and an application's, the applied and the expected newest.
    replicas : Replicas, optional
        What is known of the read replicas, where there are any.
    """

    name: str
    config: "DatabaseConfig"
    tables: frozenset[str]
    pool: "ConnectionPool"
    heads: "Callable[[Session], dict[str, tuple[str | None, str | None]]]"
    replicas: "Replicas | None" = None


class Observer(Protocol):
    """What `Database.observe` takes."""

    def attach(self, target: Target) -> Events:
        """Return the listener for one database."""
        ...


class Listeners(Events):
    """A database's listeners, each told in turn."""

    def __init__(self) -> None:
        self.all: tuple[Events, ...] = ()
        self._complained: set[tuple[type, type]] = set()

    def add(self, listener: Events) -> None:
        """Tell this one too, from now on."""
        if not isinstance(listener, Events):
            raise InvalidValue(
                f"an observer's attach() gives a core.events.Events, not a {type(listener).__name__}"
            )
        self.all = (*self.all, listener)

    def statement(self, told: Told) -> None:
        """Tell of a statement."""
        for each in self.all:
            try:
                each.statement(told)
            except Exception as failure:  # noqa: BLE001  # whoever watches must not disturb
                self._complain(each, failure)

    def unit(self, tries: Tries | None = None) -> Ender | None:
        """Tell that a unit begins; None where nobody listens."""
        if not self.all:
            return None
        enders: list[tuple[Events, Ender]] = []
        for each in self.all:
            try:
                ender = each.unit(tries)
            except Exception as failure:  # noqa: BLE001  # likewise
                self._complain(each, failure)
            else:
                if ender is not None:
                    enders.append((each, ender))
        return lambda end: self._ended(enders, end)

    def _ended(self, enders: list[tuple[Events, Ender]], end: UnitEnd) -> None:
        for each, ender in reversed(enders):  # as what they opened is nested
            try:
                ender(end)
            except Exception as failure:  # noqa: BLE001  # likewise
                self._complain(each, failure)

    def retry(self, reason: str) -> None:
        """Tell that a unit is run again."""
        self._each(lambda listener: listener.retry(reason))

    def unknown_outcome(self, name: str) -> None:
        """Tell of an outcome that is unknown."""
        self._each(lambda listener: listener.unknown_outcome(name))

    def cache(self, entity: str, result: CacheResult) -> None:
        """Tell what a cache answered."""
        if self.all:
            self._each(lambda listener: listener.cache(entity, result))

    def close(self) -> None:
        """Tell that the database is closed, once."""
        self._each(lambda listener: listener.close())
        self.all = ()

    def _each(self, call: Callable[[Events], object]) -> None:
        for each in self.all:
            try:
                call(each)
            except Exception as failure:  # noqa: BLE001  # likewise
                self._complain(each, failure)

    def _complain(self, listener: Events, failure: Exception) -> None:
        kind = type(listener), type(failure)
        if kind not in self._complained:
            self._complained.add(kind)
            _log.error("observer_failed", listener=kind[0].__name__, error=kind[1].__name__)


class UnitWatch:
    """Tells of one unit's beginning and end; nothing of it is kept while nobody listens."""

    __slots__ = ("_ender", "_listeners", "_started", "_tries")

    def __init__(self, listeners: Listeners, tries: Tries | None) -> None:
        self._listeners = listeners
        self._tries = tries
        self._ender: Ender | None = None
        self._started = 0.0

    def begin(self) -> None:
        """Tell that it begins."""
        self._ender = self._listeners.unit(self._tries)
        if self._ender is not None:
            self._started = perf_counter()

    def end(self, failure: BaseException | None, *, commits: bool) -> None:
        """Tell how it ended, once."""
        ender, self._ender = self._ender, None
        if ender is None:
            return
        outcome: UnitOutcome = "committed" if commits and failure is None else "rolled back"
        if isinstance(failure, CommitOutcomeUnknown):
            outcome = "unknown"
        ender(UnitEnd(outcome, perf_counter() - self._started, failure))


NOBODY = Listeners()
"""Who hears of what has no database of its own to watch it: migrations, health. It gets no listener."""
