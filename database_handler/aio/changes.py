"""`AsyncChangeFeed`: the feed of changes for ``async for``, in a thread of its own beside the pool's."""

import asyncio
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Self

from database_handler.aio.session import AsyncSession
from database_handler.aio.workers import Job, State, aside
from database_handler.core.exceptions import InvalidValue, ReleasedConnection

if TYPE_CHECKING:
    from database_handler.core.changes import RowChange
    from database_handler.operations.changes import ChangeFeed

__all__ = ["AsyncChangeFeed"]


class AsyncChangeFeed:
    """Iterates over changes as they are committed; `AsyncDatabase.changes` makes it.

    It belongs to one task. Leave its ``async with``, or call `close`, to give its connection back. A task
    that is cancelled leaves at once, and no change is lost: what comes meanwhile is given next.
    """

    def __init__(self, feed: "ChangeFeed") -> None:
        self.sync = feed
        self._asked: Job[RowChange | None] | None = None
        self._last: RowChange | None = None
        self._waits = self._over = False

    def __del__(self) -> None:
        self.sync.leave()

    async def __aenter__(self) -> Self:
        """Begin: what is committed from here on is among the changes."""
        await aside(self.sync.__enter__)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """End the iteration, and the connection that listens; who waits for a change hears of none."""
        self._over = True
        if self._asked is None:
            await aside(self.sync.close)
        else:
            self.sync.leave()  # the thread that waits closes it
            self._asked.tell()

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> "RowChange":
        """Return the next change, or end when none came within `wait`."""
        if self._over:
            raise ReleasedConnection("this feed is closed; ask for another with db.changes()")
        if self._waits:
            raise InvalidValue("a feed belongs to one task, and gives one change after another")
        self._waits = True
        try:
            change = await self._next()
        finally:
            self._waits = False
        if change is None:
            raise StopAsyncIteration
        self._last = change
        return change

    async def _next(self) -> "RowChange | None":
        asked = self._asked = self._asked or _asked(self.sync)
        asked.loop = asyncio.get_running_loop()
        asked.future = asked.loop.create_future()  # a task that was cancelled took the one before with it
        if not asked.is_over:
            await asked.future
        if not asked.is_over:  # closed by another task
            return None
        self._asked = None
        return asked.outcome()

    @property
    def position(self) -> str | None:
        """Where to go on with `after`: the last change that was given; None before, and for notices."""
        return None if self._last is None else self._last.position

    async def acknowledge(
        self, change: "RowChange | None" = None, *, session: AsyncSession | None = None
    ) -> None:
        """Keep that all changes up to this one are done, or up to the last that was given.

        Parameters
        ----------
        session : AsyncSession, optional
            A unit's, ``uow.session``: the place is kept with what the unit writes.

        Raises
        ------
        InvalidValue
            The feed has no reader's name, or gave no change yet.
        RecordNotFound
            The reader was forgotten meanwhile.
        """
        done = self._last if change is None else change
        if done is None:
            raise InvalidValue("no change was given yet, so there is none to acknowledge")
        if session is None:
            await aside(lambda: self.sync.acknowledge(done))
            return
        if not isinstance(session, AsyncSession):
            raise InvalidValue("session is that of a unit: uow.session")
        await session.calls.call(lambda: self.sync.acknowledge(done, session=session.sync))


def _asked(feed: "ChangeFeed") -> "Job[RowChange | None]":
    """Ask for the next change, in a thread that closes the feed where nobody wants it any more."""
    job: Job[RowChange | None] = Job(lambda: next(feed, None))

    def run() -> None:
        job.run()
        if feed.left:
            feed.close()
        job.state = State.OVER
        job.tell()

    Thread(target=run, name="database-handler-changes", daemon=True).start()
    return job
