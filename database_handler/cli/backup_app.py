"""The commands on backups: each calls the method of `Backups` that has its name."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib import import_module
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from database_handler.cli.console import PLAIN_EVERY, console
from database_handler.cli.options import Run
from database_handler.cli.program import app, command, group
from database_handler.core.exceptions import InvalidValue
from database_handler.database import Database

if TYPE_CHECKING:  # loaded by the commands that need them
    from database_handler.cli.backup_tables import FoundBackups
    from database_handler.operations.backup import Backup, Backups, Manifest, Pruned, Restored, Verified

__all__: list[str] = []

backup = typer.Typer(rich_markup_mode=None)
app.add_typer(backup, name="backup")

Place = Annotated[
    str, typer.Argument(metavar="PLACE", help="A folder, or a URL that fsspec reads, such as s3://bucket/x.")
]
Name = Annotated[
    str | None, typer.Argument(metavar="NAME", help="Which backup; default: the newest of the database.")
]
Programs = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="The folder of pg_dump and pg_restore; default: they are looked for."),
]
Jobs = Annotated[int, typer.Option(min=1, max=256, help="So many tables at a time.")]
Timeout = Annotated[float, typer.Option(metavar="SECONDS", help="Give up after so long; default: a day.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_DAY = 86_400.0


class Format(StrEnum):
    """What pg_dump writes."""

    CUSTOM = "custom"
    DIRECTORY = "directory"


def _backups(db: Database[Any], place: str, programs: str | None = None) -> "Backups":
    """Return the backups, and load how what is told of them is shown."""
    import_module("database_handler.cli.backup_tables")
    return db.backups(place, programs=programs)


@command(
    backup,
    "database-handler backup create var/backups",
    "database-handler backup create s3://bucket/films --jobs 4 --format directory",
)
def create(
    run: Run,
    place: Place,
    *,
    format: Annotated[Format, typer.Option(help="One stream, or a file for each table.")] = Format.CUSTOM,
    jobs: Jobs = 1,
    no_files: Annotated[bool, typer.Option("--no-files", help="Leave the originals out.")] = False,
    timeout: Timeout = _DAY,
    lock_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Wait so long for a table that somebody holds.")
    ] = 60.0,
    programs: Programs = None,
) -> "Backup":
    """Make a backup of rows, schema and originals, all of one moment. Exit code 2: an original is missing."""
    chosen: Literal["custom", "directory"] = "directory" if format is Format.DIRECTORY else "custom"
    with run.database() as db, _ended_in_order(), _progress() as told:
        return _backups(db, place, programs).create(
            format=chosen,
            jobs=jobs,
            files=not no_files,
            timeout=timeout,
            lock_timeout=lock_timeout,
            on_progress=told,
        )


@command(backup, "database-handler backup list var/backups", name="list")
def list_backups(run: Run, place: Place) -> "FoundBackups":
    """Show what lies in a place: when it was made, of what, and whether it is complete."""
    from database_handler.cli.backup_tables import FoundBackups

    with run.database() as db:
        backups = _backups(db, place)
        return FoundBackups(place=place, backups=backups.list())


@command(
    backup,
    "database-handler backup verify var/backups",
    "database-handler backup verify var/backups --server postgresql://spare/x",
)
def verify(
    run: Run,
    place: Place,
    name: Name = None,
    *,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="Make the scratch database on this server.")
    ] = None,
    jobs: Jobs = 1,
    timeout: Timeout = _DAY,
    programs: Programs = None,
) -> "Verified":
    """Restore a backup into a scratch database, compare, and drop it. Exit code 1: it is not as it was."""
    with run.database() as db, _ended_in_order(), _progress() as told:
        return _backups(db, place, programs).verify(
            name, jobs=jobs, server=server, timeout=timeout, on_progress=told
        )


@command(
    backup,
    "database-handler backup prune var/backups --keep-daily 14 --dry-run",
    "database-handler backup prune var/backups --yes",
)
def prune(
    run: Run,
    place: Place,
    *,
    keep_daily: Annotated[int, typer.Option(min=0, help="The newest of so many days (UTC).")] = 7,
    keep_weekly: Annotated[int, typer.Option(min=0, help="The newest of so many ISO weeks.")] = 4,
    keep_monthly: Annotated[int, typer.Option(min=0, help="The newest of so many months.")] = 12,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go.")] = False,
    yes: Yes = False,
) -> "Pruned":
    """Remove the backups that no rule keeps, and what was left unfinished. Asks first."""
    rules = {"daily": keep_daily, "weekly": keep_weekly, "monthly": keep_monthly}
    with run.database() as db:
        backups = _backups(db, place)
        if not dry_run and not yes:
            found = backups.prune(**rules, dry_run=True)
            if found.removed or found.leftovers or found.originals:
                run.agree(_question(found, place))
        return backups.prune(**rules, dry_run=dry_run)


def _question(found: "Pruned", place: str) -> str:
    gone = (*found.removed, *found.leftovers)
    named = "\n".join(f"  {name}" for name in gone)
    return (
        f"{named}\nRemove these {len(gone)} backups and {found.originals:,} originals "
        f"({found.bytes:,} bytes) from {place}, and keep {len(found.kept)}?"
    ).lstrip()


group(backup, "Make backups, prove them, and thin them out.")


@command(
    app,
    "database-handler restore var/backups --into films_restored",
    "database-handler restore var/backups --replace --yes",
)
def restore(
    run: Run,
    place: Place,
    name: Name = None,
    *,
    into: Annotated[str | None, typer.Option(metavar="NAME", help="A new database of this name.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of the database; the old one is kept beside it.")
    ] = False,
    drop_old: Annotated[bool, typer.Option("--drop-old", help="With --replace: drop the old one.")] = False,
    other_database: Annotated[
        bool, typer.Option("--other-database", help="With --replace: by a backup of another database.")
    ] = False,
    owners: Annotated[
        bool | None,
        typer.Option("--owners/--no-owners", help="Owners and rights too; default: if all roles are there."),
    ] = None,
    no_files: Annotated[bool, typer.Option("--no-files", help="Leave the file store alone.")] = False,
    migrate: Annotated[bool, typer.Option("--migrate", help="Bring it to the newest version.")] = False,
    jobs: Jobs = 1,
    timeout: Timeout = _DAY,
    programs: Programs = None,
    yes: Yes = False,
) -> "Restored":
    """Restore a backup into a new database, checked before it gets its name. Exit code 2: originals lack."""
    if (into is None) is not replace:
        raise InvalidValue("say where to: --into NAME for a new database, or --replace for the one in use")
    with run.database() as db:
        backups = _backups(db, place, programs)
        manifest = backups.manifest(name)
        if replace and not yes:
            run.agree(_replacing(manifest, db.config.name, drop_old))
        with _ended_in_order(), _progress() as told:
            return backups.restore(
                manifest.name,
                into=into,
                replace=replace,
                drop_old=drop_old,
                other_database=other_database,
                owners=owners,
                files=not no_files,
                migrate=migrate,
                jobs=jobs,
                timeout=timeout,
                on_progress=told,
            )


def _replacing(manifest: "Manifest", database: str, drop_old: bool) -> str:
    old = "DROP what is in it now" if drop_old else "keep what is in it now under another name"
    return (
        f"Replace the database {database} by the backup of {manifest.database} of "
        f"{manifest.snapshot:%Y-%m-%d %H:%M:%S} UTC, end its sessions, and {old}?"
    )


# ------------------------------------------------------------------------------------------ while it is done


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Have SIGTERM end a command as Ctrl-C does: its programs are ended, its scratch database dropped."""
    if current_thread() is not main_thread():
        yield
        return

    def stop(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt(number, frame is not None)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], object]]:
    """Show on standard error what is done: a bar on a terminal, otherwise a line now and then."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield _plain()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda doing, done, total: bar.update(task, description=doing, completed=done, total=total)


def _plain() -> Callable[[str, int, int], None]:
    screen, last = console(stderr=True), time.monotonic()

    def show(doing: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_EVERY:
            last = time.monotonic()
            screen.print(f"{doing}: {done:,} of {total:,}", markup=False)

    return show
