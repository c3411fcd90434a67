"""The repositories of the library, each call to be awaited.

Written by ``scripts/async_repositories.py`` from the synchronous repositories: change that, run it again.
It is one module, however long, because nobody writes it.
"""

import builtins
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, Generic, Literal, TypeVar, overload
from uuid import UUID

from database_handler.aio.calls import AsyncCreate, Calls, gathered
from database_handler.content.files import Readable
from database_handler.content.streams import Writable
from database_handler.content.subtitles import Cue
from database_handler.content.tokens import Tokens
from database_handler.core.base_model import Change, Draft, Record
from database_handler.models import ProjectStatus
from database_handler.models.link import Link, LinkKind, NewLink
from database_handler.models.project import NewProject, Project
from database_handler.models.summary import NewSummary, Summary
from database_handler.models.text_source import NewTextSource, TextSource
from database_handler.models.translation import NewTranslation, Translation, TranslationStatus
from database_handler.models.video import NewVideo, Video
from database_handler.repositories.base import Repository, Upserted
from database_handler.repositories.claims import LEASE, Claim, Claims, HeldLease
from database_handler.repositories.files import KeepsFiles
from database_handler.repositories.link import AddedLinks, LinkRepository
from database_handler.repositories.metadata_reports import MetadataReports, Violation
from database_handler.repositories.missing import MissingPage
from database_handler.repositories.pages import Page
from database_handler.repositories.project import ProjectRepository
from database_handler.repositories.project_cascade import Deleted, ProjectCounts
from database_handler.repositories.project_coverage import Coverage, Original
from database_handler.repositories.project_metadata import MetadataSummary
from database_handler.repositories.project_reports import ProjectReports
from database_handler.repositories.project_statistics import ProjectStatistics
from database_handler.repositories.project_tree import ProjectTree
from database_handler.repositories.search import Searched, SearchPage
from database_handler.repositories.summary import Compression, SummaryRepository
from database_handler.repositories.text_source import TextSourceRepository
from database_handler.repositories.text_source_files import TextSourceFiles
from database_handler.repositories.translation import Times, TranslationRepository
from database_handler.repositories.translation_tokens import TranslationTokens
from database_handler.repositories.video import VideoRepository
from database_handler.repositories.video_files import VideoFiles, VideoFilesReport

if TYPE_CHECKING:
    from database_handler.content.documents import Limits
    from database_handler.content.media import MediaLimits, Picture, PictureFormat
    from database_handler.content.rows import Format
    from database_handler.repositories.rows import Existing, ExportedRows, Ids, ImportedRows

__all__ = [
    "AsyncClaims",
    "AsyncKeepsFiles",
    "AsyncLinkRepository",
    "AsyncMetadataReports",
    "AsyncProjectReports",
    "AsyncProjectRepository",
    "AsyncRepository",
    "AsyncSearched",
    "AsyncSummaryRepository",
    "AsyncTextSourceFiles",
    "AsyncTextSourceRepository",
    "AsyncTranslationRepository",
    "AsyncTranslationTokens",
    "AsyncVideoFiles",
    "AsyncVideoRepository",
]

D = TypeVar("D", bound=Draft)
R = TypeVar("R", bound=Record)


