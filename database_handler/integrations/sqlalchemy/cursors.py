"""DB-API cursors: the rows that came with a reply, or those that a cursor on the server still has."""

from collections.abc import Iterable, Iterator
from itertools import count
from types import TracebackType
from typing import IO, Any, Protocol, Self

from psycopg2 import sql

from database_handler.core.messages import Reply

__all__ = ["Cursor", "Row", "ServerCursor"]

Row = tuple[Any, ...]
_FIRST_FETCH = 100  # rows that come with the DECLARE of a server-side cursor, when nobody has asked yet
_COPY_CHUNK = 1 << 16
_numbers = count(1)


class Sender(Protocol):
    """What a cursor needs of its connection."""

    def send(self, statement: str | sql.Composable, parameters: object = None) -> Reply:
        """Send a statement of the caller's."""
        ...

    def declare(self, name: str, statement: str | sql.Composable, parameters: object, size: int) -> Reply:
        """Declare a cursor on the server, and fetch its first rows."""
        ...

    def fetch(self, name: str, size: int | None) -> list[Row]:
        """Fetch more rows of a cursor on the server; all of them where no size is given."""
        ...

    def copy(self, statement: str, lines: Iterable[bytes]) -> int:
        """Send a COPY ... FROM STDIN and its rows."""
        ...


class Cursor:
    """The rows of one statement, which have all come with its reply."""

    def __init__(self, connection: Sender) -> None:
        self.connection = connection
        self.arraysize = 1
        self._take(Reply([], -1, ""))

    def _take(self, reply: Reply) -> None:
        self.description = reply.description or None
        self.rowcount = reply.affected
        self.statusmessage = reply.tag
        self._rows, self._at = reply.rows, 0

    def execute(self, statement: str | sql.Composable, parameters: object = None) -> None:
        """Send one statement."""
        self._take(self.connection.send(statement, parameters))

    def executemany(self, statement: str | sql.Composable, several: Iterable[object]) -> None:
        """Send one statement for each of several sets of values."""
        affected = sum(max(self.connection.send(statement, each).affected, 0) for each in several)
        self._take(Reply([], affected, ""))

    def copy_expert(self, sql: str, file: IO[Any], size: int = _COPY_CHUNK) -> None:
        """Send a COPY ... FROM STDIN and what is in the file."""
        self._take(Reply([], self.connection.copy(sql, _chunks(file, size)), ""))

    def fetchone(self) -> Row | None:
        """Give the next row; None where there is none."""
        found = self.fetchmany(1)
        return found[0] if found else None

    def fetchmany(self, size: int | None = None) -> list[Row]:
        """Give the next rows, at most so many."""
        start = self._at
        self._at = min(start + (self.arraysize if size is None else size), len(self._rows))
        return self._rows[start : self._at]

    def fetchall(self) -> list[Row]:
        """Give all rows that are left."""
        rows = self._rows[self._at :] if self._at else self._rows
        self._rows, self._at = [], 0
        return rows

    def __iter__(self) -> Iterator[Row]:
        while (row := self.fetchone()) is not None:
            yield row

    def close(self) -> None:
        """Forget the rows."""
        self._rows, self._at = [], 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ServerCursor(Cursor):
    """A cursor on the server: only the rows that are asked for come over."""

    def __init__(self, connection: Sender) -> None:
        super().__init__(connection)
        self._name = f"alchemy_{next(_numbers)}"
        self._ended = True

    def execute(self, statement: str | sql.Composable, parameters: object = None) -> None:
        """Declare it, and fetch its first rows in the same message."""
        self._take(self.connection.declare(self._name, statement, parameters, _FIRST_FETCH))
        self._ended = len(self._rows) < _FIRST_FETCH
        self.rowcount = -1  # nobody knows yet

    def fetchmany(self, size: int | None = None) -> list[Row]:
        """Give the next rows, at most so many; those that are missing are fetched in one round trip."""
        wanted = self.arraysize if size is None else size
        found = super().fetchmany(wanted)
        if len(found) < wanted and not self._ended:
            found += self._fetch(wanted - len(found))
        return found

    def fetchall(self) -> list[Row]:
        """Give all rows that are left."""
        found = super().fetchall()
        return found if self._ended else found + self._fetch(None)

    def _fetch(self, size: int | None) -> list[Row]:
        rows = self.connection.fetch(self._name, size)
        self._ended = size is None or len(rows) < size
        return rows

    def close(self) -> None:
        """Forget it; the server does at the end of the transaction."""
        super().close()
        self._ended = True


def _chunks(file: IO[Any], size: int) -> Iterator[bytes]:
    while chunk := file.read(size):
        yield chunk.encode() if isinstance(chunk, str) else chunk
