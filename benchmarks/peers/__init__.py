"""One module a side, written as its own documentation advises; each has the class `Side`."""
