"""Enums, domains, composite types and ranges."""

from typing import Any, NamedTuple

from database_handler.migrations.schema.introspection.catalogue import (
    Catalogue,
    Class,
    acl,
    grants_of,
    not_of_extension,
    owner,
)
from database_handler.migrations.schema.snapshot import (
    CompositeType,
    Domain,
    EnumType,
    Kind,
    ObjectId,
    RangeType,
)

__all__ = ["read_types"]

# Array types and the multiranges of ranges go with their types; a table's own type goes with the table.
_NAMED = f"""
    SELECT t.oid, t.typnamespace, quote_ident(t.typname), t.typtype, {owner("t.typowner")},
           {acl("t.typacl", "T", "t.typowner")}, t.typarray,
           CASE t.typtype WHEN 'd' THEN format_type(t.typbasetype, t.typtypmod) END,
           CASE WHEN t.typtype = 'd' AND t.typcollation <> base.typcollation
                THEN t.typcollation::regcollation::text END,
           pg_get_expr(t.typdefaultbin, 0), t.typnotnull,
           CASE t.typtype WHEN 'e' THEN ARRAY(
               SELECT e.enumlabel::text FROM pg_enum AS e
               WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder) END,
           t.typisdefined, pg_type_is_visible(t.oid)
    FROM pg_type AS t LEFT JOIN pg_type AS base ON base.oid = t.typbasetype
    LEFT JOIN pg_class AS c ON c.oid = t.typrelid
    WHERE t.typnamespace = ANY(%(schemas)s::oid[])
      AND (t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c'
           OR t.typtype IN ('b', 'p') AND NOT (t.typelem <> 0 AND t.typcategory = 'A'))
      AND {not_of_extension("pg_type", "t")}
"""
_RANGES = """
    SELECT r.rngtypid, format_type(r.rngsubtype, NULL),
           CASE WHEN NOT class.opcdefault THEN
               CASE WHEN pg_opclass_is_visible(class.oid) THEN ''
                    ELSE quote_ident((SELECT nspname FROM pg_namespace WHERE oid = class.opcnamespace)) || '.'
               END || quote_ident(class.opcname) END,
           CASE WHEN r.rngcollation <> base.typcollation THEN r.rngcollation::regcollation::text END,
           nullif(r.rngcanonical::oid, 0)::regproc::text, nullif(r.rngsubdiff::oid, 0)::regproc::text,
           multi.oid, quote_ident(multi.typname), multi.typnamespace, multi.typarray
    FROM pg_range AS r JOIN pg_type AS t ON t.oid = r.rngtypid
    JOIN pg_type AS base ON base.oid = r.rngsubtype JOIN pg_type AS multi ON multi.oid = r.rngmultitypid
    JOIN pg_opclass AS class ON class.oid = r.rngsubopc
    WHERE t.typnamespace = ANY(%(schemas)s::oid[])
"""


class _Type(NamedTuple):
    """A row of pg_type."""

    oid: int
    schema: int
    name: str
    kind: str
    owner: str
    acl: list[list[Any]] | None
    array_type: int
    base: str | None
    collation: str | None
    default: str | None
    not_null: bool
    labels: list[str] | None
    defined: bool
    visible: bool


def read_types(catalogue: Catalogue) -> None:
    """Draft every type that was made by itself."""
    if not catalogue.holds(Class.TYPE) and not catalogue.attributes:
        return
    rows = [_Type._make(row) for row in catalogue.rows(_NAMED, "types")]
    for row in rows:
        catalogue.see(row.visible, row.name)
        if row.kind == "e":
            _draft(catalogue, row, Kind.ENUM, EnumType, labels=tuple(row.labels or ()))
        elif row.kind == "d":
            fields = {"type": row.base, "collation": row.collation, "default": row.default}
            _draft(catalogue, row, Kind.DOMAIN, Domain, not_null=row.not_null, **fields)
        elif row.kind == "c":
            _draft(catalogue, row, Kind.COMPOSITE, CompositeType, attributes=catalogue.attributes[row.oid])
        elif row.kind != "r":
            name = catalogue.name(row.schema, row.name)
            catalogue.also("base type" if row.defined else "shell type", name)
    if ranges := {row.oid: row for row in rows if row.kind == "r"}:
        _ranges(catalogue, ranges)


def _draft(catalogue: Catalogue, row: _Type, kind: Kind, made: Any, **fields: Any) -> ObjectId:
    id = ObjectId(kind, catalogue.name(row.schema, row.name))
    grants = grants_of(row.acl, "T")
    catalogue.draft(made, id, (Class.TYPE, row.oid, 0), owner=row.owner, grants=grants, **fields)
    if row.array_type:
        catalogue.ids[(Class.TYPE, row.array_type, 0)] = id
    return id


def _ranges(catalogue: Catalogue, ranges: dict[int, _Type]) -> None:
    for oid, *options, multirange, name, schema, array in catalogue.rows(_RANGES, "ranges"):
        if oid in ranges:
            named = catalogue.name(schema, name) if schema in catalogue.schemas else None
            told = tuple(pair for pair in zip(_RANGE_OPTIONS, [*options, named], strict=True) if pair[1])
            id = _draft(catalogue, ranges[oid], Kind.RANGE, RangeType, options=told)
            catalogue.ids[(Class.TYPE, multirange, 0)] = catalogue.ids[(Class.TYPE, array, 0)] = id


_RANGE_OPTIONS = (
    "subtype",
    "subtype_opclass",
    "collation",
    "canonical",
    "subtype_diff",
    "multirange_type_name",
)
