"""What a cache may cost: one limit for all questions of an operation, and a pause after one that failed."""

from collections.abc import Callable
from random import uniform
from threading import Lock
from time import monotonic
from typing import TypeVar

from database_handler.core.cache_server import CacheDown

__all__ = ["Breaker", "Counters", "Limit"]

T = TypeVar("T")


class Counters:
    """The figures of `CacheStats`, exact under threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.figures: dict[str, int] = {}

    def add(self, name: str, number: int = 1) -> None:
        """Count so many more."""
        if number:
            with self._lock:
                self.figures[name] = self.figures.get(name, 0) + number


class Breaker:
    """Keeps a cache that failed from being asked for a while; then one question is the trial."""

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._lock = Lock()
        self._until = 0.0  # 0: it is asked

    @property
    def open(self) -> bool:
        """Whether the cache is left alone."""
        return self._until > 0

    def allows(self) -> bool:
        """Tell whether the cache may be asked; of many callers after the pause, only one may."""
        if not self._until:
            return True
        with self._lock:
            if monotonic() < self._until:
                return False
            self._until = monotonic() + self._pause
            return True

    def succeeded(self) -> None:
        """Note an answer."""
        if self._until:
            self._until = 0.0

    def failed(self) -> bool:
        """Note a failure; tell whether it is the first."""
        first = not self._until
        self._until = monotonic() + self._pause * uniform(0.5, 1.5)  # noqa: S311  # not a secret
        return first


class Limit:
    """The seconds that all questions of one operation have together."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    def spend(self, ask: Callable[[float], T]) -> T:
        """Ask within what is left; `CacheDown` where nothing is."""
        if self._left <= 0:
            raise CacheDown("it took longer than its limit")
        started = monotonic()
        try:
            return ask(self._left)
        finally:
            self._left -= monotonic() - started
