"""A translation of a text source or of a summary, into one language."""

from enum import StrEnum
from typing import Annotated, ClassVar, Self
from uuid import UUID

from pydantic import Field, model_validator

from database_handler.core.base_model import Draft, Record, derived
from database_handler.core.schema import LEASE, Check, Index, References, Table
from database_handler.utils.validators import (
    Count,
    JsonObject,
    LanguageCode,
    Name,
    RequiredText,
    TokenSpans,
    count_words,
)

__all__ = ["NewTranslation", "Translation", "TranslationStatus"]


class TranslationStatus(StrEnum):
    """How far a translation has come."""

    DRAFT = "draft"
    REVIEW = "review"
    APPROVED = "approved"


def no_tokens(_content: str) -> None:
    """Return None: tokens of one content are not those of another."""


def number_of_tokens(tokens: bytes | None) -> int | None:
    """Return how many tokens there are, None where a text has not been tokenized."""
    return None if tokens is None else len(tokens)


class NewTranslation(Draft, frozen=True):
    """A translation to be stored: of exactly one text source or summary."""

    project_id: Annotated[UUID, References("projects")]
    text_source_id: Annotated[UUID, References("text_sources")] | None = None
    summary_id: Annotated[UUID, References("summaries")] | None = None
    source_language: LanguageCode
    target_language: LanguageCode
    content: RequiredText
    status: TranslationStatus = TranslationStatus.DRAFT
    generator: Name | None = None
    metadata: JsonObject = Field(default_factory=dict)
    word_count: Count = derived("content", count_words)
    tokens: TokenSpans | None = derived("content", no_tokens)
    token_count: Count | None = derived("tokens", number_of_tokens)

    @model_validator(mode="after")
    def _of_exactly_one(self) -> Self:
        if (self.text_source_id is None) == (self.summary_id is None):
            raise ValueError("give exactly one of text_source_id and summary_id")
        return self


class Translation(NewTranslation, Record, frozen=True):
    """A translation as the database holds it."""

    table: ClassVar[Table] = Table(
        "translations",
        key=("project_id", "text_source_id", "summary_id", "target_language", "generator"),
        indexes=[
            Index(("project_id", "summary_id")),
            Index(("project_id", "target_language", "status")),
            Index(("status", "id")),
        ],
        operational=LEASE,
        checks=[Check("one_original", "num_nonnulls(text_source_id, summary_id) = 1")],
    )
