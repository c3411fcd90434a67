"""The schema that models ask for, over a schema that versions made: pure functions over snapshots.

Models own the tables that they describe: columns, constraints and indexes, but for names that `by_hand`
lists. What no model can say of such a table (its comment, grants, storage, triggers, policies) and every
object that is no table stays as the versions made it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from database_handler.core import schema as declared
from database_handler.core.quoting import unquoted
from database_handler.migrations.schema.schema_diff.statement import Action, Rename, SchemaStatement
from database_handler.migrations.schema.snapshot import (
    Column,
    Constraint,
    Index,
    Kind,
    ObjectId,
    SchemaObject,
    SchemaSnapshot,
    Table,
)
from database_handler.migrations.schema.snapshot import Sequence as SequenceObject

__all__ = ["Overlay", "following_renames", "marked_renames", "rename_statements"]

_OF_TABLES = frozenset({Kind.COLUMN, Kind.CONSTRAINT, Kind.TRIGGER, Kind.RULE, Kind.POLICY})
_OWNED_PARTS = frozenset({Kind.COLUMN, Kind.CONSTRAINT, Kind.INDEX})


def _table_of(thing: SchemaObject) -> str | None:
    """Return the table that a column, constraint, index, trigger, rule or policy belongs to, as spelled."""
    if isinstance(thing, Index):
        return thing.table
    return thing.id.name if thing.id.kind in _OF_TABLES else None


def _own_name(thing: ObjectId) -> str:
    return unquoted(thing.part or thing.name)


# -------------------------------------------------------------------------------------------------- overlay

# What a model says nothing of; everything else of its table is the model's.
_KEPT_OF_TABLE = frozenset({
    "comment", "grants", "owner", "persistence", "partition_key", "parents", "partition_bound",
    "row_security", "force_row_security", "replica_identity", "options", "access_method",
})  # fmt: skip
_KEPT: Mapping[type[SchemaObject], frozenset[str]] = {
    Table: _KEPT_OF_TABLE,
    Column: frozenset({"comment", "grants", "storage", "compression", "statistics", "options", "inherited"}),
    Constraint: frozenset({"comment", "clustered", "replica_identity", "inherited"}),
    Index: frozenset({"comment", "clustered", "replica_identity", "statistics", "parent"}),
}


@dataclass(frozen=True)
class Overlay:
    """What models make, to be laid over what versions made.

    Attributes
    ----------
    modelled : SchemaSnapshot
        The schema in which the models' tables were made, on top of `base`.
    base : SchemaSnapshot
        What earlier folders make: it is theirs.
    tables : sequence of core.schema.Table
        The models' tables.
    """

    modelled: SchemaSnapshot
    base: SchemaSnapshot
    tables: Sequence[declared.Table]

    def over(self, head: SchemaSnapshot) -> SchemaSnapshot:
        """Return the schema wanted: the models' tables, and of `head` what is not theirs."""
        kept = {thing.id: thing for thing in head if self._stays(thing, head)}
        made = {
            thing.id: _merged(thing, head) for thing in self.modelled if thing.id not in self.base.objects
        }
        wanted = {**kept, **made}
        found = {key: wanted[key] for key in sorted(wanted) if _has_place(wanted[key], wanted)}
        return SchemaSnapshot(found, head.unmodelled, head.server_version)

    @property
    def owned(self) -> frozenset[str]:
        """The names of the models' tables."""
        return frozenset(table.name for table in self.tables)

    @property
    def by_hand(self) -> frozenset[str]:
        """The names that migrations make by hand, over all tables."""
        return frozenset(name for table in self.tables for name in table.by_hand)

    def _stays(self, thing: SchemaObject, head: SchemaSnapshot) -> bool:
        if thing.id in self.base.objects:
            return True
        if thing.id.kind is Kind.TABLE:
            return unquoted(thing.id.name) not in self.owned and self._is_kept_table(thing, head)
        table = _table_of(thing)
        if table is None or thing.id.kind not in _OWNED_PARTS or unquoted(table) not in self.owned:
            return True
        hands = {name for each in self.tables if each.name == unquoted(table) for name in each.by_hand}
        return _own_name(thing.id) in hands

    def _is_kept_table(self, thing: SchemaObject, head: SchemaSnapshot) -> bool:
        """Whether a table that no model describes is left alone: made by hand, or a part of another one."""
        if unquoted(thing.id.name) in self.by_hand:
            return True
        parents = thing.parents if isinstance(thing, Table) else ()
        return any(unquoted(parent) in self.owned for parent in parents) or any(
            self._is_kept_table(above, head)
            for parent in parents
            if (above := head.objects.get(ObjectId(Kind.TABLE, parent)))
        )


