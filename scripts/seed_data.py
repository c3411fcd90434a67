#!/usr/bin/env python3
"""Fill the database: with the sample project, or with the documents of a folder.

Safe to run again: files that did not change are not rewritten. Ends with 0 when every file is accounted for,
also when some were refused (they are listed with their reasons), with 1 when the database or the folder
failed, with 2 when a setting or an option is wrong.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from database_handler import Database, NewProject
from database_handler.cli.seed import SampleReport, import_folder, load_sample
from database_handler.content.folder import FileReport, FolderReport, Outcome
from database_handler.core.exceptions import (
    ConfigurationError,
    DatabaseHandlerError,
    InvalidValue,
    SchemaMismatch,
)

PLAIN_EVERY = 5.0  # seconds between two lines of progress where there is no bar
SHOWN = 50  # refused files listed before the rest is only counted; --json lists them all


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; a wrong one ends the program with 2."""
    parser = argparse.ArgumentParser(
        description="Fill the database with the sample project or with documents."
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--sample", action="store_true", help="store the sample project")
    what.add_argument("--from", dest="folder", metavar="FOLDER", help="store the documents of a folder")
    parser.add_argument("--project", metavar="NAME", help="the project that they belong to (with --from)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--database-url", metavar="URL", help="postgresql://... (default: the settings)")
    where.add_argument("--embedded", metavar="PATH", help="a PostgreSQL of its own, with its data below PATH")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args(arguments)
    if (chosen.folder is None) != (chosen.project is None):
        parser.error("--from FOLDER and --project NAME go together")
    return chosen


@contextmanager
def opened(chosen: argparse.Namespace) -> Iterator[Database]:
    """Open what the options name; an embedded one is migrated too, since nobody else could have done it."""
    if chosen.database_url is not None:
        db = Database(chosen.database_url)
    elif chosen.embedded is not None:
        db = Database.embedded(chosen.embedded)
    else:
        db = Database.from_settings()
    with db:
        if chosen.embedded is not None:
            db.migrate()
        yield db


@contextmanager
def progress(console: Console) -> Iterator[Callable[[FileReport, int, int], None]]:
    """Show how far the import is: a bar on a terminal, otherwise a line now and then."""
    if not console.is_terminal or console.no_color:
        yield plain_progress(console)
        return
    columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("files", total=None)
        yield lambda _, done, total: bar.update(task, completed=done, total=total)


def plain_progress(console: Console) -> Callable[[FileReport, int, int], None]:
    """Return a progress call that writes a line at most every few seconds."""
    last = time.monotonic()

    def show(_: FileReport, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PLAIN_EVERY:
            last = time.monotonic()
            console.print(f"{done} of {total} files", markup=False)

    return show


def folder_json(report: FolderReport, seconds: float) -> dict[str, object]:
    """Return what became of a folder as plain values."""
    return {
        "counts": report.counts,
        "seconds": round(seconds, 3),
        "hidden": report.hidden,
        "files": [
            {name: str(value) for name, value in asdict(file).items() if value is not None}
            for file in report.files
        ],
    }


def show_folder(console: Console, report: FolderReport, seconds: float) -> None:
    """Print the outcomes as a table, and every refused file with its reason."""
    lines = SIMPLE_HEAD if console.is_terminal else None
    table = Table("outcome", box=lines, pad_edge=False)
    table.add_column("files", justify="right")
    for outcome, count in report.counts.items():
        table.add_row(outcome.value, str(count))
    table.add_row("together", str(len(report.files)))
    console.print(table)
    for file in report.of(Outcome.REFUSED)[:SHOWN]:
        console.print(f"refused ({file.reason}) {file.path}: {file.message}", markup=False, soft_wrap=True)
    if (more := len(report.of(Outcome.REFUSED)) - SHOWN) > 0:
        console.print(f"... and {more} more refused; --json lists them all", markup=False)
    if report.hidden:
        console.print(
            f"{len(report.hidden)} hidden names left out: {', '.join(report.hidden[:5])}", markup=False
        )
    rate = len(report.files) / seconds if seconds else 0.0
    console.print(f"{seconds:.1f} s, {rate:.0f} files a second", markup=False)


def show_sample(console: Console, report: SampleReport) -> None:
    """Print what was done for each entity of the sample project."""
    table = Table("entity", box=SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    for outcome in ("inserted", "updated", "unchanged"):
        table.add_column(outcome, justify="right")
    for entity, counts in report.outcomes.items():
        table.add_row(escape(entity.replace("_", " ")), *(str(count) for count in counts.values()))
    console.print(table)


def seed(chosen: argparse.Namespace, console: Console) -> dict[str, object]:
    """Do what the options say, print it for people, and return it as plain values."""
    with opened(chosen) as db:
        return seed_sample(db, console) if chosen.sample else seed_folder(db, chosen, console)


def seed_sample(db: Database, console: Console) -> dict[str, object]:
    """Store the sample project."""
    stored = load_sample(db)
    show_sample(console, stored)
    return {"project": str(stored.project.id), "outcomes": stored.outcomes}


def seed_folder(db: Database, chosen: argparse.Namespace, console: Console) -> dict[str, object]:
    """Store the documents of a folder."""
    project = NewProject(name=chosen.project)
    began = time.monotonic()
    with progress(console) as on_progress:
        report = import_folder(db, project, Path(chosen.folder), on_progress=on_progress)
    seconds = time.monotonic() - began
    show_folder(console, report, seconds)
    return {"project": str(report.project_id), **folder_json(report, seconds)}


def main(arguments: Sequence[str]) -> int:
    """Run the command; its errors are one line each."""
    chosen = options(arguments)
    console = Console(highlight=False, stderr=chosen.json)
    try:
        result = seed(chosen, console)
    except DatabaseHandlerError as error:
        hint = "; run scripts/init_db.py first" if isinstance(error, SchemaMismatch) else ""
        line = f"{type(error).__name__}: {error}{hint}"
        print(
            json.dumps({"error": line}) if chosen.json else line,
            file=sys.stdout if chosen.json else sys.stderr,
        )
        return 2 if isinstance(error, ConfigurationError | InvalidValue) else 1
    if chosen.json:
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
