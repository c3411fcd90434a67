"""`verify` finds what a version does not do, does not undo, or does to rows; and trials leave nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.session import Session, Statement
from database_handler.core.transaction import Autocommit
from database_handler.embedded import EmbeddedServer
from database_handler.migrations.errors import MigrationFailed, ScratchUnavailable
from database_handler.migrations.files.chain import Chain, Folder
from database_handler.migrations.files.migration import parse
from database_handler.migrations.files.migration_values import Migration
from database_handler.migrations.generation.checking import Verified, verify
from database_handler.migrations.migration_manager import OWN_VERSIONS
from database_handler.migrations.scratch.place import copy_of, scratch_database, scratch_schema
from database_handler.models import ENTITIES
from tests.migrations.conftest import Folder as Versions

TABLE = ("CREATE TABLE t (id int PRIMARY KEY, a text);", "DROP TABLE t;")
OWN = OWN_VERSIONS


@pytest.fixture
def verified(server: EmbeddedServer, folder: Versions) -> Callable[[], Verified]:
    return lambda: verify(server.config, Chain((Folder(folder.path, "history"),)))


def test_a_sound_chain_holds(folder: Versions, verified: Callable[[], Verified]) -> None:
    folder.write("0001_t", *TABLE)
    folder.write("0002_b", "ALTER TABLE t ADD COLUMN b int DEFAULT 1;", "ALTER TABLE t DROP COLUMN b;")
    folder.write(
        "0003_i", "-- migrate: up, no transaction\nCREATE INDEX CONCURRENTLY i ON t (a);\n", "DROP INDEX i;"
    )
    folder.write("0004_n", "UPDATE t SET b = 2;")
    found = verified()
    assert found.holds
    assert [version.name for version in found.versions] == ["0001_t", "0002_b", "0003_i", "0004_n"]
    assert [version.reversible for version in found.versions] == [True, True, True, False]
    assert found.versions[1].kept == ("t",)


@pytest.mark.parametrize(
    ("up", "down", "told"),
    [
        (
            "ALTER TABLE t ADD COLUMN b int, ADD COLUMN c int;",
            "ALTER TABLE t DROP COLUMN b;",
            "DROP COLUMN c",
        ),
        ("ALTER TABLE t ADD COLUMN b int;", "ALTER TABLE t DROP COLUMN nothing;", "nothing"),
        (
            "ALTER TABLE t ADD COLUMN b int;",
            "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, a text);",
            "had 3 rows",
        ),
        ("ALTER TABLE t ADD COLUMN id int;", None, "already exists"),
        ("CREATE TABLE (id int);", None, "0002_b.sql:3:14: on a scratch copy"),
        (
            "ALTER TABLE t RENAME a TO b;",
            "ALTER TABLE t DROP COLUMN b; ALTER TABLE t ADD COLUMN a varchar;",
            "TYPE text",
        ),
        (
            "ALTER TABLE t ADD COLUMN b text; ALTER TABLE t ALTER COLUMN a TYPE text USING 'x';",
            "ALTER TABLE t DROP COLUMN b;",
            "other values than before in a",
        ),
    ],
)
def test_what_is_wrong_with_a_version_is_told(
    folder: Versions, verified: Callable[[], Verified], up: str, down: str | None, told: str
) -> None:
    folder.write("0001_t", *TABLE)
    folder.write("0002_b", up, down)
    found = verified()
    assert not found.holds
    assert told in found.versions[1].problems[0]
    assert not found.versions[0].problems


@pytest.mark.parametrize(
    ("check", "told"),
    [
        ("SELECT 1 / count(*) FROM pg_index WHERE indexrelid = 'other'::regclass;", "0002_i.sql:5"),
        ("SELECT nothing FROM t;", "nothing"),
        ("SELECT 1 / count(*) FROM t WHERE a = 'only in production';", None),
    ],
)
def test_a_verify_section_that_can_never_pass_is_told(
    folder: Versions, verified: Callable[[], Verified], check: str, told: str | None
) -> None:
    folder.write("0001_t", *TABLE)
    folder.write("0002_i", "CREATE INDEX i ON t (a);", "DROP INDEX i;", verify=check)
    found = verified()
    assert found.holds is (told is None)
    assert (told or "") in "".join(found.versions[1].problems)


def test_a_version_that_works_on_rows_says_what_it_did(
    folder: Versions, verified: Callable[[], Verified]
) -> None:
    folder.write("0001_t", *TABLE)
    folder.write(
        "0002_u", "ALTER TABLE t ADD COLUMN b int; UPDATE t SET a = 'x';", "ALTER TABLE t DROP COLUMN b;"
    )
    found = verified()
    assert found.holds
    assert found.versions[1].changed == ("t holds other values than before in a",)


def test_a_valid_row_that_a_version_cannot_take_is_told(
    folder: Versions, verified: Callable[[], Verified]
) -> None:
    folder.write("0001_t", *TABLE)
    folder.write(
        "0002_f", "CREATE TABLE u (k text PRIMARY KEY);ALTER TABLE t ADD COLUMN b int;"
        "UPDATE t SET a = 'x'; ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u;",
        "ALTER TABLE t DROP CONSTRAINT t_a_fkey, DROP COLUMN b; DROP TABLE u;",
    )  # fmt: skip
    found = verified()
    assert found.holds
    assert "a valid row can fail" in found.versions[1].unproven["t"]


def test_labels_that_are_added_and_used_are_tried_in_a_database_if_need_be(
    folder: Versions, verified: Callable[[], Verified]
) -> None:
    folder.write("0001_e", "CREATE TYPE e AS ENUM ('a'); CREATE TABLE t (x e);", "DROP TABLE t; DROP TYPE e;")
    folder.write("0002_e", "ALTER TYPE e ADD VALUE 'b';")
    folder.write("0003_e", "ALTER TABLE t ALTER x SET DEFAULT 'b';", "ALTER TABLE t ALTER x DROP DEFAULT;")
    assert verified().holds


def test_a_label_that_is_used_too_early_is_a_problem_and_no_end(
    folder: Versions, verified: Callable[[], Verified]
) -> None:
    folder.write("0001_e", "CREATE TYPE e AS ENUM ('a'); CREATE TABLE t (x e);", "DROP TABLE t; DROP TYPE e;")
    folder.write("0002_e", "ALTER TYPE e ADD VALUE 'b';\nALTER TABLE t ALTER x SET DEFAULT 'b';")
    first, second = verified().versions
    assert not first.problems
    [problem] = second.problems
    assert problem.splitlines()[1:3] == ["    4 | ALTER TABLE t ALTER x SET DEFAULT 'b';", "      | ^"]
    assert problem.count("usable once that is committed") == 1


def test_a_label_that_a_later_section_uses_is_no_problem(
    folder: Versions, verified: Callable[[], Verified]
) -> None:
    folder.write("0001_e", "CREATE TYPE e AS ENUM ('a'); CREATE TABLE t (x e);", "DROP TABLE t; DROP TYPE e;")
    folder.write(
        "0002_e",
        "-- migrate: up\nALTER TYPE e ADD VALUE 'b';\n"
        "-- migrate: up\nALTER TABLE t ALTER x SET DEFAULT 'b';\n",
    )
    folder.write("0003_c", "ALTER TABLE t ADD c int;", "ALTER TABLE t DROP c;")
    found = verified()
    assert found.holds
    assert "a later section" in found.versions[1].unproven["t"]


def test_a_python_version_that_fails_is_a_problem_too(
    folder: Versions, verified: Callable[[], Verified]
) -> None:
    (folder.path / "0001_p.py").write_text("def up(session):\n    raise ValueError('no')\n")
    [version] = verified().versions
    assert "0001_p.py:2:5: on a scratch copy: ValueError: no" in version.problems[0]


def test_the_librarys_own_versions_hold(server: EmbeddedServer) -> None:
    found = verify(server.config, Chain((Folder(OWN, "history", ENTITIES),)))
    assert found.holds, found
    assert found.versions[1].kept == (
        "links",
        "projects",
        "summaries",
        "text_sources",
        "translations",
        "videos",
    )
    assert all(version.reversible for version in found.versions)


# -------------------------------------------------------------------------------------------- scratch copies


def version(up: str, manner: str = "") -> Migration:
    return parse(Path("0001_x.sql"), f"-- migrate: up{manner}\n{up}".encode())


def names(session: Session) -> list[str]:
    text = "SELECT relname::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace ORDER BY 1"
    return [name for (name,) in session.all(Statement(text, "test"))]


def test_a_scratch_schema_leaves_nothing(server: EmbeddedServer) -> None:
    with scratch_schema(server.config) as session:
        session.script("CREATE TABLE t (a int)")
        [schema] = session.one("SELECT current_schema()")
        assert schema.startswith("scratch_")
    with scratch_schema(server.config) as session:
        assert session.one(Statement("SELECT to_regnamespace(%s)", "test"), [schema]) == (None,)


@pytest.mark.parametrize(
    "up",
    [
        "CREATE TABLE public.t (a int);",
        "CREATE SCHEMA s; CREATE TABLE s.t (a int); CREATE TABLE t (a int);",
        "SET search_path TO public; CREATE TABLE t (a int);",
        """CREATE TABLE t (a int);
           CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1 FROM "public" . "t"';""",
        "CREATE PUBLICATION p; CREATE TABLE t (a int);",
    ],
)
def test_a_text_that_names_its_schema_is_tried_in_a_database(server: EmbeddedServer, up: str) -> None:
    with copy_of(server.config, [version(up)]) as session:
        assert session.one("SELECT current_schema()") == ("public",)
        assert "t" in names(session)


