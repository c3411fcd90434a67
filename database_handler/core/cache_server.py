"""What the cache asks of its server, whatever client speaks to it: five questions, each atomic on the server.

A tag is absent, or holds a token, or is marked by the writers that are about to commit. Losing any of it
makes entries unreadable, never readable: a new token is drawn by chance, and old entries do not have it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["MARKED", "CacheDown", "CacheServer", "Filling", "Found", "Leases", "ServerFacts"]

MARKED = b"m"  # what a tag begins with while a writer holds it; a token begins with something else


class CacheDown(Exception):  # it never leaves the cache's own code
    """The server did not answer in time, or answered with an error; says what, without the URL."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was read under one view: entries, then tags, in the order asked.

    Attributes
    ----------
    run : str
        Which start of the server this is: what it brought back from its disk is of another one.
    """

    run: str
    entries: Sequence[bytes | None]
    tags: Sequence[bytes | None]


@dataclass(frozen=True, slots=True)
class Leases:
    """The tags as they are now, made where they were absent, and which entries are the caller's to load."""

    run: str
    tags: Sequence[bytes]
    loads: Sequence[bool]


@dataclass(frozen=True, slots=True)
class Filling:
    """One entry to be stored, if it still hangs on the tokens that it was loaded under.

    Attributes
    ----------
    value : bytes
        Empty: there is nothing to store, only the lease to give back.
    """

    entry: str
    own: str
    token: bytes
    version: int
    value: bytes
    seconds: float


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What the server says of itself."""

    software: str
    version: str
    used_bytes: int
    max_bytes: int
    eviction: str


class CacheServer(Protocol):
    """The server; every call ends `within` so many seconds, with an answer or `CacheDown`."""

    def read(self, entries: Sequence[str], tags: Sequence[str], *, within: float) -> Found:
        """Read entries and tags at one moment."""
        ...

    def lease(
        self,
        shared: Sequence[str],
        own: Sequence[str],
        entries: Sequence[str],
        *,
        loader: str,
        seconds: tuple[float, float],
        within: float,
    ) -> Leases:
        """Make tags that are absent, and take the lease of each entry that nobody else loads or has stored.

        `seconds` are how long a tag lives, and how long a lease.
        """
        ...

    def fill(
        self,
        run: str,
        shared: Sequence[tuple[str, bytes]],
        found: Sequence[Filling],
        *,
        loader: str,
        within: float,
    ) -> int:
        """Store entries whose tokens still hold, and give leases back; return how many were stored."""
        ...

    def mark(self, tags: Sequence[str], *, writer: str, seconds: float, within: float) -> None:
        """Make everything that hangs on the tags unreadable, and keep it so until the writer is done."""
        ...

    def release(self, tags: Sequence[str], *, writer: str, within: float) -> None:
        """Take the writer's mark away; what hung on the tags before stays unreadable."""
        ...

    def keys(self, prefix: str, *, within: float) -> Iterator[list[str]]:
        """Go through the keys that begin so, some at a time."""
        ...

    def remove(self, keys: Sequence[str], *, within: float) -> int:
        """Remove keys; return how many there were."""
        ...

    def facts(self, *, within: float) -> ServerFacts:
        """Ask the server about itself."""
        ...

    def after_fork(self) -> None:
        """In a forked child: leave the parent's connections alone."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...
