"""The steps of a plan and the order among them: what depends on what, and what takes effect together.

The plan is in an order that holds; this finds out how much of it has to stay, from what each statement makes,
takes away and needs, and from what the objects themselves need (`pg_depend`).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from database_handler.migrations.safety.lint_checks import locks_readers_of
from database_handler.migrations.safety.lint_scene import Before, Scene
from database_handler.migrations.safety.safe_change import (
    Change,
    Step,
    allow,
    changes_bond,
    changes_persistence,
    comes_to_parent,
    is_put_aside,
)
from database_handler.migrations.safety.safe_steps import at_once, needs_values, steps_of, whole
from database_handler.migrations.safety.statement_facts import bare, facts_of
from database_handler.migrations.schema.schema_diff.statement import Action, SchemaStatement
from database_handler.migrations.schema.schema_diff.verdicts import names_of
from database_handler.migrations.schema.snapshot import Column, Constraint, Kind, ObjectId, RangeType

__all__ = ["Node", "ordered_steps"]

# ----------------------------------------------------------------------------------------------- what depends

# What a function's body names stands in no catalogue, so it stays between what came before it and after it;
# and what follows the others may depend on them by name only.
_FENCES = frozenset({Kind.FUNCTION, Kind.EXTENSION, Kind.SCHEMA, Kind.DEFAULT_PRIVILEGES})
# These need the object, and nothing needs them.
_LATE = (Action.COMMENT, Action.GRANT, Action.OWNER)


@dataclass(frozen=True, slots=True)
class _Effects:
    """What a statement changes, and what else it needs as it is."""

    writes: frozenset[object]
    reads: frozenset[object]

    def before(self, later: "_Effects") -> bool:
        """Whether a later statement has to stay after this one."""
        return bool(self.writes & (later.writes | later.reads) or self.reads & later.writes)


def _effects(change: Change, statement: SchemaStatement) -> _Effects:
    changed = {statement.object, *statement.produces, *statement.destroys}
    needed = {
        need
        for snapshot in (change.old, change.new)
        for each in changed
        if (found := snapshot.objects.get(each))
        for need in found.needs
    } | statement.needs
    needed |= set(_below_keys(change, needed))
    if statement.action in _LATE:
        return _Effects(frozenset(), frozenset[object](changed | needed))
    changed |= {*_put_aside(change, statement), *change.below(statement)}
    names = {("name", name) for each in _named(statement) for name in _names(change, each)}
    return _Effects(
        frozenset[object](changed) | names | frozenset(_bonds(change, statement)),
        frozenset[object](needed - changed) | frozenset(_bonds_below(change, statement)),
    )


def _below_keys(change: Change, needed: Iterable[ObjectId]) -> Iterator[ObjectId]:
    """Give what the keys and indexes among some objects stand on: to retype a column makes them anew.

    The server does not, while anything needs them: a reference needs the key that it refers to, a grouped
    view the primary key, and either may include columns that the reference and the view do not name.
    """
    for id in needed:
        if id.kind in (Kind.CONSTRAINT, Kind.INDEX):
            for snapshot in (change.old, change.new):
                if found := snapshot.objects.get(id):
                    yield from found.needs


def _bonds(change: Change, statement: SchemaStatement) -> Iterator[object]:
    """Give what a table has from above, where that changes; and the bounds that a partition has or had."""
    made = (
        statement.object.kind is Kind.TABLE and statement.action is Action.CREATE
    )  # as its parents are then
    if made or changes_bond(statement) or changes_persistence(statement):
        yield "standing", statement.object.name
    yield from (("bounds", whole) for whole in change.wholes(statement))


def _bonds_below(change: Change, statement: SchemaStatement) -> Iterator[object]:
    """Give the tables that a part of a table, or a reference to one, goes down to while they are below."""
    tables = {statement.object.name} if statement.object.part else set[str]()
    for snapshot in (change.old, change.new):
        found = snapshot.objects.get(statement.object)
        if isinstance(found, Constraint) and found.references is not None:
            tables.add(found.references)
    yield from (("standing", below) for table in tables for below in change.descendants(table))


def _put_aside(change: Change, statement: SchemaStatement) -> Iterator[ObjectId]:
    """Give the type whose old form a statement drops: what is of it must be of the new one by then."""
    if statement.action is Action.DROP and statement.object not in change.old.objects:
        for each in change.plan:
            if is_put_aside(each) and _aside(each) == bare(statement.object.name):
                yield each.object


def _named(statement: SchemaStatement) -> Iterator[ObjectId]:
    """Give what takes or frees a name that another kind of object might bear."""
    if statement.action in (Action.CREATE, Action.DROP, Action.RENAME):
        made = {*statement.produces, *statement.destroys, statement.object}
        yield from (each for each in made if not each.part or each.kind is Kind.CONSTRAINT)


def _names(change: Change, id: ObjectId) -> Iterator[str]:
    """Give the names that an object takes: a range's multirange has one of its own."""
    yield id.part if id.kind is Kind.CONSTRAINT else id.name
    for snapshot in (change.old, change.new):
        if isinstance(found := snapshot.objects.get(id), RangeType):
            yield from names_of(found)


