"""The schema's documents say what the models say."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import jsonschema
import pytest

from database_handler.core.ddl import tables_of
from database_handler.models import ENTITIES
from database_handler.operations.schema_documents import json_schemas, mermaid, svg
from database_handler.testing.factories import factory_of
from database_handler.unit_of_work import UnitOfWork

DOCS = Path(__file__).resolve().parents[2] / "docs"
TABLES = tables_of(ENTITIES)


def test_diagrams_in_the_docs_are_those_of_the_models() -> None:
    """Renewed by the two commands that docs/schema.md names."""
    assert (DOCS / "schema.svg").read_text(encoding="utf-8") == svg(TABLES)
    assert (DOCS / "schema.mmd").read_text(encoding="utf-8") == mermaid(TABLES)


def test_picture_shows_every_table_column_and_reference() -> None:
    picture = ET.fromstring(svg(TABLES))  # noqa: S314  # our own
    words = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    for table in TABLES:
        assert table.name in words
        assert set(table.column_names) <= set(words)
    lines = [
        path
        for path in picture.iter("{http://www.w3.org/2000/svg}path")
        if path.get("class") in {"key", "tenant"}
    ]
    assert len(lines) == sum(len(table.foreign_keys) for table in TABLES)


def test_mermaid_names_every_reference_and_whether_it_may_be_missing() -> None:
    text = mermaid(TABLES)
    assert "text_sources ||--o{ summaries : text_source_id" in text
    assert "translations |o--o{ videos : translation_id" in text
    assert len(re.findall(r"--o\{", text)) == sum(len(table.foreign_keys) for table in TABLES)


@pytest.mark.parametrize("record", ENTITIES, ids=lambda model: model.__name__)
def test_published_schema_fits_what_is_given_and_taken(uow: UnitOfWork, record: type) -> None:
    schemas = json_schemas([record])
    repository = getattr(uow, record.table.name)  # type: ignore[attr-defined]  # every record class has one
    stored = factory_of(repository.draft).create(uow)
    draft, given = (schemas[model.__name__] for model in (repository.draft, record))
    jsonschema.Draft202012Validator.check_schema(given)
    jsonschema.validate(json.loads(stored.model_dump_json()), given)
    taken = json.loads(stored.model_dump_json(include=set(repository.draft.model_fields)))
    jsonschema.validate(taken, draft)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**taken, "no such field": 1}, draft)
