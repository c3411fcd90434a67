"""Every command is documented, and what is documented is a command; each is made as all are.

Commands are found by reflection: one that is registered is held to this by existing. That the documented
ones run is shown where they do: tests/integration/test_cli.py, and the pages that are walked through.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from database_handler.cli.app import app
from database_handler.cli.endings import Ending
from database_handler.cli.program import CODES

ROOT = Path(__file__).resolve().parents[2]
LIST = ROOT / "docs" / "commands.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
DEPLOYED = [path for path in sorted((ROOT / "deploy").iterdir()) if path.is_file()]


def commands(node: Any = None, words: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every command by its words; groups are none."""
    node = node or typer.main.get_command(app)
    if not hasattr(node, "commands"):
        return {" ".join(words): node}
    return {
        name: found
        for word, child in node.commands.items()
        for name, found in commands(child, (*words, word)).items()
    }


COMMANDS = commands()


@dataclass(frozen=True)
class Use:
    """A command as a page or a file shows it, and where."""

    place: str
    words: tuple[str, ...]


def uses(path: Path) -> Iterator[Use]:
    """The commands that stand in a page's code, or in a file of the deployment."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        spans = re.finditer(
            r"^```(?:bash|console|text|ini)\n(.*?)^```|`(database-handler [^`]+)`", text, re.M | re.S
        )
        lines = [(each.start(), each[1] or each[2]) for each in spans]
    else:
        lines = [(0, text)]
    for start, block in lines:
        number = text.count("\n", 0, start) + 1
        for line in block.splitlines():
            for words in called(line):
                yield Use(f"{path.relative_to(ROOT)}:{number}", words)


def called(line: str) -> Iterator[tuple[str, ...]]:
    """The words of each call in a line: of a shell's, or of a list of words in JSON or YAML."""
    line = line.strip().removeprefix("$ ")
    if line.startswith(("#", "//")):
        return
    listed = re.search(r"\[([^\[\]]*database-handler\"?,[^\[\]]*)\]", line)
    if listed:
        words = [word.strip().strip("\"'") for word in listed[1].split(",")]
        yield tuple(words[words.index("database-handler") + 1 :])
        return
    for found in re.finditer(r"(?:^|[\s=/;&|'\"(])database-handler(?![\w-])((?:[ \t]+[^;&|]+)?)", line):
        yield tuple(shlex.split(found[1], comments=True)) if found[1].strip() else ()


def command_of(words: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The command that words begin with, and what follows; options of the program may stand in front."""
    rest = list(words)
    before: list[str] = []
    while rest and rest[0].startswith("-"):
        before.append(rest.pop(0))
        if before[-1] in {"--app", "--database-url", "--embedded", "--environment", "--log-level"} and rest:
            rest.pop(0)
    for length in (2, 1):
        if (name := " ".join(rest[:length])) in COMMANDS:
            return name, (*before, *rest[length:])
    return "", words


def problems_of(use: Use) -> list[str]:
    name, rest = command_of(use.words)
    if not name:
        # The program, or a group alone, is told of in prose, such as `database-handler migrations`.
        known = any(f"{each} ".startswith(f"{' '.join(use.words)} ") for each in COMMANDS)
        return [] if known or not use.words else [f"{use.place}: no command {' '.join(use.words)!r}"]
    options = {option for each in COMMANDS[name].params for option in each.opts} | {"--help"}
    unknown = {word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)} - options
    return [f"{use.place}: {name} has no option {option}" for option in sorted(unknown)]


@pytest.mark.parametrize("path", [*PAGES, *DEPLOYED], ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_shown_is_a_command_with_options_that_it_has(path: Path) -> None:
    assert [problem for use in uses(path) for problem in problems_of(use)] == []


def test_what_is_none_is_found() -> None:
    assert problems_of(Use("x", ("healht",))) == ["x: no command 'healht'"]
    assert problems_of(Use("x", ("health", "--alive"))) == ["x: health has no option --alive"]


def listed() -> dict[str, str]:
    """The commands of the page that lists them, with what it says of each."""
    rows = re.findall(r"^\| `([a-z][a-z -]*?)` \| (.+?) \|$", LIST.read_text(encoding="utf-8"), re.M)
    return dict(rows)


def first_line(command: Any) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())


def test_the_list_has_every_command_and_no_other() -> None:
    rows = {name: f"| `{name}` | {first_line(command)} |" for name, command in COMMANDS.items()}
    lacking = [rows[name] for name in COMMANDS if name not in listed()]
    assert not lacking, "\n".join(["docs/commands.md lacks:", *lacking])
    assert set(listed()) == set(COMMANDS)
    differ = [rows[name] for name, told in listed().items() if first_line(COMMANDS[name]) != told]
    assert not differ, "\n".join(["docs/commands.md says something else than the help:", *differ])


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_is_made_as_all_are(name: str) -> None:
    command = COMMANDS[name]
    shown = CliRunner().invoke(app, [*name.split(), "--help"])
    assert shown.exit_code == 0
    assert max(map(len, shown.stdout.splitlines())) <= 80, "help fits a terminal"
    examples = [line.strip() for line in shown.stdout.partition("Example")[2].splitlines()]
    examples = [line for line in examples if line.startswith("database-handler ")]
    assert examples, "it has an example"
    assert {command_of(words)[0] for line in examples for words in called(line)} == {name}
    options = {option for each in command.params for option in each.opts}
    assert {"--json", "--database-url", "--embedded", "--environment"} <= options
    assert "Exit codes: 0 done" in shown.stdout
    assert "--yes" in options or "Asks first." not in (command.help or ""), "what asks can be told not to"


def test_the_exit_codes_that_are_told_are_those_there_are() -> None:
    assert {int(code) for code in re.findall(r"\b(\d+) [a-z]", CODES)} == {int(code) for code in Ending}
    table = re.findall(r"^\| `(\d+)` \|", LIST.read_text(encoding="utf-8"), re.M)
    assert [int(code) for code in table] == [int(code) for code in Ending]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("$ database-handler health --live  # a probe", [("health", "--live")]),
        ('command: ["database-handler", "migrate", "--or-newer"]', [("migrate", "--or-newer")]),
        ("ExecStart=/opt/films/bin/database-handler migrate", [("migrate",)]),
        ("HEALTHCHECK CMD database-handler health --ready || exit 1", [("health", "--ready")]),
        ("# database-handler nonsense", []),
        ("the database-handler-pg account", []),
    ],
)
def test_a_call_is_found(line: str, words: list[tuple[str, ...]]) -> None:
    assert list(called(line)) == words