def test_a_word_in_a_comment_names_no_schema(server: EmbeddedServer) -> None:
    with copy_of(server.config, [version("-- not public.t\nCREATE TABLE t (a int);")]) as session:
        assert session.one("SELECT current_schema()") != ("public",)


def test_what_no_transaction_takes_is_built_without_the_word(server: EmbeddedServer) -> None:
    up = """CREATE TABLE t (a int); CREATE UNIQUE INDEX CONCURRENTLY i ON t (a); VACUUM t;
            DROP INDEX CONCURRENTLY i; CREATE INDEX CONCURRENTLY j ON t (a); REINDEX TABLE CONCURRENTLY t;"""
    with copy_of(server.config, [version(up, ", no transaction")]) as session:
        assert names(session) == ["j", "t"]


def test_a_version_that_reaches_a_real_table_is_refused(session: Session, config: DatabaseConfig) -> None:
    session.script(
        "CREATE EXTENSION pg_trgm; CREATE TABLE witness (a int)"
    )  # so public is in the search path
    for up in ("ALTER TABLE witness ADD b int;", "DROP TABLE witness;", "CREATE VIEW v AS TABLE witness;"):
        with pytest.raises(ScratchUnavailable, match=r"reached public\.witness"):
            read(config, up)
    assert session.all("SELECT * FROM witness") == []


