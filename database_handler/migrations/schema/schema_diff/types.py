"""Types, sequences, extensions and schemas: made, and changed in place."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from database_handler.core.quoting import literal
from database_handler.migrations.schema.schema_diff.fates import Change
from database_handler.migrations.schema.schema_diff.names import bare
from database_handler.migrations.schema.schema_diff.statement import Action
from database_handler.migrations.schema.schema_diff.step import Step
from database_handler.migrations.schema.snapshot import (
    CompositeType,
    Constraint,
    Domain,
    EnumType,
    Extension,
    Kind,
    ObjectId,
    RangeType,
    Schema,
    SchemaObject,
    Sequence,
    SequenceOptions,
)

__all__ = [
    "alter_composite",
    "alter_domain",
    "alter_domain_constraint",
    "alter_enum",
    "alter_sequence",
    "counts_on",
    "create_composite",
    "create_domain",
    "create_domain_constraint",
    "create_enum",
    "create_extension",
    "create_range",
    "create_schema",
    "create_sequence",
    "moved_away",
    "own_sequence",
    "persistence_with",
    "sequence_changes",
    "sequence_options",
]

_LARGEST = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}


def create_schema(each: Schema, _change: Change) -> Iterator[Step]:
    """Give the statement that makes a schema."""
    yield Step.create(f"CREATE SCHEMA {each.id.name}", each.id)


def create_extension(each: Extension, change: Change) -> Iterator[Step]:
    """Give the statement that makes an extension: it may be there, in a schema that is not looked at."""
    place = f" SCHEMA {each.schema}" if ObjectId(Kind.SCHEMA, each.schema) in change.new else ""
    sql = f"CREATE EXTENSION IF NOT EXISTS {each.id.name}{place}"
    yield Step.create(sql, each.id, change.new.needs(each.id) | _schema(each, change))


def _schema(each: Extension, change: Change) -> frozenset[ObjectId]:
    id = ObjectId(Kind.SCHEMA, each.schema)
    return frozenset({id} if id in change.new else ())


def create_enum(each: EnumType, change: Change) -> Iterator[Step]:
    """Give the statement that makes an enum."""
    labels = ", ".join(literal(label) for label in each.labels)
    sql = f"CREATE TYPE {each.id.name} AS ENUM ({labels})"
    yield _type_made(sql, each.id, change)


def _type_made(sql: str, id: ObjectId, change: Change) -> Step:
    """Return the step that makes a type: after a sequence of its name, which it would be in the way of."""
    step = Step.create(sql, id, change.new.needs(id))
    return replace(step, takes=frozenset({("type beside a sequence", id.name)}))


def alter_enum(before: EnumType, after: EnumType, _change: Change) -> Iterator[Step]:
    """Give a statement for each label that is new, at its place; none of them can be used before a commit."""
    known = set(before.labels)
    for place, label in enumerate(after.labels):
        if label in known:
            continue
        known.add(label)
        step = Step.alter(
            f"ALTER TYPE {after.id.name} ADD VALUE {literal(label)}{_placed(after.labels, place, known)}",
            after.id,
            Action.ADD_VALUE,
        )
        yield replace(step, transactional=False)


def _placed(labels: tuple[str, ...], place: int, known: set[str]) -> str:
    if not any(label in known for label in labels[place + 1 :]):
        return ""
    if place:
        return f" AFTER {literal(labels[place - 1])}"
    return f" BEFORE {literal(next(label for label in labels[1:] if label in known))}"


def create_domain(each: Domain, change: Change, checks: tuple[Constraint, ...] = ()) -> Iterator[Step]:
    """Give the statement that makes a domain, with some of its constraints."""
    collation = f" COLLATE {each.collation}" if each.collation else ""
    default = f" DEFAULT {each.default}" if each.default is not None else ""
    not_null = " NOT NULL" if each.not_null else ""
    rules = "".join(f" CONSTRAINT {check.id.part} {check.definition}" for check in checks)
    sql = f"CREATE DOMAIN {each.id.name} AS {each.type}{collation}{default}{not_null}{rules}"
    step = Step.create(sql, each.id, change.new.needs(each.id))
    ids = frozenset({each.id, *(check.id for check in checks)})
    needs = step.needs.union(*(change.new.needs(check.id) for check in checks)) - ids
    takes = frozenset({("type beside a sequence", each.id.name)})
    yield Step(sql, Action.CREATE, each.id, needs=needs, produces=ids, takes=takes)


def alter_domain(before: Domain, after: Domain, change: Change) -> Iterator[Step]:
    """Give what changes a domain in place."""
    front, id = f"ALTER DOMAIN {after.id.name}", after.id
    needs, releases = change.new.needs(id), change.old.needs(id)
    again = id in change.redefaulted
    if before.default is not None and (after.default is None or again):
        yield Step.alter(f"{front} DROP DEFAULT", id, Action.DROP_DEFAULT, releases=releases)
    if after.default is not None and (before.default != after.default or again):
        sql = f"{front} SET DEFAULT {after.default}"
        yield Step.alter(sql, id, Action.SET_DEFAULT, needs, () if again else releases)
    if before.not_null != after.not_null:
        action = Action.SET_NOT_NULL if after.not_null else Action.DROP_NOT_NULL
        yield Step.alter(f"{front} {action.value.upper()}", id, action)


def create_domain_constraint(each: Constraint, change: Change) -> Iterator[Step]:
    """Give the statement that adds a constraint to a domain."""
    late = "" if each.validated else " NOT VALID"
    sql = f"ALTER DOMAIN {each.id.name} ADD CONSTRAINT {each.id.part} {each.definition}{late}"
    yield Step.create(sql, each.id, change.new.needs(each.id))


def alter_domain_constraint(before: Constraint, after: Constraint, _change: Change) -> Iterator[Step]:
    """Give the statement that validates a domain's constraint."""
    if after.validated and not before.validated:
        sql = f"ALTER DOMAIN {after.id.name} VALIDATE CONSTRAINT {after.id.part}"
        yield Step.alter(sql, after.id, Action.VALIDATE)


