"""Runs a unit whose work is awaited, and runs it again where that may help, by `Database.run` in a thread."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from time import monotonic
from typing import Any, Generic, NoReturn, TypeVar, cast

from database_handler.aio.dispatch import Dispatcher, Pinned, Serve, tell_truth
from database_handler.aio.unit_of_work import AsyncUnitOfWork
from database_handler.aio.workers import Job, State
from database_handler.core.deadline import checked_seconds
from database_handler.core.exceptions import InvalidValue
from database_handler.database import Database
from database_handler.unit_of_work import UnitOfWork

__all__ = ["Run"]

T = TypeVar("T")


def _never() -> NoReturn:
    """Stand in for the call of a phase: it is waited for like a job, and ended by whoever runs the unit."""
    raise AssertionError


class Run(Generic[T]):
    """One `AsyncDatabase.run`: the tries are made by `Database.run` in a thread, their work in this task.

    A phase is what the task waits for in between: the thread opens the next unit, or is over with the last.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        database: Database[Any],
        unit: Callable[[Pinned, UnitOfWork], AsyncUnitOfWork[Any]],
        work: Callable[[Any], Awaitable[T]],
        named: dict[str, Any],
    ) -> None:
        self._dispatcher, self._database, self._unit = dispatcher, database, unit
        self._work, self._named = work, named
        checked_seconds("deadline", named.get("deadline"))
        self._asked = monotonic()
        self._pinned = Pinned(self._dispatcher, self._life, within=named.get("deadline"))
        self._failed: BaseException | None = None
        self._phase = self._next_phase()

    def _next_phase(self) -> Job[UnitOfWork]:
        return Job[UnitOfWork](_never)

    # -------------------------------------------------------------------------------- in the worker thread

    def _life(self, serve: Serve) -> T:
        self._dispatcher.workers.queue.begin(self._phase)
        named = self._named
        if isinstance(deadline := named.get("deadline"), int | float):  # the wait for the thread counts too
            named = {**named, "deadline": max(deadline - (monotonic() - self._asked), 0.001)}
        run: Any = self._database.run
        found: T = run(lambda unit: self._opened(serve, unit), **named)
        return found

    def _opened(self, serve: Serve, unit: UnitOfWork) -> Any:
        phase = self._phase
        phase.result = unit
        self._dispatcher.workers.queue.end(phase)
        return serve()

    def _over(self) -> None:
        phase, queue = self._phase, self._dispatcher.workers.queue
        if phase.state is State.QUEUED:
            self._dispatcher.workers.withdraw(phase)
        elif phase.state is State.RUNNING:
            queue.end(phase)

    # ------------------------------------------------------------------------------------------ in the task

    async def outcome(self) -> T:
        """Return what the last try gave."""
        life = self._pinned.start(self._over)
        unit: AsyncUnitOfWork[Any] | None = None
        try:
            while (sync := await self._waited(life, unit)) is not None:
                opened: AsyncUnitOfWork[Any] = self._unit(self._pinned, sync)
                unit = opened
                await self._tried(opened)
        finally:
            self._pinned.began()
            self._pinned.finish(error=GeneratorExit())  # for where this coroutine is closed halfway
        given = cast("T", life.outcome())
        if unit is not None:
            await unit.run_hooks()
        return given

    async def _tried(self, unit: AsyncUnitOfWork[Any]) -> None:
        unit.enter()
        try:
            waited = self._work(unit)
            if not isawaitable(waited):
                raise InvalidValue("run takes a coroutine function; for one that does not wait there is call")
            given = await waited
        except GeneratorExit:
            unit.leave()
            raise
        except BaseException as error:  # noqa: BLE001  # the thread raises it, and judges it
            self._told(unit, error=error)
        else:
            self._told(unit, result=given)

    def _told(
        self, unit: AsyncUnitOfWork[Any], result: object = None, error: BaseException | None = None
    ) -> None:
        unit.leave()
        self._failed = error
        self._phase = self._next_phase()
        if self._pinned.job is not None:
            self._dispatcher.workers.queue.begin_in(self._phase, self._pinned.job)
        self._pinned.finish(result, error)

    async def _waited(self, life: Job[Any], unit: AsyncUnitOfWork[Any] | None) -> UnitOfWork | None:
        """Wait for the next unit; None: there is no other."""
        phase, commits = self._phase, unit is not None and self._failed is None
        try:
            if isinstance(self._failed, asyncio.CancelledError):
                await self._dispatcher.undone(phase)
            else:
                await self._dispatcher.settled(phase, stop=not commits)
        except asyncio.CancelledError as cancelled:
            await self._abandoned(life, phase, cancelled)
            if unit is not None and commits:
                tell_truth(life, cancelled)
                await unit.run_hooks_of_cancelled(life)
            raise
        return phase.result

    async def _abandoned(self, life: Job[Any], phase: Job[UnitOfWork], cancelled: BaseException) -> None:
        """See to the end of a life that this task no longer wants: no other try is to be made."""
        if self._dispatcher.workers.withdraw(life) or life.is_over:
            return
        self._pinned.finish(error=cancelled)  # which the next unit ends with, where there is one
        if phase.result is not None:
            await self._dispatcher.undone(life)