class AsyncRepository(Generic[D, R]):
    """The records of one entity."""

    repository: ClassVar[type[Repository[Any, Any]]]

    def __init__(self, calls: Calls, repository: Repository[D, R]) -> None:
        self.calls = calls
        self._repository: Any = repository

    @property
    def sync(self) -> Repository[D, R]:
        """The synchronous repository, for use in a worker thread."""
        found: Repository[D, R] = self._repository
        return found

    async def create_one(self, *args: Any, id: UUID | None = None, **fields: Any) -> R:
        """Store one record; `create` is this with the types of the entity."""
        return await self.calls.call(lambda: self.sync.create_one(*args, id=id, **fields))

    async def create_many(
        self, drafts: Iterable[D] | AsyncIterable[D], *, on_progress: Callable[[int], object] | None = None
    ) -> builtins.list[R]:
        """Store any number of records, all or none, and return them in the order given.

        From some hundreds on they go by COPY: three round trips in a unit, whatever their number. Where
        row-level security holds for the role, the server takes no COPY: then some hundreds go at a time.

        Parameters
        ----------
        on_progress : callable, optional
            Called with the number of rows sent.

        Raises
        ------
        InvalidValue
            Something is no draft, or two of them have one key; both positions are named.
        ConstraintViolation
            The database refused a row; its `position` says which.
        """
        given = await gathered(drafts)
        return await self.calls.call(lambda: self.sync.create_many(given, on_progress=on_progress))

    async def get_by_id(self, id: UUID | str) -> R:
        """Return the record of an id, or raise `RecordNotFound`."""
        return await self.calls.call(lambda: self.sync.get_by_id(id))

    async def find_by_id(self, id: UUID | str) -> R | None:
        """Return the record of an id, or None."""
        return await self.calls.call(lambda: self.sync.find_by_id(id))

    async def get_many(self, ids: Iterable[UUID | str] | AsyncIterable[UUID | str]) -> builtins.list[R]:
        """Return the records found, in the order asked; an id asked twice comes twice."""
        given = await gathered(ids)
        return await self.calls.call(lambda: self.sync.get_many(given))

    async def list(
        self, *, order_by: str | Sequence[str] | None = None, limit: int | None = None, **filters: object
    ) -> builtins.list[R]:
        """Return the records that the filters match, by id unless ordered otherwise."""
        return await self.calls.call(lambda: self.sync.list(order_by=order_by, limit=limit, **filters))

    async def page(
        self,
        *,
        order_by: str | Sequence[str] | None = None,
        limit: int = 20,
        after: str | None = None,
        total: Literal["exact"] | int | None = None,
        **filters: object,
    ) -> Page[R]:
        """Return a page of records in one round trip; its depth costs nothing.

        Parameters
        ----------
        after : str, optional
            The ``next_cursor`` of the page before, of the same filters and order.
        total : "exact" or int, optional
            Also count what the filters match: all of it, or no further than a number.
        """
        return await self.calls.call(
            lambda: self.sync.page(order_by=order_by, limit=limit, after=after, total=total, **filters)
        )

    def stream(
        self, *, order_by: str | Sequence[str] | None = None, batch: int = 1000, **filters: object
    ) -> AsyncGenerator[R, None]:
        """Iterate over any number of records with at most `batch` in memory.

        Outside a unit it holds a read-only transaction until it is exhausted or closed (``.close()``).
        """
        return self.calls.iterate(lambda: self.sync.stream(order_by=order_by, batch=batch, **filters), batch)

    async def count(self, **filters: object) -> int:
        """Return how many records the filters match."""
        return await self.calls.call(lambda: self.sync.count(**filters))

    async def exists(self, **filters: object) -> bool:
        """Return whether the filters match a record."""
        return await self.calls.call(lambda: self.sync.exists(**filters))

    async def update(
        self,
        id: UUID | str,
        changes: Mapping[str, Any] | None = None,
        expected_version: int | None = None,
        **fields: Any,
    ) -> R:
        """Change some fields of one record in one round trip, and return it.

        Raises
        ------
        RecordNotFound
            There is no such record.
        StaleRecord
            Its version is not `expected_version`; carries the record as it stands, and nothing was written.
        StatusMoveRefused
            The table's `moves` do not lead from the record's state to the new one; nothing was written.
        """
        return await self.calls.call(lambda: self.sync.update(id, changes, expected_version, **fields))

    async def save(self, record: R) -> R:
        """Write a record that was changed by ``model_copy(update=...)``; its version is the expected one."""
        return await self.calls.call(lambda: self.sync.save(record))

    async def update_many(
        self,
        changes: Iterable[Change] | AsyncIterable[Change],
        *,
        on_progress: Callable[[int], object] | None = None,
    ) -> builtins.list[R]:
        """Change many records, all or none, and return them in the order given.

        Each 10,000 of them are one statement.

        Parameters
        ----------
        on_progress : callable, optional
            Called with the number of rows done.

        Raises
        ------
        RecordNotFound, StaleRecord, StatusMoveRefused
            Some are missing, not at the version expected, or may not make their move: all such of one
            statement are named, and nothing was written.
        ConstraintViolation
            The database refused a row; its `position` says which.
        """
        given = await gathered(changes)
        return await self.calls.call(lambda: self.sync.update_many(given, on_progress=on_progress))

    async def upsert(self, draft: D) -> Upserted[R]:
        """Store a record, or bring the one of its natural key up to it; safe under a race."""
        return await self.calls.call(lambda: self.sync.upsert(draft))

    async def upsert_many(
        self, drafts: Iterable[D] | AsyncIterable[D], *, on_progress: Callable[[int], object] | None = None
    ) -> builtins.list[Upserted[R]]:
        """Store or bring up to date many records, all or none; an unchanged row is not rewritten.

        NULLs in a key are equal. The outcomes come in the order given. Each 10,000 of them are one message.

        Parameters
        ----------
        on_progress : callable, optional
            Called with the number of rows done.

        Raises
        ------
        ConstraintViolation
            The database refused a row; its `position` says which.
        """
        given = await gathered(drafts)
        return await self.calls.call(lambda: self.sync.upsert_many(given, on_progress=on_progress))

    async def export_rows(
        self,
        target: "str | PathLike[str] | Writable",
        /,
        *,
        file_format: "Format | None" = None,
        order_by: str | Sequence[str] | None = None,
        batch: int = 500,
        on_progress: Callable[[int], object] | None = None,
        **filters: object,
    ) -> "ExportedRows":
        """Write the records that the filters match to a file, as of one moment, with `batch` in memory.

        Parameters
        ----------
        target : path or binary stream
            ``.jsonl``, ``.ndjson``, ``.csv`` or ``.parquet`` say the format; of these all but the last may be
            compressed: ``.csv.gz``, ``.jsonl.zst``. The file has its name only when all of it is stored.
        file_format : {"jsonl", "csv", "parquet"}, optional
            For a stream, or another suffix.
        on_progress : callable, optional
            Called with the number of rows done.

        Raises
        ------
        UnwritableFile, NotARegularFile
            The file cannot be written; nothing has its name.
        """
        return await self.calls.call(
            lambda: self.sync.export_rows(
                target,
                file_format=file_format,
                order_by=order_by,
                batch=batch,
                on_progress=on_progress,
                **filters,
            )
        )

    async def import_rows(
        self,
        source: "str | PathLike[str] | Readable",
        /,
        *,
        file_format: "Format | None" = None,
        ids: "Ids" = "keep",
        existing: "Existing" = "refuse",
        values: Mapping[str, Any] | None = None,
        batch: int = 1000,
        by_batch: bool = False,
        after_row: int = 0,
        on_progress: Callable[[int], object] | None = None,
    ) -> "ImportedRows":
        """Store the rows of a file, all or none, each validated as a draft; versions and times begin anew.

        Parameters
        ----------
        source : path or binary stream
            As `export_rows` writes it, or any other with columns of these names; compressed or not.
        ids : {"keep", "new"}
            Rows that have an id keep it, or every row gets a new one: a copy.
        existing : {"refuse", "skip", "update"}
            What becomes of a row whose natural key is there: `DuplicateRecord` as the cause of the refusal,
            nothing, or what `upsert` does.
        values : mapping, optional
            Fields that all rows have, in place of what the file says, such as ``{"project_id": ...}``.
        batch : int
            The most rows that are stored at once.
        by_batch : bool
            Commit each batch by itself (in a unit, its COMMIT decides). The refusal's `stored` says how many
            rows are stored then.
        after_row : int
            So many rows of the file are passed over: those that an earlier run with `by_batch` had stored.
        on_progress : callable, optional
            Called with the number of rows done.

        Raises
        ------
        RowFileRefused
            A row is refused, by its model or by the database, or the file is damaged; names line and field.
        """
        return await self.calls.call(
            lambda: self.sync.import_rows(
                source,
                file_format=file_format,
                ids=ids,
                existing=existing,
                values=values,
                batch=batch,
                by_batch=by_batch,
                after_row=after_row,
                on_progress=on_progress,
            )
        )

    async def delete(self, id: UUID | str, expected_version: int | None = None) -> object:
        """Take one record away, and all that stands below it; a project's says how much that was.

        Raises
        ------
        RecordNotFound, StaleRecord
            As for `update`.
        StillReferenced
            A record that would not go with it refers to it.
        """
        return await self.calls.call(lambda: self.sync.delete(id, expected_version))

    async def delete_many(
        self,
        ids: Iterable[UUID | str] | AsyncIterable[UUID | str],
        *,
        on_progress: Callable[[int], object] | None = None,
    ) -> int:
        """Take records away, all or none, and return how many there were.

        Each 10,000 of them are one statement.

        Parameters
        ----------
        on_progress : callable, optional
            Called with the number of ids done.
        """
        given = await gathered(ids)
        return await self.calls.call(lambda: self.sync.delete_many(given, on_progress=on_progress))


