"""What a type or an expression means for the rows of a table, told from its text.

PostgreSQL rewrites a table where a new column's default is volatile, or where a new type stores the values in
another way. The answers lean to the safe side: a function that nobody here knows counts as volatile.
"""

import re
from collections.abc import Collection, Iterator
from itertools import pairwise

from database_handler.core.sql_text import Token, TokenKind, significant_tokens
from database_handler.migrations.schema.snapshot import Function, Kind, SchemaSnapshot

__all__ = ["is_constant", "is_volatile", "keeps_storage", "normal_type", "placeholder", "steady_functions"]

# Immutable and stable functions that stand in defaults; any other call counts as volatile.
_STEADY_WORDS = """
abs age array array_append array_cat array_fill array_prepend array_remove array_to_json btrim
cardinality cast ceil ceiling char_length character_length chr coalesce concat concat_ws current_catalog
current_database current_date current_role current_schema current_setting current_time current_timestamp
current_user date date_bin date_part date_trunc decode encode exists extract floor format greatest
hashtext initcap json_build_array json_build_object json_object jsonb_build_array jsonb_build_object
jsonb_object jsonb_strip_nulls least left length localtime localtimestamp lower lpad ltrim make_date
make_interval make_time make_timestamp make_timestamptz md5 mod normalize now nullif num_nonnulls
num_nulls octet_length overlay pg_current_xact_id position power quote_ident quote_literal quote_nullable
regexp_replace repeat replace reverse right round rpad row rtrim session_user sha256 sign split_part
statement_timestamp string_to_array strpos substr substring sqrt system_user timezone to_char to_date
to_json to_jsonb to_number to_timestamp to_tsvector tstzrange daterange int4range int8range numrange
tsrange transaction_timestamp translate trim trunc txid_current upper user numeric decimal varchar char
character text bit varbit bpchar time timestamp timestamptz timetz interval varying zone float in and or
not any all some between is when then else case
"""
_STEADY = frozenset(_STEADY_WORDS.split())


def steady_functions(snapshot: SchemaSnapshot | None) -> frozenset[str]:
    """Return the names of a snapshot's own functions of which each is immutable or stable."""
    steady: set[str] = set()
    volatile: set[str] = set()
    for each in snapshot or ():
        if isinstance(each, Function) and each.id.kind is Kind.FUNCTION:
            name = each.id.name.partition("(")[0].rpartition(".")[2].strip('"')
            said = {token.text.upper() for token in significant_tokens(each.definition)}
            (steady if said & {"IMMUTABLE", "STABLE"} else volatile).add(name)
    return frozenset(steady - volatile)


def is_volatile(expression: str, steady: Collection[str] = ()) -> bool:
    """Whether the value may differ from row to row, so that a column added with it rewrites the table."""
    return any(name not in _STEADY and name not in steady for name in _called(expression))


def _called(expression: str) -> list[str]:
    found = list(significant_tokens(expression))
    return [
        _folded(token)
        for token, follows in pairwise(found)
        if follows.text == "(" and token.kind in (TokenKind.WORD, TokenKind.QUOTED_IDENTIFIER)
    ]


def _folded(token: Token) -> str:
    if token.kind is TokenKind.QUOTED_IDENTIFIER:
        return token.text[1:-1].replace('""', '"')
    return token.text.lower()


# Words of an expression without columns: what else is a bare word may name a column.
_PLAIN_WORDS = "true false null with without at as precision from array year month day hour minute second to"
_CONSTANT_WORDS = _STEADY | frozenset(_PLAIN_WORDS.split())


def is_constant(expression: str, steady: Collection[str] = ()) -> bool:
    """Whether it is one value for all rows: it names no column, and nothing in it is volatile."""
    if is_volatile(expression, steady):
        return False
    found = list(significant_tokens(expression))
    if any(token.text.upper() == "SELECT" for token in found):
        return False
    return not any(_may_name_column(token, steady) for token in _outside_types(found))


def _outside_types(found: list[Token]) -> Iterator[Token]:
    """Give the tokens but for the names that follow `::`."""
    expected = False  # whether a name that comes next belongs to a type
    for token in found:
        named = token.kind in (TokenKind.WORD, TokenKind.QUOTED_IDENTIFIER)
        if named and expected:
            expected = False
            continue
        expected = token.text == "::" or (token.text == "." and not expected)
        yield token


