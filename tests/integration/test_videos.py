"""Videos from files: the row says what the file is, the thumbnail is stored, and checks find what changed."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest

from database_handler import Database, NewProject, NewVideo, Project, Video
from database_handler.config.files import FilesConfig
from database_handler.content.errors import (
    NotARegularFile,
    NotAVideo,
    Refusal,
    StoreUnavailable,
    UnreadableFile,
    UnusableName,
)
from database_handler.content.store import FileStore, uri_of
from database_handler.core.exceptions import (
    ConfigurationError,
    DatabaseHandlerError,
    DuplicateRecord,
    InvalidValue,
    MissingReference,
    RecordNotFound,
)
from database_handler.models.video import VideoStatus
from tests.support.media import Recipe, make, turned
from tests.support.wire import CountingProxy


class BrokenStore(FileStore):
    """A store whose disk is full."""

    def put(self, *args: Any, **more: Any) -> Any:
        raise StoreUnavailable("the file store cannot write: no space left on device")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = Recipe(codec="libx264", audio=("ger", "eng"))
    return make(tmp_path_factory.mktemp("clip") / "clip.mp4", "mp4", recipe)


@pytest.fixture
def media(tmp_path: Path, clip: Path) -> Path:
    """Return a media folder with one video in it."""
    (tmp_path / "media" / "scenes").mkdir(parents=True)
    shutil.copy(clip, tmp_path / "media" / "scenes" / "Opening night.mp4")
    return tmp_path / "media"


@pytest.fixture
def db(shared_database: Database, tmp_path: Path, media: Path) -> Iterator[Database]:
    """Yield a database with a store and a media folder of the test's own, emptied afterwards."""
    files = FilesConfig(store_url=str(tmp_path / "store"), media_root=media)
    with Database(shared_database.config, files=files) as own:
        yield own
    shared_database.session.run("TRUNCATE projects CASCADE")


@pytest.fixture
def project(db: Database) -> Project:
    return db.projects.create(NewProject(name="Videos"))


OPENING = "scenes/Opening night.mp4"


@pytest.fixture
def video(db: Database, project: Project) -> Video:
    return db.videos.create_from_file(project.id, OPENING)


def kept(db: Database) -> int:
    """Return how many files the store holds."""
    return len(list(db.files.store.iterate()))


# ---------------------------------------------------------------------------------------------- from a file


def test_file_becomes_a_row_with_a_thumbnail(
    db: Database, project: Project, video: Video, media: Path
) -> None:
    content = (media / OPENING).read_bytes()
    assert db.videos.get_by_id(video.id) == video
    assert (video.title, video.storage_uri, video.status) == ("Opening night", OPENING, VideoStatus.PENDING)
    assert (video.checksum, video.size_bytes) == (hashlib.sha256(content).hexdigest(), len(content))
    assert (video.container, video.codecs) == ("mp4", ("h264", "aac"))
    assert video.duration == pytest.approx(2, abs=0.1)
    assert (video.width, video.height, video.rotation, video.frame_rate) == (96, 64, 0, 10.0)
    assert video.bit_rate == pytest.approx(len(content) * 8 / 2, rel=0.1)
    assert (video.audio_languages, video.subtitle_languages) == (("de", "en"), ())
    streams: Any = video.media_info["streams"]
    assert [stream["type"] for stream in streams] == ["video", "audio", "audio"]
    assert video.thumbnail_uri is not None
    assert db.files.store.read(video.thumbnail_uri).startswith(b"RIFF")
    assert (db.files.sweep().kept, kept(db)) == (1, 1)


def test_everything_about_a_row_may_be_said(db: Database, project: Project, media: Path) -> None:
    source = db.text_sources.create(
        project_id=project.id, title="Script", content="Good night.", language="en"
    )
    translation = db.translations.create(
        project_id=project.id,
        text_source_id=source.id,
        source_language="en",
        target_language="de",
        content="Gute Nacht.",
    )
    wanted, as_text = uuid4(), cast("Any", str(project.id))
    video = db.videos.create_from_file(
        as_text,
        media / OPENING,
        title="First act",
        translation_id=translation.id,
        thumbnail=False,
        metadata={"take": 3},
        id=wanted,
    )
    assert (video.id, video.title, video.translation_id) == (wanted, "First act", translation.id)
    assert (video.metadata, video.thumbnail_uri, kept(db)) == ({"take": 3}, None, 0)


