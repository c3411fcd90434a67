"""Renamings: applied first, and the old schema told again as it is after them.

The texts of an old snapshot (expressions, queries, definitions) name what is renamed. They are told again by
their tokens, as the server would write them; where that goes wrong the text differs from the new one, and its
object is changed or made again: a needless statement, never a missed one.
"""

from collections.abc import Iterable, Iterator

from database_handler.migrations.schema.schema_diff.names import (
    bare,
    callee,
    free_name,
    schema_of,
    target,
    with_schema,
)
from database_handler.migrations.schema.schema_diff.ordering import names_taken
from database_handler.migrations.schema.schema_diff.retelling import renamed_id, told_again
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
    for rename in _in_turn(snapshot, tuple(renames)):
        snapshot = told_again(snapshot, rename)
    return snapshot


def renaming_steps(
    old: SchemaSnapshot, new: SchemaSnapshot, renames: tuple[Rename, ...]
) -> tuple[list[Step], SchemaSnapshot]:
    """Return the statements that rename, and the old schema after them.

    Constraints, indexes and sequences of columns that are alike but for their names are renamed too: nothing
    of theirs has to be built again.
    """
    steps: list[Step] = []
    wanted = tuple(rename for rename in renames if rename.new in new.objects)
    for rename in _in_turn(old, wanted):
        for one in (*_occupants(rename, old, new), rename):
            steps.extend(_steps(old.objects[one.old], one))
            old = told_again(old, one)
    for rename in _same_but_named(old, new):
        steps.extend(_steps(old.objects[rename.old], rename))
        old = told_again(old, rename)
    return steps, old


def _in_turn(snapshot: SchemaSnapshot, renames: tuple[Rename, ...]) -> Iterator[Rename]:
    """Give the renamings that apply, wholes before parts, in an order in which each name is free."""
    there = set(snapshot.objects)
    waiting = sorted(_applying(there, renames), key=lambda rename: (bool(rename.old.part), rename))
    while waiting:
        rename = next((each for each in waiting if each.new not in there), None)
        if rename is None:  # they change places: one goes out of the way
            rename = _away(waiting[0].new, there)
        elif rename in waiting:
            waiting.remove(rename)
        yield rename
        there = {renamed_id(id, rename) for id in there}
        waiting = [Rename(renamed_id(each.old, rename), each.new) for each in waiting]
        waiting = [each for each in waiting if each.old != each.new]


def _occupants(rename: Rename, old: SchemaSnapshot, new: SchemaSnapshot) -> list[Rename]:
    """Return the renamings of what is dropped later, and has a name that is taken now."""
    wanted = set(names_taken(new.objects[rename.new])) if rename.new in new.objects else set()
    there = set(old.objects)
    return [
        _away(each.id, there)
        for each in old
        if each.id != rename.old and each.id not in new.objects and not wanted.isdisjoint(names_taken(each))
    ]


def _applying(there: set[ObjectId], renames: tuple[Rename, ...]) -> list[Rename]:
    """Return the renamings of what is there, to what is not there (or is renamed itself)."""
    found = [rename for rename in dict.fromkeys(renames) if rename.old in there and rename.old != rename.new]
    while True:
        leaving = {rename.old for rename in found}
        left = [rename for rename in found if _before(rename, found) not in there - leaving]
        if len(left) == len(found):
            return left
        found = left


def _before(rename: Rename, others: list[Rename]) -> ObjectId:
    """Return the new id as it would be called today: its table may get its name by the same renamings."""
    whole = next((one for one in others if not one.old.part and one.new.name == rename.new.name), None)
    if whole is None or not rename.new.part:
        return rename.new
    return rename.new._replace(name=whole.old.name)


def _away(id: ObjectId, there: set[ObjectId]) -> Rename:
    if id.part:
        taken = {each.part for each in there if each.name == id.name}
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
