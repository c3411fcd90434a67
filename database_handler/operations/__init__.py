"""What it takes to run the library: health, roles, backups, monitoring, advice, changes, distribution."""
