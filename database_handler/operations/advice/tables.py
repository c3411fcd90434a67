"""Tables that want VACUUM or ANALYZE, transaction ids that run out, and sequences near their end."""

from collections.abc import Iterator
from datetime import datetime

from database_handler.core.session import Session, Statement
from database_handler.operations.advice.findings import AdviceLimits, Finding

__all__ = ["find_sequences", "find_unanalysed", "find_unvacuumed", "find_wraparound"]


def _option(name: str, setting: str = "") -> str:
    """SQL for a setting of autovacuum as it holds for the table c."""
    value = (
        f"(SELECT o.option_value FROM pg_options_to_table(c.reloptions) AS o WHERE o.option_name = '{name}')"
    )
    return f"coalesce({value}::float8, current_setting('{setting or name}')::float8)"


_OFF = (
    "(current_setting('autovacuum')::boolean = false OR coalesce((SELECT o.option_value::boolean FROM "
    "pg_options_to_table(c.reloptions) AS o WHERE o.option_name = 'autovacuum_enabled'), true) = false)"
)
# From PostgreSQL 18 on there is a highest threshold; -1 and a missing setting stand for none.
_HIGHEST = (
    "coalesce(nullif((SELECT o.option_value FROM pg_options_to_table(c.reloptions) AS o "
    "WHERE o.option_name = 'autovacuum_vacuum_max_threshold')::float8, -1), "
    "nullif(current_setting('autovacuum_vacuum_max_threshold', true)::float8, -1), 'infinity')"
)
_USERS = "n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'"
_UNVACUUMED = Statement(
    f"""SELECT format('%I.%I', n.nspname, c.relname), s.n_dead_tup, s.n_live_tup, limits.dead, {_OFF},
    greatest(s.last_vacuum, s.last_autovacuum)
    FROM pg_stat_user_tables AS s JOIN pg_class AS c ON c.oid = s.relid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace,
    LATERAL (SELECT least({_option("autovacuum_vacuum_threshold")}
        + {_option("autovacuum_vacuum_scale_factor")} * greatest(c.reltuples, 0),
        {_HIGHEST}) AS dead) AS limits
    WHERE s.n_dead_tup > limits.dead AND {_USERS}
    AND NOT EXISTS (SELECT FROM pg_stat_progress_vacuum AS p WHERE p.relid = c.oid)
    ORDER BY s.n_dead_tup DESC, 1""",
    "advise.unvacuumed",
)


def find_unvacuumed(session: Session, limits: AdviceLimits) -> Iterator[Finding]:
    """Find tables with more dead rows than autovacuum lets there be, which it is not at work on."""
    del limits
    for table, dead, live, threshold, off, last in session.all(_UNVACUUMED):
        yield Finding(
            kind="wants vacuum",
            severity="warning" if off else "note",
            object=table,
            why=f"{dead:,} dead rows beside {live:,} live ones; autovacuum comes from {threshold:,.0f} on"
            + (", but is off for it" if off else "")
            + _last("vacuumed", last),
            remedy="turn autovacuum on for it"
            if off
            else "wait for autovacuum's next round; where it does not help, look for a long transaction",
            sql=(f"VACUUM (ANALYZE) {table}",),
            numbers={"dead": dead, "live": live, "threshold": threshold},
        )


def _last(done: str, last: datetime | None) -> str:
    return f"; never {done}" if last is None else f"; last {done} {last:%Y-%m-%d %H:%M} UTC"


# Autovacuum never analyses a partitioned table itself, and statistics over all partitions come from that.
_UNANALYSED = Statement(
    f"""SELECT format('%I.%I', n.nspname, c.relname), s.n_mod_since_analyze, s.n_live_tup, limits.changed,
    {_OFF},
    greatest(s.last_analyze, s.last_autoanalyze), c.relkind = 'p'
    FROM pg_stat_user_tables AS s JOIN pg_class AS c ON c.oid = s.relid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace,
    LATERAL (SELECT {_option("autovacuum_analyze_threshold")}
        + {_option("autovacuum_analyze_scale_factor")} * greatest(c.reltuples, 0) AS changed) AS limits
    WHERE {_USERS} AND CASE c.relkind WHEN 'p' THEN s.last_analyze IS NULL AND EXISTS (
            SELECT FROM pg_inherits AS h JOIN pg_stat_user_tables AS l ON l.relid = h.inhrelid
            WHERE h.inhparent = c.oid AND l.n_live_tup > limits.changed)
        ELSE s.n_mod_since_analyze > limits.changed END
    AND NOT EXISTS (SELECT FROM pg_stat_progress_analyze AS p WHERE p.relid = c.oid)
    ORDER BY s.n_mod_since_analyze DESC, 1""",
    "advise.unanalysed",
)


