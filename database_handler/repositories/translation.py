"""The repository of translations: their status, what is missing, their subtitles, and who works on them."""

import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, overload
from uuid import UUID

from database_handler.content.subtitle_lines import subtitle_lines
from database_handler.content.subtitles import Cue, timed, to_srt, to_vtt
from database_handler.core.base_model import Change
from database_handler.core.exceptions import InvalidValue, RecordNotFound
from database_handler.core.session import Statement
from database_handler.models.translation import NewTranslation, Translation, TranslationStatus
from database_handler.repositories import statements
from database_handler.repositories.base import as_uuid
from database_handler.repositories.claims import Claims, Work
from database_handler.repositories.create import Create
from database_handler.repositories.missing import MissingPage, cursor_of, missing, place_after
from database_handler.repositories.project_coverage import wanted_languages
from database_handler.repositories.search import Searched
from database_handler.repositories.translation_tokens import TranslationTokens

__all__ = ["Times", "TranslationRepository"]

Times = tuple[float, float] | Sequence[tuple[float, float]]
"""One span for a whole text, or one for each of its paragraphs or lines; in seconds."""


class TranslationRepository(
    Searched[NewTranslation, Translation], TranslationTokens, Claims[NewTranslation, Translation]
):
    """Reads and writes `Translation` records, shows what is missing, and gives them to workers."""

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

    def set_status_many(
        self, ids: Iterable[UUID | str], status: TranslationStatus | str
    ) -> list[Translation]:
        """Set one status on many translations, all or none, and return them in the order given.

        Any status may follow any: approved work is sent back, and an import may be approved at once.

        Raises
        ------
        RecordNotFound
            Some are missing: all such are named, and nothing was written.
        """
        if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
            raise InvalidValue(f"set_status_many: a list of ids is wanted, not a {type(ids).__name__}")
        return self.update_many([Change(as_uuid(id), {"status": status}) for id in ids])

    def missing(
        self,
        project_id: UUID | str,
        languages: Iterable[str],
        *,
        status: TranslationStatus | str | None = None,
        limit: int = 1000,
        after: str | None = None,
    ) -> MissingPage:
        """Return a page of the texts that lack a translation, once for each language, in one round trip.

        A text's own language is not missing; codes are compared whole (pt-BR does not stand for pt).

        Parameters
        ----------
        status : str, optional
            Only translations of this status count: ``"approved"`` shows what is not yet approved.
        limit : int
            1 to 10,000 on a page.
        after : str, optional
            The ``next_cursor`` of the page before, of the same call.

        Raises
        ------
        RecordNotFound
            There is no such project.
        """
        project = self._in_project(as_uuid(project_id))
        wanted = wanted_languages(languages, "missing")
        if wanted is None:
            raise InvalidValue("missing: the languages that are wanted must be named")
        if type(limit) is not int or not 1 <= limit <= 10_000:
            raise InvalidValue("missing: a page has 1 to 10,000 items")
        step = self._status(status)
        query = (str(project), *wanted, str(step))
        place = None if after is None else place_after(query, after)
        values = [
            list(wanted),
            project,
            *(place or ()),
            *([] if step is None else [step]),
            limit + 1,
            project,
        ]
        rows = self._session.all(missing(place is not None, step is not None), values)
        if not rows:
            raise RecordNotFound(f"projects: no record has the id {project}", table="projects")
        return cursor_of(query, [row for row in rows if row[0] is not None], limit)

    # ------------------------------------------------------------------------------------------ subtitles

    @overload
    def subtitles(
        self,
        id: UUID | str,
        format: Literal["srt", "vtt"] = "srt",
        times: Times | None = None,
        *,
        chars: int | None = None,
        lines: int | None = None,
    ) -> str: ...
    @overload
    def subtitles(
        self,
        id: UUID | str,
        format: Literal["cues"],
        times: Times | None = None,
        *,
        chars: int | None = None,
        lines: int | None = None,
    ) -> tuple[Cue, ...]: ...
    @overload
    def subtitles(
        self,
        id: UUID | str,
        format: Literal["lines"],
        *,
        chars: int | None = None,
        lines: int | None = None,
    ) -> tuple[tuple[str, ...], ...]: ...
    def subtitles(
        self,
        id: UUID | str,
        format: str = "srt",
        times: Times | None = None,
        *,
        chars: int | None = None,
        lines: int | None = None,
    ) -> str | tuple[Any, ...]:
        """Return a translation as subtitles, broken by the rules of its language, in one round trip.

        The times are those given, else the translation's ``metadata["times"]``, else those of its text
        source: a list of ``[start, end]`` in seconds, one for each paragraph or each line of the content.

        Parameters
        ----------
        format : {"srt", "vtt", "cues", "lines"}
            A file's text; `Cue` values; or the lines of each cue, which need no times.
        times : pair of float, or sequence of pairs, optional
            One ``(start, end)`` spreads the whole text over that span by its characters.
        chars, lines : int, optional
            Characters a line and lines a cue, in place of the language's.

        Raises
        ------
        RecordNotFound
            There is no such translation.
        InvalidValue
            No times are there, or not as many as the content has paragraphs or lines.
        """
        if format not in ("srt", "vtt", "cues", "lines"):
            raise InvalidValue("subtitles: format is one of srt, vtt, cues and lines")
        record, stored = self._with_times(id)
        if format == "lines":
            return subtitle_lines(record.content, record.target_language, chars, lines)
        spans = _spans(stored if times is None else times)
        found = tuple(
            cue
            for piece, (start, end) in zip(_pieces(record.content, len(spans)), spans, strict=True)
            for cue in timed(piece, start, end, record.target_language, chars=chars, lines=lines)
        )
        return found if format == "cues" else to_srt(found) if format == "srt" else to_vtt(found)

    def _with_times(self, id: UUID | str) -> tuple[Translation, object]:
        text = (
            "SELECT coalesce(nullif(t.metadata -> 'times', 'null'), s.metadata -> 'times'), "
            f"{statements.columns(self.table, 't.')} FROM translations AS t "
            "LEFT JOIN text_sources AS s ON s.project_id = t.project_id AND s.id = t.text_source_id "
            f"WHERE t.id = %s{statements.scope(self.table, self._scoped, 't.')} LIMIT 2"
        )
        rows = self._session.all(Statement(text, "translations.subtitles"), [as_uuid(id), *self._scope])
        self._refuse_ambiguous(len(rows))
        if not rows:
            raise self._not_found(id)
        return self._fill(rows[0][1:]), rows[0][0]


