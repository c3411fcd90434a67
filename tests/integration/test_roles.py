"""Roles are planned as a value, applied in one transaction, and checked: on every server that is here."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg2 import sql

from database_handler import Database, NewLink, NewProject
from database_handler.cli import main
from database_handler.config.database import DatabaseConfig
from database_handler.config.settings import VARIABLES
from database_handler.core.connection import dedicated
from database_handler.core.exceptions import ConfigurationError, InvalidValue, PermissionDenied
from database_handler.core.session import Session
from database_handler.core.transaction import PROJECT_SETTING, Autocommit
from database_handler.operations.roles import RoleConflicts, RoleNames, Roles, plan_roles
from database_handler.operations.roles.found import look
from database_handler.testing.plugin import _made
from tests.support.servers import OWN, SERVERS, running
from tests.support.wire import CountingProxy

PASSWORD = "s3cret of this test"


@dataclass(frozen=True)
class Place:
    """A migrated database of a test's own, and roles that no other test has."""

    config: DatabaseConfig
    names: RoleNames

    @property
    def admin(self) -> Session:
        return session(self.config)

    @property
    def roles(self) -> Roles:
        return Roles(self.config, self.names)

    def as_(self, role: str) -> DatabaseConfig:
        return self.config.with_(user=role, password=PASSWORD)

    def make(self, role: str, options: str = "LOGIN") -> str:
        text = sql.SQL("CREATE ROLE {} " + options + " PASSWORD {}")  # pyright: ignore[reportArgumentType]  # a test's own text
        self.admin.run(text.format(sql.Identifier(role), sql.Literal(PASSWORD)))
        return role

    def script(self, text: str) -> None:
        """Run a script that names roles by their part, such as {application}."""
        self.admin.script(text.format(**self.names.model_dump(), database=self.config.name))


def session(config: DatabaseConfig) -> Session:
    return Autocommit(lambda: dedicated(config)).session


@pytest.fixture(scope="module", params=[name for name in SERVERS if name != "PostgreSQL 17"])
def migrated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DatabaseConfig]:
    """A migrated database on each server; the tests of least privilege are on PostgreSQL 17."""
    if request.param == OWN:
        yield request.getfixturevalue("database_template")
        return
    with (
        running(request.param, tmp_path_factory.mktemp("server") / "pg") as server,
        _made(server.config) as config,
    ):
        with Database(config) as database:
            database.migrate()
        yield config


