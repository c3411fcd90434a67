"""Summaries: cleaned by format, no longer than their kind, counted as read, measured by their source."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from database_handler import Change, Database, NewSummary, Summary, UnitOfWork
from database_handler.core.exceptions import InvalidValue, RecordNotFound, StaleRecord
from database_handler.models.summary import SUMMARY_LIMITS, ContentFormat, SummaryKind
from database_handler.testing.factories import ProjectFactory, SummaryFactory, TextSourceFactory
from tests.support.wire import CountingProxy


def draft(**fields: Any) -> NewSummary:
    given = {"project_id": uuid4(), "text_source_id": uuid4(), "kind": "brief", "language": "en"}
    return NewSummary.model_validate(given | {"content": "words"} | fields)


HOSTILE = "<p onclick=x>One <b>two</b><script>three()</script></p>"
LEFT = {"html": "<p>One <b>two</b></p>", "markdown": "One <b>two</b>", "plain": HOSTILE}
WORDS = {"html": 2, "markdown": 2, "plain": 11}


@pytest.mark.parametrize("content_format", list(ContentFormat))
def test_content_is_stored_cleaned_by_its_format(uow: UnitOfWork, content_format: str) -> None:
    stored = SummaryFactory.create(uow, content=HOSTILE, content_format=content_format, kind="brief")
    assert uow.summaries.get_by_id(stored.id) == stored
    assert (stored.content, stored.word_count) == (LEFT[content_format], WORDS[content_format])


def test_a_change_of_content_is_cleaned_by_the_format_that_the_row_has(uow: UnitOfWork) -> None:
    for content_format in ContentFormat:
        stored = SummaryFactory.create(uow, content_format=content_format, kind="brief", content="x")
        changed = uow.summaries.update(stored.id, content=HOSTILE)
        assert (changed.content, changed.word_count) == (LEFT[content_format], WORDS[content_format])
        assert (changed.content_format, changed.version) == (content_format, 2)


def test_a_change_of_the_format_cleans_what_is_there(uow: UnitOfWork) -> None:
    stored = SummaryFactory.create(uow, content_format="plain", kind="brief", content=HOSTILE)
    changed = uow.summaries.update(stored.id, content_format="html")
    assert (changed.content, changed.word_count) == (LEFT["html"], WORDS["html"])
    assert stored.model_copy(update={"content_format": "html"}).content == LEFT["html"]
    assert uow.summaries.save(changed.model_copy(update={"content": "<i>a</i> b c<br>d"})).word_count == 4


def test_a_change_of_the_kind_measures_what_is_there(uow: UnitOfWork) -> None:
    stored = SummaryFactory.create(uow, content_format="plain", kind="brief", content="word " * 100)
    with pytest.raises(InvalidValue, match=r"100 words are too many .* headline, which has at most 60"):
        uow.summaries.update(stored.id, kind="headline")
    assert uow.summaries.update(stored.id, kind="standard").word_count == 100


def test_many_changes_are_each_cleaned_by_their_own_row(uow: UnitOfWork) -> None:
    stored = [SummaryFactory.create(uow, content_format=each, kind="brief") for each in ContentFormat]
    changes = [Change(each.id, {"content": HOSTILE}) for each in stored]
    changed = uow.summaries.update_many([*changes[:2], Change(stored[2].id, {"content": HOSTILE}, 1)])
    assert [each.content for each in changed] == [LEFT[each.content_format] for each in stored]
    with pytest.raises(StaleRecord):
        uow.summaries.update_many([changes[0], Change(stored[1].id, {"content": "x"}, 1)])
    with pytest.raises(RecordNotFound, match=r"positions \[1\]"):
        uow.summaries.update_many([changes[0], Change(uuid4(), {"content_format": "html"})])
    assert uow.summaries.get_by_id(stored[0].id).version == 2


def test_a_change_in_two_steps_goes_on_from_what_others_did_between(
    uow: UnitOfWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row becomes HTML after it was read as plain text: the content is cleaned as HTML."""
    stored = SummaryFactory.create(uow, content_format="plain", kind="brief", content="x")
    summaries, overtaken = uow.summaries, [False]
    read = summaries.get_many

    def read_and_be_overtaken(ids: Any) -> list[Summary]:
        found = read(ids)
        uow.summaries.update(stored.id, content="y", content_format="html", kind="brief")
        overtaken[0] = True
        return found

    monkeypatch.setattr(summaries, "get_many", read_and_be_overtaken)
    [changed] = summaries.update_many([Change(stored.id, {"content": HOSTILE})])
    assert overtaken == [True]
    assert (changed.content, changed.version) == (LEFT["html"], 3)
    with pytest.raises(StaleRecord):
        summaries.update_many([Change(stored.id, {"content": HOSTILE}, 3)])
    assert uow.summaries.update(stored.id, content=HOSTILE, expected_version=4).version == 5


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"content": "\ud800"}, "content: .*surrogate"),
        ({"content": 5}, "content: text is needed"),
        ({"content": "x" * 100_001}, "100,000 characters"),
        ({"content_format": "rtf"}, "content_format"),
        ({"kind": "poem"}, "kind"),
        ({"content": "x", "no_such": 1}, "no such field"),
        ({"content": "x", "project_id": uuid4()}, "project_id stays"),
    ],
)
def test_what_no_row_could_take_is_refused_before_it_is_read(
    uow: UnitOfWork, changes: dict[str, Any], told: str
) -> None:
    for call in (
        lambda: uow.summaries.update(uuid4(), changes),
        lambda: uow.summaries.update_many([Change(uuid4(), changes)]),
    ):
        with pytest.raises(InvalidValue, match=told):
            call()


