"""What an application may conclude from each of its writes, and whether the table agrees: a model of its own.

Workers append names that nobody else uses, and note of each attempt what they were told: that it is stored,
that it is not, or that this is not known. Meanwhile two lanes of faults run, one on the wire and one on the
server; which fault comes when follows from the seed. Afterwards `violations` compares the notes and the rows.
"""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from threading import Event
from typing import Any, Literal
from uuid import uuid4

from database_handler import Database, UnitOfWork
from database_handler.core.exceptions import CommitOutcomeUnknown, DatabaseHandlerError
from tests.support.faults import FaultProxy, FaultRelay, Way
from tests.support.own_server import OwnServer

__all__ = ["Attempt", "Lane", "ServerFaults", "WireFaults", "Worker", "violations"]

Outcome = Literal["ok", "failed", "unknown"]
How = Literal["create", "unit", "run"]
_POSSIBLE: dict[Outcome, set[int]] = {"ok": {1}, "failed": {0}, "unknown": {0, 1}}


@dataclass
class Attempt:
    """One write of an application's, and what it was told of it.

    Attributes
    ----------
    names : tuple of str
        What it wrote together.
    hooks : int
        How often what waited for its commit was run.
    told : str
        The error's class, where there was one.
    """

    how: How
    names: tuple[str, ...]
    outcome: Outcome = "ok"
    hooks: int = 0
    told: str = ""

    def wrong(self, rows: Counter[str]) -> str | None:
        """Say how the rows belie what was told; None where they agree."""
        counts = {rows[name] for name in self.names}
        hooks = self.outcome == "ok" and self.how != "create"
        if len(counts) == 1 and counts <= _POSSIBLE[self.outcome] and self.hooks == hooks:
            return None
        found = ", ".join(str(rows[name]) for name in self.names)
        return f"{self.how} was told {self.outcome} {self.told}, is there {found} times, hooks {self.hooks}"


def violations(attempts: Iterable[Attempt], rows: Iterable[str]) -> list[str]:
    """Return every way in which the table differs from what the workers were told."""
    counted = Counter(rows)
    known: set[str] = set()
    found = []
    for attempt in attempts:
        known.update(attempt.names)
        if wrong := attempt.wrong(counted):
            found.append(wrong)
    return found + [f"{name} was never asked for" for name in counted.keys() - known]


@dataclass
class Worker:
    """Appends names through one database, and notes what it was told."""

    database: Database
    choose: Random
    options: dict[str, Any] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)

    def run(self, over: Event) -> None:
        """Go on until it is over; only the library's own errors are an answer."""
        while not over.is_set():
            attempt = self.append(self.choose.choice(("create", "unit", "run")))
            if attempt.outcome != "ok":
                over.wait(0.01)  # as an application would not hammer on a server that is down

    def append(self, how: How) -> Attempt:
        """Make one attempt."""
        attempt = Attempt(how, tuple(uuid4().hex for _ in range(1 if how == "create" else 2)))
        self.attempts.append(attempt)
        try:
            self._send(attempt)
        except CommitOutcomeUnknown as unknown:
            attempt.outcome, attempt.told = "unknown", type(unknown).__name__
        except DatabaseHandlerError as failure:
            attempt.outcome, attempt.told = "failed", type(failure).__name__
        return attempt

    def _send(self, attempt: Attempt) -> None:
        def note() -> None:
            attempt.hooks += 1

        def work(unit: UnitOfWork) -> None:
            for name in attempt.names:
                unit.projects.create(name=name)
            unit.on_commit(note)

        if attempt.how == "create":
            self.database.projects.create(name=attempt.names[0])
        elif attempt.how == "run":
            self.database.run(work, **self.options)
        else:
            with self.database.unit_of_work(**self.options) as unit:
                work(unit)


# ---------------------------------------------------------------------------------------------------- faults