def test_chosen_second_is_the_thumbnail(db: Database, project: Project, video: Video, media: Path) -> None:
    shutil.copy(media / OPENING, media / "copy.mp4")
    other = db.videos.create_from_file(project.id, "copy.mp4", thumbnail=0.0)
    assert other.thumbnail_uri not in (None, video.thumbnail_uri)
    with pytest.raises(InvalidValue, match="the video ends at 2"):
        db.videos.create_from_file(project.id, "copy.mp4", thumbnail=3.5)


def test_turned_video_is_stored_as_it_is_shown(
    db: Database, project: Project, media: Path, clip: Path
) -> None:
    (media / "turned.mp4").write_bytes(turned(clip.read_bytes(), 90))
    video = db.videos.create_from_file(project.id, "turned.mp4")
    assert (video.width, video.height, video.rotation) == (64, 96, 90)
    assert (video.media_info["coded_width"], video.media_info["coded_height"]) == (96, 64)


def test_moved_media_folder_breaks_no_row(db: Database, video: Video, media: Path, tmp_path: Path) -> None:
    media.rename(tmp_path / "elsewhere")
    report = db.videos.check_files(root=tmp_path / "elsewhere")
    assert (report.checked, report.fine) == (1, 1)
    with pytest.raises(UnreadableFile, match="media folder"):
        db.videos.check_files()


def test_without_a_media_folder_a_root_must_be_given(
    shared_database: Database, project: Project, media: Path, tmp_path: Path
) -> None:
    store = FileStore(tmp_path / "other store")
    with Database(shared_database.config, files=store) as bare:
        with pytest.raises(ConfigurationError, match="MEDIA_ROOT"):
            bare.videos.create_from_file(project.id, OPENING)
        with bare.unit_of_work() as uow:
            stored = uow.files.put(media / OPENING)
            uow.videos.create(project_id=project.id, title="Stored", storage_uri=stored.uri)
        assert bare.videos.check_files(project.id).fine == 1  # it is in the store, so no folder is wanted
        assert bare.videos.create_from_file(project.id, OPENING, root=media).storage_uri == OPENING
        with pytest.raises(ConfigurationError, match="MEDIA_ROOT"):
            bare.videos.check_files(project.id)


# ------------------------------------------------------------------------------------------- all or nothing


def refused(
    db: Database, project: Project, error: type[DatabaseHandlerError], path: "str | Path", **more: Any
) -> None:
    before = kept(db)
    with pytest.raises(error):
        db.videos.create_from_file(project.id, path, **more)
    assert db.videos.count() == 0
    assert kept(db) == before


def test_refused_files_leave_nothing(db: Database, project: Project, media: Path) -> None:
    (media / "text.mp4").write_text("no video")
    (media / "link.mp4").symlink_to(media / OPENING)
    refused(db, project, NotAVideo, "text.mp4")
    refused(db, project, NotARegularFile, "link.mp4")
    refused(db, project, NotARegularFile, "../media/" + OPENING)
    refused(db, project, UnreadableFile, "nowhere.mp4")
    refused(db, project, InvalidValue, OPENING, title="")
    refused(db, project, InvalidValue, OPENING, metadata={"bad": float("nan")})


@pytest.mark.parametrize(
    "name", ["-rf.mp4", "two\nlines.mp4", "escape\x1b.mp4", "half\udcff.mp4", "nul\0.mp4"]
)
def test_names_that_could_do_harm(db: Database, project: Project, media: Path, clip: Path, name: str) -> None:
    if "\0" not in name:
        shutil.copy(clip, media / name)
    refused(db, project, UnusableName, name)


