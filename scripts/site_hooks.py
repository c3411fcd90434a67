"""What mkdocs is told beyond mkdocs.yml: every link of a page that leaves docs/ leads to a page of the site.

README.md, CONTRIBUTING.md and CHANGELOG.md become pages. A test, or a file of deploy/, that a page links to
becomes a page with its text; a link whose title is the name of a test leads to the line where that test
begins. So the site is whole by itself: it needs no host for the code, and a claim is a click from its proof.
"""

import ast
import logging
import posixpath
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).resolve().parent.parent
PROJECT_PAGES: Final = {
    "README.md": "readme.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
WIDE: Final = {"comparison.md", "performance.md"}  # tables of many columns take the place of the contents
LINK: Final = re.compile(r'\]\((?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?: "(?P<title>[^"]*)")?\)')
LANGUAGES: Final = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".service": "ini", ".timer": "ini"}
# Marks an address that is filled in when the page is HTML: mkdocs knows no lines of a block as anchors.
_log = logging.getLogger(f"mkdocs.plugins.{__name__}")  # a warning below this name ends a strict build
PLACE: Final = re.compile(r'href="source:([^"#]+)(?:#(\d+))?"')


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of a folder where the navigation says `folder/*`."""
    config.nav = [_expanded(entry, Path(config.docs_dir)) for entry in config.nav or []]
    return config


def _expanded(entry: object, docs: Path) -> object:
    match entry:
        case str() if entry.endswith("/*"):
            return sorted(str(path.relative_to(docs)) for path in docs.glob(f"{entry[:-1]}*.md"))
        case dict():
            return {title: _expanded(below, docs) for title, below in entry.items()}
        case list():
            return [_expanded(each, docs) for each in entry]
        case _:
            return entry


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from files outside docs/."""
    for name, uri in PROJECT_PAGES.items():
        files.append(File.generated(config, uri, content=(ROOT / name).read_text("utf-8")))
    for path in sorted(set(_named(files))):
        uri, beside = f"source/{path}.md", InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, uri, content=_as_page(path), inclusion=beside))
    return files


def _named(files: Files) -> Iterator[str]:
    """Give the files outside docs/ that pages link to."""
    for file in files.documentation_pages():
        for found in LINK.finditer(file.content_string):
            path = _outside(found["path"], file.src_uri)
            if path is not None and path not in PROJECT_PAGES and (ROOT / path).is_file():
                yield path


def _outside(path: str, page: str) -> str | None:
    """Give the path from the top of the checkout that a link stands for; None for one that stays in docs/."""
    if ":" in path or path.startswith("/"):
        return None
    folder = "" if page in PROJECT_PAGES.values() else posixpath.join("docs", posixpath.dirname(page))
    found = posixpath.normpath(posixpath.join(folder, path))
    return None if found.startswith(("docs/", "../")) or found == "docs" else found


def _as_page(path: str) -> str:
    text = (ROOT / path).read_text("utf-8").rstrip()
    language = LANGUAGES.get(Path(path).suffix, "text")
    fence = "`" * (3 + max((len(run) for run in re.findall(r"`{3,}", text)), default=0))
    return (
        f"---\nsearch:\n  exclude: true\nhide:\n  - toc\n---\n\n# {Path(path).name}\n\n`{path}`\n\n"
        f'{fence}{language} linenums="1"\n{text}\n{fence}\n'
    )


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """Lead each link that leaves docs/ to the page that was made for it."""
    if page.file.src_uri.startswith("source/"):
        return markdown
    if page.file.src_uri in WIDE:
        page.meta["hide"] = ["toc"]

    def led(found: re.Match[str]) -> str:
        return _led(found, page.file.src_uri)

    return LINK.sub(led, markdown)


def _led(found: re.Match[str], page: str) -> str:
    if page in PROJECT_PAGES.values() and found["path"].startswith("docs/"):
        path = found["path"].removeprefix("docs/")
        return found[0].replace(found["path"], "decisions/README.md" if path == "decisions" else path, 1)
    outside = _outside(found["path"], page)
    if outside is None:
        return found[0]
    if outside in PROJECT_PAGES:
        up = "../" * page.count("/")
        return f"]({up}{PROJECT_PAGES[outside]}{found['anchor'] or ''})"
    if not (ROOT / outside).is_file():
        _log.warning("%s: %s is no file of this checkout", page, found["path"])
        return found[0]
    title = found["title"]
    if title and title not in _lines(outside):
        _log.warning("%s: %s has no %s", page, outside, title)
    line = f"#{_lines(outside).get(title, 1)}" if title else ""
    return f"](source:{outside}{line}" + (f' "{title}")' if title else ")")


@cache
def _lines(path: str) -> dict[str, int]:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    named = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name: node.lineno for node in ast.walk(tree) if isinstance(node, named)}


def on_page_content(html: str, *, page: Page, files: Files, **_: object) -> str:
    """Give the marked addresses their form, as seen from this page."""

    def filled(found: re.Match[str]) -> str:
        file = files.get_file_from_path(f"source/{found[1]}.md")
        if file is None:
            _log.warning("%s: no page was made of %s", page.file.src_uri, found[1])
            return found[0]
        anchor = f"#__codelineno-0-{found[2]}" if found[2] else ""
        return f'href="{file.url_relative_to(page.file)}{anchor}"'

    return PLACE.sub(filled, html)
