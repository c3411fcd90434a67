"""Write aio/repositories.py and aio/session.py from the synchronous classes: each signature stands once.

`python scripts/async_repositories.py` writes them; with `--check` it says whether they are current, and a
test does the same. Each method keeps its parameters, its types, its overloads and its docstring; what
returns an iterator becomes an asynchronous generator, and what takes an iterable takes an asynchronous one.
"""

import ast
import builtins
import inspect
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from database_handler.core import session
from database_handler.repositories import Repository
from database_handler.unit_of_work import Repositories

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "database_handler" / "aio"
# What has no counterpart: a unit and its savepoint take the place of these two.
LEFT_OUT = {"atomic", "undoable"}
ITERATORS = ("Generator", "Iterator")
TYPES = "collections.abc"
PARAMETERS = {"D", "R", "M"}

HEAD = '''"""{claim}

Written by ``scripts/async_repositories.py`` from the synchronous {what}: change that, run it again.
It is one module, however long, because nobody writes it.
"""
'''
CLAIMS = {
    "repositories": ("The repositories of the library, each call to be awaited.", "repositories"),
    "session": ("`AsyncSession`: SQL of your own, each call to be awaited.", "session"),
}


class Source:
    """A class with the text and the imports of its module."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.module: ModuleType = sys.modules[kind.__module__]
        self.tree = ast.parse(inspect.getsource(self.module))
        self.node = next(n for n in self.tree.body if isinstance(n, ast.ClassDef) and n.name == kind.__name__)

    def imports(self) -> dict[str, tuple[str, str, bool]]:
        """Each imported name: its module, its name there, and whether only type checkers import it."""
        found: dict[str, tuple[str, str, bool]] = {}
        for node, typing_only in _top(self.tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    found[alias.asname or alias.name] = (node.module, alias.name, typing_only)
            elif isinstance(node, ast.Import):
                found |= {alias.name: ("", alias.name, typing_only) for alias in node.names}
        return found

    def methods(self) -> Iterator[ast.FunctionDef]:
        """The public methods, overloads included."""
        for node in self.node.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                decorators = {ast.unparse(d) for d in node.decorator_list}
                if node.name not in LEFT_OUT and "property" not in decorators:
                    yield node

    def has_overloads(self, name: str) -> bool:
        """Whether a method has more than one signature."""
        return sum(each.name == name for each in self.methods()) > 1


def _object(module: str, name: str) -> object:
    return getattr(import_module(module), name) if module else import_module(name)


def _names(text: str) -> list[str]:
    return [each.id for each in ast.walk(ast.parse(text, mode="eval")) if isinstance(each, ast.Name)]


def _is_iterable(argument: ast.arg) -> bool:
    """Whether an asynchronous iterable may be given in its place: it takes no None, which is told apart."""
    annotation = argument.annotation
    return isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Iterable"


def _top(tree: ast.Module) -> Iterator[tuple[ast.stmt, bool]]:
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from ((each, True) for each in node.body)
        else:
            yield node, False


class Writer:
    """Writes one module."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.names: dict[str, tuple[str, str, bool]] = {}
        self.local: list[str] = []
        self.text: list[str] = []

    def use(self, name: str, module: str, original: str | None = None, *, typing_only: bool = False) -> str:
        """Have a name imported."""
        *home, only = self.names.get(name, (module, original or name, True))
        wanted = [module, original or name]
        assert home == wanted or _object(*home) is _object(*wanted), f"{name} is of {home} and of {wanted}"
        self.names[name] = (home[0], home[1], typing_only and only)
        return name

    def annotation(self, source: Source, node: ast.expr) -> str:
        """The text of an annotation, whose names are imported from where its module has them."""
        text = (
            node.value
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            else ast.unparse(node)
        )
        return self.quoted(self.imported(source, text))

    def imported(self, source: Source, text: str) -> str:
        """The text as it is, with what it names imported."""
        known = source.imports()
        for name in _names(text):
            if name in known:
                module, original, typing_only = known[name]
                self.use(name, module, original, typing_only=typing_only)
            elif name not in PARAMETERS and not hasattr(builtins, name):
                self.use(name, source.module.__name__)
        return text

    def quoted(self, text: str) -> str:
        """The text in quotes where it names what only type checkers import."""
        return f'"{text}"' if any(self.names.get(name, ("", "", False))[2] for name in _names(text)) else text

    # ------------------------------------------------------------------------------------------ methods

    def method(self, source: Source, node: ast.FunctionDef) -> Iterator[str]:
        """The lines of one method."""
        is_overload = any(ast.unparse(each) == "overload" for each in node.decorator_list)
        assert node.returns is not None, node.name
        iterates = ast.unparse(node.returns).startswith(ITERATORS)
        returned = self.iterator(source, node.returns) if iterates else self.annotation(source, node.returns)
        if is_overload:
            yield f"@{self.use('overload', 'typing')}"
        signature, call = self.arguments(source, node.args)
        end = " ..." if is_overload else ""
        yield f"{'' if iterates else 'async '}def {node.name}({signature}) -> {returned}:{end}"
        if not is_overload:
            yield from self.body(source, node, call, returned, iterates=iterates)

    def iterator(self, source: Source, node: ast.expr) -> str:
        """The annotation of what gives such items asynchronously."""
        assert isinstance(node, ast.Subscript)
        item = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) else node.slice
        return f"{self.use('AsyncGenerator', TYPES)}[{self.annotation(source, item)}, None]"

    def body(
        self, source: Source, node: ast.FunctionDef, call: str, returned: str, *, iterates: bool
    ) -> Iterator[str]:
        """The docstring, and the call in a thread."""
        if text := ast.get_docstring(node):
            yield f'    """{text}'.replace("\n", "\n    ") + ("\n    " if "\n" in text else "") + '"""'
        sync = f"self.sync.{node.name}"
        if overloaded := source.has_overloads(node.name):  # which a call from the one body cannot tell apart
            yield f"    sync: {self.use('Any', 'typing')} = {sync}"
            sync = "sync"
        for name in self.gathering(node.args):
            yield f"    given = await {self.use('gathered', 'database_handler.aio.calls')}({name})"
        if iterates:
            batch = ", batch" if any(a.arg == "batch" for a in node.args.kwonlyargs) else ""
            yield f"    return self.calls.iterate(lambda: {sync}({call}){batch})"
        elif overloaded:
            yield f"    found: {returned} = await self.calls.call(lambda: {sync}({call}))"
            yield "    return found"
        else:
            give = "" if returned == "None" else "return "
            yield f"    {give}await self.calls.call(lambda: {sync}({call}))"

    @staticmethod
    def gathering(arguments: ast.arguments) -> list[str]:
        """The parameters that may be asynchronous iterables."""
        return [a.arg for a in (*arguments.args, *arguments.kwonlyargs) if _is_iterable(a)]

    def arguments(self, source: Source, given: ast.arguments) -> tuple[str, str]:
        """The parameters, and the arguments of a call that passes them on."""
        parts, call = ["self"], []
        positional = [*given.posonlyargs, *given.args]
        defaults = [None] * (len(positional) - len(given.defaults)) + list(given.defaults)
        for place, (argument, default) in enumerate(zip(positional, defaults, strict=True)):
            if place:
                parts.append(self.parameter(source, argument, default))
                call.append("given" if _is_iterable(argument) else argument.arg)
            if place + 1 == len(given.posonlyargs):
                parts.append("/")
        if given.vararg:
            parts.append(f"*{self.parameter(source, given.vararg, None)}")
            call.append(f"*{given.vararg.arg}")
        elif given.kwonlyargs:
            parts.append("*")
        for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
            parts.append(self.parameter(source, argument, default))
            call.append(f"{argument.arg}={'given' if _is_iterable(argument) else argument.arg}")
        if given.kwarg:
            parts.append(f"**{self.parameter(source, given.kwarg, None)}")
            call.append(f"**{given.kwarg.arg}")
        return ", ".join(parts), ", ".join(call)

    def parameter(self, source: Source, argument: ast.arg, default: ast.expr | None) -> str:
        """The text of one parameter."""
        assert argument.annotation is not None, argument.arg
        kind = self.annotation(source, argument.annotation)
        if _is_iterable(argument):
            kind = f"{kind} | {self.use('AsyncIterable', TYPES)}{kind.removeprefix('Iterable')}"
        if default is None:
            return f"{argument.arg}: {kind}"
        return f"{argument.arg}: {kind} = {self.imported(source, ast.unparse(default))}"

    # ------------------------------------------------------------------------------------------ classes

    def finished(self, exported: list[str]) -> str:
        """The whole module, formatted."""
        claim, what = CLAIMS[self.module]
        lines = [HEAD.format(claim=claim, what=what)]
        checking = [name for name, (_, _, typing_only) in self.names.items() if typing_only]
        if checking:
            self.use("TYPE_CHECKING", "typing")
        lines += [_import(name, *self.names[name][:2]) for name in sorted(self.names) if name not in checking]
        if checking:
            lines += ["if TYPE_CHECKING:"]
            lines += [f"    {_import(name, *self.names[name][:2])}" for name in sorted(checking)]
        lines += ["", f"__all__ = {sorted(exported)!r}", "", *self.local, "", *self.text]
        return _formatted("\n".join(lines) + "\n", FOLDER / f"{self.module}.py")