class AsyncMetadataReports(AsyncRepository[NewProject, Project]):
    """Checks the metadata of a project's rows."""

    @property
    def sync(self) -> MetadataReports:
        """The synchronous repository, for use in a worker thread."""
        found: MetadataReports = self._repository
        return found

    def check_metadata(self, project_id: UUID | str) -> AsyncGenerator[Violation, None]:
        """Iterate over the rows of a project, itself among them, whose metadata breaks its JSON Schema.

        Rows from before a schema was bound are found so, in the order of entities and ids; memory is flat.

        Raises
        ------
        RecordNotFound
            There is no such project.
        """
        return self.calls.iterate(lambda: self.sync.check_metadata(project_id))


class AsyncProjectReports(AsyncRepository[NewProject, Project]):
    """The reports of a project, as a part of its repository; an application's own entities are in them."""

    @property
    def sync(self) -> ProjectReports:
        """The synchronous repository, for use in a worker thread."""
        found: ProjectReports = self._repository
        return found

    async def statistics(self, id: UUID | str) -> ProjectStatistics:
        """Return what a project holds, in figures, or raise `RecordNotFound`."""
        return await self.calls.call(lambda: self.sync.statistics(id))

    async def statistics_many(
        self, ids: Iterable[UUID | str] | AsyncIterable[UUID | str]
    ) -> list[ProjectStatistics]:
        """Return the figures of the projects found, in the order asked, in one statement for all.

        As `get_many` does: one that is not there is left out, one asked twice comes twice.
        """
        given = await gathered(ids)
        return await self.calls.call(lambda: self.sync.statistics_many(given))

    async def coverage(
        self,
        id: UUID | str,
        languages: Iterable[str] | None = None,
        *,
        of: Original = "text_sources",
        limit: int = 100,
        after: UUID | str | None = None,
    ) -> Coverage:
        """Return which texts of a project are translated into which languages, and what is missing.

        Parameters
        ----------
        languages : iterable of str, optional
            Those that are wanted; all that anything in the project is translated into, unless given. Tags
            that differ are kept apart: pt-BR is not pt.
        of : {"text_sources", "summaries"}
            What is to be translated. A translation of a summary counts for the summary alone, never for the
            text that it is of.
        limit : int
            How many texts one by one, from 0 to 10,000; the totals are always over all.
        after : UUID, optional
            The ``next_cursor`` of the page before.

        Raises
        ------
        RecordNotFound
            There is no such project.
        InvalidValue
            Something is no language; the nearest one is named.
        """
        return await self.calls.call(
            lambda: self.sync.coverage(id, languages, of=of, limit=limit, after=after)
        )

    async def metadata_summary(self, id: UUID | str, *, depth: int = 3, limit: int = 200) -> MetadataSummary:
        """Return which keys the metadata of a project and of all below it has, of what types, how often.

        Parameters
        ----------
        depth : int
            How many levels of objects to look into, from 1 (the top keys) to 20. Arrays are not looked into.
        limit : int
            How many paths at most, from 1 to 10,000; the most frequent ones are given.
        """
        return await self.calls.call(lambda: self.sync.metadata_summary(id, depth=depth, limit=limit))

    async def tree(self, id: UUID | str) -> ProjectTree:
        """Return a project and everything below it, as it is at one moment, in one round trip.

        All of it is held in memory, contents too: for a project larger than that, use ``stream`` of each
        repository in a unit of isolation ``repeatable read``.
        """
        return await self.calls.call(lambda: self.sync.tree(id))


