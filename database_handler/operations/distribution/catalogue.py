"""Reads what a plan of distribution needs from the catalogues of the coordinator and of its workers."""

from collections.abc import Iterator, Sequence

from database_handler.core.session import Session, Statement
from database_handler.operations.distribution.plan import ClusterState, ForeignKeyFound, Placed, UniqueKey

__all__ = ["look"]

_SERVER = Statement(
    "SELECT current_database()::text, to_regprocedure('citus_version()') IS NOT NULL, "
    "EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = 'citus'), "
    "ARRAY(SELECT t FROM unnest(%s::text[]) AS t WHERE to_regclass(quote_ident(t)) IS NOT NULL)",
    "distribution.server",
)
_VERSION = Statement("SELECT (regexp_match(citus_version(), 'Citus (\\S+)'))[1]", "distribution.version")
_UNIQUE = Statement(
    "SELECT i.indrelid::regclass::text, c.relname, ARRAY(SELECT a.attname::text FROM "
    "unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place) "
    "JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number "
    "WHERE k.place <= i.indnkeyatts ORDER BY k.place) "
    "FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid "
    "WHERE i.indisunique AND i.indrelid = ANY(%s::text[]::regclass[]::oid[]) ORDER BY 1, 2",
    "distribution.unique_keys",
)
_NAMES = (
    "ARRAY(SELECT a.attname::text FROM unnest({key}) WITH ORDINALITY AS k(number, place) JOIN "
    "pg_catalog.pg_attribute a ON a.attrelid = {table} AND a.attnum = k.number ORDER BY k.place)"
)
_FOREIGN = Statement(
    f"SELECT f.conrelid::regclass::text, f.conname, {_NAMES.format(key='f.conkey', table='f.conrelid')}, "
    f"f.confrelid::regclass::text, {_NAMES.format(key='f.confkey', table='f.confrelid')}, "
    "CASE f.confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'r' THEN 'RESTRICT' WHEN 'n' THEN 'SET NULL' "
    "WHEN 'd' THEN 'SET DEFAULT' ELSE 'NO ACTION' END FROM pg_catalog.pg_constraint f WHERE f.contype = 'f' "
    "AND (f.conrelid = ANY(%(t)s::text[]::regclass[]::oid[]) "
    "OR f.confrelid = ANY(%(t)s::text[]::regclass[]::oid[])) "
    "ORDER BY 1, 2",
    "distribution.foreign_keys",
)
_TRIGGERS = Statement(
    "SELECT tgrelid::regclass::text, tgname::text FROM pg_catalog.pg_trigger "
    "WHERE NOT tgisinternal AND tgrelid = ANY(%s::text[]::regclass[]::oid[]) ORDER BY 1, 2",
    "distribution.triggers",
)
_PLACED = Statement(
    "SELECT logicalrelid::regclass::text, CASE WHEN partmethod = 'n' THEN NULL "
    "ELSE column_to_column_name(logicalrelid, partkey) END, colocationid FROM pg_dist_partition "
    "WHERE partmethod <> 'n' OR repmodel = 't' ORDER BY 1",  # the rest are known, and lie on the coordinator
    "distribution.placed",
)
# What generated columns and searches use; of the coordinator's own, and asked of each worker.
_HAS = (
    "SELECT coalesce(string_agg(what, E'\\n'), '') FROM ("
    "SELECT 'extension ' || extname AS what FROM pg_catalog.pg_extension "
    "WHERE extname <> 'plpgsql' AND extname NOT LIKE 'citus%' UNION ALL "
    "SELECT 'text search configuration ' || cfgname FROM pg_catalog.pg_ts_config "
    "WHERE cfgname LIKE 'database\\_handler\\_%' UNION ALL "
    "SELECT DISTINCT 'function ' || proname FROM pg_catalog.pg_proc "
    "WHERE proname LIKE 'database\\_handler\\_%') AS w"
)
_OWN = Statement(_HAS.replace("%", "%%"), "distribution.has")
_WORKERS = Statement(
    "SELECT nodename || ':' || nodeport, success, result FROM run_command_on_workers(%s) ORDER BY 1",
    "distribution.workers",
)
_UNREACHED = "answer"


def look(session: Session, tables: Sequence[str]) -> ClusterState:
    """Return what there is of these tables; `session` should see one moment."""
    database, has_citus, available, there = session.one(_SERVER, [[*tables]])
    workers, lacking = _nodes(session) if has_citus else ((), ())
    return ClusterState(
        database=database,
        citus=session.one(_VERSION)[0] if has_citus else None,
        available=available,
        workers=workers,
        tables=tuple(there),
        placed=tuple(Placed(*row) for row in session.all(_PLACED)) if has_citus else (),
        unique_keys=tuple(UniqueKey(t, n, tuple(c)) for t, n, c in session.all(_UNIQUE, [there])),
        foreign_keys=tuple(_foreign(session, there)),
        triggers=tuple((table, name) for table, name in session.all(_TRIGGERS, [there])),
        lacking=lacking,
    )


def _foreign(session: Session, tables: list[str]) -> Iterator[ForeignKeyFound]:
    for table, name, columns, target, target_columns, on_delete in session.all(_FOREIGN, {"t": tables}):
        yield ForeignKeyFound(table, name, tuple(columns), target, tuple(target_columns), on_delete)


def _nodes(session: Session) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Return the workers, and what each of them lacks of what the coordinator has."""
    own = session.one(_OWN)[0].splitlines()
    answers = session.all(_WORKERS, [_HAS])
    lacking = [
        (node, what)
        for node, success, result in answers
        for what in (own if success else [_UNREACHED])
        if not success or what not in (result or "").splitlines()
    ]
    return tuple(node for node, _, _ in answers), tuple(lacking)
