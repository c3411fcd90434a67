"""Columns: what one says of itself, and every way in which it changes while its values stay."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from database_handler.core.quoting import literal
from database_handler.migrations.schema.schema_diff.casts import conversion, family, lost_by_cast
from database_handler.migrations.schema.schema_diff.fates import Change
from database_handler.migrations.schema.schema_diff.names import (
    bare,
    base_type,
    schema_of,
    with_schema,
)
from database_handler.migrations.schema.schema_diff.side import TYPE_KINDS
from database_handler.migrations.schema.schema_diff.statement import Action
from database_handler.migrations.schema.schema_diff.step import Step, chained
from database_handler.migrations.schema.schema_diff.types import (
    counts_on,
    sequence_changes,
    sequence_options,
)
from database_handler.migrations.schema.schema_diff.verdicts import names_of
from database_handler.migrations.schema.snapshot import Column, Identity, ObjectId, SequenceOptions

__all__ = [
    "add_column",
    "alter_column",
    "column_line",
    "column_settings",
    "numbered",
    "options_changed",
    "options_listed",
]

Options = tuple[tuple[str, str], ...]


def column_line(each: Column, *, identity: bool = True) -> str:
    """Return a column as CREATE TABLE and ADD COLUMN take it."""
    collation = f" COLLATE {each.collation}" if each.collation else ""
    compression = f" COMPRESSION {each.compression}" if each.compression else ""
    return f"{each.id.part} {each.type}{compression}{collation}{_value(each, identity)}{_not_null(each)}"


def _not_null(each: Column) -> str:
    return " NOT NULL" if each.not_null else ""


def _value(each: Column, identity: bool) -> str:
    if each.generated:
        return f" GENERATED ALWAYS AS ({each.expression}) {each.generated.upper()}"
    if each.identity is not None and identity:
        return f" {_identity(each.identity, each.id.name)}"
    return f" DEFAULT {each.default}" if each.default is not None else ""


def _identity(identity: Identity, table: str) -> str:
    when = "ALWAYS" if identity.always else "BY DEFAULT"
    name = with_schema(schema_of(table) or schema_of(identity.sequence), bare(identity.sequence))
    options = sequence_options(identity.options._replace(type="bigint", maximum=_as_bigint(identity.options)))
    return f"GENERATED {when} AS IDENTITY (SEQUENCE NAME {name}{options})"


def _as_bigint(options: SequenceOptions) -> int:
    """Return the maximum, or bigint's where it is the type's own: the column's type decides that."""
    largest = {"smallint": 2**15 - 1, "integer": 2**31 - 1}.get(options.type)
    return 2**63 - 1 if options.maximum == largest and options.increment > 0 else options.maximum


def add_column(each: Column, change: Change, only: str) -> Iterator[Step]:
    """Give what adds a column to a table, and to those that inherit from it: these have no identity."""
    later = _has_heirs(each.id.name, change)
    sql = f"ALTER TABLE {only}{each.id.name} ADD COLUMN {column_line(each, identity=not later)}"
    children = {each.id._replace(name=table) for table in change.new.descendants(each.id.name)}
    made = frozenset({each.id, *(child for child in children if change.is_made(child))})
    # A child's own column becomes one with it: it is of its type by then.
    needs = (change.new.needs(each.id) | (children & change.retyped)) - made
    step = Step(sql, Action.CREATE, each.id, needs=needs, produces=made)
    yield step
    if each.identity is not None and later:
        yield from chained(numbered(each, each.identity, change), (step,))


def _has_heirs(table: str, change: Change) -> bool:
    """Whether tables inherit from it all the time, other than as partitions that can be numbered with it."""
    children = [child for child in change.new.children.get(table, ()) if change.linked(child, table)]
    parted = change.new.table(table)
    together = parted is not None and parted.partition_key and change.new.snapshot.server_version >= 170_000
    return bool(children) and not together


