"""The settings of an application, each with a note of where it came from; the only home of variable names.

A value is taken from the first that gives it: an argument, the environment, ``.env``,
``database_handler.yaml``, the default. Both files are looked for in the current folder only.

An empty value means "none" where none is allowed, and is refused elsewhere: falling through to another
source could name another database than the one that was meant.

It is one module, over 300 lines, because the variables have one home, and the order of the sources, their
names and what counts are one set of rules.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final, Literal, Self, TypeVar

from pydantic import BeforeValidator, Field, SecretStr, StringConstraints

from database_handler.config.cache import CacheConfig
from database_handler.config.configuration import NAMES_IN_ERRORS, Configuration, kind_of, nearest
from database_handler.config.database import DatabaseConfig, url_fields
from database_handler.config.files import FilesConfig
from database_handler.config.libpq_files import LibpqFiles, service_fields
from database_handler.config.sources import Source, env_file, yaml_sections
from database_handler.config.url import split_urls
from database_handler.config.values import Boolean
from database_handler.utils.arguments import checked
from database_handler.utils.errors import ConfigurationError, Problem

__all__ = ["ENV_FILE", "VARIABLES", "YAML_FILE", "Settings"]

ENV_FILE: Final = ".env"
YAML_FILE: Final = "database_handler.yaml"
URL_VARIABLE: Final = "DATABASE_URL"
SERVICE_VARIABLE: Final = "DB_SERVICE"
LIBPQ_SERVICE_VARIABLE: Final = "PGSERVICE"
TEST_URL_VARIABLE: Final = "TEST_DATABASE_URL"
TEST_URLS_VARIABLE: Final = "TEST_DATABASE_URLS"
DATABASE_VARIABLES: Final = {
    "host": "DB_HOST",
    "port": "DB_PORT",
    "name": "DB_NAME",
    "user": "DB_USER",
    "password": "DB_PASSWORD",
    "password_file": "DB_PASSWORD_FILE",
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
    "replica_wait": "DB_REPLICA_WAIT",
    "replica_max_lag": "DB_REPLICA_MAX_LAG",
    "replica_check": "DB_REPLICA_CHECK",
    "pgbouncer": "DB_PGBOUNCER",
    "citus": "DB_CITUS",
    "changes": "DB_CHANGES",
    "migration_url": "DB_MIGRATION_URL",
    "max_parameter_bytes": "DB_MAX_PARAMETER_BYTES",
    "slow_statement": "DB_SLOW_STATEMENT",
    "prepare_after": "DB_PREPARE_AFTER",
    "repeated_statement": "DB_REPEATED_STATEMENT",
    "explain_slow": "DB_EXPLAIN_SLOW",
}
FILES_VARIABLES: Final = {"store_url": "FILE_STORE_URL", "media_root": "MEDIA_ROOT"}
_CACHE: Final = "cache_"  # what the fields of a `CacheConfig` begin with among all others
CACHE_VARIABLES: Final = {f"{_CACHE}{name}": f"DB_CACHE_{name.upper()}" for name in CacheConfig.model_fields}
OTHER_VARIABLES: Final = {
    "database_class": "DATABASE_CLASS",
    "log_level": "LOG_LEVEL",
    "log_format": "LOG_FORMAT",
    "debug": "DEBUG",
    "environment": "ENVIRONMENT",
}
_BY_FIELD: Final = DATABASE_VARIABLES | FILES_VARIABLES | CACHE_VARIABLES | OTHER_VARIABLES
VARIABLES: Final = (URL_VARIABLE, SERVICE_VARIABLE, *_BY_FIELD.values())
"""Every variable that is read, by its name in the environment, `.env` and YAML."""

_FIELDS: Final = {name: field for field, name in _BY_FIELD.items()}
_SECRET: Final = ("password", "password_file")
_PLACE: Final = ("host", "port", "ports", "name", "user", *_SECRET, "target_session_attrs")
_OUR_PREFIXES: Final = ("DB_", "DATABASE_", "LOG_", "FILE_", "MEDIA_")
_UNKNOWN: Final = -1.0  # not by how near it comes: any name that is none of ours
_CLOSE: Final = 0.85  # a foreign DB_HOSTNAME stays below, DB_POOLSIZE and DB_PROT do not
_DEVELOPMENT: Final = "development"
_PLACES: Final = (URL_VARIABLE, SERVICE_VARIABLE)
_ENVIRONMENT_NAME: Final = r"^[a-z][a-z0-9_-]{0,62}$"
_CLASS_NAME: Final = r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*$"
_ENVIRONMENT_ALLOWED: Final = (
    "a name of 1 to 63 lower-case letters, digits, '-' and '_' that starts with a letter"
)


@dataclass(frozen=True)
class Given:
    """The value of one field, with the variable and the source that gave it."""

    value: object
    variable: str
    where: str
    part: str = ""

    @property
    def name(self) -> str:
        """The variable and its source, as an error begins with them."""
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
    cache: CacheConfig = Field(default_factory=CacheConfig, description="a CacheConfig")
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
            ``database_url``, any field of `DatabaseConfig` or `FilesConfig`, those of `CacheConfig` with
            ``cache_`` before them, ``log_level``, ``log_format``, ``debug``, ``database_class``, ``service``
            (libpq's); None counts as not given.

        Raises
        ------
        ConfigurationError
            Naming all that is wrong: the variable, where its value came from, the kind of the value and what
            is allowed; `problems` holds each by itself.
        """
        reading = read(env, env_file, yaml_file, environment, arguments)
        if reading.problems:
            raise ConfigurationError.of(reading.problems)
        return cls.model_validate(reading.values)


