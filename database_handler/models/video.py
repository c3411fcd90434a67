"""A video of the project: its file, and what is known of the file."""

from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import Field

from database_handler.core.base_model import Draft, Record
from database_handler.core.schema import LEASE, Index, References, Table
from database_handler.utils.validators import (
    Checksum,
    Choice,
    Count,
    Duration,
    FrameRate,
    JsonObject,
    Name,
    PositiveInt32,
    Rotation,
    StorageUri,
    Tags,
    Title,
)

__all__ = ["NewVideo", "Video", "VideoStatus"]


class VideoStatus(Choice):
    """How far the work on a video has come."""

    PENDING = "pending"
    PROCESSING = "processing"
    READY = "ready"
    FAILED = "failed"


class NewVideo(Draft, frozen=True):
    """A video to be stored.

    Attributes
    ----------
    storage_uri : str
        A file's path or a URI.
    duration : float, optional
        Seconds.
    width, height : int, optional
        Pixels.
    frame_rate : float, optional
        Frames a second.
    bit_rate : int, optional
        Bits a second.
    rotation : int, optional
        Degrees clockwise by which a picture is turned to be shown: 0, 90, 180 or 270.
    audio_languages, subtitle_languages : tuple of str
        BCP 47 tags, in the order of the streams.
    media_info : dict
        What else the file says of itself, its streams above all.
    """

    project_id: Annotated[UUID, References("projects")]
    translation_id: Annotated[UUID, References("translations", on_delete="RESTRICT")] | None = None
    title: Title
    storage_uri: StorageUri
    checksum: Checksum | None = None
    container: Name | None = None
    duration: Duration | None = None
    width: PositiveInt32 | None = None
    height: PositiveInt32 | None = None
    frame_rate: FrameRate | None = None
    codecs: Tags = ()
    bit_rate: Count | None = None
    size_bytes: Count | None = None
    thumbnail_uri: StorageUri | None = None
    status: VideoStatus = VideoStatus.PENDING
    metadata: JsonObject = Field(default_factory=dict)
    rotation: Rotation | None = None
    audio_languages: Tags = ()
    subtitle_languages: Tags = ()
    media_info: JsonObject = Field(default_factory=dict)


class Video(NewVideo, Record, frozen=True):
    """A video as the database holds it."""

    table: ClassVar[Table] = Table(
        "videos",
        key=("project_id", "storage_uri"),
        indexes=[
            Index(("project_id", "status", "id")),
            Index(("status", "lease_until", "id")),
            Index(("status", "project_id", "lease_until", "id")),
        ],
        operational=LEASE,
    )
