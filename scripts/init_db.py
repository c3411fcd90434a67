#!/usr/bin/env python3
"""Create the database when it is missing, migrate it, and report.

The settings say where it is (DATABASE_URL or DB_*, .env, YAML), or an option does. Ends with 0 when it is
there, migrated and healthy, 1 when the server would not have it, 2 when a setting or an option is wrong.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from pydantic import BaseModel

from database_handler import Database
from database_handler.core.exceptions import ConfigurationError, DatabaseHandlerError, InvalidValue
from database_handler.migrations import MigrationReport
from database_handler.operations.health import Health


class Initialised(BaseModel, frozen=True):
    """What was done, and how the database is now."""

    database: str
    created: bool
    migrations: MigrationReport
    health: Health

    def __str__(self) -> str:
        applied = (
            f"applied {', '.join(self.migrations.applied)}" if self.migrations.applied else "nothing to do"
        )
        return "\n".join(
            [
                f"database    {self.database}: {'created' if self.created else 'was there'}",
                f"migrations  {applied}; at {self.migrations.head}",
                f"server      PostgreSQL {self.health.server_version}, {self.health.error or 'healthy'}",
            ]
        )


def initialise(db: Database) -> Initialised:
    """Create the database when it is missing, and bring its schema to the newest version."""
    created = db.create_if_missing()
    report = db.migrate()
    return Initialised(database=db.config.name, created=created, migrations=report, health=db.health())


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; a wrong one ends the program with 2."""
    parser = argparse.ArgumentParser(
        description="Create the database when it is missing, migrate it, and report."
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--database-url", metavar="URL", help="postgresql://... (default: the settings)")
    where.add_argument("--embedded", metavar="PATH", help="a PostgreSQL of its own, with its data below PATH")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args(arguments)


def opened(chosen: argparse.Namespace) -> Database:
    """Open what the options name; nothing is connected yet, but an embedded server is started."""
    if chosen.database_url is not None:
        return Database(chosen.database_url)
    if chosen.embedded is not None:
        return Database.embedded(chosen.embedded)
    return Database.from_settings()


def main(arguments: Sequence[str]) -> int:
    """Run the command; its errors are one line each."""
    chosen = options(arguments)
    try:
        with opened(chosen) as db:
            done = initialise(db)
    except DatabaseHandlerError as error:
        line = f"{type(error).__name__}: {error}"
        print(
            json.dumps({"error": line}) if chosen.json else line,
            file=sys.stdout if chosen.json else sys.stderr,
        )
        return 2 if isinstance(error, ConfigurationError | InvalidValue) else 1
    print(done.model_dump_json() if chosen.json else done)
    return 0 if done.health.ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
