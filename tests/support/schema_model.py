"""A schema as values that a chance can edit: things know each other by number, and their SQL is written last.

A thing that refers to one that is gone writes nothing, so any edit leaves a schema that can be made. A column
that changes its type changes what its defaults, checks and indexes say, not whether they are there. Two
copies of a schema keep the numbers, so what was renamed is known.

It is one module because each kind of thing is one class and one method that writes it, and all of the
methods read the same schema.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from database_handler.migrations.schema.schema_diff.statement import Rename
from database_handler.migrations.schema.snapshot import Kind, ObjectId

SCHEMA = "@schema@"
"""Stands in a statement for the name of the schema that it will run in."""

ROLES = ("pair_reader", '"Pair Writer"')
_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_RESERVED = frozenset({"select", "order", "user", "table", "check", "desc", "when"})


class Missing(Exception):
    """What a thing refers to is gone."""


def quoted(name: str) -> str:
    """Spell a name as the server's quote_ident does (for the names that are used here)."""
    if _PLAIN.fullmatch(name) and name not in _RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@dataclass(frozen=True)
class Type:
    """A type: the server's own by its name, or one of the schema by its number."""

    name: str = ""
    uid: int = 0
    array: bool = False


FAMILIES = {
    "smallint": "int",
    "integer": "int",
    "bigint": "int",
    "numeric": "number",
    "numeric(8,2)": "number",
    "numeric(12,3)": "number",
    "real": "number",
    "double precision": "number",
    "text": "text",
    "character varying": "text",
    "character varying(40)": "text",
    "character varying(60)": "text",
    "character(12)": "text",
    "boolean": "bool",
    "date": "date",
    "timestamp without time zone": "time",
    "timestamp with time zone": "time",
    "timestamp(0) with time zone": "time",
    "interval": "interval",
    "uuid": "uuid",
    "jsonb": "jsonb",
    "json": "json",
    "bytea": "bytea",
    "int4range": "range",
    "daterange": "daterange",
    "inet": "inet",
    "bit varying(8)": "bits",
    "tsvector": "tsvector",
    "text[]": "texts",
    "integer[]": "ints",
    "point": "point",
}


@dataclass
class Thing:
    """What everything has; `uid` is 0 until it joins a schema."""

    name: str
    uid: int = 0
    comment: str | None = None
    grants: list[tuple[str, str, bool]] = field(default_factory=list)


@dataclass
class Identity:
    always: bool = True
    start: int | None = None
    increment: int | None = None
    cycle: bool = False


@dataclass
class Generated:
    """How a column is computed out of another (0: a constant), and through which function, if any."""

    source: int
    n: int
    function: int = 0


@dataclass
class Column(Thing):
    type: Type = field(default_factory=lambda: Type("integer"))
    not_null: bool = False
    default: int | None = None
    default_function: int = 0
    default_sequence: int = 0
    identity: Identity | None = None
    generated: Generated | None = None
    collation: str | None = None
    storage: str | None = None
    compression: str | None = None
    statistics: int | None = None
    n_distinct: int | None = None


@dataclass
class Constraint(Thing):
    kind: Literal["PRIMARY KEY", "UNIQUE", "FOREIGN KEY", "CHECK", "EXCLUDE"] = "CHECK"
    columns: list[int] = field(default_factory=list)
    n: int = 0
    function: int = 0
    table: int = 0
    referenced: list[int] = field(default_factory=list)
    actions: str = ""
    deferrable: str = ""
    not_valid: bool = False
    include: list[int] = field(default_factory=list)
    nulls_not_distinct: bool = False
    no_inherit: bool = False


@dataclass
class Key:
    """One key of an index: a column, or an expression over it."""

    column: int
    expression: int | None = None
    function: int = 0
    suffix: str = ""


@dataclass
class Index(Thing):
    keys: list[Key] = field(default_factory=list)
    method: str = "btree"
    unique: bool = False
    nulls_not_distinct: bool = False
    where: tuple[int, int] | None = None
    include: list[int] = field(default_factory=list)
    options: str = ""
    statistics: int | None = None
    mark: Literal["", "CLUSTER", "REPLICA"] = ""


