"""The models' tables as SQLAlchemy's `MetaData`: what reflection would find in a migrated database.

Beside that, an INSERT through them is given an id of the kind that repositories give, and an UPDATE counts
``version`` on and sets ``updated_at``: so a repository that has an older version of the row finds it stale.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy
from sqlalchemy import types
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import SchemaItem

from database_handler.core.base_model import Record
from database_handler.core.ddl import name_of
from database_handler.core.exceptions import InvalidValue
from database_handler.core.schema import Column, Computed, ForeignKey, Index, Table
from database_handler.models import ENTITIES
from database_handler.utils.ids import new_id

__all__ = ["metadata"]


def metadata(
    records: Iterable[type[Record]] = ENTITIES, *, into: sqlalchemy.MetaData | None = None
) -> sqlalchemy.MetaData:
    """Return the tables of record classes, with their keys, references, CHECKs and indexes.

    Parameters
    ----------
    records : iterable of Record classes
        The library's own when left out; ``NewsroomDatabase.records()`` are those and an application's.
    into : MetaData, optional
        Where the tables are added, such as ``Base.metadata`` of an application that maps classes on them;
        a new one when left out.

    Examples
    --------
    >>> metadata().tables["projects"].c.slug.type
    Text()
    """
    if not isinstance(records, Iterable):
        raise InvalidValue(f"metadata takes record classes, not a {type(records).__name__}")
    if not isinstance(into, sqlalchemy.MetaData | None):
        raise InvalidValue(f"into is a MetaData of SQLAlchemy's, not a {type(into).__name__}")
    made = sqlalchemy.MetaData() if into is None else into
    tables = [_table_of(record) for record in records]
    if there := sorted({table.name for table in tables} & made.tables.keys()):
        raise InvalidValue(f"the MetaData has {', '.join(there)} already")
    for table in tables:
        _table(table, made)
    return made


def _table_of(record: object) -> Table:
    if isinstance(record, type) and issubclass(record, Record) and hasattr(record, "table"):
        return record.table
    raise InvalidValue("metadata takes record classes, such as Project, or Database.records()")


def _table(table: Table, into: sqlalchemy.MetaData) -> None:
    made = sqlalchemy.Table(table.name, into, *_items(table))
    for index in table.indexes:
        _index(table.name, index, made)


def _items(table: Table) -> Iterator[SchemaItem]:
    yield from (_column(table.name, column) for column in (*table.columns, *table.operational))
    yield from (_computed(computed) for computed in table.computed)
    yield sqlalchemy.PrimaryKeyConstraint(*table.primary_key, name=name_of(table.name, "pkey"))
    yield sqlalchemy.UniqueConstraint(
        *table.key,
        name=name_of(table.name, "key"),
        postgresql_nulls_not_distinct=bool(table.nullable_key),
    )
    yield from (_foreign_key(table, reference) for reference in table.foreign_keys)
    for column in (*table.columns, *table.operational):
        if column.checks:
            rule = " AND ".join(f"({check})" for check in column.checks)
            yield _check(rule, table.name, column.name)
    yield from (_check(check.expression, table.name, check.name) for check in table.checks)


def _column(table: str, column: Column) -> sqlalchemy.Column[Any]:
    counted = {"updated_at": "now()", "version": f"{table}.version + 1"}.get(column.name)
    return sqlalchemy.Column(
        column.name,
        _type(column.type),
        nullable=column.nullable,
        server_default=sqlalchemy.text(column.default) if column.default else None,
        default=new_id if column.name == "id" else None,
        onupdate=sqlalchemy.text(counted) if counted else None,
        autoincrement=False,
    )


def _computed(computed: Computed) -> sqlalchemy.Column[Any]:
    stored = sqlalchemy.Computed(computed.expression, persisted=True)
    return sqlalchemy.Column(computed.name, _type(computed.type), stored)


def _foreign_key(table: Table, reference: ForeignKey) -> sqlalchemy.ForeignKeyConstraint:
    return sqlalchemy.ForeignKeyConstraint(
        reference.columns,
        [f"{reference.table}.{column}" for column in reference.target],
        name=name_of(table.name, reference.columns[-1], "fkey"),
        ondelete=reference.on_delete,
    )


def _check(rule: str, *names: str) -> sqlalchemy.CheckConstraint:
    return sqlalchemy.CheckConstraint(sqlalchemy.text(_no_binds(rule)), name=name_of(*names, "check"))


def _index(table: str, index: Index, of: sqlalchemy.Table) -> None:
    sqlalchemy.Index(
        name_of(table, *index.columns, "idx"),
        *(of.c[column] for column in index.columns),
        unique=index.unique,
        postgresql_using=index.method,
        postgresql_where=sqlalchemy.text(_no_binds(index.where)) if index.where else None,
        postgresql_nulls_not_distinct=index.unique,
    )


def _no_binds(expression: str) -> str:
    """Keep SQLAlchemy from taking ``:name`` in SQL for a value to bind."""
    return re.sub(r"(?<!:):(?=\w)", r"\\:", expression)


# ----------------------------------------------------------------------------------------------------- types

_TYPES: dict[str, types.TypeEngine[Any]] = {
    "text": types.Text(),
    "boolean": types.Boolean(),
    "integer": types.Integer(),
    "bigint": types.BigInteger(),
    "smallint": types.SmallInteger(),
    "double precision": types.Double(),
    "real": types.REAL(),
    "uuid": types.Uuid(),
    "timestamptz": types.DateTime(timezone=True),
    "timestamp": types.DateTime(),
    "date": types.Date(),
    "time": types.Time(),
    "interval": types.Interval(),
    "bytea": types.LargeBinary(),
    "json": postgresql.JSON(),
    "jsonb": postgresql.JSONB(),
    "inet": postgresql.INET(),
    "citext": postgresql.CITEXT(),
    "tsvector": postgresql.TSVECTOR(),
}
_SIZED = re.compile(r"(numeric|varchar|char)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?")


class _Named(types.UserDefinedType[Any]):
    """A type that is known by its name alone, such as an extension's; values pass as they are."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_options: object) -> str:
        """Return the name."""
        return self.name


def _type(name: str) -> types.TypeEngine[Any]:
    if name.endswith("[]"):
        return postgresql.ARRAY(_type(name.removesuffix("[]")))
    if name in _TYPES:
        return _TYPES[name]
    if (sized := _SIZED.fullmatch(name)) is None:
        return _Named(name)
    first, second = (None if size is None else int(size) for size in sized.groups()[1:])
    if sized[1] == "numeric":
        return types.Numeric(first, second)
    return types.String(first) if sized[1] == "varchar" else types.CHAR(first)
