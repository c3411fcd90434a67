"""A user changes a model and gets a version: written the safe way round, proven, or a question to answer."""

import os
import re
import signal
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar
from uuid import UUID

import pytest
from annotated_types import MaxLen
from pydantic import Field

from database_handler.config.database import DatabaseConfig
from database_handler.core.base_model import Record
from database_handler.core.exceptions import InvalidValue
from database_handler.core.schema import Backfill, Check, Index, References, RenamedFrom, SqlType, Table
from database_handler.core.session import Session, Statement
from database_handler.migrations.errors import DecisionNeeded, DuplicateMigration, ProofFailed
from database_handler.migrations.files.chain import Chain, Folder
from database_handler.migrations.files.file_writing import message_line, next_name, rendered, write_version
from database_handler.migrations.files.migration import parse, read_folder
from database_handler.migrations.generation.checking import check
from database_handler.migrations.generation.generating import Generated, generate
from database_handler.migrations.migration_manager import MigrationManager
from database_handler.migrations.safety.lint import lint
from database_handler.migrations.schema.introspection import introspect
from database_handler.migrations.scratch.place import copy_of
from database_handler.models import ENTITIES
from tests.support.servers import Server, on_each_server

OWN = Path(sys.modules[MigrationManager.__module__].__file__ or "").parent / "versions"


_first: dict[tuple[type[Record], ...], str] = {}


