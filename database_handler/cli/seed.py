"""Filling a database: a folder of documents into a project, and the sample project.

Each batch of files is one unit of work, so a run that is killed leaves whole batches, and the next run goes
on from there. A file that cannot be taken ends as refused, with its reason; it never stops the others.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from uuid import UUID

from pydantic import ValidationError

from database_handler.content import isolation, sample
from database_handler.content.documents import Document, Limits, extract_document, read_document
from database_handler.content.errors import Refusal, UnreadableFile, Unstorable
from database_handler.content.files import fingerprint, read_original
from database_handler.content.folder import (
    FileReport,
    FolderReport,
    Found,
    Held,
    Outcome,
    Plan,
    plan_import,
    walk,
)
from database_handler.core.exceptions import DuplicateRecord, InvalidValue, RecordNotFound, StaleRecord
from database_handler.database import Database
from database_handler.models import (
    ContentFormat,
    LinkKind,
    NewLink,
    NewProject,
    NewSummary,
    NewTextSource,
    NewTranslation,
    NewVideo,
    Project,
    ProjectStatus,
    Summary,
    SummaryKind,
    TextSource,
    TranslationStatus,
    VideoStatus,
)
from database_handler.repositories import Upserted
from database_handler.unit_of_work import UnitOfWork

__all__ = ["SampleReport", "find_or_create_project", "import_folder", "load_sample"]

T = TypeVar("T")
Progress = Callable[[FileReport, int, int], object]
_BATCH_FILES, _BATCH_CHARS = 100, 8_000_000
_TRIES = 10


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
    project: Project,
    folder: str | Path,
    *,
    limits: Limits | None = None,
    on_progress: Progress | None = None,
) -> FolderReport:
    """Store the documents of a folder, below it too, as text sources; see `content.folder` for the rules.

    Parameters
    ----------
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
        The database failed; the batches before are stored.
    """
    return _Import(db, project.id, Path(folder).absolute(), limits or Limits(), on_progress).run()


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
        self._paths: dict[str, Path] = {}
        self._pending: dict[str, str] = {}  # name to checksum
        self._reports: list[FileReport] = []
        self._total = 0

    def run(self) -> FolderReport:
        found = walk(self._root)
        self._total = len(found.files)
        with ThreadPoolExecutor(isolation.PROCESSES, thread_name_prefix="import") as pool:
            self._fingerprint(pool, found.files)
            self._work_off(pool)
        files = sorted(self._reports, key=lambda report: report.path)
        return FolderReport(tuple(files), tuple(found.hidden))

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
            "SELECT id, coalesce(metadata->>'path', filename), checksum, version"
            " FROM text_sources WHERE project_id = %s",
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
            records = self._written(lambda unit: [_update(unit, changed[file.name], file) for file in ready])
            self._done(ready, records, Outcome.CHANGED)

    def _store(self, pool: ThreadPoolExecutor, names: Iterable[str]) -> None:
        for batch in _batches(self._read(pool, names)):
            drafts = [file.draft for file in batch]
            records = self._written(lambda unit, drafts=drafts: unit.text_sources.create_many(drafts))
            self._done(batch, records, Outcome.STORED)

    def _written(self, write: Callable[[UnitOfWork], list[TextSource]]) -> list[TextSource]:
        try:
            return self._db.run(write)
        except (DuplicateRecord, StaleRecord, RecordNotFound):
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
            uri = (self._root / self._paths[name]).as_uri()
            return _draft(self._project_id, name, extract_document(original, self._limits), uri)
        except Refusal as error:
            return error


def _each(pool: ThreadPoolExecutor, work: Callable[[T], Any], items: Iterable[T]) -> Iterator[tuple[T, Any]]:
    """Do work on each item in the pool, give the results in order, and keep only a few waiting."""
    waiting: list[tuple[T, Any]] = []
    for item in items:
        waiting.append((item, pool.submit(work, item)))
        if len(waiting) > 2 * isolation.PROCESSES:
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


def _draft(project_id: UUID, name: str, document: Document, uri: str) -> NewTextSource:
    base = PurePosixPath(name).name
    facts: dict[str, Any] = {"path": name, **document.metadata}
    if document.encoding not in {None, "utf-8"}:
        facts["encoding"] = document.encoding
    try:
        return NewTextSource(
            project_id=project_id,
            title=document.title or base,
            content=document.content,
            content_type=document.content_type,
            language=document.language,
            filename=base,
            size_bytes=document.size_bytes,
            checksum=document.checksum,
            storage_uri=uri,
            metadata=facts,
        )
    except (InvalidValue, ValidationError) as error:
        failure = Unstorable(f"{Unstorable.__doc__} ({_fields(error)})")
    raise failure


def _fields(error: InvalidValue | ValidationError) -> str:
    """Say which rule was broken, without the value."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors())
    return str(error)


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


# ---------------------------------------------------------------------------------------- the sample project


@dataclass(frozen=True, slots=True)
class SampleReport:
    """The sample project as it is stored, and how many records of each entity were there or written."""

    project: Project
    outcomes: dict[str, dict[str, int]]


