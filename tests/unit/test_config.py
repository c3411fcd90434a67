"""The description of a database: strict on the way in, silent about secrets on the way out."""

import os
import pickle
import pwd
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import psycopg2.extensions
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from database_handler.config import DatabaseConfig
from database_handler.utils.errors import ConfigurationError

SECRET = "hunter2"
printable = st.text(
    st.characters(exclude_categories=["C"], exclude_characters="\u2028\u2029"), min_size=1, max_size=12
)


def make(**fields: object) -> DatabaseConfig:
    return DatabaseConfig.model_validate({"name": "app", "user": "owner"} | fields)


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        act()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None, "a context would print what was given"
    return str(caught.value)


def test_defaults_are_those_of_the_contract() -> None:
    config = DatabaseConfig(name="app")
    assert (config.host, config.port, config.sslmode) == ("localhost", 5432, "prefer")
    assert config.user == pwd.getpwuid(os.geteuid()).pw_name
    assert (config.pool_size, config.max_overflow, config.pool_timeout, config.connect_timeout) == (
        5,
        10,
        30,
        5,
    )
    assert (
        config.statement_timeout is config.lock_timeout is config.deadline is config.pool_max_waiting is None
    )
    assert (config.application_name, config.pgbouncer, config.replica_urls) == ("database_handler", False, ())
    assert (config.max_parameter_bytes, config.slow_statement) == (256 * 2**20, 0.5)


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("port", "x", "1 to 65535"),
        ("port", 0, "1 to 65535"),
        ("port", 70000, "1 to 65535"),
        ("port", True, "1 to 65535"),
        ("port", 5.0, "1 to 65535"),
        ("port", "5_432", "1 to 65535"),
        ("port", "٥", "1 to 65535"),
        ("host", "", "host name"),
        ("host", "a,,b", "host name"),
        ("host", "a b", "host name"),
        ("host", "a/b", "host name"),
        ("host", "/a\0b", "host name"),
        ("host", "/" + "a" * 100, "host name"),
        ("host", "fe80::zz", "host name"),
        ("host", "bücher", "host name"),
        ("name", "", "1 to 63 bytes"),
        ("name", "a\0b", "1 to 63 bytes"),
        ("name", "é" * 32, "1 to 63 bytes"),
        ("user", "a\nb", "1 to 63 bytes"),
        ("password", "a\0b", "text"),
        ("password", 5, "text"),
        ("sslmode", "on", "verify-full"),
        ("sslrootcert", "a\0", "path"),
        ("pool_size", 0, "1 to 10000"),
        ("pool_size", "many", "1 to 10000"),
        ("max_overflow", -1, "0 to 10000"),
        ("pool_timeout", 0, "more than 0"),
        ("pool_timeout", "nan", "more than 0"),
        ("pool_timeout", float("nan"), "more than 0"),
        ("pool_timeout", float("inf"), "more than 0"),
        ("pool_timeout", True, "more than 0"),
        ("statement_timeout", "5 weeks", "min"),
        ("statement_timeout", 0, "more than 0"),
        ("statement_timeout", -1, "more than 0"),
        ("statement_timeout", "1e400", "more than 0"),
        ("deadline", "30000000 s", "more than 0"),
        ("max_parameter_bytes", "1MB", "MiB"),
        ("max_parameter_bytes", "2GiB", "1073741823"),
        ("application_name", "", "printable ASCII"),
        ("application_name", "a" * 41, "printable ASCII"),
        ("application_name", "é", "printable ASCII"),
        ("pgbouncer", "maybe", "true"),
        ("pgbouncer", 2, "true"),
        ("replica_urls", "mysql://h/d", "postgresql://"),
        ("replica_urls", 5, "postgresql://"),
        ("migration_url", "postgresql://h", "postgresql://"),
        ("target_session_attrs", "master", "primary"),
    ],
)
def test_a_wrong_value_names_its_field_and_what_is_allowed(field: str, value: object, allowed: str) -> None:
    message = refused(lambda: make(**{field: value}))
    assert message.startswith(field)
    assert allowed in message
    assert "got " in message


def test_a_wrong_value_is_refused_however_the_model_is_made() -> None:
    fields: dict[str, object] = {"name": "app", "port": SECRET}
    wrong: Any = SECRET
    ways: list[Callable[[], object]] = [
        lambda: DatabaseConfig(name="app", port=wrong),
        lambda: DatabaseConfig.model_validate(fields),
        lambda: DatabaseConfig.model_validate_json('{"name": "app", "port": "hunter2"}'),
        lambda: DatabaseConfig.from_url("postgresql://h/app", port=SECRET),
        lambda: make().with_(port=SECRET),
    ]
    for way in ways:
        assert SECRET not in refused(way)


def test_an_unknown_field_names_the_nearest() -> None:
    assert "did you mean pool_size?" in refused(lambda: make(poolsize=3))
    assert "name is missing" in refused(lambda: DatabaseConfig.model_validate({}))


