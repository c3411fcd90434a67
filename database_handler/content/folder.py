"""What importing a folder will do is decided before anything is written, from names and checksums alone.

Every file ends with exactly one `Outcome`. The rules, for a project in which a content is stored once:

* the same name and the same content as a stored text: unchanged. It is not even opened a second time;
* a stored name with new content: changed, in its row. Content that is no longer in the folder is thereby
  replaced, as the file itself was;
* content that another stored text or another file of this folder holds: duplicate of that one. Where such a
  file has a row of its own from before, that row stays as it is: nothing is deleted unasked. Files that
  swapped their contents are duplicates of each other's rows for the same reason, and a renamed file is a
  duplicate of its old name;
* anything else: stored.

Names are paths relative to the folder with `/` between the steps, in Unicode NFC. Links are never followed
and refused like pipes and devices; names that begin with a dot are left out, and listed.
"""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from database_handler.content.errors import NotARegularFile, Refusal, UnreadableFile, UnusableName
from database_handler.utils.choices import Choice
from database_handler.utils.errors import InvalidValue
from database_handler.utils.validators import filename, storage_uri

__all__ = ["FileReport", "FolderReport", "Found", "Held", "Outcome", "Plan", "Walk", "plan_import", "walk"]


class Outcome(Choice):
    """How the import of one file ended."""

    STORED = "stored"
    UNCHANGED = "unchanged"
    CHANGED = "changed"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of one file.

    Attributes
    ----------
    path : str
        Relative to the folder.
    reason, message : str, optional
        For a refused file: the short code, and what is wrong and allowed.
    duplicate_of : str, optional
        For a duplicate: the file, or the stored text, that holds the same content.
    record_id : UUID, optional
        The row that holds the file's content; None for a refused file.
    """

    path: str
    outcome: Outcome
    reason: str | None = None
    message: str | None = None
    duplicate_of: str | None = None
    record_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class FolderReport:
    """What became of every file of a folder, in the order of their names."""

    files: tuple[FileReport, ...]
    hidden: tuple[str, ...] = ()
    project_id: UUID | None = None

    @property
    def counts(self) -> dict[Outcome, int]:
        """Return how many files ended with each outcome, zeros included."""
        counted = Counter(file.outcome for file in self.files)
        return {outcome: counted[outcome] for outcome in Outcome}

    def of(self, outcome: Outcome) -> tuple[FileReport, ...]:
        """Return the files that ended with one outcome."""
        return tuple(file for file in self.files if file.outcome is outcome)


@dataclass(frozen=True, slots=True)
class Found:
    """One entry of a folder: its name as stored, its path as the system has it, or why it is not taken."""

    name: str
    path: Path
    refused: Refusal | None = None


@dataclass(slots=True)
class Walk:
    """The entries of a folder that count as files, and the names of the hidden ones left out."""

    files: list[Found] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)


def walk(root: Path) -> Walk:
    """List every file below a folder, sorted by name; links are not followed.

    Raises
    ------
    UnreadableFile, NotARegularFile
        The folder itself is not there, cannot be listed, or is no folder.
    """
    if not root.is_dir():
        raise (
            NotARegularFile(f"the path is no folder: {root}")
            if root.exists()
            else UnreadableFile(f"the folder is not there: {root}")
        )
    found = Walk()
    pending = [Path()]
    while pending:
        pending.extend(_list(root, pending.pop(), found))
    found.files = _named_once(sorted(found.files, key=lambda file: file.name))
    found.hidden.sort()
    return found


def _list(root: Path, folder: Path, found: Walk) -> Iterator[Path]:
    try:
        entries = list(os.scandir(root / folder))
    except OSError as error:
        if folder == Path():
            raise UnreadableFile(f"the folder cannot be listed: {_why(error)}") from None
        refused = UnreadableFile(f"the folder cannot be listed: {_why(error)}")
        found.files.append(Found(f"{_shown(folder)}/", folder, refused))
        return
    for entry in entries:
        path = folder / entry.name
        if entry.name.startswith("."):
            found.hidden.append(_shown(path))
        elif entry.is_dir(follow_symlinks=False):
            yield path
        else:
            found.files.append(_found(path, entry))


def _why(error: OSError) -> str:
    return os.strerror(error.errno or 0).lower()


def _found(path: Path, entry: "os.DirEntry[str]") -> Found:
    if not entry.is_file(follow_symlinks=False):
        return Found(_shown(path), path, NotARegularFile())
    if refused := _name_refused(path):
        return Found(_shown(path), path, refused)
    return Found(unicodedata.normalize("NFC", path.as_posix()), path)


def _name_refused(path: Path) -> UnusableName | None:
    try:
        for step in path.parts:
            filename(step)
        storage_uri(path.as_posix())
    except InvalidValue as error:
        return UnusableName(str(error))
    return None


def _shown(path: Path) -> str:
    """Return a name that can be printed and stored: what is not UTF-8, and controls, as backslash escapes."""
    text = os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
    return "".join(
        sign.encode("unicode_escape").decode() if unicodedata.category(sign) == "Cc" else sign
        for sign in text
    )


def _named_once(files: list[Found]) -> list[Found]:
    """Refuse the later ones of several files whose names are the same letters, composed differently."""
    seen: set[str] = set()
    kept: list[Found] = []
    for file in files:
        if file.refused is None and file.name in seen:
            message = "another file of the folder has the same name, its letters composed differently"
            kept.append(Found(file.name, file.path, UnusableName(message)))
        else:
            kept.append(file)
        seen.add(file.name)
    return kept


@dataclass(frozen=True, slots=True)
class Held:
    """A text that the project holds already: its row, its file name if it has one, its content's checksum."""

    id: UUID
    filename: str | None
    checksum: str
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What an import will do.

    Attributes
    ----------
    unchanged : dict
        File name to the row that holds it.
    changed : dict
        File name to the row to be updated. Apply them one by one in this order: a row may take a checksum
        that the one before has just given up.
    stored : list
        File names to be stored as new rows, after all the changed ones.
    duplicates : dict
        File name to the file name or to the row that holds the same content.
    """

    unchanged: dict[str, Held]
    changed: dict[str, Held]
    stored: list[str]
    duplicates: dict[str, "str | Held"]


def plan_import(files: Mapping[str, str], held: Iterable[Held]) -> Plan:
    """Return what importing files (name to checksum) into a project that holds texts already will do.

    The answer depends on its arguments only, not on the order in which they come: names are taken in their
    own order, and of several rows of one name the one with the greatest id counts.
    """
    rows = sorted(held, key=lambda row: row.id)
    exact = {(row.filename, row.checksum): row for row in rows}
    by_name = {row.filename: row for row in rows if row.filename is not None}
    names = sorted(files)
    unchanged = {name: exact[name, files[name]] for name in names if (name, files[name]) in exact}
    wanted = {name: by_name[name] for name in names if name in by_name and name not in unchanged}
    changed = _changes(files, wanted, rows)
    final = _holders(files, changed, rows)
    stored: list[str] = []
    duplicates: dict[str, str | Held] = {}
    for name in names:
        if name in unchanged or name in changed:
            continue
        if files[name] in final:
            duplicates[name] = final[files[name]]
        else:
            stored.append(name)
            final[files[name]] = name
    return Plan(unchanged, changed, stored, duplicates)


def _holders(
    files: Mapping[str, str], changed: Mapping[str, Held], rows: list[Held]
) -> dict[str, "str | Held"]:
    """Return who holds each checksum once the changes are made."""
    moved = {row.id for row in changed.values()}
    final: dict[str, str | Held] = {row.checksum: row for row in rows if row.id not in moved}
    final.update({files[name]: name for name in changed})
    return final


def _changes(files: Mapping[str, str], wanted: Mapping[str, Held], rows: list[Held]) -> dict[str, Held]:
    """Return the rows that can take their file's new content, in an order in which each step is possible."""
    moves = _Moves(files, wanted, rows)
    for name in wanted:
        moves.claim(name)
    return moves.ordered()


