"""What lets other tools work on the same connections, transactions and tables; each needs its extra."""
