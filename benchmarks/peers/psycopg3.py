"""psycopg 3: `class_row` into a dataclass, COPY by `write_row`, the same hand-written SQL for the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from benchmarks.peers.raw import NAMES, UPDATE_MANY, UPSERT, columns_changed
from benchmarks.side import COLUMNS, Row
from benchmarks.side import Side as AnySide
from database_handler import DatabaseConfig

__all__ = ["Project", "Side"]


@dataclass(slots=True)
class Project:
    """The table as it is."""

    id: UUID
    name: str
    slug: str
    description: str | None
    status: str
    owner: str | None
    tags: list[str]
    metadata: dict[str, Any]
    version: int
    created_at: datetime
    updated_at: datetime


_PLACES = ", ".join(["%s"] * len(COLUMNS))
_INSERT = f"INSERT INTO projects ({', '.join(COLUMNS)}) VALUES ({_PLACES})"


class Side(AnySide):
    """One connection in autocommit; it prepares a statement that is sent the sixth time."""

    name: ClassVar[str] = "psycopg 3"

    def __init__(self, config: DatabaseConfig) -> None:
        arguments: dict[str, Any] = config.connect_arguments()
        self.connection = psycopg.connect(**arguments, autocommit=True)

    def _all(self, text: str, values: Sequence[Any] = ()) -> Sequence[Any]:
        with self.connection.cursor(row_factory=class_row(Project)) as cursor:
            cursor.execute(text.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def get(self, id: UUID) -> Any:
        return self._all(f"SELECT {NAMES} FROM projects WHERE id = %s", [id])[0]

    def list(self, limit: int) -> Sequence[Any]:
        return self._all(f"SELECT {NAMES} FROM projects ORDER BY id LIMIT %s", [limit])

    def create(self, row: Row) -> Any:
        return self._all(f"{_INSERT} RETURNING {NAMES}", _values(row))[0]

    def update(self, id: UUID, description: str) -> object:
        text = "UPDATE projects SET description = %s, version = version + 1, updated_at = now() WHERE id = %s"
        return self._all(f"{text} RETURNING {NAMES}", [description, id])

    def upsert(self, row: Row) -> object:
        return self._all(f"{_INSERT} {UPSERT}", _values(row))

    def delete(self, id: UUID) -> object:
        return self._all("DELETE FROM projects WHERE id = %s", [id])

    def unit(self, ids: Sequence[UUID]) -> object:
        with self.connection.transaction():
            return [self.get(id) for id in ids]

    def create_many(self, rows: Sequence[Row]) -> Sequence[Any]:
        with self.connection.transaction(), self.connection.cursor() as cursor:
            moment = cursor.execute("SELECT now()").fetchall()[0][0]
            with cursor.copy(f"COPY projects ({NAMES}) FROM STDIN".encode()) as copy:
                for row in rows:
                    copy.write_row((*_values(row), moment, moment))
        return [Project(**row, created_at=moment, updated_at=moment) for row in rows]

    def update_many(self, changed: Sequence[Row]) -> object:
        return self._all(UPDATE_MANY, columns_changed(changed))

    def upsert_many(self, rows: Sequence[Row]) -> object:
        with self.connection.transaction(), self.connection.cursor() as cursor:
            cursor.executemany(f"{_INSERT} {UPSERT}".encode(), [_values(row) for row in rows])
            return cursor.rowcount

    def delete_many(self, ids: Sequence[UUID]) -> object:
        return self._all("DELETE FROM projects WHERE id = ANY(%s)", [[*ids]])

    def close(self) -> None:
        self.connection.close()


def _values(row: Row) -> Sequence[Any]:
    return [Jsonb(row[name]) if name == "metadata" else row[name] for name in COLUMNS]
