"""The SQL of every repository call, built from the model once and kept.

Each function is pure and cached: a table, and the shape of the call, give one text. Values are bound later;
identifiers come from the model alone. It is one module, somewhat over 300 lines, because an update, an upsert
and a delete are made of the same parts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from pydantic_core import to_json

from database_handler.core.quoting import literal
from database_handler.core.schema import SERVER_COLUMNS, TENANT, Column, Table
from database_handler.core.session import Session, Statement
from database_handler.core.statement_name import named
from database_handler.core.transaction import PROJECT_SETTING

__all__ = [
    "as_json",
    "copy",
    "create",
    "create_and_tell",
    "create_many",
    "create_missing",
    "delete",
    "delete_many",
    "get",
    "get_many",
    "showing",
    "telling",
    "there",
    "update",
    "update_many",
    "upsert",
]

PROJECTS = "projects"
WRITTEN = "database_handler.written"  # a setting of the transaction: the ids that an upsert wrote
REFUSED = "database_handler.refused"  # likewise: the first move that it may not make
MOVE_REFUSED = "MV001"  # the SQLSTATE of `StatusMoveRefused`
_STALE = "stale"
_cached = lru_cache(maxsize=4096)


def columns(table: Table, prefix: str = "") -> str:
    """Return the columns of a record, in the model's order."""
    return ", ".join(prefix + name for name in table.column_names)


@_cached
def draft_columns(table: Table) -> tuple[Column, ...]:
    """Return the columns that a write sets: the id made by the client, then the draft's."""
    written = [column for column in table.columns if column.name not in SERVER_COLUMNS]
    return tuple(sorted(written, key=lambda column: column.name != "id"))


def scope(table: Table, scoped: bool, prefix: str = "") -> str:
    """Return the condition that holds a statement to its unit's project."""
    return f" AND {prefix}{table.scope_column} = %s" if scoped else ""


def _names(found: tuple[Column, ...], prefix: str = "") -> str:
    return ", ".join(prefix + column.name for column in found)


# ---------------------------------------------------------------------------------------------------- insert


def showing(projects: str) -> str:
    """Have row-level security show more projects until the transaction ends; SQL of ids, with commas."""
    already = f"nullif(current_setting('{PROJECT_SETTING}', true), '')"
    return f"set_config('{PROJECT_SETTING}', concat_ws(',', {already}, {projects}), true)"


@_cached
def create(table: Table) -> Statement:
    """One row; gives back what was stored, or nothing where its project's JSON Schema is another one.

    A project is seen by nobody yet: its id is bound once more, last, for row-level security to show it.
    """
    sent = draft_columns(table)
    values = ", ".join(f"%s::{column.type}" for column in sent)
    rows = f"VALUES ({values})"
    if table.name == PROJECTS:  # what is volatile is run, and before the row is checked
        rows = f"SELECT {values} FROM (SELECT {showing('%s')} OFFSET 0) AS shown"
    if table.keeps_metadata:
        rows = (
            f"SELECT {values} WHERE NOT EXISTS (SELECT FROM projects AS p "
            f"WHERE p.id = %s::uuid AND {schema_mark(table)} <> %s::bigint)"
        )
    text = f"INSERT INTO {table.name} ({_names(sent)}) {rows} RETURNING {columns(table)}"
    return Statement(
        text, f"{table.name}.create", writes=True, table=table.name, prepares=table.name != PROJECTS
    )


def _project(table: Table) -> str:
    """The project of a row that is written, for the cache of what it holds."""
    return f"{table.scope_column} AS project_id"


@_cached
def create_and_tell(table: Table) -> Statement:
    """As `create`; gives back as well whether row-level security holds for this role."""
    statement = create(table)
    return replace(statement, text=f"{statement.text}, row_security_active('{table.name}')")


