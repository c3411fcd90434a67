"""A project copied in the database, and to a file and back: nothing lost, torn or half stored."""

import errno
import gzip
import io
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar
from uuid import UUID, uuid4

import pytest
from pydantic import Field

from database_handler import Database, NewLink, Project, Repository, UnitOfWork
from database_handler.content.project_file import ProjectFileRefused, UnwritableFile
from database_handler.core.base_model import Draft, Record
from database_handler.core.ddl import create_tables
from database_handler.core.exceptions import (
    DuplicateRecord,
    InvalidValue,
    RecordNotFound,
    StillReferenced,
)
from database_handler.core.schema import References, Table
from database_handler.core.session import Statement
from database_handler.models import ENTITIES
from database_handler.repositories import project_clone
from database_handler.repositories.project import ProjectRepository
from database_handler.repositories.project_cascade import Deleted, ProjectCounts
from database_handler.repositories.project_ids import NewIds, id_in_sql
from database_handler.testing.factories import (
    LinkFactory,
    ProjectFactory,
    SummaryFactory,
    TextSourceFactory,
    TranslationFactory,
    VideoFactory,
)
from database_handler.utils.validators import JsonObject
from tests.support.wire import CountingProxy

OWN = frozenset(Record.model_fields)  # what each row has of its own: id, times, version


@pytest.fixture
def database(shared_database: Database) -> Iterator[Database]:
    """Yield a `Database` of the test's own on the shared database, which is emptied afterwards."""
    with Database(shared_database.config) as own:
        yield own
    shared_database.session.run("DELETE FROM projects")


def full(over: Any, sources: int = 2) -> Project:
    """A project with every kind of value and of reference; all of it was changed once."""
    project: Project = ProjectFactory.create(over)
    of: dict[str, UUID] = {"project_id": project.id}
    for source in TextSourceFactory.create_batch(sources, over, **of):
        summary = SummaryFactory.create(over, **of, text_source_id=source.id)
        first, second = (
            TranslationFactory.create(
                over, **of, **original, content="Ein Text.", tokens=[(0, 3), (4, 8), (8, 9)]
            )
            for original in ({"text_source_id": source.id}, {"summary_id": summary.id})
        )
        TranslationFactory.create(over, **of, summary_id=summary.id, generator=None)
        VideoFactory.create(over, **of, translation_id=second.id)
        VideoFactory.create(over, **of, translation_id=first.id)
    VideoFactory.create(over, **of)
    LinkFactory.create_batch(2, over, **of)
    odd = {"whole": 1, "broken": 1.0, "большой": 2**70, "deep": [{"": None}]}
    over.summaries.update(over.summaries.list(project_id=project.id)[0].id, {"metadata": odd})
    return over.projects.update(project.id, {"description": "changed\r\nonce"})  # type: ignore[no-any-return]


FULL = ProjectCounts(projects=1, text_sources=2, summaries=2, translations=6, videos=5, links=2)


def below(over: Any, project: Project) -> dict[str, list[Any]]:
    return {e.table.name: getattr(over, e.table.name).list(project_id=project.id) for e in ENTITIES[1:]}


def told(over: Any, project: Project) -> dict[str, list[dict[str, Any]]]:
    """All rows in their order, each reference as the place of the row that it leads to."""
    rows = below(over, project)
    place = {row.id: n for found in rows.values() for n, row in enumerate(found)} | {project.id: "project"}
    return {
        name: [
            {
                field: place.get(value, value) if isinstance(value, UUID) else value
                for field in type(row).model_fields
                if field not in OWN
                for value in (getattr(row, field),)
            }
            for row in found
        ]
        for name, found in rows.items()
    }


def same_values(one: Project, other: Project) -> bool:
    """Apart from what a copy has of its own."""
    left, right = one.model_dump(), other.model_dump()
    return all(left[name] == right[name] for name in left if name not in OWN | {"name", "slug"})


