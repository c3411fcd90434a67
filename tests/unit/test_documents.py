"""Reading a document: what comes out of good files, and the one reason that each bad one is refused for."""

import codecs
import hashlib
import io
import os
import signal
import struct
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from database_handler.content import (
    DamagedFile,
    Extracted,
    ExtractorUnavailable,
    Limits,
    Refusal,
    isolation,
    read_document,
    register_extractor,
)
from database_handler.content.errors import (
    EmptyFile,
    EncryptedFile,
    ExtractionTimeout,
    FileTooLarge,
    NotARegularFile,
    NoText,
    NotText,
    UnreadableFile,
    UnsafeArchive,
    UnsupportedType,
)
from database_handler.content.files import fingerprint, open_regular
from database_handler.content.languages import detect_language
from database_handler.content.sample import FOLDER as SAMPLE
from database_handler.content.sample import load_sample
from tests.support.documents import WORD, WORDS, archive, docx, epub, odt, pdf
from tests.support.faults import eventually

ROOT = Path(__file__).parents[2]


# What good files give.


def test_a_text_is_kept_verbatim_with_its_size_and_checksum(tmp_path: Path) -> None:
    data = f"  {WORDS}\r\n\ttail \n\n".encode()
    (tmp_path / "a.txt").write_bytes(data)
    document = read_document(tmp_path / "a.txt")
    assert document.content.encode() == data
    assert (document.content_type, document.encoding, document.language) == ("text/plain", "utf-8", "en")
    assert (document.size_bytes, document.checksum) == (len(data), hashlib.sha256(data).hexdigest())
    assert (document.filename, document.title) == ("a.txt", None)


@settings(deadline=None)  # the first example starts the reader
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cc"]), min_size=1))
def test_any_text_comes_back_as_it_was_or_is_refused_as_blank(text: str) -> None:
    data = text.encode()
    try:
        document = read_document(data, filename="a.txt")
    except NoText:
        assert not text.removeprefix("\ufeff").strip()
    except (UnsupportedType, DamagedFile):
        pass  # it happens to begin like another kind of file
    else:
        if document.content_type == "text/plain":
            assert document.content == text.removeprefix("\ufeff")


@pytest.mark.parametrize(
    ("data", "name", "kind", "title", "content"),
    [
        (b"# Head #\n\nwords", "a.md", "text/markdown", "Head", "# Head #\n\nwords"),
        (b"Head\n====\n\nwords", "a.md", "text/markdown", "Head", "Head\n====\n\nwords"),
        (b'---\ntitle: "A: b"\n---\nx', "a.md", "text/markdown", "A: b", '---\ntitle: "A: b"\n---\nx'),
        (b"# Head\n\n> said\n", None, "text/markdown", "Head", "# Head\n\n> said\n"),
        (b"a,b\n1,2\n", "a.csv", "text/csv", None, "a,b\n1,2\n"),
        (b"# not a heading", "a.txt", "text/plain", None, "# not a heading"),
        (b"%PDX words", "a.pdf", "text/plain", None, "%PDX words"),
        (b'<?xml version="1.0"?><a>x</a>', "a.txt", "application/xml", None, '<?xml version="1.0"?><a>x</a>'),
    ],
)
def test_kinds_of_text(data: bytes, name: str | None, kind: str, title: str | None, content: str) -> None:
    document = read_document(data, filename=name)
    assert (document.content_type, document.title, document.content) == (kind, title, content)


def test_html_gives_its_visible_words_and_its_title() -> None:
    page = (
        b"<!-- c --><!DOCTYPE html><html><head><title>The &amp; title</title><style>p{}</style>"
        b"<script>if (a < b) { x('</p>') }</script></head><body><h1>Head</h1><p>One  two<br>three"
        b"<ul><li>four<li>five</ul><table><tr><td>a<td>b</table><svg><title>no</title></svg>&eacute;</html>"
    )
    document = read_document(page, filename="wrong-name.txt")
    assert (document.content_type, document.title) == ("text/html", "The & title")
    assert document.content.split() == ["Head", "One", "two", "three", "four", "five", "a", "b", "\u00e9"]
    assert "One two\nthree" in document.content