@_cached
def create_many(table: Table) -> Statement:
    """Rows as one JSON parameter; gives back their moment and whether they were written: all or none."""
    sent = draft_columns(table)
    text = (
        f"WITH written AS (INSERT INTO {table.name} ({_names(sent)}) "
        f"SELECT {_from_json(sent)} FROM {_recordset(sent)}{kept(table)} RETURNING {_project(table)}) "
        "SELECT now(), count(*) > 0, string_agg(DISTINCT project_id::text, ',') AS project_ids FROM written"
    )
    return Statement(text, f"{table.name}.create_many", writes=True, table=table.name, inserts=True)


@_cached
def create_missing(table: Table) -> Statement:
    """Rows as one JSON parameter, those left out that are there; gives whether it wrote, and which.

    Nothing is written where a project's JSON Schema is another one.
    """
    sent = draft_columns(table)
    stale = _stale(table) if table.keeps_metadata else "false"
    text = (
        f"WITH s AS MATERIALIZED (SELECT {stale} AS stale), written AS (INSERT INTO {table.name} "
        f"({_names(sent)}) SELECT {_from_json(sent)} FROM {_recordset(sent)} "
        f"WHERE NOT (SELECT stale FROM s) ON CONFLICT DO NOTHING RETURNING id, {_project(table)}) "
        "SELECT NOT s.stale, w.id, w.project_id FROM s LEFT JOIN written AS w ON true"
    )
    return Statement(text, f"{table.name}.create_missing", writes=True, table=table.name, inserts=True)


@_cached
def there(table: Table, scoped: bool) -> Statement:
    """Those of some ids that rows have."""
    text = f"SELECT id FROM {table.name} WHERE id = ANY(%s::uuid[]){scope(table, scoped)}"
    return Statement(text, f"{table.name}.there")


def as_json(table: Table, rows: Iterable[Sequence[Any]]) -> str:
    """Return the one parameter that `create_many` takes rows in."""
    names = [column.name for column in draft_columns(table)]
    return to_json([dict(zip(names, row, strict=True)) for row in rows], bytes_mode="hex").decode()


@_cached
def copy(table: Table) -> Statement:
    """Rows by COPY in text format: what the draft sets, then the server's columns."""
    names = ", ".join((_names(draft_columns(table)), *SERVER_COLUMNS))
    text = f"COPY {table.name} ({names}) FROM STDIN"
    return Statement(text, f"{table.name}.create_many", writes=True, table=table.name, inserts=True)


def telling(session: Session, table: Table, statement: Statement, rows: Iterable[Sequence[Any]]) -> Statement:
    """Have a statement that inserts rows say which, where somebody is told of changes.

    Parameters
    ----------
    rows : iterable
        Each with the values of `draft_columns`, in that order.
    """
    if not session.tells_changes:
        return statement
    from database_handler.core.changes import wrote

    names = [column.name for column in draft_columns(table)]
    return replace(statement, wrote=wrote(table, names, rows))


@_cached
def moment(table: Table) -> Statement:
    """The transaction's moment, whether the projects' JSON Schemas are those that rows keep to, and security.

    The last tells whether row-level security holds for this role, for then the server takes no COPY.
    """
    kept = f"NOT {_stale(table)}" if table.keeps_metadata else "true"
    text = f"SELECT now(), {kept}, row_security_active('{table.name}')"
    return Statement(text, f"{table.name}.create_many")


def schema_mark(table: Table, project: str = "p") -> str:
    """Tell one JSON Schema from another; 0 where a project binds the entity to none."""
    return f"coalesce(hashtextextended(({project}.metadata_schemas -> '{table.name}')::text, 0), 0)"


def _stale(table: Table) -> str:
    """Whether a schema is another one than a write was checked against: marks by project, as JSON."""
    return (
        "EXISTS (SELECT FROM json_each_text(%s::json) AS k JOIN projects AS p ON p.id = k.key::uuid "
        f"WHERE {schema_mark(table)} <> k.value::bigint)"
    )


def kept(table: Table) -> str:
    return f" WHERE NOT {_stale(table)}" if table.keeps_metadata else ""