def test_row_without_its_project_leaves_no_thumbnail(db: Database, project: Project) -> None:
    with pytest.raises(MissingReference):
        db.videos.create_from_file(uuid4(), OPENING)
    assert kept(db) == 0


def test_same_file_twice_is_a_duplicate(db: Database, project: Project, video: Video) -> None:
    with pytest.raises(DuplicateRecord):
        db.videos.create_from_file(project.id, OPENING, thumbnail=0.0)
    assert (db.videos.count(), kept(db)) == (1, 1)


def test_store_that_fails_leaves_no_row(
    shared_database: Database, project: Project, media: Path, tmp_path: Path
) -> None:
    with Database(shared_database.config, files=BrokenStore(tmp_path / "broken")) as broken:
        with pytest.raises(StoreUnavailable):
            broken.videos.create_from_file(project.id, OPENING, root=media)
        assert broken.videos.count() == 0


def test_unit_that_is_rolled_back_leaves_what_a_sweep_removes(db: Database, project: Project) -> None:
    with db.unit_of_work() as uow:
        uow.videos.create_from_file(project.id, OPENING)
        uow.rollback()
    assert (db.videos.count(), kept(db)) == (0, 1)
    assert db.files.sweep().removed == 1
    assert kept(db) == 0


def test_two_round_trips_and_one_in_a_unit(db: Database, project: Project, media: Path, clip: Path) -> None:
    for number in range(3):
        shutil.copy(clip, media / f"{number}.mp4")
    with (
        CountingProxy(db.config) as proxy,
        Database(proxy.config.with_(pool_size=1, max_overflow=0), files=db.files.store) as counted,
    ):
        counted.videos.create_from_file(project.id, "0.mp4", root=media)  # connects
        with proxy.counting() as trips:
            video = counted.videos.create_from_file(project.id, "1.mp4", root=media)
        assert trips.count == 2
        with proxy.counting() as trips, counted.unit_of_work() as uow:
            uow.videos.create_from_file(project.id, "2.mp4", root=media)
        assert trips.count == 1 + 1
        with proxy.counting() as trips:
            counted.videos.contact_sheet(video.id, 2, root=media)
        assert trips.count == 1


# ---------------------------------------------------------------------------------------------------- check


def problem(db: Database, video: Video, **more: Any) -> "tuple[str, str] | None":
    report = db.videos.check_files(video.project_id, **more)
    assert (report.checked, report.fine) == (1, 1 - len(report.problems))
    return next(((found.part, found.problem) for found in report.problems), None)


def test_file_that_is_gone(db: Database, video: Video, media: Path) -> None:
    assert problem(db, video) is None
    (media / OPENING).unlink()
    assert problem(db, video) == problem(db, video, deep=False) == ("video", "missing")


def test_file_of_another_size_or_content(db: Database, video: Video, media: Path) -> None:
    content = bytearray((media / OPENING).read_bytes())
    content[-1] ^= 1
    (media / OPENING).write_bytes(content)
    assert problem(db, video) == ("video", "changed")
    assert problem(db, video, deep=False) is None  # only the sizes are compared
    (media / OPENING).write_bytes(content[:-1])
    assert problem(db, video, deep=False) == ("video", "changed")
    [found] = db.videos.check_files().changed
    assert found.reason == f"it has {len(content) - 1:,} bytes, and had {len(content):,}"


@pytest.mark.parametrize("made", [lambda path: path.symlink_to("/etc/passwd"), Path.mkdir, os.mkfifo])
def test_file_that_is_none_any_more(
    db: Database, video: Video, media: Path, made: Callable[[Path], object]
) -> None:
    (media / OPENING).unlink()
    made(media / OPENING)
    assert problem(db, video) == ("video", "unreadable")


