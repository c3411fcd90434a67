"""Row 38: what each role may do and what not, tried with its own login over TLS with verify-full.

One PostgreSQL 17 that lets in over TLS only, and two databases on it: one whose application sees every
project, and one with row-level security. What a role may not is tried as who has stolen its password would.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from uuid import UUID, uuid4

import psycopg2
import pytest
import trustme
from psycopg2 import sql

from database_handler import Database, MigrationManager, NewLink, NewProject
from database_handler.config.database import DatabaseConfig
from database_handler.config.files import FilesConfig
from database_handler.core.exceptions import (
    AuthenticationFailed,
    InvalidData,
    PermissionDenied,
    RecordNotFound,
)
from database_handler.core.transaction import PROJECT_SETTING
from database_handler.embedded import EmbeddedServer
from database_handler.operations.advice import AdviceLimits
from database_handler.operations.roles import RoleNames, Roles
from database_handler.testing.factories import ProjectFactory, TextSourceFactory, TranslationFactory
from tests.faults.conftest import query
from tests.faults.test_tls import RULES, _listening, _private, _programs
from tests.support.faults import PATIENCE

ADMINISTRATOR = "an-administrators-passw0rd"
PASSWORDS = {
    "migrator": "Migrator-s3cret",
    "application": "Pässwörd with 'quotes' and \\",  # normalised by SCRAM (SASLprep), and quoted by nobody
    "read_only": "Reader-s3cret",
    "backup": "Backup-s3cret",
}
BACKFILL = """-- 0001_shelves
-- migrate: up
CREATE TABLE shelves (project_id uuid NOT NULL, name text NOT NULL, PRIMARY KEY (project_id, name));
CREATE FUNCTION shelf_name(project uuid) RETURNS text LANGUAGE sql AS $$ SELECT 'shelf of ' || project $$;
INSERT INTO shelves SELECT id, shelf_name(id) FROM projects;
UPDATE text_sources SET metadata = metadata || '{"shelved": true}';
-- migrate: down
DROP FUNCTION shelf_name(uuid);
DROP TABLE shelves;
"""


@dataclass(frozen=True)
class Place:
    """A database with its roles: the configuration of each by its part, and that of an administrator."""

    admin: DatabaseConfig
    folder: Path

    def as_(self, part: str) -> DatabaseConfig:
        names = RoleNames.with_prefix(self.admin.name)
        return self.admin.with_(user=names.of(part), password=PASSWORDS[part])  # type: ignore[arg-type]

    @contextmanager
    def database(self, part: str) -> Iterator[Database]:
        with Database(self.as_(part).with_(pool_size=1, max_overflow=1)) as database:
            yield database


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("roles")
    with EmbeddedServer.start(folder, bin_dir=_programs(), durable=False) as embedded:
        query(embedded.config, "ALTER SYSTEM SET max_prepared_transactions = 5")
        made = f"CREATE ROLE administrator SUPERUSER LOGIN PASSWORD '{ADMINISTRATOR}'"
        query(embedded.config, made)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    certificate = authority.issue_cert("localhost")
    _private(folder / "data" / "server.crt", certificate.cert_chain_pems[0].bytes())
    _private(folder / "data" / "server.key", certificate.private_key_pem.bytes())
    _private(folder / "data" / "pg_hba.conf", RULES.encode())
    with _listening(folder) as port:
        config = DatabaseConfig(name="app", user="administrator", host="localhost", port=port).with_(
            password=ADMINISTRATOR, sslmode="verify-full", sslrootcert=folder / "authority.pem"
        )
        query(config, "ALTER ROLE administrator SET log_statement = 'all'")
        yield Place(config, folder)


@pytest.fixture(scope="module")
def migrated(server: Place) -> str:
    """The name of a migrated database that others are copied from."""
    with Database(server.admin.with_(name="migrated")) as database:
        database.create_if_missing()
        database.migrate()
    return database.config.name


def made(server: Place, template: str, name: str, *, row_security: bool) -> Place:
    query(server.admin, f"CREATE DATABASE {name} TEMPLATE {template}")
    place = Place(server.admin.with_(name=name), server.folder)
    roles(place).apply(passwords=PASSWORDS, row_security=row_security)
    return place


def roles(place: Place) -> Roles:
    return Roles(place.admin)


@pytest.fixture(scope="module")
def films(server: Place, migrated: str) -> Place:
    """A database without row-level security."""
    return made(server, migrated, "films", row_security=False)


@pytest.fixture(scope="module")
def tenants(server: Place, migrated: str) -> Place:
    """A database with row-level security."""
    return made(server, migrated, "tenants", row_security=True)


def refused(config: DatabaseConfig, *statements: str) -> dict[str, str | None]:
    """Send statements as who has the password and a driver; return what the server says to each."""
    found: dict[str, str | None] = {}
    connection = psycopg2.connect(**config.connect_arguments())  # type: ignore[call-overload]
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                found[statement] = None
                try:
                    cursor.execute(statement)
                except psycopg2.Error as error:
                    found[statement] = error.pgcode
    finally:
        connection.close()
    return found


# ----------------------------------------------------------------------------------------------- each role

WRITES = (
    "INSERT INTO database_handler_keys (key, created_at) VALUES ('one', now())",
    "UPDATE projects SET name = name",
    "DELETE FROM links",
)
DDL = (
    "CREATE TABLE mine (id int)",
    "CREATE TEMPORARY TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "ALTER TABLE projects ADD COLUMN mine int",
    "ALTER TABLE projects DISABLE ROW LEVEL SECURITY",
    "CREATE INDEX ON projects (name)",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DROP TABLE links",
    "TRUNCATE links",
    "CREATE ROLE mine",
    "CREATE EXTENSION citext",
)


@pytest.mark.parametrize("part", ["application", "read_only", "backup"])
def test_nobody_but_the_migrator_changes_the_schema(films: Place, tenants: Place, part: str) -> None:
    for place in (films, tenants):
        assert refused(place.as_(part), *DDL) == dict.fromkeys(DDL, "42501")
    with films.database(part) as database:
        assert database.session.one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == (True,)
        assert database.session.one("SHOW search_path") == ("public, pg_temp",)
        with pytest.raises(PermissionDenied) as caught:
            database.session.run("ALTER TABLE projects ADD COLUMN mine int")
        assert caught.value.sqlstate == "42501"


@pytest.mark.parametrize("part", ["application", "read_only", "backup"])
def test_only_the_application_writes_rows(films: Place, part: str) -> None:
    expected = None if part == "application" else "42501"
    assert refused(films.as_(part), *WRITES) == dict.fromkeys(WRITES, expected)
    never = "UPDATE database_handler_migrations SET name = name", f"SET ROLE {films.admin.name}_owner"
    assert refused(films.as_(part), *never) == dict.fromkeys(never, "42501")
    with films.database(part) as database:
        assert database.health().ok
        if part == "application":
            project = database.projects.create(NewProject(name="Read by all"))
            assert database.projects.get_by_id(project.id) == project
            database.projects.delete(project.id)
        else:
            with pytest.raises(PermissionDenied):
                database.projects.create(NewProject(name="Never"))


def test_nobody_logs_in_as_the_owner_and_no_other_role_gets_in(films: Place, server: Place) -> None:
    query(server.admin, "CREATE ROLE stranger LOGIN PASSWORD 'stranger'")
    stranger = films.admin.with_(user="stranger", password="stranger")
    with pytest.raises(psycopg2.OperationalError, match="permission denied for database"):
        query(stranger, "SELECT 1")
    query(server.admin, "ALTER ROLE films_owner PASSWORD 'known'")
    with (
        Database(films.admin.with_(user="films_owner", password="known")) as database,
        pytest.raises((AuthenticationFailed, PermissionDenied)),
    ):
        database.session.one("SELECT 1")
    public = "SELECT count(*) FROM pg_proc WHERE proacl::text ~ '[{,]=X/' "
    public += "AND pronamespace = 'public'::regnamespace AND NOT EXISTS "
    public += "(SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')"
    assert query(films.admin, public) == [(0,)]


def test_the_backup_role_dumps_every_row_and_writes_none(
    tenants: Place, films: Place, tmp_path: Path
) -> None:
    with Database(tenants.admin) as database:
        projects = [database.projects.create(NewProject(name=f"Dumped {n}")) for n in range(3)]
    for place in (tenants, films):
        config = place.as_("backup")
        done = subprocess.run(
            [_programs() / "pg_dump", "--format=plain", config.with_(password=None).url()],
            env={**os.environ, "PGPASSWORD": PASSWORDS["backup"]},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.stderr, done.returncode) == ("", 0)
        (tmp_path / place.admin.name).write_text(done.stdout)
    dumped = (tmp_path / "tenants").read_text()
    assert all(str(project.id) in dumped for project in projects)
    assert dumped.count("FORCE ROW LEVEL SECURITY") == len(Database.records())


def test_no_password_in_clear_reaches_the_server(films: Place, server: Place) -> None:
    log = (server.folder / "tls.log").read_text("utf-8", errors="replace")
    assert [each for each in PASSWORDS.values() if each in log or each.replace("'", "''") in log] == []
    assert log.count("PASSWORD 'SCRAM-SHA-256$4096:") >= 4
    plan = roles(films).plan(passwords=PASSWORDS)
    assert [each.sql for each in plan.statements if each.kind == "password"] == [
        f"ALTER ROLE \"{name}\" PASSWORD '***'" for name in plan.names.all[1:]
    ]
    assert [each for each in PASSWORDS.values() if each in repr(plan)] == []


# ---------------------------------------------------------------------------------------------- migrations


@pytest.mark.parametrize("security", [False, True], ids=["open", "by project"])
def test_the_migrator_migrates_as_the_owner(
    films: Place, tenants: Place, tmp_path: Path, *, security: bool
) -> None:
    place = tenants if security else films
    with Database(place.admin) as database, database.unit_of_work() as uow:
        sources = [TextSourceFactory.create(uow) for _ in range(2)]
    (tmp_path / "0001_shelves.sql").write_text(BACKFILL)
    manager = MigrationManager(place.as_("migrator"), tmp_path)
    try:
        assert manager.migrate().applied == ("0001_shelves",)
        owners = (
            "SELECT pg_get_userbyid(relowner) FROM pg_class "
            "WHERE relname IN ('shelves', 'shelves_pkey', 'application_migrations') "
            "UNION SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE proname = 'shelf_name'"
        )
        assert query(place.admin, owners) == [(f"{place.admin.name}_owner",)]
        with Database(place.admin) as database:  # whoever sees all
            counts = "SELECT (SELECT count(*) FROM shelves), (SELECT count(*) FROM projects)"
            shelves, projects = database.session.one(counts)
            assert shelves == projects >= 2
            for source in sources:
                assert database.text_sources.get_by_id(source.id).metadata["shelved"] is True
        assert manager.drift().drifted is False
        uses = "SELECT count(*) FROM shelves", "SELECT shelf_name(NULL)"
        closed = "42501" if security else None  # until the table has its policies
        assert refused(place.as_("application"), *uses) == dict.fromkeys(uses, closed)
        if security:
            assert roles(place).check().differs
            roles(place).apply()
            assert query(place.as_("application"), "SELECT count(*) FROM shelves") == [(0,)]
            assert manager.drift().drifted is False
    finally:
        manager.rollback()
    roles(place).apply()  # the history of the application's own is nobody's to change
    assert not roles(place).check().differs


# -------------------------------------------------------------------------------------- one project's rows


@pytest.fixture
def two(tenants: Place) -> tuple[UUID, UUID]:
    """Two projects, each with two sources, some links and a translation."""
    found = []
    with Database(tenants.admin) as database:
        for _ in range(2):
            with database.unit_of_work() as uow:
                project = ProjectFactory.create(uow)
                sources = [TextSourceFactory.create(uow, project_id=project.id) for _ in range(2)]
                TranslationFactory.create(uow, project_id=project.id, text_source_id=sources[0].id)
                uow.links.create_many(links(project.id, 3))
            found.append(project.id)
    return found[0], found[1]


def links(project: UUID, count: int) -> list[NewLink]:
    return [NewLink(project_id=project, url=f"https://example.org/{uuid4().hex}") for _ in range(count)]


def test_a_unit_of_one_project_sees_and_writes_no_other(tenants: Place, two: tuple[UUID, UUID]) -> None:
    mine, theirs = two
    with tenants.database("application") as database:
        with database.unit_of_work(project_id=mine) as uow:
            for table in (record.table for record in Database.records()):
                [held] = uow.session.one(
                    sql.SQL("SELECT count(*) FILTER (WHERE {0} <> %s) FROM {1}").format(
                        sql.Identifier(table.scope_column), sql.Identifier(table.name)
                    ),
                    [mine],
                )
                assert held == 0, table.name
            assert uow.session.one("SELECT count(*) FROM text_sources") == (2,)
            # Who forgets the project in a statement of his own changes nothing of the other's.
            assert uow.session.run("UPDATE links SET title = 'changed'") == 3
            assert uow.session.run("DELETE FROM links WHERE project_id = %s", [theirs]) == 0
            assert uow.session.run("DELETE FROM projects WHERE id = %s", [theirs]) == 0
            with pytest.raises(PermissionDenied), uow.savepoint():
                uow.session.run("UPDATE links SET project_id = %s", [theirs])
        assert database.session.one("SELECT count(*) FROM projects") == (0,)
        with database.unit_of_work() as uow:
            with pytest.raises(PermissionDenied), uow.savepoint():
                uow.links.create_many(links(theirs, 1))
            assert uow.projects.count() == 0
            assert uow.text_sources.list() == []
        with pytest.raises(RecordNotFound):
            database.projects.get_by_id(mine)
    with Database(tenants.admin) as database:
        assert database.links.count(project_id=theirs, title__is_null=True) == 3


def test_nothing_of_a_project_outlives_its_transaction(tenants: Place, two: tuple[UUID, UUID]) -> None:
    mine, theirs = two
    with Database(tenants.as_("application").with_(pool_size=1, max_overflow=0)) as database:  # one session
        with database.unit_of_work(project_id=mine) as uow, uow.savepoint():
            assert uow.projects.count() == 1
        assert database.projects.count() == 0
        assert database.for_project(theirs).projects.list()[0].id == theirs
        assert database.projects.count() == 0
        with database.unit_of_work(project_id=mine) as uow:
            uow.projects.count()
            uow.rollback()
        [held] = database.session.one(f"SELECT current_setting('{PROJECT_SETTING}', true)")
        assert held in {None, ""}
        assert database.projects.count() == 0


def test_whoever_writes_sql_as_the_application_chooses_the_project(
    tenants: Place, two: tuple[UUID, UUID]
) -> None:
    """The setting is the application's own power: it keeps its mistakes apart, not its own SQL."""
    mine, theirs = two
    with tenants.database("application") as database, database.unit_of_work(project_id=mine) as uow:
        uow.session.one("SELECT set_config('database_handler.project_id', %s, true)", [f"{mine},{theirs}"])
        assert uow.session.one("SELECT count(*) FROM projects") == (2,)
        uow.session.one("SELECT set_config('database_handler.project_id', 'nonsense', true)")
        with pytest.raises(InvalidData), uow.savepoint():
            uow.session.one("SELECT count(*) FROM projects")
        uow.rollback()
    around = "SET row_security = off; SELECT * FROM projects"
    assert refused(tenants.as_("application"), around) == {around: "42501"}


