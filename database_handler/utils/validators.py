"""Pure rules on values, and the annotated types that put them on models.

A rule either gives the value back in its one documented form or raises `InvalidValue`, whose text says what
was wrong and what is allowed and never holds the value. Lengths and ranges stand in the annotation as
`annotated_types` markers, so that the table's CHECK constraints follow from them; the functions say the rest.

The longer rules have modules of their own (`text`, `languages`, `urls`, `json_values`); whoever needs a rule
or a type finds it by its name here.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final

from annotated_types import Ge, Gt, Le, MaxLen, MinLen, MultipleOf
from pydantic import (
    AfterValidator,
    AllowInfNan,
    AwareDatetime,
    BeforeValidator,
    JsonValue,
    Strict,
    StringConstraints,
)
from pydantic_core import CoreSchema
from pydantic_core.core_schema import any_schema, dict_schema, str_schema

from database_handler.utils.arguments import checked
from database_handler.utils.choices import Choice
from database_handler.utils.errors import InvalidValue
from database_handler.utils.json_schemas import metadata_schemas
from database_handler.utils.json_values import json_object
from database_handler.utils.languages import LANGUAGE_CHARS, canonical_language
from database_handler.utils.link_kinds import LinkKind, link_kind
from database_handler.utils.markup import clean_markup, count_items, count_visible_words, visible_text
from database_handler.utils.text import (
    KEY_BYTES,
    NOT_IN_LINE,
    count_words,
    is_printable_ascii,
    label,
    length_in_words,
    letters_a_word,
    nfc_stripped,
    plain_text,
    sha256_hex,
    slugify,
    verbatim,
    within_key,
)
from database_handler.utils.token_spans import Tokens, TokenSpans, number_of_tokens
from database_handler.utils.urls import ORIGINAL_URL_CHARS, normalize_url, original_url, url_host

__all__ = [
    "CHECKSUM_PATTERN",
    "KEY_BYTES",
    "MIME_PATTERN",
    "SLUG_PATTERN",
    "Checksum",
    "Choice",
    "Count",
    "Description",
    "Duration",
    "Filename",
    "FrameRate",
    "InvalidValue",
    "JsonObject",
    "LanguageCode",
    "LinkKind",
    "MaxBytes",
    "MetadataSchemas",
    "MimeType",
    "Name",
    "OriginalUrl",
    "PositiveInt32",
    "RelativePath",
    "RequiredText",
    "Rotation",
    "Slug",
    "StorageUri",
    "Tags",
    "Text",
    "Title",
    "TokenSpans",
    "Tokens",
    "Url",
    "UtcDatetime",
    "canonical_language",
    "clean_markup",
    "count_items",
    "count_visible_words",
    "count_words",
    "filename",
    "json_object",
    "label",
    "length_in_words",
    "letters_a_word",
    "link_kind",
    "mime_type",
    "nfc_stripped",
    "normalize_url",
    "number_of_tokens",
    "original_url",
    "relative_path",
    "sha256_hex",
    "slugify",
    "storage_uri",
    "tags",
    "url_host",
    "utc",
    "verbatim",
    "visible_text",
]

SLUG_PATTERN: Final = r"^[a-z0-9]+(-[a-z0-9]+)*$"
CHECKSUM_PATTERN: Final = r"^[0-9a-f]{64}$"
MIME_PATTERN: Final = r"^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$"


# --- files, tags, times ------------------------------------------------------------------------------------


def mime_type(value: object) -> str:
    """Give a media type (``video/mp4``) in lower case; parameters are refused."""
    text = verbatim(value).strip().lower()
    if not re.fullmatch(MIME_PATTERN[1:-1], text):
        raise InvalidValue("a media type such as video/mp4 is needed, without parameters")
    return text


def storage_uri(value: object) -> str:
    """Give the path or URI of a stored file unaltered; a control character or over 2,000 bytes is refused."""
    text = verbatim(value)
    if NOT_IN_LINE.search(text):
        raise InvalidValue("a file's path or URI must hold no control character or line break")
    return within_key(text)


def filename(value: object) -> str:
    """Give a file's name in NFC; one that could be a path or a command's option is refused."""
    text = label(value)
    if re.search(r"[/\\]", text) or text in {".", ".."} or text.startswith("-"):
        raise InvalidValue("a file's name must hold no slash, start with no hyphen, and be neither . nor ..")
    if len(text.encode()) > 255:
        raise InvalidValue("a file's name must be 1 to 255 bytes of UTF-8")
    return text


def relative_path(value: object) -> str:
    """Give a file's path below some folder, in NFC with ``/``; one that could lead out of it is refused."""
    parts = plain_text(value).split("/")
    return within_key("/".join(filename(part) for part in parts))


_LISTS = (list, tuple, set, frozenset)


def tags(value: object) -> tuple[str, ...]:
    """Give tags as labels in the order given, each once."""
    if not isinstance(value, _LISTS):
        raise InvalidValue(f"a list of tags is needed, not {type(value).__name__}")
    if type(value) is list or type(value) is tuple:
        try:
            plain = is_printable_ascii("".join(value))  # told of all at once
        except TypeError:
            plain = False
        if plain:
            return tuple(dict.fromkeys(map(str.strip, value)))
    given: Iterable[object] = sorted(map(plain_text, value)) if isinstance(value, set | frozenset) else value
    return tuple(dict.fromkeys(map(label, given)))


