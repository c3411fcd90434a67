"""The repositories of the six entities, and what their calls give back."""

from database_handler.repositories.base import Outcome, Repository, Upserted
from database_handler.repositories.create import Create
from database_handler.repositories.link import LinkRepository
from database_handler.repositories.pages import Page
from database_handler.repositories.project import ProjectRepository
from database_handler.repositories.summary import SummaryRepository
from database_handler.repositories.text_source import SearchHit, TextSourceRepository
from database_handler.repositories.translation import TranslationRepository
from database_handler.repositories.video import VideoRepository

__all__ = [
    "Create",
    "LinkRepository",
    "Outcome",
    "Page",
    "ProjectRepository",
    "Repository",
    "SearchHit",
    "SummaryRepository",
    "TextSourceRepository",
    "TranslationRepository",
    "Upserted",
    "VideoRepository",
]
