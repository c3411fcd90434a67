"""What stands in a database: its drift, its adoption, and what pending versions would meet in it."""
