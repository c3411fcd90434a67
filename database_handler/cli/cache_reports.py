"""What the commands on the cache give, and how it is laid out for people."""

from collections.abc import Iterator

from pydantic import BaseModel
from rich.console import RenderableType
from rich.text import Text

from database_handler.cli.tables import columns_of, laid_out, pairs, phrase
from database_handler.core.cache_reports import CacheCheck, CacheContents
from database_handler.core.cache_server import ServerFacts

__all__ = ["CheckedCache", "ClearedCache", "FilledCache"]


class FilledCache(BaseModel, frozen=True):
    """What the cache holds of the database, and which server it is."""

    server: ServerFacts
    contents: CacheContents


class ClearedCache(BaseModel, frozen=True):
    """How many entries were removed; all that others hold open are unreadable."""

    removed: int


class CheckedCache(BaseModel, frozen=True):
    """Whether the cache answers, and what of its set-up is unwise."""

    check: CacheCheck


@laid_out.register
def _(value: FilledCache, lines: bool) -> Iterator[RenderableType]:
    table = columns_of(lines, "entity", "entries", right=("entries",))
    for name, number in value.contents.entries.items():
        table.add_row(phrase(name), phrase(f"{number:,}"))
    yield table
    yield pairs(list(_server(value.server)))
    if value.contents.marked:
        yield phrase(f"{value.contents.marked:,} tags are held by writers", "yellow")
    if not value.contents.complete:
        yield phrase("there are more keys than were counted", "yellow")


def _server(facts: ServerFacts) -> Iterator[tuple[str, Text]]:
    yield "server", phrase(f"{facts.software} {facts.version}")
    limit = f" of {facts.max_bytes:,}" if facts.max_bytes else ", without a limit"
    yield "memory", phrase(f"{facts.used_bytes:,} bytes{limit}")
    yield "eviction", phrase(facts.eviction)


@laid_out.register
def _(value: ClearedCache, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield phrase(f"removed {value.removed:,} entries")


@laid_out.register
def _(value: CheckedCache, lines: bool) -> Iterator[RenderableType]:
    del lines
    check = value.check
    if check.server is None:
        yield phrase(f"the cache does not answer: {check.problem}", "red")
        return
    yield phrase(
        f"{check.server.software} {check.server.version} answers in {check.seconds * 1000:.1f} ms", "green"
    )
    for warning in check.warnings:
        yield phrase(f"note: {warning}", "yellow")