def assert_is_copy(over: Any, original: Project, copy: Project) -> None:
    assert same_values(original, copy)
    assert told(over, copy) == told(over, original)
    rows = [copy, *(row for found in below(over, copy).values() for row in found)]
    originals = [original, *(row for found in below(over, original).values() for row in found)]
    assert {row.version for row in rows} == {1}
    assert {row.created_at for row in rows} == {row.updated_at for row in rows} == {copy.created_at}
    ids = {row.id for row in rows}
    assert len(ids) == len(rows)
    assert ids.isdisjoint(row.id for row in originals)
    assert all(id.version == 7 for id in ids)
    assert over.projects.get_by_id(copy.id) == copy


# ----------------------------------------------------------------------------------------------------- clone


def test_a_clone_has_everything_and_nothing_in_common(uow: UnitOfWork) -> None:
    original = full(uow)
    before = below(uow, original)
    copy = uow.projects.clone(original.id, name="Second round")
    assert (copy.name, copy.slug) == ("Second round", "second-round")
    assert_is_copy(uow, original, copy)
    assert (below(uow, original), uow.projects.get_by_id(original.id)) == (before, original)
    again = uow.projects.clone(str(copy.id), name="x", slug="third")
    assert (again.name, again.slug) == ("x", "third")
    assert_is_copy(uow, copy, again)


def test_a_clone_is_made_at_once(database: Database) -> None:
    original = full(database)
    copy = database.projects.clone(original.id, name="copy")
    assert_is_copy(database, original, copy)
    assert copy.created_at > original.updated_at


def test_an_empty_project_is_cloned(uow: UnitOfWork) -> None:
    original = uow.projects.create(name="empty", metadata={"n": 1})
    assert_is_copy(uow, original, uow.projects.clone(original.id, name="also empty"))


def test_hidden_columns_are_not_cloned(uow: UnitOfWork) -> None:
    """Work that somebody has taken is taken in the original, not in the copy."""
    original = full(uow)
    held = uow.session.run(
        "UPDATE translations SET lease_holder = gen_random_uuid(), lease_worker = 'w', "
        "lease_until = now() + interval '1 hour' WHERE project_id = %s",
        [original.id],
    )
    assert held == 6
    copy = uow.projects.clone(original.id, name="copy")
    counted = "SELECT count(lease_holder) + count(lease_until) FROM translations WHERE project_id = %s"
    assert [uow.session.one(counted, [id])[0] for id in (original.id, copy.id)] == [12, 0]


def test_a_clone_that_cannot_be_is_refused(uow: UnitOfWork) -> None:
    original = uow.projects.create(name="one")
    with pytest.raises(RecordNotFound):
        uow.projects.clone(uuid4(), name="x")
    with pytest.raises(DuplicateRecord), uow.savepoint():
        uow.projects.clone(original.id, name="One!")
    refused: list[dict[str, Any]] = [{"name": ""}, {"name": "x", "slug": "No Slug"}, {"name": 5}]
    for wrong in refused:
        with pytest.raises(InvalidValue):
            uow.projects.clone(original.id, **wrong)
    assert uow.projects.list() == [original]


def test_a_clone_leaves_the_units_settings_as_they_were(uow: UnitOfWork) -> None:
    original = uow.projects.create(name="one")
    asked = "SELECT current_setting('enable_nestloop')"
    for setting in ("on", "off"):
        uow.session.run("SELECT set_config('enable_nestloop', %s, true)", [setting])
        uow.projects.clone(original.id, name=f"copy {setting}")
        assert uow.session.one(asked) == (setting,)


def test_computed_columns_are_made_under_the_units_settings(uow: UnitOfWork) -> None:
    """How the copying itself is planned is not how the functions in it are."""
    uow.session.script(
        "CREATE FUNCTION seen(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS "
        "$$BEGIN RETURN current_setting('enable_nestloop'); END$$;"
        "ALTER TABLE links ADD COLUMN seen text GENERATED ALWAYS AS (seen(url)) STORED"
    )
    original = full(uow)
    copy = uow.projects.clone(original.id, name="copy")
    asked = "SELECT DISTINCT seen FROM links WHERE project_id = %s"
    assert uow.session.all(asked, [copy.id]) == uow.session.all(asked, [original.id]) == [("on",)]