def _is_fence(statement: SchemaStatement) -> bool:
    if statement.action in _LATE or is_put_aside(statement):
        return False
    return statement.object.kind in _FENCES or statement.action is Action.RENAME


def _dependencies(statements: Sequence[SchemaStatement], effects: Sequence[_Effects]) -> list[set[int]]:
    """Return for each statement those that come before it, less what follows from others."""
    written: dict[object, int] = {}
    read: dict[object, set[int]] = defaultdict(set)
    fence: set[int] = set()
    since: set[int] = set()
    found: list[set[int]] = []
    for place, (statement, effect) in enumerate(zip(statements, effects, strict=True)):
        before = {written[key] for key in effect.writes | effect.reads if key in written} | fence
        before |= {reader for key in effect.writes for reader in read[key]}
        if _is_fence(statement):
            before |= since
            fence, since = {place}, set()
        elif statement.object.kind not in (Kind.INDEX, Kind.CONSTRAINT):
            since.add(place)
        found.append(before - {place})
        for key in effect.writes:
            written[key] = place
            read[key] = set()
        for key in effect.reads:
            read[key].add(place)
    return found


# ------------------------------------------------------------------------- what is dropped and made again


def _units(change: Change, before: Sequence[set[int]]) -> list[tuple[int, ...]]:
    """Return the places of the statements in an order that holds; together what takes effect together."""
    groups: list[set[int]] = [{place} for place in range(len(change.plan))]
    for first, last in _replaced(change):
        groups = _merged(groups, _between({first}, {last}, before))
    while True:
        unit = {place: number for number, group in enumerate(groups) for place in group}
        graph = {
            number: {unit[earlier] for place in group for earlier in before[place]} - {number}
            for number, group in enumerate(groups)
        }
        try:
            return [tuple(sorted(groups[number])) for number in TopologicalSorter(graph).static_order()]
        except CycleError as error:  # two groups, each with a part that comes after a part of the other
            groups = _merged(groups, set[int]().union(*(groups[number] for number in error.args[1])))


def _merged(groups: list[set[int]], group: set[int]) -> list[set[int]]:
    apart = [each for each in groups if not each & group]
    return [*apart, group.union(*(each for each in groups if each & group))]


def _replaced(change: Change) -> Iterator[tuple[int, int]]:
    """Give the first and the last place of what must not be seen half done."""
    begun: dict[object, int] = {}
    for place, statement in enumerate(change.plan):
        opens, closes = _opens(change, statement), _closes(change, statement)
        if closes in begun:
            yield begun[closes], place
        if opens is not None:
            begun[opens] = place


def _opens(change: Change, statement: SchemaStatement) -> object:
    if statement.object.kind is Kind.INDEX or statement.object in change.exchanged:
        return None
    if statement.action in (Action.DROP, Action.DROP_DEFAULT):
        return statement.action, statement.object
    return ("aside", _aside(statement)) if is_put_aside(statement) else None


def _closes(change: Change, statement: SchemaStatement) -> object:
    if statement.action is Action.CREATE:
        return Action.DROP, statement.object
    if statement.action is Action.SET_DEFAULT:
        return Action.DROP_DEFAULT, statement.object
    if statement.action is Action.DROP and statement.object not in change.old.objects:
        return "aside", bare(statement.object.name)
    return ()


def _aside(statement: SchemaStatement) -> str:
    return bare(statement.sql.rpartition(" RENAME TO ")[2])


def _between(first: set[int], last: set[int], before: Sequence[set[int]]) -> set[int]:
    """Return the places on every way from some to others, these included."""
    below = set(first)
    for place in range(min(first), max(last) + 1):
        if before[place] & below:
            below.add(place)
    above = set(last)
    for place in range(max(last), min(first) - 1, -1):
        if place in above:
            above |= before[place]
    return (below & above) | first | last


# --------------------------------------------------------------------------------------------- steps in order


@dataclass(slots=True)
class Node:
    """A step, and what comes before it: `after` at the latest in its section, `apart` in one before."""

    step: Step
    place: int
    after: set[int]
    apart: set[int]


_TOGETHER = "what is dropped and made again, or changes its type, must not be seen half done"


def ordered_steps(change: Change) -> list[Node]:
    """Return the steps of a plan, each with those that it waits for, by their places in the list."""
    return _Graph(change).nodes


