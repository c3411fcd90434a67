#!/usr/bin/env python3
"""Fill the database with the sample project or with the documents of a folder: `database-handler seed`.

Safe to run again: files that did not change are not rewritten. Ends with 0 when every file is accounted for,
also when some were refused (they are listed with their reasons), with 1 when the database or the folder
failed, with 2 when a setting or an option is wrong.
"""

import sys

try:
    from database_handler.cli import main
except ModuleNotFoundError as missing:
    if missing.name != "database_handler":
        raise
    sys.exit(
        f"database_handler is not installed in {sys.executable}; "
        "in a checkout, scripts/demo makes .venv: .venv/bin/python scripts/seed_data.py"
    )

if __name__ == "__main__":
    sys.exit(main(["seed", *sys.argv[1:]], misuse=2))
