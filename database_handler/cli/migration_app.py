"""The commands on versions of the schema: each calls the method of `MigrationManager` that has its name."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from database_handler.cli import commands, migration_tables
from database_handler.cli.console import console
from database_handler.cli.migration_reports import LintRules, lint_rules
from database_handler.cli.options import Run
from database_handler.cli.program import app, command, group
from database_handler.core.exceptions import InvalidValue
from database_handler.database import Database
from database_handler.migrations import MigrationManager, MigrationReport, MigrationStatus

if TYPE_CHECKING:
    from database_handler.migrations.generation.checking import Checked, Verified
    from database_handler.migrations.generation.generating import Generated
    from database_handler.migrations.generation.squashing import Squashed
    from database_handler.migrations.live.adopting import Adopted
    from database_handler.migrations.live.baseline import BaselineReport
    from database_handler.migrations.live.comparing import Comparison
    from database_handler.migrations.live.drift import DriftReport
    from database_handler.migrations.live.linting import LintReports
    from database_handler.migrations.live.lock_file import Locked
    from database_handler.migrations.live.preflight import PreflightReport
    from database_handler.migrations.runner.many_schemas import SchemaOutcome, SchemasReport

__all__ = ["migration_tables"]

migrations = typer.Typer(rich_markup_mode=None)
app.add_typer(migrations, name="migrations")

Versions = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Work on this folder of versions, and on nothing else."),
]
Message = Annotated[
    str, typer.Option("--message", "-m", metavar="TEXT", help="What it does, in a few words.")
]
Drop = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=REASON", help="What may be dropped, and why: 'notes.body=moved'."),
]


def _manager(db: Database[Any], versions: Path | None) -> MigrationManager:
    """Return the library's manager, the application's, or that of the folder that was named."""
    return db.migrations if versions is None else MigrationManager(db.config, versions)


def _asked(db: Database[Any], versions: Path | None) -> MigrationManager:
    """Return the manager, and load how the answers of the larger questions are shown."""
    import_module("database_handler.cli.version_tables")
    return _manager(db, versions)


def _unreadable(db: Database[Any], *, dry_run: bool) -> AbstractContextManager[None]:
    """Keep everything in the cache unreadable meanwhile: versions may change any row."""
    return nullcontext() if dry_run or db.cache is None else db.cache.announced_everything()


def _pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in given or ():
        name, separator, value = each.partition("=")
        if not (separator and name.strip() and value.strip()):
            raise InvalidValue(
                f"{option}: NAME=TEXT is wanted, such as {option} 'notes.body=moved to documents'"
            )
        found[name.strip()] = value.strip()
    return found


# ------------------------------------------------------------------------------------------- up, down, status


@command(
    app,
    "database-handler migrate",
    "database-handler migrate 0004 --dry-run",
    "database-handler migrate --each-schema 'tenant_%' --jobs 8",
)
def migrate(
    run: Run,
    *,
    target: Annotated[
        str | None, typer.Argument(help="A version's name or number; default: the last.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the SQL and the locks it takes, and run nothing.")
    ] = False,
    each_schema: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="Every schema whose name is LIKE this.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="So many schemas at a time.")] = 4,
    or_newer: Annotated[
        bool, typer.Option("--or-newer", help="Accept a database that a newer release has migrated.")
    ] = False,
    versions: Versions = None,
) -> "MigrationReport | SchemasReport":
    """Bring the schema to the newest version, or to TARGET. Any number of processes may run it at once."""
    if or_newer and each_schema is not None:
        raise InvalidValue("--or-newer is not allowed with --each-schema")
    with run.database(create=True) as db:
        manager = _manager(db, versions)
        if each_schema is None and versions is None and not dry_run:
            return db.migrate(target, or_newer=or_newer)
        if each_schema is None:
            with _unreadable(db, dry_run=dry_run):
                return manager.migrate(target, dry_run, or_newer=or_newer)
        if dry_run:
            raise InvalidValue("--dry-run is not allowed with --each-schema: try it on one of them")
        with _schemas_done() as progress:
            return manager.migrate_schemas(each_schema, target=target, jobs=jobs, progress=progress)


@contextmanager
def _schemas_done() -> Iterator[Callable[["SchemaOutcome", int, int], None]]:
    """Show on standard error which schemas are done: a bar on a terminal, otherwise a line for each."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield lambda outcome, done, total: print(
            f"{done} of {total}: {migration_tables.outcome_line(outcome)}", file=sys.stderr
        )
        return
    columns = (TextColumn("migrating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("schemas", total=None)
        yield lambda _, done, total: bar.update(task, completed=done, total=total)


@command(migrations, "database-handler migrations status")
def status(run: Run, versions: Versions = None) -> MigrationStatus:
    """Show every version: applied, pending, changed, missing. Exit code 2 when one is pending."""
    with run.database() as db:
        return _manager(db, versions).status()


@command(
    migrations,
    "database-handler migrations rollback --yes",
    "database-handler migrations rollback --target 0 --yes",
)
def rollback(
    run: Run,
    *,
    steps: Annotated[int | None, typer.Option(min=1, help="How many versions; default: 1.")] = None,
    target: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Undo all after this one; 0: all there are.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the SQL and the locks it takes, and run nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    versions: Versions = None,
) -> MigrationReport:
    """Undo the last versions, with the data in what they made. Asks first."""
    if steps is not None and target is not None:
        raise InvalidValue("--steps is not allowed with --target: choose one")
    with run.database() as db:
        manager = _manager(db, versions)
        names = () if dry_run else commands.to_roll_back(manager.own_status(), steps or 1, target)
        if names and not yes:
            run.agree(f"Roll back {', '.join(names)} in {db.config.name}, and lose the data in what it made?")
        with _unreadable(db, dry_run=dry_run):
            return manager.rollback(steps or 1, target, dry_run)


# ------------------------------------------------------------------------------------------- writing versions


@command(
    migrations,
    "database-handler migrations generate -m 'add owner to projects'",
    "database-handler migrations generate -m tidy --drop 'notes.body=unused'",
)
def generate(run: Run, message: Message, drop: Drop = None, versions: Versions = None) -> "Generated":
    """Write the version that brings the schema to what the models say.

    Its up and down are run on scratch copies before it is written; the proof stands in its header.
    Exit code 4 when a decision is needed: the message is what to write.
    """
    with run.database() as db:
        return _asked(db, versions).generate(message, drop=_pairs(drop, "--drop"))


@command(migrations, "database-handler migrations lock")
def lock(run: Run, versions: Versions = None) -> "Locked":
    """Put files that were written by hand on record in versions.lock.

    Refused where this database has applied one that is not what it was.
    """
    with run.database() as db:
        return _asked(db, versions).lock()


@command(
    migrations,
    "database-handler migrations squash 0002 --versions app/versions",
)
def squash(
    run: Run,
    upto: Annotated[str, typer.Argument(metavar="VERSION", help="The last of the versions to put together.")],
    versions: Versions = None,
) -> "Squashed":
    """Write one file in the place of all versions up to VERSION, proven to make the same schema.

    Databases that have applied those versions take it for applied.
    """
    with run.database() as db:
        return _asked(db, versions).squash(upto)


@command(
    migrations,
    "database-handler migrations baseline 0004 --versions app/versions",
    "database-handler migrations baseline --write --versions old/versions",
)
def baseline(
    run: Run,
    *,
    version: Annotated[
        str | None, typer.Argument(metavar="VERSION", help="The version whose schema it has.")
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the first version out of the schema instead.")
    ] = False,
    message: Annotated[
        str, typer.Option("--message", "-m", metavar="TEXT", help="What that one is called.")
    ] = "baseline",
    allow_differences: Annotated[
        bool, typer.Option("--allow-differences", help="Record it though the schema is another one.")
    ] = False,
    versions: Versions = None,
) -> "BaselineReport":
    """Take over an existing database: record versions as applied without running them.

    Refused with exit code 3 where the schema is not what they make.
    """
    if write == (version is not None):
        raise InvalidValue("give the VERSION that the database is at, or --write")
    with run.database() as db:
        manager = _asked(db, versions)
        if version is None:
            return manager.write_baseline(message)
        return manager.baseline(version, allow_differences=allow_differences)


# -------------------------------------------------------------------------------------------------- questions


@command(migrations, "database-handler migrations check")
def check(run: Run, versions: Versions = None) -> "Checked":
    """Say whether the models have changes that no version makes: exit code 2. For CI."""
    with run.database() as db:
        return _asked(db, versions).check()


@command(migrations, "database-handler migrations verify")
def verify(run: Run, versions: Versions = None) -> "Verified":
    """Play all versions on a scratch copy: they make what the models say, and each down restores.

    Exit code 1 when one does not.
    """
    with run.database() as db:
        return _asked(db, versions).verify()


@command(
    migrations,
    "database-handler migrations drift",
    "database-handler migrations drift --adopt -m 'index added by hand'",
)
def drift(
    run: Run,
    *,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Write a version that makes it part of the files.")
    ] = False,
    message: Annotated[
        str | None, typer.Option("--message", "-m", metavar="TEXT", help="What that version is called.")
    ] = None,
    drop: Drop = None,
    renamed: Annotated[
        list[str] | None, typer.Option(metavar="OLD=NEW", help="What was renamed: 'notes.body=notes.text'.")
    ] = None,
    backfill: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=SQL", help="For rows elsewhere: \"notes.owner='nobody'\"."),
    ] = None,
    versions: Versions = None,
) -> "DriftReport | Adopted":
    """Compare the live schema with what its versions made of it: exit code 3 when it has changed since.

    With --adopt, other databases get the same change by the version that is written.
    """
    if adopt != (message is not None):
        raise InvalidValue("--adopt and --message go together")
    with run.database() as db:
        manager = _asked(db, versions)
        if message is None:
            return manager.drift()
        wishes = {"renamed": renamed, "drop": drop, "backfill": backfill}
        return manager.adopt(message, **{name: _pairs(given, f"--{name}") for name, given in wishes.items()})


