"""Tokens of stored translations: exact on every way in, refused where they do not fit, read by the slice."""

import random
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from database_handler import Database, NewTranslation, Translation, UnitOfWork
from database_handler.content.tokens import Token, Tokens, detokenize, tokenize
from database_handler.core.base_model import Change
from database_handler.core.exceptions import CheckFailed, InvalidValue, RecordNotFound, StaleRecord
from database_handler.repositories.translation_tokens import TranslationTokens
from database_handler.testing.factories import ProjectFactory, TextSourceFactory, TranslationFactory
from database_handler.utils.token_spans import BLOCK
from tests.support.scripts_corpus import HARD, PROSE
from tests.support.wire import CountingProxy, Message, Relay

LONG = "Der Wärter wartet auf „Licht“; niemand kommt, sagt er: 1.234,56 Schiffe!\n"


def stored(uow: UnitOfWork, content: str, language: str = "de", **fields: object) -> Translation:
    return TranslationFactory.create(uow, content=content, target_language=language, **fields)


# --------------------------------------------------------------------------------------------------- ways in


@pytest.mark.parametrize("count", [2, 250])
def test_bulk_ways_in_keep_them(uow: UnitOfWork, count: int) -> None:
    """A few go by INSERT, many by COPY."""
    source = TextSourceFactory.create(uow)
    drafts = [
        NewTranslation.model_validate(
            {
                "project_id": source.project_id,
                "text_source_id": source.id,
                "source_language": "en",
                "target_language": "de",
                "generator": f"writer {number}",
                "content": LONG,
                "tokens": tokenize(LONG * (number % 2), "de") if number % 2 else None,
            }
        )
        for number in range(count)
    ]
    made = uow.translations.create_many(drafts)
    again = uow.translations.get_many([record.id for record in made])
    assert [record.token_list for record in again] == [draft.token_list for draft in drafts]
    assert again == made
    assert [each.record for each in uow.translations.upsert_many(drafts)] == made


def test_every_script_comes_back_as_it_was_cut(uow: UnitOfWork) -> None:
    project = ProjectFactory.create(uow)
    texts = {**{code: script.text for code, script in PROSE.items()}, **HARD}
    for text in filter(None, texts.values()):
        stored(uow, text, "und", project_id=project.id)
    assert uow.translations.tokenize_many(project.id) == len(texts) - 1
    records = uow.translations.list(project_id=project.id)
    assert {record.content for record in records} == {text for text in texts.values() if text}
    for record in records:
        assert record.token_list == tokenize(record.content)
    for record in records[::9]:
        assert detokenize(uow.translations.tokens(record.id)) == record.content


# ------------------------------------------------------------------------------------------------ tokenizing


def test_tokenize_stores_what_the_language_asks_for(uow: UnitOfWork) -> None:
    record = stored(uow, "L'homme dort.", "fr")
    assert (record.tokens, record.token_count, record.token_list) == (None, None, None)
    done = uow.translations.tokenize(record.id)
    assert done.token_list is not None
    assert done.token_list.texts == ["L'", "homme", "dort", "."]
    assert (done.token_count, done.version) == (4, 2)
    assert uow.translations.get_by_id(record.id) == done


def test_tokens_that_are_there_are_not_written_again(uow: UnitOfWork) -> None:
    done = uow.translations.tokenize(stored(uow, LONG).id)
    assert uow.translations.tokenize(done.id) == done


def test_tokens_go_when_the_content_changes(uow: UnitOfWork) -> None:
    done = uow.translations.tokenize(stored(uow, LONG).id)
    assert uow.translations.update(done.id, status="approved").tokens == done.tokens
    changed = uow.translations.update(done.id, content="Anders.")
    assert (changed.tokens, changed.token_count) == (None, None)
    [both] = uow.translations.update_many([Change(done.id, {"content": "Neu.", "tokens": [(0, 3)]})])
    assert both.token_count == 1