class _Graph:
    """The steps of a plan and the order among them."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self._scene = Scene(Before(change.old))
        self._dropped = set(map(bare, change.dropped))
        self._statements = list(change.plan)
        self._effects = [_effects(change, each) for each in self._statements]
        self._before = _dependencies(self._statements, self._effects)
        self._made: dict[int, int] = {}
        self._ended: dict[int, int] = {}
        self.nodes: list[Node] = []
        for unit in _units(change, self._before):
            if len(unit) == 1:
                self._add(unit[0])
            else:
                self._add_group(unit)

    def _add(self, place: int) -> None:
        for number, step in enumerate(steps_of(self._change, self._statements[place])):
            if number:
                waits: tuple[set[int], set[int]] = (set(), {len(self.nodes) - 1})
            else:
                waits = self._waits(self._before[place], [place])
            self.nodes.append(Node(step, place, *waits))
            if step.makes:
                self._made.setdefault(place, len(self.nodes) - 1)
        self._ended[place] = len(self.nodes) - 1
        self._made.setdefault(place, self._ended[place])

    def _add_group(self, places: Sequence[int]) -> None:
        """Put the first steps of statements into one; what may follow later follows it."""
        prepared = {place: self._prepare(place, places) for place in places}
        parts = [prepared[place] or self._beside(place, places) for place in places]
        first = Step(
            tuple(self._told_together([sql for step, _ in parts for sql in step.statements])),
            frozenset(table for step, _ in parts for table in step.tables),
        )
        before = set[int]().union(*(self._before[place] for place in places)) - set(places)
        after, apart = self._waits(before, places)
        apart |= {self._ended[place] for place in places if prepared[place]}
        together = len(self.nodes)
        self.nodes.append(Node(first, places[0], after, apart))
        for place, (_, later) in zip(places, parts, strict=True):
            self._made[place] = self._ended[place] = together
            for step in later:
                self.nodes.append(Node(step, place, set(), {self._ended[place]}))
                self._ended[place] = len(self.nodes) - 1

    def _beside(self, place: int, group: Sequence[int]) -> tuple[Step, tuple[Step, ...]]:
        """Return what a statement does in a group; a column whose values the group needs gets them there."""
        statement, effects = self._statements[place], self._effects
        if self._is_merged(statement, [other for other in group if other > place]):
            return whole(self._change, statement, validated=True)
        needed = any(
            other > place and needs_values(self._statements[other]) and effects[place].before(effects[other])
            for other in group
        )
        return (at_once if needed else whole)(self._change, statement)

    def _is_merged(self, statement: SchemaStatement, later: Iterable[int]) -> bool:
        """Whether a table comes to a parent later in its group: that takes only valid constraints."""
        if statement.object.kind is not Kind.CONSTRAINT or statement.action is not Action.CREATE:
            return False
        tables = {statement.object.name, *self._change.descendants(statement.object.name)}
        others = (self._statements[each] for each in later)
        return any(comes_to_parent(other) and other.object.name in tables for other in others)

    def _prepare(self, place: int, group: Sequence[int]) -> tuple[Step, tuple[Step, ...]] | None:
        """Fill and prove a column that becomes NOT NULL before the group, which looks at no row then."""
        statement = self._statements[place]
        others = {self._statements[each].object for each in group if each != place}
        if (
            statement.action is not Action.SET_NOT_NULL
            or statement.object in others
            or self._retyped(statement)
            or self._let_go(statement, group)
        ):
            return None
        *earlier, last = steps_of(self._change, statement)
        waits = self._waits(self._before[place] - set(group), [place])
        for step in earlier:
            self.nodes.append(Node(step, place, *waits))
            self._ended[place] = len(self.nodes) - 1
            waits = (set(), {self._ended[place]})
        return (last, ()) if earlier else None

    def _let_go(self, statement: SchemaStatement, group: Sequence[int]) -> bool:
        """Whether a table below leaves within the group: it would keep the check that it had by then."""
        below = set(self._change.descendants(statement.object.name))
        others = (self._statements[each] for each in group)
        return any(changes_bond(other) and other.object.name in below for other in others)

    def _retyped(self, statement: SchemaStatement) -> bool:
        """Whether a column is no column of before, or of another type by then."""
        was, now = (each.objects.get(statement.object) for each in (self._change.old, self._change.new))
        return not (isinstance(was, Column) and isinstance(now, Column) and was.type == now.type)

    def _told_together(self, statements: Iterable[str]) -> Iterator[str]:
        """Say why several tables are locked in one transaction, where they are."""
        held: set[str] = set()
        made = set(map(bare, self._change.made - self._change.dropped))
        for sql in statements:
            several = False
            facts = facts_of(sql)
            for table in set(locks_readers_of(self._scene, facts)) - made:
                several = several or (table not in held and bool(held - self._dropped))
                held.add(table)
            made |= set(facts.makes)
            yield allow("several-tables-locked", _TOGETHER, sql) if several else sql

    def _waits(self, before: Iterable[int], places: Sequence[int]) -> tuple[set[int], set[int]]:
        after: set[int] = set()
        apart: set[int] = set()
        adding = all(self._statements[place].action is Action.ADD_VALUE for place in places)
        for earlier in before:
            added = self._statements[earlier].action is Action.ADD_VALUE and not adding
            (apart if added else after).add(self._awaited(earlier, places))
        return after, apart

    def _awaited(self, earlier: int, places: Sequence[int]) -> int:
        """Return which step of an earlier statement has to be done: the last, or that which makes it."""
        late = all(self._statements[place].action in _LATE for place in places)
        touched = any(self._effects[earlier].before(self._effects[place]) for place in places)
        return self._ended[earlier] if touched and not late else self._made[earlier]