class AsyncProjectRepository(AsyncProjectReports, AsyncMetadataReports):
    """Reads and writes `Project` records, and whole projects."""

    repository = ProjectRepository
    create = AsyncCreate(NewProject, Project)

    @property
    def sync(self) -> ProjectRepository:
        """The synchronous repository, for use in a worker thread."""
        found: ProjectRepository = self._repository
        return found

    async def set_status(
        self, id: UUID | str, status: ProjectStatus | str, expected_version: int | None = None
    ) -> Project:
        """Move a project to a status that may follow its own (`STATUS_MOVES`), and return it.

        Raises
        ------
        StatusMoveRefused
            That status may not follow the one that the project has now; names both, and nothing was written.
        RecordNotFound, StaleRecord
            As for `update`.
        """
        return await self.calls.call(lambda: self.sync.set_status(id, status, expected_version))

    async def set_status_many(
        self, ids: Iterable[UUID | str] | AsyncIterable[UUID | str], status: ProjectStatus | str
    ) -> list[Project]:
        """Move projects to one status, all or none, and return them in the order given."""
        given = await gathered(ids)
        return await self.calls.call(lambda: self.sync.set_status_many(given, status))

    async def archive_many(self, ids: Iterable[UUID | str] | AsyncIterable[UUID | str]) -> list[Project]:
        """Archive projects, all or none, and return them in the order given."""
        given = await gathered(ids)
        return await self.calls.call(lambda: self.sync.archive_many(given))

    async def delete(self, id: UUID | str, expected_version: int | None = None) -> Deleted:
        """Take a project away with everything below it, and return how many rows of each entity went.

        The counts are exact also while others add rows or take some away: nobody adds to a project that is
        being deleted, and only rows that went by this call count.

        Raises
        ------
        RecordNotFound, StaleRecord
            As for `update`; nothing went.
        """
        return await self.calls.call(lambda: self.sync.delete(id, expected_version))

    async def delete_preview(self, id: UUID | str) -> Deleted:
        """Return what `delete` would take away, without taking it."""
        return await self.calls.call(lambda: self.sync.delete_preview(id))

    async def clone(self, id: UUID | str, *, name: str, slug: str | None = None) -> Project:
        """Copy a project and everything below it in one round trip, and return the new project.

        On a cluster it goes by way of a temporary file, batch by batch.

        Every row gets a new id (in the order of the original's), version 1 and the present time; references
        lead to the copies. The files that rows refer to are not copied: both projects refer to the same.

        Parameters
        ----------
        name : str
            Of the copy.
        slug : str, optional
            Made from the name when left out.

        Raises
        ------
        RecordNotFound
            There is no such project.
        DuplicateRecord
            A project has that slug already.
        """
        return await self.calls.call(lambda: self.sync.clone(id, name=name, slug=slug))

    async def export(
        self, id: UUID | str, target: str | PathLike[str] | Writable, *, batch: int = 200
    ) -> ProjectCounts:
        """Write a project and everything below it to a file, as of one moment; return how many rows it has.

        Parameters
        ----------
        target : path or binary stream
            A path that ends in ``.gz`` is compressed. The file has its name only when all of it is stored.
        batch : int
            How many rows are in memory at a time.

        Raises
        ------
        RecordNotFound
            There is no such project; nothing was written.
        UnwritableFile, NotARegularFile
            The file cannot be written; nothing has its name.
        """
        return await self.calls.call(lambda: self.sync.export(id, target, batch=batch))

    async def import_(
        self, source: str | PathLike[str] | Readable, *, name: str | None = None, slug: str | None = None
    ) -> Project:
        """Store the project of a file that `export` wrote, as a new one, and return it.

        All of it is stored or nothing, in a unit too. Ids, versions and times begin anew.

        Parameters
        ----------
        source : path or binary stream
            Compressed by gzip or not: its bytes say it.
        name, slug : str, optional
            Other than in the file; a name without a slug makes one.

        Raises
        ------
        ProjectFileRefused
            The file is damaged, cut short, of another format, or holds a row that is refused; names the line.
        DuplicateRecord
            A project has that slug already: give another.
        """
        return await self.calls.call(lambda: self.sync.import_(source, name=name, slug=slug))


