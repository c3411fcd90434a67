"""The SQL of an upsert: what it writes, what it left as it was, and both read again, in one message.

What it does that one statement cannot, and what it costs, is in docs/decisions/0048-rows-as-arrays.md.
"""

from database_handler.core.schema import TENANT, Column, Table
from database_handler.core.session import Statement
from database_handler.core.statement_name import named
from database_handler.repositories.statements import (
    cached,
    columns,
    draft_columns,
    listed,
    permitted,
    rows_given,
    rows_held,
    stale,
)

__all__ = ["key_is_exact", "moves_refused", "read_again", "upsert", "write"]

WRITTEN = "database_handler.written"  # a setting of the transaction: which rows an upsert wrote
LEFT = "database_handler.left"  # likewise: the keys that it met and left as they were, as JSON
REFUSED = "database_handler.refused"  # likewise: the first move that it may not make
MOVE_REFUSED = "MV001"  # the SQLSTATE of `StatusMoveRefused`
_STALE = "stale"
_UUID = 36  # characters
_OF_PROJECT = f" AND t.{TENANT} = %s::uuid"
_EXACT = frozenset({"text", "uuid", "integer", "bigint", "boolean", "timestamptz", "date", "bytea", "text[]"})


@cached
def upsert(table: Table, patterns: tuple[frozenset[str], ...]) -> Statement:
    """Write by the natural key, then read again under a new snapshot, in one message.

    Under a race one statement alone cannot tell updated and unchanged apart: the row that it meets may be
    younger than its snapshot. So the first notes which rows it wrote, and what it left as it was; the last
    reads both, the one by their ids, the other by the key. `patterns` are the sets of key columns that are
    NULL in the input: each gets a look-up of its own, by a column that has a value. Where a project's JSON
    Schema is another one, nothing is written and no row comes back.

    Bound are the rows, an array a column, and their number.
    """
    name = f"{table.name}.upsert"
    wrote, left = _outcome(table)
    writing = (
        f"{_writing(table)} SELECT set_config('{WRITTEN}', {wrote}, true), "
        f"set_config('{LEFT}', {left}, true) FROM written;{_refusing_moves(table, patterns)}"
    )
    reading = _read_again(table, patterns, _setting(WRITTEN), _setting(LEFT))
    # Each by itself, for the server counts them apart.
    return Statement(named(writing, name) + named(reading, name), name, writes=True, table=table.name)


def _setting(name: str) -> str:
    return f"current_setting('{name}')"


def _writing(table: Table) -> str:
    sent, met = draft_columns(table), _met(table)
    other_schema = stale(table) if table.keeps_metadata else "false"
    return (
        f"WITH s AS MATERIALIZED (SELECT {other_schema} AS stale), "
        f"given AS MATERIALIZED (SELECT {rows_held(sent)}), "
        f"written AS (INSERT INTO {table.name} AS t ({listed(sent)}) "
        f"SELECT {listed(sent, 'v.')} FROM given, LATERAL {rows_given(sent, 'given')} "
        f"WHERE NOT (SELECT stale FROM s) ON CONFLICT ({', '.join(table.key)}) {_on_conflict(table)} "
        f"RETURNING t.id, {listed(met, 't.')})"
    )


def _outcome(table: Table) -> tuple[str, str]:
    """Say which rows were written, and the keys of those that were left, the last as JSON."""
    met = _met(table)
    wrote = (
        f"CASE WHEN (SELECT stale FROM s) THEN '{_STALE}' "
        f"ELSE coalesce(string_agg({_told(table)}, ','), '') END"
    )
    left = (
        "CASE WHEN count(*) = %s OR (SELECT stale FROM s) THEN '[]' ELSE "
        f"(SELECT coalesce(json_agg(l), '[]')::text FROM (SELECT {listed(met, 'v.')} "
        f"FROM given, LATERAL {rows_given(met, 'given')} EXCEPT SELECT {listed(met)} FROM written) AS l) END"
    )
    return wrote, left


