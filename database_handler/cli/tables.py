"""A command's value, laid out for people; control characters in it are shown as escapes."""

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from functools import singledispatch
from itertools import islice

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from database_handler.cli.commands import Found, Imported, Initialised, Sampled
from database_handler.cli.reports import (
    Checked,
    CheckedMetadata,
    CheckedVideos,
    Claimed,
    Counted,
    Covered,
    Described,
    Diagram,
    Drawn,
    Filmed,
    JsonSchemas,
    Linked,
    LinksByKind,
    Made,
    Measured,
    Subtitled,
    Swept,
    Tokenized,
)
from database_handler.content.folder import Outcome
from database_handler.migrations import MigrationReport, MigrationStatus
from database_handler.models import LinkKind
from database_handler.operations.health import Health
from database_handler.repositories.project_statistics import ProjectStatistics
from database_handler.utils.logger import encoded

__all__ = ["show"]

SHOWN = 50  # refused files listed before the rest is only counted; --json lists them all
_ENTITIES = {"summaries": "summary", "translations": "translation"}
_STYLES = {"applied": "green", "pending": "yellow", "partial": "yellow", "changed": "red", "missing": "red"}


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


def _text(value: object, style: str = "") -> Text:
    return Text("" if value is None else str(encoded(str(value))), style=style)


def _verbatim(value: str) -> Text:
    return Text("\n".join(str(encoded(line)) for line in value.rstrip("\n").split("\n")))


