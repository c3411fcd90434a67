"""Tables, columns, views and sequences."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from database_handler.migrations.schema.introspection.catalogue import (
    Catalogue,
    Class,
    Key,
    acl,
    grants_of,
    not_of_extension,
    options_of,
    owner,
)
from database_handler.migrations.schema.snapshot import (
    Column,
    Grant,
    Identity,
    Kind,
    MaterializedView,
    ObjectId,
    Sequence,
    SequenceOptions,
    Table,
    View,
)

__all__ = ["read_relations"]

_PERSISTENCE = {"p": "permanent", "u": "unlogged", "t": "temporary"}
_IDENTITY = {"d": "default", "f": "full", "n": "nothing", "i": "default"}
_STORAGE = {"p": "PLAIN", "e": "EXTERNAL", "x": "EXTENDED", "m": "MAIN"}
_COMPRESSION = {"p": "pglz", "l": "lz4"}
_GENERATED = {"s": "stored", "v": "virtual"}
# What ALTER COLUMN SET takes; some builds of the server note things of their own there.
_COLUMN_OPTIONS = ("n_distinct", "n_distinct_inherited")

_RELATIONS = f"""
    SELECT c.oid, c.relnamespace, quote_ident(c.relname), c.relkind, c.relpersistence, c.reltype,
           row_type.typarray, {owner("c.relowner")},
           CASE WHEN c.relkind = 'S' THEN {acl("c.relacl", "s", "c.relowner")}
                ELSE {acl("c.relacl", "r", "c.relowner")} END,
           c.relrowsecurity, c.relforcerowsecurity, c.relreplident, c.reloptions, toast.reloptions,
           CASE WHEN access.amname <> 'heap' THEN access.amname END,
           CASE c.relkind WHEN 'p' THEN pg_get_partkeydef(c.oid) END,
           CASE WHEN c.relispartition THEN pg_get_expr(c.relpartbound, c.oid) END,
           CASE WHEN c.relkind IN ('r', 'p') THEN (
               SELECT json_agg(json_build_array(i.inhparent::int8, i.inhparent::regclass::text)
                               ORDER BY i.inhseqno)
               FROM pg_inherits AS i WHERE i.inhrelid = c.oid) END,
           CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END, c.relispopulated,
           c.reloftype <> 0, c.reltablespace <> 0, c.relhasindex, c.relhasrules, c.relhastriggers,
           pg_table_is_visible(c.oid)
    FROM pg_class AS c LEFT JOIN pg_type AS row_type ON row_type.oid = c.reltype
    LEFT JOIN pg_class AS toast ON toast.oid = c.reltoastrelid
    LEFT JOIN pg_am AS access ON access.oid = c.relam
    WHERE c.relnamespace = ANY(%(schemas)s::oid[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'c', 'f')
      AND {not_of_extension("pg_class", "c")}
"""
_COLUMNS = f"""
    SELECT a.attrelid, a.attnum, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
           CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END,
           a.attnotnull, a.attgenerated, a.attidentity, d.oid, pg_get_expr(d.adbin, d.adrelid),
           CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage END, a.attcompression,
           nullif(a.attstattarget, -1), a.attoptions, NOT a.attislocal,
           {acl("a.attacl", "c", "c.relowner")}
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid JOIN pg_type AS t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE c.relnamespace = ANY(%(schemas)s::oid[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'c')
      AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attrelid, a.attnum
"""
_SEQUENCES = """
    SELECT s.seqrelid, d.deptype, d.refobjid, d.refobjsubid, format_type(s.seqtypid, NULL), s.seqstart,
           s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle
    FROM pg_sequence AS s JOIN pg_class AS c ON c.oid = s.seqrelid
    LEFT JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid AND d.objsubid = 0
         AND d.deptype IN ('a', 'i') AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
    WHERE c.relnamespace = ANY(%(schemas)s::oid[])
"""


class _Relation(NamedTuple):
    """A row of pg_class."""

    oid: int
    schema: int
    name: str
    kind: str
    persistence: str
    row_type: int
    array_type: int
    owner: str
    acl: list[list[Any]] | None
    row_security: bool
    force_row_security: bool
    replica_identity: str
    options: list[str] | None
    toast_options: list[str] | None
    access_method: str | None
    partition_key: str | None
    partition_bound: str | None
    parents: list[tuple[int, str]] | None
    definition: str | None
    populated: bool
    typed: bool
    elsewhere: bool
    indexed: bool
    ruled: bool
    triggered: bool
    visible: bool

    @property
    def key(self) -> Key:
        """What pg_depend calls it."""
        return (Class.RELATION, self.oid, 0)


class _Attribute(NamedTuple):
    """A row of pg_attribute."""

    relation: int
    number: int
    name: str
    type: str
    collation: str | None
    not_null: bool
    generated: str
    identity: str
    default_oid: int | None
    expression: str | None
    storage: str | None
    compression: str
    statistics: int | None
    options: list[str] | None
    inherited: bool
    acl: list[list[Any]] | None


class _Sequence(NamedTuple):
    """A row of pg_sequence, and the column that it belongs to (``i``) or goes with (``a``)."""

    oid: int
    bond: str | None
    table: int
    column: int
    options: SequenceOptions


class _Reading:
    """What one reading of relations hands around: the columns of each, and the sequences."""

    def __init__(self, catalogue: Catalogue, relations: Iterable[_Relation]) -> None:
        self.catalogue = catalogue
        self.attributes: dict[int, list[_Attribute]] = {}
        for row in catalogue.rows(_COLUMNS, "columns"):
            attribute = _Attribute._make(row)
            self.attributes.setdefault(attribute.relation, []).append(attribute)
            catalogue.columns.setdefault(attribute.relation, {})[attribute.number] = attribute.name
        counted = any(relation.kind == "S" for relation in relations)
        self.sequences = {each.oid: each for each in (_sequences(catalogue) if counted else ())}
        identities = (each for each in self.sequences.values() if each.bond == "i")
        self.of_columns = {(each.table, each.column): each for each in identities}


def _sequences(catalogue: Catalogue) -> Iterator[_Sequence]:
    for row in catalogue.rows(_SEQUENCES, "sequences"):
        if row[0] in catalogue.relations:
            oid, bond, table, column, *options = row
            yield _Sequence(oid, bond, table, column, SequenceOptions._make(options))


def read_relations(catalogue: Catalogue) -> None:
    """Draft every table, column, view, materialised view and sequence; keep composite types' attributes."""
    if not catalogue.holds(Class.RELATION, Class.TYPE):
        return
    relations = [_Relation._make(row) for row in catalogue.rows(_RELATIONS, "relations")]
    for relation in relations:
        catalogue.relations[relation.oid] = catalogue.name(relation.schema, relation.name)
        catalogue.places[relation.oid] = catalogue.place(relation.schema, relation.name)
        catalogue.see(relation.visible, catalogue.relations[relation.oid])
    catalogue.indexed = any(relation.indexed for relation in relations)
    catalogue.ruled = any(relation.ruled for relation in relations)
    catalogue.triggered = any(relation.triggered for relation in relations)
    reading = _Reading(catalogue, relations)
    for relation in relations:
        _DRAFTED[relation.kind](reading, relation)


def _table(reading: _Reading, row: _Relation) -> None:
    catalogue = reading.catalogue
    name = catalogue.relations[row.oid]
    toast = [f"toast.{option}" for option in row.toast_options or ()]
    catalogue.draft(
        Table,
        ObjectId(Kind.TABLE, name),
        row.key,
        owner=row.owner,
        grants=grants_of(row.acl, "r"),
        persistence=_PERSISTENCE[row.persistence],
        partition_key=row.partition_key,
        parents=tuple(catalogue.relations.get(parent, told) for parent, told in row.parents or ()),
        partition_bound=row.partition_bound,
        row_security=row.row_security,
        force_row_security=row.force_row_security,
        replica_identity=_IDENTITY[row.replica_identity],
        options=options_of([*(row.options or ()), *toast]),
        access_method=row.access_method,
    )
    _own_types(catalogue, row)
    _tell_unmodelled(catalogue, row, name)
    for attribute in reading.attributes.get(row.oid, ()):
        _column(reading, name, attribute)


def _own_types(catalogue: Catalogue, row: _Relation) -> None:
    """Have the type of a relation's rows, and that of arrays of them, stand for the relation."""
    id = catalogue.ids[row.key]
    catalogue.ids[(Class.TYPE, row.row_type, 0)] = catalogue.ids[(Class.TYPE, row.array_type, 0)] = id


def _tell_unmodelled(catalogue: Catalogue, row: _Relation, name: str) -> None:
    if row.typed:
        catalogue.also("type of a typed table", name)
    if row.elsewhere:
        catalogue.also("tablespace", name)


def _column(reading: _Reading, table: str, row: _Attribute) -> None:
    generated = _GENERATED.get(row.generated)
    identity = _identity(reading, row) if row.identity else None
    draft = reading.catalogue.draft(
        Column,
        ObjectId(Kind.COLUMN, table, row.name),
        (Class.RELATION, row.relation, row.number),
        type=row.type,
        position=row.number,
        collation=row.collation,
        not_null=row.not_null,
        generated=generated,
        default=None if generated or identity else row.expression,
        hides_default=identity is not None and row.expression is not None,
        expression=row.expression if generated else None,
        identity=identity,
        storage=_STORAGE[row.storage] if row.storage else None,
        compression=_COMPRESSION.get(row.compression),
        statistics=row.statistics,
        inherited=row.inherited,
    )
    if row.options:
        options = options_of(row.options)
        draft.fields["options"] = tuple(option for option in options if option[0] in _COLUMN_OPTIONS)
    if row.acl is not None:
        draft.fields["grants"] = grants_of(row.acl, "c")
    if row.default_oid:
        reading.catalogue.ids[(Class.DEFAULT, row.default_oid, 0)] = draft.id


def _identity(reading: _Reading, row: _Attribute) -> Identity | None:
    sequence = reading.of_columns.get((row.relation, row.number))
    if sequence is None:  # a partition uses its parent's
        return None
    options = sequence.options._replace(type=row.type)  # after LIKE it is bigint; a dump does not tell
    return Identity(row.identity == "a", reading.catalogue.relations[sequence.oid], options)


def _sequence(reading: _Reading, row: _Relation) -> None:
    catalogue, found = reading.catalogue, reading.sequences[row.oid]
    name, columns = catalogue.relations[row.oid], catalogue.column_names(found.table, [found.column])
    column = ObjectId(Kind.COLUMN, catalogue.relations[found.table], columns[0]) if columns else None
    if column is not None and found.bond == "i":
        catalogue.ids[row.key] = column
        if row.acl is not None:
            catalogue.also("privileges on the sequence of an identity column", name)
        return
    catalogue.draft(
        Sequence,
        ObjectId(Kind.SEQUENCE, name),
        row.key,
        owner=row.owner,
        grants=grants_of(row.acl, "s"),
        options=found.options,
        persistence=_PERSISTENCE[row.persistence],
        owned_by=column,
    )


def _view(reading: _Reading, row: _Relation) -> None:
    catalogue = reading.catalogue
    materialized = row.kind == "m"
    kind = Kind.MATERIALIZED_VIEW if materialized else Kind.VIEW
    id = ObjectId(kind, catalogue.relations[row.oid])
    own = {"populated": row.populated, "access_method": row.access_method} if materialized else {}
    catalogue.draft(MaterializedView if materialized else View, id, row.key, **_of_view(reading, row), **own)
    _own_types(catalogue, row)
    _tell_unmodelled(catalogue, row, id.name)
    for attribute in reading.attributes.get(row.oid, ()):
        if attribute.default_oid:
            catalogue.ids[(Class.DEFAULT, attribute.default_oid, 0)] = id


def _of_view(reading: _Reading, row: _Relation) -> dict[str, Any]:
    attributes = reading.attributes.get(row.oid, ())
    return {
        "owner": row.owner,
        "grants": grants_of(row.acl, "r"),
        "definition": reading.catalogue.after("", row.definition).strip().removesuffix(";"),
        "columns": tuple((each.name, each.type) for each in attributes),
        "options": options_of(row.options),
        "defaults": tuple(sorted((each.name, each.expression) for each in attributes if each.expression)),
        "column_grants": tuple(sorted(_column_grants(attributes))),
    }


def _column_grants(attributes: Iterable[_Attribute]) -> Iterator[tuple[str, Grant]]:
    for attribute in attributes:
        for grant in grants_of(attribute.acl, "c") or ():
            yield attribute.name, grant


def _composite(reading: _Reading, row: _Relation) -> None:
    attributes = reading.attributes.get(row.oid, ())
    catalogue = reading.catalogue
    catalogue.attributes[row.row_type] = tuple((each.name, each.type, each.collation) for each in attributes)
    catalogue.ids[row.key] = ObjectId(Kind.COMPOSITE, catalogue.relations[row.oid])


def _foreign_table(reading: _Reading, row: _Relation) -> None:
    reading.catalogue.also("foreign table", reading.catalogue.relations[row.oid])


_DRAFTED = {
    "r": _table,
    "p": _table,
    "v": _view,
    "m": _view,
    "c": _composite,
    "S": _sequence,
    "f": _foreign_table,
}