@_cached
def schemas(table: Table) -> Statement:
    """The mark and the JSON Schema of some projects for one entity."""
    text = (
        f"SELECT p.id, {schema_mark(table)}, p.metadata_schemas -> '{table.name}' "
        "FROM projects AS p WHERE p.id = ANY(%s::uuid[])"
    )
    return Statement(text, f"{table.name}.metadata_schemas")


def _recordset(found: tuple[Column, ...], *more: str) -> str:
    """Rows from a JSON parameter, typed; bytes come as hexadecimal text."""
    typed = ", ".join((*more, *(f"{c.name} {'text' if c.type == 'bytea' else c.type}" for c in found)))
    return f"json_to_recordset(%s::json) AS v({typed})"


def _from_json(found: tuple[Column, ...]) -> str:
    return ", ".join(map(_given, found))


def _given(column: Column) -> str:
    return f"decode(v.{column.name}, 'hex')" if column.type == "bytea" else f"v.{column.name}"


# ------------------------------------------------------------------------------------------------------ read


@_cached
def get(table: Table, scoped: bool) -> Statement:
    """The row of an id; two where two projects hold one."""
    text = f"SELECT {columns(table)} FROM {table.name} WHERE id = %s{scope(table, scoped)} LIMIT 2"
    return Statement(text, f"{table.name}.get_by_id", prepares=True)


@_cached
def get_many(table: Table, scoped: bool) -> Statement:
    """The rows of some ids."""
    text = f"SELECT {columns(table)} FROM {table.name} WHERE id = ANY(%s::uuid[]){scope(table, scoped)}"
    return Statement(text, f"{table.name}.get_many")


@_cached
def projects_of(table: Table) -> Statement:
    """The project of each row of some ids, asked for on a cluster before the rows are locked."""
    text = f"SELECT id, {table.scope_column} FROM {table.name} WHERE id = ANY(%s::uuid[])"
    return Statement(text, f"{table.name}.projects_of")


# ---------------------------------------------------------------------------------------------------- update


def _locked(table: Table, scoped: bool) -> str:
    """Read under the row's lock, so that what is told of it is what it is now."""
    return (
        f"WITH current AS MATERIALIZED (SELECT {columns(table)} FROM {table.name} "
        f"WHERE id = %s{scope(table, scoped)} FOR UPDATE)"
    )


def _same_row(table: Table, other: str) -> str:
    return " AND ".join(f"t.{name} = {other}.{name}" for name in table.primary_key)


_EXPECTED = "(SELECT count(*) FROM current) = 1 AND current.version = coalesce(%s::bigint, current.version)"


def marked(table: Table, names: Iterable[str], partial: Iterable[str] = ()) -> bool:
    """Tell whether an update of these fields carries the mark of a JSON Schema.

    A project whose change brings its schemas too is held to those; `partial` are not brought by all.
    """
    return "metadata" in names and (
        table.keeps_metadata
        or (table.name == PROJECTS and ("metadata_schemas" not in names or "metadata_schemas" in partial))
    )


def same_schema(table: Table, scoped: bool = False) -> str:
    """Hold an update to the JSON Schema that it was checked against; scoped, its project is bound first."""
    if table.name == PROJECTS:
        return f" AND {schema_mark(table, 'current')} = %s::bigint"
    return (
        " AND NOT EXISTS (SELECT FROM projects AS p WHERE p.id = current.project_id"
        f"{' AND p.id = %s' if scoped else ''} AND {schema_mark(table)} <> %s::bigint)"
    )


