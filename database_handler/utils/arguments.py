"""A public call refuses an argument of a type that its annotation does not name, before it does anything.

Type checkers hold a caller to the annotations; a caller without one gets the same answer at run time, as an
`InvalidValue`. What a list, an iterator or a mapping holds is looked at too, one level deep.
"""

import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from types import NoneType, SimpleNamespace
from typing import (
    Annotated,
    Any,
    Literal,
    LiteralString,
    ParamSpec,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from database_handler.utils.errors import InvalidValue

__all__ = ["checked"]

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Rule:
    """What is taken: values of some classes, or classes below one; and what a value of them holds."""

    kinds: tuple[type, ...]
    below: type | None = None
    held: tuple["_Rule | None", ...] = ()  # items; or keys and values

    @property
    def told(self) -> str:
        if self.below is not None:
            return f"a class below {self.below.__name__}"
        return " or ".join("None" if kind is NoneType else kind.__name__ for kind in self.kinds)

    @property
    def exact(self) -> frozenset[type]:
        return frozenset() if self.held or self.below else frozenset(self.kinds)

    def takes(self, value: object) -> bool:
        """Tell whether a value is of the kinds; ``bool`` is no number, and a text no list of texts."""
        if type(value) in self.kinds:
            return self.below is None or not isinstance(value, type) or issubclass(value, self.below)
        if isinstance(value, bool):
            return False
        if isinstance(value, str | bytes | bytearray):
            return isinstance(value, tuple(kind for kind in self.kinds if not _holds_items(kind)))
        return isinstance(value, self.kinds)


def checked(call: Callable[P, T]) -> Callable[P, T]:
    """Have a function refuse arguments of other types than its annotations name.

    An iterator is read into a list, so that its items can be looked at. An annotation that is known to type
    checkers only (imported under ``TYPE_CHECKING``) is not looked at.

    Raises
    ------
    InvalidValue
        Names the function, the parameter, what it takes, and the type that it was given.
    """
    function = cast("types.FunctionType", call)
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    rules: dict[str, _Rule | None] = {}
    exact: dict[
        str, frozenset[type] | None
    ] = {}  # where a value of one of these classes needs no closer look

    def fits(given: Iterable[tuple[str, object]]) -> bool:
        for name, value in given:
            kinds = exact.get(name)
            if kinds is not None and type(value) not in kinds:
                return False
        return True

    @wraps(call)
    def taking(*args: P.args, **named: P.kwargs) -> T:
        if not exact:  # at the first call, when all that the annotations name is there
            rules.update(_rules_of(function))
            exact.update({name: rule.exact if rule else None for name, rule in rules.items()})
        if fits(zip(names, args, strict=False)) and fits(named.items()):
            return call(*args, **named)
        where = function.__qualname__.removesuffix(".__init__")
        taken = [
            _taken(where, name, rules.get(name), value) for name, value in zip(names, args, strict=False)
        ]
        also = {name: _taken(where, name, rules.get(name), value) for name, value in named.items()}
        return function(*taken, *args[len(names) :], **also)  # type: ignore[no-any-return]

    return taking


def _taken(where: str, name: str, rule: _Rule | None, value: Any) -> Any:
    if rule is None:
        return value
    if not rule.takes(value):
        raise InvalidValue(f"{where}: {name} takes {rule.told}, not {type(value).__name__}")
    if not rule.held or value is None or isinstance(value, str | bytes | bytearray):
        return value
    items = list(value) if isinstance(value, Iterator) else value
    columns = (value, value.values()) if isinstance(value, Mapping) else (items,)
    for held, column in zip(rule.held, columns, strict=False):
        if held is not None and (wrong := [item for item in column if not held.takes(item)]):
            raise InvalidValue(f"{where}: {name} holds {held.told}, not {type(wrong[0]).__name__}")
    return items


def _holds_items(kind: type) -> bool:
    return kind.__module__ == "collections.abc" and issubclass(kind, Iterable)


def _rules_of(function: types.FunctionType) -> Iterator[tuple[str, _Rule | None]]:
    yield "return", None
    for name, annotation in function.__annotations__.items():
        if name != "return":
            yield name, _rule(_evaluated(function, annotation))


def _evaluated(function: types.FunctionType, annotation: object) -> object:
    alone: Any = SimpleNamespace(__annotations__={"it": annotation}, __globals__=function.__globals__)
    try:
        return get_type_hints(alone)["it"]
    except NameError:
        return Any


def _rule(annotation: Any) -> _Rule | None:
    """Return what an annotation takes; None where that is anything, or more than can be told."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return _either([_rule(part) for part in arguments])
    if origin is Annotated:
        return _rule(arguments[0])
    if origin is Literal:
        return _Rule(tuple(dict.fromkeys(map(type, arguments))))
    kind = str if annotation is LiteralString else NoneType if annotation is None else origin or annotation
    if not (isinstance(kind, type) and _can_be_asked(kind)):
        return None
    if kind is type:
        return _Rule((type,), below=arguments[0] if isinstance(arguments[0], type) else None)
    held = tuple(map(_rule, arguments)) if _holds_items(kind) or kind in (list, dict) else ()
    return _Rule((float, int) if kind is float else (kind,), held=held)


def _either(rules: list[_Rule | None]) -> _Rule | None:
    known = [rule for rule in rules if rule is not None]
    if len(known) < len(rules):
        return None
    kinds = tuple(kind for rule in known for kind in rule.kinds)
    return _Rule(kinds, held=next((rule.held for rule in known if rule.held), ()))


def _can_be_asked(kind: type) -> bool:
    protocol = getattr(kind, "_is_protocol", False)
    return kind not in (object, Any) and (not protocol or getattr(kind, "_is_runtime_protocol", False))
