"""The container of a video is read from the bytes: no name and no guess decides which demuxer sees them.

Only containers that hold their own pictures are known here. A playlist (HLS, DASH, SDP, concat) makes a
player open other files and addresses, so it is no video to this library, whatever it is called.

Sources: ISO/IEC 14496-12 (boxes), RFC 8794 (EBML), Microsoft's AVI RIFF reference, ISO/IEC 13818-1 (streams).
"""

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

from database_handler.content.errors import DamagedFile, NotAVideo

__all__ = ["HEAD", "Container", "container_of", "refuse_cut_short"]

HEAD = 4_096  # bytes that tell the container
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_BOXES = 100_000  # top-level boxes looked at; a fragmented film of nine hours has about as many


@dataclass(frozen=True, slots=True)
class Container:
    """A container's own name, and the name of FFmpeg's demuxer for it."""

    name: str
    demuxer: str


_MAGICS = (
    (b"FLV\x01", Container("flv", "flv")),
    (b"OggS", Container("ogg", "ogg")),
    (b"\x00\x00\x01\xba", Container("mpeg", "mpeg")),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Container("asf", "asf")),
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01", Container("mxf", "mxf")),
)
_SMALL_BOXES = (b"ftyp", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof", b"uuid")  # under 16 MB
_PICTURES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"8BPS", b"BM")
_PICTURE_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif")
_SOUNDS = (b"ID3", b"fLaC", b"\xff\xfb", b"\xff\xf3", b"\xff\xf1", b"FORM")
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"v=0\n", b"v=0\r\n", b"[playlist]", b"RTSPtext", b"<smil", b"<MPD")


def container_of(head: bytes) -> Container:
    """Return the container that a file's first `HEAD` bytes show.

    Raises
    ------
    NotAVideo
        They show something else; the message says what, where it is known.
    """
    for magic, container in _MAGICS:
        if head.startswith(magic):
            return container
    if head.startswith(b"\x1aE\xdf\xa3"):
        return Container("webm" if b"\x42\x82\x84webm" in head[:64] else "matroska", "matroska")
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return Container("avi", "avi")
    if _is_box(head) and head[8:12] not in _PICTURE_BRANDS:
        return Container(_brand(head), "mov")
    if _packets(head, 188, 0) or _packets(head, 192, 4):
        return Container("mpegts", "mpegts")
    raise NotAVideo(f"the file is {_what(head)}; MP4, MOV, WebM, Matroska, AVI, MPEG and the like are taken")


def _is_box(head: bytes) -> bool:
    return head[4:8] in (b"moov", b"mdat") or (head[4:8] in _SMALL_BOXES and head[0] == 0)


def _brand(head: bytes) -> str:
    brand = head[8:12] if head[4:8] == b"ftyp" else b"qt  "
    return "mov" if brand == b"qt  " else "3gp" if brand.startswith((b"3gp", b"3g2")) else "mp4"


def _packets(head: bytes, size: int, before: int) -> bool:
    """Tell a transport stream by the sync byte that each of its packets begins with."""
    syncs = head[before::size]
    return len(syncs) >= 2 and set(syncs) == {0x47}


def _what(head: bytes) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(_PLAYLISTS) or b"<MPD" in start[:512]:
        return "a playlist, which leads to other files"
    if head.startswith(_PICTURES) or head[8:12] in (*_PICTURE_BRANDS, b"WEBP"):
        return "a picture"
    if head.startswith(_SOUNDS) or head[8:12] == b"WAVE":
        return "sound without pictures"
    return "no video of a kind that is known"


# ------------------------------------------------------------------------------------------------- cut short

_Read = Callable[[int, int], bytes]  # (count, offset)


def refuse_cut_short(descriptor: int, size: int, container: Container) -> None:
    """Refuse a file that ends before the end that it states itself: an upload or a copy that broke off.

    Streams (MPEG, Ogg, FLV) state none: of those, what is there is taken.

    Raises
    ------
    DamagedFile
    """

    def read(count: int, offset: int) -> bytes:
        return os.pread(descriptor, count, offset)

    end = _STATED.get(container.demuxer)
    stated = size if end is None else end(read, size)
    if stated > size:
        raise DamagedFile(f"the video is cut short: it states {stated:,} bytes and has {size:,}")


def _boxes_end(read: _Read, size: int) -> int:
    at = 0
    for _ in range(_BOXES):
        head = read(16, at)
        if len(head) < 8:
            break
        length, name = struct.unpack(">I4s", head[:8])
        if length == 1 and len(head) == 16:
            length = struct.unpack(">Q", head[8:])[0]
        if length < 8:  # to the end of the file, or nonsense: the demuxer's to judge
            break
        if at + length > size:
            return at + length if name in (b"mdat", b"moov", b"moof") else size
        at += length
    return size


def _ebml_end(read: _Read, size: int) -> int:
    header, at = _ebml_size(read(12, 4), 4)
    if header is None or read(4, at + header) != b"\x18\x53\x80\x67":
        return size
    segment, at = _ebml_size(read(12, at + header + 4), at + header + 4)
    return size if segment is None else at + segment


def _ebml_size(data: bytes, at: int) -> tuple[int | None, int]:
    """Return an element's size (None where it is unknown: a live recording) and where its content begins."""
    if not data or not data[0]:
        return None, at
    length = 9 - data[0].bit_length()
    value = int.from_bytes(data[:length], "big") & ((1 << 7 * length) - 1)
    return None if value == (1 << 7 * length) - 1 else value, at + length


def _riff_end(read: _Read, size: int) -> int:
    at = 0
    for _ in range(_BOXES):
        head = read(8, at)
        if len(head) < 8 or not head.startswith(b"RIFF"):
            break
        length = struct.unpack("<I", head[4:])[0]
        if not length:  # never filled in: the recording was not ended properly
            break
        at += 8 + length + length % 2
    return at if at - 1 > size else size


def _asf_end(read: _Read, size: int) -> int:
    head = read(HEAD, 0)
    at = head.find(_ASF_PROPERTIES)
    return int(struct.unpack("<Q", head[at + 40 : at + 48])[0]) if 0 <= at <= len(head) - 48 else size


def _mxf_end(read: _Read, size: int) -> int:
    """Return where the footer begins that the first partition points to, and a byte of it."""
    head = read(64, 0)
    value = 17 + (head[16] & 0x7F if len(head) > 16 and head[16] & 0x80 else 0)
    footer = head[value + 24 : value + 32]
    return int.from_bytes(footer, "big") + 1 if len(footer) == 8 and any(footer) else size


_STATED: dict[str, Callable[[_Read, int], int]] = {
    "mov": _boxes_end,
    "matroska": _ebml_end,
    "avi": _riff_end,
    "asf": _asf_end,
    "mxf": _mxf_end,
}
