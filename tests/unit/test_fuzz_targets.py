"""What the fuzzer runs holds on its seeds, on what it has found, and on what hypothesis makes of them."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fuzz.engine import noting
from benchmarks.fuzz.targets import TARGETS, Broken, Target, held
from database_handler.migrations.files.file_writing import rendered
from database_handler.migrations.files.migration import parse

# Each once broke a promise: a line end that was converted twice; a name that ends in what Python, and not
# SQL, takes for white space.
FOUND = {
    "migrations": (
        b"s-- migrate: up\nSELECT 'a\r\r\nb';\n",
        b"s-- migrate: up\nSELECT 1;\nSELECT 2 AS a\x1e\n",
    ),
}
each_target = pytest.mark.parametrize("name", TARGETS)


@each_target
def test_seeds_and_what_was_found(name: str) -> None:
    for data in (b"", *TARGETS[name].seeds, *FOUND.get(name, ())):
        TARGETS[name].run(data)


@each_target
def test_any_bytes_and_mended_seeds(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=150, deadline=None, database=None)
    @given(st.binary(max_size=100) | st.text(max_size=100).map(encoded) | spliced(target))
    def holds(data: bytes) -> None:
        target.run(data)

    holds()


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def spliced(target: Target) -> st.SearchStrategy[bytes]:
    """Put a piece of text, or a word of the target's, into one of its seeds."""
    piece = st.binary(max_size=8) | st.sampled_from(target.words).map(encoded)
    parts = st.tuples(st.sampled_from(target.seeds), st.integers(0, 200), st.integers(0, 9), piece)
    return parts.map(lambda found: found[0][: found[1]] + found[3] + found[0][found[1] + found[2] :])


def test_a_section_keeps_a_name_that_ends_in_what_python_strips() -> None:
    text = rendered("0007_x", ["-- migrate: up\nDROP TABLE t\N{NO-BREAK SPACE}\n"])
    [section] = parse(Path("0007_x.sql"), text.encode()).sections
    assert section.statements[0].text == "DROP TABLE t\N{NO-BREAK SPACE}"


def test_a_failure_is_noted_once_and_the_run_goes_on(tmp_path: Path) -> None:
    runs: list[bytes] = []

    def broken(data: bytes) -> None:
        runs.append(data)
        held(data != b"b", "b is not taken")

    one_input = noting(broken, tmp_path / "findings")
    for data in (b"a", b"b", b"b", b"c"):
        one_input(data)
    [finding] = map(json.loads, (tmp_path / "findings").read_text().splitlines())
    assert (finding["error"], finding["message"], finding["input"]) == (
        Broken.__name__,
        "b is not taken",
        "Yg==",
    )
    assert runs == [b"a", b"b", b"b", b"c"]
