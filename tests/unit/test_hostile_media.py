"""Videos that are broken or mean harm: each costs one refusal, and neither a process nor a byte elsewhere."""

import os
import random
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from database_handler.content import isolation, media
from database_handler.content.errors import (
    DamagedFile,
    EmptyFile,
    ExtractionTimeout,
    FileTooLarge,
    NotARegularFile,
    NotAVideo,
    Refusal,
    UnreadableFile,
)
from database_handler.content.media import MediaLimits
from tests.support.media import Recipe, box_edited, make

SOURCES = {
    "mp4": ("mp4", Recipe(codec="libx264", audio=("eng",))),
    "webm": ("webm", Recipe(codec="libvpx")),
    "mkv": ("matroska", Recipe(subtitles=("eng",))),
    "avi": ("avi", Recipe()),
    "asf": ("asf", Recipe(codec="msmpeg4")),
    "mxf": ("mxf", Recipe(codec="mpeg2video", rate=25)),
    "ts": ("mpegts", Recipe(codec="mpeg2video", rate=25)),
    "mpg": ("mpeg", Recipe(codec="mpeg1video", rate=25)),
    "ogg": ("ogg", Recipe(codec="libvpx")),
    "flv": ("flv", Recipe(codec="libx264")),
}
STATES_ITS_SIZE = ("mp4", "webm", "mkv", "avi", "asf", "mxf")
PATIENCE = 10.0  # seconds; the limit on one file is 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a good video of each kind, `source.avi` and so on."""
    folder = tmp_path_factory.mktemp("hostile")
    for kind, (container, recipe) in SOURCES.items():
        make(folder / f"source.{kind}", container, recipe)
    return folder


@pytest.fixture(scope="module")
def sources(folder: Path) -> dict[str, bytes]:
    return {kind: (folder / f"source.{kind}").read_bytes() for kind in SOURCES}


@pytest.fixture(autouse=True)
def nothing_is_left(folder: Path) -> Iterator[None]:
    """Each test leaves the children that may stay, and no file that it did not write."""
    yield
    assert len(isolation.processes()) <= 2 * isolation.PROCESSES
    assert not [path for path in folder.rglob("*") if path.name.startswith(".") or path.suffix == ".part"]


