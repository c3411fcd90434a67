"""A process that updates a project and is killed where its last argument says; run by test_cache.py."""

import json
import os
import signal
import sys
from typing import Any
from uuid import UUID

from database_handler import Database
from database_handler.config.database import DatabaseConfig
from database_handler.core.cache import Writing


def end_here(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    asked = json.loads(sys.argv[1])
    config = DatabaseConfig.model_validate(asked["database"])
    if asked["dies"]:
        Writing.end = end_here  # type: ignore[assignment, method-assign]  # between its COMMIT and the word to the cache
    with Database(config, cache=asked["cache"]) as database:
        database.projects.update(UUID(asked["id"]), name=asked["name"])


if __name__ == "__main__":
    main()
