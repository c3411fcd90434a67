"""The repository of text sources."""

from database_handler.models.text_source import NewTextSource, TextSource
from database_handler.repositories.create import Create
from database_handler.repositories.search import Searched, SearchHit

__all__ = ["SearchHit", "TextSourceRepository"]


class TextSourceRepository(Searched[NewTextSource, TextSource]):
    """Reads, writes and searches `TextSource` records."""

    draft = NewTextSource
    record = TextSource
    create = Create(NewTextSource, TextSource)
