"""The values of the commands on projects, files, media and links, laid out for people."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

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
from database_handler.cli.tables import SHOWN, columns_of, exact, laid_out, pairs, phrase, show
from database_handler.models import LinkKind
from database_handler.repositories.project_statistics import ProjectStatistics

__all__ = ["show"]


# ------------------------------------------------------------------------------------------------- projects


@laid_out.register
def _(value: Measured, lines: bool) -> Iterator[RenderableType]:
    found = value.statistics
    numbers = ("rows", "words", "tokens")
    table = columns_of(lines, "entity", "language", *numbers, right=numbers)
    for row in _amounts(found):
        table.add_row(*row)
    yield table
    videos = found.videos
    yield pairs(
        [
            ("videos", Text(f"{videos.rows:,}: {videos.seconds:,.1f} s, {videos.size_bytes:,} bytes")),
            ("links", Text(f"{found.links.rows:,}{_kinds(found.links.kinds)}")),
            *((name.replace("_", " "), Text(f"{rows:,}")) for name, rows in found.others.items()),
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
    table = columns_of(lines, "language", *states, right=states)
    for language, totals in found.totals.items():
        table.add_row(language, *(f"{getattr(totals, state):,}" for state in states))
    yield table
    lacking = [item for item in found.items if item.missing]
    for item in lacking:
        yield phrase(f"{item.title} ({item.language}) lacks {', '.join(item.missing)}")
    yield phrase(
        f"{found.originals:,} {found.of.replace('_', ' ')}; {len(found.items):,} looked at one by one"
    )


@laid_out.register
def _(value: Counted, lines: bool) -> Iterator[RenderableType]:
    table = columns_of(lines, "entity", "rows", right=["rows"])
    for entity, rows in value.rows.by_entity.items():
        table.add_row(phrase(entity.replace("_", " ")), f"{rows:,}")
    yield table
    where = "" if value.file is None else f" to {value.file}"
    yield phrase(f"{value.project}: {value.done}{where}, {value.rows.total:,} rows")


@laid_out.register
def _(value: Made, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield phrase(f"{value.slug} ({value.name}): {value.rows.total:,} rows, id {value.id}")


@laid_out.register
def _(value: Described, lines: bool) -> Iterator[RenderableType]:
    table = columns_of(lines, "key", "rows", "types", "in", right=["rows"])
    for path in value.summary.paths:
        types = ", ".join(f"{count:,} {kind}" for kind, count in path.types.items())
        entities = ", ".join(entity.replace("_", " ") for entity in path.entities)
        table.add_row(phrase(path.path), f"{path.rows:,}", types, phrase(entities))
    yield table
    if value.summary.truncated:
        yield Text("... and more; --limit shows them")


@laid_out.register
def _(value: CheckedMetadata, lines: bool) -> Iterator[RenderableType]:
    del lines
    for violation in value.violations[:SHOWN]:
        yield phrase(f"{violation.entity} {violation.id}: {'; '.join(violation.problems)}")
    if len(value.violations) > SHOWN or value.more:
        yield Text("... and more; --json lists a thousand")
    if not value.violations:
        yield phrase(f"{value.project}: every row keeps to its schema", "green")


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
        yield phrase(f"{found.problem}: {found.table} {found.id}, {found.field} {found.uri}", "red")
    if (more := len(value.report.problems) - SHOWN) > 0:
        yield Text(f"... and {more} more; --json lists them all")
    yield Text(f"{value.report.checked:,} checked, {len(value.report.problems):,} not as they should be")


@laid_out.register
def _(value: JsonSchemas, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield exact(json.dumps(value.schemas, indent=2))


@laid_out.register
def _(value: Diagram, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield exact(value.text) if value.file is None else phrase(f"written to {value.file}")


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
    yield pairs((name, phrase(told)) for name, told in facts)


@laid_out.register
def _(value: CheckedVideos, lines: bool) -> Iterator[RenderableType]:
    del lines
    report = value.report
    for found in report.problems[:SHOWN]:
        yield phrase(f"{found.problem}: {found.part} {found.uri} of {found.id}: {found.reason}", "red")
    if (more := len(report.problems) - SHOWN) > 0:
        yield Text(f"... and {more} more; --json lists them all")
    elsewhere = f"; {report.elsewhere:,} files lie elsewhere" if report.elsewhere else ""
    yield Text(f"{report.fine:,} of {report.checked:,} videos are fine{elsewhere}")


@laid_out.register
def _(value: Drawn, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield phrase(f"written to {value.file}: {value.width} x {value.height}, {value.bytes:,} bytes")


@laid_out.register
def _(value: Subtitled, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield exact(value.text) if value.file is None else phrase(f"written to {value.file}")


@laid_out.register
def _(value: Tokenized, lines: bool) -> Iterator[RenderableType]:
    del lines
    yield phrase(f"{value.project}: {value.translations:,} translations tokenized")


# -------------------------------------------------------------------------------------------- links, claims


@laid_out.register
def _(value: Linked, lines: bool) -> Iterator[RenderableType]:
    del lines
    added = value.added
    for link in (*added.created, *added.existing):
        yield phrase(f"{'known' if link in added.existing else 'added'}: {link.url} ({link.kind})")
    for repeated in added.repeated:
        yield phrase(f"given twice: {value.urls[repeated.place]}")
    for refused in added.refused:
        yield phrase(f"refused: {value.urls[refused.place]}: {refused.reason}", "red")


@laid_out.register
def _(value: LinksByKind, lines: bool) -> Iterator[RenderableType]:
    del lines
    for kind, links in value.kinds.items():
        yield phrase(kind, "bold")
        for link in links:
            yield Padding(phrase(f"{link.url}{f' ({link.title})' if link.title else ''}"), (0, 0, 0, 2))
    if not value.kinds:
        yield phrase(f"{value.project} has no links")


@laid_out.register
def _(value: Claimed, lines: bool) -> Iterator[RenderableType]:
    table = columns_of(lines, "entity", "id", "worker", "until (UTC)", "state")
    for entity, leases in value.held.items():
        for lease in leases:
            until = f"{lease.until.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
            state = phrase("expired", "yellow") if lease.expired else phrase("at work")
            table.add_row(entity, phrase(lease.id), phrase(lease.worker), until, state)
    yield table if any(value.held.values()) else phrase(f"nobody works on {value.project}")
