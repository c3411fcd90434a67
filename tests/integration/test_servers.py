"""The library on every PostgreSQL that is found here, and under settings that a server may have instead."""

# ruff: noqa: PT012  # what is to raise is the unit as a whole, or its block

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from psycopg2 import sql

from database_handler import Change, Database, MigrationManager, Outcome, Repositories, UnitOfWork
from database_handler.config.database import DatabaseConfig
from database_handler.core.ddl import create_tables, tables_of
from database_handler.core.exceptions import (
    CheckFailed,
    ConfigurationError,
    ConnectionLost,
    DuplicateRecord,
    MissingReference,
    ReadOnlyServer,
    RequiredValueMissing,
    StaleRecord,
    StillReferenced,
)
from database_handler.core.session import Statement
from database_handler.models import ENTITIES
from database_handler.testing.factories import (
    ProjectFactory,
    SummaryFactory,
    TextSourceFactory,
    TranslationFactory,
    VideoFactory,
    factory_of,
)
from database_handler.testing.plugin import _made
from tests.integration.test_schema_equals_models import (
    EVERYTHING,
    HISTORY,
    TABLES,
    catalogue,
    scratch_schema,
)
from tests.support.faults import FaultProxy
from tests.support.servers import OWN, SERVERS, running


@pytest.fixture(scope="module", params=SERVERS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DatabaseConfig]:
    """Each server in turn."""
    if request.param == OWN:
        yield request.getfixturevalue("database_server")
        return
    with running(request.param, tmp_path_factory.mktemp("server") / "pg") as started:
        yield started.config


@pytest.fixture(scope="module")
def template(server: DatabaseConfig) -> Iterator[DatabaseConfig]:
    with _made(server) as config:
        with Database(config) as database:
            database.migrate()
        yield config


@pytest.fixture
def config(template: DatabaseConfig) -> Iterator[DatabaseConfig]:
    with _made(template, template=template.name) as made:
        yield made


@pytest.fixture
def database(config: DatabaseConfig) -> Iterator[Database]:
    """A migrated database of the test's own on that server."""
    with Database(config) as own:
        yield own


# -------------------------------------------------------------------------------------------------- schema


def test_the_schema_goes_up_and_down_and_is_what_the_models_say(database: Database) -> None:
    manager = MigrationManager(database)
    assert manager.status().at_head
    manager.rollback(target=0)
    left = {row[0] for row in database.session.all(Statement(EVERYTHING, "test"))}
    assert {name for name in left if HISTORY not in name} == set()
    manager.migrate()
    assert database.health().ok
    with database.unit_of_work() as unit:
        migrated = catalogue(unit)
        with scratch_schema(unit):
            unit.session.script(create_tables(tables_of(ENTITIES)))
            built = catalogue(unit)
        unit.rollback()
    assert {row[0] for row in migrated["columns"]} == set(TABLES)
    assert built == migrated


# ------------------------------------------------------------------------------------------------- every call


def every_call(over: Repositories, name: str) -> None:
    """One of each call of a repository, and what it says."""
    repository: Any = getattr(over, name)
    factory = factory_of(repository.draft)
    parents = factory.parents(over)
    drafts = factory.build_batch(5, **parents)
    first = repository.create(drafts[0])
    records = [first, *repository.create_many(drafts[1:])]
    ids = [record.id for record in records]
    assert [{**dict(record), **dict(draft)} for record, draft in zip(records, drafts, strict=True)] == [
        dict(record) for record in records
    ]
    _read(repository, records, ids)
    changed = repository.update(ids[0], metadata={"a": "\\ ' \" % é"}, expected_version=1)
    assert (changed.version, repository.get_by_id(ids[0])) == (2, changed)
    with pytest.raises(StaleRecord) as stale:
        repository.update(ids[0], metadata={}, expected_version=1)
    assert stale.value.current == (changed,)
    saved = repository.save(changed.model_copy(update={"metadata": {"b": 1}}))
    many = repository.update_many([Change(id, {"metadata": {"c": [None]}}) for id in ids])
    assert [each.version for each in many] == [saved.version + 1, 2, 2, 2, 2]
    _upsert(repository, drafts, factory.build(**parents), many)
    repository.delete(ids[0])
    assert repository.delete_many(ids) == 4


