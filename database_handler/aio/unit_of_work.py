"""`AsyncRepositories`, the list of entities, and `AsyncUnitOfWork`, a transaction that belongs to a task."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, suppress
from inspect import isawaitable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload
from uuid import UUID
from weakref import ReferenceType, WeakKeyDictionary, ref

from database_handler.aio.calls import BATCH, Calls, fetched
from database_handler.aio.dispatch import Pinned, Serve
from database_handler.aio.repositories import (
    AsyncLinkRepository,
    AsyncProjectRepository,
    AsyncRepository,
    AsyncSummaryRepository,
    AsyncTextSourceRepository,
    AsyncTranslationRepository,
    AsyncVideoRepository,
)
from database_handler.aio.session import AsyncSession
from database_handler.aio.workers import Job, State
from database_handler.core.exceptions import AfterCommitFailed, InvalidValue, ReleasedConnection
from database_handler.core.reader import follow_task
from database_handler.repositories import Repository
from database_handler.repositories.search import Everything, SearchPage
from database_handler.unit_of_work import Repositories, UnitOfWork
from database_handler.utils.logger import get_logger

if TYPE_CHECKING:
    import typing_extensions

__all__ = [
    "ALREADY_OPEN",
    "AsyncEntity",
    "AsyncRepositories",
    "AsyncUnitOfWork",
    "OpenTasks",
    "PinnedCalls",
    "Unentered",
    "lived",
]

A = TypeVar("A", bound=AsyncRepository[Any, Any])
T = TypeVar("T")
_log = get_logger(__name__)

ALREADY_OPEN = (
    "this task has a unit of work open already; pass it on, or ask for a part of it that can be undone by "
    "itself with uow.savepoint() or db.unit_of_work(savepoint=True)"
)
_OTHER_TASK = (
    "a unit of work belongs to the task that opened it, and does one thing at a time: await its calls one "
    "after another; gather, create_task and, before Python 3.12, wait_for make other tasks (asyncio.timeout "
    "does not)"
)


class AsyncEntity(Generic[A]):
    """Gives `db.projects` and `uow.projects` as the same class over the owner's calls."""

    def __init__(self, repository: type[A]) -> None:
        if not (isinstance(repository, type) and issubclass(repository, AsyncRepository)):
            raise InvalidValue(f"AsyncEntity takes a class below AsyncRepository, not {repository!r:.100}")
        if not hasattr(repository, "repository"):
            raise InvalidValue(
                f"{repository.__name__} does not say which repository it stands for: repository = ..."
            )
        self.repository = repository

    @overload
    def __get__(self, instance: None, owner: object) -> Self: ...
    @overload
    def __get__(self, instance: "AsyncRepositories", owner: object) -> A: ...
    def __get__(self, instance: "AsyncRepositories | None", owner: object) -> Self | A:
        """Make the repository for the owner's calls."""
        if instance is None:
            return self
        follow_task()  # here, before `gather` makes tasks of the calls: who awaits them finds what they wrote
        sync, kind = instance.sync, self.repository
        return kind(instance.calls, kind.repository(sync.session, sync.project_id, sync.resources))