@_cached
def update(table: Table, names: tuple[str, ...], scoped: bool) -> Statement:
    """Set `names` on one row; gives (changed, the record), or the record as it stands where it was not.

    The new values of `guarded` come once more, then the project of a scoped one, by which a cluster finds the
    server of each part of the statement.
    """
    sets = ", ".join(f"{name} = %s::{table.column(name).type}" for name in names)
    moves = "".join(f" AND {permitted(table, name, 'current', '%s')}" for name in guarded(table, names))
    schema = same_schema(table, scoped) if marked(table, names) else ""
    text = (
        f"{_locked(table, scoped)}, changed AS (UPDATE {table.name} AS t "
        f"SET {sets}, version = t.version + 1, updated_at = now() FROM current "
        f"WHERE {_same_row(table, 'current')} AND {_EXPECTED}{moves}{schema}{scope(table, scoped, 't.')} "
        f"RETURNING {columns(table, 't.')}) SELECT true, {columns(table)} FROM changed UNION ALL "
        f"SELECT false, {columns(table)} FROM current WHERE NOT EXISTS (SELECT FROM changed)"
    )
    return Statement(text, f"{table.name}.update", writes=True, table=table.name, prepares=True)


def guarded(table: Table, names: Iterable[str]) -> tuple[str, ...]:
    """Return those of `names` whose values follow each other by a table of moves."""
    return tuple(name for name in names if name in table.moves)


def permitted(table: Table, name: str, held: str, wanted: str) -> str:
    """Judge a move from the row's state, read under its lock, to the wanted one."""
    pairs = [(state, state) for state in table.moves[name]]
    pairs += [(state, other) for state, following in table.moves[name].items() for other in following]
    allowed = ", ".join(f"({literal(old)}, {literal(new)})" for old, new in pairs)
    return f"({held}.{name}, {wanted}::text) IN ({allowed})"


@_cached
def update_many(table: Table, names: tuple[str, ...], partial: tuple[str, ...], scoped: bool) -> Statement:
    """Set fields on many rows, or on none where one is missing, stale, or may not make its move.

    `partial` are the names that only some of the rows change. Gives (place or None, the record): a place
    for each row in the way.
    """
    sent = tuple(column for column in table.columns if column.name in names)
    given = ("place integer", "id uuid", "expected bigint", *(f"set_{name} boolean" for name in partial))
    sets = ", ".join(_assignment(table.column(name), name in partial) for name in names)
    joined, other = _other_schema(table, partial) if marked(table, names, partial) else ("", "")
    refused = "".join(f" OR {_refusing(table, name, name in partial)}" for name in guarded(table, names))
    text = (
        f"WITH v AS MATERIALIZED (SELECT * FROM {_recordset(sent, *given)}), "
        f"current AS MATERIALIZED (SELECT {columns(table, 't.')} FROM {table.name} AS t JOIN v ON v.id = t.id"
        f"{scope(table, scoped, 't.')} ORDER BY t.id FOR UPDATE OF t), "
        f"wrong AS MATERIALIZED (SELECT v.place, v.id FROM v LEFT JOIN current AS c ON c.id = v.id{joined} "
        f"GROUP BY v.place, v.id HAVING count(c.id) <> 1 OR bool_or(v.expected <> c.version)"
        f"{other}{refused}), "
        f"changed AS (UPDATE {table.name} AS t SET {sets}, version = t.version + 1, updated_at = now() "
        f"FROM v, current AS c WHERE v.id = c.id AND {_same_row(table, 'c')} "
        f"AND NOT EXISTS (SELECT FROM wrong){scope(table, scoped, 't.')} RETURNING {columns(table, 't.')}) "
        f"SELECT NULL::integer AS place, {columns(table)} FROM changed UNION ALL "
        f"SELECT wrong.place, {columns(table, 'c.')} FROM wrong LEFT JOIN current AS c ON c.id = wrong.id"
    )
    return Statement(text, f"{table.name}.update_many", writes=True, table=table.name)


def _other_schema(table: Table, partial: Iterable[str]) -> tuple[str, str]:
    """Join what the changes were checked against (marks by project, as JSON), and say where it is another."""
    project = "c.id" if table.name == PROJECTS else "c.project_id"
    joined = (
        f" LEFT JOIN projects AS p ON p.id = {project} "
        "LEFT JOIN json_each_text(%s::json) AS k ON k.key = p.id::text"
    )
    changed = " AND v.set_metadata" if "metadata" in partial else ""
    changed += " AND NOT v.set_metadata_schemas" if "metadata_schemas" in partial else ""
    return joined, f" OR bool_or({schema_mark(table)} <> coalesce(k.value::bigint, 0){changed})"