def numbered(each: Column, identity: Identity, change: Change) -> Iterator[Step]:
    """Give what makes a column an identity that goes on behind the numbers that are there."""
    table, name = each.id.name, each.id.part
    sql = f"ALTER TABLE {table} ALTER COLUMN {name} ADD {_identity(identity, table)}"
    parts = {_value_of(each.id._replace(name=part)) for part in change.new.descendants(table)}
    yield replace(Step.alter(sql, each.id), takes=frozenset({("relation", identity.sequence), *parts}))
    yield counts_on(each.id, each.id, identity.sequence, identity.options)


def _value_of(column: ObjectId) -> tuple[str, str]:
    """Return what only one of a default and an identity has."""
    return "value", f"{column.name}.{column.part}"


def column_settings(each: Column, front: str) -> Iterator[Step]:
    """Give what a column that is made cannot be given at once."""
    if each.storage:
        yield Step.alter(f"{front} SET STORAGE {each.storage}", each.id)
    if each.statistics is not None:
        yield Step.alter(f"{front} SET STATISTICS {each.statistics}", each.id)
    if each.options:
        yield Step.alter(f"{front} SET ({options_listed(each.options)})", each.id)


def options_listed(options: Options) -> str:
    """Return options as SET and WITH take them."""
    return ", ".join(f"{name} = {value if value.isalnum() else literal(value)}" for name, value in options)


def options_changed(before: Options, after: Options) -> Iterator[str]:
    """Give the SET and RESET that turn options into others."""
    had, has = dict(before), dict(after)
    if gone := [name for name in had if name not in has]:
        yield f"RESET ({', '.join(gone)})"
    if changed := tuple((name, value) for name, value in after if had.get(name) != value):
        yield f"SET ({options_listed(changed)})"


def alter_column(before: Column, after: Column, change: Change) -> Iterator[Step]:
    """Give what changes a column in place: what stands in the way of its new type goes before it."""
    yield from chained(_Altered(before, after, change).steps())


