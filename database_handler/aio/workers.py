"""A bounded set of threads for calls that block, and the way of each outcome back to its event loop.

There are as many threads as the pool has connections, so whoever waits for a thread waits for a connection
too: in the order it came, with the pool's limits, and without a thread of its own. A call that has not begun
can be withdrawn. The threads are daemons, so that a statement that hangs does not keep the interpreter from
ending, and no loop is kept: the same threads serve one `asyncio.run` after another, and several at once.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from enum import Enum
from itertools import count
from queue import SimpleQueue
from threading import Lock, Thread, current_thread
from time import monotonic
from typing import Any, Generic, TypeVar, cast
from weakref import WeakSet, finalize

from database_handler.core.exceptions import (
    DatabaseHandlerError,
    DatabaseUnavailable,
    DeadlineExceeded,
    PoolClosed,
    PoolOverloaded,
    PoolTimeout,
)
from database_handler.core.reader import follow_task

__all__ = ["Job", "State", "Workers", "aside"]

T = TypeVar("T")
_TOLD = 20  # holders that are named at most
_PREFIX = "database-handler-async"
_numbers = count(1)


class State(Enum):
    """How far a call has come."""

    QUEUED = "queued"
    RUNNING = "running"
    WITHDRAWN = "withdrawn"
    OVER = "over"


class Job(Generic[T]):
    """One call on its way to a thread, and its outcome; made in the task that waits for it.

    Attributes
    ----------
    future : asyncio.Future
        Done when there is something to look at; whoever is cancelled waits on with another one.
    thread : str
        The name of the thread that runs it; empty before.
    counted : bool
        Whether it was given to `Workers`, and not to a thread that is pinned already.
    cancelling : int
        How many requests to cancel it are on their way to the server.
    then : callable, optional
        Called with the job once it is over, in the thread that ended it.
    """

    __slots__ = (
        *("call", "cancelling", "context", "counted", "error", "future", "loop", "result", "since"),
        *("state", "task", "then", "thread"),
    )

    def __init__(self, call: Callable[[], T], context: Context | None = None) -> None:
        self.call = call
        if context is None:
            follow_task()  # a task finds on replicas what it wrote, whatever threads serve it
        self.context = context or copy_context()
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[None] = self.loop.create_future()
        self.task = asyncio.current_task()
        self.since = monotonic()
        self.state = State.QUEUED
        self.thread = ""
        self.counted = False
        self.cancelling = 0
        self.result: T | None = None
        self.error: BaseException | None = None
        self.then: Callable[[Job[Any]], object] | None = None

    @property
    def name(self) -> str:
        """The name of the task that waits for it."""
        return "no task" if self.task is None else self.task.get_name()

    @property
    def is_over(self) -> bool:
        """Whether it will do nothing more, here or on the server."""
        return self.state in (State.OVER, State.WITHDRAWN) and not self.cancelling

    def run(self) -> None:
        """Make the call, in a thread, and keep its outcome."""
        try:
            self.result = self.context.run(self.call)
        except BaseException as failure:  # noqa: BLE001  # the task is to hear of it
            self.error = failure

    def told(self) -> None:
        """Tell whoever waits for its end, in this thread and in the loop."""
        if self.then is not None:
            self.then(self)
        self.tell()

    def tell(self) -> None:
        """Have the loop look at it; from any thread. A loop that is closed needs to know nothing."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if not self.future.done():
            self.future.set_result(None)

    def outcome(self) -> T:
        """Return what came of it, or raise it."""
        error, self.error = self.error, None  # no cycle with the frames of its own traceback
        if error is None:
            return cast("T", self.result)
        try:
            raise error
        finally:
            del error


