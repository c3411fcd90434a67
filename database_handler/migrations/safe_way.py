"""A plan the safe way round: sections that lock one table at a time, for a moment, and scan without a lock.

`safe_sections` takes each statement apart (`safe_steps`), keeps the order that the plan's dependencies ask
for, and puts the steps into as few sections as that allows: changes of one table together, scans by
themselves, what cannot run in a transaction by itself, and each batched filling by itself. What is dropped
and made again (a view under a changed column, say) is so within one transaction: nobody finds it missing.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush

from database_handler.migrations.errors import BackfillNeeded
from database_handler.migrations.lint_checks import locks_readers_of
from database_handler.migrations.lint_scene import Before, Scene
from database_handler.migrations.safe_steps import (
    Change,
    Step,
    Way,
    allow,
    filling,
    is_put_aside,
    missing_backfills,
    steps_of,
    whole,
)
from database_handler.migrations.schema_diff.statement import Action, SchemaDiff, SchemaStatement
from database_handler.migrations.snapshot import Kind, ObjectId, SchemaSnapshot
from database_handler.migrations.statement_facts import bare, facts_of
from database_handler.migrations.value_facts import placeholder

__all__ = ["PlannedSection", "placeholder", "safe_sections"]


@dataclass(frozen=True, slots=True)
class PlannedSection:
    """A section of a migration to be written.

    Attributes
    ----------
    statements : tuple of str
        Without semicolons; a comment may stand before each.
    transactional : bool
        Whether it runs in a transaction (a batched one does, once for each run).
    note : str
        What it is for, in words; empty where the statements say it.
    """

    statements: tuple[str, ...]
    transactional: bool = True
    batched: bool = False
    note: str = ""

    def marker(self, direction: str) -> str:
        """Return the line that the section begins with in a file."""
        how = ", batched" if self.batched else "" if self.transactional else ", no transaction"
        return f"-- migrate: {direction}{how}"

    def text(self, direction: str) -> str:
        """Return the section as it stands in a file."""
        note = f"-- {self.note}\n" if self.note else ""
        return f"{self.marker(direction)}\n{note}" + "".join(f"{each};\n" for each in self.statements)


def safe_sections(
    plan: SchemaDiff,
    old: SchemaSnapshot,
    new: SchemaSnapshot,
    *,
    backfill: Mapping[ObjectId, str] | None = None,
    reasons: Mapping[ObjectId, str] | None = None,
) -> tuple[PlannedSection, ...]:
    """Return the sections that do what a plan does without keeping readers or writers waiting.

    Parameters
    ----------
    plan : SchemaDiff
        What turns `old` into `new`.
    backfill : mapping of ObjectId to str, optional
        SQL for the rows that are there, by the new id of the column that it is for.
    reasons : mapping of ObjectId to str, optional
        Why data may be dropped, by the old id of the table or column.

    Raises
    ------
    BackfillNeeded
        A column is added NOT NULL to a table that may have rows, and nothing says what those hold in it.
    """
    change = Change(plan, old, new, backfill or {}, reasons or {})
    if missing := missing_backfills(change):
        raise BackfillNeeded(missing)
    return tuple(_sections(_filled_together(change, _Graph(change).nodes)))


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
    if statement.action in _LATE:
        return _Effects(frozenset(), frozenset[object](changed | needed))
    changed |= {*_put_aside(change, statement), *_below(change, statement)}
    names = {("name", each.part if each.kind is Kind.CONSTRAINT else each.name) for each in _named(statement)}
    return _Effects(frozenset[object](changed) | names, frozenset[object](needed - changed))


def _below(change: Change, statement: SchemaStatement) -> Iterator[ObjectId]:
    """Give the columns of the tables that inherit a column: what changes it changes them."""
    if statement.object.kind is Kind.COLUMN:
        for table in change.descendants(statement.object.name):
            yield statement.object._replace(name=table)


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
class _Node:
    """A step, and what comes before it: `after` at the latest in its section, `apart` in one before."""

    step: Step
    place: int
    after: set[int]
    apart: set[int]


_TOGETHER = "what is dropped and made again, or changes its type, must not be seen half done"


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
        self.nodes: list[_Node] = []
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
            self.nodes.append(_Node(step, place, *waits))
            if step.makes:
                self._made.setdefault(place, len(self.nodes) - 1)
        self._ended[place] = len(self.nodes) - 1
        self._made.setdefault(place, self._ended[place])

    def _add_group(self, places: Sequence[int]) -> None:
        """Put the first steps of statements into one; what may follow later follows it."""
        parts = [whole(self._change, self._statements[place]) for place in places]
        first = Step(
            tuple(self._told_together([sql for step, _ in parts for sql in step.statements])),
            frozenset(table for step, _ in parts for table in step.tables),
        )
        before = set[int]().union(*(self._before[place] for place in places)) - set(places)
        together = len(self.nodes)
        self.nodes.append(_Node(first, places[0], *self._waits(before, places)))
        for place, (_, later) in zip(places, parts, strict=True):
            self._made[place] = self._ended[place] = together
            for step in later:
                self.nodes.append(_Node(step, place, set(), {self._ended[place]}))
                self._ended[place] = len(self.nodes) - 1

    def _told_together(self, statements: Iterable[str]) -> Iterator[str]:
        """Say why several tables are locked in one transaction, where they are."""
        held: set[str] = set()
        for sql in statements:
            several = False
            for table in locks_readers_of(self._scene, facts_of(sql)):
                several = several or (table not in held and bool(held - self._dropped))
                held.add(table)
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


# --------------------------------------------------------------------------------------- filled together


def _filled_together(change: Change, nodes: list[_Node]) -> list[_Node]:
    """Fill all columns of a table at once, where none waits for another: each row is written once.

    Nor could it be otherwise: a row that lacks two values breaks the check of the one while it gets the other.
    """
    groups: dict[tuple[str, bool], list[int]] = defaultdict(list)
    for number, node in enumerate(nodes):
        if node.step.fill:
            groups[node.step.fill.table, node.step.fill.again].append(number)
    for members in groups.values():
        joined = _joined(change, nodes, members) if len(members) > 1 else nodes
        if _is_ordered(joined):
            nodes = joined
    return nodes


def _joined(change: Change, nodes: Sequence[_Node], members: Sequence[int]) -> list[_Node]:
    """Return the nodes with some of them as one, in the place of the first; the others do nothing."""
    first, others = members[0], set(members[1:])
    fills = [fill for number in members if (fill := nodes[number].step.fill)]
    values = tuple(value for fill in fills for value in fill.values)
    step = filling(change, replace(fills[0], values=values))
    joined = [
        replace(
            node, after=_renumbered(node.after, others, first), apart=_renumbered(node.apart, others, first)
        )
        for node in nodes
    ]
    apart = set[int]().union(*(joined[number].apart | joined[number].after for number in members))
    joined[first] = replace(joined[first], step=step, after=set(), apart=apart - set(members))
    for number in others:
        joined[number] = replace(joined[number], step=Step(()), after={first}, apart=set())
    return joined


def _renumbered(numbers: set[int], others: set[int], first: int) -> set[int]:
    return {first if number in others else number for number in numbers}


def _is_ordered(nodes: Sequence[_Node]) -> bool:
    graph = {number: node.after | node.apart for number, node in enumerate(nodes)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError:
        return False
    return True


# ------------------------------------------------------------------------------------------------- sections


def _sections(nodes: Sequence[_Node]) -> Iterator[PlannedSection]:
    queue = _Queue(nodes)
    while chosen := queue.next_section():
        steps = [nodes[node].step for node in chosen]
        if statements := tuple(sql for step in steps for sql in step.statements):
            way = steps[0].way
            yield PlannedSection(statements, way is not Way.ALONE, way is Way.BATCHED)


class _Queue:
    """Which steps may come next, while sections are filled."""

    def __init__(self, nodes: Sequence[_Node]) -> None:
        self._nodes = nodes
        self._waiting = [len(node.after | node.apart) for node in nodes]
        self._following: dict[int, list[int]] = defaultdict(list)
        for number, node in enumerate(nodes):
            for earlier in node.after | node.apart:
                self._following[earlier].append(number)
        self._ready = {number for number, count in enumerate(self._waiting) if not count}

    def next_section(self) -> list[int]:
        """Take the steps of one section; none when all are taken."""
        if not self._ready:
            return []
        first = min(self._ready, key=self._rank)
        section = _Filling(self._nodes, first)
        candidates = [self._placed(first)]
        while candidates:
            _, number = heappop(candidates)
            if not section.takes(number):
                continue
            if not section.steps:
                candidates = sorted(map(self._placed, self._ready - {first}))
            section.add(number)
            for freed in self._take(number):
                if not self._nodes[freed].apart & section.members:
                    heappush(candidates, self._placed(freed))
        return section.steps

    def _placed(self, number: int) -> tuple[int, int]:
        return self._nodes[number].place, number

    def _take(self, number: int) -> list[int]:
        self._ready.discard(number)
        freed: list[int] = []
        for following in self._following[number]:
            self._waiting[following] -= 1
            if not self._waiting[following]:
                freed.append(following)
        self._ready.update(freed)
        return freed

    def _rank(self, number: int) -> tuple[bool, int, str, int, int]:
        """Changes come before fillings, these before indexes, scans last; tables in one order everywhere."""
        step = self._nodes[number].step
        return (
            step.scans,
            _ORDER.index(step.way),
            min(step.tables, default=""),
            self._nodes[number].place,
            number,
        )


_ORDER = (Way.TRANSACTION, Way.BATCHED, Way.ALONE)


class _Filling:
    """A section that is being put together."""

    def __init__(self, nodes: Sequence[_Node], first: int) -> None:
        self._nodes = nodes
        self._first = nodes[first].step
        self._tables: frozenset[str] = frozenset()
        self.steps: list[int] = []
        self.members: set[int] = set()

    def takes(self, number: int) -> bool:
        step = self._nodes[number].step
        if not self.steps:
            return step is self._first
        if step.way is not self._first.way or step.way is Way.BATCHED or step.scans is not self._first.scans:
            return False
        if step.scans and not (step.joins and self._first.joins):
            return False
        if len(step.tables) > 1 or len(self._first.tables) > 1:
            return False  # it says itself why it locks several
        return not self._tables or step.tables <= self._tables

    def add(self, number: int) -> None:
        self.steps.append(number)
        self.members.add(number)
        self._tables |= self._nodes[number].step.tables
