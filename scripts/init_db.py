#!/usr/bin/env python3
"""Create the database when it is missing, migrate it, and report: `database-handler init`.

The settings say where it is (DATABASE_URL or DB_*, .env, YAML), or an option does. Ends with 0 when it is
there, migrated and healthy, 1 when the server would not have it, 2 when a setting or an option is wrong.
"""

import sys

try:
    from database_handler.cli import main
except ModuleNotFoundError as missing:
    if missing.name != "database_handler":
        raise
    sys.exit(
        f"database_handler is not installed in {sys.executable}; "
        "in a checkout, scripts/demo makes .venv: .venv/bin/python scripts/init_db.py"
    )

if __name__ == "__main__":
    sys.exit(main(["init", *sys.argv[1:]], misuse=2))
