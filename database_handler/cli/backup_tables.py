"""What is told of backups, laid out for people, with the exit codes that it stands for."""

from collections.abc import Iterator
from datetime import UTC, datetime

from pydantic import BaseModel
from rich.console import RenderableType
from rich.text import Text

from database_handler.cli.endings import Ending, ending
from database_handler.cli.tables import SHOWN, columns_of, laid_out, pairs, phrase
from database_handler.operations.backup import Backup, FoundBackup, Pruned, Restored, Verified

__all__ = ["FoundBackups"]

_STYLES = {"complete": "green", "incomplete": "yellow", "damaged": "red"}


class FoundBackups(BaseModel, frozen=True):
    """What lies in a place, the oldest first."""

    place: str
    backups: tuple[FoundBackup, ...]


@ending.register
def _(value: Backup) -> Ending:
    return Ending.PENDING if value.manifest.missing else Ending.DONE


@ending.register
def _(value: Restored) -> Ending:
    return Ending.PENDING if value.missing else Ending.DONE


@ending.register
def _(value: Verified) -> Ending:
    return Ending.DONE if value.ok else Ending.ERROR


@laid_out.register
def _(value: Backup, lines: bool) -> Iterator[RenderableType]:
    del lines
    made = value.manifest
    dump = f"{made.dump.file}, {made.dump.size_bytes:,} bytes"
    yield pairs(
        [
            ("backup", phrase(made.name)),
            ("of", phrase(f"{made.database}, PostgreSQL {made.major}, as of {_moment(made.snapshot)}")),
            ("rows", phrase(f"{sum(made.rows.values()):,} in {len(made.rows):,} tables")),
            ("dump", phrase(dump)),
            ("originals", phrase(_originals(value))),
            ("took", phrase(f"{value.seconds:.1f} s")),
        ]
    )
    yield from _missing(made.missing, "the file store does not have it whole")


def _originals(value: Backup) -> str:
    made = value.manifest
    if not made.with_files:
        return "left out"
    return f"{len(made.files):,}, {made.file_bytes:,} bytes; {value.copied:,} were new"


def _missing(missing: tuple[str, ...], why: str) -> Iterator[RenderableType]:
    for checksum in missing[:SHOWN]:
        yield phrase(f"missing original {checksum}: {why}", "red")
    if (more := len(missing) - SHOWN) > 0:
        yield Text(f"... and {more:,} more; --json lists them all")


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


@laid_out.register
def _(value: FoundBackups, lines: bool) -> Iterator[RenderableType]:
    numbers = ("rows", "bytes", "originals")
    table = columns_of(lines, "name", "state", "begun (UTC)", "of", *numbers, right=numbers)
    for each in value.backups:
        made = each.manifest
        table.add_row(
            phrase(each.name),
            phrase(each.state, _STYLES[each.state]),
            f"{each.since:%Y-%m-%d %H:%M:%S}",
            phrase(made and f"{made.database}, {made.major}"),
            phrase(made and f"{sum(made.rows.values()):,}"),
            f"{each.size_bytes:,}",
            phrase(made and f"{len(made.files):,}"),
        )
    yield table if value.backups else phrase(f"there is no backup in {value.place}")
    for each in value.backups:
        if each.problem:
            yield phrase(f"{each.name}: {each.problem}", _STYLES[each.state])


@laid_out.register
def _(value: Verified, lines: bool) -> Iterator[RenderableType]:
    del lines
    for each in value.differences[:SHOWN]:
        yield phrase(f"{each.what} {each.name}: {each.expected} expected, {each.found} found", "red")
    if (more := len(value.differences) - SHOWN) > 0:
        yield Text(f"... and {more:,} more; --json lists them all")
    schema = "the schema" if value.schema_compared else "no schema (another major version)"
    yield phrase(
        f"{value.name}: {value.rows:,} rows in {value.tables:,} tables, {schema} and {value.files:,} "
        f"originals compared in {value.seconds:.1f} s; {'all as' if value.ok else 'NOT as'} they were",
        "green" if value.ok else "red",
    )


@laid_out.register
def _(value: Pruned, lines: bool) -> Iterator[RenderableType]:
    del lines
    would = "would remove" if value.dry_run else "removed"
    for name in value.removed:
        yield phrase(f"{would} {name}")
    for name in value.leftovers:
        yield phrase(f"{would} {name}, which was never finished")
    for name in value.damaged:
        yield phrase(f"left alone: {name}, which is damaged; look at it, and remove it by hand", "yellow")
    yield phrase(
        f"kept {len(value.kept):,}; {would} {len(value.removed) + len(value.leftovers):,} and "
        f"{value.originals:,} originals, {value.bytes:,} bytes"
    )


@laid_out.register
def _(value: Restored, lines: bool) -> Iterator[RenderableType]:
    del lines
    owners = "as they were" if value.owners else "everything belongs to the role that restored it"
    if value.absent_roles:
        owners += f"; not on this server: {', '.join(value.absent_roles)}"
    told = [
        ("database", phrase(value.database)),
        ("backup", phrase(value.name)),
        ("rows", phrase(f"{value.rows:,} in {value.tables:,} tables, as in the manifest")),
        ("schema", phrase(f"at {value.head or 'nothing'}")),
        ("owners", phrase(owners)),
        ("originals", phrase(f"{value.files:,} put back")),
    ]
    if value.kept_as:
        told.append(("before", phrase(f"kept as {value.kept_as}")))
    yield pairs([*told, ("took", phrase(f"{value.seconds:.1f} s"))])
    yield from _missing(value.missing, "the backup does not have it")
