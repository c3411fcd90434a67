"""Typed, validated PostgreSQL repositories for a content-localisation pipeline.

Start with `Database`. Everything public is named here. A name is imported when it is first used: a program
that needs one part, or a test run that loads the pytest plugin and nothing else, does not pay for the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from database_handler.aio import AsyncDatabase, AsyncUnitOfWork
    from database_handler.config.cache import CacheConfig
    from database_handler.config.database import DatabaseConfig
    from database_handler.config.files import FilesConfig
    from database_handler.config.settings import Settings
    from database_handler.core import exceptions
    from database_handler.core.base_model import Change, Draft, Record, derived
    from database_handler.core.schema import Backfill, Check, Index, References, RenamedFrom, Table
    from database_handler.core.session import Session
    from database_handler.database import Database
    from database_handler.migrations import MigrationManager
    from database_handler.models import (
        STATUS_MOVES,
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
    from database_handler.repositories import (
        Claim,
        Coverage,
        Create,
        Deleted,
        Outcome,
        Page,
        ProjectCounts,
        ProjectStatistics,
        ProjectTree,
        Repository,
        SearchHit,
        SearchPage,
        Upserted,
    )
    from database_handler.unit_of_work import Entity, Repositories, UnitOfWork

__version__ = "0.1.0"

__all__ = [
    "STATUS_MOVES",
    "AsyncDatabase",
    "AsyncUnitOfWork",
    "Backfill",
    "CacheConfig",
    "Change",
    "Check",
    "Claim",
    "ContentFormat",
    "Coverage",
    "Create",
    "Database",
    "DatabaseConfig",
    "Deleted",
    "Draft",
    "Entity",
    "FilesConfig",
    "Index",
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
    "ProjectCounts",
    "ProjectStatistics",
    "ProjectStatus",
    "ProjectTree",
    "Record",
    "References",
    "RenamedFrom",
    "Repositories",
    "Repository",
    "SearchHit",
    "SearchPage",
    "Session",
    "Settings",
    "Summary",
    "SummaryKind",
    "Table",
    "TextSource",
    "Translation",
    "TranslationStatus",
    "UnitOfWork",
    "Upserted",
    "Video",
    "VideoStatus",
    "derived",
    "exceptions",
]

_HOMES = (
    *("models", "repositories", "unit_of_work", "database", "config"),
    *("core.base_model", "core.schema", "core.session"),
)


def __getattr__(name: str) -> object:
    """Import a public name from the part that defines it (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = _found(name)
    return globals()[name]


def _found(name: str) -> object:
    if name == "exceptions":
        return import_module(f"{__name__}.core.exceptions")
    for home in (*_HOMES, "migrations", "aio"):
        part = import_module(f"{__name__}.{home}")
        if name in part.__all__:
            return getattr(part, name)
    raise AttributeError(f"{name!r} stands in __all__ of {__name__!r}, and in no part's")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
