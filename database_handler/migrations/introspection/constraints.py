"""Constraints, and the indexes that are no constraint's."""

from typing import Any

from database_handler.migrations.introspection.catalogue import Catalogue, Class, Key, not_of_extension
from database_handler.migrations.snapshot import Constraint, ConstraintType, Index, Kind, ObjectId

__all__ = ["read_constraints", "read_indexes"]

_TYPES = {
    "p": ConstraintType.PRIMARY_KEY,
    "u": ConstraintType.UNIQUE,
    "f": ConstraintType.FOREIGN_KEY,
    "c": ConstraintType.CHECK,
    "x": ConstraintType.EXCLUSION,
}
_NOT_VALID = " NOT VALID"
_LATE = (" DEFERRABLE", " INITIALLY DEFERRED")

# A foreign key to a partitioned table has a row for each partition beside its own; those are no constraints
# that anybody could name, and so are left out.
_CONSTRAINTS = """
    SELECT k.oid, k.conrelid, k.contypid, quote_ident(k.conname), k.contype, pg_get_constraintdef(k.oid),
           k.conkey, k.confrelid, k.confrelid::regclass::text, k.convalidated, k.conislocal, i.indisclustered,
           i.indisreplident, x.reloptions, x.reltablespace <> 0, x.oid
    FROM pg_constraint AS k
    LEFT JOIN pg_index AS i ON i.indexrelid = k.conindid AND k.contype IN ('p', 'u', 'x')
    LEFT JOIN pg_class AS x ON x.oid = i.indexrelid
    LEFT JOIN pg_constraint AS above ON above.oid = k.conparentid
    WHERE k.connamespace = ANY(%(schemas)s::oid[]) AND k.contype IN ('p', 'u', 'f', 'c', 'x')
      AND (k.contype <> 'f' OR above.oid IS NULL OR above.confrelid = k.confrelid)
"""
_INDEXES = f"""
    SELECT i.indexrelid, i.indrelid, c.relnamespace, quote_ident(c.relname), pg_get_indexdef(i.indexrelid),
           i.indisunique, access.amname, i.indkey::int2[], i.indnkeyatts, i.indisvalid, i.indisclustered,
           i.indisreplident, above.inhparent, above.inhparent::regclass::text, c.reltablespace <> 0,
           CASE WHEN i.indexprs IS NOT NULL THEN (
               SELECT array_agg(ARRAY[a.attnum::int, a.attstattarget::int] ORDER BY a.attnum)
               FROM pg_attribute AS a WHERE a.attrelid = i.indexrelid AND a.attstattarget >= 0) END
    FROM pg_class AS c JOIN pg_index AS i ON i.indexrelid = c.oid JOIN pg_am AS access ON access.oid = c.relam
    LEFT JOIN pg_inherits AS above ON above.inhrelid = i.indexrelid
    WHERE c.relnamespace = ANY(%(schemas)s::oid[]) AND c.relkind IN ('i', 'I')
      AND NOT EXISTS (SELECT FROM pg_constraint AS k
                      WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))
      AND {not_of_extension("pg_class", "c")}
"""

Row = tuple[Any, ...]


def read_constraints(catalogue: Catalogue) -> None:
    """Draft every constraint of the tables and domains that were read."""
    for row in catalogue.rows(_CONSTRAINTS, "constraints"):
        key = Key(Class.CONSTRAINT, row[0])
        table = catalogue.relation_id(row[1]) if row[1] else None
        domain = catalogue.ids.get(Key(Class.TYPE, row[2])) if row[2] else None
        if table is not None and table.kind is Kind.TABLE:
            _constraint(catalogue, row, ObjectId(Kind.CONSTRAINT, table.name, row[3]), key)
            if row[14]:
                catalogue.also("tablespace of a constraint's index", f"{table.name}.{row[3]}")
        elif domain is not None:
            _constraint(catalogue, row, ObjectId(Kind.DOMAIN_CONSTRAINT, domain.name, row[3]), key)


def _constraint(catalogue: Catalogue, row: Row, id: ObjectId, key: Key) -> None:
    if row[15]:
        catalogue.relations[row[15]] = row[3]
    catalogue.draft(
        Constraint,
        id,
        key,
        type=_TYPES[row[4]],
        definition=_with_options(row[5].removesuffix(_NOT_VALID), row[4], row[13]),
        columns=catalogue.column_names(row[1], row[6]),
        references=catalogue.relations.get(row[7], row[8]) if row[7] else None,
        validated=row[9] or not row[5].endswith(_NOT_VALID),
        inherited=not row[10],
        clustered=bool(row[11]),
        replica_identity=bool(row[12]),
    )


def _with_options(definition: str, kind: str, options: list[str] | None) -> str:
    """Put in the storage parameters, which the server's own text of a key leaves out."""
    if kind == "x" or not options:
        return definition
    late = ""
    for ending in reversed(_LATE):
        if definition.endswith(ending):
            definition, late = definition.removesuffix(ending), ending + late
    pairs = ", ".join(f"{name}='{value}'" for name, _, value in (each.partition("=") for each in options))
    return f"{definition} WITH ({pairs}){late}"


def read_indexes(catalogue: Catalogue) -> None:
    """Draft every index of the tables and materialised views that was made by itself."""
    found = [row for row in catalogue.rows(_INDEXES, "indexes") if row[1] in catalogue.relations]
    for row in found:
        catalogue.relations[row[0]] = catalogue.name(row[2], row[3])
    for row in found:
        _index(catalogue, row)


def _index(catalogue: Catalogue, row: Row) -> None:
    id = ObjectId(Kind.INDEX, catalogue.relations[row[0]])
    catalogue.draft(
        Index,
        id,
        Key(Class.RELATION, row[0]),
        table=catalogue.relations[row[1]],
        definition=_definition(catalogue, row),
        unique=row[5],
        method=row[6],
        columns=catalogue.column_names(row[1], row[7][: row[8]]),
        valid=row[9],
        clustered=row[10],
        replica_identity=row[11],
        parent=catalogue.relations.get(row[12], row[13]) if row[12] else None,
        statistics=tuple((number, target) for number, target in row[15] or ()),
    )
    if row[14]:
        catalogue.also("tablespace of an index", id.name)


def _definition(catalogue: Catalogue, row: Row) -> str:
    start = f"CREATE {'UNIQUE ' if row[5] else ''}INDEX {row[3]} ON "
    rest = row[4].removeprefix(start).removeprefix("ONLY ")
    return f"ON {catalogue.relations[row[1]]}{rest.removeprefix(catalogue.places[row[1]])}"
