"""What a model says of its table: columns and CHECKs from the annotations, keys and references from markers.

A child table (one whose model has a ``project_id``) gets the key ``(project_id, id)``, an index on ``id``
and composite references, so that a row can never point into another project and the schema distributes by
project as it stands. The text of the statements is made in `database_handler.core.ddl`.
"""

import datetime as dt
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

import annotated_types
from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo

from database_handler.utils.errors import ConfigurationError

__all__ = [
    "Check",
    "Column",
    "Computed",
    "ForeignKey",
    "Index",
    "References",
    "SqlType",
    "Table",
    "configuration_of",
    "search_vector",
    "text_search_configurations",
]

TENANT = "project_id"
SERVER_COLUMNS = ("created_at", "updated_at", "version")
_DEFAULTS = {"created_at": "now()", "updated_at": "now()", "version": "1"}


@dataclass(frozen=True, slots=True)
class References:
    """Marker on a field: it holds the id of a row of `table`.

    Attributes
    ----------
    on_delete : {"CASCADE", "RESTRICT"}
        CASCADE where this row is derived from that one, RESTRICT where it would vanish unasked.
    """

    table: str
    on_delete: Literal["CASCADE", "RESTRICT"] = "CASCADE"


@dataclass(frozen=True, slots=True)
class SqlType:
    """Marker on a field: the column's type, where the annotation does not say it."""

    name: str


@dataclass(frozen=True, slots=True)
class Index:
    """An index of the table; unique ones say so, and take NULLs as equal."""

    columns: tuple[str, ...]
    unique: bool = False
    method: str = "btree"
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A rule over several columns of one row, as SQL."""

    name: str
    expression: str


@dataclass(frozen=True, slots=True)
class Computed:
    """A stored column that the server computes from the row; models do not carry it."""

    name: str
    type: str
    expression: str


@dataclass(frozen=True, slots=True)
class Column:
    """One column, as its field says."""

    name: str
    type: str
    nullable: bool = False
    default: str | None = None
    checks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A reference; between children it carries the project on both sides."""

    columns: tuple[str, ...]
    table: str
    target: tuple[str, ...]
    on_delete: str


class Table:
    """The table of a model.

    Parameters
    ----------
    name : str
        The table's name, and the repository's.
    key : sequence of str
        The natural key: what `upsert` meets a row by. For a child it holds ``project_id``.
    indexes, computed, checks : sequence
        What the fields do not say.
    """

    def __init__(
        self,
        name: str,
        *,
        key: Sequence[str],
        indexes: Sequence[Index] = (),
        computed: Sequence[Computed] = (),
        checks: Sequence[Check] = (),
    ) -> None:
        self.name = name
        self.key = tuple(key)
        self.computed = tuple(computed)
        self.checks = tuple(checks)
        self.columns: tuple[Column, ...] = ()
        self.column_names: tuple[str, ...] = ()
        self.foreign_keys: tuple[ForeignKey, ...] = ()
        self._own_indexes = tuple(indexes)
        self._by_name: dict[str, Column] = {}

    def __repr__(self) -> str:
        return f"Table({self.name!r})"

    def bind(self, model: type[BaseModel]) -> None:
        """Take the columns from `model`; `ConfigurationError` where it breaks a rule of the schema."""
        self.columns = tuple(column_of(model, name, field) for name, field in model.model_fields.items())
        self._by_name = {column.name: column for column in self.columns}
        self.column_names = tuple(self._by_name)
        self.foreign_keys = tuple(_foreign_keys(model))
        self._check_rules(model)

    def _check_rules(self, model: type[BaseModel]) -> None:
        named = {*self.key, *(c for index in self._own_indexes for c in index.columns)}
        if unknown := named - {*self.column_names, *(c.name for c in self.computed)}:
            raise ConfigurationError(f"{model.__name__}.table names {sorted(unknown)}, which are no fields")
        uniques = [self.key, *(index.columns for index in self._own_indexes if index.unique)]
        if self.is_child and any(TENANT not in columns for columns in uniques):
            raise ConfigurationError(f"{model.__name__}.table: each unique key of a child holds {TENANT}")

    @property
    def is_child(self) -> bool:
        """Whether its rows belong to a project."""
        return TENANT in self.column_names

    @property
    def primary_key(self) -> tuple[str, ...]:
        """``(project_id, id)`` for a child, else ``(id,)``."""
        return (TENANT, "id") if self.is_child else ("id",)

    @property
    def scope_column(self) -> str:
        """The column that a unit's project is compared with."""
        return TENANT if self.is_child else "id"

    @property
    def nullable_key(self) -> tuple[str, ...]:
        """The columns of the natural key that may be NULL."""
        return tuple(column.name for column in self.columns if column.nullable and column.name in self.key)

    def column(self, name: str) -> Column:
        """Return a column by its name (`KeyError` where there is none)."""
        return self._by_name[name]

    @property
    def indexes(self) -> tuple[Index, ...]:
        """The model's indexes, the one on ``id``, and one for each reference that nothing else serves."""
        found = [Index(("id",)), *self._own_indexes] if self.is_child else [*self._own_indexes]
        served = [self.primary_key, self.key, *(index.columns for index in found if index.method == "btree")]
        unserved = [
            Index(reference.columns)
            for reference in self.foreign_keys
            if not any(columns[: len(reference.columns)] == reference.columns for columns in served)
        ]
        return (*found, *unserved)


