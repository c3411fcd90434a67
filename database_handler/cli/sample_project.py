"""The sample project, stored in one unit of work and brought up to date by natural keys.

It shows what each entity can do: originals in the file store, metadata under a JSON Schema, cleaned markup,
tokens, the film's own facts and a picture of it, kinds of links by rules. What needs an extra that is not
installed is left out, and comes with the next run once it is.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from database_handler.cli.drafts import text_source_draft
from database_handler.content import sample
from database_handler.content.documents import Document, read_document
from database_handler.content.media import MediaInfo, open_video
from database_handler.content.tokens import tokenize
from database_handler.core.exceptions import MissingExtra
from database_handler.database import Database
from database_handler.models import (
    ContentFormat,
    NewLink,
    NewProject,
    NewSummary,
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

__all__ = ["SampleReport", "load_sample"]


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
        metadata=facts.metadata,
        metadata_schemas=_schemas(),
    )
    documents = {entry.file: (entry, read_document(entry.path)) for entry in entries.documents}
    film = _film(entries.video)
    return db.run(lambda unit: _Sample(unit, draft, entries, documents, film).store())


def _schemas() -> dict[str, Any]:
    """Return what the metadata of the project's translations keeps to."""
    if importlib.util.find_spec("jsonschema") is None:
        return {}
    passage = {"type": "object", "properties": {"passage": {"type": "string"}}, "additionalProperties": False}
    return {"translations": passage}


def _film(entry: sample.SampleVideo) -> tuple[MediaInfo, bytes] | None:
    """Look at the film: what it says of itself, and its sharpest picture."""
    try:
        with open_video(entry.file, root=sample.FOLDER) as video:
            return video.info, video.thumbnail().data
    except MissingExtra:
        return None


class _Sample:
    def __init__(
        self,
        unit: UnitOfWork,
        draft: NewProject,
        entries: sample.SampleProject,
        documents: Mapping[str, tuple[sample.SampleDocument, Document]],
        film: tuple[MediaInfo, bytes] | None,
    ) -> None:
        self._unit, self._entries, self._documents, self._film = unit, entries, documents, film
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
                description=link.description,
            )
            for link in self._entries.links
        ]
        self._counted("links", self._unit.links.upsert_many(links))
        return SampleReport(self._project, self._outcomes)

    def _sources(self) -> dict[str, TextSource]:
        drafts = [
            text_source_draft(self._project.id, name, document, self._unit.files.put(entry.path).uri)
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
            tokens=tokenize(entry.content, entry.target_language).packed,
            status=TranslationStatus(entry.status),
            generator=entry.generator,
            metadata={} if text_source_id is None else {"passage": self._entries.passage},
        )

    def _video(self, translation_id: UUID) -> None:
        entry = self._entries.video
        file = self._unit.files.put(entry.path)
        draft = NewVideo(
            project_id=self._project.id,
            translation_id=translation_id,
            title=entry.title,
            storage_uri=file.uri,
            checksum=file.checksum,
            size_bytes=file.size_bytes,
            status=VideoStatus.READY,
            **self._facts(entry),
        )
        self._counted("videos", self._unit.videos.upsert_many([draft]))

    def _facts(self, entry: sample.SampleVideo) -> dict[str, Any]:
        names: tuple[str, ...] = ("container", "duration", "width", "height", "frame_rate", "codecs")
        if self._film is None:
            return {name: getattr(entry, name) for name in names}
        info, picture = self._film
        names = (*names, "bit_rate", "rotation", "audio_languages", "subtitle_languages")
        return {
            **{name: getattr(info, name) for name in names},
            "thumbnail_uri": self._unit.files.put(picture).uri,
            "media_info": {"streams": [dict(stream) for stream in info.streams]},
        }
