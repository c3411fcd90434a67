"""Where settings come from, which source wins, and what an error says of it."""

import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database_handler.config import Settings
from database_handler.config.settings import VARIABLES
from database_handler.utils.errors import ConfigurationError

URL = "postgresql://u:hunter2@h:7/d"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def dotenv(text: str | bytes) -> None:
    Path(".env").write_bytes(text.encode() if isinstance(text, str) else text)


def yaml_file(text: str) -> None:
    Path("database_handler.yaml").write_text(text, encoding="utf-8")


def refused(env: dict[str, str] | None = None, **arguments: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(env=env or {}, **arguments)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  any keyword goes
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert "hunter2" not in str(caught.value)
    return str(caught.value)


def test_every_promised_variable_is_read() -> None:
    values = {
        "DB_HOST": "h", "DB_PORT": "7", "DB_NAME": "n", "DB_USER": "u", "DB_PASSWORD": "p",
        "DB_SSLMODE": "verify-ca", "DB_SSLROOTCERT": "/ca",
        "DB_POOL_SIZE": "2", "DB_MAX_OVERFLOW": "3", "DB_POOL_TIMEOUT": "4s",
        "DB_STATEMENT_TIMEOUT": "500ms", "DB_LOCK_TIMEOUT": "2min", "DB_APPLICATION_NAME": "app",
        "DB_REPLICA_URLS": "postgresql://r/d,postgresql://a,b/d", "DB_PGBOUNCER": "true", "DB_CITUS": "no",
        "DB_MIGRATION_URL": "postgresql://m/d", "DB_POOL_MAX_WAITING": "9", "DB_DEADLINE": "10",
        "DB_CONNECT_TIMEOUT": "1", "DB_MAX_PARAMETER_BYTES": "1MiB", "DB_SLOW_STATEMENT": "0",
        "DB_REPEATED_STATEMENT": "20", "DB_EXPLAIN_SLOW": "2s", "DB_POOL_HOLD_WARNING": "none",
        "DB_PREPARE_AFTER": "7", "DB_CHANGES": "outbox",
        "DB_REPLICA_WAIT": "200ms", "DB_REPLICA_MAX_LAG": "none", "DB_REPLICA_CHECK": "2",
        "FILE_STORE_URL": "s3://films/originals", "MEDIA_ROOT": "/srv/media",
        "DB_CACHE_URL": "valkeys://c/1", "DB_CACHE_TTL": "2min", "DB_CACHE_TIMEOUT": "20ms",
        "DB_CACHE_PAUSE": "1", "DB_CACHE_WAIT": "2", "DB_CACHE_MAX_VALUE_BYTES": "1KiB",
        "DB_CACHE_STRICT": "yes", "DB_CACHE_NAMESPACE": "copy",
        "LOG_LEVEL": "warning", "LOG_FORMAT": "json", "DEBUG": "off", "ENVIRONMENT": "production",
        "DATABASE_CLASS": "films.data:FilmsDatabase",
    }  # fmt: skip
    settings = Settings.load(env=values)
    config = settings.database
    assert {"DATABASE_URL", "DB_SERVICE", "DB_PASSWORD_FILE", *values} == set(VARIABLES)
    assert settings.sources == dict.fromkeys(values, "the environment")
    assert (config.host, config.port, config.name, config.user, config.sslmode) == (
        "h",
        7,
        "n",
        "u",
        "verify-ca",
    )
    assert (config.pool_size, config.max_overflow, config.pool_timeout) == (2, 3, 4)
    assert (config.statement_timeout, config.lock_timeout, config.deadline) == (0.5, 120, 10)
    assert (len(config.replica_urls), config.pgbouncer, config.pool_max_waiting) == (2, True, 9)
    assert (config.max_parameter_bytes, config.slow_statement, config.connect_timeout) == (2**20, 0, 1)
    assert config.changes == "outbox"
    assert (config.replica_wait, config.replica_max_lag, config.replica_check) == (0.2, None, 2)
    assert (config.repeated_statement, config.prepare_after, config.pool_hold_warning) == (20, 7, None)
    assert (settings.files.store_url, settings.files.media_root) == (
        "s3://films/originals",
        Path("/srv/media"),
    )
    cache = settings.cache
    assert cache.url is not None
    assert cache.url.get_secret_value() == "rediss://c/1"
    assert (cache.ttl, cache.timeout, cache.pause, cache.wait) == (120, 0.02, 1, 2)
    assert (cache.max_value_bytes, cache.strict, cache.namespace) == (1024, True, "copy")
    assert (settings.log_level, settings.log_format, settings.debug) == ("WARNING", "json", False)
    assert (settings.environment, settings.database_class) == ("production", "films.data:FilmsDatabase")


def test_the_environment_of_the_process_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in set(VARIABLES) & set(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_URL", URL)
    assert Settings.load().database.host == "h"
    with pytest.raises(ConfigurationError, match="no database is named"):
        Settings.load(env={})


def test_each_source_gives_way_to_the_one_above_it() -> None:
    yaml_file("default: {DB_NAME: default, DB_PORT: 1}\nstaging: {db_name: section}\n")
    found = Settings.load(env={})
    assert (found.database.name, found.database.port) == ("default", 1)
    found = Settings.load(env={}, environment="staging")
    assert (found.database.name, found.database.port) == ("section", 1)
    assert found.sources["DB_NAME"] == "database_handler.yaml:2, section staging"
    dotenv("ENVIRONMENT=staging\nDB_NAME='dotenv'\n")
    found = Settings.load(env={})
    assert (found.environment, found.database.name, found.sources["DB_NAME"]) == (
        "staging",
        "dotenv",
        ".env:2",
    )
    found = Settings.load(env={"DB_NAME": "environment"})
    assert (found.database.name, found.sources["DB_NAME"]) == ("environment", "the environment")
    found = Settings.load(env={"DB_NAME": "environment"}, name="argument", host=None)
    assert (found.database.name, found.sources["DB_NAME"]) == ("argument", "an argument")
    assert "DB_HOST" not in found.sources


def test_a_url_and_its_parts() -> None:
    both = refused({"DATABASE_URL": URL, "DB_HOST": "x"})
    assert "DATABASE_URL" in both
    assert "DB_HOST" in both
    assert "DB_PORT" in refused({"DATABASE_URL": "postgresql://a:1,b:2/d", "DB_PORT": "3"})
    beside = Settings.load(env={"DATABASE_URL": "postgresql://u@h/d", "DB_PASSWORD": "p"}).database
    assert beside.password is not None, "a part that the URL leaves out may stand beside it"
    dotenv(f"DATABASE_URL={URL}")
    above = Settings.load(env={"DB_HOST": "x"}).database
    assert (above.host, above.port) == ("x", 7)
    dotenv("DATABASE_URL=postgresql://a:1,b:2/d")
    assert Settings.load(env={"DB_HOST": "x"}).database.ports == ()


def test_a_url_above_takes_no_password_from_below() -> None:
    dotenv("DB_PASSWORD=hunter2\nDB_USER=u\nDB_HOST=x\nDB_SSLMODE=verify-full\n")
    config = Settings.load(env={"DATABASE_URL": "postgresql://elsewhere/d"}).database
    assert (config.host, config.password) == ("elsewhere", None)
    assert config.sslmode == "verify-full", "what is no part of the place still counts"


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("DB_PORT", "hunter2", "1 to 65535"),
        ("DB_HOST", "", "host name"),
        ("DB_NAME", "", "name of a database"),
        ("DB_POOL_TIMEOUT", "soon", "seconds"),
        ("DB_PGBOUNCER", "hunter2", "true"),
        ("DB_REPLICA_URLS", "postgresql://u:hunter2@h/", "postgresql://"),
        ("DB_REPLICA_URLS", "postgresql://u:hunter2@h/d?x=1", "postgresql://"),
        ("DB_MIGRATION_URL", "hunter2", "postgresql://"),
        ("DEBUG", "maybe", "true"),
        ("DEBUG", "", "true"),
        ("LOG_LEVEL", "loud", "DEBUG"),
        ("LOG_FORMAT", "xml", "json"),
        ("FILE_STORE_URL", "ftp://u:hunter2@h/p", "without a password"),
        ("FILE_STORE_URL", "hunter2 2://x", "fsspec"),
        ("FILE_STORE_URL", "file://host/x", "folder"),
        ("FILE_STORE_URL", "a\tb", "folder"),
        ("MEDIA_ROOT", "a\tb", "folder"),
        ("ENVIRONMENT", "Prod!", "lower-case"),
        ("DATABASE_URL", "postgresql://u:hunter2@h:x/d", "host or port"),
        ("DATABASE_URL", "postgresql://u:hunter2@h/d?sslmode=hunter2", "sslmode"),
        ("DATABASE_URL", "", "postgresql://"),
    ],
)
def test_a_wrong_value_names_its_variable_and_its_source(variable: str, value: str, allowed: str) -> None:
    base = {} if variable == "DATABASE_URL" else {"DB_NAME": "n"}
    message = refused(base | {variable: value})
    assert message.startswith(f"{variable} (from the environment)")
    assert allowed in message
    dotenv(f"{variable}={value}")
    assert f"{variable} (from .env:1)" in refused(
        {name: text for name, text in base.items() if name != variable}
    )


