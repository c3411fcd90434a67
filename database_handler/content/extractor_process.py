"""The child process that reads documents: it may crash, hang or run out of memory, and nothing else does.

Started by `isolation` as a script in an environment of its own. It imports nothing of this package, so that
it starts quickly, and holds no setting and no connection of the application. Both ways a message is a
header (JSON), a body (bytes) and, in front of them, the lengths of both.

Before a zip-based document goes to the extractor its entries are unpacked once, counted and thrown away:
what an archive says of its sizes may be false.
"""

import contextlib
import io
import json
import os
import resource
import socket
import struct
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable
from time import monotonic
from typing import Any

FRAME = struct.Struct("<II")
_OOXML = {
    "word/document.xml": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "ppt/presentation.xml": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "xl/workbook.xml": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "xl/workbook.bin": "application/vnd.ms-excel.sheet.binary.macroenabled.12",
}
_DECLARED = (
    "application/epub+zip",
    "application/vnd.oasis.opendocument.text",
    "application/vnd.oasis.opendocument.spreadsheet",
    "application/vnd.oasis.opendocument.presentation",
)
_MARKUP = (".xml", ".rels", ".xhtml", ".html", ".htm", ".opf", ".ncx", ".svg")
_ENTITY = tuple("<!ENTITY".encode(charset) for charset in ("ascii", "utf-16-le", "utf-16-be"))
# Fonts may be scrambled in a book that anybody can read; anything else named there is rights management.
_FONT_SCRAMBLING = (b"http://www.idpf.org/2008/embedding", b"http://ns.adobe.com/pdf/enc#RC")
_PIECE = 1 << 18
_VOTE = 600  # characters; below about 300 the judgement of one piece gets poor


class Refused(Exception):
    """A reason code of `errors`, and what to say of it."""

    def __init__(self, reason: str, message: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.message = reason, message


def main() -> None:
    """Answer requests until the parent closes the pipe or is gone."""
    with socket.socket(fileno=os.dup(0)) as line:
        header, _ = receive(line)
        sys.path[:] = header["path"]
        prepare()
        confine(header["memory_bytes"])
        language(b"a trial, so that what does not work at all does not look like a damaged document")
        send(line, {})
        while True:
            send(line, *answer(*receive(line)))


def receive(line: socket.socket, deadline: float | None = None) -> tuple[dict[str, Any], bytes]:
    """Return the next message.

    Raises
    ------
    EOFError
        The other side is gone.
    TimeoutError
        The deadline (of `time.monotonic`) passed.
    """
    header_size, body_size = FRAME.unpack(_exactly(line, FRAME.size, deadline))
    header = _exactly(line, header_size, deadline)
    return json.loads(header), bytes(_exactly(line, body_size, deadline))


def _exactly(line: socket.socket, size: int, deadline: float | None) -> bytearray:
    buffer = bytearray(size)
    view, done = memoryview(buffer), 0
    while done < size:
        _limit(line, deadline)
        count = line.recv_into(view[done:])
        if not count:
            raise EOFError
        done += count
    return buffer


def _limit(line: socket.socket, deadline: float | None) -> None:
    if deadline is not None:
        line.settimeout(max(deadline - monotonic(), 0.001))


def send(
    line: socket.socket, header: dict[str, Any], body: bytes = b"", deadline: float | None = None
) -> None:
    """Write one message whole, or raise `TimeoutError` at the deadline."""
    encoded = json.dumps(header).encode()
    _limit(line, deadline)
    line.sendall(FRAME.pack(len(encoded), len(body)) + encoded)
    _limit(line, deadline)
    line.sendall(body)


def prepare() -> None:
    """Load the extractor, and have it unpack what it will need while this process may still write files."""
    import kreuzberg

    with contextlib.suppress(kreuzberg.KreuzbergError):  # the library is there all the same
        kreuzberg.extract_bytes_sync(b"%PDF-1.4\n", "application/pdf")


def confine(memory_bytes: int) -> None:
    """Give up the right to much memory, to write files and to leave a core dump."""
    for kind, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))


