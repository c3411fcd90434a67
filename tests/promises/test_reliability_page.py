"""docs/reliability.md has a row for each fault that is survived, and names a test that is there."""

import re
from pathlib import Path

from tests.support.pages import names_of_tests

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
LINK = re.compile(r"\]\(\.\./(tests/[\w/]+\.py)(?: \"(test_\w+)\")?\)")


def rows() -> dict[str, str]:
    table = PAGE.read_text("utf-8").partition("## The table")[2].partition("\nDeadlines:")[0]
    lines = [(cells, line) for line in table.splitlines() if len(cells := line.split("|")) > 6]
    return {number: line for cells, line in lines for number in cells[1].strip().split(", ")}


def test_every_fault_has_a_row_with_a_test() -> None:
    found = rows()
    numbers = {str(number) for number in range(1, 41)}
    assert found.keys() - {"#", "---"} == numbers
    without = {number for number, line in found.items() if not LINK.search(line)} - {"#", "---"}
    assert without == set()


def test_every_test_that_is_named_is_there() -> None:
    named = LINK.findall(PAGE.read_text("utf-8"))
    assert len(named) > 40
    assert [each for each in named if each[1] not in names_of_tests(ROOT / each[0])] == []
