"""`AsyncSession`: SQL of your own, each call to be awaited.

Written by ``scripts/async_repositories.py`` from the synchronous session: change that, run it again.
It is one module, however long, because nobody writes it.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from typing import Any, LiteralString, TypeVar, overload

from pydantic import BaseModel

from database_handler.aio.calls import Calls, gathered
from database_handler.core.messages import Row, Statement
from database_handler.core.parameters import Parameters
from database_handler.core.session import Query, Session

__all__ = ["AsyncSession"]

M = TypeVar("M", bound=BaseModel)


class AsyncSession:
    """Runs SQL and says by the verb how many rows come back.

    Values are bound (``%s`` or ``%(name)s``), never part of the text. With ``row=Model`` each row becomes
    that model, validated, its fields taken from the columns of the same names.
    """

    def __init__(self, calls: Calls, session: Session) -> None:
        self.calls = calls
        self.sync = session

    @overload
    async def all(self, query: Query, parameters: Parameters = None) -> list[Row]: ...

    @overload
    async def all(self, query: Query, parameters: Parameters = None, *, row: type[M]) -> list[M]: ...

    async def all(
        self, query: Query, parameters: Parameters = None, *, row: type[M] | None = None
    ) -> list[Any]:
        """Return every row."""
        sync: Any = self.sync.all
        found: list[Any] = await self.calls.call(lambda: sync(query, parameters, row=row))
        return found

    @overload
    async def maybe(self, query: Query, parameters: Parameters = None) -> Row | None: ...

    @overload
    async def maybe(self, query: Query, parameters: Parameters = None, *, row: type[M]) -> M | None: ...

    async def maybe(self, query: Query, parameters: Parameters = None, *, row: type[M] | None = None) -> Any:
        """Return the only row, or None where there is none; two are an `AmbiguousRecord`."""
        sync: Any = self.sync.maybe
        found: Any = await self.calls.call(lambda: sync(query, parameters, row=row))
        return found

    @overload
    async def one(self, query: Query, parameters: Parameters = None) -> Row: ...

    @overload
    async def one(self, query: Query, parameters: Parameters = None, *, row: type[M]) -> M: ...

    async def one(self, query: Query, parameters: Parameters = None, *, row: type[M] | None = None) -> Any:
        """Return the only row; none is a `RecordNotFound`, two are an `AmbiguousRecord`."""
        sync: Any = self.sync.one
        found: Any = await self.calls.call(lambda: sync(query, parameters, row=row))
        return found

    async def run(self, query: Query, parameters: Parameters = None) -> int:
        """Run a statement for its effect and return how many rows it touched (0 where that means nothing)."""
        return await self.calls.call(lambda: self.sync.run(query, parameters))

    async def copy(
        self, statement: Statement | LiteralString, lines: Iterable[bytes] | AsyncIterable[bytes]
    ) -> int:
        """Send lines to a COPY ... FROM STDIN, and return how many rows were stored.

        A failure of `lines` itself comes out as it is; nothing is stored then.
        """
        given = await gathered(lines)
        return await self.calls.call(lambda: self.sync.copy(statement, given))

    @overload
    def stream(
        self, query: Query, parameters: Parameters = None, *, batch: int = ...
    ) -> AsyncGenerator[Row, None]: ...

    @overload
    def stream(
        self, query: Query, parameters: Parameters = None, *, batch: int = ..., row: type[M]
    ) -> AsyncGenerator[M, None]: ...

    def stream(
        self, query: Query, parameters: Parameters = None, *, batch: int = 1000, row: type[M] | None = None
    ) -> AsyncGenerator[Any, None]:
        """Iterate over a server-side cursor: at most `batch` rows are in memory.

        Outside a unit it holds a read-only transaction, and so a connection, until it is exhausted or closed.
        """
        sync: Any = self.sync.stream
        return self.calls.iterate(lambda: sync(query, parameters, batch=batch, row=row), batch)

    async def script(self, text: str) -> None:
        """Run trusted text of many statements, such as a migration's, without parameters or checks."""
        await self.calls.call(lambda: self.sync.script(text))