def test_broken_html_still_gives_its_words() -> None:
    assert read_document(b"<html><body><p>one <b>two<i></p><table><p>three").content.split() == [
        "one",
        "two",
        "three",
    ]


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (
            "\ufeff1\r\n00:00:01,000 --> 00:00:02,500\r\n<i>The lamp</i> turns\r\n\r\n"
            "2\r\n00:00:03,000 --> 00:00:04,000\r\nand waits.\r\n",
            "application/x-subrip",
        ),
        (
            "WEBVTT - film\n\nNOTE not spoken\n\n00:01.000 --> 00:02.500 align:left\n"
            "<v Ines>The lamp turns\n\ntwo\n00:00:03.000 --> 00:00:04.000\nand waits.",
            "text/vtt",
        ),
    ],
)
def test_subtitles_give_what_is_spoken(data: str, kind: str) -> None:
    document = read_document(data.encode(), filename="a.txt")
    assert document.content_type == kind
    assert document.content == "The lamp turns\nand waits."
    assert document.metadata == {"cues": 2, "starts": 1.0, "ends": 4.0, "times": [[1.0, 2.5], [3.0, 4.0]]}


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ((SAMPLE / "script.docx").read_bytes(), WORD),
        (pdf(), "application/pdf"),
        (epub(), "application/epub+zip"),
        (odt(), "application/vnd.oasis.opendocument.text"),
        (rb"{\rtf1\ansi " + WORDS.encode() + b"}", "application/rtf"),
    ],
    ids=["docx", "pdf", "epub", "odt", "rtf"],
)
def test_documents_are_known_by_their_bytes(data: bytes, kind: str) -> None:
    document = read_document(io.BytesIO(data), filename="no-hint")
    assert (document.content_type, document.language, document.encoding) == (kind, "en", None)
    assert "lamp" in document.content
    assert not set("\0\r") & set(document.content)
    assert document.checksum == hashlib.sha256(data).hexdigest()


def test_a_document_states_its_title() -> None:
    assert read_document(epub()).title == "The Book"


def test_a_pdf_locked_only_against_changes_is_read() -> None:
    assert "lamp" in read_document(pdf(password="")).content


# Charsets.

SENTENCES = {
    "cp1252": "Le gardien éteignit la lampe à l’aube, où la mer était déjà calme.",
    "cp1250": "Strážce majáku každý večer čekala dlouhá cesta vzhůru ke světlu.",
    "cp1251": "Смотритель маяка каждую ночь поднимался по лестнице, чтобы зажечь лампу.",
    "koi8-r": "Смотритель маяка каждую ночь поднимался по лестнице, чтобы зажечь лампу.",
    "cp866": "Смотритель маяка каждую ночь поднимался по лестнице, чтобы зажечь лампу.",
    "cp1253": "Ο φαροφύλακας ανέβαινε τις σκάλες κάθε βράδυ για να ανάψει τη λάμπα.",
    "cp1254": "Deniz feneri bekçisi her gece ışığı yakmak için merdivenleri çıkardı, çünkü yağmur yağıyordu.",
    "cp1255": "שומר המגדלור טיפס במדרגות בכל לילה כדי להדליק את המנורה.",
    "cp1256": "كان حارس المنارة يصعد الدرج كل ليلة ليشعل المصباح.",
    "cp874": "คนเฝ้าประภาคารปีนบันไดทุกคืนเพื่อจุดตะเกียง",
    "shift_jis": "灯台守は毎晩、ランプに火をともすために階段を上った。",
    "euc-jp": "灯台守は毎晩、ランプに火をともすために階段を上った。",
    "gb18030": "灯塔看守人每天晚上都要爬上楼梯点亮灯。",
    "big5": "燈塔看守人每天晚上都要爬上樓梯點亮燈。",
    "euc-kr": "등대지기는 매일 밤 등불을 켜기 위해 계단을 올랐다.",
}


@pytest.mark.parametrize(("charset", "sentence"), SENTENCES.items(), ids=SENTENCES)
def test_an_old_charset_is_told_from_the_writing(charset: str, sentence: str) -> None:
    document = read_document(sentence.encode(charset), filename="a.txt")
    assert document.content == sentence
    assert document.metadata["charset_detected"] is True


