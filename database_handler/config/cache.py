"""Where the cache is, and what it may cost: one validated, frozen description; its password never shows.

Nothing is connected to before something is read or written.
"""

import re
from typing import Annotated, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from annotated_types import Ge, Le
from pydantic import AfterValidator, Field, SecretStr

from database_handler.config.configuration import Configuration
from database_handler.config.values import CONTROL, Boolean, ByteCount, OrNone, Positive

__all__ = ["CacheConfig"]

_SCHEMES: Final = {
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "valkeys": "rediss",
    "unix": "unix",
}
_OPTIONS: Final = frozenset({"db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile"})
_SECONDS: Final = "seconds as a number, or text with a unit (us, ms, s, min, h, d)"
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def _url(value: SecretStr) -> SecretStr:
    """Give the URL with the scheme that the client knows; the reasons of a refusal quote no part of it."""
    url = value.get_secret_value()
    if CONTROL.search(url) or " " in url:
        raise ValueError("it holds a control character or a space")
    scheme, found, rest = url.partition("://")
    if not found or scheme not in _SCHEMES:
        raise ValueError("its scheme is none of these")
    try:
        parts = urlsplit(f"{_SCHEMES[scheme]}://{rest}")
        port = parts.port
    except ValueError:
        raise ValueError("its host or port cannot be read") from None
    if scheme == "unix" and (parts.hostname or not parts.path.startswith("/")):
        raise ValueError("a unix:// URL has the absolute path of a socket")
    if scheme != "unix" and (not parts.hostname or port == 0):
        raise ValueError("it names no host, or port 0")
    _check_options(parts.query, "" if scheme == "unix" else parts.path)
    return SecretStr(f"{_SCHEMES[scheme]}://{rest}")


def _check_options(query: str, path: str) -> None:
    options = dict(parse_qsl(query, keep_blank_values=True))
    if not options.keys() <= _OPTIONS:
        raise ValueError(f"its options are {', '.join(sorted(_OPTIONS))}")
    number = options.get("db", unquote(path).strip("/") or "0")
    if not re.fullmatch(r"[0-9]{1,5}", number):
        raise ValueError("the database is a number")


def _namespace(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("it is something other than letters, digits, '_', '.' and '-'")
    return value


class CacheConfig(Configuration, frozen=True):
    """Where the cache is, and the limits of what it may cost.

    Attributes
    ----------
    url : SecretStr, optional
        None: there is no cache.
    ttl : float
        Seconds that an entry lives at most; each gets up to a fifth less, drawn by chance, so that what was
        stored together does not end together.
    timeout : float
        Seconds that one question to the cache may take, connecting included. One that takes longer counts as
        failed, and the cache is left alone.
    pause : float
        Seconds that a cache which failed is left alone, a half more or less by chance.
    wait : float
        Seconds that a reader waits at most for another one who is loading the same record.
    max_value_bytes : int
        A larger value is not stored.
    strict : bool
        Refuse to commit (`CacheUnavailable`) what the cache cannot be told of before.
    namespace : str
        Tells this database from a physical copy of it, which has the same identity; all processes that
        use one database need the same.
    """

    url: Annotated[Annotated[SecretStr, AfterValidator(_url)] | None, OrNone] = Field(
        default=None,
        description="a redis://, rediss://, valkey://, valkeys:// or unix:// URL",
    )
    ttl: Annotated[Positive, Ge(0.1), Le(7 * 86_400)] = Field(
        default=60.0, description=f"0.1 s to 7 d: {_SECONDS}"
    )
    timeout: Annotated[Positive, Le(10)] = Field(default=0.05, description=f"up to 10 s: {_SECONDS}")
    pause: Annotated[Positive, Le(3600)] = Field(default=5.0, description=f"up to 1 h: {_SECONDS}")
    wait: Annotated[Positive, Le(60)] = Field(default=0.5, description=f"up to 1 min: {_SECONDS}")
    max_value_bytes: Annotated[ByteCount, Ge(1), Le(64 * 2**20)] = Field(
        default=256 * 2**10,
        description="1 B to 64 MiB as a number of bytes, or text with a unit (B, KiB, MiB)",
    )
    strict: Boolean = Field(default=False, description="true, yes, on, 1, false, no, off or 0")
    namespace: Annotated[str, AfterValidator(_namespace)] = Field(
        default="main", description="1 to 64 letters, digits, '_', '.' and '-'"
    )
