"""What a folder of versions holds: files read, checked and written, without a database."""
