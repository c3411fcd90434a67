"""A project binds the metadata of its entities to JSON Schemas, and every way of writing keeps to them."""

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from database_handler import Change, Database, NewProject, NewTextSource, Project, UnitOfWork
from database_handler.core.exceptions import InvalidValue, MissingReference, StaleRecord
from database_handler.testing.factories import TextSourceFactory
from tests.support.wire import CountingProxy

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "rating": {"type": "integer", "maximum": 5},
        "scenes": {"type": "array", "items": {"type": "object", "required": ["length"]}},
    },
    "required": ["rating"],
}
GOOD: dict[str, Any] = {"rating": 3}
NUMBERS = count(1000)
BAD: dict[str, Any] = {"rating": "secret words", "scenes": [{"length": 1}, {}]}


@pytest.fixture
def database(shared_database: Database) -> Iterator[Database]:
    with Database(shared_database.config) as own:
        yield own
    shared_database.session.run("TRUNCATE projects CASCADE")


@pytest.fixture
def project(database: Database) -> Project:
    return database.projects.create(name="bound", metadata_schemas={"text_sources": SCHEMA})


def text(project: Project, number: int | None, metadata: dict[str, Any]) -> NewTextSource:
    return NewTextSource(
        project_id=project.id,
        title="t",
        content=f"text {next(NUMBERS)}" if number is None else f"text {number}",
        metadata=metadata,
    )


Write = Callable[[Any, Project, dict[str, Any]], object]


def updated(over: Any, project: Project, metadata: dict[str, Any]) -> object:
    [found] = over.text_sources.list(project_id=project.id, filename="kept")
    return over.text_sources.update(found.id, metadata=metadata, expected_version=found.version)


def saved(over: Any, project: Project, metadata: dict[str, Any]) -> object:
    [found] = over.text_sources.list(project_id=project.id, filename="kept")
    return over.text_sources.save(found.model_copy(update={"metadata": metadata}))


def updated_many(over: Any, project: Project, metadata: dict[str, Any]) -> object:
    found = over.text_sources.list(project_id=project.id, order_by="-created_at", limit=2)
    return over.text_sources.update_many(
        [Change(found[0].id, {"title": "other"}), Change(found[-1].id, {"metadata": metadata})]
    )