class AsyncSearched(AsyncRepository[D, R]):
    """A repository whose records are found by what they say."""

    @property
    def sync(self) -> Searched[D, R]:
        """The synchronous repository, for use in a worker thread."""
        found: Searched[D, R] = self._repository
        return found

    async def search(
        self,
        query: str,
        *,
        project_id: UUID | str | None = None,
        language: str | None = None,
        limit: int = 20,
        after: str | None = None,
    ) -> SearchPage[R]:
        """Return a page of the records that match, best first, in one round trip.

        Parameters
        ----------
        query : str
            As on the web: words, ``"a phrase"``, ``-not``, ``or``. Each record is searched in the stemming of
            its own language, accents aside; in scripts written without spaces as the characters stand.
        language : str, optional
            Only records of this language, as a range (RFC 4647, 3.3.1): ``pt`` is also ``pt-BR``, and
            ``pt-BR`` is not ``pt``.
        limit : int
            From 1 to 1,000.
        after : str, optional
            The ``next_cursor`` of the page before, of the same query.

        Raises
        ------
        InvalidValue
            The query is empty or too long, a value is of no use, or the cursor is of another query.
        """
        return await self.calls.call(
            lambda: self.sync.search(
                query, project_id=project_id, language=language, limit=limit, after=after
            )
        )


class AsyncKeepsFiles(AsyncRepository[D, R]):
    """A repository whose rows are written together with files."""

    @property
    def sync(self) -> KeepsFiles[D, R]:
        """The synchronous repository, for use in a worker thread."""
        found: KeepsFiles[D, R] = self._repository
        return found


class AsyncTextSourceFiles(AsyncKeepsFiles[NewTextSource, TextSource]):
    """Reads files into `TextSource` records, and gives the originals back."""

    @property
    def sync(self) -> TextSourceFiles:
        """The synchronous repository, for use in a worker thread."""
        found: TextSourceFiles = self._repository
        return found

    async def create_from_file(
        self,
        project_id: UUID,
        source: str | Path | bytes | Readable,
        *,
        title: str | None = None,
        filename: str | None = None,
        language: str | None = None,
        root: str | Path | None = None,
        limits: "Limits | None" = None,
        metadata: Mapping[str, Any] | None = None,
        id: UUID | None = None,
    ) -> TextSource:
        """Read a file, keep it in the file store, and store its text; never one without the other.

        The file is read, and its text taken out, before anything is sent: that may take as long as the
        limits allow, so in a unit it is better done early. Two round trips, or one in a unit.

        Parameters
        ----------
        source : path, bytes or binary stream
            A path must lead to a regular file, not to a link.
        title : str, optional
            Else what the document states, else the file's name.
        filename : str, optional
            Else the path, below `root` where that is given, else its last step; a stream has none.
        language : str, optional
            Else it is detected; ``und`` where it cannot be told.
        root : path, optional
            Then the source is a path below this folder: no step of it may be a link or lead out.
        limits : Limits, optional
            What the file may cost: bytes, seconds, memory.
        metadata : mapping, optional
            Goes over what the document states of itself.

        Raises
        ------
        Refusal
            The file cannot be taken; one class for each reason, in `database_handler.content`.
        InvalidValue
            One of the other arguments is wrong; the file was not read.
        DuplicateRecord
            The project has a text of this content.
        StoreUnavailable
            The file could not be kept; no row is stored.
        """
        return await self.calls.call(
            lambda: self.sync.create_from_file(
                project_id,
                source,
                title=title,
                filename=filename,
                language=language,
                root=root,
                limits=limits,
                metadata=metadata,
                id=id,
            )
        )

    async def open(self, id: UUID | str) -> BinaryIO:
        """Open the file that a text was read from; what is read is checked on the way, see `FileStore.open`.

        Raises
        ------
        RecordNotFound
        NoOriginal
            The text was made without a file, or its file is not in the store.
        FileMissing, FileDamaged, StoreUnavailable
        """
        return await self.calls.call(lambda: self.sync.open(id))


class AsyncTextSourceRepository(AsyncTextSourceFiles, AsyncSearched[NewTextSource, TextSource]):
    """Reads, writes and searches `TextSource` records, and keeps the files they come from."""

    repository = TextSourceRepository
    create = AsyncCreate(NewTextSource, TextSource)

    @property
    def sync(self) -> TextSourceRepository:
        """The synchronous repository, for use in a worker thread."""
        found: TextSourceRepository = self._repository
        return found


class AsyncSummaryRepository(AsyncSearched[NewSummary, Summary]):
    """Reads, writes and searches `Summary` records."""

    repository = SummaryRepository
    create = AsyncCreate(NewSummary, Summary)

    @property
    def sync(self) -> SummaryRepository:
        """The synchronous repository, for use in a worker thread."""
        found: SummaryRepository = self._repository
        return found

    async def update(
        self,
        id: UUID | str,
        changes: Mapping[str, Any] | None = None,
        expected_version: int | None = None,
        **fields: Any,
    ) -> Summary:
        """Change some fields of one summary, and return it.

        One round trip where content, format and kind are all given, or none of them; else the row is read
        first, for a content is cleaned by its format and measured against its kind.

        Raises
        ------
        RecordNotFound, StaleRecord
            As for every record.
        InvalidValue
            Nothing is left of the content once it is cleaned, or it is too long for the kind.
        """
        return await self.calls.call(lambda: self.sync.update(id, changes, expected_version, **fields))

    async def update_many(
        self,
        changes: Iterable[Change] | AsyncIterable[Change],
        *,
        on_progress: Callable[[int], object] | None = None,
    ) -> list[Summary]:
        """Change many summaries, all or none, and return them in the order given.

        One round trip for each 10,000, and one more where a change names only some of content, format and
        kind.

        Parameters
        ----------
        on_progress : callable, optional
            Called with the number of rows done.

        Raises
        ------
        RecordNotFound, StaleRecord
            Some are missing, or not at the version expected: all such are named, and nothing was written.
        """
        given = await gathered(changes)
        return await self.calls.call(lambda: self.sync.update_many(given, on_progress=on_progress))

    async def compression(self, id: UUID | str) -> Compression:
        """Return how many words of its source a summary takes, in one round trip.

        Raises
        ------
        RecordNotFound
            There is no such summary.
        """
        return await self.calls.call(lambda: self.sync.compression(id))

    async def compressions(self, project_id: UUID | str) -> list[Compression]:
        """Return how many words of its source each summary of a project takes, by id, in one round trip."""
        return await self.calls.call(lambda: self.sync.compressions(project_id))


