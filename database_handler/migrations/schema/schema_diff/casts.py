"""How the values of a column become those of another type: by themselves, by a cast, or through text."""

import re
from collections.abc import Iterable

from database_handler.migrations.schema.schema_diff.names import base_type

__all__ = ["conversion", "family", "lost_by_cast", "refer_to_each_other"]

_FAMILIES = {
    "smallint": "number",
    "integer": "number",
    "bigint": "number",
    "numeric": "number",
    "real": "number",
    "double precision": "number",
    "text": "string",
    "character varying": "string",
    "character": "string",
    "bpchar": "string",
    "name": "string",
    "json": "json",
    "jsonb": "json",
    "date": "time",
    "timestamp without time zone": "time",
    "timestamp with time zone": "time",
    "bit": "bits",
    "bit varying": "bits",
    "inet": "address",
    "cidr": "address",
}
_CASTS = {  # casts of their own that need to be asked for
    ("integer", "boolean"),
    ("boolean", "integer"),
    ("integer", "bit"),
    ("bigint", "bit"),
    ("bit", "integer"),
    ("bit", "bigint"),
    ("jsonb", "boolean"),
    ("jsonb", "numeric"),
    ("jsonb", "smallint"),
    ("jsonb", "integer"),
    ("jsonb", "bigint"),
    ("jsonb", "real"),
    ("jsonb", "double precision"),
}
_ASSIGNED = {
    ("timestamp without time zone", "time without time zone"),
    ("timestamp with time zone", "time without time zone"),
    ("timestamp with time zone", "time with time zone"),
    ("time without time zone", "time with time zone"),
    ("time with time zone", "time without time zone"),
    ("time without time zone", "interval"),
    ("interval", "time without time zone"),
    ("integer", "money"),
    ("bigint", "money"),
    ("numeric", "money"),
    ("money", "numeric"),
}
_REFERRING = (frozenset({"smallint", "integer", "bigint"}), frozenset({"text", "character varying"}))
_WIDTHS = ("smallint", "integer", "bigint", "numeric")
_NUMBERS = re.compile(r"\(([0-9]+)(?:,(-?[0-9]+))?\)")
_PRECISION = re.compile(r"\([0-9,-]+\)")


def family(type: str) -> str | None:
    """Return the family within which types compare with each other; None for a type that has none."""
    return _FAMILIES.get(base_type(_plain(type))) if not type.endswith("]") else None


def refer_to_each_other(types: Iterable[str]) -> bool:
    """Whether columns of any two of these types can refer to each other, in either direction."""
    plain = {_plain(type) for type in types}
    return any(plain <= kin for kin in _REFERRING)


def _plain(type: str) -> str:
    """Return a type without its modifiers, also where they stand inside: ``timestamp(3) with time zone``."""
    return type if '"' in type else _PRECISION.sub("", type)


def conversion(column: str, old: str, new: str, *, made_again: bool = False) -> str | None:
    """Return the USING expression that a change of type needs; None where the server converts by itself.

    Parameters
    ----------
    made_again : bool
        Whether the type is one of the same name that was made again.
    """
    one, other = _plain(old), _plain(new)
    if made_again:
        return f"{column}::text{'[]' if other.endswith(']') else ''}::{new}"
    if _by_itself(one, other):
        return None
    if _FAMILIES.get(one) == "string" or (one, other) in _CASTS:
        return f"{column}::{new}"
    if one.endswith("]") and other.endswith("]"):
        return f"{column}::text[]::{new}"
    return f"{column}::text::{new}"


def _by_itself(one: str, other: str) -> bool:
    if one == other:
        return True
    if one.endswith("]") and other.endswith("]"):
        one, other = one.removesuffix("[]"), other.removesuffix("[]")
        return _by_itself(one, other)
    if _FAMILIES.get(other) == "string":
        return True
    return (family(one) is not None and family(one) == family(other)) or (one, other) in _ASSIGNED


def lost_by_cast(old: str, new: str) -> str | None:
    """Return what values of one type may lose as values of the other, in words; None where nothing."""
    one, other = _plain(old), _plain(new)
    if one == other:
        return _lost_by_modifier(old, new)
    if one in _WIDTHS and other in _WIDTHS:
        return "what stands behind the decimal point" if one == "numeric" else None
    if _FAMILIES.get(one) == _FAMILIES.get(other) == "number":
        return (
            None
            if (one, other) == ("real", "double precision")
            else "digits that the new type has no room for"
        )
    if _FAMILIES.get(other) == "string":
        return "blanks at the end" if one in ("character", "bpchar") else None
    return _LOST.get((one, other))


_LOST = {
    ("timestamp without time zone", "date"): "the time of day",
    ("timestamp with time zone", "date"): "the time of day",
    ("timestamp with time zone", "timestamp without time zone"): "the time zone that the values were read in",
    ("timestamp without time zone", "time without time zone"): "the date",
    ("timestamp with time zone", "time without time zone"): "the date",
    ("timestamp with time zone", "time with time zone"): "the date",
    ("time with time zone", "time without time zone"): "the time zone",
    ("json", "jsonb"): "the spelling of the documents, and keys that occur twice",
    ("inet", "cidr"): "the bits right of the netmask",
    ("interval", "time without time zone"): "whole days",
}


def _lost_by_modifier(old: str, new: str) -> str | None:
    if not new.startswith("numeric") and "time" not in new and not new.startswith("interval"):
        return None
    before, after = _NUMBERS.search(old), _NUMBERS.search(new)
    if after is None:
        return None
    place = 2 if new.startswith("numeric") else 1
    scale = int(after[place] or 0)
    had = int(before[place] or 0) if before else None
    return f"digits behind the {scale}th" if had is None or had > scale else None
