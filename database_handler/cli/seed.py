"""Importing a folder of documents into a project.

Each batch of files is one unit of work, so a run that is killed leaves whole batches, and the next run goes
on from there. A file that cannot be taken ends as refused, with its reason; it never stops the others.

Originals are kept in the file store: each is put there when its text has been taken out, and held by the unit
that writes its row.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from database_handler.cli.drafts import text_source_draft
from database_handler.cli.sample_project import SampleReport, load_sample
from database_handler.content import isolation
from database_handler.content.documents import Limits, extract_document
from database_handler.content.errors import FileMissing, Refusal, UnreadableFile
from database_handler.content.files import fingerprint, read_original
from database_handler.content.folder import (
    FileReport,
    FolderReport,
    Found,
    Held,
    Outcome,
    Plan,
    Walk,
    plan_import,
    walk,
)
from database_handler.core.exceptions import DuplicateRecord, RecordNotFound, StaleRecord
from database_handler.database import Database
from database_handler.models import NewProject, NewTextSource, Project, TextSource
from database_handler.unit_of_work import UnitOfWork

__all__ = ["SampleReport", "find_or_create_project", "import_folder", "load_sample"]

T = TypeVar("T")
Progress = Callable[[FileReport, int, int], object]
_BATCH_FILES, _BATCH_CHARS = 100, 8_000_000
_TRIES = 10
_AHEAD = 8 * isolation.PROCESSES  # files read while a batch is being written


def find_or_create_project(db: Database, draft: NewProject) -> Project:
    """Return the project of the draft's slug as it is, or create it."""
    found = db.projects.list(slug=draft.slug, limit=1)
    if found:
        return found[0]
    try:
        return db.projects.create(draft)
    except DuplicateRecord:  # another process was faster
        return db.projects.list(slug=draft.slug, limit=1)[0]


def import_folder(
    db: Database,
    project: Project | NewProject,
    folder: str | Path,
    *,
    limits: Limits | None = None,
    on_progress: Progress | None = None,
) -> FolderReport:
    """Store the documents of a folder, below it too, as text sources; see `content.folder` for the rules.

    Parameters
    ----------
    project : Project or NewProject
        A new one is created, unless its slug is there already, once the folder was found to be readable.
    limits : Limits, optional
        What one file may cost.
    on_progress : callable, optional
        Called with each file's report, how many are done, and how many there are.

    Returns
    -------
    FolderReport
        One entry for every file. Unchanged files were read for their checksum and nothing else.

    Raises
    ------
    Refusal
        The folder itself cannot be listed.
    DatabaseHandlerError
        The database or the file store failed; the batches before are stored.
    """
    root = Path(folder).absolute()
    found = walk(root)
    owner = find_or_create_project(db, project) if not isinstance(project, Project) else project
    return _Import(db, owner.id, root, limits or Limits(), on_progress).run(found)


class _Conflict(Exception):
    """Somebody else wrote to the project meanwhile: the plan is made again."""


@dataclass(frozen=True, slots=True)
class _Ready:
    """A file that was read and can be written."""

    name: str
    draft: NewTextSource


