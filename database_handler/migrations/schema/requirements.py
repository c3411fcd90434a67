"""What a schema asks of the rows of its tables, read from the catalogue of a scratch copy.

Tables and columns are known by their numbers, so that one which the versions rename is still the live one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from database_handler.core.session import Session, Statement

__all__ = ["Asked", "Column", "Requirement", "Tables", "read_requirements", "read_tables"]

Column = tuple[int, int]
"""A table's oid on the copy, and the column's number in it."""


class Asked(StrEnum):
    """What is asked of the rows."""

    NOT_NULL = "not null"
    CHECK = "check"
    FOREIGN_KEY = "foreign key"
    UNIQUE = "unique"
    EXCLUSION = "exclusion"
    TYPE = "type"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing asked of a table's rows; equal ones are the same one.

    Attributes
    ----------
    name : str
        The constraint's, index's or column's. Not compared: what is asked already is asked by any name.
    columns : tuple of int
        The numbers of the columns that it is about.
    expressions : tuple of str
        A check's condition; the keys of a unique index or an exclusion; a type.
    operators : tuple of str
        Of an exclusion, one for each expression.
    where : str, optional
        The condition of a partial index.
    references, referenced : int and tuple of int
        The table and columns that a foreign key refers to.
    full : bool
        MATCH FULL.
    nulls_equal : bool
        NULLS NOT DISTINCT.
    filled : bool
        Whether a column that is added NOT NULL has a value in the rows that are there.
    """

    asked: Asked
    table: int
    name: str = field(compare=False)
    columns: tuple[int, ...]
    expressions: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    where: str | None = None
    references: int = 0
    referenced: tuple[int, ...] = ()
    full: bool = False
    nulls_equal: bool = False
    filled: bool = field(default=False, compare=False)

    @property
    def keys(self) -> bool:
        """Whether an index watches over it."""
        return self.asked in {Asked.UNIQUE, Asked.EXCLUSION}


@dataclass(frozen=True)
class Tables:
    """The tables of a copy and the names of their columns, in quotes where they need them."""

    names: Mapping[int, str]
    columns: Mapping[Column, str]

    def of(self, table: int) -> dict[int, str]:
        """Return the columns of one table, by number."""
        return {number: name for (oid, number), name in self.columns.items() if oid == table}


_TABLES = Statement(
    "SELECT c.oid::bigint, quote_ident(c.relname), a.attnum::int, quote_ident(a.attname)"
    " FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
    " AND NOT a.attisdropped"
    " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')",
    "preflight.tables",
)


def read_tables(session: Session) -> Tables:
    """Read the tables of the copy as they are now."""
    rows = session.all(_TABLES)
    return Tables(
        {oid: name for oid, name, _, _ in rows},
        {(oid, number): column for oid, _, number, column in rows if number is not None},
    )


# A foreign key's columns and the constraint's own by their numbers; PostgreSQL 18 also keeps NOT NULL here.
_CONSTRAINTS = Statement(
    "SELECT contype::text, conrelid::bigint, conname::text, conkey::int[], pg_get_expr(conbin, conrelid),"
    " confrelid::bigint, confkey::int[], confmatchtype::text"
    " FROM pg_catalog.pg_constraint WHERE conrelid = ANY(%s::oid[]) AND contype IN ('c', 'f')"
    " AND convalidated AND conparentid = 0",
    "preflight.constraints",
)
_INDEXES = Statement(
    "SELECT i.indrelid::bigint, c.relname::text, coalesce(array_remove(i.indkey::int[], 0), '{}'),"
    " (SELECT array_agg(pg_get_indexdef(i.indexrelid, n, true) ORDER BY n)"
    "  FROM generate_series(1, i.indnkeyatts::int) n),"
    " pg_get_expr(i.indpred, i.indrelid), i.indnullsnotdistinct, i.indisexclusion,"
    " (SELECT array_agg(format('OPERATOR(%%I.%%s)', s.nspname, o.oprname) ORDER BY u.place)"
    "  FROM pg_catalog.pg_constraint x, unnest(x.conexclop) WITH ORDINALITY u(op, place)"
    "  JOIN pg_catalog.pg_operator o ON o.oid = u.op JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace"
    "  WHERE x.conindid = i.indexrelid AND x.contype = 'x')"
    " FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
    " WHERE i.indrelid = ANY(%s::oid[]) AND (i.indisunique OR i.indisexclusion) AND NOT c.relispartition",
    "preflight.indexes",
)
_COLUMNS = Statement(
    "SELECT attrelid::bigint, attnum::int, attname::text, attnotnull, format_type(atttypid, atttypmod),"
    " atthasdef OR attidentity <> '' OR atthasmissing"
    " FROM pg_catalog.pg_attribute WHERE attrelid = ANY(%s::oid[]) AND attnum > 0 AND NOT attisdropped",
    "preflight.columns",
)


def read_requirements(session: Session, tables: Tables) -> frozenset[Requirement]:
    """Read what is asked of the rows of `tables` now; of those that are gone nothing is."""
    oids = list(tables.names)
    return frozenset(
        (
            *map(_constraint, session.all(_CONSTRAINTS, [oids])),
            *map(_index, session.all(_INDEXES, [oids])),
            *(each for row in session.all(_COLUMNS, [oids]) for each in _column(row)),
        )
    )


def _constraint(row: Sequence[Any]) -> Requirement:
    kind, table, name, columns, condition, references, referenced, match = row
    if kind == "c":
        return Requirement(Asked.CHECK, table, name, tuple(columns or ()), (condition,))
    return Requirement(
        Asked.FOREIGN_KEY,
        table,
        name,
        tuple(columns),
        references=references,
        referenced=tuple(referenced),
        full=match == "f",
    )


def _index(row: Sequence[Any]) -> Requirement:
    table, name, columns, keys, where, nulls_equal, exclusion, operators = row
    return Requirement(
        Asked.EXCLUSION if exclusion else Asked.UNIQUE,
        table,
        name,
        tuple(columns),
        tuple(keys),
        operators=tuple(operators or ()) if exclusion else (),
        where=where,
        nulls_equal=nulls_equal,
    )


def _column(row: Sequence[Any]) -> Iterator[Requirement]:
    table, number, name, not_null, type_name, filled = row
    if not_null:
        yield Requirement(Asked.NOT_NULL, table, name, (number,), filled=filled)
    yield Requirement(Asked.TYPE, table, name, (number,), (type_name,))
