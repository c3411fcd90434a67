"""The commands on the cache: what it holds, whether it is well, and emptying it."""

from typing import Annotated, Any

import typer

from database_handler.cli.cache_reports import CheckedCache, ClearedCache, FilledCache
from database_handler.cli.options import Run
from database_handler.cli.program import app, command, group
from database_handler.config.settings import CACHE_VARIABLES
from database_handler.core.cache import Cache
from database_handler.core.exceptions import ConfigurationError
from database_handler.database import Database

__all__: list[str] = []

cache = typer.Typer(rich_markup_mode=None)
app.add_typer(cache, name="cache")


@command(cache, "database-handler cache stats", "database-handler cache stats --most 1000000")
def stats(
    run: Run,
    most: Annotated[int, typer.Option(min=1, max=100_000_000, help="Look at about so many keys.")] = 100_000,
) -> FilledCache:
    """Count what the cache holds of this database, by entity."""
    with run.database() as db:
        found = _of(db)
        return FilledCache(contents=found.contents(most=most), server=found.facts())


@command(cache, "database-handler cache clear")
def clear(run: Run) -> ClearedCache:
    """Remove every entry of this database, for all processes: after writes that did not come through here."""
    with run.database() as db:
        return ClearedCache(removed=_of(db).clear())


@command(cache, "database-handler cache check")
def check(run: Run) -> CheckedCache:
    """Ask the cache whether it is there, and say what of its set-up is unwise. Exit code 1: it is not."""
    with run.database() as db:
        return CheckedCache(check=_of(db).check())


def _of(db: Database[Any]) -> Cache:
    if db.cache is None:
        raise ConfigurationError(
            f"no cache is configured: set {CACHE_VARIABLES['cache_url']} to a redis:// or unix:// URL"
        )
    return db.cache


group(cache, "Look at the cache, and empty it.")
