"""What may be bound: only types that the driver sends unaltered, within a size.

The driver's own adapters would store a `Decimal` infinity as NaN and bytes in a text column as hexadecimal,
and take objects that write their own SQL (`AsIs`, `__conform__`); such are refused before a byte is sent.
"""

import datetime as dt
import json
import re
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
    {int, float, bool, type(None), dt.datetime, dt.date, dt.time, dt.timedelta}
)
_OWN = UNALTERED | {bytes}
# An escape for NUL, which json keeps and jsonb refuses; an even number of backslashes before it is text.
_JSON_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_CHUNK = 1 << 20


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
    plain = type(parameters) in (list, tuple)  # what nearly all are, told without asking abstract classes
    if not plain and (isinstance(parameters, str | bytes) or not isinstance(parameters, Sequence | Mapping)):
        raise InvalidValue(f"parameters are a list, a tuple or a mapping, not {type(parameters).__name__}")
    known = _OWN if own else UNALTERED
    try:
        if not plain and isinstance(parameters, Mapping):
            _refuse_large(parameters.values(), most)
            return {str(name): adapted(value, name, known) for name, value in parameters.items()}
        _refuse_large(parameters, most)
        return [adapted(value, place, known) for place, value in enumerate(parameters, 1)]
    except RecursionError:
        pass
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
    if type(value) is memoryview:
        return _in_one_piece(value, place)
    if type(value) is Decimal and (value.is_finite() or value.is_qnan()):
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


def _in_one_piece(view: memoryview, place: object) -> memoryview:
    try:
        if view.c_contiguous:
            return view
    except ValueError:  # it was released
        pass
    raise InvalidValue(f"parameter {place}: a memoryview is sent in one piece, and before it is released")


def _json_text(value: object) -> str:
    if not _keyed_by_text(value):
        raise TypeError
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _keyed_by_text(value: object) -> bool:
    """Whether every key is text: any other is written as text too, where two may become one."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _keyed_by_text(item) for key, item in value.items())
    return not isinstance(value, list | tuple) or all(map(_keyed_by_text, value))


def _to_json(value: object, place: object, dumps: Callable[[Any], str] = _json_text) -> str:
    try:
        text = str(dumps(value))
    except (TypeError, ValueError):
        wrong = "a dict holds what JSON cannot, such as NaN, a set, a key that is no text, or itself"
    else:
        if "\\u0000" not in text or not _JSON_NUL.search(text):
            return text
        wrong = "JSON holds a NUL character, which PostgreSQL cannot store"
    raise InvalidValue(f"parameter {place}: {wrong}")


def _refuse_large(values: Iterable[object], most: int) -> None:
    """Refuse too many bytes before anything is made of the values: that takes as much memory again."""
    size = _size(values, len)
    if size <= most < 4 * size:  # a character has 1 to 4 bytes
        size = _size(values, _utf8_bytes)
    if size > most:
        raise InvalidValue(
            f"the parameters hold at least {size:,} bytes; max_parameter_bytes allows {most:,}"
        )


def _size(values: Iterable[object], of_text: Callable[[str], int]) -> int:
    """Count text and bytes, and one for each item of a list or a dict: no more than will be sent."""
    size = 0
    for value in values:
        if isinstance(value, str):
            size += of_text(value)
        elif isinstance(value, bytes):
            size += len(value)
        elif isinstance(value, (list, tuple)):  # the union would be made for each value
            size += len(value) + _size(value, of_text)
        elif isinstance(value, dict):
            size += len(value) + _size(value, of_text) + _size(value.values(), of_text)
        else:
            size += _size_of_other(value, of_text)
    return size


def _size_of_other(value: object, of_text: Callable[[str], int]) -> int:
    if isinstance(value, UUID):
        return 36
    if isinstance(value, Json):
        return _size([value.adapted], of_text)
    try:
        return value.nbytes if isinstance(value, memoryview) else 0
    except ValueError:  # it was released, and is refused for that
        return 0


def _utf8_bytes(text: str) -> int:
    if text.isascii():
        return len(text)
    # In pieces, so that a large text is not copied as a whole.
    pieces = (text[start : start + _CHUNK] for start in range(0, len(text), _CHUNK))
    return sum(len(piece.encode(errors="surrogatepass")) for piece in pieces)
