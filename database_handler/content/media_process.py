"""The child process that decodes video: it may crash, hang or run out of memory, and nothing else does.

Started by `isolation` as a script, like `extractor_process`, whose line to the parent it shares. With each
request comes one open file; the process gives up the right to open any other file or socket before the
first, so that nothing a video refers to is ever read. The demuxer is the one that the parent chose by the
file's first bytes, and only decoders of codecs in real use are let near them.

It is one module because a script has no package of its own to keep its parts in.
"""

import contextlib
import importlib
import importlib.util
import io
import itertools
import os
import pkgutil
import resource
import socket
import sys
from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from PIL.Image import Image

    from database_handler.content import extractor_process as child
    from database_handler.content import pictures
    from database_handler.content.extractor_process import Refused
else:

    def _beside(name: str) -> ModuleType:
        """Load a module of this folder; the package itself is not imported here."""
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    child, pictures = _beside("extractor_process"), _beside("pictures")
    Refused = child.Refused

_DECODERS = (
    "h264,hevc,libdav1d,av1,vp9,vp8,mpeg4,mpeg2video,mpeg1video,mjpeg,prores,dnxhd,dvvideo,theora,vc1,wmv3,"
    "wmv2,wmv1,msmpeg4,msmpeg4v2,msmpeg4v1,h263,flv,vp6f,vp6,svq3,cinepak,ffv1,qtrle,rawvideo,"
    "aac,mp3float,mp3,opus,vorbis,flac,alac,ac3,eac3,mp2float,mp2,dca,pcm_s16le,pcm_s16be,pcm_s24le,wmav2"
)
_TOO_MUCH = "the video takes more memory, or has more streams, than is allowed"
_SECOND = 1_000_000  # units of a container's times
_AT_ONCE = 0.001  # seconds by which times are rounded in some containers
_BEFORE = (0.0, 1.0, 10.0, float("inf"))  # seconds before a time where its frame is looked for
_SLOWEST = 10_000  # bits a second: with fewer, a length is not believed unseen
_LAST_PACKETS = 5_000  # looked at to see where a video really ends
_FEW = 6  # frames that the sharpest is chosen of
_ENOUGH = 3  # of them, when they show something
_EXTREME_ASPECT = 10
_FASTEST = 1_000  # frames a second


def main() -> None:
    """Answer requests until the parent closes the line or is gone."""
    with socket.socket(fileno=os.dup(0)) as line:
        header, _ = child.receive(line)
        sys.path[:] = header["path"]
        load()
        child.confine(header["memory_bytes"])
        one_file_more()
        child.send(line, {})
        while True:
            request, _ = child.receive(line)
            _, [file], _, _ = socket.recv_fds(line, 1, 1)
            try:
                reply = answer(request, file)
            finally:
                os.close(file)
            child.send(line, *reply)


def load() -> None:
    """Import all that decoding needs: afterwards no module can be opened any more."""
    import av
    from av.logging import set_level
    from PIL import Image

    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith(("__main__", ".datasets")):
            importlib.import_module(module.name)
    set_level(None)
    sheet = pictures.sheet([(Image.new("RGB", (32, 32)), "0:00")])
    for kind in ("webp", "jpeg", "png"):
        pictures.encoded(sheet, kind)
    if hasattr(os, "memfd_create"):
        _trial(os.memfd_create("trial"))


def _trial(file: int) -> None:
    """Look at a video that is whole, so that packages which do not fit never make one look damaged."""
    import av

    with os.fdopen(file, "w+b") as video:
        with av.open(video, "w", format="avi") as container:
            stream = container.add_stream("mpeg4", rate=1)
            stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
            container.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
            container.mux(stream.encode(None))
        request: dict[str, Any] = {
            "demuxer": "avi",
            "size": video.seek(0, os.SEEK_END),
            "pixels": 1 << 20,
            "streams": 1,
        }
        wanted = {"at": None, "count": 0, "longest": 16, "format": "png"}
        with opened(request, file) as (container, stream):
            probe(wanted, request["pixels"], container, stream)


def one_file_more() -> None:
    """Leave room for one open file, the one to decode: no other, and no socket."""
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, free + 1))


