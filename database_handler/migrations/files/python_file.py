"""A Python migration read without being run: its functions, what is wrong with them, and its hash.

The hash is over Python's tokens without comments, docstrings, blank lines and the way lines are broken, and
is the same for every Python that can run the file: an f-string counts as one token, as it did up to 3.11.
"""

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

from database_handler.core.sql_text import hash_tokens
from database_handler.migrations.errors import MalformedMigration
from database_handler.migrations.files.migration_values import Section, SectionKind

__all__ = ["python_hash", "read_functions"]

_ALLOWED = (
    "a Python migration has `def up(session):`, and may have `def verify(session):` and `def down(session):`;"
    " `def up(session, after):` is run in batches"
)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def read_functions(path: Path, text: str) -> tuple[Section, ...]:
    """Return a section for each of `up`, `verify` and `down` that the file has, in this order.

    Raises
    ------
    MalformedMigration
        It is not Python, has no `up`, or one of them cannot be called as it must be.
    """
    tree = _tree(path, text)
    functions = {node.name: node for node in tree.body if isinstance(node, Function)}
    if "up" not in functions:
        raise MalformedMigration(path, 1, f"no function `up`; {_ALLOWED}")
    found, apart = python_hash(text), python_hash(_without_down(text, functions.get("down")))
    return tuple(
        Section(
            kind,
            transactional=True,
            line=functions[kind.value].lineno,
            statements=(),
            token_hash=found,
            batched=_is_batched(path, functions[kind.value]),
            function=kind.value,
            apart_hash=apart,
        )
        for kind in SectionKind
        if kind.value in functions
    )


def _without_down(text: str, down: Function | None) -> str:
    """Return the file without its way down, which may be put right when the rest was run."""
    if down is None or down.end_lineno is None:
        return text
    first = min((each.lineno for each in down.decorator_list), default=down.lineno)
    lines = text.split("\n")
    return "\n".join([*lines[: first - 1], *lines[down.end_lineno :]])


def _tree(path: Path, text: str) -> ast.Module:
    try:
        return ast.parse(text, str(path))
    except SyntaxError as error:
        raise MalformedMigration(path, error.lineno or 1, f"it is not Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL character; nesting without an end
        raise MalformedMigration(path, 1, f"it is not Python: {type(error).__name__}") from None


def _is_batched(path: Path, function: Function) -> bool:
    """Say whether it is called again and again, and refuse what cannot be called so."""
    taken = [argument.arg for argument in function.args.posonlyargs + function.args.args]
    wrong = None
    if isinstance(function, ast.AsyncFunctionDef):
        wrong = "it is async, and nothing awaits it"
    elif any(_yields(statement) for statement in function.body):
        wrong = "it yields, so a call runs nothing of it; return where it stopped"
    elif function.args.vararg or function.args.kwarg or function.args.kwonlyargs:
        wrong = "it takes more than a session"
    elif len(taken) not in {1, 2} or taken[1:] not in ([], ["after"]):
        wrong = f"it takes ({', '.join(taken)})"
    elif taken[1:] and function.name == SectionKind.VERIFY:
        wrong = "it is called once, so there is no `after`"
    if wrong:
        raise MalformedMigration(path, function.lineno, f"`{function.name}`: {wrong}; {_ALLOWED}")
    return len(taken) == 2


def _yields(node: ast.AST) -> bool:
    if isinstance(node, ast.Yield | ast.YieldFrom):
        return True
    if isinstance(node, Function | ast.Lambda | ast.ClassDef):
        return False
    return any(_yields(child) for child in ast.iter_child_nodes(node))


# ------------------------------------------------------------------------------------------------------ hash

_DROPPED = frozenset({tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER})
_FRAMES = {tokenize.NEWLINE: "\n", tokenize.INDENT: "<indent>", tokenize.DEDENT: "<dedent>"}
# From 3.12 on an f-string, and from 3.14 on a t-string, comes in pieces, between these.
_OPENS = {getattr(tokenize, name, -1) for name in ("FSTRING_START", "TSTRING_START")} - {-1}
_CLOSES = {getattr(tokenize, name, -1) for name in ("FSTRING_END", "TSTRING_END")} - {-1}


def python_hash(text: str) -> str:
    """Return the SHA-256 of the tokens that mean something to Python; docstrings do not."""
    return hash_tokens(["-- python", *_without_docstrings(list(_tokens(text)))])


def _tokens(text: str) -> Iterator[str]:
    lines = io.StringIO(text).readlines()
    depth, opened = 0, (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in _OPENS:
            opened = opened if depth else token.start
            depth += 1
        elif token.type in _CLOSES:
            depth -= 1
            if not depth:
                yield _slice(lines, opened, token.end)
        elif not depth and token.type not in _DROPPED:
            yield _FRAMES.get(token.type, token.string)


def _slice(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    (first, left), (last, right) = start, end
    if first == last:
        return lines[first - 1][left:right]
    return "".join([lines[first - 1][left:], *lines[first : last - 1], lines[last - 1][:right]])


def _without_docstrings(found: list[str]) -> Iterator[str]:
    frames = {*_FRAMES.values()}
    skipping = False
    for place, text in enumerate(found):
        begins = place == 0 or found[place - 1] in frames
        alone = begins and found[place + 1 : place + 2] == ["\n"] and text.rstrip()[-1:] in ("'", '"')
        if not alone and not skipping:
            yield text
        skipping = alone  # its line's end goes with it
