"""Where originals are kept and where media may be read: one validated, frozen description.

Neither place is made, or looked for, before something is stored or read.
"""

import re
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, Field

from database_handler.config.configuration import Configuration
from database_handler.config.values import CONTROL, File, OrNone

__all__ = ["DEFAULT_STORE", "FilesConfig"]

DEFAULT_STORE: Final = "var/files"
_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*(?:::[a-z][a-z0-9+.-]*)*://")


def _store_url(value: str) -> str:
    """Give a folder as an absolute path, and any other place as it was written."""
    if CONTROL.search(value):
        raise ValueError("it holds a control character")
    if value.startswith("file://"):
        return _local(value)
    if "://" not in value:
        return str(Path(value).absolute())
    if not _SCHEME.match(value):
        raise ValueError("its scheme is none")
    if re.match(r"[^/]*://[^/@]*:[^/@]*@", value):
        raise ValueError("it holds a password, which is no part of an address")
    return value


def _local(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost") or not parts.path.startswith("/"):
        raise ValueError("a file:// URL has three slashes and an absolute path")
    return unquote(parts.path)


class FilesConfig(Configuration, frozen=True):
    """Where the file store lies, and the folder that media files must lie below.

    A relative folder is taken from the current folder of the moment in which this is made. Keys and
    passwords of a store are no part of its URL: fsspec finds them in its own configuration and in the
    environment, or they are given to `FileStore` in code.

    Attributes
    ----------
    store_url : str, optional
        A folder, or a URL that fsspec reads; None for an application that keeps no files.
    media_root : Path, optional
        Without one, a call that reads a media file must be given its root.
    """

    store_url: Annotated[Annotated[str, Field(min_length=1), AfterValidator(_store_url)] | None, OrNone] = (
        Field(
            default=DEFAULT_STORE,
            description="a folder, or a URL that fsspec reads (s3://bucket/prefix), without a password",
        )
    )
    media_root: Annotated[Annotated[File, AfterValidator(Path.absolute)] | None, OrNone] = Field(
        default=None, description="the path of a folder"
    )
