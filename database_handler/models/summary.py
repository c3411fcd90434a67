"""A summary of a text source, of one kind, in one language."""

from enum import StrEnum
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import Field

from database_handler.core.base_model import Draft, Record, derived
from database_handler.core.schema import Index, References, Table, search_vector
from database_handler.utils.validators import Count, JsonObject, LanguageCode, Name, RequiredText, count_words

__all__ = ["ContentFormat", "NewSummary", "Summary", "SummaryKind"]


class SummaryKind(StrEnum):
    """How much a summary says."""

    HEADLINE = "headline"
    BRIEF = "brief"
    STANDARD = "standard"
    DETAILED = "detailed"
    BULLETS = "bullets"


class ContentFormat(StrEnum):
    """How a text is marked up."""

    PLAIN = "plain"
    MARKDOWN = "markdown"
    HTML = "html"


class NewSummary(Draft, frozen=True):
    """A summary to be stored; one per source, kind, language and generator."""

    project_id: Annotated[UUID, References("projects")]
    text_source_id: Annotated[UUID, References("text_sources")]
    kind: SummaryKind
    language: LanguageCode
    content: RequiredText
    content_format: ContentFormat = ContentFormat.PLAIN
    generator: Name | None = None
    word_count: Count = derived("content", count_words)
    metadata: JsonObject = Field(default_factory=dict)


class Summary(NewSummary, Record, frozen=True):
    """A summary as the database holds it."""

    table: ClassVar[Table] = Table(
        "summaries",
        key=("project_id", "text_source_id", "kind", "language", "generator"),
        indexes=[Index(("search_vector",), method="gin")],
        computed=[search_vector("search_vector", content="content", language="language")],
    )