WRITES: dict[str, Write] = {
    "create": lambda over, project, metadata: over.text_sources.create(text(project, None, metadata)),
    "create_many": lambda over, project, metadata: over.text_sources.create_many(
        [text(project, None, GOOD if n else metadata) for n in range(3)]
    ),
    "create_many by COPY": lambda over, project, metadata: over.text_sources.create_many(
        text(project, None, metadata if n == 250 else GOOD) for n in range(300)
    ),
    "upsert, new": lambda over, project, metadata: over.text_sources.upsert(text(project, None, metadata)),
    "upsert, there": lambda over, project, metadata: over.text_sources.upsert(text(project, 0, metadata)),
    "update": updated,
    "save": saved,
    "update_many": updated_many,
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("met", [True, False], ids=["known", "first met"])
@pytest.mark.parametrize("in_unit", [True, False], ids=["unit", "single"])
def test_every_write_keeps_to_the_schema(
    database: Database, project: Project, write: str, met: bool, in_unit: bool
) -> None:
    database.text_sources.create_many(
        [text(project, -1, GOOD), text(project, 0, GOOD).model_copy(update={"filename": "kept"})]
    )
    with Database(database.config) as other:
        if met:
            other.text_sources.create(text(project, 99, GOOD))
        before = list(other.text_sources.list(order_by="id"))

        def attempt(metadata: dict[str, Any]) -> object:
            if not in_unit:
                return WRITES[write](other, project, metadata)
            with other.unit_of_work() as unit:
                return WRITES[write](unit, project, metadata)

        with pytest.raises(InvalidValue, match=r"rating: type integer.*scenes\[1\]: length is req") as raised:
            attempt(BAD)
        assert "secret" not in str(raised.value)
        assert other.text_sources.list(order_by="id") == before
        attempt(GOOD | {"rating": 5})
        assert other.text_sources.exists(metadata__contains={"rating": 5})


def test_schema_of_today_counts(database: Database, project: Project) -> None:
    with Database(database.config) as other:
        record = other.text_sources.create(text(project, 1, GOOD))
        database.projects.update(project.id, metadata_schemas={"text_sources": {"maxProperties": 0}})
        with pytest.raises(InvalidValue, match="maxProperties 0"):
            other.text_sources.create(text(project, 2, GOOD))
        with pytest.raises(InvalidValue, match="maxProperties 0"):
            other.text_sources.update(record.id, metadata={"rating": 1})
        other.text_sources.update(record.id, title="untouched metadata are not judged")
        database.projects.update(project.id, metadata_schemas={})
        other.text_sources.create(text(project, 3, BAD))


def test_project_keeps_to_its_own(database: Database) -> None:
    bound: dict[str, Any] = {"projects": SCHEMA}
    with pytest.raises(InvalidValue, match="rating is required"):
        database.projects.create(name="p", metadata_schemas=bound)
    with pytest.raises(InvalidValue, match=r"position 1: .*rating is required"):
        database.projects.create_many([NewProject(name="p"), NewProject(name="q", metadata_schemas=bound)])
    project = database.projects.create(name="p", metadata_schemas=bound, metadata=GOOD)
    with Database(database.config) as other:
        with pytest.raises(InvalidValue, match="rating: type integer"):
            other.projects.update(project.id, metadata=BAD)
        with pytest.raises(InvalidValue, match="rating: type integer"):
            other.projects.update_many([Change(project.id, {"metadata": BAD})])
        free = other.projects.create(name="free")
        with pytest.raises(InvalidValue, match=r"position 0: .*rating: type integer"):
            other.projects.update_many(
                [Change(project.id, {"metadata": BAD}), Change(free.id, {"metadata_schemas": bound})]
            )
        assert other.projects.update_many(
            [
                Change(project.id, {"metadata": GOOD}),
                Change(free.id, {"metadata": GOOD, "metadata_schemas": bound}),
            ]
        )
        with pytest.raises(InvalidValue, match="rating: type integer"):
            other.projects.update(project.id, metadata=BAD, metadata_schemas=bound)
        with pytest.raises(InvalidValue, match="rating: type integer"):
            other.projects.upsert(NewProject(name="p", metadata=BAD, metadata_schemas=bound))
        assert other.projects.update(project.id, metadata=BAD, metadata_schemas={}).metadata == BAD


def test_stale_is_told_before_the_schema(database: Database, project: Project) -> None:
    record = database.text_sources.create(text(project, 1, GOOD))
    database.text_sources.update(record.id, title="changed")
    with Database(database.config) as other, pytest.raises(StaleRecord):
        other.text_sources.update(record.id, metadata=BAD, expected_version=1)


def test_projects_of_one_call_keep_each_to_its_own(database: Database, project: Project) -> None:
    free = database.projects.create(name="free")
    with Database(database.config) as other:
        other.text_sources.create_many([text(free, 1, BAD), text(project, 1, GOOD)])
        with pytest.raises(InvalidValue, match="position 1: metadata"):
            other.text_sources.upsert_many([text(free, 2, BAD), text(project, 2, BAD)])


@pytest.mark.parametrize(
    ("schemas", "match"),
    [
        ({"text_sources": {"type": 5}}, "text_sources: this is no JSON Schema: type"),
        ({"text_sources": []}, "a JSON Schema is a JSON object"),
        ({"Text Sources": {}}, "entity's name"),
        ({"texts": {}}, "no entity.*text_sources"),
        ({"text_sources": {"$schema": 5}}, "text_sources: .*names no dialect that is known"),
        ({"text_sources": {"$schema": "https://example.com/mine"}}, "names no dialect that is known"),
        ({"text_sources": {"$schema": "https://[bad"}}, "names no dialect that is known"),
    ],
)
def test_wrong_schema_is_refused(uow: UnitOfWork, schemas: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidValue, match=match):
        uow.projects.create(name="p", metadata_schemas=schemas)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"properties": {"a": {"$ref": "#/properties/a"}}, "$ref": "#/properties/a"},
        {"$ref": "https://example.com/s.json"},
        {"properties": {"a": {"allOf": [{"$ref": "file:///etc/passwd"}]}}},
        {"properties": {"a": {"items": {"$ref": "#/nowhere"}}}},
    ],
    ids=["itself", "round and round", "elsewhere", "elsewhere within", "nowhere"],
)
def test_schema_that_cannot_be_followed_is_refused(uow: UnitOfWork, schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match="text_sources: the JSON Schema cannot be followed"):
        uow.projects.create(name="p", metadata_schemas={"text_sources": schema})