def test_places_of_files_are_fixed_when_they_are_read(folder: Path) -> None:
    files = Settings.load(env={"DB_NAME": "n", "MEDIA_ROOT": "media"}).files
    assert (files.store_url, files.media_root) == (str(folder / "var/files"), folder / "media")
    files = Settings.load(env={"DB_NAME": "n", "FILE_STORE_URL": "file:///srv/a%20b", "MEDIA_ROOT": ""}).files
    assert (files.store_url, files.media_root) == ("/srv/a b", None)
    assert Settings.load(env={"DB_NAME": "n"}, store_url="").files.store_url is None


def test_only_the_wrong_setting_is_named() -> None:
    assert refused({"DB_NAME": "n", "DEBUG": "maybe"}).count("got ") == 1


def test_debug_lowers_the_default_of_the_log_level() -> None:
    assert Settings.load(env={"DB_NAME": "n", "DEBUG": "yes"}).log_level == "DEBUG"
    assert Settings.load(env={"DB_NAME": "n", "DEBUG": "yes", "LOG_LEVEL": "ERROR"}).log_level == "ERROR"
    assert Settings.load(env={"DB_NAME": "n"}).log_level == "INFO"


@pytest.mark.parametrize(
    "name", ["DB_POOLSIZE", "DB_PASWORD", "DB_PROT", "DATABASE_URI", "DB_SSL_MODE", "LOG_LEVELS"]
)
def test_a_mistyped_variable_is_refused_everywhere(name: str) -> None:
    assert "did you mean" in refused({"DB_NAME": "n", name: "hunter2"})
    dotenv(f"DB_NAME=n\n{name}=hunter2\n")
    assert f"{name} (from .env:2); did you mean" in refused()


