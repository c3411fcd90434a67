"""Side by side with the peers: every side does the same work on the same table, in one run."""
