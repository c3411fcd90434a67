"""What the repositories of one database share beside the session; nothing in it is made before it is used."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from database_handler.config.files import FilesConfig
from database_handler.core.base_model import Record
from database_handler.core.exceptions import ConfigurationError, InvalidValue
from database_handler.models import ENTITIES
from database_handler.repositories.metadata import SchemaBook

if TYPE_CHECKING:  # most programs never touch a file
    from database_handler.content.store import FileStore

__all__ = ["Resources"]


@dataclass(frozen=True)
class Resources:
    """The file store, the folder of media files, and which entities there are.

    Attributes
    ----------
    config : FilesConfig
        Where they lie.
    given : FileStore, optional
        A store made by the application, in place of the configured one.
    schemas : SchemaBook
        The JSON Schemas of metadata that were met so far.
    noted : Event
        Set once the store knows that this database refers to files in it.
    records : tuple of Record classes
        The entities, an application's own among them, each after those it refers to.
    """

    config: FilesConfig = field(default_factory=FilesConfig)
    given: "FileStore | None" = None
    schemas: SchemaBook = field(default_factory=SchemaBook)
    noted: Event = field(default_factory=Event, compare=False, repr=False)
    records: tuple[type[Record], ...] = ENTITIES

    @cached_property
    def files(self) -> "FileStore":
        """The file store.

        Raises
        ------
        ConfigurationError
            None is configured.
        """
        from database_handler.content.store import FileStore

        if self.given is not None:
            return self.given
        if self.config.store_url is None:
            raise ConfigurationError(
                "no file store is configured: set FILE_STORE_URL to a folder or a URL, "
                "or give files= to Database"
            )
        return FileStore(self.config.store_url)

    def media_root(self, root: str | Path | None = None) -> Path:
        """Return the folder that a media file must lie below: the one given, else the configured one.

        Raises
        ------
        ConfigurationError
            There is neither.
        InvalidValue
            It is no path.
        """
        if not isinstance(root, str | Path | None):
            raise InvalidValue(f"root: a path, or its text, is wanted, not {type(root).__name__}")
        found = self.config.media_root if root is None else Path(root).absolute()
        if found is None:
            raise ConfigurationError(
                "media files are read below one folder only, and none is named: give root= (--root), "
                "or set MEDIA_ROOT"
            )
        return found
