"""Every public callable of the library, found by reflection, and arguments that no caller should give it."""

import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, is_dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Any

from database_handler import AsyncUnitOfWork, Record, Repositories, Repository
from database_handler.repositories.files import Files, UnitFiles
from database_handler.testing import EntityFactory

__all__ = ["CANARY", "HOSTILE", "NAMES", "CallersOwn", "Public", "public_callables"]

MODULES = (
    "database_handler",
    "database_handler.config",
    "database_handler.content",
    "database_handler.embedded",
    "database_handler.integrations.sqlalchemy",
    "database_handler.migrations",
    "database_handler.operations.changes",
    "database_handler.operations.monitoring",
    "database_handler.operations.schema_documents",
    "database_handler.testing",
    "database_handler.utils.validators",
)
# What only the library calls, and what has neither a table nor members of its own.
NOT_CALLED = {
    "AsyncDatabase.embedded",  # `Database.embedded` in a thread
    "ChangeFeed",  # `Database.changes` makes them
    "Choice",
    "EmbeddedServer",  # `EmbeddedServer.start` makes them
    "MetricsServer",  # `serve` makes them
    "Outbox",  # `Database.outbox` is one, and tells by the two below
    "OutboxReader",
    "OutboxReport",
    "Repositories",
    "Repository",
    "Session",
    "Tokens.unchecked",
    "UnitOfWork",  # `Database.unit_of_work` makes them
}
CANARY = "Wörds of a row"  # no message may hold it


class CallersOwn(Exception):
    """A failure of what the caller gave; it comes out as it is."""


class Unspeakable:
    """Neither its text nor its repr can be had, so that no message can hold them."""

    def __repr__(self) -> str:
        raise RuntimeError("a message was made of the value itself")

    __str__ = __repr__


class Anything:
    """A class that is made of anything."""

    def __init__(self, *args: object, **named: object) -> None:
        self.given = args, named


def raising() -> Iterator[object]:
    yield CANARY
    raise CallersOwn


def list_of_itself() -> list[Any]:
    made: list[Any] = []
    made.append(made)
    return made


def dict_of_itself() -> dict[str, Any]:
    made: dict[str, Any] = {}
    made["itself"] = made
    return made


def nested() -> list[Any]:
    made: list[Any] = []
    for _ in range(10_000):
        made = [made]
    return made


NESTED = nested()  # nobody changes it, and it takes long to make


# Each is made anew for each call: a generator is used up, and a list may be changed.
HOSTILE: dict[str, Callable[[], object]] = {
    "None": lambda: None,
    "object": object,
    "unspeakable": Unspeakable,
    "dict": lambda: {"name": CANARY},
    "empty dict": dict,
    "list": lambda: [CANARY],
    "empty list": list,
    "bytes": CANARY.encode,
    "float": lambda: 1.5,
    "bool": lambda: True,
    "digits": lambda: "42",
    "function": lambda: lambda *args, **named: None,
    "class": lambda: Anything,
    "-1": lambda: -1,
    "0": lambda: 0,
    "2**31": lambda: 2**31,
    "2**63": lambda: 2**63,
    "2**64": lambda: 2**64,
    "10**400": lambda: 10**400,
    "10**5000": lambda: 10**5000,  # Python refuses to write it in decimal
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-inf": lambda: float("-inf"),
    "0.0001": lambda: 0.0001,
    "empty": lambda: "",
    "blank": lambda: " ",
    "NUL": lambda: "\0",
    "surrogate": lambda: "a\ud800",
    "long": lambda: CANARY * 700,
    "SQL": lambda: "'; DROP TABLE projects; --",
    "formats": lambda: "%s%(x)s{0}{x}",
    "path": lambda: "../../etc/passwd",
    "bidi": lambda: "\u202e",
    "new line": lambda: "a\nb",
    "list of None": lambda: [None],
    "mixed list": lambda: [1, "a", None, b"", object()],
    "list of lists": lambda: [[CANARY], []],
    "raising": raising,
    "list of itself": list_of_itself,
    "dict of itself": dict_of_itself,
    "dict of numbers": lambda: {1: 2, None: 3},
    "nested": lambda: NESTED,
}
# Where one function is public at several places (each entity's `get_by_id`), the others get these; so does
# what takes long where it takes what it is given.
SOME = (
    *("None", "object", "dict", "bytes", "digits", "-1", "10**400", "nan", "NUL", "surrogate", "long", "SQL"),
    *("raising", "nested"),
)
SLOW = ("Database.embedded", "EmbeddedServer.start", "MigrationManager.")
FOLDERS = ("digits", "blank", "SQL", "formats", "path", "bidi", "new line")  # good names of new folders
# As the names of keywords, where a callable takes any.
NAMES = ("", "\0", "a\ud800", "no_such", "__class__", "x" * 10_000, "id; DROP TABLE projects; --", "%s")