class App:
    """An application's folder, its models as they are now, and a database that follows its versions."""

    def __init__(self, config: DatabaseConfig, folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.before: tuple[Folder, ...] = ()

    def chain(self, *models: type[Record]) -> Chain:
        return Chain((*self.before, Folder(self.folder, "application_migrations", models)))

    def generate(
        self, *models: type[Record], message: str = "change", drop: dict[str, str] | None = None
    ) -> Generated:
        found = generate(self.config, self.chain(*models), message, drop=drop)
        if found.path is not None:
            self.check_lint(found.path)
        return found

    def check_lint(self, path: Path) -> None:
        """Lint the file that was written: it waits for nothing in vain, and allows nothing in vain."""
        versions = (*self.chain().all,)
        with copy_of(self.config, versions[:-1], then=versions[-1:]) as session:
            before = introspect(session)
        found = lint(parse(path, path.read_bytes()), before=before).findings
        wrong = [each for each in found if each.fails or each.rule == "allow-unused"]
        assert wrong == [], path.read_text("utf-8")

    def start(self, *models: type[Record]) -> None:
        """Have a first version for these models, proven once for all tests."""
        if models not in _first:
            self.generate(*models, message="first")
            _first[models] = (self.folder / "0001_first.sql").read_text("utf-8")
        else:
            write_version(self.folder, "0001_first", _first[models])

    def by_hand(self, up: str, down: str | None = None) -> None:
        text = f"-- migrate: up\n{up}\n" + (f"-- migrate: down\n{down}\n" if down else "")
        write_version(self.folder, next_name(self.folder, "by hand"), text)

    def migrate(self) -> None:
        MigrationManager(self.config, self.folder, history_table="application_migrations").migrate()


@pytest.fixture
def app(server: Server, tmp_path: Path) -> App:
    """In a database that these tests share: generating leaves nothing in it."""
    return App(server.config, tmp_path / "an app" / "versions")


@pytest.fixture
def live(config: DatabaseConfig, tmp_path: Path) -> App:
    """In a database that is migrated as well."""
    return App(config, tmp_path / "an app" / "versions")


def run(session: Session, text: str) -> None:
    session.run(Statement(text, "test", writes=True))


class Status(StrEnum):
    OPEN = "open"
    DONE = "done"


class Note(Record, frozen=True):
    title: Annotated[str, MaxLen(100)]
    body: str
    status: Status = Status.OPEN
    table: ClassVar[Table] = Table("notes", key=("title",))


def text_of(found: Generated) -> str:
    assert found.path is not None
    assert found.path.read_text("utf-8") == found.text
    return found.text


def up_of(found: Generated) -> str:
    return text_of(found).partition("-- migrate: down")[0]


@on_each_server
def test_a_first_version_makes_the_table_and_a_second_has_nothing_to_do(live: App, session: Session) -> None:
    found = live.generate(Note, message="Notes, at last")
    assert found.name == "0001_notes_at_last"
    assert found.proof is not None
    assert "reversible: yes   proof: up ok, down ok\n" in found.text
    again = live.generate(Note, message="again")
    assert not again.changed
    assert again.path is None
    assert [migration.name for migration in read_folder(live.folder)] == ["0001_notes_at_last"]
    live.migrate()
    run(session, "INSERT INTO notes (id, title, body, status) VALUES (gen_random_uuid(), 'a', 'b', 'open')")


def test_a_nullable_field_is_a_column_added_for_a_moment_only(app: App) -> None:
    app.start(Note)

    class Owned(Note, frozen=True):
        owner: Annotated[str, MaxLen(50)] | None = None
        table: ClassVar[Table] = Table("notes", key=("title",))

    found = app.generate(Owned, message="owner")
    assert "ADD COLUMN owner text;" in found.text
    assert "NOT VALID;" in found.text
    assert "VALIDATE CONSTRAINT notes_owner_check;" in found.text
    assert "proof: up ok, down ok, data kept\n" in found.text
    assert "-- locks: notes ACCESS EXCLUSIVE (no rewrite, no scan)" in found.text


@on_each_server
def test_a_field_with_a_default_fills_the_rows_that_are_there(live: App, session: Session) -> None:
    live.start(Note)
    live.migrate()
    run(session, "INSERT INTO notes (id, title, body, status) VALUES (gen_random_uuid(), 'a', 'bc', 'open')")

    class Counted(Note, frozen=True):
        stars: int = Field(default=3, ge=0, le=5)
        length: Annotated[int, Field(ge=0, le=2**31 - 1), Backfill("char_length(body)")]
        table: ClassVar[Table] = Table("notes", key=("title",))

    found = live.generate(Counted, message="count")
    assert "data kept" in found.text
    live.migrate()
    assert session.all(Statement("SELECT stars, length FROM notes", "test")) == [(3, 2)]
    MigrationManager(live.config, live.folder, history_table="application_migrations").rollback()
    assert session.all(Statement("SELECT title, body, status FROM notes", "test")) == [("a", "bc", "open")]


def test_a_field_without_a_value_for_old_rows_asks_for_one(app: App) -> None:
    app.start(Note)

    class Named(Note, frozen=True):
        author: Annotated[str, MaxLen(50)]
        table: ClassVar[Table] = Table("notes", key=("title",))

    with pytest.raises(DecisionNeeded) as caught:
        app.generate(Named)
    assert "author: Annotated[str, MaxLen(50), Backfill(...)]" in str(caught.value)
    assert len(read_folder(app.folder)) == 1


def test_one_chain_may_generate_again_and_again(app: App) -> None:
    chain = app.chain(Note)
    assert generate(app.config, chain, "notes").changed
    assert not generate(app.config, chain, "again").changed
    assert check(app.config, chain).agrees


def test_a_type_that_keeps_less_needs_a_reason(app: App) -> None:
    class Exact(Note, frozen=True):
        stars: float = 0.0
        table: ClassVar[Table] = Table("notes", key=("title",))

    class Rounded(Note, frozen=True):
        stars: int = 0
        table: ClassVar[Table] = Table("notes", key=("title",))

    app.generate(Exact)
    with pytest.raises(DecisionNeeded, match=r"drop=\{'notes\.stars'"):
        app.generate(Rounded)
    assert app.generate(Rounded, drop={"notes.stars": "whole ones do"}).changed


def test_a_field_that_is_gone_needs_a_reason_and_comes_back_with_the_way_back(app: App) -> None:
    app.start(Note)

    class Short(Record, frozen=True):
        title: Annotated[str, MaxLen(100)]
        status: Status = Status.OPEN
        table: ClassVar[Table] = Table("notes", key=("title",))

    with pytest.raises(DecisionNeeded) as caught:
        app.generate(Short)
    assert "drop={'notes.body': 'the reason'}" in str(caught.value)
    with pytest.raises(DecisionNeeded, match=r"notes\.boddy"):
        app.generate(Short, drop={"notes.boddy": "a slip"})
    with pytest.raises(DecisionNeeded, match="in words"):
        app.generate(Short, drop={"notes.body": "  "})
    found = app.generate(Short, drop={"notes.body": "never read\n-- migrate: down"})
    assert "-- data lost: notes.body (never read -- migrate: down)\n" in found.text
    assert (
        "-- reversible: yes, without the values of notes.body   "
        "proof: up ok, down ok, data kept but for notes.body\n"
    ) in found.text
    assert "--drop 'notes.body=the reason'   (drop={" in str(caught.value)
    assert re.search(r"ADD COLUMN body text .*NOT NULL", found.text.partition("-- migrate: down\n")[2])
    assert found.proof is not None
    assert found.proof.kept == ("notes",)


@on_each_server
def test_a_renamed_field_keeps_its_values_both_ways(live: App, session: Session) -> None:
    live.start(Note)
    live.migrate()
    run(session, "INSERT INTO notes (id, title, body, status) VALUES (gen_random_uuid(), 'a', 'b', 'open')")

    class Unmarked(Record, frozen=True):
        title: Annotated[str, MaxLen(100)]
        text: str
        status: Status = Status.OPEN
        table: ClassVar[Table] = Table("notes", key=("title",))

    with pytest.raises(DecisionNeeded) as caught:
        live.generate(Unmarked)
    assert 'text: Annotated[str, RenamedFrom("body")]' in str(caught.value)

    class Marked(Record, frozen=True):
        title: Annotated[str, MaxLen(100)]
        text: Annotated[str, RenamedFrom("body")]
        status: Status = Status.OPEN
        table: ClassVar[Table] = Table("notes", key=("title",))

    found = live.generate(Marked, message="text")
    assert found.statements == ("ALTER TABLE notes RENAME COLUMN body TO text",)
    manager = MigrationManager(live.config, live.folder, history_table="application_migrations")
    assert not manager.lint([str(found.path)]).failed  # it says why it may take a name that is in use
    live.migrate()
    assert session.all(Statement("SELECT text FROM notes", "test")) == [("b",)]
    manager.rollback()
    assert session.all(Statement("SELECT body FROM notes", "test")) == [("b",)]


def test_a_renamed_table_takes_its_keys_and_indexes_along(app: App) -> None:
    class Indexed(Note, frozen=True):
        table: ClassVar[Table] = Table("notes", key=("title",), indexes=[Index(("status", "title"))])

    app.generate(Indexed)

    class Remark(Note, frozen=True):
        table: ClassVar[Table] = Table(
            "remarks", key=("title",), indexes=[Index(("status", "title"))], renamed_from="notes"
        )

    found = app.generate(Remark, message="remarks")
    assert all(" RENAME " in statement for statement in found.statements), found.statements
    assert found.proof is not None
    assert found.proof.kept == ("notes",)
    assert not app.generate(Remark).changed


@on_each_server
def test_another_type_is_set_and_a_view_over_it_made_again(app: App) -> None:
    class Rated(Note, frozen=True):
        stars: int = Field(default=0, le=5)
        table: ClassVar[Table] = Table("notes", key=("title",))

    app.generate(Rated)
    app.by_hand(
        "CREATE VIEW starred AS SELECT title, stars FROM notes WHERE stars > 3;", "DROP VIEW starred;"
    )

    class Finer(Note, frozen=True):
        stars: Annotated[float, SqlType("numeric(10,2)")] = Field(default=0, le=5)
        table: ClassVar[Table] = Table("notes", key=("title",))

    found = app.generate(Finer, message="finer stars")
    assert "ALTER COLUMN stars TYPE numeric(10,2)" in found.text
    assert "DROP VIEW starred" in found.text
    assert "CREATE VIEW starred" in found.text


@on_each_server
def test_a_new_index_is_built_beside_the_traffic_and_verified(live: App) -> None:
    live.start(Note)

    class Indexed(Note, frozen=True):
        table: ClassVar[Table] = Table("notes", key=("title",), indexes=[Index(("status", "title"))])

    found = live.generate(Indexed, message="index")
    assert "-- migrate: up, no transaction\nCREATE INDEX CONCURRENTLY notes_status_title_idx" in found.text
    assert "-- migrate: down, no transaction\nDROP INDEX CONCURRENTLY notes_status_title_idx" in found.text
    assert "-- migrate: verify\n" in found.text
    live.migrate()
    MigrationManager(live.config, live.folder, history_table="application_migrations").rollback()


def test_an_index_and_a_key_that_take_anothers_place_are_verified_by_the_name_that_they_end_with(
    live: App,
) -> None:
    class Indexed(Note, frozen=True):
        table: ClassVar[Table] = Table("notes", key=("title",), indexes=[Index(("status",))])

    class Otherwise(Note, frozen=True):
        table: ClassVar[Table] = Table(
            "notes", key=("title", "status"), indexes=[Index(("status",), unique=True)]
        )

    live.start(Indexed)
    found = live.generate(Otherwise, message="others")
    assert "CONCURRENTLY notes_status_idx_new" in found.text
    verified = found.text.partition("-- migrate: verify\n")[2].partition("-- migrate: down")[0]
    assert "'notes_status_idx'::regclass" in verified
    assert "'notes_key'::regclass" in verified
    live.migrate()
    MigrationManager(live.config, live.folder, history_table="application_migrations").rollback()


def test_rules_grow_and_shrink_with_the_model(app: App) -> None:
    app.start(Note)

    class More(StrEnum):
        OPEN = "open"
        DONE = "done"
        LATE = "late"

    class Wider(Record, frozen=True):
        title: Annotated[str, MaxLen(40)]
        body: str
        status: More = More.OPEN
        table: ClassVar[Table] = Table("notes", key=("title",), checks=[Check("said", "body <> title")])

    found = app.generate(Wider, message="rules")
    assert "'late'" in up_of(found)
    assert "<= 40" in up_of(found)
    assert "notes_said_check" in up_of(found)
    assert "data kept" in found.text


def test_a_column_that_becomes_required_as_the_key_changes_is_filled_before(app: App) -> None:
    class Loose(Record, frozen=True):
        title: str
        mood: str | None = None
        table: ClassVar[Table] = Table("moods", key=("title",))

    class Strict(Record, frozen=True):
        title: str
        mood: str = "calm"
        rank: int = 0
        table: ClassVar[Table] = Table("moods", key=("title", "mood", "rank"))

    app.start(Loose)
    up = up_of(app.generate(Strict, message="strict"))
    assert "-- migrate: up, batched\nUPDATE moods SET mood = 'calm'" in up
    assert up.index("VALIDATE CONSTRAINT moods_mood_not_null") < up.index("ALTER COLUMN mood SET NOT NULL")
    assert "lint: allow set-not-null-scan" not in up


def test_rows_that_a_narrower_rule_or_type_refuses_are_told_of(app: App) -> None:
    class Fewer(StrEnum):
        OPEN = "open"

    class Narrow(Record, frozen=True):
        title: str
        body: str
        status: Fewer = Fewer.OPEN
        table: ClassVar[Table] = Table("notes", key=("title",))

    class Other(Record, frozen=True):
        title: str
        body: UUID
        status: Status = Status.OPEN
        table: ClassVar[Table] = Table("notes", key=("title",))

    app.start(Note)
    found = app.generate(Narrow, message="fewer")
    assert (
        "-- rows may be in the way of: ALTER TABLE notes VALIDATE CONSTRAINT notes_status_check" in found.text
    )
    (app.folder / "0002_fewer.sql").unlink()
    (app.folder / "versions.lock").write_text(
        "".join((app.folder / "versions.lock").read_text("utf-8").splitlines(keepends=True)[:1]), "utf-8"
    )
    found = app.generate(Other, message="other")
    assert "in the way of: ALTER TABLE notes ALTER COLUMN body TYPE uuid" in found.text


def test_an_entity_comes_and_goes(app: App) -> None:
    class Tag(Record, frozen=True):
        name: str
        note_id: Annotated[UUID, References("notes")]
        table: ClassVar[Table] = Table("tags", key=("name",))

    app.start(Note)
    found = app.generate(Note, Tag, message="tags")
    assert "REFERENCES notes(id)" in found.text
    with pytest.raises(DecisionNeeded) as caught:
        app.generate(Note)
    assert "drop={'tags': 'the reason'}" in str(caught.value)
    found = app.generate(Note, drop={"tags": "nobody tags"}, message="no tags")
    assert "DROP TABLE tags" in up_of(found)
    assert "CREATE TABLE tags" in found.text.partition("-- migrate: down")[2]


def test_what_was_made_by_hand_is_kept(app: App) -> None:
    app.start(Note)
    app.by_hand(
        "ALTER TABLE notes ADD COLUMN legacy text;\nCREATE INDEX notes_by_hand ON notes (lower(title));\n"
        "CREATE TABLE notes_log (at timestamptz);\nCOMMENT ON TABLE notes IS 'short texts';\n"
        "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';\n"
        "CREATE TRIGGER noted AFTER INSERT ON notes FOR EACH ROW EXECUTE FUNCTION noted();\n"
        "ALTER TABLE notes ENABLE ROW LEVEL SECURITY;"
    )
    with pytest.raises(DecisionNeeded) as caught:
        app.generate(Note)
    assert 'by_hand=["legacy"]' in str(caught.value)
    assert 'by_hand=["notes_log"]' in str(caught.value)
    assert {each for each in check(app.config, app.chain(Note)).statements if each.startswith("DROP")} == {
        "DROP TABLE notes_log",
        "DROP INDEX notes_by_hand",
    }

    class Kept(Note, frozen=True):
        owner: str | None = None
        table: ClassVar[Table] = Table(
            "notes", key=("title",), by_hand=["legacy", "notes_by_hand", "notes_log"]
        )

    found = app.generate(Kept, message="owner")
    assert found.statements == ("ALTER TABLE notes ADD COLUMN owner text",)


def test_what_needs_a_column_that_goes_is_named(app: App) -> None:
    app.start(Note)
    app.by_hand("CREATE VIEW bodies AS SELECT body FROM notes;", "DROP VIEW bodies;")

    class Short(Record, frozen=True):
        title: Annotated[str, MaxLen(100)]
        status: Status = Status.OPEN
        table: ClassVar[Table] = Table("notes", key=("title",))

    found = check(app.config, app.chain(Short))
    assert found.broken == (
        "view bodies needs notes.body, which goes: write a migration by hand before this one that changes or "
        "drops it",
    )
    with pytest.raises(DecisionNeeded, match=r"view bodies needs notes\.body"):
        app.generate(Short, drop={"notes.body": "never read"})


def test_an_application_refers_to_the_librarys_tables_and_leaves_them_alone(app: App) -> None:
    class Remark(Record, frozen=True):
        project_id: Annotated[UUID, References("projects")]
        title: str
        table: ClassVar[Table] = Table("remarks", key=("project_id", "title"))

    app.before = (Folder(OWN, "database_handler_migrations", ENTITIES),)
    found = app.generate(Remark, message="remarks")
    assert "REFERENCES projects(id) ON DELETE CASCADE" in found.text
    assert "CREATE EXTENSION" not in found.text
    assert "text_sources" not in found.text
    app.by_hand("CREATE INDEX projects_by_hand ON projects (lower(name));", "DROP INDEX projects_by_hand;")
    assert not app.generate(Remark).changed


@on_each_server
def test_the_librarys_own_models_and_versions_agree(config: DatabaseConfig) -> None:
    chain = Chain((Folder(OWN, "database_handler_migrations", ENTITIES),))
    assert check(config, chain).statements == ()


def test_the_real_tables_are_never_touched(live: App, session: Session) -> None:
    live.start(Note)
    live.migrate()

    class Owned(Note, frozen=True):
        owner: str | None = None
        table: ClassVar[Table] = Table("notes", key=("title",))

    run(session, "CREATE TABLE scratch_witness (id int)")
    live.generate(Owned)
    names = "SELECT string_agg(nspname, ',') FROM pg_namespace WHERE nspname LIKE 'scratch%'"
    assert session.one(Statement(names, "test")) == (None,)
    left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'database_handler_scratch%'"
    assert session.one(Statement(left, "test")) == (0,)
    columns = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'notes'::regclass AND attname = 'owner'"
    assert session.one(Statement(columns, "test")) == (0,)


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("../../etc/passwd", "0001_etc_passwd"),
        ("x\n-- migrate: down\nDROP TABLE notes;", "0001_x_migrate_down_drop_table_notes"),
        ("migrate: down", "0001_migrate_down"),
        ("replaces: 0001_a 00", "0001_replaces_0001_a_00"),
        ("Größe & Länge", "0001_grosse_lange"),
        ("注釈", "0001_changes"),
        ("word " * 100, "0001_" + "_".join(["word"] * 12)),
    ],
)
def test_a_message_is_a_name_and_a_comment_and_nothing_else(tmp_path: Path, message: str, name: str) -> None:
    assert next_name(tmp_path, message) == name
    text = rendered(name, ["-- migrate: up\nSELECT 1;\n"], [message_line(message)])
    migration = parse(write_version(tmp_path, name, text), text.encode())
    assert [section.marker for section in migration.sections] == ["-- migrate: up"]
    assert migration.replaces == ()