def test_thumbnail_that_is_gone_or_damaged(db: Database, video: Video, tmp_path: Path) -> None:
    assert video.thumbnail_uri is not None
    stored = tmp_path / "store" / video.thumbnail_uri.removeprefix("store:")
    stored.chmod(0o600)
    stored.write_bytes(b"another picture")
    assert problem(db, video) == ("thumbnail", "changed")
    stored.unlink()
    assert problem(db, video) == problem(db, video, deep=False) == ("thumbnail", "missing")


def test_check_looks_at_many_rows_and_tells_how_far_it_is(
    db: Database, project: Project, video: Video
) -> None:
    lost = uri_of("ab" * 32)
    rows = [
        ("https://example.com/{}.mp4", 600),
        ("/absolute/{}.mp4", 2),
        ("lost/{}.mp4", 3),
        ("../{}.mp4", 1),
    ]
    db.videos.create_many(
        NewVideo(project_id=project.id, title="Row", storage_uri=form.format(number))
        for form, count in rows
        for number in range(count)
    )
    db.videos.create(project_id=project.id, title="Stored", storage_uri=lost)
    other = db.projects.create(NewProject(name="Other"))
    db.videos.create(project_id=other.id, title="Other", storage_uri="lost.mp4")
    steps: list[tuple[int, int]] = []
    report = db.videos.check_files(project.id, lambda *step: steps.append(step))
    assert steps == [(number + 1, 608) for number in range(608)]
    assert (report.checked, report.elsewhere) == (608, 602)
    assert [found.uri for found in report.missing] == [
        "lost/0.mp4",
        "lost/1.mp4",
        "lost/2.mp4",
        "../0.mp4",
        lost,
    ]
    assert report.fine == 608 - 602 - 5  # what was not looked at is not called fine
    assert db.videos.check_files().checked == 609


@pytest.mark.parametrize(
    ("path", "more", "match"),
    [
        (5, {}, "path: a path, or its text"),
        (b"scenes", {}, "path: a path, or its text"),
        (OPENING, {"root": 5}, "root: a path, or its text"),
        (OPENING, {"limits": 5}, "limits: MediaLimits"),
    ],
)
def test_what_is_no_path_is_refused_as_one(
    db: Database, project: Project, media: Path, path: Any, more: dict[str, Any], match: str
) -> None:
    with pytest.raises(InvalidValue, match=match):
        db.videos.create_from_file(project.id, path, **{"root": media, **more})


# --------------------------------------------------------------------------------------------------- sheets


def test_thumbnail_is_kept_as_jpeg_where_that_is_wanted(db: Database, project: Project) -> None:
    video = db.videos.create_from_file(project.id, OPENING, thumbnail=0, thumbnail_format="jpeg")
    assert db.files.store.read(video.thumbnail_uri or "").startswith(b"\xff\xd8\xff")


def test_contact_sheet_of_a_row(db: Database, video: Video, tmp_path: Path) -> None:
    target = tmp_path / "sheet.jpeg"
    sheet = db.videos.contact_sheet(video.id, 6, to=target, format="jpeg", longest=96)
    assert target.read_bytes() == sheet.data
    assert (sheet.width, sheet.height) == (3 * 102 + 6, 2 * 70 + 6)


def test_contact_sheet_of_a_video_in_the_store(db: Database, video: Video, media: Path) -> None:
    with db.unit_of_work() as uow:
        kept = uow.files.put(media / video.storage_uri)
        stored = uow.videos.create(project_id=video.project_id, title="kept", storage_uri=kept.uri)
    of_folder, of_store = (db.videos.contact_sheet(each.id, 6) for each in (video, stored))
    assert of_store.data == of_folder.data


def test_contact_sheet_of_what_is_not_there(
    db: Database, project: Project, video: Video, media: Path
) -> None:
    with pytest.raises(RecordNotFound):
        db.videos.contact_sheet(uuid4())
    (media / OPENING).unlink()
    with pytest.raises(UnreadableFile):
        db.videos.contact_sheet(video.id)
    remote = db.videos.create(project_id=project.id, title="Remote", storage_uri="https://example.com/a.mp4")
    with pytest.raises(Refusal):
        db.videos.contact_sheet(remote.id)