@dataclass(frozen=True)
class Public:
    """One public callable.

    Attributes
    ----------
    owner : class, optional
        The class that the method is looked up on; None for a function and a constructor.
    over : str, optional
        The entity, of a repository's method.
    again : bool
        Whether it is another place of a function that is tested with everything.
    """

    name: str
    call: Callable[..., object]
    owner: type | None = None
    over: str | None = None
    again: bool = False

    def __str__(self) -> str:
        return self.name

    @cached_property
    def parameters(self) -> dict[str, inspect.Parameter]:
        found = dict(inspect.signature(self.call).parameters)
        if self.owner is not None and not inspect.ismethod(self.call):
            del found[next(iter(found))]  # self
        return found

    def hostile(self, parameter: str) -> Iterable[str]:
        """Return the names of what a parameter is to be given."""
        if parameter == "path" and self.name.startswith(SLOW):
            return [kind for kind in HOSTILE if kind not in FOLDERS]
        return SOME if self.again or self.name.startswith(SLOW) else HOSTILE


def public_callables() -> list[Public]:
    """Return them all, each once."""
    found: dict[Any, Public] = {}
    functions: set[Any] = set()
    for each in _all():
        function = getattr(each.call, "__func__", each.call)
        if each.name not in NOT_CALLED and (each.call, each.over) not in found and each.parameters:
            stored = inspect.isclass(each.call) and issubclass(each.call, Record)  # a draft and four fields
            found[each.call, each.over] = replace(each, again=function in functions or stored)
            functions.add(function)
    return list(found.values())


def _all() -> Iterator[Public]:
    for module in map(importlib.import_module, MODULES):
        home = module.__name__.removeprefix("database_handler").removeprefix(".")
        for name in module.__all__:
            value = getattr(module, name)
            # Each entity's own repository and factory are tested, not the classes above them.
            # An asynchronous unit lives in a task: test_asyncio.py tries what is wrong there.
            if value not in (Repository, EntityFactory, AsyncUnitOfWork):
                yield from _of(f"{home}.{name}" if inspect.isfunction(value) and home else name, value)
    for name, repository in Repositories.entities().items():
        yield from _methods(name, repository, over=name)
    for kind in (Files, UnitFiles):
        yield from _methods(kind.__name__, kind)


def _of(name: str, value: Any) -> Iterator[Public]:
    if inspect.isfunction(value):
        yield Public(name, value)
    if not inspect.isclass(value) or issubclass(value, BaseException):
        return  # errors are raised by the library, not made by a caller
    if not _takes_anything(value):
        yield Public(name, _member_of(value) if issubclass(value, Enum) else value)
    yield from _methods(name, value)


def _member_of(kind: type[Enum]) -> Callable[[Any], Enum]:
    """Stand for an enum's call with one value, without the other forms that Python gives to it."""

    def member(value: Any) -> Enum:
        return kind(value)

    return member


def _takes_anything(kind: type) -> bool:
    """Tell of values that come out of calls: plain dataclasses and tuples, whose making checks nothing."""
    plain = is_dataclass(kind) and not hasattr(kind, "__post_init__") and "__init__" in vars(kind)
    return plain or issubclass(kind, tuple) or getattr(kind, "_is_protocol", False)


def _methods(name: str, kind: type, over: str | None = None) -> Iterator[Public]:
    for method in dir(kind):
        owner = next((each for each in kind.__mro__ if method in vars(each)), object)
        call = getattr(kind, method)
        own = owner.__module__.startswith("database_handler")
        if own and not method.startswith("_") and callable(call) and not inspect.isclass(call):
            yield Public(f"{name}.{method}", call, kind, over)
