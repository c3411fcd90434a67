"""What a column holds that comes back when a version is rolled back: values are lost, rules are not."""

from collections.abc import Iterator

from database_handler.core.quoting import literal
from database_handler.core.session import Session
from database_handler.migrations.schema.snapshot import (
    Column,
    Constraint,
    ConstraintType,
    Index,
    Kind,
    ObjectId,
    SchemaSnapshot,
)
from database_handler.migrations.scratch.seeding import passing

__all__ = ["placeholders"]

_SOME_UUID = "01890a5d-ac96-774b-bcce-b302099a8057"
_UNIQUE = (ConstraintType.PRIMARY_KEY, ConstraintType.UNIQUE)


def placeholders(session: Session, old: SchemaSnapshot, new: SchemaSnapshot) -> dict[ObjectId, str]:
    """Return SQL for each column that is NOT NULL in `new` and not in `old`, where a value is known for it.

    The first value that is allowed, the same for every row; where values must differ, a random one.
    """
    found = {column.id: _value(session, new, column) for column in _bare(old, new)}
    return {key: value for key, value in found.items() if value is not None}


def _bare(old: SchemaSnapshot, new: SchemaSnapshot) -> Iterator[Column]:
    for thing in new:
        if (
            not isinstance(thing, Column)
            or not thing.not_null
            or ObjectId(Kind.TABLE, thing.id.name) not in old.objects
        ):
            continue
        there = old.objects.get(thing.id)
        given = thing.default or thing.generated or thing.identity
        if not given and not (isinstance(there, Column) and there.not_null):
            yield thing


def _value(session: Session, new: SchemaSnapshot, column: Column) -> str | None:
    values = passing(session, new, column)
    if not values:
        return None
    if not _is_unique(new, column):
        plainest = min(values, key=len) if column.type == "text" else values[0]
        return f"{literal(plainest)}::{column.type}"
    return f"gen_random_uuid()::{column.type}" if _SOME_UUID in values or column.type == "uuid" else None


def _is_unique(snapshot: SchemaSnapshot, column: Column) -> bool:
    """Whether a key stands on this column and on no other."""
    table, name = column.id.name, column.id.part
    for thing in snapshot:
        if (
            isinstance(thing, Constraint)
            and thing.type in _UNIQUE
            and thing.id.name == table
            and thing.columns == (name,)
        ):
            return True
        if isinstance(thing, Index) and thing.unique and (thing.table, thing.columns) == (table, (name,)):
            return True
    return False