def _spans(times: object) -> list[tuple[float, float]]:
    if times is None:
        raise InvalidValue(
            "subtitles: there are no times: give times=(start, end) to spread the text, or such a pair for "
            'each of its paragraphs or lines, or store a list of pairs as metadata["times"]'
        )
    given = list(times) if isinstance(times, Iterable) else []
    if len(given) == 2 and all(type(each) in {int, float} for each in given):
        return [(given[0], given[1])]
    if given and all(isinstance(each, list | tuple) and len(each) == 2 for each in given):
        return [_span(n, each, given[n - 2 : n - 1] if n > 1 else ()) for n, each in enumerate(given, 1)]
    raise InvalidValue("subtitles: times are (start, end) in seconds, or a list of such pairs")


def _span(number: int, pair: Sequence[Any], before: Sequence[Sequence[Any]]) -> tuple[float, float]:
    start, end = pair
    if not all(type(each) in {int, float} for each in pair) or not 0 <= start < end:
        raise InvalidValue(f"subtitles: times {number}: seconds from 0 on are wanted, and the end is later")
    if before and start < before[0][1]:
        raise InvalidValue(f"subtitles: times {number}: they start before times {number - 1} end")
    return start, end


def _pieces(content: str, wanted: int) -> list[str]:
    """Return as many paragraphs, or else lines, as there are times."""
    if wanted == 1:
        return [content]
    newlines = content.replace("\r\n", "\n").replace("\r", "\n")
    paragraphs = [part for part in re.split(r"\n[^\S\n]*\n", newlines) if part.strip()]
    lines = [line for line in newlines.split("\n") if line.strip()]
    for pieces in (paragraphs, lines):
        if len(pieces) == wanted:
            return pieces
    raise InvalidValue(
        f"subtitles: there are {wanted} times, and the content has {len(paragraphs)} paragraphs and "
        f"{len(lines)} lines; give a time for each, or times=(start, end) to spread the text"
    )
