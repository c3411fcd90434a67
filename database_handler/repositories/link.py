"""The repository of links."""

from database_handler.models.link import Link, NewLink
from database_handler.repositories.base import Repository
from database_handler.repositories.create import Create

__all__ = ["LinkRepository"]


class LinkRepository(Repository[NewLink, Link]):
    """Reads and writes `Link` records."""

    draft = NewLink
    record = Link
    create = Create(NewLink, Link)
