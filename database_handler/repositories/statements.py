"""The SQL of every repository call, built from the model once and kept.

Each function is pure and cached: a table, and the shape of the call, give one text. Values are bound later;
identifiers come from the model alone. It is one module, somewhat over 300 lines, because an update and
a delete are made of the same parts; an upsert has its own (`upsert_statements`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from database_handler.core.quoting import literal
from database_handler.core.schema import SERVER_COLUMNS, Column, Table
from database_handler.core.session import Session, Statement
from database_handler.core.transaction import PROJECT_SETTING
from database_handler.repositories import row_text

__all__ = [
    "as_arrays",
    "change_columns",
    "copy",
    "create",
    "create_and_tell",
    "create_many",
    "create_missing",
    "delete",
    "delete_many",
    "get",
    "get_many",
    "listed",
    "rows_given",
    "rows_held",
    "showing",
    "stale",
    "telling",
    "there",
    "update",
    "update_many",
]

PROJECTS = "projects"
cached = lru_cache(maxsize=4096)


def columns(table: Table, prefix: str = "") -> str:
    """Return the columns of a record, in the model's order."""
    return ", ".join(prefix + name for name in table.column_names)


@cached
def draft_columns(table: Table) -> tuple[Column, ...]:
    """Return the columns that a write sets: the id made by the client, then the draft's."""
    written = [column for column in table.columns if column.name not in SERVER_COLUMNS]
    return tuple(sorted(written, key=lambda column: column.name != "id"))


def scope(table: Table, scoped: bool, prefix: str = "") -> str:
    """Return the condition that holds a statement to its unit's project."""
    return f" AND {prefix}{table.scope_column} = %s" if scoped else ""


def listed(found: Sequence[Column], prefix: str = "") -> str:
    """Return the names of some columns, with commas."""
    return ", ".join(prefix + column.name for column in found)


# ---------------------------------------------------------------------------------------------------- insert


def showing(projects: str) -> str:
    """Have row-level security show more projects until the transaction ends; SQL of ids, with commas."""
    already = f"nullif(current_setting('{PROJECT_SETTING}', true), '')"
    return f"set_config('{PROJECT_SETTING}', concat_ws(',', {already}, {projects}), true)"


@cached
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
    text = f"INSERT INTO {table.name} ({listed(sent)}) {rows} RETURNING {columns(table)}"
    return Statement(
        text, f"{table.name}.create", writes=True, table=table.name, prepares=table.name != PROJECTS
    )


def _project(table: Table) -> str:
    """The project of a row that is written, for the cache of what it holds."""
    return f"{table.scope_column} AS project_id"


@cached
def create_and_tell(table: Table) -> Statement:
    """As `create`; gives back as well whether row-level security holds for this role."""
    statement = create(table)
    # Not in RETURNING itself, where a cluster takes no function that is not immutable.
    told = f"SELECT {columns(table)}, row_security_active('{table.name}') FROM made"
    return replace(statement, text=f"WITH made AS ({statement.text}) {told}")


@cached
def create_many(table: Table) -> Statement:
    """Rows as arrays, one a column; gives back their moment and whether they were written: all or none."""
    sent = draft_columns(table)
    text = (
        f"WITH written AS (INSERT INTO {table.name} ({listed(sent)}) "
        f"SELECT {listed(sent, 'v.')} FROM {rows_given(sent)}{kept(table)} RETURNING {_project(table)}) "
        "SELECT now(), count(*) > 0, string_agg(DISTINCT project_id::text, ',') AS project_ids FROM written"
    )
    return Statement(text, f"{table.name}.create_many", writes=True, table=table.name, inserts=True)


