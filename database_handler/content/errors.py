"""Every way in which a file or a text is refused is one class here, with a short fixed `reason`.

A message says what was wrong and what is allowed. It never quotes the file's content, and it names no
path: the caller knows which file was given, and a report stands next to it.
"""

from typing import ClassVar

from database_handler.core.exceptions import ContentError

__all__ = [
    "ChangedFile",
    "DamagedFile",
    "EmptyFile",
    "EncryptedFile",
    "ExtractionTimeout",
    "ExtractorUnavailable",
    "FileDamaged",
    "FileMissing",
    "FileTooLarge",
    "NoOriginal",
    "NoText",
    "NotARegularFile",
    "NotAVideo",
    "NotText",
    "Refusal",
    "StoreError",
    "StoreUnavailable",
    "UnreadableFile",
    "UnsafeArchive",
    "UnsafeMedia",
    "Unstorable",
    "UnsupportedType",
    "UnusableName",
    "refusal",
]

_by_reason: dict[str, type["Refusal"]] = {}


class Refusal(ContentError):
    """The file cannot be taken.

    Attributes
    ----------
    reason : str
        A short code for reports and for programs; it never changes.
    """

    reason: ClassVar[str] = "refused"

    def __init__(self, message: str | None = None) -> None:
        claim = (type(self).__doc__ or self.reason).strip().splitlines()[0].rstrip(".")
        super().__init__(message or claim[0].lower() + claim[1:])

    def __init_subclass__(cls, reason: str, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.reason = reason
        _by_reason[reason] = cls


class ExtractorUnavailable(ContentError):
    """The process that reads documents could not be started: no file is at fault."""


class EmptyFile(Refusal, reason="empty"):
    """The file has no bytes; a text needs at least one character."""


class NoText(Refusal, reason="no_text"):
    """The document holds no text: only white space, or pictures of text, which are not read."""


class FileTooLarge(Refusal, reason="too_large"):
    """The file, or the text in it, is larger than the limit."""


class NotText(Refusal, reason="not_text"):
    """The bytes are no text and no kind of document that is known."""


class UnsupportedType(Refusal, reason="unsupported"):
    """The file is of a known kind that holds no text to read."""


class DamagedFile(Refusal, reason="damaged"):
    """The document is cut short or broken and cannot be read."""


class EncryptedFile(Refusal, reason="encrypted"):
    """The document is encrypted; store a copy that opens without a password."""


class UnsafeArchive(Refusal, reason="unsafe"):
    """The document unpacks to more than is allowed, or declares XML entities."""


class UnsafeMedia(Refusal, reason="unsafe_media"):
    """The video would take more memory, pixels or streams than is allowed, or refers to other files."""


class NotAVideo(Refusal, reason="not_video"):
    """The bytes are no video: no known container, or no stream of moving pictures in it."""


class ChangedFile(Refusal, reason="changed"):
    """The file was changed while it was being read; try again when nobody writes to it."""


class NotARegularFile(Refusal, reason="not_regular"):
    """The path is a link, a folder, a pipe, a socket or a device; only regular files are read."""


class UnreadableFile(Refusal, reason="unreadable"):
    """The file is not there, or the system does not let it be read."""


class UnusableName(Refusal, reason="name"):
    """The file's name is not UTF-8, begins with a hyphen, or holds a control character."""


class Unstorable(Refusal, reason="unstorable"):
    """What was read from the file breaks a rule of the record that it would become."""


class ExtractionTimeout(Refusal, reason="timeout"):
    """Reading the document took longer than the limit."""


class StoreError(ContentError):
    """The file store cannot do what was asked.

    Attributes
    ----------
    checksum : str, optional
        Of the file in question, 64 hexadecimal digits.
    """

    def __init__(self, message: str | None = None, *, checksum: str | None = None) -> None:
        super().__init__(message)
        self.checksum = checksum


class StoreUnavailable(StoreError):
    """The file store cannot be read or written: it is full, not there, or does not allow it."""


class FileMissing(StoreError):
    """A file that should be in the store is not there."""


class FileDamaged(StoreError):
    """A file in the store is not what was put there: its checksum is another."""


class NoOriginal(ContentError):
    """The record was made without a file, or its file is not kept in the store."""


def refusal(reason: str, message: str | None = None) -> Refusal:
    """Return the refusal that a reason code stands for; an unknown code is `DamagedFile`."""
    return _by_reason.get(reason, DamagedFile)(message)
