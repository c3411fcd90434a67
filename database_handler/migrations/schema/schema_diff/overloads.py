"""Functions of one name, and the calls that could mean more than one of them.

Of ``f(a integer)`` and ``f(a integer, b integer DEFAULT 1)`` the server refuses to choose one for ``f(1)``.
Yet what was made while only one of them was there goes on meaning that one, and its text is still ``f(1)``:
whoever makes it again has to do so while the other is not there.
"""

from collections.abc import Iterator
from dataclasses import replace

from database_handler.core.sql_text import Token, significant_tokens
from database_handler.migrations.schema.schema_diff.names import callee
from database_handler.migrations.schema.schema_diff.side import Side
from database_handler.migrations.schema.schema_diff.step import EXTRA, Step
from database_handler.migrations.schema.snapshot import Function, ObjectId, SchemaObject

__all__ = ["calling_texts", "kept_apart", "rivals"]

Rivals = dict[ObjectId, frozenset[ObjectId]]
_TEXTS = ("definition", "default", "expression", "using", "check", "partition_key")


def calling_texts(each: SchemaObject) -> tuple[str, ...]:
    """Return the texts of an object in which it may call functions."""
    found = (getattr(each, name, None) for name in _TEXTS)
    return tuple(text for text in found if isinstance(text, str))


def rivals(side: Side) -> Rivals:
    """Return the functions that a call may not find beside the one that it means, by what has such a call."""
    found: dict[ObjectId, set[ObjectId]] = {}
    for meant, other, counts in _alike(side):
        name = callee(meant.name)[0]
        for caller in side.dependents.get(meant, ()):
            texts = calling_texts(side.objects[caller])
            if other not in side.needs(caller) and any(counts & set(_counts(text, name)) for text in texts):
                found.setdefault(caller, set()).add(other)
    return {caller: frozenset(others) for caller, others in found.items()}


def kept_apart(steps: list[Step], found: Rivals) -> Iterator[Step]:
    """Give the steps, so that a call is read after functions of its name are gone, and before others come."""
    kept: dict[int, Step] = {}
    for step in steps:
        callers = (step.produces | step.settles) & found.keys()
        others = {other for caller in callers for other in found[caller]}
        read = {name for name in (callee(other.name)[0] for other in others) if name in step.sql}
        names = frozenset(("function", name) for name in read if step.action not in EXTRA)
        kept[id(step)] = replace(
            step,
            needs=step.needs | {caller for caller, rivalled in found.items() if rivalled & step.produces},
            takes=step.takes | names,
            wishes=step.wishes - others,
            after=tuple(kept.get(id(first), first) for first in step.after),
        )
    yield from kept.values()


def _alike(side: Side) -> Iterator[tuple[ObjectId, ObjectId, set[int]]]:
    """Give each function beside another of its name, and with how many arguments a call could mean either."""
    named: dict[str, list[tuple[ObjectId, list[str], int]]] = {}
    for id, each in side.objects.items():
        if isinstance(each, Function):
            name, brackets = callee(id.name)
            types = brackets[1:-1].split(", ") if brackets[1:-1] else []
            least = len(types) - _defaults(each.arguments)
            named.setdefault(name, []).append((id, types, least))
    for overloads in named.values():
        for one, types, least in overloads if len(overloads) > 1 else ():
            for other, others, fewest in overloads:
                most = min(len(types), len(others))
                counts = {n for n in range(max(least, fewest), most + 1) if types[:n] == others[:n]}
                if one != other and counts:
                    yield one, other, counts


def _defaults(arguments: str) -> int:
    if " DEFAULT " not in arguments:
        return 0
    return sum(token.text == "DEFAULT" and not depth for token, depth in _deep(arguments))


def _counts(text: str, name: str) -> Iterator[int]:
    """Give with how many arguments a text calls a function."""
    if f"{name}(" not in text:
        return
    found = list(_deep(text))
    for place, (token, depth) in enumerate(found[:-1]):
        if token.text == name and found[place + 1][0].text == "(":
            count, last = 0, "("
            for inside, level in found[place + 2 :]:
                if level <= depth:
                    break
                count += inside.text == "," and level == depth + 1
                last = inside.text
            yield 0 if last == "(" else count + 1


def _deep(text: str) -> Iterator[tuple[Token, int]]:
    """Give each token, and in how many brackets it stands; those themselves stand outside."""
    depth = 0
    for token in significant_tokens(text):
        depth -= token.text in (")", "]")
        yield token, depth
        depth += token.text in ("(", "[")
