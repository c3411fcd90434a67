"""One validated, frozen description of how to reach a database; no password shows in any text made from it.

Every wrong value raises `ConfigurationError`, which names the field, the kind of the value and what is
allowed, and never the value.

Sources: PostgreSQL 18, "Database Connection Control Functions" (parameter key words, host and port lists).
"""

import math
import os
import pwd
from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal, Self, get_args
from urllib.parse import quote

from annotated_types import Ge, Le
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from database_handler.config.configuration import Configuration
from database_handler.config.libpq_files import LibpqFiles, password_in_file, service_fields
from database_handler.config.url import read_url, split_urls
from database_handler.config.values import (
    ApplicationName,
    Boolean,
    ByteCount,
    File,
    Hosts,
    Identifier,
    OrNever,
    OrNone,
    Password,
    Positive,
    Seconds,
    Whole,
)
from database_handler.utils.errors import ConfigurationError

__all__ = ["PINNED_AS_REPORTED", "ChangesMode", "DatabaseConfig", "url_fields"]

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
SessionAttributes = Literal["any", "read-write", "read-only", "primary", "standby", "prefer-standby"]
ChangesMode = Literal["off", "notify", "outbox"]
ChannelBinding = Literal["disable", "prefer", "require"]

_HIDDEN: Final = "***"
# What is read back depends on these, and a database or role may have others: floats lose digits, dates and
# intervals are misread, a backslash escapes. A start-up option outlives RESET ALL; the driver's SET does not.
_PINNED: Final = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
}
# Of those, what the server reports, and what is as good. The driver sets the style of dates by itself, and a
# pooler keeps that for each client.
PINNED_AS_REPORTED: Final = {
    "TimeZone": ("UTC", "Etc/UTC", "GMT"),
    "IntervalStyle": ("postgres",),
    "standard_conforming_strings": ("on",),
}


def _off(value: object) -> object:
    return "off" if value is False else value  # which is what YAML makes of it


def _urls(value: object) -> object:
    return split_urls(value) if isinstance(value, str) else value


def _checked_url(value: SecretStr) -> SecretStr:
    try:
        DatabaseConfig.from_url(value.get_secret_value())
    except ConfigurationError as error:
        problem = str(error)
    else:
        return value
    raise ValueError(problem)