@pytest.mark.parametrize(
    ("mark", "charset"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
    ],
)
def test_a_byte_order_mark_tells_the_charset_and_is_no_content(mark: bytes, charset: str) -> None:
    document = read_document(mark + SENTENCES["cp1251"].encode(charset))
    assert (document.content, document.encoding, document.language) == (SENTENCES["cp1251"], charset, "ru")


def test_a_declared_charset_is_believed_when_the_bytes_agree() -> None:
    page = '<html><head><meta charset="windows-1251"></head><body>ёж</body></html>'.encode("cp1251")
    document = read_document(page)
    assert (document.content, document.encoding) == ("ёж", "cp1251")
    with pytest.raises(NotText):
        read_document('<?xml version="1.0" encoding="shift_jis"?><a>\u00ff\u00fe</a>'.encode("latin-1"))


@pytest.mark.parametrize(
    "data",
    [
        b"words\0more",
        bytes(range(1, 256)) * 4,
        b"\xff\xfea",
        codecs.BOM_UTF16_LE + b"\0\xd8a\0",
        b"\x93\xfa\x01\x02" * 20,
        b"\x00w\x00o\x00r\x00d",
    ],
    ids=["nul", "all bytes", "half a character", "surrogate", "controls", "utf-16 without a mark"],
)
def test_bytes_that_are_no_text_are_refused(data: bytes) -> None:
    with pytest.raises(NotText):
        read_document(data)


# Languages.


@pytest.mark.parametrize("entry", load_sample().translations, ids=lambda entry: entry.target_language)
def test_the_language_of_a_few_sentences_is_told(entry: object) -> None:
    content, expected = getattr(entry, "content", ""), getattr(entry, "target_language", "")
    found = detect_language(content, seconds=30, memory_bytes=2 << 30)
    assert found == expected.partition("-")[0]


@pytest.mark.parametrize("text", ["Hi there", "1234 5678 " * 30, "x = {a: [1, 2]}\n" * 9, "\u2014 \u2026"])
def test_what_is_too_little_to_judge_is_undetermined(text: str) -> None:
    assert detect_language(text, seconds=30, memory_bytes=2 << 30) == "und"


# Bad files.


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


BOMB = {"word__x": b"\0" * (40 << 20)}
REFUSED: dict[str, tuple[bytes, type[Refusal]]] = {
    "empty": (b"", EmptyFile),
    "blank": (b" \n\t", NoText),
    "page without words": (b"<html><body><img src=x></body></html>", NoText),
    "picture named as text": (b"\x89PNG\r\n\x1a\n" + b"x" * 99, UnsupportedType),
    "film": ((SAMPLE / "film.mp4").read_bytes(), UnsupportedType),
    "plain archive": (archive({"a.txt": "x"}), UnsupportedType),
    "subtitles without cues": (b"WEBVTT\n\n", DamagedFile),
    "cut pdf": (truncated(pdf()), DamagedFile),
    "cut docx": (truncated(docx()), DamagedFile),
    "cut epub": (truncated(epub()), DamagedFile),
    "pdf in name only": (b"%PDF-1.4\n" + os.urandom(2000), DamagedFile),
    "deep pdf": (b"%PDF-1.4\n1 0 obj " + b"[" * 300_000, DamagedFile),
    "locked pdf": (pdf(password="secret"), EncryptedFile),
    "locked odt": (odt('<m:encryption-data m:checksum="x"/>'), EncryptedFile),
    "locked office file": (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 99 + "EncryptedPackage".encode("utf-16-le"),
        EncryptedFile,
    ),
    "locked epub": (
        epub(**{"META-INF__encryption.xml": '<e><EncryptionMethod Algorithm="aes"/></e>'}),
        EncryptedFile,
    ),
    "bomb": (docx(**BOMB), UnsafeArchive),
    "entities": (docx(word__e='<!DOCTYPE a [<!ENTITY b "bbb">]><a>&b;</a>'), UnsafeArchive),
    "entities in utf-16": (
        docx(word__e='<!DOCTYPE a [<!ENTITY b "b">]><a/>'.encode("utf-16")),
        UnsafeArchive,
    ),
}