def read(config: DatabaseConfig, up: str) -> list[str]:
    with copy_of(config, [version(up)]) as session:
        return names(session)


def test_a_statement_that_fails_is_named_with_its_line(server: EmbeddedServer) -> None:
    with (
        pytest.raises(MigrationFailed, match=r"0001_x\.sql:3:\d+: on a scratch copy") as caught,
        copy_of(server.config, [version("SELECT 1;\nALTER TABLE nowhere ADD a int;")]),
    ):
        pass
    assert caught.value.sqlstate == "42P01"


@pytest.fixture
def limited(server: EmbeddedServer) -> Iterator[DatabaseConfig]:
    """A role that may connect, and create nothing."""
    alone = Autocommit(lambda: dedicated(server.config)).session
    alone.script("CREATE ROLE limited_in_rights LOGIN")
    yield server.config.with_(user="limited_in_rights")
    alone.script("DROP ROLE limited_in_rights")


def test_a_role_without_rights_is_told_what_it_needs(limited: DatabaseConfig) -> None:
    with pytest.raises(ScratchUnavailable, match="GRANT CREATE ON DATABASE"):
        read(limited, "CREATE TABLE t (a int);")


def test_a_server_that_takes_no_writes_is_told(config: DatabaseConfig, session: Session) -> None:
    session.script(f"ALTER DATABASE {config.name} SET default_transaction_read_only = on")
    with pytest.raises(ScratchUnavailable, match="takes no writes"):
        read(config, "CREATE TABLE t (a int);")


def test_a_role_that_may_create_no_database_gets_a_server_of_its_own(limited: DatabaseConfig) -> None:
    with scratch_database(limited) as scratch:
        assert scratch.host != limited.host
        assert Autocommit(lambda: dedicated(scratch)).session.one("SELECT current_schema()") == ("public",)