def create_composite(each: CompositeType, change: Change) -> Iterator[Step]:
    """Give the statement that makes a composite type."""
    attributes = ", ".join(map(_attribute, each.attributes))
    yield Step.create(f"CREATE TYPE {each.id.name} AS ({attributes})", each.id, change.new.needs(each.id))


def _attribute(attribute: tuple[str, str, str | None]) -> str:
    name, type, collation = attribute
    return f"{name} {type}{f' COLLATE {collation}' if collation else ''}"


def alter_composite(before: CompositeType, after: CompositeType, change: Change) -> Iterator[Step]:
    """Give a statement for each attribute that goes, comes or changes its type."""
    front, id = f"ALTER TYPE {after.id.name}", after.id
    had = {attribute[0]: attribute for attribute in before.attributes}
    has = {attribute[0]: attribute for attribute in after.attributes}
    needs, releases = change.new.needs(id), change.old.needs(id)
    for name in sorted(had.keys() - has.keys()):
        step = Step.alter(f"{front} DROP ATTRIBUTE {name}", id, releases=releases)
        yield replace(step, loses=f"the values of attribute {name} of {id.name}")
    for name, attribute in has.items():
        if name not in had:
            yield Step.alter(f"{front} ADD ATTRIBUTE {_attribute(attribute)}", id, needs=needs)
        elif had[name] != attribute:
            type = _attribute(attribute).removeprefix(f"{name} ")
            sql = f"{front} ALTER ATTRIBUTE {name} SET DATA TYPE {type}"
            yield Step.alter(sql, id, Action.SET_TYPE, needs, releases)


def create_range(each: RangeType, change: Change) -> Iterator[Step]:
    """Give the statement that makes a range type."""
    options = ", ".join(f"{name.upper()} = {value}" for name, value in each.options)
    sql = f"CREATE TYPE {each.id.name} AS RANGE ({options})"
    yield _type_made(sql, each.id, change)


def moved_away(each: SchemaObject, moved: Mapping[ObjectId, str], change: Change) -> Iterator[Step]:
    """Give the steps that move a type out of the way, and that drop it once no column is of it."""
    id = each.id
    name = moved[id]
    word = "DOMAIN" if id.kind is Kind.DOMAIN else "TYPE"
    there = ObjectId(id.kind, name)
    sql = f"ALTER {word} {id.name} RENAME TO {bare(name)}"
    away = Step(sql, Action.RENAME, id, settles=frozenset({there}), destroys=frozenset({id}))
    yield away
    needs = change.old.needs(id)
    releases = frozenset(ObjectId(need.kind, moved.get(need, need.name)) for need in needs)
    yield replace(Step.drop(f"DROP {word} {name}", there, releases), needs=frozenset({there}))


def create_sequence(each: Sequence, change: Change) -> Iterator[Step]:
    """Give the statements that make a sequence, and that make it go with its column."""
    unlogged = "UNLOGGED " if each.persistence == "unlogged" else ""
    options = sequence_options(each.options)
    sql = f"CREATE {unlogged}SEQUENCE {each.id.name}{options}"
    made = Step.create(sql, each.id, change.new.needs(each.id))
    yield replace(made, frees=frozenset({("type beside a sequence", each.id.name)}))
    if each.owned_by is not None:
        yield own_sequence(each, change, made)
        column = change.new.column(each.owned_by.name, each.owned_by.part)
        if column is not None and change.stays(column.id) and column.type in _LARGEST:
            yield counts_on(each.id, column.id, each.id.name, each.options)