def answer(request: dict[str, Any], file: int) -> tuple[dict[str, Any], bytes]:
    """Do what one request asks; every failure is an answer too."""
    child.allow_seconds(request["seconds"])
    try:
        with opened(request, file) as (container, stream):
            return probe(request["picture"], request["pixels"], container, stream)
    except Refused as error:
        return {"refused": error.reason, "message": error.message}, b""
    except MemoryError:
        return {"refused": "unsafe_media", "message": _TOO_MUCH}, b""
    except Exception:  # noqa: BLE001 - whatever a broken video makes of the decoder is one answer
        return {"refused": "damaged", "message": "the video is cut short or broken and cannot be read"}, b""


# ------------------------------------------------------------------------------------------------------ open


class Bytes:
    """The file as far as it went when it was checked; the position that it shares with the parent stays."""

    name = ""

    def __init__(self, file: int, size: int) -> None:
        self._file, self._size, self._at = file, size, 0

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(start + offset, 0)
        return self._at

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, and none at the end."""
        data = os.pread(self._file, max(min(size, self._size - self._at), 0), self._at)
        self._at += len(data)
        return data


def _elsewhere(*_: object) -> None:
    raise Refused("unsafe_media", "the video refers to other files; none but its own is opened")


@contextlib.contextmanager
def opened(request: dict[str, Any], file: int) -> "Iterator[tuple[InputContainer, VideoStream]]":
    """Open a video by the demuxer that the parent chose, and find its moving pictures."""
    with _container(request, file, _DECODERS) as container:
        if len(container.streams) > request["streams"]:
            raise Refused("unsafe_media", f"the video has more than {request['streams']:,} streams")
        stream = _moving(container)
        if not _area(stream):
            # Decoders that refuse a picture of this size also forget what the container says of it.
            with _container(request, file, "none") as undecoded:
                _refuse_large(_area(_moving(undecoded)), request["pixels"])
        _refuse_large(_area(stream), request["pixels"])
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": _widened(request["pixels"])}
        yield container, stream


def _container(request: dict[str, Any], file: int, decoders: str) -> "InputContainer":
    import av

    return av.open(
        Bytes(file, request["size"]),
        "r",
        format=request["demuxer"],
        options={"max_pixels": _widened(request["pixels"]), "threads": "1"},
        container_options={
            "format_whitelist": request["demuxer"],
            "codec_whitelist": decoders,
            "protocol_whitelist": "none",
            "max_streams": str(request["streams"] + 1),
        },
        metadata_errors="replace",
        buffer_size=1 << 16,
        io_open=_elsewhere,
    )


def _moving(container: "InputContainer") -> "VideoStream":
    """Return the stream of moving pictures that a player would show."""
    found = [stream for stream in container.streams.video if _moves(stream)]
    if not found:
        what = (
            "sound" if container.streams.audio else "a still picture" if container.streams.video else "data"
        )
        raise Refused("not_video", f"the file holds {what}, and no moving pictures")
    stream = max(
        found, key=lambda each: (bool(each.disposition & type(each.disposition).default), _area(each))
    )
    if stream.codec_context.name not in _DECODERS.split(","):
        raise Refused("unsupported", f"video in the codec {_codec(stream)} is not decoded")
    return stream


def _refuse_large(area: int, pixels: int) -> None:
    if area > pixels:
        raise Refused("unsafe_media", f"a picture of the video has more than {pixels:,} pixels")


def _widened(pixels: int) -> str:
    """Return the limit that decoders are given: they count their margins too."""
    return str(max(2 * pixels, 1 << 20))


def _moves(stream: Any) -> bool:
    """Tell moving pictures from a cover."""
    kinds = type(stream.disposition)
    still = kinds.attached_pic | kinds.still_image | kinds.timed_thumbnails
    return stream.codec_context is not None and not stream.disposition & still


def _area(stream: Any) -> int:
    return int(stream.codec_context.width) * int(stream.codec_context.height)


def _codec(stream: Any) -> str:
    return str(stream.codec_context.codec.canonical_name) if stream.codec_context else "unknown"


# ----------------------------------------------------------------------------------------------------- probe


def probe(
    wanted: dict[str, Any] | None, pixels: int, container: "InputContainer", stream: "VideoStream"
) -> tuple[dict[str, Any], bytes]:
    """Return what the file says of itself, after one frame was really decoded; and a picture, if wanted."""
    _, first = frame_at(container, stream, 0.0)
    _refuse_large(first.width * first.height, pixels)
    found: dict[str, Any] = {
        "duration": _seconds(container, container.size),
        "bit_rate": container.bit_rate,
        "frame_rate": _frame_rate(stream),
        "rotation": rotation(first),
        "coded": (first.width, first.height),
        "shown": shown(first, stream),
        "streams": [described(each) for each in container.streams],
    }
    if wanted is None:
        return found, b""
    at, picture = _taken(found, wanted, container, stream)
    size = {"at": at, "width": picture.width, "height": picture.height}
    return found | {"picture": size}, pictures.encoded(picture, wanted["format"])


def _taken(
    found: dict[str, Any], wanted: dict[str, Any], container: "InputContainer", stream: "VideoStream"
) -> "tuple[float | None, Image]":
    longest, at = wanted["longest"], wanted["at"]
    if at is not None:
        if at > found["duration"]:
            raise Refused("beyond", f"the video ends at {found['duration']:.3f} s")
        return at, _picture(frame_at(container, stream, at)[1], stream, longest)
    times = moments(found, wanted["count"])
    if not wanted["count"]:
        return max(_choice(container, stream, times, longest), key=_worth)
    slack = found["duration"] / len(times) / 2  # between two places of a sheet any moment will do
    frames = spread(container, stream, times, slack)
    return _sheet([(time, _picture(frame, stream, longest)) for time, frame in frames])


def _choice(
    container: "InputContainer", stream: "VideoStream", times: Sequence[float], longest: int
) -> "list[tuple[float, Image]]":
    """Return key frames, which cost least; also others where too few of those show something."""
    shots: dict[float, Image] = {}
    for at in times:
        for time, frame in itertools.islice(frames_from(container, stream, at), 1):
            if time not in shots:
                shots[time] = _picture(frame, stream, longest)
    if sum(not pictures.is_blank(shot) for shot in shots.values()) < _ENOUGH:
        for time, frame in spread(container, stream, times, 0.0):
            shots[time] = _picture(frame, stream, longest)
    return list(shots.items())


def _worth(shot: "tuple[float, Image]") -> tuple[bool, float]:
    return not pictures.is_blank(shot[1]), pictures.sharpness(shot[1])


def moments(found: dict[str, Any], count: int) -> list[float]:
    """Return times evenly spread over a video: so many, or a few, but no more than it has frames."""
    duration = found["duration"]
    few = min(_FEW, max(round(duration * (found["frame_rate"] or _FEW)), 1))
    return [duration * (place + 0.5) / (count or few) for place in range(count or few)]


def _seconds(container: "InputContainer", size: int) -> float:
    """Return how long the video is: as it states, or as far as its packets reach where that cannot be."""
    stated = (container.duration or 0) / _SECOND
    if stated <= 0:
        return _reach(container, 0.0, sys.maxsize) or 0.0
    if size * 8 / stated > _SLOWEST:
        return stated
    reached = _reach(container, stated, _LAST_PACKETS)
    return stated if reached is None or reached * 2 + 1 > stated else reached


def _reach(container: "InputContainer", at: float, most: int) -> float | None:
    """Return where the packets from a time on end; None when there are none, or more than `most`."""
    from av.error import FFmpegError

    end = None
    with contextlib.suppress(FFmpegError):
        container.seek(round((_start(container) + at) * _SECOND))
    for packet in itertools.islice(container.demux(), most):
        if packet.pts is not None:
            until = float((packet.pts + (packet.duration or 0)) * packet.time_base) - _start(container)
            end = until if end is None else max(end, until)
    return end


def _start(container: "InputContainer") -> float:
    """Return the time that the file gives its first moment; a recording need not begin at 0."""
    return (container.start_time or 0) / _SECOND


def _frame_rate(stream: "VideoStream") -> float | None:
    rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
    return next((float(rate) for rate in rates if rate and 0 < rate <= _FASTEST), None)


def described(stream: Any) -> dict[str, Any]:
    """Return what is known of one stream; what is not known is left out."""
    codec = stream.codec_context
    facts = {"index": stream.index, "type": stream.type, "codec": _codec(stream)}
    facts["language"] = dict(stream.metadata).get("language")
    if codec is not None and stream.type == "video":
        facts |= {"width": codec.width, "height": codec.height, "pixel_format": codec.pix_fmt}
        facts |= {"frame_rate": _frame_rate(stream), "cover": not _moves(stream)}
    if codec is not None and stream.type == "audio":
        facts |= {"sample_rate": codec.sample_rate, "channels": codec.channels, "layout": codec.layout.name}
    facts |= {"bit_rate": getattr(codec, "bit_rate", None), "profile": getattr(codec, "profile", None)}
    return {name: value for name, value in facts.items() if value or name == "index"}


# ---------------------------------------------------------------------------------------------------- frames


def frames_from(
    container: "InputContainer", stream: "VideoStream", at: float
) -> "Iterator[tuple[float, VideoFrame]]":
    """Decode from the key frame before a time on; broken packets are passed over."""
    from av.error import FFmpegError, InvalidDataError

    start = _start(container)
    try:
        container.seek(round((start + at) * _SECOND))
    except FFmpegError:  # some streams cannot be sought in: read on from here
        stream.codec_context.flush_buffers()
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except InvalidDataError:
            continue
        for frame in frames:
            yield (at if frame.time is None else frame.time - start), frame


def frame_at(
    container: "InputContainer",
    stream: "VideoStream",
    at: float,
    slack: float = 0.0,
    taken: Collection[float] = (),
) -> "tuple[float, VideoFrame]":
    """Return the frame that is shown at a time, the last one that begins no later, and when it begins.

    With `slack`, the key frame before will do when it is at most so many seconds earlier and not yet taken:
    what follows it need not be decoded then.
    """
    earliest = None
    for before in _BEFORE:  # a container without an index is sought by guessing, and may be overshot
        frames = frames_from(container, stream, max(at - before, 0.0))
        found = _last_until(at, frames, at - slack, taken)
        if found is not None and found[0] <= at + _AT_ONCE:
            return found
        earliest = earliest or found
        if before >= at:
            break
    if earliest is None:
        raise Refused("damaged", "no picture of the video can be decoded")
    return earliest


def _last_until(
    at: float, frames: "Iterator[tuple[float, VideoFrame]]", near: float, taken: Collection[float]
) -> "tuple[float, VideoFrame] | None":
    found = None
    for time, frame in frames:
        if found is not None and time > at + _AT_ONCE:
            break
        near_enough = found is None and time >= near and time not in taken
        found = time, frame
        if near_enough or time >= at:
            break
    return found


def spread(
    container: "InputContainer", stream: "VideoStream", times: Sequence[float], slack: float
) -> "Iterator[tuple[float, VideoFrame]]":
    """Return a frame at or shortly before each of some times."""
    taken: set[float] = set()
    for at in times:
        time, frame = frame_at(container, stream, at, slack, taken)
        taken.add(time)
        yield time, frame


def rotation(frame: "VideoFrame") -> int:
    """Return by how much a picture is to be turned clockwise to be shown, to the nearest quarter."""
    return round(-frame.rotation / 90) % 4 * 90


def shown(frame: "VideoFrame", stream: "VideoStream") -> tuple[int, int]:
    """Return the size of a picture as it is shown: its pixels made square, and turned."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    odd = not Fraction(1, _EXTREME_ASPECT) <= aspect <= _EXTREME_ASPECT
    width = frame.width if odd else max(round(frame.width * aspect), 1)
    return (frame.height, width) if rotation(frame) % 180 else (width, frame.height)


def _picture(frame: "VideoFrame", stream: "VideoStream", longest: int) -> "Image":
    """Return a frame as it is shown, no side longer than `longest`: made small first, then turned."""
    degrees = rotation(frame)
    width, height = pictures.fitted(*shown(frame, stream), longest)
    size = (height, width) if degrees % 180 else (width, height)
    small = frame.reformat(width=size[0], height=size[1], format="rgb24", interpolation="AREA").planes[0]
    return pictures.turned(pictures.from_rows(bytes(small), size, small.line_size), degrees)


def _sheet(shots: "Sequence[tuple[float, Image]]") -> "tuple[None, Image]":
    tenths = shots[-1][0] < 60
    return None, pictures.sheet([(tile, pictures.time_label(at, tenths=tenths)) for at, tile in shots])


if __name__ == "__main__":
    with contextlib.suppress(EOFError, ConnectionError):
        main()