# -------------------------------------------------------------------------------------------- on a cluster

# There a statement of one project is run by the node that holds it, which does not know the settings of this
# transaction. So what `upsert` keeps in settings goes by way of the client, one statement after the other.


@cached
def write(table: Table) -> Statement:
    """The first part of `upsert`; gives which rows were written, and the keys of those left as they were."""
    wrote, left = _outcome(table)
    text = f"{_writing(table)} SELECT {wrote}, {left} FROM written"
    # Which rows, the last part says; this one alone is none that others are told of.
    return Statement(text, f"{table.name}.upsert", writes=True, table=table.name, inserts=True, wrote=())


@cached
def moves_refused(table: Table, patterns: tuple[frozenset[str], ...]) -> Statement:
    """The first move that `write` may not make; bound are what was left, then the project, as often as asked.

    Its rows are of one project, for then one node knows them all.
    """
    text = f"WITH {_left(table, '%s')} SELECT {_first_refused(table, patterns, _here(table))}"
    return Statement(text, f"{table.name}.upsert")


@cached
def read_again(table: Table, patterns: tuple[frozenset[str], ...]) -> Statement:
    """The last part of `upsert`; bound are what was left, what was written, then the project, as often."""
    text = _read_again(table, patterns, "%s", "%s", _here(table))
    return Statement(text, f"{table.name}.upsert", writes=True, table=table.name)


def _here(table: Table) -> str:
    return _OF_PROJECT if table.is_child else ""


@cached
def key_is_exact(table: Table) -> bool:
    """Whether values of the natural key are equal for the server where they are for Python, and else not.

    They may differ for a type that only `SqlType` names: citext takes "A" for "a", numeric(4, 2) rounds.
    """
    return all(table.column(name).type in _EXACT for name in table.key)


def _met(table: Table) -> tuple[Column, ...]:
    """Return the columns that the later parts of an upsert need of each row."""
    return tuple(column for column in table.columns if column.name in {*table.key, *table.moves})


def _left(table: Table, left: str) -> str:
    """Give the rows that the first part left as they were."""
    typed = ", ".join(f"{column.name} {column.type}" for column in _met(table))
    return f"v AS MATERIALIZED (SELECT * FROM json_to_recordset({left}::json) AS v({typed}))"


def _refusing_moves(table: Table, patterns: tuple[frozenset[str], ...]) -> str:
    """Fail the whole message where a row was left as it is because its move is not allowed.

    It may be younger than the first statement's snapshot, so only now is it seen for certain.
    """
    if not table.moves:
        return ""
    return (
        f"WITH {_left(table, _setting(LEFT))} "
        f"SELECT set_config('{REFUSED}', {_first_refused(table, patterns, '')}, true);"
        f"DO $move$BEGIN IF current_setting('{REFUSED}') <> '' THEN RAISE EXCEPTION USING "
        f"ERRCODE = '{MOVE_REFUSED}', MESSAGE = current_setting('{REFUSED}'), TABLE = '{table.name}'; "
        "END IF; END$move$;"
    )


def _first_refused(table: Table, patterns: tuple[frozenset[str], ...], here: str) -> str:
    keys = ", ".join(table.key)
    met = " UNION ALL ".join(
        f"SELECT {', '.join(f'v.{key}' for key in table.key)}, t.{name} AS held, v.{name} AS wanted "
        f"FROM v {_found_by_key(table, nulls, here)} WHERE NOT {permitted(table, name, 't', f'v.{name}')}"
        for nulls in patterns
        for name in table.moves
    )
    return f"coalesce((SELECT held || ' to ' || wanted FROM ({met}) AS refused ORDER BY {keys} LIMIT 1), '')"


