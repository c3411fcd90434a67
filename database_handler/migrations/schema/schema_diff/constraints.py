"""Constraints, indexes and extended statistics: made, changed in place, taken together with a parent's."""

from collections.abc import Iterator
from dataclasses import replace

from database_handler.core.quoting import literal, unquoted
from database_handler.migrations.schema.schema_diff.columns import options_changed
from database_handler.migrations.schema.schema_diff.fates import Change
from database_handler.migrations.schema.schema_diff.names import bare, dollar_quoted, schema_of, with_schema
from database_handler.migrations.schema.schema_diff.side import Side
from database_handler.migrations.schema.schema_diff.statement import Action
from database_handler.migrations.schema.schema_diff.step import Step
from database_handler.migrations.schema.schema_diff.verdicts import deferral, index_options
from database_handler.migrations.schema.snapshot import (
    Constraint,
    ConstraintType,
    Index,
    Kind,
    ObjectId,
    SchemaObject,
    Statistics,
)

__all__ = [
    "alter_constraint",
    "alter_index",
    "alter_statistics",
    "comes_later",
    "comes_with_the_wholes",
    "create_constraint",
    "create_index",
    "create_statistics",
    "index_above",
    "joins",
    "marks",
    "parent_of",
    "words_of",
]

_RECURSE = (ConstraintType.FOREIGN_KEY, ConstraintType.CHECK)
_WITH_PARTS = (*_RECURSE, ConstraintType.EXCLUSION)


def create_constraint(each: Constraint, change: Change) -> Iterator[Step]:
    """Give the statements that add a constraint: to a partition that stays, beside its parent's."""
    above = parent_of(each, change)
    if each.inherited and each.type is ConstraintType.FOREIGN_KEY:
        return  # comes with its parent's, or as the table is attached
    if above is not None and each.type in _RECURSE:
        return
    if each.inherited and each.type in _RECURSE and comes_later(each, change):
        return
    if comes_with_the_wholes(each):
        yield _named(each)
        return
    late = "" if each.validated else " NOT VALID"
    front = f"ALTER TABLE {_only(each, change)}{each.id.name}"
    sql = f"{front} ADD CONSTRAINT {each.id.part} {words_of(each, change)}{late}"
    made = _with_copies(each, change)
    part_of = index_above(each, change.new)
    later = [id.name for id in made - {each.id} if comes_later(change.new.objects[id], change)]
    needs = change.new.needs(each.id).union(ObjectId(Kind.TABLE, table) for table in later) - made - {part_of}
    takes = frozenset(("attached", table) for table in later)
    if each.references is not None:  # to an unlogged part it can be made, but that cannot become so below it
        takes |= {("persistence", table) for table in change.new.descendants(each.references)}
    yield Step(sql, Action.CREATE, each.id, needs=needs, produces=made, takes=takes)
    if above is not None:
        yield _attached(each.id.part, above, each.id)


def _only(each: Constraint, change: Change) -> str:
    return "ONLY " if each.type not in _WITH_PARTS and _has_parts(each.id.name, change) else ""


def comes_with_the_wholes(each: SchemaObject) -> bool:
    """Whether it is a partition's exclusion constraint: PostgreSQL 17 can only make it with the whole's."""
    return isinstance(each, Constraint) and each.inherited and each.type is ConstraintType.EXCLUSION


_NAMING = """
DECLARE
    given name;
BEGIN
    SELECT part.conname INTO STRICT given FROM pg_constraint AS part JOIN pg_constraint AS whole
        ON whole.oid = part.conparentid WHERE part.conrelid = {table}::regclass
        AND whole.conrelid = {above}::regclass AND whole.conname = {name};
    IF given <> {wanted} THEN
        EXECUTE format({rename}, given);
    END IF;
END
"""


def _named(each: Constraint) -> Step:
    """Return the step that gives a constraint its name, where the server has named it after its table."""
    whole = next(need for need in each.needs if need.kind is Kind.CONSTRAINT)
    rename = f"ALTER TABLE {each.id.name} RENAME CONSTRAINT %I TO {each.id.part.replace('%', '%%')}"
    body = _NAMING.format(
        table=literal(each.id.name),
        above=literal(whole.name),
        name=literal(unquoted(whole.part)),
        wanted=literal(unquoted(each.id.part)),
        rename=literal(rename),
    )
    names = frozenset({("relation", with_schema(schema_of(each.id.name), each.id.part))})
    step = Step.alter(f"DO {dollar_quoted(body, 'do')}", each.id, needs=(whole, each.id))
    return replace(step, takes=names)


def words_of(each: Constraint, change: Change) -> str:
    """Return the definition of a constraint; in its very words, where a table shares it with a parent.

    The server compares what it made of both texts when the table is attached, not what they mean.
    """
    table = change.new.table(each.id.name)
    for parent in table.parents if table is not None and each.inherited else ():
        above = change.old.objects.get(each.id._replace(name=parent))
        if isinstance(above, Constraint) and change.stays(above.id) and above.spelled:
            return above.spelled
    return each.definition


