"""Pairs of schemas put to the proof: made in a transaction that is rolled back, turned into each other.

What is compared is what the server tells (a snapshot), and for some pairs what its own `pg_dump` tells, with
the order of statements and of a table's columns taken out.
"""

import random
import re
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import ConnectionPool, dedicated
from database_handler.core.exceptions import DatabaseHandlerError
from database_handler.core.session import Session, Statement
from database_handler.core.sql_text import statements as spans
from database_handler.core.sql_text import tokens
from database_handler.core.transaction import Autocommit, Transaction
from database_handler.migrations.schema.introspection import introspect
from database_handler.migrations.schema.introspection.settled import settled
from database_handler.migrations.schema.schema_diff import diff
from database_handler.migrations.schema.schema_diff.loosening import ties
from database_handler.migrations.schema.schema_diff.retelling import copies, renamed_id
from database_handler.migrations.schema.schema_diff.side import Side
from database_handler.migrations.schema.schema_diff.statement import Action, Rename, SchemaDiff
from database_handler.migrations.schema.snapshot import Column, Kind, ObjectId, SchemaSnapshot
from tests.support.schema_model import ROLES, SCHEMA
from tests.support.schema_random import Pair

OLD, NEW = "pair_of_old", "pair_of_new"
_PATH = "SET LOCAL search_path TO {}, public"
_NOTHING = Statement("SELECT", "test.nothing")
_DATA = ("22", "23")  # the classes of errors that are about rows
# Said of a table that rows were put into: deferred checks of foreign keys are still to come.
_BUSY = "55006"


class Broken(AssertionError):
    """A property of pairs does not hold; the message holds all that is needed to see it again."""


@dataclass
class Told:
    """What is needed to tell of a failure."""

    pair: Pair
    old: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    steps: list[str] = field(default_factory=list)

    def broken(self, what: str, script: str = "", detail: str = "") -> Broken:
        parts = [
            f"seed {self.pair.seed}: {what}",
            f"-- edits: {', '.join(self.pair.edits)}; renames: {self.pair.renames}",
            "-- old\n" + as_script(self.old or self.pair.old),
            "-- new\n" + as_script(self.new or self.pair.new),
        ]
        parts += ["-- the difference\n" + script] if script else []
        return Broken("\n".join([*parts, detail]))


def as_script(statements: Iterable[str]) -> str:
    return "".join(f"{statement};\n" for statement in statements)


def make_roles(session: Session) -> None:
    """Make the roles that the schemas of pairs grant to, where they are missing."""
    for role in ROLES:
        name = role.strip('"')
        text = f"DO $$ BEGIN CREATE ROLE {role}; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        session.run(Statement(text, f"test.role {name}", writes=True))


