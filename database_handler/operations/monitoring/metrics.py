"""Every metric that is exported, with its labels: code, page and dashboard are held to this list."""

from dataclasses import dataclass, replace
from math import inf
from typing import Final, Literal

__all__ = ["BY_NAME", "METRICS", "SECONDS", "Metric"]

Kind = Literal["counter", "gauge", "histogram"]

SECONDS: Final = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    inf,
)
"""Upper ends of the buckets of statements and units."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes
    ----------
    source : {"told", "pool", "replicas", "server"}
        Counted as it happens; read at a scrape from the pool, or from what is known of the replicas; asked of
        the server, if that was wanted.
    """

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str
    source: Literal["told", "pool", "replicas", "server"] = "told"


def _told(name: str, kind: Kind, help: str, *labels: str) -> Metric:
    return Metric(name=f"database_handler_{name}", kind=kind, labels=("database", *labels), help=help)


def _pool(name: str, kind: Kind, help: str, *labels: str) -> Metric:
    return replace(_told(f"pool_{name}", kind, help, *labels), source="pool")


def _replica(name: str, kind: Kind, help: str, *labels: str) -> Metric:
    return replace(_told(f"replica_{name}", kind, help, *labels), source="replicas")


def _server(name: str, kind: Kind, help: str, *labels: str) -> Metric:
    return replace(_told(name, kind, help, *labels), source="server")


METRICS: Final = (
    _told(
        "statement_seconds",
        "histogram",
        "From sending a statement to the end of its answer, failed ones included",
        "repository",
        "call",
    ),
    _told("errors_total", "counter", "Statements that failed", "sqlstate", "error"),
    _told("unit_seconds", "histogram", "From opening a unit of work to its end", "outcome"),
    _told(
        "retries_total", "counter", "Units that were run again, by what the try before failed with", "reason"
    ),
    _told("unknown_commits_total", "counter", "Writes of which nobody knows whether they are stored"),
    _told("cache_requests_total", "counter", "What the cache answered", "repository", "result"),
    _pool("connections", "gauge", "Connections that are idle, in use, or being made", "state"),
    _pool("max_connections", "gauge", "The most connections that there may be"),
    _pool("waiting", "gauge", "Borrowers that wait for a connection"),
    _pool("wait_seconds", "histogram", "How long borrowing took, of what was given back"),
    _pool("use_seconds", "histogram", "How long a connection was held"),
    _pool("opened_total", "counter", "Connections made"),
    _pool("closed_total", "counter", "Connections closed", "reason"),
    _pool("timeouts_total", "counter", "Borrowers that got PoolTimeout"),
    _pool("overloads_total", "counter", "Borrowers that got PoolOverloaded"),
    _replica("state", "gauge", "1 for the state that a replica is in, 0 for the others", "replica", "state"),
    _replica("lag_seconds", "gauge", "How old the rows of a replica may be at most", "replica"),
    _replica("lag_bytes", "gauge", "How much of the primary's log a replica had not replayed", "replica"),
    _replica("reads_total", "counter", "Reads and units that a replica was given", "replica"),
    _replica("left_out_total", "counter", "Failures that a replica was left out for", "replica", "error"),
    _replica(
        "primary_reads_total", "counter", "Reads and units that the primary was given instead", "reason"
    ),
    _server("up", "gauge", "1 if the server answered when it was last asked"),
    _server(
        "migration_info",
        "gauge",
        "Always 1; the newest migration applied, and the newest expected",
        "of",
        "applied",
        "expected",
    ),
    _server("migration_pending", "gauge", "1 if the newest migration applied is not the one expected", "of"),
)

BY_NAME: Final = {metric.name.removeprefix("database_handler_"): metric for metric in METRICS}
