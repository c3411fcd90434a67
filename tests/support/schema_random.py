"""Random pairs of schemas: one that is grown, and another that is the first after some edits (or grown too).

A pair is known by its seed alone. It is one module because each kind of edit is one short function, and
they share the pools of names and types.
"""

import random
from collections.abc import Callable
from copy import deepcopy
from typing import NamedTuple, TypeVar

from database_handler.migrations.schema.schema_diff.statement import Rename
from tests.support.schema_model import (
    FAMILIES,
    ROLES,
    Column,
    Composite,
    Configuration,
    Constraint,
    Dictionary,
    Domain,
    Enum,
    Function,
    Generated,
    Identity,
    Index,
    Key,
    Output,
    Policy,
    Range,
    Rule,
    Schema,
    Sequence,
    Statistics,
    Table,
    Thing,
    Trigger,
    Type,
    View,
)
from tests.support.schema_sql import rows, statements

_T = TypeVar("_T")

# Relations and types draw from one pool, so that a name is often freed by one kind and taken by another.
_NAMES = (
    "notes",
    "users",
    "order",
    "Mixed Case",
    "a.b",
    "items",
    "ünïcode",
    "log",
    "summary",
    "mood",
    "per%cent",
    'quo"te',
    "counter",
    "status",
)
_COLUMNS = (
    "id",
    "name",
    "amount",
    "Created At",
    "select",
    "state",
    "body",
    "ref",
    "kind",
    "x%y",
    'q"t',
    "tags",
    "größe",
    "day",
)
_TYPES = tuple(FAMILIES)
_COMMON_TYPES = (
    "integer",
    "bigint",
    "text",
    "character varying(40)",
    "numeric(8,2)",
    "boolean",
    "date",
    "jsonb",
)
_NEIGHBOURS = {
    "int": ("smallint", "integer", "bigint", "numeric", "text", "double precision"),
    "number": ("numeric", "numeric(8,2)", "numeric(12,3)", "real", "double precision", "text"),
    "text": (
        "text",
        "character varying",
        "character varying(40)",
        "character varying(60)",
        "integer",
        "jsonb",
    ),
    "time": (
        "timestamp without time zone",
        "timestamp with time zone",
        "date",
        "timestamp(0) with time zone",
    ),
    "date": ("timestamp without time zone", "timestamp with time zone", "text"),
    "jsonb": ("json", "text"),
    "json": ("jsonb", "text"),
}


class Pair(NamedTuple):
    """Two schemas as statements; rows for the first; and what was renamed on the way."""

    seed: int
    old: tuple[str, ...]
    new: tuple[str, ...]
    rows: tuple[str, ...]
    renames: tuple[Rename, ...]
    edits: tuple[str, ...]


def random_pair(seed: int) -> Pair:
    """Return the pair of a seed."""
    chance = _Chance(seed)
    old = chance.schema()
    edits = []
    if chance.maybe(0.15):
        new, edits = chance.schema(), ["another schema"]
    else:
        new = deepcopy(old)
        edits = [chance.edit(new) for _ in range(chance.random.randint(1, 12))]
    renames = () if edits == ["another schema"] else old.renames_to(new)
    return Pair(seed, tuple(statements(old)), tuple(statements(new)), tuple(rows(old)), renames, tuple(edits))


def renaming_pair(seed: int) -> Pair:
    """Return a pair of a schema and the same one with tables and columns under other names."""
    chance = _Chance(seed)
    while True:
        old = chance.schema()
        new = deepcopy(old)
        edits = [chance.pick((rename_table, rename_column)) for _ in range(chance.random.randint(1, 4))]
        for edit in edits:
            edit(chance, new)
        if renames := old.renames_to(new):
            names = tuple(edit.__name__ for edit in edits)
            return Pair(
                seed, tuple(statements(old)), tuple(statements(new)), tuple(rows(old)), renames, names
            )