def _refusing(table: Table, name: str, partial: bool) -> str:
    set_here = f"v.set_{name} AND " if partial else ""
    return f"bool_or({set_here}NOT {permitted(table, name, 'c', f'v.{name}')})"


def _assignment(column: Column, partial: bool) -> str:
    name, given = column.name, _given(column)
    return (
        f"{name} = CASE WHEN v.set_{name} THEN {given} ELSE t.{name} END" if partial else f"{name} = {given}"
    )


# ---------------------------------------------------------------------------------------------------- upsert


@_cached
def upsert(table: Table, patterns: tuple[frozenset[str], ...]) -> Statement:
    """Two statements in one message: write by the natural key, then read again under a new snapshot.

    Under a race one statement alone cannot tell inserted, updated and unchanged apart: the row that it
    meets may be younger than its snapshot. `patterns` are the sets of key columns that are NULL in the
    input: each gets a join of its own, by a column that has a value. Where a project's JSON Schema is another
    one, nothing is written and no row comes back.
    """
    sent = draft_columns(table)
    stale = _stale(table) if table.keeps_metadata else "false"
    name = f"{table.name}.upsert"
    writing = (
        f"WITH s AS MATERIALIZED (SELECT {stale} AS stale), "
        f"written AS (INSERT INTO {table.name} AS t ({_names(sent)}) "
        f"SELECT {_from_json(sent)} FROM {_recordset(sent)} WHERE NOT (SELECT stale FROM s) "
        f"ON CONFLICT ({', '.join(table.key)}) {_on_conflict(table)} RETURNING t.id) "
        f"SELECT set_config('{WRITTEN}', CASE WHEN (SELECT stale FROM s) THEN '{_STALE}' "
        "ELSE coalesce(string_agg(id::text, ','), '') END, true) FROM written;"
        f"{_refusing_moves(table, patterns)}"
    )
    # Each by itself, for the server counts them apart.
    text = named(writing, name) + named(_read_again(table, patterns), name)
    return Statement(text, name, writes=True, table=table.name)


def met_by(table: Table) -> tuple[str, ...]:
    """Return the columns that the later parts of an upsert need of each draft."""
    return (*table.key, *table.moves)


def _refusing_moves(table: Table, patterns: tuple[frozenset[str], ...]) -> str:
    """Fail the whole message where a row was left as it is because its move is not allowed.

    It may be younger than the first statement's snapshot, so only now is it seen for certain.
    """
    if not table.moves:
        return ""
    met = " UNION ALL ".join(
        f"SELECT v.place, t.{name} AS held, v.{name} AS wanted FROM v {_found_by_key(table, nulls)} "
        f"WHERE t.id <> v.new_id AND NOT {permitted(table, name, 't', f'v.{name}')}"
        for nulls in patterns
        for name in table.moves
    )
    return (
        f"WITH {_met(table)} SELECT set_config('{REFUSED}', coalesce((SELECT held || ' to ' || wanted "
        f"FROM ({met}) AS refused ORDER BY place LIMIT 1), ''), true);"
        f"DO $move$BEGIN IF current_setting('{REFUSED}') <> '' THEN RAISE EXCEPTION USING "
        f"ERRCODE = '{MOVE_REFUSED}', MESSAGE = current_setting('{REFUSED}'), TABLE = '{table.name}'; "
        "END IF; END$move$;"
    )


def _met(table: Table, where: str = "") -> str:
    sent = tuple(column for column in table.columns if column.name in met_by(table))
    return f"v AS MATERIALIZED (SELECT * FROM {_recordset(sent, 'place integer', 'new_id uuid')}{where})"


