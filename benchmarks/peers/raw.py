"""psycopg2 by hand: the limit to compare with. Rows stay tuples; many go in by COPY, or as one JSON value."""

import json
from collections.abc import Sequence
from io import StringIO
from typing import Any, ClassVar
from uuid import UUID

import psycopg2
import psycopg2.extras

from benchmarks.side import COLUMNS, WRITTEN, Row
from benchmarks.side import Side as AnySide
from database_handler import DatabaseConfig

__all__ = ["NAMES", "TYPES", "UPDATE_MANY", "UPSERT", "Side", "columns_changed", "connected", "copy_lines"]

NAMES = ", ".join((*COLUMNS, "created_at", "updated_at"))
TYPES = {"id": "uuid", "tags": "text[]", "metadata": "jsonb", "version": "bigint"}
_RECORDS = ", ".join(f"{name} {TYPES.get(name, 'text')}" for name in COLUMNS)
_SET = ", ".join(f"{name} = excluded.{name}" for name in (*WRITTEN, "version") if name != "slug")
UPSERT = f"ON CONFLICT (slug) DO UPDATE SET {_SET}, updated_at = now() RETURNING {NAMES}"
UPDATE_MANY = (
    "UPDATE projects AS p SET description = v.description, version = v.version, updated_at = now() "
    "FROM unnest(%s::uuid[], %s::text[], %s::bigint[]) AS v(id, description, version) "
    f"WHERE p.id = v.id RETURNING {', '.join('p.' + name.strip() for name in NAMES.split(','))}"
)


def columns_changed(rows: Sequence[Row]) -> list[list[Any]]:
    """Return what `UPDATE_MANY` takes: a list a column."""
    return [[row[name] for row in rows] for name in ("id", "description", "version")]


def connected(config: DatabaseConfig) -> Any:
    """Connect as the library does, in autocommit."""
    arguments: dict[str, Any] = config.connect_arguments()
    connection = psycopg2.connect(**arguments)
    connection.autocommit = True
    psycopg2.extras.register_uuid(conn_or_curs=connection)  # type: ignore[no-untyped-call]
    return connection


class Side(AnySide):
    """One connection, the same columns as everyone."""

    name: ClassVar[str] = "psycopg2"

    def __init__(self, config: DatabaseConfig) -> None:
        self.connection = connected(config)

    def _all(self, text: str, values: Sequence[Any] | None = None) -> Sequence[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(text, values)
            found: Sequence[Any] = cursor.fetchall() if cursor.description else []
            return found

    def get(self, id: UUID) -> Any:
        return self._all(f"SELECT {NAMES} FROM projects WHERE id = %s", [id])[0]

    def list(self, limit: int) -> Sequence[Any]:
        return self._all(f"SELECT {NAMES} FROM projects ORDER BY id LIMIT %s", [limit])

    def create(self, row: Row) -> Any:
        return self._all(_insert(f"RETURNING {NAMES}"), _values(row))[0]

    def update(self, id: UUID, description: str) -> object:
        text = "UPDATE projects SET description = %s, version = version + 1, updated_at = now() WHERE id = %s"
        return self._all(f"{text} RETURNING {NAMES}", [description, id])

    def upsert(self, row: Row) -> object:
        return self._all(_insert(UPSERT), _values(row))

    def delete(self, id: UUID) -> object:
        return self._all("DELETE FROM projects WHERE id = %s", [id])

    def unit(self, ids: Sequence[UUID]) -> object:
        self._all("BEGIN")
        found = [self.get(id) for id in ids]
        self._all("COMMIT")
        return found

    def create_many(self, rows: Sequence[Row]) -> Sequence[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute("BEGIN; SELECT now()")
            [moment] = cursor.fetchone()
            cursor.copy_expert(f"COPY projects ({NAMES}) FROM STDIN", StringIO(copy_lines(rows, moment)))
            cursor.execute("COMMIT")
        return [(*(row[name] for name in COLUMNS), moment, moment) for row in rows]

    def update_many(self, changed: Sequence[Row]) -> object:
        return self._all(UPDATE_MANY, columns_changed(changed))

    def upsert_many(self, rows: Sequence[Row]) -> object:
        sent = json.dumps([{**row, "id": str(row["id"])} for row in rows])
        names = ", ".join(COLUMNS)
        text = f"INSERT INTO projects ({names}) SELECT {names} FROM json_to_recordset(%s) AS v({_RECORDS})"
        return self._all(f"{text} {UPSERT}", [sent])

    def delete_many(self, ids: Sequence[UUID]) -> object:
        return self._all("DELETE FROM projects WHERE id = ANY(%s)", [list(ids)])

    def plain(self, found: Any) -> Row:
        return dict(zip(COLUMNS, found, strict=False))

    def close(self) -> None:
        self.connection.close()


def _insert(ending: str) -> str:
    values = ", ".join(f"%s::{TYPES.get(name, 'text')}" for name in COLUMNS)
    return f"INSERT INTO projects ({', '.join(COLUMNS)}) VALUES ({values}) {ending}"


def _values(row: Row) -> Sequence[Any]:
    return [json.dumps(row[name]) if name == "metadata" else row[name] for name in COLUMNS]


def copy_lines(rows: Sequence[Row], moment: Any) -> str:
    """Return rows in COPY's text format."""
    at = moment.isoformat()
    return "".join(_line(row, at) for row in rows)


def _line(row: Row, moment: str) -> str:
    tags = "{" + ",".join(f'"{tag}"' for tag in row["tags"]) + "}"
    values = {**row, "tags": tags, "metadata": json.dumps(row["metadata"])}
    cells = ["\\N" if values[name] is None else _escaped(str(values[name])) for name in COLUMNS]
    return "\t".join([*cells, moment, moment]) + "\n"


def _escaped(text: str) -> str:
    for mark, escape in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        if mark in text:
            text = text.replace(mark, escape)
    return text
