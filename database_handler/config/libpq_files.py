"""libpq's own files are read as libpq reads them: a service's parameters, a password file's line for a place.

A service becomes fields of a `DatabaseConfig` when the settings are read, so that the pool, the migrations,
the replicas and an error all speak of the same place. A password out of ``~/.pgpass`` is libpq's to find, at
each connect; here it is looked up only to say why a connection failed, and whether there is one.

Sources: PostgreSQL 18, "The Connection Service File", "The Password File", "Environment Variables" of libpq.
"""

import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from database_handler.config.configuration import nearest
from database_handler.config.url import URL_OPTIONS, port_fields
from database_handler.utils.errors import ConfigurationError

__all__ = ["LibpqFiles", "Place", "file_text", "password_in_file", "password_of", "service_fields"]

MOST_FILE_BYTES: Final = 1 << 20
_MOST_PASSWORD_BYTES: Final = 64 << 10
_SERVICE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
_PASSWORD_LINE: Final = re.compile(r"((?:[^:\\]|\\.)*):" * 4 + r"(.*)")


@dataclass(frozen=True)
class LibpqFiles:
    """Where libpq looks on this machine, and the password that the environment has for it."""

    services: tuple[Path, ...]
    passwords: Path
    password: SecretStr | None = None


def file_text(path: Path, most: int = MOST_FILE_BYTES) -> str:
    """Read a small regular file of UTF-8 text; nothing that could wait for a writer is opened.

    Raises
    ------
    ConfigurationError
        Saying what is wrong with the file, and where in it, and never what stands there.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigurationError(f"{path} is not a regular file")
        with path.open("rb") as file:
            data = file.read(most + 1)
        if len(data) <= most:
            return data.decode()
        problem = f"{path} is larger than {most} bytes"
    except OSError as error:
        problem = f"{path} cannot be read: {error.strerror}"
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problem = f"{path}:{line} is not UTF-8"
    raise ConfigurationError(problem)


def password_in_file(path: Path) -> SecretStr:
    """Read a file that holds a password and nothing else, as Docker and Kubernetes mount a secret.

    Line ends behind it are no part of it. Who else may read the file is not asked: both mount a secret
    readable for all, inside a container that is one user's.
    """
    # What is no absolute path may be the password itself, put into the wrong variable.
    called = f"the password file {path}" if path.is_absolute() else "the password file (a relative path)"
    try:
        text = file_text(path, _MOST_PASSWORD_BYTES).rstrip("\r\n")
    except ConfigurationError as error:
        problem = called + str(error).removeprefix(str(path))
    else:
        if text and not re.search("[\0\r\n]", text):
            return SecretStr(text)
        problem = f"{called} " + ("holds several lines, or NUL" if text else "is empty")
    raise ConfigurationError(problem)


# ------------------------------------------------------------------------------------------------- services


def service_fields(name: object, files: LibpqFiles) -> tuple[dict[str, object], Path]:
    """Give the fields that a service states, and the file that it stands in.

    Raises
    ------
    ConfigurationError
        There is no such service, its file cannot be read, or it has a parameter that is not taken here.
    """
    if not isinstance(name, str) or not _SERVICE_NAME.fullmatch(name):
        raise ConfigurationError("a service has a name of 1 to 63 letters, digits, '_', '.' and '-'")
    known: list[str] = []
    for path in files.services:
        if path.exists():
            sections = _sections(path)
            if name in sections:
                return _service(sections[name], f"{path}, service {name}"), path
            known += sections
    looked = ", ".join(map(str, files.services)) or "no file"
    raise ConfigurationError(f"there is no service {name} in {looked}{nearest(name, known)}")


_Section = list[tuple[int, str]]


def _sections(path: Path) -> dict[str, _Section]:
    """Cut a file into its sections; of two with one name the first counts, as for libpq."""
    sections: dict[str, _Section] = {}
    current: _Section = []
    for number, raw in enumerate(file_text(path).splitlines(), 1):
        line = raw.strip()
        if found := re.fullmatch(r"\[(.*)\]", line):
            current = []
            sections.setdefault(found[1], current)
        elif line and not line.startswith("#"):
            current.append((number, line))
    return sections


def _service(section: _Section, where: str) -> dict[str, object]:
    fields: dict[str, object] = {}
    for number, line in section:
        key, equals, value = (part.strip() for part in line.partition("="))
        field = URL_OPTIONS.get(key, "service") if equals else ""
        if field == "service":  # a service within a service, too
            told = key if re.fullmatch(r"[a-z_]{1,40}", key) else "one"
            raise ConfigurationError(
                f"{where} has a parameter, {told} in line {number}, that is not taken here; taken are "
                f"{', '.join(sorted(set(URL_OPTIONS) - {'service'}))}"
            )
        if not field or field in fields:
            problem = f"sets {key} again" if field else "is not NAME=value"
            raise ConfigurationError(f"{where}: line {number} {problem}")
        fields |= _stated(field, value)
    return fields


def _stated(field: str, value: str) -> Mapping[str, object]:
    if field != "port":
        return {field: value}
    return port_fields(value.split(","))


# ------------------------------------------------------------------------------------------- password files


@dataclass(frozen=True)
class Place:
    """What a line of a password file is for."""

    host: str
    port: int
    name: str
    user: str


def password_of(place: Place, files: LibpqFiles) -> SecretStr | None:
    """Find the password that libpq takes for a place: of its environment, else of its password file."""
    if files.password is not None:
        return files.password
    wanted = (place.host, str(place.port), place.name, place.user)
    for fields, password in _password_lines(files.passwords):
        if all(field in ("*", each) for field, each in zip(fields, wanted, strict=True)):
            return SecretStr(password)
    return None


def _password_lines(path: Path) -> Iterator[tuple[list[str], str]]:
    """Give the lines of a password file; none where libpq would not use the file."""
    try:
        mode = path.stat().st_mode
        text = "" if mode & 0o077 else file_text(path)
    except (OSError, ConfigurationError):
        return
    for line in text.splitlines():
        if not line.startswith("#") and (found := _PASSWORD_LINE.fullmatch(line)):
            *fields, password = (re.sub(r"\\(.)", r"\1", each) for each in found.groups())
            yield fields, password
