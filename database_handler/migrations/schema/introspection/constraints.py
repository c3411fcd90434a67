"""Constraints, and the indexes that are no constraint's."""

from typing import NamedTuple

from database_handler.migrations.schema.introspection.catalogue import Catalogue, Class, not_of_extension
from database_handler.migrations.schema.snapshot import Constraint, ConstraintType, Index, Kind, ObjectId

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
# that anybody could name, and stand for the key. PostgreSQL 18 lists NOT NULL too, which belongs to columns.
_CONSTRAINTS = """
    SELECT k.oid, k.conrelid, k.contypid, quote_ident(k.conname), k.contype, pg_get_constraintdef(k.oid),
           k.conkey, k.confrelid, k.confrelid::regclass::text, k.convalidated, NOT k.conislocal,
           k.conparentid, above.confrelid <> k.confrelid,
           x.oid, x.reloptions, x.reltablespace <> 0, i.indisclustered, i.indisreplident
    FROM pg_constraint AS k
    LEFT JOIN pg_index AS i ON i.indexrelid = k.conindid AND k.contype IN ('p', 'u', 'x')
    LEFT JOIN pg_class AS x ON x.oid = i.indexrelid
    LEFT JOIN pg_constraint AS above ON above.oid = k.conparentid
    WHERE k.connamespace = ANY(%(schemas)s::oid[])
      AND (k.contype IN ('p', 'u', 'f', 'c', 'x')
           OR k.contype = 'n' AND k.conrelid <> 0 AND (NOT k.convalidated OR k.connoinherit))
    ORDER BY k.oid
"""
# NOT IN is hashed whatever the statistics say; NOT EXISTS became a loop over all constraints for each index.
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
      AND i.indexrelid NOT IN (SELECT k.conindid FROM pg_constraint AS k WHERE k.contype IN ('p', 'u', 'x')
                               AND k.connamespace = ANY(%(schemas)s::oid[]))
      AND {not_of_extension("pg_class", "c")}
"""


class _Constraint(NamedTuple):
    """A row of pg_constraint, with the index that serves it."""

    oid: int
    table: int
    domain: int
    name: str
    type: str
    definition: str | None
    columns: list[int] | None
    referenced: int
    references: str
    validated: bool
    inherited: bool
    parent: int
    of_partition: bool | None
    served_by: int | None
    options: list[str] | None
    elsewhere: bool | None
    clustered: bool | None
    replica_identity: bool | None


class _Index(NamedTuple):
    """A row of pg_index."""

    oid: int
    table: int
    schema: int
    name: str
    definition: str | None
    unique: bool
    method: str
    columns: list[int]
    keys: int
    valid: bool
    clustered: bool
    replica_identity: bool
    parent: int | None
    parent_name: str | None
    elsewhere: bool
    statistics: list[tuple[int, int]] | None


def read_constraints(catalogue: Catalogue) -> None:
    """Draft every constraint of the tables and domains that were read."""
    if not catalogue.holds(Class.RELATION, Class.TYPE):
        return
    for row in map(_Constraint._make, catalogue.rows(_CONSTRAINTS, "constraints")):
        owner = (Class.RELATION, row.table, 0) if row.table else (Class.TYPE, row.domain, 0)
        whole = catalogue.ids.get(owner)
        if whole is None:
            continue
        if row.type == "n":
            catalogue.also("NOT NULL that is not valid, or not inherited", f"{whole.name}.{row.name}")
        elif row.of_partition and (above := catalogue.ids.get((Class.CONSTRAINT, row.parent, 0))):
            catalogue.ids[(Class.CONSTRAINT, row.oid, 0)] = above
        else:
            _constraint(catalogue, row, whole)


def _constraint(catalogue: Catalogue, row: _Constraint, whole: ObjectId) -> None:
    kind = Kind.CONSTRAINT if row.table else Kind.DOMAIN_CONSTRAINT
    definition = catalogue.after("", row.definition)
    draft = catalogue.draft(
        Constraint,
        ObjectId(kind, whole.name, row.name),
        (Class.CONSTRAINT, row.oid, 0),
        type=_TYPES[row.type],
        definition=_with_options(row, definition.removesuffix(_NOT_VALID)),
        columns=_columns(catalogue, row),
        references=catalogue.relations.get(row.referenced, row.references) if row.referenced else None,
        validated=row.validated or not definition.endswith(_NOT_VALID),
        inherited=row.inherited,
        clustered=bool(row.clustered),
        replica_identity=bool(row.replica_identity),
    )
    if row.served_by:
        catalogue.relations[row.served_by] = row.name
        catalogue.ids[(Class.RELATION, row.served_by, 0)] = draft.id
    if row.elsewhere:
        catalogue.also("tablespace", f"{whole.name}.{row.name}")


def _columns(catalogue: Catalogue, row: _Constraint) -> tuple[str, ...]:
    """Return its columns: those of a key as they were written, those of a check in no order, so by name."""
    names = catalogue.column_names(row.table, row.columns)
    return tuple(sorted(names)) if row.type == "c" else names


def _with_options(row: _Constraint, definition: str) -> str:
    """Put in the storage parameters, which the server's own text of a key leaves out."""
    if row.type not in "pu" or not row.options:
        return definition
    late = ""
    for ending in reversed(_LATE):
        if definition.endswith(ending):
            definition, late = definition.removesuffix(ending), ending + late
    pairs = ", ".join(f"{name}='{value}'" for name, _, value in (each.partition("=") for each in row.options))
    return f"{definition} WITH ({pairs}){late}"


def read_indexes(catalogue: Catalogue) -> None:
    """Draft every index of the tables and materialised views that was made by itself."""
    if not catalogue.indexed:
        return
    rows = [_Index._make(row) for row in catalogue.rows(_INDEXES, "indexes")]
    found = [row for row in rows if row.table in catalogue.relations]
    for row in found:
        catalogue.relations[row.oid] = catalogue.name(row.schema, row.name)
    for row in found:
        _index(catalogue, row)


def _index(catalogue: Catalogue, row: _Index) -> None:
    id = ObjectId(Kind.INDEX, catalogue.relations[row.oid])
    catalogue.draft(
        Index,
        id,
        (Class.RELATION, row.oid, 0),
        table=catalogue.relations[row.table],
        definition=_definition(catalogue, row),
        unique=row.unique,
        method=row.method,
        columns=catalogue.column_names(row.table, row.columns[: row.keys]),
        valid=row.valid,
        clustered=row.clustered,
        replica_identity=row.replica_identity,
        parent=catalogue.relations.get(row.parent, row.parent_name) if row.parent else None,
        statistics=tuple((number, target) for number, target in row.statistics or ()),
    )
    if row.elsewhere:
        catalogue.also("tablespace", id.name)


def _definition(catalogue: Catalogue, row: _Index) -> str:
    """Return what follows the name, the table's written as it is in ids."""
    start = f"CREATE {'UNIQUE ' if row.unique else ''}INDEX {row.name} ON "
    rest = catalogue.after(start, row.definition).removeprefix("ONLY ")
    return f"ON {catalogue.relations[row.table]}{catalogue.after(catalogue.places[row.table], rest)}"