def _with_copies(each: Constraint, change: Change) -> frozenset[ObjectId]:
    """Return a constraint and those that the server makes of it for the tables that inherit."""
    if each.type is ConstraintType.EXCLUSION:
        return frozenset({each.id, *_below(each.id, change)})
    if each.type not in _RECURSE:
        return frozenset({each.id})
    children = (ObjectId(each.id.kind, table, each.id.part) for table in change.new.descendants(each.id.name))
    return frozenset(
        {each.id, *(child for child in children if change.is_made(child) and _inherited(child, change))}
    )


def _below(whole: ObjectId, change: Change) -> Iterator[ObjectId]:
    """Give the exclusion constraints of partitions that stay, near and far, which come with the whole's."""
    for child in change.new.children.get(whole.name, ()):
        for id in change.new.parts.get(child, ()) if change.linked(child, whole.name) else ():
            each = change.new.objects[id]
            if comes_with_the_wholes(each) and whole in each.needs:
                yield id
                yield from _below(id, change)


def comes_later(each: SchemaObject, change: Change) -> bool:
    """Whether an inherited check of a new table was never validated: it comes with its parent's.

    A table that is made (or attached) when the parent's is there gets one that counts as validated.
    """
    if not isinstance(each, Constraint) or not each.inherited or each.validated:
        return False
    table = change.new.table(each.id.name)
    return (
        table is not None
        and change.is_made(table.id)
        and any(change.is_made(each.id._replace(name=parent)) for parent in table.parents)
    )


def _inherited(id: ObjectId, change: Change) -> bool:
    found = change.new.objects[id]
    return isinstance(found, Constraint) and found.inherited


def _has_parts(table: str, change: Change) -> bool:
    """Whether there are partitions, and they stay attached: they get constraints of their own names."""
    found = change.new.table(table)
    if found is None or found.partition_key is None:
        return False
    return any(change.linked(child, table) for child in change.new.children.get(table, ()))


def _attached(name: str, parent: ObjectId, id: ObjectId) -> Step:
    above = parent.part if parent.kind is Kind.CONSTRAINT else parent.name
    sql = f"ALTER INDEX {above} ATTACH PARTITION {name}"
    # What refers to the whole's key needs the part's: the whole's is not valid before this.
    return Step(sql, Action.ALTER, id, needs=frozenset({parent, id}), settles=frozenset({id}))


def parent_of(each: Constraint | Index, change: Change) -> ObjectId | None:
    """Return the constraint or index of the partitioned table that this is a part of; its table stays."""
    if isinstance(each, Index):
        linked = each.parent is not None and _any_link(each.table, change)
        return ObjectId(Kind.INDEX, each.parent or "") if linked else None
    if not each.inherited:
        index = index_above(each, change.new)
        return index if index is not None and _any_link(each.id.name, change) else None
    table = change.new.table(each.id.name)
    parents = [parent for parent in (table.parents if table else ()) if change.linked(each.id.name, parent)]
    for parent in parents:
        found = _above(each, parent, change)
        if found is not None:
            return found
    return None


def joins(each: Constraint | Index, change: Change) -> bool:
    """Whether it becomes a part of one that is made."""
    if isinstance(each, Constraint) and each.type not in (ConstraintType.PRIMARY_KEY, ConstraintType.UNIQUE):
        return False
    above = parent_of(each, change)
    return above is not None and change.is_made(above)


def index_above(each: Constraint, side: Side) -> ObjectId | None:
    """Return the index of the partitioned table of which a constraint's own index is a part."""
    table = side.table(each.id.name)
    for need in each.needs if table is not None and table.partition_bound else ():
        found = side.objects.get(need)
        if isinstance(found, Index) and table is not None and found.table in table.parents:
            return need
    return None


def _any_link(child: str, change: Change) -> bool:
    table = change.new.table(child)
    return any(change.linked(child, parent) for parent in (table.parents if table else ()))


def _above(each: Constraint, parent: str, change: Change) -> ObjectId | None:
    named = [need for need in each.needs if need.kind is Kind.CONSTRAINT and need.name == parent]
    if named and each.type is not ConstraintType.FOREIGN_KEY:
        return named[0]
    for id in change.new.parts.get(parent, ()):
        found = change.new.objects[id]
        if isinstance(found, Constraint) and _is_copy(each, found):
            return id
    return None


def _is_copy(each: Constraint, above: Constraint) -> bool:
    """Whether a constraint is one with that of a parent: of checks the names say so."""
    alike = (each.type, each.definition) == (above.type, above.definition)
    return alike and (each.type is not ConstraintType.CHECK or each.id.part == above.id.part)