@cached
def create_missing(table: Table) -> Statement:
    """Rows as arrays, one a column, those left out that are there; gives whether it wrote, and which.

    Nothing is written where a project's JSON Schema is another one.
    """
    sent = draft_columns(table)
    other_schema = stale(table) if table.keeps_metadata else "false"
    text = (
        f"WITH s AS MATERIALIZED (SELECT {other_schema} AS stale), written AS (INSERT INTO {table.name} "
        f"({listed(sent)}) SELECT {listed(sent, 'v.')} FROM {rows_given(sent)} "
        f"WHERE NOT (SELECT stale FROM s) ON CONFLICT DO NOTHING RETURNING id, {_project(table)}) "
        "SELECT NOT s.stale, w.id, w.project_id FROM s LEFT JOIN written AS w ON true"
    )
    return Statement(text, f"{table.name}.create_missing", writes=True, table=table.name, inserts=True)


@cached
def there(table: Table, scoped: bool) -> Statement:
    """Those of some ids that rows have."""
    text = f"SELECT id FROM {table.name} WHERE id = ANY(%s::uuid[]){scope(table, scoped)}"
    return Statement(text, f"{table.name}.there")


def as_arrays(table: Table, rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return the parameters in which `create_many` and `upsert` take rows."""
    return row_text.arrays(draft_columns(table), rows)


@cached
def copy(table: Table) -> Statement:
    """Rows by COPY in text format: what the draft sets, then the server's columns."""
    names = ", ".join((listed(draft_columns(table)), *SERVER_COLUMNS))
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


@cached
def moment(table: Table) -> Statement:
    """The transaction's moment, whether the projects' JSON Schemas are those that rows keep to, and security.

    The last tells whether row-level security holds for this role, for then the server takes no COPY.
    """
    kept = f"NOT {stale(table)}" if table.keeps_metadata else "true"
    text = f"SELECT now(), {kept}, row_security_active('{table.name}')"
    return Statement(text, f"{table.name}.create_many")


def schema_mark(table: Table, project: str = "p") -> str:
    """Tell one JSON Schema from another; 0 where a project binds the entity to none."""
    return f"coalesce(hashtextextended(({project}.metadata_schemas -> '{table.name}')::text, 0), 0)"


def stale(table: Table) -> str:
    """Whether a schema is another one than a write was checked against: marks by project, as JSON."""
    return (
        "EXISTS (SELECT FROM json_each_text(%s::json) AS k JOIN projects AS p ON p.id = k.key::uuid "
        f"WHERE {schema_mark(table)} <> k.value::bigint)"
    )


def kept(table: Table) -> str:
    return f" WHERE NOT {stale(table)}" if table.keeps_metadata else ""


@cached
def schemas(table: Table) -> Statement:
    """The mark and the JSON Schema of some projects for one entity."""
    text = (
        f"SELECT p.id, {schema_mark(table)}, p.metadata_schemas -> '{table.name}' "
        "FROM projects AS p WHERE p.id = ANY(%s::uuid[])"
    )
    return Statement(text, f"{table.name}.metadata_schemas")


def rows_given(found: Sequence[Column], given: str = "") -> str:
    """Rows of parameters, an array for each column; or of the columns of `given`, which hold them."""
    sent = ", ".join(f"{given}.{c.name}" if given else f"%s::{_element(c)}[]" for c in found)
    return f"(SELECT {', '.join(map(_typed, found))} FROM unnest({sent}) AS a({listed(found)})) AS v"


def _typed(column: Column) -> str:
    """Make a value of the column's type of an element of `row_text.arrays`."""
    name = value = f"a.{column.name}"
    if column.nullable:
        value = f"nullif({name}, '')"
        if not row_text.never_empty(column):
            value = f"CASE WHEN {name} <> '' THEN substr({name}, {len(row_text.MARK) + 1}) END"
    elif _element(column) == column.type:
        return name
    return f"({value})::{column.type} AS {column.name}"


def rows_held(found: Sequence[Column]) -> str:
    """Parameters with an array for each column, for `rows_given` to take them from, more than once."""
    return ", ".join(f"%s::{_element(c)}[] AS {c.name}" for c in found)


def _element(column: Column) -> str:
    """Return the type of an array's elements: text, but where an array of the type itself is read as fast."""
    return column.type if column.type in {"uuid", "bigint", "integer"} and not column.nullable else "text"


# ------------------------------------------------------------------------------------------------------ read


@cached
def get(table: Table, scoped: bool) -> Statement:
    """The row of an id; two where two projects hold one."""
    text = f"SELECT {columns(table)} FROM {table.name} WHERE id = %s{scope(table, scoped)} LIMIT 2"
    return Statement(text, f"{table.name}.get_by_id", prepares=True)


@cached
def get_many(table: Table, scoped: bool) -> Statement:
    """The rows of some ids."""
    text = f"SELECT {columns(table)} FROM {table.name} WHERE id = ANY(%s::uuid[]){scope(table, scoped)}"
    return Statement(text, f"{table.name}.get_many")


@cached
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


@cached
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


@cached
def change_columns(table: Table, names: Sequence[str], partial: Sequence[str]) -> tuple[Column, ...]:
    """Return what `update_many` takes of each change: its place, the row's id and version, the new values.

    For a name that only some rows change, a flag comes with it.
    """
    return (
        *(Column("place", "integer"), Column("id", "uuid"), Column("expected", "bigint", nullable=True)),
        # NULL stands for what a change leaves as it is.
        *(replace(table.column(name), nullable=True) for name in names),
        *(Column(f"set_{name}", "boolean") for name in partial),
    )


@cached
def update_many(table: Table, names: tuple[str, ...], partial: tuple[str, ...], scoped: bool) -> Statement:
    """Set fields on many rows, or on none where one is missing, stale, or may not make its move.

    `partial` are the names that only some of the rows change. Gives (whether it was changed, its place, the
    record): all that were changed, or those in the way.
    """
    sets = ", ".join(_assignment(table.column(name), name in partial) for name in names)
    joined, other = _other_schema(table, partial) if marked(table, names, partial) else ("", "")
    refused = "".join(f" OR {_refusing(table, name, name in partial)}" for name in guarded(table, names))
    text = (
        f"WITH v AS MATERIALIZED (SELECT * FROM {rows_given(change_columns(table, names, partial))}), "
        f"current AS MATERIALIZED (SELECT {columns(table, 't.')} FROM {table.name} AS t JOIN v ON v.id = t.id"
        f"{scope(table, scoped, 't.')} ORDER BY t.id FOR UPDATE OF t), "
        f"wrong AS MATERIALIZED (SELECT v.place, v.id FROM v LEFT JOIN current AS c ON c.id = v.id{joined} "
        f"GROUP BY v.place, v.id HAVING count(c.id) <> 1 OR bool_or(v.expected <> c.version)"
        f"{other}{refused}), "
        f"changed AS (UPDATE {table.name} AS t SET {sets}, version = t.version + 1, updated_at = now() "
        f"FROM v, current AS c WHERE v.id = c.id AND {_same_row(table, 'c')} "
        f"AND NOT EXISTS (SELECT FROM wrong){scope(table, scoped, 't.')} "
        f"RETURNING v.place, {columns(table, 't.')}) SELECT true AS changed, * FROM changed UNION ALL "
        f"SELECT false, wrong.place, {columns(table, 'c.')} "
        "FROM wrong LEFT JOIN current AS c ON c.id = wrong.id"
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
    name = column.name
    given = f"CASE WHEN v.set_{name} THEN v.{name} ELSE t.{name} END" if partial else f"v.{name}"
    return f"{name} = {given}"


# ---------------------------------------------------------------------------------------------------- delete


@cached
def delete(table: Table, scoped: bool) -> Statement:
    """Take one row away; gives (whether it was, the record) for each row of the id."""
    text = (
        f"{_locked(table, scoped)}, gone AS (DELETE FROM {table.name} AS t USING current "
        f"WHERE {_same_row(table, 'current')} AND {_EXPECTED}{scope(table, scoped, 't.')} RETURNING 1) "
        f"SELECT EXISTS (SELECT FROM gone), {columns(table)} FROM current"
    )
    return Statement(text, f"{table.name}.delete", writes=True, deletes=True, table=table.name, prepares=True)


@cached
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
