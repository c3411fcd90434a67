"""A command's value, laid out for people; control characters in it are shown as escapes."""

from collections.abc import Iterable, Iterator
from functools import singledispatch
from itertools import islice

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from database_handler.cli.commands import Found, Imported, Initialised, Probed, Sampled
from database_handler.cli.reports import Subtitled
from database_handler.content.folder import Outcome
from database_handler.migrations import MigrationReport
from database_handler.operations.health import Health
from database_handler.utils.logger import encoded

__all__ = ["SHOWN", "columns_of", "done", "exact", "laid_out", "pairs", "phrase", "show"]

SHOWN = 50  # refused files listed before the rest is only counted; --json lists them all
_ENTITIES = {"summaries": "summary", "translations": "translation"}


def show(screen: Console, value: object) -> None:
    """Print a value; where there is no terminal, without the blanks that fill up a column."""
    if isinstance(value, Subtitled) and value.file is None and not screen.is_terminal:
        print(value.text, end="")  # it goes into a file, and marks of direction belong to it
        return
    for part in laid_out(value, screen.is_terminal):
        if screen.is_terminal:
            screen.print(part, soft_wrap=isinstance(part, Text))
            continue
        with screen.capture() as shown:
            screen.print(part, soft_wrap=isinstance(part, Text))
        for line in shown.get().splitlines():
            print(line.rstrip())


@singledispatch
def laid_out(value: object, lines: bool) -> Iterator[RenderableType]:
    """Yield what to print for a value, one after the other; `lines` allows drawn ones."""
    raise NotImplementedError(f"no layout for {type(value).__name__}, lines={lines}")


def phrase(value: object, style: str = "") -> Text:
    """Return a value as text, control characters as escapes; nothing for None."""
    return Text("" if value is None else str(encoded(str(value))), style=style)


def exact(value: str, style: str = "") -> Text:
    """Return text of several lines, control characters as escapes."""
    return Text("\n".join(str(encoded(line)) for line in value.rstrip("\n").split("\n")), style=style)


def columns_of(lines: bool, *columns: str, right: Iterable[str] = ()) -> Table:
    """Return an empty table; `lines` draws one below its head."""
    table = Table(box=SIMPLE_HEAD if lines else None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def pairs(rows: Iterable[tuple[str, Text]]) -> Table:
    """Return names and what is told of them, in two columns."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for name, told in rows:
        grid.add_row(name, told)
    return grid


# ----------------------------------------------------------------------------------------------- the server


@laid_out.register
def _(value: Initialised, lines: bool) -> Iterator[RenderableType]:
    del lines
    server = f"PostgreSQL {value.health.server_version}, {value.health.error or 'healthy'}"
    yield pairs(
        [
            ("database", phrase(f"{value.database}: {'created' if value.created else 'was there'}")),
            ("migrations", phrase(done(value.migrations))),
            ("server", phrase(server, "green" if value.health.ok else "red")),
            *([("application", phrase(value.note, "yellow"))] if value.note else []),
        ]
    )


@laid_out.register
def _(value: Health, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield pairs(_health(value))


@laid_out.register
def _(value: Probed, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield phrase(value.asked if value.passed else f"not {value.asked}", "green" if value.passed else "red")
    for reason in value.health.reasons:
        yield phrase(f"{reason.kind}: {reason.message}")


def done(report: MigrationReport) -> str:
    """Say in a line what a run of migrations did."""
    told = [f"applied {', '.join(report.applied)}"] if report.applied else []
    told += [f"rolled back {', '.join(report.rolled_back)}"] if report.rolled_back else []
    return f"{'; '.join(told) or 'nothing to do'}; at {report.head or 'nothing'}"


def _health(value: Health) -> Iterator[tuple[str, Text]]:
    yield "state", phrase("healthy" if value.ok else "not well", "green" if value.ok else "red")
    if value.error:
        yield "error", phrase(value.error)
    if value.server_version is not None:
        standby = f", a standby {value.replica_lag or 0:.1f} s behind" if value.replica else ""
        yield "server", phrase(f"PostgreSQL {value.server_version}{standby}")
        yield "schema", _schema(value.head, value.expected_head, value)
    if value.expected_application_head is not None:
        yield "application", _schema(value.application_head, value.expected_application_head, value)
    yield "pool", phrase(f"{value.pool.in_use} of {value.pool.max_size} connections in use")
    for each in value.replicas:
        yield "replica", phrase(f"{each.state}: {each.url}", "" if each.state == "serving" else "yellow")


def _schema(head: str | None, expected: str | None, value: Health) -> Text:
    if head == expected:
        return phrase(f"at {head or 'nothing'}")
    told = f"at {head or 'nothing'}; expected is {expected}"
    return phrase(f"{told}, which is applied" if value.newer else told, "" if value.newer else "yellow")


# -------------------------------------------------------------------------------------------------- content


@laid_out.register
def _(value: Sampled, lines: bool) -> Iterator[RenderableType]:
    outcomes = ("inserted", "updated", "unchanged")
    table = columns_of(lines, "entity", *outcomes, right=outcomes)
    for entity, counts in value.outcomes.items():
        table.add_row(phrase(entity.replace("_", " ")), *(str(counts[name]) for name in outcomes))
    yield table


@laid_out.register
def _(value: Imported, lines: bool) -> Iterator[RenderableType]:
    table = columns_of(lines, "outcome", "files", right=["files"])
    for outcome, count in value.counts.items():
        table.add_row(outcome.value, str(count))
    table.add_row("together", str(len(value.files)))
    yield table
    yield from _refused(value)
    if value.hidden:
        names = ", ".join(islice(value.hidden, 5))
        yield phrase(f"{len(value.hidden)} hidden names left out: {names}")
    rate = len(value.files) / value.seconds if value.seconds else 0.0
    yield Text(f"{value.seconds:.1f} s, {rate:.0f} files a second")


def _refused(value: Imported) -> Iterator[Text]:
    refused = [file for file in value.files if file.outcome is Outcome.REFUSED]
    for file in refused[:SHOWN]:
        yield phrase(f"refused ({file.reason}) {file.path}: {file.message}")
    if (more := len(refused) - SHOWN) > 0:
        yield Text(f"... and {more} more refused; --json lists them all")


@laid_out.register
def _(value: Found, lines: bool) -> Iterator[RenderableType]:
    del lines
    if value.fuzzy:
        yield phrase(f"nothing matches {value.query!r} as it is written; near to it:", "yellow")
    for hit in value.hits:
        entity = None if hit.entity == "text_sources" else _ENTITIES.get(hit.entity, hit.entity)
        of = ", ".join(filter(None, [entity, hit.language, f"{hit.rank:.2f}"]))
        yield phrase(f"{hit.project}: {hit.filename or hit.title or hit.id} ({of})", "bold")
        yield Padding(phrase(hit.snippet), (0, 0, 0, 2))
    if not value.hits:
        yield phrase(f"no text matches {value.query!r}")
    if value.next_cursor:
        yield phrase(f"more: --after {value.next_cursor}")
