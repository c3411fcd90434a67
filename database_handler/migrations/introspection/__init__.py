"""Reads a schema out of the catalogue: `introspect`."""
