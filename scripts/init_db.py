#!/usr/bin/env python3
"""Create the database when it is missing, migrate it, and report: `database-handler init`.

The settings say where it is (DATABASE_URL or DB_*, .env, YAML), or an option does. Ends with 0 when it is
there, migrated and healthy, 1 when the server would not have it, 2 when a setting or an option is wrong.
"""

import sys

from database_handler.cli import main

if __name__ == "__main__":
    sys.exit(main(["init", *sys.argv[1:]], misuse=2))
