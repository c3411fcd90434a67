"""What the rows that are there already get in a new column: the field's default, as SQL.

A default that is made of nothing but itself is a constant; one that is made from other fields, from a clock
or from chance is none, and the model says with `Backfill` what stands for it in SQL.
"""

import datetime as dt
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_json

from database_handler.core.quoting import literal

__all__ = ["Backfill", "constant"]


@dataclass(frozen=True, slots=True)
class Backfill:
    """Marker on a field: what rows get that are there before its column is, as an SQL expression.

    The expression may name the other columns of the row: ``Backfill("lower(name)")``. It is read when a
    migration is generated, and by nothing else.
    """

    expression: str


def constant(field: FieldInfo) -> str | None:
    """Return a field's default as an SQL constant; None where it has none, or not always the same one.

    What it is made of is validated as in a draft, so that it is what a new row gets.
    """
    value = field.default
    if field.default_factory is not None:
        value = None if field.default_factory_takes_validated_data else _twice(field.get_default)
    if value is None or value is PydanticUndefined:
        return None
    return _spelled(_validated(field, value))


def _twice(make: Callable[..., Any]) -> Any:
    """Return what a factory makes, or None where it depends on when it is called."""
    first, second = (make(call_default_factory=True) for _ in range(2))
    changing = isinstance(first, dt.date | dt.time | UUID)
    return first if type(first) is type(second) and first == second and not changing else None


def _validated(field: FieldInfo, value: Any) -> Any:
    annotation: Any = field.annotation
    for marker in field.metadata:
        annotation = _annotated(annotation, marker)
    rules = ConfigDict(hide_input_in_errors=True, arbitrary_types_allowed=True)
    own = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return TypeAdapter(annotation, config=None if own else rules).validate_python(value)


def _annotated(annotation: Any, marker: Any) -> Any:
    return Annotated[annotation, marker]


def _array(values: tuple[Any, ...] | list[Any]) -> str | None:
    if not all(isinstance(value, str) for value in values):
        return None
    return f"ARRAY[{', '.join(map(literal, values))}]::text[]"


def _json(value: Any) -> str:
    """Return JSON whose text is the same in every run."""
    return json.dumps(json.loads(to_json(value)), ensure_ascii=False, sort_keys=True)


_SPELLINGS: tuple[tuple[type | tuple[type, ...], Callable[[Any], str | None]], ...] = (
    (Enum, lambda value: _spelled(value.value)),
    (bool, lambda value: "true" if value else "false"),
    ((int, float), repr),
    (str, literal),
    (bytes, lambda value: literal(f"\\x{value.hex()}")),
    (UUID, lambda value: literal(str(value))),
    (dt.date, lambda value: literal(value.isoformat())),  # a datetime is one
    ((tuple, list), _array),
    ((Mapping, BaseModel), lambda value: literal(_json(value))),
)


def _spelled(value: Any) -> str | None:
    """Return a value as an SQL constant of its column's type; None for a kind that no column has."""
    return next((spell(value) for kind, spell in _SPELLINGS if isinstance(value, kind)), None)
