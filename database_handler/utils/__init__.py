"""The lowest layer: the root of the error tree, rules on values, and the library's events."""
