"""Each concern of the package has one address; what belongs to it is found nowhere else.

The rules read syntax trees, not lines, so that a docstring may speak of what code may not do.
"""

import ast
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import psycopg2
import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "database_handler"

Finder = Callable[[ast.Module], Iterator[ast.AST]]

EXECUTING = {"execute", "executemany", "callproc", "copy_expert", "copy_from", "copy_to", "mogrify"} | {
    "execute_batch",
    "execute_values",
}
SETTING = re.compile(r"\b(DB_[A-Z]|DATABASE_URL\b)")
CONTROL = re.compile(
    r"""\s* (
        (BEGIN | COMMIT | ROLLBACK | ABORT) \s*
            (; | $ | (TRANSACTION | WORK | ISOLATION | READ | NOT | DEFERRABLE | TO | AND | PREPARED) \b)
      | END \s* (; | (TRANSACTION | WORK) \b)  # alone it may close a CASE
      | START \s+ TRANSACTION \b
      | (SAVEPOINT | RELEASE (\s+ SAVEPOINT)?) \s+ ($ | \S+ \s* (; | $))
    )""",
    re.VERBOSE,
)
WORD_LISTS = (ast.Set, ast.Tuple, ast.List, ast.Dict, ast.Compare, ast.MatchValue)


def calls_of_the_driver(tree: ast.Module) -> Iterator[ast.AST]:
    """Calls that send SQL with the driver's own methods."""
    for node in nodes(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)) if name in EXECUTING:
                yield node


def driver_errors(tree: ast.Module) -> Iterator[ast.AST]:
    """Names that stand for `psycopg2.Error` or a class below it."""
    names = dict(imported_from_the_driver(tree))
    for node in nodes(tree):
        if isinstance(node, ast.Attribute | ast.Name) and is_driver_error(dotted(node, names)):
            yield node


def imported_from_the_driver(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What each imported name stands for, for imports out of psycopg2."""
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "psycopg2":
                    yield (alias.asname, alias.name) if alias.asname else ("psycopg2", "psycopg2")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "psycopg2":
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """The full name that an expression of names and dots stands for; empty for any other expression."""
    if isinstance(node, ast.Name):
        return names.get(node.id, "")
    if isinstance(node, ast.Attribute) and (front := dotted(node.value, names)):
        return f"{front}.{node.attr}"
    return ""


def is_driver_error(name: str) -> bool:
    module, _, attribute = name.rpartition(".")
    if not module.startswith("psycopg2"):
        return False
    try:
        found = getattr(import_module(module), attribute, None)
    except ImportError:  # the front is a class, not a module
        return False
    return isinstance(found, type) and issubclass(found, psycopg2.Error)


def environment_names(tree: ast.Module) -> Iterator[ast.AST]:
    """Reads of the environment, and text that names one of our variables."""
    for node in nodes(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr="environ" | "environb" | "getenv" | "putenv"):
                yield node
            case ast.ImportFrom(module="os", names=names) if {"environ", "getenv"} & {n.name for n in names}:
                yield node
    yield from (node for text, node, _ in texts(tree) if SETTING.search(text))


def transaction_control(tree: ast.Module) -> Iterator[ast.AST]:
    """Text that begins as a statement of transaction control, and calls of the driver's own `commit`."""
    for text, node, parent in texts(tree):
        # A word among others, or one that is compared with, is not text to send: so a lexer's tables read.
        if not isinstance(parent, WORD_LISTS) and CONTROL.match(text):
            yield node
    for node in nodes(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="commit")):
                yield node


@lru_cache(maxsize=1)
def nodes(tree: ast.Module) -> tuple[ast.AST, ...]:
    """All nodes of a tree: to walk one takes longer than all that the rules ask of it."""
    return tuple(ast.walk(tree))


