"""psycopg2 by hand: the limit to compare with. Rows stay tuples; many go in by COPY."""

import json
from collections.abc import Sequence
from io import StringIO
from typing import Any, ClassVar
from uuid import UUID

import psycopg2
import psycopg2.extras

from benchmarks.side import COLUMNS, Row
from database_handler import DatabaseConfig

_NAMES = ", ".join((*COLUMNS, "created_at", "updated_at"))


def connected(config: DatabaseConfig) -> Any:
    """Connect as the library does."""
    arguments: dict[str, Any] = config.connect_arguments()
    return psycopg2.connect(**arguments)


class Side:
    """Autocommit, one connection, the same columns as everyone."""

    name: ClassVar[str] = "psycopg2"

    def __init__(self, config: DatabaseConfig) -> None:
        self.connection = connected(config)
        self.connection.autocommit = True
        psycopg2.extras.register_uuid(conn_or_curs=self.connection)  # type: ignore[no-untyped-call]

    def get(self, id: UUID) -> Any:
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT {_NAMES} FROM projects WHERE id = %s", [str(id)])
            return cursor.fetchone()

    def list(self, limit: int) -> Sequence[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute(f"SELECT {_NAMES} FROM projects ORDER BY id LIMIT %s", [limit])
            found: list[Any] = cursor.fetchall()
            return found

    def create_many(self, rows: Sequence[Row]) -> Sequence[Any]:
        with self.connection.cursor() as cursor:
            cursor.execute("BEGIN; SELECT now()")
            [moment] = cursor.fetchone()
            lines = "".join(_line(row, moment.isoformat()) for row in rows)
            cursor.copy_expert(f"COPY projects ({_NAMES}) FROM STDIN", StringIO(lines))
            cursor.execute("COMMIT")
        return [(*(row[name] for name in COLUMNS), moment, moment) for row in rows]

    def plain(self, found: Any) -> Row:
        return dict(zip(COLUMNS, found, strict=False))

    def close(self) -> None:
        self.connection.close()


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
