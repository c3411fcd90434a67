"""A file becomes a `Document`: its text, its kind (from the bytes), its language, its size and its checksum.

Text files are taken verbatim, line ends included, only without a byte order mark. Markdown keeps its marks.
HTML gives its visible words, subtitles their spoken words. PDF, Office, OpenDocument, RTF and EPUB are read
by the `documents` extra in a process of its own; there, and only there, a character that cannot be stored
(NUL, half of a surrogate pair) becomes U+FFFD, because their text is the extractor's wording and no original.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from database_handler.content import isolation, kinds
from database_handler.content.charsets import decode
from database_handler.content.errors import DamagedFile, EncryptedFile, FileTooLarge, NoText, refusal
from database_handler.content.files import Original, Readable, read_original
from database_handler.content.html_text import html_text
from database_handler.content.languages import detect_language
from database_handler.content.subtitles import cues
from database_handler.utils.arguments import checked

__all__ = [
    "Document",
    "Extracted",
    "Extractor",
    "Json",
    "Limits",
    "extract_document",
    "read_document",
    "register_extractor",
]

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one document may cost; beyond it is refused.

    Attributes
    ----------
    file_bytes, text_bytes : int
        The largest file, and the largest text (UTF-8) taken out of one.
    seconds : float
        The time to read one PDF, Office, OpenDocument, RTF or EPUB file.
    memory_bytes : int
        The address space of the process that reads them.
    archive_bytes, archive_entries, archive_ratio : int
        For documents that are zip archives: what all entries unpack to, how many there are, and how many
        times its packed size an entry may be (entries under 1 MiB are exempt).

    Raises
    ------
    InvalidValue
        One of them is no number above 0.
    """

    file_bytes: int = 64 << 20
    text_bytes: int = 32 << 20
    seconds: float = 30.0
    memory_bytes: int = 2 << 30
    archive_bytes: int = 256 << 20
    archive_entries: int = 10_000
    archive_ratio: int = 200

    def __post_init__(self) -> None:
        isolation.refuse_limits(self)


@dataclass(frozen=True, slots=True)
class Extracted:
    """What an extractor finds in a file.

    Attributes
    ----------
    content : str
        The text; a character that cannot be stored is replaced afterwards.
    content_type : str, optional
        The MIME type, when the extractor knows it better than the first bytes told.
    language : str, optional
        Only when the extractor is certain; otherwise it is detected.
    """

    content: str
    content_type: str | None = None
    encoding: str | None = None
    title: str | None = None
    language: str | None = None
    metadata: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Document:
    """A file as the library stores it.

    Attributes
    ----------
    encoding : str, optional
        The charset of a text file (its Python name); None for kinds that are not text.
    size_bytes, checksum : int, str
        Of the original bytes; the checksum is their SHA-256 in 64 hexadecimal digits.
    title : str, optional
        As the document states it, on one line; None when it states none.
    metadata : dict
        Small, plain JSON: `charset_detected` when the charset was a judgement, the document's own authors,
        dates and page count, a subtitle file's cues.
    """

    content: str
    content_type: str
    language: str
    encoding: str | None
    size_bytes: int
    checksum: str
    filename: str | None = None
    title: str | None = None
    metadata: dict[str, Json] = field(default_factory=dict)


Extractor = Callable[[bytes, Limits], Extracted]
_registered: dict[str, Extractor] = {}


@checked
def register_extractor(mime: str, extractor: Extractor | None) -> None:
    """Have files of a MIME type read by a function of the application; None takes it back.

    It is asked before the library's own reader, in the application's own process, and may raise `Refusal`.
    """
    if extractor is None:
        _registered.pop(mime, None)
    else:
        _registered[mime] = extractor


@checked
def read_document(
    source: str | Path | bytes | Readable, *, filename: str | None = None, limits: Limits | None = None
) -> Document:
    """Read a file, a stream or bytes, and return its text with what is known of it.

    Parameters
    ----------
    source : str, Path, bytes or binary stream
        A path must lead to a regular file, not to a link.
    filename : str, optional
        Kept with the document; a hint between kinds of plain text, and nothing more.
    limits : Limits, optional
        What the file may cost.

    Raises
    ------
    Refusal
        One class for each reason: see `database_handler.content.errors`.
    MissingExtra
        The file's kind needs the `documents` extra.
    """
    limits = limits or Limits()
    return extract_document(read_original(source, limit=limits.file_bytes, filename=filename), limits)