@dataclass
class Trigger(Thing):
    function: int = 0
    timing: str = "BEFORE"
    events: str = "INSERT"
    columns: list[int] = field(default_factory=list)
    when: tuple[int, int] | None = None
    row: bool = True
    constraint: str = ""
    enabled: str = "ENABLE"
    transition: bool = False


@dataclass
class Policy(Thing):
    command: str = "ALL"
    permissive: bool = True
    roles: tuple[str, ...] = ("PUBLIC",)
    using: tuple[int, int] | None = None
    check: tuple[int, int] | None = None
    other: int = 0  # a table that the condition looks into


@dataclass
class Rule(Thing):
    event: str = "INSERT"
    where: tuple[int, int] | None = None
    other: int = 0  # a table that the rule writes to: NOTHING else
    enabled: str = "ENABLE"


@dataclass
class Statistics(Thing):
    kinds: str = ""
    columns: list[int] = field(default_factory=list)
    expression: int | None = None
    target: int | None = None


@dataclass
class Table(Thing):
    columns: list[Column] = field(default_factory=list)
    constraints: list[Constraint] = field(default_factory=list)
    indexes: list[Index] = field(default_factory=list)
    triggers: list[Trigger] = field(default_factory=list)
    policies: list[Policy] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    statistics: list[Statistics] = field(default_factory=list)
    unlogged: bool = False
    options: str = ""
    parents: list[int] = field(default_factory=list)
    partition_key: tuple[str, int] | None = None
    partition_of: int = 0
    bound: int = 0
    row_security: bool = False
    force_row_security: bool = False
    replica_identity: str = ""
    column_grants: list[tuple[str, str, int]] = field(default_factory=list)


@dataclass
class Enum(Thing):
    labels: list[str] = field(default_factory=list)


@dataclass
class Domain(Thing):
    type: Type = field(default_factory=lambda: Type("integer"))
    default: int | None = None
    not_null: bool = False
    checks: list[tuple[str, int, bool]] = field(default_factory=list)  # name, variant, NOT VALID
    collation: str | None = None


@dataclass
class Composite(Thing):
    attributes: list[tuple[str, Type]] = field(default_factory=list)


@dataclass
class Range(Thing):
    subtype: str = "integer"
    options: str = ""


@dataclass
class Sequence(Thing):
    type: str = "bigint"
    options: str = ""
    owned_by: tuple[int, int] | None = None
    unlogged: bool = False


@dataclass
class Function(Thing):
    shape: str = "sql"
    n: int = 0
    type: Type = field(default_factory=lambda: Type("integer"))
    table: int = 0
    column: int = 0
    function: int = 0
    extra: str = ""


@dataclass
class Output(Thing):
    """One column of a view: what it shows of which source."""

    source: int = 0
    column: int = 0
    form: str = "plain"
    n: int = 0


@dataclass
class View(Thing):
    sources: list[int] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    shape: str = "plain"
    where: tuple[int, int, int] | None = None  # source, column, variant
    options: str = ""
    materialized: bool = False
    populated: bool = True
    indexes: list[Index] = field(default_factory=list)
    trigger: Trigger | None = None
    column_comment: str | None = None
    column_default: int | None = None
    function: int = 0


@dataclass
class Dictionary(Thing):
    template: str = "simple"
    options: str = ""


@dataclass
class Configuration(Thing):
    mappings: list[tuple[str, int]] = field(default_factory=list)
    copy: bool = False


Object = Enum | Domain | Composite | Range | Sequence | Function | Table | View | Dictionary | Configuration


# ---------------------------------------------------------------------------------------------- expressions


def value(family: str, n: int) -> str:
    """Return a literal of a family; the n-th of any two families that cast go together."""
    k = n % 50 + 1
    return {
        "int": str(k),
        "number": f"{k}.5",
        "text": f"'{k}'",
        "bool": "true" if n % 2 else "false",
        "date": f"'2024-{k % 12 + 1:02}-{k % 28 + 1:02}'",
        "time": f"'2024-{k % 12 + 1:02}-{k % 28 + 1:02} 10:00:00'",
        "interval": f"'{k} days'",
        "uuid": f"'00000000-0000-4000-8000-0000000000{k:02}'",
        "jsonb": f"'{{\"a\": {k}}}'",
        "json": f"'{{\"a\": {k}}}'",
        "bytea": f"'\\x{k:02}'",
        "range": f"'[{k},{k + 1})'",
        "daterange": f"'[2024-01-01,2024-01-{k % 20 + 2:02})'",
        "inet": f"'10.0.0.{k}'",
        "bits": "B'101'",
        "tsvector": f"'{chr(97 + k % 26)}'",
        "texts": f"'{{t{k}}}'",
        "ints": f"'{{{k}}}'",
        "point": f"'({k},{k})'",
    }.get(family, "NULL")


