"""Text sources that are made from files: the text is in the row, the original in the file store."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import UUID

from pydantic import ValidationError

from database_handler.core.base_model import validated_field
from database_handler.core.exceptions import InvalidValue
from database_handler.core.session import Statement
from database_handler.models.text_source import NewTextSource, TextSource
from database_handler.repositories import statements
from database_handler.repositories.base import as_uuid
from database_handler.repositories.files import KeepsFiles

if TYPE_CHECKING:
    from database_handler.content.documents import Document, Limits
    from database_handler.content.files import Original, Readable

__all__ = ["TextSourceFiles", "text_source_of"]

TITLE_CHARACTERS = 500


class TextSourceFiles(KeepsFiles[NewTextSource, TextSource]):
    """Reads files into `TextSource` records, and gives the originals back."""

    def create_from_file(
        self,
        project_id: UUID,
        source: "str | Path | bytes | Readable",
        *,
        title: str | None = None,
        filename: str | None = None,
        language: str | None = None,
        root: str | Path | None = None,
        limits: "Limits | None" = None,
        metadata: Mapping[str, Any] | None = None,
        id: UUID | None = None,
    ) -> TextSource:
        """Read a file, keep it in the file store, and store its text; never one without the other.

        The file is read, and its text taken out, before anything is sent: that may take as long as the
        limits allow, so in a unit it is better done early. Two round trips, or one in a unit.

        Parameters
        ----------
        source : path, bytes or binary stream
            A path must lead to a regular file, not to a link.
        title : str, optional
            Else what the document states, else the file's name.
        filename : str, optional
            Else the path, below `root` where that is given, else its last step; a stream has none.
        language : str, optional
            Else it is detected; ``und`` where it cannot be told.
        root : path, optional
            Then the source is a path below this folder: no step of it may be a link or lead out.
        limits : Limits, optional
            What the file may cost: bytes, seconds, memory.
        metadata : mapping, optional
            Goes over what the document states of itself.

        Raises
        ------
        Refusal
            The file cannot be taken; one class for each reason, in `database_handler.content`.
        InvalidValue
            One of the other arguments is wrong; the file was not read.
        DuplicateRecord
            The project has a text of this content.
        StoreUnavailable
            The file could not be kept; no row is stored.
        """
        from database_handler.content.documents import Limits, extract_document

        given = _given(project_id, title=title, filename=filename, language=language, metadata=metadata)
        if not isinstance(limits, Limits | None):
            raise InvalidValue(f"limits: Limits are wanted, not {type(limits).__name__}")
        allowed = limits or Limits()
        original = _read(source, allowed, given.get("filename"), root)
        document = extract_document(original, allowed, language=given.get("language"))
        draft = text_source_of(given.pop("project_id"), document, **given)
        return self._created_with(draft, [original.data], id)

    def open(self, id: UUID | str) -> BinaryIO:
        """Open the file that a text was read from; what is read is checked on the way, see `FileStore.open`.

        Raises
        ------
        RecordNotFound
        NoOriginal
            The text was made without a file, or its file is not in the store.
        FileMissing, FileDamaged, StoreUnavailable
        """
        from database_handler.content.errors import NoOriginal
        from database_handler.content.store import SCHEME

        rows = self._session.all(_original(self._scoped), [as_uuid(id), *self._scope])
        self._refuse_ambiguous(len(rows))
        if not rows:
            raise self._not_found(id)
        [[uri, checksum]] = rows
        if uri is None or not uri.startswith(SCHEME):
            why = (
                "was made without a file" if uri is None else "has its file elsewhere, not in the file store"
            )
            raise NoOriginal(f"text source {id} {why}; create_from_file keeps one")
        return self._resources.files.open(uri, checksum)


def _original(scoped: bool) -> Statement:
    table = TextSource.table
    text = (
        f"SELECT storage_uri, checksum FROM {table.name} WHERE id = %s"
        f"{statements.scope(table, scoped)} LIMIT 2"
    )
    return Statement(text, f"{table.name}.open")


def _given(project_id: UUID, **fields: Any) -> dict[str, Any]:
    """Return the arguments that were given, validated before the file is read."""
    given = {"project_id": project_id} | {name: value for name, value in fields.items() if value is not None}
    return {name: validated_field(NewTextSource, name, value) for name, value in given.items()}


def _read(
    source: "str | Path | bytes | Readable", limits: "Limits", filename: str | None, root: str | Path | None
) -> "Original":
    from database_handler.content.files import read_original

    if not isinstance(root, str | Path | None):
        raise InvalidValue(f"root: a path, or its text, is wanted, not {type(root).__name__}")
    if isinstance(source, str | Path):
        filename = filename or _name(source, below=root is not None)
    elif root is not None:
        raise InvalidValue("root: only a path lies below a folder, not a stream or bytes")
    return read_original(
        source, limit=limits.file_bytes, filename=filename, root=None if root is None else Path(root)
    )


def _name(path: str | Path, *, below: bool) -> str:
    """Return what a file is called in its row."""
    from database_handler.content.errors import UnusableName

    name = str(path) if below else Path(path).name
    try:
        valid: str = validated_field(NewTextSource, "filename", name)
    except InvalidValue:
        failure = UnusableName()
    else:
        return valid
    raise failure


def text_source_of(
    project_id: UUID,
    document: "Document",
    *,
    title: str | None = None,
    filename: str | None = None,
    language: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    storage_uri: str | None = None,
) -> NewTextSource:
    """Return the draft for a document; what is given goes before what the document says.

    Parameters
    ----------
    storage_uri : str, optional
        Else that of the document's original in the file store.

    Raises
    ------
    InvalidValue
        There is nothing to call it.
    Unstorable
        What was read breaks a rule of the record.
    """
    from database_handler.content.errors import Unstorable
    from database_handler.content.store import uri_of

    name = filename or document.filename
    called = title or document.title or (name and PurePosixPath(name).name)
    if not called:
        raise InvalidValue("title: neither the document nor a file name gives one; give title=")
    facts = dict(document.metadata)
    if document.encoding not in {None, "utf-8"}:
        facts["encoding"] = document.encoding
    try:
        return NewTextSource(
            project_id=project_id,
            title=called[:TITLE_CHARACTERS],
            content=document.content,
            content_type=document.content_type,
            language=language or document.language,
            filename=name,
            size_bytes=document.size_bytes,
            checksum=document.checksum,
            storage_uri=storage_uri or uri_of(document.checksum),
            metadata={**facts, **(metadata or {})},
        )
    except (InvalidValue, ValidationError) as error:
        failure = Unstorable(f"what was read breaks a rule of the record: {_fields(error)}")
    raise failure


def _fields(error: InvalidValue | ValidationError) -> str:
    """Say which rule was broken, without the value."""
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors())
    return str(error)
