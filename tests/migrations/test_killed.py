"""A run that is killed at any message, on the way up or down, is run again and ends in the same state."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.migrations import MigrationManager
from tests.migrations.conftest import Folder
from tests.migrations.killing import TABLES, State, gone, run_killed, state, write_versions

Make = Callable[[], DatabaseConfig]


@pytest.fixture
def every_sort(tmp_path: Path) -> Folder:
    path = tmp_path / "every_sort"
    path.mkdir()
    return write_versions(path)


def brought(config: DatabaseConfig, folder: Folder, call: str) -> None:
    manager = MigrationManager(config, folder.path)
    if call == "migrate":
        manager.migrate()
    else:
        manager.rollback(target=0)


class Reference:
    """What an undisturbed run ends in, and how many messages it sends."""

    def __init__(self, config: DatabaseConfig, folder: Folder, call: str) -> None:
        if call == "rollback":
            brought(config, folder, "migrate")
        sent = run_killed(config, folder, call).sent
        # What is recorded for `drift` after the run is another's to test.
        self.messages = 1 + max(place for place, text in enumerate(sent) if "application_migrations" in text)
        self.sent = sent
        self.state = state(config, TABLES)


def killed_at(
    config: DatabaseConfig, folder: Folder, call: str, at: int, *, after: bool
) -> State:
    if call == "rollback":
        brought(config, folder, "migrate")
    run_killed(config, folder, call, at, after=after)
    gone(config)
    brought(config, folder, call)
    return state(config, TABLES)