class _Chance:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def maybe(self, probability: float) -> bool:
        return self.random.random() < probability

    def pick(self, among: "tuple[_T, ...] | list[_T]") -> _T:
        return self.random.choice(among)

    def some(self, among: "tuple[_T, ...] | list[_T]", most: int) -> list[_T]:
        return self.random.sample(list(among), min(len(among), self.random.randint(1, most)))

    def n(self) -> int:
        return self.random.randint(0, 30)

    # ------------------------------------------------------------------------------------------------ things

    def fresh(self, schema: Schema, pool: tuple[str, ...] = _NAMES) -> str:
        taken = schema.relation_names()
        free = [name for name in pool if name not in taken]
        if free:
            return self.pick(free)
        return next(f"more {n}" for n in range(1, 1000) if f"more {n}" not in taken)

    def named(self, schema: Schema, front: str) -> str:
        """A name of an index, a constraint and the like: plain, but for a few."""
        taken = schema.relation_names() | {
            each.name
            for table in schema.tables
            for part in (table.triggers, table.policies, table.rules)
            for each in part
        }
        name = f"{front}_{self.random.randint(1, 99)}"
        name = name.replace("_", " ").title() if self.maybe(0.1) else name
        while name in taken:
            name += "x"
        return name

    def decorate(self, thing: Thing, privileges: tuple[str, ...] = ()) -> None:
        if self.maybe(0.15):
            thing.comment = f"it's note {self.n()}"
        if privileges and self.maybe(0.12):
            for privilege in self.some(privileges, 2):
                thing.grants.append((privilege, self.pick((*ROLES, "PUBLIC")), False))
            if self.maybe(0.3):
                thing.grants.append((self.pick(privileges), ROLES[0], True))

    def type(self, schema: Schema) -> Type:
        own = [each.uid for kind in (Enum, Domain, Composite, Range) for each in schema.of(kind)]
        if own and self.maybe(0.22):
            return Type(uid=self.pick(own), array=self.maybe(0.12))
        return Type(self.pick(_COMMON_TYPES if self.maybe(0.6) else _TYPES))

    def column(self, schema: Schema, table: Table) -> Column:
        taken = {column.name for column in schema.all_columns(table)}
        for child in schema.tables:
            if table.uid and table.uid in (child.partition_of, *child.parents):
                taken |= {column.name for column in child.columns}
        free = [name for name in _COLUMNS if name not in taken]
        column = Column(self.pick(free) if free else f"c{schema.number()}", schema.number())
        column.type = self.type(schema)
        column.not_null = self.maybe(0.25)
        if self.maybe(0.25):
            column.default = self.n()
        self.special(schema, table, column)
        self.decorate(column)
        return column

    def special(self, schema: Schema, table: Table, column: Column) -> None:
        """Identity, generated, a function or a sequence as the default; collation and storage."""
        functions = [f.uid for f in schema.of(Function) if isinstance(f, Function) and f.shape == "typed"]
        sequences = [each.uid for each in schema.of(Sequence)]
        sources = [each for each in table.columns if not each.generated]
        if self.maybe(0.08) and column.type.name in ("integer", "bigint", "smallint"):
            column.identity, column.default = self.identity(), None
        elif self.maybe(0.12) and sources:
            column.type = Type(self.pick(("integer", "text")))
            column.generated = Generated(self.pick(sources).uid, self.n())
            column.generated.function = self.pick(functions) if functions and self.maybe(0.4) else 0
            column.default, column.not_null = None, False
        elif functions and self.maybe(0.1):
            column.default_function = self.pick(functions)
        elif sequences and self.maybe(0.15):
            column.type, column.default_sequence = Type("bigint"), self.pick(sequences)
        if self.maybe(0.08):
            column.collation = self.pick(('"C"', '"POSIX"', '"ucs_basic"'))
        if self.maybe(0.06):
            column.storage = self.pick(("EXTERNAL", "MAIN", "PLAIN", "EXTENDED"))
        if self.maybe(0.04):
            column.compression = "pglz"
        if self.maybe(0.05):
            column.statistics = self.pick((0, 50, 500))
        if self.maybe(0.03):
            column.n_distinct = self.pick((5, 20))

    def identity(self) -> Identity:
        start = self.pick((None, None, 10, 100))
        return Identity(self.maybe(0.6), start, self.pick((None, None, 2, 5)), self.maybe(0.1))

    def schema(self) -> Schema:
        schema = Schema()
        for _ in range(self.random.randint(2, 7)):
            self.pick(_ADD_FIRST)(self, schema)
        for _ in range(self.random.randint(1, 4)):
            add_table(self, schema)
        for _ in range(self.random.randint(3, 14)):
            self.pick(_ADD_LATER)(self, schema)
        return schema

    def edit(self, schema: Schema) -> str:
        edit = self.pick(_EDITS)
        edit(self, schema)
        return edit.__name__


Edit = Callable[[_Chance, Schema], None]


# ----------------------------------------------------------------------------------------- new first things


def add_enum(chance: _Chance, schema: Schema) -> None:
    labels = chance.some(["new", "it's", "done", "Open", "ok ok", "x", "y", "z"], 5)
    thing = Enum(chance.fresh(schema), labels=labels)
    chance.decorate(thing, ("USAGE",))
    schema.add(thing)


def add_domain(chance: _Chance, schema: Schema) -> None:
    thing = Domain(chance.fresh(schema), type=Type(chance.pick(_COMMON_TYPES)))
    enums = [each.uid for each in schema.of(Enum)]
    if enums and chance.maybe(0.2):
        thing.type = Type(uid=chance.pick(enums))
    thing.default = chance.n() if chance.maybe(0.3) else None
    thing.not_null = chance.maybe(0.15)
    if chance.maybe(0.6):
        thing.checks.append((f"check {chance.n()}", chance.n(), chance.maybe(0.15)))
    thing.collation = '"C"' if chance.maybe(0.15) else None
    chance.decorate(thing, ("USAGE",))
    schema.add(thing)


def add_composite(chance: _Chance, schema: Schema) -> None:
    names = chance.some(["x", "y", "Label", "when", "amount"], 4)
    thing = Composite(chance.fresh(schema), attributes=[(name, chance.type(schema)) for name in names])
    chance.decorate(thing)
    schema.add(thing)


def add_range(chance: _Chance, schema: Schema) -> None:
    subtype = chance.pick(("integer", "numeric", "timestamp without time zone", "text"))
    options = ', COLLATION = "C"' if subtype == "text" and chance.maybe(0.5) else ""
    thing = Range(chance.fresh(schema), subtype=subtype, options=options)
    thing.options += f", MULTIRANGE_TYPE_NAME = m{schema.number()}"
    chance.decorate(thing)
    schema.add(thing)


def add_sequence(chance: _Chance, schema: Schema) -> None:
    type = chance.pick(("bigint", "integer", "smallint"))
    thing = Sequence(chance.fresh(schema), type=type, options=_counting(chance))
    owners = [(table.uid, column.uid) for table in schema.tables for column in table.columns]
    if owners and chance.maybe(0.3):
        thing.owned_by = chance.pick(owners)
    chance.decorate(thing, ("USAGE", "SELECT"))
    schema.add(thing)


def _counting(chance: _Chance) -> str:
    text = chance.pick(("", "", " INCREMENT BY 2", " INCREMENT BY -1"))
    if chance.maybe(0.3):
        text += " MINVALUE -50 MAXVALUE 1000"
    if chance.maybe(0.3):
        text += " START WITH " + ("-5" if "-1" in text and "MIN" not in text else "7")
    text += " CACHE 10" if chance.maybe(0.2) else ""
    return text + (" CYCLE" if chance.maybe(0.2) else "")


_EXTRAS = ("", "", "", " STRICT", " SECURITY DEFINER", " COST 7", " PARALLEL SAFE", " SET work_mem TO '8MB'")