@checked
def extract_document(
    original: Original, limits: Limits | None = None, *, language: str | None = None
) -> Document:
    """Return the document that an original's bytes hold; see `read_document`.

    Parameters
    ----------
    language : str, optional
        Where it is known, so that it need not be detected.
    """
    limits = limits or Limits()
    mime, found = _extract(original, limits)
    content = _storable(found.content)
    if not content.strip():
        raise NoText
    if len(content) > limits.text_bytes or len(content.encode()) > limits.text_bytes:
        raise FileTooLarge(f"the document holds more than {limits.text_bytes:,} bytes of text")
    return Document(
        content=content,
        content_type=found.content_type or mime,
        language=language
        or found.language
        or detect_language(content, seconds=limits.seconds, memory_bytes=limits.memory_bytes),
        encoding=found.encoding,
        size_bytes=original.size_bytes,
        checksum=original.checksum,
        filename=original.filename,
        title=_one_line(found.title),
        metadata=found.metadata,
    )


def _extract(original: Original, limits: Limits) -> tuple[str, Extracted]:
    mime = kinds.binary_kind(original.data)
    if mime == "encrypted":
        raise EncryptedFile
    if mime is not None:
        return mime, _registered.get(mime, _isolated(mime))(original.data, limits)
    decoded = decode(original.data)
    mime = kinds.text_kind(decoded.text, original.filename)
    if mime in _registered:
        return mime, _registered[mime](original.data, limits)
    found = _TEXT_KINDS.get(mime, _plain_text)(decoded.text, limits)
    notes: dict[str, Json] = {"charset_detected": True} if decoded.detected else {}
    return mime, replace(found, encoding=decoded.encoding, metadata={**notes, **found.metadata})


def _isolated(mime: str) -> Extractor:
    def extract(data: bytes, limits: Limits) -> Extracted:
        allowed = {
            "text_bytes": limits.text_bytes,
            "archive_bytes": limits.archive_bytes,
            "archive_entries": limits.archive_entries,
            "archive_ratio": limits.archive_ratio,
        }
        answer, text = isolation.ask(
            {"do": "extract", "mime": mime, "limits": allowed},
            data,
            seconds=limits.seconds,
            memory_bytes=limits.memory_bytes,
        )
        if "refused" in answer:
            raise refusal(answer["refused"], answer["message"])
        stated = {name: _plain(value) for name, value in answer["metadata"].items()}
        title = stated.pop("title", None)
        return Extracted(
            text.decode().replace("\r\n", "\n"),  # some readers end lines so; the document itself has none
            content_type=answer["mime"],
            title=title if isinstance(title, str) else None,
            metadata=stated,
        )

    return extract


def _storable(text: str) -> str:
    return _UNSTORABLE.sub("\ufffd", text)


def _plain(value: Json) -> Json:
    """Make what a document states of itself storable: strings, and lists of them."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return _storable(value) if isinstance(value, str) else value


def _one_line(title: str | None) -> str | None:
    words = " ".join(_CONTROL.sub(" ", _storable(title or "")).split())
    return words[:500] or None


_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:[ \t]*([\"']?)(.+?)\1[ \t]*$", re.MULTILINE)
_HEADING = re.compile(r"^#[ \t]+(.+?)[ \t#]*$|^([^\s#>*`<\-].*)\r?\n=+[ \t]*$", re.MULTILINE)


def _plain_text(text: str, _: Limits) -> Extracted:
    return Extracted(text)


def _markdown(text: str, _: Limits) -> Extracted:
    front = _FRONT_MATTER.match(text)
    if front and (title := _FRONT_TITLE.search(front[1])):
        return Extracted(text, title=title[2])
    heading = _HEADING.search(text[:10_000])
    return Extracted(text, title=(heading[1] or heading[2]) if heading else None)


def _html(text: str, limits: Limits) -> Extracted:
    found = html_text(text, limits.seconds)
    return Extracted(found.text(), title=found.title)


def _subtitles(text: str, _: Limits) -> Extracted:
    spoken = list(cues(text))
    if not spoken:
        raise DamagedFile("the subtitles hold no cue with times")
    shown = [cue for cue in spoken if cue.text]
    # One cue a paragraph where some have several lines, so that the times still find their words.
    between = "\n\n" if any("\n" in cue.text for cue in shown) else "\n"
    times: dict[str, Json] = {
        "cues": len(spoken),
        "starts": spoken[0].start,
        "ends": spoken[-1].end,
        "times": [[cue.start, cue.end] for cue in shown],
    }
    return Extracted(between.join(cue.text for cue in shown), metadata=times)


_TEXT_KINDS: dict[str, Callable[[str, Limits], Extracted]] = {
    "text/markdown": _markdown,
    "text/html": _html,
    "text/vtt": _subtitles,
    "application/x-subrip": _subtitles,
}