class _Moves:
    """Which rows may give up their content and which contents are thereby claimed, each once."""

    def __init__(self, files: Mapping[str, str], wanted: Mapping[str, Held], rows: list[Held]) -> None:
        self._files, self._wanted = files, wanted
        moving = {row.id for row in wanted.values()}
        self._staying = {row.checksum for row in rows if row.id not in moving}
        self._claims: dict[str, str] = {}

    def claim(self, name: str) -> None:
        """Let a row take its file's content, unless a row that stays, or an earlier one, has it."""
        content = self._files[name]
        if content in self._staying or content in self._claims:
            self._stay(name)
        else:
            self._claims[content] = name

    def _stay(self, name: str | None) -> None:
        """Let a row stay as it is, and so every row that had counted on the content it would give up."""
        while name is not None:
            kept = self._wanted[name].checksum
            self._staying.add(kept)
            name = self._claims.pop(kept, None)

    def ordered(self) -> dict[str, Held]:
        """Return the claims, each after the one that frees its content."""
        holder = {self._wanted[name].checksum: name for name in self._claims.values()}
        order: dict[str, Held] = {}
        for first in self._claims.values():
            chain: dict[str, None] = {}
            name: str | None = first
            while name is not None and name not in order and name not in chain:
                chain[name] = None
                name = holder.get(self._files[name])
            if name is None or name in order:
                order.update({step: self._wanted[step] for step in reversed(chain)})
            # Else contents were swapped in a circle: no row can move first, so all of it stay.
        return order
