"""The commands on videos and subtitles."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Literal
from uuid import UUID

import typer

from database_handler.cli import reports
from database_handler.cli.console import progress
from database_handler.cli.options import Run
from database_handler.cli.program import app, command, group
from database_handler.core.exceptions import InvalidValue

__all__: list[str] = []

videos = typer.Typer(rich_markup_mode=None)
app.add_typer(videos, name="videos")

Slug = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's slug.")]
Root = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="The folder that media files lie below; default: MEDIA_ROOT."),
]
_SUFFIXES: dict[str, Literal["webp", "jpeg", "png"]] = {
    ".webp": "webp",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".png": "png",
}


class Format(StrEnum):
    """The subtitle formats."""

    SRT = "srt"
    VTT = "vtt"


@command(videos, "database-handler videos add launch-film cut.mp4 --root films")
def add(
    run: Run,
    project: Slug,
    file: Annotated[Path, typer.Argument(help="A video below the media folder; it stays where it is.")],
    *,
    root: Root = None,
    title: Annotated[str | None, typer.Option(help="Default: the file's name.")] = None,
    at: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="The time of the thumbnail; default: the sharpest of a few."),
    ] = None,
) -> reports.Filmed:
    """Store what a video file is, with a thumbnail of it."""
    thumbnail = True if at is None else at
    with run.database() as db:
        found = reports.project_of(db, project)
        video = db.videos.create_from_file(found.id, file, root=root, title=title, thumbnail=thumbnail)
        return reports.Filmed(video=video)


@command(videos, "database-handler videos check launch-film --root films", name="check")
def check_videos(run: Run, project: Slug, root: Root = None) -> reports.CheckedVideos:
    """Find videos whose file is missing, changed or unreadable. Exit code 1 when there are any."""
    with run.database() as db:
        found = reports.project_of(db, project)
        with progress() as told:
            report = db.videos.check_files(found.id, partial(told, None), root=root)
        return reports.CheckedVideos(report=report)


@command(
    videos,
    "database-handler videos sheet ID sheet.webp --root films",
)
def sheet(
    run: Run,
    video: Annotated[UUID, typer.Argument(help="The video's id.")],
    output: Annotated[Path, typer.Argument(metavar="FILE", help="Ends in .webp, .jpg or .png.")],
    count: Annotated[int, typer.Option(min=1, max=100, help="How many frames.")] = 12,
    root: Root = None,
) -> reports.Drawn:
    """Draw frames evenly spread over a video, with their times, as one picture."""
    if output.suffix.lower() not in _SUFFIXES:
        raise InvalidValue(f"the picture's name ends in one of {', '.join(_SUFFIXES)}")
    format = _SUFFIXES[output.suffix.lower()]
    with run.database() as db:
        made = db.videos.contact_sheet(video, count, to=output, root=root, format=format)
        return reports.Drawn(file=output, width=made.width, height=made.height, bytes=len(made.data))


group(videos, "Look at video files, and after them.")


@command(
    app,
    "database-handler subtitles ID --start 0 --end 12.5",
)
def subtitles(
    run: Run,
    translation: Annotated[UUID, typer.Argument(help="The translation's id.")],
    *,
    format: Annotated[Format, typer.Option(help="SubRip or WebVTT.")] = Format.SRT,
    start: Annotated[float | None, typer.Option(help="Seconds; with --end: spread over this time.")] = None,
    end: Annotated[float | None, typer.Option(help="Seconds.")] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it there.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> reports.Subtitled:
    """Give a translation as subtitles, its lines broken by the rules of its language."""
    if (start is None) != (end is None):
        raise InvalidValue("--start and --end go together")
    if output is not None and output.exists() and not overwrite:
        raise InvalidValue(f"{output} is there already: --overwrite replaces it")
    times = None if start is None or end is None else (start, end)
    kind: Literal["srt", "vtt"] = "srt" if format is Format.SRT else "vtt"
    with run.database() as db:
        text = db.translations.subtitles(translation, kind, times)
    if output is not None:
        output.write_text(text, encoding="utf-8")
    return reports.Subtitled(translation=translation, format=kind, text=text, file=output)


@command(app, "database-handler tokenize launch-film")
def tokenize(run: Run, project: Slug) -> reports.Tokenized:
    """Store the tokens of a project's translations that have none yet."""
    with run.database() as db:
        found = reports.project_of(db, project)
        return reports.Tokenized(project=project, translations=db.translations.tokenize_many(found.id))
