"""What is done to content: files become documents, with a reason for each one that cannot."""

from database_handler.content.documents import (
    Document,
    Extracted,
    Limits,
    extract_document,
    read_document,
    register_extractor,
)
from database_handler.content.errors import (
    DamagedFile,
    EmptyFile,
    EncryptedFile,
    ExtractionTimeout,
    ExtractorUnavailable,
    FileTooLarge,
    NotARegularFile,
    NoText,
    NotText,
    Refusal,
    UnreadableFile,
    UnsafeArchive,
    UnsupportedType,
    UnusableName,
)
from database_handler.content.files import Fingerprint, Original, fingerprint, read_original
from database_handler.content.folder import FileReport, FolderReport, Outcome

__all__ = [
    "DamagedFile",
    "Document",
    "EmptyFile",
    "EncryptedFile",
    "Extracted",
    "ExtractionTimeout",
    "ExtractorUnavailable",
    "FileReport",
    "FileTooLarge",
    "Fingerprint",
    "FolderReport",
    "Limits",
    "NoText",
    "NotARegularFile",
    "NotText",
    "Original",
    "Outcome",
    "Refusal",
    "UnreadableFile",
    "UnsafeArchive",
    "UnsupportedType",
    "UnusableName",
    "extract_document",
    "fingerprint",
    "read_document",
    "read_original",
    "register_extractor",
]