def test_a_held_unit_makes_no_other_project(database: Database, tmp_path: Path) -> None:
    mine, theirs = full(database), full(database)
    with database.unit_of_work(project_id=mine.id) as unit:
        with pytest.raises(InvalidValue, match="held to one project"):
            unit.projects.clone(mine.id, name="x")
        with pytest.raises(InvalidValue, match="held to one project"):
            unit.projects.import_(tmp_path / "none")
        with pytest.raises(RecordNotFound):
            unit.projects.export(theirs.id, tmp_path / "theirs")
        assert unit.projects.export(mine.id, tmp_path / "mine") == FULL
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_clone_is_linear_whatever_the_planner_knows(uow: UnitOfWork) -> None:
    """After statistics of small projects: the rows of a large one must not be compared with each other."""
    small = [uow.projects.create(name=f"small {n}").id for n in range(30)]
    uow.links.create_many([NewLink(project_id=id, url="https://example.com/") for id in small])
    for entity in ENTITIES:
        uow.session.run(Statement(f"ANALYZE {entity.table.name}", "analyze"))
    large = uow.projects.create(name="large")
    sources = TextSourceFactory.create_batch(150, uow, project_id=large.id)
    drafts = [TranslationFactory.build(project_id=large.id, text_source_id=source.id) for source in sources]
    uow.translations.create_many(drafts)
    plan = explained(uow, large.id)
    assert "Hash Join" in plan
    assert "Nested Loop" not in plan
    copy = uow.projects.clone(large.id, name="copy")
    assert told(uow, copy) == told(uow, large)


def explained(uow: UnitOfWork, id: UUID) -> str:
    """The plan of the copying statement, as its own message has it."""
    tables = tuple(entity.table for entity in ENTITIES[1:])
    text = project_clone.clone(Project.table, tables, ("name", "slug")).text
    _, settings, copying, *_ = text.split(";")  # the lock that holds the files comes first
    bound = project_clone.values(id, uuid4(), tables, {"name": "n", "slug": "n"})
    rows = uow.session.all(Statement(f"{settings};EXPLAIN {copying}", "explain"), bound)
    uow.session.run("SET LOCAL enable_nestloop = on")
    return "\n".join(row[0] for row in rows)


def test_ids_of_a_copy_are_made_alike_by_python_and_by_sql(uow: UnitOfWork) -> None:
    ids = NewIds.make()
    numbers = [1, 2, 255, 4096, 2**24, 2**32 - 1]
    text = f"SELECT {id_in_sql('n', '%s', '%s')} FROM unnest(%s::bigint[]) AS n ORDER BY 1"
    found = [id for (id,) in uow.session.all(Statement(text, "ids"), [ids.head, ids.tail, numbers])]
    assert found == [ids.at(number) for number in numbers] == sorted(found)
    assert {id.version for id in found} == {7}


# ------------------------------------------------------------------------------------------ out and in again


def exported(over: Any, project: Project, **options: Any) -> bytes:
    return exported_by(over.projects, project, **options)


def exported_by(projects: ProjectRepository, project: Project, **options: Any) -> bytes:
    stream = io.BytesIO()
    projects.export(project.id, stream, **options)
    return stream.getvalue()


def anonymous(data: bytes) -> list[Any]:
    """The lines of a file, each id as the number of its first mention, without times, versions and names."""
    known: dict[str, int] = {}
    lines = [json.loads(line) for line in data.splitlines()]
    del lines[0]["project"]
    for line in lines[1:-1]:
        known[line.pop("id")] = len(known)
        for name in ("created_at", "updated_at", "version"):
            del line[name]
        record = line["record"]
        for name in [name for name in record if name == "project_id" or name.endswith("_id")]:
            record[name] = known.get(record[name])
    for name in ("name", "slug"):
        del lines[1]["record"][name]
    return lines


