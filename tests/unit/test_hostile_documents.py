"""Documents made to do harm: refused with a reason or served, within their limits; nothing is left behind."""

import re
import socket
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from database_handler.content import Limits, Refusal, isolation, read_document
from database_handler.content.errors import (
    DamagedFile,
    EmptyFile,
    ExtractionTimeout,
    NotARegularFile,
    NoText,
    NotText,
    UnsafeArchive,
    UnsupportedType,
)
from database_handler.content.html_text import html_text
from database_handler.content.kinds import text_kind
from database_handler.content.languages import detect_language
from tests.support.documents import WORDS, archive, docx, epub, odt, pdf

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
EXTERNAL = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
LAUGHS = "<!DOCTYPE a [<!ENTITY a 'ha'>" + "".join(
    f"<!ENTITY {name} '{f'&{before};' * 10}'>" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """Check that there are no more readers than there may be; they can write no file."""
    yield
    assert len(isolation.processes()) <= 2 * isolation.PROCESSES  # of documents, and of videos
    for pid in isolation.processes():
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"Max file size +0 +0 ", limits)


# Archives.


def overlapping(times: int) -> bytes:
    """Return a document whose listing names one packed part again and again."""
    data = docx(word__x=b"\0" * (MIB - 1))
    end = data.rfind(b"PK\5\6")
    (count,) = struct.unpack_from("<H", data, end + 10)
    size, start = struct.unpack_from("<II", data, end + 12)
    listing = data[start : start + size]
    listing += listing[listing.rfind(b"PK\1\2") :] * times
    tail = bytearray(data[end:])
    struct.pack_into("<HHI", tail, 8, count + times, count + times, len(listing))
    return data[:start] + listing + bytes(tail)


def nested() -> bytes:
    data = b"\0" * MIB
    for name in ("a.zip", "b.zip", "c.zip"):
        data = archive({f"{number}{name}": data for number in range(20)})
    return docx(word__embeddings__a=data)


BODY = '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
ARCHIVES: dict[str, tuple[Callable[[], bytes], tuple[type[Refusal], ...]]] = {
    "overlapping parts": (lambda: overlapping(40), (UnsafeArchive, DamagedFile)),
    "a part of high ratio": (lambda: docx(word__x=b"\0" * (20 * MIB)), (UnsafeArchive,)),
    "eleven thousand parts": (
        lambda: archive({"mimetype": "application/epub+zip"} | {f"{n}": b"" for n in range(11_000)}),
        (UnsafeArchive,),
    ),
    "laughs in docx": (lambda: docx(word__document=f"{LAUGHS}]><a>&i;</a>"), (UnsafeArchive,)),
    "laughs in odt": (lambda: odt(f"{LAUGHS}]><a>&i;</a>"), (UnsafeArchive,)),
    "laughs in epub": (lambda: epub(**{"c.xhtml": f"{LAUGHS}]><a>&i;</a>"}), (UnsafeArchive,)),
    "outside entity in docx": (lambda: docx(word__document=f"{EXTERNAL}<a>&x;</a>"), (UnsafeArchive,)),
    "outside entity in epub": (lambda: epub(**{"p.opf": f"{EXTERNAL}<a>&x;</a>"}), (UnsafeArchive,)),
    "outside entity in a picture": (lambda: epub(**{"i.svg": f"{EXTERNAL}<svg/>"}), (UnsafeArchive,)),
    "way out in epub": (
        lambda: epub(**{"p.opf": epub_package("../../../../../../../../etc/passwd")}),
        (NoText, DamagedFile),
    ),
    "deep docx": (
        lambda: docx(word__document=BODY + "<w:p>" * 50_000 + "</w:p>" * 50_000 + "</w:body></w:document>"),
        (UnsafeArchive, DamagedFile, NoText),
    ),
}


def epub_package(chapter: str) -> str:
    return (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata/><manifest>'
        f'<item id="c" href="{chapter}" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="c"/></spine></package>'
    )


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_hostile_archive_is_refused(name: str) -> None:
    make, kinds = ARCHIVES[name]
    with pytest.raises(kinds) as caught:
        read_document(make(), limits=Limits(archive_bytes=24 * MIB))
    assert caught.value.reason


def test_archives_in_a_document_are_not_unpacked() -> None:
    assert "lamp" in read_document(nested()).content


