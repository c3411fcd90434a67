"""One valid value for each parameter of the public callables, by the callable's name or by the parameter's.

A new public callable whose parameters have names of their own needs a line here; most need none.
"""

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from prometheus_client import CollectorRegistry

from database_handler import (
    AsyncDatabase,
    Database,
    DatabaseConfig,
    MigrationManager,
    NewProject,
    Project,
    Repositories,
    Table,
)
from database_handler.content import (
    Cue,
    FileReport,
    FolderReport,
    LineRule,
    Original,
    Outcome,
    Picture,
    tokenize,
)
from database_handler.content.store import FileStore
from database_handler.core.changes import OUTBOX
from database_handler.core.events import Target
from database_handler.migrations import SchemaSnapshot, introspect
from database_handler.migrations.files.migration import parse
from database_handler.operations.changes import ChangeFeed, Outbox
from database_handler.operations.monitoring import PrometheusMetrics, SlowPlans, Tracing
from database_handler.testing import factory_of
from tests.support.public_callables import Public

__all__ = ["SECRET", "Scene", "base", "keywords", "owner_of", "scene_of"]

SECRET = "s3cret-password"
SRT = "1\n00:00:01,000 --> 00:00:02,000\nHello\n"
CHECKSUM = "ab" * 32
MOMENT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


VERSION = b"-- migrate: up\nCREATE TABLE t (id int);\n-- migrate: down\nDROP TABLE t;\n"


@dataclass(frozen=True)
class Scene:
    """A database with one row of each entity, a unit over it, and a folder for everything else."""

    database: Database
    apart: DatabaseConfig  # another database, whose schema may change
    uow: Any
    folder: Path
    records: dict[str, Any]
    claims: dict[str, Any]
    schema: SchemaSnapshot
    state: Any = None

    @property
    def project(self) -> Project:
        found: Project = self.records["projects"]
        return found


STATES = {"translations": "draft", "videos": "pending"}


def scene_of(database: Database, apart: DatabaseConfig, folder: Path) -> Scene:
    """Store a row of each entity, all of one project, and claim the work among them."""
    records: dict[str, Any] = {}
    for name in Repositories.entities():
        given: dict[str, Any] = {"project_id": records["projects"].id} if name != "projects" else {}
        if name in STATES:
            given["status"] = STATES[name]
        if name in {"translations", "summaries"}:
            given["text_source_id"] = records["text_sources"].id
        if name == "translations":
            given["summary_id"] = None
        records[name] = factory_of(getattr(database, name).draft).create(database, **given)
    claims = {name: getattr(database, name).claim(1)[0] for name in STATES}
    records |= {name: getattr(database, name).get_by_id(records[name].id) for name in claims}
    (folder / "text.txt").write_text("A short text, to be read.")
    FileStore(folder / "store").put(b"what no row needs")
    schema = introspect(database.session, "public")
    return Scene(database, apart, None, folder, records, claims, schema)


def owner_of(scene: Scene, public: Public) -> Any:
    """Return what a method is called on."""
    assert public.owner is not None
    if public.over is not None:
        return getattr(scene.uow or scene.database, public.over)
    return OWNERS[public.owner.__name__](scene)


def manager(scene: Scene) -> MigrationManager:
    """Return one over a folder of its own, with one version that is applied."""
    folder = scene.folder / "versions"
    folder.mkdir(exist_ok=True)
    (folder / "0001_a.sql").write_bytes(VERSION)
    return MigrationManager(scene.apart, folder, history_table="apart_migrations")


def outbox(scene: Scene) -> Outbox:
    """Return the outbox, whose tables are there."""
    if scene.database.session.one(f"SELECT to_regclass('{OUTBOX}') IS NULL") == (True,):
        scene.database.outbox.prepare()
    return scene.database.outbox


def feed(scene: Scene) -> ChangeFeed:
    """Return a feed of a reader's, which waits for nothing."""
    outbox(scene)
    return ChangeFeed(scene.database.session, scene.database.config, "outbox", reader="hostile", wait=0)


