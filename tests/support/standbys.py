"""Real standbys of an embedded server, made with the wheel's own pg_basebackup, which stream from it."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.session import Session, Statement
from database_handler.core.transaction import Autocommit
from database_handler.embedded import EmbeddedServer
from tests.support.faults import eventually

__all__ = [
    "copied_for_standby",
    "crash",
    "follow",
    "let_in_the_servers_own_user",
    "paused",
    "processes_of",
    "session_of",
]


class Server(Protocol):
    """A server that runs, whoever holds it."""

    @property
    def config(self) -> DatabaseConfig: ...


def session_of(server: Server) -> Session:
    return Autocommit(lambda: dedicated(server.config)).session


def let_in_the_servers_own_user(primary: EmbeddedServer) -> None:
    """What streams to the standby is its own process: of another user, where root runs the tests."""
    data = primary.path / "data"
    with (data / "pg_ident.conf").open("a", encoding="utf-8") as users:
        users.write(f'embedded "{data.owner()}" all\n')
    session_of(primary).all(Statement("SELECT pg_reload_conf()", "test.reload"))


def copied_for_standby(
    primary: EmbeddedServer, folder: Path, settings: Mapping[str, str] | None = None
) -> Path:
    """Make a copy of the primary's cluster that follows it once it is started; return its folder.

    The primary has let in the servers' own user.
    """
    folder.mkdir(exist_ok=True)
    (folder / "database-handler.lock").touch(mode=0o600)  # a folder of the library's, for its server to take
    source = ["--host", str(primary.socket_dir), "--port", str(primary.config.port), "--username", "postgres"]
    command = [str(primary.bin_dir / "pg_basebackup"), "--pgdata", str(folder / "data"), *source]
    command += ["--write-recovery-conf", "--checkpoint", "fast", "--wal-method", "fetch", "--no-sync"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    with (folder / "data" / "postgresql.auto.conf").open("a", encoding="utf-8") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in (settings or {}).items())
    return folder


def follow(primary: Server, standby: Server) -> None:
    """Wait until the standby has all that the primary has done."""
    # A word of our own in the log, which takes all before it to the disk: from there it goes to the standbys.
    word = Statement("SELECT pg_logical_emit_message(false, 'test', 'follow', true)::text", "test.done")
    [done] = session_of(primary).one(word)
    reached = Statement("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", "test.reached")
    eventually(lambda: session_of(standby).one(reached, [done]) == (True,))


@contextmanager
def paused(*standbys: Server) -> Iterator[None]:
    """Have standbys replay nothing inside the block."""
    try:
        for each in standbys:
            session_of(each).all(Statement("SELECT pg_wal_replay_pause()", "test.pause"))
            eventually(partial(_is_paused, session_of(each)))
        yield
    finally:
        for each in standbys:
            session_of(each).all(Statement("SELECT pg_wal_replay_resume()", "test.resume"))


def _is_paused(session: Session) -> bool:
    state = Statement("SELECT pg_get_wal_replay_pause_state()", "test.paused")
    return session.one(state) == ("paused",)


def processes_of(postmaster: int) -> list[int]:
    """Return the process numbers of a server, its first process first."""
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    return [postmaster, *map(int, children)]


def crash(server: EmbeddedServer) -> None:
    """Have all processes of a server end where they stand."""
    os.kill(server.pid, signal.SIGQUIT)
    server.close()