@pytest.mark.parametrize("message", ["", " \n", "!?"])
def test_a_message_without_words_is_refused(app: App, message: str) -> None:
    with pytest.raises(InvalidValue, match="in a few words"):
        app.generate(Note, message=message)
    assert not app.folder.exists()


def test_without_models_there_is_nothing_to_compare_with(app: App) -> None:
    app.start(Note)
    for ask in (app.generate, lambda: check(app.config, app.chain())):
        with pytest.raises(InvalidValue, match="models="):
            ask()


class Remark(Record, frozen=True):
    title: Annotated[str, MaxLen(100)]
    table: ClassVar[Table] = Table("remarks", key=("title",))


@pytest.mark.parametrize(("forbidden", "way"), [("CREATE TABLE", "up"), ("DROP TABLE", "down")])
def test_a_failed_proof_leaves_nothing(app: App, forbidden: str, way: str) -> None:
    app.start(Note)
    app.by_hand(
        "CREATE FUNCTION never() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'never'; END $$;\n"
        "CREATE EVENT TRIGGER never ON ddl_command_start\n"
        f"    WHEN TAG IN ('{forbidden}') EXECUTE FUNCTION never();"
    )
    before = {path.name: path.read_bytes() for path in app.folder.iterdir()}
    with pytest.raises(ProofFailed, match=f"the way {way} failed, and nothing was written: {forbidden}"):
        app.generate(Note, Remark)
    assert {path.name: path.read_bytes() for path in app.folder.iterdir()} == before


def test_two_writers_cannot_take_one_number(app: App) -> None:
    app.start(Note)
    before = {path.name: path.read_bytes() for path in app.folder.iterdir()}
    with pytest.raises(DuplicateMigration, match="run it again"):
        write_version(app.folder, "0001_other", "-- migrate: up\nSELECT 1;")
    assert {path.name: path.read_bytes() for path in app.folder.iterdir()} == before


KILLED = """
import os, signal, sys
from pathlib import Path
from database_handler.migrations.files import file_writing
from tests.support.servers import Server, on_each_server
real = file_writing._replace
def killed(path, content):
    os.kill(os.getpid(), signal.SIGKILL)
file_writing._replace = killed
file_writing.write_version(Path(sys.argv[1]), "0002_second", "-- migrate: up\\nSELECT 2;")
"""


def test_a_writer_that_is_killed_leaves_whole_files(tmp_path: Path) -> None:
    folder = tmp_path / "versions"
    write_version(folder, "0001_first", "-- migrate: up\nSELECT 1;")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(folder)], timeout=60, check=False, env={**os.environ}
    )
    assert done.returncode == -signal.SIGKILL
    for migration in read_folder(folder):
        assert migration.text.endswith(";")
