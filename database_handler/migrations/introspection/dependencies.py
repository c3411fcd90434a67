"""Who needs whom: pg_depend, told in the ids of a snapshot.

What the server makes by itself for an object (its row type and array type, the index of a constraint, the
sequence of an identity column, the rule of a view) stands for that object.
"""

from collections.abc import Iterable

from database_handler.migrations.introspection.catalogue import Catalogue, Class, Draft, Key
from database_handler.migrations.snapshot import Kind, ObjectId

__all__ = ["read_dependencies"]

_DEPENDENCIES = """
    WITH found(classid, objid) AS (
        SELECT 'pg_class'::regclass, oid FROM pg_class
        WHERE relnamespace = ANY(%(schemas)s::oid[]) AND relkind <> 't'
        UNION ALL SELECT 'pg_constraint'::regclass, oid FROM pg_constraint
        WHERE connamespace = ANY(%(schemas)s::oid[]) AND contype <> 'n'
        UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typnamespace = ANY(%(schemas)s::oid[])
        UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace = ANY(%(schemas)s::oid[])
        UNION ALL SELECT 'pg_attrdef'::regclass, d.oid FROM pg_attrdef AS d
        JOIN pg_class AS c ON c.oid = d.adrelid WHERE c.relnamespace = ANY(%(schemas)s::oid[])
        UNION ALL SELECT 'pg_rewrite'::regclass, r.oid FROM pg_rewrite AS r
        JOIN pg_class AS c ON c.oid = r.ev_class WHERE c.relnamespace = ANY(%(schemas)s::oid[])
        UNION ALL SELECT 'pg_trigger'::regclass, t.oid FROM pg_trigger AS t
        JOIN pg_class AS c ON c.oid = t.tgrelid
        WHERE c.relnamespace = ANY(%(schemas)s::oid[]) AND NOT t.tgisinternal
        UNION ALL SELECT 'pg_policy'::regclass, p.oid FROM pg_policy AS p
        JOIN pg_class AS c ON c.oid = p.polrelid WHERE c.relnamespace = ANY(%(schemas)s::oid[])
        UNION ALL SELECT 'pg_statistic_ext'::regclass, oid FROM pg_statistic_ext
        WHERE stxnamespace = ANY(%(schemas)s::oid[])
        UNION ALL SELECT 'pg_ts_dict'::regclass, oid FROM pg_ts_dict
        WHERE dictnamespace = ANY(%(schemas)s::oid[])
        UNION ALL SELECT 'pg_ts_config'::regclass, oid FROM pg_ts_config
        WHERE cfgnamespace = ANY(%(schemas)s::oid[])
    )
    SELECT d.classid, d.objid, d.objsubid, d.refclassid, d.refobjid, d.refobjsubid, d.deptype
    FROM found JOIN pg_depend AS d ON d.classid = found.classid AND d.objid = found.objid
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


class _Ids:
    """Resolves what the server names to the objects of the snapshot."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.known = catalogue.ids
        self.inner: dict[tuple[int, int], Key] = {}

    def find(self, key: Key) -> ObjectId | None:
        """Return the object that stands for `key`, if one of the snapshot does."""
        for _ in range(8):  # array type, row type, table: never deeper than a few
            found = self.known.get(key) or self.known.get(Key(key[0], key[1]))
            if found is not None:
                return found
            inner = self.inner.get((key[0], key[1]))
            if inner is None:
                return None
            key = inner
        return None


def read_dependencies(catalogue: Catalogue) -> None:
    """Fill in what every draft needs."""
    ids, pairs = _Ids(catalogue), list[tuple[Key, Key]]()
    for classid, objid, objsubid, refclassid, refobjid, refobjsubid, kind in catalogue.rows(
        _DEPENDENCIES, "dependencies", qualified=catalogue.qualified
    ):
        reference = Key(refclassid, refobjid, refobjsubid)
        if kind == "i":
            ids.inner.setdefault((classid, objid), reference)
        pairs.append((Key(classid, objid, objsubid), reference))
    drafts = {draft.id: draft for draft in catalogue.drafts}
    outside = list(_note(drafts, ids, pairs))
    if outside:
        _note_extensions(catalogue, drafts, outside)
    for draft in catalogue.drafts:
        _note_whole(draft, drafts)


def _note(
    drafts: dict[ObjectId, Draft], ids: _Ids, pairs: Iterable[tuple[Key, Key]]
) -> Iterable[tuple[Draft, Key]]:
    """Note each need between objects of the snapshot; give those of something outside of it."""
    for dependent, reference in pairs:
        found = ids.find(dependent)
        draft = drafts.get(found) if found is not None else None
        if draft is None:
            continue
        needed = ids.find(reference)
        if needed is None:
            yield draft, reference
        elif needed != draft.id and not _owned_by(draft, needed):
            draft.needs.add(needed)


def _owned_by(draft: Draft, needed: ObjectId) -> bool:
    """Whether it is the column that a sequence goes with: that is told by the sequence, and no need."""
    owning: ObjectId | None = draft.fields.get("owned_by")
    return owning is not None and (needed == owning or needed == ObjectId(Kind.TABLE, owning.name))


def _note_extensions(
    catalogue: Catalogue, drafts: dict[ObjectId, Draft], outside: list[tuple[Draft, Key]]
) -> None:
    asked = sorted({(key.catalogue, key.oid) for _, key in outside if key.catalogue != Class.EXTENSION})
    found = catalogue.rows(
        _BROUGHT, "extensions", classes=[each[0] for each in asked], oids=[each[1] for each in asked]
    )
    extensions = {(row[0], row[1]): catalogue.ids.get(Key(Class.EXTENSION, row[2])) for row in found}
    for draft, key in outside:
        extension = extensions.get((key.catalogue, key.oid))
        if extension is not None:
            draft.needs.add(extension)


def _note_whole(draft: Draft, drafts: dict[ObjectId, Draft]) -> None:
    """Note what pg_depend leaves unsaid: a part needs the whole that it is a part of."""
    name = draft.id.name if draft.id.kind in _PARTS else draft.fields.get("table")
    whole = next((id for kind in _WHOLES if (id := ObjectId(kind, name or "")) in drafts), None)
    if whole is not None:
        draft.needs.add(whole)


_WHOLES = (Kind.TABLE, Kind.VIEW, Kind.MATERIALIZED_VIEW, Kind.DOMAIN)