def load_sample(db: Database) -> SampleReport:
    """Store the sample project in one unit; what is stored and unchanged is not rewritten."""
    entries = sample.load_sample()
    facts = entries.project
    draft = NewProject(
        name=facts.name,
        description=facts.description,
        status=ProjectStatus(facts.status),
        owner=facts.owner,
        tags=facts.tags,
        metadata=dict(facts.metadata),
    )
    documents = {entry.file: (entry, read_document(entry.path)) for entry in entries.documents}
    return db.run(lambda unit: _Sample(unit, draft, entries, documents).store())


class _Sample:
    def __init__(
        self,
        unit: UnitOfWork,
        draft: NewProject,
        entries: sample.SampleProject,
        documents: Mapping[str, tuple[sample.SampleDocument, Document]],
    ) -> None:
        self._unit, self._entries, self._documents = unit, entries, documents
        self._outcomes: dict[str, dict[str, int]] = {}
        self._project = self._counted("projects", [unit.projects.upsert(draft)])[0]

    def _counted(self, entity: str, written: list[Upserted[Any]]) -> list[Any]:
        counts = self._outcomes.setdefault(entity, {"inserted": 0, "updated": 0, "unchanged": 0})
        for each in written:
            counts[each.outcome] += 1
        return [each.record for each in written]

    def store(self) -> SampleReport:
        sources = self._sources()
        summaries = self._summaries(sources)
        translations = self._translations(sources, summaries)
        self._video(translations[self._entries.video.target_language])
        links = [
            NewLink(
                project_id=self._project.id,
                url=link.url,
                title=link.title,
                kind=LinkKind(link.kind),
                description=link.description,
            )
            for link in self._entries.links
        ]
        self._counted("links", self._unit.links.upsert_many(links))
        return SampleReport(self._project, self._outcomes)

    def _sources(self) -> dict[str, TextSource]:
        drafts = [
            _draft(self._project.id, name, document, entry.path.as_uri())
            for name, (entry, document) in self._documents.items()
        ]
        records = self._counted("text_sources", self._unit.text_sources.upsert_many(drafts))
        return dict(zip(self._documents, records, strict=True))

    def _summaries(self, sources: Mapping[str, TextSource]) -> dict[tuple[str, str], Summary]:
        entries = self._entries.summaries
        drafts = [
            NewSummary(
                project_id=self._project.id,
                text_source_id=sources[entry.document].id,
                kind=SummaryKind(entry.kind),
                language=entry.language,
                content=entry.content,
                content_format=ContentFormat(entry.content_format),
                generator=entry.generator,
            )
            for entry in entries
        ]
        records = self._counted("summaries", self._unit.summaries.upsert_many(drafts))
        return {(e.document, e.kind): record for e, record in zip(entries, records, strict=True)}

    def _translations(
        self, sources: Mapping[str, TextSource], summaries: Mapping[tuple[str, str], Summary]
    ) -> dict[str, UUID]:
        """Store them all and return the ids of those of the passage, by language."""
        of_passage = [
            self._translation(entry, text_source_id=sources[entry.document].id)
            for entry in self._entries.translations
        ]
        of_summaries = [
            self._translation(entry, summary_id=summaries[entry.document, entry.kind].id)
            for entry in self._entries.summary_translations
        ]
        records = self._counted(
            "translations", self._unit.translations.upsert_many(of_passage + of_summaries)
        )
        return {record.target_language: record.id for record in records[: len(of_passage)]}

    def _translation(
        self,
        entry: sample.SampleTranslation,
        text_source_id: UUID | None = None,
        summary_id: UUID | None = None,
    ) -> NewTranslation:
        return NewTranslation(
            project_id=self._project.id,
            text_source_id=text_source_id,
            summary_id=summary_id,
            source_language=entry.source_language,
            target_language=entry.target_language,
            content=entry.content,
            status=TranslationStatus(entry.status),
            generator=entry.generator,
            metadata={} if text_source_id is None else {"passage": self._entries.passage},
        )

    def _video(self, translation_id: UUID) -> None:
        entry = self._entries.video
        file = fingerprint(entry.path, limit=Limits().file_bytes)
        uri = entry.path.as_uri()
        # A checkout that was moved has its film at another place; it is the same film.
        for moved in self._unit.videos.list(project_id=self._project.id, checksum=file.checksum):
            if moved.storage_uri != uri:
                self._unit.videos.update(moved.id, {"storage_uri": uri})
        draft = NewVideo(
            project_id=self._project.id,
            translation_id=translation_id,
            title=entry.title,
            storage_uri=uri,
            checksum=file.checksum,
            container=entry.container,
            duration=entry.duration,
            width=entry.width,
            height=entry.height,
            frame_rate=entry.frame_rate,
            codecs=entry.codecs,
            bit_rate=round(file.size_bytes * 8 / entry.duration),
            size_bytes=file.size_bytes,
            status=VideoStatus.READY,
        )
        self._counted("videos", self._unit.videos.upsert_many([draft]))
