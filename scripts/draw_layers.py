"""Draws which part of the package imports which, out of the code: docs/architecture.svg.

python scripts/draw_layers.py            writes the drawing; a test holds the file to what this makes

The parts stand in an order in which each imports only what is below it, so the marks of the table fill one
half and leave the other empty. Where parts import each other there is no such order, and nothing is drawn.
"""

import ast
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from textwrap import shorten
from typing import Final
from xml.sax.saxutils import escape

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGE: Final = "database_handler"
PICTURE: Final = ROOT / "docs" / "architecture.svg"
SETTINGS: Final = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


@dataclass(frozen=True, slots=True)
class Part:
    """A module or package directly below the top one."""

    name: str
    claim: str
    loads: frozenset[str]
    later: frozenset[str]

    @property
    def imports(self) -> frozenset[str]:
        """What it imports at all."""
        return self.loads | self.later


def parts(package: Path) -> dict[str, Part]:
    """Read every part of the package: what it says it is, and what it imports when."""
    found = {}
    for path in sorted(package.iterdir()):
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.suffix == ".py" else []
        if files and path.stem not in {"__init__", "__pycache__"}:
            found[path.stem] = _part(path.stem, files, path / "__init__.py" if path.is_dir() else path)
    return found


def _part(name: str, files: list[Path], face: Path) -> Part:
    loads: set[str] = set()
    later: set[str] = set()
    for file in files:
        for at_once, imported in _imports(ast.parse(file.read_text("utf-8"))):
            (loads if at_once else later).add(imported)
    claim = (ast.get_docstring(ast.parse(face.read_text("utf-8"))) or "").partition("\n")[0]
    return Part(name, claim, frozenset(loads - {name}), frozenset(later - loads - {name}))


