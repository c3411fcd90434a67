"""An application's own entities are typed, migrated, counted, copied and carried as the library's are."""

import datetime as dt
import io
import json
import re
import shlex
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, ClassVar
from uuid import UUID, uuid4

import pytest
from psycopg2 import sql
from pydantic import Field

from database_handler import (
    Create,
    Database,
    DatabaseConfig,
    Draft,
    Entity,
    Project,
    Record,
    References,
    Repositories,
    Repository,
    Table,
    UnitOfWork,
    derived,
)
from database_handler.cli import main
from database_handler.content.project_file import ProjectFileRefused
from database_handler.core.connection import dedicated
from database_handler.core.ddl import create_tables, drop_tables
from database_handler.core.exceptions import ConfigurationError, InvalidValue, MissingReference
from database_handler.core.transaction import Autocommit
from database_handler.migrations import lock_text
from database_handler.migrations.files.migration import read_folder
from database_handler.models import ENTITIES
from database_handler.testing.factories import EntityFactory, declare
from database_handler.utils.validators import JsonObject
from tests.support.wire import CountingProxy


class NewReaction(Draft, frozen=True):
    """Refers to an entity of the application that is declared after it, and to one that all share."""

    project_id: Annotated[UUID, References("projects")]
    comment_id: Annotated[UUID, References("comments")]
    reader_id: Annotated[UUID, References("readers", on_delete="RESTRICT", shared=True)]
    mark: int = 1


class Reaction(NewReaction, Record, frozen=True):
    table: ClassVar[Table] = Table("reactions", key=("project_id", "comment_id", "reader_id"))


class NewComment(Draft, frozen=True):
    """Refers to an entity of the library."""

    project_id: Annotated[UUID, References("projects")]
    text_source_id: Annotated[UUID, References("text_sources")]
    author: str
    length: int = derived("author", len)
    metadata: JsonObject = Field(default_factory=dict)


class Comment(NewComment, Record, frozen=True):
    table: ClassVar[Table] = Table("comments", key=("project_id", "text_source_id", "author"))


class NewReader(Draft, frozen=True):
    """Belongs to no project."""

    name: str


class Reader(NewReader, Record, frozen=True):
    table: ClassVar[Table] = Table("readers", key=("name",))


class ReactionRepository(Repository[NewReaction, Reaction]):
    draft = NewReaction
    record = Reaction
    create = Create(NewReaction, Reaction)


class CommentRepository(Repository[NewComment, Comment]):
    draft = NewComment
    record = Comment
    create = Create(NewComment, Comment)

    def of(self, author: str) -> list[Comment]:
        """Return the comments of an author."""
        return self.list(author=author)


class ReaderRepository(Repository[NewReader, Reader]):
    draft = NewReader
    record = Reader
    create = Create(NewReader, Reader)


class Newsroom(Repositories):
    reactions = Entity(ReactionRepository)
    comments = Entity(CommentRepository)
    readers = Entity(ReaderRepository)


class NewsroomUnit(Newsroom, UnitOfWork):
    """A unit with the application's entities."""


class NewsroomDatabase(Newsroom, Database[NewsroomUnit]):
    """A database with the application's entities."""


OWN = (Comment, Reader, Reaction)
PAGE = Path(__file__).resolve().parents[2] / "docs" / "applications.md"


class ReaderFactory(EntityFactory[NewReader, Reader], draft=NewReader):
    name = declare.Sequence(lambda number: f"reader {number}")


class CommentFactory(EntityFactory[NewComment, Comment], draft=NewComment):
    project_id = declare.LazyFunction(uuid4)
    text_source_id = declare.LazyFunction(uuid4)
    author = declare.Sequence(lambda number: f"author {number}")
    metadata = declare.LazyFunction(lambda: {"rating": 5})


class ReactionFactory(EntityFactory[NewReaction, Reaction], draft=NewReaction):
    project_id = declare.LazyFunction(uuid4)
    comment_id = declare.LazyFunction(uuid4)
    reader_id = declare.LazyFunction(uuid4)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The application's migrations: one version with all three tables."""
    folder = tmp_path_factory.mktemp("newsroom") / "versions"
    folder.mkdir()
    tables = [record.table for record in OWN]
    text = f"-- 0001_own\n-- migrate: up\n{create_tables(tables)}\n-- migrate: down\n{drop_tables(tables)}"
    (folder / "0001_own.sql").write_text(text, encoding="utf-8")
    (folder / "versions.lock").write_text(lock_text(read_folder(folder)), encoding="utf-8")
    return folder