@command(migrations, "database-handler migrations compare postgresql://staging/films")
def compare(
    run: Run,
    other: Annotated[str, typer.Argument(metavar="URL", help="The other database.")],
    versions: Versions = None,
) -> "Comparison":
    """Compare with another database: versions, and schemas, statement by statement.

    Exit code 3 when the schemas differ, 2 when only the versions do.
    """
    with run.database() as db:
        return _asked(db, versions).compare(other)


@command(migrations, "database-handler migrations preflight")
def preflight(
    run: Run,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="The most for each look at a table.")
    ] = 30.0,
    read_from: Annotated[
        str | None, typer.Option(metavar="URL", help="Count rows on this standby of the database.")
    ] = None,
    versions: Versions = None,
) -> "PreflightReport":
    """Look for what would make the pending versions fail or wait: rows, sizes, transactions.

    It only reads, and takes no lock that anybody waits for. Exit code 4 when rows are in the way.
    """
    with run.database() as db:
        return _asked(db, versions).preflight(timeout=timeout, read_from=read_from)


@command(
    migrations,
    "database-handler migrations lint",
    "database-handler migrations lint --rules",
)
def lint(
    run: Run,
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILES", help="Only these; default: what is pending.")
    ] = None,
    rules: Annotated[bool, typer.Option("--rules", help="List the rules instead.")] = False,
    sizes: Annotated[
        bool, typer.Option("--sizes", help="What waits for a table that is small here is only noted.")
    ] = False,
    versions: Versions = None,
) -> "LintReports | LintRules":
    """Find statements that lock, rewrite or lose more than they need to: exit code 5.

    A line `-- lint: allow RULE because ...` in the file allows one.
    """
    if rules:
        import_module("database_handler.cli.version_tables")
        return lint_rules()
    with run.database() as db:
        return _asked(db, versions).lint(files or (), sizes=sizes)


group(migrations, "Show the versions of the schema, make new ones, and keep files and database one.")