@checked
def utc(value: datetime) -> datetime:
    """Give an aware time in UTC; one without a zone, or outside the years 1 to 9999 in UTC, is refused."""
    if value.utcoffset() is None:
        raise InvalidValue("a time with a time zone is needed")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        pass
    raise InvalidValue("a time within the years 1 to 9999 in UTC is needed")


def _time_or_text(value: object) -> object:
    if isinstance(value, datetime | str):
        return value
    raise InvalidValue(f"a datetime or ISO 8601 text is needed, not {type(value).__name__}")


@dataclass(frozen=True, slots=True)
class _Checked:
    """Marker: the validator beside it looked at every value of the dict, and made it a copy.

    The schema that pydantic makes of JsonValue calls Python for each value once more.
    """

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> CoreSchema:
        return dict_schema(str_schema(), any_schema())


@dataclass(frozen=True, slots=True)
class MaxBytes:
    """Marker: at most so many bytes of UTF-8. The validator beside it refuses, and a CHECK says so too."""

    max_bytes: int


# --- types ------------------------------------------------------------------------------------------------

Title = Annotated[str, MinLen(1), MaxLen(500), BeforeValidator(label)]
"""One line, NFC, stripped, 1 to 500 characters (so at most 2,000 bytes)."""
Name = Annotated[str, MinLen(1), MaxLen(200), BeforeValidator(label)]
"""One line, NFC, stripped, 1 to 200 characters."""
Slug = Annotated[
    str, MinLen(1), MaxLen(200), StringConstraints(pattern=SLUG_PATTERN), BeforeValidator(plain_text)
]
"""ASCII words in lower case joined by single hyphens, 1 to 200 characters; never altered."""
Description = Annotated[str, MaxLen(10_000), BeforeValidator(nfc_stripped)]
"""Text of several lines, NFC, stripped, at most 10,000 characters."""
Text = Annotated[str, BeforeValidator(verbatim)]
"""Content: stored verbatim, or refused."""
RequiredText = Annotated[str, MinLen(1), BeforeValidator(verbatim)]
"""Content of at least one character: stored verbatim, or refused."""
LanguageCode = Annotated[str, MinLen(2), MaxLen(LANGUAGE_CHARS), BeforeValidator(canonical_language)]
"""A BCP 47 tag in canonical form."""
Url = Annotated[str, MinLen(1), MaxBytes(KEY_BYTES), BeforeValidator(normalize_url)]
"""An http or https URL, written anew from its parts, ASCII, at most 2,000 bytes."""
OriginalUrl = Annotated[str, MinLen(1), MaxLen(ORIGINAL_URL_CHARS), BeforeValidator(original_url)]
"""A URL as it was given: what `Url` takes, unaltered, at most 8,000 characters."""
MimeType = Annotated[str, StringConstraints(pattern=MIME_PATTERN), BeforeValidator(mime_type)]
"""A media type in lower case, without parameters."""
Checksum = Annotated[
    str, MinLen(64), MaxLen(64), StringConstraints(pattern=CHECKSUM_PATTERN), BeforeValidator(plain_text)
]
"""A SHA-256: 64 lower-case hexadecimal digits."""
StorageUri = Annotated[str, MinLen(1), MaxBytes(KEY_BYTES), BeforeValidator(storage_uri)]
"""The path or URI of a stored file, verbatim, 1 to 2,000 bytes."""
Filename = Annotated[str, MinLen(1), MaxBytes(255), BeforeValidator(filename)]
"""The name of a file without its folder, NFC, 1 to 255 bytes."""
RelativePath = Annotated[str, MinLen(1), MaxBytes(KEY_BYTES), BeforeValidator(relative_path)]
"""A file's path below some folder, such as ``scenes/opening.docx``; at most 2,000 bytes."""
Tags = Annotated[tuple[Annotated[str, MinLen(1), MaxLen(100)], ...], MaxLen(100), BeforeValidator(tags)]
"""At most 100 different labels of 1 to 100 characters, in the order given."""
JsonObject = Annotated[dict[str, JsonValue], _Checked(), BeforeValidator(json_object)]
"""A JSON object that jsonb gives back as it was."""
MetadataSchemas = Annotated[dict[str, JsonValue], _Checked(), BeforeValidator(metadata_schemas)]
"""JSON Schemas by entity, such as ``text_sources``."""
Count = Annotated[int, Strict(), Ge(0), Le(2**63 - 1)]
"""A whole number from 0 to 2**63 - 1."""
PositiveInt32 = Annotated[int, Strict(), Ge(1), Le(2**31 - 1)]
"""A whole number from 1 to 2**31 - 1."""
Duration = Annotated[float, Strict(), AllowInfNan(False), Ge(0)]
"""Seconds, finite, 0 or more."""
Rotation = Annotated[int, Strict(), Ge(0), Le(270), MultipleOf(90)]
"""Degrees clockwise: 0, 90, 180 or 270."""
FrameRate = Annotated[float, Strict(), AllowInfNan(False), Gt(0), Le(1_000)]
"""Frames a second, more than 0, at most 1,000."""
UtcDatetime = Annotated[AwareDatetime, BeforeValidator(_time_or_text), AfterValidator(utc)]
"""An aware time, turned to UTC."""
