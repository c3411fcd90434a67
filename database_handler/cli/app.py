"""The commands with their options: each opens the database, calls one function, and prints what it returns.

A command added here gets the shared options, ``--json``, its table and its exit code from its value alone:
``@command`` registers it, `tables.laid_out` and `endings.ending` know the value's kind.
"""

import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import BaseModel

from database_handler import __version__
from database_handler.cli import commands
from database_handler.cli.console import console, progress
from database_handler.cli.endings import Ending, ending, silence_stdout, tell
from database_handler.cli.interrupts import interruptible
from database_handler.cli.options import Chosen, Run
from database_handler.cli.tables import show
from database_handler.core.exceptions import InvalidValue
from database_handler.migrations import MigrationManager, MigrationReport, MigrationStatus
from database_handler.operations.health import Health

__all__ = ["app", "run"]

F = TypeVar("F", bound=Callable[..., BaseModel])
PROGRAM = "database-handler"
_VERSION = inspect.Parameter(
    "version",
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    default=False,
    annotation=Annotated[bool, typer.Option("--version", help="Print the version.")],
)
_SHARED = inspect.signature(Chosen).parameters
_CODES = (
    "Exit codes: 0 done, 1 error, 2 something is pending, 4 a decision is needed, 6 a lock was not had, "
    "130 interrupted, 141 nobody reads the output."
)

# Without rich's boxes, help is plain wherever it is shown, and its examples can be copied.
app = typer.Typer(name=PROGRAM, rich_markup_mode=None, add_completion=False)
migrations = typer.Typer(rich_markup_mode=None)
app.add_typer(migrations, name="migrations")


# ------------------------------------------------------------------------------------------- how they are run


def command(group: typer.Typer, *examples: str) -> Callable[[F], F]:
    """Register a function from a `Run` and options to a value; its help is its docstring and the examples."""
    listed = "\n".join(f"  {example}" for example in examples)
    epilog = f"\b\nExample{'s' if len(examples) > 1 else ''}:\n{listed}"

    def register(function: F) -> F:
        def face(context: typer.Context, **given: Any) -> int:
            run = _started(context, given)
            value = function(run, **given)
            _print(value, as_json=run.chosen.as_json)
            return ending(value)

        _sign(face, list(inspect.signature(function).parameters.values())[1:])
        group.command(function.__name__, help=inspect.getdoc(function), epilog=epilog)(face)
        return function

    return register


def _sign(face: Callable[..., object], own: Sequence[inspect.Parameter] = ()) -> None:
    """Give a command the signature that its options are read from: its own, then the shared ones."""
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    face.__dict__["__signature__"] = inspect.Signature([context, *own, *_SHARED.values()])


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


def _group(
    group: typer.Typer, about: str, epilog: str = "", *, own: Sequence[inspect.Parameter] = ()
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
    group.callback(help=about, epilog=epilog, invoke_without_command=True)(start)


# ---------------------------------------------------------------------------------------------- the commands


@command(app, "database-handler init", "database-handler init --embedded var/pg")
def init(run: Run) -> commands.Initialised:
    """Create the database if it is missing, and migrate it."""
    with run.database(create=True) as db:
        return commands.initialise(db)


@command(app, "database-handler migrate", "database-handler migrate 0001 --dry-run")
def migrate(
    run: Run,
    target: Annotated[
        str | None, typer.Argument(help="A version's name or number; default: the last.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the SQL, and run nothing.")] = False,
) -> MigrationReport:
    """Bring the schema to the newest version, or to TARGET."""
    with run.database(create=True) as db:
        return MigrationManager(db).migrate(target, dry_run)


@command(migrations, "database-handler migrations status")
def status(run: Run) -> MigrationStatus:
    """Show every version: applied, pending, changed, missing. Exit code 2 when one is pending."""
    with run.database() as db:
        return MigrationManager(db).status()


@command(
    migrations,
    "database-handler migrations rollback --yes",
    "database-handler migrations rollback --target 0 --yes",
)
def rollback(
    run: Run,
    steps: Annotated[int | None, typer.Option(min=1, help="How many versions; default: 1.")] = None,
    target: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Undo all after this one; 0: all there are.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> MigrationReport:
    """Undo the last versions, with the data in what they made. Asks first."""
    if steps is not None and target is not None:
        raise InvalidValue("--steps is not allowed with --target: choose one")
    with run.database() as db:
        manager = MigrationManager(db)
        names = commands.to_roll_back(manager.status(), steps or 1, target)
        if names and not yes:
            run.agree(f"Roll back {', '.join(names)} in {db.config.name}, and lose the data in what it made?")
        return manager.rollback(steps or 1, target)


@command(app, "database-handler seed --sample", "database-handler seed --from texts --project 'My film'")
def seed(
    run: Run,
    sample: Annotated[bool, typer.Option("--sample", help="Store the sample project.")] = False,
    folder: Annotated[
        Path | None, typer.Option("--from", metavar="FOLDER", help="Store the documents below a folder.")
    ] = None,
    project: Annotated[
        str | None, typer.Option(metavar="NAME", help="The project they belong to (with --from).")
    ] = None,
) -> commands.Sampled | commands.Imported:
    """Store the sample project, or the documents of a folder. Run again, it rewrites nothing unchanged."""
    _check_seed(sample, folder, project)
    with run.database(create=True) as db:
        if run.chosen.embedded is not None:  # nobody else could have migrated it
            db.migrate()
        if folder is None or project is None:
            return commands.store_sample(db)
        with progress() as on_progress:
            return commands.import_documents(db, folder, project, on_progress)


def _check_seed(sample: bool, folder: Path | None, project: str | None) -> None:
    if sample and folder is not None:
        raise InvalidValue("--sample is not allowed with --from: choose one")
    if (folder is None) != (project is None):
        raise InvalidValue("--from FOLDER and --project NAME go together")
    if not sample and folder is None:
        raise InvalidValue("nothing to store: give --sample, or --from FOLDER and --project NAME")


@command(
    app,
    "database-handler search 'lighthouse keeper'",
    "database-handler search '\"at dawn\" -night' --language en",
)
def search(
    run: Run,
    query: Annotated[str, typer.Argument(help='As on the web: words, "a phrase", -not, or.')],
    project: Annotated[str | None, typer.Option(metavar="SLUG", help="Only in this project.")] = None,
    language: Annotated[str | None, typer.Option(metavar="CODE", help="Only in this language.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many texts.")] = 20,
) -> commands.Found:
    """Look words up in the texts, best first.

    Each text is searched in the stemming of its own language.
    """
    with run.database() as db:
        return commands.search(db, query, project=project, language=language, limit=limit)


@command(app, "database-handler health")
def health(run: Run) -> Health:
    """Show how the database is. Exit code 1: it does not answer, 2: its schema is not the expected one."""
    with run.database() as db:
        return db.health()


_group(app, "Keep a content-localisation pipeline in PostgreSQL.", _CODES, own=[_VERSION])
_group(migrations, "Show the versions of the schema, and roll them back.")
