"""Documents made to measure: small archives and PDFs, good ones and locked ones."""

import hashlib
import io
import struct
import zipfile

from database_handler.content.sample import FOLDER as SAMPLE

__all__ = ["WORD", "WORDS", "archive", "docx", "epub", "odt", "pdf"]

WORDS = "The lighthouse keeper climbed the stairs every night to light the lamp, and the sea answered her."
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def archive(parts: dict[str, bytes | str], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as entries:
        for name, content in parts.items():
            entries.writestr(name, content)
    return file.getvalue()


def docx(**more: bytes | str) -> bytes:
    with zipfile.ZipFile(SAMPLE / "script.docx") as entries:
        parts: dict[str, bytes | str] = {name: entries.read(name) for name in entries.namelist()}
    return archive(parts | {name.replace("__", "/") + ".xml": content for name, content in more.items()})


def epub(**more: str) -> bytes:
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="i">'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="i">x</dc:identifier>'
        "<dc:title>The Book</dc:title><dc:language>en</dc:language></metadata><manifest>"
        '<item id="c" href="c.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="c"/></spine></package>'
    )
    container = (
        '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
        '<rootfile full-path="p.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
    )
    chapter = f'<html xmlns="http://www.w3.org/1999/xhtml"><body><p>{WORDS}</p></body></html>'
    return archive(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": container,
            "p.opf": package,
            "c.xhtml": chapter,
            **{name.replace("__", "/"): content for name, content in more.items()},
        }
    )


def odt(manifest: str = "") -> bytes:
    kind = "application/vnd.oasis.opendocument.text"
    office = "urn:oasis:names:tc:opendocument:xmlns"
    content = (
        f'<office:document-content xmlns:office="{office}:office:1.0" xmlns:text="{office}:text:1.0">'
        f"<office:body><office:text><text:p>{WORDS}</text:p></office:text></office:body>"
        "</office:document-content>"
    )
    return archive({"mimetype": kind, "content.xml": content, "META-INF/manifest.xml": manifest})


PAD = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")


def rc4(key: bytes, data: bytes) -> bytes:
    box, j, out = list(range(256)), 0, bytearray()
    for i in range(256):
        j = (j + box[i] + key[i % len(key)]) % 256
        box[i], box[j] = box[j], box[i]
    i = j = 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + box[i]) % 256
        box[i], box[j] = box[j], box[i]
        out.append(byte ^ box[(box[i] + box[j]) % 256])
    return bytes(out)


def md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def pdf(password: str | None = None) -> bytes:
    """Return a page of text, locked with 40-bit RC4 when a password is given (ISO 32000-1, 7.6.3)."""
    page, lock = f"BT /F1 9 Tf 20 700 Td ({WORDS}) Tj ET".encode(), b""
    if password is not None:
        padded = (password.encode() + PAD)[:32]
        owner = rc4(md5(padded)[:5], padded)
        key = md5(padded + owner + struct.pack("<i", -4) + b"0123456789abcdef")[:5]
        page = rc4(md5(key + b"\4\0\0\0\0")[:10], page)
        lock = b"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%b> /U <%b> >>" % (
            owner.hex().encode(),
            rc4(key, PAD).hex().encode(),
        )
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
        b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(page), page),
    )
    data, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        places.append(len(data))
        data += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    ids = b"/ID [<%b><%b>]" % ((b"0123456789abcdef".hex().encode(),) * 2)
    end = b"trailer << /Size 5 /Root 1 0 R %b %b >>\nstartxref\n%d\n%%%%EOF\n" % (lock, ids, len(data))
    return data + b"xref\n0 5\n0000000000 65535 f \n" + table + end
