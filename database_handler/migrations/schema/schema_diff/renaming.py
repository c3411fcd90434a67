"""Renamings: applied first, and the old schema told again as it is after them.

The texts of an old snapshot (expressions, queries, definitions) name what is renamed. They are told again by
their tokens, as the server would write them; where that goes wrong the text differs from the new one, and its
object is changed or made again: a needless statement, never a missed one.
"""

from collections.abc import Iterable, Iterator, Mapping

from database_handler.migrations.schema.schema_diff.loosening import loosened, ties, untied
from database_handler.migrations.schema.schema_diff.names import (
    bare,
    callee,
    free_name,
    schema_of,
    target,
    with_schema,
)
from database_handler.migrations.schema.schema_diff.ordering import names_taken
from database_handler.migrations.schema.schema_diff.retelling import copies, renamed_id, told_again
from database_handler.migrations.schema.schema_diff.side import Side
from database_handler.migrations.schema.schema_diff.statement import Action, Rename
from database_handler.migrations.schema.schema_diff.step import Step
from database_handler.migrations.schema.snapshot import (
    Constraint,
    ConstraintType,
    Index,
    Kind,
    ObjectId,
    SchemaObject,
    SchemaSnapshot,
    Sequence,
    Table,
)

__all__ = ["renamed", "renaming_steps"]

_INDEXED = (ConstraintType.PRIMARY_KEY, ConstraintType.UNIQUE, ConstraintType.EXCLUSION)


def renamed(snapshot: SchemaSnapshot, renames: Iterable[Rename]) -> SchemaSnapshot:
    """Return the snapshot as it is after the renamings that apply to it."""
    renaming = _Renaming(snapshot, {})
    renaming.do_all(tuple(renames))
    return renaming.snapshot


def renaming_steps(
    old: SchemaSnapshot, new: SchemaSnapshot, renames: tuple[Rename, ...]
) -> tuple[list[Step], SchemaSnapshot]:
    """Return the statements that rename, and the old schema after them.

    Constraints, indexes and sequences of columns that are alike but for their names are renamed too: nothing
    of theirs has to be built again.
    """
    renaming = _Renaming(old, new.objects)
    renaming.do_all(tuple(rename for rename in renames if rename.new in new.objects))
    for rename in _same_but_named(renaming.snapshot, new):
        renaming.do(rename)
    return renaming.steps, renaming.snapshot