class Scratch:
    """A transaction in which schemas are made and changed, and which is rolled back.

    Parameters
    ----------
    place : DatabaseConfig or ConnectionPool
        Where. A pool's connection knows the catalogue from the transaction before, which is a quarter of the
        time of a pair.
    """

    def __init__(self, place: DatabaseConfig | ConnectionPool) -> None:
        self._lend = place.borrow if isinstance(place, ConnectionPool) else lambda: dedicated(place)
        self._made: list[tuple[str, tuple[str, ...]]] = []
        self._begin()

    def _begin(self) -> None:
        self._transaction = Transaction(self._lend)
        self.session = self._transaction.session

    def __enter__(self) -> "Scratch":
        return self

    def __exit__(self, *_: object) -> None:
        self._transaction.rollback()

    def keep(self) -> None:
        """Commit, in place of rolling back."""
        self._transaction.commit()

    def run(self, schema: str, text: str) -> None:
        """Run trusted text with `schema` as the first of the search path."""
        self.session.script(f"{_PATH.format(schema)};{text.replace(SCHEMA, schema)}")

    def fails(self, schema: str, text: str) -> DatabaseHandlerError | None:
        """Run text inside a savepoint; return why it failed."""
        try:
            with self._transaction.savepoint():
                self.session.run(_NOTHING)  # the savepoint stands then, whatever the text's syntax is
                self.run(schema, text)
        except DatabaseHandlerError as error:
            return error
        return None

    def make(self, schema: str, statements: Sequence[str]) -> tuple[str, ...]:
        """Make a schema, and return the statements that stand, in the order in which they could run.

        One that fails is tried again after the others; one that fails for good is left out. Only what stands
        is run here, and outside of savepoints: see `apply`.
        """
        stood = tuple(statements)
        try:
            self._make(schema, stood)
        except DatabaseHandlerError:
            self._transaction.rollback()
            stood = self._standing(schema, statements)
            self._begin()
            for made, by in self._made:
                self._make(made, by)
            self._make(schema, stood)
        self._made.append((schema, stood))
        return stood

    def _make(self, schema: str, statements: Sequence[str]) -> None:
        self.session.script(f"CREATE SCHEMA {schema}")
        self.run(schema, as_script(statements))

    def _standing(self, schema: str, statements: Sequence[str]) -> tuple[str, ...]:
        self._begin()
        try:
            self.session.script(f"CREATE SCHEMA {schema}")
            return self.make_in_any_order(schema, statements)
        finally:
            self._transaction.rollback()

    def make_in_any_order(self, schema: str, statements: Sequence[str]) -> tuple[str, ...]:
        stood: list[str] = []
        waiting = deque(statements)
        failed_in_a_row = 0
        while waiting and failed_in_a_row < len(waiting):
            statement = waiting.popleft()
            if self.fails(schema, statement) is None:
                stood.append(statement)
                failed_in_a_row = 0
            else:
                waiting.append(statement)
                failed_in_a_row += 1
        return tuple(stood)

    def make_shuffled(self, schema: str, statements: Sequence[str], chance: random.Random) -> tuple[str, ...]:
        """Make a schema of the statements in an order of chance, as far as they mean the same in any.

        What alters a table comes after what makes one (a table takes its settings from what its parent is
        at that moment), and privileges stay in their order. So does what alters tables where some have
        parts: a part's key that comes after the whole's is not the whole's.
        """
        self.session.script(f"CREATE SCHEMA {schema}")
        kinds = (("CREATE", "COMMENT"), ("ALTER",), ("GRANT", "REVOKE"))
        groups = [[each for each in statements if each.startswith(kind)] for kind in kinds]
        altered = (
            groups[1] if any(" PARTITION OF " in each for each in statements) else shuffled(groups[1], chance)
        )
        orders = (shuffled(groups[0], chance), altered, groups[2])
        return tuple(each for order in orders for each in self.make_in_any_order(schema, order))

    def snapshot(self, schema: str) -> SchemaSnapshot:
        self.session.script(_PATH.format(schema))
        return introspect(self.session, schema)

    def apply(self, schema: str, difference: SchemaDiff, told: Told) -> None:
        """Run the statements of a difference; say which of them fails, and why.

        Not inside a savepoint: there a label that is added to an enum cannot be used, even where the enum
        was made by the same transaction.
        """
        self.session.script(_PATH.format(schema))
        for statement in difference:
            try:
                self.session.script(statement.sql)
            except DatabaseHandlerError as error:
                if (error.sqlstate or "").startswith(_DATA) or error.sqlstate == _BUSY:
                    raise
                why = str(error.driver_error or error).strip()
                raise told.broken(f"this fails: {statement.sql}\n   {why}", difference.script) from error


def differing(wanted: SchemaSnapshot, found: SchemaSnapshot) -> str:
    """Say where two snapshots differ, object by object."""
    lines = []
    for key in sorted({*wanted.objects, *found.objects}):
        one, other = wanted.objects.get(key), found.objects.get(key)
        if one != other:
            lines.append(f"{key}\n   wanted {one}\n   found  {other}")
    return "\n".join(lines)


def applicable(renames: Iterable[Rename], old: SchemaSnapshot, new: SchemaSnapshot) -> tuple[Rename, ...]:
    """The renames of things that stand on both sides."""
    return tuple(each for each in renames if each.old in old.objects and each.new in new.objects)


def inverted(renames: Iterable[Rename]) -> tuple[Rename, ...]:
    return tuple(each.inverted() for each in renames)


