"""The repository of translations."""

from database_handler.models.translation import NewTranslation, Translation
from database_handler.repositories.base import Repository
from database_handler.repositories.create import Create

__all__ = ["TranslationRepository"]


class TranslationRepository(Repository[NewTranslation, Translation]):
    """Reads and writes `Translation` records."""

    draft = NewTranslation
    record = Translation
    create = Create(NewTranslation, Translation)
