"""What a model says of its table: columns and CHECKs from the annotations, keys and references from markers.

A child table (one whose model has a ``project_id``) gets the key ``(project_id, id)``, an index on ``id``
and composite references, so that a row can never point into another project and the schema distributes by
project as it stands. The text of the statements is made in `database_handler.core.ddl`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from database_handler.core.columns import Backfill, Column, RenamedFrom, SqlType, column_of, unwrapped
from database_handler.core.text_search import VECTOR_FUNCTION
from database_handler.utils.arguments import checked
from database_handler.utils.errors import ConfigurationError, InvalidValue

__all__ = [
    "LEASE",
    "Backfill",
    "Check",
    "Column",
    "Computed",
    "ForeignKey",
    "Index",
    "References",
    "RenamedFrom",
    "SearchVector",
    "SqlType",
    "Table",
    "search_vector",
]

TENANT = "project_id"
SERVER_COLUMNS = ("created_at", "updated_at", "version")


@dataclass(frozen=True, slots=True)
class References:
    """Marker on a field: it holds the id of a row of `table`.

    Attributes
    ----------
    on_delete : {"CASCADE", "RESTRICT"}
        CASCADE where this row is derived from that one, RESTRICT where it would vanish unasked.
    shared : bool
        Whether the rows of `table` belong to no project: then the reference is by the id alone.
    """

    table: str
    on_delete: Literal["CASCADE", "RESTRICT"] = "CASCADE"
    shared: bool = False


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
class ForeignKey:
    """A reference; between children it carries the project on both sides."""

    columns: tuple[str, ...]
    table: str
    target: tuple[str, ...]
    on_delete: str


T = TypeVar("T")

# Who works on a row, and until when: taken by `claim`, and no part of the record.
LEASE = (
    Column("lease_holder", "uuid", nullable=True),
    Column("lease_worker", "text", nullable=True),
    Column("lease_until", "timestamptz", nullable=True),
)

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
# Reserved by SQL (pg_get_keywords, PostgreSQL 15 to 18); then by the statements' own columns; then by the
# keywords of the calls.
_WORDS = """
all analyse analyze and any array as asc asymmetric authorization binary both case cast check
collate collation column concurrently constraint create cross current_catalog current_date
current_role current_schema current_time current_timestamp current_user default deferrable desc
distinct do else end except false fetch for foreign freeze from full grant group having ilike in
initially inner intersect into is isnull join lateral leading left like limit localtime
localtimestamp natural not notnull null offset on only or order outer overlaps placing primary
references returning right select session_user similar some symmetric system_user table tablesample
then to trailing true union unique user using variadic verbose when where window with
place new_id expected inserted written
order_by after total batch changes expected_version file_format on_progress
"""
_TAKEN = frozenset(_WORDS.split())


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
    moves : mapping
        For a field that holds a state: each state, and the states that may follow it. Every write of the
        repository keeps to it; a state may always be written over itself.
    operational : sequence of Column
        Columns of the table that no model carries, such as a lease; they are neither copied nor exported.
    renamed_from : str, optional
        The name that the table had before: a generated migration renames it, and says nothing any more once
        it has its new name.
    by_hand : sequence of str
        Names of columns, constraints, indexes and triggers of the table that migrations make by hand and no
        model describes: a generated migration leaves them as they are.
    """

    def __init__(
        self,
        name: str,
        *,
        key: Sequence[str],
        indexes: Sequence[Index] = (),
        computed: Sequence[Computed] = (),
        checks: Sequence[Check] = (),
        moves: Mapping[str, Mapping[Any, Iterable[Any]]] | None = None,
        operational: Sequence[Column] = (),
        renamed_from: str | None = None,
        by_hand: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.key = _listed(name, "key", key, str)
        self.computed = _listed(name, "computed", computed, Computed)
        self.checks = _listed(name, "checks", checks, Check)
        self.moves = _moves(name, moves or {})
        self.operational = _listed(name, "operational", operational, Column)
        self.renamed_from = renamed_from
        self.by_hand = _listed(name, "by_hand", by_hand, str)
        self.columns: tuple[Column, ...] = ()
        self.column_names: tuple[str, ...] = ()
        self.foreign_keys: tuple[ForeignKey, ...] = ()
        self._own_indexes = _listed(name, "indexes", indexes, Index)
        self._by_name: dict[str, Column] = {}

    def __repr__(self) -> str:
        return f"Table({self.name!r})"

    @checked
    def bind(self, model: type[BaseModel]) -> None:
        """Take the columns from `model`; `ConfigurationError` where it breaks a rule of the schema."""
        self.columns = tuple(column_of(model, name, field) for name, field in model.model_fields.items())
        self._by_name = {column.name: column for column in self.columns}
        self.column_names = tuple(self._by_name)
        self.foreign_keys = tuple(_foreign_keys(model))
        self._check_rules(model)

    def _check_rules(self, model: type[BaseModel]) -> None:
        beside = {each.name for each in self.computed} | {each.name for each in self.operational}
        names = (self.name, *self.column_names, *sorted(beside))
        if wrong := [name for name in names if not _NAME.fullmatch(name) or name in _TAKEN]:
            raise ConfigurationError(
                f"{model.__name__}: {', '.join(wrong)} cannot name a table or a column; use small letters, "
                "digits and underscores, at most 63, and no word that SQL or the repositories keep"
            )
        self._check_history(model)
        named = {*self.key, *(c for index in self._own_indexes for c in index.columns)}
        if unknown := named - {*self.column_names, *beside}:
            raise ConfigurationError(f"{model.__name__}.table names {sorted(unknown)}, which are no fields")
        if loose := [n for n in self.moves if n not in self._by_name or self._by_name[n].nullable]:
            raise ConfigurationError(
                f"{model.__name__}.table: moves are of fields that are there and never None, "
                f"not {', '.join(loose)}"
            )
        uniques = [self.key, *(index.columns for index in self._own_indexes if index.unique)]
        if self.is_child and any(TENANT not in columns for columns in uniques):
            raise ConfigurationError(f"{model.__name__}.table: each unique key of a child holds {TENANT}")

    def _check_history(self, model: type[BaseModel]) -> None:
        """Refuse old names that cannot have been, and names made by hand that a field makes."""
        old = [column.renamed_from for column in self.columns if column.renamed_from is not None]
        beside = {each.name for each in self.computed} | {each.name for each in self.operational}
        there = {*self.column_names, *beside}
        wrong = sorted({name for name in old if name in there or old.count(name) > 1})
        if self.renamed_from == self.name:
            wrong.append(self.name)
        if wrong:
            raise ConfigurationError(
                f"{model.__name__}: RenamedFrom({wrong[0]!r}) names what is there now, or stands twice; it "
                "names what the column or table was called before"
            )
        if both := sorted(there & {*self.by_hand}):
            raise ConfigurationError(
                f"{model.__name__}.table: by_hand names {', '.join(both)}, which the model makes; "
                "leave one of the two out"
            )

    @property
    def is_child(self) -> bool:
        """Whether its rows belong to a project."""
        return TENANT in self.column_names

    @property
    def keeps_metadata(self) -> bool:
        """Whether its rows hold metadata that their project may bind to a JSON Schema."""
        return self.is_child and "metadata" in self.column_names

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
        """Return a column by its name, or raise `InvalidValue`."""
        try:
            return self._by_name[name]
        except (KeyError, TypeError):
            refusal = InvalidValue(f"{self.name} has no such column; it has {', '.join(self._by_name)}")
        raise refusal

    @property
    def indexes(self) -> tuple[Index, ...]:
        """The model's indexes, one for each reference that nothing else serves, last that on ``id``."""
        own = self._own_indexes
        served = [self.primary_key, self.key, *(index.columns for index in own if index.method == "btree")]
        unserved = [
            Index(reference.columns)
            for reference in self.foreign_keys
            if not any(columns[: len(reference.columns)] == reference.columns for columns in served)
        ]
        # Last, for of indexes that look alike the planner takes the newest: without it the check of a
        # reference reads all of a project's rows where statistics say that a project has few.
        by_id = [Index(("id",))] if self.is_child else []
        return (*own, *unserved, *by_id)


def _listed(table: str, what: str, values: object, kind: type[T]) -> tuple[T, ...]:
    """Take a list of a declaration, or say what is one."""
    such = "names" if kind is str else kind.__name__
    if isinstance(values, str):
        raise ConfigurationError(f"table {table}: {what} is a list of {such}, such as [{values[:60]!r}]")
    items = tuple(values) if isinstance(values, Iterable) else (values,)
    found = tuple(each for each in items if isinstance(each, kind))
    if not isinstance(values, Iterable) or len(found) < len(items):
        raise ConfigurationError(f"table {table}: {what} is a list of {such}")
    return found


def _moves(table: str, moves: object) -> dict[str, dict[str, tuple[str, ...]]]:
    """Take the states that may follow each other, as text."""
    if not isinstance(moves, Mapping) or not all(map(_are_moves, moves.values())):
        raise ConfigurationError(f"table {table}: moves say for each field which states follow which")
    return {
        field: {str(state): tuple(map(str, following)) for state, following in allowed.items()}
        for field, allowed in moves.items()
    }


def _are_moves(allowed: object) -> bool:
    return isinstance(allowed, Mapping) and all(isinstance(each, Iterable) for each in allowed.values())


def _foreign_keys(model: type[BaseModel]) -> Iterator[ForeignKey]:
    for name, field in model.model_fields.items():
        for marker in unwrapped(field).markers:
            if isinstance(marker, References):
                child = TENANT in model.model_fields and name != TENANT and not marker.shared
                columns = (TENANT, name) if child else (name,)
                yield ForeignKey(
                    columns, marker.table, (TENANT, "id") if child else ("id",), marker.on_delete
                )


# ----------------------------------------------------------------------------------------------- full text


@dataclass(frozen=True, slots=True)
class SearchVector(Computed):
    """The search vector of a row, and the columns that it is made from (no title where there is none)."""

    title: str | None
    content: str
    language: str


def search_vector(name: str, *, title: str | None = None, content: str, language: str) -> SearchVector:
    """Return a stored search vector over a title (weight A) and a capped prefix of the content (B).

    How, by the row's language, is said in `database_handler.core.text_search`.
    """
    arguments = f"{language}, {title or repr('')}, {content}"
    expression = f"{VECTOR_FUNCTION}({arguments})"
    return SearchVector(name, "tsvector", expression, title, content, language)
