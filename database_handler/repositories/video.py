"""The repository of videos."""

from typing import ClassVar

from database_handler.models.video import NewVideo, Video, VideoStatus
from database_handler.repositories.claims import Claims, Work
from database_handler.repositories.create import Create
from database_handler.repositories.video_files import VideoFiles

__all__ = ["VideoRepository"]


class VideoRepository(VideoFiles, Claims[NewVideo, Video]):
    """Reads and writes `Video` records, makes them from files, and gives them to workers."""

    draft = NewVideo
    record = Video
    create = Create(NewVideo, Video)
    work: ClassVar[Work] = Work(
        waiting=VideoStatus.PENDING,
        taken=VideoStatus.PROCESSING,
        done={VideoStatus.PROCESSING: VideoStatus.READY},
    )
