"""Whose writes a reader of replicas finds: those of its thread, or, where calls are awaited, of its task."""

from collections.abc import Callable
from contextvars import ContextVar
from threading import local
from typing import Any, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

__all__ = ["Mine", "follow_task"]

T = TypeVar("T")
_of_task: ContextVar["WeakKeyDictionary[Mine[Any], Any] | None"] = ContextVar("_of_task", default=None)


def follow_task() -> None:
    """Have what is noted belong to the context of the caller from now on, whatever thread makes its calls.

    Called in a task: the threads that serve it run in copies of its context, which hold the same notes.
    """
    if _of_task.get() is None:
        _of_task.set(WeakKeyDictionary())


class _OfThread(local):
    note: object = None


class Mine(Generic[T]):
    """A note for each thread, or for each task; `make` makes an empty one."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._of_thread = _OfThread()

    def note(self) -> T:
        """Return the caller's."""
        notes = _of_task.get()
        if notes is not None:
            found: T | None = notes.get(self)
            if found is None:
                found = cast("T", notes.setdefault(self, self._make()))  # several threads may ask
            return found
        if self._of_thread.note is None:
            self._of_thread.note = self._make()
        return self._of_thread.note  # type: ignore[return-value]
