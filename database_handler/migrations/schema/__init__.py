"""What a schema holds, read out of the catalogue, and how one is turned into another."""