def test_the_secret_is_nowhere_but_in_the_connect_arguments() -> None:
    url = f"postgresql://u:{SECRET}@h/app"
    config = DatabaseConfig.from_url(url, replica_urls=[url], migration_url=url)
    for text in (repr(config), str(config), config.url(), config.model_dump_json(), repr(config.replicas())):
        assert SECRET not in text
    assert config.connect_arguments()["password"] == SECRET
    assert config.url(hide_password=False) == "postgresql://u:hunter2@h:5432/app"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@h:99999/db",
        "postgresql://u:hunter2@h:5x/db",
        "postgresql://u:hun/hunter2@h/db",
        "postgresql://u:hun@hunter2@h/db",
        "postgresql://u:hun?hunter2=x@h/db",
        "postgresql://u:hunter2#x@h/db",
        "postgresql://u:hunter2%@h/db",
        "postgresql://u:hunter2%zz@h/db",
        "postgresql://u:hunter2%ff@h/db",
        "postgresql://u:hunter2%00@h/db",
        "postgresql://u:hunter2 @h/db",
        "postgresql://u:hunter2\n@h/db",
        "postgresql://u:hunter2\ud800@h/db",
        "postgresql://u:hunter2@h/db?sslmode=hunter2",
        "postgresql://u:hunter2@h/db?port=hunter2",
        "postgresql://u:hunter2@h/db?host=/other",
        "postgresql://u:hunter2@h/db?password=hunter2",
        "postgresql://u:hunter2@h/db?HUNTER2=hunter2",
        "postgresql://u:hunter2@h/db?sslmode",
        "postgresql://u:hunter2@h/",
        "postgresql://u:hunter2@h",
        "postgresql://u:hunter2@[::1/db",
        "postgresql://u:hunter2@[zz]/db",
        "postgresql://u:hunter2@h,/db",
        "postgresql://u:hunter2@h:/db?port=",
        "postgresql+psycopg2://u:hunter2@h/db",
        "mysql://u:hunter2@h/db",
        "u:hunter2@h/db",
        "hunter2",
        "",
    ],
)
def test_a_malformed_url_is_refused_without_its_parts(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        DatabaseConfig.from_url(url)
    told = str(caught.value)
    assert SECRET not in told.lower()
    last = traceback.TracebackException.from_exception(caught.value)
    assert SECRET not in "".join(last.format_exception_only())
    assert last.__context__ is None


def test_options_are_libpqs_own_and_an_unknown_one_is_named() -> None:
    assert "did you mean sslmode?" in refused(
        lambda: DatabaseConfig.from_url("postgresql://h/d?sslmod=require")
    )
    assert "setting of its own" in refused(lambda: DatabaseConfig.from_url("postgresql://h/d?pool_size=3"))


@pytest.mark.parametrize(
    ("url", "host", "port", "ports"),
    [
        ("postgresql://u@h/d", "h", 5432, ()),
        ("postgres://u@h:7/d", "h", 7, ()),
        ("postgresql://u@[::1]:7/d", "::1", 7, ()),
        ("postgresql://u@[fe80::1%25eth0]/d", "fe80::1%eth0", 5432, ()),
        ("postgresql:///d?host=/var/run", "/var/run", 5432, ()),
        ("postgresql://u@%2Fvar%2Frun:7/d", "/var/run", 7, ()),
        ("postgresql:///d?host=/a,/b&port=1,2", "/a,/b", 5432, (1, 2)),
        ("postgresql://u@a,b/d", "a,b", 5432, ()),
        ("postgresql://u@a:1,b:1/d", "a,b", 1, ()),
        ("postgresql://u@a:1,b/d", "a,b", 5432, (1, 5432)),
        ("postgresql://u@a:1,[::1]:2/d", "a,::1", 5432, (1, 2)),
        ("postgresql:///d", "localhost", 5432, ()),
    ],
)
def test_places_of_a_url(url: str, host: str, port: int, ports: tuple[int, ...]) -> None:
    config = DatabaseConfig.from_url(url)
    assert (config.host, config.port, config.ports) == (host, port, ports)
    again = DatabaseConfig.from_url(config.url())
    assert (again.host, again.port, again.ports, again.name, again.user) == (
        host,
        port,
        ports,
        "d",
        config.user,
    )
    assert again.url() == config.url()


def test_options_of_a_url_survive_the_round_trip() -> None:
    url = (
        "postgresql://u:p%40%2F%3A%20@h/d%20b?sslmode=verify-full&sslrootcert=/etc/a%20b.pem&channel_binding=require"
        "&application_name=my%20app&connect_timeout=7&target_session_attrs=read-write"
    )
    config = DatabaseConfig.from_url(url)
    assert config.password == SecretStr("p@/: ")
    assert (config.name, config.sslrootcert, config.connect_timeout) == ("d b", Path("/etc/a b.pem"), 7)
    assert DatabaseConfig.from_url(config.url(hide_password=False)) == config


@given(name=printable, user=printable, password=printable, port=st.integers(1, 65535))
def test_any_printable_identity_survives_the_url(name: str, user: str, password: str, port: int) -> None:
    config = DatabaseConfig(name=name, user=user, password=SecretStr(password), port=port)
    assert DatabaseConfig.from_url(config.url(hide_password=False)) == config


@given(name=printable, user=printable, password=printable)
def test_libpq_reads_the_url_as_we_do(name: str, user: str, password: str) -> None:
    config = DatabaseConfig(
        name=name, user=user, password=SecretStr(password), host="/run/x,::1", ports=(1, 2)
    )
    read = psycopg2.extensions.parse_dsn(config.url(hide_password=False))
    sent = {key: str(value) for key, value in config.connect_arguments().items()}
    assert read == {key: sent[key] for key in ("dbname", "user", "password", "host", "port")}


@given(st.text(max_size=60))
def test_any_text_is_a_url_or_one_error_of_ours(text: str) -> None:
    for url in (text, f"postgresql://{text}"):
        try:
            config = DatabaseConfig.from_url(url)
        except ConfigurationError:
            continue
        assert unquote(config.url(hide_password=False)).isprintable()


def test_a_keyword_replaces_a_part_of_the_url() -> None:
    config = DatabaseConfig.from_url("postgresql://u@a:1,b:2/d?sslmode=require", host="c", sslmode="disable")
    assert (config.host, config.ports, config.sslmode) == ("c", (), "disable")


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("2min", 120), ("1 h", 3600), ("0.25", 0.25), (3, 3), ("100us", 0.0001)],
)
def test_durations_are_seconds(written: object, seconds: float) -> None:
    assert make(statement_timeout=written).statement_timeout == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("written", "count"), [("256MiB", 2**28), ("1 KiB", 1024), ("77", 77), (5, 5), ("9B", 9)]
)
def test_sizes_are_bytes(written: object, count: int) -> None:
    assert make(max_parameter_bytes=written).max_parameter_bytes == count


