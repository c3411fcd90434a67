"""An existing database taken over: versions recorded as applied, or a first one written out of its schema."""

from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel

from database_handler.config.database import DatabaseConfig
from database_handler.migrations.errors import (
    HistoryNotEmpty,
    SchemaDiffers,
    UnusableTarget,
)
from database_handler.migrations.files.file_writing import message_line, next_name, rendered, write_version
from database_handler.migrations.files.migration import Migration, parse
from database_handler.migrations.files.planning import plan_up
from database_handler.migrations.live.adopting import prove, record_as_applied
from database_handler.migrations.live.standing import Live, look_live, made_by
from database_handler.migrations.runner.running import FolderRun
from database_handler.migrations.schema.differences import Differences, differences
from database_handler.migrations.schema.schema_diff import diff
from database_handler.migrations.schema.snapshot import Kind, SchemaSnapshot
from database_handler.migrations.scratch.building import made_extensions

__all__ = ["BaselineReport", "baseline", "write_baseline"]


class BaselineReport(BaseModel, frozen=True):
    """What was recorded as applied without being run.

    Attributes
    ----------
    path : Path or None
        The file that was written, where one was.
    differences : Differences
        What is live and the versions do not make, or the other way round: allowed by the caller.
    unmodelled : tuple of (kind, name)
        What a written file leaves out, for no snapshot models it.
    """

    recorded: tuple[str, ...]
    head: str | None
    path: Path | None = None
    differences: Differences = Differences()
    unmodelled: tuple[tuple[str, str], ...] = ()


Runs = Callable[[], Sequence[FolderRun]]


def baseline(
    config: DatabaseConfig, runs: Runs, version: str | int, *, allow_differences: bool = False
) -> BaselineReport:
    """Record the versions up to `version` as applied, where their schema is there already.

    Raises
    ------
    HistoryNotEmpty
        Some versions are on record: such a database is migrated, not adopted.
    SchemaDiffers
        The schema is another one, and that was not allowed.
    """
    live = _unversioned(look_live(config, runs()))
    chosen = [step.migration for step in plan_up(live.runs[-1].files, (), version)]
    below = [file for file in live.applied if file not in chosen]
    found = differences(made_by(config, [*below, *chosen]), live.snapshot)
    if found and not allow_differences:
        raise SchemaDiffers(_told(found, chosen[-1].name), [chosen[-1].name])
    record_as_applied(config, live.runs[-1], live, chosen)
    return BaselineReport(
        recorded=tuple(each.name for each in chosen), head=chosen[-1].name, differences=found
    )


def _unversioned(live: Live) -> Live:
    rows, run = live.histories[-1], live.runs[-1]
    if rows:
        raise HistoryNotEmpty(
            f"{run.table} records {len(rows)} versions up to {rows[-1].name}: a database that has a history "
            "is migrated; nothing was done"
        )
    for below, history in zip(live.runs[:-1], live.histories[:-1], strict=True):
        if len(history) < len(below.files):
            raise HistoryNotEmpty(
                f"{below.table} below it is not at its head: migrate or baseline that first"
            )
    return live


_SHOWN = 20


def _told(found: Differences, version: str) -> str:
    lines = [
        f"  {each.change} {each.kind} {each.name}"
        + "".join(f"; {field.name}: {field.expected} -> {field.found}" for field in each.fields)
        for each in found.items[:_SHOWN]
    ]
    more = len(found.items) - _SHOWN
    lines += [f"  ... and {more} more"] if more > 0 else []
    return (
        f"the schema is not what the versions up to {version} make; seen from them, the database has\n"
        + "\n".join(lines)
        + "\nPut it right, choose the version that it is at, or allow the differences; nothing was done"
    )


# -------------------------------------------------------------------------------------------------- writing


def write_baseline(config: DatabaseConfig, runs: Runs, message: str) -> BaselineReport:
    """Write the first version of a folder without any, out of the live schema; record it here as applied.

    Raises
    ------
    UnusableTarget
        The folder has versions already.
    ProofFailed
        On a scratch copy the file does not make what is live; nothing was written.
    """
    first = runs()[-1]
    folder = first.folder.versions
    folder.mkdir(parents=True, exist_ok=True)
    if first.files:
        raise UnusableTarget(
            f"{folder} has versions already, up to {first.files[-1].name}: record those with a version's "
            "name, or write into an empty folder"
        )
    live = _unversioned(look_live(config, runs()))
    below = _without_others(made_by(config, live.applied), live.applied)
    version = _version(folder, message, below, live.snapshot)
    prove(config, live, version)
    path = write_version(folder, version.name, version.text)
    try:
        record_as_applied(config, live.runs[-1], live, [version])
    except BaseException:
        path.unlink(missing_ok=True)
        (folder / "versions.lock").unlink(missing_ok=True)
        raise
    unmodelled = tuple((str(each.kind), each.name) for each in live.snapshot.unmodelled)
    return BaselineReport(recorded=(version.name,), head=version.name, path=path, unmodelled=unmodelled)


def _without_others(below: SchemaSnapshot, applied: Sequence[Migration]) -> SchemaSnapshot:
    """Leave out extensions that no version makes: a copy sees those of its database, a new one has none."""
    made = made_extensions(version.text for version in applied)
    return below.without(lambda thing: thing.id.kind is Kind.EXTENSION and thing.id.name not in made)


def _version(folder: Path, message: str, below: SchemaSnapshot, found: SchemaSnapshot) -> Migration:
    plan = diff(below, found)
    if not len(plan):
        raise UnusableTarget("there is nothing in the schema to write a version of")
    name = next_name(folder, message)
    header = [
        message_line(message),
        "written out of a database; it has no down, which would drop all of that",
        *(f"not in it, for it is not modelled: {each.kind} {each.name}" for each in found.unmodelled),
    ]
    up = "-- migrate: up\n" + "".join(f"{statement.sql};\n\n" for statement in plan)
    return parse(folder / f"{name}.sql", rendered(name, [up], header).encode("utf-8"))
