"""Says why a connection could not be made, by facts of the protocol and never by a message's text.

The driver reports each failed connect alike, without a SQLSTATE. So after a failure the server is asked
again, with a start-up exchange of our own that reads the error's code: one socket, bounded by a deadline,
closed as soon as the reason is known.

Sources: PostgreSQL 18, "Frontend/Backend Protocol", message flow and formats; RFC 5802 and RFC 7677 (SCRAM).
"""

import hashlib
import hmac
import re
import secrets
import socket
import ssl
import struct
import unicodedata
from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from database_handler.config.database import DatabaseConfig
from database_handler.config.libpq_files import Place, password_of
from database_handler.config.settings import libpq_files
from database_handler.core.exceptions import (
    ConfigurationError,
    DatabaseHandlerError,
    DatabaseUnavailable,
    error_class,
)

__all__ = ["AttemptFailed", "diagnose"]

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_PROTOCOL_3 = 196608
_MOST_BYTES = 64 * 1024  # of one message: a start-up reply is far below
_MOST_ITERATIONS = 1_000_000  # of SCRAM's hash: a hostile server must not keep the processor busy
_POOLERS = "08P01"  # PgBouncer's word for all that it refuses, or that the server behind it told
_PLAIN = "disable", "allow"  # the modes that try without TLS first


class AttemptFailed(DatabaseUnavailable):
    """The server is there, and yet the attempt failed: it restarts, or was full a moment ago."""


def diagnose(config: DatabaseConfig, seconds: float) -> DatabaseHandlerError:
    """Ask the server why it takes no connection, within `seconds`, and return the error that says so.

    Parameters
    ----------
    config : DatabaseConfig
        What the failed attempt was made with.
    seconds : float
        The time there is for asking; with none left the answer is `DatabaseUnavailable`.

    Returns
    -------
    DatabaseHandlerError
        `DatabaseUnavailable` (can be retried), `ResourcesExhausted` (can be retried), `ConfigurationError`,
        `AuthenticationFailed`, or the class of the SQLSTATE that the server named.
    """
    deadline = monotonic() + seconds
    found: DatabaseHandlerError = DatabaseUnavailable("connect: no host is configured")
    hosts = config.host.split(",")
    for host, port in zip(hosts, config.ports or [config.port] * len(hosts), strict=True):
        found = _diagnose_host(config, _Place(host, port), deadline)
        if not isinstance(found, DatabaseUnavailable):
            return found
    return found


@dataclass(frozen=True)
class _Place:
    host: str
    port: int

    @property
    def is_local(self) -> bool:
        return self.host.startswith("/")

    def __str__(self) -> str:
        return f"connect to {self.host}:{self.port}"


def _diagnose_host(config: DatabaseConfig, place: _Place, deadline: float) -> DatabaseHandlerError:
    try:
        _exchange(config, place, deadline, _options(config))
    except _Refused as refused:
        asked = refused.sqlstate == _POOLERS and _options(config)
        return (_without_options(config, place, deadline) if asked else None) or refused.error(place)
    except ConfigurationError as error:
        return error
    except _NotPostgres:
        return ConfigurationError(f"{place}: what answers there is not PostgreSQL")
    except ssl.SSLError as error:
        return ConfigurationError(
            f"{place}: TLS could not be agreed on ({error.reason or 'no reason given'})"
        )
    except (ConnectionResetError, BrokenPipeError):
        return AttemptFailed(f"{place}: the server hung up before it answered")
    except OSError as error:
        reason = "no such host" if isinstance(error, socket.gaierror) else type(error).__name__
        return DatabaseUnavailable(
            f"{place}: the server cannot be reached ({reason}): does it run, and are host and port right?"
        )
    wanted = f" (target_session_attrs={config.target_session_attrs})" if config.target_session_attrs else ""
    return AttemptFailed(f"{place}: the attempt failed, though the server takes one now{wanted}")