def _import(name: str, module: str, original: str) -> str:
    if not module:
        return f"import {name}"
    return f"from {module} import {original}" + ("" if name == original else f" as {name}")


def _formatted(text: str, path: Path) -> str:
    for command in (["check", "--fix", "--quiet", "--exit-zero", "--select", "I"], ["format", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(path), "-"]
        text = subprocess.run(ruff, cwd=ROOT, input=text, capture_output=True, text=True, check=True).stdout
    return text


# --------------------------------------------------------------------------------------------- repositories


def classes() -> list[type[Repository[Any, Any]]]:
    """The classes of all repositories, each after those it is made of."""
    found: dict[type[Repository[Any, Any]], None] = {}
    for repository in Repositories.entities().values():
        for kind in reversed(repository.__mro__):
            if issubclass(kind, Repository):
                found[kind] = None
    return list(found)


def named(kind: type) -> str:
    """The name of the class that is written for one."""
    return f"Async{kind.__name__}"


def base_of(writer: Writer, source: Source, node: ast.expr) -> str:
    """The base that is written for one."""
    text = writer.annotation(source, node)
    name, bracket, rest = text.partition("[")
    if name == "Generic":
        return text
    return f"Async{name}{bracket}{rest}"


def repository(writer: Writer, kind: type[Repository[Any, Any]]) -> None:
    """Write a class."""
    source = Source(kind)
    writer.use(kind.__name__, kind.__module__)
    generic = kind is Repository
    bases = ", ".join(base_of(writer, source, base) for base in source.node.bases)
    parameters = "[D, R]" if getattr(kind, "__parameters__", ()) else ""
    out = writer.text
    out += ["", f"class {named(kind)}({bases}):"]
    first = (ast.get_docstring(source.node) or "").splitlines()[0]
    out += [f'    """{first}"""', ""]
    if generic:
        out += ["    repository: ClassVar[type[Repository[Any, Any]]]", ""]
        writer.use("ClassVar", "typing")
        writer.use("Calls", "database_handler.aio.calls")
        out += ["    def __init__(self, calls: Calls, repository: Repository[D, R]) -> None:"]
        out += ["        self.calls = calls", "        self._repository: Any = repository", ""]
    elif not parameters and "record" in vars(kind):
        out += [f"    repository = {kind.__name__}"]
        draft = writer.use(vars(kind)["draft"].__name__, "database_handler.models")
        record = writer.use(vars(kind)["record"].__name__, "database_handler.models")
        writer.use("AsyncCreate", "database_handler.aio.calls")
        out += [f"    create = AsyncCreate({draft}, {record})", ""]
    out += ["    @property", f"    def sync(self) -> {kind.__name__}{parameters}:"]
    out += ['        """The synchronous repository, for use in a worker thread."""']
    writer.use("Any", "typing")
    out += [f"        found: {kind.__name__}{parameters} = self._repository", "        return found", ""]
    for node in source.methods():
        out += [f"    {line}" if line else "" for line in "\n".join(writer.method(source, node)).split("\n")]
        out += [""]


def repositories_text() -> str:
    """Return the text of repositories.py."""
    writer = Writer("repositories")
    writer.use("TypeVar", "typing")
    writer.use("Draft", "database_handler.core.base_model")
    writer.use("Record", "database_handler.core.base_model")
    writer.local = ['D = TypeVar("D", bound=Draft)', 'R = TypeVar("R", bound=Record)']
    every = classes()
    for kind in every:
        repository(writer, kind)
    return writer.finished([named(kind) for kind in every])


def session_text() -> str:
    """Return the text of session.py."""
    writer = Writer("session")
    source = Source(session.Session)
    writer.use("TypeVar", "typing")
    writer.use("BaseModel", "pydantic")
    writer.use("Session", "database_handler.core.session")
    writer.use("Calls", "database_handler.aio.calls")
    writer.local = ['M = TypeVar("M", bound=BaseModel)']
    writer.text += ["class AsyncSession:", f'    """{ast.get_docstring(source.node)}'.replace("\n", "\n    ")]
    writer.text += ['    """', "", "    def __init__(self, calls: Calls, session: Session) -> None:"]
    writer.text += ["        self.calls = calls", "        self.sync = session", ""]
    for node in source.methods():
        writer.text += [
            f"    {line}" if line else "" for line in "\n".join(writer.method(source, node)).split("\n")
        ]
        writer.text += [""]
    return writer.finished(["AsyncSession"])


def texts() -> dict[Path, str]:
    """Return what each file is to hold."""
    return {FOLDER / "repositories.py": repositories_text(), FOLDER / "session.py": session_text()}


def main() -> int:
    """Write the files, or say which are not current."""
    old = [path for path, text in texts().items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in old:
            print(f"{path.relative_to(ROOT)} is not current: run python scripts/async_repositories.py")
        return 1 if old else 0
    for path, text in texts().items():
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
