"""Real little videos, made on the spot: each frame shows an arrow that points up, and a bar that moves on."""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import Stream
from av.video.stream import VideoStream
from PIL import Image, ImageDraw, ImageFilter

UNTURNED = (1, 0, 0, 0, 1, 0, 0, 0, 1)
MATRICES = {
    90: (0, 1, 0, -1, 0, 0, 0, 0, 1),
    180: (-1, 0, 0, 0, -1, 0, 0, 0, 1),
    270: (0, -1, 0, 1, 0, 0, 0, 0, 1),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a video is to be made of; times are in seconds."""

    codec: str = "mpeg4"
    frames: int = 20
    rate: int = 10
    size: tuple[int, int] = (96, 64)
    audio: tuple[str, ...] = ()  # a language for each stream
    subtitles: tuple[str, ...] = ()
    sound: str = "aac"
    times: tuple[int, ...] = ()  # frame numbers, for a rate that varies
    gop: int = 5
    black: tuple[int, ...] = ()
    blurred: tuple[int, ...] = ()
    grainy: tuple[int, ...] = ()  # nothing but the noise of a camera in the dark
    live: bool = False  # neither length nor index is written, as by a recorder that cannot go back
    aspect: Fraction | None = None
    cover: bool = False  # a picture is attached


def frame(number: int, recipe: Recipe) -> Image.Image:
    """Draw one frame."""
    width, height = recipe.size
    if number in recipe.black:
        return Image.new("RGB", recipe.size)
    if number in recipe.grainy:
        return Image.effect_noise(recipe.size, 4).convert("RGB")
    image = Image.new("RGB", recipe.size, (30, 60, 120))
    draw = ImageDraw.Draw(image)
    draw.polygon(
        [(width // 2, 6), (width // 3, height // 2), (2 * width // 3, height // 2)], fill=(250, 200, 60)
    )
    draw.rectangle([0, height - 10, (number + 1) * width // recipe.frames, height], fill=(230, 80, 80))
    for line in range(0, width, 8):
        draw.line([(line, height // 2 + 6), (line, height - 14)], fill=(255, 255, 255))
    return image.filter(ImageFilter.GaussianBlur(6)) if number in recipe.blurred else image


def make(path: Path, container: str, recipe: Recipe = Recipe()) -> Path:
    """Encode a video into a file of the container given by FFmpeg's name for it."""
    options = {"live": "1"} if recipe.live else {}
    with path.open("wb") as file, av.open(file, "w", format=container, options=options) as out:
        pictures = _pictures(out, recipe) if recipe.frames else None
        sounds = [_sound(out, recipe.sound, language) for language in recipe.audio]
        texts = [_spoken(out, language) for language in recipe.subtitles]
        if recipe.cover:
            out.add_attachment("cover.png", "image/png", _cover())
        if pictures is not None:
            _draw(out, pictures, recipe)
        for sound in sounds:
            _silence(out, sound, (recipe.frames or 20) / recipe.rate)
        for text in texts:
            _show(out, text)
    return path


def _pictures(out: OutputContainer, recipe: Recipe) -> VideoStream:
    stream = out.add_stream(recipe.codec, rate=recipe.rate)
    assert isinstance(stream, VideoStream)
    stream.width, stream.height = recipe.size
    stream.pix_fmt = "yuvj420p" if recipe.codec == "mjpeg" else "yuv420p"
    stream.codec_context.gop_size = recipe.gop
    if recipe.aspect is not None:
        stream.codec_context.sample_aspect_ratio = recipe.aspect
    return stream


def _cover() -> bytes:
    file = io.BytesIO()
    frame(0, Recipe()).save(file, "PNG")
    return file.getvalue()


def _draw(out: OutputContainer, stream: VideoStream, recipe: Recipe) -> None:
    for number, time in enumerate(recipe.times or range(recipe.frames)):
        shot = av.VideoFrame.from_bytes(frame(number, recipe).convert("RGBA").tobytes(), *recipe.size)
        shot.pts, shot.time_base = time, Fraction(1, recipe.rate)
        out.mux(stream.encode(shot))
    out.mux(stream.encode(None))


def _sound(out: OutputContainer, codec: str, language: str) -> AudioStream:
    stream = out.add_stream(codec, rate=48_000)
    assert isinstance(stream, AudioStream)
    stream.metadata["language"] = language
    return stream


def _silence(out: OutputContainer, stream: AudioStream, seconds: float) -> None:
    for start in range(0, int(seconds * 48_000), 960):
        sound = av.AudioFrame(format="s16", layout="stereo", samples=960)
        sound.sample_rate, sound.pts = 48_000, start
        for plane in sound.planes:
            plane.update(bytes(plane.buffer_size))
        out.mux(stream.encode(sound))
    out.mux(stream.encode(None))


SPOKEN = b"1\n00:00:00,100 --> 00:00:00,900\nGood morning.\n"


def _spoken(out: OutputContainer, language: str) -> Stream:
    with av.open(io.BytesIO(SPOKEN), "r", format="srt") as file:
        stream = out.add_stream_from_template(file.streams[0])
    stream.metadata["language"] = language
    return stream


def _show(out: OutputContainer, stream: Stream) -> None:
    with av.open(io.BytesIO(SPOKEN), "r", format="srt") as file:
        for cue in file.demux():
            if cue.dts is not None:
                cue.stream = stream
                out.mux(cue)


def turned(video: bytes, degrees: int) -> bytes:
    """Have an MP4 say that its pictures are to be turned clockwise: the matrix of its track header."""
    fixed = [value * (1 << 30 if place % 3 == 2 else 1 << 16) for place, value in enumerate(UNTURNED)]
    wanted = [
        value * (1 << 30 if place % 3 == 2 else 1 << 16) for place, value in enumerate(MATRICES[degrees])
    ]
    at = video.index(struct.pack(">9i", *fixed), video.index(b"tkhd"))
    return video[:at] + struct.pack(">9i", *wanted) + video[at + 36 :]


def box_edited(data: bytes, where: tuple[bytes, ...], edit: Callable[[bytes], bytes]) -> bytes:
    """Give the boxes of an MP4 anew, with the content of one edited and all sizes brought up to it."""
    done, at = b"", 0
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + size]
        if name == where[0]:
            body = edit(body) if len(where) == 1 else box_edited(body, where[1:], edit)
        done += struct.pack(">I4s", len(body) + 8, name) + body
        at += size
    return done
