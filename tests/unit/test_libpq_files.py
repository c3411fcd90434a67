"""Services and password files are read as libpq reads them, and no error shows what stands in them."""

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from database_handler.config import DatabaseConfig, Settings
from database_handler.config.libpq_files import LibpqFiles, Place, password_of, service_fields
from database_handler.utils.errors import ConfigurationError

SERVICES = """\
# services of the team
[films]
host=db.example.com
port=6432
dbname=films
user=app
password=hunter2
sslmode=require

[several]
host=a,b
port=1,2
dbname=films

[films]
host=never.read
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    (tmp_path / "services").write_text(SERVICES, encoding="utf-8")
    return tmp_path


def files(folder: Path) -> LibpqFiles:
    return LibpqFiles((folder / "nowhere", folder / "services"), folder / "passwords")


def env(folder: Path, **given: str) -> dict[str, str]:
    return {"PGSERVICEFILE": str(folder / "services"), "HOME": str(folder), **given}


def place_of(config: DatabaseConfig) -> tuple[object, ...]:
    password = None if config.password is None else config.password.get_secret_value()
    return config.host, config.ports or config.port, config.name, config.user, password, config.sslmode


FILMS = ("db.example.com", 6432, "films", "app", "hunter2", "require")


# ------------------------------------------------------------------------------------------------- services


@pytest.mark.parametrize(
    "given",
    [
        {"DB_SERVICE": "films"},
        {"DATABASE_URL": "postgresql://?service=films"},
        {"DATABASE_URL": "postgresql:///?service=films"},
        {"PGSERVICE": "films"},
    ],
)
def test_a_service_names_the_database(folder: Path, given: dict[str, str]) -> None:
    settings = Settings.load(env=env(folder, **given))
    assert place_of(settings.database) == FILMS
    [variable] = given
    assert settings.sources[variable] == "the environment" + (
        "" if variable == "DATABASE_URL" else f", {folder / 'services'}"
    )
    assert "hunter2" not in repr(settings)


def test_a_service_serves_a_url_a_replica_and_the_migrations(folder: Path) -> None:
    assert place_of(DatabaseConfig.from_url("postgresql://?service=films")) == FILMS
    config = Settings.load(
        env=env(folder, DB_NAME="other"),
        replica_urls="postgresql://?service=several",
        migration_url="postgresql://owner@/?service=films",
    ).database
    assert (config.replicas()[0].host, config.replicas()[0].ports) == ("a,b", (1, 2))
    assert place_of(config.for_migrations()) == (*FILMS[:3], "owner", "hunter2", "require")
    assert Settings.load(env=env(folder), service="films").sources["DB_SERVICE"].startswith("an argument")


def test_what_a_url_states_goes_before_its_service(folder: Path) -> None:
    near = DatabaseConfig.from_url("postgresql://me@/mine?service=films&sslmode=disable")
    assert place_of(near) == ("db.example.com", 6432, "mine", "me", "hunter2", "disable")
    moved = DatabaseConfig.from_url("postgresql://elsewhere/?service=films")
    assert place_of(moved)[:5] == ("elsewhere", 5432, "films", "app", None), (
        "no password goes to another host"
    )


def test_a_service_closes_the_place_to_what_is_below_it(folder: Path) -> None:
    (folder / ".env").write_text("DB_PASSWORD=another\nDB_HOST=elsewhere\nDB_POOL_SIZE=3\n", encoding="utf-8")
    config = Settings.load(env=env(folder, DB_SERVICE="several")).database
    assert (config.host, config.password, config.pool_size) == ("a,b", None, 3)
    own = Settings.load(env=env(folder, PGSERVICE="films", DB_NAME="mine")).database
    assert (own.host, own.name) == ("elsewhere", "mine"), (
        "libpq's variable counts where nothing names a database"
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"DB_SERVICE": "film"}, "there is no service film in "),
        ({"DB_SERVICE": "film"}, "did you mean films?"),
        ({"DB_SERVICE": "postgresql://u:hunter2@h/d"}, "a service has a name of"),
        ({"DB_SERVICE": "films", "DB_HOST": "x"}, "DB_SERVICE and DB_HOST (both from the environment"),
        ({"DB_SERVICE": "films", "DATABASE_URL": "postgresql://h/d"}, "give the host"),
        (
            {"DATABASE_URL": "postgresql://?service=none"},
            "DATABASE_URL (from the environment): there is no service",
        ),
        ({"DATABASE_URL": "postgresql://?service=nameless"}, "its service has no dbname"),
        ({"DB_SERVICE": "nameless"}, "no database is named"),
        ({"DB_SERVICE": "odd"}, "odd has a parameter, keepalives in line "),
        ({"DB_SERVICE": "nested"}, "has a parameter, service in line "),
        ({"DB_SERVICE": "twice"}, "sets host again"),
        ({"DB_SERVICE": "bare"}, "is not NAME=value"),
    ],
)
def test_a_service_that_is_none_is_refused(folder: Path, given: dict[str, str], said: str) -> None:
    more = "[nameless]\nhost=h\n[odd]\nkeepalives=hunter2\n[nested]\nservice=films\n"
    more += "[twice]\nhost=a\nhost=hunter2\n[bare]\nhunter2\n"
    (folder / "services").write_text(SERVICES + more, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(env=env(folder, **given))
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_service_file_that_cannot_be_read_is_told(folder: Path) -> None:
    (folder / "services").write_bytes(b"[films]\nhost=\xff\n")
    with pytest.raises(ConfigurationError, match=r"services:2 is not UTF-8"):
        service_fields("films", files(folder))
    (folder / "services").unlink()
    (folder / "services").mkdir()
    with pytest.raises(ConfigurationError, match="not a regular file"):
        service_fields("films", files(folder))


# ------------------------------------------------------------------------------------------- password files


def test_a_password_file_is_read_anew_and_its_line_end_is_no_part_of_it(folder: Path) -> None:
    secret = folder / "secret"
    config = Settings.load(env={"DB_NAME": "films", "DB_PASSWORD_FILE": str(secret)}).database
    for text in ("hunter2\n", " hunter3 \r\n", "hunter4"):
        secret.write_text(text, encoding="utf-8", newline="")
        assert config.connect_arguments()["password"] == text.rstrip("\r\n")
        assert "hunter" not in config.url() + repr(config) + config.model_dump_json()
    assert DatabaseConfig.from_url(config.url(hide_password=False)).password == SecretStr("hunter4")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hunter2\nhunter3\n", "holds several lines"),
        (b"hunter2\0", "holds several lines, or NUL"),
        (b"hunter2\xff", "is not UTF-8"),
        (b"x" * 70_000, "is larger than 65536 bytes"),
    ],
)
def test_a_password_file_that_holds_none_is_refused(folder: Path, content: bytes | None, said: str) -> None:
    secret = folder / "secret"
    if content is not None:
        secret.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        DatabaseConfig(name="d", password_file=secret).connect_arguments()
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_pipe_is_not_waited_for_and_a_mistaken_password_is_not_shown(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        DatabaseConfig(name="d", password_file=folder / "pipe").current_password()
    with pytest.raises(ConfigurationError, match=r"the password file \(a relative path\)") as caught:
        DatabaseConfig(name="d", password_file=Path("hunter2")).current_password()
    assert "hunter2" not in str(caught.value)


def test_one_password_is_enough(folder: Path) -> None:
    both = {"DB_NAME": "d", "DB_PASSWORD": "hunter2", "DB_PASSWORD_FILE": "/run/secrets/db"}
    with pytest.raises(ConfigurationError, match=r"^DB_PASSWORD and DB_PASSWORD_FILE \(both from") as caught:
        Settings.load(env=both)
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="DATABASE_URL and DB_PASSWORD_FILE"):
        Settings.load(env={"DATABASE_URL": "postgresql://u:x@h/d", "DB_PASSWORD_FILE": "/run/secrets/db"})
    with pytest.raises(ConfigurationError, match="password and password_file"):
        DatabaseConfig(name="d", password=SecretStr("x"), password_file=folder / "secret")
    empty = Settings.load(env=both | {"DB_PASSWORD": ""}).database
    assert (empty.password, empty.password_file) == (None, Path("/run/secrets/db"))
    (folder / ".env").write_text("DB_PASSWORD=hunter2\n", encoding="utf-8")
    above = Settings.load(env={"DB_NAME": "d", "DB_PASSWORD_FILE": "/run/secrets/db"}).database
    assert (above.password, above.password_file) == (None, Path("/run/secrets/db"))
    assert above.with_(password="x").password_file is None
    assert above.with_(password="x").with_(password_file="/y").password is None


def test_a_password_file_is_not_taken_to_another_server(folder: Path) -> None:
    config = DatabaseConfig(
        name="d",
        password_file=folder / "secret",
        replica_urls=(SecretStr("postgresql://r@replica/d"),),
        migration_url=SecretStr("postgresql://m@direct/d"),
    )
    assert [replica.password_file for replica in config.replicas()] == [None]
    assert config.for_migrations().password_file is None


def test_the_line_of_a_password_file_that_libpq_takes_is_found(folder: Path) -> None:
    passwords = folder / "passwords"
    passwords.write_text(
        "# *:*:*:*:no\nh:5433:*:*:other\nh:*:d\\:b:*:a\\:\\\\b\n*:*:*:u:last\n", encoding="utf-8"
    )
    passwords.chmod(0o600)
    found = files(folder)
    assert password_of(Place("h", 5432, "d:b", "x"), found) == SecretStr("a:\\b")
    assert password_of(Place("h", 5432, "d", "u"), found) == SecretStr("last")
    assert password_of(Place("h", 5432, "d", "x"), found) is None
    passwords.chmod(0o640)
    assert password_of(Place("h", 5432, "d", "u"), found) is None, "libpq does not use it either"
    given = LibpqFiles((), passwords, SecretStr("of the environment"))
    assert password_of(Place("h", 5432, "d", "u"), given) == SecretStr("of the environment")