def test_schema_may_refer_within_itself(uow: UnitOfWork) -> None:
    tree: dict[str, Any] = {
        "$defs": {"node": {"properties": {"next": {"$ref": "#/$defs/node"}}, "maxProperties": 1}}
    }
    project = uow.projects.create(
        name="p", metadata_schemas={"text_sources": {**tree, "$ref": "#/$defs/node"}}
    )
    uow.text_sources.create(text(project, 1, {"next": {"next": {}}}))
    with pytest.raises(InvalidValue, match="next: maxProperties 1 is wanted"):
        uow.text_sources.create(text(project, 2, {"next": {"next": {}, "other": 1}}))


def test_schema_of_a_project_that_is_gone_is_forgotten(database: Database, project: Project) -> None:
    database.text_sources.create(text(project, 1, GOOD))
    with Database(database.config) as other:
        other.text_sources.update(other.text_sources.list()[0].id, metadata=GOOD)
        database.projects.delete(project.id)
        with pytest.raises(MissingReference):
            other.text_sources.create(text(project, 2, BAD))


def test_a_problem_is_told_once(uow: UnitOfWork) -> None:
    project = uow.projects.create(name="p", metadata_schemas={"text_sources": {"required": ["a", "b"]}})
    with pytest.raises(InvalidValue, match=r"project: the whole: a, b is required$"):
        uow.text_sources.create(text(project, 1, GOOD))


def test_repaired_schema_counts_at_once(database: Database, project: Project) -> None:
    """One that cannot be followed after all stops the writes of a program only as long as it stands."""
    hidden = {
        "$ref": "#/x/a",
        "x": {"a": {"if": {"required": ["rating"]}, "then": {"$ref": "urn:elsewhere"}}},
    }
    database.projects.update(project.id, metadata_schemas={"text_sources": hidden})
    with Database(database.config) as other:
        with pytest.raises(InvalidValue, match="cannot be followed"):
            other.text_sources.create(text(project, 1, GOOD))
        database.projects.update(project.id, metadata_schemas={"text_sources": SCHEMA})
        other.text_sources.create(text(project, 2, GOOD))


def test_number_beyond_comparison_is_a_violation(uow: UnitOfWork) -> None:
    schema: dict[str, Any] = {"properties": {"rating": {"multipleOf": 0.5}}}
    project = uow.projects.create(name="p", metadata_schemas={"text_sources": schema})
    with pytest.raises(InvalidValue, match="a number too large to be compared"):
        uow.text_sources.create(text(project, 1, {"rating": 10**400}))


def test_existing_rows_can_be_checked(database: Database) -> None:
    project, other = (database.projects.create(name=name) for name in ("late", "other"))
    rows = database.text_sources.create_many(
        [text(project, n, BAD if n % 100 == 7 else GOOD) for n in range(300)] + [text(other, 1, BAD)]
    )
    assert list(database.projects.check_metadata(project.id)) == []
    database.projects.update(project.id, metadata_schemas={"text_sources": SCHEMA})
    found = list(database.projects.check_metadata(project.id))
    assert [(each.entity, each.id) for each in found] == [("text_sources", rows[n].id) for n in (7, 107, 207)]
    assert found[0].problems[0] == "rating: type integer is wanted"


def test_round_trips(database: Database, project: Project) -> None:
    free = database.projects.create(name="free")
    with (
        CountingProxy(database.config) as proxy,
        Database(proxy.config.with_(pool_size=1, max_overflow=0)) as counted,
    ):
        counted.projects.count()
        record = database.text_sources.create(text(project, -5, GOOD))

        def trips(call: Callable[[], object]) -> int:
            with proxy.counting() as seen:
                call()
            return seen.count - seen.texts.count("SELECT")

        assert trips(lambda: counted.text_sources.create(text(free, 1, BAD))) == 1
        assert (
            trips(lambda: counted.text_sources.create(text(project, 1, GOOD))) == 3
        )  # met, read, sent again
        assert trips(lambda: counted.text_sources.create(text(project, 2, GOOD))) == 1
        assert trips(lambda: counted.text_sources.upsert(text(project, 2, GOOD))) == 1
        assert trips(lambda: counted.text_sources.save(record.model_copy(update={"title": "x"}))) == 1
        assert trips(lambda: counted.text_sources.update(record.id, title="y")) == 1


def test_factories_know_nothing_of_it(uow: UnitOfWork) -> None:
    """Without a schema, metadata are free."""
    assert TextSourceFactory.create(uow).metadata
