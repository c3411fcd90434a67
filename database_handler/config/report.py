"""All settings with their sources, and all that is wrong with them, as one value in which no secret shows."""

import stat
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from pydantic import SecretStr

from database_handler.config.cache import CacheConfig
from database_handler.config.configuration import Configuration
from database_handler.config.database import DatabaseConfig
from database_handler.config.files import FilesConfig
from database_handler.config.libpq_files import LibpqFiles, Place, file_text, password_of
from database_handler.config.settings import (
    CACHE_VARIABLES,
    DATABASE_VARIABLES,
    FILES_VARIABLES,
    OTHER_VARIABLES,
    Given,
    Reading,
    Settings,
    cache_fields,
    libpq_files,
    read,
)
from database_handler.utils.arguments import checked
from database_handler.utils.errors import ConfigurationError, Problem

__all__ = ["Setting", "SettingsReport", "check_settings"]

_HIDDEN = "***"
_LOCAL = ("localhost", "127.0.0.1", "::1")
Shown = str | int | float | bool | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as it counts.

    Attributes
    ----------
    name : str
        Its variable; of the few that have none, the field of `DatabaseConfig`.
    value : str, number, bool, tuple of str or None
        A password is ``***``, in a URL too; None is none, and also stands for what was refused.
    source : str
        Such as ``the environment``, ``.env:3``, ``database_handler.yaml:7, section production`` or
        ``default``.
    refused : bool
        Whether what the source gives is wrong.
    """

    name: str
    value: Shown
    source: str
    refused: bool = False


@dataclass(frozen=True, slots=True)
class SettingsReport:
    """Every setting, everything that is wrong, and what may be meant otherwise though it is allowed."""

    environment: str
    settings: tuple[Setting, ...]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@checked
def check_settings(
    *,
    env: Mapping[str, str] | None = None,
    env_file: Path | None = None,
    yaml_file: Path | None = None,
    environment: str | None = None,
    **arguments: object,
) -> SettingsReport:
    """Read the settings as `Settings.load` does, look at the files that they name, and raise nothing.

    Nothing is connected to. Every problem is told, not only the first.

    Parameters
    ----------
    env, env_file, yaml_file, environment, **arguments
        Those of `Settings.load`.
    """
    reading = read(env, env_file, yaml_file, environment, arguments)
    files = libpq_files(env)
    database, settings = _of(DatabaseConfig, _DATABASE, reading, {"name": _NONE})
    _, of_files = _of(FilesConfig, FILES_VARIABLES, reading, {})
    _, of_cache = _of(CacheConfig, _CACHE, replace(reading, given=cache_fields(reading.given)), {})
    _, others = _of(Settings, OTHER_VARIABLES, reading, {"database": database})
    return SettingsReport(
        environment=reading.environment,
        settings=(*_with_libpq(settings, database, files), *of_files, *of_cache, *others),
        problems=(*reading.problems, *_of_named_files(database, reading.given)),
        notes=tuple(_notes(database, files)),
    )


_NONE = "-"  # the name of a database where none is given
_DATABASE = {field: DATABASE_VARIABLES.get(field, field) for field in DatabaseConfig.model_fields}
_CACHE = dict(zip(CacheConfig.model_fields, CACHE_VARIABLES.values(), strict=True))
C = TypeVar("C", bound=Configuration)


def _of(
    model: type[C], names: Mapping[str, str], reading: Reading, needed: Mapping[str, object]
) -> tuple[C, list[Setting]]:
    """Make what can be made of the values that are right, and tell of each setting."""
    given = {field: item for field, item in reading.given.items() if field in names}
    wrong = {problem.variable for problem in reading.problems}
    refused = {field for field, item in given.items() if item.variable in wrong}
    right = {field: item.value for field, item in given.items() if field not in refused}
    try:
        made = model.model_validate({**needed, **right})
    except ConfigurationError:  # each is right by itself, and together they are not
        made, refused = model.model_validate(needed), set(given)
    return made, [_setting(made, field, name, given, refused) for field, name in names.items()]


def _setting(
    made: Configuration, field: str, name: str, given: Mapping[str, Given], refused: Container[str]
) -> Setting:
    item = given.get(field)
    if item is None:
        value = None if field == "name" else _shown(field, getattr(made, field))
        return Setting(name=name, value=value, source="missing" if field == "name" else "default")
    source = item.where if item.variable == name else f"{item.where} ({item.variable})"
    value = None if field in refused else _shown(field, getattr(made, field))
    return Setting(name=name, value=value, source=source, refused=field in refused)


def _shown(field: str, value: object) -> Shown:
    """Write a value without its secrets; nothing that is no plain value is shown as it is."""
    if field == "replica_urls" and isinstance(value, tuple):
        return tuple(_url(url) for url in value)
    if isinstance(value, SecretStr):
        return _url(value) if field == "migration_url" else _HIDDEN
    if isinstance(value, tuple):
        return tuple(map(str, value))
    if isinstance(value, Path) and not (value.is_absolute() or value.exists()):
        return "a relative path to no file"  # it may be the password itself, put into the wrong variable
    return value if value is None or isinstance(value, str | bool | int | float) else str(value)


def _url(url: SecretStr) -> str:
    return DatabaseConfig.from_url(url.get_secret_value()).url()


def _with_libpq(settings: list[Setting], database: DatabaseConfig, files: LibpqFiles) -> Iterator[Setting]:
    """Tell where libpq finds a password, should none be given."""
    for each in settings:
        absent = each.name == _DATABASE["password"] and each.source == "default"
        if absent and _left_to_libpq(database) and password_of(_place(database), files) is not None:
            found = "PGPASSWORD in the environment" if files.password else str(files.passwords)
            yield replace(each, value=_HIDDEN, source=found)
        else:
            yield each


def _left_to_libpq(database: DatabaseConfig) -> bool:
    return database.password is None and database.password_file is None


def _place(database: DatabaseConfig) -> Place:
    port = database.ports[0] if database.ports else database.port
    return Place(database.host.split(",")[0], port, database.name, database.user)


def _of_named_files(database: DatabaseConfig, given: Mapping[str, Given]) -> Iterator[Problem]:
    """Look at the files that the settings name."""
    try:
        database.current_password()
    except ConfigurationError as error:
        yield _problem(given.get("password_file"), str(error))
    for field in ("sslrootcert", "sslcert", "sslkey"):
        path: Path | None = getattr(database, field)
        if path is not None and str(path) != "system":
            try:
                file_text(path)
            except ConfigurationError as error:
                yield _problem(given.get(field), str(error))


def _problem(item: Given | None, message: str) -> Problem:
    return Problem(message) if item is None else Problem(f"{item.name}: {message}", item.variable, item.where)


def _notes(database: DatabaseConfig, files: LibpqFiles) -> Iterator[str]:
    """Tell what is allowed, and yet seldom meant."""
    remote = [h for h in database.host.split(",") if not h.startswith("/") and h not in _LOCAL]
    if remote and database.sslmode != "verify-full":
        name = DATABASE_VARIABLES["sslmode"]
        yield f"{name} is {database.sslmode}: only verify-full makes sure that it is {remote[0]} that answers"
    if database.password_file is not None and _mode(database.password_file) & stat.S_IROTH:
        yield f"every user of this system can read the password file {database.password_file}"
    if _left_to_libpq(database) and _mode(files.passwords) & 0o077:
        yield f"libpq does not use {files.passwords}: others than its owner have rights to it (chmod 600)"


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0
