"""A text source is a text to be localised, and where it came from."""

from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import Field

from database_handler.core.base_model import Draft, Record, derived
from database_handler.core.schema import Index, References, Table, search_vector
from database_handler.utils.validators import (
    Checksum,
    Count,
    JsonObject,
    LanguageCode,
    MimeType,
    RelativePath,
    StorageUri,
    Text,
    Title,
    count_words,
    sha256_hex,
)

__all__ = ["NewTextSource", "TextSource"]


def utf8_size(text: str) -> int:
    """Return how many bytes a text has in UTF-8."""
    return len(text.encode())


class NewTextSource(Draft, frozen=True):
    """A text to be stored.

    Checksum and size are those of the content in UTF-8 unless they are given: for a text that was read from
    a file they are the file's.
    """

    project_id: Annotated[UUID, References("projects")]
    title: Title
    content: Text
    content_type: MimeType = "text/plain"
    language: LanguageCode = "und"
    filename: RelativePath | None = None
    size_bytes: Count = derived("content", utf8_size)
    checksum: Checksum = derived("content", sha256_hex)
    storage_uri: StorageUri | None = None
    word_count: Count = derived("content", count_words)
    char_count: Count = derived("content", len)
    metadata: JsonObject = Field(default_factory=dict)


class TextSource(NewTextSource, Record, frozen=True):
    """A text as the database holds it."""

    table: ClassVar[Table] = Table(
        "text_sources",
        key=("project_id", "checksum"),
        indexes=[
            Index(("project_id", "filename")),
            Index(("project_id", "language")),
            Index(("search_vector",), method="gin"),
        ],
        computed=[search_vector("search_vector", title="title", content="content", language="language")],
    )
