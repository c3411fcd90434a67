"""A JSON object is one that jsonb gives back as it was, or it is refused."""

import math
from collections.abc import Iterable
from typing import Any, Final, NoReturn

from pydantic import JsonValue

from database_handler.utils.errors import InvalidValue
from database_handler.utils.text import verbatim

__all__ = ["json_object"]

_Container = dict[Any, Any] | list[Any]

_JSON_DEPTH: Final = 100
_JSON_VALUES: Final = 2_000_000
_JSON_FLOAT: Final = 1e16  # from here on floats are written without a fraction, as 1e+16
_SMALL: Final = 2**63
_JSON_INT_BITS: Final = 14_000  # Python turns an int of more than 4,300 digits neither into text nor back


def json_object(value: object) -> dict[str, JsonValue]:
    """Give a copy of a JSON object, or refuse what JSON or PostgreSQL's jsonb would not give back the same.

    Allowed are dict with text keys, list, str, int, finite float, bool and None, of exactly these types, to a
    depth of 100; NUL and lone surrogates are refused in keys too. It walks level by level, without recursion.
    """
    if type(value) is not dict:
        raise InvalidValue(f"a JSON object (dict) is needed, not {type(value).__name__}")
    if not value:
        return {}
    whole = value.copy()
    level: list[_Container] = [whole]
    left = _JSON_VALUES
    for _ in range(_JSON_DEPTH):
        below: list[_Container] = []
        for container in level:
            left -= len(container)
            if left < 0:  # which also ends a value that holds itself many times
                _refuse_size()
            _check(container, below)
        if not below:
            return whole
        level = below
    return _refuse_size()


def _check(container: _Container, below: list[_Container]) -> None:
    """Check what a dict or a list holds; each dict and list of it becomes a copy, and is put below.

    What most values are is told in place: the check is a third of what a draft with metadata costs.
    """
    items: Iterable[tuple[Any, Any]]
    if type(container) is dict:
        for key in container:
            if not (type(key) is str and key.isascii() and "\0" not in key):
                _json_key(key)
        items = container.items()
    else:
        items = enumerate(container)
    for place, item in items:
        kind = type(item)
        if kind is str:
            if not (item.isascii() and "\0" not in item):
                verbatim(item)
        elif kind is dict or kind is list:
            container[place] = copy = item.copy()
            below.append(copy)
        elif kind is int:
            if not -_SMALL < item < _SMALL:
                _json_scalar(item)
        elif not (kind is bool or item is None):
            _json_scalar(item)


def _refuse_size() -> NoReturn:
    raise InvalidValue(f"JSON of at most {_JSON_DEPTH} levels and {_JSON_VALUES:,} values is allowed")


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
    if type(item) is float:
        _json_float(item)
    elif type(item) is int:
        if item.bit_length() > _JSON_INT_BITS:
            raise InvalidValue("a whole number in JSON must have at most 4,200 digits")
    else:
        raise InvalidValue(
            f"JSON holds dict, list, str, int, float, bool and None, not {type(item).__name__}"
        )
