"""Metrics for Prometheus: counted as things happen, and read from the pool at each scrape.

One `PrometheusMetrics` serves any number of databases; a label says which. What is counted is put into a
queue, and counted by whoever gets the lock, so that no statement waits for a scrape, nor for itself when the
collector of garbage interrupts it to roll a dropped unit back. The lock is held over a fork, so a child finds
every counter whole; it then starts from zero. prometheus-client's own counters, which take longer, are used
where it shares the values of many processes through files.

Sources: the documentation of prometheus-client, "Custom Collectors" and "Multiprocess Mode".
"""

import os
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate
from math import inf
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet, ref

from database_handler.core.deadline import checked_seconds
from database_handler.core.events import CacheResult, Ender, Events, Target, Told, Tries, UnitEnd
from database_handler.core.exceptions import DatabaseHandlerError, InvalidValue, MissingExtra
from database_handler.core.pool_stats import BUCKETS, PoolStats
from database_handler.core.session import Limits
from database_handler.core.transaction import Autocommit, TransactionOptions
from database_handler.operations.monitoring.metrics import BY_NAME, METRICS, SECONDS, Metric
from database_handler.utils.arguments import checked

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family

    from database_handler.core.replicas import Replicas

__all__ = ["PrometheusMetrics", "extra", "multiprocess"]

_MOST_NAMES: Final = (
    500  # of statements, by database: a caller that names its SQL by its values is stopped here
)
_OTHER: Final = "other"
_ASKING: Final = 2.0  # seconds for the borrow, and again for the question
_COMMANDS: Final = frozenset(
    (
        *("ALTER", "ANALYZE", "CALL", "CLUSTER", "COMMENT", "COPY", "CREATE", "DELETE", "DROP", "EXPLAIN"),
        *("GRANT", "INSERT", "LISTEN", "LOCK", "MERGE", "NOTIFY", "REFRESH", "REINDEX", "RESET", "REVOKE"),
        *("SELECT", "SET", "SHOW", "TABLE", "TRUNCATE", "UPDATE", "VACUUM", "VALUES", "WITH"),
    )
)
_Key = tuple[str, tuple[str, ...]]  # a metric's short name, and the values of its labels


def extra() -> Any:
    """Return prometheus-client; `MissingExtra` where it is not installed."""
    try:
        import prometheus_client
    except ImportError:
        raise MissingExtra("metrics need: pip install 'database-handler[monitoring]'") from None
    return prometheus_client


def multiprocess() -> bool:
    """Whether prometheus-client was told to share the values of many processes through files."""
    extra()
    from prometheus_client.multiprocess import MultiProcessCollector

    try:
        MultiProcessCollector(None)  # type: ignore[no-untyped-call]  # prometheus-client's
    except ValueError:
        return False
    return True


class PrometheusMetrics:
    """Counts what databases do, for Prometheus to scrape.

    Parameters
    ----------
    registry : CollectorRegistry, optional
        Where it registers itself; prometheus-client's default one when left out.
    heads_every : float, optional
        Ask the server for the newest migration at a scrape, at most once in so many seconds and for at most a
        few; left out, a scrape never goes to the server, and these metrics are not exported.

    Examples
    --------
    >>> metrics = PrometheusMetrics()
    >>> db.observe(metrics)
    """

    def __init__(
        self, registry: "CollectorRegistry | None" = None, *, heads_every: float | None = None
    ) -> None:
        client = extra()
        if not isinstance(registry, client.CollectorRegistry | None):
            raise InvalidValue(f"registry is a CollectorRegistry, not a {type(registry).__name__}")
        checked_seconds("heads_every", heads_every)
        self.heads_every = heads_every
        self._shared = multiprocess()
        self._files = _in_files() if self._shared else {}
        self._counted: dict[_Key, _Total | _Buckets] = {}
        self._calls: dict[_Key, Callable[[float], object]] = {}
        self._waiting: deque[tuple[_Key, float]] = deque()
        self._lock = Lock()
        self._databases: WeakSet[_Watched] = WeakSet()
        try:
            (client.REGISTRY if registry is None else registry).register(self)
        except ValueError:
            raise InvalidValue(
                "this registry has these metrics already: one PrometheusMetrics serves many databases"
            ) from None
        _all.add(self)

    @checked
    def attach(self, target: Target) -> Events:
        """Count what a database does, from now on; `Database.observe` calls this."""
        if any(each.name == target.name for each in list(self._databases)):
            raise InvalidValue(
                f"a database called {target.name!r} is counted here already: "
                "call this one otherwise, db.observe(metrics, name=...)"
            )
        watched = _Watched(self, target)
        self._databases.add(watched)
        return watched

    def _add(self, key: _Key, amount: float = 1) -> None:
        """Count something; never waits."""
        self._waiting.append((key, amount))
        self._count_waiting()

    def _count_waiting(self) -> None:
        """Count what is in the queue, unless somebody is counting: who then does so looks again."""
        while self._waiting and self._lock.acquire(blocking=False):
            try:
                self._count()
            finally:
                self._lock.release()

    def _count(self) -> None:
        while self._waiting:
            key, amount = self._waiting.popleft()
            (self._calls.get(key) or self._call(key))(amount)

    def _call(self, key: _Key) -> Callable[[float], object]:
        name, labels = key
        timed = BY_NAME[name].kind == "histogram"
        call: Callable[[float], object]
        if self._shared:
            child = self._files[name].labels(*labels)
            call = child.observe if timed else child.inc
        else:
            counted = self._counted[key] = _Buckets() if timed else _Total()
            call = counted.add
        self._calls[key] = call
        return call

    def _forget(self, watched: "_Watched") -> None:
        """Tell no more of a database that is closed, but for what it was counted to do."""
        self._databases.discard(watched)

    # -------------------------------------------------------------------------------------------- scrapes

    def describe(self) -> "Iterable[Family]":
        """Tell which metrics there are, so that a second one in the registry is refused."""
        return [_family(metric) for metric in METRICS]

    def collect(self) -> "Iterator[Family]":
        """Give everything to whoever scrapes; prometheus-client calls this.

        What many processes share in files is read from there, not here.
        """
        families = {name: _family(metric) for name, metric in BY_NAME.items()}
        with self._lock:
            self._count()
            for (name, labels), counted in self._counted.items():
                counted.sample(families[name], labels)
        for each in sorted(self._databases, key=lambda each: each.name):
            each.sample(families)
        yield from (family for family in families.values() if family.samples)

    # ----------------------------------------------------------------------------------------------- fork

    def _before_fork(self) -> None:
        """Have no other thread be counting while the process is copied."""
        self._stopped = self._lock.acquire(timeout=1)

    def _after_fork(self, *, child: bool) -> None:
        """Go on; a child starts from zero, for what its parent did is the parent's to tell."""
        if child:
            self._waiting.clear()
            if not self._shared:
                self._calls.clear()
                self._counted.clear()
        if self._stopped:
            self._lock.release()


