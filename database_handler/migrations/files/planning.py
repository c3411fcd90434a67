"""Files and history turned into steps, or into what is wrong with them; nothing here touches a database."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from database_handler.core.exceptions import InvalidValue
from database_handler.migrations.errors import (
    ChangedMigration,
    DuplicateMigration,
    IrreversibleMigration,
    LockFileMismatch,
    MalformedMigration,
    MigrationGap,
    MissingMigration,
    OutOfOrderMigration,
    PartialMigration,
    UnusableTarget,
    raise_first,
)
from database_handler.migrations.files.applied import (
    NO_BATCH,
    Applied,
    BatchProgress,
    Origin,
    Progress,
    State,
)
from database_handler.migrations.files.folding import folded, half_replaced
from database_handler.migrations.files.migration import Direction, Migration
from database_handler.utils.arguments import checked
from database_handler.utils.errors import shown
from database_handler.utils.text import counted

__all__ = [
    "NO_BATCH",
    "Applied",
    "BatchProgress",
    "Origin",
    "Progress",
    "State",
    "Step",
    "check_files",
    "check_history",
    "folded",
    "has_another_down",
    "lock_text",
    "plan_down",
    "plan_up",
    "read_lock",
    "state_of",
]

Target = str | int | None


@dataclass(frozen=True, slots=True)
class Step:
    """One migration to run in one direction, after the first `done` parts; `resumed` where it has a row."""

    migration: Migration
    direction: Direction
    done: int = 0
    resumed: bool = False
    progress: Progress | None = None


# ---------------------------------------------------------------------------------------------------- checks


def check_files(
    migrations: Sequence[Migration],
    lock: dict[str, str] | None = None,
    before: Sequence[MalformedMigration | LockFileMismatch] = (),
) -> None:
    """Refuse two files of one number, a missing number, and files that `versions.lock` does not know.

    Parameters
    ----------
    before : sequence of MalformedMigration or LockFileMismatch
        What is known to be wrong already: it is told with the rest.

    Raises
    ------
    DuplicateMigration, MigrationGap, LockFileMismatch
        The first of all problems, with the texts of all.
    """
    unread = [each.path.stem for each in before if isinstance(each, MalformedMigration)]
    problems = [*before, *_duplicates(migrations), *_gaps(migrations, unread)]
    if lock is not None:
        problems += _lock_problems(migrations, lock, unread)
    raise_first(problems)


def _duplicates(migrations: Sequence[Migration]) -> Iterable[DuplicateMigration]:
    by_number: dict[int, list[str]] = {}
    for migration in migrations:
        by_number.setdefault(migration.number, []).append(migration.path.name)
    for number, names in by_number.items():
        if len(names) > 1:
            yield DuplicateMigration(
                f"number {number:04} is used by {' and '.join(names)}: a number stands for one version; "
                f"give the one that was made last the next number, {max(by_number) + 1:04}",
                [name.rpartition(".")[0] for name in names],
            )


def _gaps(migrations: Sequence[Migration], unread: Iterable[str]) -> Iterable[MigrationGap]:
    numbers = {
        number for migration in migrations for number in range(migration.first_number, migration.number + 1)
    }
    numbers |= {int(found[0]) for name in unread if (found := _NUMBER.match(name))}
    for number in sorted(set(range(1, max(numbers, default=0))) - numbers):
        after = [migration.name for migration in migrations if migration.number > number][:1]
        yield MigrationGap(
            f"there is no version {number:04}, and there is {after[0]}: numbers run from 0001 without a gap; "
            f"put the file back, or number the later ones anew if they were never applied",
            after,
        )


_NUMBER = re.compile(r"[0-9]{1,9}")


@checked
def lock_text(migrations: Iterable[Migration]) -> str:
    """Return `versions.lock`: a line a version with its name, its token hash and the name before it.

    The name before makes two branches that each add a version conflict in their merge.
    """
    lines, previous = [], "-"
    for migration in migrations:
        lines.append(f"{migration.name} {migration.token_hash} {previous}\n")
        previous = migration.name
    return "".join(lines)


def read_lock(path: Path, text: str) -> dict[str, str]:
    """Return the hash of each name in `versions.lock`.

    Raises
    ------
    LockFileMismatch
        A line does not read `name hash previous`, or does not follow on the line before it.
    """
    hashes: dict[str, str] = {}
    previous = "-"
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if len(parts) != 3 or parts[2] != previous or parts[0] in hashes:
            raise LockFileMismatch(
                f"{path}:{number}: expected `NAME HASH {previous}`, the version before being {previous}. "
                "After a merge of two branches that both made a version: give one file the next number, "
                f"in its name and in its first line, and {_WRITE_ANEW}"
            )
        previous = parts[0]
        hashes[previous] = parts[1]
    return hashes


_WRITE_ANEW = "have the file written anew: `database-handler migrations lock`"


def _lock_problems(
    migrations: Sequence[Migration], lock: dict[str, str], unread: Sequence[str]
) -> Iterable[LockFileMismatch]:
    for line, migration in zip(lock_text(migrations).splitlines(), migrations, strict=True):
        name = migration.name
        if name not in lock:
            yield LockFileMismatch(
                f"{name} is not in versions.lock; add the line\n{line}\nor {_WRITE_ANEW}", [name]
            )
        elif lock[name] != migration.token_hash:
            yield LockFileMismatch(
                f"{name} is not what versions.lock recorded: put its SQL back, or, if only its way down was "
                f"changed, or it was never applied to its end anywhere, {_WRITE_ANEW}; its line is then\n"
                f"{line}",
                [name],
            )
    for name in sorted(lock.keys() - {migration.name for migration in migrations} - {*unread}):
        yield LockFileMismatch(
            f"versions.lock names {name}, and there is no such file: put it back, or, if it was never "
            f"applied anywhere, {_WRITE_ANEW}",
            [name],
        )


def check_history(migrations: Sequence[Migration], history: Sequence[Applied]) -> None:
    """Refuse a history that the files do not explain.

    Raises
    ------
    MissingMigration, ChangedMigration, OutOfOrderMigration, PartialMigration
    """
    raise_first(list(half_replaced(migrations, history)))
    history = folded(migrations, history)
    files = {migration.name: migration for migration in migrations}
    problems: list[MissingMigration | ChangedMigration | OutOfOrderMigration] = []
    for row in history:
        migration = files.get(row.name)
        if migration is None:
            problems.append(_missing(row, migrations))
        elif _is_changed(migration, row):
            problems.append(_changed(row))
    raise_first(problems)
    raise_first(list(_out_of_order(migrations, history)))


def _missing(row: Applied, migrations: Sequence[Migration]) -> MissingMigration:
    same = next((found.name for found in migrations if found.number == row.number), None)
    renamed = f"; {same} has its number, so if it was renamed, give it its old name back" if same else ""
    return MissingMigration(
        f"{row.name} was applied at {row.applied_at:%Y-%m-%d %H:%M}Z, and its file is not there{renamed}: "
        "put the file back, or run the release that has it (another folder needs a history_table of its own)",
        [row.name],
    )


def _changed(row: Applied) -> ChangedMigration:
    done = row.progress.parts if row.progress else 0
    where = f" in what is done of it, {counted(done, 'part')}," if row.progress else ""
    return ChangedMigration(
        f"{row.name} was changed{where} after it was applied at {row.applied_at:%Y-%m-%d %H:%M}Z: "
        f"{_what_may_change(row)}",
        [row.name],
    )


def _what_may_change(row: Applied) -> str:
    if row.progress:
        return "only comments, blanks, line endings and what comes after may change; put that SQL back"
    if row.up_hash:
        return (
            "only comments, blanks, line endings and its way down may change; put the rest of its SQL back, "
            "and write a new version"
        )
    return (
        "only comments, blanks and line endings may change; put its SQL back, and write a new version. (An "
        "earlier release recorded the way up and down as one. To change the way down alone: put it back, run "
        "`database-handler migrations lock`, which records them apart, and change it then)"
    )


def _is_changed(migration: Migration, row: Applied) -> bool:
    # What an interrupted run has not come to yet may be put right.
    if progress := row.progress:
        return migration.hash_of(progress.direction, progress.parts) != progress.parts_hash
    return not row.did_as(migration.token_hash, migration.up_hash)


def has_another_down(migration: Migration, row: Applied) -> bool:
    """Whether a version that is applied as a whole has another way down by now; that is allowed, and told."""
    return row.progress is None and migration.token_hash != row.token_hash and not _is_changed(migration, row)


def _out_of_order(
    migrations: Sequence[Migration], history: Sequence[Applied]
) -> Iterable[OutOfOrderMigration]:
    applied = {row.name for row in history}
    head = max(history, key=lambda row: row.number, default=None)
    for migration in migrations:
        if head and migration.name not in applied and migration.number < head.number:
            yield OutOfOrderMigration(
                f"{migration.name} is not applied, and {head.name} is: versions are applied in order; "
                "roll back to before it, or, if it is new, give it the next number",
                [migration.name],
            )


# ----------------------------------------------------------------------------------------------------- steps


def plan_up(migrations: Sequence[Migration], history: Sequence[Applied], target: Target = None) -> list[Step]:
    """Return what to apply, in order, to be at `target` (a name or a number; the last version when left out).

    Raises
    ------
    MigrationError
        Any of its kinds that files, history and target show; see `check_history`.
    """
    check_history(migrations, history)
    history = folded(migrations, history)
    rows = {row.name: row for row in history}
    _refuse_partial(history, Direction.DOWN)
    last = _number_of(migrations, target) if target is not None else None
    _refuse_behind(history, last, target)
    return [
        _step(migration, Direction.UP, rows.get(migration.name))
        for migration in migrations
        if (last is None or migration.number <= last) and not _is_applied(rows.get(migration.name))
    ]


def _is_applied(row: Applied | None) -> bool:
    return row is not None and row.progress is None


def _step(migration: Migration, direction: Direction, row: Applied | None) -> Step:
    progress = row.progress if row else None
    return Step(migration, direction, progress.parts if progress else 0, row is not None, progress)


def _refuse_partial(history: Sequence[Applied], direction: Direction) -> None:
    half, call = (
        ("half rolled back", "rollback()") if direction is Direction.DOWN else ("half applied", "migrate()")
    )
    for row in history:
        if row.progress and row.progress.direction is direction:
            raise PartialMigration(
                f"{row.name} is {half} ({row.progress.told}): call {call} to finish that",
                [row.name],
            )


def _refuse_behind(history: Sequence[Applied], last: int | None, target: Target) -> None:
    head = max((row.number for row in history), default=0)
    if last is not None and last < head:
        raise UnusableTarget(
            f"target {target} lies behind the head, {head:04}: migrate() goes up; "
            f"use rollback(target={target!r})"
        )


def _number_of(migrations: Sequence[Migration], target: str | int) -> int:
    found = [migration for migration in migrations if _names(migration, target)]
    if len(found) != 1:
        known = ", ".join(migration.name for migration in migrations[-5:]) or "none"
        raise UnusableTarget(
            f"there is no version {shown(target)}: a target is a version's name or number; "
            f"the last ones are {known}"
        )
    return found[0].number


def _names(migration: Migration, target: object) -> bool:
    if isinstance(target, str):
        return target == migration.name or (
            target.isascii() and target.isdigit() and len(target) < 10 and int(target) == migration.number
        )
    return type(target) is int and target == migration.number


def plan_down(
    migrations: Sequence[Migration], history: Sequence[Applied], steps: int = 1, target: Target = None
) -> list[Step]:
    """Return what to roll back, last first: `steps` versions, or all after `target` (0 is before the first).

    Raises
    ------
    MigrationError
        `IrreversibleMigration` when one of them has no down section, and those of `plan_up`.
    """
    check_history(migrations, history)
    history = folded(migrations, history)
    _refuse_partial(history, Direction.UP)
    rows = {row.name: row for row in history}
    applied = [migration for migration in reversed(migrations) if migration.name in rows]
    chosen = _after(migrations, applied, target) if target is not None else _last(applied, steps)
    irreversible = [migration.name for migration in chosen if not migration.reversible]
    if irreversible:
        raise IrreversibleMigration(
            f"{', '.join(irreversible)} cannot be rolled back: no `-- migrate: down` section; nothing was "
            "done. Write a new version that undoes it, or restore a backup",
            irreversible,
        )
    return [_step(migration, Direction.DOWN, rows[migration.name]) for migration in chosen]


def _last(applied: list[Migration], steps: int) -> list[Migration]:
    if type(steps) is not int or steps < 1:
        raise InvalidValue("steps is a whole number of versions, 1 or more")
    if steps > len(applied):
        lies = "is" if len(applied) == 1 else "are"
        raise UnusableTarget(
            f"{shown(steps)} versions were to be rolled back, and {counted(len(applied), 'version')} {lies} "
            "applied: ask for as many or fewer (`--steps`), or for target 0, which undoes all"
        )
    return applied[:steps]


def _after(migrations: Sequence[Migration], applied: list[Migration], target: str | int) -> list[Migration]:
    number = 0 if target in (0, "0", "0000") else _number_of(migrations, target)
    if number and number not in {migration.number for migration in applied}:
        raise UnusableTarget(
            f"target {target} is not applied: rollback() goes down to a version that is; "
            "use migrate(target=...)"
        )
    return [migration for migration in applied if migration.number > number]


# --------------------------------------------------------------------------------------------------- status


def state_of(migration: Migration | None, row: Applied | None) -> State:
    """Say how one version stands: its file against its row of the history."""
    if migration is None:
        return "missing"
    if row is None:
        return "pending"
    if _is_changed(migration, row):
        return "changed"
    return "partial" if row.progress else "applied"