@pytest.fixture
def pending(
    database: Database, versions: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[NewsroomDatabase]:
    """A database of the test's own with the library's schema, without the application's."""
    monkeypatch.setattr(NewsroomDatabase, "versions", versions)
    with NewsroomDatabase(database.config) as made:
        yield made


@pytest.fixture(scope="module")
def newsroom(database_template: DatabaseConfig, versions: Path) -> Iterator[NewsroomDatabase]:
    """A migrated database that the tests share: each has projects of its own."""
    server = Autocommit(lambda: dedicated(database_template.with_(name="postgres"))).session
    name = sql.Identifier(f"newsroom_{uuid4().hex}")
    server.run(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name, sql.Identifier(database_template.name)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NewsroomDatabase, "versions", versions)
        with NewsroomDatabase(database_template.with_(name=name.string)) as made:
            made.migrate()
            yield made
    server.run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def reacted(newsroom: NewsroomDatabase) -> Project:
    """A project with two comments on one text, and a reaction to each of them."""
    first = CommentFactory.create(newsroom)
    second = CommentFactory.create(newsroom, project_id=first.project_id, text_source_id=first.text_source_id)
    for comment in (first, second):
        ReactionFactory.create(newsroom, project_id=comment.project_id, comment_id=comment.id)
    return newsroom.projects.get_by_id(first.project_id)


# ------------------------------------------------------------------------------------------------ the class


def test_units_and_database_have_the_same_entities(newsroom: NewsroomDatabase) -> None:
    with newsroom.unit_of_work() as uow:
        assert type(uow) is NewsroomUnit
        project = uow.projects.create(name="x")
        source = uow.text_sources.create(project_id=project.id, title="x", content="x")
        made = uow.comments.create(project_id=project.id, text_source_id=source.id, author="Ada")
        with newsroom.unit_of_work(savepoint=True) as part:
            assert part.comments.of("Ada") == [made]
        assert newsroom.repositories(outside_unit=True).comments.of("Ada") == []
        with pytest.raises(InvalidValue, match="unit of work open"):
            newsroom.comments.of("Ada")
    assert newsroom.comments.of("Ada") == [made]
    assert newsroom.run(lambda unit: unit.comments.of("Ada")) == [made]
    assert newsroom.comments.get_by_id(made.id).length == 3


def test_a_database_whose_units_lack_an_entity_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="differ in comments, reactions, readers"):

        class _Wrong(Newsroom, Database[UnitOfWork]):
            pass

    with pytest.raises(ConfigurationError, match="_Without and its units, UnitOfWork, differ"):

        class _Without(Newsroom, Database):
            pass


def test_a_subclass_keeps_the_units_of_its_base() -> None:
    class Tuned(NewsroomDatabase):
        pass

    with Tuned("postgresql://nobody@127.0.0.1:1/none") as made, made.unit_of_work() as uow:
        assert type(uow) is NewsroomUnit


def test_models_come_after_those_they_refer_to() -> None:
    assert NewsroomDatabase.records() == (*ENTITIES, *OWN)
    with NewsroomDatabase("postgresql://nobody@127.0.0.1:1/none") as made:
        assert made.models == OWN
    with Database("postgresql://nobody@127.0.0.1:1/none") as plain:
        assert plain.models == ()


# ----------------------------------------------------------------------------------------------- migrations


def test_migrating_applies_both_folders_each_with_its_history(
    pending: NewsroomDatabase, versions: Path
) -> None:
    before = pending.health()
    assert (before.ok, before.application_head, before.expected_application_head) == (False, None, "0001_own")
    assert before.head == before.expected_head
    report = pending.migrate()
    assert (report.applied, report.head) == (("0001_own",), "0001_own")
    assert not pending.migrate().changed
    after = pending.health()
    assert (after.ok, after.application_head) == (True, "0001_own")
    assert pending.session.all("SELECT name FROM application_migrations") == [("0001_own",)]
    assert pending.migrations.versions == versions
    assert pending.migrations.rollback().rolled_back == ("0001_own",)
    assert pending.health().head == before.head


