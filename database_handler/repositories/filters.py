"""The filter language: keywords checked against the model, each with the operators that its column allows.

``status="active"``, ``created_at__gte=...``, ``name__icontains=...``, ``id__in=[...]``,
``metadata__contains={...}``, ``language__is_null=True``. None stands for NULL. Every value is validated as
its field's and bound; text is matched as text, also ``%`` and ``_``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from database_handler.core.base_model import Record, nearest, validated_field
from database_handler.core.exceptions import InvalidValue, UnknownField
from database_handler.core.schema import Table
from database_handler.utils.validators import json_object, verbatim

__all__ = ["Order", "Where", "parse_filters", "parse_order"]

_COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_PATTERNS = {
    "contains": ("LIKE", "%{}%"),
    "icontains": ("ILIKE", "%{}%"),
    "startswith": ("LIKE", "{}%"),
    "istartswith": ("ILIKE", "{}%"),
    "endswith": ("LIKE", "%{}"),
    "iendswith": ("ILIKE", "%{}"),
}
_ANY = ("eq", "ne", "in", "not_in", "is_null")
_BY_TYPE: Mapping[str, tuple[str, ...]] = {
    "text": (*_ANY, *_COMPARISONS, *_PATTERNS),
    "text[]": ("eq", "ne", "is_null", "contains", "overlaps"),
    "jsonb": ("eq", "ne", "is_null", "contains", "has_key"),
    "boolean": _ANY,
}
_ORDERED = (*_ANY, *_COMPARISONS)


@dataclass(frozen=True, slots=True)
class Where:
    """Conditions and the values to bind, in the order of their places."""

    text: str = ""
    values: tuple[Any, ...] = ()

    def __and__(self, other: "Where") -> "Where":
        """Both of them."""
        joined = " AND ".join(part for part in (self.text, other.text) if part)
        return Where(joined, (*self.values, *other.values))

    @property
    def clause(self) -> str:
        """`` WHERE ...``, or nothing."""
        return f" WHERE {self.text}" if self.text else ""


@dataclass(frozen=True, slots=True)
class Order:
    """The columns to order by, each with its direction; the last is the id, so that it is total."""

    columns: tuple[tuple[str, bool], ...]  # name, descending

    @property
    def clause(self) -> str:
        """`` ORDER BY ...``: NULLs come last going up and first going down, as is PostgreSQL's default."""
        return " ORDER BY " + ", ".join(f"{name}{' DESC' if down else ''}" for name, down in self.columns)


def parse_filters(model: type[Record], filters: Mapping[str, object]) -> Where:
    """Turn keywords into conditions.

    Raises
    ------
    UnknownField
        No such field, or an operator that the field's column does not have; names the nearest one.
    InvalidValue
        A value that the field refuses.
    """
    where = Where()
    for keyword, value in filters.items():
        where &= _condition(model, keyword, value)
    return where


def _condition(model: type[Record], keyword: str, value: object) -> Where:
    name, mark, operator = keyword.partition("__")
    if name not in model.model_fields:
        raise UnknownField(f"{model.__name__} has no field {name[:60]!r}{nearest(name, model.model_fields)}")
    allowed = _BY_TYPE.get(model.table.column(name).type, _ORDERED)
    operator = operator if mark else "eq"
    if operator not in allowed:
        near = nearest(operator, dict.fromkeys(allowed))
        raise UnknownField(f"{model.__name__}.{name} has no operator {operator[:60]!r}{near}")
    return _BUILDERS[operator](model, name, value)


def _eq(model: type[Record], name: str, value: object) -> Where:
    return Where(f"{name} IS NULL") if value is None else _compared(model, name, "=", value)


def _ne(model: type[Record], name: str, value: object) -> Where:
    if value is None:
        return Where(f"{name} IS NOT NULL")
    return _compared(model, name, "IS DISTINCT FROM", value)


def _compared(model: type[Record], name: str, operator: str, value: object) -> Where:
    if value is None:
        raise InvalidValue(f"{model.__name__}.{name}: nothing is above or below None; use {name}__is_null")
    return Where(f"{name} {operator} {_place(model, name)}", (_sent(validated_field(model, name, value)),))


def _place(model: type[Record], name: str) -> str:
    return f"%s::{model.table.column(name).type}"


