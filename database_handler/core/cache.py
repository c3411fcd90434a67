"""Reads records through a cache that is never stale: what a writer is about to commit is unreadable first.

An entry hangs on three tokens (`core.cache_tags`) and is read only while all three are there. A reader who
misses gets the tokens, then asks the database, then stores what it found under them. A writer marks what it
touched before its COMMIT, and takes the marks away after it: both destroy the tokens, so what was loaded
before the COMMIT can no longer be read, whenever it is stored. A lost key is a lost token: eviction makes
entries unreadable, never readable.

It is one module because readers and writers are two sides of one protocol, and each is judged by the other.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from random import uniform
from secrets import token_hex
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any, TypeVar
from uuid import UUID
from weakref import WeakSet

from database_handler.config.cache import CacheConfig
from database_handler.core.cache_entries import Kind
from database_handler.core.cache_limits import Breaker, Counters, Limit
from database_handler.core.cache_reading import Flights, Load, Reading
from database_handler.core.cache_reports import CacheCheck, CacheContents, CacheStats, warnings
from database_handler.core.cache_server import MARKED, CacheDown, CacheServer, ServerFacts
from database_handler.core.cache_tags import (
    EVERYTHING,
    STATISTICS,
    Footprint,
    Touched,
    row_tag,
    table_tag,
)
from database_handler.core.events import Listeners
from database_handler.core.exceptions import (
    CacheUnavailable,
    CommitOutcomeUnknown,
    DatabaseHandlerError,
    InvalidValue,
)
from database_handler.core.schema import Table
from database_handler.core.session import Statement
from database_handler.utils.arguments import checked
from database_handler.utils.logger import get_logger

__all__ = ["IDENTITY", "Cache", "Writing"]

T = TypeVar("T")
Row = tuple[Any, ...]
_log = get_logger(__name__)

IDENTITY = Statement(
    "SELECT c.system_identifier::text, d.oid::text, current_schema(), session_user "
    "FROM pg_control_system() AS c, pg_database AS d WHERE d.datname = current_database()",
    "cache.identity",
    uncounted=True,
)
"""Which database this is, and who reads: a restored copy has another number; another role may see less."""

MARK_SECONDS = 30.0  # how long a mark outlives a writer who died between it and the end of its COMMIT
_MEND_EVERY = 0.25  # seconds
_MOST_OWED = 10_000  # tags; from there on everything is owed
_ADMIN_SECONDS = 5.0
_NOBODY = "-"


class Cache:
    """A cache in front of `get_by_id`, `find_by_id`, `get_many` and `statistics` outside of units.

    Parameters
    ----------
    config : CacheConfig
        Its limits.
    server : CacheServer
        What holds the entries.
    tables : iterable of Table
        Those whose rows are cached.
    """

    def __init__(self, config: CacheConfig, server: CacheServer, tables: Iterable[Table]) -> None:
        self.config = config
        self.server = server
        self._touched = Touched(tables)
        self._identify: Callable[[], Row] | None = None
        self._namespace = self._reader = ""
        self.counters = Counters()
        self._start_over()
        _open.add(self)

    def _start_over(self) -> None:
        """Have locks that nobody holds; in a forked child too, where a thread that is not there may."""
        self.breaker = Breaker(self.config.pause)
        self._lock = Lock()
        self.flights = Flights()
        self._owed: dict[str, tuple[str, ...]] = getattr(self, "_owed", {})  # by writer
        self._mender: Thread | None = None
        self._closed = Event()

    # -------------------------------------------------------------------------------------------- identity

    def bind(self, identify: Callable[[], Row]) -> None:
        """Say how to ask which database this is; it is asked once, when the cache is first used."""
        self._identify = identify

    @property
    def is_identified(self) -> bool:
        """Whether it is known which database this is."""
        return bool(self._namespace)

    def identify(self, row: Row | None = None) -> None:
        """Take the answer to `IDENTITY`, or ask for it."""
        if self._namespace:
            return
        if row is None:
            if self._identify is None:
                raise InvalidValue("this cache belongs to no database yet")
            row = self._identify()
        system, database, schema, reader = row
        told = "\n".join((system, database, schema or "", self.config.namespace))
        self._reader = blake2b(reader.encode(), digest_size=6).hexdigest()
        self._namespace = blake2b(told.encode(), digest_size=10).hexdigest()

    def key(self, name: str) -> str:
        """Return the key of a tag."""
        return f"dh:{self._namespace}:{name}"

    def entry(self, kind: Kind[Any], id: UUID) -> str:
        """Return the key of an entry; readers who may see different rows have different ones."""
        return f"dh:{self._namespace}:e:{kind.place}:{self._reader}:{id}"

    # ------------------------------------------------------------------------------------------------ read

    def read(
        self,
        kind: Kind[T],
        ids: Iterable[UUID],
        load: Load[T],
        listeners: Listeners,
    ) -> dict[UUID, T]:
        """Return the values of ids, those that are there, from the cache as far as it has them.

        Parameters
        ----------
        load : callable
            Asks the database for some of them, on a connection that is in no transaction.
        """
        self.identify()
        return Reading(self, kind, load, listeners).all(ids)

    def is_asked(self) -> bool:
        """Tell whether the cache may be asked: it is not left alone, and knows of all that was committed."""
        if self._owed:
            self._have_mended()
            return False
        return self.breaker.allows()

    def ask(self, limit: Limit, question: Callable[[float], T]) -> T | None:
        """Return the server's answer; None where there is none, and the cache is left alone from now on."""
        try:
            answer = limit.spend(question)
        except CacheDown as down:
            self.counters.add("errors")
            if self.breaker.failed():
                _log.warning("cache_left_alone", reason=str(down), seconds=self.config.pause)
            return None
        self.breaker.succeeded()
        return answer

    # ----------------------------------------------------------------------------------------------- write

    def footprint(self) -> Footprint:
        """Return what a transaction notes its writes in."""
        return Footprint(self._touched)

    def announce(self, footprint: Footprint) -> "Writing | None":
        """Make unreadable what is about to be committed; None where nothing is.

        Raises
        ------
        CacheUnavailable
            The server does not answer, and the configuration is strict: nothing may be committed.
        """
        names = footprint.tags
        if not names:
            return None
        self.identify()
        writing = Writing(self, tuple(self.key(name) for name in names))
        writing.begin()
        return writing

    def concerns(self, statement: Statement) -> bool:
        """Tell whether a statement may change what is cached."""
        return statement.writes and (statement.table is None or statement.table in self._touched.cascades)

    @contextmanager
    def announced_everything(self) -> Iterator[None]:
        """Keep everything unreadable while something is done of which it is not known what it writes."""
        footprint = self.footprint()
        footprint.everything()
        writing = self.announce(footprint)
        try:
            yield
        except BaseException as failure:
            if writing is not None:
                writing.end(failure)
            raise
        if writing is not None:
            writing.end()

    def owe(self, writer: str, tags: tuple[str, ...]) -> None:
        """Note what the server is still to be told of; until it is, this process does not read from it."""
        with self._lock:
            self._owed[writer] = tags
            if sum(map(len, self._owed.values())) > _MOST_OWED:
                self._owed = {_NOBODY: (self.key(EVERYTHING),)}
        self._have_mended()

    def _have_mended(self) -> None:
        with self._lock:
            if self._mender is not None or not self._owed or self._closed.is_set():
                return
            self._mender = Thread(target=self._mend, name="database-handler-cache", daemon=True)
            started = self._mender
        try:
            started.start()
        except RuntimeError:  # at the interpreter's end no thread starts any more
            self._mender = None

    def _mend(self) -> None:
        """Tell the server what it could not be told, again and again; ends when nothing is owed."""
        while self._settle_debts(self.config.timeout):
            if self._closed.wait(_MEND_EVERY * uniform(0.5, 1.5)):  # noqa: S311  # not a secret
                break
        with self._lock:
            self._mender = None

    def _settle_debts(self, within: float) -> bool:
        """Tell the server what is owed; return whether something still is."""
        with self._lock:
            owed = dict(self._owed)
        for writer, tags in owed.items():
            try:
                self.server.release(tags, writer=writer, within=within)
            except CacheDown:
                return True
            with self._lock:
                if self._owed.get(writer) is tags:
                    del self._owed[writer]
        return bool(self._owed)

    # ---------------------------------------------------------------------------------------------- people

    def stats(self) -> CacheStats:
        """Return what this process did with the cache so far."""
        with self._lock:
            owed = sum(map(len, self._owed.values()))
        return CacheStats(**self.counters.figures, owed=owed, left_alone=self.breaker.open or owed > 0)

    @checked
    def forget(self, table: str | None = None, ids: Iterable[UUID] = ()) -> None:
        """Make entries unreadable, for all processes: after a write that did not come through this library.

        Parameters
        ----------
        table : str, optional
            Only of this entity (``projects``), with the statistics of all projects; else everything.
        ids : iterable of UUID
            Only these rows of it; all, where left out.

        Raises
        ------
        CacheUnavailable
            The server did not answer.
        """
        wanted = list(ids)
        if table is None and wanted:
            raise InvalidValue("forget: ids belong to a table")
        if table is not None and table not in self._touched.cascades:
            raise InvalidValue(f"forget: no such entity; there are {', '.join(self._touched.cascades)}")
        self.identify()
        tags = [EVERYTHING] if table is None else [STATISTICS, *(row_tag(table, id) for id in wanted)]
        if table is not None and not wanted:
            tags.append(table_tag(table))
        keys = [self.key(tag) for tag in tags]
        self._insist(lambda: self.server.release(keys, writer=_NOBODY, within=_ADMIN_SECONDS))

    def clear(self) -> int:
        """Make every entry of this database unreadable, then remove them; return how many were removed."""
        self.forget()

        def remove() -> int:
            found = self.server.keys(self.key("e:"), within=_ADMIN_SECONDS)
            return sum(self.server.remove(keys, within=_ADMIN_SECONDS) for keys in found)

        return self._insist(remove)

    @checked
    def contents(self, *, most: int = 100_000) -> CacheContents:
        """Count what the cache holds of this database, looking at no more than `most` keys."""
        self.identify()
        entries: dict[str, int] = {}
        looked = marked = 0
        prefix = self.key("")
        pages = self.server.keys(prefix, within=_ADMIN_SECONDS)
        while (keys := self._insist(lambda: next(pages, None))) is not None:
            tags = []
            for key in keys:
                parts = key.removeprefix(prefix).split(":")
                if parts[0] == "e":
                    name = "statistics" if parts[1] == "s" else parts[2]
                    entries[name] = entries.get(name, 0) + 1
                elif parts[0] != "l":
                    tags.append(key)
            marked += self._marked(tags)
            looked += len(keys)
            if looked >= most:
                return CacheContents(dict(sorted(entries.items())), marked, complete=False)
        return CacheContents(dict(sorted(entries.items())), marked, complete=True)

    def facts(self) -> ServerFacts:
        """Ask the server about itself; `CacheUnavailable` where it does not answer."""
        return self._insist(lambda: self.server.facts(within=_ADMIN_SECONDS))

    def _marked(self, tags: list[str]) -> int:
        if not tags:
            return 0
        found = self._insist(lambda: self.server.read((), tags, within=_ADMIN_SECONDS))
        return sum(value is not None and value.startswith(MARKED) for value in found.tags)

    def check(self) -> CacheCheck:
        """Tell whether the cache answers, and what of its set-up is unwise; never raises."""
        started = monotonic()
        try:
            facts = self.server.facts(within=_ADMIN_SECONDS)
            started = monotonic()
            facts = self.server.facts(within=_ADMIN_SECONDS)
        except CacheDown as down:
            return CacheCheck(False, monotonic() - started, str(down))
        seconds = monotonic() - started
        told = tuple(warnings(facts, seconds, self.config.timeout))
        return CacheCheck(True, seconds, None, facts, told)

    def _insist(self, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except CacheDown as down:
            reason = str(down)
        raise CacheUnavailable(f"the cache does not answer: {reason}")

    def close(self) -> None:
        """Close the connections, having tried once more to tell the server what is owed."""
        self._closed.set()
        if self._owed:
            self._settle_debts(self.config.timeout)
        self.server.close()

    def __repr__(self) -> str:
        return f"Cache({self.stats()})"


_open: "WeakSet[Cache]" = WeakSet()


def _after_fork_in_child() -> None:
    for cache in list(_open):
        cache.server.after_fork()
        cache._start_over()


os.register_at_fork(after_in_child=_after_fork_in_child)


class Writing:
    """One commit, as the cache is told of it: before it, and after it."""

    def __init__(self, cache: Cache, tags: tuple[str, ...]) -> None:
        self._cache = cache
        self._tags = tags
        self._writer = token_hex(8)
        self._limit = Limit(cache.config.timeout)
        self._announced = False

    def begin(self) -> None:
        """Mark the tags; in strict mode, refuse where that fails."""
        cache = self._cache
        if cache.is_asked():
            self._announced = self._told(
                lambda within: cache.server.mark(
                    self._tags, writer=self._writer, seconds=MARK_SECONDS, within=within
                )
            )
        if not self._announced and cache.config.strict:
            raise CacheUnavailable(_STRICT)  # if it was heard after all, the mark goes by itself

    def end(self, failure: BaseException | None = None) -> None:
        """Take the marks away; where nobody knows what became of the commit, they run out by themselves."""
        known = failure is None or (
            isinstance(failure, DatabaseHandlerError) and not isinstance(failure, CommitOutcomeUnknown)
        )
        cache = self._cache
        if not self._announced:
            if failure is None or not known:
                cache.counters.add("unannounced")
                cache.owe(self._writer, self._tags)
            return
        if not known:
            return
        if not self._told(
            lambda within: cache.server.release(self._tags, writer=self._writer, within=within)
        ):
            cache.owe(self._writer, self._tags)

    def _told(self, tell: Callable[[float], None]) -> bool:
        def done(within: float) -> bool:
            tell(within)
            return True

        return self._cache.ask(self._limit, done) is not None


_STRICT = (
    "the cache cannot be told of this commit, so nothing is stored: other processes could read from it what "
    "was there before. Try again later, or do without the strict mode"
)