def _read(repository: Any, records: list[Any], ids: list[Any]) -> None:
    assert repository.find_by_id(ids[1]) == records[1]
    assert repository.get_many(reversed(ids)) == records[::-1]
    assert repository.list(id__in=ids, order_by="id") == records
    assert list(repository.stream(id__in=ids, order_by="id", batch=2)) == records
    first = repository.page(id__in=ids, order_by="-id", limit=3, total="exact")
    second = repository.page(id__in=ids, order_by="-id", limit=3, after=first.next_cursor)
    assert [*first.items, *second.items] == records[::-1]
    assert (first.total, second.next_cursor) == (5, None)
    since = min(record.created_at for record in records)
    assert repository.count(id__in=ids, created_at__gte=since) == 5
    assert repository.exists(id=ids[0], metadata__contains=records[0].metadata)


def _upsert(repository: Any, drafts: list[Any], new: Any, stored: list[Any]) -> None:
    same = type(drafts[0])(**dict(drafts[0]) | {"metadata": stored[0].metadata})
    found = repository.upsert_many([same, drafts[1], new])
    assert [each.outcome for each in found] == [Outcome.UNCHANGED, Outcome.UPDATED, Outcome.INSERTED]
    assert found[0].record == stored[0]
    assert repository.upsert(new).outcome is Outcome.UNCHANGED
    repository.delete(found[2].record.id, expected_version=1)


def test_each_call_of_each_repository(database: Database) -> None:
    for name in Repositories.entities():
        every_call(database, name)
        with database.unit_of_work() as unit:
            every_call(unit, name)


def test_nulls_in_a_key_are_equal(database: Database) -> None:
    source = TextSourceFactory.create(database)
    draft = SummaryFactory.build(project_id=source.project_id, text_source_id=source.id, generator=None)
    stored = database.summaries.create(draft)
    assert database.summaries.upsert(draft).record == stored
    with pytest.raises(DuplicateRecord) as caught:
        database.summaries.create(draft)
    assert caught.value.constraint == "summaries_key"


def test_rows_by_copy_and_the_errors_of_copy(database: Database) -> None:
    project = ProjectFactory.create(database)
    drafts = [
        TextSourceFactory.build(project_id=project.id, content=f"a\tb\\N\nü\r\\.\n{number}", language="en")
        for number in range(500)
    ]
    records = database.text_sources.create_many(drafts)
    assert database.text_sources.get_many([record.id for record in records]) == records
    database.projects.delete(project.id)
    with pytest.raises(MissingReference):
        database.text_sources.create_many(drafts)
    assert database.text_sources.count() == 0


def test_search(database: Database) -> None:
    TextSourceFactory.create(database, content="other", title="other", language="en")
    for language, text, query in (
        ("en", "Two lighthouses stand there", "lighthouse"),
        ("de", "Zwei Häuser", "Haus"),
        ("und", "Ω ß", "ω"),
    ):
        source = TextSourceFactory.create(database, content=text, language=language, title="t")
        [hit] = database.text_sources.search(query)
        assert (hit.record, "**" in hit.snippet) == (source, True)


# ------------------------------------------------------------------------------------------ errors and ends


def test_both_sides_of_a_reference_and_the_other_constraints(database: Database) -> None:
    video = VideoFactory.create(database, translation_id=TranslationFactory.create(database).id)
    gone = TranslationFactory.build()
    wrong: list[tuple[type[Exception], Callable[[], object]]] = [
        (MissingReference, lambda: database.translations.create(gone)),
        (StillReferenced, lambda: database.translations.delete(video.translation_id or "")),
        (StillReferenced, lambda: database.translations.delete_many([video.translation_id or ""])),
        (StillReferenced, lambda: database.session.run("DELETE FROM text_sources")),
        (CheckFailed, lambda: database.session.run("UPDATE videos SET width = 0")),
        (RequiredValueMissing, lambda: database.session.run("UPDATE videos SET title = NULL")),
    ]
    for kind, call in wrong:
        with pytest.raises(kind) as caught:
            call()
        assert type(caught.value) is kind
    assert database.videos.list() == [video]


def test_a_project_whose_videos_refer_to_translations_goes_as_a_whole(database: Database) -> None:
    translation = TranslationFactory.create(database)
    VideoFactory.create(database, project_id=translation.project_id, translation_id=translation.id)
    database.projects.delete(translation.project_id)
    assert [getattr(database, name).count() for name in TABLES] == [0] * len(TABLES)


def test_savepoints(database: Database) -> None:
    with database.unit_of_work() as unit:
        unit.projects.create(name="kept")
        with pytest.raises(DuplicateRecord), unit.savepoint():
            unit.projects.create(name="lost")
            unit.projects.create(name="kept")
        with unit.savepoint():
            unit.projects.create(name="last")
    assert [project.slug for project in database.projects.list(order_by="id")] == ["kept", "last"]


