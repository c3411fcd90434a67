"""Videos that are made from files: the file stays where it is, its thumbnail goes into the file store.

A row holds the file's path below the media folder, so that the folder can be moved: the path is all that
differs from one machine to another, and `MEDIA_ROOT` or ``root=`` says it.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, BinaryIO, Literal
from uuid import UUID

from database_handler.core.base_model import validated_field
from database_handler.core.exceptions import ContentError, InvalidValue
from database_handler.models.video import NewVideo, Video
from database_handler.repositories.files import KeepsFiles
from database_handler.utils.arguments import checked
from database_handler.utils.validators import relative_path

if TYPE_CHECKING:
    from database_handler.content.files import Fingerprint
    from database_handler.content.media import MediaInfo, MediaLimits, OpenVideo, Picture, PictureFormat

__all__ = ["VideoFileProblem", "VideoFiles", "VideoFilesReport"]

_PAGE = 500  # rows a statement
_STORED = "store:"
_TITLE = 500  # characters
Fault = Literal["missing", "changed", "unreadable"]


@dataclass(frozen=True, slots=True)
class VideoFileProblem:
    """A video whose file, or the file of its thumbnail, is not as its row says.

    Attributes
    ----------
    part : {"video", "thumbnail"}
    uri : str
        What the row says: a path below the media folder, or a file in the store.
    problem : {"missing", "changed", "unreadable"}
        Not there; there with another size or checksum; there, but it may not or cannot be read.
    reason : str
        The same in words.
    """

    id: UUID
    part: Literal["video", "thumbnail"]
    uri: str
    problem: Fault
    reason: str


@dataclass(frozen=True, slots=True)
class VideoFilesReport:
    """What a check of a project's video files found.

    Attributes
    ----------
    checked : int
        Videos gone through.
    fine : int
        Those of them whose file and thumbnail are as the row says.
    elsewhere : int
        Those whose file is neither below the media folder nor in the file store; only the thumbnail was
        looked at, so they are never `fine`.
    problems : tuple of VideoFileProblem
        In the order of the rows.
    """

    checked: int
    fine: int
    elsewhere: int
    problems: tuple[VideoFileProblem, ...]

    @property
    def missing(self) -> tuple[VideoFileProblem, ...]:
        """Return the problems with files that are not there."""
        return self._of("missing")

    @property
    def changed(self) -> tuple[VideoFileProblem, ...]:
        """Return the problems with files that are others now."""
        return self._of("changed")

    @property
    def unreadable(self) -> tuple[VideoFileProblem, ...]:
        """Return the problems with files that cannot be read."""
        return self._of("unreadable")

    def _of(self, fault: Fault) -> tuple[VideoFileProblem, ...]:
        return tuple(found for found in self.problems if found.problem == fault)


class VideoFiles(KeepsFiles[NewVideo, Video]):
    """Reads video files into `Video` records, and looks after the files."""

    def create_from_file(
        self,
        project_id: UUID,
        path: str | Path,
        *,
        root: str | Path | None = None,
        title: str | None = None,
        translation_id: UUID | None = None,
        thumbnail: bool | float = True,
        thumbnail_format: "PictureFormat" = "webp",
        metadata: Mapping[str, Any] | None = None,
        limits: "MediaLimits | None" = None,
        id: UUID | None = None,
    ) -> Video:
        """Look at a video file and store what it is; the file itself stays where it lies.

        The file is decoded by a child process, and read through for its checksum, before anything is sent.
        Then two round trips, or one in a unit; the row and its thumbnail are never there one without the
        other.

        Parameters
        ----------
        path : str or Path
            A regular file below `root`: relative to it, or absolute. No step below it may be a link.
        root : path, optional
            Else the configured `MEDIA_ROOT`.
        title : str, optional
            Else the file's name without its ending.
        thumbnail : bool or float
            The second of the frame to keep as a picture; True for the sharpest of a few, False for none.
        thumbnail_format : {"webp", "jpeg", "png"}
            What the picture is kept as.
        limits : MediaLimits, optional
            What the file may cost: seconds, memory, pixels, streams, bytes.

        Raises
        ------
        Refusal
            The file cannot be taken: `NotAVideo`, `DamagedFile`, `UnsafeMedia`, `NotARegularFile` and the
            others of `database_handler.content`, one class for each reason.
        InvalidValue
            One of the other arguments is wrong.
        DuplicateRecord
            The project has this file.
        ConfigurationError
            No root is given or configured.
        StoreUnavailable
            The thumbnail could not be kept; no row is stored.
        """
        given = _given(project_id=project_id, title=title, translation_id=translation_id, metadata=metadata)
        picture: Picture | None = None
        with self._opened(path, root, limits) as (name, video):
            if thumbnail is not False:
                at = None if thumbnail is True else thumbnail
                picture = video.thumbnail(at, format=thumbnail_format)
            facts = _facts(name, video.info, video.fingerprint())
        draft = self.draft(**{**facts, **given, "thumbnail_uri": _uri(picture)})
        if picture is None:
            return self.create_one(draft, id=id)
        return self._created_with(draft, [picture.data], id)

    def contact_sheet(
        self,
        id: UUID | str,
        count: int = 12,
        *,
        to: str | Path | None = None,
        root: str | Path | None = None,
        longest: int = 320,
        format: "PictureFormat" = "webp",
        limits: "MediaLimits | None" = None,
    ) -> "Picture":
        """Return frames evenly spread over a video, with their times, as one picture.

        Parameters
        ----------
        count : int
            1 to 100 frames.
        to : path, optional
            Also write the picture there, whole or not at all.
        longest : int
            Pixels of the longer side of one frame, at most.

        Raises
        ------
        RecordNotFound
        Refusal
            The file is no longer there, or cannot be read.
        """
        video = self.get_by_id(id)
        opened = self._from_store if _in_store(video.storage_uri) else self._opened
        with opened(video.storage_uri, root, limits) as (_, file):
            sheet = file.thumbnails(count, longest=longest, format=format)
        if to is not None:
            sheet.save(to)
        return sheet

    @contextmanager
    def _opened(
        self, path: str | Path, root: str | Path | None, limits: "MediaLimits | None"
    ) -> "Iterator[tuple[str, OpenVideo]]":
        """Open a video below the media folder; gives its path there too."""
        from database_handler.content.media import below, open_video

        folder = self._resources.media_root(root)
        inside = below(path, folder)
        name = _usable(inside)
        with open_video(inside, root=folder, limits=limits) as video:
            yield name, video

    @contextmanager
    def _from_store(
        self, uri: str, root: str | Path | None, limits: "MediaLimits | None"
    ) -> "Iterator[tuple[str, OpenVideo]]":
        """Open a video of the file store, copied out of it, for decoders want a file."""
        from database_handler.content.media import open_video

        del root
        with TemporaryDirectory(prefix="database-handler-") as folder:
            path = Path(folder) / "video"
            with self._resources.files.open(uri) as source, path.open("xb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
            with open_video(path.name, root=folder, limits=limits) as video:
                yield uri, video

    # ------------------------------------------------------------------------------------------------ check

    @checked
    def check_files(
        self,
        project_id: UUID | None = None,
        on_progress: Callable[[int, int], object] | None = None,
        *,
        deep: bool = True,
        root: str | Path | None = None,
    ) -> VideoFilesReport:
        """Find the videos whose file or thumbnail is missing, changed or unreadable; nothing is written.

        Files are read piece by piece and rows some hundreds at a time, so memory stays flat, and no
        transaction stays open meanwhile.

        Parameters
        ----------
        project_id : UUID, optional
            Only the videos of one project.
        on_progress : callable, optional
            Called with how many videos were checked, and how many there are.
        deep : bool
            Compare checksums, for which every file is read through; otherwise only sizes.
        root : path, optional
            Else the configured `MEDIA_ROOT`.

        Raises
        ------
        UnreadableFile
            The media folder itself is not there: nothing can be said of what lies below it.
        ConfigurationError
            A row names a file below it, and there is neither `root` nor `MEDIA_ROOT`.
        """
        folder = self._media_folder(root)
        checked = elsewhere = fine = 0
        problems: list[VideoFileProblem] = []
        for video, total in self._each_video(project_id):
            seen = _in_store(video.storage_uri) or _in_folder(video.storage_uri)
            found = list(self._problems(video, folder, deep=deep))
            problems += found
            elsewhere += not seen
            fine += seen and not found
            checked += 1
            if on_progress is not None:
                on_progress(checked, total)
        return VideoFilesReport(checked, fine, elsewhere, tuple(problems))

    def _media_folder(self, root: str | Path | None) -> Path | None:
        """Return the folder to look below; None where none is named: files in the store need none."""
        from database_handler.content.errors import UnreadableFile

        if root is None and self._resources.config.media_root is None:
            return None
        folder = self._resources.media_root(root)
        if not os.path.isdir(folder):  # noqa: PTH112  # a name that is too long is none; pathlib raises
            raise UnreadableFile("the media folder is not there, or is no folder; see MEDIA_ROOT")
        return folder

    def _each_video(self, project_id: UUID | None) -> Iterator[tuple[Video, int]]:
        wanted: dict[str, Any] = {} if project_id is None else {"project_id": project_id}
        page = self.page(limit=_PAGE, total="exact", **wanted)
        total = page.total or 0
        while True:
            for video in page.items:
                yield video, total
            if page.next_cursor is None:
                return
            page = self.page(limit=_PAGE, after=page.next_cursor, **wanted)

    def _problems(self, video: Video, folder: Path | None, *, deep: bool) -> Iterator[VideoFileProblem]:
        uri, thumbnail = video.storage_uri, video.thumbnail_uri
        found = None
        if _in_store(uri):
            found = self._stored_fault(uri, deep=deep)
        elif _in_folder(uri):
            found = _fault(video, folder or self._resources.media_root(), deep=deep)
        if found is not None:
            yield VideoFileProblem(video.id, "video", uri, *found)
        if thumbnail is not None and _in_store(thumbnail):
            found = self._stored_fault(thumbnail, deep=deep)
            if found is not None:
                yield VideoFileProblem(video.id, "thumbnail", thumbnail, *found)

    def _stored_fault(self, uri: str, *, deep: bool) -> "tuple[Fault, str] | None":
        from database_handler.content.errors import FileDamaged, FileMissing

        try:
            if deep:
                self._resources.files.verify(uri)
            elif not self._resources.files.exists(uri):
                return "missing", "it is not in the file store"
        except (FileMissing, InvalidValue) as error:
            return "missing", str(error)
        except FileDamaged as error:
            return "changed", str(error)
        except ContentError as error:
            return "unreadable", str(error)
        return None


def _fault(video: Video, folder: Path, *, deep: bool) -> tuple[Fault, str] | None:
    """Compare a file with what its row says of it."""
    from database_handler.content.errors import Refusal
    from database_handler.content.files import open_regular

    try:
        with open_regular(video.storage_uri, root=folder) as file:
            return _difference(video, file, deep=deep)
    except Refusal as error:
        if os.path.lexists(folder / video.storage_uri):
            return "unreadable", str(error)
    return "missing", "there is no such file"


def _difference(video: Video, file: BinaryIO, *, deep: bool) -> tuple[Fault, str] | None:
    from database_handler.content.files import chunks

    size = os.fstat(file.fileno()).st_size
    if video.size_bytes not in (None, size):
        return "changed", f"it has {size:,} bytes, and had {video.size_bytes:,}"
    if not deep or video.checksum is None:
        return None
    digest = hashlib.sha256()
    for chunk in chunks(file, size):
        digest.update(chunk)
    return None if digest.hexdigest() == video.checksum else ("changed", "its content is another")


def _in_store(uri: str) -> bool:
    return uri.startswith(_STORED)


def _in_folder(uri: str) -> bool:
    return not (uri.startswith("/") or "://" in uri or _in_store(uri))


def _given(**fields: Any) -> dict[str, Any]:
    """Return the arguments that were given, validated before the file is read."""
    given = {name: value for name, value in fields.items() if value is not None}
    return {name: validated_field(NewVideo, name, value) for name, value in given.items()}


def _usable(path: Path) -> str:
    """Return a path as rows hold it, or refuse one that a command could take for an option, and the like."""
    from database_handler.content.errors import UnusableName

    name = path.as_posix()
    try:
        relative_path(name)
    except InvalidValue:
        failure = UnusableName()
    else:
        return name
    raise failure


def _uri(picture: "Picture | None") -> str | None:
    from database_handler.content.store import uri_of

    return None if picture is None else uri_of(picture.checksum)


def _facts(name: str, info: "MediaInfo", found: "Fingerprint") -> dict[str, Any]:
    """Return the fields of a draft that the file says."""
    return {
        "title": " ".join(Path(name).stem.split())[:_TITLE],
        "storage_uri": name,
        "checksum": found.checksum,
        "size_bytes": found.size_bytes,
        "container": info.container,
        "duration": info.duration,
        "width": info.width,
        "height": info.height,
        "frame_rate": info.frame_rate,
        "codecs": info.codecs,
        "bit_rate": info.bit_rate,
        "rotation": info.rotation,
        "audio_languages": info.audio_languages,
        "subtitle_languages": info.subtitle_languages,
        "media_info": {
            "coded_width": info.coded_width,
            "coded_height": info.coded_height,
            "streams": [dict(stream) for stream in info.streams],
        },
    }