def answer(request: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
    """Do what one request asks; every failure is an answer too."""
    allow_seconds(request["seconds"])
    try:
        if request["do"] == "language":
            return {"language": language(body)}, b""
        return extract(body, request["mime"], request["limits"])
    except Refused as error:
        return {"refused": error.reason, "message": error.message}, b""
    except MemoryError:
        return {"refused": "unsafe", "message": "the document takes more memory than is allowed"}, b""
    except Exception:  # noqa: BLE001 - whatever a broken document makes of the reader is one answer
        return {"refused": "damaged", "message": None}, b""


def allow_seconds(seconds: float) -> None:
    """Let this process use so many seconds of processor time more, and 2: the parent's clock is stricter."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def language(text: bytes) -> str | None:
    """Return the language of a text as three letters, or None when it cannot be told.

    Pieces vote: names, code and quotations spoil the judgement of a text as a whole.
    """
    words = text.decode()
    starts = range(0, max(len(words) - _VOTE // 2, 1), _VOTE)
    found = Counter(filter(None, (_one_language(words[start : start + _VOTE]) for start in starts)))
    if not found:
        return None
    winner, votes = found.most_common(1)[0]
    return winner if votes * 2 > found.total() and votes * 4 >= len(starts) else None


def _one_language(words: str) -> str | None:
    import kreuzberg

    config = kreuzberg.ExtractionConfig(
        use_cache=False,
        enable_quality_processing=False,
        language_detection=kreuzberg.LanguageDetectionConfig(min_confidence=0.6),
    )
    found = kreuzberg.extract_bytes_sync(words.encode(), "text/plain", config=config).detected_languages
    return found[0] if found else None


def extract(data: bytes, mime: str, limits: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return a document's text (UTF-8) and what it states of itself."""
    import kreuzberg

    if mime == "application/zip":
        mime = inspected(data, limits)
    config = kreuzberg.ExtractionConfig(
        use_cache=False,
        enable_quality_processing=False,
        concurrency=kreuzberg.ConcurrencyConfig(max_threads=1),
    )
    try:
        result = kreuzberg.extract_bytes_sync(data, mime, config=config)
    except Exception as error:
        raise _failure(data, mime, error) from error
    text = result.content.encode("utf-8", "replace")
    if len(text) > limits["text_bytes"]:
        raise Refused("too_large", f"the document holds more than {limits['text_bytes']:,} bytes of text")
    return {"mime": mime, "metadata": stated(dict(result.metadata))}, text


def _failure(data: bytes, mime: str, error: Exception) -> Refused:
    encrypted = mime == "application/pdf" and b"/Encrypt" in data
    if encrypted or "password" in str(error).lower():
        return Refused("encrypted")
    return Refused("damaged")


_STATED = ("title", "subject", "authors", "keywords", "language", "created_at", "modified_at", "page_count")


def stated(metadata: dict[str, Any]) -> dict[str, Any]:
    """Keep the few facts of a document's own metadata that are short and plain JSON."""
    found = {name: metadata.get(name) for name in _STATED}
    return {
        name: value
        for name, value in found.items()
        if value and isinstance(value, str | int | list) and len(json.dumps(value)) <= 2_000
    }


def inspected(data: bytes, limits: dict[str, Any]) -> str:
    """Return the kind of a zip-based document after every entry was unpacked within the limits."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            _refuse_encrypted(archive, entries)
            mime = _zip_kind(archive, {entry.filename for entry in entries})
            _refuse_bomb(archive, entries, limits)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError, OSError) as error:
        raise Refused("damaged") from error
    except Exception as error:
        if isinstance(error, Refused | MemoryError):
            raise
        raise Refused("damaged") from error  # zlib.error and whatever a codec adds
    return mime


def _zip_kind(archive: zipfile.ZipFile, names: set[str]) -> str:
    if "mimetype" in names:
        with archive.open("mimetype") as entry:
            declared = entry.read(200).decode("ascii", "replace").strip()
        if declared in _DECLARED:
            return declared
    found = (kind for name, kind in _OOXML.items() if name in names)
    if "[Content_Types].xml" in names and (mime := next(found, None)):
        return mime
    raise Refused("unsupported", "an archive holds no text of its own; give its files one by one")


def _refuse_encrypted(archive: zipfile.ZipFile, entries: Iterable[zipfile.ZipInfo]) -> None:
    for entry in entries:
        if entry.flag_bits & 1:
            raise Refused("encrypted")
        if entry.filename == "META-INF/manifest.xml" and b"encryption-data" in _start(archive, entry):
            raise Refused("encrypted")
        if entry.filename == "META-INF/encryption.xml" and _protects_text(_start(archive, entry)):
            raise Refused("encrypted")


def _protects_text(listing: bytes) -> bool:
    methods = listing.count(b"EncryptionMethod")
    return methods > sum(listing.count(b'Algorithm="' + name) for name in _FONT_SCRAMBLING)


def _start(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    with archive.open(entry) as file:
        return file.read(1 << 20)


def _refuse_bomb(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], limits: dict[str, Any]) -> None:
    if len(entries) > limits["archive_entries"]:
        raise Refused("unsafe", f"the document has more than {limits['archive_entries']:,} parts")
    left = limits["archive_bytes"]
    for entry in entries:
        ceiling = max(entry.compress_size * limits["archive_ratio"], 1 << 20)
        left -= _unpacked_size(archive, entry, min(left, ceiling))


def _unpacked_size(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int) -> int:
    """Count what an entry really unpacks to, and look for entity declarations on the way."""
    size, tail, markup = 0, b"", entry.filename.lower().endswith(_MARKUP)
    with archive.open(entry) as file:
        while piece := file.read(_PIECE):
            size += len(piece)
            if size > limit:
                raise Refused("unsafe", "the document unpacks to more than is allowed")
            if markup and any(word in tail + piece for word in _ENTITY):
                raise Refused("unsafe", "the document declares XML entities; none are allowed")
            tail = piece[-16:]
    return size


if __name__ == "__main__":
    with contextlib.suppress(EOFError, ConnectionError):
        main()