class Queue:
    """What the threads share; apart from `Workers`, so that they do not keep it alive."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.jobs: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self.running: set[Job[Any]] = set()
        self.unfinished = 0  # queued or running
        self.threads: list[Thread] = []

    def work(self) -> None:
        """Be a thread: one job after another, until there is a None."""
        while (job := self.jobs.get()) is not None:
            if self.begin(job):
                job.run()
                self.end(job)
            del job

    def begin(self, job: Job[Any]) -> bool:
        """Let this thread run a job, unless it was withdrawn."""
        with self.lock:
            if job.state is not State.QUEUED:
                return False
            job.state, job.thread = State.RUNNING, current_thread().name
            if job.counted:
                self.running.add(job)
        return True

    def begin_in(self, job: Job[Any], other: Job[Any]) -> None:
        """Let a job stand for a part of what runs already."""
        with self.lock:
            job.state, job.thread = State.RUNNING, other.thread

    def end(self, job: Job[Any]) -> None:
        """Note that a job is over, and tell who waits for it."""
        with self.lock:
            job.state = State.OVER
            if job.counted:
                self.running.discard(job)
                self.unfinished -= 1
        job.told()

    def stop(self) -> None:
        for _ in self.threads:
            self.jobs.put(None)


class Workers:
    """The threads; each is started when it is first needed.

    Parameters
    ----------
    most : int
        How many there may be.
    timeout : float
        Seconds that a call waits for one.
    max_waiting : int, optional
        So many may wait; one more is refused.
    """

    def __init__(self, most: int, timeout: float, max_waiting: int | None) -> None:
        self.most, self.timeout, self.max_waiting = most, timeout, max_waiting
        self.closed = False
        self.queue = Queue()
        self._end = finalize(self, self.queue.stop)
        self._end.atexit = False
        _all.add(self)

    def forget(self) -> None:
        """Start anew, in a forked child: the threads, and whoever held a lock, stayed in the parent."""
        self._end.detach()
        self.queue = Queue()
        self._end = finalize(self, self.queue.stop)
        self._end.atexit = False

    def submit(self, job: Job[Any]) -> bool:
        """Have a job run; return whether it has to wait for a thread.

        Raises
        ------
        PoolClosed
            The database is closed.
        PoolOverloaded
            `max_waiting` wait already.
        """
        queue = self.queue
        with queue.lock:
            waiting = queue.unfinished - self.most
            self._refuse(waiting)
            queue.unfinished += 1
            job.counted = True
            thread = self._another() if queue.unfinished > len(queue.threads) < self.most else None
        if thread is not None:
            self._start(thread)
        queue.jobs.put(job)
        return waiting >= 0

    def _refuse(self, waiting: int) -> None:
        if self.closed:
            raise PoolClosed
        if self.max_waiting is not None and waiting >= self.max_waiting:
            most = self.max_waiting
            raise PoolOverloaded(f"{waiting} tasks wait for a connection already; pool_max_waiting is {most}")

    def _another(self) -> Thread:
        thread = Thread(target=self.queue.work, name=f"{_PREFIX}-{next(_numbers)}", daemon=True)
        self.queue.threads.append(thread)
        return thread

    def _start(self, thread: Thread) -> None:
        try:
            thread.start()
        except RuntimeError:
            with self.queue.lock:
                self.queue.threads.remove(thread)
                if not self.queue.threads:
                    self.queue.unfinished -= 1
                    raise DatabaseUnavailable("no thread can be started") from None

    def withdraw(self, job: Job[Any], error: DatabaseHandlerError | None = None) -> bool:
        """Take back a job that has not begun; return whether it had not."""
        with self.queue.lock:
            if job.state is not State.QUEUED:
                return False
            job.state, job.error = State.WITHDRAWN, error
            self.queue.unfinished -= job.counted
        job.told()
        return True

    def give_up(self, job: Job[Any], seconds: float, *, late: bool = False) -> None:
        """End the wait of a job that has not begun in time; `late`: in the time that its unit has."""
        if job.state is not State.QUEUED:
            return
        told = self._holders(seconds)
        if late:
            self.withdraw(job, DeadlineExceeded(f"{told}; it was cut short by the deadline of this unit"))
        else:
            self.withdraw(job, PoolTimeout(told))

    def _holders(self, seconds: float) -> str:
        with self.queue.lock:
            jobs = sorted(self.queue.running, key=lambda job: job.since)
        now = monotonic()
        named = "; ".join(f"{job.name} ({job.thread}) for {now - job.since:.1f} s" for job in jobs[:_TOLD])
        free = f"no connection was free within {seconds:g} s"
        return f"{free}; {len(jobs)} of {self.most} are used by tasks: {named}"

    def close(self) -> None:
        """Take no more jobs, and refuse those that wait."""
        with self.queue.lock:
            self.closed = True
        while not self.queue.jobs.empty():
            with suppress(Exception):
                if (job := self.queue.jobs.get_nowait()) is not None:
                    self.withdraw(job, PoolClosed())

    def join(self, seconds: float) -> None:
        """End the threads, once their jobs are over; blocks for so long at most."""
        self.queue.stop()
        until = monotonic() + seconds
        for thread in self.queue.threads:
            thread.join(max(until - monotonic(), 0))


async def aside(call: Callable[[], T]) -> T:
    """Make a call in a thread of its own, for what is rare and must not wait for the others.

    A task that is cancelled leaves at once; the call goes on.
    """
    job = Job(call)

    def run() -> None:
        job.run()
        job.tell()

    Thread(target=run, name=f"{_PREFIX}-aside", daemon=True).start()
    await job.future
    return job.outcome()


_all: WeakSet[Workers] = WeakSet()


def _after_fork_in_child() -> None:
    for workers in list(_all):
        workers.forget()


os.register_at_fork(after_in_child=_after_fork_in_child)