def add_function(chance: _Chance, schema: Schema) -> None:
    shapes = ("sql", "typed", "typed", "typed", "defaults", "out", "variadic", "trigger", "trigger")
    shape = chance.pick((*shapes, "procedure", "aggregate", "calls", "path"))
    _add_function(chance, schema, shape)


def _add_function(chance: _Chance, schema: Schema, shape: str) -> Function:
    names = tuple(
        name.replace("_", " ") if chance.maybe(0.1) else name for name in ("f", "g", "h_h", "calc", "Do It")
    )
    thing = Function(chance.pick(names), shape=shape, n=chance.n(), type=Type("integer"))
    if chance.maybe(0.35):
        thing.type = chance.type(schema)
    others = [each.uid for each in schema.of(Function)]
    thing.function = chance.pick(others) if others else 0
    allowed = tuple(e for e in _EXTRAS if not (shape == "procedure" and e not in ("", " SECURITY DEFINER")))
    thing.extra = "" if shape == "aggregate" else chance.pick(allowed)
    taken = {each.name for each in schema.of(Function)}
    if chance.maybe(0.75):  # else an overload, or a clash that is left out
        while thing.name in taken:
            thing.name += "1"
    chance.decorate(thing, ("EXECUTE",))
    if chance.maybe(0.08):
        thing.grants.append(("-EXECUTE", "PUBLIC", False))
    schema.add(thing)
    return thing


def add_dictionary(chance: _Chance, schema: Schema) -> None:
    options = chance.pick(("", ", stopwords = english", ", accept = false"))
    thing = Dictionary(chance.fresh(schema), options=options)
    if chance.maybe(0.3):
        thing.template, thing.options = "snowball", ", language = german"
    chance.decorate(thing)
    schema.add(thing)


def add_configuration(chance: _Chance, schema: Schema) -> None:
    dictionaries = [each.uid for each in schema.of(Dictionary)] or [0]
    tokens = chance.some(["asciiword", "word", "numword", "email", "url"], 3)
    mappings = [(token, chance.pick(dictionaries)) for token in tokens]
    thing = Configuration(chance.fresh(schema), mappings=mappings, copy=chance.maybe(0.5))
    chance.decorate(thing)
    schema.add(thing)


_ADD_FIRST: tuple[Edit, ...] = (
    add_enum,
    add_enum,
    add_domain,
    add_composite,
    add_range,
    add_sequence,
    add_function,
    add_function,
    add_function,
    add_dictionary,
    add_configuration,
)


# ----------------------------------------------------------------------------------------- tables and parts


