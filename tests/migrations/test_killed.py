"""A run that is killed at any message, on the way up or down, is run again and ends in the same state."""

import random
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.embedded import EmbeddedServer
from database_handler.migrations import MigrationManager
from tests.migrations.conftest import Folder, run_alone
from tests.migrations.killing import (
    TABLES,
    Choose,
    KillingProxy,
    State,
    When,
    gone,
    state,
    write_versions,
)

_numbers = count(1)


@pytest.fixture
def every_sort(tmp_path: Path, request: pytest.FixtureRequest) -> Folder:
    path = tmp_path / "every_sort"
    path.mkdir()
    return write_versions(path, short=request.node.get_closest_marker("soak") is None)


class Fresh:
    """Databases of one test, dropped when it is over."""

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server
        self.names: list[str] = []

    def __call__(self, folder: Folder, call: str) -> DatabaseConfig:
        """Make a database in which `call` has everything to do."""
        name = f"killed_{next(_numbers)}"
        run_alone(self._server.config, f"CREATE DATABASE {name} STRATEGY file_copy")
        self.names.append(name)
        config = self._server.config.model_copy(update={"name": name})
        if call == "rollback":
            MigrationManager(config, folder.path).migrate()
        return config

    def drop(self) -> None:
        while self.names:
            run_alone(self._server.config, f"DROP DATABASE {self.names.pop()} WITH (FORCE)")


@pytest.fixture
def fresh(server: EmbeddedServer) -> Iterator[Fresh]:
    made = Fresh(server)
    yield made
    made.drop()


def undisturbed(config: DatabaseConfig, folder: Folder, call: str) -> tuple[list[str], State]:
    with KillingProxy(config, lambda number, text: None) as proxy:
        assert not proxy.killed(folder, call)
    return proxy.seen, state(config, TABLES)


class Points:
    """Chooses each kind of message of a migration once, whatever number it has in its run.

    What goes before the lock is held, and the looks at the schema for `drift`, change nothing.
    """

    def __init__(self, when: Callable[[], When]) -> None:
        self.met: set[str] = set()
        self._when = when
        self._before = ""
        self._locked = self._looks = False

    def __call__(self, number: int, text: str) -> When | None:
        if number == 1:
            self._locked, self._before = False, ""
        told = re.sub(r"[0-9a-f]{64}|\d+(\.\d+)?", "#", text)
        point = f"{self._before[:120]} > {told[:90]}"
        self._before = told if "RESET ALL" not in told else self._before
        if not self._is_own(text) or point in self.met:
            return None
        self.met.add(point)
        return self._when()

    def _is_own(self, text: str) -> bool:
        own = self._locked and not self._looks and "_snapshot" not in text and "to_jsonb(h)" not in text
        self._locked = self._locked or "pg_try_advisory_lock" in text
        self._looks = "READ ONLY" in text or (self._looks and not text.startswith("COMMIT"))
        return own


def converges(fresh: Fresh, folder: Folder, call: str, when: Callable[[], When]) -> int:
    """Kill each run at the first message at which none before it was killed; return how many were."""
    _, wanted = undisturbed(fresh(folder, call), folder, call)
    config = fresh(folder, call)
    points = Points(when)
    runs = 0
    with KillingProxy(config, points) as proxy:
        while proxy.killed(folder, call):
            runs += 1
            assert runs < 300, "it does not converge"
    gone(config)
    assert state(config, TABLES) == wanted
    assert runs == len(points.met)
    return runs


@pytest.mark.timeout(300)
@pytest.mark.parametrize("call", ["migrate", "rollback"])
def test_killed_once_at_every_message_it_ends_as_if_it_never_was(
    fresh: Fresh, every_sort: Folder, call: str
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201
    chance = random.Random(seed)
    assert converges(fresh, every_sort, call, lambda: chance.choice(["before", "after"])) > 20


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(50))
@pytest.mark.parametrize("call", ["migrate", "rollback"])
def test_killed_at_every_message_fifty_times(fresh: Fresh, every_sort: Folder, call: str, seed: int) -> None:
    chance = random.Random(seed)
    assert converges(fresh, every_sort, call, lambda: chance.choice(["before", "after"])) > 20


def at_number(at: int, when: When) -> Choose:
    return lambda number, text: when if number == at else None


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["migrate", "rollback"])
def test_killed_once_in_a_run_at_each_message(
    fresh: Fresh, every_sort: Folder, call: str, when: When
) -> None:
    """Each message in a database of its own, and the run after it ends the work."""
    seen, wanted = undisturbed(fresh(every_sort, call), every_sort, call)
    for at in range(1, len(seen) + 1):
        config = fresh(every_sort, call)
        with KillingProxy(config, at_number(at, when)) as proxy:
            assert proxy.killed(every_sort, call)
        with KillingProxy(config, lambda number, text: None) as proxy:
            assert not proxy.killed(every_sort, call)
        gone(config)
        assert state(config, TABLES) == wanted, f"killed {when} message {at}: {seen[at - 1]}"
        fresh.drop()