@pytest.mark.parametrize("name", ["film.jsonl", "film.jsonl.gz"])
def test_out_and_in_and_out_is_the_same(database: Database, tmp_path: Path, name: str) -> None:
    original = full(database)
    assert database.projects.export(original.id, tmp_path / name) == FULL
    data = (tmp_path / name).read_bytes()
    data = gzip.decompress(data) if name.endswith("gz") else data
    assert data == exported(database, original, batch=3)
    copy = database.projects.import_(tmp_path / name, name="Again")
    assert (copy.name, copy.slug) == ("Again", "again")
    assert_is_copy(database, original, copy)
    assert anonymous(exported(database, copy)) == anonymous(data)


def test_in_a_unit_too(uow: UnitOfWork) -> None:
    original = full(uow)
    copy = uow.projects.import_(io.BytesIO(exported(uow, original)), slug="second")
    assert (copy.name, copy.slug) == (original.name, "second")
    assert told(uow, copy) == told(uow, original)


def test_it_comes_back_after_it_was_deleted(database: Database) -> None:
    original = full(database)
    data, rows = exported(database, original), told(database, original)
    database.projects.delete(original.id)
    copy = database.projects.import_(io.BytesIO(data))
    assert (copy.name, copy.slug) == (original.name, original.slug)
    assert told(database, copy) == rows


def test_what_is_not_there_is_not_written(uow: UnitOfWork, tmp_path: Path) -> None:
    with pytest.raises(RecordNotFound):
        uow.projects.export(uuid4(), tmp_path / "none")
    with pytest.raises(InvalidValue, match="batch"):
        uow.projects.export(uow.projects.create(name="p").id, tmp_path / "none", batch=0)
    assert list(tmp_path.iterdir()) == []


def test_an_export_is_of_one_moment(database: Database) -> None:
    """While it is being written, rows come, go and change; the file has none of it."""
    project = full(database)
    before = exported(database, project)
    beside = Database(database.config)

    class Meanwhile(io.BytesIO):
        def write(self, data: Any, /) -> int:
            if b'"entity":"projects"' in data:
                beside.links.delete_many([link.id for link in beside.links.list(project_id=project.id)])
                full(beside)
                TextSourceFactory.create(beside, project_id=project.id)
                beside.projects.update(project.id, name="other")
            return super().write(data)

    stream = Meanwhile()
    with beside:
        database.projects.export(project.id, stream, batch=1)
    assert stream.getvalue() == before


def test_metadata_is_taken_as_it_is(database: Database) -> None:
    """Rows may be older than the JSON Schema that their project has since."""
    project = database.projects.create(name="bound", metadata={"n": "old"})
    database.links.create(project_id=project.id, url="https://example.com/", metadata={"n": "old"})
    rule = {"type": "object", "properties": {"n": {"type": "integer"}}}
    bound = {"links": rule, "projects": rule}
    project = database.projects.update(project.id, metadata_schemas=bound)
    copies = [
        database.projects.clone(project.id, name="clone"),
        database.projects.import_(io.BytesIO(exported(database, project)), slug="import"),
    ]
    for copy in copies:
        assert copy.metadata_schemas == bound
        assert_is_copy(database, project, copy)
        with pytest.raises(InvalidValue):
            database.links.create(project_id=copy.id, url="https://example.com/2", metadata={"n": "new"})


def test_a_failure_on_the_way_gives_the_connection_back(database: Database, tmp_path: Path) -> None:
    project = full(database)
    data = exported(database, project)

    class Full(io.BytesIO):
        def write(self, data: Any, /) -> int:
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(UnwritableFile, match="no space left"):
        database.projects.export(project.id, Full())
    with pytest.raises(UnwritableFile):
        database.projects.export(project.id, tmp_path / "no" / "folder")
    with pytest.raises(ProjectFileRefused):
        database.projects.import_(io.BytesIO(data[:-40]), slug="x")
    assert database.pool.stats().in_use == 0
    assert database.projects.list() == [project]