class _Total:
    """A number that grows."""

    __slots__ = ("_value",)

    def __init__(self) -> None:
        self._value = 0.0

    def add(self, amount: float) -> None:
        self._value += amount

    def sample(self, family: Any, labels: Sequence[str]) -> None:
        family.add_metric(labels, self._value)


class _Buckets:
    """Seconds by `SECONDS`, and their sum."""

    __slots__ = ("_counts", "_sum")

    def __init__(self) -> None:
        self._counts = [0] * len(SECONDS)
        self._sum = 0.0

    def add(self, amount: float) -> None:
        self._counts[bisect_left(SECONDS, amount)] += 1
        self._sum += amount

    def sample(self, family: Any, labels: Sequence[str]) -> None:
        family.add_metric(labels, _cumulated(SECONDS, self._counts), self._sum)


class _Watched(Events):
    """One database's part."""

    def __init__(self, metrics: PrometheusMetrics, target: Target) -> None:
        self.name = target.name
        self._metrics = metrics
        self._pool = ref(target.pool)
        self._replicas = None if target.replicas is None else ref(target.replicas)
        self._heads = target.heads
        self._keys: dict[str, _Key] = {}
        self._lock, self._calls, self._waiting = metrics._lock, metrics._calls, metrics._waiting
        self._asked = -inf
        self._found: dict[str, tuple[str | None, str | None]] | None = None

    def statement(self, told: Told) -> None:
        # As `PrometheusMetrics._add` does, without the queue where nobody else is counting.
        key = self._keys.get(told.name) or self._key(told.name)
        if (observe := self._calls.get(key)) is None or not self._lock.acquire(blocking=False):
            self._metrics._add(key, told.seconds)
        else:
            try:
                observe(told.seconds)
            finally:
                self._lock.release()
            if self._waiting:
                self._metrics._count_waiting()
        if (failure := told.failure) is not None:
            self._add("errors_total", failure.sqlstate or "", type(failure).__name__)

    def _key(self, name: str) -> _Key:
        if len(self._keys) >= _MOST_NAMES:
            return "statement_seconds", (self.name, _OTHER, _OTHER)
        repository, _, call = name.partition(" " if name.startswith("sql ") else ".")
        if repository == "sql" and call not in _COMMANDS:
            call = _OTHER
        key = self._keys[name] = "statement_seconds", (self.name, repository, call or repository)
        return key

    def _add(self, name: str, *labels: str, amount: float = 1) -> None:
        self._metrics._add((name, (self.name, *labels)), amount)

    def unit(self, tries: Tries | None) -> Ender:  # noqa: ARG002
        return self._unit_ended

    def _unit_ended(self, end: UnitEnd) -> None:
        self._add("unit_seconds", end.outcome, amount=end.seconds)

    def retry(self, reason: str) -> None:
        self._add("retries_total", reason)

    def unknown_outcome(self, name: str) -> None:  # noqa: ARG002
        self._add("unknown_commits_total")

    def cache(self, entity: str, result: CacheResult) -> None:
        self._add("cache_requests_total", entity, result)

    def close(self) -> None:
        self._metrics._forget(self)

    # -------------------------------------------------------------------------------------------- scrapes

    def sample(self, families: "dict[str, Any]") -> None:
        """Add what the pool says, what is known of the replicas, and what the server said."""
        pool = self._pool()
        if pool is None:
            return
        if self._metrics.heads_every is not None and monotonic() - self._asked >= self._metrics.heads_every:
            self._asked = monotonic()
            self._found = self._ask()
        _sample_pool(families, self.name, pool.stats())
        if self._replicas is not None and (replicas := self._replicas()) is not None:
            _sample_replicas(families, self.name, replicas)
        if self._metrics.heads_every is not None:
            self._sample_heads(families)

    def _ask(self) -> dict[str, tuple[str | None, str | None]] | None:
        pool = self._pool()
        if pool is None:
            return None
        session = Autocommit(
            lambda: pool.borrow(timeout=_ASKING, purpose="metrics"),
            TransactionOptions(statement_timeout=_ASKING),
            Limits(deadline=_ASKING),
        ).session
        with suppress(DatabaseHandlerError):
            return self._heads(session)
        return None

    def _sample_heads(self, families: "dict[str, Any]") -> None:
        families["up"].add_metric([self.name], self._found is not None)
        for of, (applied, expected) in (self._found or {}).items():
            families["migration_info"].add_metric([self.name, of, applied or "", expected or ""], 1)
            families["migration_pending"].add_metric([self.name, of], applied != expected)