def check_pair(scratch: Scratch, pair: Pair, *, filled: bool = False) -> Told:
    """Prove of a pair that each side is equal to itself, turns into the other, and comes back.

    Parameters
    ----------
    filled : bool
        Whether rows stand in the old schema meanwhile; those that no statement says to lose must still be
        there at the end. A difference that the rows forbid (NOT NULL, a key) raises the server's error.

    Raises
    ------
    Broken
        With the seed, both schemas and the difference.
    """
    told = Told(pair)
    told.old = scratch.make(OLD, pair.old)
    if filled:
        fill(scratch, pair.rows)
    old = scratch.snapshot(OLD)
    told.new = scratch.make(NEW, pair.new)
    new = scratch.snapshot(NEW)
    for side in (old, new):
        if len(same := diff(side, side)):
            raise told.broken("a schema differs from itself", same.script)
    renames = applicable(pair.renames, old, new)
    kept = Kept(scratch, old, new, renames) if filled else None
    up, down = diff(old, new, renames=renames), diff(new, old, renames=inverted(renames))
    _turn(scratch, told, up, old, new, "up")
    if kept:
        kept.check(scratch, told, up)
    _turn(scratch, told, down, new, old, "down")
    if kept:
        kept.check_back(scratch, told, up, down)
    return told


def _turn(
    scratch: Scratch, told: Told, way: SchemaDiff, start: SchemaSnapshot, wanted: SchemaSnapshot, name: str
) -> None:
    scratch.apply(OLD, way, told)
    found = scratch.snapshot(OLD)
    if found != wanted:
        raise told.broken(f"{name} does not arrive", way.script, differing(wanted, found))
    if len(again := diff(found, wanted)):
        raise told.broken(f"{name} arrives, and there is still a difference", again.script)
    if len(again := diff(wanted, found)):
        raise told.broken(f"{name} arrives, and there is still a difference back", again.script)


# ----------------------------------------------------------------------------------------------------- rows


def fill(scratch: Scratch, rows: Sequence[str]) -> None:
    """Put rows into the old schema, as many as it takes."""
    if scratch.fails(OLD, "SET CONSTRAINTS ALL IMMEDIATE;" + as_script(rows)) is not None:
        scratch.make_in_any_order(OLD, rows)


def _values(scratch: Scratch, column: ObjectId) -> list[str | None]:
    text = f"SELECT {column.part}::text FROM ONLY {OLD}.{column.name} ORDER BY 1"
    return [row[0] for row in scratch.session.all(Statement(text, "test.values"))]


def _count(scratch: Scratch, table: str) -> int:
    [[count]] = scratch.session.all(Statement(f"SELECT count(*) FROM ONLY {OLD}.{table}", "test.count"))
    return int(count)


class Kept:
    """What stands in the tables of the old schema that the new one has too, and whether it stays there."""

    def __init__(
        self, scratch: Scratch, old: SchemaSnapshot, new: SchemaSnapshot, renames: Iterable[Rename]
    ) -> None:
        given = {each.old: each.new for each in renames}
        self._new_names = dict(_along(old, renames)) | given
        self._parts = [(old, new) for old, new in self._new_names.items() if old.kind is Kind.COLUMN]
        tables = [
            each.id for each in old if each.id.kind is Kind.TABLE and self._renamed(each.id) in new.objects
        ]
        columns = [each for each in old if isinstance(each, Column) and self._comparable(each, new)]
        self._counts = {table: _count(scratch, table.name) for table in tables}
        self._values = {each.id: _values(scratch, each.id) for each in columns}

    @property
    def rows(self) -> int:
        return sum(self._counts.values())

    def _renamed(self, id: ObjectId) -> ObjectId:
        if id in self._new_names:
            return self._new_names[id]
        table = self._new_names.get(ObjectId(Kind.TABLE, id.name))
        return id._replace(name=table.name) if table and id.kind is Kind.COLUMN else id

    def _comparable(self, column: Column, new: SchemaSnapshot) -> bool:
        """Whether its values must be the same: of one type on both sides, and computed on neither."""
        other = new.objects.get(self._renamed(column.id))
        return (
            isinstance(other, Column)
            and other.type == column.type
            and not (column.generated or other.generated)
            and other.type not in ("json", "jsonb")
        )

    def _inherited(self, column: ObjectId, old: ObjectId) -> set[ObjectId]:
        """What it is called meanwhile, where it takes the new name of its parent's."""
        return {column._replace(part=new.part) for before, new in self._parts if before.part == old.part}

    def check(self, scratch: Scratch, told: Told, up: SchemaDiff) -> None:
        """After the way up: everything stands under its new name, but what was told to be lost."""
        self._compare(scratch, told, _lost(up), up, self._renamed)

    def check_back(self, scratch: Scratch, told: Told, up: SchemaDiff, down: SchemaDiff) -> None:
        """After the way down too, but what either way was told to lose."""
        lost = _lost(up) | _lost(down)
        back = {new: old for old, new in self._new_names.items()}
        lost |= {back.get(id, id) for id in lost}
        self._compare(scratch, told, lost, down, lambda id: id)

    def _compare(
        self,
        scratch: Scratch,
        told: Told,
        lost: set[ObjectId],
        way: SchemaDiff,
        name: Callable[[ObjectId], ObjectId],
    ) -> None:
        for old_id, before in self._counts.items():
            table = name(old_id)
            if not {table, old_id} & lost and (now := _count(scratch, table.name)) != before:
                raise told.broken(f"{before} rows of {table.name} became {now}, unsaid", way.script)
        for old_id, values in self._values.items():
            column = name(old_id)
            whole = {ObjectId(Kind.TABLE, column.name), ObjectId(Kind.TABLE, old_id.name)}
            if {column, old_id, *whole, *self._inherited(column, old_id)} & lost:
                continue
            if (found := _values(scratch, column)) != values:
                raise told.broken(f"values of {column} changed, unsaid: {values} {found}", way.script)


