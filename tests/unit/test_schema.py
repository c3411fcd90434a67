"""Models to tables: what annotations and markers become, and what is refused while the class is made."""

import datetime as dt
from enum import StrEnum
from typing import Annotated, Any, ClassVar
from uuid import UUID, uuid4

import pytest
from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import BaseModel, Field, StringConstraints, create_model

from database_handler.core.base_model import Draft, Record, derived, initial
from database_handler.core.columns import column_of
from database_handler.core.ddl import create_tables, drop_tables, tables_of
from database_handler.core.schema import (
    Backfill,
    Check,
    Column,
    Index,
    References,
    RenamedFrom,
    SqlType,
    Table,
)
from database_handler.core.text_search import configuration_of, text_search_configurations
from database_handler.models import ENTITIES
from database_handler.utils.errors import ConfigurationError


class Colour(StrEnum):
    RED = "red"
    ODD = "it's"


Short: Any = Annotated[str, MaxLen(5)]
Named: Any = Annotated[str, RenamedFrom("y")]
Filled: Any = Annotated[str, Backfill("''")]


class Inner(BaseModel):
    a: int


@pytest.mark.parametrize(
    ("annotation", "type_", "nullable", "checks"),
    [
        (str, "text", False, ()),
        (str | None, "text", True, ()),
        (Annotated[str, MinLen(1), MaxLen(5)], "text", False, ("char_length(x) >= 1", "char_length(x) <= 5")),
        (Short | None, "text", True, ("char_length(x) <= 5",)),
        (Annotated[str | None, MaxLen(5)], "text", True, ("char_length(x) <= 5",)),
        (Annotated[str, StringConstraints(pattern="^a'b$")], "text", False, ("x ~ '^a''b$'",)),
        (Annotated[str, Field(min_length=2)], "text", False, ("char_length(x) >= 2",)),
        (int, "bigint", False, ()),
        (Annotated[int, Ge(0), Le(10)], "integer", False, ("x >= 0", "x <= 10")),
        (Annotated[int, Le(2**63 - 1)], "bigint", False, ()),
        (bool, "boolean", False, ()),
        (
            Annotated[float, Gt(0)],
            "double precision",
            False,
            ("x > '-Infinity' AND x < 'Infinity'", "x > 0"),
        ),
        (UUID, "uuid", False, ()),
        (dt.datetime, "timestamptz", False, ()),
        (dt.date | None, "date", True, ()),
        (bytes, "bytea", False, ()),
        (Colour, "text", False, ("x IN ('red', 'it''s')",)),
        (tuple[str, ...], "text[]", False, ("array_position(x, NULL) IS NULL",)),
        (dict[str, Any], "jsonb", False, ("jsonb_typeof(x) = 'object'",)),
        (Inner, "jsonb", False, ("jsonb_typeof(x) = 'object'",)),
        (Annotated[str, SqlType("ltree")], "ltree", False, ()),
    ],
)
def test_columns(annotation: Any, type_: str, nullable: bool, checks: tuple[str, ...]) -> None:
    sample: Any = create_model("Sample", x=(annotation, ...))
    column = column_of(sample, "x", sample.model_fields["x"])
    assert (column.type, column.nullable, column.checks) == (type_, nullable, checks)


@pytest.mark.parametrize("annotation", [complex, int | str, list[int], set[str], object])
def test_a_type_without_a_column_is_refused(annotation: Any) -> None:
    sample: Any = create_model("Sample", __config__={"arbitrary_types_allowed": True}, x=(annotation, ...))
    with pytest.raises(ConfigurationError, match=r"Sample\.x: no column type"):
        column_of(sample, "x", sample.model_fields["x"])


class NewThing(Draft, frozen=True):
    project_id: Annotated[UUID, References("projects")]
    part_id: Annotated[UUID, References("parts", on_delete="RESTRICT")] | None = None
    name: str


