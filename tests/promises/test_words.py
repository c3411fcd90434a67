"""Nothing in the repository depends on, or tells of, the machine where it was written."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Character classes, so that this file is not among its own finds.
PATTERNS = {
    "a home folder": r"(?<![\w.])/(h[o]me/[a-z]|r[o]ot/|U[s]ers/[a-zA-Z])",
    "a package host": r"--(extra-)?index[-]url|--find[-]links|--trusted[-]host",
    "an address of a private network": r"\b(10|192\.168|172\.(1[6-9]|2\d|3[01]))(\.\d{1,3}){2,3}:\d+",
}


def tracked() -> list[Path]:
    """The files under version control; in an unpacked archive, all that git would not ignore by its name."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listing.returncode == 0 and listing.stdout:
        return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()}
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file() and not ignored & {*path.relative_to(ROOT).parts, ".git"}
    ]


def lines() -> Iterator[tuple[str, str]]:
    """Every line of every text file, with its place."""
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            yield f"{path.relative_to(ROOT)}:{number}", line


def of_this_machine() -> set[str]:
    """The checkout's folder, the one above, and the home folder; none that is too short to mean something."""
    home = os.environ.get("HOME", "")
    return {
        f"{folder}/"
        for folder in (str(ROOT), str(ROOT.parent), home)
        if folder.count("/") > 1 or len(folder) > 6
    }


@pytest.mark.parametrize("what", PATTERNS)
def test_no_trace_of(what: str) -> None:
    pattern = re.compile(PATTERNS[what])
    assert [place for place, line in lines() if pattern.search(line)] == []


def test_no_path_of_this_machine() -> None:
    paths = of_this_machine()
    assert [place for place, line in lines() if any(path in line for path in paths)] == []
