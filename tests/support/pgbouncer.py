"""A real PgBouncer of the test's own, in transaction mode, that hides nothing: it cleans no connection.

Its clients' transactions go to its few server connections in turn, so that what one client leaves behind is
met by another. It ends with the block. Where the program is not installed, `PROGRAM` is None, and tests that
need it are not collected.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from database_handler.config.database import DatabaseConfig
from database_handler.core.connection import dedicated
from database_handler.core.exceptions import DatabaseHandlerError
from database_handler.core.transaction import Autocommit
from tests.support.faults import eventually

__all__ = ["PROGRAM", "PgBouncer"]

PROGRAM: Final = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

_SETTINGS = {
    "pool_mode": "transaction",
    "auth_type": "any",  # the folder of its socket is closed to others
    "default_pool_size": 2,
    "max_client_conn": 500,
    "server_round_robin": 1,
    "server_reset_query": "",
    "server_login_retry": 1,
    "unix_socket_mode": "0777",
    "listen_port": 5432,
    "logfile": "",
    "log_connections": 0,
    "log_disconnections": 0,
    "log_stats": 0,
}


class PgBouncer:
    """A pooler in front of a server, any of whose databases can be reached through it.

    Parameters
    ----------
    server : DatabaseConfig
        Where; the pooler logs in as its user.
    **settings
        Of pgbouncer.ini, over those that these tests begin with.
    """

    def __init__(self, server: DatabaseConfig, **settings: object) -> None:
        assert PROGRAM is not None
        self._server = server
        self._settings = _SETTINGS | settings
        self._account = _account(server)
        self.folder = Path(tempfile.mkdtemp(prefix="pgb-"))  # pytest's own is too long for a socket

    def config(self, config: DatabaseConfig, **changes: object) -> DatabaseConfig:
        """Return how to reach a database of the server through the pooler."""
        place: dict[str, object] = {"host": str(self.folder), "port": 5432, "sslmode": "disable"}
        return config.with_(**{**place, "password": None, "pgbouncer": True} | changes)

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        """Start it; return when the server answers through it."""
        path = self.folder / "pgbouncer.ini"
        path.write_text(self._ini())
        path.chmod(0o600)
        if self._account is not None:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)
            os.chown(self.folder, self._account.pw_uid, self._account.pw_gid)
            _let_in(self._server, self._account.pw_name)
        self._log = (self.folder / "log").open("ab")
        account = self._account
        self.process = subprocess.Popen(
            [str(PROGRAM), str(path)],
            stderr=self._log,
            stdout=self._log,
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
            extra_groups=None if account is None else [],
        )
        eventually(self._answers)

    def _ini(self) -> str:
        server = self._server
        place = {"host": server.host, "port": server.port, "user": server.user}
        if password := server.current_password():
            place["password"] = password.get_secret_value()
        words = " ".join("{}='{}'".format(key, str(text).replace("'", "''")) for key, text in place.items())
        lines = [f"{name} = {text}" for name, text in self._settings.items()]
        return "\n".join(
            ["[databases]", f"* = {words}", "[pgbouncer]", f"unix_socket_dir = {self.folder}", *lines, ""]
        )

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log()
        with suppress(DatabaseHandlerError):
            lease = dedicated(self.config(self._server, name="postgres"), timeout=5)
            Autocommit(lambda: lease).session.one("SELECT 1")
            return True
        return False

    def log(self) -> str:
        """Return what it has said so far."""
        return (self.folder / "log").read_text()

    def stop(self) -> None:
        """End it at once, as a crash does; its clients lose their connections."""
        self.process.kill()
        self.process.wait(20)
        self._log.close()
        (self.folder / ".s.PGSQL.5432").unlink(missing_ok=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder)


def _account(server: DatabaseConfig) -> pwd.struct_passwd | None:
    """Return whom to run it as; None: as this process's own user. As root it refuses to run."""
    if os.geteuid() != 0:
        return None
    if not server.host.startswith("/"):
        return pwd.getpwnam("nobody")
    return pwd.getpwuid((Path(server.host) / f".s.PGSQL.{server.port}").stat().st_uid)


def _let_in(server: DatabaseConfig, name: str) -> None:
    """Have an embedded server, whom only its maker may enter, let in the user that the pooler runs as."""
    session = Autocommit(lambda: dedicated(server)).session
    line = f'embedded "{name}" all'
    path, known = session.one(
        "SELECT current_setting('ident_file'), pg_read_file(current_setting('ident_file'))"
    )
    lines = known.splitlines()
    if line in lines or not any(each.startswith("embedded ") for each in lines):
        return
    rows = ", ".join(f"('{each}')" for each in (*lines, line))
    before = session.one("SELECT pg_conf_load_time()")[0]
    session.script(f"COPY (VALUES {rows}) TO '{path}'; SELECT pg_reload_conf()")
    eventually(lambda: session.one("SELECT pg_conf_load_time()")[0] > before)