@pytest.fixture
def place(migrated: DatabaseConfig) -> Iterator[Place]:
    prefix = f"t_{uuid4().hex[:12]}"
    with _made(migrated, template=migrated.name) as config:
        yield Place(config, RoleNames.with_prefix(prefix))
    left = session(migrated.with_(name="postgres"))
    made = "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s) ORDER BY rolname = %s"
    for (role,) in left.all(made, [prefix, f"{prefix}_admin"]):  # who granted goes last
        left.run(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def there(place: Place) -> set[str]:
    rows = place.admin.all("SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)", [list(place.names.all)])
    return {name for (name,) in rows}


# ------------------------------------------------------------------------------------------- plan and apply


def test_what_was_planned_is_what_is_run_and_then_nothing_lacks(place: Place) -> None:
    plan = place.roles.plan(row_security=True)
    assert there(place) == set()
    assert (
        plan
        == place.roles.plan(row_security=True)
        == plan_roles(place.names, look(place.admin, place.names), row_security=True)
    )
    report = place.roles.apply(plan, row_security=True)
    assert report.plan == plan
    assert report.changed
    assert not place.roles.check().differs
    assert not place.roles.apply().changed  # and row-level security stays
    assert place.roles.check().row_security
    with Database(place.config) as database:
        assert not database.migrations.drift().drifted
    place.roles.apply(row_security=False)
    check = place.roles.check()
    assert (check.differs, check.row_security) == (False, False)
    assert place.admin.one("SELECT count(*) FROM pg_policy") == (0,)


def test_a_plan_that_is_not_the_plan_any_more_is_not_run(place: Place) -> None:
    plan = place.roles.plan()
    place.make(place.names.backup)
    with pytest.raises(ConfigurationError, match="the server has changed since the plan was made"):
        place.roles.apply(plan)
    assert there(place) == {place.names.backup}


def test_what_differs_is_found_and_put_right(place: Place) -> None:
    place.roles.apply(row_security=True)
    place.script(
        "GRANT TRUNCATE ON links TO PUBLIC;"
        "REVOKE SELECT ON videos FROM {read_only};"
        "GRANT INSERT ON videos TO {read_only};"
        "GRANT CREATE ON SCHEMA public TO {application};"
        "GRANT TEMPORARY ON DATABASE {database} TO PUBLIC;"
        "ALTER ROLE {application} IN DATABASE {database} SET search_path = 'elsewhere';"
        "ALTER ROLE {read_only} NOLOGIN;"
        "REVOKE {owner} FROM {migrator};"
        "ALTER TABLE summaries NO FORCE ROW LEVEL SECURITY;"
        "ALTER POLICY database_handler_project ON links USING (true);"
        "DROP POLICY database_handler_project ON translations;"
        "ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT DELETE ON TABLES TO {read_only};"
        "CREATE TABLE notes (project_id uuid)"
    )
    check = place.roles.check()
    told = "\n".join(statement.sql for statement in check.statements)
    names = place.names
    for expected in (
        "REVOKE TRUNCATE ON TABLE public.links FROM PUBLIC",
        f'GRANT SELECT ON TABLE public.notes, public.videos TO "{names.read_only}"',
        f'REVOKE INSERT ON TABLE public.videos FROM "{names.read_only}"',
        f'REVOKE CREATE ON SCHEMA public FROM "{names.application}"',
        f'REVOKE TEMPORARY ON DATABASE "{place.config.name}" FROM PUBLIC',
        f'"{names.application}" IN DATABASE "{place.config.name}" SET search_path = public, pg_temp',
        f'ALTER ROLE "{names.read_only}" LOGIN',
        f'GRANT "{names.owner}" TO "{names.migrator}"',
        "ALTER TABLE public.summaries FORCE ROW LEVEL SECURITY",
        "DROP POLICY database_handler_project ON public.links",
        "CREATE POLICY database_handler_project ON public.translations",
        f'REVOKE DELETE ON TABLES FROM "{names.read_only}"',
        f'ALTER TABLE public.notes OWNER TO "{names.owner}"',
        "CREATE POLICY database_handler_project ON public.notes",
    ):
        assert expected in told, expected
    place.roles.apply()
    assert not place.roles.check().differs


def test_a_role_that_may_do_too_much_is_told_and_corrected_only_when_asked(place: Place) -> None:
    names = place.names
    place.make(names.application, "LOGIN CREATEDB CREATEROLE")
    place.make(names.owner, "LOGIN")
    place.make(names.read_only)
    place.script("GRANT {owner} TO {read_only}; GRANT pg_read_all_stats TO {application}")
    with pytest.raises(RoleConflicts) as caught:
        place.roles.apply()
    assert {(each.role, each.what) for each in caught.value.conflicts} == {
        (names.application, "has CREATEROLE CREATEDB"),
        (names.owner, "has LOGIN"),
        (names.read_only, f"is a member of {names.owner}"),
    }
    assert f'ALTER ROLE "{names.owner}" NOLOGIN' in str(caught.value)
    assert there(place) == {names.application, names.owner, names.read_only}  # nothing half applied
    place.roles.apply(correct=True)
    assert not place.roles.check().differs
    found = place.admin.one(
        "SELECT bool_or(rolcreatedb), bool_or(rolcreaterole), bool_or(rolcanlogin AND rolname LIKE %s) "
        "FROM pg_roles WHERE rolname = ANY(%s)",
        ["%owner", list(names.all)],
    )
    assert found == (False, False, False)


def test_tables_that_belong_to_the_application_become_the_owners(place: Place) -> None:
    """A database that one role has made, migrated and used all along: the common case."""
    place.make(place.names.application)
    place.script(
        "ALTER DATABASE {database} OWNER TO {application};"
        "ALTER TABLE projects OWNER TO {application}; ALTER TABLE links OWNER TO {application};"
        "GRANT SELECT ON links TO {application};"
        "ALTER FUNCTION database_handler_words(text) OWNER TO {application}"
    )
    plan = place.roles.plan()
    handed = {each.sql for each in plan.statements if each.why == f"it belongs to {place.names.application}"}
    assert handed == {
        f'ALTER {what} OWNER TO "{place.names.owner}"'
        for what in (
            f'DATABASE "{place.config.name}"',
            "TABLE public.projects",
            "TABLE public.links",
            "FUNCTION public.database_handler_words(content text)",
        )
    }
    place.roles.apply(plan)
    assert not place.roles.check().differs
    with Database(place.as_(place.names.application)) as database:
        database.projects.create(NewProject(name="Still written"))
        for text in ("DROP TABLE links", "ALTER TABLE projects ADD COLUMN x int", "CREATE SCHEMA mine"):
            with pytest.raises(PermissionDenied):
                database.session.run(text)


def test_an_administrator_who_is_no_superuser_can_apply_it(place: Place, tmp_path: Path) -> None:
    prefix = place.names.owner.removesuffix("_owner")
    administrator = place.make(f"{prefix}_admin", "LOGIN CREATEROLE")
    place.script(f"ALTER DATABASE {{database}} OWNER TO {administrator}")
    tables = place.admin.all("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    routines = place.admin.all(
        "SELECT p.oid::regprocedure::text FROM pg_proc AS p WHERE pronamespace = 'public'::regnamespace "
        "AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')"
    )
    others = place.admin.all(
        "SELECT 'CONFIGURATION ' || cfgname FROM pg_ts_config WHERE cfgnamespace = 'public'::regnamespace "
        "UNION ALL SELECT 'DICTIONARY ' || dictname FROM pg_ts_dict "
        "WHERE dictnamespace = 'public'::regnamespace AND dictname LIKE 'database_handler%'"
    )
    named = [f"TABLE {name}" for (name,) in tables] + [f"FUNCTION {name}" for (name,) in routines]
    named += [f"TEXT SEARCH {name}" for (name,) in others]
    place.script("".join(f"ALTER {each} OWNER TO {administrator};" for each in named))
    roles = Roles(place.as_(administrator), place.names)
    place.script("ALTER TABLE links OWNER TO pg_monitor")  # no role that it is a member of
    with pytest.raises(PermissionDenied, match="Nothing was changed"):
        roles.apply()
    assert there(place) == set()
    place.script(f"ALTER TABLE links OWNER TO {administrator}")
    report = roles.apply(row_security=True, passwords={"application": PASSWORD})
    assert "BYPASSRLS" in " ".join(report.plan.notes)
    assert not roles.check().differs
    [left] = place.admin.one("SELECT pg_has_role(%s, %s, 'USAGE')", [administrator, place.names.owner])
    assert left is False  # it was a member only while that was needed
    with Database(place.as_(place.names.application)) as database, database.unit_of_work() as uow:
        project = uow.projects.create(NewProject(name="Its own"))
        uow.links.create(NewLink(project_id=project.id, url="https://example.org"))
    with Database(place.as_(place.names.backup)) as database:  # without BYPASSRLS, by its policies
        rows = database.backups(tmp_path / "backups").create(files=False).manifest.rows
    assert (rows['"public"."projects"'], rows['"public"."links"']) == (1, 1)


def test_what_goes_around_row_security_is_nobodys(place: Place) -> None:
    place.script(
        "CREATE VIEW all_of_it AS SELECT * FROM projects;"
        "CREATE VIEW own WITH (security_invoker = true) AS SELECT * FROM projects;"
        "CREATE MATERIALIZED VIEW kept AS SELECT * FROM projects;"
        "CREATE FUNCTION powerful() RETURNS bigint LANGUAGE sql SECURITY DEFINER "
        "AS 'SELECT count(*) FROM projects'"
    )
    place.roles.apply(row_security=True, passwords={"application": PASSWORD})
    [note] = [note for note in place.roles.check().notes if "sees every project" in note]
    assert "public.all_of_it" in note
    assert "public.kept" in note
    assert "public.powerful()" in note
    found = session(place.as_(place.names.application))
    assert found.all("SELECT * FROM own") == []
    for text in ("SELECT * FROM all_of_it", "SELECT * FROM kept", "SELECT powerful()"):
        with pytest.raises(PermissionDenied):
            found.all(text)


def test_a_schema_of_an_application_with_objects_of_every_kind(place: Place) -> None:
    place.script(
        'CREATE SCHEMA "Odd one"; SET search_path = "Odd one";'
        "CREATE TYPE colour AS ENUM ('red'); CREATE DOMAIN short AS text CHECK (length(value) < 9);"
        'CREATE TABLE "Notes" (id bigint GENERATED ALWAYS AS IDENTITY, project_id uuid, colour colour, '
        "s short);"
        "CREATE SEQUENCE alone; CREATE PROCEDURE done() LANGUAGE sql AS '';"
        "CREATE AGGREGATE longest(text) (SFUNC = textcat, STYPE = text);"
        "CREATE TABLE parted (project_id uuid) PARTITION BY HASH (project_id);"
        "CREATE TABLE part PARTITION OF parted FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
        'CREATE STATISTICS told ON id, project_id FROM "Notes"'
    )
    roles = Roles(place.config, place.names, schema="Odd one")
    roles.apply(row_security=True, passwords={"application": PASSWORD})
    assert not roles.check().differs
    found = session(place.as_(place.names.application))
    assert found.one("SHOW search_path") == ('"Odd one", public, pg_temp',)
    project = str(uuid4())
    sent = sql.SQL("SET {} = {}").format(sql.SQL(PROJECT_SETTING), sql.Literal(project))
    with Database(place.as_(place.names.application)) as database, database.unit_of_work() as uow:
        uow.session.run(sent)
        text = 'INSERT INTO "Odd one"."Notes" (project_id, colour) VALUES (%s::uuid, %s)'
        assert uow.session.run(text, [project, "red"]) == 1
        uow.session.one("SELECT nextval('\"Odd one\".alone'), \"Odd one\".longest('a')")
        uow.session.run('CALL "Odd one".done()')
        with pytest.raises(PermissionDenied), uow.savepoint():
            uow.session.run(text, [str(uuid4()), "red"])
    with pytest.raises(ConfigurationError, match="there is no schema 'nowhere'"):
        Roles(place.config, place.names, schema="nowhere").plan()


def test_a_unit_says_its_project_without_a_round_trip(database: Database) -> None:
    project = database.projects.create(NewProject(name="Counted"))
    with CountingProxy(database.config) as proxy, Database(proxy.config) as counted:
        counted.projects.count()  # connected
        with proxy.counting() as trips, counted.unit_of_work(project_id=project.id) as uow:
            uow.projects.get_by_id(project.id)
            uow.links.count()
        assert trips.count == 3
        assert f"SET LOCAL {PROJECT_SETTING} = '{project.id}'" in trips.texts[0]
        assert all(PROJECT_SETTING not in text for text in trips.texts[1:])
        with proxy.counting() as trips:
            counted.for_project(project.id).links.count()
            counted.projects.count()
        assert trips.count == 2
        assert [PROJECT_SETTING in text for text in trips.texts] == [True, False]


# -------------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("part", ["owner", "application"])
@pytest.mark.parametrize(
    "name", ["", "pg_owner", "PUBLIC", "current_user", "a" * 64, "a\0b", "a\nb", "\ud800"], ids=ascii
)
def test_a_name_that_cannot_be_a_roles_is_refused(part: str, name: str) -> None:
    with pytest.raises(ConfigurationError, match=part):
        RoleNames.with_prefix("films", **{part: name})


def test_two_parts_cannot_share_a_role() -> None:
    with pytest.raises(ConfigurationError, match="'films_app' is the name of two roles"):
        RoleNames.with_prefix("films", read_only="films_app")


@pytest.mark.parametrize(
    "passwords",
    [
        {"owner": "x"},
        {"application": ""},
        {"application": "a\0b"},
        {"application": "x" * 2000},
        {"nobody": "x"},
    ],
    ids=["owner", "empty", "NUL", "long", "nobody"],
)
def test_a_password_that_cannot_be_one_is_refused(
    database_server: DatabaseConfig, passwords: dict[str, str]
) -> None:
    with pytest.raises(InvalidValue, match="passwords"):
        Roles(database_server).plan(passwords=passwords)


@pytest.mark.parametrize(
    "given",
    [
        {"row_security": "yes"},
        {"correct": 1},
        {"passwords": ["application"]},
        {"passwords": {"application": b"x"}},
        {"passwords": {1: "x"}},
    ],
    ids=["row_security", "correct", "passwords", "bytes", "number"],
)
def test_an_argument_of_another_type_is_refused_before_anything_is_sent(given: dict[str, Any]) -> None:
    roles = Roles(DatabaseConfig(name="nowhere", host="127.0.0.1", port=1))
    for call in (roles.plan, roles.apply):
        with pytest.raises(InvalidValue):
            call(**given)
    with pytest.raises(InvalidValue):
        roles.apply("agreed")  # type: ignore[arg-type]
    with pytest.raises(InvalidValue):
        plan_roles(roles.names, given)  # type: ignore[arg-type]


def test_none_of_the_five_applies_roles(place: Place) -> None:
    place.roles.apply(passwords={"migrator": PASSWORD, "read_only": PASSWORD})
    for part in (place.names.migrator, place.names.read_only):
        roles = Roles(place.as_(part), place.names)
        assert not roles.check().differs  # any role may look
        with pytest.raises(ConfigurationError, match="one of the five roles"):
            roles.apply()


# -------------------------------------------------------------------------------------------------- commands


@pytest.fixture
def words(place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The options that every command of a test takes."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    prefix = place.names.owner.removesuffix("_owner")
    return ["--prefix", prefix, "--database-url", place.config.url(hide_password=False)]


def test_the_commands_show_their_sql_ask_and_tell_what_differs(
    place: Place, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "application.txt").write_text(f"{PASSWORD}\n")
    given = ["--password-file", "application=application.txt"]
    assert main(["roles", "apply", *words, *given, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert f'CREATE ROLE "{place.names.owner}" NOLOGIN;  -- the owner is not there' in shown
    assert f"ALTER ROLE \"{place.names.application}\" PASSWORD '***';" in shown
    assert PASSWORD not in shown
    assert main(["roles", "check", *words]) == 3
    assert "statements would put it right" in capsys.readouterr().out
    assert main(["roles", "apply", *words, *given]) == 4  # there is no terminal to ask on
    asked = capsys.readouterr()
    assert "say --yes" in asked.err
    assert f'CREATE ROLE "{place.names.owner}"' in asked.err  # and the SQL is shown before it asks
    assert there(place) == set()
    assert main(["roles", "apply", *words, *given, "--yes", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["plan"]["names"]["application"] == place.names.application
    assert main(["roles", "check", *words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["differs"] is False
    assert session(place.as_(place.names.application)).one("SELECT 1") == (1,)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--password-file", "application=nowhere.txt"], "No such file"),
        (["--password-file", "application=."], "cannot be read: Is a directory"),
        (["--password-file", "application=two.txt"], "no single line"),
        (["--password-file", "owner=two.txt"], "PART is one of migrator"),
        (["--password-file", "application"], "PART=VALUE is wanted"),
        (["--role", "application=pg_x"], "the server's own"),
        (["--role", "writer=x"], "PART is one of owner"),
        (["--schema", "nowhere"], "no schema 'nowhere'"),
        (["--prefix", ""], "prefix: one to begin names"),
        (["--prefix", "pg_films"], "the server's own"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_wrong_option_is_told_and_nothing_is_run(
    migrated: DatabaseConfig,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    told: str,
) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.txt").write_text("one\ntwo\n")
    names = RoleNames.with_prefix(f"t_{uuid4().hex[:12]}")
    words = [
        "--prefix",
        names.owner.removesuffix("_owner"),
        "--database-url",
        migrated.url(hide_password=False),
    ]
    assert main(["roles", "apply", *words, *options, "--yes"]) == 1
    assert told in capsys.readouterr().err
    assert there(Place(migrated, names)) == set()
