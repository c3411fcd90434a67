"""A video is opened once, checked, and decoded in a child process from that very descriptor.

Nothing of FFmpeg or Pillow runs in the application's process. A file that is no video, broken, hostile or
too costly is refused by name of the reason; see `errors`.
"""

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal

from database_handler.content import isolation, media_kinds
from database_handler.content.errors import (
    ChangedFile,
    DamagedFile,
    EmptyFile,
    FileTooLarge,
    NotARegularFile,
    UnreadableFile,
    refusal,
)
from database_handler.content.files import Fingerprint, open_regular
from database_handler.core.exceptions import InvalidValue
from database_handler.utils.languages import canonical_language

__all__ = [
    "MediaInfo",
    "MediaLimits",
    "OpenVideo",
    "Picture",
    "PictureFormat",
    "below",
    "open_video",
    "probe",
    "thumbnail",
    "thumbnails",
]

PictureFormat = Literal["webp", "jpeg", "png"]
VIDEO = isolation.Program(
    Path(__file__).with_name("media_process.py"), reads="video", packages=("av", "PIL"), extra="media"
)
_CHUNK = 1 << 20
_FORMATS: dict[str, PictureFormat] = {"webp": "webp", "jpeg": "jpeg", "png": "png"}
_LONGEST_SIDE = 4_096
_MOST_FRAMES = 100


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """What one video may cost; beyond it is refused.

    Attributes
    ----------
    seconds : float
        The time to look at one file, its thumbnail included.
    memory_bytes : int
        The address space of the process that decodes it.
    pixels : int
        The width times the height of a frame, checked before one is decoded; the default is above 8K.
    streams : int
        Pictures, sound, subtitles and data together.
    file_bytes : int
        The size of the file.

    Raises
    ------
    InvalidValue
        One of them is no number above 0.
    """

    seconds: float = 30.0
    memory_bytes: int = 2 << 30
    pixels: int = 40_000_000
    streams: int = 100
    file_bytes: int = 1 << 40

    def __post_init__(self) -> None:
        isolation.refuse_limits(self)


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a video file says of itself.

    Attributes
    ----------
    container : str
        ``mp4``, ``mov``, ``3gp``, ``webm``, ``matroska``, ``avi``, ``mpegts``, ``mpeg``, ``ogg``, ``flv``,
        ``asf`` or ``mxf``: read from the bytes.
    duration : float
        Seconds; measured where the file states none.
    width, height : int
        Pixels of a picture as it is shown: turned, and its pixels made square.
    coded_width, coded_height : int
        Pixels of a picture as it is stored.
    rotation : int
        Degrees clockwise by which a picture is turned to be shown: 0, 90, 180 or 270.
    frame_rate : float or None
        Frames a second, on average.
    bit_rate : int
        Bits a second, all streams together.
    codecs : tuple of str
        Each once, in the order of the streams.
    audio_languages, subtitle_languages : tuple of str
        BCP 47 tags, each once, in the order of the streams; what states none is left out.
    streams : tuple of dict
        What is known of each stream, as JSON.
    """

    container: str
    size_bytes: int
    duration: float
    width: int
    height: int
    coded_width: int
    coded_height: int
    rotation: int
    frame_rate: float | None
    bit_rate: int
    codecs: tuple[str, ...]
    audio_languages: tuple[str, ...]
    subtitle_languages: tuple[str, ...]
    streams: tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture.

    Attributes
    ----------
    at : float or None
        The second of the video that it shows; None for a sheet of several.
    """

    data: bytes
    format: PictureFormat
    width: int
    height: int
    at: float | None = None

    @property
    def checksum(self) -> str:
        """Return the SHA-256 of the picture's bytes."""
        return hashlib.sha256(self.data).hexdigest()

    def save(self, path: str | Path) -> Path:
        """Write the picture to a file, whole or not at all, in place of one that is there.

        Raises
        ------
        InvalidValue
            It cannot be written there.
        """
        target = path_of(path, "to")
        partial = target.parent / f".{token_hex(8)}.part"
        try:
            with partial.open("xb") as file:
                file.write(self.data)
            partial.replace(target)
        except (OSError, ValueError) as error:
            failure = InvalidValue(f"the picture cannot be written there: {_why(error)}")
        else:
            return target
        with suppress(OSError, ValueError):
            partial.unlink(missing_ok=True)
        raise failure