class _Renaming:
    """Renamings that are done one by one, each as its name is free.

    Attributes
    ----------
    snapshot : SchemaSnapshot
        As it is after those that are done.
    steps : list of Step
        Their statements.
    """

    def __init__(self, snapshot: SchemaSnapshot, new: Mapping[ObjectId, SchemaObject]) -> None:
        self.steps: list[Step] = []
        self._new = new
        self._waiting: list[Rename] = []
        self._tell(snapshot)

    def do_all(self, renames: tuple[Rename, ...]) -> None:
        """Do the renamings that apply, wholes before parts."""
        applying = _applying(self._side, self._new, renames)
        self._waiting = sorted(applying, key=lambda rename: (bool(rename.old.part), rename))
        away = set[ObjectId]()
        while self._waiting:
            leaving = self._leaving()
            rename = next((each for each in self._waiting if not self._waits(each, leaving)), None)
            blockers = self._blockers(leaving) if rename is None else ()
            blocker = next((each for each in blockers if each.new not in away), None)
            if blocker is not None:  # they change places: one goes out of the way, and no one twice
                away.add(blocker.new)
                self._put_away(blocker.old)
                continue
            rename = rename or self._waiting[0]
            self._waiting.remove(rename)
            self._make_room(rename)
            self.do(rename)

    def _blockers(self, leaving: Mapping[ObjectId, Rename]) -> Iterator[Rename]:
        return (leaving[id] for each in self._waiting for id in self._blocked(each, leaving))

    def do(self, rename: Rename) -> None:
        """Do one renaming, whose name is free."""
        self.steps.extend(_steps(self.snapshot.objects[rename.old], rename))
        for each in (rename, *copies(self._side, rename)):
            self._waiting = [Rename(renamed_id(one.old, each), one.new) for one in self._waiting]
        self._waiting = [each for each in self._waiting if each.old != each.new]
        self._tell(told_again(self.snapshot, rename))

    def _tell(self, snapshot: SchemaSnapshot) -> None:
        self.snapshot, self._side = snapshot, Side(snapshot)
        self._owners: dict[tuple[str, str], list[ObjectId]] = {}

    def _owners_of(self, name: tuple[str, str]) -> list[ObjectId]:
        if not self._owners:
            for each in self.snapshot:
                for taken in names_taken(each):
                    self._owners.setdefault(taken, []).append(each.id)
        return self._owners.get(name, [])

    def _leaving(self) -> dict[ObjectId, Rename]:
        """Return what gives its name up, with the renaming that does so: a parent's, for its children."""
        along = {copy.old: each for each in self._waiting for copy in copies(self._side, each)}
        return along | {each.old: each for each in self._waiting}

    def _waits(self, rename: Rename, leaving: Mapping[ObjectId, Rename]) -> bool:
        follows = any(rename.old == copy.old for each in self._waiting for copy in copies(self._side, each))
        return follows or bool(self._blocked(rename, leaving))

    def _blocked(self, rename: Rename, leaving: Mapping[ObjectId, Rename]) -> list[ObjectId]:
        """Return what has a name that this one takes, and gives it up to another renaming."""
        return [id for id in self._in_the_way(rename) if id in leaving and leaving[id] != rename]

    def _in_the_way(self, rename: Rename) -> list[ObjectId]:
        """Return what has a name that is taken: in the table, in those that inherit, or beside them."""
        taken = [each.new for each in (rename, *copies(self._side, rename)) if each.new in self._side]
        wanted = names_taken(self._new[rename.new]) if rename.new in self._new else ()
        beside = [id for name in wanted for id in self._owners_of(name) if id != rename.old]
        leaving = {each.old for each in self._waiting}
        beside = [id for id in beside if id not in self._new or id in leaving]
        return list(dict.fromkeys((*taken, *beside)))

    def _make_room(self, rename: Rename) -> None:
        """Make a name free: what is dropped later, or stands in a table that inherits, gets another."""
        self._untie(rename.old)
        for id in self._in_the_way(rename):
            if id in self._in_the_way(rename):  # not moved along with its parent's
                self._put_away(id)

    def _put_away(self, id: ObjectId) -> None:
        self._untie(id)
        near = {id.name, *self._side.descendants(id.name)}
        self.do(_away(id, {each for each in self.snapshot.objects if not id.part or each.name in near}))

    def _untie(self, id: ObjectId) -> None:
        """Take tables from parents that would not let them rename what they have from there."""
        for child, parent in ties(self._side, id):
            self.steps.append(untied(child, parent))
            self._tell(loosened(self.snapshot, child, parent))


def _applying(side: Side, new: Mapping[ObjectId, SchemaObject], renames: tuple[Rename, ...]) -> list[Rename]:
    """Return the renamings of what is there, to a name that is free then or whose holder goes."""
    there = set(side.objects)
    found = [rename for rename in dict.fromkeys(renames) if rename.old in there and rename.old != rename.new]
    while True:
        leaving = {each.old for rename in found for each in (rename, *copies(side, rename))}
        left = [
            rename
            for rename in found
            if (_before(rename, found) not in there - leaving or _displaces(rename, new, found))
            and _is_where_it_was(rename, found)
            and not _is_the_wholes(rename.old, side, leaving)
        ]
        if len(left) == len(found):
            return left
        found = left


def _displaces(rename: Rename, new: Mapping[ObjectId, SchemaObject], others: list[Rename]) -> bool:
    """Whether what holds the name has to go: what is renamed gives its own name to another."""
    return rename.new in new and any(one.new == rename.old for one in others)


def _is_where_it_was(rename: Rename, others: list[Rename]) -> bool:
    """Whether a part stays with its table: under that one's name, or under the one that it gets."""
    old, new = rename
    named = any(not one.old.part and (one.old.name, one.new.name) == (old.name, new.name) for one in others)
    return not old.part or old.name == new.name or named


