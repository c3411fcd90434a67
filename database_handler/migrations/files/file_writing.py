"""Writes a version's file as a whole or not at all, and its line of `versions.lock` with it."""

import fcntl
import os
import re
import secrets
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from database_handler.core.exceptions import InvalidValue
from database_handler.migrations.errors import DuplicateMigration
from database_handler.migrations.files.chain import LOCK_FILE
from database_handler.migrations.files.migration import parse, read_folder
from database_handler.migrations.files.planning import check_files, lock_text, read_lock

__all__ = ["message_line", "next_name", "rendered", "replace_versions", "write_version"]

_LONGEST_SLUG = 60
_LONGEST_MESSAGE = 200

_BLANKS = " \t\n\r\f\v"  # what SQL takes for white space; Python takes more, and a name may end in that


def next_name(folder: Path, message: str) -> str:
    """Return the name of the folder's next version: the next number, and the words of the message.

    Raises
    ------
    InvalidValue
        The message has no word in it.
    """
    numbers = [migration.number for migration in read_folder(folder)] if folder.is_dir() else []
    return f"{max(numbers, default=0) + 1:04}_{_slug(message)}"


def _slug(message: str) -> str:
    folded = unicodedata.normalize("NFKD", message.casefold())
    plain = folded.encode("ascii", "ignore").decode("ascii")
    words = re.findall(r"[a-z0-9]+", plain.replace("'", ""))
    while len("_".join(words)) > _LONGEST_SLUG and len(words) > 1:
        words.pop()
    if words:
        return "_".join(words)[:_LONGEST_SLUG]
    if any(map(str.isalnum, message)):
        return "changes"  # words, but in no script that a file's name is written in here
    raise InvalidValue("message is what the version does in a few words, such as 'add owner to projects'")


def message_line(message: str) -> str:
    """Return the header's line for a message: one line, and nothing that could be read as a marker."""
    told = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    return f"message: {told[:_LONGEST_MESSAGE]}"


def rendered(name: str, sections: Iterable[str], header: Sequence[str] = ()) -> str:
    """Return a version's text: its name, the header's lines as comments, and the sections.

    Parameters
    ----------
    sections : iterable of str
        Each with its marker.
    """
    comments = "".join(f"-- {line}\n" for line in (name, *header))
    return comments + "".join(f"{section.rstrip(_BLANKS)}\n" for section in sections)


# -------------------------------------------------------------------------------------------------- writing


def write_version(folder: Path, name: str, text: str) -> Path:
    """Write ``NAME.sql`` and renew `versions.lock`; the folder is made where there is none.

    Raises
    ------
    MigrationError
        The text is no migration, its number is taken, or the folder's files are not what was recorded;
        nothing was written.
    """
    return replace_versions(folder, name, text, ())


def replace_versions(folder: Path, name: str, text: str, replaced: Sequence[Path]) -> Path:
    """Write ``NAME.sql``, take the `replaced` files away, and renew `versions.lock`.

    Raises
    ------
    MigrationError
        As for `write_version`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.sql"
    content = text.encode("utf-8")
    with _alone(folder):
        lock = _renewed_lock(folder, path, content, replaced)
        parked = _parked(replaced)
        try:
            _create(path, content)
            _replace(folder / LOCK_FILE, lock)
        except BaseException:
            _put_back(path, parked)
            raise
        for aside in parked.values():
            aside.unlink()
        _sync(folder)
    return path


def _renewed_lock(folder: Path, path: Path, content: bytes, replaced: Sequence[Path]) -> bytes:
    """Return the new `versions.lock`, having checked all that can be wrong before anything is written."""
    there = read_folder(folder)
    lock = folder / LOCK_FILE
    check_files(there, read_lock(lock, lock.read_text("utf-8")) if lock.exists() else None)
    new = parse(path, content)
    gone = {each.name for each in replaced}
    kept = [migration for migration in there if migration.path.name not in gone]
    for migration in kept:
        if migration.number == new.number:
            raise DuplicateMigration(
                f"number {new.number:04} is {migration.name} already: another version was written meanwhile; "
                "run it again",
                [migration.name],
            )
    found = sorted([*kept, new], key=lambda migration: migration.number)
    check_files(found)
    return lock_text(found).encode("utf-8")


def _parked(paths: Sequence[Path]) -> dict[Path, Path]:
    """Move files aside under names that no folder's reader takes for versions."""
    parked = {path: path.with_name(f".{path.name}.replaced") for path in paths}
    for path, aside in parked.items():
        path.rename(aside)
    return parked


def _put_back(path: Path, parked: dict[Path, Path]) -> None:
    with suppress(FileNotFoundError):
        path.unlink()
    for place, aside in parked.items():
        aside.rename(place)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep a second writer out: two versions of one number would both be sound by themselves."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _create(path: Path, content: bytes) -> None:
    with _synced(path, content) as temporary:
        os.link(temporary, path)  # unlike a rename it refuses a name that is taken


def _replace(path: Path, content: bytes) -> None:
    with _synced(path, content) as temporary:
        temporary.replace(path)


@contextmanager
def _synced(path: Path, content: bytes) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
