"""Enums, domains, composite types and ranges."""

from typing import Any

from database_handler.migrations.introspection.catalogue import (
    Catalogue,
    Class,
    Key,
    acl,
    grants_of,
    not_of_extension,
    owner,
)
from database_handler.migrations.snapshot import CompositeType, Domain, EnumType, Kind, ObjectId, RangeType

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
               WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder) END, t.typisdefined
    FROM pg_type AS t LEFT JOIN pg_type AS base ON base.oid = t.typbasetype
    LEFT JOIN pg_class AS c ON c.oid = t.typrelid
    WHERE t.typnamespace = ANY(%(schemas)s::oid[])
      AND (t.typtype IN ('e', 'd', 'r') OR c.relkind = 'c'
           OR t.typtype IN ('b', 'p') AND NOT (t.typelem <> 0 AND t.typcategory = 'A'))
      AND {not_of_extension("pg_type", "t")}
"""
_RANGES = """
    SELECT r.rngtypid, format_type(r.rngsubtype, NULL),
           CASE WHEN NOT class.opcdefault
                THEN format('%%s%%I', CASE WHEN pg_opclass_is_visible(class.oid) THEN '' ELSE
                     quote_ident((SELECT nspname FROM pg_namespace WHERE oid = class.opcnamespace)) || '.' END,
                     class.opcname) END,
           CASE WHEN r.rngcollation <> base.typcollation THEN r.rngcollation::regcollation::text END,
           nullif(r.rngcanonical::oid, 0)::regproc::text, nullif(r.rngsubdiff::oid, 0)::regproc::text,
           multi.oid, quote_ident(multi.typname), multi.typnamespace, multi.typarray
    FROM pg_range AS r JOIN pg_type AS t ON t.oid = r.rngtypid
    JOIN pg_type AS base ON base.oid = r.rngsubtype JOIN pg_type AS multi ON multi.oid = r.rngmultitypid
    JOIN pg_opclass AS class ON class.oid = r.rngsubopc
    WHERE t.typnamespace = ANY(%(schemas)s::oid[])
"""

Row = tuple[Any, ...]


def read_types(catalogue: Catalogue) -> None:
    """Draft every type that was made by itself."""
    rows = catalogue.rows(_NAMED, "types")
    ranges = {}
    if any(row[3] == "r" for row in rows):
        ranges = {row[0]: row for row in catalogue.rows(_RANGES, "ranges")}
    for row in rows:
        name = catalogue.name(row[1], row[2])
        if row[3] == "e":
            _draft(catalogue, row, Kind.ENUM, EnumType, labels=tuple(row[11]))
        elif row[3] == "d":
            fields = {"type": row[7], "collation": row[8], "default": row[9], "not_null": row[10]}
            _draft(catalogue, row, Kind.DOMAIN, Domain, **fields)
        elif row[3] == "c":
            _draft(catalogue, row, Kind.COMPOSITE, CompositeType, attributes=catalogue.attributes[row[0]])
        elif row[3] == "r":
            _range(catalogue, row, ranges[row[0]])
        else:
            catalogue.also("base type" if row[12] else "shell type", name)


def _draft(catalogue: Catalogue, row: Row, kind: Kind, made: Any, **fields: Any) -> ObjectId:
    id = ObjectId(kind, catalogue.name(row[1], row[2]))
    grants = grants_of(row[5], "T")
    catalogue.draft(made, id, Key(Class.TYPE, row[0]), owner=row[4], grants=grants, **fields)
    catalogue.ids[Key(Class.TYPE, row[6])] = id
    return id


def _range(catalogue: Catalogue, row: Row, found: Row) -> None:
    _, subtype, opclass, collation, canonical, difference, multirange, name, schema, array = found
    known = {
        "subtype": subtype,
        "subtype_opclass": opclass,
        "collation": collation,
        "canonical": canonical,
        "subtype_diff": difference,
        "multirange_type_name": catalogue.name(schema, name) if schema in catalogue.schemas else None,
    }
    options = tuple((option, value) for option, value in known.items() if value is not None)
    id = _draft(catalogue, row, Kind.RANGE, RangeType, options=options)
    catalogue.ids[Key(Class.TYPE, multirange)] = catalogue.ids[Key(Class.TYPE, array)] = id
