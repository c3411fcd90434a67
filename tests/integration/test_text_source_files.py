"""Text sources from files: the text is in the row, the original in the store, never one without the other."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from database_handler import Database, NewProject, Project
from database_handler.content import Extracted, Limits, register_extractor
from database_handler.content.errors import (
    EmptyFile,
    FileDamaged,
    FileMissing,
    FileTooLarge,
    NoOriginal,
    NotARegularFile,
    NoText,
    StoreUnavailable,
    UnreadableFile,
    Unstorable,
    UnusableName,
)
from database_handler.content.sample import FOLDER as SAMPLE
from database_handler.content.store import FileStore, uri_of
from database_handler.core.base_model import Record
from database_handler.core.exceptions import (
    ConfigurationError,
    DuplicateRecord,
    InvalidValue,
    MissingReference,
    RecordNotFound,
)
from database_handler.models import Link, Summary, TextSource, Translation, Video
from database_handler.repositories.files import FilesReport, SweepReport, file_columns
from database_handler.repositories.resources import Resources
from tests.support.wire import CountingProxy

TEXT = "The lighthouse keeper climbed the stairs every night to light the lamp."


class BrokenStore(FileStore):
    """A store whose disk is full."""

    def put(self, *args: Any, **more: Any) -> Any:
        raise StoreUnavailable("the file store cannot write: no space left on device")


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "store")


@pytest.fixture
def db(shared_database: Database, store: FileStore) -> Iterator[Database]:
    """Yield a `Database` with a file store of the test's own on the shared database, emptied afterwards."""
    with Database(shared_database.config, files=store) as own:
        yield own
    shared_database.session.run("TRUNCATE projects CASCADE")


@pytest.fixture
def project(db: Database) -> Project:
    return db.projects.create(NewProject(name="Files"))


# From a file to a row, and back.


@pytest.mark.parametrize("way", ["path", "text of a path", "stream", "bytes"])
def test_a_file_becomes_a_row_and_comes_back(
    db: Database, project: Project, store: FileStore, way: str
) -> None:
    path = SAMPLE / "script.docx"
    source: Any = {
        "path": path,
        "text of a path": str(path),
        "stream": io.BytesIO(path.read_bytes()),
        "bytes": path.read_bytes(),
    }[way]
    text = db.text_sources.create_from_file(project.id, source)
    assert db.text_sources.get_by_id(text.id) == text
    assert (text.title, text.language) == ("The Last Light at Harrow Point", "en")
    assert text.content_type.endswith("wordprocessingml.document")
    assert text.filename == ("script.docx" if "path" in way else None)
    assert text.size_bytes == path.stat().st_size
    assert text.storage_uri == uri_of(text.checksum)
    assert text.word_count > 50
    with db.text_sources.open(text.id) as file:
        assert file.read() == path.read_bytes()
    assert [file.checksum for file in store.iterate()] == [text.checksum]