# ------------------------------------------------------------------------------------------------- bad files


def late_error(data: bytes) -> bytes:
    """The last row but one of the file is of another project: whatever stands before is stored by then."""
    lines = data.splitlines(keepends=True)
    line = json.loads(lines[-3])
    line["record"]["project_id"] = str(uuid4())
    return b"".join([*lines[:-3], json.dumps(line).encode() + b"\n", *lines[-2:]])


def cut(data: bytes) -> bytes:
    return b"".join(data.splitlines(keepends=True)[:-1])


def same_key(data: bytes) -> bytes:
    """Two links of one address: each is valid by itself."""
    lines = data.splitlines(keepends=True)
    line = json.loads(lines[-2])
    line["record"]["url"] = json.loads(lines[-3])["record"]["url"]
    return b"".join([*lines[:-2], json.dumps(line).encode() + b"\n", lines[-1]])


BAD: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "late": (late_error, "line 18: links: project_id refers to no row"),
    "cut": (cut, "cut short"),
    "same key": (same_key, "lines 18 to 19: .*links_key"),
}


@pytest.mark.parametrize("bad", BAD)
def test_of_a_bad_file_nothing_is_stored(database: Database, bad: str) -> None:
    edit, message = BAD[bad]
    project = full(database)
    data = edit(exported(database, project))
    with pytest.raises(ProjectFileRefused, match=message) as caught:
        database.projects.import_(io.BytesIO(data), slug="x")
    assert "example" not in str(caught.value)
    assert database.projects.list() == [project]
    with database.unit_of_work() as unit:
        kept = unit.projects.create(name="kept")
        with pytest.raises(ProjectFileRefused, match=message):
            unit.projects.import_(io.BytesIO(data), slug="x")
        unit.projects.update(kept.id, owner="Ada")
    assert [each.slug for each in database.projects.list()] == [project.slug, "kept"]
    assert [table for table, count in table_counts(database).items() if count != FULL.by_entity[table]] == [
        "projects"
    ]


def table_counts(over: Any) -> dict[str, int]:
    return {entity.table.name: getattr(over, entity.table.name).count() for entity in ENTITIES}


def test_a_slug_that_is_taken_is_told(database: Database) -> None:
    project = full(database)
    data = exported(database, project)
    with database.unit_of_work() as unit:
        with pytest.raises(DuplicateRecord):
            unit.projects.import_(io.BytesIO(data))
        assert unit.projects.import_(io.BytesIO(data), slug="free").slug == "free"
    for wrong in ({"slug": "No Slug"}, {"name": ""}):
        with pytest.raises(InvalidValue):
            database.projects.import_(io.BytesIO(data), **wrong)


# ----------------------------------------------------------------------------------------------- large ones


def test_memory_does_not_grow_with_the_rows(database: Database, tmp_path: Path) -> None:
    """12 MB of rows go through half of that."""
    project = database.projects.create(name="large")
    urls = [f"https://example.com/{n:03}" for n in range(120)]
    note: JsonObject = {"note": "x" * 100_000}
    database.links.create_many([NewLink(project_id=project.id, url=url, metadata=note) for url in urls])
    path = tmp_path / "large.jsonl"
    assert most_memory(lambda: database.projects.export(project.id, path, batch=10)) < 6_000_000
    assert path.stat().st_size > 12_000_000
    assert most_memory(lambda: database.projects.import_(path, name="copy")) < 6_000_000
    copies = database.links.list(project_id=database.projects.list(slug="copy")[0].id)
    assert [copy.url for copy in copies] == urls
    assert all(copy.metadata == note for copy in copies)


