"""Places to try versions in, of which nothing stays, with rows made for the trial."""
