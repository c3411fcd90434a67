"""A link of the project, in the one form that its URL is stored in."""

from enum import StrEnum
from typing import Annotated, ClassVar
from uuid import UUID

from annotated_types import MaxLen, MinLen
from pydantic import BeforeValidator, Field

from database_handler.core.base_model import Draft, Record, derived
from database_handler.core.schema import Index, References, Table
from database_handler.utils.validators import Description, JsonObject, Title, Url, label, url_host

__all__ = ["Link", "LinkKind", "NewLink"]


Host = Annotated[str, MinLen(1), MaxLen(255), BeforeValidator(label)]


class LinkKind(StrEnum):
    """What a link leads to."""

    WEBSITE = "website"
    VIDEO = "video"
    AUDIO = "audio"
    IMAGE = "image"
    DOCUMENT = "document"
    CODE = "code"
    SOCIAL = "social"
    NEWS = "news"
    MAP = "map"
    ARCHIVE = "archive"


class NewLink(Draft, frozen=True):
    """A link to be stored; its host is taken from the normalised URL."""

    project_id: Annotated[UUID, References("projects")]
    url: Url
    title: Title | None = None
    kind: LinkKind = LinkKind.WEBSITE
    host: Host = derived("url", url_host)
    description: Description | None = None
    metadata: JsonObject = Field(default_factory=dict)


class Link(NewLink, Record, frozen=True):
    """A link as the database holds it."""

    table: ClassVar[Table] = Table(
        "links", key=("project_id", "url"), indexes=[Index(("project_id", "kind", "id"))]
    )
