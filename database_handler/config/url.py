"""A ``postgresql://`` URL is read strictly, and no error shows a part of it but the name of an option.

A misplaced ``/`` or ``@`` can make any other part a password.

Sources: PostgreSQL 18, "Database Connection Control Functions" (connection URIs, host and port lists);
RFC 3986, section 2.1 (percent-encoding).
"""

import re
from collections.abc import Container, Iterator, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

from database_handler.config.configuration import kind_of, nearest
from database_handler.config.values import CONTROL
from database_handler.utils.errors import ConfigurationError

__all__ = ["URL_OPTIONS", "port_fields", "read_url", "split_urls"]

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
    "service": "service",
}
_URL: Final = re.compile(
    r"postgres(?:ql)?://(?P<authority>[^/?]*)(?:/(?P<name>[^?]*))?(?:\?(?P<query>.*))?", re.DOTALL
)
_AUTHORITY_HOST: Final = re.compile(r"(?P<host>\[[^\[\]]*:[^\[\]]*\]|[^:\[\]]*)(?::(?P<port>[0-9]{1,5}))?")


def split_urls(text: str) -> tuple[str, ...]:
    """Cut text into URLs at a comma or space that a scheme follows; a comma also parts hosts inside one."""
    return tuple(filter(None, re.split(r"[\s,]+(?=postgres(?:ql)?:)", text.strip())))


def read_url(url: object, called: str, settings: Container[str]) -> dict[str, object]:
    """Give the fields that a ``postgresql://`` URL states, percent-decoded; ``service`` as it is named.

    Parameters
    ----------
    url : object
        Text, or else an error.
    called : str
        Opens an error.
    settings : container of str
        The names of all settings, most of which are no option of a URL.

    Raises
    ------
    ConfigurationError
        When the URL is malformed or holds an option that is not known.
    """
    try:
        return _fields(url, settings)
    except ValueError as error:
        problem = str(error)
    raise ConfigurationError(f"{called} {problem}")


def _fields(url: object, settings: Container[str]) -> dict[str, object]:
    if not isinstance(url, str):
        raise ValueError(f"is {kind_of(url)}, not text")
    if CONTROL.search(url) or re.search(r"[\s#]", url):
        raise ValueError("holds a control character, a space or '#'; percent-encode them (%20, %23)")
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError(
            "does not start with postgresql:// (nor with postgres://, and no +driver is allowed); "
            "write postgresql://user@host:5432/name"
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
    return _merged(
        {key: value for key, value in stated.items() if value} | _place(hosts),
        _options(match["query"], settings),
    )


def _decoded(text: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", text):
        raise ValueError("holds '%' that no two hexadecimal digits follow; write %25")
    try:
        return _no_control(unquote_to_bytes(text).decode())
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8 once percent-decoded") from None


def _no_control(text: str) -> str:
    if CONTROL.search(text):
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
    return {"host": host} | port_fields([match["port"] for match in matches])


def port_fields(ports: Sequence[str | None]) -> dict[str, object]:
    """Give the one port, or one for each host where they differ; left out, it is PostgreSQL's own."""
    if not any(ports):
        return {}
    numbers = [port or "5432" for port in ports]
    return {"port": numbers[0]} if len(set(numbers)) == 1 else {"ports": tuple(numbers)}


def _merged(fields: dict[str, object], options: Iterator[tuple[str, str]]) -> dict[str, object]:
    for key, value in options:
        field = URL_OPTIONS[key]
        if field in fields or (field == "port" and "ports" in fields):
            raise ValueError(f"states {key} twice")
        fields |= port_fields(value.split(",")) if field == "port" else {field: value}
    if "name" not in fields and "service" not in fields:
        raise ValueError("names no database: postgresql://user@host/NAME")
    return fields


def _options(query: str | None, settings: Container[str]) -> Iterator[tuple[str, str]]:
    for pair in query.split("&") if query else []:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError("has an option without '='")
        if key not in URL_OPTIONS:
            raise ValueError(_unknown_option(key, settings))
        yield key, _decoded(value)


def _unknown_option(key: str, settings: Container[str]) -> str:
    if not re.fullmatch(r"[a-z_]{1,40}", key):
        return "has an option whose name is not lower-case letters"
    if key in settings:
        return f"has the option {key}, which libpq does not know; give it as a setting of its own"
    hint = nearest(key, URL_OPTIONS) or f"; allowed are {', '.join(sorted(URL_OPTIONS))}"
    return f"has an option that is not known, {key}{hint}"