class _Import:
    """One run over one folder: what is still to be done, and what became of the rest."""

    def __init__(
        self, db: Database, project_id: UUID, root: Path, limits: Limits, on_progress: Progress | None
    ) -> None:
        self._db, self._project_id, self._root = db, project_id, root
        self._limits, self._on_progress = limits, on_progress
        self._originals = db.files.store
        self._paths: dict[str, Path] = {}
        self._pending: dict[str, str] = {}  # name to checksum
        self._reports: list[FileReport] = []
        self._total = 0

    def run(self, found: Walk) -> FolderReport:
        """Take every file to its end."""
        self._total = len(found.files)
        with ThreadPoolExecutor(isolation.PROCESSES, thread_name_prefix="import") as pool:
            self._fingerprint(pool, found.files)
            self._work_off(pool)
        files = sorted(self._reports, key=lambda report: report.path)
        return FolderReport(tuple(files), tuple(found.hidden), self._project_id)

    def _report(self, report: FileReport) -> None:
        self._pending.pop(report.path, None)
        self._reports.append(report)
        if self._on_progress is not None:
            self._on_progress(report, len(self._reports), self._total)

    def _refuse(self, name: str, error: Refusal) -> None:
        self._report(FileReport(name, Outcome.REFUSED, error.reason, str(error)))

    # ------------------------------------------------------------------------------------- what is there

    def _fingerprint(self, pool: ThreadPoolExecutor, files: Iterable[Found]) -> None:
        for file, result in _each(pool, self._checksum, files):
            if isinstance(result, Refusal):
                self._refuse(file.name, result)
            else:
                self._pending[file.name] = result
                self._paths[file.name] = file.path

    def _checksum(self, file: Found) -> str | Refusal:
        if file.refused is not None:
            return file.refused
        try:
            return fingerprint(file.path, limit=self._limits.file_bytes, root=self._root).checksum
        except Refusal as error:
            return error

    def _held(self) -> Iterator[Held]:
        # The contents stay in the database: names and checksums are all that the plan needs.
        rows = self._db.session.all(
            "SELECT id, filename, checksum, version FROM text_sources WHERE project_id = %s",
            [self._project_id],
        )
        return (Held(*row) for row in rows)

    # -------------------------------------------------------------------------------------- what is done

    def _work_off(self, pool: ThreadPoolExecutor) -> None:
        """Plan and do, until only duplicates are left: their originals are stored by then."""
        conflicts = 0
        while True:
            plan = plan_import(self._pending, self._held())
            for name, held in plan.unchanged.items():
                self._report(FileReport(name, Outcome.UNCHANGED, record_id=held.id))
            if not (plan.changed or plan.stored):
                break
            try:
                self._do(pool, plan)
            except _Conflict:
                conflicts += 1
                if conflicts == _TRIES:
                    raise DuplicateRecord(
                        "the project was written to by somebody else again and again; run the import again",
                        table="text_sources",
                    ) from None
        for name, original in plan.duplicates.items():
            self._report(_duplicate(name, original))

    def _do(self, pool: ThreadPoolExecutor, plan: Plan) -> None:
        if plan.changed:
            # One batch, then a new plan: a refused file keeps its row, which others may have counted on.
            self._change(pool, plan.changed)
        else:
            self._store(pool, plan.stored)

    def _change(self, pool: ThreadPoolExecutor, changed: Mapping[str, Held]) -> None:
        names = list(changed)[:_BATCH_FILES]
        ready = []
        for file in self._read(pool, names):
            if file is None:
                break
            ready.append(file)
        if ready:
            records = self._written(
                ready, lambda unit: [_update(unit, changed[file.name], file) for file in ready]
            )
            self._done(ready, records, Outcome.CHANGED)

    def _store(self, pool: ThreadPoolExecutor, names: Iterable[str]) -> None:
        for batch in _batches(self._read(pool, names)):
            self._done(batch, self._created(batch), Outcome.STORED)

    def _created(self, files: list[_Ready]) -> list[TextSource]:
        return self._written(
            files, lambda unit: unit.text_sources.create_many([file.draft for file in files])
        )

    def _written(
        self, files: Iterable[_Ready], write: Callable[[UnitOfWork], list[TextSource]]
    ) -> list[TextSource]:
        uris = [file.draft.storage_uri for file in files if file.draft.storage_uri]

        def work(unit: UnitOfWork) -> list[TextSource]:
            unit.files.hold(*uris)
            return write(unit)

        try:
            return self._db.run(work)
        except (DuplicateRecord, StaleRecord, RecordNotFound, FileMissing):  # missing: swept meanwhile
            pass
        raise _Conflict

    def _done(self, files: Iterable[_Ready], records: Iterable[TextSource], outcome: Outcome) -> None:
        for file, record in zip(files, records, strict=True):
            self._report(FileReport(file.name, outcome, record_id=record.id))

    # --------------------------------------------------------------------------------------------- reading

    def _read(self, pool: ThreadPoolExecutor, names: Iterable[str]) -> Iterator[_Ready | None]:
        """Give each file as a draft, in order, None for a refused one."""
        for name, result in _each(pool, self._drafted, names):
            if isinstance(result, Refusal):
                self._refuse_content(name, result)
                yield None
            else:
                yield _Ready(name, result)

    def _refuse_content(self, name: str, error: Refusal) -> None:
        """Refuse a file and the others of the same content."""
        checksum = self._pending[name]
        for other in [other for other, content in self._pending.items() if content == checksum]:
            self._refuse(other, error)

    def _drafted(self, name: str) -> NewTextSource | Refusal:
        try:
            original = read_original(
                self._paths[name], limit=self._limits.file_bytes, filename=name, root=self._root
            )
            if original.checksum != self._pending[name]:
                return UnreadableFile("the file was written to while it was read; run the import again")
            draft = text_source_draft(self._project_id, name, extract_document(original, self._limits))
        except Refusal as error:
            return error
        self._originals.put(original.data)
        return draft


def _each(pool: ThreadPoolExecutor, work: Callable[[T], Any], items: Iterable[T]) -> Iterator[tuple[T, Any]]:
    """Do work on each item in the pool, give the results in order, and keep only a few waiting."""
    waiting: list[tuple[T, Any]] = []
    for item in items:
        waiting.append((item, pool.submit(work, item)))
        if len(waiting) > _AHEAD:
            first, future = waiting.pop(0)
            yield first, future.result()
    for item, future in waiting:
        yield item, future.result()


def _batches(files: Iterable[_Ready | None]) -> Iterator[list[_Ready]]:
    batch: list[_Ready] = []
    size = 0
    for file in files:
        if file is None:
            continue
        batch.append(file)
        size += len(file.draft.content)
        if len(batch) == _BATCH_FILES or size >= _BATCH_CHARS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _duplicate(name: str, original: "str | Held") -> FileReport:
    if isinstance(original, str):
        return FileReport(name, Outcome.DUPLICATE, duplicate_of=original)
    of = original.filename or f"text source {original.id}"
    return FileReport(name, Outcome.DUPLICATE, duplicate_of=of, record_id=original.id)


_IMPORTED = (
    "title",
    "content",
    "content_type",
    "language",
    "filename",
    "size_bytes",
    "checksum",
    "storage_uri",
    "metadata",
)


def _update(unit: UnitOfWork, held: Held, file: _Ready) -> TextSource:
    changes = {field: getattr(file.draft, field) for field in _IMPORTED}
    return unit.text_sources.update(held.id, changes, expected_version=held.version)
