"""The order of a plan: one sort of the graph that the steps' needs make, the same for the same steps.

A step that makes something comes after what that needs; a step that drops something comes after whatever
stood on it was dropped or let go of it; a name is free before it is taken again. Among those that could come
next the first by kind and name does, so that one plan reads like another.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator

from database_handler.migrations.schema.schema_diff.names import callee, schema_of, with_schema
from database_handler.migrations.schema.schema_diff.statement import Action
from database_handler.migrations.schema.schema_diff.step import EXTRA, Step
from database_handler.migrations.schema.snapshot import (
    Column,
    Constraint,
    ConstraintType,
    Index,
    Kind,
    ObjectId,
    RangeType,
    SchemaObject,
)

__all__ = ["in_order", "names_taken"]

_MAKING = (
    Kind.SCHEMA,
    Kind.EXTENSION,
    Kind.ENUM,
    Kind.RANGE,
    Kind.DOMAIN,
    Kind.DOMAIN_CONSTRAINT,
    Kind.COMPOSITE,
    Kind.DICTIONARY,
    Kind.CONFIGURATION,
    Kind.SEQUENCE,
    Kind.FUNCTION,
    Kind.TABLE,
    Kind.COLUMN,
    Kind.CONSTRAINT,
    Kind.INDEX,
    Kind.STATISTICS,
    Kind.VIEW,
    Kind.MATERIALIZED_VIEW,
    Kind.TRIGGER,
    Kind.RULE,
    Kind.POLICY,
    Kind.DEFAULT_PRIVILEGES,
)
_RANK = {kind: place for place, kind in enumerate(_MAKING)}
_RELATIONS = {Kind.SEQUENCE, Kind.TABLE, Kind.INDEX, Kind.VIEW, Kind.MATERIALIZED_VIEW, Kind.COMPOSITE}
_TYPES = {  # of a sequence there is none, and yet one is in its way
    Kind.SEQUENCE,
    Kind.ENUM,
    Kind.RANGE,
    Kind.DOMAIN,
    Kind.COMPOSITE,
    Kind.TABLE,
    Kind.VIEW,
    Kind.MATERIALIZED_VIEW,
}
_INDEXED = {ConstraintType.PRIMARY_KEY, ConstraintType.UNIQUE, ConstraintType.EXCLUSION}

Priority = tuple[int, int, str, str, int]
Finder = Callable[[ObjectId], SchemaObject | None]


def names_taken(each: SchemaObject) -> Iterator[tuple[str, str]]:
    """Give the names that an object takes, each with the space in which only one may have it."""
    id = each.id
    if id.kind in _RELATIONS:
        yield "relation", id.name
    if id.kind in _TYPES:
        yield "type", id.name
    if id.kind is Kind.FUNCTION:  # of two with one name, a call that either could take is refused
        yield "function", callee(id.name)[0]
    if isinstance(each, Constraint) and each.type in _INDEXED:
        yield "relation", with_schema(schema_of(id.name), id.part)
    if isinstance(each, RangeType):
        yield from (("type", value) for name, value in each.options if name == "multirange_type_name")
    if isinstance(each, Column) and each.identity is not None:
        yield "relation", each.identity.sequence


def _priority(step: Step, place: int, new: Finder) -> Priority:
    rank, name = _RANK[step.object.kind], step.object.name
    if step.action is Action.DROP:
        phase, rank = 0, -rank
    elif step.action in EXTRA:
        phase = 2
    else:
        phase = 1
        name = _like_its_parent(step.object, new)
    return phase, rank, name, step.object.part, place


def _like_its_parent(id: ObjectId, new: Finder) -> str:
    """Return the name that places an index: a part's, that of the whole's.

    The server takes the indexes of a table that is attached for those of the whole in the order in which both
    were made, where two differ so little (``DESC``) that it does not see it.
    """
    each = new(id)
    if isinstance(each, Index) and each.parent is not None:
        return _like_its_parent(ObjectId(id.kind, each.parent), new)
    return id.name


class _Graph:
    """Which step comes before which, by their places in a list."""

    def __init__(self, steps: list[Step], old: Finder, new: Finder) -> None:
        self.steps = steps
        self.after: list[set[int]] = [set() for _ in steps]
        self.soft: set[tuple[int, int]] = set()
        self._places = {id(step): place for place, step in enumerate(steps)}
        self._index(old, new)
        for place, step in enumerate(steps):
            self._link(place, step)

    def _index(self, old: Finder, new: Finder) -> None:
        self.makers: dict[ObjectId, list[int]] = {}
        self.breakers: dict[ObjectId, list[int]] = {}
        self.shapers: dict[ObjectId, list[int]] = {}
        self.freers: dict[tuple[str, str], list[int]] = {}
        self.new = new
        for place, step in enumerate(self.steps):
            for target in step.produces | step.settles:
                self.makers.setdefault(target, []).append(place)
            for target in step.destroys:
                self.breakers.setdefault(target, []).append(place)
                for name in _names(old(target)):
                    self.freers.setdefault(name, []).append(place)
            for name in step.frees:
                self.freers.setdefault(name, []).append(place)
            for target in step.reshapes:
                self.shapers.setdefault(target, []).append(place)

    def _link(self, place: int, step: Step) -> None:
        for need in step.needs:
            self._before(self.makers.get(need, ()), place)
        for wish in step.wishes - step.needs:
            self._wish(self.makers.get(wish, ()), place)
        for released in step.releases:
            self._later(place, self.breakers.get(released, ()))
            if step.destroys or step.action is Action.DROP_DEFAULT:
                self._later(place, self.shapers.get(released, ()))
        for made in step.produces:
            self._before(self.breakers.get(made, ()), place)
            for name in _names(self.new(made)):
                self._before(self.freers.get(name, ()), place)
        for name in step.takes:
            self._before(self.freers.get(name, ()), place)
        self._before((self._places[id(first)] for first in step.after if id(first) in self._places), place)

    def _before(self, firsts: Iterable[int], place: int) -> None:
        self.after[place].update(first for first in firsts if first != place)

    def _later(self, place: int, lasts: Iterable[int]) -> None:
        for last in lasts:
            if last != place:
                self.after[last].add(place)

    def _wish(self, firsts: Iterable[int], place: int) -> None:
        for first in firsts:
            if first != place and first not in self.after[place]:
                self.after[place].add(first)
                self.soft.add((first, place))


def _names(each: SchemaObject | None) -> Iterator[tuple[str, str]]:
    return names_taken(each) if each is not None else iter(())


def in_order(steps: list[Step], old: Finder, new: Finder) -> tuple[list[Step], list[list[Step]]]:
    """Return the steps in an order in which each can run, and the circles in which that is not so.

    Parameters
    ----------
    steps : list of Step
        In any order.
    old, new : callable
        Finds an object of either schema by its id; None where there is none.
    """
    graph = _Graph(steps, old, new)
    priorities = [_priority(step, place, new) for place, step in enumerate(steps)]
    waiting = [set(firsts) for firsts in graph.after]
    followers: list[list[int]] = [[] for _ in steps]
    for place, firsts in enumerate(waiting):
        for first in firsts:
            followers[first].append(place)
    ready = [(priorities[place], place) for place, firsts in enumerate(waiting) if not firsts]
    heapq.heapify(ready)
    done, circles = list[int](), list[list[int]]()
    finished = set[int]()
    while len(done) < len(steps):
        if not ready:
            freed = _freed(waiting, finished, graph.soft, priorities, circles)
            ready.append((priorities[freed], freed))
        _, place = heapq.heappop(ready)
        done.append(place)
        finished.add(place)
        for follower in followers[place]:
            if place in waiting[follower]:
                waiting[follower].discard(place)
                if not waiting[follower] and follower not in finished:
                    heapq.heappush(ready, (priorities[follower], follower))
    return [steps[place] for place in done], [[steps[place] for place in circle] for circle in circles]


def _freed(
    waiting: list[set[int]],
    finished: set[int],
    soft: set[tuple[int, int]],
    priorities: list[Priority],
    circles: list[list[int]],
) -> int:
    """Open a circle, at a wish where there is one, until a step waits for nothing; return that.

    One without a wish is noted in `circles`.
    """
    while True:
        circle = _circle([place for place in range(len(waiting)) if place not in finished], waiting)
        edges = list(zip([*circle[1:], circle[0]], circle, strict=True))
        edge = next((each for each in edges if each in soft), None)
        if edge is None:
            freed = min(circle, key=lambda place: priorities[place])
            waiting[freed].clear()
            circles.append(circle)
            return freed
        first, place = edge
        waiting[place].discard(first)
        if not waiting[place]:
            return place


def _circle(left: list[int], waiting: list[set[int]]) -> list[int]:
    """Return steps each of which waits for the next one, and the last for the first."""
    seen: dict[int, int] = {}
    place = left[0]
    while place not in seen:
        seen[place] = len(seen)
        place = min(waiting[place])
    start = seen[place]
    return [step for step, order in seen.items() if order >= start]
