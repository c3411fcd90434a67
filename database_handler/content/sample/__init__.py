"""The sample project: a script with its papers, translations, summaries, links and a film of two seconds.

All of it was written and drawn for this library. The facts in `sample.json` are checked against the files by
the tests; the binary files are made by `scripts/make_sample.py`.
"""

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, JsonValue

__all__ = [
    "FOLDER",
    "SampleDocument",
    "SampleLink",
    "SampleProject",
    "SampleProjectFacts",
    "SampleSummary",
    "SampleSummaryTranslation",
    "SampleTranslation",
    "SampleVideo",
    "load_sample",
]

FOLDER = Path(__file__).resolve().parent


class _Entry(BaseModel, frozen=True, extra="forbid"):
    """A value read from `sample.json`."""


class SampleProjectFacts(_Entry, frozen=True):
    """The project's own fields."""

    name: str
    description: str
    status: Literal["draft", "active", "completed", "archived"]
    owner: str
    tags: tuple[str, ...]
    metadata: dict[str, JsonValue]


class SampleDocument(_Entry, frozen=True):
    """A file of the sample folder, and what reading it must find."""

    file: str
    title: str
    language: str
    content_type: str

    @property
    def path(self) -> Path:
        """Return where the file lies."""
        return FOLDER / self.file


class SampleSummary(_Entry, frozen=True):
    """A summary of one of the documents."""

    document: str
    kind: Literal["headline", "brief", "standard", "detailed", "bullets"]
    language: str
    content_format: Literal["plain", "markdown", "html"]
    generator: str
    content: str


class SampleTranslation(_Entry, frozen=True):
    """A translation of the passage."""

    document: str
    source_language: str
    target_language: str
    status: Literal["draft", "review", "approved"]
    generator: str
    content: str


class SampleSummaryTranslation(SampleTranslation, frozen=True):
    """A translation of the summary of one kind."""

    kind: Literal["headline", "brief", "standard", "detailed", "bullets"]


class SampleVideo(_Entry, frozen=True):
    """The film, its technical facts, and the language of the translation that it goes with."""

    file: str
    title: str
    container: str
    duration: float
    width: int
    height: int
    frame_rate: float
    codecs: tuple[str, ...]
    target_language: str

    @property
    def path(self) -> Path:
        """Return where the file lies."""
        return FOLDER / self.file


class SampleLink(_Entry, frozen=True):
    """A link of the project."""

    url: str
    title: str
    kind: str
    description: str | None


class SampleProject(_Entry, frozen=True):
    """Everything that the sample holds; `passage` is the part of the script that is translated."""

    project: SampleProjectFacts
    documents: tuple[SampleDocument, ...]
    passage: str
    summaries: tuple[SampleSummary, ...]
    translations: tuple[SampleTranslation, ...]
    summary_translations: tuple[SampleSummaryTranslation, ...]
    video: SampleVideo
    links: tuple[SampleLink, ...]


@cache
def load_sample() -> SampleProject:
    """Return the sample project, validated."""
    return SampleProject.model_validate_json((FOLDER / "sample.json").read_bytes())
