"""The six entities: pure data, and what each says of its table."""

from database_handler.core.base_model import Record
from database_handler.models.link import Link, LinkKind, NewLink
from database_handler.models.project import STATUS_MOVES, NewProject, Project, ProjectStatus
from database_handler.models.summary import ContentFormat, NewSummary, Summary, SummaryKind
from database_handler.models.text_source import NewTextSource, TextSource
from database_handler.models.translation import NewTranslation, Translation, TranslationStatus
from database_handler.models.video import NewVideo, Video, VideoStatus

__all__ = [
    "ENTITIES",
    "STATUS_MOVES",
    "ContentFormat",
    "Link",
    "LinkKind",
    "NewLink",
    "NewProject",
    "NewSummary",
    "NewTextSource",
    "NewTranslation",
    "NewVideo",
    "Project",
    "ProjectStatus",
    "Summary",
    "SummaryKind",
    "TextSource",
    "Translation",
    "TranslationStatus",
    "Video",
    "VideoStatus",
]

ENTITIES: tuple[type[Record], ...] = (Project, TextSource, Summary, Translation, Video, Link)