def _system_user() -> str:
    """Name the user this process runs as, as libpq does when it is given none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise ConfigurationError("user is missing, and the user of this process has no name") from None


def _one_of(choices: object) -> str:
    return "one of " + ", ".join(map(str, get_args(choices)))


_SECONDS = "seconds as a number, or text with a unit (us, ms, s, min, h, d)"
_Url = Annotated[SecretStr, AfterValidator(_checked_url)]


class DatabaseConfig(Configuration, frozen=True):
    """How to reach one database, and the limits that hold on the way; frozen, hashable, safe to print.

    Durations are seconds. A list of hosts is written as libpq writes it (``"a,b"``); `ports` is needed only
    where they differ. Without `user` it is the user of this process; without `password` and
    `password_file`, libpq looks into its own password file. Both files are read anew at each connect.
    """

    host: Hosts = Field(
        default="localhost",
        description="a host name, an IP address, the absolute path of a socket's folder, or several",
    )
    port: Annotated[Whole, Ge(1), Le(65535)] = Field(
        default=5432, description="a whole number from 1 to 65535"
    )
    ports: tuple[Annotated[Whole, Ge(1), Le(65535)], ...] = Field(
        default=(), description="a list of whole numbers from 1 to 65535, one for each host"
    )
    name: Identifier = Field(description="the name of a database, 1 to 63 bytes without control characters")
    user: Identifier = Field(
        default_factory=_system_user,
        description="the name of a role, 1 to 63 bytes without control characters",
    )
    password: Annotated[Password | None, OrNone] = Field(default=None, description="text without NUL")
    password_file: Annotated[File | None, OrNone] = Field(
        default=None, description="the path of a file that holds the password and nothing else"
    )
    sslmode: SslMode = Field(default="prefer", description=_one_of(SslMode))
    sslrootcert: Annotated[File | None, OrNone] = Field(
        default=None, description="the path of a file, or 'system'"
    )
    sslcert: Annotated[File | None, OrNone] = Field(default=None, description="the path of a file")
    sslkey: Annotated[File | None, OrNone] = Field(default=None, description="the path of a file")
    channel_binding: ChannelBinding = Field(default="prefer", description=_one_of(ChannelBinding))
    target_session_attrs: Annotated[SessionAttributes | None, OrNone] = Field(
        default=None, description=_one_of(SessionAttributes)
    )
    application_name: ApplicationName = Field(
        default="database_handler", description="1 to 40 printable ASCII characters"
    )
    pool_size: Annotated[Whole, Ge(1), Le(10_000)] = Field(
        default=5, description="a whole number from 1 to 10000"
    )
    max_overflow: Annotated[Whole, Ge(0), Le(10_000)] = Field(
        default=10, description="a whole number from 0 to 10000"
    )
    pool_timeout: Positive = Field(default=30.0, description=f"more than 0 {_SECONDS}")
    pool_max_waiting: Annotated[Annotated[Whole, Ge(0), Le(1_000_000)] | None, OrNever] = Field(
        default=None, description="a whole number from 0 to 1000000; none for no limit"
    )
    pool_hold_warning: Annotated[Positive | None, OrNever] = Field(
        default=60.0, description=f"more than 0 {_SECONDS}; none for no warning"
    )
    connect_timeout: Positive = Field(default=5.0, description=f"more than 0 {_SECONDS}")
    statement_timeout: Annotated[Positive | None, OrNever] = Field(
        default=None, description=f"more than 0 {_SECONDS}; none for no limit"
    )
    lock_timeout: Annotated[Positive | None, OrNever] = Field(
        default=None, description=f"more than 0 {_SECONDS}; none for no limit"
    )
    deadline: Annotated[Positive | None, OrNever] = Field(
        default=None, description=f"more than 0 {_SECONDS}; none for no limit"
    )
    slow_statement: Annotated[Seconds, Ge(0)] = Field(default=0.5, description=f"0 or more {_SECONDS}")
    prepare_after: Annotated[Annotated[Whole, Ge(0), Le(1_000_000)] | None, OrNever] = Field(
        default=5, description="a whole number from 0 to 1000000; none for never"
    )
    repeated_statement: Annotated[Annotated[Whole, Ge(2), Le(1_000_000)] | None, OrNever] = Field(
        default=100, description="a whole number from 2 to 1000000; none for never"
    )
    explain_slow: Annotated[Positive | None, OrNever] = Field(
        default=None, description=f"more than 0 {_SECONDS}; none for never"
    )
    max_parameter_bytes: Annotated[ByteCount, Ge(1), Le(2**30 - 1)] = Field(
        default=256 * 2**20,
        description="1 to 1073741823 bytes as a number, or text with a unit (B, KiB, MiB, GiB)",
    )
    pgbouncer: Boolean = Field(default=False, description="true, yes, on, 1, false, no, off or 0")
    citus: Boolean = Field(default=False, description="true, yes, on, 1, false, no, off or 0")
    replica_urls: Annotated[tuple[_Url, ...], BeforeValidator(_urls)] = Field(
        default=(), description="postgresql:// URLs parted by commas or spaces"
    )
    replica_wait: Positive = Field(default=0.5, description=f"more than 0 {_SECONDS}")
    replica_max_lag: Annotated[Positive | None, OrNever] = Field(
        default=10.0, description=f"more than 0 {_SECONDS}; none for no limit"
    )
    replica_check: Positive = Field(default=1.0, description=f"more than 0 {_SECONDS}")
    changes: Annotated[ChangesMode, BeforeValidator(_off)] = Field(
        default="off", description=_one_of(ChangesMode)
    )
    migration_url: Annotated[_Url | None, OrNone] = Field(default=None, description="a postgresql:// URL")

    def _check(self) -> None:
        hosts = len(self.host.split(","))
        if self.ports and len(self.ports) != hosts:
            raise ConfigurationError(f"ports: {len(self.ports)} given for {hosts} hosts")
        if self.password is not None and self.password_file is not None:
            raise ConfigurationError("password and password_file are both given: one of them is allowed")
        if str(self.sslrootcert) == "system" and self.sslmode != "verify-full":
            raise ConfigurationError("sslmode: sslrootcert 'system' is allowed with verify-full only")

    @classmethod
    def from_url(cls, url: str, **overrides: object) -> Self:
        """Read a ``postgresql://`` URL strictly; a keyword replaces what the URL says.

        Raises
        ------
        ConfigurationError
            When the URL is malformed or holds an option that is not known. Its text shows no part of the
            URL but the name of an option: a misplaced ``/`` or ``@`` can make any other part a password.
        """
        return cls.model_validate(_kept(url_fields(url), overrides) | overrides)

    def current_password(self) -> SecretStr | None:
        """Give the password, read from its file where it has one; None leaves it to libpq.

        Raises
        ------
        ConfigurationError
            The file cannot be read, is empty, or holds more than a line.
        """
        return self.password if self.password_file is None else password_in_file(self.password_file)

    def url(self, *, hide_password: bool = True) -> str:
        """Write the URL that `from_url`, psql and pg_dump read; the password shows only when asked for."""
        shown = _HIDDEN if self.password or self.password_file else None
        if not hide_password and (password := self.current_password()):
            shown = quote(password.get_secret_value(), safe="")
        credentials = quote(self.user, safe="") + (f":{shown}" if shown is not None else "")
        in_query = "/" in self.host
        options = {"host": self.host, "port": self._port_list()} if in_query else {}
        options |= dict(self._url_options())
        query = "&".join(f"{key}={quote(text, safe=',')}" for key, text in options.items() if text)
        where = "" if in_query else ",".join(self.addresses())
        return f"postgresql://{credentials}@{where}/{quote(self.name, safe='')}" + (
            f"?{query}" if query else ""
        )

    def _port_list(self) -> str:
        return ",".join(map(str, self.ports)) or ("" if self.port == 5432 else str(self.port))

    def addresses(self) -> Iterator[str]:
        """Write each host with its port."""
        hosts = self.host.split(",")
        for host, port in zip(hosts, self.ports or [self.port] * len(hosts), strict=True):
            written = f"[{quote(host, safe=':')}]" if ":" in host else host
            yield f"{written}:{port}"

    def _url_options(self) -> Iterator[tuple[str, str]]:
        for name in ("sslmode", "sslrootcert", "sslcert", "sslkey", "channel_binding", "application_name"):
            if getattr(self, name) != type(self).model_fields[name].default:
                yield name, str(getattr(self, name))
        yield "target_session_attrs", self.target_session_attrs or ""
        yield "connect_timeout", "" if self.connect_timeout == 5 else f"{self.connect_timeout:g}"

    def connect_arguments(self) -> dict[str, str | int]:
        """Give the keywords for `psycopg2.connect`; the password is among them in clear.

        libpq counts its own connect_timeout in whole seconds and for each host; who needs it exact
        keeps a clock as well. Behind PgBouncer no start-up options are sent, for it refuses them: there
        the database itself must have the settings that are pinned elsewhere, as a new one does.
        """
        return (
            self._identity()
            | self._tls()
            | {
                "application_name": self.application_name,
                "connect_timeout": max(1, math.ceil(self.connect_timeout)),
                "client_encoding": "utf8",
                "keepalives": 1,
                "keepalives_idle": 30,
                "keepalives_interval": 10,
                "keepalives_count": 3,
            }
            | (
                {}
                if self.pgbouncer
                else {"options": " ".join(f"-c {n}={text}" for n, text in _PINNED.items())}
            )
        )

    def _identity(self) -> dict[str, str | int]:
        found: dict[str, str | int] = {"dbname": self.name, "host": self.host, "user": self.user}
        found["port"] = ",".join(map(str, self.ports)) or self.port
        several = "," in self.host
        attributes = self.target_session_attrs or (
            "read-write" if several else None
        )  # a standby cannot write
        if attributes:
            found["target_session_attrs"] = attributes
        if password := self.current_password():
            found["password"] = password.get_secret_value()
        return found

    def _tls(self) -> dict[str, str | int]:
        files = {"sslrootcert": self.sslrootcert, "sslcert": self.sslcert, "sslkey": self.sslkey}
        given: dict[str, str | int] = {name: str(path) for name, path in files.items() if path}
        binding = {} if self.channel_binding == "prefer" else {"channel_binding": self.channel_binding}
        return {"sslmode": self.sslmode} | binding | given

    def with_(self, **changes: object) -> Self:
        """Give a copy with these fields replaced, validated as a whole."""
        kept = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self).model_validate(_kept(kept, changes) | changes)

    def replicas(self) -> tuple[Self, ...]:
        """Give the configuration of each read replica: this one, with the place of its URL.

        A password comes from that URL alone: this one's is not sent to another server.
        """
        return tuple(self._at(url, default_attributes="any") for url in self.replica_urls)

    def for_migrations(self) -> Self:
        """Give the configuration that migrations connect with: past PgBouncer, if `migration_url` is set."""
        return self._at(self.migration_url, pgbouncer=False) if self.migration_url else self

    def _at(self, url: SecretStr, *, default_attributes: str | None = None, **changes: object) -> Self:
        place: dict[str, object] = {"host": "localhost", "port": 5432, "ports": (), "password": None}
        place |= {
            "password_file": None,
            "target_session_attrs": default_attributes,
            "replica_urls": (),
            "migration_url": None,
        }
        place |= url_fields(url.get_secret_value())
        return self.with_(**place | changes)


def _kept(fields: dict[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Drop a port list that belonged to hosts, and a password or its file, that are being replaced."""
    gone = {"ports"} if changes.keys() & {"host", "port"} else set()
    gone |= {"password_file"} if changes.get("password") is not None else set()
    gone |= {"password"} if changes.get("password_file") is not None else set()
    return {name: value for name, value in fields.items() if name not in gone - changes.keys()}


