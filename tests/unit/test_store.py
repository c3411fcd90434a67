"""The file store: what is put comes back byte for byte, or as one typed error, wherever it lies."""

import hashlib
import io
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from database_handler.content.errors import (
    FileDamaged,
    FileMissing,
    FileTooLarge,
    NotARegularFile,
    StoreUnavailable,
    UnreadableFile,
)
from database_handler.content.store import FileStore, StoredFile, checksum_of, uri_of
from database_handler.core.exceptions import ConfigurationError, InvalidValue, MissingExtra
from tests.support.filesystems import Bucket, Share, register

ROOT = Path(__file__).parents[2]
DATA = b"the lamp turns, and it waits\n" * 20_000  # several pieces


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(params=["folder", "memory", "bucket", "share"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FileStore]:
    register()
    name = uuid4().hex
    yield FileStore(tmp_path / "files" if request.param == "folder" else f"{request.param}://{name}/below")
    for kind in (Bucket, Share):
        kind.objects.clear()
        kind.fails.clear()
    Share.seen.clear()


@pytest.fixture
def folder(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "files")


def path_of(store: FileStore, uri: str) -> Path:
    return Path(store.url) / uri.removeprefix("store:")


# In and out.


@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=["nothing", "a byte", "several pieces"])
def test_what_is_put_comes_back(store: FileStore, data: bytes, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(data)
    stored = store.put(data)
    assert stored == StoredFile(uri_of(sha256(data)), sha256(data), len(data))
    assert store.put(io.BytesIO(data)) == store.put(tmp_path / "source") == stored
    assert store.read(stored.uri) == data
    assert store.exists(stored.uri)
    assert store.verify(stored.uri) == len(data)
    assert list(store.iterate()) == [stored], "the same content is one file"
    assert store.delete(stored.uri)
    assert not store.delete(stored.uri)
    assert not store.exists(stored.uri)
    assert list(store.iterate()) == []


def test_a_stream_is_read_as_its_reader_likes(store: FileStore) -> None:
    uri = store.put(DATA).uri
    with store.open(uri) as file:
        assert file.read(10) == DATA[:10]
        assert file.readline() == DATA[10 : DATA.index(b"\n") + 1]
        assert file.read() == DATA[DATA.index(b"\n") + 1 :]
        assert file.read() == b""


def test_files_come_in_the_order_of_their_checksums(store: FileStore) -> None:
    put = [store.put(f"file {number}".encode()) for number in range(9)]
    assert list(store.iterate()) == sorted(put, key=lambda file: file.checksum)
    first = put[0].checksum[:2]
    assert all(file.checksum.startswith(first) for file in store.iterate(first))


@settings(max_examples=12, deadline=None)
@given(st.binary(max_size=2000), st.integers(0, 2000))
def test_the_limit_is_counted_in_every_way_in(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, limit: int
) -> None:
    store = FileStore(tmp_path_factory.mktemp("limit"))
    for source in (data, io.BytesIO(data)):
        if len(data) > limit:
            with pytest.raises(FileTooLarge):
                store.put(source, limit=limit)
            assert list(store.iterate()) == []
        else:
            assert store.put(source, limit=limit).size_bytes == len(data)


def test_a_file_that_is_not_there_is_named_by_its_checksum(store: FileStore) -> None:
    for read in (store.open, store.read, store.verify):
        with pytest.raises(FileMissing) as caught:
            read(uri_of(sha256(b"never put")))
        assert caught.value.checksum == sha256(b"never put")
        assert sha256(b"never put") in str(caught.value)
        assert store.url not in str(caught.value)


def damaged(store: FileStore, uri: str, change: Callable[[bytes], bytes]) -> None:
    """Alter a stored file behind the store's back."""
    if store.url.startswith("memory://"):
        from fsspec.implementations.memory import MemoryFileSystem

        name = f"/{store.url.removeprefix('memory://')}/{uri.removeprefix('store:')}"
        filesystem = MemoryFileSystem()
        filesystem.pipe_file(name, change(filesystem.cat_file(name)))
    elif "://" in store.url:
        objects = (Bucket if store.url.startswith("bucket") else Share).objects
        name = f"{store.url.partition('://')[2]}/{uri.removeprefix('store:')}"
        objects[name] = change(objects[name])
    else:
        path_of(store, uri).write_bytes(change(path_of(store, uri).read_bytes()))


def read_into(taken: bytearray, store: FileStore, uri: str) -> None:
    with store.open(uri) as file:
        while piece := file.read(100_000):
            taken += piece


@pytest.mark.parametrize(
    "change",
    [lambda data: data[:-1], lambda data: data + b"x", lambda data: b"X" + data[1:], lambda _: b""],
    ids=["cut", "longer", "a byte", "emptied"],
)
def test_a_damaged_file_is_never_believed_and_mended_by_the_next_put(
    store: FileStore, change: Callable[[bytes], bytes]
) -> None:
    uri = store.put(DATA).uri
    damaged(store, uri, change)
    taken = bytearray()
    with pytest.raises(FileDamaged) as caught:
        read_into(taken, store, uri)
    assert caught.value.checksum == sha256(DATA)
    assert len(taken) < len(change(DATA)) or not change(DATA), "the last piece was not given out"
    with pytest.raises(FileDamaged):
        store.verify(uri)
    store.put(DATA)
    assert store.read(uri) == DATA


def test_a_small_file_is_checked_before_its_first_byte(folder: FileStore) -> None:
    uri = folder.put(b"small").uri
    damaged(folder, uri, lambda _: b"smelt")
    with folder.open(uri) as file:
        for _ in range(2):
            with pytest.raises(FileDamaged):
                file.read(1)


def test_the_row_s_checksum_is_compared(folder: FileStore) -> None:
    uri = folder.put(b"small").uri
    assert folder.read(uri, sha256(b"small")) == b"small"
    with pytest.raises(FileDamaged):
        folder.open(uri, sha256(b"other"))


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/etc/passwd",
        "file:///etc/passwd",
        "store:../../etc/passwd",
        "store:sha256/ab/cd/../../../../etc/passwd",
        "store:sha256/ab/cd/" + "ef" * 32,
        "store:sha256/ef/ef/" + "EF" * 32,
        "store:sha256/ef/ef/" + "ef" * 32 + "\n",
        "store:sha256/ef/ef/" + "ef" * 31,
    ],
)
def test_no_other_name_reaches_the_store(store: FileStore, uri: str) -> None:
    for call in (store.open, store.exists, store.delete, store.set_aside, store.bring_back, checksum_of):
        with pytest.raises(InvalidValue):
            call(uri)


