"""Comments, put where they belong; those that no object of a snapshot has are told as not modelled."""

from collections.abc import Iterator
from typing import Any

from database_handler.migrations.introspection.catalogue import Catalogue, Class
from database_handler.migrations.snapshot import Extension, View

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


def read_comments(catalogue: Catalogue) -> None:
    """Give every draft its comment, and every view those of its columns."""
    drafts = {draft.key: draft for draft in catalogue.drafts}
    on_views: dict[tuple[int, int, int], list[tuple[str, str]]] = {}
    for key, text in _found(catalogue):
        draft, whole = drafts.get(key), drafts.get((key[0], key[1], 0))
        if draft is not None and draft.type is not Extension:
            draft.fields["comment"] = text
        elif whole is not None and issubclass(whole.type, View) and key[0] == Class.RELATION:
            column = catalogue.columns[key[1]][key[2]]
            on_views.setdefault(whole.key, []).append((column, text))
        else:
            _tell(catalogue, key)
    for key, comments in on_views.items():
        drafts[key].fields["column_comments"] = tuple(sorted(comments))


def _found(catalogue: Catalogue) -> Iterator[tuple[tuple[int, int, int], str]]:
    rows: list[tuple[Any, ...]] = catalogue.rows(_COMMENTS, "comments", classes=_CLASSES)
    return ((row[:3], row[3]) for row in rows)


def _tell(catalogue: Catalogue, key: tuple[int, int, int]) -> None:
    _, oid, number = key
    if key[0] == Class.RELATION and oid in catalogue.relations:
        part = catalogue.columns.get(oid, {}).get(number)
        where = f"{catalogue.relations[oid]}.{part}" if part else catalogue.relations[oid]
        catalogue.also("comment of a part", where)