def looked_at(path: Path, limits: MediaLimits | None = None) -> str:
    """Do everything with a file that can be done; returns the reason of its refusal, or `taken`."""
    started = time.monotonic()
    try:
        with media.open_video(path, limits=limits) as video:
            info = video.info
            assert info.width * info.height <= 40_000_000
            assert 0 <= info.duration < 1e9
            video.thumbnail()
            video.thumbnails(4)
            outcome = "taken"
    except Refusal as error:
        outcome = error.reason
    assert time.monotonic() - started < PATIENCE
    return outcome


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def gone(pid: int) -> bool:
    """Return whether a process has ended, and has been waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


# --------------------------------------------------------------------------------------------------- broken


@pytest.mark.parametrize("kind", SOURCES)
def test_cut_at_many_points(folder: Path, sources: dict[str, bytes], kind: str) -> None:
    whole = sources[kind]
    outcomes = [looked_at(written(folder / "cut", whole[: len(whole) * cut // 10])) for cut in range(10)]
    assert outcomes[0] == "empty"
    if kind in STATES_ITS_SIZE:
        assert set(outcomes[1:]) == {"damaged"}
    else:  # a stream has no end of its own: what is there is a video, or is not
        assert set(outcomes[1:]) <= {"damaged", "taken"}
    assert looked_at(written(folder / "cut", whole)) == "taken"


@pytest.mark.parametrize("kind", SOURCES)
def test_bits_turned_over(folder: Path, sources: dict[str, bytes], kind: str) -> None:
    seed = 20_261_122
    chance = random.Random(f"{seed} {kind}")
    for _ in range(8):
        data = bytearray(sources[kind])
        for _ in range(chance.choice((1, 8, 64, 512))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        outcome = looked_at(written(folder / "flipped", bytes(data)))
        assert outcome in {"taken", "damaged", "not_video", "unsafe_media", "unsupported"}, f"seed {seed}"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", EmptyFile),
        (b"Not a video at all. " * 300, NotAVideo),
        (b"\0" * 5_000, NotAVideo),
        (b"\x89PNG\r\n\x1a\n" + bytes(400), NotAVideo),
        (b"\0\0\0\x1cftypavif" + bytes(400), NotAVideo),
        (b"ID3\x04" + bytes(400), NotAVideo),
        (b"\0\0\0\x18ftypisom" + bytes(400), DamagedFile),
        (b"\x1aE\xdf\xa3" + bytes(400), DamagedFile),
        (b"G" + bytes(187) + b"G" + bytes(187), DamagedFile),
    ],
)
def test_renamed_files_are_no_videos(folder: Path, content: bytes, reason: type[Refusal]) -> None:
    with pytest.raises(reason):
        media.probe(written(folder / "renamed.mp4", content))


def test_sound_and_covers_are_no_videos(folder: Path) -> None:
    make(folder / "sound.mp4", "mp4", Recipe(frames=0, audio=("eng",)))
    with pytest.raises(NotAVideo, match="holds sound, and no moving pictures"):
        media.probe(folder / "sound.mp4")
    make(folder / "cover.mkv", "matroska", Recipe(frames=0, audio=("eng",), cover=True))
    with pytest.raises(NotAVideo, match="holds sound, and no moving pictures"):
        media.probe(folder / "cover.mkv")


# ----------------------------------------------------------------------------------------------- too costly


def test_declared_size_is_refused_before_decoding(folder: Path) -> None:
    data = make(
        folder / "raw.mkv", "matroska", Recipe(codec="rawvideo", size=(300, 200), frames=1)
    ).read_bytes()
    width, height = b"\xb0\x82\x01\x2c", b"\xba\x81\xc8"
    assert (data.count(width), data.count(height)) == (1, 1)
    bomb = data.replace(width, b"\xb0\x82\xff\xff").replace(height, b"\xba\x81\xff")
    assert looked_at(written(folder / "bomb.mkv", bomb), MediaLimits(pixels=10_000_000)) == "unsafe_media"
    assert looked_at(folder / "source.avi", MediaLimits(pixels=96 * 64 - 1)) == "unsafe_media"
    assert looked_at(folder / "source.avi", MediaLimits(pixels=96 * 64)) == "taken"


def test_too_many_streams(folder: Path, sources: dict[str, bytes]) -> None:
    def with_tracks(count: int) -> bytes:
        def multiplied(moov: bytes) -> bytes:
            at = moov.index(b"trak") - 4
            end = at + int.from_bytes(moov[at : at + 4], "big")
            return moov[:at] + moov[at:end] * count + moov[end:]

        return box_edited(plain, (b"moov",), multiplied)

    plain = make(folder / "plain.mp4", "mp4").read_bytes()
    assert looked_at(written(folder / "tracks.mp4", with_tracks(100))) == "taken"
    assert looked_at(written(folder / "tracks.mp4", with_tracks(101))) == "unsafe_media"
    assert looked_at(written(folder / "tracks.mp4", with_tracks(10_000))) == "unsafe_media"


@pytest.mark.parametrize("size", [0, 1, 100])
def test_thousand_million_frames_promised(folder: Path, size: int) -> None:
    data = bytearray(make(folder / "promise.mp4", "mp4").read_bytes())
    for table, offset in ((b"stsz", 12), (b"stts", 12)):
        at = data.index(table) + offset
        data[at : at + 4] = struct.pack(">I", 10**9)
    at = data.index(b"stsz") + 8
    data[at : at + 4] = struct.pack(">I", size)
    assert looked_at(written(folder / "promise.mp4", bytes(data))) in {"damaged", "unsafe_media"}


def test_length_promised_by_an_avi_is_not_believed(folder: Path, sources: dict[str, bytes]) -> None:
    data = bytearray(sources["avi"])
    for at in (data.index(b"avih") + 24, data.index(b"strh") + 40):
        data[at : at + 4] = struct.pack("<I", 10**9)
    assert media.probe(written(folder / "promise.avi", bytes(data))).duration == pytest.approx(2.0)


def test_file_without_an_end_costs_its_seconds(folder: Path) -> None:
    endless = folder / "endless.mkv"
    with endless.open("wb") as file:  # a segment of unknown size, and 8 GB of nothing that take no room
        file.write(b"\x1aE\xdf\xa3\x80\x18\x53\x80\x67\x01" + b"\xff" * 7)
        file.truncate(8 << 30)
    media.probe(folder / "source.avi")
    before = set(isolation.processes())
    with pytest.raises(ExtractionTimeout, match=r"reading the video took longer than 0\.3 s"):
        media.probe(endless, limits=MediaLimits(seconds=0.3))
    [ended] = before - set(isolation.processes())
    assert gone(ended)
    with pytest.raises(FileTooLarge):
        media.probe(endless, limits=MediaLimits(file_bytes=1 << 30))
    endless.unlink()


def test_process_that_hangs_is_killed(folder: Path) -> None:
    media.probe(folder / "source.avi")
    hanging = isolation.processes()
    for pid in hanging:
        os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ExtractionTimeout):
        media.probe(folder / "source.avi", limits=MediaLimits(seconds=0.2))
    for pid in set(isolation.processes()) & set(hanging):
        os.kill(pid, signal.SIGCONT)
    [ended] = set(hanging) - set(isolation.processes())
    assert gone(ended)
    assert looked_at(folder / "source.avi") == "taken"


def test_process_that_was_killed_is_replaced(folder: Path) -> None:
    media.probe(folder / "source.avi")
    for pid in isolation.processes():
        os.kill(pid, signal.SIGKILL)
    assert looked_at(folder / "source.avi") == "taken"


def test_memory_is_bounded(folder: Path) -> None:
    large = make(folder / "large.avi", "avi", Recipe(size=(3600, 3600), frames=1))
    little = MediaLimits(memory_bytes=190 << 20)
    assert looked_at(folder / "source.avi", little) == "taken"
    assert looked_at(large, little) in {"unsafe_media", "damaged"}


def test_process_has_no_rights_to_spare(folder: Path) -> None:
    isolation.close()
    media.probe(folder / "source.avi")
    [pid] = isolation.processes()
    limits = {
        line[:26].strip(): line[26:47].strip()
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
    }
    assert limits["Max file size"] == "0"
    assert limits["Max address space"] == str(MediaLimits().memory_bytes)
    assert limits["Max core file size"] == "0"
    assert int(limits["Max open files"]) == len(list(Path(f"/proc/{pid}/fd").iterdir())) + 1
    assert Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") == [f"PATH={os.defpath}".encode(), b""]


# ---------------------------------------------------------------------------------------- leading elsewhere


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port of this machine that nothing may connect to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server
        with pytest.raises(BlockingIOError):
            server.accept()


def playlists(port: int) -> dict[str, str]:
    there = f"http://127.0.0.1:{port}/a.ts"
    return {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{there}\n#EXTINF:9,\n/etc/passwd\n",
        "concat": f"ffconcat version 1.0\nfile {there}\nfile /etc/passwd\n",
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 33\n",
        "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
        f"<BaseURL>{there}</BaseURL></Period></MPD>",
        "asf": f"[Reference]\r\nRef1={there}\r\n",
    }


@pytest.mark.parametrize("kind", ["hls", "concat", "sdp", "dash", "asf"])
def test_playlists_lead_nowhere(folder: Path, listener: socket.socket, kind: str) -> None:
    path = written(folder / "list.mp4", playlists(listener.getsockname()[1])[kind].encode())
    with pytest.raises(NotAVideo):
        media.probe(path)
    # And if the demuxer of the playlist were chosen after all, its process can open nothing.
    with path.open("rb") as file:
        answer, body = isolation.ask(
            {"demuxer": kind, "size": path.stat().st_size, "pixels": 10**7, "streams": 9, "picture": None},
            b"",
            seconds=PATIENCE,
            memory_bytes=MediaLimits().memory_bytes,
            program=media.VIDEO,
            file=file.fileno(),
        )
    assert answer["refused"] in {"damaged", "unsafe_media"}
    assert body == b""


def test_references_inside_a_container_lead_nowhere(folder: Path, listener: socket.socket) -> None:
    plain = make(folder / "referring.mp4", "mp4").read_bytes()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/a".encode() + b"\0"
    entry = struct.pack(">II", 0, 1) + struct.pack(">I4sI", 12 + len(url), b"url ", 0) + url
    where = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref")
    path = written(folder / "referring.mp4", box_edited(plain, where, lambda _: entry))
    assert looked_at(path) in {"taken", "damaged", "unsafe_media"}


# ---------------------------------------------------------------------------------------------------- names


@pytest.fixture(scope="module")
def rooted(folder: Path, sources: dict[str, bytes]) -> Path:
    root = folder / "root"
    root.mkdir()
    written(folder / "outside.avi", sources["avi"])
    written(root / "-i.mp4", sources["avi"])
    (root / "link.avi").symlink_to(folder / "outside.avi")
    (root / "up").symlink_to(folder)
    (root / "folder.mp4").mkdir()
    os.mkfifo(root / "pipe.mp4")
    return root


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../outside.avi", NotARegularFile),
        ("folder.mp4/../../outside.avi", NotARegularFile),
        ("/etc/passwd", NotARegularFile),
        ("link.avi", NotARegularFile),
        ("up/outside.avi", NotARegularFile),
        ("folder.mp4", NotARegularFile),
        ("pipe.mp4", NotARegularFile),
        ("", NotARegularFile),
        (".", NotARegularFile),
        ("/dev/zero", NotARegularFile),
        ("nul\0.mp4", UnreadableFile),
        ("half\ud800.mp4", UnreadableFile),
        ("nowhere.mp4", UnreadableFile),
        ("http://127.0.0.1/a.mp4", UnreadableFile),
        ("x" * 5_000, UnreadableFile),
    ],
)
def test_paths_that_lead_out_or_nowhere(rooted: Path, path: str, reason: type[Refusal]) -> None:
    with pytest.raises(reason):
        media.probe(path, rooted)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/stdin", "/proc/self/mem"])
def test_devices_without_a_root(path: str) -> None:
    with pytest.raises((NotARegularFile, EmptyFile)):
        media.probe(path)


def test_name_is_never_an_option(rooted: Path) -> None:
    assert media.probe("-i.mp4", rooted).container == "avi"
