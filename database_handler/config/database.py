"""One validated, frozen description of how to reach a database; no password shows in any text made from it.

Every wrong value raises `ConfigurationError`, which names the field, the kind of the value and what is
allowed, and never the value: a mistyped setting may well be a password in the wrong place.

The module is long because a URL and the fields it states are one grammar, read and written here.

Sources: PostgreSQL 18, "Database Connection Control Functions" (connection URIs, parameter key words,
host and port lists); RFC 3986, section 2.1 (percent-encoding).
"""

import ipaddress
import math
import os
import pwd
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Final, Literal, Self, get_args
from urllib.parse import quote, unquote_to_bytes

from annotated_types import Ge, Gt, Le
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    SecretStr,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import ErrorDetails

from database_handler.utils.errors import ConfigurationError

__all__ = ["Configuration", "DatabaseConfig", "boolean", "kind_of", "nearest", "url_fields"]

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]
SessionAttributes = Literal["any", "read-write", "read-only", "primary", "standby", "prefer-standby"]
ChannelBinding = Literal["disable", "prefer", "require"]

NAMES_IN_ERRORS: Final = "database_handler.names_in_errors"
URL_OPTIONS: Final = {  # libpq's own names only, so that the same URL serves psql and pg_dump
    "host": "host",
    "port": "port",
    "dbname": "name",
    "user": "user",
    "password": "password",
    "sslmode": "sslmode",
    "sslrootcert": "sslrootcert",
    "sslcert": "sslcert",
    "sslkey": "sslkey",
    "channel_binding": "channel_binding",
    "application_name": "application_name",
    "connect_timeout": "connect_timeout",
    "target_session_attrs": "target_session_attrs",
}
_URL: Final = re.compile(
    r"postgres(?:ql)?://(?P<authority>[^/?]*)(?:/(?P<name>[^?]*))?(?:\?(?P<query>.*))?", re.DOTALL
)
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?")
_AUTHORITY_HOST: Final = re.compile(r"(?P<host>\[[^\[\]]*:[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")
_DURATION: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?(us|ms|s|min|h|d)?")
_SIZE: Final = re.compile(r"([0-9]{1,15}) ?(B|KiB|MiB|GiB)?")
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,19}")
_UNIT_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_UNIT_BYTES: Final = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SOCKET_PATH_BYTES: Final = 107  # sun_path holds 108 bytes on Linux, the last of them NUL
_HIDDEN: Final = "***"