def test_the_calls_of_a_project_work_in_its_unit(
    tenants: Place, two: tuple[UUID, UUID], tmp_path: Path
) -> None:
    mine, _ = two
    with tenants.database("application") as database:
        held = database.for_project(mine)
        many = [*held.links.create_many(links(mine, 450)), *held.links.create_many(links(mine, 5))]
        assert held.links.count() == 458
        assert held.links.get_many([link.id for link in many]) == many
        assert {link.created_at for link in many[:450]} == {many[0].created_at}
        assert list(held.links.stream(batch=50)) == held.links.list()
        assert held.projects.statistics(mine).text_sources.rows == 2
        assert held.projects.tree(mine).project.id == mine
        source = held.text_sources.list()[0]
        word = source.content.split()[0]
        assert {hit.record.project_id for hit in held.text_sources.search(word)} <= {mine}
        held.projects.export(mine, tmp_path / "mine.jsonl")
        with held.unit_of_work() as uow:  # a unit of what is held is held too
            claimed = uow.translations.claim(5)
            assert {claim.record.project_id for claim in claimed} <= {mine}
            uow.text_sources.update(source.id, title="Another title")
        assert held.run(lambda uow: uow.text_sources.get_by_id(source.id)).title == "Another title"
        copy = database.projects.clone(mine, name="A copy")
        assert database.for_project(copy.id).links.count() == 458
        again = database.projects.import_(tmp_path / "mine.jsonl", name="Brought in")
        assert database.for_project(again.id).links.count() == 458
        with database.unit_of_work() as uow:  # what a unit makes it sees
            new = uow.projects.create(NewProject(name="New"))
            uow.links.create_many(links(new.id, 2))
            assert uow.projects.list() == [new]
        with database.unit_of_work(project_id=copy.id) as uow:
            assert uow.projects.delete(copy.id).links == 458  # the cascade runs as the owner, forced or not
        assert database.run(lambda _: "once", idempotency_key=str(mine), returns=str) == "once"


