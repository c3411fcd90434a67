"""The repositories of the six entities, and what their calls give back."""

from database_handler.repositories.base import Outcome, Repository, Upserted
from database_handler.repositories.claims import Claim, Claims, HeldLease, Work
from database_handler.repositories.create import Create
from database_handler.repositories.files import FileProblem, Files, FilesReport, SweepReport, UnitFiles
from database_handler.repositories.link import AddedLinks, LinkRepository, RefusedUrl, RepeatedUrl
from database_handler.repositories.metadata_reports import Violation
from database_handler.repositories.missing import MissingPage, MissingTranslation
from database_handler.repositories.pages import Page
from database_handler.repositories.project import ProjectRepository
from database_handler.repositories.project_cascade import Deleted, ProjectCounts
from database_handler.repositories.project_coverage import Coverage, LanguageCoverage, OriginalCoverage
from database_handler.repositories.project_metadata import MetadataPath, MetadataSummary
from database_handler.repositories.project_statistics import ProjectStatistics
from database_handler.repositories.project_tree import ProjectTree, SummaryNode, TextSourceNode
from database_handler.repositories.search import Searched, SearchHit, SearchPage
from database_handler.repositories.summary import Compression, SummaryRepository
from database_handler.repositories.text_source import TextSourceRepository
from database_handler.repositories.translation import TranslationRepository
from database_handler.repositories.video import VideoRepository
from database_handler.repositories.video_files import VideoFileProblem, VideoFilesReport

__all__ = [
    "AddedLinks",
    "Claim",
    "Claims",
    "Compression",
    "Coverage",
    "Create",
    "Deleted",
    "FileProblem",
    "Files",
    "FilesReport",
    "HeldLease",
    "LanguageCoverage",
    "LinkRepository",
    "MetadataPath",
    "MetadataSummary",
    "MissingPage",
    "MissingTranslation",
    "OriginalCoverage",
    "Outcome",
    "Page",
    "ProjectCounts",
    "ProjectRepository",
    "ProjectStatistics",
    "ProjectTree",
    "RefusedUrl",
    "RepeatedUrl",
    "Repository",
    "SearchHit",
    "SearchPage",
    "Searched",
    "SummaryNode",
    "SummaryRepository",
    "SweepReport",
    "TextSourceNode",
    "TextSourceRepository",
    "TranslationRepository",
    "UnitFiles",
    "Upserted",
    "VideoFileProblem",
    "VideoFilesReport",
    "VideoRepository",
    "Violation",
    "Work",
]