def test_health_tells_of_a_folder_that_is_not_there(
    pending: NewsroomDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NewsroomDatabase, "versions", tmp_path / "nowhere")
    found = pending.health()
    assert not found.ok
    assert "nowhere" in str(found.error)


def test_init_goes_on_for_an_application_that_has_no_versions_yet(
    package: str,
    database: Database,
    versions: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", database.config.url(hide_password=False))
    versions.rename(versions.with_name("elsewhere"))
    assert main(["--app", f"{package}:Wired", "init"]) == 0
    assert f"{versions} is not there yet: `database-handler migrations generate" in capsys.readouterr().out
    assert main(["--app", f"{package}:Wired", "migrations", "generate", "-m", "own", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"] is True
    assert main(["--app", f"{package}:Wired", "init", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["migrations"]["applied"] == ["0001_own"]


def test_one_call_makes_the_library_s_schema_and_the_application_s(
    pending: NewsroomDatabase,
) -> None:
    Database(pending.config).migrations.rollback(target=0)
    report = pending.migrate()
    assert report.applied[0] == "0001_initial"
    assert report.applied[-1] == "0001_own"


def test_the_first_version_is_generated_into_a_folder_of_the_application_s(
    pending: NewsroomDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NewsroomDatabase, "versions", tmp_path / "newsroom" / "versions")
    written = pending.migrations.generate("own entities")
    assert (written.name, written.changed) == ("0001_own_entities", True)
    assert sorted(file.name for file in (tmp_path / "newsroom" / "versions").iterdir()) == [
        "0001_own_entities.sql",
        "versions.lock",
    ]
    assert pending.migrate().applied == ("0001_own_entities",)
    assert pending.projects.statistics(reacted(pending).id).others == {"comments": 2, "reactions": 2}
    assert not pending.migrations.generate("again").changed


class Mood(StrEnum):
    ODD = "it's \\ 100 %"


class Filled(Draft, frozen=True):
    """A field with a default of every kind."""

    project_id: UUID
    text: str = "a 'quoted' \\ text, 100 %s"
    mood: Mood = Mood.ODD
    number: int = -5
    share: float = -0.1
    tiny: float = 5e-324
    switched: bool = True
    data: bytes = b"\x00'\\\xff"
    id_of: UUID = UUID(int=7)
    day: dt.date = dt.date(2024, 2, 29)
    moment: dt.datetime = dt.datetime(2024, 2, 29, 23, 59, 59, 999999, tzinfo=dt.UTC)
    names: tuple[str, ...] = ("a, b", 'say "x"', "back\\slash", "{}", "NULL", "")
    nothing: tuple[str, ...] = ()
    metadata: dict[str, Any] = Field(default_factory=lambda: {"a": [1.5, None, "it's \\ ü"], "z": {}})


class FilledRecord(Filled, Record, frozen=True):
    table: ClassVar[Table] = Table("filled", key=("project_id",))


def test_the_default_of_a_field_is_the_same_in_the_database(newsroom: NewsroomDatabase) -> None:
    columns = [column for column in FilledRecord.table.columns if column.backfill is not None]
    assert {column.name for column in columns} == set(Filled.model_fields) - {"project_id"}
    text = ", ".join(f"({column.backfill})::{column.type}" for column in columns)
    row = newsroom.session.one(f"SELECT {text.replace('%', '%%')} WHERE %s", [True])  # pyright: ignore[reportArgumentType]  # the model's own
    made = Filled(project_id=uuid4())
    found = dict(zip((column.name for column in columns), row, strict=True))
    found["data"] = bytes(found["data"])  # the driver gives a view
    assert Filled.model_validate({**found, "project_id": made.project_id}) == made


# ------------------------------------------------------------------------------------------- whole projects


def test_deleting_counts_the_application_s_rows(newsroom: NewsroomDatabase) -> None:
    readers = newsroom.readers.count()
    project, other = reacted(newsroom), reacted(newsroom)
    expected = {"comments": 2, "reactions": 2}
    assert newsroom.projects.delete_preview(project.id).others == expected
    gone = newsroom.projects.delete(project.id)
    assert (gone.others, gone.text_sources, gone.total) == (expected, 1, 6)
    assert newsroom.comments.count(project_id=project.id) == 0
    assert newsroom.comments.count(project_id=other.id) == newsroom.reactions.count(project_id=other.id) == 2
    assert newsroom.readers.count() == readers + 4  # they belong to no project
    assert newsroom.projects.get_by_id(other.id) == other


def test_a_copy_has_the_application_s_rows_with_references_to_the_copies(newsroom: NewsroomDatabase) -> None:
    project = reacted(newsroom)
    copied = newsroom.projects.clone(project.id, name="copy")
    comments = newsroom.comments.list(project_id=copied.id, order_by="id")
    originals = newsroom.comments.list(project_id=project.id, order_by="id")
    assert [comment.author for comment in comments] == [comment.author for comment in originals]
    [source] = newsroom.text_sources.list(project_id=copied.id)
    assert {comment.text_source_id for comment in comments} == {source.id}
    reactions = newsroom.reactions.list(project_id=copied.id)
    assert {each.comment_id for each in reactions} == {comment.id for comment in comments}
    assert {each.reader_id for each in reactions} == {
        each.reader_id for each in newsroom.reactions.list(project_id=project.id)
    }


def test_a_file_carries_the_application_s_rows(newsroom: NewsroomDatabase) -> None:
    project, file = reacted(newsroom), io.BytesIO()
    assert newsroom.projects.export(project.id, file).others == {"comments": 2, "reactions": 2}
    file.seek(0)
    stored = newsroom.projects.import_(file, name="again")
    assert (
        newsroom.comments.count(project_id=stored.id) == newsroom.reactions.count(project_id=stored.id) == 2
    )
    file.seek(0)
    with (
        Database(newsroom.config) as plain,
        pytest.raises(ProjectFileRefused, match="entities that are not known here: comments, reactions"),
    ):
        plain.projects.import_(file, name="not here")


def test_reports_know_the_application_s_rows(newsroom: NewsroomDatabase) -> None:
    project = reacted(newsroom)
    latest = newsroom.comments.update(
        newsroom.comments.list(project_id=project.id, limit=1)[0].id, {"author": "someone"}
    )
    figures = newsroom.projects.statistics(project.id)
    assert (figures.others, figures.rows) == ({"comments": 2, "reactions": 2}, 5)
    assert figures.last_activity == latest.updated_at
    tree = newsroom.projects.tree(project.id)
    assert list(tree.others["comments"]) == newsroom.comments.list(project_id=project.id, order_by="id")
    assert list(tree.others["reactions"]) == newsroom.reactions.list(project_id=project.id, order_by="id")
    assert [type(record) for record in tree.records()][-4:] == [Comment, Comment, Reaction, Reaction]
    summary = newsroom.projects.metadata_summary(project.id)
    assert summary.rows["comments"] == 2
    assert {path.path: path.entities.get("comments") for path in summary.paths}["rating"] == {"number": 2}


def test_a_report_is_one_round_trip_with_the_application_s_rows_too(newsroom: NewsroomDatabase) -> None:
    project = reacted(newsroom)
    with (
        CountingProxy(newsroom.config) as proxy,
        NewsroomDatabase(proxy.config.with_(pool_size=1, max_overflow=0)) as counted,
    ):
        counted.projects.count()
        for report in (counted.projects.statistics, counted.projects.tree, counted.projects.metadata_summary):
            with proxy.counting() as trips:
                report(project.id)
            assert trips.count - trips.texts.count("SELECT") == 1  # without the pool's ping of an idle one


def test_a_project_without_rows_of_the_application_s_has_noughts(newsroom: NewsroomDatabase) -> None:
    project = newsroom.projects.create(name="empty")
    assert newsroom.projects.statistics(project.id).others == {"comments": 0, "reactions": 0}
    assert newsroom.projects.tree(project.id).others == {"comments": (), "reactions": ()}
    assert newsroom.projects.delete(project.id).others == {"comments": 0, "reactions": 0}


def test_a_unit_held_to_a_project_keeps_the_application_s_rows_apart(newsroom: NewsroomDatabase) -> None:
    mine, other = reacted(newsroom), reacted(newsroom)
    source = newsroom.text_sources.list(project_id=other.id)[0]
    with newsroom.unit_of_work(project_id=mine.id) as uow:
        assert {comment.project_id for comment in uow.comments.list()} == {mine.id}
        assert uow.readers.list() == []
        with pytest.raises(InvalidValue, match="held to"):
            uow.comments.create(project_id=other.id, text_source_id=source.id, author="x")


def test_a_reference_into_another_project_is_refused(newsroom: NewsroomDatabase) -> None:
    mine, other = reacted(newsroom), reacted(newsroom)
    comment = newsroom.comments.list(project_id=other.id)[0]
    with pytest.raises(MissingReference):
        newsroom.reactions.create(
            project_id=mine.id, comment_id=comment.id, reader_id=newsroom.readers.list()[0].id
        )


# ------------------------------------------------------------------------------------------------- commands

PACKAGE = """
from {module} import NewsroomDatabase as Base
from pathlib import Path

class Wired(Base):
    versions = Path({versions!r})

number = 5
"""


@pytest.fixture
def package(versions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the current folder with the application's class."""
    name = f"newsroom_{uuid4().hex}"
    text = PACKAGE.format(module=__name__, versions=str(versions))
    (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    return name


def test_commands_take_the_application_s_class(
    package: str, database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", database.config.url(hide_password=False))
    assert main(["--app", f"{package}:Wired", "migrate"]) == 0
    assert "0001_own" in capsys.readouterr().out
    monkeypatch.setenv("DATABASE_CLASS", f"{package}:Wired")
    assert main(["health", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["application_head"] == "0001_own"
    with NewsroomDatabase(database.config) as wired:
        assert main(["stats", reacted(wired).slug]) == 0
    assert re.search(r"reactions +2\b", capsys.readouterr().out)


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The commands of the page on applications, in a folder with the package that the page describes."""
    page = PAGE.read_text(encoding="utf-8")
    note, data, *_ = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "newsroom").mkdir()
    (tmp_path / "newsroom" / "note.py").write_text(note, encoding="utf-8")
    text = f"from newsroom.note import NoteRepository\n{data}"
    (tmp_path / "newsroom" / "data.py").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield re.findall(r"^database-handler (--app .*)$", page, re.MULTILINE)
    for name in ("newsroom", "newsroom.note", "newsroom.data"):
        sys.modules.pop(name, None)


def test_the_commands_of_the_page_run(
    documented: list[str], database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database.config.url(hide_password=False))
    assert len(documented) == 2
    for line in documented:
        assert main(shlex.split(line)) == 0, line
    assert (tmp_path / "newsroom" / "versions" / "0001_notes.sql").exists()
    assert database.session.all("SELECT author, content FROM notes") == []


def test_pictures_and_json_schemas_have_the_application_s_entities(
    package: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--app", f"{package}:Wired", "schema", "diagram"]) == 0
    drawn = capsys.readouterr().out
    assert all(f"{record.table.name} {{" in drawn for record in (Project, *OWN))
    assert main(["--app", f"{package}:Wired", "schema", "json", "NewComment"]) == 0
    assert "text_source_id" in capsys.readouterr().out
    assert main(["schema", "json", "NewComment"]) == 1
    assert "no model is called 'NewComment'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nothing", "package.module:Class"),
        ("no_such_package.data:Wired", "there is no module no_such_package"),
        ("{package}:number", "no class number that is a Database"),
        ("{package}:Missing", "no class Missing that is a Database"),
        ("{package}:Wired.more", "package.module:Class"),
    ],
)
def test_a_class_that_is_not_there_is_named(
    package: str, name: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--app", name.format(package=package), "health"]) != 0
    assert told in " ".join(capsys.readouterr().err.split())


_FORBIDDEN = """
from typing import ClassVar
from database_handler import Record, Table
class Choice(Record, frozen=True):
    select: int
    table: ClassVar[Table] = Table("choices", key=("select",))
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import what_it_wants\n", "what_it_wants"),
        ("def\n", "SyntaxError in line 1 of "),
        (_FORBIDDEN, "Choice: select cannot name a table or a column"),
        ("raise RuntimeError('hunter2')\n", "cannot be imported: RuntimeError; --verbose shows where"),
    ],
)
def test_a_module_that_fails_says_why(
    tmp_path: Path, package: str, text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = f"broken_{uuid4().hex}"
    (tmp_path / f"{broken}.py").write_text(text, encoding="utf-8")
    assert package
    assert main(["--app", f"{broken}:Wired", "health"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert told in said
    assert "hunter2" not in said
