"""Names and constants spelled for SQL text, where they cannot be bound: in DDL, and in files."""

__all__ = ["LONGEST_NAME", "identifier", "literal", "qualified", "unquoted"]

LONGEST_NAME = 63
"""Bytes of a name; PostgreSQL cuts what is longer."""


def literal(text: str) -> str:
    """Return text as a string constant, for a server with standard_conforming_strings."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """Return a name between double quotes."""
    return '"' + name.replace('"', '""') + '"'


def qualified(schema: str | None, name: str) -> str:
    """Return a name between quotes, with its schema where one is given."""
    return identifier(name) if schema is None else f"{identifier(schema)}.{identifier(name)}"


def unquoted(name: str) -> str:
    """Return a name as it is called, from how SQL spells it."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