def test_a_child_carries_its_project_in_every_key() -> None:
    class Thing(NewThing, Record, frozen=True):
        table: ClassVar[Table] = Table("things", key=("project_id", "name"))

    assert Thing.table.primary_key == ("project_id", "id")
    assert [index.columns for index in Thing.table.indexes] == [("project_id", "part_id"), ("id",)]
    sql = create_tables([Thing.table])
    assert "FOREIGN KEY (project_id, part_id) REFERENCES parts (project_id, id) ON DELETE RESTRICT" in sql
    assert "FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE CASCADE" in sql


@pytest.mark.parametrize(
    "declared",
    [
        {"key": ("name",)},
        {"key": ("project_id", "no_field")},
        {"key": ("project_id",), "indexes": [Index(("name",), unique=True)]},
        {"key": ("project_id",), "indexes": [Index(("no_field",))]},
    ],
    ids=str,
)
def test_a_table_that_breaks_a_rule_is_refused(declared: Any) -> None:
    with pytest.raises(ConfigurationError, match="Thing"):

        class Thing(NewThing, Record, frozen=True):
            table: ClassVar[Table] = Table("things", **declared)


def test_a_name_that_would_be_cut_is_refused() -> None:
    class Thing(NewThing, Record, frozen=True):
        table: ClassVar[Table] = Table("things", key=("project_id",), checks=[Check("x" * 60, "true")])

    with pytest.raises(ConfigurationError, match="63 bytes"):
        create_tables([Thing.table])


def test_tables_come_after_those_they_refer_to() -> None:
    tables = tables_of(ENTITIES)
    sql = create_tables(tables[::-1])
    for table in tables:
        for reference in table.foreign_keys:
            assert sql.index(f"CREATE TABLE {reference.table} ") < sql.index(f"CREATE TABLE {table.name} ")
    dropped = [line for line in drop_tables(tables).splitlines() if line.startswith("DROP TABLE ")]
    assert dropped[-1] == "DROP TABLE projects;"
    assert len(dropped) == len(tables)


def test_a_language_has_its_configuration() -> None:
    assert [configuration_of(code) for code in ("de", "pt-BR", "sr-Latn", "zh-Hans", "und")] == [
        f"database_handler_{name}" for name in ("german", "portuguese", "serbian", "simple", "simple")
    ]
    found = text_search_configurations()
    assert found["database_handler_norwegian"] == ("nb", "nn", "no")
    assert all(configuration_of(code) == name for name, codes in found.items() for code in codes)


# -------------------------------------------------------------------------- what a change of a model means


def column(annotation: Any, default: Any = ...) -> Column:
    sample: Any = create_model("Sample", content=(str, ...), x=(annotation, default))
    return column_of(sample, "x", sample.model_fields["x"])


@pytest.mark.parametrize(
    ("annotation", "default", "backfill"),
    [
        (str, "it's", "'it''s'"),
        (Annotated[str, StringConstraints(strip_whitespace=True)], "  x ", "'x'"),
        (bool, False, "false"),
        (int, -3, "-3"),
        (Annotated[int, Ge(0)], 0, "0"),
        (float, 1.5, "1.5"),
        (Colour, Colour.ODD, "'it''s'"),
        (bytes, b"\x00a", "'\\x0061'"),
        (UUID, UUID(int=1), "'00000000-0000-0000-0000-000000000001'"),
        (dt.date, dt.date(2026, 2, 28), "'2026-02-28'"),
        (dt.datetime, dt.datetime(2026, 2, 28, tzinfo=dt.UTC), "'2026-02-28T00:00:00+00:00'"),
        (tuple[str, ...], (), "ARRAY[]::text[]"),
        (tuple[str, ...], ("a", "b'c"), "ARRAY['a', 'b''c']::text[]"),
        (dict[str, Any], Field(default_factory=dict), "'{}'"),
        (dict[str, Any], Field(default_factory=lambda: {"z": 1, "a": ["ü"]}), """'{"a": ["ü"], "z": 1}'"""),
        (Inner, Inner(a=1), """'{"a": 1}'"""),
        (str, ..., None),
        (str | None, None, None),
        (str | None, "x", None),
        (int, derived("content", len), None),
        (int, initial("content", len), None),
        (UUID, Field(default_factory=uuid4), None),
        (dt.date, Field(default_factory=lambda: dt.date(2026, 1, 1)), None),
        (Annotated[int, Backfill("char_length(content)")], derived("content", len), "char_length(content)"),
        (Filled | None, None, "''"),
        (Annotated[str, Backfill("lower(content)")], "x", "lower(content)"),
    ],
)
def test_rows_that_are_there_get_the_default_of_a_new_field(
    annotation: Any, default: Any, backfill: str | None
) -> None:
    assert column(annotation, default).backfill == backfill