def _in_files() -> dict[str, Any]:
    """Make what counts into the files that processes share; those are read by prometheus-client."""
    client = extra()
    found = {}
    for name, metric in BY_NAME.items():
        told = metric.name, metric.help, metric.labels
        if metric.source == "told" and metric.kind == "histogram":
            found[name] = client.Histogram(*told, registry=None, buckets=SECONDS)
        elif metric.source == "told":
            found[name] = client.Counter(*told, registry=None)
    return found


def _family(metric: Metric) -> Any:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
    return kinds[metric.kind](metric.name, metric.help, labels=metric.labels)


def _sample_pool(families: "dict[str, Any]", name: str, stats: PoolStats) -> None:
    for state in ("idle", "in_use", "connecting"):
        families["pool_connections"].add_metric([name, state], getattr(stats, state))
    families["pool_max_connections"].add_metric([name], stats.max_size)
    families["pool_waiting"].add_metric([name], stats.waiting)
    for of, found in (("wait", stats.wait), ("use", stats.use)):
        buckets = _cumulated(BUCKETS, found.counts)
        families[f"pool_{of}_seconds"].add_metric([name], buckets, found.seconds)
    families["pool_opened_total"].add_metric([name], stats.opened)
    for reason, count in stats.closed_by_reason.items():
        families["pool_closed_total"].add_metric([name, reason.name.lower()], count)
    families["pool_timeouts_total"].add_metric([name], stats.timeouts)
    families["pool_overloads_total"].add_metric([name], stats.overloads)


def _sample_replicas(families: "dict[str, Any]", name: str, replicas: "Replicas") -> None:
    """Add what is known of each replica by the last answers: a scrape asks none of them."""
    from database_handler.core.replicas import ReplicaState

    for replica, status in zip(replicas.places, replicas.status(), strict=True):
        for state in ReplicaState:
            families["replica_state"].add_metric([name, replica, state.value], state is status.state)
        for of in ("lag_seconds", "lag_bytes"):
            if (lag := getattr(status, of)) is not None:
                families[f"replica_{of}"].add_metric([name, replica], lag)
        families["replica_reads_total"].add_metric([name, replica], status.reads)
        for error, count in status.left_out.items():
            families["replica_left_out_total"].add_metric([name, replica, error], count)
    for reason, count in replicas.at_primary.copy().items():
        families["replica_primary_reads_total"].add_metric([name, reason], count)


def _cumulated(ends: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Return the buckets as Prometheus has them, each with those below it."""
    told = ("+Inf" if end == inf else str(end) for end in ends)
    return list(zip(told, map(float, accumulate(counts)), strict=True))


# ------------------------------------------------------------------------------------------------------ fork

_all: WeakSet[PrometheusMetrics] = WeakSet()
_held: list[PrometheusMetrics] = []


def _before_fork() -> None:
    _held[:] = list(_all)
    for metrics in _held:
        metrics._before_fork()


def _after_fork(*, child: bool) -> None:
    for metrics in _held:
        metrics._after_fork(child=child)
    _held.clear()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=lambda: _after_fork(child=False),
    after_in_child=lambda: _after_fork(child=True),
)
