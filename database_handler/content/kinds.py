"""The kind of a file is read from its bytes; its name decides only between kinds of plain text."""

import re
from dataclasses import dataclass

from database_handler.content.errors import UnsupportedType

__all__ = ["BINARY", "ZIP", "binary_kind", "text_kind"]

ZIP = "application/zip"  # told apart by the extractor's process, which looks inside
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_KINDS = {
    "EncryptedPackage": "encrypted",
    "WordDocument": "application/msword",
    "Workbook": "application/vnd.ms-excel",
    "PowerPoint Document": "application/vnd.ms-powerpoint",
}
BINARY = {b"%PDF-": "application/pdf", b"PK\x03\x04": ZIP, b"{\\rtf": "application/rtf"}
_NO_TEXT = {
    "a picture": (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"8BPS"),
    "an archive": (
        b"\x1f\x8b",
        b"BZh",
        b"\xfd7zXZ\0",
        b"7z\xbc\xaf\x27\x1c",
        b"(\xb5/\xfd",
        b"Rar!",
        b"PK\5\6",
    ),
    "sound or video": (b"OggS", b"fLaC", b"ID3", b"\x1aE\xdf\xa3", b"RIFF"),
    "a program": (b"\x7fELF", b"MZ\x90", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"!<arch>\n", b"\0asm"),
    "a database": (b"SQLite format 3\0",),
    "a font": (b"wOFF", b"wOF2", b"OTTO", b"\0\1\0\0\0"),
}
_READ_INSTEAD = "text, Markdown, HTML, subtitles, PDF, Office, OpenDocument, RTF and EPUB are read"


def binary_kind(data: bytes) -> str | None:
    """Return the MIME type of a document that is not text, `encrypted` for a locked Office file, or None.

    Raises
    ------
    UnsupportedType
        The bytes are of a kind known to hold no text.
    """
    for magic, mime in BINARY.items():
        if data.startswith(magic):
            return mime
    # A PDF may follow up to 1 KB of something else (ISO 32000-1, annex H.3.4.1).
    if b"%PDF-" in data[:1024] and b"%%EOF" in data[-2048:]:
        return "application/pdf"
    if data.startswith(_OLE):
        return _ole_kind(data)
    for what, magics in _NO_TEXT.items():
        if data.startswith(magics) or (what == "sound or video" and data[4:8] == b"ftyp"):
            raise UnsupportedType(f"the file is {what}; {_READ_INSTEAD}")
    return None


def _ole_kind(data: bytes) -> str:
    for name, mime in _OLE_KINDS.items():
        if name.encode("utf-16-le") in data:
            return mime
    raise UnsupportedType(f"the file is a compound file of an unknown kind; {_READ_INSTEAD}")


@dataclass(frozen=True, slots=True)
class _Rule:
    mime: str
    pattern: re.Pattern[str]


_TIME = r"\d{1,3}:\d{2}:\d{2}[,.]\d{3}"
_RULES = (
    _Rule("text/vtt", re.compile(r"WEBVTT(?:[ \t\r\n]|$)")),
    _Rule("application/x-subrip", re.compile(rf"\s*\d+[ \t]*\r?\n{_TIME}[ \t]*-->[ \t]*{_TIME}")),
    _Rule("text/html", re.compile(r"(?:<!doctype\s+html\b|<html\b|<head\b|<body\b)", re.IGNORECASE)),
    _Rule("application/xml", re.compile(r"\s*<\?xml\s")),
)
_BY_NAME = {
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".mdown": "text/markdown",
    ".rst": "text/x-rst",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".json": "application/json",
}
_TAG = re.compile(r"</?[a-z][a-z0-9]*[^<>]*>", re.IGNORECASE)
_MARKDOWN = re.compile(r"^(?:#{1,6} \S|```|[-*] \[[ x]\] |\[[^\]\n]+\]\([^)\n]+\)|> \S)", re.MULTILINE)


def text_kind(text: str, filename: str | None) -> str:
    """Return the MIME type of a text: by its first characters, else by its name, else `text/plain`.

    Without a name, a text with two or more marks of Markdown (a heading, a fence, a task, a link at the
    start of a line, a quotation) is taken as Markdown.
    """
    head = text[:65_536]
    begin = _prologue(head)
    for rule in _RULES:
        if rule.pattern.match(head, begin if rule.mime == "text/html" else 0):
            return rule.mime
    ending = _ending(filename)
    if ending in (".html", ".htm", ".xhtml") and _TAG.search(head):
        return "text/html"
    if filename is None and sum(1 for _ in _MARKDOWN.finditer(head)) >= 2:
        return "text/markdown"
    return _BY_NAME.get(ending, "text/plain")


_DECLARATION = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?")
_SPACE = re.compile(r"\s*")


def _prologue(head: str) -> int:
    """Return where what may stand before a page ends: space, an XML declaration, comments.

    Comments one by one, for a pattern that repeats them takes for ever over many of them.
    """
    place = end.end() if (end := _DECLARATION.match(head)) else 0
    while head.startswith("<!--", place) and (stop := head.find("-->", place + 4)) >= 0:
        place = stop + 3
        place = space.end() if (space := _SPACE.match(head, place)) else place
    return place


def _ending(filename: str | None) -> str:
    name = (filename or "").rpartition("/")[2]
    stem, dot, ending = name.rpartition(".")
    return f".{ending.lower()}" if dot and stem else ""