def _is_the_wholes(id: ObjectId, side: Side, leaving: set[ObjectId]) -> bool:
    """Whether it is a column of a partition, which has its name from the whole's, and that stays."""
    table = side.table(id.name) if id.kind is Kind.COLUMN else None
    if table is None or table.partition_bound is None:
        return False
    above = {id._replace(name=parent) for parent in table.parents}
    return not above & leaving and any(each in side for each in above)


def _before(rename: Rename, others: list[Rename]) -> ObjectId:
    """Return the new id as it would be called today: its table may get its name by the same renamings."""
    whole = next((one for one in others if not one.old.part and one.new.name == rename.new.name), None)
    if whole is None or not rename.new.part:
        return rename.new
    return rename.new._replace(name=whole.old.name)


def _away(id: ObjectId, there: set[ObjectId]) -> Rename:
    if id.part:
        taken = {each.part for each in there}
        return Rename(id, id._replace(part=free_name(id.part, taken, "_before")))
    name, arguments = callee(id.name)
    spare = free_name(name, {callee(each.name)[0] for each in there}, "_before")
    return Rename(id, id._replace(name=spare + arguments))


def _steps(each: SchemaObject, rename: Rename) -> Iterator[Step]:
    old, new = rename
    made, gone = frozenset({new}), frozenset({old})
    if old.part:
        yield Step(_part(old, new), Action.RENAME, new, produces=made, destroys=gone)
        return
    name = callee(new.name)[0]
    what = target(each)
    if schema_of(old.name) != schema_of(name):
        sql = f"ALTER {what} SET SCHEMA {schema_of(name)}"
        yield Step(sql, Action.RENAME, new, produces=made, destroys=gone)
        what = what.replace(callee(old.name)[0], with_schema(schema_of(name), bare(callee(old.name)[0])), 1)
    if bare(callee(old.name)[0]) != bare(name):
        yield Step(f"ALTER {what} RENAME TO {bare(name)}", Action.RENAME, new, produces=made, destroys=gone)


def _part(old: ObjectId, new: ObjectId) -> str:
    match old.kind:
        case Kind.COLUMN:
            return f"ALTER TABLE {old.name} RENAME COLUMN {old.part} TO {new.part}"
        case Kind.CONSTRAINT:
            return f"ALTER TABLE {old.name} RENAME CONSTRAINT {old.part} TO {new.part}"
        case Kind.DOMAIN_CONSTRAINT:
            return f"ALTER DOMAIN {old.name} RENAME CONSTRAINT {old.part} TO {new.part}"
        case _:
            return f"ALTER {old.kind.name} {old.part} ON {old.name} RENAME TO {new.part}"


def _same_but_named(old: SchemaSnapshot, new: SchemaSnapshot) -> list[Rename]:
    """Return the renamings of constraints, indexes and columns' sequences that differ by their names only."""
    gone = _by_likeness(old, new)
    if not gone:
        return []
    added = _by_likeness(new, old)
    taken = {name for each in old for name in names_taken(each)}
    found: list[Rename] = []
    for likeness, ids in gone.items():
        for one, other in zip(ids, added.get(likeness, ()), strict=False):
            if not any(name in taken for name in names_taken(new.objects[other])):
                found.append(Rename(one, other))
    return found


def _by_likeness(side: SchemaSnapshot, other: SchemaSnapshot) -> dict[tuple[object, ...], list[ObjectId]]:
    """Return the ids that only one side has, sorted, by all that matters but the name."""
    found: dict[tuple[object, ...], list[ObjectId]] = {}
    parents = {parent for each in side if isinstance(each, Table) for parent in each.parents}
    for id, each in side.objects.items():
        if id not in other.objects and (likeness := _likeness(each, parents)):
            found.setdefault(likeness, []).append(id)
    return found


def _likeness(each: SchemaObject, parents: set[str]) -> tuple[object, ...]:
    match each:
        case Constraint(type=type) if type in _INDEXED or not (each.inherited or each.id.name in parents):
            known = (each.type, each.definition, each.validated, each.clustered, each.replica_identity)
            return (each.id.kind, each.id.name, *known)
        case Index() if each.valid:
            made = (each.table, each.definition, each.unique, each.parent, each.statistics)
            return (each.id.kind, *made, each.clustered, each.replica_identity)
        case Sequence(owned_by=ObjectId()):
            return (each.id.kind, each.owned_by, each.options, each.persistence)
        case _:
            return ()
