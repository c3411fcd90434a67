"""Names and values as SQL spells them: taken apart, put together, made free of each other."""

import re
from collections.abc import Container
from functools import lru_cache

from database_handler.core.quoting import LONGEST_NAME, identifier, unquoted
from database_handler.migrations.schema.snapshot import Kind, ObjectId, SchemaObject

__all__ = [
    "KEYWORD",
    "bare",
    "base_type",
    "callee",
    "dollar_quoted",
    "free_name",
    "named_type",
    "schema_of",
    "target",
    "with_schema",
]

_PARTS = re.compile(r'"(?:[^"]|"")*"|[^".]+')
_SUFFIX = re.compile(r"(\[\])+$")
_MODIFIER = re.compile(r"\([^()]*\)")

KEYWORD = {
    Kind.SCHEMA: "SCHEMA",
    Kind.EXTENSION: "EXTENSION",
    Kind.ENUM: "TYPE",
    Kind.DOMAIN: "DOMAIN",
    Kind.COMPOSITE: "TYPE",
    Kind.RANGE: "TYPE",
    Kind.SEQUENCE: "SEQUENCE",
    Kind.TABLE: "TABLE",
    Kind.INDEX: "INDEX",
    Kind.VIEW: "VIEW",
    Kind.MATERIALIZED_VIEW: "MATERIALIZED VIEW",
    Kind.STATISTICS: "STATISTICS",
    Kind.DICTIONARY: "TEXT SEARCH DICTIONARY",
    Kind.CONFIGURATION: "TEXT SEARCH CONFIGURATION",
}
"""The word that stands before the name of an object of its own in DROP, ALTER and COMMENT ON."""


def callee(name: str) -> tuple[str, str]:
    """Return a function's name and what follows it: ``f(integer)`` is ``f`` and ``(integer)``."""
    quoted = False
    for place, character in enumerate(name):
        if character == '"':
            quoted = not quoted
        elif character == "(" and not quoted:
            return name[:place], name[place:]
    return name, ""


@lru_cache(maxsize=65_536)
def _split(name: str) -> tuple[str, str]:
    if "." not in name:
        return "", name
    front, arguments = callee(name)
    parts = _PARTS.findall(front)
    return ".".join(parts[:-1]), parts[-1] + arguments


def bare(name: str) -> str:
    """Return a name without its schema."""
    return _split(name)[1]


def schema_of(name: str) -> str:
    """Return the schema that a name is written with; empty where it is written with none."""
    return _split(name)[0]


def with_schema(schema: str, name: str) -> str:
    """Return a bare name in a schema, where there is one."""
    return f"{schema}.{name}" if schema else name


def dollar_quoted(text: str, tag: str = "sql") -> str:
    """Return text between dollar signs, with a tag that does not occur in it."""
    number, mark = 0, f"${tag}$"
    while mark in text:
        number += 1
        mark = f"${tag}{number}$"
    return f"{mark}{text}{mark}"


def free_name(name: str, taken: Container[str], suffix: str = "_old") -> str:
    """Return a name near to `name` that is not taken, no longer than the server keeps."""
    schema, own = _split(name)
    plain = unquoted(own)
    number = 1
    while True:
        tail = suffix if number == 1 else f"{suffix}{number}"
        cut = plain.encode()[: LONGEST_NAME - len(tail)].decode(errors="ignore") + tail
        spelled = identifier(cut) if own.startswith('"') else cut
        found = with_schema(schema, spelled)
        if found not in taken:
            return found
        number += 1


def named_type(type: str) -> str:
    """Return a type without its modifiers: ``numeric(10,2)`` is ``numeric``, ``numeric[]`` stays an array."""
    return _MODIFIER.sub("", type) if "(" in type and '"' not in type else type


def base_type(type: str) -> str:
    """Return a type without modifiers and without what makes it an array."""
    return _SUFFIX.sub("", named_type(type))


def target(each: SchemaObject, *, id: ObjectId | None = None) -> str:
    """Return an object as ALTER, DROP and COMMENT ON name it: ``TABLE notes``, ``CONSTRAINT c ON notes``."""
    id = id or each.id
    if id.kind is Kind.FUNCTION:
        word = str(getattr(each, "type", "FUNCTION"))
        name, arguments = callee(id.name)
        return f"{word} {name}{'(*)' if word == 'AGGREGATE' and arguments == '()' else arguments}"
    match id.kind:
        case Kind.COLUMN:
            return f"COLUMN {id.name}.{id.part}"
        case Kind.DOMAIN_CONSTRAINT:
            return f"CONSTRAINT {id.part} ON DOMAIN {id.name}"
        case Kind.CONSTRAINT | Kind.TRIGGER | Kind.RULE | Kind.POLICY:
            return f"{id.kind.name} {id.part} ON {id.name}"
        case _:
            return f"{KEYWORD[id.kind]} {id.name}"
