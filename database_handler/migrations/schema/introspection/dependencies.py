"""Who needs whom: pg_depend, told in the ids of a snapshot.

What the server makes by itself for an object (its row type and array type, the index of a constraint, the
sequence of an identity column, the rule of a view) stands for that object.
"""

from collections.abc import Iterable, Iterator

from database_handler.migrations.schema.introspection.catalogue import Catalogue, Class, Draft, Key
from database_handler.migrations.schema.snapshot import Kind, ObjectId

__all__ = ["read_dependencies"]

_DEPENDENCIES = """
    SELECT d.classid, d.objid, d.objsubid, d.refclassid, d.refobjid, d.refobjsubid
    FROM unnest(%(classes)s::oid[], %(oids)s::oid[]) AS asked(classid, objid)
    JOIN pg_depend AS d ON d.classid = asked.classid AND d.objid = asked.objid
    WHERE (d.refclassid <> 'pg_namespace'::regclass OR %(qualified)s) AND d.deptype <> 'e'
"""
# An array type of an extension's type is no member of it, and depends on the type.
_BROUGHT = """
    SELECT asked.classid, asked.objid, brought.refobjid
    FROM unnest(%(classes)s::oid[], %(oids)s::oid[]) AS asked(classid, objid)
    LEFT JOIN pg_type AS array_type ON asked.classid = 'pg_type'::regclass AND array_type.oid = asked.objid
         AND array_type.typelem <> 0 AND array_type.typcategory = 'A'
    JOIN pg_depend AS brought ON brought.classid = asked.classid AND brought.deptype = 'e'
         AND brought.objid = coalesce(array_type.typelem, asked.objid)
"""
_PARTS = frozenset(
    {Kind.COLUMN, Kind.CONSTRAINT, Kind.TRIGGER, Kind.RULE, Kind.POLICY, Kind.DOMAIN_CONSTRAINT}
)
_WHOLES = (Kind.TABLE, Kind.VIEW, Kind.MATERIALIZED_VIEW, Kind.DOMAIN)


def read_dependencies(catalogue: Catalogue) -> None:
    """Fill in what every draft needs."""
    drafts = {draft.id: draft for draft in catalogue.drafts}
    outside = list(_note(catalogue.ids, drafts, _found(catalogue)))
    if outside:
        _note_extensions(catalogue, outside)
    wholes = {id.name: id for id in drafts if id.kind in _WHOLES}
    for draft in catalogue.drafts:
        _note_whole(draft, wholes)


def _found(catalogue: Catalogue) -> Iterable[tuple[int, ...]]:
    drafted = {draft.key for draft in catalogue.drafts}
    # The type of a table's rows, say, stands for the table and depends on nothing else.
    asked = [key for key in catalogue.ids if not key[2] and (key[0] != Class.TYPE or key in drafted)]
    return catalogue.rows(
        _DEPENDENCIES,
        "dependencies",
        classes=[key[0] for key in asked],
        oids=[key[1] for key in asked],
        qualified=catalogue.qualified,
    )


def _note(
    ids: dict[Key, ObjectId], drafts: dict[ObjectId, Draft], found: Iterable[tuple[int, ...]]
) -> Iterator[tuple[Draft, Key]]:
    """Note each need between objects of the snapshot; give those of something outside of it."""
    for classid, objid, objsubid, refclassid, refobjid, refobjsubid in found:
        id = ids.get((classid, objid, objsubid)) or ids.get((classid, objid, 0))
        needed = ids.get((refclassid, refobjid, refobjsubid)) or ids.get((refclassid, refobjid, 0))
        if id is None:
            continue
        draft = drafts[id]
        if needed is None:
            yield draft, (refclassid, refobjid, 0)
        elif needed != id and not _owned_by(draft, needed):
            draft.needs.add(needed)


def _owned_by(draft: Draft, needed: ObjectId) -> bool:
    """Whether it is the column that a sequence goes with: that is told by the sequence, and no need."""
    owning: ObjectId | None = draft.fields.get("owned_by")
    return owning is not None and (needed == owning or needed == ObjectId(Kind.TABLE, owning.name))


def _note_extensions(catalogue: Catalogue, outside: list[tuple[Draft, Key]]) -> None:
    asked = sorted({key for _, key in outside})
    found = catalogue.rows(
        _BROUGHT, "brought", classes=[each[0] for each in asked], oids=[each[1] for each in asked]
    )
    extensions = {(row[0], row[1], 0): catalogue.ids.get((Class.EXTENSION, row[2], 0)) for row in found}
    for draft, key in outside:
        extension = extensions.get(key)
        if extension is not None:
            draft.needs.add(extension)


def _note_whole(draft: Draft, wholes: dict[str, ObjectId]) -> None:
    """Note what pg_depend leaves unsaid: a part needs the whole that it is a part of."""
    name = draft.id.name if draft.id.kind in _PARTS else draft.fields.get("table")
    if name in wholes:
        draft.needs.add(wholes[name])
