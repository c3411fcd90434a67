"""The package stays within its yardsticks: short functions, and modules that say why they are long.

Docstrings, annotations and `print` are ruff's to watch.
"""

import ast
import io
import statistics
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "database_handler"
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FUNCTION = 40
LONG_MODULE = 300
NOT_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function of a module, and how many lines its body has without the docstring."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            last = node.end_lineno or node.lineno
            yield (
                f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}",
                last - body[0].lineno + 1 if body else 0,
            )


@cache
def lengths() -> dict[str, int]:
    return dict(each for path in MODULES for each in functions(path))


def test_no_function_is_long() -> None:
    assert {name: lines for name, lines in lengths().items() if lines > LONGEST_FUNCTION} == {}


def test_functions_are_short_as_a_rule() -> None:
    assert statistics.median(lengths().values()) <= 5
    assert statistics.quantiles(lengths().values(), n=10)[-1] <= 15


def lines_of_code(text: str) -> int:
    """How many lines hold code: neither blank, nor comment, nor docstring."""
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NOT_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            code.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(code)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_long_module_says_why(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if text.count("\n") <= LONG_MODULE:  # lines of all kinds, which are counted sooner
        return
    says_why = "one module" in (ast.get_docstring(ast.parse(text)) or "").lower()
    assert says_why or lines_of_code(text) <= LONG_MODULE, (
        f"over {LONG_MODULE} lines of code: split it, or say in its docstring why it is one module"
    )
