"""The repository of text sources: their files, and search."""

from database_handler.models.text_source import NewTextSource, TextSource
from database_handler.repositories.create import Create
from database_handler.repositories.search import Searched, SearchHit
from database_handler.repositories.text_source_files import TextSourceFiles

__all__ = ["SearchHit", "TextSourceRepository"]


class TextSourceRepository(TextSourceFiles, Searched[NewTextSource, TextSource]):
    """Reads, writes and searches `TextSource` records, and keeps the files they come from."""

    draft = NewTextSource
    record = TextSource
    create = Create(NewTextSource, TextSource)