def _along(old: SchemaSnapshot, renames: Iterable[Rename]) -> Iterator[Rename]:
    """Give the renamings of what is inherited: with its parent's, unless another parent gives it too."""
    side = Side(old)
    for rename in renames:
        if rename.old in side:
            tied = {child for child, _ in ties(side, rename.old)}
            yield from (copy for copy in copies(side, rename) if copy.old.name not in tied)


def _lost(way: SchemaDiff) -> set[ObjectId]:
    """Return what a difference says to lose, by the names that it had before and has when it goes."""
    lost = {statement.object for statement in way if statement.loses is not None}
    for statement in reversed(way):
        if statement.action is Action.RENAME and statement.produces:  # else a column's sequence, beside it
            [old], [new] = statement.destroys, statement.produces
            lost |= {renamed_id(id, Rename(new, old)) for id in lost}
    return lost


# ---------------------------------------------------------------------------------------------------- dumps


def shuffled(statements: Sequence[str], chance: random.Random) -> list[str]:
    """The same statements in another order; each table's columns too."""
    return chance.sample([_other_columns(statement, chance) for statement in statements], len(statements))


def _other_columns(statement: str, chance: random.Random) -> str:
    if (
        not statement.startswith(("CREATE TABLE", "CREATE UNLOGGED TABLE"))
        or " PARTITION OF " in statement[:80]
    ):
        return statement
    front, columns, tail = _opened(statement)
    return f"{front}({', '.join(chance.sample(columns, len(columns)))}){tail}"


def _opened(statement: str) -> tuple[str, list[str], str]:
    """Take a statement apart around its first parentheses."""
    depth, start = 0, 0
    for token in tokens(statement):
        if token.text == "(":
            start = start if depth else token.end
            depth += 1
        elif token.text == ")":
            depth -= 1
            if not depth:
                inside = statement[start : token.start]
                return statement[: start - 1], split_list(inside) if inside else [], statement[token.end :]
    return statement, [], ""


def split_list(text: str) -> list[str]:
    """Take a list apart at its outermost commas."""
    items, depth, start = [], 0, 0
    for token in tokens(text):
        if token.text in ("(", "["):
            depth += 1
        elif token.text in (")", "]"):
            depth -= 1
        elif token.text == "," and depth == 0:
            items.append(text[start : token.start].strip())
            start = token.end
    return [*items, text[start:].strip()]