def most_memory(call: Callable[[], object]) -> int:
    """The most bytes that Python held for it."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_round_trips_are_few_and_known(database: Database) -> None:
    project = full(database)
    data = io.BytesIO(exported(database, project))
    calls: list[tuple[int, Callable[[Database], object]]] = [
        (1, lambda db: db.projects.clone(project.id, name="clone")),
        (1 + 1, lambda db: db.projects.export(project.id, io.BytesIO())),  # with COMMIT
        (4 + 1, lambda db: db.projects.export(project.id, io.BytesIO(), batch=5)),  # 18 rows
        (
            1 + 5 * 2 + 1,
            lambda db: db.projects.import_(data, slug="new"),
        ),  # the project, COPY of five, COMMIT
    ]
    with CountingProxy(database.config) as proxy, Database(proxy.config) as counted:
        counted.projects.count()
        for expected, call in calls:
            with proxy.counting() as trips:
                call(counted)
            # Without the pool's ping of a connection that was idle for over a second.
            assert trips.count - trips.texts.count("SELECT") == expected


# ------------------------------------------------------------------------------------ an application's own


class NewRemark(Draft, frozen=True):
    """An application's entity: it keeps a text from being deleted, answers another, and holds bytes."""

    project_id: Annotated[UUID, References("projects")]
    text_source_id: Annotated[UUID, References("text_sources", on_delete="RESTRICT")]
    answer_to: Annotated[UUID, References("remarks")] | None = None
    line: int
    data: bytes = b""
    metadata: JsonObject = Field(default_factory=dict)


class Remark(NewRemark, Record, frozen=True):
    """It as the database holds it."""

    table: ClassVar[Table] = Table("remarks", key=("project_id", "text_source_id", "line"))


class Remarks(Repository[NewRemark, Remark]):
    draft = NewRemark
    record = Remark


class Projects(ProjectRepository):
    @property
    def entities(self) -> tuple[type[Record], ...]:
        return (*ENTITIES, Remark)


@pytest.fixture
def remarked(uow: UnitOfWork) -> Project:
    """A project with two remarks, the second an answer to the first, in a database that has their table."""
    uow.session.script(create_tables([Remark.table]))
    project, remarks = full(uow), Remarks(uow.session)
    source = uow.text_sources.list(project_id=project.id)[1]
    first = remarks.create_one(
        NewRemark(project_id=project.id, text_source_id=source.id, line=1, data=bytes(range(256)))
    )
    remarks.create_one(first_answer(first))
    return project


def first_answer(remark: Remark) -> NewRemark:
    return NewRemark(
        project_id=remark.project_id, text_source_id=remark.text_source_id, line=2, answer_to=remark.id
    )


def test_entities_of_an_application_are_copied_and_counted(uow: UnitOfWork, remarked: Project) -> None:
    projects, remarks = Projects(uow.session), Remarks(uow.session)
    data = exported_by(projects, remarked)
    for copy in (
        projects.clone(remarked.id, name="clone"),
        projects.import_(io.BytesIO(data), slug="import"),
    ):
        assert told(uow, copy) == told(uow, remarked)
        first, second = remarks.list(project_id=copy.id)
        assert (first.answer_to, second.answer_to) == (None, first.id)
        assert (first.line, first.data, second.data) == (1, bytes(range(256)), b"")
        sources = uow.text_sources.list(project_id=copy.id)
        assert first.text_source_id == second.text_source_id == sources[1].id
    assert projects.delete_preview(remarked.id).others == {"remarks": 2}
    assert projects.delete(remarked.id).total == FULL.total + 2
    assert remarks.count() == 4


def test_a_project_goes_whatever_an_application_has_below_it(uow: UnitOfWork, remarked: Project) -> None:
    source = uow.text_sources.list(project_id=remarked.id)[1]
    with pytest.raises(StillReferenced), uow.savepoint():
        uow.text_sources.delete(source.id)
    assert uow.projects.delete(remarked.id) == Deleted.of(FULL.by_entity)
    assert Remarks(uow.session).count() == 0


def test_a_file_with_entities_that_are_not_known_is_refused(uow: UnitOfWork, remarked: Project) -> None:
    data = exported_by(Projects(uow.session), remarked)
    with pytest.raises(ProjectFileRefused, match="not known here: remarks"):
        uow.projects.import_(io.BytesIO(data), slug="x")