def test_control_characters_are_stripped() -> None:
    assert draft(content="a\x00b\x07\tc\n").content == "ab\tc\n"


@pytest.mark.parametrize(
    ("content_format", "content"),
    [
        ("html", "<script>x</script>"),
        ("html", "<!-- x -->"),
        ("markdown", "<style>x</style>"),
        ("plain", "\0"),
    ],
)
def test_what_leaves_nothing_to_read_is_refused_with_the_reason(content_format: str, content: str) -> None:
    with pytest.raises(InvalidValue, match=f"content: nothing .* cleaned as {content_format}") as caught:
        draft(content=content, content_format=content_format)
    assert caught.value.columns == ("content",)


@pytest.mark.parametrize("kind", list(SummaryKind))
def test_a_summary_is_no_longer_than_its_kind(kind: SummaryKind) -> None:
    limit = SUMMARY_LIMITS[kind]
    for text, unit, most in (
        ("w ", "words", limit.words),
        ("語", "words", 2 * limit.words),
        ("ก", "words", 5 * limit.words),
        ("x", "characters", limit.characters),
        *([] if limit.items is None else [("- w\n", "items", limit.items)]),
    ):
        if most * len(text) >= 100_000:
            continue
        assert draft(kind=kind, content=text * most).kind == kind
        told = rf"content: [\d,]+ {unit} are too many for a summary of kind {kind}, which has at most [\d,]+"
        with pytest.raises(InvalidValue, match=told) as caught:
            draft(kind=kind, content=text * (most + 1))
        assert caught.value.columns == ("content",)


def test_marks_are_not_counted_towards_the_length() -> None:
    many = "".join(f'<a href="https://example.org/a-long-path/{n}">{n}</a> ' for n in range(60))
    assert draft(kind="headline", content=many, content_format="html").word_count == 60
    with pytest.raises(InvalidValue, match="too many"):
        draft(kind="headline", content=many, content_format="plain")


def test_every_wrong_field_is_told_beside_the_content() -> None:
    with pytest.raises(InvalidValue) as caught:
        draft(content="x", kind="poem", content_format="rtf", language="klingonese")
    assert {"kind", "content_format", "language"} <= set(caught.value.columns)


