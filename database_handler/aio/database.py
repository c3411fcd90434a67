"""`AsyncDatabase`: the same database for asyncio, over as many threads as its pool has connections.

It is one module, over 300 lines, because it is the one list of what can be awaited of a database.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from copy import copy
from datetime import timedelta
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar, Unpack, cast, get_args
from uuid import UUID

from database_handler.aio.calls import BATCH, fetched
from database_handler.aio.dispatch import Dispatcher, Pinned
from database_handler.aio.tries import Run
from database_handler.aio.unit_of_work import (
    ALREADY_OPEN,
    AsyncRepositories,
    AsyncUnitOfWork,
    OpenTasks,
    PinnedCalls,
    Unentered,
    lived,
)
from database_handler.aio.workers import aside
from database_handler.config.cache import CacheConfig
from database_handler.config.database import DatabaseConfig
from database_handler.config.files import FilesConfig
from database_handler.config.settings import Settings
from database_handler.core.connection import ConnectionPool
from database_handler.core.events import Observer
from database_handler.core.exceptions import ConfigurationError, InvalidValue, ReleasedConnection
from database_handler.database import Database, UnitOptions
from database_handler.unit_of_work import UnitOfWork
from database_handler.utils.arguments import checked

if TYPE_CHECKING:  # imported where they are used, which in most programs is nowhere
    import typing_extensions

    from database_handler.aio.changes import AsyncChangeFeed
    from database_handler.content.store import FileStore
    from database_handler.core.replicas import ReplicaStatus
    from database_handler.migrations import MigrationReport
    from database_handler.operations.health import Health

__all__ = ["AsyncDatabase"]

T = TypeVar("T")
# As for `Database`: `AsyncDatabase` alone is one of `AsyncUnitOfWork`.
if TYPE_CHECKING:
    U_co = typing_extensions.TypeVar(
        "U_co", bound=AsyncUnitOfWork[Any], default=AsyncUnitOfWork, covariant=True
    )
    D_co = typing_extensions.TypeVar("D_co", bound=Database[Any], default=Database, covariant=True)
else:
    U_co = TypeVar("U_co", bound=AsyncUnitOfWork, covariant=True)
    D_co = TypeVar("D_co", bound=Database, covariant=True)

_HAS_UNIT = (
    "this task has a unit of work open: use uow.*, or, to send outside of it on purpose, "
    "db.repositories(outside_unit=True)"
)


class _LooseCalls:
    """The calls outside of units: each in any thread."""

    def __init__(self, dispatcher: Dispatcher, tasks: OpenTasks, *, outside_unit: bool = False) -> None:
        self._dispatcher, self._tasks, self._outside_unit = dispatcher, tasks, outside_unit

    async def call(self, function: Callable[[], T]) -> T:
        """Make a call in a thread."""
        self._refuse_inside()
        return await self._dispatcher.run(function)

    def _refuse_inside(self) -> None:
        if not self._outside_unit and self._tasks.of_this_task():
            raise InvalidValue(_HAS_UNIT)

    def iterate(self, make: Callable[[], Iterator[T]], batch: int = BATCH) -> AsyncGenerator[T, None]:
        """Iterate in one thread, which it has until it is exhausted or closed."""
        self._refuse_inside()
        pinned = Pinned(self._dispatcher, lambda serve: serve())

        async def ended(close: Callable[[], object] | None) -> None:
            with suppress(ReleasedConnection):  # the thread is gone, or will be when its call ends
                try:
                    if close is not None:
                        await pinned.call(close)
                finally:
                    await pinned.end()

        return fetched(pinned.call, make, batch, ended)


class AsyncDatabase(AsyncRepositories, Generic[U_co, D_co]):
    """A database whose every call is awaited; it connects when it is first used.

    It is a `Database` in worker threads, as many as the pool has connections. What has no counterpart here is
    done with `call`: ``await db.call(lambda database: database.advise())``. A task that is cancelled has its
    statement cancelled on the server before it goes on.

    An application with entities of its own makes a subclass, ``class AsyncNewsroomDatabase(AsyncNewsroom,
    AsyncDatabase[AsyncNewsroomUnit, NewsroomDatabase])``: of its units, and of the class it stands for.

    Attributes
    ----------
    database_class : type of Database
        The synchronous class that it stands for.
    database : Database
        The synchronous database; it may be used too, from threads, and shares the pool.

    Parameters
    ----------
    config : DatabaseConfig, str or Database
        The settings, or a ``postgresql://`` URL, or a database that was made already.
    files : FilesConfig or FileStore, optional
        As for `Database`.
    cache : CacheConfig or str, optional
        As for `Database`.

    Examples
    --------
    >>> async with AsyncDatabase("postgresql://localhost/films") as db:
    ...     async with db.unit_of_work() as uow:
    ...         project = await uow.projects.create(name="Launch film")
    """

    database_class: ClassVar[type[Database[Any]]] = Database
    _unit_class: ClassVar[type[AsyncUnitOfWork[Any]]] = AsyncUnitOfWork

    if not TYPE_CHECKING:  # type checkers know the default of the second

        def __class_getitem__(cls, arguments: Any) -> Any:
            alone = cls is AsyncDatabase and not isinstance(arguments, tuple)
            return super().__class_getitem__((arguments, Database) if alone else arguments)

    def __init_subclass__(cls, **options: Any) -> None:
        """Take the classes from the type arguments; all have the entities of `database_class`."""
        super().__init_subclass__(**options)
        cls._unit_class = _told(cls, AsyncUnitOfWork) or cls._unit_class
        if "database_class" not in vars(cls):
            cls.database_class = _told(cls, Database) or cls.database_class
        for other in (cls._unit_class, cls.database_class):
            _refuse_other_entities(cls, other)

    def __init__(
        self,
        config: DatabaseConfig | str | Database[Any],
        *,
        files: "FilesConfig | FileStore | None" = None,
        cache: CacheConfig | str | None = None,
    ) -> None:
        self.database: D_co = cast("D_co", _database(self.database_class, config, files, cache))
        self._dispatcher = Dispatcher(self.database.pool, self.database.config, self.database.replica_pools)
        self._tasks = OpenTasks()
        super().__init__(_LooseCalls(self._dispatcher, self._tasks), self.database)

    @classmethod
    @checked
    def from_settings(cls, settings: Settings | None = None) -> Self:
        """Make one from ``DATABASE_URL`` or ``DB_*``: environment, then ``.env``, then YAML."""
        return cls(cls.database_class.from_settings(settings))

    @classmethod
    async def embedded(
        cls,
        path: str | PathLike[str],
        *,
        durable: bool = True,
        files: "FilesConfig | FileStore | None" = None,
        cache: CacheConfig | str | None = None,
        **changes: Any,
    ) -> Self:
        """Make one on a PostgreSQL of its own, whose data is kept below `path`; as `Database.embedded`."""
        made = cls.database_class.embedded
        return cls(await aside(lambda: made(path, durable=durable, files=files, cache=cache, **changes)))

    @property
    def config(self) -> DatabaseConfig:
        """The settings."""
        return self.database.config

    @property
    def pool(self) -> ConnectionPool:
        """The pool; its `stats` never wait."""
        return self.database.pool

    # --------------------------------------------------------------------------------------------- sending

    @checked
    def repositories(
        self, *, outside_unit: bool = False, replica: bool = False, after: str | None = None
    ) -> Self:
        """Return the repositories that send each statement by itself.

        Parameters
        ----------
        outside_unit : bool
            True lets a task use them that has a unit open, beside that unit: on another connection,
            which sees nothing of what the unit has not committed.
        replica, after : bool, str, optional
            As for `Database.repositories`: reads at a replica; it is the task that finds what it wrote.
        """
        database = self.database.repositories(replica=replica, after=after)
        if not outside_unit and database is self.database:
            return self
        other = copy(self)
        other.database = other.sync = database
        if outside_unit:
            other.calls = _LooseCalls(self._dispatcher, self._tasks, outside_unit=True)
        return other

    async def position(self) -> str:
        """Return a token for ``after=``, as `Database.position` does."""
        return await self.calls.call(self.database.position)

    @checked
    def for_project(self, project_id: UUID) -> Self:
        """Return the repositories that send each statement by itself, held to one project; its units too."""
        held = copy(self)
        held.database = held.sync = self.database.for_project(project_id)
        return held

    async def call(self, work: Callable[[D_co], T]) -> T:
        """Run a function that takes the synchronous `Database`, in a worker thread.

        The thread takes one of the pool's turns for as long as it runs; it may open units.
        """
        if not callable(work):
            raise InvalidValue(f"call takes something to call, not a {type(work).__name__}")
        return await self.calls.call(lambda: work(self.database))

    def unit_of_work(
        self, *, savepoint: bool = False, **options: Unpack[UnitOptions]
    ) -> AbstractAsyncContextManager[U_co]:
        """Open a unit: it commits on a clean exit and rolls back on an error.

        Parameters
        ----------
        savepoint : bool
            Inside an open unit of this task, be a savepoint of that; otherwise that is an error.
        **options
            Those of `Database.unit_of_work`.

        Raises
        ------
        TransactionAborted
            On exit: a statement failed and the failure was swallowed; nothing is stored.
        CommitOutcomeUnknown
            On exit: the connection was lost at COMMIT, and the server could not be asked.
        DeadlineExceeded
            In it or on exit: the deadline has passed; nothing is stored.
        PoolTimeout
            In it: no connection was free in time.
        """
        if (unit := self._tasks.of_this_task()) is not None:
            return self._nested(unit, savepoint, options)
        unopened: Any = self.database.unit_of_work(**options)
        deadline = unopened._unit._transaction.deadline
        pinned = Pinned(self._dispatcher, lived(unopened), within=deadline.within(None))
        return Unentered(self._unit(pinned, unopened._unit))

    def _unit(self, pinned: Pinned, sync: UnitOfWork) -> U_co:
        unit: Any = self._unit_class(PinnedCalls(pinned), sync, self._tasks)
        return cast("U_co", unit)  # `_unit_class` is the type argument

    @staticmethod
    def _nested(
        unit: AsyncUnitOfWork[Any], savepoint: bool, options: UnitOptions
    ) -> AbstractAsyncContextManager[Any]:
        if not savepoint:
            raise InvalidValue(ALREADY_OPEN)
        if options:
            raise InvalidValue(f"a savepoint takes no {', '.join(options)}: these are the whole unit's")
        return unit.savepoint()

    async def run(
        self,
        work: Callable[[U_co], Awaitable[T]],
        *,
        retries: int = 3,
        retry_lock_timeouts: bool = False,
        idempotency_key: str | None = None,
        returns: Any = None,
        **options: Unpack[UnitOptions],
    ) -> T:
        """Run a whole unit, and run it again where that may help: a lost race, a lost connection.

        `work` is awaited once a try, each time with a new unit, so it should do nothing but database work.
        It has its thread and waits in it between two tries. The parameters are those of `Database.run`.

        Raises
        ------
        RetriesExhausted
            It failed `retries` + 1 times; the last failure is the cause.
        DeadlineExceeded
            The deadline has passed; nothing is stored.
        DatabaseHandlerError
            A failure that another try would not mend, as it is; an unknown outcome is one without a key.
        """
        if not callable(work):
            raise InvalidValue(f"run takes a coroutine function, not a {type(work).__name__}")
        if self._tasks.of_this_task():
            raise InvalidValue(ALREADY_OPEN)
        named: dict[str, Any] = {
            "retries": retries,
            "retry_lock_timeouts": retry_lock_timeouts,
            "idempotency_key": idempotency_key,
            "returns": returns,
            **options,
        }
        return await Run(self._dispatcher, self.database, self._unit, work, named).outcome()

    # ------------------------------------------------------------------------------------------ the database

    async def create_if_missing(self) -> bool:
        """Create the database on its server when it is not there; return whether it was created."""
        return await aside(self.database.create_if_missing)

    async def migrate(self, target: str | None = None, *, or_newer: bool = False) -> "MigrationReport":
        """Bring the schema to the newest version, or to `target`; as `Database.migrate`.

        A migration that has begun goes on when its task is cancelled.
        """
        return await aside(lambda: self.database.migrate(target, or_newer=or_newer))

    async def health(
        self,
        *,
        seconds: float = 2.0,
        max_waiting: int | None = None,
        max_replica_lag: float | None = 30.0,
    ) -> "Health":
        """Return how the database is; it waits for no thread. It takes what `Database.health` takes."""
        return await aside(
            lambda: self.database.health(
                seconds=seconds, max_waiting=max_waiting, max_replica_lag=max_replica_lag
            )
        )

    def changes(
        self,
        project_id: UUID | None = None,
        kinds: Iterable[str] | None = None,
        *,
        after: str | None = None,
        reader: str | None = None,
        wait: float | None = None,
        poll: float = 0.5,
    ) -> "AsyncChangeFeed":
        """Return an asynchronous iterator over changes of rows; as `Database.changes`."""
        from database_handler.aio.changes import AsyncChangeFeed

        feed = self.database.changes(project_id, kinds, after=after, reader=reader, wait=wait, poll=poll)
        return AsyncChangeFeed(feed)

    async def replicas(self) -> "tuple[ReplicaStatus, ...]":
        """Ask the replicas how they are; as `Database.replicas`. It waits for no thread."""
        return await aside(self.database.replicas)

    async def forget_idempotency_keys(self, *, older_than: timedelta) -> int:
        """Delete the keys that `run` wrote longer ago than that; as `Database.forget_idempotency_keys`."""
        return await self.calls.call(lambda: self.database.forget_idempotency_keys(older_than=older_than))

    def observe(self, observer: Observer, *, name: str | None = None) -> None:
        """Let an observer hear of every statement, unit and retry, in the threads that they happen in."""
        self.database.observe(observer, name=name)

    async def close(self) -> None:
        """Refuse what waits, let what runs finish or cut it at the limit, end the threads and the pool."""
        self._dispatcher.workers.close()
        await aside(self._close)

    def _close(self) -> None:
        try:
            self.database.close()
        finally:
            self._dispatcher.workers.join(_JOIN)

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config.url()!r})"


_JOIN = 1.0  # seconds that the threads have to end once the pool is closed


def _database(
    kind: type[Database[Any]],
    config: DatabaseConfig | str | Database[Any],
    files: "FilesConfig | FileStore | None",
    cache: CacheConfig | str | None,
) -> Database[Any]:
    if not isinstance(config, Database):
        return kind(config, files=files, cache=cache)
    if not isinstance(config, kind):
        raise InvalidValue(f"a {kind.__name__} is wanted, not a {type(config).__name__}")
    if files is not None or cache is not None:
        raise InvalidValue("files and cache are given to the Database that was made already")
    return config


def _told(kind: type[AsyncDatabase[Any, Any]], bound: type[T]) -> type[T] | None:
    """Return the type argument of this kind that a class gives to `AsyncDatabase`, but for the default."""
    for base in vars(kind).get("__orig_bases__", ()):
        for argument in get_args(base):
            if isinstance(argument, type) and issubclass(argument, bound) and argument is not Database:
                return argument
    return None


def _refuse_other_entities(kind: type[AsyncRepositories], other: Any) -> None:
    ours, theirs = kind.entities(), other.entities()
    if ours == theirs:
        return
    named = sorted(ours.keys() ^ theirs.keys()) or ["the classes of repositories"]
    raise ConfigurationError(
        f"{kind.__name__} and {other.__name__} differ in {', '.join(named)}: declare the entities in one "
        "subclass of AsyncRepositories that is a base of the units and of the database, and say "
        "database_class = the Database with the same entities"
    )