class AsyncRepositories:
    """The entities: an application adds its own in a subclass, one line each.

    ``class AsyncNewsroom(AsyncRepositories): notes = AsyncEntity(AsyncNoteRepository)``; it is then a base of
    the application's unit of work and of its database, beside `AsyncUnitOfWork` and `AsyncDatabase`.

    Parameters
    ----------
    calls : Calls
        Where the calls of all of them go.
    sync : Repositories
        The synchronous database or unit of work that they are made on.
    """

    projects = AsyncEntity(AsyncProjectRepository)
    text_sources = AsyncEntity(AsyncTextSourceRepository)
    summaries = AsyncEntity(AsyncSummaryRepository)
    translations = AsyncEntity(AsyncTranslationRepository)
    videos = AsyncEntity(AsyncVideoRepository)
    links = AsyncEntity(AsyncLinkRepository)

    def __init__(self, calls: Calls, sync: Repositories) -> None:
        self.calls = calls
        self.sync = sync

    @property
    def session(self) -> AsyncSession:
        """What SQL of your own is sent through."""
        follow_task()
        return AsyncSession(self.calls, self.sync.session)

    async def search(
        self,
        query: str,
        *,
        project_id: UUID | str | None = None,
        language: str | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> SearchPage[Everything]:
        """Search text sources, summaries and translations at once, ranked together, in one round trip.

        The parameters are those of each repository's own `search`.
        """
        return await self.calls.call(
            lambda: self.sync.search(
                query, project_id=project_id, language=language, limit=limit, after=after
            )
        )

    @classmethod
    def entities(cls) -> dict[str, type[Repository[Any, Any]]]:
        """Return the synchronous repository classes by name, in the order of the list."""
        found: dict[str, type[Repository[Any, Any]]] = {}
        for owner in reversed(cls.__mro__):
            found |= {
                name: each.repository.repository
                for name, each in vars(owner).items()
                if isinstance(each, AsyncEntity)
            }
        return found


# ---------------------------------------------------------------------------------------------------- units


class OpenTasks:
    """The unit that each task has open; a task inherits nothing from the one that made it."""

    def __init__(self) -> None:
        # Weak on both sides: a unit knows its task, and one that was dropped is to be rolled back.
        self._units: WeakKeyDictionary[asyncio.Task[Any], ReferenceType[AsyncUnitOfWork[Any]]] = (
            WeakKeyDictionary()
        )

    def of_this_task(self) -> "AsyncUnitOfWork[Any] | None":
        """Return that of the running task."""
        if not self._units or (task := asyncio.current_task()) is None:
            return None
        unit = self._units.get(task)
        return None if unit is None else unit()

    def add(self, task: asyncio.Task[Any], unit: "AsyncUnitOfWork[Any]") -> None:
        """Note that a task opened one."""
        self._units[task] = ref(unit)

    def remove(self, task: asyncio.Task[Any], unit: "AsyncUnitOfWork[Any]") -> None:
        """Note that it is over."""
        known = self._units.get(task)
        if known is not None and known() is unit:
            del self._units[task]


class PinnedCalls:
    """The calls of one unit: from its task alone, in its thread."""

    def __init__(self, pinned: Pinned) -> None:
        self.pinned = pinned
        self.task: asyncio.Task[Any] | None = None
        self.is_open = False

    async def call(self, function: Callable[[], T]) -> T:
        """Make a call in the unit's thread."""
        if asyncio.current_task() is not self.task:
            raise InvalidValue(_OTHER_TASK)
        if not self.is_open:
            raise ReleasedConnection("this unit of work is over; open another")
        return await self.pinned.call(function)

    def iterate(self, make: Callable[[], Iterator[T]], batch: int = BATCH) -> AsyncGenerator[T, None]:
        """Iterate in the unit's thread."""
        return fetched(self.call, make, batch, self._iterated)

    async def _iterated(self, close: Callable[[], object] | None) -> None:
        """Close an iterator, in whatever task that is seen to; a unit that is over has done so."""
        if close is not None and self.is_open:
            with suppress(ReleasedConnection):
                await self.pinned.call(close)


# As for `Database`: `AsyncUnitOfWork` alone stands for `UnitOfWork`.
if TYPE_CHECKING:
    S_co = typing_extensions.TypeVar("S_co", bound=UnitOfWork, default=UnitOfWork, covariant=True)
else:
    S_co = TypeVar("S_co", bound=UnitOfWork, covariant=True)


class AsyncUnitOfWork(AsyncRepositories, Generic[S_co]):
    """One transaction: it commits on a clean exit and rolls back on an error, and when its task is cancelled.

    It belongs to the task that opened it, and has one thread for all of its statements; that one, and a
    connection, is taken when the first statement is sent.

    An application's own, ``class AsyncNewsroomUnit(AsyncNewsroom, AsyncUnitOfWork[NewsroomUnit])``, says
    which synchronous unit `call` hands over.
    """

    sync: S_co
    calls: PinnedCalls

    def __init__(self, calls: PinnedCalls, sync: S_co, tasks: OpenTasks) -> None:
        super().__init__(calls, sync)
        self._tasks = tasks
        self._on_commit: list[Callable[[], object]] = []
        self._undone = False

    @property
    def is_open(self) -> bool:
        """Whether it was entered, and not left."""
        return self.calls.is_open

    async def call(self, work: Callable[[S_co], T]) -> T:
        """Run a function that takes the synchronous `UnitOfWork`, in this unit's thread: many calls in one.

        It may do anything that is done with a unit but open or end one.
        """
        _refuse_uncallable("call", work)
        return await self.calls.call(lambda: work(self.sync))

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[Self]:
        """Open a block that is undone by itself when it fails; the unit goes on.

        What the block gave to `on_commit` is forgotten with it.
        """
        waiting = len(self._on_commit)
        block = self.sync.savepoint()
        await self.calls.call(block.__enter__)
        try:
            yield self
        except BaseException as error:
            del self._on_commit[waiting:]
            await self._left(block, error)
            raise
        await self.calls.call(lambda: block.__exit__(None, None, None))

    async def _left(self, block: Any, error: BaseException) -> None:
        trace = error.__traceback__
        try:
            await self.calls.call(lambda: block.__exit__(type(error), error, trace))
        except BaseException as raised:
            if raised is not error:
                raise

    def deadline(self, seconds: float) -> None:
        """Let the whole unit end within `seconds` from now, COMMIT included; never later than said before."""
        self.sync.deadline(seconds)

    async def rollback(self) -> None:
        """Undo everything; the unit is over, and its clean exit commits nothing."""
        self._undone = True
        if self.calls.pinned.begun:
            await self.calls.call(self.sync.rollback)
        else:
            self.calls.is_open = False

    def on_commit(self, call: Callable[[], Awaitable[object] | object]) -> None:
        """Have `call` run in the event loop after the COMMIT, awaited if it can be; never after a rollback.

        All of them run; the first failure is the cause of an `AfterCommitFailed`, which causes no retry.
        """
        _refuse_uncallable("on_commit", call)
        if self._undone or not self.is_open:
            raise ReleasedConnection("this unit of work is over; nothing will be run after it")
        self._on_commit.append(call)

    # ------------------------------------------------------------------------- for `AsyncDatabase`'s use

    def enter(self) -> Self:
        """Open it, for the running task."""
        calls, task = self.calls, asyncio.current_task()
        if task is None:
            raise InvalidValue("a unit of work belongs to a task: open it in a coroutine that asyncio runs")
        if calls.is_open or calls.task is not None:
            raise ReleasedConnection("this unit of work was used already; open another")
        if self._tasks.of_this_task():
            raise InvalidValue(ALREADY_OPEN)
        calls.task, calls.is_open = task, True
        self._tasks.add(task, self)
        return self

    def leave(self) -> None:
        """Take no more calls."""
        self.calls.is_open = False
        if self.calls.task is not None:
            self._tasks.remove(self.calls.task, self)

    async def exit(self, error: BaseException | None) -> None:
        """Commit or roll back, give connection and thread back, then run what waits for the commit."""
        self.leave()
        pinned = self.calls.pinned
        if error is None and not pinned.begun and self.sync.session.listeners.all:
            await pinned.call(lambda: None)  # so that whoever watches hears of it
        try:
            await pinned.end(error)
        except asyncio.CancelledError:
            if error is None:
                await self.run_hooks_of_cancelled(pinned.job)
            raise
        if error is None:
            await self.run_hooks()

    async def run_hooks_of_cancelled(self, job: Job[Any] | None) -> None:
        """Where the COMMIT went through all the same, run what waits for it; its failures are in the log."""
        if job is not None and job.state is State.OVER and job.error is None:
            with suppress(AfterCommitFailed):
                await self.run_hooks()

    async def run_hooks(self) -> None:
        """Run what waits for the commit, unless nothing was committed."""
        failures: list[Exception] = []
        for call in [] if self._undone else self._on_commit:
            try:
                given = call()
                if isawaitable(given):
                    await given
            except Exception as failure:  # noqa: BLE001  # the others run all the same
                failures.append(failure)
                _log.error("unit_of_work.on_commit_failed", error=type(failure).__name__)
        if failures:
            raise AfterCommitFailed from failures[0]


def _refuse_uncallable(name: str, call: object) -> None:
    if not callable(call):
        raise InvalidValue(f"{name} takes something to call, not a {type(call).__name__}")


U = TypeVar("U", bound=AsyncUnitOfWork[Any])


class Unentered(AbstractAsyncContextManager[U]):
    """A unit that ``async with`` opens."""

    def __init__(self, unit: U) -> None:
        self._unit = unit

    async def __aenter__(self) -> U:
        """Open the unit; nothing is sent yet."""
        return self._unit.enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit or roll back."""
        await self._unit.exit(error)

    if not TYPE_CHECKING:  # type checkers know that it has no repositories

        def __getattr__(self, name: str) -> object:
            if name.startswith("_"):
                raise AttributeError(name)
            raise InvalidValue("this unit of work is not open: async with db.unit_of_work() as uow: ...")


def lived(unopened: AbstractContextManager[object]) -> Callable[[Serve], Any]:
    """Return the life of a unit's thread: the synchronous unit, open around the calls."""

    def life(serve: Serve) -> Any:
        with unopened:
            return serve()

    return life
