"""One call of a reader: what the cache has, what it asks the database for, and who is waited for.

Of all readers of a record, in this process and others, one loads it and the others wait for what that one
stores. They then read the cache anew, and never take over what was loaded: that load may have begun before
a commit that their own call came after.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import uniform
from secrets import token_hex
from threading import Event, Lock
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar
from uuid import UUID

from database_handler.core.cache_entries import Garbage, Kind, Stale
from database_handler.core.cache_limits import Limit
from database_handler.core.cache_server import MARKED, Filling, Leases
from database_handler.core.cache_tags import EVERYTHING
from database_handler.core.events import CacheResult, Listeners

if TYPE_CHECKING:
    from database_handler.core.cache import Cache

__all__ = ["Flights", "Loaded", "Reading"]

T = TypeVar("T")
_POLL = 0.005  # seconds between two looks at what another process loads
_TAG_LIVES = 2  # times the longest life of an entry
_SHARED = 2  # tags of each entry beside its own


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """What the database gave: values with their versions; from a standby, nothing of it is stored."""

    values: Mapping[UUID, tuple[T, int]]
    primary: bool


Load = Callable[[Sequence[UUID]], Loaded[T]]


class Flights:
    """What this process's threads are loading: one thread for each record."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._flying: dict[str, Event] = {}

    def claim(self, keys: Iterable[str]) -> tuple[list[str], list[Event]]:
        """Return the keys that are the caller's to load, and what to wait for of the others."""
        mine, others = [], []
        with self._lock:
            for key in keys:
                if (event := self._flying.get(key)) is None:
                    self._flying[key] = Event()
                    mine.append(key)
                else:
                    others.append(event)
        return mine, others

    def land(self, keys: Iterable[str]) -> None:
        """Let the others go on."""
        with self._lock:
            landed = [self._flying.pop(key) for key in keys]
        for event in landed:
            event.set()