def url_fields(
    url: object, called: str = "the database URL", files: LibpqFiles | None = None
) -> dict[str, object]:
    """Give the fields that a ``postgresql://`` URL states, those of its service below them.

    Parameters
    ----------
    called : str
        Opens an error.
    files : LibpqFiles, optional
        Where services are looked up; by default where libpq looks in this process.
    """
    stated = read_url(url, called, DatabaseConfig.model_fields)
    service = stated.pop("service", None)
    if service is None:
        return stated
    try:
        found, _ = service_fields(service, files or _libpq_files())
    except ConfigurationError as error:
        problem = str(error)
    else:
        return _below(found, stated, called)
    raise ConfigurationError(f"{called}: {problem}")


def _below(found: dict[str, object], stated: dict[str, object], called: str) -> dict[str, object]:
    """Put a service below what is stated; with another host, its ports and its password do not count."""
    moved = {"port", "ports", "password"} if "host" in stated else set()
    moved |= {"port", "ports"} if stated.keys() & {"port", "ports"} else set()
    fields = {name: value for name, value in found.items() if name not in moved} | stated
    if "name" not in fields:
        raise ConfigurationError(f"{called} names no database, and its service has no dbname")
    return fields


def _libpq_files() -> LibpqFiles:
    # Names of the environment have one home, which is made of this module.
    from database_handler.config.settings import libpq_files

    return libpq_files()
