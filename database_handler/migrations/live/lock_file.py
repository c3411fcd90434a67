"""`versions.lock` written anew for files that were written by hand, and never for what was applied."""

import os
from pathlib import Path

from pydantic import BaseModel

from database_handler.config.database import DatabaseConfig
from database_handler.core.transaction import Autocommit
from database_handler.migrations.files.chain import LOCK_FILE
from database_handler.migrations.files.migration import read_folder
from database_handler.migrations.files.planning import check_files, check_history, lock_text
from database_handler.migrations.runner.running import FolderRun, connected

__all__ = ["Locked", "renew_lock"]


class Locked(BaseModel, frozen=True):
    """What changed in `versions.lock`: the versions that came to it, that changed, and that went."""

    path: Path
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def renew_lock(config: DatabaseConfig, run: FolderRun) -> Locked:
    """Write the lines of a folder's files as they are.

    Rows of an earlier release, which hold one hash over all, get that of the way up by itself as well.

    Raises
    ------
    ChangedMigration, MissingMigration
        This database has applied a version that is not what it was; nothing was written.
    MigrationError
        The files do not go together.
    """
    folder = run.folder.versions
    path = folder / LOCK_FILE
    migrations = read_folder(folder)
    check_files(migrations)
    with connected(config) as lease:
        rows = run.rows(Autocommit(lambda: lease).session)
        check_history(migrations, rows)
    before = _recorded(path)
    after = {migration.name: migration.token_hash for migration in migrations}
    text = lock_text(migrations)
    if not path.exists() or path.read_text("utf-8") != text:
        _write(path, text)
    if any(row.up_hash is None for row in rows):
        with connected(config) as lease:
            run.settle(lease)
    return Locked(
        path=path,
        added=tuple(name for name in after if name not in before),
        changed=tuple(name for name in after if name in before and before[name] != after[name]),
        removed=tuple(name for name in before if name not in after),
    )


def _recorded(path: Path) -> dict[str, str]:
    """Return what the file says, also of one that a merge of two branches left in pieces."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    parts = [line.split() for line in lines]
    return {each[0]: each[1] for each in parts if len(each) == 3}


def _write(path: Path, text: str) -> None:
    """Replace a file as a whole, or not at all."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
