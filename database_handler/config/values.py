"""Each kind of value is read strictly, from its own type or from text; what is not one is a `ValueError`."""

import ipaddress
import math
import re
from pathlib import Path
from typing import Annotated, Final

from annotated_types import Gt, Le
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

__all__ = [
    "CONTROL",
    "ApplicationName",
    "Boolean",
    "ByteCount",
    "File",
    "Hosts",
    "Identifier",
    "OrNever",
    "OrNone",
    "Password",
    "Positive",
    "Seconds",
    "Whole",
    "boolean",
]

_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?")
_DURATION: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?) ?(us|ms|s|min|h|d)?")
_SIZE: Final = re.compile(r"([0-9]{1,15}) ?(B|KiB|MiB|GiB)?")
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,19}")
_UNIT_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_UNIT_BYTES: Final = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_TRUE: Final = frozenset({"true", "yes", "on", "1"})
_FALSE: Final = frozenset({"false", "no", "off", "0"})
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SOCKET_PATH_BYTES: Final = 107  # sun_path holds 108 bytes on Linux, the last of them NUL


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


def _none_in_words(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() in {"", "none"} else value


def _empty_is_none(value: object) -> object:
    plain = value.get_secret_value() if isinstance(value, SecretStr) else value
    return None if plain == "" else value


def _plain(value: str) -> str:
    if CONTROL.search(value):
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
        ipaddress.IPv6Address(host)  # raises a ValueError of its own, whose text errors leave out
    elif not _HOST_NAME.fullmatch(host):
        raise ValueError("an international name is written in its ASCII form (xn--...)")


Whole = Annotated[int, BeforeValidator(_whole)]
"""A whole number, also as text."""
Seconds = Annotated[float, BeforeValidator(_seconds), AfterValidator(_finite)]
"""A finite number of seconds, also as text with a unit."""
Positive = Annotated[Seconds, Gt(0), Le(2_147_483)]
"""More than 0 seconds, and no more than the server counts in 32 bits of milliseconds."""
ByteCount = Annotated[int, BeforeValidator(_bytes)]
"""A number of bytes, also as text with a unit."""
Boolean = Annotated[bool, BeforeValidator(boolean)]
"""True or false, also as text in the usual words."""
OrNever = BeforeValidator(_none_in_words)
"""None, also as the word ``none`` or empty text: for limits that can be taken away."""
OrNone = BeforeValidator(_empty_is_none)
"""Reads empty text as None."""
Identifier = Annotated[str, Field(min_length=1), AfterValidator(_identifier)]
"""A name on the server, 1 to 63 bytes."""
Password = Annotated[SecretStr, AfterValidator(_password)]
"""Text that the server can be sent."""
ApplicationName = Annotated[str, Field(max_length=40), AfterValidator(_ascii)]
"""1 to 40 printable ASCII characters."""
File = Annotated[Path, AfterValidator(_file)]
"""The path of a file, without control characters."""
Hosts = Annotated[str, AfterValidator(_hosts)]
"""Host names, addresses or the absolute paths of sockets' folders, parted by commas."""