OWNERS: dict[str, Callable[[Scene], Any]] = {
    "AsyncDatabase": lambda scene: AsyncDatabase(scene.database),
    "ChangeFeed": feed,
    "Database": lambda scene: scene.database,
    "DatabaseConfig": lambda scene: scene.database.config,
    "Draft": lambda scene: NewProject(name="A draft"),
    "FileStore": lambda scene: FileStore(scene.folder / "store"),
    "Files": lambda scene: scene.database.files,
    "FolderReport": lambda scene: FolderReport((FileReport("a", Outcome.STORED),)),
    "LineRule": lambda scene: LineRule(40),
    "Link": lambda scene: scene.records["links"],
    "MigrationManager": manager,
    "Outbox": outbox,
    "PrometheusMetrics": lambda scene: PrometheusMetrics(CollectorRegistry()),
    "SlowPlans": lambda scene: SlowPlans(1),
    "Tracing": lambda scene: Tracing(),
    "NewSummary": lambda scene: draft_of(scene, "summaries"),
    "Picture": lambda scene: Picture(b"x", "webp", 1, 1),
    "Repositories": lambda scene: scene.uow or scene.database,
    "SchemaSnapshot": lambda scene: scene.schema,
    "Session": lambda scene: (scene.uow or scene.database).session,
    "Table": lambda scene: Table("things", key=["name"]),
    "UnitFiles": lambda scene: scene.uow.files,
    "UnitOfWork": lambda scene: scene.uow,
}


def draft_of(scene: Scene, name: str) -> Any:
    """Return a draft that could be stored beside the rows of the scene."""
    parents = {
        key: getattr(scene.records[name], key)
        for key in ("project_id", "text_source_id", "summary_id")
        if hasattr(scene.records[name], key)
    }
    return factory_of(getattr(scene.database, name).draft).build(**parents)


def base(scene: Scene, public: Public) -> dict[str, Any]:
    """Return the arguments of a valid call: those that are required, and what makes it quick or harmless."""
    named = [
        name
        for name, parameter in public.parameters.items()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]
    if public.name == "Change":
        named.remove("values")  # the same as its keywords
    return {name: valid(scene, public, name) for name in named} | ALSO.get(public.name, {})


ALSO: dict[str, dict[str, Any]] = {
    "PrometheusMetrics": {"registry": CollectorRegistry()},
    "monitoring.serve": {"port": 0},
    "Database.embedded": {"durable": False},
    "EmbeddedServer.start": {"durable": False},
}


def valid(scene: Scene, public: Public, name: str) -> Any:
    """Return a valid value; LookupError where neither the callable nor the parameter has an entry."""
    owner, _, method = public.name.partition(".")
    for key in (f"{public.name}.{name}", f"{owner}.*.{name}", f"*.{method}.{name}", name):
        if key in VALUES:
            return VALUES[key](scene)
    if public.over is not None and name in OF_ENTITY:
        return OF_ENTITY[name](scene, public.over)
    if name in fields_of(public):
        return getattr(example_of(scene, public), name)
    if name in {"obj", "json_data"} and public.owner is not None:
        example = example_of(scene, replace(public, name=public.owner.__name__, call=public.owner))
        text = "{}" if example is None else example.model_dump_json()
        return json.loads(text) if name == "obj" else text
    raise LookupError(
        f"{public}: no valid value is known for the parameter {name!r}; add one to VALUES in "
        "tests/support/valid_arguments.py"
    )


def fields_of(public: Public) -> dict[str, Any]:
    """Return the fields of a model's constructor."""
    found: dict[str, Any] = getattr(public.call, "model_fields", {})
    return found


def example_of(scene: Scene, public: Public) -> Any:
    """Return a record, or a draft, of a model."""
    for name, record in scene.records.items():
        if issubclass(type(record), public.call):  # type: ignore[arg-type]  # a model's class
            return draft_of(scene, name) if public.name.startswith("New") else record
    return None