class AsyncClaims(AsyncRepository[D, R], Generic[D, R]):
    """`claim`, `extend`, `finish` and `give_back` for an entity whose rows are work to be done."""

    @property
    def sync(self) -> Claims[D, R]:
        """The synchronous repository, for use in a worker thread."""
        found: Claims[D, R] = self._repository
        return found

    async def claim(
        self,
        n: int = 1,
        project_id: UUID | None = None,
        *,
        lease: float | timedelta = LEASE,
        worker: str | None = None,
        status: str | None = None,
    ) -> list[Claim[R]]:
        """Take up to `n` pieces of work that nobody holds, in one statement and without waiting for a lock.

        First those whose lease ran out, then the oldest by id. Inside a unit the lease runs from this call
        on too, but others see it, and may take the rows once it is over, only after the unit has ended.

        Parameters
        ----------
        n : int
            1 to 1,000; fewer come back where fewer are free.
        project_id : UUID, optional
            Only work of this project. On a cluster the projects that have some are looked for first where it
            is left out: a question to all servers, then a claim for each of them.
        lease : float or timedelta
            Seconds until others may take it again; at most 30 days.
        worker : str, optional
            Who works on it, for people to read; the host and the process unless given.
        status : str, optional
            Take rows of this status instead of those that wait.

        Raises
        ------
        InvalidValue
            One of these is out of range.
        SerializationFailure
            In a unit of repeatable read or serializable: others took some just then; it can be retried.
        """
        return await self.calls.call(
            lambda: self.sync.claim(n, project_id, lease=lease, worker=worker, status=status)
        )

    async def extend(self, claim: Claim[R], lease: float | timedelta = LEASE) -> Claim[R]:
        """Hold a claim for `lease` seconds from now on, and return it with its new end.

        Raises
        ------
        LeaseLost, RecordNotFound
            Somebody else took the row, or it is gone. A lease that ran out and was not taken is extended.
        """
        return await self.calls.call(lambda: self.sync.extend(claim, lease))

    async def finish(
        self, claim: Claim[R], status: str | None = None, *, overwrite: bool = False, **changes: Any
    ) -> R:
        """Write the result and the new status, and end the lease, in one statement.

        Parameters
        ----------
        status : str, optional
            Unless given, what follows the status of the claimed record.
        overwrite : bool
            Write also where somebody changed the record since it was claimed.
        **changes
            Fields of the draft, as for `update`.

        Raises
        ------
        LeaseLost, RecordNotFound
            Somebody else took the row, or it is gone; nothing was written.
        StaleRecord
            The record was changed since; nothing was written, and the lease is still held.
        """
        return await self.calls.call(lambda: self.sync.finish(claim, status, overwrite=overwrite, **changes))

    async def give_back(self, claim: Claim[R]) -> R:
        """End the lease so that others can take the row at once, and return the record.

        Raises
        ------
        LeaseLost, RecordNotFound
            Somebody else took the row, or it is gone.
        """
        return await self.calls.call(lambda: self.sync.give_back(claim))

    async def claims(self, project_id: UUID | None = None, *, limit: int = 1000) -> list[HeldLease]:
        """Return who holds what until when, the first to run out first."""
        return await self.calls.call(lambda: self.sync.claims(project_id, limit=limit))


class AsyncTranslationTokens(AsyncRepository[NewTranslation, Translation]):
    """What a repository of translations does with tokens."""

    @property
    def sync(self) -> TranslationTokens:
        """The synchronous repository, for use in a worker thread."""
        found: TranslationTokens = self._repository
        return found

    async def tokenize(self, id: UUID | str, expected_version: int | None = None) -> Translation:
        """Store the tokens of a translation's content, and return the record: two round trips.

        They are only written where the content still is the one that was cut; tokens that are there already
        are not written again.

        Raises
        ------
        RecordNotFound, StaleRecord
            As for `update`; without `expected_version`, stale is only what changes five times on end.
        """
        return await self.calls.call(lambda: self.sync.tokenize(id, expected_version))

    async def tokenize_many(
        self, project_id: UUID | str | None = None, *, ids: Iterable[UUID | str] | None = None
    ) -> int:
        """Store the tokens of all translations that have none, and return how many were written.

        Two round trips for 200 of them. One that is changed meanwhile is cut anew; no more than 200 are in
        memory at a time. Outside a unit each 200 are committed by themselves, so that a run that was ended
        can be started again.

        Parameters
        ----------
        project_id, ids : optional
            Only those of a project; only those of these ids.
        """
        return await self.calls.call(lambda: self.sync.tokenize_many(project_id, ids=ids))

    async def tokens(self, id: UUID | str, start: int | None = None, stop: int | None = None) -> Tokens:
        """Return a translation's tokens from the `start`-th, counted from 0, to before the `stop`-th.

        One round trip. Of a slice the server sends the packed tokens, and the part of the content, of the
        blocks of 128 tokens that it touches, and nothing else of the row.

        Raises
        ------
        RecordNotFound
            There is no such translation, or it has no tokens: `tokenize` makes them.
        InvalidValue
            `start` or `stop` is negative.
        """
        return await self.calls.call(lambda: self.sync.tokens(id, start, stop))


