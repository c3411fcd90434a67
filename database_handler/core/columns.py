"""From an annotation to a column: its type, whether it may be NULL, and every CHECK that the markers say."""

import datetime as dt
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Annotated, Any, Union, get_args, get_origin
from uuid import UUID

import annotated_types
from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo

from database_handler.core.backfill import Backfill, constant
from database_handler.core.quoting import literal
from database_handler.utils.errors import ConfigurationError

__all__ = ["Backfill", "Column", "RenamedFrom", "SqlType", "column_of", "peeled", "unwrapped"]

_DEFAULTS = {"created_at": "now()", "updated_at": "now()", "version": "1"}


@dataclass(frozen=True, slots=True)
class SqlType:
    """Marker on a field: the column's type, where the annotation does not say it."""

    name: str


@dataclass(frozen=True, slots=True)
class RenamedFrom:
    """Marker on a field: its column had this name before, and keeps its values under the new one.

    It is read when a migration is generated, and says nothing any more once the column has its new name;
    then it can be taken away.
    """

    name: str


@dataclass(frozen=True, slots=True)
class Column:
    """One column, as its field says.

    Attributes
    ----------
    renamed_from : str, optional
        The name that it had before.
    filling : callable
        Gives `backfill`; called when that is asked for.
    """

    name: str
    type: str
    nullable: bool = False
    default: str | None = None
    checks: tuple[str, ...] = ()
    renamed_from: str | None = field(default=None, compare=False)
    filling: Callable[[], str | None] = field(default=lambda: None, compare=False, repr=False)

    @property
    def backfill(self) -> str | None:
        """What rows get that are there before the column is, as SQL; None where the model does not say it.

        The expression of the field's `Backfill`, else its default as a constant. A field that may be None
        has no constant: NULL says of such rows what is known.
        """
        return self.filling()


@dataclass(frozen=True, slots=True)
class _Unwrapped:
    """An annotation taken apart: its type, whether None is allowed, and every marker on the way."""

    type: Any
    nullable: bool
    markers: tuple[Any, ...]


def unwrapped(field: FieldInfo) -> _Unwrapped:
    """Take a field's annotation apart, its own markers included."""
    inner = peeled(field.annotation)
    return _Unwrapped(inner.type, inner.nullable, (*inner.markers, *field.metadata))


def peeled(annotation: Any) -> _Unwrapped:
    """Take an annotation apart, through Annotated and ``X | None``."""
    if get_origin(annotation) is Annotated:
        inner = peeled(get_args(annotation)[0])
        return _Unwrapped(inner.type, inner.nullable, (*inner.markers, *annotation.__metadata__))
    if get_origin(annotation) in {Union, types.UnionType}:
        some = [part for part in get_args(annotation) if part is not type(None)]
        if len(some) == 1:
            inner = peeled(some[0])
            return _Unwrapped(inner.type, True, inner.markers)
    return _Unwrapped(annotation, False, ())


_PLAIN: Mapping[Any, str] = {
    str: "text",
    bool: "boolean",
    float: "double precision",
    UUID: "uuid",
    dt.datetime: "timestamptz",
    AwareDatetime: "timestamptz",
    dt.date: "date",
    bytes: "bytea",
}


def column_of(model: type[BaseModel], name: str, field: FieldInfo) -> Column:
    """Return the column for a field; `ConfigurationError` where its type has no column type."""
    found = unwrapped(field)
    markers = list(_flat(found.markers))
    sql_type = _sql_type(found.type, markers)
    if sql_type is None:
        raise ConfigurationError(
            f"{model.__name__}.{name}: no column type for {found.type!r}; use str, int, float, bool, "
            "UUID, date, datetime, bytes, an Enum of str, tuple[str, ...], a dict, "
            'or Annotated[..., SqlType("...")]'
        )
    checks = tuple(_checks(name, found.type, sql_type, markers))
    return Column(
        name,
        sql_type,
        found.nullable,
        _DEFAULTS.get(name),
        checks,
        renamed_from=_old_name(model, name, markers),
        filling=partial(_backfill, field, found.nullable, markers),
    )


