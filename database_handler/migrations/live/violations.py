"""How many rows of the live tables do not meet what a version will ask of them: counts, and never a value."""

from collections.abc import Mapping
from dataclasses import dataclass

from database_handler.core.quoting import literal
from database_handler.migrations.schema.requirements import Asked, Requirement, Tables

__all__ = ["Question", "question_of", "what_goes"]

_HAS_INPUT_CHECK = 160_000  # pg_input_is_valid
_TAKES_ALL = ("text", "character varying")


@dataclass(frozen=True, slots=True)
class Question:
    """What to count on the live database; `sql` is None where `problem` says why it cannot be asked.

    Attributes
    ----------
    message : str
        What happens, and which rows are counted; their number is to follow.
    """

    table: str
    message: str
    sql: str | None = None
    problem: str | None = None


def what_goes(table: str, column: str | None, *, emptied: bool) -> Question:
    """Return what to count of a table or column that goes: rows of its own, for its parts are told apart."""
    if column is None:
        message = f"{table} is emptied" if emptied else f"table {table} goes"
        return Question(table, message, f"SELECT count(*) FROM ONLY {table}")
    return Question(table, f"{table}.{column} goes", f"SELECT count({column}) FROM ONLY {table}")


def question_of(asked: Requirement, before: Tables, now: Tables, server: int) -> Question | None:
    """Return what to count for a requirement; None where the rows that are there cannot break it.

    Parameters
    ----------
    before, now : Tables
        The copy before the pending versions, whose names are the live ones, and as it is at the statement.
    server : int
        The live server's version, such as 160004.
    """
    table = before.names[asked.table]
    live, named = before.of(asked.table), now.of(asked.table)
    new = [named[number] for number in asked.columns if number not in live]
    if asked.asked is Asked.TYPE and (new or asked.expressions[0] in _TAKES_ALL):
        return None
    if new:
        return _of_new_columns(asked, table, new)
    source = _source(table, live, named)
    match asked.asked:
        case Asked.NOT_NULL:
            column = live[asked.columns[0]]
            sql = f"SELECT count(*) FROM {table} WHERE {column} IS NULL"
            return Question(table, f"{table}.{column} becomes NOT NULL; rows without a value", sql)
        case Asked.CHECK:
            sql = f"SELECT count(*) FROM {source} WHERE NOT ({asked.expressions[0]})"
            return Question(table, f"{table} gets the CHECK {asked.name}; rows that do not meet it", sql)
        case Asked.UNIQUE:
            return _unique(asked, table, source)
        case Asked.EXCLUSION:
            return _exclusion(asked, table, source)
        case Asked.FOREIGN_KEY:
            return _foreign_key(asked, before, table, live)
        case Asked.TYPE:
            return _type(asked, table, live[asked.columns[0]], server)


def _of_new_columns(asked: Requirement, table: str, new: list[str]) -> Question | None:
    """A column that is not live yet: its rows hold what the versions put in."""
    if asked.asked is Asked.NOT_NULL and not asked.filled:
        sql = f"SELECT count(*) FROM {table}"
        message = f"{table} gets a column {new[0]} that is NOT NULL, without a value; rows that are there"
        return Question(table, message, sql)
    if asked.asked is Asked.UNIQUE and len(new) == len(asked.expressions) and asked.nulls_equal:
        sql = f"SELECT greatest(count(*) - 1, 0) FROM {table}"
        message = f"{table} gets {asked.name}, unique by the new {', '.join(new)}; rows that are alike in it"
        return Question(table, message, sql)
    return None


def _source(table: str, live: Mapping[int, str], named: Mapping[int, str]) -> str:
    """Return the live table under the names that its columns have by then."""
    both = [(live[number], named[number]) for number in sorted(live.keys() & named.keys())]
    if all(old == new for old, new in both):
        return table
    return f"(SELECT {', '.join(f'{old} AS {new}' for old, new in both)} FROM {table}) AS renamed"


def _unique(asked: Requirement, table: str, source: str) -> Question:
    keys = ", ".join(asked.expressions)
    conditions = [f"({asked.where})"] if asked.where else []
    if not asked.nulls_equal:
        conditions += [f"({key}) IS NOT NULL" for key in asked.expressions]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    sql = (
        f"SELECT coalesce(sum(extra), 0)::bigint FROM (SELECT count(*) - 1 AS extra FROM {source}{where} "
        f"GROUP BY {', '.join(f'({key})' for key in asked.expressions)} HAVING count(*) > 1) AS duplicates"
    )
    return Question(table, f"{table} gets {asked.name}, unique by {keys}; rows that repeat another", sql)


def _exclusion(asked: Requirement, table: str, source: str) -> Question:
    """Count rows that another one excludes; each is numbered, for rows may be alike in everything."""
    keys = ", ".join(f"({key}) AS key{place}" for place, key in enumerate(asked.expressions))
    where = f" WHERE {asked.where}" if asked.where else ""
    rows = f"SELECT row_number() OVER () AS place, {keys} FROM {source}{where}"
    meets = " AND ".join(f"a.key{place} {op} b.key{place}" for place, op in enumerate(asked.operators))
    sql = (
        f"WITH numbered AS MATERIALIZED ({rows}) SELECT count(*) FROM numbered a WHERE EXISTS "
        f"(SELECT FROM numbered b WHERE a.place <> b.place AND {meets})"
    )
    return Question(table, f"{table} gets {asked.name}; rows that exclude each other", sql)


def _foreign_key(asked: Requirement, before: Tables, table: str, live: Mapping[int, str]) -> Question:
    columns = [live[number] for number in asked.columns]
    target, theirs = before.names.get(asked.references), before.of(asked.references)
    filled = " AND ".join(f"c.{column} IS NOT NULL" for column in columns)
    by = f"{table} ({', '.join(columns)})"
    message = f"{by} comes to refer to {target or 'a new table'}; rows without a row there"
    if target is None or any(number not in theirs for number in asked.referenced):
        return Question(table, message, f"SELECT count(*) FROM {table} c WHERE {filled}")
    pairs = zip(columns, asked.referenced, strict=True)
    same = " AND ".join(f"p.{theirs[number]} = c.{column}" for column, number in pairs)
    orphan = f"{filled} AND NOT EXISTS (SELECT FROM {target} p WHERE {same})"
    if asked.full and len(columns) > 1:
        orphan = f"({orphan}) OR num_nulls({', '.join(f'c.{each}' for each in columns)}) " + (
            f"BETWEEN 1 AND {len(columns) - 1}"
        )
    return Question(table, message, f"SELECT count(*) FROM {table} c WHERE {orphan}")


def _type(asked: Requirement, table: str, column: str, server: int) -> Question:
    wanted = asked.expressions[0]
    message = f"{table}.{column} becomes {wanted}; rows that hold no such value"
    if server < _HAS_INPUT_CHECK:
        return Question(table, message, problem="PostgreSQL 15 cannot tell without trying")
    sql = f"SELECT count(*) FROM {table} WHERE NOT pg_input_is_valid({column}::text, {literal(wanted)})"
    return Question(table, message, sql)
