"""A document becomes the draft of a text source, or is refused where it breaks a rule of the record."""

from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from database_handler.content.documents import Document
from database_handler.content.errors import Unstorable
from database_handler.core.exceptions import InvalidValue
from database_handler.models import NewTextSource

__all__ = ["text_source_draft"]


def text_source_draft(project_id: UUID, name: str, document: Document, uri: str) -> NewTextSource:
    """Return the draft for a file of a folder; `name` is its path there.

    Raises
    ------
    Unstorable
    """
    facts: dict[str, Any] = dict(document.metadata)
    if document.encoding not in {None, "utf-8"}:
        facts["encoding"] = document.encoding
    try:
        return NewTextSource(
            project_id=project_id,
            title=document.title or PurePosixPath(name).name,
            content=document.content,
            content_type=document.content_type,
            language=document.language,
            filename=name,
            size_bytes=document.size_bytes,
            checksum=document.checksum,
            storage_uri=uri,
            metadata=facts,
        )
    except (InvalidValue, ValidationError) as error:
        failure = Unstorable(f"what was read breaks a rule of the record: {_fields(error)}")
    raise failure


def _fields(error: InvalidValue | ValidationError) -> str:
    """Say which rule was broken, without the value."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors())
    return str(error)
