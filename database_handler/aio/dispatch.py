"""Sends calls to worker threads, and stops on the server what a task no longer waits for.

Whoever is cancelled gets its `CancelledError` when the call is over, or after a bound, never while the call
still runs unknown to anybody:

* a call that has not begun is withdrawn;
* a statement that runs is cancelled with ``pg_cancel_backend``, over a connection of its own, again and again
  until the call is over; the connection it ran on is closed, so that a cancel that arrives late hits nobody
  else's statement;
* behind a pooler, which makes process numbers up, the protocol's own request is sent, that it passes on;
* where the server does not react within `_GRACE` seconds (it is frozen), the connection is cut;
* what is no statement (reading a file, making a model) cannot be stopped: after the bound the task leaves it
  behind, its thread is busy until it ends, and a warning is logged.

A COMMIT is not cancelled: the task waits for its outcome, so that it is known.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from queue import SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, TypeVar

from database_handler.aio.workers import Job, State, Workers
from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import ConnectionPool
from database_handler.core.exceptions import DatabaseHandlerError, ReleasedConnection
from database_handler.core.reader import follow_task
from database_handler.utils.logger import get_logger

if TYPE_CHECKING:
    from database_handler.core.cancel_request import CancelRequest

__all__ = ["Dispatcher", "Pinned", "Serve", "tell_truth"]

T = TypeVar("T")
_log = get_logger(__name__)

_GRACE = 3.0  # seconds that the server has to react to a cancel, before the connection is cut
_CUT = 1.0  # seconds that a call has to end after that, before it is left behind
_COMMIT = 30.0  # seconds that a cancelled task waits for the outcome of its COMMIT
_PAUSES = 0.01, 0.25  # seconds between requests to cancel: first, longest
_ABSENT = object()
_LEFT_BEHIND = (
    "a call of this unit of work was cancelled and did not end in time; nothing of it will be stored"
)

Serve = Callable[[], Any]
"""What the life of a pinned thread calls: it makes calls until the end, and gives or raises that."""


class _Canceller:
    """A thread that has the server cancel what the given jobs run, for as long as there are any."""

    def __init__(self, pools: Sequence[ConnectionPool], workers: Workers) -> None:
        self._pools, self._workers = pools, workers
        self._jobs: set[Job[Any]] = set()
        self._thread: Thread | None = None
        self._bell = Event()

    def stop(self, job: Job[Any]) -> None:
        """Cancel what a job runs, from now on and until it is over."""
        with self._workers.queue.lock:
            self._jobs.add(job)
            if self._thread is None:
                self._thread = Thread(target=self._run, name="database-handler-canceller", daemon=True)
                self._thread.start()
        self._bell.set()

    def _run(self) -> None:
        pause, longest = _PAUSES
        while jobs := self._found():
            self._cancel(jobs)
            if self._bell.wait(pause):
                self._bell.clear()
                pause = _PAUSES[0]
            else:
                pause = min(pause * 2, longest)

    def _found(self) -> list[Job[Any]]:
        with self._workers.queue.lock:
            self._jobs = {job for job in self._jobs if job.state is State.RUNNING}
            if not self._jobs:
                self._thread = None
            return list(self._jobs)

    def _cancel(self, jobs: list[Job[Any]]) -> None:
        running: list[tuple[ConnectionPool, list[int | CancelRequest]]] = []
        with self._workers.queue.lock:  # while it is held no job ends, so what its thread holds is the job's
            asked = [job for job in jobs if job.state is State.RUNNING]
            for job in asked:
                running += [(pool, pool.interrupt(job.thread)) for pool in self._pools]
                job.cancelling += 1
        try:
            for pool, found in running:
                if found:
                    # A failure is asked again, and in the end the connection is cut.
                    with suppress(DatabaseHandlerError):
                        pool.cancel(found)
        finally:
            self._done(asked)

    def _done(self, asked: list[Job[Any]]) -> None:
        with self._workers.queue.lock:
            for job in asked:
                job.cancelling -= 1
            over = [job for job in asked if job.is_over]
        for job in over:
            job.tell()


class Dispatcher:
    """Sends the calls of one database.

    Parameters
    ----------
    pool : ConnectionPool
        Whose connections the calls borrow.
    config : DatabaseConfig
        Its settings.
    beside : sequence of ConnectionPool
        Those of its replicas.
    """

    def __init__(
        self, pool: ConnectionPool, config: DatabaseConfig, beside: Sequence[ConnectionPool] = ()
    ) -> None:
        self.pools = (pool, *beside)
        self.workers = Workers(pool.maxconn, config.pool_timeout, config.pool_max_waiting)
        self._canceller = _Canceller(self.pools, self.workers)

    async def run(self, call: Callable[[], T]) -> T:
        """Make a call in any of the threads."""
        job = Job(call)
        timer = self.submit(job)
        try:
            await self.settled(job)
        finally:
            if timer is not None:
                timer.cancel()
        return job.outcome()

    def submit(self, job: Job[Any], within: float | None = None) -> asyncio.TimerHandle | None:
        """Send a job; return what ends its wait for a thread, where it has to wait."""
        if not self.workers.submit(job):
            return None
        most = self.workers.timeout
        late = within is not None and within < most
        seconds = within if within is not None and late else most
        return job.loop.call_later(seconds, partial(self.workers.give_up, job, seconds, late=late))

    async def settled(self, job: Job[Any], *, stop: bool = True) -> None:
        """Wait until a job is over, and see to its end when this task is cancelled meanwhile.

        Parameters
        ----------
        stop : bool
            False lets it come to its end by itself: its outcome must be known.
        """
        try:
            await job.future
        except asyncio.CancelledError:
            await self.ended(job, stop=stop)
            raise

    async def undone(self, job: Job[Any]) -> None:
        """Wait until a job is over that undoes what was done, in a task that was cancelled already."""
        if not await _over(job, _GRACE):
            await self.ended(job, stop=True)

    async def ended(self, job: Job[Any], *, stop: bool) -> None:
        """See to the end of a job, however often this task is cancelled meanwhile."""
        if self.workers.withdraw(job):
            return
        if stop:
            self._canceller.stop(job)
        if await _over(job, _GRACE if stop else _COMMIT):
            return
        with self.workers.queue.lock:
            if job.state is State.RUNNING:
                for pool in self.pools:
                    pool.cut(job.thread)
        if not await _over(job, _CUT if stop else _GRACE):
            _log.warning("async.call_left_behind", task=job.name, thread=job.thread)


async def _over(job: Job[Any], seconds: float) -> bool:
    """Wait for a job, whatever else this task is told meanwhile; return whether it is over."""
    until = job.loop.time() + seconds
    while not job.is_over and job.loop.time() < until:
        job.future = job.loop.create_future()
        timer = job.loop.call_at(until, job._wake)
        with suppress(asyncio.CancelledError):  # the first one is raised when this is done
            await job.future
        timer.cancel()
    return job.is_over


class _End:
    """What ends a round of calls in a pinned thread: what it is to return, or to raise."""

    def __init__(self, result: object = None, error: BaseException | None = None) -> None:
        self.result, self.error = result, error


class _PinnedCall(Job[T]):
    """A call that runs in the context of its thread's life, with what its task changed since that began."""

    __slots__ = ("base",)

    def __init__(self, call: Callable[[], T], base: Context) -> None:
        super().__init__(call)
        self.base = base

    def run(self) -> None:
        """Make the call, and keep its outcome."""
        base, own = self.base, self.context
        changed = [(name, own[name]) for name in own if base.get(name, _ABSENT) is not own[name]]
        self.context = copy_context()
        for name, value in changed:
            self.context.run(name.set, value)
        super().run()