class Lane:
    """A row of faults, one at a time: every kind once, in an order of the seed's, then again.

    A fault that lasts is over before the next begins, and `run` leaves all as it was.
    """

    kinds: tuple[str, ...]
    longest = 1.5  # seconds that a fault lasts

    def __init__(self, choose: Random) -> None:
        self.choose = choose
        self.done: Counter[str] = Counter()

    def run(self, over: Event) -> None:
        """Go on until it is over."""
        while True:
            for kind in self.choose.sample(self.kinds, len(self.kinds)):
                if over.wait(self.choose.uniform(0.05, 0.3)):
                    return
                fault: Callable[[Event], None] = getattr(self, kind)
                fault(over)
                self.done[kind] += 1

    def last(self, over: Event) -> None:
        """Let a fault last."""
        over.wait(self.choose.uniform(0.05, self.longest))


class WireFaults(Lane):
    """What networks do, each time to one worker's connections."""

    kinds = ("reset", "cut", "cut_at_a_byte", "lost_statement", "silence", "stall", "delay")

    def __init__(self, choose: Random, proxies: list[FaultProxy]) -> None:
        super().__init__(choose)
        self._proxies = proxies

    def _proxy(self) -> FaultProxy:
        return self.choose.choice(self._proxies)

    def _ways(self) -> tuple[Way, ...]:
        ways: tuple[tuple[Way, ...], ...] = (("request",), ("reply",), ("request", "reply"))
        return self.choose.choice(ways)

    def reset(self, _: Event) -> None:
        self._proxy().reset()

    def cut(self, _: Event) -> None:
        self._proxy().cut()

    def cut_at_a_byte(self, _: Event) -> None:
        how = self.choose.choice((FaultRelay.cut, FaultRelay.reset))
        self._proxy().at(self._ways()[0], self.choose.randrange(1, 3000), how)

    def lost_statement(self, _: Event) -> None:
        self._proxy().lose(self._ways()[0], self.choose.choice(("COMMIT", "INSERT")))

    def silence(self, over: Event) -> None:
        self._for_a_while(self._proxy(), FaultProxy.drop, over)

    def stall(self, over: Event) -> None:
        self._for_a_while(self._proxy(), FaultProxy.freeze, over)

    def delay(self, over: Event) -> None:
        seconds = self.choose.uniform(0.01, 0.4)
        self._for_a_while(self._proxy(), lambda proxy, *ways: proxy.delay(seconds, *ways), over)

    def _for_a_while(self, proxy: FaultProxy, treat: Callable[..., None], over: Event) -> None:
        try:
            treat(proxy, *self._ways())
            self.last(over)
        finally:
            proxy.pass_on()


class ServerFaults(Lane):
    """What befalls servers: signals to a backend, a restart, a crash."""

    kinds = ("terminated", "frozen", "killed", "restarted", "crashed", "terminated", "frozen")

    def __init__(self, choose: Random, server: OwnServer, proxies: list[FaultProxy]) -> None:
        super().__init__(choose)
        self._server = server
        self._proxies = proxies

    def _send(self, number: signal.Signals) -> int:
        """Send a signal to one of the workers' backends, and return which; 0: there is none now."""
        connections = [each for proxy in self._proxies for each in list(proxy.connections)]
        backends = [each.backend for each in connections if self._server.runs(each.backend)]
        backend = self.choose.choice(backends) if backends else 0
        return backend if backend and _told(backend, number) else 0

    def terminated(self, _: Event) -> None:
        self._send(signal.SIGTERM)

    def killed(self, _: Event) -> None:
        self._send(signal.SIGKILL)

    def frozen(self, over: Event) -> None:
        if backend := self._send(signal.SIGSTOP):
            self.last(over)
            _told(backend, signal.SIGCONT)

    def restarted(self, over: Event) -> None:
        self._server.stop()
        self.last(over)
        self._server.start()

    def crashed(self, over: Event) -> None:
        self._server.crash()
        self._server.start()


def _told(process: int, number: signal.Signals) -> bool:
    """Send a signal; False: the process has just ended by itself."""
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return False
    return True
