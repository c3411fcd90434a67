"""A document of a folder becomes the draft of a text source, or is refused where it breaks a rule of it."""

from uuid import UUID

from database_handler.content.documents import Document
from database_handler.models import NewTextSource
from database_handler.repositories.text_source_files import text_source_of

__all__ = ["text_source_draft"]


def text_source_draft(
    project_id: UUID, name: str, document: Document, uri: str | None = None
) -> NewTextSource:
    """Return the draft for a file of a folder.

    Parameters
    ----------
    name : str
        Its path below the folder.
    uri : str, optional
        Where its original lies; else in the file store.

    Raises
    ------
    Unstorable
    """
    return text_source_of(project_id, document, filename=name, storage_uri=uri)
