"""A link of the project, in the one form that its URL is stored in, and as it was given."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self
from uuid import UUID

from annotated_types import MaxLen, MinLen
from pydantic import BeforeValidator, Field, model_validator

from database_handler.core.base_model import Draft, Record, derived
from database_handler.core.schema import Index, References, Table
from database_handler.utils.validators import (
    Description,
    JsonObject,
    LinkKind,
    OriginalUrl,
    Title,
    Url,
    label,
    link_kind,
    original_url,
    url_host,
)

__all__ = ["Link", "LinkKind", "NewLink", "with_original"]


Host = Annotated[str, MinLen(1), MaxLen(255), BeforeValidator(label)]


def with_original(given: Any) -> Any:
    """Return fields as given, and with an acceptable URL among them how it was written."""
    if not isinstance(given, Mapping) or "url" not in given or "original_url" in given:
        return given
    try:
        return {**given, "original_url": original_url(given["url"])}
    except ValueError:  # the field itself says so
        return given


def _as_it_is(url: str) -> str:
    return url


class NewLink(Draft, frozen=True):
    """A link to be stored: its host is its URL's; kind and original follow from the URL unless given."""

    project_id: Annotated[UUID, References("projects")]
    url: Url
    title: Title | None = None
    kind: LinkKind = derived("url", link_kind)
    host: Host = derived("url", url_host)
    original_url: OriginalUrl = derived("url", _as_it_is)
    description: Description | None = None
    metadata: JsonObject = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _keep_original(cls, given: Any) -> Any:
        """Take down the URL before it is normalised."""
        return with_original(given)

    @model_validator(mode="after")
    def _of_its_url(self) -> Self:
        if self.host != url_host(self.url):
            raise ValueError("host is that of the URL; leave it out")
        return self

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy; another URL brings its own host, kind and original with it."""
        return super().model_copy(update=with_original(update), deep=deep)


class Link(NewLink, Record, frozen=True):
    """A link as the database holds it."""

    table: ClassVar[Table] = Table(
        "links", key=("project_id", "url"), indexes=[Index(("project_id", "kind", "id"))]
    )
