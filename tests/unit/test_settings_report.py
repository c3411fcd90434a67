"""Every setting is told with its source, and everything that is wrong at once, with its place."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from database_handler.config import Setting, Settings, SettingsReport, check_settings
from database_handler.config.settings import VARIABLES
from database_handler.utils.errors import ConfigurationError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("PGPASSWORD", raising=False)
    return tmp_path


def dotenv(text: str) -> None:
    Path(".env").write_text(text, encoding="utf-8")


def yaml_file(text: str) -> None:
    Path("database_handler.yaml").write_text(text, encoding="utf-8")


def by_name(report: SettingsReport) -> dict[str, Setting]:
    return {setting.name: setting for setting in report.settings}


def told(report: SettingsReport, name: str) -> tuple[object, str]:
    setting = by_name(report)[name]
    return setting.value, setting.source


def test_every_setting_is_told_with_its_value_and_where_it_comes_from() -> None:
    yaml_file(
        "default:\n  db_pool_timeout: 2min\nproduction:\n  db_pool_size: 7\n  db_host: never\n"
        "  db_deadline: 4\n"
    )
    dotenv("ENVIRONMENT=production\nDB_DEADLINE=3\nDB_PGBOUNCER=yes\n")
    url = "postgresql://app:hunter2@db.example.com/films?sslmode=verify-full"
    given = {"DATABASE_URL": url, "DB_REPLICA_URLS": "postgresql://r:hunter2@a/d"}
    report = check_settings(env=given, log_level="debug")
    assert (report.ok, report.problems, report.environment) == (True, (), "production")
    assert set(VARIABLES) - set(by_name(report)) == {"DATABASE_URL", "DB_SERVICE"}, (
        "these are told by their parts"
    )
    assert told(report, "DB_HOST") == ("db.example.com", "the environment (DATABASE_URL)")
    assert told(report, "DB_PASSWORD") == ("***", "the environment (DATABASE_URL)")
    assert told(report, "DB_PORT") == (5432, "default")
    assert told(report, "DB_REPLICA_URLS") == (("postgresql://r:***@a:5432/d",), "the environment")
    assert told(report, "DB_DEADLINE") == (3.0, ".env:2")
    assert told(report, "DB_PGBOUNCER") == (True, ".env:3")
    assert told(report, "DB_POOL_SIZE") == (7, "database_handler.yaml:4, section production")
    assert told(report, "DB_POOL_TIMEOUT") == (120.0, "database_handler.yaml:2, section default")
    assert told(report, "LOG_LEVEL") == ("DEBUG", "an argument")
    assert told(report, "ENVIRONMENT") == ("production", ".env:1")
    assert told(report, "sslcert") == (None, "default")
    assert "hunter2" not in repr(report)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    yaml_file("default:\n  db_pool_timeout: soon\n  DB_HOSTT: h\n  log_format: xml\n")
    dotenv("DB_NAME=films\nhunter2\nDB_PORT=hunter2\nDB_PROT=1\n")
    environment = {"DB_POOL_SIZE": "hunter2", "DB_PASWORD": "hunter2", "DEBUG": "maybe"}
    report = check_settings(env=environment, poolsize=3, media_root="a\tb")
    assert [(problem.variable, problem.source) for problem in report.problems] == [
        ("poolsize", "an argument"),
        ("DB_PASWORD", "the environment"),
        (None, ".env:2"),
        ("DB_PROT", ".env:4"),
        ("DB_HOSTT", "database_handler.yaml:3, section default"),
        ("DB_PORT", ".env:3"),
        ("DB_POOL_SIZE", "the environment"),
        ("DB_POOL_TIMEOUT", "database_handler.yaml:2, section default"),
        ("MEDIA_ROOT", "an argument"),
        ("DEBUG", "the environment"),
        ("LOG_FORMAT", "database_handler.yaml:4, section default"),
    ]
    assert [problem.message for problem in report.problems if "did you mean" in problem.message] == [
        "there is no setting poolsize (from an argument); did you mean pool_size?",
        "there is no setting DB_PASWORD (from the environment); did you mean DB_PASSWORD?",
        "there is no setting DB_PROT (from .env:4); did you mean DB_PORT?",
        "there is no setting DB_HOSTT (from database_handler.yaml:3, section default); did you mean DB_HOST?",
    ]
    assert told(report, "DB_NAME") == ("films", ".env:1"), "what is right is told as it is"
    assert by_name(report)["DB_PORT"] == Setting(name="DB_PORT", value=None, source=".env:3", refused=True)
    assert "hunter2" not in repr(report)
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(env=environment, poolsize=3, media_root="a\tb")
    assert caught.value.problems == report.problems, "who loads them is told the same"
    assert str(caught.value) == "; ".join(problem.message for problem in report.problems)


def test_what_contradicts_each_other_is_told_and_no_wrong_value_is_shown_as_right() -> None:
    report = check_settings(env={"DB_NAME": "d"}, sslrootcert="system", sslmode="require")
    assert [problem.message for problem in report.problems] == [
        "sslmode: sslrootcert 'system' is allowed with verify-full only"
    ]
    assert by_name(report)["DB_SSLMODE"].refused
    assert not by_name(report)["DB_PORT"].refused


def test_a_database_that_is_not_named_is_told() -> None:
    report = check_settings(env={})
    assert [problem.message.partition(":")[0] for problem in report.problems] == ["no database is named"]
    assert told(report, "DB_NAME") == (None, "missing")


# ---------------------------------------------------------------------------------- environments and files


@pytest.mark.parametrize(
    ("text", "environment", "said"),
    [
        ("default: {DB_NAME: n}\nproduction: {}\n", "prodution", "did you mean production?"),
        ("default: {DB_NAME: n}\nproduction: {}\n", "prodution", "prodution (from an argument)"),
        ("production: {DB_NAME: n}\n", "staging", "has no section for the environment staging"),
        ("- a\n", None, "database_handler.yaml holds a list"),
        ("default:\n  DB_NAME: [\n", None, "database_handler.yaml:3 is not valid YAML"),
    ],
)
def test_an_environment_without_a_section_is_refused(text: str, environment: str | None, said: str) -> None:
    yaml_file(text)
    report = check_settings(env={"DB_NAME": "n"}, environment=environment)
    assert len(report.problems) == 1
    assert said in report.problems[0].message


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        ("default: {DB_NAME: n}\n", "production"),  # one section for all
        ("default: {DB_NAME: n}\nproduction: {}\n", None),  # nobody has named one
        ("default: {DB_NAME: n}\nproduction: {}\nstaging:\n", "staging"),  # an empty one says so
    ],
)
def test_the_default_section_is_enough_where_that_was_meant(text: str, environment: str | None) -> None:
    yaml_file(text)
    assert check_settings(env={}, environment=environment).ok


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything; without its rights a file of mode 0 cannot be read."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", [".env", "database_handler.yaml"])
def test_a_file_that_may_not_be_read_is_told(name: str, folder: Path) -> None:
    import yaml  # before the rights to read it are gone

    assert yaml
    dotenv("DB_NAME=hunter2\n")
    yaml_file("default: {}\n")
    assert check_settings(env={"DB_NAME": "n"}).ok
    (folder / name).chmod(0)
    for parent in [folder, *folder.parents][:3]:
        parent.chmod(parent.stat().st_mode | 0o055)  # the file's own rights are what is tried
    with as_nobody():
        report = check_settings(env={"DB_NAME": "n"}, env_file=Path(".env"))
    assert [problem.message for problem in report.problems] == [f"{name} cannot be read: Permission denied"]


def test_a_folder_in_the_place_of_a_file_is_told_but_no_virtual_environment(folder: Path) -> None:
    (folder / "database_handler.yaml").mkdir()  # as Docker makes it, where the file to mount is missing
    (folder / ".env").mkdir()
    said = [problem.message for problem in check_settings(env={"DB_NAME": "n"}).problems]
    assert said == [".env is not a regular file", "database_handler.yaml is not a regular file"]
    (folder / ".env" / "pyvenv.cfg").touch()
    (folder / "database_handler.yaml").rmdir()
    assert check_settings(env={"DB_NAME": "n"}).ok


def test_a_folder_that_may_not_be_entered_is_told(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0)
    with as_nobody():
        report = check_settings(env={"DB_NAME": "n"}, env_file=closed / ".env")
    assert "cannot be read: Permission denied" in report.problems[0].message


# --------------------------------------------------------------------------------------- what may be meant


def test_the_files_that_settings_name_are_looked_at(folder: Path) -> None:
    (folder / "secret").write_text("hunter2\n", encoding="utf-8")
    env = {"DB_NAME": "d", "DB_HOST": "db.example.com", "DB_PASSWORD_FILE": str(folder / "secret")}
    (folder / "secret").chmod(0o644)
    report = check_settings(env=env)
    assert (report.ok, told(report, "DB_PASSWORD_FILE")) == (
        True,
        (str(folder / "secret"), "the environment"),
    )
    assert [note.partition(":")[0] for note in report.notes] == [
        "DB_SSLMODE is prefer",
        f"every user of this system can read the password file {folder / 'secret'}",
    ]
    (folder / "secret").write_text("", encoding="utf-8")
    report = check_settings(env=env | {"DB_SSLROOTCERT": "/nowhere/ca.pem", "DB_SSLMODE": "verify-full"})
    assert [problem.message for problem in report.problems] == [
        f"DB_PASSWORD_FILE (from the environment): the password file {folder / 'secret'} is empty",
        "DB_SSLROOTCERT (from the environment): /nowhere/ca.pem cannot be read: No such file or directory",
    ]


def test_where_libpq_finds_a_password_is_told(folder: Path) -> None:
    env = {"DB_NAME": "d", "DB_USER": "u", "HOME": str(folder)}
    passwords = folder / ".pgpass"
    passwords.write_text("localhost:5432:d:u:hunter2\n", encoding="utf-8")
    passwords.chmod(0o600)
    assert told(check_settings(env=env), "DB_PASSWORD") == ("***", str(passwords))
    assert told(check_settings(env=env | {"DB_NAME": "other"}), "DB_PASSWORD") == (None, "default")
    passwords.chmod(0o644)
    report = check_settings(env=env)
    assert told(report, "DB_PASSWORD") == (None, "default")
    assert report.notes == (
        f"libpq does not use {passwords}: others than its owner have rights to it (chmod 600)",
    )
    report = check_settings(env=env | {"PGPASSWORD": "hunter2"})
    assert told(report, "DB_PASSWORD") == ("***", "PGPASSWORD in the environment")
    assert "hunter2" not in repr(report)