def default(family: str, n: int) -> str:
    """Return a DEFAULT expression of a family: sometimes a function's."""
    special = {
        "time": ["now()", "CURRENT_TIMESTAMP"],
        "date": ["CURRENT_DATE"],
        "uuid": ["gen_random_uuid()"],
        "text": ["CURRENT_USER", "('x' || 'y')", "md5('a')"],
        "int": ["(1 + 2)"],
        "texts": ["ARRAY[]::text[]"],
    }.get(family, [])
    return special[n % len(special)] if special and n % 3 == 0 else value(family, n)


def predicate(family: str, column: str, n: int) -> str:
    """Return a condition that the n-th values mostly meet."""
    bound = 60 + n % 40
    choices = {
        "int": [
            f"{column} > 0",
            f"{column} < {bound}",
            f"{column} BETWEEN 0 AND {bound}",
            f"{column} IN (1, 2, 3, {bound})",
            f"{column} <> ALL (ARRAY[{bound}, 1000])",
            f"({column} > 0 AND {column} IS NOT NULL) OR {column} = {bound}",
        ],
        "number": [f"{column} >= 0", f"{column} < {bound}.25", f"abs({column}) < 1000"],
        "text": [
            f"length({column}) < {bound}",
            f"{column} <> ''",
            f"{column} ~ '^[a-z0-9 ]*$'",
            f"{column} IN ('1', '2', '3', 'x{bound}')",
            f"{column} LIKE '%' OR {column} IS NULL",
            f"lower({column}) = {column}",
        ],
        "bool": [f"{column} IS NOT NULL", f"{column} OR NOT {column}"],
        "date": [f"{column} > '2000-01-01'", f"{column} <> '1999-09-{bound % 28 + 1:02}'::date"],
        "time": [f"{column} > '2000-01-01 00:00:00'"],
        "jsonb": [f"jsonb_typeof({column}) = 'object'", f"{column} ? 'a'"],
        "range": [f"NOT isempty({column})"],
        "texts": [f"cardinality({column}) < {bound}", f"NOT ('no{bound}' = ANY ({column}))"],
        "ints": [f"{bound} <> ALL ({column})"],
    }.get(family, [f"{column} IS NOT NULL"])
    return choices[n % len(choices)]


def expression(family: str, column: str, n: int) -> tuple[str, str]:
    """Return an immutable expression over a column, and its family."""
    choices: dict[str, list[tuple[str, str]]] = {
        "int": [(f"({column} + {n})", "int"), (f"({column} % 7)", "int"), (f"abs({column})", "int")],
        "number": [(f"round({column})", "number"), (f"({column} * 2)", "number")],
        "text": [
            (f"lower({column})", "text"),
            (f"md5({column})", "text"),
            (f"length({column})", "int"),
            (f"({column} || 's' COLLATE \"C\")", "text"),
            (f"COALESCE({column}, 'none {n}')", "text"),
        ],
        "bool": [(f"(NOT {column})", "bool")],
        "date": [(f"({column} + {n})", "date")],
        "jsonb": [(f"({column} ->> 'k{n}')", "text")],
        "texts": [(f"cardinality({column})", "int")],
        "ints": [(f"cardinality({column})", "int")],
        "range": [(f"lower({column})", "int")],
    }
    found = choices.get(family, [(f"({column} IS NULL)", "bool")])
    return found[n % len(found)]


FAMILY_TYPES = {"int": "integer", "number": "numeric", "text": "text", "bool": "boolean", "date": "date"}


# --------------------------------------------------------------------------------------------------- schema


