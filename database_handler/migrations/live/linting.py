"""Lint over a folder: which files, the schema that each is applied to, and what its statements cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from database_handler.config.database import DatabaseConfig
from database_handler.core.exceptions import ConnectionLost, DatabaseUnavailable
from database_handler.core.transaction import Transaction
from database_handler.migrations.errors import ScratchUnavailable
from database_handler.migrations.files.migration import Migration, read_file
from database_handler.migrations.live.standing import Live, look_live
from database_handler.migrations.live.traffic import read_sizes
from database_handler.migrations.runner.running import FolderRun, connected
from database_handler.migrations.safety.lint import LintReport, lint
from database_handler.migrations.safety.measuring import measure
from database_handler.migrations.safety.planned import build_in
from database_handler.migrations.schema.introspection import take_snapshot
from database_handler.migrations.scratch.place import scratch_database
from database_handler.migrations.verdicts import Judged

__all__ = ["LintReports", "lint_versions"]


class LintReports(Judged, frozen=True):
    """What lint found, a report a file.

    Attributes
    ----------
    unmeasured : str or None
        Why the files were only read: no server answers, or no copy can be had.
    """

    verdicts: ClassVar = ("failed",)

    reports: tuple[LintReport, ...] = ()
    unmeasured: str | None = None

    @property
    def failed(self) -> bool:
        """Whether a finding is neither a note nor allowed."""
        return any(report.failed for report in self.reports)


def lint_versions(
    config: DatabaseConfig, runs: Sequence[FolderRun], paths: Sequence[Path], *, sizes: bool = False
) -> LintReports:
    """Look over what is pending, or some files; measured on a scratch copy where one can be had.

    Raises
    ------
    MalformedMigration
        A file is no migration.
    MigrationFailed
        A statement fails on the scratch copy.
    """
    try:
        live = look_live(config, runs)
        rows = _sizes(config, live) if sizes else {}
    except (DatabaseUnavailable, ConnectionLost) as error:
        found = _chosen(runs, paths, None)
        return LintReports(reports=tuple(map(lint, found)), unmeasured=_told(error))
    chosen = _chosen(runs, paths, live)
    try:
        return LintReports(reports=_measured(config, runs, chosen, rows))
    except ScratchUnavailable as error:
        reports = (lint(migration, sizes=rows) for migration in chosen)
        return LintReports(reports=tuple(reports), unmeasured=_told(error))


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _sizes(config: DatabaseConfig, live: Live) -> dict[str, int]:
    with connected(config) as lease, Transaction(lambda: lease) as session:
        return {name: rows for name, (rows, _) in read_sizes(session, live.schema, estimated=True).items()}


def _chosen(runs: Sequence[FolderRun], paths: Sequence[Path], live: Live | None) -> list[Migration]:
    """Return the files that are meant: those named, or what is pending, or all where no server answers."""
    own = runs[-1].files
    if not paths:
        pending = None if live is None else {each.name for each in live.pending}
        return [each for each in own if pending is None or each.name in pending]
    known = {each.path.resolve(): each for each in own}
    return [known.get(_resolved(path)) or read_file(path) for path in paths]


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, ValueError):
        return path  # reading it says why


def _measured(
    config: DatabaseConfig, runs: Sequence[FolderRun], chosen: Sequence[Migration], sizes: Mapping[str, int]
) -> tuple[LintReport, ...]:
    """Run every version in its place in a scratch database, and look over those that are meant."""
    if not chosen:
        return ()
    names = {each.path for each in chosen}
    known = [version for run in runs for version in run.files]
    apart = [each for each in chosen if each.path not in {version.path for version in known}]
    reports: dict[Path, LintReport] = {}
    with scratch_database(config) as scratch:
        for version in (*known, *apart):
            if version.path in names:
                reports[version.path] = _report(scratch, version, sizes)
            elif len(reports) < len(names):
                build_in(scratch, [version])
    return tuple(reports[each.path] for each in chosen)


def _report(scratch: DatabaseConfig, version: Migration, sizes: Mapping[str, int]) -> LintReport:
    before = take_snapshot(scratch)
    return lint(version, before=before, measured=measure(scratch, version), sizes=sizes)