def test_a_lost_commit_is_resolved(database: Database) -> None:
    with FaultProxy(database.config) as proxy, Database(proxy.config) as faulty:
        with faulty.unit_of_work() as unit:
            unit.projects.create(name="stored")
            proxy.lose("reply", "COMMIT")
        with pytest.raises(ConnectionLost), faulty.unit_of_work() as unit:
            unit.projects.create(name="not stored")
            proxy.lose("request", "COMMIT")
        assert proxy.fired == 2
    assert [project.slug for project in database.projects.list()] == ["stored"]


# ------------------------------------------------------------------------------------------ unusual settings

UNUSUAL = {
    "array_nulls": "off",
    "backslash_quote": "off",
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "datestyle": "SQL, DMY",
    "default_text_search_config": "pg_catalog.german",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "serializable",
    "extra_float_digits": "0",
    "intervalstyle": "sql_standard",
    "standard_conforming_strings": "off",
    "timezone": "Asia/Kolkata",
    "transform_null_equals": "on",
}


def preset(config: DatabaseConfig, settings: dict[str, str]) -> None:
    """Have every later connection to the database begin with these settings."""
    with Database(config) as database:
        for name, value in settings.items():
            text = sql.SQL("ALTER DATABASE {} SET {} TO {}")
            database.session.run(
                text.format(sql.Identifier(config.name), sql.Identifier(name), sql.Literal(value))
            )


def test_settings_of_the_database_change_nothing(config: DatabaseConfig) -> None:
    preset(config, UNUSUAL)
    with Database(config) as database:
        for entity in Repositories.entities():
            every_call(database, entity)
        database.run(_hostile_values)
        database.session.run("SET lock_timeout = 0")  # a reset is due, and must not bring them back
        database.run(_hostile_values)


def _hostile_values(unit: UnitOfWork) -> None:
    text = "back\\slash \\' quote'' \\\\ %s %% é € 🎬 \\x41 $$ \t\n"
    source = TextSourceFactory.create(unit, title="a\\b'c", content=text, language="en")
    assert unit.text_sources.get_by_id(source.id).content == text
    assert unit.text_sources.list(title__icontains="\\B'")[0] == source
    video = VideoFactory.create(
        unit, duration=0.1 + 0.2, frame_rate=30000 / 1001, codecs=["a\\b", "c'd", "NULL"]
    )
    assert unit.videos.get_by_id(video.id) == video
    [moment] = unit.session.one("SELECT %s::timestamptz", [video.created_at])
    assert (moment, moment.utcoffset()) == (video.created_at, timedelta(0))
    raw = b"\\\x00'\xff"
    [same, stored, pause] = unit.session.one(
        "SELECT %s, %s::bytea, '-1 day 02:03'::interval", [text, memoryview(raw)]
    )
    assert (same, bytes(stored), pause) == (text, raw, timedelta(days=-1, hours=2, minutes=3))
    unit.rollback()


def test_a_database_that_is_read_only_says_so(config: DatabaseConfig) -> None:
    preset(config, {"default_transaction_read_only": "on"})
    with Database(config) as database:
        with pytest.raises(ReadOnlyServer):
            database.projects.create(name="a")
        assert database.projects.count() == 0
        assert database.health().ok


def test_a_search_path_of_its_own(server: DatabaseConfig) -> None:
    with _made(server) as config:
        with Database(config) as database:
            database.session.run("CREATE SCHEMA elsewhere")
        preset(config, {"search_path": "elsewhere"})
        with Database(config) as database:
            database.migrate()
            assert database.health().ok
            for entity in Repositories.entities():
                every_call(database, entity)
            found = database.session.all(
                "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename = 'projects'"
            )
            assert found == [("elsewhere",)]


def test_a_database_that_cannot_hold_every_text_is_refused(server: DatabaseConfig) -> None:
    name, encoding = f"test_{uuid4().hex}", "LATIN1"
    with Database(server.with_(name="postgres")) as database:
        made = sql.SQL("CREATE DATABASE {} ENCODING {} LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0")
        database.session.run(made.format(sql.Identifier(name), sql.Literal(encoding)))
        try:
            with Database(server.with_(name=name)) as other:
                with pytest.raises(ConfigurationError, match=f"encoding is {encoding}"):
                    other.migrate()
                assert other.session.one("SELECT to_regclass('projects')") == (None,)
                health = other.health()
            assert (health.ok, health.error) == (False, f"the database's encoding is {encoding}, not UTF8")
        finally:
            database.session.run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