def _sent(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _comparison(operator: str) -> Callable[[type[Record], str, object], Where]:
    return lambda model, name, value: _compared(model, name, operator, value)


def _membership(operator: str) -> Callable[[type[Record], str, object], Where]:
    def build(model: type[Record], name: str, value: object) -> Where:
        if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
            raise InvalidValue(f"{model.__name__}.{name}__in takes a list of values, not one")
        items = [validated_field(model, name, item) for item in value]
        if any(item is None for item in items):
            raise InvalidValue(f"{model.__name__}.{name}__in: None is asked for by {name}__is_null=True")
        return Where(operator.format(name, f"{_place(model, name)}[]"), (items,))

    return build


def _is_null(model: type[Record], name: str, value: object) -> Where:
    if not isinstance(value, bool):
        raise InvalidValue(f"{model.__name__}.{name}__is_null takes True or False")
    return Where(f"{name} IS {'NULL' if value else 'NOT NULL'}")


def _pattern(operator: str, frame: str) -> Callable[[type[Record], str, object], Where]:
    def build(model: type[Record], name: str, value: object) -> Where:
        text = _plain_text(model, name, value)
        escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return Where(f"{name} {operator} %s", (frame.format(escaped),))

    return build


def _plain_text(model: type[Record], name: str, value: object) -> str:
    try:
        return verbatim(value)
    except InvalidValue as refusal:
        told = InvalidValue(f"{model.__name__}.{name}: {refusal}", columns=[name])
    raise told


def _contains(model: type[Record], name: str, value: object) -> Where:
    kind = model.table.column(name).type
    if kind == "text":
        return _pattern(*_PATTERNS["contains"])(model, name, value)
    if kind == "text[]":
        return Where(f"{name} @> %s::text[]", (_texts(model, name, value),))
    if not isinstance(value, dict):
        raise InvalidValue(f"{model.__name__}.{name}__contains takes a dict")
    return Where(f"{name} @> %s::jsonb", (_part_of_json(model, name, value),))


def _part_of_json(model: type[Record], name: str, value: object) -> object:
    """Check a part of a document: it may lack what the field's own rule wants of the whole."""
    try:
        return json_object(value)
    except InvalidValue as refusal:
        told = InvalidValue(f"{model.__name__}.{name}: {refusal}", columns=[name])
    raise told


def _texts(model: type[Record], name: str, value: object) -> list[str]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, Sequence) or not items:
        raise InvalidValue(f"{model.__name__}.{name}: one text or a list of texts is matched here")
    return [_plain_text(model, name, item) for item in items]


def _overlaps(model: type[Record], name: str, value: object) -> Where:
    return Where(f"{name} && %s::text[]", (_texts(model, name, value),))


def _has_key(model: type[Record], name: str, value: object) -> Where:
    return Where(f"{name} ? %s", (_plain_text(model, name, value),))


_BUILDERS: dict[str, Callable[[type[Record], str, object], Where]] = {
    "eq": _eq,
    "ne": _ne,
    "in": _membership("{0} = ANY({1})"),
    "not_in": _membership("({0} IS NULL OR {0} <> ALL({1}))"),  # as "ne" and Python have it
    "is_null": _is_null,
    "overlaps": _overlaps,
    "has_key": _has_key,
    **{name: _comparison(operator) for name, operator in _COMPARISONS.items()},
    **{name: _pattern(*pattern) for name, pattern in _PATTERNS.items()},
    "contains": _contains,
}


def parse_order(model: type[Record], order_by: str | Sequence[str] | None) -> Order:
    """Turn ``"-created_at"`` or a list of such into an order that the id completes."""
    if not isinstance(order_by, Sequence | None):
        raise InvalidValue(f"{model.__name__}: order_by takes a field name or a list of them")
    asked = [order_by] if isinstance(order_by, str) else list(order_by or ())
    columns = [_ordered(model, item) for item in asked]
    names = [name for name, _ in columns]
    if len(set(names)) < len(names):
        raise InvalidValue(f"{model.__name__}: order_by names a field twice")
    if "id" not in names:
        columns.append(("id", columns[-1][1] if columns else False))
    return Order(tuple(columns))


def _ordered(model: type[Record], item: object) -> tuple[str, bool]:
    if not isinstance(item, str):
        raise InvalidValue(f'{model.__name__}: order_by takes field names, such as "name" or "-created_at"')
    name = item.removeprefix("-")
    fields = {n: 0 for n in model.model_fields if model.table.column(n).type not in {"jsonb", "text[]"}}
    if name not in fields:
        raise UnknownField(f"{model.__name__} has no field to order by {name[:60]!r}{nearest(name, fields)}")
    return name, item.startswith("-")


def scoped(table: Table, project_id: Any) -> Where:
    """Return the condition of a unit that is held to one project."""
    return Where() if project_id is None else Where(f"{table.scope_column} = %s::uuid", (project_id,))