def _foreign_keys(model: type[BaseModel]) -> Iterator[ForeignKey]:
    for name, field in model.model_fields.items():
        for marker in _unwrapped(field).markers:
            if isinstance(marker, References):
                child = TENANT in model.model_fields and name != TENANT
                columns = (TENANT, name) if child else (name,)
                yield ForeignKey(
                    columns, marker.table, (TENANT, "id") if child else ("id",), marker.on_delete
                )


# ------------------------------------------------------------------------------------------ types and CHECKs


@dataclass(frozen=True, slots=True)
class _Unwrapped:
    """An annotation taken apart: its type, whether None is allowed, and every marker on the way."""

    type: Any
    nullable: bool
    markers: tuple[Any, ...]


def _unwrapped(field: FieldInfo) -> _Unwrapped:
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
    unwrapped = _unwrapped(field)
    markers = list(_flat(unwrapped.markers))
    sql_type = _sql_type(unwrapped.type, markers)
    if sql_type is None:
        raise ConfigurationError(
            f"{model.__name__}.{name}: no column type for {unwrapped.type!r}; use str, int, float, bool, "
            "UUID, date, datetime, bytes, an Enum of str, tuple[str, ...], a dict, "
            'or Annotated[..., SqlType("...")]'
        )
    checks = tuple(_checks(name, unwrapped.type, sql_type, markers))
    return Column(name, sql_type, unwrapped.nullable, _DEFAULTS.get(name), checks)


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
    if isinstance(marker, annotated_types.MinLen) and marker.min_length:
        yield f"{_LENGTH[sql_type]}({name}) >= {marker.min_length}"
    if isinstance(marker, annotated_types.MaxLen):
        yield f"{_LENGTH[sql_type]}({name}) <= {marker.max_length}"
    if (largest := getattr(marker, "max_bytes", None)) is not None:
        yield f"octet_length({name}) <= {largest}"
    pattern = getattr(marker, "pattern", None)
    if pattern is not None:
        yield f"{name} ~ {literal(getattr(pattern, 'pattern', pattern))}"


def literal(text: str) -> str:
    """Quote a constant of the model's own for SQL text."""
    return "'" + text.replace("'", "''") + "'"


# ----------------------------------------------------------------------------------------------- full text

# What PostgreSQL 15 brings, so that one set of migrations fits 15 to 18. Source: pg_ts_config.
_CONFIGURATIONS = {
    "ar": "arabic",
    "ca": "catalan",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "eu": "basque",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "nb": "norwegian",
    "ne": "nepali",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}
# A search vector holds at most 1 MB of lexemes. A character makes at most some 8 bytes of them (hyphenated
# words of 4-byte letters are stored whole and in parts), so this many can never be refused.
SEARCHED_CHARACTERS = 100_000


def configuration_of(language: str) -> str:
    """Return the text search configuration for a language code: its stemmer's, or ``simple``."""
    return _CONFIGURATIONS.get(language.split("-", 1)[0], "simple")


def text_search_configurations() -> dict[str, tuple[str, ...]]:
    """Return every configuration in use and the languages it stands for; ``simple`` is for all others."""
    found: dict[str, tuple[str, ...]] = {"simple": ()}
    for code, configuration in _CONFIGURATIONS.items():
        found[configuration] = (*found.get(configuration, ()), code)
    return found


def search_vector(name: str, *, title: str, content: str, language: str) -> Computed:
    """Return a stored search vector over a title (weight A) and a capped prefix of the content (B).

    Its configuration follows the row's language. Each name is a constant of type regconfig, for one looked
    up by a text is not immutable, and cannot stand in a generated column.
    """
    branches = "".join(
        f"\n        WHEN {code!r} THEN 'pg_catalog.{configuration}'::regconfig"
        for code, configuration in _CONFIGURATIONS.items()
    )
    chosen = (
        f"CASE split_part({language}, '-', 1){branches}\n        ELSE 'pg_catalog.simple'::regconfig\n    END"
    )
    return Computed(
        name,
        "tsvector",
        f"setweight(to_tsvector({chosen}, {title}), 'A') || "
        f"setweight(to_tsvector({chosen}, left({content}, {SEARCHED_CHARACTERS})), 'B')",
    )