class OpenVideo:
    """A video whose file is open and checked; made by `open_video`."""

    def __init__(self, descriptor: int, limits: MediaLimits) -> None:
        self._descriptor, self._limits = descriptor, limits
        self._found = os.fstat(descriptor)
        self.size_bytes = self._found.st_size
        if not self.size_bytes:
            raise EmptyFile("the file has no bytes")
        if self.size_bytes > limits.file_bytes:
            raise FileTooLarge(f"the file is larger than {limits.file_bytes:,} bytes")
        with _reading():
            self._container = media_kinds.container_of(os.pread(descriptor, media_kinds.HEAD, 0))
            media_kinds.refuse_cut_short(descriptor, self.size_bytes, self._container)

    @cached_property
    def info(self) -> MediaInfo:
        """What the file says of itself; at least one frame was decoded."""
        return self._ask(None)[0]

    def thumbnail(
        self, at: float | None = None, *, longest: int = 640, format: PictureFormat = "webp"
    ) -> Picture:
        """Return the frame of a time in seconds, or the sharpest of a few, blank ones left aside.

        Parameters
        ----------
        longest : int
            Pixels of the longer side, at most; a smaller frame is not made larger.
        """
        return self._picture({"at": _seconds(at), "count": 0, "longest": _side(longest), "format": format})

    def thumbnails(self, count: int = 12, *, longest: int = 320, format: PictureFormat = "webp") -> Picture:
        """Return a contact sheet: frames evenly spread over the video, with their times, as one picture.

        Parameters
        ----------
        count : int
            1 to 100 frames.
        longest : int
            Pixels of the longer side of one frame, at most.
        """
        if type(count) is not int or not 1 <= count <= _MOST_FRAMES:
            raise InvalidValue(f"thumbnails: 1 to {_MOST_FRAMES} frames make a sheet")
        return self._picture({"at": None, "count": count, "longest": _side(longest), "format": format})

    def fingerprint(self) -> Fingerprint:
        """Return the size and SHA-256 of the file, read piece by piece.

        Raises
        ------
        ChangedFile
            Somebody wrote to it since it was opened.
        """
        digest = hashlib.sha256()
        with _reading():
            for at in range(0, self.size_bytes, _CHUNK):
                digest.update(os.pread(self._descriptor, min(_CHUNK, self.size_bytes - at), at))
        self._refuse_changed()
        return Fingerprint(self.size_bytes, digest.hexdigest())

    def _refuse_changed(self) -> None:
        now = os.fstat(self._descriptor)
        if (now.st_size, now.st_mtime_ns) != (self._found.st_size, self._found.st_mtime_ns):
            raise ChangedFile

    def _picture(self, wanted: Mapping[str, object]) -> Picture:
        kind = _format(wanted["format"])
        info, size, data = self._ask(wanted)
        # Whatever was asked for, the file has been probed with it.
        self.__dict__.setdefault("info", info)
        return Picture(data, kind, size["width"], size["height"], size["at"])

    def _ask(self, wanted: Mapping[str, object] | None) -> tuple[MediaInfo, dict[str, Any], bytes]:
        limits = self._limits
        answer, data = isolation.ask(
            {
                "demuxer": self._container.demuxer,
                "size": self.size_bytes,
                "pixels": limits.pixels,
                "streams": limits.streams,
                "picture": wanted,
            },
            b"",
            seconds=limits.seconds,
            memory_bytes=limits.memory_bytes,
            program=VIDEO,
            file=self._descriptor,
        )
        self._refuse_changed()
        if answer.get("refused") == "beyond":
            raise InvalidValue(f"at: {answer['message']}")
        if "refused" in answer:
            raise refusal(answer["refused"], answer["message"])
        return _info(answer, self._container.name, self.size_bytes), answer.get("picture", {}), data


@contextmanager
def _reading() -> Iterator[None]:
    """Raise `UnreadableFile` for what the system says of a read: a broken disk, a lost network folder."""
    try:
        yield
    except OSError as error:
        failure = UnreadableFile(f"the file cannot be read: {_why(error)}")
    else:
        return
    raise failure


def _why(error: OSError | ValueError) -> str:
    return os.strerror(error.errno or 0).lower() if isinstance(error, OSError) else "the path holds a NUL"


@contextmanager
def open_video(
    path: str | Path, *, root: str | Path | None = None, limits: MediaLimits | None = None
) -> Iterator[OpenVideo]:
    """Open a video for as long as the block lasts; everything is read from this one open file.

    Parameters
    ----------
    path : str or Path
        A regular file, reached through no link where a root is given.
    root : str or Path, optional
        The folder that the file must lie below; `path` is then relative to it, or absolute and below it.

    Raises
    ------
    Refusal
        `NotAVideo`, `DamagedFile`, `UnsafeMedia`, `NotARegularFile` and others: one class for each reason.
    MissingExtra
        The `media` extra is not installed.
    """
    isolation.require(VIDEO)
    allowed = _limits(limits)
    folder = None if root is None else path_of(root, "root")
    asked = path_of(path, "path") if folder is None else below(path, folder)
    with open_regular(asked, root=folder) as file:
        yield OpenVideo(file.fileno(), allowed)


def probe(
    path: str | Path, root: str | Path | None = None, *, limits: MediaLimits | None = None
) -> MediaInfo:
    """Return what a video file says of itself; see `open_video`."""
    with open_video(path, root=root, limits=limits) as video:
        return video.info


