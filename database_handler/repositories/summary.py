"""The repository of summaries."""

from database_handler.models.summary import NewSummary, Summary
from database_handler.repositories.base import Repository
from database_handler.repositories.create import Create

__all__ = ["SummaryRepository"]


class SummaryRepository(Repository[NewSummary, Summary]):
    """Reads and writes `Summary` records."""

    draft = NewSummary
    record = Summary
    create = Create(NewSummary, Summary)
