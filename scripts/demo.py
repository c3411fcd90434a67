"""Show the library at work: a PostgreSQL of its own, migrated, filled with the sample project, looked into.

Safe to run again: what is stored and unchanged is not rewritten. Started by `scripts/demo`.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from database_handler import Database, Project
from database_handler.cli.seed import load_sample
from database_handler.core.exceptions import DatabaseHandlerError
from database_handler.operations.health import Health

WIDTH = 100  # columns, where the output is not a terminal
SHORT = 20  # characters
QUERY = "lighthouse keeper"
MISSPELT = "lighthuose"


def health_line(health: Health) -> str:
    """Say in one line how the server is."""
    state = "healthy" if health.ok else f"not well: {health.error or 'its schema is not the newest'}"
    idle = f"{health.pool.in_use} of {health.pool.max_size} connections in use"
    return f"PostgreSQL {health.server_version}, {state}; schema at {health.head}; {idle}"


def stored(db: Database, project: Project) -> Iterator[tuple[str, list[str]]]:
    """Give what is stored of a project: the name of each entity, and a few words for each record."""
    of = project.id
    yield "project", [f"{project.name} ({project.status})"]
    sources = db.text_sources.list(project_id=of, order_by="filename")
    yield "text sources", [f"{each.filename} ({each.language}, {each.word_count} words)" for each in sources]
    summaries = db.summaries.list(project_id=of, order_by=("language", "kind"))
    yield "summaries", [f"{each.kind} ({each.language}, {each.word_count} words)" for each in summaries]
    translations = db.translations.list(project_id=of, order_by="target_language")
    yield "translations", [f"{each.target_language} ({each.status})" for each in translations]
    videos = db.videos.list(project_id=of, order_by="title")
    yield "videos", [f"{each.title} ({each.width} x {each.height}, {each.duration} s)" for each in videos]
    yield "links", [each.url for each in db.links.list(project_id=of, order_by="url")]


def table(rows: Iterator[tuple[str, list[str]]], *, lines: bool) -> Table:
    """Lay out what is stored, one row an entity; short descriptions share a line."""
    drawn = Table("entity", box=SIMPLE_HEAD if lines else None, pad_edge=False)
    drawn.add_column("records", justify="right")
    drawn.add_column("which")
    for name, records in rows:
        short = all(len(each) <= SHORT for each in records)
        drawn.add_row(name, str(len(records)), escape((", " if short else "\n").join(records)))
    return drawn


def show(console: Console, db: Database, project: Project, query: str) -> None:
    """Print the health, what is stored, and one look-up."""
    console.print(health_line(db.health()), markup=False)
    console.print()
    console.print(table(stored(db, project), lines=console.is_terminal))
    console.print(
        f"\nFull-text look-up of {query!r}, in the stemming of each text's own language:", markup=False
    )
    for hit in db.text_sources.search(query, project_id=project.id, limit=3):
        snippet = " ".join(hit.snippet.split())
        console.print(f"  {hit.record.filename} ({hit.rank:.2f}): {snippet}", markup=False)
    for line in tour(db, project):
        console.print(line, markup=False)


def tour(db: Database, project: Project) -> Iterator[str]:
    """Show one thing of each entity that goes beyond storing it."""
    found = db.projects.statistics(project.id)
    yield "\nWhat else is known of it:"
    tokens, seconds = found.translations.tokens, found.videos.seconds
    yield f"  {found.words:,} words and {tokens:,} tokens; {seconds:g} s of film"
    lacking = db.projects.coverage(project.id, ["ja", "th"]).totals
    yield "  texts without a translation: " + ", ".join(
        f"{n.missing} into {code}" for code, n in lacking.items()
    )
    near = db.search(MISSPELT, project_id=project.id, limit=1)
    yield f"  {MISSPELT!r} is in no text; near to it: {' '.join(near[0].snippet.split())}"
    yield from subtitled(db, project)
    for summary in db.summaries.list(project_id=project.id, kind="brief", limit=1):
        share = db.summaries.compression(summary.id).ratio
        yield f"  the {summary.language} brief says it in {share or 0:.0%} of the text's words"
    kinds = (f"{len(links)} {kind}" for kind, links in db.links.by_kind(project.id).items())
    yield f"  links, told apart by host and path: {', '.join(kinds)}"
    checked = db.files.check(project.id)
    yield f"  files in the store: {checked.checked}, damaged or missing: {len(checked.problems)}"


def subtitled(db: Database, project: Project) -> Iterator[str]:
    """Show the first words of a translation as subtitles."""
    for each in db.translations.list(project_id=project.id, target_language="fr", limit=1):
        cue = db.translations.subtitles(each.id, "vtt", (0, 30)).split("\n\n")[1]
        yield from ("  the first subtitle in French:", *(f"    {line}" for line in cue.splitlines()))


def again(path: str) -> str:
    """Give the code that opens the same data from any folder, quoted for the shell."""
    where = json.dumps(str(Path(path).resolve()), ensure_ascii=False)  # double quotes: the shell's are single
    return shlex.quote(f"from database_handler import Database; db = Database.embedded({where})")


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; a wrong one ends the program with 2."""
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description="The library at work on a PostgreSQL of its own."
    )
    parser.add_argument("--path", default="var/demo", help="where the data is kept (default: %(default)s)")
    parser.add_argument("--query", default=QUERY, help="words to look up (default: %(default)s)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Run the demonstration; an error of the library is one line."""
    chosen = options(arguments)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    began = time.monotonic()
    try:
        with Database.embedded(chosen.path) as db:
            db.migrate()
            show(console, db, load_sample(db).project, chosen.query)
    except DatabaseHandlerError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    console.print(
        f"\nDone in {time.monotonic() - began:.1f} s; the server has stopped. To connect to it again:"
    )
    console.print(f"  .venv/bin/python -i -c {again(chosen.path)}", markup=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