class _Line:
    """The calls on their way to a pinned thread; apart from `Pinned`, which the thread is not to keep."""

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self.calls: SimpleQueue[Job[Any] | _End] = SimpleQueue()
        self.over = False

    def send(self, call: Job[Any]) -> None:
        """Have a call made."""
        with self.workers.queue.lock:
            if not self.over:
                self.calls.put(call)
                return
        raise ReleasedConnection("this unit of work is over; open another")

    def serve(self) -> Any:
        """Make the calls that come, in this thread, until the end that it is told."""
        queue = self.workers.queue
        while not isinstance(call := self.calls.get(), _End):
            if queue.begin(call):
                call.run()
                queue.end(call)
            del call
        if call.error is not None:
            raise call.error
        return call.result

    def closed(self, life: Job[Any]) -> None:
        """When the life is over: whoever still waits for a call hears why."""
        with self.workers.queue.lock:
            self.over = True
        failure = life.error if isinstance(life.error, DatabaseHandlerError) else None
        while not self.calls.empty():
            call = self.calls.get()
            if isinstance(call, Job):
                self.workers.withdraw(call, failure or ReleasedConnection("this unit of work is over"))


class Pinned:
    """Calls that all run in one thread, one after another, as those of a unit of work must.

    The thread is taken when the first call is made, and given back when its life is over. Dropped before its
    end, it ends as a generator does.

    Parameters
    ----------
    life : callable
        What the thread does: it is given `Serve`, and calls it where calls are to be made.
    within : float, optional
        Seconds that the first call waits for a thread, where that is less than the pool's.
    """

    def __init__(
        self, dispatcher: Dispatcher, life: Callable[[Serve], Any], within: float | None = None
    ) -> None:
        self._dispatcher = dispatcher
        self._line = _Line(dispatcher.workers)
        self._life = life
        self._within = within
        follow_task()
        self._base = copy_context()
        self._timer: asyncio.TimerHandle | None = None
        self._left_behind = False
        self.job: Job[Any] | None = None

    def __del__(self) -> None:
        if self.job is not None:
            self._line.calls.put(_End(error=GeneratorExit()))

    @property
    def begun(self) -> bool:
        """Whether there is a thread, or one was asked for."""
        return self.job is not None

    def start(self, then: Callable[[], object] = lambda: None) -> Job[Any]:
        """Take the thread, or begin to wait for it; `then` is called once its life is over."""
        life, line = self._life, self._line
        # The life changes its context; the base stays, to tell what a call's task changed since.
        job: Job[Any] = Job(lambda: life(line.serve), self._base.copy())

        def over(life: Job[Any]) -> None:
            line.closed(life)
            then()

        job.then = over
        self._timer = self._dispatcher.submit(job, self._within)
        self.job = job
        return job

    async def call(self, function: Callable[[], T]) -> T:
        """Make a call in the thread."""
        if self._left_behind:
            raise ReleasedConnection(_LEFT_BEHIND)
        job = _PinnedCall(function, self._base)
        self._line.send(job)
        if self.job is None:
            self.start()
        try:
            await self._dispatcher.settled(job)
        except asyncio.CancelledError:
            self._left_behind = not job.is_over
            raise
        finally:
            self.began()
        return job.outcome()

    def began(self) -> None:
        """Wait no longer for a thread: it was had, or is not wanted."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def finish(self, result: object = None, error: BaseException | None = None) -> None:
        """Tell the thread to return from `Serve`, or to raise from it."""
        self._line.calls.put(_End(result, error))

    async def end(self, error: BaseException | None = None) -> Any:
        """Have the life end, as if what it serves had raised this error, and return what it returned.

        Without an error it is left to come to its end, whoever cancels this task: it may be a COMMIT.
        """
        job = self.job
        if job is None:
            return None
        self.finish(error=error or (ReleasedConnection(_LEFT_BEHIND) if self._left_behind else None))
        if self._left_behind and error is None:
            raise ReleasedConnection(_LEFT_BEHIND)
        # A coroutine that is being closed cannot wait: its thread ends by itself.
        if self._left_behind or isinstance(error, GeneratorExit):
            return None
        if self._dispatcher.workers.withdraw(job):  # it has not begun, so nothing was done
            return None
        try:
            if isinstance(error, asyncio.CancelledError):
                await self._dispatcher.undone(job)
            else:
                await self._dispatcher.settled(job, stop=error is not None)
        except asyncio.CancelledError as cancelled:
            if error is None:
                tell_truth(job, cancelled)
            raise
        if job.error is not None and job.error is error:
            return None
        return job.outcome()


def tell_truth(job: Job[Any], cancelled: asyncio.CancelledError) -> None:
    """Say what became of the COMMIT during which a task was cancelled: in the log, and at the error."""
    if job.state is not State.OVER:
        told = "its COMMIT has no answer yet"
    elif job.error is None:
        told = "the unit of work was committed"
    else:
        told = f"the unit of work failed: {type(job.error).__name__}"
        cancelled.__cause__ = job.error
    cancelled.add_note(f"the task was cancelled while it ended a unit of work; {told}")
    log = _log.info if job.state is State.OVER and job.error is None else _log.warning
    log("async.cancelled_at_commit", task=job.name, outcome=told)