class AsyncTranslationRepository(
    AsyncSearched[NewTranslation, Translation],
    AsyncTranslationTokens,
    AsyncClaims[NewTranslation, Translation],
):
    """Reads and writes `Translation` records, shows what is missing, and gives them to workers."""

    repository = TranslationRepository
    create = AsyncCreate(NewTranslation, Translation)

    @property
    def sync(self) -> TranslationRepository:
        """The synchronous repository, for use in a worker thread."""
        found: TranslationRepository = self._repository
        return found

    async def set_status_many(
        self, ids: Iterable[UUID | str] | AsyncIterable[UUID | str], status: TranslationStatus | str
    ) -> list[Translation]:
        """Set one status on many translations, all or none, and return them in the order given.

        Any status may follow any: approved work is sent back, and an import may be approved at once.

        Raises
        ------
        RecordNotFound
            Some are missing: all such are named, and nothing was written.
        """
        given = await gathered(ids)
        return await self.calls.call(lambda: self.sync.set_status_many(given, status))

    async def missing(
        self,
        project_id: UUID | str,
        languages: Iterable[str] | AsyncIterable[str],
        *,
        status: TranslationStatus | str | None = None,
        limit: int = 1000,
        after: str | None = None,
    ) -> MissingPage:
        """Return a page of the texts that lack a translation, once for each language, in one round trip.

        A text's own language is not missing; codes are compared whole (pt-BR does not stand for pt).

        Parameters
        ----------
        status : str, optional
            Only translations of this status count: ``"approved"`` shows what is not yet approved.
        limit : int
            1 to 10,000 on a page.
        after : str, optional
            The ``next_cursor`` of the page before, of the same call.

        Raises
        ------
        RecordNotFound
            There is no such project.
        """
        given = await gathered(languages)
        return await self.calls.call(
            lambda: self.sync.missing(project_id, given, status=status, limit=limit, after=after)
        )

    @overload
    async def subtitles(
        self,
        id: UUID | str,
        format: Literal["srt", "vtt"] = "srt",
        times: Times | None = None,
        *,
        chars: int | None = None,
        lines: int | None = None,
    ) -> str: ...

    @overload
    async def subtitles(
        self,
        id: UUID | str,
        format: Literal["cues"],
        times: Times | None = None,
        *,
        chars: int | None = None,
        lines: int | None = None,
    ) -> tuple[Cue, ...]: ...

    @overload
    async def subtitles(
        self, id: UUID | str, format: Literal["lines"], *, chars: int | None = None, lines: int | None = None
    ) -> tuple[tuple[str, ...], ...]: ...

    async def subtitles(
        self,
        id: UUID | str,
        format: str = "srt",
        times: Times | None = None,
        *,
        chars: int | None = None,
        lines: int | None = None,
    ) -> str | tuple[Any, ...]:
        """Return a translation as subtitles, broken by the rules of its language, in one round trip.

        The times are those given, else the translation's ``metadata["times"]``, else those of its text
        source: a list of ``[start, end]`` in seconds, one for each paragraph or each line of the content.

        Parameters
        ----------
        format : {"srt", "vtt", "cues", "lines"}
            A file's text; `Cue` values; or the lines of each cue, which need no times.
        times : pair of float, or sequence of pairs, optional
            One ``(start, end)`` spreads the whole text over that span by its characters.
        chars, lines : int, optional
            Characters a line and lines a cue, in place of the language's.

        Raises
        ------
        RecordNotFound
            There is no such translation.
        InvalidValue
            No times are there, or not as many as the content has paragraphs or lines.
        """
        sync: Any = self.sync.subtitles
        found: str | tuple[Any, ...] = await self.calls.call(
            lambda: sync(id, format, times, chars=chars, lines=lines)
        )
        return found


