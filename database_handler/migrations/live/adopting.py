"""What has drifted made part of the files: a version that other databases run, and that is on record here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import InvalidValue
from database_handler.core.transaction import Autocommit, Transaction, TransactionOptions
from database_handler.migrations.errors import (
    BackfillNeeded,
    DecisionNeeded,
    HistoryChanged,
    PendingVersions,
    ProofFailed,
)
from database_handler.migrations.files.file_writing import message_line, next_name, rendered, write_version
from database_handler.migrations.files.migration import Migration, parse
from database_handler.migrations.files.planning import folded, lock_text
from database_handler.migrations.live.standing import Live, expected_of, heads_after, look_live, made_by
from database_handler.migrations.runner import recording
from database_handler.migrations.runner.recording import Recorded
from database_handler.migrations.runner.running import FolderRun, connected
from database_handler.migrations.safety.safe_way import placeholder, safe_sections
from database_handler.migrations.schema.differences import Differences, differences
from database_handler.migrations.schema.schema_diff import diff
from database_handler.migrations.schema.schema_diff.statement import Rename, SchemaDiff
from database_handler.migrations.schema.snapshot import Column, Kind, ObjectId, SchemaSnapshot

__all__ = ["Adopted", "Wishes", "adopt", "prove", "record_as_applied"]

_WRITE = TransactionOptions(resolve=False)


class Adopted(BaseModel, frozen=True):
    """The version that was written for what had drifted; no name where nothing had.

    Attributes
    ----------
    differences : Differences
        What it makes part of the files; `statements` are those of its up.
    """

    name: str | None
    path: Path | None
    differences: Differences


@dataclass(frozen=True)
class Wishes:
    """What only the author can say of a version made of a difference, by ``table`` or ``table.column``.

    Attributes
    ----------
    renamed : mapping of old to new name
    drop : mapping of name to reason
    backfill : mapping of column to SQL
        For the rows that other databases have.
    """

    renamed: Mapping[str, str] = field(default_factory=dict[str, str])
    drop: Mapping[str, str] = field(default_factory=dict[str, str])
    backfill: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def renames(self) -> tuple[Rename, ...]:
        """The renames."""
        return tuple(Rename(_id(old), _id(new)) for old, new in self.renamed.items())


def _id(name: str) -> ObjectId:
    parts = name.split(".")
    if len(parts) > 2 or not all(parts):
        raise InvalidValue("the name of a table or of a column is wanted: `notes` or `notes.body`")
    return ObjectId(Kind.TABLE, name) if len(parts) == 1 else ObjectId(Kind.COLUMN, *parts)


def adopt(
    config: DatabaseConfig, runs: Callable[[], Sequence[FolderRun]], message: str, wishes: Wishes
) -> Adopted:
    """Write the version whose up turns what is expected into what is live; record it here as applied.

    Raises
    ------
    DecisionNeeded
        Elsewhere it would lose data, and nothing says why; the message says what to give.
    PendingVersions
        The new version would come after ones that are not applied.
    ProofFailed
        On a scratch copy it does not make what is live; nothing was written.
    """
    live = look_live(config, runs())
    expected = expected_of(config, live).snapshot
    _refuse_pending(live)
    found = differences(live.snapshot, expected)  # seen from the live schema, which the files are to reach
    if not found:
        return Adopted(name=None, path=None, differences=found)
    version = _version(live.runs[-1].folder.versions, message, expected, live.snapshot, wishes)
    prove(config, live, version)
    path = write_version(version.path.parent, version.name, version.text)
    try:
        record_as_applied(config, runs()[-1], live, [version])
    except BaseException:
        _take_back(path, live)
        raise
    return Adopted(name=version.name, path=path, differences=found)


def _refuse_pending(live: Live) -> None:
    names = [each.name for each in live.pending]
    if names:
        raise PendingVersions(
            f"{', '.join(names)} are pending, and what has drifted would come after them: migrate first, "
            "then adopt",
            names,
        )


def _take_back(path: Path, live: Live) -> None:
    with suppress(FileNotFoundError):
        path.unlink()
    (path.parent / "versions.lock").write_text(lock_text(live.runs[-1].files), encoding="utf-8")


def prove(config: DatabaseConfig, live: Live, version: Migration) -> None:
    """Refuse a version that, after those applied, does not make what is live.

    Raises
    ------
    ProofFailed
        With the statements that are left to do.
    """
    residue = diff(made_by(config, [*live.applied, version]), live.snapshot)
    if len(residue):
        raise ProofFailed(
            f"{version.name} was not written: on a scratch copy the versions and it do not make what is "
            f"live. Left to do:\n{residue.script}",
            [version.name],
            [statement.sql for statement in residue],
        )


# ------------------------------------------------------------------------------------------------- the text


def _version(
    folder: Path, message: str, old: SchemaSnapshot, new: SchemaSnapshot, wishes: Wishes
) -> Migration:
    up = diff(old, new, renames=wishes.renames)
    down = diff(new, old, renames=[rename.inverted() for rename in wishes.renames])
    _refuse_undecided(up, wishes)
    reasons = {_id(name): reason for name, reason in wishes.drop.items()}
    values = {_id(name): sql for name, sql in wishes.backfill.items()}
    try:
        forth = safe_sections(up, old, new, backfill=values, reasons=reasons)
    except BackfillNeeded as needed:
        raise DecisionNeeded([_value_of(column) for column in needed.missing]) from None
    back = safe_sections(down, new, old, backfill=dict(_placeholders(old)))
    name = next_name(folder, message)
    sections = [each.text("up") for each in forth] + [each.text("down") for each in back]
    header = [message_line(message), "adopted: found in a database, and made part of the files"]
    whole = rendered(name, sections, header)
    return parse(folder / f"{name}.sql", whole.encode("utf-8"))


def _value_of(column: ObjectId) -> str:
    name = f"{column.name}.{column.part}"
    return (
        f"{name} is NOT NULL and has no default, and in other databases rows are there without a value for "
        f"it: give --backfill '{name}=SQL over the row' (backfill={{'{name}': 'SQL over the row'}})"
    )


def _placeholders(old: SchemaSnapshot) -> Iterator[tuple[ObjectId, str]]:
    for found in old:
        if isinstance(found, Column) and (value := placeholder(found.type)):
            yield found.id, value


def _refuse_undecided(up: SchemaDiff, wishes: Wishes) -> None:
    similar: dict[str, list[str]] = {}
    for each in up.lookalikes:
        similar.setdefault(_told(each.old), []).append(_told(each.new))
    decisions = [_lookalike(old, new) for old, new in similar.items() if old not in wishes.drop]
    losing = {_told(each.object): each.loses for each in up if each.loses}
    decisions += [
        f"elsewhere {loses} would be lost: say why with --drop '{name}=reason' (drop={{'{name}': 'reason'}})"
        for name, loses in losing.items()
        if name not in wishes.drop and name not in similar
    ]
    if decisions:
        raise DecisionNeeded(decisions)


def _told(id: ObjectId) -> str:
    return f"{id.name}.{id.part}" if id.part else id.name


def _lookalike(old: str, new: Sequence[str]) -> str:
    return (
        f"{old} is gone, and {' and '.join(new)} could be it: if it was renamed, "
        f"give --renamed '{old}={new[0]}' (renamed={{'{old}': '{new[0]}'}}); if not, say why it goes with "
        f"--drop '{old}=reason' (drop={{'{old}': 'reason'}})"
    )


# ------------------------------------------------------------------------------------------------- the rows


def record_as_applied(
    config: DatabaseConfig, run: FolderRun, live: Live, versions: Sequence[Migration]
) -> None:
    """Write rows for versions whose schema is there already, and record that schema.

    Raises
    ------
    HistoryChanged
        Somebody else migrated since `live` was looked at; nothing was written.
    """
    with connected(config) as lease:
        held, history = run.lock(lease)
        session = Autocommit(lambda: lease).session
        rows = history.read(session) or ()
        known = dict(zip(live.heads, live.histories, strict=True))[run.table]
        if [row.name for row in folded(run.files, rows)] != [row.name for row in known]:
            raise HistoryChanged("another process migrated meanwhile; nothing was written: run it again")
        history.settle(session, run.files, rows, held.backend)
        heads = heads_after(live, {run.table: versions[-1].name})
        recorded = Recorded(heads, live.snapshot, live.snapshot.server_version)
        with Transaction(lambda: lease, _WRITE) as session:
            history.adopt(session, versions, held.backend)
            recording.write(session, held.schema, recorded)