class Schema:
    """All things of a schema by their numbers, in the order in which they joined."""

    def __init__(self) -> None:
        self.things: dict[int, Object] = {}
        self._last = 0

    def number(self) -> int:
        self._last += 1
        return self._last

    def add(self, thing: Object) -> int:
        thing.uid = self.number()
        self.things[thing.uid] = thing
        return thing.uid

    def of(self, kind: type) -> list[Object]:
        return [thing for thing in self.things.values() if isinstance(thing, kind)]

    @property
    def tables(self) -> list[Table]:
        return [thing for thing in self.things.values() if isinstance(thing, Table)]

    @property
    def views(self) -> list[View]:
        return [thing for thing in self.things.values() if isinstance(thing, View)]

    def relation_names(self) -> set[str]:
        """The names that share one namespace: relations, their indexes, and types."""
        names = {thing.name for thing in self.things.values() if not isinstance(thing, Function)}
        for table in self.tables:
            names |= {each.name for each in (*table.indexes, *table.constraints, *table.statistics)}
        for view in self.views:
            names |= {each.name for each in view.indexes}
        return names

    def name(self, uid: int) -> str:
        if uid not in self.things:
            raise Missing(uid)
        return quoted(self.things[uid].name)

    def table(self, uid: int) -> Table:
        found = self.things.get(uid)
        if not isinstance(found, Table):
            raise Missing(uid)
        return found

    # ----------------------------------------------------------------------------------------------- columns

    def all_columns(self, table: Table) -> list[Column]:
        """A table's columns with those of its parents."""
        above = [table.partition_of] if table.partition_of else table.parents
        inherited = [
            column for uid in above if uid in self.things for column in self.all_columns(self.table(uid))
        ]
        mine = {column.name for column in table.columns}
        seen: set[str] = set(mine)
        kept = []
        for column in inherited:
            if column.name not in seen:
                kept.append(column)
                seen.add(column.name)
        return [*kept, *table.columns]

    def column(self, table: Table, uid: int) -> Column:
        for column in self.all_columns(table):
            if column.uid == uid:
                return column
        raise Missing(uid)

    def type(self, type: Type) -> str:
        name = type.name or self.name(type.uid)
        return f"{name}[]" if type.array else name

    def family(self, type: Type) -> str:
        if type.array:
            return "array"
        if type.name:
            return FAMILIES[type.name]
        match self.things.get(type.uid):
            case Domain(type=base):
                return self.family(base)
            case Enum() as enum:
                return f"enum {enum.uid}"
            case Range():
                return "own range"
            case Composite():
                return "composite"
            case _:
                raise Missing(type.uid)

    def value(self, type: Type, n: int) -> str:
        family = self.family(type)
        if family.startswith("enum "):
            enum = self.things[int(family[5:])]
            assert isinstance(enum, Enum)
            return literal(enum.labels[n % len(enum.labels)])
        return "'{}'" if family == "array" else value(family, n)

    def predicate(self, type: Type, column: str, n: int) -> str:
        family = self.family(type)
        if family.startswith("enum "):
            return f"{column} <> {self.value(type, n)} OR {column} IS NOT NULL"
        return predicate(family, column, n)

    def condition(self, table: Table, what: tuple[int, int], front: str = "") -> str:
        column = self.column(table, what[0])
        return self.predicate(column.type, front + quoted(column.name), what[1])

    # ----------------------------------------------------------------------------------------------- renames

    def renames_to(self, other: "Schema") -> tuple[Rename, ...]:
        """Tables and columns that go by another name in `other`, tables first."""
        found = []
        for uid, thing in self.things.items():
            new = other.things.get(uid)
            if isinstance(thing, Table) and isinstance(new, Table) and thing.name != new.name:
                found.append(
                    Rename(ObjectId(Kind.TABLE, quoted(thing.name)), ObjectId(Kind.TABLE, quoted(new.name)))
                )
        for old_name, new_name, old, fresh in self._column_renames(other):
            found.append(
                Rename(
                    ObjectId(Kind.COLUMN, quoted(old_name), quoted(old)),
                    ObjectId(Kind.COLUMN, quoted(new_name), quoted(fresh)),
                )
            )
        return tuple(found)

    def _column_renames(self, other: "Schema") -> Iterator[tuple[str, str, str, str]]:
        for uid, table in self.things.items():
            new = other.things.get(uid)
            if isinstance(table, Table) and isinstance(new, Table):
                names = {column.uid: column.name for column in new.columns}
                for column in table.columns:
                    fresh = names.get(column.uid, column.name)
                    if fresh != column.name:
                        yield table.name, new.name, column.name, fresh
