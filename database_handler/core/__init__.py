"""What all above send and are refused with: pool, session, transaction, errors; what models declare."""