def test_what_is_given_goes_before_what_the_file_says(db: Database, project: Project, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.md").write_text(f"# Head\n\n{TEXT}")
    own = uuid4()
    text = db.text_sources.create_from_file(
        project.id,
        "sub/a.md",
        root=tmp_path,
        title=" Mine ",
        language="pt-br",
        metadata={"client": "Harrow"},
        id=own,
    )
    assert (text.id, text.title, text.language, text.filename) == (own, "Mine", "pt-BR", "sub/a.md")
    assert text.metadata == {"client": "Harrow"}
    (tmp_path / "b.txt").write_bytes("Où était la mer ? À l’aube, déjà calme.".encode("cp1252"))
    other = db.text_sources.create_from_file(project.id, tmp_path / "b.txt", filename="old/b.txt")
    assert (other.title, other.filename) == ("b.txt", "old/b.txt")
    assert other.metadata == {"charset_detected": True, "encoding": "cp1252"}
    assert db.text_sources.open(other.id).read().decode("cp1252") == other.content


def test_an_application_reads_a_kind_of_its_own(db: Database, project: Project) -> None:
    def dialogue(data: bytes, limits: Limits) -> Extracted:
        lines = [json.loads(line) for line in data.decode().splitlines()]
        return Extracted(
            "\n".join(line["say"] for line in lines),
            content_type="application/x-ndjson",
            metadata={"speakers": sorted({line["who"] for line in lines})},
        )

    register_extractor("application/json", dialogue)
    try:
        data = b'{"who": "Ines", "say": "The lamp turns."}\n{"who": "Rui", "say": "And it waits."}\n'
        text = db.text_sources.create_from_file(project.id, data, filename="scene.json", language="en")
    finally:
        register_extractor("application/json", None)
    assert (text.content, text.content_type) == ("The lamp turns.\nAnd it waits.", "application/x-ndjson")
    assert text.metadata == {"speakers": ["Ines", "Rui"]}
    assert db.text_sources.open(text.id).read() == data


def test_the_same_content_in_two_projects_is_two_rows_and_one_file(
    db: Database, project: Project, store: FileStore
) -> None:
    other = db.projects.create(NewProject(name="Other"))
    for owner in (project, other):
        db.text_sources.create_from_file(owner.id, TEXT.encode(), title="t")
    with pytest.raises(DuplicateRecord):
        db.text_sources.create_from_file(project.id, TEXT.encode(), title="t")
    assert (db.text_sources.count(), len(list(store.iterate()))) == (2, 1)


# What is refused, and what is then left.


@pytest.mark.parametrize(
    ("source", "more", "error"),
    [
        (b"", {}, EmptyFile),
        (b" \n", {}, NoText),
        (TEXT.encode() * 100, {"limits": Limits(file_bytes=1000)}, FileTooLarge),
        (TEXT.encode(), {"title": None}, InvalidValue),
        (TEXT.encode(), {"title": "x" * 501}, InvalidValue),
        (TEXT.encode(), {"language": "english!"}, InvalidValue),
        (TEXT.encode(), {"filename": "../a.txt"}, InvalidValue),
        (TEXT.encode(), {"metadata": []}, InvalidValue),
        (TEXT.encode(), {"metadata": {"n": float("nan")}}, InvalidValue),
        (TEXT.encode(), {"root": "/"}, InvalidValue),
        (TEXT.encode(), {"id": "x"}, InvalidValue),
    ],
)
def test_what_is_refused_leaves_neither_row_nor_file(
    db: Database,
    project: Project,
    store: FileStore,
    source: bytes,
    more: dict[str, Any],
    error: type[Exception],
) -> None:
    with pytest.raises(error):
        db.text_sources.create_from_file(project.id, source, **{"title": "t", **more})
    assert (db.text_sources.count(), list(store.iterate())) == (0, [])


def test_a_row_that_is_refused_costs_no_file(db: Database, project: Project, store: FileStore) -> None:
    with pytest.raises(MissingReference):
        db.text_sources.create_from_file(uuid4(), TEXT.encode(), title="t")
    db.text_sources.create(project_id=project.id, title="by hand", content=TEXT)
    with pytest.raises(DuplicateRecord):
        db.text_sources.create_from_file(project.id, TEXT.encode(), title="t")
    with pytest.raises(InvalidValue), db.unit_of_work(project_id=project.id) as uow:
        uow.text_sources.create_from_file(uuid4(), TEXT.encode(), title="t")
    assert list(store.iterate()) == []


def test_what_a_reader_of_the_application_gives_must_fit_the_record(db: Database, project: Project) -> None:
    register_extractor("text/csv", lambda data, limits: Extracted("x", content_type="not a type"))
    try:
        with pytest.raises(Unstorable, match="content_type"):
            db.text_sources.create_from_file(project.id, b"a,b\n1,2\n", filename="a.csv", language="en")
    finally:
        register_extractor("text/csv", None)


@pytest.mark.parametrize("path", ["../a.txt", "/etc/passwd", "link.txt", "way/a.txt", "-rf", "a\0b", "a\nb"])
def test_nothing_outside_the_root_is_read(
    db: Database, project: Project, store: FileStore, tmp_path: Path, path: str
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "a.txt").write_text(TEXT)
    (root / "link.txt").symlink_to(tmp_path / "a.txt")
    (root / "way").symlink_to(tmp_path)
    (root / "-rf").write_text(TEXT)
    with pytest.raises((NotARegularFile, UnusableName)):
        db.text_sources.create_from_file(project.id, path, root=root)
    if path != "-rf":
        with pytest.raises((NotARegularFile, UnreadableFile)):
            db.text_sources.create_from_file(project.id, path, root=root, filename="fine.txt")
    assert list(store.iterate()) == []


def test_a_full_store_leaves_no_row_also_in_a_unit_that_goes_on(
    db: Database, project: Project, tmp_path: Path
) -> None:
    with Database(db.config, files=BrokenStore(tmp_path / "broken")) as broken:
        with pytest.raises(StoreUnavailable):
            broken.text_sources.create_from_file(project.id, TEXT.encode(), title="t")
        with broken.unit_of_work() as uow:
            with pytest.raises(StoreUnavailable):
                uow.text_sources.create_from_file(project.id, TEXT.encode(), title="t")
            uow.text_sources.create(project_id=project.id, title="goes on", content="x")
    assert [text.title for text in db.text_sources.list()] == ["goes on"]


def test_opening_what_has_no_original_says_so(db: Database, project: Project) -> None:
    by_hand = db.text_sources.create(project_id=project.id, title="t", content="x")
    elsewhere = db.text_sources.create(project_id=project.id, title="t", content="y", storage_uri="/y.txt")
    for text in (by_hand, elsewhere):
        with pytest.raises(NoOriginal, match=str(text.id)):
            db.text_sources.open(text.id)
    with pytest.raises(RecordNotFound):
        db.text_sources.open(uuid4())
    other = db.projects.create(NewProject(name="Other"))
    with pytest.raises(RecordNotFound), db.unit_of_work(project_id=other.id) as uow:
        uow.text_sources.open(by_hand.id)


def test_a_missing_and_a_damaged_original_are_told_apart(
    db: Database, project: Project, store: FileStore
) -> None:
    text = db.text_sources.create_from_file(project.id, TEXT.encode(), title="t")
    assert text.storage_uri is not None
    path = Path(store.url) / text.storage_uri.removeprefix("store:")
    path.write_bytes(b"x")
    with pytest.raises(FileDamaged):
        db.text_sources.open(text.id).read()
    path.unlink()
    with pytest.raises(FileMissing, match=text.checksum):
        db.text_sources.open(text.id)


def test_without_a_store_the_error_names_the_setting(db: Database, project: Project) -> None:
    from database_handler.config.files import FilesConfig

    with (
        Database(db.config, files=FilesConfig(store_url=None)) as none,
        pytest.raises(ConfigurationError, match="FILE_STORE_URL"),
    ):
        none.text_sources.create_from_file(project.id, TEXT.encode(), title="t")
    with pytest.raises(ConfigurationError, match="MEDIA_ROOT"):
        Resources(FilesConfig()).media_root()


# Units.


def test_a_unit_rolled_back_leaves_only_what_a_sweep_removes(
    db: Database, project: Project, store: FileStore
) -> None:
    with db.unit_of_work() as uow:
        uow.text_sources.create_from_file(project.id, TEXT.encode(), title="t")
        uow.rollback()
    with db.unit_of_work() as uow:
        kept = uow.text_sources.create_from_file(project.id, b"kept words", title="t")
        with pytest.raises(KeyError), uow.savepoint():
            raise KeyError(uow.text_sources.create_from_file(project.id, b"undone words", title="t"))
    assert len(list(store.iterate())) == 3
    size = len(TEXT) + len(b"undone words")
    assert db.files.sweep(dry_run=True) == SweepReport(removed=2, bytes=size, kept=1)
    assert len(list(store.iterate())) == 3
    steps: list[tuple[int, int]] = []
    assert db.files.sweep(on_progress=lambda *step: steps.append(step)) == SweepReport(2, size, 1)
    assert steps[-1] == (256, 256)
    assert [file.checksum for file in store.iterate()] == [kept.checksum]
    assert db.files.sweep() == SweepReport(kept=1)
    db.projects.delete(project.id)
    assert db.files.sweep().removed == 1


def test_a_row_of_any_entity_keeps_its_file(db: Database, project: Project, store: FileStore) -> None:
    records: list[type[Record]] = [Project, TextSource, Summary, Translation, Video, Link]
    assert {record.table.name: file_columns(record) for record in records} == {
        "projects": (),
        "text_sources": ("storage_uri",),
        "summaries": (),
        "translations": (),
        "videos": ("storage_uri", "thumbnail_uri"),
        "links": (),
    }
    with db.unit_of_work() as uow:
        film, picture = uow.files.put_many([b"film", b"picture"])
        streamed = uow.files.put(io.BytesIO(b"another film"), limit=100)
        uow.videos.create(project_id=project.id, title="v", storage_uri=film.uri, thumbnail_uri=picture.uri)
        uow.videos.create(project_id=project.id, title="w", storage_uri=streamed.uri)
    assert db.files.sweep() == SweepReport(kept=3)
    assert db.files.check() == FilesReport(checked=3)
    store.delete(picture.uri)
    [problem] = db.files.check(project.id).problems
    assert (problem.table, problem.field, problem.project_id) == ("videos", "thumbnail_uri", project.id)
    with pytest.raises(FileMissing), db.unit_of_work() as uow:
        uow.files.hold(film.uri, picture.uri)


def test_check_finds_missing_and_damaged_files_and_tells_how_far_it_is(
    db: Database, project: Project, store: FileStore
) -> None:
    texts = [db.text_sources.create_from_file(project.id, f"text {n}".encode(), title="t") for n in range(3)]
    other = db.projects.create(NewProject(name="Other"))
    db.text_sources.create_from_file(other.id, b"text 0", title="t")
    db.text_sources.create(project_id=project.id, title="t", content="no file")
    uris = [text.storage_uri or "" for text in texts]
    store.delete(uris[0])
    (Path(store.url) / uris[1].removeprefix("store:")).write_bytes(b"TEXT 1")
    steps: list[tuple[int, int]] = []
    report = db.files.check(project.id, on_progress=lambda *step: steps.append(step))
    assert report.checked == 3
    assert {(each.id, each.problem) for each in report.problems} == {
        (texts[0].id, "missing"),
        (texts[1].id, "damaged"),
    }
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert [each.problem for each in db.files.check(deep=False).problems] == ["missing", "missing"]


def test_a_sweep_does_not_touch_the_files_of_another_database(
    db: Database, project: Project, store: FileStore, database: Database
) -> None:
    text = db.text_sources.create_from_file(project.id, TEXT.encode(), title="t")
    with Database(database.config, files=FileStore(store.url)) as other:
        theirs = other.projects.create(NewProject(name="Theirs"))
        with pytest.raises(ConfigurationError, match="other database"):
            other.files.sweep()
        other.text_sources.create_from_file(theirs.id, b"their words", title="t")
        with pytest.raises(ConfigurationError, match="other database"):
            db.files.sweep()
        assert db.files.forget_other_databases() == 1
        assert db.files.sweep() == SweepReport(removed=1, bytes=11, kept=1)
    assert db.text_sources.open(text.id).read() == TEXT.encode()


def test_a_sweep_inside_a_unit_is_refused(db: Database) -> None:
    with db.unit_of_work(), pytest.raises(InvalidValue, match="unit of work open"):
        db.files.sweep()


# What it costs.


def test_a_file_costs_two_round_trips_and_one_in_a_unit(
    db: Database, project: Project, store: FileStore
) -> None:
    with (
        CountingProxy(db.config) as proxy,
        Database(proxy.config.with_(pool_size=1, max_overflow=0), files=store) as counted,
    ):
        texts = counted.text_sources

        def create(number: int) -> UUID:
            text = texts.create_from_file(project.id, f"text {number}".encode(), title="t", language="en")
            return text.id

        id = create(0)  # connected, and the store knows the database
        with proxy.counting() as trips:
            create(1)
        assert trips.count == 2
        with proxy.counting() as trips, counted.unit_of_work() as uow:
            texts = uow.text_sources
            for number in range(2, 12):
                create(number)
        assert trips.count == 10 + 1
        with proxy.counting() as trips, counted.text_sources.open(id) as file:
            file.read()
        assert trips.count == 1
