"""The repository of videos."""

from database_handler.models.video import NewVideo, Video
from database_handler.repositories.base import Repository
from database_handler.repositories.create import Create

__all__ = ["VideoRepository"]


class VideoRepository(Repository[NewVideo, Video]):
    """Reads and writes `Video` records."""

    draft = NewVideo
    record = Video
    create = Create(NewVideo, Video)
