"""How commands are made and run: the shared options, ``--json``, tables and exit codes come from here.

``@command`` registers a function from a `Run` and options to a value; `tables.laid_out` and
`endings.ending` know the value's kind.
"""

import inspect
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel

from database_handler import __version__
from database_handler.cli.console import console, waiting
from database_handler.cli.endings import Ending, ending, silence_stdout, tell
from database_handler.cli.interrupts import interruptible
from database_handler.cli.options import Chosen, Run
from database_handler.cli.report_tables import show

__all__ = ["CODES", "VERSION", "app", "command", "group", "run"]

F = TypeVar("F", bound=Callable[..., BaseModel])
PROGRAM = "database-handler"
CODES = (
    "Exit codes: 0 done, 1 error, 2 something is pending, 3 the schema has drifted, 4 a decision is needed, "
    "5 lint, 6 a lock was not had, 130 interrupted, 141 nobody reads the output."
)
VERSION = inspect.Parameter(
    "version",
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    default=False,
    annotation=Annotated[bool, typer.Option("--version", help="Print the version.")],
)
_SHARED = inspect.signature(Chosen).parameters

# Without rich's boxes, help is plain wherever it is shown, and its examples can be copied.
app = typer.Typer(name=PROGRAM, rich_markup_mode=None, add_completion=False)


def command(parent: typer.Typer, *examples: str, name: str | None = None) -> Callable[[F], F]:
    """Register a function from a `Run` and options to a value; its help is its docstring and the examples."""
    listed = "\n".join(f"  {example}" for example in examples)
    epilog = f"\b\nExample{'s' if len(examples) > 1 else ''}:\n{listed}\n\n{CODES}"

    def register(function: F) -> F:
        def face(context: typer.Context, **given: Any) -> int:
            run = _started(context, given)
            with nullcontext() if run.logs else waiting(_words(context)):
                value = function(run, **given)
            _print(value, as_json=run.chosen.as_json)
            return ending(value)

        _sign(face, list(inspect.signature(function).parameters.values())[1:])
        parent.command(name or function.__name__, help=inspect.getdoc(function), epilog=epilog)(face)
        return function

    return register


def _words(context: typer.Context) -> str:
    """Return the words by which a command was called, without the program's."""
    return context.command_path.removeprefix(PROGRAM).strip()


def _sign(face: Callable[..., object], own: Sequence[inspect.Parameter] = ()) -> None:
    """Give a command the signature that its options are read from: its own, then the shared ones."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    context = inspect.Parameter("context", kind, annotation=typer.Context)
    options = [each.replace(kind=kind) for each in own]
    face.__dict__["__signature__"] = inspect.Signature([context, *options, *_SHARED.values()])


def _started(context: typer.Context, given: dict[str, Any]) -> Run:
    """Take the shared options out of those given."""
    chosen = Chosen(**{name: given.pop(name) for name in _SHARED})
    return Run(chosen.over(context.obj))


def _print(value: BaseModel, *, as_json: bool) -> None:
    if as_json:
        print(value.model_dump_json(ensure_ascii=True))
    else:
        show(console(), value)


def run(arguments: Sequence[str], *, misuse: int = 1) -> int:
    """Run the command line as it was typed; return its exit code, having told its error if there was one.

    Parameters
    ----------
    misuse : int
        The exit code of a wrong setting or option.
    """
    try:
        with interruptible(Ending.INTERRUPTED):
            code = _invoked(arguments)
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()
        return Ending.BROKEN_PIPE
    except (KeyboardInterrupt, typer.Abort):
        return Ending.INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the last place where it can be told in a line
        wants = set(arguments)  # and not what was read of them: it may be they that are wrong
        return tell(error, as_json="--json" in wants, verbose="--verbose" in wants, misuse=misuse)
    return code


def _invoked(arguments: Sequence[str]) -> int:
    program = typer.main.get_command(app)
    try:
        with program.make_context(PROGRAM, list(arguments)) as context:
            return int(program.invoke(context) or 0)
    except typer.Exit as done:  # --help and --version
        return done.exit_code


def group(
    parent: typer.Typer, about: str, epilog: str = "", *, own: Sequence[inspect.Parameter] = ()
) -> None:
    """Let a group take the shared options too, and print its help where no command is named."""

    def start(context: typer.Context, version: bool = False, **given: Any) -> None:
        context.obj = Chosen(**given).over(context.obj)
        if version:
            print(f"{PROGRAM} {__version__}")
            raise typer.Exit
        if context.invoked_subcommand is None:
            print(context.get_help())

    _sign(start, own)
    parent.callback(help=about, epilog=epilog, invoke_without_command=True)(start)
