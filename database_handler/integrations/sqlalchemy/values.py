"""The values of data tools, taken for what they are: numpy's scalars, pandas' timestamps, marked text."""

import datetime as dt
from collections.abc import Mapping
from enum import Enum
from typing import Any, cast

from database_handler.core.parameters import Parameters

__all__ = ["plain"]


def plain(parameters: object) -> Parameters:
    """Return parameters with values that this library binds; what is none of these stays as it is."""
    if isinstance(parameters, Mapping):
        return {name: _plain_value(value) for name, value in parameters.items()}
    if isinstance(parameters, list | tuple):
        return [_plain_value(value) for value in parameters]
    return cast("Parameters", parameters)  # none, or refused by its type


def _plain_value(value: Any) -> Any:
    kind = type(value)
    if kind in _AS_IT_IS:
        return value
    if kind.__module__ == "numpy" and hasattr(value, "item") and not getattr(value, "ndim", 1):
        return value.item()
    if isinstance(value, str) and not isinstance(value, Enum):
        return str.__str__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, dt.datetime) and not getattr(value, "nanosecond", 0) and hasattr(value, "asm8"):
        return value.to_pydatetime()  # type: ignore[attr-defined]  # pandas'; one finer than a microsecond stays, and is refused
    return value


_AS_IT_IS = frozenset({str, int, float, bool, type(None), dt.datetime, dt.date, dict, list, tuple})