def _merged(made: SchemaObject, head: SchemaSnapshot) -> SchemaObject:
    there = head.objects.get(made.id)
    if there is None or type(there) is not type(made):
        return made
    names = _KEPT.get(type(made), frozenset({"comment", "grants", "owner"}))
    return replace(
        made, **{field.name: getattr(there, field.name) for field in fields(made) if field.name in names}
    )


_RELATIONS = (Kind.TABLE, Kind.VIEW, Kind.MATERIALIZED_VIEW)


def _has_place(thing: SchemaObject, wanted: Mapping[ObjectId, SchemaObject]) -> bool:
    """Whether the table that a part belongs to is there still; a sequence goes with the column it is for."""
    if isinstance(thing, SequenceObject) and thing.owned_by is not None:
        return thing.owned_by in wanted
    table = _table_of(thing)
    return table is None or any(ObjectId(kind, table) in wanted for kind in _RELATIONS)


# -------------------------------------------------------------------------------------------------- renames


def marked_renames(
    head: SchemaSnapshot, modelled: SchemaSnapshot, tables: Iterable[declared.Table]
) -> tuple[Rename, ...]:
    """Return the renames that models ask for and `head` has not seen: tables first, then their columns.

    Parameters
    ----------
    modelled : SchemaSnapshot
        Where the models' tables are there under their new names.
    """
    before, after = _tables(head), _tables(modelled)
    moved, columns = list[Rename](), list[Rename]()
    for table in tables:
        old, new = before.get(table.name), after[table.name]
        if old is None and (old := before.get(table.renamed_from or "")):
            moved.append(Rename(ObjectId(Kind.TABLE, old), ObjectId(Kind.TABLE, new)))
        if old:
            columns += _column_renames(table, new, _columns(head, old), _columns(modelled, new))
    return (*moved, *columns)


def _tables(snapshot: SchemaSnapshot) -> dict[str, str]:
    return {unquoted(key.name): key.name for key in snapshot.objects if key.kind is Kind.TABLE}


def _columns(snapshot: SchemaSnapshot, table: str) -> dict[str, str]:
    kind = Kind.COLUMN
    return {
        unquoted(key.part): key.part for key in snapshot.objects if key.kind is kind and key.name == table
    }


def _column_renames(
    table: declared.Table, spelled: str, before: Mapping[str, str], after: Mapping[str, str]
) -> Iterator[Rename]:
    for column in table.columns:
        old = before.get(column.renamed_from or "")
        if old and column.name not in before:
            yield Rename(
                ObjectId(Kind.COLUMN, spelled, old), ObjectId(Kind.COLUMN, spelled, after[column.name])
            )


def following_renames(head: SchemaSnapshot, wanted: SchemaSnapshot) -> tuple[Rename, ...]:
    """Return constraints and indexes that are wanted as they are, and only under another name.

    So that what follows the name of a table or column is renamed with it, and not built again.
    """
    gone = [thing for key, thing in head.objects.items() if key not in wanted.objects]
    fresh = [thing for key, thing in wanted.objects.items() if key not in head.objects]
    found: list[Rename] = []
    for new in fresh:
        old = next((each for each in gone if _same_but_name(each, new)), None)
        if old is not None:
            gone.remove(old)
            found.append(Rename(old.id, new.id))
    return tuple(found)


def _same_but_name(old: SchemaObject, new: SchemaObject) -> bool:
    if not isinstance(old, Constraint | Index) or type(old) is not type(new) or old.id.kind != new.id.kind:
        return False
    if isinstance(old, Constraint) and (old.id.name != new.id.name or old.inherited):
        return False
    kept = {name: getattr(new, name) for name in _KEPT[type(new)]}
    return replace(old, id=new.id, **kept) == new


def rename_statements(renames: Iterable[Rename]) -> tuple[SchemaStatement, ...]:
    """Return a statement for each rename, in their order."""
    return tuple(
        SchemaStatement(
            _rename(rename),
            Action.RENAME,
            rename.new,
            produces=frozenset({rename.new}),
            destroys=frozenset({rename.old}),
        )
        for rename in renames
    )


def _rename(rename: Rename) -> str:
    old, new = rename
    if old.kind is Kind.TABLE:
        return f"ALTER TABLE {old.name} RENAME TO {new.name}"
    if old.kind is Kind.INDEX:
        return f"ALTER INDEX {old.name} RENAME TO {new.name}"
    return f"ALTER TABLE {old.name} RENAME {old.kind.value.upper()} {old.part} TO {new.part}"
