"""Models to tables: what annotations and markers become, and what is refused while the class is made."""

import datetime as dt
from enum import StrEnum
from typing import Annotated, Any, ClassVar
from uuid import UUID

import pytest
from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import BaseModel, Field, StringConstraints, create_model

from database_handler.core.base_model import Draft, Record
from database_handler.core.columns import column_of
from database_handler.core.ddl import create_tables, drop_tables, tables_of
from database_handler.core.schema import (
    Check,
    Index,
    References,
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