def test_the_outbox_keeps_what_a_role_of_one_project_wrote_and_shows_it_no_other(
    server: Place, migrated: str, tmp_path: Path
) -> None:
    place = made(server, migrated, "told", row_security=True)

    def database(part: str) -> Database:
        return Database(place.as_(part).with_(pool_size=2, max_overflow=0, changes="outbox"))

    with database("migrator") as migrator, database("application") as application:
        assert migrator.outbox.prepare()
        with pytest.raises(PermissionDenied):  # closed, until the table has its policies
            application.projects.create(NewProject(name="Refused"))
        roles(place).apply()
        assert not roles(place).check().differs
        mine, theirs = (application.projects.create(NewProject(name=f"Film {n}")) for n in range(2))
        held, other = application.for_project(mine.id), application.for_project(theirs.id)
        source = held.text_sources.create(project_id=mine.id, title="T", content="C", language="en")
        kept = held.links.create_many(links(mine.id, 450))
        with held.unit_of_work() as uow:
            uow.links.delete_many([link.id for link in kept[:2]])
            uow.text_sources.update(source.id, title="Another")
        held.text_sources.delete(source.id)
        other.links.create_many(links(theirs.id, 3))

        def told(reader: Database, number: int) -> list[tuple[str, str]]:
            with reader.changes(after="0.0", wait=PATIENCE) as feed:
                found = list(islice(feed, number))
                feed._wait = 0
                assert list(feed) == []
            assert {each.project_id for each in found} <= ({reader.project_id} if reader.project_id else {
                mine.id, theirs.id})  # fmt: skip
            return [(each.operation, each.entity) for each in found]

        found = told(held, 458)
        assert found[-3:] == [("delete", "text_sources"), ("many", "summaries"), ("many", "translations")]
        assert told(other, 4) == [("insert", "projects"), *[("insert", "links")] * 3]
        assert len(told(migrator, 462)) == 462, "who sees all"
        forged = (
            "INSERT INTO database_handler_changes (operation, entity, project_id) VALUES ('many', 'x', %s)"
        )
        with pytest.raises(PermissionDenied), held.unit_of_work() as uow:
            uow.session.run(forged, [theirs.id])
        for ask in (
            lambda: next(application.changes(after="0.0", wait=0)),
            lambda: next(application.changes(reader="blind", wait=0)),
            application.outbox.report,
            application.outbox.prune,
        ):
            with pytest.raises(PermissionDenied, match="as the migrator"):
                ask()
        assert migrator.outbox.report().rows == 462
        copy = application.projects.clone(mine.id, name="A copy")
        held.projects.export(mine.id, tmp_path / "mine.jsonl")
        application.projects.import_(tmp_path / "mine.jsonl", name="Brought in")
        application.for_project(copy.id).projects.delete(copy.id)


