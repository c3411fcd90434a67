"""What an asynchronous repository is made of: where calls go, `create`, an application's own methods.

`awaited` and `iterated` make a method out of a synchronous one and keep its signature, so an application
writes one line for each: ``of = awaited(NoteRepository.of)``.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Iterator
from itertools import islice
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    cast,
    overload,
)
from uuid import UUID

from database_handler.core.base_model import Draft, Record
from database_handler.core.exceptions import InvalidValue
from database_handler.repositories import Repository

if TYPE_CHECKING:
    from database_handler.aio.repositories import AsyncRepository

__all__ = ["AsyncCreate", "Calls", "awaited", "fetched", "gathered", "iterated"]

P = ParamSpec("P")
D = TypeVar("D", bound=Draft)
R = TypeVar("R", bound=Record)
S = TypeVar("S", bound=Repository[Any, Any])
T = TypeVar("T")

BATCH = 1000  # items that an iteration brings from the thread at a time


class Calls(Protocol):
    """Where calls go: to any worker thread, or to that of a unit."""

    async def call(self, function: Callable[[], T]) -> T:
        """Make a call in a thread."""
        ...

    def iterate(self, make: Callable[[], Iterator[T]], batch: int = BATCH) -> AsyncGenerator[T, None]:
        """Iterate over what a call returns, all of it in one thread."""
        ...


async def gathered(items: Iterable[T] | AsyncIterable[T]) -> Iterable[T]:
    """Return items for a thread: those of an asynchronous iterable are waited for first."""
    if isinstance(items, AsyncIterable):
        return [item async for item in items]
    return items


class Make(Protocol):
    """Makes a call in a thread."""

    async def __call__(self, function: Callable[[], T], /) -> T: ...


async def fetched(
    call: Make, make: Callable[[], Iterator[T]], batch: int, ended: Callable[[Any], Awaitable[object]]
) -> AsyncGenerator[T, None]:
    """Yield what an iterator gives that lives in a thread, some at a time; `ended` sees to its end there."""
    rows: Iterator[T] | None = None
    try:
        given = rows = await call(make)
        while items := await call(lambda: list(islice(given, batch))):
            for item in items:
                yield item
    finally:
        await ended(getattr(rows, "close", None))


# ---------------------------------------------------------------------------------------------------- create


class BoundAsyncCreate(Generic[P, D, R]):
    """`create` of one repository."""

    def __init__(self, repository: "AsyncRepository[D, R]") -> None:
        self._repository = repository

    @overload
    async def __call__(self, draft: D, /, *, id: UUID | None = None) -> R: ...
    @overload
    async def __call__(self, *args: P.args, **fields: P.kwargs) -> R: ...
    async def __call__(self, *args: Any, **fields: Any) -> R:
        """Store one record and return it as it was stored.

        Parameters
        ----------
        draft : Draft
            What to store; or its fields as keywords.
        id : UUID, optional
            One that the caller made, so that a write whose reply was lost can be sent again.

        Raises
        ------
        InvalidValue
            The draft is refused; nothing was sent.
        DuplicateRecord, MissingReference, CheckFailed
            The database refused the row.
        CommitOutcomeUnknown
            Outside a unit: the connection was lost before the answer came.
        """
        return await self._repository.create_one(*args, **fields)


class AsyncCreate(Generic[P, D, R]):
    """Gives an asynchronous repository its `create`, with its draft's constructor as the keyword form."""

    def __init__(self, draft: Callable[P, D], record: type[R]) -> None:
        self._draft = draft
        self._record = record

    @overload
    def __get__(self, instance: None, owner: object) -> Self: ...
    @overload
    def __get__(self, instance: "AsyncRepository[D, R]", owner: object) -> BoundAsyncCreate[P, D, R]: ...
    def __get__(self, instance: "AsyncRepository[D, R] | None", owner: object) -> Any:
        """Bind to a repository."""
        return self if instance is None else BoundAsyncCreate[P, D, R](instance)


# ------------------------------------------------------------------------------- methods of an application's


class _Method(Generic[P, T]):
    """A method of a synchronous repository, to be called in a thread."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    def _of(self, instance: "AsyncRepository[Any, Any]") -> Callable[..., Any]:
        bound: Callable[..., Any] = self._method.__get__(instance.sync)
        return bound


class _Awaited(_Method[P, T]):
    """A synchronous method as one to be awaited."""

    @overload
    def __get__(self, instance: None, owner: object) -> Self: ...
    @overload
    def __get__(
        self, instance: "AsyncRepository[Any, Any]", owner: object
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, instance: "AsyncRepository[Any, Any] | None", owner: object) -> Any:
        """Bind to a repository."""
        if instance is None:
            return self
        method = self._of(instance)

        async def call(*args: P.args, **named: P.kwargs) -> T:
            return await instance.calls.call(lambda: cast("T", method(*args, **named)))

        return call


class _Iterated(_Method[P, T]):
    """A synchronous method that gives an iterator, as one to iterate over with ``async for``."""

    @overload
    def __get__(self, instance: None, owner: object) -> Self: ...
    @overload
    def __get__(
        self, instance: "AsyncRepository[Any, Any]", owner: object
    ) -> Callable[P, AsyncGenerator[T, None]]: ...
    def __get__(self, instance: "AsyncRepository[Any, Any] | None", owner: object) -> Any:
        """Bind to a repository."""
        if instance is None:
            return self
        method = self._of(instance)

        def iterate(*args: P.args, **named: P.kwargs) -> AsyncGenerator[T, None]:
            return instance.calls.iterate(lambda: method(*args, **named))

        return iterate


def awaited(method: Callable[Concatenate[S, P], T]) -> _Awaited[P, T]:
    """Return a method of a synchronous repository, ``NoteRepository.of``, as one to be awaited."""
    return _Awaited(_method(method))


def iterated(method: Callable[Concatenate[S, P], Iterator[T]]) -> _Iterated[P, T]:
    """Return a method of a synchronous repository that gives an iterator, as one for ``async for``."""
    return _Iterated(_method(method))


def _method(method: Any) -> Callable[..., Any]:
    if not callable(method) or not hasattr(method, "__get__"):
        raise InvalidValue(
            f"a method of a Repository is wanted, as NoteRepository.of, not a {type(method).__name__}"
        )
    return cast("Callable[..., Any]", method)