def find_unanalysed(session: Session, limits: AdviceLimits) -> Iterator[Finding]:
    """Find tables that have changed so much since their last ANALYZE that plans are made on old numbers."""
    del limits
    for table, changed, live, threshold, off, last, parted in session.all(_UNANALYSED):
        why = f"{changed:,} rows of {live:,} changed since its last ANALYZE; autovacuum comes from "
        why += f"{threshold:,.0f} on"
        if parted:
            why = "it is partitioned, and autovacuum analyses partitions only, never the whole"
        yield Finding(
            kind="wants analyze",
            severity="warning" if off or parted else "note",
            object=table,
            why=why + (", but is off for it" if off else "") + _last("analysed", last),
            remedy="analyse it" + (" now and then, by a job of its own" if parted else ""),
            sql=(f"ANALYZE {table}",),
            numbers={"changed": changed, "live": live, "threshold": threshold},
        )


# ------------------------------------------------------------------------------------------------- wraparound

_URGENT = 1_500_000_000  # of some 2.1 thousand million, at which the server takes no more writes
_OLD = Statement(
    f"""SELECT 'DATABASE ' || quote_ident(d.datname), age(d.datfrozenxid)::float8,
    mxid_age(d.datminmxid)::float8,
    current_setting('autovacuum_freeze_max_age')::float8,
    current_setting('autovacuum_multixact_freeze_max_age')::float8
    FROM pg_database AS d WHERE d.datallowconn
    UNION ALL SELECT format('%I.%I', n.nspname, c.relname), age(c.relfrozenxid), mxid_age(c.relminmxid),
    least({_option("autovacuum_freeze_max_age")}, current_setting('autovacuum_freeze_max_age')::float8),
    least({_option("autovacuum_multixact_freeze_max_age")},
        current_setting('autovacuum_multixact_freeze_max_age')::float8)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence <> 't'""",
    "advise.old_ids",
)


def find_wraparound(session: Session, limits: AdviceLimits) -> Iterator[Finding]:
    """Find databases and tables whose oldest ids are older than autovacuum lets them become."""
    del limits
    rows = session.all(
        Statement(
            f"SELECT * FROM ({_OLD.text}) AS old (name, age, multi, most, multis) "
            "WHERE age > most OR multi > multis ORDER BY greatest(age, multi) DESC LIMIT 20",
            "advise.wraparound",
        )
    )
    for name, age, multi, most, multis in rows:
        told = f"{age:,.0f} transactions" if age > most else f"{multi:,.0f} multixacts"
        whole = name.startswith("DATABASE ")
        yield Finding(
            kind="wraparound",
            severity="urgent" if max(age, multi) > _URGENT else "warning",
            object=name,
            why=f"its oldest row is {told} old; autovacuum should have frozen it at "
            f"{most if age > most else multis:,.0f}, and from some 2,100,000,000 on no writes are taken",
            remedy="vacuum it; where that does not help, look for long and prepared transactions and for "
            "replication slots that nobody reads",
            sql=("VACUUM (FREEZE)",) if whole else (f"VACUUM (FREEZE) {name}",),
            numbers={"age": age, "multixact_age": multi, "limit": most, "multixact_limit": multis},
        )


# -------------------------------------------------------------------------------------------------- sequences

_SEQUENCES = Statement(
    """SELECT format('%%I.%%I', s.schemaname, s.sequencename), s.last_value::float8, m.most::float8,
    t.name, quote_ident(t.attname)
    FROM pg_sequences AS s
    JOIN pg_class AS c ON c.oid = format('%%I.%%I', s.schemaname, s.sequencename)::regclass
    LEFT JOIN LATERAL (SELECT format('%%I.%%I', n.nspname, r.relname) AS name, a.attname, a.atttypid
        FROM pg_depend AS d JOIN pg_class AS r ON r.oid = d.refobjid
        JOIN pg_namespace AS n ON n.oid = r.relnamespace
        JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum = d.refobjsubid
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refobjsubid > 0
        AND d.deptype IN ('a', 'i')) AS t ON true,
    LATERAL (SELECT least(s.max_value, CASE t.atttypid WHEN 'int2'::regtype THEN 32767
        WHEN 'int4'::regtype THEN 2147483647 ELSE s.max_value END) AS most) AS m
    WHERE s.increment_by > 0 AND NOT s.cycle AND s.last_value >= m.most * %s::float8 ORDER BY 1""",
    "advise.sequences",
)


def find_sequences(session: Session, limits: AdviceLimits) -> Iterator[Finding]:
    """Find sequences that have given out most of the numbers that they, or their column, can hold."""
    for name, last, most, table, column in session.all(_SEQUENCES, [limits.sequence_used]):
        held = f" of {table}.{column}" if table else ""
        yield Finding(
            kind="sequence near its end",
            severity="urgent" if last / most > 0.9 else "warning",  # a tenth is left
            object=name,
            why=f"{last:,.0f} of {most:,.0f} numbers{held} are given out ({last / most:.1%})",
            remedy="make it a bigint before the numbers end (a rewrite: plan it)",
            sql=(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE bigint",) if table else (),
            numbers={"last": last, "most": most, "used": round(last / most, 4)},
        )
