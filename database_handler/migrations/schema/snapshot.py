"""What a schema holds, as pure values: a snapshot is a mapping of object ids to what the server says of each.

Names are spelled as SQL needs them (quoted where they must be, qualified where the object stands outside of
the schema that was inspected), and every expression is the server's own deparsed text, so that two schemas
that mean the same give equal snapshots. What is carried but not compared (owners, positions, what an object
needs) says so at its field.

It is one module because the kinds and how they are written out and read again change together.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import cache
from hashlib import sha256
from typing import Any, NamedTuple, Self

from pydantic import TypeAdapter, ValidationError

from database_handler.core.exceptions import MigrationError
from database_handler.utils.arguments import checked

__all__ = [
    "Column",
    "CompositeType",
    "Constraint",
    "ConstraintType",
    "DefaultPrivileges",
    "Domain",
    "EnumType",
    "Extension",
    "Function",
    "Grant",
    "Identity",
    "Index",
    "Kind",
    "MaterializedView",
    "ObjectId",
    "Policy",
    "RangeType",
    "Rule",
    "Schema",
    "SchemaObject",
    "SchemaSnapshot",
    "Sequence",
    "SequenceOptions",
    "Statistics",
    "Table",
    "TextSearchConfiguration",
    "TextSearchDictionary",
    "Trigger",
    "Unmodelled",
    "View",
]


class Kind(StrEnum):
    """The kinds of object that a snapshot models."""

    SCHEMA = "schema"
    EXTENSION = "extension"
    ENUM = "enum"
    DOMAIN = "domain"
    COMPOSITE = "composite type"
    RANGE = "range type"
    SEQUENCE = "sequence"
    TABLE = "table"
    COLUMN = "column"
    CONSTRAINT = "constraint"
    DOMAIN_CONSTRAINT = "domain constraint"
    INDEX = "index"
    VIEW = "view"
    MATERIALIZED_VIEW = "materialized view"
    FUNCTION = "function"
    TRIGGER = "trigger"
    RULE = "rule"
    POLICY = "policy"
    STATISTICS = "statistics"
    DICTIONARY = "text search dictionary"
    CONFIGURATION = "text search configuration"
    DEFAULT_PRIVILEGES = "default privileges"


class ObjectId(NamedTuple):
    """Which object: its kind, its name as SQL spells it, and its part where it belongs to another.

    `name` is the relation's (or domain's) name for a column, constraint, trigger, rule or policy, whose own
    name is `part`. A function's name holds the types of its arguments: ``f(integer, text)``.
    """

    kind: Kind
    name: str
    part: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}{f'.{self.part}' if self.part else ''}"


class Grant(NamedTuple):
    """One privilege; `grantee` is ``""`` for the owner, ``PUBLIC``, or a role as SQL spells it."""

    grantee: str
    privilege: str
    grantable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaObject:
    """What every object has.

    Attributes
    ----------
    needs : tuple of ObjectId
        The objects of the snapshot that must be there for this one (pg_depend), sorted. Not compared.
    owner : str
        The role that owns it, as SQL spells it; empty where that is the role that looked, or where the
        object has no owner of its own. Not compared: it is restored where the object is made again.
    grants : tuple of Grant, optional
        The privileges, sorted; None where nothing was ever granted or revoked.
    """

    id: ObjectId
    needs: tuple[ObjectId, ...] = field(default=(), compare=False)
    owner: str = field(default="", compare=False)
    comment: str | None = None
    grants: tuple[Grant, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema(SchemaObject):
    """A schema; only in a snapshot of several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension(SchemaObject):
    """An extension; what it brought along is not in the snapshot. Where and which version: not compared."""

    schema: str = field(default="", compare=False)
    version: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnumType(SchemaObject):
    """An enum and its labels in order, unquoted."""

    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain(SchemaObject):
    """A domain; its checks are objects of their own."""

    type: str
    collation: str | None = None
    default: str | None = None
    not_null: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositeType(SchemaObject):
    """A composite type: (name, type, collation or None) of each attribute, in order."""

    attributes: tuple[tuple[str, str, str | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RangeType(SchemaObject):
    """A range type: what stands between the brackets of CREATE TYPE ... AS RANGE, as (name, value) pairs."""

    options: tuple[tuple[str, str], ...]


class SequenceOptions(NamedTuple):
    """How a sequence counts."""

    type: str
    start: int
    increment: int
    minimum: int
    maximum: int
    cache: int
    cycle: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence(SchemaObject):
    """A sequence of its own; those of identity columns belong to their columns.

    Attributes
    ----------
    owned_by : ObjectId, optional
        The column that it goes with (``serial`` makes such).
    """

    options: SequenceOptions
    persistence: str = "permanent"
    owned_by: ObjectId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table(SchemaObject):
    """A table; columns, constraints, indexes and the rest are objects of their own.

    Attributes
    ----------
    persistence : str
        ``permanent`` or ``unlogged``.
    partition_key : str, optional
        ``RANGE (day)`` and the like, of a partitioned table.
    parents : tuple of str
        What it inherits from, in order; of a partition, the partitioned table.
    partition_bound : str, optional
        ``FOR VALUES ...`` or ``DEFAULT``, of a partition.
    replica_identity : str
        ``default``, ``full`` or ``nothing``; an index says for itself that it is the identity.
    options : tuple of (name, value)
        Storage parameters, sorted.
    """

    persistence: str = "permanent"
    partition_key: str | None = None
    parents: tuple[str, ...] = ()
    partition_bound: str | None = None
    row_security: bool = False
    force_row_security: bool = False
    replica_identity: str = "default"
    options: tuple[tuple[str, str], ...] = ()
    access_method: str | None = None


class Identity(NamedTuple):
    """An identity column: when it is used, the name of its sequence and how that counts."""

    always: bool
    sequence: str
    options: SequenceOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(SchemaObject):
    """A column of a table.

    Attributes
    ----------
    default : str, optional
        The expression of a DEFAULT; None for a generated column, and for an identity.
    hides_default : bool
        Whether an identity has a default behind it, as CREATE TABLE leaves it below a parent with one: it
        shows where the identity goes. Not compared: no statement puts it there afterwards.
    generated, expression : str, optional
        ``stored`` or ``virtual``, and what is computed.
    collation : str, optional
        Where it is not the type's own.
    storage, compression : str, optional
        Where they are not the type's own; ``PLAIN``, ``EXTERNAL``, ``EXTENDED``, ``MAIN``; ``pglz``, ``lz4``.
    statistics : int, optional
        The statistics target, where one was set.
    options : tuple of (name, value)
        Attribute options, sorted.
    inherited : bool
        Whether it comes from a parent only. Not compared: no statement changes that by itself.
    position : int
        Its place. Not compared.
    """

    type: str
    position: int = field(default=0, compare=False)
    collation: str | None = None
    default: str | None = None
    hides_default: bool = field(default=False, compare=False)
    not_null: bool = False
    identity: Identity | None = None
    generated: str | None = None
    expression: str | None = None
    storage: str | None = None
    compression: str | None = None
    statistics: int | None = None
    options: tuple[tuple[str, str], ...] = ()
    inherited: bool = field(default=False, compare=False)


class ConstraintType(StrEnum):
    """The kinds of constraint; NOT NULL belongs to its column."""

    PRIMARY_KEY = "primary key"
    UNIQUE = "unique"
    FOREIGN_KEY = "foreign key"
    CHECK = "check"
    EXCLUSION = "exclusion"


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint(SchemaObject):
    """A constraint of a table or domain.

    Attributes
    ----------
    definition : str
        What follows ``ADD CONSTRAINT name``, without NOT VALID.
    columns : tuple of str
        The columns that it is on, in order, as SQL spells them.
    references : str, optional
        The table that a foreign key refers to.
    inherited : bool
        Whether it comes from a parent only (such ones are made and dropped with the parent's). Not compared.
    spelled : str, optional
        The server's own text of it, where `definition` is a settled one that means the same. Not compared.
    """

    type: ConstraintType
    definition: str
    columns: tuple[str, ...] = ()
    references: str | None = None
    validated: bool = True
    inherited: bool = field(default=False, compare=False)
    clustered: bool = False
    replica_identity: bool = False
    spelled: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index(SchemaObject):
    """An index that is no constraint's.

    Attributes
    ----------
    table : str
        The table or materialised view.
    definition : str
        What follows ``CREATE [UNIQUE] INDEX name ``: ``ON table USING btree (...)``.
    parent : str, optional
        The partitioned index that it is a part of.
    statistics : tuple of (column number, target)
        Statistics targets of expressions.
    """

    table: str
    definition: str
    unique: bool = False
    method: str = "btree"
    columns: tuple[str, ...] = ()
    valid: bool = True
    clustered: bool = False
    replica_identity: bool = False
    parent: str | None = None
    statistics: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class View(SchemaObject):
    """A view.

    Attributes
    ----------
    definition : str
        The query, without the semicolon.
    columns : tuple of (name, type)
        Its columns in order: CREATE OR REPLACE may only add at the end.
    options : tuple of (name, value)
        ``security_barrier``, ``check_option`` and the like, sorted.
    defaults, column_comments : tuple of (column, text)
        Defaults and comments of its columns, sorted.
    """

    definition: str
    columns: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    defaults: tuple[tuple[str, str], ...] = ()
    column_comments: tuple[tuple[str, str], ...] = ()
    column_grants: tuple[tuple[str, Grant], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MaterializedView(View):
    """A materialised view; its indexes are objects of their own."""

    populated: bool = True
    access_method: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Function(SchemaObject):
    """A function, procedure, window function or aggregate.

    Attributes
    ----------
    type : str
        ``FUNCTION``, ``PROCEDURE`` or ``AGGREGATE``: the word in its statements.
    definition : str
        What follows ``CREATE [OR REPLACE] FUNCTION name``: arguments, result, language, body. Where it names
        the schema inspected itself, the mark `SCHEMA_MARK` stands for that.
    arguments, result : str
        As deparsed, with names and defaults; a change of the result cannot be replaced in place.
    """

    type: str
    definition: str
    arguments: str = ""
    result: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger(SchemaObject):
    """A trigger of a table or view that is no constraint's.

    Attributes
    ----------
    definition : str
        The whole statement.
    enabled : str
        ``ENABLE``, ``DISABLE``, ``ENABLE REPLICA`` or ``ENABLE ALWAYS``.
    inherited : bool
        Whether it is a partition's copy of its parent's trigger. Not compared.
    """

    definition: str
    enabled: str = "ENABLE"
    inherited: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(SchemaObject):
    """A rewrite rule that is no view's own: the whole statement, and how it is enabled."""

    definition: str
    enabled: str = "ENABLE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(SchemaObject):
    """A policy of row-level security; `roles` sorted, ``PUBLIC`` for everybody."""

    command: str
    permissive: bool
    roles: tuple[str, ...]
    using: str | None = None
    check: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics(SchemaObject):
    """Extended statistics: the whole statement, and the target where one was set."""

    definition: str
    target: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSearchDictionary(SchemaObject):
    """A text search dictionary: its template and its options as SQL, in their order."""

    template: str
    options: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSearchConfiguration(SchemaObject):
    """A text search configuration: its parser, and (token type, dictionaries in order) sorted by type."""

    parser: str
    mappings: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultPrivileges(SchemaObject):
    """Privileges that objects made later get; `id.name` is the role, `id.part` the kind of object.

    Attributes
    ----------
    on : str
        ``TABLES``, ``SEQUENCES``, ``FUNCTIONS`` or ``TYPES``.
    schema : str
        In which schema, as SQL spells it; empty in a snapshot of one, where it is that one.
    """

    on: str = ""
    schema: str = ""


class Unmodelled(NamedTuple):
    """An object that is there and that no snapshot models: its kind and name, as the server tells them."""

    kind: str
    name: str


SCHEMA_MARK = "\ue000schema\ue000"
"""Stands in a function's definition for the name of the schema inspected, which differs between copies."""


@dataclass(frozen=True, slots=True)
class SchemaSnapshot:
    """All objects of a schema (or of several), by their ids, in the order of the ids.

    Attributes
    ----------
    unmodelled : tuple of Unmodelled
        What else is there, sorted: reported, never compared.
    server_version : int
        Such as 180006. Not compared.
    """

    objects: Mapping[ObjectId, SchemaObject]
    unmodelled: tuple[Unmodelled, ...] = field(default=(), compare=False)
    server_version: int = field(default=0, compare=False)

    def __iter__(self) -> Iterator[SchemaObject]:
        return iter(self.objects.values())

    def __len__(self) -> int:
        return len(self.objects)

    @property
    def fingerprint(self) -> str:
        """The SHA-256, in hexadecimal, of what is compared: equal snapshots have one, others another."""
        told = [_told(each, _compared(each.id.kind)) for each in self]
        text = json.dumps(told, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    @checked
    def without(self, unwanted: Callable[[SchemaObject], bool]) -> Self:
        """Return a snapshot that lacks the objects that `unwanted` says yes to, and all needs of them."""
        kept = {id: each for id, each in self.objects.items() if not unwanted(each)}
        return self._of({id: _needing(each, kept) for id, each in kept.items()})

    @checked
    def overlaid(self, objects: Mapping[ObjectId, SchemaObject]) -> Self:
        """Return a snapshot that holds `objects` as well, in place of those of the same ids."""
        return self._of({**self.objects, **objects})

    def _of(self, objects: Mapping[ObjectId, SchemaObject]) -> Self:
        return type(self)(dict(sorted(objects.items())), self.unmodelled, self.server_version)

    def to_json(self) -> str:
        """Return the whole snapshot as JSON text, one object a list; `from_json` reads it again."""
        return json.dumps(
            {
                "format": _FORMAT,
                "server_version": self.server_version,
                "unmodelled": self.unmodelled,
                "objects": [_told(each, _fields(each.id.kind)) for each in self],
            },
            ensure_ascii=False,
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the snapshot that `to_json` wrote.

        Raises
        ------
        MigrationError
            The text is no snapshot, or one of a format that this version does not know.
        """
        try:
            told = json.loads(text)
            if told["format"] == _FORMAT:
                objects = [_read(each) for each in told["objects"]]
                unmodelled = tuple(Unmodelled(*each) for each in told["unmodelled"])
                return cls({each.id: each for each in objects}, unmodelled, told["server_version"])
        except (KeyError, TypeError, ValueError, ValidationError):
            pass
        raise MigrationError(
            f"this text is no snapshot of format {_FORMAT}: it was cut, changed, or written by another "
            "version of this library; take the snapshot again"
        )


_FORMAT = 1


@cache
def _fields(kind: Kind) -> tuple[tuple[str, Any], ...]:
    """Return the names and defaults of a kind's fields, in their order."""
    return tuple((each.name, each.default) for each in fields(_KINDS[kind]) if each.name != "id")


@cache
def _compared(kind: Kind) -> tuple[tuple[str, Any], ...]:
    compared = {each.name for each in fields(_KINDS[kind]) if each.compare}
    return tuple(each for each in _fields(kind) if each[0] in compared)


def _told(each: SchemaObject, told: tuple[tuple[str, Any], ...]) -> list[Any]:
    """Return an object as its id and what differs from the defaults."""
    values = {name: getattr(each, name) for name, _ in told}
    return [*each.id, {name: values[name] for name, default in told if values[name] != default}]


_KINDS: dict[Kind, type[SchemaObject]] = {
    Kind.SCHEMA: Schema,
    Kind.EXTENSION: Extension,
    Kind.ENUM: EnumType,
    Kind.DOMAIN: Domain,
    Kind.COMPOSITE: CompositeType,
    Kind.RANGE: RangeType,
    Kind.SEQUENCE: Sequence,
    Kind.TABLE: Table,
    Kind.COLUMN: Column,
    Kind.CONSTRAINT: Constraint,
    Kind.DOMAIN_CONSTRAINT: Constraint,
    Kind.INDEX: Index,
    Kind.VIEW: View,
    Kind.MATERIALIZED_VIEW: MaterializedView,
    Kind.FUNCTION: Function,
    Kind.TRIGGER: Trigger,
    Kind.RULE: Rule,
    Kind.POLICY: Policy,
    Kind.STATISTICS: Statistics,
    Kind.DICTIONARY: TextSearchDictionary,
    Kind.CONFIGURATION: TextSearchConfiguration,
    Kind.DEFAULT_PRIVILEGES: DefaultPrivileges,
}


@cache
def _adapter(kind: Kind) -> TypeAdapter[SchemaObject]:
    return TypeAdapter(_KINDS[kind])


def _read(told: list[Any]) -> SchemaObject:
    kind, name, part, values = told
    return _adapter(Kind(kind)).validate_python({"id": (kind, name, part), **values})


def _needing(each: SchemaObject, kept: Mapping[ObjectId, SchemaObject]) -> SchemaObject:
    needs = tuple(id for id in each.needs if id in kept)
    return each if needs == each.needs else replace(each, needs=needs)