@pytest.mark.parametrize(("data", "kind"), REFUSED.values(), ids=REFUSED)
def test_a_bad_file_is_refused_with_its_reason(data: bytes, kind: type[Refusal]) -> None:
    with pytest.raises(Refusal) as caught:
        read_document(data, filename="a.txt")
    assert type(caught.value) is kind
    assert str(caught.value)
    assert "lamp" not in str(caught.value)


def test_an_archive_that_lies_of_its_sizes_is_refused() -> None:
    data = bytearray(docx(**BOMB))
    place = data.rfind(b"word/x.xml") - 46 + 24
    struct.pack_into("<I", data, place, 100)
    with pytest.raises((UnsafeArchive, DamagedFile)):
        read_document(bytes(data))


def test_an_encrypted_entry_is_seen_in_the_archive_itself() -> None:
    data = bytearray(epub())
    place = data.find(b"PK\1\2")
    while place >= 0:
        data[place + 8] |= 1
        place = data.find(b"PK\1\2", place + 4)
    with pytest.raises(EncryptedFile):
        read_document(bytes(data))


@pytest.mark.parametrize("limits", [Limits(archive_bytes=1000), Limits(archive_entries=2)])
def test_the_limits_of_an_archive_hold(limits: Limits) -> None:
    with pytest.raises(UnsafeArchive):
        read_document(docx(), limits=limits)


class Endless:
    """A stream that never ends, and counts what was taken of it."""

    def __init__(self) -> None:
        self.given = 0

    def read(self, size: int, /) -> bytes:
        self.given += size
        return b"x" * size


def test_the_size_is_counted_while_reading(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"x" * 101)
    limits, stream = Limits(file_bytes=100), Endless()
    for source in (tmp_path / "a.txt", b"x" * 101, stream):
        with pytest.raises(FileTooLarge):
            read_document(source, limits=limits)
    assert stream.given == 101
    assert read_document(b"x" * 100, limits=limits).size_bytes == 100


def test_the_text_taken_out_is_limited() -> None:
    for data in (docx(), SENTENCES["cp1251"].encode()):
        with pytest.raises(FileTooLarge):
            read_document(data, limits=Limits(text_bytes=100))


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def link(path: Path) -> Path:
    path.with_suffix(".real").write_text("x")
    path.symlink_to(path.with_suffix(".real"))
    return path


