"""A summary of a text source, of one kind, in one language: cleaned by format, no longer than its kind."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, NamedTuple, Self, TypeVar
from uuid import UUID

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from database_handler.core.base_model import Draft, Record, derived
from database_handler.core.schema import Index, References, Table, search_vector
from database_handler.utils.validators import (
    Choice,
    Count,
    InvalidValue,
    JsonObject,
    LanguageCode,
    Name,
    RequiredText,
    clean_markup,
    count_items,
    count_visible_words,
    length_in_words,
    visible_text,
)

__all__ = [
    "SUMMARY_LIMITS",
    "TOGETHER",
    "ContentFormat",
    "NewSummary",
    "Summary",
    "SummaryKind",
    "SummaryLimit",
    "completed",
    "prepared",
]


class SummaryKind(Choice):
    """How much a summary says."""

    HEADLINE = "headline"
    BRIEF = "brief"
    STANDARD = "standard"
    DETAILED = "detailed"
    BULLETS = "bullets"


class ContentFormat(Choice):
    """How a text is marked up."""

    PLAIN = "plain"
    MARKDOWN = "markdown"
    HTML = "html"


class SummaryLimit(NamedTuple):
    """The most that a summary of a kind may have: words, items of lists, and visible characters a word."""

    words: int
    items: int | None = None
    characters_a_word: int = 20

    @property
    def characters(self) -> int:
        """The most visible characters, so that a text without spaces is no way around the words."""
        return self.words * self.characters_a_word


SUMMARY_LIMITS: Final[Mapping[SummaryKind, SummaryLimit]] = {
    SummaryKind.HEADLINE: SummaryLimit(words=60),
    SummaryKind.BRIEF: SummaryLimit(words=300),
    SummaryKind.STANDARD: SummaryLimit(words=1_500),
    SummaryKind.DETAILED: SummaryLimit(words=10_000, characters_a_word=10),
    SummaryKind.BULLETS: SummaryLimit(words=3_000, items=100),
}
"""What each kind may have. Words are `length_in_words`: letters of scripts without spaces count in part."""

TOGETHER: Final = frozenset({"content", "content_format", "kind"})
"""The fields that are judged together: a content is cleaned by its format and measured against its kind."""


def cleaned(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return fields as given, the content cleaned by its format and no longer than its kind allows.

    Raises
    ------
    InvalidValue
        Nothing is left of the content, or it is too long. Wrong formats and kinds are their fields'.
    """
    content_format = _member(ContentFormat, given.get("content_format", ContentFormat.PLAIN))
    if content_format is None or not isinstance(given.get("content"), str) or not given["content"]:
        return given
    content = clean_markup(given["content"], content_format)
    text = visible_text(content, content_format)
    if not text.strip() and given["content"].strip():
        raise InvalidValue(f"nothing that can be read is left once it is cleaned as {content_format}")
    kind = _member(SummaryKind, given.get("kind"))
    if kind is not None:
        _refuse_too_long(kind, text, lambda: count_items(content, content_format))
    return {**given, "content": content}


E = TypeVar("E", bound=StrEnum)


def _member(kind: type[E], value: object) -> E | None:
    return kind(value) if isinstance(value, str) and value in set(kind) else None


def _refuse_too_long(kind: SummaryKind, text: str, items: Callable[[], int]) -> None:
    limit = SUMMARY_LIMITS[kind]
    counted = [
        (length_in_words(text), limit.words, "words"),
        (len(text), limit.characters, "characters"),
        *([] if limit.items is None else [(items(), limit.items, "items")]),
    ]
    for count, most, unit in counted:
        if count > most:
            raise InvalidValue(
                f"{count:,} {unit} are too many for a summary of kind {kind}, which has at most {most:,}; "
                "shorten it, or choose a longer kind"
            )


def prepared(changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return changes as `cleaned` leaves them; its refusal names the field."""
    try:
        found: Mapping[str, Any] = cleaned(changes)
    except ValueError as error:
        refusal = InvalidValue(f"NewSummary: content: {error}", columns=["content"])
    else:
        return found
    raise refusal


def completed(changes: Mapping[str, Any], record: "NewSummary") -> dict[str, Any]:
    """Return changes with what belongs to them: content, format and kind are judged together."""
    if changes.keys() & TOGETHER:
        return {name: getattr(record, name) for name in sorted(TOGETHER)} | dict(changes)
    return dict(changes)


class NewSummary(Draft, frozen=True):
    """A summary to be stored; one per source, kind, language and generator.

    The content is stored as `clean_markup` leaves it; its words are those that a reader sees.
    """

    project_id: Annotated[UUID, References("projects")]
    text_source_id: Annotated[UUID, References("text_sources")]
    kind: SummaryKind
    language: LanguageCode
    content: RequiredText
    content_format: ContentFormat = ContentFormat.PLAIN
    generator: Name | None = None
    word_count: Count = derived(("content", "content_format"), count_visible_words)
    metadata: JsonObject = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _clean(cls, given: Any) -> Any:
        """Clean the content before it is measured."""
        if not isinstance(given, Mapping):
            return given
        try:
            return cleaned(given)
        except ValueError as error:
            told = PydanticCustomError("content", "{told}", {"told": str(error)})
        raise ValidationError.from_exception_data(
            cls.__name__, [InitErrorDetails(type=told, loc=("content",), input=None)]
        )

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy; another content is cleaned by the format and judged by the kind that the copy will have."""
        changes = prepared(completed(update, self)) if update and isinstance(update, Mapping) else update
        return super().model_copy(update=changes, deep=deep)


class Summary(NewSummary, Record, frozen=True):
    """A summary as the database holds it."""

    table: ClassVar[Table] = Table(
        "summaries",
        key=("project_id", "text_source_id", "kind", "language", "generator"),
        indexes=[Index(("search_vector",), method="gin")],
        computed=[search_vector("search_vector", content="content", language="language")],
    )
