"""Events: silent until asked, one safe line each, and next to free while they are off."""

import io
import json
import logging
import subprocess
import sys
import timeit
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database_handler.utils.errors import ConfigurationError
from database_handler.utils.logger import LogFormat, configure, encoded, get_logger, statement_event

ROOT = logging.getLogger("database_handler")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = (ROOT.handlers[:], ROOT.level, ROOT.propagate)
    yield
    ROOT.handlers[:], ROOT.propagate = before[0], before[2]
    ROOT.setLevel(before[1])


def test_importing_prints_nothing_and_configures_nothing() -> None:
    script = (
        "import logging; from database_handler.utils.logger import get_logger, statement_event\n"
        "log = get_logger('database_handler.test'); log.debug('d'); log.error('e')\n"
        "statement_event(name='s', seconds=9, rows=1)\n"
        "assert not logging.getLogger().handlers\n"
        "import structlog; assert not structlog.is_configured()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_an_application_with_logging_of_its_own_gets_readable_lines(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="database_handler"):
        get_logger("database_handler.test").info("50%% of %s", "it", path="a\r\nb")
    assert caplog.messages == ["50% of it path=a\\x0d\\x0ab"]
    assert vars(caplog.records[0])["event_fields"] == {"event": "50% of it", "path": "a\\x0d\\x0ab"}


def printed(format: LogFormat, **fields: object) -> str:
    stream = io.StringIO()
    configure("debug", format, stream)
    get_logger("database_handler.test").warning("event\n", **fields)
    return stream.getvalue()


@pytest.mark.parametrize("format", ["console", "json"])
def test_control_characters_are_encoded(format: LogFormat) -> None:
    hostile = "x\r\n2030-01-01 [info] forged \x1b[2J\x9b1m \u202e\u2028 \ud800"
    text = printed(format, value=hostile, nested={"k\n": [hostile]}, data=b"\x1b")
    assert text.count("\n") == 1
    assert not any(ord(character) < 32 for character in text[:-1])
    assert not set("\x1b\x9b\u202e\u2028\ud800") & set(text)
    assert "forged" in text
    assert "1 bytes" in text


def test_json_is_one_object_a_line() -> None:
    event = json.loads(printed("json", count=3, ratio=0.5, nothing=None, word="é"))
    assert event.items() >= {"event": "event\\x0a", "level": "warning", "count": 3, "ratio": 0.5}.items()
    assert (event["nothing"], event["word"], event["logger"]) == (None, "é", "database_handler.test")
    assert event["timestamp"].endswith("+00:00")


@given(st.text())
def test_encoded_text_is_one_line_and_encoding_it_again_changes_nothing(text: str) -> None:
    once = str(encoded(text))
    assert encoded(once) == once
    assert once.splitlines() in ([once], [])


@pytest.mark.parametrize("format", ["console", "json"])
def test_a_traceback_shows_no_locals_and_forges_no_line(format: LogFormat) -> None:
    stream = io.StringIO()
    configure("INFO", format, stream)
    password = "hunter" + str(1 + 1)
    try:
        raise ValueError(f"bad{chr(10)}2030 [info] forged {chr(27)}[2J")
    except ValueError:
        get_logger("database_handler.test").exception("failed")
    text = stream.getvalue()
    assert "ValueError" in text
    assert password not in text
    assert "\x1b" not in text
    assert not any(line.startswith("2030") for line in text.splitlines())


def test_configuring_again_replaces_the_handler() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("INFO", "json", first)
    configure("WARNING", "json", second)
    get_logger("database_handler.test").warning("once")
    get_logger("database_handler.test").info("not at all")
    assert first.getvalue() == ""
    assert second.getvalue().count("\n") == 1


def test_configure_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ConfigurationError, match="WARNING"):
        configure("loud")
    with pytest.raises(ConfigurationError, match="json"):
        configure(format="xml")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  the point of the test


def test_a_statement_tells_types_and_never_values() -> None:
    stream = io.StringIO()
    configure("DEBUG", "json", stream)
    statement_event(name="projects.create", seconds=0.01, rows=1, parameters={"a": "hunter2", "b": 5})
    statement_event(name="projects.list", seconds=0.7, rows=9, parameters=["hunter2"] * 50)
    statement_event(name="projects.count", seconds=0.2, rows=1, slow_after=0.1)
    fast, slow, none = (json.loads(line) for line in stream.getvalue().splitlines())
    assert "hunter2" not in stream.getvalue()
    assert (fast["level"], fast["event"], fast["parameters"]) == ("debug", "statement", "1 str, 1 int")
    assert (slow["level"], slow["event"], slow["parameters"]) == (
        "warning",
        "slow statement",
        "20 str, 30 more",
    )
    assert (none["level"], none["statement"], none["parameters"]) == ("warning", "projects.count", "none")


def test_a_statement_costs_next_to_nothing_while_debug_is_off() -> None:
    configure("INFO", "json", io.StringIO())
    parameters = {"a": 1}

    def call() -> None:
        statement_event(name="s", seconds=0.1, rows=1, parameters=parameters, slow_after=0.5)

    best = min(timeit.repeat(call, number=10_000, repeat=5)) / 10_000
    assert best < 5e-6  # about 0.25 us on an idle core; the rest is room for a busy one