def add_table(chance: _Chance, schema: Schema) -> None:
    table = Table(chance.fresh(schema))
    table.uid = schema.number()
    schema.things[table.uid] = table
    key = Column("id", schema.number(), type=Type(chance.pick(("integer", "bigint", "uuid"))))
    table.columns.append(key)
    if chance.maybe(0.3) and key.type.name != "uuid":
        key.identity = chance.identity()
    for _ in range(chance.random.randint(1, 6)):
        table.columns.append(chance.column(schema, table))
    if chance.maybe(0.75):
        name = chance.named(schema, "key")
        table.constraints.append(Constraint(name, schema.number(), kind="PRIMARY KEY", columns=[key.uid]))
    table.unlogged = chance.maybe(0.08)
    table.options = chance.pick(("", "", "", "fillfactor=70", "autovacuum_enabled=false, fillfactor=80"))
    table.row_security = chance.maybe(0.1)
    table.force_row_security = chance.maybe(0.05)
    table.replica_identity = chance.pick(("", "", "", "", "FULL", "NOTHING"))
    chance.decorate(table, ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"))


def add_partitioned(chance: _Chance, schema: Schema) -> None:
    add_table(chance, schema)
    table = schema.tables[-1]
    method = chance.pick(("RANGE", "LIST", "HASH"))
    key = chance.pick(table.columns)
    key.identity = key.generated = None
    if method != "HASH":
        key.type = Type(chance.pick(("integer", "bigint")))
    elif key.type.name in ("json", "point", "tsvector", "bit varying(8)"):
        key.type = Type("integer")
    table.partition_key = (method, key.uid)
    table.unlogged, table.options = False, ""
    for bound in range(chance.random.randint(1, 3)):
        add_partition(chance, schema, table, bound)
    if method != "HASH" and chance.maybe(0.4):
        add_partition(chance, schema, table, -1)


def add_partition(chance: _Chance, schema: Schema, parent: Table, bound: int) -> None:
    table = Table(
        chance.fresh(schema, tuple(f"{name} part {bound}" for name in _NAMES)), partition_of=parent.uid
    )
    table.bound = bound
    if chance.maybe(0.1) and parent.partition_key and not parent.partition_of:
        table.partition_key = ("HASH", parent.partition_key[1])
    chance.decorate(table, ("SELECT",))
    schema.add(table)


def more_partitions(chance: _Chance, schema: Schema) -> None:
    parents = [table for table in schema.tables if table.partition_key]
    if parents:
        parent = chance.pick(parents)
        used = [table.bound for table in schema.tables if table.partition_of == parent.uid]
        add_partition(chance, schema, parent, max(used, default=-1) + 1)
    elif chance.maybe(0.5):
        add_partitioned(chance, schema)


def add_child(chance: _Chance, schema: Schema) -> None:
    parents = [table for table in schema.tables if not table.partition_key and not table.partition_of]
    if parents:
        parent = chance.pick(parents)
        table = Table(chance.fresh(schema), uid=schema.number(), parents=[parent.uid])
        schema.things[table.uid] = table
        for _ in range(chance.random.randint(0, 2)):
            table.columns.append(chance.column(schema, table))
        chance.decorate(table)


def _table(chance: _Chance, schema: Schema) -> Table:
    if not schema.tables:
        add_table(chance, schema)
    return chance.pick(schema.tables)


def add_column(chance: _Chance, schema: Schema) -> None:
    table = _table(chance, schema)
    if not table.partition_of:
        column = chance.column(schema, table)
        table.columns.insert(chance.random.randint(0, len(table.columns)), column)


def _columns(chance: _Chance, schema: Schema, table: Table, most: int) -> list[int]:
    columns = schema.all_columns(table)
    return [column.uid for column in chance.some(columns, most)] if columns else []


def add_unique(chance: _Chance, schema: Schema) -> None:
    table = _table(chance, schema)
    each = Constraint(chance.named(schema, "unique"), schema.number(), kind="UNIQUE")
    each.columns = _columns(chance, schema, table, 2)
    each.nulls_not_distinct = chance.maybe(0.2)
    each.deferrable = chance.pick(("", "", "", " DEFERRABLE", " DEFERRABLE INITIALLY DEFERRED"))
    if chance.maybe(0.15):
        each.include = [uid for uid in _columns(chance, schema, table, 1) if uid not in each.columns]
    chance.decorate(each)
    table.constraints.append(each)


def add_check(chance: _Chance, schema: Schema) -> None:
    table = _table(chance, schema)
    each = Constraint(chance.named(schema, "check"), schema.number(), kind="CHECK", n=chance.n())
    each.columns = _columns(chance, schema, table, 2)
    each.not_valid = chance.maybe(0.15)
    each.no_inherit = chance.maybe(0.1)
    functions = [f.uid for f in schema.of(Function) if isinstance(f, Function) and f.shape == "typed"]
    each.function = chance.pick(functions) if functions and chance.maybe(0.3) else 0
    chance.decorate(each)
    table.constraints.append(each)


def add_foreign_key(chance: _Chance, schema: Schema) -> None:
    table, other = _table(chance, schema), _table(chance, schema)
    keys = [
        each for each in other.constraints if each.kind in ("PRIMARY KEY", "UNIQUE") and not each.deferrable
    ]
    if not keys:
        return
    key = chance.pick(keys)
    referenced = list(key.columns)
    if other.partition_key and other.partition_key[1] not in referenced:
        referenced.append(other.partition_key[1])
    each = Constraint(chance.named(schema, "fk"), schema.number(), kind="FOREIGN KEY", table=other.uid)
    each.referenced = referenced
    columns = schema.all_columns(table)
    wanted = {column.uid: column.type for column in schema.all_columns(other)}
    for uid in referenced:
        fitting = [c.uid for c in columns if c.type == wanted.get(uid) and c.uid not in each.columns]
        if fitting and chance.maybe(0.6):
            each.columns.append(chance.pick(fitting))
        elif not table.partition_of and uid in wanted:
            column = Column(chance.column(schema, table).name, schema.number(), type=wanted[uid])
            table.columns.append(column)
            columns = schema.all_columns(table)
            each.columns.append(column.uid)
    actions = ("", "", " ON DELETE CASCADE", " ON DELETE SET NULL", " ON UPDATE CASCADE ON DELETE RESTRICT")
    each.actions = chance.pick((*actions, " MATCH FULL"))
    each.deferrable = chance.pick(("", "", " DEFERRABLE", " DEFERRABLE INITIALLY DEFERRED"))
    each.not_valid = chance.maybe(0.15)
    chance.decorate(each)
    table.constraints.append(each)


def add_exclusion(chance: _Chance, schema: Schema) -> None:
    table = _table(chance, schema)
    fitting = [c for c in schema.all_columns(table) if c.type.name not in ("json", "point")]
    if fitting:
        each = Constraint(chance.named(schema, "exclude"), schema.number(), kind="EXCLUDE", n=chance.n())
        each.columns = [chance.pick(fitting).uid]
        each.deferrable = chance.pick(("", "", " DEFERRABLE INITIALLY DEFERRED"))
        table.constraints.append(each)


def add_index(chance: _Chance, schema: Schema) -> None:
    table = _table(chance, schema)
    columns = schema.all_columns(table)
    if not columns:
        return
    by_family = {schema.family(column.type) if _alive(schema, column) else "" for column in columns}
    method = "btree"
    if by_family & {"jsonb", "texts", "ints", "tsvector"} and chance.maybe(0.4):
        method = "gin"
    elif by_family & {"range", "daterange", "point", "own range"} and chance.maybe(0.5):
        method = "gist"
    elif chance.maybe(0.15):
        method = chance.pick(("hash", "brin"))
    index = Index(chance.named(schema, "index"), schema.number(), method=method)
    index.keys = [chance_key(chance, schema, uid) for uid in _columns(chance, schema, table, 3)]
    if method in ("hash", "gin", "gist"):
        index.keys = index.keys[:1]
    _index_details(chance, schema, table, index)
    table.indexes.append(index)


def _alive(schema: Schema, column: Column) -> bool:
    return bool(column.type.name) or column.type.uid in schema.things


def chance_key(chance: _Chance, schema: Schema, uid: int) -> Key:
    key = Key(uid, suffix=chance.pick(("", "", "", " DESC", " DESC NULLS LAST", " NULLS FIRST", " pattern")))
    if chance.maybe(0.25):
        key.expression = chance.n()
        functions = [f.uid for f in schema.of(Function) if isinstance(f, Function) and f.shape == "typed"]
        key.function = chance.pick(functions) if functions and chance.maybe(0.4) else 0
    return key


def _index_details(chance: _Chance, schema: Schema, table: Table, index: Index) -> None:
    if chance.maybe(0.25):
        index.where = (chance.pick(schema.all_columns(table)).uid, chance.n())
    if index.method == "btree":
        index.unique = chance.maybe(0.2) and not table.partition_key
        index.nulls_not_distinct = chance.maybe(0.3)
        used = {key.column for key in index.keys}
        if chance.maybe(0.2):
            index.include = [uid for uid in _columns(chance, schema, table, 2) if uid not in used]
        taken = any(other.mark for other in table.indexes if other is not index)
        index.mark = "" if taken else chance.pick(("", "", "", "", "", "CLUSTER", "REPLICA"))
    index.options = chance.pick(("", "", "", "", "fillfactor=60"))
    index.statistics = 200 if chance.maybe(0.2) else None
    chance.decorate(index)


def add_trigger(chance: _Chance, schema: Schema) -> None:
    table = _table(chance, schema)
    found = [f for f in schema.of(Function) if isinstance(f, Function) and f.shape == "trigger"]
    function = chance.pick(found) if found else _add_function(chance, schema, "trigger")
    trigger = Trigger(chance.named(schema, "trigger"), schema.number(), function=function.uid)
    trigger.timing = chance.pick(("BEFORE", "AFTER"))
    trigger.events = chance.pick(
        ("INSERT", "UPDATE", "INSERT OR UPDATE", "DELETE", "INSERT OR DELETE OR UPDATE")
    )
    trigger.row = chance.maybe(0.7)
    if chance.maybe(0.3):
        trigger.columns = _columns(chance, schema, table, 2)
    columns = [column for column in schema.all_columns(table) if not column.generated]
    if columns and chance.maybe(0.3):
        trigger.when = (chance.pick(columns).uid, chance.n())
    if chance.maybe(0.15):
        trigger.constraint = chance.pick(
            (" DEFERRABLE INITIALLY DEFERRED", " NOT DEFERRABLE INITIALLY IMMEDIATE")
        )
    trigger.transition = chance.maybe(0.15)
    trigger.enabled = chance.pick(
        ("ENABLE", "ENABLE", "ENABLE", "DISABLE", "ENABLE ALWAYS", "ENABLE REPLICA")
    )
    chance.decorate(trigger)
    table.triggers.append(trigger)


def add_policy(chance: _Chance, schema: Schema) -> None:
    table = _table(chance, schema)
    columns = schema.all_columns(table)
    if not columns:
        return
    policy = Policy(chance.named(schema, "policy"), schema.number())
    policy.command = chance.pick(("ALL", "SELECT", "INSERT", "UPDATE", "DELETE"))
    policy.permissive = chance.maybe(0.7)
    policy.roles = chance.pick((("PUBLIC",), (ROLES[0],), ROLES))
    policy.using = (chance.pick(columns).uid, chance.n())
    policy.check = (chance.pick(columns).uid, chance.n()) if chance.maybe(0.5) else None
    if policy.command == "INSERT":
        policy.check = policy.using
    others = [each.uid for each in schema.tables if each.uid != table.uid]
    policy.other = chance.pick(others) if others and chance.maybe(0.3) else 0
    chance.decorate(policy)
    table.policies.append(policy)


def add_rule(chance: _Chance, schema: Schema) -> None:
    table = _table(chance, schema)
    columns = schema.all_columns(table)
    rule = Rule(chance.named(schema, "rule"), schema.number())
    rule.event = chance.pick(("INSERT", "UPDATE", "DELETE"))
    rule.where = (chance.pick(columns).uid, chance.n()) if columns and chance.maybe(0.6) else None
    others = [each.uid for each in schema.tables if each.uid != table.uid]
    rule.other = chance.pick(others) if others and chance.maybe(0.5) else 0
    rule.enabled = chance.pick(("ENABLE", "ENABLE", "DISABLE"))
    chance.decorate(rule)
    table.rules.append(rule)


def add_statistics(chance: _Chance, schema: Schema) -> None:
    table = _table(chance, schema)
    columns = [c for c in schema.all_columns(table) if c.type.name not in ("json", "point")]
    if len(columns) < 2 or table.partition_of:
        return
    each = Statistics(chance.named(schema, "stats"), schema.number())
    each.columns = [column.uid for column in chance.random.sample(columns, 2)]
    each.kinds = chance.pick(("", " (ndistinct)", " (dependencies, mcv)"))
    each.expression = chance.n() if chance.maybe(0.3) else None
    each.target = 300 if chance.maybe(0.3) else None
    chance.decorate(each)
    table.statistics.append(each)


_SHAPES = (
    "plain",
    "plain",
    "plain",
    "distinct",
    "union",
    "window",
    "cte",
    "row",
    "count",
    "group",
    "function",
)


def add_view(chance: _Chance, schema: Schema) -> None:
    sources: list[Table | View] = [*schema.tables, *schema.views, *schema.views]
    if not sources:
        return
    view = View(chance.fresh(schema), uid=schema.number())
    view.sources = [each.uid for each in chance.some(sources, 2)]
    view.sources = list(dict.fromkeys(view.sources))
    for uid in view.sources:
        for _ in range(chance.random.randint(1, 3)):
            _add_output(chance, schema, view, uid)
    view.shape = chance.pick(_SHAPES)
    functions = [f.uid for f in schema.of(Function) if isinstance(f, Function) and f.shape == "typed"]
    view.function = chance.pick(functions) if functions else 0
    _view_details(chance, schema, view)
    schema.things[view.uid] = view


def _add_output(chance: _Chance, schema: Schema, view: View, source: int) -> None:
    thing = schema.things.get(source)
    if isinstance(thing, Table):
        columns = [column.uid for column in schema.all_columns(thing)]
    elif isinstance(thing, View):
        columns = [output.uid for output in thing.outputs]
    else:
        return
    taken = {output.name for output in view.outputs}
    free = [name for name in (*_COLUMNS, *(f"out{n}" for n in range(20))) if name not in taken]
    output = Output(chance.pick(free), schema.number(), source=source, n=chance.n())
    output.form = chance.pick(("plain", "plain", "plain", "expression", "constant"))
    output.column = chance.pick(columns) if columns else 0
    view.outputs.append(output)


def _view_details(chance: _Chance, schema: Schema, view: View) -> None:
    if chance.maybe(0.4) and view.outputs:
        output = chance.pick(view.outputs)
        if output.column:
            view.where = (output.source, output.column, chance.n())
    view.materialized = chance.maybe(0.25)
    view.populated = chance.maybe(0.8)
    view.options = chance.pick(("", "", "", "security_barrier=true", "security_invoker=true"))
    if view.outputs and chance.maybe(0.6):
        index = Index(chance.named(schema, "vindex"), schema.number(), unique=chance.maybe(0.2))
        index.keys = [Key(chance.pick(view.outputs).uid)]
        chance.decorate(index)
        view.indexes.append(index)
    found = [f for f in schema.of(Function) if isinstance(f, Function) and f.shape == "trigger"]
    if found and chance.maybe(0.15):
        view.trigger = Trigger(
            chance.named(schema, "vtrigger"), schema.number(), function=chance.pick(found).uid
        )
        chance.decorate(view.trigger)
    view.column_comment = f"column note {chance.n()}" if chance.maybe(0.15) else None
    chance.decorate(view, ("SELECT", "INSERT"))


def add_late_function(chance: _Chance, schema: Schema) -> None:
    table = _table(chance, schema)
    columns = schema.all_columns(table)
    if columns:
        thing = _add_function(chance, schema, chance.pick(("atomic", "table", "setof", "row")))
        thing.table, thing.column = table.uid, chance.pick(columns).uid


_ADD_LATER: tuple[Edit, ...] = (
    add_column,
    add_unique,
    add_check,
    add_check,
    add_foreign_key,
    add_foreign_key,
    add_exclusion,
    add_index,
    add_index,
    add_index,
    add_trigger,
    add_policy,
    add_rule,
    add_statistics,
    add_view,
    add_view,
    add_view,
    add_late_function,
    add_child,
    add_partitioned,
    more_partitions,
)


# -------------------------------------------------------------------------------------------------- changes


def drop_something(chance: _Chance, schema: Schema) -> None:
    if schema.things:
        del schema.things[chance.pick(list(schema.things))]


def drop_column(chance: _Chance, schema: Schema) -> None:
    table = _table(chance, schema)
    if len(table.columns) > 1:
        table.columns.remove(chance.pick(table.columns))


def drop_part(chance: _Chance, schema: Schema) -> None:
    table = _table(chance, schema)
    parts: list[list[Thing]] = [
        part  # type: ignore[misc]  # lists of each kind of thing
        for part in (
            table.constraints,
            table.indexes,
            table.triggers,
            table.policies,
            table.rules,
            table.statistics,
        )
        if part
    ]
    if parts:
        part = chance.pick(parts)
        part.remove(chance.pick(part))


def rename_table(chance: _Chance, schema: Schema) -> None:
    table = _table(chance, schema)
    table.name = chance.fresh(schema)


def rename_column(chance: _Chance, schema: Schema) -> None:
    table = _table(chance, schema)
    taken = {column.name for other in schema.tables for column in other.columns}
    free = [name for name in (*_COLUMNS, "renamed", "Renamed 2") if name not in taken]
    if table.columns and free:
        chance.pick(table.columns).name = chance.pick(free)


def replace_column(chance: _Chance, schema: Schema) -> None:
    """Another column under the same name."""
    table = _table(chance, schema)
    if table.columns and not table.partition_key:
        place = chance.random.randrange(len(table.columns))
        fresh = chance.column(schema, table)
        fresh.name = table.columns[place].name
        table.columns[place] = fresh


def _column(chance: _Chance, schema: Schema) -> Column | None:
    columns = [column for table in schema.tables for column in table.columns]
    return chance.pick(columns) if columns else None


def retype(chance: _Chance, schema: Schema) -> None:
    """Give columns another type: where foreign keys tie them to others, these too."""
    column = _column(chance, schema)
    if column is None or not _alive(schema, column):
        return
    neighbours = _NEIGHBOURS.get(schema.family(column.type), ())
    new = Type(chance.pick(neighbours)) if neighbours and chance.maybe(0.8) else chance.type(schema)
    tied = {column.uid}
    for table in schema.tables:
        for each in table.constraints:
            for mine, theirs in zip(each.columns, each.referenced, strict=False):
                if {mine, theirs} & tied:
                    tied |= {mine, theirs}
    for table in schema.tables:
        for each_column in table.columns:
            if each_column.uid in tied:
                each_column.type = new
                each_column.collation = each_column.collation if new.name in ("text",) else None


def change_null(chance: _Chance, schema: Schema) -> None:
    if column := _column(chance, schema):
        column.not_null = not column.not_null


def change_default(chance: _Chance, schema: Schema) -> None:
    if column := _column(chance, schema):
        column.default = chance.n() if column.default is None or chance.maybe(0.5) else None
        column.default_function = column.default_sequence = 0
        if column.default is not None:
            column.identity = column.generated = None


def change_identity(chance: _Chance, schema: Schema) -> None:
    columns = [
        column
        for table in schema.tables
        for column in table.columns
        if column.type.name in ("integer", "bigint", "smallint")
    ]
    if columns:
        column = chance.pick(columns)
        column.identity = None if column.identity and chance.maybe(0.4) else chance.identity()
        column.default = column.generated = None
        column.default_function = column.default_sequence = 0


def change_generated(chance: _Chance, schema: Schema) -> None:
    table = _table(chance, schema)
    found = [column for column in table.columns if column.generated]
    if found:
        column = chance.pick(found)
        if column.generated and chance.maybe(0.5):
            column.generated.n += 1
        else:
            column.generated = None
    elif len(table.columns) > 1:
        column, source = chance.random.sample(table.columns, 2)
        if not column.identity:
            column.generated, column.type = Generated(source.uid, chance.n()), Type("text")
            column.default, column.default_function, column.default_sequence = None, 0, 0


def change_settings(chance: _Chance, schema: Schema) -> None:
    if column := _column(chance, schema):
        column.storage = chance.pick((None, "EXTERNAL", "MAIN"))
        column.statistics = chance.pick((None, 0, 100))
        column.compression = chance.pick((None, "pglz"))
        column.n_distinct = chance.pick((None, 9))


def change_collation(chance: _Chance, schema: Schema) -> None:
    texts = [c for t in schema.tables for c in t.columns if c.type.name in ("text", "character varying(40)")]
    if texts:
        chance.pick(texts).collation = chance.pick((None, '"C"', '"POSIX"'))


def change_table(chance: _Chance, schema: Schema) -> None:
    table = _table(chance, schema)
    if chance.maybe(0.3) and not table.partition_key:
        table.unlogged = not table.unlogged
    table.options = chance.pick(("", "fillfactor=50", "autovacuum_enabled=false"))
    table.row_security = chance.maybe(0.3)
    table.force_row_security = chance.maybe(0.2)
    table.replica_identity = chance.pick(("", "FULL", "NOTHING"))


def change_comment(chance: _Chance, schema: Schema) -> None:
    things: list[Thing] = [*schema.things.values()]
    for table in schema.tables:
        things += [
            *table.columns,
            *table.constraints,
            *table.indexes,
            *table.triggers,
            *table.policies,
            *table.rules,
        ]
    if things:
        chance.pick(things).comment = chance.pick((None, f"another {chance.n()}", "a ' and a \\ and a %s"))


def change_grants(chance: _Chance, schema: Schema) -> None:
    things = [thing for thing in schema.things.values() if isinstance(thing, Table | View)]
    if things:
        thing = chance.pick(things)
        thing.grants = []
        if chance.maybe(0.7):
            chosen = chance.some(("SELECT", "INSERT", "UPDATE", "DELETE", "REFERENCES", "TRIGGER"), 3)
            thing.grants = [(privilege, chance.pick(ROLES), chance.maybe(0.2)) for privilege in chosen]
        if isinstance(thing, Table) and thing.columns and chance.maybe(0.5):
            column = chance.pick(thing.columns)
            thing.column_grants = [(chance.pick(("SELECT", "UPDATE")), chance.pick(ROLES), column.uid)]


def change_constraint(chance: _Chance, schema: Schema) -> None:
    found = [each for table in schema.tables for each in table.constraints]
    if found:
        each = chance.pick(found)
        each.n = chance.n()
        each.not_valid = not each.not_valid
        each.deferrable = chance.pick(("", " DEFERRABLE", " DEFERRABLE INITIALLY DEFERRED"))
        each.actions = chance.pick(("", " ON DELETE CASCADE")) if each.kind == "FOREIGN KEY" else ""
        if each.kind == "UNIQUE":
            each.nulls_not_distinct = chance.maybe(0.5)


def change_key(chance: _Chance, schema: Schema) -> None:
    """Another column into a primary or unique key."""
    table = _table(chance, schema)
    found = [each for each in table.constraints if each.kind in ("PRIMARY KEY", "UNIQUE")]
    if found and table.columns:
        each = chance.pick(found)
        each.columns = _columns(chance, schema, table, 2)


def change_index(chance: _Chance, schema: Schema) -> None:
    found = [(table, index) for table in schema.tables for index in table.indexes]
    if found:
        table, index = chance.pick(found)
        if chance.maybe(0.5):
            index.keys = [chance_key(chance, schema, uid) for uid in _columns(chance, schema, table, 2)][
                : 1 if index.method in ("hash", "gin", "gist") else 2
            ]
        else:
            _index_details(chance, schema, table, index)


def change_enum(chance: _Chance, schema: Schema) -> None:
    found = [each for each in schema.of(Enum) if isinstance(each, Enum)]
    if not found:
        return
    enum = chance.pick(found)
    how = chance.random.randrange(4)
    free = [label for label in ("added", "first", "it''s", "Zed", "mid") if label not in enum.labels]
    if how <= 1 and free:
        for label in chance.some(free, 2):
            enum.labels.insert(chance.random.randint(0, len(enum.labels)), label)
    elif how == 2 and len(enum.labels) > 1:
        enum.labels.remove(chance.pick(enum.labels))
    else:
        chance.random.shuffle(enum.labels)


def change_domain(chance: _Chance, schema: Schema) -> None:
    found = [each for each in schema.of(Domain) if isinstance(each, Domain)]
    if not found:
        return
    domain = chance.pick(found)
    match chance.random.randrange(5):
        case 0:
            domain.type = Type(chance.pick(_COMMON_TYPES))
        case 1:
            domain.not_null = not domain.not_null
        case 2:
            domain.default = chance.pick((None, chance.n()))
        case 3:
            domain.checks = []
        case _:
            domain.checks.append((f"check {chance.n()} {len(domain.checks)}", chance.n(), chance.maybe(0.3)))


def change_composite(chance: _Chance, schema: Schema) -> None:
    found = [each for each in schema.of(Composite) if isinstance(each, Composite)]
    if not found:
        return
    composite = chance.pick(found)
    how = chance.random.randrange(3)
    if how == 0:
        composite.attributes.append((f"more{len(composite.attributes)}", Type(chance.pick(_COMMON_TYPES))))
    elif how == 1 and len(composite.attributes) > 1:
        composite.attributes.remove(chance.pick(composite.attributes))
    elif composite.attributes:
        place = chance.random.randrange(len(composite.attributes))
        composite.attributes[place] = (composite.attributes[place][0], Type(chance.pick(_COMMON_TYPES)))


def change_range(chance: _Chance, schema: Schema) -> None:
    found = [each for each in schema.of(Range) if isinstance(each, Range)]
    if found:
        each = chance.pick(found)
        each.subtype = chance.pick(("integer", "bigint", "date"))
        each.options = each.options.replace(', COLLATION = "C"', "")


def change_sequence(chance: _Chance, schema: Schema) -> None:
    found = [each for each in schema.of(Sequence) if isinstance(each, Sequence)]
    if found:
        sequence = chance.pick(found)
        sequence.type = chance.pick(("bigint", "integer"))
        sequence.options = _counting(chance)
        owners = [(table.uid, column.uid) for table in schema.tables for column in table.columns]
        sequence.owned_by = chance.pick(owners) if owners and chance.maybe(0.4) else None


def change_function(chance: _Chance, schema: Schema) -> None:
    found = [each for each in schema.of(Function) if isinstance(each, Function)]
    if found:
        function = chance.pick(found)
        if chance.maybe(0.5):
            function.n += 1
        elif chance.maybe(0.5) and function.shape not in ("aggregate", "procedure"):
            function.extra = chance.pick(_EXTRAS)
        else:
            function.type = chance.type(schema)


def change_view(chance: _Chance, schema: Schema) -> None:
    if not schema.views:
        return
    view = chance.pick(schema.views)
    match chance.random.randrange(6):
        case 0:
            _add_output(chance, schema, view, chance.pick(view.sources))
        case 1 if len(view.outputs) > 1:
            view.outputs.remove(chance.pick(view.outputs))
        case 2:
            view.shape = chance.pick(_SHAPES)
        case 3:
            view.materialized = not view.materialized
        case 4:
            view.options = chance.pick(("", "security_barrier=true"))
        case _:
            chance.random.shuffle(view.outputs)


def change_trigger(chance: _Chance, schema: Schema) -> None:
    found = [(table, trigger) for table in schema.tables for trigger in table.triggers]
    if found:
        table, trigger = chance.pick(found)
        trigger.enabled = chance.pick(("ENABLE", "DISABLE", "ENABLE ALWAYS", "ENABLE REPLICA"))
        if chance.maybe(0.5):
            trigger.events = chance.pick(("INSERT", "UPDATE", "DELETE"))
            trigger.columns = _columns(chance, schema, table, 1) if chance.maybe(0.4) else []


def change_policy(chance: _Chance, schema: Schema) -> None:
    found = [(table, policy) for table in schema.tables for policy in table.policies]
    if found:
        table, policy = chance.pick(found)
        columns = schema.all_columns(table)
        policy.roles = chance.pick((("PUBLIC",), ROLES))
        if columns and chance.maybe(0.5):
            policy.using = (chance.pick(columns).uid, chance.n())
        if chance.maybe(0.3):
            policy.permissive = not policy.permissive
        if chance.maybe(0.3):
            policy.command = chance.pick(("ALL", "SELECT", "UPDATE"))


def change_statistics(chance: _Chance, schema: Schema) -> None:
    found = [each for table in schema.tables for each in table.statistics]
    if found:
        each = chance.pick(found)
        each.target = chance.pick((None, 10))
        each.kinds = chance.pick(("", " (mcv)"))


def change_search(chance: _Chance, schema: Schema) -> None:
    for each in [*schema.of(Dictionary), *schema.of(Configuration)]:
        if isinstance(each, Dictionary) and each.template == "simple":
            each.options = chance.pick(("", ", stopwords = german", ", accept = false"))
        elif isinstance(each, Configuration) and each.mappings:
            each.mappings = chance.some(each.mappings, 3)
            if chance.maybe(0.3):
                each.copy = not each.copy


def change_partition(chance: _Chance, schema: Schema) -> None:
    parts = [table for table in schema.tables if table.partition_of]
    if parts:
        part = chance.pick(parts)
        how = chance.random.randrange(3)
        if how == 0:
            part.bound += 5
        elif how == 1:
            parent = schema.things.get(part.partition_of)
            if isinstance(parent, Table):  # it stands for itself now
                part.columns = deepcopy(schema.all_columns(parent))
                part.partition_of = 0
        else:
            del schema.things[part.uid]


def change_parents(chance: _Chance, schema: Schema) -> None:
    children = [table for table in schema.tables if table.parents]
    if children:
        child = chance.pick(children)
        parent = schema.things.get(child.parents[0])
        if isinstance(parent, Table):
            mine = {column.name for column in child.columns}
            copied = [c for c in deepcopy(schema.all_columns(parent)) if c.name not in mine]
            for column in copied:
                column.uid = schema.number()
            child.columns = [*copied, *child.columns]
            child.parents = [] if chance.maybe(0.7) else child.parents


def partition_table(chance: _Chance, schema: Schema) -> None:
    """A table that becomes partitioned, or the other way."""
    table = _table(chance, schema)
    if table.partition_of or table.parents:
        return
    if table.partition_key:
        table.partition_key = None
    elif table.columns and _alive(schema, table.columns[0]):
        table.columns[0].identity = None
        table.columns[0].type = Type("integer")
        table.partition_key = (chance.pick(("RANGE", "LIST", "HASH")), table.columns[0].uid)
        add_partition(chance, schema, table, 0)


_CHANGES: tuple[Edit, ...] = (
    drop_something,
    drop_something,
    drop_column,
    drop_column,
    drop_part,
    drop_part,
    rename_table,
    rename_column,
    rename_column,
    replace_column,
    retype,
    retype,
    retype,
    retype,
    change_null,
    change_null,
    change_default,
    change_default,
    change_identity,
    change_generated,
    change_settings,
    change_collation,
    change_table,
    change_comment,
    change_comment,
    change_grants,
    change_constraint,
    change_key,
    change_index,
    change_enum,
    change_enum,
    change_domain,
    change_composite,
    change_range,
    change_sequence,
    change_function,
    change_function,
    change_view,
    change_view,
    change_trigger,
    change_policy,
    change_statistics,
    change_search,
    change_partition,
    change_parents,
    partition_table,
)
_EDITS: tuple[Edit, ...] = (*_CHANGES, *_CHANGES, *_ADD_FIRST, *_ADD_LATER, add_table)