def dump(config: DatabaseConfig, bin_dir: Path, schema: str) -> str:
    """Return what `pg_dump` says of a schema."""
    command = [str(bin_dir / "pg_dump"), "--schema-only", "--schema", schema, "--dbname", config.name]
    command += ["--host", str(config.host), "--port", str(config.port), "--username", config.user]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def check_dumps(config: DatabaseConfig, bin_dir: Path, pair: Pair) -> None:
    """Prove that each side of a pair, turned into the other for good, dumps as that one does.

    Each statement runs by itself, as in a session of its own; both schemas are gone afterwards.

    Raises
    ------
    Broken
        With the seed, both schemas and the difference.
    """
    alone = Autocommit(lambda: dedicated(config)).session
    alone.script(_BOTH_GONE)
    try:
        made = Scratch(config)
        told = Told(pair, made.make(OLD, pair.old), made.make(NEW, pair.new))
        made.keep()
        sides = {schema: introspect(alone, schema) for schema in (OLD, NEW)}
        dumps = {schema: _dumped(config, bin_dir, alone, schema) for schema in (OLD, NEW)}
        renames = applicable(pair.renames, sides[OLD], sides[NEW])
        for here, there, named in ((OLD, NEW, renames), (NEW, OLD, inverted(renames))):
            difference = diff(sides[here], sides[there], renames=named)
            for statement in difference:
                alone.script(f"SET search_path TO {here}, public; {statement.sql}")
            found, wanted = _dumped(config, bin_dir, alone, here), dumps[there]
            if found != wanted:
                only = "\n".join(sorted({*found} - {*wanted})), "\n".join(sorted({*wanted} - {*found}))
                raise told.broken("the dumps differ", difference.script, "\n-- wanted\n".join(only))
    finally:
        alone.script(_BOTH_GONE)


# Of columns and of constraints: what takes the mark of a declaration away, and what puts it back.
_DECLARED = [
    (
        "UPDATE pg_attribute SET attislocal = false WHERE attislocal AND attinhcount > 0 AND attrelid IN"
        " (SELECT oid FROM pg_class WHERE relnamespace = %s::regnamespace)"
        " RETURNING attrelid::bigint, attnum::int",
        "UPDATE pg_attribute SET attislocal = true WHERE attrelid = %s AND attnum = %s",
    ),
    (
        "UPDATE pg_constraint SET conislocal = false WHERE conislocal AND coninhcount > 0"
        " AND connamespace = %s::regnamespace RETURNING oid::bigint",
        "UPDATE pg_constraint SET conislocal = true WHERE oid = %s",
    ),
]


def _dumped(config: DatabaseConfig, bin_dir: Path, session: Session, schema: str) -> list[str]:
    """Dump a schema as if no child declared what it inherits.

    A table that comes to inherit has declared it all, and no statement takes that back.
    """
    taken = [
        (back, session.all(Statement(away, "test.declared", writes=True), [schema]))
        for away, back in _DECLARED
    ]
    try:
        return normalised(dump(config, bin_dir, schema), schema)
    finally:
        for back, places in taken:
            for place in places:
                session.run(Statement(back, "test.declared", writes=True), place)


_BOTH_GONE = f"DROP SCHEMA IF EXISTS {OLD} CASCADE; DROP SCHEMA IF EXISTS {NEW} CASCADE"
_SKIPPED = re.compile(r"SET |SELECT pg_catalog\.set_config|CREATE SCHEMA|\\|ALTER .* OWNER TO ", re.S)
_META = re.compile(r"^\\\w+ .*$", re.M)
_STATISTICS = re.compile(r"(CREATE STATISTICS .*?) ON (.*) FROM (.*)", re.S)
_NAMED_NOT_NULL = re.compile(r' CONSTRAINT (?:[\w$]+|"(?:[^"]|"")+") NOT NULL')


def normalised(text: str, schema: str) -> list[str]:
    """Return a dump's statements in an order of their own, as of a schema of no name."""
    text = _META.sub("", text)
    found = []
    for span in spans(text):
        statement = span.of(text)
        if _SKIPPED.match(statement):
            continue
        found.append(settled(_own_order(statement.replace(f"{schema}.", "").replace(schema, ""))))
    return sorted(found)


def _own_order(statement: str) -> str:
    if statement.startswith(("CREATE TABLE", "CREATE UNLOGGED TABLE")):
        front, columns, tail = _opened(statement)
        lines = sorted(_NAMED_NOT_NULL.sub(" NOT NULL", column) for column in columns)
        return f"{front}({', '.join(lines)}){tail}"
    if found := _STATISTICS.fullmatch(statement):  # their columns stand by their places in the table
        return f"{found[1]} ON {', '.join(sorted(split_list(found[2])))} FROM {found[3]}"
    return statement
