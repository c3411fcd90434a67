"""Takes away the backups that no rule keeps, what was left unfinished, and originals that no backup needs."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from database_handler.content.store import uri_of
from database_handler.operations.backup.place import BackupPlace, is_forgotten
from database_handler.operations.backup.retention import Retention, retained
from database_handler.operations.backup.values import FoundBackup, Manifest, Pruned

__all__ = ["prune"]

_LOOK = 100  # originals that go between two looks at whether somebody has begun a backup


def prune(place: BackupPlace, retention: Retention, now: datetime, *, dry_run: bool) -> Pruned:
    """Remove backups of a place; see `Backups.prune`."""
    found = place.found()
    good = [each for each in found if each.state == "complete" and each.manifest is not None]
    kept = _kept(good, retention)
    removed = [each for each in good if each.name not in kept]
    leftovers = [each for each in found if is_forgotten(each, now)]
    if not dry_run:
        for backup in (*removed, *leftovers):
            place.remove_backup(backup.name, backup.manifest)
        place.clear_unfinished()
    originals, size = _originals(place, found, {each.name for each in (*removed, *leftovers)}, dry_run)
    return Pruned(
        dry_run=dry_run,
        removed=tuple(each.name for each in removed),
        kept=tuple(each.name for each in good if each.name in kept),
        leftovers=tuple(each.name for each in leftovers),
        damaged=tuple(each.name for each in found if each.state == "damaged"),
        originals=originals,
        bytes=size + sum(each.size_bytes for each in (*removed, *leftovers)),
    )


def _kept(good: Sequence[FoundBackup], retention: Retention) -> frozenset[str]:
    """Choose for each database by itself: one that is backed up often must not push out another."""
    by_database: dict[tuple[str, str], list[Manifest]] = {}
    for each in good:
        if each.manifest is not None:
            key = (each.manifest.system_identifier, each.manifest.database)
            by_database.setdefault(key, []).append(each.manifest)
    kept: set[str] = set()
    for manifests in by_database.values():
        moments = retained((each.started for each in manifests), retention)
        kept.update(each.name for each in manifests if each.started in moments)
    return frozenset(kept)


def _originals(
    place: BackupPlace, found: Iterable[FoundBackup], gone: set[str], dry_run: bool
) -> tuple[int, int]:
    """Remove originals that no backup left needs; none while one is being made, or cannot be read."""
    left = [each for each in found if each.name not in gone]
    if any(each.manifest is None for each in left):
        return 0, 0
    known = {each.name for each in left} | gone
    needed = _needed(each.manifest for each in left if each.manifest)
    loose = [file for file in place.originals.iterate() if file.checksum not in needed]
    count = size = 0
    for number, file in enumerate(loose):
        if number % _LOOK == 0 and _is_busy(place, known):
            break
        if dry_run or place.originals.delete(uri_of(file.checksum)):
            count, size = count + 1, size + file.size_bytes
    return count, size


def _needed(manifests: Iterable[Manifest]) -> set[str]:
    return {file.checksum for manifest in manifests for file in manifest.files}


def _is_busy(place: BackupPlace, known: set[str]) -> bool:
    """Tell whether a backup was begun since the place was looked at: it may count on what lies here."""
    return not place.names() <= known