def _on_conflict(table: Table) -> str:
    # The row that would have been inserted has now() as its updated_at. A cluster takes no now() here itself.
    rest = [c.name for c in draft_columns(table) if c.name not in {*table.key, "id", "project_id"}]
    if not rest:  # the row is locked, as an update would, so that it stays until it is read again
        return f"DO UPDATE SET {table.key[0]} = excluded.{table.key[0]} WHERE false"
    sets = ", ".join(f"{name} = excluded.{name}" for name in rest)
    moves = "".join(f" AND {permitted(table, name, 't', f'excluded.{name}')}" for name in table.moves)
    old, new = ", ".join(f"t.{name}" for name in rest), ", ".join(f"excluded.{name}" for name in rest)
    return (
        f"DO UPDATE SET {sets}, version = t.version + 1, updated_at = excluded.updated_at "
        f"WHERE ROW({old}) IS DISTINCT FROM ROW({new}){moves}"
    )


def _told(table: Table) -> str:
    """Say which row it is: by its id, and its project where another may have a row of that id."""
    return f"id::text || {TENANT}::text" if table.is_child else "id::text"


def _read_again(
    table: Table, patterns: tuple[frozenset[str], ...], written: str, left: str, here: str = ""
) -> str:
    # Written so that the index of the whole key is the cheapest, as in `_key_condition`.
    same = "t.id = w.id AND t.id BETWEEN w.id AND w.id"
    if table.is_child:
        same += f" AND t.{TENANT} = ANY (ARRAY[w.{TENANT}, w.{TENANT}])"
    project = f", right(w, {_UUID})::uuid AS {TENANT}" if table.is_child else ""
    as_they_were = "".join(
        f" UNION ALL SELECT false, {columns(table, 't.')} FROM v {_found_by_key(table, nulls, here)}"
        for nulls in patterns
    )
    return (
        f"WITH {_left(table, left)}, w AS MATERIALIZED (SELECT left(w, {_UUID})::uuid AS id{project} FROM "
        f"unnest(string_to_array(nullif({written}, '{_STALE}'), ',')) AS w) "
        f"SELECT true AS written, {columns(table, 't.')} FROM w {_found(table, same + here)}{as_they_were}"
    )


def _found_by_key(table: Table, nulls: frozenset[str], here: str) -> str:
    """Join each row of a key to that of the table: by the project and the first other column with a value."""
    return _found(table, _key_condition(table, nulls) + here)


def _found(table: Table, condition: str) -> str:
    """Join what is looked for to its row.

    LIMIT keeps it one look for each. A plain join is planned for the 100 rows that any JSON is taken for, and
    for these a table of 20,000 rows is scanned, even if one row is looked for.
    """
    return (
        f"CROSS JOIN LATERAL (SELECT {columns(table, 't.')} FROM {table.name} AS t "
        f"WHERE {condition} LIMIT 1) AS t"
    )


def _key_condition(table: Table, nulls: frozenset[str]) -> str:
    """Match the key so that the index wanted is the cheapest by any statistics, old, missing or wrong.

    They may take a project for one row, and any index that begins with it for as good as the key's; such a
    one reads all of a project for each draft. So the project is said twice, which doubles its rows in the
    estimate. The column sought is held between its value and itself as well, which is taken for a two
    hundredth of the rows that are left. What comes after it is written so that no index serves it.
    """
    values = [name for name in table.key if name not in nulls]
    tenant = [name for name in values if name == TENANT]
    sought, *rest = [name for name in values if name != TENANT] or [""]
    return " AND ".join(
        [f"t.{name} = ANY (ARRAY[v.{name}, v.{name}])" for name in tenant]
        + [f"t.{n} = v.{n} AND t.{n} BETWEEN v.{n} AND v.{n}" for n in (sought,) if n]
        + [f"t.{name} IS NOT DISTINCT FROM v.{name}" for name in rest]
        + [f"num_nulls(t.{name}, v.{name}) = 2" for name in table.key if name in nulls]
    )