@pytest.mark.parametrize("suffix", [".svg", ".xml", ".txt", ".xhtml"])
def test_entities_in_a_text_stay_words(suffix: str) -> None:
    data = f'<?xml version="1.0"?>{EXTERNAL}<svg><text>&x;</text></svg>'
    assert read_document(data.encode(), filename=f"a{suffix}").content == data
    page = read_document(f"{EXTERNAL}<html><p>words &x; words</html>".encode(), filename="a.html")
    assert "root:" not in page.content


def test_nothing_in_a_document_is_fetched() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        relation = (
            '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
            '<Relationship Id="r9" TargetMode="External" Type="http://schemas.openxmlformats.org/'
            f'officeDocument/2006/relationships/attachedTemplate" Target="{url}"/></Relationships>'
        )
        page = f'<!DOCTYPE html SYSTEM "{url}"><html><body><img src="{url}"/><p>{WORDS}</p></body></html>'
        for data in (
            docx(word___rels__document=relation),
            epub(**{"c.xhtml": page}),
            page.encode(),
            rb'{\rtf1 {\field{\*\fldinst INCLUDEPICTURE "' + url.encode() + b'"}} ' + WORDS.encode() + b"}",
        ):
            assert "lamp" in read_document(data).content
        with pytest.raises(BlockingIOError):
            listener.accept()


# PDF.


def pdf_of(*objects: bytes) -> bytes:
    data, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        places.append(len(data))
        data += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    end = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(data))
    return data + b"xref\n0 %d\n0000000000 65535 f \n" % size + table + end


CATALOG = b"<< /Type /Catalog /Pages 2 0 R >>"
FONT = b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
PAGE = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R " + FONT + b" >>"


def stream(data: bytes, more: bytes = b"") -> bytes:
    return b"<< %b /Length %d >>\nstream\n%b\nendstream" % (more, len(data), data)


def many_pages() -> bytes:
    kids = b"<< /Type /Pages /Kids [" + b"3 0 R " * 50_000 + b"] /Count 50000 >>"
    return pdf_of(CATALOG, kids, PAGE, stream(f"BT /F1 9 Tf 20 700 Td ({WORDS}) Tj ET".encode()))


def blank_bomb() -> bytes:
    packed = stream(zlib.compress(b" " * (16 * MIB), 9), b"/Filter /FlateDecode")
    return pdf_of(CATALOG, b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>", PAGE, packed)


def endless_tree() -> bytes:
    return pdf_of(CATALOG, b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 2 >>")


@pytest.mark.parametrize("make", [many_pages, blank_bomb, endless_tree])
def test_a_pdf_costs_no_more_than_its_limits(make: Callable[[], bytes]) -> None:
    data, started = make(), monotonic()
    with suppress(ExtractionTimeout, NoText, DamagedFile, UnsafeArchive):
        assert "lamp" in read_document(data, limits=Limits(seconds=1, text_bytes=8 * MIB)).content
    assert monotonic() - started < 20, "one second of its own, and whatever else this machine does"
    assert "lamp" in read_document(pdf()).content, "the next document is read"


# Texts.


@pytest.mark.parametrize(
    "piece",
    [
        *("<", "<a ", "<!--", "<!", "<?", "</", "</a", "<a x='", '<a x="', "<![CDATA[", "<![ ", "<p>"),
        *("&#", "&#x", "<script>", "<title>", "<a b=c ", "<!doctype [", "<a/", "<select>", "<template>"),
    ],
)
def test_html_takes_time_by_its_length_only(piece: str) -> None:
    started = monotonic()
    html_text("<html>" + piece * 40_000)
    assert monotonic() - started < 10, "the standard library's parser takes minutes over some of these"


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("<>/!?-=\"' &#;xaptitlescript\n[]0"), max_size=60))
def test_any_html_gives_words_or_none(source: str) -> None:
    found = html_text(f"<html>{source}").text()
    assert "\r" not in found
    assert len(found) <= 4 * len(source) + 4


def test_html_has_a_limit_of_time() -> None:
    with pytest.raises(ExtractionTimeout):
        html_text("<p>" * 10_000, seconds=0)