def counts_on(id: ObjectId, column: ObjectId, sequence: str, options: SequenceOptions) -> Step:
    """Return the step after which a new sequence gives no number that the column has already."""
    last, end = ("max", options.maximum) if options.increment > 0 else ("min", options.minimum)
    low, high = sorted((options.start, end))
    having = f"HAVING {last}({column.part}) BETWEEN {low} AND {high}"
    sql = f"SELECT setval({literal(sequence)}, {last}({column.part})) FROM {column.name} {having}"
    return Step(sql, Action.ALTER, id, needs=frozenset({id}))


def own_sequence(each: Sequence, change: Change, *after: Step) -> Step:
    """Return the step that makes a sequence go with its column, or with none."""
    column = each.owned_by
    owner = f"{column.name}.{column.part}" if column else "NONE"
    sql = f"ALTER SEQUENCE {each.id.name} OWNED BY {owner}"
    needs = frozenset({each.id, column} if column else {each.id})
    return Step(sql, Action.ALTER, each.id, needs=needs, after=after, takes=_persistence_told(column, change))


def _persistence_told(column: ObjectId | None, change: Change) -> frozenset[tuple[str, str]]:
    """Return what comes first: a table that becomes unlogged, or logged, makes its sequences so."""
    changes = column is not None and persistence_with(column, change) is not None
    return frozenset({("persistence", column.name)} if column is not None and changes else ())


def persistence_with(column: ObjectId, change: Change) -> str | None:
    """Return what the sequences of a column become with its table; None where that stays as it is."""
    before, after = change.old.table(column.name), change.new.table(column.name)
    if before is None or after is None or not change.stays(before.id):
        return None
    return after.persistence if before.persistence != after.persistence else None


def alter_sequence(before: Sequence, after: Sequence, change: Change) -> Iterator[Step]:
    """Give what changes a sequence in place; it lets go of a column that is dropped, and stays."""
    id, column = after.id, before.owned_by
    owned = column != after.owned_by or id in change.released
    let_go = column is not None and owned and change.is_destroyed(column)
    told = _persistence_told(column, change)
    if column is not None and let_go:
        sql = f"ALTER SEQUENCE {id.name} OWNED BY NONE"
        yield Step(sql, Action.ALTER, id, releases=frozenset({column}), takes=told)
    if changes := sequence_changes(before.options, after.options):
        yield Step.alter(f"ALTER SEQUENCE {id.name}{changes}", id)
    along = persistence_with(column, change) if column is not None else None
    if (along or before.persistence) != after.persistence:
        word = "UNLOGGED" if after.persistence == "unlogged" else "LOGGED"
        yield replace(Step.alter(f"ALTER SEQUENCE {id.name} SET {word}", id), takes=told)
    if owned and not (let_go and after.owned_by is None):
        yield own_sequence(after, change)


def _bounds(options: SequenceOptions) -> tuple[int, int, int]:
    """Return what minimum, maximum and start are where nobody says otherwise."""
    largest = _LARGEST.get(options.type, _LARGEST["bigint"])
    low, high = (1, largest) if options.increment > 0 else (-largest - 1, -1)
    return low, high, options.minimum if options.increment > 0 else options.maximum


def sequence_options(options: SequenceOptions) -> str:
    """Return what a new sequence says of itself, where that is not what it would be anyway."""
    low, high, start = _bounds(options)
    parts = (
        f" AS {options.type}" if options.type != "bigint" else "",
        f" INCREMENT BY {options.increment}" if options.increment != 1 else "",
        f" MINVALUE {options.minimum}" if options.minimum != low else "",
        f" MAXVALUE {options.maximum}" if options.maximum != high else "",
        f" START WITH {options.start}" if options.start != start else "",
        f" CACHE {options.cache}" if options.cache != 1 else "",
        " CYCLE" if options.cycle else "",
    )
    return "".join(parts)


def sequence_changes(before: SequenceOptions, after: SequenceOptions, word: str = " ") -> str:
    """Return what a sequence says otherwise; with `word` ``" SET "`` as an identity column takes it."""
    retyped = before.type != after.type
    parts = (
        f"{word}INCREMENT BY {after.increment}" if before.increment != after.increment else "",
        f"{word}MINVALUE {after.minimum}" if retyped or before.minimum != after.minimum else "",
        f"{word}MAXVALUE {after.maximum}" if retyped or before.maximum != after.maximum else "",
        f"{word}START WITH {after.start}" if before.start != after.start else "",
        f"{word}CACHE {after.cache}" if before.cache != after.cache else "",
        f"{word}{'' if after.cycle else 'NO '}CYCLE" if before.cycle != after.cycle else "",
        " RESTART" if not after.minimum <= before.start <= after.maximum else "",
    )
    return (f"{word}AS {after.type}" if retyped else "") + "".join(parts)