# -------------------------------------------------------------------------------------------- compression


def compressed(uow: UnitOfWork, source: tuple[str, str], summary: tuple[str, str]) -> Any:
    project = ProjectFactory.create(uow).id
    of = TextSourceFactory.create(uow, project_id=project, language=source[0], content=source[1])
    stored = SummaryFactory.create(
        uow, project_id=project, text_source_id=of.id, kind="brief", content_format="plain",
        language=summary[0], content=summary[1],
    )  # fmt: skip
    found = uow.summaries.compression(stored.id)
    assert uow.summaries.compressions(project) == [found]
    assert (found.summary_id, found.text_source_id, found.kind) == (stored.id, of.id, "brief")
    return found


@pytest.mark.parametrize(
    ("source", "summary", "ratio", "estimated"),
    [
        (("en", "one two three four"), ("en", "one"), 0.25, False),
        (("en", "one two"), ("de", "eins zwei drei"), 1.5, False),
        (("en", "— ! —"), ("en", "one"), None, False),
        (("ja", "日本語です"), ("ja", "日"), 0.2, False),
        (("en", "one two three four"), ("zh-Hans", "四个字词"), 0.5, True),
        (("th", "ก" * 20), ("en", "one two"), 0.5, True),
        (("zh-Latn", "yi er san si"), ("zh", "一二"), 0.25, True),
    ],
)
def test_compression(
    uow: UnitOfWork, source: tuple[str, str], summary: tuple[str, str], ratio: float | None, estimated: bool
) -> None:
    found = compressed(uow, source, summary)
    assert (found.ratio, found.estimated) == (ratio, estimated)


def test_compression_of_what_is_not_there(uow: UnitOfWork) -> None:
    with pytest.raises(RecordNotFound):
        uow.summaries.compression(uuid4())
    assert uow.summaries.compressions(uuid4()) == []
    with pytest.raises(InvalidValue):
        uow.summaries.compressions("no id")


@pytest.fixture
def committed(shared_database: Database) -> Iterator[Database]:
    """The shared database, emptied afterwards."""
    yield shared_database
    shared_database.session.run("TRUNCATE projects CASCADE")


def test_compression_stays_within_the_project_of_the_unit(committed: Database) -> None:
    with committed.unit_of_work() as unit:
        own, other = SummaryFactory.create(unit), SummaryFactory.create(unit)
    with committed.unit_of_work(project_id=own.project_id) as unit:
        assert [each.summary_id for each in unit.summaries.compressions(own.project_id)] == [own.id]
        assert unit.summaries.compressions(other.project_id) == []
        with pytest.raises(RecordNotFound):
            unit.summaries.compression(other.id)


def test_round_trips(committed: Database) -> None:
    with committed.unit_of_work() as unit:
        stored = SummaryFactory.create(unit, kind="brief", content_format="plain")
    calls: dict[str, tuple[Any, int]] = {
        "compression": (lambda db: db.summaries.compression(stored.id), 1),
        "compressions": (lambda db: db.summaries.compressions(stored.project_id), 1),
        "whole change": (
            lambda db: db.summaries.update(stored.id, content="a", content_format="html", kind="brief"), 1,
        ),
        "change of the rest": (lambda db: db.summaries.update(stored.id, metadata={}), 1),
        "change of a part": (lambda db: db.summaries.update(stored.id, content="b"), 2),
        "many changes of a part": (
            lambda db: db.summaries.update_many([Change(stored.id, {"content": "c"})]), 2,
        ),
    }  # fmt: skip
    with CountingProxy(committed.config) as proxy, Database(proxy.config) as counted:
        counted.summaries.count()
        for name, (call, expected) in calls.items():
            with proxy.counting() as trips:
                call(counted)
            assert trips.count - trips.texts.count("SELECT") == expected, name