def test_a_reference_of_ten_thousand_digits_is_one_character() -> None:
    page = b"<html><p>one &#" + b"9" * 10_000 + b"; &#xffffffffff; two</p></html>"
    assert read_document(page, filename="a.html").content == "one \ufffd \ufffd two"


def test_what_stands_before_a_page_is_skipped_in_no_time() -> None:
    started = monotonic()
    assert text_kind("<!-- a -->\n" * 3000 + "<html>", None) == "text/html"
    assert text_kind("<!---->" * 3000 + "words", None) == "text/plain"
    assert monotonic() - started < 5


@pytest.mark.parametrize("word", ["a" * 20_000, "<" * 20_000, "a." * 10_000, "a@" * 10_000, "=" * 20_000])
def test_a_word_without_end_does_not_hold_up_the_language(word: str) -> None:
    started = monotonic()
    detect_language(word, seconds=10, memory_bytes=2 << 30)
    assert monotonic() - started < 10


def test_depth_is_no_danger() -> None:
    assert read_document(b"[" * MIB, filename="a.json").content_type == "application/json"
    assert read_document(b"<html>" + b"<div>" * 20_000 + WORDS.encode()).content.endswith(WORDS)
    with pytest.raises((NoText, DamagedFile)):
        read_document(rb"{\rtf1 " + b"{" * MIB)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["The lamp turns. ", "Où était la mer ? ", "Смотритель маяка. ", "灯台守は毎晩。"]
            ),
            st.sampled_from(["utf-8", "cp1252", "cp1251", "shift_jis", "utf-16-le", "utf-16-be", "koi8-r"]),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_mixed_charsets_are_refused_or_decoded_without_loss(parts: list[tuple[str, str]]) -> None:
    data = b"".join(text.encode(charset, "ignore") for text, charset in parts)
    try:
        document = read_document(data, filename="a.txt")
    except (EmptyFile, NotText, NoText, UnsupportedType):
        return
    assert document.encoding is not None
    assert document.content.encode(document.encoding) == data


# Files.


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\x7fELF\x02\x01\x01" + bytes(100), "notes.txt"),
        (b"MZ\x90\0" + bytes(100), "notes.txt"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "script.docx"),
        (b"\x1f\x8b\x08" + bytes(100), "script.pdf"),
        (b"SQLite format 3\0" + bytes(100), "notes.md"),
    ],
)
def test_a_wrong_name_deceives_nobody(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedType):
        read_document(data, filename=name)
    assert "lamp" in read_document(docx(), filename="notes.txt").content
    assert "lamp" in read_document(pdf(), filename="picture.png").content


WHOLE = {
    "docx": docx(),
    "pdf": pdf(),
    "epub": epub(),
    "odt": odt(),
    "rtf": rb"{\rtf1\ansi " + WORDS.encode() + b"}",
    "html": f"<html><head><title>t</title></head><body><p>{WORDS}</p></body></html>".encode(),
    "srt": f"1\n00:00:01,000 --> 00:00:02,000\n{WORDS}\n".encode(),
    "utf-16": WORDS.encode("utf-16"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_document_cut_anywhere_is_served_or_refused(kind: str) -> None:
    data = WHOLE[kind]
    for part in range(1, 12):
        cut = data[: len(data) * part // 12]
        with suppress(Refusal):
            content = read_document(cut).content
            assert content.split()[0] in WORDS + cut.decode("latin-1").replace("\0", "")


def device(path: Path) -> Path:
    return Path("/dev/null")


def to_passwd(path: Path) -> Path:
    path.symlink_to("/etc/passwd")
    return path


@pytest.mark.parametrize("make", [device, to_passwd])
def test_what_is_no_regular_file_is_not_opened(make: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(NotARegularFile):
        read_document(make(tmp_path / "x"))


MEASURED = """
import resource, sys
from database_handler.content import Limits, read_document
from database_handler.content.errors import FileTooLarge
with open(sys.argv[1], "wb") as sparse:
    sparse.truncate(1 << 30)
class Endless:
    def read(self, size, /):
        return b"\\0" * size
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for source in (sys.argv[1], Endless()):
    try: read_document(source)
    except FileTooLarge: continue
    raise SystemExit("it was taken")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_gigabyte_of_zeros_costs_no_more_than_the_limit(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "zeros")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 64 + 16, "MiB: the limit of a file, and a little"