def _imports(tree: ast.AST, *, at_once: bool = True) -> Iterator[tuple[bool, str]]:
    """Give each part that is imported, and whether that happens when the module is loaded."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue  # read by type checkers only
        if isinstance(node, ast.ImportFrom | ast.Import):
            yield from ((at_once, part) for part in _named(node))
        within = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from _imports(node, at_once=at_once and not within)


def _named(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    names = [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        names = [f"{node.module}.{name}" for name in names]
    for name in names:
        top, _, rest = name.partition(".")
        if top == PACKAGE and rest and rest.split(".")[0] in _TOPS:
            yield rest.split(".")[0]


_TOPS: Final = {path.stem for path in (ROOT / PACKAGE).iterdir() if path.stem != "__pycache__"}


def layers() -> list[str]:
    """Return the layers that import-linter holds, the top one first."""
    contracts = SETTINGS["tool"]["importlinter"]["contracts"]
    names = next(each["layers"] for each in contracts if each["name"] == "Layers import downwards only")
    return [name.removeprefix(f"{PACKAGE}.") for name in names]


def ordered(found: Mapping[str, Part], order: list[str]) -> list[Part]:
    """Put each part above all that it imports, the layers in the order of their contract.

    Raises
    ------
    SystemExit
        Where that cannot be done: some parts import each other.
    """
    below = {name: set(part.imports) & set(found) for name, part in found.items()}
    for upper, lower in pairwise(order):
        below[upper].add(lower)
    placed: list[str] = []
    while len(placed) < len(found):
        free = sorted(name for name in found if name not in placed and below[name] <= set(placed))
        if not free:
            raise SystemExit(f"these import each other: {sorted(set(found) - set(placed))}")
        # A side part stands as low as it can, so that it is near what it uses.
        placed.append(next((name for name in free if name not in order), free[0]))
    return [found[name] for name in reversed(placed)]


# ------------------------------------------------------------------------------------------------------ SVG

_LEFT, _BOX, _ROW, _TOP, _CELL = 24, 570, 40, 110, 34  # pixels
_LONGEST: Final = 92  # characters of a claim that fit into a box
_STYLE: Final = (
    "text{font:12px ui-sans-serif,system-ui,sans-serif;fill:#1f2933}"
    ".name{font-weight:600;font-size:14px}.claim{fill:#52606d}.small{fill:#52606d;font-size:11px}"
    ".layer{fill:#e0e7ff;stroke:#818cf8}.side{fill:#fff;stroke:#9fb3c8}"
    ".line{stroke:#e4e7eb}.self{fill:#243b53}.loads{fill:#4f46e5}"
    ".later{fill:#fff;stroke:#4f46e5;stroke-width:1.6}"
)


def svg(rows: list[Part], order: list[str]) -> str:
    """Return the drawing: a box for each part, and a mark where its row imports a column's part."""
    places = {part.name: number for number, part in enumerate(rows)}
    table = _LEFT + _BOX + 24
    width, height = table + _CELL * len(rows) + 40, _TOP + _ROW * len(rows) + 44
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="The parts of the package, and which imports which">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{height}" fill="#f8fafc"/>',
    ]
    for part in rows:
        lines += _column(part, table + _CELL * places[part.name] + _CELL // 2, height)
    for part in rows:
        lines += _row(part, places, "layer" if part.name in order else "side", table)
    lines += _legend(height - 16)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _column(part: Part, x: int, height: int) -> Iterator[str]:
    yield f'<line class="line" x1="{x}" y1="{_TOP}" x2="{x}" y2="{height - 44}"/>'
    yield f'<text transform="translate({x + 4},{_TOP - 10}) rotate(-55)">{part.name}</text>'


def _row(part: Part, places: Mapping[str, int], kind: str, table: int) -> Iterator[str]:
    y = _TOP + _ROW * places[part.name]
    middle, inset = y + _ROW // 2, 0 if kind == "layer" else 40
    claim = shorten(part.claim.replace("`", ""), _LONGEST, placeholder=" …")
    yield (
        f'<rect class="{kind}" x="{_LEFT + inset}" y="{y + 2}" width="{_BOX - inset}" '
        f'height="{_ROW - 4}" rx="5"/>'
    )
    yield f'<text class="name" x="{_LEFT + inset + 10}" y="{y + 17}">{part.name}</text>'
    yield f'<text class="claim small" x="{_LEFT + inset + 10}" y="{y + 31}">{escape(claim)}</text>'
    yield (
        f'<line class="line" x1="{_LEFT + _BOX}" y1="{middle}" x2="{table + _CELL * len(places)}" '
        f'y2="{middle}"/>'
    )
    for other, number in places.items():
        x = table + _CELL * number + _CELL // 2
        if other == part.name:
            yield f'<rect class="self" x="{x - 5}" y="{middle - 5}" width="10" height="10"/>'
        elif other in part.imports:
            mark = "loads" if other in part.loads else "later"
            title = f"<title>{part.name} imports {other}</title>"
            yield f'<circle class="{mark}" cx="{x}" cy="{middle}" r="6">{title}</circle>'


def _legend(y: int) -> Iterator[str]:
    told = [("loads", "imports it when it is loaded"), ("later", "imports it where it is used")]
    for number, (kind, words) in enumerate(told):
        x = _LEFT + 10 + 230 * number
        yield f'<circle class="{kind}" cx="{x}" cy="{y - 4}" r="6"/><text x="{x + 14}" y="{y}">{words}</text>'
    yield (
        f'<rect class="layer" x="{_LEFT + 470}" y="{y - 12}" width="16" height="16" rx="3"/>'
        f'<text x="{_LEFT + 494}" y="{y}">a layer of the contract; the others stand beside them</text>'
    )


def drawing() -> str:
    """Return the drawing of this checkout."""
    order = layers()
    return svg(ordered(parts(ROOT / PACKAGE), order), order)


if __name__ == "__main__":
    PICTURE.write_text(drawing(), "utf-8")
    sys.stdout.write(f"{PICTURE.relative_to(ROOT)}\n")
