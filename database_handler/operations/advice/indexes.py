"""Indexes that nobody reads, that say what another one says, that are broken, or that lack below a reference.

Sizes are taken from the catalogue's page counts: to ask the server for a size takes a lock.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, permutations
from operator import attrgetter
from typing import Any

from database_handler.core.session import Session, Statement
from database_handler.operations.advice.findings import AdviceLimits, Finding
from database_handler.utils.text import counted

__all__ = ["SINCE", "Index", "duplicates", "find_duplicates", "find_invalid", "find_unindexed", "find_unused"]


@dataclass(frozen=True, slots=True)
class Index:
    """What makes an index the same as another.

    Attributes
    ----------
    name, table : str
        As SQL spells them, with their schema.
    keys : tuple
        Of each key column: its number (0: an expression), operator class, collation and options.
    included : frozenset of int
        The columns that it holds beside its keys.
    shape : str
        Its expressions and its predicate, as the server spells them.
    needed : bool
        Whether something stands on this very index: a constraint, a reference, a replica's identity.
    """

    oid: int
    name: str
    table: str
    method: str
    unique: bool
    keys: tuple[tuple[int, int, int, int], ...]
    included: frozenset[int]
    shape: str
    needed: bool
    bytes: int


_INDEXES = Statement(
    """SELECT c.oid::bigint, format('%I.%I', n.nspname, c.relname), format('%I.%I', n.nspname, t.relname),
    a.amname, i.indisunique, i.indkey::int2[], i.indclass::oid[]::bigint[], i.indcollation::oid[]::bigint[],
    i.indoption::int2[], i.indnkeyatts,
    concat(pg_get_expr(i.indexprs, i.indrelid), ' WHERE ', pg_get_expr(i.indpred, i.indrelid)),
    i.indisreplident OR EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = c.oid),
    c.relpages::bigint * current_setting('block_size')::bigint
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_class AS t ON t.oid = i.indrelid
    JOIN pg_namespace AS n ON n.oid = t.relnamespace JOIN pg_am AS a ON a.oid = c.relam
    WHERE i.indisvalid AND NOT c.relispartition AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND n.nspname !~ '^pg_(toast|temp)' ORDER BY 3, 1""",
    "advise.indexes",
)


def find_duplicates(session: Session, limits: AdviceLimits) -> Iterator[Finding]:
    """Find indexes whose every use another index of the table serves as well."""
    del limits
    indexes = [_index(row) for row in session.all(_INDEXES)]
    for index, other in duplicates(indexes):
        same = "the same columns" if len(index.keys) == len(other.keys) else "its columns first"
        yield Finding(
            kind="duplicate index",
            severity="warning",
            object=index.name,
            why=f"{other.name} has {same}, of the same kind and for the same rows",
            remedy=f"drop it: whatever it serves, {other.name} serves too",
            sql=(f"DROP INDEX CONCURRENTLY {index.name}",),
            numbers={"bytes": index.bytes},
        )


def _index(row: tuple[Any, ...]) -> Index:
    oid, name, table, method, unique, columns, classes, collations, options, keys, shape, needed, size = row
    told = tuple(zip(columns[:keys], classes, collations, options, strict=False))
    return Index(oid, name, table, method, unique, told, frozenset(columns[keys:]), shape, needed, size)


def duplicates(indexes: Iterable[Index]) -> Iterator[tuple[Index, Index]]:
    """Give each index that is not needed beside another one, and that one; of two alike, the younger."""
    for _, of_table in groupby(sorted(indexes, key=attrgetter("table")), key=attrgetter("table")):
        gone: set[int] = set()
        for index, other in permutations(sorted(of_table, key=attrgetter("oid"), reverse=True), 2):
            if index.oid not in gone and other.oid not in gone and _served(index, other):
                gone.add(index.oid)
                yield index, other


def _served(index: Index, other: Index) -> bool:
    if index.needed or (index.method, index.shape) != (other.method, other.shape):
        return False
    width = len(index.keys)
    if index.keys != other.keys[:width] or (width < len(other.keys) and index.method != "btree"):
        return False
    if index.unique and not (other.unique and width == len(other.keys)):
        return False  # it holds rows apart, which the other does not
    if (0,) in {key[:1] for key in index.keys} and width < len(other.keys):
        return False  # which of the expressions is which cannot be told
    return index.included <= other.included | {key[0] for key in other.keys}


# -------------------------------------------------------------------------------------------- unused, invalid

# A partitioned index is used when that of any partition is. One that a reference is checked by is left out:
# how seldom something is deleted above does not say how long it may take then.
_UNUSED = Statement(
    """WITH RECURSIVE tree AS (
        SELECT c.oid AS root, c.oid AS leaf FROM pg_class AS c
        WHERE c.relkind IN ('i', 'I') AND NOT c.relispartition
        UNION ALL SELECT tree.root, h.inhrelid FROM tree JOIN pg_inherits AS h ON h.inhparent = tree.leaf)
    SELECT format('%I.%I', n.nspname, c.relname), format('%I.%I', n.nspname, t.relname),
        sum(l.relpages)::bigint * current_setting('block_size')::bigint
    FROM tree JOIN pg_class AS c ON c.oid = tree.root JOIN pg_index AS i ON i.indexrelid = c.oid
    JOIN pg_class AS t ON t.oid = i.indrelid JOIN pg_namespace AS n ON n.oid = t.relnamespace
    JOIN pg_class AS l ON l.oid = tree.leaf
    WHERE i.indisvalid AND NOT i.indisunique AND NOT i.indisexclusion AND NOT i.indisreplident
    AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = c.oid)
    AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.contype = 'f' AND k.conrelid = t.oid
        AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey)
    AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
    GROUP BY c.oid, 1, 2 HAVING bool_and(coalesce(pg_stat_get_numscans(l.oid), 0) = 0) ORDER BY 3 DESC, 1""",
    "advise.unused_indexes",
)
# After a crash the server begins anew, and says so of its shared counters only.
SINCE = Statement(
    "SELECT greatest(coalesce(d.stats_reset, pg_postmaster_start_time()), b.stats_reset)"
    " FROM pg_stat_database AS d, pg_stat_bgwriter AS b WHERE d.datname = current_database()",
    "advise.since",
)
_DAYS = Statement(
    f"SELECT extract(epoch FROM now() - since)::float8 / 86400 FROM ({SINCE.text}) AS counted (since)",
    "advise.counted",
)


def find_unused(session: Session, limits: AdviceLimits) -> Iterator[Finding]:
    """Find indexes that were never read since the server began to count, when that is long enough ago."""
    days = session.one(_DAYS)[0]
    if days < limits.unused_days:
        return
    for name, table, size in session.all(_UNUSED):
        yield Finding(
            kind="unused index",
            severity="note",
            object=name,
            why=f"nothing has read it in the {days:.1f} days that this server has counted, and every write "
            f"of {table} keeps it up",
            remedy="ask whether something needs it seldom, or on a standby, whose reads are not counted; "
            "then drop it",
            sql=(f"DROP INDEX CONCURRENTLY {name}",),
            numbers={"bytes": size, "days": round(days, 2)},
        )


_INVALID = Statement(
    """SELECT format('%I.%I', n.nspname, c.relname), c.relkind = 'I', c.relname ~ '_cc(new|old)[0-9]*$',
    c.relpages::bigint * current_setting('block_size')::bigint
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE NOT i.indisvalid AND n.nspname !~ '^pg_temp'
    AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index AS p
        WHERE c.oid = p.index_relid OR (p.relid = i.indrelid AND p.command LIKE '%CONCURRENTLY'))
    ORDER BY 1""",
    "advise.invalid_indexes",
)


def find_invalid(session: Session, limits: AdviceLimits) -> Iterator[Finding]:
    """Find indexes that a failed CREATE INDEX CONCURRENTLY or REINDEX left, and that nothing reads."""
    del limits
    for name, partitioned, leftover, size in session.all(_INVALID):
        again = f"REINDEX INDEX CONCURRENTLY {name}"
        sql = (f"DROP INDEX CONCURRENTLY {name}",) if leftover else (again,)
        yield Finding(
            kind="invalid index",
            severity="warning",
            object=name,
            why="some partition has no index attached to it"
            if partitioned
            else "its building failed half-way: writes keep it up, and no query uses it",
            remedy="attach the index of every partition"
            if partitioned
            else "drop it"
            if leftover
            else "build it anew, or drop it",
            sql=() if partitioned else sql,
            numbers={"bytes": size},
        )


# ------------------------------------------------------------------------------------------------- references

_REFERENCES = Statement(
    """SELECT k.conname, format('%I.%I', n.nspname, t.relname), format('%I.%I', fn.nspname, f.relname),
    ARRAY(SELECT quote_ident(a.attname) FROM unnest(k.conkey) WITH ORDINALITY AS u (number, place)
        JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = u.number ORDER BY place),
    greatest(t.reltuples, 0)::float8, k.confdeltype IN ('c', 'n', 'd')
    FROM pg_constraint AS k JOIN pg_class AS t ON t.oid = k.conrelid
    JOIN pg_namespace AS n ON n.oid = t.relnamespace
    JOIN pg_class AS f ON f.oid = k.confrelid JOIN pg_namespace AS fn ON fn.oid = f.relnamespace
    WHERE k.contype = 'f' AND k.conparentid = 0 AND NOT EXISTS (
        SELECT FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
        JOIN pg_am AS m ON m.oid = c.relam
        WHERE i.indrelid = t.oid AND i.indisvalid AND m.amname IN ('btree', 'hash')
        AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey
        AND (i.indpred IS NULL OR EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = t.oid
            AND a.attnum = ANY(k.conkey)
            AND pg_get_expr(i.indpred, i.indrelid) = format('(%I IS NOT NULL)', a.attname))))
    ORDER BY 2, 1""",
    "advise.references",
)


def find_unindexed(session: Session, limits: AdviceLimits) -> Iterator[Finding]:
    """Find references whose columns no index begins with: each delete above reads the whole table below."""
    del limits
    for name, table, target, columns, rows, writes in session.all(_REFERENCES):
        listed = ", ".join(columns)
        yield Finding(
            kind="foreign key without index",
            severity="warning",
            object=f"{table} {name}",
            why=f"each row that goes from {target} has all {_about(rows)} of {table} searched for ({listed})"
            + (", and those found changed" if writes else ""),
            remedy="create an index that begins with these columns, unless nothing is ever deleted there",
            sql=(f"CREATE INDEX CONCURRENTLY ON {table} ({listed})",),
            numbers={"rows": rows},
        )


def _about(rows: float) -> str:
    return counted(int(rows), "row")