class Interfering(TranslationTokens):
    """Somebody else changes each row between its reading and the writing of its tokens, so many times."""

    draft = NewTranslation
    record = Translation
    left = 1

    def get_by_id(self, id: UUID | str) -> Translation:
        found = super().get_by_id(id)
        self._interfere(found)
        return found

    def list(self, **given: Any) -> list[Translation]:
        found = super().list(**given)
        for record in found:
            self._interfere(record)
        return found

    def _interfere(self, record: Translation) -> None:
        if self.left:
            self.left -= 1
            TranslationTokens.update(self, record.id, content=f"{self.left} geändert")


def test_tokens_are_never_those_of_an_older_content(uow: UnitOfWork) -> None:
    record = stored(uow, LONG)
    done = Interfering(uow.session).tokenize(record.id)
    assert done.content == "0 geändert"
    assert done.token_list == tokenize("0 geändert")
    with pytest.raises(StaleRecord):
        uow.translations.tokenize(record.id, expected_version=1)


def test_many_are_cut_again_where_they_changed_meanwhile(uow: UnitOfWork) -> None:
    project = ProjectFactory.create(uow)
    for _ in range(3):
        stored(uow, LONG, project_id=project.id)
    assert Interfering(uow.session).tokenize_many(project.id) == 3
    assert uow.translations.tokenize_many(project.id) == 0
    found = uow.translations.list(project_id=project.id)
    assert sorted(record.content for record in found) == sorted(["0 geändert", LONG, LONG])
    assert all(record.token_list == tokenize(record.content, "de") for record in found)


def test_many_can_be_chosen(uow: UnitOfWork) -> None:
    records = [stored(uow, LONG) for _ in range(3)]
    assert uow.translations.tokenize_many(ids=[records[0].id]) == 1
    assert uow.translations.tokenize_many(records[1].project_id) == 1
    assert uow.translations.get_by_id(records[2].id).tokens is None


# ------------------------------------------------------------------------------------------------ refusals


def test_a_content_and_its_tokens_are_checked_together(uow: UnitOfWork) -> None:
    record = stored(uow, LONG)
    with pytest.raises(InvalidValue, match=r"token 1 \(4, 9\) of a content of 5 characters lies outside"):
        uow.translations.update(record.id, content="Kurz.", tokens=[(0, 4), (4, 9)])
    with pytest.raises(InvalidValue, match=r"token 0 \(3, 3\) is empty"):
        uow.translations.update(record.id, tokens=[(3, 3)])


@pytest.mark.parametrize(
    "changes",
    [
        {"tokens": [(0, len(LONG) + 1)]},
        {"tokens": [(0, 3)], "token_count": 2},
        {"token_count": 2},
    ],
)
def test_the_database_refuses_what_does_not_fit(database: Database, changes: dict[str, object]) -> None:
    with database.unit_of_work() as uow:
        record = stored(uow, LONG)
    with pytest.raises(CheckFailed):
        database.translations.update(record.id, changes)
    assert database.translations.get_by_id(record.id) == record


def test_a_content_cannot_shrink_under_its_tokens_in_psql_either(database: Database) -> None:
    with database.unit_of_work() as uow:
        record = uow.translations.tokenize(stored(uow, LONG).id)
    for change in ("content = 'x'", "tokens = NULL", "tokens = '\\x01'", "token_count = 1"):
        with pytest.raises(CheckFailed):
            database.session.run(f"UPDATE translations SET {change} WHERE id = %s", [record.id])


# -------------------------------------------------------------------------------------------------- slices


@pytest.mark.parametrize("code", ["Latn", "Hans", "Khmr"])
def test_a_slice_is_that_of_the_whole(uow: UnitOfWork, code: str) -> None:
    text = (PROSE[code].text + " \r\n") * 30 + "\n" * 90 + "x" * 500 + "  "
    record = uow.translations.tokenize(stored(uow, text, PROSE[code].language).id)
    whole, chance = tokenize(text, PROSE[code].language), random.Random(code)
    n = len(whole)
    edges = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, n - 1, n, n + BLOCK, 10**9]
    bounds = [(a, b) for a in edges for b in (None, BLOCK, 2 * BLOCK, n, 10**9)]
    bounds += [(chance.randrange(n), chance.randrange(n)) for _ in range(20)]
    for start, stop in bounds:
        assert_same(uow.translations.tokens(record.id, start, stop), whole[start:stop])
    assert uow.translations.tokens(record.id) == whole