def _on_conflict(table: Table) -> str:
    rest = [c.name for c in draft_columns(table) if c.name not in {*table.key, "id", "project_id"}]
    if not rest:
        return "DO NOTHING"
    sets = ", ".join(f"{name} = excluded.{name}" for name in rest)
    moves = "".join(f" AND {permitted(table, name, 't', f'excluded.{name}')}" for name in table.moves)
    old, new = ", ".join(f"t.{name}" for name in rest), ", ".join(f"excluded.{name}" for name in rest)
    return (
        f"DO UPDATE SET {sets}, version = t.version + 1, updated_at = now() "
        f"WHERE ROW({old}) IS DISTINCT FROM ROW({new}){moves}"
    )


def _read_again(table: Table, patterns: tuple[frozenset[str], ...]) -> str:
    reads = " UNION ALL ".join(
        f"SELECT v.place, t.id = v.new_id AS inserted, w.id IS NOT NULL AS written, {columns(table, 't.')} "
        f"FROM v {_found_by_key(table, nulls)} LEFT JOIN w ON w.id = t.id"
        for nulls in patterns
    )
    current = f" WHERE current_setting('{WRITTEN}') <> '{_STALE}'"
    return (
        f"WITH {_met(table, current)}, w AS MATERIALIZED (SELECT "
        f"unnest(string_to_array(nullif(current_setting('{WRITTEN}'), '{_STALE}'), ','))::uuid AS id) "
        f"{reads}"
    )


def _found_by_key(table: Table, nulls: frozenset[str]) -> str:
    """Join each draft to its row: by an index on the project and the first other column that has a value.

    LIMIT keeps it one look a draft. A plain join is planned for the 100 rows that any JSON is taken for, and
    for these a table of 20,000 rows is scanned, even if one draft was sent.
    """
    return (
        f"CROSS JOIN LATERAL (SELECT {columns(table, 't.')} FROM {table.name} AS t "
        f"WHERE {_key_condition(table, nulls)} LIMIT 1) AS t"
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


# ---------------------------------------------------------------------------------------------------- delete


@_cached
def delete(table: Table, scoped: bool) -> Statement:
    """Take one row away; gives (whether it was, the record) for each row of the id."""
    text = (
        f"{_locked(table, scoped)}, gone AS (DELETE FROM {table.name} AS t USING current "
        f"WHERE {_same_row(table, 'current')} AND {_EXPECTED}{scope(table, scoped, 't.')} RETURNING 1) "
        f"SELECT EXISTS (SELECT FROM gone), {columns(table)} FROM current"
    )
    return Statement(text, f"{table.name}.delete", writes=True, deletes=True, table=table.name, prepares=True)


@_cached
def delete_many(table: Table, scoped: bool) -> Statement:
    """Take rows away, locked in one order so that two such calls cannot deadlock; gives how many went.

    None go where two projects hold one of the ids: the second column says so.
    """
    key = ", ".join(table.primary_key)
    text = (
        f"WITH doomed AS MATERIALIZED (SELECT {key} FROM {table.name} "
        f"WHERE id = ANY(%s::uuid[]){scope(table, scoped)} ORDER BY id FOR UPDATE), "
        "twice AS MATERIALIZED (SELECT FROM doomed GROUP BY id HAVING count(*) > 1), "
        f"gone AS (DELETE FROM {table.name} AS t USING doomed WHERE {_same_row(table, 'doomed')} "
        f"AND NOT EXISTS (SELECT FROM twice){scope(table, scoped, 't.')} RETURNING 1) "
        "SELECT (SELECT count(*) FROM gone), EXISTS (SELECT FROM twice), "
        "(SELECT string_agg(id::text, ',') FROM doomed) AS ids, "
        f"(SELECT string_agg(DISTINCT {table.scope_column}::text, ',') FROM doomed) AS project_ids"
    )
    return Statement(text, f"{table.name}.delete_many", writes=True, deletes=True, table=table.name)