@pytest.mark.parametrize("make", [fifo, link, lambda path: path.parent, lambda _: Path("/dev/zero")])
def test_only_regular_files_are_opened(make: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(NotARegularFile):
        read_document(make(tmp_path / "x"))


def test_a_path_that_is_not_there_is_refused_and_one_with_nul_too(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", f"{tmp_path}/a\0b"):
        with pytest.raises(UnreadableFile):
            read_document(path)


def test_a_stream_of_text_is_refused() -> None:
    with pytest.raises(UnreadableFile, match="binary"):
        read_document(io.StringIO("x"))  # type: ignore[arg-type]  # the mistake that is tested


def test_nothing_below_a_root_leads_out_of_it(tmp_path: Path) -> None:
    (tmp_path / "root" / "sub").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.txt").write_text("secret")
    (tmp_path / "root" / "sub" / "a.txt").write_text("mine")
    (tmp_path / "root" / "way-out").symlink_to(tmp_path / "outside")
    root = tmp_path / "root"
    with open_regular("sub/a.txt", root=root) as file:
        assert file.read() == b"mine"
    for path in ("way-out/a.txt", "../outside/a.txt", str(tmp_path / "outside" / "a.txt"), "sub/../../x"):
        with pytest.raises(NotARegularFile), open_regular(path, root=root):
            pass


def test_a_fingerprint_is_that_of_the_document(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(WORDS)
    print_, document = fingerprint(tmp_path / "a.txt", limit=1000), read_document(tmp_path / "a.txt")
    assert (print_.size_bytes, print_.checksum) == (document.size_bytes, document.checksum)


# The process that reads documents.


def test_a_document_that_takes_too_long_costs_one_refusal() -> None:
    read_document(docx())
    hanging = isolation.processes()
    for pid in hanging:
        os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ExtractionTimeout):
        read_document(docx(), limits=Limits(seconds=0.3))
    assert len(isolation.processes()) == len(hanging) - 1
    for pid in isolation.processes():
        os.kill(pid, signal.SIGCONT)
    assert "lamp" in read_document(docx()).content


def test_a_reader_that_dies_is_replaced() -> None:
    read_document(docx())
    for pid in isolation.processes():
        os.kill(pid, signal.SIGKILL)
    assert "lamp" in read_document(docx()).content


def is_over(pid: int) -> bool:
    """Tell whether a process is gone, or a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_reader_that_cannot_start_is_no_fault_of_the_file() -> None:
    with pytest.raises(ExtractorUnavailable):
        read_document(docx(), limits=Limits(memory_bytes=1 << 20))


@pytest.fixture
def empty_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make readers start as on a machine where none has run, and leave none of them behind."""
    isolation.close()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    isolation.close()


def test_the_first_pdf_of_a_machine_is_read(empty_temporary_folder: Path) -> None:
    assert "lamp" in read_document(pdf()).content
    [folder] = empty_temporary_folder.iterdir()
    assert folder.name == f"database-handler-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("plant", [lambda path: path.mkdir(mode=0o777), lambda path: path.symlink_to("/")])
def test_a_folder_that_somebody_else_may_write_to_brings_no_library(
    empty_temporary_folder: Path, plant: Callable[[Path], None]
) -> None:
    planted = empty_temporary_folder / f"database-handler-{os.getuid()}"
    plant(planted)
    if not planted.is_symlink():
        planted.chmod(0o777)
    assert "lamp" in read_document(pdf()).content
    [private] = [folder for folder in empty_temporary_folder.iterdir() if folder != planted]
    assert private.stat().st_mode & 0o777 == 0o700
    assert any(private.rglob("libpdfium*"))


def test_a_reader_without_a_temporary_folder_is_no_fault_of_the_file(empty_temporary_folder: Path) -> None:
    empty_temporary_folder.rmdir()
    with pytest.raises(ExtractorUnavailable, match="temporary folder"):
        read_document(pdf())
    empty_temporary_folder.mkdir()


FORK = """
import os, sys
from database_handler.content import isolation, read_document
def reads(): return "lamp" in read_document(sys.argv[1]).content
assert reads()
before = isolation.processes()
if (child := os.fork()) == 0:
    os._exit(0 if reads() and not set(isolation.processes()) & set(before) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert isolation.processes() == before and reads()
"""


def test_after_a_fork_the_child_reads_with_a_process_of_its_own() -> None:
    subprocess.run(
        [sys.executable, "-c", FORK, str(SAMPLE / "script.docx")], cwd=ROOT, check=True, timeout=60
    )


def test_no_reader_outlives_an_application_that_was_killed() -> None:
    code = (
        "import sys; from database_handler.content import isolation, read_document;"
        "read_document(sys.argv[1]); print(*isolation.processes(), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(SAMPLE / "script.docx")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as application:
        assert application.stdout is not None
        (reader,) = map(int, application.stdout.readline().split())
        application.kill()
    eventually(lambda: is_over(reader))


def test_without_the_extra_plain_kinds_are_read_and_the_error_names_it(tmp_path: Path) -> None:
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith("kreuzberg"):
            (tmp_path / entry.name).symlink_to(entry)
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}]; sys.path.append({str(tmp_path)!r})\n"
        "from database_handler.content import read_document\n"
        "from database_handler.core.exceptions import MissingExtra\n"
        "assert read_document('\u05e9\u05dc\u05d5\u05dd'.encode()).language == 'he'\n"
        "assert read_document(b'<html><p>x</html>').content == 'x'\n"
        f"try: read_document({str(SAMPLE / 'script.docx')!r})\n"
        "except MissingExtra as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False)
    assert "database-handler[documents]" in done.stdout, done.stderr


def test_an_application_may_read_a_kind_by_itself() -> None:
    register_extractor("application/pdf", lambda data, limits: Extracted(f"{len(data)} \0", title=" a\nb "))
    try:
        document = read_document(pdf())
    finally:
        register_extractor("application/pdf", None)
    assert (document.content, document.title) == (f"{len(pdf())} \ufffd", "a b")
    assert "lamp" in read_document(pdf()).content
