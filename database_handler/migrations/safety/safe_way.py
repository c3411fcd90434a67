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
from database_handler.migrations.safety.safe_change import Change, Step, Way, without_idle_allows
from database_handler.migrations.safety.safe_columns import filling, missing_backfills
from database_handler.migrations.safety.safe_order import Node, ordered_steps
from database_handler.migrations.schema.schema_diff import renamed
from database_handler.migrations.schema.schema_diff.statement import Action, Rename, SchemaDiff
from database_handler.migrations.schema.snapshot import ObjectId, SchemaSnapshot
from database_handler.migrations.schema.value_facts import placeholder

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
        told = map(without_idle_allows, self.statements) if direction == "down" else self.statements
        return f"{self.marker(direction)}\n{note}" + "".join(f"{each};\n" for each in told)


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
    change = Change(plan, _renamed(plan, old), new, backfill or {}, reasons or {})
    if missing := missing_backfills(change):
        raise BackfillNeeded(missing)
    return tuple(_sections(_filled_together(change, ordered_steps(change))))


def _renamed(plan: SchemaDiff, old: SchemaSnapshot) -> SchemaSnapshot:
    """Return the old schema under the names that it has once the plan has renamed it."""
    for each in plan:
        if each.action is Action.RENAME and each.object in each.produces:
            before = [id for id in each.destroys if id.kind is each.object.kind]
            old = renamed(old, [Rename(before[0], each.object)]) if len(before) == 1 else old
    return old


# --------------------------------------------------------------------------------------- filled together


def _filled_together(change: Change, nodes: list[Node]) -> list[Node]:
    """Fill all columns of a table at once, where none waits for another: each row is written once.

    One by one would not do: a row that lacks two values breaks the check of one while it gets the other.
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


def _joined(change: Change, nodes: Sequence[Node], members: Sequence[int]) -> list[Node]:
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


def _is_ordered(nodes: Sequence[Node]) -> bool:
    graph = {number: node.after | node.apart for number, node in enumerate(nodes)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError:
        return False
    return True


# ------------------------------------------------------------------------------------------------- sections


def _sections(nodes: Sequence[Node]) -> Iterator[PlannedSection]:
    queue = _Queue(nodes)
    while chosen := queue.next_section():
        steps = [nodes[node].step for node in chosen]
        if statements := tuple(sql for step in steps for sql in step.statements):
            way = steps[0].way
            yield PlannedSection(statements, way is not Way.ALONE, way is Way.BATCHED)


class _Queue:
    """Which steps may come next, while sections are filled."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes
        self._waiting = [len(node.after | node.apart) for node in nodes]
        self._following: dict[int, list[int]] = defaultdict(list)
        for number, node in enumerate(nodes):
            for earlier in node.after | node.apart:
                self._following[earlier].append(number)
        self._ready: dict[object, set[int]] = defaultdict(set)
        self._ranks: list[tuple[bool, int, str, int, int]] = []
        self._free(number for number, count in enumerate(self._waiting) if not count)

    def next_section(self) -> list[int]:
        """Take the steps of one section; none when all are taken."""
        while self._ranks and not self._is_ready(self._ranks[0][-1]):
            heappop(self._ranks)
        if not self._ranks:
            return []
        first = self._ranks[0][-1]
        section = _Filling(self._nodes, first)
        candidates = [self._placed(first)]
        while candidates:
            _, number = heappop(candidates)
            if not section.takes(number):
                continue
            if not section.steps:
                candidates = sorted(map(self._placed, self._beside(first)))
            section.add(number)
            for freed in self._take(number):
                if not self._nodes[freed].apart & section.members:
                    heappush(candidates, self._placed(freed))
        return section.steps

    def _kind(self, number: int) -> tuple[bool, Way, frozenset[str]]:
        step = self._nodes[number].step
        return step.scans, step.way, step.tables

    def _is_ready(self, number: int) -> bool:
        return number in self._ready[self._kind(number)]

    def _beside(self, first: int) -> set[int]:
        """Return the ready steps that may share a section with one: of its table, or of none."""
        scans, way, tables = self._kind(first)
        if tables:
            found = self._ready[scans, way, tables] | self._ready[scans, way, frozenset()]
        else:
            found = set[int]().union(*self._ready.values())
        return found - {first}

    def _free(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._ready[self._kind(number)].add(number)
            heappush(self._ranks, self._rank(number))

    def _placed(self, number: int) -> tuple[int, int]:
        return self._nodes[number].place, number

    def _take(self, number: int) -> list[int]:
        self._ready[self._kind(number)].discard(number)
        freed: list[int] = []
        for following in self._following[number]:
            self._waiting[following] -= 1
            if not self._waiting[following]:
                freed.append(following)
        self._free(freed)
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

    def __init__(self, nodes: Sequence[Node], first: int) -> None:
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