OF_ENTITY: dict[str, Callable[[Scene, str], Any]] = {
    "args": draft_of,
    "changes": lambda scene, name: {"metadata": {"a": 1}},
    "claim": lambda scene, name: scene.claims[name],
    "draft": draft_of,
    "drafts": lambda scene, name: [draft_of(scene, name)],
    "id": lambda scene, name: scene.records[name].id,
    "ids": lambda scene, name: [scene.records[name].id],
    "record": lambda scene, name: scene.records[name],
    "source": lambda scene, name: b"A short text, to be read.",
}
VALUES: dict[str, Callable[[Scene], Any]] = {
    "Change.changes": lambda scene: {"name": "A"},
    "Change.id": lambda scene: scene.project.id,
    "Create.draft": lambda scene: NewProject,
    "Create.record": lambda scene: Project,
    "Database.backups.place": lambda scene: scene.folder / "backups",
    "Database.config": lambda scene: scene.database.config,
    "Database.observe.observer": lambda scene: PrometheusMetrics(CollectorRegistry()),
    "Database.embedded.path": lambda scene: scene.folder / "server",
    "AsyncDatabase.call.work": lambda scene: lambda database: None,
    "AsyncDatabase.observe.observer": lambda scene: PrometheusMetrics(CollectorRegistry()),
    "AsyncDatabase.run.work": lambda scene: lambda uow: uow.projects.count(),
    "Database.run.work": lambda scene: lambda uow: uow,
    "DatabaseConfig.name": lambda scene: "films",
    "DatabaseConfig.from_url.url": lambda scene: f"postgresql://u:{SECRET}@localhost/films",
    "Deleted.of.counted": lambda scene: {"projects": 1},
    "Draft.*.obj": lambda scene: {},
    "Draft.*.json_data": lambda scene: "{}",
    "EmbeddedServer.start.path": lambda scene: scene.folder / "server",
    "Entity.repository": lambda scene: Repositories.entities()["links"],
    "FileStore.url": lambda scene: scene.folder / "store",
    "FolderReport.of.outcome": lambda scene: Outcome.STORED,
    "MigrationItem.name": lambda scene: "0001_a",
    "MigrationItem.state": lambda scene: "applied",
    "MigrationManager.baseline.version": lambda scene: 1,
    "MigrationManager.compare.other": lambda scene: scene.database.config,
    "MigrationManager.database": lambda scene: scene.database.config,
    "MigrationManager.heads.session": lambda scene: scene.database.session,
    "MigrationManager.migrate_schemas.pattern": lambda scene: "no_such_%",
    "MigrationManager.squash.upto": lambda scene: 1,
    "Outbox.*.reader": lambda scene: "search-index",
    "Outbox.move.position": lambda scene: "0.0",
    "PlannedMigration.name": lambda scene: "0001_a",
    "ProjectCounts.of.counted": lambda scene: {"projects": 1},
    "SchemaSnapshot.from_json.text": lambda scene: SchemaSnapshot({}).to_json(),
    "SchemaSnapshot.overlaid.objects": lambda scene: {},
    "Session.copy.statement": lambda scene: "COPY projects (id, name, slug) FROM STDIN",
    "Session.copy.lines": lambda scene: [],
    "Session.query": lambda scene: "SELECT 1",
    "Session.*.query": lambda scene: "SELECT 1 AS a",
    "Session.script.text": lambda scene: "SELECT 1; SELECT 2",
    "Settings.database": lambda scene: DatabaseConfig(name="films"),
    "Settings.load.env": lambda scene: {"DATABASE_URL": f"postgresql://u:{SECRET}@localhost/films"},
    "SlowPlans.after": lambda scene: 1.0,
    "Table.bind.model": lambda scene: type(scene.project),
    "Table.column.name": lambda scene: "name",
    "Table.name": lambda scene: "things",
    "Table.key": lambda scene: ["name"],
    "Tokens.content": lambda scene: "One two",
    "Tokens.spans": lambda scene: [(0, 3), (4, 7)],
    "Tokens.unchecked.content": lambda scene: "One two",
    "Tokens.unpacked.content": lambda scene: "One two",
    "content.detokenize.tokens": lambda scene: tokenize("One two"),
    "content.register_extractor.extractor": lambda scene: None,
    "content.register_extractor.mime": lambda scene: "application/x-test",
    "content.extract_document.original": lambda scene: Original(b"A text.", CHECKSUM),
    "content.reading_speed.cue": lambda scene: Cue(1, 2, "Hello"),
    "content.parse_srt.text": lambda scene: SRT,
    "content.parse_vtt.text": lambda scene: "WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nHello\n",
    "integrations.sqlalchemy.metadata.into": lambda scene: None,
    "integrations.sqlalchemy.metadata.records": lambda scene: [Project],
    "operations.schema_documents.json_schemas.records": lambda scene: [Project],
    "*.export_rows.target": lambda scene: scene.folder / "rows.csv",
    "*.import_rows.source": lambda scene: _without_rows(scene.folder),
    "projects.export.target": lambda scene: scene.folder / "out.jsonl",
    "projects.import_.source": lambda scene: scene.folder / "project.jsonl",
    "testing.factory_of.draft": lambda scene: NewProject,
    "utils.validators.mime_type.value": lambda scene: "text/plain",
    "utils.validators.normalize_url.value": lambda scene: "https://example.org/",
    "utils.validators.original_url.value": lambda scene: "https://example.org/",
    "utils.validators.storage_uri.value": lambda scene: "store:a",
    "utils.validators.tags.value": lambda scene: ["a"],
    "utils.validators.json_object.value": lambda scene: {"a": 1},
    "utils.validators.utc.value": lambda scene: MOMENT,
    "videos.create_from_file.path": lambda scene: "no such.mp4",
    "call": lambda scene: lambda: None,
    "chars": lambda scene: 40,
    "content": lambda scene: "A text.",
    "content_format": lambda scene: "plain",
    "contents": lambda scene: [b"bytes"],
    "config": lambda scene: scene.database.config,
    "created_at": lambda scene: MOMENT,
    "cues": lambda scene: [Cue(1, 2, "Hello")],
    "draft": lambda scene: NewProject,
    "draft_class": lambda scene: NewProject,
    "end": lambda scene: 2.0,
    "older_than": lambda scene: dt.timedelta(days=1),
    "seconds": lambda scene: 5.0,
    "ends": lambda scene: [3, 7],
    "head": lambda scene: None,
    "id": lambda scene: uuid4(),
    "items": lambda scene: [],
    "language": lambda scene: "en",
    "languages": lambda scene: ["de", "fr"],
    "limit": lambda scene: 1000,
    "line": lambda scene: 1,
    "message": lambda scene: "a message",
    "migrations": lambda scene: [parse(Path("0001_a.sql"), VERSION)],
    "model": lambda scene: Project,
    "name": lambda scene: "A name",
    "new": lambda scene: scene.schema,
    "number": lambda scene: 1,
    "old": lambda scene: scene.schema,
    "owner": lambda scene: "me",
    "packed": lambda scene: None,
    "path": lambda scene: scene.folder / "text.txt",
    "project_id": lambda scene: scene.project.id,
    "query": lambda scene: "word",
    "repositories": lambda scene: scene.uow or scene.database,
    "resources": lambda scene: scene.database.resources,
    "reversible": lambda scene: True,
    "rule": lambda scene: str,
    "session": lambda scene: (scene.uow or scene.database).session,
    "size": lambda scene: 2,
    "source": lambda scene: "name",
    "sql": lambda scene: "SELECT 1",
    "start": lambda scene: 1.0,
    "starts": lambda scene: [0, 4],
    "status": lambda scene: "archived",
    "store": lambda scene: FileStore(scene.folder / "store"),
    "tables": lambda scene: [Project.table],
    "target": lambda scene: Target(
        "films", scene.database.config, frozenset(), scene.database.pool, lambda session: {}
    ),
    "tag": lambda scene: "en",
    "text": lambda scene: "A text of some words.",
    "title": lambda scene: "A title",
    "tokens": lambda scene: tokenize("One two"),
    "unwanted": lambda scene: lambda each: False,
    "updated_at": lambda scene: MOMENT,
    "uri": lambda scene: f"store:sha256/ab/ab/{CHECKSUM}",
    "uris": lambda scene: f"store:sha256/ab/ab/{CHECKSUM}",
    "url": lambda scene: "https://example.org/",
    "urls": lambda scene: ["https://example.org/"],
    "value": lambda scene: "value",
    "version": lambda scene: 1,
}