def test_a_file_set_aside_is_out_of_sight_and_can_come_back(store: FileStore) -> None:
    stored = store.put(DATA)
    assert store.set_aside(stored.uri)
    assert not store.set_aside(stored.uri)
    assert (store.exists(stored.uri), store.set_asides(), list(store.iterate())) == (False, [stored], [])
    assert store.bring_back(stored.uri)
    assert not store.bring_back(stored.uri)
    assert store.read(stored.uri) == DATA
    store.set_aside(stored.uri)
    assert store.discard(stored.uri)
    assert not store.discard(stored.uri)
    assert store.set_asides() == []


def test_the_store_knows_whom_it_serves(store: FileStore) -> None:
    assert store.owners() == []
    for owner in ("one", "two", "one"):
        store.claim(owner)
    FileStore(store.url).claim("one")
    assert sorted(store.owners()) == ["one", "two"]
    assert store.disown("two")
    assert not store.disown("two")
    assert store.owners() == ["one"]
    assert list(store.iterate()) == []


# A folder.


def test_a_folder_is_for_its_owner_alone_and_holds_nothing_unfinished(folder: FileStore) -> None:
    assert not Path(folder.url).exists(), "nothing is made before something is put"
    uri = folder.put(DATA).uri
    for path in (path_of(folder, uri), *path_of(folder, uri).parents[:4]):
        assert path.stat().st_mode & 0o077 == 0, path
    with pytest.raises(FileTooLarge):
        folder.put(io.BytesIO(DATA), limit=1000)
    assert list((Path(folder.url) / "unfinished").iterdir()) == []