# --- reading ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """All that was read.

    Attributes
    ----------
    given : mapping
        What counts, by field.
    values : mapping
        What `Settings` are made of, where nothing is wrong.
    """

    environment: str
    given: Mapping[str, Given]
    problems: tuple[Problem, ...]
    values: Mapping[str, object]


def read(
    env: Mapping[str, str] | None,
    env_file: Path | None,
    yaml_file: Path | None,
    environment: str | None,
    arguments: Mapping[str, object],
) -> Reading:
    """Read every source, and find everything that is wrong, not only the first."""
    variables = os.environ if env is None else env
    sources = [
        _argument_source(arguments, environment),
        _environment_source(variables),
        _env_file_source(env_file),
    ]
    chosen, named, wrong = _environment_name(sources)
    if not wrong:
        sources += _yaml_sources(yaml_file, chosen, named)
    given, unfit = _merged(sources, libpq_files(variables), variables.get(LIBPQ_SERVICE_VARIABLE))
    problems = [*wrong, *(problem for source in sources for problem in source.problems), *unfit]
    if "name" not in given and not problems:
        problems.append(_NOT_NAMED)
    values, refused = _parts(given)
    return Reading(chosen, given, (*problems, *refused), values)


_NOT_NAMED: Final = Problem(
    f"no database is named: set {URL_VARIABLE}, or {DATABASE_VARIABLES['name']} and those beside it, in the "
    f"environment, {ENV_FILE} or {YAML_FILE}"
)


def _parts(given: Mapping[str, Given]) -> tuple[Mapping[str, object], list[Problem]]:
    """Make each part of the settings by itself, so that each says what is wrong with it."""
    problems: list[Problem] = []
    unnamed = {} if "name" in given else {"name": "-"}
    cached = cache_fields(given)
    made: dict[str, object] = {
        "database": _made(DatabaseConfig, unnamed | _values(given, "database"), given, problems),
        "files": _made(FilesConfig, _values(given, "files"), given, problems),
        "cache": _made(CacheConfig, _values(cached), cached, problems),
    }
    rest = _values(given, "settings") | {"sources": {item.variable: item.where for item in given.values()}}
    parts = {name: part for name, part in made.items() if part is not None}
    _made(Settings, {"database": _ANY_DATABASE} | parts | rest, given, problems)
    return parts | rest, problems


_ANY_DATABASE: Final = DatabaseConfig(name="-", user="-")


def _values(given: Mapping[str, Given], part: str | None = None) -> dict[str, object]:
    return {name: item.value for name, item in given.items() if part is None or _part(name) == part}


M = TypeVar("M", bound=Configuration)


def _made(
    model: type[M], fields: Mapping[str, object], given: Mapping[str, Given], problems: list[Problem]
) -> M | None:
    try:
        return model.model_validate({**fields}, context={NAMES_IN_ERRORS: given})
    except ConfigurationError as error:
        problems += error.problems or [Problem(str(error))]
        return None


def _part(field: str) -> str:
    if field in CACHE_VARIABLES:
        return "cache"
    return "files" if field in FILES_VARIABLES else "settings" if field in OTHER_VARIABLES else "database"


def cache_fields(given: Mapping[str, Given]) -> dict[str, Given]:
    """Return what is given for the cache, by the fields of a `CacheConfig`."""
    return {name.removeprefix(_CACHE): item for name, item in given.items() if name in CACHE_VARIABLES}


# --- the sources ------------------------------------------------------------------------------------------


def _argument_source(arguments: Mapping[str, object], environment: str | None) -> Source:
    known = ["database_url", "service", *_BY_FIELD, *DatabaseConfig.model_fields]
    problems = [
        Problem(f"there is no setting {name} (from an argument){nearest(name, known)}", name, "an argument")
        for name in arguments
        if name not in known
    ]
    given = {**arguments, "environment": environment}
    values = {_variable(name): value for name, value in given.items() if value is not None and name in known}
    return Source("an argument", values, problems=tuple(problems))


def _variable(field: str) -> str:
    """Name the variable of a field; the few fields that have none are arguments only and keep their name."""
    names = {"database_url": URL_VARIABLE, "service": SERVICE_VARIABLE}
    return names.get(field) or _BY_FIELD.get(field, field)


def _environment_source(env: Mapping[str, str]) -> Source:
    """Take our variables; of the others only those that look like one of ours mistyped are refused."""
    source = Source("the environment", env)
    return _ours(source, lambda name: name.startswith(_OUR_PREFIXES) and _CLOSE)


def _env_file_source(path: Path | None) -> Source:
    def cutoff(name: str) -> float:
        if name.upper().startswith("DB_"):
            return _UNKNOWN
        return name.startswith(_OUR_PREFIXES) and _CLOSE

    return _ours(env_file(path, ENV_FILE), cutoff)


def _yaml_sources(path: Path | None, environment: str, named: str | None) -> Iterator[Source]:
    for source in yaml_sections(path, YAML_FILE, environment, named):
        yield _ours(source, lambda _: _UNKNOWN, but=("ENVIRONMENT",))


def _ours(source: Source, cutoff: Callable[[str], float], but: Sequence[str] = ()) -> Source:
    """Keep our variables; refuse others.

    Parameters
    ----------
    cutoff : callable
        For a name that is none of ours: how near to one of ours it must come to be refused; `_UNKNOWN`: it
        is refused in any case; 0: it is not.
    """
    ours = [name for name in VARIABLES if name not in but]
    problems = list(source.problems)
    for name in source.values:
        near = 0 if name in ours else cutoff(name)
        hint = nearest(name.upper(), ours, near if near > 0 else 0.75) if near else ""
        if near == _UNKNOWN or hint:
            where = source.at(name)
            problems.append(Problem(f"there is no setting {name} (from {where}){hint}", name, where))
    values = {name: source.values[name] for name in ours if name in source.values}
    return replace(source, values=values, problems=tuple(problems))


# --- which value counts -----------------------------------------------------------------------------------


def _environment_name(sources: Sequence[Source]) -> tuple[str, str | None, list[Problem]]:
    """Give the environment that the sources above YAML name, which chooses its section, and who named it."""
    for source in sources:
        if "ENVIRONMENT" in source.values:
            value, where = source.values["ENVIRONMENT"], source.at("ENVIRONMENT")
            if isinstance(value, str) and re.fullmatch(_ENVIRONMENT_NAME[1:-1], value):
                return value, where, []
            name = Given(value, "ENVIRONMENT", where).name
            told = f"{name}: got {kind_of(value)}, allowed: {_ENVIRONMENT_ALLOWED}"
            return _DEVELOPMENT, None, [Problem(told, "ENVIRONMENT", where)]
    return _DEVELOPMENT, None, []


def _merged(
    sources: Sequence[Source], files: LibpqFiles, libpq_service: str | None
) -> tuple[dict[str, Given], list[Problem]]:
    """Take each field from the first source that gives it.

    A URL or a service closes the place (host, user, password and so on) to the sources below it, so that a
    password that was written down for one server is never sent to another. The service that libpq's own
    variable names counts where nothing else names a database.
    """
    merged: dict[str, Given] = {}
    problems: list[Problem] = []
    closed: set[str] = set()
    for source in sources:
        fields = _fields(source, files, problems)
        if "host" in merged or "port" in merged:  # a list of ports belongs to the hosts of its own source
            fields.pop("ports", None)
        merged |= {
            field: item for field, item in fields.items() if field not in closed and field not in merged
        }
        closed |= set(_PLACE) if {URL_VARIABLE, SERVICE_VARIABLE} & source.values.keys() else set()
        closed |= set(_SECRET) if set(_SECRET) & fields.keys() else set()
    if libpq_service and "name" not in merged and not problems:
        where = Given(libpq_service, LIBPQ_SERVICE_VARIABLE, "the environment")
        merged = _service_parts(where, files, problems) | merged
    return merged, problems


def _fields(source: Source, files: LibpqFiles, problems: list[Problem]) -> dict[str, Given]:
    """Give what one source says of each field; a part that is given twice in it is refused."""
    given = {name: Given(value, name, source.at(name)) for name, value in source.values.items()}
    fields = _url_parts(given[URL_VARIABLE], files, problems) if URL_VARIABLE in given else {}
    if SERVICE_VARIABLE in given:
        _add(fields, _service_parts(given[SERVICE_VARIABLE], files, problems), problems)
    own = {_FIELDS.get(name, name): item for name, item in given.items() if name not in _PLACES}
    _add(fields, own, problems)
    secrets = [fields[name] for name in _SECRET if name in fields and fields[name].value not in (None, "")]
    if len(secrets) > 1:
        problems.append(_both(secrets[0], secrets[1], "password"))
    return fields


def _add(fields: dict[str, Given], others: Mapping[str, Given], problems: list[Problem]) -> None:
    for field, item in others.items():
        twin = {"port": "ports", "ports": "port"}.get(field, field)
        if (before := fields.get(field) or fields.get(twin)) is not None:
            problems.append(_both(before, item, field))
        fields[field] = item


def _both(one: Given, other: Given, what: str) -> Problem:
    where = one.where if one.where == other.where else f"{one.where} and {other.where}"
    names = f"{one.variable} and {other.variable} (both from {where})"
    return Problem(f"{names} give the {what}; give it in one of them", other.variable, other.where)


def _url_parts(url: Given, files: LibpqFiles, problems: list[Problem]) -> dict[str, Given]:
    value = url.value.get_secret_value() if isinstance(url.value, SecretStr) else url.value
    try:
        parts = url_fields(value, url.name, files)
    except ConfigurationError as error:
        problems.append(Problem(str(error), url.variable, url.where))
        return {}
    return {field: replace(url, value=part, part=field) for field, part in parts.items()}


def _service_parts(service: Given, files: LibpqFiles, problems: list[Problem]) -> dict[str, Given]:
    if service.value == "":
        return {}
    try:
        parts, file = service_fields(service.value, files)
    except ConfigurationError as error:
        problems.append(Problem(f"{service.name}: {error}", service.variable, service.where))
        return {}
    where = f"{service.where}, {file}"
    return {field: replace(service, value=part, where=where, part=field) for field, part in parts.items()}


def libpq_files(env: Mapping[str, str] | None = None) -> LibpqFiles:
    """Say where libpq looks for services and passwords, by its own variables."""
    found = os.environ if env is None else env
    home = Path(found.get("HOME") or "~").expanduser()
    system = Path(found["PGSYSCONFDIR"]) / "pg_service.conf" if found.get("PGSYSCONFDIR") else None
    own = Path(found.get("PGSERVICEFILE") or home / ".pg_service.conf")
    password = found.get("PGPASSWORD")
    return LibpqFiles(
        services=(own, *([system] if system else [])),
        passwords=Path(found.get("PGPASSFILE") or home / ".pgpass"),
        password=SecretStr(password) if password else None,
    )


def test_database_url() -> str | None:
    """Return the server that tests run on, ``TEST_DATABASE_URL``; None stands for an embedded one."""
    return os.environ.get(TEST_URL_VARIABLE) or None


def test_database_urls() -> tuple[str, ...]:
    """Return the further servers of the tests, ``TEST_DATABASE_URLS``, parted by commas."""
    return split_urls(os.environ.get(TEST_URLS_VARIABLE, ""))


def program_environment() -> dict[str, str]:
    """Return what a program of PostgreSQL's gets to see: this environment without our settings, in English.

    What it says is read; and our settings hold passwords that are none of its business.
    """
    ours = {*VARIABLES, TEST_URL_VARIABLE, TEST_URLS_VARIABLE}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return kept | {"LC_ALL": "C", "LANGUAGE": ""}


# These are no tests, whatever pytest makes of their names.
test_database_url.__test__ = False  # type: ignore[attr-defined]  # a function takes any attribute
test_database_urls.__test__ = False  # type: ignore[attr-defined]  # likewise
