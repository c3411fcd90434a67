"""Tables, columns, views and sequences."""

from collections.abc import Iterable
from typing import Any

from database_handler.migrations.introspection.catalogue import (
    Catalogue,
    Class,
    Key,
    acl,
    grants_of,
    not_of_extension,
    options_of,
    owner,
)
from database_handler.migrations.snapshot import (
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

_RELATIONS = f"""
    SELECT c.oid, c.relnamespace, quote_ident(c.relname), c.relkind, c.relpersistence, c.reltype,
           {owner("c.relowner")}, c.relrowsecurity, c.relforcerowsecurity, c.relreplident, c.reloptions,
           toast.reloptions, access.amname,
           CASE c.relkind WHEN 'p' THEN pg_get_partkeydef(c.oid) END,
           CASE WHEN c.relispartition THEN pg_get_expr(c.relpartbound, c.oid) END,
           CASE WHEN c.relkind = 'S' THEN {acl("c.relacl", "s", "c.relowner")}
                ELSE {acl("c.relacl", "r", "c.relowner")} END,
           CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END, c.relispopulated,
           c.reloftype <> 0, c.reltablespace <> 0
    FROM pg_class AS c LEFT JOIN pg_class AS toast ON toast.oid = c.reltoastrelid
    LEFT JOIN pg_am AS access ON access.oid = c.relam
    WHERE c.relnamespace = ANY(%(schemas)s::oid[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'c')
      AND {not_of_extension("pg_class", "c")}
"""
_PARENTS = """
    SELECT i.inhrelid, i.inhparent, i.inhparent::regclass::text
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE c.relnamespace = ANY(%(schemas)s::oid[]) AND c.relkind IN ('r', 'p')
    ORDER BY i.inhrelid, i.inhseqno
"""
_COLUMNS = f"""
    SELECT a.attrelid, a.attnum, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
           CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END,
           a.attnotnull, a.attgenerated, d.oid, pg_get_expr(d.adbin, d.adrelid),
           CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage END, a.attcompression,
           nullif(a.attstattarget, -1), a.attoptions, a.attislocal, a.attidentity,
           {acl("a.attacl", "c", "c.relowner")}
    FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid JOIN pg_type AS t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE c.relnamespace = ANY(%(schemas)s::oid[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'c')
      AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attrelid, a.attnum
"""
_SEQUENCES = """
    SELECT s.seqrelid, format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax,
           s.seqcache, s.seqcycle, d.deptype, d.refobjid, d.refobjsubid
    FROM pg_sequence AS s JOIN pg_class AS c ON c.oid = s.seqrelid
    LEFT JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid AND d.objsubid = 0
         AND d.deptype IN ('a', 'i') AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
    WHERE c.relnamespace = ANY(%(schemas)s::oid[])
"""

Row = tuple[Any, ...]


def read_relations(catalogue: Catalogue) -> None:
    """Draft every table, column, view, materialised view, composite type and sequence."""
    found = {row[0]: row for row in catalogue.rows(_RELATIONS, "relations")}
    for oid, schema, name, *_ in found.values():
        catalogue.relations[oid] = catalogue.name(schema, name)
        catalogue.places[oid] = catalogue.place(schema, name)
    parents = _parents(catalogue)
    columns: dict[int, list[Row]] = {}
    for row in catalogue.rows(_COLUMNS, "columns"):
        columns.setdefault(row[0], []).append(row)
        catalogue.columns.setdefault(row[0], {})[row[1]] = row[2]
    owned, sequences = _sequences(catalogue)
    for oid, row in found.items():
        if row[3] in "rp":
            _table(catalogue, row, parents.get(oid, ()))
            _columns(catalogue, oid, columns.get(oid, ()), owned)
        elif row[3] in "vm":
            _view(catalogue, row, columns.get(oid, ()))
        elif row[3] == "c":
            _composite(catalogue, row, columns.get(oid, ()))
        elif oid in sequences:
            _sequence(catalogue, row, sequences[oid])


def _parents(catalogue: Catalogue) -> dict[int, tuple[str, ...]]:
    found: dict[int, tuple[str, ...]] = {}
    for child, parent, name in catalogue.rows(_PARENTS, "parents"):
        found[child] = (*found.get(child, ()), catalogue.relations.get(parent, name))
    return found


def _table(catalogue: Catalogue, row: Row, parents: tuple[str, ...]) -> None:
    oid, name = row[0], catalogue.relations[row[0]]
    toast = [f"toast.{option}" for option in row[11] or ()]
    catalogue.draft(
        Table,
        ObjectId(Kind.TABLE, name),
        Key(Class.RELATION, oid),
        owner=row[6],
        grants=grants_of(row[15], "r"),
        persistence=_PERSISTENCE[row[4]],
        partition_key=row[13],
        parents=parents,
        partition_bound=row[14],
        row_security=row[7],
        force_row_security=row[8],
        replica_identity=_IDENTITY[row[9]],
        options=options_of([*(row[10] or ()), *toast]),
        access_method=None if row[12] in ("heap", None) else row[12],
    )
    if row[18]:
        catalogue.also("type of a typed table", name)
    if row[19]:
        catalogue.also("tablespace of a table", name)


def _columns(catalogue: Catalogue, table: int, rows: Iterable[Row], owned: dict[Key, Row]) -> None:
    name = catalogue.relations[table]
    for row in rows:
        key = Key(Class.RELATION, table, row[1])
        generated = _GENERATED.get(row[6])
        draft = catalogue.draft(
            Column,
            ObjectId(Kind.COLUMN, name, row[2]),
            key,
            type=row[3],
            position=row[1],
            collation=row[4],
            not_null=row[5],
            generated=generated,
            default=None if generated else row[8],
            expression=row[8] if generated else None,
            storage=_STORAGE.get(row[9]),
            compression=_COMPRESSION.get(row[10]),
            statistics=row[11],
            options=options_of(row[12]),
            inherited=not row[13],
            identity=_identity(catalogue, row[14], owned.get(key)),
            grants=grants_of(row[15], "c"),
        )
        if row[7]:
            catalogue.ids[Key(Class.DEFAULT, row[7])] = draft.id


def _identity(catalogue: Catalogue, identity: str, sequence: Row | None) -> Identity | None:
    if not identity or sequence is None or sequence[8] != "i":  # a partition uses its parent's
        return None
    return Identity(identity == "a", catalogue.relations[sequence[0]], SequenceOptions(*sequence[1:8]))


def _sequences(catalogue: Catalogue) -> tuple[dict[Key, Row], dict[int, Row]]:
    """Return the sequences by the column that owns them, and by their numbers."""
    rows = [row for row in catalogue.rows(_SEQUENCES, "sequences") if row[0] in catalogue.relations]
    owned = {Key(Class.RELATION, row[9], row[10]): row for row in rows if row[8]}
    return owned, {row[0]: row for row in rows}


def _sequence(catalogue: Catalogue, row: Row, sequence: Row) -> None:
    key, name = Key(Class.RELATION, row[0]), catalogue.relations[row[0]]
    owner_name = catalogue.column_names(sequence[9], [sequence[10]]) if sequence[8] else ()
    column = ObjectId(Kind.COLUMN, catalogue.relations[sequence[9]], *owner_name) if owner_name else None
    if column is not None and sequence[8] == "i":
        catalogue.ids[key] = column
        if row[15] is not None:
            catalogue.also("privileges on the sequence of an identity column", name)
        return
    catalogue.draft(
        Sequence,
        ObjectId(Kind.SEQUENCE, name),
        key,
        owner=row[6],
        grants=grants_of(row[15], "s"),
        options=SequenceOptions(*sequence[1:8]),
        persistence=_PERSISTENCE[row[4]],
        owned_by=column,
    )


def _view(catalogue: Catalogue, row: Row, columns: Iterable[Row]) -> None:
    columns = list(columns)
    oid, name = row[0], catalogue.relations[row[0]]
    grants = [(each[2], grants_of(each[15], "c")) for each in columns]
    fields: dict[str, Any] = {
        "owner": row[6],
        "grants": grants_of(row[15], "r"),
        "definition": str(row[16]).strip().removesuffix(";"),
        "columns": tuple((each[2], each[3]) for each in columns),
        "options": options_of(row[10]),
        "defaults": tuple(sorted((each[2], each[8]) for each in columns if each[8] is not None)),
        "column_grants": _column_grants(grants),
    }
    for each in columns:
        if each[7]:
            catalogue.ids[Key(Class.DEFAULT, each[7])] = ObjectId(Kind.VIEW, name)
    if row[3] == "v":
        catalogue.draft(View, ObjectId(Kind.VIEW, name), Key(Class.RELATION, oid), **fields)
        return
    fields["populated"] = row[17]
    fields["access_method"] = None if row[12] == "heap" else row[12]
    id = ObjectId(Kind.MATERIALIZED_VIEW, name)
    catalogue.draft(MaterializedView, id, Key(Class.RELATION, oid), **fields)
    if row[19]:
        catalogue.also("tablespace of a materialized view", name)


def _column_grants(
    found: Iterable[tuple[str, tuple[Grant, ...] | None]],
) -> tuple[tuple[str, Grant], ...]:
    return tuple(sorted((column, grant) for column, grants in found for grant in grants or ()))


def _composite(catalogue: Catalogue, row: Row, columns: Iterable[Row]) -> None:
    catalogue.attributes[row[5]] = tuple((each[2], each[3], each[4]) for each in columns)
    catalogue.ids[Key(Class.RELATION, row[0])] = ObjectId(Kind.COMPOSITE, catalogue.relations[row[0]])