def marks(each: Constraint | Index, before: Constraint | Index | None) -> Iterator[Step]:
    """Give what makes an index the one that its table is clustered on, or known to replicas by."""
    table = each.table if isinstance(each, Index) else each.id.name
    name = bare(each.id.name) if isinstance(each, Index) else each.id.part
    needs = {each.id}
    if each.clustered and not (before and before.clustered):
        yield Step(f"ALTER TABLE {table} CLUSTER ON {name}", Action.ALTER, each.id, needs=frozenset(needs))
    if each.replica_identity and not (before and before.replica_identity):
        sql = f"ALTER TABLE {table} REPLICA IDENTITY USING INDEX {name}"
        known = frozenset({("replica identity", table)})
        yield Step(sql, Action.ALTER, each.id, needs=frozenset(needs), frees=known)


def alter_constraint(before: Constraint, after: Constraint, change: Change) -> Iterator[Step]:
    """Give what changes a constraint in place."""
    front, id = f"ALTER TABLE {after.id.name}", after.id
    above = parent_of(after, change)
    if deferral(before.definition)[1] != deferral(after.definition)[1] and above is None:
        late = deferral(after.definition)[1].replace(" NOT ENFORCED", "") or " NOT DEFERRABLE"
        yield Step.alter(f"{front} ALTER CONSTRAINT {id.part}{late}", id)
    if after.validated and not before.validated and above is None:
        yield Step.alter(f"{front} VALIDATE CONSTRAINT {id.part}", id, Action.VALIDATE)
    if above is not None and joins(after, change):
        yield _attached(id.part, above, id)
    yield from _unmarked(before, after, change)
    yield from marks(after, before)


def _unmarked(before: Constraint | Index, after: Constraint | Index, change: Change) -> Iterator[Step]:
    table = after.table if isinstance(after, Index) else after.id.name
    if before.clustered and not after.clustered and not _clustered(table, change):
        yield Step.alter(f"ALTER TABLE {table} SET WITHOUT CLUSTER", after.id)
    if before.replica_identity and not after.replica_identity and not _identified(table, change):
        step = Step.alter(f"ALTER TABLE {table} REPLICA IDENTITY DEFAULT", after.id)
        yield replace(step, frees=frozenset({("replica identity", table)}))


def _indexes(table: str, change: Change) -> Iterator[Constraint | Index]:
    parts = (change.new.objects[id] for id in change.new.parts.get(table, ()))
    return (part for part in parts if isinstance(part, Constraint | Index))


def _clustered(table: str, change: Change) -> bool:
    """Whether the table is to be clustered on anything."""
    return any(part.clustered for part in _indexes(table, change))


def _identified(table: str, change: Change) -> bool:
    """Whether the table says otherwise how replicas know its rows."""
    found = change.new.table(table)
    said = found is not None and found.replica_identity != "default"
    return said or any(part.replica_identity for part in _indexes(table, change))


def create_index(each: Index, change: Change) -> Iterator[Step]:
    """Give the statements that make an index; of a partition's, that it becomes a part of its parent's."""
    unique = "UNIQUE " if each.unique else ""
    only = "ONLY " if _has_parts(each.table, change) else ""
    definition = each.definition.replace("ON ", f"ON {only}", 1)
    sql = f"CREATE {unique}INDEX {bare(each.id.name)} {definition}"
    needs = change.new.needs(each.id)
    if each.parent is not None:
        needs -= {ObjectId(Kind.INDEX, each.parent)}
    yield Step.create(sql, each.id, needs)
    yield from _statistics((), each)
    above = parent_of(each, change)
    if above is not None:
        yield _attached(each.id.name, above, each.id)


def _statistics(before: tuple[tuple[int, int], ...], after: Index) -> Iterator[Step]:
    had, has = dict(before), dict(after.statistics)
    for number in sorted(had.keys() | has.keys()):
        if had.get(number) != has.get(number):
            target = has.get(number, -1)
            sql = f"ALTER INDEX {after.id.name} ALTER COLUMN {number} SET STATISTICS {target}"
            yield Step.alter(sql, after.id)


def alter_index(before: Index, after: Index, change: Change) -> Iterator[Step]:
    """Give what changes an index in place."""
    had, has = (tuple(index_options(each.definition)[1].items()) for each in (before, after))
    for changed in options_changed(had, has):
        yield Step.alter(f"ALTER INDEX {after.id.name} {changed}", after.id)
    yield from _statistics(before.statistics, after)
    above = parent_of(after, change)
    if above is not None and (before.parent != after.parent or joins(after, change)):
        yield _attached(after.id.name, above, after.id)
    yield from _unmarked(before, after, change)
    yield from marks(after, before)


def create_statistics(each: Statistics, change: Change) -> Iterator[Step]:
    """Give the statements that make extended statistics."""
    yield Step.create(each.definition, each.id, change.new.needs(each.id))
    if each.target is not None:
        yield _target(each)


def _target(each: Statistics) -> Step:
    target = -1 if each.target is None else each.target
    step = Step.alter(f"ALTER STATISTICS {each.id.name} SET STATISTICS {target}", each.id)
    return replace(step, needs=frozenset({each.id}))


def alter_statistics(before: Statistics, after: Statistics, _change: Change) -> Iterator[Step]:
    """Give what changes extended statistics in place."""
    if before.target != after.target:
        yield _target(after)
