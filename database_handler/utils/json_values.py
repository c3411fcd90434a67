"""A JSON object is one that jsonb gives back as it was, or it is refused."""

import math
from collections.abc import Iterator
from typing import Final

from pydantic import JsonValue

from database_handler.utils.errors import InvalidValue
from database_handler.utils.text import verbatim

__all__ = ["json_object"]

_JSON_DEPTH: Final = 100
_JSON_VALUES: Final = 2_000_000
_JSON_FLOAT: Final = 1e16  # from here on floats are written without a fraction, as 1e+16
_JSON_INT_BITS: Final = 14_000  # Python turns an int of more than 4,300 digits neither into text nor back


def json_object(value: object) -> dict[str, JsonValue]:
    """Give a JSON object unaltered, or refuse what JSON or PostgreSQL's jsonb would not give back the same.

    Allowed are dict with text keys, list, str, int, finite float, bool and None, of exactly these types, to a
    depth of 100; NUL and lone surrogates are refused in keys too. It walks without recursion.
    """
    if type(value) is not dict:
        raise InvalidValue(f"a JSON object (dict) is needed, not {type(value).__name__}")
    left = _JSON_VALUES
    stack: list[Iterator[object]] = [iter([value])]
    while stack:
        item = next(stack[-1], stack)
        if item is stack:
            stack.pop()
            continue
        left -= 1
        inside = _json_items(item)
        if inside is not None:
            stack.append(inside)
        # The count also ends a value that holds itself many times.
        if len(stack) > _JSON_DEPTH + 1 or left < 0:
            raise InvalidValue(f"JSON of at most {_JSON_DEPTH} levels and {_JSON_VALUES:,} values is allowed")
    return value


def _json_items(item: object) -> Iterator[object] | None:
    """Check one value of JSON, and give what is inside it."""
    if type(item) is dict:
        for key in item:
            _json_key(key)
        return iter(item.values())
    if type(item) is list:
        return iter(item)
    _json_scalar(item)
    return None


def _json_key(key: object) -> None:
    if type(key) is not str:
        raise InvalidValue(f"a key of a JSON object must be text, not {type(key).__name__}")
    verbatim(key)


def _json_float(item: float) -> None:
    if not math.isfinite(item):
        raise InvalidValue("JSON has no NaN and no Infinity")
    if abs(item) >= _JSON_FLOAT:
        raise InvalidValue("jsonb gives a float from 1e16 on back as a whole number: give an int, or a text")


def _json_scalar(item: object) -> None:
    if type(item) is str:
        verbatim(item)
    elif type(item) is float:
        _json_float(item)
    elif type(item) is int:
        if item.bit_length() > _JSON_INT_BITS:
            raise InvalidValue("a whole number in JSON must have at most 4,200 digits")
    elif item is not None and type(item) is not bool:
        raise InvalidValue(
            f"JSON holds dict, list, str, int, float, bool and None, not {type(item).__name__}"
        )