class _Altered:
    """One column before and after."""

    def __init__(self, before: Column, after: Column, change: Change) -> None:
        self.before, self.after, self.change = before, after, change
        self.id = after.id
        self.retyped = self.id in change.retyped
        table = after.id.name
        self.children = [child for child in change.new.children.get(table, ()) if change.linked(child, table)]
        self.front = f"ALTER TABLE {table} ALTER COLUMN {after.id.part}"
        only = "ONLY " if self.children else ""
        self.alone = f"ALTER TABLE {only}{table} ALTER COLUMN {after.id.part}"
        self.needs, self.releases = change.new.needs(self.id), change.old.needs(self.id)

    def steps(self) -> Iterator[Step]:
        yield from self._ended()
        yield from self._type()
        above = frozenset(after.id for _, after in self._parents())
        for step in (*self._begun(), *self._settings()):
            yield replace(step, needs=step.needs | above)

    def _anew(self) -> bool:
        """Whether the default goes before the type changes, and comes back after it."""
        if self.id in self.change.redefaulted:
            return True
        if not self.retyped or self.before.default is None:
            return False
        same = family(self.before.type) is not None and family(self.before.type) == family(self.after.type)
        return not (same and self.before.default == self.after.default) or self._made_again() is not None

    def _uncovered(self) -> bool:
        """Whether the identity goes and comes back, for what the default behind it needs does not stay."""
        return self.before.hides_default and self.id in self.change.redefaulted

    def _ended(self) -> Iterator[Step]:
        before, after = self.before, self.after
        if before.default is not None and (after.default is None or self._anew()):
            releases = {*self.releases, self.id}
            sql = f"{self.alone} DROP DEFAULT"
            step = Step.alter(sql, self.id, Action.DROP_DEFAULT, releases=releases)
            yield replace(step, frees=frozenset({_value_of(self.id)}))
        if before.identity is not None and (after.identity is None or self._uncovered()):
            step = Step.alter(f"{self.front} DROP IDENTITY", self.id)
            yield replace(step, frees=frozenset({("relation", before.identity.sequence)}))
            if before.hides_default:
                sql = f"{self.alone} DROP DEFAULT"
                yield Step.alter(sql, self.id, Action.DROP_DEFAULT, releases=self.releases)
        if before.generated == "stored" and after.generated is None and not self._follows(_plain):
            step = Step.alter(f"{self.front} DROP EXPRESSION", self.id, releases=self.releases)
            yield replace(step, settles=self._with_copies())
        follows = self._follows(lambda column: not column.not_null)
        if before.not_null and not after.not_null and not (follows and self._is_of_partition()):
            step = Step.alter(f"{self.front} DROP NOT NULL", self.id, Action.DROP_NOT_NULL)
            # Replicas know rows by an index of columns that are not NULL: they look at another one first.
            known = frozenset({("replica identity", self.id.name)})
            # A table may have said so itself too, beside its parent, which only lets go of its own.
            above = frozenset(column.id for _, column in self._parents() if follows)
            copies = self._with_copies()
            yield replace(step, needs=above, settles=copies, reshapes=frozenset({self.id}), takes=known)

    def _type(self) -> Iterator[Step]:
        if not self.retyped or self._parent_retyped():
            return
        yield from self._parked()
        before, after = self.before, self.after
        again = self._made_again()
        alike = before.type.endswith("[]") == after.type.endswith("[]")
        same = again is not None and alike and base_type(after.type) == base_type(before.type)
        using = conversion(after.id.part, before.type, after.type, made_again=same)
        collation = f" COLLATE {after.collation}" if after.collation else ""
        sql = f"{self.front} TYPE {after.type}{collation}{f' USING {using}' if using else ''}"
        lost = lost_by_cast(before.type, after.type)
        releases = {need for need in self.releases if need.kind in TYPE_KINDS} - {again}
        if again is not None:
            releases.add(ObjectId(again.kind, self.change.moved[again]))
        yield Step(
            sql,
            Action.SET_TYPE,
            self.id,
            needs=frozenset(need for need in self.needs if need.kind in TYPE_KINDS),
            releases=frozenset(releases),
            settles=self._all() | self._keys(),
            reshapes=self._all() | self._keys(),
            loses=f"{lost}, in the values of {self.id.name}.{self.id.part}" if lost else None,
        )

    def _parked(self) -> Iterator[Step]:
        """Give the step that makes the values text while their type is made again."""
        found = [
            id
            for id in self.releases & self.change.parked
            if base_type(self.before.type) in names_of(self.change.old.objects[id])
        ]
        if found:
            array = "[]" if self.before.type.endswith("]") else ""
            sql = f"{self.front} TYPE text{array} USING {self.id.part}::text{array}"
            step = Step.alter(sql, self.id, Action.SET_TYPE, releases=found)
            yield replace(step, reshapes=self._all())
            self.before = replace(self.before, type=f"text{array}")
            self.releases -= set(found)

    def _made_again(self) -> ObjectId | None:
        """Return the type of the column, where one of the same name takes its place."""
        name = base_type(self.before.type)
        return next((id for id in self.change.moved if id.name == name), None)

    def _all(self) -> frozenset[ObjectId]:
        tables = [self.id.name, *self.change.new.descendants(self.id.name)]
        ids = (ObjectId(self.id.kind, table, self.id.part) for table in tables)
        return frozenset(id for id in ids if id in self.change.retyped)

    def _keys(self) -> frozenset[ObjectId]:
        """Return the keys and indexes on it, which the server makes anew: nothing else may need them then."""
        return frozenset(id for column in self._all() for id in self.change.keys_on(column))

    def _is_of_partition(self) -> bool:
        table = self.change.new.table(self.id.name)
        return table is not None and table.partition_bound is not None

    def _with_copies(self) -> frozenset[ObjectId]:
        """Return the column and those of tables that inherit it all the time, which change along."""
        found, tables = {self.id}, [self.id.name]
        while tables:
            table = tables.pop()
            children = self.change.new.children.get(table, ())
            below = [child for child in children if self.change.linked(child, table)]
            found.update(self.id._replace(name=child) for child in below)
            tables += below
        return frozenset(found)

    def _parents(self) -> Iterator[tuple[Column, Column]]:
        """Give the column of each parent before and after, where the change reaches this one from there."""
        table = self.change.new.table(self.id.name)
        for parent in table.parents if table else ():
            before = self.change.old.column(parent, self.id.part)
            after = self.change.new.column(parent, self.id.part)
            if before and after and self.change.linked(self.id.name, parent):
                yield before, after

    def _parent_retyped(self) -> bool:
        return any(after.id in self.change.retyped for _, after in self._parents())

    def _follows(self, becomes: Callable[[Column], bool]) -> bool:
        return any(not becomes(before) and becomes(after) for before, after in self._parents())

    def _begun(self) -> Iterator[Step]:
        before, after = self.before, self.after
        if after.not_null and not before.not_null and not self._follows(lambda column: column.not_null):
            step = Step.alter(f"{self.front} SET NOT NULL", self.id, Action.SET_NOT_NULL)
            yield replace(step, settles=self._with_copies())
        yield from self._identity()
        anew = self._anew()
        if after.default is not None and (before.default != after.default or anew):
            sql = f"{self.alone} SET DEFAULT {after.default}"
            released = () if anew else self.releases
            yield Step.alter(sql, self.id, Action.SET_DEFAULT, self.needs, released)

    def _identity(self) -> Iterator[Step]:
        before, after = self.before.identity, self.after.identity
        if after is None or (before == after and not self._uncovered()):
            return
        if before is None or self._uncovered():
            yield from numbered(self.after, after, self.change)
            return
        if before.always != after.always:
            when = "ALWAYS" if after.always else "BY DEFAULT"
            yield Step.alter(f"{self.front} SET GENERATED {when}", self.id)
        if changes := sequence_changes(_follow_type(before.options, after.options), after.options, " SET "):
            yield Step.alter(f"{self.front}{changes}", self.id)
        if before.sequence != after.sequence:
            sql = f"ALTER SEQUENCE {before.sequence} RENAME TO {bare(after.sequence)}"
            step = Step.alter(sql, self.id, Action.RENAME)
            names = frozenset({("relation", before.sequence)}), frozenset({("relation", after.sequence)})
            yield replace(step, frees=names[0], takes=names[1])

    def _settings(self) -> Iterator[Step]:
        before, after = self.before, self.after
        # With a new type comes its own storage.
        if after.storage if self.retyped else before.storage != after.storage:
            yield Step.alter(f"{self.alone} SET STORAGE {after.storage or _usual_storage(after)}", self.id)
        if before.compression != after.compression or (self.retyped and after.compression):
            yield Step.alter(f"{self.alone} SET COMPRESSION {after.compression or 'default'}", self.id)
        if before.statistics != after.statistics:
            target = -1 if after.statistics is None else after.statistics
            yield Step.alter(f"{self.alone} SET STATISTICS {target}", self.id)
        for changed in options_changed(before.options, after.options):
            yield Step.alter(f"{self.alone} {changed}", self.id)


def _usual_storage(column: Column) -> str:
    # SET STORAGE DEFAULT came with PostgreSQL 16; a type that is PLAIN by itself takes no other storage.
    return "MAIN" if base_type(column.type) in {"numeric", "inet", "cidr"} else "EXTENDED"


def _plain(column: Column) -> bool:
    return column.generated is None


def _follow_type(before: SequenceOptions, after: SequenceOptions) -> SequenceOptions:
    """Return the options once the column has its new type: a bound that was the type's follows it."""
    largest = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}
    high, low = largest[before.type], -largest[before.type] - 1
    return before._replace(
        type=after.type,
        maximum=largest[after.type] if before.maximum == high else before.maximum,
        minimum=-largest[after.type] - 1 if before.minimum == low else before.minimum,
    )
