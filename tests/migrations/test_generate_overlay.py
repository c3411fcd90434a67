"""What models own and what they leave alone, told from snapshots alone."""

from typing import ClassVar

import pytest

from database_handler.core.base_model import Record
from database_handler.core.quoting import unquoted
from database_handler.core.schema import Table as Declared
from database_handler.migrations.generation.model_schema import (
    Overlay,
    following_renames,
    marked_renames,
    rename_statements,
)
from database_handler.migrations.schema.schema_diff.statement import Rename
from database_handler.migrations.schema.snapshot import (
    Column,
    Constraint,
    ConstraintType,
    Function,
    Index,
    Kind,
    ObjectId,
    SchemaObject,
    SchemaSnapshot,
    Table,
    Trigger,
    View,
)
from database_handler.migrations.scratch.seed_patterns import matches


class Note(Record, frozen=True):
    title: str
    table: ClassVar[Declared] = Declared("notes", key=("title",), by_hand=["legacy", "notes_lower"])


def table(name: str, **values: object) -> Table:
    return Table(id=ObjectId(Kind.TABLE, name), **values)  # type: ignore[arg-type]  # fields by keyword


def column(of: str, name: str, **values: object) -> Column:
    found: dict[str, object] = {"type": "text", "needs": (ObjectId(Kind.TABLE, of),)} | values
    return Column(id=ObjectId(Kind.COLUMN, of, name), **found)  # type: ignore[arg-type]  # fields by keyword


def check(of: str, name: str, definition: str = "CHECK ((title <> ''::text))") -> Constraint:
    kind = ConstraintType.CHECK
    return Constraint(
        id=ObjectId(Kind.CONSTRAINT, of, name), type=kind, definition=definition, columns=("title",)
    )


def index(of: str, name: str) -> Index:
    return Index(id=ObjectId(Kind.INDEX, name), table=of, definition=f"ON {of} USING btree (title)")


def snapshot(*objects: SchemaObject) -> SchemaSnapshot:
    return SchemaSnapshot({each.id: each for each in sorted(objects, key=lambda each: each.id)})


EMPTY = SchemaSnapshot({})
MODELLED = snapshot(table("notes"), column("notes", "title"), check("notes", "notes_title_check"))


def wanted(*head: SchemaObject, base: SchemaSnapshot = EMPTY) -> SchemaSnapshot:
    return Overlay(MODELLED, base, [Note.table]).over(snapshot(*head))


def test_models_own_columns_constraints_and_indexes() -> None:
    found = wanted(
        table("notes"), column("notes", "body"), check("notes", "other"), index("notes", "notes_i")
    )
    assert found == MODELLED


def test_names_made_by_hand_stay() -> None:
    hand = (column("notes", "legacy"), index("notes", "notes_lower"))
    assert wanted(table("notes"), *hand) == snapshot(*MODELLED, *hand)


def test_what_no_model_can_say_stays() -> None:
    kept = (
        View(id=ObjectId(Kind.VIEW, "v"), definition="SELECT 1"),
        Function(id=ObjectId(Kind.FUNCTION, "f()"), type="FUNCTION", definition="() RETURNS int"),
        Trigger(id=ObjectId(Kind.TRIGGER, "notes", "t"), definition="CREATE TRIGGER t"),
    )
    said = table("notes", comment="short texts", row_security=True, options=(("fillfactor", "70"),))
    title = column("notes", "title", comment="of a note", storage="MAIN")
    found = wanted(said, title, *kept)
    assert found == snapshot(said, title, check("notes", "notes_title_check"), *kept)


def test_a_table_of_nobody_is_not_wanted_and_takes_its_parts_along() -> None:
    parts = (column("old", "a"), check("old", "c"), index("old", "i"))
    trigger = Trigger(id=ObjectId(Kind.TRIGGER, "old", "t"), definition="CREATE TRIGGER t")
    assert wanted(table("old"), *parts, trigger) == MODELLED


def test_parts_of_an_owned_table_and_their_parts_stay() -> None:
    parts = (table("notes_1", parents=("notes",)), table("notes_1_1", parents=("notes_1",)))
    assert wanted(table("notes"), *parts) == snapshot(*MODELLED, *parts)


def test_what_earlier_folders_make_is_theirs_even_where_it_was_changed() -> None:
    base = snapshot(table("projects"), column("projects", "name"))
    changed = column("projects", "name", not_null=True)
    found = wanted(table("projects"), changed, base=base)
    assert found == snapshot(*MODELLED, table("projects"), changed)


class Renamed(Record, frozen=True):
    title: str
    table: ClassVar[Declared] = Declared("position", key=("title",), renamed_from="notes")


NEW = snapshot(table('"position"'), column('"position"', "title"))


def test_a_marker_is_inert_once_the_name_is_there() -> None:
    rename = Rename(ObjectId(Kind.TABLE, "notes"), ObjectId(Kind.TABLE, '"position"'))
    assert marked_renames(snapshot(table("notes")), NEW, [Renamed.table]) == (rename,)
    assert marked_renames(NEW, NEW, [Renamed.table]) == ()
    assert marked_renames(snapshot(table("notes"), table('"position"')), NEW, [Renamed.table]) == ()
    assert marked_renames(EMPTY, NEW, [Renamed.table]) == ()


def test_what_is_alike_but_for_its_name_is_renamed_once() -> None:
    old = snapshot(check("t", "a"), check("t", "b"), index("t", "i"), check("t", "other", "CHECK (false)"))
    new = snapshot(check("t", "c"), check("t", "d"), index("t", "j"), check("u", "a"))
    found = following_renames(old, new)
    assert [each.sql for each in rename_statements(found)] == [
        "ALTER TABLE t RENAME CONSTRAINT a TO c",
        "ALTER TABLE t RENAME CONSTRAINT b TO d",
        "ALTER INDEX i RENAME TO j",
    ]


@pytest.mark.parametrize(("name", "called"), [("a", "a"), ('"A b"', "A b"), ('"a""b"', 'a"b')])
def test_names_are_told_as_they_are_called(name: str, called: str) -> None:
    assert unquoted(name) == called


@pytest.mark.parametrize("pattern", ["(((", "[", "\\", "x{9999999999}", "a|", ")", "(?<=a", "[^", "[a-"])
def test_a_pattern_that_cannot_be_read_gives_nothing_wrong(pattern: str) -> None:
    assert all(len(text) <= 10_000 for text in matches(pattern))