class AsyncVideoFiles(AsyncKeepsFiles[NewVideo, Video]):
    """Reads video files into `Video` records, and looks after the files."""

    @property
    def sync(self) -> VideoFiles:
        """The synchronous repository, for use in a worker thread."""
        found: VideoFiles = self._repository
        return found

    async def create_from_file(
        self,
        project_id: UUID,
        path: str | Path,
        *,
        root: str | Path | None = None,
        title: str | None = None,
        translation_id: UUID | None = None,
        thumbnail: bool | float = True,
        thumbnail_format: "PictureFormat" = "webp",
        metadata: Mapping[str, Any] | None = None,
        limits: "MediaLimits | None" = None,
        id: UUID | None = None,
    ) -> Video:
        """Look at a video file and store what it is; the file itself stays where it lies.

        The file is decoded by a child process, and read through for its checksum, before anything is sent.
        Then two round trips, or one in a unit; the row and its thumbnail are never there one without the
        other.

        Parameters
        ----------
        path : str or Path
            A regular file below `root`: relative to it, or absolute. No step below it may be a link.
        root : path, optional
            Else the configured `MEDIA_ROOT`.
        title : str, optional
            Else the file's name without its ending.
        thumbnail : bool or float
            The second of the frame to keep as a picture; True for the sharpest of a few, False for none.
        thumbnail_format : {"webp", "jpeg", "png"}
            What the picture is kept as.
        limits : MediaLimits, optional
            What the file may cost: seconds, memory, pixels, streams, bytes.

        Raises
        ------
        Refusal
            The file cannot be taken: `NotAVideo`, `DamagedFile`, `UnsafeMedia`, `NotARegularFile` and the
            others of `database_handler.content`, one class for each reason.
        InvalidValue
            One of the other arguments is wrong.
        DuplicateRecord
            The project has this file.
        ConfigurationError
            No root is given or configured.
        StoreUnavailable
            The thumbnail could not be kept; no row is stored.
        """
        return await self.calls.call(
            lambda: self.sync.create_from_file(
                project_id,
                path,
                root=root,
                title=title,
                translation_id=translation_id,
                thumbnail=thumbnail,
                thumbnail_format=thumbnail_format,
                metadata=metadata,
                limits=limits,
                id=id,
            )
        )

    async def contact_sheet(
        self,
        id: UUID | str,
        count: int = 12,
        *,
        to: str | Path | None = None,
        root: str | Path | None = None,
        longest: int = 320,
        format: "PictureFormat" = "webp",
        limits: "MediaLimits | None" = None,
    ) -> "Picture":
        """Return frames evenly spread over a video, with their times, as one picture.

        Parameters
        ----------
        count : int
            1 to 100 frames.
        to : path, optional
            Also write the picture there, whole or not at all.
        longest : int
            Pixels of the longer side of one frame, at most.

        Raises
        ------
        RecordNotFound
        Refusal
            The file is no longer there, or cannot be read.
        """
        return await self.calls.call(
            lambda: self.sync.contact_sheet(
                id, count, to=to, root=root, longest=longest, format=format, limits=limits
            )
        )

    async def check_files(
        self,
        project_id: UUID | None = None,
        on_progress: Callable[[int, int], object] | None = None,
        *,
        deep: bool = True,
        root: str | Path | None = None,
    ) -> VideoFilesReport:
        """Find the videos whose file or thumbnail is missing, changed or unreadable; nothing is written.

        Files are read piece by piece and rows some hundreds at a time, so memory stays flat, and no
        transaction stays open meanwhile.

        Parameters
        ----------
        project_id : UUID, optional
            Only the videos of one project.
        on_progress : callable, optional
            Called with how many videos were checked, and how many there are.
        deep : bool
            Compare checksums, for which every file is read through; otherwise only sizes.
        root : path, optional
            Else the configured `MEDIA_ROOT`.

        Raises
        ------
        UnreadableFile
            The media folder itself is not there: nothing can be said of what lies below it.
        ConfigurationError
            A row names a file below it, and there is neither `root` nor `MEDIA_ROOT`.
        """
        return await self.calls.call(
            lambda: self.sync.check_files(project_id, on_progress, deep=deep, root=root)
        )


class AsyncVideoRepository(AsyncVideoFiles, AsyncClaims[NewVideo, Video]):
    """Reads and writes `Video` records, makes them from files, and gives them to workers."""

    repository = VideoRepository
    create = AsyncCreate(NewVideo, Video)

    @property
    def sync(self) -> VideoRepository:
        """The synchronous repository, for use in a worker thread."""
        found: VideoRepository = self._repository
        return found


class AsyncLinkRepository(AsyncRepository[NewLink, Link]):
    """Reads and writes `Link` records."""

    repository = LinkRepository
    create = AsyncCreate(NewLink, Link)

    @property
    def sync(self) -> LinkRepository:
        """The synchronous repository, for use in a worker thread."""
        found: LinkRepository = self._repository
        return found

    async def add_many(self, project_id: UUID | str, urls: Iterable[str] | AsyncIterable[str]) -> AddedLinks:
        """Store those of some URLs that are acceptable and new, and tell what became of each.

        One round trip. A URL that is refused stops no other; one that the project has already, in whatever
        spelling, leaves its link as it is. Safe beside others that do the same.

        Raises
        ------
        InvalidValue
            What is given is no list, or has more than 50,000 URLs; or the project's JSON Schema for links
            asks for metadata, which a bare URL has not.
        MissingReference
            There is no such project.
        """
        given = await gathered(urls)
        return await self.calls.call(lambda: self.sync.add_many(project_id, given))

    async def by_kind(
        self, project_id: UUID | str, *, limit: int | None = None
    ) -> dict[LinkKind, list[Link]]:
        """Return the links of a project by what they lead to, each kind's by id, in one round trip.

        Parameters
        ----------
        limit : int, optional
            The most of each kind. Without it all of the project's links are held in memory.
        """
        return await self.calls.call(lambda: self.sync.by_kind(project_id, limit=limit))

    async def counts_by_kind(self, project_id: UUID | str) -> dict[LinkKind, int]:
        """Return how many links of each kind a project has, in one round trip; kinds without one are 0."""
        return await self.calls.call(lambda: self.sync.counts_by_kind(project_id))