def _table(lines: bool, *columns: str, right: Iterable[str] = ()) -> Table:
    table = Table(box=SIMPLE_HEAD if lines else None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def _pairs(rows: Iterable[tuple[str, Text]]) -> Table:
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
    yield _pairs(
        [
            ("database", _text(f"{value.database}: {'created' if value.created else 'was there'}")),
            ("migrations", _text(_done(value.migrations))),
            ("server", _text(server, "green" if value.health.ok else "red")),
        ]
    )


@laid_out.register
def _(value: Health, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield _pairs(_health(value))


def _health(value: Health) -> Iterator[tuple[str, Text]]:
    yield "state", _text("healthy" if value.ok else "not well", "green" if value.ok else "red")
    if value.error:
        yield "error", _text(value.error)
        return
    standby = f", a standby {value.replica_lag or 0:.1f} s behind" if value.replica else ""
    yield "server", _text(f"PostgreSQL {value.server_version}{standby}")
    behind = "" if value.head == value.expected_head else f"; expected is {value.expected_head}"
    yield "schema", _text(f"at {value.head or 'nothing'}{behind}", "yellow" if behind else "")
    yield "pool", _text(f"{value.pool.in_use} of {value.pool.max_size} connections in use")


# ----------------------------------------------------------------------------------------------- migrations


def _done(report: MigrationReport) -> str:
    told = [f"applied {', '.join(report.applied)}"] if report.applied else []
    told += [f"rolled back {', '.join(report.rolled_back)}"] if report.rolled_back else []
    return f"{'; '.join(told) or 'nothing to do'}; at {report.head or 'nothing'}"


@laid_out.register
def _(value: MigrationReport, lines: bool) -> Iterator[RenderableType]:
    del lines
    for planned in value.planned:
        yield _text(f"-- {planned.name}", "bold")
        yield _verbatim(planned.sql)
    if value.planned:
        yield Text(f"-- {len(value.planned)} to apply; nothing was run")
    else:
        yield _text(f"{_done(value)} ({value.seconds:.2f} s)" if value.changed else _done(value))


@laid_out.register
def _(value: MigrationStatus, lines: bool) -> Iterator[RenderableType]:
    table = _table(lines, "version", "state", "applied at (UTC)", "by", "took", right=["took"])
    for item in value.items:
        took = None if item.duration is None else f"{item.duration.total_seconds():.2f} s"
        when = None if item.applied_at is None else f"{item.applied_at.astimezone(UTC):%Y-%m-%d %H:%M}"
        state = _text(item.state, _STYLES[item.state])
        table.add_row(_text(item.name), state, _text(when), _text(item.applied_by), _text(took))
    yield table
    if value.pending:
        yield Text(f"{len(value.pending)} pending: `database-handler migrate` applies them", "yellow")
    if wrong := [item.name for item in value.items if item.state in {"changed", "missing"}]:
        yield _text(f"not as they were applied: {', '.join(wrong)}; put the files back", "red")


# -------------------------------------------------------------------------------------------------- content


@laid_out.register
def _(value: Sampled, lines: bool) -> Iterator[RenderableType]:
    outcomes = ("inserted", "updated", "unchanged")
    table = _table(lines, "entity", *outcomes, right=outcomes)
    for entity, counts in value.outcomes.items():
        table.add_row(_text(entity.replace("_", " ")), *(str(counts[name]) for name in outcomes))
    yield table


@laid_out.register
def _(value: Imported, lines: bool) -> Iterator[RenderableType]:
    table = _table(lines, "outcome", "files", right=["files"])
    for outcome, count in value.counts.items():
        table.add_row(outcome.value, str(count))
    table.add_row("together", str(len(value.files)))
    yield table
    yield from _refused(value)
    if value.hidden:
        names = ", ".join(islice(value.hidden, 5))
        yield _text(f"{len(value.hidden)} hidden names left out: {names}")
    rate = len(value.files) / value.seconds if value.seconds else 0.0
    yield Text(f"{value.seconds:.1f} s, {rate:.0f} files a second")


def _refused(value: Imported) -> Iterator[Text]:
    refused = [file for file in value.files if file.outcome is Outcome.REFUSED]
    for file in refused[:SHOWN]:
        yield _text(f"refused ({file.reason}) {file.path}: {file.message}")
    if (more := len(refused) - SHOWN) > 0:
        yield Text(f"... and {more} more refused; --json lists them all")


@laid_out.register
def _(value: Found, lines: bool) -> Iterator[RenderableType]:
    del lines
    if value.fuzzy:
        yield _text(f"nothing matches {value.query!r} as it is written; near to it:", "yellow")
    for hit in value.hits:
        entity = None if hit.entity == "text_sources" else _ENTITIES.get(hit.entity, hit.entity)
        of = ", ".join(filter(None, [entity, hit.language, f"{hit.rank:.2f}"]))
        yield _text(f"{hit.project}: {hit.filename or hit.title or hit.id} ({of})", "bold")
        yield Padding(_text(hit.snippet), (0, 0, 0, 2))
    if not value.hits:
        yield _text(f"no text matches {value.query!r}")
    if value.next_cursor:
        yield _text(f"more: --after {value.next_cursor}")


# ------------------------------------------------------------------------------------------------- projects


@laid_out.register
def _(value: Measured, lines: bool) -> Iterator[RenderableType]:
    found = value.statistics
    numbers = ("rows", "words", "tokens")
    table = _table(lines, "entity", "language", *numbers, right=numbers)
    for row in _amounts(found):
        table.add_row(*row)
    yield table
    videos = found.videos
    yield _pairs(
        [
            ("videos", Text(f"{videos.rows:,}: {videos.seconds:,.1f} s, {videos.size_bytes:,} bytes")),
            ("links", Text(f"{found.links.rows:,}{_kinds(found.links.kinds)}")),
            ("last activity", Text(f"{found.last_activity.astimezone(UTC):%Y-%m-%d %H:%M} UTC")),
        ]
    )


def _kinds(kinds: Mapping[LinkKind, int]) -> str:
    told = ", ".join(f"{count:,} {kind}" for kind, count in kinds.items() if count)
    return f": {told}" if told else ""


def _amounts(found: ProjectStatistics) -> Iterator[tuple[str, str, str, str, str]]:
    """Give each entity's row, then one for each of its languages."""
    for name, entity in (
        ("text sources", found.text_sources),
        ("summaries", found.summaries),
        ("translations", found.translations),
    ):
        yield name, "", *_numbers(entity)
        for language, amounts in entity.languages.items():
            yield "", language, *_numbers(amounts)


def _numbers(amounts: object) -> tuple[str, str, str]:
    rows, words, tokens = (getattr(amounts, name, None) for name in ("rows", "words", "tokens"))
    return f"{rows:,}", f"{words:,}", "" if tokens is None else f"{tokens:,}"


@laid_out.register
def _(value: Covered, lines: bool) -> Iterator[RenderableType]:
    found = value.coverage
    states = ("approved", "review", "draft", "missing", "original")
    table = _table(lines, "language", *states, right=states)
    for language, totals in found.totals.items():
        table.add_row(language, *(f"{getattr(totals, state):,}" for state in states))
    yield table
    lacking = [item for item in found.items if item.missing]
    for item in lacking:
        yield _text(f"{item.title} ({item.language}) lacks {', '.join(item.missing)}")
    yield _text(
        f"{found.originals:,} {found.of.replace('_', ' ')}; {len(found.items):,} looked at one by one"
    )


@laid_out.register
def _(value: Counted, lines: bool) -> Iterator[RenderableType]:
    table = _table(lines, "entity", "rows", right=["rows"])
    for entity, rows in value.rows.by_entity.items():
        table.add_row(_text(entity.replace("_", " ")), f"{rows:,}")
    yield table
    where = "" if value.file is None else f" to {value.file}"
    yield _text(f"{value.project}: {value.done}{where}, {value.rows.total:,} rows")


@laid_out.register
def _(value: Made, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield _text(f"{value.slug} ({value.name}): {value.rows.total:,} rows, id {value.id}")


@laid_out.register
def _(value: Described, lines: bool) -> Iterator[RenderableType]:
    table = _table(lines, "key", "rows", "types", "in", right=["rows"])
    for path in value.summary.paths:
        types = ", ".join(f"{count:,} {kind}" for kind, count in path.types.items())
        entities = ", ".join(entity.replace("_", " ") for entity in path.entities)
        table.add_row(_text(path.path), f"{path.rows:,}", types, _text(entities))
    yield table
    if value.summary.truncated:
        yield Text("... and more; --limit shows them")


@laid_out.register
def _(value: CheckedMetadata, lines: bool) -> Iterator[RenderableType]:
    del lines
    for violation in value.violations[:SHOWN]:
        yield _text(f"{violation.entity} {violation.id}: {'; '.join(violation.problems)}")
    if len(value.violations) > SHOWN or value.more:
        yield Text("... and more; --json lists a thousand")
    if not value.violations:
        yield _text(f"{value.project}: every row keeps to its schema", "green")


# ---------------------------------------------------------------------------------------- files, the schema


@laid_out.register
def _(value: Swept, lines: bool) -> Iterator[RenderableType]:
    del lines
    report = value.report
    would = "would remove" if value.dry_run else "removed"
    yield Text(f"{would} {report.removed:,} files ({report.bytes:,} bytes); kept {report.kept:,}")
    if report.skipped:
        yield Text(f"{report.skipped:,} may be about to be needed; another sweep decides on them")


@laid_out.register
def _(value: Checked, lines: bool) -> Iterator[RenderableType]:
    del lines
    for found in value.report.problems[:SHOWN]:
        yield _text(f"{found.problem}: {found.table} {found.id}, {found.field} {found.uri}", "red")
    if (more := len(value.report.problems) - SHOWN) > 0:
        yield Text(f"... and {more} more; --json lists them all")
    yield Text(f"{value.report.checked:,} checked, {len(value.report.problems):,} not as they should be")


@laid_out.register
def _(value: JsonSchemas, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield _verbatim(json.dumps(value.schemas, indent=2))


@laid_out.register
def _(value: Diagram, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield _verbatim(value.text) if value.file is None else _text(f"written to {value.file}")


# ---------------------------------------------------------------------------------------- videos, subtitles


@laid_out.register
def _(value: Filmed, lines: bool) -> Iterator[RenderableType]:
    del lines
    video = value.video
    facts = [
        ("id", str(video.id)),
        ("title", video.title),
        ("picture", f"{video.width} x {video.height}, turned by {video.rotation or 0} degrees"),
        ("time", f"{video.duration or 0:.2f} s at {video.frame_rate or 0:.2f} frames a second"),
        ("file", f"{video.container}, {', '.join(video.codecs)}, {video.size_bytes:,} bytes"),
        ("languages", ", ".join((*video.audio_languages, *video.subtitle_languages)) or "not stated"),
        ("thumbnail", video.thumbnail_uri or "none"),
    ]
    yield _pairs((name, _text(told)) for name, told in facts)


@laid_out.register
def _(value: CheckedVideos, lines: bool) -> Iterator[RenderableType]:
    del lines
    report = value.report
    for found in report.problems[:SHOWN]:
        yield _text(f"{found.problem}: {found.part} {found.uri} of {found.id}: {found.reason}", "red")
    if (more := len(report.problems) - SHOWN) > 0:
        yield Text(f"... and {more} more; --json lists them all")
    elsewhere = f"; {report.elsewhere:,} files lie elsewhere" if report.elsewhere else ""
    yield Text(f"{report.fine:,} of {report.checked:,} videos are fine{elsewhere}")


@laid_out.register
def _(value: Drawn, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield _text(f"written to {value.file}: {value.width} x {value.height}, {value.bytes:,} bytes")


@laid_out.register
def _(value: Subtitled, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield _verbatim(value.text) if value.file is None else _text(f"written to {value.file}")


@laid_out.register
def _(value: Tokenized, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield _text(f"{value.project}: {value.translations:,} translations tokenized")


# -------------------------------------------------------------------------------------------- links, claims


@laid_out.register
def _(value: Linked, lines: bool) -> Iterator[RenderableType]:
    del lines
    added = value.added
    for link in (*added.created, *added.existing):
        yield _text(f"{'known' if link in added.existing else 'added'}: {link.url} ({link.kind})")
    for repeated in added.repeated:
        yield _text(f"given twice: {value.urls[repeated.place]}")
    for refused in added.refused:
        yield _text(f"refused: {value.urls[refused.place]}: {refused.reason}", "red")


@laid_out.register
def _(value: LinksByKind, lines: bool) -> Iterator[RenderableType]:
    del lines
    for kind, links in value.kinds.items():
        yield _text(kind, "bold")
        for link in links:
            yield Padding(_text(f"{link.url}{f' ({link.title})' if link.title else ''}"), (0, 0, 0, 2))
    if not value.kinds:
        yield _text(f"{value.project} has no links")


@laid_out.register
def _(value: Claimed, lines: bool) -> Iterator[RenderableType]:
    table = _table(lines, "entity", "id", "worker", "until (UTC)", "state")
    for entity, leases in value.held.items():
        for lease in leases:
            until = f"{lease.until.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
            state = _text("expired", "yellow") if lease.expired else _text("at work")
            table.add_row(entity, _text(lease.id), _text(lease.worker), until, state)
    yield table if any(value.held.values()) else _text(f"nobody works on {value.project}")
