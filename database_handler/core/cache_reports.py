"""What the cache tells people: what this process did with it, what it holds, and whether it is well."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from database_handler.core.cache_server import ServerFacts

__all__ = ["CacheCheck", "CacheContents", "CacheStats", "warnings"]


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What this process did with its cache since it was opened.

    Attributes
    ----------
    hits, misses : int
        Records that came from the cache, and that did not.
    stale, garbage : int
        Of the misses: entries that a write had made unreadable, and what was no entry of ours.
    fills, refused : int
        Entries stored; and those not stored because the row was written meanwhile.
    unfit : int
        Values not stored: too large, or of a kind that does not come back from JSON as it was.
    waits : int
        How often a reader waited for another one who was loading the same record.
    errors : int
        Questions that the server did not answer in time.
    unannounced : int
        Commits that the cache could not be told of before.
    owed : int
        Tags that it is still to be told of.
    left_alone : bool
        Whether it is not asked at present, after an error.
    """

    hits: int = 0
    misses: int = 0
    stale: int = 0
    garbage: int = 0
    fills: int = 0
    refused: int = 0
    unfit: int = 0
    waits: int = 0
    errors: int = 0
    unannounced: int = 0
    owed: int = 0
    left_alone: bool = False


@dataclass(frozen=True, slots=True)
class CacheContents:
    """What the cache holds of this database: entries by entity, and tags that are held by writers."""

    entries: Mapping[str, int]
    marked: int
    complete: bool


@dataclass(frozen=True, slots=True)
class CacheCheck:
    """Whether the cache answers, how fast, and what of its set-up is unwise.

    Attributes
    ----------
    problem : str, optional
        Why it does not answer.
    seconds : float
        One question and its answer.
    """

    ok: bool
    seconds: float
    problem: str | None = None
    server: ServerFacts | None = None
    warnings: tuple[str, ...] = ()


def warnings(facts: ServerFacts, seconds: float, limit: float) -> Iterator[str]:
    """Say what of the server's set-up is unwise; `seconds` is what one answer took, `limit` what all may."""
    if facts.max_bytes and facts.eviction == "noeviction":
        yield "maxmemory-policy is noeviction: once the memory is full, writers cannot mark what they commit"
    if not facts.max_bytes:
        yield "maxmemory is not set: the server may take all memory of its machine"
    if seconds > limit / 3:
        yield f"an answer takes {seconds:.3f} s, and an operation of three questions may take {limit:g} s"