def kind_of(value: object) -> str:
    """Say what sort of value this is, without the value."""
    if value == "":
        return "empty text"
    kinds = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        type(None): "nothing",
    }
    kinds |= {list: "a list", tuple: "a list", dict: "a mapping", SecretStr: "text"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def _seconds(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError
    return float(match[1]) * _UNIT_SECONDS[match[2] or "s"]


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError
    return value


def _bytes(value: object) -> object:
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    return int(match[1]) * _UNIT_BYTES[match[2] or "B"] if match else _whole(value)


def _whole(value: object) -> int:
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError


def boolean(value: object) -> bool:
    """Read true, yes, on, 1, false, no, off or 0; anything else is a ValueError."""
    text = value.strip().lower() if isinstance(value, str) else value
    if text is True or text is False:
        return text
    if not isinstance(text, str) or text not in _TRUE | _FALSE:
        raise ValueError
    return text in _TRUE


def _empty_is_none(value: object) -> object:
    plain = value.get_secret_value() if isinstance(value, SecretStr) else value
    return None if plain == "" else value


def _plain(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("it holds a control character")
    return value


def _identifier(value: str) -> str:
    if len(_plain(value).encode()) > 63:
        raise ValueError("it is longer than PostgreSQL's 63 bytes")
    return value


def _password(value: SecretStr) -> SecretStr:
    if re.search("[\x00\ud800-\udfff]", value.get_secret_value()):
        raise ValueError("it holds NUL or half of a surrogate pair")
    return value


def _ascii(value: str) -> str:
    if not re.fullmatch(r"[ -~]+", value):
        raise ValueError("it is empty or holds something other than printable ASCII")
    return value


def _file(value: Path) -> Path:
    _plain(str(value))
    return value


def _hosts(value: str) -> str:
    for host in value.split(","):
        _check_host(host)
    return value


def _check_host(host: str) -> None:
    if host.startswith("/"):
        if len(f"{_plain(host)}/.s.PGSQL.65535".encode()) > _SOCKET_PATH_BYTES:
            raise ValueError("the socket's path would be longer than a socket address holds")
    elif ":" in host:
        ipaddress.IPv6Address(host)  # raises a ValueError of its own, whose text `_reason` leaves out
    elif not _HOST_NAME.fullmatch(host):
        raise ValueError("an international name is written in its ASCII form (xn--...)")


def _urls(value: object) -> object:
    """Cut text into URLs at a comma or space that a scheme follows; a comma also parts hosts inside one."""
    if isinstance(value, str):
        return tuple(filter(None, re.split(r"[\s,]+(?=postgres(?:ql)?:)", value.strip())))
    return value


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
_Whole = Annotated[int, BeforeValidator(_whole)]
_Seconds = Annotated[float, BeforeValidator(_seconds), AfterValidator(_finite)]
_Positive = Annotated[_Seconds, Gt(0), Le(2_147_483)]  # the server counts timeouts in 32 bits of milliseconds
_OrNone = BeforeValidator(_empty_is_none)
_Identifier = Annotated[str, Field(min_length=1), AfterValidator(_identifier)]
_File = Annotated[Path, AfterValidator(_file)]
_Url = Annotated[SecretStr, AfterValidator(_checked_url)]


class Configuration(BaseModel, frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True):
    """A frozen model whose wrong values raise `ConfigurationError`, however it is made.

    Each field's description says what is allowed; a validation context may give fields other names.
    """

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_with_our_error(
        cls, data: object, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo
    ) -> Self:
        try:
            made = handler(data)
        except ValidationError as error:
            names = info.context.get(NAMES_IN_ERRORS, {}) if isinstance(info.context, dict) else {}
            details = [detail for detail in error.errors() if detail["type"] != "default_factory_not_called"]
            message = "; ".join(_problem(cls, detail, names) for detail in details)
        else:
            made._check()
            return made
        raise ConfigurationError(message)  # out here it has no context that would hold the input

    def _check(self) -> None:
        """Raise `ConfigurationError` where fields that are right by themselves contradict each other."""


class DatabaseConfig(Configuration, frozen=True):
    """How to reach one database, and the limits that hold on the way; frozen, hashable, safe to print.

    Durations are seconds. A list of hosts is written as libpq writes it (``"a,b"``); `ports` is needed only
    where they differ. Without `user` it is the user of this process; without `password`, libpq looks into
    its own password file.
    """

    host: Annotated[str, AfterValidator(_hosts)] = Field(
        default="localhost",
        description="a host name, an IP address, the absolute path of a socket's folder, or several",
    )
    port: Annotated[_Whole, Ge(1), Le(65535)] = Field(
        default=5432, description="a whole number from 1 to 65535"
    )
    ports: tuple[Annotated[_Whole, Ge(1), Le(65535)], ...] = Field(
        default=(), description="a list of whole numbers from 1 to 65535, one for each host"
    )
    name: _Identifier = Field(description="the name of a database, 1 to 63 bytes without control characters")
    user: _Identifier = Field(
        default_factory=_system_user,
        description="the name of a role, 1 to 63 bytes without control characters",
    )
    password: Annotated[Annotated[SecretStr, AfterValidator(_password)] | None, _OrNone] = Field(
        default=None, description="text without NUL"
    )
    sslmode: SslMode = Field(default="prefer", description=_one_of(SslMode))
    sslrootcert: Annotated[_File | None, _OrNone] = Field(
        default=None, description="the path of a file, or 'system'"
    )
    sslcert: Annotated[_File | None, _OrNone] = Field(default=None, description="the path of a file")
    sslkey: Annotated[_File | None, _OrNone] = Field(default=None, description="the path of a file")
    channel_binding: ChannelBinding = Field(default="prefer", description=_one_of(ChannelBinding))
    target_session_attrs: Annotated[SessionAttributes | None, _OrNone] = Field(
        default=None, description=_one_of(SessionAttributes)
    )
    application_name: Annotated[str, Field(max_length=40), AfterValidator(_ascii)] = Field(
        default="database_handler", description="1 to 40 printable ASCII characters"
    )
    pool_size: Annotated[_Whole, Ge(1), Le(10_000)] = Field(
        default=5, description="a whole number from 1 to 10000"
    )
    max_overflow: Annotated[_Whole, Ge(0), Le(10_000)] = Field(
        default=10, description="a whole number from 0 to 10000"
    )
    pool_timeout: _Positive = Field(default=30.0, description=f"more than 0 {_SECONDS}")
    pool_max_waiting: Annotated[Annotated[_Whole, Ge(0), Le(1_000_000)] | None, _OrNone] = Field(
        default=None, description="a whole number from 0 to 1000000"
    )
    connect_timeout: _Positive = Field(default=5.0, description=f"more than 0 {_SECONDS}")
    statement_timeout: Annotated[_Positive | None, _OrNone] = Field(
        default=None, description=f"more than 0 {_SECONDS}; none for no limit"
    )
    lock_timeout: Annotated[_Positive | None, _OrNone] = Field(
        default=None, description=f"more than 0 {_SECONDS}; none for no limit"
    )
    deadline: Annotated[_Positive | None, _OrNone] = Field(
        default=None, description=f"more than 0 {_SECONDS}; none for no limit"
    )
    slow_statement: Annotated[_Seconds, Ge(0)] = Field(default=0.5, description=f"0 or more {_SECONDS}")
    max_parameter_bytes: Annotated[int, BeforeValidator(_bytes), Ge(1), Le(2**30 - 1)] = Field(
        default=256 * 2**20,
        description="1 to 1073741823 bytes as a number, or text with a unit (B, KiB, MiB, GiB)",
    )
    pgbouncer: Annotated[bool, BeforeValidator(boolean)] = Field(
        default=False, description="true, yes, on, 1, false, no, off or 0"
    )
    replica_urls: Annotated[tuple[_Url, ...], BeforeValidator(_urls)] = Field(
        default=(), description="postgresql:// URLs parted by commas or spaces"
    )
    migration_url: Annotated[_Url | None, _OrNone] = Field(default=None, description="a postgresql:// URL")

    def _check(self) -> None:
        hosts = len(self.host.split(","))
        if self.ports and len(self.ports) != hosts:
            raise ConfigurationError(f"ports: {len(self.ports)} given for {hosts} hosts")
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
        fields = _without_ports_if_moved(url_fields(url), overrides)
        return cls.model_validate(fields | overrides)

    def url(self, *, hide_password: bool = True) -> str:
        """Write the URL that `from_url`, psql and pg_dump read; the password shows only when asked for."""
        password = self.password.get_secret_value() if self.password else None
        shown = None if password is None else _HIDDEN if hide_password else quote(password, safe="")
        credentials = quote(self.user, safe="") + (f":{shown}" if shown is not None else "")
        in_query = "/" in self.host
        options = {"host": self.host, "port": self._port_list()} if in_query else {}
        options |= dict(self._url_options())
        query = "&".join(f"{key}={quote(text, safe=',')}" for key, text in options.items() if text)
        where = "" if in_query else ",".join(self._addresses())
        return f"postgresql://{credentials}@{where}/{quote(self.name, safe='')}" + (
            f"?{query}" if query else ""
        )

    def _port_list(self) -> str:
        return ",".join(map(str, self.ports)) or ("" if self.port == 5432 else str(self.port))

    def _addresses(self) -> Iterator[str]:
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
        keeps a clock as well. Behind PgBouncer no start-up options are sent, for it refuses them.
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
            | ({} if self.pgbouncer else {"options": "-c timezone=UTC"})
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
        if self.password:
            found["password"] = self.password.get_secret_value()
        return found

    def _tls(self) -> dict[str, str | int]:
        files = {"sslrootcert": self.sslrootcert, "sslcert": self.sslcert, "sslkey": self.sslkey}
        given: dict[str, str | int] = {name: str(path) for name, path in files.items() if path}
        binding = {} if self.channel_binding == "prefer" else {"channel_binding": self.channel_binding}
        return {"sslmode": self.sslmode} | binding | given

    def with_(self, **changes: object) -> Self:
        """Give a copy with these fields replaced, validated as a whole."""
        kept = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self).model_validate(_without_ports_if_moved(kept, changes) | changes)

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
        place |= {"target_session_attrs": default_attributes, "replica_urls": (), "migration_url": None}
        place |= url_fields(url.get_secret_value())
        return self.with_(**place | changes)


def _without_ports_if_moved(fields: dict[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Drop a port list that belonged to the hosts that are being replaced."""
    if "ports" not in changes and changes.keys() & {"host", "port"}:
        return {name: value for name, value in fields.items() if name != "ports"}
    return fields


def _problem(model: type[BaseModel], detail: ErrorDetails, names: Mapping[str, str]) -> str:
    if not detail["loc"]:
        return f"got {kind_of(detail['input'])}, allowed: the settings by name"
    field = str(detail["loc"][0])
    name = names.get(field, field)
    if detail["type"] == "extra_forbidden":
        return f"there is no setting {name}" + nearest(field, model.model_fields)
    allowed = model.model_fields[field].description
    if detail["type"] == "missing":
        return f"{name} is missing; allowed: {allowed}"
    item = (
        f", item {detail['loc'][1] + 1}"
        if len(detail["loc"]) > 1 and isinstance(detail["loc"][1], int)
        else ""
    )
    reason = _reason(detail)
    return (
        f"{name}{item}: got {kind_of(detail['input'])}"
        + (f" ({reason})" if reason else "")
        + f", allowed: {allowed}"
    )


def _reason(detail: ErrorDetails) -> str:
    """Give the words of a validator of ours; a plain ValueError's may quote the value."""
    cause = detail.get("ctx", {}).get("error")
    return "" if isinstance(cause, ipaddress.AddressValueError) or cause is None else str(cause)


def nearest(name: str, known: Sequence[str] | Mapping[str, object], cutoff: float = 0.6) -> str:
    """Give ``"; did you mean X?"`` for the known name that is most like this one, or nothing."""
    found = get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {found[0]}?" if found else ""


def url_fields(url: object, called: str = "the database URL") -> dict[str, object]:
    """Give the fields that a ``postgresql://`` URL states, percent-decoded; `called` opens an error."""
    try:
        return _url_fields(url)
    except ValueError as error:
        problem = str(error)
    raise ConfigurationError(f"{called} {problem}")


def _url_fields(url: object) -> dict[str, object]:
    if not isinstance(url, str):
        raise ValueError(f"is {kind_of(url)}, not text")
    if _CONTROL.search(url) or re.search(r"[\s#]", url):
        raise ValueError("holds a control character, a space or '#'; percent-encode them (%20, %23)")
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError(
            "does not start with postgresql:// (nor with postgres://, and no +driver is allowed)"
        )
    authority, name = match["authority"], match["name"] or ""
    if authority.count("@") > 1 or "@" in name + (match["query"] or "") or "/" in name:
        raise ValueError("holds '@', '/' or '?' inside a user, a password or a name; write %40, %2F and %3F")
    userinfo, _, hosts = authority.rpartition("@")
    user, _, password = userinfo.partition(":")
    stated: dict[str, object] = {
        "name": _decoded(name),
        "user": _decoded(user),
        "password": _decoded(password),
    }
    return _merged({key: value for key, value in stated.items() if value} | _place(hosts), match["query"])


def _decoded(text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError("holds '%' that no two hexadecimal digits follow; write %25")
    try:
        return _no_control(unquote_to_bytes(text).decode())
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 once percent-decoded") from None


def _no_control(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("holds a percent-encoded control character")
    return text


def _place(hosts: str) -> dict[str, object]:
    """Read ``host[:port][,host[:port]]...``; a host may be an address in brackets or an encoded path."""
    if not hosts:
        return {}
    found = [_AUTHORITY_HOST.fullmatch(item) for item in hosts.split(",")]
    if not all(match and match["host"] for match in found):
        raise ValueError(
            "has a malformed host or port; a password's ':', '/', '?' and '@' are percent-encoded"
        )
    matches = [match for match in found if match]
    host = ",".join(_decoded(match["host"].strip("[]")) for match in matches)
    return {"host": host} | _port_fields([match["port"] for match in matches])


def _port_fields(ports: Sequence[str | None]) -> dict[str, object]:
    if not any(ports):
        return {}
    numbers = [port or "5432" for port in ports]
    return {"port": numbers[0]} if len(set(numbers)) == 1 else {"ports": tuple(numbers)}


def _merged(fields: dict[str, object], query: str | None) -> dict[str, object]:
    for key, value in _options(query):
        field = URL_OPTIONS[key]
        if field in fields or (field == "port" and "ports" in fields):
            raise ValueError(f"states {key} twice")
        fields |= _port_fields(value.split(",")) if field == "port" else {field: value}
    if "name" not in fields:
        raise ValueError("names no database: postgresql://user@host/NAME")
    return fields


def _options(query: str | None) -> Iterator[tuple[str, str]]:
    for pair in query.split("&") if query else []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError("has an option without '='")
        if key not in URL_OPTIONS:
            raise ValueError(_unknown_option(key))
        yield key, _decoded(value)


def _unknown_option(key: str) -> str:
    if not re.fullmatch(r"[a-z_]{1,40}", key):
        return "has an option whose name is not lower-case letters"
    if key in DatabaseConfig.model_fields:
        return f"has the option {key}, which libpq does not know; give it as a setting of its own"
    return f"has an option that is not known, {key}{nearest(key, URL_OPTIONS)}"
