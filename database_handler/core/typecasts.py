"""What is read is what is stored, or it is refused: the driver would give some values altered.

And it is read as quickly as the standard library can: what the driver calls for a UUID or for JSON goes
through three and more functions of Python, which cost more than the value itself
(docs/decisions/0046-read-path.md).

psycopg2 reads ``infinity`` as year 9999 (as an interval: as nothing), and ``24:00`` as midnight. `ValueError`
is what its own reading raises for the years that Python lacks, so that is raised here too.

Sources: PostgreSQL 18, "Date/Time Types", output; psycopg2, "Infinite dates handling" and `new_type`.
"""

import datetime as dt
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, SafeUUID

import psycopg2.extensions as driver

__all__ = ["read_exactly"]

# Reading ISO text is as fast as the driver's own way; the other two are read by the driver's, once checked.
_moment, _date = dt.datetime.fromisoformat, dt.date.fromisoformat
_driver_time: Callable[[str, Any], Any] = driver.PYTIME
_driver_interval: Callable[[str, Any], Any] = driver.PYINTERVAL


def _time(value: str, cursor: Any) -> Any:
    if value.startswith("24"):
        raise ValueError
    return _driver_time(value, cursor)


def _interval(value: str, cursor: Any) -> Any:
    if value.endswith("infinity"):
        raise ValueError
    return _driver_interval(value, cursor)


# What `UUID` does with text, less its checks of the text: the server writes one form only.
_new, _put, _unknown = object.__new__, object.__setattr__, SafeUUID.unknown


def _uuid(value: str | None, _cursor: object) -> UUID | None:
    if value is None:
        return None
    made = _new(UUID)
    _put(made, "int", int(value.replace("-", ""), 16))
    _put(made, "is_safe", _unknown)
    return made


# The parser of `json`, without what it does about white space and text behind the value: jsonb has none.
_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_decode = json.JSONDecoder().decode


def _jsonb(value: str | None, _cursor: object) -> Any:
    if value is None:
        return None
    return {} if value == "{}" else _scan(value, 0)[0]


def _json(value: str | None, _cursor: object) -> Any:
    return None if value is None else _decode(value)


# The number of each type and of its array in pg_type.dat, its name, and how a value is read.
_READERS: list[tuple[int, int, str, Callable[[Any, Any], Any]]] = [
    (2950, 2951, "UUID", _uuid),
    (3802, 3807, "JSONB", _jsonb),
    (114, 199, "JSON", _json),
    (1114, 1115, "TIMESTAMP", lambda value, _: value and _moment(value)),
    (1184, 1185, "TIMESTAMPTZ", lambda value, _: value and _moment(value)),
    (1082, 1182, "DATE", lambda value, _: value and _date(value)),
    (1083, 1183, "TIME", lambda value, cursor: value and _time(value, cursor)),
    (1266, 1270, "TIMETZ", lambda value, cursor: value and _time(value, cursor)),
    (1186, 1187, "INTERVAL", lambda value, cursor: value and _interval(value, cursor)),
]
_TYPES = [(driver.new_type((number,), name, read), array, name) for number, array, name, read in _READERS]
_ALL = [one for one, _, _ in _TYPES]
_ALL += [driver.new_array_type((array,), f"{name}[]", one) for one, array, name in _TYPES]


def read_exactly(connection: driver.connection) -> None:
    """Have this connection read dates, times, intervals, UUIDs and JSON, and arrays of them, as they are."""
    for one in _ALL:
        driver.register_type(one, connection)