def _may_name_column(token: Token, steady: Collection[str]) -> bool:
    if token.kind is TokenKind.QUOTED_IDENTIFIER:
        return True
    return (
        token.kind is TokenKind.WORD
        and token.text.lower() not in _CONSTANT_WORDS
        and token.text.lower() not in steady
    )


# ----------------------------------------------------------------------------------------------------- types

_ALIASES = {
    "varchar": "character varying",
    "char": "character",
    "bpchar": "character",
    "decimal": "numeric",
    "int": "integer",
    "int4": "integer",
    "int2": "smallint",
    "int8": "bigint",
    "bool": "boolean",
    "float8": "double precision",
    "float4": "real",
    "varbit": "bit varying",
    "timestamptz": "timestamp with time zone",
    "timestamp": "timestamp without time zone",
    "timetz": "time with time zone",
    "time": "time without time zone",
}
_TYPE = re.compile(r"^(?P<base>[^(\[]*?)\s*(?:\((?P<mod>[^)]*)\))?(?P<tail>[^\[(]*)(?P<array>(?:\[\d*\])*)$")


def normal_type(text: str) -> str:
    """Return a type's name as the server spells it, for the types that have several names."""
    folded = " ".join(token.text.lower() for token in significant_tokens(text))
    folded = re.sub(r"\s*([(\[\]),.])\s*", r"\1", folded).replace("pg_catalog.", "")
    folded = re.sub(r"\)(?=\w)", ") ", folded)
    if '"' in text or not (matched := _TYPE.match(folded)):
        return text.strip()
    base = f"{matched['base']}{matched['tail'].rstrip()}".strip()
    name = _ALIASES.get(base, base)
    return f"{_modified(name, matched['mod'])}{matched['array'] or ''}"


def _modified(name: str, mod: str | None) -> str:
    if mod is None:
        return "character(1)" if name == "character" else name
    first, space, rest = name.partition(" ")
    if first in ("timestamp", "time"):
        return f"{first}({mod}){space}{rest}"
    if name == "numeric" and "," not in mod:
        mod = f"{mod},0"
    return f"{name}({mod})"


_MODIFIED = re.compile(r"^(?P<base>[a-z ]+?)(?:\((?P<mod>[\d,]+)\))?(?P<tail> with(?:out)? time zone)?$")
_GROWING = frozenset({"character varying", "bit varying", "timestamp", "time", "interval"})
_BINARY = {
    ("character varying", "text"),
    ("text", "character varying"),
    ("cidr", "inet"),
}


def keeps_storage(old: str, new: str) -> bool:
    """Whether a change of type leaves every row as it lies: no rewrite, and no scan of the values."""
    if old == new:
        return True
    before, after = _MODIFIED.match(normal_type(old)), _MODIFIED.match(normal_type(new))
    if not before or not after:
        return False
    one = f"{before['base']}{before['tail'] or ''}"
    other = f"{after['base']}{after['tail'] or ''}"
    if one != other:
        return (one, other) in _BINARY and after["mod"] is None
    return _grows(before["base"], before["mod"], after["mod"])


def _grows(base: str, old: str | None, new: str | None) -> bool:
    if new is None:
        return base in _GROWING or base == "numeric"
    if old is None:
        return False
    if base == "numeric":
        (had, scale), (has, now) = (tuple(map(int, each.split(","))) for each in (old, new))
        return has >= had and now == scale
    return base in _GROWING and int(new) >= int(old)


_PLACEHOLDERS = {
    "text": "''",
    "character varying": "''",
    "character": "''",
    "bytea": "''",
    "boolean": "false",
    "smallint": "0",
    "integer": "0",
    "bigint": "0",
    "numeric": "0",
    "real": "0",
    "double precision": "0",
    "jsonb": "'{}'",
    "json": "'{}'",
    "uuid": "'00000000-0000-0000-0000-000000000000'",
    "date": "'-infinity'",
    "timestamp with time zone": "'-infinity'",
    "timestamp without time zone": "'-infinity'",
    "interval": "'0'",
    "inet": "'0.0.0.0'",
    "tsvector": "''",
}


def placeholder(type_name: str) -> str | None:
    """Return an SQL constant of a type for rows whose value is lost; None where none fits."""
    normal = normal_type(type_name)
    if normal.endswith("]"):
        return "'{}'"
    return _PLACEHOLDERS.get(re.sub(r"\([^)]*\)", "", normal))
