"""The table and the plots of the benchmarks: every row with its targets, and files that can be opened."""

import re
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.figures import OURS, Row
from benchmarks.report import as_markdown, mark, renewed

PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
ROWS = [
    Row(
        "get by id",
        {"psycopg2": [0.001] * 3, OURS: [0.0014] * 3, "Django": [0.0084] * 3},
        limit="psycopg2",
        at_most=1.5,
        peers=("Django",),
        faster=5,
    ),
    Row("import", {"psycopg2": [0.1] * 3, OURS: [0.2] * 3}, limit="psycopg2", at_most=1.3),
    Row("growth", {}, "s", points={"get": [(10, 1.0), (100, 1.1)], OURS: [(10, 1.0)]}),
]


def test_table_has_a_line_for_each_row_with_its_targets() -> None:
    lines = as_markdown(ROWS).splitlines()
    assert lines[2] == (
        "| get by id | 1 ms | 1.4 ms, 1.40 x | 1.5 x | met | Django, 8.4 ms | 6 x | 5 x | met |"
    )
    assert "| **missed** |" in lines[3]
    assert lines[-1] == "| get by id | 0.71 | 1.00 | 6.00 |"


@pytest.mark.soak  # matplotlib looks all fonts through when it is new
def test_plots_are_pictures(tmp_path: Path) -> None:
    from benchmarks.plots import drawn

    made = drawn(ROWS, tmp_path / "plots")
    assert sorted(path.name for path in made) == ["beside.png", "beside.svg", "growth.png", "growth.svg"]
    for path in made:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert picture.width > 500
        else:
            assert path.read_text(encoding="utf-8").startswith("<?xml")


def page_with_marks(folder: Path) -> Path:
    page = folder / "page.md"
    marks = ["".join(mark(name)) for name in ("targets", "growth")]
    page.write_text(f"before\n{marks[0]}between\n{marks[1]}after\n", encoding="utf-8")
    return page


def test_page_is_renewed_between_its_marks_only(tmp_path: Path) -> None:
    page = page_with_marks(tmp_path)
    for _ in range(2):
        renewed(page, ROWS, "18.6")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert text.count("\nbetween\n") == 1
    assert text.count("| get by id |") == 2
    assert "PostgreSQL 18.6" in text
    assert "| growth | 10 | 100 |" in text
    assert "| get | 1 | 1.1 |" in text
    assert f"| {OURS} | 1 |  |" in text


def test_run_of_some_rows_leaves_the_table_of_targets(tmp_path: Path) -> None:
    page = page_with_marks(tmp_path)
    renewed(page, ROWS, "18.6", whole=False)
    assert "get by id" not in page.read_text(encoding="utf-8")
    assert "| growth | 10 | 100 |" in page.read_text(encoding="utf-8")


def test_page_without_a_place_for_a_table_is_refused_and_left(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="no place for targets"):
        renewed(page, ROWS, "18.6")
    assert page.read_text(encoding="utf-8") == "text\n"


def test_page_has_a_place_for_every_plot() -> None:
    text = PAGE.read_text(encoding="utf-8")
    names = ["targets", *re.findall(r"^<!-- (.+): begin -->$", text, re.MULTILINE)]
    assert all("".join(mark(name)[0]) in text and mark(name)[1] in text for name in names)
    assert len(names) > 6
