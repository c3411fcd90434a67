"""The examples of README.md and docs/ run: each page's `python` blocks in turn, in one namespace.

They run in an empty folder; `DATABASE_URL` names an empty database. A block that cannot run stands under
a line `<!-- not run: why -->`, which no reader sees.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import prometheus_client
import pytest

from database_handler import Database
from database_handler.embedded import EmbeddedServer
from tests.faults.conftest import query

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# With their commands, or in a process of their own, by tests of their own.
WALKED = {
    *(
        "asyncio.md",
        "changes.md",
        "data.md",
        "from_advanced_alchemy.md",
        "from_django.md",
        "operations.md",
        "replicas.md",
        "roles.md",
        "scale.md",
        "sqlalchemy.md",
        "tutorial.md",
    ),
}
NOT_RUN = re.compile(r"<!-- not run: \S.* -->\n")


@dataclass(frozen=True, slots=True)
class Block:
    """Code of a page, and the line on which it begins."""

    code: str
    line: int


def blocks(text: str) -> Iterator[Block]:
    """Give the `python` blocks of a page that are to run."""
    for found in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        before = text[: found.start()].splitlines(keepends=True)
        if not (before and NOT_RUN.fullmatch(before[-1])):
            yield Block(found[1], len(before) + 2)


def run(page: Path, namespace: dict[str, object]) -> None:
    """Run a page; an error names the page and its line."""
    for block in blocks(page.read_text(encoding="utf-8")):
        code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
        exec(code, namespace)  # noqa: S102  (our own pages)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server as everybody gets it: a page may depend on its settings."""
    with EmbeddedServer.start(tmp_path_factory.mktemp("pages") / "server", durable=False) as started:
        yield started


@pytest.fixture
def namespace(
    server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, object]]:
    """An empty folder, database and registry of metrics; what the page opened is closed afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(prometheus_client, "REGISTRY", prometheus_client.CollectorRegistry())
    name = f"page_{uuid4().hex}"
    query(server.config, f"CREATE DATABASE {name}")
    monkeypatch.setenv("DATABASE_URL", server.config.with_(name=name).url(hide_password=False))
    names: dict[str, object] = {"__name__": "example"}
    yield names
    for value in names.values():
        if isinstance(value, Database):
            value.close()
    query(server.config, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.name not in WALKED and any(blocks(page.read_text(encoding="utf-8")))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_page_runs(page: Path, namespace: dict[str, object]) -> None:
    run(page, namespace)


def test_readme_has_an_example_that_runs() -> None:
    assert any(blocks((ROOT / "README.md").read_text(encoding="utf-8")))


def test_block_is_found_with_its_line_unless_it_says_why_not() -> None:
    page = "# Title\n\n```python\na = 1\n```\n\n<!-- not run: needs a cluster -->\n```python\nb = 2\n```\n"
    assert list(blocks(page)) == [Block("a = 1\n", 4)]


def test_error_names_the_line_of_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("words\n```python\n\n1 / 0\n```\n", encoding="utf-8")
    with pytest.raises(ZeroDivisionError) as raised:
        run(page, {})
    assert (raised.traceback[-1].path, raised.traceback[-1].lineno + 1) == (page, 4)