KEYWORDS: dict[str, tuple[str, ...]] = {
    "Database.embedded": ("pool_size",),
    "AsyncDatabase.run": ("isolation", "deadline"),
    "AsyncDatabase.unit_of_work": ("read_only", "project_id"),
    "Database.run": ("isolation", "project_id", "statement_timeout"),
    "Database.unit_of_work": ("read_only", "project_id", "lock_timeout", "replica", "after"),
    "DatabaseConfig.from_url": ("pool_size",),
    "DatabaseConfig.with_": ("pool_size",),
    "Settings.load": ("database_url", "pool_size"),
    "config.check_settings": ("database_url", "pool_size"),
}
FILTERS = (
    *("id", "id__in", "id__is_null", "created_at__gte", "metadata", "metadata__contains"),
    *("metadata__has_key", "version__lt"),
)


def _without_rows(folder: Path) -> Path:
    path = folder / "none.jsonl"
    path.write_bytes(b"")
    return path


def keywords(public: Public) -> tuple[str, ...]:
    """Return some known keywords of a callable that takes any."""
    if public.name in KEYWORDS:
        return KEYWORDS[public.name]
    if "filters" in public.parameters:
        return FILTERS if public.name == "projects.list" else FILTERS[:2]
    return ("metadata",) if public.name.endswith((".create_one", ".update", ".finish")) else ()