class Reading(Generic[T]):
    """Reads some records once."""

    def __init__(self, cache: "Cache", kind: Kind[T], load: Load[T], listeners: Listeners) -> None:
        self._cache = cache
        self._kind = kind
        self._load = load
        self._listeners = listeners
        self._limit = Limit(cache.config.timeout)
        self._shared = [cache.key(EVERYTHING), cache.key(kind.group)]
        self._found: dict[UUID, T] = {}
        self._told: set[UUID] = set()
        self._results: Counter[CacheResult] = Counter()
        self._done: set[UUID] = set()
        self._rubbish: list[str] = []
        self._until = 0.0

    def all(self, ids: Iterable[UUID]) -> dict[UUID, T]:
        """Return the records that are there."""
        left = list(dict.fromkeys(ids))
        while left and self._cache.is_asked() and self._round(left):
            left = self._undone(left)
        if left := self._undone(left):
            self._tell(left, "error")
            self._take(left, self._load(left))
        self._count()
        return self._found

    def _undone(self, ids: Iterable[UUID]) -> list[UUID]:
        return [id for id in ids if id not in self._done]

    def _round(self, ids: list[UUID]) -> bool:
        """Take what the cache has, load what is free, and wait for one of the rest; False: no answer."""
        looked = self._look(ids)
        if looked is None:
            return False
        held, free = looked
        if not held and not free:
            return True
        keys = {self._cache.entry(self._kind, id): id for id in free}
        mine, others = self._cache.flights.claim(keys)
        try:
            self._load_free([keys[key] for key in mine], held)
            if not others and self._undone(free):
                self._wait(Event(), _POLL)  # for another process; this one's other threads wait for this
        finally:
            self._cache.flights.land(mine)
        if others:
            self._wait(others[0], self._cache.config.wait)
        rest = self._undone(free)
        if rest and monotonic() >= self._until:
            self._take(rest, self._load(rest))
        return True

    def _wait(self, event: Event, seconds: float) -> None:
        if not self._until:
            self._cache.counters.add("waits")
            self._until = monotonic() + self._cache.config.wait
        event.wait(max(min(seconds, self._until - monotonic()), 0))
        self._limit = Limit(self._cache.config.timeout)

    # ---------------------------------------------------------------------------------------------- the look

    def _look(self, ids: Sequence[UUID]) -> tuple[list[UUID], list[UUID]] | None:
        """Take the entries that are there; return which ids a writer holds, and which are free to load."""
        cache, kind = self._cache, self._kind
        entries = [cache.entry(kind, id) for id in ids]
        tags = self._tags(ids)
        seen = cache.ask(self._limit, lambda within: cache.server.read(entries, tags, within=within))
        if seen is None:
            return None
        shared, own = seen.tags[:_SHARED], seen.tags[_SHARED:]
        held, free = [], []
        for id, key, stored, tag in zip(ids, entries, seen.entries, own, strict=True):
            tokens = (*shared, tag)
            if any(token is not None and token.startswith(MARKED) for token in tokens):
                self._tell([id], "miss")
                held.append(id)
            elif not self._hit(id, f"{key}:{seen.run}", stored, [token or b"" for token in tokens]):
                free.append(id)
        self._remove_garbage()
        return held, free

    def _remove_garbage(self) -> None:
        """Have what is no entry taken away, which nobody would load in place of."""
        rubbish, self._rubbish = self._rubbish, []
        if rubbish:
            server = self._cache.server
            self._cache.ask(self._limit, lambda within: server.remove(rubbish, within=within))

    def _tags(self, ids: Iterable[UUID]) -> list[str]:
        return [*self._shared, *(self._cache.key(f"{self._kind.own}:{id}") for id in ids)]

    def _hit(self, id: UUID, key: str, stored: bytes | None, tokens: Sequence[bytes]) -> bool:
        if stored is None:
            self._tell([id], "miss")
            return False
        value = self._kind.unpack(key, tokens, stored)
        if isinstance(value, Garbage):
            self._cache.counters.add("garbage")
            self._rubbish.append(key)
            self._tell([id], "miss")
            return False
        if isinstance(value, Stale):
            self._tell([id], "stale")
            return False
        self._tell([id], "hit")
        self._found[id] = value
        self._done.add(id)
        return True

    def _tell(self, ids: Iterable[UUID], result: CacheResult) -> None:
        """Note, once for each record of the call."""
        for id in ids:
            if id not in self._told:
                self._told.add(id)
                self._results[result] += 1
                self._listeners.cache(self._kind.name, result)

    def _count(self) -> None:
        """Bring what was told into the figures."""
        add, results = self._cache.counters.add, self._results
        add("hits", results["hit"])
        add("misses", results.total() - results["hit"])
        add("stale", results["stale"])

    # --------------------------------------------------------------------------------------------- the load

    def _load_free(self, ids: list[UUID], held: list[UUID]) -> None:
        """Load what a writer holds, and what nobody else is loading; store the latter."""
        loader = token_hex(8)
        leases = self._lease(ids, loader) if ids else None
        led, free = self._led(ids, leases)
        wanted = [*held, *free, *led]
        if not wanted:
            return
        loaded: Loaded[T] | None = None
        try:
            loaded = self._load(wanted)
            self._take(wanted, loaded)
        finally:
            if leases is not None and led:
                self._fill(leases, led, loaded, loader)

    def _lease(self, ids: Sequence[UUID], loader: str) -> Leases | None:
        cache, config = self._cache, self._cache.config
        own = self._tags(ids)[_SHARED:]
        entries = [cache.entry(self._kind, id) for id in ids]
        seconds = (config.ttl * _TAG_LIVES, config.wait)
        return cache.ask(
            self._limit,
            lambda within: cache.server.lease(
                self._shared, own, entries, loader=loader, seconds=seconds, within=within
            ),
        )

    @staticmethod
    def _led(ids: Sequence[UUID], leases: Leases | None) -> tuple[dict[UUID, Sequence[bytes]], list[UUID]]:
        """Return the tokens of what is the caller's to load and store; and what it loads without storing."""
        if leases is None:
            return {}, list(ids)
        shared, own = leases.tags[:_SHARED], leases.tags[_SHARED:]
        led: dict[UUID, Sequence[bytes]] = {}
        free = []
        for id, tag, loads in zip(ids, own, leases.loads, strict=True):
            if any(token.startswith(MARKED) for token in (*shared, tag)):
                free.append(id)
            elif loads:
                led[id] = (*shared, tag)
        return led, free

    def _take(self, ids: Iterable[UUID], loaded: Loaded[T]) -> None:
        for id in ids:
            self._done.add(id)
            if id in loaded.values:
                self._found[id] = loaded.values[id][0]

    def _fill(
        self, leases: Leases, led: Mapping[UUID, Sequence[bytes]], loaded: Loaded[T] | None, loader: str
    ) -> None:
        cache = self._cache
        found = [self._filling(leases.run, id, tokens, loaded) for id, tokens in led.items()]
        shared = list(zip(self._shared, leases.tags, strict=False))
        stored = cache.ask(
            self._limit,
            lambda within: cache.server.fill(leases.run, shared, found, loader=loader, within=within),
        )
        if stored is not None:
            cache.counters.add("fills", stored)
            cache.counters.add("refused", sum(bool(each.value) for each in found) - stored)

    def _filling(self, run: str, id: UUID, tokens: Sequence[bytes], loaded: Loaded[T] | None) -> Filling:
        config, entry = self._cache.config, self._cache.entry(self._kind, id)
        value, version = b"", 0
        if loaded is not None and loaded.primary and id in loaded.values:
            record, version = loaded.values[id]
            packed = self._kind.pack(f"{entry}:{run}", tokens, version, record)
            if packed is None or len(packed) > config.max_value_bytes:
                self._cache.counters.add("unfit")
            else:
                value = packed
        seconds = config.ttl * uniform(0.8, 1.0)  # noqa: S311  # so that they do not end together
        return Filling(entry, self._tags([id])[-1], tokens[-1], version, value, seconds)