def test_empty_text_means_none_where_none_is_allowed() -> None:
    config = make(password="", statement_timeout="", pool_max_waiting="", sslrootcert="", migration_url="")
    assert (config.password, config.statement_timeout, config.pool_max_waiting) == (None, None, None)
    assert (config.sslrootcert, config.migration_url, make(replica_urls="").replica_urls) == (None, None, ())


def test_connect_arguments_are_what_libpq_knows() -> None:
    config = make(password="p", host="a,b", ports=(1, 2), sslmode="verify-full", sslrootcert="/ca.pem")
    arguments = config.connect_arguments()
    assert arguments["host"] == "a,b"
    assert arguments["port"] == "1,2"
    assert arguments["target_session_attrs"] == "read-write"
    assert str(arguments["options"]).startswith("-c timezone=UTC -c datestyle=ISO ")
    assert arguments["connect_timeout"] == 5
    text = psycopg2.extensions.make_dsn(
        **{key: str(value) for key, value in arguments.items()}
    )  # refuses a keyword that libpq does not know
    assert psycopg2.extensions.parse_dsn(text)["sslrootcert"] == "/ca.pem"


def test_behind_pgbouncer_no_start_up_options_are_sent() -> None:
    assert "options" not in make(pgbouncer="yes").connect_arguments()


def test_connect_timeout_is_rounded_up_to_whole_seconds() -> None:
    assert make(connect_timeout="200ms").connect_arguments()["connect_timeout"] == 1
    assert make(connect_timeout=1.5).connect_arguments()["connect_timeout"] == 2


def test_with_gives_a_validated_copy() -> None:
    config = make(host="a,b", ports=(1, 2), pool_size=3)
    assert config.with_(pool_size="4") == make(host="a,b", ports=(1, 2), pool_size=4)
    assert config.with_(host="c").ports == (), "a list of ports belongs to the hosts that went"
    assert "2 given for 3 hosts" in refused(lambda: config.with_(host="c,d,e", ports=(1, 2)))
    assert config.pool_size == 3


def test_system_roots_need_full_verification() -> None:
    assert "verify-full" in refused(lambda: make(sslrootcert="system", sslmode="require"))


def test_replicas_take_the_limits_but_not_the_password() -> None:
    main = make(
        password=SECRET,
        pool_size=2,
        replica_urls="postgresql://r@a,b/d, postgresql://s:pw@c/d?sslmode=require",
    )
    first, second = main.replicas()
    assert (first.host, first.user, first.password, first.pool_size) == ("a,b", "r", None, 2)
    assert first.connect_arguments()["target_session_attrs"] == "any"
    assert (second.host, second.password, second.sslmode) == ("c", SecretStr("pw"), "require")
    assert first.replica_urls == ()


def test_migrations_go_past_pgbouncer() -> None:
    assert make().for_migrations() == make()
    config = make(pgbouncer=True, migration_url="postgresql://m@direct/d").for_migrations()
    assert (config.host, config.user, config.pgbouncer) == ("direct", "m", False)


def test_it_is_frozen_hashable_and_can_be_pickled() -> None:
    config = make(password=SECRET)
    assert len({config, make(password=SECRET)}) == 1
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301  what was just written
    with pytest.raises(ValueError, match="frozen"):
        config.port = 7  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  the point of the test