def thumbnail(
    path: str | Path,
    root: str | Path | None = None,
    *,
    at: float | None = None,
    longest: int = 640,
    format: PictureFormat = "webp",
    limits: MediaLimits | None = None,
) -> Picture:
    """Return one frame of a video file; see `OpenVideo.thumbnail`."""
    with open_video(path, root=root, limits=limits) as video:
        return video.thumbnail(at, longest=longest, format=format)


def thumbnails(
    path: str | Path,
    count: int = 12,
    root: str | Path | None = None,
    *,
    longest: int = 320,
    format: PictureFormat = "webp",
    limits: MediaLimits | None = None,
) -> Picture:
    """Return a contact sheet of a video file; see `OpenVideo.thumbnails`."""
    with open_video(path, root=root, limits=limits) as video:
        return video.thumbnails(count, longest=longest, format=format)


def below(path: str | Path, root: Path) -> Path:
    """Return a path relative to the root: as it is when it is relative, else by the text of both.

    Raises
    ------
    NotARegularFile
        It leads out of the root.
    InvalidValue
        It is no path.
    """
    asked = path_of(path, "path")
    if asked.is_absolute():
        folder = root.absolute()
        asked = asked.relative_to(folder) if asked.is_relative_to(folder) else Path("..")
    if not asked.parts or ".." in asked.parts:
        raise NotARegularFile("the path leads out of the folder; only files below it are read")
    return asked


def path_of(value: object, name: str) -> Path:
    """Return a path that was given as one or as text, or raise `InvalidValue` with the argument's name."""
    if isinstance(value, str | Path):
        return Path(value)
    raise InvalidValue(f"{name}: a path, or its text, is wanted, not {type(value).__name__}")


def _limits(value: object) -> MediaLimits:
    if value is None or isinstance(value, MediaLimits):
        return value or MediaLimits()
    raise InvalidValue(f"limits: MediaLimits are wanted, not {type(value).__name__}")


def _seconds(at: object) -> float | None:
    if at is None or (type(at) in (int, float) and isinstance(at, int | float) and 0 <= at < math.inf):
        return at
    raise InvalidValue("at: seconds from 0 on, or None for the sharpest of a few frames")


def _side(longest: object) -> int:
    if type(longest) is int and 16 <= longest <= _LONGEST_SIDE:
        return longest
    raise InvalidValue(f"longest: 16 to {_LONGEST_SIDE:,} pixels")


# ------------------------------------------------------------------------------------------------- the answer


def _info(answer: Mapping[str, Any], container: str, size: int) -> MediaInfo:
    """Make the value of the child's answer, which is believed no further than its types."""
    try:
        streams = tuple(_stream(each) for each in answer["streams"])
        (width, height), (coded_width, coded_height) = answer["shown"], answer["coded"]
        duration = _finite(answer["duration"])
        return MediaInfo(
            container=container,
            size_bytes=size,
            duration=duration,
            width=int(width),
            height=int(height),
            coded_width=int(coded_width),
            coded_height=int(coded_height),
            rotation=int(answer["rotation"]),
            frame_rate=answer["frame_rate"] and _finite(answer["frame_rate"]),
            bit_rate=_bit_rate(answer["bit_rate"], size, duration),
            codecs=_each_once(stream.get("codec") for stream in streams),
            audio_languages=_each_once(s.get("language") for s in streams if s["type"] == "audio"),
            subtitle_languages=_each_once(s.get("language") for s in streams if s["type"] == "subtitle"),
            streams=streams,
        )
    except (KeyError, TypeError, ValueError, ArithmeticError):
        failure = DamagedFile("the video states what cannot be")
    raise failure


def _finite(number: object) -> float:
    value = float(number) if isinstance(number, int | float) else math.nan
    if not 0 <= value < math.inf:
        raise ValueError
    return value


def _bit_rate(stated: object, size: int, duration: float) -> int:
    if isinstance(stated, int) and 0 < stated < 2**63:
        return stated
    return round(size * 8 / duration) if duration else 0


def _each_once(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if isinstance(value, str)))


def _stream(stated: Mapping[str, Any]) -> dict[str, Any]:
    plain = {name: value for name, value in stated.items() if isinstance(value, str | int | float)}
    language = _language(plain.pop("language", None))
    return plain if language is None else plain | {"language": language}


def _language(stated: object) -> str | None:
    """Return the BCP 47 tag of what a stream states (mostly three letters of ISO 639-2), if it means one."""
    try:
        tag = canonical_language(stated)
    except InvalidValue:
        return None
    return None if tag.split("-")[0] in _NO_LANGUAGE else tag


_NO_LANGUAGE = ("und", "mul", "zxx", "mis")


def _format(name: object) -> PictureFormat:
    known = _FORMATS.get(name) if isinstance(name, str) else None
    if known is None:
        raise InvalidValue("format: webp, jpeg or png")
    return known