@pytest.mark.parametrize(
    "name", ["DB_HOSTNAME", "DB_USERNAME", "DB_ENGINE", "DB_PORT_5432_TCP", "PATH", "db_host"]
)
def test_a_foreign_variable_of_the_environment_is_left_alone(name: str) -> None:
    assert Settings.load(env={"DB_NAME": "n", name: "x"}).database.host == "localhost"


def test_in_our_own_files_every_unknown_name_is_refused() -> None:
    dotenv("DB_NAME=n\nDB_ENGINE=x\n")
    assert "DB_ENGINE (from .env:2)" in refused()
    dotenv("DB_NAME=n\ndb_host=x\n")
    assert "db_host (from .env:2); did you mean DB_HOST?" in refused()
    dotenv("DB_NAME=n\nSECRET_KEY=x\n")
    yaml_file("default: {SECRET_KEY: x}")
    assert "SECRET_KEY (from database_handler.yaml:1, section default)" in refused()
    assert "did you mean pool_size?" in refused(poolsize=3)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (b"DB_NAME=n\nhunter2\n", ".env:2 is not NAME=value"),
        (b"export DB_NAME=n\n", ".env:1 is not NAME=value"),
        (b"\xef\xbb\xbfDB_NAME=n\n", ".env:1 is not NAME=value"),
        (b"# \n\nDB_NAME='hunter2\n", ".env:3 opens a quotation mark"),
        (b"DB_NAME=n\r\nDB_NAME=hunter2\r\n", ".env:2 sets DB_NAME again, after line 1"),
        (b"DB_NAME=n\nDB_PASSWORD=hunter2\xff\n", ".env:2 is not UTF-8"),
        (b"DB_NAME=n\nDB_PASSWORD=hunter2\0\n", ".env:2 holds NUL"),
        (b"#" * (1 << 20) + b"##", ".env is larger than"),
    ],
)
def test_a_malformed_env_file_names_the_line(text: bytes, where: str) -> None:
    dotenv(text)
    assert refused().startswith(where)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("default:\n  DB_NAME: n\n DB_PORT: 1\n", "database_handler.yaml:3 is not valid YAML"),
        ("default:\n  DB_NAME: *hunter2\n", "database_handler.yaml:2 is not valid YAML"),
        ("default:\n  DB_NAME: !hunter2 x\n", "database_handler.yaml:2 is not valid YAML"),
        (
            "default:\n  DB_NAME: !!python/object/apply:os.getcwd []\n",
            "database_handler.yaml:2 is not valid YAML",
        ),
        ("default:\n  DB_NAME: a\n  DB_NAME: hunter2\n", "database_handler.yaml:3 sets a name"),
        ("default: {}\ndefault: {}\n", "database_handler.yaml:2 sets a name"),
        (
            "default: {DB_NAME: a, db_name: hunter2}",
            "database_handler.yaml, section default has a setting in two",
        ),
        ("- hunter2\n", "database_handler.yaml holds a list"),
        ("default: hunter2\n", "database_handler.yaml, section default holds text"),
        (
            "production: {DB_NAME: n}\n",
            "database_handler.yaml has no section for the environment development",
        ),
        ("default: " + "[" * 1_000, "database_handler.yaml is not valid YAML"),
        (
            "default: {DB_NAME: n, DB_PASSWORD: 123}",
            "DB_PASSWORD (from database_handler.yaml:1, section default)",
        ),
        (
            "default: {DB_NAME: 2024-01-01}",
            "DB_NAME (from database_handler.yaml:1, section default): got a date",
        ),
        ("default: {ENVIRONMENT: production}", "there is no setting ENVIRONMENT"),
        ("---\na: {}\n---\nb: {}\n", "database_handler.yaml:3 is not valid YAML"),
    ],
)
def test_a_malformed_yaml_file_names_the_line_or_the_setting(text: str, where: str) -> None:
    yaml_file(text)
    assert refused().startswith(where)


