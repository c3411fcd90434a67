"""Values that a column might take, as text that the server casts: by its type, and by what checks name."""

import re
from collections.abc import Iterable, Iterator

from database_handler.core.sql_text import TokenKind, tokens
from database_handler.migrations.schema.snapshot import (
    CompositeType,
    Domain,
    EnumType,
    Kind,
    ObjectId,
    RangeType,
    SchemaSnapshot,
)
from database_handler.migrations.scratch.seed_patterns import matches

__all__ = ["candidates", "literals"]

_TEXTS = (
    "seed one", "seed-two", "three", "a", "b", "en", "de-AT", "fr", "https://example.com/one", "0", "1", "2",
    "https://example.com/two", "one@example.com", "example.com", "A", "2024-02-29", "text/plain",
    "0000000000000000000000000000000000000000000000000000000000000001", "{}", "one/two.txt",
    "01890a5d-ac96-774b-bcce-b302099a8057", "",
)  # fmt: skip
_NUMBERS = ("1", "2", "3", "0", "7", "10", "100", "42", "2024", "-1")
_UUIDS = tuple(f"01890a5d-ac96-774b-bcce-b302099a80{number:02}" for number in range(10, 20))
_INSTANTS = ("2024-02-29 12:00:00.123456+00", "2001-01-01 00:00:00+00", "2038-01-19 03:14:07+00")
_FAMILIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"text|character varying.*|varchar.*|citext|name|\"char\"|character.*|bpchar.*", _TEXTS),
    (r"smallint|integer|bigint|numeric.*|real|double precision|money|oid", _NUMBERS),
    (r"boolean", ("true", "false")),
    (r"uuid", _UUIDS),
    (r"timestamp.*", _INSTANTS),
    (r"date", ("2024-02-29", "2001-01-01", "2038-01-19")),
    (r"time with time zone|timetz", ("12:00:00.5+00", "23:59:59+02")),
    (r"time.*", ("12:00:00.5", "23:59:59", "00:00:00")),
    (r"interval.*", ("1 day 02:03:04.5", "1 mon", "00:00:00")),
    (r"jsonb?|jsonpath", ("{}", '{"one": [1, "zwei"]}', "[]", "1", "$.one")),
    (r"xml", ("<one/>", "<two/>")),
    (r"bytea", ("\\x00ff", "\\x01", "\\x")),
    (r"inet", ("192.0.2.1", "2001:db8::1")),
    (r"cidr", ("192.0.2.0/24", "2001:db8::/32")),
    (r"macaddr", ("08:00:2b:01:02:03", "08:00:2b:01:02:04")),
    (r"macaddr8", ("08:00:2b:01:02:03:04:05",)),
    (r"bit varying.*|varbit.*", ("101", "0", "1")),
    (r"point", ("(1,2)", "(0,0)")),
    (r"line", ("{1,2,3}",)),
    (r"lseg|path|polygon", ("((0,0),(1,1))", "((0,0),(1,1),(1,0))")),
    (r"box", ("(1,1),(0,0)",)),
    (r"circle", ("<(0,0),1>",)),
    (r"tsvector|tsquery", ("one", "two")),
    (r"(int4|int8|num)(multi)?range", ("empty", "[1,2)", "{}", "{[1,2)}")),
    (r"\w*range", ("empty", "{}")),
    (r"pg_lsn", ("0/1", "0/2")),
    (r"regclass|regtype|regconfig", ("pg_class", "integer", "simple")),
    (r"vector(\((?P<width>\d+)\))?", ("[1,2,3]",)),
    (r"hstore", ("one=>1", "")),
    (r"ltree", ("one.two", "one")),
)
_COMPILED = tuple((re.compile(pattern), values) for pattern, values in _FAMILIES)
_ARRAY = re.compile(r"(.+)\[\]")
_BIT = re.compile(r"bit(?:\((\d+)\))?")
_LONGEST_REPEAT = 10_000


def candidates(type_name: str, hints: Iterable[str], snapshot: SchemaSnapshot) -> tuple[str, ...]:
    """Return texts worth trying for a type, what the checks name first; each can be cast, as a rule.

    Parameters
    ----------
    hints : iterable of str
        Definitions of the checks that the column stands in.
    """
    named = list(dict.fromkeys(each for hint in hints for each in literals(hint)))
    return tuple(dict.fromkeys(_of_type(type_name, named, snapshot)))


def _of_type(type_name: str, named: list[str], snapshot: SchemaSnapshot) -> Iterator[str]:
    if array := _ARRAY.fullmatch(type_name):
        for each in list(dict.fromkeys(_of_type(array[1], named, snapshot)))[:4]:
            yield '{"' + each.replace("\\", "\\\\").replace('"', '\\"') + '"}'
        yield "{}"
        return
    yield from _of_own_type(type_name, named, snapshot)
    if bits := _BIT.fullmatch(type_name):
        yield "1" * int(bits[1] or 1)
        return
    for pattern, values in _COMPILED:
        if pattern.fullmatch(type_name):
            yield from _hinted(values, named)
            return


def _of_own_type(type_name: str, named: list[str], snapshot: SchemaSnapshot) -> Iterator[str]:
    """Give the values of a type that the schema itself defines."""
    for kind in (Kind.ENUM, Kind.DOMAIN, Kind.COMPOSITE, Kind.RANGE):
        match snapshot.objects.get(ObjectId(kind, type_name)):
            case EnumType(labels=labels):
                yield from labels
            case Domain(type=base):
                checks = _domain_checks(type_name, snapshot)
                yield from _of_type(
                    base, [*(each for check in checks for each in literals(check)), *named], snapshot
                )
            case CompositeType(attributes=attributes):
                yield f"({',' * (len(attributes) - 1)})"
            case RangeType():
                yield "empty"
            case _:
                pass


def _domain_checks(name: str, snapshot: SchemaSnapshot) -> Iterator[str]:
    for key, thing in snapshot.objects.items():
        if key.kind is Kind.DOMAIN_CONSTRAINT and key.name == name:
            yield getattr(thing, "definition", "")


def _hinted(values: tuple[str, ...], named: list[str]) -> Iterator[str]:
    """Give what the checks name where the family could hold it, then the family's own values."""
    if values is _NUMBERS:
        for number in (int(each) for each in named if re.fullmatch(r"-?\d{1,18}", each)):
            yield from map(str, (number, number + 1, number - 1))
    elif values is _TEXTS:
        for each in named:
            if not _is_number(each):
                yield from (each, *matches(each))
    yield from values
    if values is _TEXTS:
        yield from (each for each in named if _is_number(each))
        for length in (int(each) for each in named if _is_number(each) and len(each) < 6):
            if 0 < length <= _LONGEST_REPEAT:
                yield from ("a" * length, "0" * length)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def literals(expression: str) -> Iterator[str]:
    """Give the strings and numbers that an expression names, as they are.

    >>> list(literals("CHECK ((status = ANY (ARRAY['draft'::text, 'it''s'::text])) AND (n < 7))"))
    ['draft', "it's", '7']
    """
    for token in tokens(expression):
        if token.kind is TokenKind.NUMBER:
            yield token.text
        elif token.kind is TokenKind.STRING and token.text.startswith("'"):
            yield token.text[1:-1].replace("''", "'")