def _old_name(model: type[BaseModel], name: str, markers: Sequence[Any]) -> str | None:
    names = [marker.name for marker in markers if isinstance(marker, RenamedFrom)]
    if len(names) > 1:
        raise ConfigurationError(
            f"{model.__name__}.{name}: one RenamedFrom is allowed, and there are {len(names)}; leave the one "
            "with the name that the column has in the newest migration"
        )
    return names[0] if names else None


def _backfill(field: FieldInfo, nullable: bool, markers: Sequence[Any]) -> str | None:
    told = [marker.expression for marker in markers if isinstance(marker, Backfill)]
    return told[-1] if told else None if nullable else constant(field)


def _flat(markers: Iterable[Any]) -> Iterator[Any]:
    """Take grouped markers (pydantic's own, such as StringConstraints) apart."""
    for marker in markers:
        if isinstance(marker, annotated_types.GroupedMetadata):
            yield from _flat(marker)
        elif isinstance(marker, FieldInfo):
            yield from _flat(marker.metadata)
        else:
            yield marker


def _sql_type(kind: Any, markers: Sequence[Any]) -> str | None:
    for marker in markers:
        if isinstance(marker, SqlType):
            return marker.name
    if kind is int:
        tops = [m.le for m in markers if isinstance(m, annotated_types.Le) and isinstance(m.le, int)]
        return "integer" if tops and min(tops) < 2**31 else "bigint"
    if kind in _PLAIN:
        return _PLAIN[kind]
    return _compound_type(kind)


def _compound_type(kind: Any) -> str | None:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "text"
    if get_origin(kind) in {tuple, list} and get_args(kind)[0] is not tuple and _is_text(get_args(kind)[0]):
        return "text[]"
    if kind is dict or get_origin(kind) is dict or (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return "jsonb"
    return None


def _is_text(annotation: Any) -> bool:
    return peeled(annotation).type is str


def _checks(name: str, kind: Any, sql_type: str, markers: Sequence[Any]) -> Iterator[str]:
    if isinstance(kind, type) and issubclass(kind, Enum):
        yield f"{name} IN ({', '.join(literal(member.value) for member in kind)})"
    if sql_type == "jsonb":
        yield f"jsonb_typeof({name}) = 'object'"
    if sql_type == "text[]":
        yield f"array_position({name}, NULL) IS NULL"
    if sql_type == "double precision":
        yield f"{name} > '-Infinity' AND {name} < 'Infinity'"  # NaN is above Infinity
    for marker in markers:
        yield from _check_of(name, sql_type, marker)


_LENGTH = {"text": "char_length", "text[]": "cardinality", "bytea": "octet_length"}
_LARGEST = (2**31 - 1, 2**63 - 1)  # what the column's type says already
_COMPARISONS = (
    (annotated_types.Ge, "ge", ">="),
    (annotated_types.Gt, "gt", ">"),
    (annotated_types.Le, "le", "<="),
    (annotated_types.Lt, "lt", "<"),
)


def _check_of(name: str, sql_type: str, marker: Any) -> Iterator[str]:
    for kind, attribute, operator in _COMPARISONS:
        if isinstance(marker, kind) and getattr(marker, attribute) not in _LARGEST:
            yield f"{name} {operator} {getattr(marker, attribute)}"
    if isinstance(marker, annotated_types.MultipleOf):
        yield f"{name} % {marker.multiple_of} = 0"
    if isinstance(marker, annotated_types.MinLen) and marker.min_length:
        yield f"{_LENGTH[sql_type]}({name}) >= {marker.min_length}"
    if isinstance(marker, annotated_types.MaxLen):
        yield f"{_LENGTH[sql_type]}({name}) <= {marker.max_length}"
    if (largest := getattr(marker, "max_bytes", None)) is not None:
        yield f"octet_length({name}) <= {largest}"
    pattern = getattr(marker, "pattern", None)
    if pattern is not None:
        yield f"{name} ~ {literal(getattr(pattern, 'pattern', pattern))}"
