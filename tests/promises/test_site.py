"""The documentation site is built as `scripts/docs` builds it, and read: links, names, and that it is whole.

It is built once, by a process of its own: what mkdocs imports does not belong into a test run.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from types import FrameType
from urllib.parse import unquote, urlsplit

import pytest
import yaml

import database_handler
from database_handler import Database, exceptions
from scripts import draw_layers
from tests.support.pages import names_of_tests

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PROJECT_PAGES = {"readme.md", "contributing.md", "changelog.md"}  # made from files at the top of the checkout


@dataclass
class Page:
    """What matters of a page's HTML: where it can be entered, where it leads, and what it loads."""

    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)


class Reader(HTMLParser):
    """Reads one page."""

    def __init__(self) -> None:
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        self.page.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.page.classes |= set(given.get("class", "").split())
        if tag == "a" and "href" in given:
            self.page.links.append(given["href"])
        elif tag == "link" and given.get("rel") in {"stylesheet", "icon", "preload", "preconnect"}:
            self.page.loaded.append(given["href"])
        if "src" in given:
            self.page.loaded.append(given["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built strictly: any warning of mkdocs, or of the hook, ends the build.

    Not with `--quiet`: what is not told is not counted either, and a warning would pass.
    """
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    """Every page of the site by its path."""
    return {str(path.relative_to(site)): read(path) for path in sorted(site.rglob("*.html"))}


def read(path: Path) -> Page:
    reader = Reader()
    reader.feed(path.read_text("utf-8"))
    return reader.page


def test_every_link_leads_somewhere(site: Path, pages: dict[str, Page]) -> None:
    lost = [f"{name}: {link}" for name, page in pages.items() for link in lost_links(site, pages, name, page)]
    assert lost == []
    assert sum(len(page.links) for page in pages.values()) > 5000


def lost_links(site: Path, pages: dict[str, Page], name: str, page: Page) -> Iterator[str]:
    """Give the links of a page whose page, file or anchor is not there."""
    for link in dict.fromkeys(page.links):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc or (name == "404.html" and link.startswith("/")):
            continue
        target = resolved(site, name, parts.path)
        if target is None or (
            parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors
        ):
            yield link


def resolved(site: Path, name: str, path: str) -> str | None:
    """Give the path within the site that a link means; None where nothing is there."""
    if not path:
        return name
    found = ((site / name).parent / unquote(path)).resolve()
    found = found / "index.html" if found.is_dir() else found
    return str(found.relative_to(site.resolve())) if found.is_file() else None


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "one.html").write_text('<h1 id="here">One</h1>')
    two = tmp_path / "below" / "two.html"
    right = ["../one.html#here", "../one.html", "https://example.org/#x", "#own"]
    wrong = ["../one.html#gone", "one.html", "#gone", "../../one.html"]
    two.write_text('<p id="own">' + "".join(f'<a href="{link}">x</a>' for link in right + wrong))
    pages = {"one.html": read(tmp_path / "one.html"), "below/two.html": read(two)}
    assert list(lost_links(tmp_path, pages, "below/two.html", pages["below/two.html"])) == wrong


def test_nothing_is_loaded_from_another_host(site: Path, pages: dict[str, Page]) -> None:
    loaded = {address for page in pages.values() for address in page.loaded}
    assert loaded
    assert [address for address in loaded if re.match(r"(\w+:)?//", address)] == []
    for style in site.rglob("*.css"):
        text = style.read_text("utf-8")
        assert re.findall(r"(?:@import|url\()\s*[\"']?(?:\w+:)?//[^)\s]*", text) == [], style.name
    # The theme's script fetches a drawing program for such blocks only.
    assert [name for name, page in pages.items() if "mermaid" in page.classes] == []


def test_the_reference_has_every_public_name(pages: dict[str, Page]) -> None:
    entered = {
        anchor for name, page in pages.items() if name.startswith("reference/") for anchor in page.anchors
    }
    assert [name for name in database_handler.__all__ if f"database_handler.{name}" not in entered] == []
    missing = [name for name in exceptions.__all__ if not any(each.endswith(f".{name}") for each in entered)]
    assert missing == ["translated"]  # of the library's own making, not for an application


def test_wide_tables_have_the_place_of_the_contents(site: Path) -> None:
    hidden = re.compile(r'data-md-type="toc"\s+hidden')
    wide = [path.name for path in sorted(site.glob("*.html")) if hidden.search(path.read_text("utf-8"))]
    assert wide == ["comparison.html", "performance.html"]


def test_every_page_is_in_the_navigation() -> None:
    listed = list(named(navigation()))
    assert len(listed) == len(set(listed))
    there = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")} | PROJECT_PAGES
    assert there - set(listed) == set()
    assert set(listed) - there == set()


def navigation() -> object:
    """The navigation as mkdocs.yml has it."""
    return yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"]


def named(entry: object) -> Iterator[str]:
    match entry:
        case str() if entry.endswith("/*"):
            yield from (str(path.relative_to(DOCS)) for path in DOCS.glob(f"{entry[:-1]}*.md"))
        case str():
            yield entry
        case dict():
            for below in entry.values():
                yield from named(below)
        case list():
            for each in entry:
                yield from named(each)


def test_a_claim_leads_to_the_line_of_its_test(site: Path, pages: dict[str, Page]) -> None:
    (link,) = (link for link in pages["comparison.html"].links if "test_upsert" in link)
    path, _, anchor = link.partition("#")
    assert anchor in pages[path].anchors
    line = int(anchor.rpartition("-")[2])
    source = (ROOT / "tests" / "contract" / "test_upsert.py").read_text("utf-8").splitlines()
    assert source[line - 1].startswith("def test_of_eight_at_once_exactly_one_inserts(")


LANGUAGES = {"bash", "console", "diff", "ini", "python", "sql", "text", "yaml"}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs"])
def test_each_block_says_its_language(page: str) -> None:
    """What says none, or is indented, is seen by no test that runs the pages."""
    place = ROOT / page
    for path in sorted(place.rglob("*.md")) if place.is_dir() else [place]:
        fences = re.findall(r"^[ \t]*```.*$", path.read_text("utf-8"), re.M)
        assert {fence.removeprefix("```") for fence in fences[::2]} <= LANGUAGES, path.name
        assert set(fences[1::2]) <= {"```"}, path.name


def test_the_list_of_decisions_has_each_in_its_order() -> None:
    """`0012` is followed by `0013`, and by each one's own first line."""
    found = sorted((DOCS / "decisions").glob("0*.md"))
    assert [int(path.name[:4]) for path in found] == list(range(1, len(found) + 1))
    lines = [
        f"* [{path.name[:4]}]({path.name}) {path.read_text('utf-8').splitlines()[0].removeprefix('# ')}"
        for path in found
    ]
    listed = (DOCS / "decisions" / "README.md").read_text("utf-8").splitlines()
    assert [line for line in listed if line.startswith("*")] == lines


CLAIMS = re.compile(r'\]\(\.\./(tests/[\w/]+\.py) "(test_\w+)"\)')


@pytest.mark.parametrize("page", ["comparison.md", "architecture.md"])
def test_each_claim_about_us_names_a_test_that_there_is(page: str) -> None:
    text = (DOCS / page).read_text("utf-8")
    claims = CLAIMS.findall(text)
    assert len(claims) == text.count("](../tests/"), "each says which test of the file it is"
    assert [each for each in claims if each[1] not in names_of_tests(ROOT / each[0])] == []


def test_each_row_of_the_comparison_leads_to_a_test() -> None:
    rows = [
        line.split("|")[2]
        for line in (DOCS / "comparison.md").read_text("utf-8").splitlines()
        if line.startswith("| ") and "| database_handler |" not in line
    ]
    assert len(rows) > 15
    assert [row for row in rows if not CLAIMS.search(row)] == []


def test_the_tree_of_errors_is_the_one_shown() -> None:
    (shown,) = re.findall(
        r"^```text\n(.*?)^```", (DOCS / "reference" / "errors.md").read_text("utf-8"), re.M | re.S
    )
    assert shown.splitlines() == list(tree(exceptions.DatabaseHandlerError))


def tree(error: type[Exception], depth: int = 0) -> Iterator[str]:
    yield f"{'  ' * depth}{error.__name__}"
    for below in sorted(error.__subclasses__(), key=lambda each: each.__name__):
        if getattr(exceptions, below.__name__, None) is below:
            yield from tree(below, depth + 1)


# ----------------------------------------------------------------------------------------- architecture


def test_the_drawing_is_that_of_the_code() -> None:
    """Renewed by `python scripts/draw_layers.py`."""
    assert (DOCS / "architecture.svg").read_text("utf-8") == draw_layers.drawing()


def test_a_layer_that_imported_upwards_would_not_be_drawn(tmp_path: Path) -> None:
    (tmp_path / "cli.py").write_text('"""Above."""\nfrom database_handler.core import session\n')
    (tmp_path / "core.py").write_text('"""Below."""\n\ndef f():\n    import database_handler.cli\n')
    found = draw_layers.parts(tmp_path)
    assert found["core"].later == {"cli"}
    with pytest.raises(SystemExit, match=r"\['cli', 'core'\]"):
        draw_layers.ordered(found, ["cli", "core"])


@cache
def walks() -> dict[str, list[str]]:
    """The calls that the page names, by journey, as `file.py function`."""
    text = (DOCS / "architecture.md").read_text("utf-8")
    found = re.findall(r"<!-- walk: (\w+) -->\n(.*?)\n\n", text, re.S)
    return {
        name: [f"{a} {b}" for a, b in re.findall(r"^\| `(.*?)` \| `(.*?)`", t, re.M)] for name, t in found
    }


def test_calls_travel_as_the_page_says(database: Database) -> None:
    film = database.projects.create(name="Harbour film")

    def unit() -> None:
        with database.unit_of_work() as uow:
            uow.projects.get_by_id(film.id)
            uow.projects.update(film.id, {"owner": "Ada"})

    told = {"get": followed(lambda: database.projects.get_by_id(film.id)), "unit": followed(unit)}
    for journey, steps in walks().items():
        assert len(steps) > 5
        calls = iter(told[journey])
        assert [step for step in steps if step not in calls] == [], journey  # each after the one before it
    assert told["get"].count("core/session.py transmit") == 1
    assert told["unit"].count("core/session.py transmit") == 3


def followed(work: Callable[[], object]) -> list[str]:
    """Give the calls of the package's functions, in the order in which they are made."""
    seen: list[str] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(str(ROOT / "database_handler")):
            file = Path(code.co_filename).relative_to(ROOT / "database_handler")
            seen.append(f"{file} {code.co_qualname}")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return seen