def assert_same(found: Tokens, expected: Tokens) -> None:
    assert list(found) == list(expected)
    assert found.content == expected.content
    if len(found):
        assert (found.offset, found.first) == (expected.offset, expected.first)


def test_a_slice_of_no_tokens(uow: UnitOfWork) -> None:
    record = uow.translations.tokenize(stored(uow, " \n ").id)
    assert uow.translations.tokens(record.id).content == " \n "
    assert len(uow.translations.tokens(record.id, 0, 5)) == 0


def test_what_has_no_tokens_says_so(uow: UnitOfWork) -> None:
    record = stored(uow, LONG)
    with pytest.raises(RecordNotFound, match="has no tokens; tokenize"):
        uow.translations.tokens(record.id, 0, 5)
    with pytest.raises(RecordNotFound, match="no record has the id"):
        uow.translations.tokens(uuid4())
    with pytest.raises(InvalidValue, match="start: a whole number from 0 on"):
        uow.translations.tokens(record.id, -1)


def test_a_unit_of_another_project_sees_none(database: Database) -> None:
    with database.unit_of_work() as uow:
        record = uow.translations.tokenize(stored(uow, LONG).id)
    with database.unit_of_work(project_id=record.project_id) as uow:
        assert uow.translations.tokens(record.id, 0, 1)[0] == Token("Der", 0, 3)
        assert uow.translations.tokenize_many() == 0
    with database.unit_of_work(project_id=uuid4()) as uow:
        with pytest.raises(RecordNotFound):
            uow.translations.tokens(record.id, 0, 1)
        uow.rollback()


# --------------------------------------------------------------------------------------------- on the wire


class WeighingRelay(Relay):
    """Adds up the bytes of the rows that the server sends."""

    def from_server(self, message: Message) -> None:
        if message.kind == b"D":
            self._proxy.note(text="D" * len(message.body))
        super().from_server(message)


class Weighing(CountingProxy):
    relay = WeighingRelay


@pytest.fixture
def weighed(database: Database) -> Iterator[tuple[Database, Weighing]]:
    with Weighing(database.config) as proxy, Database(proxy.config) as through:
        yield through, proxy


def test_a_slice_brings_the_slice_only(database: Database, weighed: tuple[Database, Weighing]) -> None:
    through, proxy = weighed
    with database.unit_of_work() as uow:
        record = uow.translations.tokenize(stored(uow, "".join(f"{n} {LONG}" for n in range(2_000))).id)
    through.session.one("SELECT 1")
    with proxy.counting() as trips:
        part = through.translations.tokens(record.id, 200, 300)
    sent = sum(len(text) for text in trips.texts if set(text) == {"D"})
    assert trips.count == 1
    assert len(part) == 100
    blocks = through.translations.tokens(record.id, BLOCK, 3 * BLOCK)
    # Three blocks' texts and half bytes, and a header.
    assert sent < len(blocks.content.encode()) + 3 * BLOCK + 200
    assert sent < len(record.content.encode()) / 50


def test_round_trips(database: Database, weighed: tuple[Database, Weighing]) -> None:
    through, proxy = weighed
    with database.unit_of_work() as uow:
        project = ProjectFactory.create(uow)
        ids = [stored(uow, LONG, project_id=project.id).id for _ in range(5)]
    through.session.one("SELECT 1")
    with proxy.counting() as trips:
        through.translations.tokenize(ids[0])
    assert trips.count == 2
    with proxy.counting() as trips:
        assert through.translations.tokenize_many(project.id) == 4
    assert trips.count == 4  # read, write, and twice to see that none is left