def test_a_factory_is_not_called_before_it_is_asked_for() -> None:
    made: list[str] = []

    def make() -> str:
        made.append("x")
        return "x"

    found = column(str, Field(default_factory=make))
    assert not made
    assert found.backfill == "'x'"


@pytest.mark.parametrize(
    "annotation",
    [
        Named,
        Named | None,
        Annotated[Short, RenamedFrom("y")],
    ],
)
def test_a_field_knows_its_old_name(annotation: Any) -> None:
    assert column(annotation).renamed_from == "y"
    assert column(str).renamed_from is None


def test_two_old_names_of_a_field_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Sample\.x: one RenamedFrom is allowed, and there are 2"):
        column(Annotated[str, RenamedFrom("y"), RenamedFrom("z")])


@pytest.mark.parametrize(
    ("fields", "declared", "told"),
    [
        ({"b": Annotated[str, RenamedFrom("name")]}, {}, "RenamedFrom\\('name'\\)"),
        ({"b": Annotated[str, RenamedFrom("b")]}, {}, "RenamedFrom\\('b'\\)"),
        ({"b": Annotated[str, RenamedFrom("x")], "c": Annotated[str, RenamedFrom("x")]}, {}, "stands twice"),
        ({}, {"renamed_from": "things"}, "RenamedFrom\\('things'\\)"),
        ({}, {"by_hand": ["name"]}, "by_hand names name, which the model makes"),
        ({}, {"by_hand": "name"}, r"by_hand is a list of names, such as \['name'\]"),
    ],
    ids=str,
)
def test_a_history_that_cannot_be_is_refused(fields: Any, declared: Any, told: str) -> None:
    draft = type("NewOther", (NewThing,), {"__annotations__": fields}, frozen=True)

    def declare() -> None:
        body = {"table": Table("things", key=("project_id",), **declared)}
        type("Other", (draft, Record), {"__annotations__": {"table": ClassVar[Table]}, **body}, frozen=True)

    with pytest.raises(ConfigurationError, match=told):
        declare()


def test_a_table_knows_its_old_name_and_what_was_made_by_hand() -> None:
    class Renamed(NewThing, Record, frozen=True):
        table: ClassVar[Table] = Table(
            "things", key=("project_id",), renamed_from="objects", by_hand=["things_trigram_idx"]
        )

    assert (Renamed.table.renamed_from, Renamed.table.by_hand) == ("objects", ("things_trigram_idx",))
    assert "objects" not in create_tables([Renamed.table])


def test_a_reference_to_what_no_project_owns_is_by_the_id_alone() -> None:
    class NewSeat(Draft, frozen=True):
        project_id: Annotated[UUID, References("projects")]
        reader_id: Annotated[UUID, References("readers", shared=True)]

    class Seat(NewSeat, Record, frozen=True):
        table: ClassVar[Table] = Table("seats", key=("project_id", "reader_id"))

    sql = create_tables([Seat.table])
    assert "FOREIGN KEY (reader_id) REFERENCES readers (id) ON DELETE CASCADE" in sql
    assert "CREATE INDEX seats_reader_id_idx ON seats (reader_id);" in sql
