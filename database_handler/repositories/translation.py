"""The repository of translations."""

from typing import ClassVar

from database_handler.models.translation import NewTranslation, Translation, TranslationStatus
from database_handler.repositories.claims import Claims, Work
from database_handler.repositories.create import Create

__all__ = ["TranslationRepository"]


class TranslationRepository(Claims[NewTranslation, Translation]):
    """Reads and writes `Translation` records."""

    draft = NewTranslation
    record = Translation
    create = Create(NewTranslation, Translation)
    work: ClassVar[Work] = Work(
        waiting=TranslationStatus.DRAFT,
        taken=None,
        done={
            TranslationStatus.DRAFT: TranslationStatus.REVIEW,
            TranslationStatus.REVIEW: TranslationStatus.APPROVED,
        },
    )