def test_yaml_has_types_and_lists() -> None:
    yaml_file(
        "default:\n  DB_NAME: n\n  DB_PORT: 7\n  DB_PGBOUNCER: true\n  DB_STATEMENT_TIMEOUT: null\n"
        "  DB_DEADLINE: 2.5\n  DB_REPLICA_URLS: [postgresql://a/d, postgresql://b/d]\n"
        "  DEBUG: yes\n"
    )
    settings = Settings.load(env={})
    config = settings.database
    assert (config.port, config.pgbouncer, config.statement_timeout, config.deadline) == (7, True, None, 2.5)
    assert (len(config.replica_urls), settings.debug) == (2, True)


def test_an_empty_yaml_file_is_no_settings() -> None:
    yaml_file("")
    assert Settings.load(env={"DB_NAME": "n"}).database.name == "n"


def test_yaml_without_its_extra_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert Settings.load(env={"DB_NAME": "n"}).database.name == "n"
    yaml_file("default: {}")
    assert "database-handler[yaml]" in refused({"DB_NAME": "n"})


def test_a_file_that_is_asked_for_must_be_there(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nope is not a regular file"):
        Settings.load(env={"DB_NAME": "n"}, env_file=folder / "nope")
    with pytest.raises(ConfigurationError, match=r"nope is not a regular file"):
        Settings.load(env={"DB_NAME": "n"}, yaml_file=folder / "nope")
    (folder / ".env").mkdir()  # as a virtual environment may be called
    (folder / ".env" / "pyvenv.cfg").touch()
    assert Settings.load(env={"DB_NAME": "n"}).database.name == "n"


def test_empty_turns_off_what_a_source_below_set() -> None:
    dotenv("DB_NAME=n\nDB_STATEMENT_TIMEOUT=5s\nDB_PASSWORD=p\n")
    config = Settings.load(env={"DB_STATEMENT_TIMEOUT": "", "DB_PASSWORD": ""}).database
    assert (config.statement_timeout, config.password) == (None, None)


def test_settings_can_be_printed() -> None:
    settings = Settings.load(env={"DATABASE_URL": URL, "DB_MIGRATION_URL": URL, "DB_REPLICA_URLS": URL})
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()


@given(st.dictionaries(st.sampled_from(VARIABLES), st.text(max_size=20), max_size=5))
def test_any_environment_gives_settings_or_one_error_of_ours(env: dict[str, str]) -> None:
    with suppress(ConfigurationError):
        assert Settings.load(env=env).database.name
