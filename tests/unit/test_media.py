"""Looking at videos: what is told of real ones of many kinds, and the pictures that are taken of them."""

import hashlib
import io
import struct
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from database_handler.content import isolation, media
from database_handler.content.errors import ChangedFile
from database_handler.content.media import MediaInfo, MediaLimits, Picture
from database_handler.core.exceptions import InvalidValue, MissingExtra
from tests.support.media import Recipe, frame, make, turned

KINDS = {
    "mp4": ("mp4", Recipe(codec="libx264", audio=("ger", "eng")), ("h264", "aac")),
    "mov": ("mov", Recipe(codec="mpeg4"), ("mpeg4",)),
    "3gp": ("3gp", Recipe(codec="mpeg4"), ("mpeg4",)),
    "webm": ("webm", Recipe(codec="libvpx-vp9", audio=("pt-BR",), sound="libopus"), ("vp9", "opus")),
    "matroska": (
        "matroska",
        Recipe(audio=("jpn", "zho", "und"), subtitles=("fre", "por")),
        ("mpeg4", "aac", "subrip"),
    ),
    "avi": ("avi", Recipe(codec="mjpeg"), ("mjpeg",)),
    "mpegts": ("mpegts", Recipe(codec="mpeg2video", rate=25, frames=50), ("mpeg2video",)),
    "mpeg": ("mpeg", Recipe(codec="mpeg1video", rate=25, frames=50), ("mpeg1video",)),
    "ogg": ("ogg", Recipe(codec="libvpx"), ("vp8",)),
    "flv": ("flv", Recipe(codec="libx264"), ("h264",)),
    "asf": ("asf", Recipe(codec="msmpeg4"), ("msmpeg4v3",)),
    "mxf": ("mxf", Recipe(codec="mpeg2video", rate=25, frames=50), ("mpeg2video",)),
}
UNKNOWN_FORMAT: Any = "bmp"
LANGUAGES = {"mp4": (("de", "en"), ()), "webm": (("pt-BR",), ()), "matroska": (("ja", "zh"), ("fr", "pt"))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def clip(folder: Path) -> Path:
    """Two seconds at ten frames a second."""
    return make(folder / "clip.mp4", "mp4", Recipe(codec="libx264"))


def shown(picture: Picture) -> Image.Image:
    return Image.open(io.BytesIO(picture.data)).convert("RGB")


def unlike(one: Image.Image, other: Image.Image) -> float:
    """Return by how many levels of 255 two pictures differ on average."""
    assert one.size == other.size
    return sum(ImageStat.Stat(ImageChops.difference(one, other)).mean) / 3


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_says_what_it_is(folder: Path, kind: str) -> None:
    container, recipe, codecs = KINDS[kind]
    path = make(folder / f"a.{kind}", container, recipe)
    info = media.probe(path)
    assert (info.container, info.codecs, info.size_bytes) == (kind, codecs, path.stat().st_size)
    assert info.duration == pytest.approx(2, abs=0.25)
    assert (info.width, info.height, info.rotation) == (96, 64, 0)
    assert info.frame_rate == recipe.rate
    assert info.bit_rate == pytest.approx(info.size_bytes * 8 / info.duration, rel=0.05)
    assert (info.audio_languages, info.subtitle_languages) == LANGUAGES.get(kind, ((), ()))
    assert [stream["index"] for stream in info.streams] == list(range(len(info.streams)))
    sheet = media.thumbnails(path, 4, longest=96, format="png")
    taken = shown(sheet).crop((6, 6, 102, 70))
    assert unlike(taken.crop((0, 0, 96, 40)), frame(4, recipe).crop((0, 0, 96, 40))) < 20


def test_streams_are_described(folder: Path) -> None:
    path = make(folder / "described.mkv", "matroska", Recipe(audio=("ger",), subtitles=("eng",)))
    pictures, sound, text = media.probe(path).streams
    assert (pictures["type"], pictures["width"], pictures["pixel_format"]) == ("video", 96, "yuv420p")
    assert (sound["type"], sound["language"], sound["sample_rate"], sound["channels"]) == (
        "audio",
        "de",
        48_000,
        2,
    )
    assert text == {"index": 2, "type": "subtitle", "codec": "subrip", "language": "en"}


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_pictures_are_turned_as_the_file_asks(folder: Path, clip: Path, degrees: int) -> None:
    path = folder / f"turned{degrees}.mp4"
    path.write_bytes(turned(clip.read_bytes(), degrees))
    info = media.probe(path)
    assert (info.rotation, info.coded_width, info.coded_height) == (degrees, 96, 64)
    assert (info.width, info.height) == ((64, 96) if degrees % 180 else (96, 64))
    upright = frame(10, Recipe())
    expected = upright.rotate(-degrees, expand=True)  # Pillow turns against the clock
    assert unlike(shown(media.thumbnail(path, at=1.0, format="png")), expected) < 12
    # One frame alone makes a sheet of its own size, and a margin.
    tile = shown(media.thumbnails(path, 1, format="png")).crop((6, 6, 6 + info.width, 6 + info.height))
    assert unlike(tile, expected) < 40  # the label lies on it


def test_pixels_that_are_not_square_are_made_so(folder: Path) -> None:
    info = media.probe(make(folder / "wide.mp4", "mp4", Recipe(aspect=Fraction(4, 3))))
    assert (info.width, info.height, info.coded_width) == (128, 64, 96)
    assert media.thumbnail(folder / "wide.mp4").width == 128


def test_varying_rate_single_frame_and_unstated_length(folder: Path) -> None:
    varying = make(folder / "vfr.mp4", "mp4", Recipe(frames=6, times=(0, 1, 2, 10, 11, 40)))
    assert media.probe(varying).duration == pytest.approx(4.1)
    assert media.thumbnail(varying, at=3.0).at == 3.0
    single = media.probe(make(folder / "one.mp4", "mp4", Recipe(frames=1)))
    assert single.duration == pytest.approx(0.1)
    assert media.thumbnail(folder / "one.mp4").width == 96
    recording = make(folder / "live.webm", "webm", Recipe(codec="libvpx"))
    data = bytearray(recording.read_bytes())
    at = data.index(b"\x44\x89\x88")  # the length, turned into padding that readers pass over
    data[at : at + 3] = b"\xec\x40\x08"
    recording.write_bytes(data)
    assert media.probe(recording).duration == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("stated", [1e15, float("inf"), float("nan"), -1.0])
def test_length_that_cannot_be_is_measured(folder: Path, stated: float) -> None:
    data = bytearray(make(folder / "liar.mkv", "matroska").read_bytes())
    at = data.index(b"\x44\x89\x88") + 3
    data[at : at + 8] = struct.pack(">d", stated)
    (folder / "liar.mkv").write_bytes(data)
    assert media.probe(folder / "liar.mkv").duration == pytest.approx(2.0, abs=0.1)


# ----------------------------------------------------------------------------------------------- thumbnails


def test_thumbnail_shows_the_chosen_time(clip: Path) -> None:
    picture = media.thumbnail(clip, at=1.25, format="png")
    assert (picture.width, picture.height, picture.at) == (96, 64, 1.25)
    differences = {number: unlike(shown(picture), frame(number, Recipe())) for number in range(20)}
    assert min(differences, key=lambda number: differences[number]) == 12


def test_thumbnail_is_the_sharpest_that_is_not_blank(folder: Path) -> None:
    sharp = range(10, 14)
    recipe = Recipe(
        codec="libx264",
        gop=1,
        black=tuple(range(8)),
        blurred=tuple(number for number in range(8, 20) if number not in sharp),
    )
    picture = media.thumbnail(make(folder / "soft.mp4", "mp4", recipe))
    assert picture.at is not None
    assert int(picture.at * 10) in sharp


def test_noise_is_no_picture_though_it_is_sharp(folder: Path) -> None:
    dark = tuple(range(12))
    recipe = Recipe(codec="ffv1", gop=1, grainy=dark, blurred=tuple(range(12, 20)))
    picture = media.thumbnail(make(folder / "dark.mkv", "matroska", recipe))
    assert picture.at is not None
    assert int(picture.at * 10) not in dark


@pytest.mark.parametrize(
    ("format", "magic"), [("webp", b"RIFF"), ("jpeg", b"\xff\xd8\xff"), ("png", b"\x89PNG")]
)
def test_thumbnail_in_each_format(clip: Path, format: media.PictureFormat, magic: bytes) -> None:
    picture = media.thumbnail(clip, format=format, longest=48)
    assert picture.data.startswith(magic)
    assert shown(picture).size == (picture.width, picture.height) == (48, 32)
    assert picture.checksum == hashlib.sha256(picture.data).hexdigest()


def test_contact_sheet_shows_the_video_in_order(clip: Path) -> None:
    with media.open_video(clip) as video:
        sheet = video.thumbnails(6, longest=96, format="png")
    assert sheet.at is None
    image = shown(sheet)
    assert image.size == (3 * 102 + 6, 2 * 70 + 6)
    bars = []
    for place in range(6):
        left, top = 6 + place % 3 * 102, 6 + place // 3 * 70
        # The bar at the foot grows with the time; the label covers its left end.
        foot = [image.getpixel((left + x, top + 61)) for x in range(96)]
        bars.append(sum(1 for pixel in foot if isinstance(pixel, tuple) and pixel[0] > pixel[2] + 60))
    assert bars == sorted(bars)
    assert len(set(bars)) >= 4


def test_one_open_video_answers_everything_from_one_file(clip: Path) -> None:
    with media.open_video(clip) as video:
        first = video.thumbnail(0.0)
        assert first.at == 0
        assert isinstance(video.info, MediaInfo)
        assert video.fingerprint().checksum == hashlib.sha256(clip.read_bytes()).hexdigest()


def test_decoding_process_stays_for_the_next_file(clip: Path) -> None:
    media.probe(clip)
    before = isolation.processes()
    media.thumbnail(clip)
    media.thumbnails(clip, 3)
    assert isolation.processes() == before


def test_file_written_to_meanwhile_is_refused(folder: Path, clip: Path) -> None:
    growing = folder / "growing.mp4"
    growing.write_bytes(clip.read_bytes())
    with media.open_video(growing) as video, growing.open("ab") as writer:
        writer.write(b"more")
        writer.flush()
        with pytest.raises(ChangedFile):
            video.fingerprint()
        with pytest.raises(ChangedFile):
            _ = video.info


def test_picture_is_written_whole_or_not_at_all(folder: Path, clip: Path) -> None:
    picture = media.thumbnail(clip)
    target = picture.save(folder / "picture.webp")
    assert target.read_bytes() == picture.data
    with pytest.raises(InvalidValue, match="cannot be written there: no such file or directory"):
        picture.save(folder / "nowhere" / "picture.webp")
    assert not list(folder.glob(".*.part"))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: media.thumbnail(path, at=2.5), "the video ends at 2.000 s"),
        (lambda path: media.thumbnail(path, at=-1), "seconds from 0 on"),
        (lambda path: media.thumbnail(path, at=float("nan")), "seconds from 0 on"),
        (lambda path: media.thumbnail(path, longest=8), "16 to 4,096 pixels"),
        (lambda path: media.thumbnails(path, 0), "1 to 100 frames"),
        (lambda path: media.thumbnails(path, 101), "1 to 100 frames"),
        (lambda path: media.thumbnails(path, format=UNKNOWN_FORMAT), "webp, jpeg or png"),
        (
            lambda path: media.probe(path, limits=MediaLimits(seconds=float("nan"))),
            "seconds is a number above",
        ),
        (lambda path: media.probe(path, limits=MediaLimits(pixels=0)), "pixels is a whole number above 0"),
    ],
)
def test_wrong_arguments_are_named(clip: Path, call: Callable[[Path], object], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        call(clip)


def test_missing_extra_is_named(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra, match=r"database-handler\[media\]"):
        media.probe(clip)


def test_path_below_a_root(folder: Path, clip: Path) -> None:
    inside = folder / "sub" / "inside.mp4"
    inside.parent.mkdir()
    inside.write_bytes(clip.read_bytes())
    by_relative = media.probe("sub/inside.mp4", folder)
    assert by_relative == media.probe(inside, folder) == media.probe(clip, limits=MediaLimits(streams=1))
