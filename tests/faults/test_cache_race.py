"""No read that began after a commit had returned gives what was there before, whatever is evicted."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from database_handler import Database
from database_handler.config.cache import CacheConfig
from database_handler.core import cache as caching
from database_handler.core.cache_reading import Reading
from tests.faults.cache_race import Race
from tests.support.valkey import Valkey


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey() as server:
        yield server


def race(database: Database, valkey: Valkey, seed: int) -> Race:
    # Its limits are wide: what is looked for is an order of things, not a slow machine.
    cache = CacheConfig.model_validate({"url": valkey.url, "timeout": 5, "wait": 0.05})
    config = database.config.with_(pool_size=1, max_overflow=1)
    return Race(lambda: Database(config, cache=cache), valkey, seed)


def raced(database: Database, valkey: Valkey, seconds: float) -> Race:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")  # noqa: T201  # shown where the test fails
    found = race(database, valkey, seed)
    found.run(seconds)
    print(f"{found.reads} reads, {found.writes} writes, {found.evictions} evictions")  # noqa: T201  # likewise
    return found


def test_no_read_after_a_commit_is_stale(database: Database, valkey: Valkey) -> None:
    found = raced(database, valkey, 1.5)
    assert found.stale == []
    assert min(found.reads, found.writes, found.evictions) > 5


@pytest.mark.soak
@pytest.mark.timeout(400)
def test_no_read_after_a_commit_is_stale_for_minutes(database: Database, valkey: Valkey) -> None:
    found = raced(database, valkey, 300)
    assert found.stale == []
    assert min(found.reads, found.writes, found.evictions) > 1000


def fill_under_present_tokens(self: Any, leases: Any, led: Any, loaded: Any, loader: str) -> None:
    """As a cache does that stores whatever it loaded: under the tokens that are there by now."""
    self._cache.server.dawdle()
    now = self._lease(list(led), "0")
    if now is not None:
        tokens = dict(zip(led, now.tags[2:], strict=True))
        REAL_FILL(self, now, {id: (*now.tags[:2], tokens[id]) for id in led}, loaded, loader)


REAL_FILL = Reading._fill


def forget_before_the_commit_only(self: Any) -> None:
    self._cache.server.release(self._tags, writer="-", within=5)
    self._announced = True


def do_nothing(self: Any, failure: BaseException | None = None) -> None:
    pass


@pytest.mark.parametrize("broken", ["fills without a token", "forgets before the commit", "never forgets"])
def test_a_broken_build_is_caught_by_the_race(
    database: Database, valkey: Valkey, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    if broken == "fills without a token":
        monkeypatch.setattr(Reading, "_fill", fill_under_present_tokens)
    else:
        begin = forget_before_the_commit_only if broken.startswith("forgets") else do_nothing
        monkeypatch.setattr(caching.Writing, "begin", begin)
        monkeypatch.setattr(caching.Writing, "end", do_nothing)
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")  # noqa: T201  # shown where the test fails
    found = race(database, valkey, seed)
    found.run(20, first=True)
    assert found.stale
