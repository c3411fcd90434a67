"""Typed, validated PostgreSQL repositories for a content-localisation pipeline.

Start with `Database`. Everything public is named here; importing it connects to nothing.
"""

from database_handler.config.database import DatabaseConfig
from database_handler.config.settings import Settings
from database_handler.core import exceptions
from database_handler.core.base_model import Change, Draft, Record
from database_handler.core.session import Session
from database_handler.database import Database
from database_handler.migrations import MigrationManager
from database_handler.models import (
    ContentFormat,
    Link,
    LinkKind,
    NewLink,
    NewProject,
    NewSummary,
    NewTextSource,
    NewTranslation,
    NewVideo,
    Project,
    ProjectStatus,
    Summary,
    SummaryKind,
    TextSource,
    Translation,
    TranslationStatus,
    Video,
    VideoStatus,
)
from database_handler.repositories import Outcome, Page, Repository, SearchHit, Upserted
from database_handler.unit_of_work import Repositories, UnitOfWork

__version__ = "0.1.0"

__all__ = [
    "Change",
    "ContentFormat",
    "Database",
    "DatabaseConfig",
    "Draft",
    "Link",
    "LinkKind",
    "MigrationManager",
    "NewLink",
    "NewProject",
    "NewSummary",
    "NewTextSource",
    "NewTranslation",
    "NewVideo",
    "Outcome",
    "Page",
    "Project",
    "ProjectStatus",
    "Record",
    "Repositories",
    "Repository",
    "SearchHit",
    "Session",
    "Settings",
    "Summary",
    "SummaryKind",
    "TextSource",
    "Translation",
    "TranslationStatus",
    "UnitOfWork",
    "Upserted",
    "Video",
    "VideoStatus",
    "exceptions",
]
