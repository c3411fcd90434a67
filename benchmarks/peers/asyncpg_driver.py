"""asyncpg: its records, binary COPY, a codec for jsonb; each call is one turn of its event loop."""

import asyncio
import json
from collections.abc import Coroutine, Sequence
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import asyncpg

from benchmarks.peers.raw import NAMES, TYPES, UPSERT
from benchmarks.side import COLUMNS, Row
from benchmarks.side import Side as AnySide
from database_handler import DatabaseConfig

__all__ = ["Side"]

T = TypeVar("T")
_PLACES = ", ".join(f"${number + 1}::{TYPES.get(name, 'text')}" for number, name in enumerate(COLUMNS))
_INSERT = f"INSERT INTO projects ({', '.join(COLUMNS)}) VALUES ({_PLACES})"


class Side(AnySide):
    """One connection on a loop of its own; statements are prepared, as it does by itself."""

    name: ClassVar[str] = "asyncpg"

    def __init__(self, config: DatabaseConfig) -> None:
        self._loop = asyncio.new_event_loop()
        arguments = config.connect_arguments()
        taken: Any = {
            name: arguments[name] for name in ("host", "port", "user", "password") if name in arguments
        }
        self.connection: Any = self._run(asyncpg.connect(**taken, database=arguments["dbname"], ssl=False))
        codec = self.connection.set_type_codec(
            "jsonb", schema="pg_catalog", encoder=_encoded, decoder=_decoded, format="binary"
        )
        self._run(codec)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def get(self, id: UUID) -> Any:
        return self._run(self.connection.fetchrow(f"SELECT {NAMES} FROM projects WHERE id = $1", id))

    def list(self, limit: int) -> Sequence[Any]:
        text = f"SELECT {NAMES} FROM projects ORDER BY id LIMIT $1"
        found: Sequence[Any] = self._run(self.connection.fetch(text, limit))
        return found

    def create(self, row: Row) -> Any:
        return self._run(self.connection.fetchrow(f"{_INSERT} RETURNING {NAMES}", *_values(row)))

    def update(self, id: UUID, description: str) -> object:
        text = "UPDATE projects SET description = $1, version = version + 1, updated_at = now() WHERE id = $2"
        return self._run(self.connection.fetchrow(f"{text} RETURNING {NAMES}", description, id))

    def upsert(self, row: Row) -> object:
        return self._run(self.connection.fetchrow(f"{_INSERT} {UPSERT}", *_values(row)))

    def delete(self, id: UUID) -> object:
        return self._run(self.connection.execute("DELETE FROM projects WHERE id = $1", id))

    def unit(self, ids: Sequence[UUID]) -> object:
        async def work() -> object:
            async with self.connection.transaction():
                text = f"SELECT {NAMES} FROM projects WHERE id = $1"
                return [await self.connection.fetchrow(text, id) for id in ids]

        return self._run(work())

    def create_many(self, rows: Sequence[Row]) -> Sequence[Any]:
        async def work() -> Sequence[Any]:
            async with self.connection.transaction():
                moment = await self.connection.fetchval("SELECT now()")
                made = [(*_values(row), moment, moment) for row in rows]
                names = [name.strip() for name in NAMES.split(",")]
                await self.connection.copy_records_to_table("projects", records=made, columns=names)
                return made

        return self._run(work())

    def update_many(self, changed: Sequence[Row]) -> object:
        text = (
            "UPDATE projects AS p SET description = v.description, version = v.version, updated_at = now() "
            "FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS v(id, description, version) "
            f"WHERE p.id = v.id RETURNING {', '.join('p.' + name.strip() for name in NAMES.split(','))}"
        )
        sent = [[row[name] for row in changed] for name in ("id", "description", "version")]
        return self._run(self.connection.fetch(text, *sent))

    def upsert_many(self, rows: Sequence[Row]) -> object:
        async def work() -> object:
            async with self.connection.transaction():
                return await self.connection.fetchmany(f"{_INSERT} {UPSERT}", [_values(row) for row in rows])

        return self._run(work())

    def delete_many(self, ids: Sequence[UUID]) -> object:
        return self._run(self.connection.execute("DELETE FROM projects WHERE id = ANY($1)", [*ids]))

    def plain(self, found: Any) -> Row:
        return dict(zip(COLUMNS, found, strict=False))

    def close(self) -> None:
        self._run(self.connection.close())
        self._loop.close()


def _encoded(value: Any) -> bytes:
    return b"\x01" + json.dumps(value).encode()  # the version of the binary form, which COPY wants


def _decoded(data: bytes) -> Any:
    return json.loads(data[1:])


def _values(row: Row) -> Sequence[Any]:
    return [row[name] for name in COLUMNS]
