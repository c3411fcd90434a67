"""The pages of the documentation, walked through as their reader would: what stands in their blocks runs."""

import ast
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import pytest

from database_handler.cli import main
from database_handler.config.settings import VARIABLES

__all__ = ["Block", "Walk", "blocks", "names_of_tests", "only_settings", "section"]


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code of a page, with its language and the line on which it begins."""

    language: str
    code: str
    line: int


def blocks(page: Path, *languages: str) -> list[Block]:
    """Return the blocks of a page in their order, those in some languages where any are named."""
    text = page.read_text("utf-8")
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)
    every = [Block(each[1], each[2], text.count("\n", 0, each.start()) + 1) for each in found]
    return [block for block in every if not languages or block.language in languages]


def section(page: Path, heading: str) -> list[Block]:
    """Return the blocks below a heading of the second level."""
    text = page.read_text("utf-8")
    first = text.count("\n", 0, text.index(f"\n## {heading}\n"))
    rest = text.find("\n## ", text.index(f"\n## {heading}\n") + 1)
    last = text.count("\n", 0, rest) if rest >= 0 else text.count("\n")
    return [block for block in blocks(page) if first < block.line <= last]


def only_settings(monkeypatch: pytest.MonkeyPatch, folder: Path, **given: str) -> None:
    """Stand in a folder, with no settings but these."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    for name, value in given.items():
        monkeypatch.setenv(name, value)


def names_of_tests(file: Path) -> set[str]:
    """The names of a file's tests; none where there is no such file."""
    tree = ast.parse(file.read_text("utf-8") if file.is_file() else "")
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


class Walk:
    """Runs what a page shows, in its order; `$NAME` in a command stands for what `names` says."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        names: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.monkeypatch, self.capsys, self.names = monkeypatch, capsys, names
        self.namespace: dict[str, object] = {"__name__": "example"}
        self.said = ""  # what the last command printed

    def do(self, page: Path, block: Block) -> None:
        """Run a block by its language; a failure tells where it stands, and what was printed last."""
        try:
            getattr(self, block.language)(block.code)
        except BaseException as error:
            error.add_note(f"docs/{page.name}:{block.line}\n{self.said}")
            raise

    def python(self, code: str) -> None:
        """Run a block in the namespace of those before it."""
        exec(code, self.namespace)  # noqa: S102  # our own page

    def console(self, code: str) -> None:
        """Run each line of a block: a command, or a shell's `export NAME=VALUE` and `unset NAME`."""
        for line in code.splitlines():
            word, _, rest = line.removeprefix("$ ").partition(" ")
            if word == "export":
                name, _, value = self._filled(rest).partition("=")
                self.monkeypatch.setenv(name, value)
            elif word == "unset":
                self.monkeypatch.delenv(rest)
            else:
                self.command(line)

    def _filled(self, text: str) -> str:
        for name, value in self.names.items():
            text = text.replace(f"${name}", value)
        return text

    def command(self, line: str) -> str:
        """Run `$ database-handler ...`, which ends with 0 or with `# exit code N`; return what it prints."""
        text, _, expected = line.removeprefix("$ ").partition("  # exit code ")
        self.capsys.readouterr()
        ended = main(shlex.split(self._filled(text))[1:])
        told = self.capsys.readouterr()
        self.said = f"{line}\n{told.out}{told.err}"
        assert ended == int(expected or 0), self.said
        return self.said
