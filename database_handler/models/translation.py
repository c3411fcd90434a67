"""A translation of a text source or of a summary, into one language."""

from typing import Annotated, ClassVar, Self
from uuid import UUID

from pydantic import Field, model_validator

from database_handler.core.base_model import Draft, Record, derived
from database_handler.core.schema import LEASE, Check, Index, References, Table, search_vector
from database_handler.utils.validators import (
    Choice,
    Count,
    JsonObject,
    LanguageCode,
    Name,
    RequiredText,
    Tokens,
    TokenSpans,
    count_words,
    number_of_tokens,
)

__all__ = ["NewTranslation", "Translation", "TranslationStatus"]


# What the head of packed tokens says: how many there are, and where the last one ends.
TOKENS_FIT = (
    "num_nulls(tokens, token_count) <> 1 "
    "AND token_count = ('x' || encode(substring(tokens from 2 for 4), 'hex'))::bit(32)::bigint "
    "AND ('x' || encode(substring(tokens from 6 for 4), 'hex'))::bit(32)::bigint <= char_length(content)"
)


class TranslationStatus(Choice):
    """How far a translation has come."""

    DRAFT = "draft"
    REVIEW = "review"
    APPROVED = "approved"


def no_tokens(_content: str) -> None:
    """Return None: tokens of one content are not those of another."""


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

    @model_validator(mode="after")
    def _counted(self) -> Self:
        if self.token_count != number_of_tokens(self.tokens):
            raise ValueError("token_count follows from tokens; leave it out")
        return self

    @property
    def token_list(self) -> Tokens | None:
        """The tokens with their texts, read from `tokens`; None where the content has not been tokenized."""
        return None if self.tokens is None else Tokens.unpacked(self.content, self.tokens)


class Translation(NewTranslation, Record, frozen=True):
    """A translation as the database holds it."""

    table: ClassVar[Table] = Table(
        "translations",
        key=("project_id", "text_source_id", "summary_id", "target_language", "generator"),
        indexes=[
            Index(("project_id", "summary_id")),
            Index(("project_id", "target_language", "status")),
            Index(("status", "lease_until", "id")),
            Index(("status", "project_id", "lease_until", "id")),
            Index(("search_vector",), method="gin"),
        ],
        computed=[search_vector("search_vector", content="content", language="target_language")],
        operational=LEASE,
        checks=[
            Check("one_original", "num_nonnulls(text_source_id, summary_id) = 1"),
            Check("tokens_fit", TOKENS_FIT),
        ],
    )
