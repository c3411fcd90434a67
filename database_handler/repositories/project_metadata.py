"""What keys the `metadata` of a project's rows have, of what types, and how often: one statement."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal
from uuid import UUID

from database_handler.core.base_model import Record
from database_handler.core.exceptions import InvalidValue
from database_handler.core.schema import Table
from database_handler.core.session import Statement

__all__ = [
    "JsonType",
    "MetadataPath",
    "MetadataSummary",
    "metadata_limits",
    "metadata_summary",
    "shown_path",
    "summarised",
]

JsonType = Literal["array", "boolean", "null", "number", "object", "string"]
DEEPEST = 20
MOST_PATHS = 10_000
COLUMN = "metadata"


@dataclass(frozen=True, slots=True)
class MetadataPath:
    """One key of the metadata, and what stands under it.

    Attributes
    ----------
    keys : tuple of str
        The keys from the top to this one, exactly.
    path : str
        The same to be read: joined by dots; a key that could be taken for something else is written as a
        JSON text (``camera."f.stop"``).
    rows : int
        Rows that have it.
    types : mapping
        How many of them hold a value of which JSON type.
    entities : mapping
        The same by table.
    """

    keys: tuple[str, ...]
    path: str
    rows: int
    types: Mapping[JsonType, int]
    entities: Mapping[str, Mapping[JsonType, int]]


@dataclass(frozen=True, slots=True)
class MetadataSummary:
    """The keys of all metadata in a project.

    Attributes
    ----------
    depth : int
        How many levels of objects were looked into; arrays are not.
    rows : mapping
        How many rows each table has in the project, whether or not they have metadata.
    paths : tuple of MetadataPath
        The most frequent first; of equally frequent ones, by their keys.
    truncated : bool
        Whether there are more paths than were asked for.
    """

    project_id: UUID
    depth: int
    rows: Mapping[str, int]
    paths: tuple[MetadataPath, ...]
    truncated: bool


def metadata_limits(depth: object, limit: object) -> tuple[int, int]:
    """Check how deep and how much is asked for, or raise `InvalidValue`."""
    if type(depth) is not int or not 1 <= depth <= DEEPEST:
        raise InvalidValue(f"metadata_summary: depth is a whole number from 1 (top keys) to {DEEPEST}")
    if type(limit) is not int or not 1 <= limit <= MOST_PATHS:
        raise InvalidValue(f"metadata_summary: limit is a whole number of paths from 1 to {MOST_PATHS:,}")
    return depth, limit


# ----------------------------------------------------------------------------------------------- statement


def described(entities: Iterable[type[Record]]) -> tuple[Table, ...]:
    """Return the tables whose rows have metadata."""
    return tuple(model.table for model in entities if COLUMN in model.table.column_names)


@lru_cache(maxsize=64)
def metadata_summary(tables: tuple[Table, ...]) -> Statement:
    """Paths, types and counts; binds the project once for each table, then the depth and the limit."""
    documents = " UNION ALL ".join(
        f"SELECT '{table.name}' AS entity, {COLUMN} AS value FROM {table.name} "
        f"WHERE {table.scope_column} = %s::uuid"
        for table in tables
    )
    # First the objects alone, level by level; then what stands in each, which is never stored.
    text = (
        "WITH RECURSIVE objects AS (SELECT entity, '{}'::text[] AS path, value "
        f"FROM ({documents}) AS documents "
        "UNION ALL SELECT o.entity, o.path || m.key, m.value "
        "FROM objects AS o, jsonb_each(o.value) AS m "
        "WHERE cardinality(o.path) < %s - 1 AND jsonb_typeof(m.value) = 'object'), "
        "counts AS (SELECT o.path || m.key AS path, o.entity, jsonb_typeof(m.value) AS type, "
        "count(*) AS number FROM objects AS o, jsonb_each(o.value) AS m "
        "GROUP BY o.path, m.key, o.entity, jsonb_typeof(m.value)), "
        "paths AS (SELECT path, sum(number)::bigint AS number, "
        "json_agg(json_build_array(entity, type, number)) AS counts "
        'FROM counts GROUP BY path ORDER BY number DESC, path COLLATE "C" LIMIT %s) '
        "SELECT NULL AS entity, path, number, counts FROM paths "
        "UNION ALL SELECT entity, NULL, count(*), NULL FROM objects WHERE path = '{}' GROUP BY entity"
    )
    return Statement(text, "projects.metadata_summary")


# ------------------------------------------------------------------------------------------------- reading


def summarised(
    project_id: UUID,
    depth: int,
    limit: int,
    asked: Iterable[Table],
    rows: Sequence[tuple[Any, ...]],
) -> MetadataSummary | None:
    """Read the answer to `metadata_summary`; None where the project is not there."""
    tables = {entity: number for entity, _, number, _ in rows if entity is not None}
    if "projects" not in tables:
        return None
    paths = [_path(tuple(keys), number, counts) for entity, keys, number, counts in rows if entity is None]
    paths.sort(key=lambda path: (-path.rows, path.keys))
    there = {table.name: tables.get(table.name, 0) for table in asked}
    return MetadataSummary(project_id, depth, there, tuple(paths[:limit]), len(paths) > limit)


def _path(keys: tuple[str, ...], number: int, counts: Iterable[tuple[str, JsonType, int]]) -> MetadataPath:
    types: Counter[JsonType] = Counter()
    entities: dict[str, dict[JsonType, int]] = defaultdict(dict)
    for entity, kind, found in sorted(counts):
        types[kind] += found
        entities[entity][kind] = found
    return MetadataPath(keys, shown_path(keys), number, dict(types), dict(entities))


_PLAIN_KEY = re.compile(r'[^\s."\\]+')


def shown_path(keys: Iterable[str]) -> str:
    """Join keys by dots, such that no other keys give the same text."""
    return ".".join(map(_shown, keys))


def _shown(key: str) -> str:
    if not key.isprintable():  # nor what would turn the line around, or not be seen at all
        return json.dumps(key)
    return key if _PLAIN_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)