def texts(tree: ast.Module) -> Iterator[tuple[str, ast.AST, ast.AST]]:
    """Every string of the code, its node and the node around it; docstrings and bare strings left out."""
    for parent in nodes(tree):
        if not isinstance(parent, ast.Expr):
            for node in ast.iter_child_nodes(parent):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value, node, parent


ADDRESSES: list[tuple[Finder, str]] = [
    (calls_of_the_driver, "core/session.py"),
    (driver_errors, "core/exceptions.py"),
    (environment_names, "config/settings.py"),
    (transaction_control, "core/transaction.py"),
]


Places = dict[str, list[str]]


@pytest.fixture(scope="module")
def found() -> dict[Finder, Places]:
    """What each rule finds, by module. All rules look at a tree before the next: together they are large."""
    places: dict[Finder, Places] = {finder: {} for finder, _ in ADDRESSES}
    for path in sorted(PACKAGE.rglob("*.py")):
        tree, name = ast.parse(path.read_text(encoding="utf-8")), path.relative_to(PACKAGE).as_posix()
        for finder, _ in ADDRESSES:
            told = [f"{name}:{getattr(node, 'lineno', 0)}: {ast.unparse(node)[:80]}" for node in finder(tree)]
            places[finder][name] = told
    return places


@pytest.mark.parametrize(("finder", "address"), ADDRESSES)
def test_concern_has_one_address(found: dict[Finder, Places], finder: Finder, address: str) -> None:
    assert [each for name, told in found[finder].items() if name != address for each in told] == []


@pytest.mark.parametrize(("finder", "address"), ADDRESSES)
def test_concern_is_found_at_its_address(found: dict[Finder, Places], finder: Finder, address: str) -> None:
    assert found[finder][address]


@pytest.mark.parametrize(
    ("finder", "code"),
    [
        (calls_of_the_driver, "cursor.execute('SELECT 1')"),
        (calls_of_the_driver, "execute_values(cursor, text, rows)"),
        (driver_errors, "import psycopg2\ntry: ...\nexcept psycopg2.Error: ..."),
        (driver_errors, "import psycopg2.errors\nraise psycopg2.errors.UniqueViolation"),
        (driver_errors, "from psycopg2 import OperationalError as Lost\nraise Lost"),
        (driver_errors, "import psycopg2.extensions as driver\nraise driver.QueryCanceledError"),
        (environment_names, "import os\nos.environ['HOME']"),
        (environment_names, "from os import getenv"),
        (environment_names, "config('DB_HOST')"),
        (environment_names, "help = f'set DATABASE_URL or {x}'"),
        (transaction_control, "send('BEGIN')"),
        (transaction_control, "text = f'BEGIN ISOLATION LEVEL {level};'"),
        (transaction_control, "send(f'SAVEPOINT {name}')"),
        (transaction_control, "send('ROLLBACK TO SAVEPOINT one')"),
        (transaction_control, "send(' COMMIT; SELECT 1')"),
        (transaction_control, "connection.commit()"),
    ],
)
def test_rule_finds(finder: Finder, code: str) -> None:
    assert list(finder(ast.parse(code)))


@pytest.mark.parametrize(
    ("finder", "code"),
    [
        (calls_of_the_driver, "session.run('SELECT 1')"),
        (driver_errors, "from psycopg2 import sql\nsql.SQL('x')"),
        (driver_errors, "import sqlite3\nraise sqlite3.Error"),
        (environment_names, "def load():\n    'Read DB_HOST from os.environ.'"),
        (transaction_control, "CONTROL = {'BEGIN', 'COMMIT'}"),
        (transaction_control, "if word == 'BEGIN': ..."),
        (transaction_control, "raise Unknown('COMMIT was sent, but no reply came')"),
        (transaction_control, "send('SELECT 1')"),
        (transaction_control, "text = f'CASE WHEN {x} THEN 1 END'"),
    ],
)
def test_rule_leaves(finder: Finder, code: str) -> None:
    assert not list(finder(ast.parse(code)))