def test_a_sweep_of_files_is_refused_to_who_sees_one_project(tenants: Place, tmp_path: Path) -> None:
    files = FilesConfig(store_url=str(tmp_path / "store"))
    with Database(tenants.as_("application"), files=files) as database:
        with database.unit_of_work() as uow:
            project = uow.projects.create(NewProject(name=f"With a file {uuid4()}"))
            uow.text_sources.create_from_file(project.id, b"Kept, whoever sweeps.", filename="kept.txt")
        for repositories in (database, database.for_project(project.id)):
            with pytest.raises(PermissionDenied, match="sweep as the migrator"):
                repositories.files.sweep()
    with Database(tenants.as_("migrator"), files=files) as database:
        assert (database.files.sweep().removed, database.files.check().problems) == (0, ())


# --------------------------------------------------------------------------------------------------- advice


def test_who_may_see_little_gets_what_advice_there_is_and_is_told_the_rest(films: Place) -> None:
    limits = AdviceLimits(long_transaction=0, idle_in_transaction=0)
    forgotten = psycopg2.connect(**films.admin.connect_arguments())  # type: ignore[call-overload]
    try:
        forgotten.tpc_begin(forgotten.xid(1, "forgotten", ""))
        forgotten.cursor().execute("LOCK TABLE links IN SHARE MODE")
        forgotten.tpc_prepare()
        forgotten.reset()
        forgotten.cursor().execute("SELECT 1")
        for part in ("read_only", "application"):
            with films.database(part) as database:
                advice = database.advise(limits=limits)
            [prepared] = advice.of("prepared transaction")  # these are shown to everybody
            assert "administrator prepared it" in prepared.why
            assert not advice.of("idle in transaction")
            assert [unseen for unseen in advice.unseen if "GRANT pg_read_all_stats" in unseen]
        with Database(films.admin) as database:
            advice = database.advise(limits=limits)
            assert advice.unseen == ()
            assert advice.of("idle in transaction")
            [prepared] = advice.of("prepared transaction")
            database.session.script(*prepared.sql)
            assert not database.advise(limits=limits).of("prepared transaction")
    finally:
        forgotten.close()
