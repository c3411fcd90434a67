"""docs/tutorial.md is followed from its first line to its last, as a beginner would."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from database_handler import Database
from database_handler.embedded import EmbeddedServer
from tests.support.pages import Walk, blocks, only_settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"


class Beginner(Walk):
    """Types what the page shows, and writes the file that it names."""

    def bash(self, code: str) -> None:
        """The installation: what it names are extras that there are; this run has them already."""
        assert re.findall(r'pip install "/path/to/checkout\[(.*)\]"', code) == ["embedded,cli"]

    def python(self, code: str) -> None:
        named = re.match(r"# (\w+\.py)\n", code)
        if named is None:
            super().python(code)
        else:
            Path(named[1]).write_text(code, "utf-8")

    def command(self, line: str) -> str:
        if not line.startswith("$ python "):
            return super().command(line)
        done = subprocess.run(
            [sys.executable, *shlex.split(line)[2:]], capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout) == (0, "4 translated\n"), done.stderr
        return done.stdout


@pytest.fixture
def beginner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Beginner]:
    """Somebody in an empty folder; the server there is kept running between the steps, to save its starts."""
    only_settings(monkeypatch, tmp_path)
    with EmbeddedServer.start(tmp_path / "var" / "pg"):
        walk = Beginner(monkeypatch, capsys)
        yield walk
        for value in walk.namespace.values():
            if isinstance(value, Database):
                value.close()


def test_the_tutorial_is_true(beginner: Beginner) -> None:
    for block in blocks(PAGE):
        beginner.do(PAGE, block)
    subtitles = sorted(Path().glob("*.srt"))
    assert len(subtitles) == 4
    assert "Der Hafen" in subtitles[0].read_text("utf-8")
    assert Path("harbour.jsonl").stat().st_size > 1000
