"""Comments, put where they belong; those that no object of a snapshot has are told as not modelled."""

from collections.abc import Iterable

from database_handler.migrations.schema.introspection.catalogue import Catalogue, Class, Draft, Key
from database_handler.migrations.schema.snapshot import Extension, View

__all__ = ["read_comments"]

# What has a comment of its own was made after the server: its number says so. Those of extensions come with
# them and are left alone, as are those of things in other schemas, which no draft stands for.
_COMMENTS = """
    SELECT d.classoid, d.objoid, d.objsubid, d.description FROM pg_description AS d WHERE d.objoid >= 16384
    AND d.classoid = ANY(%(classes)s::oid[])
"""
_CLASSES = sorted(
    number for name, number in vars(Class).items() if not name.startswith("_") and name != "EXTENSION"
)
# PostgreSQL 18 has a constraint for each NOT NULL, which may have a comment; columns have no place for it.
_CONSTRAINTS = """
    SELECT quote_ident(k.conname) FROM pg_constraint AS k
    WHERE k.oid = ANY(%(oids)s::oid[]) AND k.connamespace = ANY(%(schemas)s::oid[])
"""


def read_comments(catalogue: Catalogue) -> None:
    """Give every draft its comment, and every view those of its columns."""
    drafts = {draft.key: draft for draft in catalogue.drafts}
    on_views: dict[Key, list[tuple[str, str]]] = {}
    left: list[Key] = []
    for *found, text in catalogue.rows(_COMMENTS, "comments", classes=_CLASSES):
        key: Key = (found[0], found[1], found[2])
        draft, whole = drafts.get(key), drafts.get((key[0], key[1], 0))
        if draft is not None:
            _comment(draft, text)
        elif whole is not None and issubclass(whole.type, View):
            on_views.setdefault(whole.key, []).append((catalogue.columns[key[1]][key[2]], text))
        else:
            left.append(key)
    for view, comments in on_views.items():
        drafts[view].fields["column_comments"] = tuple(sorted(comments))
    _tell(catalogue, left)


def _comment(draft: Draft, text: str) -> None:
    if draft.type is not Extension:
        draft.fields["comment"] = text


def _tell(catalogue: Catalogue, keys: Iterable[Key]) -> None:
    constraints = []
    for kind, oid, number in keys:
        if kind == Class.CONSTRAINT:
            constraints.append(oid)
        elif kind == Class.RELATION and oid in catalogue.relations:
            part = catalogue.columns.get(oid, {}).get(number)
            where = f"{catalogue.relations[oid]}.{part}" if part else catalogue.relations[oid]
            catalogue.also("comment of a part", where)
    if constraints:
        for (name,) in catalogue.rows(_CONSTRAINTS, "commented", oids=constraints):
            catalogue.also("comment of a part", name)
