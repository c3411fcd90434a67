"""What translations do beside the contract: languages kept apart, status, what is missing, subtitles."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from pydantic import JsonValue

from database_handler import (
    NewSummary,
    NewTextSource,
    NewTranslation,
    Outcome,
    Project,
    TextSource,
    UnitOfWork,
)
from database_handler.content.subtitles import Cue, parse_srt, parse_vtt
from database_handler.core.exceptions import InvalidValue, RecordNotFound
from database_handler.models import SummaryKind
from database_handler.testing.factories import ProjectFactory, TextSourceFactory

APART = ["zh-Hans", "zh-Hant", "pt-BR", "pt-PT", "pt", "sr-Latn", "sr-Cyrl", "sr"]


@pytest.fixture
def project(uow: UnitOfWork) -> Project:
    return ProjectFactory.create(uow)


@pytest.fixture
def source(uow: UnitOfWork, project: Project) -> TextSource:
    return uow.text_sources.create(project_id=project.id, title="T", content="One.", language="en")


def draft(source: TextSource, language: str, **fields: Any) -> NewTranslation:
    return NewTranslation(
        **{
            "project_id": source.project_id, "text_source_id": source.id, "source_language": "en",
            "target_language": language, "content": "x",
        } | fields
    )  # fmt: skip


# -------------------------------------------------------------------------------------------------- languages


def test_languages_are_kept_apart_in_key_filter_and_upsert(uow: UnitOfWork, source: TextSource) -> None:
    stored = uow.translations.create_many([draft(source, language) for language in APART])
    assert [record.target_language for record in stored] == APART
    for language, record in zip(APART, stored, strict=True):
        spelt = language.upper().replace("-", "_")
        [found] = uow.translations.list(target_language=spelt)
        assert found == record
        again = uow.translations.upsert(draft(source, spelt, content="changed"))
        assert (again.record.id, again.outcome) == (record.id, Outcome.UPDATED)
    assert uow.translations.count(target_language__in=["ZH-hant", "pt_br", "ja"]) == 2


def test_a_wrong_language_is_refused_with_a_suggestion(uow: UnitOfWork, source: TextSource) -> None:
    calls: list[tuple[Callable[[], object], str]] = [
        (lambda: draft(source, "portugese"), "pt"),
        (lambda: uow.translations.list(target_language="sr-Latin"), "sr-Latn"),
        (lambda: uow.translations.missing(source.project_id, ["zh-CHT"]), "zh-Hant"),
    ]
    for call, suggestion in calls:
        with pytest.raises(InvalidValue, match=rf"did you mean {suggestion}\?"):
            call()


# ----------------------------------------------------------------------------------------------------- status


def test_a_status_is_set_on_many_or_on_none(uow: UnitOfWork, source: TextSource) -> None:
    stored = uow.translations.create_many([draft(source, language) for language in ("de", "fr", "it")])
    ids = [record.id for record in reversed(stored)]
    moved = uow.translations.set_status_many(ids, "review")
    assert [(record.id, record.status, record.version) for record in moved] == [
        (id, "review", 2) for id in ids
    ]
    stranger = uuid4()
    with pytest.raises(RecordNotFound, match=str(stranger)):
        uow.translations.set_status_many([*ids, stranger], "approved")
    assert uow.translations.count(status="review") == 3
    assert uow.translations.set_status_many([], "draft") == []
    for wrong in ("done", None):
        with pytest.raises(InvalidValue, match="status"):
            uow.translations.set_status_many(ids, wrong)  # type: ignore[arg-type]  # that is the test
    with pytest.raises(InvalidValue, match="a list of ids"):
        uow.translations.set_status_many(str(ids[0]), "draft")


# ---------------------------------------------------------------------------------------------------- missing


def pairs(page: Any) -> list[tuple[str, str]]:
    return [(item.title, item.language) for item in page.items]


def test_missing_names_each_text_and_language_without_a_translation(
    uow: UnitOfWork, project: Project
) -> None:
    english, german = uow.text_sources.create_many(
        NewTextSource(project_id=project.id, title=title, content=title, language=language)
        for title, language in (("a", "en"), ("b", "de"))
    )
    other = TextSourceFactory.create(uow)
    uow.translations.create_many([draft(english, "fr", status="approved"), draft(english, "pt-BR")])
    summary = uow.summaries.create(
        NewSummary(
            project_id=project.id,
            text_source_id=german.id,
            kind=SummaryKind.BRIEF,
            language="de",
            content="kurz",
        )
    )
    uow.translations.create(
        project_id=project.id, summary_id=summary.id, source_language="de", target_language="fr", content="x"
    )
    page = uow.translations.missing(project.id, ["fr", "EN", "de", "pt"])
    assert pairs(page) == [("a", "de"), ("a", "pt"), ("b", "en"), ("b", "fr"), ("b", "pt")]
    assert (page.items[0].text_source_id, page.items[0].source_language) == (english.id, "en")
    assert page.next_cursor is None
    approved = uow.translations.missing(project.id, ["fr", "pt-BR"], status="approved")
    assert pairs(approved) == [("a", "pt-BR"), ("b", "fr"), ("b", "pt-BR")]
    assert pairs(uow.translations.missing(other.project_id, [other.language])) == []


def test_missing_is_paged_without_gaps(uow: UnitOfWork, project: Project) -> None:
    uow.text_sources.create_many(
        NewTextSource(project_id=project.id, title=str(n), content=str(n)) for n in range(5)
    )
    languages = ["zh-Hant", "ar", "de"]
    whole = pairs(uow.translations.missing(project.id, languages))
    assert len(whole) == 15
    found: list[tuple[str, str]] = []
    after, pages = None, 0
    while pages == 0 or after is not None:
        page = uow.translations.missing(project.id, languages, limit=4, after=after)
        found, after, pages = found + pairs(page), page.next_cursor, pages + 1
        assert pages <= 4
    assert (found, pages) == (whole, 4)
    cursor = uow.translations.missing(project.id, languages, limit=4).next_cursor
    for other in (["ar", "de"], ["de", "ar", "zh-Hant"]):
        with pytest.raises(InvalidValue, match="no cursor of this call"):
            uow.translations.missing(project.id, other, after=cursor)
    for damaged in ("", "x", "a.b.c", f"{cursor}x", 7):
        with pytest.raises(InvalidValue, match="no cursor of this call"):
            uow.translations.missing(project.id, languages, after=damaged)  # type: ignore[arg-type]


def test_missing_tells_no_project_from_nothing_missing(uow: UnitOfWork, project: Project) -> None:
    assert uow.translations.missing(project.id, ["de"]).items == []
    with pytest.raises(RecordNotFound, match="projects"):
        uow.translations.missing(uuid4(), ["de"])
    with pytest.raises(InvalidValue, match=r"missing: from 1 to 1,000 languages are given$"):
        uow.translations.missing(project.id, [])
    for languages, limit in (("de", 5), (None, 5), (["de"], 0), (["de"], True)):
        with pytest.raises(InvalidValue):
            uow.translations.missing(project.id, languages, limit=limit)  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------------- subtitles

TEXT = "Der Leuchtturm weiß nicht, wer da draußen ist.\nEr dreht sich, wartet und dreht sich wieder."
TWO = [(1.0, 4.0), (5.0, 9.5)]


def test_subtitles_take_the_times_given(uow: UnitOfWork, source: TextSource) -> None:
    record = uow.translations.create(draft(source, "de", content=TEXT))
    srt = uow.translations.subtitles(record.id, times=TWO)
    assert srt == (
        "1\n00:00:01,000 --> 00:00:04,000\nDer Leuchtturm weiß nicht,\nwer da draußen ist.\n\n"
        "2\n00:00:05,000 --> 00:00:09,500\nEr dreht sich,\nwartet und dreht sich wieder.\n"
    )
    vtt = uow.translations.subtitles(record.id, "vtt", TWO)
    cues = uow.translations.subtitles(record.id, "cues", TWO)
    assert parse_vtt(vtt) == parse_srt(srt) == cues
    spread = uow.translations.subtitles(record.id, "cues", (10, 20))
    assert (spread[0].start, spread[-1].end) == (10.0, 20.0)
    assert uow.translations.subtitles(record.id, "lines") == tuple(cue.lines for cue in spread)


def test_subtitles_find_stored_times(uow: UnitOfWork, project: Project) -> None:
    times: list[JsonValue] = [[start, end] for start, end in TWO]
    source = uow.text_sources.create(
        project_id=project.id, title="T", content="a\nb", metadata={"times": times}
    )
    record = uow.translations.create(draft(source, "de", content="eins\nzwei"))
    assert uow.translations.subtitles(record.id, "cues") == (Cue(1.0, 4.0, "eins"), Cue(5.0, 9.5, "zwei"))
    uow.translations.update(record.id, metadata={"times": [[0, 1], [1, 2]]})
    assert uow.translations.subtitles(record.id, "cues") == (Cue(0.0, 1.0, "eins"), Cue(1.0, 2.0, "zwei"))
    assert uow.translations.subtitles(record.id, "cues", [(7, 8), (8, 9)])[0] == Cue(7.0, 8.0, "eins")
    uow.translations.update(record.id, metadata={"times": None})  # says nothing, as if it were not there
    assert uow.translations.subtitles(record.id, "cues")[0] == Cue(1.0, 4.0, "eins")


def test_a_piece_longer_than_a_cue_shares_its_time(uow: UnitOfWork, source: TextSource) -> None:
    record = uow.translations.create(draft(source, "de", content=f"{TEXT}\n\nkurz"))
    cues = uow.translations.subtitles(record.id, "cues", TWO, chars=20)
    assert (cues[0].start, cues[-2].end, cues[-1]) == (1.0, 4.0, Cue(5.0, 9.5, "kurz"))
    assert len(cues) > 3


@pytest.mark.parametrize(
    ("times", "told"),
    [
        (None, "there are no times"),
        ([(0, 1), (1, 2), (2, 3)], "3 times, and the content has 1 paragraphs and 2 lines"),
        ([(0, 2), (1, 3)], "times 2: they start before times 1 end"),
        ([(0, 2), (3, 3)], "times 2: seconds from 0 on"),
        ([(-1, 2), (3, 4)], "times 1: seconds from 0 on"),
        ([("0", 2), (3, 4)], "times 1: seconds from 0 on"),
        ([0, 1, 2], "times are \\(start, end\\)"),
        ("srt", "times are \\(start, end\\)"),
        ([], "times are \\(start, end\\)"),
        (7, "times are \\(start, end\\)"),
        ((2, 1), "end: it comes after the start"),
        ((0, 0.0001), "it comes after the start"),
    ],
)
def test_times_that_do_not_fit_are_refused(
    uow: UnitOfWork, source: TextSource, times: Any, told: str
) -> None:
    record = uow.translations.create(draft(source, "de", content=TEXT))
    with pytest.raises(InvalidValue, match=told):
        uow.translations.subtitles(record.id, times=times)


def test_subtitles_of_nothing_and_of_another_format_are_refused(uow: UnitOfWork) -> None:
    with pytest.raises(RecordNotFound):
        uow.translations.subtitles(uuid4(), times=(0, 1))
    for wrong in ("ass", ["srt"], None):
        with pytest.raises(InvalidValue, match="srt, vtt, cues and lines"):
            uow.translations.subtitles(uuid4(), wrong)  # type: ignore[call-overload]