def test_a_relative_folder_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = FileStore("files")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    uri = store.put(b"x").uri
    assert FileStore((tmp_path / "files").as_uri()).read(uri) == b"x"


@pytest.mark.parametrize("step", ["sha256", "sha256/2d", "sha256/2d/71", "unfinished"])
def test_a_link_inside_the_store_is_not_followed(folder: FileStore, step: str, tmp_path: Path) -> None:
    data = b"x"
    assert sha256(data).startswith("2d71")
    outside = tmp_path / "outside"
    outside.mkdir()
    link = Path(folder.url) / step
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    with pytest.raises(StoreUnavailable):
        folder.put(data)
    assert list(outside.iterdir()) == []


def test_a_link_in_the_place_of_a_file_is_not_read_and_is_replaced(folder: FileStore, tmp_path: Path) -> None:
    uri = folder.put(b"x").uri
    (tmp_path / "secret").write_bytes(b"x")
    path_of(folder, uri).unlink()
    path_of(folder, uri).symlink_to(tmp_path / "secret")
    with pytest.raises(StoreUnavailable):
        folder.read(uri)
    assert list(folder.iterate()) == []


def test_a_full_disk_is_one_error_and_leaves_nothing(folder: FileStore) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    folder.put(b"x")
    code = (
        "import signal, sys; from database_handler.content.store import FileStore\n"
        "from database_handler.content.errors import StoreUnavailable\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from tests.support.full_disk import files_of_at_most\n"
        "with files_of_at_most(10_000):\n"
        "    try: FileStore(sys.argv[1]).put(b'x' * 20_000)\n"
        "    except StoreUnavailable as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder.url], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "the file store cannot write: file too large\n", done.stderr
    assert (resource.getrlimit(resource.RLIMIT_FSIZE), len(list(folder.iterate()))) == ((soft, hard), 1)
    assert list((Path(folder.url) / "unfinished").iterdir()) == []


def test_what_a_dead_writer_left_is_cleared_and_what_is_written_is_not(folder: FileStore) -> None:
    folder.put(b"x")
    left = Path(folder.url) / "unfinished" / "left"
    left.write_bytes(b"half")
    fresh = Path(folder.url) / "unfinished" / "fresh"
    fresh.write_bytes(b"half")
    os.utime(left, (0, 0))

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            for path in (Path(folder.url) / "unfinished").iterdir():
                if path != fresh:
                    os.utime(path, (0, 0))
            cleared.append(folder.clear_unfinished())
            return super().read(size)

    cleared: list[int] = []
    uri = folder.put(Slow(b"slow")).uri
    assert cleared == [1, 0], "the one being written is left alone"
    assert folder.read(uri) == b"slow"
    assert [path.name for path in (Path(folder.url) / "unfinished").iterdir()] == ["fresh"]


def test_many_threads_put_one_content_and_readers_never_see_half_of_it(folder: FileStore) -> None:
    uri, stop, failures = uri_of(sha256(DATA)), threading.Event(), list[Exception]()

    def write() -> None:
        try:
            for _ in range(5):
                folder.put(io.BytesIO(DATA))
        except Exception as error:  # noqa: BLE001  # told below
            failures.append(error)

    def read() -> None:
        while not stop.is_set():
            try:
                assert folder.read(uri) == DATA
            except FileMissing:
                continue
            except Exception as error:  # noqa: BLE001  # told below
                failures.append(error)
                return

    writers = [threading.Thread(target=write) for _ in range(3)]
    reader = threading.Thread(target=read)
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join(30)
    stop.set()
    reader.join(30)
    assert failures == []
    assert len(list(folder.iterate())) == 1


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/etc/passwd"), Path.mkdir])
def test_only_a_regular_file_is_put(
    folder: FileStore, make: Callable[[Path], object], tmp_path: Path
) -> None:
    make(tmp_path / "x")
    with pytest.raises(NotARegularFile):
        folder.put(tmp_path / "x")
    with pytest.raises(UnreadableFile):
        folder.put(tmp_path / "missing")
    assert not list(folder.iterate())


MEASURED = """
import resource, sys
from database_handler.content.store import FileStore
class Zeros:
    left = 1 << 30
    given = 0
    def read(self, size, /):
        size = min(size, self.left)
        self.left -= size
        Zeros.given += size
        return bytes(size)
store = FileStore(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.argv[2] == "put":
    with open(sys.argv[3], "wb") as sparse:
        sparse.truncate(64 << 20)
    uri = store.put(sys.argv[3]).uri
    assert store.verify(uri) == 64 << 20
else:
    try: store.put(Zeros(), limit=64 << 20)
    except Exception as error: assert type(error).__name__ == "FileTooLarge"
    assert Zeros.given == (64 << 20) + 1
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("way", ["put", "limit"])
def test_memory_stays_small_whatever_the_size(folder: FileStore, tmp_path: Path, way: str) -> None:
    command = [sys.executable, "-c", MEASURED, folder.url, way, str(tmp_path / "sparse")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) < 16, "MiB"


# Through fsspec.


def test_an_unfinished_upload_is_seen_under_no_name_of_a_file(tmp_path: Path) -> None:
    register()
    Share.seen.clear()
    store = FileStore(f"share://{uuid4().hex}")
    stored = store.put(DATA)
    assert Share.seen
    assert not any("sha256" in name for name in Share.seen)
    assert list(store.iterate()) == [stored]


@pytest.mark.parametrize(
    ("operation", "call"),
    [
        ("wb", lambda store, uri: store.put(b"another")),
        ("rb", lambda store, uri: store.read(uri)),
        ("ls", lambda store, uri: list(store.iterate())),
        ("rm", lambda store, uri: store.delete(uri)),
    ],
)
def test_a_failure_of_the_file_system_is_one_typed_error(
    operation: str, call: Callable[[FileStore, str], object]
) -> None:
    register()
    store = FileStore(f"bucket://{uuid4().hex}")
    uri = store.put(DATA).uri
    Bucket.fails[operation] = PermissionError("the key hunter2 is refused")
    try:
        with pytest.raises(StoreUnavailable) as caught:
            call(store, uri)
    finally:
        Bucket.fails.clear()
    assert "hunter2" not in str(caught.value)
    assert "PermissionError" in str(caught.value)
    assert [file.uri for file in store.iterate()] == [uri]


def test_uploads_given_up_long_ago_are_cleared() -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    name = uuid4().hex
    store, filesystem = FileStore(f"memory://{name}"), MemoryFileSystem()
    for left in ("old", "fresh"):
        filesystem.pipe_file(f"/{name}/unfinished/{left}", b"half")
    filesystem.store[f"/{name}/unfinished/old"].modified = datetime(2020, 1, 1, tzinfo=UTC)
    assert store.clear_unfinished() == 1
    assert filesystem.ls(f"/{name}/unfinished", detail=False) == [f"/{name}/unfinished/fresh"]


@pytest.mark.parametrize("missing", ["fsspec", "s3fs"])
def test_a_missing_package_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtra, match=rf"database-handler\[storage\].*{missing}"):
        FileStore("s3://bucket/prefix")


@pytest.mark.parametrize("url", ["", "ftp://user:hunter2@host/x", "a\nb", "file://host/x"])
def test_a_wrong_place_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        FileStore(url)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigurationError):
        FileStore("files", {"key": "x"})