def _exchange(config: DatabaseConfig, place: _Place, deadline: float, options: str) -> None:
    with _reached(place, deadline) as plain, _secured(config, place, plain) as stream:
        _Exchange(config, place, stream, deadline, options).run()


def _options(config: DatabaseConfig) -> str:
    return str(config.connect_arguments().get("options", ""))


def _without_options(config: DatabaseConfig, place: _Place, deadline: float) -> ConfigurationError | None:
    """Tell whether it was the start-up options: then it is let in without them."""
    try:
        _exchange(config, place, deadline, "")
    except (_Refused, _NotPostgres, ConfigurationError, OSError):
        return None
    return ConfigurationError(
        f"{place}: what answers there takes no start-up options, as PgBouncer does not: set "
        "pgbouncer=true for transaction mode"
    )


def _remaining(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _reached(place: _Place, deadline: float) -> socket.socket:
    if not place.is_local:
        return socket.create_connection((place.host, place.port), timeout=_remaining(deadline))
    stream = socket.socket(socket.AF_UNIX)
    try:
        stream.settimeout(_remaining(deadline))
        stream.connect(str(Path(place.host) / f".s.PGSQL.{place.port}"))
    except BaseException:
        stream.close()
        raise
    return stream


def _secured(config: DatabaseConfig, place: _Place, stream: socket.socket) -> socket.socket:
    """Turn to TLS where libpq would, with the checks that libpq makes."""
    if place.is_local or config.sslmode in _PLAIN:
        return stream
    stream.sendall(_SSL_REQUEST)
    answer = stream.recv(1)
    if answer == b"S":
        return _wrapped(config, place, stream)
    if answer == b"N" and config.sslmode == "prefer":
        return stream
    if answer == b"N":
        raise ConfigurationError(f"{place}: the server offers no TLS, and sslmode={config.sslmode} needs it")
    raise _NotPostgres if answer else ConnectionResetError


def _wrapped(config: DatabaseConfig, place: _Place, stream: socket.socket) -> socket.socket:
    try:
        return _tls(config).wrap_socket(stream, server_hostname=place.host)
    except ssl.SSLCertVerificationError as error:
        reason = error.verify_message
    except FileNotFoundError as error:
        reason = f"there is no file {error.filename or _authorities(config)}"
    raise ConfigurationError(f"{place}: TLS as sslmode={config.sslmode} asks for cannot be had ({reason})")


def _tls(config: DatabaseConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = config.sslmode == "verify-full"
    if config.sslcert:
        context.load_cert_chain(config.sslcert, config.sslkey)
    if not config.sslmode.startswith("verify-"):
        context.verify_mode = ssl.CERT_NONE
    elif str(_authorities(config)) == "system":
        context.load_default_certs()
    else:
        context.load_verify_locations(_authorities(config))
    return context


def _authorities(config: DatabaseConfig) -> Path:
    return config.sslrootcert or Path("~/.postgresql/root.crt").expanduser()  # libpq's default


class _NotPostgres(Exception):
    pass


class _Refused(Exception):
    """The server said why."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate
        self.message = message

    def error(self, place: _Place) -> DatabaseHandlerError:
        # A start-up error names the user, the database and the address, and quotes no value.
        text = f"{place}: {self.message} [{self.sqlstate}]"
        if self.sqlstate == "3D000":
            return ConfigurationError(f"{text}; `database-handler init` makes it", sqlstate=self.sqlstate)
        if self.sqlstate == _POOLERS:
            return DatabaseUnavailable(f"{text}, told by a pooler in between", sqlstate=self.sqlstate)
        return error_class(self.sqlstate)(text, sqlstate=self.sqlstate)


class _Exchange:
    """The start-up exchange up to the server's "ready" or its error, with the password sent as libpq does."""

    def __init__(
        self, config: DatabaseConfig, place: _Place, stream: socket.socket, deadline: float, options: str
    ) -> None:
        self._config = config
        self._options = options
        self._place = Place(place.host, place.port, config.name, config.user)
        self._stream = stream
        self._deadline = deadline
        self._scram: _Scram | None = None

    def run(self) -> None:
        """Return when the server is ready for a query; raise `_Refused` with its reason."""
        self._send(b"", struct.pack("!i", _PROTOCOL_3) + _names(self._config, self._options))
        while True:
            kind, body = self._message()
            if kind == b"Z":
                self._send(b"X", b"")
                return
            if kind == b"E":
                raise _refusal(body)
            if kind == b"R":
                self._authenticate(int.from_bytes(body[:4]), body[4:])
            elif kind not in {b"S", b"K", b"N", b"v"}:
                raise _NotPostgres

    def _authenticate(self, code: int, body: bytes) -> None:
        if code in {0, 12}:  # let in; the last word of SCRAM
            return
        password = self._password()
        if code == 3:
            self._send(b"p", password.encode() + b"\0")
        elif code == 5:
            self._send(b"p", _md5(self._config.user, password, body) + b"\0")
        elif code == 10:
            self._scram = _Scram(password)
            first = self._scram.first()
            self._send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first)
        elif code == 11 and self._scram:
            self._send(b"p", self._scram.proof(body))
        else:
            raise _Refused("28000", "the server asks for a way of authentication that is not checked here")

    def _password(self) -> str:
        password = self._config.current_password() or password_of(self._place, libpq_files())
        if password is None:
            raise _Refused(
                "28000", "the server asks for a password, and the one in use, if any, is not taken"
            )
        if self._config.channel_binding == "require":
            raise _Refused("28000", "authentication with channel binding failed")
        return password.get_secret_value()

    def _send(self, kind: bytes, body: bytes) -> None:
        self._stream.settimeout(_remaining(self._deadline))
        self._stream.sendall(kind + struct.pack("!i", len(body) + 4) + body)

    def _message(self) -> tuple[bytes, bytes]:
        header = self._read(5)
        length = int.from_bytes(header[1:]) - 4
        if not 0 <= length <= _MOST_BYTES:
            raise _NotPostgres
        return header[:1], self._read(length)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            self._stream.settimeout(_remaining(self._deadline))
            part = self._stream.recv(size - len(data))
            if not part:
                raise ConnectionResetError
            data += part
        return data


def _names(config: DatabaseConfig, options: str) -> bytes:
    pairs = ["user", config.user, "database", config.name, "application_name", config.application_name]
    pairs += ["options", options] if options else []
    return b"".join(text.encode() + b"\0" for text in pairs) + b"\0"


def _refusal(body: bytes) -> _Refused:
    fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    sqlstate = fields.get(b"C", "")
    if not re.fullmatch("[0-9A-Z]{5}", sqlstate):
        raise _NotPostgres
    return _Refused(sqlstate, re.sub(r"[\x00-\x1f\x7f]+", " ", fields.get(b"M", "refused")))


def _md5(user: str, password: str, salt: bytes) -> bytes:
    # The server's choice of algorithm, not ours; libpq has answered with it already.
    inner = hashlib.md5(password.encode() + user.encode(), usedforsecurity=False).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode()


class _Scram:
    """The client's side of SCRAM-SHA-256 without channel binding, up to its proof."""

    def __init__(self, password: str) -> None:
        # The server stores the password under SASLprep: this, for any text without control characters.
        self._password = unicodedata.normalize("NFKC", password).encode()
        self._bare = f"n=,r={secrets.token_urlsafe(18)}"

    def first(self) -> bytes:
        return f"n,,{self._bare}".encode()

    def proof(self, challenge: bytes) -> bytes:
        fields = dict(part.split("=", 1) for part in challenge.decode().split(","))
        rounds = int(fields["i"])
        if not 0 < rounds <= _MOST_ITERATIONS:
            raise _NotPostgres
        salted = hashlib.pbkdf2_hmac("sha256", self._password, b64decode(fields["s"]), rounds)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        final = f"c=biws,r={fields['r']}"
        signed = f"{self._bare},{challenge.decode()},{final}".encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return f"{final},p={b64encode(proof).decode()}".encode()
