"""Databases with a cache in front of each, as processes have them, and what their caches say."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from database_handler import Database, Project
from database_handler.config.cache import CacheConfig
from database_handler.config.database import DatabaseConfig
from database_handler.core.cache import Cache
from database_handler.core.cache_reports import CacheStats
from tests.support.valkey import Valkey

__all__ = ["Make", "cache", "cached_databases", "created", "stats"]

Make = Callable[..., Database]


@contextmanager
def cached_databases(shared: Database, valkey: Valkey, **defaults: object) -> Iterator[Make]:
    """Make databases, each with a cache of its own; the cache's server is empty before, the tables after."""
    valkey.client.flushall()
    made: list[Database] = []

    def make(config: DatabaseConfig = shared.config, **settings: object) -> Database:
        named = {"url": valkey.url, **defaults, **settings}
        made.append(Database(config, cache=CacheConfig.model_validate(named)))
        return made[-1]

    yield make
    for each in made:
        each.close()
    shared.session.run("TRUNCATE projects CASCADE")


def cache(database: Database) -> Cache:
    """Return the cache, which is there."""
    assert database.cache is not None
    return database.cache


def stats(database: Database) -> CacheStats:
    """Return what its cache counted."""
    return cache(database).stats()


def created(database: Database, **fields: Any) -> Project:
    """Return a new project, under a name that no other has."""
    return database.projects.create(**{"name": f"film {uuid4()}", **fields})
