"""What an import will do, decided from names and checksums; and which entries of a folder count."""

import os
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database_handler.content.errors import NotARegularFile, UnreadableFile
from database_handler.content.folder import FileReport, FolderReport, Held, Outcome, plan_import, walk


def row(number: int, name: str | None, checksum: str) -> Held:
    return Held(UUID(int=number), name, checksum)


def test_a_first_run_stores_each_content_once() -> None:
    plan = plan_import({"b": "x", "a": "x", "c": "y"}, [])
    assert plan.stored == ["a", "c"]
    assert plan.duplicates == {"b": "a"}


def test_a_second_run_changes_nothing() -> None:
    held = [row(1, "a", "x"), row(2, "c", "y")]
    plan = plan_import({"b": "x", "a": "x", "c": "y"}, held)
    assert plan.unchanged == {"a": held[0], "c": held[1]}
    assert plan.duplicates == {"b": held[0]}
    assert not plan.stored
    assert not plan.changed


def test_a_duplicate_is_stored_once_the_other_file_changed() -> None:
    held = row(1, "a", "x")
    plan = plan_import({"a": "new", "b": "x"}, [held])
    assert plan.changed == {"a": held}
    assert plan.stored == ["b"]


def test_a_change_to_content_that_another_row_keeps_is_a_duplicate_and_leaves_its_own_row() -> None:
    first, second = row(1, "a", "x"), row(2, "b", "y")
    plan = plan_import({"a": "y", "b": "y"}, [first, second])
    assert plan.unchanged == {"b": second}
    assert plan.duplicates == {"a": second}
    assert not plan.changed


def test_a_file_with_a_row_goes_before_a_new_one_of_the_same_content() -> None:
    held = row(1, "z", "old")
    plan = plan_import({"a": "new", "z": "new"}, [held])
    assert plan.changed == {"z": held}
    assert plan.duplicates == {"a": "z"}


def test_a_chain_of_changes_is_ordered_so_that_each_step_is_possible() -> None:
    rows = {name: row(number, name, f"{number}") for number, name in enumerate("abc", start=1)}
    plan = plan_import({"a": "2", "b": "3", "c": "4"}, rows.values())
    assert list(plan.changed) == ["c", "b", "a"]


def test_swapped_files_are_duplicates_and_no_content_is_lost() -> None:
    first, second = row(1, "a", "x"), row(2, "b", "y")
    plan = plan_import({"a": "y", "b": "x"}, [first, second])
    assert plan.duplicates == {"a": second, "b": first}


def test_a_renamed_file_is_a_duplicate_of_its_old_name() -> None:
    held = row(1, "old", "x")
    assert plan_import({"new": "x"}, [held]).duplicates == {"new": held}


def test_a_text_without_a_file_name_counts_by_its_content() -> None:
    held = row(1, None, "x")
    assert plan_import({"a": "x"}, [held]).duplicates == {"a": held}


NAMES, SUMS = st.sampled_from("abcdef"), st.sampled_from("uvwxyz")


@given(
    st.dictionaries(NAMES, SUMS),
    st.lists(st.tuples(st.one_of(st.none(), NAMES), SUMS), unique_by=lambda pair: pair[1]),
)
def test_every_plan_can_be_applied_loses_no_file_and_settles(
    files: dict[str, str], pairs: list[tuple[str | None, str]]
) -> None:
    held = [row(number, name, checksum) for number, (name, checksum) in enumerate(pairs)]
    plan = plan_import(files, reversed(held))
    outcomes = [*plan.unchanged, *plan.changed, *plan.stored, *plan.duplicates]
    assert sorted(outcomes) == sorted(files), "each file has exactly one outcome"

    table = {entry.id: (entry.filename, entry.checksum) for entry in held}
    for name, changed in plan.changed.items():
        assert files[name] not in {checksum for _, checksum in table.values()}, "a key would be there twice"
        table[changed.id] = (name, files[name])
    for number, name in enumerate(plan.stored, start=1000):
        assert files[name] not in {checksum for _, checksum in table.values()}
        table[UUID(int=number)] = (name, files[name])
    assert set(files.values()) <= {checksum for _, checksum in table.values()}, "every content is held"

    again = plan_import(files, [Held(key, *value) for key, value in table.items()])
    assert not again.stored
    assert not again.changed


def test_a_walk_lists_every_file_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "sub" / "deeper").mkdir(parents=True)
    for name in ("b.txt", "sub/a.txt", "sub/deeper/c.txt", ".hidden", "-rf.txt", "line\nbreak.txt"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("x")
    (tmp_path / "link.txt").symlink_to(tmp_path / "b.txt")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/latin-\xe9.txt")).write_text("x")

    found = walk(tmp_path)

    assert [file.name for file in found.files if file.refused is None] == [
        "b.txt",
        "sub/a.txt",
        "sub/deeper/c.txt",
    ]
    assert {file.name: file.refused.reason for file in found.files if file.refused} == {
        "-rf.txt": "name",
        "line\\nbreak.txt": "name",
        "latin-\\xe9.txt": "name",
        "link.txt": "not_regular",
        "loop": "not_regular",
        "pipe": "not_regular",
    }
    assert found.hidden == [".git", ".hidden"]


def test_names_of_the_same_letters_composed_differently_are_taken_once(tmp_path: Path) -> None:
    (tmp_path / "caf\u00e9.txt").write_text("one")
    (tmp_path / "cafe\u0301.txt").write_text("two")
    files = walk(tmp_path).files
    assert [file.name for file in files] == ["caf\u00e9.txt"] * 2
    assert sum(file.refused is None for file in files) == 1


def test_a_folder_that_is_not_there_or_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile):
        walk(tmp_path / "missing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotARegularFile):
        walk(tmp_path / "file")


def test_a_very_deep_folder_is_accounted_for(tmp_path: Path) -> None:
    deep = tmp_path
    for _ in range(300):
        deep = deep / "d"
        deep.mkdir()
    (deep / "end.txt").write_text("x")
    assert [file.name.count("/") for file in walk(tmp_path).files] == [300]


def test_a_report_counts_every_outcome() -> None:
    report = FolderReport((FileReport("a", Outcome.STORED), FileReport("b", Outcome.REFUSED, "empty")))
    assert report.counts[Outcome.STORED] == 1
    assert report.counts[Outcome.CHANGED] == 0
    assert [file.path for file in report.of(Outcome.REFUSED)] == ["b"]
