"""What may be bound: only types that the driver sends unaltered, within a size.

The driver's own adapters would store a `Decimal` infinity as NaN and bytes in a text column as hexadecimal,
and take objects that write their own SQL (`AsIs`, `__conform__`); such are refused before a byte is sent.
"""

import datetime as dt
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from psycopg2.extras import Json

from database_handler.core.exceptions import InvalidValue

__all__ = ["Parameters", "adapted", "bound"]

Parameters = Sequence[object] | Mapping[str, object] | None


UNALTERED: frozenset[type] = frozenset(
    {int, float, bool, type(None), dt.datetime, dt.date, dt.time, dt.timedelta, memoryview}
)
_OWN = UNALTERED | {bytes}


def bound(parameters: Parameters, most: int, *, own: bool = False) -> Parameters:
    """Turn parameters into what the driver sends unaltered, or refuse them.

    Parameters
    ----------
    most : int
        Bytes that they may hold together.
    own : bool
        Whether the statement is the library's, which knows its columns' types: bytes may be bound then. A
        caller's SQL takes a memoryview, since bytes into a text column would be stored as hexadecimal text.

    Raises
    ------
    InvalidValue
        Not a sequence or mapping; a value of a type that is not known to go through unaltered; too large.
    """
    if parameters is None:
        return None
    if isinstance(parameters, str | bytes) or not isinstance(parameters, Sequence | Mapping):
        raise InvalidValue(f"parameters are a list, a tuple or a mapping, not {type(parameters).__name__}")
    known = _OWN if own else UNALTERED
    try:
        if isinstance(parameters, Mapping):
            named = {str(name): adapted(value, name, known) for name, value in parameters.items()}
            _refuse_large(named.values(), most)
            return named
        items = [adapted(value, place, known) for place, value in enumerate(parameters, 1)]
        _refuse_large(items, most)
    except RecursionError:
        pass
    else:
        return items
    raise InvalidValue("a parameter is nested too deeply to be sent")


def adapted(value: object, place: object, known: frozenset[type] = UNALTERED) -> object:
    """Return one value as it is bound; `InvalidValue` where it would not go through unaltered."""
    kind = type(value)
    if kind is str:
        return _storable(value, place)
    if kind in known:
        return value
    if kind is UUID:
        return str(value)
    if isinstance(value, Enum):
        return adapted(value.value, place, known)
    return _adapted_compound(value, place, known)


def _storable(text: Any, place: object) -> Any:
    if "\0" in text:
        raise InvalidValue(f"parameter {place}: text holds a NUL character, which PostgreSQL cannot store")
    return text


def _adapted_compound(value: object, place: object, known: frozenset[type]) -> object:
    if isinstance(value, list):
        return _adapted_list(value, place, known)
    if isinstance(value, tuple):
        return tuple(adapted(item, place, known) for item in value)
    if isinstance(value, dict):
        return _to_json(value, place)
    if type(value) is Json:
        return _to_json(value.adapted, place, value.dumps)
    if type(value) is Decimal and (value.is_finite() or value.is_nan()):
        return value
    raise InvalidValue(
        f"parameter {place}: a {type(value).__name__} is not sent; allowed are str, int, float, bool, None, "
        "finite Decimal, date and time types, UUID, Enum, memoryview (for bytea), and list, tuple or dict of "
        "these"
    )


def _adapted_list(values: list[Any], place: object, known: frozenset[type]) -> object:
    # As one literal without a type, like a single UUID: an array of text would not compare with uuid.
    if values and all(type(value) is UUID for value in values):
        return "{" + ",".join(map(str, values)) + "}"
    return [adapted(value, place, known) for value in values]


def _json_text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _to_json(value: object, place: object, dumps: Callable[[Any], str] = _json_text) -> str:
    try:
        return str(dumps(value))
    except (TypeError, ValueError):
        pass
    raise InvalidValue(f"parameter {place}: a dict holds what JSON cannot, such as NaN, a set or itself")


def _refuse_large(values: Iterable[object], most: int) -> None:
    size = _size(values)
    if size > most:
        raise InvalidValue(
            f"the parameters hold at least {size:,} bytes; max_parameter_bytes allows {most:,}"
        )


def _size(values: Iterable[object]) -> int:
    """Count characters and bytes, and one for each item of a list: no more than will be sent."""
    size = 0
    for value in values:
        if isinstance(value, str | bytes):
            size += len(value)
        elif isinstance(value, memoryview):
            size += value.nbytes
        elif isinstance(value, list | tuple):
            size += len(value) + _size(value)
    return size
