"""The settings of an application, each with a note of where it came from; the only home of variable names.

A value is taken from the first that gives it: an argument, the environment, ``.env``,
``database_handler.yaml``, the default. Both files are looked for in the current folder only.

An empty value means "none" where none is allowed, and is refused elsewhere: falling through to another
source could name another database than the one that was meant.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, NoReturn, Self

from pydantic import BeforeValidator, Field, SecretStr, StringConstraints

from database_handler.config.configuration import NAMES_IN_ERRORS, Configuration, kind_of, nearest
from database_handler.config.database import DatabaseConfig, url_fields
from database_handler.config.files import FilesConfig
from database_handler.config.sources import Source, env_file, yaml_sections
from database_handler.config.url import split_urls
from database_handler.config.values import Boolean
from database_handler.utils.arguments import checked
from database_handler.utils.errors import ConfigurationError

__all__ = ["ENV_FILE", "VARIABLES", "YAML_FILE", "Settings"]

ENV_FILE: Final = ".env"
YAML_FILE: Final = "database_handler.yaml"
URL_VARIABLE: Final = "DATABASE_URL"
TEST_URL_VARIABLE: Final = "TEST_DATABASE_URL"
TEST_URLS_VARIABLE: Final = "TEST_DATABASE_URLS"
DATABASE_VARIABLES: Final = {
    "host": "DB_HOST",
    "port": "DB_PORT",
    "name": "DB_NAME",
    "user": "DB_USER",
    "password": "DB_PASSWORD",
    "sslmode": "DB_SSLMODE",
    "sslrootcert": "DB_SSLROOTCERT",
    "pool_size": "DB_POOL_SIZE",
    "max_overflow": "DB_MAX_OVERFLOW",
    "pool_timeout": "DB_POOL_TIMEOUT",
    "pool_max_waiting": "DB_POOL_MAX_WAITING",
    "pool_hold_warning": "DB_POOL_HOLD_WARNING",
    "connect_timeout": "DB_CONNECT_TIMEOUT",
    "statement_timeout": "DB_STATEMENT_TIMEOUT",
    "lock_timeout": "DB_LOCK_TIMEOUT",
    "deadline": "DB_DEADLINE",
    "application_name": "DB_APPLICATION_NAME",
    "replica_urls": "DB_REPLICA_URLS",
    "pgbouncer": "DB_PGBOUNCER",
    "migration_url": "DB_MIGRATION_URL",
    "max_parameter_bytes": "DB_MAX_PARAMETER_BYTES",
    "slow_statement": "DB_SLOW_STATEMENT",
    "repeated_statement": "DB_REPEATED_STATEMENT",
}
FILES_VARIABLES: Final = {"store_url": "FILE_STORE_URL", "media_root": "MEDIA_ROOT"}
OTHER_VARIABLES: Final = {
    "database_class": "DATABASE_CLASS",
    "log_level": "LOG_LEVEL",
    "log_format": "LOG_FORMAT",
    "debug": "DEBUG",
    "environment": "ENVIRONMENT",
}
_BY_FIELD: Final = DATABASE_VARIABLES | FILES_VARIABLES | OTHER_VARIABLES
VARIABLES: Final = (URL_VARIABLE, *_BY_FIELD.values())
"""Every variable that is read, by its name in the environment, `.env` and YAML."""

_FIELDS: Final = {name: field for field, name in _BY_FIELD.items()}
_PLACE: Final = ("host", "port", "ports", "name", "user", "password", "target_session_attrs")
_OUR_PREFIXES: Final = ("DB_", "DATABASE_", "LOG_", "FILE_", "MEDIA_")
_CLOSE: Final = 0.85  # a foreign DB_HOSTNAME stays below, DB_POOLSIZE and DB_PROT do not
_ENVIRONMENT_NAME: Final = r"^[a-z][a-z0-9_-]{0,62}$"
_CLASS_NAME: Final = r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*$"
_ENVIRONMENT_ALLOWED: Final = (
    "a name of 1 to 63 lower-case letters, digits, '-' and '_' that starts with a letter"
)


@dataclass(frozen=True)
class _Given:
    """The value of one field, with the variable and the source that gave it."""

    value: object
    variable: str
    where: str
    part: str = ""

    @property
    def name(self) -> str:
        return f"{self.variable} (from {self.where}){self.part and f', its {self.part}'}"


def _upper(value: object) -> object:
    return value.strip().upper() if isinstance(value, str) else value


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]


def _level(fields: Mapping[str, object]) -> LogLevel:
    return "DEBUG" if fields.get("debug") else "INFO"


class Settings(Configuration, frozen=True):
    """The settings of an application: frozen, and safe to print.

    `sources` tells for each variable that was given where its value came from; a variable that it does not
    name has its default. The default of ``LOG_LEVEL`` is DEBUG with ``DEBUG`` on, and INFO otherwise.
    """

    database: DatabaseConfig = Field(description="a DatabaseConfig")
    files: FilesConfig = Field(default_factory=FilesConfig, description="a FilesConfig")
    database_class: Annotated[str, StringConstraints(pattern=_CLASS_NAME)] | None = Field(
        default=None, description="an application's own Database class, as package.module:Class"
    )
    debug: Boolean = Field(default=False, description="true, yes, on, 1, false, no, off or 0")
    log_level: Annotated[LogLevel, BeforeValidator(_upper)] = Field(
        default_factory=_level, description="one of DEBUG, INFO, WARNING, ERROR, CRITICAL"
    )
    log_format: Annotated[Literal["console", "json"], BeforeValidator(_lower)] = Field(
        default="console", description="console or json"
    )
    environment: Annotated[str, StringConstraints(pattern=_ENVIRONMENT_NAME)] = Field(
        default="development", description=_ENVIRONMENT_ALLOWED
    )
    sources: Mapping[str, str] = Field(default_factory=dict, description="text by text")

    @classmethod
    @checked
    def load(
        cls,
        *,
        env: Mapping[str, str] | None = None,
        env_file: Path | None = None,
        yaml_file: Path | None = None,
        environment: str | None = None,
        **arguments: object,
    ) -> Self:
        """Read the settings from every source; nothing is connected to.

        Parameters
        ----------
        env : mapping, optional
            Stands for the environment of this process.
        env_file, yaml_file : Path, optional
            Files to read, which then must exist; otherwise ``.env`` and ``database_handler.yaml`` in the
            current folder, as far as they exist.
        environment : str, optional
            Chooses the section of the YAML file, which is read over its section ``default``.
        **arguments
            ``database_url``, any field of `DatabaseConfig` or `FilesConfig`, ``log_level``, ``log_format``,
            ``debug``, ``database_class``; None counts as not given.

        Raises
        ------
        ConfigurationError
            Naming the variable, where its value came from, the kind of the value and what is allowed.
        """
        sources = [
            _argument_source(arguments, environment),
            _environment_source(os.environ if env is None else env),
            _env_file_source(env_file),
        ]
        chosen = _environment_name(sources)
        given = _merged([*sources, *_yaml_sources(yaml_file, chosen)])
        values = {field: item.value for field, item in given.items() if field in OTHER_VARIABLES}
        values |= {"sources": {item.variable: item.where for item in given.values()}}
        values |= {"database": _database(given), "files": _files(given)}
        return cls.model_validate(values, context=_names(given))


# --- the sources ------------------------------------------------------------------------------------------


def _argument_source(arguments: Mapping[str, object], environment: str | None) -> Source:
    known = ["database_url", *DatabaseConfig.model_fields, *FILES_VARIABLES, *OTHER_VARIABLES]
    for name in arguments:
        if name not in known:
            raise ConfigurationError(f"there is no setting {name} (from an argument){nearest(name, known)}")
    given = {**arguments, "environment": environment}
    return Source(
        "an argument", {_variable(name): value for name, value in given.items() if value is not None}
    )


def _variable(field: str) -> str:
    """Name the variable of a field; the few fields that have none are arguments only and keep their name."""
    if field == "database_url":
        return URL_VARIABLE
    return _BY_FIELD.get(field, field)


def _environment_source(env: Mapping[str, str]) -> Source:
    """Take our variables; of the others only those that look like one of ours mistyped are refused."""
    for name in env:
        if name not in VARIABLES and name.startswith(_OUR_PREFIXES):
            _refuse_if_close(name, "the environment")
    return Source("the environment", {name: env[name] for name in VARIABLES if name in env})


def _refuse_if_close(name: str, where: str) -> None:
    close = nearest(name, VARIABLES, _CLOSE)
    if close:
        raise ConfigurationError(f"there is no setting {name} (from {where}){close}")


def _refuse_unknown(name: str, where: str) -> NoReturn:
    raise ConfigurationError(f"there is no setting {name} (from {where}){nearest(name, VARIABLES, 0.75)}")


def _env_file_source(path: Path | None) -> Source:
    source = env_file(path, ENV_FILE)
    for name in source.values:
        if name not in VARIABLES and name.upper().startswith("DB_"):
            _refuse_unknown(name, source.where)
        elif name not in VARIABLES and name.startswith(_OUR_PREFIXES):
            _refuse_if_close(name, source.where)
    return Source(source.where, {name: source.values[name] for name in VARIABLES if name in source.values})


def _yaml_sources(path: Path | None, environment: str) -> Iterator[Source]:
    for source in yaml_sections(path, YAML_FILE, environment):
        for name in source.values:
            if name not in VARIABLES or name == "ENVIRONMENT":
                _refuse_unknown(name, source.where)
        yield source


# --- which value counts -----------------------------------------------------------------------------------


def _environment_name(sources: Sequence[Source]) -> str:
    """Give the environment that the sources above YAML name, which chooses the section of the YAML file."""
    for source in sources:
        if "ENVIRONMENT" in source.values:
            value = source.values["ENVIRONMENT"]
            if isinstance(value, str) and re.fullmatch(_ENVIRONMENT_NAME[1:-1], value):
                return value
            name = _Given(value, "ENVIRONMENT", source.where).name
            raise ConfigurationError(f"{name}: got {kind_of(value)}, allowed: {_ENVIRONMENT_ALLOWED}")
    return "development"


def _merged(sources: Sequence[Source]) -> dict[str, _Given]:
    """Take each field from the first source that gives it.

    A URL closes the place (host, user, password and so on) to the sources below it, so that a password
    that was written down for one server is never sent to another.
    """
    merged: dict[str, _Given] = {}
    closed: set[str] = set()
    for source in sources:
        fields = _fields(source)
        if "host" in merged or "port" in merged:  # a list of ports belongs to the hosts of its own source
            fields.pop("ports", None)
        merged |= {
            field: item for field, item in fields.items() if field not in closed and field not in merged
        }
        closed |= set(_PLACE) if URL_VARIABLE in source.values else set()
    return merged


def _fields(source: Source) -> dict[str, _Given]:
    """Give what one source says of each field; a part that both the URL and a variable give is refused."""
    parts = _url_parts(source)
    fields = dict(parts)
    for variable, value in source.values.items():
        field = _FIELDS.get(variable, variable)
        twin = {"port": "ports", "ports": "port"}.get(field, field)
        if field in parts or twin in parts:
            both = f"{URL_VARIABLE} and {variable} (both from {source.where})"
            raise ConfigurationError(f"{both} give the {field}; give it in one of them")
        if variable != URL_VARIABLE:
            fields[field] = _Given(value, variable, source.where)
    return fields


def _url_parts(source: Source) -> dict[str, _Given]:
    if URL_VARIABLE not in source.values:
        return {}
    url = source.values[URL_VARIABLE]
    plain = url.get_secret_value() if isinstance(url, SecretStr) else url
    parts = url_fields(plain, _Given(url, URL_VARIABLE, source.where).name)
    return {field: _Given(value, URL_VARIABLE, source.where, part=field) for field, value in parts.items()}


def _database(given: Mapping[str, _Given]) -> DatabaseConfig:
    if "name" not in given:
        raise ConfigurationError(
            f"no database is named: set {URL_VARIABLE}, or {DATABASE_VARIABLES['name']} and those"
            f" beside it, in the environment, {ENV_FILE} or {YAML_FILE}"
        )
    others = FILES_VARIABLES | OTHER_VARIABLES
    values = {field: item.value for field, item in given.items() if field not in others}
    return DatabaseConfig.model_validate(values, context=_names(given))


def _files(given: Mapping[str, _Given]) -> FilesConfig:
    values = {field: given[field].value for field in FILES_VARIABLES if field in given}
    return FilesConfig.model_validate(values, context=_names(given))


def _names(given: Mapping[str, _Given]) -> dict[str, dict[str, str]]:
    return {NAMES_IN_ERRORS: {field: item.name for field, item in given.items()}}


def test_database_url() -> str | None:
    """Return the server that tests run on, ``TEST_DATABASE_URL``; None stands for an embedded one."""
    return os.environ.get(TEST_URL_VARIABLE) or None


def test_database_urls() -> tuple[str, ...]:
    """Return the further servers of the tests, ``TEST_DATABASE_URLS``, parted by commas."""
    return split_urls(os.environ.get(TEST_URLS_VARIABLE, ""))


# These are no tests, whatever pytest makes of their names.
test_database_url.__test__ = False  # type: ignore[attr-defined]  # a function takes any attribute
test_database_urls.__test__ = False  # type: ignore[attr-defined]  # likewise
